"""Labelled rows as the course that `backtest` and `tune` replay: windows, and what models lose on them.

PLACE is a table of rows in time order, or a folder of reports with SageMaker's merged records. The models that a
retraining would have given are Plumbline's own boosted trees.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.decisions.backtest import Course
from chalicelib.decisions.policy import Policy, check_policy
from chalicelib.definition import Definition
from chalicelib.errors import MisconfiguredError
from chalicelib.evidence.surrogate import Sample, train
from chalicelib.evidence.trees import fit
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

Floats = npt.NDArray[np.float64]

# The model that a retraining gives here.
DEPTH, ROUNDS = 5, 80


class History(msgspec.Struct, frozen=True):
    """Windows of labelled rows, oldest first. `served`: what was answered, shape (rows of the window,), or None."""

    problem_type: ProblemType
    samples: list[Sample]
    served: list[Floats] | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add PLACE and the options that say how to read it."""
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


def prepared(options: argparse.Namespace) -> tuple[Policy, History, Course]:
    """The policy, the windows of labelled rows, and the course that the options name. Raises MisconfiguredError."""
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
