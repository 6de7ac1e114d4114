"""What is told of a run: the way of a few windows, read from their stored reports at some moments, and sums.

Knows words and columns. Refuses to know what was drawn beyond what the plan counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from chalicelib.records.window import Window
from local.late_labels.laws import Files, settledness
from local.late_labels.plan import HORIZON, HOUR, Plan
from local.late_labels.play import Account, report
from local.late_labels.recording import Recording

# How long after its end a window is looked at.
MOMENTS = (timedelta(minutes=30), HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 22 * HOUR, HORIZON + 2 * HOUR)

HEADING = (
    f"  {'after its end':>13} {'revision':>8} {'labelled rows':>14} {'of all':>7} {'settled':>8} "
    f"{'in the end':>10}  {'expected by':16} {'accuracy':>8} {'weighted':>8}"
)


@dataclass
class Watch:
    """Looks at some windows as time passes; `lines` are what it read of each."""

    windows: Sequence[Window]
    lines: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, account: Account) -> None:
        now = account.clock.now()
        for window in self.windows:
            seen = self.lines.setdefault(window.name, [])
            if len(seen) < len(MOMENTS) and now >= window.end + MOMENTS[len(seen)]:
                seen.append(line(account, window, MOMENTS[len(seen)]))


def line(account: Account, window: Window, after: timedelta) -> str:
    """One row of a window's table, from `evaluation.json` and `settledness.json` as they lie there."""
    own, told = report(account, window, "evaluation.json"), report(account, window, "settledness.json")
    if own is None or told is None:
        return f"  {_span(after):>13} no report yet"
    inputs, metrics = own["inputs"], own["selection"]["metrics"]
    accuracy = metrics.get("accuracy", {})
    by = "sealed" if told["sealed"] else f"{told['expected_by']:.16}".replace("T", " ") if told["expected_by"] else "-"
    labelled = f"{inputs['labelled_rows']} of {inputs['rows']}"
    return (
        f"  {_span(after):>13} {len(told['revisions']):8d} {labelled:>14} {inputs['label_coverage']:7.1%} "
        f"{told['settled_share']:8.1%} {told['expected_final_coverage']:10.1%}  {by:16} "
        f"{_number(accuracy.get('labelled'))} {_number(accuracy.get('weighted'))}"
    )


def _span(after: timedelta) -> str:
    return f"{after // HOUR} h" if after >= HOUR else f"{after // timedelta(minutes=1)} min"


def _number(value: float | None) -> str:
    return f"{value:8.4f}" if value is not None else f"{'-':>8}"


def what_is_sent(plan: Plan, seed: int) -> list[str]:
    """What the label systems do, in words and numbers."""
    counts, delays = plan.counts, plan.delays()
    total = counts["labels"]

    def share(name: str) -> str:
        return f"{counts[name]} ({counts[name] / total:.1%})"

    return [
        f"{total} labels (seed {seed}; {counts['by record']} of them of single records), in {counts['posts']} signed posts and "
        f"{counts['files']} dropped files, shuffled:",
        f"  half come within {delays[len(delays) // 2]:.1f} h of the request, nine tenths within "
        f"{delays[9 * len(delays) // 10]:.1f} h, the last after {delays[-1]:.1f} h",
        f"  {share('never')} never come in time; {counts['after the seal']} of these come after their window's seal",
        f"  {share('corrected')} come wrong and are corrected later; {counts['overtaken by their correction']} of these "
        "corrections arrive first",
        f"  {share('repeated')} come again in another delivery, and {counts['sent again']} posts are sent again as they "
        "were",
        f"  {share('placed')} say when the request was made, the others are looked up by their id",
        f"  {share('timed')} say when they became known; of the others, what comes later counts as later",
    ]


def revisions_of(stored: Files) -> tuple[int, float, int]:
    """The fewest, the median and the most revisions of the windows that had requests."""
    counts = [len(told["revisions"]) for told in map(json.loads, settledness(stored)) if told["requests"]]
    return min(counts), median(counts), max(counts)


def late_of(stored: Files) -> tuple[int, int]:
    """How many labels came after their window's seal, and of how many windows."""
    counts = [json.loads(body)["late_label_count"] for body in settledness(stored)]
    return sum(counts), sum(count > 0 for count in counts)


def what_windows_say(account: Account, window: Window) -> str:
    """The sentence that stands in a window's settledness.json."""
    told: Mapping[str, Any] | None = report(account, window, "settledness.json")
    return f"as of {told['as_of']}: {told['told']}" if told else "no report yet"


def bar(now: datetime, begin: datetime, end: datetime, recording: Recording) -> str:
    """Where the run is, for a terminal."""
    part = (now - begin) / (end - begin)
    return f"[{'#' * int(24 * part):24}] hour {(now - begin) // HOUR} of {(end - begin) // HOUR}"
