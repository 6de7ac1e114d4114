"""Gathering a window's inputs: its captures, its labels, its baseline. Not an event source: window_due's first third.

Inputs are what is stored of the window plus what a listing finds now: a lost event loses nothing, and a file that a
lifecycle rule has deleted since stays counted. Captures are read where there are new ones; labels touch only labels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import numpy as np

from chalicelib import keys
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import ConflictError, NotFoundError, UnreadableError
from chalicelib.evaluation.evaluate import Baselines, Document, Task
from chalicelib.evaluation.measurement import Subject
from chalicelib.evaluation.served import Span
from chalicelib.evaluation.stored_window import Inputs, KeptLabels, Measured, asked_of, digest_of, lost_inputs
from chalicelib.evaluation.window_reader import WindowReader
from chalicelib.events import object_created_body
from chalicelib.facts import champions, deployments, evaluations, forgotten
from chalicelib.facts import labels as labels_facts
from chalicelib.facts.evaluations import Evaluation
from chalicelib.monitors import baseline
from chalicelib.monitors.baseline import read_analysis, read_constraints, read_model_constraints, read_statistics
from chalicelib.monitors.types import needs_inputs
from chalicelib.ports import ObjectSummary
from chalicelib.records.attributes import Attributes
from chalicelib.records.batch_reader import Source, captures_in
from chalicelib.records.capture import BadLines
from chalicelib.records.cells import hashes_of
from chalicelib.records.forgetting import Gone
from chalicelib.records.ground_truth import Label
from chalicelib.records.id_hashes import hashes_to_bytes
from chalicelib.records.label_table import columns_of
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.label_batches import awaiting_of, claimed
from chalicelib.workflows.label_containers import named_sources, read_sources
from chalicelib.workflows.landed_objects import too_large

# How long after a window's end a file of the hour before it may still be written.
_STRAGGLERS = timedelta(hours=1)


class Gathered(msgspec.Struct, frozen=True, eq=False):
    """A window's inputs as a task, the digests of what is stored of them, and the KMS key that everything made from
    them inherits.

    `champion`: who reigned when the baseline was chosen.
    """

    task: Task
    measured: str
    labels: str
    label_sources: tuple[tuple[str, str], ...]
    kms_key_id: str | None
    champion: champions.Champion | None

    @property
    def inputs(self) -> Inputs:
        return Inputs(self.task.measured.manifest, self.label_sources)


class Anew(msgspec.Struct, frozen=True):
    """How to gather without what is stored: `named` are the inputs that it was made of and that must all be there
    again; `only`: the window is sealed, nothing else counts."""

    named: Inputs
    only: bool


def gather(
    services: Services,
    definition: Definition,
    window: Window,
    known: Evaluation | None,
    anew: Anew | None = None,
    sealed: bool = False,
) -> Gathered:
    """Measure the window's captures where there are new ones, add new labels, and lay both out as a task.

    `known` is the last evaluation; with `anew` what it stood on is not read, and what is stored under the same names is
    written over, for it may be damaged. Of a `sealed` window only labels count that came before the seal and have not
    been read yet. Raises ConflictError when what is stored, or an input named by `anew`, went away meanwhile.

    The ids of the window are written before unmatched labels are looked for (facts/labels.py says why).
    """
    gone = Gone(forgotten.fingerprints(services.ledger, definition.name))
    stored = _Stored(services, definition, window, anew is not None)
    if known and not anew:
        stored.load(known)
    measured, labels = stored.measured, stored.labels
    news = False
    if not sealed:
        measured, news = _measured(services, definition, window, stored, gone, anew)
    if news:
        joins = np.unique(np.concatenate([measured.answers.joins, measured.unread.joins]))
        if len(joins):
            body = hashes_to_bytes(joins)
            stored.write(keys.ids_key(definition.name, window, digest_of(body)), body, "application/octet-stream")
    if definition.reads_labels:
        out = withdrawn_objects(services, definition)
        labels = _without(services, definition, labels, out)
        # New requests may be what the labels of objects read long ago were waiting for.
        read = set() if news else set(labels.sources)
        found, sources = _new_labels(services, definition, window, read, measured, anew, news or known is None, out)
        columns = labels.columns
        for some in found:
            columns += columns_of([label for label in some if not gone.holds(label.id)] if gone else some)
        labels = KeptLabels(columns, tuple(sorted({*labels.sources, *sources})))
    inputs = Inputs(measured.manifest, labels.sources)
    if anew and lost_inputs(anew.named, inputs):
        raise ConflictError(f"{definition.name} {window.name}: inputs went away while they were gathered anew")
    names = stored.save(measured, labels)
    champion = champions.load_champion(services.ledger, definition.name)
    task = Task(
        monitor=definition.name,
        endpoint=definition.endpoint,
        variant=definition.variant,
        window=window,
        monitor_types=definition.monitor_types,
        subject=subject_of(definition),
        measured=measured,
        labels=labels.columns.resolved(definition.labels.conflict),
        label_objects=len({uri for uri, _ in labels.sources}),
        baselines=baselines(services, definition, champion, window),
        deployments=_spans(services, definition, window),
        min_labelled_rows=definition.policy.min_labelled_rows,
        min_label_coverage=definition.policy.min_label_coverage,
        sample_rows=definition.policy.sample_rows,
    )
    return Gathered(task, *names, labels.sources, stored.kms_key_id, champion)


class _Stored:
    """The two objects that are stored of a window, and the KMS key of its captures."""

    def __init__(self, services: Services, definition: Definition, window: Window, over: bool) -> None:
        self.measured, self.labels = Measured(), KeptLabels()
        self.kms_key_id: str | None = None
        self._services, self._name, self._window = services, definition.name, window
        self._bucket = services.settings.bucket
        self._put = services.objects.put if over else services.objects.put_if_absent
        self._before: dict[int, str] = {}

    def load(self, known: Evaluation) -> None:
        """Read what an evaluation stood on. Raises ConflictError where another worker has replaced it."""
        for key, read in (
            (keys.measured_key(self._name, self._window, known.measured), Measured.from_bytes),
            (keys.labels_key(self._name, self._window, known.labels), KeptLabels.from_bytes),
        ):
            try:
                found = self._services.objects.get(self._bucket, key)
            except NotFoundError:
                raise ConflictError(f"{key}: replaced by another worker") from None
            self.kms_key_id = self.kms_key_id or found.kms_key_id
            value = read(found.body, key)
            if isinstance(value, Measured):
                self.measured = value
                self._before[id(value)] = known.measured
            else:
                self.labels = value

    def save(self, measured: Measured, labels: KeptLabels) -> tuple[str, str]:
        """Store both, and return their digests. Captures that did not change are not written again."""
        digest = self._before.get(id(measured))
        if digest is None:
            body = measured.to_bytes()
            digest = digest_of(body)
            self.write(keys.measured_key(self._name, self._window, digest), body, "application/msgpack")
        body = labels.to_bytes()
        self.write(keys.labels_key(self._name, self._window, digest_of(body)), body, "application/msgpack")
        return digest, digest_of(body)

    def write(self, key: str, body: bytes, content_type: str) -> None:
        self._put(self._bucket, key, body, content_type=content_type, kms_key_id=self.kms_key_id)


def sweep_labels(services: Services, definition: Definition, window: Window) -> None:
    """Label objects of the window's arrival hours whose event was lost are put on the queue as S3 would have done."""
    bucket, prefix = split_s3_uri(definition.ground_truth_s3_uri)
    for hour in window.hours():
        folder = keys.join(prefix, hour)
        known = labels_facts.landed(services.ledger, bucket, folder)
        lost = [each for each in services.objects.list(bucket, f"{folder}/") if (each.key, each.etag) not in known]
        bodies = [object_created_body(bucket, each.key, each.etag, each.size, each.last_modified) for each in lost]
        services.queues.send("ground-truth", bodies)


