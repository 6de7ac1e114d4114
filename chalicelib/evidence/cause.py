"""Why the error changed: the inputs moved, or the relation between inputs and labels did, and where.

The change of a mean loss is divided over score bins. Inputs: the sum of (change of a bin's share x its mean loss).
Relation: the sum of (its mean share x the change of its loss). This is the Shapley value of two players, so both, and
what too few rows support, add up to the change. Scores see only what the model uses: where something else moved, the
same scores are wrong more often, which looks like the relation. Not here: which shares moved (`evidence.alarms`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.evidence.alarms import Alarm
from chalicelib.evidence.label_free import metrics_of, rows_of
from chalicelib.evidence.trees import fit
from chalicelib.states.row_sample import RowSample, text_code
from chalicelib.states.selection import LABELLED, Selection, size_of

BINS = 20
# A bin with fewer rows on a side supports no statement.
LEAST_ROWS = 5
# A segment is named when its change differs from the rest's by so many standard errors, with so many rows on each side.
LEAST_ERRORS = 4.0
LEAST_SEGMENT_ROWS = 20
MOST_MOVED = 3
# The relation part is large when it is at least so much, and at least half of the change.
LARGE = 0.01
# A column is used when exchanging its values moves the score by at least this share of the score's variance.
LEAST_USE = 0.01
USE_DEPTH, USE_ROUNDS, USE_ROWS = 3, 30, 2_048

_TOTALS = ("f1", "auc")
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Split(msgspec.Struct, frozen=True):
    """A change in three parts that add up to it: None where labels are missing."""

    change: float | None
    inputs: float
    relation: float | None
    unsupported: float | None


class Segment(msgspec.Struct, frozen=True):
    """Rows on one side of a value of a column. `loss_change` of its rows, `rest_change` of all others, and their
    difference in standard errors."""

    column: str
    words: str
    cut: float
    rows: int
    loss_change: float
    rest_change: float
    errors: float


class Cause(msgspec.Struct, frozen=True):
    """Why the mean loss went from `before` to `after` (None without labels), the same for `metrics`, the segment whose
    loss changed otherwise than the rest's, and all of it in sentences."""

    before: float
    after: float | None
    loss: Split
    metrics: dict[str, Split]
    segment: Segment | None
    text: tuple[str, ...]


def cause_of(
    baseline: Selection,
    window: Selection,
    *,
    alarms: Sequence[Alarm] = (),
    samples: tuple[RowSample, RowSample] = (RowSample(), RowSample()),
    unused: Collection[str] = (),
    categories: Mapping[str, Sequence[str]] = {},
) -> Cause | None:
    """Why a window's loss differs from its baseline's; None where the baseline has no labels.

    `alarms`: of the window's columns; `samples`: rows of baseline and window, for the segment; `unused`: columns that
    the model does not use (`unused_columns`); `categories`: known values of columns of texts.
    """
    if not baseline.labelled:
        return None
    keys, before, now = _by_bin(baseline, window)
    cells = _merged(keys, before, now, bool(baseline.classes))
    loss = _loss_split(cells[:2])
    before_mean = float(before[1].sum() / before[0].sum())
    after_mean = float(now[1].sum() / now[0].sum()) if now[0].sum() else None
    metrics = {}
    if baseline.problem_type == "BinaryClassification" and window.labelled:
        metrics = _metric_splits(baseline, window)
    segment = segment_of(*samples, baseline.problem_type == "Regression", categories)
    moved = moved_questions(alarms)
    regression = baseline.problem_type == "Regression"
    text = _sentences(before_mean, after_mean, loss, moved, segment, unused, regression)
    return Cause(before_mean, after_mean, loss, metrics, segment, text)


def moved_questions(alarms: Sequence[Alarm]) -> list[Alarm]:
    """The most significant alarm of each column, the most significant column first."""
    found: dict[str, Alarm] = {}
    for alarm in sorted(alarms, key=_significance):
        found.setdefault(alarm.column, alarm)
    return list(found.values())


