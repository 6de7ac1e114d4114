"""Lines of JSON that differ only in a few texts, read together.

An endpoint writes the same envelope again and again: between two captures only the payloads, the ids and the time of
day differ. An envelope is learned from one line by changing each of its texts and decoding it anew, so it says exactly
what the decoder does. A line belongs to it when every byte between those texts is the same; whatever does not (other
keys or order, another encoding, another day) is left to the decoder. So are lines in which more is escaped than quotes
and line breaks of payloads. Refuses to know what the texts mean.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.records.cells import (
    PAD,
    QUOTE,
    Bytes,
    Flags,
    Places,
    equal_at,
    gathered,
    lengths_back,
    lengths_until,
    words_at,
)
from chalicelib.records.lines import Lines, Masked, masks_in, unmask

# What a line says: the texts and times that may differ from line to line, and everything else.
Said = tuple[tuple[Any, ...], Any]
Reader = Callable[[bytes], Said]
# (first byte, length) of one text in each line.
Span = tuple[Places, Places]

# Envelopes that a file is matched against; what fits none of them is decoded line by line.
MOST = 4
# Texts, keys among them, of a line that is learned from: it is decoded once for each.
_MOST_TEXTS = 128

_TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_CLOCK = slice(11, 19)
_SPACE = 32
_NO_PLACES: Places = np.zeros(0, dtype=np.int64)
# Short texts are found by their end, in at most so many words more than they have in the line that was learned.
_SPARE = 2


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
        """How many quotes each of its lines has (masked ones: as texts' ends)."""
        return sum(part.count(b'"') for part in self.fixed)

    @property
    def is_near(self) -> bool:
        """Whether all of its texts but the long one are so short that `match` finds them within a buffer's bounds."""
        long = self.lengths[self.long] if self.long >= 0 else 0
        fixed = sum(map(len, self.fixed)) + sum(self.lengths) - long
        return fixed + 8 * (_SPARE + 2) * len(self.fields) < PAD

    def match(self, buffer: Bytes, starts: Places, ends: Places) -> tuple[Flags, dict[int, Span]]:
        """Which lines (not odd ones) are of this envelope, and by field where their texts are.

        All of them begin as it does, see `_matched`.
        The long text may hold quotes that are none of the envelope's: see `Match`.
        """
        spans: dict[int, Span] = {}
        same = np.ones(len(starts), dtype=np.bool_)
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

    def match_masked(self, lines: Masked, rows: Places, payloads: Sequence[int]) -> tuple[Flags, dict[int, Span]]:
        """The same for masked lines, each of which has as many quotes as this envelope and begins as it does;
        `payloads`: the fields that may hold quotes and line breaks."""
        quotes, masks = lines.quotes, lines.masks
        first = np.searchsorted(quotes, lines.starts[rows])
        place, ends = lines.starts[rows], lines.ends[rows]
        same = np.ones(len(rows), dtype=np.bool_)
        spans: dict[int, Span] = {}
        opening = -1
        for index, (field, part) in enumerate(zip(self.fields, self.fixed, strict=False)):
            if index:
                same &= equal_at(lines.buffer, place, part)
            opening += part.count(b'"')
            begin = place + len(part)
            # A time of day does not begin and end with its text, but always at the same distance from it.
            end = quotes[first + opening + 1] - self.fixed[index + 1].find(b'"')
            same &= end >= begin
            if field in self.midnight:
                same &= end == begin + 8
                same &= _is_clock(lines.buffer, begin)
            elif field not in payloads:
                same &= (end > begin) & (np.searchsorted(masks, begin) == np.searchsorted(masks, end))
            spans[field] = begin, end - begin
            place = end
        return same & equal_at(lines.buffer, place, self.fixed[-1]) & (place + len(self.fixed[-1]) == ends), spans

    def _words(self, index: int) -> int:
        return self.lengths[index] // 8 + 1 + (_SPARE if self.lengths[index] < 32 else 0)

    def seconds(self, buffer: Bytes, field: int, span: Span) -> Places:
        """The times of a field in seconds since 1970."""
        [word] = words_at(buffer, span[0], 1)
        digits = np.ascontiguousarray(word).view(np.uint8).reshape(-1, 8) - np.uint8(48)
        hours, minutes, seconds = (
            (np.uint8(10) * digits[:, place] + digits[:, place + 1]).astype(np.int64) for place in (0, 3, 6)
        )
        return np.asarray(self.midnight[field] + 3600 * hours + 60 * minutes + seconds, dtype=np.int64)


def learn(line: bytes, read: Reader, long: int) -> Envelope | None:
    """The envelope of a line (printable, or masked); None where there is none: it cannot be read.

    `long`: the field whose text may have any length, -1 when there is none.
    """
    said = _read(line, read)
    if said is None:
        return None
    quotes = [found.start() for found in re.finditer(rb'"', line)]
    if len(quotes) > 2 * _MOST_TEXTS:
        return None
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
    if max(map(len, fixed)) > PAD:
        return None
    return Envelope(fixed, fields, lengths, fields.index(long) if long in fields else -1, said, midnight)


def _read(line: bytes, read: Reader) -> Said | None:
    try:
        return read(unmask(line))
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


def _one_of(left: Places, tried: int) -> int:
    """Another of these lines for each of the times that one was tried."""
    return int(left[tried * len(left) // (MOST + 1)])


class Match(msgspec.Struct, frozen=True, eq=False):
    """The lines of one envelope among some: their indices, ascending, and by field where their texts are.

    `buffer` has the texts, and the lines from `starts` to `ends`. `masks`: where masks are in it; None where the lines
    are not masked and the buffer is that of a block.
    """

    envelope: Envelope
    rows: Places
    spans: dict[int, Span]
    buffer: Bytes
    starts: Places
    ends: Places
    masks: Places | None = None

    def __getitem__(self, rows: Any) -> Match:
        """Some of the lines."""
        spans = {field: (begins[rows], lengths[rows]) for field, (begins, lengths) in self.spans.items()}
        starts, ends = self.starts[rows], self.ends[rows]
        return Match(self.envelope, self.rows[rows], spans, self.buffer, starts, ends, self.masks)

    @property
    def size(self) -> int:
        """The bytes of the lines."""
        return int((self.ends - self.starts).sum())

    def line(self, place: int) -> bytes:
        """The line at this place of `rows`, as it is in the file."""
        line = self.buffer[self.starts[place] : self.ends[place]].tobytes()
        return line if self.masks is None else unmask(line)


def copied(match: Match) -> Match:
    """The lines in memory of their own."""
    # With their line ends.
    buffer, starts = gathered(match.buffer, match.starts, match.ends + 1)
    moved = starts - match.starts
    spans = {field: (begins + moved, lengths) for field, (begins, lengths) in match.spans.items()}
    masks = masks_in(buffer) if match.masks is not None else _NO_PLACES
    return Match(match.envelope, match.rows, spans, buffer, starts, match.ends + moved, masks)


def together(matches: list[Match]) -> list[Match]:
    """The lines of each envelope as one match, all of them in one buffer. Takes the matches out of the list: their
    memory is given back while it is copied."""
    buffers = {id(match.buffer): match.buffer for match in matches}
    moves = np.cumsum([0, *map(len, buffers.values())]).tolist()
    moved = dict(zip(buffers, moves, strict=False))
    masks = {id(match.buffer): match.masks + moved[id(match.buffer)] for match in matches if match.masks is not None}
    alike: dict[int, list[Match]] = {}
    for match in matches:
        alike.setdefault(id(match.envelope), []).append(match)
    found = []
    buffer, all_masks = np.empty(moves[-1], dtype=np.uint8), np.concatenate(list(masks.values()))
    for some in alike.values():
        by_move = [(match, moved[id(match.buffer)]) for match in some]
        spans = {
            field: (
                np.concatenate([match.spans[field][0] + move for match, move in by_move]),
                np.concatenate([match.spans[field][1] for match in some]),
            )
            for field in some[0].spans
        }
        starts = np.concatenate([match.starts + move for match, move in by_move])
        ends = np.concatenate([match.ends + move for match, move in by_move])
        rows = np.concatenate([match.rows for match in some])
        found.append(Match(some[0].envelope, rows, spans, buffer, starts, ends, all_masks))
    matches.clear()
    del match, some, by_move, alike
    for key, move in moved.items():
        part = buffers.pop(key)
        buffer[move : move + len(part)] = part
    return found


class Matcher:
    """Matches the lines of files against the envelopes that were learned so far.

    `long`: the field whose text may have any length (-1: none). `payloads`: the fields whose texts may hold escaped
    quotes and line breaks; where there are none, lines with a backslash fit no envelope.
    """

    def __init__(self, read: Reader, long: int, payloads: Sequence[int] = ()) -> None:
        self._read, self._long, self._payloads = read, long, payloads
        self._known: list[Envelope] = []

    def split(self, lines: Lines) -> tuple[list[Match], list[int]]:
        """The lines that fit an envelope, and the indices of the others, ascending, without blank lines."""
        left = np.flatnonzero(~lines.odd & ~lines.escaped & (lines.ends > lines.starts))
        matches: list[Match] = []
        for envelope in self._known:
            left = self._matched(envelope, lines, left, matches)
        tried = 0
        while len(left) and tried < MOST:
            tried += 1
            if learned := self._learned(lines.line(_one_of(left, tried))):
                left = self._matched(learned, lines, left, matches)
        odd, quotes = np.flatnonzero(lines.odd | lines.escaped), 0
        masked: list[Match] = []
        if self._payloads and len(escaped := np.flatnonzero(lines.escaped & ~lines.odd)):
            masked, quotes, others = self._split_masked(lines.masked(escaped), escaped)
            odd = np.concatenate([np.flatnonzero(lines.odd), others])
        # Those that fitted most are tried first; those that fitted nothing lately are forgotten.
        fitted: Counter[int] = Counter()
        for match in (*matches, *masked):
            fitted[id(match.envelope)] += len(match.rows)
        self._known.sort(key=lambda each: -fitted[id(each)])
        del self._known[2 * MOST :]
        rest = np.sort(np.concatenate([left, odd])).tolist()
        first = lines.buffer[lines.starts]
        rest = [index for index in rest if first[index] > _SPACE or not lines.line(index).isspace()]
        matches, rest = self._without_more_quotes(lines, matches, rest, quotes)
        return [*matches, *masked], rest

    def _learned(self, line: bytes) -> Envelope | None:
        learned = learn(line, self._read, self._long)
        if learned is not None:
            self._known.append(learned)
        return learned

    def _split_masked(self, lines: Masked, indices: Places) -> tuple[list[Match], int, Places]:
        """The masked lines that fit an envelope, how many quotes they had before, and the indices of the others."""
        counts = np.searchsorted(lines.quotes, lines.ends) - np.searchsorted(lines.quotes, lines.starts)
        left = np.flatnonzero(~lines.odd)
        matches: list[Match] = []
        for envelope in self._known:
            left = self._matched_masked(envelope, lines, counts, indices, left, matches)
        tried = 0
        while len(left) and tried < MOST:
            tried += 1
            if learned := self._learned(lines.line(_one_of(left, tried))):
                left = self._matched_masked(learned, lines, counts, indices, left, matches)
        others = np.concatenate([left, np.flatnonzero(lines.odd)])
        quotes = lines.quotes_before - sum(unmask(lines.line(index)).count(b'"') for index in others.tolist())
        return matches, quotes, indices[others]

    def _matched_masked(
        self, envelope: Envelope, lines: Masked, counts: Places, indices: Places, left: Places, matches: list[Match]
    ) -> Places:
        possible = (counts[left] == envelope.quotes) & equal_at(lines.buffer, lines.starts[left], envelope.fixed[0])
        fitting = left[possible]
        if not len(fitting):
            return left
        same, spans = envelope.match_masked(lines, fitting, self._payloads)
        starts, ends = lines.starts[fitting], lines.ends[fitting]
        found = Match(envelope, indices[fitting], spans, lines.buffer, starts, ends, lines.masks)
        if len(kept := np.flatnonzero(same)):
            matches.append(found[kept])
        possible[possible] = same
        rest: Places = left[~possible]
        return rest

    def _matched(self, envelope: Envelope, lines: Lines, left: Places, matches: list[Match]) -> Places:
        if not len(left) or not envelope.is_near:
            return left
        # Lines of other envelopes mostly begin in another way: the others are then all of this one, which costs less.
        begun = equal_at(lines.buffer, lines.starts[left], envelope.fixed[0])
        rows = left if begun.all() else left[begun]
        if not len(rows):
            return left
        starts, ends = lines.starts[rows], lines.ends[rows]
        same, spans = envelope.match(lines.buffer, starts, ends)
        found = Match(envelope, rows, spans, lines.buffer, starts, ends)
        if same.all():
            matches.append(found)
        # By their places: many arrays are taken from.
        elif len(kept := np.flatnonzero(same)):
            matches.append(found[kept])
        begun[begun] = same
        return left[~begun]

    def _without_more_quotes(
        self, lines: Lines, matches: list[Match], others: list[int], quotes: int
    ) -> tuple[list[Match], list[int]]:
        """Lines with more quotes than their envelope have more texts than it: they are among the others.

        `quotes`: how many there are in lines that are neither here nor there.
        """
        expected = quotes + sum(len(match.rows) * match.envelope.quotes for match in matches)
        expected += sum(lines.line(index).count(b'"') for index in others)
        if lines.quotes == expected:
            return matches, others
        kept = []
        for match in matches:
            counts = np.array([lines.line(index).count(b'"') for index in match.rows.tolist()])
            same = counts == match.envelope.quotes
            kept.append(match[same])
            others = [*others, *match.rows[~same].tolist()]
        return kept, sorted(others)
