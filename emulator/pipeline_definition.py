"""A SageMaker pipeline definition (JSON, version 2020-12-01): parameters, steps in running order, references.

Checks a definition before it is stored, replaces references by values, and evaluates conditions. Not here: how a step
is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = "2020-12-01"
STEP_TYPES = ("Processing", "Training", "Condition", "RegisterModel", "Model", "Fail")
_COMPARISONS = ("Equals", "GreaterThan", "GreaterThanOrEqualTo", "LessThan", "LessThanOrEqualTo")
_CONVERSIONS: dict[str, Callable[[str], Any]] = {
    "String": str,
    "Integer": int,
    "Float": float,
    "Boolean": lambda text: {"true": True, "false": False}[text.lower()],
}
_PATH_PART = re.compile(r"\.?(?P<name>[^.\[\]]+)|\[(?P<quote>['\"])(?P<key>.*?)(?P=quote)\]|\[(?P<index>\d+)\]")


class DefinitionError(ValueError):
    """A pipeline definition, a parameter or a reference in it is wrong; the text says which and what was expected."""


@dataclass(frozen=True)
class Parameter:
    """A pipeline parameter. `default` is None where a value must be given at the start."""

    name: str
    kind: str
    default: Any = None
    allowed: tuple[Any, ...] = ()

    def value(self, text: str) -> Any:
        """The value that a start request's text means. Raises DefinitionError."""
        try:
            value = _CONVERSIONS[self.kind](text)
        except (ValueError, KeyError):
            raise DefinitionError(f"Parameter [{self.name}]: expected a value of type {self.kind}") from None
        if self.allowed and value not in self.allowed:
            raise DefinitionError(f"Parameter [{self.name}]: expected one of {list(self.allowed)}")
        return value


@dataclass(frozen=True)
class Step:
    """One step. `branch` is the condition step it hangs on and the outcome ("True" or "False") that lets it run."""

    name: str
    kind: str
    arguments: Mapping[str, Any]
    needs: frozenset[str]
    branch: tuple[str, str] | None = None
    property_files: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # name -> (output name, file path)


