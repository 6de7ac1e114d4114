import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import read_captures
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import BadRecords, feature_rows, to_table
from tests.unit.records.building import DATA, captured, captured_json, minutes

CSV = Attributes(features=("a", "b"), probability_attribute="0")


def reasons(table):
    return {reason: bad.count for reason, bad in table.bad.items()}


def labelled(**data):
    return {id: Label(id, text) for id, text in data.items()}


def test_one_record_per_request():
    requests = [captured("e2", "3,x", "0.5", at=minutes(1)), captured("e1", "1,\n", "0.7\n")]
    table = to_table(requests, labelled(e1="1", e2="0\n"), CSV)
    assert table.record_ids == ["e1#0", "e2#0"]
    assert table.times[1] - table.times[0] == 60.0
    assert table.features == {"a": ["1", "3"], "b": ["", "x"]}
    assert table.scores.tolist() == [0.7, 0.5]
    assert table.predictions.tolist() == [1.0, 0.0]  # 0.5 is not above the threshold of 0.5
    assert table.labels.tolist() == [1.0, 0.0]
    assert table.regular.all()
    assert table.bad == {} and table.irregular == {}
    assert feature_rows(table) == ["1,", "3,x"]


def test_several_records_with_labels_by_position():
    requests = [
        captured("e1", "1,2\n3,4\n5,6", "0.9\n0.2\n0.6"),
        captured("e2", "1,2\n3,4", "0.9,0.2"),  # one line for two records
        captured_json("e3", {"instances": [[1, 2], [3, 4]]}, {"predictions": [{"p": 0.9}, {"p": 0.1}]}),
    ]
    attributes = Attributes(features=("a", "b"), probability_attribute="0")
    table = to_table(requests[:2], labelled(e1="1,0,1", e2='{"instances":[{"label":0},{"label":1}]}'), attributes)
    assert table.record_ids == ["e1#0", "e1#1", "e1#2", "e2#0", "e2#1"]
    assert table.scores.tolist() == [0.9, 0.2, 0.6, 0.9, 0.2]
    assert table.labels.tolist() == [1, 0, 1, 0, 1]
    attributes = Attributes(features=("a", "b"), probability_attribute="predictions[*].p")
    table = to_table(requests[2:], labelled(e3="[true, 0]"), attributes)
    assert table.features == {"a": [1, 3], "b": [2, 4]}
    assert table.scores.tolist() == [0.9, 0.1]
    assert table.labels.tolist() == [1, 0]
    assert table.bad == {}


@pytest.mark.parametrize("run", ["bias-drift-endpoint-json-2024-01", "attribution-drift-endpoint-jsonlines-2023-01"])
@pytest.mark.parametrize("nested", [True, False])
def test_published_json_captures(run, nested):
    body = (DATA / "model-monitor-published-runs" / run / "capture.jsonl").read_bytes()
    lines = "jsonlines" in run
    path = "predictions[*]." if nested and not lines else ""
    attributes = Attributes(
        probability_attribute=path + "score",
        inference_attribute=path + "predicted_label",
        features_attribute=("features" if lines else "instances[*].features") if nested else None,
        output_names=("predicted_label", "score"),
    )
    table = to_table(read_captures(body, run).requests, {}, attributes)
    assert len(table) == 3
    assert sorted(np.round(table.scores, 3).tolist()) == [0.504, 0.990, 0.990]
    assert table.predictions.tolist() == [1, 1, 1]
    assert table.outputs["predicted_label"] == [1, 1, 1]
    assert list(table.features) == [f"_c{index}" for index in range(14)]
    assert sorted(table.features["_c0"]) == [28, 28, 43]
    assert np.isnan(table.labels).all()
    assert table.bad == {}


def test_objects_go_by_key():
    attributes = Attributes(features=("a", "b"), inference_attribute="label", output_names=("label",))
    requests = [
        captured_json("e1", {"b": 2, "a": 1}, {"label": True}),
        captured_json("e2", {"a": 3}, {"label": "0"}),
        captured_json("e3", {"a": 5, "b": 6, "c": 7}, {"label": 2}),
    ]
    table = to_table(requests, {}, attributes)
    assert table.features == {"a": [1, 3, 5], "b": [2, None, 6]}
    assert table.predictions.tolist()[:2] == [1.0, 0.0]
    assert math.isnan(table.predictions[2])
    assert np.isnan(table.scores).all()
    assert reasons(table) == {"expected 2 features, got 1 more": 1, "output: prediction is not 0 or 1": 1}
    assert table.irregular == {3: 1}
    assert feature_rows(table) == ["1,2", "3,", "5,6"]


