"""Which alert reached which receiver, and which webhook was received: both have ids, so a repeat has no effect.

Keys: ALERT#{alert id} / DELIVERY#{route digest} -> Delivery, kept for 30 days; WEBHOOK#{endpoint} / {webhook id} ->
Receipt, kept for 7 days. Outgoing is claim, act, mark: the deliverer holds a lease of two minutes; a repeated message
finds DELIVERED and stops. Only a crash between the receiver's answer and the mark delivers twice, under the same id. An
incoming webhook is recorded before it is stored, with everything that storing needs, so that a repeat finishes what a
crash left. Not here: what is sent, how, and what was posted.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from chalicelib.decisions.alert import Route
from chalicelib.facts.document import change, load
from chalicelib.ports import Ledger

# Longer than a post with its timeout, shorter than the queue's visibility timeout.
LEASE = timedelta(minutes=2)
# Longer than a queue, and a dead-letter queue after it, can keep a message (14 days each).
KEPT = timedelta(days=30)
# A webhook that is repeated later than this counts as a new one.
RECEIPT_KEPT = timedelta(days=7)


class Delivery(msgspec.Struct, frozen=True):
    """FAILED, or DELIVERING after `until`: may be tried again. DELIVERED, OVERTAKEN: done.

    `status` is the receiver's HTTP status (0: there was no answer). OVERTAKEN: an opening that was not sent because
    its resolution had been.
    """

    state: Literal["DELIVERING", "FAILED", "DELIVERED", "OVERTAKEN"]
    until: datetime
    status: int = 0


class Receipt(msgspec.Struct, frozen=True):
    """A webhook as first received: the digest of its body, when that attempt was signed (seconds since 1970), the
    (bucket, key) of every object that it is stored as, and its number of labels."""

    digest: str
    timestamp: int
    objects: tuple[tuple[str, str], ...]
    stored: int


def route_digest(route: Route) -> str:
    """Names a receiver without showing its URL; the same for equal (kind, url, secret), whatever the filters."""
    return hashlib.sha256(msgspec.json.encode((route.kind, route.url, route.secret))).hexdigest()[:32]


def claim(ledger: Ledger, alert_id: str, route: Route, now: datetime) -> tuple[Delivery, bool]:
    """Claim the delivery of one alert to one receiver, unless it is done or claimed.

    Returns what is stored now, and whether this call holds the claim.
    """

    def think(stored: Delivery | None) -> Delivery | None:
        free = stored is None or stored.state == "FAILED" or (stored.state == "DELIVERING" and stored.until <= now)
        return Delivery("DELIVERING", now + LEASE) if free else None

    delivery, ours = change(ledger, *_key(alert_id, route), Delivery, think, expires_at=now + KEPT)
    assert delivery is not None  # `think` writes one where there is none
    return delivery, ours


def finish(
    ledger: Ledger,
    alert_id: str,
    route: Route,
    state: Literal["DELIVERED", "OVERTAKEN"],
    now: datetime,
    status: int = 0,
) -> None:
    """Mark a delivery as done. DELIVERED stays, also for a second worker whose lease was lost."""

    def think(stored: Delivery | None) -> Delivery | None:
        return None if stored and stored.state == "DELIVERED" else Delivery(state, now, status)

    change(ledger, *_key(alert_id, route), Delivery, think, expires_at=now + KEPT)


def release(ledger: Ledger, alert_id: str, route: Route, claimed: Delivery, now: datetime, status: int = 0) -> None:
    """Release a claim after a failure, so that the next attempt need not wait for the lease."""

    def think(stored: Delivery | None) -> Delivery | None:
        # With another `until` it is no longer our lease.
        return Delivery("FAILED", now, status) if stored == claimed else None

    change(ledger, *_key(alert_id, route), Delivery, think, expires_at=now + KEPT)


def read(ledger: Ledger, alert_id: str, route: Route) -> Delivery | None:
    """The state of one delivery; None when it was never started."""
    stored = load(ledger, *_key(alert_id, route), Delivery)
    return stored.value if stored else None


def receive(ledger: Ledger, endpoint: str, webhook_id: str, receipt: Receipt, now: datetime) -> Receipt:
    """Record a webhook if its id is new; returns the receipt of its first arrival."""
    first, _ = change(
        ledger,
        f"WEBHOOK#{endpoint}",
        webhook_id,
        Receipt,
        lambda stored: None if stored else receipt,
        expires_at=now + RECEIPT_KEPT,
    )
    assert first is not None  # it is written where there is none
    return first


def receipt_of(ledger: Ledger, endpoint: str, webhook_id: str) -> Receipt | None:
    """The receipt of a post to an endpoint; None for an id that is not known, or not any more."""
    stored = load(ledger, f"WEBHOOK#{endpoint}", webhook_id, Receipt)
    return stored.value if stored else None


def _key(alert_id: str, route: Route) -> tuple[str, str]:
    return f"ALERT#{alert_id}", f"DELIVERY#{route_digest(route)}"
