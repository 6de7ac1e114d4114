"""The fakes for many threads and many items: the same answers, without looking through everything for each.

A function has one thread, and tests have few items; a load has neither.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from chalicelib.ports import Item
from emulator.memory import MemoryLedger, MemoryObjectStore


class SharedLedger(MemoryLedger):
    """Each partition in a table of its own."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self._lock = threading.Lock()
        self._partitions: dict[str, MemoryLedger] = {}

    def put(self, pk: str, sk: str, *args: Any, **named: Any) -> str:
        with self._lock:
            return self._partition(pk).put(pk, sk, *args, **named)

    def get(self, pk: str, sk: str) -> Item | None:
        with self._lock:
            return self._partition(pk).get(pk, sk)

    def delete(self, pk: str, sk: str, *, expected: str) -> None:
        with self._lock:
            self._partition(pk).delete(pk, sk, expected=expected)

    def query(self, pk: str, **named: Any) -> list[Item]:
        with self._lock:
            return self._partition(pk).query(pk, **named)

    def _partition(self, pk: str) -> MemoryLedger:
        if pk not in self._partitions:
            self._partitions[pk] = MemoryLedger(self._now)
        return self._partitions[pk]


class SharedObjects(MemoryObjectStore):
    """The keys kept in order, so that a listing begins where its prefix does."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self._lock = threading.RLock()
        self._ordered: dict[str, list[str]] = {}

    def put(self, bucket: str, key: str, *args: Any, **named: Any) -> str:
        with self._lock:
            if (bucket, key) not in self.objects:
                bisect.insort(self._ordered.setdefault(bucket, []), key)
            return super().put(bucket, key, *args, **named)

    def put_if_absent(self, *args: Any, **named: Any) -> bool:
        with self._lock:
            return super().put_if_absent(*args, **named)

    def delete(self, bucket: str, key: str) -> None:
        with self._lock:
            if (bucket, key) in self.objects:
                ordered = self._ordered[bucket]
                del ordered[bisect.bisect_left(ordered, key)]
            super().delete(bucket, key)

    def keys(self, bucket: str, prefix: str = "") -> tuple[str, ...]:
        with self._lock:
            ordered = self._ordered.get(bucket, [])
            found = []
            for place in range(bisect.bisect_left(ordered, prefix), len(ordered)):
                if not ordered[place].startswith(prefix):
                    break
                found.append(ordered[place])
            return tuple(found)
