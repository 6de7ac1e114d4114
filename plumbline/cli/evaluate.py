"""`plumbline evaluate --captures PATH --baseline DIR --out DIR`: what Model Monitor would say of captures, at once.

Reads what an endpoint captured and the labels that are there, and writes SageMaker's files of every monitor type, our
own findings and a page for people. The same measuring as in the deployed functions; needs no account for local files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from chalicelib import keys
from chalicelib.decisions.policy import Policy
from chalicelib.definition import Definition
from chalicelib.errors import MisconfiguredError, UnreadableError
from chalicelib.evaluation.baseline_states import (
    MEASUREMENT,
    BaselineStates,
    asked_by,
    assess_alone,
    states_of_files,
    states_of_measurement,
)
from chalicelib.evaluation.broken import BROKEN_SHARE
from chalicelib.evaluation.capture_fold import CaptureFold, Folded
from chalicelib.evaluation.evaluate import Asked, Baselines, Document, Reports, broken_parts, report
from chalicelib.evaluation.findings import Labelled, Read, Scope, own_findings
from chalicelib.evaluation.label_join import LabelJoin
from chalicelib.evaluation.measurement import Measurement, Subject, with_attributions
from chalicelib.evidence.assessment import Assessment, Moved
from chalicelib.monitors import baseline
from chalicelib.monitors.documents import encode_json, shortened
from chalicelib.monitors.types import TYPES, needs_inputs
from chalicelib.pages.report import html_report
from chalicelib.records.attributes import Attributes, ProblemType
from chalicelib.records.batch_reader import Source
from chalicelib.records.capture import BadInput, CapturedRequest
from chalicelib.records.dataset import first_names
from chalicelib.records.files import kind_of
from chalicelib.records.ground_truth import Conflict
from chalicelib.records.joins import read_labels
from chalicelib.records.table import answer_names, to_table, widths_of
from chalicelib.records.times import iso
from chalicelib.states.scores import are_classes
from plumbline.cli.explaining import add_options as add_explaining
from plumbline.cli.explaining import explainer_of
from plumbline.cli.inputs.attribute_options import add_options, attributes_of, definition_of
from plumbline.cli.inputs.captures import Requests, is_laid_out, requests_of, transforms_of
from plumbline.cli.inputs.logged import as_captures
from plumbline.cli.inputs.naming import Naming
from plumbline.cli.inputs.places import File, beside, file_of, files_of
from plumbline.cli.inputs.preprocess import load_preprocessor
from plumbline.cli.rebuild import parse_time
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.output import folder_of, write_files
from plumbline.cli.terminal.progress import Progress
from plumbline.cli.terminal.usage import add_command

FOLDERS: dict[str, str] = {name: kind.folder for name, kind in TYPES.items()}
_TYPES = {folder: monitor_type for monitor_type, folder in FOLDERS.items()}
_NAMES = ("statistics.json", "constraints.json", "constraint_violations.json", "analysis.json", "evaluation.json")
_EVIDENCE = "evidence.json"
_PATHS = ("report.html", _EVIDENCE, *(f"{folder}/{name}" for folder in FOLDERS.values() for name in _NAMES))
VIOLATIONS_SHOWN = MOVED_SHOWN = 20
# What is told of a smaller probability.
LEAST_P = 1e-300
# Characters of a description; the rest is in the file.
TOLD = 400
_HOUR = timedelta(hours=1)


def read_all(files: Sequence[File], fold: CaptureFold, progress: Progress) -> tuple[Folded, Subject | None]:
    """Measure the requests of the files; merged records bring their labels, what manifests name comes last."""
    others: list[Requests] = []
    manifests: list[tuple[File, bytes]] = []
    for file in files:
        beginning, pieces = file.begun()
        kind = kind_of(beginning)
        if kind in ("capture", "empty", "unknown") and not is_laid_out(beginning):
            fold.read(Source(file.name, pieces, file.arrived))
        else:
            try:
                body = b"".join(pieces())
            except UnreadableError as error:
                others.append(Requests(bad=[BadInput(file.name, 0, error.reason)]))
                continue
            if kind == "manifest":
                manifests.append((file, body))
            else:
                _count(fold, requests_of(file, body), others)
        progress.advance(file.size)
    for part in transforms_of(manifests):
        _count(fold, part, others)
    folded, subject = fold.result()
    for part in others:
        folded.bad += part.bad
        folded.more_bad += part.more_bad
    return folded, subject


def _count(fold: CaptureFold, part: Requests, others: list[Requests]) -> None:
    fold.count(part.requests, {label.id: label for label in part.labels})
    others.append(Requests(bad=part.bad, more_bad=part.more_bad))


def read_baselines(folder: str) -> tuple[Baselines, dict[str, Document]]:
    """The baseline's files below a folder or prefix, as far as they are there, and the same by path.

    Raises MisconfiguredError when none is, UnreadableError for one that is damaged.
    """
    readers: dict[str, tuple[str, Callable[[bytes, str], Document]]] = {
        "data_quality_statistics": (baseline.DATA_STATISTICS, baseline.read_statistics),
        "data_quality_constraints": (baseline.DATA_CONSTRAINTS, baseline.read_constraints),
        "model_quality_constraints": (baseline.MODEL_CONSTRAINTS, baseline.read_model_constraints),
        "model_bias_constraints": (baseline.BIAS_CONSTRAINTS, baseline.read_analysis),
        "model_explainability_constraints": (baseline.EXPLAINABILITY_CONSTRAINTS, baseline.read_analysis),
    }
    found: dict[str, Any] = {}
    files: dict[str, Document] = {}
    for field, (path, read) in readers.items():
        if file := file_of(beside(folder, path), "--baseline"):
            found[field] = read(file.read(), file.name)
            files[path] = found[field]
    # Not needed for any check: the page shows what the live metrics are compared with.
    if file := file_of(beside(folder, baseline.MODEL_STATISTICS), "--baseline"):
        files[baseline.MODEL_STATISTICS] = baseline.read_model_statistics(file.read(), file.name)
    if not found:
        paths = ", ".join(path for path, _ in readers.values())
        raise MisconfiguredError("--baseline", folder, f"a folder with some of {paths} (`plumbline baseline` makes it)")
    return Baselines(**found, source=folder), files


def read_states(folder: str, files: Mapping[str, Document]) -> BaselineStates | None:
    """The baseline that evidence compares with: its measurement, else what Model Monitor's files say.

    Raises UnreadableError for a measurement that is damaged or of another release.
    """
    if file := file_of(beside(folder, MEASUREMENT), "--baseline"):
        try:
            return states_of_measurement(file.read())
        except UnreadableError as error:
            raise UnreadableError(file.name, error.reason) from None
    return states_of_files(files.get(baseline.DATA_STATISTICS), files.get(baseline.MODEL_STATISTICS))


def run(options: argparse.Namespace) -> tuple[str, int]:
    """The command: its output and its exit status: 0 all right, 3 not, 1 nothing could be evaluated."""
    if not options.json:
        return _run(options)
    # What a preprocessing script prints would stand before the document.
    with contextlib.redirect_stdout(sys.stderr):
        return _run(options)


def _run(options: argparse.Namespace) -> tuple[str, int]:
    inputs = {"--captures": options.captures, "--ground-truth": options.ground_truth}
    folder = folder_of(options.out, inputs, _PATHS, options.baseline)
    definition, given = definition_of(options), None
    if definition is None:
        given = attributes_of(options)
    since = parse_time(options.start, "--start") if options.start else None
    until = parse_time(options.end, "--end") if options.end else None
    if since and until and since >= until:
        raise MisconfiguredError("--end", options.end, f"a time after --start {options.start}")
    preprocess = load_preprocessor(options.preprocess) if options.preprocess else None
    explainer = explainer_of(options, definition)
    baselines, baseline_files = read_baselines(options.baseline)
    states = read_states(options.baseline, baseline_files)
    assumed = ""
    if options.ground_truth and not (definition or given):
        given, assumed = _of_baseline(baselines)
        if given is None:
            expected = "--problem-type or --monitor FILE beside it; the baseline says nothing of model quality"
            raise MisconfiguredError("--ground-truth", options.ground_truth, expected)
    if explainer and baselines.data_quality_statistics is None:
        raise MisconfiguredError("--baseline", options.baseline, f"{baseline.DATA_STATISTICS}, for --explain-with")
    captures = as_captures(files_of(options.captures, "--captures"))
    endpoint, variant = _source(captures, definition)
    label_files = files_of(options.ground_truth, "--ground-truth") if options.ground_truth else []
    wanted: Sequence[str] = ("DataQuality", *(["ModelQuality"] if given else []))
    if definition:
        wanted = definition.monitor_types
    if "ModelQuality" in wanted:
        _refuse_another_problem(options.baseline, baselines, definition.attributes if definition else given)

    if states:
        states = asked_by(states, wanted)
    declared = definition.attributes if definition else given or Attributes()
    examples: list[CapturedRequest] = []

    def subject_of(requests: Sequence[CapturedRequest]) -> Subject:
        examples.extend(requests)
        return Subject(
            attributes=naming.named(declared, requests, preprocess is not None),
            inputs=needs_inputs(wanted, declared.features),
            bias=definition.bias if definition else None,
            attribution=definition.attribution if definition else None,
        )

    naming = Naming(baselines, options.baseline)
    if preprocess:
        preprocess = naming.by_position(preprocess, declared)
    conflict = definition.labels.conflict if definition else "latest"
    with Progress("reading", sum(file.size for file in (*captures, *label_files))) as progress:
        sources = [Source(file.name, file.pieces, file.arrived) for file in label_files]
        sizes = {file.name: file.size for file in label_files}
        labels = read_labels(sources, conflict, lambda source: progress.advance(sizes[source.name]))
        label_count, labels_read = len(labels), (labels.repeated, labels.conflicting, labels.rejected)
        bad_labels, more_bad_labels = labels.bad, labels.more_bad
        watch = explainer.chosen.add if explainer else None
        join = LabelJoin(labels)
        fold = CaptureFold(subject_of, join.take, since, until, declared, preprocess, labels.by_id, watch)
        captured, subject = read_all(captures, fold, progress)
        # The measurement takes the memory of the labels.
        del labels, fold
        captured.measured += join.finish()
    if subject is None or captured.times is None:
        earlier = [file.name for path in _PATHS if (file := file_of(str(folder / path), "--out"))]
        text = _nothing(options.captures, captured, since, until)
        if earlier:
            text += f"\nwhat is in {folder} is of an earlier evaluation: {', '.join(earlier)}"
        if not options.json:
            return text, 1
        print(text, file=sys.stderr)
        return _nothing_json(captured, earlier), 1
    told = ""
    if explainer and baselines.data_quality_statistics:
        explained, told = explainer.explain(baselines.data_quality_statistics)
        captured.measured = with_attributions(captured.measured, explained)
    first, last = captured.times
    start = since or first.replace(minute=0, second=0, microsecond=0)
    end = until or last.replace(minute=0, second=0, microsecond=0) + _HOUR
    asked = Asked(
        monitor_types=wanted,
        subject=subject,
        baselines=baselines,
        end=end,
        looked_for=f"captures in {options.captures}",
        label_objects=len(label_files),
    )
    reports = report(captured.measured, asked)
    scope = Scope(
        monitor=definition.name if definition else endpoint or Path(options.captures).name,
        endpoint=endpoint,
        variant=variant,
        start=iso(start),
        end=iso(end),
        baseline=options.baseline,
    )
    read = Read(
        capture_files=len(captures),
        requests=captured.requests,
        label_objects=len(label_files),
        labels_repeated=labels_read[0],
        labels_conflicting=labels_read[1],
        labels_rejected=labels_read[2],
        bad=[*captured.bad, *(BadInput(name, line.line, line.reason) for name, line in bad_labels)],
        more_bad=captured.more_bad + more_bad_labels,
        elsewhere=captured.elsewhere,
    )
    broken = [*_unreadable(captured, len(captures)), *broken_parts(_used(captured.measured, declared), baselines)]
    notes = [
        *([assumed] if assumed else []),
        *naming.notes,
        *_notes(captured.measured, label_count, subject.attributes, examples, naming.missing),
    ]
    not_asked = _not_asked(states, captured.measured, baselines) if "DataQuality" in wanted else []
    found = _with_thresholds(assess_alone(states, captured.measured), reports, not_asked)
    if not_asked:
        notes.append(f"no evidence about {', '.join(not_asked)}: the baseline does not say how its values lie")
    documents = _documents(reports, scope, read, captured.measured, broken, notes, baseline_files, definition, found)
    written = write_files(folder, documents, _PATHS)
    status = _status(reports, len(label_files), broken, found, options.exit_on)
    if options.json:
        return _json(scope, read, captured, reports, broken, notes, written, found), status
    text = _text(scope, read, captured, conflict, reports, broken, notes, written, found, states, not_asked)
    return f"{told}\n{text}" if told else text, status


def _documents(
    reports: Reports,
    scope: Scope,
    read: Read,
    measured: Measurement,
    broken: Sequence[str],
    notes: Sequence[str],
    baseline_files: Mapping[str, Document],
    definition: Definition | None,
    found: Assessment,
) -> dict[str, bytes]:
    """Every file by its path."""
    policy = definition.policy if definition else Policy()
    coverage = measured.labelled / measured.answered if measured.answered else 0.0
    labelled = Labelled(
        rows=measured.labelled,
        coverage=coverage,
        settled=measured.labelled >= policy.min_labelled_rows and coverage >= policy.min_label_coverage,
        loss=_loss(reports),
        segments=(),
    )
    documents = {}
    for monitor_type, (state, reason) in reports.states.items():
        folder = FOLDERS[monitor_type]
        for name, body in reports.documents[monitor_type].items():
            documents[f"{folder}/{name}"] = body
        own = own_findings(scope, read, measured, labelled, broken, monitor_type, state, reason, notes)
        documents[f"{folder}/evaluation.json"] = encode_json(own)
    documents["report.html"] = _page(documents, baseline_files, found)
    documents[_EVIDENCE] = encode_json(msgspec.to_builtins(found))
    return documents


def _page(documents: Mapping[str, bytes], baseline_files: Mapping[str, Document], found: Assessment) -> bytes:
    """What was written, for people."""
    decoded: dict[str, dict[str, Document]] = {}
    for path, body in documents.items():
        folder, _, name = path.partition("/")
        decoded.setdefault(_TYPES[folder], {})[name] = msgspec.json.decode(body)
    return html_report(decoded, baseline_files, found)


def _loss(reports: Reports) -> float | None:
    """The share of wrong answers, or a regression's mean absolute error, from the file that says it."""
    body = reports.documents.get("ModelQuality", {}).get("statistics.json")
    if body is None:
        return None
    [metrics] = [value for key, value in msgspec.json.decode(body).items() if key.endswith("_metrics")]
    return float(metrics["mae"]["value"] if "mae" in metrics else 1.0 - metrics["accuracy"]["value"])


