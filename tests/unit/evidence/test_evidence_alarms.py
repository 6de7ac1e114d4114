"""The evidence about a window: words, since when, the loss; order changes nothing, corrections take alarms back."""

import random
from datetime import timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.evidence.alarms import CountedWindow, Promise, evidence_of
from chalicelib.evidence.questions import questions_of
from chalicelib.states.profile import profile_of_columns
from chalicelib.states.question_counts import question_counts
from chalicelib.states.selection import binary_selection

DRAW = np.random.default_rng(9)
ROWS = 400


def states(draw, rows, mean=0.0, risk=0.2):
    numbers = [f"{value:.1f}" for value in draw.normal(mean, 1, rows)]
    words = draw.choice(["a", "b"], rows, p=[0.7, 0.3]).tolist()
    predictions = draw.integers(0, 2, rows).astype(float)
    labels = np.where(draw.random(rows) < risk, 1 - predictions, predictions)
    return profile_of_columns({"x": numbers, "w": words}, rows), binary_selection(None, predictions, labels)


BASELINE = states(DRAW, 4_000)
QUESTIONS = questions_of("b1", *BASELINE)
COUNTS = question_counts(QUESTIONS, *BASELINE)


def window(place, settled=True, awaited=0, **how):
    counts = question_counts(QUESTIONS, *states(DRAW, ROWS, **how))
    return CountedWindow(name=f"w{place}", place=place, counts=counts, settled=settled, awaited=awaited)


QUIET = [window(place) for place in range(100, 110)]
MOVED = [window(place, mean=0.7, risk=0.35) for place in range(110, 120)]


def evidence(windows, current, **how):
    return evidence_of(QUESTIONS, COUNTS, windows, current, 100, **how)


def test_nothing_moved():
    found = evidence(QUIET, "w109")
    assert found.columns == found.loss == ()
    assert [each.column for each in found.visible] == ["x", "w", ""]
    x = found.visible[0]
    assert x.rows == ROWS and x.least_change > x.least_ever >= 0.03
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_what_moved_since_when_in_words():
    found = evidence([*QUIET, *MOVED], "w119")
    assert {each.column for each in found.columns} == {"x"} and {each.column for each in found.loss} == {""}
    alarm = next(each for each in found.columns if each.first == each.last == "w119")
    assert alarm.windows == 1 and alarm.since == "w110" and alarm.confirmed and alarm.p <= alarm.level
    assert " to " in alarm.text and alarm.text.startswith("share ")
    pair = next(each for each in found.loss if each.windows == 2)
    assert (pair.first, pair.last) == ("w118", "w119") and pair.change > 0.1
    assert pair.text == f"share of wrong answers rose from {100 * pair.before:.1f} to {100 * pair.share:.1f} %"


def test_a_neighbour_that_the_window_confirms_is_named():
    first = evidence([*QUIET, MOVED[0]], "w110")
    assert [each.confirmed for each in first.columns if each.windows == 1] == [False]
    second = evidence([*QUIET, *MOVED[:2]], "w111")
    assert {each.last: each.confirmed for each in second.columns if each.windows == 1} == {"w110": True, "w111": True}


@settings(deadline=None, max_examples=25)
@given(order=st.randoms(use_true_random=False), places=st.sets(st.integers(100, 119), min_size=1))
def test_any_order_gives_the_same(order: random.Random, places):
    windows = [each for each in (*QUIET, *MOVED) if each.place in places]
    current = f"w{max(places)}"
    shuffled = list(windows)
    order.shuffle(shuffled)
    assert evidence(shuffled, current) == evidence(windows, current)


def test_a_corrected_window_takes_its_alarm_back():
    alone = [*QUIET, MOVED[0]]
    assert evidence(alone, "w110").columns and evidence(alone, "w110").loss
    restated = [*QUIET, window(110)]
    assert not evidence(restated, "w110").columns and not evidence(restated, "w110").loss
    # Corrected labels alone change the loss alone.
    right = msgspec.structs.replace(MOVED[0].counts, wrong=(80,))
    corrected = evidence([*QUIET, msgspec.structs.replace(MOVED[0], counts=right)], "w110")
    assert corrected.columns == evidence(alone, "w110").columns and corrected.loss == ()


def test_the_loss_is_asked_of_settled_windows_and_awaited_labels_count_as_right():
    unsettled = [*QUIET, window(110, settled=False, risk=0.5)]
    assert evidence(unsettled, "w110").loss == ()
    first_errors = msgspec.structs.replace(MOVED[0].counts, labelled=160, wrong=(80,))
    early = CountedWindow(name="w110", place=110, counts=first_errors, settled=True)
    assert evidence([*QUIET, early], "w110").loss
    assert not evidence([*QUIET, msgspec.structs.replace(early, awaited=240)], "w110").loss


def test_a_gap_leaves_its_blocks_waiting():
    windows = [*QUIET, *MOVED]
    with_gap = [each for each in windows if each.place != 113]
    blocks = {each.windows for each in evidence(with_gap, "w114").columns}
    assert 2 in {each.windows for each in evidence(with_gap, "w115").columns}
    assert 8 not in blocks and 4 in {each.windows for each in evidence(windows, "w115").columns}


def test_too_few_baseline_windows_are_uncalibrated_and_say_so():
    found = evidence([*QUIET, *MOVED], "w119")
    assert not found.columns_calibration.calibrated and "28 are needed" in found.columns_calibration.reason
    assert not any(each.calibrated for each in found.columns)
    reference = [window(place) for place in range(60, 90)]
    found = evidence([*QUIET, *MOVED], "w119", reference=reference)
    calibration = found.columns_calibration
    assert (calibration.windows, calibration.calibrated) == (30, True)
    assert calibration.order_p > 0.05 and calibration.kurtosis <= calibration.kurtosis_limit
    assert found.columns and all(each.calibrated for each in found.columns)
    assert found.columns[0].level == pytest.approx(0.8 * evidence([*QUIET, *MOVED], "w119").columns[0].level)
    ordered = [window(place, mean=(place - 75) / 20) for place in range(60, 90)]
    found = evidence([*QUIET, *MOVED], "w119", reference=ordered)
    assert not found.columns_calibration.calibrated and "alike" in found.columns_calibration.reason


def test_a_season_needs_every_phase():
    reference = [window(place) for place in range(56, 98, 2)] + [window(place) for place in range(0, 28, 2)]
    found = evidence(QUIET, "w109", reference=reference, season=4)
    assert "every phase" in found.columns_calibration.reason
    # An even length of season whose phases all occur.
    found = evidence(QUIET, "w109", reference=[window(place) for place in range(60, 96)], season=4)
    assert found.columns_calibration.order_p is not None


def test_what_cannot_be_judged_is_an_error():
    other = msgspec.structs.replace(COUNTS, baseline="b2")
    with pytest.raises(ValueError, match="one baseline"):
        evidence_of(QUESTIONS, other, QUIET, "w109", 100)
    with pytest.raises(ValueError, match="each place"):
        evidence([*QUIET, QUIET[0]], "w109")
    with pytest.raises(ValueError, match="latest 64"):
        evidence([*QUIET, window(500)], "w100")


def test_the_promise_counts_windows():
    assert Promise().looks(timedelta(hours=1)) == 8760
    assert Promise(within=timedelta(days=1)).looks(timedelta(days=7)) == 1
