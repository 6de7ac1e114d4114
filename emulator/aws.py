"""The emulator's AWS account: starts moto in a process of its own, hands out boto3 clients, creates the resources.

Creates the resources of `chalicelib.topology`. Not here: what the handlers do with them.

The clients are boto3's own (parameters validated, requests built, answers parsed by botocore); two steps that the
emulator does not need are left out, because they are more than half of a call's cost: signatures (a constant
credential scope tells moto the service) and urllib3 (a small keep-alive transport through botocore's `before-send`).
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.utils import parse_timestamp

from chalicelib.topology import MAX_RECEIVES, SOURCES, Source, resource_name, takes_s3_events

ACCOUNT = "123456789012"
REGION = "us-east-1"
ACCESS_KEY = "AKIAPLUMBLINELOCAL00"
SECRET_KEY = "not-a-secret"

_SAGEMAKER = ("sagemaker", "sagemaker-runtime")
_CONFIG = Config(
    signature_version=UNSIGNED,
    retries={"total_max_attempts": 1},
    connect_timeout=5,
    read_timeout=60,
    user_agent="plumbline-emulator",
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    s3={"addressing_style": "path"},
)


class StandInError(RuntimeError):
    """The emulator itself does not work (its server did not start, a queue does not drain)."""


class _Body(io.BytesIO):
    """A response's body as botocore reads it from urllib3."""

    def stream(self, amt: int = 65536, decode_content: bool | None = None) -> Iterator[bytes]:
        while chunk := self.read(amt):
            yield chunk


class _Wire:
    """One keep-alive connection."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._sock = socket.create_connection((host, port), timeout)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._sock.makefile("rb", 65536)

    def alive(self) -> bool:
        """False when the other side has closed (an idle connection has nothing to read)."""
        return not select.select([self._sock], [], [], 0)[0]

    def close(self) -> None:
        self._file.close()
        self._sock.close()

    def exchange(self, method: str, head: bytes, body: bytes) -> tuple[int, list[tuple[str, str]], bytes, bool]:
        """Send a request; (status, headers, body, whether the connection can be used again)."""
        self._sock.sendall(head + body)
        while True:
            line = self._file.readline(65537)
            if not line:
                raise ConnectionResetError("closed without an answer")
            version, status = line.split(None, 2)[:2]
            headers = []
            while (line := self._file.readline(65537)) not in (b"\r\n", b"\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                headers.append((name, value.strip()))
            if int(status) >= 200:  # skip 100 Continue
                break
        named = {name.lower(): value for name, value in headers}
        reusable = version == b"HTTP/1.1" and named.get("connection", "").lower() != "close"
        if method == "HEAD" or int(status) in (204, 304):
            content = b""
        elif named.get("transfer-encoding", "").lower() == "chunked":
            content = self._chunks()
        elif "content-length" in named:
            length = int(named["content-length"])
            content = self._file.read(length)
            if len(content) < length:
                raise ConnectionResetError("closed in the middle of an answer")
        else:
            content, reusable = self._file.read(), False
        return int(status), headers, content, reusable

    def _chunks(self) -> bytes:
        content = bytearray()
        while size := int(self._file.readline(65537).split(b";")[0], 16):
            content += self._file.read(size)
            self._file.readline(65537)
        while self._file.readline(65537) not in (b"\r\n", b"\n", b""):
            pass
        return bytes(content)


class _Transport:
    """botocore's `before-send` hook: sends the request itself, one connection per thread and address."""

    def __init__(self, signing_name: str, timeout: float = 60.0) -> None:
        self._authorization = (
            f"Authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/{REGION}/{signing_name}/aws4_request, "
            "SignedHeaders=host, Signature=0\r\n"
        )
        self._timeout = timeout
        self._wires = threading.local()

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        address = urlsplit(request.url)
        if address.scheme != "http" or address.hostname is None:
            return None
        body = request.body or b""
        if hasattr(body, "read"):
            body = body.read()
        if isinstance(body, str):
            body = body.encode()
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        head = [f"{request.method} {target} HTTP/1.1\r\nHost: {address.netloc}\r\n", self._authorization]
        for name, value in request.headers.items():
            if name.lower() not in ("host", "content-length", "expect", "transfer-encoding", "authorization"):
                head.append(f"{name}: {value.decode('latin-1') if isinstance(value, bytes) else value}\r\n")
        head.append(f"Content-Length: {len(body)}\r\n\r\n")
        wires: dict[tuple[str, int], _Wire] = self._wires.__dict__.setdefault("by_place", {})
        place = (address.hostname, address.port or 80)
        wire = wires.pop(place, None)
        if wire is not None and not wire.alive():
            wire.close()
            wire = None
        try:
            wire = wire or _Wire(*place, self._timeout)
            sent = "".join(head).encode("latin-1")
            status, headers, content, reusable = wire.exchange(request.method, sent, bytes(body))
        except TimeoutError as error:
            if wire is not None:
                wire.close()
            raise ReadTimeoutError(endpoint_url=request.url) from error
        except (OSError, ValueError) as error:
            if wire is not None:
                wire.close()
            raise EndpointConnectionError(endpoint_url=request.url, error=error) from error
        if reusable:
            wires[place] = wire
        else:
            wire.close()
        return AWSResponse(request.url, status, dict(headers), _Body(content))


