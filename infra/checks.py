"""The checks of a built package, one function each: the template as AWS gets it, and the zips.

Each check reads what was built and returns its faults, one line each; none trusts infra/template.py, whose output may
have been merged to nothing (a renamed handler leaves a stray resource, not an error). AWS's limits are named with the
page that states them. Not here: how a package is built.
"""

from __future__ import annotations

import ast
import copy
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.topology import SOURCES, WEBHOOK
from infra import existing, policies
from infra.expressions import logical
from infra.template import (
    FAILURES,
    FUNCTIONS,
    KEPT,
    KEY_REASONS,
    OVERDUE_METRIC,
    function_id,
    role_id,
)
from plumbline.cli.account.bucket_rules import PATTERN_LIMIT

# Lambda Developer Guide, "Lambda quotas": 50 MB zipped for direct upload, 250 MB unzipped with layers. The second is
# our own: a package that doubles the layer must be noticed.
ZIPPED_LIMIT, UNZIPPED_LIMIT = 50_000_000, 130_000_000
# CloudFormation User Guide, "Understand CloudFormation quotas": body from S3, resources.
TEMPLATE_LIMIT, RESOURCE_LIMIT = 1_000_000, 500
# The same, "Parameters"; IAM User Guide, "IAM and AWS STS quotas": inline policies of a role.
PARAMETER_LIMIT, INLINE_LIMIT = 4_096, 10_240
# CloudWatch: period times evaluation periods (API, PutMetricAlarm).
ALARM_SPAN = 7 * 24 * 3600

NATIVE = ("numpy", "msgspec")
# ELF header, e_machine.
MACHINES = {"x86_64": 0x3E, "arm64": 0xB7}
CHALICE_RUNTIME = {"chalice/__init__.py", "chalice/app.py"}
RUNTIMES = ("python3.12", "python3.13", "python3.14")


@dataclass(frozen=True)
class Built:
    """What is checked: template, zips, and what they were to be made of."""

    template: Any
    functions: Path
    layer: Path
    stage: str
    architecture: str
    app: str
    """The source of app.py."""
    pins: Mapping[str, str]
    """Package -> version that requirements.txt pins."""

    def of_type(self, kind: str) -> dict[str, Any]:
        """Logical id -> properties of every resource of a type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.template["Resources"].items()
            if resource.get("Type") == kind
        }


@dataclass(frozen=True)
class Result:
    """A check and what it found."""

    name: str
    faults: tuple[str, ...]

    @property
    def line(self) -> str:
        """The check in one line; its faults, if any, in lines below."""
        if not self.faults:
            return f"ok    {self.name}"
        return "\n".join((f"FAIL  {self.name}", *(f"      {fault}" for fault in self.faults)))


def checks_of(package: Any) -> Built:
    """What a package (infra/package.py) is checked by."""
    from infra.package import ROOT

    manifest = package.manifest
    return Built(
        package.template,
        package.functions,
        package.layer,
        manifest["stage"],
        manifest["architecture"],
        (ROOT / "app.py").read_text(encoding="utf-8"),
        pins_of((ROOT / "requirements.txt").read_text(encoding="utf-8")),
    )


def pins_of(requirements: str) -> Mapping[str, str]:
    """Package -> version of the pinned lines of a requirements file."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", requirements, re.MULTILINE))


def check(built: Built) -> list[Result]:
    """Every check, in the order in which they are declared."""
    return [Result(name, tuple(found(built))) for name, found in CHECKS.items()]


# --- Functions and queues --------------------------------------------------------------------------------------------


def handlers_of(app: str) -> set[str]:
    """The functions of the template that app.py makes: one per event source, and one for all routes together."""
    found = set()
    for node in ast.parse(app).body:
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                call = decorator.func if isinstance(decorator, ast.Call) else decorator
                if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id == "app":
                    found.add(WEBHOOK if call.attr == "route" else node.name)
    return found


def routes_ask_whom_they_say(built: Built) -> Iterator[str]:
    """API Gateway asks IAM on the paths below /iam/, and on no other: those are signed, or open to all."""
    for api in built.of_type("AWS::Serverless::Api").values():
        for path, methods in api["DefinitionBody"]["paths"].items():
            for method, operation in methods.items():
                asks = bool(operation.get("security"))
                if method != "options" and asks != path.startswith("/iam/"):
                    yield f"{method} {path}: {'asks' if asks else 'does not ask'} IAM"


