"""Do the policies fit what the functions call? Compares recorded calls with infra/policies.py, both ways.

Knows which IAM action and which resource each boto3 operation is, and how a template's values resolve for one
deployment. Not here: how calls are recorded (trials/packaged).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra import policies
from infra.policies import Statement
from infra.template import FUNCTIONS

Call = tuple[str, str, Mapping[str, str]]
"""boto3's service, the operation, and the parameters that are text."""

_AUTHORIZATION = "https://docs.aws.amazon.com/service-authorization/latest/reference"
AUTHORIZATION_PAGES: Mapping[str, str] = {
    "s3": f"{_AUTHORIZATION}/list_amazons3.html",
    "dynamodb": f"{_AUTHORIZATION}/list_amazondynamodb.html",
    "sqs": f"{_AUTHORIZATION}/list_amazonsqs.html",
    "sns": f"{_AUTHORIZATION}/list_amazonsns.html",
    "ssm": f"{_AUTHORIZATION}/list_awssystemsmanager.html",
    "secretsmanager": f"{_AUTHORIZATION}/list_awssecretsmanager.html",
    "cloudwatch": f"{_AUTHORIZATION}/list_amazoncloudwatch.html",
    "sagemaker": f"{_AUTHORIZATION}/list_amazonsagemaker.html",
}
"""Where each service says which action an operation is, and which resources it takes."""


@dataclass(frozen=True)
class Deployment:
    """One deployment of a stage: what the template's names resolve to."""

    stage: str
    account: str
    region: str
    parameters: Mapping[str, Any]

    def arn(self, service: str, resource: str) -> str:
        """An ARN of this account and region."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def resolve(self, value: Any) -> Any:
        """A value of infra/policies.py as CloudFormation would give it to IAM. Raises KeyError for an unknown one."""
        if not isinstance(value, Mapping):
            return [self.resolve(each) for each in value] if isinstance(value, list) else value
        [(function, argument)] = value.items()
        if function == "Ref":
            return self._ref(argument)
        if function == "Fn::GetAtt":
            return self._resource(argument[0])
        if function == "Fn::If":
            condition, yes, no = argument
            return self.resolve(yes if self.holds(condition) else no)
        if function == "Fn::Sub":
            text, variables = argument if isinstance(argument, list) else (argument, {})
            found = {name: self.resolve(each) for name, each in variables.items()}
            return re.sub(r"\$\{([\w:]+)\}", lambda match: str(found.get(match[1]) or self._ref(match[1])), text)
        raise KeyError(function)

    def holds(self, condition: str) -> bool:
        """A condition of the template."""
        if condition == "CreatesBucket":
            return not self.parameters.get("BucketName")
        if condition.startswith("Has") and condition != "HasKey":
            return bool(self.parameters.get(condition.removeprefix("Has")))
        return False  # neither a VPC nor a key

    def _ref(self, name: str) -> Any:
        known = {
            "AWS::Partition": "aws",
            "AWS::Region": self.region,
            "AWS::AccountId": self.account,
            "Stage": self.stage,
            "AlertsTopic": self.arn("sns", f"plumbline-{self.stage}-alerts"),
            "Bucket": f"plumbline-{self.stage}-{self.account}-{self.region}",
        }
        return known[name] if name in known else self.parameters[name]

    def _resource(self, name: str) -> str:
        if name == "Table":
            return self.arn("dynamodb", f"table/plumbline-{self.stage}-table")
        if name.endswith("Queue"):
            words = re.findall(r"[A-Z][a-z]*", name.removesuffix("Queue"))
            return self.arn("sqs", f"plumbline-{self.stage}-{'-'.join(words).lower()}")
        raise KeyError(name)


# --- Operations to actions -------------------------------------------------------------------------------------------

Needs = Callable[[Deployment, Mapping[str, str]], list[tuple[str, str]]]


def _s3(action: str, *, bucket: bool = False) -> Needs:
    def needs(_: Deployment, names: Mapping[str, str]) -> list[tuple[str, str]]:
        place = names["Bucket"] if bucket else f"{names['Bucket']}/{names['Key']}"
        return [(f"s3:{action}", f"arn:aws:s3:::{place}")]

    return needs


def _named(action: str, resource: str, *more: str) -> Needs:
    """A service's action on resources whose names are parameters: "endpoint/{EndpointName}"."""
    service = action.partition(":")[0]

    def needs(deployment: Deployment, names: Mapping[str, str]) -> list[tuple[str, str]]:
        return [(action, deployment.arn(service, each.format(**names))) for each in (resource, *more)]

    return needs


