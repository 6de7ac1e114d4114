"""The index of monitor definitions: from a capture key, an endpoint or an alarm to its monitors, among thousands.

Keys: MONITORS / {name} -> Entry (the current version); INDEX#{kind}#{value} / {name} -> Pointer. A pointer is a hint:
the reader checks it against the current entry, so one left from an older version has no effect. A removed monitor keeps
its entry, because what is in flight still needs its definition; only its pool's endpoints lead to it.
"""

from __future__ import annotations

import msgspec

from chalicelib import keys
from chalicelib.definition import Definition, canonical_json, decode_definition, split_s3_uri, version_of
from chalicelib.errors import NotFoundError
from chalicelib.facts.document import change, load, load_all, put_if_absent
from chalicelib.ports import Ledger, ObjectStore

PARTITION = "MONITORS"


class Entry(msgspec.Struct, frozen=True):
    """`version` of the definition in force, and `since`, the monitor's first window.

    `removed_at` (ISO) is when it was removed, "" for a monitor that is evaluated.
    """

    name: str
    version: str
    since: str
    sources: tuple[tuple[str, str], ...]
    removed_at: str = ""


class Pointer(msgspec.Struct, frozen=True):
    name: str


def sources_of(definition: Definition) -> tuple[tuple[str, str], ...]:
    """Every (kind, value) under which events look for this monitor."""
    bucket, prefix = split_s3_uri(definition.capture_s3_uri)
    capture = keys.capture_prefix(prefix, definition.endpoint, definition.variant)
    found = [("capture", f"{bucket}/{capture}"), ("endpoint", definition.endpoint)]
    if definition.ground_truth_s3_uri:
        bucket, prefix = split_s3_uri(definition.ground_truth_s3_uri)
        found.append(("ground-truth", f"{bucket}/{prefix}"))
    found += [("alarm", alarm.name) for alarm in definition.alarms]
    # SageMaker lower-cases a schedule's name in its ARN, which is where an event names it.
    found += [("schedule", schedule.lower()) for schedule in definition.schedules]
    return tuple(found)


def add(ledger: Ledger, objects: ObjectStore, bucket: str, definition: Definition, since: str) -> Entry:
    """Store a definition as a new version and make it the one in force; repeating it changes nothing.

    `since` names the first window to evaluate; a monitor that exists and was not removed keeps its own. The document is
    written first, then the pointers, then the entry, so that every version that can be found exists.
    """
    version = version_of(definition)
    objects.put(bucket, keys.definition_key(definition.name, version), canonical_json(definition))
    for kind, value in sources_of(definition):
        point(ledger, kind, value, definition.name)

    def entry(stored: Entry | None) -> Entry:
        known = stored is not None and not stored.removed_at
        return Entry(definition.name, version, stored.since if stored and known else since, sources_of(definition))

    current, _ = change(ledger, PARTITION, definition.name, Entry, entry)
    assert current is not None
    return current


def remove(ledger: Ledger, name: str, at: str) -> bool:
    """Hide a monitor from events and from the clock; False when there is none, or it is removed already."""

    def think(stored: Entry | None) -> Entry | None:
        return None if stored is None or stored.removed_at else msgspec.structs.replace(stored, removed_at=at)

    _, removed = change(ledger, PARTITION, name, Entry, think)
    return removed


def is_removed(ledger: Ledger, name: str) -> bool:
    """Whether a monitor was removed and not added again."""
    entry = get(ledger, name)
    return entry is not None and bool(entry.removed_at)


def point(ledger: Ledger, kind: str, value: str, monitor: str) -> None:
    """Add a source's pointer to a monitor."""
    put_if_absent(ledger, f"INDEX#{kind}#{value}", monitor, Pointer(monitor))


def find(ledger: Ledger, kind: str, value: str) -> list[Entry]:
    """The monitors that a source leads to, by name. Endpoints of the pool are in no definition, so not in `sources`."""
    entries = (get(ledger, pointer.name) for pointer in load_all(ledger, f"INDEX#{kind}#{value}", Pointer))
    if kind == "pool-endpoint":
        return [entry for entry in entries if entry]
    return [entry for entry in entries if entry and not entry.removed_at and (kind, value) in entry.sources]


def get(ledger: Ledger, name: str) -> Entry | None:
    stored = load(ledger, PARTITION, name, Entry)
    return stored.value if stored else None


def all_entries(ledger: Ledger) -> list[Entry]:
    """Every monitor by name, the removed ones too."""
    return load_all(ledger, PARTITION, Entry)


class Definitions:
    """Definitions by name, decoded once per version and process."""

    def __init__(self, ledger: Ledger, objects: ObjectStore, bucket: str) -> None:
        self._ledger, self._objects, self._bucket = ledger, objects, bucket
        self._decoded: dict[tuple[str, str], Definition] = {}

    def entry(self, name: str) -> Entry:
        """The entry of a monitor, also of a removed one. Raises NotFoundError for an unknown monitor."""
        entry = get(self._ledger, name)
        if entry is None:
            raise NotFoundError(f"monitor {name}: not in the table; `plumbline add` stores it")
        return entry

    def get(self, name: str) -> Definition:
        """The definition in force. Raises NotFoundError for an unknown monitor."""
        return self.of(self.entry(name))

    def of(self, entry: Entry) -> Definition:
        """The definition of an entry. Raises UnreadableStateError when the stored document is not one."""
        if (known := self._decoded.get((entry.name, entry.version))) is not None:
            return known
        key = keys.definition_key(entry.name, entry.version)
        definition = decode_definition(self._objects.get(self._bucket, key).body, key)
        self._decoded[entry.name, entry.version] = definition
        return definition

    def ground_truth_places(self, endpoint: str) -> list[tuple[str, str, str]]:
        """(bucket, key prefix, problem type) of every monitor of an endpoint that takes labels."""
        return [
            (*split_s3_uri(definition.ground_truth_s3_uri), definition.attributes.problem_type)
            for definition in self.find("endpoint", endpoint)
            if definition.ground_truth_s3_uri
        ]

    def find(self, kind: str, value: str) -> list[Definition]:
        """The definitions that a source leads to."""
        return [self.of(entry) for entry in find(self._ledger, kind, value)]
