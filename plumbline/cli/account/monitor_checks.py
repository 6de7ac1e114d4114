"""Checks of what a monitor needs: endpoint, data capture, buckets, baseline, pipeline, alarms, secrets.

Not here: the stage's own resources (stage_checks.py).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib.decisions.alert import Route
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import NotFoundError
from chalicelib.facts import champions
from chalicelib.handlers.promotion_claimed import COPIED, SERVERLESS
from chalicelib.settings import Settings
from chalicelib.topology import ROUTE_SECRETS, resource_name
from chalicelib.wiring import Services
from plumbline.cli.account.account import Account, DeniedError, UnansweredError
from plumbline.cli.account.bucket_rules import hears
from plumbline.cli.account.stage_checks import check_bucket, check_role, check_secret, deploy, lets_send, rules_to
from plumbline.cli.terminal.findings import Findings

# The content types that SageMaker then stores as text; it stores others as Base64, which is read too.
CONTENT_TYPES = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}


def folder(prefix: str) -> str:
    """ "captures" -> "captures/"; the whole bucket stays ""."""
    return f"{prefix}/" if prefix else ""


def listened(definition: Definition) -> list[tuple[str, str, str]]:
    """(queue, bucket, key prefix) of every place whose new objects must reach a queue."""
    places = [("captures", *split_s3_uri(definition.capture_s3_uri))]
    if definition.ground_truth_s3_uri:
        places.append(("ground-truth", *split_s3_uri(definition.ground_truth_s3_uri)))
    return [(queue, bucket, folder(prefix)) for queue, bucket, prefix in places]


def check_monitor(account: Account, services: Services, definition: Definition, stored: bool) -> Findings:
    """Check everything that a definition names. `stored`: it is in force; otherwise it has no champion yet."""
    found = Findings(account, f"monitor {definition.name}")
    _buckets(account, services.settings, definition, found)
    found.check(
        f"endpoint {definition.endpoint}",
        _endpoint,
        *(account, services, definition, stored, found),
        absent=(
            f"endpoint {definition.endpoint} does not exist",
            f"aws sagemaker create-endpoint --endpoint-name {definition.endpoint} --endpoint-config-name NAME",
        ),
    )
    for field in definition.baseline.__struct_fields__:
        if uri := getattr(definition.baseline, field):
            _baseline(account, field, uri, found)
    if definition.retraining:
        _pipeline(account, services, definition, found)
    for alarm in definition.alarms:
        _alarm(account, alarm.name, alarm.role, found)
    for route in definition.routes:
        if route.secret:
            _route_secret(account, services.settings.stage, route, found)
    return found


def _route_secret(account: Account, stage: str, route: Route, found: Findings) -> None:
    what, folder = f"the secret of a {route.kind} route", f"plumbline/{stage}/{ROUTE_SECRETS}"
    if route.secret.startswith((f"/{folder}", f"secretsmanager:{folder}")):
        check_secret(account, route.secret, what, found)
    else:
        found.missing(
            f"{what}, {route.secret}, may not be read by the function that sends alerts",
            f"store it as /{folder}NAME or secretsmanager:{folder}NAME and name that in the definition",
        )


def _buckets(account: Account, settings: Settings, definition: Definition, found: Findings) -> None:
    places = {"captures": definition.capture_s3_uri, "ground truth": definition.ground_truth_s3_uri}
    places["reports"] = definition.output_s3_uri
    places["retraining"] = definition.retraining.output_uri if definition.retraining else ""
    roles: dict[str, list[str]] = {}
    for role, uri in places.items():
        if uri:
            roles.setdefault(split_s3_uri(uri)[0], []).append(role)
    there = {bucket for bucket in roles if check_bucket(account, bucket, ", ".join(roles[bucket]), found)}
    connect = {bucket for _, bucket, _ in listened(definition)} & there
    for bucket in sorted(connect):
        found.check(f"the notifications of {bucket}", _notifies, account, settings, bucket, found)
    for queue, bucket, prefix in listened(definition):
        if bucket in there:
            name = resource_name(settings.stage, queue)
            found.check(f"the rules of the queue {name}", _rule, account, settings, queue, bucket, prefix, found)
            found.check(f"what lies in s3://{bucket}/{prefix}", _listable, account, bucket, prefix, found)


def _connect(settings: Settings, bucket: str) -> str:
    return f"plumbline connect {bucket} --stage {settings.stage} --yes"


def _notifies(account: Account, settings: Settings, bucket: str, found: Findings) -> None:
    if "EventBridgeConfiguration" in account.ask("s3", "get_bucket_notification_configuration", Bucket=bucket):
        found.ok(f"bucket {bucket} notifies EventBridge of new objects")
    else:
        found.missing(f"bucket {bucket} does not notify EventBridge of new objects", _connect(settings, bucket))


def _rule(account: Account, settings: Settings, queue: str, bucket: str, prefix: str, found: Findings) -> None:
    name = resource_name(settings.stage, queue)
    what = f"new objects of s3://{bucket}/{prefix}"
    rules = [
        rule
        for rule in rules_to(account, account.arn("sqs", name))
        if rule.get("EventPattern") and hears(rule["EventPattern"], bucket, prefix)
    ]
    if not rules:
        found.missing(f"no rule brings {what} to the queue {name}", _connect(settings, bucket))
        return
    if not (enabled := [rule for rule in rules if rule["State"] == "ENABLED"]):
        disabled = rules[0]["Name"]
        found.missing(f"the rule {disabled} for {what} is disabled", f"aws events enable-rule --name {disabled}")
        return
    url = account.ask("sqs", "get_queue_url", QueueName=name)["QueueUrl"]
    attributes = account.ask("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["Policy"])
    policy = attributes.get("Attributes", {}).get("Policy", "")
    if any(lets_send(policy, rule["Arn"]) for rule in enabled):
        found.ok(f"{what} reach the queue {name}")
    else:
        rule = enabled[0]["Name"]
        found.missing(f"queue {name}: its policy does not let the rule {rule} send", deploy(settings.stage))


def _listable(account: Account, bucket: str, prefix: str, found: Findings) -> None:
    page = account.ask(
        "s3", "list_objects_v2", Bucket=bucket, Prefix=prefix, PaginationConfig={"MaxItems": 1, "PageSize": 1}
    )
    found.ok(f"s3://{bucket}/{prefix} can be listed" + ("" if page.get("Contents") else "; it is empty so far"))


# The endpoint ---------------------------------------------------------------------------------------------------------


def _endpoint(account: Account, services: Services, definition: Definition, stored: bool, found: Findings) -> None:
    endpoint = account.ask("sagemaker", "describe_endpoint", EndpointName=definition.endpoint)
    name, status = definition.endpoint, endpoint["EndpointStatus"]
    describe = f"aws sagemaker describe-endpoint --endpoint-name {name}"
    if status != "InService":
        found.warning(f"endpoint {name} is {status}", describe)
    else:
        found.ok(f"endpoint {name} is in service")
    config = account.ask("sagemaker", "describe_endpoint_config", EndpointConfigName=endpoint["EndpointConfigName"])
    variants = {each["VariantName"]: each for each in config["ProductionVariants"]}
    if definition.variant not in variants:
        found.missing(
            f"endpoint {name} has no variant {definition.variant}, only {', '.join(sorted(variants))}",
            f"write variant: {min(variants)} into the definition",
        )
    elif model := variants[definition.variant].get("ModelName"):
        found.check(f"model {model}", _model, account, model, found)
        if stored:
            _champion(services, definition, model, describe, found)
    _capture(account, definition, config, found)


def _model(account: Account, model: str, found: Findings) -> None:
    role = account.ask("sagemaker", "describe_model", ModelName=model).get("ExecutionRoleArn", "")
    if role:
        check_role(account, role, f"the execution role of the model {model}", found)


def _champion(services: Services, definition: Definition, serving: str, describe: str, found: Findings) -> None:
    champion = champions.load_champion(services.ledger, definition.name)
    if champion is None:
        found.missing(f"monitor {definition.name} has no champion", "plumbline add FILE")
    elif champion.candidate.model_name != serving:
        found.warning(
            f"the endpoint serves the model {serving}, the champion is {champion.candidate.model_name}: "
            "it was deployed by another process, or a promotion is under way",
            describe,
        )
    else:
        found.ok(f"the champion {champion.candidate.name} serves")


def _capture(account: Account, definition: Definition, config: Mapping[str, Any], found: Findings) -> None:
    """Check data capture against the definition: one command, a new configuration and an update, fixes all faults."""
    capture = config.get("DataCaptureConfig") or {}
    fix = _capture_command(definition, config)
    modes = {option["CaptureMode"] for option in capture.get("CaptureOptions", [])}
    headers = capture.get("CaptureContentTypeHeader") or {}
    given = capture.get("DestinationS3Uri", "").rstrip("/")
    if not capture.get("EnableCapture"):
        found.missing(f"endpoint {definition.endpoint} captures no data", fix)
        return
    if lost := [mode for mode in ("Input", "Output") if mode not in modes and "InputAndOutput" not in modes]:
        found.missing(f"data capture leaves out {' and '.join(lost)}", fix)
    if given != definition.capture_s3_uri.rstrip("/"):
        found.missing(f"data capture goes to {given}, the definition says {definition.capture_s3_uri}", fix)
    sampled = capture.get("InitialSamplingPercentage", 0)
    if not sampled:
        found.missing("data capture samples 0 % of the requests", fix)
    elif sampled < 100:
        found.warning(f"data capture samples {sampled} % of the requests: labels of the others match nothing", fix)
    if unnamed := [
        text for text, types in (("CSV", "CsvContentTypes"), ("JSON", "JsonContentTypes")) if not headers.get(types)
    ]:
        found.warning(
            f"data capture names no content type of {' or '.join(unnamed)}: such payloads are stored as Base64", fix
        )
    if not [each for each in found if each.fix == fix]:
        found.ok(f"data capture: input and output, {sampled} %, to {given}")
    if key := capture.get("KmsKeyId"):
        absent = (f"KMS key {key} of data capture does not exist", fix)
        found.check(f"KMS key {key}", _key, account, key, "of data capture", found, absent=absent)
    else:
        bucket = split_s3_uri(definition.capture_s3_uri)[0]
        found.check(f"the encryption of {bucket}", _default_key, account, bucket, found)


def _capture_command(definition: Definition, config: Mapping[str, Any]) -> str:
    """The command that copies the endpoint's configuration with the needed capture, and updates the endpoint."""
    name = f"{config['EndpointConfigName'][:54]}-capture"
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": definition.capture_s3_uri,
        **({"KmsKeyId": key} if (key := (config.get("DataCaptureConfig") or {}).get("KmsKeyId")) else {}),
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": CONTENT_TYPES,
    }
    copied = {field: config[field] for field in COPIED if field in config}
    request = {**copied, "EndpointConfigName": name, "DataCaptureConfig": capture}
    return (
        f"aws sagemaker create-endpoint-config --cli-input-json {shlex.quote(json.dumps(request))} && "
        f"aws sagemaker update-endpoint --endpoint-name {definition.endpoint} --endpoint-config-name {name}"
    )


