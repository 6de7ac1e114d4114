"""`plumbline alerts`: a test through the stage to every route."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from chalicelib import wiring
from chalicelib.decisions.alert import Route
from chalicelib.handlers.alert_published import UndeliveredError
from plumbline.cli.add import add_monitor
from plumbline.cli.main import main
from tests.unit.handlers.world import MONITOR, World, definition

TEAMS = Route("teams", url="https://teams.example.com/flow", kinds=("promotion",))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Whoever waits lets the queues be worked off."""
    found = World(definition())
    own = definition()
    add_monitor(found.services, msgspec.structs.replace(own, routes=(*own.routes, TEAMS)))

    def pause(seconds: float) -> None:
        found.clock.time += timedelta(seconds=seconds)
        with contextlib.suppress(UndeliveredError):
            found.settle()

    monkeypatch.setattr(wiring, "pause", pause)
    wiring.use(found.services)
    yield found
    wiring.use(None)


def test_every_route_gets_an_opening_and_its_resolution(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", MONITOR]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["1.", "webhook", "/hook", "delivered,", "HTTP", "200"]
    assert lines[2].split() == ["2.", "teams", "delivered,", "HTTP", "200"]
    assert "teams.example.com" not in "".join(lines)  # the address of a chat is a password
    sent = [each for each in world.services.courier.delivered if each.url == TEAMS.url]
    cards = [json.loads(each.body)["attachments"][0]["content"]["body"][0]["text"] for each in sent]
    assert cards == [r"\[info\] churn: a test of this route", r"\[resolved\] churn: a test of this route"]


def test_what_was_not_delivered_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.services.courier.answers[TEAMS.url] = 500
    assert main(["alerts", MONITOR, "--wait", "20"]) == 1
    assert "not delivered; the receiver answered HTTP 500" in capsys.readouterr().out


def test_a_stage_that_does_nothing_is_told(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause(seconds: float) -> None:
        world.clock.time += timedelta(seconds=seconds)

    monkeypatch.setattr(wiring, "pause", pause)
    assert main(["alerts", MONITOR]) == 1
    assert capsys.readouterr().out.count("is the function alert_published running?") == 2


def test_a_monitor_without_routes_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    add_monitor(world.services, msgspec.structs.replace(definition(), routes=()))
    assert main(["alerts", MONITOR]) == 2
    assert "a monitor with `routes` in its definition" in capsys.readouterr().err
