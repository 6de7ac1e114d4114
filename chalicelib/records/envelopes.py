"""Lines of JSON that differ only in a few texts, read together.

An endpoint writes the same envelope again and again: between two captures only the payloads, the ids and the time of
day differ. An envelope is learned from one line by changing each of its texts and decoding it anew, so it says exactly
what the decoder does. A line belongs to it when every byte between those texts is the same; whatever does not (other
keys or order, another encoding, escaped characters, another day) is left to the decoder. Refuses to know what the texts
mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.records.cells import (
    LINE_END,
    PAD,
    QUOTE,
    Bytes,
    Flags,
    Places,
    equal_at,
    lengths_back,
    lengths_until,
    words_at,
)

# What a line says: the texts and times that may differ from line to line, and everything else.
Said = tuple[tuple[Any, ...], Any]
Reader = Callable[[bytes], Said]
# (first byte, length) of one text in each line.
Span = tuple[Places, Places]

# Bytes that are read and matched together, and the longest line.
BLOCK = 1 << 22
LONGEST_LINE = 1 << 26
# Envelopes that a file is matched against; what fits none of them is decoded line by line.
MOST = 4

_TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_CLOCK = slice(11, 19)
_BACKSLASH, _SPACE, _TILDE = 92, 32, 126
_STRIP = 1 << 18
# Short texts are found by their end, in at most so many words more than they have in the line that was learned.
_SPARE = 2


class Lines(msgspec.Struct, frozen=True, eq=False):
    """Some lines of a file: the bytes of line i are from `starts[i]` to `ends[i]`, its number `first` + i.

    `odd`: lines with escaped or other than printable ASCII characters. `quotes`: how many quotes there are in all.
    Valid until the next lines are asked for, which take the place of these in memory.
    """

    buffer: Bytes
    starts: Places
    ends: Places
    odd: Flags
    quotes: int
    first: int

    def line(self, index: int) -> bytes:
        return self.buffer[self.starts[index] : self.ends[index]].tobytes()


class TooLong(msgspec.Struct, frozen=True):
    """A line of more than `LONGEST_LINE` bytes, and its number."""

    line: int


def blocks_of(pieces: Iterable[bytes | memoryview], size: int = BLOCK) -> Iterator[Lines | TooLong]:
    """A file's lines, some `size` bytes at a time, whatever the pieces in which it comes (each is read at once)."""
    room = _Room(size)
    number, skipping, began = 1, False, False
    for piece in pieces:
        if not began and len(piece):
            piece, began = bytes(piece).removeprefix(b"\xef\xbb\xbf"), True
        if skipping:
            rest = bytes(piece)
            end = rest.find(b"\n")
            if end < 0:
                continue
            yield TooLong(number)
            piece, number, skipping = rest[end + 1 :], number + 1, False
        room.add(piece)
        if room.held < size:
            continue
        if end := room.last_line_end():
            lines = room.lines(end, number)
            number += len(lines.starts)
            yield lines
            room.forget(end)
        if room.held > LONGEST_LINE:
            room, skipping = _Room(size), True
    if skipping:
        yield TooLong(number)
    if room.held:
        if room.last_line_end() != room.held:
            room.add(b"\n")
        yield room.lines(room.held, number)


class _Room:
    """Memory that is used again and again: asking for it anew would cost more than what is done with it."""

    def __init__(self, size: int) -> None:
        # glibc takes memory of up to the size of the largest piece that was ever given back from its own heap from then
        # on, and not page by page from the system: a third of the processor time of labels. Nothing is written to it.
        np.empty(1 << 21, dtype=np.uint8)
        self._buffer = np.zeros(2 * PAD + size + (size >> 2), dtype=np.uint8)
        self._flags = np.zeros(_STRIP, dtype=np.bool_)
        self.held = 0

    def add(self, piece: bytes | memoryview) -> None:
        begin, end = PAD + self.held, PAD + self.held + len(piece)
        if end + PAD > len(self._buffer):
            larger = np.zeros(2 * (end + PAD), dtype=np.uint8)
            larger[:begin] = self._buffer[:begin]
            self._buffer = larger
        self._buffer[begin:end] = np.frombuffer(piece, dtype=np.uint8)
        self.held += len(piece)

    def forget(self, count: int) -> None:
        """Move what comes after the first `count` bytes to the front."""
        rest = self._buffer[PAD + count : PAD + self.held].copy()
        self._buffer[PAD : PAD + len(rest)] = rest
        self.held = len(rest)

    def last_line_end(self) -> int:
        """How many of the bytes are up to the last line end."""
        end = self.held
        while end > 0:
            start = max(0, end - (1 << 16))
            found = self._buffer[PAD + start : PAD + end].tobytes().rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0

    def lines(self, count: int, first: int) -> Lines:
        """The lines of the first `count` bytes, the last of which is a line end."""
        found, strange, quotes = [], [], 0
        # In strips, so that what is compared is still in the cache for the next comparison.
        for start in range(PAD, PAD + count, _STRIP):
            strip = self._buffer[start : min(start + _STRIP, PAD + count)]
            flags = self._flags[: len(strip)]
            np.equal(strip, LINE_END, out=flags)
            line_ends = np.flatnonzero(flags)
            found.append(line_ends + start)
            for compare, byte, usual in (
                (np.equal, _BACKSLASH, 0),
                (np.less, 32, len(line_ends)),
                (np.greater, 126, 0),
            ):
                compare(strip, np.uint8(byte), out=flags)
                if np.count_nonzero(flags) > usual:
                    places = np.flatnonzero(flags)
                    strange.append(places[strip[places] != LINE_END] + start)
            np.equal(strip, QUOTE, out=flags)
            quotes += int(np.count_nonzero(flags))
        ends = np.concatenate(found)
        starts = np.empty_like(ends)
        starts[0], starts[1:] = PAD, ends[:-1] + 1
        odd = np.zeros(len(ends), dtype=np.bool_)
        for places in strange:
            odd[np.searchsorted(ends, places)] = True
        return Lines(self._buffer, starts, ends, odd, quotes, first)


