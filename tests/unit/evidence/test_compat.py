"""Other tools' distances equal golden values made from raw rows (golden.py says how) within 1e-9."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from chalicelib.evidence import compat
from chalicelib.states.profile import profile_of_columns
from tests.unit.evidence.golden import rows, words

GOLDEN = json.loads((Path(__file__).with_name("golden.json")).read_text())


def counted(values):
    profile = profile_of_columns({"x": [repr(value) for value in values.tolist()]}, len(values))
    items, weights = profile.columns[0].quantiles.weighted()
    found, places = np.unique(items, return_inverse=True)
    return found, np.bincount(places, weights=weights).astype(np.int64)


@pytest.mark.parametrize("name", GOLDEN["numbers"])
def test_numbers(name):
    one, other = rows(name)
    pair = counted(one), counted(other)
    distance = compat.distance_of_numbers(*pair)
    found = {
        "distance": compat.simple(distance),
        "robust": compat.robust(distance, len(one), len(other)),
        "wasserstein": compat.wasserstein_of_deviation(*pair),
        "js_natural": compat.jensen_shannon_natural(*pair),
        "js_base_2": compat.jensen_shannon_base_2(*pair),
        "psi": compat.population_stability(*pair),
    }
    assert found == pytest.approx(GOLDEN["numbers"][name], rel=1e-9, abs=1e-9)


def test_categories():
    pair = [Counter(each) for each in words("words")]
    found = {
        "distance": compat.distance_of_categories(*pair),
        "js_natural": compat.jensen_shannon_of_categories(*pair),
        "psi": compat.population_stability_of_categories(*pair),
    }
    assert found == pytest.approx(GOLDEN["words"], rel=1e-9, abs=1e-9)


def test_small_differences_are_nothing_to_the_robust_comparison():
    assert compat.robust(0.05, 1000, 1000) == 0.0
    assert compat.robust(0.5, 10_000, 10_000) == pytest.approx(0.5 - 1.8 * (2 / 10_000) ** 0.5)
