"""The labels of a window as columns: everything that was said of its requests, and the one label of each that counts.

Ids are looked up by their hashes, as answers have them; their texts are kept to name a label that cannot be read, and
to take a person's labels out. Which of several labels counts is `ground_truth.resolve`'s rule, here for whole columns.
Not here: what a label's text says (`label_values`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.records.answers import microseconds_of
from chalicelib.records.ground_truth import Conflict, Label, resolve, value_of
from chalicelib.records.joins import NONE, Ids, ids_of

VERSION = 1

# The time of a label that nothing tells, and the record of one that is of its whole request.
NEVER = np.iinfo(np.int64).min
WHOLE = -1

Words = npt.NDArray[np.uint64]
Checks = npt.NDArray[np.uint32]
Codes = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Texts(msgspec.Struct, frozen=True, eq=False):
    """Many texts in few objects: UTF-8, one after the other, and their lengths in bytes (uint32, shape (n,))."""

    body: bytes
    lengths: npt.NDArray[np.uint32]

    def at(self, rows: Places) -> list[str]:
        ends = np.cumsum(self.lengths, dtype=np.int64)
        return [
            self.body[end - length : end].decode("utf-8", "surrogatepass")
            for end, length in zip(ends[rows].tolist(), self.lengths[rows].tolist(), strict=True)
        ]

    def taken(self, rows: Places) -> Texts:
        """These, in this order."""
        lengths = self.lengths[rows]
        if len(rows) and int(self.lengths.min()) == int(self.lengths.max()) > 0:
            # All of one length, as ids mostly are: one move of bytes each.
            whole = np.frombuffer(self.body, dtype=f"V{int(self.lengths[0])}")
            return Texts(whole[rows].tobytes(), lengths)
        ends = np.cumsum(self.lengths, dtype=np.int64)[rows].tolist()
        parts = [self.body[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]
        return Texts(b"".join(parts), lengths)


def texts_of(texts: Sequence[str]) -> Texts:
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return Texts(b"".join(encoded), np.array([len(each) for each in encoded], dtype=np.uint32))


class LabelColumns(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Labels, each once, in the order of (id's hashes, record, time, text), shape (n,) each.

    ids         their texts, by whose hashes `keys` (uint64) and `checks` (uint32) they are found
    records     int32: the record that a label is of, `WHOLE`: of all records of its request
    times       int64: when it became known, microseconds since 1970, `NEVER` where nothing tells
    codes       int32: what it says, as a place in `said`: (data, encoding) in order
    """

    ids: Texts
    keys: Words
    checks: Checks
    records: Codes
    times: Places
    codes: Codes
    said: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def __add__(self, other: LabelColumns) -> LabelColumns:
        """The labels of both, each once."""
        if not len(other):
            return self
        if not len(self):
            return other
        said = tuple(sorted({*self.said, *other.said}))
        place = {each: index for index, each in enumerate(said)}
        codes = [np.array([place[each] for each in part.said], dtype=np.int32)[part.codes] for part in (self, other)]
        return _ordered(
            Texts(self.ids.body + other.ids.body, np.concatenate([self.ids.lengths, other.ids.lengths])),
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.checks, other.checks]),
            np.concatenate([self.records, other.records]),
            np.concatenate([self.times, other.times]),
            np.concatenate(codes),
            said,
        )

    def without(self, gone: Collection[int]) -> LabelColumns:
        """The labels of ids whose `keys` are not `gone`."""
        kept = np.flatnonzero(~np.isin(self.keys, np.array(sorted(gone), dtype=np.uint64)))
        return self if len(kept) == len(self) else self._of(kept)

    def minus(self, other: LabelColumns) -> LabelColumns:
        """The labels that are not among the others: a label is another one by its id, record, time or text."""
        taken = {_identity(label) for label in other.labels_at(np.arange(len(other)))}
        rows = np.flatnonzero(np.isin(self.keys, other.keys))
        out = [row for row, label in zip(rows.tolist(), self.labels_at(rows), strict=True) if _identity(label) in taken]
        kept = np.ones(len(self), dtype=np.bool_)
        kept[out] = False
        return self._of(np.flatnonzero(kept)) if out else self

    def labels_at(self, rows: Places) -> list[Label]:
        """These labels, as they were read."""
        ids, columns = self.ids.at(rows), (self.records, self.times, self.codes)
        found = []
        for id, record, time, code in zip(ids, *(column[rows].tolist() for column in columns), strict=True):
            known = None if time == NEVER else _EPOCH + timedelta(microseconds=time)
            index = None if record == WHOLE else record
            data, encoding = self.said[code]
            found.append(Label(id, data, encoding, known, record_index=index))
        return found

    def _of(self, rows: Places) -> LabelColumns:
        used = np.unique(self.codes[rows])
        return LabelColumns(
            ids=self.ids.taken(rows),
            keys=self.keys[rows],
            checks=self.checks[rows],
            records=self.records[rows],
            times=self.times[rows],
            codes=np.searchsorted(used, self.codes[rows]).astype(np.int32),
            said=tuple(self.said[code] for code in used.tolist()),
        )

    def to_bytes(self) -> bytes:
        columns = [
            self.ids.lengths.astype("<u4"),
            self.keys.astype("<u8"),
            self.checks.astype("<u4"),
            self.records.astype("<i4"),
            self.times.astype("<i8"),
            self.codes.astype("<i4"),
        ]
        written = [each.tobytes() for each in columns]
        return msgspec.msgpack.encode(("labels", VERSION, self.ids.body, written, self.said))

    @classmethod
    def from_bytes(cls, body: bytes, where: str = "labels") -> LabelColumns:
        """Raises UnreadableError naming `where`."""
        try:
            kind, version, ids, written, said = msgspec.msgpack.decode(body, type=_Written)
            if (kind, version) != ("labels", VERSION):
                raise UnreadableError(where, f"expected labels of version {VERSION}")
            kinds = ("u4", "u8", "u4", "i4", "i8", "i4")
            lengths, *columns = (
                np.frombuffer(each, dtype=f"<{kind}").astype(kind, copy=False)
                for each, kind in zip(written, kinds, strict=True)
            )
            if {len(each) for each in columns} != {len(lengths)} or int(lengths.sum(dtype=np.int64)) != len(ids):
                raise ValueError("a value for each label")
            names = ("keys", "checks", "records", "times", "codes")
            return cls(ids=Texts(ids, lengths), **dict(zip(names, columns, strict=True)), said=said)
        except UNDECODABLE:
            raise UnreadableError(where, "expected labels in msgpack") from None

    def resolved(self, conflict: Conflict = "latest") -> LabelTable:
        """The label of each id that counts, by the rule of `ground_truth.resolve`."""
        return _Resolving(self, conflict).table()


