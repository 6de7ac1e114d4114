"""A retraining pipeline that knows nothing of Plumbline goes the whole way: decision, execution, package, gate, end.

SageMaker is the emulator over HTTP, S3 is moto, both behind the real adapters; the pipeline's step runs for real.
Table and queues are in memory. The monitor's definition names the pipeline and its parameters: nothing else differs.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from chalicelib.adapters.object_store import S3ObjectStore
from chalicelib.adapters.sagemaker import SageMakerApi
from chalicelib.adapters.scorer import EndpointScorer
from chalicelib.definition import Definition, parse_definition
from chalicelib.events import object_created_body
from chalicelib.facts import champions, claims, decisions
from chalicelib.topology import SOURCES
from chalicelib.wiring import Services
from emulator.aws import LocalAws
from emulator.clock import LogicalClock
from emulator.memory import (
    SETTINGS,
    MemoryCourier,
    MemoryLedger,
    MemoryMetrics,
    MemoryQueues,
    MemorySecrets,
    MemoryTopic,
)
from emulator.pump import matches
from emulator.sagemaker_server import SageMakerServer
from plumbline.cli.add import add_monitor
from tests.unit.handlers.world import HANDLERS

EXAMPLE = Path(__file__).parents[2] / "examples/other-pipeline"
START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ROLE = "arn:aws:iam::123456789012:role/churn"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sklearn:1"
ROWS = 60


def definition(alarms: Sequence[dict[str, str]] = (), **policy: Any) -> Definition:
    """A monitor whose retraining is examples/other-pipeline, with its own names for everything."""
    return parse_definition(
        {
            "name": "churn",
            "endpoint": "churn",
            "capture_s3_uri": "s3://data/captures",
            "ground_truth_s3_uri": "s3://data/ground-truth/churn",
            "output_s3_uri": "s3://data/reports",
            "attributes": {"features": ["x", "z"], "probability_attribute": "0"},
            "policy": {
                "min_labelled_rows": 20,
                "reference_windows": 2,
                "holdback_windows": 1,
                "training_windows": 1,
                **policy,
            },
            "alarms": list(alarms),
            "retraining": {
                "pipeline_name": "other-pipeline",
                "output_uri": "s3://data/retraining/churn",
                "parameters": {
                    "Data": "{manifest_uri}",
                    "Out": "{output_uri}",
                    "Group": "churn",
                    "Code": "s3://data/code/other-pipeline",
                    "Image": IMAGE,
                    "Role": ROLE,
                },
            },
        }
    )


class Loop:
    """The account, the handlers and everything between them."""

    def __init__(self, aws: LocalAws, folder: Path) -> None:
        self.clock = LogicalClock(START)
        self.s3 = aws.client("s3")
        self.queues = MemoryQueues()
        self.server = SageMakerServer(
            folder,
            self.s3,
            now=self.clock.now,
            emit=self._emit,
            endpoint_takes=MINUTE,
            serverless_takes=MINUTE,
            pipeline_takes=4 * MINUTE,
            step_environment={**aws.environment(), "OMP_NUM_THREADS": "1"},
        )
        aws.sagemaker_url = self.server.start()
        self.clock.follow(aws.set_time)
        self.sagemaker = aws.session().client("sagemaker")
        self.services = Services(
            settings=SETTINGS,
            now=self.clock.now,
            objects=S3ObjectStore(self.s3),
            ledger=MemoryLedger(self.clock.now),
            queues=self.queues,
            sagemaker=SageMakerApi(self.sagemaker),
            scorer=EndpointScorer(aws.session().client("sagemaker-runtime")),
            metrics=MemoryMetrics(self.clock.now),
            topic=MemoryTopic(),
            courier=MemoryCourier(),
            secrets=MemorySecrets(),
        )
        self._furnish()

    def _furnish(self) -> None:
        for bucket in ("data", SETTINGS.bucket):
            self.s3.create_bucket(Bucket=bucket)
        for name in ("train.py", "inference.py"):
            self._put(f"code/other-pipeline/{name}", (EXAMPLE / name).read_bytes())
        self._put("models/first/model.tar.gz", first_model())
        container = {
            "Image": IMAGE,
            "ModelDataUrl": "s3://data/models/first/model.tar.gz",
            "Environment": {"SAGEMAKER_PROGRAM": "inference.py"},
        }
        self.sagemaker.create_model(ModelName="first", ExecutionRoleArn=ROLE, PrimaryContainer=container)
        variant = {"VariantName": "AllTraffic", "ModelName": "first", "InstanceType": "ml.m5.large"}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName="churn-1",
            ProductionVariants=[{**variant, "InitialInstanceCount": 1, "InitialVariantWeight": 1.0}],
            DataCaptureConfig={
                "EnableCapture": True,
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": "s3://data/captures",
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
            },
        )
        self.sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="churn-1")
        self.sagemaker.create_model_package_group(ModelPackageGroupName="churn")
        self.sagemaker.create_pipeline(
            PipelineName="other-pipeline",
            PipelineDefinition=(EXAMPLE / "definition.json").read_text(),
            ClientRequestToken="0" * 32,
            RoleArn=ROLE,
        )
        self.minutes(2)

    def _put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket="data", Key=key, Body=body)

    def _emit(self, event: dict[str, Any]) -> None:
        for source in SOURCES:
            if source.pattern is not None and matches(source.pattern, event):
                self.queues.send(source.queue, [json.dumps(event).encode()])

    def minutes(self, count: int) -> None:
        """Let time pass; everything that is due happens."""
        for _ in range(count):
            self.clock.advance(by=MINUTE)
            self.queues.send("clock", [b"{}"])
            self.settle()

    def settle(self) -> None:
        self.server.tick()
        while waiting := [(queue, message) for queue in HANDLERS for message in self.queues.take(queue)]:
            for queue, message in waiting:
                HANDLERS[queue](message.decode(), self.services)
            self.server.tick()

    def hour(self, number: int, truth: int) -> None:
        """An hour of traffic and its labels: the class is whether feature `truth` is above one half."""
        start = START + number * HOUR
        draw = random.Random(number)
        labels = []
        for index in range(ROWS):
            self.clock.advance(to=max(self.clock.now(), start + timedelta(seconds=50 * (index + 10))))
            features = (round(draw.random(), 3), round(draw.random(), 3))
            name = f"r{number}-{index}"
            self.server.invoke(
                "churn",
                f"{features[0]},{features[1]}".encode(),
                content_type="text/csv",
                accept="text/csv",
                inference_id=name,
            )
            document = {
                "groundTruthData": {"data": str(int(features[truth] > 0.5)), "encoding": "CSV"},
                "eventMetadata": {"eventId": name},
                "eventVersion": "0",
            }
            labels.append(json.dumps(document) + "\n")
        for uri in self.server.flush(self.clock.now()):
            self._created("captures", uri.removeprefix("s3://data/"))
        key = f"ground-truth/churn/{self.clock.now():%Y/%m/%d/%H}/labels-{number}.jsonl"
        self._put(key, "".join(labels).encode())
        self._created("ground-truth", key)
        self.settle()
        self.clock.advance(to=max(self.clock.now(), start + HOUR + 4 * MINUTE))
        self.minutes(3)

    def alarm(self, name: str) -> None:
        """CloudWatch says that an alarm went off."""
        now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._emit(
            {
                "source": "aws.cloudwatch",
                "detail-type": "CloudWatch Alarm State Change",
                "time": now,
                "detail": {"alarmName": name, "state": {"value": "ALARM", "timestamp": now}},
            }
        )

    def _created(self, queue: str, key: str) -> None:
        stored = self.services.objects.get("data", key)
        event = object_created_body("data", key, stored.etag, len(stored.body), self.clock.now())
        self.queues.send(queue, [event])

    def retraining(self) -> claims.RetrainClaim:
        claim = claims.load_retrain(self.services.ledger, "churn")
        assert claim is not None, [each.reasons for each in self.decided()]
        return claim

    def decided(self) -> list[decisions.Record]:
        found = decisions.references(self.services.ledger, "churn")
        records = (decisions.load_record(self.services.ledger, each.decision_id) for each in found)
        made = [record for record in records if record is not None]
        return sorted(made, key=lambda record: (record.window, record.made_at))

    def ask(self, x: float, z: float) -> float:
        """What the endpoint answers now."""
        return float(self.server.invoke("churn", f"{x},{z}".encode(), content_type="text/csv", accept="text/csv").body)


def first_model() -> bytes:
    """A model of the first feature, packed as SageMaker's serving contract wants it."""
    draw = np.random.default_rng(0)
    rows = draw.random((400, 2))
    model = LogisticRegression(C=1000.0).fit(rows, rows[:, 0] > 0.5)
    packed, dumped = io.BytesIO(), io.BytesIO()
    joblib.dump(model, dumped)
    files = {"model.joblib": dumped.getvalue(), "code/inference.py": (EXAMPLE / "inference.py").read_bytes()}
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return packed.getvalue()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    with LocalAws() as aws:
        built = Loop(aws, tmp_path / "sagemaker")
        try:
            yield built
        finally:
            built.server.close()


