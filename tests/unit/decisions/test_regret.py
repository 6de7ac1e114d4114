"""The regret rule, its guards, and the sums behind champion against challenger; against values worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.decisions.challenger import PairedLoss, SignTest, sign_test, worse_than_former
from chalicelib.decisions.decide import Action, Situation, Verdict, decide
from chalicelib.decisions.policy import Policy, check_policy, quiet_period
from chalicelib.decisions.retrain import Regret, Start, SurrogateLosses, regret, why_stopped
from chalicelib.errors import MisconfiguredError

HISTORY = (
    SurrogateLosses("1", 0.5, {"1": 0.5}),
    SurrogateLosses("2", 0.5, {"1": 0.25, "2": 0.25}),
    SurrogateLosses("3", 0.5, {"1": 0.75, "2": 0.25, "3": 0.0}),
)

POLICY = Policy()


def verdict(policy: Policy = POLICY, **changes: Any) -> Verdict:
    usual: dict[str, Any] = {
        "window": "3", "rows": 1000, "labelled": 900, "coverage": 0.9, "settled": True, "champion": "champion",
        "surrogates": HISTORY,
    }  # fmt: skip
    return decide(Situation(**{**usual, **changes}), policy)


def test_regret_is_the_largest_sum_of_what_a_fresh_model_would_have_lost_less():
    # From 1 on: 0 + 0.25 - 0.25; from 2 on: 0.25 + 0.25; from 3 on: 0.5.
    assert regret(HISTORY) == Regret(0.5, "2", 3)


def test_only_windows_and_models_since_the_last_start_count():
    assert regret(HISTORY, "3") == Regret(0.5, "3", 1)
    assert regret(HISTORY, "4") == Regret(0.0, "", 0)


@given(st.permutations(HISTORY))
def test_the_order_of_windows_is_no_matter(history: list[SurrogateLosses]):
    assert regret(history) == Regret(0.5, "2", 3)


def test_a_better_old_model_is_no_regret():
    assert regret([SurrogateLosses("1", 0.25, {"1": 0.5})]) == Regret(0.0, "1", 1)


@pytest.mark.parametrize("cost, action", [(0.5, Action.RETRAIN), (0.51, Action.HOLD)])
def test_it_retrains_when_the_regret_reaches_the_cost(cost: float, action: Action):
    found = verdict(Policy(cost=cost))
    assert (found.action, found.regret, found.fresh_since) == (action, 0.5, "2")
    assert "regret 0.5000" in found.reasons[0]


def test_without_surrogates_it_says_so():
    found = verdict(surrogates=())
    assert found.action is Action.HOLD
    assert found.reasons == ("no fresh model to compare with yet: 0 settled windows since the last start",)


@pytest.mark.parametrize(
    "policy, changes, reason, action",
    [
        (Policy(suggest_only=True), {}, "the policy says suggest only", Action.ALERT),
        (Policy(retrains_per_month=2), {"starts_this_month": 2}, "2 of 2 retrainings of this month", Action.ALERT),
        (Policy(), {"quiet": "a/b"}, "quiet period a/b", Action.HOLD),
        (Policy(), {"stopped": "stopped, for this reason"}, "stopped, for this reason", Action.ALERT),
        (Policy(), {"windows_since_start": 1}, "cooling down, 1 of 2 windows", Action.HOLD),
    ],
)
def test_a_guard_says_why_nothing_starts_and_alerts_where_a_person_must_act(
    policy: Policy, changes: dict[str, Any], reason: str, action: Action
):
    found = verdict(policy, **changes)
    assert found.action is action and any(reason in each for each in found.reasons)


def test_below_the_budget_it_starts():
    assert verdict(Policy(retrains_per_month=2), starts_this_month=1).action is Action.RETRAIN


# The stop -------------------------------------------------------------------------------------------------------------

REFUSED, FAILED = Start("REFUSED", "v"), Start("FAILED", "v")
LASTED, EARLY = Start("PROMOTED", "v", 9), Start("PROMOTED", "v", 8)


@pytest.mark.parametrize(
    "starts, since, stopped",
    [
        ([REFUSED, REFUSED], 7, True),
        ([REFUSED, REFUSED], 8, False),  # it tries again
        ([EARLY, REFUSED], 2, True),
        ([LASTED, REFUSED], 2, False),
        ([REFUSED, LASTED, REFUSED], 2, False),
        ([FAILED, REFUSED], 2, True),
        ([FAILED, FAILED, FAILED], 15, True),  # the waits grow
        ([FAILED, FAILED, FAILED], 16, False),
        ([FAILED] * 20, 63, True),
        ([FAILED] * 20, 64, False),  # and end
        ([FAILED, LASTED, FAILED, FAILED], 2, False),
        ([REFUSED], 2, False),
        ([REFUSED, Start("REFUSED", "older")], 2, False),  # a person has changed the definition since
        ([], 2, False),
    ],
)
def test_two_futile_starts_in_a_row_stop_the_loop(starts: list[Start], since: int, stopped: bool):
    assert bool(why_stopped(starts, "v", since)) is stopped


def test_the_stop_says_what_came_of_the_starts():
    assert "(newest first: rolled back after 8 windows, refused)" in why_stopped([EARLY, REFUSED], "v", 2)


# Quiet periods --------------------------------------------------------------------------------------------------------

PERIOD = "2026-11-20T00:00:00Z/2026-12-01T00:00:00+00:00"


@pytest.mark.parametrize("day, found", [(19, ""), (20, PERIOD), (30, PERIOD)])
def test_a_quiet_period_holds_from_its_start_to_before_its_end(day: int, found: str):
    assert quiet_period([PERIOD], datetime(2026, 11, day, tzinfo=UTC)) == found
    assert quiet_period([PERIOD], datetime(2026, 12, 1, tzinfo=UTC)) == ""


@pytest.mark.parametrize(
    "text", ["", "2026-11-20", "2026-12-01T00:00:00Z/2026-11-20T00:00:00Z", "2026-11-20/2026-12-01"]
)
def test_what_is_no_period_is_named(text: str):
    with pytest.raises(MisconfiguredError, match=r"policy\.quiet: got .*; expected start/end"):
        check_policy(Policy(quiet=(text,)))


def test_a_budget_of_none_is_named():
    with pytest.raises(MisconfiguredError, match=r"policy\.retrains_per_month"):
        check_policy(Policy(retrains_per_month=0))


# Champion against challenger ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "better, worse, p",
    # scipy.stats.binomtest(better, better + worse).pvalue, scipy 1.17
    [(0, 0, 1.0), (3, 3, 1.0), (5, 0, 0.0625), (12, 3, 0.03515625), (40, 20, 0.01348929373119186)],
)
def test_sign_test(better: int, worse: int, p: float):
    champion = np.array([1.0] * better + [0.0] * worse + [1.0, np.nan])
    challenger = np.array([0.0] * better + [1.0] * worse + [1.0, 0.0])
    found = sign_test(challenger, champion)
    assert found == SignTest(better, worse, pytest.approx(p, rel=1e-10))


def test_a_promoted_model_that_is_clearly_worse_on_four_windows_is_rolled_back():
    promoted = [PairedLoss(age, 0.4, 0.4) for age in range(4)]
    former = [PairedLoss(age, 0.2, 0.2, upper=0.39) for age in range(4)]
    assert worse_than_former(promoted, former)
    assert not worse_than_former(promoted[:3], former)
    assert not worse_than_former(promoted, [*former[:3], PairedLoss(3, 0.2, 0.2, upper=0.4)])
    assert not worse_than_former(promoted, [PairedLoss(age, 0.2, 0.2) for age in range(4)])
    # Not better than served by the decayed comparison, but the interval decides.
    losses = {"champion": promoted, "former": former}
    found = verdict(surrogates=(), candidate_losses=losses, former="former")
    assert (found.action, found.serve) == (Action.ROLL_BACK, "former")
    assert "upper end of former's 95 % interval" in found.reasons[0]
    assert verdict(surrogates=(), candidate_losses=losses).serve == ""
