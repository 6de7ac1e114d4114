"""PART=null: nothing changes and rows are independent. Is there ever an alarm in 100 looks?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy import stats

from chalicelib.evidence.blocks import judged
from chalicelib.evidence.questions import column_shares
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.table import to_table
from chalicelib.states.profile import profile_of
from chalicelib.states.question_counts import question_counts
from chalicelib.states.selection import Selection
from trials.evidence.part import Bound, Part, table, upper
from trials.evidence.peers import PEERS, peers_of
from trials.evidence.streams import (
    BASELINE_ROWS,
    LOOKS,
    STREAMS,
    USUAL,
    Column,
    alarm_times,
    categories,
    cells,
    drawn,
    judge,
    normal,
    padded,
    stream_of,
)

ROW_STREAMS, ROW_ROWS = 200, 1_000
PEER_STREAMS = 10


def zeros(share: float) -> Column:
    """So many zeros, and the other rows spread evenly over forty numbers."""
    return cells([share, *[(1.0 - share) / 40] * 40], ["0", *(f"{0.5 * place + 0.5:.1f}" for place in range(40))])


POISSON = cells(
    [*stats.poisson.pmf(np.arange(14), 2).tolist(), float(stats.poisson.sf(13, 2))], [str(k) for k in range(15)]
)
# Three of each kind that is hard for a test, and two usual columns.
HARD = (
    *[zeros(0.7)] * 3,
    *[zeros(0.97)] * 3,
    *[POISSON] * 3,
    *[cells([1.0], ["5"])] * 3,
    *[categories(*[0.01] * 100)] * 3,
    *[categories(0.5, 0.3, 0.198, 0.002)] * 3,
    *[normal()] * 2,
)


def run(seed: int) -> Part:
    bounds: list[Bound] = []
    figures: dict[str, Any] = {}
    rows = []
    settings = [("usual", USUAL, n, BASELINE_ROWS) for n in (50, 200, 1_000, 10_000, 100_000)]
    settings += [("usual", USUAL, 50, 500), ("usual", USUAL, 1_000, 1_000)]
    settings += [("hard", HARD, n, BASELINE_ROWS) for n in (50, 1_000, 10_000)]
    for name, columns, n, m in settings:
        draw = np.random.default_rng([seed, n, m, len(name)])
        hits = windows = 0
        for _ in range(STREAMS):
            times = _alarms(draw, columns, n, m)
            hits, windows = hits + bool(times), windows + len(times)
        what = f"{name} columns, n = {n:,}, baseline {m:,}"
        figures[what] = {"ever": hits / STREAMS, "bound": upper(hits, STREAMS), "windows": windows / STREAMS / LOOKS}
        bounds.append(Bound(f"ever an alarm, {what}: bound", upper(hits, STREAMS), 0.05))
        rows.append([name, f"{n:,}", f"{m:,}", hits / STREAMS, upper(hits, STREAMS), windows / STREAMS / LOOKS])
    equal, counts_equal, alarms = _from_rows(seed)
    figures["streams of raw rows"] = {"equal_alarms": equal, "equal_counts": counts_equal, "with_alarms": alarms}
    bounds.append(Bound("streams of raw rows with equal alarms", equal, ROW_STREAMS, at_least=True))
    peers = []
    for n in (50, 200, 1_000, 10_000):
        found = _peers(np.random.default_rng([seed, 7, n]), n)
        figures[f"peers, n = {n}"] = {name: list(pair) for name, pair in found.items()}
        peers.append([f"{n:,}", *(f"{ever:.2f} ({windows:.3f})" for ever, windows in found.values())])
    lines = [
        f"20 columns, {LOOKS} looks, budget 0.05 for these looks, a new baseline for each of {STREAMS} streams."
        " Usual columns: 14 normal with 1 % missing, 6 of five categories. Hard columns: 70 % zeros, 97 % zeros,"
        " Poisson 2, a constant, 100 categories, a category of 0.2 % (three of each), 2 normal. `PART=power` shows what"
        " the same configuration sees.",
        "",
        *table(["columns", "rows a window", "baseline", "ever an alarm", "bound", "windows with an alarm"], rows),
        "",
        f"The counts of these streams are drawn. {ROW_STREAMS} streams of {LOOKS} windows of {ROW_ROWS:,} raw rows went"
        f" through records, profile and question counts instead: the alarms of {equal} are equal to those of counts,"
        f" and in {counts_equal} every count is; {alarms} streams had an alarm.",
        "",
        "Other tools' rules at their defaults on the usual columns, nothing changed: ever an alarm in 100 looks (share"
        f" of windows), {PEER_STREAMS} streams a line. They alarm when any column does.",
        "",
        *table(["rows a window", *PEERS], peers),
    ]
    return Part("null", "When nothing changes", lines, figures, bounds)


def _alarms(draw: np.random.Generator, columns: Sequence[Column], n: int, m: int) -> list[int]:
    stream = stream_of(columns, [drawn(draw, column, m, np.zeros(1))[0] for column in columns])
    return alarm_times(judge(stream, [drawn(draw, column, n, np.zeros(LOOKS)) for column in columns]))


def _from_rows(seed: int) -> tuple[int, int, int]:
    """Streams of CSV payloads: those with equal alarms, with equal counts, and with an alarm."""
    draw = np.random.default_rng([seed, 8])
    texts = [np.array([*column.values, ""]) for column in USUAL]
    names = tuple(f"x{place:02}" for place in range(len(USUAL)))
    attributes = Attributes(features=names, inference_attribute="0")
    answers = Payload("\n".join(["0"] * ROW_ROWS), "CSV", "text/csv")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    equal = counts_equal = with_alarms = 0
    for _ in range(ROW_STREAMS):
        stream = stream_of(USUAL, [drawn(draw, column, BASELINE_ROWS, np.zeros(1))[0] for column in USUAL])
        found, counts = [], [np.zeros((LOOKS, len(each))) for each in texts]
        for window in range(LOOKS):
            columns = []
            for place, column in enumerate(USUAL):
                shares = column.probabilities(np.zeros(1))[0]
                chosen = draw.choice(len(shares), ROW_ROWS, p=shares)
                counts[place][window] = np.bincount(chosen, minlength=len(shares))
                columns.append(texts[place][chosen].tolist())
            payload = Payload("\n".join(map(",".join, zip(*columns, strict=True))), "CSV", "text/csv")
            profile = profile_of(to_table([CapturedRequest("e", None, at, payload, answers)], {}, attributes))
            found.append(column_shares(stream.questions, question_counts(stream.questions, profile, Selection())))
        (yes, there), (asked, _), (error, _) = (padded(np.array([each[part] for each in found])) for part in range(3))
        of_rows = alarm_times(judged(stream.asked, yes, asked, error, there))
        of_counts = alarm_times(judge(stream, counts))
        drawn_yes, drawn_rows = (padded(each)[0] for each in stream.shares(counts))
        equal += of_rows == of_counts
        counts_equal += bool(np.allclose(yes, drawn_yes, rtol=0, atol=1e-6) and np.array_equal(asked, drawn_rows))
        with_alarms += bool(of_rows)
    return equal, counts_equal, with_alarms


def _peers(draw: np.random.Generator, n: int) -> dict[str, tuple[float, float]]:
    """Of each rule: ever an alarm, and the share of windows with one."""
    hits = {name: np.zeros((PEER_STREAMS, LOOKS), dtype=bool) for name in PEERS}
    for number in range(PEER_STREAMS):
        for column in USUAL:
            baseline = drawn(draw, column, BASELINE_ROWS, np.zeros(1))[0]
            windows = drawn(draw, column, n, np.zeros(LOOKS))
            for name, alarms in peers_of(draw, column, baseline, windows).items():
                hits[name][number] |= alarms
    return {name: (float(found.any(axis=1).mean()), float(found.mean())) for name, found in hits.items()}
