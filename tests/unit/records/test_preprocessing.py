import json

import numpy as np
import pytest

from chalicelib.records.attributes import Attributes
from chalicelib.records.batch import read_transform
from chalicelib.records.capture import CapturedRequest, Payload, read_captures
from chalicelib.records.ground_truth import Label
from chalicelib.records.preprocess import inference_record
from chalicelib.records.table import feature_rows, to_table
from chalicelib.records.values import text_of
from chalicelib.states.profile import profile_of
from tests.unit.records.building import DATA, NOON, captured, minutes

ATTRIBUTES = Attributes(probability_attribute="score")


def reasons(found):
    return {reason: each.count for reason, each in found.items()}


def flattened(record):
    """As samples for Model Monitor do it: indices padded with zeros, so that names sort like columns."""
    names = {str(i).zfill(20): value for i, value in enumerate(record.endpoint_input.data.rstrip("\n").split(","))}
    return {"score": record.endpoint_output.data, **names}


def test_columns_are_ordered_by_name():
    row = ",".join(str(value) for value in range(12))
    table = to_table([captured("e", row + "\n", "0.7")], {"e": Label("e", "1")}, ATTRIBUTES, flattened)
    assert [*table.features] == [str(index).zfill(20) for index in range(12)]
    assert [column[0] for column in table.features.values()] == row.split(",")
    assert table.scores.tolist() == [0.7] and table.labels.tolist() == [1.0] and table.bad == {}


def test_declared_features_decide_the_order():
    def handler(record):
        return {"1_b": 2, "0_a": "1", "predicted": 1, "rest": None}

    attributes = Attributes(features=("1_b", "0_a", "rest"), inference_attribute="predicted")
    table = to_table([captured("e", "x", "y")], {}, attributes, handler)
    assert table.features == {"1_b": [2], "0_a": ["1"], "rest": [None]}
    assert table.predictions.tolist() == [1.0] and table.bad == {}


def test_several_records_or_none():
    def handler(record):
        first, *rest = record.endpoint_input.data.split("\n")
        if first == "skip":
            return []
        return [{"a": line, "score": 0.5} for line in (first, *rest)]

    requests = [captured("e1", "1\n2", "x"), captured("e2", "skip", "x", at=minutes(1))]
    table = to_table(requests, {"e1": Label("e1", "[1, 0]")}, ATTRIBUTES, handler)
    assert table.record_ids == ["e1#0", "e1#1"] and table.features == {"a": ["1", "2"]}
    assert table.labels.tolist() == [1.0, 0.0]
    assert reasons(table.noted) == {"preprocess_handler left the request out": 1} and table.bad == {}
    assert len(to_table(requests, {}, ATTRIBUTES, lambda record: None)) == 0
    assert len(to_table(requests, {}, ATTRIBUTES, lambda record: {})) == 0


@pytest.mark.parametrize(
    ("value", "plain", "kind"),
    [
        (np.float64(1.5), 1.5, "Fractional"),
        (np.float32(0.5), 0.5, "Fractional"),
        (np.int64(3), 3, "Integral"),
        (np.bool_(True), True, "String"),
        (np.str_("x"), "x", "String"),
    ],
)
def test_values_of_numpy_are_those_of_python(value, plain, kind):
    table = to_table([captured("e", "x", "y")], {}, ATTRIBUTES, lambda record: {"a": value, "score": np.float64(0.7)})
    (found,) = table.features["a"]
    assert found == plain and type(found) is type(plain)
    assert table.scores.tolist() == [0.7] and table.bad == {} and feature_rows(table) == [text_of(plain)]
    assert profile_of(table).column("a").inferred_type == kind


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (lambda record: record.secret, "preprocess_handler raised AttributeError"),
        (lambda record: "text", "preprocess_handler returned no object, list of objects or nothing"),
        (lambda record: [{"a": 1}, 2], "preprocess_handler returned no object, list of objects or nothing"),
        (lambda record: {1: 1}, "preprocess_handler returned a key that is no text"),
        (lambda record: {"a": [1]}, "preprocess_handler returned a value that is no text, number or boolean"),
        (lambda record: {"a": np.array([1])}, "preprocess_handler returned a value that is no text, number or boolean"),
    ],
)
def test_a_handler_that_fails_is_counted(handler, reason):
    table = to_table([captured("e", "1", "2")], {}, ATTRIBUTES, handler)
    assert len(table) == 0 and reasons(table.bad) == {reason: 1}
    assert table.bad[reason].sample == ("e",)


def test_what_a_handler_is_shown():
    request = CapturedRequest(
        "e", "i", NOON, Payload("1,2", "CSV", "text/csv", "INPUT"), None, custom_attributes=("tenant=blue",)
    )
    record = inference_record(request, Label("i", "1"))
    assert (record.endpoint_input.data, record.endpoint_input.encoding) == ("1,2", "CSV")
    assert (record.endpoint_input.observedContentType, record.endpoint_input.mode) == ("text/csv", "INPUT")
    assert record.endpoint_output is None and record.batch_transform_output is None
    assert record.ground_truth.data == "1" and record.event_version == "0"
    assert record.event_metadata.event_id == "e" and record.event_metadata.inference_id == "i"
    assert record.event_metadata.event_time == "2026-01-01T12:00:00Z"
    assert record.event_metadata.custom_attribute == ["tenant=blue"]
    assert record.event_data.endpointInput.data == "1,2" and record.event_data.endpointOutput is None


def test_a_batch_record_has_its_own_place():
    (request,) = read_transform(b"1,0.5,i,2022-08-30T00:49:15Z", "output").requests
    record = inference_record(request, None)
    assert record.batch_transform_output.data == "1,0.5"
    assert record.endpoint_output is None and record.ground_truth is None


def test_the_published_captures_by_the_documents_script():
    """Model Monitor's page on preprocessing flattens nested JSON; here on a captured text generation."""
    path = "capture-llm/capture.jsonl"

    def preprocess_handler(inference_record):
        asked = json.loads(inference_record.endpoint_input.data)
        answered = json.loads(inference_record.endpoint_output.data)["generated_text"]
        return {"words": len(answered.split()), **{k: v for k, v in asked["parameters"].items()}}

    requests = read_captures((DATA / path).read_bytes(), path).requests
    table = to_table(requests, {}, Attributes(), preprocess_handler)
    assert [*table.features] == ["do_sample", "max_new_tokens", "temperature", "top_p", "words"]
    assert len(table) == 3 and table.bad == {} and np.isnan(table.predictions).all()
