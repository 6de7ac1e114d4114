"""The services that handlers use: one small Protocol each, and the values that cross it.

`adapters/` implements them with AWS, `emulator/memory/` in memory; one contract suite (`tests/contract/`) checks both.
Any AWS error that is not named here (throttling, network, missing permission) passes through as the client's own
exception, so that the queue retries. Not here: AWS clients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec


class StoredObject(msgspec.Struct, frozen=True):
    """One S3 object, read whole. `etag` comes without its quotes."""

    body: bytes
    etag: str
    last_modified: datetime
    kms_key_id: str | None = None


class ObjectSummary(msgspec.Struct, frozen=True):
    """One line of a listing."""

    key: str
    etag: str
    size: int
    last_modified: datetime


class ObjectStore(Protocol):
    """S3, strongly consistent. Keys are plain text (never URL-encoded)."""

    def get(self, bucket: str, key: str) -> StoredObject:
        """Read an object. Raises NotFoundError when it does not exist."""

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectSummary]:
        """Every object under a prefix, in key order, all pages."""

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        kms_key_id: str | None = None,
    ) -> str:
        """Write an object whole and return its ETag (no quotes)."""

    def put_if_absent(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        kms_key_id: str | None = None,
    ) -> bool:
        """Write an object only where none exists (If-None-Match: *); False when one did."""

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; a missing one is no error."""


class Item(msgspec.Struct, frozen=True):
    """One item of the table. `revision` changes with every write; `body` is a JSON document."""

    pk: str
    sk: str
    revision: str
    body: bytes


