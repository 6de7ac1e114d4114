"""Telling how far a window's labels have come. Not an event source: a part of window_due.

What is told depends on the moment and on other windows, so it is a file of its own beside the report and no part of a
revision: the same inputs give the same report, whenever that is made.
"""

from __future__ import annotations

from datetime import datetime

from chalicelib import keys
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.evidence.label_maturity import outlook_findings
from chalicelib.facts import evaluations, labels
from chalicelib.facts.evaluations import Evaluation
from chalicelib.facts.news import seen_until
from chalicelib.monitors.documents import encode_json
from chalicelib.monitors.types import LABELLED_TYPES
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.states.maturity import Curve, Observed, maturity
from chalicelib.wiring import Services

VERSION = 1

# Past windows that the curve is learned from: 45 days of hours and a few more.
LEARNED_FROM = 1200


def write_label_maturity(
    services: Services, definition: Definition, window: Window, evaluation: Evaluation, kms_key_id: str | None
) -> None:
    """Write label_maturity.json beside each report that needs labels."""
    bucket, output = split_s3_uri(definition.output_s3_uri)
    paths = [
        keys.label_maturity_key(output, definition.endpoint, definition.name, monitor_type, window)
        for monitor_type in LABELLED_TYPES
        if monitor_type in definition.monitor_types
    ]
    if not paths:
        return
    now, name = services.now(), definition.name
    curve = learned_curve(services, definition, window)
    late = labels.late(services.ledger, name, window.name)
    document = {
        "version": VERSION,
        "monitor": name,
        "window": {"start": window.name, "end": window.next().name},
        **outlook_findings(evaluation.delays, curve, window, now, definition.horizon),
        "revisions": [
            {
                "stored_at": iso(each.stored_at),
                "key": keys.revision_key(name, window, each.digest),
                "labelled": each.labelled,
                "label_coverage": each.coverage,
                "served_loss": each.loss,
            }
            for each in evaluations.revisions(services.ledger, name, window.name)
        ],
        "late_labels": [
            {
                "object": keys.s3_uri(each.source.bucket, each.source.key),
                "etag": each.source.etag,
                "arrived": each.source.arrived,
                "labels": each.labels,
            }
            for each in late
        ],
        "late_label_count": sum(each.labels for each in late),
    }
    body = encode_json(document)
    for path in paths:
        services.objects.put(bucket, path, body, kms_key_id=kms_key_id)


def learned_curve(services: Services, definition: Definition, window: Window) -> Curve:
    """The maturity curve that the other windows of a monitor teach now.

    A window may have labels that its last evaluation did not see: what came after its last age step counts as not seen
    yet.
    """
    now = services.now()
    past = []
    for each in evaluations.last_evaluations(services.ledger, definition.name, LEARNED_FROM):
        end = datetime.fromisoformat(each.window) + definition.window_length
        seen = seen_until(now - end, definition.horizon)
        if each.window != window.name and each.delays.requests:
            past.append(Observed(each.delays, seen.total_seconds()))
    return maturity(past, definition.horizon.total_seconds())