def _identity(label: Label) -> tuple[object, ...]:
    return label.id, label.record_index, label.label_time, label.data, label.encoding


_Written = tuple[str, int, bytes, list[bytes], tuple[tuple[str, str], ...]]


def no_labels() -> LabelColumns:
    return columns_of([])


def columns_of(labels: Iterable[Label]) -> LabelColumns:
    """The columns of labels in any order, repeated or not; what tells two apart is in the columns."""
    some = list(labels)
    said = tuple(sorted({(label.data, label.encoding) for label in some}))
    place = {each: index for index, each in enumerate(said)}
    ids = [label.id for label in some]
    found = ids_of(ids)
    times = [NEVER if label.label_time is None else microseconds_of(label.label_time) for label in some]
    records = [WHOLE if label.record_index is None else label.record_index for label in some]
    codes = [place[label.data, label.encoding] for label in some]
    return _ordered(
        texts_of(ids),
        found.keys,
        found.checks,
        np.array(records, dtype=np.int32),
        np.array(times, dtype=np.int64),
        np.array(codes, dtype=np.int32),
        said,
    )


def _ordered(
    ids: Texts,
    keys: Words,
    checks: Checks,
    records: Codes,
    times: Places,
    codes: Codes,
    said: tuple[tuple[str, str], ...],
) -> LabelColumns:
    order = np.lexsort((codes, times, records, checks, keys))
    columns = [column[order] for column in (keys, checks, records, times, codes)]
    again = np.zeros(len(order), dtype=np.bool_)
    if len(order):
        again[1:] = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    rows = order[~again]
    return LabelColumns(
        ids=ids.taken(rows),
        keys=keys[rows],
        checks=checks[rows],
        records=records[rows],
        times=times[rows],
        codes=codes[rows],
        said=said,
    )


