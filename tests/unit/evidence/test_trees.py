"""Boosted trees: they learn what trees can learn, the same each time, and come back from bytes."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from chalicelib.errors import UnreadableError
from chalicelib.evidence.trees import CODES, LEAST_WEIGHT, Trees, coded, cuts_of, fit

NAN = float("nan")


def drawn(rows, seed):
    """Five columns, a tenth of the first missing; the target has an interaction, a step and noise."""
    draw = np.random.Generator(np.random.PCG64(seed))
    features = draw.normal(size=(rows, 5))
    target = features[:, 0] * features[:, 1] + 2.0 * (features[:, 2] > 0.5) + draw.normal(0.0, 0.3, rows)
    missing = draw.random(rows) < 0.1
    target[missing] += 3.0
    features[missing, 0] = NAN
    return features, target


def test_a_regression_is_as_good_as_scikit_learns():
    features, target = drawn(4000, 1)
    others, truth = drawn(4000, 2)
    ours = fit(features, target, depth=4, rounds=80).predict(others)
    theirs = HistGradientBoostingRegressor(max_iter=80, max_depth=4, max_bins=CODES - 1, random_state=0).fit(
        features, target
    )
    assert np.mean((ours - truth) ** 2) <= 1.1 * np.mean((theirs.predict(others) - truth) ** 2)
    assert np.mean((ours - truth) ** 2) < 0.2 * np.var(truth)


def test_probabilities_are_as_good_as_scikit_learns():
    def log_loss(probability, label):
        return -np.mean(np.where(label, np.log(probability), np.log(1.0 - probability)))

    (features, target), (others, truth) = drawn(4000, 3), drawn(4000, 4)
    labels, wanted = target > 1.0, truth > 1.0
    ours = fit(features, labels.astype(float), "logistic", depth=3, rounds=60).predict(others)
    theirs = HistGradientBoostingClassifier(max_iter=60, max_depth=3, max_bins=CODES - 1, random_state=0).fit(
        features, labels
    )
    assert log_loss(ours, wanted) <= 1.1 * log_loss(theirs.predict_proba(others)[:, 1], wanted)
    assert ours.mean() == pytest.approx(wanted.mean(), abs=0.03)


def test_a_stump_is_the_best_split_and_its_leaves_are_means():
    column = np.arange(100.0)[:, None]
    target = np.where(column[:, 0] <= 29.0, 1.0, 5.0)
    trees = fit(column, target, depth=1, rounds=1, rate=1.0)
    (cut,) = {trees.cuts[0][code - 1] for code in trees.splits[:, 0, 1].tolist()}
    # Of 38 cuts of a hundred numbers one is at 29 or beside it; the leaves are drawn in by one row.
    assert abs(cut - 29.0) <= 1.0
    mean = float(target.mean())
    assert trees.start == mean
    left, right = target[column[:, 0] <= cut] - mean, target[column[:, 0] > cut] - mean
    assert trees.leaves[0] == pytest.approx([left.sum() / (len(left) + 1), right.sum() / (len(right) + 1)])


def test_the_unit_of_the_target_changes_nothing():
    features, target = drawn(600, 5)
    one = fit(features, target, depth=3, rounds=30)
    for factor in (2.0**-40, 2.0**30):
        other = fit(features, factor * target, depth=3, rounds=30)
        assert other.packed_splits == one.packed_splits
        assert np.array_equal(other.predict(features), factor * one.predict(features))


def test_a_missing_value_is_a_side_of_its_own():
    column = np.concatenate([np.full(50, NAN), np.arange(50.0)])[:, None]
    trees = fit(column, np.isnan(column[:, 0]).astype(float), depth=1, rounds=20, rate=0.5)
    found = trees.predict(np.array([[NAN], [-1e300], [1e300]]))
    assert found == pytest.approx([1.0, 0.0, 0.0], abs=0.03)


def test_nothing_to_learn_is_the_mean():
    draw = np.random.Generator(np.random.PCG64(6))
    constant = np.full((500, 2), 3.0)
    assert fit(constant, np.full(500, 7.0), depth=5, rounds=3).predict(constant) == pytest.approx(np.full(500, 7.0))
    few = draw.normal(size=(2 * int(LEAST_WEIGHT["squared"]) - 1, 3))
    target = few[:, 0]
    found = fit(few, target, depth=2, rounds=5).predict(few)
    assert found == pytest.approx(np.full(len(few), target.mean()))
    only = fit(np.array([[NAN]]), np.array([1.0]), "logistic", depth=1, rounds=1)
    assert only.predict(np.array([[2.0]])) == pytest.approx([1.0], abs=1e-5)
    with pytest.raises(ValueError, match="rows with columns"):
        fit(np.zeros((0, 3)), np.zeros(0), depth=1, rounds=1)


def test_cuts_are_between_numbers_that_occur():
    assert cuts_of(np.array([2.0, 1.0, 2.0, NAN, 3.0])) == (1.0, 2.0)
    assert cuts_of(np.array([NAN])) == cuts_of(np.full(9, 4.0)) == ()
    many = np.arange(10_000.0)
    found = cuts_of(many)
    assert len(found) == CODES - 2
    shares = np.bincount(coded(many[:, None], (found,))[0])
    assert shares[0] == 0
    assert shares[1:].min() > 200
    # Nearly all rows have one number.
    mostly = cuts_of(np.concatenate([np.zeros(10_000), np.arange(1.0, 101.0)]))
    assert mostly[0] == 0.0
    assert len(mostly) < CODES - 2
    assert coded(np.array([[1.0], [1.5], [NAN], [99.0]]), ((1.0, 2.0),)).tolist() == [[1, 2, 0, 3]]


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_same_rows_give_the_same_bytes_and_bytes_the_same_answers(loss):
    features, target = drawn(800, 7)
    target = target if loss == "squared" else (target > 0.0).astype(float)
    trees = fit(features, target, loss, depth=3, rounds=10)
    assert fit(features.copy(), target.copy(), loss, depth=3, rounds=10).to_bytes() == trees.to_bytes()
    back = Trees.from_bytes(trees.to_bytes())
    assert back == trees
    assert np.array_equal(back.predict(features), trees.predict(features))
    for damaged in (b"", trees.to_bytes()[:-1], trees.to_bytes()[:-9] + b"\x00" * 8):
        with pytest.raises(UnreadableError):
            Trees.from_bytes(damaged)
    with pytest.raises(ValueError, match="whole trees"):
        Trees(loss, 3, 0.0, trees.cuts, trees.packed_splits[4:], trees.packed_leaves)
    with pytest.raises(ValueError, match="leaves for each tree"):
        Trees(loss, 3, 0.0, trees.cuts[:1], trees.packed_splits, trees.packed_leaves)
