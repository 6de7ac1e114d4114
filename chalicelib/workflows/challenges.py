"""What a retraining leads to: its end, or the claim of a promotion. Not an event source: three handlers share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from chalicelib.definition import Definition
from chalicelib.errors import NotFoundError
from chalicelib.events import ClaimMessage
from chalicelib.facts import champions, claims, decisions
from chalicelib.records.times import iso
from chalicelib.wiring import Services
from chalicelib.workflows.incident_alerts import notify

# States of a claim whose execution may end: STARTING when the mark of the start was lost.
WAITING = ("STARTING", "STARTED", "PROMOTING")
OPEN = (*WAITING, "AWAITING_APPROVAL")

_TITLES = {
    "STARTED": "a retraining has started",
    "PROMOTED": "a challenger was promoted",
    "REFUSED": "a challenger was refused",
    "FAILED": "a retraining failed",
    "ROLL_BACK_FAILED": "a past champion could not be brought back",
    "ROLLED_BACK": "a past champion serves again",
}


def candidate_name(package_arn: str) -> str:
    """…:model-package/churn/3 -> churn/3, which no SageMaker model can be called."""
    return package_arn.rpartition(":model-package/")[2]


def request_promotion(services: Services, definition: Definition, claim: claims.RetrainClaim, package_arn: str) -> None:
    """Claim the promotion of a registered package and send it on its way.

    While another change of what is served is in flight the claim is not granted; the clock comes back to it.
    """
    name, now = definition.name, services.now()
    champion = champions.load_champion(services.ledger, name)
    assert champion is not None, f"{name}: no champion was crowned when the monitor was added"
    claims.move_retrain(services.ledger, name, claim.decision_id, OPEN, "PROMOTING", now)
    promotion = claims.PromotionClaim(
        claim_id=f"promote-{claim.decision_id}",
        kind="promote",
        decision_id=claim.decision_id,
        window=claim.window,
        generation=champion.generation,
        candidate=candidate_name(package_arn),
        package_arn=package_arn,
        state="APPLYING",
        claimed_at=now,
        lease_until=now + claims.LEASE,
        manifest_uri=claim.manifest_uri,
        fair_from=claim.fair_from,
    )
    if claims.claim_promotion(services.ledger, name, promotion):
        send_promotion(services, name, promotion.claim_id)


def send_promotion(services: Services, monitor: str, claim_id: str) -> None:
    services.queues.send("promotion-claims", [msgspec.json.encode(ClaimMessage(monitor, claim_id))])


def end_retrain(
    services: Services,
    definition: Definition,
    decision_id: str,
    window: str,
    state: Literal["PROMOTED", "REFUSED", "FAILED"],
    reason: str,
) -> None:
    """Close the claim of a retraining: write the outcome down, tell people, then mark (a repeat tells the same ids)."""
    tell(services, definition, decision_id, window, state, reason)
    claims.move_retrain(services.ledger, definition.name, decision_id, OPEN, state, services.now(), outcome=reason)


def approval_of(services: Services, package_arn: str) -> str | None:
    """What the registry says of a model package now; None when it was deleted."""
    try:
        return services.sagemaker.describe_model_package(package_arn).approval_status
    except NotFoundError:
        return None


def ask_for_approval(
    services: Services, definition: Definition, claim: claims.RetrainClaim, package_arn: str, reminder: str = ""
) -> None:
    """Tell people that a challenger waits for them; `reminder`: what happens otherwise."""
    notify(
        services,
        definition,
        "promotion",
        f"{claim.decision_id}-{'reminder' if reminder else 'approval'}",
        "warning",
        f"a challenger {'still ' if reminder else ''}waits for approval",
        [f"approve or reject {package_arn}", *([reminder] if reminder else [])],
        window=claim.window,
        decision_id=claim.decision_id,
    )


def objection_to(package_arn: str, status: str | None) -> str:
    """Why a package of this status (`approval_of`) may challenge nobody; "" where nothing is against it."""
    if status is None:
        return f"{package_arn} does not exist any more"
    return f"{package_arn} was rejected" if status == "Rejected" else ""


def refuse(services: Services, definition: Definition, claim: claims.RetrainClaim, reason: str) -> None:
    """End a retraining whose package may challenge no more.

    A promotion in flight hears of it and ends itself: it alone knows whether the model reigns already.
    """
    promotion = claims.load_promotion(services.ledger, definition.name)
    if promotion and promotion.in_flight and promotion.decision_id == claim.decision_id:
        send_promotion(services, definition.name, promotion.claim_id)
    else:
        end_retrain(services, definition, claim.decision_id, claim.window, "REFUSED", reason)


def tell(
    services: Services,
    definition: Definition,
    decision_id: str,
    window: str,
    state: Literal["STARTED", "PROMOTED", "REFUSED", "FAILED", "ROLLED_BACK", "ROLL_BACK_FAILED"],
    reason: str,
    causes: Sequence[str] = (),
) -> None:
    """Write an outcome of a decision down and publish the notice of it; `causes`: what it was decided for."""
    at = iso(services.now())
    decisions.save_outcome(
        services.ledger,
        definition.name,
        decisions.Outcome(decision_id=decision_id, window=window, kind=state.lower(), detail=reason, at=at),
    )
    kind = "retraining" if state in ("STARTED", "FAILED") else "promotion"
    notify(
        services,
        definition,
        kind,
        f"{decision_id}-{state}",
        "error" if state.endswith("FAILED") else "info",
        _TITLES[state],
        [*causes, reason],
        window=window,
        decision_id=decision_id,
    )
