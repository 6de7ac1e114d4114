"""Capture files into a measurement, block by block, without holding a window's rows.

Two ways lead to the same states. Lines of a known envelope whose payloads are one plain CSV row on each side are never
Python objects: their fields are cells of the block's bytes (`records.cells`, `states.columns`). Everything else (JSON,
Base64, several rows, quotes, odd widths, odd answers, labels that say anything but 0 or 1) is decoded and goes through
`to_table` and `measure`, those requests alone. What is counted does not depend on the way; a property test holds that.
Memory is a block's and, for each event, the 8 bytes that tell whether it came before. Refuses to know where files are.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np

from chalicelib.errors import UnreadableError
from chalicelib.monitors.measurement import Measurement, Subject, measure
from chalicelib.records.capture import BadLines, CapturedRequest, Payload, read_capture_lines
from chalicelib.records.cells import (
    COMMA,
    LINE_END,
    LONGEST,
    MINUS,
    PAD,
    Bytes,
    Cells,
    Flags,
    Floats,
    Places,
    buffer_of,
    endings,
    fields,
    hashes,
    hashes_of,
    last_words,
    numbers,
    text_at,
)
from chalicelib.records.envelopes import BLOCK, LONGEST_LINE, Lines, Match, Matcher, Said, Span, TooLong, blocks_of
from chalicelib.records.ground_truth import Label
from chalicelib.records.joins import NONE, Events, Ids, Labels, Source, ids_at, ids_of, keys_at
from chalicelib.records.payload import PayloadError, content_of
from chalicelib.records.preprocess import Preprocessor
from chalicelib.records.segment import BadInput
from chalicelib.records.table import Table, is_about, to_table
from chalicelib.records.values import (
    GREATEST_PROBABILITY,
    LEAST_PROBABILITY,
    NAN,
    binary_class,
    number_of,
    text_of,
)
from chalicelib.states.columns import ProfileFold
from chalicelib.states.scores import TallyFold
from chalicelib.states.selection import BinarySelectionFold

# Rows that are worked on together: their columns stay in the processor's cache.
ROWS = 9_216
# Decoded requests that are counted together.
WAITING = 4096

_EVENT, _INFERENCE, _TIME, _ASKED, _ANSWERED = range(5)
_NO_BYTES = np.zeros(0, dtype=np.uint8)
_BLANK, _BRACKET, _BRACE = b" [{"
# `text_of` for what a plain row may hold.
_TEXTS: dict[type, Callable[[Any], str]] = {str: str, float: repr, int: str, bool: text_of, type(None): text_of}
_NO_LABEL = set('"[{\n\r')


class Folded(msgspec.Struct):
    """What was read of captures: measured, and what lay around it.

    requests    events, each once, from `since` to `until`
    outside     requests before or after that
    elsewhere   requests of that time that another model or inference component than the subject's answered
    first, last the earliest and the latest inference time among the requests (UTC)
    bad         lines and files that could not be read: the first ones of each file; `more_bad` counts the others
    """

    measured: Measurement = Measurement()
    requests: int = 0
    outside: int = 0
    elsewhere: int = 0
    first: datetime | None = None
    last: datetime | None = None
    bad: list[BadInput] = []
    more_bad: int = 0


def fold_captures(
    sources: Sequence[Source],
    labels: Labels,
    subject_of: Callable[[CapturedRequest], Subject],
    since: datetime | None = None,
    until: datetime | None = None,
    told: Callable[[Source], None] | None = None,
    block: int = BLOCK,
) -> tuple[Folded, Subject | None]:
    """Measure the requests of capture files from `since` to `until` (UTC); an event that comes twice is counted once.

    `subject_of` is asked once, with a request of the first block that has any: one that was both asked and answered
    where there is one. `told` hears of each file that was read; `block` bytes are read together. None for a
    subject: there was no request.
    """
    fold = CaptureFold(labels, subject_of, since, until, block)
    for source in sources:
        fold.read(source)
        if told:
            told(source)
    return fold.result()


class CaptureFold:
    """The way of `fold_captures`, file by file, for callers that have requests of other kinds of files too.

    With `preprocess` the records of a request are what it makes of it. `watch` is shown every table that rows were
    laid out in; rows of a subject with bias or attribution all are.
    """

    def __init__(
        self,
        labels: Labels,
        subject_of: Callable[[CapturedRequest], Subject],
        since: datetime | None = None,
        until: datetime | None = None,
        block: int = BLOCK,
        preprocess: Preprocessor | None = None,
        watch: Callable[[Table], None] | None = None,
    ) -> None:
        self._block_size, self._preprocess, self._watch = block, preprocess, watch
        self._labels, self._subject_of = labels, subject_of
        self._since, self._until = since, until
        self._subject: Subject | None = None
        self._rows: _PlainRows | None = None
        self._events = Events()
        self._waiting: list[CapturedRequest] = []
        self._folded = Folded(bad=[])
        self._matcher = Matcher(_said, _ASKED)

    def result(self) -> tuple[Folded, Subject | None]:
        """What was read and measured; None for a subject: there was no request."""
        self._count_waiting()
        if self._rows:
            # The measurement takes the memory of what it is made of.
            self._events = Events()
            self._folded.measured += self._rows.finish()
            self._rows = None
        return self._folded, self._subject if self._folded.requests else None

    def read(self, source: Source) -> None:
        """Count a capture file."""
        bad = BadLines(source.name, "a capture record")
        good = 0
        try:
            for lines in blocks_of(source.pieces(), self._block_size):
                if isinstance(lines, TooLong):
                    bad.add(lines.line, OverflowError(f"longer than {LONGEST_LINE} bytes"), good)
                else:
                    good += self._block(lines, bad, good)
            bad.refuse_if_hopeless(good)
        except UnreadableError as error:
            # What was counted before somebody gave the file up stays counted.
            self._folded.bad.append(BadInput(source.name, 0, error.reason))
            return
        self._folded.bad += [BadInput(source.name, each.line, each.reason) for each in bad.named]
        self._folded.more_bad += bad.more

    def count(self, requests: Sequence[CapturedRequest], own: Mapping[str, Label]) -> None:
        """Count requests that were read elsewhere; `own` are labels that came with them, for ids that have no other."""
        _, fresh = self._counted(_NO_BYTES, [], list(requests), np.arange(len(requests)))
        self._measure(fresh, own)

    def _block(self, lines: Lines, bad: BadLines, good: int) -> int:
        """Count one block; how many of its lines are requests."""
        matches, others = self._matcher.split(lines)
        plain = []
        for match in matches:
            if self._preprocess is None and _is_plain(match) and self._plain_rows(match, lines).fits:
                plain.append(match)
            else:
                others += match.rows.tolist()
        others.sort()
        good += sum(len(match.rows) for match in plain)
        requests, places = _decoded(lines, others, bad, good)
        fresh, slow = self._counted(lines.buffer, plain, requests, np.array(places, dtype=np.int64))
        for match in fresh:
            count = len(match.rows)
            # In parts of one size: each costs hundreds of steps, however many rows it has.
            step = -(-count // -(-count // ROWS)) if count else 1
            for start in range(0, count, step):
                assert self._rows is not None
                left = self._rows.add(lines, _part(match, slice(start, start + step)))
                slow += read_capture_lines(((0, lines.line(index)) for index in left.tolist()), bad)
        self._waiting += slow
        if len(self._waiting) >= WAITING:
            self._count_waiting()
        return sum(len(match.rows) for match in plain) + len(requests)

    def _plain_rows(self, match: Match, lines: Lines) -> _PlainRows:
        if self._rows is None:
            nothing = BadLines("", "")
            [request] = read_capture_lines([(0, lines.line(int(match.rows[0])))], nothing)
            self._rows = _PlainRows(self._settled([request]), self._labels)
        return self._rows

    def _settled(self, requests: Sequence[CapturedRequest]) -> Subject:
        if self._subject is None:
            whole = (one for one in requests if one.input and one.output)
            self._subject = self._subject_of(next(whole, requests[0]))
        return self._subject

    def _counted(
        self, buffer: Bytes, plain: list[Match], requests: list[CapturedRequest], places: Places
    ) -> tuple[list[Match], list[CapturedRequest]]:
        """Those of a block's requests that are inside of the time and new, in the order of the lines."""
        folded = self._folded
        since = -np.inf if self._since is None else self._since.timestamp()
        until = np.inf if self._until is None else self._until.timestamp()
        ours = self._settled(requests).attributes if requests else self._subject.attributes if self._subject else None
        times = [np.array([one.inference_time.timestamp() for one in requests], dtype=np.float64)]
        about = [np.array([ours is not None and is_about(one, ours) for one in requests], dtype=np.bool_)]
        keys = [hashes_of([one.event_id for one in requests])]
        order = [places]
        for match in plain:
            times.append(_times(match, buffer))
            request, _ = match.envelope.said[1]
            about.append(np.full(len(match.rows), ours is not None and is_about(request, ours)))
            keys.append(keys_at(buffer, *match.spans[_EVENT]))
            order.append(match.rows)
        all_times, all_keys = np.concatenate(times), np.concatenate(keys)
        inside = (all_times >= since) & (all_times < until)
        folded.outside += int(np.count_nonzero(~inside))
        line = np.concatenate(order)
        mine = np.concatenate(about)
        folded.elsewhere += int(np.count_nonzero(inside & ~mine))
        kept = np.flatnonzero(inside & mine)
        if len(keys) > 2 or len(requests):
            kept = kept[np.argsort(line[kept], kind="stable")]
        fresh = self._events.add(all_keys[kept])
        folded.measured += Measurement(repeated=int(np.count_nonzero(~fresh)))
        folded.requests += int(np.count_nonzero(fresh))
        chosen = np.zeros(len(line), dtype=np.bool_)
        chosen[kept[fresh]] = True
        if chosen.any():
            first = datetime.fromtimestamp(float(all_times[chosen].min()), UTC)
            last = datetime.fromtimestamp(float(all_times[chosen].max()), UTC)
            folded.first = min(first, folded.first or first)
            folded.last = max(last, folded.last or last)
        start = len(requests)
        matches = []
        for match in plain:
            own = chosen[start : start + len(match.rows)]
            start += len(match.rows)
            matches.append(match if own.all() else _part(match, own))
        return matches, [one for one, is_fresh in zip(requests, chosen.tolist(), strict=False) if is_fresh]

    def _count_waiting(self) -> None:
        """Count the requests that were decoded; they wait for each other, because a step costs the same for few."""
        requests, self._waiting = self._waiting, []
        if not requests:
            return
        if self._rows is None:
            self._rows = _PlainRows(self._settled(requests), self._labels)
        if self._preprocess is None and self._rows.fits:
            requests = self._rows.add_requests(requests)
        self._measure(requests)

    def _measure(self, requests: list[CapturedRequest], own: Mapping[str, Label] | None = None) -> None:
        if not requests:
            return
        subject = self._settled(requests)
        labels = {**(own or {}), **self._labels.by_id([one.join_id for one in requests])}
        table = to_table(requests, labels, subject.attributes, self._preprocess)
        if self._watch:
            self._watch(table)
        self._folded.measured += measure(table, subject)


