"""Gathering a window's inputs: its captures, its labels, its baseline. Not an event source: window_due's first third.

Inputs are what the stored segment names plus what a listing finds now: a lost event loses nothing, and a file that a
lifecycle rule has deleted since stays counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from chalicelib import keys
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import ConflictError, NotFoundError, UnreadableError
from chalicelib.evaluation.evaluate import Baselines, Document, Task
from chalicelib.evaluation.window_parts import Span
from chalicelib.events import object_created_body
from chalicelib.facts import champions, deployments, forgotten, labels
from chalicelib.monitors import baseline
from chalicelib.monitors.baseline import read_analysis, read_constraints, read_model_constraints, read_statistics
from chalicelib.monitors.types import LABELLED_TYPES
from chalicelib.records.forgetting import Gone, without_records
from chalicelib.records.ground_truth import Label
from chalicelib.records.located import JoinIds, locate_labels, locate_requests
from chalicelib.records.segment import (
    Inputs,
    Segment,
    SegmentFile,
    lost_inputs,
    segment_from_bytes,
    with_files,
    with_labels,
)
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.label_batches import awaiting_of, claimed
from chalicelib.workflows.label_containers import named_sources, read_sources
from chalicelib.workflows.landed_objects import too_large


class Gathered(msgspec.Struct, frozen=True):
    """A window's inputs as a task, and the KMS key that everything made from them inherits.

    `champion`: who reigned when the baseline was chosen.
    """

    task: Task
    segment: Segment
    kms_key_id: str | None
    champion: champions.Champion | None


class Anew(msgspec.Struct, frozen=True):
    """How to gather without the stored segment: `named` are the inputs that it was made of and that must all be there
    again; `only`: the window is sealed, nothing else counts."""

    named: Inputs
    only: bool


def gather(
    services: Services,
    definition: Definition,
    window: Window,
    known: str,
    anew: Anew | None = None,
    sealed: bool = False,
) -> Gathered:
    """Fold what is new into the window's segment, store it, and lay the inputs out as a task.

    `known` is the digest of the segment that the last evaluation stood on, "" before the first; with `anew` it is not
    read, and what is stored under the same names is written over, for it may be damaged. Of a `sealed` window only
    labels count that came before the seal and have not been read yet. Raises ConflictError when the segment, or an
    input named by `anew`, went away meanwhile.

    The ids of the window are written before unmatched labels are looked for (facts/labels.py says why).
    """
    bucket = services.settings.bucket
    write = services.objects.put if anew else services.objects.put_if_absent
    gone = Gone(forgotten.fingerprints(services.ledger, definition.name))
    segment, kms_key_id = Segment(), None
    if known and not anew:
        key = keys.segment_key(definition.name, window, known)
        try:
            stored = services.objects.get(bucket, key)
        except NotFoundError:
            raise ConflictError(f"{key}: replaced by another worker") from None
        segment, kms_key_id = segment_from_bytes(stored.body, key), stored.kms_key_id
    files, found_key = ([], None) if sealed else _new_captures(services, definition, window, segment)
    if anew and anew.only:
        files = [file for file in files if file.key in anew.named.captures]
    kms_key_id = kms_key_id or found_key
    grown = without_records(with_files(segment, files), gone).segment
    requests, ids = locate_requests(grown, window, definition.attributes)
    if files and ids:
        hashes = ids.to_bytes()
        write(
            bucket,
            keys.ids_key(definition.name, window, hashlib.sha256(hashes).hexdigest()),
            hashes,
            content_type="application/octet-stream",
            kms_key_id=kms_key_id,
        )
    if set(LABELLED_TYPES) & set(definition.monitor_types):
        # New requests may be what the labels of objects read long ago were waiting for.
        read = set() if files else set(grown.label_sources)
        news = bool(files) or not known
        new_labels, sources = _new_labels(services, definition, window, read, ids, anew, news)
        grown = with_labels(grown, [label for label in new_labels if not gone.holds(label.id)], sources)
        del new_labels
    del ids
    if anew and lost_inputs(anew.named, grown.inputs):
        raise ConflictError(f"{definition.name} {window.name}: inputs went away while they were gathered anew")
    if grown.digest != known or anew:
        write(
            bucket,
            keys.segment_key(definition.name, window, grown.digest),
            grown.to_bytes(),
            content_type="application/msgpack",
            kms_key_id=kms_key_id,
        )
    champion = champions.load_champion(services.ledger, definition.name)
    task = Task(
        monitor=definition.name,
        endpoint=definition.endpoint,
        variant=definition.variant,
        window=window,
        monitor_types=definition.monitor_types,
        attributes=definition.attributes,
        requests=requests,
        labels=locate_labels(grown, window, definition.labels.conflict),
        capture_files=len(grown.files),
        label_objects=len({uri for uri, _ in grown.label_sources}),
        baselines=baselines(services, definition, champion, window),
        bias=definition.bias,
        attribution=definition.attribution,
        deployments=_spans(services, definition, window),
        min_labelled_rows=definition.policy.min_labelled_rows,
        min_label_coverage=definition.policy.min_label_coverage,
        sample_rows=definition.policy.sample_rows,
    )
    return Gathered(task, grown, kms_key_id, champion)


def sweep_labels(services: Services, definition: Definition, window: Window) -> None:
    """Label objects of the window's arrival hours whose event was lost are put on the queue as S3 would have done."""
    bucket, prefix = split_s3_uri(definition.ground_truth_s3_uri)
    for hour in window.hours():
        folder = keys.join(prefix, hour)
        known = labels.landed(services.ledger, bucket, folder)
        lost = [each for each in services.objects.list(bucket, f"{folder}/") if (each.key, each.etag) not in known]
        bodies = [object_created_body(bucket, each.key, each.etag, each.size, each.last_modified) for each in lost]
        services.queues.send("ground-truth", bodies)


