"""The stage's CloudFormation template, as far as Chalice does not write it: what `--merge-template` is given.

Knows every resource beside functions, roles and API: parameters, queues and their policies, rules, table, bucket, key,
topics, alarms, dashboard, log groups; and what Chalice's functions lack. Made from chalicelib/topology.py, so a queue
or a function is named there only. Not here: what functions may do (infra/policies.py) and the checks (infra/checks.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.topology import (
    MAX_RECEIVES,
    PAGE_SECRETS,
    SOURCES,
    WEBHOOK,
    WEBHOOK_MEMORY,
    WEBHOOK_SECRETS,
    WEBHOOK_TIMEOUT,
    Source,
    resource_name,
    takes_s3_events,
)
from infra.existing import managed_policies
from infra.expressions import NOTHING, Value, arn, logical, ref, sub, when
from infra.policies import key_arn, own_bucket
from infra.stage_file import StageFile

FUNCTIONS: tuple[str, ...] = (*(source.function for source in SOURCES), WEBHOOK)

# Messages and dead letters are kept as long as SQS allows, so that they outlast an outage.
KEPT = 14 * 24 * 3600
# How long EventBridge tries to reach a queue before the event goes to the queue's dead letters: its own longest.
RETRY = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}

COUNTED_NAMESPACE, OVERDUE_METRIC = "Plumbline/Functions", "WindowsOverdue"

# What app.py counts and no queue or function shows: the message is done, or its alert cannot speak for itself.
FAILURES = {
    "PermanentFailures": "Messages that can only fail again were dropped: the functions' logs say which and why.",
    "AlertsRefused": "A receiver refuses an alert (revoked address, wrong key): it waits for `plumbline redrive`.",
}

# Own folders of the bucket that the template makes; their rules are made too (PLACES in infra/policies.py).
OWN_FOLDERS = {"captures": "captures/", "ground-truth": "ground-truth/"}


# (logical id, statement id) -> why its wildcard is there.
KEY_REASONS = {
    ("Key", "Account"): "KMS: without it only the key's creator could manage the key; IAM still decides who may.",
}


def function_id(function: str) -> str:
    """The logical id that Chalice gives to a function; that of the routes is always APIHandler."""
    return "APIHandler" if function == WEBHOOK else logical(function)


def role_id(function: str) -> str:
    """The logical id that Chalice gives to a function's role."""
    return "ApiHandlerRole" if function == WEBHOOK else logical(function, "Role")


def merge_template(stage: str, stage_file: StageFile | None = None) -> Value:
    """What is merged into Chalice's template for one stage; equal stages give equal templates.

    `stage_file` names existing data and models; without it the stage has its own bucket only. Raises StageFileError.
    """
    roles = {function: role_id(function) for function in FUNCTIONS}
    resources: dict[str, Value] = dict(managed_policies(stage_file, roles)) if stage_file else {}
    for part in (_key, _storage, _topics, _queues, _rules, _functions, _api, _alarms, _dashboard):
        made = part(stage)
        assert not made.keys() & resources.keys(), f"{part.__name__} repeats a logical id"
        resources.update(made)
    return {
        "Description": f"Plumbline, stage {stage}: watches SageMaker endpoints, retrains and promotes.",
        "Metadata": _parameter_groups(),
        "Parameters": parameters(stage),
        "Rules": _rules_of_parameters(),
        "Conditions": _conditions(),
        "Globals": {"Function": {"VpcConfig": _vpc(), "Environment": {"Variables": _environment()}}},
        "Resources": resources,
        "Outputs": _outputs(),
    }


# --- Parameters ------------------------------------------------------------------------------------------------------

_LIST = "CommaDelimitedList"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


