"""A baseline from rows that a model was not trained on: the same files that a baseline job writes.

A baseline made from training rows flatters the model and then alarms on everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError
from chalicelib.monitors import data_quality, model_bias, model_explainability, model_quality
from chalicelib.monitors.documents import encode_json
from chalicelib.monitors.model_explainability import AttributionSettings
from chalicelib.records.table import Table
from chalicelib.states.attributions import attributions_of_table
from chalicelib.states.bias import bias_counts_of
from chalicelib.states.facets import BiasSettings
from chalicelib.states.profile import profile_of
from chalicelib.states.scores import tally

DATA_STATISTICS = "data_quality/statistics.json"
DATA_CONSTRAINTS = "data_quality/constraints.json"
MODEL_STATISTICS = "model_quality/statistics.json"
MODEL_CONSTRAINTS = "model_quality/constraints.json"
BIAS_CONSTRAINTS = "model_bias/analysis.json"
EXPLAINABILITY_CONSTRAINTS = "model_explainability/analysis.json"


def baseline_documents(
    table: Table,
    predictions: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    evaluated_at: str,
    *,
    outputs: Mapping[str, Sequence[Any]] | None = None,
    bias: BiasSettings | None = None,
    attribution: AttributionSettings | None = None,
) -> dict[str, bytes]:
    """Statistics and suggested constraints of all monitor types, by path below the baseline's folder.

    `table` holds inputs and labels (shape n); `predictions` and `scores` are the model's answers to the same rows
    (n each; scores nan where the model gives none), `outputs` its named outputs (None: those of `table`).
    `evaluated_at` is an ISO time. With `bias` and `attribution` the analyses of Clarify's monitors are there too,
    unless the rows say nothing about them (a facet has rows on one side only, the model returns no attributions).
    """
    profile = profile_of(table)
    scores = np.where(np.isnan(scores), predictions, scores)
    found = model_quality.statistics(tally(scores, predictions, table.labels), datetime.fromisoformat(evaluated_at))
    documents = {
        DATA_STATISTICS: encode_json(data_quality.statistics(profile)),
        DATA_CONSTRAINTS: encode_json(data_quality.suggest_constraints(profile)),
        MODEL_STATISTICS: encode_json(found),
        MODEL_CONSTRAINTS: encode_json(model_quality.suggest_constraints(found)),
    }
    answered = msgspec.structs.replace(
        table, predictions=predictions, outputs=table.outputs if outputs is None else dict(outputs)
    )
    for path, analysis in (
        (BIAS_CONSTRAINTS, bias and _bias_analysis(answered, bias)),
        (EXPLAINABILITY_CONSTRAINTS, attribution and _attribution_analysis(answered, attribution)),
    ):
        if analysis:
            documents[path] = encode_json(analysis)
    return documents


def _bias_analysis(table: Table, settings: BiasSettings) -> dict[str, Any] | None:
    try:
        return model_bias.suggest_constraints(bias_counts_of(table, settings), settings)
    except MisconfiguredError:
        return None


def _attribution_analysis(table: Table, settings: AttributionSettings) -> dict[str, Any] | None:
    try:
        state = attributions_of_table(table, tuple(table.features), settings.columns, settings.expected_column)
        found = model_explainability.global_attributions(state, settings.agg_method)
        return model_explainability.suggest_constraints({settings.label: found})
    except MisconfiguredError:
        return None
