"""The laws of `make kill` hold for an undisturbed run, and each can be broken.

A real, short run of the emulator with one retraining; then the account is tampered with, one thing after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import pytest

from chalicelib import keys
from chalicelib.facts import evaluations
from chalicelib.facts.document import monitor_partition
from chalicelib.records.window import Window
from demo.account import BUCKET, FIRST, LOOP
from emulator.world import world
from trials.kill.laws import Observation, Seen, breaches, facts_equal, half_written, observe, read_objects
from trials.kill.run import POLICY, REST, STALE

WINDOWS = 8


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    messages: list[tuple[str, str]] = []
    folder: Path = tmp_path_factory.mktemp("state")
    with world(folder, POLICY, lambda queue, body: messages.append((queue, body))) as replay:
        replay.first_week = STALE
        replay.run(WINDOWS)
        replay.rest(REST)
        yield Seen(replay, messages, 0, read_objects(replay))


@pytest.fixture(scope="module")
def calm(seen: Seen) -> Observation:
    return observe(seen)


def broken(seen: Seen, calm: Observation, **changed: bytes | None) -> set[str]:
    """The names of the laws that are broken, with some objects' bytes changed (None: taken away)."""
    objects = {name: body for name, body in {**seen.objects, **changed}.items() if body is not None}
    return {words.partition(":")[0] for words in breaches(replace(seen, objects=objects), calm)}


def key(seen: Seen, *parts: str) -> str:
    return next(name for name in sorted(seen.objects) if all(part in name for part in parts))


def revision_of_a_fact(seen: Seen) -> str:
    """A window's newest revision; earlier ones stay beside it."""
    first = evaluations.evaluations(seen.services.ledger, FIRST, "", "9")[0]
    return keys.revision_key(FIRST, Window.parse(first.window, timedelta(hours=1)), first.digest)


def test_an_undisturbed_run_breaks_no_law(seen: Seen, calm: Observation) -> None:
    assert breaches(seen, calm) == []
    count, different = facts_equal(seen, calm)
    assert different == [] and count > 100
    assert calm.retrained and calm.promoted, "a run without effects says nothing about them"


def test_inputs_that_are_not_the_same_are_found(seen: Seen, calm: Observation) -> None:
    label = key(seen, "ground-truth/electricity/")
    assert "same_inputs" in broken(seen, calm, **{label: b"{}"})
    assert "same_inputs" in broken(seen, calm, **{label.replace(".jsonl", "-again.jsonl"): seen.objects[label]})


def test_a_lost_or_doubled_label_is_found(seen: Seen, calm: Observation) -> None:
    merged = key(seen, "reports/merge/electricity/")
    lines = seen.objects[merged].splitlines(keepends=True)
    assert "nothing_lost" in broken(seen, calm, **{merged: b"".join(lines[1:])})
    assert "nothing_lost" in broken(seen, calm, **{merged: b"".join([*lines, lines[0]])})


def test_a_report_of_another_revision_is_found(seen: Seen, calm: Observation) -> None:
    report = key(seen, f"reports/{FIRST}/", "statistics.json")
    assert "whole" in broken(seen, calm, **{report: b"{}"})
    assert "whole" in broken(seen, calm, **{report: None})
    assert "whole" in broken(seen, calm, **{revision_of_a_fact(seen): None})


def test_a_file_that_is_half_written_is_found(seen: Seen) -> None:
    assert half_written(seen.replay) == []
    s3 = seen.replay.account.client("s3")
    report, revision = key(seen, f"reports/{FIRST}/", "statistics.json"), revision_of_a_fact(seen)
    s3.put_object(Bucket=BUCKET, Key=report, Body=seen.objects[report][:100])
    assert [words for words in half_written(seen.replay) if report in words]
    s3.put_object(Bucket=BUCKET, Key=report, Body=seen.objects[report])
    s3.delete_object(Bucket=BUCKET, Key=revision)
    assert [words for words in half_written(seen.replay) if "revision is not there" in words]
    s3.put_object(Bucket=BUCKET, Key=revision, Body=seen.objects[revision])
    merged = key(seen, "reports/merge/")
    s3.put_object(Bucket=BUCKET, Key=merged, Body=seen.objects[merged][:-100])
    assert [words for words in half_written(seen.replay) if merged in words]
    s3.put_object(Bucket=BUCKET, Key=merged, Body=seen.objects[merged])
    assert half_written(seen.replay) == []


