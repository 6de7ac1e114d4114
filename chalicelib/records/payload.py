"""What is inside a payload: the rows of a CSV, JSON, JSON Lines or Base64 text.

Knows the shapes that SageMaker's built-in containers, its sample notebooks and its serving stacks use; refuses to
know which value is a feature, a probability or a label (`table`). The text decides what it is, not what was declared.
Reasons name shapes and positions, never values.
"""

from __future__ import annotations

import csv
import io
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.records.capture import Payload
from chalicelib.records.values import number_of

# One record: its values in order, or by name.
Row = list[Any] | dict[str, Any]

# More records than this in one request are refused: each costs a hundred times its bytes. InvokeEndpoint takes 25 MB.
MOST_RECORDS = 100_000
# More values than this too: a CSV row of as many columns, or that many records with several.
MOST_VALUES = 2_000_000
# Brackets that a JSON record may need, before it is decoded.
_BRACKETS = 10

# Where serving stacks keep the records of a JSON document.
_LISTS = ("instances", "predictions", "inputs", "outputs", "dataframe_records")
_FRAMES = ("dataframe_split",)
# Where a batch transform's record has the model's answer.
ANSWER = "SageMakerOutput"
_LINES = ("application/jsonlines", "application/x-jsonlines", "application/jsonl", "application/x-ndjson")


class PayloadError(ValueError):
    """A payload cannot be read. The text says why, and holds nothing of the payload."""


class Content(msgspec.Struct, frozen=True):
    """A decoded payload: `documents` holds one JSON value per document (several for JSON Lines), or None for CSV.

    `noted`: "declared as CSV, is JSON" where the declaration was wrong, else "".
    """

    rows: list[Row]
    documents: list[Any] | None = None
    is_lines: bool = False
    noted: str = ""


def rows_of(payload: Payload, header: Sequence[str] = ()) -> list[Row]:
    """The records of a payload, in order: lists of values (text for CSV), or objects by name.

    A first CSV row that equals `header` is dropped; one that holds all of its names in another order, or more names,
    makes the rows objects by name. `{"instances": [1.0, 2.0]}` is two records of one value, `[1.0, 2.0]` alone is one
    record of two, `{"a": [1, 2], "b": [3, 4]}` (lists of one length with nothing nested in them) two records by name.
    Raises PayloadError. Shapes: model-monitor formats, section 2.1.
    """
    return content_of(payload, header).rows


def content_of(payload: Payload, header: Sequence[str] = ()) -> Content:
    """Decode a payload: its rows, and its JSON documents where it is JSON. Arguments and errors as `rows_of`."""
    text, declared = payload.data, declared_as(payload)
    if is_base64(payload):
        text = _from_base64(text)
    if text[:1] == "\ufeff":
        text = text[1:]
    begin = text.lstrip()[:1]
    if not begin:
        raise PayloadError("payload is empty")
    if begin in "{[" or (declared == "JSON" and not _is_csv(text, header)):
        try:
            return _json_content(
                text, _media_type(payload) in _LINES, "declared as CSV, is JSON" if declared == "CSV" else ""
            )
        except _NotJson:
            # A text such as "[1 2],3" is fine as CSV where nobody promised JSON.
            if declared != "CSV":
                raise PayloadError("payload is not JSON") from None
    noted = "declared as JSON, is CSV" if declared == "JSON" else ""
    return Content(_csv_rows(text, header), noted=noted)


def is_base64(payload: Payload) -> bool:
    """Mostly because of a type that no list of the capture's configuration had."""
    return payload.encoding.upper() == "BASE64"


def declared_as(payload: Payload) -> str:
    """ "CSV", "JSON", or "" where nothing says which; of Base64, what it holds is declared to be."""
    encoding = payload.encoding.upper()
    if encoding in ("CSV", "JSON"):
        return encoding
    kind = _media_type(payload)
    return "CSV" if kind == "text/csv" else "JSON" if "json" in kind else ""


def _media_type(payload: Payload) -> str:
    return (payload.content_type or "").split(";", 1)[0].strip().lower()


class _NotJson(ValueError):
    pass


def _from_base64(text: str) -> str:
    try:
        return b64decode(text, validate=True).decode("utf-8")
    except UnicodeDecodeError:
        raise PayloadError("payload is not UTF-8 text") from None
    except ValueError:
        raise PayloadError("payload is not Base64") from None


def _is_csv(text: str, header: Sequence[str]) -> bool:
    """Whether a text that was declared as JSON and begins with no bracket is plainly something else.

    One JSON value is no CSV, and an error message with a comma in it is neither: a row of data has a number, a header
    the names.
    """
    fields = [field.strip(' "') for line in text.strip().split("\n", 2)[:2] for field in line.split(",")]
    known = bool(header) and header[0] in fields
    return "," in text and (known or any((number := number_of(field)) == number for field in fields))


def _json_content(text: str, is_lines: bool, noted: str) -> Content:
    if len(text) > MOST_RECORDS and text.count("[") + text.count("{") > _BRACKETS * MOST_RECORDS:
        raise _too_many()
    if len(text) > MOST_VALUES and text.count(",") > MOST_VALUES:
        raise _too_many("values", MOST_VALUES)
    documents: list[Any] = []
    if not is_lines:
        try:
            document = _from_json(text)
            return Content(rows_in(document), [document], noted=noted)
        except _NotJson:
            if "\n" not in text.strip():
                raise
    if text.count("\n") > MOST_RECORDS:
        raise _too_many()
    documents = [_from_json(line) for line in text.split("\n") if line and not line.isspace()]
    return Content([row for document in documents for row in rows_in(document)], documents, True, noted)