@dataclass(frozen=True)
class Definition:
    """A checked definition; `steps` holds the steps of all branches, each after everything that it needs."""

    parameters: Mapping[str, Parameter]
    steps: tuple[Step, ...]

    def values(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Every parameter's value for a start request. Raises DefinitionError for unknown, missing and bad ones."""
        unknown = sorted(given.keys() - self.parameters.keys())
        if unknown:
            raise DefinitionError(f"Unknown parameters {unknown}; the pipeline has {sorted(self.parameters)}")
        missing = sorted(name for name, each in self.parameters.items() if each.default is None and name not in given)
        if missing:
            raise DefinitionError(f"Parameters {missing} have no default and need a value")
        return {
            name: each.value(given[name]) if name in given else each.default for name, each in self.parameters.items()
        }


@dataclass
class Scope:
    """What references can see while an execution runs: parameters, execution variables, results of finished steps."""

    parameters: Mapping[str, Any]
    execution: Mapping[str, str]
    results: Mapping[str, Mapping[str, Any]]
    property_file: Callable[[str, str], Any]  # (step name, property file name) -> decoded JSON


def parse(text: str) -> Definition:
    """Read and check a definition. Raises DefinitionError for what AWS refuses and for what is not supported here."""
    try:
        document = json.loads(text)
    except ValueError:
        raise DefinitionError("The pipeline definition is not JSON") from None
    if not isinstance(document, dict) or document.get("Version") != VERSION:
        raise DefinitionError(f"The pipeline definition must be an object with Version {VERSION}")
    parameters = {each["Name"]: _parameter(each) for each in document.get("Parameters", [])}
    steps = list(_read_steps(document.get("Steps", []), None))
    if not steps:
        raise DefinitionError("The pipeline definition has no steps")
    names = [step.name for step in steps]
    if len(set(names)) != len(names):
        raise DefinitionError(f"Step names must be unique; found {sorted(names)}")
    for step in steps:
        for reference in _references(step.arguments):
            _check_reference(step.name, reference, parameters, set(names))
        if step.needs - set(names):
            raise DefinitionError(f"Step [{step.name}] depends on unknown steps {sorted(step.needs - set(names))}")
    return Definition(parameters, tuple(_in_order(steps)))


def _parameter(document: Mapping[str, Any]) -> Parameter:
    kind = document.get("Type", "String")
    if kind not in _CONVERSIONS:
        raise DefinitionError(f"Parameter [{document['Name']}]: type {kind} is not one of {list(_CONVERSIONS)}")
    return Parameter(document["Name"], kind, document.get("DefaultValue"), tuple(document.get("EnumValues", ())))


def _read_steps(documents: list[Mapping[str, Any]], branch: tuple[str, str] | None) -> Iterator[Step]:
    for document in documents:
        name, kind = document.get("Name"), document.get("Type")
        if not isinstance(name, str):
            raise DefinitionError("A step has no Name")
        if kind not in STEP_TYPES:
            raise DefinitionError(f"Step [{name}]: type {kind} is not supported here; expected one of {STEP_TYPES}")
        arguments = dict(document.get("Arguments", {}))
        branches = [(arguments.pop("IfSteps", []), "True"), (arguments.pop("ElseSteps", []), "False")]
        if kind == "Condition":
            for condition in arguments.get("Conditions", []):
                _check_condition(name, condition)
        needs = {each.split(".")[0] for each in document.get("DependsOn", [])}
        needs |= {each.split(".")[1] for each in _references(arguments) if each.startswith("Steps.")}
        if branch is not None:
            needs.add(branch[0])
        files = {
            each["PropertyFileName"]: (each["OutputName"], each["FilePath"])
            for each in document.get("PropertyFiles", [])
        }
        yield Step(name, kind, arguments, frozenset(needs), branch, files)
        if kind == "Condition":
            for children, outcome in branches:
                yield from _read_steps(children, (name, outcome))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if set(value) == {"Get"} and isinstance(value["Get"], str):
            yield value["Get"]
        else:
            for each in value.values():
                yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _check_reference(step: str, reference: str, parameters: Mapping[str, Parameter], steps: set[str]) -> None:
    root, _, rest = reference.partition(".")
    known = {"Parameters": parameters.keys(), "Steps": steps}
    if root == "Execution" and rest:
        return
    if root not in known or rest.split(".")[0] not in known[root]:
        raise DefinitionError(f"Step [{step}] refers to {reference}, which is not defined")


def _check_condition(step: str, condition: Mapping[str, Any]) -> None:
    kind = condition.get("Type")
    if kind == "Not":
        _check_condition(step, condition["Expression"])
    elif kind == "Or":
        for each in condition["Conditions"]:
            _check_condition(step, each)
    elif kind != "In" and kind not in _COMPARISONS:
        expected = [*_COMPARISONS, "In", "Not", "Or"]
        raise DefinitionError(f"Step [{step}]: condition {kind} is not supported; expected one of {expected}")


def _in_order(steps: list[Step]) -> Iterator[Step]:
    waiting, done = list(steps), set[str]()
    while waiting:
        ready = next((step for step in waiting if step.needs <= done), None)
        if ready is None:
            raise DefinitionError(f"Steps {sorted(step.name for step in waiting)} depend on each other in a circle")
        waiting.remove(ready)
        done.add(ready.name)
        yield ready


def resolve(value: Any, scope: Scope) -> Any:
    """A copy of `value` with every reference and function replaced. Raises DefinitionError when one has no value."""
    if isinstance(value, list):
        return [resolve(each, scope) for each in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"Get"}:
        return _get(value["Get"], scope)
    if set(value) == {"Std:Join"}:
        join = value["Std:Join"]
        return str(join["On"]).join(text(resolve(each, scope)) for each in join["Values"])
    if set(value) == {"Std:JsonGet"}:
        source = value["Std:JsonGet"]
        reference = source.get("PropertyFile", {}).get("Get", "") if "PropertyFile" in source else ""
        parts = reference.split(".")
        if len(parts) != 4 or parts[0] != "Steps" or parts[2] != "PropertyFiles":
            raise DefinitionError("Std:JsonGet needs a PropertyFile of the form Steps.<step>.PropertyFiles.<name>")
        return walk(scope.property_file(parts[1], parts[3]), resolve(source["Path"], scope))
    return {key: resolve(each, scope) for key, each in value.items()}


def _get(reference: str, scope: Scope) -> Any:
    root, _, rest = reference.partition(".")
    if root == "Parameters":
        return scope.parameters[rest]
    if root == "Execution":
        if rest not in scope.execution:
            known = sorted(scope.execution)
            raise DefinitionError(f"{reference} is not an execution variable; expected one of {known}")
        return scope.execution[rest]
    name, _, path = rest.partition(".")
    if name not in scope.results:
        raise DefinitionError(f"{reference}: the step did not run")
    return walk(scope.results[name], path)


def walk(document: Any, path: str) -> Any:
    """Follow `a.b['c'].d[0]` into a document; in a list `['c']` finds the entry whose name is c."""
    position, here = 0, document
    path = path.removeprefix("$.")
    while position < len(path):
        match = _PATH_PART.match(path, position)
        if match is None:
            raise DefinitionError(f"{path} is not a property path")
        position = match.end()
        found = _child(here, match)
        if found is None:
            raise DefinitionError(f"{path}: there is no {match.group(0).lstrip('.')}")
        here = found
    return here


def _child(here: Any, match: re.Match[str]) -> Any:
    if match["index"] is not None:
        return here[int(match["index"])] if isinstance(here, list) and int(match["index"]) < len(here) else None
    key = match["name"] or match["key"]
    if isinstance(here, Mapping):
        return here.get(key)
    if isinstance(here, list):
        names = ("OutputName", "InputName", "ChannelName", "Name")
        return next((each for each in here if any(each.get(name) == key for name in names)), None)
    return None


def text(value: Any) -> str:
    """A resolved value as the text that a container sees."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def holds(condition: Mapping[str, Any], scope: Scope) -> bool:
    """Decide one condition. Raises DefinitionError when its two sides cannot be compared."""
    kind = condition["Type"]
    if kind == "Not":
        return not holds(condition["Expression"], scope)
    if kind == "Or":
        return any(holds(each, scope) for each in condition["Conditions"])
    if kind == "In":
        return resolve(condition["QueryValue"], scope) in [resolve(each, scope) for each in condition["Values"]]
    left, right = resolve(condition["LeftValue"], scope), resolve(condition["RightValue"], scope)
    if kind == "Equals":
        return bool(left == right)
    for side, value in (("LeftValue", left), ("RightValue", right)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DefinitionError(f"{kind}: {side} must be a number, got {type(value).__name__}")
    if kind == "LessThan":
        return bool(left < right)
    if kind == "LessThanOrEqualTo":
        return bool(left <= right)
    return bool(left > right) if kind == "GreaterThan" else bool(left >= right)
