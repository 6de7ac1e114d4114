"""Does an endpoint get the traffic that it usually gets at this time? Stopped, or less than half of the least.

Pure. The comparison is with the least of the windows of the same phase (hour of the day, or weekday), so nights and
weekends are no findings, at the price that a drop within the usual range is none either.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib.decisions.alert import Severity

# So many windows of the same phase say what is usual; else so many of any phase.
LEAST_ALIKE, LEAST_WINDOWS = 4, 12
# Fewer records than this in the least window are no traffic to speak of.
LEAST_ROWS = 30
SHARE = 0.5


class TrafficFinding(msgspec.Struct, frozen=True):
    severity: Severity
    reason: str


def is_suspicious(rows: int, before: Sequence[int]) -> bool:
    """Whether it is worth to look closer: less than half of what is usual in the windows before, whatever the phase."""
    usual = sorted(before)[len(before) // 2] if before else 0
    return rows < SHARE * usual


def traffic_finding(
    rows: int, alike: Sequence[int], before: Sequence[int], is_sampled_alike: bool
) -> TrafficFinding | None:
    """What to say of a window with so many records; None where it is nothing.

    `alike`: records of earlier windows of the same phase; `before`: of any phase. `is_sampled_alike`: data capture
    took the same share of requests in all of them; else only silence says something.
    """
    known, phase = (alike, " at this time") if len(alike) >= LEAST_ALIKE else (before, "")
    if len(known) < (LEAST_ALIKE if phase else LEAST_WINDOWS):
        return None
    least = min(known)
    if least < LEAST_ROWS:
        return None
    usual_rows = f"{len(known)} windows before{phase} had at least {least:,}"
    if rows == 0:
        return TrafficFinding("error", f"no record was captured; {usual_rows}")
    if rows < SHARE * least and is_sampled_alike:
        return TrafficFinding("warning", f"{rows:,} records were captured; {usual_rows}")
    return None