def _measured(
    services: Services, definition: Definition, window: Window, stored: _Stored, gone: Gone, anew: Anew | None
) -> tuple[Measured, bool]:
    """The window as it is measured now, and whether anything of it is new.

    A request belongs to the window of its inference time, whatever folder its file is in.

    All files are read again, in the order of their keys. Files that are not there any more stay counted as they were
    measured, and what is new is added.
    """
    before, subject = stored.measured, subject_of(definition)
    bucket, destination = split_s3_uri(definition.capture_s3_uri)
    prefix = keys.capture_prefix(destination, definition.endpoint, definition.variant)
    there = [each for hour in window.hours() for each in services.objects.list(bucket, f"{prefix}/{hour}/")]
    neighbour = f"{prefix}/{window.hour_before()}/"
    there += _from_the_hour_before(services, definition, window, bucket, neighbour, before.manifest)
    if anew and anew.only:
        there = [each for each in there if each.key in anew.named.captures]
    manifest = before.manifest
    new = [each for each in there if manifest.get(each.key) != each.etag]
    if not new and before.asked == asked_of(subject):
        return before, False
    lost = manifest.keys() - {each.key for each in there}
    if lost and not new:
        return before, False
    base = None
    if lost:
        there, files = (
            new,
            tuple(msgspec.structs.replace(file, gone=file.gone or file.key in lost) for file in before.files),
        )
        base = msgspec.structs.replace(before, files=files)
    forgotten_ids = gone.holds if gone else None
    reader = WindowReader(subject, window, definition.policy.sample_rows, base, forgotten_ids)
    for each in sorted(there, key=lambda each: each.key):
        if (refused := too_large(each.size)) and not each.key.startswith(neighbour):
            reader.refuse(each.key, each.etag, refused)
            continue
        try:
            found = services.objects.get(bucket, each.key)
        except NotFoundError:
            if each.key in manifest:  # counted before: it is to be kept, and the others added
                raise ConflictError(f"{each.key}: deleted while its window was measured") from None
            continue  # expired between the listing and now
        stored.kms_key_id = stored.kms_key_id or found.kms_key_id
        reader.add(each.key, found.etag, found.body, not each.key.startswith(neighbour))
    return reader.finish(), True


