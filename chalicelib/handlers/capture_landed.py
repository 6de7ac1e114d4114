"""A capture file was written: check its schema at once and mark its windows due.

The event is a hint: when the window is evaluated, a listing finds the file anyway. Knows no metrics.
"""

from __future__ import annotations

from datetime import UTC, datetime

from chalicelib import keys
from chalicelib.definition import Definition
from chalicelib.errors import UnreadableError
from chalicelib.evaluation.broken import LOOKED_AT, broken_rows
from chalicelib.events import ObjectCreated
from chalicelib.facts import due, incidents
from chalicelib.records.attributes import Attributes
from chalicelib.records.batch_reader import Source, captures_in
from chalicelib.records.capture import BadLines, CapturedRequest
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.incident_alerts import Finding, publish_pending
from chalicelib.workflows.landed_objects import landed, quarantine
from chalicelib.workflows.window_inputs import data_constraints, subject_of


def handle(body: str, services: Services) -> None:
    """Work off one S3 event."""
    found = landed(body, services, "capture")
    if found is None:
        return
    try:
        times, requests = looked_at(found.body(), found.event.key)
    except UnreadableError as error:
        for definition in found.definitions:
            quarantine(services, definition, found, error.reason)
            # The folder's hour stands for the times that cannot be read: the window counts the file as unreadable.
            _mark_due(services, definition, Window.of(found.hourly.hour, definition.window_length))
        return
    for definition in found.definitions:
        for window in sorted({Window.of(time, definition.window_length) for time in times}):
            _mark_due(services, definition, window)
        _check_schema(services, definition, found.event, requests)


def looked_at(body: bytes, key: str) -> tuple[list[datetime], list[CapturedRequest]]:
    """All inference times of a capture file, each once, and the requests at its beginning. Raises UnreadableError."""
    bad = BadLines(key, "a capture record")
    times: set[float] = set()
    requests: list[CapturedRequest] = []
    seen = 0
    for captures, size in captures_in(Source(key, lambda: [body]), bad, Attributes()):
        times.update(captures.times)
        if seen < LOOKED_AT:
            requests += captures.requests()
        seen += size
    return [datetime.fromtimestamp(time, UTC) for time in sorted(times)], requests


def _mark_due(services: Services, definition: Definition, window: Window) -> None:
    due.mark(services.ledger, definition.name, window, definition.grace, services.now())


def _check_schema(
    services: Services, definition: Definition, event: ObjectCreated, requests: list[CapturedRequest]
) -> None:
    """A break, of the shape or against the baseline, alerts within the minute instead of at the window's end."""
    if not requests:
        return
    window = Window.of(requests[0].inference_time, definition.window_length)
    inputs = subject_of(definition).inputs
    reasons = broken_rows(requests, definition.attributes, data_constraints(services, definition, window), inputs)
    if not reasons:
        return
    incidents.open_incident(services.ledger, definition.name, "broken-data", window.name, services.now(), "error")
    finding = Finding(window=window.name, reasons=reasons, report=keys.s3_uri(event.bucket, event.key))
    publish_pending(services, definition, {"broken-data": finding})
