"""Boosted trees on coded columns, the only learner: squared or logistic loss, in numpy, deterministic.

Each column is cut into at most `CODES` codes once, then every tree of a fixed depth is grown level by level from
histograms of gradients (Friedman, Annals of Statistics 29, 2001; histograms as in LightGBM, Ke et al., NIPS 2017). The
same rows in the same order give the same trees. Not here: where rows come from, what the answer is used for.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.states.serialization import pack, unpack

VERSION = 1
# Codes of a column: 0 for a missing value, then one for each stretch between cuts.
CODES = 40
DEEPEST = 5
# Rows that are answered together: what all nodes answer to them stays in the processor's cache.
_TOGETHER = 512
# The least weight of a leaf, and the weight at 0 that draws its answer in. A row weighs as much as its loss is curved:
# 1 where it is squared, at most a quarter where it is logistic.
LEAST_WEIGHT = {"squared": 20.0, "logistic": 1.0}
SHRINKAGE = {"squared": 1.0, "logistic": 0.25}

Loss = Literal["squared", "logistic"]
Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


class Trees(msgspec.Struct, frozen=True, array_like=True):
    """What `fit` returns. `cuts`: ascending cuts per column; `start`: the raw answer before the first tree.

    `packed_splits`: little-endian uint16 of shape (rounds, 2 ** depth - 1, 2), column and greatest code of the left
    side of each node, level by level; `packed_leaves`: little-endian float64 of shape (rounds, 2 ** depth).
    """

    loss: Loss
    depth: int
    start: float
    cuts: tuple[tuple[float, ...], ...]
    packed_splits: bytes
    packed_leaves: bytes

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= DEEPEST or any(len(cuts) > CODES - 2 for cuts in self.cuts):
            raise ValueError(f"a depth of 1 to {DEEPEST} and at most {CODES - 2} cuts a column")
        if len(self.packed_splits) % (4 * (2**self.depth - 1)) or len(self.packed_leaves) % (8 * 2**self.depth):
            raise ValueError("whole trees")
        if len(self.splits) != len(self.leaves) or bool((self.splits[..., 0] >= len(self.cuts)).any()):
            raise ValueError("leaves for each tree, and splits of columns")

    @property
    def splits(self) -> npt.NDArray[np.uint16]:
        """Column and greatest code of the left side, shape (rounds, nodes, 2)."""
        found = np.frombuffer(self.packed_splits, dtype="<u2").reshape(-1, 2**self.depth - 1, 2)
        return found

    @property
    def leaves(self) -> Floats:
        """What each leaf adds to the raw answer, shape (rounds, leaves)."""
        return np.frombuffer(self.packed_leaves, dtype="<f8").reshape(-1, 2**self.depth).astype(np.float64, copy=False)

    def predict(self, rows: Floats) -> Floats:
        """Answers of shape (n,) for rows of shape (n, columns), nan for a missing value: the target's mean, with
        logistic loss the probability of 1."""
        raw = np.full(len(rows), self.start)
        splits, leaves = self.splits, self.leaves
        for start in range(0, len(rows), _TOGETHER):
            codes = coded(rows[start : start + _TOGETHER], self.cuts).astype(np.uint8)
            # The leaf below each node that each row ends in, from the lowest nodes up, for all trees at once.
            found = np.zeros((len(leaves), 2**self.depth, 1), dtype=np.uint8)
            for level in reversed(range(self.depth)):
                nodes = splits[:, 2**level - 1 : 2 ** (level + 1) - 1]
                right = (codes[nodes[..., 0]] > nodes[..., 1:].astype(np.uint8)).view(np.uint8)
                among = 2 ** (self.depth - 1 - level)
                found = found[:, ::2] ^ ((found[:, ::2] ^ (found[:, 1::2] | among)) & (0 - right))
            for each, place in zip(leaves, found[:, 0], strict=True):
                raw[start : start + _TOGETHER] += each[place]
        return _probability(raw) if self.loss == "logistic" else raw

    def to_bytes(self) -> bytes:
        return pack("trees", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Trees:
        """Raises UnreadableError."""
        return unpack(body, "trees", VERSION, cls)


def fit(rows: Floats, targets: Floats, loss: Loss = "squared", *, depth: int, rounds: int, rate: float = 0.1) -> Trees:
    """Trees for rows of shape (n, columns), nan for a missing value, and finite targets of shape (n,).

    `loss`: "squared", or "logistic" for targets 0 and 1. `rate`: how much of each tree's correction is taken. Raises
    ValueError without rows or columns.
    """
    if not rows.size:
        raise ValueError("rows with columns")
    cuts = tuple(cuts_of(column) for column in rows.T)
    codes = coded(rows, cuts)
    mean = float(targets.mean())
    if loss == "logistic":
        mean = min(max(mean, 1e-6), 1.0 - 1e-6)
        start = float(np.log(mean / (1.0 - mean)))
    else:
        start = mean
    raw = np.full(len(rows), start)
    weights = np.ones(len(rows))
    splits = np.zeros((rounds, 2**depth - 1, 2), dtype=np.intp)
    leaves = np.zeros((rounds, 2**depth))
    for each in range(rounds):
        if loss == "logistic":
            probability = _probability(raw)
            gradients, weights = targets - probability, probability * (1.0 - probability)
        else:
            gradients = targets - raw
        place = np.zeros(len(rows), dtype=np.intp)
        for level in range(depth):
            found = _best_splits(codes, place, 2**level, gradients, weights, loss)
            splits[each, 2**level - 1 : 2 ** (level + 1) - 1] = found
            node = found[place]
            place = 2 * place + (codes[node[:, 0], np.arange(len(rows))] > node[:, 1])
        total = np.bincount(place, gradients, 2**depth)
        leaves[each] = rate * total / (np.bincount(place, weights, 2**depth) + SHRINKAGE[loss])
        raw += leaves[each][place]
    return Trees(loss, depth, start, cuts, splits.astype("<u2").tobytes(), leaves.astype("<f8").tobytes())


def cuts_of(column: Floats) -> tuple[float, ...]:
    """At most `CODES` - 2 ascending cuts of a column, shape (n,): between all distinct numbers, or at their quantiles.

    A value belongs to the left of a cut that it equals.
    """
    known = np.sort(column[~np.isnan(column)])
    distinct = known[np.concatenate(([True], known[1:] > known[:-1]))] if len(known) else known
    if len(distinct) >= CODES:
        places = np.arange(1, CODES - 1) * len(known) // (CODES - 1)
        found = np.unique(known[places])
        return tuple(found[found < known[-1]].tolist())
    return tuple(distinct[:-1].tolist())


def coded(rows: Floats, cuts: tuple[tuple[float, ...], ...]) -> Places:
    """Codes of shape (columns, n) of rows of shape (n, columns): 0 for nan, else 1 + the cuts below the value."""
    found = np.zeros((len(cuts), len(rows)), dtype=np.intp)
    for place, own in enumerate(cuts):
        column = rows[:, place]
        found[place] = np.where(np.isnan(column), 0, 1 + np.searchsorted(np.array(own), column, side="left"))
    return found


def _best_splits(codes: Places, place: Places, nodes: int, gradients: Floats, weights: Floats, loss: Loss) -> Places:
    """Column and greatest code of the left side for each of the nodes, shape (nodes, 2); all goes left without gain."""
    columns = len(codes)
    sums, sizes = np.empty((columns, nodes, CODES)), np.empty((columns, nodes, CODES))
    for column, own in enumerate(codes):
        bins = place * CODES + own
        sums[column] = np.bincount(bins, gradients, nodes * CODES).reshape(nodes, CODES)
        sizes[column] = np.bincount(bins, weights, nodes * CODES).reshape(nodes, CODES)
    left, left_size = np.cumsum(sums, axis=2), np.cumsum(sizes, axis=2)
    right, right_size = left[..., -1:] - left, left_size[..., -1:] - left_size
    pull, least = SHRINKAGE[loss], LEAST_WEIGHT[loss]
    gain = left**2 / (left_size + pull) + right**2 / (right_size + pull)
    gain -= left[..., -1:] ** 2 / (left_size[..., -1:] + pull)
    gain[(left_size < least) | (right_size < least)] = 0.0
    by_node = gain.transpose(1, 0, 2).reshape(nodes, -1)
    best = by_node.argmax(axis=1)
    found = np.stack([best // CODES, best % CODES], axis=1)
    # A gain within rounding is none.
    found[by_node.max(axis=1) <= 1e-12 * float(gradients @ gradients)] = (0, CODES - 1)
    return found


def _probability(raw: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-np.clip(raw, -500.0, 500.0)))
    return found
