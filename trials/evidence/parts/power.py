"""PART=power: one column of 20 changes. How soon is it seen?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from trials.evidence.part import Bound, Part, picture_line, png, table
from trials.evidence.streams import (
    BASELINE_ROWS,
    CATEGORIES,
    LOOKS,
    STREAMS,
    Column,
    alarm_times,
    categories,
    drawn,
    judge,
    normal,
    stream_of,
)

COLUMNS = 20
BEFORE, AFTER = 32, 96
YEAR = 365 * 24

NORMAL, CATEGORY = normal(), categories(*CATEGORIES)
# Five rows of a hundred move from the most frequent category to the rarest.
MOVED = (CATEGORIES[0] - 0.05, *CATEGORIES[1:-1], CATEGORIES[-1] + 0.05)
CHANGES: dict[str, tuple[Column, Column]] = {
    "0.05 sigma": (NORMAL, replace(NORMAL, mean=0.05)),
    "0.1 sigma": (NORMAL, replace(NORMAL, mean=0.1)),
    "0.2 sigma": (NORMAL, replace(NORMAL, mean=0.2)),
    "0.5 sigma": (NORMAL, replace(NORMAL, mean=0.5)),
    "category 5 %": (CATEGORY, replace(CATEGORY, shares=MOVED)),
    "variance x1.5": (NORMAL, replace(NORMAL, scale=1.5**0.5)),
    "nulls 1 to 3 %": (NORMAL, replace(NORMAL, missing=0.03)),
}


def run(seed: int) -> Part:
    """Delays of the changed column's own alarms, in windows from the change, with the levels of 20 columns."""
    bounds: list[Bound] = []
    figures: dict[str, Any] = {}
    rows = []
    curves: dict[str, np.ndarray] = {}

    def delays(
        change: str, n: int, baseline: int = BASELINE_ROWS, looks: float = LOOKS, floor: bool = True
    ) -> np.ndarray:
        draw = np.random.default_rng([seed, n, baseline, int(looks), list(CHANGES).index(change), floor])
        found = np.array([_delay(draw, *CHANGES[change], n, baseline, looks, floor) for _ in range(STREAMS)])
        if (n, baseline, looks) == (1_000, BASELINE_ROWS, LOOKS):
            curves[change] = found
        first, median = float((found == 1).mean()), float(np.median(found))
        name = f"{change}, n = {n:,}, baseline {baseline:,}" + (", budget of a year" if looks == YEAR else "")
        name += "" if floor else ", without a floor"
        ever = float(np.isfinite(found).mean())
        figures[name] = {"first_window": first, "median": median if np.isfinite(median) else None, "ever": ever}
        rows.append([change, f"{n:,}", f"{baseline:,}", _budget(looks) + ("" if floor else ", no floor"), first,
                     f"{median:g}" if np.isfinite(median) else "never", ever])  # fmt: skip
        return found

    def at_once(change: str, n: int, least: float, **how: Any) -> None:
        found = delays(change, n, **how)
        bounds.append(
            Bound(f"seen in the first window: {_name(change, n, how)}", float((found == 1).mean()), least, True)
        )

    def soon(change: str, n: int, most: float, **how: Any) -> None:
        found = delays(change, n, **how)
        bounds.append(Bound(f"median windows: {_name(change, n, how)}", float(np.median(found)), most))

    at_once("0.2 sigma", 1_000, 0.75)
    at_once("category 5 %", 1_000, 0.75)
    at_once("variance x1.5", 1_000, 0.55)
    soon("nulls 1 to 3 %", 1_000, 3)
    soon("0.1 sigma", 1_000, 12)
    at_once("0.2 sigma", 1_000, 0.8, baseline=20_000)
    for change in ("0.2 sigma", "category 5 %", "variance x1.5", "nulls 1 to 3 %"):
        at_once(change, 10_000, 0.99)
    at_once("0.1 sigma", 10_000, 0.9, baseline=20_000)
    soon("0.2 sigma", 200, 8)
    soon("0.2 sigma", 50, 30)
    soon("0.5 sigma", 50, 5)
    found = delays("0.05 sigma", 100_000, baseline=20_000)
    bounds.append(Bound("ever, 0.05 sigma (below the floor), n = 100,000", float(np.isfinite(found).mean()), 0.15))
    delays("0.05 sigma", 100_000, baseline=20_000, floor=False)
    year = delays("0.2 sigma", 1_000, looks=YEAR)
    name = "0.2 sigma, n = 1,000, budget of a year of hourly windows"
    bounds.append(Bound(f"seen in the first window: {name}", float((year == 1).mean()), 0.4, True))
    bounds.append(Bound(f"median windows: {name}", float(np.median(year)), 2))
    lines = [
        f"One of {COLUMNS} columns changes at a random window of the 33rd to 64th and stays so for {AFTER} windows;"
        f" {STREAMS} streams a line. Counted are the alarms of that column alone, at the levels of {COLUMNS} columns."
        ' "Category 5 %": 5 rows of 100 move from the most frequent category (40 %) to the rarest (5 %). The same'
        " configuration is silent in `PART=null`.",
        "",
        *table(["change", "rows a window", "baseline", "budget for", "first window", "median windows", "ever"], rows),
        "",
        picture_line("power", "Share of streams with an alarm, by windows since the change, n = 1,000"),
    ]
    return Part("power", "When something changes", lines, figures, bounds, {"power": _picture(curves)})


def _picture(curves: dict[str, np.ndarray]) -> bytes:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plot

    figure, axes = plot.subplots(figsize=(8, 4), dpi=110)
    windows = np.arange(1, 25)
    for change, found in curves.items():
        axes.step(windows, [(found <= window).mean() for window in windows], where="post", label=change)
    axes.set(xlabel="windows since the change", ylabel="share of streams with an alarm", ylim=(0, 1.02))
    axes.set_title("One of 20 columns changes; windows of 1,000 rows, baseline of 5,000")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    found_png = png(figure)
    plot.close(figure)
    return found_png


def _delay(
    draw: np.random.Generator, before: Column, after: Column, n: int, m: int, looks: float, floor: bool
) -> float:
    """Windows from the change to the first alarm that the change can have caused, 1 for the first; inf for never."""
    stream = stream_of([before], [drawn(draw, before, m, np.zeros(1))[0]], looks, of_columns=COLUMNS)
    if not floor:
        stream = replace(stream, asked=stream.asked._replace(floor=np.zeros(len(stream.asked.floor))))
    at = BEFORE + int(draw.integers(BEFORE))
    counts = np.concatenate([drawn(draw, before, n, np.zeros(at)), drawn(draw, after, n, np.zeros(AFTER))])
    times = [time for time in alarm_times(judge(stream, [counts])) if time >= at]
    return times[0] - at + 1 if times else np.inf


def _budget(looks: float) -> str:
    return "a year of hours" if looks == YEAR else f"{looks:g} windows"


def _name(change: str, n: int, how: dict[str, Any]) -> str:
    return f"{change}, n = {n:,}" + (f", baseline {how['baseline']:,}" if "baseline" in how else "")