class _Read(NamedTuple):
    """Rows as they were read; `fine`: those that can be counted."""

    columns: list[Cells]
    answers: list[Cells]
    scores: Floats
    served: Floats
    fine: Flags


class _PlainRows:
    """Counts requests of one plain CSV row on each side."""

    def __init__(self, subject: Subject, labels: Labels) -> None:
        attributes = subject.attributes
        self._labels, self._attributes = labels, attributes
        self._features, self._outputs = attributes.features, attributes.output_names
        self._score = _position(attributes.probability_attribute, self._outputs)
        self._class = _position(attributes.inference_attribute, self._outputs)
        self.fits = _fits(subject) and NONE not in (self._score, self._class)
        self._profile = ProfileFold((*self._outputs, *self._features), len(self._features))
        self._tally = TallyFold()
        self._selection = BinarySelectionFold()
        self._labelled = self._count = 0
        self._hints = [1] * len(self._features)
        self._answer_hints: list[int] = []
        self._classes: dict[int, list[float]] = {}
        self._names = hashes_of(self._features)
        self._initials = np.zeros(256, dtype=np.bool_)
        self._initials[[name.encode()[0] for name in self._features]] = True

    def finish(self) -> Measurement:
        """What was counted; nothing is left then."""
        return Measurement(
            rows=self._count,
            whole=self._count,
            answered=self._count,
            labelled=self._labelled,
            profile=self._profile.state,
            tally=self._tally.finish(),
            selection=self._selection.state,
        )

    def add(self, lines: Lines, match: Match) -> Places:
        """Count requests of one row; the indices of the lines that cannot be counted here."""
        if not len(match.rows):
            return match.rows
        known, labels = self._truths(_join_ids(match, lines.buffer))
        fine = np.isfinite(labels) | ~known
        read = self._read_rows(lines.buffer, match.spans[_ASKED], match.spans[_ANSWERED], fine)
        self._count_rows(lines.buffer, read, labels)
        return match.rows[~read.fine]

    def add_requests(self, requests: Sequence[CapturedRequest]) -> list[CapturedRequest]:
        """Count decoded requests whose rows are plain once they are decoded; those that are not."""
        left: list[CapturedRequest] = []
        some: list[CapturedRequest] = []
        asked: list[str] = []
        answered: list[str] = []
        for request in requests:
            question = self._rows_text(request.input, len(self._features))
            reply = self._rows_text(request.output, 0) if question and not request.is_batch else ""
            if question and reply and question.count("\n") == reply.count("\n"):
                some.append(request)
                asked.append(question)
                answered.append(reply)
            else:
                left.append(request)
        if not some:
            return left
        buffer = buffer_of([b"\n".join(text.encode() for text in (*asked, *answered)), b"\n"])
        ends = np.flatnonzero(buffer == LINE_END)
        starts = np.empty_like(ends)
        starts[0], starts[1:] = PAD, ends[:-1] + 1
        counts = np.array([text.count("\n") + 1 for text in asked])
        rows = int(counts.sum())
        spans = (starts[:rows], ends[:rows] - starts[:rows]), (starts[rows:], ends[rows:] - starts[rows:])
        firsts = np.cumsum(counts) - counts
        codes = self._labels.find(ids_of([request.join_id for request in some])).tolist()
        labels = np.full(rows, NAN)
        readable = np.ones(len(some), dtype=np.bool_)
        for index, (code, first, count) in enumerate(zip(codes, firsts.tolist(), counts.tolist(), strict=True)):
            if code != NONE:
                values = self._labels_of(code)
                readable[index] = len(values) == count and NAN not in values
                labels[first : first + count] = values if readable[index] else NAN
        # A request is counted as a whole or not at all.
        fine = np.repeat(readable, counts)
        control = np.flatnonzero((buffer[PAD:-PAD] < _BLANK) & (buffer[PAD:-PAD] != LINE_END)) + PAD
        fine[np.searchsorted(ends, control) % rows] = False
        read = self._read_rows(buffer, *spans, fine)
        whole = np.logical_and.reduceat(read.fine, firsts)
        self._count_rows(buffer, read._replace(fine=np.repeat(whole, counts)), labels)
        return [*left, *(request for request, is_fine in zip(some, whole.tolist(), strict=True) if not is_fine)]

    def _rows_text(self, payload: Payload | None, width: int) -> str:
        """A payload's rows as plain CSV, one in each line; "" where they are not plain, or not `width` (0: any)."""
        if payload is None:
            return ""
        encoding, text = payload.encoding.upper(), payload.data
        if encoding not in ("CSV", "BASE64"):
            return self._json_rows(payload, width)
        if encoding == "BASE64":
            if "json" in (payload.content_type or "").lower():
                return ""
            try:
                text = b64decode(text, validate=True).decode("ascii")
            except ValueError:
                return ""
        text = text.removesuffix("\n")
        if not text.isascii() or "\n\n" in text or not text or text[0] in "\n{[" or '"' in text:
            return ""
        return text

    def _json_rows(self, payload: Payload, width: int) -> str:
        attributes = self._attributes
        positions = (attributes.probability_attribute, attributes.inference_attribute)
        if attributes.features_attribute is not None or not all(each is None or each.isdecimal() for each in positions):
            return ""
        try:
            content = content_of(payload)
        except PayloadError:
            return ""
        if content.noted or content.documents is None:
            return ""
        lines = []
        for row in content.rows:
            if not isinstance(row, list) or (width and len(row) != width):
                return ""
            try:
                line = ",".join([_TEXTS[type(value)](value) for value in row])
            except KeyError:
                return ""
            if not line or not line.isascii() or line.count(",") != len(row) - 1 or '"' in line or "\n" in line:
                return ""
            lines.append(line)
        return "\n".join(lines)

    def _read_rows(self, buffer: Bytes, asked: Span, answered: Span, fine: Flags) -> _Read:
        """What rows say, and which of those that are `fine` can be counted."""
        begins, lengths = asked
        columns, regular = fields(buffer, begins, begins + lengths, len(self._features), self._hints)
        answers, usual = self._answer(buffer, *answered)
        fine = fine & regular & usual & (lengths > 0)
        fine &= ~self._may_be_header(buffer, columns[0]) & ~_may_be_json(buffer, begins)
        scores = served = np.full(len(fine), NAN)
        if self._score is not None:
            scores = _values(buffer, answers[self._score], fine, number_of)
            if self._attributes.probability_threshold:
                fine &= (scores >= LEAST_PROBABILITY) & (scores <= GREATEST_PROBABILITY)
            else:  # margins
                fine &= ~np.isnan(scores)
        if self._class is not None:
            served = _values(buffer, answers[self._class], fine, binary_class)
        else:
            served = np.where(scores > self._attributes.probability_threshold, 1.0, 0.0)
        fine &= ~np.isnan(served)
        return _Read(columns, answers, scores, served, fine)

    def _count_rows(self, buffer: Bytes, read: _Read, labels: Floats) -> None:
        """Count the rows that are fine (labels nan: none)."""
        columns, answers, scores, served, fine = read
        if not fine.all():
            columns, answers = [each.of(fine) for each in columns], [each.of(fine) for each in answers]
            scores, served, labels = scores[fine], served[fine], labels[fine]
        self._profile.add(buffer, [*answers[: len(self._outputs)], *columns])
        scored = served if self._score is None else scores
        self._tally.add(scored, served, labels)
        self._selection.add(scored, served, labels)
        self._count += len(served)
        self._labelled += int(np.count_nonzero(np.isfinite(labels)))

    def _answer(self, buffer: Bytes, begins: Places, lengths: Places) -> tuple[list[Cells], Flags]:
        """The fields of the answers, as many as are needed, and which answers have as many as usual."""
        needed = max(len(self._outputs), (self._score or 0) + 1, (self._class or 0) + 1)
        if not self._answer_hints:
            width = int(np.count_nonzero(buffer[begins[0] : begins[0] + lengths[0]] == COMMA)) + 1
            self._answer_hints = [1] * max(width, needed)
        found, fine = fields(buffer, begins, begins + lengths, len(self._answer_hints), self._answer_hints)
        return found, fine & (lengths > 0) & ~_may_be_json(buffer, begins)

    def _may_be_header(self, buffer: Bytes, cells: Cells) -> Flags:
        """Whether a row's first field, without blanks around it, could be one of the names: such a row is no record."""
        first, last = buffer[cells.begins], buffer[cells.begins + cells.lengths - 1]
        possible: Flags = (first <= _BLANK) | (last <= _BLANK) | self._initials[first]
        if possible.any():
            keys = hashes(last_words(buffer, cells), cells.lengths)
            possible &= (first <= _BLANK) | (last <= _BLANK) | np.isin(keys, self._names)
        return possible

    def _truths(self, ids: Ids) -> tuple[Flags, Floats]:
        """Whether there is a label for each id of one row, and which class it names (nan: none, or not plainly)."""
        codes = self._labels.find(ids)
        known = codes != NONE
        labels = np.full(len(codes), NAN)
        for code in np.unique(codes[known]).tolist() if known.any() else ():
            values = self._labels_of(code)
            labels[codes == code] = values[0] if len(values) == 1 else NAN
        return known, labels

    def _labels_of(self, code: int) -> list[float]:
        """The classes that a label's text names, one for each row; nan for what is not plainly one."""
        if code not in self._classes:
            text = self._labels.texts[code].strip()
            plain = bool(text) and not set(text) & _NO_LABEL and text.isascii()
            values = [binary_class(field) for field in text.split(",")] if plain else [NAN]
            self._classes[code] = [NAN if value != value else value for value in values]
        return self._classes[code]


