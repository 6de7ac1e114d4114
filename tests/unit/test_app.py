"""app.py: every source has its function, a batch gives back only what failed, and nothing is needed to import it."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
from botocore.exceptions import ClientError
from chalice.app import SQSEventConfig
from chalice.test import Client, HTTPResponse

import app as deployed
from chalicelib import settings, wiring
from chalicelib.decisions.alert import Alert, encode_alert
from chalicelib.definition import parse_definition
from chalicelib.events import object_created_body, subject
from chalicelib.facts import monitors
from chalicelib.ports import StoredObject
from chalicelib.topology import SOURCES, resource_name
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import Services
from emulator.memory import SETTINGS, MemoryObjectStore, MemoryServices, ServiceError, memory_services

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "events"
NOW = datetime(2026, 1, 5, 12, 0, 30, tzinfo=UTC)
SECRET = "4711-payload"
KEY = "whsec_" + base64.b64encode(bytes(range(32))).decode()

MONITOR = parse_definition(
    {
        "name": "churn",
        "endpoint": "churn",
        "capture_s3_uri": "s3://captures/all",
        "ground_truth_s3_uri": "s3://labels/churn",
        "output_s3_uri": "s3://reports",
        "attributes": {"probability_attribute": "0"},
    }
)
CAPTURE_KEY = "all/churn/AllTraffic/2026/01/05/11/{name}.jsonl"
QUEUED = [pytest.param(source.function, id=source.function) for source in SOURCES]


class Context:
    """What Lambda tells a function about itself."""

    function_name = "plumbline-test"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:plumbline-test"
    aws_request_id = "2fd7d6c4-1111-2222-3333-444444444444"

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


class Log(logging.Handler):
    """Every record that the functions log, formatted as they format it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(deployed.logger.registered_formatter.format(record)))


@pytest.fixture
def log() -> Iterator[Log]:
    found = Log()
    deployed.logger.addHandler(found)
    yield found
    logging.getLogger("plumbline").removeHandler(found)


@pytest.fixture
def services() -> Iterator[MemoryServices]:
    """An account in memory with one monitor, that takes webhooks."""
    found = memory_services(lambda: NOW)
    found.secrets.values[SETTINGS.webhook_key_parameter] = KEY
    monitors.add(found.ledger, found.objects, SETTINGS.bucket, MONITOR, "2026-01-05T10:00:00Z")
    wiring.use(found)
    yield found
    wiring.use(None)


PAGES = {
    *("/", "/fleet.json", "/monitors/{monitor}", "/monitors/{monitor}/windows/{window}", "/decisions/{decision}"),
}


def batch(*bodies: str) -> dict[str, Any]:
    """What Lambda hands over from a queue; messages are called m0, m1, ..."""
    return {
        "Records": [
            {
                "messageId": f"m{number}",
                "receiptHandle": f"receipt-{number}",
                "body": body,
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": "1767614400000",
                    "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                    "ApproximateFirstReceiveTimestamp": "1767614400001",
                },
                "messageAttributes": {},
                "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:plumbline-dev-queue",
                "awsRegion": "us-east-1",
            }
            for number, body in enumerate(bodies)
        ]
    }


def run(function: str, *bodies: str) -> list[str]:
    """The ids of the messages that go back to the queue."""
    answer = getattr(deployed, function)(batch(*bodies), Context())
    assert set(answer) == {"batchItemFailures"}
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def capture(name: str) -> str:
    return object_created_body("captures", CAPTURE_KEY.format(name=name), "e", 1, NOW).decode()


