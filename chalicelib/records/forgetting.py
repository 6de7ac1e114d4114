"""Taking a person's records out of what is kept: lines of captures, labels and merged records by their ids.

Knows where an id stands in each of our forms; refuses to know which objects there are. What is to be forgotten is
remembered by fingerprints only, so that the list of the forgotten does not name them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from chalicelib.errors import UNDECODABLE
from chalicelib.records.capture import lines_of
from chalicelib.records.label_containers import Contained, Container


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


def without_hashes(index: bytes, gone: Collection[int]) -> bytes:
    """An index of hashed join ids (`id_hashes`) without these; what is no whole number of hashes stays."""
    if len(index) % 8 or not gone:
        return index
    known = np.frombuffer(index, dtype="<u8")
    return known[~np.isin(known, np.array(sorted(gone), dtype=np.uint64))].tobytes()


def without_names(document: Any, is_gone: Callable[[str], bool]) -> Any:
    """A JSON document without the texts in its lists that name a forgotten request or, "{event id}#0", its record."""
    if isinstance(document, dict):
        return {key: without_names(value, is_gone) for key, value in document.items()}
    if isinstance(document, list):
        return [
            without_names(each, is_gone)
            for each in document
            if not (isinstance(each, str) and (is_gone(each) or is_gone(each.rpartition("#")[0])))
        ]
    return document
