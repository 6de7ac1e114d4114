"""Each fixture gives one Protocol's implementation twice: the fake, and the adapter over moto.

Beside it lies what a test needs to look at the world behind it: a way to read what arrived, or to set the scene.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider
from moto import mock_aws

from chalicelib.adapters.ledger import DynamoLedger
from chalicelib.adapters.metrics import CloudWatchMetrics
from chalicelib.adapters.object_store import S3ObjectStore
from chalicelib.adapters.queues import SqsQueues
from chalicelib.adapters.sagemaker import SageMakerApi
from chalicelib.adapters.secrets import ParameterSecrets
from chalicelib.adapters.topic import SnsTopic
from chalicelib.ports import Ledger, ObjectStore, Secrets
from emulator.memory import (
    MemoryLedger,
    MemoryMetrics,
    MemoryObjectStore,
    MemoryQueues,
    MemorySageMaker,
    MemorySecrets,
    MemoryTopic,
)
from tests.contract.worlds import (
    REGION,
    ROLE,
    MetricWorld,
    QueueWorld,
    SageMakerWorld,
    TopicWorld,
    client,
    create_table,
)


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(params=["fake", "moto"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The side that a test runs on; on moto's, an empty account for the test's time."""
    if request.param == "fake":
        yield "fake"
        return
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield "moto"


@pytest.fixture
def objects(world: str) -> ObjectStore:
    """An object store with one empty bucket, "data"."""
    if world == "fake":
        return MemoryObjectStore(_now)
    s3 = client("s3")
    s3.create_bucket(Bucket="data")
    return S3ObjectStore(s3)


@pytest.fixture
def ledger(world: str) -> Ledger:
    if world == "fake":
        return MemoryLedger(_now)
    dynamodb = client("dynamodb")
    create_table(dynamodb)
    return DynamoLedger(dynamodb, "facts")


@pytest.fixture
def queue_world(world: str) -> QueueWorld:
    """The queues "windows" and "retrain-claims", and a way to receive all of one."""
    if world == "fake":
        fake = MemoryQueues(["windows", "retrain-claims"])
        return QueueWorld(fake, fake.take)
    sqs = client("sqs")
    for queue in ("windows", "retrain-claims"):
        sqs.create_queue(QueueName=f"plumbline-test-{queue}")

    def received(queue: str) -> list[bytes]:
        url = sqs.get_queue_url(QueueName=f"plumbline-test-{queue}")["QueueUrl"]
        bodies: list[bytes] = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            bodies += [message["Body"].encode() for message in messages]
        return bodies

    return QueueWorld(SqsQueues(sqs, lambda queue: f"plumbline-test-{queue}"), received)


@pytest.fixture
def topic_world(world: str) -> TopicWorld:
    """A topic, and what a subscribed queue received of it: subject, message, attributes."""
    if world == "fake":
        fake = MemoryTopic()
        return TopicWorld(fake, lambda: [(p.subject, p.message, dict(p.attributes)) for p in fake.published])
    sns, sqs = client("sns"), client("sqs")
    arn = sns.create_topic(Name="alerts")["TopicArn"]
    url = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:123456789012:inbox")

    def received() -> list[tuple[str, str, dict[str, str]]]:
        raw = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        envelopes = [json.loads(message["Body"]) for message in raw]
        return [
            (
                envelope["Subject"],
                envelope["Message"],
                {name: attribute["Value"] for name, attribute in envelope.get("MessageAttributes", {}).items()},
            )
            for envelope in envelopes
        ]

    return TopicWorld(SnsTopic(sns, arn), received)


@pytest.fixture
def metric_world(world: str) -> MetricWorld:
    """Metrics, and what arrived of one namespace and name: monitor dimension -> number of data points, their sum."""
    if world == "fake":
        fake = MemoryMetrics(_now)

        def in_memory(namespace: str, name: str) -> dict[str, tuple[int, float]]:
            found: dict[str, tuple[int, float]] = {}
            for metric in fake.points.get(namespace, []):
                if metric.name == name:
                    monitor = metric.dimensions.get("Monitor", "")
                    count, total = found.get(monitor, (0, 0.0))
                    found[monitor] = (count + 1, total + metric.value)
            return found

        return MetricWorld(fake, in_memory)
    cloudwatch = client("cloudwatch")

    def in_moto(namespace: str, name: str) -> dict[str, tuple[int, float]]:
        pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace=namespace, MetricName=name)
        series = {tuple((d["Name"], d["Value"]) for d in m["Dimensions"]) for page in pages for m in page["Metrics"]}
        found: dict[str, tuple[int, float]] = {}
        for dimensions in series:
            points = cloudwatch.get_metric_statistics(
                Namespace=namespace,
                MetricName=name,
                Dimensions=[{"Name": key, "Value": value} for key, value in dimensions],
                StartTime=_now() - timedelta(hours=1),
                EndTime=_now() + timedelta(hours=1),
                Period=60,
                Statistics=["Sum", "SampleCount"],
            )["Datapoints"]
            count, total = sum(point["SampleCount"] for point in points), sum(point["Sum"] for point in points)
            found[dict(dimensions).get("Monitor", "")] = (int(count), total)
        return found

    return MetricWorld(CloudWatchMetrics(cloudwatch), in_moto)


@pytest.fixture
def secrets(world: str) -> Secrets:
    """An SSM parameter "/plumbline/keys" and a secret "pager", each with its text."""
    if world == "fake":
        return MemorySecrets({"/plumbline/keys": "whsec_abc", "secretsmanager:pager": "token"})
    ssm, manager = client("ssm"), client("secretsmanager")
    ssm.put_parameter(Name="/plumbline/keys", Value="whsec_abc", Type="SecureString")
    manager.create_secret(Name="pager", SecretString="token")
    return ParameterSecrets(SSMProvider(boto3_client=ssm), SecretsProvider(boto3_client=manager))


@pytest.fixture
def sagemaker_world(world: str) -> SageMakerWorld:
    """A pipeline "retrain", one of whose two parameters has a default, and a model package that waits for approval."""
    if world == "fake":
        fake = MemorySageMaker(_now)
        fake.add_pipeline("retrain", {"Window": "none", "Manifest": None})
        arn = fake.add_model_package(
            "champions", model_data_url="s3://data/model.tar.gz", image="image:1", metadata={"decision": "d1"}
        )
        return SageMakerWorld(fake, arn)
    sagemaker = client("sagemaker")
    sagemaker.create_pipeline(
        PipelineName="retrain",
        PipelineDefinition=json.dumps(
            {
                "Version": "2020-12-01",
                "Parameters": [
                    {"Name": "Window", "Type": "String", "DefaultValue": "none"},
                    {"Name": "Manifest", "Type": "String"},
                ],
                "Steps": [],
            }
        ),
        ClientRequestToken="t" * 32,
        RoleArn=ROLE,
    )
    sagemaker.create_model_package_group(ModelPackageGroupName="champions")
    arn = sagemaker.create_model_package(
        ModelPackageGroupName="champions",
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": "image:1", "ModelDataUrl": "s3://data/model.tar.gz"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
        CustomerMetadataProperties={"decision": "d1"},
    )["ModelPackageArn"]
    return SageMakerWorld(SageMakerApi(sagemaker), arn)
