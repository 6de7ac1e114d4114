"""Which adapter stands where, and that none is built before it is asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from moto import mock_aws

from chalicelib import wiring
from chalicelib.errors import MisconfiguredError
from chalicelib.topology import SOURCES, resource_name
from chalicelib.wiring import LazyServices, Services, queue_name
from emulator.memory import SETTINGS, memory_services
from tests.unit.adapters.test_settings import REQUIRED


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    wiring.use(None)
    yield
    wiring.use(None)


def test_queue_names_are_the_topologys() -> None:
    for source in SOURCES:
        assert queue_name("prod", source.queue) == resource_name("prod", source.queue)


def test_services_are_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    built = wiring.services()
    assert built is wiring.services()
    assert built.settings.bucket == REQUIRED["PLUMBLINE_BUCKET"]


def test_a_wrong_environment_is_told_at_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLUMBLINE_BUCKET", raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(MisconfiguredError, match="PLUMBLINE_BUCKET"):
        wiring.services()


def test_a_replacement_is_used_until_it_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = memory_services(lambda: datetime(2026, 1, 1, tzinfo=UTC))
    wiring.use(fakes)
    assert wiring.services() is fakes
    wiring.use(None)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    assert wiring.services() is not fakes


def test_every_service_has_its_adapter() -> None:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        services = LazyServices(SETTINGS)
        kinds = {field.name: type(getattr(services, field.name)).__name__ for field in fields(Services)}
        assert kinds == {
            "settings": "Settings",
            "now": "function",
            "objects": "S3ObjectStore",
            "ledger": "DynamoLedger",
            "queues": "SqsQueues",
            "sagemaker": "SageMakerApi",
            "scorer": "EndpointScorer",
            "metrics": "CloudWatchMetrics",
            "topic": "SnsTopic",
            "courier": "HttpsCourier",
            "secrets": "ParameterSecrets",
        }
        assert services.objects is services.objects


def test_the_adapters_use_the_settings() -> None:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        sqs = boto3.client("sqs", region_name=SETTINGS.region)
        url = sqs.create_queue(QueueName=resource_name(SETTINGS.stage, "windows"))["QueueUrl"]
        LazyServices(SETTINGS).queues.send("windows", [b"{}"])
        assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "{}"


def test_the_clock_is_in_utc_and_can_be_given() -> None:
    now = LazyServices(SETTINGS).now()
    assert now.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)
    fixed = datetime(2026, 1, 1, tzinfo=UTC)
    assert LazyServices(SETTINGS, lambda: fixed).now() == fixed


def test_the_dear_imports_wait_for_the_first_use() -> None:
    script = (
        "import sys\n"
        "from chalicelib.wiring import LazyServices\n"
        "from chalicelib.settings import Settings\n"
        "services = LazyServices(Settings('test', 'us-east-1', 'b', 't', 'topic', '', 'role'))\n"
        "dear = {'boto3', 'botocore', 'aws_lambda_powertools', 'infra'}\n"
        "print(services.settings.stage, sorted(dear & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "test []"