def _source(files: Sequence[File], definition: Definition | None) -> tuple[str, str]:
    """Endpoint and variant: of the definition, else as the captures' paths have them (…/{endpoint}/{variant}/YYYY/…).

    Raises MisconfiguredError for captures of several: their mixture is nobody's.
    """
    found = set()
    for file in files:
        hourly = keys.parse_hourly(file.name.removeprefix("s3://").lstrip("/"))
        parts = hourly.prefix.split("/")[-2:] if hourly else []
        if len(parts) == 2 and parts[1] not in ("input", "output"):
            found.add((parts[0], parts[1]))
    if len(found) > 1:
        several = ", ".join("/".join(each) for each in sorted(found)[:5])
        raise MisconfiguredError("--captures", several, "captures of one endpoint and variant; name its folder")
    if definition:
        return definition.endpoint, definition.variant
    return found.pop() if found else ("", "")


def _of_baseline(baselines: Baselines) -> tuple[Attributes | None, str]:
    """The problem type that a baseline has, where none is given, with the first value of an answer as the answer; and
    how to say so. None where the baseline has no model quality."""
    found = [name for name in baselines.model_quality_constraints or {} if name.endswith("_constraints")]
    if len(found) != 1:
        return None, ""
    kinds: dict[str, ProblemType] = {
        "binary_classification": "BinaryClassification",
        "multiclass_classification": "MulticlassClassification",
        "regression": "Regression",
    }
    problem_type = kinds[found[0].removesuffix("_constraints")]
    # A class 0 or 1 is read as a probability, too.
    field = "probability_attribute" if problem_type == "BinaryClassification" else "inference_attribute"
    told = f"--problem-type {problem_type} is the baseline's; the first value of an answer is taken as it"
    told += f" (--{field.replace('_', '-')} 0)"
    return Attributes(problem_type=problem_type, **{field: "0"}), told


