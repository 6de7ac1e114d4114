"""Attributions of a model that returns none: a seeded choice of rows, explained by asking the model.

Knows which rows are explained and what stands for a feature that is not there; refuses to know how a model is asked
(it is given a function) and what attributions are compared with (`model_explainability`). Rows are payload.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chalicelib.errors import MisconfiguredError
from chalicelib.records.table import Table
from chalicelib.states.attributions import Attributions, attributions_of
from chalicelib.states.shapley import ROWS_PER_CALL, Predict, drawing, kernel_shap

# Rows that are kept to be explained, however large the budget is.
MOST_ROWS = 2000
SEED = 0

Row = tuple[Any, ...]


class Chosen:
    """The rows to explain: those of the smallest hashes of their record ids, so any split gives the same choice."""

    def __init__(self, features: Sequence[str]) -> None:
        self.features = tuple(features)
        self._rows: list[tuple[bytes, str, Row]] = []

    def add(self, table: Table) -> None:
        """Consider a table's regular rows. Raises MisconfiguredError where a feature is not among its columns."""
        for name in self.features:
            if name not in table.features:
                raise MisconfiguredError("features", name, f"one of the columns {', '.join(table.features)}")
        columns = [table.features[name] for name in self.features]
        for index in np.flatnonzero(table.regular).tolist():
            record_id = table.record_ids[index]
            self._rows.append((drawing(record_id, SEED), record_id, tuple(column[index] for column in columns)))
        self._rows = sorted(self._rows, key=lambda row: row[:2])[:MOST_ROWS]

    def explain(self, predict: Predict, background: Row, max_calls: int) -> tuple[Attributions, int]:
        """Kernel SHAP of as many chosen rows as `max_calls` calls allow, and how many calls were made.

        `background` stands for features that are not there (`background_of`). Raises MisconfiguredError for a budget
        that explains no row or when there is none, UnreadableError when the model does not answer with numbers.
        """
        if not self._rows:
            return Attributions(), 0
        found = kernel_shap(
            predict,
            [row for _, _, row in self._rows],
            [record_id for _, record_id, _ in self._rows],
            [background],
            seed=SEED,
            max_calls=max_calls,
            rows_per_call=ROWS_PER_CALL,
        )
        expected = np.full(len(found.values), found.expected)
        return attributions_of(found.values, expected, self.features), found.calls


def background_of(statistics: Mapping[str, Any], features: Sequence[str]) -> Row:
    """A row of the baseline's own: the mean of a numeric feature, the most frequent value of any other.

    `statistics` is the baseline's data-quality statistics.json. Raises MisconfiguredError for a feature that it does
    not describe.
    """
    described = {feature["name"]: feature for feature in statistics.get("features", [])}
    return tuple(_usual(described.get(name, {}), name) for name in features)


def _usual(feature: Mapping[str, Any], name: str) -> Any:
    mean = feature.get("numerical_statistics", {}).get("mean")
    if isinstance(mean, int | float) and math.isfinite(mean):
        return float(mean)
    distribution = (feature.get("string_statistics") or {}).get("distribution", {})
    buckets = distribution.get("categorical", {}).get("buckets", [])
    if not buckets:
        raise MisconfiguredError("data_quality/statistics.json", name, "a mean, or categories, of this feature")
    return min(buckets, key=lambda bucket: (-bucket["count"], str(bucket["value"])))["value"]
