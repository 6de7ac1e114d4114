"""Deployment against moto's CloudFormation and S3: what is created, what is refused, and that a refusal leaves nothing.

moto executes change sets at once, knows no SAM and refuses almost nothing; this says how the command behaves, not that
AWS takes the template.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from moto import mock_aws

from infra import deploy as command
from infra.deploy import DeployError, Deployment, deploy, explain, main, shown
from infra.package import FUNCTIONS_ZIP, LAYER_ZIP, MANIFEST, TEMPLATE, Package, digest
from infra.stage_file import StageFile

REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/models"


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        found = boto3.session.Session()
        for name, region in (("artifacts", REGION), ("captures", REGION), ("elsewhere", "us-west-2")):
            client = found.client("s3", region_name=region)
            client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
        yield found


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A stage of two queues; the zips have some bytes."""
    folder = tmp_path / "package"
    folder.mkdir()
    write_template(folder, ["One", "Two"])
    return Package(folder)


def write_template(folder: Path, queues: list[str]) -> None:
    resources: dict[str, Any] = {
        name: {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": f"plumbline-dev-{name}"}} for name in queues
    }
    template = {
        "Parameters": {"ModelRoleArn": {"Type": "String"}},
        "Resources": resources,
        "Outputs": {"Role": {"Value": {"Ref": "ModelRoleArn"}}},
    }
    (folder / TEMPLATE).write_text(json.dumps(template))
    for name in (FUNCTIONS_ZIP, LAYER_ZIP):
        (folder / name).write_bytes(name.encode())
    sha256 = {name: digest(folder / name) for name in (FUNCTIONS_ZIP, LAYER_ZIP, TEMPLATE)}
    (folder / MANIFEST).write_text(
        json.dumps({"stage": "dev", "architecture": "arm64", "stage_file": "", "sha256": sha256})
    )


def stage_file(**fields: Any) -> StageFile:
    needed = {"region": REGION, "artifacts_bucket": "artifacts", "model_role_arn": ROLE}
    return StageFile(**{**needed, "parameters": {"OperatorEmail": ""}, **fields})


def run(session: Any, package: Package, found: StageFile, agree: bool = True) -> tuple[int, str]:
    said: list[str] = []
    deployment = Deployment(session, "dev", found, say=said.append, sleep=lambda _: None)
    status = deploy(deployment, package, found, agree=lambda: agree, say=said.append)
    return status, "\n".join(said)


def queues(session: Any) -> list[str]:
    urls = session.client("sqs", region_name=REGION).list_queues().get("QueueUrls", [])
    return sorted(url.rpartition("/")[2] for url in urls)


def stacks(session: Any) -> list[str]:
    found = session.client("cloudformation", region_name=REGION).describe_stacks()["Stacks"]
    return [each["StackName"] for each in found]


def objects(session: Any) -> list[str]:
    found = session.client("s3", region_name=REGION).list_objects_v2(Bucket="artifacts").get("Contents", [])
    return [each["Key"] for each in found]


def test_who_is_told_of_failures_is_asked(session: Any, package: Package) -> None:
    with pytest.raises(DeployError, match="OperatorEmail"):
        run(session, package, stage_file(parameters={}))
    assert not [each for each in stacks(session)]


def test_a_stage_is_created_and_changed(session: Any, package: Package) -> None:
    status, said = run(session, package, stage_file(tags={"team": "ml"}))
    assert status == 0
    assert queues(session) == ["plumbline-dev-One", "plumbline-dev-Two"]
    assert "Add     AWS::SQS::Queue                     One" in said
    [stack] = session.client("cloudformation", region_name=REGION).describe_stacks()["Stacks"]
    assert (stack["StackName"], stack["Tags"]) == ("plumbline-dev", [{"Key": "team", "Value": "ml"}])
    assert [(each["ParameterKey"], each["ParameterValue"]) for each in stack["Parameters"]] == [("ModelRoleArn", ROLE)]
    assert len(objects(session)) == 3

    write_template(package.folder, ["One", "Three"])
    status, said = run(session, package, stage_file())
    assert status == 0
    assert queues(session) == ["plumbline-dev-One", "plumbline-dev-Three"]
    assert "REMOVED" in said
    assert len(objects(session)) == 4, "the zips are those that are there already"


def test_no_leaves_nothing_but_the_uploads(session: Any, package: Package) -> None:
    status, said = run(session, package, stage_file(), agree=False)
    assert status == 1
    assert (queues(session), stacks(session)) == ([], [])
    assert "not executed" in said


def test_an_interrupted_question_leaves_nothing(session: Any, package: Package) -> None:
    def interrupted() -> bool:
        raise KeyboardInterrupt

    found = stage_file()
    deployment = Deployment(session, "dev", found, say=lambda _: None, sleep=lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        deploy(deployment, package, found, agree=interrupted, say=lambda _: None)
    assert (queues(session), stacks(session)) == ([], [])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"artifacts_bucket": "nowhere"},
            "artifacts_bucket: there is no bucket nowhere: create it (aws s3 mb s3://nowhere --region eu-west-1)",
        ),
        (
            {"artifacts_bucket": "elsewhere"},
            "artifacts_bucket: the bucket elsewhere lies in us-west-2, the stage in eu-west-1: CloudFormation reads",
        ),
        (
            {"captures": ("s3://elsewhere/captures",)},
            "captures, ground_truth: the bucket elsewhere lies in us-west-2, the stage in eu-west-1: S3 sends",
        ),
        ({"reports": ("s3://nowhere/reports",)}, "bucket and places: there is no bucket nowhere"),
    ],
)
def test_a_wrong_bucket_is_told_before_anything_is_made(
    session: Any, package: Package, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeployError) as raised:
        run(session, package, stage_file(**fields))
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert (objects(session), stacks(session), queues(session)) == ([], [], [])


