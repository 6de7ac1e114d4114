"""A profile folded from cells: bytes in a buffer become counts, moments, quantiles and categories of each column.

Gives what `profile_of` gives of the same rows, without a Python object for each value. A column starts by counting its
distinct texts; with more than `categories.BOUND` of them its numbers are read by `records.cells`. What is no plain
decimal number there (1e3, +1, NaN, blank, other scripts) is counted as text and classified by `column_of_counts`, so
that there is one rule. Refuses to know where cells come from. Values are payload.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from chalicelib.records.cells import LONGEST, MINUS, Bytes, Flags, Places, Words, endings, hashes, numbers, text_at
from chalicelib.states.categories import BOUND, categories_of
from chalicelib.states.moments import MomentsFold
from chalicelib.states.profile import Column, Profile, column_of_counts
from chalicelib.states.quantiles import QuantilesFold

# Texts that are no number are classified together when there are so many different ones.
_ODD = 4 * BOUND
_SHIFT = np.uint64(48)
# What starts with one of these letters is text; with others it may be nan, infinity, true or false.
_LETTERS = np.zeros(256, dtype=np.bool_)
_LETTERS[[byte for byte in b"abcdeghjklmopqrsuvwxyzABCDEGHJKLMOPQRSUVWXYZ"]] = True


class ProfileFold:
    """Folds rows of cells into a profile; `names` are those of all columns, outputs first; `width` are features."""

    def __init__(self, names: tuple[str, ...], width: int) -> None:
        self._columns = [_ColumnFold(name, position) for position, name in enumerate(names)]
        self._width = width
        self._rows = 0

    def add(self, buffer: Bytes, begins: list[Places], lengths: list[Places]) -> None:
        """Add rows: for each column where its cells begin in the buffer and how long they are, shape (n,) each."""
        if not begins or not len(begins[0]):
            return
        self._rows += len(begins[0])
        for column, begin, length in zip(self._columns, begins, lengths, strict=True):
            column.add(buffer, begin, length)

    @property
    def state(self) -> Profile:
        """The profile of what was added; `Profile()` before the first row."""
        if not self._rows:
            return Profile()
        columns = tuple(column.state for column in self._columns)
        return Profile(self._rows, columns, self._rows, self._width)


class _ColumnFold:
    def __init__(self, name: str, position: int) -> None:
        self._name, self._position = name, position
        self._texts: _Texts | None = _Texts()
        # Classified as text; and what is waiting to be.
        self._told = Column(name, position)
        self._odd: Counter[str] = Counter()
        self._integral = self._fractional = self._strings = 0
        self._moments, self._quantiles = MomentsFold(), QuantilesFold()
        self._smallest = _Smallest()

    def add(self, buffer: Bytes, begins: Places, lengths: Places) -> None:
        longest = int(lengths.max())
        if longest > LONGEST:
            fitting = lengths <= LONGEST
            self._add_odd(buffer, begins[~fitting], lengths[~fitting])
            begins, lengths = begins[fitting], lengths[fitting]
            longest = int(lengths.max(initial=0))
        words = endings(buffer, begins, lengths, max(1, -(-longest // 8)))
        keys = hashes(words, lengths)
        if self._texts:
            if self._texts.add(keys, buffer, begins, lengths):
                return
            self._told += column_of_counts(self._name, self._position, self._texts.counts)
            self._texts = None
        self._add_values(words, keys, buffer, begins, lengths)

    @property
    def state(self) -> Column:
        waiting = Counter(self._odd)
        if self._texts:
            waiting.update(self._texts.counts)
        valued = Column(
            self._name,
            self._position,
            self._integral,
            self._fractional,
            0,
            self._strings,
            0,
            self._moments.state,
            self._quantiles.state,
            categories_of(self._smallest.counts, self._integral + self._fractional + self._strings),
        )
        return self._told + column_of_counts(self._name, self._position, waiting) + valued

    def _add_values(self, words: list[Words], keys: Words, buffer: Bytes, begins: Places, lengths: Places) -> None:
        first = buffer[begins]
        values, pointed, plain = numbers(words, lengths, first == MINUS)
        if not plain.all():
            other = ~plain & (lengths > 0)
            letters = other & _LETTERS[first]
            self._strings += int(np.count_nonzero(letters))
            odd = other & ~letters
            self._add_odd(buffer, begins[odd], lengths[odd])
            kept = plain | letters
            values, pointed = values[plain], pointed[plain]
            keys, begins, lengths = keys[kept], begins[kept], lengths[kept]
        fractional = int(np.count_nonzero(pointed))
        self._fractional += fractional
        self._integral += len(values) - fractional
        if len(values):
            self._moments.add(values)
            self._quantiles.add(values)
        self._smallest.add(keys, buffer, begins, lengths)

    def _add_odd(self, buffer: Bytes, begins: Places, lengths: Places) -> None:
        self._odd.update(text_at(buffer, *place) for place in zip(begins.tolist(), lengths.tolist(), strict=True))
        if len(self._odd) > _ODD:
            self._told += column_of_counts(self._name, self._position, self._odd)
            self._odd.clear()


class _Texts:
    """Counts up to `BOUND` distinct texts by their hashes, found by the hash's highest 16 bits."""

    def __init__(self) -> None:
        self._slots = np.zeros(1 << 16, dtype=np.int16)
        # Place 0 is that of no text.
        self._keys = np.zeros(BOUND + 1, dtype=np.uint64)
        self._counts = np.zeros(BOUND + 1, dtype=np.int64)
        self._texts: dict[int, tuple[int, str]] = {}

    def add(self, keys: Words, buffer: Bytes, begins: Places, lengths: Places) -> bool:
        """Whether they were counted: nothing was where there are too many distinct ones."""
        places = self._slots[keys >> _SHIFT]
        known: Flags = self._keys[places] == keys
        if not known.all():
            unknown = np.flatnonzero(~known)
            found, first, counts = np.unique(keys[unknown], return_index=True, return_counts=True)
            new = [key for key in found.tolist() if key not in self._texts]
            if len(self._texts) + len(new) > BOUND:
                return False
            for key, row, count in zip(found.tolist(), unknown[first].tolist(), counts.tolist(), strict=True):
                if key not in self._texts:
                    self._learn(key, text_at(buffer, int(begins[row]), int(lengths[row])))
                self._counts[self._texts[key][0]] += count
            places = places[known]
        self._counts += np.bincount(places, minlength=BOUND + 1)
        return True

    def _learn(self, key: int, text: str) -> None:
        place = len(self._texts) + 1
        self._texts[key] = (place, text)
        self._keys[place] = key
        if not self._slots[key >> 48]:
            self._slots[key >> 48] = place

    @property
    def counts(self) -> dict[str, int]:
        return {text: int(self._counts[place]) for place, text in self._texts.values()}