class Envelope(msgspec.Struct, frozen=True, eq=False):
    """`fixed`: the bytes around the texts; `fields`: which of what a line says each text is, in the order of the line;
    `lengths`: how long they were; `long`: the one that may have any length (-1: none); `said`: what the learned line
    said. A time's text is its time of day alone; `midnight`: the seconds since 1970 at which its day begins, by field.
    """

    fixed: tuple[bytes, ...]
    fields: tuple[int, ...]
    lengths: tuple[int, ...]
    long: int
    said: Said
    midnight: dict[int, int]

    @property
    def quotes(self) -> int:
        """How many quotes each of its lines has."""
        return sum(part.count(b'"') for part in self.fixed)

    def match(self, buffer: Bytes, starts: Places, ends: Places) -> tuple[Flags, dict[int, Span]]:
        """Which lines (not odd ones) are of this envelope, and by field where their texts are.

        The long text may hold quotes that are none of the envelope's: see `Match`.
        """
        spans: dict[int, Span] = {}
        same = equal_at(buffer, starts, self.fixed[0])
        place = starts + len(self.fixed[0])
        stop = len(self.fields) if self.long < 0 else self.long
        for index in range(stop):
            length = lengths_until(buffer, place, QUOTE, self._words(index))
            if self.fields[index] in self.midnight:
                length = np.full(len(place), 8)
                same &= _is_clock(buffer, place)
            else:
                # What may not be empty is the decoder's to say.
                same &= length > 0
            spans[self.fields[index]] = place, length
            same &= equal_at(buffer, place + length, self.fixed[index + 1])
            place = place + length + len(self.fixed[index + 1])
        if self.long < 0:
            return same & (place == ends), spans
        end = ends
        for index in range(len(self.fields), self.long, -1):
            end = end - len(self.fixed[index])
            same &= equal_at(buffer, end, self.fixed[index])
            if index - 1 == self.long:
                break
            field = self.fields[index - 1]
            length = lengths_back(buffer, end, QUOTE, self._words(index - 1))
            if field in self.midnight:
                length = np.full(len(end), 8)
                same &= _is_clock(buffer, end - 8)
            else:
                same &= length > 0
            end = end - length
            spans[field] = end, length
        spans[self.fields[self.long]] = place, end - place
        return same & (end >= place), spans

    def _words(self, index: int) -> int:
        return self.lengths[index] // 8 + 1 + (_SPARE if self.lengths[index] < 32 else 0)

    def seconds(self, buffer: Bytes, field: int, span: Span) -> Places:
        """The times of a field in seconds since 1970."""
        digits = buffer[span[0][:, None] + np.arange(8)].astype(np.int64) - 48
        hours, minutes, seconds = (10 * digits[:, place] + digits[:, place + 1] for place in (0, 3, 6))
        return np.asarray(self.midnight[field] + 3600 * hours + 60 * minutes + seconds, dtype=np.int64)


