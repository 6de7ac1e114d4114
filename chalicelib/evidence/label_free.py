"""Quality of a binary classifier before its labels come: expected cells of the confusion matrix, score by score.

CBPE (confidence-based performance estimation) calibrates the scores on the baseline's labels and takes each row of the
window as right with its calibrated probability. PAPE (Białek et al., arXiv 2401.08348) calibrates with the baseline's
rows weighted by how much more often the window has such rows. Both assume that the same inputs still have the same
labels: `evidence.gap` compares estimate and truth when labels come. Where a row has its label, the label counts, so
one formula gives the estimated, the partial and the settled value. Not here: regressions (`evidence.error_model`).
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.evidence.trees import fit
from chalicelib.states.row_sample import RowSample
from chalicelib.states.scores import Tally
from chalicelib.states.selection import LABELLED, Selection, score_bins

# Resampled calibrations: what the baseline's own chance does to an estimate. Their draws are the same each time.
RESAMPLES = 30
# Distinct scores that a curve is fitted to at most.
SCORES = 20_000
SEED = 20_480

# PAPE: rows that it needs, rounds of stumps, bounds of the ratio, and the least share of the baseline's rows that the
# weighted ones must be worth (Kish's effective sample size).
LEAST_BASELINE_ROWS, LEAST_WINDOW_ROWS = 10_000, 2_048
STUMPS, STUMP_RATE = 60, 0.3
LEAST_WEIGHT, LEAST_COMPLEMENT = 0.05, 0.001
LEAST_EFFECTIVE = 0.1

NORMAL_95 = 1.96

Method = Literal["CBPE", "PAPE", "error model"]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class Curve(msgspec.Struct, frozen=True, eq=False):
    """The probability of label 1 by score bin. `bins`: ascending, shape (k,); `shares`: that probability, monotone,
    shape (k,); `resampled`: the same from resampled rows, shape (RESAMPLES, k). `effective`: the effective sample size
    as a share of the baseline's rows, 1 without weights."""

    method: Method
    bins: Counts
    shares: Floats
    resampled: Floats
    effective: float = 1.0

    def at(self, bins: Counts) -> tuple[Floats, Floats]:
        """Probabilities at these bins, shape (n,), and resampled ones, shape (RESAMPLES, n); linear in between."""
        inside = np.interp(bins, self.bins, np.arange(len(self.bins)))
        low = np.minimum(inside.astype(np.intp), max(0, len(self.bins) - 2))
        part, high = inside - low, np.minimum(low + 1, len(self.bins) - 1)
        both = np.concatenate([self.shares[None], self.resampled])
        found = both[:, low] * (1.0 - part) + both[:, high] * part
        return found[0], found[1:]


class Figure(msgspec.Struct, frozen=True):
    """A metric, and the ends of its 95 % band: chance of the labels that are not there and of the calibration."""

    value: float
    low: float
    high: float


class Estimate(msgspec.Struct, frozen=True):
    """Metrics of a window by SageMaker's names, from `labelled` of `rows` labels; `claim`: "" or why there is none."""

    method: Method
    rows: int
    labelled: int
    metrics: dict[str, Figure]
    effective: float = 1.0
    claim: str = ""

    @property
    def kind(self) -> Literal["estimated", "partial", "labelled"]:
        """Whether no row, some rows or all rows have a label."""
        if not self.labelled:
            return "estimated"
        return "partial" if self.labelled < self.rows else "labelled"


