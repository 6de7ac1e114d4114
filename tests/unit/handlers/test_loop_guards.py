"""Roll-backs, alarms, Model Monitor's own executions and broken data: what the loop does with each, and how often."""

from __future__ import annotations

import json
from collections import Counter
from copy import deepcopy
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.ports import ProcessingJob
from tests.unit.handlers.world import (
    DATA,
    HOUR,
    MINUTE,
    MONITOR,
    TOYS,
    World,
    capture_line,
    capture_lines,
    definition,
    hour,
    rows_of,
    window_name,
)

CHURN = Path(__file__).parents[3] / "examples/churn-execution"

# Nothing starts by itself: excess loss is never high enough.
DEAR = {"cost": 1000.0, "cool_down_windows": 1, "holdback_windows": 1, "training_windows": 2}


def states(world: World, kind: str) -> list[str]:
    return [alert.state for alert in world.alerts(kind)]


@cache
def _with_pool() -> World:
    world = World(definition(policy={**DEAR, "roll_back": False}))
    world.live(0)
    for number, truth in ((1, "z"), (2, "not-x")):
        world.live(number, truth)
        world.alarm("accuracy-low", "ALARM")
        world.minutes(4)
        world.finish_pipeline(truth)
        world.minutes(15)
        world.alarm("accuracy-low", "OK")
        world.settle()
        assert world.serving == truth
    world.add(definition(policy={**DEAR, "shrinkage": 0.1, "half_life_windows": 1.0}))
    return world


def with_pool() -> World:
    return deepcopy(_with_pool())


def test_the_past_champion_with_the_best_losses_serves_again() -> None:
    world = with_pool()
    assert [member.name for member in world.champion().pool] == ["first", "churn/1"]
    world.live(3, "z")
    assert world.serving == "z"
    [record] = world.decisions(3)
    assert (record.action, record.serve, record.champion) == ("ROLL_BACK", "churn/1", "churn/2")
    assert record.differences["churn/1"] < min(record.differences["churn/2"], record.differences["first"])
    champion = world.champion()
    assert (champion.generation, champion.candidate.name) == (3, "churn/1")
    assert [member.name for member in champion.pool] == ["first", "churn/2"]
    assert world.promotion().state == "DONE"
    assert world.outcomes()[-1] == "rolled_back"
    [told] = [alert for alert in world.alerts("promotion") if "serves again" in alert.summary]
    assert told.decision_id == record.decision_id
    assert len(world.services.sagemaker.executions) == 2, "no retraining was needed"
    world.live(4, "z")
    assert world.evaluation(4).loss == 0.0
    assert world.champion() == champion


def test_the_roll_back_is_done_once_however_often_its_messages_come() -> None:
    world = with_pool()
    world.live(3, "z")
    before = (world.champion(), world.promotion(), world.outcomes(), len(world.services.courier.delivered))
    message = msgspec.json.encode({"monitor": MONITOR, "claim_id": world.promotion().claim_id})
    window = msgspec.json.encode({"monitor": MONITOR, "window": window_name(3)})
    for _ in range(3):
        world.deliver("promotion-claims", message)
        world.deliver("windows", window)
        world.minutes(3)
    assert (world.champion(), world.promotion(), world.outcomes(), len(world.services.courier.delivered)) == before


def test_a_veto_holds_a_roll_back_and_its_end_lets_the_same_window_be_decided() -> None:
    world = with_pool()
    world.alarm("deploying", "ALARM")
    world.settle()
    world.live(3, "z")
    [held] = world.decisions(3)
    assert (held.action, held.serve) == ("ALERT", "")
    assert "alarm deploying is declared a veto and is in ALARM" in held.reasons
    assert world.serving == "not-x"

    world.clock.time += 10 * MINUTE
    event = world.alarm("deploying", "OK")
    world.minutes(6)
    first, second = world.decisions(3)
    assert (first, second.action) == (held, "ROLL_BACK")
    assert world.serving == "z"
    for _ in range(3):
        world.deliver("alarms", event)
        world.minutes(3)
    assert len(world.decisions(3)) == 2
    assert world.champion().generation == 3


def test_a_veto_holds_a_retraining() -> None:
    world = World()
    for number in range(3):
        world.live(number)
    world.alarm("deploying", "ALARM")
    world.settle()
    world.live(3, "z")
    assert world.services.sagemaker.executions == {}
    world.alarm("deploying", "OK")
    world.minutes(6)
    assert len(world.running()) == 1
    assert [record.action for record in world.decisions(3)] == ["ALERT", "RETRAIN"]


