"""Bias counts: any split of the rows gives the same state and report, beyond the bounds too; settings are checked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from chalicelib.errors import MisconfiguredError, UnreadableError
from chalicelib.monitors.documents import encode_json
from chalicelib.monitors.model_bias import analysis
from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import to_table
from chalicelib.states import flips
from chalicelib.states.bias import GROUPS, BiasCounts, bias_counts_of, bias_counts_of_columns
from chalicelib.states.facets import BiasSettings, Facet, Selection, check, words_of
from chalicelib.states.moments import Moments
from tests.unit.records.building import captured, minutes

CHOSEN = BiasSettings(
    facets=(Facet(name="sex", values=("f", "d")), Facet(name="age", above=40), Facet(name="age", interval=(17, 25))),
    group_variable="town",
)
NAMES = ("sex", "age", "town", "pay")

some_rows = st.lists(
    st.tuples(
        st.sampled_from(["f", "m", "d", "", "nan"]),
        st.sampled_from(["18", "25.0", "40", "41", "", "old", "-0.0"]),
        st.sampled_from(["a", "b", "1", "1.0", ""]),
        st.sampled_from(["0", "-0", "1.5", "1.5", "1e308", "-1e308", "x"]),
        st.sampled_from(["0", "1", None]),
        st.sampled_from(["0", "1", "?"]),
    ),
    max_size=14,
)


def counts_of(rows, first=0):
    """Through captures and labels, as a window's files come."""
    attributes = Attributes(features=NAMES, inference_attribute="0")
    requests, labels = [], {}
    for index, (*features, label, answer) in enumerate(rows, first):
        requests.append(captured(f"e{index}", ",".join(features), answer, at=minutes(index)))
        if label is not None:
            labels[f"e{index}"] = Label(f"e{index}", label)
    return bias_counts_of(to_table(requests, labels, attributes), CHOSEN)


@settings(deadline=None, max_examples=120)
@given(some=some_rows, cut=st.integers(0, 14), second_cut=st.integers(0, 14))
def test_any_split_in_any_order_gives_the_same_state_and_report(some, cut, second_cut):
    cut, second_cut = sorted((min(cut, len(some)), min(second_cut, len(some))))
    a, b, c = (counts_of(some[start:end], start) for start, end in ((0, cut), (cut, second_cut), (second_cut, None)))
    whole = counts_of(some)
    assert (a + b) + c == a + (b + c) == (c + b) + a == whole
    assert ((a + b) + c).to_bytes() == ((c + a) + b).to_bytes() == whole.to_bytes()
    assert whole + BiasCounts() == BiasCounts() + whole == whole
    assert BiasCounts.from_bytes(whole.to_bytes()) == whole
    assert encode_json(analysis(c + b + a, CHOSEN)) == encode_json(analysis(whole, CHOSEN))


def test_bytes_that_are_no_such_state_are_refused():
    body = counts_of([("f", "18", "a", "1", "1", "1")]).to_bytes()
    with pytest.raises(UnreadableError, match="another kind"):
        BiasCounts.from_bytes(Moments().to_bytes())
    position = body.index(b"bias") + len(b"bias")
    with pytest.raises(UnreadableError, match="expected version 1, got 2"):
        BiasCounts.from_bytes(body[:position] + b"\x02" + body[position + 1 :])
    for damaged in (b"", body[:-1], b"\x00" + body, b"not a state"):
        with pytest.raises(UnreadableError):
            BiasCounts.from_bytes(damaged)


def test_rows_without_label_or_shape_are_left_out():
    counts = counts_of(
        [("f", "18", "a", "1", None, "1"), ("m", "18", "a", "1", "1", "1"), ("m", "18", "a,b", "1", "1", "1")]
    )
    assert (counts.rows, counts.unlabelled) == (1, 1)


# The flip test's rows -------------------------------------------------------------------------------------------------

FACET = BiasSettings(facets=(Facet(name="f", values=(1,)),), group_variable="g")


def many(rows, seed=5, groups=3):
    generator = np.random.Generator(np.random.PCG64(seed))
    f = generator.integers(0, 2, rows)
    x = generator.normal(size=(rows, 2)) + 0.4 * f[:, None]
    answer = (x.sum(axis=1) + generator.normal(size=rows) > 0.5 * f).astype(int)
    label = generator.integers(0, 2, rows)
    return f, generator.integers(0, groups, rows), x, label, answer


