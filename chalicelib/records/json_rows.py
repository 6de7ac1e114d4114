"""JSON payloads of one form as CSV text, many at a time.

A client writes the same JSON again and again: between two requests only the values differ. A form is learned from one
payload of one record by changing each of its values and reading it anew with `payload.content_of`, so it says exactly
what that does. A payload belongs to it when every byte between the values is the same. The CSV text has each value
as `values.text_of` spells it: numbers that are not written so (1.50, 1e5) are left out, as is everything else that is
not plain. Those are read one by one. Refuses to know which value is a feature and which an answer. Texts are masked
(`lines.Masked`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from chalicelib.records.capture import Payload
from chalicelib.records.cells import (
    COMMA,
    DIGITS,
    DOT,
    MINUS,
    PAD,
    Bytes,
    Cells,
    Flags,
    Places,
    are_decimal,
    counts_between,
    endings,
    equal_at,
    lengths_until,
)
from chalicelib.records.lines import BROKEN, QUOTED, pieces_of, read_masked
from chalicelib.records.payload import PayloadError, Row, content_of
from chalicelib.records.texts import Texts, marks_of
from chalicelib.records.values import text_of

# Forms that are tried on each payload, and values that a form has at most: learning reads the payload once for each.
_MOST_FORMS = 4
_MOST_VALUES = 1000
# Fewer payloads than these are read one by one.
_FEW = 16
# A value of more words than this is looked at alone.
_WORDS = 4
_ZERO, _NINE, _NULL = b"09n"
_QUOTE = bytes([QUOTED])
_VALUE = re.compile(rb"\\?\x01[^\x01]*\x01|-?[0-9][0-9.eE+-]*|true|false|null")
_KEY_END = re.compile(rb"\s*:")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# `text_of` for what a plain row may hold.
_TEXTS: dict[type, Callable[[Any], str]] = {str: str, float: repr, int: str, bool: text_of, type(None): text_of}


class _Form(NamedTuple):
    """`fixed`: the bytes around the values; `columns`: which column each value is, in the order of the text; `quote`:
    how quotes are written, in a line of a file with a backslash."""

    fixed: tuple[bytes, ...]
    quote: bytes
    columns: tuple[int, ...]
    words: list[int]


class JsonRows:
    """Reads JSON payloads of one side. `names`: the columns, where records may be objects; `width`: how many columns
    there must be (0: any number)."""

    def __init__(self, names: Sequence[str], width: int, content_type: str | None) -> None:
        self._names, self._width, self._content_type = names, width, content_type
        self._forms: list[_Form] = []
        self._tried = 0

    def csv(self, texts: Texts) -> tuple[Texts, Flags]:
        """The records as lines of CSV text, `BROKEN` between those of one request; and which could be read so."""
        begins, ends = np.zeros_like(texts.begins), np.zeros_like(texts.ends)
        left = np.arange(len(begins))
        parts: list[Bytes] = [np.zeros(PAD, dtype=np.uint8)]
        held = PAD
        for form in [*self._forms, None]:
            if len(left) < _FEW:
                break
            if form is None and (form := self._learned(texts, left)) is None:
                break
            found, cells = _match(form, texts.of(left))
            if not found.any():
                continue
            rows = left[found]
            columns = [cells[form.columns.index(column)].of(found) for column in range(len(cells))]
            body, begins[rows], ends[rows] = _written(texts.buffer, columns, held)
            parts.append(body)
            held += len(body)
            left = left[~found]
        fine = np.ones(len(begins), dtype=np.bool_)
        for row, piece in zip(
            left.tolist(), pieces_of(texts.buffer, texts.begins[left], texts.ends[left]), strict=True
        ):
            line = self._line(bytes(piece))
            fine[row] = bool(line)
            begins[row], ends[row] = held, held + len(line)
            parts.append(np.frombuffer(line, dtype=np.uint8))
            held += len(line)
        buffer = np.concatenate([*parts, np.zeros(PAD, dtype=np.uint8)])
        return Texts(buffer, begins, ends, marks_of(buffer)), fine

    def _learned(self, texts: Texts, left: Places) -> _Form | None:
        # Where payloads have no form in common, looking for one is soon given up.
        if self._tried >= _MOST_FORMS:
            return None
        self._tried += 1
        row = int(left[len(left) // 2])
        form = self._learn(texts.buffer[texts.begins[row] : texts.ends[row]].tobytes())
        if form is not None:
            self._forms.append(form)
        return form

    def _learn(self, text: bytes) -> _Form | None:
        values = self._values(text)
        if values is None or not 0 < len(values) <= _MOST_VALUES:
            return None
        quote = b"\\" + _QUOTE if b"\\" in text else _QUOTE
        places: dict[int, tuple[int, int]] = {}
        # Those of the record and what stands around it.
        tokens = [token for token in _VALUE.finditer(text) if not _KEY_END.match(text, token.end())]
        if len(tokens) > _MOST_VALUES:
            return None
        for token in tokens:
            begin, end = token.span()
            mark = next(each for each in (b"~", b"#") if quote + each + quote != token[0])
            other = self._values(text[:begin] + quote + mark + quote + text[end:])
            if other is None or len(other) != len(values):
                continue
            marked = [column for column, value in enumerate(other) if value == mark.decode() != values[column]]
            same = sum(repr(one) == repr(value) for one, value in zip(other, values, strict=True))
            if len(marked) == 1 and same == len(values) - 1:
                places[marked[0]] = begin, end
        if len(places) != len(values):
            return None
        columns = tuple(sorted(places, key=lambda column: places[column]))
        cuts = [0, *(each for column in columns for each in places[column]), len(text)]
        fixed = tuple(text[begin:end] for begin, end in zip(cuts[::2], cuts[1::2], strict=True))
        if any(part[:1] != b"," for part in fixed[1:-1]) or max(map(len, fixed)) > PAD // 2:
            return None
        return _Form(fixed, quote, columns, [1] * len(columns))

    def _values(self, text: bytes) -> list[Any] | None:
        """The values of the only record by column; None where there is another number of records."""
        rows = self._rows(text)
        if rows is None or len(rows) != 1:
            return None
        row = rows[0]
        if isinstance(row, dict):
            if not self._names or set(row) != set(self._names):
                return None
            row = [row[name] for name in self._names]
        if (self._width and len(row) != self._width) or any(isinstance(value, list | dict) for value in row):
            return None
        return row

    def _rows(self, text: bytes) -> list[Row] | None:
        try:
            content = content_of(Payload(read_masked(text).decode(), "JSON", self._content_type))
        except (PayloadError, UnicodeDecodeError):
            return None
        return None if content.noted or content.documents is None else content.rows

    def _line(self, text: bytes) -> bytes:
        """The records of one payload as CSV text; empty where they are not plain."""
        lines = []
        for row in self._rows(text) or []:
            if isinstance(row, dict) and self._names and set(row) == set(self._names):
                row = [row[name] for name in self._names]
            if not isinstance(row, list) or (self._width and len(row) != self._width):
                return b""
            try:
                line = ",".join([_TEXTS[type(value)](value) for value in row])
            except KeyError:
                return b""
            if (
                not line
                or not (line.isascii() and line.isprintable())
                or line.count(",") != len(row) - 1
                or '"' in line
            ):
                return b""
            lines.append(line.encode())
        return bytes([BROKEN]).join(lines)


def _match(form: _Form, texts: Texts) -> tuple[Flags, list[Cells]]:
    """Which texts are of the form and have plain values only, and the values in the order of the text."""
    buffer, begins, ends, (all_quotes, all_breaks) = texts
    head, tail = form.fixed[0], form.fixed[-1]
    last = ends - len(tail)
    fine = equal_at(buffer, begins, head) & equal_at(buffer, last, tail)
    place = np.minimum(begins + len(head), np.maximum(last, begins))
    firsts, sizes = np.empty((2, len(form.columns), len(begins)), dtype=np.int64)
    for index, gap in enumerate(form.fixed[1:]):
        if index + 1 == len(form.columns):
            lengths = last - place
            # The others end at a comma, but a text may have some.
            rows = np.flatnonzero(equal_at(buffer, place, form.quote))
            fine[rows] &= lengths_until(buffer, place[rows], COMMA, _WORDS) >= lengths[rows]
        else:
            lengths = lengths_until(buffer, place, COMMA, form.words[index])
            while form.words[index] < _WORDS and int(lengths.max()) == 8 * form.words[index]:
                form.words[index] += 1
                lengths = lengths_until(buffer, place, COMMA, form.words[index])
            fine &= equal_at(buffer, place + lengths, gap)
        fine &= lengths > 0
        lengths = np.where(fine, lengths, 0)
        firsts[index], sizes[index] = place, lengths
        place = np.minimum(place + lengths + len(gap), last)
    # All columns at once: each step costs the same for few.
    shape = firsts.shape
    (value_begins, value_lengths, _), plain, is_text = _value(buffer, firsts.ravel(), sizes.ravel(), form.quote)
    fine &= plain.reshape(shape).all(axis=0)
    quotes = 2 * np.count_nonzero(is_text.reshape(shape), axis=0)
    columns = zip(value_begins.reshape(shape), value_lengths.reshape(shape), strict=True)
    cells = [Cells(*each) for each in columns]
    # More quotes or line breaks than those around and of the values are inside of a value.
    fixed = b"".join(form.fixed)
    fine &= counts_between(all_quotes, begins, ends) == quotes + fixed.count(QUOTED)
    fine &= counts_between(all_breaks, begins, ends) == fixed.count(BROKEN)
    return fine, cells


def _value(buffer: Bytes, begins: Places, lengths: Places, quote: bytes) -> tuple[Cells, Flags, Flags]:
    """Values of JSON as CSV text has them, which of them are plain, and which are texts (their quotes are checked by
    the caller)."""
    first, around = buffer[begins], len(quote)
    is_text = first == quote[0]
    is_number = (first == MINUS) | ((first >= _ZERO) & (first <= _NINE))
    plain = np.zeros(len(begins), dtype=np.bool_)
    # One word is enough for most numbers.
    for some in (is_number & (lengths <= 8), is_number & (lengths > 8)):
        if some.any():
            rows = np.flatnonzero(some)
            plain[rows] = _as_written(buffer, begins[rows], lengths[rows])
    texts = np.flatnonzero(is_text)
    last = begins[texts] + lengths[texts] - around
    plain[texts] = (
        (lengths[texts] >= 2 * around) & equal_at(buffer, begins[texts], quote) & equal_at(buffer, last, quote)
    )
    others = np.flatnonzero(~(is_number | is_text))
    for word in (b"null", b"true", b"false"):
        plain[others] |= (lengths[others] == len(word)) & equal_at(buffer, begins[others], word)
    # Missing values are empty.
    lengths = np.where(is_text, lengths - 2 * around, np.where(first == _NULL, 0, lengths))
    return Cells(begins + around * is_text, lengths), plain, is_text


def _as_written(buffer: Bytes, begins: Places, lengths: Places) -> Flags:
    """Which numbers of JSON are written as Python spells them."""
    negative = buffer[begins] == MINUS
    digits, size, ends = begins + negative, lengths - negative, begins + lengths
    count = min(max(1, -(-int(lengths.max(initial=0)) // 8)), DIGITS // 8)
    pointed, plain = are_decimal(endings(buffer, digits, size, count), size)
    first, second, before, last = (buffer[place] for place in (digits, digits + 1, ends - 2, ends - 1))
    zero = first == _ZERO
    plain &= (first != DOT) & (~zero | (size == 1) | (pointed & (second == DOT)))
    whole = ~pointed & (size <= 18) & ~(negative & zero)
    # Up to 15 digits are the shortest text of their number, where no exponent would be written.
    near_zero = zero & pointed & equal_at(buffer, digits, b"0.0000")
    short = pointed & (size <= 16) & (last != DOT) & ((last != _ZERO) | (before == DOT)) & ~near_zero
    fine: Flags = plain & (whole | short)
    rows = np.flatnonzero(~fine & plain & pointed & ~near_zero & (last != DOT))
    if len(rows):
        # Numbers of 16 digits and more, mostly all of them written so. Of this size msgspec spells them as Python does,
        # and from 1e16 on with an exponent, which these texts have not.
        words = endings(buffer, begins[rows], lengths[rows], count)[::-1]
        commas = np.full(len(rows), COMMA, dtype=np.uint64)
        joined = np.stack([*words, commas], axis=1).tobytes().translate(None, b"\0")[:-1]
        fine[rows] = msgspec.json.encode(msgspec.json.decode(b"[" + joined + b"]")) == b"[" + joined + b"]"
    rows = np.flatnonzero(~fine)
    texts = [bytes(piece).decode() for piece in pieces_of(buffer, begins[rows], ends[rows])]
    for row, text in zip(rows.tolist(), texts, strict=True):
        fine[row] = bool(_NUMBER.fullmatch(text)) and not text.lstrip("-").isdecimal() and repr(float(text)) == text
    return fine


def _written(buffer: Bytes, columns: Sequence[Cells], start: int) -> tuple[Bytes, Places, Places]:
    """The rows of these cells as CSV text, one after the other from `start` on, and where each begins and ends."""
    begins = np.stack([cells.begins for cells in columns], axis=1)
    lengths = np.stack([cells.lengths for cells in columns], axis=1) + 1
    ends = np.cumsum(lengths.ravel())
    # A buffer is never as large as 2 GB; half as many bytes of places cost half as much.
    moves = (begins.ravel() - (ends - lengths.ravel())).astype(np.int32)
    body = buffer[np.repeat(moves, lengths.ravel()) + np.arange(int(ends[-1]), dtype=np.int32)]
    body[ends - 1] = COMMA
    row_ends = ends.reshape(begins.shape)[:, -1]
    row_begins = np.concatenate([np.zeros(1, dtype=np.int64), row_ends[:-1]])
    return body, row_begins + start, row_ends - 1 + start
