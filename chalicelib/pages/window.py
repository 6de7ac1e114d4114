"""The page of one window of a monitor, and that of one decision."""

from __future__ import annotations

from chalicelib.pages.markup import Markup, count, element, figure, foreign, plural, sentence, share
from chalicelib.pages.site import Links, banner, facts_of, moment, page, spoken, table_of, trail
from chalicelib.pages.views import DecisionView, WindowView


def window_page(view: WindowView, links: Links) -> bytes:
    """The page as UTF-8 HTML."""
    line = view.line
    top = banner(line.found.level, line.found.headline)
    if line.broken:
        top = banner("worse", f"Broken data: {line.broken[0]}.")
    parts = [element("h1", f"Window of {moment(line.window)}"), top]
    more = [*line.broken[1:], *line.found.why]
    if more:
        parts.append(element("ul", [element("li", sentence(each)) for each in more], class_="why"))
    if line.found.why_uncalibrated:
        parts.append(element("p", f"Not calibrated: {line.found.why_uncalibrated}", class_="flag"))
    span = f" (with 95 % from {figure(line.low)} to {figure(line.high)})" if line.low is not None else ""
    facts = [
        ("Rows", count(line.rows)),
        ("Labelled", f"{count(line.labelled)} ({share(line.coverage)}){'' if line.settled else ', not settled yet'}"),
        (view.metric.capitalize(), "not known" if line.loss is None else f"{figure(line.loss)}{span}"),
        ("Columns compared", count(line.found.asked)),
        ("Model Monitor's violations", count(line.violations)),
    ]
    parts.append(facts_of(facts))
    moved = [*line.found.loss, *line.found.columns]
    if moved:
        rows: list[list[str | Markup]] = [
            [
                foreign(each.column) if each.column else "the error",
                sentence(each.what),
                f"{100 * each.change:+.1f}",
                moment(each.since) if each.since else "-",
                f"{each.p:.1g}" if each.p > 0 else "0",
                "yes" if each.confirmed else "no",
            ]
            for each in moved
        ]
        heads = ("Column", "What", "Points", "Since the window", "p", "Confirmed")
        parts.append(element("h2", "What moved beyond chance"))
        parts.append(table_of(heads, rows, (2, 4)))
    if view.decisions:
        rows = [
            [element("a", each.decision_id[:12], href=links.decision(each.decision_id)), each.action]
            for each in view.decisions
        ]
        parts += [element("h2", "Decisions"), table_of(("Decision", "Action"), rows)]
    files: list[list[str | Markup]] = [[kind, element("code", uri)] for kind, uri in view.reports.items()]
    parts += [element("h2", "SageMaker's files"), table_of(("Monitor type", "Folder"), files)]
    near = [
        element("a", f"{word}: {moment(name)}", href=links.window(view.monitor, name))
        for word, name in (("Before", view.before), ("After", view.after))
        if name
    ]
    if near:
        parts.append(element("p", [element("span", each, " ") for each in near]))
    where = trail(("Monitors", links.fleet()), (view.monitor, links.monitor(view.monitor)), (moment(line.window), ""))
    same = links.json_of(links.window(view.monitor, line.window))
    return page(f"{view.monitor}: {moment(line.window)}", where, *parts, as_json=same)


def decision_page(view: DecisionView, links: Links) -> bytes:
    """The page as UTF-8 HTML."""
    parts = [
        element("h1", f"Decision {view.decision_id[:12]}: {view.action}"),
        element("p", f"On the window of {moment(view.window)}, made {moment(view.made_at)} UTC.", class_="lead"),
        element("h2", "Reasons"),
        element("ul", [element("li", sentence(spoken(each))) for each in view.reasons]),
    ]
    if view.outcomes:
        rows: list[list[str | Markup]] = [
            [moment(each.at), each.kind.replace("_", " "), sentence(spoken(each.detail))] for each in view.outcomes
        ]
        parts += [element("h2", "What it led to"), table_of(("When", "What", "Detail"), rows)]
    facts = [
        ("Champion", f"{view.champion or 'none'} (generation {view.generation})"),
        ("Regret since the last start", figure(view.regret)),
        ("Excess loss since the last start", figure(view.excess)),
        ("Reference loss", figure(view.reference) if view.reference is not None else "not known"),
        ("Policy", view.policy_version),
        ("Id", view.decision_id),
    ]
    parts += [element("h2", "What it stands on"), facts_of(facts)]
    if view.differences:
        rows = [[foreign(name), f"{value:+.4f}"] for name, value in view.differences.items()]
        parts.append(table_of(("Past champion", "Loss less than the champion's by"), rows, (1,)))
    rows = [[element("code", source), element("code", digest)] for source, digest in view.evidence]
    more = view.evidence_count - len(view.evidence)
    told = plural(view.evidence_count, "input") + (f", of which {count(len(rows))} are listed" if more else "")
    parts += [
        element("details", element("summary", told), table_of(("Input", "ETag or digest when it was read"), rows))
    ]
    where = trail(
        ("Monitors", links.fleet()),
        (view.monitor, links.monitor(view.monitor)),
        (moment(view.window), links.window(view.monitor, view.window)),
        (view.decision_id[:12], ""),
    )
    same = links.json_of(links.decision(view.decision_id))
    return page(f"Decision {view.decision_id[:12]}", where, *parts, as_json=same)
