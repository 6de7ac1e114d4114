"""The sums behind a decision: excess loss, decayed paired loss, the gate; against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chalicelib.decisions.challenger import PairedLoss, best_candidate, challenge, decayed_difference
from chalicelib.decisions.policy import Policy, check_policy
from chalicelib.decisions.retrain import ExcessLoss, excess_loss
from chalicelib.errors import MisconfiguredError

POLICY = Policy(reference_windows=2, half_life_windows=2.0, shrinkage=1.0)

# Multiples of 1/64 add up without rounding, so that equal means equal.
shares = st.integers(0, 64).map(lambda n: n / 64)


# Excess loss ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "losses, expected",
    [
        ([], ExcessLoss(0.0, None, 0)),
        ([0.9], ExcessLoss(0.0, None, 1)),
        ([0.25, 0.75], ExcessLoss(0.0, 0.5, 2)),
        # 0.5 | +0.25
        ([0.25, 0.75, 0.75], ExcessLoss(0.25, 0.5, 3)),
        # +0.25, +0.25 - 0.25 = 0, -> 0 (never below), +0.5
        ([0.25, 0.75, 0.75, 0.25, 0.0, 1.0], ExcessLoss(0.5, 0.5, 6)),
        # A good time is not saved up: after it the first bad window counts whole.
        ([0.5, 0.5, 0.0, 0.0, 0.0, 1.0, 1.0], ExcessLoss(1.0, 0.5, 7)),
    ],
)
def test_excess_loss(losses: list[float], expected: ExcessLoss):
    assert excess_loss(losses, POLICY) == expected


@pytest.mark.parametrize(
    "excess, reference, reached", [(0.4, 0.1, True), (0.39, 0.1, False), (0.4, None, False), (9.0, 0.0, True)]
)
def test_it_reaches_at_twice_the_cost(excess: float, reference: float | None, reached: bool):
    assert ExcessLoss(excess, reference, 9).reaches(Policy(cost=0.2)) is reached


@given(st.lists(st.floats(0, 1), max_size=40))
def test_excess_is_never_negative(losses: list[float]):
    found = excess_loss(losses, POLICY)
    assert found.excess >= 0 and found.windows == len(losses)


@given(shares, st.integers(0, 60), st.floats(0.001, 10), st.integers(1, 8))
def test_constant_losses_never_trigger(loss: float, count: int, cost: float, reference_windows: int):
    policy = Policy(cost=cost, reference_windows=reference_windows)
    found = excess_loss([loss] * count, policy)
    assert not found.reaches(policy) and found.excess == pytest.approx(0)


@given(st.lists(shares, max_size=30), shares)
def test_shifting_every_loss_changes_nothing(losses: list[float], shift: float):
    plain, shifted = excess_loss(losses, POLICY), excess_loss([loss + shift for loss in losses], POLICY)
    assert shifted.excess == plain.excess
    assert shifted.reference == (None if plain.reference is None else plain.reference + shift)


@given(st.lists(shares, min_size=3, max_size=20), st.integers(2, 19), shares)
def test_a_worse_window_never_lowers_the_excess(losses: list[float], position: int, more: float):
    assume(position < len(losses))
    worse = [loss + more * (index == position) for index, loss in enumerate(losses)]
    assert excess_loss(worse, POLICY).excess >= excess_loss(losses, POLICY).excess


# Decayed paired loss --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "losses, expected",
    [
        ([], 0.0),
        # 1 * (0.2 - 0.5) / (1 + 1)
        ([PairedLoss(0, 0.2, 0.5)], -0.15),
        # age 2 is one half-life: 0.5 * -0.3 / (0.5 + 1)
        ([PairedLoss(2, 0.2, 0.5)], -0.1),
        # (1 * 0.2 + 0.5 * -0.4 + 0.25 * 0.8) / (1.75 + 1)
        ([PairedLoss(0, 0.5, 0.3), PairedLoss(2, 0.1, 0.5), PairedLoss(4, 0.8, 0.0)], 0.2 / 2.75),
    ],
)
def test_decayed_difference(losses: list[PairedLoss], expected: float):
    assert decayed_difference(losses, POLICY) == pytest.approx(expected)


def test_without_shrinkage_it_is_the_weighted_mean():
    policy = Policy(half_life_windows=2.0, shrinkage=0.0)
    assert decayed_difference([PairedLoss(0, 0.2, 0.5), PairedLoss(2, 0.8, 0.5)], policy) == pytest.approx(-0.1)
    assert decayed_difference([], policy) == 0.0


@given(st.lists(st.builds(PairedLoss, st.integers(0, 99), shares, shares), max_size=9))
def test_a_model_against_itself_is_no_difference(losses: list[PairedLoss]):
    same = [PairedLoss(each.age, each.served_loss, each.served_loss) for each in losses]
    assert decayed_difference(same, POLICY) == 0.0
    assert -1.0 <= decayed_difference(losses, POLICY) <= 1.0


def test_the_smallest_difference_is_the_best():
    losses = {
        "champion": [PairedLoss(0, 0.3, 0.3)],
        "old": [PairedLoss(0, 0.2, 0.3)],
        "older": [PairedLoss(0, 0.1, 0.3)],
    }
    best, differences = best_candidate(losses, "champion", POLICY)
    assert best == "older"
    assert differences == {
        name: pytest.approx(value) for name, value in {"champion": 0, "old": -0.05, "older": -0.1}.items()
    }


@pytest.mark.parametrize("champion", ["a", "b", "c"])
def test_a_tie_keeps_the_champion(champion: str):
    losses = {name: [PairedLoss(0, 0.25, 0.5)] for name in ("c", "a", "b")}
    assert best_candidate(losses, champion, POLICY)[0] == champion


def test_nobody_scored_keeps_the_champion():
    assert best_candidate({}, "champion", POLICY) == ("champion", {})
    assert best_candidate({"past": [], "champion": []}, "champion", POLICY)[0] == "champion"


def test_a_champion_that_was_not_scored_is_not_left_for_a_worse_one():
    losses = {"champion": [], "past": [PairedLoss(0, 0.5, 0.25)]}
    assert best_candidate(losses, "champion", POLICY)[0] == "champion"


# The gate -------------------------------------------------------------------------------------------------------------


def test_a_challenger_must_beat_everybody():
    gate = challenge(0.25, {"champion": 0.5, "past": 0.375})
    assert gate.passed and gate.challenger == 0.25
    assert gate.reason == "held-back error 0.2500 is lower than the best incumbent's 0.3750 (past)"
    assert gate.incumbents == {"champion": 0.5, "past": 0.375}


@pytest.mark.parametrize("challenger", [0.375, 0.4, 0.6])
def test_better_than_the_champion_alone_is_not_enough(challenger: float):
    gate = challenge(challenger, {"champion": 0.5, "past": 0.375})
    assert not gate.passed and "is not lower than the best incumbent's 0.3750 (past)" in gate.reason


@given(shares, st.dictionaries(st.sampled_from("abc"), shares, min_size=1))
def test_equal_is_not_better(loss: float, incumbents: dict[str, float]):
    assert not challenge(min(incumbents.values()), incumbents).passed
    assert challenge(loss, incumbents).passed == all(loss < other for other in incumbents.values())


# The policy -----------------------------------------------------------------------------------------------------------


def test_the_defaults_work():
    check_policy(Policy())


@pytest.mark.parametrize(
    "field, value",
    [
        ("cost", 0),
        ("cost", -0.1),
        ("cost", float("nan")),
        ("cost", float("inf")),
        ("min_labelled_rows", 0),
        ("min_labelled_rows", 10**30),
        ("min_label_coverage", 1.01),
        ("min_label_coverage", -0.01),
        ("min_label_coverage", float("nan")),
        ("cool_down_windows", -1),
        ("half_life_windows", 0.0),
        ("half_life_windows", float("inf")),
        ("shrinkage", -1.0),
        ("reference_windows", 0),
        ("pool_size", -1),
        ("pool_size", 51),
        ("sample_rows", 0),
        ("sample_rows", 5001),
        ("training_windows", 0),
        ("holdback_windows", 0),
    ],
)
def test_a_number_out_of_range_is_named(field: str, value: float):
    with pytest.raises(MisconfiguredError, match=rf"^policy\.{field}: got .*; expected ") as caught:
        check_policy(Policy(**{field: value}))
    assert (caught.value.field, repr(caught.value.value)) == (f"policy.{field}", repr(value))


@pytest.mark.parametrize(
    "field, value",
    [("min_label_coverage", 0.0), ("min_label_coverage", 1.0), ("cool_down_windows", 0), ("pool_size", 0)],
)
def test_the_ends_of_a_range_are_in_it(field: str, value: float):
    check_policy(Policy(**{field: value}))
