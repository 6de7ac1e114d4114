"""Which rows a facet selects, and which labels are positive: by value, list of values, threshold or interval.

Spellings of one value ("1", 1 and 1.0) are equal. A setting's meaning never depends on the data, while Clarify reads a
number as a value or as a threshold, depending on the column's number of distinct values. Raw values are payload. Not
here: what is counted of the rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError
from chalicelib.records import values
from chalicelib.records.values import word_of

Value = str | int | float | bool
# 1: selected, 0: not, MISSING: the row has no value that could be compared.
Members = npt.NDArray[np.int8]
MISSING = -1


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Exactly one of: `values` (any of them), `above` (greater than), `interval` (greater than the first number, not
    greater than the second)."""

    values: tuple[Value, ...] = ()
    above: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """As Clarify prints it: "0", "0,1", "(17.0, 25.0]"; a threshold is "(0.5, Infinity)", whatever the data."""
        if self.above is not None:
            return f"({float(self.above)!r}, Infinity)"
        if self.interval is not None:
            return f"({float(self.interval[0])!r}, {float(self.interval[1])!r}]"
        return ",".join(str(word_of(value)) for value in self.values)

    def members(self, column: Sequence[Any]) -> Members:
        """1, 0 or MISSING for each raw value (CSV text or JSON values), shape (n,).

        For a threshold or an interval a value that is no number is missing.
        """
        wanted = {word_of(value) for value in self.values}
        known: dict[str | None, int] = {None: MISSING}
        found = np.empty(len(column), dtype=np.int8)
        for index, word in enumerate(words_of(column)):
            if word not in known:
                known[word] = self._member(word, wanted)
            found[index] = known[word]
        return found

    def _member(self, word: str | None, wanted: set[str | None]) -> int:
        if self.above is None and self.interval is None:
            return int(word in wanted)
        number = number_of(word)
        if number is None:
            return MISSING
        low, high = self.interval or (self.above or 0.0, math.inf)
        return int(low < number <= high)


class Facet(Selection, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A column, and which of its rows may be disfavoured (Clarify's facet d); all others are compared with them."""

    name: str


class BiasSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The bias settings of Clarify's analysis configuration.

    `label_name` is how reports name the label; positive are the labels and predictions in `label_values`, or above
    `label_above`. `group_variable`: the column by which demographic disparity is conditioned; empty: CDDL and CDDPL
    are not computed and say so.
    """

    facets: tuple[Facet, ...]
    label_name: str = "label"
    label_values: tuple[Value, ...] = (1,)
    label_above: float | None = None
    group_variable: str = ""

    @property
    def positive(self) -> Selection:
        """Which labels and predictions are positive."""
        if self.label_above is not None:
            return Selection(above=self.label_above)
        return Selection(values=self.label_values)


def check(settings: BiasSettings) -> None:
    """Refuse settings that cannot work; raises MisconfiguredError naming the field, its value and what was expected."""
    if not settings.facets:
        raise MisconfiguredError("facets", [], "at least one facet")
    for position, facet in enumerate(settings.facets):
        field = f"facets[{position}]"
        if not facet.name:
            raise MisconfiguredError(f"{field}.name", "", "the name of a column")
        _check_selection(field, facet)
    keys = [(facet.name, facet.text) for facet in settings.facets]
    if twice := sorted(f"{name} {text}" for (name, text), count in Counter(keys).items() if count > 1):
        raise MisconfiguredError("facets", twice, "each facet once")
    if settings.label_above is not None:
        if not math.isfinite(settings.label_above):
            raise MisconfiguredError("label_above", settings.label_above, "a finite number")
    elif not settings.label_values:
        raise MisconfiguredError("label_values", [], "at least one value, or label_above")
    else:
        _check_values("label_values", settings.label_values)


def words_of(column: Sequence[Any]) -> list[str | None]:
    """Each raw value in the one spelling under which it is compared; None where it is missing."""
    known: dict[tuple[type, Any], str | None] = {}
    words = []
    for value in column:
        if isinstance(value, list | dict):
            words.append(word_of(value))
            continue
        # 1, 1.0 and True are one key of a dictionary, and not one value.
        key = (type(value), value)
        if key not in known:
            known[key] = word_of(value)
        words.append(known[key])
    return words


def number_of(text: str | None) -> float | None:
    """The finite number that a text is, or None."""
    number = values.number_of(text)
    return None if number != number else number


def _check_selection(field: str, selection: Selection) -> None:
    given = [name for name in ("values", "above", "interval") if getattr(selection, name) not in ((), None)]
    if len(given) != 1:
        raise MisconfiguredError(field, given, "exactly one of values, above, interval")
    _check_values(f"{field}.values", selection.values)
    if selection.above is not None and not math.isfinite(selection.above):
        raise MisconfiguredError(f"{field}.above", selection.above, "a finite number")
    if selection.interval is not None:
        low, high = selection.interval
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise MisconfiguredError(f"{field}.interval", list(selection.interval), "two numbers, the smaller first")


def _check_values(field: str, values: Sequence[Value]) -> None:
    words = [word_of(value) for value in values]
    if None in words or len(set(words)) != len(words):
        raise MisconfiguredError(field, list(values), "values that are not empty, each once")