def segment_of(
    baseline: RowSample, window: RowSample, regression: bool = False, categories: Mapping[str, Sequence[str]] = {}
) -> Segment | None:
    """The segment whose loss changed most against the change of all other rows.

    Segments are both sides of each decile of each column, or the rows with a known text. None where no segment's change
    differs from the rest's by `LEAST_ERRORS` standard errors.
    """
    (values, losses), (others, other_losses) = (_labelled(one, regression) for one in (baseline, window))
    best: tuple[float, float, Segment] | None = None
    for name in sorted({*baseline.features} & {*window.features}):
        column, other = (
            each[:, sample.features.index(name)] for each, sample in ((values, baseline), (others, window))
        )
        for words, cut, inside, other_inside in _sides(name, column, other, categories.get(name)):
            found = _contrast(losses, inside, other_losses, other_inside)
            if found is None or abs(found.errors) < LEAST_ERRORS:
                continue
            # Of segments that stand out the one that says most of the change, not the purest part of it.
            # Both sides of a cut have one gain but for rounding.
            rank = (round(found.gain, 9), abs(found.change))
            if best is None or rank > best[:2]:
                rows = int(other_inside.sum())
                best = (*rank, Segment(name, words, cut, rows, found.change, found.rest, found.errors))
    return best[2] if best else None


