"""`plumbline alerts`: a test through the stage to every route."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from chalicelib import wiring
from chalicelib.decisions.alert import Route
from chalicelib.definition import Definition
from chalicelib.facts import deliveries
from chalicelib.wiring import Services
from plumbline.cli import alerts
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


@pytest.mark.parametrize(
    ("status", "told"),
    [(500, "the receiver answered HTTP 500"), (404, "the receiver answered HTTP 404"), (0, "no answer: address")],
)
def test_what_was_not_delivered_is_told(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: int, told: str
) -> None:
    ledger, now = world.services.ledger, world.clock.time

    def publish(services: Services, own: Definition) -> tuple[str, str]:
        deliveries.finish(ledger, "resolved", own.routes[0], "DELIVERED", now, 200)
        claimed, _ = deliveries.claim(ledger, "resolved", TEAMS, now)
        deliveries.release(ledger, "resolved", TEAMS, claimed, now, status)
        return "opened", "resolved"

    monkeypatch.setattr(alerts, "publish_test", publish)
    assert main(["alerts", MONITOR, "--wait", "4"]) == 1
    out = capsys.readouterr().out
    assert out.count("delivered, HTTP 200") == 1 and f"not delivered; {told}" in out


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
