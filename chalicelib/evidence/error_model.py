"""The error of a regression before its labels come: trees that say how far off an answer to such inputs is.

Fitted once, at the baseline, from features and answer to the size of the error (direct loss estimation). It assumes
that the same inputs still have the same errors: `evidence.gap` compares estimate and truth when labels come. Not here:
classifiers (`evidence.label_free`).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.evidence.label_free import NORMAL_95, Estimate, Figure
from chalicelib.evidence.trees import Trees, fit
from chalicelib.states.row_sample import RowSample
from chalicelib.states.serialization import pack, unpack

VERSION = 1
DEPTH, ROUNDS = 4, 80
LEAST_ROWS = 1_000

Floats = npt.NDArray[np.float64]


class ErrorModel(msgspec.Struct, frozen=True, array_like=True):
    """`trees` from the columns `features` and the answer to |label - answer|, in units of the label; `rows` that it was
    fitted to, their mean error, and the standard deviation of what the trees leave unexplained."""

    trees: Trees
    features: tuple[str, ...]
    rows: int
    mean: float
    deviation: float

    def to_bytes(self) -> bytes:
        return pack("error model", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> ErrorModel:
        """Raises UnreadableError."""
        return unpack(body, "error model", VERSION, cls)


def fit_error_model(baseline: RowSample) -> ErrorModel | None:
    """The error model of a regression's baseline; None with fewer than `LEAST_ROWS` labelled rows."""
    errors = errors_of(baseline)
    known = np.isfinite(errors)
    if int(known.sum()) < LEAST_ROWS:
        return None
    rows, errors = _rows(baseline, baseline.features)[known], errors[known]
    # Half of the rows say how good a model of the other half is: what a model of all rows leaves of them is too small.
    half = len(rows) // 2
    unseen = errors[half:] - fit(rows[:half], errors[:half], depth=DEPTH, rounds=ROUNDS).predict(rows[half:])
    trees = fit(rows, errors, depth=DEPTH, rounds=ROUNDS)
    return ErrorModel(trees, baseline.features, len(rows), float(errors.mean()), float(np.std(unseen)))


def estimate_error(model: ErrorModel, window: RowSample) -> Estimate | None:
    """The mean absolute error (`mae`) of a window from its sample, in units of the label; None without rows.

    A row with a label counts with its error, any other with the error that the model expects. The band has the chance
    of the sample, of the errors of rows without a label, and of the baseline.
    """
    kept = len(window.hashes)
    if not kept:
        return None
    errors = errors_of(window)
    known = np.isfinite(errors)
    found = np.where(known, errors, expected_errors(model, window))
    variance = float(found.var()) / kept * (1.0 - kept / window.rows)
    unlabelled = 1.0 - float(known.mean())
    variance += model.deviation**2 * (unlabelled / window.rows + unlabelled**2 / model.rows)
    value, half = max(0.0, float(found.mean())), NORMAL_95 * math.sqrt(variance)
    figure = Figure(value, max(0.0, value - half), value + half)
    return Estimate("error model", kept, int(known.sum()), {"mae": figure})


def expected_errors(model: ErrorModel, window: RowSample) -> Floats:
    """The size of the error that the model expects of each kept row, shape (k,)."""
    return model.trees.predict(_rows(window, model.features))


def errors_of(sample: RowSample) -> Floats:
    """|label - answer| of each kept row, shape (k,); nan without a label, at most the greatest float64."""
    with np.errstate(over="ignore"):
        return np.minimum(np.abs(sample.answers[:, 2] - sample.answers[:, 1]), np.finfo(np.float64).max)


def _rows(sample: RowSample, features: tuple[str, ...]) -> Floats:
    """Values of these features, nan where the sample has none, then the answer."""
    place = {name: index for index, name in enumerate(sample.features)}
    values = sample.values
    missing = np.full(len(values), np.nan)
    columns = [values[:, place[name]] if name in place else missing for name in features]
    return np.column_stack([*columns, sample.answers[:, 1]])