def _from_the_hour_before(
    services: Services, definition: Definition, window: Window, bucket: str, prefix: str, manifest: Mapping[str, str]
) -> list[ObjectSummary]:
    """Files of the hour before that hold requests of the window: a file lies in the hour of its first record, and stays
    open for about a minute.

    Those that hold none are remembered, and not read again; what was written before the window began holds none. Once
    the window is long over and was measured, no such file is written any more, and none is looked for: a listing costs
    as much as a write.
    """
    name = definition.name
    if manifest and services.now() > window.end + _STRAGGLERS and not any(key.startswith(prefix) for key in manifest):
        return []
    listed = [each for each in services.objects.list(bucket, prefix) if each.last_modified >= window.start]
    if not listed:
        return []
    known = evaluations.beside(services.ledger, name, window.name)
    found, empty = [], {}
    for each in listed:
        if manifest.get(each.key) == each.etag:
            found.append(each)
        elif known.get(each.key) == each.etag or not _holds(services, window, bucket, each):
            empty[each.key] = each.etag
        else:
            found.append(each)
    if empty.items() - known.items():
        evaluations.note_beside(services.ledger, name, window.name, empty)
    return found


def _holds(services: Services, window: Window, bucket: str, file: ObjectSummary) -> bool:
    """Whether a file has a request of the window; one that cannot be read is its own hour's."""
    if too_large(file.size):
        return False
    try:
        body = services.objects.get(bucket, file.key).body
        source, bad = Source(file.key, lambda: [body]), BadLines(file.key, "a capture record")
        since, until = window.start.timestamp(), window.end.timestamp()
        return any(since <= time < until for some, _ in captures_in(source, bad, Attributes()) for time in some.times)
    except (NotFoundError, UnreadableError):
        return False


