"""`plumbline status [MONITOR]`: the state of each monitor, from the facts that the functions decide on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from chalicelib import wiring
from chalicelib.definition import Definition
from chalicelib.facts import champions, claims, cursor, decisions, due, evaluations, incidents, monitors, pauses
from chalicelib.facts.monitors import Entry
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from plumbline.cli.account.choice import chosen
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command

# A window due longer ago than this was sent and lost, or refused; a clock later than this is not running.
OVERDUE_AFTER = due.RESEND_AFTER


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One monitor. Times and windows are ISO texts, "" where there is none yet; coverage is from 0 to 1.

    `overdue` counts windows that should have been evaluated by now; `unclocked` of them were never marked due, which
    means that the clock is not running.
    """

    monitor: str
    endpoint: str
    version: str
    champion: str
    generation: int
    window: str
    verdict: str
    decision_id: str
    rows: int
    coverage: float
    loss: float | None
    settled_window: str
    settled_coverage: float
    incidents: tuple[str, ...]
    retraining: str
    promotion: str
    overdue: int
    unclocked: int
    paused: str
    removed_at: str

    @property
    def state(self) -> str:
        return "removed" if self.removed_at else "paused" if self.paused else "active"


def status(services: Services, entry: Entry) -> Status:
    """Read one monitor's facts."""
    ledger, name = services.ledger, entry.name
    definition = services.definitions.of(entry)
    champion = champions.load_champion(ledger, name)
    newest = evaluations.newest(ledger, name)
    settled_name = evaluations.newest_settled(ledger, name)
    settled = evaluations.load_evaluation(ledger, name, settled_name) if settled_name else None
    verdict = _verdict(services, name, newest.window) if newest else None
    claim, promotion = claims.load_retrain(ledger, name), claims.load_promotion(ledger, name)
    unclocked = 0 if entry.removed_at else _unclocked(services, definition, entry)
    pause = pauses.in_force(ledger, name, services.now())
    return Status(
        monitor=name,
        endpoint=definition.endpoint,
        version=entry.version,
        champion=champion.candidate.name if champion else "",
        generation=champion.generation if champion else 0,
        window=newest.window if newest else "",
        verdict=verdict.action if verdict else "",
        decision_id=verdict.decision_id if verdict else "",
        rows=newest.rows if newest else 0,
        coverage=newest.coverage if newest else 0.0,
        loss=settled.value.loss if settled else None,
        settled_window=settled_name,
        settled_coverage=settled.value.coverage if settled else 0.0,
        incidents=tuple(each.kind for each in incidents.read_incidents(ledger, name) if each.state == "OPEN"),
        retraining=f"{claim.state} {claim.decision_id[:12]}" if claim and claim.in_flight else "",
        promotion=f"{promotion.kind} {promotion.candidate} {promotion.state}"
        if promotion and promotion.in_flight
        else "",
        overdue=unclocked + sum(services.now() - each.not_before > OVERDUE_AFTER for each in due.owed(ledger, name)),
        unclocked=unclocked,
        paused=pause.words if pause else "",
        removed_at=entry.removed_at,
    )


def _verdict(services: Services, monitor: str, window: str) -> decisions.Record | None:
    """The last decision on a window."""
    found = decisions.references(services.ledger, monitor, window)
    records = [decisions.load_record(services.ledger, each.decision_id) for each in found]
    return max((each for each in records if each), key=lambda record: record.made_at, default=None)


def _unclocked(services: Services, definition: Definition, entry: Entry) -> int:
    """The number of closed windows that the clock has not marked due."""
    length = definition.window_length
    done = cursor.read(services.ledger, entry.name)
    first = max([Window.parse(entry.since, length), *([Window.parse(done, length).next()] if done else [])])
    late: timedelta = services.now() - OVERDUE_AFTER - definition.grace - first.start
    return max(0, late // length)


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
