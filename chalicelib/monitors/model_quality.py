"""Model quality: Model Monitor's statistics, suggested constraints and violations for all three problem types.

Names, texts and rules are Model Monitor's (model-monitor formats, section 6), with two deliberate differences: a metric
whose denominator is zero in the data (recall without a label 1, for example) is the string "NaN" and violates nothing,
and `f0_5` is checked like the others. Not here: whether a violation is more than chance.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError
from chalicelib.monitors import quality_metrics
from chalicelib.monitors.deviations import resampled, sampled
from chalicelib.monitors.spelling import snake_case
from chalicelib.records.table import Table
from chalicelib.records.values import class_labels
from chalicelib.states.class_matrix import ClassMatrix, class_matrix_of
from chalicelib.states.residuals import Residuals, residuals_of
from chalicelib.states.scores import Tally, precision_recall_curve, roc_curve, tally_of

# Longer curves are thinned to this many points, evenly by position; the first and the last stay.
CURVE_POINTS = 10_000
# A confusion matrix of more classes leaves its empty cells out.
FULL_MATRIX = 100

# What counts the labelled rows of a problem type.
Quality = Tally | ClassMatrix | Residuals

# The problem types as the files' keys spell them, and their metrics.
METRICS = {
    "binary_classification": quality_metrics.BINARY,
    "multiclass_classification": quality_metrics.MULTICLASS,
    "regression": quality_metrics.REGRESSION,
}

_BELOW, _ABOVE = "LessThanThreshold", "GreaterThanThreshold"
_LOWER_IS_BETTER = ("false_positive_rate", "false_negative_rate", "mae", "mse", "rmse")
# Violations (and they alone) spell these four in camelCase.
_CAMEL = {
    "true_positive_rate": "truePositiveRate",
    "true_negative_rate": "trueNegativeRate",
    "false_positive_rate": "falsePositiveRate",
    "false_negative_rate": "falseNegativeRate",
}
_ROUNDING = 1e-12

Floats = npt.NDArray[np.float64]


def counted(table: Table) -> Quality:
    """The state that a table's problem type is measured by: its labelled rows, counted."""
    if table.problem_type == "BinaryClassification":
        return tally_of(table)
    return class_matrix_of(table) if table.problem_type == "MulticlassClassification" else residuals_of(table)


def statistics(state: Quality, evaluation_time: datetime, spelled: Sequence[str] = ()) -> dict[str, Any]:
    """The content of statistics.json: every metric as {"value", "standard_deviation"}, confusion matrix and curves.

    `evaluation_time` is timezone-aware. The deviation is Model Monitor's (`deviations.sampled`). `spelled`: how classes
    were written; the matrix spells a class so where all wrote it alike.
    """
    values, spread = _values(state), sampled(state).deviations
    document: dict[str, Any] = {}
    if isinstance(state, Tally):
        confusion = state.confusion
        document["confusion_matrix"] = {
            "0": {"0": confusion.true_negatives, "1": confusion.false_positives},
            "1": {"0": confusion.false_negatives, "1": confusion.true_positives},
        }
    elif isinstance(state, ClassMatrix):
        document["confusion_matrix"] = _confusion_matrix(state, spelled)
    for name, value in values.items():
        document[name] = {"value": _number(value), "standard_deviation": _number(spread[name])}
    if isinstance(state, Tally):
        # Thinned at once: the points of a million scores are 32 MB.
        document["receiver_operating_characteristic_curve"] = dict(
            zip(("false_positive_rates", "true_positive_rates"), map(_thinned, roc_curve(state)), strict=True)
        )
        document["precision_recall_curve"] = dict(
            zip(("precisions", "recalls"), map(_thinned, precision_recall_curve(state)), strict=True)
        )
    time = evaluation_time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "version": 0.0,
        "dataset": {"item_count": state.rows, "evaluation_time": time},
        f"{_kind_of(state)}_metrics": document,
    }


def deviations(state: Quality) -> dict[str, Any]:
    """The bootstrap deviations, for evaluation.json: {"draws", "standard_deviations": metric -> number or None}.

    They estimate the metrics' own spread, at any number of rows (`deviations.resampled`).
    """
    spread = resampled(state)
    found = {name: value if value == value else None for name, value in spread.deviations.items()}
    return {"draws": spread.draws, "standard_deviations": found}


