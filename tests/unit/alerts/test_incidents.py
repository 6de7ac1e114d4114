"""One opening and one resolution per incident, whatever the order of verdicts, repeats and crashes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.decisions.alert import alert_id, incident_id
from chalicelib.facts.incidents import (
    Incident,
    mark_published,
    open_incident,
    pending,
    read_incidents,
    resolve_incident,
)
from chalicelib.ports import Ledger
from chalicelib.wiring import Services
from emulator.memory import MemoryLedger, memory_services
from tests.unit.alerts.faults import Crash, Faults

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MONITOR, KIND = "churn", "model-quality"


def window(number: int) -> str:
    return (datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=number)).strftime("%Y-%m-%dT%H:%M:%SZ")


def judge(ledger: Ledger, number: int, bad: bool) -> Incident:
    return (open_incident if bad else resolve_incident)(ledger, MONITOR, KIND, window(number), NOW)


def work(services: Services, number: int, bad: bool) -> None:
    """What a handler does with a verdict: claim, act, mark."""
    for alert in pending(judge(services.ledger, number, bad)):
        services.topic.publish(f"{alert.state} {alert.window}", alert.alert_id, {})
        mark_published(services.ledger, MONITOR, KIND, alert.alert_id)


def ledger_of(verdicts: Sequence[tuple[int, bool]]) -> MemoryLedger:
    ledger = MemoryLedger(lambda: NOW)
    for number, bad in verdicts:
        judge(ledger, number, bad)
    return ledger


def state(verdicts: Sequence[tuple[int, bool]]) -> Incident:
    [incident] = read_incidents(ledger_of(verdicts), MONITOR)
    return incident


def story(incident: Incident) -> list[tuple[str, str]]:
    return [(alert.state, alert.window) for alert in pending(incident)]


def test_an_incident_opens_and_is_resolved():
    incident = state([(1, True), (2, True), (3, False), (4, False)])
    assert incident.state == "RESOLVED"
    assert incident.number == 1
    assert story(incident) == [("opened", window(1)), ("resolved", window(3))]
    name = incident_id(MONITOR, KIND, 1)
    assert [a.alert_id for a in pending(incident)] == [alert_id(name, "opened"), alert_id(name, "resolved")]
    assert {a.incident for a in pending(incident)} == {name}
    assert {a.decided_at for a in pending(incident)} == {"2026-03-01T12:00:00Z"}


def test_a_resolution_has_the_severity_of_its_opening():
    ledger = MemoryLedger(lambda: NOW)
    open_incident(ledger, MONITOR, KIND, window(1), NOW, "critical")
    open_incident(ledger, MONITOR, KIND, window(2), NOW, "warning")
    incident = resolve_incident(ledger, MONITOR, KIND, window(3), NOW)
    assert [a.severity for a in pending(incident)] == ["critical", "critical"]


@pytest.mark.parametrize(
    "verdicts, expected, number",
    [
        # a late verdict about an older window
        ([(2, False), (1, True)], "RESOLVED", 0),
        ([(2, True), (1, False)], "OPEN", 1),
        ([(1, True), (3, True), (2, False)], "OPEN", 1),
        ([(1, True), (2, False), (1, True)], "RESOLVED", 1),
        ([(1, True), (5, False), (3, True)], "RESOLVED", 1),
        ([(1, True), (2, False), (5, False), (3, True)], "RESOLVED", 1),
        # the same window restated
        ([(1, True), (1, False)], "OPEN", 1),
        ([(1, False), (1, True)], "OPEN", 1),
        ([(1, True), (2, False), (2, True)], "RESOLVED", 1),
        ([(1, True), (2, False), (3, True)], "OPEN", 2),
        ([(1, True), (2, False), (3, False), (3, True)], "OPEN", 2),
    ],
)
def test_what_a_newer_window_decided_stays(verdicts: list[tuple[int, bool]], expected: str, number: int):
    incident = state(verdicts)
    assert (incident.state, incident.number) == (expected, number)


def test_kinds_and_monitors_have_incidents_of_their_own():
    ledger = MemoryLedger(lambda: NOW)
    open_incident(ledger, "a", "model-quality", window(1), NOW)
    open_incident(ledger, "a", "data-quality", window(1), NOW)
    open_incident(ledger, "b", "data-quality", window(1), NOW)
    resolve_incident(ledger, "a", "data-quality", window(2), NOW)
    assert [(i.kind, i.state) for i in read_incidents(ledger, "a")] == [
        ("data-quality", "RESOLVED"),
        ("model-quality", "OPEN"),
    ]
    assert [i.state for i in read_incidents(ledger, "b")] == ["OPEN"]


def test_sources_of_one_kind_have_incidents_of_their_own():
    ledger = MemoryLedger(lambda: NOW)
    open_incident(ledger, MONITOR, KIND, window(1), NOW, source="a")
    resolve_incident(ledger, MONITOR, KIND, window(2), NOW, source="b")
    mark_published(ledger, MONITOR, f"{KIND}#b", "another alert")
    [of_a, of_b] = read_incidents(ledger, MONITOR)
    assert (of_a.kind, of_a.source, of_a.state) == (KIND, "a", "OPEN")
    assert (of_b.kind, of_b.source, of_b.state) == (KIND, "b", "RESOLVED")
    assert [owed.incident for owed in pending(of_a)] == [incident_id(MONITOR, f"{KIND}#a", 1)]


def test_a_verdict_that_changes_nothing_writes_nothing():
    ledger = ledger_of([(1, True), (2, True)])
    before = dict(ledger.items)
    judge(ledger, 2, True)
    judge(ledger, 1, True)
    judge(ledger, 1, False)
    mark_published(ledger, MONITOR, KIND, "another alert")
    mark_published(ledger, "another", KIND, "another alert")
    assert ledger.items == before


verdict_lists = st.dictionaries(st.integers(0, 9), st.booleans(), min_size=1).flatmap(
    lambda verdicts: st.tuples(
        st.just(verdicts),
        st.lists(st.sampled_from(sorted(verdicts.items())), max_size=10).flatmap(
            lambda repeats: st.permutations([*verdicts.items(), *repeats])
        ),
    )
)


@given(verdict_lists)
def test_the_newest_verdict_holds_in_any_order(case: tuple[dict[int, bool], list[tuple[int, bool]]]):
    verdicts, deliveries = case
    shuffled, calm = state(deliveries), state(sorted(verdicts.items()))
    assert shuffled.state == calm.state == ("OPEN" if verdicts[max(verdicts)] else "RESOLVED")


@given(verdict_lists)
def test_each_incident_is_told_once_each_way_and_forward_in_time(case: tuple[dict[int, bool], list[tuple[int, bool]]]):
    verdicts, deliveries = case
    services = memory_services(lambda: NOW)
    for number, bad in deliveries:
        work(services, number, bad)
    [incident] = read_incidents(services.ledger, MONITOR)
    told = [(p.subject.split()[0], p.subject.split()[1]) for p in services.topic.published]
    assert [word for word, _ in told] == (["opened", "resolved"] * 10)[: len(told)]
    assert len(told) == 2 * incident.number - (incident.state == "OPEN")
    assert len({p.message for p in services.topic.published}) == len(told)
    moments = [moment for _, moment in told]
    assert moments == sorted(set(moments))
    assert all(verdicts[int(moment[11:13])] == (word == "opened") for word, moment in told)
    assert pending(incident) == ()


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_between_any_two_steps_loses_no_alert_and_invents_none(after: bool):
    verdicts = [(1, True), (2, False), (3, True), (4, True), (5, False)]
    calm = memory_services(lambda: NOW)
    for number, bad in verdicts:
        work(calm, number, bad)
    expected = [p.message for p in calm.topic.published]
    assert len(expected) == 4
    fired = 0
    for step in range(1, 60):
        services = memory_services(lambda: NOW)
        faults = Faults(step, after)
        breaking = faults.services(services)
        for number, bad in verdicts:
            try:
                work(breaking, number, bad)
            except Crash:
                work(breaking, number, bad)  # the queue delivers again
        fired += faults.fired
        told = [p.message for p in services.topic.published]
        assert list(dict.fromkeys(told)) == expected
        assert len(told) <= len(expected) + 1  # the id of the one told twice is the same
        assert services.ledger.items.keys() == calm.ledger.items.keys()
        assert read_incidents(services.ledger, MONITOR) == read_incidents(calm.ledger, MONITOR)
    assert 20 <= fired < 59  # every step was met, and the last of them not


def test_an_alert_left_by_a_crash_is_told_by_the_next_window():
    services = memory_services(lambda: NOW)
    judge(services.ledger, 1, True)  # and the process died
    judge(services.ledger, 2, False)  # and again
    work(services, 3, True)
    assert [p.subject for p in services.topic.published] == [
        f"opened {window(1)}",
        f"resolved {window(2)}",
        f"opened {window(3)}",
    ]


def test_two_at_once_open_one_incident():
    ledger = MemoryLedger(lambda: NOW)
    raced: list[Incident] = []

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            return getattr(ledger, name)

        def put(self, *args: Any, **kwargs: Any) -> str:
            if not raced:
                raced.append(judge(ledger, 2, True))
            return ledger.put(*args, **kwargs)

    incident = open_incident(Interrupted(), MONITOR, KIND, window(3), NOW)
    assert incident.number == raced[0].number == 1
    assert story(incident) == [("opened", window(2))]
    assert incident.decided_window == window(3)


def test_an_open_incident_is_announced_again_when_something_joins_moves_on_or_rises() -> None:
    ledger = MemoryLedger(lambda: NOW)

    def bad(number: int, severity: Any = "warning", **joined: float) -> None:
        open_incident(ledger, MONITOR, KIND, window(number), NOW, severity, joined=joined)

    bad(1, age=0.10)
    bad(2, age=0.14)  # no news
    bad(3, age=0.14, income=0.05)
    bad(4, age=0.21)
    bad(5, severity="error", age=0.2)
    bad(6, severity="warning", age=0.2)  # what was worse once stays so
    bad(2, tenure=0.5)  # an older window announces nothing
    [incident] = read_incidents(ledger, MONITOR)
    assert story(incident) == [("opened", window(1)), *(("changed", window(number)) for number in (3, 4, 5))]
    assert [alert.severity for alert in pending(incident)] == ["warning", "warning", "warning", "error"]
    assert len({alert.alert_id for alert in pending(incident)}) == 4
    assert incident.joined == {"age": 0.21, "income": 0.05}


def test_an_incident_closes_only_when_its_last_bad_window_is_long_enough_ago() -> None:
    ledger = MemoryLedger(lambda: NOW)
    open_incident(ledger, MONITOR, KIND, window(3), NOW)
    for number in (4, 5, 6):
        resolve_incident(ledger, MONITOR, KIND, window(number), NOW, bad_until=window(number - 4))
    [incident] = read_incidents(ledger, MONITOR)
    assert incident.state == "OPEN"
    resolve_incident(ledger, MONITOR, KIND, window(7), NOW, bad_until=window(3))
    [incident] = read_incidents(ledger, MONITOR)
    assert story(incident) == [("opened", window(3)), ("resolved", window(7))]
