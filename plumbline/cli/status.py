"""`plumbline status [MONITOR]`: the state of each monitor, from the facts that the functions decide on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import msgspec

from chalicelib import wiring
from chalicelib.facts import monitors
from chalicelib.pages.views import Status
from chalicelib.workflows.monitor_status import status
from plumbline.cli.account.choice import chosen
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command


def table(found: Sequence[Status]) -> str:
    """One line per monitor."""
    titles = (
        "MONITOR",
        "STATE",
        "ENDPOINT",
        "CHAMPION",
        "WINDOW",
        "VERDICT",
        "LABELS",
        "INCIDENTS",
        "RETRAIN",
        "OVERDUE",
    )
    rows = [titles]
    for each in found:
        rows.append(
            (
                each.monitor,
                each.state,
                each.endpoint,
                each.champion or "-",
                each.window.removesuffix(":00:00Z") + "Z" if each.window else "-",
                each.verdict or "-",
                f"{each.settled_coverage:.0%}" if each.settled_window else "-",
                ",".join(each.incidents) or "-",
                (each.retraining or each.promotion or "-").split()[0],
                str(each.overdue or "-"),
            )
        )
    return "\n".join(aligned(rows))


def detail(each: Status) -> str:
    """One monitor in lines."""
    lines = [
        f"monitor     {each.monitor}, version {each.version}",
        f"state       {each.paused or (f'removed {each.removed_at}' if each.removed_at else 'active')}",
        f"endpoint    {each.endpoint}",
        f"champion    {each.champion or 'none'} (generation {each.generation})",
    ]
    if each.window:
        verdict = f"{each.verdict}: plumbline explain {each.decision_id}" if each.verdict else "no decision"
        lines += [
            f"window      {each.window}, {each.rows} rows, {each.coverage:.0%} labelled",
            f"verdict     {verdict}",
        ]
    else:
        lines.append("window      none evaluated yet")
    if each.settled_window:
        loss = "" if each.loss is None else f", loss {each.loss:.4f}"
        lines.append(f"settled     {each.settled_window}, {each.settled_coverage:.0%} labelled{loss}")
    lines += [
        f"incidents   {', '.join(each.incidents) or 'none open'}",
        f"retraining  {each.retraining or 'none in flight'}",
    ]
    if each.promotion:
        lines.append(f"promotion   {each.promotion}")
    clock = f", {each.unclocked} of them never marked due: is the clock running?" if each.unclocked else ""
    lines.append(f"overdue     {each.overdue} windows{clock}")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    services = wiring.services()
    entries = chosen(monitors.all_entries(services.ledger), options.monitor, removed=True)
    found = [status(services, entry) for entry in entries]
    if options.json:
        return Answer(json.dumps([{**msgspec.to_builtins(each), "state": each.state} for each in found], indent=2))
    if not found:
        return Answer("no monitor is stored; `plumbline add FILE` stores one")
    return Answer(detail(found[0]) if options.monitor else table(found))


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline status` and its arguments."""
    parser = add_command(
        commands,
        "status",
        "show the state of the monitors",
        "Champion, last verdict, labels, incidents, what is in flight or overdue.",
        "status churn",
    )
    parser.add_argument(
        "monitor", nargs="?", default="", metavar="MONITOR", help="one monitor in full; default: a table of all"
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(run=run)
