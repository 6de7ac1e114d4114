"""The emulator's time: everything in it reads a LogicalClock, not the wall clock, so a month passes in seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def _aware(name: str, value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"{name}: got a time without a zone; expected a timezone-aware datetime")
    return value.astimezone(UTC)


class LogicalClock:
    """A clock that moves only when advanced, never backwards. Safe to share between threads."""

    def __init__(self, start: datetime) -> None:
        self._now = _aware("start", start)
        self._lock = threading.Lock()
        self._listeners: list[Callable[[datetime], object]] = []

    def now(self) -> datetime:
        """The current time, timezone-aware UTC."""
        with self._lock:
            return self._now

    def advance(self, *, to: datetime | None = None, by: timedelta | None = None) -> datetime:
        """Move to a time or by a duration (exactly one of them) and return the new time.

        Raises ValueError when that would go backwards. Standing still is allowed.
        """
        if (to is None) == (by is None):
            raise ValueError("advance: expected exactly one of `to` and `by`")
        with self._lock:
            moved = _aware("to", to) if to is not None else self._now + (by or timedelta())
            if moved < self._now:
                raise ValueError(f"advance: {moved.isoformat()} is before {self._now.isoformat()}")
            self._now = moved
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(moved)
        return moved

    def follow(self, listener: Callable[[datetime], object]) -> None:
        """Call `listener` with the time, now and after every advance (in the thread that advances)."""
        with self._lock:
            self._listeners.append(listener)
            now = self._now
        listener(now)


def timestamp(moment: datetime) -> str:
    """A time as EventBridge writes it: `2026-01-31T09:00:00Z`, whole seconds."""
    return _aware("moment", moment).strftime("%Y-%m-%dT%H:%M:%SZ")
