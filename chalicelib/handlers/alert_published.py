"""An alert was published: carry it to every receiver that wants it, each once.

Knows the order of claim, post and mark; refuses to know how a message looks (decisions/alert.py) and what is due.
A receiver that fails does not keep the others waiting: all are tried, then the message goes back to its queue and
only the missing ones are tried again.
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

# Statuses that say "later": everything else outside 2xx says "never".
_LATER = (408, 429)


class Outcome(msgspec.Struct, frozen=True):
    """What became of one alert on one route. `route` is the kind and a digest: a URL is a secret.

    delivered, or done before; overtaken: an opening whose resolution was sent before it; refused: for good, the
    caller logs it; failed and busy: another attempt is needed.
    """

    route: str
    result: Literal["delivered", "done before", "overtaken", "refused", "failed", "busy"]
    detail: str = ""


class UndeliveredError(PlumblineError):
    """Some receivers did not get the alert yet: the queue shall deliver the message again."""

    def __init__(self, alert: Alert, outcomes: Sequence[Outcome]) -> None:
        missing = [f"{o.route}: {o.result} {o.detail}".rstrip() for o in outcomes if o.result in ("failed", "busy")]
        super().__init__(f"alert {alert.alert_id}: {len(missing)} of {len(outcomes)} routes open: {'; '.join(missing)}")
        self.outcomes = tuple(outcomes)


def handle(alert: Alert, routes: Sequence[Route], services: Services) -> list[Outcome]:
    """Deliver an alert to the accepting routes; repeating it delivers only what is missing.

    Raises UndeliveredError after every route was tried, when one must be tried again.
    """
    accepting = {deliveries.route_digest(route): route for route in routes if route_accepts(route, alert)}
    outcomes = [_deliver(alert, route, services) for route in accepting.values()]
    if any(outcome.result in ("failed", "busy") for outcome in outcomes):
        raise UndeliveredError(alert, outcomes)
    return outcomes


def handle_notification(body: str, services: Services) -> list[Outcome]:
    """Read an SNS envelope and deliver the alert by its monitor's routes.

    Raises UnreadableError for a body that is no alert, NotFoundError when the stored definition is missing: the queue
    shall keep the alert until it is back. A removed monitor keeps its routes: the end of what was in flight is told.
    """
    alert = decode_alert(notification(body))
    try:
        entry = services.definitions.entry(alert.monitor)
    except NotFoundError:
        return []  # of a monitor that was never added here
    return handle(alert, services.definitions.of(entry).routes, services)


def _deliver(alert: Alert, route: Route, services: Services) -> Outcome:
    """Claim, post, mark. Whatever goes wrong stays with this route; only the name of an error is told."""
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
