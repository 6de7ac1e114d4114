"""Answers: one small row for each record that was read, which is what a label needs to meet it.

A window's answers are kept, so that a late label is joined to them and no capture is read again. A request is known by
hashes of its ids only. Not here: what labels say (`label_values`) and what is counted (`states`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.records.capture import CapturedRequest
from chalicelib.records.cells import hashes_of
from chalicelib.records.joins import Ids, ids_of
from chalicelib.records.table import Table
from chalicelib.records.values import class_order

VERSION = 1

# A group variable with more values than this is an identifier: no group is kept.
MOST_GROUPS = 10_000

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))

_COLUMNS = {
    **{"events": "<u8", "joins": "<u8", "checks": "<u4", "positions": "<u4", "counts": "<u4", "times": "<i8"},
    **{"served": "<f8", "scores": "<f8", "whole": "|b1", "regular": "|b1"},
}
_FACET_COLUMNS = {"groups": "<i4", "numbered": "<u4"}


class FacetRows(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What bias needs to know of n records whose facets are read only once.

    members      int8 (n, facets): 1 in the facet, 0 not, -1 without a value; in the order of the settings' facets
    groups       int32 (n,): the value of the group variable, by its place in `group_names` (sorted); -1 for none
    usable       bool (n, facets): all features but the facet's own are numbers, as the flip test needs them
    numbered     uint32 (m,): the rows, ascending, whose features are kept: usable for one facet at least
    numbers      float64 (m, features): their features, nan where one is no number
    differing    parts had different features: no numbers are kept
    """

    members: npt.NDArray[np.int8]
    groups: npt.NDArray[np.int32]
    usable: Flags
    numbered: npt.NDArray[np.uint32]
    numbers: Floats
    group_names: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    too_many_groups: bool = False
    differing: bool = False

    def __getitem__(self, rows: Places) -> FacetRows:
        """These rows, ascending."""
        there = np.isin(self.numbered, rows)
        return msgspec.structs.replace(
            self,
            members=self.members[rows],
            groups=self.groups[rows],
            usable=self.usable[rows],
            numbered=np.searchsorted(rows, self.numbered[there]).astype(np.uint32),
            numbers=self.numbers[there],
        )


