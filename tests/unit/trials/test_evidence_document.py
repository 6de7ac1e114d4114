"""docs/evidence.md and .json: a run of some parts keeps the others; limits that are missed say so."""

import json
import math

from trials.evidence.document import write
from trials.evidence.part import Bound, Part, table, upper


def test_a_bound_holds_at_its_limit_and_nan_never_holds():
    assert Bound("x", 0.05, 0.05).holds and not Bound("x", 0.051, 0.05).holds
    assert Bound("x", 0.75, 0.75, at_least=True).holds and not Bound("x", 0.7, 0.75, at_least=True).holds
    assert not Bound("x", math.nan, 1.0).holds and not Bound("x", math.nan, 0.0, at_least=True).holds


def test_the_upper_end_of_the_exact_interval():
    # Clopper and Pearson, 1934: 1 - 0.025 ** (1 / n) for no hit of n.
    assert math.isclose(upper(0, 600), 1 - 0.025 ** (1 / 600))
    assert upper(600, 600) == 1.0


def test_a_part_that_ran_is_replaced_and_others_stay(tmp_path):
    write([Part("power", "Power", ["the former"], {"a": 1}), Part("null", "Null", ["quiet"], {"b": 2})], 1, tmp_path)
    write([Part("power", "Power", ["new"], {"a": 3}, [Bound("seen", 0.5, 0.75, True)], {"p": b"png"})], 2, tmp_path)
    found = json.loads((tmp_path / "evidence.json").read_text())
    assert list(found) == ["null", "power"]
    assert found["power"]["figures"] == {"a": 3} and found["null"]["figures"] == {"b": 2}
    text = (tmp_path / "evidence.md").read_text()
    assert "quiet" in text and "new" in text and "the former" not in text
    assert "| seen | 0.500 | >= 0.75 | **missed** |" in text
    assert (tmp_path / "images/evidence-p.png").read_bytes() == b"png"


def test_tables_are_markdown():
    assert table(["a", "b"], [[1, 0.5]]) == ["| a | b |", "| --- | --- |", "| 1 | 0.500 |"]
