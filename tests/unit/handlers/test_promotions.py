"""What is served changes only through a claim: gate, endpoints, baseline, generation, pool, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from datetime import timedelta
from functools import cache
from typing import Any

import msgspec
import pytest

from chalicelib.events import ClaimMessage
from chalicelib.facts import claims, deployments, evaluations, pauses
from chalicelib.facts.claims import PromotionClaim
from chalicelib.monitors import baseline
from tests.unit.alerts.faults import Crash, Faults
from tests.unit.handlers.world import (
    DATA,
    ENDPOINT,
    HOUR,
    MINUTE,
    MONITOR,
    OWN,
    World,
    definition,
    hour,
    rows_of,
    window_name,
)

# Only a trigger starts a retraining here, and nothing is rolled back unless a test asks for it.
PATIENT = {"cost": 1000.0, "roll_back": False, "cool_down_windows": 1, "holdback_windows": 1, "training_windows": 2}


def patient(endpoint_takes: timedelta = timedelta(0), **policy: Any) -> World:
    return World(definition(policy={**PATIENT, **policy}), endpoint_takes)


def start(world: World, number: int, truth: str) -> None:
    """A window under a new truth, and a retraining started by the trigger alarm."""
    world.live(number, truth)
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    assert world.retraining().window == window_name(number)
    [_] = world.running()
    world.alarm("accuracy-low", "OK")
    world.settle()


def promote(world: World, number: int, truth: str) -> str:
    """A whole cycle that ends with a model of this truth serving; returns its package."""
    start(world, number, truth)
    _, package = world.finish_pipeline(truth)
    world.minutes(15)
    assert world.serving == truth
    return package


@cache
def _challenged() -> World:
    """The first challenger's pipeline runs; the held-back window is one that the champion gets half wrong."""
    world = patient()
    world.live(0)
    start(world, 1, "z")
    return world


def challenged() -> World:
    return deepcopy(_challenged())


@cache
def _with_pool() -> World:
    """Generation 2 serves; its two predecessors are in the pool."""
    world = patient(pool_size=2)
    world.live(0)
    promote(world, 1, "z")
    promote(world, 2, "not-x")
    return world


def with_pool() -> World:
    return deepcopy(_with_pool())


def claim_message(world: World) -> bytes:
    return msgspec.json.encode(ClaimMessage(MONITOR, world.promotion().claim_id))


def served_config(world: World) -> Mapping[str, Any]:
    sagemaker = world.services.sagemaker
    return sagemaker.describe_endpoint_config(sagemaker.describe_endpoint(ENDPOINT).config_name)


def effects(world: World) -> tuple[Any, ...]:
    return (
        world.champion(),
        world.promotion(),
        world.retraining(),
        world.endpoints(),
        world.services.sagemaker.describe_endpoint(ENDPOINT),
        dict(world.services.sagemaker.packages),
        world.outcomes(),
        len(world.services.courier.delivered),
    )


def summary(world: World) -> dict[str, Any]:
    """What a promotion ends in, without the times of its steps."""
    champion = world.champion()
    return {
        "generation": champion.generation,
        "candidate": champion.candidate,
        "config": champion.config_name,
        "pool": champion.pool,
        "causes": [reign.cause for reign in champion.reigns],
        "claims": (world.retraining().state, world.retraining().outcome, world.promotion().state),
        "endpoints": world.endpoints(),
        "serving": world.serving,
        # An update that never ended would leave every later row out of the losses.
        "in transition": [each for each in deployments.timeline(world.services.ledger, ENDPOINT) if each.ended is None],
        "served": served_config(world)["ProductionVariants"],
        "approvals": {arn: package.approval_status for arn, package in world.services.sagemaker.packages.items()},
        "outcomes": [(kind, count) for kind, count in enumerate(world.outcomes())],
        "told": {alert.alert_id for alert in world.alerts()},
        "baseline": {
            key: world.services.objects.get(OWN, key).etag
            for key in world.services.objects.keys(OWN, "plumbline/payload/churn/baselines/")
        },
        "losses": evaluations.losses(world.services.ledger, MONITOR),
    }


