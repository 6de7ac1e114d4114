"""Windows that fluctuate more than their rows: t over the baseline's windows, and whether that may be believed.

Traffic differs from hour to hour, so rows of one window are more alike than rows of two. With K >= 28 baseline windows
a block of L windows is also compared with the spread of these windows: t = (mean of the block - mean of the K) /
(s sqrt(1/L + 1/K)), with K - 1 degrees of freedom, once on shares and once on log-odds (half a row added to each side);
the smaller counts. With a declared season of S phases the means are per phase, and K - S degrees are left.

The promise is for exchangeable windows. Two checks of the K windows, each with its number: a permutation test of the
mean autocorrelation over all questions (order), and the mean kurtosis over all questions against its 98 % point for
normal windows of the same covariance (tails). Where one fails, alarms are uncalibrated. Both are drawn from a fixed
seed, so the same windows have the same answer.

Arrays: windows on the axis before the last, questions on the last, streams before these.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LEAST_WINDOWS = 28
# The budget of a period when windows are tested against windows.
BUDGET_SHARE = 0.8

# A share's deviation counts as at least so many rows of a window: that K windows had none says little about the next.
LEAST_SPREAD_ROWS = 2.0
# Where the range is that of these very windows, none is outside of it, and extremes come in clusters: one window of
# K + 1 exchangeable ones has the largest value. Only a share like that of a changed unit is evidence.
NEVER_SPREAD = 0.1

DRAWS = 200
LEAST_ORDER_P = 0.05
TAIL_POINT = 0.98
SEED = 28

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Spread(NamedTuple):
    """The baseline's windows, once for shares and once for log-odds.

    `means`: (2, ..., phases, questions); `deviations`: (2, ..., 1, questions); `windows`: how many windows each phase
    has, (phases,); `degrees`: degrees of freedom.
    """

    means: Floats
    deviations: Floats
    windows: Floats
    degrees: int


class Checks(NamedTuple):
    """Whether alarms of these windows may be believed: p of the order, the kurtosis and its limit."""

    order_p: float
    kurtosis: float
    kurtosis_limit: float

    @property
    def hold(self) -> bool:
        return self.order_p > LEAST_ORDER_P and self.kurtosis <= self.kurtosis_limit


def spread_of(
    yes: Floats, rows: Floats, phases: Places | None = None, never: npt.NDArray[np.bool_] | None = None
) -> Spread:
    """The spread of K baseline windows, arrays (..., K, questions); `phases`: each window's phase, 0 .. S - 1, each of
    which occurs; `never`: the questions about what the baseline never had."""
    both = _both(yes, rows)
    phases = np.zeros(both.shape[-2], dtype=np.int64) if phases is None else phases
    count = np.bincount(phases).astype(np.float64)
    means = np.stack([both[..., phases == phase, :].mean(axis=-2) for phase in range(len(count))], axis=-2)
    degrees = len(phases) - len(count)
    squares = ((both - means[..., phases, :]) ** 2).sum(axis=-2, keepdims=True)
    # Equal windows deviate by rounding alone.
    deviations = np.where(squares <= 1e-20, 0.0, np.sqrt(squares / degrees))
    with np.errstate(divide="ignore"):
        least = LEAST_SPREAD_ROWS / rows.mean(axis=-2, keepdims=True)
    if never is not None:
        least = np.where(never & (deviations[0] == 0.0), NEVER_SPREAD, least)
    deviations[0] = np.maximum(deviations[0], least)
    return Spread(means, deviations, count, degrees)


def away_from(spread: Spread, yes: Floats, rows: Floats, phases: Places | None = None) -> Floats:
    """How far each window's share and log-odds are from the baseline's mean, (2, ..., windows, questions).

    `phases`: the phase of each window, (windows,). nan where there are no rows.
    """
    phases = np.zeros(yes.shape[-2], dtype=np.int64) if phases is None else phases
    return _both(yes, rows) - spread.means[..., phases, :]


def t_values(spread: Spread, away: Floats, length: int, phases: Places | None = None) -> Floats:
    """t of each aligned block of `length` windows, (..., windows / length, questions), from `away_from`: that of shares
    or of log-odds, whichever is nearer to 0, and 0 where the two have different signs or there are no rows.

    Log-odds that never varied in the baseline have t = 0 where they are the same again and infinity elsewhere.
    """
    windows = away.shape[-2]
    phases = np.zeros(windows, dtype=np.int64) if phases is None else phases
    if length > 1:
        away = away.reshape(*away.shape[:-2], windows // length, length, away.shape[-1]).mean(axis=-2)
    occurs = np.zeros((windows // length, len(spread.windows)))
    np.add.at(occurs, (np.arange(windows) // length, phases), 1.0)
    error = np.sqrt(1.0 / length + (occurs**2 / spread.windows).sum(axis=1) / length**2)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = away / (spread.deviations * error)
    one, other = (
        np.where((deviation == 0.0) & (np.abs(some) <= 1e-10) | np.isnan(t), 0.0, t)
        for t, some, deviation in zip((one, other), away, spread.deviations, strict=True)
    )
    found: Floats = np.where(one * other > 0, np.sign(one) * np.minimum(np.abs(one), np.abs(other)), 0.0)
    return found


def checks_of(yes: Floats, rows: Floats, phases: Places | None = None) -> Checks:
    """Order and tails of K baseline windows, arrays (K, questions), after the means of the phases are taken off."""
    spread = spread_of(yes, rows, phases)
    away = away_from(spread, yes, rows, phases)[0]
    away = away[:, away.std(axis=0) > 1e-12]
    if not away.size:
        return Checks(1.0, 0.0, math.inf)
    away = away / away.std(axis=0)
    draw = np.random.Generator(np.random.PCG64(SEED))
    # The mean over questions of the products of neighbours depends on the matrix of all products alone.
    products = away @ away.T / away.shape[1]
    orders = np.argsort(draw.random((DRAWS, len(away))), axis=1)
    drawn = products[orders[:, :-1], orders[:, 1:]].sum(axis=1)
    found = float(np.diagonal(products, 1).sum())
    order_p = (1 + int((drawn >= found).sum())) / (1 + DRAWS)
    normal = draw.standard_normal((DRAWS, len(away), len(away))) @ away
    return Checks(order_p, float(_kurtosis(away)), float(np.quantile(_kurtosis(normal), TAIL_POINT)))


def t_two_sided(t: Floats, degrees: int) -> Floats:
    """P(|T| >= |t|) of Student's t, elementwise: the incomplete beta function by its continued fraction (Lentz)."""
    size = np.minimum(np.abs(t), 1e150)
    x = degrees / (degrees + size**2)
    near = x > (degrees / 2.0 + 1.0) / (degrees / 2.0 + 2.5)
    a, b = np.where(near, 0.5, degrees / 2.0), np.where(near, degrees / 2.0, 0.5)
    z = np.where(near, size**2 / (degrees + size**2), x)
    log_beta = math.lgamma(0.5) + math.lgamma(degrees / 2.0) - math.lgamma(degrees / 2.0 + 0.5)
    with np.errstate(divide="ignore"):
        front = np.exp(a * np.log(z) + b * np.log1p(-z) - log_beta) / a
    part = np.where(z > 0, front / _fraction(a, b, z), 0.0)
    found: Floats = np.where(np.isinf(t), 0.0, np.where(near, 1.0 - part, part))
    return found


def _fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """1 + d1 / (1 + d2 / (1 + ...)) of the incomplete beta function (Abramowitz and Stegun, 26.5.8)."""
    c, d = np.ones_like(x), np.zeros_like(x)
    found = np.ones_like(x)
    for step in range(1, 400):
        half = step // 2
        if step % 2:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        d = 1.0 / (1.0 + term * d)
        c = 1.0 + term / c
        found = found * c * d
        if not len(x) or float(np.abs(c * d - 1.0).max()) < 1e-15:
            break
    return found


def _both(yes: Floats, rows: Floats) -> Floats:
    """Shares and log-odds, (2, ..., windows, questions); nan where there are no rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = yes / rows
    odds = np.where(rows > 0, np.log((yes + 0.5) / (rows - yes + 0.5)), np.nan)
    return np.stack([share, odds])


def _kurtosis(windows: Floats) -> Floats:
    """The mean over questions of the fourth moment over the squared second, (..., K, questions) -> (...)."""
    away = windows - windows.mean(axis=-2, keepdims=True)
    squares = away * away
    fourth = np.einsum("...kq,...kq->...q", squares, squares) / windows.shape[-2]
    found: Floats = (fourth / squares.mean(axis=-2) ** 2).mean(axis=-1)
    return found
