"""Files of JSON Lines in batches: lines to typed structs, the payloads of a batch as cells of one buffer of CSV text.

A payload of plain CSV is joined to the others as it is, one of Base64 or JSON as the CSV text that says the same.
Commas and line ends of all of them are found by one comparison. What has no such text (quotes, nested JSON, values of
JSON that CSV would spell in another way) is flagged for `payload`, which reads anything. Streams: no more than a batch
is in memory, however large a file is. Not here: what a cell means (`evaluation.row_fold`), and labels.
"""

from __future__ import annotations

from base64 import b64decode
from bisect import bisect_right
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np

from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import (
    UNREADABLE,
    BadLines,
    CapturedRequest,
    EventId,
    Moment,
    Payload,
    decode_line,
    is_answered_by,
    plausible,
)
from chalicelib.records.cells import COMMA, LINE_END, PAD, QUOTE, Bytes, Cells, Flags, Places, buffer_of
from chalicelib.records.payload import MOST_RECORDS, MOST_VALUES, PayloadError, content_of, declared_as, is_base64
from chalicelib.records.values import text_of

# The longest line, in bytes; and how many bytes of a file are looked at together.
LONGEST_LINE = 1 << 26
PIECE = 1 << 17

# Times of which the seconds are kept: most requests share theirs with others.
_MOST_TIMES = 1 << 16

_SPACE, _BRACE, _CLOSED, _BRACKET, _DELETE = b" {}[\x7f"
# `text_of` for values that CSV and JSON have alike.
_TEXTS: dict[type, Callable[[Any], str]] = {str: str, float: repr, int: str, bool: text_of, type(None): text_of}


class Source(msgspec.Struct, frozen=True):
    """A file: its name, its bytes in pieces, as often as they are asked for, and when it arrived (UTC), which is the
    time of labels that have none."""

    name: str
    pieces: Callable[[], Iterable[bytes | memoryview]]
    arrived: datetime = datetime.fromtimestamp(0, UTC)


