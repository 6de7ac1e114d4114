"""Model bias: Clarify's 8 pre-training and 13 post-training metrics, its analysis.json, and the drift rule.

Names, signs, texts and layouts are Clarify's (model-monitor formats, section 7; definitions after the open
aws/amazon-sagemaker-clarify), with the deliberate differences of section 7.5. In every formula d is the facet's rows, a
all other ones. Not here: whether a drift is more than chance.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError
from chalicelib.records.values import word_of
from chalicelib.states.bias import GROUPS, BiasCounts, FacetCounts
from chalicelib.states.facets import BiasSettings, number_of
from chalicelib.states.flips import flip_test

POST, PRE = "post_training_bias_metrics", "pre_training_bias_metrics"
STAGES = (POST, PRE)

_ROUNDING = 1e-12
_INTERVAL = re.compile(r"\(([^,]+), ([^,]+)[\])]")
_SPELLED = {"Infinity": math.inf, "-Infinity": -math.inf}

Cells = npt.NDArray[np.int64]
Document = Mapping[str, Any]


class _Undefined(Exception):
    """A metric cannot be computed; the text says why, without values of the data."""


class _Side:
    """Rows of one side by label and prediction."""

    def __init__(self, cells: Cells) -> None:
        self.tn, self.fp, self.fn, self.tp = (int(count) for count in cells[:, :2].ravel())
        self.rows = self.tn + self.fp + self.fn + self.tp
        self.labels_1, self.labels_0 = self.tp + self.fn, self.tn + self.fp
        self.answers_1, self.answers_0 = self.tp + self.fp, self.tn + self.fn


def _sides(counts: FacetCounts) -> tuple[_Side, _Side]:
    """(a, d) of the rows that have a prediction."""
    a, d = (_Side(counts.counts[member]) for member in (0, 1))
    _refuse_empty(counts, a.rows, d.rows)
    return a, d


def _distributions(counts: FacetCounts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Shares of negative and positive labels on sides a and d, with or without a prediction."""
    labels = counts.counts.sum(axis=2).astype(np.float64)
    a, d = labels[0], labels[1]
    _refuse_empty(counts, a.sum(), d.sum())
    return a / a.sum(), d / d.sum()


def _refuse_empty(counts: FacetCounts, others: float, members: float) -> None:
    if not others and not members:
        raise _Undefined(f"no labelled row has a value of {counts.name}")
    if not members:
        raise _Undefined(f"no row has {counts.name} in {counts.selection}")
    if not others:
        raise _Undefined(f"every row has {counts.name} in {counts.selection}")


def _ci(counts: FacetCounts) -> float:
    others, members = (int(one.sum()) for one in counts.counts)
    _refuse_empty(counts, others, members)
    return (others - members) / (others + members)


def _dpl(counts: FacetCounts) -> float:
    a, d = _distributions(counts)
    return float(a[1] - d[1])


def _kl(counts: FacetCounts) -> float:
    return _divergence(*_distributions(counts))


def _js(counts: FacetCounts) -> float:
    a, d = _distributions(counts)
    middle = (a + d) / 2
    return (_divergence(a, middle) + _divergence(d, middle)) / 2


def _lp(counts: FacetCounts) -> float:
    a, d = _distributions(counts)
    return float(np.linalg.norm(a - d))


def _tvd(counts: FacetCounts) -> float:
    a, d = _distributions(counts)
    return float(np.abs(a - d).sum()) / 2


def _ks(counts: FacetCounts) -> float:
    a, d = _distributions(counts)
    return float(np.abs(a - d).max())


def _cddl(counts: FacetCounts) -> float:
    return _demographic_disparity(counts, counts.counts.sum(axis=2), counts.group_counts.sum(axis=3))


def _dppl(counts: FacetCounts) -> float:
    a, d = _sides(counts)
    return a.answers_1 / a.rows - d.answers_1 / d.rows


def _di(counts: FacetCounts) -> float:
    a, d = _sides(counts)
    return _ratio(d.answers_1 / d.rows, a.answers_1 / a.rows)


def _dca(counts: FacetCounts) -> float:
    a, d = _sides(counts)
    return _difference(_ratio(a.labels_1, a.answers_1), _ratio(d.labels_1, d.answers_1))


def _dcr(counts: FacetCounts) -> float:
    a, d = _sides(counts)
    return _difference(_ratio(d.labels_0, d.answers_0), _ratio(a.labels_0, a.answers_0))


def _rd(counts: FacetCounts) -> float:
    a, d = _sides(counts)
    return _ratio(a.tp, a.labels_1) - _ratio(d.tp, d.labels_1)


def _sd(counts: FacetCounts) -> float:
    a, d = _sides(counts)
    return _ratio(d.tn, d.labels_0) - _ratio(a.tn, a.labels_0)


