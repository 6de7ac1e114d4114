"""A CloudWatch alarm changed: keep its state; a trigger or the end of a veto asks for a decision.

The definition declares each alarm's role. Not here: the decision itself, which is made as for every window.
"""

from __future__ import annotations

from datetime import timedelta

from chalicelib.events import alarm_changed
from chalicelib.facts import alarms, due, evaluations
from chalicelib.records.window import Window
from chalicelib.wiring import Services


def handle(body: str, services: Services) -> None:
    """Record the newest state; a trigger in ALARM and any change of a veto make the newest settled window due again.

    A trigger that fires before any window has settled is answered by the first that does. It counts even when its event
    arrives after that of its end: the order of delivery means nothing.
    """
    event = alarm_changed(body)
    for definition in services.definitions.find("alarm", event.name):
        state = alarms.AlarmState(event.name, event.state, event.changed_at)
        is_newest = alarms.record(services.ledger, definition.name, state)
        role = next(alarm.role for alarm in definition.alarms if alarm.name == event.name)
        if role == "trigger" and event.state == "ALARM":
            alarms.ask(services.ledger, definition.name, event.name, event.changed_at)
        elif role != "veto" or not is_newest:
            continue
        window = evaluations.newest_settled(services.ledger, definition.name)
        if not window:
            continue
        due.mark(
            services.ledger,
            definition.name,
            Window.parse(window, definition.window_length),
            definition.grace,
            services.now(),
            wait=timedelta(0),
        )