def test_a_stack_that_failed_before_is_told(session: Any, package: Package) -> None:
    class Left:
        """CloudFormation with a stack that an earlier attempt has left."""

        def __init__(self, status: str) -> None:
            self._status = status

        def describe_stacks(self, **_: Any) -> Any:
            return {"Stacks": [{"StackStatus": self._status}]}

    deployment = Deployment(session, "dev", stage_file(), say=lambda _: None)
    for status, message in (("ROLLBACK_COMPLETE", "delete it"), ("UPDATE_IN_PROGRESS", "wait until that has ended")):
        deployment._cloudformation = Left(status)
        with pytest.raises(DeployError, match=message):
            deployment.check()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoCredentialsError(), "no AWS credentials"),
        (ClientError({"Error": {"Code": "ExpiredToken", "Message": "…"}}, "GetCallerIdentity"), "has expired"),
        (ClientError({"Error": {"Code": "InvalidClientTokenId"}}, "GetCallerIdentity"), "does not know these"),
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "User x may not\nCreateChangeSet"}}, "Create"),
            "not allowed: User x may not CreateChangeSet",
        ),
        (ClientError({"Error": {"Code": "Throttling", "Message": "slow"}}, "Create"), "Create: Throttling: slow"),
    ],
)
def test_what_a_client_says_is_one_line_with_the_next_step(error: Exception, message: str) -> None:
    assert message in explain(error)
    assert "\n" not in explain(error)


def test_the_command_tells_one_line_and_ends_with_2(
    session: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dev.json"
    path.write_text(
        json.dumps(
            {
                "region": REGION,
                "artifacts_bucket": "artifacts",
                "model_role_arn": ROLE,
                "parameters": {"OperatorEmail": ""},
            }
        )
    )
    assert main(["--stage", "dev", "--file", str(path), "--check"]) == 0
    assert main(["--stage", "Dev", "--check"]) == 2
    assert main(["--stage", "dev", "--file", str(tmp_path / "none.json"), "--check"]) == 2
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("botocore.credentials.CredentialResolver.load_credentials", lambda self: None)
    assert main(["--stage", "dev", "--file", str(path), "--check"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("STAGE='Dev': expected a lower-case letter")
    assert "no such file" in lines[1]
    assert "no AWS credentials" in lines[2]


def test_a_package_of_another_stage_file_is_not_deployed(
    session: Any, package: Package, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dev.json"
    document = {"region": REGION, "artifacts_bucket": "artifacts", "model_role_arn": ROLE, "endpoints": ["churn"]}
    path.write_text(json.dumps({**document, "parameters": {"OperatorEmail": ""}}))
    monkeypatch.setattr(command, "folder_of", lambda stage, architecture: package.folder)
    assert main(["--stage", "dev", "--file", str(path), "--yes"]) == 2
    assert capsys.readouterr().err == ("the stage's file is not the one that was packaged: make package STAGE=dev\n")
    assert stacks(session) == []


def test_without_a_terminal_nothing_is_executed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    assert not command._agree(False)
    assert "YES=1" in capsys.readouterr().err
    assert command._agree(True)


def test_what_is_replaced_or_removed_is_seen() -> None:
    changes = [
        {"Action": "Remove", "ResourceType": "AWS::SQS::Queue", "LogicalResourceId": "Old"},
        {"Action": "Modify", "ResourceType": "T", "LogicalResourceId": "Table", "Replacement": "True"},
        {"Action": "Add", "ResourceType": "T", "LogicalResourceId": "New"},
    ]
    lines = shown(changes).splitlines()
    assert [line.split()[0] for line in lines] == ["Add", "Modify", "Remove"]
    assert lines[1].endswith("Table  REPLACED")
    assert lines[2].endswith("Old  REMOVED")