def _dar(counts: FacetCounts) -> float:
    a, d = _sides(counts)
    return _ratio(a.tp, a.answers_1) - _ratio(d.tp, d.answers_1)


def _drr(counts: FacetCounts) -> float:
    a, d = _sides(counts)
    return _ratio(d.tn, d.answers_0) - _ratio(a.tn, a.answers_0)


def _ad(counts: FacetCounts) -> float:
    a, d = _sides(counts)
    return (a.tp + a.tn) / a.rows - (d.tp + d.tn) / d.rows


def _te(counts: FacetCounts) -> float:
    a, d = _sides(counts)
    return _difference(_ratio(d.fn, d.fp), _ratio(a.fn, a.fp))


def _cddpl(counts: FacetCounts) -> float:
    answered, groups = counts.counts[:, :, :2], counts.group_counts[:, :, :, :2]
    return _demographic_disparity(counts, answered.sum(axis=1), groups.sum(axis=2))


def _ft(counts: FacetCounts) -> float:
    _sides(counts)
    flips = counts.flips
    if flips.differing:
        raise _Undefined("the parts of the data have different features, so that there is no distance")
    if not flips.members or not flips.others:
        raise _Undefined(f"on one side of {counts.name} no row has numbers only in its other features")
    return flip_test(flips)


def _ge(counts: FacetCounts) -> float:
    """Generalised entropy with alpha 2 of the benefits prediction - label + 1, over all rows."""
    both = _Side(counts.counts.sum(axis=0))
    if not both.rows:
        raise _Undefined(f"no labelled row has a value of {counts.name}")
    mean = (both.rows + both.fp - both.fn) / both.rows
    if not mean:
        raise _Undefined("every prediction is a false negative")
    squares = (both.tp + both.tn + 4 * both.fp) / (mean * mean)
    return (squares - both.rows) / (2 * both.rows)


# In the order in which Clarify lists them, by name.
_METRICS: dict[str, dict[str, tuple[str, Callable[[FacetCounts], float]]]] = {
    POST: {
        "AD": ("Accuracy Difference (AD)", _ad),
        "CDDPL": ("Conditional Demographic Disparity in Predicted Labels (CDDPL)", _cddpl),
        "DAR": ("Difference in Acceptance Rates (DAR)", _dar),
        "DCA": ("Difference in Conditional Acceptance (DCA)", _dca),
        "DCR": ("Difference in Conditional Rejection (DCR)", _dcr),
        "DI": ("Disparate Impact (DI)", _di),
        "DPPL": ("Difference in Positive Proportions in Predicted Labels (DPPL)", _dppl),
        "DRR": ("Difference in Rejection Rates (DRR)", _drr),
        "FT": ("Flip Test (FT)", _ft),
        "GE": ("Generalized Entropy (GE)", _ge),
        "RD": ("Recall Difference (RD)", _rd),
        "SD": ("Specificity Difference (SD)", _sd),
        "TE": ("Treatment Equality (TE)", _te),
    },
    PRE: {
        "CDDL": ("Conditional Demographic Disparity in Labels (CDDL)", _cddl),
        "CI": ("Class Imbalance (CI)", _ci),
        "DPL": ("Difference in Positive Proportions in Labels (DPL)", _dpl),
        "JS": ("Jensen-Shannon Divergence (JS)", _js),
        # Spelt as Clarify spells it: readers compare whole files.
        "KL": ("Kullback-Liebler Divergence (KL)", _kl),
        "KS": ("Kolmogorov-Smirnov Distance (KS)", _ks),
        "LP": ("L-p Norm (LP)", _lp),
        "TVD": ("Total Variation Distance (TVD)", _tvd),
    },
}
METRICS = {stage: tuple(metrics) for stage, metrics in _METRICS.items()}


def analysis(counts: BiasCounts, settings: BiasSettings) -> dict[str, Any]:
    """The content of analysis.json (section 7.1); the post-training part only where a row has a prediction.

    Infinite values are the strings "Infinity" and "-Infinity"; a metric that cannot be computed has the value null
    and an `error` that says why.
    """
    found = [counts.facet(facet) for facet in settings.facets]
    answered = any(facet.counts[:, :, :2].any() for facet in found)
    document: dict[str, Any] = {"version": "1.0"}
    for stage in STAGES if answered else (PRE,):
        facets: dict[str, list[dict[str, Any]]] = {}
        for one in found:
            metrics = [
                _metric(name, description, metric, one, settings)
                for name, (description, metric) in _METRICS[stage].items()
            ]
            facets.setdefault(one.name, []).append({"value_or_threshold": one.selection, "metrics": metrics})
        document[stage] = {
            "label": settings.label_name,
            "facets": facets,
            "label_value_or_threshold": settings.positive.text,
        }
    return document