class LabelTable(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One label for each id, found by the id's hashes (in order), shape (n,) each.

    `codes`: the label's text, a place in `said` ((data, encoding); those of single records are joined to one text of
    the form `ground_truth.RECORD_LABELS`). `known`: when the first label of the id came. `repeated`, `conflicting`,
    `rejected` as in `ground_truth.Resolved`.
    """

    keys: Words
    checks: Checks
    codes: Codes
    known: Places
    ids: Texts
    said: tuple[tuple[str, str], ...] = ()
    repeated: int = 0
    conflicting: int = 0
    rejected: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def texts(self) -> list[str]:
        return [data for data, _ in self.said]

    def find(self, ids: Ids) -> Places:
        """The row of each id's label, `NONE` where it has none."""
        rows = np.full(len(ids.keys), NONE, dtype=np.int64)
        if not len(self.keys):
            return rows
        places = np.searchsorted(self.keys, ids.keys)
        open_rows = np.arange(len(rows))
        while len(open_rows):
            inside = places < len(self.keys)
            open_rows, places = open_rows[inside], places[inside]
            same = self.keys[places] == ids.keys[open_rows]
            open_rows, places = open_rows[same], places[same]
            found = self.checks[places] == ids.checks[open_rows]
            rows[open_rows[found]] = places[found]
            open_rows, places = open_rows[~found], places[~found] + 1
        return rows

    def codes_of(self, rows: Places) -> Codes:
        """The texts of rows as `find` gives them."""
        return np.where(rows == NONE, NONE, self.codes[rows] if len(self) else NONE).astype(np.int32)

    def by_id(self, ids: Sequence[str]) -> dict[str, Label]:
        """The labels of these ids, by id."""
        rows = self.find(ids_of(ids)).tolist()
        return {
            id: Label(id, *self.said[int(self.codes[row])]) for id, row in zip(ids, rows, strict=True) if row != NONE
        }


