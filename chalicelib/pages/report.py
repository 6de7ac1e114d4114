"""report.html: the verdict, what was read, what was found, what was not evaluated and why.

Built from the files of a window and its baseline. The page needs no network and no script: its content security policy
forbids both, whatever captured names contain. Not here: any number that the files do not hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.evidence.assessment import UNKNOWN, Assessment
from chalicelib.monitors.baseline import (
    BIAS_CONSTRAINTS,
    DATA_STATISTICS,
    EXPLAINABILITY_CONSTRAINTS,
    MODEL_CONSTRAINTS,
    MODEL_STATISTICS,
)
from chalicelib.monitors.documents import shortened
from chalicelib.monitors.spelling import snake_case
from chalicelib.monitors.types import TYPES
from chalicelib.pages.distributions import distributions
from chalicelib.pages.markup import (
    Markup,
    count,
    element,
    figure,
    foreign,
    joined,
    plural,
    sentence,
    share,
    text,
)
from chalicelib.pages.maturity import label_maturity
from chalicelib.pages.quality import attribution, bias, metrics_of, model_quality, undefined_metrics
from chalicelib.pages.style import STYLE

TITLES: Mapping[str, str] = {name: kind.title for name, kind in TYPES.items()}
# Longer tables are not for people; the files have all rows.
MOST_VIOLATIONS = 500
# Names listed in one sentence.
NAMED = 10

Document = Mapping[str, Any]
Documents = Mapping[str, Mapping[str, Document]]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html_report(documents: Documents, baseline: Mapping[str, Document], found: Assessment = UNKNOWN) -> bytes:
    """The page as UTF-8 HTML; the same documents give the same bytes.

    `documents`: monitor type ("DataQuality", …) -> file name -> decoded content, `evaluation.json` in each of them,
    the others where they were written. `baseline`: path below the baseline's folder ("data_quality/statistics.json",
    …; constants of `monitors.baseline`) -> decoded content, as far as it exists. `found`: what the evidence comes to,
    the sentence on top; where nothing could be compared, Model Monitor's violations are. The page holds values of
    features, so it must be stored under the captures' key. Raises MisconfiguredError for malformed attributions.
    """
    kinds = [kind for kind in TITLES if kind in documents]
    own = documents[kinds[0]]["evaluation.json"]
    title = f"{own['monitor']}: {_moment(own['window']['start'])} to {_moment(own['window']['end'])}"
    sections = [("read", "What was read", _read(own))]
    if found.loss or found.columns:
        sections.insert(0, ("moved", "What moved beyond chance", _moved(found)))
    if waiting := _label_maturity(documents, kinds):
        sections.append(("labels", "How far the labels have come", waiting))
    violations = {kind: _violations(documents[kind]) for kind in kinds}
    if any(violations.values()):
        sections.append(("violations", "Violations", _violation_table(violations)))
    for kind in kinds:
        if section := _section(kind, documents[kind], baseline, violations[kind]):
            sections.append((kind.lower(), TITLES[kind], section))
    sections.append(("open", "What was not evaluated", _not_evaluated(documents, baseline)))
    contents = [element("li", element("a", head, href=f"#{anchor}")) for anchor, head, _ in sections]
    body = element(
        "body",
        element(
            "header",
            element("h1", foreign(own["monitor"])),
            element("p", _subject(own), class_="lead"),
            _verdict(documents, violations, found),
            _broken(own),
            element("nav", element("ul", contents), aria_label="Contents"),
        ),
        element(
            "main",
            [
                element("section", element("h2", head, id=anchor), inside, aria_labelledby=anchor)
                for anchor, head, inside in sections
            ],
        ),
        element("footer", _FOOTER),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n".encode()


_FOOTER = (
    "Made by Plumbline from statistics.json, constraints.json, constraint_violations.json, analysis.json and "
    "evaluation.json, which hold every number in full. Shares and figures here are rounded. Names and categories are "
    "captured data."
)


def _subject(own: Document) -> Markup:
    endpoint = own.get("endpoint")
    where = (
        joined("Endpoint ", foreign(endpoint), ", variant ", foreign(own.get("variant", "")), ", ")
        if endpoint
        else joined()
    )
    return joined(
        where, f"{_moment(own['window']['start'])} to {_moment(own['window']['end'])} (end not included), UTC"
    )


def _moment(name: str) -> str:
    """2026-01-05T03 for people; anything else unchanged."""
    return name.removesuffix("Z").replace("T", " ")


def _violations(files: Mapping[str, Document]) -> Sequence[Document]:
    found: Sequence[Document] = files.get("constraint_violations.json", {}).get("violations", ())
    return found


def _verdict(documents: Documents, violations: Mapping[str, Sequence[Document]], assessed: Assessment) -> Markup:
    """One sentence, with a mark that has its own shape for each kind of verdict."""
    is_broken = any(documents[kind]["evaluation.json"].get("broken") for kind in violations)
    if assessed.level != "unknown":
        look, mark = {"fine": ("clean", "✓"), "notice": ("open", "○")}.get(assessed.level, ("violated", "▲"))
        total = sum(map(len, violations.values()))
        beside = f" Model Monitor's thresholds: {plural(total, 'violation')}." if total else ""
        if is_broken:
            return _banner(f"The data is broken. {assessed.headline}{beside}", "violated", "▲")
        return _banner(f"{assessed.headline}{beside}", look, mark)
    evaluated = [kind for kind in violations if documents[kind]["evaluation.json"]["status"] == "EVALUATED"]
    waiting = [kind for kind in violations if kind not in evaluated]
    found = {kind: len(violations[kind]) for kind in evaluated if violations[kind]}
    if found:
        parts = _listed([f"{count(number)} in {TITLES[kind].lower()}" for kind, number in found.items()])
        verdict, look, mark = f"{plural(sum(found.values()), 'violation')}: {parts}.", "violated", "▲"
    elif evaluated:
        named = _listed([TITLES[kind].lower() for kind in evaluated])
        verdict, look, mark = f"No violations in {named}.", "clean", "✓"
    else:
        reasons = list(dict.fromkeys(documents[kind]["evaluation.json"]["reason"] for kind in waiting))
        verdict, look, mark = f"Not evaluated: {'; '.join(reasons)}.", "open", "○"
    if evaluated and waiting:
        named = _listed([TITLES[kind].lower() for kind in waiting])
        verdict += f" {named[:1].upper()}{named[1:]} {'was' if len(waiting) == 1 else 'were'} not evaluated."
    if not found and is_broken:
        # The clean part belongs to data that is broken.
        verdict, look, mark = f"The data is broken. {verdict}", "violated", "▲"
    return _banner(verdict, look, mark)


def _banner(verdict: str, look: str, mark: str) -> Markup:
    return element(
        "p",
        element("span", mark, class_="mark", aria_hidden="true"),
        sentence(verdict),
        class_=f"verdict {look}",
    )


def _moved(found: Assessment) -> Markup:
    """What the evidence found, worst first, and the most likely cause."""
    found_rows = (*found.loss, *found.columns)[:MOST_VIOLATIONS]
    cells = [
        element(
            "tr",
            element("td", foreign(each.column) if each.column else "the error"),
            element("td", each.what),
            element("td", f"{each.p:.0e}"),
        )
        for each in found_rows
    ]
    head = element("thead", element("tr", [element("th", each) for each in ("Column", "What moved", "p")]))
    why = element("ul", [element("li", sentence(line)) for line in found.why]) if found.why else joined()
    return joined(element("table", head, element("tbody", cells)), why)


def _broken(own: Document) -> Markup:
    reasons = own.get("broken") or ()
    if not reasons:
        return joined()
    listed = element("ul", [element("li", sentence(reason)) for reason in reasons])
    return joined(element("p", "▲ The data itself counts as broken:", class_="flag"), listed)


def _read(own: Document) -> Markup:
    inputs = own["inputs"]
    facts: list[tuple[str, str]] = [
        ("Captures", f"{plural(inputs['rows'], 'row')} in {plural(inputs['requests'], 'request')} "
         f"from {plural(inputs['capture_files'], 'file')}"),
        ("Labels", f"{plural(inputs['labelled_rows'], 'row')} labelled ({share(inputs['label_coverage'])}) "
         f"from {plural(inputs['label_objects'], 'file')}"),
    ]  # fmt: skip
    if inputs.get("repeated_requests"):
        facts.append(("Repeated requests", f"{count(inputs['repeated_requests'])}, counted once"))
    if inputs.get("requests_elsewhere"):
        facts.append(("Requests to others", f"{count(inputs['requests_elsewhere'])}, counted nowhere else"))
    for name, words in (
        ("labels_repeated", "came again with the same value"),
        ("labels_conflicting", "had different values"),
        ("labels_rejected", "left without a label by the rule"),
    ):
        if inputs.get(name):
            facts.append(("Ids with several labels", f"{count(inputs[name])} {words}"))
    if own.get("served_loss") is not None:
        facts.append(("Served loss", figure(own["served_loss"])))
    facts.append(("Labels suffice for a decision", "yes" if own.get("settled") else "no"))
    facts.append(("Baseline", str(own.get("baseline") or "none")))
    rows = [element("tr", element("th", name, scope="row"), element("td", sentence(value))) for name, value in facts]
    parts = [element("table", element("caption", "Inputs of this window"), element("tbody", rows), class_="facts")]
    parts.append(_segments(own.get("segments") or ()))
    parts += [_bad_lines(own.get("bad_lines") or {}), _bad_records(own.get("bad_records") or {})]
    if own.get("noted_records"):
        parts.append(_record_table("Records that were used, and noted", own["noted_records"]))
    return joined(parts)


def _label_maturity(documents: Documents, kinds: Sequence[str]) -> Markup | None:
    """The part about labels, from the first report that uses them."""
    for kind in kinds:
        own = documents[kind]["evaluation.json"]
        if "label_ages" in own or "selection" in own:
            return label_maturity(
                own.get("label_ages"), own.get("selection"), documents[kind].get("label_maturity.json")
            )
    return None


def _segments(segments: Sequence[Document]) -> Markup:
    """The models that answered, when there was more than one or not every request was captured."""
    sampled = any(each.get("sampling_percentage") not in (None, 100) for each in segments)
    if len(segments) < 2 and not sampled:
        return joined()
    rows = [
        [
            foreign(each["config_name"]),
            foreign(_moment(each["from"])),
            count(each["rows"]),
            count(each["labelled"]),
            figure(each["loss"]) if each["loss"] is not None else "-",
            "-" if each.get("sampling_percentage") is None else f"{each['sampling_percentage']} %",
        ]
        for each in segments
    ]
    return _table(
        "Models that answered", ["Configuration", "From", "Rows", "Labelled", "Loss", "Captured"], rows, (2, 3, 4, 5)
    )


def _bad_lines(bad: Document) -> Markup:
    total = bad.get("count", 0)
    if not total:
        return element("p", "No line was unreadable.")
    sample = bad.get("sample", ())
    caption = f"{plural(total, 'unreadable line')}" + (f", the first {len(sample)}" if len(sample) < total else "")
    rows = [[sentence(each["key"]), count(each["line"]) if each["line"] else "whole file", sentence(each["reason"])]
            for each in sample]  # fmt: skip
    return _table(caption, ["File", "Line", "Reason"], rows, (1,), stacked=True)


def _bad_records(bad: Mapping[str, Document]) -> Markup:
    if not bad:
        return element("p", "No record was unusable.")
    return _record_table("Records that could not be used", bad)


def _record_table(caption: str, reasons: Mapping[str, Document]) -> Markup:
    rows = [
        [sentence(reason), count(found["count"]), joined([element("div", foreign(each)) for each in found["sample"]])]
        for reason, found in reasons.items()
    ]
    return _table(caption, ["Reason", "Records", "For example"], rows, (1,), stacked=True)


def _violation_table(violations: Mapping[str, Sequence[Document]]) -> Markup:
    rows = [
        [TITLES[kind], foreign(_subject_of(each)), foreign(each.get("constraint_check_type", "")),
         sentence(shortened(str(each.get("description", ""))))]
        for kind, found in violations.items()
        for each in found
    ]  # fmt: skip
    caption = plural(len(rows), "violation")
    if len(rows) > MOST_VIOLATIONS:
        caption += f": the first {MOST_VIOLATIONS} are listed, {count(len(rows) - MOST_VIOLATIONS)} left out"
    heads = ["Monitor", "What", "Check", "Description"]
    return _table(caption, heads, rows[:MOST_VIOLATIONS], (), stacked=True)


def _subject_of(violation: Document) -> str:
    name = str(violation.get("feature_name") or violation.get("metric_name", ""))
    if "facet" in violation:
        return f"{name} of {violation['facet']} in {violation.get('facet_value', '')}"
    return f"{name} of {violation['label']}" if "label" in violation else name


def _section(
    kind: str, files: Mapping[str, Document], baseline: Mapping[str, Document], violations: Sequence[Document]
) -> Markup | None:
    """A monitor type's part of the page, None when it has nothing to show."""
    if kind == "DataQuality" and "statistics.json" in files:
        return distributions(
            files["statistics.json"], baseline.get(DATA_STATISTICS), _checks(violations, "feature_name")
        )
    if kind == "ModelQuality" and metrics_of(files.get("statistics.json"))[0]:
        return model_quality(
            files["statistics.json"],
            baseline.get(MODEL_STATISTICS),
            baseline.get(MODEL_CONSTRAINTS),
            _checks(violations, "metric_name"),
            files["evaluation.json"],
        )
    if kind == "ModelBias" and "analysis.json" in files:
        return bias(files["analysis.json"], baseline.get(BIAS_CONSTRAINTS), violations)
    if kind == "ModelExplainability" and "analysis.json" in files:
        return attribution(files["analysis.json"], baseline.get(EXPLAINABILITY_CONSTRAINTS))
    return None