def parameters(stage: str) -> Mapping[str, Value]:
    """The parameters of a stage; only the models' role has no default."""
    keys, page = (f"plumbline/{stage}/{name}.*" for name in (WEBHOOK_SECRETS, PAGE_SECRETS))
    return {
        "Stage": _text("The stage that this template was made for.", stage, allowed=[stage]),
        "ModelRoleArn": {
            **_text("The role of the models that Plumbline creates of approved packages."),
            "AllowedPattern": "arn:aws[a-z-]*:iam::[0-9]{12}:role/.+",
        },
        "BucketName": _text("An existing bucket for what Plumbline derives; empty: one is created.", ""),
        "WebhookKeys": {
            **_text("SSM parameter, or secretsmanager: and a secret, with the label webhook's keys; empty: none.", ""),
            "AllowedPattern": f"|/{keys}|secretsmanager:{keys}",
        },
        "PageKey": {
            **_text("SSM parameter, or secretsmanager: and a secret, with the page's key; empty: no page.", ""),
            "AllowedPattern": f"|/{page}|secretsmanager:{page}",
        },
        "WebhookIam": _text(
            "Whether callers whom IAM lets in may post labels without a signature.", "no", allowed=["yes", "no"]
        ),
        "MetricsNamespace": _text("CloudWatch namespace of the monitors' metrics.", "Plumbline"),
        "OutgoingAllowances": _text("host:port, … that alerts may reach though they are not public https.", ""),
        "LogLevel": _text("What the functions log.", "INFO", allowed=list(_LEVELS)),
        "LogRetentionDays": {
            "Type": "Number",
            "Default": 30,
            "AllowedValues": list(_RETENTIONS),
            "Description": "Days for which the functions' logs are kept.",
        },
        "CreateKmsKey": _text("Whether to create a KMS key for the stage's own data.", "no", allowed=["yes", "no"]),
        "KmsKeyArn": _text("An existing KMS key for the stage's own data; its policy is its owner's.", ""),
        "SubnetIds": _list("Subnets of the functions; empty: no VPC."),
        "SecurityGroupIds": _list("Security groups of the functions in the VPC."),
        "PermissionsBoundary": _text("ARN of a policy that bounds every role of the stage; empty: none.", ""),
        "OperatorEmail": _text("Where the alarms about the pipeline itself go; empty: to no address.", ""),
        "MaximumConcurrency": {
            "Type": "Number",
            "Default": 20,
            "MinValue": 2,
            "MaxValue": 1000,
            "Description": "How many batches of one queue are worked off at once.",
        },
    }


def _text(description: str, default: str | None = None, allowed: Sequence[str] = ()) -> dict[str, Value]:
    made: dict[str, Value] = {"Type": "String", "Description": description}
    if default is not None:
        made["Default"] = default
    if allowed:
        made["AllowedValues"] = list(allowed)
    return made


def _list(description: str) -> dict[str, Value]:
    return {"Type": _LIST, "Default": "", "Description": description}


def _parameter_groups() -> Value:
    groups = {
        "The models": ("ModelRoleArn",),
        "Where derived data lies": ("BucketName",),
        "Security": (
            "CreateKmsKey",
            "KmsKeyArn",
            "PermissionsBoundary",
            "SubnetIds",
            "SecurityGroupIds",
            "OutgoingAllowances",
            "WebhookKeys",
            "PageKey",
            "WebhookIam",
        ),
        "Operation": (
            "OperatorEmail",
            "LogLevel",
            "LogRetentionDays",
            "MetricsNamespace",
            "MaximumConcurrency",
            "Stage",
        ),
    }
    made = [{"Label": {"default": label}, "Parameters": list(names)} for label, names in groups.items()]
    return {"AWS::CloudFormation::Interface": {"ParameterGroups": made}}


def _rules_of_parameters() -> Value:
    return {
        "OneKey": {
            "RuleCondition": {"Fn::Equals": [ref("CreateKmsKey"), "yes"]},
            "Assertions": [
                {
                    "Assert": {"Fn::Equals": [ref("KmsKeyArn"), ""]},
                    "AssertDescription": "Either CreateKmsKey or KmsKeyArn, not both.",
                }
            ],
        }
    }


