"""The tally of a binary classifier: how many rows per distinct score, served class and label.

All metrics of binary model quality come from these counts by one cumulative sum: confusion matrices at any cut,
ROC and precision-recall curves, the area under the curve. Exact up to `SCORES` distinct scores (40 bytes each). Beyond,
scores lose so many of their lowest bits, all the same number, that no more than that are distinct: neighbours become
one score, always towards zero. How many bits depends on the set of scores alone, so any split of the rows gives the
same bytes; `area_error` bounds the error of the area. Not here: alarm thresholds and names of metrics
(`monitors.model_quality`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.records.growing import Growing
from chalicelib.records.table import Table
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 2
SCORES = 1_000_000

_CELL_BYTES = 4 * 8
# Rows that are counted together: their sort stays in the processor's cache.
_PENDING = 1 << 16

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
    (scores, 2, 2), indexed [score, served class, label]. `dropped_bits`: how many of the lowest of a score's 52 bits
    are zero, because there were more than `SCORES` otherwise.
    """

    packed_scores: bytes = b""
    packed_cells: bytes = b""
    dropped_bits: int = 0

    def __post_init__(self) -> None:
        if len(self.packed_scores) % 8 or len(self.packed_cells) != 4 * len(self.packed_scores):
            raise ValueError("four counts for each score")
        scores, cells = self.scores, self.cells
        if not 0 <= self.dropped_bits <= 52 or len(scores) > SCORES:
            raise ValueError(f"at most {SCORES} scores without 0 to 52 bits")
        if self.dropped_bits and bool((_truncated(scores, self.dropped_bits) != scores).any()):
            raise ValueError("scores without the bits that were dropped")
        if not np.isfinite(scores).all() or bool((scores[1:] <= scores[:-1]).any()):
            raise ValueError("finite scores in order")
        # The sum in float64: one in int64 could wrap.
        if cells.size and (int(cells.min()) < 0 or float(cells.sum(dtype=np.float64)) > MOST_ROWS):
            raise ValueError(f"counts from 0 to {MOST_ROWS}")
        if not bool(((cells[:, 0, 0] | cells[:, 0, 1] | cells[:, 1, 0] | cells[:, 1, 1]) > 0).all()):
            raise ValueError("a row for each score")

    def __add__(self, other: Tally) -> Tally:
        if not other.packed_scores:
            return self
        if not self.packed_scores:
            return other
        fold = TallyFold()
        fold.add_state(self)
        fold.add_state(other)
        return fold.finish()

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
    def area_error(self) -> float:
        """How far the area under the ROC curve may be from that of the scores themselves; 0.0 while all are kept.

        Only pairs within one score cannot be ordered, and they count half.
        """
        by_label = _by_label(self.cells).astype(np.float64)
        pairs = float(by_label[:, 0].sum()) * float(by_label[:, 1].sum())
        if not self.dropped_bits or not pairs:
            return 0.0
        return float((by_label[:, 0] * by_label[:, 1]).sum()) / (2.0 * pairs)

    @property
    def confusion(self) -> Confusion:
        """The confusion matrix of the classes that were served."""
        by_class = self.cells.sum(axis=0)
        return Confusion(int(by_class[0, 0]), int(by_class[1, 0]), int(by_class[0, 1]), int(by_class[1, 1]))

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


def are_classes(tally: Tally) -> bool:
    """Whether every score that was counted is 0 or 1, and there are some: what a class looks like."""
    return bool(tally.rows) and bool(np.isin(tally.scores, (0.0, 1.0)).all())


def tally(scores: Floats, predictions: Floats, labels: Floats) -> Tally:
    """The tally of columns of shape (n,): scores in any unit, predictions and labels 0 or 1; nan rows are left out."""
    fold = TallyFold()
    fold.add(scores, predictions, labels)
    return fold.finish()