def _refuse_another_problem(folder: str, baselines: Baselines, attributes: Attributes | None) -> None:
    """Thresholds of another problem type say nothing; which file has them is known here."""
    constraints = baselines.model_quality_constraints
    if constraints is None or attributes is None:
        return
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", attributes.problem_type).lower()
    if constraints.get(f"{kind}_constraints") is None:
        found = ", ".join(sorted(name for name in constraints if name.endswith("_constraints")))
        expected = f"a baseline of {attributes.problem_type}; {baseline.MODEL_CONSTRAINTS} in it has {found}"
        raise MisconfiguredError("--baseline", folder, expected)


def _unreadable(captured: Folded, files: int) -> list[str]:
    """Capture files and lines that cannot be read, where they are so many that the others say little.

    Nobody knows how many lines a file has that cannot be read at all: files are judged among files.
    """
    refused = sum(not each.line for each in captured.bad)
    lines = len(captured.bad) - refused + captured.more_bad
    requests = captured.requests + captured.outside + captured.elsewhere + captured.measured.repeated
    parts = (("capture files", refused, files), ("lines of captures", lines, requests + lines))
    many = [(what, bad / every) for what, bad, every in parts if bad > BROKEN_SHARE * every]
    return [f"{share:.0%} of the {what} cannot be read" for what, share in many]


