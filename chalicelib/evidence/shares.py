"""Did a share change? Fisher's exact test of counts against a baseline's counts, on arrays; levels; what could be seen.

The doubled smaller tail of the hypergeometric distribution (Fisher, 1935), so that the baseline's own error is part of
each p-value. Probabilities are built from Stirling's remainder and the binomial deviance (Loader, Fast and accurate
computation of binomial probabilities, 2000), which keeps 1e-10 relative where log-factorials cancel, and tails by the
ratio of neighbouring terms.

Not here: which windows are added up and which alarms follow (`evidence.blocks`).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# A change is said to be seen when its alarm has this probability.
POWER = 0.8

_NORMAL = NormalDist()


def _stirling_remainders(most: int) -> Floats:
    """log n! less Stirling's formula, for n = 0 .. most; 0 for n = 0 by convention."""
    found = [math.lgamma(n + 1) - (n + 0.5) * math.log(n) + n - 0.5 * math.log(2 * math.pi) for n in range(1, most + 1)]
    return np.array([0.0, *found])


_FEW = 16
_REMAINDERS = _stirling_remainders(_FEW)


def two_sided(yes: Any, rows: Any, baseline_yes: Any, baseline_rows: Any) -> Floats:
    """The doubled smaller tail, at most 1, of `yes` of `rows` against `baseline_yes` of `baseline_rows`.

    Whole numbers in arrays that broadcast; 1 where either side has no rows. Within 1e-8 relative down to 1e-300.
    """
    upper, lower = tails(yes, rows, baseline_yes, baseline_rows)
    found: Floats = np.minimum(1.0, 2.0 * np.minimum(upper, lower))
    return found


def one_sided(yes: Any, rows: Any, baseline_yes: Any, baseline_rows: Any) -> Floats:
    """The upper tail: how probable so many "yes" or more are."""
    return tails(yes, rows, baseline_yes, baseline_rows)[0]


def tails(yes: Any, rows: Any, baseline_yes: Any, baseline_rows: Any) -> tuple[Floats, Floats]:
    """P(X >= yes) and P(X <= yes) for X hypergeometric with the margins of the two-by-two table."""
    k, n, k0, m = (np.asarray(each, dtype=np.float64) for each in (yes, rows, baseline_yes, baseline_rows))
    k, n, k0, m = np.broadcast_arrays(k, n, k0, m)
    shape, k, n, k0, m = k.shape, k.ravel(), n.ravel(), k0.ravel(), m.ravel()
    upper, lower = np.ones(k.shape), np.ones(k.shape)
    asked = np.flatnonzero((n > 0) & (m > 0) & (k + k0 > 0) & (k + k0 < n + m))
    k, n, m, total = k[asked], n[asked], m[asked], (k + k0)[asked]
    point = np.exp(_log_point(k, n, m, total))
    # From the count away from the mean the terms fall; the other tail follows from it.
    above = k * (n + m) >= n * total
    outer = np.minimum(1.0, point * _outward(k, n, m, total, above))
    inner = np.minimum(1.0, 1.0 - outer + point)
    upper[asked], lower[asked] = np.where(above, outer, inner), np.where(above, inner, outer)
    return upper.reshape(shape), lower.reshape(shape)


def _outward(k: Floats, n: Floats, m: Floats, total: Floats, above: Flags) -> Floats:
    """The sum of the terms from k outward, in units of the term at k."""
    sums: Floats = np.ones(len(k))
    places: Any = np.arange(len(k))
    # Below the mean, count "no" instead of "yes": both directions are upward.
    k, total = np.where(above, k, n - k), np.where(above, total, n + m - total)
    j, term, sum_ = k.copy(), np.ones(len(k)), np.ones(len(k))
    while len(places):
        term = term * ((total - j) * (n - j)) / ((j + 1.0) * (m - total + j + 1.0))
        sum_ = sum_ + term
        j = j + 1.0
        going = term > 1e-17 * sum_
        sums[places[~going]] = sum_[~going]
        places, j, term, sum_ = places[going], j[going], term[going], sum_[going]
        n, m, total = n[going], m[going], total[going]
    return sums