class TallyFold:
    """Folds rows and tallies into one tally, in place: 16 bytes for each score that a cell has."""

    def __init__(self) -> None:
        self._empty()

    def _empty(self) -> None:
        # For each of the four cells, 2 * served class + label: distinct scores, ascending, and their counts.
        self._scores = [Growing(np.float64) for _ in range(4)]
        self._counts = [Growing(np.int64) for _ in range(4)]
        self._pending: list[tuple[Floats, npt.NDArray[np.int8]]] = []
        self._waiting = 0
        self._dropped_bits = 0
        # No more scores than this are distinct.
        self._most = 0

    def add(self, scores: Floats, predictions: Floats, labels: Floats) -> None:
        """Add columns of shape (n,), as `tally` takes them."""
        usable = np.isfinite(scores) & np.isfinite(predictions) & np.isfinite(labels)
        if not usable.all():
            scores, predictions, labels = scores[usable], predictions[usable], labels[usable]
        # + 0.0 makes -0.0 the same score as 0.0.
        self._pending.append((scores + 0.0, (2.0 * predictions + labels).astype(np.int8)))
        self._waiting += len(scores)
        if self._waiting >= _PENDING:
            self._settle()

    def add_state(self, state: Tally) -> None:
        """Add what another tally counts."""
        self._settle()
        cells = state.cells.reshape(-1, 4)
        for cell in range(4):
            known = np.flatnonzero(cells[:, cell])
            self._put(cell, state.scores[known], cells[known, cell])
        self._drop(max(self._dropped_bits, state.dropped_bits))

    def finish(self) -> Tally:
        """The tally; the fold is empty then, because its memory is needed for it."""
        self._settle()
        count = self._count_distinct()
        # Part by part: the cells of a million scores are 32 MB, and would be there twice. In memory that is asked for
        # once: what grows leaves its former places behind.
        packed_scores, packed_cells = io.BytesIO(bytes(8 * count)), io.BytesIO(bytes(_CELL_BYTES * count))
        for distinct, places in self._parts():
            cells = np.zeros((len(distinct), 4), dtype="<i8")
            for cell, some in enumerate(places):
                known = np.searchsorted(distinct, self._scores[cell].array[some])
                cells[known, cell] = self._counts[cell].array[some]
            packed_scores.write(distinct.astype("<f8").tobytes())
            packed_cells.write(cells.tobytes())
        dropped_bits = self._dropped_bits
        self._empty()
        return Tally(packed_scores.getvalue(), packed_cells.getvalue(), dropped_bits)

    def _settle(self) -> None:
        if not self._waiting:
            return
        scores = np.concatenate([scores for scores, _ in self._pending])
        cells = np.concatenate([cells for _, cells in self._pending])
        self._pending, self._waiting = [], 0
        if self._dropped_bits:
            scores = _truncated(scores, self._dropped_bits)
        for cell in range(4):
            found = np.sort(scores[cells == cell])
            self._put(cell, *_counted(found, np.ones(len(found), dtype=np.int64)))
        self._drop(self._dropped_bits)

    def _put(self, cell: int, scores: Floats, counts: Counts) -> None:
        """Add distinct scores, ascending."""
        known = self._scores[cell].array
        # Where the new ones belong; those that are known are counted there, the others are moved in.
        places = np.searchsorted(known, scores)
        new = np.ones(len(scores), dtype=np.bool_)
        within = places < len(known)
        new[within] = known[places[within]] != scores[within]
        self._counts[cell].array[places[~new]] += counts[~new]
        self._scores[cell].insert(places[new], scores[new])
        self._counts[cell].insert(places[new], counts[new])
        self._most += int(np.count_nonzero(new))

    def _parts(self) -> Iterator[tuple[Floats, list[slice]]]:
        """Distinct scores, ascending, some at a time, and where they are in each cell."""
        columns = [scores.array for scores in self._scores]
        longest = max(columns, key=len)
        starts = [0] * 4
        for edge in [*longest[_PENDING::_PENDING].tolist(), np.inf]:
            stops = [int(np.searchsorted(column, edge)) for column in columns]
            places = [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]
            every = np.concatenate([column[some] for column, some in zip(columns, places, strict=True)])
            # Four sorted runs: the stable sort merges them.
            every.sort(kind="stable")
            yield _counted(every, np.zeros(0, dtype=np.int64))[0], places
            starts = stops

    def _count_distinct(self) -> int:
        return sum(len(distinct) for distinct, _ in self._parts())

    def _drop(self, bits: int) -> None:
        """Drop so many bits of all scores, and as many more as are needed."""
        while bits > self._dropped_bits or self._are_too_many():
            self._dropped_bits = max(self._dropped_bits + 1, bits)
            for scores, counts in zip(self._scores, self._counts, strict=True):
                # Towards zero: the order of negative scores stays too.
                found = _counted(_truncated(scores.array, self._dropped_bits), counts.array)
                scores.hold(found[0])
                counts.hold(found[1])

    def _are_too_many(self) -> bool:
        # To count them, all are sorted: not before it is needed.
        if self._most > SCORES:
            self._most = self._count_distinct()
        return self._most > SCORES