def _from_json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise _NotJson from None


def _too_many(things: str = "records", limit: int = MOST_RECORDS) -> PayloadError:
    return PayloadError(f"more than {limit} {things} in one request")


def _csv_rows(text: str, header: Sequence[str]) -> list[Row]:
    if len(text) > MOST_VALUES and text.count(",") > MOST_VALUES:
        raise _too_many("values", MOST_VALUES)
    if len(text) > MOST_RECORDS and text.count("\n") + text.count("\r") > 2 * MOST_RECORDS:
        raise _too_many()
    lists: list[list[str]]
    if '"' in text:
        try:
            lists = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        except csv.Error as error:
            long = "field limit" in str(error)
            reason = "a field is too long" if long else "a quoted field does not end"
            raise PayloadError(f"payload is not CSV: {reason}") from None
    else:
        lists = [line.split(",") for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line]
    if len(lists) > MOST_RECORDS:
        raise _too_many()
    return _named(lists, header) if header and lists else [*lists]


def _named(lists: list[list[str]], header: Sequence[str]) -> list[Row]:
    """Without the header row, where the first one is one."""
    first = [name.strip() for name in lists[0]]
    if first == list(header):
        return [*lists[1:]]
    if header[0] in first and set(header) <= set(first) and len(set(first)) == len(first):
        width = len(first)
        return [dict(zip(first, row, strict=True)) if len(row) == width else row for row in lists[1:]]
    return [*lists]


def rows_in(document: Any, is_columnar: bool = True) -> list[Row]:
    """The records of a JSON value, as `rows_of` finds them. Raises PayloadError when there are too many.

    `is_columnar`: False where something else tells that an object of lists is one record.
    """
    if isinstance(document, dict):
        return _rows_of_object(document, is_columnar)
    if isinstance(document, list) and document and isinstance(document[0], list | dict):
        return _listed(document)
    return [_json_row(document)]


def _rows_of_object(document: dict[str, Any], is_columnar: bool) -> list[Row]:
    for key in _LISTS:
        found = document.get(key)
        if isinstance(found, list):
            tensors = _tensors(found)
            return _listed(found) if tensors is None else tensors
        if isinstance(found, dict) and (columns := columns_of(found)) is not None:
            return columns
    for key in _FRAMES:
        if isinstance(document.get(key), dict) and (rows := _frame(document[key])) is not None:
            return rows
    if (rows := _frame(document)) is not None:
        return rows
    features = document.get("features")
    if isinstance(features, list):
        if features and all(isinstance(row, list) for row in features):
            return _listed(features)
        return [_json_row(document)]
    columns = columns_of(document) if is_columnar else None
    return [_json_row(document)] if columns is None else columns


def _frame(document: dict[str, Any]) -> list[Row] | None:
    """The rows of pandas' "split" form: names in `columns`, lists of values in `data`."""
    names, data = document.get("columns"), document.get("data")
    if not (isinstance(names, list) and isinstance(data, list) and all(isinstance(name, str) for name in names)):
        return None
    if len(set(names)) < len(names) or not all(isinstance(row, list) for row in data):
        return None
    rows = _listed(data)
    return [dict(zip(names, row, strict=True)) if len(row) == len(names) else row for row in rows]


def _tensors(found: list[Any]) -> list[Row] | None:
    """The records of the open inference protocol (KServe's second): tensors with `name`, `shape` and flat `data`.

    One tensor of several values per record gives lists, tensors of one value per record give objects by name; None
    for anything else.
    """
    columns: dict[str, list[Any]] = {}
    counts: set[int] = set()
    for each in found:
        if not isinstance(each, dict):
            return None
        name, shape, data = each.get("name"), each.get("shape"), each.get("data")
        if not (isinstance(name, str) and isinstance(shape, list) and isinstance(data, list)):
            return None
        if not shape or type(shape[0]) is not int or shape[0] < 1 or len(data) % shape[0] or name in columns:
            return None
        if any(isinstance(value, list | dict) for value in data):
            return None
        counts.add(shape[0])
        columns[name] = data
    if len(columns) == 1:
        ((data,), (count,)) = columns.values(), counts
        width = len(data) // count
        if width > 1:
            return _listed([data[start : start + width] for start in range(0, len(data), width)])
    elif any({len(data)} != counts for data in columns.values()):
        return None
    return columns_of(dict(columns))


def are_columns(document: dict[str, Any]) -> bool:
    """Whether an object is columnar JSON: lists of one length with nothing nested in them."""
    columns = list(document.values())
    if not columns or not all(isinstance(column, list) for column in columns):
        return False
    if any(len(column) != len(columns[0]) for column in columns):
        return False
    return not any(isinstance(value, list | dict) for column in columns for value in column)


def columns_of(document: dict[str, Any]) -> list[Row] | None:
    """The records of columnar JSON, by position; None for another object. Raises PayloadError for too many."""
    if not are_columns(document):
        return None
    columns = list(document.values())
    if len(columns[0]) > MOST_RECORDS:
        raise _too_many()
    return [dict(zip(document, values, strict=True)) for values in zip(*columns, strict=True)]


def _listed(records: list[Any]) -> list[Row]:
    if len(records) > MOST_RECORDS:
        raise _too_many()
    return [_json_row(record) for record in records]


def _json_row(record: Any) -> Row:
    if isinstance(record, dict):
        features = record.get("features")
        return features if isinstance(features, list) else record
    return record if isinstance(record, list) else [record]