def functions_match_app(built: Built) -> Iterator[str]:
    """Every function of app.py is in the template once, and the reverse; so is every source of the topology."""
    written = handlers_of(built.app)
    declared = set(FUNCTIONS)
    for name in sorted(written - declared):
        yield f"app.py has {name}, chalicelib/topology.py has not"
    for name in sorted(declared - written):
        yield f"chalicelib/topology.py has {name}, app.py has not"
    templated: dict[str, str] = {}
    for identity, properties in built.of_type("AWS::Serverless::Function").items():
        handler = properties.get("Handler", "")
        name = WEBHOOK if handler == "app.app" else handler.removeprefix("app.")
        if name in templated:
            yield f"{identity} and {templated[name]} both call {handler}"
        templated[name] = identity
        if name not in written:
            yield f"{identity} calls {handler or 'nothing'}, which app.py has not"
    for name in sorted(written - templated.keys()):
        yield f"app.py has {name}, no function of the template calls it"
    for identity, resource in built.template["Resources"].items():
        if "Type" not in resource:
            yield f"{identity} has no type: it was meant for a resource of Chalice's that has another name"


def _events(built: Built) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(function's id, event's id, event's properties) of each event of each function; API events are the API's own."""
    for identity, properties in built.of_type("AWS::Serverless::Function").items():
        for name, event in properties.get("Events", {}).items():
            if event.get("Type") != "SQS":
                yield identity, name, {"Unexpected": event.get("Type")}
            else:
                yield identity, name, event["Properties"]


def target_of(reference: Any) -> str:
    """The logical id whose ARN a value is (Fn::GetAtt, or Fn::Sub of just that), else ""."""
    if isinstance(reference, Mapping) and len(reference) == 1:
        if isinstance(found := reference.get("Fn::GetAtt"), list) and len(found) == 2 and found[1] == "Arn":
            return str(found[0])
        if isinstance(text := reference.get("Fn::Sub"), str) and (match := re.fullmatch(r"\$\{(\w+)\.Arn\}", text)):
            return match[1]
    return ""


def queues_are_references(built: Built) -> Iterator[str]:
    """A queue by name would not be waited for: each mapping refers to the ARN of its source's queue."""
    queues = built.of_type("AWS::SQS::Queue")
    wanted = {function_id(source.function): logical(source.queue, "Queue") for source in SOURCES}
    fed: dict[str, str] = {}
    for identity, name, properties in _events(built):
        if "Unexpected" in properties:
            yield f"{identity}.{name}: an event of type {properties['Unexpected']}, expected SQS"
            continue
        queue = target_of(properties.get("Queue"))
        if queue not in queues:
            yield f"{identity}.{name}: its queue is no reference to the ARN of a queue of the template"
        elif queue != wanted.get(identity):
            yield f"{identity}.{name}: fed by {queue}, expected {wanted.get(identity, 'nothing')}"
        if identity in fed:
            yield f"{identity}: fed by {fed[identity]} and {name}"
        fed[identity] = name
    for identity in sorted(wanted.keys() - fed.keys()):
        yield f"{identity}: fed by no queue"


def failures_are_partial(built: Built) -> Iterator[str]:
    """Only what failed comes back (Lambda Developer Guide, "Handling errors for an SQS event source")."""
    for identity, name, properties in _events(built):
        if properties.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{identity}.{name}: FunctionResponseTypes is not ReportBatchItemFailures"


def dead_letters_have_a_place(built: Built) -> Iterator[str]:
    """A message that always fails, an event or an alert that cannot be put on its queue: each ends in a queue."""
    queues = built.of_type("AWS::SQS::Queue")
    for identity, name, properties in _events(built):
        queue = target_of(properties.get("Queue"))
        dead = target_of(queues.get(queue, {}).get("RedrivePolicy", {}).get("deadLetterTargetArn"))
        if dead not in queues or dead == queue:
            yield f"{identity}.{name}: {queue or 'its queue'} has no dead-letter queue"
    for identity, properties in built.of_type("AWS::Events::Rule").items():
        for target in properties.get("Targets", ()):
            if target_of(target.get("DeadLetterConfig", {}).get("Arn")) not in queues:
                yield f"{identity}: its target has no dead-letter queue"
    for identity, properties in built.of_type("AWS::SNS::Subscription").items():
        dead = target_of(properties.get("RedrivePolicy", {}).get("deadLetterTargetArn"))
        if properties.get("Protocol") == "sqs" and dead not in queues:
            yield f"{identity}: no dead-letter queue"


def messages_are_kept(built: Built) -> Iterator[str]:
    """SQS's default of four days ends within one long weekend."""
    for identity, properties in built.of_type("AWS::SQS::Queue").items():
        if properties.get("MessageRetentionPeriod") != KEPT:
            yield f"{identity}: keeps messages for {properties.get('MessageRetentionPeriod')} seconds, expected {KEPT}"


def receives_are_enough(built: Built) -> Iterator[str]:
    """Fewer than five would give up on a message that waits for a throttled function."""
    for identity, properties in built.of_type("AWS::SQS::Queue").items():
        count = properties.get("RedrivePolicy", {}).get("maxReceiveCount")
        if "RedrivePolicy" in properties and (not isinstance(count, int) or count < 5):
            yield f"{identity}: maxReceiveCount is {count}, expected at least 5"


def visibility_outlasts_functions(built: Built) -> Iterator[str]:
    """Six times the function's timeout plus the batching window (Lambda Developer Guide, SQS event sources)."""
    queues, functions = built.of_type("AWS::SQS::Queue"), built.of_type("AWS::Serverless::Function")
    for identity, name, properties in _events(built):
        queue = target_of(properties.get("Queue"))
        visibility = queues.get(queue, {}).get("VisibilityTimeout", 30)
        least = 6 * functions[identity].get("Timeout", 3) + properties.get("MaximumBatchingWindowInSeconds", 0)
        if visibility < least:
            yield f"{identity}.{name}: {queue} hides messages for {visibility} s, expected at least {least}"


def senders_are_allowed(built: Built) -> Iterator[str]:
    """EventBridge and SNS may send to a queue only where its policy says so, and only for this rule or topic."""
    granted: dict[tuple[str, str], list[str]] = {}
    for properties in built.of_type("AWS::SQS::QueuePolicy").values():
        for queue in properties["Queues"]:
            for statement in properties["PolicyDocument"]["Statement"]:
                service = statement.get("Principal", {}).get("Service", "")
                allows = statement["Effect"] == "Allow" and "sqs:SendMessage" in statement["Action"]
                if allows and target_of(statement["Resource"]) == queue.get("Ref"):
                    sources = [
                        json.dumps(condition["aws:SourceArn"])
                        for condition in statement.get("Condition", {}).values()
                        if "aws:SourceArn" in condition
                    ]
                    granted.setdefault((queue["Ref"], service), []).extend(sources)
    for identity, properties in built.of_type("AWS::Events::Rule").items():
        name = properties.get("Name")
        for target in properties["Targets"]:
            for queue in (target_of(target["Arn"]), target_of(target.get("DeadLetterConfig", {}).get("Arn"))):
                if not any(_covers(source, name) for source in granted.get((queue, "events.amazonaws.com"), ())):
                    yield f"{identity}: no policy lets this rule send to {queue or 'its target'}"
    for identity, properties in built.of_type("AWS::SNS::Subscription").items():
        if properties.get("Protocol") != "sqs":
            continue
        topic = json.dumps(properties["TopicArn"])
        for queue in (
            target_of(properties["Endpoint"]),
            target_of(properties.get("RedrivePolicy", {}).get("deadLetterTargetArn")),
        ):
            if topic not in granted.get((queue, "sns.amazonaws.com"), ()):
                yield f"{identity}: no policy lets its topic send to {queue or 'its queue'}"


def _covers(source: str, rule: Any) -> bool:
    """Whether a condition's source, as JSON text, is the ARN of this rule, perhaps by a final wildcard."""
    match = re.search(r":rule/([\w.-]*)(\*?)\"", source)
    if match is None or not isinstance(rule, str):
        return False
    return rule.startswith(match[1]) if match[2] else rule == match[1]


def patterns_are_short(built: Built) -> Iterator[str]:
    """EventBridge refuses a longer pattern; references count as the longest name that they may become."""
    for identity, properties in built.of_type("AWS::Events::Rule").items():
        if "EventPattern" in properties:
            text = re.sub(
                r'\{"Ref":"\w+"\}', '"' + 63 * "x" + '"', json.dumps(properties["EventPattern"], separators=(",", ":"))
            )
            if len(text) > PATTERN_LIMIT:
                yield f"{identity}: its pattern has {len(text)} characters, expected at most {PATTERN_LIMIT}"
        elif "ScheduleExpression" not in properties:
            yield f"{identity}: neither a pattern nor a schedule"


# --- Names, storage, logs, alarms ------------------------------------------------------------------------------------

_NAMES = {
    "AWS::SQS::Queue": "QueueName",
    "AWS::Serverless::Function": "FunctionName",
    "AWS::Serverless::LayerVersion": "LayerName",
    "AWS::Serverless::Api": "Name",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::Events::Rule": "Name",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::KMS::Alias": "AliasName",
}


def names_carry_the_stage(built: Built) -> Iterator[str]:
    """Two stages live in one account: whatever has a name has the stage in it, and no name is there twice."""
    seen: dict[tuple[str, str], str] = {}
    for kind, field in _NAMES.items():
        for identity, properties in built.of_type(kind).items():
            name = properties.get(field)
            text = name.get("Fn::Sub", "") if isinstance(name, Mapping) else str(name or "")
            if f"plumbline-{built.stage}-" not in f"{text}-":
                yield f"{identity}: {field} is {text or 'missing'}, expected plumbline-{built.stage}-…"
            elif (kind, text) in seen:
                yield f"{identity}: {field} {text} is that of {seen[kind, text]} too"
            seen[kind, text] = identity


def storage_is_safe(built: Built) -> Iterator[str]:
    """The table: on demand, recoverable, expiring; table, bucket and key outlive a deleted stack."""
    for identity, properties in built.of_type("AWS::DynamoDB::Table").items():
        if properties.get("BillingMode") != "PAY_PER_REQUEST":
            yield f"{identity}: not on demand"
        if properties.get("PointInTimeRecoverySpecification") != {"PointInTimeRecoveryEnabled": True}:
            yield f"{identity}: no point-in-time recovery"
        if properties.get("TimeToLiveSpecification") != {"AttributeName": "expires_at", "Enabled": True}:
            yield f"{identity}: expires_at is not its time to live"
    for kind in ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::KMS::Key"):
        if not built.of_type(kind):
            yield f"there is no {kind}"
        for identity in built.of_type(kind):
            resource = built.template["Resources"][identity]
            policy = resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")
            if policy != ("RetainExceptOnCreate", "Retain"):
                yield f"{identity}: deleted with its stack, or replaced without being kept"


def logs_are_kept_for_a_while(built: Built) -> Iterator[str]:
    """Each function logs to a group of its own, which is deleted after the days that the parameter says."""
    groups = built.of_type("AWS::Logs::LogGroup")
    used: dict[str, str] = {}
    for identity, properties in built.of_type("AWS::Serverless::Function").items():
        group = properties.get("LoggingConfig", {}).get("LogGroup", {}).get("Ref", "")
        if group not in groups:
            yield f"{identity}: logs to no group of the template"
        elif group in used:
            yield f"{identity}: logs to the group of {used[group]}"
        elif "RetentionInDays" not in groups[group]:
            yield f"{group}: kept for ever"
        used[group] = identity


def health_has_alarms(built: Built) -> Iterator[str]:
    """Dead letters, late messages, errors, throttles, overdue windows, dropped or refused messages, 5XX of the API.

    Each alarm has a receiver, and AWS accepts it.
    """
    watched = set()
    topics = {json.dumps({"Ref": name}) for name in built.of_type("AWS::SNS::Topic")}
    for identity, properties in built.of_type("AWS::CloudWatch::Alarm").items():
        for dimension in properties.get("Dimensions", ()):
            watched.add((properties["MetricName"], json.dumps(dimension["Value"])))
        if not {json.dumps(action) for action in properties.get("AlarmActions", ())} & topics:
            yield f"{identity}: has no receiver"
        if properties["Period"] * properties["EvaluationPeriods"] > ALARM_SPAN:
            yield f"{identity}: looks back over more than seven days"
    wanted: dict[tuple[str, str], str] = {}
    dead = set()
    queues = built.of_type("AWS::SQS::Queue")
    for _, _, properties in _events(built):
        queue = target_of(properties.get("Queue"))
        dead.add(target_of(queues.get(queue, {}).get("RedrivePolicy", {}).get("deadLetterTargetArn")))
        wanted["ApproximateAgeOfOldestMessage", _queue_name(queue)] = f"late messages of {queue}"
    for queue in dead:
        wanted["ApproximateNumberOfMessagesVisible", _queue_name(queue)] = f"dead letters in {queue}"
    for function in built.of_type("AWS::Serverless::Function"):
        for metric in ("Errors", "Throttles"):
            wanted[metric, json.dumps({"Ref": function})] = f"{metric.lower()} of {function}"
    for metric in (OVERDUE_METRIC, *FAILURES):
        wanted[metric, json.dumps(f"plumbline-{built.stage}")] = metric
    wanted["5XXError", json.dumps(f"plumbline-{built.stage}-labels")] = "5XX of the API"
    for key, what in sorted(wanted.items()):
        if key not in watched:
            yield f"no alarm for {what}"
    if not built.of_type("AWS::CloudWatch::Dashboard"):
        yield "no dashboard"


def _queue_name(queue: str) -> str:
    return json.dumps({"Fn::GetAtt": [queue, "QueueName"]})


def encryption_reaches_the_senders(built: Built) -> Iterator[str]:
    """Senders to an encrypted queue or topic may use its key, which must not be AWS-managed."""
    for identity, properties in built.of_type("AWS::SQS::Queue").items():
        key = properties.get("KmsMasterKeyId")
        if "alias/aws/" in json.dumps(key):
            yield f"{identity}: under a key that AWS manages, which shuts EventBridge and SNS out"
        elif not key and not properties.get("SqsManagedSseEnabled"):
            yield f"{identity}: not encrypted"
    needed = {"events.amazonaws.com", "sns.amazonaws.com", "cloudwatch.amazonaws.com", "logs.amazonaws.com"}
    for identity, properties in built.of_type("AWS::KMS::Key").items():
        statements = properties["KeyPolicy"]["Statement"]
        served = {
            statement["Principal"]["Service"]
            for statement in statements
            if "Service" in statement["Principal"]
            and {"kms:Decrypt", "kms:GenerateDataKey*"} <= set(statement["Action"])
        }
        for service in sorted(needed - served):
            yield f"{identity}: its policy does not let {service} use it"


# --- Policies --------------------------------------------------------------------------------------------------------

# An action that cannot be taken back -> the one function that may.
EFFECTS = {
    "sagemaker:StartPipelineExecution": "retrain_claimed",
    "sagemaker:UpdateEndpoint": "promotion_claimed",
    "sagemaker:CreateEndpoint": "promotion_claimed",
    "sagemaker:DeleteEndpoint": "promotion_claimed",
    "sagemaker:CreateModel": "promotion_claimed",
    "sagemaker:CreateEndpointConfig": "promotion_claimed",
    "sagemaker:DeleteEndpointConfig": "promotion_claimed",
    "sagemaker:UpdateModelPackage": "promotion_claimed",
    "iam:PassRole": "promotion_claimed",
}


def statements_of(document: Any) -> Iterator[Mapping[str, Any]]:
    """The statements of a policy document, those under a condition of the template too."""
    for each in document["Statement"]:
        yield each["Fn::If"][1] if "Fn::If" in each else each


def roles_of(built: Built) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(function, role's id, statement) of every function's role."""
    names = {function_id(name): name for name in FUNCTIONS}
    attached: dict[str, list[Any]] = {}
    for properties in built.of_type("AWS::IAM::ManagedPolicy").values():
        for each in properties["Roles"]:
            attached.setdefault(each["Ref"], []).append(properties)
    for identity, properties in built.of_type("AWS::Serverless::Function").items():
        role = target_of(properties.get("Role"))
        document = built.template["Resources"].get(role, {}).get("Properties", {})
        for policy in (*document.get("Policies", ()), *attached.get(role, ())):
            for statement in statements_of(policy["PolicyDocument"]):
                yield names.get(identity, identity), role, statement


def roles_are_the_functions_own(built: Built) -> Iterator[str]:
    """One role per function, with the policy that infra/policies.py writes, and a place for a boundary."""
    used: dict[str, str] = {}
    for function in FUNCTIONS:
        properties = built.of_type("AWS::Serverless::Function").get(function_id(function), {})
        role = target_of(properties.get("Role"))
        if role != role_id(function):
            yield f"{function}: its role is {role or 'none'}, expected {role_id(function)}"
            continue
        found = built.template["Resources"].get(role, {}).get("Properties", {})
        documents = [policy["PolicyDocument"] for policy in found.get("Policies", ())]
        if documents != [policies.document(function)]:
            yield f"{function}: its role has another policy than infra/policies.py writes"
        if found.get("ManagedPolicyArns"):
            yield f"{function}: its role has managed policies"
        if "PermissionsBoundary" not in found:
            yield f"{function}: its role takes no permissions boundary"
        if role in used:
            yield f"{function}: shares its role with {used[role]}"
        used[role] = function


def policies_fit_iam(built: Built) -> Iterator[str]:
    """Characters of a role's own policies and of a managed one, managed policies of a role, bytes of a parameter."""
    counts: dict[str, int] = {}
    for identity, properties in built.of_type("AWS::IAM::ManagedPolicy").items():
        if (found := existing.size(properties["PolicyDocument"])) > existing.POLICY_LIMIT:
            yield f"{identity}: {found} characters, at most {existing.POLICY_LIMIT}"
        for each in properties["Roles"]:
            counts[each["Ref"]] = counts.get(each["Ref"], 0) + 1
    for role, count in counts.items():
        if count > existing.POLICIES_OF_A_ROLE:
            yield f"{role}: {count} managed policies, at most {existing.POLICIES_OF_A_ROLE}"
    for identity, properties in built.of_type("AWS::IAM::Role").items():
        # Longer than what IAM gets: references are spelt out here, both sides of a condition too.
        found = sum(len(json.dumps(each["PolicyDocument"])) for each in properties.get("Policies", ()))
        if found > INLINE_LIMIT:
            yield f"{identity}: {found} characters of inline policies, at most {INLINE_LIMIT}"
    for name, parameter in built.template.get("Parameters", {}).items():
        if len(str(parameter.get("Default", "")).encode()) > PARAMETER_LIMIT:
            yield f"the parameter {name} has more than {PARAMETER_LIMIT} bytes"


def wildcards_have_reasons(built: Built) -> Iterator[str]:
    """A wildcard follows the stage's own name, or has a written reason for being wider."""
    reasons = {**policies.reasons(), **KEY_REASONS}
    for function, _, statement in roles_of(built):
        for what in _wildcards(statement):
            if not reasons.get((function, statement.get("Sid", ""))):
                yield f"{function}, statement {statement.get('Sid')}: {what} without a reason"
    for kind, field in (
        ("AWS::SQS::QueuePolicy", "PolicyDocument"),
        ("AWS::SNS::TopicPolicy", "PolicyDocument"),
        ("AWS::S3::BucketPolicy", "PolicyDocument"),
        ("AWS::KMS::Key", "KeyPolicy"),
    ):
        for identity, properties in built.of_type(kind).items():
            for statement in statements_of(properties[field]):
                if statement["Effect"] == "Deny" or reasons.get((identity, statement.get("Sid", ""))):
                    continue
                for what in _wildcards(statement):
                    # In a key's policy the resource "*" is that key (KMS Developer Guide, "Key policies").
                    if kind != "AWS::KMS::Key" or not what.startswith("resource"):
                        yield f"{identity}, statement {statement.get('Sid')}: {what} without a reason"


def _wildcards(statement: Mapping[str, Any]) -> Iterator[str]:
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    for action in actions:
        # kms:GenerateDataKey* is the spelling that AWS gives for "with and without plaintext".
        if "*" in action and action != "kms:GenerateDataKey*":
            yield f"action {action}"
    resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
    for resource in resources:
        text = resource.get("Fn::Sub", "") if isinstance(resource, Mapping) else str(resource)
        text = text[0] if isinstance(text, list) else text
        before = text.partition("*")[0]
        if "*" in text and not re.search(r"plumbline[-/]\$\{Stage\}[-/]|:::\$\{Bucket\}/.", before):
            yield f"resource {text}"


def effects_have_one_owner(built: Built) -> Iterator[str]:
    """Only retrain_claimed starts pipelines; only promotion_claimed changes endpoints, models and packages."""
    found: set[tuple[str, str]] = set()
    for function, _, statement in roles_of(built):
        for action in statement["Action"]:
            found.add((action, function))
            if EFFECTS.get(action, function) != function:
                yield f"{function} may {action}, which only {EFFECTS[action]} may"
    for action, owner in EFFECTS.items():
        # What only the stage's file can name, nobody does where it names nothing.
        own = {each for statement in policies.document(owner)["Statement"] for each in statement.get("Action", ())}
        if action in own and (action, owner) not in found:
            yield f"{owner} may not {action}"


def webhook_writes_labels_only(built: Built) -> Iterator[str]:
    """The webhook's role can add ground truth and receipts, nothing else."""
    writes = re.compile(r"(s3:(Put|Delete)|sqs:Send|sns:|sagemaker:|iam:|dynamodb:Delete|cloudwatch:)")
    for function, _, statement in roles_of(built):
        if function != WEBHOOK:
            continue
        for action in statement["Action"]:
            ground_truth = action == "s3:PutObject" and statement["Sid"] in ("GroundTruth", "GroundTruthExisting")
            if writes.match(action) and not ground_truth:
                yield f"{statement['Sid']}: {action}"
        if statement["Sid"] == "GroundTruth" and statement["Resource"] != policies.own_object("ground-truth/*"):
            yield "GroundTruth: another place than ground-truth/ of Plumbline's bucket"


# --- Zips ------------------------------------------------------------------------------------------------------------


def code_is_whole(built: Built) -> Iterator[str]:
    """Every file of chalicelib and app.py itself is in the functions' zip, and nothing else but Chalice's runtime."""
    from infra.package import ROOT

    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "chalicelib").rglob("*") if path.is_file()}
    wanted = {name for name in wanted if "__pycache__" not in name} | {"app.py"}
    with zipfile.ZipFile(built.functions) as archive:
        found = set(archive.namelist())
    for name in sorted(wanted - found):
        yield f"{name} is not in {built.functions.name}"
    for name in sorted(found - wanted - CHALICE_RUNTIME):
        yield f"{name} is in {built.functions.name} and not in the repository"


