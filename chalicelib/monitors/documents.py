"""The JSON of every file that Plumbline writes: strict, and the same bytes for the same document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Half surrogate pairs, which UTF-8 lacks: Python uses them for bytes of a file name that are not UTF-8.
_LONG_NUMBER = re.compile(r"\d+\.\d{5,}(?:[eE][-+]?\d+)?")
_HALF_PAIRS = re.compile("[\ud800-\udfff]")


def encode_json(document: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON, keys in the document's own order, one line end at the end; half surrogate pairs become U+FFFD.

    Raises ValueError for NaN and infinities, which strict JSON lacks (Model Monitor writes the string "NaN").
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _HALF_PAIRS.sub("\ufffd", text).encode() + b"\n"


def shortened(description: str) -> str:
    """A violation's description for people: four digits of each number, and no deviation that is not known."""
    known = description.replace(" +/- NaN", "")
    return _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.4g}", known)


def violations_document(violations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of constraint_violations.json (model-monitor formats, sections 5.3 and 6.4)."""
    return {"violations": list(violations)}


def bias_violations_document(violations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same as Clarify's monitors write it, with a version (sections 7.3 and 8)."""
    return {"version": "1.0", "violations": list(violations)}
