"""What a retraining decision looks back on: the last starts, what was served since, and the losses of both.

Read from the facts for `window_decision`. Not here: when a retraining pays (decisions/retrain.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import dropwhile

from chalicelib.decisions.challenger import PairedLoss
from chalicelib.decisions.retrain import Start, SurrogateLosses, why_stopped
from chalicelib.definition import Definition, version_of
from chalicelib.facts import claims, evaluations
from chalicelib.facts.champions import Champion
from chalicelib.facts.evaluations import Evaluation
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.retrain_request import ordinal
from chalicelib.workflows.surrogates import history

# Older windows weigh less than 0.5 ** 16 in a decayed loss: nothing that could tip a decision.
HALF_LIVES_LOOKED_BACK = 16


def candidate_losses(
    services: Services, definition: Definition, window: Window, champion: Champion | None, unit: float
) -> Mapping[str, Sequence[PairedLoss]]:
    """Per candidate that could serve: its losses up to this window and those of what was served, in multiples of
    `unit`."""
    if champion is None:
        return {}
    back = definition.policy.half_life_windows * HALF_LIVES_LOOKED_BACK
    since = Window.of(window.start - definition.window_length * back, definition.window_length)
    paired: dict[str, list[PairedLoss]] = {each.name: [] for each in (champion.candidate, *champion.pool)}
    for loss in evaluations.losses(services.ledger, definition.name, since.name):
        if loss.candidate in paired and loss.window <= window.name:
            age = ordinal(window) - ordinal(Window.parse(loss.window, definition.window_length))
            upper = None if loss.upper is None else loss.upper / unit
            paired[loss.candidate].append(PairedLoss(age, loss.loss / unit, loss.served_loss / unit, upper))
    return paired


def since_start(
    definition: Definition, claim: claims.RetrainClaim | None, window: Window, champion: Champion | None
) -> str:
    """The name from which on windows began after the last start or, when it led to a model, after that model began to
    serve ("": there was none). What the old model lost meanwhile is paid for.

    For the rule excess a start that failed or was refused is none: the same model goes on serving, and a reference
    learned from the windows in which it is worse would call them normal. It takes a window that began after it, though.
    """
    starts = claim.starts if claim else ()
    if definition.policy.rule == "excess" and claim and window.name >= iso(claim.started_at):
        starts = tuple(dropwhile(lambda start: start.state in ("FAILED", "REFUSED"), starts))
    if not starts:
        return ""
    reigns = champion.reigns if champion else ()
    served = [reign.since for reign in reigns if reign.cause == f"promote {starts[0].decision_id}"]
    return max([iso(starts[0].started_at), *served])


def evidence_since(
    definition: Definition, claim: claims.RetrainClaim | None, window: Window, champion: Champion | None
) -> str:
    """The same, but as it was before for a window that has itself started one: a repeat finds the same evidence."""
    return (
        claim.evidence_since
        if claim and claim.window == window.name
        else since_start(definition, claim, window, champion)
    )


def weighed_losses(
    services: Services,
    definition: Definition,
    window: Window,
    evaluation: Evaluation,
    champion: Champion | None,
    since: str,
    unit: float,
) -> tuple[list[float], list[SurrogateLosses]]:
    """What the policy's rule weighs, from `since` on and in multiples of `unit`: the served losses of settled, unbroken
    windows, this one last, or what the surrogates lost on settled windows."""
    if not definition.ground_truth_s3_uri:
        return [], []  # no label, no loss: nothing to look for in all windows there ever were
    if definition.policy.rule == "regret":
        return [], history(services, definition, window, champion, since, unit) if champion else []
    before = evaluations.evaluations(services.ledger, definition.name, since, window.name)
    found = [*before, *([evaluation] if evaluation.window >= since else [])]
    return [each.loss / unit for each in found if each.settled and not each.broken and each.loss is not None], []


def starts_in_month(claim: claims.RetrainClaim | None, now: datetime) -> int:
    """How many retrainings started in the calendar month of `now`, UTC."""
    starts = claim.starts if claim else ()
    return sum((each.started_at.year, each.started_at.month) == (now.year, now.month) for each in starts)


def stop_reason(
    definition: Definition, claim: claims.RetrainClaim | None, champion: Champion | None, windows_since: int | None
) -> str:
    """Why the loop starts nothing more: the last starts were refused or rolled back; "" when it goes on."""
    if claim is None or windows_since is None or champion is None:
        return ""
    starts = []
    for each in claim.starts:
        served = None
        for reign, following in zip(champion.reigns, champion.reigns[1:], strict=False):
            if reign.cause == f"promote {each.decision_id}" and following.cause.startswith("roll_back "):
                length = datetime.fromisoformat(following.since) - datetime.fromisoformat(reign.since)
                served = int(length / definition.window_length)
        if each.state not in claims.RETRAIN_IN_FLIGHT:
            starts.append(Start(each.state, each.policy_version, served))
    return why_stopped(starts, version_of(definition), windows_since)


def former_champion(champion: Champion | None) -> str:
    """The champion that a promotion replaced; "" when the champion was not promoted."""
    promoted = champion and len(champion.reigns) > 1 and champion.reigns[-1].cause.startswith("promote ")
    return champion.reigns[-2].candidate if champion and promoted else ""
