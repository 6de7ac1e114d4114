"""t over windows against its definition and scipy; order and tails of windows; blocks and the second opinion."""

import numpy as np
import pytest
from scipy import stats

from chalicelib.evidence.blocks import Asked, added, judged
from chalicelib.evidence.windows import away_from, checks_of, spread_of, t_two_sided
from chalicelib.evidence.windows import t_values as t_of


def test_tail_of_students_t():
    for degrees in (1, 7, 27, 55):
        t = np.array([0.0, 0.3, 1.0, 2.5, 6.0, 15.0, -40.0])
        np.testing.assert_allclose(t_two_sided(t, degrees), 2 * stats.t.sf(abs(t), degrees), rtol=1e-10)
    assert t_two_sided(np.array([np.inf, -np.inf]), 27).tolist() == [0, 0]


def t_values(spread, yes, rows, length, phases=None):
    return t_of(spread, away_from(spread, yes, rows, phases), length, phases)


def counts(draw, windows, sd=0.05, rows=2_000, questions=5):
    risk = np.clip(0.4 + draw.normal(0, sd, (windows, questions)), 0, 1)
    return draw.binomial(rows, risk).astype(float), np.full((windows, questions), float(rows))


def test_t_is_the_smaller_of_shares_and_log_odds():
    draw = np.random.default_rng(1)
    yes, rows = counts(draw, 28)
    new_yes, new_rows = counts(draw, 4)
    spread = spread_of(yes, rows)
    found = t_values(spread, new_yes, new_rows, 2)
    both = []
    for transform in (lambda k, n: k / n, lambda k, n: np.log((k + 0.5) / (n - k + 0.5))):
        known, new = transform(yes, rows), transform(new_yes, new_rows).reshape(2, 2, 5).mean(axis=1)
        both.append((new - known.mean(axis=0)) / (known.std(axis=0, ddof=1) * np.sqrt(1 / 2 + 1 / 28)))
    one, other = both
    same = np.sign(one) == np.sign(other)
    expected = np.where(same, np.sign(one) * np.minimum(abs(one), abs(other)), 0)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert spread.degrees == 27


def test_a_season_has_a_mean_for_each_phase():
    draw = np.random.default_rng(2)
    phases = np.arange(28) % 7
    yes = np.round(2_000 * (0.2 + 0.05 * phases[:, None] + draw.normal(0, 0.002, (28, 3))))
    rows = np.full((28, 3), 2_000.0)
    spread = spread_of(yes, rows, phases)
    assert spread.degrees == 21
    t = t_values(spread, yes[:7], rows[:7], 1, phases[:7])
    assert abs(t).max() < 4 < abs(t_values(spread, yes[:7], rows[:7], 1, (phases[:7] + 3) % 7)).max()


def test_a_share_that_never_varied_counts_as_varying_by_two_rows():
    yes, rows = np.zeros((28, 1)), np.full((28, 1), 100.0)
    found = t_values(spread_of(yes, rows), np.array([[0.0], [3.0], [100.0]]), rows[:3], 1)
    assert found[:, 0].tolist() == pytest.approx([0, 1.5 / (29 / 28) ** 0.5, 50 / (29 / 28) ** 0.5])
    # What the baseline never had: a few rows are nothing, a changed unit is.
    spread = spread_of(yes, rows, never=np.array([True]))
    found = t_values(spread, np.array([[3.0], [100.0]]), rows[:2], 1)
    assert found[:, 0].tolist() == pytest.approx([0.3 / (29 / 28) ** 0.5, 10 / (29 / 28) ** 0.5])


def test_checks_hold_for_exchangeable_windows_and_see_order_and_tails():
    draw = np.random.default_rng(3)
    hold = [checks_of(*counts(draw, 28, questions=40)).hold for _ in range(40)]
    assert sum(hold) >= 33
    yes, rows = counts(draw, 28, questions=40)
    ordered = np.sort(yes, axis=0)
    assert not checks_of(ordered, rows).hold and checks_of(ordered, rows).order_p < 0.01
    heavy = np.clip(800 + 60 * draw.standard_t(2, yes.shape), 0, 2_000)
    found = checks_of(heavy, rows)
    assert found.kurtosis > found.kurtosis_limit and not found.hold
    assert checks_of(heavy, rows) == found
    assert checks_of(np.zeros((28, 2)), rows[:, :2]).hold


def asked(level=1e-4, share=0.2):
    one = np.ones(1)
    return Asked(5_000 * share * one, 5_000 * one, 0 * one, 0.03 * one, level * one, np.zeros(1, bool), 0 * one)


def test_blocks_are_sums_and_see_what_single_windows_do_not():
    yes, rows = np.full((32, 1), 25.0), np.full((32, 1), 100.0)
    assert added(yes, 8)[:, 0].tolist() == [200.0] * 4
    found = judged(asked(), yes, rows)
    assert not found[1].alarm.any() and found[32].alarm.all() and found[32].confirmed.all()


def test_an_incomplete_block_is_no_alarm_yet():
    yes, rows = np.full((32, 1), 40.0), np.full((32, 1), 100.0)
    there = np.arange(32) < 31
    found = judged(asked(), yes, rows, None, there)
    assert found[1].alarm[:, 0].tolist() == [True] * 31 + [False]
    assert found[32].alarm.tolist() == [[False]] and found[16].alarm.tolist() == [[True], [False]]


def test_the_floor_holds_back_what_is_significant():
    yes, rows = np.full((32, 1), 220_000.0), np.full((32, 1), 1e6)
    found = judged(asked()._replace(yes=np.array([1e6]), rows=np.array([5e6])), yes, rows)
    assert not any(each.alarm.any() for each in found.values())


def test_an_error_of_the_counts_is_taken_off():
    yes, rows = np.full((32, 1), 45.0), np.full((32, 1), 100.0)
    assert judged(asked(), yes, rows, np.full((32, 1), 5.0))[1].alarm.all()
    assert not judged(asked(), yes, rows, np.full((32, 1), 24.0))[1].alarm.any()


def test_a_single_odd_window_is_not_confirmed():
    yes, rows = np.full((32, 1), 20.0), np.full((32, 1), 100.0)
    yes[5] = 60.0
    found = judged(asked(), yes, rows)[1]
    assert found.alarm[5, 0] and not found.confirmed.any()
    yes[6] = 40.0
    assert judged(asked(), yes, rows)[1].confirmed[:, 0].nonzero()[0].tolist() == [5, 6]


def test_windows_that_fluctuate_need_t_too():
    draw = np.random.default_rng(6)
    yes, rows = counts(draw, 28, sd=0.05, questions=1)
    total, size = yes.sum(axis=0), rows.sum(axis=0)
    base = Asked(total, size, 0 * total, np.array([0.03]), np.array([1e-4]), np.zeros(1, bool), 0 * total)
    new = np.full((32, 1), 2_000 * 0.5)
    alone = judged(base, new, np.full((32, 1), 2_000.0))
    spread = judged(base, new, np.full((32, 1), 2_000.0), spread=spread_of(yes, rows))
    assert alone[1].alarm.all() and not spread[1].alarm.any() and spread[32].alarm.all()
    assert (spread[1].p >= alone[1].p).all()
    assert spread[32].p[0, 0] == pytest.approx(max(alone[32].p[0, 0], spread[32].p[0, 0]))
