"""What each function may do: one hand-written list of statements per function, as data.

Knows which AWS calls a function makes and on which of the stage's resources. Not here: how roles are made
(infra/template.py) and whether the lists are right: infra/permissions.py compares them with what a replay calls.

Three limits hold by construction and are tested: only `retrain_claimed` starts pipelines, only `promotion_claimed`
changes endpoints, models and model packages, and the webhook writes nothing but ground truth and its receipts.

A wildcard stands behind the stage's own name, or its statement says why it is wider (`reason`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.topology import PAGE_SECRETS, ROUTE_SECRETS, SOURCES, WEBHOOK, WEBHOOK_SECRETS
from infra.expressions import Value, arn, logical, ref, sub, when


@dataclass(frozen=True)
class Statement:
    """One Allow. `only_if` names a condition of the template; `condition` is IAM's own; `reason` excuses a wildcard."""

    sid: str
    actions: tuple[str, ...]
    resources: Value
    only_if: str = ""
    condition: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def document(self) -> Value:
        """The statement in a policy document of the template."""
        statement = {**self.allow(), "Resource": self.resources}
        return when(self.only_if, statement) if self.only_if else statement

    def allow(self) -> dict[str, Any]:
        """The statement without its resources and the template's condition."""
        statement: dict[str, Any] = {"Sid": self.sid, "Effect": "Allow", "Action": list(self.actions)}
        if self.condition:
            statement["Condition"] = dict(self.condition)
        return statement


# What a stage's file says of existing data and models, by ARN (infra/existing.py); {"Ref": …} names one of them.
LISTS = (
    "CaptureObjects",
    "GroundTruthObjects",
    "ReportObjects",
    "BaselineObjects",
    "RetrainingObjects",
    "MonitorReportObjects",
    "ExistingBuckets",
    "DataKeyArns",
    "EndpointArns",
    "PipelineArns",
    "ModelPackageArns",
)
_HAS_LIST = frozenset(f"Has{name}" for name in LISTS)
_NAMED = "Folders, names and beginnings of names that the stage's file holds: its owner chose how wide they are."

# The lists that name what lies in the user's own buckets, and where the same lies in Plumbline's bucket.
PLACES = {
    "Captures": ("CaptureObjects", "captures"),
    "GroundTruth": ("GroundTruthObjects", "ground-truth"),
    "Reports": ("ReportObjects", "reports"),
    "BaselineFiles": ("BaselineObjects", "baseline"),
    "Retraining": ("RetrainingObjects", "retraining"),
    "MonitorReports": ("MonitorReportObjects", "model-monitor-reports"),
}


def own_object(key: str) -> Value:
    """The ARN of objects in Plumbline's bucket."""
    return sub(f"arn:${{AWS::Partition}}:s3:::${{Bucket}}/{key}", Bucket=own_bucket())


def own_bucket() -> Value:
    """The name of Plumbline's bucket: the template's, or the existing one that the parameter names."""
    return when("CreatesBucket", ref("Bucket"), ref("BucketName"))


def _sagemaker(resource: str) -> Value:
    return sub(f"arn:${{AWS::Partition}}:sagemaker:${{AWS::Region}}:${{AWS::AccountId}}:{resource}")


def _table(*operations: str) -> Iterator[Statement]:
    yield Statement("Table", tuple(f"dynamodb:{operation}" for operation in operations), arn("Table"))


def _objects(sid: str, actions: tuple[str, ...], *keys: str) -> Iterator[Statement]:
    """Objects of Plumbline's own bucket."""
    yield Statement(sid, actions, [own_object(key) for key in keys])


def _place(name: str, *operations: str) -> Iterator[Statement]:
    """Objects of one of the user's places: in Plumbline's bucket, and where the list says."""
    listed, folder = PLACES[name]
    actions = tuple(f"s3:{operation}" for operation in operations)
    yield Statement(name, actions, own_object(f"{folder}/*"))
    yield _existing(f"{name}Existing", actions, listed)


def _existing(sid: str, actions: tuple[str, ...], listed: str) -> Statement:
    return Statement(sid, actions, ref(listed), only_if=f"Has{listed}", reason=_NAMED)


def _buckets() -> Iterator[Statement]:
    """Names of objects, not what is in them; without a prefix, because S3 knows none when it chooses 403 or 404."""
    own = sub("arn:${AWS::Partition}:s3:::${Bucket}", Bucket=own_bucket())
    yield Statement("Buckets", ("s3:ListBucket",), own)
    yield _existing("BucketsExisting", ("s3:ListBucket",), "ExistingBuckets")


def _queues(*queues: str) -> Iterator[Statement]:
    resources = [arn(logical(queue, "Queue")) for queue in queues]
    yield Statement("Send", ("sqs:SendMessage", "sqs:GetQueueUrl"), resources)