def _new_captures(
    services: Services, definition: Definition, window: Window, segment: Segment
) -> tuple[list[SegmentFile], str | None]:
    """Capture files of the window's hours that the segment does not hold yet."""
    bucket, destination = split_s3_uri(definition.capture_s3_uri)
    prefix = keys.capture_prefix(destination, definition.endpoint, definition.variant)
    manifest = segment.manifest
    files, kms_key_id = [], None
    for hour in window.hours():
        for each in services.objects.list(bucket, f"{prefix}/{hour}/"):
            if manifest.get(each.key) == each.etag:
                continue
            if refused := too_large(each.size):
                files.append(SegmentFile(each.key, each.etag, b"", refused))
                continue
            try:
                stored = services.objects.get(bucket, each.key)
            except NotFoundError:
                continue  # expired between the listing and now
            files.append(SegmentFile(each.key, stored.etag, stored.body))
            kms_key_id = stored.kms_key_id
    return files, kms_key_id


def _new_labels(
    services: Services,
    definition: Definition,
    window: Window,
    read: set[tuple[str, str]],
    ids: JoinIds,
    anew: Anew | None,
    news: bool,
) -> tuple[list[Label], list[tuple[str, str]]]:
    """Labels of these ids in the objects known to touch the window, and in those that had unknown ids when they landed.

    The second only where there is `news` of captures: an object that landed after the window's ids were written was
    looked up among them. Labels that name the window and are of no request of it are to be looked up in the others.

    The objects themselves, with their ETags, are named when they touch the window: whether that was known before the
    window was evaluated or is seen only now makes no difference. What is named by `anew` touches it, also where the
    table has forgotten that.
    """
    touching = named_sources(anew.named.labels) if anew else []
    waiting: list[labels.Source] = []
    if not (anew and anew.only):
        touching += labels.sources(services.ledger, definition.name, window.name)
        if news or anew:
            waiting = labels.unmatched(services.ledger, definition.name, window.name)
    found: list[Label] = []
    sources: list[tuple[str, str]] = []
    named = sorted({*touching, *waiting}, key=lambda source: (source.key, source.etag))
    unread = [source for source in named if (keys.s3_uri(source.bucket, source.key), source.etag) not in read]
    for content in read_sources(services, definition, unread):
        source = content.source
        ours = [label for label in content.labels if label.id in ids]
        if not (anew and anew.only):
            others = [each for each in content.labels if each.id not in ids]
            _look_for_astray(services, definition, window, source, others, content.arrived)
        found.extend(ours)
        if ours or source in touching:
            sources.append((keys.s3_uri(source.bucket, source.key), content.etag))
    return found, sources


