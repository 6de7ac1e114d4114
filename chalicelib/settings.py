"""The settings of a deployment, from environment variables: the only reader of the environment.

A wrong or missing variable is a MisconfiguredError before any event is handled. Not here: what settings are used for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import msgspec

from chalicelib.errors import MisconfiguredError

_DEFAULT_STAGE = "dev"
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

# Without hyphens: the policies of a stage "a" name plumbline-a-*, which a stage "a-b" would be part of.
_STAGE = re.compile(r"[a-z][a-z0-9]{0,19}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}")
_PARAMETER = re.compile(r"[A-Za-z0-9_.:/+=@-]{1,1024}|")
_NAMESPACE = re.compile(r"(?!AWS/)[A-Za-z0-9_.#/-][A-Za-z0-9_.#:/-]{0,254}")
_YES_OR_NO = re.compile(r"yes|no")
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")
_ALLOWANCE = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")

# The required variables, beside a region: pattern and meaning.
_REQUIRED = {
    "PLUMBLINE_BUCKET": (_BUCKET, "the name of an S3 bucket, Plumbline's own (the stack's output BucketName)"),
    "PLUMBLINE_TABLE": (_TABLE, "the name of a DynamoDB table (the stack's output TableName)"),
    "PLUMBLINE_TOPIC_ARN": (
        _TOPIC_ARN,
        "the ARN of the SNS topic of alerts, arn:aws:sns:{region}:{account}:{name} (the stack's output AlertsTopicArn)",
    ),
    "PLUMBLINE_MODEL_ROLE_ARN": (
        _ROLE_ARN,
        "the ARN of the IAM role of models, arn:aws:iam::{account}:role/{name} (the stack's parameter ModelRoleArn)",
    ),
}


class Settings(msgspec.Struct, frozen=True):
    """One deployment. `bucket` is Plumbline's own, for definitions and derived data; captures are in users' buckets."""

    stage: str
    region: str
    bucket: str
    table: str
    topic_arn: str
    webhook_key_parameter: str  # SSM parameter (or "secretsmanager:…") with the webhook's keys; empty: no webhook
    execution_role_arn: str  # the role of the models that we create
    metrics_namespace: str = "Plumbline"
    outgoing_allowances: tuple[str, ...] = ()  # "host:port" that alerts may reach without being public https
    log_level: str = "INFO"
    page_key_parameter: str = ""  # SSM parameter (or "secretsmanager:…") with the page's key; empty: no page
    webhook_iam: bool = False  # whether callers that IAM authorizes may also post labels, without a signature


def from_environment(environ: Mapping[str, str]) -> Settings:
    """The settings that these variables describe.

    Required: PLUMBLINE_BUCKET, PLUMBLINE_TABLE, PLUMBLINE_TOPIC_ARN, PLUMBLINE_MODEL_ROLE_ARN and a region (AWS_REGION,
    which Lambda sets, or AWS_DEFAULT_REGION). Optional: PLUMBLINE_STAGE ("dev"), PLUMBLINE_WEBHOOK_KEYS (none),
    PLUMBLINE_PAGE_KEY (none),
    PLUMBLINE_METRICS_NAMESPACE ("Plumbline"), PLUMBLINE_OUTGOING_ALLOWANCES (none), PLUMBLINE_LOG_LEVEL ("INFO"),
    PLUMBLINE_WEBHOOK_IAM ("no"). Raises MisconfiguredError naming the variable, what it holds and what was expected,
    and all that are missing at once.
    """
    region_variable = "AWS_REGION" if environ.get("AWS_REGION") else "AWS_DEFAULT_REGION"
    required = {region_variable: (_REGION, 'an AWS region, such as "us-east-1"'), **_REQUIRED}
    _refuse_missing(environ, required)

    def given(variable: str) -> str:
        return _checked(environ, variable, *required[variable])

    return Settings(
        stage=_stage_of(environ),
        region=given(region_variable),
        bucket=given("PLUMBLINE_BUCKET"),
        table=given("PLUMBLINE_TABLE"),
        topic_arn=given("PLUMBLINE_TOPIC_ARN"),
        webhook_key_parameter=_checked(
            environ,
            "PLUMBLINE_WEBHOOK_KEYS",
            _PARAMETER,
            'the name of an SSM parameter, or "secretsmanager:" and the name of a secret, or nothing',
            default="",
        ),
        execution_role_arn=given("PLUMBLINE_MODEL_ROLE_ARN"),
        metrics_namespace=_checked(
            environ,
            "PLUMBLINE_METRICS_NAMESPACE",
            _NAMESPACE,
            'a CloudWatch namespace of at most 255 characters that does not begin with "AWS/"',
            default="Plumbline",
        ),
        outgoing_allowances=_allowances(environ),
        log_level=_log_level(environ),
        page_key_parameter=_checked(
            environ,
            "PLUMBLINE_PAGE_KEY",
            _PARAMETER,
            'the name of an SSM parameter, or "secretsmanager:" and the name of a secret, or nothing',
            default="",
        ),
        webhook_iam=_checked(environ, "PLUMBLINE_WEBHOOK_IAM", _YES_OR_NO, '"yes" or "no"', default="no") == "yes",
    )


def load() -> Settings:
    """The settings of this process. Raises MisconfiguredError."""
    return from_environment(os.environ)


def stage() -> str:
    """The stage's name alone, "dev" by default: app.py needs it for queue names at import, also when packaging.

    Raises MisconfiguredError.
    """
    return _stage_of(os.environ)


def of_stage(settings: Settings, stage: str) -> Settings:
    """These settings with another stage's name. Raises MisconfiguredError for an invalid name."""
    return msgspec.structs.replace(settings, stage=_stage_of({"PLUMBLINE_STAGE": stage}))


