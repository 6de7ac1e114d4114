"""Order statistics of a numeric column: levels of sorted values, an item of level i standing for 2^i values.

The shape is that of a KLL sketch with k = 2048 (what Model Monitor prints), but nothing is random. Up to k values all
are in level 0. Beyond, two equal items of a level become one of the next, which loses nothing; so with up to k distinct
values everything is exact, however often each occurs, and the bytes do not depend on order and split. Where a level
then still holds more than k items, every other one moves up, the odd ones and the even ones taking turns: the state
carries a proven bound of its rank error, and its bytes depend on the order of folding (callers fold in the sorted
order of their sources). Not here: names and types.

Bound: moving every other one of sorted items of weight w changes the rank of any value by at most w, so the error is
at most the sum of the weights of all moves; `rank_error` is that sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 2
K = 2048

Floats = npt.NDArray[np.float64]


class Quantiles(msgspec.Struct, frozen=True, array_like=True):
    """A deterministic quantile sketch; `Quantiles()` is the identity of `+`.

    `packed`: per level, its sorted items as little-endian float64. `moves`: per level, how often it was halved.
    `rank_error`: no rank (number of values <= x) that `ranks` gives is further from the truth.
    """

    packed: tuple[bytes, ...] = ()
    moves: tuple[int, ...] = ()
    rank_error: int = 0

    def __post_init__(self) -> None:
        if len(self.moves) != len(self.packed) or min((*self.moves, self.rank_error)) < 0:
            raise ValueError("a number of moves for each level")
        if any(len(level) % 8 or len(level) > 8 * K for level in self.packed):
            raise ValueError(f"levels of at most {K} numbers of 8 bytes")
        if self.count > MOST_ROWS or max((*self.moves, self.rank_error)) > MOST_ROWS:
            raise ValueError(f"at most {MOST_ROWS} values")
        for level in self.levels:
            if not np.isfinite(level).all() or bool((level[1:] < level[:-1]).any()):
                raise ValueError("finite numbers in order")

    def __add__(self, other: Quantiles) -> Quantiles:
        if not other.packed:
            return self
        if not self.packed:
            return other
        fold = QuantilesFold(self)
        fold.add_state(other)
        return fold.state

    @property
    def count(self) -> int:
        """How many values were seen."""
        return sum(len(level) // 8 << index for index, level in enumerate(self.packed))

    @property
    def levels(self) -> list[Floats]:
        return [_level(self, index) for index in range(len(self.packed))]

    def weighted(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """The items in order and the number of values that each stands for, both of shape (m,)."""
        return weighted(self.levels)

    def ranks(self, points: Floats) -> npt.NDArray[np.int64]:
        """How many values are <= each point, within `rank_error`; shape as `points`."""
        items, weights = self.weighted()
        below = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(weights)])
        return below[np.searchsorted(items, points, side="right")]

    def to_bytes(self) -> bytes:
        return pack("quantiles", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Quantiles:
        """Raises UnreadableError."""
        return unpack(body, "quantiles", VERSION, cls)


class QuantilesFold:
    """Folds values and states into one sketch, in place."""

    def __init__(self, state: Quantiles | None = None) -> None:
        state = state or Quantiles()
        self._levels, self._moves = state.levels, list(state.moves)
        self._count, self._rank_error = state.count, state.rank_error

    def add(self, values: Floats) -> None:
        """Add finite values of shape (n,). Blocks of some thousand are sorted fastest."""
        # + 0.0 makes -0.0 the same number as 0.0: their order in a sort is not defined, their bytes differ.
        self._put([np.sort(values + 0.0)], len(values))

    def add_counts(self, values: Floats, counts: npt.NDArray[np.int64]) -> None:
        """Add different finite values, each of which occurs so many times (at least once), both of shape (n,)."""
        total = int(counts.sum())
        if total <= K:
            self.add(np.repeat(values, counts))
            return
        order = np.argsort(values)
        values, counts = values[order] + 0.0, counts[order]
        self._put([values[counts >> bit & 1 == 1] for bit in range(int(counts.max()).bit_length())], total)

    def add_state(self, state: Quantiles) -> None:
        """Add what another sketch has."""
        self._moves += [0] * (len(state.moves) - len(self._moves))
        for index, count in enumerate(state.moves):
            self._moves[index] += count
        self._rank_error += state.rank_error
        self._put(state.levels, state.count)

    @property
    def state(self) -> Quantiles:
        packed = tuple(np.ascontiguousarray(level, dtype="<f8").tobytes() for level in self._levels)
        return Quantiles(packed, tuple(self._moves[: len(packed)]), self._rank_error)

    def _put(self, levels: list[Floats], count: int) -> None:
        """Add sorted items of each level, then move up what is too much from the lowest level on."""
        was_small = self._count <= K
        self._count += count
        moving = np.zeros(0)
        # Small sketches have not looked for equal items yet.
        height = max(len(levels), len(self._levels) if was_small else 0)
        index = 0
        while index < height or len(moving):
            if index == len(self._levels):
                self._levels.append(np.zeros(0))
                self._moves += [0] * (index + 1 - len(self._moves))
            level = _merged(self._levels[index], moving)
            if index < len(levels):
                level = _merged(level, levels[index])
            if self._count > K:
                level, moving = self._thinned(level, index)
            self._levels[index] = level
            index += 1

    def _thinned(self, level: Floats, index: int) -> tuple[Floats, Floats]:
        """What stays of sorted items in this level, and what moves to the next."""
        new = np.empty(len(level), dtype=np.bool_)
        new[:1] = True
        np.not_equal(level[1:], level[:-1], out=new[1:])
        moving = level[:0]
        if (distinct := np.count_nonzero(new)) <= K and distinct < len(level):
            starts = np.flatnonzero(new)
            counts = np.diff(starts, append=len(level))
            level, moving = level[starts[counts % 2 == 1]], np.repeat(level[starts], counts // 2)
        if len(level) > K:
            # An odd item out stays: the greatest, so that the others pair up from below.
            paired = len(level) // 2 * 2
            moving = level[self._moves[index] % 2 : paired : 2]
            level = level[paired:]
            self._moves[index] += 1
            self._rank_error += 1 << index
        return level, moving


def quantiles_of(values: Floats) -> Quantiles:
    """The sketch of finite values of shape (n,)."""
    fold = QuantilesFold()
    if len(values):
        fold.add(values)
    return fold.state


def weighted(levels: Sequence[Floats]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Items of all levels in order, and their weights 2^level, both of shape (m,)."""
    items = np.concatenate([np.zeros(0), *levels])
    weights = np.concatenate(
        [np.zeros(0, dtype=np.int64), *(np.full(len(level), 1 << index) for index, level in enumerate(levels))]
    )
    order = np.argsort(items, kind="stable")
    return items[order], weights[order]


def _merged(one: Floats, other: Floats) -> Floats:
    if not len(one) or not len(other):
        return other if len(other) else one
    both = np.concatenate([one, other])
    # Two sorted runs: the stable sort merges them.
    both.sort(kind="stable")
    return both


def _level(state: Quantiles, index: int) -> Floats:
    raw = state.packed[index] if index < len(state.packed) else b""
    return np.frombuffer(raw, dtype="<f8").astype(np.float64, copy=False)