def learn(line: bytes, read: Reader, long: int) -> Envelope | None:
    """The envelope of a line; None where there is none: it cannot be read, or has escaped or other characters.

    `long`: the field whose text may have any length, -1 when there is none.
    """
    if b"\\" in line or not line.isascii() or any(byte < 32 or byte > 126 for byte in line):
        return None
    said = _read(line, read)
    if said is None:
        return None
    quotes = [found.start() for found in re.finditer(rb'"', line)]
    places: dict[int, tuple[int, int]] = {}
    midnight: dict[int, int] = {}
    for opening, closing in zip(quotes[::2], quotes[1::2], strict=False):
        begin, end = opening + 1, closing
        is_time = _TIME.fullmatch(line, begin, end) is not None
        if is_time:
            begin, end = opening + 1 + _CLOCK.start, opening + 1 + _CLOCK.stop
        marks = (b"00:00:01", b"00:00:02") if is_time else (b"~", b"#")
        mark = next(each for each in marks if each != line[begin:end])
        other = _read(line[:begin] + mark + line[end:], read)
        if other is None or other[1] != said[1]:
            continue
        differing = [field for field, value in enumerate(other[0]) if value != said[0][field]]
        if len(differing) != 1:
            continue
        [field] = differing
        value = said[0][field]
        if is_time and isinstance(value, datetime):
            midnight[field] = int(value.astimezone(UTC).replace(hour=0, minute=0, second=0).timestamp())
        elif is_time or other[0][field] != mark.decode():
            continue
        places[field] = begin, end
    fields = tuple(sorted(places, key=lambda field: places[field]))
    cuts = [0, *(each for field in fields for each in places[field]), len(line)]
    fixed = tuple(line[begin:end] for begin, end in zip(cuts[::2], cuts[1::2], strict=True))
    lengths = tuple(places[field][1] - places[field][0] for field in fields)
    found = Envelope(fixed, fields, lengths, fields.index(long) if long in fields else -1, said, midnight)
    reach = len(line) + 8 * (_SPARE + 2) * len(fields) - (lengths[found.long] if found.long >= 0 else 0)
    return found if reach < PAD else None


def _read(line: bytes, read: Reader) -> Said | None:
    try:
        return read(line)
    except (*UNDECODABLE, OverflowError, UnreadableError):
        return None


def _is_clock(buffer: Bytes, places: Places) -> Flags:
    """Whether HH:MM:SS stands at each place."""
    [word] = words_at(buffer, places, 1)
    digits = np.ascontiguousarray(word).view(np.uint8).reshape(-1, 8)
    colons = (digits[:, 2] == 58) & (digits[:, 5] == 58)
    numbers = digits[:, [0, 1, 3, 4, 6, 7]] - np.uint8(48)
    tens, ones = numbers[:, ::2], numbers[:, 1::2]
    values = 10 * tens + ones
    fine = (tens < 6).all(axis=1) & (ones < 10).all(axis=1)
    return np.asarray(colons & fine & (values[:, 0] < 24), dtype=np.bool_)


class Match(msgspec.Struct, frozen=True, eq=False):
    """The lines of one envelope among some: their indices, ascending, and by field where their texts are."""

    envelope: Envelope
    rows: Places
    spans: dict[int, Span]


class Matcher:
    """Matches the lines of files against the envelopes that were learned so far."""

    def __init__(self, read: Reader, long: int) -> None:
        self._read, self._long = read, long
        self._known: list[Envelope] = []

    def split(self, lines: Lines) -> tuple[list[Match], list[int]]:
        """The lines that fit an envelope, and the indices of the others, ascending, without blank lines."""
        left = np.flatnonzero(~lines.odd & (lines.ends > lines.starts))
        matches: list[Match] = []
        for envelope in self._known:
            left = self._matched(envelope, lines, left, matches)
        tried = 0
        while len(left) and tried < MOST:
            tried += 1
            learned = learn(lines.line(int(left[len(left) // 2])), self._read, self._long)
            if learned is not None:
                self._known.append(learned)
                left = self._matched(learned, lines, left, matches)
        # Those that fitted most are tried first; those that fitted nothing lately are forgotten.
        fitted = {id(match.envelope): len(match.rows) for match in matches}
        self._known.sort(key=lambda each: -fitted.get(id(each), 0))
        del self._known[2 * MOST :]
        others = np.sort(np.concatenate([left, np.flatnonzero(lines.odd)])).tolist()
        first = lines.buffer[lines.starts]
        others = [index for index in others if first[index] > _SPACE or not lines.line(index).isspace()]
        return self._without_more_quotes(lines, matches, others)

    def _matched(self, envelope: Envelope, lines: Lines, left: Places, matches: list[Match]) -> Places:
        if not len(left):
            return left
        same, spans = envelope.match(lines.buffer, lines.starts[left], lines.ends[left])
        if same.all():
            matches.append(Match(envelope, left, spans))
            return left[:0]
        if same.any():
            kept = {field: (begin[same], length[same]) for field, (begin, length) in spans.items()}
            matches.append(Match(envelope, left[same], kept))
        return left[~same]

    def _without_more_quotes(
        self, lines: Lines, matches: list[Match], others: list[int]
    ) -> tuple[list[Match], list[int]]:
        """Lines with more quotes than their envelope have more texts than it: they are among the others."""
        expected = sum(len(match.rows) * match.envelope.quotes for match in matches)
        expected += sum(lines.line(index).count(b'"') for index in others)
        if lines.quotes == expected:
            return matches, others
        kept = []
        for match in matches:
            counts = np.array([lines.line(index).count(b'"') for index in match.rows.tolist()])
            same = counts == match.envelope.quotes
            spans = {field: (begin[same], length[same]) for field, (begin, length) in match.spans.items()}
            kept.append(Match(match.envelope, match.rows[same], spans))
            others = [*others, *match.rows[~same].tolist()]
        return kept, sorted(others)
