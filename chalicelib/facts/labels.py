"""Which label objects touch which windows, and which labels have found no capture yet.

Keys: LABELS#{monitor}#{window} / {bucket}/{key}#{etag} -> Source (this object has labels for this window);
UNMATCHED#{monitor} / {arrival}#{bucket}/{key}#{etag} -> Source (some of its ids were unknown when it landed);
AWAITING#{monitor} / {bucket}/{key}#{etag} -> Awaiting (ids of it wait for the next batch that is looked up);
MONITOR#{monitor} / LABEL_BATCH -> Batch (a batch is being looked up);
MONITOR#{monitor} / LABEL_CONTAINERS -> Compaction (up to where small objects were copied into containers);
LATE#{monitor}#{window} / {bucket}/{key}#{etag} -> Late (so many of its labels came after the window was sealed);
LANDED#{bucket}/{folder} / {name}#{etag} -> Landed (worked off);
WITHDRAWN#{monitor} / {bucket}/{key} -> Withdrawn (no label of this object counts, whatever is in it).

Ids that no time leads to their windows are looked up many at once: whatever the number of objects, once per batch.
A label and its capture may arrive in either order and at the same moment. The one that lands writes UNMATCHED
*before* it looks for windows; the one that evaluates writes the window's ids *before* it looks for UNMATCHED.
So at least one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec

from chalicelib.errors import ConflictError
from chalicelib.facts.document import (
    ATTEMPTS,
    Stored,
    change,
    decoded,
    load,
    load_all,
    monitor_partition,
    put_if_absent,
)
from chalicelib.ports import Ledger


class Source(msgspec.Struct, frozen=True):
    """A ground-truth object as it was when it landed; `arrived` is the hour of its arrival (ISO).

    Written again under its key it is another source: what it says now must be read, too.
    """

    bucket: str
    key: str
    etag: str
    arrived: str

    @property
    def sort_key(self) -> str:
        return f"{self.bucket}/{self.key}#{self.etag}"


class Awaiting(msgspec.Struct, frozen=True):
    """Ids of an object that wait to be looked up: their hashes (little-endian uint64), beside each the seconds since
    1970 that the id itself tells (0: none), and how many labels of the object it has (`labels`; not told: one).
    `all`: too many to be kept here, the object is to be read again. `landed_at`: when the object arrived, which says
    whether their windows were open."""

    source: Source
    landed_at: datetime
    hashes: bytes = b""
    times: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    all: bool = False

    @property
    def ids(self) -> dict[bytes, tuple[int, int]]:
        """Hash -> (seconds, labels)."""
        hashes = [self.hashes[at : at + 8] for at in range(0, len(self.hashes), 8)]
        counts = self.labels or (1,) * len(hashes)
        return dict(zip(hashes, zip(self.times, counts, strict=True), strict=True))


def awaiting_ids(source: Source, landed_at: datetime, ids: Mapping[bytes, tuple[int, int]]) -> Awaiting:
    """How ids wait, given as hash -> (seconds, labels)."""
    if len(ids) > MOST_AWAITING:
        return Awaiting(source, landed_at, all=True)
    ordered = sorted(ids)
    times, counts = (tuple(ids[each][part] for each in ordered) for part in (0, 1))
    return Awaiting(source, landed_at, b"".join(ordered), times, counts)


# More ids than these of one object are not kept in the table.
MOST_AWAITING = 512


class Batch(msgspec.Struct, frozen=True):
    """Until when nobody else begins one, unless the one at work ends before."""

    leased_until: datetime | None = None


# Objects of one batch; what is more waits for the next.
MOST_AT_ONCE = 4000

# A batch of labels is looked up at most this often while one is at work.
BATCH = timedelta(minutes=5)


class Compaction(msgspec.Struct, frozen=True):
    """Where small label objects are to be copied into containers from: everything that arrived before `hour` (ISO) was
    looked at, and of that hour the keys up to `after`. Until `leased_until` somebody is at it."""

    hour: str
    after: str = ""
    leased_until: datetime | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.hour, self.after


# Who copies has so long, then the clock asks again.
COMPACTION = timedelta(minutes=15)


class Late(msgspec.Struct, frozen=True):
    """Labels that came after their window was sealed: `labels` of the object; `landed_at` when that was seen."""

    source: Source
    labels: int
    landed_at: datetime


# Labels that came too late are listed so long.
LATE_KEPT = timedelta(days=400)


class Landed(msgspec.Struct, frozen=True):
    key: str
    etag: str


class Withdrawn(msgspec.Struct, frozen=True):
    """An object whose labels were taken out."""

    bucket: str
    key: str
    at: datetime


def _sources(monitor: str, window: str) -> str:
    return f"LABELS#{monitor}#{window}"


def add_source(ledger: Ledger, monitor: str, window: str, source: Source, expires_at: datetime) -> None:
    put_if_absent(ledger, _sources(monitor, window), source.sort_key, source, expires_at)


def sources(ledger: Ledger, monitor: str, window: str) -> list[Source]:
    """The label objects known to touch a window, in key order."""
    return load_all(ledger, _sources(monitor, window), Source)


def add_unmatched(ledger: Ledger, monitor: str, source: Source, expires_at: datetime) -> None:
    """Some ids of an object are unknown. Written anew each time: whoever looked before cannot take it away.

    Raises ConflictError when others write it again and again.
    """
    pk, sk = f"UNMATCHED#{monitor}", _unmatched_key(source)
    for attempt in range(ATTEMPTS):
        item = ledger.get(pk, sk)
        try:
            ledger.put(
                pk, sk, msgspec.json.encode(source), expected=item.revision if item else None, expires_at=expires_at
            )
            return
        except ConflictError:
            if attempt == ATTEMPTS - 1:
                raise


def _unmatched_key(source: Source) -> str:
    return f"{source.arrived}#{source.sort_key}"


def unmatched_revisions(ledger: Ledger, monitor: str, sources: Sequence[Source]) -> dict[str, str]:
    """The revision under which each of these objects is known to have unknown ids, by its sort key."""
    since = min((source.arrived for source in sources), default="~")
    there = {item.sk: item.revision for item in ledger.query(f"UNMATCHED#{monitor}", since=since)}
    return {each.sort_key: there[_unmatched_key(each)] for each in sources if _unmatched_key(each) in there}


def remove_unmatched(ledger: Ledger, monitor: str, source: Source, revision: str | None) -> None:
    """Every id of the object has found its window, unless more have become unknown since this revision."""
    if revision:
        # Lost races are harmless: it is gone, or it was written anew by somebody who will look again.
        with suppress(ConflictError):
            ledger.delete(f"UNMATCHED#{monitor}", _unmatched_key(source), expected=revision)


def unmatched(ledger: Ledger, monitor: str, since: str) -> list[Source]:
    """Label objects with unknown ids that arrived at or after a time (ISO)."""
    return load_all(ledger, f"UNMATCHED#{monitor}", Source, since=since)


def add_awaiting(ledger: Ledger, monitor: str, awaiting: Awaiting, expires_at: datetime) -> None:
    """Let ids of an object wait for the next batch, beside those of it that wait already."""

    def think(stored: Awaiting | None) -> Awaiting:
        if stored is None:
            return awaiting
        if stored.all or awaiting.all:
            return Awaiting(awaiting.source, stored.landed_at, all=True)
        known = stored.ids
        for each, (seconds, count) in awaiting.ids.items():  # of the same object: told again, or more of it
            known[each] = seconds, max(count, known.get(each, (0, 0))[1])
        return awaiting_ids(awaiting.source, stored.landed_at, known)

    change(ledger, f"AWAITING#{monitor}", awaiting.source.sort_key, Awaiting, think, expires_at)


def awaiting(ledger: Ledger, monitor: str, limit: int | None = None) -> list[Stored[Awaiting]]:
    """What waits to be looked up, each with its revision."""
    items = ledger.query(f"AWAITING#{monitor}", limit=limit)
    return [Stored(decoded(item, Awaiting), item.revision) for item in items]


def looked_up(ledger: Ledger, monitor: str, done: Stored[Awaiting]) -> None:
    """What waited has been looked up; what has been added to it meanwhile goes on waiting."""
    with suppress(ConflictError):
        ledger.delete(f"AWAITING#{monitor}", done.value.source.sort_key, expected=done.revision)


def begin_batch(ledger: Ledger, monitor: str, now: datetime) -> bool:
    """Whether the caller may have a batch looked up; then nobody else may until it ends, or for `BATCH`."""

    def think(stored: Batch | None) -> Batch | None:
        if stored and stored.leased_until and stored.leased_until > now:
            return None
        return Batch(now + BATCH)

    return change(ledger, monitor_partition(monitor), "LABEL_BATCH", Batch, think)[1]


def end_batch(ledger: Ledger, monitor: str) -> None:
    """The next batch may begin."""
    change(ledger, monitor_partition(monitor), "LABEL_BATCH", Batch, lambda stored: Batch() if stored else None)


def compaction(ledger: Ledger, monitor: str) -> Compaction | None:
    stored = load(ledger, monitor_partition(monitor), "LABEL_CONTAINERS", Compaction)
    return stored.value if stored else None


def begin_compaction(ledger: Ledger, monitor: str, first: str, last: str, now: datetime) -> bool:
    """Whether the caller may have small objects copied: there are hours up to `last` that were not looked at, and
    nobody is at it. What arrived before the hour `first` is left out (hours are ISO)."""

    def think(stored: Compaction | None) -> Compaction | None:
        begins = max(stored or Compaction(first), Compaction(first), key=lambda each: each.place)
        leased = begins.leased_until and begins.leased_until > now
        if leased or begins.hour > last:
            return None
        return Compaction(begins.hour, begins.after, now + COMPACTION)

    return change(ledger, monitor_partition(monitor), "LABEL_CONTAINERS", Compaction, think)[1]


def compacted(ledger: Ledger, monitor: str, hour: str, after: str = "") -> Compaction | None:
    """Note up to where small objects have been looked at; it never moves back. Returns up to where they have."""

    def think(stored: Compaction | None) -> Compaction | None:
        if stored is None or stored.place >= (hour, after):
            return None
        return Compaction(hour, after, stored.leased_until)

    return change(ledger, monitor_partition(monitor), "LABEL_CONTAINERS", Compaction, think)[0]


def end_compaction(ledger: Ledger, monitor: str) -> None:
    """What is left may be begun."""

    def think(stored: Compaction | None) -> Compaction | None:
        return msgspec.structs.replace(stored, leased_until=None) if stored else None

    change(ledger, monitor_partition(monitor), "LABEL_CONTAINERS", Compaction, think)


def add_late(ledger: Ledger, monitor: str, window: str, source: Source, count: int, now: datetime) -> None:
    """List `count` labels of an object that came after the window was sealed."""
    late = Late(source, count, now)
    put_if_absent(ledger, f"LATE#{monitor}#{window}", source.sort_key, late, now + LATE_KEPT)


def late(ledger: Ledger, monitor: str, window: str) -> list[Late]:
    """The label objects that came after a window was sealed, in key order."""
    return load_all(ledger, f"LATE#{monitor}#{window}", Late)


def mark_landed(ledger: Ledger, bucket: str, key: str, etag: str, expires_at: datetime) -> None:
    folder, _, name = key.rpartition("/")
    put_if_absent(ledger, f"LANDED#{bucket}/{folder}", f"{name}#{etag}", Landed(key, etag), expires_at)


def landed(ledger: Ledger, bucket: str, folder: str) -> set[tuple[str, str]]:
    """(key, ETag) of the objects of a folder that were worked off."""
    return {(done.key, done.etag) for done in load_all(ledger, f"LANDED#{bucket}/{folder}", Landed)}


def withdraw(ledger: Ledger, monitor: str, bucket: str, key: str, now: datetime) -> None:
    """The labels of this object no longer count for the monitor."""
    put_if_absent(ledger, f"WITHDRAWN#{monitor}", f"{bucket}/{key}", Withdrawn(bucket, key, now))


def withdrawn(ledger: Ledger, monitor: str) -> frozenset[tuple[str, str]]:
    """The (bucket, key) of the objects whose labels do not count for a monitor."""
    return frozenset((each.bucket, each.key) for each in load_all(ledger, f"WITHDRAWN#{monitor}", Withdrawn))
