"""A label file was written, by the webhook or by anybody: which windows do its ids touch? Mark them due.

A label with an inference time goes straight to its window. The ids of the others wait for the clock's next batch
(`label_batches`), which looks all of them up at once. At the clock's word the small objects of hours that are over are
copied into containers, too (`label_containers`). Writes UNMATCHED before anything is looked up (see
facts/labels.py): a label and its capture may arrive at the same moment.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from chalicelib.definition import Definition
from chalicelib.errors import UnreadableError
from chalicelib.events import label_batch, label_containers
from chalicelib.facts import due, labels, news
from chalicelib.records.ground_truth import Label
from chalicelib.records.label_files import read_label_file
from chalicelib.records.times import iso
from chalicelib.wiring import Services
from chalicelib.workflows.label_batches import awaiting_of, claimed, look_up, unplaced
from chalicelib.workflows.label_containers import compact
from chalicelib.workflows.landed_objects import landed, quarantine


def handle(body: str, services: Services) -> None:
    """Work off one S3 event of a ground-truth place, or the clock's word that a monitor's labels can be looked up, or
    that its label objects can be copied."""
    for monitor, work in ((label_batch(body), look_up), (label_containers(body), compact)):
        if monitor:
            entry = services.definitions.entry(monitor)
            if not entry.removed_at:
                work(services, services.definitions.of(entry))
            return
    found = landed(body, services, "ground-truth")
    if found is None:
        return
    event, stored = found.event, found.stored
    source = labels.Source(event.bucket, event.key, event.etag, iso(found.hourly.hour))
    for definition in found.definitions:
        mapping = definition.labels.mapping
        try:
            read = read_label_file(found.body(), event.key, stored.last_modified, mapping).labels
        except UnreadableError as error:
            quarantine(services, definition, found, error.reason)
            continue
        if read:
            _mark_windows(services, definition, source, read, stored.last_modified)
    horizon = max(definition.horizon for definition in found.definitions)
    labels.mark_landed(services.ledger, event.bucket, event.key, event.etag, services.now() + horizon)


def _mark_windows(
    services: Services, definition: Definition, source: labels.Source, found: list[Label], arrived: datetime
) -> None:
    # A label's arrival decides whether its window was open: the event may be late, or lost and sent again.
    now, name = services.now(), definition.name
    expires_at = now + definition.horizon
    waiting = unplaced(definition, found, arrived)
    if waiting:
        labels.add_unmatched(services.ledger, name, source, expires_at)
        labels.add_awaiting(services.ledger, name, awaiting_of(source, waiting, arrived), expires_at)
    counts = Counter(window for label in found if (window := claimed(definition, label, arrived)))
    for window in sorted(counts):
        labels.add_source(services.ledger, name, window.name, source, expires_at)
        if news.heard(services.ledger, name, window.name, counts[window]):
            due.mark(services.ledger, name, window, definition.grace, now, wait=news.WAIT)
