"""Captured requests for tests, as an endpoint with CSV in and out would leave them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.ground_truth import Label
from chalicelib.records.located import LocatedLabels, LocatedRequests, locate_labels, locate_requests
from chalicelib.records.segment import Segment, SegmentFile, with_files, with_labels
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


def segment_of(*files: Sequence[CapturedRequest], labels: Iterable[Label] = ()) -> Segment:
    """A segment of these files of requests and of these labels."""
    named = [
        SegmentFile(f"captures/{number}.jsonl", "etag", b"".join(map(capture_line, requests)))
        for number, requests in enumerate(files)
    ]
    return with_labels(with_files(Segment(), named), labels, [])


def located(
    requests: Sequence[CapturedRequest], labels: Iterable[Label], window: Window
) -> tuple[LocatedRequests, LocatedLabels]:
    """The requests and labels of a window, as an evaluation takes them."""
    segment = segment_of(requests, labels=labels)
    return locate_requests(segment, window)[0], locate_labels(segment, window)
