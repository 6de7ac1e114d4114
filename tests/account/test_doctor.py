"""`plumbline doctor` against a whole account, and against one from which one thing was taken: that one is named."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib.topology import SOURCES, resource_name
from emulator.aws import queue_arn
from plumbline.cli.account.bucket_rules import rule_name
from plumbline.cli.main import main
from tests.account.scene import (
    ENDPOINT,
    GROUP,
    MODEL_ROLE,
    MONITOR,
    NUMBER,
    OUTPUT,
    OWN,
    PIPELINE,
    PIPELINE_ROLE,
    STAGE,
    TRUST,
    WATCHED,
    Refusing,
    Scene,
    document,
    parameters,
)

Break = Callable[[Scene], Iterator[None]]


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """The exit status and the findings."""
    status = main(["doctor", "--json", *arguments])
    out, err = capsys.readouterr()
    assert err == ""
    return status, json.loads(out)["findings"]


def bad(findings: list[dict[str, str]]) -> list[dict[str, str]]:
    """What is not ok, but for the quotas that this account does not tell."""
    return [each for each in findings if each["status"] != "ok" and "not readable" not in each["what"]]


def written(folder: Path, **changes: Any) -> str:
    path = folder / "monitor.yaml"
    path.write_text(yaml.safe_dump(document(**changes)), encoding="utf-8")
    return str(path)


def test_a_whole_account_lacks_nothing(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    status, findings = examined(capsys)
    assert (status, bad(findings)) == (0, [])
    said = " / ".join(each["what"] for each in findings)
    for source in SOURCES:
        assert f"queue {resource_name(STAGE, source.queue)}" in said
    for what in ("table", "topic", f"bucket {OWN}", "champion first", "data capture", "KMS key", "pipeline", GROUP):
        assert what in said, what


def test_looking_changes_nothing(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert examined(capsys) == examined(capsys)


# One thing taken away -------------------------------------------------------------------------------------------------


def no_queue(scene: Scene) -> Iterator[None]:
    sqs, name = scene.client("sqs"), resource_name(STAGE, "windows")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy", "VisibilityTimeout"])["Attributes"]
    sqs.delete_queue(QueueUrl=url)
    yield
    sqs.create_queue(QueueName=name, Attributes=kept)


def queue_attribute(queue: str, attribute: str, value: str) -> Break:
    def broken(scene: Scene) -> Iterator[None]:
        sqs = scene.client("sqs")
        url = sqs.get_queue_url(QueueName=resource_name(STAGE, queue))["QueueUrl"]
        kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])["Attributes"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={attribute: value})
        yield
        sqs.set_queue_attributes(QueueUrl=url, Attributes=kept)

    return broken


def no_dead_letters(scene: Scene) -> Iterator[None]:
    sqs = scene.client("sqs")
    url = sqs.get_queue_url(QueueName=resource_name(STAGE, "clock"))["QueueUrl"]
    kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]
    other = json.dumps({"deadLetterTargetArn": queue_arn(resource_name(STAGE, "alerts-dead")), "maxReceiveCount": 5})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": other})
    yield
    sqs.set_queue_attributes(QueueUrl=url, Attributes=kept)


def rule_disabled(name: str) -> Break:
    def broken(scene: Scene) -> Iterator[None]:
        scene.client("events").disable_rule(Name=name)
        yield
        scene.client("events").enable_rule(Name=name)

    return broken


def rule_without_target(name: str) -> Break:
    def broken(scene: Scene) -> Iterator[None]:
        events = scene.client("events")
        targets = events.list_targets_by_rule(Rule=name)["Targets"]
        events.remove_targets(Rule=name, Ids=[each["Id"] for each in targets])
        yield
        events.put_targets(Rule=name, Targets=targets)

    return broken


def narrower_rule(scene: Scene) -> Iterator[None]:
    events, name = scene.client("events"), rule_name(STAGE, "captures", WATCHED)
    kept = events.describe_rule(Name=name)["EventPattern"]
    events.put_rule(Name=name, EventPattern=kept.replace("captures/", "captures/other/"))
    yield
    events.put_rule(Name=name, EventPattern=kept)


def no_time_to_live(scene: Scene) -> Iterator[None]:
    dynamodb = scene.client("dynamodb")
    for enabled in (False, True):
        dynamodb.update_time_to_live(
            TableName=resource_name(STAGE, "table"),
            TimeToLiveSpecification={"Enabled": enabled, "AttributeName": "expires_at"},
        )
        if not enabled:
            yield


def no_subscription(topic: str) -> Break:
    def broken(scene: Scene) -> Iterator[None]:
        sns = scene.client("sns")
        [subscription] = [
            each for each in sns.list_subscriptions()["Subscriptions"] if each["TopicArn"].endswith(topic)
        ]
        sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
        yield
        sns.subscribe(**{name: subscription[name] for name in ("TopicArn", "Protocol", "Endpoint")})

    return broken


def no_operations_topic(scene: Scene) -> Iterator[None]:
    sns, name = scene.client("sns"), resource_name(STAGE, "operations")
    [topic] = [each["TopicArn"] for each in sns.list_topics()["Topics"] if each["TopicArn"].endswith(name)]
    sns.delete_topic(TopicArn=topic)
    yield
    sns.subscribe(TopicArn=sns.create_topic(Name=name)["TopicArn"], Protocol="email", Endpoint="ops@example.com")


def no_bucket(bucket: str) -> Break:
    def broken(scene: Scene) -> Iterator[None]:
        scene.client("s3").delete_bucket(Bucket=bucket)
        yield
        scene.client("s3").create_bucket(Bucket=bucket)

    return broken


def bucket_elsewhere(scene: Scene) -> Iterator[None]:
    s3 = scene.client("s3")
    s3.delete_bucket(Bucket=OUTPUT)
    s3.create_bucket(Bucket=OUTPUT, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield
    s3.delete_bucket(Bucket=OUTPUT)
    s3.create_bucket(Bucket=OUTPUT)


def no_eventbridge(scene: Scene) -> Iterator[None]:
    s3 = scene.client("s3")
    s3.put_bucket_notification_configuration(Bucket=WATCHED, NotificationConfiguration={})
    yield
    s3.put_bucket_notification_configuration(Bucket=WATCHED, NotificationConfiguration={"EventBridgeConfiguration": {}})


def no_secret(name: str) -> Break:
    def broken(scene: Scene) -> Iterator[None]:
        scene.client("ssm").delete_parameter(Name=name)
        yield
        scene.client("ssm").put_parameter(Name=name, Value="secret", Type="SecureString")

    return broken


def no_role(arn: str) -> Break:
    def broken(scene: Scene) -> Iterator[None]:
        iam, name = scene.client("iam"), arn.rpartition("/")[2]
        iam.delete_role(RoleName=name)
        yield
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))

    return broken


def role_of_somebody_else(scene: Scene) -> Iterator[None]:
    iam, name = scene.client("iam"), PIPELINE_ROLE.rpartition("/")[2]
    other = json.dumps(TRUST).replace("sagemaker", "ec2")
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=other)
    yield
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(TRUST))


_configs = iter(range(2, 1000))


def capturing(**changes: Any) -> Break:
    """Another data capture; `capture=None` none at all."""

    def broken(scene: Scene) -> Iterator[None]:
        capture = None if "capture" in changes else scene.capture(**changes)
        if capture and capture["KmsKeyId"] is None:
            del capture["KmsKeyId"]
        scene.deploy(f"churn-{next(_configs)}", capture)
        yield
        scene.client("sagemaker").update_endpoint(EndpointName=ENDPOINT, EndpointConfigName="churn-1")
        scene.advance()

    return broken


def endpoint_updating(scene: Scene) -> Iterator[None]:
    sagemaker = scene.client("sagemaker")
    sagemaker.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName="churn-1")
    yield
    scene.advance()


def no_endpoint(scene: Scene) -> Iterator[None]:
    sagemaker = scene.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName=ENDPOINT)
    yield
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName="churn-1")
    scene.advance()


def key_disabled(scene: Scene) -> Iterator[None]:
    scene.client("kms").disable_key(KeyId=scene.key)
    yield
    scene.client("kms").enable_key(KeyId=scene.key)


def key_to_be_deleted(scene: Scene) -> Iterator[None]:
    kms = scene.client("kms")
    kms.schedule_key_deletion(KeyId=scene.key)
    yield
    kms.cancel_key_deletion(KeyId=scene.key)
    kms.enable_key(KeyId=scene.key)


def bucket_key_disabled(scene: Scene) -> Iterator[None]:
    """Data capture without a key of its own is written under the bucket's."""
    s3, kms = scene.client("s3"), scene.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=WATCHED, ServerSideEncryptionConfiguration={"Rules": [rule]})
    kms.disable_key(KeyId=key)
    yield from capturing(KmsKeyId=None)(scene)
    s3.delete_bucket_encryption(Bucket=WATCHED)