def _conditions() -> Value:
    def given(name: str) -> Value:
        return {"Fn::Not": [{"Fn::Equals": [ref(name), ""]}]}

    return {
        "InVpc": {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", ref("SubnetIds")]}, ""]}]},
        "CreatesBucket": {"Fn::Equals": [ref("BucketName"), ""]},
        "CreatesKey": {"Fn::Equals": [ref("CreateKmsKey"), "yes"]},
        "GivesKey": given("KmsKeyArn"),
        "HasKey": {"Fn::Or": [{"Condition": "CreatesKey"}, {"Condition": "GivesKey"}]},
        "HasBoundary": given("PermissionsBoundary"),
        "HasOperator": given("OperatorEmail"),
    }


def _vpc() -> Value:
    return when("InVpc", {"SubnetIds": ref("SubnetIds"), "SecurityGroupIds": ref("SecurityGroupIds")})


def _environment() -> Value:
    """What chalicelib/settings.py reads; Lambda itself sets the region."""
    return {
        "PLUMBLINE_STAGE": ref("Stage"),
        "PLUMBLINE_BUCKET": own_bucket(),
        "PLUMBLINE_TABLE": ref("Table"),
        "PLUMBLINE_TOPIC_ARN": ref("AlertsTopic"),
        "PLUMBLINE_MODEL_ROLE_ARN": ref("ModelRoleArn"),
        "PLUMBLINE_WEBHOOK_KEYS": ref("WebhookKeys"),
        "PLUMBLINE_PAGE_KEY": ref("PageKey"),
        "PLUMBLINE_WEBHOOK_IAM": ref("WebhookIam"),
        "PLUMBLINE_METRICS_NAMESPACE": ref("MetricsNamespace"),
        "PLUMBLINE_OUTGOING_ALLOWANCES": ref("OutgoingAllowances"),
        "PLUMBLINE_LOG_LEVEL": ref("LogLevel"),
        "POWERTOOLS_LOG_LEVEL": ref("LogLevel"),
        # Small batches: threads of the linear algebra cost more than they give.
        "OPENBLAS_NUM_THREADS": "1",
    }


# --- Storage, keys, topics -------------------------------------------------------------------------------------------


def _allow(sid: str, service: str, actions: Sequence[str], resource: Value, condition: Mapping[str, Any]) -> Value:
    """A statement of a resource's own policy that lets an AWS service act for this account."""
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": list(actions),
        "Resource": resource,
        "Condition": dict(condition),
    }


_THIS_ACCOUNT = {"StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")}}


def _key(stage: str) -> Mapping[str, Value]:
    """The stage's own key; services that write to an encrypted queue or topic may use it, too."""
    use = ("kms:Decrypt", "kms:GenerateDataKey*")
    logs = sub("arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/lambda/plumbline-${Stage}-*")
    administration = {
        "Sid": "Account",
        "Effect": "Allow",
        "Principal": {"AWS": sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")},
        "Action": "kms:*",
        "Resource": "*",
    }
    encrypted = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": logs}}
    services = (
        _allow("Rules", "events.amazonaws.com", use, "*", _THIS_ACCOUNT),
        _allow("Topics", "sns.amazonaws.com", use, "*", _THIS_ACCOUNT),
        _allow("Alarms", "cloudwatch.amazonaws.com", use, "*", _THIS_ACCOUNT),
        _allow("Logs", "logs.amazonaws.com", (*use, "kms:Encrypt", "kms:DescribeKey"), "*", encrypted),
    )
    return {
        "Key": {
            "Type": "AWS::KMS::Key",
            "Condition": "CreatesKey",
            "DeletionPolicy": "RetainExceptOnCreate",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "Description": f"Plumbline, stage {stage}",
                "EnableKeyRotation": True,
                "KeyPolicy": {"Version": "2012-10-17", "Statement": [administration, *services]},
            },
        },
        "KeyAlias": {
            "Type": "AWS::KMS::Alias",
            "Condition": "CreatesKey",
            "Properties": {"AliasName": f"alias/plumbline-{stage}", "TargetKeyId": ref("Key")},
        },
    }


