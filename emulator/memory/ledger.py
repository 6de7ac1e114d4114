"""The DynamoDB table in a dict."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from chalicelib.errors import ConflictError
from chalicelib.ports import Item
from emulator.memory.errors import ServiceError

_ITEM_BYTES = 400 * 1024
_SORT_KEY_BYTES = 1024


class MemoryLedger:
    """`ports.Ledger`. Revisions count up over the whole table, so each write has its own and a run repeats exactly.

    Expired items stay until `reap()`: DynamoDB deletes them days late, so nothing may count on it.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._writes = 0
        self.items: dict[tuple[str, str], tuple[Item, datetime | None]] = {}

    def get(self, pk: str, sk: str) -> Item | None:
        stored = self.items.get((pk, sk))
        return None if stored is None else stored[0]

    def put(self, pk: str, sk: str, body: bytes, *, expected: str | None, expires_at: datetime | None = None) -> str:
        body.decode("utf-8")  # the table holds text
        if not pk or not sk:
            raise ServiceError("ValidationException", "an empty string cannot be a key")
        if len(sk.encode()) > _SORT_KEY_BYTES:
            raise ServiceError(
                "ValidationException", "Size of rangekey has exceeded the maximum size limit of 1024 bytes"
            )
        if len(pk.encode()) + len(sk.encode()) + len(body) > _ITEM_BYTES:
            raise ServiceError("ValidationException", "Item size has exceeded the maximum allowed size")
        self._check(pk, sk, expected)
        self._writes += 1
        revision = f"r{self._writes}"
        self.items[pk, sk] = (Item(pk, sk, revision, bytes(body)), expires_at)
        return revision

    def delete(self, pk: str, sk: str, *, expected: str) -> None:
        self._check(pk, sk, expected)
        del self.items[pk, sk]

    def back_off(self, lost: int) -> None:
        """Not needed: there is one writer at a time."""

    def query(
        self,
        pk: str,
        *,
        begins_with: str = "",
        since: str | None = None,
        until: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[Item]:
        found = [
            item
            for (partition, sk), (item, _) in self.items.items()
            if partition == pk
            and sk.startswith(begins_with)
            and (since is None or since <= sk)
            and (until is None or sk < until)
        ]
        found.sort(key=lambda item: item.sk, reverse=newest_first)
        return found if limit is None else found[:limit]

    def reap(self) -> None:
        """For tests: delete what has expired by now, as DynamoDB does some day."""
        now = self._now()
        for key, (_, expires_at) in list(self.items.items()):
            if expires_at is not None and expires_at <= now:
                del self.items[key]

    def _check(self, pk: str, sk: str, expected: str | None) -> None:
        stored = self.get(pk, sk)
        if (None if stored is None else stored.revision) != expected:
            raise ConflictError(f"{pk} / {sk}: expected {expected}, but it was written or deleted meanwhile")
