"""PART=windows: windows that fluctuate more than their rows: what is promised, what is marked, what is still seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chalicelib.evidence import compat
from chalicelib.evidence.blocks import Judged, judged
from chalicelib.evidence.questions import column_list, column_shares, never_had, questions_of
from chalicelib.evidence.windows import BUDGET_SHARE, LEAST_WINDOWS, checks_of, spread_of
from chalicelib.states.profile import Profile, profile_of_columns
from chalicelib.states.question_counts import question_counts
from chalicelib.states.selection import Selection
from demo.stream import FEATURES, load
from trials.evidence.part import Bound, Part, table, upper
from trials.evidence.streams import (
    BUDGET,
    LOOKS,
    USUAL,
    Column,
    alarm_times,
    asked_of,
    drawn,
    normal,
    padded,
    stream_of,
)

STREAMS = 300
MARKED_STREAMS = 200
POWER_STREAMS = 200
ORDERS = 60
SIZES = (200, 1_000, 10_000)
WEEK = 7

# The mean of each window and column: (draw, windows, columns) -> (windows, columns).
Means = Callable[[np.random.Generator, int, int], np.ndarray]


def independent(sd: float) -> Means:
    return lambda draw, windows, columns: draw.normal(0.0, 1.0, (windows, columns)) * sd


def one_cause(sd: float) -> Means:
    return lambda draw, windows, columns: np.repeat(draw.normal(0.0, sd, (windows, 1)), columns, axis=1)


def week(sd: float) -> Means:
    """A mean of its own for each day of the week, sd 2 of the windows' own, beside them."""

    def means(draw: np.random.Generator, windows: int, columns: int) -> np.ndarray:
        days = draw.normal(0.0, 2.0 * sd, (WEEK, columns))
        return days[np.arange(windows) % WEEK] + draw.normal(0.0, sd, (windows, columns))

    return means


def autocorrelated(rho: float, sd: float) -> Means:
    def means(draw: np.random.Generator, windows: int, columns: int) -> np.ndarray:
        steps = draw.normal(0.0, sd, (windows, columns))
        for place in range(1, windows):
            steps[place] = rho * steps[place - 1] + np.sqrt(1.0 - rho * rho) * steps[place]
        return steps

    return means


def heavy(sd: float) -> Means:
    return lambda draw, windows, columns: draw.standard_t(5, (windows, columns)) * sd / np.sqrt(5.0 / 3.0)


class Drawn:
    """One stream: K windows as the baseline, and the windows after them."""

    def __init__(
        self,
        draw: np.random.Generator,
        columns: Sequence[Column],
        n: int,
        means: np.ndarray,
        k: int = LEAST_WINDOWS,
        season: int = 1,
        of_columns: int | None = None,
        after: Sequence[Column] | None = None,
        at: int = 0,
    ) -> None:
        counts = [drawn(draw, column, n, means[:, place]) for place, column in enumerate(columns)]
        if after:
            for place, column in enumerate(after):
                counts[place][k + at :] = drawn(draw, column, n, means[k + at :, place])
        baseline = [each[:k].sum(axis=0) for each in counts]
        stream = stream_of(columns, baseline, budget=BUDGET * BUDGET_SHARE, of_columns=of_columns)
        yes, rows = stream.shares(counts)
        self._asked, self._k, self._season = stream.asked, k, season
        self._never = never_had(column_list(stream.questions))
        self._yes, self._rows = yes, rows

    @property
    def marked(self) -> bool:
        """Whether the baseline's windows are found not to allow a promise."""
        return not checks_of(self._yes[: self._k], self._rows[: self._k], self._phases(0, self._k)).hold

    def judge(self) -> dict[int, Judged]:
        k = self._k
        spread = spread_of(self._yes[:k], self._rows[:k], self._phases(0, k), self._never)
        (yes, there), (rows, _) = padded(self._yes[k:]), padded(self._rows[k:])
        return judged(self._asked, yes, rows, None, there, spread, self._phases(k, len(yes)))

    def _phases(self, first: int, windows: int) -> np.ndarray:
        return (first + np.arange(windows)) % self._season


