"""Order statistics of a numeric column: levels of sorted values, an item of level i standing for 2^i values.

The shape is that of a KLL sketch with k = 2048 (what Model Monitor prints), but nothing is random: when a level holds
more than k items, every other one moves up, the odd ones and the even ones taking turns. Up to k values everything is
exact and independent of order and split; above, the state carries a proven bound of its rank error, and its bytes
depend on the order of folding (callers fold in the sorted order of their sources). Refuses to know names and types.

Bound: moving every other one of sorted items of weight w changes the rank of any value by at most w, so the error is
at most the sum of the weights of all moves; `rank_error` is that sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 1
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
        height = max(len(self.packed), len(other.packed))
        levels = [np.sort(np.concatenate([_level(self, index), _level(other, index)])) for index in range(height)]
        moves = [_at(self.moves, index) + _at(other.moves, index) for index in range(height)]
        return _compacted(levels, moves, self.rank_error + other.rank_error)

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


def quantiles_of(values: Floats) -> Quantiles:
    """The sketch of finite values of shape (n,)."""
    if not len(values):
        return Quantiles()
    # + 0.0 makes -0.0 the same number as 0.0: their order in a sort is not defined, their bytes differ.
    return _compacted([np.sort(values + 0.0)], [0], 0)


def weighted(levels: Sequence[Floats]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Items of all levels in order, and their weights 2^level, both of shape (m,)."""
    items = np.concatenate([np.zeros(0), *levels])
    weights = np.concatenate(
        [np.zeros(0, dtype=np.int64), *(np.full(len(level), 1 << index) for index, level in enumerate(levels))]
    )
    order = np.argsort(items, kind="stable")
    return items[order], weights[order]


def _compacted(levels: list[Floats], moves: list[int], rank_error: int) -> Quantiles:
    index = 0
    while index < len(levels):
        level = levels[index]
        if len(level) > K:
            if index + 1 == len(levels):
                levels.append(np.zeros(0))
                moves.append(0)
            # An odd item out stays: the greatest, so that the others pair up from below.
            paired = len(level) // 2 * 2
            moving = level[moves[index] % 2 : paired : 2]
            levels[index] = level[paired:]
            levels[index + 1] = np.sort(np.concatenate([levels[index + 1], moving]))
            moves[index] += 1
            rank_error += 1 << index
        index += 1
    packed = tuple(np.ascontiguousarray(level, dtype="<f8").tobytes() for level in levels)
    return Quantiles(packed, tuple(moves), rank_error)


def _level(state: Quantiles, index: int) -> Floats:
    raw = state.packed[index] if index < len(state.packed) else b""
    return np.frombuffer(raw, dtype="<f8").astype(np.float64, copy=False)


def _at(numbers: Sequence[int], index: int) -> int:
    return numbers[index] if index < len(numbers) else 0
