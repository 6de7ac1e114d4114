"""A capture file was written: check its schema at once and mark its windows due.

The event is a hint: when the window is evaluated, a listing finds the file anyway. Knows no metrics.
"""

from __future__ import annotations

import hashlib

import msgspec

from chalicelib import keys
from chalicelib.definition import Definition
from chalicelib.errors import NotFoundError, UnreadableError
from chalicelib.events import ObjectCreated, object_created
from chalicelib.facts import due, incidents
from chalicelib.handlers.incident_alerts import Finding, publish_pending
from chalicelib.handlers.window_inputs import data_constraints
from chalicelib.monitors.broken import broken_rows
from chalicelib.ports import StoredObject
from chalicelib.records.capture import CapturedRequest, read_captures
from chalicelib.records.window import Window
from chalicelib.wiring import Services

# A quarantine record shows enough to recognise a file, not to keep it.
FIRST_BYTES = 256


def handle(body: str, services: Services) -> None:
    """Work off one S3 event. A file under nobody's prefix, or one that is gone already, is nobody's input."""
    event = object_created(body)
    hourly = keys.parse_hourly(event.key)
    if hourly is None:
        return
    definitions = services.definitions.find("capture", f"{event.bucket}/{hourly.prefix}")
    if not definitions:
        return
    try:
        stored = services.objects.get(event.bucket, event.key)
    except NotFoundError:
        return
    try:
        requests = read_captures(stored.body, event.key).requests
    except UnreadableError as error:
        for definition in definitions:
            _quarantine(services, definition, event, stored, error.reason)
            # The folder's hour stands for the times that cannot be read: the window counts the file as unreadable.
            _mark_due(services, definition, Window.of(hourly.hour, definition.window_length))
        return
    for definition in definitions:
        for window in sorted({Window.of(each.inference_time, definition.window_length) for each in requests}):
            _mark_due(services, definition, window)
        _check_schema(services, definition, event, requests)


def _mark_due(services: Services, definition: Definition, window: Window) -> None:
    due.mark(services.ledger, definition.name, window, definition.grace, services.now())


def _check_schema(
    services: Services, definition: Definition, event: ObjectCreated, requests: list[CapturedRequest]
) -> None:
    """A break, of the shape or against the baseline, alerts within the minute instead of at the window's end."""
    if not requests:
        return
    window = Window.of(requests[0].inference_time, definition.window_length)
    reasons = broken_rows(requests, definition.attributes, data_constraints(services, definition, window))
    if not reasons:
        return
    incidents.open_incident(services.ledger, definition.name, "broken-data", window.name, services.now(), "error")
    finding = Finding(window=window.name, reasons=reasons, report=keys.s3_uri(event.bucket, event.key))
    publish_pending(services, definition, {"broken-data": finding})


def _quarantine(
    services: Services, definition: Definition, event: ObjectCreated, stored: StoredObject, reason: str
) -> None:
    """Record a file that cannot be read: key, reason, first bytes (payload: it inherits the captures' KMS key)."""
    record = {
        "bucket": event.bucket,
        "etag": stored.etag,
        "first_bytes_hex": stored.body[:FIRST_BYTES].hex(),
        "key": event.key,
        "reason": reason,
        "size": len(stored.body),
    }
    digest = hashlib.sha256(f"{event.bucket}/{event.key}/{stored.etag}".encode()).hexdigest()
    services.objects.put_if_absent(
        services.settings.bucket,
        keys.quarantine_key(definition.name, digest),
        msgspec.json.encode(record, order="sorted"),
        kms_key_id=stored.kms_key_id,
    )
