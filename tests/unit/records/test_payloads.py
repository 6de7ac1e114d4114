import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.records.capture import Payload, read_captures
from chalicelib.records.payload import PayloadError, content_of, rows_of
from tests.unit.records.building import DATA


def test_csv():
    assert rows_of(Payload("1,2\n3,4\n", "CSV")) == [["1", "2"], ["3", "4"]]
    assert rows_of(Payload("1,2\r\n\r\n3,\r\n", "CSV")) == [["1", "2"], ["3", ""]]
    assert rows_of(Payload('"a,""b""",2\n', "CSV")) == [['a,"b"', "2"]]
    assert rows_of(Payload("x,y\n1,2", "CSV"), ("x", "y")) == [["1", "2"]]
    assert rows_of(Payload("1,2\nx,y", "CSV"), ("x", "y")) == [["1", "2"], ["x", "y"]]


@pytest.mark.parametrize(
    ("document", "rows"),
    [
        ({"instances": [{"features": [1, 2]}, {"features": [3, 4]}]}, [[1, 2], [3, 4]]),
        ({"instances": [[1, 2], [3, 4]]}, [[1, 2], [3, 4]]),
        ({"instances": [1.0, 2.0, 5.0]}, [[1.0], [2.0], [5.0]]),
        ({"instances": []}, []),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ([{"x": 1}, {"x": 2}], [{"x": 1}, {"x": 2}]),
        ({"x": 1, "y": None}, [{"x": 1, "y": None}]),
        ({"features": [1, 2]}, [[1, 2]]),
        ({"features": [[1, 2], [3, 4]]}, [[1, 2], [3, 4]]),
        ({"predictions": [{"score": 0.5, "predicted_label": 1}]}, [{"score": 0.5, "predicted_label": 1}]),
        ({"predictions": [3.5, 4.0]}, [[3.5], [4.0]]),
        ([1, 2, 3], [[1, 2, 3]]),
        (0.5, [[0.5]]),
    ],
)
def test_json_shapes(document, rows):
    text = json.dumps(document)
    assert rows_of(Payload(text, "JSON", "application/json")) == rows
    encoded = base64.b64encode(text.encode()).decode()
    assert rows_of(Payload(encoded, "BASE64", "application/json; charset=utf-8")) == rows


def test_the_published_answer_that_was_declared_as_html():
    data = "eyJtZWRpYW5faG91c2VfdmFsdWUiOiBbNDc4MDQ2LjY2LCAyMDY1NTEuMDFdfQ=="
    content = content_of(Payload(data, "BASE64", "text/html; charset=utf-8"))
    assert content.documents == [{"median_house_value": [478046.66, 206551.01]}]


def test_base64_of_csv():
    encoded = base64.b64encode(b"1,2\n3,4").decode()
    for kind in ("text/csv", "text/plain", None):
        assert rows_of(Payload(encoded, "BASE64", kind)) == [["1", "2"], ["3", "4"]]


def test_published_json_lines():
    path = "model-monitor-published-runs/attribution-drift-endpoint-jsonlines-2023-01/capture.jsonl"
    one, two = read_captures((DATA / path).read_bytes(), path).requests
    assert [len(row) for row in rows_of(one.input)] == [14]
    assert [len(row) for row in rows_of(two.input)] == [14, 14]
    assert [row["predicted_label"] for row in rows_of(two.output)] == [1, 1]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (Payload("", "CSV"), "payload is empty"),
        (Payload(" \n", "JSON"), "payload is empty"),
        (Payload("secret", "JSON"), "payload is not JSON"),
        (Payload("[" * 100_000, "JSON"), "payload is not JSON"),
        (Payload("sec!ret", "BASE64"), "payload is not Base64"),
        (Payload("//8=", "BASE64"), "payload is not UTF-8 text"),
        (Payload('"secret', "CSV"), "payload is not CSV: a quoted field does not end"),
    ],
)
def test_a_payload_that_cannot_be_read_says_why_without_its_text(payload, reason):
    with pytest.raises(PayloadError) as caught:
        rows_of(payload)
    assert str(caught.value) == reason


@given(
    st.text(), st.sampled_from(["CSV", "JSON", "BASE64", ""]), st.sampled_from([None, "text/csv", "application/json"])
)
def test_any_text_gives_rows_or_a_payload_error(text, encoding, kind):
    try:
        rows = rows_of(Payload(text, encoding, kind))
    except PayloadError:
        return
    assert all(isinstance(row, list | dict) for row in rows)