def test_the_end_of_a_veto_is_not_lost_in_a_crash() -> None:
    base = World()
    for number in range(3):
        base.live(number)
    base.alarm("deploying", "ALARM")
    base.settle()
    base.live(3, "z")
    base.alarm("deploying", "OK")
    for place, world in base.crashes(lambda world: world.settle()):
        assert len(world.services.sagemaker.executions) == 1, place


def triggered() -> World:
    world = World(definition(policy=DEAR))
    for number in range(3):
        world.live(number)
    return world


def test_a_trigger_starts_one_retraining_however_often_its_event_comes() -> None:
    world = triggered()
    event = world.alarm("accuracy-low", "ALARM")
    for _ in range(5):
        world.services.queues.send("alarms", [event])
    world.minutes(4)
    [execution] = world.running()
    record = world.decisions(2)[-1]
    assert record.action == "RETRAIN"
    assert record.reasons[0] == "alarm accuracy-low is declared a trigger and is in ALARM"
    assert execution.display_name.endswith(record.decision_id)

    world.finish_pipeline(status="Failed")
    for number in range(3, 7):  # past the cool-down
        world.live(number)
        world.deliver("alarms", event)
        world.minutes(3)
    assert len(world.services.sagemaker.executions) == 1
    assert [each.action for each in world.decisions()].count("RETRAIN") == 1


def test_a_trigger_that_ends_and_comes_again_asks_again() -> None:
    world = triggered()
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    world.finish_pipeline(status="Failed")
    world.alarm("accuracy-low", "OK", at=world.clock.time + MINUTE)
    for number in range(3, 5):
        world.live(number)
    assert len(world.services.sagemaker.executions) == 1
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    assert len(world.services.sagemaker.executions) == 2


def test_a_trigger_is_not_lost_in_a_crash() -> None:
    base = triggered()
    base.alarm("accuracy-low", "ALARM")
    tried = 0
    for place, world in base.crashes(lambda world: world.settle()):
        tried += 1
        assert len(world.services.sagemaker.executions) == 1, place
    assert tried > 10


def test_a_trigger_is_answered_by_the_newest_settled_window_though_it_is_sealed() -> None:
    world = World(definition(policy=DEAR, labels={"horizon": "PT3H"}))
    for number in range(3):
        world.live(number)
    world.clock.time = hour(9)
    before = world.derived()
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    assert len(world.running()) == 1
    assert world.decisions(2)[-1].action == "RETRAIN"
    reports = {name: body for name, body in before.items() if "/reports/" in name or "evaluation.json" in name}
    assert {name: world.derived()[name] for name in reports} == reports


def test_a_trigger_before_anything_can_be_learned_from_is_answered_by_the_first_window_that_can() -> None:
    world = World(definition(policy=DEAR))
    world.live(0, labelled=False)
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    assert world.services.sagemaker.executions == {}
    world.live(1)
    [record] = world.decisions(1)
    assert record.action == "ALERT"
    assert "alarm accuracy-low is declared a trigger and is in ALARM" in record.reasons
    assert record.reasons[-1] == "no retrain: 1 labelled windows are too few to train on and hold back"
    assert world.services.sagemaker.executions == {}
    for number in (2, 3, 4):
        world.live(number)
    assert world.retraining().window == window_name(2)
    assert len(world.services.sagemaker.executions) == 1


def test_a_trigger_whose_window_is_overtaken_is_answered_by_the_newer_one() -> None:
    world = triggered()
    rows = rows_of(3, 20)
    world.clock.time = hour(3) + 56 * MINUTE
    world.capture(3, rows)
    world.label(rows, "x", "labels-3")
    world.settle()
    world.clock.time = hour(4) + 4 * MINUTE
    world.alarm("accuracy-low", "ALARM")
    world.settle()
    world.clock.time = hour(4) + 6 * MINUTE
    world.deliver("clock", b"{}")
    messages = [(queue, message) for queue, message in world.take() if queue == "windows"]
    assert len(messages) == 2
    # Window 3, the newer one, comes first.
    for queue, message in sorted(messages, key=lambda each: json.loads(each[1])["window"], reverse=True):
        world.deliver(queue, message)
    world.minutes(3)
    [execution] = world.running()
    assert world.retraining().window == window_name(3)
    assert execution.display_name.endswith(world.retraining().decision_id)