def _stage_of(environ: Mapping[str, str]) -> str:
    expected = "a lower-case letter, then at most 19 lower-case letters and digits"
    return _checked(environ, "PLUMBLINE_STAGE", _STAGE, expected, default=_DEFAULT_STAGE)


def _refuse_missing(environ: Mapping[str, str], required: Mapping[str, tuple[re.Pattern[str], str]]) -> None:
    """Report several missing variables together; a single one is reported like a wrong one."""
    missing = [variable for variable in required if not environ.get(variable)]
    if len(missing) > 1:
        width = max(map(len, missing))
        each = "".join(f"\n  {variable.ljust(width)}  {required[variable][1]}" for variable in missing)
        raise MisconfiguredError(", ".join(missing), None, f"these environment variables:{each}")


def _checked(
    environ: Mapping[str, str], variable: str, pattern: re.Pattern[str], expected: str, default: str | None = None
) -> str:
    """A variable's text; an empty one counts as not set, because templates cannot always omit a variable."""
    value = environ.get(variable) or default
    if value is None or not pattern.fullmatch(value):
        raise MisconfiguredError(variable, environ.get(variable), expected)
    return value


def _allowances(environ: Mapping[str, str]) -> tuple[str, ...]:
    variable = "PLUMBLINE_OUTGOING_ALLOWANCES"
    entries = tuple(entry.strip() for entry in environ.get(variable, "").split(",") if entry.strip())
    for entry in entries:
        match = _ALLOWANCE.fullmatch(entry)
        if match is None or not 0 < int(match[2]) < 65536:
            raise MisconfiguredError(variable, entry, 'entries "host:port" (an IPv6 address in brackets) and commas')
    return entries


def _log_level(environ: Mapping[str, str]) -> str:
    level = (environ.get("PLUMBLINE_LOG_LEVEL") or "INFO").upper()
    if level not in _LOG_LEVELS:
        raise MisconfiguredError("PLUMBLINE_LOG_LEVEL", environ.get("PLUMBLINE_LOG_LEVEL"), " or ".join(_LOG_LEVELS))
    return level
