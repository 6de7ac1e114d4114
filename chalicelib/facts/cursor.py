"""The clock's position: the last closed window of a monitor that was marked due.

Keys: MONITOR#{monitor} / CURSOR -> Cursor; MONITOR#{monitor} / CURSOR#AGES -> Hour (the last hour in which windows were
looked at for labels that wait).
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.facts.document import change, load, monitor_partition
from chalicelib.ports import Ledger


class Cursor(msgspec.Struct, frozen=True):
    window: str


def read(ledger: Ledger, monitor: str) -> str | None:
    """The name of the last window marked, or None before the first."""
    stored = load(ledger, monitor_partition(monitor), "CURSOR", Cursor)
    return stored.value.window if stored else None


def advance(ledger: Ledger, monitor: str, window: str) -> None:
    """Move the cursor forward, never back."""
    change(
        ledger,
        monitor_partition(monitor),
        "CURSOR",
        Cursor,
        lambda stored: Cursor(window) if stored is None or stored.window < window else None,
    )


class Hour(msgspec.Struct, frozen=True):
    hour: datetime


def hour(ledger: Ledger, monitor: str) -> datetime | None:
    """The last hour whose age steps were worked off, or None before the first."""
    stored = load(ledger, monitor_partition(monitor), "CURSOR#AGES", Hour)
    return stored.value.hour if stored else None


def advance_hour(ledger: Ledger, monitor: str, hour: datetime) -> None:
    """Move it forward, never back."""
    change(
        ledger,
        monitor_partition(monitor),
        "CURSOR#AGES",
        Hour,
        lambda stored: Hour(hour) if stored is None or stored.hour < hour else None,
    )
