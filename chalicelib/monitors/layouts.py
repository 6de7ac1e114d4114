"""The layouts of every file of a report, as types: `schemas/` is generated from them, and tests check files with them.

SageMaker's layouts are those of the model-monitor formats, sections 5 to 8. They are open: Model Monitor and users
write more keys than Plumbline, and readers ignore them. No code builds or reads files with these types; the builders
are `data_quality`, `model_quality`, `model_bias`, `model_explainability` and `findings`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chalicelib.monitors.types import MonitorType

Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
# Whole numbers that Model Monitor writes as 418.0.
WholeNumber = Annotated[float, Meta(ge=0)]
# Strict JSON has no NaN: Model Monitor writes the text.
NumberOrNaN = float | Literal["NaN"]
BiasValue = float | Literal["Infinity", "-Infinity"] | None

InferredType = Literal["Integral", "Fractional", "String", "Unknown"]
Switch = Literal["Enabled", "Disabled"]
Operator = Literal["LessThanThreshold", "GreaterThanThreshold"]


# Data quality ---------------------------------------------------------------------------------------------------------


class Common(Struct):
    """How many rows have a value."""

    num_present: Count
    num_missing: Count


class Bucket(Struct):
    """One of ten equal-width buckets: lower bound inclusive, upper exclusive, the last one inclusive."""

    lower_bound: float
    upper_bound: float
    count: WholeNumber


class SketchParameters(Struct):
    c: float
    k: WholeNumber


class Sketch(Struct):
    """A quantile sketch: an item of level i (0 first) stands for 2^i values."""

    parameters: SketchParameters
    data: list[list[float]]


class Kll(Struct):
    buckets: list[Bucket]
    sketch: Sketch


class NumericalDistribution(Struct):
    kll: Kll


class NumericalStatistics(Struct):
    """`std_dev` is the population's."""

    common: Common
    mean: float
    sum: float
    std_dev: float
    min: float
    max: float
    distribution: NumericalDistribution


class Category(Struct):
    value: str
    count: Count


class Categorical(Struct):
    buckets: list[Category]


class StringDistribution(Struct):
    categorical: Categorical


class StringStatistics(Struct):
    common: Common
    distinct_count: WholeNumber
    distribution: StringDistribution


class FeatureStatistics(Struct):
    """`numerical_statistics` for Integral and Fractional, `string_statistics` for the others."""

    name: str
    inferred_type: InferredType
    numerical_statistics: NumericalStatistics | UnsetType = UNSET
    string_statistics: StringStatistics | UnsetType = UNSET


class Dataset(Struct):
    item_count: Count


class DataQualityStatistics(Struct):
    """statistics.json of data quality."""

    version: float
    dataset: Dataset
    features: list[FeatureStatistics]


class DistributionConstraints(Struct):
    perform_comparison: Switch | UnsetType = UNSET
    comparison_threshold: float | UnsetType = UNSET
    comparison_method: Literal["Robust", "Simple", "linf_robust", "linf_simple"] | UnsetType = UNSET
    categorical_comparison_threshold: float | UnsetType = UNSET
    categorical_drift_method: Literal["LInfinity", "ChiSquared"] | UnsetType = UNSET


class MonitoringConfig(Struct):
    evaluate_constraints: Switch | UnsetType = UNSET
    emit_metrics: Switch | UnsetType = UNSET
    datatype_check_threshold: float | UnsetType = UNSET
    domain_content_threshold: float | UnsetType = UNSET
    distribution_constraints: DistributionConstraints | UnsetType = UNSET


class NumericalConstraints(Struct):
    is_non_negative: bool | UnsetType = UNSET
    monitoring_config_overrides: MonitoringConfig | UnsetType = UNSET


class StringConstraints(Struct):
    domains: list[str | float | bool | None] | UnsetType = UNSET
    monitoring_config_overrides: MonitoringConfig | UnsetType = UNSET


