"""A window's answers to the questions of one baseline: what evidence adds up over windows.

Keys: MONITOR#{monitor} / QUESTIONS#{baseline}#{window} -> Counted; MONITOR#{monitor} / ASSESSED#{window} -> Assessed.
Whole numbers that name no value of the data. Not here: what they mean (`evidence`).
"""

from __future__ import annotations

import msgspec

from chalicelib.evidence.assessment import Assessment
from chalicelib.facts.document import change, load, load_all, monitor_partition
from chalicelib.ports import Ledger

# An item of the table holds 400 KB, of which Base64 takes a third: a larger one is not kept, and its window is judged
# alone. That is a definition of some 4,000 columns.
MOST_BYTES = 260_000


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """`place`: the window's number since the epoch. `counts`: `QuestionCounts` as bytes. `settled`: its labels are
    complete enough to ask for the loss; `awaited`: labels that are still expected. `answered`, `labelled`: rows;
    `sealed`: no label is read any more. `broken`: it is no baseline for others."""

    window: str
    place: int
    counts: bytes
    settled: bool = False
    awaited: int = 0
    answered: int = 0
    labelled: int = 0
    sealed: bool = False
    broken: bool = False


class Assessed(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence about a window came to, when it was last looked at."""

    window: str
    found: Assessment


def save_counted(ledger: Ledger, monitor: str, baseline: str, counted: Counted) -> None:
    """Keep a window's counts; the last one stored counts. Those that are too large for an item are not kept."""
    if len(counted.counts) > MOST_BYTES:
        return
    change(
        ledger,
        monitor_partition(monitor),
        _key(baseline, counted.window),
        Counted,
        lambda stored: None if stored == counted else counted,
    )


def counted_between(ledger: Ledger, monitor: str, baseline: str, since: str, until: str) -> list[Counted]:
    """The windows with since <= window < until that were asked this baseline's questions, oldest first."""
    return load_all(
        ledger,
        monitor_partition(monitor),
        Counted,
        begins_with=_key(baseline, ""),
        since=_key(baseline, since),
        until=_key(baseline, until),
    )


def first_counted(ledger: Ledger, monitor: str, baseline: str, most: int) -> list[Counted]:
    """The first windows that were asked this baseline's questions, oldest first."""
    return load_all(ledger, monitor_partition(monitor), Counted, begins_with=_key(baseline, ""), limit=most)


def save_assessed(ledger: Ledger, monitor: str, assessed: Assessed) -> None:
    change(
        ledger,
        monitor_partition(monitor),
        f"ASSESSED#{assessed.window}",
        Assessed,
        lambda stored: None if stored == assessed else assessed,
    )


def load_assessed(ledger: Ledger, monitor: str, window: str) -> Assessment | None:
    stored = load(ledger, monitor_partition(monitor), f"ASSESSED#{window}", Assessed)
    return stored.value.found if stored else None


def assessed(ledger: Ledger, monitor: str, since: str) -> list[Assessed]:
    """What evidence came to in windows from `since` on, oldest first."""
    return load_all(
        ledger,
        monitor_partition(monitor),
        Assessed,
        begins_with="ASSESSED#",
        since=f"ASSESSED#{since}",
        until="ASSESSED#~",
    )


def _key(baseline: str, window: str) -> str:
    return f"QUESTIONS#{baseline}#{window}"
