"""How far the labels of a window have come, in numbers and in a sentence.

What depends on the window's own inputs alone (how long its labels took) is part of evaluation.json; what depends on
the moment and on other windows (where the labels are going) is label_maturity.json beside it. Knows both layouts
(docs/reports.md); refuses to know clocks: the moment is an argument.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from chalicelib.records.window import Window
from chalicelib.states.maturity import EDGES, Curve, LabelAges, Outlook, outlook, quantile

# "82 % of labels arrive within 3 days" is said of the first step by which so many of those that will come have come.
MOST = 0.8


def ages_findings(ages: LabelAges) -> dict[str, Any]:
    """How long the first labels of a window's requests took: a part of evaluation.json."""
    return {
        "requests": ages.requests,
        "labelled_requests": ages.labelled,
        "half_within_seconds": quantile(ages, 0.5) if ages.labelled else None,
        "nine_tenths_within_seconds": quantile(ages, 0.9) if ages.labelled else None,
        "steps": [
            {"up_to_seconds": EDGES[step] if step < len(EDGES) else None, "requests": count}
            for step, count in ages.counts
        ],
    }


def outlook_findings(
    ages: LabelAges, curve: Curve, window: Window, now: datetime, horizon: timedelta
) -> dict[str, Any]:
    """Where the labels of a window stand at `now`, and where `curve` says that they are going.

    `ages` and curve are counted from the window's end.
    """
    end = window.end
    sealed = now >= end + horizon
    known = Curve() if sealed else curve
    found = outlook(ages, known, max(0.0, (now - end).total_seconds()))
    by = None if found.settled_in is None or sealed else now + timedelta(seconds=found.settled_in)
    return {
        "as_of": _iso(now),
        "sealed": sealed,
        "sealed_at": _iso(end + horizon),
        "requests": ages.requests,
        "labelled_requests": ages.labelled,
        "label_coverage": found.coverage,
        "settled_share": found.settled_share,
        "expected_final_coverage": found.expected_coverage,
        "expected_by": _iso(by) if by else None,
        "summary": _summary(found, curve, sealed, by, now),
        "learned_from": {"windows": curve.windows, "requests": curve.requests},
        "maturity": [{"up_to_seconds": edge, "share": share} for edge, share in zip(EDGES, curve.shares, strict=False)],
    }


def _summary(found: Outlook, curve: Curve, sealed: bool, by: datetime | None, now: datetime) -> str:
    """`82 % of labels arrive within 3 days; this window is 41 % settled, expected final coverage 93 % on Friday`."""
    if sealed:
        return f"this window is sealed; its final coverage is {_percent(found.coverage)}"
    final = curve.shares[-1] if curve.shares else 0.0
    if not final:
        return f"no past window tells how long labels take; the coverage of this one is {_percent(found.coverage)}"
    edge, share = next((edge, share) for edge, share in zip(EDGES, curve.shares, strict=False) if share >= MOST * final)
    words = [f"{_percent(share / final)} of labels arrive " + (f"within {duration(edge)}" if edge else "in the window")]
    expected = f"expected final coverage {_percent(found.expected_coverage)}"
    if by is not None:
        expected += _when(by, now)
    words.append(f"this window is {_percent(found.settled_share)} settled, {expected}")
    return "; ".join(words)


def _when(by: datetime, now: datetime) -> str:
    if by <= now:
        return ", which is there"
    if by - now < timedelta(days=1):
        return f" at {by:%H:%M} UTC on {by:%A}"
    return f" on {by:%A}" if by - now < timedelta(days=6) else f" on {by:%A, %Y-%m-%d}"


def duration(seconds: int) -> str:
    """A whole number of the largest fitting unit: 259200 -> "3 days", 129600 -> "36 hours"."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0 and seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"


def _percent(share: float) -> str:
    """Rounded, but never to all or nothing of what is not."""
    if 0.0 < share < 0.01:
        return "less than 1 %"
    if 0.99 < share < 1.0:
        return "more than 99 %"
    return f"{share:.0%}".replace("%", " %")


def _iso(time: datetime) -> str:
    return time.isoformat()[:19] + "Z"
