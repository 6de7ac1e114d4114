"""Which windows are owed an evaluation. Due is a generation, not a flag.

Keys: DUE#{shard} / {monitor}#{window} -> Due. An item exists while its window is owed. The revision of the item is
the generation: marking again changes it, and a worker that finishes deletes only the generation it has read, so
that what landed while it worked stays due. The partition is sharded so that thousands of monitors do not meet in one.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.errors import ConflictError
from chalicelib.facts.document import Stored, change, decoded, load, load_all
from chalicelib.ports import Item, Ledger
from chalicelib.records.window import Window

SHARDS = 8

# A message that was sent and not worked off after this long is sent again.
RESEND_AFTER = timedelta(minutes=15)

# Of one tick; and how many of those that are no first evaluation may be with the workers at once. What is newly closed
# waits behind no more than these: a queue has no priorities.
MOST_SENT, MOST_RESTATED = 1000, 500

# A window that is still owed this long after its time had come: its messages are lost, or its evaluations fail.
OVERDUE_AFTER = timedelta(hours=1)


class Due(msgspec.Struct, frozen=True):
    """`marks` counts causes, so that every mark is a new generation; `not_before` debounces, `sent_until` leases.

    `anew`: the stored segment is not to be trusted, everything is derived again from what the segment was made of.
    `fresh`: the window has closed and was not evaluated yet.
    """

    monitor: str
    window: str
    marks: int
    not_before: datetime
    sent_until: datetime | None = None
    anew: bool = False
    fresh: bool = False

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits for it: the first verdict of a window, or what a person asked for."""
        return self.fresh or self.anew


def _key(monitor: str, window: str) -> tuple[str, str]:
    name = f"{monitor}#{window}"
    return f"DUE#{zlib.crc32(name.encode()) % SHARDS}", name


def debounce(window_end: datetime, now: datetime) -> timedelta:
    """How long further news is awaited before a window is evaluated again: old windows are restated less often."""
    age = now - window_end
    if age < timedelta(days=1):
        return timedelta(minutes=1)
    return timedelta(minutes=15) if age < timedelta(days=7) else timedelta(hours=1)


def mark(
    ledger: Ledger,
    monitor: str,
    window: Window,
    grace: timedelta,
    now: datetime,
    *,
    wait: timedelta | None = None,
    anew: bool = False,
    fresh: bool = False,
) -> None:
    """Owe a window an evaluation: not before its end and grace, and not before `wait` is over, during which more is
    awaited (by default `debounce`); one owed already keeps its time.

    `anew`: a person asks for it, so nothing is awaited. `fresh`: the window has just closed. Whoever marks the window
    meanwhile takes neither back.
    """
    awaited = debounce(window.end, now) if wait is None else wait
    not_before = max(window.end + grace, now if anew else now + awaited)

    def think(stored: Due | None) -> Due:
        if stored is None:
            return Due(monitor, window.name, 1, not_before, anew=anew, fresh=fresh)
        earliest = min(stored.not_before, not_before)
        return Due(
            monitor, window.name, stored.marks + 1, earliest, anew=anew or stored.anew, fresh=fresh or stored.fresh
        )

    change(ledger, *_key(monitor, window.name), Due, think)


def read(ledger: Ledger, monitor: str, window: str) -> Stored[Due] | None:
    """The generation that a worker begins with; None when nothing is owed (a repeated message)."""
    return load(ledger, *_key(monitor, window), Due)


def finish(ledger: Ledger, monitor: str, window: str, generation: str) -> bool:
    """Nothing is owed any more, unless it was marked again meanwhile (False)."""
    try:
        ledger.delete(*_key(monitor, window), expected=generation)
    except ConflictError:
        return False
    return True


def owed(ledger: Ledger, monitor: str) -> list[Due]:
    """Every window of a monitor that is owed an evaluation, oldest first."""
    found = [due for shard in range(SHARDS) for due in load_all(ledger, f"DUE#{shard}", Due, begins_with=f"{monitor}#")]
    return sorted(found, key=lambda due: due.window)


def take_ready(ledger: Ledger, now: datetime) -> list[Due]:
    """Windows whose time has come and that are not with a worker; each is leased to the caller, who sends it.

    The first verdicts of windows come first, then the newest windows. Of these others only so many are with the workers
    at once, however many wait: else a window that closes now would be behind all of them in the queue.
    """
    ready: list[tuple[Item, Due]] = []
    restated = 0
    for shard in range(SHARDS):
        for item in ledger.query(f"DUE#{shard}"):
            due = decoded(item, Due)
            if due.sent_until and due.sent_until > now:
                restated += not due.is_urgent
            elif due.not_before <= now:
                ready.append((item, due))
    ready.sort(key=lambda each: (each[1].is_urgent, each[1].window), reverse=True)
    taken: list[Due] = []
    for item, due in ready:
        if len(taken) >= MOST_SENT or (restated >= MOST_RESTATED and not due.is_urgent):
            break
        leased = msgspec.structs.replace(due, sent_until=now + RESEND_AFTER)
        try:
            ledger.put(item.pk, item.sk, msgspec.json.encode(leased), expected=item.revision)
        except ConflictError:
            continue  # marked or taken this very moment: the next tick sees it
        taken.append(leased)
        restated += not due.is_urgent
    return sorted(taken, key=lambda due: (not due.is_urgent, due.window, due.monitor))


def count_overdue(ready: Sequence[Due], now: datetime) -> int:
    """How many of the windows that are sent now should have been evaluated long ago.

    Each is sent every RESEND_AFTER, so the sum over that time counts each overdue window once.
    """
    return sum(due.not_before + OVERDUE_AFTER <= now for due in ready)