def _decoded(lines: Lines, indices: list[int], bad: BadLines, good: int) -> tuple[list[CapturedRequest], list[int]]:
    """The requests in these lines, and the indices of their lines."""
    numbered = [(lines.first + index, lines.line(index)) for index in indices]
    requests = read_capture_lines(numbered, BadLines("", ""), 1 << 62)
    if len(requests) == len(indices):
        return requests, indices
    # Some are no requests, and which ones is only known one by one.
    requests, places = [], []
    for index, line in zip(indices, numbered, strict=True):
        for request in read_capture_lines([line], bad, good + len(requests)):
            requests.append(request)
            places.append(index)
    return requests, places


def _said(line: bytes) -> Said:
    bad = BadLines("", "")
    found = read_capture_lines([(1, line)], bad)
    if not found:
        raise OverflowError(bad.named[0].reason)
    [request] = found
    asked, answered = request.input, request.output
    said = (
        request.event_id,
        request.inference_id,
        request.inference_time,
        asked.data if asked else None,
        answered.data if answered else None,
    )
    replace = msgspec.structs.replace
    rest = replace(
        request,
        event_id="",
        inference_id=None,
        inference_time=datetime.fromtimestamp(0, UTC),
        input=replace(asked, data="") if asked else None,
        output=replace(answered, data="") if answered else None,
    )
    return said, (rest, request.inference_id is None)


