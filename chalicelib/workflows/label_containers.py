"""Label objects, each read on its own or many at once from a container. Not an event source: ground_truth_landed makes
the containers, whoever needs labels of objects that landed reads them here.

The webhook writes an object per post. When an hour of arrival is over, its small objects are copied into containers;
they themselves stay where they are, for they are the user's. A container is a cheaper way to the same labels, never
another fact: what is in none is read from its object, and what is gone from its place is found in the container.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import msgspec

from chalicelib import keys
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import NotFoundError, UnreadableError
from chalicelib.facts import forgotten, labels
from chalicelib.facts.labels import Source
from chalicelib.ports import StoredObject
from chalicelib.records.forgetting import Gone, without_labels
from chalicelib.records.ground_truth import Label
from chalicelib.records.label_containers import (
    Contained,
    Container,
    contained,
    container_from_bytes,
    container_of,
    labels_of,
)
from chalicelib.records.label_files import is_sagemakers, read_label_file
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.wiring import Services

HOUR = timedelta(hours=1)
# So long after an hour's end its objects are there, and what has just landed in it has been read.
SETTLED_AFTER = timedelta(minutes=10)
# A larger object costs little per label as it is.
SMALL = 100_000
# A container is made of so many objects at least, and read where it stands for so many that are wanted.
FEWEST = 8
# Bytes of objects in one container, give or take one: a reader has one container in memory at a time.
MOST_BYTES = 8_000_000
# One run reads so many objects, 30 ms each on the way to S3, and looks into so many hours; the next one goes on.
MOST_OBJECTS = 2000
MOST_HOURS = 48

# What an object was: bucket, key, ETag.
Identity = tuple[str, str, str]


class ReadLabels(msgspec.Struct, frozen=True):
    """The labels of a source, when it arrived, and the ETag under which they were read: another one than the source's
    when the object was written again and nobody has kept what it was."""

    source: Source
    etag: str
    arrived: datetime
    labels: list[Label]


def read_sources(services: Services, definition: Definition, sources: Iterable[Source]) -> Iterator[ReadLabels]:
    """The labels of these sources, each once, in the order of their hours. What is gone or cannot be read is left out:
    what it held is in the segments of those who have read it; unreadable, it was quarantined when it landed."""
    by_hour: dict[str, dict[Identity, Source]] = {}
    for source in sources:
        by_hour.setdefault(source.arrived, {})[source.bucket, source.key, source.etag] = source
    for hour in sorted(by_hour):
        yield from _read_hour(services, definition, hour, by_hour[hour])


def kept(services: Services, definition: Definition, sources: Iterable[Source]) -> set[Identity]:
    """Those of these sources that are in a container."""
    by_hour: dict[str, set[Identity]] = {}
    for source in sources:
        by_hour.setdefault(source.arrived, set()).add((source.bucket, source.key, source.etag))
    found: set[Identity] = set()
    for hour, wanted in sorted(by_hour.items()):
        found |= {each.identity for each in _in_containers(services, _containers(services, definition, hour), wanted)}
    return found


def named_sources(named: Iterable[tuple[str, str]]) -> list[Source]:
    """Label objects, named by S3 URI and ETag, as the table would have them; each lies under its hour of arrival, or it
    would not be an input."""
    sources = []
    for uri, etag in named:
        bucket, key = split_s3_uri(uri)
        hourly = keys.parse_hourly(key)
        sources.append(Source(bucket, key, etag, iso(hourly.hour) if hourly else ""))
    return sources


def _read_hour(
    services: Services, definition: Definition, hour: str, wanted: dict[Identity, Source]
) -> Iterator[ReadLabels]:
    left = dict(wanted)
    containers: list[str] | None = None
    if len(left) >= FEWEST:
        containers = _containers(services, definition, hour)
        if len(left) >= FEWEST * len(containers):
            yield from _from_containers(services, containers, left)
            containers = []
    elsewhere: dict[Identity, Source] = {}
    again: list[Identity] = []
    for identity, source in left.items():
        stored = _stored(services, source)
        if stored is not None and stored.etag == source.etag:
            yield from _from_object(definition, source, stored)
            continue
        elsewhere[identity] = source
        if stored is not None:
            again.append(identity)
    if elsewhere:
        containers = _containers(services, definition, hour) if containers is None else containers
        yield from _from_containers(services, containers, elsewhere)
    for identity in again:  # not kept in memory, for they may be large
        if identity in elsewhere and (stored := _stored(services, elsewhere[identity])) is not None:
            yield from _from_object(definition, elsewhere[identity], stored)


def _stored(services: Services, source: Source) -> StoredObject | None:
    try:
        return services.objects.get(source.bucket, source.key)
    except NotFoundError:
        return None


def _from_object(definition: Definition, source: Source, stored: StoredObject) -> Iterator[ReadLabels]:
    try:
        read = read_label_file(stored.body, source.key, stored.last_modified, definition.labels.mapping)
    except UnreadableError:
        return
    yield ReadLabels(source, stored.etag, stored.last_modified, read.labels)


def _from_containers(
    services: Services, containers: Iterable[str], wanted: dict[Identity, Source]
) -> Iterator[ReadLabels]:
    """Those of `wanted` that are in these containers; they are taken out of it."""
    for each in _in_containers(services, containers, set(wanted)):
        try:
            found = labels_of(each, each.key)
        except UnreadableError:
            continue
        yield ReadLabels(wanted.pop(each.identity), each.etag, each.arrived, found)


def _in_containers(services: Services, containers: Iterable[str], wanted: set[Identity]) -> Iterator[Contained]:
    """Each wanted source once, however many containers hold it."""
    left = set(wanted)
    for key in containers:
        if not left:
            return
        try:
            container = container_from_bytes(services.objects.get(services.settings.bucket, key).body, key)
        except (NotFoundError, UnreadableError):
            continue  # a copy: the objects themselves, or another one, must do
        for each in container.sources:
            if each.identity in left:
                left.remove(each.identity)
                yield each


def _containers(services: Services, definition: Definition, hour: str) -> list[str]:
    prefix = keys.label_containers_prefix(definition.name, hour)
    return [each.key for each in services.objects.list(services.settings.bucket, prefix)] if hour else []


# --- Making them ------------------------------------------------------------------------------------------------------


def hours_to_compact(definition: Definition, since: str, now: datetime) -> tuple[str, str] | None:
    """The first and the last hour of arrival whose small objects may be copied now; None for a monitor without labels.

    `since` is the first window owed. What arrived a horizon ago is read no more, but for a rebuild.
    """
    if not (definition.ground_truth_s3_uri and definition.reads_labels):
        return None
    first = max(Window.parse(since, definition.window_length).start, now - definition.horizon)
    return Window.of(first, HOUR).name, Window.of(now - SETTLED_AFTER, HOUR).previous().name


def is_settled(hour: str, now: datetime) -> bool:
    """Whether the objects of an hour of arrival may be copied."""
    return now >= Window.parse(hour, HOUR).end + SETTLED_AFTER


def compact(services: Services, definition: Definition) -> None:
    """Copy the small objects of hours that are over, from where the last run ended up to the bounds of a run."""
    name, now, most = definition.name, services.now(), MOST_OBJECTS
    place = labels.compaction(services.ledger, name)
    for _ in range(MOST_HOURS):
        if place is None or not is_settled(place.hour, now) or most <= 0:
            break
        hour = Window.parse(place.hour, HOUR)
        read, last = _copy(services, definition, hour, place.after, most)
        most -= read
        place = labels.compacted(services.ledger, name, hour.name if last else hour.next().name, last)
    labels.end_compaction(services.ledger, name)


def _copy(services: Services, definition: Definition, hour: Window, after: str, most: int) -> tuple[int, str]:
    """Copy small objects of an hour whose keys come after `after`, at most so many.

    Returns how many were read and the key of the last one, "" when no more are left.
    """
    bucket, prefix = split_s3_uri(definition.ground_truth_s3_uri)
    folder = keys.join(prefix, keys.hour_folder(hour.start))
    # By KMS key: a container is written under that of everything in it.
    found: dict[str | None, list[Contained]] = {}
    read = size = 0
    last = ""
    for each in services.objects.list(bucket, f"{folder}/"):
        if each.key <= after or each.size > SMALL or each.key.rpartition("/")[0] != folder:
            continue
        if read == most or size >= MOST_BYTES:
            break
        read, last = read + 1, each.key
        try:
            stored = services.objects.get(bucket, each.key)
            if not is_sagemakers(stored.body):
                continue  # what its labels are depends on the definition's mapping, which may change
            there = read_label_file(stored.body, each.key, stored.last_modified).labels
        except (NotFoundError, UnreadableError):
            continue
        size += len(stored.body)
        one = contained(bucket, each.key, stored.etag, stored.last_modified, there)
        found.setdefault(stored.kms_key_id, []).append(one)
    else:
        last = ""
    for kms_key_id, sources in found.items():
        if len(sources) >= FEWEST:
            _store(services, definition, hour, container_of(sources), kms_key_id)
    return read, last


def _store(
    services: Services, definition: Definition, hour: Window, container: Container, kms_key_id: str | None
) -> None:
    """Write a container without the labels of ids that are forgotten, be it while it is written.

    Whoever forgets buries the ids before he looks for what is to be cut: either he finds the container, or the ids are
    found here after it was written. One that is there already may be of somebody who crashed before he looked again.
    """
    bucket, key = services.settings.bucket, keys.label_container_key(definition.name, hour.name, container.digest)
    gone = Gone(forgotten.fingerprints(services.ledger, definition.name))
    body = without_labels(container, gone).container.to_bytes()
    new = services.objects.put_if_absent(bucket, key, body, content_type="application/msgpack", kms_key_id=kms_key_id)
    while (since := Gone(forgotten.fingerprints(services.ledger, definition.name))) != gone or (since and not new):
        body = without_labels(container, since).container.to_bytes()
        services.objects.put(bucket, key, body, content_type="application/msgpack", kms_key_id=kms_key_id)
        gone, new = since, True
