"""A baseline from rows that a model was not trained on: the same files that a baseline job writes.

A baseline made from training rows flatters the model and then alarms on everything.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt

from chalicelib.monitors import data_quality, model_quality
from chalicelib.monitors.documents import encode_json
from chalicelib.records.table import Table
from chalicelib.states.profile import profile_of
from chalicelib.states.scores import tally

DATA_STATISTICS = "data_quality/statistics.json"
DATA_CONSTRAINTS = "data_quality/constraints.json"
MODEL_STATISTICS = "model_quality/statistics.json"
MODEL_CONSTRAINTS = "model_quality/constraints.json"


def baseline_documents(
    table: Table, predictions: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], evaluated_at: str
) -> dict[str, bytes]:
    """Statistics and suggested constraints of both monitor types, by path below the baseline's folder.

    `table` holds inputs and labels (shape n); `predictions` and `scores` are the model's answers to the same rows
    (n each; scores nan where the model gives none). `evaluated_at` is an ISO time.
    """
    profile = profile_of(table)
    scores = np.where(np.isnan(scores), predictions, scores)
    found = model_quality.statistics(tally(scores, predictions, table.labels), datetime.fromisoformat(evaluated_at))
    return {
        DATA_STATISTICS: encode_json(data_quality.statistics(profile)),
        DATA_CONSTRAINTS: encode_json(data_quality.suggest_constraints(profile)),
        MODEL_STATISTICS: encode_json(found),
        MODEL_CONSTRAINTS: encode_json(model_quality.suggest_constraints(found)),
    }
