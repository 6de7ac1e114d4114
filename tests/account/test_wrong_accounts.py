"""No credentials, an expired token, a wrong stage or definition: one line with the next step, nothing half-made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from chalicelib import wiring
from plumbline.cli.main import main
from tests.account.scene import MONITOR, PIPELINE, STAGE, WATCHED, Refusing, Scene, document, parameters

# Every command that asks an account.
COMMANDS = [
    ("doctor",),
    ("connect", WATCHED, "--yes"),
    ("status",),
    ("pause", MONITOR),
    ("remove", MONITOR),
    ("diff", "examples/electricity/monitor.yaml"),
    ("add", "examples/electricity/monitor.yaml"),
]


def one_line(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("plumbline: "), err
    return err


@pytest.fixture
def signed_out(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine on which no AWS client finds credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    before, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, None
    wiring.use(None)
    yield
    boto3.DEFAULT_SESSION = before


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_no_credentials(signed_out: None, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    err = one_line(capsys, 1, *arguments)
    assert err == (
        "plumbline: AWS: Unable to locate credentials; "
        "next: sign in (`aws sso login`, `aws configure`) or set AWS_PROFILE\n"
    )


# Each command's first call; every later one would be answered alike.
FIRST_CALLS = ("sts.GetCallerIdentity", "sqs.GetQueueUrl", "dynamodb.GetItem", "dynamodb.Query", "dynamodb.PutItem",
               "sagemaker.DescribePipeline")  # fmt: skip


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_an_expired_token(
    scene: Scene, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: str
) -> None:
    with Refusing(scene) as refusing:
        for call in FIRST_CALLS:
            refusing.answer(call, code, "The security token included in the request is expired")
        wiring.use(scene.services())
        err = one_line(capsys, 1, *arguments)
    assert "expired; next: the session is over: sign in again" in err


def test_a_token_that_expires_in_the_middle(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with Refusing(scene) as refusing:
        refusing.answer("sagemaker.DescribeEndpoint", "ExpiredTokenException", "is expired")
        assert "sign in again" in one_line(capsys, 1, "doctor")


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "SignatureDoesNotMatch"])
def test_invalid_credentials(scene: Scene, capsys: pytest.CaptureFixture[str], code: str) -> None:
    with Refusing(scene) as refusing:
        for call in FIRST_CALLS:
            refusing.answer(call, code, "is invalid")
        assert "next: these credentials are not valid" in one_line(capsys, 1, "doctor")


# Stages ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("doctor",), ("connect", WATCHED, "--yes")], ids=lambda command: command[0])
def test_a_stage_that_is_not_deployed(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PLUMBLINE_TABLE", "somewhere")
    monkeypatch.setenv("PLUMBLINE_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:somewhere")
    err = one_line(capsys, 2, *command, "--stage", "prod")
    assert err == (
        "plumbline: stage: got 'prod'; expected a stage of account 123456789012 in us-east-1 (test), "
        "or `make deploy STAGE=prod`\n"
    )


@pytest.mark.parametrize("command", [("doctor",), ("connect", WATCHED, "--yes")], ids=lambda command: command[0])
def test_another_stage_than_the_environment_is_about(
    scene: Scene, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    err = one_line(capsys, 2, *command, "--stage", "prod")
    assert "PLUMBLINE_TABLE: got 'plumbline-test-table'; expected one of the stage prod" in err


@pytest.mark.parametrize("command", [("doctor",), ("connect", WATCHED, "--yes")], ids=lambda command: command[0])
@pytest.mark.parametrize("stage", ["Prod", "1st", "a_b", "a-b", "x" * 21])
def test_a_stage_that_no_stage_can_be_called(
    scene: Scene, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], stage: str
) -> None:
    err = one_line(capsys, 2, *command, "--stage", stage)
    assert f"PLUMBLINE_STAGE: got {stage!r}; expected a lower-case letter" in err


def test_an_account_without_any_stage(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with Refusing(scene) as refusing:
        refusing.answer("sqs.GetQueueUrl", "AWS.SimpleQueueService.NonExistentQueue", status=400)
        refusing.give("sqs.ListQueues", QueueUrls=[])
        assert main(["doctor"]) == 3
        lines = capsys.readouterr().out.splitlines()
        assert "  missing  queue plumbline-test-captures does not exist" in lines
        err = one_line(capsys, 2, "connect", WATCHED, "--yes")
    assert "expected a stage that is deployed" in err and f"`make deploy STAGE={STAGE}`" in err


def test_a_missing_variable(scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLUMBLINE_BUCKET")
    assert "PLUMBLINE_BUCKET: got None; expected the name of an S3 bucket" in one_line(capsys, 2, "doctor")


# Definitions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "retraining, line",
    [
        (
            {"pipeline_name": "nobody"},
            "retraining.pipeline_name: got 'nobody'; expected a pipeline that exists in this account; "
            "see `aws sagemaker list-pipelines`",
        ),
        (
            {"parameters": {**parameters(), "Extra": "1"}},
            f"retraining.parameters: got ['Extra']; expected only parameters of {PIPELINE}: ",
        ),
        (
            {"parameters": {"ManifestUri": "{manifest_uri}"}},
            "retraining.parameters: got ['ManifestUri']; expected also CodeUri, DecisionId, ",
        ),
    ],
)
def test_a_pipeline_that_cannot_start(
    scene: Scene, capsys: pytest.CaptureFixture[str], tmp_path: Path, retraining: dict[str, Any], line: str
) -> None:
    path = tmp_path / "monitor.yaml"
    fields = document(name="other", retraining={**document()["retraining"], **retraining})
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    before = stored(scene)
    assert one_line(capsys, 2, "add", str(path)).startswith(f"plumbline: {line}")
    assert stored(scene) == before
    assert main(["add", "--check", str(path)]) == 0  # which asks no account


def stored(scene: Scene) -> tuple[Any, Any]:
    """Every item of the table and every key of our own bucket."""
    settings = scene.settings()
    items = scene.client("dynamodb").scan(TableName=settings.table)["Items"]
    objects = scene.client("s3").list_objects_v2(Bucket=settings.bucket).get("Contents", [])
    return sorted((item["pk"]["S"], item["sk"]["S"]) for item in items), [each["Key"] for each in objects]


@pytest.mark.parametrize("command", ["pause", "remove", "status"])
def test_a_monitor_that_is_not_stored(scene: Scene, capsys: pytest.CaptureFixture[str], command: str) -> None:
    before = stored(scene)
    err = one_line(capsys, 2, command, "nobody")
    assert err == "plumbline: monitor nobody: not in the table (stored: churn); `plumbline add FILE` stores one\n"
    assert stored(scene) == before
