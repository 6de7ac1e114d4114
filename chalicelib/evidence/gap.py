"""Does the estimate without labels hold? The gap between what was expected of labelled rows and what came true.

One more question of every settled window, in blocks of 1, 2, 4 ... 32 of them. Its variance is the chance of the rows
and of the calibration, which all windows of a baseline share: both add up. When the gap is real, the same inputs no
longer have the same labels: the estimate is withdrawn. Not here: the estimates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from chalicelib.evidence.blocks import LENGTHS
from chalicelib.evidence.error_model import ErrorModel, errors_of, expected_errors
from chalicelib.evidence.label_free import RESAMPLES, SEED, Curve, Estimate, Figure, cells_of
from chalicelib.evidence.shares import level_of
from chalicelib.evidence.windows import t_two_sided
from chalicelib.states.row_sample import RowSample
from chalicelib.states.selection import Selection

# Of the rows; of a regression of the baseline's mean error.
FLOOR = 0.02
REGRESSION_FLOOR = 0.1
# What labels are asked: was the answer wrong, and does the estimate hold?
QUESTIONS = 2.0


class Gap(msgspec.Struct, frozen=True):
    """Of labelled rows: what came true and what was expected; windows of one baseline add up, `Gap()` is the identity.

    `realised` and `expected`: sums of the loss, 1 for a wrong answer or an error's size over the baseline's mean error;
    `variance`: of the realised sum by chance of the rows; `resampled`: what resampled calibrations expected; `wrong`:
    whether the loss counts wrong answers.
    """

    rows: int = 0
    realised: float = 0.0
    expected: float = 0.0
    variance: float = 0.0
    resampled: tuple[float, ...] = ()
    wrong: bool = True

    def __add__(self, other: Gap) -> Gap:
        if not self.rows or not other.rows:
            return self if self.rows else other
        return Gap(
            self.rows + other.rows,
            self.realised + other.realised,
            self.expected + other.expected,
            self.variance + other.variance,
            tuple(one + another for one, another in zip(self.resampled, other.resampled, strict=True)),
            self.wrong,
        )

    @property
    def change(self) -> float:
        """Realised less expected loss per row; 0 without rows."""
        return (self.realised - self.expected) / self.rows if self.rows else 0.0

    @property
    def p(self) -> float:
        """How probable a gap so large is while the estimate holds, two-sided.

        Student's t, for the chance of the calibration is known from few resamples; degrees of freedom by Welch and
        Satterthwaite (Biometrics Bulletin 2, 1946). Counts of wrong answers are skewed: their gap is the signed root of
        the binomial deviance, in units of its own variance.
        """
        calibration = float(np.var(self.resampled, ddof=1)) if self.resampled else 0.0
        variance = self.variance + calibration
        size = abs(self.realised - self.expected)
        if variance <= 0.0:
            return 0.0 if size > 1e-9 * max(1, self.rows) else 1.0
        z = size / math.sqrt(variance)
        if self.wrong and 0.0 < self.expected < self.rows:
            right, expected_right = self.rows - self.realised, self.rows - self.expected
            deviance = _part(self.realised, self.expected) + _part(right, expected_right)
            binomial = self.expected * expected_right / self.rows
            z = math.sqrt(max(0.0, 2.0 * deviance) * binomial / variance)
        if calibration <= 0.0:
            return math.erfc(z / math.sqrt(2.0))
        degrees = int(min((len(self.resampled) - 1) * (variance / calibration) ** 2, 1e6))
        return float(t_two_sided(np.array([z]), degrees)[0])


class GapAlarm(msgspec.Struct, frozen=True):
    """A block of windows, named by its first and last, in which the estimate did not hold."""

    first: str
    last: str
    windows: int
    rows: int
    expected: float
    realised: float
    p: float
    level: float


def gap_of(selection: Selection, curve: Curve) -> Gap:
    """The gap of a binary classifier's labelled rows."""
    known, _, bins = cells_of(selection)
    shares, resampled = curve.at(bins)
    by_class = known.sum(axis=2)
    # A row that was answered 0 is wrong with the probability of 1.
    wrong = np.stack([shares, 1.0 - shares], axis=1)
    others = np.stack([resampled, 1.0 - resampled], axis=2)
    return Gap(
        int(known.sum()),
        float(known[:, 0, 1].sum() + known[:, 1, 0].sum()),
        float((by_class * wrong).sum()),
        float((by_class * wrong * (1.0 - wrong)).sum()),
        tuple((by_class * others).sum(axis=(1, 2)).tolist()),
    )


