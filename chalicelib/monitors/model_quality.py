"""Model quality of a binary classifier: Model Monitor's 17 metrics, suggested constraints and violations.

Knows Model Monitor's names, texts and rules (model-monitor formats, section 6) and where they are left behind on
purpose: a metric whose denominator is empty in the data (recall without a label 1, say) is the string "NaN" and
violates nothing, and `f0_5` is checked like the others. Refuses to know whether a violation is more than chance.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError
from chalicelib.states.scores import Tally, area_under_curve, precision_recall_curve, roc_curve

# Longer curves are thinned to this many points, evenly by position; the first and the last stay.
CURVE_POINTS = 10_000
# Model Monitor gives a standard deviation from this many rows on.
DEVIATION_ROWS = 200

METRICS = (
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
CONSTRAINED = tuple(name for name in METRICS if not name.endswith("_best_constant_classifier"))

_BELOW, _ABOVE = "LessThanThreshold", "GreaterThanThreshold"
_LOWER_IS_BETTER = ("false_positive_rate", "false_negative_rate")
# Violations (and they alone) spell these four in camelCase.
_CAMEL = {
    "true_positive_rate": "truePositiveRate",
    "true_negative_rate": "trueNegativeRate",
    "false_positive_rate": "falsePositiveRate",
    "false_negative_rate": "falseNegativeRate",
}
_SNAKE = {camel: snake for snake, camel in _CAMEL.items()}
_ROUNDING = 1e-12
_SAMPLES = 5
_SAMPLE_SHARE = 0.8

Floats = npt.NDArray[np.float64]


def statistics(tally: Tally, evaluation_time: datetime) -> dict[str, Any]:
    """The content of statistics.json: every metric as {"value", "standard_deviation"}, confusion matrix and curves.

    `evaluation_time` is timezone-aware. The deviation is that of five samples of 80 % of the rows without
    replacement, drawn as counts from the tally with a seed that is a digest of the tally: the same rows give the same
    numbers (as long as NumPy keeps its sampling algorithm, which it changes only with notice).
    """
    cells = tally.cells
    values = metrics(cells)
    deviations = _deviations(tally, cells)
    confusion = tally.confusion
    document: dict[str, Any] = {
        "confusion_matrix": {
            "0": {"0": confusion.true_negatives, "1": confusion.false_positives},
            "1": {"0": confusion.false_negatives, "1": confusion.true_positives},
        }
    }
    for name in METRICS:
        document[name] = {
            "value": _number(float(values[name])),
            "standard_deviation": _number(deviations[name]),
        }
    fpr, tpr = roc_curve(tally)
    document["receiver_operating_characteristic_curve"] = {
        "false_positive_rates": _thinned(fpr),
        "true_positive_rates": _thinned(tpr),
    }
    precisions, recalls = precision_recall_curve(tally)
    document["precision_recall_curve"] = {"precisions": _thinned(precisions), "recalls": _thinned(recalls)}
    time = evaluation_time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "version": 0.0,
        "dataset": {"item_count": tally.rows, "evaluation_time": time},
        "binary_classification_metrics": document,
    }


def metrics(cells: npt.NDArray[np.int64]) -> dict[str, Floats]:
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
    precision = _precision(tp, fp, positives)
    answers_one = positives > negatives
    # The constant classifier's own matrix: all rows are answered 1, or none is.
    constant_tp, constant_fp = np.where(answers_one, positives, 0.0), np.where(answers_one, negatives, 0.0)
    found = {
        "recall": recall,
        "precision": precision,
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
    for name, beta in (("f0_5", 0.5), ("f1", 1.0), ("f2", 2.0)):
        found[name] = _f(beta, tp, fp, positives)
        found[f"{name}_best_constant_classifier"] = _f(beta, constant_tp, constant_fp, positives)
    return found


def loss(tally: Tally) -> float:
    """The error rate of the served classes, 0 to 1; nan without labelled rows."""
    confusion = tally.confusion
    rows = tally.rows
    return (confusion.false_positives + confusion.false_negatives) / rows if rows else float("nan")


def suggest_constraints(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """The content of constraints.json: the baseline's own values as thresholds, no margin (section 6.3).

    Metrics that the baseline leaves undefined are left out.
    """
    found = statistics["binary_classification_metrics"]
    constraints = {
        name: {
            "threshold": found[name]["value"],
            "comparison_operator": _ABOVE if name in _LOWER_IS_BETTER else _BELOW,
        }
        for name in CONSTRAINED
        if found[name]["value"] != "NaN"
    }
    return {"version": 0.0, "binary_classification_constraints": constraints}


def check_constraints(statistics: Mapping[str, Any], constraints: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The violations of `constraints` (constraints.json) by `statistics` (as `statistics` gives them).

    The operator names the violating direction; the comparison is strict, and differences that another order of
    rounding makes (1e-12) are none, so that a baseline computed elsewhere never violates itself. Names of metrics may
    be spelled in either way. Raises MisconfiguredError for constraints of another kind, an unknown metric, operator or
    threshold.
    """
    key = "binary_classification_constraints"
    wanted = constraints.get(key)
    if not isinstance(wanted, Mapping):
        raise MisconfiguredError("constraints", list(constraints), f"a document with {key}")
    by_name = {_SNAKE.get(name, name): constraint for name, constraint in wanted.items()}
    unknown = [name for name in by_name if name not in METRICS]
    if unknown:
        raise MisconfiguredError(key, unknown[0], f"one of {', '.join(METRICS)}")
    found = statistics["binary_classification_metrics"]
    violations = []
    for name in METRICS:
        if name not in by_name:
            continue
        threshold, operator = _constraint(f"{key}.{name}", by_name[name])
        value, deviation = found[name]["value"], found[name]["standard_deviation"]
        if value == "NaN" or not (
            value < threshold - _ROUNDING if operator == _BELOW else value > threshold + _ROUNDING
        ):
            continue
        written = _CAMEL.get(name, name)
        violations.append(
            {
                "constraint_check_type": operator,
                "description": f"Metric {written} with {value} +/- {deviation} was {operator} '{threshold}'",
                "metric_name": written,
            }
        )
    return violations


