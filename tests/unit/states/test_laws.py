"""The laws that every state keeps: + is a commutative monoid, any split gives the same, bytes come back."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import UnreadableError
from chalicelib.evaluation.measurement import Measurement, Subject, measure
from chalicelib.monitors.model_explainability import AttributionSettings
from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import to_table
from chalicelib.records.values import number_of, word_of
from chalicelib.states.categories import Categories, categories_of, comparable, counts_in, rows_with
from chalicelib.states.facets import BiasSettings, Facet
from chalicelib.states.moments import Moments, moments_of
from chalicelib.states.profile import Profile, profile_of, profile_of_columns
from chalicelib.states.quantiles import Quantiles, quantiles_of
from chalicelib.states.row_sample import RowSample, row_sample_of
from chalicelib.states.scores import Tally, tally_of
from chalicelib.states.selection import Selection, selection_of
from tests.unit.records.building import captured, minutes

ATTRIBUTES = Attributes(features=("a", "b"), probability_attribute="0", output_names=("score", "phi"))

value = st.one_of(
    st.sampled_from(["", "0", "1", "-0", "1.0", "true", "FALSE", "nan", "inf", "x", "1e3", "1_0", "-nan", "1e400"]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers().map(str),
)
rows = st.lists(
    st.tuples(
        value, value, st.sampled_from(["0", "0.25", "0.75", "1", "?", ""]), st.sampled_from(["0", "1", "?", None])
    ),
    max_size=12,
)


def table_of(some, first=0):
    requests, labels = [], {}
    for index, (a, b, score, label) in enumerate(some, first):
        requests.append(
            captured(f"e{index}", f"{a},{b}" if index % 5 else a or "z", f"{score},{index % 7 - 3}", at=minutes(index))
        )
        if label is not None:
            labels[f"e{index}"] = Label(f"e{index}", label)
    return to_table(requests, labels, ATTRIBUTES)


def numbers_of(table):
    values = []
    for text in table.features["a"]:
        try:
            values.append(float(text or "nan"))
        except ValueError:
            continue
    numbers = np.array(values, dtype=np.float64)
    return numbers[np.isfinite(numbers)]


SUBJECT = Subject(
    attributes=ATTRIBUTES,
    bias=BiasSettings(facets=(Facet(name="a", values=(1,)),)),
    attribution=AttributionSettings(columns=("score", "phi")),
)

VERSIONS = {"quantiles": 2, "categories": 2, "tally": 2, "profile": 2, "selection": 2}
STATES = {
    "moments": (Moments(), lambda table: moments_of(numbers_of(table))),
    "quantiles": (Quantiles(), lambda table: quantiles_of(numbers_of(table))),
    "categories": (Categories(), lambda table: categories_of(Counter(filter(None, table.features["a"])))),
    "tally": (Tally(), tally_of),
    "profile": (Profile(), profile_of),
    "selection": (Selection(), selection_of),
    "row sample": (RowSample(), lambda table: row_sample_of(table, most=5)),
    "measurement": (Measurement(), lambda table: measure(table, SUBJECT, repeated=len(table))),
}


@pytest.mark.parametrize("name", STATES)
@settings(deadline=None, max_examples=60)
@given(some=rows, cut=st.integers(0, 12), second_cut=st.integers(0, 12))
def test_any_split_in_any_order_gives_the_same_state(name, some, cut, second_cut):
    identity, state_of = STATES[name]
    cut, second_cut = sorted((min(cut, len(some)), min(second_cut, len(some))))
    a, b, c = (
        state_of(table_of(some[start:end], start)) for start, end in ((0, cut), (cut, second_cut), (second_cut, None))
    )
    whole = state_of(table_of(some))
    assert (a + b) + c == a + (b + c) == (c + b) + a == whole
    assert ((a + b) + c).to_bytes() == ((c + a) + b).to_bytes() == whole.to_bytes()
    assert whole + identity == identity + whole == whole
    assert type(whole).from_bytes(whole.to_bytes()) == whole


@pytest.mark.parametrize("name", STATES)
def test_bytes_that_are_no_such_state_are_refused(name):
    state_of = STATES[name][1]
    state = state_of(table_of([("1", "2", "0.75", "1"), ("3", "x", "0.25", "0")]))
    kind, body = type(state), state.to_bytes()
    other = Moments() if name == "tally" else Tally()
    with pytest.raises(UnreadableError, match="another kind"):
        kind.from_bytes(other.to_bytes())
    position = body.index(name.encode()) + len(name)
    version = body[position]
    assert version == VERSIONS.get(name, 1)
    with pytest.raises(UnreadableError, match=f"expected version {version}, got {version + 1}"):
        kind.from_bytes(body[:position] + bytes([version + 1]) + body[position + 1 :])
    for damaged in (b"", body[:-1], b"\x00" + body, b"not a state"):
        with pytest.raises(UnreadableError):
            kind.from_bytes(damaged)


floats = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(floats, min_size=1, max_size=40), st.integers(0, 40))
def test_moments_are_exact(values, cut):
    array = np.array(values)
    moments = moments_of(array[:cut]) + moments_of(array[cut:])
    exact = [Fraction(one) for one in values]
    mean = sum(exact) / len(exact)
    spread = sum((one - mean) ** 2 for one in exact)
    # A Fraction becomes the nearest float, as the state promises.
    assert moments.mean == float(mean)
    assert (moments.least, moments.greatest) == (min(values), max(values))
    if abs(sum(exact)) < 1e308:
        assert moments.sum == float(sum(exact))
    if spread < 1e308:
        assert moments.std_dev == pytest.approx(float(spread / len(exact)) ** 0.5, rel=1e-15)


def test_moments_do_not_lose_a_small_spread_on_a_large_mean():
    assert moments_of(np.array([1e15, 1e15 + 1, 1e15 + 2])).std_dev == pytest.approx((2 / 3) ** 0.5, rel=1e-15)


def test_huge_numbers_are_clamped():
    huge = moments_of(np.array([1.7e308, 1.7e308, -1.7e308]))
    assert huge.sum == 1.7e308
    assert (huge + huge + huge).sum == np.finfo(float).max
    assert np.isfinite(huge.std_dev)


def test_quantiles_are_exact_up_to_k_and_within_their_bound_beyond():
    generator = np.random.Generator(np.random.PCG64(7))
    values = generator.gamma(2.0, size=60_000)
    points = np.quantile(values, np.linspace(0, 1, 101))
    truth = np.searchsorted(np.sort(values), points, side="right")
    small = quantiles_of(values[:2048])
    assert small.rank_error == 0
    assert small.levels[0].tolist() == sorted(values[:2048])
    for parts in (1, 7, 60, 600):
        state = Quantiles()
        for part in np.array_split(values, parts):
            state = state + quantiles_of(part)
        assert state.count == len(values)
        errors = np.abs(state.ranks(points) - truth)
        assert errors.max() <= state.rank_error
        assert state.rank_error / len(values) < 0.005
        assert state.levels[0].size <= 2048
        assert Quantiles.from_bytes(state.to_bytes()) == state


def test_sorted_input_is_no_worse():
    values = np.arange(100_000.0)
    state = Quantiles()
    for part in np.array_split(values, 100):
        state = state + quantiles_of(part)
    points = values[::997]
    assert np.abs(state.ranks(points) - (points + 1)).max() <= state.rank_error < 500


@pytest.mark.parametrize("parts", [1, 2, 9, 40])
def test_categories_beyond_the_bound_are_the_same_for_every_split(parts):
    generator = np.random.Generator(np.random.PCG64(11))
    texts = [f"v{number}" for number in (generator.pareto(0.6, size=20_000) * 10).astype(np.int64)]
    truth = Counter(texts)
    assert len(truth) > 1900
    state = Categories()
    for part in range(parts):
        state = categories_of(Counter(texts[part::parts])) + state
    assert state == categories_of(truth)
    assert len(state.counts) == 1000
    assert all(truth[text] == count for text, count in state.counts)
    assert state.total == 20_000
    assert state.distinct == pytest.approx(len(truth), rel=0.1)
    half = categories_of(Counter(texts[::2]))
    exact = Counter(texts[::2])
    known = comparable(state, half)
    assert 500 < len(known) <= 1500
    assert [dict(half.counts).get(text, 0) for text in known] == [exact[text] for text in known]
    assert [dict(state.counts).get(text, 0) for text in known] == [truth[text] for text in known]
    for some in (known, [*known, "nothing"], texts[:3], list(truth)):
        least, most = rows_with(half, some)
        assert least <= sum(exact[text] for text in set(some)) <= most
    rows = sum(exact[text] for text in known)
    assert rows_with(half, known) == (rows, rows)
    told = counts_in(half, [*truth, "nothing"])
    assert all(count in (None, exact[text]) for text, count in told.items())
    assert {text for text in known if told[text] is None} == set()
    assert None in told.values()
    assert rows_with(categories_of(Counter("aab")), ["a", "z"]) == (2, 2)
    assert rows_with(Categories(), ["a"]) == (0, 0)


def test_raw_values_are_classified_by_their_text():
    values = ["1", "-2", "+3", "1.0", "1e3", ".5", "", " ", "nan", "NaN", "true", "False", "x", "1_000", "inf", "0x1"]
    profile = profile_of_values(values)
    column = profile.columns[0]
    assert (column.integral, column.fractional, column.boolean, column.string, column.unknown) == (3, 3, 2, 3, 1)
    assert column.present == len(values) - 4
    assert column.inferred_type == "String"
    assert column.moments.count == 6
    assert column.categories.total == column.present


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("\uff11\uff12", "string"),
        ("٣", "string"),
        ("\xa05", "string"),
        ("-nan", None),
        (" +NaN ", None),
        ("1e400", "unknown"),
        ("-1e400", "unknown"),
        ("1" * 400, "unknown"),
        (10**400, "unknown"),
        ("+Infinity", "unknown"),
        ("1_0e400", "string"),
        (" 5 ", "integral"),
    ],
)
@pytest.mark.parametrize("beside", [[], ["1"], ["x", "2.5"]])
def test_a_column_has_the_numbers_that_values_have(text, kind, beside):
    alone, column = (profile_of_values(values).columns[0] for values in (beside, [*beside, text]))
    told = {name: getattr(column, name) - getattr(alone, name) for name in ("integral", "string", "unknown", "present")}
    expected = {"integral": 0, "string": 0, "unknown": 0, "present": int(kind is not None)}
    assert told == expected | ({kind: 1} if kind else {})
    assert (number_of(text) == number_of(text)) == (kind == "integral")
    assert (word_of(text) is None) == (kind is None)


def test_json_values_are_classified_like_text():
    column = profile_of_values([1, 2.0, True, None, "3", "x", [1], {"a": 1}, float("nan")]).columns[0]
    assert (column.integral, column.fractional, column.boolean, column.string, column.unknown) == (2, 1, 1, 1, 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "", "2"], "Integral"),
        (["1", "2.5"], "Fractional"),
        (["1", "x"], "String"),
        (["true", "false"], "String"),
        (["", None, "nan"], "Unknown"),
        ([], "Unknown"),
    ],
)
def test_inferred_types(values, expected):
    assert profile_of_values(values).columns[0].inferred_type == expected


def profile_of_values(values):
    return profile_of_columns({"x": values}, len(values))


def test_a_profile_knows_outputs_first_and_irregular_rows():
    profile = profile_of(table_of([("1", "2", "0.5", None)] * 6))
    assert [column.name for column in profile.columns] == ["score", "phi", "a", "b"]
    assert (profile.rows, profile.records, profile.irregular) == (4, 6, ((1, 2),))
    assert profile.column("a").present == 4
    assert profile.column("c") is None
