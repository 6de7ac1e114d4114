"""The page's part about labels: how many have arrived, how long they took, and whether they arrive selectively.

Reads `label_ages` and `selection` of evaluation.json, and label_maturity.json where it exists. Not here: how these
numbers are computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.evidence.label_maturity import duration
from chalicelib.pages.charts import Pair, bars
from chalicelib.pages.markup import Markup, count, element, figure, joined, plural, sentence, share

Document = Mapping[str, Any]

# This many revisions and late objects are listed; the file has all.
LISTED = 20


def label_maturity(ages: Document | None, selection: Document | None, outlook: Document | None) -> Markup:
    """Label coverage and ages, the revisions of the report, and metrics weighted by score."""
    parts: list[Markup] = []
    if outlook:
        parts.append(element("p", sentence(f"{_capital(outlook['summary'])}. As of {_moment(outlook['as_of'])} UTC.")))
    if ages:
        of = f"{count(ages['labelled_requests'])} of {plural(ages['requests'], 'request')}"
        parts.append(element("p", f"{of} {'has' if ages['labelled_requests'] == 1 else 'have'} a label."))
    elif selection:
        of = f"{count(selection['labelled'])} of {plural(selection['labelled'] + selection['unlabelled'], 'row')}"
        parts.append(element("p", f"{of} {'has' if selection['labelled'] == 1 else 'have'} a label."))
    if selection and selection["warning"]:
        parts.append(element("p", "▲ ", sentence(_capital(selection["warning"]) + "."), class_="flag"))
    if ages and ages["steps"]:
        parts.append(_ages(ages))
    if selection and selection["metrics"] and selection["unlabelled"]:
        parts.append(_weighted(selection))
    if outlook and len(outlook["revisions"]) > 1:
        parts.append(_revisions(outlook))
    if outlook and outlook["late_labels"]:
        parts.append(_late(outlook))
    return joined(parts)


def _ages(ages: Document) -> Markup:
    labelled = ages["labelled_requests"]
    pairs = [Pair(_step(each["up_to_seconds"]), None, each["requests"] / labelled) for each in ages["steps"]]
    heading = element("h3", "How long the first labels took")
    return joined(heading, bars("share of the labelled requests by the time that their labels took", pairs, "Up to"))


def _weighted(selection: Document) -> Markup:
    rows = [
        [name, _figure(found["labelled"]), _figure(found["weighted"])] for name, found in selection["metrics"].items()
    ]
    caption = (
        f"Metrics of the {plural(selection['labelled'], 'labelled row')}, and weighted by score so that they stand for "
        f"the {plural(selection['unlabelled'], 'other')}, too"
    )
    return _table(caption, ["Metric", "Labelled rows", "Weighted by score"], rows, (1, 2))


def _revisions(outlook: Document) -> Markup:
    found = outlook["revisions"]
    rows = [
        [
            _moment(each["stored_at"]),
            count(each["labelled"]),
            share(each["label_coverage"]),
            _figure(each["served_loss"]),
        ]
        for each in found[-LISTED:]
    ]
    caption = plural(len(found), "revision") + (f", the last {LISTED}" if len(found) > LISTED else "")
    return _table(caption, ["Stored (UTC)", "Labelled rows", "Coverage", "Served loss"], rows, (1, 2, 3))


def _late(outlook: Document) -> Markup:
    rows = [
        [sentence(each["object"]), _moment(each["arrived"]), count(each["labels"])]
        for each in outlook["late_labels"][:LISTED]
    ]
    caption = f"{plural(outlook['late_label_count'], 'label')} came after the window was sealed and do not count"
    return _table(caption, ["Object", "Arrived (UTC)", "Labels"], rows, (2,))


def _table(caption: str, heads: list[str], rows: list[list[str]], numbers: tuple[int, ...]) -> Markup:
    columns = [
        element("th", head, scope="col", class_="n" if place in numbers else None) for place, head in enumerate(heads)
    ]
    body = [
        element("tr", [element("td", cell, class_="n" if place in numbers else None) for place, cell in enumerate(row)])
        for row in rows
    ]
    table = element(
        "table", element("caption", caption), element("thead", element("tr", columns)), element("tbody", body)
    )
    return element("div", table, class_="scroll", role="region", tabindex="0", aria_label="Table, scrollable")


def _step(seconds: int | None) -> str:
    return "longer" if seconds is None else duration(seconds)


def _figure(value: float | None) -> str:
    return "-" if value is None else figure(value)


def _moment(name: str) -> str:
    return name.removesuffix("Z").replace("T", " ")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
