"""Pearson's chi-squared test of category counts against a baseline, as Deequ runs it (Model Monitor's `ChiSquared`).

The baseline's shares are taken as known, and categories that it does not have are left out (another check reports
them). Expected counts that are too small for the test are merged. Not here: thresholds.
"""

from __future__ import annotations

import heapq
import math

from chalicelib.states.categories import Categories, comparable

# Of more than two categories at most this share may be expected less than five times, of two none less than ten times
# (Yates, Moore and McCabe, 1999; Cochran, 1952).
_SMALL, _SMALL_SHARE, _SMALL_OF_TWO = 5.0, 0.2, 10.0


def p_value(baseline: Categories, current: Categories) -> float | None:
    """How probable counts at least as far from the baseline's shares are, 0 to 1, if nothing has changed.

    None where the test says nothing: fewer than two categories are left after small ones were put together. Of columns
    with more than `categories.BOUND` distinct values only the categories that both sides know exactly are compared.
    Definition: model-monitor formats, section 5.4.
    """
    before, now = dict(baseline.counts), dict(current.counts)
    known = [value for value in comparable(baseline, current) if value in before]
    total = sum(now.get(value, 0) for value in known)
    shares = sum(before[value] for value in known)
    cells = [(before[value] / shares * total, value, now.get(value, 0)) for value in known]
    heapq.heapify(cells)
    small = sum(expected < _SMALL for expected, _, _ in cells)
    while len(cells) > 1 and _too_small(cells, small):
        smallest = heapq.heappop(cells)
        second = heapq.heappop(cells)
        both = (smallest[0] + second[0], second[1], smallest[2] + second[2])
        heapq.heappush(cells, both)
        small += (both[0] < _SMALL) - (smallest[0] < _SMALL) - (second[0] < _SMALL)
    if len(cells) < 2:
        return None
    statistic = math.fsum((observed - expected) ** 2 / expected for expected, _, observed in cells)
    return survival(statistic, len(cells) - 1)


def survival(statistic: float, degrees: int) -> float:
    """The probability that a chi-squared variable of `degrees` (at least 1) exceeds `statistic` (at least 0).

    The finite sums for whole degrees of freedom (Abramowitz and Stegun, 1964, 26.4.4 and 26.4.5).
    """
    half = statistic / 2.0
    if half == 0.0:
        return 1.0
    first = 0.5 if degrees % 2 else 0.0
    terms = [
        math.exp((first + step) * math.log(half) - half - math.lgamma(first + step + 1.0))
        for step in range(degrees // 2)
    ]
    return min(1.0, math.fsum([math.erfc(math.sqrt(half)) if degrees % 2 else 0.0, *terms]))


def _too_small(cells: list[tuple[float, str, int]], small: int) -> bool:
    """`small`: of how many cells less than `_SMALL` rows are expected."""
    if len(cells) == 2:
        return cells[0][0] < _SMALL_OF_TWO
    return small > int(_SMALL_SHARE * len(cells))
