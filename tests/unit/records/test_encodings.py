"""Every way in which the same records may be captured gives the same table."""

import base64
import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import feature_rows, is_about, to_table
from chalicelib.records.values import number_of
from tests.unit.records.building import NOON, captured, captured_json

# More than ten, and not in the order of their names: neither "10" before "2" nor the alphabet may decide.
NAMES = tuple(f"f{index}" for index in (11, 2, 10, 1, 0, 3, 4, 5, 6, 7, 8, 9))

plain = st.text("abc xyz,\"'\n", min_size=1, max_size=5).filter(lambda text: text.strip() == text)
values = st.one_of(st.integers(-99, 99), st.floats(-9, 9).map(lambda x: round(x, 3)), plain)
records = st.lists(st.lists(values, min_size=12, max_size=12), min_size=1, max_size=4)


def as_csv(rows, header=None):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows([*([header] if header else []), *rows])
    return buffer.getvalue()


def objects(rows, names=NAMES):
    return (
        [dict(zip(NAMES, row, strict=True)) for row in rows]
        if names is NAMES
        else [{name: row[NAMES.index(name)] for name in names} for row in rows]
    )


INPUTS = {
    "csv": (lambda rows: as_csv(rows), "CSV", "text/csv"),
    "csv without the last line end": (lambda rows: as_csv(rows).rstrip("\r\n"), "CSV", "text/csv; charset=utf-8"),
    "csv with header": (lambda rows: as_csv(rows, NAMES), "CSV", "text/csv"),
    "csv with another order": (
        lambda rows: as_csv([row[::-1] for row in rows], NAMES[::-1]),
        "CSV",
        "text/csv",
    ),
    "csv declared as json": (lambda rows: as_csv(rows, NAMES), "JSON", "application/json"),
    "instances of lists": (lambda rows: json.dumps({"instances": rows}), "JSON", "application/json"),
    "instances of features": (
        lambda rows: json.dumps({"instances": [{"features": row} for row in rows]}),
        "JSON",
        "application/json",
    ),
    "inputs": (lambda rows: json.dumps({"inputs": rows}), "JSON", None),
    "objects by name": (lambda rows: json.dumps(objects(rows, sorted(NAMES))), "JSON", "application/json"),
    "json lines": (
        lambda rows: "\n".join(json.dumps(each) for each in objects(rows)) + "\n",
        "JSON",
        "application/jsonlines",
    ),
    "json lines declared as one document": (
        lambda rows: "".join(json.dumps({"features": row}) + "\n" for row in rows),
        "JSON",
        "application/json",
    ),
    "columnar": (
        lambda rows: json.dumps({name: [row[NAMES.index(name)] for row in rows] for name in sorted(NAMES)}),
        "JSON",
        "application/json",
    ),
    "split frame": (
        lambda rows: json.dumps({"dataframe_split": {"columns": NAMES, "data": rows}}),
        "JSON",
        "application/json",
    ),
    "json declared as csv": (lambda rows: json.dumps({"instances": rows}), "CSV", "text/csv"),
}
OUTPUTS = {
    "csv": lambda scores: ("\n".join(map(str, scores)) + "\n", "CSV", "text/csv"),
    "one csv line": lambda scores: (",".join(map(str, scores)), "CSV", "text/csv"),
    "predictions": lambda scores: (json.dumps({"predictions": scores}), "JSON", "application/json"),
    "predictions as objects": lambda scores: (
        json.dumps({"predictions": [{"score": score} for score in scores]}),
        "JSON",
        "application/json",
    ),
    "json lines": lambda scores: (
        "\n".join(json.dumps({"score": score}) for score in scores),
        "JSON",
        "application/jsonlines",
    ),
    "columnar": lambda scores: (json.dumps({"score": scores}), "JSON", "application/json"),
    "outputs": lambda scores: (json.dumps({"outputs": scores}), "JSON", "application/json"),
}


def in_base64(side):
    text, _, _ = side
    return base64.b64encode(text.encode()).decode(), "BASE64", "text/html"


def request_of(asked, answered):
    return CapturedRequest("e", None, NOON, Payload(*asked), Payload(*answered))


def comparable(columns):
    """Numbers by value: CSV has them as text."""
    return {
        name: [value if (number := number_of(value)) != number else number for value in column]
        for name, column in columns.items()
    }


@given(records, st.sampled_from([*INPUTS]), st.sampled_from([*OUTPUTS]), st.booleans(), st.booleans())
def test_every_encoding_of_the_same_records_gives_the_same_table(rows, way_in, way_out, hide_in, hide_out):
    scores = [round(0.05 + 0.1 * index, 3) for index in range(len(rows))]
    write, kind, content_type = INPUTS[way_in]
    asked, answered = (write(rows), kind, content_type), OUTPUTS[way_out](scores)
    # What a container declares is not needed to read it: Base64 has it as an unknown type.
    asked, answered = in_base64(asked) if hide_in else asked, in_base64(answered) if hide_out else answered
    attribute = "score" if "objects" in way_out or way_out in ("json lines", "columnar") else "0"
    attributes = Attributes(features=NAMES, probability_attribute=attribute, probability_threshold=0.2)
    labels = {"e": Label("e", json.dumps([index % 2 for index in range(len(rows))]), "JSON")}
    table = to_table([request_of(asked, answered)], labels, attributes)
    expected = {name: [row[place] for row in rows] for place, name in enumerate(NAMES)}
    assert [*table.features] == [*NAMES]
    assert comparable(table.features) == comparable(expected)
    assert table.scores.tolist() == scores
    assert table.predictions.tolist() == [float(score > 0.2) for score in scores]
    assert table.labels.tolist() == [index % 2 for index in range(len(rows))]
    assert table.bad == {} and table.irregular == {} and table.regular.all()
    assert all(reason.startswith(("input: declared", "output: declared")) for reason in table.noted)