def _checks(violations: Sequence[Document], field: str) -> dict[str, list[str]]:
    """Feature or metric -> its violated checks; four metrics are camelCase in violations, and only there."""
    found: dict[str, list[str]] = {}
    for each in violations:
        name = str(each.get(field, ""))
        if field == "metric_name":
            name = snake_case(name)
        found.setdefault(name, []).append(str(each.get("constraint_check_type", "")))
    return found


def _not_evaluated(documents: Documents, baseline: Mapping[str, Document]) -> Markup:
    said: list[tuple[str, Markup]] = []
    for kind, title in TITLES.items():
        if kind not in documents:
            said.append((title, joined("not among this monitor's types")))
            continue
        files = documents[kind]
        own = files["evaluation.json"]
        if own["status"] != "EVALUATED":
            said.append((title, sentence(own["reason"])))
        said += [(title, reason) for reason in _gaps(kind, files, baseline)]
    own = next(iter(documents.values()))["evaluation.json"]
    inputs = own["inputs"]
    if inputs["labelled_rows"] < inputs["rows"]:
        without = plural(inputs["rows"] - inputs["labelled_rows"], "row has no", "rows have no")
        said.append(("Labels", joined(f"{without} label that counts, and are left out of everything that needs one")))
    rows = [element("tr", element("th", title, scope="row"), element("td", reason)) for title, reason in said]
    if not rows:
        return element("p", "Everything was evaluated.")
    return element("table", element("caption", "What, and why"), element("tbody", rows), class_="facts")


