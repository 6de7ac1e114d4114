"""An alert was published: send one message for each route that accepts it, and deliver each such message once.

The alert's message becomes one message per route on the same queue. A receiver that is slow, down or refuses delays
only its own message, which is delivered again and at last becomes a dead letter, for `plumbline redrive`. Not here:
what a message looks like (decisions/alert.py), what is due.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from chalicelib.decisions.alert import (
    PAGERDUTY_URL,
    Alert,
    Route,
    alert_id,
    decode_alert,
    pagerduty_event,
    route_accepts,
    slack_message,
    teams_message,
    webhook_body,
)
from chalicelib.errors import NotFoundError, PermanentError, PlumblineError
from chalicelib.events import delivery_body, delivery_route, notification
from chalicelib.facts import deliveries
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import Services

# 4xx statuses that mean "retry"; any other status below 500 outside 2xx refuses the alert.
_LATER = (408, 429)


class Outcome(msgspec.Struct, frozen=True):
    """The result of one alert on one route. `route` is the kind and a digest, because a URL is a secret.

    overtaken: an opening whose resolution was sent before it. refused, failed, busy: another attempt is needed; a
    refusal also needs a person.
    """

    route: str
    result: Literal["delivered", "done before", "overtaken", "refused", "failed", "busy"]
    detail: str = ""


class UndeliveredError(PlumblineError):
    """The receiver has not got the alert yet: the queue must deliver the message again."""

    def __init__(self, alert: Alert, outcome: Outcome) -> None:
        words = f"{outcome.route}: {outcome.result} {outcome.detail}".rstrip()
        super().__init__(f"alert {alert.alert_id}: {words}")
        self.outcome = outcome
        if outcome.result == "refused":
            self.counted_as = "AlertsRefused"  # has an alarm of its own: the alert itself cannot report it


def handle(body: str, services: Services) -> Outcome | None:
    """Send one message per accepting route for an SNS envelope; deliver for such a message.

    Returns the outcome of a delivery; None when nothing was delivered. Raises UndeliveredError when the delivery must
    be tried again, UnreadableError for a body that is not an alert, and NotFoundError when the stored definition is
    missing: the queue keeps the alert until it is back. A removed monitor keeps its routes, for alerts about what was
    in flight.
    """
    message = notification(body)
    alert = decode_alert(message)
    try:
        entry = services.definitions.entry(alert.monitor)
    except NotFoundError:
        return None  # of a monitor that was never added here
    routes = {
        deliveries.route_digest(route): route
        for route in services.definitions.of(entry).routes
        if route_accepts(route, alert)
    }
    if asked := delivery_route(body):
        # A newer definition may have no such route.
        return deliver(alert, routes[asked], services) if asked in routes else None
    services.queues.send("alerts", [delivery_body(message, digest) for digest in routes])
    return None


def deliver(alert: Alert, route: Route, services: Services) -> Outcome:
    """Claim, post, mark; a repeat has no effect once the receiver has the alert.

    Raises UndeliveredError when it must be tried again; it names the type of an unexpected error only.
    """
    try:
        result, detail = _attempt(alert, route, services)
    except Exception as error:
        result, detail = "failed", type(error).__name__
    outcome = Outcome(f"{route.kind} {deliveries.route_digest(route)[:8]}", result, detail)
    if result in ("refused", "failed", "busy"):
        raise UndeliveredError(alert, outcome)
    return outcome


_Result = tuple[Literal["delivered", "done before", "overtaken", "refused", "failed", "busy"], str]


def _attempt(alert: Alert, route: Route, services: Services) -> _Result:
    ledger = services.ledger
    claimed, ours = deliveries.claim(ledger, alert.alert_id, route, services.now())
    if not ours:
        return ("busy", "") if claimed.state == "DELIVERING" else ("done before", claimed.state)
    # Read after the claim: of two workers with an opening and its resolution, one then sees the other.
    twin = _twin(alert, route, services)
    if twin and twin.state == "DELIVERING" and twin.until > services.now():
        deliveries.release(ledger, alert.alert_id, route, claimed, services.now())
        return "busy", "the other alert of this incident is on its way"
    if twin and twin.state == "DELIVERED" and alert.state == "opened":
        # Sent now, it would open an incident in the pager that is never resolved.
        deliveries.finish(ledger, alert.alert_id, route, "OVERTAKEN", services.now())
        return "overtaken", ""
    try:
        status = _post(alert, route, services)
    except PermanentError as error:
        deliveries.release(ledger, alert.alert_id, route, claimed, services.now())
        return "refused", str(error)
    except Exception as error:
        deliveries.release(ledger, alert.alert_id, route, claimed, services.now())
        return "failed", type(error).__name__
    if 200 <= status < 300:
        deliveries.finish(ledger, alert.alert_id, route, "DELIVERED", services.now(), status)
        return "delivered", f"HTTP {status}"
    deliveries.release(ledger, alert.alert_id, route, claimed, services.now(), status)
    return "failed" if status >= 500 or status in _LATER else "refused", f"HTTP {status}"


def _twin(alert: Alert, route: Route, services: Services) -> deliveries.Delivery | None:
    """The delivery of the other alert of the incident: the resolution of an opening, or the opening of a resolution."""
    if not alert.incident or alert.state == "notice":
        return None
    other = alert_id(alert.incident, "resolved" if alert.state == "opened" else "opened")
    return deliveries.read(services.ledger, other, route)


def _post(alert: Alert, route: Route, services: Services) -> int:
    """Write the message in the receiver's form and post it."""
    headers = {"Content-Type": "application/json", "User-Agent": "Plumbline"}
    secret = services.secrets.get(route.secret).strip() if route.secret else ""
    if route.kind in ("slack", "teams"):
        message = slack_message(alert) if route.kind == "slack" else teams_message(alert)
        return services.courier.post(route.url or secret, msgspec.json.encode(message), headers)
    if route.kind == "pagerduty":
        event = msgspec.json.encode(pagerduty_event(alert, secret))
        return services.courier.post(route.url or PAGERDUTY_URL, event, headers)
    body = webhook_body(alert)
    headers |= signed_headers(secret.split(), alert.alert_id, services.now(), body)
    return services.courier.post(route.url, body, headers)
