import json
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.errors import UnreadableError
from chalicelib.evaluation.measurement import Subject
from chalicelib.evaluation.window_reader import WindowReader
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import MOST_BAD_LINES, read_captures
from chalicelib.records.ground_truth import Label
from chalicelib.records.merge import merge, read_merged, write_merged
from chalicelib.records.window import Window
from tests.unit.records.building import DATA

GOOD = (
    b'{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"1,2","encoding":"CSV"},'
    b'"endpointOutput":{"observedContentType":"text/csv","mode":"OUTPUT","data":"0.5","encoding":"CSV"}},'
    b'"eventMetadata":{"eventId":"e1","inferenceId":"57","inferenceTime":"2026-01-01T00:00:00Z"},"eventVersion":"0"}'
)


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("model-monitor-published-runs/churn-2021-02/capture.jsonl", 3),
        ("model-monitor-published-runs/bias-drift-endpoint-json-2024-01/capture.jsonl", 2),
        ("model-monitor-published-runs/attribution-drift-endpoint-jsonlines-2023-01/capture.jsonl", 2),
        ("model-monitor-sdk-fixtures/captured-data.jsonl", 2),
    ],
)
def test_published_files_are_read_whole(path, count):
    body = (DATA / path).read_bytes()
    file = read_captures(body, path)
    assert len(file.requests) == count
    assert file.bad_lines == []
    for request, line in zip(file.requests, body.splitlines(), strict=True):
        raw = json.loads(line)
        assert request.event_id == raw["eventMetadata"]["eventId"]
        assert request.join_id == raw["eventMetadata"].get("inferenceId", request.event_id)
        assert request.input.data == raw["captureData"]["endpointInput"]["data"]
        assert request.output.content_type == raw["captureData"]["endpointOutput"]["observedContentType"]


def test_an_offset_is_turned_into_utc():
    line = GOOD.replace(b"2026-01-01T00:00:00Z", b"2026-01-01T01:30:00+02:00")
    assert read_captures(line, "f").requests[0].inference_time == datetime(2025, 12, 31, 23, 30, tzinfo=UTC)


def test_key_order_unknown_keys_blank_lines_and_windows_line_ends_do_not_matter():
    raw = json.loads(GOOD)
    turned = {key: raw[key] for key in reversed(raw)} | {"new": [1]}
    body = b"\xef\xbb\xbf\n" + json.dumps(turned).encode() + b"\r\n  \n" + GOOD
    file = read_captures(body, "f")
    assert file.requests[0] == file.requests[1]
    assert file.bad_lines == []


def test_what_else_the_metadata_may_hold():
    metadata = {"customAttributes": ["tenant=blue", 7, "x"], "targetModel": "a.tar.gz", "inferenceComponentName": "one"}
    raw = json.loads(GOOD)
    raw["eventMetadata"] |= metadata
    (request,) = read_captures(json.dumps(raw).encode(), "f").requests
    assert request.custom_attributes == ("tenant=blue", "x")
    assert (request.target_model, request.inference_component) == ("a.tar.gz", "one")
    (merged,) = read_merged(write_merged(merge([request], {"57": Label("57", "1")})), "f").requests
    assert merged.request == request
    raw["eventMetadata"] |= {"customAttributes": "tenant=blue"}
    assert read_captures(json.dumps(raw).encode(), "f").requests[0].custom_attributes == ("tenant=blue",)
    raw["eventMetadata"] |= {"customAttributes": {"tenant": "blue"}, "targetModel": None}
    (other,) = read_captures(json.dumps(raw).encode(), "f").requests
    assert (other.custom_attributes, other.target_model) == ((), None)


def test_bad_lines_are_named_up_to_a_limit_and_counted_beyond():
    body = GOOD + b"\n" + b"x\n" * (MOST_BAD_LINES + 5) + GOOD
    file = read_captures(body, "f")
    assert (len(file.requests), len(file.bad_lines), file.more_bad_lines) == (2, MOST_BAD_LINES, 5)
    window = Window.of(file.requests[0].inference_time, timedelta(hours=1))
    reader = WindowReader(Subject(attributes=Attributes(probability_attribute="0")), window, 1)
    reader.add("f", "etag", body)
    measured = reader.finish()
    assert (len(measured.bad), measured.more_bad) == (MOST_BAD_LINES, 5)


@pytest.mark.parametrize(
    ("good", "reason"),
    [(0, "none of the first 10001 lines is a capture record; line 1:"), (2, "2 of the first 10203 lines is a")],
)
def test_a_file_that_is_nearly_all_garbage_is_not_read_to_the_end(good, reason):
    with pytest.raises(UnreadableError) as caught:
        read_captures((GOOD + b"\n") * good + b"x\n" * (MOST_BAD_LINES + 10_000), "f")
    assert caught.value.reason.startswith(reason)


def test_bad_lines_are_named_by_number_and_reason_and_never_by_text():
    secret = b"4111111111111111"
    lines = [
        GOOD,
        GOOD[:-30].replace(b"1,2", secret),  # cut off
        b'"' + secret + b'"',
        GOOD.replace(b'"1,2"', secret),  # data is no string
        GOOD.replace(b"2026-01-01T00:00:00Z", b"2026-01-01T00:00:00"),  # no zone
        GOOD.replace(b"2026-01-01T00:00:00Z", b"0001-01-01T00:00:00+10:00"),  # no such time in UTC
        GOOD.replace(b"1,2", b"\xff\xfe"),
        GOOD.replace(b'"eventId":"e1",', b""),
    ]
    file = read_captures(b"\n".join(lines), "f")
    assert len(file.requests) == 1
    assert [bad.line for bad in file.bad_lines] == [2, 3, 4, 5, 6, 7, 8]
    assert all(bad.reason for bad in file.bad_lines)
    assert not any(secret.decode() in bad.reason for bad in file.bad_lines)
    assert "endpointInput.data" in file.bad_lines[2].reason


def test_an_empty_file_holds_nothing():
    assert read_captures(b"", "f").requests == []
    assert read_captures(b"\n \n", "f").bad_lines == []


@pytest.mark.parametrize("body", [b"PAR1 not text", b"id,name\n1,secret\n", b"[1]\n[2]", b"{}"])
def test_a_file_of_another_kind_is_unreadable(body):
    with pytest.raises(UnreadableError) as caught:
        read_captures(body, "s3://bucket/key")
    assert str(caught.value).startswith("s3://bucket/key: none of ")
    assert "secret" not in str(caught.value)


def test_a_side_may_be_missing():
    raw = json.loads(GOOD)
    del raw["captureData"]["endpointInput"]
    request = read_captures(json.dumps(raw).encode(), "f").requests[0]
    assert request.input is None
    assert request.output.data == "0.5"
