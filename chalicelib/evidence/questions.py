"""Which yes/no questions a baseline asks of every window, and the shares of "yes".

Rules. Numbers: is the value missing or no number; is it at or below the baseline's value nearest to its 5, 25, 50, 75
and 95 % point (distinct values, each with a share strictly between 0 and 1, so that a column with many zeros asks "at
or below 0" once); is it larger than a random row of the baseline (not asked where one value has half of the baseline's
rows: the normal tail is wrong there); is it outside the baseline's range. A column of at most 10 distinct numbers is a
column of categories; of one number, it asks "below" and "above". Categories: each that at least 1 % of the baseline's
rows have (the 20 most frequent), any other, and one that the baseline never had; the last not where the baseline's
list of categories is bounded (`categories.BOUND`). "Any other" only where the chosen categories are clearly more
frequent than the next: else the choice alone makes their share too large in the baseline, and the share of all others
rises when nothing changes. Questions but "missing" are about the rows that have a value. Rows
have no weights; a request of several rows counts each. There is no smallest window and no smallest baseline: the exact
test cannot fire on too few rows.

Labelled rows: was the answer wrong; of a regression, is the error above the baseline's 50 % and 90 % point (at the edge
of a bin of 9 %, `selection.bin_of`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.states.profile import Column, Profile
from chalicelib.states.question_counts import (
    ColumnQuestions,
    QuestionCounts,
    QuestionSet,
    distinct_numbers,
    errors_above,
)
from chalicelib.states.selection import LABELLED, Selection

POINTS = (0.05, 0.25, 0.5, 0.75, 0.95)
ERROR_POINTS = (0.5, 0.9)
# With at most so many distinct numbers, a column is one of categories.
FEW_NUMBERS = 10
LEAST_CATEGORY_SHARE = 0.01
MOST_CATEGORIES = 20
# Between the roots of two counts, which vary by 0.7 when the categories are equally frequent.
CLEAR_GAP = 2.0
# Where one value has this share of the rows, "larger than a random row" is not asked.
MOST_TIED = 0.5

FLOOR, SMALL_FLOOR = 0.03, 0.01

Floats = npt.NDArray[np.float64]
Kind = Literal[
    "missing", "below", "at_or_below", "larger", "outside", "category", "other", "not_seen", "wrong", "error_above"
]
NO_LABELS = Selection()
_SMALL: tuple[Kind, ...] = ("missing", "not_seen", "outside", "wrong")


class Question(msgspec.Struct, frozen=True):
    """One question: of which column ("" for the labelled rows), of which kind, about which value of the baseline."""

    column: str
    kind: Kind
    value: str = ""

    @property
    def floor(self) -> float:
        """By how much the share must move for an alarm: rare answers and wrong ones matter sooner."""
        return SMALL_FLOOR if self.kind in _SMALL else FLOOR

    def plain_words(self, share: float) -> str:
        """The same without a value of the data, for messages; `share` is the baseline's: "share of values up to the
        baseline's 25 % point"."""
        if self.kind == "at_or_below":
            return f"share of values up to the baseline's {100 * share:.3g} % point"
        if self.kind == "below":
            return "share below the baseline's only value"
        return "share of one category" if self.kind == "category" else self.words

    @property
    def words(self) -> str:
        """What the share is of: "share at or below 31"."""
        return {
            "missing": "missing share",
            "below": f"share below {self.value}",
            "at_or_below": f"share at or below {self.value}",
            "larger": "share larger than a random row of the baseline",
            "outside": "share outside the baseline's range",
            "category": f"share of {self.value!r}",
            "other": "share of all other categories",
            "not_seen": "share of categories that the baseline never had",
            "wrong": "share of wrong answers",
            "error_above": f"share of errors above the baseline's {self.value} point",
        }[self.kind]


def questions_of(baseline: str, profile: Profile, selection: Selection = NO_LABELS) -> QuestionSet:
    """The questions of a baseline, by its name, its profile and the selection of its labelled rows, if it has any."""
    columns = tuple(_column_questions(column) for column in profile.columns)
    labelled = selection.problem_type if selection.labelled else ""
    bins = _error_bins(selection) if labelled == "Regression" else ()
    return QuestionSet(baseline=baseline, profile=profile, columns=columns, problem_type=labelled, error_bins=bins)


def column_list(questions: QuestionSet) -> list[Question]:
    """The questions of all columns, in the order of `column_shares`."""
    return [each for column in questions.columns for each in _of_column(column)]


def loss_list(questions: QuestionSet) -> list[Question]:
    """The questions of the labelled rows, in the order of `loss_shares`."""
    if questions.problem_type == "Regression":
        return [Question("", "error_above", _percent(point)) for point in ERROR_POINTS[: len(questions.error_bins)]]
    return [Question("", "wrong")] if questions.problem_type else []


def column_shares(questions: QuestionSet, counts: QuestionCounts) -> tuple[Floats, Floats, Floats]:
    """ "Yes", rows asked, and the error of "yes" for each question of `column_list`, shape (q,) each.

    "Larger than a random row of the baseline" has the Mann-Whitney count over the baseline's rows as its "yes", so that
    yes / rows is the probability.
    """
    found: list[tuple[float, int, int]] = []
    for asked, column in zip(questions.columns, counts.columns, strict=True):
        known = questions.profile.column(asked.name)
        baseline = known.quantiles.count if known else 0
        for kind, place in _kinds(asked):
            if kind == "missing":
                found.append((counts.rows - column.present, counts.rows, 0))
            elif kind == "larger":
                found.append((column.numerator / (2.0 * baseline), column.present, column.error))
            else:
                yes = {
                    "below": column.at_or_below,
                    "at_or_below": column.at_or_below,
                    "category": column.categories,
                    "outside": (column.outside,),
                    "other": (column.other,),
                    "not_seen": (column.not_seen,),
                }[kind][place]
                found.append((yes, column.present, column.error))
    shares = np.array(found, dtype=np.float64).reshape(-1, 3)
    return shares[:, 0], shares[:, 1], shares[:, 2]


