"""A monitor's page: one sentence on top, quality over time, which columns moved when, windows, decisions."""

from __future__ import annotations

from chalicelib.pages.markup import Markup, count, element, figure, plural, sentence, share
from chalicelib.pages.site import Links, banner, facts_of, moment, page, spoken, state, table_of, trail
from chalicelib.pages.timeline import COLUMNS_SHOWN, LEGEND, heat, moved_columns, quality
from chalicelib.pages.views import Mark, MonitorView, WindowLine

WINDOWS_LISTED = 48


def monitor_page(view: MonitorView, links: Links) -> bytes:
    """The page as UTF-8 HTML."""
    found = view.status
    parts = [element("h1", found.monitor), _subject(view), banner(view.level, view.sentence)]
    if view.why:
        parts.append(element("ul", [element("li", sentence(each)) for each in view.why], class_="why"))
    if view.incidents:
        rows = [
            [each.kind, each.severity, moment(each.since), sentence(", ".join(each.joined) or "-")]
            for each in view.incidents
        ]
        parts += _section("Open incidents", table_of(("Kind", "Severity", "Since the window", "What"), rows))
    if any(line.loss is not None for line in view.windows):
        chart = quality(
            f"{view.metric} of {plural(len(view.windows), 'window')}",
            *(found.monitor, view.metric, view.windows, view.marks, links),
        )
        caption = (
            "Line: windows with enough labels, with the range that holds the rate with 95 %. Hollow: labels are still "
            f"coming. Large: worse than the baseline beyond chance ({view.promise}). {LEGEND}"
        )
        parts += _section("Quality over time", element("figure", _wide(chart), element("figcaption", caption)))
    number = moved_columns(view.windows)
    if number:
        caption = "The darker, the more points the share moved; an outline: no second look has confirmed it."
        if number > COLUMNS_SHOWN:
            caption += f" The {COLUMNS_SHOWN} that moved most often, of {count(number)}."
        chart = heat(f"{plural(number, 'column')} that moved, by window", view.windows)
        parts += _section("Columns that moved", element("figure", _wide(chart), element("figcaption", caption)))
    if view.marks:
        rows = [_mark(mark, links) for mark in reversed(view.marks)]
        parts += _section("What was done", table_of(("When", "What", "Why", "Decision"), rows))
    if view.windows:
        heads = ("Window", "State", "Rows", "Labelled", view.metric.capitalize(), "Violations", "Decision")
        lines = view.windows[::-1][:WINDOWS_LISTED]
        rows = [_window(found.monitor, line, links) for line in lines]
        caption = "" if len(lines) == len(view.windows) else f"The newest {len(lines)} windows."
        parts += _section("Windows", table_of(heads, rows, (2, 3, 4, 5), caption))
    parts += _section("About this monitor", _facts(view))
    where = trail(("Monitors", links.fleet()), (found.monitor, ""))
    return page(found.monitor, where, *parts, as_json=links.json_of(links.monitor(found.monitor)))


def _subject(view: MonitorView) -> Markup:
    found = view.status
    champion = f", served by {found.champion} (generation {found.generation})" if found.champion else ""
    length = f"windows of {plural(view.hours, 'hour')}"
    return element("p", f"Endpoint {found.endpoint}, variant {view.variant}{champion}; {length}.", class_="lead")


def _mark(mark: Mark, links: Links) -> list[str | Markup]:
    decision = element("a", mark.decision_id[:12], href=links.decision(mark.decision_id))
    return [moment(mark.at), mark.kind.replace("_", " "), sentence(spoken(mark.detail)), decision]


def _window(monitor: str, line: WindowLine, links: Links) -> list[str | Markup]:
    return [
        element("a", moment(line.window), href=links.window(monitor, line.window)),
        element("span", "✕ Broken", class_="state violated") if line.broken else state(line.found.level),
        count(line.rows),
        share(line.coverage),
        "-" if line.loss is None else figure(line.loss),
        count(line.violations),
        element("a", line.action, href=links.decision(line.decision_id)) if line.decision_id else "-",
    ]


def _facts(view: MonitorView) -> Markup:
    found = view.status
    facts = [
        ("State", found.state + (f": {found.paused}" if found.paused else "")),
        ("Watches", ", ".join(view.types)),
        ("Promise", view.promise),
        ("Retraining", found.retraining or "none under way"),
        ("Promotion", found.promotion or "none under way"),
        ("Overdue windows", count(found.overdue)),
        ("Definition", found.version),
        ("Read", f"{moment(view.at)} UTC"),
    ]
    return facts_of(facts)


def _section(head: str, content: Markup) -> list[Markup]:
    return [element("section", element("h2", head), content)]


def _wide(chart: Markup) -> Markup:
    return element("div", chart, class_="wide", tabindex="0", role="group", aria_label="Chart; it scrolls sideways")
