"""The decision: evidence + policy + history -> HOLD, ALERT, ROLL BACK or RETRAIN, with reasons. One pure function.

The order of the questions is the order in which a person on call would ask them: is somebody holding us back, is
the data whole, do we know enough, is something under way, and only then: does it pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from chalicelib.decisions.challenger import WORSE_WINDOWS, PairedLoss, best_candidate, worse_than_former
from chalicelib.decisions.policy import Policy
from chalicelib.decisions.retrain import SurrogateLosses, excess_loss, regret
from chalicelib.evidence.assessment import UNKNOWN, Assessment


class Action(StrEnum):
    HOLD = "HOLD"
    ALERT = "ALERT"
    ROLL_BACK = "ROLL_BACK"
    RETRAIN = "RETRAIN"


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision may depend on, gathered.

    losses_since_start   served losses of settled windows since the last start, oldest first, this one last (excess)
    surrogates           what the surrogates lost on settled windows, in any order (regret)
    since                windows from this name on began after the last start; "" when there was none
    candidate_losses     per candidate (the champion too): paired losses on windows it was not trained on
    retrain_in_flight    what is under way, in words; "" when nothing is
    windows_since_start  windows between the evidence of the last start and this one; None when there was none
    starts_this_month    starts in the calendar month of now
    quiet                the declared quiet period that holds now, "" when none does
    stopped              why the loop has stopped, in words; "" while it may start retrainings
    former               the champion that a promotion replaced; "" when the champion was not promoted
    unit_missing         why losses cannot be weighed against the cost, "" when they can
    broken               reasons why the data itself is broken (schema, nulls); a retraining would learn the break
    found                what the evidence about the window comes to
    violations           SageMaker threshold violations, by monitor type
    violations_wake      whether the definition says that they alert, without evidence
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
    surrogates: Sequence[SurrogateLosses] = ()
    since: str = ""
    candidate_losses: Mapping[str, Sequence[PairedLoss]] = {}
    can_retrain: bool = True
    retrain_in_flight: str = ""
    promotion_in_flight: str = ""
    windows_since_start: int | None = None
    starts_this_month: int = 0
    quiet: str = ""
    stopped: str = ""
    former: str = ""
    unit_missing: str = ""
    broken: Sequence[str] = ()
    found: Assessment = UNKNOWN
    violations: Mapping[str, int] = {}
    violations_wake: bool = False
    triggers: Sequence[str] = ()
    vetoes: Sequence[str] = ()
    evidence_alarms: Sequence[str] = ()
    paused: str = ""
    newer_window: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to do and why. `serve` names the past champion to bring back ("" = leave the champion).

    `regret` and `fresh_since` (the window from which a fresh model would have been better) belong to the rule regret,
    `excess` and `reference` to the rule excess.
    """

    action: Action
    reasons: tuple[str, ...]
    serve: str = ""
    regret: float = 0.0
    fresh_since: str = ""
    excess: float = 0.0
    reference: float | None = None
    differences: dict[str, float] = {}


class _Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a retraining pays by the policy's rule, in words, and the numbers of the rule."""

    pays: bool
    words: str
    regret: float = 0.0
    fresh_since: str = ""
    excess: float = 0.0
    reference: float | None = None


def decide(situation: Situation, policy: Policy) -> Verdict:
    """Decide one window. Deterministic; the reasons say every number that mattered."""
    alerts, notes = _alert_reasons(situation), _notes(situation)
    held = _held_back(situation, policy)
    if held:
        action = Action.ALERT if alerts else Action.HOLD
        return Verdict(action=action, reasons=(*alerts, *held, *notes))

    weighed = _weigh(situation, policy)
    best, differences = best_candidate(situation.candidate_losses, situation.champion, policy)
    serve, serve_reasons = _roll_back(situation, policy, best, differences)
    causes = [f"alarm {name} is declared a trigger and is in ALARM" for name in situation.triggers]
    if weighed.pays:
        causes.append(weighed.words)
    if causes:
        obstacles = _retrain_obstacles(situation, policy)
        if not obstacles:
            action, reasons = Action.RETRAIN, (*causes, *serve_reasons, *alerts, *notes)
        else:
            needed = situation.triggers or _needs_a_person(situation, policy)
            action = Action.ROLL_BACK if serve else Action.ALERT if alerts or needed else Action.HOLD
            reasons = (*causes, *obstacles, *serve_reasons, *alerts, *notes)
    else:
        action = Action.ROLL_BACK if serve else Action.ALERT if alerts else Action.HOLD
        reasons = (*serve_reasons, *alerts, weighed.words, *notes)
    return Verdict(
        action=action,
        reasons=reasons,
        serve=serve,
        regret=weighed.regret,
        fresh_since=weighed.fresh_since,
        excess=weighed.excess,
        reference=weighed.reference,
        differences=differences,
    )