def loss_shares(counts: QuestionCounts) -> tuple[Floats, Floats]:
    """Wrong answers and labelled rows for each question of `loss_list`, shape (q,) each."""
    return np.array(counts.wrong, dtype=np.float64), np.full(len(counts.wrong), float(counts.labelled))


def never_had(questions: Sequence[Question]) -> npt.NDArray[np.bool_]:
    """Which questions are about what the baseline never had, shape (q,)."""
    return np.array([each.kind in ("outside", "not_seen") for each in questions], dtype=np.bool_)


def tie_shares(questions: QuestionSet) -> Floats:
    """For each question of `column_list`: the share of the Mann-Whitney variance that ties take (0 for other kinds).

    The sum of the cubes of the shares of the baseline's values (Lehmann, Nonparametrics, 1975, section 1.4).
    """
    found = []
    for asked in questions.columns:
        ties = 0.0
        if asked.larger and (column := questions.profile.column(asked.name)):
            ranks = distinct_numbers(column.quantiles)[1]
            ties = float(((np.diff(ranks, prepend=0) / ranks[-1]) ** 3).sum())
        found += [ties if kind == "larger" else 0.0 for kind, _ in _kinds(asked)]
    return np.array(found, dtype=np.float64)


def _kinds(asked: ColumnQuestions) -> list[tuple[Kind, int]]:
    kinds: list[tuple[Kind, int]] = [("missing", 0)]
    for place in range(len(asked.cuts)):
        kinds.append(("below" if asked.constant and not place else "at_or_below", place))
    if asked.larger:
        kinds.append(("larger", 0))
    if asked.bounds:
        kinds.append(("outside", 0))
    kinds += [("category", place) for place in range(len(asked.categories))]
    if asked.other:
        kinds.append(("other", 0))
    if asked.not_seen:
        kinds.append(("not_seen", 0))
    return kinds


def _of_column(asked: ColumnQuestions) -> list[Question]:
    cuts = [f"{cut:g}" for cut in asked.cuts]
    values = {"below": cuts[-1:], "at_or_below": cuts, "category": list(asked.categories)}
    return [Question(asked.name, kind, values[kind][place] if kind in values else "") for kind, place in _kinds(asked)]


def _column_questions(column: Column) -> ColumnQuestions:
    if column.inferred_type not in ("Integral", "Fractional"):
        return _of_categories(column)
    numbers, ranks = distinct_numbers(column.quantiles)
    rows = int(ranks[-1])
    counts = np.diff(ranks, prepend=0)
    if len(numbers) == 1:
        # At or below the number before it: "below". Not at or below the number itself: "above".
        only = float(numbers[0])
        return ColumnQuestions(name=column.name, numeric=True, cuts=(math.nextafter(only, -math.inf), only))
    if len(numbers) <= FEW_NUMBERS:
        asked, other = _frequent([repr(value) for value in numbers.tolist()], counts.tolist(), rows)
        return ColumnQuestions(name=column.name, numeric=True, categories=asked, other=other, not_seen=True)
    shares = ranks[:-1] / rows
    places = sorted({int(np.argmin(np.abs(shares - point))) for point in POINTS})
    least, greatest = column.moments.least, column.moments.greatest
    return ColumnQuestions(
        name=column.name,
        numeric=True,
        cuts=tuple(float(numbers[place]) for place in places),
        larger=int(counts.max()) < MOST_TIED * rows,
        bounds=None if least is None or greatest is None else (least, greatest),
    )


def _of_categories(column: Column) -> ColumnQuestions:
    state = column.categories
    asked, other = _frequent([value for value, _ in state.counts], [count for _, count in state.counts], state.total)
    return ColumnQuestions(
        name=column.name,
        numeric=False,
        categories=asked,
        other=other and not state.more,
        # An all-missing column has no value that it knows: that one came at all is seen by "missing".
        not_seen=not state.more and bool(state.counts),
    )


def _frequent(values: list[str], counts: list[int], rows: int) -> tuple[tuple[str, ...], bool]:
    """The values with at least 1 % of the rows, the most frequent first; whether to ask for all others together."""
    order = sorted(zip(counts, values, strict=True), key=lambda pair: (-pair[0], pair[1]))
    asked = [pair for pair in order if pair[0] >= LEAST_CATEGORY_SHARE * rows][:MOST_CATEGORIES]
    if not asked or len(asked) == len(order):
        return tuple(value for _, value in asked), False
    gap = math.sqrt(asked[-1][0]) - math.sqrt(order[len(asked)][0])
    return tuple(value for _, value in asked), gap >= CLEAR_GAP


def _error_bins(selection: Selection) -> tuple[int, ...]:
    cells = selection.cells
    bins = np.unique(cells[cells[:, 1] >= LABELLED, 1] - LABELLED).tolist()
    above = {one: count / selection.labelled for one, count in zip(bins, errors_above(selection, bins), strict=True)}
    inner = [one for one in bins if above[one] > 0.0]
    chosen = [min(inner, key=lambda one: (abs(1.0 - above[one] - point), one)) for point in ERROR_POINTS if inner]
    return tuple(dict.fromkeys(chosen))


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
