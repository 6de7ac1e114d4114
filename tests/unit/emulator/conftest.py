"""A SageMaker emulator on a clock that the test moves, with an S3 of its own and real boto3 clients."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from emulator.pipeline_runner import PipelineRunner
from emulator.sagemaker_server import SageMakerServer

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
ROLE = "arn:aws:iam::123456789012:role/plumbline"
CREDENTIALS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}

INFERENCE = """
import json, pathlib

def model_fn(model_dir):
    return json.loads((pathlib.Path(model_dir) / "model.json").read_text())["answer"]

def predict_fn(data, model):
    return [model + row.sum() for row in data]
"""


@dataclass
class Scene:
    """The emulator, its clock and everything that it has sent."""

    folder: Path
    s3: Any
    bucket: str
    environment: dict[str, str]
    clock: datetime = START
    events: list[dict[str, Any]] = field(default_factory=list)
    runner: type[PipelineRunner] = PipelineRunner
    server: SageMakerServer = field(init=False)
    sm: Any = field(init=False)
    runtime: Any = field(init=False)

    def open(self) -> None:
        """Start an emulator on the folder."""
        self.server = SageMakerServer(
            self.folder,
            self.s3,
            now=lambda: self.clock,
            emit=self.events.append,
            step_environment=self.environment,
            runner=self.runner,
        )
        url = self.server.start()
        config = Config(retries={"max_attempts": 1})
        self.sm = boto3.client("sagemaker", endpoint_url=url, config=config, **CREDENTIALS)
        self.runtime = boto3.client("sagemaker-runtime", endpoint_url=url, config=config, **CREDENTIALS)

    def restart(self) -> None:
        """A new emulator on the same folder, as after a kill: nothing of the old process is used again."""
        self.server.close()
        self.open()

    def advance(self, **by: float) -> None:
        """Move the clock and tick."""
        self.clock += timedelta(**by)
        self.server.tick()

    def sent(self, detail_type: str) -> list[dict[str, Any]]:
        """The details of the events of a kind, in the order in which they were sent."""
        return [event["detail"] for event in self.events if event["detail-type"].startswith(detail_type)]

    def put(self, key: str, body: bytes | str) -> str:
        """Write an object and return its URI."""
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"s3://{self.bucket}/{key}"

    def read(self, uri: str) -> bytes:
        """The bytes of an object."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def archive(self, files: dict[str, str]) -> bytes:
        """A model.tar.gz."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content.encode())
                tar.addfile(entry, io.BytesIO(content.encode()))
        return buffer.getvalue()

    def model(self, name: str, answer: float = 0.0, script: str = INFERENCE) -> str:
        """Create a model that adds `answer` to the sum of each row."""
        files = {"model.json": json.dumps({"answer": answer}), "code/inference.py": script}
        url = self.put(f"models/{name}/model.tar.gz", self.archive(files))
        self.sm.create_model(ModelName=name, PrimaryContainer={"Image": "sklearn", "ModelDataUrl": url})
        return name

    def config(self, name: str, model: str, capture: dict[str, Any] | None = None, serverless: bool = False) -> str:
        """Create an endpoint configuration with the one variant AllTraffic."""
        size: dict[str, Any] = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        if serverless:
            size = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}
        extra = {} if capture is None else {"DataCaptureConfig": capture}
        variants = [{"VariantName": "AllTraffic", "ModelName": model, **size}]
        self.sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **extra)
        return name

    def endpoint(self, name: str, config: str) -> str:
        """Create an endpoint and wait until it is in service."""
        self.sm.create_endpoint(EndpointName=name, EndpointConfigName=config)
        self.advance(minutes=3)
        return name


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[str]:
    """The URL of an S3 on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def scene(tmp_path: Path, moto_s3: str) -> Iterator[Scene]:
    """An emulator that was just started at START, with an empty bucket."""
    s3 = boto3.client("s3", endpoint_url=moto_s3, **CREDENTIALS)
    bucket = "b-" + tmp_path.name.lower().replace("_", "-")[-50:].strip("-")
    s3.create_bucket(Bucket=bucket)
    found = Scene(tmp_path / "state", s3, bucket, {"STAGE_OF_TEST": "unit"})
    found.open()
    yield found
    found.server.close()