def _constraint(field: str, constraint: Any) -> tuple[float, str]:
    operator = constraint.get("comparison_operator") if isinstance(constraint, Mapping) else None
    threshold = constraint.get("threshold") if isinstance(constraint, Mapping) else None
    if operator not in (_BELOW, _ABOVE):
        raise MisconfiguredError(f"{field}.comparison_operator", operator, f"{_BELOW} or {_ABOVE}")
    # Compared before it is converted: JSON has whole numbers that no float64 holds.
    if (
        isinstance(threshold, bool)
        or not isinstance(threshold, int | float)
        or not abs(threshold) <= sys.float_info.max
    ):
        raise MisconfiguredError(f"{field}.threshold", threshold, "a number")
    return float(threshold), operator


def _deviations(tally: Tally, cells: npt.NDArray[np.int64]) -> dict[str, float]:
    rows = tally.rows
    if rows < DEVIATION_ROWS:
        return dict.fromkeys(METRICS, float("nan"))
    seed = int.from_bytes(blake2b(tally.to_bytes(), digest_size=16).digest(), "big")
    # PCG64 is named because default_rng may change its generator.
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = generator.multivariate_hypergeometric(
        cells.ravel(), int(rows * _SAMPLE_SHARE), size=_SAMPLES, method="marginals"
    )
    sampled = metrics(drawn.reshape(_SAMPLES, *cells.shape))
    return {name: float(np.std(sampled[name], ddof=1)) for name in METRICS}


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


def _number(value: float) -> float | str:
    return value if value == value else "NaN"


def _thinned(points: Floats) -> list[float]:
    if len(points) > CURVE_POINTS:
        points = points[np.linspace(0, len(points) - 1, CURVE_POINTS).round().astype(np.int64)]
    return [float(point) for point in points]
