"""Which alert reached which receiver, and which webhook reached us: both are known by id, so a repeat does nothing new.

Keys: ALERT#{alert id} / DELIVERY#{route digest} -> Delivery, kept for 30 days; WEBHOOK#{endpoint} / {webhook id} ->
Receipt, kept for 7 days. Outgoing is claim, act, mark: who delivers holds a lease of two minutes; a repeated message
finds DELIVERED and leaves it. Only a crash between the receiver's answer and the mark delivers twice, and then under
the same id. Incoming is written down before it is stored, with all that storing needs, so that a repeat finishes what
a crash left. Refuses to know what is sent and how, and what was posted.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from chalicelib.decisions.alert import Route
from chalicelib.facts.document import change, load
from chalicelib.ports import Ledger

# Longer than a post takes with its timeout, shorter than the queue waits before it repeats a message.
LEASE = timedelta(minutes=2)
# Longer than a queue, and a dead-letter queue after it, can keep a message (14 days each).
KEPT = timedelta(days=30)
# A sender that repeats a webhook after this long is taken for a new one.
RECEIPT_KEPT = timedelta(days=7)


class Delivery(msgspec.Struct, frozen=True):
    """DELIVERING until `until` or FAILED: may be tried (again). DELIVERED, OVERTAKEN: done.

    `status` is the receiver's HTTP status (0: there was no answer). OVERTAKEN: an opening that was not sent because
    its resolution had been.
    """

    state: Literal["DELIVERING", "FAILED", "DELIVERED", "OVERTAKEN"]
    until: datetime
    status: int = 0


class Receipt(msgspec.Struct, frozen=True):
    """A webhook as it was first seen: the digest of what it says, when that attempt was signed (seconds since 1970),
    the (bucket, key) of every object that it is stored as, and how many labels it holds."""

    digest: str
    timestamp: int
    objects: tuple[tuple[str, str], ...]
    stored: int


def route_digest(route: Route) -> str:
    """Names a receiver without showing its URL; the same for equal (kind, url, secret), whatever the filters."""
    return hashlib.sha256(msgspec.json.encode((route.kind, route.url, route.secret))).hexdigest()[:32]


def claim(ledger: Ledger, alert_id: str, route: Route, now: datetime) -> tuple[Delivery, bool]:
    """Take the delivery of one alert to one receiver, if it is not done and nobody has it.

    Returns what is stored now, and whether it is ours to deliver.
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
    """Mark a delivery as done. What was delivered stays so, also for one that came second after a lost lease."""

    def think(stored: Delivery | None) -> Delivery | None:
        return None if stored and stored.state == "DELIVERED" else Delivery(state, now, status)

    change(ledger, *_key(alert_id, route), Delivery, think, expires_at=now + KEPT)


def release(ledger: Ledger, alert_id: str, route: Route, claimed: Delivery, now: datetime, status: int = 0) -> None:
    """Give a claim back after a failure, so that the next attempt need not wait for the lease."""

    def think(stored: Delivery | None) -> Delivery | None:
        # With another `until` it is no longer our lease.
        return Delivery("FAILED", now, status) if stored == claimed else None

    change(ledger, *_key(alert_id, route), Delivery, think, expires_at=now + KEPT)


def read(ledger: Ledger, alert_id: str, route: Route) -> Delivery | None:
    """What is known of one delivery; None when it was never begun."""
    stored = load(ledger, *_key(alert_id, route), Delivery)
    return stored.value if stored else None


def receive(ledger: Ledger, endpoint: str, webhook_id: str, receipt: Receipt, now: datetime) -> Receipt:
    """Write down a webhook where its id is new; returns the receipt of the first time it was seen."""
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


def _key(alert_id: str, route: Route) -> tuple[str, str]:
    return f"ALERT#{alert_id}", f"DELIVERY#{route_digest(route)}"
