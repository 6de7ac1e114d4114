"""Which kind of file this is, by its first record: a folder may hold captures, labels, merged records or a transform's.

Knows the marks of each kind; refuses to read more than one record (each kind has a reader of its own).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from chalicelib.errors import UNDECODABLE
from chalicelib.records.batch import ID
from chalicelib.records.capture import lines_of
from chalicelib.records.payload import ANSWER

FileKind = Literal["capture", "merged", "ground-truth", "manifest", "transform", "empty", "unknown"]


def kind_of(body: bytes) -> FileKind:
    """The kind of a file, by its first line that is one of any kind; "unknown" where there is none.

    A line of a transform's CSV output has no mark but the inference time in its last column.
    """
    found: FileKind = "empty"
    for number, line in lines_of(body):
        if number > 100:
            break
        if (kind := _kind_of_line(line)) != "unknown":
            return kind
        found = "unknown"
    return _kind_of_document(body) if found == "unknown" else found


def _kind_of_line(line: bytes) -> FileKind:
    if line.lstrip()[:1] in (b"{", b"["):
        return _kind_of_document(line)
    last = line.rsplit(b",", 1)[-1].strip(b' "\r')
    return "transform" if b"," in line and len(last) == 20 and last[10:11] == b"T" and last[-1:] == b"Z" else "unknown"


def _kind_of_document(body: bytes) -> FileKind:
    try:
        document: Any = msgspec.json.decode(body)
    except UNDECODABLE:
        return "unknown"
    if isinstance(document, list):
        first = document[0] if document else None
        return "manifest" if isinstance(first, dict) and "prefix" in first else "unknown"
    if not isinstance(document, dict):
        return "unknown"
    if "captureData" in document:
        return "merged" if "groundTruthData" in document else "capture"
    if "groundTruthData" in document:
        return "ground-truth"
    return "transform" if ID in document or ANSWER in document else "unknown"
