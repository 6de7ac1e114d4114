"""The public streams of the policy's panel: rows in time order, cut into windows, and what models lose on them.

Not here: any policy (parts/policy.py). Sources and licences: the SOURCE.md beside each file.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chalicelib.decisions.backtest import Course
from chalicelib.decisions.policy import Policy
from chalicelib.evidence.surrogate import Sample, train
from chalicelib.records.attributes import ProblemType

ROOT = Path(__file__).resolve().parents[2]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stream:
    """`features` (n, columns), `labels` (n,); a window has `rows` rows, a model is trained on `training` windows, the
    first one on the first of them."""

    name: str
    features: Floats
    labels: Floats
    rows: int
    training: int
    problem_type: ProblemType = "BinaryClassification"

    @property
    def windows(self) -> int:
        return len(self.labels) // self.rows

    def part(self, first: int, until: int) -> slice:
        """The rows of the windows from `first` on and before `until`."""
        return slice(first * self.rows, until * self.rows)


def electricity() -> Stream:
    """Elec2: price up or down, weeks of 336 half-hours, models of 26 weeks."""
    table = np.array(list(_rows("examples/electricity/elec.csv.gz")), dtype=float)
    return Stream("Elec2", table[:, :6], table[:, 6], 336, 26)


def bikes(busy: bool) -> Stream:
    """Rides per hour, weeks of 168 hours, models of 8 weeks; `busy`: above the median of the first 8 weeks."""
    table = np.array([row[1:] for row in _rows("examples/bikes/bike_sharing_hour.csv.gz")], dtype=float)
    rides = table[:, 8]
    if busy:
        return Stream("bikes, busy hour", table[:, :8], (rides > np.median(rides[: 8 * 168])).astype(float), 168, 8)
    return Stream("bikes, count", table[:, :8], rides, 168, 8, "Regression")


def long_haul() -> Stream:
    """Minutes in the air; 1,496 flights are about a week, models of 4 weeks."""
    rows = list(_rows("trials/evidence/data/nyc_long_haul_2013.csv.gz"))
    columns = []
    for place in range(1, 7):
        texts = [row[place] for row in rows]
        coded = place in (3, 4, 5)
        codes = {text: float(code) for code, text in enumerate(sorted(set(texts)))} if coded else {}
        columns.append([codes[text] if coded else float(text) for text in texts])
    minutes = np.array([float(row[7]) for row in rows])
    return Stream("long-haul minutes", np.array(columns).T, minutes, 1496, 4, "Regression")


def shuffled(stream: Stream, seed: int) -> Stream:
    """The same windows in random order: nothing drifts."""
    order = np.random.default_rng(seed).permutation(stream.windows)
    rows = np.concatenate([np.arange(stream.rows) + window * stream.rows for window in order])
    return replace(stream, name=f"{stream.name}, shuffled", features=stream.features[rows], labels=stream.labels[rows])


def mixed(stream: Stream, seed: int) -> Stream:
    """The same rows in random order: the windows, and so the models, differ by chance alone."""
    rows = np.random.default_rng(seed).permutation(stream.windows * stream.rows)
    return replace(stream, name=f"{stream.name}, mixed", features=stream.features[rows], labels=stream.labels[rows])


def course(stream: Stream) -> Course:
    """Losses of scikit-learn's gradient-boosted trees and of the package's surrogates, trained at every cut.

    A regression's losses are multiples of the baseline's: of the loss, on the newest held-back windows before the
    first model serves, of a model trained on the windows before these.
    """
    n, origin, held = stream.windows, stream.training, Policy().holdback_windows
    fresh, surrogates = np.full((n, n), np.nan), np.full((n, n), np.nan)
    samples = [_sample(stream, window) for window in range(n)]
    for cut in range(max(1, origin - held + 1), n):
        first = max(0, cut - stream.training)
        fresh[cut, cut:] = _losses(stream, first, cut)
        if cut >= origin:
            surrogate = train(samples[first:cut], stream.problem_type)
            later = np.concatenate([sample.features for sample in samples[cut:]])
            answers = surrogate.answers(later).reshape(n - cut, -1)
            labels = np.stack([sample.labels for sample in samples[cut:]])
            surrogates[cut, cut:] = _each(answers, labels, stream.problem_type).mean(axis=1)
    if stream.problem_type == "Regression":
        gate = _losses(stream, 0, origin - held) if origin > held else _losses(stream, 0, 1)
        unit = float(np.mean(gate[: held if origin > held else origin - 1]))
        fresh, surrogates = fresh / unit, surrogates / unit
    return Course(first=fresh[origin].copy(), fresh=fresh, surrogates=surrogates, origin=origin)


def _losses(stream: Stream, first: int, until: int) -> Floats:
    """Losses, on each window from `until` on, of a model trained on the windows from `first` on and before `until`."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    learner = HistGradientBoostingRegressor if stream.problem_type == "Regression" else HistGradientBoostingClassifier
    rows, later = stream.part(first, until), stream.part(until, stream.windows)
    model = learner(random_state=0).fit(stream.features[rows], stream.labels[rows])
    answers, labels = model.predict(stream.features[later]), stream.labels[later]
    found: Floats = _each(answers, labels, stream.problem_type).reshape(-1, stream.rows).mean(axis=1)
    return found


def _each(answers: Floats, labels: Floats, problem_type: ProblemType) -> Floats:
    return np.abs(answers - labels) if problem_type == "Regression" else (answers != labels).astype(float)


def _sample(stream: Stream, window: int) -> Sample:
    rows = np.arange(stream.rows) + window * stream.rows
    most = Policy().sample_rows
    if stream.rows > most:
        rows = np.sort(np.random.default_rng(window).choice(rows, most, replace=False))
    return Sample(stream.features[rows], stream.labels[rows])


def _rows(path: str) -> Iterator[list[str]]:
    with gzip.open(ROOT / path, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        next(reader)
        yield from reader
