"""Every answer of a decision, every reason why not, and what may never decide alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.decisions.challenger import PairedLoss
from chalicelib.decisions.decide import Action, Situation, Verdict, decide
from chalicelib.decisions.policy import Policy
from chalicelib.evidence.assessment import Assessment

POLICY = Policy(rule="excess", cool_down_windows=4)
WINDOW = "2026-01-02T03:00:00Z"

# Reference 0.2; then three windows 0.2 worse: excess 0.6, twice the cost of a retrain is 0.4.
BAD = (0.2, 0.2, 0.2, 0.2, 0.4, 0.4, 0.4)
GOOD = (0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2)
# Shrunk by two windows of nothing: 1 * -0.3 / (1 + 2) = -0.1.
BETTER = {"champion": [PairedLoss(0, 0.4, 0.4)], "past": [PairedLoss(0, 0.1, 0.4)]}
WORSE = Assessment(level="worse", headline="Worse than the baseline.", calibrated=True)
DRIFT = Assessment(level="drift", headline="Drift: `a` moved.", calibrated=True)


def situation(**changes: Any) -> Situation:
    usual: dict[str, Any] = {
        "window": WINDOW,
        "rows": 1000,
        "labelled": 900,
        "coverage": 0.9,
        "settled": True,
        "champion": "champion",
        "losses_since_start": GOOD,
    }
    return Situation(**{**usual, **changes})


def verdict(**changes: Any) -> Verdict:
    return decide(situation(**changes), POLICY)


def said(found: Verdict, text: str) -> bool:
    return any(text in reason for reason in found.reasons)


# What is decided ------------------------------------------------------------------------------------------------------


def test_nothing_to_do_says_how_far_it_is():
    found = verdict()
    assert found == Verdict(
        action=Action.HOLD,
        reasons=("excess loss 0.0000 is below twice the cost of a retrain (0.4)",),
        reference=pytest.approx(0.2),
    )


def test_a_reference_is_learned_first():
    found = verdict(losses_since_start=(0.9, 0.9, 0.9))
    assert (found.action, found.reference, found.excess) == (Action.HOLD, None, 0.0)
    assert found.reasons == ("the reference is being learned: 3 of 4 settled windows",)


def test_excess_loss_retrains_and_says_the_numbers():
    found = verdict(losses_since_start=BAD)
    assert found.action is Action.RETRAIN
    assert (found.excess, found.reference) == (pytest.approx(0.6), pytest.approx(0.2))
    [reason] = found.reasons
    for part in ("excess loss 0.6000", "twice the cost of a retrain (0.4", "reference 0.2000", "7 settled windows"):
        assert part in reason


@pytest.mark.parametrize("last, action", [(0.5999, Action.HOLD), (0.6, Action.RETRAIN)])
def test_the_threshold_is_twice_the_cost(last: float, action: Action):
    # 0.25 is exact in binary: reference 0.25, one window at `last` more, cost 0.175.
    losses = (0.25, 0.25, 0.25, 0.25, last)
    assert decide(situation(losses_since_start=losses), Policy(rule="excess", cost=0.175)).action is action


def test_a_trigger_retrains_without_any_excess():
    found = verdict(triggers=("accuracy-low",))
    assert found.action is Action.RETRAIN
    assert found.reasons == ("alarm accuracy-low is declared a trigger and is in ALARM",)


def test_a_trigger_retrains_while_the_reference_is_learned():
    assert verdict(triggers=("accuracy-low",), losses_since_start=(0.5,)).action is Action.RETRAIN


def test_a_better_past_champion_is_rolled_back_to():
    found = verdict(candidate_losses=BETTER)
    assert (found.action, found.serve) == (Action.ROLL_BACK, "past")
    assert found.differences == {"champion": 0.0, "past": pytest.approx(-0.1)}
    assert said(found, "past has the best decayed paired loss (-0.1000 against served, the champion +0.0000)")


def test_a_better_past_champion_serves_while_the_retraining_runs():
    found = verdict(candidate_losses=BETTER, losses_since_start=BAD)
    assert (found.action, found.serve) == (Action.RETRAIN, "past")
    assert said(found, "excess loss") and said(found, "past has the best decayed paired loss")


def test_when_a_retraining_is_not_possible_the_roll_back_is():
    found = verdict(candidate_losses=BETTER, losses_since_start=BAD, can_retrain=False)
    assert (found.action, found.serve) == (Action.ROLL_BACK, "past")
    assert said(found, "excess loss") and said(found, "no retraining pipeline")


def test_a_policy_without_roll_back_does_none():
    found = decide(situation(candidate_losses=BETTER), Policy(rule="excess", roll_back=False))
    assert (found.action, found.serve) == (Action.HOLD, "")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"violations": {"DataQuality": 3}, "violations_wake": True}, "3 DataQuality violations"),
        ({"found": WORSE}, WORSE.headline),
        ({"evidence_alarms": ("latency",)}, "alarm latency is in ALARM"),
    ],
)
def test_what_is_only_reported_alerts(changes: dict[str, Any], reason: str):
    found = verdict(**changes)
    assert (found.action, found.serve) == (Action.ALERT, "")
    assert reason in found.reasons and said(found, "excess loss 0.0000 is below")
    assert not said(found, "ModelQuality")


def test_what_is_reported_stands_beside_what_is_done():
    found = verdict(violations={"DataQuality": 3}, losses_since_start=BAD)
    assert found.action is Action.RETRAIN and "3 DataQuality violations" in found.reasons


# What holds it back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, action, reason",
    [
        (
            {"newer_window": "2026-01-02T05:00:00Z"},
            Action.HOLD,
            "restated: the newer settled window 2026-01-02T05:00:00Z decides",
        ),
        ({"vetoes": ("deploying",)}, Action.HOLD, "alarm deploying is declared a veto and is in ALARM"),
        ({"broken": ("period: 40% null",)}, Action.ALERT, "broken data is not learned from: no retrain"),
        (
            {"settled": False, "labelled": 120, "coverage": 0.12},
            Action.HOLD,
            "not settled: 120 of 1000 rows labelled (12%); needed 200 rows and 60%",
        ),
    ],
)
def test_guards_stop_everything(changes: dict[str, Any], action: Action, reason: str):
    found = verdict(losses_since_start=BAD, candidate_losses=BETTER, triggers=("accuracy-low",), **changes)
    assert (found.action, found.serve, found.excess, found.differences) == (action, "", 0.0, {})
    assert found.reasons[-1] == reason


def test_a_held_back_window_still_alerts():
    found = verdict(vetoes=("deploying",), found=WORSE, violations={"ModelQuality": 2})
    assert found.action is Action.ALERT
    held = "alarm deploying is declared a veto and is in ALARM"
    assert found.reasons == (WORSE.headline, held, "2 ModelQuality violations")


@pytest.mark.parametrize("found", [DRIFT, msgspec.structs.replace(WORSE, calibrated=False, why_uncalibrated="few")])
def test_evidence_that_keeps_no_promise_and_plain_thresholds_alert_nobody(found: Assessment):
    made = verdict(found=found, violations={"DataQuality": 3})
    assert made.action is Action.HOLD
    assert made.reasons[-1] == "3 DataQuality violations" and made.reasons[-2].startswith(found.headline)
    assert ("uncalibrated: few" in made.reasons[-2]) is not found.calibrated


def test_broken_data_says_what_broke():
    assert said(verdict(broken=("period: 40% null",)), "broken data: period: 40% null")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"can_retrain": False}, "no retraining pipeline or its policy says alert only"),
        ({"retrain_in_flight": "the retraining abc is STARTED"}, "no retrain: the retraining abc is STARTED"),
        ({"windows_since_start": 3}, "cooling down, 3 of 4 windows since the last start"),
        ({"windows_since_start": 0}, "cooling down, 0 of 4 windows since the last start"),
    ],
)
def test_a_cause_that_time_will_answer_holds_and_one_that_an_alarm_asked_for_alerts(
    changes: dict[str, Any], reason: str
):
    assert verdict(losses_since_start=BAD, triggers=("accuracy-low",), **changes).action is Action.ALERT
    found = verdict(losses_since_start=BAD, **changes)
    assert found.action is Action.HOLD
    assert said(found, "excess loss 0.6000") and said(found, reason)


def test_after_the_cool_down_it_goes_on():
    assert verdict(losses_since_start=BAD, windows_since_start=4).action is Action.RETRAIN


def test_in_flight_is_said_instead_of_cooling_down():
    found = verdict(losses_since_start=BAD, retrain_in_flight="the retraining abc is STARTED", windows_since_start=1)
    assert not said(found, "cooling down")


def test_a_promotion_in_flight_holds_the_roll_back_and_not_the_retraining():
    flight = "the promote of m/3 is DEPLOYING"
    found = verdict(candidate_losses=BETTER, promotion_in_flight=flight)
    assert (found.action, found.serve) == (Action.HOLD, "") and said(found, f"but {flight}")
    found = verdict(candidate_losses=BETTER, promotion_in_flight=flight, losses_since_start=BAD)
    assert (found.action, found.serve) == (Action.RETRAIN, "")


# What holds always ----------------------------------------------------------------------------------------------------

names = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2, unique=True)
losses = st.lists(st.floats(0, 1), max_size=12)
paired = st.lists(st.builds(PairedLoss, st.integers(0, 60), st.floats(0, 1), st.floats(0, 1)), max_size=4)
situations = st.builds(
    situation,
    settled=st.booleans(),
    losses_since_start=losses,
    candidate_losses=st.dictionaries(st.sampled_from(["champion", "p1", "p2"]), paired),
    can_retrain=st.booleans(),
    retrain_in_flight=st.sampled_from(["", "the retraining is STARTED"]),
    promotion_in_flight=st.sampled_from(["", "the promotion is APPLYING"]),
    windows_since_start=st.none() | st.integers(-3, 9),
    broken=st.lists(st.just("period: nulls"), max_size=1),
    violations=st.dictionaries(st.sampled_from(["DataQuality", "ModelQuality"]), st.integers(0, 9)),
    triggers=names,
    vetoes=names,
    evidence_alarms=names,
    newer_window=st.sampled_from(["", "2026-01-09T00:00:00Z"]),
)


@given(situations, st.dictionaries(st.sampled_from(["DataQuality", "ModelQuality"]), st.integers(1, 99), min_size=1))
def test_plain_violations_change_no_act(found: Situation, violations: dict[str, int]):
    """SageMaker's thresholds alert where the definition says so. What is retrained or served is the same with and
    without them."""
    fields = {name: getattr(found, name) for name in Situation.__struct_fields__}
    without = decide(Situation(**{**fields, "violations": {}}), POLICY)
    acts = (Action.RETRAIN, Action.ROLL_BACK)
    for wake in (False, True):
        beside = decide(Situation(**{**fields, "violations": violations, "violations_wake": wake}), POLICY)
        assert beside.serve == without.serve
        if without.action in acts or not wake:
            assert beside.action is without.action
        else:
            assert beside.action is Action.ALERT


@given(situations)
def test_no_act_against_a_guard(found: Situation):
    made = decide(found, POLICY)
    assert made.reasons and all(made.reasons)
    if found.newer_window or found.vetoes or found.broken or not found.settled:
        assert made.action in (Action.HOLD, Action.ALERT) and not made.serve
    cooling = found.windows_since_start is not None and found.windows_since_start < POLICY.cool_down_windows
    if not found.can_retrain or found.retrain_in_flight or cooling:
        assert made.action is not Action.RETRAIN
    if found.promotion_in_flight:
        assert not made.serve
    if made.action is Action.ROLL_BACK:
        assert made.serve
    assert made.serve != found.champion
    assert made.action is not Action.RETRAIN or found.triggers or made.excess >= 2 * POLICY.cost


@given(situations)
def test_the_same_situation_gives_the_same_verdict(found: Situation):
    assert decide(found, POLICY) == decide(found, POLICY)
