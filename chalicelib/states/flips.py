"""Rows for the counterfactual flip test: did the nearest of the other rows get another prediction?

The test needs rows, not counts, so this is the one bounded part of the bias state: up to `ROWS` rows on each side of a
facet are kept and the result is exact; beyond, the rows with the smallest hashes of their record ids stay, a fair
sample that is the same however the rows are split. Rows with a feature that is not a number are left out and counted.
Rows are payload. Not here: names and meanings of facets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.states.facets import MISSING, Members, number_of
from chalicelib.states.serialization import MOST_ROWS

ROWS = 2000
NEIGHBOURS = 5
# With fewer other rows than this a single neighbour answers, as in the open smclarify.
FEW_ROWS = 10

_BLOCK = 1 << 22
_DIGEST = 8
_SCALARS = {str, int, float, bool, type(None)}

Floats = npt.NDArray[np.float64]
# (digest of the record id, features as little-endian float64, whether the prediction is positive)
FlipRow = tuple[bytes, bytes, bool]


class FlipRows(msgspec.Struct, frozen=True, array_like=True):
    """Rows on both sides of a facet; `FlipRows()` is the identity of `+`.

    `members` are the facet's rows, `others` all other ones, each ordered by digest and at most `ROWS`.
    `member_count`, `other_count`: how many there were to choose from. `left_out`: rows with a feature that is no
    number. `differing`: parts had different features, so that there is no distance; no rows are kept then.
    """

    features: tuple[str, ...] = ()
    members: tuple[FlipRow, ...] = ()
    others: tuple[FlipRow, ...] = ()
    member_count: int = 0
    other_count: int = 0
    left_out: int = 0
    differing: bool = False

    def __post_init__(self) -> None:
        counts = (self.member_count, self.other_count, self.left_out)
        if not 0 <= min(counts) <= max(counts) <= MOST_ROWS:
            raise ValueError(f"counts from 0 to {MOST_ROWS}")
        kept = self.members or self.others
        if (self.differing and (self.features or kept)) or (kept and not self.features):
            raise ValueError("no row without common features")
        for rows, count in ((self.members, self.member_count), (self.others, self.other_count)):
            if len(rows) > min(count, ROWS) or any(one[0] > other[0] for one, other in pairwise(rows)):
                raise ValueError(f"at most {ROWS} rows in the order of their digests")
            if any(len(row[0]) != _DIGEST or len(row[1]) != 8 * len(self.features) for row in rows):
                raise ValueError("a digest and a number of 8 bytes for each feature")
            if not np.isfinite(np.frombuffer(b"".join(row[1] for row in rows), dtype="<f8")).all():
                raise ValueError("finite numbers")

    def __add__(self, other: FlipRows) -> FlipRows:
        both = bool(self.features and other.features)
        differing = self.differing or other.differing or (both and self.features != other.features)
        return FlipRows(
            () if differing else self.features or other.features,
            () if differing else _kept((*self.members, *other.members)),
            () if differing else _kept((*self.others, *other.others)),
            self.member_count + other.member_count,
            self.other_count + other.other_count,
            self.left_out + other.left_out,
            differing,
        )


def flip_rows(
    digests: Sequence[bytes],
    features: tuple[str, ...],
    numbers: Floats,
    members: Members,
    positive: npt.NDArray[np.bool_],
) -> FlipRows:
    """The rows of columns of length n: digests of record ids (`digest_of`), `numbers` of shape (n, features).

    `members` as `Selection.members` gives them; rows that are MISSING there are no part of the test.
    """
    usable = np.isfinite(numbers).all(axis=1) if features else np.zeros(len(digests), dtype=np.bool_)
    member_rows, member_count = _side(digests, numbers, usable & (members == 1), positive)
    other_rows, other_count = _side(digests, numbers, usable & (members == 0), positive)
    left_out = int(((members != MISSING) & ~usable).sum())
    found = features if member_count or other_count else ()
    return FlipRows(found, member_rows, other_rows, member_count, other_count, left_out)


def digest_of(record_id: str) -> bytes:
    """What a row is chosen by: eight bytes that do not depend on where it was read."""
    return blake2b(record_id.encode(), digest_size=_DIGEST).digest()


def numbers_of(columns: Mapping[str, Sequence[Any]], rows: int) -> Floats:
    """Raw values as numbers of shape (rows, columns); nan where a value is missing or no number. True is 1."""
    numbers = np.full((rows, len(columns)), np.nan)
    for place, column in enumerate(columns.values()):
        found = _read_together(column)
        numbers[:, place] = [_number(value) for value in column] if found is None else found
    return numbers


def flip_test(rows: FlipRows) -> float:
    """FT, -1 to 1: (members answered better than their neighbours - members answered worse) / members.

    A member's neighbours are the 5 nearest other rows by Euclidean distance in the features' own units (1 neighbour
    when there are fewer than 10 other rows); what they vote is what the member would have been answered. Definition:
    Black et al. 2020 (arXiv 1906.09218) as the open smclarify approximates it. Rows at the distance of the last
    neighbour share the places that are left, and half of the votes is no flip: smclarify takes whichever of them its
    index meets first. nan without rows on both sides.
    """
    if not rows.members or not rows.others:
        return float("nan")
    others, votes = _matrix(rows.others)
    members, answered = _matrix(rows.members)
    wanted = NEIGHBOURS if len(others) >= FEW_ROWS else 1
    difference = 0
    for start in range(0, len(members), max(1, _BLOCK // len(others))):
        block = slice(start, start + max(1, _BLOCK // len(others)))
        neighbours = _majority(_distances(members[block], others), votes, wanted)
        difference += int(np.sum(np.where(neighbours == 0, 0, (2 * answered[block] - 1 - neighbours) // 2)))
    return difference / len(members)


def _side(
    digests: Sequence[bytes], numbers: Floats, chosen: npt.NDArray[np.bool_], positive: npt.NDArray[np.bool_]
) -> tuple[tuple[FlipRow, ...], int]:
    indices = np.flatnonzero(chosen).tolist()
    if len(indices) > ROWS:
        # Only _kept distinguishes rows of one digest.
        last = sorted(digests[index] for index in indices)[ROWS - 1]
        kept = [index for index in indices if digests[index] <= last]
    else:
        kept = indices
    # + 0.0 makes -0.0 the same number as 0.0: their distances are equal, their bytes differ.
    packed = (numbers[kept] + 0.0).astype("<f8")
    rows = [
        (digests[index], values.tobytes(), bool(positive[index])) for index, values in zip(kept, packed, strict=True)
    ]
    return _kept(rows), len(indices)


def _kept(rows: Sequence[FlipRow]) -> tuple[FlipRow, ...]:
    return tuple(sorted(rows)[:ROWS])


def _matrix(rows: Sequence[FlipRow]) -> tuple[Floats, npt.NDArray[np.int64]]:
    values = np.frombuffer(b"".join(packed for _, packed, _ in rows), dtype="<f8").reshape(len(rows), -1)
    return values, np.array([positive for _, _, positive in rows], dtype=np.int64)


def _distances(members: Floats, others: Floats) -> Floats:
    """Squared distances, feature by feature, so that equal rows are at equal distances to the last bit."""
    squares = np.zeros((len(members), len(others)))
    with np.errstate(over="ignore"):
        for place in range(members.shape[1]):
            squares += (members[:, place, None] - others[None, :, place]) ** 2
    return squares


def _majority(distances: Floats, votes: npt.NDArray[np.int64], wanted: int) -> npt.NDArray[np.int64]:
    """What the nearest `wanted` rows vote for each member: 1, -1, or 0 for half of the votes each."""
    last = np.partition(distances, wanted - 1, axis=1)[:, wanted - 1, None]
    nearer, tied = distances < last, distances == last
    places, ties = wanted - nearer.sum(axis=1), tied.sum(axis=1)
    # Twice the votes for positive, times the number of ties: whole numbers, so half is half.
    for_positive = 2 * ((nearer @ votes) * ties + places * (tied @ votes))
    return np.asarray(np.sign(for_positive - wanted * ties), dtype=np.int64)


def _read_together(column: Sequence[Any]) -> Floats | None:
    """A column as NumPy reads it; None where it would read it otherwise than `_number`, or not at all."""
    if not set(map(type, column)) <= _SCALARS:
        return None
    if any("_" in value or not value.isascii() for value in column if isinstance(value, str)):
        return None
    try:
        found = np.array(column, dtype=np.float64)
    except (ValueError, OverflowError):
        return None
    return np.where(np.isfinite(found), found, np.nan)


def _number(value: Any) -> float:
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return float("nan")
    found = number_of(value.strip()) if isinstance(value, str) else None
    return float("nan") if found is None else found
