"""PART=policy: is a retraining decided when it pays? Public streams, replayed under the package's policies.

Cost of a policy = losses of all windows + cost of every start, as a ratio to the best schedule in hindsight with the
same lateness of labels. Not here: streams and models (public_streams.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace as with_changes
from typing import Any

import msgspec
import numpy as np

from chalicelib.decisions.backtest import Course, Outcome, best_cadence, best_schedule, never, replay
from chalicelib.decisions.policy import Policy
from trials.evidence.part import Bound, Part, table
from trials.evidence.public_streams import bikes, course, electricity, long_haul, mixed, shuffled

COSTS = (0.05, 0.2, 0.5, 2.0)
DRIFTING = ("Elec2", "bikes, busy hour", "bikes, count", "long-haul minutes")
STILL = ("bikes, busy hour, shuffled", "Elec2, shuffled")

Ratios = dict[str, list[float]]


def run(seed: int) -> Part:
    """Train once per stream, replay every policy, compare."""
    streams = [electricity(), bikes(busy=True), bikes(busy=False), long_haul()]
    streams += [shuffled(bikes(busy=True), seed), shuffled(electricity(), seed), mixed(bikes(busy=True), seed)]
    courses = {stream.name: course(stream) for stream in streams}
    best = {name: [best_schedule(each, cost).total(cost) for cost in COSTS] for name, each in courses.items()}

    def ratios(total: Callable[[Course, float], float], changed: dict[str, Course] | None = None) -> Ratios:
        against = best
        if changed:
            against = {
                name: [best_schedule(each, cost).total(cost) for cost in COSTS] for name, each in changed.items()
            }
        return {
            name: [total(each, cost) / against[name][place] for place, cost in enumerate(COSTS)]
            for name, each in (changed or courses).items()
        }

    outcomes = {name: [replay(each, Policy(cost=cost)) for cost in COSTS] for name, each in courses.items()}
    rule = {
        name: [one.total(cost) / best[name][place] for place, (one, cost) in enumerate(zip(found, COSTS, strict=True))]
        for name, found in outcomes.items()
    }
    cadences = ratios(lambda each, cost: best_cadence(each, cost)[1].total(cost))
    found = {
        "never": ratios(lambda each, cost: never(each).total(cost)),
        "best cadence in hindsight": cadences,
        "**regret >= cost (default)**": rule,
        "the old rule (excess)": ratios(_with(rule="excess", cool_down_windows=4)),
        "regret >= 1.5 x cost": ratios(lambda each, cost: replay(each, Policy(cost=1.5 * cost)).total(cost)),
        "regret >= 2 x cost": ratios(lambda each, cost: replay(each, Policy(cost=2 * cost)).total(cost)),
        "half-life 2": ratios(_with(half_life_windows=2.0)),
        "half-life 8": ratios(_with(half_life_windows=8.0)),
        "without roll-back": ratios(_with(roll_back=False)),
        "labels at once": ratios(_with(), _late(courses, 0)),
        "labels 4 windows late": ratios(_with(), _late(courses, 4)),
        "first model's rows unknown": ratios(_with(), {name: _unknown_first(each) for name, each in courses.items()}),
    }
    in_other_units = with_changes(bikes(busy=False), labels=bikes(busy=False).labels * 1000)
    rescaled = course(in_other_units)
    other = [replay(rescaled, Policy(cost=cost)).starts for cost in COSTS]
    differing = sum(one.starts != starts for one, starts in zip(outcomes["bikes, count"], other, strict=True))
    drifting = [value for name in DRIFTING for value in rule[name]]
    fixed = [value for name in DRIFTING for value in cadences[name]]
    electricity_error = outcomes["Elec2"][COSTS.index(0.2)].error
    bounds = [
        Bound("four that drift, mean ratio to the best schedule", float(np.mean(drifting)), 1.18),
        Bound("four that drift, largest ratio", max(drifting), 1.30),
        *(Bound(f"nothing drifts ({name}), largest ratio", max(rule[name]), 1.08) for name in STILL),
        Bound("mean ratio below that of the best fixed cadence", float(np.mean(drifting)), float(np.mean(fixed))),
        Bound("Elec2 at cost .2, error over all windows", round(electricity_error, 4), 0.2663),
        Bound("target x 1,000: costs at which a decision differs", float(differing), 0.0),
    ]
    return Part(
        name="policy",
        title="Is a retraining started when it pays?",
        lines=_lines(courses, found, outcomes, best),
        figures={
            "ratios": {label.strip("*"): each for label, each in found.items()},
            "costs": COSTS,
            "outcomes": {name: [msgspec.to_builtins(one) for one in each] for name, each in outcomes.items()},
        },
        bounds=bounds,
    )


def _with(**changes: Any) -> Callable[[Course, float], float]:
    return lambda each, cost: replay(each, Policy(cost=cost, **changes)).total(cost)


def _late(courses: dict[str, Course], lateness: int) -> dict[str, Course]:
    return {name: msgspec.structs.replace(each, lateness=lateness) for name, each in courses.items()}


def _unknown_first(each: Course) -> Course:
    """Only windows that were served are known: no surrogate of the first model, none of fewer windows than are held
    back, and rows from before cannot be learned from by it."""
    surrogates = each.surrogates.copy()
    surrogates[: each.origin + Policy().holdback_windows] = np.nan
    return msgspec.structs.replace(each, surrogates=surrogates)


def _lines(
    courses: dict[str, Course],
    found: dict[str, Ratios],
    outcomes: dict[str, list[Outcome]],
    best: dict[str, list[float]],
) -> Sequence[str]:
    lines = [
        "Labels come 2 windows late, a retraining takes one window. Every cell has the ratios at the costs "
        f"{', '.join(f'{cost:g}' for cost in COSTS)}: total cost (losses and starts) divided by that of the best "
        "schedule in hindsight with the same lateness, without roll-back. A regression's loss is a multiple of its "
        "baseline's.",
        "",
        *table(
            ["policy", "mean of the four that drift", *courses],
            [
                [
                    label,
                    float(np.mean([value for name in DRIFTING for value in each[name]])),
                    *(" / ".join(f"{value:.2f}" for value in each[name]) for name in courses),
                ]
                for label, each in found.items()
            ],
        ),
        "",
        "*shuffled*: the windows in random order; *mixed*: the rows in random order. A model of 8 weeks of bikes "
        "depends on which weeks it got, so on the shuffled windows even never retraining costs more than the best "
        "schedule, which keeps the luckiest model.",
        "",
        "What the default rule did at cost 0.2:",
        "",
    ]
    rows = []
    for name, each in courses.items():
        one = outcomes[name][COSTS.index(0.2)]
        hindsight = best_schedule(each, 0.2)
        delay = float(np.mean(one.delays)) if one.delays else float("nan")
        rows.append(
            [name, never(each).error, one.error, hindsight.error, len(one.starts), one.promotions, one.refusals,
             one.roll_backs, f"{delay:.1f}", len(hindsight.starts)]
        )  # fmt: skip
    header = ["stream", "never: loss", "rule: loss", "best schedule: loss", "starts", "promoted", "refused"]
    lines += table([*header, "roll-backs", "mean delay, windows", "best schedule: starts"], rows)
    return lines
