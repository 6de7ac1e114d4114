"""The formulas against scikit-learn on random data, and the deviations against resampled rows."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from chalicelib.monitors import deviations
from chalicelib.monitors.quality_metrics import BINARY, MULTICLASS, REGRESSION, binary, multiclass, regression
from chalicelib.states.class_matrix import ClassMatrix, class_matrix
from chalicelib.states.residuals import Residuals, hashes_of, residuals
from chalicelib.states.scores import Tally, tally

NAMES = ("a", "b", "c", "d", "e")
rows_of_classes = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=80)


def generated(seed):
    return np.random.Generator(np.random.PCG64(seed))


def of_classes(some):
    labels, served = (np.array(column, dtype=np.float64) for column in zip(*some, strict=True))
    return labels, served, class_matrix(NAMES, served, labels)


def of_numbers(predictions, labels):
    return residuals(hashes_of([f"r{index}" for index in range(len(labels))]), predictions, labels)


@settings(deadline=None)
@given(rows_of_classes)
def test_multiclass_metrics_agree_with_scikit_learn(some):
    labels, served, state = of_classes(some)
    found = {name: float(value) for name, value in multiclass(state, state.counts).items()}
    assert found.keys() == set(MULTICLASS)
    counts = np.bincount(labels.astype(int))
    constant = np.full(len(labels), float(np.argmax(counts)))
    for suffix, answers in (("", served), ("_best_constant_classifier", constant)):
        options = {"average": "weighted", "zero_division": 0}
        expected = {
            "accuracy": sk.accuracy_score(labels, answers),
            "weighted_recall": sk.recall_score(labels, answers, **options),
            "weighted_precision": sk.precision_score(labels, answers, **options),
            "weighted_f0_5": sk.fbeta_score(labels, answers, beta=0.5, **options),
            "weighted_f1": sk.fbeta_score(labels, answers, beta=1.0, **options),
            "weighted_f2": sk.fbeta_score(labels, answers, beta=2.0, **options),
        }
        for name, value in expected.items():
            assert found[name + suffix] == pytest.approx(value, abs=1e-12), name + suffix


def test_without_rows_nothing_is_defined():
    assert all(math.isnan(value) for value in multiclass(ClassMatrix(), ClassMatrix().counts).values())
    assert all(math.isnan(value) for value in regression(Residuals()).values())
    for state in (Tally(), ClassMatrix(), Residuals()):
        for spread in (deviations.sampled(state), deviations.resampled(state)):
            assert all(math.isnan(value) for value in spread.deviations.values())


numbers = st.one_of(st.floats(-1e9, 1e9), st.integers(-3, 3).map(float))


@settings(deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=80))
def test_regression_metrics_agree_with_scikit_learn(some):
    labels, predictions = (np.array(column) for column in zip(*some, strict=True))
    found = regression(of_numbers(predictions, labels))
    assert found.keys() == set(REGRESSION)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(labels, predictions), rel=1e-9, abs=1e-300)
    assert found["mse"] == pytest.approx(sk.mean_squared_error(labels, predictions), rel=1e-9, abs=1e-300)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(labels, predictions), rel=1e-9, abs=1e-150)
    if labels.min() == labels.max():
        assert math.isnan(found["r2"])
        return
    # scikit-learn loses the variance of labels that lie far from 0 and close together; tiny squares are 0.
    assume(np.ptp(labels) > 1e-100)
    assume(np.ptp(labels) > 1e-3 * np.abs(labels).max())
    assert found["r2"] == pytest.approx(sk.r2_score(labels, predictions), rel=1e-9, abs=1e-9)


def test_regression_of_huge_and_tiny_numbers_stays_a_number():
    huge = regression(of_numbers(np.array([1e308, -1e308]), np.array([-1e308, 1e308])))
    assert all(math.isfinite(value) for value in huge.values())
    tiny = regression(of_numbers(np.array([1e-300, 2e-300]), np.array([2e-300, 1e-300])))
    assert tiny["mae"] == 1e-300
    spread = deviations.resampled(of_numbers(np.array([1e308, -1e308]), np.array([-1e308, 1e308])))
    assert not any(math.isinf(value) for value in spread.deviations.values())


def brute_force(metrics_of, columns, draws, replace, seed):
    """The deviation of each metric over `draws` resamples of the rows: all of them anew, or 80 % of them once."""
    generator, rows = generated(seed), len(columns[0])
    size = rows if replace else int(rows * 0.8)
    found = [
        metrics_of(*(column[chosen] for column in columns))
        for chosen in (generator.choice(rows, size, replace=replace) for _ in range(draws))
    ]
    return {name: float(np.std([one[name] for one in found], ddof=1)) for name in found[0]}


def binary_case():
    generator = generated(1)
    labels = (generator.random(600) < 0.3).astype(float)
    scores = np.round(np.clip(0.3 + 0.25 * labels + generator.normal(0, 0.2, 600), 0, 1), 2)
    columns = (scores, (scores > 0.5).astype(float), labels)
    return tally(*columns), columns, lambda *some: {k: float(v) for k, v in binary(tally(*some).cells).items()}


def multiclass_case():
    generator = generated(2)
    labels = generator.choice(5, 700, p=[0.4, 0.3, 0.15, 0.1, 0.05]).astype(float)
    served = np.where(generator.random(700) < 0.7, labels, generator.integers(0, 5, 700)).astype(float)

    def of(served, labels):
        state = class_matrix(NAMES, served, labels)
        return {name: float(value) for name, value in multiclass(state, state.counts).items()}

    return class_matrix(NAMES, served, labels), (served, labels), of


def regression_case(rows=800):
    generator = generated(3)
    labels = 1000 + 3 * generator.normal(size=rows)
    predictions = labels + generator.normal(0.5, 1.5, size=rows)
    return (
        of_numbers(predictions, labels),
        (predictions, labels),
        lambda *some: regression(of_numbers(*some)),
    )


@pytest.mark.parametrize("case", [binary_case, multiclass_case, regression_case])
def test_deviations_are_those_of_resampled_rows(case):
    state, columns, metrics_of = case()
    draws = brute_force(metrics_of, columns, 300, True, 11)
    spread = deviations.resampled(state)
    assert spread.draws == 200
    for name, expected in draws.items():
        # 200 and 300 draws: each within 5 % and 4 %, one standard error; four of their sum.
        assert spread.deviations[name] == pytest.approx(expected, rel=0.26, abs=1e-12), name
    samples = brute_force(metrics_of, columns, 300, False, 12)
    five = deviations.sampled(state)
    for name, expected in samples.items():
        # Chi with 4 degrees of freedom: between 0.15 and 2.4 times the truth in all but 1 of 10,000 cases.
        assert expected * 0.15 <= five.deviations[name] <= expected * 2.4 + 1e-12, name
        if expected:
            assert expected / draws[name] == pytest.approx(0.5, rel=0.25), name


def test_five_samples_have_the_right_law_on_average():
    """The mean of the squared deviation over many sets of rows is the variance of a sample of 80 %."""
    squares, expected = [], []
    for seed in range(60):
        generator = generated(seed)
        served = (generator.random(400) < 0.5).astype(float)
        labels = np.where(generator.random(400) < 0.8, served, 1 - served)
        found = deviations.sampled(tally(served, served, labels)).deviations["accuracy"]
        accuracy = float((served == labels).mean())
        squares.append(found**2)
        expected.append(accuracy * (1 - accuracy) / 320 * 80 / 399)
    # 60 estimates with 4 degrees of freedom each: a relative standard error of sqrt(2 / 240).
    assert np.mean(squares) == pytest.approx(np.mean(expected), rel=4 * (2 / 240) ** 0.5)


def test_a_fair_sample_of_a_large_regression_gives_the_deviation_of_all_rows():
    rows = 30_000
    state, (predictions, labels), _ = regression_case(rows)
    errors = labels - predictions
    spread = deviations.resampled(state).deviations
    assert spread["mae"] == pytest.approx(np.abs(errors).std() / rows**0.5, rel=0.25)
    assert spread["mse"] == pytest.approx((errors**2).std() / rows**0.5, rel=0.25)
    assert spread["rmse"] == pytest.approx((errors**2).std() / rows**0.5 / (2 * np.sqrt((errors**2).mean())), rel=0.25)
    # The influence of a row on r2 (delta method).
    variance, mse = labels.var(), (errors**2).mean()
    influence = (errors**2 - mse / variance * (labels - labels.mean()) ** 2) / variance
    assert spread["r2"] == pytest.approx(influence.std() / rows**0.5, rel=0.25)
    assert 0 < deviations.sampled(state).deviations["mae"] < spread["mae"] * 1.3


def delong(scores, labels):
    """The deviation of the area under the curve by its influence function (DeLong, DeLong and Clarke-Pearson, 1988)."""
    positives, negatives = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])

    def share_below(values, others):
        left, right = np.searchsorted(others, values, "left"), np.searchsorted(others, values, "right")
        return (left + right) / 2 / len(others)

    one, other = share_below(positives, negatives), share_below(negatives, positives)
    return math.sqrt(one.var() / len(one) + other.var() / len(other))


@pytest.mark.parametrize("rows", [20_000, 100_000])
def test_binned_scores_keep_the_deviation_of_the_area_within_the_stated_bound(rows):
    generator = generated(4)
    labels = (generator.random(rows) < 0.2).astype(float)
    scores = generator.normal(labels, 1.0)
    state = tally(scores, (scores > 0.5).astype(float), labels)
    cells = deviations.binned(state.cells, deviations.SCORE_BINS)
    assert cells.sum() == rows
    assert len(cells) <= deviations.SCORE_BINS
    assert cells.sum(axis=(1, 2)).max() <= 2 * rows / deviations.SCORE_BINS
    np.testing.assert_array_equal(cells.sum(axis=0), state.cells.sum(axis=0))
    by_bin = cells.sum(axis=1)
    places = np.repeat(np.arange(len(cells)), 2).astype(float)
    coarse = delong(np.repeat(places, by_bin.ravel()), np.repeat(np.tile([0.0, 1.0], len(cells)), by_bin.ravel()))
    exact = delong(scores, labels)
    ones, zeros = labels.sum(), rows - labels.sum()
    bound = rows / deviations.SCORE_BINS * (1 / (zeros * ones**0.5) + 1 / (ones * zeros**0.5))
    assert abs(coarse - exact) <= bound
    assert abs(coarse - exact) <= 0.01 * exact
    # Drawn: within 5 %, one standard error.
    assert deviations.resampled(state).deviations["auc"] == pytest.approx(exact, rel=0.2)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 20))
def test_bins_are_of_equal_size_where_scores_allow(sizes, bins):
    cells = np.zeros((len(sizes), 2, 2), dtype=np.int64)
    cells[:, 0, 0] = sizes
    found = deviations.binned(cells, bins)
    assert len(found) <= max(bins, 1) or len(sizes) <= bins
    assert found.sum() == sum(sizes)


def test_the_same_rows_give_the_same_deviations_and_too_many_cells_none():
    state, (predictions, labels), _ = regression_case()
    order = generated(9).permutation(len(labels))
    hashes = hashes_of([f"r{index}" for index in range(len(labels))])
    shuffled = residuals(hashes[order], predictions[order], labels[order])
    assert deviations.sampled(shuffled) == deviations.sampled(state)
    assert deviations.resampled(shuffled) == deviations.resampled(state)
    classes = [f"c{index:06}" for index in range(70_000)]
    positions = np.arange(70_000, dtype=np.float64)
    garbage = class_matrix(classes, positions, positions)
    for spread in (deviations.sampled(garbage), deviations.resampled(garbage)):
        assert all(math.isnan(value) for value in spread.deviations.values())
    many = class_matrix(classes, positions[:60_000], positions[:60_000])
    assert deviations.resampled(many).draws == deviations.LEAST_DRAWS
    assert deviations.resampled(many).deviations["accuracy"] == 0.0


def test_a_metric_that_most_draws_leave_undefined_has_no_deviation():
    labels = np.array([1.0] + [0.0] * 299)
    often = tally(np.zeros(300), np.zeros(300), np.array([1.0, 1.0, 1.0] + [0.0] * 297))
    assert deviations.resampled(often).deviations["recall"] == 0.0
    none = tally(np.zeros(300), np.zeros(300), np.zeros(300))
    assert math.isnan(deviations.resampled(none).deviations["recall"])
    assert math.isnan(deviations.sampled(tally(np.zeros(300), np.zeros(300), labels)).deviations["recall"])
    assert set(deviations.resampled(often).deviations) == set(BINARY)


def test_the_area_is_exact_for_a_million_distinct_scores():
    generator = generated(8)
    rows = 1_000_000
    labels = (generator.random(rows) < 0.3).astype(np.int64)
    order = np.argsort(generator.normal(labels * 0.7, 1.0))
    ranked = labels[order]
    # Whole numbers: how many labels 0 lie below each label 1.
    right = int(np.cumsum(1 - ranked)[ranked == 1].sum())
    ones = int(ranked.sum())
    cells = np.zeros((rows, 2, 2), dtype=np.int64)
    cells[np.arange(rows), 0, ranked] = 1
    assert float(binary(cells)["auc"]) == pytest.approx(right / (ones * (rows - ones)), abs=1e-12)
