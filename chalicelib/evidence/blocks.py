"""Windows alone and in aligned blocks of 2, 4 .. 32, tested against a baseline, on arrays.

A small change shows only in many rows, so neighbouring windows are added up. There are no more blocks than windows, so
that one half of the budget for single windows and one for blocks keeps the sum over all tests within the budget. Arrays
have windows on the axis before the last and questions on the last; axes before these are streams. A window's place is
its number since the epoch, and a block of L begins at a multiple of L.

Not here: what windows and questions are called (`evidence.alarms`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chalicelib.evidence import shares
from chalicelib.evidence.windows import Spread, away_from, t_two_sided, t_values

LENGTHS = (1, 2, 4, 8, 16, 32)
# By how much a neighbour must deviate to the same side to confirm the alarm of a single window, and each half that of
# a block.
NEIGHBOUR_AGREES, HALF_AGREES = 3.0, 2.0

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class Asked(NamedTuple):
    """The baseline's side of each question, arrays that broadcast against (..., windows, questions).

    `yes`, `rows` and `error` (rows by which "yes" may be wrong) of the baseline; `floor` and `level` of each test;
    `larger`: which questions are "larger than a random row of the baseline" (tested by Mann and Whitney's normal
    deviate), and their `ties`; `rise`: only a rise is asked for, one-sided.
    """

    yes: Floats
    rows: Floats
    error: Floats
    floor: Floats
    level: Floats
    larger: Flags
    ties: Floats
    rise: bool = False


class Tested(NamedTuple):
    """Per window or block and question: p, the change of the share, and whether it is an alarm.

    p is computed where an alarm is possible, and 1 elsewhere. `change` is nan where a side has no rows.
    """

    p: Floats
    change: Floats
    alarm: Flags


def added(values: Floats, length: int) -> Floats:
    """Sums over blocks of `length` windows; the number of windows must be a multiple of it."""
    if length == 1:
        return values
    *streams, windows, questions = values.shape
    found: Floats = values.reshape(*streams, windows // length, length, questions).sum(axis=-2)
    return found


def tested(asked: Asked, yes: Floats, rows: Floats, error: Floats | None = None, where: Flags | None = None) -> Tested:
    """Test windows or blocks: `yes` of `rows`, of which `error` rows may be wrong; `where`: those that may be alarms.

    An alarm needs a change of at least the floor, and p at or below the level, both after the errors of both sides are
    taken off the change.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share, known = yes / rows, asked.yes / asked.rows
        slack: Floats = asked.error / asked.rows
        if error is not None:
            slack = np.add(slack, error / rows)
        change = share - known
        size = np.abs(change) - slack
        if asked.rise:
            size = np.where(change > 0, size, -1.0)
        pooled = (yes + asked.yes) / (rows + asked.rows)
        deviation = shares.share_deviation(pooled, rows, asked.rows)
        if asked.larger.any():
            deviation = np.where(asked.larger, shares.rank_deviation(rows, asked.rows, asked.ties), deviation)
        # No count that is nearer than this can reach the level: its tail is at least exp(-z^2), which is the
        # probability of no "yes" at all where they are rare.
        needed = np.maximum(asked.floor, np.sqrt(-np.log(asked.level)) * deviation)
        possible = size >= needed - 1e-12
    if where is not None:
        possible = possible & where
    p = np.ones(change.shape)
    places = np.nonzero(possible)
    if len(places[0]):
        p[places] = _exact(asked, yes, rows, error, change, deviation, places)
    return Tested(p, change, possible & (p <= asked.level))


def _exact(
    asked: Asked,
    yes: Floats,
    rows: Floats,
    error: Floats | None,
    change: Floats,
    deviation: Floats,
    places: tuple[npt.NDArray[np.intp], ...],
) -> Floats:
    def chosen(values: Floats | Flags) -> Floats:
        found: Floats = np.broadcast_to(values, change.shape)[places].astype(np.float64)
        return found

    k, n, k0, m = chosen(yes), chosen(rows), chosen(asked.yes), chosen(asked.rows)
    sign = np.sign(chosen(change))
    wrong, wrong0 = (chosen(error) if error is not None else np.zeros(len(k))), chosen(asked.error)
    larger = chosen(asked.larger).astype(np.bool_)
    found = np.ones(len(k))
    if larger.any():
        slack = wrong[larger] / n[larger] + wrong0[larger] / m[larger]
        z = (np.abs(chosen(change)[larger]) - slack) / chosen(deviation)[larger]
        found[larger] = shares.normal_two_sided(z)
    counted = ~larger
    test = shares.one_sided if asked.rise else shares.two_sided
    k, k0 = np.clip(k - sign * wrong, 0, n), np.clip(k0 + sign * wrong0, 0, m)
    found[counted] = test(k[counted], n[counted], k0[counted], m[counted])
    return found