def counts_of_many(f, g, x, label, answer, part=slice(None), order=None):
    indices = np.arange(len(f))[part] if order is None else order
    columns = {"f": f[indices].tolist(), "g": g[indices].tolist()}
    columns |= {f"x{place}": x[indices, place].tolist() for place in range(x.shape[1])}
    ids = [f"row-{index}" for index in indices]
    names = ("f", *(name for name in columns if name.startswith("x")))
    return bias_counts_of_columns(columns, names, ids, label[indices].tolist(), answer[indices].tolist(), FACET)


def flip_of(counts):
    return flips.flip_test(counts.facets[0].flips)


@pytest.mark.parametrize("parts", [1, 2, 7, 40])
def test_beyond_the_bound_any_split_keeps_the_same_rows(parts):
    rows = many(9000)
    whole = counts_of_many(*rows)
    state = BiasCounts()
    for part in range(parts):
        state = counts_of_many(*rows, part=slice(part, None, parts)) + state
    assert state == whole
    kept = whole.facets[0].flips
    assert len(kept.members) == len(kept.others) == flips.ROWS
    assert kept.member_count + kept.other_count == 9000
    assert whole.facets[0].counts.sum() == 9000


def test_the_sample_is_fair():
    """Five standard errors of 2000 members; the neighbours of the sample are further away, which adds little here."""
    f, _, x, _, answer = rows = many(20_000)
    knn = KNeighborsClassifier(5).fit(x[f == 0], answer[f == 0])
    guessed = knn.predict(x[f == 1])
    exact = np.mean(answer[f == 1] - guessed)
    assert flip_of(counts_of_many(*rows)) == pytest.approx(exact, abs=5 * 0.7 / np.sqrt(flips.ROWS))


@pytest.mark.parametrize("others", [1, 4, 9, 10, 11, 300])
def test_the_flip_test_is_that_of_scikit_learn_where_distances_differ(others):
    generator = np.random.Generator(np.random.PCG64(others))
    f = np.array([1] * 50 + [0] * others)
    x = generator.normal(size=(len(f), 3))
    answer = generator.integers(0, 2, len(f))
    knn = KNeighborsClassifier(5 if others >= 10 else 1).fit(x[f == 0], answer[f == 0])
    expected = np.mean(answer[f == 1] - knn.predict(x[f == 1]))
    counts = counts_of_many(f, f, x, np.ones(len(f), dtype=int), answer)
    assert flip_of(counts) == pytest.approx(expected, abs=1e-15)


def test_rows_at_one_distance_share_the_vote_in_any_order():
    # Eleven others at distance 1 of which six were accepted, two of them nearer: the vote does not depend on order.
    x = np.array([[0.0]] + [[1.0]] * 4 + [[-1.0]] * 5 + [[0.5]] * 2)
    f = np.array([1] + [0] * 11)
    label = np.ones(12, dtype=int)
    for accepted, expected in ((9, -1.0), (2, 1.0)):
        answer = np.array([1 if accepted == 2 else 0] + [1] * accepted + [0] * (11 - accepted))
        assert flip_of(counts_of_many(f, f, x, label, answer)) == expected
        order = np.arange(12)[::-1]
        assert flip_of(counts_of_many(f, f, x, label, answer, order=order)) == expected
    # Ten others at one distance, five accepted: half of the votes is no flip, whatever the member was answered.
    x, f = np.array([[0.0]] + [[1.0]] * 10), np.array([1] + [0] * 10)
    for served in (0, 1):
        answer = np.array([served] + [1, 0] * 5)
        assert flip_of(counts_of_many(f, f, x, np.ones(11, dtype=int), answer)) == 0.0


