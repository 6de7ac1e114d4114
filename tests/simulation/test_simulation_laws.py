"""The simulator: a slice of histories holds the laws, a seed repeats itself, planted faults are caught and shrunk."""

from __future__ import annotations

import pytest

from simulation.history import Capture, Labels, draw_history, inputs_of
from simulation.shrink import play_both
from simulation.world import World

# Where each planted fault is caught, so that this stays a matter of seconds; `--mutations` looks from seed 0 on.
CAUGHT_BY = {
    "promotion without generation": 0,
    "listing only": 0,
    "acknowledge before the act": 0,
}


@pytest.mark.parametrize("seed", range(500_000, 500_020))
def test_laws_hold(seed: int):
    _, _, wrong = play_both(draw_history(seed))
    assert wrong == []


def test_a_seed_repeats_itself():
    first, _, _ = play_both(draw_history(3), story=True)
    again, _, _ = play_both(draw_history(3), story=True)
    assert first.lines == again.lines
    assert first.lines


def test_leaving_one_fault_out_leaves_the_others():
    world = World(draw_history(5), hostile=True).play()
    late = [each for each in world.applied if each.startswith("delay")]
    without = World(draw_history(5), hostile=True, removed=[late[-1]]).play()
    assert late[-1] in world.applied and late[-1] not in without.applied
    assert set(late[:-1]) & set(without.applied)


def test_the_calm_run_has_no_faults_and_the_same_inputs():
    history = draw_history(8)
    calm, world = World(history, hostile=False).play(), World(history, hostile=True).play()
    assert calm.applied == [] and not calm.coverage
    assert world.applied
    assert calm.label_times == world.label_times
    assert inputs_of(history, Capture) and inputs_of(history, Labels)


def test_histories_retrain_promote_and_bring_back():
    causes = set()
    for seed in range(60):
        history = draw_history(seed)
        if history.effects:
            world = World(history, hostile=True).play()
            causes |= {crown.reigns[-1].cause.split()[0] for crown in world.crowns}
    assert {"promote", "roll_back"} <= causes
