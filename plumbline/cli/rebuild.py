"""`plumbline rebuild`: ask for the derived data of closed windows anew, and tell what became of each.

The work is window_due's: this command looks whether it can be done, marks the windows due, and waits. So it is done
with the deployed release and the functions' permissions, and a second way to evaluate a window does not exist.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from chalicelib import wiring
from chalicelib.definition import Definition
from chalicelib.errors import MisconfiguredError, NotFoundError
from chalicelib.facts import due, evaluations, monitors, rebuilds
from chalicelib.facts.rebuilds import Rebuild
from chalicelib.records.times import iso
from chalicelib.records.window import Window, parse_duration
from chalicelib.wiring import Services
from chalicelib.workflows.window_rebuild import standing
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.progress import note
from plumbline.cli.terminal.usage import add_command

# More at once is rather a slip of the pen, and keeps the functions from everything else.
MAX_WINDOWS = 1000

# Names of missing inputs that are shown per window; --json has all of them.
LOST_SHOWN = 3

# The clock ticks once a minute; looking more often than this would show nothing new.
POLL_SECONDS = 5.0


class Planned(msgspec.Struct, frozen=True):
    """What can be done for one window. `verdict` "rebuild": all inputs are there."""

    window: str
    verdict: Literal["rebuild", "refused", "skipped"]
    reason: str
    captures: int = 0
    labels: int = 0
    sealed: bool = False
    lost: tuple[str, ...] = ()


class Done(msgspec.Struct, frozen=True):
    """What became of one window that was asked for: rebuilt, refused, waiting, or not seen by the functions."""

    window: str
    state: Literal["rebuilt", "refused", "waiting", "unseen"]
    detail: str
    before: str = ""
    after: str = ""


def parse_time(text: str, option: str) -> datetime:
    """A date or an ISO-8601 time; without an offset it is UTC. Raises MisconfiguredError naming the option."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MisconfiguredError(option, text, "a date or a time such as 2026-01-05 or 2026-01-05T13:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def plan(services: Services, monitor: str, since: datetime, until: datetime) -> list[Planned]:
    """Look at every window that begins in [since, until), and write nothing.

    Raises NotFoundError for an unknown or a removed monitor, MisconfiguredError for a span without windows or with too
    many.
    """
    definition = services.definitions.get(monitor)
    entry = monitors.get(services.ledger, monitor)
    assert entry is not None, "the definition was found by it"
    if entry.removed_at:
        raise NotFoundError(
            f"monitor {monitor}: was removed {entry.removed_at}; `plumbline add FILE` takes it up again"
        )
    return [_planned(services, definition, entry.since, window) for window in _windows(definition, since, until)]


