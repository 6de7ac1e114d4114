"""An account in which one stage and one monitor have all that they need, and a way to take any of it away."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse

from chalicelib import wiring
from chalicelib.definition import Definition, parse_definition
from chalicelib.settings import Settings, from_environment
from chalicelib.topology import resource_name
from emulator.aws import LocalAws, LocalSession, create_resources
from emulator.sagemaker_server import SageMakerServer
from plumbline.cli.account.account import Account
from plumbline.cli.add import add_monitor
from plumbline.cli.connect import apply, plan

ROOT = Path(__file__).resolve().parents[2]
STAGE, OWN, WATCHED, OUTPUT = "test", "plumbline-own", "watched", "reports"
MONITOR = ENDPOINT = "churn"
PIPELINE, GROUP = "retrain", "churn-models"
NUMBER = "123456789012"
MODEL_ROLE, PIPELINE_ROLE = (f"arn:aws:iam::{NUMBER}:role/plumbline-{name}" for name in ("model", "pipeline"))
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
START = datetime(2026, 3, 2, 10, tzinfo=UTC)

INFERENCE = """
def model_fn(model_dir):
    return 0.0

def predict_fn(data, model):
    return [0.5 for _ in data]
"""


@dataclass
class Scene:
    """The running emulator and its clock."""

    aws: LocalAws
    sagemaker: SageMakerServer
    now: datetime = START
    key: str = ""

    def client(self, service: str) -> Any:
        return self.aws.client(service)

    def advance(self, minutes: int = 10) -> None:
        self.now += timedelta(minutes=minutes)
        self.sagemaker.tick()

    def deploy(self, config: str, capture: Mapping[str, Any] | None, model: str = "first") -> None:
        """Serve a model under a configuration with this data capture."""
        sagemaker = self.client("sagemaker")
        variant = {"VariantName": "AllTraffic", "ModelName": model, "InstanceType": "ml.m5.large",
                   "InitialInstanceCount": 1}  # fmt: skip
        extra = {} if capture is None else {"DataCaptureConfig": capture}
        sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant], **extra)
        change = sagemaker.update_endpoint if self._exists() else sagemaker.create_endpoint
        change(EndpointName=ENDPOINT, EndpointConfigName=config)
        self.advance()

    def _exists(self) -> bool:
        return bool(self.client("sagemaker").list_endpoints(NameContains=ENDPOINT)["Endpoints"])

    def capture(self, **changes: Any) -> dict[str, Any]:
        """Data capture as the definition needs it, changed as given."""
        return {
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{WATCHED}/captures",
            "KmsKeyId": self.key,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
            **changes,
        }

    def services(self) -> wiring.LazyServices:
        return wiring.LazyServices(self.settings(), now=lambda: self.now)

    def settings(self) -> Settings:
        return from_environment(self.environment())

    def account(self) -> Account:
        return Account(self.settings().region)

    def environment(self) -> dict[str, str]:
        resources = self.aws.resources
        assert resources is not None
        return {
            **self.aws.environment(),
            "PLUMBLINE_STAGE": STAGE,
            "PLUMBLINE_BUCKET": OWN,
            "PLUMBLINE_TABLE": resources.table_name,
            "PLUMBLINE_TOPIC_ARN": resources.topic_arn,
            "PLUMBLINE_WEBHOOK_KEYS": "/plumbline/test/webhook-keys",
            "PLUMBLINE_MODEL_ROLE_ARN": MODEL_ROLE,
        }


def document(**changes: Any) -> dict[str, Any]:
    """The monitor's definition as a user writes it."""
    return {
        "name": MONITOR,
        "endpoint": ENDPOINT,
        "capture_s3_uri": f"s3://{WATCHED}/captures",
        "ground_truth_s3_uri": f"s3://{WATCHED}/ground-truth/churn",
        "output_s3_uri": f"s3://{OUTPUT}/plumbline",
        "attributes": {"probability_attribute": "0"},
        "baseline": {"data_quality_constraints": f"s3://{WATCHED}/baseline/constraints.json"},
        "alarms": [{"name": "churn-accuracy", "role": "trigger"}],
        "retraining": {
            "pipeline_name": PIPELINE,
            "output_uri": f"s3://{OUTPUT}/retraining",
            "parameters": parameters(),
        },
        "routes": [{"kind": "slack", "secret": "/plumbline/test/routes/slack"}],
        **changes,
    }


def parameters() -> dict[str, str]:
    """A value for every parameter of our own pipeline that a start must give."""
    declared = json.loads((ROOT / "pipelines/retraining.json").read_text())["Parameters"]
    given = {each["Name"]: "anything" for each in declared if "DefaultValue" not in each}
    return {**given, "ManifestUri": "{manifest_uri}", "OutputUri": "{output_uri}", "ModelPackageGroupName": GROUP}


