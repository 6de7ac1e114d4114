import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sk

from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import to_table
from chalicelib.states.scores import (
    Confusion,
    area_under_curve,
    precision_recall_curve,
    roc_curve,
    tally,
    tally_of,
)
from tests.unit.records.building import captured

rows = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.50001, 0.9, 1.0]), st.booleans()), min_size=1, max_size=60)


def columns(some):
    scores = np.array([score for score, _ in some])
    return scores, (scores > 0.5).astype(float), np.array([float(label) for _, label in some])


@given(rows)
def test_curves_and_area_agree_with_scikit_learn(some):
    scores, predictions, labels = columns(some)
    assume(0 < labels.sum() < len(labels))
    state = tally(scores, predictions, labels)
    assert area_under_curve(state.cells) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    fpr, tpr = roc_curve(state)
    expected_fpr, expected_tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(fpr[:-1], expected_fpr, atol=1e-15)
    np.testing.assert_allclose(tpr[:-1], expected_tpr, atol=1e-15)
    assert (fpr[-1], tpr[-1]) == (1.0, 1.0)
    precisions, recalls = precision_recall_curve(state)
    expected_precisions, expected_recalls, _ = sk.precision_recall_curve(labels, scores)
    # scikit-learn goes the other way and starts with precision 1 by definition.
    np.testing.assert_allclose(precisions[1:], expected_precisions[:-1][::-1], atol=1e-15)
    np.testing.assert_allclose(recalls, expected_recalls[::-1], atol=1e-15)


@given(rows)
def test_confusion_matrices_agree_with_scikit_learn(some):
    scores, predictions, labels = columns(some)
    state = tally(scores, predictions, labels)
    assert state.rows == len(some)
    tn, fp, fn, tp = sk.confusion_matrix(labels, predictions, labels=[0, 1]).ravel()
    assert state.confusion == Confusion(tn, fp, fn, tp)


def test_without_both_classes_there_is_no_curve():
    ones = tally(np.array([0.1, 0.9]), np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    assert np.isnan(area_under_curve(ones.cells))
    assert [len(axis) for axis in roc_curve(ones)] == [0, 0]
    assert precision_recall_curve(ones)[1].tolist() == [0.0, 0.5, 1.0]
    zeros = tally(np.array([0.1]), np.array([0.0]), np.array([0.0]))
    assert [len(axis) for axis in precision_recall_curve(zeros)] == [0, 0]


def test_rows_that_miss_something_are_left_out():
    nan = float("nan")
    state = tally(np.array([0.1, nan, 0.3, 0.4]), np.array([0.0, 1.0, nan, 1.0]), np.array([1.0, 1.0, 1.0, nan]))
    assert state.rows == 1
    assert state.confusion == Confusion(0, 0, 1, 0)


def test_served_classes_count_beside_the_probability_and_stand_in_for_it():
    requests = [captured("e1", "1", "0.6,0"), captured("e2", "1", "0.4,1"), captured("e3", "1", "?,1")]
    labels = {id: Label(id, "1") for id in ("e1", "e2", "e3")}
    both = tally_of(to_table(requests, labels, Attributes(probability_attribute="0", inference_attribute="1")))
    assert both.scores.tolist() == [0.4, 0.6]
    assert both.confusion == Confusion(0, 0, 1, 1)
    classes = tally_of(to_table(requests, labels, Attributes(inference_attribute="1")))
    assert classes.scores.tolist() == [0.0, 1.0]
    assert classes.confusion == Confusion(0, 0, 1, 2)
