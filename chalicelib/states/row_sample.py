"""Rows with their features, for what counts cannot answer: density ratios, models of the error, segments.

Up to `most` answered rows of a window or a baseline are kept: all, or those of the smallest hashes of their record
ids, a fair sample that is the same however the rows were split. Values are float32: numbers are rounded to about seven
digits, a text is replaced by its code. Labels that come later join by hash. Rows are payload. Not here: what is made of
them (`evidence`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.records.cells import hashes_of
from chalicelib.records.table import Table
from chalicelib.records.values import word_of
from chalicelib.states.flips import numbers_of
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 1
WINDOW_ROWS = 2_048
BASELINE_ROWS = 20_000

# Float32 holds whole numbers exactly up to here.
_CODES = 1 << 24

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]


class RowSample(msgspec.Struct, frozen=True, array_like=True):
    """Rows in the order of their hashes; `RowSample()` is the identity of `+`.

    `most`: rows kept at most; `rows`: how many there were to choose from; `features`: names in order, the union of
    those of all parts. `packed_hashes`: little-endian uint64 of shape (k,); `packed_answers`: little-endian float64 of
    shape (k, 3), score, served and label; `packed_values`: little-endian float32 of shape (k, features).
    """

    most: int = 0
    rows: int = 0
    features: tuple[str, ...] = ()
    packed_hashes: bytes = b""
    packed_answers: bytes = b""
    packed_values: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.rows <= MOST_ROWS or bool(self.rows) != (self.most > 0):
            raise ValueError(f"rows from 0 to {MOST_ROWS}, and how many are kept")
        kept = min(self.rows, self.most)
        if any(one >= other for one, other in zip(self.features, self.features[1:], strict=False)):
            raise ValueError("different features in order")
        lengths = (len(self.packed_hashes), len(self.packed_answers), len(self.packed_values))
        if lengths != (8 * kept, 24 * kept, 4 * kept * len(self.features)):
            raise ValueError("a hash, three answers and a value for each feature of each row")
        hashes = self.hashes
        if bool((hashes[1:] < hashes[:-1]).any()) or np.isinf(self.answers).any() or np.isinf(self.values).any():
            raise ValueError("rows in order, finite or nan")

    def __add__(self, other: RowSample) -> RowSample:
        if not other.rows:
            return self
        if not self.rows:
            return other
        if self.most != other.most:
            raise ValueError("samples of one size")
        features = tuple(sorted({*self.features, *other.features}))
        return _sample(
            self.most,
            self.rows + other.rows,
            features,
            np.concatenate([self.hashes, other.hashes]),
            np.concatenate([self.answers, other.answers]),
            np.concatenate([_arranged(self, features), _arranged(other, features)]),
        )

    @property
    def hashes(self) -> Hashes:
        """Hash of each kept row, ascending, shape (k,)."""
        return np.frombuffer(self.packed_hashes, dtype="<u8").astype(np.uint64, copy=False)

    @property
    def answers(self) -> Floats:
        """Score, served and label of each kept row, shape (k, 3); nan where there is none. A class of several is the
        code of its name (`text_code`)."""
        return np.frombuffer(self.packed_answers, dtype="<f8").astype(np.float64, copy=False).reshape(-1, 3)

    @property
    def values(self) -> Floats:
        """Features of each kept row, shape (k, features); nan for a missing value, `text_code` for a text."""
        found = np.frombuffer(self.packed_values, dtype="<f4").astype(np.float64)
        return found.reshape(min(self.rows, self.most), len(self.features))

    def with_labels(self, hashes: Hashes, labels: Floats) -> RowSample:
        """The same rows with the labels of rows of these hashes (ascending), shape (n,) each; nan for all others."""
        place = np.minimum(np.searchsorted(hashes, self.hashes), max(0, len(hashes) - 1))
        answers = self.answers.copy()
        answers[:, 2] = np.where(hashes[place] == self.hashes, labels[place], np.nan) if len(hashes) else np.nan
        return msgspec.structs.replace(self, packed_answers=answers.astype("<f8").tobytes())

    def to_bytes(self) -> bytes:
        return pack("row sample", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> RowSample:
        """Raises UnreadableError."""
        return unpack(body, "row sample", VERSION, cls)


def row_sample_of(table: Table, most: int = WINDOW_ROWS) -> RowSample:
    """The sample of a table's rows that have features laid out by name and an answer."""
    usable = np.flatnonzero(table.regular & np.isfinite(table.predictions))
    parts = [table.record_ids[index].rpartition("#") for index in usable.tolist()]
    events, positions = hashes_of([event for event, _, _ in parts]), [int(position) for _, _, position in parts]
    features = {name: _chosen(column, usable) for name, column in table.features.items()}
    served, labels = table.predictions[usable], table.labels[usable]
    if table.problem_type == "MulticlassClassification":
        codes = np.array([text_code(name) for name in table.classes])
        served = codes[served.astype(np.intp)]
        labels = np.array([codes[int(label)] if label == label else np.nan for label in labels.tolist()])
    hashes = row_hashes(events, np.array(positions, dtype=np.uint64))
    return row_sample(hashes, features, table.scores[usable], served, labels, most)