def metrics_of(out: str) -> dict[str, float]:
    """The sums of the metrics in the embedded metric format on stdout."""
    documents = [json.loads(line) for line in out.splitlines() if '"_aws"' in line]
    names = {
        metric["Name"]
        for document in documents
        for directive in document["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }
    return {name: sum(sum(document.get(name, [])) for document in documents) for name in names}


# Import and topology --------------------------------------------------------------------------------------------------


def test_importing_needs_no_environment_and_no_network():
    script = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise SystemExit('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import app\n"
        "handlers = sorted(name for name in sys.modules if name.startswith('chalicelib.handlers'))\n"
        "adapters = sorted(name for name in sys.modules if name.startswith('chalicelib.adapters'))\n"
        "print(app.app.app_name, handlers, adapters)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={}, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("plumbline [] []", 0), done.stderr


def test_every_source_has_its_function_and_every_function_its_source():
    """Chalice knows queue, function and batch size; the topology too, and they agree in both directions."""
    chalice = {(each.queue, each.name, each.batch_size) for each in deployed.app.event_sources}
    stage = settings.stage()
    declared = {(resource_name(stage, source.queue), source.function, source.batch_size) for source in SOURCES}
    assert chalice == declared and len(SOURCES) == len(deployed.app.event_sources)
    assert all(isinstance(each, SQSEventConfig) for each in deployed.app.event_sources)


def test_the_only_other_functions_are_the_webhooks_and_the_pages():
    routes = {"ground_truth_posted", "ground_truth_posted_by_iam", "openapi"}
    routes |= {"page_of_fleet", "fleet_as_json", "page_of_monitor", "page_of_window", "page_of_decision"}
    assert set(deployed.app.handler_map) == {source.function for source in SOURCES} | routes
    assert {path: list(methods) for path, methods in deployed.app.routes.items()} == {
        "/ground-truth/{endpoint}": ["POST"],
        "/iam/ground-truth/{endpoint}": ["POST"],
        "/openapi.json": ["GET"],
        **{path: ["GET"] for path in PAGES},
    }


def test_a_window_and_a_claim_come_alone():
    """One that takes long or fails must not hold others back."""
    alone = {source.queue for source in SOURCES if source.batch_size == 1}
    assert alone == {"clock", "windows", "retrain-claims", "promotion-claims", "alerts"}


# Batches --------------------------------------------------------------------------------------------------------------


class FailingObjects(MemoryObjectStore):
    """S3 that throttles whoever asks for one object."""

    def get(self, bucket: str, key: str) -> StoredObject:
        if "throttled" in key:
            raise ServiceError("SlowDown", f"{SECRET} is in the answer")
        return super().get(bucket, key)


class Broken:
    """A service of which every call fails."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ServiceError("ServiceUnavailable", f"{SECRET} in {name}")


def replaced(services: MemoryServices, **ports: Any) -> Services:
    fields = {field.name: getattr(services, field.name) for field in dataclasses.fields(services) if field.init}
    return Services(**{**fields, **ports})


def test_only_the_message_that_failed_goes_back(services: MemoryServices, log: Log, capsys: pytest.CaptureFixture[str]):
    objects = FailingObjects(lambda: NOW)
    objects.objects.update(services.objects.objects)
    objects.put("captures", CAPTURE_KEY.format(name="unreadable"), SECRET.encode())
    wiring.use(replaced(services, objects=objects))
    back = run(
        "capture_landed",
        f'{{"{SECRET}": "no event"}}',
        capture("throttled"),
        capture("unreadable"),
        capture("missing"),
        capture("throttled"),
    )
    assert back == ["m1", "m4"]
    # The file that cannot be read was worked off whole: it is in quarantine and its window is due.
    assert [key for key in objects.keys(SETTINGS.bucket) if "quarantine" in key]
    assert [item for pk, item in services.ledger.items if pk.startswith("DUE#")]
    permanent = [line for line in log.lines if line["message"] == "permanent failure"]
    assert [(line["level"], line["error"]) for line in permanent] == [("ERROR", "UnreadableError")]
    assert "expected an S3 Object Created event" in permanent[0]["reason"]
    assert SECRET not in json.dumps(log.lines)
    metrics = metrics_of(capsys.readouterr().out)
    assert (metrics["Messages"], metrics["PermanentFailures"], metrics["Failures"]) == (5, 1, 2)


@pytest.mark.parametrize("function", QUEUED)
def test_what_can_only_fail_again_is_done_and_logged_without_payload(
    function: str, services: MemoryServices, log: Log, capsys: pytest.CaptureFixture[str]
):
    bodies = (SECRET, f'{{"{SECRET}": 1}}', f'{{"detail": {{"{SECRET}": 1}}, "time": "2026-01-05T12:00:00Z"}}')
    assert run(function, *bodies) == []
    if function == "windows_due":
        assert log.lines == [], "a tick is a tick, whatever its message says"
    else:
        assert [line["message"] for line in log.lines] == ["permanent failure"] * 3
        assert {line["error"] for line in log.lines} == {"UnreadableError"}
    out, err = capsys.readouterr()
    assert SECRET not in json.dumps(log.lines) + out + err
    assert metrics_of(out)["Messages"] == 3


ALERT = Alert(
    alert_id="a",
    monitor="churn",
    endpoint="churn",
    kind="model-quality",
    state="notice",
    severity="error",
    title="t",
    summary="s",
    occurred_at="2026-01-05T12:00:00Z",
)


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.json").read_text(encoding="utf-8")


BODIES = {
    "capture_landed": capture("a"),
    "ground_truth_landed": object_created_body("labels", "churn/2026/01/05/11/a.jsonl", "e", 1, NOW).decode(),
    "windows_due": sample("scheduled_event"),
    "window_due": '{"monitor":"churn","window":"2026-01-05T10:00:00Z"}',
    "execution_finished": sample("processing_job_state_change"),
    "alarm_changed": sample("alarm_state_change"),
    "retrain_claimed": '{"monitor":"churn","claim_id":"d1"}',
    "promotion_claimed": '{"monitor":"churn","claim_id":"d1"}',
    "pipeline_finished": sample("pipeline_execution_status_change"),
    "model_package_changed": sample("model_package_state_change"),
    "endpoint_changed": sample("endpoint_state_change"),
    "alert_published": json.dumps(json.loads(sample("sns_notification")) | {"Message": encode_alert(ALERT)}),
}


@pytest.mark.parametrize("function", QUEUED)
def test_what_failed_is_delivered_again(
    function: str, services: MemoryServices, log: Log, capsys: pytest.CaptureFixture[str]
):
    """Every AWS service is down: each message of each queue goes back, also when it is the whole batch."""
    names = {field.name for field in dataclasses.fields(services)} - {"settings", "now"}
    wiring.use(replaced(services, **{name: Broken() for name in names}))
    assert run(function, BODIES[function], BODIES[function]) == ["m0", "m1"]
    assert [line["error"] for line in log.lines] == ["ServiceError"] * 2
    out, err = capsys.readouterr()
    assert SECRET not in json.dumps(log.lines) + out + err
    assert metrics_of(out)["Failures"] == 2


def test_a_log_names_awss_code_and_operation_and_what_the_message_is_about(services: MemoryServices, log: Log):
    class Refusing:
        def __getattr__(self, name: str) -> NoReturn:
            message = f"{SECRET} is not authorized to perform: dynamodb:GetItem"
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, "GetItem")

    wiring.use(replaced(services, ledger=Refusing()))
    assert run("window_due", BODIES["window_due"]) == ["m0"]
    [line] = log.lines
    assert {name: line[name] for name in ("error", "code", "operation", "monitor", "window")} == {
        "error": "ClientError",
        "code": "AccessDeniedException",
        "operation": "GetItem",
        "monitor": "churn",
        "window": "2026-01-05T10:00:00Z",
    }
    assert SECRET not in json.dumps(line)


@pytest.mark.parametrize(
    "body", ["", "7", "null", "[]", '{"monitor": 7}', '{"Message": "["}', '{"detail": {"monitor": "x"}}']
)
def test_a_log_says_nothing_of_a_message_that_is_not_ours(body: str):
    assert subject(body) == {}


@pytest.mark.parametrize("function", QUEUED)
def test_a_real_event_is_worked_off(function: str, services: MemoryServices, log: Log):
    """AWS's own samples and our own messages, of things that nobody watches: nothing to do, and no failure."""
    assert run(function, BODIES[function]) == []
    assert log.lines == []


def test_a_tick_owes_the_closed_windows_and_sends_them(services: MemoryServices):
    for minutes in (0, 10, 12):
        wiring.use(dataclasses.replace(services, now=lambda at=NOW + timedelta(minutes=minutes): at))
        assert run("windows_due", sample("scheduled_event")) == []
    sent = [json.loads(body) for body in services.queues.take("windows")]
    assert sent == [
        {"monitor": "churn", "window": "2026-01-05T10:00:00Z"},
        {"monitor": "churn", "window": "2026-01-05T11:00:00Z"},
    ]


def test_an_alert_that_its_receiver_refuses_is_seen_by_somebody(
    services: MemoryServices, log: Log, capsys: pytest.CaptureFixture[str]
):
    route = {"kind": "slack", "url": "https://hooks.example/secret-path"}
    document = {name: getattr(MONITOR, name) for name in ("name", "endpoint", "capture_s3_uri", "output_s3_uri")}
    attributes = {"probability_attribute": "0"}
    definition = parse_definition(
        {**document, "attributes": attributes, "monitor_types": ["DataQuality"], "routes": [route]}
    )
    monitors.add(services.ledger, services.objects, SETTINGS.bucket, definition, "2026-01-05T10:00:00Z")
    services.courier.answers[route["url"]] = 404
    assert run("alert_published", BODIES["alert_published"]) == []
    [message] = services.queues.take("alerts")
    capsys.readouterr()
    assert run("alert_published", message.decode()) == ["m0"]  # kept: in the end it is a dead letter
    [line] = log.lines
    assert (line["error"], line["monitor"]) == ("UndeliveredError", "churn")
    assert line["reason"].endswith(": refused HTTP 404")
    assert "secret-path" not in json.dumps(line)
    assert metrics_of(capsys.readouterr().out)["AlertsRefused"] == 1


# The webhook ----------------------------------------------------------------------------------------------------------


def post(body: Any, *, endpoint: str = "churn", content_type: str = "application/json", **headers: str) -> HTTPResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = signed_headers([KEY], headers.pop("id", "msg_1"), NOW, raw)
    with Client(deployed.app, project_dir=str(ROOT)) as client:
        return client.http.post(
            f"/ground-truth/{endpoint}", headers={**signed, "Content-Type": content_type, **headers}, body=raw
        )


def test_posted_labels_are_stored(services: MemoryServices):
    answer = post([{"id": "r-1", "label": 1}, {"id": "r-2", "label": 0}])
    [key] = services.objects.keys("labels")
    assert answer.status_code == 202
    assert answer.json_body == {"stored": 2, "object": key, "webhookId": "msg_1"}
    assert answer.headers["Content-Type"] == "application/json"
    assert post([{"id": "r-1", "label": 1}, {"id": "r-2", "label": 0}]).json_body == answer.json_body
    assert services.objects.keys("labels") == (key,)


@pytest.mark.parametrize("content_type", ["application/jsonlines", "application/x-ndjson; charset=utf-8"])
def test_posted_lines(services: MemoryServices, content_type: str):
    answer = post(b'{"id":"a","label":1}\n{"id":"b","label":0}\n', content_type=content_type)
    assert (answer.status_code, answer.json_body["stored"]) == (202, 2)


@pytest.mark.parametrize(
    "status, request_of",
    [
        (400, {"body": SECRET.encode()}),
        (401, {"body": {"id": "r", "label": 1}, "webhook-signature": "v1,AAAA"}),
        (404, {"body": {"id": "r", "label": 1}, "endpoint": "nobody"}),
        (415, {"body": {"id": "r", "label": 1}, "content_type": "text/csv"}),
        (415, {"body": {"id": "r", "label": 1}, "content_type": "application/xml"}),
        (415, {"body": {"id": "r", "label": 1}, "content_type": ""}),
        (422, {"body": {"id": "r", "label": SECRET}}),
        (422, {"body": []}),
    ],
)
def test_a_bad_post_is_answered_by_a_problem_document(
    services: MemoryServices, status: int, request_of: dict[str, Any]
):
    answer = post(**request_of)
    problem = answer.json_body
    assert (answer.status_code, problem["status"], problem["type"]) == (status, status, "about:blank")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["title"] and problem["detail"] and SECRET not in json.dumps(problem)
    assert services.objects.keys("labels") == ()


def by_iam(identity: dict[str, Any], endpoint: str = "churn") -> tuple[int, dict[str, Any]]:
    """What API Gateway hands over on the path that asks IAM, and the answer."""
    path = "/iam/ground-truth/{endpoint}"
    event = {
        "requestContext": {"httpMethod": "POST", "resourcePath": path, "identity": identity, "path": path},
        "headers": {"content-type": "application/json", "webhook-id": "msg_1"},
        "pathParameters": {"endpoint": endpoint},
        "multiValueQueryStringParameters": None,
        "stageVariables": None,
        "body": json.dumps({"id": "r", "label": 1}),
        "isBase64Encoded": False,
    }
    answer = deployed.app(event, Context())
    return answer["statusCode"], json.loads(answer["body"])


def test_whom_iam_let_in_is_known_by_the_requests_identity(services: MemoryServices):
    opened = msgspec.structs.replace(SETTINGS, webhook_iam=True)
    wiring.use(dataclasses.replace(services, settings=opened))
    status, body = by_iam({"userArn": "arn:aws:iam::123456789012:user/labels", "sourceIp": "127.0.0.1"})
    assert (status, body["stored"]) == (202, 1)
    assert services.objects.keys("labels") == (body["object"],)
    assert by_iam({"sourceIp": "127.0.0.1"})[0] == by_iam({"userArn": None})[0] == 401
    wiring.use(services)
    assert by_iam({"userArn": "arn:aws:iam::123456789012:user/labels"})[0] == 404


def test_the_openapi_document_needs_no_key_and_no_environment():
    wiring.use(None)
    with Client(deployed.app, project_dir=str(ROOT)) as client:
        answer = client.http.get("/openapi.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert set(answer.json_body["paths"]) == set(deployed.app.routes) - PAGES


def test_a_webhook_id_is_for_one_body(services: MemoryServices):
    assert post({"id": "r", "label": 1}).status_code == 202
    assert post({"id": "r", "label": 0}).status_code == 409
    assert post({"id": "r", "label": 0}, id="msg_2").status_code == 202


def test_a_post_is_counted(services: MemoryServices, capsys: pytest.CaptureFixture[str]):
    post({"id": "r", "label": 1})
    assert metrics_of(capsys.readouterr().out)["GroundTruthPosts"] == 1