class Ledger(Protocol):
    """The DynamoDB table as versioned documents: every write names the revision that it replaces.

    Claims, generations and facts all follow one rule: read, decide, write back conditionally; the loser of a race gets
    ConflictError and starts over (docs/decisions/0002).
    """

    def get(self, pk: str, sk: str) -> Item | None:
        """Strongly consistent read."""

    def put(self, pk: str, sk: str, body: bytes, *, expected: str | None, expires_at: datetime | None = None) -> str:
        """Write if the stored revision is `expected` (None: if there is no item). Returns the new revision.

        Raises ConflictError otherwise. `expires_at` sets DynamoDB's time to live.
        """

    def delete(self, pk: str, sk: str, *, expected: str) -> None:
        """Delete if the stored revision is `expected`. Raises ConflictError otherwise (also when it is gone)."""

    def back_off(self, lost: int) -> None:
        """Let others write first: wait a random while that grows with the number of races lost in a row."""

    def query(
        self,
        pk: str,
        *,
        begins_with: str = "",
        since: str | None = None,
        until: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[Item]:
        """Items of a partition in the order of `sk`: those that begin with `begins_with`, `since` <= sk < `until`.

        Strongly consistent, all pages. `since` and `until` are whole sort keys (they include the prefix).
        """


class Queues(Protocol):
    """SQS, by logical queue name ("windows", "retrain-claims", "promotion-claims")."""

    def send(self, queue: str, bodies: Sequence[bytes]) -> None:
        """Send each body (UTF-8 JSON) as a message, in batches of ten. Raises when any was not accepted."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter as it was received. `receives` counts this receive, too.

    `attributes` and `system_attributes` are SQS's own structures, kept to be sent back unchanged; `handle` is the
    receipt handle, for deleting and releasing.
    """

    message_id: str
    body: str
    first_sent: datetime
    receives: int
    handle: str
    attributes: Mapping[str, Any] = {}
    system_attributes: Mapping[str, Any] = {}


class DeadLetters(Protocol):
    """The dead-letter queues, by the logical name of the queue that each belongs to. Not for functions."""

    def count(self, queue: str) -> tuple[int, int]:
        """How many can be received now and how many are hidden by another reader; SQS's figures lag a little.

        Raises NotFoundError when the queue does not exist.
        """

    def receive(self, queue: str, seconds: int) -> list[DeadLetter]:
        """At most ten, hidden from others for `seconds`; none when none can be received within a second."""

    def send_back(self, queue: str, letter: DeadLetter) -> None:
        """Send body and attributes, as they are, to the queue itself."""

    def delete(self, queue: str, letter: DeadLetter) -> None:
        """Delete a received message from the dead-letter queue."""

    def release(self, queue: str, letters: Sequence[DeadLetter]) -> None:
        """Make letters visible again; one that cannot be released reappears when its timeout ends."""


class Pipeline(msgspec.Struct, frozen=True):
    """`parameters`: each parameter's name, and whether a start must give it (it has no default)."""

    name: str
    role_arn: str
    parameters: Mapping[str, bool]


class PipelineExecution(msgspec.Struct, frozen=True):
    arn: str
    pipeline_name: str
    display_name: str
    status: str  # Executing | Stopping | Stopped | Failed | Succeeded
    failure_reason: str = ""


class ExecutionStep(msgspec.Struct, frozen=True):
    """`metadata` is the step's Metadata as AWS gives it, such as {"RegisterModel": {"Arn": …}}."""

    name: str
    status: str
    metadata: Mapping[str, Any]
    failure_reason: str = ""


class ModelPackage(msgspec.Struct, frozen=True):
    arn: str
    group: str
    approval_status: str  # Approved | Rejected | PendingManualApproval
    model_data_url: str
    image: str
    metadata: Mapping[str, str]  # CustomerMetadataProperties
    environment: Mapping[str, str] = {}  # of the first container


class Endpoint(msgspec.Struct, frozen=True):
    name: str
    config_name: str
    status: str  # InService | Creating | Updating | Failed | ... (the API's spelling)
    last_modified: datetime
    # How many of a hundred requests its data capture keeps; None where nothing is captured.
    sampling_percentage: int | None = None


class ProcessingJob(msgspec.Struct, frozen=True):
    name: str
    status: str  # InProgress | Completed | Failed | Stopping | Stopped
    created_at: datetime
    exit_message: str
    monitoring_schedule_arn: str | None
    outputs: Mapping[str, str]  # output name -> S3 URI
    environment: Mapping[str, str]


class SageMaker(Protocol):
    """The part of the SageMaker API that the loop needs. "ensure": create; an existing one is no error."""

    def start_pipeline(self, request: Mapping[str, Any]) -> str:
        """StartPipelineExecution with exactly this request, which holds its ClientRequestToken; the execution ARN.

        Raises RefusedError when the request itself is wrong (ValidationException, unknown pipeline).
        """

    def describe_pipeline(self, name: str) -> Pipeline:
        """DescribePipeline. Raises NotFoundError."""

    def describe_execution(self, arn: str) -> PipelineExecution:
        """DescribePipelineExecution. Raises NotFoundError."""

    def execution_steps(self, arn: str) -> list[ExecutionStep]:
        """ListPipelineExecutionSteps, all pages, in start order."""

    def describe_model_package(self, arn: str) -> ModelPackage:
        """DescribeModelPackage. Raises NotFoundError."""

    def set_approval(self, arn: str, status: str, description: str) -> None:
        """UpdateModelPackage: Approved or Rejected, with the reason."""

    def describe_model(self, name: str) -> Mapping[str, Any]:
        """DescribeModel, raw. Raises NotFoundError."""

    def ensure_model(self, request: Mapping[str, Any]) -> None:
        """CreateModel with this request."""

    def describe_endpoint(self, name: str) -> Endpoint:
        """DescribeEndpoint. Raises NotFoundError."""

    def describe_endpoint_config(self, name: str) -> Mapping[str, Any]:
        """DescribeEndpointConfig, raw. Raises NotFoundError."""

    def ensure_endpoint_config(self, request: Mapping[str, Any]) -> None:
        """CreateEndpointConfig with this request."""

    def ensure_endpoint(self, name: str, config_name: str) -> None:
        """CreateEndpoint."""

    def update_endpoint(self, name: str, config_name: str) -> None:
        """UpdateEndpoint; instances and weights stay as they are. Raises ConflictError while another update runs."""

    def delete_endpoint(self, name: str) -> None:
        """DeleteEndpoint and its configuration of the same name; a missing one is no error."""

    def describe_processing_job(self, name: str) -> ProcessingJob:
        """DescribeProcessingJob. Raises NotFoundError."""


class Scorer(Protocol):
    """SageMaker runtime: invoke a model."""

    def invoke(self, endpoint: str, body: bytes, *, content_type: str, accept: str) -> bytes:
        """InvokeEndpoint. Raises NotFoundError for an endpoint that does not exist, UnavailableError for no answer."""


class Metric(msgspec.Struct, frozen=True):
    name: str
    dimensions: Mapping[str, str]
    value: float
    timestamp: datetime


class Metrics(Protocol):
    """CloudWatch PutMetricData; no decision reads metrics."""

    def put(self, namespace: str, metrics: Sequence[Metric]) -> None:
        """Publish data points. The caller leaves out values older than 14 days: CloudWatch rejects them."""


class Topic(Protocol):
    """The SNS topic of alerts."""

    def publish(self, subject: str, message: str, attributes: Mapping[str, str]) -> None:
        """Publish one message with string attributes for subscription filters."""


class Courier(Protocol):
    """Outgoing HTTPS to chat, pager and webhooks."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """POST and return the status code. Raises RefusedError for an address that must not be reached."""


class Secrets(Protocol):
    """SSM parameters and Secrets Manager, cached for some minutes."""

    def get(self, name: str) -> str:
        """A secret's text. Raises NotFoundError."""
