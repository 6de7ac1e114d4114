"""An endpoint changed: extend the deployment timeline, and continue a promotion that waits for it."""

from __future__ import annotations

from chalicelib.errors import NotFoundError
from chalicelib.events import EndpointChanged, endpoint_changed
from chalicelib.facts import claims, deployments, due
from chalicelib.ports import Endpoint
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.challenges import send_promotion
from chalicelib.workflows.served_model import check_served


def handle(body: str, services: Services) -> None:
    """Record what the endpoint runs now: it is described, because the event may be old."""
    event = endpoint_changed(body)
    watched = services.definitions.find("endpoint", event.name)
    waiting = services.definitions.find("pool-endpoint", event.name)
    endpoint = _record(services, event) if watched else None
    for definition in watched:
        if endpoint:
            check_served(services, definition, endpoint)
        _restate_touched_windows(services, definition.name, event)
    for definition in (*watched, *waiting):
        claim = claims.load_promotion(services.ledger, definition.name)
        # A claim that ended without deployment checks whether a delayed worker has deployed it nevertheless.
        if claim and claim.state != "DONE" and event.status == "IN_SERVICE":
            send_promotion(services, definition.name, claim.claim_id)


def _record(services: Services, event: EndpointChanged) -> Endpoint | None:
    """The endpoint as it is described now, where it may be in service."""
    if event.status == "UPDATING":
        deployments.mark_updating(services.ledger, event.name, event.time)
        return None
    try:
        endpoint = services.sagemaker.describe_endpoint(event.name)
    except NotFoundError:
        return None
    if endpoint.status == "InService":
        deployments.mark_in_service(services.ledger, endpoint)
    return endpoint


def _restate_touched_windows(services: Services, monitor: str, event: EndpointChanged) -> None:
    """Mark windows of the last update due: they may have been evaluated before it was known, and rows answered during
    an update do not count in losses."""
    definition = services.definitions.get(monitor)
    for deployment in deployments.timeline(services.ledger, event.name)[-1:]:
        window = Window.of(deployment.began, definition.window_length)
        while window.start <= (deployment.ended or services.now()):
            due.mark(services.ledger, monitor, window, definition.grace, services.now())
            window = window.next()