def _default_key(account: Account, bucket: str, found: Findings) -> None:
    try:
        answer = account.ask("s3", "get_bucket_encryption", Bucket=bucket)
    except NotFoundError:
        return  # S3-managed keys: nothing to check
    for rule in answer["ServerSideEncryptionConfiguration"]["Rules"]:
        default = rule.get("ApplyServerSideEncryptionByDefault", {})
        if key := default.get("KMSMasterKeyID"):
            absent = (
                f"KMS key {key} of the bucket {bucket} does not exist: nothing can be written there",
                f"aws s3api delete-bucket-encryption --bucket {bucket}",
            )
            found.check(f"KMS key {key}", _key, account, key, f"of the bucket {bucket}", found, absent=absent)


def _key(account: Account, key: str, whose: str, found: Findings) -> None:
    metadata = account.ask("kms", "describe_key", KeyId=key)["KeyMetadata"]
    state = metadata["KeyState"]
    if state == "Enabled":
        found.ok(f"KMS key {key} {whose} is enabled (whether its policy lets the functions decrypt is not checked)")
    elif state == "PendingDeletion":
        found.missing(
            f"KMS key {key} {whose} is pending deletion: every capture is lost with it",
            f"aws kms cancel-key-deletion --key-id {key} && aws kms enable-key --key-id {key}",
        )
    else:
        found.missing(
            f"KMS key {key} {whose} is {state}: captures cannot be read", f"aws kms enable-key --key-id {key}"
        )


