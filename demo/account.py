"""The demo's AWS account: an ML engineer's resources before Plumbline is added, and Plumbline's own.

First model, endpoints with data capture, pipeline, alarms, secrets; all through boto3 clients, as on AWS.
"""

from __future__ import annotations

import base64
import csv
import functools
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from chalicelib.definition import Definition, parse_definition
from chalicelib.evaluation.baseline_states import MEASUREMENT
from chalicelib.evaluation.measurement import Subject, measure
from chalicelib.monitors.baseline import baseline_documents
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import to_table
from demo.stream import FEATURES, ROOT, TRAINING_WEEKS, WEEK, Stream
from emulator.alarms import AlarmEvaluator
from emulator.aws import LocalAws, add_s3_rule
from emulator.model_server import METRIC_NAMESPACE
from emulator.sagemaker_server import SageMakerServer
from pipelines.package_code import files as code_files
from plumbline.cli.add import read_definition

STAGE = "demo"
BUCKET = "plumbline-demo"
LOOP, FIRST = "electricity", "electricity-first"
ROLE = "arn:aws:iam::123456789012:role/plumbline-demo-model"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/plumbline-training:demo"
WEBHOOK_KEYS = "/plumbline/demo/webhook-keys"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"the demo's key, known to all").decode()
HOOK_SECRET = "whsec_" + base64.b64encode(b"the receiver's key, no secret").decode()

# The last weeks of the training data, on which a twin trained without them answers: the first baseline.
BASELINE_WEEKS = 4

ALARM_ACCURACY, ALARM_5XX = "electricity-accuracy-low", "electricity-model-5xx"


@dataclass(frozen=True)
class Account:
    """What the replay talks to."""

    aws: LocalAws
    sagemaker: SageMakerServer
    alarms: AlarmEvaluator

    def client(self, service: str) -> Any:
        return self.aws.client(service)


def environment(aws: LocalAws, receiver_url: str) -> dict[str, str]:
    """What the functions' environment holds; the receiver on loopback is allowed by an explicit setting."""
    resources = aws.resources
    assert resources is not None
    return {
        **aws.environment(),
        "PLUMBLINE_STAGE": STAGE,
        "PLUMBLINE_BUCKET": BUCKET,
        "PLUMBLINE_TABLE": resources.table_name,
        "PLUMBLINE_TOPIC_ARN": resources.topic_arn,
        "PLUMBLINE_WEBHOOK_KEYS": WEBHOOK_KEYS,
        "PLUMBLINE_MODEL_ROLE_ARN": ROLE,
        "PLUMBLINE_OUTGOING_ALLOWANCES": receiver_url.removeprefix("http://"),
    }


def furnish(account: Account, stream: Stream, receiver_url: str) -> None:
    """Everything but the monitors: model, endpoints, pipeline, baseline, alarms, secrets, rules."""
    s3 = account.client("s3")
    first = _train(stream, 0, TRAINING_WEEKS)
    s3.put_object(Bucket=BUCKET, Key="models/electricity-1/model.tar.gz", Body=first)
    twin = _train(stream, 0, TRAINING_WEEKS - BASELINE_WEEKS)
    for path, body in _baseline(stream, twin).items():
        s3.put_object(Bucket=BUCKET, Key=f"baseline/{path}", Body=body)
    for key, path in code_files(ROOT).items():
        s3.put_object(Bucket=BUCKET, Key=f"code/{key}", Body=path.read_bytes())
    _deploy(account)
    _secrets(account, receiver_url)
    _alarms(account)
    for queue, prefix in (("captures", "captures/"), ("ground-truth", "ground-truth/")):
        add_s3_rule(account.aws, STAGE, queue, BUCKET, prefix)


def definition(name: str, receiver_url: str, **policy: object) -> Definition:
    """A monitor of examples/electricity, its alerts going to the receiver's address, its policy changed as given."""
    path = ROOT / "examples/electricity" / ("monitor.yaml" if name == LOOP else "never-retrained.yaml")
    document = json.loads(json.dumps(_plain(read_definition(path))))
    for route in document["routes"]:
        route["url"] = route["url"].replace("http://127.0.0.1:1", receiver_url)
    document["policy"].update(policy)
    return parse_definition(document)


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


