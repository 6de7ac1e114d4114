"""Other tools' distances equal golden values made from raw rows (golden.py says how) within 1e-9."""

import json
from pathlib import Path

import msgspec
import pytest

from chalicelib.evidence import compat
from chalicelib.states.profile import profile_of_columns
from tests.unit.evidence.golden import rows, words

GOLDEN = json.loads((Path(__file__).with_name("golden.json")).read_text())


NAMES = {
    "model_monitor_simple": "distance",
    "model_monitor_robust": "robust",
    "evidently_wasserstein": "wasserstein",
    "evidently_jensen_shannon": "js_natural",
    "evidently_stability": "psi",
    "nannyml_jensen_shannon": "js_base_2",
}


def compared(one, other):
    columns = [profile_of_columns({"x": list(map(str, values))}, len(values)).columns[0] for values in (one, other)]
    found = compat.distances_of(*columns)
    return found and {NAMES[name]: value for name, value in msgspec.structs.asdict(found).items()}


@pytest.mark.parametrize("name", GOLDEN["numbers"])
def test_numbers(name):
    found = compared(*(each.tolist() for each in rows(name)))
    assert found == pytest.approx(GOLDEN["numbers"][name], rel=1e-9, abs=1e-9)


def test_categories():
    found = compared(*words("words"))
    assert found.pop("wasserstein") is None
    assert found == pytest.approx(GOLDEN["words"], rel=1e-9, abs=1e-9)


def test_nothing_to_compare():
    assert compared([1, 2], [""]) is None and compared(["a"], [""]) is None
    assert compared(["a"], [f"t{place}" for place in range(2_000)]) is None


def test_small_differences_are_nothing_to_the_robust_comparison():
    assert compat.robust(0.05, 1000, 1000) == 0.0
    assert compat.robust(0.5, 10_000, 10_000) == pytest.approx(0.5 - 1.8 * (2 / 10_000) ** 0.5)
