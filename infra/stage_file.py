"""The file that describes the deployment of one stage: existing data, what may be changed, parameters and tags.

Knows its fields and what template parameters they become. Not here: any call to AWS (infra/deploy.py).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

_S3_URI = re.compile(r"s3://([a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?)(?:/(.*))?")
# At the end one asterisk: all names that begin so.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}\*?")

# What the other fields say; a second way to say it would be a contradiction some day.
_DERIVED = {"Stage", "ModelRoleArn", "BucketName"}


class StageFileError(Exception):
    """A stage's file is wrong; the text is one line: which field, what it holds, what was expected."""


class StageFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One stage. S3 URIs name folders of existing buckets; names are those of the account and region, or beginnings of
    names and an asterisk."""

    region: str
    artifacts_bucket: str
    model_role_arn: str
    bucket: str = ""
    captures: tuple[str, ...] = ()
    ground_truth: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    retraining: tuple[str, ...] = ()
    monitor_reports: tuple[str, ...] = ()
    data_keys: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    model_package_groups: tuple[str, ...] = ()
    parameters: Mapping[str, str | int] = {}
    tags: Mapping[str, str] = {}

    @property
    def places(self) -> Mapping[str, tuple[str, ...]]:
        """Field -> its S3 URIs."""
        names = ("captures", "ground_truth", "reports", "baselines", "retraining", "monitor_reports")
        return {name: getattr(self, name) for name in names}

    @property
    def event_buckets(self) -> tuple[str, ...]:
        """Buckets whose events reach the queues: they must lie in the stage's region."""
        return tuple(dict.fromkeys(split(uri)[0] for uri in (*self.captures, *self.ground_truth)))

    @property
    def existing_buckets(self) -> tuple[str, ...]:
        """Every existing bucket that the functions touch."""
        named = [split(uri)[0] for uris in self.places.values() for uri in uris]
        return tuple(dict.fromkeys([*([self.bucket] if self.bucket else []), *named]))


def read(path: Path, stage: str) -> StageFile:
    """Read and check a stage's file. Raises StageFileError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageFileError(f"{path}: no such file; docs/deployment.md shows one") from None
    except (OSError, ValueError) as error:
        raise StageFileError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(document, dict):
        raise StageFileError(f"{path}: expected an object of fields")
    known = StageFile.__struct_fields__
    for name in document:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            expected = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise StageFileError(f"{path}: unknown field {name}; {expected}")
    try:
        found = msgspec.convert(document, StageFile)
    except msgspec.ValidationError as error:
        raise StageFileError(f"{path}: {error}") from None
    _check(found, stage, path)
    return found


def _check(found: StageFile, stage: str, path: Path) -> None:
    for field, uris in found.places.items():
        for uri in uris:
            match = _S3_URI.fullmatch(uri)
            if match is None or not (match[2] or "").strip("/") or "*" in uri:
                raise StageFileError(f"{path}: {field}: {uri!r}; expected a folder such as s3://bucket/prefix")
    for field in ("endpoints", "pipelines", "model_package_groups"):
        for name in getattr(found, field):
            if not _NAME.fullmatch(name):
                raise StageFileError(f"{path}: {field}: {name!r}; expected a SageMaker name, or its beginning and *")
    from infra.template import parameters  # which itself reads this file

    allowed = set(parameters(stage)) - _DERIVED
    for name in found.parameters:
        if name not in allowed:
            raise StageFileError(f"{path}: parameters: {name!r}; expected one of {', '.join(sorted(allowed))}")


def split(uri: str) -> tuple[str, str]:
    """(bucket, folder) of a URI of the file."""
    match = _S3_URI.fullmatch(uri)
    assert match is not None, "checked when the file was read"
    return match[1], (match[2] or "").strip("/")


def identity(found: StageFile | None) -> str:
    """The SHA-256 of what a stage's file says; "" for no file."""
    return hashlib.sha256(msgspec.json.encode(found, order="sorted")).hexdigest() if found else ""


def template_parameters(found: StageFile) -> dict[str, str]:
    """The template's parameters, as texts; those that are not given keep the template's defaults."""
    made: dict[str, Any] = {
        "ModelRoleArn": found.model_role_arn,
        "BucketName": found.bucket,
        **{name: str(value) for name, value in found.parameters.items()},
    }
    return {name: value for name, value in made.items() if value}
