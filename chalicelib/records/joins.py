"""Millions of ids in little memory: the labels of a window by the hash of their ids, and the events seen so far.

Labels take 20 bytes each: 64 bits of one hash of the id in order, 32 bits of another hash, the label's text by its
number, and an index into the order. Two different ids are taken for one only when both hashes agree: 96 bits, so among
ten million labels and ten million events with a probability below 1e-14. Two ids of one 64-bit hash are told apart by
the other. An event that was seen is known by 64 bits alone: among ten million events the probability that one of them
is left out as a repetition is 3e-6. Which of several labels counts is `ground_truth.resolve`'s to say: ids with
different labels are read again, a part of the ids at a time, and asked there. Refuses to know what a label means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import UnreadableError
from chalicelib.records.batch_reader import LONGEST_LINE, Lines, Source, bodies_in, decoded_lines
from chalicelib.records.capture import BadLine, BadLines
from chalicelib.records.cells import Flags, Places, Words, both_hashes_of
from chalicelib.records.ground_truth import (
    Conflict,
    Label,
    LabelLine,
    Resolved,
    decode_label,
    decode_labels,
    read_label_lines,
    resolve,
    text_of_label,
    value_of,
)
from chalicelib.records.growing import Growing, chosen
from chalicelib.records.sorting import order_of_hashes

Checks = npt.NDArray[np.uint32]
Codes = npt.NDArray[np.int32]

NONE = -1

# Of how many ids at least all labels are objects at the same time, some 900 bytes an id: each time all files are read.
DECIDED = 1 << 16
# How often at most: of very many ids the parts are larger, still under 15 bytes for each of all ids.
READINGS = 64
# Ids that are hashed together.
_TOGETHER = 1 << 14
_LOAD = 0.6
# Of how many first bits at once it is looked up where their keys begin.
_EDGES = 1 << 16
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Ids(msgspec.Struct, frozen=True, eq=False):
    """Ids as hashes, shape (n,)."""

    keys: Words
    checks: Checks

    def __getitem__(self, rows: Any) -> Ids:
        return Ids(self.keys[rows], self.checks[rows])


def ids_of(texts: Sequence[str]) -> Ids:
    """The ids of these texts."""
    keys, others = both_hashes_of(texts)
    return Ids(keys, checks_of(others))


def checks_of(others: Words) -> Checks:
    """The checks of ids from the second of their hashes."""
    return (others >> np.uint64(32)).astype(np.uint32)


def at_moments(keys: Words, microseconds: Places) -> Words:
    """Events at their times: an id that comes again at another time is another request (captures that were made from
    a template all have one id), at the same time it is a copy."""
    found: Words = keys ^ (microseconds.astype(np.uint64) * _GOLDEN)
    return found


class Events:
    """The events seen so far, by hash: 8 bytes each, up to 60 % of the places taken."""

    def __init__(self) -> None:
        self._slots = np.zeros(1 << 16, dtype=np.uint64)
        self._count = 0

    def add(self, keys: Words) -> Flags:
        """Which of these events are new; of several equal ones the first is."""
        keys = np.where(keys == 0, _GOLDEN, keys)
        ordered = np.sort(keys)
        fresh = np.ones(len(keys), dtype=np.bool_)
        if bool((ordered[1:] == ordered[:-1]).any()):
            fresh[:] = False
            fresh[np.unique(keys, return_index=True)[1]] = True
        while self._count + len(keys) > _LOAD * len(self._slots):
            self._grow()
        rows = np.flatnonzero(fresh)
        known = self._insert(keys[rows])
        fresh[rows[known]] = False
        self._count += int(fresh.sum())
        return fresh

    def _grow(self) -> None:
        """Twice as many places. The old ones are given back from their end on, as fast as new ones are written to."""
        old, self._slots = self._slots, np.zeros(2 * len(self._slots), dtype=np.uint64)
        while len(old):
            start = max(0, len(old) - (1 << 16))
            part = old[start:].copy()
            old.resize(start, refcheck=False)
            self._insert(part[part != 0])

    def _insert(self, keys: Words) -> Flags:
        """Put different keys in their places; which of them were there."""
        known = np.zeros(len(keys), dtype=np.bool_)
        size = len(self._slots)
        places = (keys >> np.uint64(65 - size.bit_length())).astype(np.int64)
        rows = np.arange(len(keys))
        while len(rows):
            held = self._slots[places]
            same = held == keys[rows]
            known[rows[same]] = True
            free = held == 0
            self._slots[places[free]] = keys[rows[free]]
            # Of several that met at one free place, one is there now.
            going_on = ~same & (self._slots[places] != keys[rows])
            rows, places = rows[going_on], (places[going_on] + 1) % size
        return known


class Labels:
    """One label for each id, by the rule for conflicts, found by the hash of the id.

    `texts`: the labels' texts by number. `repeated`, `conflicting`, `rejected`: as in `ground_truth.Resolved`. `bad`:
    by source, the first lines that could not be read (line 0: the file), `more_bad` counts the others.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.repeated = self.conflicting = self.rejected = 0
        self.bad: list[tuple[str, BadLine]] = []
        self.more_bad = 0
        self._keys: Words = np.zeros(0, dtype=np.uint64)
        self._checks: Checks = np.zeros(0, dtype=np.uint32)
        self._codes: Codes = np.zeros(0, dtype=np.int32)
        self._index = np.zeros(2, dtype=np.int32)
        self._bits = 0

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, ids: Ids) -> Codes:
        """The number of each id's label text, `NONE` where it has no label."""
        codes = np.full(len(ids.keys), NONE, dtype=np.int32)
        if not len(self._keys):
            return codes
        buckets = (
            (ids.keys >> np.uint64(64 - self._bits)).astype(np.int64)
            if self._bits
            else np.zeros(len(ids.keys), dtype=np.int64)
        )
        places, ends = self._index[buckets].astype(np.int64), self._index[buckets + 1]
        rows = np.flatnonzero(places < ends)
        places = places[rows]
        while len(rows):
            same = (self._keys[places] == ids.keys[rows]) & (self._checks[places] == ids.checks[rows])
            codes[rows[same]] = self._codes[places[same]]
            places = places + 1
            going_on = ~same & (places < ends[rows])
            rows, places = rows[going_on], places[going_on]
        return codes

    def by_id(self, ids: Sequence[str]) -> dict[str, Label]:
        """The labels of these ids, by id."""
        codes = self.find(ids_of(ids)).tolist()
        return {id: Label(id, self.texts[code]) for id, code in zip(ids, codes, strict=True) if code != NONE}


