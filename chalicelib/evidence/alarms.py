"""What the evidence says about one window: which shares moved, since when, and how far that may be believed.

One pure function, `evidence_of`, from the question counts of a baseline and of at most 64 windows to a document. It is
a function of the set of windows, so the order in which windows, restatements and corrected labels come changes nothing,
and a correction takes an alarm back.

Not here: what is done about an alarm, who is woken (`decisions`), clocks, the store.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.evidence import windows as fluctuation
from chalicelib.evidence.blocks import HALF_AGREES, LENGTHS, NEIGHBOUR_AGREES, Asked, Judged, judged
from chalicelib.evidence.questions import (
    Question,
    column_list,
    column_shares,
    loss_list,
    loss_shares,
    never_had,
    tie_shares,
)
from chalicelib.evidence.shares import least_seen, level_of
from chalicelib.states.question_counts import QuestionCounts, QuestionSet

MOST_WINDOWS = 64

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """With probability of at most `ever`, a monitor on which nothing changes has an alarm `within` this time.

    It holds for columns and for the loss separately.
    """

    ever: float = 0.05
    within: timedelta = timedelta(days=365)

    def looks(self, window: timedelta) -> float:
        """How many windows of this length the period has."""
        return max(1.0, self.within / window)


class CountedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window's counts. `place`: its number since the epoch, which aligns blocks. `settled`: its labels are complete
    enough (sealed, or 99 % of those expected); the loss is asked of settled windows alone. `awaited`: labels that are
    still expected; they count as right answers, so that errors whose labels come first are no alarm."""

    name: str
    place: int
    counts: QuestionCounts
    settled: bool = False
    awaited: int = 0


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """A share that moved.

    column       the column, "" for the loss
    text         the question and the change in words: "share at or below 31 rose from 30.1 to 38.4 %"
    plain        the same without a value of the data, for messages
    first, last  names of the first and the last window of the block, one window or 2, 4 .. 32 of them
    windows      how many windows the block has
    since        name of the window that begins the unbroken run of alarms of this column that ends with this block
    p, level     the p-value, and the level that it had to reach
    before, share, change  the baseline's share, the block's, and the difference
    confirmed    whether a second window, or both halves of the block, agree
    calibrated   whether the baseline's windows allow to believe it; see `Calibration`
    """

    column: str
    kind: str
    text: str
    plain: str
    first: str
    last: str
    windows: int
    since: str
    p: float
    level: float
    before: float
    share: float
    change: float
    confirmed: bool
    calibrated: bool


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Whether alarms are calibrated, and why not. The numbers are None where there are too few baseline windows."""

    calibrated: bool
    reason: str
    windows: int
    order_p: float | None = None
    kurtosis: float | None = None
    kurtosis_limit: float | None = None


class Visible(msgspec.Struct, frozen=True, kw_only=True):
    """What could have been seen in this window of one column (or "" for the loss): the least change of a share, for the
    question whose baseline share is nearest to one half, that is found with probability 0.8 in so many rows, and the
    least that any number of rows could show against this baseline. None without rows on a side."""

    column: str
    rows: int
    least_change: float | None
    least_ever: float | None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence about window `window` against the baseline `baseline`.

    `columns` and `loss`: alarms of the blocks that contain the window, and those of its two neighbours alone that it
    confirms; one for each column and block, that of the most significant question (a confirmed one first).
    """

    window: str
    baseline: str
    columns: tuple[Alarm, ...]
    loss: tuple[Alarm, ...]
    columns_calibration: Calibration
    loss_calibration: Calibration
    visible: tuple[Visible, ...]