def not_computed(analysis: Mapping[str, Any]) -> str:
    """Which facets have metrics without a value, how many, and why; "" where all have one."""
    found: dict[str, list[str]] = {}
    totals: Counter[str] = Counter()
    for stage in ("pre_training_bias_metrics", "post_training_bias_metrics"):
        for name, entries in (analysis.get(stage) or {}).get("facets", {}).items():
            for entry in entries:
                facet = f"{name} in {entry['value_or_threshold']}"
                totals[facet] += len(entry["metrics"])
                found.setdefault(facet, []).extend(
                    str(metric["error"]) for metric in entry["metrics"] if metric["value"] is None
                )
    parts = []
    for facet, errors in found.items():
        if errors:
            [(reason, _)] = Counter(errors).most_common(1)
            parts.append(f"{len(errors)} of {totals[facet]} metrics of {facet} have no value: {reason}")
    return "; ".join(parts)


def suggest_constraints(counts: BiasCounts, settings: BiasSettings) -> dict[str, Any]:
    """The content of the baseline's constraints: its analysis, without metrics that have no value.

    Raises MisconfiguredError where a baseline would be empty: no labelled rows, no or only positive labels, a facet
    with rows on one side only.
    """
    if not counts.rows:
        raise MisconfiguredError("baseline", "no labelled rows", "rows with labels")
    for facet in settings.facets:
        found = counts.facet(facet)
        try:
            _ci(found)
        except _Undefined as error:
            raise MisconfiguredError(
                "facets", f"{facet.name} in {facet.text}", f"rows on both sides; {error}"
            ) from None
        by_label = found.counts.sum(axis=(0, 2))
        if not by_label.all():
            which = "no label" if by_label[0] else "every label"
            text = settings.positive.text
            raise MisconfiguredError("label_values", text, f"labels of both kinds; {which} of {found.name} is positive")
    document = analysis(counts, settings)
    for _, _, entry in _entries(document):
        entry["metrics"] = [metric for metric in entry["metrics"] if metric["value"] is not None]
    return document


def check_constraints(analysis: Document, constraints: Document) -> list[dict[str, Any]]:
    """The violations of `constraints` (a baseline's analysis.json) by an analysis, in the order of the analysis.

    A metric violates when it is farther from fairness than the baseline's value, on either side of it (section 7.3).
    Fairness is 0, for DI it is 1. Differences that another order of rounding makes (1e-12) are none. A metric without
    a value, here or there, is not compared. Raises MisconfiguredError for constraints that cannot be understood, that
    are about another label, or about none of the facets.
    """
    allowed: dict[tuple[str, str], list[tuple[str, dict[str, float]]]] = {}
    for stage in STAGES:
        if stage in constraints and stage in analysis:
            _check_label(stage, constraints, analysis)
    for stage, name, entry in _entries(constraints):
        values = {metric["name"]: _number(f"{stage}.{name}", metric) for metric in entry["metrics"]}
        known = {metric: value for metric, value in values.items() if value is not None}
        allowed.setdefault((stage, name), []).append((entry["value_or_threshold"], known))
    violations: list[dict[str, Any]] = []
    compared = False
    for stage, name, entry in _entries(analysis):
        selection = entry["value_or_threshold"]
        limits = [limit for text, limit in allowed.get((stage, name), []) if _same_selection(selection, text)]
        compared = compared or bool(limits)
        for metric in entry["metrics"]:
            live = _number(f"{stage}.{name}", metric)
            limit = limits[0].get(metric["name"]) if limits else None
            if live is None or limit is None:
                continue
            if _unfairness(metric["name"], live) > _unfairness(metric["name"], limit) + _ROUNDING:
                violations.append(_violation(name, selection, metric["name"], live, limit))
    if not compared:
        wanted = sorted({f"{name} in {entry['value_or_threshold']}" for _, name, entry in _entries(analysis)})
        had = sorted({f"{name} in {text}" for (_, name), limits in allowed.items() for text, _ in limits})
        raise MisconfiguredError("constraints.facets", had, f"one of {', '.join(wanted)}")
    return violations


def _metric(
    name: str, description: str, metric: Callable[[FacetCounts], float], facet: FacetCounts, settings: BiasSettings
) -> dict[str, Any]:
    try:
        if name in ("CDDL", "CDDPL") and not settings.group_variable:
            raise _Undefined("no group_variable is set")
        # + 0.0: -0.0 is 0.0.
        return {"name": name, "description": description, "value": _spelled(metric(facet) + 0.0)}
    except _Undefined as error:
        return {"name": name, "description": description, "value": None, "error": str(error)}


