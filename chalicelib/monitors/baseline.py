"""Baseline files: reading those of a baseline job or a user, and making them from held-back rows.

A file is validated once, for the shape that the checks need. A baseline made from training rows flatters the model and
then alarms on everything. Not here: what the numbers mean (`data_quality`, `model_quality`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import UNDECODABLE, MisconfiguredError, UnreadableError
from chalicelib.monitors import data_quality, model_bias, model_explainability, model_quality
from chalicelib.monitors.documents import encode_json
from chalicelib.monitors.model_explainability import AttributionSettings
from chalicelib.records.table import Table
from chalicelib.states.attributions import Attributions, attributions_of_table
from chalicelib.states.bias import bias_counts_of
from chalicelib.states.facets import BiasSettings
from chalicelib.states.profile import Profile, profile_of

DATA_STATISTICS = "data_quality/statistics.json"
DATA_CONSTRAINTS = "data_quality/constraints.json"
MODEL_STATISTICS = "model_quality/statistics.json"
MODEL_CONSTRAINTS = "model_quality/constraints.json"
BIAS_CONSTRAINTS = "model_bias/analysis.json"
EXPLAINABILITY_CONSTRAINTS = "model_explainability/analysis.json"

# More rows than any data set has; far below 2^53, above which JSON numbers are not exact.
_Count = Annotated[float, msgspec.Meta(ge=0, le=2**50)]


class _Sketch(msgspec.Struct, frozen=True):
    # An item of level i stands for 2^i values: with more levels their sum is no 64-bit number.
    data: Annotated[list[list[float]], msgspec.Meta(max_length=40)] | None = None


class _Kll(msgspec.Struct, frozen=True):
    sketch: _Sketch = _Sketch()


class _Bucket(msgspec.Struct, frozen=True):
    value: str | int | float | bool | None
    count: _Count


class _Categorical(msgspec.Struct, frozen=True):
    buckets: list[_Bucket] = []


class _Distribution(msgspec.Struct, frozen=True):
    kll: _Kll = _Kll()
    categorical: _Categorical = _Categorical()


class _Common(msgspec.Struct, frozen=True):
    num_present: _Count = 0


class _Described(msgspec.Struct, frozen=True):
    """`numerical_statistics` or `string_statistics` of a feature, as far as drift is measured with it."""

    common: _Common = _Common()
    distribution: _Distribution = _Distribution()


class _FeatureStatistics(msgspec.Struct, frozen=True):
    name: str
    numerical_statistics: _Described | msgspec.UnsetType = msgspec.UNSET
    string_statistics: _Described | None = None


class _Statistics(msgspec.Struct, frozen=True):
    features: list[_FeatureStatistics] = []


class _StringConstraints(msgspec.Struct, frozen=True):
    domains: list[str | int | float | bool | None] | None = None


class _FeatureConstraints(msgspec.Struct, frozen=True):
    name: str
    inferred_type: str | None = None
    # A job without rows writes the text "NaN".
    completeness: float | str | None = None
    string_constraints: _StringConstraints | None = None


class _Constraints(msgspec.Struct, frozen=True):
    features: list[_FeatureConstraints]


class _ModelConstraints(msgspec.Struct, frozen=True):
    binary_classification_constraints: dict[str, dict[str, Any]] | None = None
    multiclass_classification_constraints: dict[str, dict[str, Any]] | None = None
    regression_constraints: dict[str, dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, name) is None for name in self.__struct_fields__):
            raise ValueError(f"one of {', '.join(self.__struct_fields__)}")


class _ModelStatistics(msgspec.Struct, frozen=True):
    binary_classification_metrics: dict[str, dict[str, Any]] | None = None
    multiclass_classification_metrics: dict[str, dict[str, Any]] | None = None
    regression_metrics: dict[str, dict[str, Any]] | None = None


class _Analysis(msgspec.Struct, frozen=True):
    pre_training_bias_metrics: dict[str, Any] | None = None
    post_training_bias_metrics: dict[str, Any] | None = None
    explanations: dict[str, Any] | None = None


def read_statistics(body: bytes, where: str) -> Mapping[str, Any]:
    """The data-quality statistics.json in these bytes (model-monitor formats, section 5.1), as it is.

    `where` names the file. Raises UnreadableError for anything that drift cannot be measured against.
    """
    return _document(body, where, _Statistics)


def read_constraints(body: bytes, where: str) -> Mapping[str, Any]:
    """The data-quality constraints.json in these bytes (section 5.2), as it is; settings are checked where they are
    used. Raises UnreadableError."""
    return _document(body, where, _Constraints)


def read_model_constraints(body: bytes, where: str) -> Mapping[str, Any]:
    """The model-quality constraints.json in these bytes (section 6.3), as it is; thresholds are checked where they are
    used. Raises UnreadableError."""
    return _document(body, where, _ModelConstraints)


def read_model_statistics(body: bytes, where: str) -> Mapping[str, Any]:
    """The model-quality statistics.json in these bytes (section 6.2), as it is. Raises UnreadableError."""
    return _document(body, where, _ModelStatistics)


def read_analysis(body: bytes, where: str) -> Mapping[str, Any]:
    """Clarify's analysis.json in these bytes (sections 7.2 and 8), as it is; what it says of facets and features is
    checked where it is used. Raises UnreadableError."""
    return _document(body, where, _Analysis)


def _document(body: bytes, where: str, shape: type[msgspec.Struct]) -> Mapping[str, Any]:
    try:
        document: dict[str, Any] = msgspec.json.decode(body, type=dict)
        msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        # Names places and types, never values.
        raise UnreadableError(where, f"expected a baseline file; {error}") from None
    except UNDECODABLE:
        raise UnreadableError(where, "expected a baseline file: one JSON object") from None
    return document


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

    `table` holds inputs and labels (shape n), and says what the problem type is; `predictions` and `scores` are the
    model's answers to the same rows (n each, classes as positions in `table.classes`; scores nan where the model gives
    none), `outputs` its named outputs (None: those of `table`).
    `evaluated_at` is an ISO time. With `bias` and `attribution` the analyses of Clarify's monitors are there too,
    unless the rows say nothing about them (a facet has rows on one side only, the model returns no attributions).
    """
    answered = msgspec.structs.replace(
        table,
        predictions=predictions,
        scores=np.where(np.isnan(scores), predictions, scores),
        outputs=table.outputs if outputs is None else dict(outputs),
    )
    found = model_quality.statistics(
        model_quality.counted(answered), datetime.fromisoformat(evaluated_at), answered.spelled
    )
    documents = {
        **data_documents(profile_of(answered)),
        MODEL_STATISTICS: encode_json(found),
        MODEL_CONSTRAINTS: encode_json(model_quality.suggest_constraints(found)),
    }
    for path, analysis in (
        (BIAS_CONSTRAINTS, bias and _bias_analysis(answered, bias)),
        (EXPLAINABILITY_CONSTRAINTS, attribution and _attribution_analysis(answered, attribution)),
    ):
        if analysis:
            documents[path] = encode_json(analysis)
    return documents