def _parse_time(value: Any) -> datetime:
    """botocore's parse_timestamp, quick for the two forms that AWS's XML and headers use."""
    if isinstance(value, str):
        try:
            if value[4:5] == "-" and value.endswith("Z"):
                return datetime.fromisoformat(value)
            if value.endswith("GMT"):
                return parsedate_to_datetime(value).astimezone(UTC)
        except ValueError:
            pass
    parsed: datetime = parse_timestamp(value)
    return parsed


class LocalSession(boto3.session.Session):  # type: ignore[misc]
    """A boto3 session all of whose clients talk to the emulator."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        inner = botocore.session.Session()
        inner.set_config_variable("config_file", os.devnull)
        inner.set_config_variable("credentials_file", os.devnull)
        inner.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_time)
        super().__init__(
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            botocore_session=inner,
        )
        self._urls = urls

    def client(self, service_name: str, *args: Any, **kwargs: Any) -> Any:
        """boto3's `client`, with the emulator's address and configuration unless the caller gives others."""
        kwargs["config"] = _CONFIG.merge(kwargs["config"]) if kwargs.get("config") else _CONFIG
        if not kwargs.get("endpoint_url"):
            kwargs["endpoint_url"] = self._urls[service_name if service_name in self._urls else ""]
        client = super().client(service_name, *args, **kwargs)
        client.meta.events.register("before-send", _Transport(client.meta.service_model.signing_name))
        return client


@dataclass(frozen=True)
class Resources:
    """What `create_resources` made: queue names are the topology's ("captures"), values are SQS URLs and ARNs."""

    stage: str
    queue_urls: Mapping[str, str]
    dead_letter_urls: Mapping[str, str]
    queue_arns: Mapping[str, str]
    table_name: str
    topic_arn: str
    buckets: tuple[str, ...]


