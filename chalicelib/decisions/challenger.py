"""Which of the models that we have should serve: decayed paired losses, and the gate for a new one.

A candidate is compared with what was served on the same rows, so that a hard window counts against nobody. A window
that a candidate was trained on says nothing about it and must not be among its losses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.decisions.policy import Policy

Floats = npt.NDArray[np.float64]


# Settled windows in a row on which a promoted model must be worse than the champion that it replaced.
WORSE_WINDOWS = 4

# Of segments where a challenger is worse, over all halves of all columns.
SEGMENT_LEVEL = 0.05


class PairedLoss(msgspec.Struct, frozen=True):
    """`age` in windows before the one decided on (0 = that one); losses are on the same rows.

    `upper`: the upper end of the loss's 95 % interval, None where it is not known.
    """

    age: int
    loss: float
    served_loss: float
    upper: float | None = None


def decayed_difference(losses: Sequence[PairedLoss], policy: Policy) -> float:
    """Mean of (loss - served loss), a window of age a weighing 0.5 ** (a / half-life), shrunk towards 0."""
    total = weight = 0.0
    for paired in losses:
        share = 0.5 ** (paired.age / policy.half_life_windows)
        total += share * (paired.loss - paired.served_loss)
        weight += share
    return total / (weight + policy.shrinkage) if weight + policy.shrinkage else 0.0


def best_candidate(
    losses: Mapping[str, Sequence[PairedLoss]], champion: str, policy: Policy
) -> tuple[str, dict[str, float]]:
    """The candidate with the smallest decayed difference, and everybody's; a tie keeps the champion."""
    differences = {name: decayed_difference(paired, policy) for name, paired in losses.items()}
    best = min(differences, key=lambda name: (differences[name], name != champion, name), default=champion)
    return best, differences


def worse_than_former(promoted: Sequence[PairedLoss], former: Sequence[PairedLoss]) -> bool:
    """Whether the promoted model lost more than the upper end of the former champion's interval on each of the last
    `WORSE_WINDOWS` windows that both answered."""
    uppers = {each.age: each.upper for each in former if each.upper is not None}
    both = sorted((each for each in promoted if each.age in uppers), key=lambda each: each.age)[:WORSE_WINDOWS]
    return len(both) == WORSE_WINDOWS and all(each.loss > uppers[each.age] for each in both)


def upper_end(losses: Floats) -> float:
    """The upper end of the 95 % interval of the mean of row losses, shape (n,); nan without a row that has one.

    Wilson's for losses of 0 and 1 (Wilson, Probable inference, JASA 22, 1927), else the normal one.
    """
    known = losses[~np.isnan(losses)]
    if not known.size:
        return math.nan
    mean, n, z = float(known.mean()), len(known), 1.959963984540054
    if set(np.unique(known).tolist()) <= {0.0, 1.0}:
        center = mean + z * z / (2 * n)
        spread = z * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
        return (center + spread) / (1 + z * z / n)
    return mean + z * float(known.std()) / math.sqrt(n)


class SignTest(msgspec.Struct, frozen=True):
    """Rows on which two models differ: `better` ones lost less by the challenger, `worse` ones by the champion.

    `p`: the exact two-sided probability of a division as uneven under a fair coin, 1 where they never differ.
    """

    better: int
    worse: int
    p: float


def sign_test(challenger: Floats, champion: Floats) -> SignTest:
    """The exact sign test of two models' losses on the same rows, shape (n,) each; rows with a nan say nothing.

    Source: W. J. Dixon, A. M. Mood, The statistical sign test, JASA 41 (1946).
    """
    better, worse = int((challenger < champion).sum()), int((challenger > champion).sum())
    rows, fewer = better + worse, min(better, worse)
    logs = [math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1) for k in range(fewer + 1)]
    tail = sum(math.exp(log - rows * math.log(2)) for log in logs)
    return SignTest(better, worse, min(1.0, 2 * tail))


class Segment(msgspec.Struct, frozen=True):
    """A slice of the held-back rows on which the challenger is worse: a column, a side of its median, the sign test."""

    column: str
    side: str
    median: float
    rows: int
    test: SignTest


def worse_segments(columns: Mapping[str, Floats], challenger: Floats, champion: Floats) -> list[Segment]:
    """Halves of the columns where the challenger lost more at a level of 5 % over all halves, the worst first.

    `columns`: numbers of shape (n,), nan where missing; row losses of shape (n,).
    """
    found = []
    for name, values in columns.items():
        if np.isnan(values).all():
            continue
        median = float(np.nanmedian(values))
        for side, rows in (("at most", values <= median), ("above", values > median)):
            test = sign_test(challenger[rows], champion[rows])
            if test.worse > test.better and test.p * 2 * len(columns) < SEGMENT_LEVEL:
                found.append(Segment(name, side, median, int(rows.sum()), test))
    return sorted(found, key=lambda each: (each.test.p, each.column, each.side))


class Gate(msgspec.Struct, frozen=True):
    """The outcome of a challenge on held-back rows."""

    passed: bool
    reason: str
    challenger: float
    incumbents: dict[str, float]


def challenge(challenger: float, incumbents: Mapping[str, float]) -> Gate:
    """A challenger must lose less on the held-back rows than the champion and every past champion in the pool."""
    best = min(incumbents, key=lambda name: (incumbents[name], name))
    passed = challenger < incumbents[best]
    word = "lower than" if passed else "not lower than"
    reason = f"held-back error {challenger:.4f} is {word} the best incumbent's {incumbents[best]:.4f} ({best})"
    return Gate(passed, reason, challenger, dict(incumbents))
