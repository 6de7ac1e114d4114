"""An alert was published: deliver it to every route that accepts it, once each.

A failing receiver does not delay the others: all are tried, then the message goes back to its queue and only the
missing ones are tried again. Not here: what a message looks like (decisions/alert.py), what is due.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from chalicelib.events import notification
from chalicelib.facts import deliveries
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import Services

# 4xx statuses that mean "retry"; any other status below 500 outside 2xx means "never".
_LATER = (408, 429)


class Outcome(msgspec.Struct, frozen=True):
    """The result of one alert on one route. `route` is the kind and a digest, because a URL is a secret.

    overtaken: an opening whose resolution was sent before it; refused: for good, the caller logs it; failed, busy:
    another attempt is needed.
    """

    route: str
    result: Literal["delivered", "done before", "overtaken", "refused", "failed", "busy"]
    detail: str = ""


class UndeliveredError(PlumblineError):
    """Some receivers have not got the alert yet: the queue must deliver the message again."""

    def __init__(self, alert: Alert, outcomes: Sequence[Outcome]) -> None:
        missing = [f"{o.route}: {o.result} {o.detail}".rstrip() for o in outcomes if o.result in ("failed", "busy")]
        super().__init__(f"alert {alert.alert_id}: {len(missing)} of {len(outcomes)} routes open: {'; '.join(missing)}")
        self.outcomes = tuple(outcomes)


def handle(alert: Alert, routes: Sequence[Route], services: Services) -> list[Outcome]:
    """Deliver an alert to the accepting routes; repeating it delivers only what is missing.

    Raises UndeliveredError, after trying every route, when one must be tried again.
    """
    accepting = {deliveries.route_digest(route): route for route in routes if route_accepts(route, alert)}
    outcomes = [_deliver(alert, route, services) for route in accepting.values()]
    if any(outcome.result in ("failed", "busy") for outcome in outcomes):
        raise UndeliveredError(alert, outcomes)
    return outcomes


def handle_notification(body: str, services: Services) -> list[Outcome]:
    """Read an SNS envelope and deliver the alert by its monitor's routes.

    Raises UnreadableError for a body that is not an alert, and NotFoundError when the stored definition is missing: the
    queue keeps the alert until it is back. A removed monitor keeps its routes, for alerts about what was in flight.
    """
    alert = decode_alert(notification(body))
    try:
        entry = services.definitions.entry(alert.monitor)
    except NotFoundError:
        return []  # of a monitor that was never added here
    return handle(alert, services.definitions.of(entry).routes, services)


def _deliver(alert: Alert, route: Route, services: Services) -> Outcome:
    """Claim, post, mark. An error stays within this route; only its type is reported."""
    name = f"{route.kind} {deliveries.route_digest(route)[:8]}"
    try:
        result, detail = _attempt(alert, route, services)
        return Outcome(name, result, detail)
    except Exception as error:
        return Outcome(name, "failed", type(error).__name__)


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
        deliveries.finish(ledger, alert.alert_id, route, "REFUSED", services.now())
        return "refused", str(error)
    except Exception as error:
        deliveries.release(ledger, alert.alert_id, route, claimed, services.now())
        return "failed", type(error).__name__
    if 200 <= status < 300:
        deliveries.finish(ledger, alert.alert_id, route, "DELIVERED", services.now(), status)
        return "delivered", f"HTTP {status}"
    if status >= 500 or status in _LATER:
        deliveries.release(ledger, alert.alert_id, route, claimed, services.now(), status)
        return "failed", f"HTTP {status}"
    deliveries.finish(ledger, alert.alert_id, route, "REFUSED", services.now(), status)
    return "refused", f"HTTP {status}"


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
    if route.kind == "slack":
        return services.courier.post(route.url or secret, msgspec.json.encode(slack_message(alert)), headers)
    if route.kind == "pagerduty":
        event = msgspec.json.encode(pagerduty_event(alert, secret))
        return services.courier.post(route.url or PAGERDUTY_URL, event, headers)
    body = webhook_body(alert)
    headers |= signed_headers(secret.split(), alert.alert_id, services.now(), body)
    return services.courier.post(route.url, body, headers)