class FeatureConstraints(Struct):
    name: str
    inferred_type: InferredType
    completeness: Share | Literal["NaN"]
    num_constraints: NumericalConstraints | UnsetType = UNSET
    string_constraints: StringConstraints | UnsetType = UNSET
    monitoring_config_overrides: MonitoringConfig | UnsetType = msgspec.field(
        default=UNSET, name="monitoringConfigOverrides"
    )


class DataQualityConstraints(Struct):
    """constraints.json of data quality."""

    version: float
    features: list[FeatureConstraints]
    monitoring_config: MonitoringConfig | UnsetType = UNSET


class DataQualityViolation(Struct):
    feature_name: str
    constraint_check_type: Literal[
        "data_type_check",
        "completeness_check",
        "categorical_values_check",
        "baseline_drift_check",
        "missing_column_check",
        "extra_column_check",
    ]
    description: str


class DataQualityViolations(Struct):
    """constraint_violations.json of data quality."""

    violations: list[DataQualityViolation]


# Model quality --------------------------------------------------------------------------------------------------------


class Metric(Struct):
    """A metric, and its standard deviation over five samples of 80 % of the rows (from 200 rows on)."""

    value: NumberOrNaN
    standard_deviation: NumberOrNaN


class RocCurve(Struct):
    """One point per distinct score, highest first, between (0, 0) and (1, 1); empty without both labels."""

    false_positive_rates: list[Share]
    true_positive_rates: list[Share]


class PrecisionRecallCurve(Struct):
    """One point per distinct score, highest first; empty without a label 1."""

    precisions: list[Share]
    recalls: list[Share]


# Rows by label and answer: matrix[label][answer].
ConfusionMatrix = dict[str, dict[str, Count]]


class BinaryMetrics(Struct):
    confusion_matrix: ConfusionMatrix
    recall: Metric
    precision: Metric
    accuracy: Metric
    recall_best_constant_classifier: Metric
    precision_best_constant_classifier: Metric
    accuracy_best_constant_classifier: Metric
    true_positive_rate: Metric
    true_negative_rate: Metric
    false_positive_rate: Metric
    false_negative_rate: Metric
    auc: Metric
    f0_5: Metric
    f1: Metric
    f2: Metric
    f0_5_best_constant_classifier: Metric
    f1_best_constant_classifier: Metric
    f2_best_constant_classifier: Metric
    receiver_operating_characteristic_curve: RocCurve
    precision_recall_curve: PrecisionRecallCurve


class MulticlassMetrics(Struct):
    """In a matrix of more than 100 classes empty cells are left out."""

    confusion_matrix: ConfusionMatrix
    accuracy: Metric
    weighted_recall: Metric
    weighted_precision: Metric
    weighted_f0_5: Metric
    weighted_f1: Metric
    weighted_f2: Metric
    accuracy_best_constant_classifier: Metric
    weighted_recall_best_constant_classifier: Metric
    weighted_precision_best_constant_classifier: Metric
    weighted_f0_5_best_constant_classifier: Metric
    weighted_f1_best_constant_classifier: Metric
    weighted_f2_best_constant_classifier: Metric


class RegressionMetrics(Struct):
    mae: Metric
    mse: Metric
    rmse: Metric
    r2: Metric


class EvaluatedDataset(Struct):
    """`evaluation_time` is the window's end, so that evaluating again changes nothing."""

    item_count: Count
    evaluation_time: str


class ModelQualityStatistics(Struct):
    """statistics.json of model quality, with the metrics of one problem type."""

    version: float
    dataset: EvaluatedDataset
    binary_classification_metrics: BinaryMetrics | UnsetType = UNSET
    multiclass_classification_metrics: MulticlassMetrics | UnsetType = UNSET
    regression_metrics: RegressionMetrics | UnsetType = UNSET


class Constraint(Struct):
    """The operator names the violating direction."""

    threshold: float
    comparison_operator: Operator


