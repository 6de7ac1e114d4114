"""The last known state of each declared alarm, and which window a trigger asked about.

Keys: MONITOR#{monitor} / ALARM#{name} -> AlarmState; MONITOR#{monitor} / TRIGGER#{window}#{name}#{at} -> Trigger.
CloudWatch sends an event per transition, in any order: the newest by its own time counts.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.facts.document import change, load_all, monitor_partition, put_if_absent
from chalicelib.ports import Ledger


class AlarmState(msgspec.Struct, frozen=True):
    name: str
    state: str  # OK | ALARM | INSUFFICIENT_DATA
    changed_at: datetime


class Trigger(msgspec.Struct, frozen=True):
    """A trigger alarm went to ALARM at `at`; the newest settled window then was `window`."""

    window: str
    alarm: str
    at: datetime


def record(ledger: Ledger, monitor: str, state: AlarmState) -> bool:
    """Keep the newest state; False for a repeat or an older event."""
    _, written = change(
        ledger,
        monitor_partition(monitor),
        f"ALARM#{state.name}",
        AlarmState,
        lambda stored: state if stored is None or stored.changed_at < state.changed_at else None,
    )
    return written


def states(ledger: Ledger, monitor: str) -> dict[str, AlarmState]:
    found = load_all(ledger, monitor_partition(monitor), AlarmState, begins_with="ALARM#")
    return {state.name: state for state in found}


def attach(ledger: Ledger, monitor: str, trigger: Trigger) -> None:
    """Tie a trigger to the window whose evidence it asks to decide on."""
    sk = f"TRIGGER#{trigger.window}#{trigger.alarm}#{trigger.at.isoformat()}"
    put_if_absent(ledger, monitor_partition(monitor), sk, trigger)


def attached(ledger: Ledger, monitor: str, window: str) -> list[Trigger]:
    return load_all(ledger, monitor_partition(monitor), Trigger, begins_with=f"TRIGGER#{window}#")
