"""The pump: EventBridge's patterns, Lambda's SQS events, retries and dead letters, on real (moto's) queues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.topology import SOURCES
from emulator.aws import LocalAws, StandInError, add_s3_rule, create_resources
from emulator.clock import LogicalClock
from emulator.pump import ProcessDied, Pump, matches

BUCKET = "captures-and-derived"
START = datetime(2026, 1, 5, 9, tzinfo=UTC)
ENDED = {
    "source": "aws.sagemaker",
    "detail-type": "SageMaker Processing Job State Change",
    "detail": {"ProcessingJobStatus": "Completed", "ProcessingJobName": "job"},
}


@pytest.fixture(scope="module")
def running() -> Iterator[LocalAws]:
    with LocalAws() as aws:
        yield aws


@pytest.fixture
def aws(running: LocalAws, request: pytest.FixtureRequest) -> LocalAws:
    """Fresh queues for each test: a stage of its own."""
    digest = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    create_resources(running, digest, [])
    return running


class App:
    """Functions that remember what they were called with and do what `behave` says."""

    def __init__(self, behave: Any = None) -> None:
        self.calls: list[tuple[str, dict[str, Any], Any]] = []
        self._behave = behave

    def __getattr__(self, name: str) -> Any:
        def function(event: dict[str, Any], context: Any) -> Any:
            self.calls.append((name, event, context))
            return self._behave(event) if self._behave else None

        return function

    @property
    def bodies(self) -> list[str]:
        return [record["body"] for _, event, _ in self.calls for record in event["Records"]]


# --- Patterns

EVENT = {
    "source": "aws.s3",
    "detail": {
        "key": "captures/a.jsonl",
        "size": 12,
        "flag": True,
        "none": None,
        "tags": ["x", "y"],
        "deep": {"a": "b"},
    },
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["aws.s3"]}, True),
        ({"source": ["aws.ec2", "aws.s3"]}, True),
        ({"source": ["AWS.S3"]}, False),
        ({"detail": {"size": [12]}}, True),
        ({"detail": {"size": [12.0]}}, True),
        ({"detail": {"size": ["12"]}}, False),
        ({"detail": {"flag": [True]}}, True),
        ({"detail": {"flag": [1]}}, False),
        ({"detail": {"none": [None]}}, True),
        ({"detail": {"absent": [None]}}, False),
        ({"detail": {"tags": ["y"]}}, True),
        ({"detail": {"tags": ["z"]}}, False),
        ({"detail": {"deep": {"a": ["b"]}}}, True),
        ({"detail": {"deep": ["b"]}}, False),
        ({"source": ["aws.s3"], "detail": {"size": [13]}}, False),
        ({"detail": {"key": [{"prefix": "captures/"}]}}, True),
        ({"detail": {"key": [{"prefix": "Captures/"}]}}, False),
        ({"detail": {"key": [{"prefix": {"equals-ignore-case": "CAPTURES/"}}]}}, True),
        ({"detail": {"size": [{"prefix": "1"}]}}, False),
        ({"detail": {"key": [{"suffix": ".jsonl"}]}}, True),
        ({"detail": {"key": [{"suffix": ".json"}]}}, False),
        ({"detail": {"key": [{"equals-ignore-case": "CAPTURES/A.JSONL"}]}}, True),
        ({"detail": {"key": [{"wildcard": "captures/*.jsonl"}]}}, True),
        ({"detail": {"key": [{"wildcard": "*/a*l"}]}}, True),
        ({"detail": {"key": [{"wildcard": "captures/*x*"}]}}, False),
        ({"detail": {"key": [{"anything-but": "other"}]}}, True),
        ({"detail": {"key": [{"anything-but": ["captures/a.jsonl", "other"]}]}}, False),
        ({"detail": {"key": [{"anything-but": {"prefix": "derived/"}}]}}, True),
        ({"detail": {"key": [{"anything-but": {"prefix": "captures/"}}]}}, False),
        ({"detail": {"key": [{"anything-but": {"suffix": [".csv", ".jsonl"]}}]}}, False),
        ({"detail": {"absent": [{"anything-but": "x"}]}}, False),
        ({"detail": {"size": [{"anything-but": 12}]}}, False),
        ({"detail": {"size": [{"numeric": [">", 10, "<=", 12]}]}}, True),
        ({"detail": {"size": [{"numeric": ["<", 12]}]}}, False),
        ({"detail": {"size": [{"numeric": ["=", 12]}]}}, True),
        ({"detail": {"flag": [{"numeric": ["=", 1]}]}}, False),
        ({"detail": {"key": [{"exists": True}]}}, True),
        ({"detail": {"absent": [{"exists": False}]}}, True),
        ({"detail": {"key": [{"exists": False}]}}, False),
        ({"nothing": {"at": {"all": [{"exists": False}]}}}, True),
        ({"nothing": {"at": {"all": [{"exists": True}]}}}, False),
        ({"$or": [{"source": ["x"]}, {"detail": {"size": [12]}}]}, True),
        ({"$or": [{"source": ["x"]}, {"detail": {"size": [13]}}]}, False),
        ({}, True),
    ],
)  # fmt: skip
def test_patterns_match_as_eventbridges_do(pattern: dict[str, Any], expected: bool) -> None:
    assert matches(pattern, EVENT) is expected


@pytest.mark.parametrize("pattern", [{"source": []}, {"source": "aws.s3"}, {"source": [{"cidr": "10.0.0.0/8"}]}])
def test_a_pattern_that_is_not_understood_is_refused(pattern: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        matches(pattern, EVENT)


# --- Events


def test_an_object_arrives_as_aws_would_send_it(aws: LocalAws) -> None:
    assert aws.resources is not None
    bucket = f"bucket-{aws.resources.stage}"
    aws.client("s3").create_bucket(Bucket=bucket)
    aws.client("s3").put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    add_s3_rule(aws, aws.resources.stage, "captures", bucket, "captures/")
    heard: list[tuple[str, str]] = []
    app = App()
    pump = Pump(aws, app, SOURCES, LogicalClock(START), recorder=lambda queue, body: heard.append((queue, body)))
    keys = ["captures/a b+c/ü.jsonl", "captures/second.jsonl"]
    etags = [aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b"x" * 7)["ETag"].strip('"') for key in keys]
    assert pump.drain() == 2
    [(function, event, context)] = app.calls
    assert function == "capture_landed"
    record = event["Records"][0]
    assert set(record) == {
        "messageId", "receiptHandle", "body", "attributes", "messageAttributes", "md5OfBody", "eventSource",
        "eventSourceARN", "awsRegion",
    }  # fmt: skip
    assert record["eventSource"] == "aws:sqs" and record["awsRegion"] == "us-east-1"
    assert record["eventSourceARN"] == aws.resources.queue_arns["captures"]
    assert record["md5OfBody"] == hashlib.md5(record["body"].encode()).hexdigest()
    assert {"ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"} <= set(
        record["attributes"]
    )
    details = [json.loads(one["body"])["detail"] for one in event["Records"]]
    assert [detail["object"]["key"] for detail in details] == keys
    for detail, etag in zip(details, etags, strict=True):
        assert set(detail["object"]) == {"key", "size", "etag", "sequencer"}
        assert (detail["object"]["etag"], detail["object"]["size"]) == (etag, 7)
        assert detail["bucket"] == {"name": bucket}
    assert len({json.loads(body)["id"] for _, body in heard}) == 2
    assert [queue for queue, _ in heard] == ["captures", "captures"]
    assert context.invoked_function_arn.endswith(context.function_name)
    assert 0 < context.get_remaining_time_in_millis() <= 60_000 and context.memory_limit_in_mb > 0


def test_a_repeated_object_event_is_the_same_event(aws: LocalAws) -> None:
    assert aws.resources is not None
    bucket = f"repeat-{aws.resources.stage}"
    aws.client("s3").create_bucket(Bucket=bucket)
    aws.client("s3").put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    add_s3_rule(aws, aws.resources.stage, "captures", bucket, "")
    aws.client("s3").put_object(Bucket=bucket, Key="k", Body=b"x")

    def fail_once(event: dict[str, Any]) -> None:
        if event["Records"][0]["attributes"]["ApproximateReceiveCount"] == "1":
            raise TimeoutError

    app = App(fail_once)
    Pump(aws, app, SOURCES).drain()
    assert len(app.bodies) == 2 and app.bodies[0] == app.bodies[1]


def test_an_alert_keeps_snss_envelope(aws: LocalAws) -> None:
    assert aws.resources is not None
    aws.client("sns").publish(TopicArn=aws.resources.topic_arn, Message="m", Subject="s")
    app = App()
    Pump(aws, app, SOURCES).drain()
    assert json.loads(app.bodies[0])["Message"] == "m" and app.calls[0][0] == "alert_published"


def test_events_of_the_stand_in_go_where_their_pattern_matches(aws: LocalAws) -> None:
    app = App()
    pump = Pump(aws, app, SOURCES)
    assert pump.deliver(ENDED) == ["executions"]
    assert pump.deliver({**ENDED, "detail": {"ProcessingJobStatus": "InProgress"}}) == []
    assert pump.deliver({"source": "aws.cloudwatch", "detail-type": "CloudWatch Alarm State Change"}) == ["alarms"]
    assert pump.waiting() == {"executions": 1, "alarms": 1}
    assert pump.drain() == 2
    assert [name for name, _, _ in app.calls] == ["execution_finished", "alarm_changed"]
    assert json.loads(app.bodies[0]) == ENDED
    with pytest.raises(ValueError, match="moto"):
        pump.deliver({"source": "aws.s3", "detail-type": "Object Created"})


def test_the_schedule_sends_eventbridges_scheduled_event_at_the_clocks_time(aws: LocalAws) -> None:
    app = App()
    pump = Pump(aws, app, SOURCES, LogicalClock(START))
    pump.call_schedule("windows_due", "clock")
    pump.call_schedule("windows_due", "clock")
    pump.drain()
    first, second = (json.loads(body) for body in app.bodies)
    assert (first["source"], first["detail-type"], first["time"]) == (
        "aws.events", "Scheduled Event", "2026-01-05T09:00:00Z",
    )  # fmt: skip
    assert first["detail"] == {} and first["id"] != second["id"]
    assert first["resources"][0].endswith("-clock")
    with pytest.raises(ValueError, match="no schedule"):
        pump.call_schedule("window_due", "windows")


# --- Batches and failures


def test_batches_are_as_large_as_the_source_allows(aws: LocalAws) -> None:
    app = App()
    pump = Pump(aws, app, SOURCES)
    for number in range(12):
        pump.send("executions", {"n": number})
        pump.send("windows", {"n": number})
    assert pump.drain() == 24
    sizes = {
        name: [len(event["Records"]) for called, event, _ in app.calls if called == name] for name, _, _ in app.calls
    }
    assert sizes == {"execution_finished": [10, 2], "window_due": [1] * 12}
    assert pump.counts["window_due", "invoked"] == pump.counts["window_due", "succeeded"] == 12
    assert pump.drain() == 0


def test_only_the_reported_message_is_tried_again(aws: LocalAws) -> None:
    def report_the_first_time(event: dict[str, Any]) -> dict[str, Any]:
        bad = [
            record["messageId"]
            for record in event["Records"]
            if record["body"] == "bad" and record["attributes"]["ApproximateReceiveCount"] == "1"
        ]
        return {"batchItemFailures": [{"itemIdentifier": one} for one in bad]}

    app = App(report_the_first_time)
    pump = Pump(aws, app, SOURCES)
    for body in ("good", "bad", "fine"):
        pump.send("executions", body)
    assert pump.drain() == 4
    assert sorted(app.bodies) == ["bad", "bad", "fine", "good"]
    assert pump.counts["execution_finished", "succeeded"] == 3 and pump.counts["execution_finished", "failed"] == 1
    assert pump.failures == [("execution_finished", "batchItemFailures")]
    assert pump.dead_letters() == {}


@pytest.mark.parametrize(
    "answer", [{"batchItemFailures": [{"itemIdentifier": "unknown"}]}, ValueError("no payload here")]
)
def test_a_batch_that_never_succeeds_ends_in_the_dead_letter_queue_after_five_tries(aws: LocalAws, answer: Any) -> None:
    def behave(event: dict[str, Any]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    app = App(behave)
    pump = Pump(aws, app, SOURCES)
    pump.send("pipelines", "a")
    pump.send("pipelines", "b")
    pump.drain()
    assert sorted(app.bodies) == ["a"] * 5 + ["b"] * 5
    assert pump.dead_letters() == {"pipelines": 2} and pump.waiting() == {}
    kind = "ValueError" if isinstance(answer, Exception) else "batchItemFailures"
    assert set(pump.failures) == {("pipeline_finished", kind)}
    if isinstance(answer, Exception):
        assert "test_pump.py" in pump.tracebacks["pipeline_finished", "ValueError"]


def test_what_a_dead_process_had_comes_back_when_its_visibility_timeout_is_over(aws: LocalAws) -> None:
    deaths = [ProcessDied("alarm_changed")]

    def behave(event: dict[str, Any]) -> None:
        if deaths:
            raise deaths.pop()

    app, clock = App(behave), LogicalClock(START)
    pump = Pump(aws, app, SOURCES, clock=clock)
    pump.send("alarms", "a")
    pump.send("alarms", "b")
    pump.drain()
    assert (pump.taken, pump.waiting(), len(app.calls)) == (2, {}, 1)
    clock.advance(by=timedelta(seconds=6 * 60 - 1))
    pump.send("alarms", "later")
    pump.drain()
    assert (pump.taken, app.bodies[2:]) == (2, ["later"])
    clock.advance(by=timedelta(seconds=1))
    pump.drain()
    assert (pump.taken, sorted(app.bodies[3:])) == (0, ["a", "b"])
    records = app.calls[-1][1]["Records"]
    assert [record["attributes"]["ApproximateReceiveCount"] for record in records] == ["2", "2"]
    assert pump.failures == [] and pump.counts["alarm_changed", "died"] == 2


def test_powertools_all_failed_error_names_what_each_record_raised(aws: LocalAws) -> None:
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

    def record_handler(record: Any) -> None:
        raise KeyError("missing")

    app = App()
    app.execution_finished = lambda event, context: process_partial_response(
        event=event, record_handler=record_handler, processor=BatchProcessor(EventType.SQS), context=context
    )
    pump = Pump(aws, app, SOURCES)
    pump.send("executions", "{}")
    pump.drain()
    assert set(pump.failures) == {("execution_finished", "KeyError")}


def test_what_never_ends_is_an_error_that_names_the_queue(aws: LocalAws) -> None:
    app = SimpleNamespace(window_due=lambda event, context: pump.send("windows", "again"))
    pump = Pump(aws, app, SOURCES)
    pump.send("windows", "first")
    with pytest.raises(StandInError, match=r"windows \(1\)"):
        pump.drain(max_rounds=20)
    aws.client("sqs").purge_queue(QueueUrl=aws.resources.queue_urls["windows"])  # type: ignore[union-attr]


def test_batches_of_a_queue_can_be_in_flight_together(aws: LocalAws) -> None:
    import threading

    together = threading.Barrier(3, timeout=10)
    app = App(lambda event: together.wait() and None)
    pump = Pump(aws, app, SOURCES, concurrency=3)
    for number in range(3):
        pump.send("windows", str(number))
    assert pump.drain() == 3
    assert sorted(app.bodies) == ["0", "1", "2"]


def test_the_functions_of_a_chalice_app_can_be_called(aws: LocalAws) -> None:
    from chalice import Chalice

    chalice = Chalice(app_name="plumbline")
    seen: list[str] = []

    @chalice.on_sqs_message(queue="x", name="window_due")
    def window_due(event: Any) -> dict[str, Any]:
        seen.extend(record.body for record in event)
        return {"batchItemFailures": []}

    pump = Pump(aws, SimpleNamespace(window_due=window_due), SOURCES)
    pump.send("windows", "hello")
    pump.drain()
    assert seen == ["hello"]
    assert pump.wall_seconds["window_due"] > 0


def test_the_report_names_functions_and_failures(aws: LocalAws) -> None:
    import io

    pump = Pump(aws, App(lambda event: 1 / 0), SOURCES)
    pump.send("alarms", "x")
    pump.drain()
    out = io.StringIO()
    pump.report(out)
    assert "alarm_changed" in out.getvalue() and "5 x ZeroDivisionError" in out.getvalue()


def test_a_pump_needs_queues() -> None:
    with pytest.raises(StandInError, match="create_resources"):
        Pump(LocalAws(), App())
