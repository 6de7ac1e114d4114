"""Taking a person's records out of what is kept: lines of captures, labels and merged records by their ids.

Knows where an id stands in each of our forms; refuses to know which objects there are. What is to be forgotten is
remembered by fingerprints only, so that the list of the forgotten does not name them.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from chalicelib.errors import UNDECODABLE
from chalicelib.records.capture import lines_of
from chalicelib.records.label_containers import Contained, Container
from chalicelib.records.segment import Segment, hash_ids


class _Metadata(msgspec.Struct, gc=False, rename="camel"):
    event_id: Any = None
    inference_id: Any = None


class _Line(msgspec.Struct, gc=False, rename="camel"):
    event_metadata: _Metadata


_decoder = msgspec.json.Decoder(_Line)


def fingerprint(id: str) -> str:
    """What is kept of an id: enough to know it again, not enough to read it."""
    return blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16, person=b"plumbline-forget").hexdigest()


class Gone(msgspec.Struct, frozen=True):
    """The ids that are forgotten, by fingerprint."""

    fingerprints: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.fingerprints)

    def holds(self, *ids: Any) -> bool:
        """Whether any of these (inference ids, event ids, or nothing) is forgotten."""
        return any(isinstance(id, str) and fingerprint(id) in self.fingerprints for id in ids)


class Cut(msgspec.Struct, frozen=True):
    """What is left of an object, how many lines went, and every id that stood in them."""

    body: bytes
    lines: int = 0
    ids: frozenset[str] = frozenset()


def without_lines(body: bytes, gone: Gone, keep_numbers: bool = False) -> Cut:
    """JSON Lines of captures, labels or merged records without those of forgotten ids.

    `keep_numbers`: an empty line stays in each place, so that the numbers of bad lines stay true. A line that cannot be
    read has no id that could be known, and stays.
    """
    dropped: dict[int, frozenset[str]] = {}
    for number, line in lines_of(body):
        try:
            found = _decoder.decode(line).event_metadata
        except UNDECODABLE:
            continue
        if gone.holds(found.event_id, found.inference_id):
            dropped[number] = frozenset(id for id in (found.event_id, found.inference_id) if isinstance(id, str))
    if not dropped:
        return Cut(body)
    lines = body.split(b"\n")
    kept = [
        b"" if number in dropped else line
        for number, line in enumerate(lines, 1)
        if keep_numbers or number not in dropped
    ]
    return Cut(b"\n".join(kept), len(dropped), frozenset().union(*dropped.values()))


class CutSegment(msgspec.Struct, frozen=True):
    """A segment without the forgotten; how many captured requests and labels went, of which files, and their ids."""

    segment: Segment
    requests: int = 0
    labels: int = 0
    files: tuple[str, ...] = ()
    ids: frozenset[str] = frozenset()


def without_records(segment: Segment, gone: Gone) -> CutSegment:
    """A segment without the forgotten; what it was made of (keys and ETags) stays named."""
    if not gone:
        return CutSegment(segment)
    cuts = [without_lines(file.body, gone, keep_numbers=True) for file in segment.files]
    labels = without_lines(segment.labels, gone)
    requests = sum(cut.lines for cut in cuts)
    if not requests and not labels.lines:
        return CutSegment(segment)
    files = tuple(
        msgspec.structs.replace(file, body=cut.body) if cut.lines else file
        for file, cut in zip(segment.files, cuts, strict=True)
    )
    named = tuple(file.key for file, cut in zip(segment.files, cuts, strict=True) if cut.lines)
    ids = labels.ids.union(*(cut.ids for cut in cuts))
    return CutSegment(
        msgspec.structs.replace(segment, files=files, labels=labels.body), requests, labels.lines, named, ids
    )


class CutContainer(msgspec.Struct, frozen=True):
    """A container without the forgotten, how many labels went, and of which sources."""

    container: Container
    labels: int = 0
    sources: tuple[Contained, ...] = ()


def without_labels(container: Container, gone: Gone) -> CutContainer:
    """A container of labels without the forgotten; its sources stay named."""
    if not gone:
        return CutContainer(container)
    cuts = [without_lines(each.labels, gone) for each in container.sources]
    sources = tuple(
        msgspec.structs.replace(each, labels=cut.body) for each, cut in zip(container.sources, cuts, strict=True)
    )
    touched = tuple(each for each, cut in zip(container.sources, cuts, strict=True) if cut.lines)
    return CutContainer(msgspec.structs.replace(container, sources=sources), sum(cut.lines for cut in cuts), touched)


def without_hashes(index: bytes, ids: Iterable[str]) -> bytes:
    """An index of hashed join ids (`segment.hash_ids`) without these; what is no whole number of hashes stays."""
    gone = set(hash_ids(ids).tolist())
    if len(index) % 8 or not gone:
        return index
    known = np.frombuffer(index, dtype="<u8")
    return np.array([each for each in known.tolist() if each not in gone], dtype="<u8").tobytes()


def without_names(document: Any, ids: frozenset[str]) -> Any:
    """A JSON document without the texts in its lists that name a forgotten request or, "{event id}#0", its record."""
    if isinstance(document, dict):
        return {key: without_names(value, ids) for key, value in document.items()}
    if isinstance(document, list):
        return [
            without_names(each, ids)
            for each in document
            if not (isinstance(each, str) and (each in ids or each.rpartition("#")[0] in ids))
        ]
    return document
