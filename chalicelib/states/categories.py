"""How often each value of a column occurs: exactly, for all values or for a fair choice of them.

Up to `BOUND` distinct values all are kept. Beyond, those with the smallest hashes stay, each with its exact count, and
the rest is one number: a value that is among the smallest of all is among the smallest of every part, so the state is
the same however the rows are split, and the hashes give the number of distinct values (k minimum values; relative error
about 1 / sqrt(BOUND)). Values are payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import msgspec
import numpy as np

from chalicelib.records.cells import hashes_of
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

# 2: another hash, which is computed for many values at once.
VERSION = 2
BOUND = 1000

_HASHES = 1 << 64


class Categories(msgspec.Struct, frozen=True, array_like=True):
    """Counts per value; `Categories()` is the identity of `+`.

    `counts`: (value, count) in the order of the values. `more`: how many rows had a value that is not listed; listed
    are then the `BOUND` values of the smallest hashes.
    """

    counts: tuple[tuple[str, int], ...] = ()
    more: int = 0

    def __post_init__(self) -> None:
        values = [value for value, _ in self.counts]
        if any(one >= other for one, other in pairwise(values)):
            raise ValueError("different values in order")
        if any(not 1 <= count <= MOST_ROWS for _, count in self.counts) or not 0 <= self.more <= MOST_ROWS:
            raise ValueError(f"counts from 1 to {MOST_ROWS}")
        if self.more and not values:
            raise ValueError("values that are listed before others are left out")

    def __add__(self, other: Categories) -> Categories:
        if not other.counts:
            return self
        if not self.counts:
            return other
        merged = dict(self.counts)
        for value, count in other.counts:
            merged[value] = merged.get(value, 0) + count
        limits = [state.limit for state in (self, other) if state.more]
        if limits:
            # A value that one side kept and the other may have dropped is no longer exact: it joins the rest.
            limit = min(limits)
            hashes = _hashes(merged)
            merged = {value: count for value, count in merged.items() if hashes[value] <= limit}
        return _bounded(merged, self.total + other.total)

    @property
    def total(self) -> int:
        """How many rows were counted."""
        return sum(count for _, count in self.counts) + self.more

    @property
    def limit(self) -> int:
        """The greatest hash up to which counts are exact: that of a listed value, or any when nothing is left out."""
        if not self.more:
            return _HASHES
        return max(_hashes(value for value, _ in self.counts).values())

    @property
    def distinct(self) -> float:
        """The number of distinct values: exact when `more` is 0, else the estimate (BOUND - 1) / greatest hash."""
        if not self.more:
            return float(len(self.counts))
        return (len(self.counts) - 1) * _HASHES / (self.limit + 1)

    def to_bytes(self) -> bytes:
        return pack("categories", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Categories:
        """Raises UnreadableError."""
        return unpack(body, "categories", VERSION, cls)


def categories_of(counts: Mapping[str, int], total: int | None = None) -> Categories:
    """The state of these counts (value -> number of rows, at least 1).

    `total`: how many rows there are, where `counts` are only those of the smallest hashes, at least `BOUND` of them.
    """
    return _bounded(counts, sum(counts.values()) if total is None else total)


def comparable(one: Categories, other: Categories) -> list[str]:
    """The values that either side lists and both sides know exactly (listed, or provably absent), in order."""
    values = sorted({value for state in (one, other) for value, _ in state.counts})
    if not one.more and not other.more:
        return values
    limit = min(one.limit, other.limit)
    hashes = _hashes(values)
    return [value for value in values if hashes[value] <= limit]


def counts_in(state: Categories, values: Iterable[str]) -> dict[str, int | None]:
    """How many rows have each value; None where it is not listed and may be among the rest."""
    counts = dict(state.counts)
    found: dict[str, int | None] = {value: counts.get(value) for value in values}
    # Nothing among the rest has a hash up to the limit.
    limit = state.limit
    for value, hashed in _hashes(value for value, count in found.items() if count is None).items():
        if hashed <= limit:
            found[value] = 0
    return found


def rows_with(state: Categories, values: Iterable[str]) -> tuple[int, int]:
    """How many rows have one of these values, at least and at most: the same number where that is known exactly."""
    counts = counts_in(state, values).values()
    least = sum(count or 0 for count in counts)
    return least, least + state.more if None in counts else least


def _bounded(counts: Mapping[str, int], total: int) -> Categories:
    if len(counts) <= BOUND:
        kept = dict(counts)
    else:
        values = list(counts)
        hashes = hashes_of(values)
        # A full sort is for the few that can be among the smallest.
        few = np.flatnonzero(hashes <= np.partition(hashes, BOUND - 1)[BOUND - 1]).tolist()
        first = sorted((int(hashes[place]), values[place]) for place in few)[:BOUND]
        kept = {value: counts[value] for _, value in first}
    return Categories(tuple(sorted(kept.items())), total - sum(kept.values()))


def _hashes(values: Iterable[str]) -> dict[str, int]:
    listed = list(values)
    return dict(zip(listed, hashes_of(listed).tolist(), strict=True))
