"""`make deploy`: upload a packaged stage, show CloudFormation's change set, and execute it after a yes.

Knows what can be wrong before anything is created, and how CloudFormation says that something went wrong. Whatever
this refuses, it refuses before the stack is touched; a new stack that fails is deleted by CloudFormation itself.
Never run against AWS: tried on moto (tests/unit/infra/test_deploy.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from infra.package import FUNCTIONS_ZIP, LAYER_ZIP, ROOT, Package, PackageError, check_stage, folder_of
from infra.stage_file import StageFile, StageFileError, identity, read, template_parameters

CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
POLL_SECONDS, PATIENCE_SECONDS = 5.0, 3600.0

_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "UnauthorizedSSOTokenError")
_INVALID = ("InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "SignatureDoesNotMatch")
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")


class DeployError(Exception):
    """Deployment cannot go on; the text is one line: what is wrong, and the next step."""


def explain(error: Exception) -> str:
    """An AWS client's error in one line, with the next step."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError | ProfileNotFound):
        return f"no AWS credentials ({error}): sign in, for example with `aws sso login`, or set AWS_PROFILE"
    if isinstance(error, TokenRetrievalError) or type(error).__name__ in _EXPIRED:
        return "the AWS session has expired: sign in again, for example with `aws sso login`"
    if isinstance(error, ClientError):
        code = error.response["Error"]["Code"]
        message = " ".join(str(error.response["Error"].get("Message", "")).split())
        if code in _EXPIRED:
            return "the AWS session has expired: sign in again, for example with `aws sso login`"
        if code in _INVALID:
            return f"AWS does not know these credentials ({code}): sign in again, or choose another AWS_PROFILE"
        if code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"):
            return f"not allowed: {message or error.operation_name}; ask for this permission, or use another role"
        return f"{error.operation_name}: {code}: {message}"
    return f"AWS cannot be asked: {error}"