def regression_gap(model: ErrorModel, window: RowSample) -> Gap:
    """The gap of a regression's labelled rows, in units of the baseline's mean error."""
    errors = errors_of(window)
    known = np.isfinite(errors)
    rows, unit = int(known.sum()), model.mean or 1.0
    if not rows:
        return Gap()
    expected = float(expected_errors(model, window)[known].sum()) / unit
    spread = model.deviation / unit
    draws = np.random.Generator(np.random.PCG64(SEED)).normal(size=RESAMPLES)
    draws = (draws - draws.mean()) / draws.std(ddof=1) * spread / math.sqrt(model.rows)
    return Gap(
        rows,
        float(errors[known].sum()) / unit,
        expected,
        rows * spread**2,
        tuple((expected + rows * draws).tolist()),
        wrong=False,
    )


def gap_alarms(
    gaps: Sequence[tuple[str, int, Gap]], looks: float, budget: float = 0.05, floor: float = FLOOR
) -> list[GapAlarm]:
    """The blocks in which the gap is real: p at most the level of one test and a change of at least the floor.

    `gaps`: name, place in time (windows since any fixed start) and gap of settled windows of one baseline, in any
    order. `looks`: the windows that the budget is for. A block of 2^k windows begins at a multiple of 2^k and counts
    when all of them are there.
    """
    level = float(level_of(budget, looks, np.array([QUESTIONS]))[0])
    by_place = {place: (name, gap) for name, place, gap in gaps}
    found = []
    for size in LENGTHS:
        for first in sorted({place - place % size for place in by_place}):
            block = [by_place[place] for place in range(first, first + size) if place in by_place]
            if len(block) < size:
                continue
            total = Gap()
            for _, gap in block:
                total = total + gap
            if total.rows and abs(total.change) >= floor and total.p <= level:
                rows = total.rows
                found.append(
                    GapAlarm(
                        block[0][0],
                        block[-1][0],
                        size,
                        rows,
                        total.expected / rows,
                        total.realised / rows,
                        total.p,
                        level,
                    )
                )
    return found


class Point(msgspec.Struct, frozen=True):
    """A window in the series of quality: metrics from estimates and labels so far, or, once settled, from labels alone.

    `note`: why there is no figure, or no claim for it; "" otherwise.
    """

    window: str
    kind: Literal["estimated", "partial", "settled"]
    metrics: dict[str, Figure]
    note: str = ""


def point(
    window: str, estimate: Estimate | None, settled: Mapping[str, float] | None, alarms: Sequence[GapAlarm] = ()
) -> Point:
    """A window's place in the series. `settled`: the metrics of its labels where these are complete enough; else what
    was estimated, unless a gap between estimate and truth was found: then the estimate is withdrawn."""
    if settled is not None:
        return Point(window, "settled", {name: Figure(value, value, value) for name, value in settled.items()})
    kind: Literal["estimated", "partial"] = "partial" if estimate and estimate.labelled else "estimated"
    if alarms:
        return Point(window, kind, {}, f"withdrawn: {withdrawal(alarms)}")
    if estimate is None:
        return Point(window, kind, {}, "no baseline with labels to estimate from")
    return Point(window, kind, estimate.metrics, estimate.claim)


def withdrawal(alarms: Sequence[GapAlarm]) -> str:
    """Why an estimate is withdrawn, from the first block of windows in which it did not hold."""
    first = min(alarms, key=lambda alarm: (alarm.last, alarm.windows))
    span = f"window {first.first}" if first.windows == 1 else f"windows {first.first} to {first.last}"
    return (
        f"in {span} the loss of {first.rows:,} labelled rows was {first.realised:.3f} where {first.expected:.3f} was "
        "expected without labels; the same inputs no longer have the same labels"
    )


def _part(count: float, expected: float) -> float:
    """What a count contributes to the deviance of the counts that were expected."""
    return count * math.log(count / expected) if count > 0.0 else 0.0
