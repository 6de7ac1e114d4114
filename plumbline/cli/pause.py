"""`plumbline pause MONITOR`: hold a monitor's effects back for a while, and `--resume` to let them go again.

What is held: alerts of incidents, starts of retrainings, promotions and roll-backs. What goes on: captures and labels
are counted, windows are evaluated, reports and metrics are written.
"""

from __future__ import annotations

import argparse
import json
import re
from datetime import UTC, datetime, timedelta

from chalicelib import wiring
from chalicelib.errors import MisconfiguredError
from chalicelib.facts import due, evaluations, monitors, pauses
from chalicelib.records.window import Window, parse_duration
from chalicelib.wiring import Services
from plumbline.cli.account.choice import chosen
from plumbline.cli.terminal.usage import add_command


def pause(services: Services, name: str, until: datetime | None) -> pauses.Pause:
    """Hold a monitor's effects back from now on. Raises NotFoundError, MisconfiguredError for an end that is over."""
    chosen(monitors.all_entries(services.ledger), name)
    now = services.now()
    if until is not None and until <= now:
        raise MisconfiguredError("--until", until.strftime("%Y-%m-%dT%H:%M:%SZ"), "a moment to come")
    return pauses.begin(services.ledger, name, now, until)


def resume(services: Services, name: str) -> bool:
    """End the pause, and owe the newest settled window an evaluation: what was held back is decided now.

    Returns False when the monitor was not paused; nothing is changed then. Raises NotFoundError.
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
    """ "2026-01-05T18:00Z", or "PT4H" from now on. Raises MisconfiguredError."""
    if text.startswith("P"):
        return now + parse_duration(text, "--until")
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})", text):
        raise MisconfiguredError("--until", text, "a time with its zone, 2026-01-05T18:00Z, or a duration, PT4H")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise MisconfiguredError("--until", text, "a day and an hour that exist") from None


def run(options: argparse.Namespace) -> tuple[str, int]:
    """The command: its output and its exit status."""
    services, name = wiring.services(), options.monitor
    if options.resume:
        ended = resume(services, name)
        text = f"{name}: resumed; its newest settled window is decided again" if ended else f"{name}: was not paused"
        return (json.dumps({"monitor": name, "paused": False, "changed": ended}) if options.json else text), 0
    found = pause(services, name, moment(options.until, services.now()) if options.until else None)
    if options.json:
        document = {"monitor": name, "paused": True, "since": _iso(found.since), "until": _iso(found.until)}
        return json.dumps(document), 0
    return (
        f"{name}: {found.words}\n"
        "held: alerts of incidents, starts of retrainings, promotions, roll-backs\n"
        "goes on: captures and labels are counted, windows evaluated, reports and metrics written\n"
        f"plumbline pause {name} --resume"
    ), 0


def _iso(time: datetime | None) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else None


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline pause` and its arguments."""
    parser = add_command(
        commands,
        "pause",
        "hold alerts, retrainings and promotions of a monitor back; facts go on",
        "",
        "pause churn --until PT4H",
    )
    parser.add_argument("monitor", metavar="MONITOR", help="the monitor's name")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--until", metavar="TIME", help="2026-01-05T18:00Z or PT4H; default: until --resume")
    how.add_argument("--resume", action="store_true", help="end the pause")
    parser.add_argument("--json", action="store_true", help="what was done, as JSON")
    parser.set_defaults(run=run)
