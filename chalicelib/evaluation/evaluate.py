"""One window, evaluated: SageMaker's files, our findings beside them, and the evidence for a decision.

Everything comes as an argument and everything goes out as a value; the same inputs give the same bytes. Knows no key,
no clock and no decision. `evaluation_time` in SageMaker's statistics is the window's end, so that evaluating again
changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.evaluation.broken import (
    answer_reasons,
    broken_columns,
    class_reasons,
    label_reasons,
    shape_reasons,
)
from chalicelib.evaluation.findings import Labelled, Read, Scope, own_findings
from chalicelib.evaluation.measurement import Measurement, Subject
from chalicelib.evaluation.quality import quality_of
from chalicelib.evaluation.served import Span, in_transition, served_of
from chalicelib.evaluation.stored_window import Measured
from chalicelib.monitors import data_quality, model_bias, model_explainability, model_quality
from chalicelib.monitors.documents import bias_violations_document, encode_json, violations_document
from chalicelib.monitors.model_explainability import AttributionSettings
from chalicelib.monitors.types import TYPES
from chalicelib.records.answers import microseconds_of
from chalicelib.records.capture import CapturedRequest
from chalicelib.records.joins import NONE, Ids
from chalicelib.records.label_table import NEVER, LabelTable
from chalicelib.records.merge import MergedRequest
from chalicelib.records.sample import labelled_sample, sample_digest
from chalicelib.records.values import class_labels
from chalicelib.records.window import Window
from chalicelib.states.facets import BiasSettings
from chalicelib.states.maturity import LabelAges, label_ages

Document = Mapping[str, Any]

# Classes of each side that a reason names.
CLASSES_NAMED = 10


class Baselines(msgspec.Struct, frozen=True, kw_only=True):
    """Decoded baseline files, None where there is none; `source` says which baseline they are."""

    data_quality_statistics: Document | None = None
    data_quality_constraints: Document | None = None
    model_quality_constraints: Document | None = None
    model_bias_constraints: Document | None = None
    model_explainability_constraints: Document | None = None
    source: str = ""


class Task(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What to evaluate: one window of one monitor, as it was measured, and the labels that its answers meet.

    `subject` counts where nothing was measured yet. Its bias and attribution are there when ModelBias and
    ModelExplainability are among the monitor types.
    """

    monitor: str
    endpoint: str
    variant: str
    window: Window
    monitor_types: Sequence[str]
    subject: Subject
    measured: Measured
    labels: LabelTable
    label_objects: int
    baselines: Baselines
    deployments: Sequence[Span] = ()
    min_labelled_rows: int
    min_label_coverage: float
    sample_rows: int


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What reports are wanted of a measurement: `end` of its window (UTC), `looked_for` and `label_objects` in words
    and number say where captures and labels were looked for."""

    monitor_types: Sequence[str]
    subject: Subject
    baselines: Baselines
    end: datetime
    looked_for: str
    label_objects: int


class Reports(msgspec.Struct, frozen=True):
    """By monitor type: SageMaker's files by name, (status, why) and "name: check" of each violation."""

    documents: dict[str, dict[str, bytes]]
    states: dict[str, tuple[str, str]]
    violations: dict[str, list[str]]


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `documents`: monitor type -> file name -> bytes; `violations`: type -> "name: check".

    `answered`, and `labelled` of these: rows of steady times, whose share is the `coverage`. `measurement`: with the
    labels that are there.
    """

    documents: dict[str, dict[str, bytes]]
    digest: str
    rows: int
    answered: int
    labelled: int
    coverage: float
    loss: float | None
    delays: LabelAges
    settled: bool
    mixed: bool
    violations: dict[str, list[str]]
    broken: list[str]
    sample: list[MergedRequest]
    sample_digest: str
    metrics: dict[str, float]
    measurement: Measurement


def evaluate(task: Task) -> Findings:
    """Evaluate a window. Raises MisconfiguredError when a baseline file cannot be understood."""
    kept, table = task.measured, task.labels
    subject, answers = kept.subject or task.subject, kept.answers
    problem_type = subject.attributes.problem_type
    rows = table.find(answers.ids)
    quality = quality_of(answers, table.codes_of(rows), table.texts, subject, lambda some: table.ids.at(rows[some]))
    measured = kept.measurement + quality.measured
    served, segments = served_of(answers, quality, problem_type, task.window, task.deployments)
    loss = served.loss(problem_type)
    coverage = served.labelled / served.rows if served.rows else 0.0
    broken = broken_parts(measured, task.baselines)
    settled = served.labelled >= task.min_labelled_rows and coverage >= task.min_label_coverage
    ages, delays = _ages(kept, table, task.window)
    sample = _sample(task)
    looked_for = f"captures of {task.endpoint}/{task.variant} from {task.window.name} to {task.window.next().name}"
    asked = Asked(
        monitor_types=task.monitor_types,
        subject=subject,
        baselines=task.baselines,
        end=task.window.end,
        looked_for=looked_for,
        label_objects=task.label_objects,
    )
    reports = report(measured, asked)

    metrics: dict[str, float] = {"rows": float(measured.rows), "label_coverage": coverage}
    for monitor_type, kind in TYPES.items():
        if monitor_type not in reports.violations:
            continue
        # Counts that depend on labels are published when enough of them are there.
        if kind.needs_labels and not (settled and loss is not None):
            continue
        metrics[kind.metric] = float(len(reports.violations[monitor_type]))
    if "ModelQuality" in reports.violations and settled and loss is not None:
        if problem_type == "Regression":
            metrics["mae"] = loss
        else:
            metrics["accuracy"] = 1.0 - loss
    labelled = Labelled(
        rows=served.labelled,
        coverage=coverage,
        settled=settled,
        loss=loss,
        segments=segments,
        ages=ages,
    )
    files = {monitor_type: dict(found) for monitor_type, found in reports.documents.items()}
    for monitor_type, (status, reason) in reports.states.items():
        own = own_findings(_scope(task), _read(task), measured, labelled, broken, monitor_type, status, reason)
        files[monitor_type]["evaluation.json"] = encode_json(own)
    return Findings(
        documents=files,
        digest=_digest(files, table, sample),
        rows=measured.rows,
        answered=served.rows,
        labelled=served.labelled,
        coverage=coverage,
        loss=loss,
        delays=delays,
        settled=settled,
        mixed=len(segments) > 1,
        violations=reports.violations,
        broken=broken,
        sample=sample,
        sample_digest=sample_digest(sample),
        metrics=metrics,
        measurement=measured,
    )


def _ages(kept: Measured, table: LabelTable, window: Window) -> tuple[LabelAges, LabelAges]:
    """How old the first labels of the requests were, from each request, and from the window's end."""
    firsts = kept.answers.firsts
    parts = [(kept.answers.ids[firsts], kept.answers.times[firsts]), (kept.unread.ids, kept.unread.times)]
    ids = Ids(np.concatenate([each.keys for each, _ in parts]), np.concatenate([each.checks for each, _ in parts]))
    rows, times = table.find(ids), np.concatenate([times for _, times in parts])
    labelled = np.flatnonzero(rows != NONE)
    known = table.known[rows[labelled]] if len(labelled) else np.zeros(0, dtype=np.int64)
    told = known != NEVER
    known, times = known[told], times[labelled][told]
    ages, delays = (_seconds(known - since) for since in (times, microseconds_of(window.end)))
    return label_ages(kept.requests, ages), label_ages(kept.requests, delays)


