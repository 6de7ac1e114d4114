"""A model package changed: a person's approval or rejection of a challenger arrives here."""

from __future__ import annotations

from chalicelib.events import package_changed
from chalicelib.facts import claims
from chalicelib.handlers.challenges import end_retrain, request_promotion
from chalicelib.wiring import Services


def handle(body: str, services: Services) -> None:
    """Work off one event; packages that nobody waits for are nobody's."""
    event = package_changed(body)
    approval = claims.awaited_approval(services.ledger, event.arn)
    if approval is None:
        return
    claim = claims.load_retrain(services.ledger, approval.monitor)
    if claim is None or claim.decision_id != approval.decision_id or claim.state != "AWAITING_APPROVAL":
        return
    definition = services.definitions.get(approval.monitor)
    # The event may be an old one delivered late: the registry says what holds now.
    status = services.sagemaker.describe_model_package(event.arn).approval_status
    if status == "Approved":
        request_promotion(services, definition, claim, event.arn)
    elif status == "Rejected":
        reason = f"{event.arn} was rejected"
        end_retrain(services, definition, claim.decision_id, claim.window, "REFUSED", reason)