def packages_are_pinned(built: Built) -> Iterator[str]:
    """The layer holds exactly the version of each package that requirements.txt names."""
    with zipfile.ZipFile(built.layer) as archive:
        described = (re.search(r"/([A-Za-z0-9_.]+)-([^-/]+)\.dist-info/METADATA$", name) for name in archive.namelist())
        found = {match[1]: match[2] for match in described if match}
    versions = {name.lower().replace("_", "-"): version for name, version in found.items()}
    for name, version in built.pins.items():
        if versions.get(name.lower().replace("_", "-")) != version:
            yield f"{name} is {versions.get(name.lower(), 'missing')}, expected {version}"
    if "boto3" not in built.pins:
        yield "boto3 is not pinned: Lambda's own changes without notice"


def native_code_fits(built: Built) -> Iterator[str]:
    """Every shared object in the layer is for the architecture, and the packages that have some are there."""
    wanted = MACHINES[built.architecture]
    seen: set[str] = set()
    with zipfile.ZipFile(built.layer) as archive:
        for name in archive.namelist():
            if not re.search(r"\.so(\.|$)", name):
                continue
            with archive.open(name) as stream:
                header = stream.read(20)
            machine = struct.unpack_from("<H", header, 18)[0] if header[:4] == b"\x7fELF" else None
            if machine != wanted:
                kind = next((known for known, number in MACHINES.items() if number == machine), f"{machine}")
                yield f"{name} is for {kind}, expected {built.architecture}"
            if part := re.search(r"site-packages/([^/.]+)", name):
                seen.add(part[1])
    for name in NATIVE:
        if name not in seen:
            yield f"{name} is not in {built.layer.name}, or without its compiled part"