def _by_arn(action: str, parameter: str) -> Needs:
    return lambda deployment, names: [(action, names[parameter])]


def _everything(action: str) -> Needs:
    return lambda deployment, names: [(action, "*")]


def _send(deployment: Deployment, names: Mapping[str, str]) -> list[tuple[str, str]]:
    return [("sqs:SendMessage", deployment.arn("sqs", names["QueueUrl"].rpartition("/")[2]))]


def _parameter(deployment: Deployment, names: Mapping[str, str]) -> list[tuple[str, str]]:
    return [("ssm:GetParameter", deployment.arn("ssm", f"parameter/{names['Name'].lstrip('/')}"))]


OPERATIONS: Mapping[tuple[str, str], Needs] = {
    # GetObject, PutObject and DeleteObject are actions of their own; ListObjectsV2 is s3:ListBucket.
    ("s3", "GetObject"): _s3("GetObject"),
    ("s3", "PutObject"): _s3("PutObject"),
    ("s3", "DeleteObject"): _s3("DeleteObject"),
    ("s3", "ListObjectsV2"): _s3("ListBucket", bucket=True),
    ("dynamodb", "GetItem"): _named("dynamodb:GetItem", "table/{TableName}"),
    ("dynamodb", "PutItem"): _named("dynamodb:PutItem", "table/{TableName}"),
    ("dynamodb", "DeleteItem"): _named("dynamodb:DeleteItem", "table/{TableName}"),
    ("dynamodb", "Query"): _named("dynamodb:Query", "table/{TableName}"),
    # SendMessageBatch has no action of its own.
    ("sqs", "SendMessageBatch"): _send,
    ("sqs", "GetQueueUrl"): _named("sqs:GetQueueUrl", "{QueueName}"),
    ("sns", "Publish"): _by_arn("sns:Publish", "TopicArn"),
    ("ssm", "GetParameter"): _parameter,
    # A secret's ARN ends in six characters that Secrets Manager adds.
    ("secretsmanager", "GetSecretValue"): _named("secretsmanager:GetSecretValue", "secret:{SecretId}-abcdef"),
    ("cloudwatch", "PutMetricData"): _everything("cloudwatch:PutMetricData"),
    ("sagemaker", "StartPipelineExecution"): _named("sagemaker:StartPipelineExecution", "pipeline/{PipelineName}"),
    ("sagemaker", "DescribePipelineExecution"): _by_arn("sagemaker:DescribePipelineExecution", "PipelineExecutionArn"),
    ("sagemaker", "ListPipelineExecutionSteps"): _by_arn(
        "sagemaker:ListPipelineExecutionSteps", "PipelineExecutionArn"
    ),
    ("sagemaker", "DescribeModelPackage"): _by_arn("sagemaker:DescribeModelPackage", "ModelPackageName"),
    ("sagemaker", "UpdateModelPackage"): _by_arn("sagemaker:UpdateModelPackage", "ModelPackageArn"),
    ("sagemaker", "CreateModel"): _named("sagemaker:CreateModel", "model/{ModelName}"),
    ("sagemaker", "DescribeEndpoint"): _named("sagemaker:DescribeEndpoint", "endpoint/{EndpointName}"),
    ("sagemaker", "DescribeEndpointConfig"): _named(
        "sagemaker:DescribeEndpointConfig", "endpoint-config/{EndpointConfigName}"
    ),
    ("sagemaker", "CreateEndpointConfig"): _named(
        "sagemaker:CreateEndpointConfig", "endpoint-config/{EndpointConfigName}"
    ),
    ("sagemaker", "DeleteEndpointConfig"): _named(
        "sagemaker:DeleteEndpointConfig", "endpoint-config/{EndpointConfigName}"
    ),
    # These two are checked against the endpoint and against the configuration.
    ("sagemaker", "CreateEndpoint"): _named(
        "sagemaker:CreateEndpoint", "endpoint/{EndpointName}", "endpoint-config/{EndpointConfigName}"
    ),
    ("sagemaker", "UpdateEndpoint"): _named(
        "sagemaker:UpdateEndpoint", "endpoint/{EndpointName}", "endpoint-config/{EndpointConfigName}"
    ),
    ("sagemaker", "DeleteEndpoint"): _named("sagemaker:DeleteEndpoint", "endpoint/{EndpointName}"),
    ("sagemaker", "DescribeProcessingJob"): _named(
        "sagemaker:DescribeProcessingJob", "processing-job/{ProcessingJobName}"
    ),
    ("sagemaker-runtime", "InvokeEndpoint"): _named("sagemaker:InvokeEndpoint", "endpoint/{EndpointName}"),
}


