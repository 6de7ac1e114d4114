"""The emulator's AWS: what AWS promises holds through our server and transport, also where moto is quickened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ParamValidationError

from chalicelib.topology import SOURCES, resource_name
from emulator.aws import LocalAws, StandInError, add_s3_rule, create_resources
from emulator.clock import LogicalClock

BUCKET = "captures-and-derived"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as running:
        create_resources(running, "test", [BUCKET])
        yield running


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def receive(aws: LocalAws, queue: str) -> list[dict[str, Any]]:
    assert aws.resources is not None
    url = aws.resources.queue_urls[queue]
    messages = aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    for message in messages:
        aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in messages]


# --- S3


@pytest.mark.parametrize(
    "key",
    ["plain.jsonl", "a b+c/ü&<x>.json", "year=2026/100%/x", "p//double", "trailing/", "qu?ery#x"],
)
def test_an_object_comes_back_under_any_key(aws: LocalAws, key: str) -> None:
    s3 = aws.client("s3")
    body = bytes(range(256)) * 40
    etag = s3.put_object(Bucket=BUCKET, Key=f"keys/{key}", Body=body, ContentType="application/json")["ETag"]
    got = s3.get_object(Bucket=BUCKET, Key=f"keys/{key}")
    assert (got["Body"].read(), got["ETag"], got["ContentType"]) == (body, etag, "application/json")
    [listed] = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"keys/{key}")["Contents"]
    assert (listed["Key"], listed["Size"], listed["ETag"]) == (f"keys/{key}", len(body), etag)
    assert s3.head_object(Bucket=BUCKET, Key=f"keys/{key}")["ContentLength"] == len(body)


def test_put_if_absent_and_missing_objects(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=BUCKET, Key="once", Body=b"2", IfNoneMatch="*")
    assert code(refused) == "PreconditionFailed"
    assert s3.get_object(Bucket=BUCKET, Key="once")["Body"].read() == b"1"
    with pytest.raises(ClientError) as missing:
        s3.get_object(Bucket=BUCKET, Key="never")
    assert code(missing) == "NoSuchKey"
    with pytest.raises(ClientError) as missing:
        s3.head_object(Bucket=BUCKET, Key="never")
    assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_listings_are_sorted_paged_foldered_and_current(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    names = [f"list/{day}/{hour:02d}" for day in ("b", "a", "a-b") for hour in range(4)] + ["list/top", "listing"]
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"x")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 5}
    )
    assert [line["Key"] for page in pages for line in page["Contents"]] == sorted(names)[:-1]
    foldered = s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", Delimiter="/")
    assert [folder["Prefix"] for folder in foldered["CommonPrefixes"]] == ["list/a-b/", "list/a/", "list/b/"]
    assert [line["Key"] for line in foldered["Contents"]] == ["list/top"]
    after = s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", StartAfter="list/b/02")
    assert [line["Key"] for line in after["Contents"]] == ["list/b/03", "list/top"]
    s3.delete_object(Bucket=BUCKET, Key="list/a/01")
    s3.put_object(Bucket=BUCKET, Key="list/a/00x", Body=b"new")
    s3.put_object(Bucket=BUCKET, Key="list/a/00", Body=b"longer")
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="list/a/")["Contents"]
    assert [(line["Key"], line["Size"]) for line in listed] == [
        ("list/a/00", 6), ("list/a/00x", 3), ("list/a/02", 1), ("list/a/03", 1),
    ]  # fmt: skip
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix="nothing/")


def test_a_deleted_object_of_a_versioned_bucket_is_not_listed(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="versioned")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    for name in ("a", "b"):
        s3.put_object(Bucket="versioned", Key=name, Body=b"x")
    s3.delete_object(Bucket="versioned", Key="a")
    assert [line["Key"] for line in s3.list_objects_v2(Bucket="versioned")["Contents"]] == ["b"]


# --- DynamoDB


def put(aws: LocalAws, pk: str, sk: str, body: bytes = b"{}", **condition: Any) -> None:
    item = {"pk": {"S": pk}, "sk": {"S": sk}, "body": {"B": body}}
    aws.client("dynamodb").put_item(TableName=resource_name("test", "table"), Item=item, **condition)


def query(aws: LocalAws, pk: str, condition: str = "", values: dict[str, str] | None = None, **more: Any) -> list[str]:
    pages = (
        aws.client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=resource_name("test", "table"),
            KeyConditionExpression="pk = :pk" + condition,
            ExpressionAttributeValues={
                f":{name}": {"S": value} for name, value in {"pk": pk, **(values or {})}.items()
            },
            ConsistentRead=True,
            **more,
        )
    )
    return [item["sk"]["S"] for page in pages for item in page["Items"]]


def test_a_conditional_write_loses_to_an_earlier_one(aws: LocalAws) -> None:
    put(aws, "claim", "1", b"first", ConditionExpression="attribute_not_exists(pk)")
    with pytest.raises(ClientError) as lost:
        put(aws, "claim", "1", b"second", ConditionExpression="attribute_not_exists(pk)")
    assert code(lost) == "ConditionalCheckFailedException"
    key = {"pk": {"S": "claim"}, "sk": {"S": "1"}}
    got = aws.client("dynamodb").get_item(TableName=resource_name("test", "table"), Key=key, ConsistentRead=True)
    assert got["Item"]["body"]["B"] == b"first"


def test_queries_see_one_partition_in_order(aws: LocalAws) -> None:
    for sk in ("w#3", "w#1", "x#1", "w#2", "v#9"):
        put(aws, "monitor", sk)
        put(aws, "other", sk)
    begins = " AND begins_with(sk, :s)"
    assert query(aws, "monitor") == ["v#9", "w#1", "w#2", "w#3", "x#1"]
    assert query(aws, "monitor", begins, {"s": "w#"}) == ["w#1", "w#2", "w#3"]
    assert query(aws, "monitor", begins, {"s": "w#"}, ScanIndexForward=False) == ["w#3", "w#2", "w#1"]
    assert query(aws, "monitor", " AND sk BETWEEN :a AND :b", {"a": "w#1", "b": "w#2"}) == ["w#1", "w#2"]
    assert query(aws, "monitor", " AND sk < :a", {"a": "w#1"}) == ["v#9"]
    assert query(aws, "monitor", " AND sk >= :a", {"a": "w#3"}) == ["w#3", "x#1"]
    assert query(aws, "monitor", " AND sk = :a", {"a": "w#3"}) == ["w#3"]
    assert query(aws, "nobody") == []
    pages = {"PaginationConfig": {"PageSize": 2}}
    assert query(aws, "monitor", "", None, **pages) == ["v#9", "w#1", "w#2", "w#3", "x#1"]
    assert query(aws, "monitor", "", None, ScanIndexForward=False, **pages) == ["x#1", "w#3", "w#2", "w#1", "v#9"]


def test_a_query_page_holds_at_most_a_megabyte(aws: LocalAws) -> None:
    for number in range(8):
        put(aws, "large", str(number), b"x" * 200_000)
    page = aws.client("dynamodb").query(
        TableName=resource_name("test", "table"),
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "large"}},
    )
    assert 0 < page["Count"] < 8 and "LastEvaluatedKey" in page
    assert query(aws, "large") == [str(number) for number in range(8)]


# --- SQS


def test_a_message_is_hidden_while_in_flight_and_gone_when_deleted(aws: LocalAws) -> None:
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName="plain", Attributes={"VisibilityTimeout": "60"})["QueueUrl"]
    sqs.send_message_batch(
        QueueUrl=url, Entries=[{"Id": str(number), "MessageBody": str(number)} for number in range(10)]
    )
    first = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    assert aws.visible_messages().get("plain", 0) == 0
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=first[0]["ReceiptHandle"], VisibilityTimeout=0)
    [again] = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
    assert again["MessageId"] == first[0]["MessageId"] and again["Attributes"]["ApproximateReceiveCount"] == "2"
    entries = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(first)]
    assert len(sqs.delete_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 10
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first[0]["ReceiptHandle"])  # again: no error
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == attributes["ApproximateNumberOfMessagesNotVisible"] == "0"
    assert attributes["VisibilityTimeout"] == "60" and attributes["QueueArn"].endswith(":plain")
    with pytest.raises(ClientError) as unknown:
        sqs.delete_message(QueueUrl=url, ReceiptHandle="nonsense")
    assert code(unknown) == "ReceiptHandleIsInvalid"


# --- Resources


def test_every_source_has_its_queue_dead_letter_queue_and_visibility(aws: LocalAws) -> None:
    sqs = aws.client("sqs")
    assert aws.resources is not None
    for source in SOURCES:
        attributes = sqs.get_queue_attributes(
            QueueUrl=aws.resources.queue_urls[source.queue], AttributeNames=["VisibilityTimeout", "RedrivePolicy"]
        )["Attributes"]
        assert int(attributes["VisibilityTimeout"]) == 6 * source.timeout
        redrive = json.loads(attributes["RedrivePolicy"])
        assert redrive["maxReceiveCount"] == 5
        assert redrive["deadLetterTargetArn"].endswith(resource_name("test", f"{source.queue}-dead"))


def test_only_watched_prefixes_of_the_watched_bucket_reach_a_queue(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="elsewhere")
    s3.put_bucket_notification_configuration(
        Bucket="elsewhere", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    add_s3_rule(aws, "test", "captures", BUCKET, "captures/")
    add_s3_rule(aws, "test", "captures", BUCKET, "captures/")
    add_s3_rule(aws, "test", "ground-truth", BUCKET, "ground-truth/")
    for bucket, key in ((BUCKET, "captures/1.jsonl"), (BUCKET, "derived/captures/1"), ("elsewhere", "captures/1")):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.put_object(Bucket=BUCKET, Key="ground-truth/1.jsonl", Body=b"y")
    s3.delete_object(Bucket=BUCKET, Key="captures/1.jsonl")
    [capture] = receive(aws, "captures")
    [label] = receive(aws, "ground-truth")
    assert (capture["detail-type"], capture["detail"]["object"]["key"]) == ("Object Created", "captures/1.jsonl")
    assert label["detail"]["object"]["key"] == "ground-truth/1.jsonl"
    assert all(not receive(aws, source.queue) for source in SOURCES)


def test_an_alert_arrives_in_snss_envelope(aws: LocalAws) -> None:
    assert aws.resources is not None
    aws.client("sns").publish(
        TopicArn=aws.resources.topic_arn,
        Subject="Drift",
        Message='{"monitor":"m"}',
        MessageAttributes={"severity": {"DataType": "String", "StringValue": "high"}},
    )
    [envelope] = receive(aws, "alerts")
    assert (envelope["Type"], envelope["Subject"], envelope["Message"]) == ("Notification", "Drift", '{"monitor":"m"}')
    assert envelope["MessageAttributes"]["severity"] == {"Type": "String", "Value": "high"}


def test_a_rule_that_eventbridge_would_refuse_is_refused(aws: LocalAws) -> None:
    with pytest.raises(ValueError, match="2048"):
        add_s3_rule(aws, "test", "captures", BUCKET, "p" * 2048)


# --- Time


def test_objects_and_their_events_carry_the_logical_time(aws: LocalAws) -> None:
    clock = LogicalClock(datetime(2026, 1, 5, 9, tzinfo=UTC))
    clock.follow(aws.set_time)
    add_s3_rule(aws, "test", "captures", BUCKET, "timed/")
    aws.client("s3").put_object(Bucket=BUCKET, Key="timed/1", Body=b"x")
    [event] = receive(aws, "captures")
    assert event["time"] == "2026-01-05T09:00:00Z"
    assert aws.client("s3").head_object(Bucket=BUCKET, Key="timed/1")["LastModified"] == clock.now()


# --- Clients


def test_clients_still_validate_parameters(aws: LocalAws) -> None:
    with pytest.raises(ParamValidationError):
        aws.client("s3").put_object(Bucket=BUCKET, Key="x", Body=b"", Nonsense=1)


def test_other_services_and_secrets_work_as_well(aws: LocalAws) -> None:
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/plumbline/key", Value="s3cret", Type="SecureString")
    assert ssm.get_parameter(Name="/plumbline/key", WithDecryption=True)["Parameter"]["Value"] == "s3cret"
    secrets = aws.client("secretsmanager")
    secrets.create_secret(Name="hook", SecretString="whsec")
    assert secrets.get_secret_value(SecretId="hook")["SecretString"] == "whsec"
    assert aws.client("sts").get_caller_identity()["Account"] == "123456789012"  # not one of the direct services


def test_sagemaker_is_asked_at_its_own_address(aws: LocalAws) -> None:
    other = LocalAws(sagemaker_url="http://127.0.0.1:9")
    other._url = aws.url
    assert other.client("sagemaker").meta.endpoint_url == "http://127.0.0.1:9"
    assert other.client("sagemaker-runtime").meta.endpoint_url == "http://127.0.0.1:9"
    assert other.client("s3").meta.endpoint_url == aws.url
    environment = other.environment()
    assert environment["AWS_ENDPOINT_URL"] == aws.url
    assert environment["AWS_ENDPOINT_URL_SAGEMAKER"] == environment["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"]


def test_an_ordinary_boto3_in_a_subprocess_works_with_the_environment(aws: LocalAws) -> None:
    program = (
        "import boto3, io\n"
        f"s3 = boto3.client('s3'); s3.put_object(Bucket='{BUCKET}', Key='from-outside', Body=b'hello')\n"
        f"s3.upload_fileobj(io.BytesIO(b'streamed' * 1000), '{BUCKET}', 'uploaded')\n"
        f"print(s3.get_object(Bucket='{BUCKET}', Key='from-outside')['Body'].read().decode())\n"
    )
    environment = {**aws.environment(), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "hello", done.stderr
    assert aws.client("s3").get_object(Bucket=BUCKET, Key="uploaded")["Body"].read() == b"streamed" * 1000


def test_install_turns_boto3s_default_session_to_the_stand_in(aws: LocalAws) -> None:
    before = boto3.DEFAULT_SESSION
    try:
        aws.install()
        names = [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]
    finally:
        boto3.DEFAULT_SESSION = before
    assert BUCKET in names


# --- The process


def test_nothing_is_reachable_before_start_and_after_stop() -> None:
    aws = LocalAws()
    with pytest.raises(StandInError, match="start"):
        aws.client("s3")
    aws.stop()


def test_the_server_ends_when_its_parent_is_killed() -> None:
    program = (
        "import time\nfrom emulator.aws import LocalAws\naws = LocalAws().start()\n"
        "print(aws._process.pid, flush=True)\ntime.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _running(server) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _running(server)


def _running(pid: int) -> bool:
    """Whether a process exists and has not ended (an orphan may wait as a zombie for somebody to collect it)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