def test_wrong_declarations_are_counted_with_their_records():
    requests = [
        request_of(("1,2", "JSON", "application/json"), ('{"p": 0.5}', "CSV", "text/csv")),
        request_of(("1,2", "CSV", "text/csv"), ("0.5", "CSV", "text/csv")),
    ]
    table = to_table(requests[:1], {}, Attributes(probability_attribute="p"))
    assert {reason: (each.count, each.sample) for reason, each in table.noted.items()} == {
        "input: declared as JSON, is CSV": (1, ("e",)),
        "output: declared as CSV, is JSON": (1, ("e",)),
    }
    assert table.scores.tolist() == [0.5] and table.bad == {}
    assert to_table(requests[1:], {}, Attributes(probability_attribute="0")).noted == {}


def test_a_requests_other_side_may_not_be_captured():
    attributes = Attributes(features=("a", "b"), probability_attribute="0")
    table = to_table([captured("e1", None, "0.9\n0.1"), captured("e2", "1,2", None)], {}, attributes)
    assert table.record_ids == ["e1#0", "e1#1", "e2#0"]
    assert table.regular.tolist() == [False, False, True]
    assert table.whole.all()
    assert table.noted["input was not captured"].count == 1
    assert table.bad["output was not captured"].count == 1
    assert table.predictions.tolist()[:2] == [1.0, 0.0] and np.isnan(table.predictions[2])


def test_found_names_keep_their_order():
    names = [f"x{index}" for index in (9, 10, 1, 0, 2, 3, 4, 5, 6, 7, 8)]
    request = captured_json("e", {name: index for index, name in enumerate(names)}, [0.5])
    table = to_table([request], {}, Attributes(probability_attribute="0"))
    assert [*table.features] == names and feature_rows(table) == ["0,1,2,3,4,5,6,7,8,9,10"]
    wide = captured("e", ",".join(str(index) for index in range(12)), "0.5")
    table = to_table([wide], {}, Attributes(probability_attribute="0"))
    assert [*table.features][9:] == ["_c9", "_c10", "_c11"] and table.features["_c10"] == ["10"]


def test_nested_documents_are_addressed_by_jmespath():
    document = {"customer": {"age": 61, "plan": {"name": "basic"}}, "calls": [3, 4]}
    expression = "{age: customer.age, plan: customer.plan.name, calls: calls[1]}"
    attributes = Attributes(
        features=("age", "plan", "calls"), features_attribute=expression, probability_attribute="answer.p[1]"
    )
    table = to_table([captured_json("e", document, {"answer": {"p": [0.1, 0.9]}})], {}, attributes)
    assert table.features == {"age": [61], "plan": ["basic"], "calls": [4]}
    assert table.scores.tolist() == [0.9] and table.bad == {}


def test_one_columnar_answer_may_be_one_record():
    attributes = Attributes(features=("a",), probability_attribute="probabilities[1]")
    table = to_table([captured_json("e", [1], {"probabilities": [0.25, 0.75]})], {}, attributes)
    assert table.scores.tolist() == [0.75] and table.bad == {}


@pytest.mark.parametrize(
    ("value", "number"),
    [("1e308", 1e308), ("9007199254740993", 9007199254740992.0), (10**400, None), ("Infinity", None), ("-nan", None)],
)
def test_numbers_at_the_edge(value, number):
    text = json.dumps({"a": value}) if isinstance(value, str) else '{"a": 1' + "0" * 400 + "}"
    table = to_table([captured("e", text, "0.5", kind="JSON")], {}, Attributes(probability_attribute="0"))
    found = number_of(table.features["a"][0]) if table.features else float("nan")
    assert (found == number) if number is not None else (found != found)


def test_ten_thousand_columns():
    names = tuple(f"c{index}" for index in range(10_000))
    row = ",".join(str(index) for index in range(10_000))
    table = to_table([captured("e", row, "0.5")], {}, Attributes(features=names, probability_attribute="0"))
    assert len(table.features) == 10_000 and table.features["c9999"] == ["9999"] and table.regular.all()
    undeclared = to_table([captured("e", row, "0.5")], {}, Attributes(probability_attribute="0"))
    assert [*undeclared.bad] == ["expected at most 5000 features where none are declared"]


def test_requests_of_one_model():
    def of(event_id, model, component):
        request = captured(event_id, "1", "0.5")
        return CapturedRequest(
            *[getattr(request, name) for name in request.__struct_fields__[:5]], (), model, component
        )

    requests = [of("e1", "a.tar.gz", None), of("e2", "b.tar.gz", "blue"), of("e3", None, "blue")]

    def kept(**settings):
        return [each.event_id for each in requests if is_about(each, Attributes(**settings))]

    assert kept() == ["e1", "e2", "e3"]
    assert kept(target_model="b.tar.gz") == ["e2"]
    assert kept(inference_component="blue") == ["e2", "e3"]
    assert kept(target_model="a.tar.gz", inference_component="blue") == []
