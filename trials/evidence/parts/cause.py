"""PART=cause: planted changes of inputs, of the relation and of both. Does the split put them where they belong?

A model answers with a known probability and the world has its own. The truth of a planted change is the Shapley split
over single rows of a large population, which knows both; the package sees scores, labels and a sample of rows.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.evidence.alarms import Alarm, CountedWindow, evidence_of
from chalicelib.evidence.cause import Cause, cause_of, moved_questions, unused_columns
from chalicelib.evidence.questions import questions_of
from chalicelib.states.profile import profile_of_columns
from chalicelib.states.question_counts import question_counts
from chalicelib.states.row_sample import RowSample, row_hashes, row_sample
from chalicelib.states.selection import Selection, binary_selection
from trials.evidence.part import Bound, Part, table

REPETITIONS = 24
BASELINE, WINDOW, LARGE_WINDOW, POPULATION = 5_000, 512, 2_048, 400_000
NAMES = tuple("abcdef")
CUT = 1.0
DATA = Path(__file__).resolve().parents[3] / "tests" / "data"

Floats = npt.NDArray[np.float64]
Inputs = Callable[[Floats], Floats]
World = Callable[[Floats], Floats]


def _probability(z: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-z))


def _logit(rows: Floats) -> Floats:
    """What the model computes. It is unsure where d is large; it does not use e and f."""
    return (1.8 * rows[:, 0] - 1.2 * rows[:, 1] + 0.8 * rows[:, 2]) * np.where(rows[:, 3] > 0.8, 0.2, 1.5)


def _model(rows: Floats) -> Floats:
    return _probability(_logit(rows))


def _flipped(rows: Floats) -> Floats:
    return np.where(rows[:, 0] > CUT, 1.0 - _model(rows), _model(rows))


def _flatter(rows: Floats) -> Floats:
    return _probability(0.5 * _logit(rows))


def _hidden(rows: Floats) -> Floats:
    """A world in which f matters, which the model does not use."""
    return _probability(_logit(rows) * np.where(rows[:, 5] > 0.5, 0.3, 1.5))


def _same(rows: Floats) -> Floats:
    return rows


def _unsure(rows: Floats) -> Floats:
    return rows * np.array([0.3, 0.3, 0.3, 1.0, 1.0, 1.0])


def _moved(column: int, by: float) -> Inputs:
    step = np.zeros(len(NAMES))
    step[column] = by
    return lambda rows: rows + step


@dataclass(frozen=True)
class Planted:
    """A change: how inputs move, and the probability of label 1 before and after it."""

    name: str
    inputs: Inputs = _same
    before: World = _model
    after: World = _model
    kind: str = ""


CHANGES = (
    Planted("inputs to rows of which the model is unsure", _unsure, kind="inputs"),
    Planted("inputs to a hard region that the score knows", _moved(3, 1.0), kind="inputs"),
    Planted("inputs without effect", _moved(4, 1.0)),
    Planted("relation flipped in a segment", after=_flipped, kind="relation"),
    Planted("flatter relation", after=_flatter, kind="relation"),
    Planted("unsure rows and flatter relation", _unsure, after=_flatter, kind="both"),
    Planted("hard region and flipped segment", _moved(3, 1.0), after=_flipped, kind="both"),
)
UNSEEN = Planted("inputs in a column that the model does not use", _moved(5, 1.0), before=_hidden, after=_hidden)


@dataclass(frozen=True)
class Side:
    rows: Floats
    selection: Selection
    sample: RowSample


def run(seed: int) -> Part:
    """Split every planted change at two sizes, and AWS's samples."""
    random = np.random.Generator(np.random.PCG64(seed))
    lines = [
        f"{REPETITIONS} repetitions of each change; a model of four of six columns; a baseline of {BASELINE:,} "
        "rows for each repetition. Points of error: the truth, and the mean of what was found.",
        "",
    ]
    figures: dict[str, Any] = {}
    bounds: list[Bound] = []
    body: list[Sequence[Any]] = []
    worst = 0.0
    for change in (*CHANGES, UNSEEN):
        truth = _truth(change, random)
        row: list[Any] = [change.name, *(f"{100 * part:.1f}" for part in truth)]
        figures[change.name] = {"truth": dict(zip(("inputs", "relation"), truth, strict=True))}
        for size in (WINDOW, LARGE_WINDOW):
            found = [_cause(*_draw(change, size, random)) for _ in range(REPETITIONS)]
            worst = max(worst, *(_residue(cause) for cause in found))
            change_, inputs, relation, unsupported = (
                float(np.mean([getattr(cause.loss, name) for cause in found]))
                for name in ("change", "inputs", "relation", "unsupported")
            )
            named = [cause.segment for cause in found if cause.segment]
            row += [f"{100 * inputs:.1f}", f"{100 * relation:.1f}", f"{100 * unsupported:.1f}", len(named)]
            figures[change.name][str(size)] = {
                "change": change_,
                "inputs": inputs,
                "relation": relation,
                "unsupported": unsupported,
                "segments": [[one.column, one.cut] for one in named],
            }
            if size == WINDOW and change.kind in ("inputs", "relation"):
                part = inputs if change.kind == "inputs" else relation
                bounds.append(Bound(f"{change.name}: share in the right part", part / change_, 0.9, at_least=True))
            if size == WINDOW and change.kind == "both":
                bounds.append(Bound(f"{change.name}: inputs part off the truth", abs(inputs - truth[0]), 0.03))
            if size == LARGE_WINDOW and change.after is _flipped and change.kind == "relation":
                right = [one for one in named if one.column == NAMES[0] and abs(one.cut - CUT) <= 0.3]
                what = "flipped segment: its column is named with a cut within 0.3 of the true one"
                bounds.append(Bound(what, len(right) / REPETITIONS, 0.9, at_least=True))
                figures["largest distance of a named cut"] = max(abs(one.cut - CUT) for one in named)
            if size == LARGE_WINDOW and change.after is _flatter and change.kind == "relation":
                bounds.append(Bound("flatter relation: a segment is named", len(named) / REPETITIONS, 0.1))
        body.append(row)
    bounds.append(Bound("inputs + relation + unsupported less the change, largest", worst, 1e-12))
    header = ["planted", "inputs", "relation"]
    for size in (WINDOW, LARGE_WINDOW):
        header += [f"{size:,} rows: inputs", "relation", "unsupported", "segment named"]
    lines += table(header, body)
    said, sentence = _unseen_column(random)
    bounds.append(
        Bound("moved column that the model does not use: the two cannot be told apart", said, 1.0, at_least=True)
    )
    lines += ["", f'What is said of the column that the model does not use: "{sentence}".']
    aws_lines, aws_bounds = _aws(random)
    return Part("cause", "Why the error changed", [*lines, *aws_lines], figures, [*bounds, *aws_bounds])


