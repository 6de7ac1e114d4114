"""The deployment timeline is made of a set of marks: order and repeats do not matter."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.facts.deployments import Deployment, mark_in_service, mark_updating, timeline
from chalicelib.ports import Endpoint
from tests.unit.facts.racing import NOW, memory_ledger

# A mark as (minute, configuration); "" is the beginning of an update.
Mark = tuple[int, str]


def at(minute: int) -> datetime:
    return NOW + timedelta(minutes=minute)


def endpoint(config: str, since: datetime, sampling: int | None = None) -> Endpoint:
    return Endpoint("churn", config, "InService", since, sampling)


def timeline_of(marks: list[Mark]) -> list[tuple[str, int, int | None]]:
    ledger = memory_ledger()
    for minute, config in marks:
        if config:
            mark_in_service(ledger, endpoint(config, at(minute)))
        else:
            mark_updating(ledger, "churn", at(minute))
    mark_updating(ledger, "another", at(0))
    return [
        (each.config_name, minutes(each.began), each.ended and minutes(each.ended))
        for each in timeline(ledger, "churn")
    ]


def minutes(moment: datetime) -> int:
    return int((moment - NOW).total_seconds() // 60)


@pytest.mark.parametrize(
    "marks, expected",
    [
        ([], []),
        ([(0, "a")], [("a", 0, 0)]),
        ([(0, "a"), (10, ""), (15, "b")], [("a", 0, 0), ("b", 10, 15)]),
        ([(10, "")], [("", 10, None)]),
        ([(0, "a"), (10, ""), (15, "b"), (20, "")], [("a", 0, 0), ("b", 10, 15), ("", 20, None)]),
        # Two events of one update: it began with the first.
        ([(10, ""), (11, ""), (15, "b")], [("b", 10, 15)]),
        # The event of the beginning was lost.
        ([(0, "a"), (15, "b")], [("a", 0, 0), ("b", 15, 15)]),
        # A failed update ends with the old configuration.
        ([(0, "a"), (10, ""), (15, "a")], [("a", 0, 0), ("a", 10, 15)]),
        # Begun and ended within one second.
        ([(10, ""), (10, "b")], [("b", 10, 10)]),
    ],
)
def test_timeline(marks: list[Mark], expected: list[tuple[str, int, int | None]]):
    assert timeline_of(marks) == expected


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["", "a", "b"])), max_size=12), st.data())
def test_any_order_and_repeats_give_the_same_timeline(marks: list[Mark], data: st.DataObject):
    again = data.draw(
        st.permutations(marks + data.draw(st.lists(st.sampled_from(marks), max_size=5) if marks else st.just([])))
    )
    found = timeline_of(marks)
    assert timeline_of(list(again)) == found
    ends = [ended for _, _, ended in found]
    assert None not in ends[:-1]
    assert all(began <= ended for _, began, ended in found if ended is not None)
    assert [began for _, began, _ in found] == sorted(began for _, began, _ in found)
    assert {config for config, _, ended in found if ended is not None} == {config for _, config in marks if config}


def test_one_moment_in_two_zones_is_one_mark():
    ledger = memory_ledger()
    east = timezone(timedelta(hours=10))
    for moment in (at(3), at(3).astimezone(east)):
        mark_updating(ledger, "churn", moment)
        mark_in_service(ledger, endpoint("b", moment + timedelta(minutes=5)))
    assert timeline(ledger, "churn") == [Deployment("b", at(3), at(8))]
    assert len(ledger.items) == 2


def test_what_is_captured_of_a_hundred_requests_is_kept():
    ledger = memory_ledger()
    mark_in_service(ledger, endpoint("a", at(0), 20))
    mark_in_service(ledger, endpoint("b", at(5)))
    assert [each.sampling_percentage for each in timeline(ledger, "churn")] == [20, None]