def data_documents(profile: Profile) -> dict[str, bytes]:
    """Statistics and suggested constraints of data quality alone, by path."""
    return {
        DATA_STATISTICS: encode_json(data_quality.statistics(profile)),
        DATA_CONSTRAINTS: encode_json(data_quality.suggest_constraints(profile)),
    }


def _bias_analysis(table: Table, settings: BiasSettings) -> dict[str, Any] | None:
    try:
        return model_bias.suggest_constraints(bias_counts_of(table, settings), settings)
    except MisconfiguredError:
        return None


def attribution_document(found: Attributions, settings: AttributionSettings) -> bytes:
    """The analysis.json, and so the constraints, of computed attributions.

    Raises MisconfiguredError when they are empty: no row was explained, or no feature changes the predictions.
    """
    explained = model_explainability.global_attributions(found, settings.agg_method)
    return encode_json(model_explainability.suggest_constraints({settings.label: explained}))


def _attribution_analysis(table: Table, settings: AttributionSettings) -> dict[str, Any] | None:
    try:
        state = attributions_of_table(table, tuple(table.features), settings.columns, settings.expected_column)
        found = model_explainability.global_attributions(state, settings.agg_method)
        return model_explainability.suggest_constraints({settings.label: found})
    except MisconfiguredError:
        return None
