"""Storing what a window's evaluation found. Not an event source: window_due's second third.

The order makes half-written reports impossible to mistake: the revision under its digest, then the fact, then the
copies on SageMaker's fixed paths; after the copies the fact is read again, and whoever copied an older revision over
a newer one puts the newer one back. Files that did not change are not put again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta

import msgspec

from chalicelib import keys
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import ConflictError
from chalicelib.evaluation.evaluate import Findings
from chalicelib.facts import evaluations
from chalicelib.facts.document import Stored
from chalicelib.facts.evaluations import Copies, Evaluation
from chalicelib.ports import Metric
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.window_inputs import Gathered

# CloudWatch refuses data points that are older than two weeks.
METRIC_AGE = timedelta(days=14)

# Every file that a report may have.
REPORTS = ("analysis.json", "constraint_violations.json", "constraints.json", "evaluation.json", "statistics.json")


class Revision(msgspec.Struct, frozen=True):
    """Every file of one revision, by key below the monitor's output place."""

    files: dict[str, bytes]


def store(
    services: Services,
    definition: Definition,
    window: Window,
    findings: Findings,
    gathered: Gathered,
    previous: Stored[Evaluation] | None,
    merged: str = "",
    anew: bool = False,
) -> Evaluation:
    """Store a revision if it says anything new; `anew`: in any case, over one of the same name that may be damaged.

    `merged`: the labels that the window's merge files are to have. Raises ConflictError when another worker stored one
    meanwhile.
    """
    kms_key_id = gathered.kms_key_id
    evaluation = Evaluation(
        window=window.name,
        digest=findings.digest,
        rows=findings.rows,
        labelled=findings.labelled,
        coverage=findings.coverage,
        loss=findings.loss,
        settled=findings.settled,
        mixed=findings.mixed,
        violations=sum(map(len, findings.violations.values())),
        broken=tuple(findings.broken),
        sample=findings.sample_digest,
        model=gathered.champion.reign_at(window.name).candidate if gathered.champion else "",
        measured=gathered.measured,
        labels=gathered.labels,
        merged=merged,
        delays=findings.delays,
    )
    changed = previous is None or previous.value != evaluation
    if changed or anew:
        _write_revision(services, definition, window, findings, kms_key_id, over=anew)
        noted = evaluations.Revision(
            window=window.name,
            digest=evaluation.digest,
            stored_at=services.now(),
            labelled=evaluation.labelled,
            coverage=evaluation.coverage,
            loss=evaluation.loss,
        )
        evaluations.note_revision(services.ledger, definition.name, noted)
    if changed:
        if previous or not anew:  # what is derived anew was published before, also where its fact is lost
            _publish_metrics(services, definition, window, findings, previous)
        evaluations.save_evaluation(
            services.ledger, definition.name, evaluation, previous.revision if previous else None
        )
        if previous:
            _delete_replaced(services, definition, window, previous.value, evaluation)
    # Also when nothing is new: a crash may have come between the fact and its copies.
    put_copies(services, definition, window, kms_key_id, anew)
    return evaluation


def _delete_replaced(
    services: Services, definition: Definition, window: Window, before: Evaluation, now: Evaluation
) -> None:
    """What the window's evaluation stood on, and does not any more."""
    bucket = services.settings.bucket
    if before.measured != now.measured:
        services.objects.delete(bucket, keys.measured_key(definition.name, window, before.measured))
    if before.labels != now.labels:
        services.objects.delete(bucket, keys.labels_key(definition.name, window, before.labels))


