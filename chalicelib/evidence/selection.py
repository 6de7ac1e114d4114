"""Do labels come selectively, and what would the metrics be if they did not?

Labels that arrive for some scores sooner or more often than for others make a window look better or worse than it is.
Two samples of scores are compared, of labelled and of unlabelled rows; and the metrics are weighted so that each
stretch of scores counts as much as it has rows (post-stratification: Cochran, Sampling Techniques, 1977, section 5A).
Weighting mends what depends on the score; rows that differ in other ways it cannot mend. Knows its two limits; refuses
to decide anything.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.monitors.chi_squared import survival
from chalicelib.states.selection import LABELLED, Selection, size_of

# A warning needs both: a difference that matters, and one that chance does not make in a thousand windows.
LEAST_DISTANCE = 0.1
GREATEST_P = 0.001

# Stretches of scores that rows are weighted by: at most so many, each with at least so many labelled rows.
STRETCHES = 20
LEAST_LABELLED = 30

_LESS = 2.0**-64

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def selection_findings(selection: Selection, mae: float | None = None) -> dict[str, Any]:
    """How the labelled rows differ from the others, and the metrics with and without weights.

    The distance of numbers is Kolmogorov's and Smirnov's (the largest difference of the two cumulative shares), of
    classes the total variation; p is how probable such a distance is by chance (Smirnov's asymptotic distribution as
    Stephens corrected it, 1970; Pearson's chi-squared test of homogeneity for classes). `mae`: a regression's mean
    absolute error as the report has it, for here the sizes of errors are counted in bins and only tell a ratio.
    """
    labelled, unlabelled = _by_bin(selection)
    distance, p = 0.0, 1.0
    if labelled.sum() and unlabelled.sum():
        compare = _classes if selection.classes else _numbers
        distance, p = compare(labelled, unlabelled)
    warning = ""
    if distance >= LEAST_DISTANCE and p <= GREATEST_P:
        warning = (
            f"labels come selectively: the scores of labelled and unlabelled rows are {distance:.2f} apart "
            f"(p = {p:.2g}); see the metrics weighted by score"
        )
    cells = selection.cells[selection.cells[:, 1] >= LABELLED]
    metrics: dict[str, dict[str, float | None]] = {}
    if len(cells):
        plain = _metrics(selection.problem_type, cells[:, 1] - LABELLED, cells[:, 2].astype(np.float64))
        weighted = _metrics(selection.problem_type, cells[:, 1] - LABELLED, _weights(selection))
        metrics = {name: {"labelled": plain[name], "weighted": weighted[name]} for name in plain}
    if "mae" in metrics and mae is not None:
        found, other = metrics["mae"]["labelled"], metrics["mae"]["weighted"]
        moved = mae * other / found if found and other else mae
        if math.isinf(moved) and found and other:
            moved = min(mae / found * other, sys.float_info.max)
        metrics["mae"] = {"labelled": mae, "weighted": moved}
    return {
        "labelled": int(labelled.sum()),
        "unlabelled": int(unlabelled.sum()),
        "distance": distance,
        "p_value": p,
        "warning": warning,
        "metrics": metrics,
    }


def _by_bin(selection: Selection) -> tuple[Counts, Counts]:
    cells = selection.cells
    bins, places = np.unique(cells[:, 0], return_inverse=True)
    found = np.zeros((2, len(bins)), dtype=np.int64)
    np.add.at(found, ((cells[:, 1] < LABELLED).astype(np.int64), places), cells[:, 2])
    return found[0], found[1]


def _numbers(labelled: Counts, unlabelled: Counts) -> tuple[float, float]:
    one, other = float(labelled.sum()), float(unlabelled.sum())
    distance = float(np.abs(np.cumsum(labelled) / one - np.cumsum(unlabelled) / other).max())
    size = math.sqrt(one * other / (one + other))
    return distance, _smirnov((size + 0.12 + 0.11 / size) * distance)


def _smirnov(value: float) -> float:
    if value < 0.2:
        return 1.0
    terms = [2.0 * (-1.0) ** (step - 1) * math.exp(-2.0 * (step * value) ** 2) for step in range(1, 101)]
    return min(1.0, max(0.0, math.fsum(terms)))


def _classes(labelled: Counts, unlabelled: Counts) -> tuple[float, float]:
    one, other = labelled / labelled.sum(), unlabelled / unlabelled.sum()
    distance = 0.5 * math.fsum(np.abs(one - other).tolist())
    both = labelled + unlabelled
    share = float(labelled.sum()) / float(both.sum())
    # Classes of too few rows for the test are taken together.
    large = np.minimum(share, 1.0 - share) * both >= 5.0
    pairs = [*zip(labelled[large].tolist(), both[large].tolist(), strict=True)]
    if not large.all():
        pairs.append((int(labelled[~large].sum()), int(both[~large].sum())))
    if len(pairs) < 2:
        return distance, 1.0
    statistic = math.fsum((found - share * rows) ** 2 / (share * (1.0 - share) * rows) for found, rows in pairs)
    return distance, survival(statistic, len(pairs) - 1)


def _weights(selection: Selection) -> Floats:
    """Rows that each labelled cell stands for: so many times its own as its stretch of scores has rows for a label."""
    cells, stretches = selection.cells, _stretches(selection)
    place = stretches[np.unique(cells[:, 0], return_inverse=True)[1]]
    labelled = cells[:, 1] >= LABELLED
    rows = np.bincount(place, weights=cells[:, 2])
    with_label = np.bincount(place[labelled], weights=cells[labelled, 2], minlength=len(rows))
    factor = np.divide(rows, with_label, out=np.zeros_like(rows), where=with_label > 0)
    found: Floats = cells[labelled, 2] * factor[place[labelled]]
    return found


def _metrics(problem_type: str, outcomes: Counts, weights: Floats) -> dict[str, float | None]:
    total = math.fsum(weights.tolist())
    if problem_type == "Regression":
        # Errors of any size: a power of two less, which rounds nothing, their sum is still a float64.
        return {"mae": math.fsum((size_of(outcomes) * _LESS * weights).tolist()) / total / _LESS}
    by_outcome = [math.fsum(weights[outcomes == outcome].tolist()) for outcome in range(4)]
    if problem_type == "MulticlassClassification":
        return {"accuracy": by_outcome[1] / total}
    true_negatives, false_negatives, false_positives, true_positives = by_outcome
    return {
        "accuracy": (true_negatives + true_positives) / total,
        "f1": _ratio(2 * true_positives, 2 * true_positives + false_positives + false_negatives),
        "precision": _ratio(true_positives, true_positives + false_positives),
        "recall": _ratio(true_positives, true_positives + false_negatives),
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _stretches(selection: Selection) -> Counts:
    """The stretch of each bin, in order of the bins. A class with labelled rows enough is a stretch of its own."""
    labelled, _ = _by_bin(selection)
    wanted = max(LEAST_LABELLED, -(-int(labelled.sum()) // STRETCHES))
    if selection.classes:
        own = labelled >= LEAST_LABELLED
        found: Counts = np.where(own, np.cumsum(own) - 1, int(own.sum()))
        return found
    stretches = np.zeros(len(labelled), dtype=np.int64)
    stretch = reached = 0
    for place, rows in enumerate(labelled.tolist()):
        stretches[place] = stretch
        reached += rows
        if reached >= wanted:
            stretch, reached = stretch + 1, 0
    if reached < wanted and stretch:  # what is left belongs to the last whole stretch
        stretches[stretches == stretch] = stretch - 1
    return stretches
