"""What each variable means, and what a wrong one says."""

from __future__ import annotations

import pytest

from chalicelib import settings
from chalicelib.errors import MisconfiguredError
from chalicelib.settings import Settings, from_environment

REQUIRED = {
    "AWS_REGION": "eu-west-1",
    "PLUMBLINE_BUCKET": "plumbline-prod",
    "PLUMBLINE_TABLE": "plumbline-prod-facts",
    "PLUMBLINE_TOPIC_ARN": "arn:aws:sns:eu-west-1:123456789012:plumbline-prod-alerts",
    "PLUMBLINE_MODEL_ROLE_ARN": "arn:aws:iam::123456789012:role/service/plumbline-model",
}


def test_the_required_ones_and_the_defaults() -> None:
    assert from_environment(REQUIRED) == Settings(
        stage="dev",
        region="eu-west-1",
        bucket="plumbline-prod",
        table="plumbline-prod-facts",
        topic_arn="arn:aws:sns:eu-west-1:123456789012:plumbline-prod-alerts",
        webhook_key_parameter="",
        execution_role_arn="arn:aws:iam::123456789012:role/service/plumbline-model",
        metrics_namespace="Plumbline",
        outgoing_allowances=(),
        log_level="INFO",
    )


def test_every_variable() -> None:
    read = from_environment(
        {
            **REQUIRED,
            "AWS_REGION": "us-gov-west-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "PLUMBLINE_STAGE": "prod2",
            "PLUMBLINE_WEBHOOK_KEYS": "secretsmanager:plumbline/keys",
            "PLUMBLINE_METRICS_NAMESPACE": "Models/Plumbline",
            "PLUMBLINE_OUTGOING_ALLOWANCES": "127.0.0.1:8123, [::1]:80 ,hooks.internal:443,",
            "PLUMBLINE_LOG_LEVEL": "debug",
            "PLUMBLINE_WEBHOOK_IAM": "yes",
        }
    )
    assert (read.region, read.stage, read.log_level) == ("us-gov-west-1", "prod2", "DEBUG")
    assert (read.webhook_key_parameter, read.metrics_namespace) == ("secretsmanager:plumbline/keys", "Models/Plumbline")
    assert read.outgoing_allowances == ("127.0.0.1:8123", "[::1]:80", "hooks.internal:443")


def test_the_default_region_where_lambda_does_not_set_one() -> None:
    environ = {**REQUIRED, "AWS_DEFAULT_REGION": "us-east-1"}
    del environ["AWS_REGION"]
    assert from_environment(environ).region == "us-east-1"


@pytest.mark.parametrize("variable", [name for name in REQUIRED if name != "AWS_REGION"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_one_is_named(variable: str, empty: bool) -> None:
    environ = {name: value for name, value in REQUIRED.items() if name != variable} | ({variable: ""} if empty else {})
    with pytest.raises(MisconfiguredError, match=f"^{variable}: got .*; expected ") as caught:
        from_environment(environ)
    assert caught.value.field == variable


def test_all_that_are_missing_are_named_at_once_each_with_what_it_is() -> None:
    with pytest.raises(MisconfiguredError) as caught:
        from_environment({"PLUMBLINE_TABLE": "plumbline-prod-facts", "PLUMBLINE_BUCKET": ""})
    first, *lines = str(caught.value).splitlines()
    missing = ["AWS_DEFAULT_REGION", "PLUMBLINE_BUCKET", "PLUMBLINE_TOPIC_ARN", "PLUMBLINE_MODEL_ROLE_ARN"]
    assert first == f"{', '.join(missing)}: got None; expected these environment variables:"
    assert [line.split()[0] for line in lines] == missing
    for line, what in zip(lines, ("an AWS region", "an S3 bucket", "topic of alerts", "role of models"), strict=True):
        assert what in line


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PLUMBLINE_STAGE", "Prod"),
        ("PLUMBLINE_STAGE", "1st"),
        ("PLUMBLINE_STAGE", "a" * 21),
        ("PLUMBLINE_STAGE", "prod\n"),
        ("PLUMBLINE_BUCKET", "s3://bucket"),
        ("PLUMBLINE_TABLE", "a table"),
        ("PLUMBLINE_TOPIC_ARN", "plumbline-prod-alerts"),
        ("PLUMBLINE_MODEL_ROLE_ARN", "arn:aws:iam::1:role/x"),
        ("PLUMBLINE_WEBHOOK_KEYS", "two words"),
        ("PLUMBLINE_METRICS_NAMESPACE", "AWS/SageMaker"),
        ("PLUMBLINE_OUTGOING_ALLOWANCES", "127.0.0.1"),
        ("PLUMBLINE_OUTGOING_ALLOWANCES", "http://127.0.0.1:8123"),
        ("PLUMBLINE_OUTGOING_ALLOWANCES", "ok:80,host:65536"),
        ("PLUMBLINE_LOG_LEVEL", "LOUD"),
        ("PLUMBLINE_WEBHOOK_IAM", "true"),
        ("AWS_REGION", "Ireland"),
    ],
)
def test_a_wrong_one_is_named_with_what_it_holds(variable: str, value: str) -> None:
    with pytest.raises(MisconfiguredError, match=f"^{variable}: got .*; expected ") as caught:
        from_environment({**REQUIRED, variable: value})
    assert str(caught.value.value) in value


def test_an_empty_optional_one_is_not_set() -> None:
    optional = ("STAGE", "WEBHOOK_KEYS", "METRICS_NAMESPACE", "OUTGOING_ALLOWANCES", "LOG_LEVEL", "WEBHOOK_IAM")
    assert from_environment(REQUIRED | {f"PLUMBLINE_{name}": "" for name in optional}) == from_environment(REQUIRED)


def test_no_region_at_all() -> None:
    with pytest.raises(MisconfiguredError, match="AWS_DEFAULT_REGION: got None"):
        from_environment({name: value for name, value in REQUIRED.items() if name != "AWS_REGION"})


def test_the_stage_alone_needs_no_other_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("PLUMBLINE_STAGE", raising=False)
    assert settings.stage() == "dev"
    monkeypatch.setenv("PLUMBLINE_STAGE", "prod")
    assert settings.stage() == "prod"
    monkeypatch.setenv("PLUMBLINE_STAGE", "PROD")
    with pytest.raises(MisconfiguredError, match="PLUMBLINE_STAGE"):
        settings.stage()


def test_the_processes_own_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PLUMBLINE_STAGE", "prod")
    assert settings.load() == from_environment({**REQUIRED, "PLUMBLINE_STAGE": "prod"})
