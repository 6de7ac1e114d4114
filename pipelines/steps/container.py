"""SageMaker's container contract: where a step finds its files, how it fetches S3 objects, how it reports a failure.

Shipped beside the step scripts (see package_code.py). `ML_ROOT` moves /opt/ml elsewhere, for local runs.
Payload never reaches a message: an unexpected error is reported by its class and the line that raised it, because texts
such as "could not convert string to float" quote the value. Not here: what the files mean.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(os.environ.get("ML_ROOT", "/opt/ml"))
INPUT = ROOT / "processing/input"
OUTPUT = ROOT / "processing/output"


class StepFailureError(Exception):
    """The step cannot do its work; the text says what, where and what was expected."""


def fetch(uri: str) -> bytes:
    """Read `s3://bucket/key` with the job's role, or a local `file:///path`.

    Raises StepFailureError naming the object when it does not exist, may not be read, or the scheme is another one.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        if not path.is_file():
            raise StepFailureError(f"{uri} does not exist")
        return path.read_bytes()
    if not uri.startswith("s3://"):
        raise StepFailureError(f"{uri}: expected an s3:// (or file://) URI")
    import boto3
    from botocore.exceptions import ClientError

    # Not urlsplit: a key may hold "?" and "#", which are nothing special in S3.
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        body: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in {"NoSuchKey", "NoSuchBucket", "404"}:
            raise StepFailureError(f"{uri} does not exist") from None
        if code in {"AccessDenied", "403"}:
            raise StepFailureError(f"{uri}: the job's role may not read it") from None
        raise
    return body


def only_file(folder: Path, pattern: str = "*") -> Path:
    """The one file of an input folder. Raises StepFailureError when there is none, or more than one."""
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
    if len(files) != 1:
        raise StepFailureError(f"{folder}: found {len(files)} files that match {pattern}; expected exactly one")
    return files[0]


def run(step: Callable[[], Any]) -> int:
    """Run a step. On failure write the reason where SageMaker looks for it and return exit code 1."""
    try:
        step()
    except Exception as error:
        reason = str(error) if isinstance(error, StepFailureError) else _class_and_place(error)
        print(reason, file=sys.stderr)
        (ROOT / "output").mkdir(parents=True, exist_ok=True)
        # "failure" is read after training jobs, "message" after processing jobs; both hold at most 1024 bytes.
        for name in ("failure", "message"):
            (ROOT / "output" / name).write_bytes(reason.encode()[:1024])
        return 1
    return 0


def _class_and_place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent == Path(__file__).parent] or frames
    return f"{type(error).__name__} in {Path(own[-1].filename).name}, line {own[-1].lineno}"
