"""The regret rule in the deployed functions: samples, surrogates and losses are kept, and lead to one retraining."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest

from chalicelib.decisions.decide import Action
from chalicelib.facts import evaluations, surrogates
from tests.unit.handlers.world import MONITOR, OWN, World, definition, rows_of, window_name

POLICY = {"rule": "regret", "training_windows": 2, "cost": 0.2}


@cache
def _drifted() -> World:
    world = World(definition(policy=POLICY))
    for number in range(6):
        world.live(number, "x" if number < 3 else "z", count=80)
    return world


def test_each_settled_window_leaves_a_sample_a_surrogate_and_losses() -> None:
    world = _drifted()
    found = surrogates.losses(world.services.ledger, MONITOR, "")
    assert [each.window for each in found] == [window_name(number) for number in range(6)]
    # The first two windows together teach the first surrogate (holdback_windows is 2).
    assert surrogates.trained(world.services.ledger, MONITOR).cuts == tuple(window_name(n) for n in range(2, 7))
    assert [sorted(each.losses) for each in found] == [
        [window_name(cut) for cut in range(2, number + 1)] for number in range(6)
    ]
    assert len(world.services.objects.keys(OWN, "plumbline/payload/churn/surrogates/")) == 6 + 5
    by_cut = found[5].losses
    # After the change at window 3 a surrogate of windows 3 and 4 is better than the one of 0 and 1.
    assert by_cut[window_name(5)] < by_cut[window_name(2)]


def test_it_retrains_when_the_regret_reaches_the_cost_and_says_so() -> None:
    world = _drifted()
    [record] = [each for each in world.decisions() if each.action == Action.RETRAIN.value]
    assert record.regret >= 0.2 and record.reference is None
    assert record.fresh_since >= window_name(4)
    assert f"regret {record.regret:.4f} reached the cost of a retrain (0.2 window-losses)" in record.reasons[0]
    assert len(world.services.sagemaker.executions) == 1


def test_after_a_failure_it_starts_again() -> None:
    world = deepcopy(_drifted())
    world.finish_pipeline(status="Failed")
    for number in range(6, 10):
        world.live(number, "not-x", count=80)
    assert len(world.services.sagemaker.executions) == 2
    [first, second] = [each for each in world.decisions() if each.action == Action.RETRAIN.value]
    assert second.fresh_since > first.window
    assert [each.decision_id for each in world.retraining().starts] == [second.decision_id, first.decision_id]


def test_calm_windows_hold() -> None:
    world = World(definition(policy=POLICY))
    for number in range(4):
        world.live(number, "x", count=80)
    assert set(world.actions()) == {"HOLD"}
    assert "regret" in world.decisions(3)[-1].reasons[-1]


def test_a_window_that_settles_late_is_tried_and_taught_too() -> None:
    world = World(definition(policy=POLICY))
    for number in range(4):
        world.live(number, "x", count=80, labelled=number != 2)
    cut = window_name(3)
    assert cut not in surrogates.trained(world.services.ledger, MONITOR).cuts
    world.label(rows_of(2, 80), "x", "late")
    world.settle()
    world.minutes(4)
    assert cut in surrogates.trained(world.services.ledger, MONITOR).cuts
    later = surrogates.load_losses(world.services.ledger, MONITOR, window_name(3))
    assert later is not None and cut in later.losses


@pytest.mark.parametrize("rule", ["excess", "regret"])
def test_the_old_rule_keeps_nothing(rule: str) -> None:
    world = World(definition(policy={**POLICY, "rule": rule}))
    world.live(0, "x")
    assert bool(surrogates.losses(world.services.ledger, MONITOR, "")) is (rule == "regret")
    assert evaluations.newest_settled(world.services.ledger, MONITOR) == window_name(0)
