"""The profile of a data set: types, moments, quantiles and categories of each column.

Classifies raw values. Values are payload. Not here: what is expected of them (`monitors.data_quality`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.records.table import Table
from chalicelib.records.values import is_infinite, is_missing, number_of, text_of
from chalicelib.states.categories import Categories, categories_of
from chalicelib.states.moments import Moments, moments_of_counts
from chalicelib.states.quantiles import Quantiles, QuantilesFold
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

# 2: its quantiles and categories are of other versions.
VERSION = 2

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class Column(msgspec.Struct, frozen=True, array_like=True):
    """One column's present values: how many of each type, and what they are.

    `position` orders the columns of a profile. Numbers are in `moments` and `quantiles`; every present value, as
    text, in `categories`. `unknown` counts infinities, numbers too large for a float64 and nested JSON values (the
    latter are in no other field).
    """

    name: str
    position: int
    integral: int = 0
    fractional: int = 0
    boolean: int = 0
    string: int = 0
    unknown: int = 0
    moments: Moments = Moments()
    quantiles: Quantiles = Quantiles()
    categories: Categories = Categories()

    def __post_init__(self) -> None:
        counts = (self.integral, self.fractional, self.boolean, self.string, self.unknown, self.position)
        if not 0 <= min(counts) <= max(counts) <= MOST_ROWS:
            raise ValueError(f"counts from 0 to {MOST_ROWS}")

    def __add__(self, other: Column) -> Column:
        return Column(
            self.name,
            min(self.position, other.position),
            self.integral + other.integral,
            self.fractional + other.fractional,
            self.boolean + other.boolean,
            self.string + other.string,
            self.unknown + other.unknown,
            self.moments + other.moments,
            self.quantiles + other.quantiles,
            self.categories + other.categories,
        )

    @property
    def present(self) -> int:
        """How many rows have a value here."""
        return self.integral + self.fractional + self.boolean + self.string + self.unknown

    @property
    def inferred_type(self) -> str:
        """Integral, Fractional, String or Unknown (no value at all): one value that is no number makes a String."""
        if not self.present:
            return "Unknown"
        if self.boolean or self.string or self.unknown:
            return "String"
        return "Fractional" if self.fractional else "Integral"


class Profile(msgspec.Struct, frozen=True, array_like=True):
    """Columns of a data set; `Profile()` is the identity of `+`.

    `rows` counts the records described, `records` all of them. `irregular`: (width, records) of records that have
    another number of features than the `feature_width` expected. Bytes do not depend on the split of the rows while
    no column has more than `quantiles.K` numbers; beyond that the quantiles agree within their stated bound.
    """

    rows: int = 0
    columns: tuple[Column, ...] = ()
    records: int = 0
    feature_width: int = 0
    irregular: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        counts = (self.rows, self.records, self.feature_width, *(count for pair in self.irregular for count in pair))
        if not 0 <= min(counts) <= max(counts) <= MOST_ROWS:
            raise ValueError(f"counts from 0 to {MOST_ROWS}")
        if any(one[0] >= other[0] for one, other in pairwise(self.irregular)):
            raise ValueError("each width once, in order")
        order = [(column.position, column.name) for column in self.columns]
        if order != sorted(order) or len({name for _, name in order}) < len(order):
            raise ValueError("each column once, in order")

    def __add__(self, other: Profile) -> Profile:
        columns = {column.name: column for column in self.columns}
        for column in other.columns:
            known = columns.get(column.name)
            columns[column.name] = column if known is None else known + column
        widths = Counter(dict(self.irregular))
        widths.update(dict(other.irregular))
        ordered = sorted(columns.values(), key=lambda column: (column.position, column.name))
        return Profile(
            self.rows + other.rows,
            tuple(ordered),
            self.records + other.records,
            max(self.feature_width, other.feature_width),
            tuple(sorted(widths.items())),
        )

    def column(self, name: str) -> Column | None:
        """The column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def to_bytes(self) -> bytes:
        return pack("profile", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Profile:
        """Raises UnreadableError."""
        return unpack(body, "profile", VERSION, cls)


def profile_of(table: Table) -> Profile:
    """The profile of a table: its named outputs first, then its features (Model Monitor's order).

    Irregular records are counted, and are no part of any column.
    """
    columns = {**table.outputs, **table.features}
    if not table.regular.all():
        kept = np.flatnonzero(table.regular).tolist()
        columns = {name: [values[index] for index in kept] for name, values in columns.items()}
    rows = int(table.regular.sum())
    irregular = tuple(sorted(table.irregular.items()))
    return Profile(rows, _columns(columns), len(table), len(table.features), irregular)


def profile_of_columns(columns: Mapping[str, Sequence[Any]], rows: int) -> Profile:
    """The profile of named columns of `rows` raw values each (CSV text or JSON values)."""
    return Profile(rows, _columns(columns), rows, len(columns))


def _columns(columns: Mapping[str, Sequence[Any]]) -> tuple[Column, ...]:
    return tuple(column_of(name, position, values) for position, (name, values) in enumerate(columns.items()))


def column_of(name: str, position: int, values: Sequence[Any]) -> Column:
    """The profile of one column of raw values.

    Text is classified as its characters say: 1 is integral, 1.0 and 1e3 are fractional, true and false (any case)
    boolean. Empty or blank text, null and NaN are missing. What is a number `values.number_of` says.
    """
    # Text is counted first: whatever follows works on distinct values only.
    texts: Counter[str]
    unknown = 0
    if set(map(type, values)) <= {str}:
        texts = Counter(values)
    else:
        texts = Counter(text_of(value) for value in values if not isinstance(value, list | dict))
        unknown = sum(isinstance(value, list | dict) for value in values)
    return column_of_counts(name, position, texts, unknown)


def column_of_counts(name: str, position: int, texts: Mapping[str, int], unknown: int = 0) -> Column:
    """The profile of a column in which each text occurs so many times, and `unknown` values that are no text."""
    numbers, weights, fractional, others = _numbers(texts)
    boolean = string = 0
    present = dict(texts)
    for text in others:
        if is_missing(text):
            del present[text]
        elif (word := text.strip().lower()) in ("true", "false"):
            boolean += texts[text]
            # CSV writers say True or TRUE where JSON says true.
            del present[text]
            present[word] = present.get(word, 0) + texts[text]
        elif is_infinite(text):
            unknown += texts[text]
        else:
            string += texts[text]
    quantiles = QuantilesFold()
    if len(numbers):
        quantiles.add_counts(*_distinct(numbers, weights))
    return Column(
        name,
        position,
        int(weights.sum()) - fractional,
        fractional,
        boolean,
        string,
        unknown,
        moments_of_counts(numbers, weights),
        quantiles.state,
        categories_of(present),
    )


def _distinct(numbers: Floats, weights: Counts) -> tuple[Floats, Counts]:
    """Each number once: 1, 1.0 and 01 are three texts."""
    distinct, places = np.unique(numbers + 0.0, return_inverse=True)
    totals = np.zeros(len(distinct), dtype=np.int64)
    np.add.at(totals, places, weights)
    return distinct, totals


def _numbers(
    texts: Mapping[str, int],
) -> tuple[Floats, Counts, int, list[str]]:
    """Distinct finite numbers, their counts, how many rows are fractional, and the texts that are no finite number."""
    others: list[str] = []
    numeric: Mapping[str, int] = texts
    numbers = np.fromiter(map(number_of, texts), dtype=np.float64, count=len(texts))
    finite = np.isfinite(numbers)
    if not finite.all():
        others = [text for text, known in zip(texts, finite.tolist(), strict=True) if not known]
        numeric = {text: count for (text, count), known in zip(texts.items(), finite.tolist(), strict=True) if known}
        numbers = numbers[finite]
    fractional = sum(count for text, count in numeric.items() if "." in text or "e" in text or "E" in text)
    return numbers, np.fromiter(numeric.values(), dtype=np.int64, count=len(numeric)), fractional, others
