"""PART=loss: the share of wrong answers, .20 always or .25 from some window on; labels late, corrected, repeated."""

from __future__ import annotations

from typing import Any

import numpy as np

from chalicelib.evidence.blocks import LENGTHS, Asked, Judged, judged
from chalicelib.evidence.questions import Question
from chalicelib.evidence.shares import level_of
from chalicelib.evidence.windows import BUDGET_SHARE, LEAST_WINDOWS, spread_of
from trials.evidence.part import Bound, Part, table, upper
from trials.evidence.streams import BUDGET, LOOKS

STREAMS = 4_000
RISK, RAISED = 0.20, 0.25
BEFORE, AFTER = 36, 96
# A baseline of so many rows has no error that matters: the risk is known.
KNOWN = 10**9
# Labels that are there when a window counts as settled.
SETTLED = 0.99
CORRECTED = 0.03

Array = np.ndarray


def run(seed: int) -> Part:
    bounds: list[Bound] = []
    figures: dict[str, Any] = {}
    quiet_rows, delay_rows, label_rows = [], [], []

    for n in (50, 336, 5_000):
        for m in (KNOWN, 5_000, 20_000):
            draw = np.random.default_rng([seed, 1, n, m])
            known = _baseline(draw, m)
            rate, most = _ever(_judge(_windows(draw, n, LOOKS), n, known, m))
            figures[f"ever, n = {n}, {_name(m)}"] = rate
            bounds.append(Bound(f"ever an alarm at .20, n = {n:,}, {_name(m)}: bound", most, 0.05))
            quiet_rows.append([f"{n:,}", _name(m), rate, most])
        draw = np.random.default_rng([seed, 2, n])
        known = _baseline(draw, 5_000) * (KNOWN // 5_000)
        rate, most = _ever(_judge(_windows(draw, n, LOOKS), n, known, KNOWN))
        figures[f"ever, n = {n}, baseline of 5,000 taken as known"] = rate
        quiet_rows.append([f"{n:,}", "baseline 5,000 rows, taken as known (wrong)", rate, most])
        if n == 336:
            name = "the test notices a baseline taken as known: ever, n = 336"
            bounds.append(Bound(name, rate, 0.08, at_least=True))

    for n, m, most in ((336, KNOWN, 5), (336, 5_000, 8), (5_000, KNOWN, 1), (5_000, 5_000, 2), (50, 5_000, None)):
        draw = np.random.default_rng([seed, 3, n, m])
        rates = np.where(np.arange(BEFORE + AFTER) < BEFORE, RISK, RAISED)
        found = _delays(_judge(draw.binomial(n, rates, (STREAMS, BEFORE + AFTER)), n, _baseline(draw, m), m))
        median = float(np.median(found))
        figures[f"median windows, n = {n}, {_name(m)}"] = median
        delay_rows.append([f"{n:,}", _name(m), f"{median:g}", f"{np.quantile(found, 0.9):g}", "0"])
        if most:
            bounds.append(Bound(f"median windows .20 to .25, n = {n:,}, {_name(m)}", median, most))

    for n, most in ((336, 16), (5_000, 8)):
        draw = np.random.default_rng([seed, 4, n])
        rate, limit = _ever(_fluctuating(draw, n, LOOKS, None)[0])
        name = f"risk that fluctuates with sd .02, K = {LEAST_WINDOWS}, n = {n:,}"
        figures[f"ever, {name}"] = rate
        bounds.append(Bound(f"ever an alarm, {name}: bound", limit, 0.06))
        found = _delays(*_fluctuating(draw, n, BEFORE + AFTER, BEFORE))
        median = float(np.median(found))
        figures[f"median windows, {name}"] = median
        bounds.append(Bound(f"median windows .20 to .25, {name}", median, most))
        quiet_rows.append([f"{n:,}", f"{LEAST_WINDOWS} windows, sd .02", rate, limit])
        delay_rows.append([f"{n:,}", f"{LEAST_WINDOWS} windows", f"{median:g}", f"{np.quantile(found, 0.9):g}", ".02"])

    for name, (rate, limit) in _labels(seed).items():
        figures[f"labels {name}"] = rate
        label_rows.append([name, rate, limit])
        if name == UNSETTLED:
            bounds.append(Bound(f"{UNSETTLED}: ever (why windows must be settled)", rate, 0.5, at_least=True))
        else:
            bounds.append(Bound(f"labels {name}: ever an alarm on settled windows: bound", limit, 0.05))
    lines = [
        f"Nothing changes: {LOOKS} looks at a share of wrong answers of .20, {STREAMS:,} streams a line.",
        "",
        *table(["rows a window", "baseline", "ever an alarm", "bound"], quiet_rows),
        "",
        f"From .20 to .25 at window {BEFORE + 1}: windows until the first alarm after it.",
        "",
        *table(["rows a window", "baseline", "median", "90 % within", "sd of the risk"], delay_rows),
        "",
        f"Labels (n = 336, baseline 5,000, nothing changes). A window is settled with {SETTLED:.0%} of its labels and"
        " looked at then, labels that are still expected counted as right answers, and again with all of them; an alarm"
        " at either look counts. Errors first: every wrong answer's label comes before any other. Corrected: the first"
        f" labels of {100 * CORRECTED:g} % of the rows are replaced after the window is settled, by outcomes of the"
        " same risk. Repeated: every window is looked at five times"
        " while its last labels come.",
        "",
        *table(["labels", "ever an alarm", "bound"], label_rows),
    ]
    return Part("loss", "Wrong answers", lines, figures, bounds)


UNSETTLED = "errors first, on unsettled windows"


def _labels(seed: int) -> dict[str, tuple[float, float]]:
    """Ever an alarm, by the way in which labels come."""
    n, m = 336, 5_000
    late = n - int(np.ceil(SETTLED * n))
    found = {}

    # Settled windows have `n` rows whose labels are there or still expected.
    def look(draw: np.random.Generator, looks: list[tuple[Array, Array]]) -> tuple[float, float]:
        known = _baseline(draw, m)
        hits = np.zeros(STREAMS, dtype=bool)
        for wrong, labelled in looks:
            hits |= _hits(_judge(wrong, labelled, known, m))
        return float(hits.mean()), upper(int(hits.sum()), STREAMS)

    def split(draw: np.random.Generator, wrong: Array, rows: int) -> Array:
        """Wrong answers among the first `rows` labels when they come in any order."""
        return draw.hypergeometric(wrong, n - wrong, rows)

    draw = np.random.default_rng([seed, 5])
    wrong = _windows(draw, n, LOOKS)
    found["errors first"] = look(draw, [(np.minimum(wrong, n - late), n), (wrong, n)])
    half = n // 2
    unsettled = look(draw, [(np.minimum(wrong, half), half)])
    draw = np.random.default_rng([seed, 6])
    wrong = _windows(draw, n, LOOKS)
    found["late, as likely for errors as for others"] = look(draw, [(split(draw, wrong, n - late), n), (wrong, n)])
    draw = np.random.default_rng([seed, 7])
    wrong = _windows(draw, n, LOOKS)
    replaced = draw.binomial(n, CORRECTED, wrong.shape)
    final = wrong - draw.hypergeometric(wrong, n - wrong, replaced) + draw.binomial(replaced, RISK)
    found["corrected"] = look(draw, [(wrong, n), (final, n)])
    draw = np.random.default_rng([seed, 8])
    wrong = _windows(draw, n, LOOKS)
    looks, missing = [(wrong, n)], np.zeros_like(wrong)
    for labels in range(n, n - late, -1):
        # One label fewer each time, back from all of them.
        missing = missing + (draw.random(wrong.shape) < (wrong - missing) / labels)
        looks.append((wrong - missing, n))
    found["repeated"] = look(draw, [*looks, (wrong, n)])
    found[UNSETTLED] = unsettled
    return found


def _baseline(draw: np.random.Generator, m: int) -> Array:
    """Wrong answers of each stream's baseline, (streams, 1, 1)."""
    drawn = np.full(STREAMS, round(RISK * m)) if m == KNOWN else draw.binomial(m, RISK, STREAMS)
    return drawn.reshape(-1, 1, 1)


def _windows(draw: np.random.Generator, n: int, windows: int) -> Array:
    return draw.binomial(n, RISK, (STREAMS, windows))


def _asked(known: Array, m: Any, budget: float) -> Asked:
    one = np.ones(1)
    return Asked(
        known.astype(float),
        np.asarray(m, dtype=float),
        0.0 * one,
        Question("", "wrong").floor * one,
        level_of(budget, LOOKS, one),
        np.zeros(1, dtype=bool),
        0.0 * one,
        rise=True,
    )


def _padded(array: Any, windows: int) -> Array:
    size = -(-windows // LENGTHS[-1]) * LENGTHS[-1]
    found = np.zeros((STREAMS, size, 1))
    found[:, :windows, 0] = array
    return found


def _judge(wrong: Array, n: Any, known: Array, m: Any, budget: float = BUDGET, **how: Any) -> dict[int, Judged]:
    windows = wrong.shape[1]
    there = np.arange(-(-windows // LENGTHS[-1]) * LENGTHS[-1]) < windows
    return judged(_asked(known, m, budget), _padded(wrong, windows), _padded(n, windows), None, there, **how)


def _fluctuating(draw: np.random.Generator, n: int, windows: int, at: int | None) -> tuple[dict[int, Judged], int]:
    """Each window has its own risk; the baseline is K such windows."""
    k = LEAST_WINDOWS
    risk = draw.normal(RISK, 0.02, (STREAMS, k + windows))
    if at is not None:
        risk[:, k + at :] += RAISED - RISK
    wrong = draw.binomial(n, np.clip(risk, 0.0, 1.0))
    reference = wrong[:, :k, None].astype(float)
    spread = spread_of(reference, np.full_like(reference, n))
    known = wrong[:, :k].sum(axis=1).reshape(-1, 1, 1)
    return _judge(wrong[:, k:], n, known, n * k, BUDGET * BUDGET_SHARE, spread=spread), at or 0


def _hits(found: dict[int, Judged]) -> Array:
    hits = np.zeros(STREAMS, dtype=bool)
    for each in found.values():
        hits |= each.alarm.any(axis=(1, 2))
    return hits


def _ever(found: dict[int, Judged]) -> tuple[float, float]:
    hits = _hits(found)
    return float(hits.mean()), upper(int(hits.sum()), STREAMS)


def _delays(found: dict[int, Judged], at: int = BEFORE) -> Array:
    """Windows from the change to the first alarm that is known at or after it, per stream; inf for never."""
    first = np.full(STREAMS, np.inf)
    for length, each in found.items():
        ends = np.arange(each.alarm.shape[1]) * length + length - 1
        ends = np.where(ends >= at, ends - at + 1.0, np.inf)
        first = np.minimum(first, np.where(each.alarm[..., 0], ends, np.inf).min(axis=1))
    return first


def _name(m: int) -> str:
    return "known risk" if m == KNOWN else f"baseline {m:,} rows"
