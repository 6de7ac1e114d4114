"""Due is a generation: what lands while a window is worked on stays due; nothing is lost and nothing sent twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.facts import cursor, due
from chalicelib.records.window import Window
from emulator.memory import MemoryLedger
from tests.unit.facts.racing import NOW, RacingLedger, memory_ledger

HOUR = timedelta(hours=1)
GRACE = timedelta(minutes=5)
CLOSED = Window.of(NOW - 2 * HOUR, HOUR)
LATER = NOW + timedelta(minutes=2)


def mark(ledger: MemoryLedger, monitor: str = "churn", window: Window = CLOSED) -> None:
    due.mark(ledger, monitor, window, GRACE, NOW)


def generation(ledger: MemoryLedger) -> str:
    owed = due.read(ledger, "churn", CLOSED.name)
    assert owed is not None
    return owed.revision


def test_what_is_finished_is_owed_no_more():
    ledger = memory_ledger()
    assert due.read(ledger, "churn", CLOSED.name) is None
    mark(ledger)
    assert due.finish(ledger, "churn", CLOSED.name, generation(ledger))
    assert due.read(ledger, "churn", CLOSED.name) is None
    assert due.take_ready(ledger, LATER) == []


def test_marked_again_while_worked_on_it_stays_due():
    ledger = memory_ledger()
    mark(ledger)
    working_on = generation(ledger)
    mark(ledger)
    assert not due.finish(ledger, "churn", CLOSED.name, working_on)
    owed = due.read(ledger, "churn", CLOSED.name)
    assert owed is not None and owed.value.marks == 2
    assert due.finish(ledger, "churn", CLOSED.name, owed.revision)


def test_an_older_generation_finishes_nothing():
    ledger = memory_ledger()
    mark(ledger)
    old = generation(ledger)
    assert due.finish(ledger, "churn", CLOSED.name, old)
    assert not due.finish(ledger, "churn", CLOSED.name, old)
    mark(ledger)
    assert not due.finish(ledger, "churn", CLOSED.name, old)
    assert due.read(ledger, "churn", CLOSED.name) is not None


def test_a_mark_between_the_read_and_the_finish_wins():
    ledger = RacingLedger(lambda table: None, lambda table: mark(table))
    mark(ledger)
    assert not due.finish(ledger, "churn", CLOSED.name, generation(ledger))
    assert due.read(ledger, "churn", CLOSED.name) is not None


def test_taking_leases_until_the_message_is_taken_for_lost():
    ledger = memory_ledger()
    mark(ledger)
    [taken] = due.take_ready(ledger, LATER)
    assert (taken.monitor, taken.window, taken.sent_until) == ("churn", CLOSED.name, LATER + due.RESEND_AFTER)
    almost = LATER + due.RESEND_AFTER - timedelta(seconds=1)
    assert due.take_ready(ledger, LATER) == due.take_ready(ledger, almost) == []
    [again] = due.take_ready(ledger, LATER + due.RESEND_AFTER)
    assert again.window == CLOSED.name


def test_a_mark_ends_the_lease_for_the_news_must_be_seen():
    ledger = memory_ledger()
    mark(ledger)
    assert due.take_ready(ledger, LATER)
    mark(ledger)
    assert [each.marks for each in due.take_ready(ledger, LATER)] == [2]


def test_two_clocks_at_once_send_once():
    other: list[due.Due] = []
    ledger = RacingLedger(lambda table: None, lambda table: other.extend(due.take_ready(table, LATER)))
    mark(ledger)
    assert due.take_ready(ledger, LATER) == []
    assert [each.window for each in other] == [CLOSED.name]


def test_not_before_its_end_and_grace():
    ledger = memory_ledger()
    current = Window.of(NOW, HOUR)
    mark(ledger, window=current)
    assert due.take_ready(ledger, current.end + GRACE - timedelta(seconds=1)) == []
    assert len(due.take_ready(ledger, current.end + GRACE)) == 1


@pytest.mark.parametrize(
    "age, wait",
    [
        (timedelta(hours=3), timedelta(minutes=1)),
        (timedelta(days=1), timedelta(minutes=15)),
        (timedelta(days=6, hours=23), timedelta(minutes=15)),
        (timedelta(days=7), timedelta(hours=1)),
        (timedelta(days=44), timedelta(hours=1)),
    ],
)
def test_old_windows_are_restated_less_often(age: timedelta, wait: timedelta):
    assert due.debounce(NOW - age, NOW) == wait


def test_marking_again_does_not_put_it_off():
    ledger = memory_ledger()
    mark(ledger)
    first = due.read(ledger, "churn", CLOSED.name)
    due.mark(ledger, "churn", CLOSED, GRACE, NOW + timedelta(seconds=50))
    second = due.read(ledger, "churn", CLOSED.name)
    assert first and second and second.value.not_before == first.value.not_before == NOW + timedelta(minutes=1)


def test_first_verdicts_go_before_a_backlog_and_the_newest_of_that_first(monkeypatch: pytest.MonkeyPatch):
    """A label file over the past month restates thousands of windows: those that close meanwhile wait for none."""
    monkeypatch.setattr(due, "MOST_SENT", 50)
    monkeypatch.setattr(due, "MOST_RESTATED", 30)
    ledger = memory_ledger()
    old = [Window.of(NOW - number * HOUR, HOUR) for number in range(2, 22)]
    for window in old:
        for number in range(5):
            mark(ledger, f"backlog-{number}", window)
    due.mark(ledger, "asked-for", old[-1], GRACE, NOW, anew=True)
    due.mark(ledger, "closed", CLOSED, GRACE, NOW, fresh=True)
    first = due.take_ready(ledger, LATER)
    assert [each.monitor for each in first[:2]] == ["asked-for", "closed"] and len(first) == 32
    assert {each.window for each in first[2:]} == {window.name for window in old[:6]}
    # They are with the workers: nothing is sent but what has just closed.
    due.mark(ledger, "closed-too", CLOSED, GRACE, NOW, fresh=True)
    assert [each.monitor for each in due.take_ready(ledger, LATER)] == ["closed-too"]
    for each in first[2:12]:
        stored = due.read(ledger, each.monitor, each.window)
        assert stored and due.finish(ledger, each.monitor, each.window, stored.revision)
    assert len(due.take_ready(ledger, LATER)) == 10


def test_a_window_stays_urgent_when_labels_come_meanwhile():
    ledger = memory_ledger()
    due.mark(ledger, "churn", CLOSED, GRACE, NOW, fresh=True)
    mark(ledger)
    [taken] = due.take_ready(ledger, LATER)
    assert taken.is_urgent and taken.marks == 2


def test_a_tick_sends_up_to_a_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(due, "MOST_SENT", 100)
    ledger = memory_ledger()
    for monitor in range(60):
        for window in (CLOSED, CLOSED.previous()):
            due.mark(ledger, f"m{monitor:02}", window, GRACE, NOW, fresh=True)
    assert len({pk for pk, _ in ledger.items}) > due.SHARDS // 2
    first = due.take_ready(ledger, LATER)
    assert len(first) == 100 and first == sorted(first, key=lambda each: (each.window, each.monitor))
    rest = due.take_ready(ledger, LATER)
    assert len(rest) == 20
    assert len({(each.monitor, each.window) for each in first + rest}) == 120


# A worker, a marker and a clock in any order: at the end everything that was marked was worked on after its mark.
@given(st.lists(st.sampled_from(["mark", "begin", "finish", "take"]), max_size=40))
def test_no_mark_is_ever_lost(steps: list[str]):
    ledger = memory_ledger()
    unseen, seen_by_worker = 0, 0
    working_on: str | None = None
    for step in steps:
        owed = due.read(ledger, "churn", CLOSED.name)
        if step == "mark":
            mark(ledger)
            unseen += 1
        elif step == "begin":
            working_on, seen_by_worker = (owed.revision if owed else None), unseen
        elif step == "finish" and working_on and due.finish(ledger, "churn", CLOSED.name, working_on):
            assert seen_by_worker == unseen
            unseen, working_on = 0, None
        elif step == "take":
            # Taking writes the lease, which is a new generation: who began before it must look again.
            due.take_ready(ledger, LATER)
        assert (due.read(ledger, "churn", CLOSED.name) is not None) == (unseen > 0)


def test_the_cursor_only_goes_forward():
    ledger = memory_ledger()
    assert cursor.read(ledger, "churn") is None
    for window in (CLOSED, CLOSED.next(), CLOSED.previous(), CLOSED):
        cursor.advance(ledger, "churn", window.name)
    assert cursor.read(ledger, "churn") == CLOSED.next().name
    assert cursor.read(ledger, "other") is None
