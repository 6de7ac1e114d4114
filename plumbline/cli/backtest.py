"""`plumbline backtest PLACE`: retraining policies replayed on labelled rows, side by side.

The models that a retraining would have given are Plumbline's own boosted trees, so the figures compare policies, not
models. Not here: months, quiet periods, alarms and broken data.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chalicelib.decisions.backtest import CADENCES, Course, Outcome, best_schedule, cadence, never, replay
from chalicelib.decisions.policy import Policy
from chalicelib.pages.backtest import picture
from plumbline.cli.inputs.labelled_windows import History, add_options, prepared
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command


class Line(msgspec.Struct, frozen=True):
    """One policy's line of the table; `ratio`: its total cost as a multiple of the best schedule's."""

    policy: str
    error: float
    retrains: int
    promotions: int
    refusals: int
    roll_backs: int
    delay: float | None
    total: float | None
    ratio: float | None


def lines_of(course: Course, policy: Policy, persistence: float | None = None) -> list[Line]:
    """The table: never, each cadence, the two rules, the best schedule in hindsight, persistence (its error alone)."""
    best = best_schedule(course, policy.cost)
    windows = course.windows - course.origin
    found: list[tuple[str, Outcome]] = [("never", never(course))]
    found += [(f"every {every} windows", cadence(course, every)) for every in CADENCES if every < windows]
    excess = msgspec.structs.replace(policy, rule="excess")
    regret = msgspec.structs.replace(policy, rule="regret")
    found += [("rule excess", replay(course, excess)), ("rule regret", replay(course, regret))]
    found.append(("best schedule in hindsight", best))
    lines = [_line(name, outcome, policy.cost, best.total(policy.cost)) for name, outcome in found]
    if persistence is not None:
        lines.append(Line("persistence: the last label known", persistence, 0, 0, 0, 0, None, None, None))
    return lines


def persistence_of(history: History, late: int, origin: int) -> float | None:
    """The error of answering with the last label of the last window whose labels are known; None for a regression."""
    if history.problem_type == "Regression":
        return None
    found = [
        float(np.mean(history.samples[at].labels != history.samples[at - late - 1].labels[-1]))
        for at in range(max(origin, late + 1), len(history.samples))
    ]
    return float(np.mean(found))


def run(options: argparse.Namespace) -> Answer:
    """The command: the table, or one JSON object."""
    policy, history, course = prepared(options)
    lines = lines_of(course, policy, persistence_of(history, options.late, course.origin))
    if options.svg:
        series = {
            "never": never(course),
            "rule regret": replay(course, msgspec.structs.replace(policy, rule="regret")),
            "best schedule in hindsight": best_schedule(course, policy.cost),
        }
        drawn = picture({name: (each.served, each.starts) for name, each in series.items()}, course.origin)
        options.svg.write_text(drawn, encoding="utf-8")
    if options.json:
        document = {"version": 1, "windows": course.windows - course.origin, "cost": policy.cost, "policies": lines}
        return Answer(msgspec.json.encode(document).decode())
    rows = [["policy", "error", "retrains", "promoted", "refused", "roll-backs", "delay", "total cost", "x best"]]
    rows += [
        [line.policy, f"{line.error:.4f}", str(line.retrains), str(line.promotions), str(line.refusals),
         str(line.roll_backs), _number(line.delay, 1), _number(line.total, 2), _number(line.ratio, 2)]
        for line in lines
    ]  # fmt: skip
    head = (
        f"{course.windows - course.origin} windows, labels {options.late} windows late, a retraining costs "
        f"{policy.cost:g} window-losses"
    )
    return Answer("\n".join([head, *aligned(rows)]))


def _line(name: str, outcome: Outcome, cost: float, best: float) -> Line:
    total = outcome.total(cost)
    delay = float(np.mean(outcome.delays)) if outcome.delays else None
    return Line(
        policy=name,
        error=outcome.error,
        retrains=len(outcome.starts),
        promotions=outcome.promotions,
        refusals=outcome.refusals,
        roll_backs=outcome.roll_backs,
        delay=delay,
        total=total,
        ratio=total / best if best else None,
    )


def _number(value: Any, digits: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline backtest` and its arguments."""
    parser = add_command(
        commands,
        "backtest",
        "replay retraining policies on labelled rows, side by side",
        "PLACE is a table of rows in time order (--label), or a folder of reports (--monitor). Models are boosted "
        "trees of Plumbline's own: the figures compare policies.",
        "backtest rows.csv.gz --label busy --rows-per-window 168 --training-windows 8 --svg backtest.svg",
    )
    add_options(parser)
    parser.add_argument(
        "--cost", type=float, metavar="C", help="of one retraining, in window-losses; default: the policy's"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a picture of the losses")
    parser.set_defaults(run=run)