def test_a_better_challenger_serves_and_the_old_champion_joins_the_pool() -> None:
    world = challenged()
    _, package = world.finish_pipeline("z")
    world.minutes(10)
    champion = world.champion()
    assert champion.generation == 1
    assert (champion.candidate.name, champion.candidate.package_arn) == ("churn/1", package)
    assert [member.name for member in champion.pool] == ["first"]
    assert world.pool_endpoints() == sorted([champion.candidate.endpoint, champion.pool[0].endpoint])
    assert world.serving == "z"
    assert champion.config_name == world.services.sagemaker.describe_endpoint(ENDPOINT).config_name
    assert [reign.candidate for reign in champion.reigns] == ["first", "churn/1"]
    assert world.promotion().state == "DONE"
    assert world.retraining().state == "PROMOTED"
    assert "is lower than the best incumbent's" in world.retraining().outcome
    assert world.services.sagemaker.approvals[package][0] == "Approved"
    [told] = [alert for alert in world.alerts("promotion") if "promoted" in alert.summary]
    assert told.decision_id == world.retraining().decision_id


def test_each_own_endpoint_is_serverless_and_serves_its_model() -> None:
    world = challenged()
    world.finish_pipeline("z")
    world.minutes(10)
    models = {}
    for name in world.pool_endpoints():
        [variant] = world.services.sagemaker.describe_endpoint_config(name)["ProductionVariants"]
        assert "ServerlessConfig" in variant
        models[name] = variant["ModelName"]
    champion = world.champion()
    assert models == {member.endpoint: member.model_name for member in (champion.candidate, *champion.pool)}


def test_the_new_configuration_keeps_data_capture_and_the_other_variants() -> None:
    world = challenged()
    before = served_config(world)
    world.finish_pipeline("z")
    world.minutes(10)
    after = served_config(world)
    assert after["EndpointConfigName"] != before["EndpointConfigName"]
    for name in ("DataCaptureConfig", "KmsKeyId"):
        assert after[name] == before[name]
    assert after["ProductionVariants"][1:] == before["ProductionVariants"][1:]
    served = after["ProductionVariants"][0]
    assert served == {**before["ProductionVariants"][0], "ModelName": world.champion().candidate.model_name}


def test_a_challenger_must_beat_the_champion() -> None:
    world = challenged()
    event, package = world.finish_pipeline("x")  # as good as the champion is not better
    world.minutes(10)
    assert world.serving == "x"
    assert world.champion().generation == 0
    assert world.promotion().state == "REFUSED"
    assert world.retraining().state == "REFUSED"
    assert "is not lower than the best incumbent's" in world.retraining().outcome
    assert world.services.sagemaker.approvals[package] == ("Rejected", world.retraining().outcome)
    assert world.pool_endpoints() == []
    assert world.services.objects.keys(OWN, "plumbline/payload/churn/baselines/") == (
        "plumbline/payload/churn/baselines/churn/1/gate.json",
    )
    before = effects(world)
    for _ in range(3):
        world.deliver("promotion-claims", claim_message(world))
        world.deliver("pipelines", event)
        world.minutes(3)
    assert effects(world) == before


def test_a_challenger_must_beat_the_pool_too() -> None:
    world = with_pool()
    start(world, 3, "x")  # the first model, in the pool, is right again
    world.finish_pipeline("x")
    world.minutes(12)
    assert world.serving == "not-x"
    assert world.retraining().state == "REFUSED"
    assert "the best incumbent's 0.0000 (first); against" in world.retraining().outcome


def test_the_baseline_of_held_back_rows_is_used_for_windows_from_then_on() -> None:
    world = challenged()
    world.finish_pipeline("z")
    world.minutes(12)
    folder = world.champion().candidate.baseline
    assert folder == f"s3://{OWN}/plumbline/payload/churn/baselines/churn/1"
    stored = {
        path: world.services.objects.get(OWN, f"plumbline/payload/churn/baselines/churn/1/{path}").body
        for path in (
            baseline.DATA_STATISTICS,
            baseline.DATA_CONSTRAINTS,
            baseline.MODEL_STATISTICS,
            baseline.MODEL_CONSTRAINTS,
        )
    }
    statistics = json.loads(stored[baseline.MODEL_STATISTICS])["binary_classification_metrics"]
    assert statistics["accuracy"]["value"] == 1.0, "the challenger's answers to the held-back rows"
    assert json.loads(stored[baseline.DATA_STATISTICS])["dataset"]["item_count"] == 20

    before = world.report(1)
    assert before["baseline"] == "definition"
    world.live(3, "z")
    assert world.report(3)["baseline"] == folder
    # A restatement of a window compares with the baseline of whoever served then.
    world.label(rows_of(1, 20)[:1], "x", "corrected")
    world.minutes(4)
    world.reported()
    assert world.report(1) != before
    assert world.report(1)["baseline"] == "definition"


