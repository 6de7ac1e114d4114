"""CloudFormation's intrinsic functions as Python values, and the names by which the template refers to itself.

Spells references and logical ids. Not here: which resources there are.
"""

from __future__ import annotations

import re
from typing import Any

Value = Any
"""A JSON value of a template: text, number, list, or an object such as {"Ref": …}."""

NOTHING: Value = {"Ref": "AWS::NoValue"}


def ref(name: str) -> Value:
    """A parameter's value, or a resource's own identity."""
    return {"Ref": name}


def arn(resource: str) -> Value:
    """A resource's ARN; a resource that uses it is created after that one."""
    return {"Fn::GetAtt": [resource, "Arn"]}


def sub(text: str, **variables: Value) -> Value:
    """A text in which ${Name} is replaced, by these variables or by the template's own names."""
    return {"Fn::Sub": [text, variables]} if variables else {"Fn::Sub": text}


def when(condition: str, value: Value, otherwise: Value = NOTHING) -> Value:
    """A value that depends on a condition of the template; by default it is left out when the condition is false."""
    return {"Fn::If": [condition, value, otherwise]}


def logical(name: str, suffix: str = "") -> str:
    """A logical id: "retrain-claims", "Queue" -> "RetrainClaimsQueue"; for functions it is Chalice's own spelling."""
    return "".join(part.capitalize() for part in re.split("[-_]", name)) + suffix