def test_a_trigger_under_a_veto_is_answered_when_the_veto_ends_be_it_by_a_newer_window() -> None:
    world = triggered()
    world.alarm("deploying", "ALARM")
    world.settle()
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    assert "is declared a veto" in world.decisions(2)[-1].reasons[-1]
    world.live(3)
    assert world.services.sagemaker.executions == {}
    world.clock.time += 5 * MINUTE
    world.alarm("deploying", "OK")
    world.minutes(4)
    assert world.retraining().window == window_name(3)
    assert len(world.running()) == 1


def test_an_older_event_of_a_veto_changes_nothing() -> None:
    world = triggered()
    world.alarm("deploying", "OK")
    world.settle()
    world.alarm("deploying", "ALARM", at=world.clock.time - HOUR)
    world.minutes(2)
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    assert len(world.running()) == 1


def test_evidence_alarms_are_written_down_and_start_nothing() -> None:
    world = World()
    world.live(0)
    world.alarm("latency", "ALARM")
    world.settle()
    world.live(1)
    [record] = world.decisions(1)
    assert record.action == "ALERT"
    assert "alarm latency is in ALARM" in record.reasons
    assert world.services.sagemaker.executions == {}


SCHEDULES = ("quality", "bias")


def published_job(
    world: World, name: str = "", status: str = "Completed", start: str | None = "", schedule: str = ""
) -> ProcessingJob:
    """The published execution, or one like it; `start` None: its environment names none."""
    description = json.loads((CHURN / "describe_processing_job.synthetic.json").read_text())
    report = f"model-monitor/{name or 'churn'}/2021/05/26/01"
    arn = description["MonitoringScheduleArn"]
    environment = {**description["Environment"], **({"start_time": start} if start else {})}
    if start is None:
        del environment["start_time"]
    job = ProcessingJob(
        name=name or description["ProcessingJobName"],
        status=status,
        created_at=world.clock.time,
        exit_message=description["ExitMessage"],
        monitoring_schedule_arn=f"{arn.rpartition('/')[0]}/{schedule}" if schedule else arn,
        outputs={"result": f"s3://{DATA}/{report}"},
        environment=environment,
    )
    world.services.sagemaker.add_processing_job(job)
    return job


def violations(world: World, job: ProcessingJob, body: bytes | None = None) -> None:
    key = job.outputs["result"].removeprefix(f"s3://{DATA}/") + "/constraint_violations.json"
    world.services.objects.put(DATA, key, body or (CHURN / "constraint_violations.json").read_bytes())


def test_the_published_execution_alerts_once_with_its_violations() -> None:
    world = World()
    job = published_job(world)
    violations(world, job)
    event = world.job_event(job.name, "Completed")
    for _ in range(4):
        world.services.queues.send("executions", [event])
    world.minutes(5)
    [alert] = world.alerts("model-monitor")
    published = json.loads((CHURN / "constraint_violations.json").read_text())["violations"]
    assert len(alert.reasons) == len(published) == 10
    assert alert.reasons[0] == "auc: LessThanThreshold"
    assert (alert.state, alert.severity, alert.report) == ("opened", "warning", job.outputs["result"])
    assert world.services.sagemaker.executions == {}, "its thresholds retrain nothing"


def test_a_later_execution_without_violations_resolves_what_the_first_opened() -> None:
    world = World()
    job = published_job(world)
    violations(world, job)
    first = world.job_event(job.name, "Completed")
    world.settle()
    later = published_job(world, "model-quality-monitoring-202105260200", start="2021-05-26T01:00:00Z")
    second = world.job_event(later.name, "Completed")
    world.settle()
    assert states(world, "model-monitor") == ["opened", "resolved"]
    for _ in range(3):
        for event in (second, first):
            world.deliver("executions", event)
        world.settle()
    assert states(world, "model-monitor") == ["opened", "resolved"]


def test_a_clean_schedule_does_not_resolve_what_another_has_found() -> None:
    world = World(definition(schedules=list(SCHEDULES)))
    for number in range(3):
        start = window_name(number)
        clean = published_job(world, f"bias-{number}", start=start, schedule="bias")
        world.job_event(clean.name, "Completed")
        world.settle()
        found = published_job(world, f"quality-{number}", start=start, schedule="quality")
        violations(world, found)
        world.job_event(found.name, "Completed")
        world.settle()
    [alert] = world.alerts("model-monitor")
    assert (alert.state, alert.window, len(alert.reasons)) == ("opened", window_name(0), 10)
    assert alert.title == "churn: a Model Monitor execution found violations (quality)"


