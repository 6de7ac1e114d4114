"""Which rows have labels: counts of answered rows per score, with and without a label, and how the labelled ones did.

From these counts a report says whether labels come selectively (the scores of labelled rows are distributed otherwise
than those of unlabelled ones) and what the metrics would be if they did not. Scores are counted in fixed narrow bins,
so the counts are exact and any split of the rows into files gives the same bytes. Class names are what answers said:
payload. Not here: names of metrics and thresholds (`evidence.selection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.records.attributes import ProblemType
from chalicelib.records.table import Table
from chalicelib.records.values import class_order
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 2

# Bins of a probability, and bins of any other number, a margin too, between two powers of two (about 9 % each).
PROBABILITY_BINS = 1000
OCTAVE_BINS = 8

# What became of a row. Without a label UNLABELLED, of a binary classifier plus the served class; outcomes from LABELLED
# on have a label: of a binary classifier LABELLED + 2 * served class + label, of several classes LABELLED + 1 if the
# answer was right, of a regression LABELLED + the bin of the size of the error.
UNLABELLED, LABELLED = 0, 2

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Numbers below 2 ** -_LEAST are in the bin of 0.
_LEAST = 64
_OUTCOMES = 1 << 16
# Outcomes of a binary classifier.
_CELLS = 6


class Selection(msgspec.Struct, frozen=True, array_like=True):
    """Answered rows per (bin, outcome); `Selection()` is the identity of `+`.

    `problem_type` says what bins and outcomes are, "" where nothing was counted; states of two cannot be added.
    `classes`: for several classes the served ones that occur, in the order of `values.class_order`, whose positions are
    the bins; () otherwise. `packed_cells`: little-endian int64, shape (k, 3): bin, outcome, rows, in order.
    """

    problem_type: ProblemType | Literal[""] = ""
    classes: tuple[str, ...] = ()
    packed_cells: bytes = b""

    def __post_init__(self) -> None:
        if any(class_order(one) >= class_order(other) for one, other in pairwise(self.classes)):
            raise ValueError("different classes in order")
        if len(self.packed_cells) % 24:
            raise ValueError("three numbers for each cell")
        cells = self.cells
        if bool(self.problem_type) != bool(len(cells)) or bool(self.classes) != (
            self.problem_type == "MulticlassClassification"
        ):
            raise ValueError("a problem type for cells, and classes where it has them")
        if not len(cells):
            return
        if (
            int(cells[:, 1].min()) < 0
            or int(cells[:, 1].max()) >= _OUTCOMES
            or int(np.abs(cells[:, 0]).max()) > 1 << 40
        ):
            raise ValueError("bins and outcomes within their bounds")
        places = cells[:, 0] * _OUTCOMES + cells[:, 1]
        if bool((places[1:] <= places[:-1]).any()):
            raise ValueError("cells in order")
        if self.classes and not np.array_equal(np.unique(cells[:, 0]), np.arange(len(self.classes))):
            raise ValueError("classes that occur")
        # The sum in float64: one in int64 could wrap.
        if int(cells[:, 2].min()) < 1 or float(cells[:, 2].sum(dtype=np.float64)) > MOST_ROWS:
            raise ValueError(f"counts from 1 to {MOST_ROWS}")

    def __add__(self, other: Selection) -> Selection:
        if not other.packed_cells:
            return self
        if not self.packed_cells:
            return other
        if self.problem_type != other.problem_type:
            raise ValueError("states of one problem type")
        classes = sorted({*self.classes, *other.classes}, key=class_order)
        position = {name: index for index, name in enumerate(classes)}
        parts = []
        for state in (self, other):
            cells = state.cells.copy()
            if state.classes:
                cells[:, 0] = np.array([position[name] for name in state.classes], dtype=np.int64)[cells[:, 0]]
            parts.append(cells)
        both = np.concatenate(parts)
        return _selection(self.problem_type, classes, both[:, 0], both[:, 1], both[:, 2])

    @property
    def cells(self) -> Counts:
        """Bin, outcome and rows of each cell, shape (k, 3)."""
        return np.frombuffer(self.packed_cells, dtype="<i8").astype(np.int64, copy=False).reshape(-1, 3)

    @property
    def rows(self) -> int:
        """Answered rows, labelled or not."""
        return int(self.cells[:, 2].sum())

    @property
    def labelled(self) -> int:
        """Of these, rows with a label."""
        cells = self.cells
        return int(cells[cells[:, 1] >= LABELLED, 2].sum())

    def to_bytes(self) -> bytes:
        return pack("selection", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Selection:
        """Raises UnreadableError."""
        return unpack(body, "selection", VERSION, cls)


def selection_of(table: Table, margins: bool = False) -> Selection:
    """The selection of a table's answered rows; `margins`: a binary classifier's scores are no probabilities."""
    answered = np.isfinite(table.predictions)
    predictions, labels = table.predictions[answered], table.labels[answered]
    if table.problem_type == "BinaryClassification":
        scores = table.scores[answered] if table.probabilities else None
        return binary_selection(scores, predictions, labels, margins)
    if table.problem_type == "MulticlassClassification":
        return class_selection(table.classes, predictions, labels)
    return regression_selection(predictions, labels)


def binary_selection(scores: Floats | None, predictions: Floats, labels: Floats, margins: bool = False) -> Selection:
    """Of columns of shape (n,): scores (None: there are none, the served class stands for them), served classes and
    labels 0, 1 or nan. Scores are probabilities, and what lies outside 0 to 1 counts as 0 or 1; or margins, which may
    be any number. Rows without one are left out."""
    fold = BinarySelectionFold(margins and scores is not None)
    fold.add(predictions if scores is None else scores, predictions, labels)
    return fold.state


class BinarySelectionFold:
    """Counts rows of a binary classifier, block by block, into one selection."""

    def __init__(self, margins: bool = False) -> None:
        self._margins = Selection() if margins else None
        self._counts = np.zeros(_CELLS * (PROBABILITY_BINS + 1), dtype=np.int64)

    def add(self, scores: Floats, predictions: Floats, labels: Floats) -> None:
        """Count rows of columns of shape (n,), as `binary_selection` has them."""
        known = ~np.isnan(scores)
        if not known.all():
            scores, predictions, labels = scores[known], predictions[known], labels[known]
        outcomes = np.where(np.isnan(labels), UNLABELLED + predictions, LABELLED + 2 * predictions + labels)
        if self._margins is not None:
            bins = score_bins(scores, margins=True)
            self._margins += _selection("BinaryClassification", (), bins, outcomes.astype(np.int64))
            return
        cells = score_bins(scores) * _CELLS + outcomes.astype(np.int64)
        self._counts += np.bincount(cells, minlength=len(self._counts))

    @property
    def state(self) -> Selection:
        if self._margins is not None:
            return self._margins
        cells = np.flatnonzero(self._counts)
        return _selection("BinaryClassification", (), cells // _CELLS, cells % _CELLS, self._counts[cells])


def class_selection(classes: Sequence[str], predictions: Floats, labels: Floats) -> Selection:
    """Of columns of shape (n,): positions of the served class and of the label (nan: none) in `classes`."""
    bins = predictions.astype(np.int64)
    labelled = np.isfinite(labels)
    outcomes = np.full(len(bins), UNLABELLED, dtype=np.int64)
    outcomes[labelled] = LABELLED + (predictions[labelled] == labels[labelled])
    found, places = np.unique(bins, return_inverse=True)
    names = [classes[index] for index in found.tolist()]
    return _selection("MulticlassClassification", names, places.astype(np.int64), outcomes)


def regression_selection(predictions: Floats, labels: Floats) -> Selection:
    """Of columns of shape (n,): what was served, and labels in the same unit, nan where there is none."""
    labelled = np.isfinite(labels)
    outcomes = np.full(len(predictions), UNLABELLED, dtype=np.int64)
    with np.errstate(over="ignore"):
        sizes = np.minimum(np.abs(labels[labelled] - predictions[labelled]), np.finfo(np.float64).max)
    outcomes[labelled] = LABELLED + bin_of(sizes)
    return _selection("Regression", (), bin_of(predictions), outcomes)


def score_bins(scores: Floats, margins: bool = False) -> Counts:
    """The bins of a binary classifier's scores, shape (n,): probabilities, or margins."""
    return bin_of(scores) if margins else np.floor(np.clip(scores, 0.0, 1.0) * PROBABILITY_BINS).astype(np.int64)