def _storage(stage: str) -> Mapping[str, Value]:
    kept = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
    by_key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_arn()}
    encryption = when("HasKey", by_key, {"SSEAlgorithm": "AES256"})
    return {
        "Bucket": {
            "Type": "AWS::S3::Bucket",
            "Condition": "CreatesBucket",
            **kept,
            "Properties": {
                "BucketName": sub(f"plumbline-{stage}-${{AWS::AccountId}}-${{AWS::Region}}"),
                "BucketEncryption": {
                    "ServerSideEncryptionConfiguration": [
                        {"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": encryption}
                    ]
                },
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": True,
                    "BlockPublicPolicy": True,
                    "IgnorePublicAcls": True,
                    "RestrictPublicBuckets": True,
                },
                "NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": True}},
                "LifecycleConfiguration": {
                    "Rules": [
                        {
                            "Id": "unfinished-uploads",
                            "Status": "Enabled",
                            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                        }
                    ]
                },
            },
        },
        "BucketPolicy": {
            "Type": "AWS::S3::BucketPolicy",
            "Condition": "CreatesBucket",
            "Properties": {
                "Bucket": ref("Bucket"),
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "EncryptedTransportOnly",
                            "Effect": "Deny",
                            "Principal": "*",
                            "Action": "s3:*",
                            "Resource": [arn("Bucket"), sub("${Bucket.Arn}/*")],
                            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                        }
                    ],
                },
            },
        },
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            **kept,
            "Properties": {
                "TableName": resource_name(stage, "table"),
                "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
                "SSESpecification": when("HasKey", {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": key_arn()}),
            },
        },
    }


def _topics(stage: str) -> Mapping[str, Value]:
    """Alerts are the monitors'; operations is for the pipeline's own health, which must not need the pipeline."""

    def topic(name: str) -> Value:
        properties = {"TopicName": resource_name(stage, name), "KmsMasterKeyId": when("HasKey", key_arn())}
        return {"Type": "AWS::SNS::Topic", "Properties": properties}

    return {
        "AlertsTopic": topic("alerts"),
        "OperationsTopic": topic("operations"),
        "OperationsTopicPolicy": {
            "Type": "AWS::SNS::TopicPolicy",
            "Properties": {
                "Topics": [ref("OperationsTopic")],
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        _allow(
                            "Alarms",
                            "cloudwatch.amazonaws.com",
                            ["sns:Publish"],
                            ref("OperationsTopic"),
                            _THIS_ACCOUNT,
                        )
                    ],
                },
            },
        },
        "OperatorSubscription": {
            "Type": "AWS::SNS::Subscription",
            "Condition": "HasOperator",
            "Properties": {
                "TopicArn": ref("OperationsTopic"),
                "Protocol": "email",
                "Endpoint": ref("OperatorEmail"),
            },
        },
    }


# --- Queues, rules ---------------------------------------------------------------------------------------------------