# --- The comparison --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """What the policies lack, what nothing used, and which actions each function needed."""

    missing: tuple[str, ...]
    unused: tuple[str, ...]
    used: Mapping[str, Mapping[str, int]]
    """function -> action -> how many calls."""


def granted(deployment: Deployment, function: str) -> Iterator[tuple[Statement, str, str]]:
    """(statement, action, resource pattern) of everything that the function's own calls may use in this deployment."""
    for statement in policies.CALLED[function]:
        if statement.only_if and not deployment.holds(statement.only_if):
            continue
        found = deployment.resolve(statement.resources)
        for resource in found if isinstance(found, list) else [found]:
            for action in statement.actions:
                yield statement, action, resource


def matches(pattern: str, resource: str) -> bool:
    """IAM's match of a resource: `*` is any text, `?` any character, everything else itself."""
    return fnmatch.fnmatchcase(resource, pattern.replace("[", "[[]"))


def compare(
    deployment: Deployment,
    calls: Mapping[str, Sequence[Call]],
    excused: Mapping[tuple[str, str, str], str] | None = None,
) -> Comparison:
    """Every recorded call is granted, and every grant was used or is excused.

    `excused`: (function, action, statement id) -> why no replay calls it. Raises KeyError for an operation that
    OPERATIONS does not know.
    """
    excused = excused or {}
    missing: dict[str, None] = {}
    unused: list[str] = []
    used: dict[str, dict[str, int]] = {}
    for function in FUNCTIONS:
        grants = list(granted(deployment, function))
        touched: set[tuple[str, str, str]] = set()
        counts: dict[str, int] = {}
        for service, operation, names in calls.get(function, ()):
            for action, resource in OPERATIONS[service, operation](deployment, names):
                counts[action] = counts.get(action, 0) + 1
                fitting = [
                    (statement.sid, action, pattern)
                    for statement, granted_action, pattern in grants
                    if granted_action == action and matches(pattern, resource)
                ]
                touched.update(fitting)
                if not fitting:
                    missing[f"{function}: {action} on {_without_instance(resource, deployment.account)}"] = None
        unused += [
            f"{function}: {action} on {pattern} (statement {statement.sid})"
            for statement, action, pattern in grants
            if (statement.sid, action, pattern) not in touched and (function, action, statement.sid) not in excused
        ]
        used[function] = dict(sorted(counts.items()))
    return Comparison(tuple(missing), tuple(unused), used)


def _without_instance(resource: str, account: str) -> str:
    """An ARN with its digests and hours left out, so that a thousand calls are one line."""
    instance = r"[0-9a-f]{10,}|\d{4}/\d{2}/\d{2}/\d{2}|\d{4}-\d{2}-\d{2}T[\d:]+Z"
    return re.sub(instance, lambda match: match[0] if match[0] == account else "…", resource)


def table(comparison: Comparison) -> str:
    """Function x actions with the number of calls; then what no client call shows and where AWS asks for it."""
    width = max(map(len, FUNCTIONS))
    lines = ["called by the functions' clients, with the number of calls:"]
    for function in FUNCTIONS:
        shown = ", ".join(f"{action} {count}" for action, count in comparison.used[function].items())
        lines.append(f"  {function:{width}}  {shown}")
    lines.append("shown by no client call, and where AWS asks for it:")
    holders: dict[str, list[str]] = {}
    for function in FUNCTIONS:
        for action in dict.fromkeys(action for each in policies.uncalled(function) for action in each.actions):
            holders.setdefault(action, []).append(function)
    for action, page in sorted(policies.SOURCES_OF_UNCALLED.items()):
        who = "every function" if len(holders[action]) == len(FUNCTIONS) else ", ".join(holders[action])
        who = "every function with a queue" if len(holders[action]) == len(FUNCTIONS) - 1 else who
        lines.append(f"  {action} ({who}): {page}")
    return "\n".join(lines)