def _fits(subject: Subject) -> bool:
    """Whether rows of such a subject can be counted without being laid out in a table."""
    attributes = subject.attributes
    names = (*attributes.features, *attributes.output_names)
    return (
        attributes.problem_type == "BinaryClassification"
        and subject.bias is None
        and subject.attribution is None
        and bool(attributes.features)
        and all(len(name.encode()) <= LONGEST for name in names)
        # A header of such names would look like a row of numbers.
        and not any(number_of(name) == number_of(name) or name != name.strip() or "," in name for name in names)
    )


def _position(attribute: str | None, outputs: tuple[str, ...]) -> int | None:
    """Where a CSV answer has it; None where nothing is asked for, NONE where a CSV answer has none."""
    if attribute is None:
        return None
    if attribute.isdecimal():
        return int(attribute)
    return outputs.index(attribute) if attribute in outputs else NONE


def _is_plain(match: Match) -> bool:
    """Whether all of an envelope's payloads are CSV, and all texts that are needed stand in the line."""
    if not {_EVENT, _ASKED, _ANSWERED} <= match.spans.keys():
        return False
    request, _ = match.envelope.said[1]
    return not request.is_batch and all(
        payload.encoding.upper() == "CSV" for payload in (request.input, request.output)
    )


def _part(match: Match, rows: Flags | slice) -> Match:
    spans = {field: (begin[rows], length[rows]) for field, (begin, length) in match.spans.items()}
    return Match(match.envelope, match.rows[rows], spans)


