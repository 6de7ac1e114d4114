from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import MisconfiguredError
from chalicelib.records.window import Window, check_length, parse_duration

LENGTHS = [timedelta(hours=hours) for hours in (1, 2, 3, 4, 6, 8, 12, 24, 48, 24 * 45)]
times = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))


@given(times, st.sampled_from(LENGTHS))
def test_windows_tile_time(time, length):
    window = Window.of(time, length)
    assert window.contains(time)
    assert not window.contains(window.end)
    assert window.next().previous() == window
    assert Window.of(window.end, length) == window.next()
    assert window.previous() < window < window.next()
    assert Window.parse(window.name, length) == window
    assert (window.start - datetime(1970, 1, 1, tzinfo=UTC)) % length == timedelta(0)


@given(times, st.sampled_from(LENGTHS))
def test_the_hours_of_a_window_are_those_of_its_moments(time, length):
    window = Window.of(time, length)
    hours = window.hours()
    assert time.strftime("%Y/%m/%d/%H") in hours
    assert len(hours) == length // timedelta(hours=1)
    assert hours == sorted(set(hours))


def test_names():
    window = Window.of(datetime(2026, 1, 1, 13, 5, tzinfo=UTC), timedelta(hours=6))
    assert window.name == "2026-01-01T12:00:00Z"
    assert window.hours()[0] == "2026/01/01/12"
    assert window.hours()[-1] == "2026/01/01/17"


@pytest.mark.parametrize("name", ["2026-01-01T01:00:00Z", "2026-01-01", "2026-1-01T00:00:00Z", "today", ""])
def test_a_name_that_no_window_has_is_refused(name):
    with pytest.raises(MisconfiguredError):
        Window.parse(name, timedelta(hours=6))


def test_allowed_lengths():
    for length in LENGTHS:
        check_length(length, "window")
    for length in (timedelta(0), timedelta(minutes=30), timedelta(hours=5), timedelta(hours=36), timedelta(days=-1)):
        with pytest.raises(MisconfiguredError, match=r"^window: got "):
            check_length(length, "window")


def test_durations():
    assert parse_duration("PT1H", "f") == timedelta(hours=1)
    assert parse_duration("P45D", "f") == timedelta(days=45)
    assert parse_duration("PT5M", "f") == timedelta(minutes=5)
    assert parse_duration("P1DT2H3M4S", "f") == timedelta(days=1, hours=2, minutes=3, seconds=4)
    assert parse_duration("P2W", "f") == timedelta(days=14)


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "1D", "P1M", "P1Y", "PT2D", "-PT1H", "PT1.5H", "pt1h", "PT1H "]
)
def test_what_is_no_duration_is_refused_by_name(text):
    with pytest.raises(MisconfiguredError, match=r"^label_delay: got "):
        parse_duration(text, "label_delay")
