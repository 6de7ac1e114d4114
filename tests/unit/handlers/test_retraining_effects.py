"""A decision to retrain is claimed and acted on once; every end that a pipeline can come to, in any order of events."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from chalicelib.events import ClaimMessage
from chalicelib.handlers import windows_due
from tests.unit.alerts.faults import Faults
from tests.unit.handlers.world import (
    DATA,
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


def drifted(**changes: Any) -> World:
    """Three calm hours and one that went wrong: the decision to retrain, its execution running."""
    world = World(definition(**changes))
    for number in range(3):
        world.live(number)
    world.live(3, "z")
    return world


def claim_message(world: World) -> bytes:
    return msgspec.json.encode(ClaimMessage(MONITOR, world.retraining().decision_id))


def manifest(world: World) -> Any:
    [key] = world.services.objects.keys(OWN, "plumbline/facts/churn/retraining/")
    return json.loads(world.services.objects.get(OWN, key).body)


def notices(world: World) -> list[str]:
    return [alert.summary for alert in world.alerts() if alert.state == "notice"]


def unchanged(world: World) -> tuple[Any, ...]:
    """Everything that an event about a retraining could change."""
    return (
        dict(world.services.ledger.items),
        dict(world.services.sagemaker.executions),
        dict(world.services.sagemaker.packages),
        world.endpoints(),
        world.services.sagemaker.describe_endpoint("churn"),
        len(world.services.courier.delivered),
        {key: stored.etag for key, stored in world.services.objects.objects.items()},
    )


def test_the_decision_names_its_evidence_its_manifest_and_its_execution() -> None:
    world = drifted()
    assert world.actions() == ["HOLD", "HOLD", "HOLD", "RETRAIN"]
    [record] = world.decisions(3)
    assert record.reference == 0.0
    assert record.excess == world.evaluation(3).loss
    stored = world.services.objects.get(OWN, f"plumbline/facts/churn/decisions/{record.decision_id}.json")
    assert msgspec.json.decode(stored.body, type=type(record)) == record

    [execution] = world.running()
    claim = world.retraining()
    assert (claim.state, claim.execution_arn, claim.window) == ("STARTED", execution.arn, window_name(3))
    assert execution.display_name == f"plumbline-{record.decision_id}"
    output = f"s3://{DATA}/retraining/churn/{record.decision_id}"
    assert world.services.sagemaker.requests[execution.arn] == {
        "PipelineName": "retraining",
        "PipelineExecutionDisplayName": f"plumbline-{record.decision_id}",
        "PipelineExecutionDescription": f"churn: window {window_name(3)}",
        "PipelineParameters": [
            {"Name": "Fixed", "Value": "1"},
            {
                "Name": "Manifest",
                "Value": f"s3://{OWN}/plumbline/facts/churn/retraining/{record.decision_id}/manifest.json",
            },
            {"Name": "Output", "Value": f"{output}/{record.decision_id}"},
        ],
        "ClientRequestToken": record.decision_id,
    }
    assert world.outcomes() == ["started"]
    assert notices(world) == ["a retraining has started"]


def test_training_and_held_back_windows_are_disjoint_and_the_newest_are_held_back() -> None:
    world = drifted()
    document = manifest(world)
    named = [each["window"] for each in document["training"]], [each["window"] for each in document["holdback"]]
    assert named == ([window_name(0), window_name(1)], [window_name(2), window_name(3)])
    for each in (*document["training"], *document["holdback"]):
        for uri in each["merged"]:
            key = uri.removeprefix(f"s3://{DATA}/")
            assert len(world.services.objects.get(DATA, key).body.splitlines()) == 20
    assert document["champion"] == {"name": "first", "model_data": world.model_data("first")}
    assert document["pool"] == []
    assert world.retraining().fair_from == window_name(2)


def test_windows_of_several_hours_name_only_merge_files_that_exist() -> None:
    world = World(definition(window={"length": "PT2H", "grace": "PT5M"}))
    for number in (0, 2, 4, 6):
        world.live(number, "not-x" if number == 6 else "x")
        world.clock.time = hour(number + 2)
        world.minutes(8)
    assert world.actions()[-1] == "RETRAIN"
    document = manifest(world)
    for each in (*document["training"], *document["holdback"]):
        assert len(each["merged"]) == 1
        for uri in each["merged"]:
            assert world.services.objects.get(DATA, uri.removeprefix(f"s3://{DATA}/")).body
    world.finish_pipeline("not-x")
    world.minutes(12)
    assert world.serving == "x", "it is worse on the older of the two held-back windows"
    assert world.retraining().outcome.startswith("held-back error 0.5000 is not lower than")


def test_without_windows_to_learn_from_nothing_is_started() -> None:
    world = World(definition(policy={"holdback_windows": 4, "training_windows": 4}))
    for number in range(3):
        world.live(number)
    world.live(3, "z")
    assert world.actions()[-1] == "ALERT"
    assert "no retrain: 4 labelled windows are too few to train on and hold back" in world.decisions(3)[-1].reasons
    assert world.services.sagemaker.executions == {}
    assert world.services.objects.keys(OWN, "plumbline/facts/churn/retraining/") == ()
    world.live(4, "z")
    assert world.actions()[-1] == "RETRAIN"


def test_repeated_claim_messages_start_nothing_more() -> None:
    world = drifted()
    before = unchanged(world)
    for _ in range(4):
        world.deliver("retrain-claims", claim_message(world))
    assert unchanged(world) == before


def test_a_lost_mark_is_found_by_the_clock_which_sends_the_same_request() -> None:
    base = World()
    for number in range(3):
        base.live(number)
    base.live(3, "z", labelled=False)
    base.clock.time = hour(4) + 10 * MINUTE

    def labels_arrive(world: World) -> None:
        world.label(rows_of(3, 20), "z", "labels-3")
        world.settle()
        world.minutes(2)

    lost = 0
    for place, world in base.crashes(labels_arrive):
        assert world.crashed is not None
        if world.crashed[0] != "retrain-claims":
            continue
        lost += 1
        assert len(world.services.sagemaker.executions) == 1, place
        assert world.retraining().state == "STARTED", place
    assert lost > 5


def test_a_claim_whose_message_was_lost_is_taken_up_when_its_lease_is_over() -> None:
    world = World()
    for number in range(3):
        world.live(number)
    world.live(3, "z", labelled=False)
    world.label(rows_of(3, 20), "z", "labels-3")
    world.clock.time = hour(4) + 12 * MINUTE
    world.settle()
    world.clock.time += 2 * MINUTE
    world.deliver("clock", b"{}")
    for queue, message in world.take():
        world.deliver(queue, message)
    assert len(world.services.queues.take("retrain-claims")) == 1, "and so it is lost"
    assert world.retraining().state == "STARTING"
    world.minutes(8)
    assert world.running() == []
    world.minutes(4)
    [execution] = world.running()
    assert world.services.sagemaker.requests[execution.arn] == world.retraining().request
    assert world.retraining().state == "STARTED"


def test_a_start_that_sagemaker_refuses_fails_and_is_told() -> None:
    world = World()
    del world.services.sagemaker.pipelines["retraining"]
    for number in range(3):
        world.live(number)
    world.live(3, "z")
    claim = world.retraining()
    assert claim.state == "FAILED"
    assert claim.outcome == "not started: pipeline retraining: no such pipeline"
    assert world.services.sagemaker.executions == {}
    [alert] = [alert for alert in world.alerts("retraining") if alert.state == "notice"]
    assert (alert.severity, alert.summary) == ("error", "a retraining failed")
    assert alert.reasons == [claim.outcome]
    world.minutes(30)
    assert len(world.alerts("retraining")) == 1


def test_a_failed_execution_is_told_once_and_ends_the_claim() -> None:
    world = drifted()
    event, _ = world.finish_pipeline(status="Failed")
    world.settle()
    assert world.retraining().state == "FAILED"
    assert world.retraining().outcome == "the execution Failed: why"
    assert notices(world) == ["a retraining has started", "a retraining failed"]
    before = unchanged(world)
    for _ in range(3):
        world.deliver("pipelines", event)
        world.deliver("retrain-claims", claim_message(world))
    world.settle()
    assert unchanged(world) == before


def test_after_a_failure_the_next_start_waits_for_the_cool_down() -> None:
    world = drifted(policy={"reference_windows": 1})
    world.finish_pipeline(status="Failed")
    world.live(4, "z")
    assert len(world.services.sagemaker.executions) == 1
    for number in range(5, 9):
        world.live(number, "not-x" if number > 6 else "z")
    assert len(world.services.sagemaker.executions) == 2
    first, second = (record for record in world.decisions() if record.action == "RETRAIN")
    assert second.window >= window_name(5)
    assert first.decision_id != second.decision_id


@pytest.mark.parametrize("evaluation", [None, b"nonsense", b'{"losses": {"challenger": 0.5}, "best_incumbent": 0.25}'])
def test_an_execution_without_a_package_is_a_refusal(evaluation: bytes | None) -> None:
    world = drifted()
    claim = world.retraining()
    if evaluation is not None:
        key = claim.output_uri.removeprefix(f"s3://{DATA}/") + "/evaluation/evaluation.json"
        world.services.objects.put(DATA, key, evaluation)
    event, _ = world.finish_pipeline()
    world.settle()
    ended = world.retraining()
    assert ended.state == "REFUSED"
    expected = (
        "held-back error 0.5000 is not lower than the best incumbent's 0.2500"
        if evaluation and evaluation.startswith(b"{")
        else f"{claim.execution_arn} registered no model package"
    )
    assert ended.outcome == expected
    assert notices(world)[-1] == "a challenger was refused"
    before = unchanged(world)
    world.deliver("pipelines", event)
    world.settle()
    assert unchanged(world) == before
    assert world.serving == "x"


def test_with_auto_promotion_a_better_package_serves() -> None:
    world = drifted()
    _, package = world.finish_pipeline("z")
    world.minutes(12)
    assert world.serving == "z"
    assert world.retraining().state == "PROMOTED"
    assert world.services.sagemaker.describe_model_package(package).approval_status == "Approved"
    assert world.outcomes() == ["started", "promoted"]


def test_with_manual_promotion_a_package_waits_for_a_person() -> None:
    world = drifted(policy={"promotion": "manual"})
    event, package = world.finish_pipeline("z")
    world.minutes(45)
    assert world.retraining().state == "AWAITING_APPROVAL"
    assert world.serving == "x"
    assert world.pool_endpoints() == []
    [asked] = world.alerts("promotion")
    assert asked.reasons == [f"approve or reject {package}"]
    before = len(world.services.topic.published)
    for _ in range(3):
        world.deliver("pipelines", event)
    world.settle()
    assert len(world.services.topic.published) == before

    approved = world.decide_package(package, "Approved")
    world.minutes(12)
    assert world.serving == "z"
    assert world.retraining().state == "PROMOTED"
    after = unchanged(world)
    for _ in range(3):
        world.deliver("model-packages", approved)
        world.deliver("pipelines", event)
    world.settle()
    assert unchanged(world) == after


def test_a_person_rejects_a_package() -> None:
    world = drifted(policy={"promotion": "manual"})
    event, package = world.finish_pipeline("z")
    world.settle()
    rejected = world.decide_package(package, "Rejected")
    world.minutes(12)
    assert (world.retraining().state, world.retraining().outcome) == ("REFUSED", f"{package} was rejected")
    assert world.serving == "x"
    assert world.pool_endpoints() == []
    assert notices(world)[-1] == "a challenger was refused"
    before = unchanged(world)
    for _ in range(3):
        world.deliver("model-packages", rejected)
        world.deliver("pipelines", event)
    assert unchanged(world) == before
    # The event of an earlier approval comes last: the registry says what holds now.
    world.deliver("model-packages", rejected.replace(b"Rejected", b"Approved"))
    world.settle()
    assert unchanged(world) == before


@pytest.mark.parametrize("status", ["Approved", "Rejected"])
def test_a_person_may_be_faster_than_the_end_of_the_execution(status: str) -> None:
    world = drifted(policy={"promotion": "manual"})
    end, package = world.finish_pipeline("z")
    world.services.queues.take("pipelines")
    world.decide_package(package, status)
    world.settle()
    assert world.retraining().state == "STARTED"
    world.deliver("pipelines", end)
    world.minutes(12)
    assert world.retraining().state == ("PROMOTED" if status == "Approved" else "REFUSED")
    assert world.serving == ("z" if status == "Approved" else "x")


@pytest.mark.parametrize("status", ["Approved", "Rejected"])
def test_a_persons_word_is_found_by_the_clock_when_its_event_is_lost(status: str) -> None:
    world = drifted(policy={"promotion": "manual"})
    _, package = world.finish_pipeline("z")
    world.settle()
    world.services.sagemaker.set_approval(package, status, "by hand, and nobody was told")
    world.minutes(25)
    assert world.retraining().state == ("PROMOTED" if status == "Approved" else "REFUSED")
    assert world.serving == ("z" if status == "Approved" else "x")
    assert len([alert for alert in world.alerts("promotion") if "approval" in alert.summary]) == 1


def test_the_end_of_an_execution_is_found_by_the_clock_when_its_event_is_lost() -> None:
    world = drifted()
    world.finish_pipeline("z")
    world.services.queues.take("pipelines")
    world.minutes(25)
    assert world.serving == "z"


def test_the_end_may_come_before_the_mark_of_the_start() -> None:
    base = World()
    for number in range(3):
        base.live(number)
    base.live(3, "z", labelled=False)
    base.label(rows_of(3, 20), "z", "labels-3")
    base.clock.time = hour(4) + 12 * MINUTE
    base.settle()
    base.clock.time += 2 * MINUTE
    base.deliver("clock", b"{}")
    for queue, message in base.take():
        base.deliver(queue, message)
    [claimed] = base.services.queues.take("retrain-claims")
    # The start takes effect, and the function ends before its mark.
    base.services.sagemaker.start_pipeline(base.retraining().request)
    assert base.retraining().state == "STARTING"
    for again in (True, False):
        world = deepcopy(base)
        world.finish_pipeline("z")
        if again:
            world.deliver("retrain-claims", claimed)
        world.minutes(2)
        if not again:
            # Its promotion is claimed already when the start's message comes back.
            world.deliver("retrain-claims", claimed)
        world.minutes(25)
        assert len(world.services.sagemaker.executions) == 1
        assert world.retraining().state == "PROMOTED"
        assert world.serving == "z"


def test_while_another_change_of_what_is_served_lasts_the_clock_does_not_stumble_over_an_unmarked_start() -> None:
    world = drifted()
    world.finish_pipeline("z")
    # As if the start's mark had been lost, and the endpoints took long to come.
    claim = msgspec.structs.replace(world.retraining(), state="STARTING", execution_arn="")
    item = world.services.ledger.get("MONITOR#churn", "CLAIM#RETRAIN")
    assert item is not None
    world.services.ledger.put(item.pk, item.sk, msgspec.json.encode(claim), expected=item.revision)
    for _ in range(2):
        queue, message = world.take()[0]
        world.deliver(queue, message)
        break
    world.services.queues.take("promotion-claims")
    assert world.retraining().state == "PROMOTING"
    world.minutes(30)
    assert world.failures == []
    assert world.serving == "z"


def test_an_execution_of_somebody_else_is_nobodys() -> None:
    world = drifted()
    before = unchanged(world)
    arn = world.services.sagemaker.start_pipeline(
        {
            "PipelineName": "retraining",
            "PipelineExecutionDisplayName": "by-hand",
            "ClientRequestToken": "x" * 32,
            "PipelineParameters": [{"Name": "Manifest", "Value": "m"}, {"Name": "Output", "Value": "o"}],
        }
    )
    world.services.sagemaker.finish_execution(arn)
    detail = {"pipelineExecutionArn": arn, "currentPipelineExecutionStatus": "Succeeded"}
    event = json.dumps({"time": "2026-01-05T05:00:00Z", "detail": detail}).encode()
    world.deliver("pipelines", event)
    unknown = event.replace(arn.encode(), b"arn:aws:sagemaker:us-east-1:123456789012:pipeline/x/execution/y")
    world.deliver("pipelines", unknown)
    after = unchanged(world)
    assert (after[0], after[2:]) == (before[0], before[2:])
    assert world.failures == world.permanent == []


def test_an_execution_that_is_gone_fails_its_claim_and_stops_no_other_work() -> None:
    world = drifted()
    [execution] = world.running()
    del world.services.sagemaker.executions[execution.arn]
    world.clock.time += HOUR / 2
    rows = world.live(4, "x")
    assert world.evaluation(4).rows == len(rows)
    assert world.retraining().state == "FAILED"
    assert notices(world)[-1] == "a retraining failed"
    assert world.failures == []


@pytest.mark.parametrize("told", ["by an event", "by the clock"])
def test_a_package_that_was_deleted_is_waited_for_no_longer(told: str) -> None:
    world = drifted(policy={"promotion": "manual"})
    _, package = world.finish_pipeline("z")
    world.settle()
    assert world.retraining().state == "AWAITING_APPROVAL"
    if told == "by an event":
        world.decide_package(package, "Approved")
    del world.services.sagemaker.packages[package]
    world.minutes(15)
    assert (world.retraining().state, world.retraining().outcome) == ("REFUSED", f"{package} does not exist any more")
    assert notices(world)[-1] == "a challenger was refused"
    assert world.failures == []


def test_a_package_that_was_deleted_before_the_end_of_its_execution_is_refused() -> None:
    world = drifted()
    _, package = world.finish_pipeline("z")
    del world.services.sagemaker.packages[package]
    world.minutes(15)
    assert (world.retraining().state, world.retraining().outcome) == ("REFUSED", f"{package} does not exist any more")
    assert world.failures == []


def test_a_retraining_that_cannot_be_looked_at_does_not_hold_up_the_promotion() -> None:
    world = drifted(policy={"promotion": "manual"})
    _, package = world.finish_pipeline("z")
    world.settle()
    world.decide_package(package, "Approved")
    world.deliver(*next(each for each in world.take() if each[0] == "model-packages"))
    world.services.queues.take("promotion-claims")  # what sends it on is lost

    class Denied(Faults):
        def call(self, port: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            if name == "describe_execution":
                raise PermissionError("no")
            return super().call(port, name, *args, **kwargs)

    world.clock.time += 11 * MINUTE
    denied = Faults.replaced(world.services, sagemaker=Denied(0, after=False).wrap(world.services.sagemaker))
    with pytest.raises(windows_due.TickError, match=r"^churn: PermissionError$"):
        windows_due.handle("{}", denied)
    assert len(world.services.queues.take("promotion-claims")) == 1


def test_a_monitor_that_only_alerts_starts_nothing() -> None:
    for changes in ({"policy": {"retrain": False}}, {"retraining": None}):
        world = World(definition(**changes))
        for number in range(6):
            world.live(number, "x" if number < 3 else "z")
        assert world.services.sagemaker.executions == {}
        assert set(world.actions()) == {"HOLD", "ALERT"}
