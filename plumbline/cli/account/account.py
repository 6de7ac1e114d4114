"""An AWS account for the commands: any read, with "does not exist" and "not allowed" as errors of their own.

Knows how services spell these two, and which permission a call needs. Not here: what an answer means.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from chalicelib import wiring
from chalicelib.errors import NotFoundError, PlumblineError

_ABSENT = {
    *("404", "NoSuchBucket", "NoSuchKey", "NoSuchEntity", "NotFound", "NotFoundException", "ParameterNotFound"),
    *("ResourceNotFound", "ResourceNotFoundException", "NoSuchResourceException", "QueueDoesNotExist"),
    *("AWS.SimpleQueueService.NonExistentQueue", "ServerSideEncryptionConfigurationNotFoundError"),
}
_DENIED = {"403", "AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "Forbidden"}
# SageMaker uses one error code, ValidationException, for this and everything else.
_ABSENT_WORDS = ("could not find", "does not exist", "not found")

# IAM's action for a call, where it is not `service:Operation`.
_PERMISSIONS = {
    ("s3", "head_bucket"): "s3:ListBucket",
    ("s3", "list_objects_v2"): "s3:ListBucket",
    ("s3", "get_bucket_notification_configuration"): "s3:GetBucketNotification",
    ("s3", "put_bucket_notification_configuration"): "s3:PutBucketNotification",
    ("s3", "get_bucket_encryption"): "s3:GetEncryptionConfiguration",
    ("service-quotas", "get_service_quota"): "servicequotas:GetServiceQuota",
    ("service-quotas", "list_service_quotas"): "servicequotas:ListServiceQuotas",
}

# What to do about a failure, by AWS's or the client's error code.
_NEXT_STEPS = {
    ("NoCredentials", "PartialCredentials", "CredentialRetrieval"): (
        "sign in (`aws sso login`, `aws configure`) or set AWS_PROFILE"
    ),
    (
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "UnauthorizedSSOToken",
        "SSOTokenLoad",
        "TokenRetrieval",
    ): ("the session is over: sign in again (`aws sso login`, or new temporary credentials)"),
    ("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch"): (
        "these credentials are not valid: check `aws sts get-caller-identity` and `aws configure list`"
    ),
    ("ProfileNotFound",): "check `aws configure list-profiles` and AWS_PROFILE",
    ("EndpointConnection", "ConnectTimeout", "ReadTimeout", "ConnectionClosed"): "check the network and the region",
    tuple(sorted(_DENIED)): "ask the administrator of this account for the permission",
    ("Throttling", "ThrottlingException", "TooManyRequestsException", "SlowDown"): "wait a minute and run it again",
}
_SESSION = {code for codes in list(_NEXT_STEPS)[:5] for code in codes}


class DeniedError(PlumblineError):
    """This identity may not make a call; `permission` is the missing one."""

    def __init__(self, permission: str) -> None:
        super().__init__(f"not allowed: needs {permission}")
        self.permission = permission


class UnansweredError(PlumblineError):
    """AWS did not answer a call (throttling, for example)."""


def failure(error: Exception) -> str:
    """An exception of AWS's client in one line, with the next step where there is one."""
    code = wiring.aws_error_code(error)
    step = next((step for codes, step in _NEXT_STEPS.items() if code in codes), "")
    text = " ".join(str(error).split()).rstrip(".")
    return f"AWS: {text}; next: {step}" if step else f"AWS: {text}"


class Account:
    """One account in one region (None: the AWS profile's own), as this process's identity sees it."""

    def __init__(self, region: str | None) -> None:
        self.region = region
        self._clients: dict[str, Any] = {}

    def ask(self, service: str, operation: str, **request: Any) -> dict[str, Any]:
        """Make a call (boto3's names) and return the answer without ResponseMetadata.

        Raises NotFoundError, DeniedError, and UnansweredError for any other AWS error. No credentials, an expired token
        and no network pass through: no other call would be answered either.
        """
        if service not in self._clients:
            self._clients[service] = wiring.client(service, self.region)
        client = self._clients[service]
        try:
            if client.can_paginate(operation):
                return dict(client.get_paginator(operation).paginate(**request).build_full_result())
            answer: dict[str, Any] = getattr(client, operation)(**request)
        except Exception as error:
            if refusal := understood(error, permission(service, operation)):
                raise refusal from error
            raise
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """Account and Arn of the caller."""
        return self.ask("sts", "get_caller_identity")

    @property
    def number(self) -> str:
        """The account's twelve digits."""
        return self.identity["Account"]

    def arn(self, service: str, rest: str) -> str:
        """The ARN of a resource in this account and region."""
        partition = self.identity["Arn"].split(":")[1]
        return f"arn:{partition}:{service}:{self.region}:{self.number}:{rest}"

    def grant(self, permission: str) -> str:
        """The command that grants this identity a permission, or what to ask for where no command can."""
        statement = {"Effect": "Allow", "Action": permission, "Resource": "*"}
        document = shlex.quote(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        policy = f"--policy-name plumbline-{permission.replace(':', '-')} --policy-document {document}"
        if found := re.search(r":assumed-role/([^/]+)/", self.identity["Arn"]):
            if not found[1].startswith("AWSReservedSSO_"):
                return f"aws iam put-role-policy --role-name {found[1]} {policy}"
        elif found := re.search(r":user/(?:.*/)?([^/]+)$", self.identity["Arn"]):
            return f"aws iam put-user-policy --user-name {found[1]} {policy}"
        return f"ask for {permission} to be allowed for {self.identity['Arn']}"


def understood(error: Exception, needed: str = "") -> PlumblineError | None:
    """AWS's error as one of ours when it concerns one call, which `needed` a permission.

    None for errors that concern every call (no credentials, an expired token, no network) and for other exceptions.
    """
    code = wiring.aws_error_code(error)
    if not code or code in _SESSION:
        return None
    if code in _ABSENT or (code == "ValidationException" and _says_absent(error)):
        return NotFoundError(" ".join(str(error).split()))
    if code in _DENIED:
        return DeniedError(needed or f"permission for {getattr(error, 'operation_name', 'a call')}")
    return UnansweredError(" ".join(str(error).split()))


def permission(service: str, operation: str) -> str:
    """The IAM action that a call needs."""
    words = "".join(word.capitalize() for word in operation.split("_"))
    return _PERMISSIONS.get((service, operation), f"{service}:{words}")


def _says_absent(error: Exception) -> bool:
    return any(word in str(error).lower() for word in _ABSENT_WORDS)