def test_two_schedules_with_violations_in_one_window_tell_each_its_own() -> None:
    world = World(definition(schedules=list(SCHEDULES)))
    for schedule in SCHEDULES:
        job = published_job(world, f"{schedule}-0", start=window_name(0), schedule=schedule)
        check = {"metric_name": schedule, "constraint_check_type": "LessThanThreshold"}
        violations(world, job, json.dumps({"violations": [check]}).encode())
        world.job_event(job.name, "Completed")
    world.settle()
    alerts = world.alerts("model-monitor")
    assert [alert.reasons for alert in alerts] == [[f"{schedule}: LessThanThreshold"] for schedule in SCHEDULES]
    assert len({alert.incident for alert in alerts}) == 2


def test_an_execution_that_names_no_window_is_ordered_by_its_creation() -> None:
    world = World()
    clean = published_job(world, "model-quality-clean", start=None)
    world.job_event(clean.name, "Completed")
    world.settle()
    world.clock.time += HOUR
    found = published_job(world, "model-quality-a", start=None)
    violations(world, found)
    event = world.job_event(found.name, "Completed")
    world.settle()
    [alert] = world.alerts("model-monitor")
    assert (alert.state, alert.window) == ("opened", world.clock.time.strftime("%Y-%m-%dT%H:%M:%SZ"))
    world.clock.time += HOUR
    named = published_job(world, "model-quality-b", start=window_name(2))
    world.job_event(named.name, "Completed")
    world.settle()
    world.deliver("executions", event)
    assert states(world, "model-monitor") == ["opened", "resolved"]


def test_an_execution_that_stopped_alerts_and_merge_stages_and_strangers_do_not() -> None:
    world = World()
    job = published_job(world, status="Stopped")
    world.job_event("groundtruth-merge-202105260100", "Completed")
    world.job_event("nobody-knows-it", "Completed")
    stranger = msgspec.structs.replace(job, name="no-schedule", monitoring_schedule_arn=None)
    world.services.sagemaker.add_processing_job(stranger)
    world.job_event("no-schedule", "Failed")
    world.settle()
    assert world.alerts() == []
    world.job_event(job.name, "Stopped")
    world.settle()
    [alert] = world.alerts()
    assert alert.reasons == ["the execution ended Stopped"]


def test_a_violations_file_that_cannot_be_read_is_a_permanent_error() -> None:
    world = World()
    job = published_job(world)
    violations(world, job, b"<xml/>")
    world.job_event(job.name, "Completed")
    world.settle()
    assert world.alerts() == []
    [error] = world.permanent
    assert "constraint_violations.json: expected SageMaker's" in error


