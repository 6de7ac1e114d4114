import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from chalicelib.evidence.calibration import calibration
from chalicelib.states.scores import Tally, tally

answers = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


def tally_of(rows):
    scores, labels = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return tally(scores, (scores > 0.5).astype(float), labels)


@given(answers)
def test_bins_and_brier_score_are_scikit_learns(rows):
    # Its bins include their upper edges and ours their lower ones: on an edge they may differ.
    rows = [(score, label) for score, label in rows if score * 10 % 1 > 1e-9 and score < 1.0] or [(0.05, 1)]
    found = calibration(tally_of(rows))
    scores, labels = zip(*rows, strict=True)
    shares, means = calibration_curve(labels, scores, n_bins=10)
    assert [each["positive_share"] for each in found["bins"]] == pytest.approx(list(shares), abs=1e-12)
    assert [each["mean_score"] for each in found["bins"]] == pytest.approx(list(means), abs=1e-12)
    assert found["brier_score"] == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)
    gaps = [each["rows"] * abs(each["mean_score"] - each["positive_share"]) for each in found["bins"]]
    assert found["expected_calibration_error"] == pytest.approx(sum(gaps) / len(rows), abs=1e-12)


@given(answers, answers)
def test_any_split_of_the_rows_gives_the_same(one, other):
    assert calibration(tally_of(one) + tally_of(other)) == calibration(tally_of(one + other))


def test_lower_edges_are_inclusive_and_the_last_bin_has_both():
    found = calibration(tally_of([(0.0, 0), (0.1, 1), (0.3, 0), (1.0, 1)]))
    assert [(each["lower_bound"], each["rows"]) for each in found["bins"]] == [(0.0, 1), (0.1, 1), (0.3, 1), (0.9, 1)]


@pytest.mark.parametrize("rows", [[(-0.1, 0), (0.5, 1)], [(0.2, 0), (1.5, 1)], [(0.0, 0), (1.0, 1)]])
def test_scores_that_are_no_probabilities_have_none(rows):
    assert calibration(tally_of(rows)) is None


def test_rounding_beyond_1_is_still_a_probability():
    assert calibration(tally_of([(0.2, 0), (1.0 + 2e-7, 1)]))["bins"][-1]["rows"] == 1


def test_nothing_counted_has_none():
    assert calibration(Tally()) is None