def _queue(name: str, **properties: Value) -> Value:
    """SQS's own encryption where no key is given: the default AWS managed key would shut EventBridge and SNS out."""
    encryption = {
        "KmsMasterKeyId": when("HasKey", key_arn()),
        "SqsManagedSseEnabled": when("HasKey", NOTHING, True),
    }
    return {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": name, **encryption, **properties}}


def _queues(stage: str) -> Mapping[str, Value]:
    made: dict[str, Value] = {}
    for source in SOURCES:
        name = resource_name(stage, source.queue)
        made[logical(source.queue, "DeadQueue")] = _queue(f"{name}-dead", MessageRetentionPeriod=KEPT)
        made[logical(source.queue, "Queue")] = _queue(
            name,
            VisibilityTimeout=source.visibility,
            MessageRetentionPeriod=KEPT,
            RedrivePolicy={
                "deadLetterTargetArn": arn(logical(source.queue, "DeadQueue")),
                "maxReceiveCount": MAX_RECEIVES,
            },
        )
    return made


def _send_policy(queue: str, statements: Sequence[Value]) -> Value:
    return {
        "Type": "AWS::SQS::QueuePolicy",
        "Properties": {
            "Queues": [ref(queue)],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": list(statements)},
        },
    }


def _rule_arns(name: str) -> Value:
    return sub(f"arn:${{AWS::Partition}}:events:${{AWS::Region}}:${{AWS::AccountId}}:rule/{name}")


def _from_rules(queue: str, name: str) -> Value:
    condition = {"ArnLike": {"aws:SourceArn": _rule_arns(name)}, **_THIS_ACCOUNT}
    return _allow("Rules", "events.amazonaws.com", ["sqs:SendMessage"], arn(queue), condition)


def _from_alerts(queue: str) -> Value:
    condition = {"ArnEquals": {"aws:SourceArn": ref("AlertsTopic")}}
    return _allow("Alerts", "sns.amazonaws.com", ["sqs:SendMessage"], arn(queue), condition)


def _rule(name: str, source: Source, **trigger: Value) -> Value:
    target = {
        "Id": "queue",
        "Arn": arn(logical(source.queue, "Queue")),
        "DeadLetterConfig": {"Arn": arn(logical(source.queue, "DeadQueue"))},
        "RetryPolicy": RETRY,
    }
    return {"Type": "AWS::Events::Rule", "Properties": {"Name": name, "Targets": [target], **trigger}}


def own_folder_pattern(prefix: str) -> Value:
    """The event pattern of one folder of Plumbline's own bucket."""
    return {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [ref("Bucket")]}, "object": {"key": [{"prefix": prefix}]}},
    }


def _rules(stage: str) -> Mapping[str, Value]:
    """One rule per source of AWS events, and the policies of each queue that other services send to.

    What cannot be put on a queue goes to the queue's own dead letters, so that it is redriven like everything else.
    """
    made: dict[str, Value] = {}
    for source in SOURCES:
        name, queue = resource_name(stage, source.queue), logical(source.queue, "Queue")
        dead = logical(source.queue, "DeadQueue")
        if source.topic:
            made[logical(source.queue, "Subscription")] = {
                "Type": "AWS::SNS::Subscription",
                "Properties": {
                    "TopicArn": ref("AlertsTopic"),
                    "Protocol": "sqs",
                    "Endpoint": arn(queue),
                    "RedrivePolicy": {"deadLetterTargetArn": arn(dead)},
                },
            }
            for each in (queue, dead):
                made[f"{each}Policy"] = _send_policy(each, [_from_alerts(each)])
            continue
        allowed = name
        if takes_s3_events(source):
            # The rules of existing buckets are made by `plumbline connect`, under names that begin like this one's.
            allowed = f"{name}-*"
            rule = _rule(f"{name}-own", source, EventPattern=own_folder_pattern(OWN_FOLDERS[source.queue]))
            made[logical(source.queue, "Rule")] = {**rule, "Condition": "CreatesBucket"}
        elif source.pattern is not None:
            made[logical(source.queue, "Rule")] = _rule(name, source, EventPattern=dict(source.pattern))
        elif source.schedule is not None:
            made[logical(source.queue, "Rule")] = _rule(name, source, ScheduleExpression=source.schedule)
        else:
            continue
        for each in (queue, dead):
            made[f"{each}Policy"] = _send_policy(each, [_from_rules(each, allowed)])
    return made


# --- Functions -------------------------------------------------------------------------------------------------------


def _functions(stage: str) -> Mapping[str, Value]:
    """What Chalice cannot say of its functions: their names, log groups, boundaries, and how a queue feeds them."""
    made: dict[str, Value] = {}
    for function in FUNCTIONS:
        made[logical(function, "LogGroup")] = {
            "Type": "AWS::Logs::LogGroup",
            "Properties": {
                "LogGroupName": f"/aws/lambda/{resource_name(stage, function)}",
                "RetentionInDays": ref("LogRetentionDays"),
                "KmsKeyId": when("HasKey", key_arn()),
            },
        }
        made[role_id(function)] = {
            "Properties": {"PermissionsBoundary": when("HasBoundary", ref("PermissionsBoundary"))}
        }
        made[function_id(function)] = {
            "Properties": {
                "FunctionName": resource_name(stage, function),
                "LoggingConfig": {"LogGroup": ref(logical(function, "LogGroup"))},
                "Timeout": WEBHOOK_TIMEOUT,
                "MemorySize": WEBHOOK_MEMORY,
            }
        }
    for source in SOURCES:
        properties = made[function_id(source.function)]["Properties"]
        properties.update(Timeout=source.timeout, MemorySize=source.memory, Events=_event(source))
    return made


