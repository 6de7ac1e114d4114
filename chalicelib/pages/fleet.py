"""The first page: every monitor, those in trouble first."""

from __future__ import annotations

from chalicelib.pages.markup import Markup, element, figure, joined, plural, sentence, share
from chalicelib.pages.site import Links, banner, moment, page, spoken, state, trail
from chalicelib.pages.views import FleetLine, FleetView

_HEADS = ("Monitor", "State", "What", "Error", "Labelled", "Newest window", "Decision")


def fleet_page(view: FleetView, links: Links) -> bytes:
    """The page as UTF-8 HTML."""
    troubled = sum(line.trouble > 0 for line in view.monitors)
    if not view.monitors:
        top = banner("unknown", "No monitor is stored. `plumbline add FILE` stores one.")
    elif troubled:
        first = view.monitors[0]
        top = banner(
            "worse" if first.level == "fine" else first.level,
            f"{troubled} of {plural(len(view.monitors), 'monitor')} should be looked at, {first.monitor} first.",
        )
    else:
        top = banner("fine", f"All right: {plural(len(view.monitors), 'monitor')}, and nothing to look at.")
    search = element(
        "p",
        element("label", "Search", for_="find"),
        Markup('<input type="search" id="find">'),
        element("output", "", for_="find"),
        class_="find",
        hidden="",
    )
    table = element(
        "table",
        element("caption", f"Stage {view.stage or 'of this folder'}, read {moment(view.at)} UTC"),
        element("thead", element("tr", [element("th", head, scope="col") for head in _HEADS])),
        element("tbody", [_row(line, links) for line in view.monitors]),
        class_="stack fleet",
        data_sortable="",
    )
    heading = element("h1", "Monitors")
    shown = (heading, top, search, element("div", table, class_="scroll"))
    return page("Monitors", trail(("Monitors", "")), *shown, as_json=links.json_of(links.fleet()))


def _row(line: FleetLine, links: Links) -> Markup:
    window = element("a", moment(line.window), href=links.window(line.monitor, line.window)) if line.window else "-"
    loss = "" if line.loss is None else f"{line.loss:.17g}"
    labelled = share(line.coverage) if line.window else "-"
    cells = (
        (state(line.level), f"{100 - line.trouble:03d}", None),
        (sentence(spoken(line.sentence)), None, None),
        ("-" if line.loss is None else figure(line.loss), loss or "-1", "n"),
        (labelled, f"{line.coverage:.6f}", "n"),
        (joined(window), line.window, None),
        (line.action or "-", None, None),
    )
    return element(
        "tr",
        element("th", element("a", line.monitor, href=links.monitor(line.monitor)), scope="row"),
        [
            element("td", cell, class_=look, data_sort=order, data_head=head)
            for head, (cell, order, look) in zip(_HEADS[1:], cells, strict=True)
        ],
    )
