"""Labels of single records of a request: one document per request, whatever order they come in."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta

import msgspec
import pytest

from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.ground_truth import Conflict, Label, read_ground_truth, resolve, write_ground_truth
from chalicelib.records.merge import merge, read_merged, write_merged
from chalicelib.records.table import Table, to_table
from tests.unit.records.building import NOON


def record(index: int, data: str, minutes: int = 0) -> Label:
    return Label("r", data, "CSV", NOON + timedelta(minutes=minutes), record_index=index)


def whole(data: str, minutes: int = 0) -> Label:
    return Label("r", data, "JSON", NOON + timedelta(minutes=minutes))


def request_of(records: int) -> CapturedRequest:
    rows = "\n".join("1,2" for _ in range(records))
    answers = "\n".join("0.9" for _ in range(records))
    return CapturedRequest(
        event_id="e",
        inference_id="r",
        inference_time=NOON,
        input=Payload(rows, "CSV", "text/csv", "INPUT"),
        output=Payload(answers, "CSV", "text/csv", "OUTPUT"),
    )


def table(labels: list[Label], records: int = 3, conflict: Conflict = "latest", **attributes: str) -> Table:
    described = Attributes(probability_attribute="0", **attributes)
    return to_table([request_of(records)], resolve(labels, conflict).by_id, described)


def truths(found: Table) -> list[float | None]:
    return [None if value != value else value for value in found.labels.tolist()]


def test_records_without_a_label_are_unlabelled_and_not_bad() -> None:
    found = table([record(0, "1"), record(2, "0")])
    assert truths(found) == [1.0, None, 0.0]
    assert found.bad == {}


def test_the_last_record_completes_the_request() -> None:
    assert truths(table([record(index, "1") for index in (2, 0, 1)])) == [1.0, 1.0, 1.0]


def test_a_label_may_be_a_document() -> None:
    found = table([record(1, '{"truth": 1}')], ground_truth_attribute="truth")
    assert truths(found) == [None, 1.0, None]


@pytest.mark.parametrize(
    "conflict, minutes, expected",
    [
        ("latest", 5, [1.0, 0.0, 1.0]),  # a correction of one record
        ("latest", -5, [1.0, 1.0, 1.0]),  # the whole request was labelled again since
        ("first", 5, [1.0, 1.0, 1.0]),
        ("first", -5, [1.0, 0.0, 1.0]),
        ("reject", 5, [None, None, None]),
    ],
)
def test_beside_a_label_of_the_whole_request(conflict: Conflict, minutes: int, expected: list[float | None]) -> None:
    found = table([whole("[1,1,1]"), record(1, "0", minutes)], conflict=conflict)
    assert truths(found) == expected
    assert found.bad == {}


def test_records_are_chosen_like_requests() -> None:
    labels = [record(0, "1", 0), record(0, "0", 5), record(0, "1.0", 0), record(1, "1")]
    latest, first, reject = (resolve(labels, conflict) for conflict in ("latest", "first", "reject"))
    assert json.loads(latest.by_id["r"].data) == {"recordLabels": {"0": "0", "1": "1"}}
    assert json.loads(first.by_id["r"].data)["recordLabels"]["0"] in ("1", "1.0")
    assert json.loads(reject.by_id["r"].data) == {"recordLabels": {"1": "1"}}
    assert [(each.repeated, each.conflicting, each.rejected) for each in (latest, first, reject)] == [
        (1, 1, 0),
        (1, 1, 0),
        (1, 1, 1),
    ]


@pytest.mark.parametrize(
    "labels, rejected",
    [
        ([record(0, "1"), record(0, "0"), whole("[1,1,1]")], 2),  # the record and the request
        ([record(0, "1"), record(0, "0"), record(1, "1"), whole("[1,1,1]")], 2),
        ([record(0, "1"), whole("[1,1,1]"), whole("[0,0,0]")], 1),
        ([record(0, "1"), record(0, "0"), whole("[1,1,1]"), whole("[0,0,0]")], 2),
    ],
)
def test_reject_takes_no_label_of_a_request_with_both_where_one_kind_differs(
    labels: list[Label], rejected: int
) -> None:
    for order in itertools.permutations(labels):
        found = resolve(order, "reject")
        assert (found.by_id, found.conflicting, found.rejected) == ({}, rejected, rejected)


def test_a_record_that_the_request_does_not_have() -> None:
    found = table([record(0, "1"), record(7, "1")])
    assert truths(found) == [1.0, None, None]
    assert {reason: bad.count for reason, bad in found.bad.items()} == {
        "expected labels of the request's records, got one of another": 1
    }


def test_any_order_gives_the_same_document() -> None:
    labels = [whole("[1,1,1]"), record(0, "0", 1), record(2, "0", 2), record(2, "1", 3)]
    documents = {resolve(order).by_id["r"].data for order in itertools.permutations(labels)}
    assert len(documents) == 1


@pytest.mark.parametrize("conflict", ["latest", "first"])
@pytest.mark.parametrize(
    "labels",
    [
        [record(0, "1", 1), record(1, "1", 5)],
        [record(0, "1", 1), whole("[1,1,1]", 5)],
        [whole("[1,1,1]", 1), record(0, "1", 5)],
        [record(0, "1", 5), record(0, "0", 1), record(1, "1", 3), whole("[1,1,1]", 7)],
        [record(0, "1", 1), whole("[1,1,1]", 5), whole("[0,0,0]", 6)],
        [record(0, "1", 5), whole("[1,1,1]", 1), whole("[0,0,0]", 6)],
    ],
)
def test_a_request_is_known_from_its_first_label_on(labels: list[Label], conflict: Conflict) -> None:
    for order in itertools.permutations(labels):
        assert resolve(order, conflict).known_at("r") == NOON + timedelta(minutes=1)


def test_a_request_whose_labels_say_no_time_is_known_at_none() -> None:
    labels = [Label("r", "1", record_index=0), Label("r", "0", record_index=1)]
    assert resolve(labels).known_at("r") is None


def test_they_are_written_and_read_back() -> None:
    labels = [record(0, "1"), record(2, "0"), whole("[1,1,1]")]
    read = read_ground_truth(write_ground_truth(labels), "", NOON).labels
    assert {msgspec.structs.replace(label, source="") for label in read} == set(labels)


@pytest.mark.parametrize("index", ["-1", "1.5", '"0"', "100000"])
def test_an_index_that_is_none_is_a_bad_line(index: str) -> None:
    line = '{"groundTruthData":{"data":"1"},"eventMetadata":{"eventId":"r","recordIndex":%s}}\n'
    found = read_ground_truth((line % 0 + line % index).encode(), "f", NOON)
    assert (len(found.labels), [bad.line for bad in found.bad_lines]) == (1, [2])


def test_merged_records_carry_them() -> None:
    request = request_of(3)
    merged = merge([request], resolve([record(0, "1"), record(2, "0")]).by_id)
    [back] = read_merged(write_merged(merged), "m").requests
    assert truths(to_table([back.request], {"r": back.label}, Attributes(probability_attribute="0"))) == [
        1.0,
        None,
        0.0,
    ]


@pytest.mark.parametrize(
    "data", ['{"recordLabels":1}', '{"recordLabels":{"x":"1"}}', '{"recordLabels":{"0":1}}', '{"recordLabels":']
)
def test_a_document_that_only_looks_like_one(data: str) -> None:
    assert truths(table([whole(data)])) == [None, None, None]