def run(seed: int) -> Part:
    bounds: list[Bound] = []
    figures: dict[str, Any] = {}
    rows: list[list[Any]] = []

    def quiet(
        name: str, means: Means, n: int, season: int = 1, check: bool = False, bound: bool = True
    ) -> dict[str, float]:
        draw = np.random.default_rng([seed, 1, n, *name.encode()])
        hits = sure = marks = both = 0
        for _ in range(STREAMS):
            one = Drawn(draw, USUAL, n, means(draw, LEAST_WINDOWS + LOOKS, len(USUAL)), season=season)
            found = one.judge()
            alarm, confirmed = bool(alarm_times(found)), bool(alarm_times(found, confirmed=True))
            marked = check and one.marked
            hits, sure, marks = hits + alarm, sure + confirmed, marks + marked
            both += confirmed and not marked
        what = f"{name}, n = {n:,}"
        result = {
            "ever": hits / STREAMS,
            "bound": upper(hits, STREAMS),
            "ever_confirmed": sure / STREAMS,
            "marked": marks / STREAMS if check else None,
            "confirmed_and_not_marked": both / STREAMS if check else None,
        }
        figures[what] = result
        marks_ = [marks / STREAMS, both / STREAMS] if check else ["", ""]
        rows.append([name, f"{n:,}", result["ever"], result["bound"], result["ever_confirmed"], *marks_])
        if bound:
            bounds.append(Bound(f"ever an alarm, {what}: bound", result["bound"], 0.06))
        return {**result, "both": upper(both, STREAMS)}

    for sd in (0.0, 0.05, 0.1, 0.3):
        for n in SIZES:
            check = n >= 1_000 and sd <= 0.1
            found = quiet(f"independent, sd {sd:g}", independent(sd), n, check=check)
            if check:
                name = f"marked though independent, sd {sd:g}, n = {n:,}"
                bounds.append(Bound(name, found["marked"], 0.15))
    for n in SIZES:
        quiet("one cause in all columns, sd 0.1", one_cause(0.1), n)
        quiet("a declared week of 2 sd, sd 0.1", week(0.1), n, season=WEEK)
    for sd in (0.05, 0.1):
        for n in SIZES[1:]:
            found = quiet(f"t with 5 degrees, sd {sd:g}", heavy(sd), n, check=True, bound=False)
            name = f"confirmed and not marked, t with 5 degrees, sd {sd:g}, n = {n:,}: bound"
            bounds.append(Bound(name, found["both"], 0.12))
    marked_rows = []
    for rho in (0.3, 0.6, 0.9):
        for n in SIZES[1:]:
            draw = np.random.default_rng([seed, 2, n, int(10 * rho)])
            means = autocorrelated(rho, 0.1)
            drawn_ = (Drawn(draw, USUAL, n, means(draw, LEAST_WINDOWS, len(USUAL))) for _ in range(MARKED_STREAMS))
            share = sum(one.marked for one in drawn_) / MARKED_STREAMS
            figures[f"marked, autocorrelation {rho}, n = {n}"] = share
            marked_rows.append([rho, f"{n:,}", share])
            bounds.append(Bound(f"marked, autocorrelation {rho}, n = {n:,}", share, 0.95, at_least=True))
    delay_rows = []
    for sd, k, most in ((0.0, LEAST_WINDOWS, 2), (0.05, 56, 8)):
        median = float(np.median(_delays(seed, sd, k)))
        figures[f"median windows to a confirmed alarm, 0.2 sigma, sd {sd}, K = {k}"] = median
        delay_rows.append([f"{sd:g}", k, f"{median:g}"])
        bounds.append(Bound(f"median windows to a confirmed alarm, 0.2 sigma, sd {sd:g}, K = {k}", median, most))
    elec = _elec2(seed)
    figures["elec2"] = elec
    bounds.append(Bound("Elec2's weeks shuffled: ever a confirmed alarm", elec["ever_confirmed"], 0.12))
    lines = [
        f"Every window and column has its own mean (sd in units of a row's). K = {LEAST_WINDOWS} windows are the"
        f" baseline, {LOOKS} follow in which nothing changes; budget {BUDGET * BUDGET_SHARE:g}; {STREAMS} streams"
        " a line."
        ' "Marked": the alarm would be uncalibrated, because the order or the tails of the K windows are not those of'
        " exchangeable normal windows.",
        "",
        *table(["windows", "rows", "ever", "bound", "ever confirmed", "marked", "confirmed, not marked"], rows),
        "",
        f"Autocorrelated means (sd 0.1), {MARKED_STREAMS} streams: share marked.",
        "",
        *table(["autocorrelation", "rows", "marked"], marked_rows),
        "",
        f"One of 20 columns moves by 0.2 sigma, n = 1,000, {POWER_STREAMS} streams: windows to a confirmed alarm.",
        "",
        *table(["sd of the windows", "K", "median"], delay_rows),
        "",
        f"Elec2's {elec['weeks']} weeks in {ORDERS} random orders, so that nothing drifts; K = {LEAST_WINDOWS},"
        f" {elec['weeks'] - LEAST_WINDOWS} looks: ever an alarm {elec['ever']:.3f}, ever a confirmed one"
        f" {elec['ever_confirmed']:.3f}. Model Monitor's Robust rule (0.1) is violated in"
        f" {elec['robust_windows']:.3f} of these windows, at least once in {elec['robust_ever']:.3f} of the orders.",
    ]
    return Part("windows", "Windows that fluctuate", lines, figures, bounds)