@functools.cache
def _train(stream: Stream, first_week: int, weeks: int) -> bytes:
    """Run the pipeline's own training step, under SageMaker's contract, on rows of the past; returns model.tar.gz.

    Once per process, for a process may play the stream several times.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "input/data/train").mkdir(parents=True)
        rows = slice(first_week * WEEK, (first_week + weeks) * WEEK)
        with (root / "input/data/train/train.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["label", *FEATURES])
            for label, line in zip(stream.labels[rows], stream.lines[rows], strict=True):
                writer.writerow([int(label), *line.split(",")])
        model = root / "model"
        model.mkdir()
        step = [sys.executable, str(ROOT / "pipelines/steps/train.py")]
        environ = {**os.environ, "ML_ROOT": str(root), "SM_CHANNEL_TRAIN": str(root / "input/data/train"),
                   "SM_MODEL_DIR": str(model), "OMP_NUM_THREADS": "1"}  # fmt: skip
        subprocess.run(step, env=environ, check=True, capture_output=True)
        archive = root / "model.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for path in sorted(model.rglob("*")):
                tar.add(path, path.relative_to(model), recursive=False)
        return archive.read_bytes()


def _baseline(stream: Stream, twin: bytes) -> dict[str, bytes]:
    """Statistics and constraints of the last training weeks, answered by a model that was not trained on them."""
    rows = slice((TRAINING_WEEKS - BASELINE_WEEKS) * WEEK, TRAINING_WEEKS * WEEK)
    scores = _answers(twin, stream.features[rows])
    body = "\n".join(stream.lines[rows])
    start = datetime.fromisoformat("2025-01-01T00:00:00+00:00")
    answered = "\n".join(repr(float(score)) for score in scores)
    asked, answer = Payload(body, "CSV", "text/csv"), Payload(answered, "CSV", "text/csv")
    request = CapturedRequest("baseline", None, start, asked, answer)
    label = Label("baseline", json.dumps([int(label) for label in stream.labels[rows]]), "JSON")
    attributes = definition(LOOP, "http://127.0.0.1:1").attributes
    table = to_table([request], {"baseline": label}, attributes)
    documents = baseline_documents(table, table.predictions, table.scores, start.isoformat())
    return {**documents, MEASUREMENT: measure(table, Subject(attributes=attributes)).to_bytes()}


def _answers(archive: bytes, features: np.ndarray) -> np.ndarray:
    """Probabilities of class 1 by a packed model."""
    import io

    import joblib

    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile("model.joblib")
        assert member is not None
        model = joblib.load(io.BytesIO(member.read()))
    answers: np.ndarray = model.predict_proba(features)[:, 1]
    return answers


def _deploy(account: Account) -> None:
    """The first model behind two endpoints with full data capture, and the retraining pipeline."""
    sagemaker = account.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName=LOOP)
    sagemaker.create_model(
        ModelName="electricity-1", ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/models/electricity-1/model.tar.gz"},
    )  # fmt: skip
    for endpoint in (LOOP, FIRST):
        variant = {"VariantName": "AllTraffic", "ModelName": "electricity-1", "InstanceType": "ml.m5.large",
                   "InitialInstanceCount": 1, "InitialVariantWeight": 1.0}  # fmt: skip
        sagemaker.create_endpoint_config(
            EndpointConfigName=f"{endpoint}-1", ProductionVariants=[variant],
            DataCaptureConfig={
                "EnableCapture": True, "InitialSamplingPercentage": 100,
                "DestinationS3Uri": f"s3://{BUCKET}/captures",
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
            },
        )  # fmt: skip
        sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=f"{endpoint}-1")
    sagemaker.create_pipeline(
        PipelineName="plumbline-retraining", ClientRequestToken="0" * 32,
        PipelineDefinition=(ROOT / "pipelines/retraining.json").read_text(),
        RoleArn="arn:aws:iam::123456789012:role/plumbline-demo-pipeline",
    )  # fmt: skip


def _secrets(account: Account, receiver_url: str) -> None:
    ssm = account.client("ssm")
    for name, value in (
        (WEBHOOK_KEYS, WEBHOOK_SECRET),
        ("/plumbline/demo/routes/slack-url", f"{receiver_url}/services/T000/B000/XXXX"),
        ("/plumbline/demo/routes/pagerduty-key", "R0000000000000000000000000000000"),
        ("/plumbline/demo/routes/hook-key", HOOK_SECRET),
    ):
        ssm.put_parameter(Name=name, Value=value, Type="SecureString")


def _alarms(account: Account) -> None:
    """The article's alarm on a published quality metric, and one on the model server's errors."""
    account.alarms.put_alarm(
        AlarmName=ALARM_ACCURACY, Namespace="Plumbline", MetricName="accuracy", Statistic="Average",
        Dimensions=[{"Name": "Endpoint", "Value": LOOP}, {"Name": "Monitor", "Value": LOOP}],
        Period=3600, EvaluationPeriods=8, DatapointsToAlarm=3, Threshold=0.65,
        ComparisonOperator="LessThanThreshold", TreatMissingData="missing",
    )  # fmt: skip
    account.alarms.put_alarm(
        AlarmName=ALARM_5XX, Namespace=METRIC_NAMESPACE, MetricName="Invocation5XXErrors", Statistic="Sum",
        Dimensions=[{"Name": "EndpointName", "Value": LOOP}, {"Name": "VariantName", "Value": "AllTraffic"}],
        Period=3600, EvaluationPeriods=1, DatapointsToAlarm=1, Threshold=3.0,
        ComparisonOperator="GreaterThanOrEqualToThreshold", TreatMissingData="notBreaching",
    )  # fmt: skip