class LocalAws:
    """The running emulator. A context manager; `sagemaker_url` is where SageMaker's two services are, if anywhere."""

    def __init__(self, sagemaker_url: str | None = None) -> None:
        self.sagemaker_url = sagemaker_url
        self.resources: Resources | None = None
        self._process: subprocess.Popen[str] | None = None
        self._url = ""
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._own: http.client.HTTPConnection | None = None

    @property
    def url(self) -> str:
        """moto's address, `http://127.0.0.1:{port}`. Raises StandInError before start."""
        if not self._url:
            raise StandInError("the emulator's AWS is not running: call start() first")
        return self._url

    def start(self, timeout: float = 60.0) -> LocalAws:
        """Start the server process and wait until it listens (seconds). Raises StandInError when it does not."""
        root = Path(__file__).resolve().parent.parent
        self._process = subprocess.Popen(
            [sys.executable, "-m", "emulator.moto_server"],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root), **self._credentials()},
            stdin=subprocess.PIPE,  # held open: the server ends when it closes, however this process ends
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is ours to handle
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if ready else ""
        if not line.strip().isdigit():
            self.stop()
            raise StandInError(f"moto's server did not start within {timeout:g} s; see its messages above")
        self._url = f"http://127.0.0.1:{line.strip()}"
        return self

    def stop(self) -> None:
        """End the server process; everything in it is gone. Calling it again is no error."""
        process, self._process = self._process, None
        self._url = ""
        with self._lock:
            self._clients.clear()
            if self._own is not None:
                self._own.close()
                self._own = None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> LocalAws:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _urls(self) -> dict[str, str]:
        urls = {"": self.url}
        if self.sagemaker_url is not None:
            urls.update(dict.fromkeys(_SAGEMAKER, self.sagemaker_url))
        return urls

    def session(self) -> LocalSession:
        """A new boto3 session for the emulator."""
        return LocalSession(self._urls())

    def install(self) -> None:
        """Make the emulator boto3's default session: `boto3.client(...)` anywhere in this process then talks to it."""
        boto3.DEFAULT_SESSION = self.session()

    def client(self, service: str) -> Any:
        """The emulator's client of an AWS service; one per service, safe to share between threads."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self.session().client(service)
            return self._clients[service]

    def _credentials(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def environment(self) -> dict[str, str]:
        """Environment variables with which any AWS SDK in a subprocess talks to the emulator and to nothing else."""
        sagemaker = self.sagemaker_url or self.url
        return {
            **self._credentials(),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_SAGEMAKER": sagemaker,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": sagemaker,
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def _ask(self, path: str, question: Mapping[str, Any]) -> Any:
        with self._lock:
            if self._own is None:
                address = urlsplit(self.url)
                self._own = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
            self._own.request("POST", f"/_stand-in/{path}", json.dumps(question).encode())
            response = self._own.getresponse()
            body = response.read()
        if response.status != 200:
            raise StandInError(f"/_stand-in/{path} answered {response.status}; see the server's messages above")
        return json.loads(body)

    def set_time(self, now: datetime) -> None:
        """Tell moto the logical time: S3's LastModified, EventBridge's `time` and CloudWatch's two weeks follow it.

        Give it to `LogicalClock.follow`.
        """
        self._ask("clock", {"now": now.timestamp()})

    def visible_messages(self) -> dict[str, int]:
        """SQS queue name -> messages that could be received now, for the queues that have any message; one request."""
        counts: dict[str, int] = self._ask("queues", {})
        return counts

    def metric_points(
        self, namespace: str, name: str, dimensions: Mapping[str, str], start: datetime, end: datetime
    ) -> list[MetricPoint]:
        """Every data point published to exactly this metric (all dimensions, no others) with start <= time < end."""
        question = {
            "namespace": namespace,
            "name": name,
            "dimensions": dict(dimensions),
            "start": start.timestamp(),
            "end": end.timestamp(),
        }
        return [
            MetricPoint(datetime.fromtimestamp(epoch, tz=UTC), total, low, high, count, unit)
            for epoch, total, low, high, count, unit in self._ask("metric-data", question)
        ]


@dataclass(frozen=True)
class MetricPoint:
    """One published data point: a single value (count 1) or a statistic set."""

    timestamp: datetime
    total: float
    minimum: float
    maximum: float
    count: float
    unit: str | None = None


def queue_arn(name: str) -> str:
    """The ARN of an SQS queue of the emulator's account."""
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def create_resources(
    aws: LocalAws, stage: str, buckets: Sequence[str], sources: Sequence[Source] = SOURCES
) -> Resources:
    """Create what the CloudFormation template would: buckets, table, queues with dead-letter queues, topic, rules.

    The rules of the two S3 sources are made by `add_s3_rule`, one per bucket and prefix. No schedule is created: moto
    runs none, the pump's `call_schedule` does. The result is also kept as `aws.resources`.
    """
    s3, sqs, sns, events = (aws.client(service) for service in ("s3", "sqs", "sns", "events"))
    for bucket in buckets:
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
    table = resource_name(stage, "table")
    aws.client("dynamodb").create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    aws.client("dynamodb").update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
    )
    topic = sns.create_topic(Name=resource_name(stage, "alerts"))["TopicArn"]
    urls, dead_urls, arns = {}, {}, {}
    for source in sources:
        name = resource_name(stage, source.queue)
        policy = {"Policy": _events_may_send(stage, name)} if source.pattern is not None else {}
        dead_urls[source.queue] = sqs.create_queue(QueueName=f"{name}-dead", Attributes=policy)["QueueUrl"]
        urls[source.queue] = sqs.create_queue(
            QueueName=name,
            Attributes={
                **policy,
                "VisibilityTimeout": str(source.visibility),
                "RedrivePolicy": json.dumps(
                    {"deadLetterTargetArn": queue_arn(f"{name}-dead"), "maxReceiveCount": MAX_RECEIVES}
                ),
            },
        )["QueueUrl"]
        arns[source.queue] = queue_arn(name)
        if source.topic:
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn(name))
        if source.pattern is not None and not takes_s3_events(source):
            _put_rule(events, name, source.pattern, queue_arn(name))
    aws.resources = Resources(stage, urls, dead_urls, arns, table, topic, tuple(buckets))
    return aws.resources


def _events_may_send(stage: str, queue: str) -> str:
    """The policy of a queue and of its dead letters: EventBridge may send for every rule of the stage."""
    rules = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{resource_name(stage, '*')}"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": [queue_arn(queue), queue_arn(f"{queue}-dead")],
        "Condition": {"ArnLike": {"aws:SourceArn": rules}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def add_s3_rule(aws: LocalAws, stage: str, queue: str, bucket: str, prefix: str) -> str:
    """Send "Object Created" events of a bucket's prefix to a queue; returns the rule's name. Repeating is no error."""
    digest = hashlib.sha256(f"{bucket}/{prefix}".encode()).hexdigest()[:12]
    name = resource_name(stage, f"{queue}-{digest}")
    pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": prefix}]}},
    }
    _put_rule(aws.client("events"), name, pattern, queue_arn(resource_name(stage, queue)))
    return name


def _put_rule(events: Any, name: str, pattern: Mapping[str, Any], target: str) -> None:
    text = json.dumps(pattern, separators=(",", ":"))
    if len(text) > 2048 or len(name) > 64:  # moto has neither limit, EventBridge both
        raise ValueError(f"rule {name}: EventBridge takes names of 64 and patterns of 2048 characters at most")
    events.put_rule(Name=name, EventPattern=text)
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": target}])
