"""A profile folded from cells: bytes in a buffer become counts, moments, quantiles and categories of each column.

Equals `profile_of` of the same rows, without a Python object per value. A column starts by counting its distinct texts;
with more than `categories.BOUND` of them its numbers are read by `records.cells`. Anything but a plain decimal number
(1e3, +1, NaN, blank, other scripts) is counted as text and classified by `column_of_counts`, so that there is one rule.
Values are payload. Not here: where cells come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from chalicelib.records.cells import (
    LONGEST,
    MINUS,
    Bytes,
    Cells,
    Flags,
    Words,
    hashes,
    last_words,
    numbers,
    text_at,
    words_at,
)
from chalicelib.states.categories import BOUND, categories_of
from chalicelib.states.moments import MomentsFold
from chalicelib.states.profile import Column, Profile, column_of_counts
from chalicelib.states.quantiles import QuantilesFold

# Texts that are not numbers are classified together, once there are this many different ones.
_ODD = 4 * BOUND
_SLOT_BITS = 14
_SLOT_SHIFT = np.uint64(64 - _SLOT_BITS)
# A cell that starts with one of these letters is text; with others it may be nan, infinity, true or false.
_LETTERS = np.zeros(256, dtype=np.bool_)
_LETTERS[[byte for byte in b"abcdeghjklmopqrsuvwxyzABCDEGHJKLMOPQRSUVWXYZ"]] = True


class ProfileFold:
    """Folds rows of cells into a profile; `names` are those of all columns, outputs first; `width` are features."""

    def __init__(self, names: tuple[str, ...], width: int) -> None:
        self._columns = [_ColumnFold(name, position) for position, name in enumerate(names)]
        self._width = width
        self._rows = 0

    def add(self, columns: Sequence[tuple[Bytes, Cells]]) -> None:
        """Add rows: the cells of each column, of shape (n,), and the buffer in which they are."""
        if not columns or not len(columns[0][1].begins):
            return
        self._rows += len(columns[0][1].begins)
        for column, (buffer, cells) in zip(self._columns, columns, strict=True):
            column.add(buffer, cells)

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
        self._all: _FewTexts | None = _FewTexts()
        # Classified as text; and what is waiting to be.
        self._told = Column(name, position)
        self._odd: Counter[str] = Counter()
        self._integral = self._fractional = self._strings = 0
        self._moments, self._quantiles = MomentsFold(), QuantilesFold()
        self._smallest = _SmallestTexts()

    def add(self, buffer: Bytes, cells: Cells) -> None:
        if int(cells.lengths.max()) > LONGEST:
            fitting = cells.lengths <= LONGEST
            self._add_odd(buffer, cells.of(~fitting))
            cells = cells.of(fitting)
        words = last_words(buffer, cells)
        keys = hashes(words, cells.lengths)
        if self._all is not None:
            if self._all.add(keys, buffer, cells):
                return
            self._told += column_of_counts(self._name, self._position, self._all.counts)
            self._all = None
        self._add_values(words, keys, buffer, cells)

    @property
    def state(self) -> Column:
        waiting = Counter(self._odd)
        if self._all is not None:
            waiting.update(self._all.counts)
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

    def _add_values(self, words: list[Words], keys: Words, buffer: Bytes, cells: Cells) -> None:
        first = buffer[cells.begins]
        values, pointed, plain = numbers(words, cells.lengths, first == MINUS)
        if not plain.all():
            other = ~plain & (cells.lengths > 0)
            letters = other & _LETTERS[first]
            self._strings += int(np.count_nonzero(letters))
            self._add_odd(buffer, cells.of(other & ~letters))
            kept = plain | letters
            values, pointed = values[plain], pointed[plain]
            keys, cells = keys[kept], Cells(cells.begins[kept], cells.lengths[kept])
        fractional = int(np.count_nonzero(pointed))
        self._fractional += fractional
        self._integral += len(values) - fractional
        if len(values):
            self._moments.add(values)
            self._quantiles.add(values)
        self._smallest.add(keys, buffer, cells)

    def _add_odd(self, buffer: Bytes, cells: Cells) -> None:
        self._odd.update(
            text_at(buffer, *place) for place in zip(cells.begins.tolist(), cells.lengths.tolist(), strict=True)
        )
        if len(self._odd) > _ODD:
            self._told += column_of_counts(self._name, self._position, self._odd)
            self._odd.clear()


class _FewTexts:
    """Counts texts by their hashes while there are up to `BOUND` distinct ones."""

    def __init__(self) -> None:
        # Place 0 is that of no text.
        self._keys = np.zeros(BOUND + 1, dtype=np.uint64)
        self._counts = np.zeros(BOUND + 1, dtype=np.int64)
        self._slots = np.zeros(1 << _SLOT_BITS, dtype=np.int16)
        self._texts: dict[int, tuple[int, str]] = {}

    def add(self, keys: Words, buffer: Bytes, cells: Cells) -> bool:
        """Whether they were counted: nothing was where there are too many distinct ones."""
        places = self._slots.take((keys >> _SLOT_SHIFT).view(np.int64)).astype(np.int64)
        known: Flags = self._keys.take(places) == keys
        # The key of no text is 0, which is a hash like others.
        known &= places > 0
        if not known.all():
            unknown = np.flatnonzero(~known)
            # Columns of numbers have too many, and that is mostly seen from a few rows.
            if len(unknown) > 2 * BOUND and len(np.unique(keys[unknown[: 2 * BOUND]])) > BOUND:
                return False
            found, first, counts = np.unique(keys[unknown], return_index=True, return_counts=True)
            listed = found.tolist()
            if len(self._texts) + sum(key not in self._texts for key in listed) > BOUND:
                return False
            for key, row, count in zip(listed, unknown[first].tolist(), counts.tolist(), strict=True):
                if key not in self._texts:
                    self._learn(key, text_at(buffer, int(cells.begins[row]), int(cells.lengths[row])))
                self._counts[self._texts[key][0]] += count
            places = places[known]
        self._counts += np.bincount(places, minlength=BOUND + 1)
        return True

    def _learn(self, key: int, text: str) -> None:
        place = len(self._texts) + 1
        self._texts[key] = (place, text)
        self._keys[place] = key
        slot = key >> int(_SLOT_SHIFT)
        if not self._slots[slot]:
            self._slots[slot] = place

    @property
    def counts(self) -> dict[str, int]:
        return {text: int(self._counts[place]) for place, text in self._texts.values()}


class _SmallestTexts:
    """Counts the texts of the `BOUND` smallest hashes; all texts while there are no more."""

    def __init__(self) -> None:
        # In the order of the hashes; `_words` are the first `LONGEST` bytes from a text's begin on.
        self._keys = np.zeros(0, dtype=np.uint64)
        self._counts = np.zeros(0, dtype=np.int64)
        self._lengths = np.zeros(0, dtype=np.int64)
        self._words = np.zeros((0, LONGEST // 8), dtype=np.uint64)
        self._limit: np.uint64 | None = None

    def add(self, keys: Words, buffer: Bytes, cells: Cells) -> None:
        """Count texts that stand in a buffer."""
        begins, lengths = cells.begins, cells.lengths
        limit = self._limit
        if limit is None and len(keys) > BOUND:
            # Most of many texts are seen to be too many before they are looked at one by one.
            smallest = np.sort(keys)
            distinct = smallest[np.append(True, smallest[1:] != smallest[:-1])]
            limit = distinct[BOUND - 1] if len(distinct) >= BOUND else None
        if limit is not None:
            rows = np.flatnonzero(keys <= limit)
            keys, begins, lengths = keys[rows], begins[rows], lengths[rows]
        if not len(keys):
            return
        places = np.searchsorted(self._keys, keys)
        known = places < len(self._keys)
        known[known] = self._keys[places[known]] == keys[known]
        self._counts += np.bincount(places[known], minlength=len(self._counts))
        unknown = np.flatnonzero(~known)
        if not len(unknown):
            return
        found, first, counts = np.unique(keys[unknown], return_index=True, return_counts=True)
        rows = unknown[first]
        words = np.stack(words_at(buffer, begins[rows], LONGEST // 8), axis=1)
        order = np.argsort(np.concatenate([self._keys, found]), kind="stable")[:BOUND]
        self._keys = np.concatenate([self._keys, found])[order]
        self._counts = np.concatenate([self._counts, counts])[order]
        self._lengths = np.concatenate([self._lengths, lengths[rows]])[order]
        self._words = np.concatenate([self._words, words])[order]
        if len(order) == BOUND:
            # Those that are left out have greater hashes, now and later.
            self._limit = self._keys[-1]

    @property
    def counts(self) -> dict[str, int]:
        texts = [
            text.tobytes()[:length].decode() for text, length in zip(self._words, self._lengths.tolist(), strict=True)
        ]
        return dict(zip(texts, self._counts.tolist(), strict=True))