def _truncated(scores: Floats, bits: int) -> Floats:
    kept = np.ascontiguousarray(scores).view(np.uint64) & np.uint64((1 << 64) - (1 << bits))
    return kept.view(np.float64) + 0.0


def _counted(scores: Floats, counts: Counts) -> tuple[Floats, Counts]:
    """Sorted scores, each once, with the sums of their counts (none are summed where none are given)."""
    new = np.empty(len(scores), dtype=np.bool_)
    new[:1] = True
    np.not_equal(scores[1:], scores[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    return scores[starts], np.add.reduceat(counts, starts) if len(counts) else counts


def roc_curve(tally: Tally) -> tuple[Floats, Floats]:
    """False- and true-positive rates, each of shape (m + 2,): one point per distinct score, highest first.

    (0, 0) comes before and (1, 1) after, as in Spark MLlib and Model Monitor. Both are empty when one of the two
    classes does not occur among the labels.
    """
    false_positives, true_positives = _cumulated(tally)
    if not len(false_positives) or not false_positives[-1] or not true_positives[-1]:
        return np.zeros(0), np.zeros(0)
    fpr, tpr = np.zeros(len(false_positives) + 2), np.zeros(len(true_positives) + 2)
    np.divide(false_positives, false_positives[-1], out=fpr[1:-1])
    np.divide(true_positives, true_positives[-1], out=tpr[1:-1])
    fpr[-1] = tpr[-1] = 1.0
    return fpr, tpr


def precision_recall_curve(tally: Tally) -> tuple[Floats, Floats]:
    """Precisions and recalls, each of shape (m + 1,): one point per distinct score, highest first.

    Recall 0 with the first precision comes before. Both are empty when no label is 1.
    """
    false_positives, true_positives = _cumulated(tally)
    if not len(true_positives) or not true_positives[-1]:
        return np.zeros(0), np.zeros(0)
    precisions, recalls = np.zeros(len(true_positives) + 1), np.zeros(len(true_positives) + 1)
    false_positives += true_positives
    np.divide(true_positives, false_positives, out=precisions[1:])
    np.divide(true_positives, true_positives[-1], out=recalls[1:])
    precisions[0] = precisions[1]
    return precisions, recalls


def area_under_curve(cells: Counts) -> Floats:
    """The area under the ROC curve of counts of shape (..., m, 2, 2), scores ascending; nan without both classes.

    The Mann-Whitney form: the share of (label 1, label 0) pairs that the score orders rightly, ties counting half.
    """
    by_label = _by_label(cells).astype(np.float64)
    negatives, positives = by_label[..., 0], by_label[..., 1]
    right_by_score = np.cumsum(negatives, axis=-1)
    right_by_score -= negatives
    right_by_score += 0.5 * negatives
    right_by_score *= positives
    right = right_by_score.sum(axis=-1)
    pairs = negatives.sum(axis=-1) * positives.sum(axis=-1)
    area: Floats = np.full(pairs.shape, np.nan)
    np.divide(right, pairs, out=area, where=pairs > 0)
    return area


def _by_label(cells: Counts) -> Counts:
    """Counts of shape (..., 2, 2) without the served class."""
    # Not a sum along an axis of two, which costs a step of a loop for each pair.
    return np.asarray(cells[..., 0, :] + cells[..., 1, :], dtype=np.int64)


def _cumulated(tally: Tally) -> tuple[Counts, Counts]:
    """Rows with label 0 and with label 1 at or above each score, highest first."""
    by_label = _by_label(tally.cells)[::-1]
    np.cumsum(by_label, axis=0, out=by_label)
    return by_label[:, 0], by_label[:, 1]
