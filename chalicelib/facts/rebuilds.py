"""What became of the last order to derive a window anew.

Key: MONITOR#{monitor} / REBUILD#{window} -> Rebuild. The order itself is the mark of the due window (facts/due.py);
whoever works it off writes here, so that the one who asked can tell "done" from "refused" and from "not seen".
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from chalicelib.facts.document import Stored, change, load, monitor_partition
from chalicelib.ports import Ledger

# A window may have thousands of files; the rest is counted.
LOST_NAMED = 20


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """`before` and `after`: digest of the evaluation ("" where there was none); equal when nothing has changed.

    REFUSED: `lost` inputs were not there any more, the first of them by name and all counted in `lost_count`, or
    `reason` says what else; nothing was touched.
    """

    window: str
    outcome: Literal["REBUILT", "REFUSED"]
    at: datetime
    before: str = ""
    after: str = ""
    reason: str = ""
    lost: tuple[str, ...] = ()
    lost_count: int = 0


def read(ledger: Ledger, monitor: str, window: str) -> Stored[Rebuild] | None:
    """The outcome of the last order for a window, None when there never was one."""
    return load(ledger, *_key(monitor, window), Rebuild)


def note(ledger: Ledger, monitor: str, rebuild: Rebuild) -> None:
    """Write an outcome down; the newest counts."""
    change(ledger, *_key(monitor, rebuild.window), Rebuild, lambda _: rebuild)


def _key(monitor: str, window: str) -> tuple[str, str]:
    return monitor_partition(monitor), f"REBUILD#{window}"