def _weigh(situation: Situation, policy: Policy) -> _Weighed:
    return _weigh_regret(situation, policy) if policy.rule == "regret" else _weigh_excess(situation, policy)


def _weigh_regret(situation: Situation, policy: Policy) -> _Weighed:
    found = regret(situation.surrogates, situation.since)
    pays = found.reaches(policy)
    if not found.since:
        words = f"no fresh model to compare with yet: {found.windows} settled windows since the last start"
    elif pays:
        words = (
            f"regret {found.regret:.4f} reached the cost of a retrain ({policy.cost:g} window-losses): a model trained "
            f"on the windows before {found.since} would have lost so much less from then on"
        )
    else:
        words = f"regret {found.regret:.4f} is below the cost of a retrain ({policy.cost:g})"
    return _Weighed(pays=pays, words=words, regret=found.regret, fresh_since=found.since)


def _weigh_excess(situation: Situation, policy: Policy) -> _Weighed:
    found = excess_loss(situation.losses_since_start, policy)
    pays = found.reaches(policy)
    if found.reference is None:
        words = f"the reference is being learned: {found.windows} of {policy.reference_windows} settled windows"
    elif pays:
        words = (
            f"excess loss {found.excess:.4f} since the last start reached twice the cost of a retrain "
            f"({2 * policy.cost:g} window-losses); reference {found.reference:.4f}, {found.windows} settled windows"
        )
    else:
        words = f"excess loss {found.excess:.4f} is below twice the cost of a retrain ({2 * policy.cost:g})"
    return _Weighed(pays=pays, words=words, excess=found.excess, reference=found.reference)


def _alert_reasons(situation: Situation) -> list[str]:
    """What is worth waking somebody: broken data, answers that are worse beyond chance, a declared alarm."""
    reasons = [f"broken data: {reason}" for reason in situation.broken]
    if situation.found.wakes:
        reasons.append(situation.found.headline)
    if situation.violations_wake:
        reasons += _violations(situation)
    return reasons + [f"alarm {name} is in ALARM" for name in situation.evidence_alarms]


def _notes(situation: Situation) -> list[str]:
    """What is worth knowing and alerts nobody: evidence that keeps no promise, plain thresholds."""
    found = situation.found
    notes = []
    if found.level not in ("fine", "unknown") and not found.wakes:
        doubt = f" (uncalibrated: {found.why_uncalibrated})" if found.real and not found.calibrated else ""
        notes.append(f"{found.headline}{doubt}")
    return notes + ([] if situation.violations_wake else _violations(situation))


def _violations(situation: Situation) -> list[str]:
    """SageMaker's plain thresholds: alone they trigger nothing."""
    return [f"{count} {kind} violations" for kind, count in sorted(situation.violations.items()) if count]


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
    if situation.unit_missing:
        return [f"{situation.unit_missing}: nothing is retrained or rolled back"]
    return []


def _roll_back(
    situation: Situation, policy: Policy, best: str, differences: Mapping[str, float]
) -> tuple[str, tuple[str, ...]]:
    if not policy.roll_back:
        return "", ()
    losses = situation.candidate_losses
    if best != situation.champion:
        text = f"{best} has the best decayed paired loss ({differences[best]:+.4f} against served"
        text += f", the champion {differences.get(situation.champion, 0.0):+.4f})"
    elif worse_than_former(losses.get(situation.champion, ()), losses.get(situation.former, ())):
        best = situation.former
        text = f"the promoted {situation.champion} lost more than the upper end of {best}'s 95 % interval"
        text += f" on each of the last {WORSE_WINDOWS} settled windows"
    else:
        return "", ()
    if situation.promotion_in_flight:
        return "", (f"{text}, but {situation.promotion_in_flight}",)
    return best, (text,)


def _needs_a_person(situation: Situation, policy: Policy) -> bool:
    """Whether a retraining that pays waits for somebody, and not for time."""
    spent = policy.retrains_per_month is not None and situation.starts_this_month >= policy.retrains_per_month
    return situation.can_retrain and bool(situation.stopped or spent or policy.suggest_only)


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
    if situation.stopped:
        obstacles.append(f"no retrain: {situation.stopped}")
    if policy.retrains_per_month is not None and situation.starts_this_month >= policy.retrains_per_month:
        used = f"{situation.starts_this_month} of {policy.retrains_per_month}"
        obstacles.append(f"no retrain: {used} retrainings of this month are used")
    if situation.quiet:
        obstacles.append(f"no retrain: quiet period {situation.quiet}")
    if policy.suggest_only:
        obstacles.append("no retrain: the policy says suggest only, so a person starts it")
    return obstacles
