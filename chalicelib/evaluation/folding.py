"""Capture files into a measurement, block by block, without holding a window's rows.

Lines of a known envelope are never Python objects. Where both of their payloads are one row of CSV, they are counted
where they stand (`plain_rows`). Where they are JSON, Base64 or several rows, they wait for each other, are made into
rows of CSV together, and are counted in the same way. So are requests that had to be decoded (another envelope in each
line), once they are. Everything else (quotes in CSV, odd widths, odd answers, labels that say anything but 0 or 1) goes
through `to_table` and `measure`, those requests alone. What is counted does not depend on the way; a property test
holds that. Memory is a block's and, for each event, 13 bytes or more that tell whether it came before. Refuses to know
where files are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate

import msgspec
import numpy as np

from chalicelib.errors import UnreadableError
from chalicelib.evaluation.measurement import Measurement, Subject, measure, with_found_features
from chalicelib.evaluation.plain_rows import ROWS, Group, PlainRows
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import BadInput, BadLines, CapturedRequest, read_capture_lines
from chalicelib.records.cells import Flags, Floats, Places, counts_between, hashes_of
from chalicelib.records.envelopes import Match, Matcher, Said, copied, together
from chalicelib.records.ground_truth import Label
from chalicelib.records.joins import Events, Ids, Labels, Source, are_short, ids_at, ids_of, keys_at
from chalicelib.records.lines import LONGEST_LINE, Lines, TooLong, blocks_of
from chalicelib.records.preprocess import Preprocessor
from chalicelib.records.table import Table, is_about, to_table, widths_of
from chalicelib.records.texts import Encoding, Texts, encoding_of, marks_of, mask_text, texts_of

# Bytes of capture files that are read and matched together, more or less: as many as fill parts of `ROWS` rows, each of
# which costs thousands of steps, however many rows it has.
BLOCK = 6 << 20
_FULL = 0.98
# A block's rows of CSV that are fewer wait for those of others.
FEW = ROWS // 4
# Requests that are decoded and counted together, and the bytes of lines and payloads that wait.
WAITING = 4096
_HELD = 1 << 23
# Requests that one is chosen from to say what all are about, and the bytes of their payloads that are read for that.
_LOOKED_AT = 100
_READ_AT_FIRST = 1 << 20

_EVENT, _INFERENCE, _TIME, _ASKED, _ANSWERED = range(5)
_UNDECLARED = Attributes()


class Folded(msgspec.Struct):
    """What was read of captures: measured, and what lay around it.

    requests    events, each once, from `since` to `until`
    outside     requests before or after that
    elsewhere   requests of that time that another model or inference component than the subject's answered
    times       the earliest and the latest inference time among the requests (UTC)
    outer       the same among those before or after that time
    bad         lines and files that could not be read: the first ones of each file; `more_bad` counts the others
    """

    measured: Measurement = Measurement()
    requests: int = 0
    outside: int = 0
    elsewhere: int = 0
    times: tuple[datetime, datetime] | None = None
    outer: tuple[datetime, datetime] | None = None
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
    attributes: Attributes = _UNDECLARED,
) -> tuple[Folded, Subject | None]:
    """Measure the requests of capture files from `since` to `until` (UTC); an event that comes twice is counted once.

    `attributes`: how payloads are read and whose answers count, as far as that is declared. `subject_of` is asked once,
    with a request that counts: one as most of the first ones are, both asked and answered where there is one. `told`
    hears of each file that was read; `block` bytes are read together. None for a subject: there was no request.
    """
    fold = CaptureFold(labels, subject_of, since, until, block, attributes)
    # A caller that does not keep them either has their memory back before the measurement is made.
    del labels
    for source in sources:
        fold.read(source)
        if told:
            told(source)
    return fold.result()


class CaptureFold:
    """The way of `fold_captures`, file by file, for callers that have requests of other kinds of files too.

    Nothing can be counted after `result`, which lets go of the labels.

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
        attributes: Attributes = _UNDECLARED,
        preprocess: Preprocessor | None = None,
        watch: Callable[[Table], None] | None = None,
    ) -> None:
        self._block_size, self._preprocess, self._watch = block, preprocess, watch
        self._labels, self._subject_of, self._attributes = labels, subject_of, attributes
        self._since = -np.inf if since is None else since.timestamp()
        self._until = np.inf if until is None else until.timestamp()
        self._subject: Subject | None = None
        self._rows: PlainRows | None = None
        self._events = Events()
        self._rows_of_byte = 0.0
        self._waiting: list[CapturedRequest] = []
        self._waiting_matches: list[Match] = []
        self._waiting_rows = self._last_waiting_rows = self._waiting_bytes = 0
        self._folded = Folded(bad=[])
        self._matcher = Matcher(_said, _ASKED, (_ASKED, _ANSWERED))

    def result(self) -> tuple[Folded, Subject | None]:
        """What was read and measured; None for a subject: there was no request."""
        self._count_waiting()
        if self._rows:
            # The measurement takes the memory of what it is made of.
            self._events, self._labels = Events(), Labels()
            self._folded.measured += self._rows.finish()
            self._rows = None
        return self._folded, self._subject if self._folded.requests else None

    def read(self, source: Source) -> None:
        """Count a capture file."""
        bad = BadLines(source.name, "a capture record")
        good = 0
        try:
            for lines in blocks_of(source.pieces(), self._bytes_of_block):
                if isinstance(lines, TooLong):
                    bad.add(lines.line, OverflowError(f"longer than {LONGEST_LINE} bytes"), good)
                else:
                    good += self._block(lines, bad, good)
                    # What was found in the block is given back before.
                    if self._many_wait():
                        self._count_waiting()
            bad.refuse_if_hopeless(good)
        except UnreadableError as error:
            # What was counted before somebody gave the file up stays counted.
            self._folded.bad.append(BadInput(source.name, 0, error.reason))
            return
        self._folded.bad += [BadInput(source.name, each.line, each.reason) for each in bad.named]
        self._folded.more_bad += bad.more

    def count(self, requests: Sequence[CapturedRequest], own: Mapping[str, Label]) -> None:
        """Count requests that were read elsewhere; `own` are labels that came with them, for ids that have no other."""
        _, fresh = self._counted([], list(requests), np.arange(len(requests)))
        self._measure(fresh, own)

    def _block(self, lines: Lines, bad: BadLines, good: int) -> int:
        """Count one block; how many of its lines are requests."""
        matches, others = self._matcher.split(lines)
        usable = []
        for match in matches:
            if self._preprocess is None and _is_whole(match) and self._fits(match):
                usable.append(match)
            else:
                others += match.rows.tolist()
        others.sort()
        matched = sum(len(match.rows) for match in usable)
        requests, places = _decoded(lines, others, bad, good + matched)
        fresh, slow = self._counted(usable, requests, np.array(places, dtype=np.int64))
        in_place = 0
        # All masked lines of a block have a memory of their own, which few of them are not worth.
        masked = [match for match in fresh if match.masks is not None]
        few = bool(masked) and 2 * sum(match.size for match in masked) < len(masked[0].buffer)
        for match in fresh:
            if len(match.rows) >= FEW and match.masks is None and _is_csv(match):
                in_place += len(match.rows)
                slow += self._counted_in_place(match)
            else:
                # The memory of others is needed for the next block.
                self._wait(copied(match) if match.masks is None or few else match)
        # With the line ends: a block may be one empty line.
        self._rows_of_byte = in_place / int(lines.ends[-1] + 1 - lines.starts[0])
        self._waiting += slow
        self._waiting_bytes += sum(map(_size_of, slow))
        return matched + len(requests)

    def _many_wait(self) -> bool:
        """Whether what waits is about a part, and another block's would be more than one."""
        last, self._last_waiting_rows = self._waiting_rows - self._last_waiting_rows, self._waiting_rows
        return self._waiting_rows + last > ROWS or len(self._waiting) >= WAITING or self._waiting_bytes >= _HELD

    def _bytes_of_block(self) -> int:
        """How much to read: what has whole parts of rows, if the next block is as the last one was."""
        rows = self._rows_of_byte * self._block_size
        if not rows or self._block_size != BLOCK:
            return self._block_size
        wanted = int(max(1, round(rows / ROWS)) * ROWS / self._rows_of_byte * _FULL)
        return min(max(wanted, 3 * BLOCK // 4), 4 * BLOCK // 3)

    def _wait(self, match: Match) -> None:
        if not len(match.rows):
            return
        self._waiting_matches.append(match)
        self._waiting_bytes += match.size
        begins, lengths = match.spans[_ASKED]
        breaks = marks_of(match.buffer, match.masks).breaks
        self._waiting_rows += len(begins) + int(counts_between(breaks, begins, begins + lengths).sum())

    def _counted_in_place(self, match: Match) -> list[CapturedRequest]:
        """Count requests of one row of CSV; those that cannot be counted so."""
        assert self._rows is not None
        count = len(match.rows)
        left = []
        # In parts of one size: each costs hundreds of steps, however many rows it has.
        step = -(-count // -(-count // ROWS)) if count else 1
        for start in range(0, count, step):
            part = match[start : start + step]
            places = self._rows.add(part.buffer, part.spans[_ASKED], part.spans[_ANSWERED], _join_ids(part))
            left += _requests_of(part, places)
        return left

    def _fits(self, match: Match) -> bool:
        """Whether its requests can be counted where they stand; so it is with those that do not count at all."""
        if self._rows is None:
            wanted = np.flatnonzero(self._is_inside(_times(match)) & self._is_ours(match))
            if not len(wanted):
                return True
            self._rows = PlainRows(self._settled(_requests_of(match, wanted[:_LOOKED_AT])), self._labels)
        return self._rows.fits

    def _is_inside(self, times: Floats) -> Flags:
        """Which times (seconds since 1970) are of the time that is measured."""
        return (times >= self._since) & (times < self._until)

    def _is_ours(self, match: Match) -> bool:
        request, _ = match.envelope.said[1]
        return is_about(request, self._attributes)

    def _settled(self, requests: Sequence[CapturedRequest]) -> Subject:
        """What is measured, decided by the first requests that count."""
        if self._subject is None:
            sizes = accumulate(map(_size_of, requests[:_LOOKED_AT]))
            count = sum(size <= _READ_AT_FIRST for size in sizes)
            self._subject = self._subject_of(_typical(requests[: max(count, 1)], self._attributes))
        return self._subject

    def _counted(
        self, matched: list[Match], requests: list[CapturedRequest], places: Places
    ) -> tuple[list[Match], list[CapturedRequest]]:
        """Those of a block's requests that are inside of the time and new, in the order of the lines."""
        folded = self._folded
        times = [np.array([one.inference_time.timestamp() for one in requests], dtype=np.float64)]
        about = [np.array([is_about(one, self._attributes) for one in requests], dtype=np.bool_)]
        keys = [hashes_of([one.event_id for one in requests])]
        order = [places]
        for match in matched:
            times.append(_times(match))
            about.append(np.full(len(match.rows), self._is_ours(match)))
            keys.append(keys_at(match.buffer, *match.spans[_EVENT]))
            order.append(match.rows)
        all_times, all_keys = np.concatenate(times), np.concatenate(keys)
        inside = self._is_inside(all_times)
        folded.outside += int(np.count_nonzero(~inside))
        folded.outer = _reached(folded.outer, all_times[~inside])
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
        folded.times = _reached(folded.times, all_times[chosen])
        start = len(requests)
        matches = []
        for match in matched:
            own = chosen[start : start + len(match.rows)]
            start += len(match.rows)
            matches.append(match if own.all() else match[own])
        return matches, [one for one, is_fresh in zip(requests, chosen.tolist(), strict=False) if is_fresh]

    def _count_waiting(self) -> None:
        """Count the requests that wait for each other, because a step costs the same for few."""
        requests, self._waiting = self._waiting, []
        self._waiting_rows = self._last_waiting_rows = self._waiting_bytes = 0
        if requests and self._rows is None:
            self._rows = PlainRows(self._settled(requests), self._labels)
        if self._rows and self._preprocess is None and self._rows.fits:
            requests = self._counted_as_texts(self._rows, requests)
        self._measure(requests)

    def _counted_as_texts(self, rows: PlainRows, requests: Sequence[CapturedRequest]) -> list[CapturedRequest]:
        """Count requests whose payloads are plain rows once they are decoded; those that are not."""
        whole = together(self._waiting_matches) if self._waiting_matches else []
        groups = _groups_of(whole)
        written, left = _written_alike(requests)
        groups += [group for _, group in written]
        if not groups:
            return left
        counted = rows.add_texts(groups)
        for match, fine in zip(whole, counted, strict=False):
            left += _requests_of(match, np.flatnonzero(~fine))
        for (some, _), fine in zip(written, counted[len(whole) :], strict=True):
            left += [one for one, is_fine in zip(some, fine.tolist(), strict=True) if not is_fine]
        return left

    def _measure(self, requests: list[CapturedRequest], own: Mapping[str, Label] | None = None) -> None:
        if not requests:
            return
        subject = self._settled(requests)
        labels = {**(own or {}), **self._labels.by_id([one.join_id for one in requests])}
        table = to_table(requests, labels, subject.attributes, self._preprocess)
        if self._watch:
            self._watch(table)
        self._folded.measured += measure(table, subject)
        self._subject = with_found_features(subject, table)


def _typical(requests: Sequence[CapturedRequest], attributes: Attributes) -> CapturedRequest:
    """The first request of the width that most have, among those that were both asked and answered, where there are
    any: columns are named by it, and an odd one would name all of them wrongly."""
    both = [one for one in requests if one.input and one.output]
    some = [one for one in both if one.input and one.input.data and one.output and one.output.data] or both or requests
    widths = [widths_of(one, attributes) for one in some]
    [(usual, _)] = Counter(widths).most_common(1)
    return some[widths.index(usual)]


def _reached(so_far: tuple[datetime, datetime] | None, times: Floats) -> tuple[datetime, datetime] | None:
    """The earliest and the latest time, with those of more requests (seconds since 1970)."""
    if not len(times):
        return so_far
    first, last = (datetime.fromtimestamp(float(each), UTC) for each in (times.min(), times.max()))
    return (min(first, so_far[0]), max(last, so_far[1])) if so_far else (first, last)


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


def _is_whole(match: Match) -> bool:
    """Whether all texts that are needed stand in the lines, and all ids are as short as `ids_at` wants them."""
    request, _ = match.envelope.said[1]
    if request.is_batch or not {_EVENT, _ASKED, _ANSWERED} <= match.spans.keys():
        return False
    return all(are_short(match.spans[field][1]) for field in (_EVENT, _INFERENCE) if field in match.spans)


def _encodings(match: Match) -> tuple[Encoding, Encoding]:
    request, _ = match.envelope.said[1]
    return encoding_of(request.input), encoding_of(request.output)


def _size_of(request: CapturedRequest) -> int:
    return sum(len(payload.data) for payload in (request.input, request.output) if payload)


def _is_csv(match: Match) -> bool:
    return not any(each.is_base64 or each.is_json for each in _encodings(match))


def _requests_of(match: Match, places: Places) -> list[CapturedRequest]:
    """The lines at these places, decoded."""
    return read_capture_lines(((0, match.line(place)) for place in places.tolist()), BadLines("", ""))


def _groups_of(matches: Sequence[Match]) -> list[Group]:
    """Lines that are together in one buffer, the marks of which are found once."""
    if not matches:
        return []
    marks = marks_of(matches[0].buffer, matches[0].masks)
    groups = []
    for match in matches:
        spans = match.spans[_ASKED], match.spans[_ANSWERED]
        asked, answered = (Texts(match.buffer, begins, begins + lengths, marks) for begins, lengths in spans)
        groups.append(Group(_encodings(match), asked, answered, _join_ids(match)))
    return groups


def _written_alike(
    requests: Sequence[CapturedRequest],
) -> tuple[list[tuple[list[CapturedRequest], Group]], list[CapturedRequest]]:
    """Decoded requests in groups, and those that are of none: their texts have more than printable ASCII."""
    left: list[CapturedRequest] = []
    alike: dict[tuple[Encoding, Encoding], list[tuple[CapturedRequest, bytes, bytes]]] = {}
    for request in requests:
        asked = None if request.input is None or request.is_batch else mask_text(request.input.data)
        answered = None if request.output is None or asked is None else mask_text(request.output.data)
        if request.input is None or request.output is None or asked is None or answered is None:
            left.append(request)
        else:
            encodings = encoding_of(request.input), encoding_of(request.output)
            alike.setdefault(encodings, []).append((request, asked, answered))
    groups = []
    for encodings, some in alike.items():
        ids = ids_of([request.join_id for request, _, _ in some])
        asked_texts, answered_texts = texts_of([each[1] for each in some]), texts_of([each[2] for each in some])
        groups.append(([each[0] for each in some], Group(encodings, asked_texts, answered_texts, ids)))
    return groups, left


def _times(match: Match) -> Floats:
    if _TIME in match.spans:
        return match.envelope.seconds(match.buffer, _TIME, match.spans[_TIME]).astype(np.float64)
    return np.full(len(match.rows), match.envelope.said[0][_TIME].timestamp())


def _join_ids(match: Match) -> Ids:
    if _INFERENCE in match.spans:
        return ids_at(match.buffer, *match.spans[_INFERENCE])
    inference_id = match.envelope.said[0][_INFERENCE]
    if inference_id is None:
        return ids_at(match.buffer, *match.spans[_EVENT])
    one = ids_of([inference_id])
    return one[np.zeros(len(match.rows), dtype=np.int64)]