def test_rows_of_the_transition_belong_to_neither_model() -> None:
    world = patient(endpoint_takes=4 * MINUTE)
    world.live(0)
    start(world, 1, "z")
    world.finish_pipeline("z")
    began = world.clock.time
    while world.serving != "z":
        world.minutes(1)
    assert world.clock.time - began < HOUR / 2
    world.minutes(5)
    rows = rows_of(2, 20)
    world.clock.time = max(world.clock.time, hour(2) + 50 * MINUTE)
    for model, part in (("x", rows[:8]), ("z", rows[8:])):
        world.capture(2, part, toy=model, name=model)
    world.clock.time = hour(3)
    world.label(rows, "z", "labels-2")
    world.settle()
    world.minutes(8)
    report = world.report(2)
    assert [segment["config_name"] for segment in report["segments"]][-1] == world.champion().config_name
    assert world.evaluation(2).mixed
    assert sum(segment["rows"] for segment in report["segments"]) < len(rows)
    assert report["segments"][-1]["loss"] == 0.0


def test_the_pool_has_a_limit_and_a_dropped_endpoint_is_deleted() -> None:
    world = with_pool()
    pool = {member.name: member.endpoint for member in world.champion().pool}
    assert list(pool) == ["first", "churn/1"]
    promote(world, 3, "half-z")
    champion = world.champion()
    assert champion.generation == 3
    assert [member.name for member in champion.pool] == ["churn/1", "churn/2"]
    assert pool["first"] not in world.endpoints()
    assert world.pool_endpoints() == sorted(member.endpoint for member in (champion.candidate, *champion.pool))


def test_an_endpoint_that_is_busy_is_updated_later() -> None:
    world = patient(endpoint_takes=5 * MINUTE)
    world.live(0)
    start(world, 1, "z")
    # Somebody updates the endpoint by hand at the worst moment.
    config = dict(served_config(world))
    world.services.sagemaker.ensure_endpoint_config({**config, "EndpointConfigName": "by-hand"})
    world.finish_pipeline("z")
    world.minutes(5)
    world.services.sagemaker.update_endpoint(ENDPOINT, "by-hand")
    world.minutes(1)
    assert (world.promotion().state, world.promotion().deploying_since) == ("DEPLOYING", "")
    world.minutes(30)
    assert world.promotion().state == "DONE"
    assert world.serving == "z"
    assert world.champion().config_name != "by-hand"


def test_an_update_that_fails_is_told_and_ends_the_claim() -> None:
    world = patient(endpoint_takes=5 * MINUTE)
    world.live(0)
    start(world, 1, "z")
    world.finish_pipeline("z")
    for _ in range(20):
        world.minutes(1)
        if world.promotion().state == "DEPLOYING":
            break
    assert world.promotion().state == "DEPLOYING"
    world.services.sagemaker.fail_endpoint(ENDPOINT)
    world.minutes(12)
    assert world.promotion().state == "FAILED"
    assert world.retraining().state == "FAILED"
    assert world.champion().generation == 0
    [told] = [alert for alert in world.alerts("retraining") if alert.severity == "error"]
    assert "Failed" in told.reasons[0]
    assert world.pool_endpoints() == []
    before = effects(world)
    world.minutes(15)
    assert effects(world) == before


def test_an_update_that_was_rolled_back_by_sagemaker_is_a_failure() -> None:
    world = patient(endpoint_takes=5 * MINUTE)
    world.live(0)
    start(world, 1, "z")
    old = world.services.sagemaker.describe_endpoint(ENDPOINT).config_name
    world.finish_pipeline("z")
    for _ in range(20):
        world.minutes(1)
        if world.promotion().state == "DEPLOYING":
            break
    world.clock.time += 5 * MINUTE
    world.services.sagemaker.update_endpoint(ENDPOINT, old)
    world.minutes(12)
    assert world.promotion().state == "FAILED"
    assert world.promotion().outcome.startswith(f"the endpoint is InService with {old} instead of ")
    assert world.champion().generation == 0


