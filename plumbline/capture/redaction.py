"""Leave values out of payloads before they are written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection
from typing import Any

from plumbline.capture.lines import CSV_TYPES, JSON_TYPES, Mode

# (which side, its bytes, its content type) -> the bytes to write. What raises is not written at all.
Redact = Callable[[Mode, bytes, str], bytes]


def blank(fields: Collection[str] = (), columns: Collection[int] = ()) -> Redact:
    """A redaction of inputs: JSON `fields` (at any depth) become null, CSV `columns` (0-based) become empty.

    Outputs stay. An input that is neither CSV nor JSON, or cannot be read, raises ValueError: the writer then drops the
    request and counts it, for it cannot be seen what the payload holds.
    """
    names, places = frozenset(fields), frozenset(columns)

    def redact(mode: Mode, body: bytes, content_type: str) -> bytes:
        if mode == "OUTPUT":
            return body
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type in CSV_TYPES:
            return _csv(body, places)
        if media_type in JSON_TYPES:
            lines = [body] if media_type == "application/json" else body.splitlines()
            return b"\n".join(_json(each, names) for each in lines if each.strip())
        raise ValueError(f"expected an input of CSV or JSON, got {media_type or 'no content type'}")

    return redact


def _csv(body: bytes, columns: frozenset[int]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in csv.reader(io.StringIO(body.decode(), newline=""), strict=True):
        writer.writerow(["" if index in columns else value for index, value in enumerate(row)])
    return out.getvalue().encode()


def _json(body: bytes, fields: frozenset[str]) -> bytes:
    return json.dumps(_without(json.loads(body), fields), separators=(",", ":")).encode()


def _without(value: Any, fields: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name: None if name in fields else _without(each, fields) for name, each in value.items()}
    return [_without(each, fields) for each in value] if isinstance(value, list) else value
