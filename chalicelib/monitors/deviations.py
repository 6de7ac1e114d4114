"""How much a metric of model quality varies by chance: Model Monitor's five samples, and two hundred draws.

Both resample rows, and both do it on counts: five samples of 80 % of the rows without replacement are multivariate
hypergeometric draws of the cells, a bootstrap is a multinomial one. Model Monitor prints the five samples' deviation.
It understates the spread by half (80 % of the rows without replacement vary half as much as new rows would: the
deviation is sqrt(0.25 / (n - 1)) against sqrt(1 / n) in units of one row's) and is accurate only within 35 %. The draws
give the spread of the metric itself, within 5 %.

Seeds are digests of the counts: the same rows give the same numbers as long as NumPy keeps its algorithms, which it
changes only with notice. Not here: files and thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.monitors.quality_metrics import BINARY, MULTICLASS, REGRESSION, binary, multiclass, regression_of_rows
from chalicelib.states.class_matrix import ClassMatrix
from chalicelib.states.residuals import Residuals
from chalicelib.states.scores import Tally

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Model Monitor gives a standard deviation from this many rows on.
DEVIATION_ROWS = 200
# NumPy draws from fewer rows than this; with more rows the deviation is negligible.
MOST_DEVIATION_ROWS = 1_000_000_000
DRAWS = 200
# Draws of a metric that the drawn labels leave undefined are left out; fewer than this share is no deviation.
LEAST_SHARE = 0.5
# Scores are drawn from at most this many bins of equal size; only the area under the curve depends on them.
SCORE_BINS = 1024
# With more cells in all draws there are fewer draws, but never fewer than LEAST_DRAWS; more cells than MOST_CELLS (a
# column of free text as the label) have no deviation. This bounds time and memory.
DRAWN_CELLS = 1 << 20
LEAST_DRAWS = 20
MOST_CELLS = 1 << 16

_SAMPLES = 5
_SAMPLE_SHARE = 0.8


class Spread(msgspec.Struct, frozen=True):
    """`deviations`: metric -> standard deviation, nan where there is none; `draws`: from how many draws."""

    draws: int
    deviations: dict[str, float]


class _Urn(msgspec.Struct, frozen=True):
    """What is drawn: `counts` of shape (k,) and what the metrics of drawn counts of shape (d, k) are.

    `rows` is how many rows there are, `kept` how many of them the counts have.
    """

    names: Sequence[str]
    counts: Counts
    rows: int
    kept: int
    metrics: Callable[[Counts], Mapping[str, Floats]]

    def generator(self, purpose: bytes) -> np.random.Generator:
        digest = blake2b(self.counts.astype("<i8").tobytes(), digest_size=16, key=purpose)
        # PCG64 is named because default_rng may change its generator.
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest.digest(), "big")))

    @property
    def drawable(self) -> bool:
        return self.rows < MOST_DEVIATION_ROWS and 0 < len(self.counts) <= MOST_CELLS


def sampled(state: Tally | ClassMatrix | Residuals) -> Spread:
    """The deviation of five samples of 80 % of the rows without replacement; nan below 200 rows (section 6.2).

    More than `SCORE_BINS` distinct scores are binned, which changes the deviation of `auc` by at most
    n / SCORE_BINS * (1 / (N sqrt(P)) + 1 / (P sqrt(N))) to first order, for P and N labels 1 and 0 of n. More than
    `residuals.ROWS` rows of a regression are a fair sample of so many, its deviation scaled by
    sqrt((kept - 1) / (rows - 1)).
    """
    urn = _urn(state)
    if urn.rows < DEVIATION_ROWS or not urn.drawable:
        return Spread(_SAMPLES, dict.fromkeys(urn.names, math.nan))
    drawn = urn.generator(b"samples").multivariate_hypergeometric(
        urn.counts, int(urn.kept * _SAMPLE_SHARE), size=_SAMPLES, method="marginals"
    )
    found = urn.metrics(drawn)
    scale = math.sqrt((urn.kept - 1) / (urn.rows - 1))
    return Spread(_SAMPLES, {name: _std(found[name]) * scale for name in urn.names})


def resampled(state: Tally | ClassMatrix | Residuals) -> Spread:
    """The deviation of `DRAWS` bootstrap draws (Efron, 1979); bins and samples as `sampled`, scaled by
    sqrt(kept / rows).

    nan where fewer than half of the draws have the metric, and for fewer than 2 rows.
    """
    urn = _urn(state)
    if urn.rows < 2 or not urn.drawable:
        return Spread(DRAWS, dict.fromkeys(urn.names, math.nan))
    draws = max(LEAST_DRAWS, min(DRAWS, DRAWN_CELLS // len(urn.counts)))
    drawn = urn.generator(b"draws").multinomial(urn.kept, urn.counts / urn.kept, size=draws)
    found = urn.metrics(drawn)
    scale = math.sqrt(urn.kept / urn.rows)
    deviations = {}
    for name in urn.names:
        values = found[name][~np.isnan(found[name])]
        deviations[name] = _std(values) * scale if len(values) >= LEAST_SHARE * draws else math.nan
    return Spread(draws, deviations)


def _urn(state: Tally | ClassMatrix | Residuals) -> _Urn:
    if isinstance(state, Tally):
        rows = state.rows
        cells = binned(state.cells, SCORE_BINS)
        places = np.flatnonzero(cells)

        def of_tally(drawn: Counts) -> Mapping[str, Floats]:
            whole = np.zeros((len(drawn), cells.size), dtype=np.int64)
            whole[:, places] = drawn
            return binary(whole.reshape(-1, *cells.shape))

        return _Urn(BINARY, cells.ravel()[places], rows, rows, of_tally)
    if isinstance(state, ClassMatrix):
        matrix = state
        return _Urn(MULTICLASS, matrix.counts, matrix.rows, matrix.rows, lambda drawn: multiclass(matrix, drawn))
    _, labels, predictions = state.sample
    ones = np.ones(len(labels), dtype=np.int64)
    return _Urn(REGRESSION, ones, state.rows, len(labels), lambda drawn: regression_of_rows(drawn, labels, predictions))


def binned(cells: Counts, bins: int) -> Counts:
    """Counts of shape (m, 2, 2) with neighbouring scores put together: at most `bins` of them, of equal size.

    A score belongs to the bin that its middle row is in, so a bin of several scores has at most 2 / `bins` of the rows.
    """
    if len(cells) <= bins:
        return cells
    # Four times as fast as the sum over two short axes.
    sizes = np.einsum("ijk->i", cells)
    ends = np.cumsum(sizes)
    # In half rows, and with Python's whole numbers: products of row counts may leave int64.
    twice = 2 * int(ends[-1])
    edges = [-(-place * twice // bins) for place in range(bins)]
    starts = np.unique(np.searchsorted(2 * ends - sizes, edges))
    return np.add.reduceat(cells, starts[starts < len(cells)], axis=0)


def _std(values: Floats) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return deviation if math.isfinite(deviation) else math.nan