def test_a_schema_break_is_counted_and_kept_out_of_the_features():
    requests = [captured("e1", "1,2", "0.1"), captured("e2", "1", "0.2"), captured("e3", "1,2,3", "0.3")]
    table = to_table(requests, {}, CSV)
    assert table.regular.tolist() == [True, False, False]
    assert table.features == {"a": ["1", None, None], "b": ["2", None, None]}
    assert table.irregular == {1: 1, 3: 1}
    assert reasons(table) == {"expected 2 features, got 1 fewer": 1, "expected 2 features, got 1 more": 1}
    assert table.bad["expected 2 features, got 1 fewer"].sample == ("e2#0",)
    assert table.scores.tolist() == [0.1, 0.2, 0.3]
    assert feature_rows(table) == ["1,2", "", ""]


def test_bad_labels_leave_rows_unlabelled_and_are_counted():
    texts = ["maybe", "2", "", '{"label": null}', "{", "0,1", "nan", "1e999", "[]"]
    requests = [captured(f"e{index}", "1,2", "0.9") for index in range(len(texts))]
    table = to_table(requests, {f"e{i}": Label(f"e{i}", text) for i, text in enumerate(texts)}, CSV)
    assert np.isnan(table.labels).all()
    assert reasons(table) == {
        "label is not 0 or 1": 6,
        "label is not readable": 1,
        "expected a label for each record, got 1 more": 1,
        "expected a label for each record, got 1 fewer": 1,
    }
    assert not any("maybe" in reason for reason in table.bad)


def test_reasons_are_few_however_many_counts_there_are():
    counts = range(2, 400)
    requests, labels = [], {}
    for count in counts:
        asked = "\n".join(["1,2"] * (count % 20 or 1)) if count % 2 else ",".join(["1"] * count)
        requests.append(captured(f"e{count}", asked, "\n".join(["0.9"] * count)))
        labels[f"e{count}"] = Label(f"e{count}", ",".join(["1"] * count))
    found = reasons(to_table(requests, labels, CSV))
    for about in ("output: expected an answer for each record", "expected a label for each record"):
        assert found[f"{about}, got over 10 more"] > 100
        assert {reason for reason in found if reason.startswith(about)} <= {
            f"{about}, got {difference} more" for difference in (*range(1, 11), "over 10")
        }
    assert found["expected 2 features, got 10 more"] == 1 and found["expected 2 features, got over 10 more"] > 100
    assert len(found) <= 33


def test_bad_outputs_leave_rows_unscored_and_are_counted():
    outputs = [None, "", "high", "0.1,0.2", "0.1\n0.2", "inf", "nan"]
    requests = [captured(f"e{index}", "1,2", output) for index, output in enumerate(outputs)]
    table = to_table(requests, {}, CSV)
    assert len(table) == 7
    # The first column of a longer line is the probability; the others have none.
    assert [score for score in table.scores.tolist() if score == score] == [0.1]
    assert [value for value in table.predictions.tolist() if value == value] == [0.0]
    assert reasons(table) == {
        "output was not captured": 1,
        "output: payload is empty": 1,
        "output: probability is not a number": 3,
        "output: expected an answer for each record, got 1 more": 1,
    }


OUTSIDE = ["0.4", "1.7", "-3", "1.0000001", "-1e-9", "0.6"]


def test_a_probability_outside_of_0_to_1_is_no_answer():
    table = to_table([captured(f"e{index}", "1,2", output) for index, output in enumerate(OUTSIDE)], {}, CSV)
    # 32-bit numbers end a little beyond 0 and 1.
    assert [score for score in table.scores.tolist() if score == score] == [0.4, 1.0000001, -1e-9, 0.6]
    assert np.isnan(table.predictions).tolist() == [False, True, True, False, False, False]
    assert table.bad["output: probability is outside of 0 to 1"] == BadRecords(2, ("e1#0", "e2#0"))


def test_beside_a_class_it_is_noted_and_the_score_stays():
    attributes = msgspec.structs.replace(CSV, inference_attribute="1")
    requests = [captured(f"e{index}", "1,2", f"{output},1") for index, output in enumerate(OUTSIDE)]
    table = to_table(requests, {}, attributes)
    assert table.scores.tolist() == [0.4, 1.7, -3.0, 1.0000001, -1e-9, 0.6]
    assert table.predictions.tolist() == [1.0] * 6 and table.bad == {}
    assert table.noted == {"output: probability is outside of 0 to 1": BadRecords(2, ("e1#0", "e2#0"))}


