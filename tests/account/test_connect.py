"""`plumbline connect`: what a bucket tells others stays as it is, whatever comes between the read and the write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.errors import ConflictError
from chalicelib.topology import resource_name
from emulator.aws import REGION, queue_arn
from plumbline.cli.account.bucket_rules import rule_name
from plumbline.cli.connect import apply, plan
from plumbline.cli.main import main
from tests.account.scene import NUMBER, STAGE, WATCHED, Refusing, Scene

RULES = [rule_name(STAGE, queue, WATCHED) for queue in ("captures", "ground-truth")]

# Somebody else's: a function for raw files, a queue for deleted ones, a topic.
OTHERS: dict[str, Any] = {
    "LambdaFunctionConfigurations": [
        {
            "Id": "thumbnails",
            "LambdaFunctionArn": f"arn:aws:lambda:{REGION}:{NUMBER}:function:thumbnails",
            "Events": ["s3:ObjectCreated:Put"],
            "Filter": {
                "Key": {"FilterRules": [{"Name": "prefix", "Value": "raw/"}, {"Name": "suffix", "Value": ".png"}]}
            },
        }
    ],
    "QueueConfigurations": [
        {"Id": "deleted", "QueueArn": queue_arn("deleted"), "Events": ["s3:ObjectRemoved:*"]},
        {
            "Id": "imports",
            "QueueArn": queue_arn("deleted"),
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "import/"}]}},
        },
    ],
    "TopicConfigurations": [
        {
            "Id": "other",
            "TopicArn": f"arn:aws:sns:{REGION}:{NUMBER}:other",
            "Events": ["s3:ReducedRedundancyLostObject"],
        }
    ],
}


def notifications(scene: Scene, bucket: str = WATCHED) -> dict[str, Any]:
    found = scene.client("s3").get_bucket_notification_configuration(Bucket=bucket)
    return {name: value for name, value in found.items() if name != "ResponseMetadata"}


def rules(scene: Scene) -> dict[str, tuple[str, str, list[Any]]]:
    """Name -> state, pattern and targets of the stage's rules about buckets."""
    events = scene.client("events")
    found = {}
    for rule in events.list_rules(NamePrefix=resource_name(STAGE, ""))["Rules"]:
        if "aws.s3" in rule["EventPattern"]:
            targets = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
            found[rule["Name"]] = (rule["State"], rule["EventPattern"], targets)
    return found


@pytest.fixture
def strange(scene: Scene) -> Iterator[Scene]:
    """The watched bucket as it was before anybody connected it: with notifications of others, without rules."""
    scene.client("sqs").create_queue(QueueName="deleted")
    scene.client("sns").create_topic(Name="other")
    put(scene, OTHERS)
    for name in RULES:
        drop(scene, name)
    yield scene
    put(scene, {})
    apply(scene.account(), plan(scene.account(), scene.services(), WATCHED))


def put(scene: Scene, configuration: dict[str, Any]) -> None:
    scene.client("s3").put_bucket_notification_configuration(Bucket=WATCHED, NotificationConfiguration=configuration)


def drop(scene: Scene, rule: str) -> None:
    events = scene.client("events")
    if rule in rules(scene):
        events.remove_targets(Rule=rule, Ids=["queue"])
        events.delete_rule(Name=rule)