def bodies_in(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """A file in parts that end with a line end, without a byte order mark.

    A line of more than `LONGEST_LINE` bytes is cut where it is longer.
    """
    # Once memory of this size was given back, glibc keeps what is asked for again and again, instead of asking the
    # system for it page by page each time. Nothing is written to it.
    np.empty(1 << 22, dtype=np.uint8)
    rest, held, is_first = [b""], 0, True
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            part = bytes(piece[start : start + PIECE])
            end = part.rfind(b"\n") + 1
            if end:
                body = b"".join([*rest, memoryview(part)[:end]])
                yield body.removeprefix(BOM_UTF8) if is_first else body
                rest, held, is_first = [], 0, False
            if held <= LONGEST_LINE:
                rest.append(part[end:])
                held += len(part) - end
    if held:
        body = b"".join([*rest, b"\n"])
        yield body.removeprefix(BOM_UTF8) if is_first else body


def decoded_lines(body: bytes, decode: Callable[[bytes], list[Any]]) -> list[Any] | None:
    """What the lines of a body say; None where they must be read one by one: some are blank, or no such documents.

    `decode` reads any number of JSON documents.
    """
    try:
        found = decode(body)
    except UNREADABLE:
        return None
    count = np.count_nonzero(np.frombuffer(body, dtype=np.uint8) == LINE_END)
    return found if len(found) == count else None


class Lines:
    """The lines of several bodies, which are cut out of them when they are asked for."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._bodies: list[bytes | list[msgspec.Raw]] = []
        self._count = self.size = 0

    def append(self, body: bytes, count: int = 1) -> None:
        """Add a body and how many lines, none of them blank, it has."""
        self._firsts.append(self._count)
        self._bodies.append(body)
        self._count += count
        self.size += len(body)

    def extend(self, more: Lines) -> None:
        self._firsts += [self._count + first for first in more._firsts]
        self._bodies += more._bodies
        self._count += more._count
        self.size += more.size

    def __getitem__(self, place: int) -> bytes:
        part = bisect_right(self._firsts, place) - 1
        body = self._bodies[part]
        if isinstance(body, bytes):
            body = self._bodies[part] = _documents.decode_lines(body)
        return bytes(body[place - self._firsts[part]])


_documents = msgspec.json.Decoder(msgspec.Raw)


class _Side(msgspec.Struct, gc=False):
    data: str
    encoding: str = ""


class _Sides(msgspec.Struct, gc=False, rename="camel"):
    endpoint_input: _Side
    endpoint_output: _Side
    batch_transform_output: None = None


class _Metadata(msgspec.Struct, gc=False, rename="camel"):
    event_id: EventId
    inference_time: str
    inference_id: str | None = None
    target_model: str | None = None
    inference_component_name: str | None = None


class _Capture(msgspec.Struct, gc=False, rename="camel"):
    """What most captures are counted by, and no others: each text more is a tenth of the time that decoding takes."""

    capture_data: _Sides
    event_metadata: _Metadata


_decoder = msgspec.json.Decoder(_Capture)


class Captures(msgspec.Struct, frozen=True, eq=False):
    """Lines of capture files and what they say, one entry for each.

    events     event ids; `joins`: the ids that labels name
    times      seconds since 1970
    ours       whether the model and the inference component answered that are looked for
    asked      payloads as captured, `answered` too; both "" for the `others`, by place: one side is missing, or it is
               Base64, JSON or a batch transform's, and the whole line must be decoded
    """

    lines: Lines
    events: list[str] = []
    joins: list[str] = []
    times: list[float] = []
    ours: list[bool] = []
    asked: list[str] = []
    answered: list[str] = []
    others: list[int] = []

    def __len__(self) -> int:
        return len(self.events)

    def extend(self, more: Captures) -> None:
        """Add captures after these."""
        self.others.extend([place + len(self) for place in more.others])
        self.lines.extend(more.lines)
        for name in _COLUMNS:
            getattr(self, name).extend(getattr(more, name))

    def of(self, places: Sequence[int]) -> Captures:
        """Those at these places, ascending."""
        others, lines = set(self.others), Lines()
        for place in places:
            lines.append(self.lines[place])
        columns: dict[str, Any] = {name: [getattr(self, name)[place] for place in places] for name in _COLUMNS}
        return Captures(lines, **columns, others=[new for new, place in enumerate(places) if place in others])

    @property
    def size(self) -> int:
        """How many bytes the bodies of their lines have."""
        return self.lines.size

    def requests(self) -> list[CapturedRequest]:
        """All that the lines say."""
        return [self.request(place) for place in range(len(self))]

    def request(self, place: int) -> CapturedRequest:
        """All that one line says."""
        line = self.lines[place]
        try:
            return decode_line(line).request()
        except UNREADABLE:
            # A field that is needed for nothing is not as it should be.
            capture = _decoder.decode(line)
        metadata = capture.event_metadata
        asked, answered = capture.capture_data.endpoint_input, capture.capture_data.endpoint_output
        return CapturedRequest(
            metadata.event_id,
            metadata.inference_id,
            datetime.fromtimestamp(self.times[place], UTC),
            Payload(asked.data, asked.encoding),
            Payload(answered.data, answered.encoding),
            target_model=metadata.target_model,
            inference_component=metadata.inference_component_name,
        )

    def texts(self, attributes: Attributes) -> tuple[list[str], list[str]]:
        """A text of CSV for each payload, asked and answered, that says what the payload says; "" where there is none.

        Plain CSV is its own text, whether it can be laid out or not (`rows_of_texts`).
        """
        if not self.others:
            return self.asked, self.answered
        asked, answered = [*self.asked], [*self.answered]
        features, outputs = attributes.features, attributes.output_names
        attributes_of_answers = (attributes.probability_attribute, attributes.inference_attribute)
        by_position = all(each is None or each.isdecimal() for each in attributes_of_answers)
        for place in self.others:
            request = self.request(place)
            if not request.is_batch:
                asked[place] = _text_of(request.input, features, features, attributes.features_attribute is None)
                answered[place] = _text_of(request.output, outputs, (), by_position)
        return asked, answered


_COLUMNS = ("events", "joins", "times", "ours", "asked", "answered")


def captures_in(source: Source, bad: BadLines, attributes: Attributes) -> Iterator[tuple[Captures, int]]:
    """The lines of a capture file, some at a time, and how many bytes these have; `bad` notes those that are none.

    Raises UnreadableError where the file cannot be read, or has next to nothing that is a capture.
    """
    good, number = 0, 1
    seconds = _Seconds()
    for body in bodies_in(source.pieces()):
        try:
            decoded = decoded_lines(body, _decoder.decode_lines)
            found = None if decoded is None else _columns(body, decoded, seconds, attributes)
        except UNREADABLE:  # a time
            found = None
        if found is None:
            found, count = _one_by_one(body, number, bad, good, seconds, attributes)
        else:
            count = len(found)
        number += count
        good += len(found)
        if len(seconds) > _MOST_TIMES:
            seconds.clear()
        yield found, len(body)
    bad.refuse_if_hopeless(good)


def _columns(body: bytes, decoded: Sequence[_Capture], seconds: _Seconds, attributes: Attributes) -> Captures:
    metadata = [each.event_metadata for each in decoded]
    sides = [each.capture_data for each in decoded]
    asked, answered = [each.endpoint_input for each in sides], [each.endpoint_output for each in sides]
    ours = [True] * len(metadata)
    if attributes.target_model is not None or attributes.inference_component is not None:
        ours = [is_answered_by(each.target_model, each.inference_component_name, attributes) for each in metadata]
    found = Captures(
        Lines(),
        [each.event_id for each in metadata],
        [each.event_id if each.inference_id is None else each.inference_id for each in metadata],
        [seconds[each.inference_time] for each in metadata],
        ours,
        [each.data for each in asked],
        [each.data for each in answered],
        [],
    )
    found.lines.append(body, len(decoded))
    if (
        not len(sides)
        == [each.encoding for each in asked].count("CSV")
        == [each.encoding for each in answered].count("CSV")
    ):
        for place, (question, answer) in enumerate(zip(asked, answered, strict=True)):
            if not question.encoding == answer.encoding == "CSV":
                found.others.append(place)
                found.asked[place] = found.answered[place] = ""
    return found


def _one_by_one(
    body: bytes, number: int, bad: BadLines, good: int, seconds: _Seconds, attributes: Attributes
) -> tuple[Captures, int]:
    """The lines that are captures, and how many lines there are at all."""
    found = Captures(Lines())
    lines = body.split(b"\n")[:-1]
    for place, line in enumerate(lines):
        if not line or line.isspace():
            continue
        try:
            found.extend(_columns(line, [_decoder.decode(line)], seconds, attributes))
            continue
        except UNREADABLE:
            pass  # one side is missing, or it is a batch transform's, or no capture
        try:
            request = decode_line(line).request()
        except UNREADABLE as error:
            reason = OverflowError(f"longer than {LONGEST_LINE} bytes") if len(line) > LONGEST_LINE else error
            bad.add(number + place, reason, good + len(found))
            continue
        found.others.append(len(found))
        found.lines.append(line)
        found.events.append(request.event_id)
        found.joins.append(request.join_id)
        found.times.append(request.inference_time.timestamp())
        found.ours.append(is_answered_by(request.target_model, request.inference_component, attributes))
        found.asked.append("")
        found.answered.append("")
    return found, len(lines)


class _Seconds(dict[str, float]):
    """Seconds since 1970 by the text of a time."""

    def __missing__(self, text: str) -> float:
        self[text] = found = plausible(msgspec.convert(text, Moment)).timestamp()
        return found


class Rows(NamedTuple):
    """The rows of many texts of CSV in one buffer.

    begins, lengths   of each field, row after row, shape (fields,)
    ends              which field is the last one of each row, shape (rows,)
    counts            how many rows each text has, shape (texts,)
    fine              whether a text is plain: no quote, no control character, no bracket or blank before its first row
    """

    buffer: Bytes
    begins: Places
    lengths: Places
    ends: Places
    counts: Places
    fine: Flags

    @property
    def widths(self) -> Places:
        """How many fields each row has."""
        return np.diff(self.ends, prepend=-1)

    def columns(self, width: int, rows: Flags) -> list[Cells]:
        """The fields of rows of this width by column."""
        if rows.all():
            shape = (-1, width)
            begins, lengths = self.begins.reshape(shape).T, self.lengths.reshape(shape).T
        else:
            places = self.ends[rows] + np.arange(1 - width, 1)[:, np.newaxis]
            begins, lengths = self.begins[places], self.lengths[places]
        return [Cells(*each) for each in zip(np.ascontiguousarray(begins), np.ascontiguousarray(lengths), strict=True)]


def rows_of_texts(texts: Sequence[str]) -> Rows:
    """Lay texts of CSV out. Empty lines are no rows."""
    joined = "\n".join([*texts, ""])
    encoded = joined.encode()
    buffer = buffer_of([encoded])
    # Commas, line ends and quotes, and what else comes before letters and digits.
    marks = np.flatnonzero(buffer[PAD:-PAD] <= COMMA) + PAD
    found = buffer[marks]
    is_end = found == LINE_END
    text_ends = line_ends = marks[is_end]
    is_one_row_each = len(text_ends) == len(texts)
    if not is_one_row_each:
        sizes = map(len, texts) if len(encoded) == len(joined) else (len(text.encode()) for text in texts)
        text_ends = PAD - 1 + np.cumsum(np.fromiter(sizes, np.int64, len(texts)) + 1)
    fine = _begin_plainly(buffer, text_ends)
    is_cut = is_end | (found == COMMA)
    if not is_cut.all():
        odd = marks[(found == QUOTE) | ((found < _SPACE) & ~is_end)]
        fine[np.searchsorted(text_ends, odd)] = False
        marks, is_end = marks[is_cut], is_end[is_cut]
    begins = np.empty_like(marks)
    begins[:1], begins[1:] = PAD, marks[:-1] + 1
    lengths = marks - begins
    ends = np.flatnonzero(is_end)
    counts = np.ones(len(texts), dtype=np.int64)
    if not is_one_row_each:
        blank = is_end & (lengths == 0)
        blank[1:] &= is_end[:-1]
        if blank.any():
            kept = ~blank
            marks, begins, lengths, is_end = marks[kept], begins[kept], lengths[kept], is_end[kept]
            ends = np.flatnonzero(is_end)
        counts = np.diff(np.searchsorted(marks[ends], text_ends, side="right"), prepend=0)
        # Requests of too many records or values are refused by the payload reader.
        lines = np.diff(np.searchsorted(line_ends, text_ends, side="right"), prepend=0)
        fine &= (counts > 0) & (lines <= MOST_RECORDS)
    if len(marks) > MOST_VALUES:
        fine &= np.diff(np.searchsorted(marks, text_ends, side="right"), prepend=0) <= MOST_VALUES
    return Rows(buffer, begins, lengths, ends, counts, fine)


def _begin_plainly(buffer: Bytes, ends: Places) -> Flags:
    """Which texts are no JSON: neither a bracket, nor what could be a blank before one, is their first character."""
    begins = np.empty_like(ends)
    begins[:1], begins[1:] = PAD, ends[:-1] + 1
    first = buffer[begins]
    return np.asarray((first > _SPACE) & (first < _DELETE) & (first != _BRACE) & (first != _BRACKET), dtype=np.bool_)


def _text_of(payload: Payload | None, header: Sequence[str], keys: Sequence[str], with_json: bool) -> str:
    """`header` as in `payload.rows_of`; `keys`: the columns of records that are objects (none: there is no text);
    `with_json`: whether JSON has its values by these and by position."""
    if payload is None:
        return ""
    text = payload.data
    if is_base64(payload):
        try:
            text = b64decode(text, validate=True).decode()
        except ValueError:
            return ""
    if declared_as(payload) != "JSON" and text[:1] not in ("{", "["):
        return text
    if not with_json:
        return ""
    try:
        content = content_of(payload, header)
    except PayloadError:
        return ""
    if content.noted or content.documents is None:
        return ""
    lines = []
    for row in content.rows:
        if isinstance(row, dict):
            if not keys or row.keys() != set(keys):
                return ""
            row = [row[key] for key in keys]
        try:
            line = ",".join([_TEXTS[type(value)](value) for value in row])
        except KeyError:
            return ""
        if not line or line.count(",") != len(row) - 1 or '"' in line or "\n" in line or "\r" in line:
            return ""
        lines.append(line)
    return "\n".join(lines)
