"""Attributions for a model that returns none: Kernel SHAP, within a stated budget of model calls.

Kernel SHAP (Lundberg & Lee 2017, arXiv 1705.07874, section 4.1): the model answers a row some of whose features are
replaced by those of background rows; Shapley values are the weighted least-squares solution over such coalitions of
features. With all coalitions the values are exact; with fewer they are an estimate, and still exact for an additive
model. Not here: how the model is called (it is given as a function).

The coalitions depend on the seed and the number of features only, not on the row, so that a row has one explanation
whatever other rows are explained beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations, islice
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError, UnreadableError

ROWS_PER_CALL = 500
# shap's own default number of coalitions is this and twice the number of features.
COALITIONS = 2048

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Row = Sequence[Any]
# Rows of raw feature values -> one number per row, in order.
Predict = Callable[[list[list[Any]]], Sequence[float]]


@dataclass(frozen=True)
class Explanations:
    """Which rows were explained (their places in what was given), and how.

    `values`: attributions of shape (m, features), in the unit of the answers. `expected`: the mean answer to the
    background rows. `answers`: the answers to the rows themselves; expected + the sum of a row's values is its answer.
    `calls`, `asked`: how often the model was called, and with how many rows in all. `complete`: all coalitions were
    asked, so that the values are exact.
    """

    places: tuple[int, ...]
    values: Floats
    expected: float
    answers: Floats
    calls: int
    asked: int
    complete: bool


def kernel_shap(
    predict: Predict,
    rows: Sequence[Row],
    record_ids: Sequence[str],
    background: Sequence[Row],
    *,
    seed: int,
    max_calls: int,
    rows_per_call: int = ROWS_PER_CALL,
    coalitions: int | None = None,
) -> Explanations:
    """Explain as many of `rows` as `max_calls` calls of at most `rows_per_call` rows allow.

    `rows` and `background` hold raw feature values, all of one width; background rows stand for a feature that is not
    there (the baseline's mean row, or a few rows of it). Rows are taken in the order of a hash of `record_ids` and
    `seed`. `coalitions` (default 2048 + 2 per feature, or all there are): more make better values of fewer rows. One
    explained row costs 1 + coalitions * background rows. Raises MisconfiguredError for a budget or a shape that
    cannot work, UnreadableError when `predict` does not give one finite number per row.
    """
    width = _width(rows, background)
    if len(record_ids) != len(rows):
        raise MisconfiguredError("record_ids", f"{len(record_ids)} ids", f"one for each of {len(rows)} rows")
    masks, weights = coalitions_of(width, _wanted(width, coalitions), seed)
    cost = 1 + len(masks) * len(background)
    affordable = (max_calls * rows_per_call - len(background)) // cost
    if affordable < 1:
        needed = -(-(len(background) + cost) // rows_per_call)
        raise MisconfiguredError("max_calls", max_calls, f"at least {needed} for one row")
    order = sorted(range(len(rows)), key=lambda place: (drawing(record_ids[place], seed), place))
    places = tuple(sorted(order[:affordable]))
    asked = len(background) + len(places) * cost
    answers = np.empty(asked)
    questions = _questions([rows[place] for place in places], background, masks)
    calls = 0
    for start in range(0, asked, rows_per_call):
        batch = list(islice(questions, rows_per_call))
        answers[start : start + len(batch)] = _answered(predict, batch)
        calls += 1
    expected = float(np.mean(answers[: len(background)]))
    by_row = answers[len(background) :].reshape(len(places), cost)
    own = by_row[:, 0]
    coalition_means = by_row[:, 1:].reshape(len(places), len(masks), len(background)).mean(axis=2)
    values = _solved(masks, weights, own - expected, coalition_means - expected)
    return Explanations(places, values, expected, own, calls, asked, len(masks) == 2**width - 2)


def coalitions_of(width: int, most: int, seed: int) -> tuple[Bools, Floats]:
    """At most `most` proper coalitions of `width` features, shape (k, width), and their weights, shape (k,).

    The heaviest sizes (1, width - 1, 2, ...) are taken whole as long as they fit, in pairs with their complements;
    what is left is drawn from the other sizes, in such pairs too, and shares those sizes' weight by how often it was
    drawn.
    """
    masks: list[npt.NDArray[np.bool_]] = []
    weights: list[float] = []
    size = 1
    while size <= width // 2 and comb(width, size) * (1 if 2 * size == width else 2) <= most - len(masks):
        for chosen in combinations(range(width), size):
            mask = np.zeros(width, dtype=np.bool_)
            mask[list(chosen)] = True
            both = [mask] if 2 * size == width else [mask, ~mask]
            masks += both
            weights += [_weight(width, size) / comb(width, size)] * len(both)
        size += 1
    sizes = list(range(size, width // 2 + 1))
    if sizes and most - len(masks) >= 2:
        drawn, shares = _drawn_coalitions(width, sizes, most - len(masks), seed)
        masks += drawn
        weights += shares
    return np.array(masks, dtype=np.bool_).reshape(len(masks), width), np.array(weights)


def _drawn_coalitions(
    width: int, sizes: list[int], most: int, seed: int
) -> tuple[list[npt.NDArray[np.bool_]], list[float]]:
    generator = np.random.Generator(np.random.PCG64(seed))
    # Both members of a pair of sizes; the middle size is its own complement.
    heavy = np.array([_weight(width, size) * (1 if 2 * size == width else 2) for size in sizes])
    counts: dict[bytes, int] = {}
    # A pair that comes again makes its weight larger; the end comes even where few pairs are left to be found.
    for _ in range(4 * most):
        size = sizes[int(generator.choice(len(sizes), p=heavy / heavy.sum()))]
        mask = np.zeros(width, dtype=np.bool_)
        mask[generator.permutation(width)[:size]] = True
        # A pair is known by the half that holds the first feature.
        key = (mask if mask[0] else ~mask).tobytes()
        if key not in counts and 2 * (len(counts) + 1) > most:
            break
        counts[key] = counts.get(key, 0) + 1
    total = sum(counts.values())
    masks, shares = [], []
    for key, count in counts.items():
        mask = np.frombuffer(key, dtype=np.bool_)
        masks += [mask, ~mask]
        shares += [float(heavy.sum()) * count / total / 2] * 2
    return masks, shares


def _weight(width: int, size: int) -> float:
    """The Shapley kernel's weight of all coalitions of one size together, up to a common factor."""
    return (width - 1) / (size * (width - size))


def _width(rows: Sequence[Row], background: Sequence[Row]) -> int:
    for field, given in (("rows", rows), ("background", background)):
        if not given:
            raise MisconfiguredError(field, "no row", "at least one row")
    widths = sorted({len(row) for row in (*rows, *background)})
    if len(widths) > 1 or not widths[0]:
        raise MisconfiguredError("rows", f"rows of {widths} features", "rows of one width, background rows too")
    return widths[0]


def _wanted(width: int, coalitions: int | None) -> int:
    every: int = 2**width - 2
    least = min(every, 2 * width)
    if coalitions is None:
        return min(every, 2 * width + COALITIONS)
    if coalitions < least:
        raise MisconfiguredError("coalitions", coalitions, f"at least {least} for {width} features")
    return min(every, coalitions)


def drawing(record_id: str, seed: int) -> bytes:
    """What rows are ordered by: those of the smallest are explained first."""
    return blake2b(f"{seed}/{record_id}".encode(), digest_size=16).digest()


def _questions(rows: Sequence[Row], background: Sequence[Row], masks: Bools) -> Iterator[list[Any]]:
    yield from (list(row) for row in background)
    kept = masks.tolist()
    for row in rows:
        yield list(row)
        for mask in kept:
            for absent in background:
                yield [own if stays else other for own, other, stays in zip(row, absent, mask, strict=True)]


def _answered(predict: Predict, batch: list[list[Any]]) -> Floats:
    given = predict(batch)
    try:
        found = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        # What was answered may be captured data, and is not repeated.
        raise UnreadableError("predict", f"expected numbers for {len(batch)} rows") from None
    if found.shape != (len(batch),) or not np.isfinite(found).all():
        expected = f"expected one finite number for each of {len(batch)} rows"
        raise UnreadableError("predict", f"{expected}; got shape {found.shape}, {np.isfinite(found).sum()} finite")
    return found


def _solved(masks: Bools, weights: Floats, gains: Floats, coalition_gains: Floats) -> Floats:
    """Weighted least squares with the values' sum held to the row's gain: the last value follows from the others."""
    width = masks.shape[1]
    values = np.empty((len(gains), width))
    if width == 1:
        values[:, 0] = gains
        return values
    last = masks[:, -1].astype(np.float64)
    roots = np.sqrt(weights)
    solver = np.linalg.pinv(roots[:, None] * (masks[:, :-1] - last[:, None])) * roots
    for row, gain in enumerate(gains.tolist()):
        # Row by row: the rounding of a product of matrices depends on how many rows it has.
        target = coalition_gains[row] - last * gain
        values[row, :-1] = (solver * target).sum(axis=1)
        values[row, -1] = gain - values[row, :-1].sum()
    return values
