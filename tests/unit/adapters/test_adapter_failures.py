"""What happens when AWS fails half-way: lost answers, partial batches, errors that no Protocol names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws

from chalicelib.adapters.ledger import DynamoLedger
from chalicelib.adapters.metrics import CloudWatchMetrics
from chalicelib.adapters.object_store import S3ObjectStore
from chalicelib.adapters.queues import SqsQueues
from chalicelib.adapters.secrets import ParameterSecrets
from chalicelib.errors import ConflictError, PermanentError, PlumblineError
from chalicelib.ports import Metric


@pytest.fixture
def account() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        yield


def _client(service: str) -> Any:
    return boto3.client(service, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")


class _AnswersLost:
    """A client whose first answer to each write is lost, so that the write is sent again, as botocore does."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def put_item(self, **request: Any) -> Any:
        self._client.put_item(**request)
        return self._client.put_item(**request)

    def get_item(self, **request: Any) -> Any:
        return self._client.get_item(**request)


def test_a_write_whose_answer_was_lost_has_not_lost_the_race(account: None) -> None:
    dynamodb = _client("dynamodb")
    dynamodb.create_table(
        TableName="facts",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    ledger = DynamoLedger(_AnswersLost(dynamodb), "facts")
    first = ledger.put("m", "claim", b"1", expected=None)
    second = ledger.put("m", "claim", b"2", expected=first)
    item = ledger.get("m", "claim")
    assert item is not None and (item.revision, item.body) == (second, b"2")
    with pytest.raises(ConflictError):
        ledger.put("m", "claim", b"3", expected=first)


def test_a_missing_bucket_is_no_missing_object(account: None) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        S3ObjectStore(_client("s3")).get("nowhere", "key")


def test_a_batch_that_was_accepted_in_part_is_an_error_without_its_bodies() -> None:
    client = _client("sqs")
    with Stubber(client) as stubber:
        stubber.add_response("get_queue_url", {"QueueUrl": "https://sqs/windows"}, {"QueueName": "q-windows"})
        failed = {"Id": "1", "SenderFault": False, "Code": "InternalError", "Message": "secret"}
        stubber.add_response(
            "send_message_batch",
            {"Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "d"}], "Failed": [failed]},
        )
        with pytest.raises(PlumblineError, match=r"queue windows: 1 of 2 messages not accepted \(InternalError\)") as e:
            SqsQueues(client, lambda queue: f"q-{queue}").send("windows", [b"secret", b"secret"])
    assert not isinstance(e.value, PermanentError)
    assert "secret" not in str(e.value)


class _LimitsOfAws:
    """What moto accepts and AWS refuses: a batch of more than 256 KiB, a call of more than 1000 data points."""

    def __init__(self) -> None:
        self.accepted: list[Any] = []

    def get_queue_url(self, QueueName: str) -> dict[str, str]:
        return {"QueueUrl": f"https://sqs/{QueueName}"}

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        bodies = [entry["MessageBody"] for entry in Entries]
        if len(bodies) > 10 or sum(len(body.encode()) for body in bodies) > 256 * 1024:
            raise ValueError("AWS.SimpleQueueService.BatchRequestTooLong")
        self.accepted += bodies
        return {"Successful": []}

    def put_metric_data(self, Namespace: str, MetricData: list[dict[str, Any]]) -> None:
        if not 0 < len(MetricData) <= 1000:
            raise ValueError("InvalidParameterValue")
        self.accepted += [point["Value"] for point in MetricData]


def test_batches_keep_to_the_limits_of_sqs() -> None:
    aws = _LimitsOfAws()
    bodies = [str(i % 10) * (100_000 if i % 3 else 5) for i in range(25)]
    SqsQueues(aws, lambda queue: queue).send("windows", [body.encode() for body in bodies])
    assert aws.accepted == bodies


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 2500])
def test_calls_keep_to_the_limit_of_cloudwatch(count: int) -> None:
    aws = _LimitsOfAws()
    points = [Metric("Rows", {}, float(i), datetime(2026, 1, 1, tzinfo=UTC)) for i in range(count)]
    CloudWatchMetrics(aws).put("Plumbline", points)
    assert aws.accepted == [float(i) for i in range(count)]


@pytest.mark.parametrize(
    "query",
    [
        {"since": "b", "until": "a"},
        {"begins_with": "a", "since": "b"},
        {"begins_with": "b", "until": "a"},
        {"until": ""},
        {"limit": 0},
    ],
)
def test_an_empty_range_never_reaches_dynamodb_which_refuses_it(query: dict[str, Any]) -> None:
    assert DynamoLedger(None, "facts").query("m", **query) == []


def test_a_queues_url_is_asked_for_once() -> None:
    client = _client("sqs")
    with Stubber(client) as stubber:
        stubber.add_response("get_queue_url", {"QueueUrl": "https://sqs/windows"})
        for _ in range(2):
            stubber.add_response("send_message_batch", {"Successful": [], "Failed": []})
        queues = SqsQueues(client, lambda queue: queue)
        queues.send("windows", [b"{}"])
        queues.send("windows", [b"{}"])
        stubber.assert_no_pending_responses()


def _secrets(ssm: Any) -> ParameterSecrets:
    return ParameterSecrets(SSMProvider(boto3_client=ssm), SecretsProvider(boto3_client=_client("secretsmanager")))


def test_a_secret_that_may_not_be_read_is_the_clients_own_error() -> None:
    ssm = _client("ssm")
    with Stubber(ssm) as stubber:
        stubber.add_client_error("get_parameter", "AccessDeniedException", "no")
        with pytest.raises(ClientError, match="AccessDeniedException"):
            _secrets(ssm).get("/plumbline/keys")


def test_a_secret_is_kept_for_a_while() -> None:
    ssm = _client("ssm")
    with Stubber(ssm) as stubber:
        stubber.add_response("get_parameter", {"Parameter": {"Value": "one"}}, {"Name": "/k", "WithDecryption": True})
        secrets = _secrets(ssm)
        assert [secrets.get("/k"), secrets.get("/k")] == ["one", "one"]
