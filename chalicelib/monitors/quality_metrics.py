"""The metrics of Model Monitor's model quality as formulas: binary 17, multiclass 12, regression 4.

Definitions: model-monitor formats, section 6.2. Each works on one set of counts or on many at once (resampled ones).
Not here: files, thresholds, where counts come from.
"""

from __future__ import annotations

import math
import sys

import numpy as np
import numpy.typing as npt

from chalicelib.states.class_matrix import ClassMatrix
from chalicelib.states.moments import share_of_variance
from chalicelib.states.residuals import Residuals
from chalicelib.states.scores import area_under_curve

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

BINARY = (
    "recall",
    "precision",
    "accuracy",
    "recall_best_constant_classifier",
    "precision_best_constant_classifier",
    "accuracy_best_constant_classifier",
    "true_positive_rate",
    "true_negative_rate",
    "false_positive_rate",
    "false_negative_rate",
    "auc",
    "f0_5",
    "f1",
    "f2",
    "f0_5_best_constant_classifier",
    "f1_best_constant_classifier",
    "f2_best_constant_classifier",
)
MULTICLASS = (
    "accuracy",
    "weighted_recall",
    "weighted_precision",
    "weighted_f0_5",
    "weighted_f1",
    "weighted_f2",
    "accuracy_best_constant_classifier",
    "weighted_recall_best_constant_classifier",
    "weighted_precision_best_constant_classifier",
    "weighted_f0_5_best_constant_classifier",
    "weighted_f1_best_constant_classifier",
    "weighted_f2_best_constant_classifier",
)
REGRESSION = ("mae", "mse", "rmse", "r2")

_BETAS = (("f0_5", 0.5), ("f1", 1.0), ("f2", 2.0))


def binary(cells: Counts) -> dict[str, Floats]:
    """All 17 metrics of counts of shape (..., m, 2, 2), as `Tally.cells`; each result has the leading shape.

    nan where the labels leave the metric undefined; a precision or F of 0/0 although there are labels 1 is 0.0
    (as Model Monitor's constant classifier shows). The best constant classifier always answers the majority class,
    class 0 in a tie.
    """
    by_class = cells.sum(axis=-3).astype(np.float64)
    tn, fn = by_class[..., 0, 0], by_class[..., 0, 1]
    fp, tp = by_class[..., 1, 0], by_class[..., 1, 1]
    positives, negatives = tp + fn, tn + fp
    rows = positives + negatives
    recall = _divided(tp, positives)
    answers_one = positives > negatives
    # The constant classifier's own matrix: all rows are answered 1, or none is.
    constant_tp, constant_fp = np.where(answers_one, positives, 0.0), np.where(answers_one, negatives, 0.0)
    found = {
        "recall": recall,
        "precision": _precision(tp, fp, positives),
        "accuracy": _divided(tp + tn, rows),
        "recall_best_constant_classifier": _divided(constant_tp, positives),
        "precision_best_constant_classifier": _precision(constant_tp, constant_fp, positives),
        "accuracy_best_constant_classifier": _divided(np.maximum(positives, negatives), rows),
        "true_positive_rate": recall,
        "true_negative_rate": _divided(tn, negatives),
        "false_positive_rate": _divided(fp, negatives),
        "false_negative_rate": 1.0 - recall,
        "auc": area_under_curve(cells),
    }
    for name, beta in _BETAS:
        found[name] = _f(beta, tp, fp, positives)
        found[f"{name}_best_constant_classifier"] = _f(beta, constant_tp, constant_fp, positives)
    return found