def bin_of(numbers: Floats) -> Counts:
    """The bins of finite numbers, shape (n,): ordered like them, 0 for 0, each an eighth of an octave wide."""
    parts, powers = np.frexp(np.abs(numbers))
    steps = (powers.astype(np.int64) + _LEAST) * OCTAVE_BINS + np.floor((parts - 0.5) * 2 * OCTAVE_BINS).astype(
        np.int64
    )
    found: Counts = np.where(parts == 0.0, 0, np.sign(numbers).astype(np.int64) * np.maximum(steps, 0))
    return found


def size_of(bins: Counts) -> Floats:
    """The number in the middle of each bin of numbers that are not negative."""
    powers, steps = np.divmod(bins, OCTAVE_BINS)
    found: Floats = np.ldexp(0.5 + (steps + 0.5) / (2 * OCTAVE_BINS), (powers - _LEAST).astype(np.int64))
    return np.where(bins == 0, 0.0, found)


def _selection(
    problem_type: ProblemType | Literal[""],
    classes: Sequence[str],
    bins: Counts,
    outcomes: Counts,
    rows: Counts | None = None,
) -> Selection:
    if not len(bins):
        return Selection()
    places, cells = np.unique(bins * _OUTCOMES + outcomes, return_inverse=True)
    counts = np.zeros(len(places), dtype=np.int64)
    np.add.at(counts, cells, 1 if rows is None else rows)
    found = np.stack([places // _OUTCOMES, places % _OUTCOMES, counts], axis=1)
    return Selection(problem_type, tuple(classes), found.astype("<i8").tobytes())
