"""The lines of a file in memory, a block of them at a time: where each begins and ends, and which are out of the usual.

Lines of JSON whose texts hold quotes and line breaks (JSON in JSON, several rows) are masked: what follows a backslash
becomes a byte that no line of JSON has, so that a quote is always the end of a text. Refuses to know what lines say.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import msgspec
import numpy as np

from chalicelib.records.cells import LINE_END, PAD, QUOTE, Bytes, Flags, Places, gathered

# The longest line, in bytes.
LONGEST_LINE = 1 << 26

# What the second byte of an escaped quote and of an escaped line break becomes.
QUOTED, BROKEN = 1, 2
_UNMASKED = bytes.maketrans(bytes([QUOTED, BROKEN]), b'"n')
_READ = bytes.maketrans(bytes([QUOTED, BROKEN]), b'"\n')
_QUOTED, _BROKEN = np.uint8(QUOTED), np.uint8(BROKEN)

_BREAK = ord("n")
_BACKSLASH, _QUOTE, _SPACE, _PRINTABLE = (np.uint8(each) for each in (ord("\\"), QUOTE, ord(" "), ord("~") - ord(" ")))
_NO_PLACES: Places = np.zeros(0, dtype=np.int64)
_STRIP = 1 << 18
# Many capture files are small.
_SMALL = 1 << 16


class Lines(msgspec.Struct, frozen=True, eq=False):
    """Some lines of a file: the bytes of line i are from `starts[i]` to `ends[i]`, its number `first` + i.

    `odd`: lines with other than printable ASCII characters. `escaped`: lines with a backslash. `escapes`: where the
    backslashes are, ascending. `quotes`: how many quotes there are in all. Valid until the next lines are asked for,
    which take the place of these in memory.
    """

    buffer: Bytes
    starts: Places
    ends: Places
    odd: Flags
    escaped: Flags
    escapes: Places
    quotes: int
    first: int

    def line(self, index: int) -> bytes:
        return self.buffer[self.starts[index] : self.ends[index]].tobytes()

    def masked(self, indices: Places) -> Masked:
        """Some lines, masked, in memory of their own."""
        starts, ends = self.starts[indices], self.ends[indices] + 1
        text, begins = gathered(self.buffer, starts, ends)
        before = np.searchsorted(self.escapes, starts)
        counts = np.searchsorted(self.escapes, ends) - before
        after = np.cumsum(counts)
        marks = self.escapes[np.repeat(before - (after - counts), counts) + np.arange(int(after[-1]))]
        marks += np.repeat(begins - starts, counts)
        escaped = text[marks + 1]
        is_quote = escaped == QUOTE
        usual = is_quote | (escaped == _BREAK)
        odd = np.zeros(len(ends), dtype=np.bool_)
        if not usual.all():
            odd[np.repeat(np.arange(len(ends)), counts)[~usual]] = True
            marks, is_quote = marks[usual], is_quote[usual]
        marks += 1
        text[marks] = np.where(is_quote, _QUOTED, _BROKEN)
        quotes = np.flatnonzero(text == QUOTE)
        before_masked = len(quotes) + int(np.count_nonzero(is_quote))
        return Masked(text, begins, begins + (ends - starts - 1), odd, quotes, marks, before_masked)


class Masked(msgspec.Struct, frozen=True, eq=False):
    """Lines in which the second byte of each `\\"` and `\\n` is one that JSON has nowhere else (`QUOTED`, `BROKEN`).

    `odd`: lines in which something else is escaped. `quotes`: the places of quotes that are left; `masks`: of those
    bytes; `quotes_before`: how many quotes there were.
    """

    buffer: Bytes
    starts: Places
    ends: Places
    odd: Flags
    quotes: Places
    masks: Places
    quotes_before: int

    def line(self, index: int) -> bytes:
        """The line, still masked."""
        return self.buffer[self.starts[index] : self.ends[index]].tobytes()


def masks_in(buffer: Bytes) -> Places:
    """Where masks are in a buffer, ascending."""
    places = np.flatnonzero(buffer <= max(QUOTED, BROKEN))
    # Not the zero bytes around the texts.
    return places[buffer[places] > 0]


def unmask(line: bytes) -> bytes:
    """A masked line as it was."""
    return line.translate(_UNMASKED)


def read_masked(text: bytes) -> bytes:
    """What a masked text says, whether it has a backslash before each mask or not."""
    return text.translate(_READ, b"\\")


def pieces_of(buffer: Bytes, begins: Places, ends: Places) -> list[memoryview]:
    """The bytes between places, each piece of them as a view."""
    view = buffer.data
    return [view[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


class TooLong(msgspec.Struct, frozen=True):
    """A line of more than `LONGEST_LINE` bytes, and its number."""

    line: int


def blocks_of(pieces: Iterable[bytes | memoryview], size: Callable[[], int]) -> Iterator[Lines | TooLong]:
    """A file's lines, some `size()` bytes at a time, whatever the pieces in which it comes (each is read at once)."""
    room = _Room(size())
    number, skipping = 1, False
    for piece in _without_mark(pieces):
        rest = memoryview(piece)
        while len(rest):
            if skipping:
                end = bytes(rest).find(b"\n")
                if end < 0:
                    break
                yield TooLong(number)
                rest, number, skipping = rest[end + 1 :], number + 1, False
            # Of a line that is longer than a block, a block's bytes more.
            wanted = size()
            count = wanted - room.held if room.held < wanted else wanted
            room.add(rest[:count])
            rest = rest[count:]
            if room.held < wanted:
                continue
            if end := room.last_line_end():
                lines = room.lines(end, number)
                number += len(lines.starts)
                yield lines
                room.forget(end)
            if room.held > LONGEST_LINE:
                room, skipping = _Room(wanted), True
    if skipping:
        yield TooLong(number)
    if room.held:
        if room.last_line_end() != room.held:
            room.add(b"\n")
        yield room.lines(room.held, number)


