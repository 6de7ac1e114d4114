"""What is inside a payload: the rows of a CSV, JSON, JSON Lines or Base64 text.

Knows the shapes that SageMaker's built-in containers, its sample notebooks and its serving stacks use; refuses to
know which value is a feature, a probability or a label (`table`). Reasons name shapes and positions, never values.
"""

from __future__ import annotations

import csv
import io
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.records.capture import Payload

# One record: its values in order, or by name.
Row = list[Any] | dict[str, Any]


class PayloadError(ValueError):
    """A payload cannot be read. The text says why, and holds nothing of the payload."""


class Content(msgspec.Struct, frozen=True):
    """A decoded payload: `documents` holds one JSON value per document (several for JSON Lines), or None for CSV."""

    rows: list[Row]
    documents: list[Any] | None = None
    is_lines: bool = False


def rows_of(payload: Payload, header: Sequence[str] = ()) -> list[Row]:
    """The records of a payload, in order: lists of values (text for CSV), or objects by name.

    A first CSV row that equals `header` is dropped. `{"instances": [1.0, 2.0]}` is two records of one value;
    `[1.0, 2.0]` alone is one record of two. Raises PayloadError. Shapes: model-monitor formats, section 2.1.
    """
    return content_of(payload, header).rows


def content_of(payload: Payload, header: Sequence[str] = ()) -> Content:
    """Decode a payload: its rows, and its JSON documents where it is JSON. Arguments and errors as `rows_of`."""
    encoding = payload.encoding.upper()
    kind = (payload.content_type or "").split(";", 1)[0].strip().lower()
    text = payload.data
    if encoding == "BASE64":
        text = _from_base64(text)
        # The declared type is often wrong here (a wrong type is why it was stored as Base64): what the text shows wins.
        if kind != "text/csv" and text.lstrip()[:1] in ("{", "["):
            encoding = "JSON"
        else:
            encoding = "JSON" if "json" in kind else "CSV"
    elif encoding not in ("CSV", "JSON"):
        encoding = "JSON" if "json" in kind else "CSV"
    if not text or text.isspace():
        raise PayloadError("payload is empty")
    if encoding == "CSV":
        return Content(_csv_rows(text, header))
    if kind in ("application/jsonlines", "application/x-jsonlines", "application/jsonl", "application/x-ndjson"):
        documents = [_from_json(line) for line in text.split("\n") if line and not line.isspace()]
        return Content([row for document in documents for row in _json_rows(document)], documents, True)
    document = _from_json(text)
    return Content(_json_rows(document), [document])


def _from_base64(text: str) -> str:
    try:
        return b64decode(text, validate=True).decode("utf-8")
    except UnicodeDecodeError:
        raise PayloadError("payload is not UTF-8 text") from None
    except ValueError:
        raise PayloadError("payload is not Base64") from None


def _from_json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise PayloadError("payload is not JSON") from None


def _csv_rows(text: str, header: Sequence[str]) -> list[Row]:
    rows: list[Row]
    if '"' in text:
        try:
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        except csv.Error:
            raise PayloadError("payload is not CSV: a quoted field does not end") from None
    else:
        rows = [line.split(",") for line in text.replace("\r", "").split("\n") if line]
    if header and rows and isinstance(rows[0], list) and [name.strip() for name in rows[0]] == list(header):
        del rows[0]
    return rows


def _json_rows(document: Any) -> list[Row]:
    if isinstance(document, dict):
        for key in ("instances", "predictions"):
            if isinstance(document.get(key), list):
                return [_json_row(record) for record in document[key]]
        features = document.get("features")
        if isinstance(features, list) and features and all(isinstance(row, list) for row in features):
            return list(features)
        return [_json_row(document)]
    if isinstance(document, list) and document and isinstance(document[0], list | dict):
        return [_json_row(record) for record in document]
    return [_json_row(document)]


def _json_row(record: Any) -> Row:
    if isinstance(record, dict):
        features = record.get("features")
        return features if isinstance(features, list) else record
    return record if isinstance(record, list) else [record]