def test_parts_with_other_features_have_no_flip_test():
    f, g, x, label, answer = many(40)
    narrow = counts_of_many(f[:20], g[:20], x[:20], label[:20], answer[:20])
    wide = counts_of_many(f[20:], g[20:], np.hstack([x, x])[20:], label[20:], answer[20:])
    both = narrow + wide
    assert both == wide + narrow
    assert both.facets[0].flips.differing and (both + narrow).facets[0].flips.differing
    errors = {
        one["name"]: one.get("error", "")
        for one in analysis(both, FACET)["post_training_bias_metrics"]["facets"]["f"][0]["metrics"]
    }
    assert "different features" in errors["FT"]


def test_too_many_groups_are_no_groups_in_any_split():
    f, _, x, label, answer = many(2 * GROUPS + 2)
    rows = (f, np.arange(len(f)) // 2, x, label, answer)
    assert len(set(rows[1])) == GROUPS + 1
    whole = counts_of_many(*rows)
    halves = [counts_of_many(*rows, part=slice(start, start + 3 * GROUPS // 2)) for start in (0, 3 * GROUPS // 2)]
    assert not any(half.facets[0].too_many_groups for half in halves)
    assert halves[0] + halves[1] == whole
    assert whole.facets[0].too_many_groups and whole.facets[0].groups == ()
    metrics = analysis(whole, FACET)["pre_training_bias_metrics"]["facets"]["f"][0]["metrics"]
    assert metrics[0] == {
        "name": "CDDL",
        "description": "Conditional Demographic Disparity in Labels (CDDL)",
        "value": None,
        "error": "the group variable has more than 1000 values",
    }
    fewer = counts_of_many(f, np.arange(len(f)) % GROUPS, x, label, answer)
    assert len(fewer.facets[0].groups) == GROUPS


def test_numbers_are_what_their_text_says():
    nan = float("nan")
    texts = ["1", " 2.5 ", "1e3", "", "x", "1_0", "nan", "inf", None, True, 3, 10**400, [1], {"a": 1}]
    expected = [1.0, 2.5, 1000.0, nan, nan, nan, nan, nan, nan, 1.0, 3.0, nan, nan, nan]
    # Alone, together, and beside the ones that have no short way.
    for chosen in ([n] for n in range(len(texts))):
        found = flips.numbers_of({"a": [texts[n] for n in chosen]}, len(chosen))[:, 0]
        assert np.array_equal(found, [expected[n] for n in chosen], equal_nan=True), texts[chosen[0]]
    assert np.array_equal(flips.numbers_of({"a": texts}, len(texts))[:, 0], expected, equal_nan=True)
    assert flips.numbers_of({}, 3).shape == (3, 0) and flips.numbers_of({"a": []}, 0).shape == (0, 1)


# Which rows -----------------------------------------------------------------------------------------------------------


def test_one_value_has_one_spelling():
    assert words_of(["1", 1, 1.0, " 1.00 ", True, "True", "1_0", "x", 0.5, "5e-1", 0, -0.0]) == [
        *("1", "1", "1", "1", "true", "true", "1_0", "x", "0.5", "0.5", "0", "0"),
    ]
    assert words_of([None, "", " ", "nan", "NaN", "-nan", "+NaN", float("nan")]) == [None] * 8
    assert words_of([9007199254740993, "9007199254740993"]) == ["9007199254740993"] * 2
    assert words_of([[1], {"a": 1}]) == ["[1]", '{"a":1}']


@pytest.mark.parametrize(
    "selection, text, column, expected",
    [
        (Selection(values=(0,)), "0", ["0", "0.0", 0, "1", "x", ""], [1, 1, 1, 0, 0, -1]),
        (Selection(values=("b", "a")), "b,a", ["a", "b", "A", None], [1, 1, 0, -1]),
        (Selection(values=(True,)), "true", ["True", True, 1], [1, 1, 0]),
        (Selection(above=0.5), "(0.5, Infinity)", ["0.5", 0.6, "x", "inf", ""], [0, 1, -1, -1, -1]),
        (Selection(above=0), "(0.0, Infinity)", [0, 1, -1], [0, 1, 0]),
        (Selection(interval=(17, 25)), "(17.0, 25.0]", [17, 18, 25, 26], [0, 1, 1, 0]),
    ],
)
def test_selections(selection, text, column, expected):
    assert selection.text == text
    assert selection.members(column).tolist() == expected


@pytest.mark.parametrize(
    "chosen, field",
    [
        (BiasSettings(facets=()), "facets"),
        (BiasSettings(facets=(Facet(name="", values=(1,)),)), "facets[0].name"),
        (BiasSettings(facets=(Facet(name="a"),)), "facets[0]"),
        (BiasSettings(facets=(Facet(name="a", values=(1,), above=2.0),)), "facets[0]"),
        (BiasSettings(facets=(Facet(name="a", values=(1, "1.0")),)), "facets[0].values"),
        (BiasSettings(facets=(Facet(name="a", values=("",)),)), "facets[0].values"),
        (BiasSettings(facets=(Facet(name="a", above=float("nan")),)), "facets[0].above"),
        (BiasSettings(facets=(Facet(name="a", interval=(2.0, 2.0)),)), "facets[0].interval"),
        (BiasSettings(facets=(Facet(name="a", values=(1,)), Facet(name="a", values=("1",)))), "facets"),
        (BiasSettings(facets=(Facet(name="a", values=(1,)),), label_values=()), "label_values"),
        (BiasSettings(facets=(Facet(name="a", values=(1,)),), label_above=float("inf")), "label_above"),
    ],
)
def test_settings_that_cannot_work_are_refused(chosen, field):
    with pytest.raises(MisconfiguredError) as caught:
        check(chosen)
    assert caught.value.field == field


def test_a_column_that_is_not_there_is_named():
    for chosen, field in (
        (BiasSettings(facets=(Facet(name="Sex", values=(1,)),)), "facets[0].name"),
        (BiasSettings(facets=(Facet(name="f", values=(1,)),), group_variable="town"), "group_variable"),
    ):
        with pytest.raises(MisconfiguredError, match="one of the columns f, x") as caught:
            bias_counts_of_columns({"f": [1], "x": [2]}, ("f", "x"), ["r"], [1], [1], chosen)
        assert caught.value.field == field
    # A window without rows knows no columns, and that is no mistake.
    assert bias_counts_of_columns({}, (), [], [], [], FACET) == BiasCounts()


def test_a_label_by_threshold():
    chosen = BiasSettings(facets=(Facet(name="f", values=(1,)),), label_above=10)
    counts = bias_counts_of_columns(
        {"f": [1, 0, 1, 0]}, ("f",), list("abcd"), [9, 10.5, "11", "x"], [11, 9, 12, 1], chosen
    )
    assert (counts.rows, counts.unlabelled) == (3, 1)
    assert counts.facets[0].counts[1].tolist() == [[0, 1, 0], [0, 1, 0]]
    assert analysis(counts, chosen)["pre_training_bias_metrics"]["label_value_or_threshold"] == "(10.0, Infinity)"


def test_positive_classes_of_other_problems_are_named_or_above_a_threshold():
    rows = [("a", "gold", "gold"), ("a", "gold", "silver"), ("b", "1.0", "gold"), ("b", "silver", "1")]
    requests = [captured(f"e{index}", facet, answer) for index, (facet, answer, _) in enumerate(rows)]
    labels = {f"e{index}": Label(f"e{index}", label) for index, (_, _, label) in enumerate(rows)}
    attributes = Attributes(problem_type="MulticlassClassification", features=("facet",), inference_attribute="0")
    settings = BiasSettings(facets=(Facet(name="facet", values=("a",)),), label_values=("gold", 1))
    counts = bias_counts_of(to_table(requests, labels, attributes), settings).facets[0].counts
    # [member, label, prediction]: e0 is (1, 1, 1), e1 (1, 0, 1), e2 (0, 1, 1), e3 (0, 1, 0).
    assert counts[:, :, :2].tolist() == [[[0, 0], [1, 1]], [[0, 1], [0, 1]]]
    numbers = [captured(f"e{index}", "a", str(index)) for index in range(4)]
    regression = Attributes(problem_type="Regression", features=("facet",), inference_attribute="0")
    above = BiasSettings(facets=(Facet(name="facet", values=("a",)),), label_above=1.5)
    known = {f"e{index}": Label(f"e{index}", "1.75") for index in range(4)}
    found = bias_counts_of(to_table(numbers, known, regression), above).facets[0].counts
    assert found[1, 1, :2].tolist() == [2, 2]
