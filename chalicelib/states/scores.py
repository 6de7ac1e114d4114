"""The tally of a binary classifier: how many rows per distinct score, served class and label.

Everything that model quality says comes from these counts by one cumulative sum: confusion matrices at any cut,
ROC and precision-recall curves, the area under the curve. Exact; its size grows with the number of distinct scores
(40 bytes each). Refuses to know thresholds of alarm and names of metrics (`monitors.model_quality`).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.records.table import Table
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 1

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Confusion:
    """Rows by label and prediction, class 1 being positive."""

    true_negatives: int
    false_positives: int
    false_negatives: int
    true_positives: int


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """Counts per distinct score; `Tally()` is the identity of `+`.

    `packed_scores`: distinct scores, ascending, little-endian float64. `packed_cells`: little-endian int64 of shape
    (scores, 2, 2), indexed [score, served class, label].
    """

    packed_scores: bytes = b""
    packed_cells: bytes = b""

    def __post_init__(self) -> None:
        if len(self.packed_scores) % 8 or len(self.packed_cells) != 4 * len(self.packed_scores):
            raise ValueError("four counts for each score")
        scores, cells = self.scores, self.cells
        if not np.isfinite(scores).all() or bool((scores[1:] <= scores[:-1]).any()):
            raise ValueError("finite scores in order")
        # The sum in float64: one in int64 could wrap.
        if cells.size and (int(cells.min()) < 0 or float(cells.sum(dtype=np.float64)) > MOST_ROWS):
            raise ValueError(f"counts from 0 to {MOST_ROWS}")
        if not bool(cells.any(axis=(1, 2)).all()):
            raise ValueError("a row for each score")

    def __add__(self, other: Tally) -> Tally:
        if not other.packed_scores:
            return self
        if not self.packed_scores:
            return other
        return _tally(np.concatenate([self.scores, other.scores]), np.concatenate([self.cells, other.cells]))

    @property
    def scores(self) -> Floats:
        """Distinct scores, ascending, shape (m,)."""
        return np.frombuffer(self.packed_scores, dtype="<f8").astype(np.float64, copy=False)

    @property
    def cells(self) -> Counts:
        """Rows per score, served class and label, shape (m, 2, 2)."""
        return np.frombuffer(self.packed_cells, dtype="<i8").astype(np.int64, copy=False).reshape(-1, 2, 2)

    @property
    def rows(self) -> int:
        """How many labelled rows were counted."""
        return int(self.cells.sum())

    @property
    def confusion(self) -> Confusion:
        """The confusion matrix of the classes that were served."""
        by_class = self.cells.sum(axis=0)
        return Confusion(int(by_class[0, 0]), int(by_class[1, 0]), int(by_class[0, 1]), int(by_class[1, 1]))

    def confusion_at(self, cut: float) -> Confusion:
        """The confusion matrix if score > `cut` had been served as class 1."""
        by_label = self.cells.sum(axis=1)
        above = self.scores > cut
        positives, negatives = by_label[above].sum(axis=0), by_label[~above].sum(axis=0)
        return Confusion(int(negatives[0]), int(positives[0]), int(negatives[1]), int(positives[1]))

    def to_bytes(self) -> bytes:
        return pack("tally", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Tally:
        """Raises UnreadableError."""
        return unpack(body, "tally", VERSION, cls)


def tally_of(table: Table) -> Tally:
    """The tally of a table's labelled rows.

    Rows without label, served class or (where probabilities are expected) score are left out; without probabilities
    the served class is the score.
    """
    scores = table.scores if table.probabilities else table.predictions
    return tally(scores, table.predictions, table.labels)


def tally(scores: Floats, predictions: Floats, labels: Floats) -> Tally:
    """The tally of columns of shape (n,): scores in any unit, predictions and labels 0 or 1; nan rows are left out."""
    usable = np.isfinite(scores) & np.isfinite(predictions) & np.isfinite(labels)
    count = int(usable.sum())
    if not count:
        return Tally()
    cells = np.zeros((count, 2, 2), dtype=np.int64)
    cells[np.arange(count), predictions[usable].astype(np.int64), labels[usable].astype(np.int64)] = 1
    return _tally(scores[usable], cells)


def _tally(scores: Floats, cells: Counts) -> Tally:
    # + 0.0 makes -0.0 the same score as 0.0.
    distinct, places = np.unique(scores + 0.0, return_inverse=True)
    summed = np.zeros((len(distinct), 2, 2), dtype=np.int64)
    np.add.at(summed, places, cells)
    return Tally(distinct.astype("<f8").tobytes(), summed.astype("<i8").tobytes())


def roc_curve(tally: Tally) -> tuple[Floats, Floats]:
    """False- and true-positive rates, each of shape (m + 2,): one point per distinct score, highest first.

    (0, 0) comes before and (1, 1) after, as in Spark MLlib and Model Monitor. Both are empty when one of the two
    classes does not occur among the labels.
    """
    false_positives, true_positives = _cumulated(tally)
    if not len(false_positives) or not false_positives[-1] or not true_positives[-1]:
        return np.zeros(0), np.zeros(0)
    fpr, tpr = false_positives / false_positives[-1], true_positives / true_positives[-1]
    return np.concatenate([[0.0], fpr, [1.0]]), np.concatenate([[0.0], tpr, [1.0]])


def precision_recall_curve(tally: Tally) -> tuple[Floats, Floats]:
    """Precisions and recalls, each of shape (m + 1,): one point per distinct score, highest first.

    Recall 0 with the first precision comes before. Both are empty when no label is 1.
    """
    false_positives, true_positives = _cumulated(tally)
    if not len(true_positives) or not true_positives[-1]:
        return np.zeros(0), np.zeros(0)
    precisions = true_positives / (true_positives + false_positives)
    recalls = true_positives / true_positives[-1]
    return np.concatenate([precisions[:1], precisions]), np.concatenate([[0.0], recalls])


def area_under_curve(cells: Counts) -> Floats:
    """The area under the ROC curve of counts of shape (..., m, 2, 2), scores ascending; nan without both classes.

    The Mann-Whitney form: the share of (label 1, label 0) pairs that the score orders rightly, ties counting half.
    """
    by_label = cells.sum(axis=-2).astype(np.float64)
    negatives, positives = by_label[..., 0], by_label[..., 1]
    below = np.cumsum(negatives, axis=-1) - negatives
    right = (positives * (below + 0.5 * negatives)).sum(axis=-1)
    pairs = negatives.sum(axis=-1) * positives.sum(axis=-1)
    area: Floats = np.full(pairs.shape, np.nan)
    np.divide(right, pairs, out=area, where=pairs > 0)
    return area


def _cumulated(tally: Tally) -> tuple[Counts, Counts]:
    """Rows with label 0 and with label 1 at or above each score, highest first."""
    by_label = np.cumsum(tally.cells.sum(axis=1)[::-1], axis=0)
    return by_label[:, 0], by_label[:, 1]