def zips_are_small(built: Built) -> Iterator[str]:
    """Both zips and what they unpack to stay under Lambda's limits."""
    unzipped = 0
    for path in (built.functions, built.layer):
        if path.stat().st_size >= ZIPPED_LIMIT:
            yield f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, expected less than {ZIPPED_LIMIT / 1e6:.0f} MB"
        with zipfile.ZipFile(path) as archive:
            unzipped += sum(entry.file_size for entry in archive.infolist())
    if unzipped >= UNZIPPED_LIMIT:
        yield f"unzipped {unzipped / 1e6:.1f} MB, expected less than {UNZIPPED_LIMIT / 1e6:.0f} MB"


def runtime_fits(built: Built) -> Iterator[str]:
    """Every function and the layer say the same runtime and architecture, and the layer was made for it."""
    functions = built.of_type("AWS::Serverless::Function")
    layers = built.of_type("AWS::Serverless::LayerVersion")
    runtimes = {str(properties.get("Runtime")) for properties in functions.values()}
    if len(runtimes) != 1 or not runtimes <= set(RUNTIMES):
        yield f"runtimes {', '.join(sorted(runtimes))}: expected one of {', '.join(RUNTIMES)}"
    for identity, properties in functions.items():
        if properties.get("Architectures") != [built.architecture]:
            yield f"{identity}: architectures {properties.get('Architectures')}, expected {built.architecture}"
        if [target.get("Ref") for target in properties.get("Layers", ())] != list(layers):
            yield f"{identity}: not with the shared layer"
    if not layers:
        yield "there is no layer"
    for identity, properties in layers.items():
        if properties.get("CompatibleArchitectures") != [built.architecture]:
            yield f"{identity}: architectures {properties.get('CompatibleArchitectures')}"
        with zipfile.ZipFile(built.layer) as archive:
            if not any(f"/{runtime}/" in name for name in archive.namelist()[:1] for runtime in runtimes):
                yield f"{identity}: was made for another runtime than {', '.join(sorted(runtimes))}"


