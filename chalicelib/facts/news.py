"""How many labels of a window wait to be reported, and whether they are news enough to restate it now.

Key: MONITOR#{monitor} / NEWS#{window} -> News. A window is restated at once for its first labels, for labels that may
settle it, and for labels by which its labelled rows may have grown by a quarter (and a twentieth of all rows). What is
less waits for the next age step (`STEPS`), where the clock asks. Labels that brought nothing, as those that come again,
double what is asked of the next ones: the number of restatements is bounded, whatever the number of posts.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from chalicelib.facts.document import change, load, monitor_partition
from chalicelib.ports import Ledger

# Ages since a window's end at which what waits is reported; then after 2, 3, 4, 6, 8, 11 … days, a third more each
# time: what comes late in a long horizon changes little, and each look costs.
STEPS = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1))
# Labels are awaited so long for others that come with them.
WAIT = timedelta(minutes=1)
_MOST_IDLE = 30


class News(msgspec.Struct, frozen=True):
    """`pending` labels were heard of since the window was last evaluated, which had `rows` answered rows of `requests`,
    `labelled` of them; it settles at `needed`. `idle`: how often in a row labels brought nothing much."""

    window: str
    pending: int = 0
    evaluated: bool = False
    requests: int = 0
    rows: int = 0
    labelled: int = 0
    needed: int = 0
    idle: int = 0

    @property
    def is_enough(self) -> bool:
        """Whether what waits is worth a restatement now."""
        pending = self.pending >> self.idle
        if not self.evaluated or not pending:
            return not self.evaluated
        rows = pending * max(self.rows, 1) / max(self.requests, 1)
        gained = min(rows, self.rows - self.labelled)
        if not self.labelled or self.labelled < self.needed <= self.labelled + rows:
            return True
        return gained >= max(self.labelled / 4, self.rows / 20, 1)


def heard(ledger: Ledger, monitor: str, window: str, labels: int) -> bool:
    """Note labels for a window; whether it is to be restated now."""

    def think(stored: News | None) -> News:
        known = stored or News(window)
        return msgspec.structs.replace(known, pending=known.pending + labels)

    now, _ = change(ledger, monitor_partition(monitor), f"NEWS#{window}", News, think)
    return now is None or now.is_enough


def pending(ledger: Ledger, monitor: str, window: str) -> int:
    """How many labels were heard of that no evaluation has read."""
    stored = load(ledger, monitor_partition(monitor), f"NEWS#{window}", News)
    return stored.value.pending if stored else 0


def reported(
    ledger: Ledger, monitor: str, window: str, taken: int, requests: int, rows: int, labelled: int, needed: int
) -> None:
    """A window was evaluated with `taken` of the labels that waited; what came meanwhile goes on waiting."""

    def think(stored: News | None) -> News:
        before = stored or News(window)
        brought = labelled - before.labelled
        hoped = min(taken * max(rows, 1) / max(requests, 1), rows - before.labelled)
        idle = 0
        if taken and before.evaluated:
            idle = min(before.idle + 1, _MOST_IDLE) if 2 * brought < max(hoped, 1) else 0
        elif not taken:
            idle = before.idle
        left = max(before.pending - taken, 0)
        return News(window, left, True, requests, rows, labelled, needed, idle)

    change(ledger, monitor_partition(monitor), f"NEWS#{window}", News, think)


def steps(horizon: timedelta) -> list[timedelta]:
    """The ages at which windows are looked at: whole hours, the last one when they are sealed."""
    seal = -(-horizon // timedelta(hours=1)) * timedelta(hours=1)
    days = [2]
    while timedelta(days=days[-1]) < seal:
        days.append(-(-4 * days[-1] // 3))
    return [step for step in (*STEPS, *(timedelta(days=day) for day in days)) if step < seal] + [seal]


def seen_until(age: timedelta, horizon: timedelta) -> timedelta:
    """Up to which age a window of this age has reported all labels that had come: the last step that is worked off."""
    return max((step for step in steps(horizon) if step <= age - 2 * WAIT), default=timedelta(0))