def _alerts() -> Iterator[Statement]:
    yield Statement("Alerts", ("sns:Publish",), ref("AlertsTopic"))


def _secrets(*names: str) -> Iterator[Statement]:
    parameter = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/plumbline/${Stage}/"
    secret = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:plumbline/${Stage}/"
    yield Statement("Parameters", ("ssm:GetParameter",), [sub(f"{parameter}{name}*") for name in names])
    yield Statement("Secrets", ("secretsmanager:GetSecretValue",), [sub(f"{secret}{name}*") for name in names])


DEFINITIONS = "plumbline/facts/*/definitions/*"
BASELINES = "plumbline/payload/*/baselines/*"
QUARANTINE = "plumbline/payload/*/quarantine/*"
LABEL_CONTAINERS = "plumbline/payload/*/labels/*"

_GET, _PUT = ("s3:GetObject",), ("s3:PutObject",)

_EVERY_ENDPOINT = (
    "The clock and the events ask endpoints that a definition names; a new monitor must not need a new deployment."
)
_EVERY_EXECUTION = (
    "SageMaker tells of every execution in the account; describing one is the only way to see whose it is."
)
_FORMER_CONFIGURATION = (
    "Given back to its first champion, an endpoint gets the configuration that its owner named; which endpoints may be "
    "updated is what the statement Promote says."
)
_EVERY_PACKAGE = "The pipelines that are retrained choose the group that they register in; reading changes nothing."


def _describe(*kinds: str) -> Iterator[Statement]:
    """Reads of what is the user's own, in this account and region only."""
    known = {
        "endpoint": ("Endpoints", ("DescribeEndpoint",), "endpoint/*", _EVERY_ENDPOINT),
        "endpoint-config": ("EndpointConfigs", ("DescribeEndpointConfig",), "endpoint-config/*", _EVERY_ENDPOINT),
        "execution": (
            "Executions",
            ("DescribePipelineExecution",),
            "pipeline/*/execution/*",
            _EVERY_EXECUTION,
        ),
        "steps": ("Steps", ("ListPipelineExecutionSteps",), "pipeline/*/execution/*", _EVERY_EXECUTION),
        "job": ("Jobs", ("DescribeProcessingJob",), "processing-job/*", _EVERY_EXECUTION),
        "package": ("Packages", ("DescribeModelPackage",), "model-package/*", _EVERY_PACKAGE),
    }
    for kind in kinds:
        sid, actions, resource, reason = known[kind]
        yield Statement(
            f"Describe{sid}", tuple(f"sagemaker:{each}" for each in actions), _sagemaker(resource), reason=reason
        )


_OWN_ENDPOINTS = ("endpoint/plumbline-${Stage}-*", "endpoint-config/plumbline-${Stage}-*")


def _own_sagemaker(sid: str, actions: tuple[str, ...], *resources: str) -> Iterator[Statement]:
    yield Statement(sid, tuple(f"sagemaker:{each}" for each in actions), [_sagemaker(each) for each in resources])