def calibrate(baseline: Tally, margins: bool = False) -> Curve | None:
    """CBPE's curve from a baseline's labelled rows, `margins`: scores are no probabilities; None without two classes of
    labels.

    Fitted to the scores themselves (neighbours together, beyond `SCORES`) and averaged over each bin's rows: fitted to
    bins it would be flatter than what is published.
    """
    by_label = baseline.cells.sum(axis=1).astype(np.float64)
    if not len(by_label) or not by_label.sum(axis=0).all():
        return None
    bins, place = np.unique(score_bins(baseline.scores, margins), return_inverse=True)
    near = np.arange(len(by_label)) * min(SCORES, len(by_label)) // len(by_label)
    groups: Floats = np.zeros((near[-1] + 1, 2))
    np.add.at(groups, near, by_label)
    rows = by_label.sum(axis=1)
    fitted = isotonic(groups[:, 0], groups[:, 1])[near]
    shares = np.bincount(place, fitted * rows) / np.bincount(place, rows)
    counts = np.stack([np.bincount(place, one) for one in by_label.T])
    draws = np.random.Generator(np.random.PCG64(SEED)).poisson(counts, (RESAMPLES, *counts.shape))
    resampled = np.array([isotonic(*draw.astype(np.float64)) for draw in draws])
    return Curve("CBPE", bins, shares, resampled)


def calibrate_for(baseline: RowSample, window: RowSample, margins: bool = False) -> Curve | None:
    """PAPE's curve: the baseline's sample weighted like the window's.

    None with fewer than `LEAST_BASELINE_ROWS` labelled rows or `LEAST_WINDOW_ROWS` rows of the window, without common
    features, or with one class of labels. A baseline row weighs m/n * q/(1 - q), q being the probability that boosted
    stumps give a row of these features to be one of the window's n rows and not one of the baseline's m.
    """
    labels = baseline.answers[:, 2]
    known = np.isfinite(labels)
    names = [name for name in baseline.features if name in window.features]
    before, now = rows_of(baseline, names)[known], rows_of(window, names)
    if (
        len(before) < LEAST_BASELINE_ROWS
        or len(now) < LEAST_WINDOW_ROWS
        or not names
        or len(np.unique(labels[known])) < 2
    ):
        return None
    origins = np.concatenate([np.zeros(len(before)), np.ones(len(now))])
    ratio = fit(np.concatenate([before, now]), origins, "logistic", depth=1, rounds=STUMPS, rate=STUMP_RATE)
    inside = ratio.predict(before)
    weights = len(before) / len(now) * inside / np.maximum(1.0 - inside, LEAST_COMPLEMENT)
    weights = np.maximum(weights, LEAST_WEIGHT)
    scores = np.where(np.isnan(baseline.answers[:, 0]), baseline.answers[:, 1], baseline.answers[:, 0])[known]
    bins, place = np.unique(score_bins(scores, margins), return_inverse=True)
    cells = labels[known].astype(np.intp) * len(bins) + place

    def curve(repeats: Floats) -> Floats:
        return isotonic(*np.bincount(cells, weights * repeats, 2 * len(bins)).reshape(2, -1))

    draw = np.random.Generator(np.random.PCG64(SEED))
    resampled = np.array([curve(draw.poisson(1.0, len(before)).astype(np.float64)) for _ in range(RESAMPLES)])
    effective = float(weights.sum() ** 2 / (weights**2).sum()) / len(before)
    return Curve("PAPE", bins, curve(np.ones(len(before))), resampled, effective)


def estimate(selection: Selection, cbpe: Curve, pape: Curve | None = None) -> Estimate:
    """Metrics of a window's answered rows: what labels say where there are some, else what a curve expects.

    PAPE's curve is taken where there is one, unless its weighted baseline is worth too few rows.
    """
    unlike = pape is not None and pape.effective < LEAST_EFFECTIVE
    curve = cbpe if pape is None or unlike else pape
    claim = ""
    if unlike and pape is not None:
        claim = (
            f"the inputs are unlike the baseline's (weighted to the window, its rows are worth {pape.effective:.0%} of "
            "their number): the estimate makes no claim"
        )
    known, open_rows, bins = cells_of(selection)
    shares, resampled = curve.at(bins)
    expected = known + _with_label(open_rows, shares)
    draw = np.random.Generator(np.random.PCG64(SEED))
    positive = draw.binomial(open_rows[None].astype(np.int64), np.clip(resampled, 0.0, 1.0)[..., None])
    drawn = known + np.stack([open_rows - positive, positive], axis=-1)
    values, spread = metrics_of(expected), metrics_of(drawn)
    figures = {}
    for name, value in values.items():
        if np.isfinite(value):
            half = NORMAL_95 * float(np.nanstd(spread[name]))
            figures[name] = Figure(float(value), max(0.0, float(value) - half), min(1.0, float(value) + half))
    return Estimate(
        curve.method, selection.rows, selection.labelled, figures, 1.0 if pape is None else pape.effective, claim
    )


