"""A label file was written, by the webhook or by anybody: which windows do its ids touch? Mark them due.

Writes UNMATCHED before it looks (see facts/labels.py): a label and its capture may arrive at the same moment.
"""

from __future__ import annotations

from chalicelib import keys
from chalicelib.definition import Definition
from chalicelib.errors import UnreadableError
from chalicelib.facts import due, labels
from chalicelib.handlers.landed_objects import landed, quarantine
from chalicelib.records.ground_truth import Label, read_ground_truth
from chalicelib.records.segment import ids_among
from chalicelib.records.window import Window
from chalicelib.wiring import Services


def handle(body: str, services: Services) -> None:
    """Work off one S3 event of a ground-truth place."""
    found = landed(body, services, "ground-truth")
    if found is None:
        return
    event, stored = found.event, found.stored
    try:
        read = read_ground_truth(found.body(), event.key, stored.last_modified).labels
    except UnreadableError as error:
        for definition in found.definitions:
            quarantine(services, definition, found, error.reason)
        read = []
    source = labels.Source(event.bucket, event.key, event.etag, found.hourly.hour.strftime("%Y-%m-%dT%H:%M:%SZ"))
    for definition in found.definitions:
        if read:
            _mark_windows(services, definition, source, read)
    horizon = max(definition.horizon for definition in found.definitions)
    labels.mark_landed(services.ledger, event.bucket, event.key, event.etag, services.now() + horizon)


def _mark_windows(services: Services, definition: Definition, source: labels.Source, found: list[Label]) -> None:
    now, name = services.now(), definition.name
    expires_at = now + definition.horizon
    labels.add_unmatched(services.ledger, name, source, expires_at)
    windows = {Window.of(label.inference_time, definition.window_length) for label in found if label.inference_time}
    unknown = {label.id for label in found if not label.inference_time}
    for window in _windows_with_ids(services, definition, unknown):
        windows.add(window)
    open_windows = [window for window in sorted(windows) if now < window.end + definition.horizon]
    for window in open_windows:
        labels.add_source(services.ledger, name, window.name, source, expires_at)
        due.mark(services.ledger, name, window, definition.grace, now)
    if not unknown:
        labels.remove_unmatched(services.ledger, name, source)


def _windows_with_ids(services: Services, definition: Definition, unknown: set[str]) -> list[Window]:
    """Open windows that hold any of the ids, newest first; ids found are removed from `unknown`.

    An inference id need not be unique, but a label almost always belongs to the newest request that has it, and the
    merge rule joins it to every request of the windows it touches.
    """
    bucket, prefix = services.settings.bucket, keys.ids_prefix(definition.name)
    touched = []
    indexes = sorted(services.objects.list(bucket, prefix), key=lambda index: index.key, reverse=True)
    for index in indexes:
        if not unknown:
            break
        window = Window.parse(keys.parse_ids_key(index.key), definition.window_length)
        if services.now() >= window.end + definition.horizon:
            break
        matched = ids_among(unknown, services.objects.get(bucket, index.key).body, index.key)
        if matched:
            unknown -= matched
            touched.append(window)
    return touched