def test_a_fact_that_differs_is_found(seen: Seen, calm: Observation) -> None:
    for report in (key(seen, f"reports/{FIRST}/", "evaluation.json"), key(seen, f"reports/{LOOP}/", "statistics.json")):
        tampered = replace(seen, objects={**seen.objects, report: b"{}"})
        assert facts_equal(tampered, calm)[1] == [f"{report} differs"]
        # What depends on captures and labels alone is compared even when other models have served.
        other = replace(calm, reigns=[])
        count, different = facts_equal(tampered, other)
        assert different == [f"{report} differs"] and count < facts_equal(tampered, calm)[0]


def test_a_window_that_counts_too_little_is_found(seen: Seen, calm: Observation) -> None:
    ledger, window = seen.services.ledger, calm.retrained[0]
    stored = evaluations.load_evaluation(ledger, LOOP, window)
    assert stored is not None
    less = msgspec.structs.replace(stored.value, rows=stored.value.rows - 1)
    ledger.put(monitor_partition(LOOP), f"EVALUATION#{window}", msgspec.json.encode(less), expected=stored.revision)
    assert "nothing_lost" in broken(seen, calm)
    assert facts_equal(seen, calm)[1] == [f"evaluation {LOOP} {window} differs"]


def test_a_missing_retraining_is_found(seen: Seen, calm: Observation) -> None:
    earlier = replace(calm, retrained=["2026-01-04T00:00:00Z"])
    assert "live" in broken(seen, earlier)
    assert "live" not in broken(seen, replace(calm, retrained=[]))


def test_a_second_execution_is_found(seen: Seen, calm: Observation) -> None:
    sagemaker = seen.sagemaker()
    first, *_ = sagemaker.list_pipeline_executions(PipelineName="plumbline-retraining")["PipelineExecutionSummaries"]
    listed: list[Any] = sagemaker.list_pipeline_parameters_for_execution(
        PipelineExecutionArn=first["PipelineExecutionArn"]
    )["PipelineParameters"]
    sagemaker.start_pipeline_execution(
        PipelineName="plumbline-retraining", PipelineParameters=listed, ClientRequestToken="1" * 32,
        PipelineExecutionDisplayName=first["PipelineExecutionDisplayName"],
    )  # fmt: skip
    assert "one_retraining_at_a_time" in broken(seen, calm)


def test_an_endpoint_of_nobody_is_found(seen: Seen, calm: Observation) -> None:
    sagemaker = seen.sagemaker()
    serving = sagemaker.describe_endpoint(EndpointName=FIRST)["EndpointConfigName"]
    sagemaker.create_endpoint(EndpointName="left-behind", EndpointConfigName=serving)
    assert "one_promotion_a_generation" in broken(seen, calm)


def test_an_alert_that_comes_twice_is_found(seen: Seen, calm: Observation) -> None:
    assert "alerts_once" not in broken(seen, calm)
    body = next(each.body for each in seen.replay.receiver.accepted if each.path == "/hook")
    again = Request(f"{seen.replay.receiver.url}/hook", body, {"Content-Type": "application/json"})
    urlopen(again).close()
    assert "alerts_once" in broken(seen, calm)
    assert "alerts_once" not in broken(replace(seen, died_delivering_alerts=1), calm)


def test_a_message_that_waits_is_found(seen: Seen, calm: Observation) -> None:
    seen.replay.pump.send("alarms", "{}")
    assert "at_rest" in broken(seen, calm)
