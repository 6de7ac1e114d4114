import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from chalicelib.monitors.chi_squared import p_value, survival
from chalicelib.states.categories import categories_of


def p(baseline, current):
    return p_value(categories_of(baseline), categories_of(current))


@given(st.floats(0, 1e4), st.integers(1, 400))
def test_the_tail_agrees_with_scipy(statistic, degrees):
    assert survival(statistic, degrees) == pytest.approx(stats.chi2.sf(statistic, degrees), rel=1e-9, abs=1e-300)


counts = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(40, 400), min_size=2)


@given(counts, st.data())
def test_large_categories_agree_with_scipy(baseline, data):
    # At least ten rows are expected in every category, so none is put together with another.
    current = {name: data.draw(st.integers(100, 500)) for name in baseline}
    total, shares = sum(current.values()), sum(baseline.values())
    expected = [count / shares * total for count in baseline.values()]
    if min(expected) < 10:
        return
    found = stats.chisquare([current[name] for name in baseline], expected)
    assert p(baseline, current) == pytest.approx(found.pvalue, rel=1e-9, abs=1e-300)


def test_small_categories_are_put_together_from_the_smallest():
    # Expected of 100 rows: 60, 31, 4, 3, 2. Three below five are more than a fifth of five, so c and d become 5 of
    # which b is the name of the third smallest; one small one of four is still more than a fifth.
    baseline = {"a": 600, "b": 310, "c": 40, "d": 30, "e": 20}
    current = {"a": 50, "b": 40, "c": 5, "d": 2, "e": 3}
    merged = stats.chisquare([50, 40, 10], [60, 31, 9])
    assert p(baseline, current) == pytest.approx(merged.pvalue, rel=1e-12)
    # A fifth may be small.
    kept = {"a": 300, "b": 200, "c": 200, "d": 260, "e": 40}
    found = {"a": 20, "b": 30, "c": 20, "d": 20, "e": 10}
    alone = stats.chisquare([20, 30, 20, 20, 10], [30, 20, 20, 26, 4])
    assert p(kept, found) == pytest.approx(alone.pvalue, rel=1e-12)


def test_two_categories_need_ten_expected_each():
    assert p({"a": 90, "b": 10}, {"a": 50, "b": 49}) is None
    found = stats.chisquare([50, 50], [90, 10])
    assert p({"a": 90, "b": 10}, {"a": 50, "b": 50}) == pytest.approx(found.pvalue, rel=1e-12)


def test_categories_that_the_baseline_does_not_have_are_left_out():
    baseline = {"a": 500, "b": 500}
    assert p(baseline, {"a": 60, "b": 40, "new": 1000}) == p(baseline, {"a": 60, "b": 40})
    assert p(baseline, {"new": 1000}) is None
    assert p({"a": 500}, {"a": 60}) is None


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 60), min_size=1), st.data())
def test_any_counts_give_a_probability_or_nothing(baseline, data):
    current = data.draw(st.dictionaries(st.sampled_from([*sorted(baseline), "other"]), st.integers(1, 60), min_size=1))
    found = p(baseline, current)
    assert found is None or (0.0 <= found <= 1.0 and not math.isnan(found))
    assert p(baseline, baseline) in (None, pytest.approx(1.0))