def _delays(seed: int, sd: float, k: int) -> list[float]:
    draw = np.random.default_rng([seed, 3, k])
    found = []
    for _ in range(POWER_STREAMS):
        at = 32 + int(draw.integers(32))
        means = independent(sd)(draw, k + at + 64, 1)
        moved = [replace(normal(), mean=0.2)]
        one = Drawn(draw, [normal()], 1_000, means, k, of_columns=20, after=moved, at=at)
        times = [time for time in alarm_times(one.judge(), confirmed=True) if time >= at]
        found.append(times[0] - at + 1 if times else np.inf)
    return found


def _elec2(seed: int) -> dict[str, Any]:
    """Real weeks, whose order is drawn: each week's profile, the baseline of the first K, the alarms of the others."""
    stream = load()
    texts = [line.split(",") for line in stream.lines]
    weeks = []
    for number in range(stream.weeks):
        rows = texts[stream.week(number)]
        weeks.append(profile_of_columns(dict(zip(FEATURES, zip(*rows, strict=True), strict=True)), len(rows)))
    draw = np.random.default_rng([seed, 4])
    k, ever, confirmed, robust_windows, robust_ever = LEAST_WINDOWS, 0, 0, [], 0
    for _ in range(ORDERS):
        order = draw.permutation(len(weeks)).tolist()
        baseline = Profile()
        for week_ in order[:k]:
            baseline += weeks[week_]
        questions = questions_of("weeks", baseline)
        shares = [column_shares(questions, question_counts(questions, weeks[each], Selection())) for each in order]
        yes, rows, error = (np.array([each[place] for each in shares]) for place in range(3))
        asked = asked_of(questions, baseline, len(FEATURES), len(order) - k, BUDGET * BUDGET_SHARE)
        spread = spread_of(yes[:k], rows[:k], never=never_had(column_list(questions)))
        (some_yes, there), (some_rows, _), (some_error, _) = (padded(each[k:]) for each in (yes, rows, error))
        found = judged(asked, some_yes, some_rows, some_error, there, spread)
        ever += bool(alarm_times(found))
        confirmed += bool(alarm_times(found, confirmed=True))
        violated = [_robust(baseline, weeks[each]) for each in order[k:]]
        robust_windows.append(float(np.mean(violated)))
        robust_ever += any(violated)
    return {
        "weeks": len(weeks),
        "ever": ever / ORDERS,
        "ever_confirmed": confirmed / ORDERS,
        "robust_windows": float(np.mean(robust_windows)),
        "robust_ever": robust_ever / ORDERS,
    }


def _robust(baseline: Profile, week_: Profile) -> bool:
    """Model Monitor's Robust comparison at its default threshold, any column."""
    pairs = [
        (one.quantiles.weighted(), other.quantiles.weighted())
        for one, other in zip(baseline.columns, week_.columns, strict=True)
    ]
    return any(
        compat.robust(compat.distance_of_numbers(*pair), *(int(each[1].sum()) for each in pair)) > 0.1 for pair in pairs
    )
