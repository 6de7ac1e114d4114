"""The simulator: a slice of histories holds the laws, a seed repeats itself, planted faults are caught and shrunk."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from chalicelib.facts.champions import Champion
from chalicelib.facts.claims import RetrainClaim
from chalicelib.facts.evaluations import Evaluation
from trials.simulation.history import ALIKE, Capture, History, Labels, draw_history, inputs_of
from trials.simulation.holdings import MONITOR, OWN
from trials.simulation.mutations import caught_after
from trials.simulation.remembered import decoded
from trials.simulation.shrink import play_both
from trials.simulation.world import World

# Where some planted faults are caught, so that this is a matter of seconds; `--mutations` looks for each of them.
CAUGHT_BY = {
    "listing only": 4,
    "acknowledge before the act": 8,
    "decided means done": 6,
    "a day's lists deleted before its filter": 387,
}


# The last one: a veto that comes back after the worker of a retraining's decision has died.
@pytest.mark.parametrize("seed", [*range(500_000, 500_020), 93_763_492])
def test_laws_hold(seed: int):
    _, _, wrong = play_both(draw_history(seed))
    assert wrong == []


@pytest.mark.parametrize("fault", CAUGHT_BY)
def test_a_planted_fault_is_caught(fault: str):
    _, histories, law = caught_after(fault, CAUGHT_BY[fault], limit=1)
    assert histories == 1, law


def of_scene(scene: str) -> Iterator[History]:
    return (history for seed in range(0, 4000, ALIKE) if (history := draw_history(seed)).scene == scene)


def test_in_the_scene_day_the_lists_of_a_day_become_filters_more_than_once():
    most = 0
    for history, _ in zip(of_scene("day"), range(4), strict=False):
        account = World(history, hostile=True).play().account
        filters = account.objects.keys(OWN, f"plumbline/payload/{MONITOR}/filters/2026-01-05")
        checks = account.objects.keys(OWN, f"plumbline/payload/{MONITOR}/filter-checks/2026-01-05")
        assert len(filters) <= len(checks)
        most = max(most, len(filters))
    assert most >= 2


def test_in_the_scene_late_labels_come_after_the_seal():
    account = World(next(of_scene("late")), hostile=False).play().account
    assert any(pk.startswith(f"LATE#{MONITOR}#") for pk, _ in account.ledger.items)


def test_seeds_in_a_row_differ_in_what_is_hostile_alone():
    alike = [draw_history(seed) for seed in range(5 * ALIKE, 6 * ALIKE)]
    assert all(each.inputs == alike[0].inputs and each.policy == alike[0].policy for each in alike)
    assert draw_history(6 * ALIKE).inputs != alike[0].inputs
    worlds = [play_both(each)[:2] for each in alike]
    assert all(calm is worlds[0][1] for _, calm in worlds)
    assert len({tuple(world.applied) for world, _ in worlds}) == ALIKE


def test_what_is_remembered_stays_as_it_was():
    account = World(draw_history(next(of_scene("promotion")).seed), hostile=True).play().account
    kinds = {"CHAMPION": Champion, "CLAIM#RETRAIN": RetrainClaim, "EVALUATION": Evaluation}
    looked_at = 0
    for (pk, sk), (item, _) in account.ledger.items.items():
        kind = kinds.get(sk) or kinds.get(sk.partition("#")[0])
        if pk == f"MONITOR#{MONITOR}" and kind:
            assert decoded(item, kind) == msgspec.json.decode(item.body, type=kind)
            looked_at += 1
    assert looked_at > 3


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
