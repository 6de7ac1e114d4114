"""AWS's events as AWS sends them, and everything that is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import events
from chalicelib.errors import UnreadableError
from chalicelib.events import (
    AlarmChanged,
    ClaimMessage,
    EndpointChanged,
    ExecutionChanged,
    JobChanged,
    ObjectCreated,
    PackageChanged,
    WindowMessage,
)

SAMPLES = Path(__file__).parents[1] / "events"
SECRET = "4711-payload"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

Parser = Callable[[str], Any]

PARSERS: dict[str, Parser] = {
    "object_created": events.object_created,
    "processing_job_state_change": events.job_changed,
    "pipeline_execution_status_change": events.execution_changed,
    "model_package_state_change": events.package_changed,
    "endpoint_state_change": events.endpoint_changed,
    "alarm_state_change": events.alarm_changed,
    "sns_notification": events.notification,
}
OWN: dict[str, Parser] = {"windows": events.window_message, "claims": events.claim_message}
EVERY = [pytest.param(parser, id=name) for name, parser in {**PARSERS, **OWN}.items()]


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.json").read_text(encoding="utf-8")


def changed(name: str, path: str, value: Any) -> str:
    """The sample with one place set, or removed when the value is Ellipsis."""
    document = json.loads(sample(name))
    *parents, last = path.split(".")
    place = document
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(document)


def refused(parse: Parser, body: str) -> str:
    with pytest.raises(UnreadableError, match="expected") as caught:
        parse(body)
    text = f"{caught.value} {caught.value.__cause__}"
    assert SECRET not in text
    return text


# Verbatim samples -----------------------------------------------------------------------------------------------------

EXPECTED: dict[str, Any] = {
    "object_created": ObjectCreated(
        "username-sfn-tutorial",
        "test.png",
        "f31d8546bb67845b4d3048cde533b937",
        800704,
        datetime(2022, 2, 19, 1, 36, 58, tzinfo=UTC),
    ),
    "processing_job_state_change": JobChanged(
        "model-quality-monitoring-202105260100-daba5c00170dd5cdfc2fa368", "Completed"
    ),
    "pipeline_execution_status_change": ExecutionChanged(
        "arn:aws:sagemaker:us-east-1:123456789012:pipeline/myPipeline-123/execution/p4jn9xou8a8s", "Succeeded"
    ),
    "model_package_state_change": PackageChanged(
        "arn:aws:sagemaker:us-east-2:123456789012:model-package/versionedmp-p-idy6c3e1fiqj/2", "Rejected"
    ),
    "endpoint_state_change": EndpointChanged(
        "MyEndpoint", "IN_SERVICE", "MyEndpointConfig", datetime(2020, 3, 10, 9, 18, 9, 50000, tzinfo=UTC)
    ),
    "alarm_state_change": AlarmChanged(
        "ServerCpuTooHigh", "ALARM", datetime(2019, 10, 2, 17, 4, 40, 985000, tzinfo=UTC)
    ),
    "sns_notification": b"Hello world!",
}


@pytest.mark.parametrize("name", PARSERS)
def test_a_sample_of_aws(name: str):
    assert PARSERS[name](sample(name)) == EXPECTED[name]


def test_every_sample_is_read_by_somebody():
    # The clock's event is a tick: nobody reads its body (tests/unit/test_app.py sends it).
    assert {path.stem for path in SAMPLES.glob("*.json")} == {*PARSERS, "scheduled_event"}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2026-01-02T12:00:00Z", NOON),
        ("2026-01-02T12:00:00+00:00", NOON),
        ("2026-01-02T12:00:00.000+0000", NOON),
        ("2026-01-02T22:00:00+10:00", NOON),
        ("2026-01-02T12:00:00", NOON),
        ("1767355200000", NOON),
        (1767355200000, NOON),
    ],
)
def test_the_ways_in_which_aws_writes_a_time(text: Any, expected: datetime):
    assert events.endpoint_changed(changed("endpoint_state_change", "time", text)).time == expected
    assert events.alarm_changed(changed("alarm_state_change", "detail.state.timestamp", text)).changed_at == expected


def test_the_key_of_an_object_is_plain_text():
    key = "captures/a b+c%20d/ä.jsonl"
    assert events.object_created(changed("object_created", "detail.object.key", key)).key == key


def test_a_deletion_marker_has_no_size():
    assert events.object_created(changed("object_created", "detail.object.size", ...)).size == 0


# What we write ourselves ----------------------------------------------------------------------------------------------


@given(st.text(), st.text(), st.text(), st.integers(0, 2**40), st.datetimes(datetime(1970, 1, 1), datetime(2899, 1, 1)))
def test_a_swept_object_looks_like_s3s_own_event(bucket: str, key: str, etag: str, size: int, moment: datetime):
    time = moment.replace(microsecond=0, tzinfo=UTC)
    body = events.object_created_body(bucket, key, etag, size, time)
    assert events.object_created(body.decode()) == ObjectCreated(bucket, key, etag, size, time)


def test_what_we_write_for_sagemaker_is_read_alike():
    execution = events.execution_changed_body("arn:e", "Failed", NOON)
    assert events.execution_changed(execution.decode()) == ExecutionChanged("arn:e", "Failed")
    package = events.package_changed_body("arn:p", "Approved", NOON)
    assert events.package_changed(package.decode()) == PackageChanged("arn:p", "Approved")


@pytest.mark.parametrize(
    "body, name",
    [
        (events.object_created_body("b", "k", "e", 1, NOON), "object_created"),
        (events.execution_changed_body("arn", "Failed", NOON), "pipeline_execution_status_change"),
        (events.package_changed_body("arn", "Approved", NOON), "model_package_state_change"),
    ],
)
def test_what_we_write_is_called_as_aws_calls_it(body: bytes, name: str):
    ours, theirs = json.loads(body), json.loads(sample(name))
    assert (ours["detail-type"], ours["source"]) == (theirs["detail-type"], theirs["source"])
    assert set(ours) <= set(theirs) and set(ours["detail"]) <= set(theirs["detail"])


def test_our_own_messages():
    assert events.window_message('{"monitor":"churn","window":"w"}') == WindowMessage("churn", "w")
    assert events.claim_message('{"claim_id":"d1","monitor":"churn"}') == ClaimMessage("churn", "d1")


# What is unreadable ---------------------------------------------------------------------------------------------------

GARBAGE = [
    "",
    SECRET,
    f'"{SECRET}"',
    f'["{SECRET}"]',
    "null",
    "17",
    "{}",
    f'{{"{SECRET}": "{SECRET}"}}',
    f'{{"detail": "{SECRET}", "time": "2026-01-02T12:00:00Z"}}',
    f'{{"detail": ["{SECRET}"], "time": "2026-01-02T12:00:00Z"}}',
    '{"detail": {}, "time": "2026-01-02T12:00:00Z"}',
    '{"detail": null, "time": "2026-01-02T12:00:00Z"}',
    "[" * 100_000,
    '{"detail":' * 100_000,
    "\ud800",
]


@pytest.mark.parametrize("parse", EVERY)
@pytest.mark.parametrize("body", GARBAGE, ids=lambda body: ascii(body[:24]))
def test_garbage(parse: Parser, body: str):
    refused(parse, body)


@pytest.mark.parametrize("parse", EVERY)
@given(body=st.text(max_size=60))
def test_any_text(parse: Parser, body: str):
    with pytest.raises(UnreadableError):
        parse(body)


NEEDED = [
    ("object_created", "detail.bucket.name"),
    ("object_created", "detail.object.key"),
    ("object_created", "detail.object.etag"),
    ("processing_job_state_change", "detail.ProcessingJobName"),
    ("processing_job_state_change", "detail.ProcessingJobStatus"),
    ("pipeline_execution_status_change", "detail.pipelineExecutionArn"),
    ("pipeline_execution_status_change", "detail.currentPipelineExecutionStatus"),
    ("model_package_state_change", "detail.ModelPackageArn"),
    ("model_package_state_change", "detail.ModelApprovalStatus"),
    ("endpoint_state_change", "detail.EndpointName"),
    ("endpoint_state_change", "detail.EndpointStatus"),
    ("endpoint_state_change", "detail.EndpointConfigName"),
    ("alarm_state_change", "detail.alarmName"),
    ("alarm_state_change", "detail.state.value"),
    ("sns_notification", "Message"),
]
CONTAINERS = [
    ("object_created", "detail"),
    ("object_created", "detail.bucket"),
    ("object_created", "detail.object"),
    ("alarm_state_change", "detail.state"),
]
TIMES = [
    *((name, "time") for name in PARSERS if name != "sns_notification"),
    ("alarm_state_change", "detail.state.timestamp"),
]


@pytest.mark.parametrize("name, path", [*NEEDED, *CONTAINERS, *TIMES])
def test_a_missing_field_is_named(name: str, path: str):
    assert path.rpartition(".")[2] in refused(PARSERS[name], changed(name, path, ...))


@pytest.mark.parametrize("name, path", NEEDED)
@pytest.mark.parametrize("value", [None, 4711, 1.5, True, [SECRET], {SECRET: SECRET}])
def test_a_field_that_is_no_text(name: str, path: str, value: Any):
    refused(PARSERS[name], changed(name, path, value))


@pytest.mark.parametrize("name, path", CONTAINERS)
@pytest.mark.parametrize("value", [None, SECRET, 4711, [SECRET], {}])
def test_a_part_that_is_no_object(name: str, path: str, value: Any):
    refused(PARSERS[name], changed(name, path, value))


@pytest.mark.parametrize("name, path", TIMES)
@pytest.mark.parametrize("value", [None, SECRET, "", "9" * 30, "9" * 5000, "\u00b2", True, -5, [SECRET], {}])
def test_a_time_that_is_none(name: str, path: str, value: Any):
    refused(PARSERS[name], changed(name, path, value))


@pytest.mark.parametrize("size", [None, SECRET, [1], {}])
def test_a_size_that_is_no_number(size: Any):
    refused(events.object_created, changed("object_created", "detail.object.size", size))


@pytest.mark.parametrize("body", [f'{{"monitor":"{SECRET}"}}', f'{{"monitor":["{SECRET}"],"window":"w"}}'])
def test_own_messages_with_missing_or_wrong_fields(body: str):
    for parse in OWN.values():
        refused(parse, body)
