"""`plumbline connect BUCKET`: route an existing bucket's new objects to a stage, and change nothing else about it.

A bucket's notification configuration is one document, and a write replaces all of it: it is read, shown, extended, read
again, written and read once more. The stage has one rule per bucket and queue, made from the stored monitors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from chalicelib import settings as deployment
from chalicelib.definition import split_s3_uri
from chalicelib.errors import ConflictError, MisconfiguredError, NotFoundError, PlumblineError
from chalicelib.facts import monitors
from chalicelib.topology import resource_name
from chalicelib.wiring import LazyServices, Services
from plumbline.cli.account.account import Account, DeniedError
from plumbline.cli.account.bucket_rules import covering, event_pattern, hears, rule_name
from plumbline.cli.account.monitor_checks import listened
from plumbline.cli.account.stage_checks import deploy, lets_send, refuse_wrong_stage, rules_to
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command

Configuration = dict[str, Any]

# How long EventBridge tries to reach a queue before the event becomes a dead letter: its maximum.
RETRY = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}


class Rule(msgspec.Struct, frozen=True):
    """A rule as it should be: its event pattern, and the queue that it fills."""

    name: str
    queue: str
    pattern: str
    queue_arn: str
    dead_arn: str
    change: Literal["=", "+", "~"]

    @property
    def target(self) -> dict[str, Any]:
        return {
            "Id": "queue",
            "Arn": self.queue_arn,
            "DeadLetterConfig": {"Arn": self.dead_arn},
            "RetryPolicy": RETRY,
        }


class Plan(msgspec.Struct, frozen=True):
    """The bucket's configuration before and after, and the stage's rules for it."""

    bucket: str
    stage: str
    before: Configuration
    after: Configuration
    rules: tuple[Rule, ...]

    @property
    def changes(self) -> bool:
        return self.before != self.after or any(rule.change != "=" for rule in self.rules)


def plan(account: Account, services: Services, bucket: str) -> Plan:
    """What connecting a bucket would change; reads only.

    Raises NotFoundError, MisconfiguredError and DeniedError, each naming the next step.
    """
    stage = services.settings.stage
    if not refuse_wrong_stage(account, services.settings):
        expected = f"a stage that is deployed in account {account.number}, {account.region}: `{deploy(stage)}`"
        raise MisconfiguredError("stage", stage, expected)
    _refuse_wrong_bucket(account, stage, bucket)
    prefixes = _prefixes(services, bucket)
    before = account.ask("s3", "get_bucket_notification_configuration", Bucket=bucket, **_owner(account))
    rules = tuple(_rule(account, stage, bucket, queue, heard) for queue, heard in sorted(prefixes.items()))
    return Plan(bucket, stage, before, {**before, "EventBridgeConfiguration": {}}, rules)


def _owner(account: Account) -> dict[str, str]:
    return {"ExpectedBucketOwner": account.number}


def _refuse_wrong_bucket(account: Account, stage: str, bucket: str) -> None:
    try:
        answer = account.ask("s3", "head_bucket", Bucket=bucket, **_owner(account))
    except NotFoundError:
        create = f"aws s3api create-bucket --bucket {bucket} --region {account.region}"
        raise NotFoundError(f"bucket {bucket}: does not exist; see `aws s3 ls`, or run `{create}`") from None
    except DeniedError as error:
        raise DeniedError(f"{error.permission} on {bucket}, and the bucket to be account {account.number}'s") from None
    region = answer.get("BucketRegion") or account.region
    if region != account.region:
        step = f"deploy a stage there (`AWS_REGION={region} {deploy(stage)}`) or use a bucket of {account.region}"
        raise MisconfiguredError(
            "bucket", f"{bucket} in {region}", f"one in {account.region}, the stage's region; {step}"
        )


def _prefixes(services: Services, bucket: str) -> dict[str, list[str]]:
    """queue -> key prefixes of this bucket that the stored monitors read."""
    found: dict[str, list[str]] = {}
    for entry in monitors.all_entries(services.ledger):
        if entry.removed_at:
            continue
        for queue, place, prefix in listened(services.definitions.of(entry)):
            if place == bucket:
                found.setdefault(queue, []).append(prefix)
    if not found:
        raise NotFoundError(
            f"bucket {bucket}: no monitor of the stage {services.settings.stage} has captures or ground truth in it; "
            "store one first, `plumbline add monitor.yaml`"
        )
    return {queue: covering(prefixes) for queue, prefixes in found.items()}


def _rule(account: Account, stage: str, bucket: str, queue: str, prefixes: list[str]) -> Rule:
    name, full = rule_name(stage, queue, bucket), resource_name(stage, queue)
    queue_arn, dead_arn = account.arn("sqs", full), account.arn("sqs", f"{full}-dead")
    for arn in (queue_arn, dead_arn):
        _check_queue_policy(account, stage, arn, account.arn("events", f"rule/{name}"))
    rule = Rule(name, full, event_pattern(bucket, prefixes), queue_arn, dead_arn, "=")
    for other in rules_to(account, queue_arn):
        pattern = other.get("EventPattern") or "{}"
        heard = all(hears(pattern, bucket, prefix) for prefix in prefixes)
        if other["Name"] != name and other["State"] == "ENABLED" and heard:
            return msgspec.structs.replace(rule, name=other["Name"], pattern=pattern)  # the template's own
    try:
        stored = account.ask("events", "describe_rule", Name=name)
        targets = account.ask("events", "list_targets_by_rule", Rule=name).get("Targets", [])
    except NotFoundError:
        return msgspec.structs.replace(rule, change="+")
    same = stored.get("EventPattern") == rule.pattern and stored["State"] == "ENABLED" and targets == [rule.target]
    return rule if same else msgspec.structs.replace(rule, change="~")


def _check_queue_policy(account: Account, stage: str, queue_arn: str, rule_arn: str) -> None:
    """Raise MisconfiguredError for a queue that a rule may not send to: events would be lost silently."""
    name = queue_arn.rpartition(":")[2]
    url = account.ask("sqs", "get_queue_url", QueueName=name)["QueueUrl"]
    answer = account.ask("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["Policy"])
    if not lets_send(answer.get("Attributes", {}).get("Policy", ""), rule_arn):
        raise MisconfiguredError(
            f"queue {name}",
            "a policy without events.amazonaws.com",
            f"one that lets {rule_arn} send; `{deploy(stage)}`",
        )


def apply(account: Account, wanted: Plan) -> None:
    """Write a plan, rules first and the bucket last, and verify it.

    Raises ConflictError when the bucket's configuration was written meanwhile. When the bucket cannot be written, the
    rules that this call made are removed again.
    """
    made = []
    try:
        for rule in wanted.rules:
            if rule.change == "=":
                continue
            if rule.change == "+":
                made.append(rule)
            what = f"new objects of {wanted.bucket} to {rule.queue}; made by plumbline connect"
            account.ask(
                "events", "put_rule", Name=rule.name, EventPattern=rule.pattern, State="ENABLED", Description=what
            )
            failed = account.ask("events", "put_targets", Rule=rule.name, Targets=[rule.target])
            if failed.get("FailedEntryCount"):
                raise ConflictError(f"rule {rule.name}: {failed['FailedEntries'][0].get('ErrorMessage', 'refused')}")
        if wanted.before != wanted.after:
            _write(account, wanted)
    except Exception:
        for rule in made:
            _remove_rule(account, rule.name)
        raise


def _remove_rule(account: Account, rule: str) -> None:
    try:
        account.ask("events", "remove_targets", Rule=rule, Ids=["queue"])
        account.ask("events", "delete_rule", Name=rule)
    except PlumblineError:
        pass  # it was not made, or may not be deleted; the first failure is the one to report


def _write(account: Account, wanted: Plan) -> None:
    bucket, owner = wanted.bucket, _owner(account)
    now = account.ask("s3", "get_bucket_notification_configuration", Bucket=bucket, **owner)
    if now != wanted.before:
        raise ConflictError(f"bucket {bucket}: its notifications were changed meanwhile; run the command again")
    # S3 would test every destination, also those of other notifications, which this command does not change.
    account.ask(
        "s3",
        "put_bucket_notification_configuration",
        Bucket=bucket,
        NotificationConfiguration=wanted.after,
        SkipDestinationValidation=True,
        **owner,
    )
    stored = account.ask("s3", "get_bucket_notification_configuration", Bucket=bucket, **owner)
    if lost := [line for line in entries(wanted.after) if line not in entries(stored)]:
        raise ConflictError(
            f"bucket {bucket}: written, but another writer wrote at the same time and it lacks {'; '.join(lost)}; "
            f"compare `aws s3api get-bucket-notification-configuration --bucket {bucket}` with "
            f"{json.dumps(wanted.after, sort_keys=True)}"
        )


def entries(configuration: Mapping[str, Any]) -> list[str]:
    """One line per notification of a configuration: its target, events, filter and id."""
    lines = []
    for kind, arn, word in (
        ("LambdaFunctionConfigurations", "LambdaFunctionArn", "function"),
        ("QueueConfigurations", "QueueArn", "queue"),
        ("TopicConfigurations", "TopicArn", "topic"),
    ):
        for each in configuration.get(kind, []):
            rules = each.get("Filter", {}).get("Key", {}).get("FilterRules", [])
            filters = "".join(f" {rule['Name'].lower()}={rule['Value']}" for rule in rules)
            lines.append(f"{word} {each[arn]} of {', '.join(each['Events'])}{filters} ({each.get('Id', 'no id')})")
    if "EventBridgeConfiguration" in configuration:
        lines.append("EventBridge")
    return lines


def summary(wanted: Plan) -> str:
    """What a plan changes, line by line: = stays, + is added, ~ is changed."""
    before = entries(wanted.before)
    lines = [f"bucket {wanted.bucket}, notifications"]
    lines += [f"  {'=' if line in before else '+'} {line}" for line in entries(wanted.after)]
    lines.append(f"rules of the stage {wanted.stage}")
    for rule in wanted.rules:
        keys = json.loads(rule.pattern)["detail"].get("object", {}).get("key", [{"prefix": ""}])
        heard = ", ".join(f"s3://{wanted.bucket}/{key['prefix']}" for key in keys)
        lines.append(f"  {rule.change} {rule.name}: {heard} -> {rule.queue}")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    if options.bucket.startswith("s3://"):
        options.bucket = split_s3_uri(options.bucket, "bucket")[0]
    settings = deployment.load()
    if options.stage:
        settings = deployment.of_stage(settings, options.stage)
    account, services = Account(settings.region), LazyServices(settings)
    if options.remove:
        return Answer(disconnect(account, services, options.bucket))
    wanted = plan(account, services, options.bucket)
    text, done = summary(wanted), "nothing to change"
    if wanted.changes:
        done = "nothing was written"
        if options.yes or (not options.dry_run and _confirmed(text, options.json)):
            apply(account, wanted)
            done = "done"
            text = summary(wanted) if options.yes else ""
    if options.json:
        document = {
            "bucket": wanted.bucket,
            "stage": wanted.stage,
            "before": wanted.before,
            "after": wanted.after,
            "rules": msgspec.to_builtins(wanted.rules),
            "result": done,
        }
        return Answer(json.dumps(document, indent=2, sort_keys=True))
    return Answer("\n".join(part for part in (text, done) if part))


def disconnect(account: Account, services: Services, bucket: str) -> str:
    """Remove the rules that `connect` made; the bucket keeps notifying EventBridge, which others may use."""
    refuse_wrong_stage(account, services.settings)
    names = [rule_name(services.settings.stage, queue, bucket) for queue in ("captures", "ground-truth")]
    gone = []
    for name in names:
        try:
            account.ask("events", "describe_rule", Name=name)
        except NotFoundError:
            continue
        account.ask("events", "remove_targets", Rule=name, Ids=["queue"])
        account.ask("events", "delete_rule", Name=name)
        gone.append(f"- {name}")
    return "\n".join([*(gone or ["no rule to remove"]), f"bucket {bucket}: its notifications are unchanged"])


def _confirmed(text: str, quiet: bool) -> bool:
    if quiet or not sys.stdin.isatty():
        raise MisconfiguredError("answer", "no terminal to ask on", "--yes to write, or --dry-run to show the changes")
    print(text)
    return input("write this? [y/N] ").strip().lower() in ("y", "yes")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline connect` and its arguments."""
    parser = add_command(
        commands,
        "connect",
        "route an existing bucket's new objects to a stage",
        "Shows the difference and asks before it writes; other notifications of the bucket stay.",
        "connect my-captures --dry-run",
    )
    parser.add_argument("bucket", metavar="BUCKET", help="the bucket's name, without s3://")
    parser.add_argument("--stage", default="", metavar="NAME", help="default: PLUMBLINE_STAGE, else dev")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="only show the difference")
    how.add_argument("--remove", action="store_true", help="remove the stage's rules for this bucket")
    how.add_argument("--yes", action="store_true", help="write without asking")
    parser.add_argument("--json", action="store_true", help="the difference as JSON")
    parser.set_defaults(run=run)
