"""S3 in a dict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime

from chalicelib.errors import NotFoundError
from chalicelib.ports import ObjectSummary, StoredObject


class MemoryObjectStore:
    """`ports.ObjectStore`; every bucket name exists. `objects` may be read by tests: (bucket, key) -> object."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.objects: dict[tuple[str, str], StoredObject] = {}
        self.content_types: dict[tuple[str, str], str] = {}

    def get(self, bucket: str, key: str) -> StoredObject:
        if (bucket, key) not in self.objects:
            raise NotFoundError(f"s3://{bucket}/{key}: no such object")
        return self.objects[bucket, key]

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectSummary]:
        for key in self.keys(bucket, prefix):
            stored = self.objects.get((bucket, key))
            if stored is not None:  # deleted while the listing is read
                yield ObjectSummary(key, stored.etag, len(stored.body), stored.last_modified)

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        kms_key_id: str | None = None,
    ) -> str:
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self.objects[bucket, key] = StoredObject(bytes(body), etag, self._now(), kms_key_id)
        self.content_types[bucket, key] = content_type
        return etag

    def put_if_absent(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        kms_key_id: str | None = None,
    ) -> bool:
        if (bucket, key) in self.objects:
            return False
        self.put(bucket, key, body, content_type=content_type, kms_key_id=kms_key_id)
        return True

    def delete(self, bucket: str, key: str) -> None:
        self.objects.pop((bucket, key), None)
        self.content_types.pop((bucket, key), None)

    def keys(self, bucket: str, prefix: str = "") -> tuple[str, ...]:
        """For tests: the keys under a prefix, in S3's order (code points sort as their UTF-8 bytes do)."""
        return tuple(sorted(k for b, k in self.objects if b == bucket and k.startswith(prefix)))
