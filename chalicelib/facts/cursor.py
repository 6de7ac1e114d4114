"""The clock's position: the last closed window of a monitor that was marked due.

Key: MONITOR#{monitor} / CURSOR -> Cursor.
"""

from __future__ import annotations

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
