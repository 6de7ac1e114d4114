"""The summary of a run: some windows over time, read from their stored reports, totals, and the verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from chalicelib.records.window import Window
from emulator.clock import timestamp
from trials.late_labels.laws import AGES, ONCE, Compared, Files, label_maturity
from trials.late_labels.plan import HORIZON, HOUR, Plan
from trials.late_labels.play import Account, report
from trials.late_labels.recording import Recording
from trials.late_labels.run import Verdict

# How long after its end a window is looked at; at one of these moments its sentence is kept, too.
MOMENTS = (timedelta(minutes=30), HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 22 * HOUR, HORIZON + 2 * HOUR)
QUOTED = 6 * HOUR

HEADING = (
    f"{'after its end':>15} {'revision':>9} {'rows with a label':>19}  {'settled':>8} {'in the end':>12} {'':14} "
    f"{'accuracy':>9} {'weighted':>9}"
)
LEGEND = (
    "rows with a label, accuracy, and accuracy weighted by score (for labels that come selectively): evaluation.json;",
    "settled, as a share of the labels expected in the end, and when: label_maturity.json, which counts requests",
)

# Breaches that are listed one by one.
SHOWN = 8


def chosen(windows: Sequence[Window]) -> list[Window]:
    """An early window, which few have taught, one of the middle and the last."""
    return sorted({windows[len(windows) // 12], windows[len(windows) // 2], windows[-1]})


@dataclass
class Watch:
    """Looks at some windows as time passes."""

    windows: Sequence[Window]
    lines: dict[str, list[str]] = field(default_factory=dict)
    sentences: dict[str, str] = field(default_factory=dict)

    def __call__(self, account: Account) -> None:
        """Read what the stored reports of the windows say whose moment has come."""
        now = account.clock.now()
        for window in self.windows:
            seen = self.lines.setdefault(window.name, [])
            if len(seen) < len(MOMENTS) and now >= window.end + MOMENTS[len(seen)]:
                if MOMENTS[len(seen)] == QUOTED and (maturity := report(account, window, "label_maturity.json")):
                    self.sentences[window.name] = str(maturity["summary"])
                seen.append(line(account, window, MOMENTS[len(seen)]))

    def tables(self) -> list[str]:
        """What was read, a table for each window."""
        found = []
        for window in self.windows:
            found += ["", f"window {window.name}, as its stored reports said at the time", HEADING]
            found += self.lines.get(window.name, [])
            if window.name in self.sentences:
                found.append(f"{_span(QUOTED):>15} in its own words: {self.sentences[window.name]}")
        return [*found, "", *LEGEND]


def line(account: Account, window: Window, after: timedelta) -> str:
    """One row of a window's table, from `evaluation.json` and `label_maturity.json` as they lie there."""
    own, maturity = report(account, window, "evaluation.json"), report(account, window, "label_maturity.json")
    if own is None or maturity is None:
        return f"{_span(after):>15} no report yet"
    inputs, accuracy = own["inputs"], own["selection"]["metrics"].get("accuracy", {})
    labelled = f"{inputs['labelled_rows']} of {inputs['rows']} {_share(inputs['label_coverage']):>7}"
    by = f"by {maturity['expected_by'][5:16].replace('T', ' ')}" if maturity["expected_by"] else ""
    if maturity["sealed_at"] <= timestamp(account.clock.now()):
        by = "sealed"
    columns = (
        f"{_span(after):>15} {len(maturity['revisions']):9d} {labelled:>19}  {_share(maturity['settled_share']):>8}",
        f"{_share(maturity['expected_final_coverage']):>12} {by:14}",
        f"{_number(accuracy.get('labelled')):>9} {_number(accuracy.get('weighted')):>9}",
    )
    return " ".join(columns)


def _span(after: timedelta) -> str:
    return f"{after // HOUR} h" if after >= HOUR else f"{after // timedelta(minutes=1)} min"


def _share(part: float) -> str:
    return f"{part:.1%}".replace("%", " %")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def what_was_recorded(recording: Recording) -> list[str]:
    """The captures, and what their windows are."""
    return [
        f"{recording.rows} rows in {len(recording.asked)} requests, {len(recording.captures)} capture files. "
        f"Each hour is a window and takes labels for {HORIZON // HOUR} hours after its end."
    ]


def what_is_sent(plan: Plan, seed: int) -> list[str]:
    """What the label systems do, in words and numbers."""
    counts, delays = plan.counts, plan.delays()
    half, most = delays[len(delays) // 2], delays[9 * len(delays) // 10]

    def some(name: str) -> str:
        return f"{counts[name]:6d} {_share(counts[name] / counts['labels']):>7}"

    return [
        f"{counts['labels']} labels (drawn from seed {seed}) come shuffled in {counts['posts']} signed posts and "
        f"{counts['files']} dropped files,",
        f"half of them within {half:.1f} h of the request, nine tenths within {most:.1f} h, the last after "
        f"{delays[-1]:.1f} h. Of all",
        f"{some('never')}  never come in time; {counts['after the seal']} of these come when their window is sealed",
        f"{some('corrected')}  come wrong, and right later; of {counts['overtaken by their correction']} the right one "
        "arrives first, with its time",
        f"{some('repeated')}  come again in another post or file; besides, {counts['sent again']} posts are sent again "
        "as they were",
        f"{some('by record')}  are of one record of a request, the others of a whole request",
        f"{some('placed')}  say when the request was made, the others are looked up by id",
        f"{some('timed')}  say when they became known; of the others, what comes later counts as later",
    ]


def what_was_restated(stored: Files) -> list[str]:
    """How often reports were restated, and what came too late for it."""
    found = [each for each in map(json.loads, label_maturity(stored)) if each["requests"]]
    revisions, late = [len(each["revisions"]) for each in found], [each["late_label_count"] for each in found]
    return [
        f"{len(found)} windows with traffic: {min(revisions)} to {max(revisions)} revisions of each report "
        f"(median {median(revisions):.0f}), all of them kept",
        f"{sum(late)} labels came after the seal: listed in the label_maturity.json of {sum(map(bool, late))} windows, "
        "counted in no report",
    ]


def conclusion(verdict: Verdict) -> list[str]:
    """Both comparisons and, where a law is broken, what breaks it."""
    lines = _compared("every delivery at once and in order", verdict.every, AGES)
    lines += _compared("only the final labels, at once", verdict.final, ONCE)
    lines += [f"broken: {words}" for words in verdict.broken[:SHOWN]]
    if len(verdict.broken) > SHOWN:
        lines.append(f"and {len(verdict.broken) - SHOWN} more")
    lines.append("the law is broken" if verdict.broken else "the reports end the same, and no label was lost")
    return lines


def _compared(name: str, found: Compared, left_out: Mapping[str, str]) -> list[str]:
    same = found.files - len(found.different)
    return [
        f"compared with a run of {name}: {same} of {found.files} final files are equal,",
        f"  {same - found.without} of them byte for byte, and {found.without} evaluation.json but for "
        f"{'this field' if len(left_out) == 1 else 'these fields'}:",
        *(f"    {field_:26} {why}" for field_, why in left_out.items()),
    ]


def bar(now: datetime, begin: datetime, end: datetime) -> str:
    """Where the run is, for a terminal."""
    part = (now - begin) / (end - begin)
    return f"[{'#' * int(24 * part):24}] hour {(now - begin) // HOUR} of {(end - begin) // HOUR}"