def done(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["connect", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main(["connect", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("plumbline: ")
    return err


def test_what_others_are_told_stays(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    out = done(capsys, WATCHED, "--yes")
    assert notifications(strange) == {**OTHERS, "EventBridgeConfiguration": {}}
    lines = out.splitlines()
    assert lines[:6] == [
        f"bucket {WATCHED}, notifications",
        f"  = function arn:aws:lambda:{REGION}:{NUMBER}:function:thumbnails of s3:ObjectCreated:Put "
        "prefix=raw/ suffix=.png (thumbnails)",
        f"  = queue {queue_arn('deleted')} of s3:ObjectRemoved:* (deleted)",
        f"  = queue {queue_arn('deleted')} of s3:ObjectCreated:* prefix=import/ (imports)",
        f"  = topic arn:aws:sns:{REGION}:{NUMBER}:other of s3:ReducedRedundancyLostObject (other)",
        "  + EventBridge",
    ]
    assert lines[-1] == "done"


def test_the_rules_bring_events_to_the_queues_and_to_dead_letters(
    strange: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    done(capsys, WATCHED, "--yes")
    found = rules(strange)
    assert sorted(found) == sorted(RULES)
    for name, queue, prefix in zip(
        RULES, ("captures", "ground-truth"), ("captures/", "ground-truth/churn/"), strict=True
    ):
        state, pattern, targets = found[name]
        full = resource_name(STAGE, queue)
        assert state == "ENABLED" and len(pattern) <= 2048
        assert json.loads(pattern) == {
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": {"bucket": {"name": [WATCHED]}, "object": {"key": [{"prefix": prefix}]}},
        }
        [target] = targets
        assert (target["Arn"], target["DeadLetterConfig"]) == (queue_arn(full), {"Arn": queue_arn(f"{full}-dead")})


def test_an_object_reaches_its_queue_and_no_other(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    done(capsys, WATCHED, "--yes")
    s3, sqs = strange.client("s3"), strange.client("sqs")
    key = "captures/churn/AllTraffic/2026/03/02/10/a b+c.jsonl"
    s3.put_object(Bucket=WATCHED, Key=key, Body=b"x")
    s3.put_object(Bucket=WATCHED, Key="elsewhere/x", Body=b"x")
    heard = {}
    for queue in ("captures", "ground-truth"):
        url = sqs.get_queue_url(QueueName=resource_name(STAGE, queue))["QueueUrl"]
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        heard[queue] = [json.loads(each["Body"])["detail"]["object"]["key"] for each in messages]
        for each in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
    s3.delete_object(Bucket=WATCHED, Key=key)
    s3.delete_object(Bucket=WATCHED, Key="elsewhere/x")
    assert heard == {"captures": [key], "ground-truth": []}


def test_again_changes_nothing(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    done(capsys, WATCHED, "--yes")
    before = notifications(strange), rules(strange)
    out = done(capsys, WATCHED, "--yes")
    assert out.splitlines()[-1] == "nothing to change" and "+" not in out
    assert (notifications(strange), rules(strange)) == before
    assert done(capsys, WATCHED) == out  # without a change it does not ask


def test_a_dry_run_shows_and_writes_nothing(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    out = done(capsys, WATCHED, "--dry-run")
    assert "  + EventBridge" in out and f"  + {RULES[0]}" in out and out.splitlines()[-1] == "nothing was written"
    assert notifications(strange) == OTHERS and rules(strange) == {}


def test_json(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(done(capsys, WATCHED, "--dry-run", "--json"))
    assert answer["before"] == OTHERS and answer["after"] == {**OTHERS, "EventBridgeConfiguration": {}}
    assert [rule["change"] for rule in answer["rules"]] == ["+", "+"] and answer["result"] == "nothing was written"


def test_without_a_terminal_it_asks_for_an_answer(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(capsys, 2, WATCHED)
    assert "--yes to write, or --dry-run to show" in err
    assert notifications(strange) == OTHERS and rules(strange) == {}


def test_a_rule_that_was_changed_is_put_right(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    done(capsys, WATCHED, "--yes")
    before = rules(strange)
    events = strange.client("events")
    events.disable_rule(Name=RULES[0])
    events.remove_targets(Rule=RULES[1], Ids=["queue"])
    out = done(capsys, WATCHED, "--yes")
    assert f"  ~ {RULES[0]}" in out and f"  ~ {RULES[1]}" in out
    assert rules(strange) == before


def test_a_rule_of_the_template_is_enough(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    events, name = strange.client("events"), resource_name(STAGE, "from-the-template")
    pattern = {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": {"bucket": {"name": [WATCHED]}}}
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, Targets=[{"Id": "q", "Arn": queue_arn(resource_name(STAGE, "captures"))}])
    try:
        out = done(capsys, WATCHED, "--yes")
        assert f"  = {name}: s3://{WATCHED}/ -> {resource_name(STAGE, 'captures')}" in out
        assert sorted(rules(strange)) == sorted([name, RULES[1]])
    finally:
        events.remove_targets(Rule=name, Ids=["q"])
        events.delete_rule(Name=name)


def test_who_writes_between_the_read_and_the_write_is_not_overwritten(strange: Scene) -> None:
    account = strange.account()
    wanted = plan(account, strange.services(), WATCHED)
    put(strange, {"TopicConfigurations": OTHERS["TopicConfigurations"]})
    with pytest.raises(ConflictError, match="changed meanwhile; run the command again"):
        apply(account, wanted)
    assert notifications(strange) == {"TopicConfigurations": OTHERS["TopicConfigurations"]}
    assert rules(strange) == {}  # nothing half-created


def test_who_writes_right_after_the_write_is_noticed(strange: Scene) -> None:
    """As if another tool, which read before us, had written its own view: the answer after the write lacks ours."""
    wanted = plan(strange.account(), strange.services(), WATCHED)
    reads: list[Any] = []
    with Refusing(strange) as other:

        def after(**_: Any) -> None:
            reads.append(None)
            if len(reads) == 2:
                put(strange, OTHERS)

        other.session.events.register("before-call.s3.GetBucketNotificationConfiguration", after)
        with pytest.raises(ConflictError, match="another writer wrote at the same time and it lacks EventBridge"):
            apply(strange.account(), wanted)


def test_a_bucket_that_may_not_be_written_leaves_no_rule(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with Refusing(strange) as refusing:
        refusing.answer("s3.PutBucketNotificationConfiguration", "AccessDenied")
        assert "needs s3:PutBucketNotification" in refused(capsys, 1, WATCHED, "--yes")
    assert notifications(strange) == OTHERS and rules(strange) == {}


@pytest.mark.parametrize("call", ["events.PutRule", "events.PutTargets"])
def test_rules_that_may_not_be_made_leave_the_bucket_alone(
    strange: Scene, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    with Refusing(strange) as refusing:
        refusing.answer(call, "AccessDeniedException")
        assert f"needs {call.replace('.', ':')}" in refused(capsys, 1, WATCHED, "--yes")
    assert notifications(strange) == OTHERS and rules(strange) == {}


def test_a_queue_that_lets_nobody_send(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """EventBridge would drop the events without a word."""
    sqs, name = strange.client("sqs"), resource_name(STAGE, "captures-dead")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
    no_one = json.dumps({"Version": "2012-10-17", "Statement": []})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": no_one})
    try:
        err = refused(capsys, 2, WATCHED, "--yes")
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=kept)
    assert f"queue {name}" in err and "events.amazonaws.com" in err and f"`make deploy STAGE={STAGE}`" in err
    assert rules(strange) == {}


def test_remove_takes_the_rules_away_and_leaves_the_bucket(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    done(capsys, WATCHED, "--yes")
    out = done(capsys, WATCHED, "--remove")
    assert out.splitlines() == [
        *(f"- {name}" for name in RULES),
        f"bucket {WATCHED}: its notifications are unchanged",
    ]
    assert rules(strange) == {} and notifications(strange) == {**OTHERS, "EventBridgeConfiguration": {}}
    assert "no rule to remove" in done(capsys, WATCHED, "--remove")


# Wrong buckets --------------------------------------------------------------------------------------------------------


def test_a_bucket_that_does_not_exist(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(capsys, 2, "no-such-bucket", "--yes")
    assert err == (
        "plumbline: bucket no-such-bucket: does not exist; see `aws s3 ls`, or run "
        "`aws s3api create-bucket --bucket no-such-bucket --region us-east-1`\n"
    )


def test_a_bucket_in_another_region(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    s3 = scene.client("s3")
    s3.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    try:
        err = refused(capsys, 2, "far-away", "--yes")
        assert "EventBridgeConfiguration" not in notifications(scene, "far-away")
    finally:
        s3.delete_bucket(Bucket="far-away")
    assert "'far-away in eu-west-1'; expected one in us-east-1, the stage's region" in err
    assert f"`AWS_REGION=eu-west-1 make deploy STAGE={STAGE}`" in err


def test_a_bucket_of_somebody_else(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """S3 answers 403 for another account's bucket, as for a missing permission."""
    with Refusing(scene) as refusing:
        refusing.answer("s3.HeadBucket", "403", "Forbidden")
        err = refused(capsys, 1, WATCHED, "--yes")
    assert f"s3:ListBucket on {WATCHED}, and the bucket to be account {NUMBER}'s" in err


def test_the_owner_is_asked_for_in_every_call(strange: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    owners: list[str | None] = []
    with Refusing(strange) as watching:
        for call in ("HeadBucket", "GetBucketNotificationConfiguration", "PutBucketNotificationConfiguration"):
            watching.session.events.register(
                f"before-call.s3.{call}",
                lambda params, **_: owners.append(params["headers"].get("x-amz-expected-bucket-owner")),
            )
        done(capsys, WATCHED, "--yes")
    assert len(owners) == 5 and set(owners) == {NUMBER}


def test_a_bucket_that_without_monitors(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.client("s3").create_bucket(Bucket="idle")
    try:
        err = refused(capsys, 2, "idle", "--yes")
    finally:
        scene.client("s3").delete_bucket(Bucket="idle")
    assert "no monitor of the stage test has captures or ground truth in it" in err and "plumbline add" in err
