"""The newest state of each declared alarm, and the triggers that wait for a decision.

Keys: MONITOR#{monitor} / ALARM#{name} -> AlarmState; MONITOR#{monitor} / TRIGGER#{at}#{name} -> Trigger.
CloudWatch sends an event per transition, in any order: the newest by its own timestamp counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from chalicelib.facts.document import change, load_all, monitor_partition, put_if_absent
from chalicelib.ports import Ledger


class AlarmState(msgspec.Struct, frozen=True):
    name: str
    state: str  # OK | ALARM | INSUFFICIENT_DATA
    changed_at: datetime


class Trigger(msgspec.Struct, frozen=True):
    """A trigger alarm went to ALARM at `at`; `answered`: the window that was decided with it ("": none yet)."""

    alarm: str
    at: datetime
    answered: str = ""


def record(ledger: Ledger, monitor: str, state: AlarmState) -> bool:
    """Keep the newest state; False for an older event.

    True for a repeat of the newest: it is processed again, because a crash may have interrupted the first time.
    """
    newest, _ = change(
        ledger,
        monitor_partition(monitor),
        f"ALARM#{state.name}",
        AlarmState,
        lambda stored: state if stored is None or stored.changed_at < state.changed_at else None,
    )
    return newest == state


def states(ledger: Ledger, monitor: str) -> dict[str, AlarmState]:
    found = load_all(ledger, monitor_partition(monitor), AlarmState, begins_with="ALARM#")
    return {state.name: state for state in found}


def ask(ledger: Ledger, monitor: str, alarm: str, at: datetime) -> None:
    """Record that a trigger asks for a decision; the same transition asks once."""
    put_if_absent(ledger, monitor_partition(monitor), _sort_key(alarm, at), Trigger(alarm, at))


def asking(ledger: Ledger, monitor: str, window: str, newest: bool) -> list[Trigger]:
    """The triggers that a window is decided with: its own, and for the newest window the unanswered ones."""
    found = load_all(ledger, monitor_partition(monitor), Trigger, begins_with="TRIGGER#")
    return [trigger for trigger in found if trigger.answered == window or (newest and not trigger.answered)]


def answered(ledger: Ledger, monitor: str, triggers: Iterable[Trigger], window: str) -> bool:
    """Record that a window was decided with these triggers, so that no other one is. False when another one was."""
    return all([_answer(ledger, monitor, trigger, "", window) for trigger in triggers])


def ask_again(ledger: Ledger, monitor: str, triggers: Iterable[Trigger]) -> None:
    """Withdraw the answers of these triggers, unless another window has answered meanwhile."""
    for trigger in triggers:
        _answer(ledger, monitor, trigger, trigger.answered, "")


def _answer(ledger: Ledger, monitor: str, trigger: Trigger, was: str, to: str) -> bool:
    """Replace the answer `was` of a trigger; returns whether the answer is `to` now."""

    def think(stored: Trigger | None) -> Trigger | None:
        return msgspec.structs.replace(stored, answered=to) if stored and stored.answered == was else None

    stored, _ = change(ledger, monitor_partition(monitor), _sort_key(trigger.alarm, trigger.at), Trigger, think)
    return stored is not None and stored.answered == to


def _sort_key(alarm: str, at: datetime) -> str:
    return f"TRIGGER#{at.isoformat()}#{alarm}"