def _event(source: Source) -> Value:
    """The queue as a reference under Chalice's own Fn::Sub: a merge replaces texts, but would add another function."""
    mapping = {
        "Queue": sub(f"${{{logical(source.queue, 'Queue')}.Arn}}"),
        "MaximumBatchingWindowInSeconds": source.batching_window,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": ref("MaximumConcurrency")},
    }
    return {f"{function_id(source.function)}SqsEventSource": {"Properties": mapping}}


def _api(stage: str) -> Mapping[str, Value]:
    """A flood of unsigned posts costs what it is let in for: API Gateway refuses the rest."""
    throttled = {"ResourcePath": "/*", "HttpMethod": "*", "ThrottlingRateLimit": 50, "ThrottlingBurstLimit": 100}
    return {
        "RestAPI": {
            "Properties": {
                "Name": resource_name(stage, "labels"),
                "DefinitionBody": {"info": {"title": resource_name(stage, "labels")}},
                "MethodSettings": [throttled],
            }
        }
    }


# --- Alarms, dashboard -----------------------------------------------------------------------------------------------


def _alarm(name: str, description: str, metric: Mapping[str, Value], **settings: Value) -> Value:
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": name,
            "AlarmDescription": description,
            "AlarmActions": [ref("OperationsTopic")],
            "OKActions": [ref("OperationsTopic")],
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "Threshold": 1,
            "Period": 300,
            "EvaluationPeriods": 1,
            "TreatMissingData": "notBreaching",
            **metric,
            **settings,
        },
    }


def _queue_metric(queue: str, name: str) -> Mapping[str, Value]:
    dimension = {"Name": "QueueName", "Value": {"Fn::GetAtt": [queue, "QueueName"]}}
    return {"Namespace": "AWS/SQS", "MetricName": name, "Dimensions": [dimension], "Statistic": "Maximum"}


def _function_metric(function: str, name: str) -> Mapping[str, Value]:
    dimension = {"Name": "FunctionName", "Value": ref(function_id(function))}
    return {"Namespace": "AWS/Lambda", "MetricName": name, "Dimensions": [dimension], "Statistic": "Sum"}


def _alarms(stage: str) -> Mapping[str, Value]:
    """The pipeline's own health; what a monitor finds is not here but in its alerts."""
    made: dict[str, Value] = {}
    for source in SOURCES:
        name = resource_name(stage, source.queue)
        made[logical(source.queue, "DeadAlarm")] = _alarm(
            f"{name}-dead",
            f"Messages wait in {name}-dead: {source.function} failed on them, or they could not be put on {name}.",
            _queue_metric(logical(source.queue, "DeadQueue"), "ApproximateNumberOfMessagesVisible"),
        )
        made[logical(source.queue, "LateAlarm")] = _alarm(
            f"{name}-late",
            f"The oldest message of {name} is older than {source.late} seconds: {source.function} does not keep up.",
            _queue_metric(logical(source.queue, "Queue"), "ApproximateAgeOfOldestMessage"),
            Threshold=source.late,
            EvaluationPeriods=2,
        )
    for function in FUNCTIONS:
        name = resource_name(stage, function)
        made[logical(function, "ErrorsAlarm")] = _alarm(
            f"{name}-errors", f"{name} crashed or ran out of time or memory.", _function_metric(function, "Errors")
        )
        made[logical(function, "ThrottlesAlarm")] = _alarm(
            f"{name}-throttles",
            f"{name} was refused a place to run: the account's or its own concurrency is used up.",
            _function_metric(function, "Throttles"),
            EvaluationPeriods=3,
        )
    made["OverdueAlarm"] = _alarm(
        resource_name(stage, "windows-overdue"),
        "Windows wait for their evaluation for more than an hour, or the clock does not run.",
        _counted_metric(stage, OVERDUE_METRIC),
        Period=900,
        EvaluationPeriods=2,
        TreatMissingData="breaching",
    )
    for metric, description in FAILURES.items():
        made[f"{metric}Alarm"] = _alarm(
            resource_name(stage, _dashed(metric)), description, _counted_metric(stage, metric)
        )
    name = resource_name(stage, "labels")
    made["LabelsFailedAlarm"] = _alarm(
        f"{name}-5xx",
        f"The label webhook answered with 5XX: its keys cannot be read, or {WEBHOOK} failed. Senders must repeat.",
        {
            "Namespace": "AWS/ApiGateway",
            "MetricName": "5XXError",
            "Dimensions": [{"Name": "ApiName", "Value": name}],
            "Statistic": "Sum",
        },
    )
    return made


