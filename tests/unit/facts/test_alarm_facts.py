"""Alarm states: CloudWatch's events come in any order, the newest by its own time counts."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.facts.alarms import AlarmState, Trigger, answered, ask, asking, record, states
from tests.unit.facts.racing import NOW, RacingLedger, memory_ledger


def state(minute: int, word: str = "ALARM", name: str = "accuracy-low") -> AlarmState:
    return AlarmState(name, word, NOW + timedelta(minutes=minute))


def test_newer_events_count_and_late_ones_do_not():
    ledger = memory_ledger()
    assert record(ledger, "churn", state(5))
    assert record(ledger, "churn", state(5)), "a repeat of the newest is worked off again"
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
    newest = [minute for minute in minutes if record(ledger, "churn", state(minute, f"S{minute}"))]
    assert states(ledger, "churn")["accuracy-low"] == state(max(minutes), f"S{max(minutes)}")
    assert newest == sorted(newest) and newest[-1] == max(minutes)


LATER = NOW + timedelta(hours=1)


def test_a_trigger_asks_once_until_a_window_answers():
    ledger = memory_ledger()
    for alarm, at in (("low", LATER), ("low", NOW), ("low", NOW), ("slow", NOW)):
        ask(ledger, "churn", alarm, at)
    waiting = [Trigger("low", NOW), Trigger("slow", NOW), Trigger("low", LATER)]
    assert asking(ledger, "churn", "w2", newest=True) == waiting
    assert asking(ledger, "churn", "w1", newest=False) == [], "an older window answers nobody"
    answered(ledger, "churn", waiting[:2], "w2")
    assert asking(ledger, "churn", "w3", newest=True) == waiting[2:]
    assert asking(ledger, "fraud", "w3", newest=True) == []
    assert states(ledger, "churn") == {}


def test_a_window_decided_again_has_its_own_triggers():
    ledger = memory_ledger()
    ask(ledger, "churn", "low", NOW)
    answered(ledger, "churn", asking(ledger, "churn", "w2", newest=True), "w2")
    ask(ledger, "churn", "low", NOW)
    own = [Trigger("low", NOW, "w2")]
    assert asking(ledger, "churn", "w2", newest=False) == asking(ledger, "churn", "w2", newest=True) == own


def test_the_first_window_to_answer_keeps_the_trigger():
    ledger = RacingLedger(lambda table: None, lambda table: answered(table, "churn", [Trigger("low", NOW)], "w2"))
    ask(ledger, "churn", "low", NOW)
    waiting = asking(ledger, "churn", "w1", newest=True)
    answered(ledger, "churn", waiting, "w1")
    answered(ledger, "churn", waiting, "w3")
    assert asking(ledger, "churn", "w2", newest=False) == [Trigger("low", NOW, "w2")]
    assert asking(ledger, "churn", "w1", newest=True) == []


def test_answering_what_was_never_asked_writes_nothing():
    ledger = memory_ledger()
    answered(ledger, "churn", [Trigger("low", NOW)], "w1")
    assert not ledger.items
