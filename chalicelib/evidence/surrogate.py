"""The surrogate: a small model trained on row samples, in place of one that a retraining would have given.

Two surrogates of different age, compared on the same rows, say what a fresh model would have gained: the learner is
the same on both sides, so its bias cancels. Not here: when a retraining pays (decisions/retrain.py), and where samples
are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.evidence.trees import Trees, fit
from chalicelib.states.serialization import pack, unpack

VERSION = 1
DEPTH = 3
ROUNDS = 30
RATE = 0.3
# Of more classes, the rarer ones share one answer, which is always wrong.
CLASSES = 10

Floats = npt.NDArray[np.float64]


class Sample(msgspec.Struct, frozen=True):
    """Labelled rows of one window: features of shape (n, columns), nan for a missing value, and labels of shape (n,).

    Labels are numbers: 0 and 1, class numbers that mean the same in every sample, or a regression's targets.
    """

    features: Floats
    labels: Floats


class Surrogate(msgspec.Struct, frozen=True, array_like=True):
    """`trees`: one, or one for each of `classes` of a multiclass model (trained against the rest)."""

    problem_type: str
    classes: tuple[float, ...]
    trees: tuple[Trees, ...]

    def answers(self, features: Floats, threshold: float = 0.5) -> Floats:
        """Predicted labels of shape (n,) for rows of shape (n, columns)."""
        found = [each.predict(features) for each in self.trees]
        if self.problem_type == "Regression":
            return found[0]
        if self.problem_type == "BinaryClassification":
            return (found[0] > threshold).astype(np.float64)
        chosen: Floats = np.array(self.classes)[np.stack(found).argmax(axis=0)]
        return chosen

    def loss(self, sample: Sample, threshold: float = 0.5, unit: float = 1.0) -> float:
        """The share of wrong answers, or the mean absolute error in multiples of `unit`. nan without rows."""
        if not len(sample.labels):
            return float("nan")
        answers = self.answers(sample.features, threshold)
        if self.problem_type == "Regression":
            return float(np.abs(answers - sample.labels).mean()) / unit
        return float((answers != sample.labels).mean())

    def to_bytes(self) -> bytes:
        return pack("surrogate", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Surrogate:
        """Raises UnreadableError."""
        return unpack(body, "surrogate", VERSION, cls)


def train(samples: Sequence[Sample], problem_type: str) -> Surrogate:
    """A surrogate of the windows' samples, in the order of the windows. Raises ValueError without rows or columns."""
    features = np.concatenate([each.features for each in samples])
    labels = np.concatenate([each.labels for each in samples])
    if problem_type == "Regression":
        return Surrogate(problem_type, (), (fit(features, labels, depth=DEPTH, rounds=ROUNDS, rate=RATE),))
    if problem_type == "BinaryClassification":
        classes: tuple[float, ...] = (1.0,)
    else:
        values, counts = np.unique(labels, return_counts=True)
        classes = tuple(sorted(values[np.argsort(-counts, kind="stable")[:CLASSES]].tolist()))
    trees = [
        fit(features, (labels == each).astype(np.float64), "logistic", depth=DEPTH, rounds=ROUNDS, rate=RATE)
        for each in classes
    ]
    return Surrogate(problem_type, classes if problem_type != "BinaryClassification" else (), tuple(trees))