def suggest_constraints(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """The content of constraints.json: the baseline's own values as thresholds, no margin (section 6.3).

    Metrics that the baseline leaves undefined are left out.
    """
    kind = _kind_in(statistics, "metrics", "statistics")
    found = statistics[f"{kind}_metrics"]
    constraints = {
        name: {
            "threshold": found[name]["value"],
            "comparison_operator": _ABOVE if name in _LOWER_IS_BETTER else _BELOW,
        }
        for name in METRICS[kind]
        if not name.endswith("_best_constant_classifier") and found[name]["value"] != "NaN"
    }
    return {"version": 0.0, f"{kind}_constraints": constraints}


def thresholds(constraints: Mapping[str, Any]) -> bool:
    """Whether a constraints file has any threshold: with none, nothing could ever violate it."""
    return any(bool(constraints.get(f"{kind}_constraints")) for kind in METRICS)


def check_constraints(statistics: Mapping[str, Any], constraints: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The violations of `constraints` (constraints.json) by `statistics` (as `statistics` gives them).

    The operator names the violating direction; the comparison is strict, and differences that another order of
    rounding makes (1e-12, of the threshold where that is greater than 1) are none, so that a baseline computed
    elsewhere never violates itself. Names of metrics may be spelled in snake_case or camelCase. Raises
    MisconfiguredError for constraints of another problem type, an unknown metric, operator or threshold, and for a
    metric that is named twice.
    """
    kind = _kind_in(statistics, "metrics", "statistics")
    key = f"{kind}_constraints"
    wanted = constraints.get(key)
    if not isinstance(wanted, Mapping):
        raise MisconfiguredError("constraints", list(constraints), f"a document with {key}")
    by_name: dict[str, Any] = {}
    for written, constraint in wanted.items():
        name = snake_case(written)
        if name not in METRICS[kind]:
            raise MisconfiguredError(key, written, f"one of {', '.join(METRICS[kind])}")
        if name in by_name:
            raise MisconfiguredError(key, written, f"{name} once")
        by_name[name] = constraint
    found = statistics[f"{kind}_metrics"]
    violations = []
    for name in METRICS[kind]:
        if name not in by_name:
            continue
        threshold, operator = _constraint(f"{key}.{name}", by_name[name])
        value, deviation = found[name]["value"], found[name]["standard_deviation"]
        rounding = _ROUNDING * max(1.0, abs(threshold))
        if value == "NaN" or not (value < threshold - rounding if operator == _BELOW else value > threshold + rounding):
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


def _values(state: Quality) -> dict[str, float]:
    """Metrics in the order of the file; nan where one is undefined."""
    if isinstance(state, Residuals):
        return quality_metrics.regression(state)
    if isinstance(state, Tally):
        found = quality_metrics.binary(state.cells)
    else:
        found = quality_metrics.multiclass(state, state.counts)
    return {name: float(found[name]) for name in METRICS[_kind_of(state)]}


def _kind_of(state: Quality) -> str:
    if isinstance(state, Tally):
        return "binary_classification"
    return "multiclass_classification" if isinstance(state, ClassMatrix) else "regression"


def _kind_in(document: Mapping[str, Any], suffix: str, field: str) -> str:
    kinds = [kind for kind in METRICS if f"{kind}_{suffix}" in document]
    if len(kinds) != 1:
        expected = " or ".join(f"{kind}_{suffix}" for kind in METRICS)
        raise MisconfiguredError(field, list(document), f"a document with {expected}")
    return kinds[0]


def _confusion_matrix(matrix: ClassMatrix, spelled: Sequence[str]) -> dict[str, dict[str, int]]:
    """Rows by label and served class, by name; without the empty cells where there are many classes."""
    names = class_labels(matrix.classes, spelled)
    full = len(names) <= FULL_MATRIX
    rows: dict[str, dict[str, int]] = {label: dict.fromkeys(names, 0) if full else {} for label in names}
    cells: Sequence[list[int]] = [matrix.labels.tolist(), matrix.served.tolist(), matrix.counts.tolist()]
    for label, served, count in zip(*cells, strict=True):
        rows[names[label]][names[served]] = count
    return {label: row for label, row in rows.items() if row}


def _number(value: float) -> float | str:
    return "NaN" if math.isnan(value) else value


def _thinned(points: Floats) -> list[float]:
    if len(points) > CURVE_POINTS:
        points = points[np.linspace(0, len(points) - 1, CURVE_POINTS).round().astype(np.int64)]
    return [float(point) for point in points]
