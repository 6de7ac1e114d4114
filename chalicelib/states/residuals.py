"""The errors of a regression: exact sums of labels and of the sizes of errors, and a fair choice of rows.

Mean absolute and mean squared error, and the share of the labels' variance that is explained, come from exact sums
(`moments`), so any split of the rows into files gives the same bytes. What needs rows (the spread that resampling
shows) has up to `ROWS` of them: all, or those of the smallest hashes of their record ids, which is the same choice for
every split and independent of the values. Rows are payload. Not here: names of metrics (`monitors`).
"""

from __future__ import annotations

import sys
from hashlib import blake2b

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.records.table import Table
from chalicelib.states.moments import Moments, moments_of
from chalicelib.states.serialization import pack, unpack

VERSION = 1
# A deviation estimated from so many rows is within about 4 % for errors that are normal (2 sigma: 8 %); five samples,
# as Model Monitor takes them, are within 35 %.
ROWS = 2048

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]


class Residuals(msgspec.Struct, frozen=True, array_like=True):
    """Labels and errors; `Residuals()` is the identity of `+`.

    `labels`: moments of the labels; `sizes`: of |label - prediction|, both in the label's unit. `packed_hashes`
    (little-endian uint64), `packed_labels` and `packed_predictions` (little-endian float64): the kept rows, in the
    order of (hash, label, prediction).
    """

    labels: Moments = Moments()
    sizes: Moments = Moments()
    packed_hashes: bytes = b""
    packed_labels: bytes = b""
    packed_predictions: bytes = b""

    def __post_init__(self) -> None:
        if self.labels.count != self.sizes.count or (self.sizes.least or 0.0) < 0:
            raise ValueError("an error for each label")
        lengths = {len(self.packed_hashes), len(self.packed_labels), len(self.packed_predictions)}
        if lengths != {8 * min(self.labels.count, ROWS)}:
            raise ValueError(f"the rows, or {ROWS} of them")
        hashes, labels, predictions = self.sample
        if not (np.isfinite(labels).all() and np.isfinite(predictions).all()):
            raise ValueError("finite numbers")
        if bool((np.lexsort((predictions, labels, hashes)) != np.arange(len(hashes))).any()):
            raise ValueError("rows in order")

    def __add__(self, other: Residuals) -> Residuals:
        if not other.rows:
            return self
        if not self.rows:
            return other
        sample = [np.concatenate(pair) for pair in zip(self.sample, other.sample, strict=True)]
        return _residuals(self.labels + other.labels, self.sizes + other.sizes, *sample)

    @property
    def rows(self) -> int:
        """How many labelled rows were counted."""
        return self.labels.count

    @property
    def sample(self) -> tuple[Hashes, Floats, Floats]:
        """Hashes, labels and predictions of the kept rows, each of shape (k,)."""
        return (
            np.frombuffer(self.packed_hashes, dtype="<u8").astype(np.uint64, copy=False),
            np.frombuffer(self.packed_labels, dtype="<f8").astype(np.float64, copy=False),
            np.frombuffer(self.packed_predictions, dtype="<f8").astype(np.float64, copy=False),
        )

    def to_bytes(self) -> bytes:
        return pack("residuals", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Residuals:
        """Raises UnreadableError."""
        return unpack(body, "residuals", VERSION, cls)


def residuals_of(table: Table) -> Residuals:
    """The residuals of a table's labelled rows; rows without label or prediction are left out."""
    return residuals(hashes_of(table.record_ids), table.predictions, table.labels)


def residuals(hashes: Hashes, predictions: Floats, labels: Floats) -> Residuals:
    """The residuals of columns of shape (n,): a fair hash of each row's id, its prediction and label (same unit).

    Rows with a nan are left out. An error beyond the range of float64 counts as the greatest float64.
    """
    usable = np.isfinite(predictions) & np.isfinite(labels)
    # + 0.0 makes -0.0 the same number as 0.0.
    hashes, predictions, labels = hashes[usable], predictions[usable] + 0.0, labels[usable] + 0.0
    with np.errstate(over="ignore"):
        sizes = np.minimum(np.abs(labels - predictions), sys.float_info.max)
    return _residuals(moments_of(labels), moments_of(sizes), hashes, labels, predictions)


def hashes_of(record_ids: list[str]) -> Hashes:
    """64 bits of a hash of each id, shape (n,)."""
    digests = b"".join([blake2b(one.encode(), digest_size=8).digest() for one in record_ids])
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64, copy=False)


def _residuals(
    labels: Moments, sizes: Moments, hashes: Hashes, row_labels: Floats, row_predictions: Floats
) -> Residuals:
    if len(hashes) > 2 * ROWS:
        # A full sort is for the few that can be among the smallest.
        kept = hashes <= np.partition(hashes, ROWS)[ROWS]
        hashes, row_labels, row_predictions = hashes[kept], row_labels[kept], row_predictions[kept]
    order = np.lexsort((row_predictions, row_labels, hashes))[:ROWS]
    return Residuals(
        labels,
        sizes,
        hashes[order].astype("<u8").tobytes(),
        row_labels[order].astype("<f8").tobytes(),
        row_predictions[order].astype("<f8").tobytes(),
    )