def _truth(change: Planted, random: np.random.Generator) -> tuple[float, float]:
    """The split over single rows: the model's error under both inputs and both worlds."""
    rows = random.normal(size=(POPULATION, len(NAMES)))
    error = {
        (moved, after): float(np.mean(_error(change.inputs(rows) if moved else rows, world)))
        for moved in (False, True)
        for after, world in ((False, change.before), (True, change.after))
    }
    inputs = (error[True, False] - error[False, False] + error[True, True] - error[False, True]) / 2.0
    relation = (error[False, True] - error[False, False] + error[True, True] - error[True, False]) / 2.0
    return inputs, relation


def _error(rows: Floats, world: World) -> Floats:
    chance = world(rows)
    return np.where(_model(rows) > 0.5, 1.0 - chance, chance)


def _draw(change: Planted, size: int, random: np.random.Generator) -> tuple[Side, Side]:
    baseline = random.normal(size=(BASELINE, len(NAMES)))
    window = change.inputs(random.normal(size=(size, len(NAMES))))
    return _side(baseline, change.before, random, 0), _side(window, change.after, random, BASELINE)


def _side(rows: Floats, world: World, random: np.random.Generator, first: int) -> Side:
    scores = _model(rows)
    served, labels = (scores > 0.5).astype(float), (random.random(len(rows)) < world(rows)).astype(float)
    hashes = row_hashes(np.arange(first, first + len(rows), dtype=np.uint64), np.zeros(len(rows), dtype=np.uint64))
    features = {name: rows[:, place].tolist() for place, name in enumerate(NAMES)}
    sample = row_sample(hashes, features, scores, served, labels, BASELINE)
    return Side(rows, binary_selection(scores, served, labels), sample)


