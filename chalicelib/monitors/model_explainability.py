"""Feature-attribution drift: Clarify's explainability analysis.json, nDCG against a baseline, and violations.

Layouts and texts are Clarify's (model-monitor formats, section 8). Attributions that a model returns are also under
`kernel_shap`, because readers expect them there. Not here: where attributions come from.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Mapping
from itertools import groupby
from typing import Any, Literal

import msgspec

from chalicelib.errors import MisconfiguredError
from chalicelib.states.attributions import Attributions

# Below this agreement of rankings Clarify sees drift.
THRESHOLD = 0.90

AggregationMethod = Literal["mean_abs", "mean_sq"]

_ROUNDING = 1e-12

Document = Mapping[str, Any]


class AttributionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a model returns its attributions, and how they are compared.

    `columns`: the named outputs with attributions, one per feature in the features' order (none: the model returns no
    attributions, and Kernel SHAP has to compute them); `expected_column`: the named output with the value that they
    start from. `label` names the model's label in the reports.
    """

    columns: tuple[str, ...] = ()
    expected_column: str = ""
    label: str = "label0"
    agg_method: AggregationMethod = "mean_abs"
    threshold: float = THRESHOLD


class GlobalAttributions(msgspec.Struct, frozen=True):
    """One label's part of an analysis: feature -> global attribution (not negative), and the expected value.

    `expected_value` is None where the model does not return one.
    """

    values: dict[str, float]
    expected_value: float | None = None


def global_attributions(state: Attributions, method: AggregationMethod = "mean_abs") -> GlobalAttributions:
    """The mean of |phi| (or of its square) per feature, in the order of the features.

    Raises MisconfiguredError when no row was explained.
    """
    if not state.rows:
        raise MisconfiguredError("attributions", "no explained row", "rows with attributions")
    values = {
        feature.name: feature.absolute.mean if method == "mean_abs" else feature.absolute.mean_square
        for feature in state.features
    }
    return GlobalAttributions(values, state.expected.mean if state.expected.count else None)


def analysis(labels: Mapping[str, GlobalAttributions]) -> dict[str, Any]:
    """The content of analysis.json, label -> attributions; it is the baseline's constraints too."""
    explanations = {}
    for label, found in labels.items():
        part: dict[str, Any] = {"global_shap_values": dict(found.values)}
        if found.expected_value is not None:
            part["expected_value"] = found.expected_value
        explanations[label] = part
    return {"version": "1.0", "explanations": {"kernel_shap": explanations}}


def suggest_constraints(labels: Mapping[str, GlobalAttributions]) -> dict[str, Any]:
    """The content of the baseline's constraints: its analysis.

    Raises MisconfiguredError where a baseline would be empty: no label, or one whose attributions are all 0.
    """
    document = analysis(labels)
    for label, found in read_analysis(document).items():
        if not any(found.values.values()):
            field = f"explanations.kernel_shap.{label}"
            raise MisconfiguredError(field, "0 for every feature", "a feature that moves the answers")
    return document


def read_analysis(document: Document) -> dict[str, GlobalAttributions]:
    """The attributions per label of an analysis.json; other parts (pdp, text) are not looked at.

    Raises MisconfiguredError for a document without attributions, or with one that is no number or negative.
    """
    explanations = document.get("explanations")
    labels = explanations.get("kernel_shap") if isinstance(explanations, Mapping) else None
    if not isinstance(labels, Mapping) or not labels:
        raise MisconfiguredError(
            "constraints", list(document), "a document with explanations.kernel_shap and labels in it"
        )
    found = {}
    for label, part in labels.items():
        field = f"explanations.kernel_shap.{label}"
        values = part.get("global_shap_values") if isinstance(part, Mapping) else None
        if not isinstance(values, Mapping) or not values:
            raise MisconfiguredError(f"{field}.global_shap_values", type(values).__name__, "features and numbers")
        for name, value in values.items():
            if not _is_number(value) or value < 0:
                raise MisconfiguredError(f"{field}.global_shap_values.{name}", value, "a number, not negative")
        expected = part.get("expected_value")
        if expected is not None and not _is_number(expected):
            raise MisconfiguredError(f"{field}.expected_value", expected, "a number")
        found[label] = GlobalAttributions(dict(values), expected)
    return found


def ndcg(live: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """How well the live ranking of features keeps the baseline's: 1 is the same ranking, 0 to 1.

    DCG = sum over i of baseline(i-th feature by live attribution) / log2(i + 1), divided by the same sum for the
    baseline's own ranking (section 8). Features that are live of one value share their places: the mean over their
    orders. Raises MisconfiguredError when the features are not the same, or every baseline attribution is 0.
    """
    if live.keys() != baseline.keys():
        names = sorted(live.keys() ^ baseline.keys())
        raise MisconfiguredError("global_shap_values", names, "the same features live and in the baseline")
    greatest = max(baseline.values(), default=0.0)
    if not greatest:
        raise MisconfiguredError("global_shap_values", "0 for every feature", "a baseline with attributions")
    discounts = [1.0 / math.log2(place + 2) for place in range(len(live))]
    # Shares of the greatest, so that no sum overflows.
    share = {name: value / greatest for name, value in baseline.items()}
    ideal = math.fsum(map(operator.mul, sorted(share.values(), reverse=True), discounts))
    gained: list[float] = []
    place = 0
    for _, tied in groupby(sorted(live, key=lambda name: (-live[name], name)), key=lambda name: live[name]):
        shares = [share[name] for name in tied]
        mean = math.fsum(shares) / len(shares)
        gained += [mean * discount for discount in discounts[place : place + len(shares)]]
        place += len(shares)
    return min(1.0, math.fsum(gained) / ideal)


def check_constraints(analysis: Document, constraints: Document, threshold: float = THRESHOLD) -> list[dict[str, Any]]:
    """The violations of `constraints` (a baseline's analysis.json) by an analysis: labels whose nDCG is below.

    Raises MisconfiguredError for a threshold that is not between 0 and 1, documents that cannot be understood, and
    other labels or features than the baseline's.
    """
    check_threshold(threshold)
    live, baseline = read_analysis(analysis), read_analysis(constraints)
    if live.keys() != baseline.keys():
        raise MisconfiguredError("constraints.labels", sorted(baseline), f"the labels {', '.join(sorted(live))}")
    violations = []
    for label, found in live.items():
        agreement = ndcg(found.values, baseline[label].values)
        if agreement < threshold - _ROUNDING:
            violations.append(
                {
                    "label": label,
                    "metric_name": "shap",
                    "constraint_check_type": "feature_attribution_drift_check",
                    # "exceeds" although it is below: readers look for these words.
                    "description": f"Feature attribution drift {agreement} exceeds threshold {threshold}",
                }
            )
    return violations


def check_threshold(threshold: float) -> None:
    """Raises MisconfiguredError for a threshold that nDCG can never, or always, be below."""
    if not 0.0 < threshold <= 1.0:
        raise MisconfiguredError("threshold", threshold, "a number above 0, at most 1")


def _is_number(value: Any) -> bool:
    # Compared and not asked whether it is finite: JSON has whole numbers that no float64 holds.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