def test_a_challenger_that_does_not_come_up_is_refused_and_the_next_one_is_not_held_up() -> None:
    world = patient(endpoint_takes=5 * MINUTE)
    world.live(0)
    start(world, 1, "z")
    world.finish_pipeline("z")
    world.minutes(1)
    [challengers] = [
        name
        for name in world.pool_endpoints()
        if "churn" in name
        and world.services.sagemaker.describe_endpoint_config(name)["ProductionVariants"][0]["ModelName"] != "first"
    ]
    world.services.sagemaker.fail_endpoint(challengers)
    world.minutes(20)
    assert not world.promotion().in_flight
    assert world.retraining().state in ("REFUSED", "FAILED")
    assert world.serving == "x"
    promote(world, 3, "z")


def test_a_champion_whose_own_endpoint_failed_gets_another_one_for_the_next_challenge() -> None:
    world = patient(endpoint_takes=5 * MINUTE)
    world.live(0)
    start(world, 1, "z")
    world.finish_pipeline("z")
    world.minutes(1)
    [own] = [
        name
        for name in world.pool_endpoints()
        if world.services.sagemaker.describe_endpoint_config(name)["ProductionVariants"][0]["ModelName"] == "first"
    ]
    world.services.sagemaker.fail_endpoint(own)
    world.minutes(25)
    assert world.retraining().state == "REFUSED"
    start(world, 3, "z")
    world.finish_pipeline("z")
    world.minutes(30)
    assert world.serving == "z"
    assert own in world.endpoints()


def test_a_challenger_that_does_not_answer_is_refused() -> None:
    world = challenged()
    world.finish_pipeline("z")
    world.deliver(*_first(world, "pipelines"))
    message = _first(world, "promotion-claims")
    world.deliver(*message)  # makes the endpoints
    world.deployed.broken = set(world.pool_endpoints())
    world.minutes(15)
    assert world.retraining().state == "REFUSED"
    assert "does not answer every held-back row" in world.retraining().outcome
    assert world.serving == "x"


def on_its_way(state: str, **policy: Any) -> tuple[World, str]:
    """A challenger that is approved and would win, its claim in this state, and its package."""
    world = patient(endpoint_takes=5 * MINUTE, **policy)
    world.live(0)
    start(world, 1, "z")
    _, package = world.finish_pipeline("z")
    world.settle()
    if policy.get("promotion") == "manual":
        world.decide_package(package, "Approved")
        world.settle()
    while world.promotion().state != state:
        world.minutes(1)
    assert world.services.sagemaker.describe_model_package(package).approval_status == "Approved"
    return world, package


def refused(world: World, package: str, outcome: str) -> None:
    """The claim ended without the challenger, and nothing is left of it."""
    assert (world.promotion().state, world.promotion().outcome) == ("REFUSED", outcome)
    assert (world.retraining().state, world.retraining().outcome) == ("REFUSED", outcome)
    assert (world.serving, world.champion().generation) == ("x", 0)
    assert world.services.sagemaker.describe_model_package(package).approval_status == "Rejected"
    assert world.pool_endpoints() == []
    assert [each for each in deployments.timeline(world.services.ledger, ENDPOINT) if each.ended is None] == []
    world.settle()
    before = effects(world)
    world.deliver("promotion-claims", claim_message(world))
    world.minutes(15)
    assert effects(world) == before


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("state", ["APPLYING", "DEPLOYING"])
@pytest.mark.parametrize("promotion", ["auto", "manual"])
def test_a_person_may_reject_a_challenger_until_it_reigns(promotion: str, state: str, told: bool) -> None:
    world, package = on_its_way(state, promotion=promotion)
    rejected = world.decide_package(package, "Rejected")
    if not told:
        world.services.queues.take("model-packages")
    world.minutes(30)
    refused(world, package, f"{package} was rejected")
    assert world.services.sagemaker.approvals[package] == ("Rejected", "by hand"), "nobody else's words"
    world.deliver("model-packages", rejected)
    world.settle()
    assert world.outcomes().count("refused") == 1