def test_a_threshold_of_0_says_that_scores_are_margins():
    attributes = msgspec.structs.replace(CSV, probability_threshold=0.0)
    table = to_table([captured(f"e{index}", "1,2", output) for index, output in enumerate(OUTSIDE)], {}, attributes)
    assert table.predictions.tolist() == [1.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    assert table.bad == {} and table.noted == {}


def test_bad_inputs_are_counted():
    requests = [captured("e1", None, "0.4"), captured("e2", "", "0.6"), captured("e3", None, None)]
    table = to_table(requests, {}, CSV)
    assert table.record_ids == ["e1#0", "e2#0"]
    assert table.scores.tolist() == [0.4, 0.6]
    assert not table.regular.any()
    assert reasons(table) == {
        "input: payload is empty": 1,
        "no record in the request": 1,
        "output was not captured": 1,
    }


def test_a_copied_event_counts_once_whichever_copy_comes_first():
    one, other = captured("e1", "1,2", "0.1"), captured("e1", "1,2", "0.9")
    tables = [to_table(requests, {}, CSV) for requests in ([one, other], [other, one])]
    assert [table.scores.tolist() for table in tables] == [[0.1], [0.1]]
    assert reasons(tables[0]) == {"event id came before": 1}


def test_an_empty_event_id_is_one_like_others():
    table = to_table([captured("", "1,2", "0.9"), captured("", "1,2", "0.9"), captured("e1", "3,4", "0.1")], {}, CSV)
    assert table.record_ids == ["#0", "e1#0"] and table.scores.tolist() == [0.9, 0.1]
    assert reasons(table) == {"event id came before": 1}


def test_a_ground_truth_attribute_is_followed():
    attributes = Attributes(probability_attribute="0", ground_truth_attribute="truth[*].y")
    label = Label("e1", json.dumps({"truth": [{"y": 1}, {"y": "0"}]}), "JSON")
    table = to_table([captured("e1", "1,2\n3,4", "0.9\n0.1")], {"e1": label}, attributes)
    assert table.labels.tolist() == [1, 0]


def test_an_expression_that_does_not_fit_the_document_is_no_error():
    attributes = Attributes(probability_attribute="sum(@)", features_attribute="join(',', @)")
    table = to_table([captured_json("e1", {"x": 1}, {"y": 2})], {}, attributes)
    assert reasons(table) == {
        "input: nothing at features_attribute": 1,
        "output: probability is not a number": 1,
    }


def test_texts_that_need_quotes_survive_the_way_to_csv():
    values = ["plain", 'with "quotes"', "a,b", "two\nlines", ""]
    table = to_table([captured_json("e1", {"instances": [values]}, [0.5])], {}, Attributes(probability_attribute="0"))
    (line,) = feature_rows(table)
    again = to_table([captured("e2", line, "0.5")], {}, Attributes(probability_attribute="0"))
    assert [column[0] for column in again.features.values()] == values


def test_lists_too_long_for_columns_are_no_error_where_the_input_tells_how_many_records_there_are():
    answers = [{"features": [1] * 100_001}, {"a": [1, 2]}]
    request = captured("e1", "1,2\n3,4", "\n".join(map(json.dumps, answers)))
    table = to_table([request], {}, Attributes(features=("a", "b"), probability_attribute="a[0]"))
    assert table.features == {"a": ["1", "3"], "b": ["2", "4"]}
    assert table.scores.tolist()[1] == 1.0 and reasons(table) == {"output: probability is not a number": 1}


def test_nothing_gives_an_empty_table():
    table = to_table([], {}, CSV)
    assert len(table) == 0
    assert table.features == {"a": [], "b": []}


@given(
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8)), max_size=6),
    st.sampled_from(["CSV", "JSON"]),
    st.sampled_from(["0", "score", "predictions[*]", "length(@)"]),
)
def test_no_payload_and_no_label_makes_it_raise(texts, kind, attribute):
    requests = [captured(f"e{i}", one, two, kind=kind) for i, (one, two, _) in enumerate(texts)]
    labels = {f"e{i}": Label(f"e{i}", text) for i, (_, _, text) in enumerate(texts)}
    attributes = Attributes(probability_attribute=attribute, output_names=("score",))
    table = to_table(requests, labels, attributes)
    count = len(table)
    assert {len(table.times), len(table.scores), len(table.labels), len(table.regular)} == {count}
    assert {len(column) for column in (*table.features.values(), *table.outputs.values())} <= {count}
    shuffled = to_table(requests[::-1], labels, attributes)
    assert shuffled.record_ids == table.record_ids
    assert shuffled.bad == table.bad
