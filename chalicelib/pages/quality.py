"""The page's part about predictions and labels: metrics, curves, confusion, calibration, bias and attribution.

Reads the files of model quality, bias and explainability (model-monitor formats, sections 6 to 8), also Model Monitor's
own. Not here: what is violated, which their violations say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from chalicelib.errors import MisconfiguredError
from chalicelib.monitors import model_explainability
from chalicelib.monitors.model_bias import STAGES
from chalicelib.pages import charts
from chalicelib.pages.charts import Pair
from chalicelib.pages.markup import Markup, count, element, figure, foreign, joined, plural, sentence, share

# Larger matrices and rankings are not for people; the files have them.
MOST_CLASSES = 40
MOST_RANKED = 50

PROBLEMS = {
    "binary_classification_metrics": "Binary classification",
    "multiclass_classification_metrics": "Multiclass classification",
    "regression_metrics": "Regression",
}
_CONSTANT = "_best_constant_classifier"
_ROC, _PR = "receiver_operating_characteristic_curve", "precision_recall_curve"
_OPERATORS = {"LessThanThreshold": "at least", "GreaterThanThreshold": "at most"}

Document = Mapping[str, Any]
_Rates = list[Annotated[float, msgspec.Meta(ge=0, le=1)]]


def metrics_of(statistics: Document | None) -> tuple[str, Document]:
    """(problem, metrics) of a model-quality statistics.json; ("", {}) where there is none."""
    for name in PROBLEMS:
        found = (statistics or {}).get(name)
        if isinstance(found, Mapping):
            return name, found
    return "", {}


def model_quality(
    live: Document,
    baseline: Document | None,
    constraints: Document | None,
    violated: Mapping[str, Sequence[str]],
    own: Document,
) -> Markup:
    """Metrics against the baseline's thresholds, curves, matrix and calibration of one statistics.json.

    `violated` maps metrics to their checks in snake_case; `own` is evaluation.json, which has calibration and the
    better deviations.
    """
    problem, found = metrics_of(live)
    before = metrics_of(baseline)[1]
    limits = (constraints or {}).get(problem.replace("_metrics", "_constraints")) or {}
    rows = live["dataset"]["item_count"]
    parts = [
        element("p", f"{PROBLEMS[problem]}, {plural(rows, 'labelled row')}."),
        _metric_table(found, before, limits, violated, own.get("deviations") or {}),
    ]
    drawn = [_curve(found, before, name) for name in (_ROC, _PR)]
    drawn.append(_reliability(own["calibration"]) if own.get("calibration") else joined())
    if any(drawn):
        parts += [element("h3", "Curves"), charts.key(bool(before), line=True)]
        parts.append(element("div", drawn, class_="two"))
    if "confusion_matrix" in found:
        parts.append(_confusion(found["confusion_matrix"]))
    return joined(parts)


def bias(analysis: Document, baseline: Document | None, violations: Sequence[Document]) -> Markup:
    """Every bias metric of every facet of an analysis.json, beside the baseline's."""
    violated = {(each.get("facet"), each.get("facet_value"), each.get("metric_name")) for each in violations}
    before: dict[tuple[Any, ...], Any] = {}
    for stage, name, selection, metric in _bias_metrics(baseline or {}):
        before[stage, name, selection, str(metric.get("name"))] = metric.get("value")
    tables: dict[tuple[str, str], list[Markup]] = {}
    for stage, name, selection, metric in _bias_metrics(analysis):
        hit = (name, selection, metric["name"]) in violated
        old = before.get((stage, name, selection, metric["name"]))
        # SageMaker's files spell Leibler wrongly.
        name_of = joined(foreign(str(metric.get("description") or metric["name"]).replace("Liebler", "Leibler")))
        if hit:
            name_of = joined(name_of, element("div", "▲ Violation", class_="flag"))
        elif metric.get("error"):
            name_of = joined(name_of, element("div", sentence(metric["error"]), class_="quiet"))
        cells = [
            element("th", name_of, scope="row"),
            element("td", "pre-training" if stage.startswith("pre") else "post-training"),
            element("td", "-" if old is None else figure(old), class_="n"),
            element("td", figure(metric.get("value")), class_="n"),
        ]
        tables.setdefault((name, selection), []).append(element("tr", cells))
    heads = ["Metric", "Of", "Baseline", "Live"]
    parts: list[Markup] = []
    for (name, selection), rows in tables.items():
        title = joined("Facet ", foreign(name), " in ", foreign(selection))
        parts += [element("h3", title), _table(joined("Bias metrics of ", foreign(name)), heads, rows, (2, 3))]
    return joined(parts)


