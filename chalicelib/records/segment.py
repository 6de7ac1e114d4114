"""A window's segment: its capture files and the labels that belong to it, as read, in one object with its manifest.

Why the records and not only statistics: labels come weeks later and must meet the requests that they belong to,
and a capture file that a lifecycle rule has deleted since must stay counted. The same inputs give the same bytes.
Knows no keys' meaning and no time.
"""

from __future__ import annotations

import hashlib
import heapq
import io
from collections.abc import Iterable
from itertools import groupby

import msgspec
import numpy as np

from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.records.ground_truth import Label, write_ground_truth

VERSION = 1


class SegmentFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """One capture file: its key, its ETag, its bytes; `refused` says why it was not read, and then `body` is empty."""

    key: str
    etag: str
    body: bytes
    refused: str = ""


class Inputs(msgspec.Struct, frozen=True):
    """What a window is evaluated on, by name: capture key -> ETag, and (S3 URI, ETag) of the label objects."""

    captures: dict[str, str] = {}
    labels: tuple[tuple[str, str], ...] = ()


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """`files` sorted by key; `labels` are canonical ground-truth lines; `label_sources` the (S3 URI, ETag) of the
    objects that they came from."""

    files: tuple[SegmentFile, ...] = ()
    labels: bytes = b""
    label_sources: tuple[tuple[str, str], ...] = ()
    version: int = VERSION

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @property
    def manifest(self) -> dict[str, str]:
        """Key -> ETag of every capture file."""
        return {file.key: file.etag for file in self.files}

    @property
    def inputs(self) -> Inputs:
        return Inputs(self.manifest, self.label_sources)

    @property
    def digest(self) -> str:
        """Identifies the inputs: files by key and ETag, labels by content and by source."""
        labels = hashlib.sha256(self.labels).hexdigest()
        document = [sorted(self.manifest.items()), labels, self.label_sources]
        return hashlib.sha256(msgspec.json.encode(document)).hexdigest()


class _Versioned(msgspec.Struct):
    version: int


def segment_from_bytes(body: bytes, where: str) -> Segment:
    """Raises UnreadableError for bytes that are no segment or one of another version."""
    try:
        version = msgspec.msgpack.decode(body, type=_Versioned).version
        if version != VERSION:
            raise UnreadableError(where, f"a segment of version {version}; this release reads version {VERSION}")
        return msgspec.msgpack.decode(body, type=Segment)
    except UNDECODABLE:
        raise UnreadableError(where, "expected a segment in msgpack") from None


def with_files(segment: Segment, files: Iterable[SegmentFile]) -> Segment:
    """Add capture files; one with a known key replaces it (captures are never rewritten, but a test tool may)."""
    by_key = {file.key: file for file in (*segment.files, *files)}
    return msgspec.structs.replace(segment, files=tuple(by_key[key] for key in sorted(by_key)))


def with_labels(segment: Segment, labels: Iterable[Label], sources: Iterable[tuple[str, str]]) -> Segment:
    """Add labels (each with its label time) and note which objects were read for them."""
    known = sorted({*segment.label_sources, *sources})
    lines = _united(segment.labels, write_ground_truth(labels))
    return msgspec.structs.replace(segment, labels=lines, label_sources=tuple(known))


def _united(one: bytes, other: bytes) -> bytes:
    """Two sets of lines, each in order, as one."""
    if not one or not other:
        return one or other
    found = io.BytesIO()
    for line, _ in groupby(heapq.merge(io.BytesIO(one), io.BytesIO(other))):
        found.write(line)
    return found.getvalue()


def lost_inputs(named: Inputs, found: Inputs) -> list[str]:
    """Those of `named` that are not among `found`, each with what became of it: captures first, each kind by name."""
    there = {*found.captures, *(uri for uri, _ in found.labels)}
    lost = [*sorted(named.captures.items() - found.captures.items()), *sorted({*named.labels} - {*found.labels})]
    return [f"{name}: {'was written again' if name in there else 'is not there any more'}" for name, _ in lost]


class BadInput(msgspec.Struct, frozen=True):
    """A line or a whole file that could not be read (line 0: the file)."""

    key: str
    line: int
    reason: str


def hash_ids(ids: Iterable[str]) -> np.ndarray:
    """Sorted distinct 8-byte hashes of join ids: small enough to look a label up in weeks of windows.

    Two ids in 2**32 windows of 10,000 rows may collide; the price is a window that is evaluated once for nothing.
    """
    return np.unique(np.frombuffer(b"".join(map(hash_of, ids)), dtype="<u8"))


def hash_of(identity: str) -> bytes:
    """The 8 bytes by which `hash_ids` knows an id."""
    return hashlib.blake2b(identity.encode(), digest_size=8).digest()


def hashes_from_bytes(body: bytes, where: str) -> np.ndarray:
    """What `hash_ids(...).tobytes()` wrote. Raises UnreadableError naming `where` for no whole number of hashes."""
    if len(body) % 8:
        raise UnreadableError(where, f"expected hashes of 8 bytes, got {len(body)} bytes")
    return np.frombuffer(body, dtype="<u8").astype(np.uint64, copy=False)