BROKEN = {
    "a column too many": lambda row: f"{row.x},{row.z},1.0",
    "a column too few": lambda row: f"{row.x}",
    "an empty column": lambda row: f"{row.x},",
    "a text where numbers were": lambda row: f"{row.x},ultramarine",
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_data_alerts_at_once_and_is_not_learned_from(how: str) -> None:
    world = World(definition(policy={**DEAR, "cost": 0.05, "roll_back": False}))
    for number in range(3):
        world.live(number)
    rows = rows_of(3, 24)
    world.clock.time = hour(3) + 20 * MINUTE
    lines = [capture_line(row, "0.9" if row.x <= 0.5 else "0.1", BROKEN[how](row)) for row in rows]
    world.put_capture(3, b"".join(lines), "20")
    world.settle()

    [alert] = world.alerts()
    assert (alert.kind, alert.state, alert.severity) == ("broken-data", "opened", "error")
    assert alert.window == window_name(3)
    assert "captures/churn/AllTraffic/2026/01/05/03/20" in alert.report
    assert "ultramarine" not in " ".join(alert.reasons)
    for _ in range(2):
        world.repeat_events()
        world.settle()
    assert states(world, "broken-data") == ["opened"]

    world.label(rows, "x", "labels-3")
    world.clock.time = hour(4)
    world.minutes(9)
    assert world.evaluation(3).broken
    [record] = world.decisions(3)
    assert record.action == "ALERT"
    assert "broken data is not learned from: no retrain" in record.reasons
    assert world.services.sagemaker.executions == {}
    assert states(world, "broken-data") == ["opened"]
    world.live(4)
    assert states(world, "broken-data") == ["opened", "resolved"]


def test_one_odd_row_among_many_is_no_break() -> None:
    world = World()
    rows = rows_of(0, 40)
    lines = [capture_lines([row], TOYS["x"]) for row in rows[:-1]] + [capture_line(rows[-1], "0.9", "0.5,")]
    world.put_capture(0, b"".join(lines), "20")
    world.settle()
    world.clock.time = hour(1)
    world.minutes(7)
    assert states(world, "broken-data") == []
    assert world.evaluation(0).broken == ()


def test_a_null_in_a_small_file_waits_for_its_window() -> None:
    world = World()
    rows = rows_of(0, 2)
    lines = capture_lines(rows[:1], TOYS["x"]) + capture_line(rows[1], "0.9", "0.5,")
    world.put_capture(0, lines, "20")
    world.settle()
    assert world.alerts() == []


def test_broken_data_is_seen_without_a_baseline_by_its_shape() -> None:
    world = World(definition(baseline={}))
    rows = rows_of(0, 24)
    world.put_capture(0, b"".join(capture_line(row, "0.9", "1,2,3") for row in rows), "20")
    world.settle()
    [alert] = world.alerts()
    assert alert.kind == "broken-data"


def test_a_baseline_that_is_missing_does_not_keep_captures_from_being_worked_off() -> None:
    world = World()
    world.services.objects.delete(DATA, "baseline/data_quality/constraints.json")
    world.capture(0, rows_of(0, 24))
    world.settle()
    assert world.failures == world.permanent == []


def eventful() -> World:
    """Bad and good windows in turn, a broken file among them."""
    world = World(definition(policy={"retrain": False, "roll_back": False}))
    for number, truth in enumerate(["x", "not-x", "not-x", "x", "x", "not-x", "x"]):
        if number == 4:
            world.clock.time = hour(4) + 10 * MINUTE
            broken = b"".join(capture_line(row, "0.9", "1,2,3") for row in rows_of(4, 24, seed="broken"))
            world.put_capture(4, broken, "99")
        world.live(number, truth)
    return world


def test_one_opening_and_one_resolution_per_incident() -> None:
    world = eventful()
    # Two bad windows in a row are evidence, which joins what the thresholds opened.
    assert states(world, "model-quality") == ["opened", "changed", "resolved", "opened", "resolved"]
    assert states(world, "broken-data") == ["opened", "resolved"]
    pairs = Counter((alert.incident, alert.state) for alert in world.alerts() if alert.incident)
    assert set(pairs.values()) == {1}


def test_repeating_everything_opens_and_resolves_nothing_more() -> None:
    world = eventful()
    before = [alert.alert_id for alert in world.alerts()]
    derived = world.derived()
    for _ in range(3):
        world.repeat_events()
        world.minutes(20)
    assert [alert.alert_id for alert in world.alerts()][: len(before)] == before
    assert [alert.alert_id for alert in world.alerts()] == before
    assert {name: world.derived()[name] for name in derived} == derived


def test_a_receiver_that_was_down_gets_each_alert_once() -> None:
    world = World(definition(policy={"retrain": False, "roll_back": False}))
    world.live(0)
    url = "https://hook.example/alerts"
    world.services.courier.answers[url] = ConnectionError("no route")
    kept: list[tuple[str, bytes]] = []
    rows = rows_of(1, 20)
    world.clock.time = hour(1) + 56 * MINUTE
    world.capture(1, rows)
    world.label(rows, "not-x", "labels-1")
    world.settle()
    world.clock.time = hour(2) + 6 * MINUTE
    world.services.queues.send("clock", [b"{}"])
    for _ in range(20):
        for queue, message in world.take():
            if queue == "alerts":
                kept.append((queue, message))
            else:
                world.deliver(queue, message)
    assert len(kept) == 1
    world.deliver(*kept[0])
    [mine] = world.take()
    with pytest.raises(Exception, match="failed ConnectionError"):
        world.deliver(*mine)
    assert world.alerts() == []
    del world.services.courier.answers[url]
    world.clock.time += timedelta(minutes=10)
    for _ in range(3):
        world.deliver(*mine)
    assert [alert.state for alert in world.alerts()] == ["opened"]


def test_no_alert_and_no_record_holds_payload() -> None:
    world = eventful()
    texts = [delivery.body.decode() for delivery in world.services.courier.delivered]
    texts += [
        stored.body.decode()
        for (bucket, key), stored in world.services.objects.objects.items()
        if key.startswith("plumbline/facts/")
    ]
    payload: set[Any] = set()
    for number in range(7):
        for row in rows_of(number, 20):
            payload.update((row.inference_id, row.event_id, f"{row.x},{row.z}"))
    assert texts
    assert not [each for each in payload for text in texts if each in text]
