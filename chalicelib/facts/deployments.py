"""The deployment timeline of an endpoint, because captures do not name the model that answered.

Keys: ENDPOINT#{endpoint} / UPDATING#{time} and IN_SERVICE#{time}#{config} -> Mark. Marks are a set: repeats and order
do not matter. Rows between an update's start and its end may come from either model and are left out of losses.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from chalicelib.facts.document import load_all, put_if_absent
from chalicelib.ports import Endpoint, Ledger


class Mark(msgspec.Struct, frozen=True):
    """At `at` the endpoint began an update (`config_name` "": events name the old one), or came into service.

    `sampling_percentage`: of its data capture at that time, where known.
    """

    at: datetime
    config_name: str = ""
    sampling_percentage: int | None = None


class Deployment(msgspec.Struct, frozen=True):
    """From `began` to `ended` the endpoint was updated to `config_name`; `ended` None: it still is."""

    config_name: str
    began: datetime
    ended: datetime | None
    sampling_percentage: int | None = None


def mark_updating(ledger: Ledger, endpoint: str, at: datetime) -> None:
    """An update has begun."""
    put_if_absent(ledger, f"ENDPOINT#{endpoint}", f"UPDATING#{_name(at)}", Mark(at))


def mark_in_service(ledger: Ledger, endpoint: Endpoint) -> None:
    """The endpoint is in service with its configuration (also after a failed update: with the old one)."""
    at, config_name = endpoint.last_modified, endpoint.config_name
    mark = Mark(at, config_name, endpoint.sampling_percentage)
    put_if_absent(ledger, f"ENDPOINT#{endpoint.name}", f"IN_SERVICE#{_name(at)}#{config_name}", mark)


def timeline(ledger: Ledger, endpoint: str) -> list[Deployment]:
    """All known deployments, oldest first."""
    marks = sorted(load_all(ledger, f"ENDPOINT#{endpoint}", Mark), key=lambda mark: (mark.at, mark.config_name))
    deployments = []
    began: datetime | None = None
    for mark in marks:
        if not mark.config_name:
            began = began or mark.at
        else:
            deployments.append(Deployment(mark.config_name, began or mark.at, mark.at, mark.sampling_percentage))
            began = None
    if began is not None:
        deployments.append(Deployment("", began, None))
    return deployments


def _name(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