def _cause(baseline: Side, window: Side, alarms: Sequence[Alarm] = (), unused: Sequence[str] = ()) -> Cause:
    samples = (baseline.sample, window.sample)
    cause = cause_of(baseline.selection, window.selection, alarms=alarms, samples=samples, unused=unused)
    assert cause is not None
    return cause


def _residue(cause: Cause) -> float:
    """By how much the parts miss the change, of the error, of F1 and of the area."""
    splits = [cause.loss, *cause.metrics.values()]
    return max(abs(one.inputs + one.relation + one.unsupported - one.change) for one in splits)


def _alarms(baseline: dict[str, list[Any]], window: dict[str, list[Any]]) -> list[Alarm]:
    """What the evidence says of a window's columns when it is looked at once."""
    before, now = (profile_of_columns(side, len(next(iter(side.values())))) for side in (baseline, window))
    questions = questions_of("baseline", before)
    counts = [question_counts(questions, profile, Selection()) for profile in (before, now)]
    shown = [CountedWindow(name="window", place=0, counts=counts[1])]
    return list(evidence_of(questions, counts[0], shown, "window", 1.0).columns)


def _unseen_column(random: np.random.Generator) -> tuple[float, str]:
    """In which share of the repetitions the text says so, and what it says."""
    sentence, hits = "", 0
    for _ in range(REPETITIONS):
        baseline, window = _draw(UNSEEN, LARGE_WINDOW, random)
        columns = [{name: side.rows[:, at].tolist() for at, name in enumerate(NAMES)} for side in (baseline, window)]
        cause = _cause(baseline, window, _alarms(*columns), unused_columns(baseline.sample))
        found = [line for line in cause.text if "cannot be told apart" in line]
        if found and f" {NAMES[5]}," in found[0]:
            sentence, hits = found[0], hits + 1
    return hits / REPETITIONS, sentence


def _aws(random: np.random.Generator) -> tuple[list[str], list[Bound]]:
    """AWS's churn sample with one column moved by three standard deviations, and AWS's sample of drifted data."""
    with (DATA / "churn" / "training-dataset-with-header.csv").open(encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    order = random.permutation(len(rows))
    sides = [
        {name: [rows[index][place] for index in half.tolist()] for place, name in enumerate(header)}
        for half in np.array_split(order, 2)
    ]
    name = "Day Mins"
    step = 3.0 * float(np.std([float(value) for value in sides[0][name]]))
    moved = {**sides[1], name: [repr(float(value) + step) for value in sides[1][name]]}
    quiet, found = (moved_questions(_alarms(sides[0], side)) for side in (sides[1], moved))
    folder = DATA / "data-quality-drift"
    with (folder / "baseline.csv").open(encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    baseline = {each: [row[place] for row in rows] for place, each in enumerate(header) if place}
    with (folder / "data_quality_drift.csv").open(encoding="utf-8") as file:
        window = {
            each: list(column) for each, column in zip(header[1:], zip(*csv.reader(file), strict=True), strict=True)
        }
    drifted = moved_questions(_alarms(baseline, window))
    lines = [
        "",
        f"AWS's churn sample, one half against the other with {name} moved by three standard deviations: "
        + "; ".join(f"{alarm.column}: {alarm.text}" for alarm in found)
        + ". AWS's sample of drifted data, columns that moved, most significant first: "
        + "; ".join(f"{alarm.column}: {alarm.text}" for alarm in drifted)
        + ".",
    ]
    names = [alarm.column for alarm in found]
    bounds = [
        Bound(
            f"AWS's churn sample: place of the moved column {name}", names.index(name) + 1 if name in names else 0, 1
        ),
        Bound("AWS's churn sample: columns named that were not moved", len({*names} - {name}), 0),
        Bound("AWS's churn sample: columns named when none was moved", len(quiet), 0),
    ]
    return lines, bounds