def definition(**changes: Any) -> Definition:
    return parse_definition(document(**changes))


@contextmanager
def running(folder: Path) -> Iterator[Scene]:
    """Start everything, furnish the account, add the monitor and connect its bucket."""
    aws = LocalAws()
    before = boto3.DEFAULT_SESSION
    with aws:
        scenes: list[Scene] = []
        sagemaker = SageMakerServer(
            folder, aws.client("s3"), now=lambda: scenes[0].now if scenes else START, emit=lambda event: None
        )
        scene = Scene(aws, sagemaker)
        scenes.append(scene)
        aws.sagemaker_url = sagemaker.start()
        try:
            create_resources(aws, STAGE, [OWN])
            furnish(scene)
            boto3.DEFAULT_SESSION = Refusing(scene).session
            add_monitor(scene.services(), definition())
            apply(scene.account(), plan(scene.account(), scene.services(), WATCHED))
            yield scene
        finally:
            boto3.DEFAULT_SESSION = before
            sagemaker.close()


def furnish(scene: Scene) -> None:
    """What a user's account has: buckets, roles, a key, a model behind an endpoint, a pipeline, secrets, an alarm."""
    s3, iam, sagemaker, ssm = (scene.client(service) for service in ("s3", "iam", "sagemaker", "ssm"))
    for bucket in (WATCHED, OUTPUT):
        s3.create_bucket(Bucket=bucket)
    for arn in (MODEL_ROLE, PIPELINE_ROLE):
        iam.create_role(RoleName=arn.rpartition("/")[2], AssumeRolePolicyDocument=json.dumps(TRUST))
    scene.key = scene.client("kms").create_key()["KeyMetadata"]["KeyId"]
    s3.put_object(Bucket=WATCHED, Key="baseline/constraints.json", Body=b'{"version": 0, "features": []}')
    s3.put_object(Bucket=WATCHED, Key="models/first.tar.gz", Body=_archive())
    sagemaker.create_model(
        ModelName="first",
        ExecutionRoleArn=MODEL_ROLE,
        PrimaryContainer={"Image": "sklearn", "ModelDataUrl": f"s3://{WATCHED}/models/first.tar.gz"},
    )
    scene.deploy("churn-1", scene.capture())
    sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
    sagemaker.create_pipeline(
        PipelineName=PIPELINE,
        ClientRequestToken="0" * 32,
        PipelineDefinition=(ROOT / "pipelines/retraining.json").read_text(),
        RoleArn=PIPELINE_ROLE,
    )
    for name in ("/plumbline/test/webhook-keys", "/plumbline/test/routes/slack"):
        ssm.put_parameter(Name=name, Value="secret", Type="SecureString")
    operations = scene.client("sns").create_topic(Name=resource_name(STAGE, "operations"))["TopicArn"]
    scene.client("sns").subscribe(TopicArn=operations, Protocol="email", Endpoint="ops@example.com")
    scene.client("cloudwatch").put_metric_alarm(
        AlarmName="churn-accuracy",
        Namespace="Plumbline",
        MetricName="accuracy",
        Statistic="Average",
        Period=3600,
        EvaluationPeriods=1,
        Threshold=0.6,
        ComparisonOperator="LessThanThreshold",
    )


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo("code/inference.py")
        entry.size = len(INFERENCE)
        tar.addfile(entry, io.BytesIO(INFERENCE.encode()))
    return buffer.getvalue()


class Refusing:
    """AWS's answers as they would be to somebody with fewer rights, or with none: by "service.Operation"."""

    def __init__(self, scene: Scene) -> None:
        self.session: LocalSession = scene.aws.session()
        # moto has no such call and fails in a way that clients try again and again.
        missing = {"Error": {"Code": "NoSuchResourceException", "Message": "no quotas here"}}
        no_quotas = (AWSResponse("http://emulator", 400, {}, None), missing)
        self.session.events.register("before-call.service-quotas.ListServiceQuotas", lambda **_: no_quotas)

    def answer(self, call: str, error: str, message: str = "said so", status: int = 403) -> None:
        """Refuse a call with an error code."""
        parsed = {"Error": {"Code": error, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
        self._register(call, status, parsed)

    def give(self, call: str, **parsed: Any) -> None:
        """Answer a call."""
        self._register(call, 200, {**parsed, "ResponseMetadata": {"HTTPStatusCode": 200}})

    def _register(self, call: str, status: int, parsed: Mapping[str, Any]) -> None:
        response = AWSResponse("http://emulator", status, {}, None)
        self.session.events.register_first(f"before-call.{call}", lambda **_: (response, dict(parsed)))

    def __enter__(self) -> Refusing:
        self._before = boto3.DEFAULT_SESSION
        boto3.DEFAULT_SESSION = self.session
        return self

    def __exit__(self, *_: object) -> None:
        boto3.DEFAULT_SESSION = self._before
