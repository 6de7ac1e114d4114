"""Samples of rows: fair, the same for any split, with features as numbers and labels that join later."""

import numpy as np
import pytest

from chalicelib.records.attributes import Attributes
from chalicelib.records.cells import hashes_of
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import to_table
from chalicelib.states.row_sample import RowSample, row_hashes, row_sample, row_sample_of, text_code
from tests.unit.records.building import captured

NAN = float("nan")


def sample_of(features, most=100, scores=None, labels=None, first=0):
    count = len(next(iter(features.values())))
    hashes = row_hashes(np.arange(first, first + count, dtype=np.uint64), np.zeros(count, dtype=np.uint64))
    nothing = np.full(count, NAN)
    scores = nothing if scores is None else scores
    return row_sample(hashes, features, scores, np.ones(count), nothing if labels is None else labels, most)


def test_values_are_numbers_and_texts_are_codes():
    sample = sample_of({"b": ["1.5", None, " 2 ", "x", "nan", True, 1e300], "a": [1, 2, 3, 4, 5, 6, 7]})
    assert sample.features == ("a", "b")
    rows = {int(a): b for a, b in sample.values.tolist()}
    most = float(np.finfo(np.float32).max)
    assert [rows[index] for index in (1, 3, 4, 6, 7)] == [1.5, 2.0, text_code("x"), 1.0, most]
    assert np.isnan([rows[2], rows[5]]).all()
    assert text_code("x") == np.float32(text_code("x")) != text_code("y")


def test_the_sample_is_fair_and_the_same_for_every_split():
    values = list(range(20_000))
    whole = sample_of({"a": values}, most=2000)
    assert (whole.rows, len(whole.hashes)) == (20_000, 2000)
    # The mean of a fair sample of 2,000 is within 4 of its standard errors (129) of the mean of all.
    assert abs(whole.values.mean() - 9999.5) < 4 * 129
    state = RowSample()
    for start in range(0, 20_000, 777):
        state = sample_of({"a": values[start : start + 777]}, most=2000, first=start) + state
    assert state.to_bytes() == whole.to_bytes()


def test_features_of_all_parts_are_kept():
    both = sample_of({"a": [1.0]}) + sample_of({"b": [2.0]}, first=1)
    assert both.features == ("a", "b")
    assert sorted(map(str, both.values.tolist())) == sorted(map(str, [[1.0, NAN], [NAN, 2.0]]))
    with pytest.raises(ValueError, match="one size"):
        both + sample_of({"a": [1.0]}, most=7, first=2)


def test_labels_join_by_the_hash_of_event_and_position():
    attributes = Attributes(features=("a",), probability_attribute="0")
    requests = [captured(f"e{index}", "1\n2", "0.9\n0.2") for index in range(4)]
    labels = {"e1": Label("e1", "1")}
    sample = row_sample_of(to_table(requests, labels, attributes))
    assert sample.answers.shape == (8, 3)
    events = hashes_of(["e3", "e3", "e0"])
    hashes = row_hashes(events, np.array([0, 1, 1], dtype=np.uint64))
    order = np.argsort(hashes)
    labelled = sample.with_labels(hashes[order], np.array([1.0, 0.0, 1.0])[order])
    known = labelled.answers[np.isfinite(labelled.answers[:, 2])]
    assert sorted(known.tolist()) == [[0.2, 0.0, 0.0], [0.2, 0.0, 1.0], [0.9, 1.0, 1.0]]
    nothing = labelled.with_labels(np.zeros(0, dtype=np.uint64), np.zeros(0))
    assert np.isnan(nothing.answers[:, 2]).all()


def test_classes_are_codes_that_two_tables_share():
    attributes = Attributes(features=("a",), problem_type="MulticlassClassification", inference_attribute="0")
    tables = [
        to_table([captured("e1", "1", "spam"), captured("e2", "1", "ham")], {"e1": Label("e1", "ham")}, attributes),
        to_table([captured("e3", "1", "odd"), captured("e4", "1", "spam")], {"e4": Label("e4", "spam")}, attributes),
    ]
    both = row_sample_of(tables[0]) + row_sample_of(tables[1])
    spam, ham, odd = (text_code(name) for name in ("spam", "ham", "odd"))
    assert {tuple(row) for row in np.nan_to_num(both.answers[:, 1:], nan=-1.0).tolist()} == {
        (spam, ham), (ham, -1.0), (odd, -1.0), (spam, spam),
    }  # fmt: skip


@pytest.mark.parametrize("damage", [{"rows": 0}, {"most": 1}, {"features": ("b", "a")}, {"packed_hashes": b"1" * 8}])
def test_other_bytes_are_no_sample(damage):
    sample = sample_of({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    fields = {name: getattr(sample, name) for name in sample.__struct_fields__}
    with pytest.raises(ValueError, match=r"rows from|features in|of each row"):
        RowSample(**(fields | damage))