class Deployment:
    """One deployment of a packaged stage through a boto3 session."""

    def __init__(
        self,
        session: Any,
        stage: str,
        stage_file: StageFile,
        *,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stage = stage
        self._file = stage_file
        self._say = say
        self._sleep = sleep
        self._s3 = session.client("s3", region_name=stage_file.region)
        self._sts = session.client("sts", region_name=stage_file.region)
        self._cloudformation = session.client("cloudformation", region_name=stage_file.region)

    @property
    def stack(self) -> str:
        """The stack's name."""
        return f"plumbline-{self._stage}"

    def check(self) -> str:
        """The caller's account, when everything that can be known before is right.

        Raises DeployError: no or old credentials, a bucket that is missing or lies elsewhere, a stack that is busy.
        """
        if "OperatorEmail" not in self._file.parameters:
            raise DeployError(
                "parameters: OperatorEmail is missing; expected an address for the alarms about the pipeline itself, "
                'such as "OperatorEmail": "ops@example.com", or "" for none'
            )
        caller = self._sts.get_caller_identity()
        self._check_bucket("artifacts_bucket", self._file.artifacts_bucket, "CloudFormation reads zips of its region")
        for name in self._file.event_buckets:
            self._check_bucket("captures, ground_truth", name, "S3 sends its events to rules of the bucket's region")
        for name in self._file.existing_buckets:
            if name not in self._file.event_buckets:
                self._check_bucket("bucket and places", name, "")
        self._change_set_type()
        return str(caller["Account"])

    def _check_bucket(self, field: str, name: str, why_here: str) -> None:
        """A bucket that exists and may be asked; with `why_here` it must lie in the stage's region."""
        region = self._file.region
        try:
            found = self._s3.get_bucket_location(Bucket=name)["LocationConstraint"] or "us-east-1"
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("NoSuchBucket", "404"):
                raise DeployError(
                    f"{field}: there is no bucket {name}: create it (aws s3 mb s3://{name} --region {region}) "
                    "or correct its name in the stage's file"
                ) from None
            if code in ("AccessDenied", "403"):
                raise DeployError(
                    f"{field}: the bucket {name} is not yours to ask (s3:GetBucketLocation): correct its name, or use "
                    "credentials of its account"
                ) from None
            raise
        found = {"EU": "eu-west-1"}.get(found, found)
        if why_here and found != region:
            raise DeployError(
                f"{field}: the bucket {name} lies in {found}, the stage in {region}: {why_here}; "
                f'choose a bucket in {region}, or "region": "{found}" in the stage\'s file'
            )

    def _change_set_type(self) -> str:
        """CREATE for a new stack, else UPDATE. Raises DeployError for a stack that takes no change now."""
        try:
            status = self._cloudformation.describe_stacks(StackName=self.stack)["Stacks"][0]["StackStatus"]
        except ClientError as error:
            if "does not exist" in str(error):
                return "CREATE"
            raise
        if status == "REVIEW_IN_PROGRESS":
            return "CREATE"
        if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"):
            raise DeployError(
                f"the stack {self.stack} is {status} from an earlier attempt: look at its events, delete it "
                f"(aws cloudformation delete-stack --stack-name {self.stack}) and deploy again"
            )
        if status.endswith("_IN_PROGRESS"):
            raise DeployError(f"the stack {self.stack} is {status}: wait until that has ended and deploy again")
        return "UPDATE"

    def upload(self, package: Package) -> str:
        """Put zips and template into the artifacts bucket, named by their content; the template's URL."""
        template, manifest = package.template, package.manifest
        for path, field, kind in (
            (package.functions, "CodeUri", FUNCTIONS_ZIP),
            (package.layer, "ContentUri", LAYER_ZIP),
        ):
            key = f"plumbline/{self._stage}/{manifest['sha256'][kind]}.zip"
            self._put(key, path.read_bytes())
            for resource in template["Resources"].values():
                if resource["Properties"].get(field) == kind:
                    resource["Properties"][field] = f"s3://{self._file.artifacts_bucket}/{key}"
        key = f"plumbline/{self._stage}/{manifest['sha256']['template.json']}.json"
        self._put(key, json.dumps(template, sort_keys=True).encode())
        location = self._s3.meta.endpoint_url.split("://")[1]
        return f"https://{self._file.artifacts_bucket}.{location}/{key}"

    def _put(self, key: str, body: bytes) -> None:
        """The key says the content: what is there already is the same."""
        try:
            self._s3.head_object(Bucket=self._file.artifacts_bucket, Key=key)
            return
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchKey", "403"):
                raise
        self._say(f"uploading s3://{self._file.artifacts_bucket}/{key} ({len(body) / 1e6:.1f} MB)")
        self._s3.put_object(Bucket=self._file.artifacts_bucket, Key=key, Body=body)

    def propose(self, template_url: str, parameters: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """Make the change set and wait for it; its changes, none when the stack is as it should be.

        Raises DeployError when CloudFormation refuses the template; then nothing is left of the change set.
        """
        kind = self._change_set_type()
        self._new = kind == "CREATE"
        name = f"plumbline-{int(time.time())}"
        self._change_set = self._cloudformation.create_change_set(
            StackName=self.stack,
            ChangeSetName=name,
            ChangeSetType=kind,
            TemplateURL=template_url,
            Capabilities=CAPABILITIES,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in sorted(parameters.items())],
            Tags=[{"Key": key, "Value": value} for key, value in sorted(self._file.tags.items())],
            # A stack that cannot be created leaves nothing; one that cannot be changed goes back to what it was.
            OnStackFailure="DELETE" if self._new else "ROLLBACK",
        )["Id"]
        while (found := self._described())["Status"] in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
            self._sleep(POLL_SECONDS)
        if found["Status"] == "FAILED":
            reason = str(found.get("StatusReason", ""))
            self.withdraw()
            if any(text in reason for text in _NO_CHANGES):
                return []
            raise DeployError(f"CloudFormation refuses the template: {' '.join(reason.split())}")
        changes: list[Mapping[str, Any]] = [each["ResourceChange"] for each in found.get("Changes", ())]
        while token := found.get("NextToken"):
            found = self._cloudformation.describe_change_set(ChangeSetName=self._change_set, NextToken=token)
            changes += [each["ResourceChange"] for each in found["Changes"]]
        return changes

    def _described(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._cloudformation.describe_change_set(ChangeSetName=self._change_set)
        return found

    def withdraw(self) -> None:
        """Delete the change set, and the empty stack that a first one makes: nothing is left."""
        self._cloudformation.delete_change_set(ChangeSetName=self._change_set)
        if self._new:
            self._cloudformation.delete_stack(StackName=self.stack)

    def execute(self) -> Mapping[str, str]:
        """Execute the change set and wait; the stack's outputs. Raises DeployError with the first failure's reason."""
        began = time.time()
        self._cloudformation.execute_change_set(ChangeSetName=self._change_set)
        waited = 0.0
        while True:
            try:
                [found] = self._cloudformation.describe_stacks(StackName=self.stack)["Stacks"]
            except ClientError as error:
                if "does not exist" not in str(error):
                    raise
                found = {"StackStatus": "DELETE_COMPLETE"}
            status = found["StackStatus"]
            if not status.endswith("_IN_PROGRESS") or status == "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS":
                break
            if waited > PATIENCE_SECONDS:
                raise DeployError(f"the stack {self.stack} is still {status}: look at its events in the console")
            self._sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"):
            raise DeployError(f"the stack {self.stack} is {status}: {self._first_failure(found.get('StackId'), began)}")
        return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}

    def _first_failure(self, stack_id: str | None, began: float) -> str:
        """The oldest failure since the change set was executed: later ones are cancellations."""
        try:
            pages = self._cloudformation.get_paginator("describe_stack_events").paginate(
                StackName=stack_id or self.stack
            )
            events = [
                event for page in pages for event in page["StackEvents"] if event["Timestamp"].timestamp() >= began
            ]
        except ClientError:
            events = []
        failed = [each for each in events if str(each.get("ResourceStatus", "")).endswith("_FAILED")]
        if not failed:
            return "no reason given; look at its events in the console"
        first = min(failed, key=lambda event: event["Timestamp"])
        return f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', 'no reason given')}"


def shown(changes: Sequence[Mapping[str, Any]]) -> str:
    """A change set as people read it: additions first, what is replaced or removed last and loudest."""
    order = {"Add": 0, "Import": 1, "Modify": 2, "Dynamic": 3, "Remove": 4}
    lines = []
    for change in sorted(changes, key=lambda each: (order.get(each["Action"], 3), each["LogicalResourceId"])):
        replaced = change.get("Replacement", "False") != "False"
        note = "  REPLACED" if replaced and change["Action"] == "Modify" else ""
        note = "  REMOVED" if change["Action"] == "Remove" else note
        lines.append(f"{change['Action']:8}{change['ResourceType']:36}{change['LogicalResourceId']}{note}")
    return "\n".join(lines)


def deploy(
    deployment: Deployment,
    package: Package,
    stage_file: StageFile,
    *,
    agree: Callable[[], bool],
    say: Callable[[str], None],
) -> int:
    """The whole way; 0 when the stack is as packaged, 1 when the answer was no.

    Raises DeployError, and botocore's own errors, which `explain` puts into words.
    """
    account = deployment.check()
    say(f"account {account}, region {stage_file.region}, stack {deployment.stack}")
    url = deployment.upload(package)
    changes = deployment.propose(url, template_parameters(stage_file))
    if not changes:
        say("nothing to change")
        return 0
    say(shown(changes))
    try:
        agreed = agree()
    except BaseException:  # an interrupted question is no yes
        deployment.withdraw()
        raise
    if not agreed:
        deployment.withdraw()
        say("not executed; the change set is deleted")
        return 1
    for name, value in sorted(deployment.execute().items()):
        say(f"{name}: {value}")
    say(f"deployed. Existing buckets are connected by `plumbline connect`; {deployment.stack} watches its own bucket")
    return 0


def _agree(yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        print("no terminal to ask on: YES=1 executes without asking", file=sys.stderr)
        return False
    return input("Execute this change set? [yes/no] ").strip().lower() in ("y", "yes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Deploy; 0 done, 1 declined, 2 for any error, reported in one line."""
    import boto3

    parser = argparse.ArgumentParser(prog="python -m infra.deploy")
    parser.add_argument("--stage", required=True)
    parser.add_argument("--arch", default="arm64")
    parser.add_argument("--file", type=Path, help="the stage's file; stages/{stage}.json by default")
    parser.add_argument("--yes", action="store_true", help="execute without asking")
    parser.add_argument("--check", action="store_true", help="only see whether everything is right before packaging")
    options = parser.parse_args(arguments)
    try:
        stage = check_stage(options.stage)
        stage_file = read(options.file or ROOT / "stages" / f"{stage}.json", stage)
        deployment = Deployment(boto3.session.Session(), stage, stage_file, say=print)
        if options.check:
            deployment.check()
            return 0
        package = Package(folder_of(stage, options.arch))
        if package.manifest["stage_file"] != identity(stage_file):
            raise DeployError(f"the stage's file is not the one that was packaged: make package STAGE={stage}")
        return deploy(deployment, package, stage_file, agree=lambda: _agree(options.yes), say=print)
    except (PackageError, StageFileError, DeployError) as error:
        print(error, file=sys.stderr)
    except (ClientError, BotoCoreError) as error:
        print(explain(error), file=sys.stderr)
    except KeyboardInterrupt:
        print("\ninterrupted; what CloudFormation has begun to execute it goes on with", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
