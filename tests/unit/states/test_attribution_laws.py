"""Attributions: exact sums for any split of the rows, and Shapley values of models whose values are known."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import MisconfiguredError, UnreadableError
from chalicelib.monitors.documents import encode_json
from chalicelib.monitors.model_explainability import analysis, global_attributions
from chalicelib.records.attributes import Attributes
from chalicelib.records.table import to_table
from chalicelib.states.attributions import Attributions, attributions_of, attributions_of_table
from chalicelib.states.moments import Moments
from chalicelib.states.shapley import coalitions_of, kernel_shap
from tests.unit.records.building import captured, captured_json, minutes

NAMES = ("a", "b")
OUTPUTS = ("score", "phi_a", "phi_b", "bias")

value = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.sampled_from(["-0.0", "0", "", "x", "nan"])
some_rows = st.lists(st.tuples(value, value, value), max_size=10)


def attributions_of_captures(rows, first=0):
    """Through captures of a model that answers with its score, its contributions and the bias."""
    attributes = Attributes(features=NAMES, probability_attribute="0", output_names=OUTPUTS)
    requests = [
        captured(f"e{index}", "1,2", ",".join(("0.5", *row)), at=minutes(index))
        for index, row in enumerate(rows, first)
    ]
    table = to_table(requests, {}, attributes)
    return attributions_of_table(table, NAMES, ("phi_a", "phi_b"), "bias") if rows else Attributions()


@settings(deadline=None, max_examples=100)
@given(some=some_rows, cut=st.integers(0, 10), second_cut=st.integers(0, 10))
def test_any_split_in_any_order_gives_the_same_state_and_report(some, cut, second_cut):
    cut, second_cut = sorted((min(cut, len(some)), min(second_cut, len(some))))
    parts = ((0, cut), (cut, second_cut), (second_cut, None))
    a, b, c = (attributions_of_captures(some[start:end], start) for start, end in parts)
    whole = attributions_of_captures(some)
    assert (a + b) + c == a + (b + c) == (c + b) + a == whole
    assert ((a + b) + c).to_bytes() == ((c + a) + b).to_bytes() == whole.to_bytes()
    assert whole + Attributions() == Attributions() + whole == whole
    assert Attributions.from_bytes(whole.to_bytes()) == whole
    if whole.rows:
        written = encode_json(analysis({"label0": global_attributions(whole)}))
        assert written == encode_json(analysis({"label0": global_attributions(c + b + a)}))


def test_bytes_that_are_no_such_state_are_refused():
    body = attributions_of_captures([("1", "2", "3")]).to_bytes()
    with pytest.raises(UnreadableError, match="another kind"):
        Attributions.from_bytes(Moments().to_bytes())
    position = body.index(b"attributions") + len(b"attributions")
    with pytest.raises(UnreadableError, match="expected version 1, got 2"):
        Attributions.from_bytes(body[:position] + b"\x02" + body[position + 1 :])
    for damaged in (b"", body[:-1], b"\x00" + body, b"not a state"):
        with pytest.raises(UnreadableError):
            Attributions.from_bytes(damaged)


def test_sums_are_those_of_numpy():
    generator = np.random.Generator(np.random.PCG64(3))
    values, expected = generator.normal(size=(500, 4)), generator.normal(size=500)
    state = attributions_of(values, expected, list("abcd"))
    for place, feature in enumerate(state.features):
        column = values[:, place]
        assert feature.signed.sum == pytest.approx(column.sum(), abs=1e-9)
        assert feature.absolute.sum == pytest.approx(np.abs(column).sum(), abs=1e-9)
        assert feature.absolute.mean_square == pytest.approx(np.mean(column**2), abs=1e-9)
    assert state.expected.mean == pytest.approx(expected.mean(), abs=1e-12)


def test_rows_whose_attributions_are_no_numbers_are_left_out():
    state = attributions_of_captures([("1", "2", "0.5"), ("", "2", "0.5"), ("x", "2", "0.5"), ("3", "-4", "")])
    assert (state.rows, state.left_out, state.expected.count) == (2, 2, 1)
    assert global_attributions(state).values == {"a": 2.0, "b": 3.0}


def test_contributions_in_json():
    attributes = Attributes(features=NAMES, probability_attribute="score", output_names=OUTPUTS)
    answer = {"score": 0.5, "phi_a": -1.5, "phi_b": 2, "bias": 0.25}
    table = to_table([captured_json("e", {"a": 1, "b": 2}, {"predictions": [answer]})], {}, attributes)
    state = attributions_of_table(table, NAMES, ("phi_a", "phi_b"), "bias")
    assert global_attributions(state).values == {"a": 1.5, "b": 2.0}
    for columns, expected in ((("phi_a",), ""), (("phi_a", "phi_c"), ""), (("phi_a", "phi_b"), "base")):
        with pytest.raises(MisconfiguredError):
            attributions_of_table(table, NAMES, columns, expected)


# Kernel SHAP ----------------------------------------------------------------------------------------------------------


def asking(model, most=500):
    """A predict function of an array model, and the sizes of its calls."""
    sizes = []

    def predict(rows):
        assert 0 < len(rows) <= most
        sizes.append(len(rows))
        return model(np.array(rows, dtype=np.float64))

    return predict, sizes


def drawn(rows, width, seed=1):
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.normal(size=(rows, width)).tolist()


def ids(count, first=0):
    return [f"r{number}" for number in range(first, first + count)]


@pytest.mark.parametrize(
    "width, coalitions", [(1, None), (2, None), (3, 6), (5, 12), (8, None), (14, 60), (30, 60), (30, 301)]
)
def test_a_linear_model_has_its_exact_shapley_values(width, coalitions):
    slopes = np.array(drawn(1, width, seed=9)[0])
    rows, background = drawn(6, width), drawn(3, width, seed=2)
    predict, sizes = asking(lambda found: found @ slopes + 5.0)
    found = kernel_shap(predict, rows, ids(6), background, seed=4, max_calls=10_000, coalitions=coalitions)
    expected = slopes * (np.array(rows) - np.mean(background, axis=0))
    assert found.places == tuple(range(6))
    assert found.values == pytest.approx(expected, abs=1e-9)
    assert found.expected == pytest.approx(np.mean(background, axis=0) @ slopes + 5.0, abs=1e-9)
    assert found.values.sum(axis=1) + found.expected == pytest.approx(found.answers, abs=1e-9)
    assert (found.calls, found.asked) == (len(sizes), sum(sizes))


def shapley_by_definition(model, row, background):
    """The mean over all orders in which the features come in."""
    width = len(row)

    def worth(present):
        rows = np.array(background, dtype=np.float64)
        rows[:, list(present)] = np.array(row)[list(present)]
        return float(np.mean(model(rows)))

    values = np.zeros(width)
    for order in permutations(range(width)):
        for place, feature in enumerate(order):
            values[feature] += worth(order[: place + 1]) - worth(order[:place])
    return values / math.factorial(width)


def test_with_every_coalition_any_model_has_its_exact_shapley_values():
    def model(rows):
        return rows[:, 0] * rows[:, 1] + np.sin(rows[:, 2]) * (rows[:, 3] > 0) + rows[:, 4] ** 2 * rows[:, 0]

    rows, background = drawn(4, 5), drawn(3, 5, seed=8)
    found = kernel_shap(asking(model)[0], rows, ids(4), background, seed=0, max_calls=100)
    assert found.complete
    for row, values in zip(rows, found.values, strict=True):
        assert values == pytest.approx(shapley_by_definition(model, row, background), abs=1e-9)


def test_fewer_coalitions_come_close():
    def model(rows):
        return rows[:, 0] * rows[:, 1] + rows[:, 2] * rows[:, 3] * rows[:, 4] + rows[:, 5:].sum(axis=1)

    rows, background = drawn(5, 12), drawn(1, 12, seed=8)
    predict = asking(model)[0]
    exact = kernel_shap(predict, rows, ids(5), background, seed=0, max_calls=1000, coalitions=2**12)
    some = kernel_shap(predict, rows, ids(5), background, seed=0, max_calls=1000, coalitions=1000)
    assert exact.complete and not some.complete
    assert np.abs(some.values - exact.values).max() < 0.1 * np.abs(exact.values).max()


def test_the_budget_holds():
    rows, background = drawn(50, 4), drawn(2, 4, seed=2)
    for calls, size, explained in ((1, 31, 1), (2, 30, 2), (4, 100, 13), (100, 500, 50)):
        predict, sizes = asking(lambda found: found.sum(axis=1), most=size)
        found = kernel_shap(predict, rows, ids(50), background, seed=7, max_calls=calls, rows_per_call=size)
        assert len(found.places) == explained
        assert found.calls == len(sizes) <= calls
        assert found.asked == sum(sizes) == 2 + explained * (1 + 14 * 2)
    with pytest.raises(MisconfiguredError, match="at least 2 for one row"):
        kernel_shap(predict, rows, ids(50), background, seed=7, max_calls=1, rows_per_call=30)


def test_the_sample_is_drawn_by_seed_and_id_alone():
    rows, background = drawn(40, 3), drawn(1, 3, seed=2)
    predict = asking(lambda found: found.prod(axis=1))[0]

    def explained(order, seed):
        found = kernel_shap(
            predict,
            [rows[n] for n in order],
            [f"r{n}" for n in order],
            background,
            seed=seed,
            max_calls=1,
            rows_per_call=64,
        )
        return {order[place]: tuple(values) for place, values in zip(found.places, found.values.tolist(), strict=True)}

    once = explained(list(range(40)), 5)
    assert len(once) == 9
    assert explained(list(range(40))[::-1], 5) == once
    assert explained(list(range(40)), 6).keys() != once.keys()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9), st.integers(0, 2**32))
def test_any_split_of_the_rows_gives_the_same_report(cut, seed):
    rows, background = drawn(9, 14, seed=seed), drawn(2, 14, seed=2)
    predict = asking(lambda found: np.tanh(found).prod(axis=1) + found[:, 0] * found[:, 1])[0]

    def state_of(start, end):
        if not rows[start:end]:
            return Attributions()
        found = kernel_shap(
            predict, rows[start:end], ids(9)[start:end], background, seed=seed, max_calls=100, coalitions=80
        )
        return attributions_of(found.values, np.full(len(found.places), found.expected), list("abcdefghijklmn"))

    assert (state_of(cut, 9) + state_of(0, cut)).to_bytes() == state_of(0, 9).to_bytes()


def test_features_may_be_words():
    def predict(rows):
        return [2.0 * (colour == "red") + number for colour, number in rows]

    found = kernel_shap(predict, [["red", 3]], ["r"], [["blue", 1], ["red", 1]], seed=0, max_calls=1)
    assert found.values == pytest.approx(np.array([[1.0, 2.0]]), abs=1e-12)


def test_coalitions_are_proper_paired_and_weigh_what_they_should():
    for width, most in ((2, 2), (3, 6), (4, 8), (5, 17), (6, 40), (9, 100), (20, 300)):
        masks, weights = coalitions_of(width, most, seed=3)
        assert 2 * min(width, 2 ** (width - 1) - 1) <= len(masks) <= most
        sizes = masks.sum(axis=1)
        assert sizes.min() >= 1 and sizes.max() <= width - 1
        keys = {mask.tobytes() for mask in masks}
        assert len(keys) == len(masks) and {(~mask).tobytes() for mask in masks} == keys
        whole = sum((width - 1) / (size * (width - size)) for size in range(1, width))
        # What is not asked has given its weight to what is, once there was anything to be drawn.
        if len(masks) == 2**width - 2 or most - 2 * width >= 2:
            assert weights.sum() == pytest.approx(whole, abs=1e-9)
        assert weights.min() > 0


@pytest.mark.parametrize(
    "rows, background, options",
    [
        ([], [[1.0]], {}),
        ([[1.0]], [], {}),
        ([[]], [[]], {}),
        ([[1.0, 2.0]], [[1.0]], {}),
        ([[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]], {"coalitions": 5}),
        ([[1.0]], [[1.0]], {"max_calls": 0}),
    ],
)
def test_what_cannot_be_explained_is_refused(rows, background, options):
    predict = asking(lambda found: found.sum(axis=1))[0]
    with pytest.raises(MisconfiguredError):
        kernel_shap(predict, rows, ids(len(rows)), background, seed=0, **{"max_calls": 9, **options})
    with pytest.raises(MisconfiguredError, match="one for each of 1 rows"):
        kernel_shap(predict, [[1.0]], [], [[1.0]], seed=0, max_calls=9)


@pytest.mark.parametrize("answers", [[1.0], [1.0, math.nan, 2.0, 3.0], [[1.0], [2.0]], 1.0, ["x", "y"]])
def test_answers_that_are_not_one_number_per_row_are_refused(answers):
    with pytest.raises(UnreadableError, match="number"):
        kernel_shap(lambda rows: answers, [[1.0, 2.0]], ["r"], [[0.0, 0.0]], seed=0, max_calls=9)
