"""`plumbline tune PLACE`: propose a retraining's cost from labelled rows, by the same replay as `backtest`."""

from __future__ import annotations

import argparse
import json

import msgspec

from chalicelib.decisions.backtest import Course, Outcome, replay
from chalicelib.decisions.policy import Policy
from plumbline.cli.inputs.labelled_windows import add_options, prepared
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command

COSTS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# A cost is proposed when it gives at most this share of error more than the best of `COSTS`.
MORE_ERROR = 0.05


def proposed(course: Course, policy: Policy) -> tuple[float, list[tuple[float, Outcome]]]:
    """The highest cost of `COSTS` that gives nearly the least error, and what each of them gives."""
    found = [(cost, replay(course, msgspec.structs.replace(policy, cost=cost))) for cost in COSTS]
    least = min(outcome.error for _, outcome in found)
    return max(cost for cost, outcome in found if outcome.error <= (1 + MORE_ERROR) * least), found


def run(options: argparse.Namespace) -> Answer:
    """The command: the proposed cost and what each cost gives."""
    policy, _, course = prepared(options)
    cost, found = proposed(course, policy)
    if options.json:
        tried = [{"cost": each, "error": one.error, "retrains": len(one.starts)} for each, one in found]
        return Answer(json.dumps({"version": 1, "proposed_cost": cost, "tried": tried}))
    rows = [["cost", "error", "retrains", "roll-backs"]]
    rows += [[f"{each:g}", f"{one.error:.4f}", str(len(one.starts)), str(one.roll_backs)] for each, one in found]
    return Answer("\n".join([f"policy: {{cost: {cost:g}}}", *aligned(rows)]))


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline tune` and its arguments."""
    parser = add_command(
        commands,
        "tune",
        "propose policy.cost from labelled rows",
        f"The highest cost whose error is at most {MORE_ERROR:.0%} above that of the best one tried.",
        "tune rows.csv.gz --label busy --rows-per-window 168 --training-windows 8",
    )
    add_options(parser)
    parser.set_defaults(run=run)
