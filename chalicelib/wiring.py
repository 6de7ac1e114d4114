"""Which adapter implements each Protocol: handlers call `services()` and see no client.

Each adapter is built at first use, because a client takes tenths of a second of a cold start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from threading import Lock
from time import sleep
from typing import Any

from chalicelib import settings as deployment
from chalicelib.errors import MisconfiguredError, NotFoundError, PlumblineError
from chalicelib.facts.monitors import Definitions
from chalicelib.ports import (
    Courier,
    DeadLetters,
    Ledger,
    Metrics,
    ObjectStore,
    Queues,
    SageMaker,
    Scorer,
    Secrets,
    Topic,
)
from chalicelib.settings import Settings

# boto3's default session is not safe to build clients from several threads at once.
_BUILDING = Lock()


@dataclass(frozen=True, eq=False, repr=False)
class Services:
    """Everything outside the process that a handler uses, and the clock. Compared by identity."""

    settings: Settings
    now: Callable[[], datetime]
    objects: ObjectStore
    ledger: Ledger
    queues: Queues
    sagemaker: SageMaker
    scorer: Scorer
    metrics: Metrics
    topic: Topic
    courier: Courier
    secrets: Secrets

    @cached_property
    def definitions(self) -> Definitions:
        """The monitor definitions, each decoded once per version and process."""
        return Definitions(self.ledger, self.objects, self.settings.bucket)

    def keys_of(self, field: str) -> list[str]:
        """The keys in the secret that a field of the settings names: several while one is rotated.

        Raises MisconfiguredError where there is no such secret.
        """
        parameter = getattr(self.settings, field)
        try:
            return self.secrets.get(parameter).split()
        except NotFoundError:
            raise MisconfiguredError(field, parameter, "the name of a secret that exists") from None


def utc_now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def pause(seconds: float) -> None:
    """Sleep: for commands that wait; functions use it only for the fraction of a second after a lost race."""
    sleep(seconds)


def queue_name(stage: str, queue: str) -> str:
    """The name in the account of a queue that has this logical name (as chalicelib/topology.py gives it)."""
    return f"plumbline-{stage}-{queue}"


def dead_queue_name(stage: str, queue: str) -> str:
    """The name in the account of the dead-letter queue that belongs to a queue."""
    return f"{queue_name(stage, queue)}-dead"


class LazyServices(Services):
    """Services over AWS; each client is built at its first use."""

    def __init__(self, settings: Settings, now: Callable[[], datetime] = utc_now) -> None:
        # A frozen dataclass cannot assign fields; its own constructor writes them this way too. The other fields are
        # the cached properties below.
        object.__setattr__(self, "settings", settings)
        object.__setattr__(self, "now", now)

    @cached_property
    def objects(self) -> ObjectStore:
        from chalicelib.adapters.object_store import S3ObjectStore

        return S3ObjectStore(self._client("s3"))

    @cached_property
    def ledger(self) -> Ledger:
        from chalicelib.adapters.ledger import DynamoLedger

        return DynamoLedger(self._client("dynamodb"), self.settings.table, pause)

    @cached_property
    def queues(self) -> Queues:
        from chalicelib.adapters.queues import SqsQueues

        return SqsQueues(self._client("sqs"), lambda queue: queue_name(self.settings.stage, queue))

    @cached_property
    def sagemaker(self) -> SageMaker:
        from chalicelib.adapters.sagemaker import SageMakerApi

        return SageMakerApi(self._client("sagemaker"))

    @cached_property
    def scorer(self) -> Scorer:
        from chalicelib.adapters.scorer import EndpointScorer

        return EndpointScorer(self._client("sagemaker-runtime"))

    @cached_property
    def metrics(self) -> Metrics:
        from chalicelib.adapters.metrics import CloudWatchMetrics

        return CloudWatchMetrics(self._client("cloudwatch"))

    @cached_property
    def topic(self) -> Topic:
        from chalicelib.adapters.topic import SnsTopic

        return SnsTopic(self._client("sns"), self.settings.topic_arn)

    @cached_property
    def courier(self) -> Courier:
        from chalicelib.adapters.courier import HttpsCourier

        return HttpsCourier(allow=self.settings.outgoing_allowances)

    @cached_property
    def secrets(self) -> Secrets:
        from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider

        from chalicelib.adapters.secrets import ParameterSecrets

        return ParameterSecrets(
            SSMProvider(boto3_client=self._client("ssm")),
            SecretsProvider(boto3_client=self._client("secretsmanager")),
        )

    def _client(self, service: str) -> Any:
        return client(service, self.settings.region)


def object_store() -> ObjectStore:
    """S3 for commands that need no deployed stage; the region is the AWS profile's."""
    from chalicelib.adapters.object_store import S3ObjectStore

    return _services.objects if _services is not None else S3ObjectStore(client("s3"))


def scorer() -> Scorer:
    """Endpoints for commands that invoke a model; the region is the AWS profile's."""
    from chalicelib.adapters.scorer import EndpointScorer

    return _services.scorer if _services is not None else EndpointScorer(client("sagemaker-runtime"))


def client(service: str, region: str | None = None) -> Any:
    """boto3's client of a service: for the adapters, and for the commands that check an account."""
    import boto3
    from botocore.config import Config

    # "standard" retries throttling and lost connections with jitter; what still fails goes back to the queue.
    retries: Any = {"mode": "standard"}
    if service == "sagemaker-runtime":  # an endpoint has a minute for an answer; the callers know whom to ask again
        retries["total_max_attempts"] = 2
    config = Config(region_name=region, retries=retries, connect_timeout=5, read_timeout=65)
    with _BUILDING:
        return boto3.client(service, config=config)


def dead_letters(settings: Settings) -> DeadLetters:
    """The dead-letter queues of a stage: for the command line only, so not among the services of functions."""
    from chalicelib.adapters.queues import SqsDeadLetters

    stage = settings.stage
    return SqsDeadLetters(
        LazyServices(settings)._client("sqs"),
        lambda queue: queue_name(stage, queue),
        lambda queue: dead_queue_name(stage, queue),
    )


_services: Services | None = None


def services() -> Services:
    """The services of this process, built at the first call. Raises MisconfiguredError for a wrong environment."""
    global _services
    if _services is None:
        _services = LazyServices(deployment.load())
    return _services


def use(replacement: Services | None) -> None:
    """Make `services()` return these from now on (services in memory, for example); None: build them again."""
    global _services
    _services = replacement


def is_aws_error(error: Exception) -> bool:
    """Whether an exception is boto3's own: no credentials, no permission, no network, a rejected request."""
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, BotoCoreError | ClientError)


def explained(error: Exception) -> dict[str, str]:
    """What a log may say of an error: its name; AWS's code and operation; the reason of what we raise on purpose.

    Not here: AWS's message and the text of any other exception, which may repeat what was sent.
    """
    from botocore.exceptions import ClientError

    found = {"error": type(error).__name__}
    if isinstance(error, PlumblineError):
        found["reason"] = str(error)
    behind = error if isinstance(error, ClientError) else error.__cause__
    if isinstance(behind, ClientError):
        found |= {"code": aws_error_code(behind), "operation": behind.operation_name}
    return found


def aws_error_code(error: Exception) -> str:
    """AWS's code for a rejected request ("AccessDenied"), or boto3's for one that was never sent ("NoCredentials").

    "" for any other exception.
    """
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return type(error).__name__.removesuffix("Error") if is_aws_error(error) else ""