class Judged(NamedTuple):
    """The blocks of one length, (..., blocks, questions): p, change, share, alarms, which of them are confirmed, and by
    how much each deviates, in t or in standard deviations."""

    p: Floats
    change: Floats
    share: Floats
    alarm: Flags
    confirmed: Flags
    deviates: Floats


def judged(
    asked: Asked,
    yes: Floats,
    rows: Floats,
    error: Floats | None = None,
    there: Flags | None = None,
    spread: Spread | None = None,
    phases: Places | None = None,
) -> dict[int, Judged]:
    """Every window and every aligned block, by length; arrays (..., windows, questions), windows from a multiple of 32.

    `there`, (..., windows): a block with a window that is not there is no alarm yet. `spread`: the baseline's windows,
    if there are enough; then Fisher's test, t and the floor must agree, and p is the larger one. `phases`: of windows.

    A second opinion confirms an alarm: of a single window a neighbour that deviates to the same side by at least 3, of
    a block both halves by at least 2, in t where there is a spread and else in standard deviations of the share.
    """
    found: dict[int, Judged] = {}
    halves: Floats | None = None
    away = None if spread is None else away_from(spread, yes, rows, phases)
    for length in LENGTHS:
        if yes.shape[-2] % length:
            break
        some_yes, some_rows = added(yes, length), added(rows, length)
        some_error = None if error is None else added(error, length)
        if spread is None or away is None:
            p, change, alarm = tested(asked, some_yes, some_rows, some_error)
            deviates = _deviates(asked, some_yes, some_rows)
        else:
            deviates = t_values(spread, away, length, phases)
            # The tail of t is heavier than the normal one, which is at least exp(-z^2) at these levels.
            likely = deviates**2 >= -np.log(asked.level)
            p, change, alarm = tested(asked, some_yes, some_rows, some_error, likely)
            p_of_t, places = np.ones(p.shape), np.nonzero(alarm & (np.sign(deviates) == np.sign(change)))
            p_of_t[places] = t_two_sided(deviates[places], spread.degrees) / (2.0 if asked.rise else 1.0)
            p = np.maximum(p, p_of_t)
            alarm = alarm & (p <= asked.level)
        if there is not None:
            complete = np.asarray(there.reshape(*there.shape[:-1], -1, length).all(axis=-1))[..., None]
            alarm, deviates = alarm & complete, np.where(complete, deviates, 0.0)
        confirmed = _confirmed(alarm, np.sign(change), deviates, halves)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[length] = Judged(p, change, some_yes / some_rows, alarm, confirmed, deviates)
        halves = deviates
    return found


def _confirmed(alarm: Flags, sign: Floats, deviates: Floats, halves: Floats | None) -> Flags:
    # No change and an infinite deviation is no agreement.
    with np.errstate(invalid="ignore"):
        if halves is not None:
            older, later = sign * halves[..., 0::2, :], sign * halves[..., 1::2, :]
            return alarm & (older >= HALF_AGREES) & (later >= HALF_AGREES)
        agrees = np.zeros(alarm.shape, dtype=np.bool_)
        agrees[..., :-1, :] |= sign[..., :-1, :] * deviates[..., 1:, :] >= NEIGHBOUR_AGREES
        agrees[..., 1:, :] |= sign[..., 1:, :] * deviates[..., :-1, :] >= NEIGHBOUR_AGREES
    return alarm & agrees


def _deviates(asked: Asked, yes: Floats, rows: Floats) -> Floats:
    """How many standard deviations a share is from the baseline's; 0 without rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (yes + asked.yes) / (rows + asked.rows)
        deviation = shares.share_deviation(pooled, rows, asked.rows)
        deviation = np.where(asked.larger, shares.rank_deviation(rows, asked.rows, asked.ties), deviation)
        z = (yes / rows - asked.yes / asked.rows) / deviation
    return np.nan_to_num(z, nan=0.0, posinf=np.inf, neginf=-np.inf)