def _without_mark(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The pieces without the byte order mark that the first of them, or several small ones, begin with."""
    begin = b""
    some = iter(pieces)
    for piece in some:
        begin += piece
        if len(begin) >= len(BOM_UTF8):
            break
    # An iterator lets go of what it had: nobody keeps the first piece while the others are read.
    return chain(iter([begin.removeprefix(BOM_UTF8)]), some)


class _Room:
    """Memory that is used again and again: asking for it anew would cost more than what is done with it."""

    def __init__(self, size: int) -> None:
        # glibc takes memory of up to the size of the largest piece that was ever given back from its own heap from then
        # on, and not page by page from the system: a third of the processor time of labels. Nothing is written to it.
        np.empty(1 << 21, dtype=np.uint8)
        self._buffer = np.zeros(2 * PAD + min(size, _SMALL), dtype=np.uint8)
        self._usual = 2 * PAD + size + (size >> 1)
        self._flags, self._moved = np.zeros(_STRIP, dtype=np.bool_), np.zeros(_STRIP, dtype=np.uint8)
        self.held = 0

    def add(self, piece: bytes | memoryview) -> None:
        begin, end = PAD + self.held, PAD + self.held + len(piece)
        if end + PAD > len(self._buffer):
            larger = np.zeros(self._usual if end + PAD <= self._usual else 2 * (end + PAD), dtype=np.uint8)
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
        found: list[Places] = []
        escapes: list[Places] = []
        strange: list[Places] = []
        quotes = 0
        # In strips, so that what is compared is still in the cache for the next comparison.
        for start in range(PAD, PAD + count, _STRIP):
            strip = self._buffer[start : min(start + _STRIP, PAD + count)]
            flags, moved = self._flags[: len(strip)], self._moved[: len(strip)]
            # What is below a space is above everything that is printable then.
            np.subtract(strip, _SPACE, out=moved)
            np.greater(moved, _PRINTABLE, out=flags)
            places = np.flatnonzero(flags)
            line_ends = strip[places] == LINE_END
            if not line_ends.all():
                strange.append(places[~line_ends] + start)
                places = places[line_ends]
            found.append(places + start)
            np.equal(strip, _BACKSLASH, out=flags)
            if np.count_nonzero(flags):
                escapes.append(np.flatnonzero(flags) + start)
            np.equal(strip, _QUOTE, out=flags)
            quotes += int(np.count_nonzero(flags))
        ends = np.concatenate(found)
        starts = np.empty_like(ends)
        starts[0], starts[1:] = PAD, ends[:-1] + 1
        odd, escaped = (np.concatenate(each) if each else _NO_PLACES for each in (strange, escapes))
        return Lines(self._buffer, starts, ends, _with(odd, ends), _with(escaped, ends), escaped, quotes, first)


def _with(places: Places, ends: Places) -> Flags:
    """Which lines have one of the places, ascending, in them."""
    if not len(places):
        return np.zeros(len(ends), dtype=np.bool_)
    before = np.searchsorted(places, ends)
    return np.asarray(np.diff(before, prepend=0) > 0, dtype=np.bool_)