def row_sample(
    hashes: Hashes, features: Mapping[str, Sequence[Any]], scores: Floats, served: Floats, labels: Floats, most: int
) -> RowSample:
    """The sample of columns of length n: fair hashes of the rows (`row_hashes`), raw values by feature, scores (nan:
    none), what was served and labels (nan: none)."""
    if not len(hashes):
        return RowSample()
    names = tuple(sorted(features))
    # Only rows that can be kept are laid out.
    near = np.flatnonzero(hashes <= np.partition(hashes, min(most, len(hashes)) - 1)[min(most, len(hashes)) - 1])
    values = np.full((len(near), len(names)), np.nan)
    for place, name in enumerate(names):
        values[:, place] = _numbers(_chosen(features[name], near))
    answers = np.stack([scores[near], served[near], labels[near]], axis=1)
    return _sample(most, len(hashes), names, hashes[near], answers, values)


def row_hashes(events: Hashes, positions: Hashes) -> Hashes:
    """A fair hash of each record, shape (n,), from the hash of its event id and its position in the request.

    The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), for neighbours must not be kept together.
    """
    mixed = events + positions * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)


def text_code(text: str) -> float:
    """The number that stands for a text: a hash below 2 ** 24, which float32 holds exactly."""
    return float(int(hashes_of([text])[0]) % _CODES)


def _numbers(column: Sequence[Any]) -> Floats:
    """A column of raw values as float32 numbers in float64: nan where missing, codes of texts."""
    found = numbers_of({"": column}, len(column))[:, 0]
    codes: dict[str, float] = {}
    for index in np.flatnonzero(np.isnan(found)).tolist():
        word = word_of(column[index])
        if word is not None:
            found[index] = codes[word] = codes[word] if word in codes else text_code(word)
    most = np.finfo(np.float32).max
    return np.clip(found, -most, most).astype(np.float32).astype(np.float64)


def _chosen(column: Sequence[Any], rows: npt.NDArray[np.intp]) -> list[Any]:
    return [column[index] for index in rows.tolist()]


def _arranged(sample: RowSample, features: tuple[str, ...]) -> Floats:
    """Values of shape (k, features), in the columns of a larger set of features."""
    found = np.full((len(sample.hashes), len(features)), np.nan)
    found[:, [features.index(name) for name in sample.features]] = sample.values
    return found


def _sample(
    most: int, rows: int, features: tuple[str, ...], hashes: Hashes, answers: Floats, values: Floats
) -> RowSample:
    """The rows of the smallest hashes; rows of one hash are told apart by their answers and values."""
    # + 0.0 makes -0.0 the same number as 0.0.
    answers, values = answers + 0.0, values + 0.0
    order = np.lexsort((*values.T[::-1], *answers.T[::-1], hashes))[:most]
    return RowSample(
        most,
        rows,
        features,
        hashes[order].astype("<u8").tobytes(),
        answers[order].astype("<f8").tobytes(),
        values[order].astype("<f4").tobytes(),
    )
