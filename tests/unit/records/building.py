"""Captured requests for tests, as an endpoint with CSV in and out would leave them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from chalicelib.evaluation.measurement import Subject
from chalicelib.evaluation.stored_window import Measured
from chalicelib.evaluation.window_reader import WindowReader
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.window import Window

DATA = Path(__file__).parents[2] / "data"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def captured(event_id, features, output, *, inference_id=None, at=NOON, kind="CSV", content_type="text/csv"):
    """One request; `features` and `output` are payload texts, None where that side was not captured."""
    sides = [None if text is None else Payload(text, kind, content_type) for text in (features, output)]
    return CapturedRequest(event_id, inference_id, at, *sides)


def captured_json(event_id, features, output, **options):
    """The same with JSON documents."""
    return captured(
        event_id, json.dumps(features), json.dumps(output), kind="JSON", content_type="application/json", **options
    )


def minutes(count):
    return NOON + timedelta(minutes=count)


def capture_line(request: CapturedRequest) -> bytes:
    """A request as SageMaker captures it."""
    sides = {
        "endpointInput": request.input,
        "batchTransformOutput" if request.is_batch else "endpointOutput": request.output,
    }
    metadata = {"eventId": request.event_id, "inferenceTime": request.inference_time}
    if request.inference_id is not None:
        metadata["inferenceId"] = request.inference_id
    captured_data = {name: payload for name, payload in sides.items() if payload is not None}
    return msgspec.json.encode({"captureData": captured_data, "eventMetadata": metadata, "eventVersion": "0"}) + b"\n"


def measured_window(
    subject: Subject, window: Window, *files: Sequence[CapturedRequest], sample_rows: int = 512
) -> Measured:
    """A window measured from these files of requests, in their order."""
    reader = WindowReader(subject, window, sample_rows)
    for number, requests in enumerate(files):
        reader.add(f"captures/{number}.jsonl", "etag", b"".join(map(capture_line, requests)))
    return reader.finish()
