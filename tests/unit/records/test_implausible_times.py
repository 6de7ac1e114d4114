"""A time that no window can be named for is a bad line, not an event that fails for ever."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chalicelib.records.capture import read_captures
from chalicelib.records.ground_truth import read_ground_truth

CAPTURE = (
    '{"captureData":{"endpointInput":{"data":"1","encoding":"CSV"}},'
    '"eventMetadata":{"eventId":"e","inferenceTime":"%s"},"eventVersion":"0"}\n'
)
LABEL = (
    '{"groundTruthData":{"data":"1","encoding":"CSV"},"eventMetadata":{"eventId":"e","inferenceTime":"%s"},'
    '"eventVersion":"0"}\n'
)
GOOD = "2026-01-05T10:00:00Z"


@pytest.mark.parametrize("time", ["0001-01-01T05:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:30:00Z"])
def test_a_capture_outside_the_calendar_is_a_bad_line(time: str) -> None:
    read = read_captures((CAPTURE % GOOD + CAPTURE % time).encode(), "file")
    assert [request.inference_time.year for request in read.requests] == [2026]
    assert [(bad.line, "1970" in bad.reason) for bad in read.bad_lines] == [(2, True)]


@pytest.mark.parametrize("time", ["0001-01-01T05:00:00Z", "9999-12-31T23:30:00Z"])
def test_a_label_is_kept_without_its_impossible_time(time: str) -> None:
    [label] = read_ground_truth((LABEL % time).encode(), "file", datetime(2026, 1, 5, tzinfo=UTC)).labels
    assert label.inference_time is None