def _dashed(metric: str) -> str:
    """ "AlertsRefused" -> "alerts-refused"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", metric).lower()


def _counted_metric(stage: str, metric: str) -> Mapping[str, Value]:
    return {
        "Namespace": COUNTED_NAMESPACE,
        "MetricName": metric,
        "Dimensions": [{"Name": "service", "Value": f"plumbline-{stage}"}],
        "Statistic": "Sum",
    }


def _dashboard(stage: str) -> Mapping[str, Value]:
    """Queues, dead letters, functions and what they count, on one page."""
    dead = [f"{resource_name(stage, source.queue)}-dead" for source in SOURCES]
    queues = [resource_name(stage, source.queue) for source in SOURCES]
    functions = [resource_name(stage, function) for function in FUNCTIONS]
    service = f"plumbline-{stage}"
    counted = ("Messages", "Failures", "PermanentFailures", "GroundTruthPosts", "AlertsRefused", OVERDUE_METRIC)

    def rows(namespace: str, metric: str, dimension: str, names: Sequence[str]) -> list[Value]:
        return [[namespace, metric, dimension, name] for name in names]

    graphs = (
        ("Dead letters", "Maximum", rows("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", dead)),
        ("Age of the oldest message", "Maximum", rows("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queues)),
        ("What the functions count", "Sum", [[COUNTED_NAMESPACE, name, "service", service] for name in counted]),
        ("Errors", "Sum", rows("AWS/Lambda", "Errors", "FunctionName", functions)),
        ("Throttles", "Sum", rows("AWS/Lambda", "Throttles", "FunctionName", functions)),
        ("Duration", "p99", rows("AWS/Lambda", "Duration", "FunctionName", functions)),
    )
    widgets = [
        {
            "type": "metric",
            "x": 12 * (at % 2),
            "y": 7 * (at // 2),
            "width": 12,
            "height": 7,
            "properties": {
                "title": title,
                "region": "${AWS::Region}",
                "stat": statistic,
                "period": 300,
                "view": "timeSeries",
                "metrics": metrics,
            },
        }
        for at, (title, statistic, metrics) in enumerate(graphs)
    ]
    body = json.dumps({"widgets": widgets}, sort_keys=True)
    return {
        "Dashboard": {
            "Type": "AWS::CloudWatch::Dashboard",
            "Properties": {"DashboardName": resource_name(stage, "health"), "DashboardBody": sub(body)},
        }
    }


def _outputs() -> Value:
    return {
        "BucketName": {"Description": "PLUMBLINE_BUCKET of the command line", "Value": own_bucket()},
        "TableName": {"Description": "PLUMBLINE_TABLE", "Value": ref("Table")},
        "AlertsTopicArn": {"Description": "PLUMBLINE_TOPIC_ARN", "Value": ref("AlertsTopic")},
        "OperationsTopicArn": {"Description": "Alarms about the pipeline itself", "Value": ref("OperationsTopic")},
        "CapturesQueueArn": {"Description": "Target of rules of capture buckets", "Value": arn("CapturesQueue")},
        "GroundTruthQueueArn": {"Description": "Target of rules of label buckets", "Value": arn("GroundTruthQueue")},
    }
