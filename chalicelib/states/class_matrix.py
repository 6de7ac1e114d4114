"""The confusion matrix of a classifier with any number of classes: how many rows per label and served class.

All multiclass metrics come from these counts. They are exact, and any split of the rows gives the same bytes. Only
cells with rows are kept, so a column of ten thousand different words costs its rows and not their square. Class names
are labels and predictions, so payload. Not here: names of metrics (`monitors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.records.table import Table
from chalicelib.records.values import class_order
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 1

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class ClassMatrix(msgspec.Struct, frozen=True, array_like=True):
    """Counts per (label, served class); `ClassMatrix()` is the identity of `+`.

    `classes`: the names that occur, in the order of `values.class_order`. `packed_places` and `packed_counts`:
    little-endian int64, one for each cell that has rows; a place is label * number of classes + served class, both as
    positions in `classes`, ascending.
    """

    classes: tuple[str, ...] = ()
    packed_places: bytes = b""
    packed_counts: bytes = b""

    def __post_init__(self) -> None:
        if any(class_order(one) >= class_order(other) for one, other in pairwise(self.classes)):
            raise ValueError("different classes in order")
        if len(self.packed_places) % 8 or len(self.packed_counts) != len(self.packed_places):
            raise ValueError("a count for each place")
        size, places, counts = len(self.classes), self.places, self.counts
        if bool((places[1:] <= places[:-1]).any()) or (len(places) and not 0 <= places[0] <= places[-1] < size * size):
            raise ValueError("places in order, within the matrix")
        # The sum in float64: one in int64 could wrap.
        if len(counts) and (int(counts.min()) < 1 or float(counts.sum(dtype=np.float64)) > MOST_ROWS):
            raise ValueError(f"counts from 1 to {MOST_ROWS}")
        if size and len(np.union1d(places // size, places % size)) != size:
            raise ValueError("classes that occur")

    def __add__(self, other: ClassMatrix) -> ClassMatrix:
        if not other.classes:
            return self
        if not self.classes:
            return other
        classes = sorted({*self.classes, *other.classes}, key=class_order)
        position = {name: index for index, name in enumerate(classes)}
        labels, served = [], []
        for state in (self, other):
            known = np.array([position[name] for name in state.classes], dtype=np.int64)
            labels.append(known[state.labels])
            served.append(known[state.served])
        return _matrix(
            classes, np.concatenate(labels), np.concatenate(served), np.concatenate([self.counts, other.counts])
        )

    @property
    def places(self) -> Counts:
        return np.frombuffer(self.packed_places, dtype="<i8").astype(np.int64, copy=False)

    @property
    def labels(self) -> Counts:
        """The label of each cell, as a position in `classes`, ascending, shape (k,)."""
        return self.places // max(len(self.classes), 1)

    @property
    def served(self) -> Counts:
        """The served class of each cell, as a position in `classes`, shape (k,)."""
        return self.places % max(len(self.classes), 1)

    @property
    def counts(self) -> Counts:
        """Rows per cell, shape (k,)."""
        return np.frombuffer(self.packed_counts, dtype="<i8").astype(np.int64, copy=False)

    @property
    def rows(self) -> int:
        """How many labelled rows were counted."""
        return int(self.counts.sum())

    def to_bytes(self) -> bytes:
        return pack("class_matrix", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> ClassMatrix:
        """Raises UnreadableError."""
        return unpack(body, "class_matrix", VERSION, cls)


def class_matrix_of(table: Table) -> ClassMatrix:
    """The matrix of a table's labelled rows; rows without label or served class are left out."""
    return class_matrix(table.classes, table.predictions, table.labels)


def class_matrix(classes: Sequence[str], predictions: Floats, labels: Floats) -> ClassMatrix:
    """The matrix of columns of shape (n,): positions in `classes` (names in order); rows with a nan are left out."""
    usable = np.isfinite(predictions) & np.isfinite(labels)
    if not usable.any():
        return ClassMatrix()
    rows = labels[usable].astype(np.int64) * len(classes) + predictions[usable].astype(np.int64)
    places, counts = np.unique(rows, return_counts=True)
    # Only names that occur, in the order that they have.
    found, positions = np.unique(np.concatenate([places // len(classes), places % len(classes)]), return_inverse=True)
    names = [classes[index] for index in found.tolist()]
    return _matrix(names, positions[: len(places)], positions[len(places) :], counts)


def _matrix(classes: Sequence[str], labels: Counts, served: Counts, counts: Counts) -> ClassMatrix:
    places, cells = np.unique(labels * len(classes) + served, return_inverse=True)
    summed = np.zeros(len(places), dtype=np.int64)
    np.add.at(summed, cells, counts)
    return ClassMatrix(tuple(classes), places.astype("<i8").tobytes(), summed.astype("<i8").tobytes())
