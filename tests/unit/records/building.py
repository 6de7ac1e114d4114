"""Captured requests for tests, as an endpoint with CSV in and out would leave them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chalicelib.records.capture import CapturedRequest, Payload

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
