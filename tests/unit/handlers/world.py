"""A small world around the handlers: services in memory, a clock, the queues between them, an endpoint that answers.

Everything happens in the order in which the test says it, so a run repeats byte for byte. The world plays AWS (S3 and
endpoint events, SNS, at-least-once queues) and the user (traffic, labels, a pipeline's end); it decides nothing.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from chalicelib.decisions.alert import Alert
from chalicelib.definition import Definition, parse_definition
from chalicelib.errors import NotFoundError, PermanentError
from chalicelib.evaluation.baseline_states import MEASUREMENT
from chalicelib.evaluation.measurement import measure
from chalicelib.events import LabelBatchMessage, object_created_body
from chalicelib.facts import champions, claims, decisions, due, evaluations, labels
from chalicelib.facts.champions import Champion
from chalicelib.facts.evaluations import Evaluation
from chalicelib.facts.news import News
from chalicelib.handlers import (
    alarm_changed,
    alert_published,
    capture_landed,
    endpoint_changed,
    execution_finished,
    ground_truth_landed,
    ground_truth_posted,
    model_package_changed,
    pipeline_finished,
    promotion_claimed,
    retrain_claimed,
    window_due,
    windows_due,
)
from chalicelib.keys import parse_ids_key
from chalicelib.monitors.baseline import baseline_documents
from chalicelib.ports import PipelineExecution
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import to_table
from chalicelib.records.window import Window
from chalicelib.topology import SOURCES
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import Services
from chalicelib.workflows.window_inputs import subject_of
from emulator.memory import SETTINGS, MemorySageMaker, MemoryServices, memory_services
from plumbline.cli.add import add_monitor
from tests.unit.alerts.faults import Crash, Faults

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

MONITOR = ENDPOINT = "churn"
OWN, DATA = SETTINGS.bucket, "data"
HOOK = "https://hook.example/alerts"
PIPELINE = "retraining"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()

# What answers: the class of a row by its first feature, by its second, or always the same.
Toy = Callable[[float, float], float]
TOYS: dict[str, Toy] = {
    "x": lambda x, z: 0.9 if x > 0.5 else 0.1,
    "z": lambda x, z: 0.9 if z > 0.5 else 0.1,
    "not-x": lambda x, z: 0.1 if x > 0.5 else 0.9,
    "half-z": lambda x, z: 0.9 if z > 0.25 else 0.1,
    "one": lambda x, z: 0.9,
}

HANDLERS: dict[str, Callable[[str, Services], Any]] = {
    "captures": capture_landed.handle,
    "ground-truth": ground_truth_landed.handle,
    "clock": windows_due.handle,
    "windows": window_due.handle,
    "executions": execution_finished.handle,
    "alarms": alarm_changed.handle,
    "retrain-claims": retrain_claimed.handle,
    "promotion-claims": promotion_claimed.handle,
    "pipelines": pipeline_finished.handle,
    "model-packages": model_package_changed.handle,
    "endpoints": endpoint_changed.handle,
    "alerts": alert_published.handle,
}
QUEUES = tuple(source.queue for source in SOURCES)

# Prefixes of the data bucket with an EventBridge rule, and the queue that it feeds.
WATCHED = {"captures/": "captures", "ground-truth/": "ground-truth"}

# Longer than any function may take.
VISIBILITY = 6 * MINUTE

# A message that fails this often in a row would lie in the dead-letter queue.
RECEIVES = 12


class Clock:
    """The time, which only the test moves."""

    def __init__(self, time: datetime) -> None:
        self.time = time

    def now(self) -> datetime:
        return self.time


def faulty(faults: Faults, services: MemoryServices) -> Services:
    """The same services, every call of which may be the process's last."""
    ports = ("objects", "ledger", "queues", "sagemaker", "scorer", "metrics", "topic", "courier", "secrets")
    return faults.replaced(services, **{name: faults.wrap(getattr(services, name)) for name in ports})


