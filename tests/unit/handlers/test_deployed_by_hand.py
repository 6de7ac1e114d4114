"""Somebody deploys another model to the endpoint by hand: it is told, it ends, and it can be made the champion."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib import wiring
from chalicelib.facts import champions, due, evaluations, incidents
from plumbline.cli.main import main
from tests.unit.handlers.world import ENDPOINT, HOUR, MINUTE, MONITOR, World, definition, hour

BASELINE = "s3://data/hotfix-baseline"


@pytest.fixture
def world() -> Iterator[World]:
    """Three calm hours; the endpoint can be given a model "hotfix"."""
    found = World(definition())
    for number in range(3):
        found.live(number)
    found.put_model("hotfix", "z")
    sagemaker = found.services.sagemaker
    sagemaker.ensure_model({"ModelName": "hotfix", "PrimaryContainer": {"ModelDataUrl": found.model_data("hotfix")}})
    present = sagemaker.describe_endpoint_config("churn-1")
    for name, model in (("hotfix-1", "hotfix"), ("churn-2", "first")):
        served = {**present["ProductionVariants"][0], "ModelName": model}
        changed = {"EndpointConfigName": name, "ProductionVariants": [served, *present["ProductionVariants"][1:]]}
        sagemaker.ensure_endpoint_config({**present, **changed})
    wiring.use(found.services)
    yield found
    wiring.use(None)


def deploy(world: World, config: str, number: int, heard: bool = True) -> None:
    world.clock.time = hour(number) + MINUTE
    world.services.sagemaker.update_endpoint(ENDPOINT, config)
    if heard:
        world.settle()
    else:
        world._endpoint_events()
        world.services.queues.take("endpoints")


def told(world: World) -> list[tuple[str, str, str]]:
    return [(each.state, each.severity, each.reasons[0]) for each in world.alerts("deployment")]


OPENED = (
    "opened",
    "error",
    "churn serves hotfix with hotfix-1; the champion is first with churn-1",
)


def test_another_model_is_told_at_once_and_once(world: World) -> None:
    deploy(world, "hotfix-1", 3)
    assert told(world) == [OPENED]
    for number in range(3, 6):
        world.live(number, "z")
    assert told(world) == [OPENED]


def test_it_ends_when_the_champion_serves_again(world: World) -> None:
    deploy(world, "hotfix-1", 3)
    world.clock.time += 10 * MINUTE
    world.services.sagemaker.update_endpoint(ENDPOINT, "churn-1")
    world.settle()
    assert [state for state, _, _ in told(world)] == ["opened", "resolved"]
    deploy(world, "hotfix-1", 4)
    assert [state for state, _, _ in told(world)] == ["opened", "resolved", "opened"]


def test_another_configuration_of_the_same_model_is_no_other_model(world: World) -> None:
    deploy(world, "churn-2", 3)
    assert told(world) == []


def test_a_lost_event_is_made_up_for_when_the_next_window_closes(world: World) -> None:
    deploy(world, "hotfix-1", 3, heard=False)
    assert told(world) == []
    world.live(3, "z")
    assert told(world) == [OPENED]


def test_a_promotion_of_our_own_is_none(world: World) -> None:
    for number in range(3, 12):
        world.live(number, "z")
        if world.running():
            world.finish_pipeline("z")
            world.settle()
            world.minutes(20)
    champion = champions.load_champion(world.services.ledger, MONITOR)
    assert champion and champion.generation >= 1
    assert told(world) == []


def test_adopt_makes_it_the_champion_and_credits_its_windows(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    deploy(world, "hotfix-1", 3)
    for number in range(3, 6):
        world.live(number, "z")
    assert {each.model for each in evaluations.evaluations(world.services.ledger, MONITOR)} == {"first"}
    assert main(["adopt", MONITOR]) == 0
    assert "hotfix is the champion of churn, generation 1, since 2026-01-05T03:01" in capsys.readouterr().out
    champion = champions.load_champion(world.services.ledger, MONITOR)
    assert champion and champion.config_name == "hotfix-1"
    assert [each.name for each in champion.pool] == ["first"] and champion.candidate.fair_from == hour(4).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    assert {each.window for each in due.owed(world.services.ledger, MONITOR)} >= {
        f"2026-01-05T0{number}:00:00Z" for number in (3, 4, 5)
    }
    world.minutes(30, until=world.clock.time + HOUR)
    assert [state for state, _, _ in told(world)] == ["opened", "resolved"]
    models = [each.model for each in evaluations.evaluations(world.services.ledger, MONITOR)]
    assert models[:3] == ["first"] * 3 and models[4:6] == ["hotfix"] * 2
    assert main(["adopt", MONITOR]) == 0
    assert "nothing to adopt" in capsys.readouterr().out


def test_a_past_champion_that_is_deployed_again_keeps_what_is_known_of_it(world: World) -> None:
    deploy(world, "hotfix-1", 3)
    assert main(["adopt", MONITOR, "--baseline", BASELINE]) == 0
    deploy(world, "churn-2", 4)
    assert [state for state, _, _ in told(world)][-1] == "opened"
    assert main(["adopt", MONITOR]) == 0
    champion = champions.load_champion(world.services.ledger, MONITOR)
    assert champion and champion.generation == 2 and champion.candidate.name == "first"
    assert [(each.name, each.baseline) for each in champion.pool] == [("hotfix", BASELINE)]


def test_adopt_refuses_while_the_endpoint_changes_and_for_nobody(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adopt", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err
    assert incidents.load_incident(world.services.ledger, MONITOR, "deployment") is None
