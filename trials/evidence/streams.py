"""Simulated streams: columns as cells of a normal variable, counts of windows, questions by the package's own rules.

A column is a latent normal variable cut into cells, each of which is one value; a row may be missing. Counts of a
window are drawn per cell, which is the same as drawing rows and counting them (`parts.null` shows it on rows). Values
lie on a grid of 0.2, so "normal" is a normal variable that is rounded to it: as good as continuous for these questions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from chalicelib.evidence.alarms import Promise
from chalicelib.evidence.blocks import LENGTHS, Asked, Judged, judged
from chalicelib.evidence.questions import column_list, column_shares, questions_of, tie_shares
from chalicelib.evidence.shares import level_of
from chalicelib.states.moments import moments_of
from chalicelib.states.profile import Column as ProfileColumn
from chalicelib.states.profile import Profile, column_of_counts
from chalicelib.states.quantiles import QuantilesFold
from chalicelib.states.question_counts import QuestionSet, question_counts
from chalicelib.states.selection import Selection

LOOKS = 100
BUDGET = Promise().ever
STREAMS = 600
BASELINE_ROWS = 5_000
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class Column:
    """Cells between ascending `edges` of a standard normal variable, their values, and the share that is missing.

    `mean` and `scale` move the variable; `shares` are the cells' shares instead, where they are given.
    """

    values: tuple[str, ...]
    edges: np.ndarray
    missing: float = 0.0
    mean: float = 0.0
    scale: float = 1.0
    shares: tuple[float, ...] | None = None

    def probabilities(self, means: np.ndarray) -> np.ndarray:
        """Of each cell and of a missing value, for windows whose mean is moved by `means`, (w,) -> (w, cells + 1)."""
        if self.shares is not None:
            inner = np.tile(np.array(self.shares), (len(means), 1))
        else:
            below = ndtr((self.edges[None, :] - self.mean - means[:, None]) / self.scale)
            inner = np.diff(below, axis=1, prepend=0.0, append=1.0)
        found = np.hstack([inner * (1.0 - self.missing), np.full((len(means), 1), self.missing)])
        return found / found.sum(axis=1, keepdims=True)


def normal(missing: float = 0.01, step: float = 0.2) -> Column:
    values = np.arange(-23, 24) * step
    return Column(tuple(f"{value:.1f}" for value in values), (values[1:] + values[:-1]) / 2.0, missing)


def cells(shares: Sequence[float], values: Sequence[str]) -> Column:
    """A column whose cells have these shares while nothing moves."""
    return Column(tuple(values), ndtri(np.cumsum(shares)[:-1]))


def categories(*shares: float) -> Column:
    return cells(shares, [f"c{place}" for place in range(len(shares))])


CATEGORIES = (0.4, 0.25, 0.2, 0.1, 0.05)
USUAL = (*[normal()] * 14, *[categories(*CATEGORIES)] * 6)


@dataclass(frozen=True)
class Stream:
    """One baseline's questions: as `blocks.judged` takes them, and per column what its cells answer."""

    asked: Asked
    answers: tuple[np.ndarray, ...]
    questions: QuestionSet

    def shares(self, counts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Yes and rows, (windows, questions) each, of the columns' counts, (windows, cells + 1) each."""
        found = [drawn @ answers for drawn, answers in zip(counts, self.answers, strict=True)]
        both = np.concatenate(found, axis=1)
        return both[:, 0::2], both[:, 1::2]


def asked_of(questions: QuestionSet, profile: Profile, columns: int, looks: float, budget: float) -> Asked:
    """The baseline's side, as `evidence.alarms` makes it; `columns` may be more than are simulated."""
    listed = column_list(questions)
    yes, rows, error = column_shares(questions, question_counts(questions, profile, Selection()))
    of_column = Counter(each.column for each in listed)
    per_column = np.array([of_column[each.column] for each in listed])
    return Asked(
        yes,
        rows,
        error,
        np.array([each.floor for each in listed]),
        level_of(budget, looks, 1.0 * per_column * columns),
        np.array([each.kind == "larger" for each in listed]),
        tie_shares(questions),
    )


def stream_of(
    columns: Sequence[Column],
    baseline: Sequence[np.ndarray],
    looks: float = LOOKS,
    budget: float = BUDGET,
    of_columns: int | None = None,
) -> Stream:
    """The questions of a baseline of which each column has these counts per cell, (cells + 1,)."""
    described = []
    for place, (column, counts) in enumerate(zip(columns, baseline, strict=True)):
        texts = {value: int(count) for value, count in zip(column.values, counts, strict=False) if count}
        described.append(_described(f"x{place:02}", place, texts))
    rows = int(baseline[0].sum())
    profile = Profile(rows, tuple(described), rows, len(columns))
    questions = questions_of("simulated", profile)
    asked = asked_of(questions, profile, of_columns or len(columns), looks, budget)
    listed = column_list(questions)
    answers = []
    for place, (column, counts) in enumerate(zip(columns, baseline, strict=True)):
        kinds = [each for each in listed if each.column == f"x{place:02}"]
        answers.append(_answers(column, counts, kinds, questions.columns[place]))
    return Stream(asked, tuple(answers), questions)


def _described(name: str, place: int, texts: dict[str, int]) -> ProfileColumn:
    """The column's profile but for its moments: questions need the least and the greatest value alone, and exact sums
    of squares take most of the time."""
    if not all(NUMBER.fullmatch(text) for text in texts):
        return column_of_counts(name, place, texts)
    numbers = np.array([float(text) for text in texts])
    order = np.argsort(numbers)
    quantiles = QuantilesFold()
    quantiles.add_counts(numbers[order] + 0.0, np.array(list(texts.values()), dtype=np.int64)[order])
    return ProfileColumn(
        name,
        place,
        fractional=sum(texts.values()),
        moments=moments_of(numbers[order[[0, -1]]] + 0.0),
        quantiles=quantiles.state,
    )


def _answers(column: Column, counts: np.ndarray, kinds: Sequence[Any], asked: Any) -> np.ndarray:
    """For each cell: "yes" and "asked" of each question, (cells + 1, 2 * questions)."""
    size = len(column.values)
    found = np.zeros((size + 1, 2 * len(kinds)))
    numbers = np.array([float(value) for value in column.values]) if asked.numeric else None
    in_baseline = counts[:size]
    cuts, categories_ = iter(asked.cuts), iter(asked.categories)
    for place, question in enumerate(kinds):
        yes = np.zeros(size)
        if question.kind in ("below", "at_or_below"):
            yes = numbers <= next(cuts)
        elif question.kind == "larger":
            yes = (np.cumsum(in_baseline) - in_baseline / 2.0) / in_baseline.sum()
        elif question.kind == "outside":
            yes = (numbers < asked.bounds[0]) | (numbers > asked.bounds[1])
        elif question.kind == "category":
            wanted = next(categories_)
            yes = numbers == float(wanted) if asked.numeric else np.array([value == wanted for value in column.values])
        elif question.kind == "not_seen":
            yes = in_baseline == 0
        elif question.kind == "other":
            chosen = {float(each) if asked.numeric else each for each in asked.categories}
            names = numbers.tolist() if asked.numeric else list(column.values)
            yes = np.array([name not in chosen for name in names]) & (in_baseline > 0)
        if question.kind == "missing":
            found[size, 2 * place] = 1.0
            found[:, 2 * place + 1] = 1.0
        else:
            found[:size, 2 * place] = yes
            found[:size, 2 * place + 1] = 1.0
    return found


def drawn(draw: np.random.Generator, column: Column, rows: int, means: np.ndarray) -> np.ndarray:
    """Counts per cell of windows with these means, (windows, cells + 1)."""
    if not means.any():
        return draw.multinomial(rows, column.probabilities(np.zeros(1))[0], size=len(means))
    return draw.multinomial(rows, column.probabilities(means))


def padded(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The windows' axis, the first, up to a multiple of 32, and which windows are there."""
    longest = LENGTHS[-1]
    size = -(-len(array) // longest) * longest
    there = np.arange(size) < len(array)
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]))]), there


def alarm_times(found: dict[int, Judged], confirmed: bool = False) -> list[int]:
    """The places of the windows with which alarms become known, ascending: the last one of a block; of a confirmed
    single window the next one, for that is what confirms it (or the one before did, which is sooner)."""
    times: set[int] = set()
    for length, each in found.items():
        alarms = each.confirmed if confirmed else each.alarm
        later = 1 if confirmed and length == 1 else 0
        times |= {block * length + length - 1 + later for block in np.flatnonzero(alarms.any(axis=-1)).tolist()}
    return sorted(times)


def judge(stream: Stream, counts: Sequence[np.ndarray], **how: Any) -> dict[int, Judged]:
    """The package's verdicts on windows from place 0 on."""
    (yes, there), (rows, _) = (padded(each) for each in stream.shares(counts))
    return judged(stream.asked, yes, rows, None, there, **how)
