"""Alarm states: CloudWatch's events come in any order, the newest by its own time counts."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.facts.alarms import AlarmState, Trigger, attach, attached, record, states
from tests.unit.facts.racing import NOW, RacingLedger, memory_ledger


def state(minute: int, word: str = "ALARM", name: str = "accuracy-low") -> AlarmState:
    return AlarmState(name, word, NOW + timedelta(minutes=minute))


def test_newer_events_count_and_late_ones_do_not():
    ledger = memory_ledger()
    assert record(ledger, "churn", state(5))
    assert not record(ledger, "churn", state(5)), "a repeat"
    assert not record(ledger, "churn", state(4, "OK")), "a late one"
    assert states(ledger, "churn") == {"accuracy-low": state(5)}
    assert record(ledger, "churn", state(6, "OK"))
    assert states(ledger, "churn") == {"accuracy-low": state(6, "OK")}


def test_alarms_and_monitors_are_kept_apart():
    ledger = memory_ledger()
    record(ledger, "churn", state(1))
    record(ledger, "churn", state(2, "OK", "latency"))
    record(ledger, "fraud", state(3, "OK"))
    assert states(ledger, "churn") == {"accuracy-low": state(1), "latency": state(2, "OK", "latency")}
    assert states(ledger, "fraud") == {"accuracy-low": state(3, "OK")}
    assert states(ledger, "none") == {}


def test_an_older_event_that_loses_the_race_stays_out():
    ledger = RacingLedger(lambda table: record(table, "churn", state(9, "OK")))
    assert not record(ledger, "churn", state(5))
    assert states(ledger, "churn") == {"accuracy-low": state(9, "OK")}


@given(st.lists(st.integers(0, 20), min_size=1, max_size=15))
def test_in_any_order_the_newest_stays(minutes: list[int]):
    ledger = memory_ledger()
    written = [minute for minute in minutes if record(ledger, "churn", state(minute, f"S{minute}"))]
    assert states(ledger, "churn")["accuracy-low"] == state(max(minutes), f"S{max(minutes)}")
    assert written == sorted(set(written))


def test_a_trigger_is_tied_to_its_window_once():
    ledger = memory_ledger()
    first, second = Trigger("w1", "accuracy-low", NOW), Trigger("w1", "accuracy-low", NOW + timedelta(hours=1))
    for trigger in (first, first, second, Trigger("w10", "accuracy-low", NOW)):
        attach(ledger, "churn", trigger)
    assert attached(ledger, "churn", "w1") == [first, second]
    assert attached(ledger, "churn", "w2") == attached(ledger, "fraud", "w1") == []
    assert states(ledger, "churn") == {}
