"""Pauses: a person holds a monitor's effects for a while; facts go on.

Key: MONITOR#{monitor} / PAUSE -> Pause, the last pause. Not here: which effects are held; each handler checks before it
starts one.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.facts.document import change, load, monitor_partition
from chalicelib.ports import Ledger
from chalicelib.records.times import iso


class Pause(msgspec.Struct, frozen=True):
    """In force from `since` until `until`; None: until it is resumed."""

    since: datetime
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    @property
    def words(self) -> str:
        """ "paused since 2026-01-05T12:00:00Z, until 2026-01-05T18:00:00Z"."""
        end = f"until {iso(self.until)}" if self.until else "until resumed"
        return f"paused since {iso(self.since)}, {end}"


def begin(ledger: Ledger, monitor: str, now: datetime, until: datetime | None) -> Pause:
    """Pause a monitor; one that is paused keeps its `since` and gets the new end."""

    def think(stored: Pause | None) -> Pause:
        return Pause(stored.since if stored and stored.holds(now) else now, until)

    pause, _ = change(ledger, monitor_partition(monitor), "PAUSE", Pause, think)
    assert pause is not None  # `think` always has an answer
    return pause


def end(ledger: Ledger, monitor: str, now: datetime) -> bool:
    """End the pause in force now; False when there is none."""

    def think(stored: Pause | None) -> Pause | None:
        return Pause(stored.since, now) if stored and stored.holds(now) else None

    _, ended = change(ledger, monitor_partition(monitor), "PAUSE", Pause, think)
    return ended


def in_force(ledger: Ledger, monitor: str, now: datetime) -> Pause | None:
    """The pause that holds at this moment, or None."""
    stored = load(ledger, monitor_partition(monitor), "PAUSE", Pause)
    return stored.value if stored and stored.value.holds(now) else None
