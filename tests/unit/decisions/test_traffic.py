"""Traffic against what is usual."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.decisions.traffic import LEAST_ALIKE, LEAST_ROWS, LEAST_WINDOWS, is_suspicious, traffic_finding

DAY, NIGHT = [400] * 6, [60] * 6


def test_silence_is_an_error_and_half_a_warning():
    stopped = traffic_finding(0, DAY, [], True)
    assert stopped and stopped.severity == "error"
    assert stopped.reason == "no record was captured; 6 windows before at this time had at least 400"
    halved = traffic_finding(199, DAY, [], True)
    assert halved and (halved.severity, halved.reason[:26]) == ("warning", "199 records were captured;")
    assert traffic_finding(200, DAY, [], True) is None


def test_a_night_is_compared_with_nights():
    assert traffic_finding(55, NIGHT, DAY * 4, True) is None
    assert traffic_finding(0, NIGHT, DAY * 4, True) is not None


def test_a_lower_sampling_of_captures_is_no_lower_traffic():
    assert traffic_finding(40, DAY, [], False) is None
    assert traffic_finding(0, DAY, [], False) is not None


@pytest.mark.parametrize(
    ("alike", "before"),
    [([400] * (LEAST_ALIKE - 1), [400] * (LEAST_WINDOWS - 1)), ([LEAST_ROWS - 1] * 9, []), ([], [])],
)
def test_little_known_says_nothing(alike: list[int], before: list[int]):
    assert traffic_finding(0, alike, before, True) is None


@given(st.lists(st.integers(0, 10**6), max_size=40), st.integers(0, 10**6))
def test_what_is_found_is_suspicious_and_never_as_much_as_the_least(before: list[int], rows: int):
    found = traffic_finding(rows, [], before, True)
    if found:
        assert rows < min(before) and is_suspicious(rows, before)