def _demographic_disparity(counts: FacetCounts, overall: Cells, groups: Cells) -> float:
    """Mean over groups, weighted by size, of d's share of the rejected minus d's share of the accepted.

    `overall` of shape (2, 2) and `groups` of shape (groups, 2, 2) are indexed [member, outcome].
    """
    _refuse_empty(counts, overall[0].sum(), overall[1].sum())
    if counts.too_many_groups:
        raise _Undefined(f"the group variable has more than {GROUPS} values")
    if not overall[:, 1].any():
        raise _Undefined("no outcome is positive")
    if not overall[:, 0].any():
        raise _Undefined("every outcome is positive")
    if not groups.any():
        raise _Undefined("no row has a value of the group variable")
    sizes = groups.sum(axis=(1, 2))
    totals = groups.sum(axis=1)
    shares = np.divide(groups[:, 1], totals, out=np.zeros(totals.shape), where=totals > 0)
    return float((sizes * (shares[:, 0] - shares[:, 1])).sum() / sizes.sum())


def _divergence(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Kullback-Leibler, natural logarithm: 0 ln 0 is 0, a share that the other side lacks makes it infinite."""
    found = one > 0
    if not other[found].all():
        return math.inf
    return float(np.sum(one[found] * np.log(one[found] / other[found])))


def _ratio(part: float, whole: float) -> float:
    """0/0 is 0, x/0 infinite (counts are not negative)."""
    if whole:
        return part / whole
    return math.inf if part else 0.0


def _difference(one: float, other: float) -> float:
    """Two infinite ratios do not differ."""
    return 0.0 if one == other else one - other


def _unfairness(metric: str, value: float) -> float:
    return abs(value - 1.0) if metric == "DI" else abs(value)


def _spelled(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "Infinity" if value > 0 else "-Infinity"


def _number(field: str, metric: Document) -> float | None:
    value = metric["value"]
    if isinstance(value, str) and value in _SPELLED:
        return _SPELLED[value]
    if value is None:
        return None
    # Compared before it is converted: JSON has whole numbers that no float64 holds.
    too_large = isinstance(value, int) and abs(value) > sys.float_info.max
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or too_large:
        raise MisconfiguredError(f"{field}.{metric['name']}.value", value, "a number, Infinity, -Infinity or null")
    return float(value)


def _violation(facet: str, selection: str, metric: str, live: float, limit: float) -> dict[str, Any]:
    return {
        "constraint_check_type": "bias_drift_check",
        "description": (
            f"Metric value {_spelled(live)} doesn't meet the baseline constraint requirement {_spelled(limit)}"
        ),
        "facet": facet,
        "facet_value": selection,
        "metric_name": metric,
    }


def _entries(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(stage, facet, {"value_or_threshold", "metrics"}) of an analysis. Raises MisconfiguredError for another shape."""
    if not any(stage in document for stage in STAGES):
        raise MisconfiguredError("constraints", list(document), f"a document with {' or '.join(STAGES)}")
    for stage in STAGES:
        part = document.get(stage, {"facets": {}})
        facets = part.get("facets") if isinstance(part, Mapping) else None
        if not isinstance(facets, Mapping):
            raise MisconfiguredError(f"{stage}.facets", type(facets).__name__, "an object")
        for name, entries in facets.items():
            for entry in entries if isinstance(entries, list) else [entries]:
                if not _is_entry(entry):
                    expected = "a list of objects with value_or_threshold and metrics (name, value)"
                    raise MisconfiguredError(f"{stage}.facets.{name}", type(entry).__name__, expected)
                yield stage, name, entry


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("value_or_threshold"), str):
        return False
    metrics = entry.get("metrics")
    return isinstance(metrics, list) and all(
        isinstance(one, Mapping) and isinstance(one.get("name"), str) and "value" in one for one in metrics
    )


def _check_label(stage: str, constraints: Document, analysis: Document) -> None:
    part = constraints[stage]
    wanted = analysis[stage].get("label_value_or_threshold")
    found = part.get("label_value_or_threshold") if isinstance(part, Mapping) else None
    if not isinstance(found, str) or not _same_selection(wanted, found):
        raise MisconfiguredError(f"constraints.{stage}.label_value_or_threshold", found, f"{wanted}, as it is now")


def _same_selection(ours: str, theirs: str) -> bool:
    """Whether two printed selections are one: "0" is "0.0", the order of a list does not matter.

    Clarify closes a threshold's interval with the greatest value of the data at hand, so that only its lower end is
    compared with a threshold of ours.
    """
    intervals = [_INTERVAL.fullmatch(text) for text in (ours, theirs)]
    if intervals[0] and intervals[1]:
        low, high = intervals[0].groups()
        return number_of(low) == number_of(intervals[1][1]) and (
            high == "Infinity" or number_of(high) == number_of(intervals[1][2])
        )
    return {word_of(text) for text in ours.split(",")} == {word_of(text) for text in theirs.split(",")}