class DeployedToys(dict[str, Callable[[list[list[str]]], list[Any]]]):
    """MemoryScorer's models: whatever an endpoint that is in service deploys now."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.broken: set[str] = set()

    def __contains__(self, endpoint: object) -> bool:
        try:
            return self._world.services.sagemaker.describe_endpoint(str(endpoint)).status == "InService"
        except NotFoundError:
            return False

    def __getitem__(self, endpoint: str) -> Callable[[list[list[str]]], list[Any]]:
        toy = self._world.toy_behind(endpoint)
        if endpoint in self.broken:
            return lambda rows: []
        return lambda rows: [toy(float(x), float(z)) for x, z in rows]


class Row(msgspec.Struct, frozen=True):
    """One request of one row."""

    inference_id: str
    event_id: str
    time: datetime
    x: float
    z: float

    def label(self, truth: str) -> int:
        return int(TOYS[truth](self.x, self.z) > 0.5)


def definition(**changes: Any) -> Definition:
    """The monitor of this world; `policy` changes fields of its policy."""
    policy = {
        "rule": "excess",
        "min_labelled_rows": 8,
        "reference_windows": 2,
        "cool_down_windows": 2,
        "holdback_windows": 2,
        "training_windows": 4,
        "half_life_windows": 2.0,
        "shrinkage": 0.5,
        **changes.pop("policy", {}),
    }
    document = {
        "name": MONITOR,
        "endpoint": ENDPOINT,
        "capture_s3_uri": f"s3://{DATA}/captures",
        "ground_truth_s3_uri": f"s3://{DATA}/ground-truth/{ENDPOINT}",
        "output_s3_uri": f"s3://{DATA}/reports",
        "attributes": {"features": ["x", "z"], "probability_attribute": "0"},
        "labels": {"horizon": "P2D"},
        "merged_records": "always",
        "baseline": {
            "data_quality_statistics": f"s3://{DATA}/baseline/data_quality/statistics.json",
            "data_quality_constraints": f"s3://{DATA}/baseline/data_quality/constraints.json",
            "model_quality_constraints": f"s3://{DATA}/baseline/model_quality/constraints.json",
            "measurement": f"s3://{DATA}/baseline/{MEASUREMENT}",
        },
        "policy": policy,
        # Windows here have a dozen rows, which are evidence of nothing: incidents follow the thresholds.
        "alerts": {"violations": "wake"},
        "alarms": [
            {"name": "accuracy-low", "role": "trigger"},
            {"name": "deploying", "role": "veto"},
            {"name": "latency", "role": "evidence"},
        ],
        "schedules": ["DEMO-xgb-churn-monitoring-schedule-2021-05-26-0030"],
        "retraining": {
            "pipeline_name": PIPELINE,
            "output_uri": f"s3://{DATA}/retraining/{MONITOR}",
            "parameters": {"Manifest": "{manifest_uri}", "Output": "{output_uri}/{decision_id}", "Fixed": "1"},
        },
        "routes": [{"kind": "webhook", "url": HOOK, "secret": "/hook"}],
        **changes,
    }
    return parse_definition(document)


def hour(number: int) -> datetime:
    """The start of window `number`."""
    return START + number * HOUR


def rows_of(number: int, count: int, seed: str = "") -> list[Row]:
    """The requests of a window: the same every time."""
    draw = random.Random(f"{number}-{seed}")
    return [
        Row(
            inference_id=f"r{number}{seed}-{index}",
            event_id=f"{draw.getrandbits(64):016x}",
            time=hour(number) + index * (55 * MINUTE / count),
            x=round(draw.random(), 3),
            z=round(draw.random(), 3),
        )
        for index in range(count)
    ]


def capture_lines(rows: Sequence[Row], toy: Toy) -> bytes:
    """A capture file as SageMaker writes it."""
    return b"".join(capture_line(row, repr(toy(row.x, row.z))) for row in rows)


def capture_line(row: Row, answer: str, asked: str | None = None) -> bytes:
    document = {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv",
                "mode": "INPUT",
                "data": f"{row.x},{row.z}" if asked is None else asked,
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "text/csv; charset=utf-8",
                "mode": "OUTPUT",
                "data": answer,
                "encoding": "CSV",
            },
        },
        "eventMetadata": {
            "eventId": row.event_id,
            "inferenceId": row.inference_id,
            "inferenceTime": row.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "eventVersion": "0",
    }
    return json.dumps(document).encode() + b"\n"


def label_line(identity: str, value: object, inference_time: datetime | None = None) -> bytes:
    """A ground-truth record in SageMaker's layout."""
    metadata = {"eventId": identity}
    if inference_time is not None:
        metadata["inferenceTime"] = inference_time.strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {
        "groundTruthData": {"data": str(value), "encoding": "CSV"},
        "eventMetadata": metadata,
        "eventVersion": "0",
    }
    return json.dumps(document).encode() + b"\n"