def _used(measured: Measurement, attributes: Attributes) -> Measurement:
    """Without what is wrong with answers, where nobody said what an answer is: then none is used."""
    if attributes.inference_attribute or attributes.probability_attribute:
        return measured
    return msgspec.structs.replace(
        measured, bad=tuple(each for each in measured.bad if not each[0].startswith("output: "))
    )


def _notes(
    measured: Measurement, labels: int, attributes: Attributes, requests: Sequence[CapturedRequest], missing: str | None
) -> list[str]:
    """What whoever reads the output would look for next; `requests` are some of those that were read, `missing`
    the column that was found to be missing in some."""
    lines, request = [], requests[0]
    refused = any(reason.startswith(("label ", "expected ")) for reason in measured.bad_records)
    if labels and measured.answered and not measured.labelled and not refused:
        lines.append(f"none of the {labels:,} labels has the id of a request: its inferenceId, else its eventId")
    wanted = {"--inference-attribute": attributes.inference_attribute}
    wanted["--probability-attribute"] = attributes.probability_attribute
    known = answer_names(request)
    if measured.rows and not measured.answered and known:
        # An expression is more than a key: what it finds is not known by its text.
        lines += [
            f"{option} {name}: an answer has no such value; it has {first_names(known)}"
            for option, name in wanted.items()
            if name and name not in known and name.replace("_", "").isalnum()
        ]
    if measured.rows and not measured.answered and attributes.problem_type == "BinaryClassification":
        several = msgspec.structs.replace(attributes, problem_type="MulticlassClassification", positive_class=None)
        if classes := to_table(requests, {}, several).classes:
            lines.append(f"answers are such as {first_names(classes)}: --positive-class says which one is 1")
    if attributes.probability_attribute is not None and are_classes(measured.tally):
        lines.append("every probability is 0 or 1: is it the class? auc and the curves say little then")
    asked, answered = widths_of(request, Attributes(features_attribute=attributes.features_attribute))
    names = (*attributes.output_names, *attributes.features)
    if measured.rows and not measured.whole and asked and names and missing is None:
        told = f"the baseline or definition has {len(names)} columns ({first_names(names)})"
        told += f"; a request has {asked} values, its answer {answered or 'no list'}"
        lines.append(f"{told}: they fit neither the first nor both, another baseline is needed")
    return lines


