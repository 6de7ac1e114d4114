"""Typed documents over the Ledger port: load, and change by compare-and-set with a bounded number of retries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from chalicelib.errors import UNDECODABLE, ConflictError, UnreadableStateError
from chalicelib.ports import Item, Ledger

T = TypeVar("T", bound=msgspec.Struct)

# A change that loses this often in a row meets a hot key or a fault: the queue's retry waits better.
ATTEMPTS = 8


class Stored(msgspec.Struct, Generic[T], frozen=True):
    """A document and the revision under which it was read."""

    value: T
    revision: str


def load(ledger: Ledger, pk: str, sk: str, kind: type[T]) -> Stored[T] | None:
    """Read one document, or None. Raises UnreadableStateError for a document of another kind."""
    item = ledger.get(pk, sk)
    return Stored(decoded(item, kind), item.revision) if item else None


def load_all(
    ledger: Ledger,
    pk: str,
    kind: type[T],
    *,
    begins_with: str = "",
    since: str | None = None,
    until: str | None = None,
    newest_first: bool = False,
    limit: int | None = None,
) -> list[T]:
    """Read the documents of a partition in key order. Raises UnreadableStateError for a document of another kind."""
    items = ledger.query(pk, begins_with=begins_with, since=since, until=until, newest_first=newest_first, limit=limit)
    return [decoded(item, kind) for item in items]


def decoded(item: Item, kind: type[T]) -> T:
    """The document of an item. Raises UnreadableStateError naming the item, never its content."""
    try:
        return msgspec.json.decode(item.body, type=kind)
    except UNDECODABLE:
        raise UnreadableStateError(f"{item.pk} / {item.sk}", f"a document of the kind {kind.__name__}") from None


def put_if_absent(ledger: Ledger, pk: str, sk: str, value: msgspec.Struct, expires_at: datetime | None = None) -> bool:
    """Write a document only where there is none; False when there is one."""
    try:
        ledger.put(pk, sk, msgspec.json.encode(value), expected=None, expires_at=expires_at)
    except ConflictError:
        return False
    return True


def change(
    ledger: Ledger,
    pk: str,
    sk: str,
    kind: type[T],
    think: Callable[[T | None], T | None],
    expires_at: datetime | None = None,
) -> tuple[T | None, bool]:
    """Read, think, write back conditionally; think again when somebody else wrote first.

    `think` gets the stored value or None and returns the value to write, or None to leave things as they are.
    Returns what is stored now, and whether this call wrote it. Raises ConflictError after ATTEMPTS lost races.
    """
    for lost in range(ATTEMPTS):
        if lost:
            ledger.back_off(lost)
        stored = load(ledger, pk, sk, kind)
        wanted = think(stored.value if stored else None)
        if wanted is None or (stored and wanted == stored.value):
            return (stored.value if stored else None), False
        try:
            ledger.put(
                pk, sk, msgspec.json.encode(wanted), expected=stored.revision if stored else None, expires_at=expires_at
            )
        except ConflictError:
            continue
        return wanted, True
    raise ConflictError(f"{pk} {sk}: {ATTEMPTS} races lost in a row")


def monitor_partition(monitor: str) -> str:
    """The partition of everything that is known about one monitor."""
    return f"MONITOR#{monitor}"