# The other resources that a definition names --------------------------------------------------------------------------


def _baseline(account: Account, field: str, uri: str, found: Findings) -> None:
    bucket, key = split_s3_uri(uri)

    def look() -> None:
        body = account.ask("s3", "get_object", Bucket=bucket, Key=key)["Body"].read()
        try:
            msgspec.json.decode(body, type=dict)
        except msgspec.DecodeError:
            found.missing(f"baseline.{field}: {uri} is not a JSON object", f"aws s3 cp FILE {uri}")
        else:
            found.ok(f"baseline.{field} can be read")

    absent = (f"baseline.{field}: {uri} does not exist", f"aws s3 cp FILE {uri}")
    found.check(f"baseline.{field}", look, absent=absent)


def _pipeline(account: Account, services: Services, definition: Definition, found: Findings) -> None:
    retraining = definition.retraining
    assert retraining is not None
    name = retraining.pipeline_name
    create = (
        f"aws sagemaker create-pipeline --pipeline-name {name} --role-arn ROLE_ARN "
        "--pipeline-definition file://pipelines/retraining.json"
    )

    def look() -> None:
        account.ask("sagemaker", "describe_pipeline", PipelineName=name)  # reports a missing permission
        pipeline = services.sagemaker.describe_pipeline(name)
        unknown = sorted(set(retraining.parameters) - set(pipeline.parameters))
        ungiven = sorted(
            each for each, needed in pipeline.parameters.items() if needed and each not in retraining.parameters
        )
        show = f"aws sagemaker describe-pipeline --pipeline-name {name} --query PipelineDefinition"
        if unknown:
            found.missing(
                f"pipeline {name} has no parameter {', '.join(unknown)}: SageMaker would reject every start", show
            )
        elif ungiven:
            found.missing(f"pipeline {name} needs the parameter {', '.join(ungiven)}, which has no default", show)
        else:
            found.ok(f"pipeline {name}")
        check_role(account, pipeline.role_arn, f"the role of the pipeline {name}", found)

    found.check(f"pipeline {name}", look, absent=(f"pipeline {name} does not exist", create))
    groups = [value for key, value in sorted(retraining.parameters.items()) if "ModelPackageGroup" in key]
    for group in groups:
        found.check(
            f"model package group {group}",
            _group,
            *(account, group, found),
            absent=(
                f"model package group {group} does not exist: no model could be registered",
                f"aws sagemaker create-model-package-group --model-package-group-name {group}",
            ),
        )
    _serverless(account, definition, found)