CALLED: Mapping[str, tuple[Statement, ...]] = {
    "capture_landed": (
        *_table("GetItem", "PutItem", "Query"),
        *_objects("Definitions", _GET, DEFINITIONS, BASELINES),
        *_objects("Quarantine", _PUT, QUARANTINE),
        *_place("Captures", "GetObject"),
        *_place("BaselineFiles", "GetObject"),
        *_alerts(),
    ),
    WEBHOOK: (
        *_table("GetItem", "PutItem", "Query"),
        *_objects("Definitions", _GET, DEFINITIONS),
        *_place("GroundTruth", "PutObject"),
        *_secrets(WEBHOOK_SECRETS, PAGE_SECRETS),
    ),
    "ground_truth_landed": (
        *_table("GetItem", "PutItem", "DeleteItem", "Query"),
        *_objects("Definitions", _GET, DEFINITIONS, "plumbline/payload/*/ids/*"),
        *_objects("Quarantine", _PUT, QUARANTINE),
        *_objects("Filters", (*_GET, *_PUT), "plumbline/payload/*/filters/*", "plumbline/payload/*/filter-checks/*"),
        *_objects("LabelContainers", (*_GET, *_PUT), LABEL_CONTAINERS),
        *_objects("Filtered", ("s3:DeleteObject",), "plumbline/payload/*/ids/*"),
        *_place("GroundTruth", "GetObject"),
        *_buckets(),
    ),
    "windows_due": (
        *_table("GetItem", "PutItem", "Query"),
        *_objects("Definitions", _GET, DEFINITIONS),
        *_queues(
            *("clock", "windows", "ground-truth", "retrain-claims", "promotion-claims"),
            *("pipelines", "model-packages", "endpoints"),
        ),
        *_describe("endpoint", "endpoint-config", "execution", "package"),
        *_alerts(),
    ),
    "window_due": (
        *_table("GetItem", "PutItem", "DeleteItem", "Query"),
        *_objects("Definitions", _GET, DEFINITIONS, BASELINES, LABEL_CONTAINERS),
        *_objects(
            "Derived",
            (*_GET, *_PUT),
            "plumbline/payload/*/measured/*",
            "plumbline/payload/*/window-labels/*",
            "plumbline/payload/*/revisions/*",
            "plumbline/payload/*/surrogates/*",
            "plumbline/facts/*/retraining/*",
        ),
        *_objects(
            "Superseded",
            ("s3:DeleteObject",),
            "plumbline/payload/*/measured/*",
            "plumbline/payload/*/window-labels/*",
        ),
        *_objects("Written", _PUT, "plumbline/payload/*/ids/*", "plumbline/facts/*/decisions/*"),
        *_place("Captures", "GetObject"),
        *_place("GroundTruth", "GetObject"),
        *_place("BaselineFiles", "GetObject"),
        *_place("Reports", "PutObject", "DeleteObject"),
        *_buckets(),
        *_queues("ground-truth", "retrain-claims", "promotion-claims"),
        *_alerts(),
        Statement(
            "Metrics",
            ("cloudwatch:PutMetricData",),
            "*",
            condition={"StringEquals": {"cloudwatch:namespace": ref("MetricsNamespace")}},
            reason="PutMetricData has no resources; its namespace is the only limit that IAM knows.",
        ),
        *_own_sagemaker("Score", ("InvokeEndpoint",), "endpoint/plumbline-${Stage}-*"),
    ),
    "execution_finished": (
        *_table("GetItem", "PutItem", "Query"),
        *_objects("Definitions", _GET, DEFINITIONS),
        *_place("MonitorReports", "GetObject"),
        *_describe("job"),
        *_alerts(),
    ),
    "alarm_changed": (
        *_table("GetItem", "PutItem", "Query"),
        *_objects("Definitions", _GET, DEFINITIONS),
    ),
    "retrain_claimed": (
        *_table("GetItem", "PutItem"),
        *_objects("Definitions", _GET, DEFINITIONS),
        _existing("Retrain", ("sagemaker:StartPipelineExecution",), "PipelineArns"),
        *_alerts(),
    ),
    "promotion_claimed": (
        *_table("GetItem", "PutItem", "Query"),
        *_objects("Definitions", _GET, DEFINITIONS, "plumbline/facts/*/retraining/*"),
        *_objects("Baselines", _PUT, BASELINES),
        *_place("Reports", "GetObject"),
        *_describe("endpoint", "endpoint-config", "package"),
        _existing("Approve", ("sagemaker:UpdateModelPackage",), "ModelPackageArns"),
        *_own_sagemaker("Models", ("CreateModel",), "model/plumbline-${Stage}-*"),
        *_own_sagemaker("Configurations", ("CreateEndpointConfig", "DeleteEndpointConfig"), _OWN_ENDPOINTS[1]),
        *_own_sagemaker("Pool", ("CreateEndpoint",), *_OWN_ENDPOINTS),
        *_own_sagemaker("PoolEnds", ("DeleteEndpoint", "InvokeEndpoint"), _OWN_ENDPOINTS[0]),
        _existing("Promote", ("sagemaker:UpdateEndpoint",), "EndpointArns"),
        Statement(
            "PromoteTo",
            ("sagemaker:UpdateEndpoint",),
            _sagemaker("endpoint-config/*"),
            reason=_FORMER_CONFIGURATION,
        ),
        *_alerts(),
    ),
    "pipeline_finished": (
        *_table("GetItem", "PutItem"),
        *_objects("Definitions", _GET, DEFINITIONS),
        *_place("Retraining", "GetObject"),
        *_describe("execution", "steps", "package"),
        *_queues("promotion-claims"),
        *_alerts(),
    ),
    "model_package_changed": (
        *_table("GetItem", "PutItem"),
        *_objects("Definitions", _GET, DEFINITIONS),
        *_describe("package"),
        *_queues("promotion-claims"),
        *_alerts(),
    ),
    "endpoint_changed": (
        *_table("GetItem", "PutItem", "Query"),
        *_objects("Definitions", _GET, DEFINITIONS),
        *_describe("endpoint", "endpoint-config"),
        *_queues("promotion-claims"),
        *_alerts(),
    ),
    "alert_published": (
        *_table("GetItem", "PutItem"),
        *_objects("Definitions", _GET, DEFINITIONS),
        *_queues("alerts"),
        *_secrets(ROUTE_SECRETS),
    ),
}
"""Function -> what its own code calls through a client: infra/permissions.py finds each of these in a replay."""


