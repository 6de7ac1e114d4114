"""Whose records a monitor must not take in again, by fingerprints of their ids.

Keys: FORGOTTEN#{monitor} / {fingerprint} -> Tombstone. Kept for good: the captures that they were taken from are the
user's, and a rebuild reads them again. Not here: how a fingerprint is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from chalicelib.facts.document import put_if_absent
from chalicelib.ports import Ledger


class Tombstone(msgspec.Struct, frozen=True):
    """Since when."""

    at: datetime


def bury(ledger: Ledger, monitor: str, fingerprints: Iterable[str], now: datetime) -> None:
    """Take in nothing of these from now on; repeating it changes nothing."""
    for fingerprint in sorted(set(fingerprints)):
        put_if_absent(ledger, f"FORGOTTEN#{monitor}", fingerprint, Tombstone(now))


def fingerprints(ledger: Ledger, monitor: str) -> frozenset[str]:
    """All that a monitor must not take in."""
    return frozenset(item.sk for item in ledger.query(f"FORGOTTEN#{monitor}"))