class ModelQualityConstraints(Struct):
    """constraints.json of model quality, metric -> constraint, for one problem type."""

    version: float
    binary_classification_constraints: dict[str, Constraint] | UnsetType = UNSET
    multiclass_classification_constraints: dict[str, Constraint] | UnsetType = UNSET
    regression_constraints: dict[str, Constraint] | UnsetType = UNSET


class ModelQualityViolation(Struct):
    """Four rates are camelCase in `metric_name`, and only there."""

    constraint_check_type: Operator
    description: str
    metric_name: str


class ModelQualityViolations(Struct):
    """constraint_violations.json of model quality."""

    violations: list[ModelQualityViolation]


# Bias and attribution -------------------------------------------------------------------------------------------------


class BiasMetric(Struct):
    """A metric without a value has null and says why in `error`."""

    name: str
    description: str
    value: BiasValue
    error: str | UnsetType = UNSET


class BiasFacet(Struct):
    value_or_threshold: str
    metrics: list[BiasMetric]


class BiasMetrics(Struct):
    label: str
    facets: dict[str, list[BiasFacet]]
    label_value_or_threshold: str


class BiasAnalysis(Struct):
    """analysis.json of bias; a baseline's is its constraints."""

    version: str
    post_training_bias_metrics: BiasMetrics | UnsetType = UNSET
    pre_training_bias_metrics: BiasMetrics | UnsetType = UNSET


class BiasViolation(Struct):
    facet: str
    facet_value: str
    metric_name: str
    constraint_check_type: Literal["bias_drift_check"]
    description: str


class BiasViolations(Struct):
    """constraint_violations.json of bias."""

    version: str
    violations: list[BiasViolation]


class LabelAttributions(Struct):
    global_shap_values: dict[str, float]
    expected_value: float | UnsetType = UNSET


class Explanations(Struct):
    kernel_shap: dict[str, LabelAttributions]


class ExplainabilityAnalysis(Struct):
    """analysis.json of explainability, label -> attributions; a baseline's is its constraints."""

    version: str
    explanations: Explanations


class ExplainabilityViolation(Struct):
    label: str
    metric_name: str
    constraint_check_type: Literal["feature_attribution_drift_check"]
    description: str


class ExplainabilityViolations(Struct):
    """constraint_violations.json of explainability."""

    version: str
    violations: list[ExplainabilityViolation]


# Our own findings -----------------------------------------------------------------------------------------------------


class Span(Struct, forbid_unknown_fields=True):
    """ISO times; `end` is not part of it."""

    start: str
    end: str


class Inputs(Struct, forbid_unknown_fields=True):
    capture_files: Count
    capture_files_gone: Count
    requests: Count
    rows: Count
    repeated_requests: Count
    requests_elsewhere: Count
    label_objects: Count
    labelled_rows: Count
    label_coverage: Share
    labels_repeated: Count
    labels_conflicting: Count
    labels_rejected: Count


class BadLine(Struct, forbid_unknown_fields=True):
    """Line 0: the whole file."""

    key: str
    line: Count
    reason: str


class BadLines(Struct, forbid_unknown_fields=True):
    """All are counted, the first are named."""

    count: Count
    sample: list[BadLine]


class BadRecords(Struct, forbid_unknown_fields=True):
    """How many records met a problem, and the ids of a few."""

    count: Annotated[int, Meta(ge=1)]
    sample: list[str]


class Segment(Struct, forbid_unknown_fields=True):
    """What one model answered: `from` when on, what was lost (null without labels), and how many of a hundred requests
    were captured (null where that is not known)."""

    config_name: str
    since: str = msgspec.field(name="from")
    rows: Count
    labelled: Count
    loss: float | None
    sampling_percentage: Annotated[int, Meta(ge=0, le=100)] | None


class Deviations(Struct, forbid_unknown_fields=True):
    """Standard deviations of the metrics over so many resamples of all rows; null: not defined."""

    draws: Count
    standard_deviations: dict[str, float | None]