def realised(selection: Selection) -> dict[str, float]:
    """The metrics of a binary classifier's labelled rows alone; those that are not defined are left out."""
    found = {name: float(value) for name, value in metrics_of(cells_of(selection)[0]).items()}
    return {name: value for name, value in found.items() if value == value}


def cells_of(selection: Selection) -> tuple[Floats, Floats, Counts]:
    """Of a binary classifier's window: rows by bin, served class and label, shape (k, 2, 2); rows without a label by
    bin and served class, shape (k, 2); the bins, ascending, shape (k,)."""
    cells = selection.cells
    bins, place = np.unique(cells[:, 0], return_inverse=True)
    found = np.zeros((len(bins), LABELLED + 4))
    np.add.at(found, (place, cells[:, 1]), cells[:, 2])
    return found[:, LABELLED:].reshape(-1, 2, 2), found[:, :LABELLED], bins


def metrics_of(cells: Floats) -> dict[str, Floats]:
    """Metrics by SageMaker's names of rows by bin, served class and label, shape (..., k, 2, 2), bins ascending; nan
    where one is not defined. The area under the ROC curve counts pairs in one bin as half right."""
    totals = cells.sum(axis=-3)
    hits, rows = totals[..., 1, 1], totals.sum(axis=(-2, -1))
    by_label = cells.sum(axis=-2)
    negatives, positives = by_label[..., 0], by_label[..., 1]
    below = np.cumsum(negatives, axis=-1) - 0.5 * negatives
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "accuracy": (hits + totals[..., 0, 0]) / rows,
            "precision": hits / totals[..., 1, :].sum(axis=-1),
            "recall": hits / totals[..., :, 1].sum(axis=-1),
            "f1": 2.0 * hits / (totals[..., 1, :].sum(axis=-1) + totals[..., :, 1].sum(axis=-1)),
            "auc": (below * positives).sum(axis=-1) / (negatives.sum(axis=-1) * positives.sum(axis=-1)),
        }


def rows_of(sample: RowSample, names: list[str]) -> Floats:
    """Values of these features, then the score where there is one, else what was served; shape (k, names + 1)."""
    values = sample.values[:, [sample.features.index(name) for name in names]]
    score, served = sample.answers[:, 0], sample.answers[:, 1]
    return np.column_stack([values, np.where(np.isnan(score), served, score)])


def isotonic(negatives: Floats, positives: Floats) -> Floats:
    """The monotone shares of positives nearest to those of the bins, weighted by their rows, shape (k,) (pool adjacent
    violators; Barlow et al., Statistical Inference under Order Restrictions, 1972). Bins without rows take part in
    what is next to them."""
    rows = negatives + positives
    used = np.flatnonzero(rows > 0.0)
    pools: list[tuple[float, float, int]] = []
    for all_rows, hits in zip(rows[used].tolist(), positives[used].tolist(), strict=True):
        size = 1
        # Shares compared without division: pools of one share become one.
        while pools and pools[-1][1] * all_rows >= hits * pools[-1][0]:
            more_rows, more_hits, more = pools.pop()
            all_rows, hits, size = all_rows + more_rows, hits + more_hits, size + more
        pools.append((all_rows, hits, size))
    shares = np.repeat([hits / all_rows for all_rows, hits, _ in pools], [size for _, _, size in pools])
    found: Floats = np.interp(np.arange(len(rows)), used, shares) if len(used) else np.full(len(rows), 0.5)
    return found


def _with_label(rows: Floats, shares: Floats) -> Floats:
    """Rows by bin and served class as rows by bin, served class and expected label."""
    positive = rows * shares[:, None]
    return np.stack([rows - positive, positive], axis=-1)
