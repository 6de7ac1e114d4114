"""The decision: evidence + policy + history -> HOLD, ALERT, ROLL BACK or RETRAIN, with reasons. One pure function.

The order of the questions is the order in which a person on call would ask them: is somebody holding us back, is
the data whole, do we know enough, is something under way, and only then: does it pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from chalicelib.decisions.challenger import PairedLoss, best_candidate
from chalicelib.decisions.policy import Policy
from chalicelib.decisions.retrain import excess_loss


class Action(StrEnum):
    HOLD = "HOLD"
    ALERT = "ALERT"
    ROLL_BACK = "ROLL_BACK"
    RETRAIN = "RETRAIN"


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision may depend on, gathered.

    losses_since_start   served losses of settled windows since the last start, oldest first, this one last
    candidate_losses     per candidate (the champion too): paired losses on windows it was not trained on
    retrain_in_flight    what is under way, in words; "" when nothing is
    windows_since_start  windows between the evidence of the last start and this one; None when there was none
    broken               reasons why the data itself is broken (schema, nulls); a retraining would learn the break
    violations           SageMaker threshold violations, by monitor type
    triggers, vetoes     alarms in ALARM with that role
    paused               since when and until when a person holds everything back, in words; "" when nobody does
    newer_window         the newest settled window when it is not this one, else ""
    """

    window: str
    rows: int
    labelled: int
    coverage: float
    settled: bool
    champion: str
    losses_since_start: Sequence[float] = ()
    candidate_losses: Mapping[str, Sequence[PairedLoss]] = {}
    can_retrain: bool = True
    retrain_in_flight: str = ""
    promotion_in_flight: str = ""
    windows_since_start: int | None = None
    broken: Sequence[str] = ()
    violations: Mapping[str, int] = {}
    triggers: Sequence[str] = ()
    vetoes: Sequence[str] = ()
    evidence_alarms: Sequence[str] = ()
    paused: str = ""
    newer_window: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to do and why. `serve` names the past champion to bring back ("" = leave the champion)."""

    action: Action
    reasons: tuple[str, ...]
    serve: str = ""
    excess: float = 0.0
    reference: float | None = None
    differences: dict[str, float] = {}


def decide(situation: Situation, policy: Policy) -> Verdict:
    """Decide one window. Deterministic; the reasons say every number that mattered."""
    alerts = _alert_reasons(situation)
    held = _held_back(situation, policy)
    if held:
        action = Action.ALERT if alerts else Action.HOLD
        return Verdict(action=action, reasons=(*alerts, *held))

    excess = excess_loss(situation.losses_since_start, policy)
    best, differences = best_candidate(situation.candidate_losses, situation.champion, policy)
    serve, serve_reasons = _roll_back(situation, policy, best, differences)
    causes = [f"alarm {name} is declared a trigger and is in ALARM" for name in situation.triggers]
    if excess.reaches(policy):
        causes.append(
            f"excess loss {excess.excess:.4f} since the last start reached twice the cost of a retrain "
            f"({2 * policy.cost:g} window-errors); reference {excess.reference:.4f}, {excess.windows} settled windows"
        )
    if causes:
        obstacles = _retrain_obstacles(situation, policy)
        if not obstacles:
            action, reasons = Action.RETRAIN, (*causes, *serve_reasons, *alerts)
        else:
            action = Action.ROLL_BACK if serve else Action.ALERT
            reasons = (*causes, *obstacles, *serve_reasons, *alerts)
    else:
        if excess.reference is None:
            quiet = f"the reference is being learned: {excess.windows} of {policy.reference_windows} settled windows"
        else:
            quiet = f"excess loss {excess.excess:.4f} is below twice the cost of a retrain ({2 * policy.cost:g})"
        action = Action.ROLL_BACK if serve else Action.ALERT if alerts else Action.HOLD
        reasons = (*serve_reasons, *alerts, quiet)
    return Verdict(
        action=action,
        reasons=reasons,
        serve=serve,
        excess=excess.excess,
        reference=excess.reference,
        differences=differences,
    )


def _alert_reasons(situation: Situation) -> list[str]:
    """SageMaker's plain thresholds are reported and alert; alone they trigger nothing more."""
    reasons = [f"broken data: {reason}" for reason in situation.broken]
    reasons += [f"{count} {kind} violations" for kind, count in sorted(situation.violations.items()) if count]
    return reasons + [f"alarm {name} is in ALARM" for name in situation.evidence_alarms]


def _held_back(situation: Situation, policy: Policy) -> list[str]:
    """Reasons why nothing is retrained or rolled back on this window, whatever its losses."""
    if situation.newer_window:
        return [f"restated: the newer settled window {situation.newer_window} decides"]
    if situation.paused:
        return [f"{situation.paused}: nothing is retrained or rolled back"]
    if situation.vetoes:
        return [f"alarm {name} is declared a veto and is in ALARM" for name in situation.vetoes]
    if situation.broken:
        return ["broken data is not learned from: no retrain"]
    if not situation.settled:
        return [
            f"not settled: {situation.labelled} of {situation.rows} rows labelled ({situation.coverage:.0%}); "
            f"needed {policy.min_labelled_rows} rows and {policy.min_label_coverage:.0%}"
        ]
    return []


def _roll_back(
    situation: Situation, policy: Policy, best: str, differences: Mapping[str, float]
) -> tuple[str, tuple[str, ...]]:
    if best == situation.champion or not policy.roll_back:
        return "", ()
    text = f"{best} has the best decayed paired loss ({differences[best]:+.4f} against served"
    text += f", the champion {differences.get(situation.champion, 0.0):+.4f})"
    if situation.promotion_in_flight:
        return "", (f"{text}, but {situation.promotion_in_flight}",)
    return best, (text,)


def _retrain_obstacles(situation: Situation, policy: Policy) -> list[str]:
    obstacles = []
    if not situation.can_retrain:
        obstacles.append("no retrain: this monitor has no retraining pipeline or its policy says alert only")
    if situation.retrain_in_flight:
        obstacles.append(f"no retrain: {situation.retrain_in_flight}")
    elif situation.windows_since_start is not None and situation.windows_since_start < policy.cool_down_windows:
        obstacles.append(
            f"no retrain: cooling down, {situation.windows_since_start} of {policy.cool_down_windows} windows "
            "since the last start"
        )
    return obstacles