def put_copies(
    services: Services, definition: Definition, window: Window, kms_key_id: str | None, over: bool = False
) -> None:
    """Put the files of the revision that the fact names on SageMaker's paths, and delete others of this window there.

    What lies there already is not put again, unless `over`: it may be damaged, or another worker's. That a file is
    about to be replaced is noted before it is: whoever comes after a crash replaces it in any case.
    """
    name, ledger = definition.name, services.ledger
    while True:
        current = _current_digest(services, definition, window)
        stored = evaluations.copies(ledger, name, window.name)
        if stored and stored.value.digest == current and not over:
            return
        known = dict(stored.value.files) if stored and not over else {}
        try:
            revision = stored.revision if stored else None
            _copy(services, definition, window, current, known, revision, kms_key_id)
            over = False
        except ConflictError:  # another worker copied as well: what lies there may be the older one's
            over = True


def _write_revision(
    services: Services, definition: Definition, window: Window, findings: Findings, kms_key_id: str | None, over: bool
) -> None:
    _, output = split_s3_uri(definition.output_s3_uri)
    files: dict[str, bytes] = {}
    for monitor_type, documents in findings.documents.items():
        folder = keys.report_folder(output, definition.endpoint, definition.name, monitor_type, window)
        files.update({f"{folder}/{name}": body for name, body in documents.items()})
    write = services.objects.put if over else services.objects.put_if_absent
    write(
        services.settings.bucket,
        keys.revision_key(definition.name, window, findings.digest),
        msgspec.msgpack.encode(Revision(files)),
        content_type="application/msgpack",
        kms_key_id=kms_key_id,
    )


def _current_digest(services: Services, definition: Definition, window: Window) -> str:
    stored = evaluations.load_evaluation(services.ledger, definition.name, window.name)
    assert stored is not None, "an evaluation is never deleted"
    return stored.value.digest


def _copy(
    services: Services,
    definition: Definition,
    window: Window,
    digest: str,
    known: dict[str, str],
    revision: str | None,
    kms_key_id: str | None,
) -> None:
    """Raises ConflictError when another worker copies, too."""
    bucket, _ = split_s3_uri(definition.output_s3_uri)
    key = keys.revision_key(definition.name, window, digest)
    files = msgspec.msgpack.decode(services.objects.get(services.settings.bucket, key).body, type=Revision).files
    wanted = {path: hashlib.sha256(body).hexdigest() for path, body in files.items()}
    changed = [path for path in sorted(wanted) if known.get(path) != wanted[path]]
    # Without a note of what lies there, anything may.
    gone = sorted((set(known) if known else set(_paths(definition, window))) - set(wanted))
    left = {path: known[path] for path in known if known[path] == wanted.get(path)}
    name, ledger = definition.name, services.ledger
    revision = evaluations.save_copies(ledger, name, Copies(window.name, "", left), revision)
    for path in changed:
        services.objects.put(bucket, path, files[path], kms_key_id=kms_key_id)
    for path in gone:
        services.objects.delete(bucket, path)
    evaluations.save_copies(ledger, name, Copies(window.name, digest, wanted), revision)


def _paths(definition: Definition, window: Window) -> Iterator[str]:
    """Every key that a revision of this window may have files under."""
    _, output = split_s3_uri(definition.output_s3_uri)
    for monitor_type in definition.monitor_types:
        folder = keys.report_folder(output, definition.endpoint, definition.name, monitor_type, window)
        yield from (f"{folder}/{name}" for name in REPORTS)


def _publish_metrics(
    services: Services, definition: Definition, window: Window, findings: Findings, previous: Stored[Evaluation] | None
) -> None:
    """Publish each metric once: CloudWatch cannot take a value back, so a restatement would be averaged with it."""
    if services.now() - window.start >= METRIC_AGE:
        return
    new_data = previous is None
    new_quality = findings.settled and not (previous and previous.value.settled)
    quality = ("accuracy", "mae", "model_quality_violations", "model_bias_violations", "label_coverage")
    dimensions = {"Endpoint": definition.endpoint, "Monitor": definition.name}
    metrics = [
        Metric(name, dimensions, value, window.start)
        for name, value in sorted(findings.metrics.items())
        if (new_quality if name in quality else new_data)
    ]
    if metrics:
        services.metrics.put(services.settings.metrics_namespace, metrics)
