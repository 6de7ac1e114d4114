"""The deployment timeline of an endpoint: captures do not name the model that answered.

Key: ENDPOINT#{endpoint} / DEPLOYMENT#{config} -> Deployment. Rows between the start of an update and its end may
come from either model and are left out of losses.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.facts.document import change, load_all
from chalicelib.ports import Ledger


class Deployment(msgspec.Struct, frozen=True):
    """From `began` to `ended` (None: still going on) the endpoint changed to `config_name`."""

    config_name: str
    began: datetime
    ended: datetime | None = None

    def covers(self, moment: datetime) -> bool:
        """Whether an answer at this time may come from either model."""
        return self.began <= moment and (self.ended is None or moment < self.ended)


def begin(ledger: Ledger, endpoint: str, config_name: str, now: datetime) -> None:
    """An update to a configuration has been asked for; the earliest word counts."""

    def think(stored: Deployment | None) -> Deployment:
        if stored is None:
            return Deployment(config_name, now)
        return msgspec.structs.replace(stored, began=min(stored.began, now))

    change(ledger, f"ENDPOINT#{endpoint}", f"DEPLOYMENT#{config_name}", Deployment, think)


def end(ledger: Ledger, endpoint: str, config_name: str, at: datetime) -> None:
    """The endpoint is in service with a configuration since `at`. Without a known beginning that is the beginning."""

    def think(stored: Deployment | None) -> Deployment:
        if stored is None:
            return Deployment(config_name, at, at)
        ended = at if stored.ended is None else min(stored.ended, at)
        return msgspec.structs.replace(stored, ended=max(ended, stored.began))

    change(ledger, f"ENDPOINT#{endpoint}", f"DEPLOYMENT#{config_name}", Deployment, think)


def timeline(ledger: Ledger, endpoint: str) -> list[Deployment]:
    """All known deployments, oldest first."""
    return sorted(load_all(ledger, f"ENDPOINT#{endpoint}", Deployment), key=lambda known: known.began)