def _gaps(kind: str, files: Mapping[str, Document], baseline: Mapping[str, Document]) -> list[Markup]:
    """What a report lacks although its monitor type was evaluated."""
    gaps: list[Markup] = []
    if kind == "DataQuality" and "statistics.json" in files and DATA_STATISTICS in baseline:
        live = [str(feature["name"]) for feature in files["statistics.json"]["features"]]
        known = [str(feature["name"]) for feature in baseline[DATA_STATISTICS].get("features") or []]
        gaps += _names("no drift: not in the baseline's statistics", set(live) - set(known))
        gaps += _names("in the baseline and not in this window", set(known) - set(live))
    if kind == "ModelQuality" and metrics_of(files.get("statistics.json"))[0]:
        found = metrics_of(files["statistics.json"])[1]
        gaps += _names("not defined by these labels", set(undefined_metrics(files["statistics.json"])))
        deviations = [each.get("standard_deviation") for each in found.values() if isinstance(each, Mapping)]
        if any(each == "NaN" for each in deviations):
            gaps.append(joined("standard deviations: too few labelled rows, or a metric that samples leave undefined"))
        problem = metrics_of(files["statistics.json"])[0]
        if problem == "binary_classification_metrics" and not files["evaluation.json"].get("calibration"):
            gaps.append(
                joined("calibration: the scores are not probabilities (one is outside 0 to 1, or all are 0 or 1)")
            )
    if kind == "ModelBias" and "analysis.json" in files:
        errors: Counter[str] = Counter()
        for stage in ("post_training_bias_metrics", "pre_training_bias_metrics"):
            if stage not in files["analysis.json"]:
                gaps.append(joined(f"{stage.replace('_', ' ')}: no row has a prediction"))
            for entries in files["analysis.json"].get(stage, {}).get("facets", {}).values():
                errors.update(each["error"] for entry in entries for each in entry["metrics"] if "error" in each)
        gaps += [joined(f"{plural(number, 'metric')}: ", sentence(reason)) for reason, number in sorted(errors.items())]
    return gaps


def _names(reason: str, names: set[str]) -> list[Markup]:
    if not names:
        return []
    shown = sorted(names)[:NAMED]
    listed = [joined(foreign(name), ", " if place < len(shown) else "") for place, name in enumerate(shown, 1)]
    more = f" and {count(len(names) - NAMED)} more" if len(names) > NAMED else ""
    return [joined(f"{reason}: ", listed, more)]


def _listed(parts: Sequence[str]) -> str:
    """a, b and c."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _table(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: tuple[int, ...], stacked: bool = False
) -> Markup:
    """The first column of each row names it; with `stacked` rows become blocks on narrow screens."""
    columns = [
        element("th", head, scope="col", class_="n" if place in numbers else None) for place, head in enumerate(heads)
    ]
    body = []
    for row in rows:
        cells = [element("td", cell, class_="n" if place in numbers else None) for place, cell in enumerate(row)]
        body.append(element("tr", cells))
    table = element(
        "table",
        element("caption", text(caption)),
        element("thead", element("tr", columns)),
        element("tbody", body),
        class_="stack" if stacked else None,
    )
    return element("div", table, class_="scroll", role="region", tabindex="0", aria_label="Table, scrollable")
