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
from chalicelib.ports import Ledger
from chalicelib.records.window import Window

SHARDS = 8

# A message that was sent and not worked off after this long is sent again.
RESEND_AFTER = timedelta(minutes=15)

# A window that is still owed this long after its time had come: its messages are lost, or its evaluations fail.
OVERDUE_AFTER = timedelta(hours=1)


class Due(msgspec.Struct, frozen=True):
    """`marks` counts causes, so that every mark is a new generation; `not_before` debounces, `sent_until` leases.

    `anew`: the stored segment is not to be trusted, everything is derived again from what the segment was made of.
    """

    monitor: str
    window: str
    marks: int
    not_before: datetime
    sent_until: datetime | None = None
    anew: bool = False


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
) -> None:
    """Owe a window an evaluation: not before its end and grace, and not before `wait` is over, during which more is
    awaited (by default `debounce`); one owed already keeps its time.

    `anew`: a person asks for it, so nothing is awaited. Whoever marks the window meanwhile does not take that back.
    """
    awaited = debounce(window.end, now) if wait is None else wait
    not_before = max(window.end + grace, now if anew else now + awaited)

    def think(stored: Due | None) -> Due:
        if stored is None:
            return Due(monitor, window.name, 1, not_before, anew=anew)
        earliest = min(stored.not_before, not_before)
        return Due(monitor, window.name, stored.marks + 1, earliest, anew=anew or stored.anew)

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


def take_ready(ledger: Ledger, now: datetime, limit: int = 1000) -> list[Due]:
    """Windows whose time has come and that are not with a worker; each is leased to the caller, who sends it."""
    ready: list[Due] = []
    for shard in range(SHARDS):
        for item in ledger.query(f"DUE#{shard}"):
            due = decoded(item, Due)
            if due.not_before > now or (due.sent_until and due.sent_until > now) or len(ready) >= limit:
                continue
            leased = msgspec.structs.replace(due, sent_until=now + RESEND_AFTER)
            try:
                ledger.put(item.pk, item.sk, msgspec.json.encode(leased), expected=item.revision)
            except ConflictError:
                continue  # marked or taken this very moment: the next tick sees it
            ready.append(leased)
    return sorted(ready, key=lambda due: (due.window, due.monitor))


def count_overdue(ready: Sequence[Due], now: datetime) -> int:
    """How many of the windows that are sent now should have been evaluated long ago.

    Each is sent every RESEND_AFTER, so the sum over that time counts each overdue window once.
    """
    return sum(due.not_before + OVERDUE_AFTER <= now for due in ready)