def attribution(analysis: Document, baseline: Document | None) -> Markup:
    """Features by live attribution beside the baseline's, per label, with the agreement of both rankings."""
    live = model_explainability.read_analysis(analysis)
    before = model_explainability.read_analysis(baseline) if baseline else {}
    parts: list[Markup] = []
    for label, found in live.items():
        old = before[label].values if label in before else {}
        ranked = sorted(found.values, key=lambda name: (-found.values[name], name))
        places = {name: place for place, name in enumerate(sorted(old, key=lambda name: (-old[name], name)), 1)}
        parts.append(element("h3", "Label ", foreign(label)))
        if old:
            parts.append(element("p", _agreement(found.values, old)))
        pairs = [Pair(name, old.get(name), found.values[name]) for name in ranked[:MOST_RANKED]]
        parts += [charts.key(bool(old)), charts.bars("Mean size of attributions", pairs, "Feature", numbers=True)]
        moved = [name for place, name in enumerate(ranked, 1) if places.get(name, place) != place]
        if moved:
            parts.append(element("p", f"{plural(len(moved), 'feature')} changed places.", class_="quiet"))
        if len(ranked) > MOST_RANKED:
            left = len(ranked) - MOST_RANKED
            parts.append(element("p", f"The {MOST_RANKED} largest are shown, {count(left)} left out.", class_="right"))
    return joined(parts)


def undefined_metrics(statistics: Document | None) -> list[str]:
    """The metrics of a model-quality statistics.json that its rows leave undefined."""
    found = metrics_of(statistics)[1]
    return [name for name, entry in found.items() if isinstance(entry, Mapping) and entry.get("value") == "NaN"]


def _metric_table(
    found: Document, before: Document, limits: Document, violated: Mapping[str, Sequence[str]], better: Document
) -> Markup:
    """`better`: the deviations of evaluation.json, beside Model Monitor's in the statistics."""
    rows = []
    names = [name for name, entry in found.items() if isinstance(entry, Mapping) and "value" in entry]
    constants = [name for name in names if name.endswith(_CONSTANT)]
    spread = better.get("standard_deviations") or {}
    for name in names:
        if name in constants:
            continue
        limit, own, old = limits.get(name), found[name], before.get(name)
        wanted = "-"
        if isinstance(limit, Mapping):
            operator = _OPERATORS.get(str(limit.get("comparison_operator")), "")
            wanted = f"{operator} {figure(limit.get('threshold'))}"
        constant = found.get(f"{name}{_CONSTANT}")
        numbers = [figure(own["value"]), _deviation(spread.get(name)), _deviation(own.get("standard_deviation"))]
        numbers += [figure(old.get("value")) if isinstance(old, Mapping) else "-", wanted]
        if constants:
            numbers.append(figure(constant["value"]) if constant else "-")
        heading = joined(name.replace("f0_5", "f0.5").replace("_", " "))
        if violated.get(name):
            # Below the name, because that is what a narrow screen shows without scrolling.
            flag = f"▲ Violation{_beyond(own['value'], limit, spread.get(name))}"
            heading = joined(heading, element("div", flag, class_="flag"))
        cells = [element("td", number, class_="n") for number in numbers]
        rows.append(element("tr", element("th", heading, scope="row"), cells))
    heads = ["Metric", "Live", "± std dev", "± Model Monitor's", "Baseline", "Expected"]
    notes = [
        f"± std dev: of {plural(better['draws'], 'resample')} of all rows. A threshold that is the baseline's own "
        "value has no margin: a violation by less than 2 or 3 of them may be chance."
        if better
        else "",
        "± Model Monitor's: of five samples of 80 % of the rows, from 200 rows on.",
        "Constant answer: the same metric of a classifier that always predicts the most frequent class."
        if constants
        else "",
    ]
    if constants:
        heads.append("Constant answer")
    table = _table("Metrics of the labelled rows", heads, rows, tuple(range(1, len(heads))))
    return joined(table, element("p", " ".join(note for note in notes if note), class_="quiet"))


def _beyond(value: Any, limit: Any, spread: Any) -> str:
    """How far a metric is beyond its threshold, in standard deviations: a baseline's own value has no margin."""
    threshold = limit.get("threshold") if isinstance(limit, Mapping) else None
    if not all(isinstance(number, int | float) for number in (value, threshold, spread)) or not spread:
        return ""
    return f" by {abs(value - threshold) / spread:.1f} std dev"


def _deviation(value: Any) -> str:
    return figure(value) if isinstance(value, int | float) else "-"