# These ask for objects that may not be there and list nothing: without s3:ListBucket the answer would be 403, not 404.
LOOK_FOR_OBJECTS = ("capture_landed", "execution_finished", "pipeline_finished")

# S3 uses these keys of the captures and labels on behalf of the reader (Decrypt) or writer (GenerateDataKey).
DATA_KEYS: Mapping[str, tuple[str, ...]] = {
    "capture_landed": ("kms:Decrypt", "kms:GenerateDataKey"),
    "ground_truth_landed": ("kms:Decrypt", "kms:GenerateDataKey"),
    "window_due": ("kms:Decrypt", "kms:GenerateDataKey"),
    "promotion_claimed": ("kms:Decrypt", "kms:GenerateDataKey"),
    "execution_finished": ("kms:Decrypt",),
    "pipeline_finished": ("kms:Decrypt",),
    WEBHOOK: ("kms:GenerateDataKey",),
}


def uncalled(function: str) -> tuple[Statement, ...]:
    """What a function needs and no client call of its code shows; `SOURCES_OF_UNCALLED` says where AWS asks for it."""
    statements = [
        Statement("Logs", ("logs:CreateLogStream", "logs:PutLogEvents"), arn(logical(function, "LogGroup"))),
        Statement("StageKey", ("kms:Decrypt", "kms:GenerateDataKey"), key_arn(), only_if="HasKey"),
        Statement(
            "Network",
            (
                "ec2:CreateNetworkInterface",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSubnets",
                "ec2:DeleteNetworkInterface",
                "ec2:AssignPrivateIpAddresses",
                "ec2:UnassignPrivateIpAddresses",
            ),
            "*",
            only_if="InVpc",
            reason="Lambda makes the interfaces itself, with names and ids that are not known before; only in a VPC.",
        ),
    ]
    if function in LOOK_FOR_OBJECTS:
        statements += _buckets()
    if function in DATA_KEYS:
        statements.append(_existing("DataKeys", DATA_KEYS[function], "DataKeyArns"))
    for source in SOURCES:
        if source.function == function:
            statements.append(
                Statement(
                    "Poll",
                    ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
                    arn(logical(source.queue, "Queue")),
                )
            )
    if function == "promotion_claimed":
        statements.append(
            Statement(
                "PassModelRole",
                ("iam:PassRole",),
                ref("ModelRoleArn"),
                condition={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            )
        )
    return tuple(statements)


_GUIDE = "https://docs.aws.amazon.com/lambda/latest/dg"
SOURCES_OF_UNCALLED: Mapping[str, str] = {
    "logs:CreateLogStream": f"{_GUIDE}/lambda-intro-execution-role.html",
    "logs:PutLogEvents": f"{_GUIDE}/lambda-intro-execution-role.html",
    "kms:Decrypt": "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html",
    "kms:GenerateDataKey": (
        "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html"
    ),
    "ec2:CreateNetworkInterface": f"{_GUIDE}/configuration-vpc.html",
    "ec2:DescribeNetworkInterfaces": f"{_GUIDE}/configuration-vpc.html",
    "ec2:DescribeSubnets": f"{_GUIDE}/configuration-vpc.html",
    "ec2:DeleteNetworkInterface": f"{_GUIDE}/configuration-vpc.html",
    "ec2:AssignPrivateIpAddresses": f"{_GUIDE}/configuration-vpc.html",
    "ec2:UnassignPrivateIpAddresses": f"{_GUIDE}/configuration-vpc.html",
    "sqs:ReceiveMessage": f"{_GUIDE}/services-sqs-configure.html",
    "sqs:DeleteMessage": f"{_GUIDE}/services-sqs-configure.html",
    "sqs:GetQueueAttributes": f"{_GUIDE}/services-sqs-configure.html",
    "s3:ListBucket": "https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html",
    "iam:PassRole": "https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html",
}


def key_arn() -> Value:
    """The key of the stage, where `HasKey`: the existing one that the parameter names, or the template's own."""
    return when("GivesKey", ref("KmsKeyArn"), arn("Key"))


def statements(function: str) -> tuple[Statement, ...]:
    """Everything that a function may do. Raises KeyError for a function that has no list."""
    return (*CALLED[function], *uncalled(function))


def document(function: str) -> Value:
    """The policy document of a function's role, without what the stage's file names."""
    own = [each.document() for each in statements(function) if each.only_if not in _HAS_LIST]
    return {"Version": "2012-10-17", "Statement": own}


def existing(function: str) -> tuple[Statement, ...]:
    """The statements of a function on what the stage's file names."""
    return tuple(each for each in statements(function) if each.only_if in _HAS_LIST)


def reasons() -> Mapping[tuple[str, str], str]:
    """(function, statement id) -> why its wildcard is wider than the stage's own name."""
    return {(function, each.sid): each.reason for function in CALLED for each in statements(function) if each.reason}