class Answers(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One entry per record in every column, shape (n,); the records of a request stand together, in order.

    events       uint64: the event id's hash (`cells.hashes_of`)
    joins        uint64, `checks` uint32: both hashes of the id that labels name (`joins.ids_of`)
    positions    uint32: the record's position in its request; `counts` uint32: how many records the request has
    times        int64: microseconds since 1970
    served       float64: the class 0 or 1, the place in `classes`, or the number; nan where it cannot be read
    scores       float64: nan where there is none
    whole        bool: `Table.whole`; `regular`: `Table.regular`
    classes      multiclass: the names that were served, in the order of `values.class_order`
    facets       what bias needs, None where it is not asked for or cannot be had
    """

    events: Words
    joins: Words
    checks: npt.NDArray[np.uint32]
    positions: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint32]
    times: Places
    served: Floats
    scores: Floats
    whole: Flags
    regular: Flags
    classes: tuple[str, ...] = ()
    facets: FacetRows | None = None

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, rows: Any) -> Answers:
        """These rows, ascending (places or flags)."""
        places = np.arange(len(self))[rows]
        columns = {name: getattr(self, name)[places] for name in _COLUMNS}
        return msgspec.structs.replace(self, **columns, facets=None if self.facets is None else self.facets[places])

    @property
    def ids(self) -> Ids:
        """The ids that labels name."""
        return Ids(self.joins, self.checks)

    @property
    def hashes(self) -> Words:
        """A fair hash of each record, shape (n,): by it rows are chosen where not all can be kept."""
        mixed = self.events ^ (self.positions.astype(np.uint64) * _MIX[0])
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[1]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[2]
        return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)

    @property
    def firsts(self) -> Places:
        """The first row of each request."""
        return np.flatnonzero(self.positions == 0)

    def with_fewer_numbers(self, most: int) -> Answers:
        """Keep the features of `most` rows on each side of each facet, those of the smallest hashes."""
        if self.facets is None or len(self.facets.numbered) <= most:
            return self
        facets, hashes = self.facets, self.hashes
        rows = facets.numbered.astype(np.int64)
        kept = np.zeros(len(rows), dtype=np.bool_)
        for column, usable in zip(facets.members.T, facets.usable.T, strict=True):
            for side in (0, 1):
                chosen = np.flatnonzero(usable[rows] & (column[rows] == side))
                kept[chosen[np.argsort(hashes[rows[chosen]], kind="stable")[:most]]] = True
        fewer = msgspec.structs.replace(facets, numbered=facets.numbered[kept], numbers=facets.numbers[kept])
        return msgspec.structs.replace(self, facets=fewer)

    def to_bytes(self) -> bytes:
        """Little-endian columns in msgpack; a column of one value is written once. Equal answers, equal bytes."""
        columns = {name: _packed(getattr(self, name), kind) for name, kind in _COLUMNS.items()}
        facets = None
        if self.facets is not None:
            facets = {
                "columns": {name: _packed(getattr(self.facets, name), kind) for name, kind in _FACET_COLUMNS.items()},
                "members": self.facets.members.tobytes(),
                "usable": self.facets.usable.tobytes(),
                "facets": self.facets.members.shape[1],
                "numbers": self.facets.numbers.astype("<f8").tobytes(),
                "group_names": self.facets.group_names,
                "features": self.facets.features,
                "too_many_groups": self.facets.too_many_groups,
                "differing": self.facets.differing,
            }
        return msgspec.msgpack.encode(("answers", VERSION, len(self), columns, self.classes, facets))

    @classmethod
    def from_bytes(cls, body: bytes, where: str = "answers") -> Answers:
        """Raises UnreadableError naming `where`."""
        try:
            kind, version, count, columns, classes, facets = msgspec.msgpack.decode(body, type=_Written)
            if (kind, version) != ("answers", VERSION):
                raise UnreadableError(where, f"expected answers of version {VERSION}")
            found = {name: _unpacked(columns[name], each, count) for name, each in _COLUMNS.items()}
            return cls(**found, classes=classes, facets=None if facets is None else _facets_from(facets, count))
        except (*UNDECODABLE, KeyError, TypeError):
            raise UnreadableError(where, "expected answers in msgpack") from None


class _Column(msgspec.Struct, array_like=True):
    """A column: its bytes, and how many rows these are (1: every row has this value)."""

    rows: int
    body: bytes


class _WrittenFacets(msgspec.Struct):
    columns: dict[str, _Column]
    members: bytes
    usable: bytes
    facets: int
    numbers: bytes
    group_names: tuple[str, ...]
    features: tuple[str, ...]
    too_many_groups: bool
    differing: bool


_Written = tuple[str, int, int, dict[str, _Column], tuple[str, ...], _WrittenFacets | None]


def _packed(values: npt.NDArray[Any], kind: str) -> _Column:
    raw = values.astype(kind, copy=False)
    body = raw.tobytes()
    width = raw.itemsize
    # By their bytes: nan is equal to nan, and 0.0 is not -0.0.
    if len(raw) > 1 and body[:width] * len(raw) == body:
        return _Column(1, body[:width])
    return _Column(len(raw), body)


def _unpacked(column: _Column, kind: str, count: int | None = None) -> npt.NDArray[Any]:
    raw = np.frombuffer(column.body, dtype=kind)
    if len(raw) != column.rows or (count is not None and column.rows not in (1, count)):
        raise ValueError("a value for each row")
    native = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    if count is not None and column.rows == 1 and count != 1:
        return np.full(count, native[0])
    return native


def _facets_from(found: _WrittenFacets, count: int) -> FacetRows:
    numbered = np.frombuffer(found.columns["numbered"].body, dtype="<u4").astype(np.uint32, copy=False)
    numbers = np.frombuffer(found.numbers, dtype="<f8").astype(np.float64, copy=False)
    return FacetRows(
        members=np.frombuffer(found.members, dtype=np.int8).reshape(count, found.facets),
        groups=_unpacked(found.columns["groups"], "<i4", count),
        usable=np.frombuffer(found.usable, dtype=np.bool_).reshape(count, found.facets),
        numbered=numbered,
        numbers=numbers.reshape(len(numbered), len(found.features)),
        group_names=found.group_names,
        features=found.features,
        too_many_groups=found.too_many_groups,
        differing=found.differing,
    )


def no_answers() -> Answers:
    """Answers of no record."""
    empty: dict[str, Any] = {
        name: np.zeros(0, dtype=np.dtype(kind).newbyteorder("=")) for name, kind in _COLUMNS.items()
    }
    return Answers(**empty)


def together(parts: Sequence[Answers]) -> Answers:
    """The rows of all parts, one part after the other, with one list of classes."""
    some = [part for part in parts if len(part)]
    if len(some) < 2:
        return some[0] if some else no_answers()
    classes = tuple(sorted({name for part in some for name in part.classes}, key=class_order))
    columns = {name: np.concatenate([getattr(part, name) for part in some]) for name in _COLUMNS}
    if classes:
        columns["served"] = np.concatenate([places_among(classes, part.classes, part.served) for part in some])
    facets = [part.facets for part in some]
    whole = _facets_together([each for each in facets if each is not None]) if all(facets) else None
    return Answers(**columns, classes=classes, facets=whole)


def places_among(classes: Sequence[str], known: Sequence[str], places: Floats) -> Floats:
    """Places in the list `known` as places in `classes`, which has all of its names; nan stays."""
    moved = np.full(len(places), np.nan)
    place = {name: index for index, name in enumerate(classes)}
    there = np.array([place[name] for name in known], dtype=np.float64)
    read = ~np.isnan(places)
    moved[read] = there[places[read].astype(np.int64)]
    return moved


def _facets_together(parts: Sequence[FacetRows]) -> FacetRows:
    firsts = np.cumsum([0, *(len(part.usable) for part in parts)])
    names = tuple(sorted({name for part in parts for name in part.group_names}))
    too_many = len(names) > MOST_GROUPS or any(part.too_many_groups for part in parts)
    place = {name: index for index, name in enumerate(names)}
    groups = []
    for part in parts:
        # One more for -1, which is the last one, too.
        there = np.array([*(place[name] for name in part.group_names), -1], dtype=np.int32)
        groups.append(there[part.groups])
    # A part without a row that could be laid out has no features of its own.
    features = {part.features for part in parts if part.features}
    differing = len(features) > 1 or any(part.differing for part in parts)
    numbered = [part.numbered + np.uint32(first) for part, first in zip(parts, firsts.tolist(), strict=False)]
    own = () if differing or not features else next(iter(features))
    numbers = [part.numbers.reshape(len(part.numbered), -1) for part in parts if len(part.numbered)]
    keeps = bool(own) and bool(numbers)
    return FacetRows(
        members=np.concatenate([part.members for part in parts]),
        groups=np.full(int(firsts[-1]), -1, dtype=np.int32) if too_many else np.concatenate(groups),
        usable=np.concatenate([part.usable for part in parts]),
        numbered=np.concatenate(numbered).astype(np.uint32) if keeps else np.zeros(0, dtype=np.uint32),
        numbers=np.concatenate(numbers) if keeps else np.zeros((0, len(own))),
        group_names=() if too_many else names,
        features=own,
        too_many_groups=too_many,
        differing=differing,
    )


def answers_of(table: Table, requests: Sequence[CapturedRequest], facets: FacetRows | None = None) -> Answers:
    """The answers of a table's records. `requests` are those that the table was laid out from (and maybe others);
    `facets` has a row for each record of the table (`states.bias.facet_rows_of`)."""
    events: list[str] = []
    firsts: list[int] = []
    for row, record_id in enumerate(table.record_ids):
        event_id, _, position = record_id.rpartition("#")
        if position == "0":
            events.append(event_id)
            firsts.append(row)
    # Of an event that comes again the table has the first one, in the order of time.
    by_event: dict[str, CapturedRequest] = {}
    for request in sorted(requests, key=lambda request: request.inference_time, reverse=True):
        by_event[request.event_id] = request
    counts = np.diff([*firsts, len(table)]).astype(np.int64) if firsts else np.zeros(0, dtype=np.int64)
    ids = ids_of([by_event[event].join_id for event in events])
    times = np.array([microseconds_of(by_event[event].inference_time) for event in events], dtype=np.int64)
    places = np.arange(len(table)) - np.repeat(np.array(firsts, dtype=np.int64), counts)
    return Answers(
        events=np.repeat(hashes_of(events), counts),
        joins=np.repeat(ids.keys, counts),
        checks=np.repeat(ids.checks, counts),
        positions=places.astype(np.uint32),
        counts=np.repeat(counts, counts).astype(np.uint32),
        times=np.repeat(times, counts),
        served=table.predictions,
        scores=table.scores,
        whole=table.whole,
        regular=table.regular,
        classes=tuple(table.classes),
        facets=facets,
    )


def microseconds_of(moment: datetime) -> int:
    """Microseconds since 1970 of a time with a zone, exactly."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
