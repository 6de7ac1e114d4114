"""What one label document says: a value for each record of its request.

Not here: which of several labels counts (`ground_truth`), and which record a value belongs to.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Annotated, Any

import jmespath
import msgspec

# A larger difference of counts is not given exactly: each reason is a key of every report.
_MOST_SPELT = 10

# What a text of several fields, or of one in quotes, has.
_SEVERAL = re.compile(r'[,"\r\n\0]').search

NOT_READABLE = "label is not readable"
OF_ANOTHER = "expected labels of the request's records, got one of another"


class RecordLabels(msgspec.Struct, rename="camel"):
    """Labels of single records by position, and the label document of the whole request for the others."""

    record_labels: dict[Annotated[int, msgspec.Meta(ge=0)], str]
    others: str | None = None


def not_one_for_each(count: int, expected: int) -> str:
    """The reason for a label document with another number of values than its request has records."""
    return f"expected a label for each record, {difference(count, expected)}"


def difference(count: int, expected: int) -> str:
    """How another count differs from the one expected, in few enough words to be part of a reason."""
    size = abs(count - expected)
    words = str(size) if size <= _MOST_SPELT else f"over {_MOST_SPELT}"
    return f"got {words} {'more' if count > expected else 'fewer'}"


def record_labels_of(data: str) -> RecordLabels | None:
    """A document of the form `ground_truth.RECORD_LABELS`; None where it cannot be read."""
    try:
        return msgspec.json.decode(data, type=RecordLabels)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def label_values(data: str, attribute: str | None, read: Callable[[Any], float]) -> list[float] | None:
    """The values of a label document, each as `read` has it (nan: no label); None where it cannot be read.

    `attribute`: the JMESPath expression that finds the values in JSON, where there is one.
    """
    text = data.strip()
    # Real files mark JSON labels as CSV: the text decides, not the encoding.
    if text[:1] not in ("{", "["):
        if text and not _SEVERAL(text):  # without a second field, as nearly all are
            return [read(text)]
        try:
            fields = [field for row in csv.reader(io.StringIO(text)) for field in row]
        except csv.Error:
            return None
        return [read(field) for field in fields] or [float("nan")]
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    if attribute is not None and not attribute.isdecimal():
        found = search(attribute, document)
        if found is not None:
            document = found
    if isinstance(document, dict):
        listed = document.get("instances", document.get("predictions"))
        document = listed if isinstance(listed, list) else [document]
    records = document if isinstance(document, list) else [document]
    return [read(_value(record, attribute)) for record in records]


def _value(record: Any, attribute: str | None) -> Any:
    if isinstance(record, list) and len(record) == 1:
        return record[0]
    if not isinstance(record, dict):
        return record
    if attribute is not None and not attribute.isdecimal():
        return search(attribute, record)
    if "label" in record:
        return record["label"]
    return next(iter(record.values())) if len(record) == 1 else None


def search(expression: str, document: Any) -> Any:
    """What JMESPath finds; None also where the expression cannot be applied to this document."""
    try:
        return jmespath.search(expression, document)
    # Beside its own errors jmespath lets Python's through: [::0], a text compared with a number, floor of infinity.
    except (jmespath.exceptions.JMESPathError, ValueError, TypeError, OverflowError, RecursionError):
        return None
