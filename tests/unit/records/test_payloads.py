import base64
import json
import math

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
        ({"inputs": [[1, 2], [3, 4]]}, [[1, 2], [3, 4]]),
        ({"outputs": [0.5, 0.25]}, [[0.5], [0.25]]),
        ({"inputs": {"a": [1, 2], "b": ["x", None]}}, [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        ({"inputs": "a text", "parameters": {"top_p": 0.9}}, [{"inputs": "a text", "parameters": {"top_p": 0.9}}]),
        ({"a": [1, 2], "b": ["x", None]}, [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        ({"a": [1], "b": [2]}, [{"a": 1, "b": 2}]),
        ({"a": [1, 2], "b": [3]}, [{"a": [1, 2], "b": [3]}]),
        ({"a": [[1], [2]], "b": [3, 4]}, [{"a": [[1], [2]], "b": [3, 4]}]),
        ({"a": [], "b": []}, []),
        ({"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}, [{"a": 1, "b": 2}, {"a": 3, "b": 4}]),
        ({"columns": ["a", "b"], "data": [[1, 2], [3]]}, [{"a": 1, "b": 2}, [3]]),
        ({"dataframe_split": {"columns": ["a"], "index": [7], "data": [[1]]}}, [{"a": 1}]),
        ({"dataframe_records": [{"a": 1}, {"a": 2}]}, [{"a": 1}, {"a": 2}]),
        (
            {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]},
            [[1, 2], [3, 4]],
        ),
        (
            {
                "outputs": [
                    {"name": n, "shape": [2, 1], "datatype": "FP32", "data": d}
                    for n, d in (("p", [1, 2]), ("q", [3, 4]))
                ]
            },
            [{"p": 1, "q": 3}, {"p": 2, "q": 4}],
        ),
        (0.5, [[0.5]]),
    ],
)
def test_json_shapes(document, rows):
    text = json.dumps(document)
    assert rows_of(Payload(text, "JSON", "application/json")) == rows
    encoded = base64.b64encode(text.encode()).decode()
    assert rows_of(Payload(encoded, "BASE64", "application/json; charset=utf-8")) == rows


@pytest.mark.parametrize("shapes", [([2, 2], [2, 2]), ([2, 1], [2, 2]), ([2, 2], [1, 4]), ([2, 2], [4]), ([1], [2])])
def test_several_tensors_of_more_values_than_records_are_not_taken_for_columns(shapes):
    tensors = [
        {"name": name, "shape": shape, "data": [*range(math.prod(shape))]}
        for name, shape in zip("ab", shapes, strict=True)
    ]
    assert rows_of(Payload(json.dumps({"inputs": tensors}), "JSON")) == tensors


def test_the_published_answer_that_was_declared_as_html():
    data = "eyJtZWRpYW5faG91c2VfdmFsdWUiOiBbNDc4MDQ2LjY2LCAyMDY1NTEuMDFdfQ=="
    content = content_of(Payload(data, "BASE64", "text/html; charset=utf-8"))
    assert content.documents == [{"median_house_value": [478046.66, 206551.01]}]


@pytest.mark.parametrize(
    ("text", "declared", "content_type", "rows", "noted"),
    [
        ('{"x": 1}', "CSV", "text/csv", [{"x": 1}], "declared as CSV, is JSON"),
        ("[1, 2]\n[3, 4]", "CSV", None, [[1, 2], [3, 4]], "declared as CSV, is JSON"),
        ("[1 2],3", "CSV", "text/csv", [["[1 2]", "3"]], ""),
        ("1,2\n3,4", "JSON", "application/json", [["1", "2"], ["3", "4"]], "declared as JSON, is CSV"),
        ("0.5", "JSON", "application/json", [[0.5]], ""),
        ('"text"', "JSON", "application/json", [["text"]], ""),
        ('{"x": 1}\n{"x": 2}\n', "JSON", "application/json", [{"x": 1}, {"x": 2}], ""),
        ("\ufeff[1]", "JSON", None, [[1]], ""),
        ("1,2", "BASE64", "application/json", [["1", "2"]], "declared as JSON, is CSV"),
        ('{"x": 1}', "BASE64", "text/csv; charset=utf-8", [{"x": 1}], "declared as CSV, is JSON"),
        ('{"x": 1}', "BASE64", "text/html", [{"x": 1}], ""),
        ("1,2", "", "text/csv", [["1", "2"]], ""),
        ("1,2", "", None, [["1", "2"]], ""),
    ],
)
def test_the_text_decides_what_it_is(text, declared, content_type, rows, noted):
    data = base64.b64encode(text.encode()).decode() if declared == "BASE64" else text
    content = content_of(Payload(data, declared, content_type))
    assert (content.rows, content.noted) == (rows, noted)


def test_a_header_names_columns_in_any_order():
    header = ("a", "b")
    assert rows_of(Payload("b,a\n1,2\n3", "CSV"), header) == [{"b": "1", "a": "2"}, ["3"]]
    assert rows_of(Payload('"id","b", a\r\n7,1,2\r\n', "CSV"), header) == [{"id": "7", "b": "1", "a": "2"}]
    for text in ("a\n1", "a,a\n1,2", "a,b,b\n1,2,3"):
        assert len(rows_of(Payload(text, "CSV"), header)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "1\n" * 100_001,
        '"1"\r\n' * 100_001,
        "1\r" * 100_001,
        "[" + ",".join(["[]"] * 100_001) + "]",
        "[" + ",".join(["[]"] * 1_100_000) + "]",
        '{"instances": [' + ",".join("1" * 100_001) + "]}",
        '{"a": [' + ",".join("1" * 100_001) + "]}",
        '{"features": [' + ",".join(["[1]"] * 100_001) + "]}",
        '{"columns": ["a"], "data": [' + ",".join(["[1]"] * 100_001) + "]}",
        "{}\n" * 100_001,
    ],
)
def test_too_many_records_are_refused(text):
    with pytest.raises(PayloadError, match="more than 100000 records in one request"):
        rows_of(Payload(text, "CSV" if text[0] in '1"' else "JSON"))


@pytest.mark.parametrize("text", ["1," * 2_000_001, "[" + "0," * 2_000_001 + "0]"])
def test_too_many_values_are_refused(text):
    with pytest.raises(PayloadError, match="more than 2000000 values in one request"):
        rows_of(Payload(text, "CSV" if text[0] == "1" else "JSON"))


def test_as_many_as_are_allowed():
    assert len(rows_of(Payload("1\n" * 100_000, "CSV"))) == 100_000
    assert len(rows_of(Payload(json.dumps({"instances": [[1]] * 100_000}), "JSON"))) == 100_000


def test_the_captured_text_generation():
    path = "capture-llm/capture.jsonl"
    requests = read_captures((DATA / path).read_bytes(), path).requests
    assert len(requests) == 3
    for request in requests:
        (asked,), (answered,) = rows_of(request.input), rows_of(request.output)
        assert {*asked} == {"inputs", "parameters"} and {*answered} == {"generated_text"}


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
