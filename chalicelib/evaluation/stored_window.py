"""What is stored of a window: what its captures were measured to be, and its labels. Two objects, each with a manifest.

Captures are not copied. What needs no label was measured once; labels meet the answers; the row sample is what
candidates can be asked. Equal contents, equal bytes. Not here: keys and time.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np

from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.evaluation.measurement import Measurement, Subject
from chalicelib.records.answers import Answers, no_answers
from chalicelib.records.capture import BadInput
from chalicelib.records.cells import hashes_of
from chalicelib.records.id_hashes import Hashes
from chalicelib.records.label_table import LabelColumns, no_labels
from chalicelib.records.sample import SampledRequest

VERSION = 1


class Inputs(msgspec.Struct, frozen=True):
    """What a window is evaluated on, by name: capture key -> ETag, and (S3 URI, ETag) of the label objects."""

    captures: dict[str, str] = {}
    labels: tuple[tuple[str, str], ...] = ()


def lost_inputs(named: Inputs, found: Inputs) -> list[str]:
    """Those of `named` that are not among `found`, each with what became of it: captures first, each kind by name."""
    there = {*found.captures, *(uri for uri, _ in found.labels)}
    lost = [*sorted(named.captures.items() - found.captures.items()), *sorted({*named.labels} - {*found.labels})]
    return [f"{name}: {'was written again' if name in there else 'is not there any more'}" for name, _ in lost]


class MeasuredFile(msgspec.Struct, frozen=True, array_like=True):
    """A capture file: key, ETag, and how many requests of the window it had; `gone`: it was measured, and when the
    window was measured again with others, it was not there any more."""

    key: str
    etag: str
    requests: int = 0
    gone: bool = False


class Measured(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A window's captures, measured.

    asked        digest of the subject as it was asked for ("": is to be measured again)
    subject      the same with the feature names that were found, where none are declared
    files        capture files, by key
    requests     requests of the window, each event once
    elsewhere    requests that another model or inference component answered
    bad          bad lines of each file, the first ones; `more_bad` counts the others
    measurement  what needs no label
    answers      a row for each record
    unread       a row for each request without a record: a label may name it
    sample       requests with their captured lines, in the order of their hashes
    """

    asked: str = ""
    subject: Subject | None = None
    files: tuple[MeasuredFile, ...] = ()
    requests: int = 0
    elsewhere: int = 0
    bad: tuple[BadInput, ...] = ()
    more_bad: int = 0
    measurement: Measurement = Measurement()
    answers: Answers = msgspec.field(default_factory=no_answers)
    unread: Answers = msgspec.field(default_factory=no_answers)
    sample: tuple[SampledRequest, ...] = ()

    @property
    def manifest(self) -> dict[str, str]:
        """Key -> ETag of every capture file."""
        return {file.key: file.etag for file in self.files}

    def without(self, hashes: Hashes) -> Forgotten:
        """The same without the requests whose event id or id for labels has one of these hashes.

        What was counted cannot be taken out of sums: the captures are to be measured again, where they are there.
        """
        answers, unread = self.answers, self.unread
        gone = [np.isin(each.events, hashes) | np.isin(each.joins, hashes) for each in (answers, unread)]
        if not any(each.any() for each in gone):
            return Forgotten(self, 0, np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64))
        rows = [each[mask] for each, mask in zip((answers, unread), gone, strict=True)]
        events = np.unique(np.concatenate([each.events for each in rows]))
        left = [each[~mask] for each, mask in zip((answers, unread), gone, strict=True)]
        joins = np.unique(np.concatenate([each.joins for each in rows]))
        named = set(events.tolist())
        measured = msgspec.structs.replace(
            self,
            asked="",
            measurement=self.measurement.without(
                lambda name: int(hashes_of([name.rpartition("#")[0] or name])[0]) in named
            ),
            answers=left[0],
            unread=left[1],
            sample=tuple(each for each in self.sample if each.hash not in named),
        )
        there = np.concatenate([each.joins for each in left])
        return Forgotten(measured, len(events), events, joins[~np.isin(joins, there)])

    def to_bytes(self) -> bytes:
        head = _Head(self.asked, self.subject, self.files, self.requests, self.elsewhere, self.bad, self.more_bad)
        parts = (self.measurement.to_bytes(), self.answers.to_bytes(), self.unread.to_bytes())
        return msgspec.msgpack.encode(("measured", VERSION, head, *parts, self.sample))

    @classmethod
    def from_bytes(cls, body: bytes, where: str) -> Measured:
        """Raises UnreadableError naming `where`."""
        head, measurement, answers, unread, sample = _opened(body, "measured", where, _MeasuredBody)
        try:
            measured = Measurement.from_bytes(measurement)
        except UnreadableError as error:
            raise UnreadableError(where, error.reason) from None
        fields = {name: getattr(head, name) for name in _Head.__struct_fields__}
        return cls(
            **fields,
            measurement=measured,
            answers=Answers.from_bytes(answers, where),
            unread=Answers.from_bytes(unread, where),
            sample=sample,
        )


class Forgotten(msgspec.Struct, frozen=True, eq=False):
    """What is left of a window's captures, how many requests went, and the hashes of their event ids and of the ids for
    labels that nobody else has."""

    measured: Measured
    requests: int
    events: Hashes
    joins: Hashes


class _Head(msgspec.Struct, frozen=True):
    asked: str
    subject: Subject | None
    files: tuple[MeasuredFile, ...]
    requests: int
    elsewhere: int
    bad: tuple[BadInput, ...]
    more_bad: int


class KeptLabels(msgspec.Struct, frozen=True, eq=False):
    """The labels of a window's requests, and the (S3 URI, ETag) of the objects that they came from."""

    columns: LabelColumns = msgspec.field(default_factory=no_labels)
    sources: tuple[tuple[str, str], ...] = ()

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(("window labels", VERSION, self.columns.to_bytes(), self.sources))

    @classmethod
    def from_bytes(cls, body: bytes, where: str) -> KeptLabels:
        """Raises UnreadableError naming `where`."""
        columns, sources = _opened(body, "window labels", where, _LabelsBody)
        return cls(LabelColumns.from_bytes(columns, where), sources)


_MeasuredBody = tuple[str, int, _Head, bytes, bytes, bytes, tuple[SampledRequest, ...]]
_LabelsBody = tuple[str, int, bytes, tuple[tuple[str, str], ...]]


class _Versioned(msgspec.Struct, array_like=True):
    kind: str
    version: int


def _opened(body: bytes, kind: str, where: str, form: Any) -> tuple[Any, ...]:
    expected = f"expected {kind} of a window in msgpack"
    try:
        found = msgspec.msgpack.decode(body, type=_Versioned)
        if found.kind != kind:
            raise UnreadableError(where, expected)
        if found.version != VERSION:
            raise UnreadableError(where, f"{kind} of version {found.version}; this release reads version {VERSION}")
        return tuple(msgspec.msgpack.decode(body, type=form)[2:])
    except UNDECODABLE:
        raise UnreadableError(where, expected) from None


def digest_of(body: bytes) -> str:
    """By which a stored object is named."""
    return hashlib.sha256(body).hexdigest()


def asked_of(subject: Subject) -> str:
    """Identifies what was asked: another subject measures the same captures otherwise."""
    return hashlib.sha256(msgspec.json.encode(subject, order="sorted")).hexdigest()
