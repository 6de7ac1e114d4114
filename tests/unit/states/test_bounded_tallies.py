"""A tally of more scores than are kept: the same for any split, and as wrong as it says."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from chalicelib.states import scores
from chalicelib.states.scores import Confusion, Tally, area_under_curve, tally

ROWS = 1_060_000


@pytest.fixture(scope="module")
def columns():
    draw = np.random.Generator(np.random.PCG64(17))
    found = draw.normal(size=ROWS)
    labels = (draw.random(ROWS) < 1 / (1 + np.exp(-found))).astype(np.float64)
    return found, (found > 0).astype(np.float64), labels


def test_a_million_distinct_scores_are_exact(columns):
    found, served, labels = (column[: scores.SCORES] for column in columns)
    state = tally(found, served, labels)
    assert (len(state.scores), state.dropped_bits, state.area_error) == (scores.SCORES, 0, 0.0)
    assert area_under_curve(state.cells) == pytest.approx(roc_auc_score(labels, found), abs=1e-12)


def test_more_lose_bits_the_same_whatever_the_split(columns):
    found, served, labels = columns
    whole = tally(found, served, labels)
    assert whole.dropped_bits > 0
    assert scores.SCORES // 2 < len(whole.scores) <= scores.SCORES
    assert whole.rows == ROWS
    assert whole.confusion == Confusion(*np.bincount((2 * labels + served).astype(int)).tolist())
    error = abs(float(area_under_curve(whole.cells)) - roc_auc_score(labels, found))
    assert error <= whole.area_error < 1e-6
    cut = 600_000
    parts = [tally(found[part], served[part], labels[part]) for part in (slice(cut), slice(cut, None))]
    assert parts[0].dropped_bits == 0
    for merged in (parts[0] + parts[1], parts[1] + parts[0]):
        assert merged.to_bytes() == whole.to_bytes()
    assert Tally.from_bytes(whole.to_bytes()) == whole
