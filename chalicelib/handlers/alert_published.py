"""An alert was published: one message per receiver that accepts it, and one post per such message, each done once.

Knows the order of claim, post and mark. Not here: how a message looks (decisions/alert.py) and what is due. A message
of the topic becomes one message per route on the same queue: a receiver that is slow, down or refuses holds up its own
message only, which is delivered again and in the end lies among the dead letters, for `plumbline redrive`.
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
    webhook_body,
)
from chalicelib.errors import NotFoundError, PermanentError, PlumblineError
from chalicelib.events import delivery_body, delivery_route, notification
from chalicelib.facts import deliveries
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import Services

# Statuses that say "later": everything else outside 2xx refuses the alert.
_LATER = (408, 429)


class Outcome(msgspec.Struct, frozen=True):
    """What became of one alert on one route. `route` is the kind and a digest: a URL is a secret.

    overtaken: an opening whose resolution was sent before it. refused, failed and busy: another attempt is needed, and
    a person where the receiver refuses.
    """

    route: str
    result: Literal["delivered", "done before", "overtaken", "refused", "failed", "busy"]
    detail: str = ""


class UndeliveredError(PlumblineError):
    """The receiver has not got the alert: the queue shall deliver the message again."""

    def __init__(self, alert: Alert, outcome: Outcome) -> None:
        words = f"{outcome.route}: {outcome.result} {outcome.detail}".rstrip()
        super().__init__(f"alert {alert.alert_id}: {words}")
        self.outcome = outcome
        if outcome.result == "refused":
            self.counted_as = "AlertsRefused"  # by its own alarm: this alert reaches nobody else


def handle(body: str, services: Services) -> Outcome | None:
    """Send one message per accepting route for an SNS envelope; deliver for such a message.

    Returns what a delivery came to; None where nothing was delivered. Raises UnreadableError for a body that is no
    alert, UndeliveredError, and NotFoundError when the stored definition is missing: the queue shall keep the alert
    until it is back. A removed monitor keeps its routes: the end of what was in flight is told.
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
    """Claim, post, mark; repeating it does nothing new once the receiver has the alert.

    Raises UndeliveredError when it must be tried again; of what went wrong it names the error, nothing else.
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
    # Asked after the claim: of two that deliver an opening and its resolution at the same time, one sees the other.
    twin = _twin(alert, route, services)
    if twin and twin.state == "DELIVERING" and twin.until > services.now():
        deliveries.release(ledger, alert.alert_id, route, claimed, services.now())
        return "busy", "the other alert of this incident is on its way"
    if twin and twin.state == "DELIVERED" and alert.state == "opened":
        # Sent now, it would open in the pager what nobody will resolve.
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
    """The delivery of the resolution that belongs to an opening, and of the opening that belongs to a resolution."""
    if not alert.incident or alert.state == "notice":
        return None
    other = alert_id(alert.incident, "resolved" if alert.state == "opened" else "opened")
    return deliveries.read(services.ledger, other, route)


def _post(alert: Alert, route: Route, services: Services) -> int:
    """Write the message in the receiver's form and post it."""
    headers = {"Content-Type": "application/json", "User-Agent": "Plumbline"}
    secret = services.secrets.get(route.secret).strip() if route.secret else ""
    if route.kind == "slack":
        return services.courier.post(route.url or secret, msgspec.json.encode(slack_message(alert)), headers)
    if route.kind == "pagerduty":
        event = msgspec.json.encode(pagerduty_event(alert, secret))
        return services.courier.post(route.url or PAGERDUTY_URL, event, headers)
    body = webhook_body(alert)
    headers |= signed_headers(secret.split(), alert.alert_id, services.now(), body)
    return services.courier.post(route.url, body, headers)
