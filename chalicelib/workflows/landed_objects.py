"""An object that landed under a watched prefix: whose is it, and what if it cannot be read? Not an event source:
capture_landed and ground_truth_landed share it.
"""

from __future__ import annotations

import hashlib

import msgspec

from chalicelib import keys
from chalicelib.definition import Definition
from chalicelib.errors import NotFoundError, UnreadableError
from chalicelib.events import ObjectCreated, object_created
from chalicelib.keys import HourlyKey
from chalicelib.ports import StoredObject
from chalicelib.wiring import Services

# A quarantine record shows enough to recognise a file, not to keep it.
FIRST_BYTES = 256

# More is not read: the functions' memory is a small multiple of it. Captures are flushed about once a minute.
MOST_BYTES = 50_000_000


class Landed(msgspec.Struct, frozen=True):
    """An object, and the monitors that it is input of; `refused` says why it was not read ("": it was)."""

    event: ObjectCreated
    hourly: HourlyKey
    stored: StoredObject
    definitions: list[Definition]
    refused: str = ""

    def body(self) -> bytes:
        """Its bytes. Raises UnreadableError when they were not read."""
        if self.refused:
            raise UnreadableError(self.event.key, self.refused)
        return self.stored.body


def too_large(size: int) -> str:
    """Why an object of this many bytes is not read; "" when it is."""
    return f"{size} bytes; at most {MOST_BYTES} are read" if size > MOST_BYTES else ""


def landed(body: str, services: Services, kind: str) -> Landed | None:
    """Read the object of an S3 event; None for one under nobody's prefix or one that is gone already.

    `kind` of the prefix: "capture" or "ground-truth".
    """
    event = object_created(body)
    hourly = keys.parse_hourly(event.key)
    if hourly is None:
        return None
    definitions = services.definitions.find(kind, f"{event.bucket}/{hourly.prefix}")
    if not definitions:
        return None
    if refused := too_large(event.size):
        return Landed(event, hourly, StoredObject(b"", event.etag, event.time), definitions, refused)
    try:
        return Landed(event, hourly, services.objects.get(event.bucket, event.key), definitions)
    except NotFoundError:
        return None


def quarantine(services: Services, definition: Definition, found: Landed, reason: str) -> None:
    """Record a file that cannot be read: key, reason, first bytes (payload: it inherits the file's KMS key)."""
    event, stored = found.event, found.stored
    record = {
        "bucket": event.bucket,
        "etag": stored.etag,
        "first_bytes_hex": stored.body[:FIRST_BYTES].hex(),
        "key": event.key,
        "reason": reason,
        "size": event.size if found.refused else len(stored.body),
    }
    digest = hashlib.sha256(f"{event.bucket}/{event.key}/{stored.etag}".encode()).hexdigest()
    services.objects.put_if_absent(
        services.settings.bucket,
        keys.quarantine_key(definition.name, digest),
        msgspec.json.encode(record, order="sorted"),
        kms_key_id=stored.kms_key_id,
    )