class CalibrationBin(Struct, forbid_unknown_fields=True):
    """Scores from `lower_bound` up to `upper_bound`, which is part of the last bin only."""

    lower_bound: Share
    upper_bound: Share
    rows: Annotated[int, Meta(ge=1)]
    mean_score: Share
    positive_share: Share


class Calibration(Struct, forbid_unknown_fields=True):
    """How right the probabilities are; bins without rows are left out."""

    bins: list[CalibrationBin]
    brier_score: Share
    expected_calibration_error: Share


class AgeStep(Struct, forbid_unknown_fields=True):
    """Requests whose first label took longer than the step before says, and at most `up_to_seconds` (null: longer)."""

    up_to_seconds: Count | None
    requests: Annotated[int, Meta(ge=1)]


class LabelAges(Struct, forbid_unknown_fields=True):
    """How long the first labels of the requests took; nulls where there are none, or beyond the longest step."""

    requests: Count
    labelled_requests: Count
    half_within_seconds: int | None
    nine_tenths_within_seconds: int | None
    steps: list[AgeStep]


class Weighted(Struct, forbid_unknown_fields=True):
    """A metric of the labelled rows, plain and weighted by score; null: not defined."""

    labelled: float | None
    weighted: float | None


class Selection(Struct, forbid_unknown_fields=True):
    """Whether labelled rows have other scores than unlabelled ones, and the metrics if they had not."""

    labelled: Count
    unlabelled: Count
    distance: Share
    p_value: Share
    warning: str
    metrics: dict[str, Weighted]


class CurveStep(Struct, forbid_unknown_fields=True):
    """The share of requests that have a label so many seconds after the end of their window."""

    up_to_seconds: Count
    share: Share


class LearnedFrom(Struct, forbid_unknown_fields=True):
    windows: Count
    requests: Count


class StoredRevision(Struct, forbid_unknown_fields=True):
    """A revision of the report: when it was stored, under which key, and what it counted."""

    stored_at: str
    key: str
    labelled: Count
    label_coverage: Share
    served_loss: float | None


class LateLabels(Struct, forbid_unknown_fields=True):
    """A label object that came after the window was sealed: counted here and nowhere else."""

    object: str
    etag: str
    arrived: str
    labels: Annotated[int, Meta(ge=1)]


class LabelMaturity(Struct, forbid_unknown_fields=True, kw_only=True):
    """label_maturity.json: how far the labels of a window have come, as of a moment (docs/reports.md)."""

    version: Literal[1]
    monitor: str
    window: Span
    as_of: str
    sealed: bool
    sealed_at: str
    requests: Count
    labelled_requests: Count
    label_coverage: Share
    settled_share: Share
    expected_final_coverage: Share
    expected_by: str | None
    summary: str
    learned_from: LearnedFrom
    maturity: list[CurveStep]
    revisions: list[StoredRevision]
    late_labels: list[LateLabels]
    late_label_count: Count


class Evaluation(Struct, forbid_unknown_fields=True, kw_only=True):
    """evaluation.json: what was evaluated of one monitor type, and what was not and why (docs/reports.md)."""

    version: Literal[1]
    monitor: str
    monitor_type: MonitorType
    endpoint: str
    variant: str
    window: Span
    status: Literal["EVALUATED", "NOT_EVALUATED"]
    reason: str
    baseline: str
    inputs: Inputs
    bad_lines: BadLines
    bad_records: dict[str, BadRecords]
    noted_records: dict[str, BadRecords]
    broken: list[str]
    settled: bool
    served_loss: float | None
    segments: list[Segment]
    notes: list[str] | UnsetType = UNSET
    deviations: Deviations | UnsetType = UNSET
    calibration: Calibration | UnsetType | None = UNSET
    label_ages: LabelAges | UnsetType = UNSET
    selection: Selection | UnsetType = UNSET
