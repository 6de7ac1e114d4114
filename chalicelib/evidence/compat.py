"""Distances as other tools print them, for comparison: none of them raises an alarm here.

Definitions: Model Monitor's distribution comparison (constraints' `comparison_method` Simple and Robust, as Deequ
computes it), Evidently's Wasserstein, Jensen-Shannon and PSI (0.7), NannyML's Jensen-Shannon distance (0.13). Numbers
are distinct values in order with how many rows have each; categories are counts by value. With the exact counts the
results equal the other tools' within 1e-9; from a sketch they are as near as the sketch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.states.profile import Column
from chalicelib.states.question_counts import distinct_numbers

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
# Values, ascending, and rows of each, both of shape (k,).
Numbers = tuple[Floats, Counts]

# Evidently and NannyML treat a column of few distinct numbers as categories.
EVIDENTLY_FEW = 20
NANNYML_FEW, NANNYML_SHARE = 50, 0.1
EMPTY_SHARE = 0.0001


class Distances(msgspec.Struct, frozen=True, kw_only=True):
    """One column's distances from its baseline. `wasserstein` is None for categories."""

    model_monitor_simple: float
    model_monitor_robust: float
    evidently_wasserstein: float | None
    evidently_jensen_shannon: float
    evidently_stability: float
    nannyml_jensen_shannon: float


def distances_of(baseline: Column, window: Column) -> Distances | None:
    """All of them for one column: as numbers where the baseline's values are numbers, else as categories.

    None where a side has no values, or more categories than are all counted.
    """
    if baseline.inferred_type in ("Integral", "Fractional"):
        pair = _numbers(baseline), _numbers(window)
        if not (len(pair[0][0]) and len(pair[1][0])):
            return None
        distance = distance_of_numbers(*pair)
        return Distances(
            model_monitor_simple=simple(distance),
            model_monitor_robust=robust(distance, baseline.quantiles.count, window.quantiles.count),
            evidently_wasserstein=wasserstein_of_deviation(*pair),
            evidently_jensen_shannon=jensen_shannon_natural(*pair),
            evidently_stability=population_stability(*pair),
            nannyml_jensen_shannon=jensen_shannon_base_2(*pair),
        )
    one, other = baseline.categories, window.categories
    if one.more or other.more or not (one.total and other.total):
        return None
    counts = dict(one.counts), dict(other.counts)
    distance, natural = distance_of_categories(*counts), jensen_shannon_of_categories(*counts)
    return Distances(
        model_monitor_simple=simple(distance),
        model_monitor_robust=robust(distance, one.total, other.total),
        evidently_wasserstein=None,
        evidently_jensen_shannon=natural,
        evidently_stability=population_stability_of_categories(*counts),
        nannyml_jensen_shannon=natural / math.sqrt(math.log(2.0)),
    )


def _numbers(column: Column) -> Numbers:
    values, ranks = distinct_numbers(column.quantiles)
    return values, np.diff(ranks, prepend=0)


def distance_of_numbers(baseline: Numbers, window: Numbers) -> float:
    """The largest difference of the two cumulative shares (L-infinity, Kolmogorov and Smirnov)."""
    one, other, _ = _cumulative(baseline, window)
    return float(np.abs(one - other).max())


def distance_of_categories(baseline: Mapping[str, int], window: Mapping[str, int]) -> float:
    """The largest difference of the shares of one category (L-infinity)."""
    one, other = _shares(baseline, window)
    return float(np.abs(one - other).max())


def simple(distance: float) -> float:
    """Model Monitor's Simple comparison: the distance itself."""
    return distance


def robust(distance: float, baseline_rows: int, rows: int) -> float:
    """Model Monitor's Robust comparison: the distance less 1.8 times the square root of (n + m) / (n m)."""
    return max(0.0, distance - 1.8 * math.sqrt((baseline_rows + rows) / (baseline_rows * rows)))


def wasserstein_of_deviation(baseline: Numbers, window: Numbers) -> float:
    """Evidently's normed Wasserstein distance: the area between the cumulative shares, in units of the baseline's
    standard deviation (population), which counts as at least 0.001."""
    one, other, points = _cumulative(baseline, window)
    area = float((np.abs(one - other)[:-1] * np.diff(points)).sum())
    values, counts = baseline
    mean = float((values * counts).sum()) / float(counts.sum())
    deviation = math.sqrt(float(((values - mean) ** 2 * counts).sum()) / float(counts.sum()))
    return area / max(deviation, 0.001)


def jensen_shannon_natural(baseline: Numbers, window: Numbers) -> float:
    """Evidently's Jensen-Shannon distance of numbers, natural logarithm, over bins of the pooled rows."""
    return _jensen_shannon(*_pooled_bins(baseline, window))


def jensen_shannon_of_categories(baseline: Mapping[str, int], window: Mapping[str, int]) -> float:
    """The same of categories (Evidently); divided by the root of log 2 it is base 2. NannyML's has all categories that
    the baseline does not have in one bin, which gives the same number."""
    return _jensen_shannon(*_shares(baseline, window))