def read_labels(
    sources: Sequence[Source],
    conflict: Conflict = "latest",
    told: Callable[[Source], None] | None = None,
) -> Labels:
    """Read all labels of ground-truth files; lines and files that cannot be read are named.

    `told` hears of each file that was read.
    """
    reader = _LabelReader()
    for source in sources:
        reader.read(source)
        if told:
            told(source)
    return reader.resolved(sources, conflict)


class _LabelReader:
    def __init__(self) -> None:
        self._labels = Labels()
        self._numbers: dict[str, int] = {}
        self._keys, self._checks, self._codes = Growing(np.uint64), Growing(np.uint32), Growing(np.int32)
        self._refused: set[str] = set()
        self._in_parts = Growing(np.uint64)  # the id's hash of each label for a single record of its request

    def read(self, source: Source) -> None:
        bad = BadLines(source.name, "a ground-truth record")
        good, before = 0, len(self._keys)
        try:
            number = 1
            ids: list[str] = []
            for body in bodies_in(source.pieces()):
                _, found, count = _labels_in(body, number, source, bad, good)
                number += count
                good += len(found)
                self._codes.append(self._numbers_of([each.ground_truth_data.data for each in found]))
                metadata = [each.event_metadata for each in found]
                ids += [each.event_id for each in metadata]
                indexes = [each.record_index for each in metadata]
                if indexes.count(None) < len(indexes):
                    parts = [id for id, index in zip(ids[-len(found) :], indexes, strict=True) if index is not None]
                    self._in_parts.append(ids_of(parts).keys)
                if len(ids) >= _TOGETHER:
                    self._append(ids_of(ids))
                    ids = []
            self._append(ids_of(ids))
            bad.refuse_if_hopeless(good)
        except UnreadableError as error:
            self._cut(before)
            self._refused.add(source.name)
            self._labels.bad.append((source.name, BadLine(0, error.reason)))
            return
        self._labels.bad += [(source.name, each) for each in bad.named]
        self._labels.more_bad += bad.more

    def resolved(self, sources: Sequence[Source], conflict: Conflict) -> Labels:
        labels = self._labels
        if len(self._in_parts):
            self._join_parts(sources, conflict)
        labels.texts = list(self._numbers)
        columns: list[npt.NDArray[Any]] = [*self._sorted()]
        keys, checks, _ = columns
        same = np.zeros(len(keys), dtype=np.bool_)
        np.logical_and(keys[1:] == keys[:-1], checks[1:] == checks[:-1], out=same[1:])
        del keys, checks
        if same.any():
            self._choose(columns, same, sources, conflict)
        keys, checks, codes = columns
        labels._keys, labels._checks, labels._codes = keys, checks, codes
        labels._bits = max(len(keys).bit_length() - 1, 0)
        labels._index = _index_of(keys, labels._bits)
        return labels

    def _append(self, ids: Ids) -> None:
        self._keys.append(ids.keys)
        self._checks.append(ids.checks)

    def _append_labels(self, labels: Sequence[Label]) -> None:
        self._append(ids_of([label.id for label in labels]))
        self._codes.append(self._numbers_of([label.data for label in labels]))

    def _numbers_of(self, data: Sequence[str | int | float | bool]) -> Codes:
        known = self._numbers
        # Only texts are known: a number or a boolean of JSON is not the text that is equal to it in Python.
        codes: list[int | None] = list(map(known.get, data))  # type: ignore[arg-type]
        if None in codes:
            texts = [each if type(each) is str else text_of_label(each) for each in data]
            codes = [known.setdefault(text, len(known)) for text in texts]
        return np.array(codes, dtype=np.int32)

    def _cut(self, count: int) -> None:
        for column in (self._keys, self._checks, self._codes):
            column.cut(count)

    def _join_parts(self, sources: Sequence[Source], conflict: Conflict) -> None:
        """Replace all labels of requests that have one for single records by what `resolve` makes of them."""
        wanted = np.unique(self._in_parts.array)
        kept = ~_among(self._keys.array, wanted)
        for column in (self._keys, self._checks, self._codes):
            column.hold(column.array[kept])
        self._decide(wanted, sources, conflict, self._take)

    def _take(self, decided: Resolved) -> None:
        self._append_labels(list(decided.by_id.values()))
        labels = self._labels
        labels.repeated += decided.repeated
        labels.conflicting += decided.conflicting
        labels.rejected += decided.rejected

    def _decide(
        self, wanted: Words, sources: Sequence[Source], conflict: Conflict, told: Callable[[Resolved], None]
    ) -> None:
        """Tell what `resolve` says of all labels of the ids of these different hashes (in order), a part at a time.

        Ids that share a hash are in one part, so each is told once. No part is held beside the next one.
        """
        read = [source for source in sources if source.name not in self._refused]
        size = max(DECIDED, -(-len(wanted) // READINGS))
        for start in range(0, len(wanted), size):
            told(resolve(_labels_of(read, wanted[start : start + size]), conflict))

    def _sorted(self) -> tuple[Words, Checks, Codes]:
        order = order_of_hashes(self._keys.array)
        keys = self._keys.taken(order)
        checks = self._checks.array
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if bool((checks[order[twice]] != checks[order[twice + 1]]).any()):
            order = order[np.lexsort((checks[order], keys))]
        return keys, self._checks.taken(order), self._codes.taken(order)

    def _choose(
        self, columns: list[npt.NDArray[Any]], same: Flags, sources: Sequence[Source], conflict: Conflict
    ) -> None:
        """Keep one label of each id: where all say the same any of them, else what `resolve` says of them.

        `columns`: keys, checks and codes, which are replaced one after the other. `same`: rows of the id before.
        """
        labels = self._labels
        different = self._different(columns[2], same)
        labels.conflicting += len(different)
        kept = ~same
        if len(different):
            keys, checks, codes = columns
            kept[different] = False

            def keep(decided: Resolved) -> None:
                labels.rejected += decided.rejected
                ids = ids_of(list(decided.by_id))
                for key, check, label in zip(ids.keys, ids.checks, decided.by_id.values(), strict=True):
                    place = int(np.searchsorted(keys, key))
                    while checks[place] != check:
                        place += 1
                    kept[place] = True
                    [codes[place]] = self._numbers_of([label.data])

            self._decide(np.unique(keys[different]), sources, conflict, keep)
            labels.texts = list(self._numbers)
            del keys, checks, codes
        for place, column in enumerate(columns):
            columns[place] = chosen(column, kept)
            del column

    def _different(self, codes: Codes, same: Flags) -> Places:
        """The first rows of ids whose labels say different things; counts the labels that say the same again."""
        values: dict[str | float, int] = {}
        value = np.array([values.setdefault(value_of(text), len(values)) for text in self._labels.texts])
        found: list[Places] = []
        start = 0
        while start < len(same):
            stop = min(start + _EDGES, len(same))
            # Up to where another id begins.
            while stop < len(same) and same[stop]:
                stop += 1
            again = same[start:stop]
            several = np.flatnonzero(again | np.append(again[1:], False))
            firsts = np.flatnonzero(~again)
            groups = np.cumsum(~again)[several] - 1
            said = np.unique(groups * len(values) + value[codes[start:stop][several]])
            self._labels.repeated += len(several) - len(said)
            named, counts = np.unique(said // len(values), return_counts=True)
            found.append(start + firsts[named[counts > 1]])
            start = stop
        return np.concatenate(found)


def _index_of(keys: Words, bits: int) -> npt.NDArray[np.int32]:
    """Where the keys begin, which are in order, that have each of the possible first `bits` bits; and their number."""
    index = np.full((1 << bits) + 1, len(keys), dtype=np.int32)
    for start in range(0, 1 << bits, _EDGES):
        edges = np.arange(start, min(start + _EDGES, 1 << bits), dtype=np.uint64)
        if bits:
            edges <<= np.uint64(64 - bits)
        index[start : start + len(edges)] = np.searchsorted(keys, edges)
    return index


def _labels_in(
    body: bytes, number: int, source: Source, bad: BadLines, good: int
) -> tuple[Lines, list[LabelLine], int]:
    """Those of the lines that are labels, what they say, and how many lines there are at all."""
    lines = Lines()
    decoded: list[LabelLine] | None = decoded_lines(body, decode_labels)
    times = [] if decoded is None else [each.event_metadata.label_time for each in decoded]
    if decoded is not None and (times.count(None) == len(times) or all(map(_is_plausible, times))):
        lines.append(body, len(decoded))
        return lines, decoded, len(decoded)
    found: list[LabelLine] = []
    every = body.split(b"\n")[:-1]
    for place, line in enumerate(every):
        if len(line) > LONGEST_LINE:
            bad.add(number + place, OverflowError(f"longer than {LONGEST_LINE} bytes"), good + len(found))
            continue
        numbered = [] if not line or line.isspace() else [(number + place, line)]
        if read_label_lines(numbered, source.name, source.arrived, bad, good + len(found)):
            lines.append(line)
            found.append(decode_label(line))
    return lines, found, len(every)


def _is_plausible(time: datetime | None) -> bool:
    return time is None or 1970 < time.year < 2899


def _labels_of(sources: Sequence[Source], keys: Words) -> list[Label]:
    """All labels of the ids of these hashes (in order), read again."""
    found: list[Label] = []
    for source in sources:
        bad = BadLines(source.name, "")
        for body in bodies_in(source.pieces()):
            lines, decoded, _ = _labels_in(body, 0, source, bad, 1 << 62)
            ids = ids_of([each.event_metadata.event_id for each in decoded])
            wanted = np.flatnonzero(_among(ids.keys, keys)).tolist()
            found += read_label_lines(
                ((0, lines[place]) for place in wanted), source.name, source.arrived, bad, 1 << 62
            )
    return found


def _among(keys: Words, wanted: Words) -> Flags:
    places = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    return np.asarray(wanted[places] == keys, dtype=np.bool_)