def _not_asked(states: BaselineStates | None, measured: Measurement, baselines: Baselines) -> list[str]:
    """Columns that both sides have, and that evidence could not compare."""
    described = [str(each["name"]) for each in (baselines.data_quality_statistics or {}).get("features", [])]
    profile = measured.profile
    return [name for name in described if profile.column(name) and states and not states.profile.column(name)]


def _with_thresholds(found: Assessment, reports: Reports, not_asked: Sequence[str]) -> Assessment:
    """Where evidence could not compare a column, Model Monitor's thresholds decide about it."""
    named = [each.rpartition(": ")[0] for each in reports.violations.get("DataQuality", ())]
    violated = [name for name in not_asked if name in named]
    if found.real or not violated:
        return found
    names = ", ".join(f"`{name}`" for name in violated)
    headline = f"Drift: {names} violates Model Monitor's thresholds; there is no evidence to compare it by."
    return msgspec.structs.replace(found, level="drift", headline=headline)


def _status(reports: Reports, label_files: int, broken: Sequence[str], found: Assessment, exit_on: str) -> int:
    """0 all right, 3 not, 1 when data is broken or what was asked for, with labels at hand, was not evaluated.

    Where the baseline has nothing that evidence could compare with, Model Monitor's violations decide.
    """
    if found.real and exit_on == "evidence":
        return 3
    if any(reports.violations.values()) and (exit_on == "violations" or found.level == "unknown"):
        return 3
    if broken:
        return 1
    missing = {name for name, (state, _) in reports.states.items() if state == "NOT_EVALUATED"}
    unlabelled = {name for name in missing if name in ("ModelQuality", "ModelBias") and not label_files}
    # What has files was measured, and only the baseline to compare it with is missing.
    without_baseline = {name for name in missing if reports.documents[name]}
    # Attributions are there or not: that the model returns none is known when it is built.
    left = missing - unlabelled - without_baseline - {"ModelExplainability"}
    return 1 if left or missing == set(reports.states) else 0


