"""A ledger in which somebody else writes between a read and the write that follows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from emulator.memory import MemoryLedger

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)

Intruder = Callable[[MemoryLedger], Any]


class RacingLedger(MemoryLedger):
    """Before each of its first writes or deletions lets an intruder at the same table."""

    def __init__(self, *intruders: Intruder) -> None:
        super().__init__(lambda: NOW)
        self._intruders = list(intruders)

    def put(self, pk: str, sk: str, body: bytes, *, expected: str | None, expires_at: datetime | None = None) -> str:
        self._let_in()
        return super().put(pk, sk, body, expected=expected, expires_at=expires_at)

    def delete(self, pk: str, sk: str, *, expected: str) -> None:
        self._let_in()
        super().delete(pk, sk, expected=expected)

    def _let_in(self) -> None:
        if self._intruders:
            intruder = self._intruders.pop(0)
            waiting, self._intruders = self._intruders, []  # the intruder itself is not disturbed
            intruder(self)
            self._intruders = waiting


def memory_ledger() -> MemoryLedger:
    return MemoryLedger(lambda: NOW)