class _Resolving:
    """The rule for whole columns. A slot is an id, or one record of it."""

    def __init__(self, columns: LabelColumns, conflict: Conflict) -> None:
        self._columns, self._conflict = columns, conflict
        keys, checks, records = columns.keys, columns.checks, columns.records
        new_id = np.ones(len(columns), dtype=np.bool_)
        new_id[1:] = (keys[1:] != keys[:-1]) | (checks[1:] != checks[:-1])
        new_slot = new_id.copy()
        new_slot[1:] |= records[1:] != records[:-1]
        self._id_of = np.cumsum(new_id) - 1
        self._ids, self._slots = np.flatnonzero(new_id), np.flatnonzero(new_slot)
        self._ends = np.append(self._slots[1:], len(columns))
        self.repeated = self.conflicting = self.rejected = 0
        self._said = list(columns.said)

    def table(self) -> LabelTable:
        columns = self._columns
        chosen, fine = self._chosen()
        whole = columns.records[self._slots] == WHOLE
        codes = np.full(len(self._ids), NONE, dtype=np.int32)
        of_slot = self._id_of[self._slots]
        codes[of_slot[whole & fine]] = columns.codes[chosen[whole & fine]]
        if not whole.all():
            self._join(codes, chosen, fine, whole, of_slot)
        times = columns.times
        told = np.where(times == NEVER, np.iinfo(np.int64).max, times)
        known = np.minimum.reduceat(told, self._ids) if len(self._ids) else told
        known = np.where(known == np.iinfo(np.int64).max, NEVER, known)
        kept = np.flatnonzero(codes != NONE)
        rows = self._ids[kept]
        return LabelTable(
            keys=columns.keys[rows],
            checks=columns.checks[rows],
            codes=codes[kept],
            known=known[kept],
            ids=columns.ids.taken(rows),
            said=tuple(self._said),
            repeated=self.repeated,
            conflicting=self.conflicting,
            rejected=self.rejected,
        )

    def _chosen(self) -> tuple[Places, Flags]:
        """The row of each slot that counts, and whether there is one."""
        columns, slots, ends = self._columns, self._slots, self._ends
        latest = self._conflict != "first"
        chosen = ends - 1 if latest else slots.copy()
        fine = np.ones(len(slots), dtype=np.bool_)
        several = np.flatnonzero(ends - slots > 1)
        if not len(several):
            return chosen, fine
        values: dict[str | float, int] = {}
        value = np.array([values.setdefault(value_of(data), len(values)) for data, _ in columns.said], dtype=np.int64)
        sizes = (ends - slots)[several]
        owner = np.repeat(np.arange(len(several)), sizes)
        rows = np.repeat(slots[several] - (np.cumsum(sizes) - sizes), sizes) + np.arange(len(owner))
        said = np.unique(owner * len(values) + value[columns.codes[rows]]) // len(values)
        different = np.bincount(said, minlength=len(several))
        self.repeated = int((sizes - different).sum())
        self.conflicting = int((different > 1).sum())
        if self._conflict == "reject":
            self.rejected = self.conflicting
            fine[several[different > 1]] = False
        # Of equal times the digests decide, which need the id's text.
        first, last = slots[several], ends[several] - 1
        tied = (
            columns.times[last] == columns.times[last - 1]
            if latest
            else columns.times[first] == columns.times[first + 1]
        )
        for slot in several[tied].tolist():
            some = np.arange(slots[slot], ends[slot])
            labels = columns.labels_at(some)
            at = columns.times[chosen[slot]]
            best = [(labels[i].digest, i) for i in range(len(labels)) if columns.times[some[i]] == at]
            chosen[slot] = some[(max if latest else min)(best)[1]]
        return chosen, fine

    def _join(self, codes: Codes, chosen: Places, fine: Flags, whole: Flags, of_slot: Places) -> None:
        """Labels of single records and of their whole request become one text, request by request."""
        columns = self._columns
        place: dict[tuple[str, str], int] = {}
        having_whole = np.zeros(len(self._ids), dtype=np.bool_)
        having_whole[of_slot[whole]] = True
        slots_of: dict[int, list[int]] = {}
        for slot in np.flatnonzero(~whole).tolist():
            slots_of.setdefault(int(of_slot[slot]), []).append(slot)
        whole_slot = {int(of_slot[slot]): slot for slot in np.flatnonzero(whole & fine).tolist()}
        for id, slots in slots_of.items():
            kept_whole = whole_slot.get(id)
            if self._conflict == "reject" and having_whole[id]:
                if kept_whole is not None:
                    self.conflicting, self.rejected = self.conflicting + 1, self.rejected + 1
                codes[id] = NONE
                continue
            kept = [slot for slot in slots if fine[slot]]
            rows = [int(chosen[slot]) for slot in (*kept, *([] if kept_whole is None else [kept_whole]))]
            labels = columns.labels_at(np.array(rows, dtype=np.int64))
            # Conflicts are decided; what is left is how records meet their request.
            for label in resolve(labels, self._conflict).by_id.values():
                said = (label.data, label.encoding)
                codes[id] = place.setdefault(said, len(columns.said) + len(place))
        self._said += list(place)
