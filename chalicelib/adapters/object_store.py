"""S3 as the object store: get, list, conditional put, delete.

Knows S3's error codes, ETags and encryption headers. Not here: what a key means (keys.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.errors import NotFoundError
from chalicelib.ports import ObjectSummary, StoredObject


class S3ObjectStore:
    """`ports.ObjectStore` over an S3 client.

    A bucket that does not exist is a configuration mistake, not a missing object: S3's NoSuchBucket passes through.
    Without s3:ListBucket on the bucket, S3 answers 403 for a missing key, and that passes through too.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, bucket: str, key: str) -> StoredObject:
        """Read an object whole. Raises NotFoundError when the key is not there."""
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                raise NotFoundError(f"s3://{bucket}/{key}: no such object") from error
            raise
        with answer["Body"] as stream:
            body: bytes = stream.read()
        return StoredObject(
            body=body,
            etag=answer["ETag"].strip('"'),
            last_modified=answer["LastModified"].astimezone(UTC),
            kms_key_id=answer.get("SSEKMSKeyId"),
        )

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectSummary]:
        """Every object whose key begins with `prefix`, in S3's order (UTF-8 bytes of the key), page by page."""
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                yield ObjectSummary(
                    key=entry["Key"],
                    etag=entry["ETag"].strip('"'),
                    size=entry["Size"],
                    last_modified=entry["LastModified"].astimezone(UTC),
                )

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        kms_key_id: str | None = None,
    ) -> str:
        """Write an object whole and return its ETag without quotes."""
        answer = self._client.put_object(
            Bucket=bucket, Key=key, Body=body, ContentType=content_type, **_encryption(kms_key_id)
        )
        etag: str = answer["ETag"]
        return etag.strip('"')

    def put_if_absent(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        kms_key_id: str | None = None,
    ) -> bool:
        """Write an object only where none exists; False when one did.

        When the client itself repeats a request whose answer was lost, False may mean that the first try wrote it:
        False means "it exists", not "another writer wrote it".
        """
        try:
            self._client.put_object(
                Bucket=bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*", **_encryption(kms_key_id)
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "PreconditionFailed":
                return False
            raise
        return True

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; a missing one is no error."""
        self._client.delete_object(Bucket=bucket, Key=key)


def _encryption(kms_key_id: str | None) -> dict[str, str]:
    return {} if kms_key_id is None else {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id}