def _nothing(place: str, captured: Folded, since: datetime | None, until: datetime | None) -> str:
    lines = [f"nothing to evaluate: no captured request in {place}"]
    if captured.outer:
        first, last = map(iso, captured.outer)
        lines[0] += f" from {iso(since) if since else 'the beginning'} to {iso(until) if until else 'the end'}"
        lines.append(f"{captured.outside:,} requests are outside of that time: from {first} to {last}")
    return "\n".join([*lines, *_elsewhere(captured), *_bad(captured.bad, captured.more_bad)])


def _nothing_json(captured: Folded, earlier: Sequence[str]) -> str:
    """As far as there is something to say, in the fields of the verdict; `earlier`: files of an earlier evaluation."""
    document = {
        "requests": 0,
        "requests_outside": captured.outside,
        "requests_elsewhere": captured.elsewhere,
        "unreadable": len(captured.bad) + captured.more_bad,
        "monitors": {},
        "files": [],
        "earlier_files": list(earlier),
    }
    return json.dumps(document, indent=2)


def _elsewhere(captured: Folded) -> list[str]:
    if not captured.elsewhere:
        return []
    return [f"{captured.elsewhere:,} requests were answered by another model or inference component"]


def _bad(bad: Sequence[BadInput], more: int) -> list[str]:
    if not bad:
        return []
    lines = [f"  {each.key}{f' line {each.line}' if each.line else ''}: {each.reason}" for each in bad[:5]]
    return [f"{len(bad) + more:,} lines or files cannot be read:", *lines, *(["  …"] if len(bad) > 5 else [])]


