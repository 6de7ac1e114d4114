"""The outcome of the last rebuild of a window.

Key: MONITOR#{monitor} / REBUILD#{window} -> Rebuild. The order itself is the mark of the due window (facts/due.py);
`window_due` writes the outcome here, so that `plumbline rebuild` can distinguish done, refused and not seen.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from chalicelib.facts.document import Stored, change, load, monitor_partition
from chalicelib.ports import Ledger

# A window may have thousands of files; those beyond this number are only counted.
LOST_NAMED = 20


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """`before` and `after`: digest of the evaluation ("" where there was none); equal when nothing has changed.

    REFUSED: inputs are gone (`lost`: the first of them, `lost_count`: all), or `reason` says why; nothing was changed.
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
    """The outcome of the last rebuild of a window, None when there was none."""
    return load(ledger, *_key(monitor, window), Rebuild)


def note(ledger: Ledger, monitor: str, rebuild: Rebuild) -> None:
    """Write an outcome; the newest counts."""
    change(ledger, *_key(monitor, rebuild.window), Rebuild, lambda _: rebuild)


def _key(monitor: str, window: str) -> tuple[str, str]:
    return monitor_partition(monitor), f"REBUILD#{window}"
