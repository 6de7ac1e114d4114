"""Label files of other systems: CSV with a header, JSON Lines or a JSON list, by the names that a mapping says.

Knows how a row becomes a label; refuses to know what the label means (`table`) and where files lie. SageMaker's own
ground-truth files are read as such, mapping or not.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.errors import MisconfiguredError, UnreadableError
from chalicelib.records.capture import UNREADABLE, BadLines, lines_of, plausible
from chalicelib.records.ground_truth import (
    CLOCK_DIFFERENCE,
    MOST_RECORDS,
    GroundTruthFile,
    Label,
    not_after,
    read_ground_truth,
)

_OWN = b'"groundTruthData"'


class LabelMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names of columns (CSV) or keys (JSON): of the inference or event id, of the label, and of what else there is.

    `label_time`: when the label became known, ISO 8601 with an offset; without it the file's arrival counts.
    `inference_time`: when the request was made. `record_index`: of which record of the request, from 0.
    """

    id: str
    label: str
    label_time: str = ""
    inference_time: str = ""
    record_index: str = ""
    delimiter: str = ","


def check_mapping(mapping: LabelMapping) -> None:
    """Raises MisconfiguredError for names that are empty or used twice, and for a delimiter of several characters."""
    for field in ("id", "label"):
        if not getattr(mapping, field):
            raise MisconfiguredError(field, "", "the name of a column")
    names = [mapping.id, mapping.label, mapping.label_time, mapping.inference_time, mapping.record_index]
    given = [name for name in names if name]
    if len(set(given)) < len(given):
        raise MisconfiguredError("id", sorted(given), "a column of its own for each")
    if len(mapping.delimiter) != 1 or mapping.delimiter in '"\r\n':
        raise MisconfiguredError("delimiter", mapping.delimiter, "one character, such as , or ; or a tab")


def is_sagemakers(body: bytes) -> bool:
    """Whether a file is read as SageMaker's, whatever mapping there is: its first line is a ground-truth record."""
    return _OWN in body.lstrip()[:4096].partition(b"\n")[0]


def read_label_file(body: bytes, where: str, arrived: datetime, mapping: LabelMapping | None = None) -> GroundTruthFile:
    """Read a label file by the mapping, or as SageMaker's where there is none or its first line is one of those.

    `arrived` stands for a label time that is not there, and none may be later by more than `CLOCK_DIFFERENCE`; `where`
    names the file. Rows that cannot be read are counted
    and named. Raises UnreadableError when there are rows and none is a label.
    """
    if mapping is None or is_sagemakers(body):
        return read_ground_truth(body, where, arrived, arrived + CLOCK_DIFFERENCE)
    labels: list[Label] = []
    bad_lines = BadLines(where, "a row with an id and a label")
    for number, found in _rows(body, where, mapping):
        try:
            row = msgspec.json.decode(found, type=dict[str, Any]) if isinstance(found, bytes) else found
            labels.append(_label(row, mapping, where, arrived))
        except UNREADABLE as error:
            bad_lines.add(number, error, len(labels))
    bad_lines.refuse_if_hopeless(len(labels))
    return GroundTruthFile(labels, bad_lines.named, bad_lines.more)


def _rows(body: bytes, where: str, mapping: LabelMapping) -> Iterator[tuple[int, Mapping[str, Any] | bytes]]:
    """Rows by their numbers; of JSON Lines the lines as they are, each of which may be no JSON."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableError(where, "expected CSV or JSON in UTF-8") from None
    start = text.lstrip()[:1]
    if start == "[":
        try:
            yield from enumerate(msgspec.json.decode(text, type=list[dict[str, Any]]), 1)
        except (msgspec.DecodeError, RecursionError):
            raise UnreadableError(where, "expected a JSON list of objects") from None
    elif start == "{":
        yield from lines_of(body)
    elif text.strip():
        try:
            reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mapping.delimiter)
            # Asking for the names reads the header, which may be as broken as any row.
            missing = [name for name in (mapping.id, mapping.label) if name not in (reader.fieldnames or ())]
            if missing:
                raise UnreadableError(where, f"its header has no column {' and no column '.join(missing)}")
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise UnreadableError(where, f"expected CSV: {error}") from None


def _label(row: Mapping[str, Any], mapping: LabelMapping, where: str, arrived: datetime) -> Label:
    known = _value(row, mapping.label_time)
    asked = _value(row, mapping.inference_time)
    index = _value(row, mapping.record_index)
    if index and not (index.isdecimal() and index.isascii() and len(index) < 10 and int(index) < MOST_RECORDS):
        raise OverflowError(f"a record index that is no whole number below {MOST_RECORDS}")
    id, data = _value(row, mapping.id), _value(row, mapping.label)
    if not id or not data:
        raise OverflowError("no id" if not id else "no label")
    return Label(
        id,
        data,
        "JSON" if data[:1] in "[{" else "CSV",
        not_after(_time(known), arrived + CLOCK_DIFFERENCE) if known else arrived,
        _time(asked) if asked else None,
        where,
        int(index) if index else None,
    )


def _value(row: Mapping[str, Any], name: str) -> str:
    """A cell as text; JSON's numbers, lists and so on as their JSON; "" where there is none."""
    found = row.get(name) if name else None
    if found is None:
        return ""
    return found.strip() if isinstance(found, str) else msgspec.json.encode(found).decode()


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise OverflowError("a time that is not ISO 8601") from None
    if time.tzinfo is None:
        raise OverflowError("a time without an offset")
    return plausible(time)