class World:
    """Services, clock and pump. Nothing moves until a method is called."""

    def __init__(self, monitor: Definition | None = None, endpoint_takes: timedelta = timedelta(0)) -> None:
        self.clock = Clock(START - HOUR)
        self.services: MemoryServices = dataclasses.replace(
            memory_services(self.clock.now), sagemaker=MemorySageMaker(self.clock.now, endpoint_takes)
        )
        self.toys: dict[str, str] = {}
        self.deployed = DeployedToys(self)
        self.services.scorer.models = self.deployed
        self.permanent: list[str] = []
        self.failures: list[str] = []
        self.history: list[tuple[str, bytes]] = []
        self.crashed: tuple[str, bytes] | None = None
        self._faulty: Services | None = None
        self._carried = 0
        self._seen: set[tuple[str, str]] = set()
        self._endpoints: dict[str, tuple[str, str, datetime]] = {}
        self._lost: set[str] = set()
        self._furnish()
        self.add(monitor or definition())

    # What the account holds before the monitor is added.

    def _furnish(self) -> None:
        sagemaker = self.services.sagemaker
        self.put_model("first", "x")
        sagemaker.ensure_model({"ModelName": "first", "PrimaryContainer": {"ModelDataUrl": self.model_data("first")}})
        other = {"VariantName": "Shadowed", "ModelName": "first", "InstanceType": "ml.c5.large"}
        served = {"VariantName": "AllTraffic", "ModelName": "first", "InstanceType": "ml.m5.large"}
        sagemaker.ensure_endpoint_config(
            {
                "EndpointConfigName": "churn-1",
                "ProductionVariants": [
                    {**served, "InitialInstanceCount": 2, "InitialVariantWeight": 1.0},
                    {**other, "InitialInstanceCount": 1, "InitialVariantWeight": 0.0},
                ],
                "DataCaptureConfig": {
                    "EnableCapture": True,
                    "InitialSamplingPercentage": 100,
                    "DestinationS3Uri": f"s3://{DATA}/captures",
                    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                },
                "KmsKeyId": "alias/endpoints",
            }
        )
        sagemaker.ensure_endpoint(ENDPOINT, "churn-1")
        sagemaker.add_pipeline(PIPELINE, {"Manifest": None, "Output": None, "Fixed": "0"})
        self.services.secrets.values |= {"/hook": WEBHOOK_SECRET, SETTINGS.webhook_key_parameter: WEBHOOK_SECRET}
        for path, body in self.baseline("x").items():
            self.services.objects.put(DATA, f"baseline/{path}", body)
        self.clock.time = START
        self._endpoint_events()
        self.services.queues.take("endpoints")  # it came into service before anybody listened

    def baseline(self, truth: str) -> dict[str, bytes]:
        """Baseline files of the x model on rows that it answers rightly."""
        rows = rows_of(-100, 200)
        asked = Payload("\n".join(f"{row.x},{row.z}" for row in rows), "CSV", "text/csv")
        answered = Payload("\n".join(repr(TOYS["x"](row.x, row.z)) for row in rows), "CSV", "text/csv")
        labels = {"b": Label("b", json.dumps([row.label(truth) for row in rows]), "JSON")}
        table = to_table([CapturedRequest("b", None, START, asked, answered)], labels, definition().attributes)
        documents = baseline_documents(table, table.predictions, table.scores, START.isoformat())
        return {**documents, MEASUREMENT: measure(table, subject_of(definition())).to_bytes()}

    def add(self, monitor: Definition) -> None:
        """Add the monitor, or a new version of it."""
        self.definition = monitor
        add_monitor(self.services, monitor)

    def model_data(self, name: str) -> str:
        return f"s3://{DATA}/models/{name}/model.tar.gz"

    def put_model(self, name: str, toy: str) -> str:
        """The archive of a model that answers as this toy; returns its URI."""
        self.toys[self.model_data(name)] = toy
        self.services.objects.put(DATA, f"models/{name}/model.tar.gz", toy.encode())
        return self.model_data(name)

    def toy_behind(self, endpoint: str) -> Toy:
        """What the monitored variant of an endpoint answers with."""
        sagemaker = self.services.sagemaker
        config = sagemaker.describe_endpoint_config(sagemaker.describe_endpoint(endpoint).config_name)
        model = sagemaker.describe_model(config["ProductionVariants"][0]["ModelName"])["PrimaryContainer"]
        if "ModelPackageName" in model:
            return TOYS[self.toys[sagemaker.describe_model_package(model["ModelPackageName"]).model_data_url]]
        return TOYS[self.toys[model["ModelDataUrl"]]]

    @property
    def serving(self) -> str:
        """The name of the toy that the endpoint answers with now."""
        served = self.toy_behind(ENDPOINT)
        return next(name for name, toy in TOYS.items() if toy is served)

    # What users do.

    def capture(self, number: int, rows: Sequence[Row], files: int = 1, toy: str = "", name: str = "") -> list[str]:
        """Write the capture files of some requests of a window under the hour of their invocation; returns the keys."""
        answer = TOYS[toy] if toy else self.toy_behind(ENDPOINT)
        size = -(-len(rows) // files)
        return [
            self.put_capture(number, capture_lines(rows[first : first + size], answer), f"{name}{first:02d}")
            for first in range(0, len(rows), size)
        ]

    def put_capture(self, number: int, body: bytes, name: str) -> str:
        folder = hour(number).strftime("%Y/%m/%d/%H")
        key = f"captures/{ENDPOINT}/AllTraffic/{folder}/{name}-00-000-5f4da3e72739.jsonl"
        self.services.objects.put(DATA, key, body, content_type="application/jsonlines")
        return key

    def put_labels(self, body: bytes, name: str, arrived: datetime | None = None) -> str:
        """Write a ground-truth file under the hour of its arrival; returns the key."""
        folder = (arrived or self.clock.time).strftime("%Y/%m/%d/%H")
        key = f"ground-truth/{ENDPOINT}/{folder}/{name}.jsonl"
        self.services.objects.put(DATA, key, body, content_type="application/jsonlines")
        return key

    def label(self, rows: Sequence[Row], truth: str, name: str, timed: bool = False) -> str:
        """Label requests rightly, in one file."""
        lines = (label_line(row.inference_id, row.label(truth), row.time if timed else None) for row in rows)
        return self.put_labels(b"".join(lines), name)

    def post(self, entries: Sequence[Mapping[str, Any]], webhook_id: str) -> int:
        """Post labels to the webhook; returns the status."""
        body = json.dumps(entries).encode()
        headers = signed_headers([WEBHOOK_SECRET], webhook_id, self.clock.time, body)
        request = ground_truth_posted.PostedRequest(ENDPOINT, headers, body, "application/json")
        return ground_truth_posted.handle(request, self.services, self.services.definitions.ground_truth_places)[0]

    def live(self, number: int, truth: str = "x", count: int = 20, labelled: bool = True) -> list[Row]:
        """One window as it usually goes: traffic, the labels two minutes after its end, the clock; returns its rows."""
        rows = rows_of(number, count)
        self.clock.time = max(self.clock.time, hour(number) + 50 * MINUTE)
        self.capture(number, rows, files=2)
        self.settle()
        self.clock.time = hour(number + 1) + 2 * MINUTE
        if labelled:
            self.label(rows, truth, f"labels-{number}", timed=number % 2 == 0)
        self.settle()
        self.minutes(6, until=hour(number + 1) + 9 * MINUTE)
        return rows

    def alarm(self, name: str, state: str, at: datetime | None = None) -> bytes:
        """CloudWatch's event about an alarm's change, on its queue; returns it."""
        stamp = (at or self.clock.time).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        event = self._event(
            "CloudWatch Alarm State Change",
            "aws.cloudwatch",
            {"alarmName": name, "state": {"value": state, "timestamp": stamp}},
        )
        self.services.queues.send("alarms", [event])
        return event

    def finish_pipeline(
        self,
        toy: str = "",
        *,
        status: str = "Succeeded",
        approval: str = "PendingManualApproval",
        name: str = "new",
        gate: str = "",
    ) -> tuple[bytes, str]:
        """End the running execution, with a package of a model that answers as `toy` ("": with none).

        `gate`: the toy that passes the gate in its place.

        Returns the event, which is on its queue, and the package's ARN.
        """
        [execution] = self.running()
        package = ""
        if toy:
            data = self.put_model(f"{name}-{execution.arn[-2:]}", toy)
            metadata = {"gate_model_data_url": self.put_model(f"gate-{execution.arn[-2:]}", gate)} if gate else None
            package = self.services.sagemaker.add_model_package(
                MONITOR, model_data_url=data, approval_status=approval, metadata=metadata
            )
        self.services.sagemaker.finish_execution(execution.arn, status, package=package or None, failure_reason="why")
        event = self._event(
            "SageMaker Model Building Pipeline Execution Status Change",
            "aws.sagemaker",
            {"pipelineExecutionArn": execution.arn, "currentPipelineExecutionStatus": status},
        )
        self.services.queues.send("pipelines", [event])
        return event, package

    def decide_package(self, package: str, status: str) -> bytes:
        """A person approves or rejects a package; returns the event, which is on its queue."""
        self.services.sagemaker.set_approval(package, status, "by hand")
        event = self._event(
            "SageMaker Model Package State Change",
            "aws.sagemaker",
            {"ModelPackageArn": package, "ModelApprovalStatus": status},
        )
        self.services.queues.send("model-packages", [event])
        return event

    def job_event(self, name: str, status: str) -> bytes:
        """The event of a processing job, on its queue; returns it."""
        event = self._event(
            "SageMaker Processing Job State Change",
            "aws.sagemaker",
            {"ProcessingJobName": name, "ProcessingJobStatus": status},
        )
        self.services.queues.send("executions", [event])
        return event

    def _event(self, kind: str, source: str, detail: Mapping[str, Any], time: datetime | None = None) -> bytes:
        stamp = (time or self.clock.time).strftime("%Y-%m-%dT%H:%M:%SZ")
        return json.dumps({"detail-type": kind, "source": source, "time": stamp, "detail": detail}).encode()

    # What AWS does.

    def lose(self, queue: str) -> None:
        """Drop the events that S3 has sent about everything written so far."""
        self._new_objects()
        self.services.queues.take(queue)

    def repeat_events(self) -> None:
        """Everything that S3 and SNS have ever sent will come again."""
        self._seen.clear()
        self._carried = 0

    def tick(self) -> None:
        """One tick of the schedule, and everything that it sets off."""
        self.services.queues.send("clock", [b"{}"])
        self.settle()

    def minutes(self, count: int, until: datetime | None = None) -> None:
        """Let time pass, the clock ticking every minute; the last tick is at `until`, when that is given."""
        first = self.clock.time if until is None else until - count * MINUTE
        for index in range(1, count + 1):
            self.clock.time = max(self.clock.time, first + index * MINUTE)
            self.tick()

    def settle(self, batches: bool = True) -> None:
        """Deliver everything that waits, in the order of the queues, until nothing does.

        Labels that wait to be looked up are, as after the clock's next tick, unless there are to be no `batches`.
        """
        while waiting := self.take() or (self._batch() if batches else []):
            for queue, message in waiting:
                self.deliver(queue, message)

    def _batch(self) -> list[tuple[str, bytes]]:
        if not labels.awaiting(self.services.ledger, MONITOR):
            return []
        return [("ground-truth", msgspec.json.encode(LabelBatchMessage(MONITOR)))]

    def disturbed(self, draw: random.Random, moves: int) -> None:
        """Deliver what waits in random order, the clock ticking in between; nothing is lost.

        A message that was delivered may come again at once or at any later time, be it hours.
        """
        pool: list[tuple[str, bytes]] = []
        for _ in range(moves):
            pool += self.take()
            if draw.random() < 0.2:
                self.clock.time += draw.choice([1, 1, 3]) * MINUTE
                pool.append(("clock", b"{}"))
            if self.history and draw.random() < 0.1:
                self.deliver(*draw.choice(self.history))
            if pool:
                queue, message = draw.choice(pool)
                self.deliver(queue, message)
                if draw.random() < 0.6:
                    pool.remove((queue, message))
        while pool:
            self.deliver(*pool.pop(draw.randrange(len(pool))))
            pool += self.take()

    def die(self, faults: Faults) -> None:
        """From now on the handlers' calls go through `faults`, until one has died; its message is `crashed` then."""
        self._faulty = faulty(faults, self.services)

    def calls(self, act: Callable[[World], None]) -> int:
        """How many calls of services the handlers make while something happens to a copy of this world."""
        faults, copy = Faults(0, after=False), deepcopy(self)
        copy.die(faults)
        act(copy)
        return faults.calls

    def crashes(self, act: Callable[[World], None], late: bool = False) -> Iterator[tuple[str, World]]:
        """Worlds like this one to which something happened while a handler died at its k-th call, for every k.

        Each k comes twice: the call has not, or it has taken effect. The message is delivered again before anything
        else happens, or `late`: when everything else has come to rest. The first of each pair tells where it was.
        """
        for step in range(1, self.calls(act) + 1):
            for after in (False, True):
                faults, copy = Faults(step, after), deepcopy(self)
                copy.die(faults)
                act(copy)
                assert faults.fired, "the calls are counted in the same order"
                if copy.crashed is None:
                    continue  # the call's own error came instead of its effect
                copy.clock.time += VISIBILITY
                if late:
                    copy.minutes(12)
                copy.deliver(*copy.crashed)
                copy.minutes(20)
                yield f"call {step} ({faults.fired_at}), {'after' if after else 'before'} its effect", copy

    def take(self) -> list[tuple[str, bytes]]:
        """What waits in all queues, S3's, SNS's and the endpoints' events included; it is gone from them then."""
        self._new_objects()
        self._new_alerts()
        self._endpoint_events()
        return [(queue, message) for queue in QUEUES for message in self.services.queues.take(queue)]

    def deliver(self, queue: str, message: bytes, services: Services | None = None) -> None:
        """Work one message off as the queue and app.py would: permanent errors are noted, others are tried again."""
        self.history.append((queue, message))
        for attempt in range(1, RECEIVES + 1):
            try:
                HANDLERS[queue](message.decode(), services or self._faulty or self.services)
                return
            except Crash:
                # The process is gone, the message is not: it comes back when its visibility timeout is over.
                self.crashed, self._faulty = (queue, message), None
                return
            except PermanentError as error:
                self.permanent.append(f"{queue}: {error}")
                return
            except Exception as error:
                self.failures.append(f"{queue}: {type(error).__name__}: {error}")
                if attempt == RECEIVES:
                    raise

    def _new_objects(self) -> None:
        for prefix, queue in WATCHED.items():
            for key in self.services.objects.keys(DATA, prefix):
                stored = self.services.objects.get(DATA, key)
                if (key, stored.etag) in self._seen:
                    continue
                self._seen.add((key, stored.etag))
                body = object_created_body(DATA, key, stored.etag, len(stored.body), self.clock.time)
                self.services.queues.send(queue, [body])

    def _new_alerts(self) -> None:
        published = self.services.topic.published
        for alert in published[self._carried :]:
            envelope = {"Type": "Notification", "Subject": alert.subject, "Message": alert.message}
            self.services.queues.send("alerts", [json.dumps(envelope).encode()])
        self._carried = len(published)

    def _endpoint_events(self) -> None:
        words = {"InService": "IN_SERVICE", "Creating": "CREATING", "Updating": "UPDATING", "Failed": "FAILED"}
        for name in self.endpoints():
            endpoint = self.services.sagemaker.describe_endpoint(name)
            now = (endpoint.status, endpoint.config_name, endpoint.last_modified)
            if self._endpoints.get(name) == now:
                continue
            self._endpoints[name] = now
            detail = {
                "EndpointName": name,
                "EndpointStatus": words[endpoint.status],
                "EndpointConfigName": endpoint.config_name,
            }
            event = self._event("SageMaker Endpoint State Change", "aws.sagemaker", detail, endpoint.last_modified)
            self.services.queues.send("endpoints", [event])

    # What is there afterwards.

    def endpoints(self) -> list[str]:
        """Every endpoint that exists: a pool endpoint is called like its configuration."""
        names = sorted({ENDPOINT, *self.services.sagemaker.endpoint_configs})
        return [name for name in names if self._exists(name)]

    def pool_endpoints(self) -> list[str]:
        return [name for name in self.endpoints() if name != ENDPOINT]

    def _exists(self, endpoint: str) -> bool:
        try:
            self.services.sagemaker.describe_endpoint(endpoint)
        except NotFoundError:
            return False
        return True

    def running(self) -> list[PipelineExecution]:
        return [each for each in self.services.sagemaker.executions.values() if each.status == "Executing"]

    def report(self, number: int, monitor_type: str = "model-quality", name: str = "evaluation.json") -> Any:
        """A report of window `number`, decoded; it lies under the hour of the window's end."""
        folder = hour(number + 1).strftime("%Y/%m/%d/%H")
        key = f"reports/{ENDPOINT}/{MONITOR}-{monitor_type}/{folder}/{name}"
        return json.loads(self.services.objects.get(DATA, key).body)

    def merged(self, number: int) -> list[Any]:
        """The merged records of a capture hour, decoded."""
        folder = hour(number).strftime("%Y/%m/%d/%H")
        [key] = self.services.objects.keys(DATA, f"reports/merge/{ENDPOINT}/AllTraffic/{folder}/")
        return [json.loads(line) for line in self.services.objects.get(DATA, key).body.splitlines()]

    def evaluation(self, number: int) -> Evaluation:
        stored = evaluations.load_evaluation(self.services.ledger, MONITOR, _name(number))
        assert stored is not None, f"window {number} was not evaluated"
        return stored.value

    def evaluated(self) -> list[Evaluation]:
        return evaluations.evaluations(self.services.ledger, MONITOR)

    def decisions(self, number: int | None = None) -> list[decisions.Record]:
        """The decisions of a window, or of all, in the order of their windows and then of their making."""
        window = "" if number is None else _name(number)
        found = []
        for reference in decisions.references(self.services.ledger, MONITOR, window):
            record = decisions.load_record(self.services.ledger, reference.decision_id)
            assert record is not None
            found.append(record)
        return sorted(found, key=lambda record: (record.window, record.made_at))

    def actions(self) -> list[str]:
        return [record.action for record in self.decisions()]

    def champion(self) -> Champion:
        champion = champions.load_champion(self.services.ledger, MONITOR)
        assert champion is not None
        return champion

    def retraining(self) -> claims.RetrainClaim:
        claim = claims.load_retrain(self.services.ledger, MONITOR)
        assert claim is not None, "nothing was claimed"
        return claim

    def promotion(self) -> claims.PromotionClaim:
        claim = claims.load_promotion(self.services.ledger, MONITOR)
        assert claim is not None, "nothing was claimed"
        return claim

    def outcomes(self) -> list[str]:
        return [outcome.kind for outcome in decisions.outcomes(self.services.ledger, MONITOR)]

    def alerts(self, kind: str = "") -> list[Alert]:
        """What the receiver of alerts got, in order."""
        bodies = [json.loads(delivery.body)["data"] for delivery in self.services.courier.delivered]
        found = [msgspec.convert(body, Alert) for body in bodies]
        return [alert for alert in found if alert.kind == kind or not kind]

    def derived(self) -> dict[str, bytes]:
        """Everything that must be the same whatever the order: reports, merge files, stored windows, evaluation facts.

        A crash may leave a stored window that no fact names. What label_maturity.json says depends on the moment.
        """
        objects = self.services.objects
        reports = [key for key in objects.keys(DATA, "reports/") if not key.endswith("/label_maturity.json")]
        kept = {f"{DATA}/{key}": objects.get(DATA, key).body for key in reports}
        prefix = f"plumbline/payload/{MONITOR}/"
        for key in objects.keys(OWN, f"{prefix}quarantine/"):
            kept[f"{OWN}/{key}"] = objects.get(OWN, key).body
        # One object for each state in which the window was seen; together they hold the ids of the last.
        for key in objects.keys(OWN, f"{prefix}ids/"):
            window, ids = f"ids of {parse_ids_key(key)}", objects.get(OWN, key).body
            known = {kept.get(window, b"")[at : at + 8] for at in range(0, len(kept.get(window, b"")), 8)}
            kept[window] = b"".join(sorted(known | {ids[at : at + 8] for at in range(0, len(ids), 8)}))
        for item in self.services.ledger.query(f"MONITOR#{MONITOR}", begins_with="EVALUATION#"):
            kept[item.sk] = item.body
            fact = msgspec.json.decode(item.body, type=Evaluation)
            for key in (
                f"{prefix}measured/{fact.window}/{fact.measured}.msgpack",
                f"{prefix}window-labels/{fact.window}/{fact.labels}.msgpack",
            ):
                kept[f"{OWN}/{key}"] = objects.get(OWN, key).body
        return kept

    def reported(self) -> None:
        """Restate the open windows whose labels wait for an age step, as the clock does when it has come."""
        waiting = [
            Window.parse(known.window, self.definition.window_length)
            for item in self.services.ledger.query(f"MONITOR#{MONITOR}", begins_with="NEWS#")
            if (known := msgspec.json.decode(item.body, type=News)).pending and known.evaluated
        ]
        for window in waiting:
            if self.clock.time < window.end + self.definition.horizon:
                due.mark(
                    self.services.ledger, MONITOR, window, self.definition.grace, self.clock.time, wait=timedelta(0)
                )
        if waiting:
            self.minutes(2)

    def owed(self) -> Iterator[str]:
        """Windows that are still due."""
        for shard in range(8):
            for item in self.services.ledger.query(f"DUE#{shard}"):
                yield item.sk


def _name(number: int) -> str:
    return hour(number).strftime("%Y-%m-%dT%H:%M:%SZ")


def window_name(number: int) -> str:
    """The name of window `number`."""
    return _name(number)
