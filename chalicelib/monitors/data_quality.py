"""Data quality: Model Monitor's statistics, suggested constraints and six checks, from a profile.

Layouts, texts and distances are Model Monitor's (model-monitor formats, sections 5.1 to 5.4; distances after Deequ).
Violations name columns, types and shares, never values. Not here: whether a violation is more than chance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError
from chalicelib.monitors import chi_squared
from chalicelib.monitors.spelling import snake_case
from chalicelib.states.categories import Categories, comparable, rows_with
from chalicelib.states.profile import Column, Profile
from chalicelib.states.quantiles import K, weighted

BUCKETS = 10
# Columns that one violation names.
NAMED_COLUMNS = 10
# A text column gets a domain when it has few recurring values: at most this many, ten rows each on average.
DOMAIN_VALUES = 100
DOMAIN_SHARE = 0.1

_NUMERIC = ("Integral", "Fractional")
# Two-sample Kolmogorov-Smirnov constant for a significance of about 0.003, as in Deequ.
_KS_CONSTANT = 1.8

Floats = npt.NDArray[np.float64]
Sketch = tuple[Floats, npt.NDArray[np.int64]]


class _Settings(msgspec.Struct, frozen=True):
    """`monitoring_config` of a constraints file, with Model Monitor's defaults; unknown keys are ignored."""

    evaluate_constraints: str = "Enabled"
    datatype_check_threshold: float = 1.0
    domain_content_threshold: float = 1.0
    perform_comparison: str = "Enabled"
    comparison_threshold: float = 0.1
    comparison_method: str = "Robust"
    categorical_comparison_threshold: float | None = None
    categorical_drift_method: str = "LInfinity"


# The documentation's own misprint.
_MISPRINTS = {"comparion_method": "comparison_method"}
_METHODS = {"Robust": True, "linf_robust": True, "Simple": False, "linf_simple": False}


def statistics(profile: Profile) -> dict[str, Any]:
    """The content of statistics.json (section 5.1); a profile without rows has features without numbers.

    The sketch's levels are not shrunk towards the bottom (its `c` is 1.0): see `states.quantiles`.
    """
    features = [_feature_statistics(column, profile.rows) for column in profile.columns]
    return {"version": 0.0, "dataset": {"item_count": profile.rows}, "features": features}


def suggest_constraints(profile: Profile) -> dict[str, Any]:
    """The content of constraints.json (section 5.2): types, completeness, signs and small domains as observed."""
    features = []
    for column in profile.columns:
        kind = column.inferred_type
        feature: dict[str, Any] = {
            "name": column.name,
            "inferred_type": kind,
            "completeness": column.present / profile.rows if profile.rows else 0.0,
        }
        if kind in _NUMERIC:
            least = column.moments.least
            feature["num_constraints"] = {"is_non_negative": least is not None and least >= 0.0}
        elif kind == "String":
            values = column.categories
            few = not values.more and len(values.counts) <= min(DOMAIN_VALUES, DOMAIN_SHARE * column.present)
            if few:
                feature["string_constraints"] = {"domains": [value for value, _ in values.counts]}
        features.append(feature)
    return {
        "version": 0.0,
        "features": features,
        "monitoring_config": {
            "evaluate_constraints": "Enabled",
            "emit_metrics": "Enabled",
            "datatype_check_threshold": 1.0,
            "domain_content_threshold": 1.0,
            "distribution_constraints": {
                "perform_comparison": "Enabled",
                "comparison_threshold": 0.1,
                "comparison_method": "Robust",
                "categorical_comparison_threshold": 0.1,
                "categorical_drift_method": "LInfinity",
            },
        },
    }


