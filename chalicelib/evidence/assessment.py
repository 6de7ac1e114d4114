"""What the evidence about a window comes to: one word, one sentence on top, and what moved, worst first.

`worse`: the answers are wrong more often than in the baseline. `drift`: columns moved. `notice`: something moved, and
no second look has confirmed it yet. `unknown`: there was nothing to compare. Sentences name columns, shares and
times, and hold no value of the data: they go into messages.

Not here: who gets a message and what is done (`decisions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from chalicelib.evidence.alarms import Alarm, Evidence
from chalicelib.evidence.cause import Cause

Level = Literal["fine", "notice", "drift", "worse", "unknown"]

# Columns named in one sentence.
NAMED = 3


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A column ("" for the loss) that moved: what its share did, in words without a value, by how much (-1 to 1), since
    which window, and whether a second look confirmed it."""

    column: str
    what: str
    change: float
    since: str
    windows: int
    p: float
    confirmed: bool


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence comes to.

    `loss` and `columns`: what moved, worst first, one entry a column. `calibrated`: whether the alarms of the loss (or
    of the columns, where the loss has none) keep the promise on false alarms; `why_uncalibrated` says why not.
    `asked`: columns that were compared; `loss_asked`: whether there were settled labels to compare. `why`: the
    most likely cause, a line each.
    """

    level: Level
    headline: str
    loss: tuple[Moved, ...] = ()
    columns: tuple[Moved, ...] = ()
    calibrated: bool = False
    why_uncalibrated: str = ""
    asked: int = 0
    loss_asked: bool = False
    why: tuple[str, ...] = ()

    @property
    def wakes(self) -> bool:
        """Whether this is worth waking somebody: the answers are worse, and the promise on false alarms holds."""
        return self.level == "worse" and self.calibrated

    @property
    def real(self) -> bool:
        return self.level in ("drift", "worse")


UNKNOWN = Assessment(level="unknown", headline="Not known: there is no baseline to compare with.")
NO_RECORDS = Assessment(level="unknown", headline="Not known: no record was captured in this window.")
NOTHING_READ = Assessment(level="unknown", headline="Not known: no row could be read as the baseline's columns.")


def assess(evidence: Evidence, alone: bool, cause: Cause | None = None, loss_asked: bool = True) -> Assessment:
    """What the evidence of a window comes to. `alone`: it was looked at once, by itself, so there is nothing that could
    confirm an alarm and nothing to calibrate it with, and its budget is for this one look.

    `loss_asked`: whether settled labels were compared.
    """
    columns, loss = _moved(evidence.columns, alone), _moved(evidence.loss, alone)
    drifted = [each for each in columns if each.confirmed]
    worse = [each for each in loss if each.confirmed]
    asked = sum(bool(each.column) for each in evidence.visible)
    level: Level = "fine"
    if worse or drifted:
        level = "worse" if worse else "drift"
    elif columns or loss:
        level = "notice"
    elif not asked and not loss_asked:
        level = "unknown"
    calibration = evidence.loss_calibration if worse or (loss and not drifted) else evidence.columns_calibration
    return Assessment(
        level=level,
        headline=_headline(level, columns, loss, asked, loss_asked, alone),
        loss=loss,
        columns=columns,
        calibrated=alone or calibration.calibrated,
        why_uncalibrated="" if alone else calibration.reason,
        asked=asked,
        loss_asked=loss_asked,
        why=_why(cause, columns) if worse else (),
    )


def _moved(alarms: Sequence[Alarm], alone: bool) -> tuple[Moved, ...]:
    """One entry for each column: of its alarms a confirmed one first, then the most significant."""
    best: dict[str, Alarm] = {}
    for alarm in sorted(alarms, key=lambda each: (not (alone or each.confirmed), each.p, -abs(each.change))):
        best.setdefault(alarm.column, alarm)
    return tuple(
        Moved(
            column=each.column,
            what=each.plain,
            change=each.change,
            since=each.since,
            windows=each.windows,
            p=each.p,
            confirmed=alone or each.confirmed,
        )
        for each in best.values()
    )


def _headline(
    level: Level, columns: Sequence[Moved], loss: Sequence[Moved], asked: int, loss_asked: bool, alone: bool
) -> str:
    labels = "" if loss_asked else "; the error is not known without settled labels"
    compared = f"{asked} {'column' if asked == 1 else 'columns'}"
    if level == "unknown":
        return "Not known: nothing could be compared with the baseline."
    if level == "fine":
        what = f"none of {compared} moved beyond chance" if asked else "no column was compared"
        return f"All right: {what}{labels or ', nor did the error'}."
    moved = _named([each for each in columns if each.confirmed or level == "notice"])
    since = min((each.since for each in (*loss, *columns) if each.confirmed or level == "notice"), default="")
    begun = "" if alone else f" since {since}"
    if level == "worse":
        first = next(each for each in loss if each.confirmed)
        begun = "" if alone else f" since {first.since}"
        return f"Worse than the baseline{begun}: {first.what}" + (f"; {moved} moved too." if moved else ".")
    if level == "drift":
        first = next(each for each in columns if each.confirmed)
        rest = "; the error is not worse" if loss_asked else labels
        return f"Drift{begun}: {moved} moved ({first.column}: {first.what}){rest}."
    what = f"the error may be worse ({loss[0].what})" if loss else f"{moved} may have moved"
    return f"Unconfirmed{begun}: {what}; no second look has confirmed it{'' if loss else labels}."


def _named(columns: Sequence[Moved]) -> str:
    names = [f"`{each.column}`" for each in columns[:NAMED]]
    rest = len(columns) - len(names)
    return ", ".join(names) + (f" and {rest} more" if rest else "")


def _why(cause: Cause | None, columns: Sequence[Moved]) -> tuple[str, ...]:
    lines = [cause.text[0]] if cause and cause.text else []
    lines += [f"`{each.column}`: {each.what}" for each in columns[:NAMED]]
    if cause and cause.segment:
        lines.append(f"the error changed most in a segment by `{cause.segment.column}`")
    return tuple(lines)
