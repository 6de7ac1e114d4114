"""Capture files into a measurement, block by block, without holding a window's rows.

Two ways lead to the same states. Lines of a known envelope whose payloads are one plain CSV row on each side are never
Python objects: their fields are cells of the block's bytes (`records.cells`, `states.columns`). Everything else (JSON,
Base64, several rows, quotes, odd widths, odd answers, labels that say anything but 0 or 1) is decoded and goes through
`to_table` and `measure`, those requests alone. What is counted does not depend on the way; a property test holds that.
Memory is a block's and, for each event, the 8 bytes that tell whether it came before. Refuses to know where files are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np

from chalicelib.errors import UnreadableError
from chalicelib.monitors.measurement import Measurement, Subject, measure
from chalicelib.records.capture import BadLines, CapturedRequest, read_capture_lines
from chalicelib.records.cells import (
    COMMA,
    MINUS,
    Bytes,
    Flags,
    Floats,
    Places,
    endings,
    fields,
    numbers,
    text_at,
)
from chalicelib.records.envelopes import LONGEST_LINE, Lines, Match, Matcher, Said, TooLong, blocks_of
from chalicelib.records.ground_truth import Label
from chalicelib.records.joins import NONE, Events, Ids, Labels, Source, ids_at, ids_of
from chalicelib.records.preprocess import Preprocessor
from chalicelib.records.segment import BadInput
from chalicelib.records.table import Table, is_about, to_table
from chalicelib.records.values import NAN, binary_class, number_of
from chalicelib.states.columns import ProfileFold
from chalicelib.states.scores import TallyFold
from chalicelib.states.selection import BinarySelectionFold

# Rows that are worked on together: their columns stay in the processor's cache.
ROWS = 8192

_EVENT, _INFERENCE, _TIME, _ASKED, _ANSWERED = range(5)
_NO_BYTES = np.zeros(0, dtype=np.uint8)
# Bytes of a cell that are compared with the names of a header.
_LONGEST_NAME = 64


class Folded(msgspec.Struct):
    """What was read of captures: measured, and what lay around it.

    requests    events, each once, from `since` to `until`
    outside     requests before or after that
    first, last the earliest and the latest inference time among the requests (UTC)
    elsewhere   requests of this time to another model or inference component than the subject's
    bad         lines and files that could not be read; `more_bad` counts the lines that are not named
    """

    measured: Measurement = Measurement()
    requests: int = 0
    outside: int = 0
    first: datetime | None = None
    last: datetime | None = None
    elsewhere: int = 0
    bad: list[BadInput] = []
    more_bad: int = 0


def fold_captures(
    sources: Sequence[Source],
    labels: Labels,
    subject_of: Callable[[CapturedRequest], Subject],
    since: datetime | None = None,
    until: datetime | None = None,
    told: Callable[[Source], None] | None = None,
    preprocess: Preprocessor | None = None,
) -> tuple[Folded, Subject | None]:
    """Measure the requests of capture files from `since` to `until` (UTC); an event that comes twice is counted once.

    `subject_of` is asked once, with the first request that was both asked and answered, or else with the first one of
    the first block that has any. `told` hears of each file that was read. With `preprocess` the records of a request
    are what it makes of it. None for a subject: there was no request.
    """
    fold = CaptureFold(labels, subject_of, since, until, preprocess)
    for source in sources:
        fold.read(source)
        if told:
            told(source)
    return fold.result()


class CaptureFold:
    """The way of `fold_captures`, file by file, for callers that have requests of other files too.

    `watch` is shown every table that rows were laid out in; rows of a subject with bias or attribution all are.
    """

    def __init__(
        self,
        labels: Labels,
        subject_of: Callable[[CapturedRequest], Subject],
        since: datetime | None = None,
        until: datetime | None = None,
        preprocess: Preprocessor | None = None,
        watch: Callable[[Table], None] | None = None,
    ) -> None:
        self._watch = watch
        self._labels, self._subject_of, self._preprocess = labels, subject_of, preprocess
        self._since, self._until = since, until
        self._subject: Subject | None = None
        self._rows: _PlainRows | None = None
        self._events = Events()
        self._folded = Folded(bad=[])
        self._matcher = Matcher(_said, _ASKED)

    def result(self) -> tuple[Folded, Subject | None]:
        """What was read and measured; None for a subject: there was no request."""
        if self._rows:
            self._folded.measured += self._rows.state
            self._rows = None
        return self._folded, self._subject

    def read(self, source: Source) -> None:
        """Count a file; of one that is hopeless what stands before the reader gave up is kept, and it is named."""
        bad_lines, good, folded = BadLines(source.name, "a capture record"), 0, self._folded
        try:
            for lines in blocks_of(source.pieces()):
                if isinstance(lines, TooLong):
                    bad_lines.add(lines.line, OverflowError(f"longer than {LONGEST_LINE} bytes"), good)
                else:
                    good += self._block(lines, bad_lines, good)
            bad_lines.refuse_if_hopeless(good)
        except UnreadableError as error:
            folded.bad.append(BadInput(source.name, 0, error.reason))
            return
        folded.bad += [BadInput(source.name, each.line, each.reason) for each in bad_lines.named]
        folded.more_bad += bad_lines.more

    def count(self, requests: Sequence[CapturedRequest], own: Mapping[str, Label]) -> None:
        """Count requests that were read elsewhere; `own` are labels that came with them, for ids that have no other."""
        _, fresh = self._counted(_NO_BYTES, [], list(requests), np.arange(len(requests)))
        self._measure(fresh, own)

    def _block(self, lines: Lines, bad_lines: BadLines, good: int) -> int:
        """Count one block; how many of its lines are requests."""
        matches, others = self._matcher.split(lines)
        plain = []
        for match in matches:
            if self._preprocess is None and _is_plain(match) and self._plain_rows(match, lines).takes(match):
                plain.append(match)
                good += len(match.rows)
            else:
                others += match.rows.tolist()
        others.sort()
        read = read_capture_lines(((lines.first + index, lines.line(index)) for index in others), bad_lines, good)
        places = np.array([index for index, one in zip(others, read, strict=True) if one], dtype=np.int64)
        decoded = [one for one in read if one]
        fresh, requests = self._counted(lines.buffer, plain, decoded, places)
        slow = requests
        for match in fresh:
            for start in range(0, len(match.rows), ROWS):
                some = _part(match, slice(start, start + ROWS))
                assert self._rows is not None
                left = self._rows.add(lines, some)
                slow += [_request(lines.line(index)) for index in left.tolist()]
        self._measure(slow)
        return sum(len(match.rows) for match in plain) + len(decoded)

    def _plain_rows(self, match: Match, lines: Lines) -> _PlainRows:
        if self._rows is None:
            request = _request(lines.line(int(match.rows[0])))
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
        times = [np.array([one.inference_time.timestamp() for one in requests], dtype=np.float64)]
        keys = [ids_of([one.event_id for one in requests]).keys]
        order = [places]
        for match in plain:
            times.append(_times(match, buffer))
            keys.append(ids_at(buffer, *match.spans[_EVENT]).keys)
            order.append(match.rows)
        all_times, all_keys = np.concatenate(times), np.concatenate(keys)
        inside = (all_times >= since) & (all_times < until)
        folded.outside += int(np.count_nonzero(~inside))
        line = np.concatenate(order)
        ours = np.ones(len(line), dtype=np.bool_)
        if requests:
            attributes = self._settled(requests).attributes
            ours[: len(requests)] = [is_about(one, attributes) for one in requests]
            folded.elsewhere += int(np.count_nonzero(inside & ~ours))
        kept = np.flatnonzero(inside & ours)
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

    def _measure(self, requests: list[CapturedRequest], own: Mapping[str, Label] | None = None) -> None:
        if not requests:
            return
        subject = self._settled(requests)
        labels = {**(own or {}), **self._labels.by_id([one.join_id for one in requests])}
        table = to_table(requests, labels, subject.attributes, self._preprocess)
        if self._watch:
            self._watch(table)
        self._folded.measured += measure(table, subject)


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
        self._answered = self._labelled = self._count = 0
        self._hints = [1] * len(self._features)
        self._answer_hints: list[int] = []
        self._classes: dict[int, float] = {}

    def takes(self, match: Match) -> bool:
        """Whether rows of this subject can be counted here, and this envelope is of what the subject is about."""
        request, _ = match.envelope.said[1]
        return self.fits and is_about(request, self._attributes)

    @property
    def state(self) -> Measurement:
        return Measurement(
            rows=self._count,
            whole=self._count,
            answered=self._answered,
            labelled=self._labelled,
            profile=self._profile.state,
            tally=self._tally.state,
            selection=self._selection.state,
        )

    def add(self, lines: Lines, match: Match) -> Places:
        """Count what can be counted here; the indices of the lines that cannot."""
        if not len(match.rows):
            return match.rows
        buffer = lines.buffer
        begins, lengths = match.spans[_ASKED]
        columns, sizes, fine = fields(buffer, begins, begins + lengths, len(self._features), self._hints)
        fine &= (lengths > 0) & ~_may_be_header(buffer, begins, self._features)
        answers, answer_sizes, answered = self._answer(buffer, *match.spans[_ANSWERED])
        fine &= answered
        scores = served = np.full(len(fine), NAN)
        if self._score is not None:
            scores = _values(buffer, answers[self._score], answer_sizes[self._score], fine, number_of)
        if self._class is not None:
            served = _values(buffer, answers[self._class], answer_sizes[self._class], fine, binary_class)
        else:
            served = np.where(scores > self._attributes.probability_threshold, 1.0, 0.0)
        known, labels = self._truths(_join_ids(match, buffer))
        fine &= ~np.isnan(served) & (np.isfinite(labels) | ~known)
        if self._score is not None:
            fine &= ~np.isnan(scores)
        if not fine.all():
            columns, sizes = [each[fine] for each in columns], [each[fine] for each in sizes]
            answers, answer_sizes = [each[fine] for each in answers], [each[fine] for each in answer_sizes]
            scores, served, labels, known = scores[fine], served[fine], labels[fine], known[fine]
        outputs = len(self._outputs)
        self._profile.add(buffer, [*answers[:outputs], *columns], [*answer_sizes[:outputs], *sizes])
        scored = served if self._score is None else scores
        self._tally.add(scored, served, labels)
        self._selection.add(scored, served, labels)
        self._count += len(served)
        self._answered += len(served)
        self._labelled += int(np.count_nonzero(known))
        return match.rows[~fine]

    def _answer(self, buffer: Bytes, begins: Places, lengths: Places) -> tuple[list[Places], list[Places], Flags]:
        """The fields of the answers, as many as are needed, and which answers have as many as usual."""
        needed = max(len(self._outputs), (self._score or 0) + 1, (self._class or 0) + 1)
        if not self._answer_hints:
            width = int(np.count_nonzero(buffer[begins[0] : begins[0] + lengths[0]] == COMMA)) + 1
            self._answer_hints = [1] * max(width, needed)
        found = fields(buffer, begins, begins + lengths, len(self._answer_hints), self._answer_hints)
        return found[0], found[1], found[2] & (lengths > 0)

    def _truths(self, ids: Ids) -> tuple[Flags, Floats]:
        """Whether there is a label for each id, and which class it names (nan: none, or not a plain one)."""
        codes = self._labels.find(ids)
        known = codes != NONE
        labels = np.full(len(codes), NAN)
        for code in np.unique(codes[known]).tolist() if known.any() else ():
            if code not in self._classes:
                text = self._labels.texts[code]
                self._classes[code] = NAN if set(text) & set('",[{\n\r') else binary_class(text)
            labels[codes == code] = self._classes[code]
        return known, labels


def _request(line: bytes) -> CapturedRequest:
    """The request of one line. Raises OverflowError for a line that is none."""
    bad_lines = BadLines("", "a capture record")
    [request] = read_capture_lines([(1, line)], bad_lines)
    if request is None:
        raise OverflowError(bad_lines.named[0].reason)
    return request


def _said(line: bytes) -> Said:
    request = _request(line)
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
    return all(payload.encoding.upper() == "CSV" for payload in (request.input, request.output))


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


def _may_be_header(buffer: Bytes, begins: Places, names: Sequence[str]) -> Flags:
    """Whether a row could be one of the names, in any order, or no CSV at all: no such row is counted here."""
    firsts = np.zeros(256, dtype=np.bool_)
    firsts[[name.encode()[0] for name in names]] = True
    firsts[[*range(33), *b'{["', 0xEF]] = True  # white space, JSON, quotes, a byte order mark
    found = firsts[buffer[begins]]
    for row in np.flatnonzero(found).tolist():
        start = int(begins[row])
        text = buffer[start : start + _LONGEST_NAME].tobytes()
        found[row] = text[0] in b'{["' or text[0] < 33 or text[0] == 0xEF or _begins_with(text, names)
    return found


def _begins_with(text: bytes, names: Sequence[str]) -> bool:
    return any(text.startswith(name.encode()[:_LONGEST_NAME]) for name in names)


def _values(buffer: Bytes, begins: Places, lengths: Places, fine: Flags, read: Callable[[str], float]) -> Floats:
    """Fields as `read` reads their texts; nan where it does, and in rows that are not fine."""
    count = min(max(1, -(-int(lengths[fine].max(initial=0)) // 8)), 3)
    sizes = np.where(fine, lengths, 0)
    values, _, plain = numbers(endings(buffer, begins, sizes, count), sizes, buffer[begins] == MINUS)
    if read is binary_class:
        values = np.where((values == 0.0) | (values == 1.0), values, NAN)
    values = np.where(plain, values, NAN)
    for row in np.flatnonzero(fine & ~plain).tolist():
        values[row] = read(text_at(buffer, int(begins[row]), int(lengths[row])))
    return values
