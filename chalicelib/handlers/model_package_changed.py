"""A model package changed: a person approved or rejected a challenger."""

from __future__ import annotations

from chalicelib.events import package_changed
from chalicelib.facts import claims
from chalicelib.wiring import Services
from chalicelib.workflows.challenges import approval_of, objection_to, refuse, request_promotion


def handle(body: str, services: Services) -> None:
    """Handle one event; packages that no retraining waits for are ignored."""
    event = package_changed(body)
    approval = claims.awaited_approval(services.ledger, event.arn)
    if approval is None:
        return
    claim = claims.load_retrain(services.ledger, approval.monitor)
    if claim is None or claim.decision_id != approval.decision_id:
        return
    if claim.state not in ("AWAITING_APPROVAL", "PROMOTING"):
        return
    definition = services.definitions.get(approval.monitor)
    # The event may be old and delivered late, so the registry is asked for the current status.
    status = approval_of(services, event.arn)
    if objection := objection_to(event.arn, status):
        refuse(services, definition, claim, objection)
    elif status == "Approved":
        request_promotion(services, definition, claim, event.arn)
