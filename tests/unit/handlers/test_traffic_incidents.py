"""The incident of traffic that stops: opened by the newest window, ended by the first that is as usual."""

from __future__ import annotations

from tests.unit.handlers.world import World, definition

USUAL = 100


def told(world: World) -> list[tuple[str, str, str]]:
    return [(each.state, each.severity, each.window[11:13]) for each in world.alerts("traffic")]


def test_silence_is_told_once_and_ends_with_the_traffic() -> None:
    world = World(definition())
    for number in range(13):
        world.live(number, count=USUAL)
    assert told(world) == []
    world.minutes(125)  # two windows without a request
    assert told(world) == [("opened", "error", "13")]
    [alert] = world.alerts("traffic")
    assert alert.reasons == ["no record was captured; 13 windows before had at least 100"]
    number = world.clock.time.hour
    world.live(number, count=USUAL)
    assert [state for state, _, _ in told(world)] == ["opened", "resolved"]


def test_half_of_the_least_is_a_warning_and_a_little_less_is_nothing() -> None:
    world = World(definition())
    for number in range(13):
        world.live(number, count=USUAL + number)
    world.live(13, count=USUAL // 2 + 1)
    assert told(world) == []
    world.live(14, count=USUAL // 4)
    assert told(world) == [("opened", "warning", "14")]


def test_a_new_monitor_is_given_time() -> None:
    world = World(definition())
    for number in range(6):
        world.live(number, count=USUAL)
    world.minutes(125)
    assert told(world) == []
