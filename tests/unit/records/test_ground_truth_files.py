import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import UnreadableError
from chalicelib.records.ground_truth import Label, read_ground_truth, resolve, write_ground_truth
from tests.unit.records.building import DATA, NOON, minutes

LINE = '{"groundTruthData":{"data":%s,"encoding":"CSV"},"eventMetadata":{"eventId":"%s"},"eventVersion":"0"}'


def test_a_published_file_with_template_times_is_read():
    body = (DATA / "model-monitor-sdk-fixtures/actuals.jsonl").read_bytes()
    file = read_ground_truth(body, "actuals", NOON)
    assert len(file.labels) == len(body.splitlines())
    assert file.bad_lines == []
    assert {label.data for label in file.labels} <= {"0", "1"}
    assert {label.label_time for label in file.labels} == {NOON}
    assert {label.inference_time for label in file.labels} == {None}


def test_labels_that_are_json_values_are_taken_by_their_text_and_others_are_bad_lines():
    values = ['"1"', "1", "0.5", "true", "null", "[1]", '{"label":1}']
    body = "\n".join(LINE % (value, f"id{index}") for index, value in enumerate(values)).encode()
    file = read_ground_truth(body, "f", NOON)
    assert [label.data for label in file.labels] == ["1", "1", "0.5", "true"]
    assert [bad.line for bad in file.bad_lines] == [5, 6, 7]


def test_the_label_time_of_our_webhook_wins_over_the_arrival():
    raw = json.loads(LINE % ('"1"', "a"))
    raw["eventMetadata"] |= {"labelTime": "2026-01-01T13:00:00+01:00", "inferenceTime": "2026-01-01T10:00:00Z"}
    label = read_ground_truth(json.dumps(raw).encode(), "f", minutes(90)).labels[0]
    assert label.label_time == NOON
    assert label.inference_time == datetime(2026, 1, 1, 10, tzinfo=UTC)
    raw["eventMetadata"]["labelTime"] = "yesterday"
    body = json.dumps(raw).encode() + b"\n" + (LINE % ('"0"', "b")).encode()
    assert [bad.line for bad in read_ground_truth(body, "f", NOON).bad_lines] == [1]


def test_a_file_without_labels_is_unreadable_and_an_empty_one_is_not():
    with pytest.raises(UnreadableError, match=r"^where: none of 2 lines is a ground-truth record"):
        read_ground_truth(b"id,label\n1,1\n", "where", NOON)
    assert read_ground_truth(b"", "where", NOON).labels == []


times = st.sampled_from([None, NOON, minutes(1), minutes(2)])
labels = st.builds(
    Label,
    id=st.sampled_from("abc"),
    data=st.sampled_from(["0", "1", "1.0", "x"]),
    label_time=times,
    source=st.sampled_from(["s", "t"]),
    record_index=st.sampled_from([None, 0, 1]),
)


@given(st.lists(labels), st.sampled_from(["latest", "first", "reject"]), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order(some, conflict, shuffler: random.Random):
    shuffled = list(some)
    shuffler.shuffle(shuffled)
    assert resolve(some, conflict) == resolve(shuffled, conflict)
    assert write_ground_truth(some) == write_ground_truth(shuffled + some)


@given(st.lists(st.builds(Label, id=st.text(min_size=1), data=st.text(), label_time=times, inference_time=times)))
def test_what_is_written_is_read_back(some):
    body = write_ground_truth(some)
    file = read_ground_truth(body, "", NOON)
    assert file.bad_lines == []
    known = {Label(one.id, one.data, one.encoding, one.label_time or NOON, one.inference_time) for one in some}
    assert set(file.labels) == known


def test_rules_between_different_values():
    first, repeat, second = Label("a", "0", "CSV", NOON), Label("a", "0.0", "CSV", minutes(1)), Label("a", "1")
    second = Label("a", "1", "CSV", minutes(2))
    alone = Label("b", "1", "CSV", NOON)
    every = [second, alone, repeat, first]
    assert resolve(every).by_id == {"a": second, "b": alone}
    assert resolve(every, "first").by_id == {"a": first, "b": alone}
    rejected = resolve(every, "reject")
    assert rejected.by_id == {"b": alone}
    assert (rejected.repeated, rejected.conflicting, rejected.rejected) == (1, 1, 1)


def test_a_value_that_comes_back_is_the_latest_again():
    there_and_back = [Label("a", data, "CSV", minutes(index)) for index, data in enumerate("010")]
    assert resolve(there_and_back).by_id["a"].data == "0"


def test_between_conflicting_labels_of_one_time_the_digest_decides():
    one, other = Label("a", "0", "CSV", NOON), Label("a", "1", "CSV", NOON)
    expected = max(one, other, key=lambda label: label.digest)
    assert resolve([one, other]).by_id["a"] == resolve([other, one]).by_id["a"] == expected
