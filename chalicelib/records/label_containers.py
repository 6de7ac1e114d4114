"""Containers: the labels of many small ground-truth objects in one object, each under the name of its source.

A source is an object as it was: bucket, key, ETag. Its labels stand here as canonical lines (`write_ground_truth`),
each with its label time: what a segment keeps of them is byte for byte the same, whether the source is read or this.
Knows no keys' meaning and no time; refuses to know when a container is worth it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.records.ground_truth import Label, read_ground_truth, write_ground_truth

VERSION = 1

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Contained(msgspec.Struct, frozen=True):
    """The labels of one ground-truth object, as canonical lines, and when it arrived (UTC)."""

    bucket: str
    key: str
    etag: str
    arrived: datetime
    labels: bytes

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.bucket, self.key, self.etag


class Container(msgspec.Struct, frozen=True):
    """`sources` sorted by identity, each once."""

    sources: tuple[Contained, ...]
    version: int = VERSION

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @property
    def digest(self) -> str:
        """Identifies the sources, not their labels: a container out of which some were cut keeps its name."""
        return hashlib.sha256(msgspec.json.encode([each.identity for each in self.sources])).hexdigest()


def contained(bucket: str, key: str, etag: str, arrived: datetime, labels: Iterable[Label]) -> Contained:
    """A source and its labels, each of which has a label time."""
    return Contained(bucket, key, etag, arrived, write_ground_truth(labels))


def container_of(sources: Iterable[Contained]) -> Container:
    """One container of these: the same sources give the same bytes, whatever their order."""
    return Container(tuple(sorted(sources, key=lambda each: each.identity)))


def container_from_bytes(body: bytes, where: str) -> Container:
    """Raises UnreadableError naming `where` for bytes that are no container of this version."""
    try:
        found = msgspec.msgpack.decode(body, type=Container)
    except UNDECODABLE:
        raise UnreadableError(where, "expected a container of labels in msgpack") from None
    if found.version != VERSION:
        raise UnreadableError(where, f"a container of version {found.version}; this release reads version {VERSION}")
    return found


def labels_of(source: Contained, where: str) -> list[Label]:
    """The labels of a source, which name `where`. Raises UnreadableError when there are lines and none is a label."""
    # Each line has a label time of its own, so none takes that of an arrival.
    return read_ground_truth(source.labels, where, _LONG_AGO).labels
