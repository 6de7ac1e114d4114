"""The logical clock."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest

from emulator.clock import LogicalClock, timestamp

START = datetime(2026, 1, 5, 9, tzinfo=UTC)


def test_it_moves_to_a_time_and_by_a_duration() -> None:
    clock = LogicalClock(START)
    assert clock.now() == START
    assert clock.advance(by=timedelta(minutes=5)) == START + timedelta(minutes=5)
    assert clock.advance(to=START + timedelta(hours=1)) == clock.now() == START + timedelta(hours=1)


def test_it_may_stand_still_but_never_goes_backwards() -> None:
    clock = LogicalClock(START)
    clock.advance(to=START)
    with pytest.raises(ValueError, match="before"):
        clock.advance(to=START - timedelta(seconds=1))
    with pytest.raises(ValueError, match="before"):
        clock.advance(by=timedelta(seconds=-1))
    assert clock.now() == START


def test_it_answers_in_utc_and_refuses_times_without_a_zone() -> None:
    local = datetime(2026, 1, 5, 10, tzinfo=timezone(timedelta(hours=1)))
    now = LogicalClock(local).now()
    assert now == START and now.tzinfo is UTC
    with pytest.raises(ValueError, match="timezone-aware"):
        LogicalClock(datetime(2026, 1, 5))


def test_it_wants_exactly_one_way_to_move() -> None:
    clock = LogicalClock(START)
    with pytest.raises(ValueError, match="exactly one"):
        clock.advance()
    with pytest.raises(ValueError, match="exactly one"):
        clock.advance(to=START, by=timedelta(0))


def test_followers_hear_the_time_now_and_after_each_move() -> None:
    clock = LogicalClock(START)
    heard: list[datetime] = []
    clock.follow(heard.append)
    clock.advance(by=timedelta(days=1))
    assert heard == [START, START + timedelta(days=1)]


def test_moves_of_several_threads_all_count() -> None:
    clock = LogicalClock(START)
    threads = [
        threading.Thread(target=lambda: [clock.advance(by=timedelta(seconds=1)) for _ in range(200)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now() == START + timedelta(seconds=800)


def test_eventbridge_writes_whole_seconds() -> None:
    assert timestamp(START + timedelta(microseconds=5)) == "2026-01-05T09:00:00Z"
