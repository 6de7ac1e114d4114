"""A sample of rows for what needs rows: those whose record ids have the smallest hashes.

Every row has the same chance, whatever its values and its file; two samples merge by keeping the smallest of both,
so the sample is the same for any split and order. Rows are payload. Refuses to know what the rows are used for.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec
import numpy as np

from chalicelib.records.table import Table, feature_rows
from chalicelib.states.serialization import pack, unpack

VERSION = 1
SIZE = 512


class SampledRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record: its features as a CSV line, its label and the class that was served (None where unknown)."""

    hash: bytes
    record_id: str
    features: str
    label: int | None
    prediction: int | None


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """At most `size` rows in the order of their hashes; `Sample(size=size)` is the identity of `+`."""

    rows: tuple[SampledRow, ...] = ()
    size: int = SIZE

    def __add__(self, other: Sample) -> Sample:
        if self.size != other.size:
            raise ValueError(f"samples of {self.size} and {other.size} rows do not add up")
        by_id: dict[str, SampledRow] = {}
        for row in (*self.rows, *other.rows):
            known = by_id.get(row.record_id)
            # The same record twice is one row; a row with a label says more than one without.
            by_id[row.record_id] = row if known is None else max(known, row, key=_precedence)
        return Sample(_smallest(list(by_id.values()), self.size), self.size)

    def to_bytes(self) -> bytes:
        return pack("sample", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Sample:
        """Raises UnreadableError."""
        return unpack(body, "sample", VERSION, cls)


def sample_of(table: Table, size: int = SIZE, labelled_only: bool = True) -> Sample:
    """Choose up to `size` rows of a table among those with regular features (and, by default, a label)."""
    eligible = table.regular & ~np.isnan(table.labels) if labelled_only else table.regular
    hashed = sorted((_hash(table.record_ids[index]), index) for index in np.flatnonzero(eligible).tolist())[:size]
    if not hashed:
        return Sample((), size)
    lines = feature_rows(table, [index for _, index in hashed])
    rows = [
        SampledRow(
            hash, table.record_ids[index], line, _class_of(table.labels[index]), _class_of(table.predictions[index])
        )
        for (hash, index), line in zip(hashed, lines, strict=True)
    ]
    return Sample(_smallest(rows, size), size)


def _smallest(rows: list[SampledRow], size: int) -> tuple[SampledRow, ...]:
    return tuple(sorted(rows, key=lambda row: (row.hash, row.record_id))[:size])


def _hash(record_id: str) -> bytes:
    return blake2b(record_id.encode(), digest_size=8).digest()


def _precedence(row: SampledRow) -> tuple[int, int, int, str]:
    label = -1 if row.label is None else row.label
    prediction = -1 if row.prediction is None else row.prediction
    return (int(row.label is not None), label, prediction, row.features)


def _class_of(value: float) -> int | None:
    return None if value != value else int(value)
