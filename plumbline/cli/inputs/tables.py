"""A data set for a baseline, as named columns: CSV with a header, JSON Lines of objects, or Parquet.

Values stay as written: text from CSV, JSON values from JSON Lines. An error names the row and the fault, never a value.
Not here: what a column means.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any

import msgspec
import numpy as np

from chalicelib.errors import UNDECODABLE, MisconfiguredError, UnreadableError
from chalicelib.records.capture import lines_of
from chalicelib.records.files import kind_of
from chalicelib.records.values import number_of
from plumbline.cli.inputs.places import File

_JSON = (".jsonl", ".json", ".ndjson", ".jsonlines")
_PARQUET = (".parquet", ".pq")
# By pyarrow's type names.
_SHORT_FLOATS: dict[str, Any] = {"float": np.float32, "halffloat": np.float16}
_INDEX = re.compile(r"__index_level_[0-9]+__")

# Files that are not data sets, with their names for an error.
_CAPTURED = {"capture": "captures", "merged": "merged records", "ground-truth": "labels", "manifest": "a manifest"}

Columns = dict[str, list[Any]]


def read_table(file: File, header: bool = True) -> Columns:
    """The columns of a data set, each with one value per row; `header` False: a CSV's columns are _c0, _c1, ...

    A key that an object lacks is None. Raises UnreadableError naming file, row and reason for a data set that is
    damaged, has no rows, or (CSV) has rows of different lengths.
    """
    body, name = file.read(), file.name.lower()
    if (kind := kind_of(body)) in _CAPTURED:
        raise UnreadableError(file.name, f"expected a table, got {_CAPTURED[kind]}; `plumbline evaluate` reads them")
    if name.endswith(_PARQUET):
        columns = _parquet(body, file.name)
    elif name.endswith(_JSON) or body.lstrip()[:1] == b"{":
        columns = _json_lines(body, file.name)
    else:
        columns = _csv(body, file.name, header)
    if not columns or not len(next(iter(columns.values()))):
        raise UnreadableError(file.name, "expected a table with rows, got none")
    return columns


def joined(tables: Sequence[tuple[File, Columns]]) -> Columns:
    """The rows of several files of one data set, with the columns in the first file's order.

    Objects may lack keys, so JSON Lines have the keys of all files. Raises UnreadableError when other files' column
    names differ.
    """
    (file, first), *others = tables
    columns = {name: list(values) for name, values in first.items()}
    objects = _is_json(file)
    rows = len(next(iter(columns.values())))
    for file, more in others:
        objects = objects and _is_json(file)
        count = len(next(iter(more.values())))
        if objects:
            for name in more.keys() - columns.keys():
                columns[name] = [None] * rows
            more = {**{name: [None] * count for name in columns}, **more}
        rows += count
        if more.keys() != columns.keys():
            missing, added = len(columns.keys() - more.keys()), len(more.keys() - columns.keys())
            differ = f"missing: {missing}, others: {added}"
            raise UnreadableError(file.name, f"expected the {len(columns)} columns of the first file; {differ}")
        for name, values in more.items():
            columns[name] += values
    return columns


def _is_json(file: File) -> bool:
    return file.name.lower().endswith(_JSON) or file.read().lstrip()[:1] == b"{"


def _csv(body: bytes, where: str, header: bool) -> Columns:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise UnreadableError(
            where, f"expected UTF-8 text; line {line} is not (byte {error.start} of the file)"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    names: list[str] = []
    try:
        for row in reader:
            if not row:
                continue
            if not names:
                _check_names([name.strip() for name in row], where, header)
                names = [name.strip() for name in row] if header else [f"_c{index}" for index in range(len(row))]
                if header:
                    continue
            if len(row) != len(names):
                raise UnreadableError(where, f"line {reader.line_num} has {len(row)} values; expected {len(names)}")
            rows.append(row)
    except csv.Error as error:
        raise UnreadableError(where, f"line {reader.line_num} is not CSV: {error}") from None
    return dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=False))


def _check_names(names: list[str], where: str, header: bool) -> None:
    # A first row that is not a header holds data, so its texts are not shown.
    advice = "if the first line is not a header, use --no-header"
    if len(names) == 1 and (found := next((each for each in ";\t|" if each in names[0]), "")):
        raise UnreadableError(where, f"expected commas between columns; the first line has none, and has {found!r}")
    if not header:
        return
    if len(names) > 1 and all(number_of(name) == number_of(name) for name in names):
        raise UnreadableError(where, "every column of the first line is a number; use --no-header")
    if "" in names:
        raise UnreadableError(where, f"column {names.index('') + 1} of the header has no name; {advice}")
    _check_different(names, where, f"; {advice}")


def _check_different(names: list[str], where: str, advice: str = "") -> None:
    if len(set(names)) < len(names):
        second = next(index for index, name in enumerate(names) if name in names[:index])
        first = names.index(names[second])
        raise UnreadableError(where, f"columns {first + 1} and {second + 1} have the same name{advice}")


def _json_lines(body: bytes, where: str) -> Columns:
    columns: Columns = {}
    for count, (number, line) in enumerate(lines_of(body)):
        try:
            record = msgspec.json.decode(line)
        except UNDECODABLE:
            raise UnreadableError(where, f"line {number} is not JSON") from None
        if not isinstance(record, dict):
            raise UnreadableError(where, f"line {number} is not an object of columns")
        if "" in record:
            raise UnreadableError(where, f"line {number} has a column without a name")
        for name in record:
            if name not in columns:
                columns[name] = [None] * count
        for name, column in columns.items():
            column.append(record.get(name))
    return columns


def _parquet(body: bytes, where: str) -> Columns:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        expected = "CSV or JSON Lines; Parquet needs pyarrow (pip install pyarrow)"
        raise MisconfiguredError("TABLE", where, expected) from None
    try:
        stored = parquet.read_schema(io.BytesIO(body)).names
        if "" in stored:
            raise UnreadableError(where, f"column {stored.index('') + 1} has no name")
        # pyarrow rejects two columns of one name, without saying why.
        _check_different(stored, where)
        table = parquet.read_table(io.BytesIO(body))
    except (OSError, ValueError) as error:  # pyarrow's own errors are these
        raise UnreadableError(where, f"is not Parquet: {type(error).__name__}") from None
    # The index of a pandas frame that was filtered or shuffled is stored beside its columns.
    names = [name for name in table.column_names if not _INDEX.fullmatch(name)]
    return {name: _column(table.column(name), name, where) for name in names}


def _column(column: Any, name: str, where: str) -> list[Any]:
    values = column.to_pylist()
    kind = getattr(column.type, "value_type", column.type)  # a dictionary's own type is that of its values
    if short := _SHORT_FLOATS.get(str(kind)):
        # A 32-bit float is taken by its shortest text: 0.1, not the 0.10000000149011612 of its 64 bits.
        return [float(str(short(value))) if isinstance(value, float) else value for value in values]
    return [_plain(value, name, where) for value in values]


def _plain(value: Any, column: str, where: str) -> Any:
    """A Parquet value as CSV and JSON write it: decimals with all their digits, times in ISO 8601."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, bytes):  # older writers do not mark bytes as text
        try:
            return value.decode()
        except UnicodeDecodeError:
            expected = "numbers, texts, true and false, times"
            raise UnreadableError(where, f"column {column!r} has bytes; expected {expected}") from None
    return value