def subject_of(definition: Definition) -> Subject:
    """What a monitor measures."""
    attributes = definition.attributes
    return Subject(
        attributes=attributes,
        inputs=needs_inputs(definition.monitor_types, attributes.features),
        bias=definition.bias,
        attribution=definition.attribution,
    )


def _new_labels(
    services: Services,
    definition: Definition,
    window: Window,
    read: set[tuple[str, str]],
    measured: Measured,
    anew: Anew | None,
    news: bool,
    withdrawn: Collection[str],
) -> tuple[list[list[Label]], list[tuple[str, str]]]:
    """Labels of the window's requests in the objects known to touch it, and in those that had unknown ids when they
    landed.

    The second only where there is `news` of captures: an object that landed after the window's ids were written was
    looked up among them. Labels that name the window and are of no request of it are to be looked up in the others.

    The objects themselves, with their ETags, are named when they touch the window: whether that was known before the
    window was evaluated or is seen only now makes no difference. What is named by `anew` touches it, also where the
    table has forgotten that.
    """
    touching = named_sources(anew.named.labels) if anew else []
    waiting: list[labels_facts.Source] = []
    if not (anew and anew.only):
        touching += labels_facts.sources(services.ledger, definition.name, window.name)
        if news or anew:
            waiting = labels_facts.unmatched(services.ledger, definition.name, window.name)
    found: list[list[Label]] = []
    sources: list[tuple[str, str]] = []
    named = sorted({*touching, *waiting}, key=lambda source: (source.key, source.etag))
    uris = {source: keys.s3_uri(source.bucket, source.key) for source in named}
    unread = [source for source, uri in uris.items() if (uri, source.etag) not in read and uri not in withdrawn]
    joins = np.concatenate([measured.answers.joins, measured.unread.joins])
    for content in read_sources(services, definition, unread):
        source = content.source
        is_ours = np.isin(hashes_of([label.id for label in content.labels]), joins).tolist()
        ours = [label for label, own in zip(content.labels, is_ours, strict=True) if own]
        if not (anew and anew.only):
            others = [label for label, own in zip(content.labels, is_ours, strict=True) if not own]
            _look_for_astray(services, definition, window, source, others, content.arrived)
        if ours:
            found.append(ours)
        if ours or source in touching:
            sources.append((uris[source], content.etag))
    return found, sources


def withdrawn_objects(services: Services, definition: Definition) -> frozenset[str]:
    """The S3 URIs of the label objects that were taken out (`plumbline ground-truth withdraw`)."""
    found = labels_facts.withdrawn(services.ledger, definition.name)
    return frozenset(keys.s3_uri(bucket, key) for bucket, key in found)


def _without(services: Services, definition: Definition, labels: KeptLabels, withdrawn: Collection[str]) -> KeptLabels:
    """What is kept without the labels of objects that were withdrawn. They are read once more, to tell their labels
    from the others': an object that cannot be read any more keeps them."""
    for content in read_sources(
        services, definition, named_sources(each for each in labels.sources if each[0] in withdrawn)
    ):
        if content.etag == content.source.etag:
            own = keys.s3_uri(content.source.bucket, content.source.key)
            sources = tuple(each for each in labels.sources if each != (own, content.etag))
            labels = KeptLabels(labels.columns.minus(columns_of(content.labels)), sources)
    return labels


def _look_for_astray(
    services: Services,
    definition: Definition,
    window: Window,
    source: labels_facts.Source,
    others: Sequence[Label],
    arrived: datetime,
) -> None:
    """Labels whose time is that of the window and whose ids are not in it may be of another one: by a wrong clock, or
    with the time of something else."""
    astray = [each for each in others if claimed(definition, each, arrived) == window]
    if astray:
        expires_at = services.now() + definition.horizon
        labels_facts.add_unmatched(services.ledger, definition.name, source, expires_at)
        labels_facts.add_awaiting(services.ledger, definition.name, awaiting_of(source, astray, arrived), expires_at)


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
