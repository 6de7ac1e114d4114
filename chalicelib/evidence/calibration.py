"""Is a probability of 0.8 right in eight of ten rows? Reliability of scores, from the tally of a binary classifier.

Knows equal-width bins and two figures; refuses to know where scores come from: whether they are probabilities is seen
from their values.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np

from chalicelib.records.values import GREATEST_PROBABILITY, LEAST_PROBABILITY
from chalicelib.states.scores import Tally

BINS = 10
# Python's numbers take four times the memory of an array: so many are made at a time.
_PART = 1 << 16


def calibration(tally: Tally) -> dict[str, Any] | None:
    """Ten equal-width bins of scores with their rows, mean score and share of label 1; None where scores are no
    probabilities (one is outside 0 to 1 by more than rounding, or all are 0 or 1: classes), or nothing was counted.

    Lower bounds are inclusive and upper ones exclusive, but the last; bins without rows are left out. Beside them the
    Brier score (mean of (score - label)^2; Brier, 1950) and the expected calibration error (mean over rows of the
    bin's |mean score - share of label 1|; Naeini, Cooper and Hauskrecht, AAAI 2015). Exact for any split of the rows.
    """
    scores, by_label = tally.scores, tally.cells.sum(axis=1)
    if not bool(((scores > 0.0) & (scores < 1.0)).any()):
        return None
    if scores[0] < LEAST_PROBABILITY or scores[-1] > GREATEST_PROBABILITY:
        return None
    edges = np.array([place / BINS for place in range(BINS + 1)])
    places = np.searchsorted(edges[1:-1], scores, side="right")
    weights = by_label.sum(axis=1)
    bins = []
    for place in range(BINS):
        inside = places == place
        rows, positives = int(weights[inside].sum()), int(by_label[inside, 1].sum())
        if rows:
            total = math.fsum((scores[inside] * weights[inside]).tolist())
            bins.append(
                {
                    "lower_bound": float(edges[place]),
                    "upper_bound": float(edges[place + 1]),
                    "rows": rows,
                    "mean_score": total / rows,
                    "positive_share": positives / rows,
                }
            )
    squares = (
        (by_label[some, 0] * scores[some] ** 2 + by_label[some, 1] * (1.0 - scores[some]) ** 2).tolist()
        for some in (slice(start, start + _PART) for start in range(0, len(scores), _PART))
    )
    gaps = [each["rows"] * abs(each["mean_score"] - each["positive_share"]) for each in bins]
    return {
        "bins": bins,
        "brier_score": math.fsum(chain.from_iterable(squares)) / tally.rows,
        "expected_calibration_error": math.fsum(gaps) / tally.rows,
    }