def _look_for_astray(
    services: Services,
    definition: Definition,
    window: Window,
    source: labels.Source,
    others: Sequence[Label],
    arrived: datetime,
) -> None:
    """Labels whose time is that of the window and whose ids are not in it may be of another one: by a wrong clock, or
    with the time of something else."""
    astray = [each for each in others if claimed(definition, each, arrived) == window]
    if astray:
        expires_at = services.now() + definition.horizon
        labels.add_unmatched(services.ledger, definition.name, source, expires_at)
        labels.add_awaiting(services.ledger, definition.name, awaiting_of(source, astray, arrived), expires_at)


def _spans(services: Services, definition: Definition, window: Window) -> Sequence[Span]:
    """The part of the endpoint's timeline that can matter to the window."""
    timeline = deployments.timeline(services.ledger, definition.endpoint)
    return [
        Span(each.config_name, each.began, each.ended, each.sampling_percentage)
        for each in timeline
        if each.began < window.end
    ]


def baselines(
    services: Services, definition: Definition, champion: champions.Champion | None, window: Window
) -> Baselines:
    """The baseline of whoever served when the window began, not of whoever serves now: a restatement compares alike.

    Raises NotFoundError or UnreadableError for a baseline file that is named and is not there or is none.
    """
    folder = champion.reign_at(window.name).baseline if champion else ""
    if folder:
        return Baselines(
            data_quality_statistics=_document(services, f"{folder}/{baseline.DATA_STATISTICS}", read_statistics),
            data_quality_constraints=_document(services, f"{folder}/{baseline.DATA_CONSTRAINTS}", read_constraints),
            model_quality_constraints=_document(
                services, f"{folder}/{baseline.MODEL_CONSTRAINTS}", read_model_constraints
            ),
            model_bias_constraints=_own_analysis(services, definition.bias, f"{folder}/{baseline.BIAS_CONSTRAINTS}"),
            model_explainability_constraints=_own_analysis(
                services, definition.attribution, f"{folder}/{baseline.EXPLAINABILITY_CONSTRAINTS}"
            ),
            source=folder,
        )
    given = definition.baseline
    return Baselines(
        data_quality_statistics=_document(services, given.data_quality_statistics, read_statistics),
        data_quality_constraints=_document(services, given.data_quality_constraints, read_constraints),
        model_quality_constraints=_document(services, given.model_quality_constraints, read_model_constraints),
        model_bias_constraints=_document(services, given.model_bias_constraints, read_analysis),
        model_explainability_constraints=_document(services, given.model_explainability_constraints, read_analysis),
        source="definition",
    )


def _own_analysis(services: Services, section: object, uri: str) -> Document | None:
    """A part of a challenger's own baseline that its held-back rows may not have been enough for."""
    if section is None:
        return None
    try:
        return _document(services, uri, read_analysis)
    except NotFoundError:
        return None


def data_constraints(services: Services, definition: Definition, window: Window) -> Document | None:
    """The data-quality constraints in force in a window; None where none can be had, and its evaluation says why."""
    champion = champions.load_champion(services.ledger, definition.name)
    folder = champion.reign_at(window.name).baseline if champion else ""
    uri = f"{folder}/{baseline.DATA_CONSTRAINTS}" if folder else definition.baseline.data_quality_constraints
    try:
        return _document(services, uri, read_constraints)
    except (NotFoundError, UnreadableError):
        return None


def _document(services: Services, uri: str, read: Callable[[bytes, str], Document]) -> Document | None:
    return read(services.objects.get(*split_s3_uri(uri)).body, uri) if uri else None