# --- AWS's own tools -------------------------------------------------------------------------------------------------


def with_zips_in_s3(template: Any) -> Any:
    """The template with S3 URIs in the place of the zips' local names, as CloudFormation gets it."""
    made = copy.deepcopy(template)
    for resource in made["Resources"].values():
        for field in ("CodeUri", "ContentUri"):
            if field in resource.get("Properties", {}):
                resource["Properties"][field] = f"s3://bucket/{resource['Properties'][field]}"
    return made


def translated(template: Any) -> Any:
    """What the SAM transform makes of the template. Raises samtranslator's InvalidDocumentException."""
    import boto3
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    session = boto3.session.Session(region_name="us-east-1")
    return Translator({}, Parser(), boto_session=session).translate(with_zips_in_s3(template), {})


def sam_translates(built: Built) -> Iterator[str]:
    """The SAM translator takes the template, and what it makes keeps partial responses and CloudFormation's limits."""
    from samtranslator.model.exceptions import InvalidDocumentException

    try:
        made = translated(built.template)
    except InvalidDocumentException as error:
        yield from (" ".join(str(cause.message).split()) for cause in error.causes)
        return
    except Exception as error:  # the translator falls over what it does not expect
        yield f"the SAM translator failed: {type(error).__name__}: {error}"
        return
    mappings = [each for each in made["Resources"].values() if each["Type"] == "AWS::Lambda::EventSourceMapping"]
    if len(mappings) != len(SOURCES):
        yield f"{len(mappings)} event source mappings, expected {len(SOURCES)}"
    for mapping in mappings:
        if mapping["Properties"].get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield "an event source mapping lost its FunctionResponseTypes"
    if len(made["Resources"]) > RESOURCE_LIMIT:
        yield f"{len(made['Resources'])} resources, expected at most {RESOURCE_LIMIT}"
    if (size := len(json.dumps(made))) > TEMPLATE_LIMIT:
        yield f"{size} characters, expected at most {TEMPLATE_LIMIT}"
    yield from _linted(made)


