"""`plumbline pause MONITOR`: hold a monitor's effects for a while; `--resume` releases them.

Held: alerts of incidents, starts of retrainings, promotions and roll-backs. Not held: captures and labels are counted,
windows are evaluated, reports and metrics are written.
"""

from __future__ import annotations

import argparse
import json
import re
from datetime import UTC, datetime, timedelta

from chalicelib import wiring
from chalicelib.errors import MisconfiguredError
from chalicelib.facts import due, evaluations, monitors, pauses
from chalicelib.records.times import iso
from chalicelib.records.window import Window, parse_duration
from chalicelib.wiring import Services
from plumbline.cli.account.choice import chosen
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command


def pause(services: Services, name: str, until: datetime | None) -> pauses.Pause:
    """Hold a monitor's effects from now on. Raises NotFoundError, and MisconfiguredError for an end in the past."""
    chosen(monitors.all_entries(services.ledger), name)
    now = services.now()
    if until is not None and until <= now:
        raise MisconfiguredError("--until", iso(until), "a time in the future")
    return pauses.begin(services.ledger, name, now, until)


def resume(services: Services, name: str) -> bool:
    """End the pause and mark the newest settled window due, so that what was held is decided now.

    Returns False, and changes nothing, when the monitor was not paused. Raises NotFoundError.
    """
    [entry] = chosen(monitors.all_entries(services.ledger), name)
    if not pauses.end(services.ledger, name, services.now()):
        return False
    definition = services.definitions.of(entry)
    if newest := evaluations.newest_settled(services.ledger, name):
        window = Window.parse(newest, definition.window_length)
        due.mark(services.ledger, name, window, definition.grace, services.now(), wait=timedelta(0))
    return True


def moment(text: str, now: datetime) -> datetime:
    """Parse "2026-01-05T18:00Z", or "PT4H" counted from now. Raises MisconfiguredError."""
    if text.startswith("P"):
        return now + parse_duration(text, "--until")
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})", text):
        raise MisconfiguredError("--until", text, "a time with its zone, 2026-01-05T18:00Z, or a duration, PT4H")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise MisconfiguredError("--until", text, "an existing date and hour") from None


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    services, name = wiring.services(), options.monitor
    if options.resume:
        ended = resume(services, name)
        text = f"{name}: resumed; its newest settled window is decided again" if ended else f"{name}: was not paused"
        return Answer(json.dumps({"monitor": name, "paused": False, "changed": ended}) if options.json else text)
    found = pause(services, name, moment(options.until, services.now()) if options.until else None)
    if options.json:
        until = iso(found.until) if found.until else None
        document = {"monitor": name, "paused": True, "since": iso(found.since), "until": until}
        return Answer(json.dumps(document))
    return Answer(
        f"{name}: {found.words}\n"
        "held: alerts of incidents, starts of retrainings, promotions, roll-backs\n"
        "not held: captures and labels are counted, windows evaluated, reports and metrics written\n"
        f"plumbline pause {name} --resume"
    )


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline pause` and its arguments."""
    parser = add_command(
        commands,
        "pause",
        "hold a monitor's alerts, retrainings and promotions; evaluation goes on",
        "",
        "pause churn --until PT4H",
    )
    parser.add_argument("monitor", metavar="MONITOR", help="the monitor's name")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--until", metavar="TIME", help="2026-01-05T18:00Z or PT4H; default: until --resume")
    how.add_argument("--resume", action="store_true", help="end the pause")
    parser.add_argument("--json", action="store_true", help="what was done, as JSON")
    parser.set_defaults(run=run)
