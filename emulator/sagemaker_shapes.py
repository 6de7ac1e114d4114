"""Parses SageMaker requests and writes answers, with botocore's service model used from the server's side.

Covers shapes (members, lengths, patterns, enumerations) and AWS's error spelling. Not here: what an operation does.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import botocore.session
from botocore.model import ServiceModel, Shape

from emulator.sagemaker_state import moment, sortable


class ApiError(Exception):
    """An error answer of the API: the code as AWS spells it, the message, and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> ApiError:
    """A ValidationException."""
    return ApiError("ValidationException", message)


def not_found(message: str) -> ApiError:
    """A ResourceNotFound."""
    return ApiError("ResourceNotFound", message)


@functools.cache
def service_model() -> ServiceModel:
    """botocore's description of the SageMaker API (read once per process; about 4 MB of JSON)."""
    return botocore.session.get_session().get_service_model("sagemaker")


def check_input(operation: str, body: Any) -> dict[str, Any]:
    """Validate a decoded request against the operation's input shape and return it with its times as text.

    Raises ApiError: UnknownOperationException, or ValidationException that names each wrong member the way AWS does.
    """
    model = service_model()
    if operation not in model.operation_names:
        raise ApiError("UnknownOperationException", f"The operation {operation} is not one of SageMaker's.")
    shape = model.operation_model(operation).input_shape
    if shape is None:
        return {}
    problems: list[str] = []
    checked = _read(shape, {} if body is None else body, "", problems)
    if problems:
        noun = "error" if len(problems) == 1 else "errors"
        raise invalid(f"{len(problems)} validation {noun} detected: {'; '.join(problems)}")
    return checked  # type: ignore[no-any-return]


def write_output(operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer as the wire wants it: only members of the output shape, no nulls, times as epoch seconds."""
    shape = service_model().operation_model(operation).output_shape
    return {} if shape is None else _write(shape, body)


def shape_members(name: str) -> list[str]:
    """The member names of a structure of the API, e.g. "DescribeProcessingJobResponse"."""
    return list(service_model().shape_for(name).members)


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, str),
}


def _label(path: str) -> str:
    # AWS writes the path in camel case: 'endpointName', 'productionVariants.1.member.variantName'.
    return ".".join(part[:1].lower() + part[1:] for part in path.split(".")) or "request"


def _read(shape: Shape, value: Any, path: str, problems: list[str]) -> Any:
    kind = shape.type_name
    expected = _PYTHON_TYPES.get(kind)
    if expected is not None and (not isinstance(value, expected) or (isinstance(value, bool) and kind != "boolean")):
        problems.append(f"Value at '{_label(path)}' is of the wrong type: Member must be a {kind}")
        return value
    if kind == "structure":
        return _read_structure(shape, value, path, problems)
    if kind == "list":
        _check_size(shape, len(value), value, path, problems, "length")
        return [_read(shape.member, each, f"{path}.{n}.member", problems) for n, each in enumerate(value, 1)]
    if kind == "map":
        _check_size(shape, len(value), value, path, problems, "length")
        for key in value:
            _read(shape.key, key, f"{path}.key", problems)
        return {key: _read(shape.value, each, f"{path}.{key}.member", problems) for key, each in value.items()}
    if kind == "timestamp":
        return sortable(datetime.fromisoformat(value) if isinstance(value, str) else _from_epoch(value))
    if kind == "string":
        _check_size(shape, len(value), value, path, problems, "length")
        _check_text(shape, value, path, problems)
    elif kind in ("integer", "long", "float", "double"):
        _check_size(shape, value, value, path, problems, "value")
    return value


def _read_structure(shape: Shape, value: dict[str, Any], path: str, problems: list[str]) -> dict[str, Any]:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        if value.get(name) is None:
            problems.append(
                f"Value null at '{_label(prefix + name)}' failed to satisfy constraint: Member must not be null"
            )
    # The JSON protocol ignores members it does not know.
    return {
        name: _read(shape.members[name], each, prefix + name, problems)
        for name, each in value.items()
        if name in shape.members and each is not None
    }


def _check_size(shape: Shape, size: float, value: Any, path: str, problems: list[str], what: str) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    for broken, bound, words in (
        (low is not None and size < low, low, "greater than or equal to"),
        (high is not None and size > high, high, "less than or equal to"),
    ):
        if broken:
            subject = "length " if what == "length" else "value "
            problems.append(
                f"Value '{value}' at '{_label(path)}' failed to satisfy constraint: "
                f"Member must have {subject}{words} {bound}"
            )


def _check_text(shape: Shape, value: str, path: str, problems: list[str]) -> None:
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        problems.append(
            f"Value '{value}' at '{_label(path)}' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(allowed)}]"
        )
    source = shape.metadata.get("pattern")
    compiled = _pattern(source) if source else None
    if compiled is not None and not compiled.fullmatch(value):
        problems.append(
            f"Value '{value}' at '{_label(path)}' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {source}"
        )


@functools.cache
def _pattern(source: str) -> re.Pattern[str] | None:
    # Some patterns of descriptions and tags use \p{…}, which Python does not have: those are not checked.
    return None if "\\p{" in source else re.compile(source)


def _from_epoch(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=moment("1970-01-01T00:00:00Z").tzinfo)


def _write(shape: Shape, value: Any) -> Any:
    if shape.type_name == "structure":
        return {
            name: _write(member, value[name]) for name, member in shape.members.items() if value.get(name) is not None
        }
    if shape.type_name == "list":
        return [_write(shape.member, each) for each in value]
    if shape.type_name == "map":
        return {key: _write(shape.value, each) for key, each in value.items()}
    if shape.type_name == "timestamp":
        return (moment(value) if isinstance(value, str) else value).timestamp()
    return value
