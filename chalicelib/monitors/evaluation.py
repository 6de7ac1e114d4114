"""One window, evaluated: SageMaker's files, our findings beside them, and the evidence for a decision.

Everything comes as an argument and everything goes out as a value; the same inputs give the same bytes. Knows no key,
no clock and no decision. `evaluation_time` in SageMaker's statistics is the window's end, so that evaluating again
changes nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import MisconfiguredError
from chalicelib.monitors import data_quality, model_bias, model_explainability, model_quality
from chalicelib.monitors.broken import broken_columns, shape_reasons
from chalicelib.monitors.documents import bias_violations_document, encode_json, violations_document
from chalicelib.monitors.model_explainability import AttributionSettings
from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import Resolved
from chalicelib.records.merge import Merged, MergedRequest, merge
from chalicelib.records.preprocess import Preprocessor
from chalicelib.records.sample import loss_of, rows_by_event, sample_digest, sample_of
from chalicelib.records.segment import Requests
from chalicelib.records.table import BadRecords, Table, to_table
from chalicelib.records.window import Window
from chalicelib.states.attributions import attributions_of_table
from chalicelib.states.bias import bias_counts_of
from chalicelib.states.facets import BiasSettings
from chalicelib.states.profile import Profile, profile_of
from chalicelib.states.scores import tally_of

# Bad lines named in a report; all are counted.
BAD_LINES_NAMED = 20

Document = Mapping[str, Any]


class Span(msgspec.Struct, frozen=True):
    """A stretch of the deployment timeline: `config_name` answered from `since` on, after a transition from `began`.

    `since` None: the transition still lasts.
    """

    config_name: str
    began: datetime
    since: datetime | None


class Baselines(msgspec.Struct, frozen=True, kw_only=True):
    """Decoded baseline files, None where there is none; `source` says which baseline they are."""

    data_quality_statistics: Document | None = None
    data_quality_constraints: Document | None = None
    model_quality_constraints: Document | None = None
    model_bias_constraints: Document | None = None
    model_explainability_constraints: Document | None = None
    source: str = ""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to evaluate: one window of one monitor with all of its inputs.

    `bias` and `attribution` are there when ModelBias and ModelExplainability are among the monitor types. `preprocess`
    is a user's own function between capture and table; the deployed functions have none.
    """

    monitor: str
    endpoint: str
    variant: str
    window: Window
    monitor_types: Sequence[str]
    attributes: Attributes
    requests: Requests
    labels: Resolved
    capture_files: int
    label_objects: int
    baselines: Baselines
    bias: BiasSettings | None = None
    attribution: AttributionSettings | None = None
    deployments: Sequence[Span] = ()
    min_labelled_rows: int
    min_label_coverage: float
    sample_rows: int
    preprocess: Preprocessor | None = None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `documents`: monitor type -> file name -> bytes; `violations`: type -> "name: check".

    `merged` is by capture hour ("YYYY/MM/DD/HH")."""

    documents: dict[str, dict[str, bytes]]
    merged: dict[str, Merged]
    digest: str
    rows: int
    labelled: int
    coverage: float
    loss: float | None
    settled: bool
    mixed: bool
    violations: dict[str, list[str]]
    broken: list[str]
    sample: list[MergedRequest]
    sample_digest: str
    metrics: dict[str, float]


class _Quality(msgspec.Struct, frozen=True):
    """Served loss and labelled rows, the transition rows left out."""

    loss: float | None
    labelled: int
    coverage: float
    segments: list[dict[str, Any]]


def evaluate(task: Task) -> Findings:
    """Evaluate a window. Raises MisconfiguredError when a baseline file cannot be understood."""
    table = to_table(task.requests.requests, task.labels.by_id, task.attributes, task.preprocess)
    profile = profile_of(table)
    quality = _quality(task, table)
    broken = [*shape_reasons(table), *broken_columns(profile, task.baselines.data_quality_constraints)]
    settled = quality.labelled >= task.min_labelled_rows and quality.coverage >= task.min_label_coverage
    merged = merge(task.requests.requests, task.labels.by_id)
    steady = [one for one in merged.requests if not _in_transition(one.request.inference_time, task.deployments)]
    sample = sample_of(steady, rows_by_event(table), task.sample_rows)

    files: dict[str, dict[str, bytes]] = {}
    states: dict[str, tuple[str, str]] = {}
    violations: dict[str, list[str]] = {}
    metrics: dict[str, float] = {"rows": float(len(table)), "label_coverage": quality.coverage}
    if "DataQuality" in task.monitor_types:
        files["DataQuality"], states["DataQuality"], found = _data_quality(task, profile)
        violations["DataQuality"] = found
        metrics["data_quality_violations"] = float(len(found))
    if "ModelQuality" in task.monitor_types:
        files["ModelQuality"], states["ModelQuality"], found = _model_quality(task, table)
        violations["ModelQuality"] = found
        if settled and quality.loss is not None:
            metrics["model_quality_violations"] = float(len(found))
            if task.attributes.problem_type == "Regression":
                metrics["mae"] = quality.loss
            else:
                metrics["accuracy"] = 1.0 - quality.loss
    if task.bias:
        files["ModelBias"], states["ModelBias"], found = _model_bias(task, table, task.bias)
        violations["ModelBias"] = found
        if settled:
            metrics["model_bias_violations"] = float(len(found))
    if task.attribution:
        outcome = _model_explainability(task, table, task.attribution)
        files["ModelExplainability"], states["ModelExplainability"], found = outcome
        violations["ModelExplainability"] = found
        metrics["model_explainability_violations"] = float(len(found))
    for monitor_type, (status, reason) in states.items():
        own = _own_findings(task, table, quality, broken, settled, monitor_type, status, reason)
        files[monitor_type]["evaluation.json"] = encode_json(own)
    return Findings(
        documents=files,
        merged=_by_hour(merged),
        digest=_digest(files, merged, sample),
        rows=len(table),
        labelled=quality.labelled,
        coverage=quality.coverage,
        loss=quality.loss,
        settled=settled,
        mixed=len(quality.segments) > 1,
        violations=violations,
        broken=broken,
        sample=sample,
        sample_digest=sample_digest(sample),
        metrics=metrics,
    )


def _data_quality(task: Task, profile: Profile) -> tuple[dict[str, bytes], tuple[str, str], list[str]]:
    if not profile.rows:
        wanted = f"captures of {task.endpoint}/{task.variant} from {task.window.name} to {task.window.next().name}"
        return {}, ("NOT_EVALUATED", f"no readable rows; looked for {wanted}"), []
    documents = {
        "statistics.json": encode_json(data_quality.statistics(profile)),
        "constraints.json": encode_json(data_quality.suggest_constraints(profile)),
    }
    if task.baselines.data_quality_constraints is None:
        return documents, ("NOT_EVALUATED", "there is no data-quality baseline to compare with"), []
    violations = data_quality.check_constraints(
        profile, task.baselines.data_quality_constraints, task.baselines.data_quality_statistics
    )
    documents["constraint_violations.json"] = encode_json(violations_document(violations))
    return documents, ("EVALUATED", ""), _names(violations)


def _model_quality(task: Task, table: Table) -> tuple[dict[str, bytes], tuple[str, str], list[str]]:
    counts = tally_of(table)
    if not counts.rows:
        return {}, ("NOT_EVALUATED", _unlabelled(task, table)), []
    statistics = model_quality.statistics(counts, task.window.end)
    documents = {"statistics.json": encode_json(statistics)}
    if task.baselines.model_quality_constraints is None:
        return documents, ("NOT_EVALUATED", "there is no model-quality baseline to compare with"), []
    violations = model_quality.check_constraints(statistics, task.baselines.model_quality_constraints)
    documents["constraint_violations.json"] = encode_json(violations_document(violations))
    return documents, ("EVALUATED", ""), _names(violations)


def _model_bias(
    task: Task, table: Table, settings: BiasSettings
) -> tuple[dict[str, bytes], tuple[str, str], list[str]]:
    try:
        counts = bias_counts_of(table, settings)
    except MisconfiguredError as error:
        # The definition was checked as far as it names columns; the rest only the data knows.
        return {}, ("NOT_EVALUATED", f"bias.{error}"), []
    if not counts.rows:
        return {}, ("NOT_EVALUATED", _unlabelled(task, table)), []
    analysis = model_bias.analysis(counts, settings)
    documents = {"analysis.json": encode_json(analysis)}
    if task.baselines.model_bias_constraints is None:
        return documents, ("NOT_EVALUATED", "there is no model-bias baseline to compare with"), []
    violations = model_bias.check_constraints(analysis, task.baselines.model_bias_constraints)
    documents["constraint_violations.json"] = encode_json(bias_violations_document(violations))
    return documents, ("EVALUATED", ""), _names(violations)


def _model_explainability(
    task: Task, table: Table, settings: AttributionSettings
) -> tuple[dict[str, bytes], tuple[str, str], list[str]]:
    state = attributions_of_table(table, tuple(table.features), settings.columns, settings.expected_column)
    if not state.rows:
        wanted = f"{len(settings.columns)} attributions beside the answers of {len(table)} rows"
        return {}, ("NOT_EVALUATED", f"no row has attributions; looked for {wanted}"), []
    found = model_explainability.global_attributions(state, settings.agg_method)
    analysis = model_explainability.analysis({settings.label: found})
    documents = {"analysis.json": encode_json(analysis)}
    baseline = task.baselines.model_explainability_constraints
    if baseline is None:
        return documents, ("NOT_EVALUATED", "there is no model-explainability baseline to compare with"), []
    violations = model_explainability.check_constraints(analysis, baseline, settings.threshold)
    documents["constraint_violations.json"] = encode_json(bias_violations_document(violations))
    return documents, ("EVALUATED", ""), _names(violations)


def _unlabelled(task: Task, table: Table) -> str:
    """Why nothing can be said of a window without a labelled row."""
    reason = "no captured rows" if not len(table) else f"no labels yet for {len(table)} rows"
    return f"{reason}; looked in {task.label_objects} label objects"


def _names(violations: Sequence[Document]) -> list[str]:
    """What was violated and how, without values: "age: baseline_drift_check", "DPL of Sex in 0: bias_drift_check"."""
    names = []
    for each in violations:
        name = each.get("feature_name") or each["metric_name"]
        if "facet" in each:
            name = f"{name} of {each['facet']} in {each['facet_value']}"
        elif "label" in each:
            name = f"{name} of {each['label']}"
        names.append(f"{name}: {each['constraint_check_type']}")
    return names


def _quality(task: Task, table: Table) -> _Quality:
    """Served loss over labelled rows, per model that answered; rows of a transition belong to nobody."""
    answered = table.whole & ~np.isnan(table.predictions)
    steady = answered & ~_transition_rows(table, task.deployments)
    known = steady & ~np.isnan(table.labels)
    segments = []
    for name, began, rows in _segments(table, task):
        labelled = rows & known
        if not (rows & steady).any():
            continue
        segments.append(
            {
                "config_name": name,
                "from": began,
                "rows": int((rows & steady).sum()),
                "labelled": int(labelled.sum()),
                "loss": _loss(table, labelled),
            }
        )
    labelled_rows, steady_rows = int(known.sum()), int(steady.sum())
    coverage = labelled_rows / steady_rows if steady_rows else 0.0
    return _Quality(_loss(table, known), labelled_rows, coverage, segments)


def _loss(table: Table, rows: npt.NDArray[np.bool_]) -> float | None:
    return loss_of(table.predictions[rows], table.labels[rows], table.problem_type) if rows.any() else None


def _segments(table: Table, task: Task) -> list[tuple[str, str, npt.NDArray[np.bool_]]]:
    """(configuration, ISO time from which it answered within the window, its rows), oldest first."""
    ended = [span for span in task.deployments if span.since is not None and span.since < task.window.end]
    edges = [("not known", task.window.start)]
    for span in sorted(ended, key=lambda span: span.began):
        assert span.since is not None
        edges.append((span.config_name, max(span.since, task.window.start)))
    segments = []
    for number, (name, began) in enumerate(edges):
        until = edges[number + 1][1] if number + 1 < len(edges) else task.window.end
        rows = (table.times >= began.timestamp()) & (table.times < until.timestamp())
        segments.append((name, began.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), rows))
    return segments


def _in_transition(moment: datetime, deployments: Sequence[Span]) -> bool:
    return any(span.began <= moment and (span.since is None or moment < span.since) for span in deployments)


def _transition_rows(table: Table, deployments: Sequence[Span]) -> npt.NDArray[np.bool_]:
    rows = np.zeros(len(table), dtype=bool)
    for span in deployments:
        until = span.since.timestamp() if span.since else math.inf
        rows |= (table.times >= span.began.timestamp()) & (table.times < until)
    return rows


def _own_findings(
    task: Task,
    table: Table,
    quality: _Quality,
    broken: Sequence[str],
    settled: bool,
    monitor_type: str,
    status: str,
    reason: str,
) -> dict[str, Any]:
    requests, labels = task.requests, task.labels
    bad = [{"key": line.key, "line": line.line, "reason": line.reason} for line in requests.bad[:BAD_LINES_NAMED]]
    return {
        "version": 1,
        "monitor": task.monitor,
        "monitor_type": monitor_type,
        "endpoint": task.endpoint,
        "variant": task.variant,
        "window": {"start": task.window.name, "end": task.window.next().name},
        "status": status,
        "reason": reason,
        "baseline": task.baselines.source,
        "inputs": {
            "capture_files": task.capture_files,
            "requests": len(requests.requests),
            "rows": len(table),
            "repeated_requests": requests.repeated,
            "requests_elsewhere": requests.elsewhere,
            "label_objects": task.label_objects,
            "labelled_rows": quality.labelled,
            "label_coverage": quality.coverage,
            "labels_repeated": labels.repeated,
            "labels_conflicting": labels.conflicting,
            "labels_rejected": labels.rejected,
        },
        "bad_lines": {"count": len(requests.bad) + requests.more_bad, "sample": bad},
        "bad_records": _counted(table.bad),
        "noted_records": _counted(table.noted),
        "broken": list(broken),
        "settled": settled,
        "served_loss": quality.loss,
        "segments": quality.segments,
    }


def _counted(found: Mapping[str, BadRecords]) -> dict[str, Any]:
    return {why: {"count": each.count, "sample": list(each.sample)} for why, each in sorted(found.items())}


def _by_hour(merged: Merged) -> dict[str, Merged]:
    """The merge job files a record under its capture hour."""
    hours: dict[str, list[MergedRequest]] = {}
    for one in merged.requests:
        hours.setdefault(one.request.inference_time.astimezone(UTC).strftime("%Y/%m/%d/%H"), []).append(one)
    return {hour: Merged(found, 0) for hour, found in sorted(hours.items())}


def _digest(files: Mapping[str, Mapping[str, bytes]], merged: Merged, sample: Sequence[MergedRequest]) -> str:
    """Identifies everything that was found: equal inputs, equal digest.

    The merged records have their own part in it: labels that change places change no count.
    """
    total = hashlib.sha256()
    for monitor_type in sorted(files):
        for name in sorted(files[monitor_type]):
            total.update(f"{monitor_type}/{name}\0".encode())
            total.update(hashlib.sha256(files[monitor_type][name]).digest())
    for one in merged.requests:
        total.update(f"{one.request.event_id}\0{one.label.digest}\0".encode())
    total.update(sample_digest(sample).encode())
    return total.hexdigest()
