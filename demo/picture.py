"""The picture: error over time, with the loop and never retrained, and the loop's actions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from chalicelib.facts.decisions import Outcome
from demo.reports import WindowReport

MARKS = {
    "started": ("retrain started", "#555555", ":"),
    "promoted": ("challenger promoted", "#1a7f37", "-"),
    "rolled_back": ("past champion back", "#8250df", "--"),
    "refused": ("challenger refused", "#cf222e", "-"),
}


def draw(path: Path, loop: Sequence[WindowReport], never: Sequence[WindowReport], outcomes: Sequence[Outcome]) -> None:
    """Write a PNG of both error lines (thin: each window; thick: mean of the last 8) and the outcomes' marks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.dates as dates
    import matplotlib.pyplot as plot

    figure, axes = plot.subplots(figsize=(12, 5.5), dpi=120)
    for reports, colour, name in ((never, "#d1242f", "never retrained"), (loop, "#0969da", "with the loop")):
        reports = [report for report in reports if report.labelled]
        times = [_time(report.window) for report in reports]
        errors = np.array([report.error for report in reports])
        axes.plot(times, errors, color=colour, alpha=0.28, linewidth=0.9)
        axes.plot(times, _trailing_mean(errors, 8), color=colour, linewidth=2.2, label=f"{name} (mean of 8 windows)")
    seen = set()
    for outcome in outcomes:
        if outcome.kind in MARKS:
            name, colour, style = MARKS[outcome.kind]
            axes.axvline(_time(outcome.at), color=colour, linestyle=style, linewidth=1.1, alpha=0.75,
                         label=name if name not in seen else None)  # fmt: skip
            seen.add(name)
    axes.set_ylabel("error rate of the served answers")
    axes.set_xlabel("demo clock (one hour = one week of electricity data)")
    axes.set_ylim(0, None)
    axes.xaxis.set_major_formatter(dates.DateFormatter("%d %b %H:%M"))
    axes.set_title("Elec2: a model goes stale; the loop notices, retrains, and brings past champions back")
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
    axes.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path)
    plot.close(figure)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _trailing_mean(values: np.ndarray, width: int) -> np.ndarray:
    return np.array([np.nanmean(values[max(0, at + 1 - width) : at + 1]) for at in range(len(values))])