class _Smallest:
    """Counts the texts of the smallest hashes, at least `BOUND` of them where there are so many."""

    def __init__(self) -> None:
        self._keys = np.zeros(0, dtype=np.uint64)
        self._counts = np.zeros(0, dtype=np.int64)
        self._texts: dict[int, str] = {}
        self._limit: np.uint64 | None = None

    def add(self, keys: Words, buffer: Bytes, begins: Places, lengths: Places) -> None:
        if self._limit is not None:
            rows = np.flatnonzero(keys <= self._limit)
            keys, begins, lengths = keys[rows], begins[rows], lengths[rows]
        if not len(keys):
            return
        found, first, counts = np.unique(keys, return_index=True, return_counts=True)
        if len(found) > BOUND:
            found, first, counts = found[:BOUND], first[:BOUND], counts[:BOUND]
            self._keep_to(found[-1])
        places = np.searchsorted(self._keys, found)
        new = np.ones(len(found), dtype=np.bool_)
        inside = places < len(self._keys)
        new[inside] = self._keys[places[inside]] != found[inside]
        self._counts[places[~new]] += counts[~new]
        if new.any():
            for key, row in zip(found[new].tolist(), first[new].tolist(), strict=True):
                self._texts[key] = text_at(buffer, int(begins[row]), int(lengths[row]))
            self._keys = np.insert(self._keys, places[new], found[new])
            self._counts = np.insert(self._counts, places[new], counts[new])
            if len(self._keys) > 2 * BOUND:
                self._keep_to(self._keys[BOUND - 1])

    def _keep_to(self, limit: np.uint64) -> None:
        self._limit = limit
        count = int(np.searchsorted(self._keys, limit, side="right"))
        for key in self._keys[count:].tolist():
            del self._texts[key]
        self._keys, self._counts = self._keys[:count], self._counts[:count]

    @property
    def counts(self) -> dict[str, int]:
        return {self._texts[key]: count for key, count in zip(self._keys.tolist(), self._counts.tolist(), strict=True)}