def cfn_lint_is_content(built: Built) -> Iterator[str]:
    """cfn-lint finds nothing, not even a warning."""
    yield from _linted(with_zips_in_s3(built.template))


def _linted(template: Any) -> Iterator[str]:
    from cfnlint.api import lint_all

    for match in lint_all(json.dumps(template, indent=1)):
        if match.rule.id.startswith("I"):  # advice on style, off by default
            continue
        yield f"{match.rule.id} line {match.linenumber}: {' '.join(str(match.message).split())}"


CHECKS: Mapping[str, Callable[[Built], Iterator[str]]] = {
    "every function of app.py has one counterpart in the template, and the reverse": functions_match_app,
    "queues are referred to by their ARNs, each feeding its own function": queues_are_references,
    "batches report only what failed": failures_are_partial,
    "messages, events and alerts that cannot be delivered have a dead-letter queue": dead_letters_have_a_place,
    "maxReceiveCount is at least 5": receives_are_enough,
    "every queue keeps messages for 14 days": messages_are_kept,
    "visibility is at least six times the function's timeout plus the batching window": visibility_outlasts_functions,
    "a queue policy for each rule and topic": senders_are_allowed,
    "event patterns have at most 2048 characters": patterns_are_short,
    "names carry the stage": names_carry_the_stage,
    "table on demand, recoverable, expiring; storage outlives its stack": storage_is_safe,
    "every function has a log group that forgets": logs_are_kept_for_a_while,
    "alarms on dead letters, late messages, errors, throttles, overdue windows, drops; a dashboard": health_has_alarms,
    "encrypted queues, and a key policy for their senders": encryption_reaches_the_senders,
    "one role per function with its own policy": roles_are_the_functions_own,
    "policies and parameters within IAM's and CloudFormation's limits": policies_fit_iam,
    "no wildcard without a reason": wildcards_have_reasons,
    "only retrain_claimed starts pipelines, only promotion_claimed changes what is served": effects_have_one_owner,
    "the webhook writes nothing but ground truth": webhook_writes_labels_only,
    "IAM is asked below /iam/ and nowhere else": routes_ask_whom_they_say,
    "the functions' zip is the repository's code": code_is_whole,
    "packages have the pinned versions": packages_are_pinned,
    "numpy and msgspec are in the layer, every shared object for the architecture": native_code_fits,
    "zips under 50 MB, unzipped under 130 MB": zips_are_small,
    "runtime and architecture are the same everywhere": runtime_fits,
    "cfn-lint is content": cfn_lint_is_content,
    "the SAM translator is content, and cfn-lint with what it makes": sam_translates,
}