def _log_point(k: Floats, n: Floats, m: Floats, total: Floats) -> Floats:
    """log P(X = k): three binomial probabilities with the same chance n / (n + m)."""
    p, q = n / (n + m), m / (n + m)
    found: Floats = (
        _log_binomial(k, total, p, q) + _log_binomial(n - k, n + m - total, p, q) - _log_binomial(n, n + m, p, q)
    )
    return found


def _log_binomial(x: Floats, n: Floats, p: Floats, q: Floats) -> Floats:
    y = n - x
    inside = (x > 0) & (y > 0)
    some_x, some_y, some_n = np.where(inside, x, 1.0), np.where(inside, y, 1.0), np.where(inside, n, 2.0)
    middle = (
        _remainder(some_n)
        - _remainder(some_x)
        - _remainder(some_y)
        - _deviance(some_x, some_n * p)
        - _deviance(some_y, some_n * q)
        + 0.5 * np.log(some_n / (2.0 * math.pi * some_x * some_y))
    )
    log_p = np.where(p > 0.5, np.log1p(-np.minimum(q, 0.75)), np.log(p))
    log_q = np.where(q > 0.5, np.log1p(-np.minimum(p, 0.75)), np.log(q))
    edge = np.where(x > 0, x * log_p, y * log_q)
    found: Floats = np.where(inside, middle, edge)
    return found


def _deviance(x: Floats, mean: Floats) -> Floats:
    """x log(x / mean) + mean - x."""
    relative = (x - mean) / mean
    found: Floats = mean * ((1.0 + relative) * np.log1p(relative) - relative)
    return found


def _remainder(n: Floats) -> Floats:
    """log n! less Stirling's formula: a table for few, the series for more."""
    few = n < _FEW
    large = np.where(few, float(_FEW), n)
    square = 1.0 / (large * large)
    series = (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - square / 1188) * square) * square) * square) / large
    found: Floats = np.where(few, _REMAINDERS[np.where(few, n, 0).astype(np.int64)], series)
    return found


def normal_two_sided(z: Floats) -> Floats:
    """P(|Z| >= |z|) of a standard normal Z, elementwise, shape (n,)."""
    return np.array([math.erfc(abs(one) / math.sqrt(2.0)) for one in z.tolist()], dtype=np.float64)


def rank_deviation(rows: Any, baseline_rows: Any, ties: Any) -> Floats:
    """Standard deviation of the Mann-Whitney share when nothing changed; `ties` as `questions.tie_shares` has them."""
    n, m = np.asarray(rows, dtype=np.float64), np.asarray(baseline_rows, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.sqrt((n + m + 1.0) * (1.0 - np.asarray(ties)) / (12.0 * n * m))
    return found


def share_deviation(share: Any, rows: Any, baseline_rows: Any) -> Floats:
    """Standard deviation of the difference of two shares when both are `share`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.sqrt(np.asarray(share) * (1.0 - np.asarray(share)) * (1.0 / rows + 1.0 / baseline_rows))
    return found


def level_of(budget: float, looks: float, questions: Floats) -> Floats:
    """The level of each test: the budget over the windows of the period and 2, over `questions`, the number of all
    tests that share one window's part (columns times questions of the column; of the loss its questions)."""
    found: Floats = budget / max(looks, 1.0) / questions / 2.0
    return found


def least_seen(share: float, level: float, floor: float, rows: float, baseline_rows: float) -> float:
    """The least change of a share near `share` that alarms with probability 0.8 in a window of so many rows.

    Normal approximation; rows may be math.inf: then the least that any number of rows could show against this baseline.
    """
    if not rows or not baseline_rows:
        return math.nan
    spread = math.sqrt(max(share * (1.0 - share), 1.0 / baseline_rows))
    both = spread * math.sqrt(1.0 / rows + 1.0 / baseline_rows)
    alone = spread * math.sqrt(1.0 / rows)
    by_level = -_NORMAL.inv_cdf(level / 2.0) * both
    return max(by_level, floor) + _NORMAL.inv_cdf(POWER) * (alone if math.isinf(rows) else both)
