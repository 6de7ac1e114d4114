"""Numbers of data quality against NumPy and SciPy on random data."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chalicelib.monitors import data_quality
from chalicelib.states.categories import categories_of
from chalicelib.states.profile import profile_of_columns
from chalicelib.states.quantiles import quantiles_of

number = st.one_of(st.floats(-1e6, 1e6), st.integers(-5, 5).map(float))
columns = st.lists(number, min_size=1, max_size=120)


@settings(deadline=None)
@given(columns)
def test_statistics_agree_with_numpy(values):
    profile = profile_of_columns({"x": list(map(repr, values))}, len(values))
    found = data_quality.statistics(profile)["features"][0]["numerical_statistics"]
    array = np.array(values)
    scale = max(1.0, float(np.abs(array).max()))
    assert found["mean"] == pytest.approx(array.mean(), rel=1e-9, abs=1e-9 * scale)
    assert found["sum"] == pytest.approx(array.sum(), rel=1e-9, abs=1e-9 * scale)
    # NumPy's own rounding: it squares differences from a rounded mean.
    assert found["std_dev"] == pytest.approx(array.std(), rel=1e-9, abs=1e-9 * scale)
    assert (found["min"], found["max"]) == (array.min(), array.max())
    buckets = found["distribution"]["kll"]["buckets"]
    assert len(buckets) == 10
    assert sum(bucket["count"] for bucket in buckets) == len(values)
    for bucket, following in zip(buckets, [*buckets[1:], None], strict=True):
        upper = array < bucket["upper_bound"] if following else array <= bucket["upper_bound"]
        assert bucket["count"] == ((array >= bucket["lower_bound"]) & upper).sum()
        assert following is None or bucket["upper_bound"] == following["lower_bound"]


@settings(deadline=None)
@given(columns, columns)
def test_numeric_distances_agree_with_scipy(one, other):
    first, second = np.array(one), np.array(other)
    sketches = [quantiles_of(values).weighted() for values in (first, second)]
    expected = stats.ks_2samp(first, second, method="asymp").statistic
    assert data_quality.numeric_distance(*sketches, robust=False) == pytest.approx(expected, abs=1e-9)
    noise = 1.8 * (1 / len(one) + 1 / len(other)) ** 0.5
    assert data_quality.numeric_distance(*sketches, robust=True) == pytest.approx(max(0.0, expected - noise), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcde"), min_size=1), st.lists(st.sampled_from("cdefg"), min_size=1))
def test_categorical_distances_are_those_of_shares(one, other):
    first, second = Counter(one), Counter(other)
    expected = max(abs(first[name] / len(one) - second[name] / len(other)) for name in first | second)
    states = categories_of(first), categories_of(second)
    assert data_quality.categorical_distance(*states, robust=False) == pytest.approx(expected, abs=1e-12)
    noise = 1.8 * (1 / len(one) + 1 / len(other)) ** 0.5
    found = data_quality.categorical_distance(*states, robust=True)
    assert found == pytest.approx(max(0.0, expected - noise), abs=1e-12)