def _seconds(microseconds: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(microseconds / 1e6, dtype=np.float64)


def _sample(task: Task) -> list[MergedRequest]:
    """The labelled rows that candidates answer, without those of transitions."""

    def is_moving(request: CapturedRequest) -> bool:
        times = np.array([microseconds_of(request.inference_time)], dtype=np.int64)
        return bool(in_transition(times, task.deployments)[0])

    return labelled_sample(task.measured.sample, task.labels.by_id, task.sample_rows, is_moving)


def broken_parts(measured: Measurement, baselines: Baselines) -> list[str]:
    """Why the data itself is broken (`monitors.broken`); empty: it is not."""
    shape = shape_reasons(measured.rows, measured.whole, measured.bad_records)
    answers = answer_reasons(measured.rows, measured.bad_records)
    labels = [*label_reasons(measured.labelled, measured.bad_records), *class_reasons(measured.matrix)]
    return [*shape, *answers, *labels, *broken_columns(measured.profile, baselines.data_quality_constraints)]


def _scope(task: Task) -> Scope:
    return Scope(
        monitor=task.monitor,
        endpoint=task.endpoint,
        variant=task.variant,
        start=task.window.name,
        end=task.window.next().name,
        baseline=task.baselines.source,
    )


def _read(task: Task) -> Read:
    return Read(
        capture_files=len(task.measured.files),
        capture_files_gone=sum(file.gone for file in task.measured.files),
        requests=task.measured.requests,
        label_objects=task.label_objects,
        labels_repeated=task.labels.repeated,
        labels_conflicting=task.labels.conflicting,
        labels_rejected=task.labels.rejected,
        bad=task.measured.bad,
        more_bad=task.measured.more_bad,
        elsewhere=task.measured.elsewhere,
    )


def report(measured: Measurement, asked: Asked) -> Reports:
    """SageMaker's files of a measurement. Raises MisconfiguredError when a baseline file cannot be understood."""
    found = {}
    if "DataQuality" in asked.monitor_types:
        found["DataQuality"] = _data_quality(measured, asked)
    if "ModelQuality" in asked.monitor_types:
        found["ModelQuality"] = _model_quality(measured, asked)
    if asked.subject.bias:
        found["ModelBias"] = _model_bias(measured, asked, asked.subject.bias)
    if asked.subject.attribution:
        found["ModelExplainability"] = _model_explainability(measured, asked, asked.subject.attribution)
    return Reports(
        {name: documents for name, (documents, _, _) in found.items()},
        {name: state for name, (_, state, _) in found.items()},
        {name: violations for name, (_, _, violations) in found.items()},
    )


def _data_quality(measured: Measurement, asked: Asked) -> tuple[dict[str, bytes], tuple[str, str], list[str]]:
    profile, baselines = measured.profile, asked.baselines
    if not profile.rows:
        return {}, ("NOT_EVALUATED", f"no readable rows; looked for {asked.looked_for}"), []
    documents = {
        "statistics.json": encode_json(data_quality.statistics(profile)),
        "constraints.json": encode_json(data_quality.suggest_constraints(profile)),
    }
    if baselines.data_quality_constraints is None:
        return documents, ("NOT_EVALUATED", "there is no data-quality baseline to compare with"), []
    violations = data_quality.check_constraints(
        profile, baselines.data_quality_constraints, baselines.data_quality_statistics
    )
    documents["constraint_violations.json"] = encode_json(violations_document(violations))
    drift = (baselines.data_quality_statistics or {}).get("features")
    reason = "" if drift else "drift is not checked: the baseline has no statistics"
    return documents, ("EVALUATED", reason), _names(violations)


def _model_quality(measured: Measurement, asked: Asked) -> tuple[dict[str, bytes], tuple[str, str], list[str]]:
    counts = measured.quality
    if not counts.rows:
        return {}, ("NOT_EVALUATED", _unlabelled(measured, asked)), []
    statistics = model_quality.statistics(counts, asked.end, measured.spelled)
    documents = {"statistics.json": encode_json(statistics)}
    if class_reasons(measured.matrix):
        return documents, ("NOT_EVALUATED", _disjoint(measured)), []
    if asked.baselines.model_quality_constraints is None:
        return documents, ("NOT_EVALUATED", "there is no model-quality baseline to compare with"), []
    if not model_quality.thresholds(asked.baselines.model_quality_constraints):
        return documents, ("NOT_EVALUATED", "the model-quality baseline has no thresholds"), []
    violations = model_quality.check_constraints(statistics, asked.baselines.model_quality_constraints)
    documents["constraint_violations.json"] = encode_json(violations_document(violations))
    return documents, ("EVALUATED", ""), _names(violations)


def _model_bias(
    measured: Measurement, asked: Asked, settings: BiasSettings
) -> tuple[dict[str, bytes], tuple[str, str], list[str]]:
    if why := measured.why_unmeasured.get("ModelBias"):
        return {}, ("NOT_EVALUATED", why), []
    if not measured.bias.rows:
        return {}, ("NOT_EVALUATED", _unlabelled(measured, asked)), []
    analysis = model_bias.analysis(measured.bias, settings)
    documents = {"analysis.json": encode_json(analysis)}
    if asked.baselines.model_bias_constraints is None:
        return documents, ("NOT_EVALUATED", "there is no model-bias baseline to compare with"), []
    violations = model_bias.check_constraints(analysis, asked.baselines.model_bias_constraints)
    documents["constraint_violations.json"] = encode_json(bias_violations_document(violations))
    return documents, ("EVALUATED", model_bias.not_computed(analysis)), _names(violations)


def _model_explainability(
    measured: Measurement, asked: Asked, settings: AttributionSettings
) -> tuple[dict[str, bytes], tuple[str, str], list[str]]:
    if why := measured.why_unmeasured.get("ModelExplainability"):
        return {}, ("NOT_EVALUATED", why), []
    state = measured.attributions
    if not state.rows:
        wanted = f"{len(settings.columns)} attributions beside the answers of {measured.rows} rows"
        return {}, ("NOT_EVALUATED", f"no row has attributions; looked for {wanted}"), []
    found = model_explainability.global_attributions(state, settings.agg_method)
    analysis = model_explainability.analysis({settings.label: found})
    documents = {"analysis.json": encode_json(analysis)}
    baseline = asked.baselines.model_explainability_constraints
    if baseline is None:
        return documents, ("NOT_EVALUATED", "there is no model-explainability baseline to compare with"), []
    violations = model_explainability.check_constraints(analysis, baseline, settings.threshold)
    documents["constraint_violations.json"] = encode_json(bias_violations_document(violations))
    return documents, ("EVALUATED", ""), _names(violations)


def _disjoint(measured: Measurement) -> str:
    """Both sets of classes, by name."""
    matrix = measured.matrix
    names = class_labels(matrix.classes, measured.spelled)
    served, labels = (
        ", ".join(names[place] for place in sorted(set(each.tolist()))[:CLASSES_NAMED])
        for each in (matrix.served, matrix.labels)
    )
    return f"answers and labels have no class in common: answers {served}; labels {labels}"


def _unlabelled(measured: Measurement, asked: Asked) -> str:
    """Why nothing can be said of a window without a labelled row."""
    reason = "no captured rows"
    if measured.rows:
        none = "no labels yet for"
        if not measured.answered:
            none = "no answer that can be read in"
        elif any(why.startswith("label ") for why in measured.bad_records):
            none = "no label that can be read for"
        elif measured.labelled:
            none = "no answer and label that both can be used in"
        reason = f"{none} {measured.rows} rows"
    bad = "; ".join(f"{found.count} rows: {why}" for why, found in list(measured.bad_records.items())[:3])
    return f"{reason}; looked in {asked.label_objects} label objects{f' ({bad})' if bad else ''}"


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


def _digest(files: Mapping[str, Mapping[str, bytes]], table: LabelTable, sample: Sequence[MergedRequest]) -> str:
    """Identifies everything that was found: equal inputs, equal digest.

    The labels have their own part in it: labels that change places change no count.
    """
    total = hashlib.sha256()
    for monitor_type in sorted(files):
        for name in sorted(files[monitor_type]):
            total.update(f"{monitor_type}/{name}\0".encode())
            total.update(hashlib.sha256(files[monitor_type][name]).digest())
    for column in (table.keys, table.checks, table.codes):
        total.update(column.tobytes())
    total.update(msgspec.json.encode(table.said))
    total.update(sample_digest(sample).encode())
    return total.hexdigest()
