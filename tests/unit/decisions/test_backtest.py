"""Policies replayed over losses that are known: against schedules worked out by hand and by trying all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chalicelib.decisions.backtest import Course, best_cadence, best_schedule, cadence, never, replay
from chalicelib.decisions.policy import Policy

WINDOWS = 12


def course(seed: int = 0, jump: int = 4, origin: int = 2) -> Course:
    """From window `jump` on, models trained before it lose 0.5 and later ones 0.125, plus a little noise."""
    noise = np.random.default_rng(seed).random((WINDOWS, WINDOWS)) / 64
    fresh = np.full((WINDOWS, WINDOWS), np.nan)
    for cut in range(1, WINDOWS):
        for window in range(cut, WINDOWS):
            stale = window >= jump and cut <= jump
            fresh[cut, window] = (0.5 if stale else 0.125) + noise[cut, window]
    return Course(first=fresh[origin].copy(), fresh=fresh, surrogates=fresh.copy(), origin=origin)


def serving(each: Course, starts: tuple[int, ...]) -> float:
    """Losses when a model is started at the end of each of these windows: another way than the package's."""
    total = 0.0
    for window in range(each.origin, each.windows):
        ready = [at for at in starts if at + 1 + each.training <= window]
        total += each.fresh[ready[-1] - each.lateness + 1, window] if ready else each.first[window]
    return float(total)


@pytest.mark.parametrize("cost", [0.01, 0.2, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_schedule_is_the_best_of_all(seed: int, cost: float):
    each = course(seed)
    times = range(each.origin + each.lateness, each.windows - 2)
    every = [starts for count in range(4) for starts in itertools.combinations(times, count)]
    best = best_schedule(each, cost)
    least = min(serving(each, starts) + cost * len(starts) for starts in every)
    assert best.total(cost) <= least + 1e-12
    assert best.total(cost) == pytest.approx(serving(each, tuple(best.starts)) + cost * len(best.starts))


def test_a_jump_is_answered_once():
    each = course()
    found = replay(each, Policy(cost=0.2, holdback_windows=1))
    assert len(found.starts) == found.promotions == 1 and not found.refusals
    # Labels of window 5, the first of which a fresh model exists, come 2 windows late.
    assert found.starts == [7] and found.served[-1] < 0.2
    assert found.total(0.2) < never(each).total(0.2)


def test_a_model_that_would_not_help_is_not_trained():
    each = course(jump=WINDOWS)
    assert replay(each, Policy(cost=0.2, holdback_windows=1)).starts == []


def test_the_newest_windows_decide_and_the_model_is_trained_on_them_too():
    each = course()
    found = replay(each, Policy(cost=0.2, holdback_windows=1))
    start = found.starts[0]
    # Served from two windows after the start on: the model of cut start - 1, not of the gate's cut.
    assert found.served[start + 2 - each.origin :] == each.fresh[start - 1, start + 2 :].tolist()


def test_a_cadence_serves_each_model_after_its_training():
    each = course()
    found = cadence(each, 3)
    assert found.starts == [4, 7, 10]
    assert found.error * (WINDOWS - 2) == pytest.approx(serving(each, (4, 7, 10)))
    assert best_cadence(each, 100.0)[0] == 6


def test_two_refusals_stop_the_loop_for_a_while():
    # The surrogates promise what no model keeps.
    each = course()
    fresh = np.where(np.isfinite(each.fresh), 0.5, np.nan)
    hollow = Course(first=fresh[2].copy(), fresh=fresh, surrogates=each.surrogates, origin=2)
    found = replay(hollow, Policy(cost=0.05, holdback_windows=1, cool_down_windows=0))
    assert found.refusals >= 1 and not found.promotions
    assert set(found.served) == {0.5}


def test_labels_at_once_may_start_a_retraining_with_the_last_window():
    each = course(jump=WINDOWS - 1)
    at_once = Course(
        first=each.first, fresh=each.fresh, surrogates=each.surrogates, origin=each.origin, lateness=0, training=0
    )
    found = replay(at_once, Policy(cost=0.0001, holdback_windows=1, cool_down_windows=1))
    assert found.starts[-1] == WINDOWS - 1 and len(found.served) == WINDOWS - each.origin
