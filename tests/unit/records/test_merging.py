import json

import pytest

from chalicelib.errors import UnreadableError
from chalicelib.records.ground_truth import Label
from chalicelib.records.merge import merge, read_merged, write_merged
from tests.unit.records.building import DATA, captured, minutes


def test_the_published_merged_record_survives_reading_and_writing():
    path = DATA / "model-monitor-published-runs/bias-drift-endpoint-json-2024-01/merged_record.json"
    published = json.loads(path.read_text())
    merged = read_merged(json.dumps(published).encode(), path.name)
    assert merged.requests[0].label.id == "7"
    body = write_merged(merged)
    assert json.loads(body) == published
    assert list(json.loads(body)) == list(published)
    assert read_merged(body, "again") == merged


def test_requests_are_joined_by_inference_id_else_by_event_id():
    requests = [
        captured("e3", "3", "0.3", inference_id="i", at=minutes(1)),
        captured("e2", "2", "0.2", inference_id="i"),
        captured("e1", "1", "0.1"),
        captured("e0", "0", "0.0", inference_id="unknown"),
    ]
    # e0 has an inference id: a label under its event id does not count.
    labels = {"i": Label("i", "1"), "e1": Label("e1", "0"), "e0": Label("e0", "1"), "other": Label("other", "1")}
    merged = merge(requests, labels)
    assert [(one.request.event_id, one.label.data) for one in merged.requests] == [
        ("e1", "0"),
        ("e2", "1"),
        ("e3", "1"),
    ]
    assert merged.unlabelled == 1
    assert write_merged(merged) == write_merged(merge(requests[::-1], labels))
    assert read_merged(write_merged(merged), "f").requests == merged.requests


def test_a_file_of_another_kind_is_unreadable():
    with pytest.raises(UnreadableError, match="none of 1 lines is a merged record"):
        read_merged(b"{}", "f")
    assert read_merged(b"", "f").requests == []