def evidence_of(
    questions: QuestionSet,
    baseline: QuestionCounts,
    windows: Sequence[CountedWindow],
    current: str,
    looks: float,
    *,
    ever: float = 0.05,
    reference: Sequence[CountedWindow] = (),
    season: int = 1,
) -> Evidence:
    """The evidence about the window named `current`, one of `windows` (those more than 64 places before the latest are
    left out).

    `looks`: windows in the period of the promise, `ever` its budget; one look for a single evaluation. `reference`: the
    baseline's windows, or the first settled ones after deployment in which no alarm fell; from 28 on they show how
    much windows fluctuate. `season`: after how many windows it repeats. Raises ValueError for counts of another
    baseline, two windows of one place, or a `current` that is not there.
    """
    if any(each.counts.baseline != baseline.baseline for each in (*windows, *reference)):
        raise ValueError("counts of one baseline")
    latest = max((each.place for each in windows), default=0)
    shown = sorted((each for each in windows if each.place > latest - MOST_WINDOWS), key=lambda each: each.place)
    if len({each.place for each in shown}) < len(shown):
        raise ValueError("one window for each place")
    here = next((each for each in shown if each.name == current), None)
    if here is None:
        raise ValueError("the current window is one of the latest 64")

    def of_columns(counts: QuestionCounts, awaited: int) -> tuple[Floats, Floats, Floats]:
        return column_shares(questions, counts)

    def of_loss(counts: QuestionCounts, awaited: int) -> tuple[Floats, Floats, Floats]:
        wrong, labelled = loss_shares(counts)
        return wrong, labelled + awaited, np.zeros(len(wrong))

    asked_columns, asked_loss = column_list(questions), loss_list(questions)
    of_column = Counter(each.column for each in asked_columns)
    per_column = np.array([of_column[each.column] for each in asked_columns])
    sides = [
        _Side(asked_columns, of_columns, tie_shares(questions), 1.0 * per_column * len(questions.columns), False),
        _Side(asked_loss, of_loss, np.zeros(len(asked_loss)), np.full(len(asked_loss), float(len(asked_loss))), True),
    ]
    found = []
    visible: list[Visible] = []
    for side in sides:
        settled = [each for each in shown if each.settled] if side.rise else shown
        usable = [each for each in reference if each.settled] if side.rise else reference
        enough = len(usable) >= max(fluctuation.LEAST_WINDOWS, 2 * season)
        budget = ever * (fluctuation.BUDGET_SHARE if enough else 1.0)
        asked = side.asked(baseline, budget, looks)
        spread, calibration = side.calibration(usable if enough else usable[:0], len(usable), season)
        alarms = _alarms(side, asked, settled, here, spread, season, calibration.calibrated)
        found.append((alarms, calibration))
        visible += _visible(side, asked, here)
    (columns, columns_calibration), (loss, loss_calibration) = found
    return Evidence(
        window=current,
        baseline=questions.baseline,
        columns=columns,
        loss=loss,
        columns_calibration=columns_calibration,
        loss_calibration=loss_calibration,
        visible=tuple(visible),
    )


class _Side(NamedTuple):
    """Columns or loss: what is asked, how counts answer, how many tests share a window's budget."""

    questions: Sequence[Question]
    shares: Callable[[QuestionCounts, int], tuple[Floats, Floats, Floats]]
    ties: Floats
    tests: Floats
    rise: bool

    def asked(self, baseline: QuestionCounts, budget: float, looks: float) -> Asked:
        yes, rows, error = self.shares(baseline, 0)
        return Asked(
            yes,
            rows,
            error,
            np.array([each.floor for each in self.questions]),
            level_of(budget, looks, self.tests),
            np.array([each.kind == "larger" for each in self.questions], dtype=np.bool_),
            self.ties,
            self.rise,
        )

    def stacked(self, some: Sequence[CountedWindow]) -> tuple[Floats, Floats, Floats]:
        """Yes, rows and error of windows, (windows, questions) each."""
        found = [self.shares(each.counts, each.awaited) for each in some]
        shape = (len(some), len(self.questions))
        yes, rows, error = (np.array([each[place] for each in found]).reshape(shape) for place in range(3))
        return yes, rows, error

    def calibration(
        self, reference: Sequence[CountedWindow], known: int, season: int
    ) -> tuple[fluctuation.Spread | None, Calibration]:
        if not reference or not self.questions:
            needed = max(fluctuation.LEAST_WINDOWS, 2 * season)
            reason = f"{known} baseline windows show how much windows fluctuate; {needed} are needed"
            return None, Calibration(calibrated=False, reason=reason, windows=known)
        ordered = sorted(reference, key=lambda each: each.place)
        yes, rows, _ = self.stacked(ordered)
        phases = np.array([each.place % season for each in ordered], dtype=np.int64)
        if len(np.unique(phases)) < season:
            reason = "the baseline's windows do not have every phase of the season"
            return None, Calibration(calibrated=False, reason=reason, windows=known)
        asked = (rows > 0).all(axis=0)
        checks = fluctuation.checks_of(yes[:, asked], rows[:, asked], phases)
        reasons = []
        if checks.order_p <= fluctuation.LEAST_ORDER_P:
            reasons.append(f"neighbouring baseline windows are alike (p = {checks.order_p:.3f})")
        if checks.kurtosis > checks.kurtosis_limit:
            reasons.append(f"baseline windows have heavy tails (kurtosis {checks.kurtosis:.2f})")
        calibration = Calibration(
            calibrated=checks.hold,
            reason="; ".join(reasons),
            windows=known,
            order_p=checks.order_p,
            kurtosis=checks.kurtosis,
            kurtosis_limit=checks.kurtosis_limit if math.isfinite(checks.kurtosis_limit) else None,
        )
        return fluctuation.spread_of(yes, rows, phases, never_had(self.questions)), calibration


