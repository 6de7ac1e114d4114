"""Where capture files go: a folder or an S3 prefix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol


class Place(Protocol):
    def put(self, key: str, body: bytes) -> None:
        """Store a whole file under a key with slashes. Whatever it raises, the writer keeps the lines and retries."""


class Folder:
    """A folder of this machine. A reader never sees half a file."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def put(self, key: str, body: bytes) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        # Readers of captures leave names out that begin with a dot.
        unfinished = path.with_name(f".{path.name}")
        unfinished.write_bytes(body)
        os.replace(unfinished, path)


class S3Prefix:
    """s3://bucket/prefix. boto3 is imported, and the client made, when the first file is put."""

    def __init__(self, uri: str, kms_key_id: str = "", client: Any = None) -> None:
        self._bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        self._client = client

    def put(self, key: str, body: bytes) -> None:
        if self._client is None:
            import boto3

            self._client = boto3.client("s3")
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=body, **self._encryption)


def place_of(destination: str | Path, kms_key_id: str = "") -> Place:
    """The place that a destination names."""
    if isinstance(destination, str) and destination.startswith("s3://"):
        return S3Prefix(destination, kms_key_id)
    return Folder(destination)
