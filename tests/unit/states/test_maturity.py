"""The histogram of label ages and the curve that windows teach, against counts made by hand and by brute force."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import UnreadableError
from chalicelib.states.maturity import EDGES, Curve, LabelAges, Observed, label_ages, maturity, outlook, quantile

HOUR, DAY = 3600.0, 86400.0
ages = st.lists(st.floats(-1e6, 4e8), max_size=30)


def of(requests, *seconds):
    return label_ages(requests, np.array(seconds, dtype=float))


@given(ages, ages, st.integers(0, 20))
def test_any_split_gives_the_same_bytes(one, other, unlabelled):
    whole = of(len(one) + len(other) + unlabelled, *one, *other)
    parts = of(len(one) + unlabelled, *one) + of(len(other), *other)
    assert parts.to_bytes() == whole.to_bytes()
    assert LabelAges.from_bytes(whole.to_bytes()) == whole
    assert whole.labelled == len(one) + len(other)


def test_steps_end_with_their_edge():
    found = of(5, -3.0, 60.0, 60.5, 5e9)
    assert dict(found.counts) == {0: 1, 1: 1, 2: 1, len(EDGES): 1}
    assert found.coverage == 0.8
    assert quantile(found, 0.5) == 60
    assert quantile(found, 1.0) is None


@pytest.mark.parametrize("damaged", [LabelAges(3, ((0, 2),)).to_bytes()[:-1], b"", b"\x93\xa1x\x01\x90"])
def test_damaged_bytes_are_refused(damaged):
    with pytest.raises(UnreadableError):
        LabelAges.from_bytes(damaged)


@pytest.mark.parametrize("bad", [(1, ((0, 2),)), (3, ((1, 1), (0, 1))), (3, ((0, 0),)), (3, ((9999, 1),))])
def test_impossible_counts_are_refused(bad):
    with pytest.raises(ValueError):
        LabelAges(*bad)


def test_whole_windows_teach_their_shares():
    curve = maturity([Observed(of(100, *[2 * HOUR] * 60, *[30 * HOUR] * 20), 45 * DAY)], 45 * DAY)
    assert curve.at(HOUR) == 0.0
    assert curve.at(1.5 * HOUR) == pytest.approx(0.3)  # even within the step
    assert curve.at(2 * HOUR) == pytest.approx(0.6)
    assert curve.at(24 * HOUR) == pytest.approx(0.6)
    assert curve.at(31 * HOUR) == pytest.approx(0.8)
    assert curve.shares[-1] == pytest.approx(0.8)
    assert (curve.windows, curve.requests) == (1, 100)


def test_young_windows_teach_what_they_could_see_and_no_more():
    old = Observed(of(100, *[2 * HOUR] * 50, *[40 * HOUR] * 50), 45 * DAY)
    young = Observed(of(100, *[2 * HOUR] * 90), 3 * HOUR)
    curve = maturity([old, young], 45 * DAY)
    assert curve.at(3 * HOUR) == pytest.approx(0.7)  # 140 of 200
    assert curve.at(45 * DAY) == pytest.approx(1.0)  # all that waited in the old window came
    assert maturity([young], 45 * DAY).shares[-1] == pytest.approx(0.9)
    assert len(maturity([young], 45 * DAY).shares) == EDGES.index(3 * 3600) + 1


def test_the_curve_finds_the_shares_that_labels_were_drawn_with():
    draw = random.Random(5)
    past = []
    for hours in range(1, 400):
        found = [draw.expovariate(1 / DAY) for _ in range(40) if draw.random() < 0.9]
        past.append(Observed(of(40, *[age for age in found if age <= hours * HOUR]), hours * HOUR))
    curve = maturity(past, 20 * DAY)
    for days in (1, 2, 5):
        assert curve.at(days * DAY) == pytest.approx(0.9 * (1 - np.exp(-days)), abs=0.03)


def test_nothing_is_learned_of_nothing_or_of_too_few():
    assert maturity([], DAY) == Curve()
    assert maturity([Observed(of(9, HOUR), 30 * DAY)], DAY).shares == ()


def test_a_waiting_window_is_expected_to_go_the_way_of_the_others():
    curve = maturity([Observed(of(100, *[2 * HOUR] * 40, *[60 * HOUR] * 50), 45 * DAY)], 45 * DAY)
    found = outlook(of(100, *[2 * HOUR] * 40), curve, 5 * HOUR)
    assert found.expected_coverage == pytest.approx(0.9)
    assert found.settled_share == pytest.approx(0.4 / 0.9)
    assert found.settled_in is not None and 54 * HOUR <= found.settled_in <= 60 * HOUR
    done = outlook(of(100, *[2 * HOUR] * 90), curve, 70 * HOUR)
    assert (done.settled_share, done.settled_in) == (pytest.approx(1.0), 0)


def test_without_a_curve_the_coverage_is_all_there_is():
    found = outlook(of(10, HOUR), Curve(), DAY)
    assert (found.coverage, found.expected_coverage, found.settled_share) == (0.1, 0.1, 1.0)


@given(st.integers(0, 30), st.floats(0, 1e7), st.lists(st.tuples(ages, st.floats(0, 1e8)), max_size=5))
def test_an_outlook_is_within_its_bounds(unlabelled, seconds, past):
    curve = maturity([Observed(of(len(each) + unlabelled, *each), seen) for each, seen in past], 45 * DAY)
    assert all(0.0 <= one <= other <= 1.0 for one, other in zip(curve.shares, curve.shares[1:], strict=False))
    found = outlook(of(10, HOUR, DAY), curve, seconds)
    assert 0.2 <= found.expected_coverage <= 1.0
    assert 0.0 < found.settled_share <= 1.0
