"""How much each feature moved a model's answers: exact sums of attributions, with and without their sign.

Reads the attributions that a model returns (XGBoost's pred_contribs, for example). Not here: what is expected of them
(`monitors.model_explainability`), and how to compute them for a model that returns none (`states.shapley`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError
from chalicelib.records.table import Table
from chalicelib.states.flips import numbers_of
from chalicelib.states.moments import Moments, moments_of
from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 1

Floats = npt.NDArray[np.float64]


class FeatureAttribution(msgspec.Struct, frozen=True, array_like=True):
    """One feature's attributions phi, in the unit of the model's output: moments of phi and of |phi|."""

    name: str
    position: int
    signed: Moments = Moments()
    absolute: Moments = Moments()

    def __add__(self, other: FeatureAttribution) -> FeatureAttribution:
        return FeatureAttribution(
            self.name,
            min(self.position, other.position),
            self.signed + other.signed,
            self.absolute + other.absolute,
        )


class Attributions(msgspec.Struct, frozen=True, array_like=True):
    """Attributions for one label of a model; `Attributions()` is the identity of `+`.

    `rows` were explained, `left_out` had an attribution that is not a finite number. `features` in the order of their
    positions. `expected`: the value that attributions start from (pred_contribs' bias column), one per row.
    """

    rows: int = 0
    left_out: int = 0
    features: tuple[FeatureAttribution, ...] = ()
    expected: Moments = Moments()

    def __post_init__(self) -> None:
        if not 0 <= min(self.rows, self.left_out) <= max(self.rows, self.left_out) <= MOST_ROWS:
            raise ValueError(f"counts from 0 to {MOST_ROWS}")
        order = [(feature.position, feature.name) for feature in self.features]
        if order != sorted(order) or len({name for _, name in order}) < len(order):
            raise ValueError("each feature once, in order")
        if any(feature.signed.count != self.rows or feature.absolute.count != self.rows for feature in self.features):
            raise ValueError("an attribution of each feature in each row")

    def __add__(self, other: Attributions) -> Attributions:
        features = {feature.name: feature for feature in self.features}
        for feature in other.features:
            features[feature.name] = features[feature.name] + feature if feature.name in features else feature
        return Attributions(
            self.rows + other.rows,
            self.left_out + other.left_out,
            tuple(sorted(features.values(), key=lambda feature: (feature.position, feature.name))),
            self.expected + other.expected,
        )

    def to_bytes(self) -> bytes:
        return pack("attributions", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Attributions:
        """Raises UnreadableError."""
        return unpack(body, "attributions", VERSION, cls)


def attributions_of(values: Floats, expected: Floats, features: Sequence[str]) -> Attributions:
    """The state of attributions of shape (n, features) with expected values of shape (n,).

    A row counts when all of its attributions are finite; an expected value that is not finite is left out alone.
    """
    usable = np.isfinite(values).all(axis=1)
    left_out = len(values) - int(usable.sum())
    found = values[usable]
    if not len(found):
        return Attributions(0, left_out)
    columns = (np.ascontiguousarray(found[:, place]) for place in range(len(features)))
    kept = expected[usable]
    return Attributions(
        len(found),
        left_out,
        tuple(
            FeatureAttribution(name, place, moments_of(column), moments_of(np.abs(column)))
            for place, (name, column) in enumerate(zip(features, columns, strict=True))
        ),
        moments_of(kept[np.isfinite(kept)]),
    )


def attributions_of_table(
    table: Table, features: Sequence[str], columns: Sequence[str], expected_column: str = ""
) -> Attributions:
    """The state of what the model returned beside its answer: `columns` are named outputs, one per feature, in order.

    `expected_column`: the output with the expected value (pred_contribs' last column), "" when there is none.
    Irregular records are left out. Raises MisconfiguredError for missing outputs, or when there are not as many as
    features.
    """
    if len(columns) != len(features):
        raise MisconfiguredError("columns", list(columns), f"one output for each of {len(features)} features")
    for field, name in (*(("columns", name) for name in columns), ("expected_column", expected_column)):
        if name and name not in table.outputs:
            raise MisconfiguredError(field, name, f"one of the named outputs {', '.join(table.outputs)}")
    kept = np.flatnonzero(table.regular).tolist()
    outputs: dict[str, list[Any]] = {name: [values[index] for index in kept] for name, values in table.outputs.items()}
    expected = (
        numbers_of({"": outputs[expected_column]}, len(kept))[:, 0] if expected_column else np.full(len(kept), np.nan)
    )
    return attributions_of(numbers_of({name: outputs[name] for name in columns}, len(kept)), expected, features)