def run(loop: Loop, hours: list[int], monitor: Definition) -> claims.RetrainClaim:
    add_monitor(loop.services, monitor)
    for number, truth in enumerate(hours):
        loop.hour(number, truth)
    if monitor.alarms:
        loop.alarm(monitor.alarms[0].name)
        loop.minutes(3)
    assert [record.action for record in loop.decided()][-1] == "RETRAIN"
    claim = loop.retraining()
    given = {each["Name"]: each["Value"] for each in claim.request["PipelineParameters"]}
    assert sorted(given) == ["Code", "Data", "Group", "Image", "Out", "Role"]
    assert given["Data"] == claim.manifest_uri
    for _ in range(30):
        if not loop.retraining().in_flight:
            break
        loop.minutes(1)
    return loop.retraining()


def test_what_it_registers_is_challenged_by_us_and_promoted(loop: Loop) -> None:
    # Staying costs 0.8 window-errors in two hours: one to learn from, one to hold back.
    claim = run(loop, [0, 0, 1, 1], definition(cost=0.35))
    assert claim.state == "PROMOTED", claim.outcome
    champion = champions.load_champion(loop.services.ledger, "churn")
    assert champion is not None
    assert (champion.generation, champion.candidate.name) == (1, "churn/1")
    package = loop.services.sagemaker.describe_model_package(champion.candidate.package_arn)
    assert package.approval_status == "Approved"
    served = loop.sagemaker.describe_endpoint(EndpointName="churn")
    assert served["EndpointConfigName"] == champion.config_name
    assert served["DataCaptureConfig"]["DestinationS3Uri"] == "s3://data/captures"
    assert loop.ask(0.1, 0.9) > 0.5 > loop.ask(0.9, 0.1)


def test_what_it_registers_may_be_refused_by_us(loop: Loop) -> None:
    # An alarm comes when the hour that it is about is over: what there is to learn from is no longer true.
    claim = run(loop, [0, 0, 1, 0], definition(alarms=[{"name": "accuracy-low", "role": "trigger"}], cost=1000.0))
    assert claim.state == "REFUSED", claim.outcome
    assert "is not lower than the best incumbent's" in claim.outcome
    [package] = loop.sagemaker.list_model_packages(ModelPackageGroupName="churn")["ModelPackageSummaryList"]
    assert package["ModelApprovalStatus"] == "Rejected"
    champion = champions.load_champion(loop.services.ledger, "churn")
    assert champion is not None
    assert champion.generation == 0
    assert loop.sagemaker.describe_endpoint(EndpointName="churn")["EndpointConfigName"] == "churn-1"
    assert loop.ask(0.9, 0.1) > 0.5 > loop.ask(0.1, 0.9)
