"""Question counts: how many rows of a window answer "yes" to each question that one baseline asks.

Every column is asked a few yes/no questions (is the value missing, is it at or below 31, is it category c); labelled
rows are asked whether the answer was wrong. Counts of two windows of the same baseline are added, so a block of windows
is a sum and no sketch is merged again. They are made from the states that a window has, not from its rows.

Not here: which questions a baseline asks (`evidence.questions`) and what a difference means (`evidence.shares`). Names
of categories and cuts are the baseline's values: payload. The counts themselves name none.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.states.categories import Categories, counts_in
from chalicelib.states.profile import Column, Profile
from chalicelib.states.quantiles import Quantiles
from chalicelib.states.selection import LABELLED, Selection
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 1

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class ColumnQuestions(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one column of a baseline.

    `numeric`: values are read as numbers, and what is no number counts as missing; else as texts. `cuts`: "at or below"
    each of them. `larger`: "larger than a random row of the baseline". `bounds`: "outside the baseline's range", None
    where it is not asked. `categories`: "is it this value", numbers as `repr` writes them. `other`: "is it another
    value that the baseline has". `not_seen`: "is it a value that the baseline never had"; only where all are known.
    """

    name: str
    numeric: bool
    cuts: tuple[float, ...] = ()
    larger: bool = False
    bounds: tuple[float, float] | None = None
    categories: tuple[str, ...] = ()
    other: bool = False
    not_seen: bool = False

    @property
    def constant(self) -> bool:
        """Whether the baseline has one number: its two cuts are the number before it ("below") and itself."""
        return len(self.cuts) == 2 and self.cuts[0] == math.nextafter(self.cuts[1], -math.inf)


class QuestionSet(msgspec.Struct, frozen=True, kw_only=True):
    """The questions of the baseline named `baseline`, whose profile is `profile`.

    `problem_type` is that of its labelled rows, "" where it has none: a classifier is asked whether the answer was
    wrong, a regression whether the bin of its error (`selection.bin_of`) is above each of `error_bins`.
    """

    baseline: str
    profile: Profile
    columns: tuple[ColumnQuestions, ...] = ()
    problem_type: str = ""
    error_bins: tuple[int, ...] = ()


class ColumnCounts(msgspec.Struct, frozen=True, array_like=True):
    """The "yes" of one column's questions, in whole rows.

    `present`: rows that the other questions are about; the window's other rows are missing here. `numerator`: twice
    the sum, over the rows, of how many baseline rows are smaller, ties counted half (Mann and Whitney, 1947). `error`:
    no count but `present` is further from the truth than so many rows (and `numerator` than twice that many times the
    baseline's rows), because a sketch or a bounded list of categories was counted.
    """

    present: int = 0
    at_or_below: tuple[int, ...] = ()
    numerator: int = 0
    categories: tuple[int, ...] = ()
    other: int = 0
    not_seen: int = 0
    outside: int = 0
    error: int = 0

    def __post_init__(self) -> None:
        counts = (self.present, *self.at_or_below, *self.categories, self.other, self.not_seen, self.outside)
        if not 0 <= min(counts) <= max(counts) <= self.present <= MOST_ROWS or min(self.numerator, self.error) < 0:
            raise ValueError("counts of rows that are present")

    def __add__(self, other: ColumnCounts) -> ColumnCounts:
        return ColumnCounts(
            self.present + other.present,
            _sums(self.at_or_below, other.at_or_below),
            self.numerator + other.numerator,
            _sums(self.categories, other.categories),
            self.other + other.other,
            self.not_seen + other.not_seen,
            self.outside + other.outside,
            self.error + other.error,
        )


