"""Checks of a stage's resources: queues, rules, table, topic, bucket, role, quotas.

They come from chalicelib/topology.py and the settings. Not here: monitors (monitor_checks.py).
"""

from __future__ import annotations

import fnmatch
import json
import shlex
from typing import Any

from chalicelib.errors import MisconfiguredError, NotFoundError
from chalicelib.settings import Settings
from chalicelib.topology import SOURCES, Source, resource_name
from plumbline.cli.account.account import Account, DeniedError, UnansweredError
from plumbline.cli.account.bucket_rules import same_source
from plumbline.cli.terminal.findings import Findings

# Lambda polls each queue with five batches at first; with fewer executions the functions throttle each other.
EXECUTIONS = 5 * len(SOURCES)
_EXECUTIONS_QUOTA = "L-B99A9384"  # "Concurrent executions" of Lambda


def deploy(stage: str) -> str:
    """The command that creates or repairs a stage's resources."""
    return f"make deploy STAGE={stage}"


def known_stages(account: Account) -> list[str]:
    """The stages that have a captures queue in this account and region."""
    urls = account.ask("sqs", "list_queues", QueueNamePrefix="plumbline-").get("QueueUrls", [])
    names = [url.rpartition("/")[2] for url in urls]
    end = "-captures"
    return sorted(name.removeprefix("plumbline-").removesuffix(end) for name in names if name.endswith(end))


def refuse_wrong_stage(account: Account, settings: Settings) -> bool:
    """Raise MisconfiguredError for an environment of another stage, or an unknown stage where others are deployed.

    Returns whether the stage is deployed; in an account without any stage it is simply missing.
    """
    stage = settings.stage
    for variable, value, name in (
        ("PLUMBLINE_TABLE", settings.table, settings.table),
        ("PLUMBLINE_TOPIC_ARN", settings.topic_arn, settings.topic_arn.rpartition(":")[2]),
    ):
        if name.startswith("plumbline-") and not name.startswith(f"plumbline-{stage}-"):
            expected = f"one of the stage {stage}; set the PLUMBLINE_… variables of that stage, or name another --stage"
            raise MisconfiguredError(variable, value, expected)
    try:
        account.ask("sqs", "get_queue_url", QueueName=resource_name(stage, "captures"))
        return True
    except NotFoundError:
        pass
    except (DeniedError, UnansweredError):
        return True  # each check reports its own missing permission
    stages = known_stages(account)
    if stages:
        expected = (
            f"a stage of account {account.number} in {account.region} ({', '.join(stages)}), or `{deploy(stage)}`"
        )
        raise MisconfiguredError("stage", stage, expected)
    return False


def check_stage(account: Account, settings: Settings) -> Findings:
    """Check everything that a stage has once, for all monitors."""
    found = Findings(account, f"stage {settings.stage}")
    for source in SOURCES:
        name = resource_name(settings.stage, source.queue)
        found.check(
            f"queue {name}",
            _queue,
            *(account, settings.stage, source, found),
            absent=(f"queue {name} does not exist", deploy(settings.stage)),
        )
    found.check(
        f"table {settings.table}",
        _table,
        *(account, settings, found),
        absent=(f"table {settings.table} does not exist", deploy(settings.stage)),
    )
    found.check(
        "the topic of alerts",
        _topic,
        *(account, settings, found),
        absent=(f"topic {settings.topic_arn} does not exist", deploy(settings.stage)),
    )
    operations = resource_name(settings.stage, "operations")
    found.check(
        "the topic of alarms about the pipeline",
        _operations,
        *(account, operations, found),
        absent=(
            f"topic {operations} does not exist: alarms about Plumbline itself reach no person",
            deploy(settings.stage),
        ),
    )
    check_bucket(account, settings.bucket, "Plumbline's own", found)
    if settings.webhook_key_parameter:
        check_secret(account, settings.webhook_key_parameter, "the keys of the label webhook", found)
    if settings.page_key_parameter:
        check_secret(account, settings.page_key_parameter, "the key of the page", found)
    check_role(account, settings.execution_role_arn, "the role of the models that are promoted", found)
    found.check("the quota of Lambda", _executions, account, found)
    return found