def _curve(found: Document, before: Document, name: str) -> Markup:
    keys, titles, words = {
        _ROC: (
            ("false_positive_rates", "true_positive_rates"),
            ("false positive rate", "true positive rate"),
            "ROC curve",
        ),
        _PR: (("recalls", "precisions"), ("recall", "precision"), "Precision-recall curve"),
    }[name]
    live = _points(found.get(name), keys)
    if live is None:
        return joined()
    area = found.get("auc", {}).get("value")
    caption = f"{words}, live{f': area {figure(area)}' if name == _ROC else ''}."
    old = _points(before.get(name), keys)
    if old is not None:
        auc = before.get("auc")
        known = auc.get("value") if isinstance(auc, Mapping) else None
        caption += f" The dashed curve is the baseline's{f': area {figure(known)}' if name == _ROC else ''}."
    drawn = charts.curves(caption, *titles, live, old, "diagonal" if name == _ROC else "")
    return element("figure", drawn, element("figcaption", caption), class_="card")


def _points(curve: Any, names: tuple[str, str]) -> Any:
    if not isinstance(curve, Mapping):
        return None
    try:
        xs, ys = (np.array(msgspec.convert(curve.get(name), _Rates), dtype=np.float64) for name in names)
    except msgspec.ValidationError:
        return None
    return (xs, ys) if len(xs) == len(ys) and len(xs) > 1 else None


def _reliability(calibration: Document) -> Markup:
    bins = [(each["rows"], each["mean_score"], each["positive_share"]) for each in calibration["bins"]]
    caption = (
        f"Calibration, live: Brier score {figure(calibration['brier_score'])}, expected calibration error "
        f"{figure(calibration['expected_calibration_error'])}. On the dashed line scores are the shares that they "
        "promise; whiskers are 95 % ranges."
    )
    return element("figure", charts.reliability(caption, bins), element("figcaption", caption), class_="card")


def _confusion(matrix: Document) -> Markup:
    classes = list(dict.fromkeys([*matrix, *(name for row in matrix.values() for name in row)]))
    title = element("h3", "Confusion matrix")
    if len(classes) > MOST_CLASSES:
        most = f"{len(classes)} classes: more than {MOST_CLASSES} are not drawn. They are in statistics.json."
        return joined(title, element("p", most, class_="right"))
    rows = []
    for actual in classes:
        counts = matrix.get(actual, {})
        total = sum(counts.values())
        cells = [element("th", foreign(actual), scope="row")]
        for predicted in classes:
            rows_here = int(counts.get(predicted, 0))
            part = f" ({share(rows_here / total)})" if total else ""
            cells.append(element("td", f"{count(rows_here)}{part}", class_="n right" if actual == predicted else "n"))
        rows.append(element("tr", cells))
    heads: list[str] = ["Label", *(foreign(name) for name in classes)]
    about = "Rows by label and prediction, with their share of the label's rows. Correct predictions are bold."
    return joined(
        title, element("p", about), _table("Label down, prediction across", heads, rows, tuple(range(1, len(heads))))
    )


def _bias_metrics(document: Document) -> list[tuple[str, str, str, Document]]:
    """(stage, facet, selection, metric) of an analysis, post-training first; entries of another shape are skipped."""
    found = []
    for stage in STAGES:
        part = document.get(stage)
        facets = part.get("facets") if isinstance(part, Mapping) else None
        for name, entries in (facets if isinstance(facets, Mapping) else {}).items():
            for entry in entries if isinstance(entries, list) else [entries]:
                metrics = entry.get("metrics") if isinstance(entry, Mapping) else None
                if isinstance(metrics, list):
                    selection = str(entry.get("value_or_threshold"))
                    found += [(stage, name, selection, each) for each in metrics if isinstance(each, Mapping)]
    return found


def _agreement(live: Mapping[str, float], baseline: Mapping[str, float]) -> str:
    try:
        agreement = model_explainability.ndcg(live, baseline)
    except MisconfiguredError as error:
        return f"The rankings cannot be compared: expected {error.expected}."
    return f"The live ranking agrees with the baseline's at nDCG {figure(agreement)}, where 1 is the same ranking."


def _table(caption: str, heads: Sequence[str], rows: Sequence[Markup], numbers: tuple[int, ...]) -> Markup:
    """A table that scrolls by itself where the screen is narrow; `numbers` are the columns aligned to the right."""
    cells = [
        element("th", head, scope="col", class_="n" if place in numbers else None) for place, head in enumerate(heads)
    ]
    table = element(
        "table", element("caption", caption), element("thead", element("tr", cells)), element("tbody", rows)
    )
    return element("div", table, class_="scroll", role="region", tabindex="0", aria_label="Table, scrollable")