def _alarms(
    side: _Side,
    asked: Asked,
    some: Sequence[CountedWindow],
    here: CountedWindow,
    spread: fluctuation.Spread | None,
    season: int,
    calibrated: bool,
) -> tuple[Alarm, ...]:
    if not some or not side.questions:
        return ()
    longest = LENGTHS[-1]
    begin = min(some[0].place, here.place) // longest * longest
    size = (max(some[-1].place, here.place) - begin) // longest * longest + longest
    names = {each.place - begin: each.name for each in some}
    places = np.array(sorted(names))
    arrays = [np.zeros((size, len(side.questions))) for _ in range(3)]
    for array, values in zip(arrays, side.stacked(some), strict=True):
        array[places] = values
    there = np.zeros(size, dtype=np.bool_)
    there[places] = True
    yes, rows, error = arrays
    found = judged(asked, yes, rows, error, there, spread, (begin + np.arange(size)) % season)
    columns = list(dict.fromkeys(each.column for each in side.questions))
    alarms = []
    for column in columns:
        of_column = np.array([each.column == column for each in side.questions])
        covered, begun = _covered(found, of_column, size)
        covered |= ~there
        for length, block in _blocks_of(here.place - begin, size):
            place = _lead(found[length], block, of_column)
            if place is None or not _is_present(found, length, block, here.place - begin, place):
                continue
            first, last = block * length, block * length + length - 1
            alarms.append(
                _alarm(
                    side.questions[place],
                    found[length],
                    (block, place),
                    asked,
                    names[first],
                    names[last],
                    length,
                    names[_since(covered, begun, first)],
                    calibrated,
                )
            )
    return tuple(alarms)


def _alarm(
    question: Question,
    found: Judged,
    at: tuple[int, int],
    asked: Asked,
    first: str,
    last: str,
    length: int,
    since: str,
    calibrated: bool,
) -> Alarm:
    before, share = float(asked.yes[at[1]] / asked.rows[at[1]]), float(found.share[at])
    verb = "rose" if share > before else "fell"
    moved = f"{verb} from {100 * before:.1f} to {100 * share:.1f} %"
    return Alarm(
        column=question.column,
        kind=question.kind,
        text=f"{question.words} {moved}",
        plain=f"{question.plain_words(before)} {moved}",
        first=first,
        last=last,
        windows=length,
        since=since,
        p=float(found.p[at]),
        level=float(asked.level[at[1]]),
        before=before,
        share=share,
        change=share - before,
        confirmed=bool(found.confirmed[at]),
        calibrated=calibrated,
    )


def _blocks_of(place: int, size: int) -> list[tuple[int, int]]:
    """(length, block) of the window, its two neighbours, and the longer blocks that contain it."""
    alone = [(1, near) for near in (place - 1, place, place + 1) if 0 <= near < size]
    return alone + [(length, place // length) for length in LENGTHS[1:]]


def _is_present(found: dict[int, Judged], length: int, block: int, here: int, place: int) -> bool:
    """Whether an alarm says something of this window: its own, one of a neighbour that it confirms, and that of a block
    whose later half agrees. A block that only its older half has made alarming tells of what is over."""
    if length == 1:
        away = float(np.sign(found[1].change[block, place]) * found[1].deviates[here, place])
        return block == here or away >= NEIGHBOUR_AGREES
    later = found[length // 2].deviates[2 * block + 1, place]
    return float(np.sign(found[length].change[block, place]) * later) >= HALF_AGREES


def _lead(found: Judged, block: int, of_column: Flags) -> int | None:
    """The question of the column's alarm: a confirmed one first, then that of the smallest p."""
    places = np.flatnonzero(found.alarm[block] & of_column).tolist()
    if not places:
        return None
    return int(min(places, key=lambda place: (not found.confirmed[block, place], found.p[block, place], place)))


def _covered(found: dict[int, Judged], of_column: Flags, size: int) -> tuple[Flags, Flags]:
    """Which windows lie in a block that has an alarm of the column; and which in one of whose parts none has."""
    covered, begun = np.zeros(size, dtype=np.bool_), np.zeros(size, dtype=np.bool_)
    parts = np.zeros(2 * size, dtype=np.bool_)
    for length, each in found.items():
        alarms = (each.alarm & of_column).any(axis=1)
        inside = parts[0::2] | parts[1::2]
        covered |= np.repeat(alarms, length)
        begun |= np.repeat(alarms & ~inside, length)
        parts = alarms | inside
    return covered, begun


def _since(covered: Flags, begun: Flags, place: int) -> int:
    """The window with which the run of covered windows that contains `place` began: a long block may reach back to
    windows in which nothing had happened yet, so the run counts from the first block that no shorter one explains."""
    first = place
    while first > 0 and covered[first - 1]:
        first -= 1
    return first + int(np.argmax(begun[first:]))


def _visible(side: _Side, asked: Asked, here: CountedWindow) -> list[Visible]:
    rows = side.shares(here.counts, here.awaited)[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.nan_to_num(asked.yes / asked.rows, nan=0.0)
    found = []
    for column in dict.fromkeys(each.column for each in side.questions):
        places = [place for place, each in enumerate(side.questions) if each.column == column and each.kind != "larger"]
        place = min(places, key=lambda place: (abs(share[place] - 0.5), place))
        known = (float(share[place]), float(asked.level[place]), float(asked.floor[place]))
        now = least_seen(*known, float(rows[place]), float(asked.rows[place]))
        ever = least_seen(*known, math.inf, float(asked.rows[place]))
        found.append(
            Visible(
                column=column,
                rows=int(rows[place]),
                least_change=None if math.isnan(now) else now,
                least_ever=None if math.isnan(ever) else ever,
            )
        )
    return found