def _queue(account: Account, stage: str, source: Source, found: Findings) -> None:
    name = resource_name(stage, source.queue)
    url = account.ask("sqs", "get_queue_url", QueueName=name)["QueueUrl"]
    attributes = account.ask("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
    dead = account.arn("sqs", f"{name}-dead")
    target = json.loads(attributes.get("RedrivePolicy") or "{}").get("deadLetterTargetArn", "")
    visibility = int(attributes.get("VisibilityTimeout", 0))
    wrong = []
    if target != dead:
        wrong.append(f"its dead letters go to {target or 'nowhere'} instead of {dead}")
    if visibility < source.timeout:
        wrong.append(f"its visibility timeout of {visibility} s is shorter than the timeout of {source.function}")
    arn = account.arn("sqs", name)
    if source.pattern is not None and "aws.s3" not in source.pattern["source"]:
        wrong += _rule_problems(account, source.pattern, arn, attributes.get("Policy", ""))
    if wrong:
        found.missing(f"queue {name}: {'; '.join(wrong)}", deploy(stage))
    else:
        found.ok(f"queue {name}")


def _rule_problems(account: Account, pattern: Any, queue_arn: str, policy: str) -> list[str]:
    rules = rules_to(account, queue_arn)
    fitting = [rule for rule in rules if same_source(rule.get("EventPattern") or "{}", pattern)]
    if not fitting:
        return [f"no EventBridge rule sends it events of {pattern['source'][0]}"]
    if all(rule["State"] != "ENABLED" for rule in fitting):
        return [f"the rule {fitting[0]['Name']} is disabled (aws events enable-rule --name {fitting[0]['Name']})"]
    if not any(lets_send(policy, rule["Arn"]) for rule in fitting):
        return [f"its policy does not let the rule {fitting[0]['Name']} send"]
    return []


def rules_to(account: Account, queue_arn: str) -> list[dict[str, Any]]:
    """Every EventBridge rule that has a queue as its target, described."""
    names = account.ask("events", "list_rule_names_by_target", TargetArn=queue_arn).get("RuleNames", [])
    return [account.ask("events", "describe_rule", Name=name) for name in names]


def lets_send(policy: str, rule_arn: str) -> bool:
    """Whether a queue's policy lets EventBridge send for a rule."""
    for statement in _list(json.loads(policy or "{}").get("Statement", [])):
        principal = statement.get("Principal", {})
        services = ["*"] if principal == "*" else _list(principal.get("Service", principal.get("AWS", [])))
        actions = {action.lower() for action in _list(statement.get("Action", []))}
        if (
            statement.get("Effect") == "Allow"
            and {"events.amazonaws.com", "*"} & set(services)
            and {"sqs:sendmessage", "sqs:*", "*"} & actions
            and all(
                _holds(key.lower(), _list(wanted), rule_arn)
                for condition in statement.get("Condition", {}).values()
                for key, wanted in condition.items()
            )
        ):
            return True
    return False


def _holds(key: str, wanted: list[str], rule_arn: str) -> bool:
    """Whether a policy's condition holds for EventBridge's messages; an unknown condition counts as not holding."""
    context = {"aws:sourcearn": rule_arn, "aws:sourceaccount": rule_arn.split(":")[4], "aws:securetransport": "true"}
    return key in context and any(fnmatch.fnmatchcase(context[key], str(each)) for each in wanted)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _table(account: Account, settings: Settings, found: Findings) -> None:
    table = account.ask("dynamodb", "describe_table", TableName=settings.table)["Table"]
    schema = [(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]]
    if schema != [("pk", "HASH"), ("sk", "RANGE")]:
        text = ", ".join(name for name, _ in schema)
        found.missing(f"table {settings.table} has the keys {text} instead of pk, sk", deploy(settings.stage))
        return
    if table["TableStatus"] not in ("ACTIVE", "UPDATING"):
        found.missing(f"table {settings.table} is {table['TableStatus']}", deploy(settings.stage))
        return
    life = account.ask("dynamodb", "describe_time_to_live", TableName=settings.table)["TimeToLiveDescription"]
    if life.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING") or life.get("AttributeName") != "expires_at":
        found.warning(
            f"table {settings.table} keeps expired items: no time to live on expires_at",
            f"aws dynamodb update-time-to-live --table-name {settings.table} "
            "--time-to-live-specification Enabled=true,AttributeName=expires_at",
        )
    else:
        found.ok(f"table {settings.table}")


def _topic(account: Account, settings: Settings, found: Findings) -> None:
    arn = settings.topic_arn
    subscribed = account.ask("sns", "list_subscriptions_by_topic", TopicArn=arn)["Subscriptions"]
    account.ask("sns", "get_topic_attributes", TopicArn=arn)
    name = arn.rpartition(":")[2]
    for source in SOURCES:
        queue = account.arn("sqs", resource_name(settings.stage, source.queue))
        if source.topic and queue not in [each["Endpoint"] for each in subscribed]:
            found.missing(
                f"topic {name} does not reach the queue {queue.rpartition(':')[2]}: no route gets an alert",
                f"aws sns subscribe --topic-arn {arn} --protocol sqs --notification-endpoint {queue}",
            )
            return
    found.ok(f"topic {name}")


def _operations(account: Account, name: str, found: Findings) -> None:
    arn = account.arn("sns", name)
    subscribed = account.ask("sns", "list_subscriptions_by_topic", TopicArn=arn)["Subscriptions"]
    if any(each["SubscriptionArn"].startswith("arn:") for each in subscribed):
        found.ok(f"topic {name}")
    elif subscribed:
        found.warning(f"topic {name}: no subscription is confirmed yet", "follow the link in AWS's e-mail")
    else:
        found.warning(
            f"topic {name} has no subscriber: alarms about Plumbline itself reach no person (OperatorEmail)",
            f"aws sns subscribe --topic-arn {arn} --protocol email --notification-endpoint YOU@EXAMPLE.COM",
        )


def check_bucket(account: Account, bucket: str, role: str, found: Findings) -> bool:
    """Check that a bucket exists, in this account and region; `role`: what Plumbline uses it for."""
    before = len([each for each in found if each.status != "ok"])

    def look() -> None:
        answer = account.ask("s3", "head_bucket", Bucket=bucket, ExpectedBucketOwner=account.number)
        region = answer.get("BucketRegion") or account.region
        if region != account.region:
            found.missing(
                f"bucket {bucket} ({role}) is in {region}, the stage in {account.region}: no event crosses regions",
                f"use a bucket of {account.region}, or deploy a stage in {region}",
            )
        else:
            found.ok(f"bucket {bucket} ({role})")

    where = (
        "" if account.region == "us-east-1" else f" --create-bucket-configuration LocationConstraint={account.region}"
    )
    create = f"aws s3api create-bucket --bucket {bucket} --region {account.region}{where}"
    found.check(f"bucket {bucket}", look, absent=(f"bucket {bucket} ({role}) does not exist", create))
    return len([each for each in found if each.status != "ok"]) == before


def check_role(account: Account, arn: str, role: str, found: Findings) -> None:
    """Check that an IAM role exists and that SageMaker may assume it; `role`: what Plumbline uses it for."""
    name = arn.rpartition("/")[2]
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
    )
    document = shlex.quote(trust)

    def look() -> None:
        policy = account.ask("iam", "get_role", RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        if "sagemaker.amazonaws.com" in json.dumps(policy):
            found.ok(f"{role}, {name}")
        else:
            found.missing(
                f"{role}, {name}, may not be assumed by SageMaker (sagemaker.amazonaws.com)",
                f"aws iam update-assume-role-policy --role-name {name} --policy-document {document}",
            )

    create = f"aws iam create-role --role-name {name} --assume-role-policy-document {document}"
    found.check(f"role {name}", look, absent=(f"{role}, {name}, does not exist", create))


def check_secret(account: Account, name: str, what: str, found: Findings) -> None:
    """Check that a secret exists, without reading it."""

    def look() -> None:
        if (secret := name.removeprefix("secretsmanager:")) != name:
            account.ask("secretsmanager", "describe_secret", SecretId=secret)
        else:
            account.ask("ssm", "get_parameter", Name=name, WithDecryption=False)
        found.ok(f"{what}, {name}")

    secret = name.removeprefix("secretsmanager:")
    create = (
        f"aws secretsmanager create-secret --name {secret} --secret-string SECRET"
        if secret != name
        else f"aws ssm put-parameter --name {name} --type SecureString --value SECRET"
    )
    found.check(f"secret {name}", look, absent=(f"{what}, {name}, does not exist", create))


def _executions(account: Account, found: Findings) -> None:
    fix = (
        "aws service-quotas request-service-quota-increase --service-code lambda "
        f"--quota-code {_EXECUTIONS_QUOTA} --desired-value {max(1000, EXECUTIONS)}"
    )
    try:
        quota = account.ask("service-quotas", "get_service_quota", ServiceCode="lambda", QuotaCode=_EXECUTIONS_QUOTA)
    except DeniedError as error:
        what = f"quota of concurrent Lambda executions: not readable: needs {error.permission}"
        found.warning(what, account.grant(error.permission))
        return
    except (NotFoundError, UnansweredError):
        read = f"aws service-quotas get-service-quota --service-code lambda --quota-code {_EXECUTIONS_QUOTA}"
        found.warning("quota of concurrent Lambda executions: not readable", read)
        return
    value = int(quota["Quota"]["Value"])
    if value < EXECUTIONS:
        found.warning(f"quota of concurrent Lambda executions: {value}; {len(SOURCES)} queues need {EXECUTIONS}", fix)
    else:
        found.ok(f"quota of concurrent Lambda executions: {value}")
