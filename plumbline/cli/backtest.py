"""`plumbline backtest PLACE` and `plumbline tune PLACE`: retraining policies replayed on labelled rows.

PLACE is a table of rows in time order, or a folder of reports with SageMaker's merged records. The models that a
retraining would have given are Plumbline's own boosted trees, so the figures compare policies, not models. Not here:
months, quiet periods, alarms and broken data.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.decisions.backtest import CADENCES, Course, Outcome, best_schedule, cadence, never, replay
from chalicelib.decisions.policy import Policy, check_policy
from chalicelib.definition import Definition
from chalicelib.errors import MisconfiguredError
from chalicelib.evidence.surrogate import Sample, train
from chalicelib.evidence.trees import fit
from chalicelib.pages.backtest import picture
from chalicelib.records.attributes import ProblemType
from chalicelib.records.dataset import Roles, table_of
from chalicelib.records.files import kind_of
from chalicelib.records.merge import MergedRequest, read_merged
from chalicelib.records.sample import row_losses
from chalicelib.records.table import to_table
from chalicelib.records.window import Window
from chalicelib.states.row_sample import RowSample, row_sample_of
from plumbline.cli.inputs.attribute_options import definition_of
from plumbline.cli.inputs.places import File, files_of
from plumbline.cli.inputs.tables import joined, read_table
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.usage import add_command

Floats = npt.NDArray[np.float64]

# The model that a retraining gives here.
DEPTH, ROUNDS = 5, 80
COSTS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# A cost is proposed when it gives at most this share of error more than the best of `COSTS`.
MORE_ERROR = 0.05


class History(msgspec.Struct, frozen=True):
    """Windows of labelled rows, oldest first. `served`: what was answered, shape (rows of the window,), or None."""

    problem_type: ProblemType
    samples: list[Sample]
    served: list[Floats] | None


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


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    back = add_command(
        commands,
        "backtest",
        "replay retraining policies on labelled rows, side by side",
        "PLACE is a table of rows in time order (--label), or a folder of reports (--monitor). Models are boosted "
        "trees of Plumbline's own: the figures compare policies.",
        "backtest rows.csv.gz --label busy --rows-per-window 168 --training-windows 8 --svg backtest.svg",
    )
    tune = add_command(
        commands,
        "tune",
        "propose policy.cost from labelled rows",
        f"The highest cost whose error is at most {MORE_ERROR:.0%} above that of the best one tried.",
        "tune rows.csv.gz --label busy --rows-per-window 168 --training-windows 8",
    )
    for parser in (back, tune):
        parser.add_argument("place", metavar="PLACE", help="a table, or a folder of reports; also s3://")
        parser.add_argument("--label", metavar="NAME", help="the column of a table that holds the label")
        parser.add_argument("--prediction", metavar="NAME", help="the column that holds what was served, if one does")
        parser.add_argument("--rows-per-window", type=int, metavar="N", help="how many rows of a table are a window")
        parser.add_argument(
            "--training-windows",
            type=int,
            metavar="N",
            help="windows that a model is trained on; default: the policy's",
        )
        parser.add_argument("--late", type=int, default=2, metavar="N", help="labels come N windows late; default: 2")
        parser.add_argument("--json", action="store_true", help="the answer as one JSON object")
        parser.add_argument(
            "--monitor", type=Path, metavar="FILE", help="a monitor definition: its policy, and how to read"
        )
        parser.add_argument("--problem-type", choices=get_args(ProblemType), help="of a table; default: binary")
    back.add_argument(
        "--cost", type=float, metavar="C", help="of one retraining, in window-losses; default: the policy's"
    )
    back.add_argument("--svg", type=Path, metavar="FILE", help="write a picture of the losses")
    back.set_defaults(run=_backtest)
    tune.set_defaults(run=_tune)


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


def proposed(course: Course, policy: Policy) -> tuple[float, list[tuple[float, Outcome]]]:
    """The highest cost of `COSTS` that gives nearly the least error, and what each of them gives."""
    found = [(cost, replay(course, msgspec.structs.replace(policy, cost=cost))) for cost in COSTS]
    least = min(outcome.error for _, outcome in found)
    return max(cost for cost, outcome in found if outcome.error <= (1 + MORE_ERROR) * least), found


def course_of(history: History, policy: Policy, late: int) -> Course:
    """Train at every window. Without served answers the first champion is trained on the first windows.

    A regression's losses are multiples of the first champion's loss on the first windows that it serves (as many as
    are held back). Raises MisconfiguredError for fewer windows than that takes.
    """
    samples, count, held = history.samples, len(history.samples), policy.holdback_windows
    origin = 0 if history.served else policy.training_windows
    if count < origin + late + held + 2:
        raise MisconfiguredError("PLACE", f"{count} windows", f"at least {origin + late + held + 2} with labelled rows")
    fresh, surrogates = np.full((count, count), np.nan), np.full((count, count), np.nan)
    sizes = np.cumsum([len(each.labels) for each in samples])
    for cut in range(max(1, origin - held + 1), count):
        recent = samples[max(0, cut - policy.training_windows) : cut]
        later = np.concatenate([each.features for each in samples[cut:]])
        borders = (sizes[cut:-1] - sizes[cut - 1]).tolist()
        parts = np.split(_answers(recent, history.problem_type, later), borders)
        fresh[cut, cut:] = [
            _loss(answers, each.labels, history.problem_type)
            for answers, each in zip(parts, samples[cut:], strict=True)
        ]
        if cut >= max(origin, held):
            surrogate = train([_thinned(each, policy.sample_rows) for each in recent], history.problem_type)
            surrogates[cut, cut:] = [surrogate.loss(_thinned(each, policy.sample_rows)) for each in samples[cut:]]
    if history.served:
        pairs = zip(history.served, samples, strict=True)
        first = np.array([_loss(answers, each.labels, history.problem_type) for answers, each in pairs])
    else:
        first = fresh[origin].copy()
    unit = 1.0
    if history.problem_type == "Regression":
        unit = float(np.mean(first[origin : origin + held])) or 1.0
    return Course(first=first / unit, fresh=fresh / unit, surrogates=surrogates / unit, origin=origin, lateness=late)


def persistence_of(history: History, late: int, origin: int) -> float | None:
    """The error of answering with the last label of the last window whose labels are known; None for a regression."""
    if history.problem_type == "Regression":
        return None
    found = [
        float(np.mean(history.samples[at].labels != history.samples[at - late - 1].labels[-1]))
        for at in range(max(origin, late + 1), len(history.samples))
    ]
    return float(np.mean(found))


def _backtest(options: argparse.Namespace) -> tuple[str, int]:
    policy, history, course = _prepared(options)
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
        return msgspec.json.encode(document).decode(), 0
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
    return "\n".join([head, *aligned(rows)]), 0


def _tune(options: argparse.Namespace) -> tuple[str, int]:
    policy, _, course = _prepared(options)
    cost, found = proposed(course, policy)
    if options.json:
        tried = [{"cost": each, "error": one.error, "retrains": len(one.starts)} for each, one in found]
        return json.dumps({"version": 1, "proposed_cost": cost, "tried": tried}), 0
    rows = [["cost", "error", "retrains", "roll-backs"]]
    rows += [[f"{each:g}", f"{one.error:.4f}", str(len(one.starts)), str(one.roll_backs)] for each, one in found]
    return "\n".join([f"policy: {{cost: {cost:g}}}", *aligned(rows)]), 0


def _prepared(options: argparse.Namespace) -> tuple[Policy, History, Course]:
    definition = definition_of(options)
    policy = definition.policy if definition else Policy()
    if options.training_windows:
        policy = msgspec.structs.replace(policy, training_windows=options.training_windows)
    if getattr(options, "cost", None) is not None:
        policy = msgspec.structs.replace(policy, cost=options.cost)
    check_policy(policy)
    files = files_of(options.place, "PLACE")
    history = _from_table(files, options) if options.label else _from_reports(files, definition)
    return policy, history, course_of(history, policy, options.late)


def _from_table(files: list[File], options: argparse.Namespace) -> History:
    if not options.rows_per_window or options.rows_per_window < 1:
        raise MisconfiguredError(
            "--rows-per-window", options.rows_per_window, "how many rows of the table are a window"
        )
    columns = joined([(file, read_table(file)) for file in files])
    problem_type: ProblemType = options.problem_type or "BinaryClassification"
    # Without a prediction the label stands in for it, and is not looked at.
    roles = Roles(problem_type=problem_type, inference=options.prediction or options.label, ground_truth=options.label)
    count = len(next(iter(columns.values())))
    rows = []
    for first in range(0, count - options.rows_per_window + 1, options.rows_per_window):
        part = {name: values[first : first + options.rows_per_window] for name, values in columns.items()}
        table = table_of(part, roles)
        # A data set numbers its rows, a sample asks for records of a request.
        ids = [f"row#{place}" for place in range(len(table))]
        rows.append(row_sample_of(msgspec.structs.replace(table, record_ids=ids), options.rows_per_window))
    return _history(rows, problem_type, options.prediction is not None)


def _from_reports(files: list[File], definition: Definition | None) -> History:
    if definition is None:
        raise MisconfiguredError("--monitor", None, "the definition of the reports' monitor, or --label for a table")
    by_window: dict[Window, list[MergedRequest]] = defaultdict(list)
    for file in files:
        body = file.read()
        if kind_of(body) == "merged":
            for one in read_merged(body, file.name).requests:
                by_window[Window.of(one.request.inference_time, definition.window_length)].append(one)
    rows = []
    for _, merged in sorted(by_window.items()):
        labels = {one.request.join_id: one.label for one in merged}
        table = to_table([one.request for one in merged], labels, definition.attributes)
        rows.append(row_sample_of(table, max(1, len(table))))
    return _history(rows, definition.attributes.problem_type, served=True)


def _history(rows: list[RowSample], problem_type: ProblemType, served: bool) -> History:
    """The windows that have labelled rows of the features that most windows have."""
    samples, answered = [], []
    names = max((each.features for each in rows), key=[each.features for each in rows].count, default=())
    for each in rows:
        known = ~np.isnan(each.answers[:, 2])
        if each.features == names and bool(known.any()):
            samples.append(Sample(each.values[known], each.answers[known, 2]))
            answered.append(each.answers[known, 1])
    return History(problem_type, samples, answered if served else None)


def _answers(samples: list[Sample], problem_type: ProblemType, rows: Floats) -> Floats:
    features = np.concatenate([each.features for each in samples])
    labels = np.concatenate([each.labels for each in samples])
    if problem_type == "Regression":
        return fit(features, labels, depth=DEPTH, rounds=ROUNDS).predict(rows)
    if problem_type == "BinaryClassification":
        return (fit(features, labels, "logistic", depth=DEPTH, rounds=ROUNDS).predict(rows) > 0.5).astype(np.float64)
    return train(samples, problem_type).answers(rows)


def _loss(answers: Floats, labels: Floats, problem_type: ProblemType) -> float:
    return float(np.nanmean(row_losses(answers, labels, problem_type)))


def _thinned(sample: Sample, most: int) -> Sample:
    """Rows are in the order of their hashes: the first ones are a fair sample."""
    return Sample(sample.features[:most], sample.labels[:most])


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