def test_a_rejection_while_the_gate_compares_is_heard() -> None:
    world, package = on_its_way("APPLYING")
    world.clock.time += 6 * MINUTE

    class RejectsMeanwhile(Faults):
        def call(self, port: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            if name == "invoke":
                world.services.sagemaker.set_approval(package, "Rejected", "by hand")
            return super().call(port, name, *args, **kwargs)

    scorer = RejectsMeanwhile(0, after=False).wrap(world.services.scorer)
    world.deliver("promotion-claims", claim_message(world), Faults.replaced(world.services, scorer=scorer))
    assert world.promotion().state == "REFUSED"
    refused(world, package, f"{package} was rejected")


def test_an_approval_that_a_person_takes_back_is_not_given_again_by_policy() -> None:
    world, package = on_its_way("APPLYING", promotion="manual")
    world.decide_package(package, "PendingManualApproval")
    world.minutes(30)
    refused(world, package, f"{package} is not approved any more")


def test_a_rejection_within_a_pause_waits_for_its_end_to_give_the_endpoint_back() -> None:
    world, package = on_its_way("DEPLOYING")
    pauses.begin(world.services.ledger, MONITOR, world.clock.time, world.clock.time + HOUR)
    world.decide_package(package, "Rejected")
    world.minutes(30)
    assert (world.promotion().state, world.champion().generation) == ("DEPLOYING", 0)
    world.minutes(50)
    refused(world, package, f"{package} was rejected")
    assert world.failures == []


def test_a_model_that_reigns_already_is_not_refused_by_a_rejection() -> None:
    world, package = on_its_way("DEPLOYING")
    world.clock.time += 6 * MINUTE
    world.die(DiesAt("put", "CHAMPION"))
    world.deliver("promotion-claims", claim_message(world))
    assert world.champion().generation == 1
    world.decide_package(package, "Rejected")
    world.deliver(*next(each for each in world.history if each[0] == "pipelines"))
    world.minutes(30)
    assert (world.promotion().state, world.retraining().state) == ("DONE", "PROMOTED")
    assert sorted(world.outcomes()) == ["promoted", "started"]


def test_an_endpoint_that_is_given_back_while_the_worker_stands_still_has_no_transition_without_end() -> None:
    world, package = on_its_way("DEPLOYING")
    world.clock.time += 6 * MINUTE
    world.services.sagemaker.set_approval(package, "Rejected", "by hand")

    class StandsStill(Faults):
        def call(self, port: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            answer = super().call(port, name, *args, **kwargs)
            if name == "update_endpoint":
                world.clock.time += 6 * MINUTE
            return answer

    still = StandsStill(0, after=False).wrap(world.services.sagemaker)
    world.deliver("promotion-claims", claim_message(world), Faults.replaced(world.services, sagemaker=still))
    world.minutes(5)
    refused(world, package, f"{package} was rejected")


@pytest.mark.parametrize("state", ["APPLYING", "DEPLOYING"])
def test_a_challenger_whose_package_was_deleted_has_failed(state: str) -> None:
    world, package = on_its_way(state)
    del world.services.sagemaker.packages[package]
    world.minutes(30)
    assert (world.promotion().state, world.promotion().outcome) == ("FAILED", f"{package} does not exist any more")
    assert world.retraining().state == "FAILED"
    assert served_config(world)["EndpointConfigName"] == world.champion().config_name == "churn-1"
    assert world.pool_endpoints() == []
    assert world.failures == []


def test_a_refusal_whose_package_was_deleted_meanwhile_ends() -> None:
    world, package = on_its_way("APPLYING")
    world.clock.time += 6 * MINUTE
    world.deployed.broken = set(world.pool_endpoints())

    class DeletesMeanwhile(Faults):
        def call(self, port: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            if name == "put" and "ENDING" in str(args):
                del world.services.sagemaker.packages[package]
            return super().call(port, name, *args, **kwargs)

    ledger = DeletesMeanwhile(0, after=False).wrap(world.services.ledger)
    world.deliver("promotion-claims", claim_message(world), Faults.replaced(world.services, ledger=ledger))
    assert (world.promotion().state, world.retraining().state) == ("REFUSED", "REFUSED")


def test_an_endpoint_whose_configuration_was_deleted_fails_the_promotion() -> None:
    world, _ = on_its_way("APPLYING")
    del world.services.sagemaker.endpoint_configs["churn-1"]
    world.minutes(30)
    assert (world.promotion().state, world.retraining().state) == ("FAILED", "FAILED")
    assert world.promotion().outcome == "the endpoint churn or its configuration does not exist any more"
    assert world.pool_endpoints() == []
    assert world.failures == []


def _first(world: World, queue: str) -> tuple[str, bytes]:
    waiting = world.take()
    found = next(each for each in waiting if each[0] == queue)
    for other, message in waiting:
        if (other, message) != found:
            world.services.queues.send(other, [message])
    return found


def test_a_past_champion_that_does_not_answer_holds_nobody_up() -> None:
    world = with_pool()
    world.services.sagemaker.delete_endpoint(world.champion().pool[0].endpoint)
    promote(world, 3, "half-z")
    assert world.champion().generation == 3


def test_a_past_champion_whose_container_fails_stops_no_decision() -> None:
    world = with_pool()
    world.deployed.broken.add(world.champion().pool[0].endpoint)
    world.live(3, "not-x")
    assert world.evaluation(3).settled
    assert len(world.decisions(3)) == 1
    known = {loss.candidate for loss in evaluations.losses(world.services.ledger, MONITOR, window_name(3))}
    assert known == {"churn/1", "churn/2"}


@pytest.mark.parametrize("late", [False, True])
def test_a_crash_at_any_call_of_a_promotion_ends_in_the_same_state(late: bool) -> None:
    base = patient(pool_size=1)
    base.live(0)
    promote(base, 1, "z")
    start(base, 2, "not-x")
    base.finish_pipeline("not-x")

    def run(world: World) -> None:
        world.minutes(3)

    calm = deepcopy(base)
    run(calm)
    calm.minutes(20)
    expected = summary(calm)
    assert expected["generation"] == 2
    assert [member.name for member in expected["pool"]] == ["churn/1"]
    assert len(expected["endpoints"]) == 3, "the monitored one, the champion's, the pool's"
    tried = 0
    for place, world in base.crashes(run, late):
        tried += 1
        found = summary(world)
        assert {name: found[name] for name in expected} == expected, place
        assert found == expected, place
    assert tried > 150


@pytest.mark.parametrize("late", [False, True])
def test_a_crash_at_any_call_of_a_refusal_ends_in_the_same_state(late: bool) -> None:
    base = challenged()
    base.finish_pipeline("x")

    def run(world: World) -> None:
        world.minutes(3)

    calm = deepcopy(base)
    run(calm)
    calm.minutes(20)
    expected = summary(calm)
    assert expected["claims"][::2] == ("REFUSED", "REFUSED")
    for place, world in base.crashes(run, late):
        assert summary(world) == expected, place


def test_a_late_message_of_an_old_promotion_never_brings_back_a_rolled_back_model() -> None:
    world = patient(roll_back=True, shrinkage=0.0, half_life_windows=1.0)
    world.live(0)
    start(world, 1, "z")
    event, _ = world.finish_pipeline("z")
    world.settle()
    promotion = claim_message(world)
    retrain = msgspec.json.encode(ClaimMessage(MONITOR, world.retraining().decision_id))
    world.minutes(10)
    assert world.serving == "z"
    for number in range(2, 5):
        world.live(number, "x")
    assert world.serving == "x", "rolled back"
    assert world.champion().generation == 2
    assert world.outcomes() == ["started", "promoted", "rolled_back"]
    before = effects(world)
    for _ in range(3):
        for queue, message in (("promotion-claims", promotion), ("pipelines", event), ("retrain-claims", retrain)):
            world.deliver(queue, message)
        world.minutes(2)
    assert effects(world) == before


def test_a_claim_on_a_generation_that_reigns_no_more_is_superseded() -> None:
    world = with_pool()
    champion = world.champion()
    stale = PromotionClaim(
        claim_id="roll_back-stale",
        kind="roll_back",
        decision_id="stale",
        window=window_name(2),
        generation=champion.generation - 1,
        candidate="first",
        package_arn="",
        state="APPLYING",
        claimed_at=world.clock.time,
        lease_until=world.clock.time + 10 * MINUTE,
    )
    older = msgspec.structs.replace(stale, claim_id="roll_back-older", generation=0)
    assert not claims.claim_promotion(world.services.ledger, MONITOR, older)
    # Claimed just before another one was crowned:
    assert claims.claim_promotion(world.services.ledger, MONITOR, stale)
    world.deliver("promotion-claims", claim_message(world))
    assert world.promotion().state == "SUPERSEDED"
    assert world.promotion().outcome == f"generation {champion.generation} reigns already"
    assert world.champion() == champion
    assert world.serving == "not-x"


def test_a_challenger_that_was_superseded_leaves_no_endpoint() -> None:
    world = challenged()
    world.finish_pipeline("z")
    world.deliver(*_first(world, "pipelines"))
    world.deliver(*_first(world, "promotion-claims"))
    assert len(world.pool_endpoints()) == 2
    item = world.services.ledger.get("MONITOR#churn", "CHAMPION")
    assert item is not None
    moved = msgspec.structs.replace(world.champion(), generation=5)
    world.services.ledger.put(item.pk, item.sk, msgspec.json.encode(moved), expected=item.revision)
    world.minutes(12)
    assert world.promotion().state == "SUPERSEDED"
    assert world.retraining().state == "REFUSED"
    assert world.pool_endpoints() == []


class DiesAt(Faults):
    """The process is gone right after the first call of this name, `about` something."""

    def __init__(self, name: str, about: str = "") -> None:
        super().__init__(0, after=True)
        self._name, self._about = name, about

    def call(self, port: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        answer = super().call(port, name, *args, **kwargs)
        if name == self._name and self._about in str(args) and not self.fired:
            self.fired = True
            raise Crash
        return answer


def test_an_update_that_was_not_noted_leaves_no_transition_without_end() -> None:
    world = patient(endpoint_takes=3 * MINUTE)
    world.live(0)
    start(world, 1, "z")
    world.finish_pipeline("z")
    world.die(DiesAt("update_endpoint"))
    for _ in range(30):
        world.clock.time += MINUTE
        world.services.queues.send("clock", [b"{}"])
        for queue, message in world.take():
            # SageMaker's events are lost, and the message is invisible for longer than the update takes.
            if queue != "endpoints" and not (queue == "promotion-claims" and world.crashed):
                world.deliver(queue, message)
    assert world.crashed is not None
    assert (world.serving, world.promotion().state, world.promotion().deploying_since) == ("z", "DEPLOYING", "")
    world.minutes(15)
    assert world.promotion().state == "DONE"
    rows = world.live(3, "z")
    assert world.evaluation(3).labelled == len(rows)


def test_two_workers_on_one_claim_crown_once() -> None:
    base = patient(endpoint_takes=5 * MINUTE)
    base.live(0)
    start(base, 1, "z")
    base.finish_pipeline("z")
    for _ in range(30):
        base.minutes(1)
        if base.promotion().state == "DEPLOYING":
            break
    assert base.promotion().state == "DEPLOYING"
    base.clock.time += 6 * MINUTE
    message = claim_message(base)
    met = 0
    for step in range(1, 60):
        world = deepcopy(base)
        other = Meanwhile(world, message, step)
        services = Faults.replaced(world.services, ledger=other.wrap(world.services.ledger))
        world.deliver("promotion-claims", message, services)
        if other.calls < step:
            break
        met += 1
        world.minutes(15)
        assert world.champion().generation == 1, step
        assert world.promotion().state == "DONE", step
        assert world.outcomes() == ["promoted", "started"] or world.outcomes() == ["started", "promoted"], step
        assert len({alert.alert_id for alert in world.alerts()}) == len(world.alerts()), step
    assert met > 5


class Meanwhile(Faults):
    """The same message is delivered to a second worker right before the k-th call of the first one's ledger."""

    def __init__(self, world: World, message: bytes, step: int) -> None:
        super().__init__(0, after=False)
        self._world, self._message, self._at = world, message, step

    def call(self, port: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.calls + 1 == self._at:
            self._world.deliver("promotion-claims", self._message)
        return super().call(port, name, *args, **kwargs)


def test_windows_that_settled_meanwhile_are_scored_by_the_new_champion() -> None:
    world = challenged()
    world.live(2, "z")
    world.finish_pipeline("z")
    world.minutes(15)
    scored = {(loss.window, loss.candidate): loss.loss for loss in evaluations.losses(world.services.ledger, MONITOR)}
    assert scored[window_name(2), "churn/1"] == 0.0
    assert (window_name(2), "first") in scored
    assert (window_name(0), "churn/1") not in scored, "it was trained on it"


def test_captures_are_served_by_the_new_model_and_judged() -> None:
    world = challenged()
    world.finish_pipeline("z")
    world.minutes(15)
    world.live(3, "z")
    assert world.evaluation(3).loss == 0.0
    assert world.evaluation(3).model == "churn/1"
    assert world.evaluation(1).model == "first"
    assert len(world.services.objects.keys(DATA, "captures/churn/AllTraffic/2026/01/05/03/")) == 2