def baseline_body(body: bytes | None) -> Break:
    def broken(scene: Scene) -> Iterator[None]:
        s3, key = scene.client("s3"), "baseline/constraints.json"
        kept = s3.get_object(Bucket=WATCHED, Key=key)["Body"].read()
        if body is None:
            s3.delete_object(Bucket=WATCHED, Key=key)
        else:
            s3.put_object(Bucket=WATCHED, Key=key, Body=body)
        yield
        s3.put_object(Bucket=WATCHED, Key=key, Body=kept)

    return broken


def another_model(scene: Scene) -> Iterator[None]:
    """Somebody deployed by hand."""
    sagemaker = scene.client("sagemaker")
    model = sagemaker.describe_model(ModelName="first")
    fields = ("ExecutionRoleArn", "PrimaryContainer")
    sagemaker.create_model(ModelName="by-hand", **{name: model[name] for name in fields})
    scene.deploy(f"churn-{next(_configs)}", scene.capture(), model="by-hand")
    yield
    sagemaker.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName="churn-1")
    scene.advance()


def no_alarm(scene: Scene) -> Iterator[None]:
    cloudwatch = scene.client("cloudwatch")
    [alarm] = cloudwatch.describe_alarms(AlarmNames=["churn-accuracy"])["MetricAlarms"]
    cloudwatch.delete_alarms(AlarmNames=["churn-accuracy"])
    yield
    fields = ("AlarmName", "Namespace", "MetricName", "Statistic", "Period", "EvaluationPeriods", "Threshold")
    cloudwatch.put_metric_alarm(**{name: alarm[name] for name in (*fields, "ComparisonOperator")})