def _text(
    scope: Scope,
    read: Read,
    captured: Folded,
    conflict: Conflict,
    reports: Reports,
    broken: Sequence[str],
    notes: Sequence[str],
    written: Sequence[str],
    found: Assessment,
    states: BaselineStates | None,
    not_asked: Sequence[str],
) -> str:
    measured = captured.measured
    outside = f", {captured.outside:,} outside of the time asked for" if captured.outside else ""
    more = outside + (f", {measured.repeated:,} repeated" if measured.repeated else "")
    share = measured.labelled / measured.answered if measured.answered else 0.0
    lines = [
        *[f"Broken data: {reason}." for reason in broken],
        found.headline,
        *[f"  {each}" for each in found.why[:1]],
        "",
        f"{scope.monitor}: {scope.start} to {scope.end}",
        f"captures      {read.capture_files:,} files, {read.requests:,} requests, {measured.rows:,} rows{more}",
        f"ground truth  {read.label_objects:,} files, {measured.labelled:,} rows labelled ({share:.1%})",
        *_bad(read.bad, read.more_bad),
    ]
    if read.labels_conflicting:
        counts = "none" if conflict == "reject" else f"the {conflict}"
        lines.append(f"{read.labels_conflicting:,} ids have different labels in the label files; {counts} counts")
    lines += _elsewhere(captured)
    for records in (measured.bad_records, measured.noted_records):
        lines += [f"{each.count:,} rows: {reason}" for reason, each in records.items()]
    lines += notes
    lines.append("")
    rows = [("MONITOR", "STATUS", "VIOLATIONS", "WHY")]
    for monitor_type, (state, reason) in reports.states.items():
        count = str(len(reports.violations[monitor_type])) if state == "EVALUATED" else "-"
        rows.append((FOLDERS[monitor_type], state.lower().replace("_", " "), count, reason))
    lines += aligned(rows)
    moved = [
        (f"`{each.column}`" if each.column else "the error", f"{each.what}{_new_values(each.column, states, measured)}")
        for each in (*found.loss, *found.columns)
    ]
    if moved:
        more = [f"  … and {len(moved) - MOVED_SHOWN:,} more in {_EVIDENCE}"] if len(moved) > MOVED_SHOWN else []
        lines += ["", "moved beyond chance, worst first:", *aligned(moved[:MOVED_SHOWN], "  "), *more]
    for monitor_type, folder in FOLDERS.items():
        if reports.violations.get(monitor_type):
            body = reports.documents[monitor_type]["constraint_violations.json"]
            lines += [
                "",
                f"Model Monitor's violations of {folder}:",
                *_violations(body, monitor_type, found, not_asked),
            ]
    return "\n".join([*lines, "", *written])


def _violations(body: bytes, monitor_type: str, evidence: Assessment, not_asked: Sequence[str]) -> list[str]:
    """The first violations of a file, one line each: of what, which check, how far off; what moved beyond chance comes
    first, worst first."""
    moved = {each.column: each for each in (evidence.columns if monitor_type == "DataQuality" else evidence.loss)}

    def evidence_of(each: Mapping[str, Any]) -> Moved | None:
        return moved.get(str(each.get("feature_name", "")) if monitor_type == "DataQuality" else "")

    judged = monitor_type in ("DataQuality", "ModelQuality")
    found = msgspec.json.decode(body)["violations"]
    found.sort(key=lambda each: seen.p if (seen := evidence_of(each)) else 2.0)
    rows = []
    for each in found[:VIOLATIONS_SHOWN]:
        facet = f" of {each['facet']} in {each['facet_value']}" if "facet" in each else ""
        name = f"{each.get('feature_name') or each.get('metric_name') or each.get('label')}{facet}"
        told = shortened(str(each["description"]).strip())
        seen = evidence_of(each)
        noise = "no evidence" if name in not_asked else "within chance"
        if each["constraint_check_type"] in ("missing_column_check", "extra_column_check"):
            noise = "layout"
        elif seen:
            noise = f"moved (p {max(seen.p, LEAST_P):.0e})"
        row = (name, each["constraint_check_type"], *([noise] if judged else []))
        rows.append((*row, told[:TOLD] + ("…" if len(told) > TOLD else "")))
    more = len(found) - len(rows)
    return [*aligned(rows, "  "), *([f"  … and {more:,} more in constraint_violations.json"] if more else [])]


