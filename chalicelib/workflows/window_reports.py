"""Storing what a window's evaluation found. Not an event source: window_due's second third.

The order makes half-written reports impossible to mistake: the revision under its digest, then the fact, then the
copies on SageMaker's fixed paths; after the copies the fact is read again, and whoever copied an older revision over
a newer one puts the newer one back.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import msgspec

from chalicelib import keys
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.evaluation.evaluate import Findings
from chalicelib.facts import evaluations
from chalicelib.facts.document import Stored
from chalicelib.facts.evaluations import Evaluation
from chalicelib.ports import Metric
from chalicelib.records.window import Window
from chalicelib.wiring import Services

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
    model: str,
    segment: str,
    previous: Stored[Evaluation] | None,
    kms_key_id: str | None,
    anew: bool = False,
) -> Evaluation:
    """Store a revision if it says anything new; `anew`: in any case, over one of the same name that may be damaged.

    Raises ConflictError when another worker stored one meanwhile.
    """
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
        model=model,
        segment=segment,
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
        if previous and previous.value.segment != segment:
            services.objects.delete(
                services.settings.bucket, keys.segment_key(definition.name, window, previous.value.segment)
            )
    # Also when nothing is new: a crash may have come between the fact and its copies.
    # Only what was stored before can have left files that this revision does not have.
    put_copies(services, definition, window, kms_key_id, clean=previous is not None)
    return evaluation


def put_copies(services: Services, definition: Definition, window: Window, kms_key_id: str | None, clean: bool) -> None:
    """Put the files of the revision that the fact names on SageMaker's paths; `clean`: others of it go."""
    copied = ""
    while copied != (current := _current_digest(services, definition, window)):
        _copy(services, definition, window, current, kms_key_id, clean=clean or copied != "")
        copied = current


def _write_revision(
    services: Services, definition: Definition, window: Window, findings: Findings, kms_key_id: str | None, over: bool
) -> None:
    _, output = split_s3_uri(definition.output_s3_uri)
    files: dict[str, bytes] = {}
    for monitor_type, documents in findings.documents.items():
        folder = keys.report_folder(output, definition.endpoint, definition.name, monitor_type, window)
        files.update({f"{folder}/{name}": body for name, body in documents.items()})
    for hour, merged in findings.merged.items():
        part = keys.merge_key(output, definition.endpoint, definition.variant, definition.name, hour)
        files[part] = merged
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
    services: Services, definition: Definition, window: Window, digest: str, kms_key_id: str | None, clean: bool
) -> None:
    bucket, _ = split_s3_uri(definition.output_s3_uri)
    key = keys.revision_key(definition.name, window, digest)
    revision = msgspec.msgpack.decode(services.objects.get(services.settings.bucket, key).body, type=Revision)
    for path, body in sorted(revision.files.items()):
        services.objects.put(bucket, path, body, kms_key_id=kms_key_id)
    if clean:
        for path in sorted(set(_paths(definition, window)) - set(revision.files)):
            services.objects.delete(bucket, path)


def _paths(definition: Definition, window: Window) -> Iterator[str]:
    """Every key that a revision of this window may have files under."""
    _, output = split_s3_uri(definition.output_s3_uri)
    for monitor_type in definition.monitor_types:
        folder = keys.report_folder(output, definition.endpoint, definition.name, monitor_type, window)
        yield from (f"{folder}/{name}" for name in REPORTS)
    for hour in window.hours():
        yield keys.merge_key(output, definition.endpoint, definition.variant, definition.name, hour)


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
