"""Which questions a baseline asks: the rules for ties, zeros, constants, few numbers, rare and many categories."""

import numpy as np
import pytest

from chalicelib.evidence.questions import column_list, column_shares, questions_of, tie_shares
from chalicelib.states.profile import profile_of_columns
from chalicelib.states.question_counts import question_counts
from chalicelib.states.selection import Selection


def asked(values):
    """(kind, value) of each question of one column, and the shares of its own baseline."""
    profile = profile_of_columns({"x": list(map(str, values))}, len(values))
    questions = questions_of("b", profile)
    yes, rows, _ = column_shares(questions, question_counts(questions, profile, Selection()))
    with np.errstate(invalid="ignore"):
        shares = yes / rows
    return {(each.kind, each.value): share for each, share in zip(column_list(questions), shares.tolist(), strict=True)}


def test_many_numbers():
    found = asked(range(1, 101))
    assert found == pytest.approx(
        {("missing", ""): 0, ("larger", ""): 0.5, ("outside", ""): 0}
        | {("at_or_below", str(cut)): cut / 100 for cut in (5, 25, 50, 75, 95)}
    )


def test_many_zeros_are_asked_for_once_and_not_ranked():
    found = asked([0] * 70 + list(range(1, 31)))
    assert [value for kind, value in found if kind == "at_or_below"] == ["0", "5", "25"]
    assert ("larger", "") not in found
    assert all(0 < share < 1 for (kind, _), share in found.items() if kind == "at_or_below")


def test_a_constant_is_asked_for_below_and_above():
    assert asked(["5", "5.0"] * 20) == {("missing", ""): 0, ("below", "5"): 0, ("at_or_below", "5"): 1}


def test_few_numbers_are_categories_however_they_are_written():
    found = asked(["1", "1.0", "2", "3"] * 10)
    assert found == {
        ("missing", ""): 0,
        ("category", "1.0"): 0.5,
        ("category", "2.0"): 0.25,
        ("category", "3.0"): 0.25,
        ("not_seen", ""): 0,
    }


def test_rare_categories_are_asked_for_together():
    found = asked(["a"] * 500 + ["b"] * 490 + ["r1"] * 5 + ["r2"] * 4 + [""])
    assert ("category", "r1") not in found
    assert found[("other", "")] == pytest.approx(9 / 999) and found[("missing", "")] == 0.001


def test_others_are_not_asked_for_where_the_choice_of_categories_is_chance():
    # Of 100 equally frequent categories the 20 that look most frequent are not: their share falls in the next window.
    draw = np.random.default_rng(3)
    found = asked([f"c{place}" for place in draw.integers(0, 100, 5_000)])
    assert sum(kind == "category" for kind, _ in found) == 20
    assert ("other", "") not in found and ("not_seen", "") in found


def test_unbounded_texts_have_no_unseen_ones():
    found = asked([f"t{place}" for place in range(3_000)] + ["often"] * 3_000)
    assert ("not_seen", "") not in found and ("other", "") not in found


def test_a_column_without_values_is_asked_whether_it_is_missing():
    assert asked(["", ""]) == {("missing", ""): 1}


def test_ties_take_their_part_of_the_variance():
    profile = profile_of_columns({"x": [str(value) for value in range(20) for _ in range(3)]}, 60)
    questions = questions_of("b", profile)
    ranked = [each.kind == "larger" for each in column_list(questions)]
    assert tie_shares(questions)[ranked].tolist() == pytest.approx([20 * 0.05**3])