class QuestionCounts(msgspec.Struct, frozen=True, array_like=True):
    """The answers of a window's rows to the questions of one baseline; `QuestionCounts()` is the identity of `+`.

    `columns` in the order of the question set. `labelled`: rows that have a label and an answer; `wrong`: of these, how
    many were wrong, or of a regression how many errors are above each bin. Counts of two baselines cannot be added.
    """

    baseline: str = ""
    rows: int = 0
    columns: tuple[ColumnCounts, ...] = ()
    labelled: int = 0
    wrong: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.rows <= MOST_ROWS or any(column.present > self.rows for column in self.columns):
            raise ValueError(f"rows up to {MOST_ROWS}, and no more values than rows")
        if any(not 0 <= count <= self.labelled <= MOST_ROWS for count in (0, *self.wrong)):
            raise ValueError("wrong answers among the labelled rows")
        if not self.baseline and (self.rows or self.columns or self.labelled):
            raise ValueError("a baseline for what was counted")

    def __add__(self, other: QuestionCounts) -> QuestionCounts:
        if not other.baseline:
            return self
        if not self.baseline:
            return other
        if self.baseline != other.baseline:
            raise ValueError("counts of one baseline")
        return QuestionCounts(
            self.baseline,
            self.rows + other.rows,
            tuple(one + two for one, two in zip(self.columns, other.columns, strict=True)),
            self.labelled + other.labelled,
            _sums(self.wrong, other.wrong),
        )

    def to_bytes(self) -> bytes:
        return pack("question_counts", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> QuestionCounts:
        """Raises UnreadableError."""
        return unpack(body, "question_counts", VERSION, cls)


def question_counts(questions: QuestionSet, profile: Profile, selection: Selection) -> QuestionCounts:
    """Count a window's answers: of its columns from `profile`, of its labelled rows from `selection`.

    A column that the window does not have counts as missing in every row. A selection of another problem type than the
    baseline's has no labelled rows here.
    """
    columns = tuple(
        _of_numbers(asked, _column(questions.profile, asked), _column(profile, asked))
        if asked.numeric
        else _of_texts(asked, _column(questions.profile, asked).categories, _column(profile, asked).categories)
        for asked in questions.columns
    )
    labelled, wrong = _losses(questions, selection)
    return QuestionCounts(questions.baseline, profile.rows, columns, labelled, wrong)


def distinct_numbers(quantiles: Quantiles) -> tuple[Floats, Counts]:
    """The distinct values of a sketch, ascending, and how many rows are at or below each, both of shape (k,)."""
    items, weights = quantiles.weighted()
    if not len(items):
        return items, weights
    last = np.append(items[1:] != items[:-1], True)
    return items[last], np.cumsum(weights)[last]


def errors_above(selection: Selection, bins: tuple[int, ...]) -> tuple[int, ...]:
    """How many labelled rows of a regression have an error in a bin above each of `bins`."""
    cells = _labelled_cells(selection)
    return tuple(int(cells[cells[:, 1] - LABELLED > one, 2].sum()) for one in bins)


def _column(profile: Profile, asked: ColumnQuestions) -> Column:
    return profile.column(asked.name) or Column(asked.name, 0)


def _of_numbers(asked: ColumnQuestions, baseline: Column, window: Column) -> ColumnCounts:
    numbers = window.quantiles
    items, ranks = distinct_numbers(numbers)

    def at_or_below(points: Any, side: Any = "right") -> Counts:
        found: Counts = np.append(0, ranks)[np.searchsorted(items, points, side=side)]
        return found

    present = numbers.count
    numerator = 0
    if asked.larger and present:
        values, below = distinct_numbers(baseline.quantiles)
        below = np.append(0, below)
        twice = below[np.searchsorted(values, items, side="left")] + below[np.searchsorted(values, items, side="right")]
        numerator = int((np.diff(ranks, prepend=0) * twice).sum())
    outside = 0
    if asked.bounds:
        least, greatest = asked.bounds
        outside = int(at_or_below(least, "left")) + present - int(at_or_below(greatest))
    known = other = 0
    every: Floats = np.zeros(0)
    chosen = np.array([float(each) for each in asked.categories], dtype=np.float64)
    categories = at_or_below(chosen) - at_or_below(chosen, "left")
    if asked.not_seen:
        every = distinct_numbers(baseline.quantiles)[0]
        known = int((at_or_below(every) - at_or_below(every, "left")).sum())
        other = known - int(categories.sum())
    return ColumnCounts(
        present,
        tuple(at_or_below(np.array(asked.cuts)).tolist()),
        numerator,
        tuple(categories.tolist()),
        other,
        present - known if asked.not_seen else 0,
        outside,
        # A count is at most two ranks, or two for each of the baseline's values.
        2 * max(1, len(every)) * numbers.rank_error,
    )


def _of_texts(asked: ColumnQuestions, baseline: Categories, window: Categories) -> ColumnCounts:
    """Where a window's list of categories is bounded, a value that may be among the rest counts 0 with an error."""
    chosen = counts_in(window, asked.categories)
    categories = tuple(chosen[value] or 0 for value in asked.categories)
    unknown = None in chosen.values()
    known = window.total
    if asked.not_seen:
        seen = counts_in(window, (value for value, _ in baseline.counts)).values()
        unknown = None in seen
        known = sum(count or 0 for count in seen)
    return ColumnCounts(
        window.total,
        categories=categories,
        other=known - sum(categories),
        not_seen=window.total - known,
        error=window.more if unknown else 0,
    )


def _losses(questions: QuestionSet, selection: Selection) -> tuple[int, tuple[int, ...]]:
    if not questions.problem_type:
        return 0, ()
    if questions.problem_type == "Regression":
        nothing = (0,) * len(questions.error_bins)
        if selection.problem_type != "Regression":
            return 0, nothing
        return selection.labelled, errors_above(selection, questions.error_bins)
    if selection.problem_type != questions.problem_type:
        return 0, (0,)
    cells = _labelled_cells(selection)
    outcomes = cells[:, 1] - LABELLED
    # Several classes: 1 is right. Two classes: 2 * served class + label, so 1 and 2 are wrong.
    wrong = outcomes == 0 if questions.problem_type == "MulticlassClassification" else (outcomes == 1) | (outcomes == 2)
    return selection.labelled, (int(cells[wrong, 2].sum()),)


def _labelled_cells(selection: Selection) -> Counts:
    cells = selection.cells
    labelled: Counts = cells[cells[:, 1] >= LABELLED]
    return labelled


def _sums(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