def jensen_shannon_base_2(baseline: Numbers, window: Numbers) -> float:
    """NannyML's Jensen-Shannon distance of numbers, base 2: the baseline's bins (Doane's rule), and one for what is
    outside of them; few distinct values are categories."""
    values, counts = baseline
    rows = int(counts.sum())
    if len(values) > NANNYML_FEW or len(values) / rows > NANNYML_SHARE:
        edges = _edges(float(values[0]), float(values[-1]), _doane(values, counts))
        one, other = _histogram(baseline, edges), _histogram(window, edges)
    else:
        places = np.searchsorted(window[0], values)
        found = np.minimum(places, len(window[0]) - 1)
        one = counts / rows
        other = np.where(window[0][found] == values, window[1][found], 0) / window[1].sum()
    left = max(0.0, 1.0 - float(other.sum()))
    return _jensen_shannon(np.append(one, 0.0), np.append(other, left)) / math.sqrt(math.log(2.0))


def population_stability(baseline: Numbers, window: Numbers) -> float:
    """Evidently's population stability index of numbers: sum of (p - q) log(p / q) over bins of the pooled rows."""
    return _stability(*_pooled_bins(baseline, window))


def population_stability_of_categories(baseline: Mapping[str, int], window: Mapping[str, int]) -> float:
    """The same of categories."""
    return _stability(*_shares(baseline, window))


def _cumulative(baseline: Numbers, window: Numbers) -> tuple[Floats, Floats, Floats]:
    """Cumulative shares of both at every value of either, and these values, shape (k,) each."""
    points = np.union1d(baseline[0], window[0])
    found = []
    for values, counts in (baseline, window):
        below = np.append(0, np.cumsum(counts))
        found.append(below[np.searchsorted(values, points, side="right")] / below[-1])
    return found[0], found[1], points


def _shares(baseline: Mapping[str, int], window: Mapping[str, int]) -> tuple[Floats, Floats]:
    names = sorted({*baseline, *window})
    one, other = (np.array([each.get(name, 0) for name in names], dtype=np.float64) for each in (baseline, window))
    return one / one.sum(), other / other.sum()


def _pooled_bins(baseline: Numbers, window: Numbers) -> tuple[Floats, Floats]:
    """Evidently's bins: Sturges' rule on the pooled rows, or each value where the baseline has few."""
    if len(np.unique(baseline[0])) <= EVIDENTLY_FEW:
        one, other, _ = _cumulative(baseline, window)
        return np.diff(one, prepend=0.0), np.diff(other, prepend=0.0)
    least = min(float(each[0][0]) for each in (baseline, window))
    greatest = max(float(each[0][-1]) for each in (baseline, window))
    rows = int(baseline[1].sum() + window[1].sum())
    edges = _edges(least, greatest, (greatest - least) / (math.log2(rows) + 1.0))
    return _histogram(baseline, edges), _histogram(window, edges)


def _edges(least: float, greatest: float, width: float) -> Floats:
    bins = math.ceil((greatest - least) / width) if width else 1
    return np.linspace(least, greatest, bins + 1)


def _doane(values: Floats, counts: Counts) -> float:
    """The width of bins by Doane's rule (1976): Sturges' number of bins, and more of them for skewed rows."""
    rows = int(counts.sum())
    mean = float((values * counts).sum()) / rows
    deviation = math.sqrt(float(((values - mean) ** 2 * counts).sum()) / rows)
    if rows <= 2 or not deviation:
        return 0.0
    skew = abs(float((((values - mean) / deviation) ** 3 * counts).sum()) / rows)
    error = math.sqrt(6.0 * (rows - 2) / ((rows + 1.0) * (rows + 3)))
    return float(values[-1] - values[0]) / (1.0 + math.log2(rows) + math.log2(1.0 + skew / error))


def _histogram(numbers: Numbers, edges: Floats) -> Floats:
    """The share of rows in each bin, the last edge inclusive; rows outside are in none."""
    values, counts = numbers
    below = np.append(0, np.cumsum(counts))
    ranks = below[np.append(np.searchsorted(values, edges[:-1], "left"), np.searchsorted(values, edges[-1], "right"))]
    found: Floats = np.diff(ranks) / below[-1]
    return found


def _jensen_shannon(one: Floats, other: Floats) -> float:
    one, other = one / one.sum(), other / other.sum()
    middle = (one + other) / 2.0

    def relative(part: Floats) -> float:
        some = part > 0
        return float((part[some] * np.log(part[some] / middle[some])).sum())

    return math.sqrt(max(0.0, (relative(one) + relative(other)) / 2.0))


def _stability(one: Floats, other: Floats) -> float:
    one, other = _filled(one), _filled(other)
    return float(((one - other) * np.log(one / other)).sum())


def _filled(shares: Floats) -> Floats:
    """Empty bins get a share of 0.0001, or a millionth of the least one where that is not more than 0.0001."""
    least = float(shares[shares > 0].min())
    return np.where(shares > 0, shares, EMPTY_SHARE if least > EMPTY_SHARE else least / 1e6)