def _times(match: Match, buffer: Bytes) -> Floats:
    if _TIME in match.spans:
        return match.envelope.seconds(buffer, _TIME, match.spans[_TIME]).astype(np.float64)
    return np.full(len(match.rows), match.envelope.said[0][_TIME].timestamp())


def _join_ids(match: Match, buffer: Bytes) -> Ids:
    if _INFERENCE in match.spans:
        return ids_at(buffer, *match.spans[_INFERENCE])
    inference_id = match.envelope.said[0][_INFERENCE]
    if inference_id is None:
        return ids_at(buffer, *match.spans[_EVENT])
    one = ids_of([inference_id])
    return one[np.zeros(len(match.rows), dtype=np.int64)]


def _may_be_json(buffer: Bytes, begins: Places) -> Flags:
    first = buffer[begins]
    return np.asarray((first == _BRACE) | (first == _BRACKET) | (first <= _BLANK), dtype=np.bool_)


def _values(buffer: Bytes, cells: Cells, fine: Flags, read: Callable[[str], float]) -> Floats:
    """Fields as `read` reads their texts; nan where it does, and in rows that are not fine."""
    begins, lengths, _ = cells
    sizes = np.where(fine, lengths, 0)
    count = min(max(1, -(-int(sizes.max(initial=0)) // 8)), 3)
    values, _, plain = numbers(endings(buffer, begins, sizes, count), sizes, buffer[begins] == MINUS)
    if read is binary_class:
        values = np.where((values == 0.0) | (values == 1.0), values, NAN)
    values = np.where(plain, values, NAN)
    for row in np.flatnonzero(fine & ~plain).tolist():
        values[row] = read(text_at(buffer, int(begins[row]), int(lengths[row])))
    return values
