"""An endpoint changed: keep the deployment timeline, and let a promotion that waits for it go on."""

from __future__ import annotations

from chalicelib.errors import NotFoundError
from chalicelib.events import EndpointChanged, endpoint_changed
from chalicelib.facts import claims, deployments, due
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.challenges import send_promotion


def handle(body: str, services: Services) -> None:
    """Record what the endpoint really runs; the event itself may be old, so the endpoint is asked."""
    event = endpoint_changed(body)
    watched = services.definitions.find("endpoint", event.name)
    waiting = services.definitions.find("pool-endpoint", event.name)
    if watched:
        _record(services, event)
    for definition in watched:
        _restate_touched_windows(services, definition.name, event)
    for definition in (*watched, *waiting):
        claim = claims.load_promotion(services.ledger, definition.name)
        # One that ended without being deployed looks whether an overtaken worker has deployed it all the same.
        if claim and claim.state != "DONE" and event.status == "IN_SERVICE":
            send_promotion(services, definition.name, claim.claim_id)


def _record(services: Services, event: EndpointChanged) -> None:
    if event.status == "UPDATING":
        deployments.mark_updating(services.ledger, event.name, event.time)
        return
    try:
        endpoint = services.sagemaker.describe_endpoint(event.name)
    except NotFoundError:
        return
    if endpoint.status == "InService":
        deployments.mark_in_service(services.ledger, endpoint)


def _restate_touched_windows(services: Services, monitor: str, event: EndpointChanged) -> None:
    """Rows of a transition are left out of losses: windows evaluated before it was known are evaluated again."""
    definition = services.definitions.get(monitor)
    for deployment in deployments.timeline(services.ledger, event.name)[-1:]:
        window = Window.of(deployment.began, definition.window_length)
        while window.start <= (deployment.ended or services.now()):
            due.mark(services.ledger, monitor, window, definition.grace, services.now())
            window = window.next()
