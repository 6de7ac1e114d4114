"""What lasts: refusals, quotas, executions and people that never answer. A claim ends, people hear of it, and a
degraded champion is dealt with again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.errors import PlumblineError, UnavailableError
from chalicelib.events import ClaimMessage
from chalicelib.facts import champions, claims, decisions, due, evaluations
from emulator.memory.errors import ServiceError
from tests.unit.handlers.world import (
    DATA,
    ENDPOINT,
    MINUTE,
    MONITOR,
    World,
    definition,
    hour,
    label_line,
    window_name,
)


def drifted(**policy: Any) -> World:
    """A world in which the truth has changed at window 6 and a retraining runs."""
    world = World(definition(policy=policy), endpoint_takes=3 * MINUTE)
    for number in range(6):
        world.live(number)
    for number in range(6, 20):
        if world.running():
            return world
        world.live(number, truth="z")
    raise AssertionError("no retraining was started")


def wait(world: World, length: timedelta) -> None:
    """Let the clock tick every ten minutes; what a tick or a delivery raises is the queue's to repeat."""
    for _ in range(length // (10 * MINUTE)):
        world.clock.time += 10 * MINUTE
        try:
            world.tick()
        except Exception as error:
            assert isinstance(error, (PlumblineError, ServiceError)), error


def states(world: World) -> tuple[str, str]:
    retrain = claims.load_retrain(world.services.ledger, MONITOR)
    promotion = claims.load_promotion(world.services.ledger, MONITOR)
    return retrain.state if retrain else "", promotion.state if promotion else ""


def outcome(world: World) -> str:
    return decisions.outcomes(world.services.ledger, MONITOR)[-1].detail


def refuse(code: str, text: str) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        raise ServiceError(code, text)

    return refused


# Claims end -----------------------------------------------------------------------------------------------------------


def test_a_start_that_is_not_permitted_ends_with_the_words_of_aws() -> None:
    world = World(definition())
    world.services.sagemaker.start_pipeline = refuse("AccessDeniedException", "not authorized")  # type: ignore[method-assign]
    for number in range(6):
        world.live(number)
    while claims.load_retrain(world.services.ledger, MONITOR) is None:
        number += 1
        with suppress(ServiceError):
            world.live(number, truth="z")
    wait(world, timedelta(hours=5))
    assert states(world)[0] == "STARTING"
    wait(world, timedelta(hours=2))
    assert states(world)[0] == "FAILED"
    assert outcome(world) == "not started within 6 hours: AccessDeniedException: not authorized"
    assert "Plumbline [error] churn: a retraining failed" in [each.subject for each in world.services.topic.published]


def test_an_execution_that_never_ends_is_given_up_after_a_week() -> None:
    world = drifted()
    wait(world, timedelta(days=6))
    assert states(world)[0] == "STARTED"
    wait(world, timedelta(days=2))
    assert states(world)[0] == "FAILED"
    assert "has not ended within 7 days; it still runs" in outcome(world)


def test_a_challenger_that_nobody_approves_is_told_of_once_more_and_ends() -> None:
    world = drifted(promotion="manual")
    world.finish_pipeline("z")
    world.settle()
    told = len(world.services.topic.published)
    wait(world, timedelta(days=13))
    reminders = [each.subject for each in world.services.topic.published[told:] if "still waits" in each.subject]
    assert reminders == ["Plumbline [warning] churn: a challenger still waits for approval"]
    assert states(world)[0] == "AWAITING_APPROVAL"
    wait(world, timedelta(days=2))
    assert states(world)[0] == "REFUSED"
    assert "nobody has approved" in outcome(world)


def test_a_variant_that_was_renamed_by_hand_ends_the_promotion_at_once() -> None:
    world = drifted()
    sagemaker = world.services.sagemaker
    present = sagemaker.describe_endpoint_config("churn-1")
    variants = [{**present["ProductionVariants"][0], "VariantName": "Blue"}]
    sagemaker.ensure_endpoint_config({**present, "EndpointConfigName": "by-hand", "ProductionVariants": variants})
    sagemaker.update_endpoint(ENDPOINT, "by-hand")
    world.finish_pipeline("z")
    world.settle()
    wait(world, timedelta(hours=1))
    assert states(world) == ("FAILED", "FAILED")
    assert outcome(world).startswith("variant: got 'AllTraffic'; expected a variant of the endpoint churn")


@pytest.mark.parametrize(
    "call, code",
    [("ensure_endpoint", "ResourceLimitExceeded"), ("update_endpoint", "AccessDeniedException")],
)
def test_a_promotion_that_aws_refuses_for_hours_ends(call: str, code: str) -> None:
    world = drifted()
    setattr(world.services.sagemaker, call, refuse(code, "no"))
    world.finish_pipeline("z")
    with suppress(ServiceError):
        world.settle()
    wait(world, timedelta(hours=5))
    assert states(world)[0] == "PROMOTING"
    wait(world, timedelta(hours=2))
    assert states(world) == ("FAILED", "FAILED")
    assert f"given up after 6 hours: {code}" in outcome(world)


def test_a_clean_up_that_is_refused_holds_no_claim_open() -> None:
    world = drifted()
    delete = world.services.sagemaker.delete_endpoint
    world.services.sagemaker.delete_endpoint = refuse("AccessDeniedException", "no")  # type: ignore[method-assign]
    world.finish_pipeline("x")  # no better than the champion
    with suppress(ServiceError):
        world.settle()
    wait(world, timedelta(hours=1))
    assert states(world) == ("REFUSED", "REFUSED")
    left = world.endpoints()
    assert len(left) > 1
    # The message lies among the dead letters; once the permission is there, its repeat cleans up.
    world.services.sagemaker.delete_endpoint = delete  # type: ignore[method-assign]
    claim = claims.load_promotion(world.services.ledger, MONITOR)
    assert claim
    world.deliver("promotion-claims", msgspec.json.encode(ClaimMessage(MONITOR, claim.claim_id)))
    assert world.endpoints() == ["churn"]


def test_held_back_rows_that_have_expired_end_the_promotion() -> None:
    world = drifted(promotion="manual")
    _, package = world.finish_pipeline("z")
    world.settle()
    for key in list(world.services.objects.keys(DATA, "reports/merge/")):
        world.services.objects.delete(DATA, key)
    world.decide_package(package, "Approved")
    wait(world, timedelta(hours=8))
    assert states(world) == ("FAILED", "FAILED")
    assert "given up after 6 hours: s3://data/reports/merge/" in outcome(world)


# A degraded champion is dealt with again ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [{"status": "Failed"}, {"toy": "one", "approval": "Rejected"}])
def test_a_start_that_changed_nothing_is_repeated_with_growing_waits(end: dict[str, str]) -> None:
    world = World(definition())
    for number in range(6):
        world.live(number)
    started = []
    for number in range(6, 40):
        before = len(world.services.sagemaker.executions)
        world.live(number, truth="not-x")
        if len(world.services.sagemaker.executions) > before:
            started.append(number)
        if world.running():
            world.finish_pipeline(**end)  # type: ignore[arg-type]
            world.settle()
            world.minutes(3)
    assert started == [6, 8, 16, 32]
    last = decisions.references(world.services.ledger, MONITOR)[-1]
    record = decisions.load_record(world.services.ledger, last.decision_id)
    assert record is not None and record.action == "ALERT"
    assert any("the last 4 retrainings came to nothing" in reason for reason in record.reasons)


# Whoever could serve does not stop who serves -------------------------------------------------------------------------


@pytest.mark.parametrize("error", [UnavailableError("throttled"), ServiceError("AccessDeniedException", "no")])
def test_a_past_champion_that_does_not_answer_stops_no_decision(error: Exception) -> None:
    world = drifted()
    world.finish_pipeline("z")
    world.settle()
    world.minutes(15)
    champion = champions.load_champion(world.services.ledger, MONITOR)
    assert champion is not None and champion.pool
    silent, invoke = {each.endpoint for each in champion.pool}, world.services.scorer.invoke

    def ask(endpoint: str, body: bytes, **how: Any) -> bytes:
        if endpoint in silent:
            raise error
        return invoke(endpoint, body, **how)

    world.services.scorer.invoke = ask  # type: ignore[method-assign]
    made = len(decisions.references(world.services.ledger, MONITOR))
    for number in range(21, 23):
        world.live(number, truth="not-x")
    assert len(decisions.references(world.services.ledger, MONITOR)) >= made + 2
    assert not due.owed(world.services.ledger, MONITOR)


def test_one_that_takes_all_the_time_is_not_followed_by_others() -> None:
    world = drifted()
    world.finish_pipeline("z")
    world.settle()
    world.minutes(15)
    asked: list[str] = []

    def slow(endpoint: str, body: bytes, **how: Any) -> bytes:
        asked.append(endpoint)
        world.clock.time += 2 * MINUTE
        raise UnavailableError("no answer in time")

    world.services.scorer.invoke = slow  # type: ignore[method-assign]
    for number in (21, 22):
        world.live(number, truth="z")
    assert len(set(asked)) == 2  # the champion and the past one, by turns


def test_a_challenger_that_starts_slowly_is_not_refused() -> None:
    world = drifted()
    invoke, left = world.services.scorer.invoke, [7]

    def cold(endpoint: str, body: bytes, **how: Any) -> bytes:
        if left[0]:
            left[0] -= 1
            raise UnavailableError("the model container answered with status 503")
        return invoke(endpoint, body, **how)

    world.services.scorer.invoke = cold  # type: ignore[method-assign]
    world.finish_pipeline("z")
    with suppress(UnavailableError):
        world.settle()
    wait(world, timedelta(hours=2))
    assert states(world) == ("PROMOTED", "DONE")


def test_a_challenger_that_never_answers_ends_with_the_reason() -> None:
    world = drifted()

    def silent(endpoint: str, body: bytes, **how: Any) -> bytes:
        raise UnavailableError("endpoint x: the model container answered with status 500")

    world.services.scorer.invoke = silent  # type: ignore[method-assign]
    world.finish_pipeline("z")
    with suppress(UnavailableError):
        world.settle()
    wait(world, timedelta(hours=8))
    assert states(world) == ("FAILED", "FAILED")
    assert outcome(world) == "given up after 6 hours: endpoint x: the model container answered with status 500"


def test_a_side_endpoint_of_the_champion_that_failed_once_is_made_again() -> None:
    world = drifted()
    sagemaker = world.services.sagemaker
    describe, left = sagemaker.describe_endpoint, [1]

    def described(name: str) -> Any:
        found = describe(name)
        champions_own = name != ENDPOINT and "'first'" in str(sagemaker.describe_endpoint_config(found.config_name))
        if champions_own and found.status == "InService" and left[0]:
            left[0] -= 1
            return msgspec.structs.replace(found, status="Failed")
        return found

    sagemaker.describe_endpoint = described  # type: ignore[method-assign]
    world.finish_pipeline("z")
    world.settle()
    wait(world, timedelta(hours=2))
    assert left == [0]
    assert states(world) == ("PROMOTED", "DONE")


# Labels whose event was lost are found wherever they lie --------------------------------------------------------------


def test_labels_filed_into_the_hour_of_the_inference_are_found_without_their_event() -> None:
    world = World(definition(policy={"retrain": False, "roll_back": False}))
    rows = world.live(0, labelled=False)
    world.clock.time = hour(1) + 20 * MINUTE
    for _ in range(3):
        world.tick()
    body = b"".join(label_line(row.inference_id, row.label("x"), row.time) for row in rows)
    world.put_labels(body, "by-inference-hour", arrived=hour(0))
    world.lose("ground-truth")
    for number in range(1, 30):  # until the second look
        world.clock.time = hour(number) + 30 * MINUTE
        world.tick()
        world.minutes(2)
    found = evaluations.load_evaluation(world.services.ledger, MONITOR, window_name(0))
    assert found is not None and found.value.labelled == len(rows)


def test_what_was_worked_off_is_not_sent_again_at_the_seal() -> None:
    world = World(definition(policy={"retrain": False, "roll_back": False}))
    world.live(0)
    for number in range(1, 52):  # the horizon is two days
        world.clock.time = hour(number) + 30 * MINUTE
        world.tick()
        world.minutes(2)
    objects = [queue for queue, message in world.history if queue == "ground-truth" and b"Object Created" in message]
    assert len(objects) == 1
