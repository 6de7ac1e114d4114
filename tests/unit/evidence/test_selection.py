"""Are labelled rows others than the unlabelled ones, and what would the metrics be if they were not?"""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from chalicelib.evidence.selection import selection_findings
from chalicelib.states.selection import bin_of, binary_selection, class_selection, regression_selection, size_of

NAN = float("nan")


def binary(rows):
    scores, labels = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return binary_selection(scores, (scores > 0.5).astype(float), labels)


def drawn(count, share_of_label, seed=3):
    """Scores that are right with their own probability; a label with a chance that depends on the score."""
    draw = random.Random(seed)
    rows, truth = [], []
    for _ in range(count):
        score = round(draw.random(), 4)
        label = float(draw.random() < score)
        truth.append((score > 0.5) == label)
        rows.append((score, label if draw.random() < share_of_label(score) else NAN))
    return rows, sum(truth) / count


def test_labels_that_come_at_random_give_no_warning_and_about_the_same_metrics():
    found = selection_findings(binary(drawn(4000, lambda score: 0.5)[0]))
    assert found["warning"] == ""
    assert found["distance"] < 0.1
    for metric in found["metrics"].values():
        assert metric["weighted"] == pytest.approx(metric["labelled"], abs=0.02)


def test_labels_that_come_for_sure_answers_warn_and_the_weights_mend_it():
    # Only what is sure is labelled often, so the labelled rows look better than all.
    rows, truth = drawn(8000, lambda score: 0.9 if abs(score - 0.5) > 0.35 else 0.1)
    found = selection_findings(binary(rows))
    assert found["warning"].startswith("labels come selectively")
    plain, weighted = found["metrics"]["accuracy"]["labelled"], found["metrics"]["accuracy"]["weighted"]
    assert plain > truth + 0.08
    assert weighted == pytest.approx(truth, abs=0.02)
    assert found["labelled"] + found["unlabelled"] == 8000


def test_margins_are_numbers_like_others():
    draw = np.random.Generator(np.random.PCG64(5))
    labelled, others = draw.uniform(-6, -4, 1000), draw.uniform(-2, -0.1, 1000)
    scores = np.concatenate([labelled, others])
    labels = np.concatenate([np.zeros(1000), np.full(1000, NAN)])
    served = (scores > 0).astype(float)
    found = selection_findings(binary_selection(scores, served, labels, margins=True))
    assert found["distance"] == 1.0
    assert found["warning"].startswith("labels come selectively")
    # Any split has the same counts.
    parts = [
        binary_selection(scores[some], served[some], labels[some], margins=True)
        for some in (slice(0, 900), slice(900, None))
    ]
    assert parts[0] + parts[1] == binary_selection(scores, served, labels, margins=True)


def test_the_distance_is_scipys():
    rows, _ = drawn(900, lambda score: score)
    found = selection_findings(binary(rows))
    labelled = [np.floor(score * 1000) for score, label in rows if label == label]
    others = [np.floor(score * 1000) for score, label in rows if label != label]
    theirs = ks_2samp(labelled, others, method="asymp")
    assert found["distance"] == pytest.approx(theirs.statistic)
    assert found["p_value"] == pytest.approx(theirs.pvalue, rel=0.5, abs=1e-6)


def test_classes_are_compared_by_their_shares():
    classes = ("ham", "odd", "spam")
    served = np.array([0.0] * 400 + [2.0] * 400 + [1.0] * 3)
    labels = np.array([0.0] * 300 + [NAN] * 100 + [2.0] * 50 + [0.0] * 50 + [NAN] * 300 + [1.0] + [NAN] * 2)
    found = selection_findings(class_selection(classes, served, labels))
    assert found["warning"]
    accuracy = found["metrics"]["accuracy"]
    assert accuracy["labelled"] == pytest.approx(351 / 401)
    # Of all rows 400 stand for 300 right ones, 400 for a half, and three for one.
    assert accuracy["weighted"] == pytest.approx((400 + 200 + 3) / 803)


def test_a_regressions_error_is_weighted_by_what_was_served():
    served = np.array([1.0] * 100 + [1000.0] * 100)
    labels = np.concatenate([served[:90] + 1.0, [NAN] * 10, served[100:140] + 100.0, [NAN] * 60])
    found = selection_findings(regression_selection(served, labels), mae=(90 + 4000) / 130)
    assert found["metrics"]["mae"]["labelled"] == pytest.approx(31.46, abs=0.01)
    assert found["metrics"]["mae"]["weighted"] == pytest.approx(50.5, rel=0.05)


def test_all_or_nothing_labelled_is_no_selection():
    all_of_them = selection_findings(binary([(0.2, 0.0), (0.9, 1.0)]))
    assert (all_of_them["distance"], all_of_them["warning"]) == (0.0, "")
    assert all_of_them["metrics"]["accuracy"] == {"labelled": 1.0, "weighted": 1.0}
    assert selection_findings(binary([(0.2, NAN)]))["metrics"] == {}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=20))
def test_bins_of_numbers_are_ordered_like_them(numbers):
    numbers = np.sort(np.array(numbers))
    assert (np.diff(bin_of(numbers)) >= 0).all()
    large = np.abs(numbers)[np.abs(numbers) > 1e-15]
    assert size_of(bin_of(large)) == pytest.approx(large, rel=0.07)