def _windows(definition: Definition, since: datetime, until: datetime) -> list[Window]:
    length = definition.window_length
    first = Window.of(since, length)
    if first.start < since:
        first = first.next()
    count = max(-((first.start - until) // length), 0)
    shown = [iso(moment) for moment in (since, until)]
    if not count:
        expected = f"a span in which a window of {definition.window.length} begins"
        raise MisconfiguredError("--from, --to", " to ".join(shown), expected)
    if count > MAX_WINDOWS:
        raise MisconfiguredError("--from, --to", f"{count} windows", f"at most {MAX_WINDOWS} at once")
    return [Window(first.start + number * length, length) for number in range(count)]


def _planned(services: Services, definition: Definition, since: str, window: Window) -> Planned:
    if window.name < since:
        return Planned(window.name, "skipped", f"before the monitor's first window, {since}")
    closes = window.end + definition.grace
    if services.now() < closes:
        return Planned(window.name, "skipped", f"open until {closes:%Y-%m-%dT%H:%M:%SZ}")
    stored = evaluations.load_evaluation(services.ledger, definition.name, window.name)
    found = standing(services, definition, window, stored.value if stored else None)
    if not found.evaluated:
        return Planned(window.name, "skipped", "not evaluated yet: the clock owes it an evaluation")
    captures, labels = len(found.inputs.captures), len(found.inputs.labels)
    sealed = services.now() >= window.end + definition.horizon
    if found.reason:
        return Planned(window.name, "refused", found.reason, captures, labels, sealed, found.lost)
    if found.lost:
        reason = f"{len(found.lost)} of {captures + labels} inputs are gone or were written again"
        return Planned(window.name, "refused", reason, captures, labels, sealed, found.lost)
    return Planned(window.name, "rebuild", f"inputs named by {found.source}", captures, labels, sealed)


def order(services: Services, monitor: str, windows: Sequence[str]) -> dict[str, str]:
    """Mark windows due anew; returns for each the revision of its last outcome ("": none), so that a new one is known.

    Repeating it is safe: a window that is owed twice is derived twice from the same inputs.
    """
    definition = services.definitions.get(monitor)
    before = {}
    for name in windows:
        last = rebuilds.read(services.ledger, monitor, name)
        before[name] = last.revision if last else ""
        window = Window.parse(name, definition.window_length)
        due.mark(services.ledger, monitor, window, definition.grace, services.now(), anew=True)
    return before


def follow(
    services: Services,
    monitor: str,
    before: dict[str, str],
    wait: Callable[[float], None],
    limit: timedelta,
    tell: Callable[[str], None],
) -> list[Done]:
    """Look until every window has an outcome or the time is over; `tell` gets a line for each as it comes."""
    ends = services.now() + limit
    done: dict[str, Done] = {}
    while True:
        for name in before:
            if name not in done and (found := _outcome(services, monitor, name, before[name])):
                done[name] = found
                tell(f"[{len(done)}/{len(before)}] {line_of(found)}")
        if len(done) == len(before) or services.now() >= ends:
            break
        wait(POLL_SECONDS)
    waiting = "still owed: the functions will come to it, or running this again will show why not"
    return [done.get(name) or Done(name, "waiting", waiting) for name in before]


def _outcome(services: Services, monitor: str, window: str, before: str) -> Done | None:
    # Read first: an outcome is written before the window is no longer owed.
    owed = due.read(services.ledger, monitor, window)
    stored = rebuilds.read(services.ledger, monitor, window)
    if stored and stored.revision != before:
        return _done(stored.value)
    if owed is None or not owed.value.anew:
        return Done(window, "unseen", "evaluated, but not anew: is the deployed release older than this command?")
    return None


def _done(rebuild: Rebuild) -> Done:
    if rebuild.outcome == "REFUSED":
        lost = f"{rebuild.lost_count} inputs went away: {'; '.join(rebuild.lost[:LOST_SHOWN])}"
        return Done(rebuild.window, "refused", rebuild.reason or lost)
    if rebuild.before == rebuild.after:
        return Done(rebuild.window, "rebuilt", "same report as before", rebuild.before, rebuild.after)
    was = f"was {rebuild.before[:12]}" if rebuild.before else "its evaluation was lost"
    return Done(rebuild.window, "rebuilt", f"new report {rebuild.after[:12]}, {was}", rebuild.before, rebuild.after)


def line_of(done: Done) -> str:
    """One window's outcome as a line."""
    return f"{done.window}  {done.state:<8}  {done.detail}"


def plan_text(monitor: str, planned: Sequence[Planned]) -> str:
    """The plan as text: a line per window, the missing inputs below theirs."""
    lines = [f"monitor {monitor}: {_count(len(planned), 'window')}, {_sum(planned)}"]
    for each in planned:
        inputs = f"{_count(each.captures, 'capture file')}, {_count(each.labels, 'label object')}"
        told = f"{inputs}, {each.reason}" if each.verdict == "rebuild" else each.reason
        lines.append(f"  {each.window}  {each.verdict:<8}  {told}{' (sealed)' if each.sealed else ''}")
        lines += [f"      {name}" for name in each.lost[:LOST_SHOWN]]
        if len(each.lost) > LOST_SHOWN:
            lines.append(f"      … and {len(each.lost) - LOST_SHOWN} more")
    return "\n".join(lines)


def _sum(planned: Sequence[Planned]) -> str:
    counts = [
        (sum(each.verdict == verdict for each in planned), verdict) for verdict in ("rebuild", "refused", "skipped")
    ]
    words = {"rebuild": "can be rebuilt", "refused": "refused", "skipped": "skipped"}
    return ", ".join(f"{count} {words[verdict]}" for count, verdict in counts if count)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def summary(planned: Sequence[Planned], done: Sequence[Done]) -> str:
    """The last line: what was done, and what was not."""
    counts = {state: sum(each.state == state for each in done) for state in ("rebuilt", "refused", "waiting", "unseen")}
    changed = sum(each.state == "rebuilt" and each.before != each.after for each in done)
    refused = counts["refused"] + sum(each.verdict == "refused" for each in planned)
    parts = [f"{counts['rebuilt']} rebuilt ({changed} with a new report)"]
    parts += [f"{refused} refused, their last report stays"] if refused else []
    parts += [f"{counts['waiting']} still owed"] if counts["waiting"] else []
    parts += [f"{counts['unseen']} not rebuilt"] if counts["unseen"] else []
    return "; ".join(parts)


def document(monitor: str, planned: Sequence[Planned], done: Sequence[Done]) -> str:
    """Everything as one JSON object."""
    outcomes = {each.window: each for each in done}
    windows: list[dict[str, Any]] = []
    for each in planned:
        entry: dict[str, Any] = msgspec.to_builtins(each)
        if found := outcomes.get(each.window):
            entry["outcome"] = {name: value for name, value in msgspec.to_builtins(found).items() if name != "window"}
        windows.append(entry)
    body = msgspec.json.encode({"monitor": monitor, "windows": windows}, order="sorted")
    return msgspec.json.format(body, indent=2).decode()


def all_well(planned: Sequence[Planned], done: Sequence[Done]) -> bool:
    """Whether everything that was asked for was done: nothing refused, nothing left over."""
    return not any(each.verdict == "refused" for each in planned) and all(each.state == "rebuilt" for each in done)


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    since, until = parse_time(options.since, "--from"), parse_time(options.until, "--to")
    limit = parse_duration(options.wait, "--wait")
    services = wiring.services()
    planned = plan(services, options.monitor, since, until)
    able = [each.window for each in planned if each.verdict == "rebuild"]
    done: list[Done] = []
    last = f"{len(able)} would be rebuilt; nothing was asked for (--dry-run)"
    if not options.dry_run:
        note(plan_text(options.monitor, planned))
        if options.all_or_nothing and not all_well(planned, done):
            last = "nothing was asked for: not all can be rebuilt (--all-or-nothing)"
        else:
            before = order(services, options.monitor, able)
            note(f"{len(able)} asked for; the clock sends them within a minute. Ctrl-C ends the waiting only.")
            done = follow(services, options.monitor, before, wiring.pause, limit, note)
            last = summary(planned, done)
    text = f"{plan_text(options.monitor, planned)}\n{last}" if options.dry_run else last
    if options.json:
        text = document(options.monitor, planned, done)
    return Answer(text, 0 if all_well(planned, done) else 1)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline rebuild` and its arguments."""
    parser = add_command(
        commands,
        "rebuild",
        "derive reports of closed windows again from captures and labels",
        "Asks the deployed functions and waits for them.",
        "rebuild --monitor churn --from 2026-01-05 --to 2026-01-06 --dry-run",
        one="not all could be rebuilt, or not in time; AWS did not answer",
    )
    parser.add_argument("--monitor", required=True, metavar="NAME", help="the monitor's name")
    parser.add_argument(
        "--from",
        dest="since",
        required=True,
        metavar="T",
        help="windows that begin at or after this: 2026-01-05 or 2026-01-05T18:00Z; UTC unless it says else",
    )
    parser.add_argument("--to", dest="until", required=True, metavar="T", help="and before this")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say which windows can be rebuilt, and why others cannot"
    )
    parser.add_argument("--all-or-nothing", action="store_true", help="ask for none unless all can be rebuilt")
    parser.add_argument(
        "--wait", default="PT30M", metavar="DURATION", help="how long to wait; PT0S: not at all; default: PT30M"
    )
    parser.add_argument("--json", action="store_true", help="the answer as one JSON object")
    parser.set_defaults(run=run)