def multiclass(matrix: ClassMatrix, counts: Counts) -> dict[str, Floats]:
    """All 12 metrics of `counts` of shape (..., k), one for each cell of `matrix`; each result has the leading shape.

    Metrics of a class are weighted by its share among the labels; a class that is never served has precision 0 and a
    class without labels no weight. nan without rows. The best constant classifier always answers the most frequent
    label, of equally frequent ones the first by name.
    """
    size = len(matrix.classes)
    rows = counts.sum(axis=-1).astype(np.float64)
    support = _grouped(counts, matrix.labels, size)
    answered = _grouped(counts, matrix.served, size)
    right = matrix.labels == matrix.served
    hits = _grouped(counts[..., right], matrix.labels[right], size)
    greatest = support.max(axis=-1, initial=0.0)
    accuracy, constant = _divided(hits.sum(axis=-1), rows), _divided(greatest, rows)
    found = {
        "accuracy": accuracy,
        "weighted_recall": accuracy,
        "weighted_precision": _weighted(hits, answered, support, rows),
        "accuracy_best_constant_classifier": constant,
        "weighted_recall_best_constant_classifier": constant,
        "weighted_precision_best_constant_classifier": constant * constant,
    }
    for name, beta in _BETAS:
        square = beta * beta
        found[f"weighted_{name}"] = _weighted((1.0 + square) * hits, square * support + answered, support, rows)
        one = _divided((1.0 + square) * greatest, square * greatest + rows)
        found[f"weighted_{name}_best_constant_classifier"] = constant * one
    return found


def regression(state: Residuals) -> dict[str, float]:
    """All 4 metrics from exact sums; nan without rows, and for r2 where all labels are equal."""
    if not state.rows:
        return dict.fromkeys(REGRESSION, math.nan)
    unexplained = share_of_variance(state.sizes, state.labels)
    return {
        "mae": state.sizes.mean,
        "mse": state.sizes.mean_square,
        "rmse": state.sizes.root_mean_square,
        "r2": max(1.0 - unexplained, -sys.float_info.max) if unexplained == unexplained else math.nan,
    }


def regression_of_rows(weights: Counts, labels: Floats, predictions: Floats) -> dict[str, Floats]:
    """All 4 metrics of rows that count `weights` times, shape (..., k); each result has the leading shape.

    Numbers whose squares leave float64 make a metric inf or nan.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.abs(labels - predictions)
        # From the middle of the kept labels, so that a large mean takes no digits from the variance.
        centred = labels - labels.mean() if len(labels) else labels
        columns = np.stack([sizes, sizes * sizes, centred, centred * centred], axis=-1)
        means = (weights @ columns) / weights.sum(axis=-1)[..., None]
        variance = means[..., 3] - means[..., 2] ** 2
        return {
            "mae": means[..., 0],
            "mse": means[..., 1],
            "rmse": np.sqrt(means[..., 1]),
            "r2": 1.0 - _divided(means[..., 1], variance),
        }


def _grouped(counts: Counts, groups: Counts, size: int) -> Floats:
    """Sums over the cells of one group, shape (..., size)."""
    order = np.argsort(groups, kind="stable")
    found, starts = np.unique(groups[order], return_index=True)
    sums: Floats = np.zeros((*counts.shape[:-1], size))
    if len(starts):
        sums[..., found] = np.add.reduceat(counts[..., order], starts, axis=-1)
    return sums


def _weighted(part: Floats, whole: Floats, support: Floats, rows: Floats) -> Floats:
    share: Floats = np.zeros(part.shape)
    np.divide(part, whole, out=share, where=whole > 0)
    return _divided((share * support).sum(axis=-1), rows)


def _divided(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _precision(tp: Floats, fp: Floats, positives: Floats) -> Floats:
    share: Floats = np.where(positives > 0, 0.0, np.nan)
    np.divide(tp, tp + fp, out=share, where=(tp + fp > 0) & (positives > 0))
    return share


def _f(beta: float, tp: Floats, fp: Floats, positives: Floats) -> Floats:
    # From counts, so that it is rounded once: (1 + b2) TP / ((1 + b2) TP + b2 FN + FP).
    square = beta * beta
    whole = tp + square * positives + fp
    return _divided((1.0 + square) * tp, np.where(positives > 0, whole, 0.0))
