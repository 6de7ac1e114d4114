"""Times as text, the same everywhere: names of windows, reports, alerts and messages. Not here: the clock."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(moment: datetime) -> str:
    """A timezone-aware time as `2026-01-05T18:00:00Z`: UTC, whole seconds, so that texts sort as times do."""
    return moment.astimezone(UTC).isoformat()[:19] + "Z"