def _new_values(name: str, states: BaselineStates | None, measured: Measurement) -> str:
    """The values of a column that its baseline never had, the most frequent first; of whole numbers, whether all are
    beyond the baseline's, as those of an id or a time are."""
    before = states.profile.column(name) if states else None
    now = measured.profile.column(name)
    if not before or not now:
        return ""
    least, greatest = now.moments.least, before.moments.greatest
    if before.inferred_type == "Integral" and least is not None and greatest is not None and least > greatest:
        return "; all are above the baseline's: an id or a time?"
    if not before.categories.counts or before.categories.more:
        return ""
    known = {value for value, _ in before.categories.counts}
    new = sorted((-count, value) for value, count in now.categories.counts if value not in known)
    return "; new: " + first_names(f'"{value}"' for _, value in new) if new else ""


def _json(
    scope: Scope,
    read: Read,
    captured: Folded,
    reports: Reports,
    broken: Sequence[str],
    notes: Sequence[str],
    written: Sequence[str],
    found: Assessment,
) -> str:
    document = {
        "monitor": scope.monitor,
        "window": {"start": scope.start, "end": scope.end},
        "requests": read.requests,
        "requests_outside": captured.outside,
        "requests_elsewhere": captured.elsewhere,
        "rows": captured.measured.rows,
        "labelled_rows": captured.measured.labelled,
        "repeated_requests": captured.measured.repeated,
        "labels_conflicting": read.labels_conflicting,
        "unreadable": len(read.bad) + read.more_bad,
        "bad_records": {reason: each.count for reason, each in captured.measured.bad_records.items()},
        "noted_records": {reason: each.count for reason, each in captured.measured.noted_records.items()},
        "broken": list(broken),
        "notes": list(notes),
        "evidence": msgspec.to_builtins(found),
        "monitors": {
            FOLDERS[monitor_type]: {
                "status": state,
                "reason": reason,
                "violations": reports.violations[monitor_type],
            }
            for monitor_type, (state, reason) in reports.states.items()
        },
        "files": list(written),
    }
    return json.dumps(document, indent=2)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline evaluate` and its arguments."""
    parser = add_command(
        commands,
        "evaluate",
        "evaluate captures against a baseline, here and now",
        "Writes SageMaker's files of each monitor type, evaluation.json and report.html. Local files need no account.",
        "evaluate --captures captures/churn --ground-truth labels --baseline baseline --out report \\\n"
        "      --problem-type BinaryClassification --probability-attribute 0",
        zero="all right",
        one="broken data, or nothing (of what was asked for) could be evaluated; AWS did not answer",
        three="the answers are worse than the baseline, or columns moved, beyond chance",
    )
    parser.add_argument(
        "--captures",
        required=True,
        metavar="PATH",
        help="captures of one endpoint and variant, merged records, output of a batch transform or manifests of its "
        "capture, or what KServe and Azure ML logged: a file, a folder or s3://…",
    )
    parser.add_argument(
        "--ground-truth",
        metavar="PATH",
        help="labels, JSON Lines as Model Monitor reads them: a file, a folder or s3://…; default: none",
    )
    parser.add_argument("--baseline", required=True, metavar="DIR", help="what `plumbline baseline` wrote, or s3://…")
    parser.add_argument(
        "--preprocess", type=Path, metavar="FILE.py", help="a script with Model Monitor's preprocess_handler"
    )
    parser.add_argument(
        "--start",
        metavar="T",
        help="only requests at or after this: 2026-01-05 or 2026-01-05T18:00Z; UTC unless it says else",
    )
    parser.add_argument("--end", metavar="T", help="and before this; default of both: all requests")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder that files are written to")
    add_options(parser, "0-based CSV index or JMESPath", "JMESPath into JSON labels; default: the usual places")
    add_explaining(parser)
    parser.add_argument(
        "--exit-on",
        choices=("evidence", "violations"),
        default="evidence",
        help="what status 3 says: evidence beyond chance (default), or any violation of Model Monitor's thresholds",
    )
    parser.add_argument("--json", action="store_true", help="the verdict as JSON")
    parser.set_defaults(run=run)