def check_constraints(
    profile: Profile, constraints: Mapping[str, Any], baseline_statistics: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The violations of `constraints` (constraints.json) by a profile, in the order of the constraints.

    `baseline_statistics` (statistics.json) is what drift is measured against; None: drift is not checked, nor is a
    column that has no sketch there. A profile without rows violates nothing. A column none of whose values has the
    expected type is not compared for drift (a published run shows the same). Raises MisconfiguredError for a setting
    that is not understood. Rules and texts: section 5.3.
    """
    general = _settings("monitoring_config", constraints.get("monitoring_config"), _Settings())
    expected = constraints.get("features")
    if not isinstance(expected, list) or not all(isinstance(one, Mapping) and "name" in one for one in expected):
        raise MisconfiguredError("constraints.features", type(expected).__name__, "a list of features with names")
    if not profile.rows and not profile.irregular:
        return []
    baseline = {feature["name"]: feature for feature in (baseline_statistics or {}).get("features", [])}
    violations: list[dict[str, Any]] = []
    if general.evaluate_constraints == "Enabled":
        violations += _check_columns(profile, [str(feature["name"]) for feature in expected], general)
    for feature in expected:
        column = profile.column(feature["name"])
        settings = _feature_settings(feature, general)
        if column is None or not profile.rows or settings.evaluate_constraints != "Enabled":
            continue
        violations += _check_type(column, feature, settings)
        violations += _check_completeness(column, feature, profile.rows)
        violations += _check_domain(column, feature, settings)
        if settings.perform_comparison == "Enabled" and column.name in baseline:
            violations += _check_drift(column, feature, baseline[column.name], settings)
    return violations


def numeric_distance(baseline: Sketch, current: Sketch, robust: bool) -> float:
    """The greatest distance between two distribution functions, 0 to 1; sketches are (sorted items, weights).

    `robust` takes 1.8 * sqrt((n + m) / (n * m)) off for sampling noise, not below 0. Definition: section 5.4.
    """
    points = np.concatenate([baseline[0], current[0]])
    distance = float(np.max(np.abs(_cdf(baseline, points) - _cdf(current, points)), initial=0.0))
    return _corrected(distance, int(baseline[1].sum()), int(current[1].sum()), robust)


def bucket_distance(buckets: Sequence[Mapping[str, Any]], current: Sketch, robust: bool) -> float:
    """The same where the baseline has buckets alone: at their edges, which is at most the distance of all points.

    A bucket holds the values from its lower bound on and below its upper bound; the last one its upper bound too.
    """
    counts = np.array([float(each["count"]) for each in buckets])
    if not counts.sum() or not len(current[1]):
        return 0.0
    edges = np.array([float(buckets[0]["lower_bound"]), *(float(each["upper_bound"]) for each in buckets)])
    below = np.append(0.0, np.cumsum(counts)) / counts.sum()
    # At or below the number before an edge; of the last one, at or below itself.
    points = np.append(np.nextafter(edges[:-1], -np.inf), edges[-1])
    distance = float(np.max(np.abs(below - _cdf(current, points))))
    return _corrected(distance, int(counts.sum()), int(current[1].sum()), robust)


def categorical_distance(baseline: Categories, current: Categories, robust: bool) -> float:
    """The greatest difference between a category's shares, 0 to 1; `robust` as for `numeric_distance`.

    Only categories whose counts are exact on both sides are compared, so with more than `categories.BOUND` distinct
    values this is a lower bound.
    """
    before, now = dict(baseline.counts), dict(current.counts)
    n, m = baseline.total, current.total
    shares = [abs(before.get(value, 0) / n - now.get(value, 0) / m) for value in comparable(baseline, current)]
    return _corrected(max(shares, default=0.0), n, m, robust)


def _feature_statistics(column: Column, rows: int) -> dict[str, Any]:
    kind = column.inferred_type
    common = {"num_present": column.present, "num_missing": rows - column.present}
    feature: dict[str, Any] = {"name": column.name, "inferred_type": kind}
    if kind not in _NUMERIC:
        # The most frequent first; values of one count in their own order.
        counts = sorted(column.categories.counts, key=lambda entry: (-entry[1], entry[0]))
        feature["string_statistics"] = {
            "common": common,
            "distinct_count": column.categories.distinct,
            "distribution": {"categorical": {"buckets": [{"value": value, "count": count} for value, count in counts]}},
        }
        return feature
    moments, quantiles = column.moments, column.quantiles
    feature["numerical_statistics"] = {
        "common": common,
        "mean": moments.mean,
        "sum": moments.sum,
        "std_dev": moments.std_dev,
        "min": moments.least,
        "max": moments.greatest,
        "distribution": {
            "kll": {
                "buckets": _buckets(column),
                "sketch": {
                    "parameters": {"c": 1.0, "k": float(K)},
                    "data": [level.tolist() for level in quantiles.levels],
                },
            }
        },
    }
    return feature


def _buckets(column: Column) -> list[dict[str, float]]:
    """Ten equal-width buckets from min to max: lower bound inclusive, upper exclusive, the last one inclusive."""
    least, greatest = column.moments.least, column.moments.greatest
    if least is None or greatest is None:
        return []
    # Halves, because the whole width of a column from -1e308 to 1e308 is no float64.
    width = greatest / BUCKETS - least / BUCKETS
    edges = [least + index * width for index in range(BUCKETS)] + [greatest]
    if not math.isfinite(BUCKETS * width):
        # Nor are its parts: each edge is weighted from both ends.
        edges[1:-1] = [least * (1 - index / BUCKETS) + greatest * (index / BUCKETS) for index in range(1, BUCKETS)]
    items, weights = column.quantiles.weighted()
    below = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(weights)])
    cuts = below[np.searchsorted(items, np.array(edges[:-1]), side="left")]
    counts = np.diff(np.concatenate([cuts, below[-1:]])).tolist()
    # Items below the first edge cannot be (it is the minimum), so the counts add up to the number of values.
    return [
        {"lower_bound": lower, "upper_bound": upper, "count": float(count)}
        for lower, upper, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def _settings(field: str, raw: Any, defaults: _Settings) -> _Settings:
    if raw is None:
        return defaults
    if not isinstance(raw, Mapping):
        raise MisconfiguredError(field, type(raw).__name__, "an object")
    raw = _spelt(raw)
    distribution = raw.get("distribution_constraints")
    if not isinstance(distribution, Mapping | None):
        raise MisconfiguredError(f"{field}.distribution_constraints", type(distribution).__name__, "an object")
    flat = {**msgspec.structs.asdict(defaults), **raw, **_spelt(distribution or {})}
    try:
        settings = msgspec.convert(flat, _Settings)
    except msgspec.ValidationError as error:
        raise MisconfiguredError(field, "a value of the wrong type", str(error)) from None
    for name in ("evaluate_constraints", "perform_comparison"):
        if getattr(settings, name) not in ("Enabled", "Disabled"):
            raise MisconfiguredError(f"{field}.{name}", getattr(settings, name), "Enabled or Disabled")
    if settings.comparison_method not in _METHODS:
        raise MisconfiguredError(f"{field}.comparison_method", settings.comparison_method, "Robust or Simple")
    if settings.categorical_drift_method not in ("LInfinity", "ChiSquared"):
        found = settings.categorical_drift_method
        raise MisconfiguredError(f"{field}.categorical_drift_method", found, "LInfinity or ChiSquared")
    return settings


def _spelt(raw: Mapping[Any, Any]) -> dict[str, Any]:
    names = {name: snake_case(str(name)) for name in raw}
    return {_MISPRINTS.get(names[name], names[name]): value for name, value in raw.items()}


def _feature_settings(feature: Mapping[str, Any], general: _Settings) -> _Settings:
    # The documentation and the SDK disagree on name and place of a feature's own settings: all are read.
    settings = general
    for place in (feature, feature.get("num_constraints"), feature.get("string_constraints")):
        if isinstance(place, Mapping):
            for key in ("monitoringConfigOverrides", "monitoring_config_overrides"):
                settings = _settings(f"{feature['name']}.{key}", place.get(key), settings)
    return settings


def _check_columns(profile: Profile, expected: list[str], settings: _Settings) -> list[dict[str, Any]]:
    """Columns that are gone or new, and records that had fewer or more features than the declared ones."""
    violations = []
    present = [column.name for column in profile.columns]
    hint = _naming_hint(set(expected) - set(present), set(present) - set(expected))
    for kind, title, names in (
        ("missing_column_check", "Missing columns", set(expected) - set(present)),
        ("extra_column_check", "Extra columns", set(present) - set(expected)),
    ):
        # Without a regular record no column says anything about names.
        if names and profile.rows:
            description = (
                f"There are {title.lower()} in current dataset. Number of columns in current dataset: {len(present)}, "
                f"Number of columns in baseline constraints: {len(expected)}. {title}: {_named(names)}{hint}"
            )
            violations.append(_violation(title, kind, description))
    # A wrong width is measured against the features alone: outputs have names of their own.
    widths = dict(profile.irregular)
    records, usual = profile.records, profile.feature_width
    for kind, title, count in (
        ("missing_column_check", "Missing columns", sum(n for width, n in widths.items() if width < usual)),
        ("extra_column_check", "Extra columns", sum(n for width, n in widths.items() if width > usual)),
    ):
        if count and 1.0 - count / records < settings.datatype_check_threshold:
            less = "fewer" if kind == "missing_column_check" else "more"
            description = f"{count} of {records} records have {less} features than the {usual} expected"
            violations.append(_violation(title, kind, description))
    return violations


def _named(names: Collection[str]) -> str:
    """Up to ten names in order, and how many more there are."""
    listed = sorted(names)
    rest = len(listed) - NAMED_COLUMNS
    return ", ".join(listed[:NAMED_COLUMNS]) + (f" and {rest} more" if rest > 0 else "")


def _naming_hint(missing: Collection[str], extra: Collection[str]) -> str:
    """What may be the matter where names are missing and others came in their place."""
    if not missing or not extra:
        return ""
    if {name.lower() for name in missing} & {name.lower() for name in extra}:
        return " (some differ in upper and lower case alone)"
    last = {re.split(r"[./]", name)[-1] for name in extra}
    return " (some are nested deeper than in the baseline)" if last & set(missing) else ""


def _check_type(column: Column, feature: Mapping[str, Any], settings: _Settings) -> list[dict[str, Any]]:
    kind = feature.get("inferred_type")
    if not column.present or kind not in _NUMERIC:
        return []
    share = _matching(column, str(kind)) / column.present
    if share >= settings.datatype_check_threshold:
        return []
    description = (
        f"Data type match requirement is not met. Expected data type: {kind}, "
        f"Expected match: {settings.datatype_check_threshold * 100}%. Observed: Only {share * 100}% of data is {kind}."
    )
    return [_violation(column.name, "data_type_check", description)]


def _matching(column: Column, kind: str) -> int:
    """How many values have the type: whole numbers are fractional too, and every value can be text."""
    if kind == "Integral":
        return column.integral
    return column.integral + column.fractional if kind == "Fractional" else column.present


def _check_completeness(column: Column, feature: Mapping[str, Any], rows: int) -> list[dict[str, Any]]:
    required = feature.get("completeness")
    share = column.present / rows
    if not isinstance(required, int | float) or share >= required:
        return []
    description = f"Value: {share} does not meet the constraint requirement! Expected completeness: {required}."
    return [_violation(column.name, "completeness_check", description)]


def _check_domain(column: Column, feature: Mapping[str, Any], settings: _Settings) -> list[dict[str, Any]]:
    """The share of known values is too small even if every row with an unlisted value has a known one.

    Of many distinct values not all are listed, and an unlisted known one may belong to no row or to half of them. A
    violation must be certain, so values that may be known count as known; where it is open, the least share is reported
    too.
    """
    domains = (feature.get("string_constraints") or {}).get("domains")
    if not isinstance(domains, list) or not domains or not column.present:
        return []
    least, most = rows_with(column.categories, (str(value) for value in domains))
    share = most / column.present
    if share >= settings.domain_content_threshold:
        return []
    description = (
        f"Value: {share} does not meet the constraint requirement! "
        f"Expected share of known values: {settings.domain_content_threshold}."
    )
    if least < most:
        description += f" It is at most this and at least {least / column.present}: not all values are counted."
    return [_violation(column.name, "categorical_values_check", description)]


def _check_drift(
    column: Column, feature: Mapping[str, Any], baseline: Mapping[str, Any], settings: _Settings
) -> list[dict[str, Any]]:
    robust = _METHODS[settings.comparison_method]
    threshold = settings.comparison_threshold
    if "numerical_statistics" in baseline:
        before = _baseline_sketch(baseline["numerical_statistics"])
        now = column.quantiles.weighted()
        if not len(now[0]) or not _matching(column, str(feature.get("inferred_type"))):
            return []
        if before is None:
            buckets = baseline["numerical_statistics"].get("distribution", {}).get("kll", {}).get("buckets") or []
            return _drifted(column.name, bucket_distance(buckets, now, robust), threshold)
        return _drifted(column.name, numeric_distance(before, now, robust), threshold)
    known = _baseline_categories(baseline.get("string_statistics") or {})
    if not known.total or not column.categories.total:
        return []
    if settings.categorical_comparison_threshold is not None:
        threshold = settings.categorical_comparison_threshold
    if settings.categorical_drift_method == "LInfinity":
        return _drifted(column.name, categorical_distance(known, column.categories, robust), threshold)
    # The threshold is a level of significance, and how far the counts are is 1 - p: what is printed still exceeds.
    p = chi_squared.p_value(known, column.categories)
    if p is None or p >= threshold:
        return []
    found = f"Baseline drift distance: {1.0 - p} exceeds threshold: {1.0 - threshold}"
    return [_violation(column.name, "baseline_drift_check", f"{found}, ChiSquared p-value: {p} below {threshold}")]


def _drifted(name: str, distance: float, threshold: float) -> list[dict[str, Any]]:
    if distance <= threshold:
        return []
    description = f"Baseline drift distance: {distance} exceeds threshold: {threshold}"
    return [_violation(name, "baseline_drift_check", description)]


def _baseline_sketch(statistics: Mapping[str, Any]) -> Sketch | None:
    data = statistics.get("distribution", {}).get("kll", {}).get("sketch", {}).get("data")
    if not data or not any(data):
        return None
    return weighted([np.array(level, dtype=np.float64) for level in data])


def _baseline_categories(statistics: Mapping[str, Any]) -> Categories:
    buckets = statistics.get("distribution", {}).get("categorical", {}).get("buckets", [])
    counts = {str(bucket["value"]): int(bucket["count"]) for bucket in buckets if bucket["count"] >= 1}
    if not counts:
        return Categories()
    present = int(statistics.get("common", {}).get("num_present", 0))
    return Categories(tuple(sorted(counts.items())), max(0, present - sum(counts.values())))


def _cdf(sketch: Sketch, points: Floats) -> Floats:
    items, weights = sketch
    below = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(weights)])
    shares: Floats = below[np.searchsorted(items, points, side="right")] / below[-1]
    return shares


def _corrected(distance: float, n: int, m: int, robust: bool) -> float:
    return max(0.0, distance - _KS_CONSTANT * math.sqrt((n + m) / (n * m))) if robust else distance


def _violation(name: str, kind: str, description: str) -> dict[str, Any]:
    return {"feature_name": name, "constraint_check_type": kind, "description": description}