def _group(account: Account, group: str, found: Findings) -> None:
    account.ask("sagemaker", "describe_model_package_group", ModelPackageGroupName=group)
    found.ok(f"model package group {group}")


def _serverless(account: Account, definition: Definition, found: Findings) -> None:
    """Pool, champion and challenger each need a serverless endpoint; the quota of a new account may be too small."""
    needed = (definition.policy.pool_size + 2) * SERVERLESS["MaxConcurrency"]
    listing = "aws service-quotas list-service-quotas --service-code sagemaker"
    try:
        quotas = account.ask("service-quotas", "list_service_quotas", ServiceCode="sagemaker").get("Quotas", [])
    except DeniedError as error:
        what = f"quota of serverless concurrency: not readable: needs {error.permission}"
        found.warning(what, account.grant(error.permission))
        return
    except (NotFoundError, UnansweredError):
        found.warning("quota of serverless concurrency: not readable", listing)
        return
    names = {each["QuotaName"].lower(): each for each in quotas}
    quota = next((each for text, each in names.items() if "serverless" in text and "total concurrency" in text), None)
    if quota is None:
        found.warning("quota of serverless concurrency: not among SageMaker's quotas", listing)
    elif quota["Value"] < needed:
        found.warning(
            f"quota of serverless concurrency: {quota['Value']:g}; a full pool of {definition.name} needs {needed}",
            "aws service-quotas request-service-quota-increase --service-code sagemaker "
            f"--quota-code {quota['QuotaCode']} --desired-value {needed}",
        )
    else:
        found.ok(f"quota of serverless concurrency: {quota['Value']:g}")


def _alarm(account: Account, name: str, role: str, found: Findings) -> None:
    def look() -> None:
        answer = account.ask("cloudwatch", "describe_alarms", AlarmNames=[name])
        if answer.get("MetricAlarms") or answer.get("CompositeAlarms"):
            found.ok(f"alarm {name} ({role})")
        else:
            found.missing(
                f"alarm {name} ({role}) does not exist: it will never fire",
                f"aws cloudwatch put-metric-alarm --alarm-name {shlex.quote(name)} …",
            )

    found.check(f"alarm {name}", look)
