"""The exact test of shares against golden values and by its definition; levels and what could be seen."""

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from chalicelib.evidence.shares import least_seen, level_of, normal_two_sided, one_sided, tails, two_sided

GOLDEN = json.loads((Path(__file__).with_name("golden.json")).read_text())


def test_tails_are_scipys_down_to_1e_300():
    table = np.array(GOLDEN["tails"])
    upper, lower = tails(*table[:, :4].T)
    assert table[:, 4:].min() < 1e-280
    np.testing.assert_allclose(upper, table[:, 4], rtol=1e-8)
    np.testing.assert_allclose(lower, table[:, 5], rtol=1e-8)


def test_tails_by_their_definition():
    for n, m in ((1, 1), (4, 7), (9, 5)):
        for k, k0 in product(range(n + 1), range(m + 1)):
            ways = [math.comb(n, j) * math.comb(m, k + k0 - j) if j <= k + k0 else 0 for j in range(n + 1)]
            upper, lower = tails(k, n, k0, m)
            assert float(upper) == pytest.approx(sum(ways[k:]) / math.comb(n + m, k + k0), rel=1e-12)
            assert float(lower) == pytest.approx(sum(ways[: k + 1]) / math.comb(n + m, k + k0), rel=1e-12)
            assert float(two_sided(k, n, k0, m)) == pytest.approx(min(1, 2 * min(upper, lower)), rel=1e-12)
            assert float(one_sided(k, n, k0, m)) == float(upper)


def test_empty_sides_and_certain_answers_say_nothing():
    assert two_sided([0, 3, 0, 5], [0, 3, 4, 5], [2, 0, 0, 7], [9, 0, 6, 7]).tolist() == [1, 1, 1, 1]


def test_many_rows():
    # 32 windows of a million rows against a million: one point of .2 is 22 deviations.
    p = float(two_sided(0.21 * 32e6, 32e6, 0.2e6, 1e6))
    assert 1e-150 < p < 1e-100


def test_levels_share_the_budget():
    # 20 columns of 8 questions, 100 windows, single windows and blocks: 0.05 in all.
    level = level_of(0.05, 100, np.full(3, 160.0))
    assert np.allclose(level * 160 * 100 * 2, 0.05)
    assert np.allclose(level_of(0.05, 0.1, np.ones(1)), 0.025)


def test_normal_tail():
    assert normal_two_sided(np.array([0.0, 1.959963984540054])).tolist() == pytest.approx([1.0, 0.05])


def test_what_could_be_seen():
    level = 1.5e-6
    now = least_seen(0.5, level, 0.03, 1_000, 5_000)
    more, every = (least_seen(0.5, level, 0.03, rows, 5_000) for rows in (100_000, math.inf))
    assert now > more > every >= 0.03
    assert math.isnan(least_seen(0.5, level, 0.03, 0, 5_000))
    # So many rows do find such a change with probability 0.8.
    draw = np.random.default_rng(4)
    known, found = draw.binomial(5_000, 0.5, 4_000), draw.binomial(1_000, 0.5 + now, 4_000)
    hits = two_sided(found, 1_000, known, 5_000) <= level
    assert abs(hits.mean() - 0.8) < 0.05
