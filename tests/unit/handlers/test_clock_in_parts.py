"""A stage of many monitors: the clock tends them in parts, each of bounded size."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import Any

import pytest

from chalicelib.facts import champions, due, monitors
from chalicelib.facts.champions import Candidate
from chalicelib.handlers import windows_due
from chalicelib.handlers.windows_due import MONITORS_A_PART, TickError
from emulator.memory import SETTINGS
from tests.unit.handlers.world import MINUTE, World, definition, hour

MANY = 2 * MONITORS_A_PART + 5
# DynamoDB answers within some milliseconds: a part is done within two seconds or so.
MOST_CALLS = 200


class Counting:
    """Passes calls on and counts them."""

    def __init__(self, inner: Any, counts: Counter[str]) -> None:
        self._inner, self._counts = inner, counts

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._counts[name] += 1
            return found(*arguments, **named)

        return call if callable(found) else found


@pytest.fixture
def world() -> World:
    found = World(definition())
    services = found.services
    for number in range(MANY - 1):
        other = definition(name=f"m{number:03d}", endpoint=f"m{number:03d}", alarms=[], schedules=[])
        monitors.add(services.ledger, services.objects, SETTINGS.bucket, other, "2026-01-05T00:00:00Z")
        first = Candidate(name="first", model_name="first", model_data="s3://x/y")
        champions.crown_first(services.ledger, other.name, first, "churn-1", "2026-01-05T00:00:00Z")
        services.sagemaker.ensure_endpoint(other.endpoint, "churn-1")
    return found


def test_each_part_tends_its_own_and_all_are_tended_once(world: World) -> None:
    world.clock.time = hour(1) + 5 * MINUTE
    services = world.services
    assert windows_due.handle("{}", services) == 0
    parts = services.queues.take("clock")
    assert [json.loads(part) for part in parts] == [{"part": number, "of": 3} for number in range(3)]
    assert services.queues.take("windows") == []
    tended: Counter[str] = Counter()
    for part in parts:
        before = {each.monitor for each in all_owed(world)}
        windows_due.handle(part.decode(), services)
        found = {each.monitor for each in all_owed(world)} - before
        assert len(found) <= MONITORS_A_PART
        tended.update(found)
    assert len(tended) == MANY and set(tended.values()) == {1}
    assert services.queues.take("clock") == []
    world.clock.time += 2 * MINUTE
    windows_due.handle("{}", services)
    assert len(services.queues.take("windows")) == MANY


def test_a_quiet_part_makes_a_bounded_number_of_calls(world: World) -> None:
    world.clock.time = hour(1) + 5 * MINUTE
    for part in range(3):
        windows_due.handle(json.dumps({"part": part, "of": 3}), world.services)
    world.clock.time = hour(1) + 30 * MINUTE
    counts: Counter[str] = Counter()
    ports = {name: Counting(getattr(world.services, name), counts) for name in ("ledger", "objects", "sagemaker")}
    windows_due.handle('{"part": 0, "of": 3}', dataclasses.replace(world.services, **ports))
    assert sum(counts.values()) <= MOST_CALLS, counts


def test_one_part_that_fails_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.clock.time = hour(1) + 5 * MINUTE
    tend = windows_due._tend

    def failing(services: Any, entry: Any, now: Any) -> None:
        if entry.name == "m000":
            raise ValueError("unreadable")
        tend(services, entry, now)

    monkeypatch.setattr(windows_due, "_tend", failing)
    failed = 0
    for part in range(3):
        try:
            windows_due.handle(json.dumps({"part": part, "of": 3}), world.services)
        except TickError as error:
            failed += 1
            assert str(error) == "m000: ValueError"
    assert failed == 1 and len({each.monitor for each in all_owed(world)}) == MANY - 1


def all_owed(world: World) -> list[due.Due]:
    ledger = world.services.ledger
    return [each for entry in monitors.all_entries(ledger) for each in due.owed(ledger, entry.name)]