CAPTURE = "aws sagemaker create-endpoint-config --cli-input-json"
CONNECT = f"plumbline connect {WATCHED} --stage {STAGE} --yes"
DEPLOY = f"make deploy STAGE={STAGE}"
EXECUTIONS_RULE = resource_name(STAGE, "executions")
CAPTURES_RULE, LABELS_RULE = (rule_name(STAGE, queue, WATCHED) for queue in ("captures", "ground-truth"))

CASES: dict[str, tuple[Break, str, str, str]] = {
    "queue": (no_queue, "missing", "queue plumbline-test-windows does not exist", DEPLOY),
    "dead letters": (no_dead_letters, "missing", "dead letters go to", DEPLOY),
    "visibility": (
        queue_attribute("windows", "VisibilityTimeout", "60"),
        "missing",
        "visibility timeout of 60 s",
        DEPLOY,
    ),
    "rule of SageMaker's events": (rule_without_target(EXECUTIONS_RULE), "missing", "no EventBridge rule", DEPLOY),
    "rule disabled": (rule_disabled(EXECUTIONS_RULE), "missing", f"{EXECUTIONS_RULE} is disabled", DEPLOY),
    "time to live": (no_time_to_live, "warning", "no time to live", "aws dynamodb update-time-to-live --table-name"),
    "operator": (
        no_subscription("-operations"),
        "warning",
        "OperatorEmail",
        "aws sns subscribe --topic-arn arn:aws:sns",
    ),
    "topic of the operator": (no_operations_topic, "missing", "plumbline-test-operations does not exist", DEPLOY),
    "subscription": (
        no_subscription("-alerts"),
        "missing",
        "no route gets an alert",
        "aws sns subscribe --topic-arn arn:aws:sns",
    ),
    "own bucket": (
        no_bucket(OUTPUT),
        "missing",
        f"bucket {OUTPUT} (reports, retraining) does not exist",
        f"aws s3api create-bucket --bucket {OUTPUT} --region us-east-1",
    ),
    "bucket's region": (
        bucket_elsewhere,
        "missing",
        "is in eu-west-1, the stage in us-east-1",
        "use a bucket of us-east-1",
    ),
    "webhook's keys": (
        no_secret("/plumbline/test/webhook-keys"),
        "missing",
        "keys of the label webhook",
        "aws ssm put-parameter --name /plumbline/test/webhook-keys",
    ),
    "route's secret": (
        no_secret("/plumbline/test/routes/slack"),
        "missing",
        "secret of a slack route",
        "aws ssm put-parameter",
    ),
    "pipeline's role": (
        no_role(PIPELINE_ROLE),
        "missing",
        "role of the pipeline retrain, plumbline-pipeline, does not exist",
        "aws iam create-role --role-name plumbline-pipeline",
    ),
    "role's trust": (
        role_of_somebody_else,
        "missing",
        "may not be assumed by SageMaker",
        "aws iam update-assume-role-policy --role-name plumbline-pipeline",
    ),
    "EventBridge": (no_eventbridge, "missing", f"bucket {WATCHED} does not notify EventBridge", CONNECT),
    "rule of captures": (
        rule_without_target(CAPTURES_RULE),
        "missing",
        f"no rule brings new objects of s3://{WATCHED}/captures/",
        CONNECT,
    ),
    "rule of other captures": (
        narrower_rule,
        "missing",
        f"no rule brings new objects of s3://{WATCHED}/captures/",
        CONNECT,
    ),
    "rule of labels": (
        rule_disabled(LABELS_RULE),
        "missing",
        f"{LABELS_RULE} for",
        f"aws events enable-rule --name {LABELS_RULE}",
    ),
    "queue's policy": (
        queue_attribute("captures", "Policy", json.dumps({"Version": "2012-10-17", "Statement": []})),
        "missing",
        "its policy does not let the rule",
        DEPLOY,
    ),
    "endpoint": (no_endpoint, "missing", "endpoint churn does not exist", "aws sagemaker create-endpoint"),
    "endpoint in service": (
        endpoint_updating,
        "warning",
        "endpoint churn is Updating",
        "aws sagemaker describe-endpoint",
    ),
    "capture": (capturing(capture=None), "missing", "endpoint churn captures no data", CAPTURE),
    "capture enabled": (capturing(EnableCapture=False), "missing", "endpoint churn captures no data", CAPTURE),
    "captured output": (
        capturing(CaptureOptions=[{"CaptureMode": "Input"}]),
        "missing",
        "data capture leaves out Output",
        CAPTURE,
    ),
    "sampling": (capturing(InitialSamplingPercentage=20), "warning", "data capture samples 20 %", CAPTURE),
    "no sampling": (capturing(InitialSamplingPercentage=0), "missing", "data capture samples 0 %", CAPTURE),
    "destination": (
        capturing(DestinationS3Uri=f"s3://{WATCHED}/elsewhere"),
        "missing",
        f"data capture goes to s3://{WATCHED}/elsewhere",
        CAPTURE,
    ),
    "content types": (
        capturing(CaptureContentTypeHeader={"CsvContentTypes": ["text/csv"]}),
        "warning",
        "no content type of JSON",
        CAPTURE,
    ),
    "champion": (another_model, "warning", "deployed by another process", "aws sagemaker describe-endpoint"),
    "key": (key_disabled, "missing", "is Disabled", "aws kms enable-key --key-id"),
    "key's life": (key_to_be_deleted, "missing", "is pending deletion", "aws kms cancel-key-deletion --key-id"),
    "bucket's key": (
        bucket_key_disabled,
        "missing",
        f"of the bucket {WATCHED} is Disabled",
        "aws kms enable-key --key-id",
    ),
    "baseline": (
        baseline_body(None),
        "missing",
        "constraints.json does not exist",
        f"aws s3 cp FILE s3://{WATCHED}/baseline",
    ),
    "baseline's form": (
        baseline_body(b"[]"),
        "missing",
        "is not a JSON object",
        f"aws s3 cp FILE s3://{WATCHED}/baseline",
    ),
    "alarm": (no_alarm, "missing", "alarm churn-accuracy (trigger) does not exist", "aws cloudwatch put-metric-alarm"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_is_named_with_what_fixes_it(
    scene: Scene, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    take_away, status, what, fix = CASES[case]
    with contextmanager(take_away)(scene):
        code, findings = examined(capsys)
    named = [each for each in bad(findings) if what in each["what"]]
    assert [(each["status"], each["mend"].startswith(fix)) for each in named] == [(status, True)], bad(findings)
    assert [each for each in bad(findings) if each not in named] == []  # nothing else is wrong
    assert code == (3 if status == "missing" else 0)


def test_the_command_that_mends_data_capture_does(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Its two JSON arguments are what SageMaker takes."""
    with contextmanager(capturing(capture=None))(scene):
        _, findings = examined(capsys)
        [fix] = [each["mend"] for each in findings if "captures no data" in each["what"]]
        words = shlex.split(fix)
        request = json.loads(words[words.index("--cli-input-json") + 1])
        sagemaker = scene.client("sagemaker")
        sagemaker.create_endpoint_config(**request)
        assert words[words.index("&&") :] == [
            *("&&", "aws", "sagemaker", "update-endpoint", "--endpoint-name", ENDPOINT),
            *("--endpoint-config-name", request["EndpointConfigName"]),
        ]
        sagemaker.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName=request["EndpointConfigName"])
        scene.advance()
        assert bad(examined(capsys)[1]) == []


# A definition that is not stored yet ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, what, fix",
    [
        (
            {"retraining": {"pipeline_name": "nobody"}},
            "pipeline nobody does not exist",
            "aws sagemaker create-pipeline",
        ),
        (
            {"retraining": {"parameters": {**parameters(), "Extra": "1"}}},
            "has no parameter Extra",
            "aws sagemaker describe",
        ),
        (
            {"retraining": {"parameters": {"ManifestUri": "{manifest_uri}"}}},
            "needs the parameter CodeUri",
            "aws sagemaker",
        ),
        (
            {"retraining": {"parameters": {**parameters(), "ModelPackageGroupName": "others"}}},
            "model package group others does not exist",
            "aws sagemaker create-model-package-group --model-package-group-name others",
        ),
        ({"variant": "Blue"}, "has no variant Blue, only AllTraffic", "write variant: AllTraffic"),
        ({"endpoint": "nobody"}, "endpoint nobody does not exist", "aws sagemaker create-endpoint"),
        (
            {"ground_truth_s3_uri": "s3://no-such-bucket/labels"},
            "bucket no-such-bucket (ground truth) does not exist",
            "aws s3api create-bucket --bucket no-such-bucket",
        ),
        ({"capture_s3_uri": f"s3://{WATCHED}/other"}, "no rule brings new objects of s3://watched/other/", CONNECT),
    ],
)
def test_a_definition_is_examined_before_it_is_stored(
    scene: Scene, capsys: pytest.CaptureFixture[str], tmp_path: Path, changes: dict[str, Any], what: str, fix: str
) -> None:
    if "retraining" in changes:
        changes = {"retraining": {**document()["retraining"], **changes["retraining"]}}
    code, findings = examined(capsys, "--definition", written(tmp_path, name="other", **changes))
    assert code == 3
    assert [each["mend"].startswith(fix) for each in findings if what in each["what"]] == [True], bad(findings)
    assert "other" not in [entry["about"] for entry in examined(capsys)[1]]  # nothing was stored


def test_a_good_definition(scene: Scene, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, findings = examined(capsys, "--definition", written(tmp_path, name="other"))
    assert (code, bad(findings)) == (0, [])
    assert {each["about"] for each in findings} == {f"stage {STAGE}", "monitor other"}


def test_one_monitor(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert examined(capsys, "--monitor", MONITOR) == examined(capsys)
    assert main(["doctor", "--monitor", "nobody"]) == 2
    assert capsys.readouterr().err == (
        "plumbline: monitor nobody: not in the table (stored: churn); `plumbline add FILE` stores one\n"
    )


# Rights and quotas ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, needs",
    [
        ("s3.GetBucketNotificationConfiguration", "s3:GetBucketNotification"),
        ("s3.ListObjectsV2", "s3:ListBucket"),
        ("s3.GetObject", ""),
        ("sqs.GetQueueAttributes", "sqs:GetQueueAttributes"),
        ("events.ListRuleNamesByTarget", "events:ListRuleNamesByTarget"),
        ("dynamodb.DescribeTable", "dynamodb:DescribeTable"),
        ("sns.ListSubscriptionsByTopic", "sns:ListSubscriptionsByTopic"),
        ("sagemaker.DescribeEndpoint", "sagemaker:DescribeEndpoint"),
        ("sagemaker.DescribePipeline", "sagemaker:DescribePipeline"),
        ("iam.GetRole", "iam:GetRole"),
        ("kms.DescribeKey", "kms:DescribeKey"),
        ("ssm.GetParameter", "ssm:GetParameter"),
        ("cloudwatch.DescribeAlarms", "cloudwatch:DescribeAlarms"),
        ("dynamodb.Query", ""),
    ],
)
def test_what_may_not_be_seen_is_a_finding_and_the_others_go_on(
    scene: Scene, capsys: pytest.CaptureFixture[str], call: str, needs: str
) -> None:
    with Refusing(scene) as refusing:
        refusing.answer(call, "AccessDeniedException" if "s3" not in call else "AccessDenied")
        code, findings = examined(capsys)
    blind = bad(findings)
    assert code == 3 and blind
    assert all(each["what"].startswith("cannot see ") and f"needs {needs}" in each["what"] for each in blind), blind
    if needs:
        assert all(needs in each["mend"] and each["mend"].startswith("aws iam put-user-policy") for each in blind)
    assert len([each for each in findings if each["status"] == "ok"]) >= 5


def test_an_answer_that_did_not_come_is_a_finding(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with Refusing(scene) as refusing:
        refusing.answer("ssm.GetParameter", "InternalServerError", "try later", 500)
        code, findings = examined(capsys)
    assert code == 3
    assert {each["what"].partition(":")[0] for each in bad(findings)} == {
        "cannot see secret /plumbline/test/webhook-keys",
        "cannot see secret /plumbline/test/routes/slack",
    }


@pytest.mark.parametrize("value, status", [(10.0, "warning"), (1000.0, "ok")])
def test_quotas_are_read_where_they_can_be(
    scene: Scene, capsys: pytest.CaptureFixture[str], value: float, status: str
) -> None:
    serverless = {
        "QuotaName": "Maximum total concurrency that you can allocate across all serverless endpoints",
        "QuotaCode": "L-1",
        "Value": value,
    }
    with Refusing(scene) as refusing:
        refusing.give("service-quotas.GetServiceQuota", Quota={"Value": value})
        refusing.give("service-quotas.ListServiceQuotas", Quotas=[serverless])
        code, findings = examined(capsys)
    quotas = [each for each in findings if each["what"].startswith("quota of ")]
    assert code == 0 and [each["status"] for each in quotas] == [status, status]
    if status == "warning":
        assert all("request-service-quota-increase" in each["mend"] for each in quotas)


def test_a_quota_that_may_not_be_read_is_a_warning(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with Refusing(scene) as refusing:
        for call in ("GetServiceQuota", "ListServiceQuotas"):
            refusing.answer(f"service-quotas.{call}", "AccessDeniedException")
        code, findings = examined(capsys)
    quotas = [each for each in findings if each["what"].startswith("quota of ")]
    assert code == 0 and [each["status"] for each in quotas] == ["warning", "warning"]
    assert all("not readable: needs servicequotas:" in each["what"] for each in quotas)


# What a person reads --------------------------------------------------------------------------------------------------


def test_the_text_has_a_line_for_each_finding_and_the_command_below(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextmanager(no_eventbridge)(scene):
        assert main(["doctor"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"account {NUMBER}, us-east-1, as arn:aws:sts::{NUMBER}:user/moto"
    assert lines[1] == f"stage {STAGE}" and f"monitor {MONITOR}" in lines
    at = lines.index(f"  missing  bucket {WATCHED} does not notify EventBridge of new objects")
    assert lines[at + 1] == f"           > {CONNECT}"
    assert lines[-1].startswith("1 missing, 2 warnings, ")


def test_a_model_role_that_does_not_exist(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the role of the deployment, and of the model that serves."""
    with contextmanager(no_role(MODEL_ROLE))(scene):
        _, findings = examined(capsys)
    assert [each["what"] for each in bad(findings)] == [
        "the role of the models that are promoted, plumbline-model, does not exist",
        "the execution role of the model first, plumbline-model, does not exist",
    ]


def test_no_table(scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_TABLE", "no-such-table")
    code, findings = examined(capsys)
    assert code == 3 and bad(findings)[0]["what"] == "table no-such-table does not exist"
    assert PIPELINE not in {each["about"] for each in findings}