def unused_columns(baseline: RowSample) -> tuple[str, ...]:
    """Columns that the model's score does not depend on: exchanging their values leaves a model of the score as it is.

    () without rows, or where the score is constant.
    """
    if not len(baseline.hashes):
        return ()
    table = rows_of(baseline, list(baseline.features))[:USE_ROWS]
    rows, scores = table[:, :-1], table[:, -1]
    known = np.isfinite(scores)
    rows, scores = rows[known], scores[known]
    if not rows.size or bool((scores == scores[0]).all()):
        return ()
    trees = fit(rows, scores, depth=USE_DEPTH, rounds=USE_ROUNDS)
    answers = trees.predict(rows)
    found = []
    for place, name in enumerate(baseline.features):
        exchanged = rows.copy()
        # Rows are in the order of a hash: half a turn pairs each with a random other one.
        exchanged[:, place] = np.roll(rows[:, place], len(rows) // 2)
        if float(np.mean((trees.predict(exchanged) - answers) ** 2)) < LEAST_USE * float(scores.var()):
            found.append(name)
    return tuple(found)


def _significance(alarm: Alarm) -> tuple[float, float]:
    return (alarm.p, -abs(alarm.change))


def _by_bin(baseline: Selection, window: Selection) -> tuple[list[int | str], Floats, Floats]:
    """Bins of both sides, and per side labelled rows, loss, and all answered rows by bin: shape (3, bins)."""
    sides = []
    for selection in (baseline, window):
        found: dict[int | str, list[float]] = {}
        for bin_, outcome, rows in selection.cells.tolist():
            key = selection.classes[bin_] if selection.classes else bin_
            own = found.setdefault(key, [0.0, 0.0, 0.0])
            own[2] += rows
            if outcome >= LABELLED:
                own[0] += rows
                own[1] += rows * _loss_of(selection.problem_type, outcome - LABELLED)
        sides.append(found)
    keys: list[int | str] = sorted({*sides[0], *sides[1]}, key=lambda key: (isinstance(key, str), key))
    nothing = [0.0, 0.0, 0.0]
    before, now = (np.array([side.get(key, nothing) for key in keys]).T.reshape(3, -1) for side in sides)
    return keys, before, now


def _loss_of(problem_type: str, outcome: int) -> float:
    if problem_type == "Regression":
        # Sums over all rows stay finite.
        return min(float(size_of(np.array([outcome]))[0]), 1e280)
    if problem_type == "MulticlassClassification":
        return 1.0 - outcome
    return float(outcome in (1, 2))


def _merged(keys: Sequence[int | str], before: Floats, now: Floats, classes: bool) -> tuple[Floats, Floats]:
    """The same in at most `BINS` bins of about equal mass, half of it from each side; classes stay as they are."""
    if classes:
        return before, now
    place = _stretches(before[2], now[2])
    merged = np.zeros((2, 3, BINS))
    for side, counts in enumerate((before, now)):
        np.add.at(merged[side].T, place, counts.T)
    return merged[0], merged[1]


def _stretches(before: Floats, now: Floats) -> npt.NDArray[np.intp]:
    """The bin of about equal mass of each narrow bin, shape (k,)."""
    mass = sum((side / side.sum() for side in (before, now) if side.sum()), np.zeros(len(before)))
    middle = (np.cumsum(mass) - 0.5 * mass) / mass.sum()
    return np.asarray(np.minimum(middle * BINS, BINS - 1), dtype=np.intp)


def _loss_split(sides: tuple[Floats, Floats]) -> Split:
    before, now = sides
    loss_before = np.divide(before[1], before[0], out=np.zeros(len(before[0])), where=before[0] > 0)
    if not now[0].sum():
        # Without labels of the window the baseline's loss stands for both.
        share = now[2] / now[2].sum() - before[2] / before[2].sum() if now[2].sum() else np.zeros(len(now[2]))
        return Split(None, math.fsum((share * loss_before).tolist()), None, None)
    loss_now = np.divide(now[1], now[0], out=np.zeros(len(now[0])), where=now[0] > 0)
    share_before, share_now = before[0] / before[0].sum(), now[0] / now[0].sum()
    supported = np.minimum(before[0], now[0]) >= LEAST_ROWS
    inputs = (share_now - share_before) * (loss_now + loss_before) / 2.0
    relation = (share_now + share_before) / 2.0 * (loss_now - loss_before)
    rest = share_now * loss_now - share_before * loss_before
    return Split(
        float(now[1].sum() / now[0].sum() - before[1].sum() / before[0].sum()),
        math.fsum(inputs[supported].tolist()),
        math.fsum(relation[supported].tolist()),
        math.fsum(rest[~supported].tolist()),
    )


def _metric_splits(baseline: Selection, window: Selection) -> dict[str, Split]:
    """F1 and AUC, recomputed with the inputs of one side and the relation of the other; both orders, averaged.

    What bins with too few rows, and scores within one bin, contribute is "unsupported".
    """
    bins = np.union1d(baseline.cells[:, 0], window.cells[:, 0])
    fine = np.zeros((2, len(bins), 4))
    for side, selection in enumerate((baseline, window)):
        cells = selection.cells[selection.cells[:, 1] >= LABELLED]
        np.add.at(fine[side], (np.searchsorted(bins, cells[:, 0]), cells[:, 1] - LABELLED), cells[:, 2])
    place = _stretches(*fine.sum(axis=2))
    coarse = np.zeros((2, BINS, 4))
    for side in range(2):
        np.add.at(coarse[side], place, fine[side])
    rows = coarse.sum(axis=2)
    relation = np.divide(coarse, rows[..., None], out=np.zeros_like(coarse), where=rows[..., None] > 0)
    thin = rows.min(axis=0) < LEAST_ROWS
    both = coarse.sum(axis=0)
    relation[:, thin] = both[thin] / np.maximum(both[thin].sum(axis=1, keepdims=True), 1.0)
    shares = rows / rows.sum(axis=1, keepdims=True)
    # [inputs of, relation of]
    mixed = metrics_of((shares[:, None, :, None] * relation[None]).reshape(2, 2, BINS, 2, 2))
    exact = metrics_of(fine.reshape(2, -1, 2, 2))
    found = {}
    for name in _TOTALS:
        value, (first, last) = mixed[name], exact[name].tolist()
        if not (np.isfinite(value).all() and math.isfinite(first) and math.isfinite(last)):
            continue
        inputs = float(value[1, 0] - value[0, 0] + value[1, 1] - value[0, 1]) / 2.0
        moved = float(value[0, 1] - value[0, 0] + value[1, 1] - value[1, 0]) / 2.0
        found[name] = Split(last - first, inputs, moved, last - first - inputs - moved)
    return found


def _labelled(sample: RowSample, regression: bool) -> tuple[Floats, Floats]:
    """Values and losses of the labelled rows."""
    served, labels = sample.answers[:, 1], sample.answers[:, 2]
    known = np.isfinite(labels)
    losses = np.abs(labels - served) if regression else (labels != served).astype(np.float64)
    return sample.values[known], losses[known]


def _sides(
    name: str, column: Floats, other: Floats, texts: Sequence[str] | None
) -> list[tuple[str, float, Flags, Flags]]:
    """Segments of a column: in words, the cut, and which rows of either side are inside."""
    if texts is not None:
        codes = [(text, text_code(text)) for text in texts]
        return [(f"{name} is {text!r}", code, column == code, other == code) for text, code in codes]
    known = column[np.isfinite(column)]
    cuts = np.unique(np.quantile(known, np.arange(1, 10) / 10.0, method="inverted_cdf")) if len(known) else known
    found = []
    for cut in cuts.tolist():
        found.append((f"{name} at or below {cut:.6g}", cut, column <= cut, other <= cut))
        found.append((f"{name} above {cut:.6g}", cut, column > cut, other > cut))
    return found


class _Contrast(NamedTuple):
    """The change of the mean loss inside and of the rest, their difference in its own standard errors, and in those
    that it had if the loss varied alike everywhere: the largest is the best split of a regression tree."""

    change: float
    rest: float
    errors: float
    gain: float


def _contrast(before: Floats, inside: Flags, now: Floats, now_inside: Flags) -> _Contrast | None:
    four = [before[inside], now[now_inside], before[~inside], now[~now_inside]]
    if min(len(each) for each in four) < LEAST_SEGMENT_ROWS:
        return None
    means = [float(each.mean()) for each in four]
    variance = sum(float(each.var(ddof=1)) / len(each) for each in four)
    change, rest = means[1] - means[0], means[3] - means[2]
    if variance <= 0.0:
        return None
    gain = abs(change - rest) / math.sqrt(sum(1.0 / len(each) for each in four))
    return _Contrast(change, rest, (change - rest) / math.sqrt(variance), gain)


def _sentences(
    before: float,
    after: float | None,
    loss: Split,
    moved: Sequence[Alarm],
    segment: Segment | None,
    unused: Collection[str],
    regression: bool,
) -> tuple[str, ...]:
    unit = 1.0 if regression else 100.0
    suffix, parts = ("", "") if regression else (" %", " points")

    def part(value: float) -> str:
        # + 0.0: what rounds to nothing has no sign.
        return f"{value + 0.0:+.4g}" if regression else f"{round(unit * value, 1) + 0.0:+.1f}{parts}"

    def level(value: float) -> str:
        return f"{value:.4g}" if regression else f"{unit * value:.1f}"

    what = "mean absolute error" if regression else "error"
    if after is None or loss.change is None or loss.relation is None or loss.unsupported is None:
        lines = [
            f"inputs change the {what} by {part(loss.inputs)} if the relation is as it was; without labels the "
            "relation part is unknown"
        ]
    else:
        verb = "rose" if loss.change > 0 else "fell"
        lines = [
            f"the {what} {verb} from {level(before)} to {level(after)}{suffix}: inputs {part(loss.inputs)}, relation "
            f"{part(loss.relation)}, unsupported {part(loss.unsupported)}"
        ]
        large = abs(loss.relation) >= max(0.5 * abs(loss.change), LARGE * (before if regression else 1.0))
        unseen = [alarm.column for alarm in moved if alarm.column in unused]
        if large and unseen:
            verb = "more" if loss.relation > 0 else "less"
            lines.append(
                f"the same scores are wrong {verb} often: the relation changed, or the inputs did in "
                f"{', '.join(unseen)}, which the model does not use; the two cannot be told apart"
            )
    lines += [f"{alarm.column}: {alarm.text}" for alarm in moved[:MOST_MOVED]]
    if segment:
        lines.append(
            f"where {segment.words} the {what} changed by {part(segment.loss_change)}, elsewhere by "
            f"{part(segment.rest_change)} ({abs(segment.errors):.1f} standard errors apart)"
        )
    return tuple(lines)
