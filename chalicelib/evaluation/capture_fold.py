"""Capture files measured batch by batch, each event once, and the answers that labels are joined to.

Requests of plain rows are counted as cells of a batch's buffer (`row_fold`), all others as a table (`to_table`), those
alone; what is counted does not depend on the way, and a property test holds that. Memory is a batch's and 13 bytes or
more for each event, by which it is known when it comes again. Not here: which files there are, and labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate

import msgspec
import numpy as np

from chalicelib.errors import UnreadableError
from chalicelib.evaluation.measurement import Measurement, Subject, measure_and_answer, with_found_features
from chalicelib.evaluation.row_fold import Counted, RowFold, fits
from chalicelib.records.answers import Answers
from chalicelib.records.attributes import Attributes
from chalicelib.records.batch_reader import Captures, Lines, Source, captures_in
from chalicelib.records.capture import BadInput, BadLines, CapturedRequest
from chalicelib.records.cells import Floats, Places, Words, both_hashes_of, hashes_of
from chalicelib.records.ground_truth import Label
from chalicelib.records.joins import Events, Ids, at_moments, checks_of, ids_of
from chalicelib.records.preprocess import Preprocessor, with_labels
from chalicelib.records.sample import SampleFold, rows_by_event
from chalicelib.records.table import Table, is_about, to_table, widths_of

# Requests of a batch, and the bytes of their lines: columns of so many rows stay in the processor's cache.
ROWS = 13_824
BYTES = 8 << 20
# Requests that are laid out as a table together, and the bytes of their lines: each value takes a hundred of its own.
TABLE_ROWS = 4096
TABLE_BYTES = 2 << 20
# Requests that one is chosen from to say what all are about, and the bytes of their payloads that are read for that.
_LOOKED_AT = 100
_READ_AT_FIRST = 1 << 20

_UNDECLARED = Attributes()


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Answers of some requests, for whoever joins labels to them or keeps them.

    subject     how they were read
    answers     one row for each record
    names       the ids that labels name, of some rows
    own         labels that came with the requests, by these ids
    requests    the requests, where they were laid out as a table: some of them may have no record
    """

    subject: Subject
    answers: Answers
    names: Callable[[Places], list[str]]
    own: Mapping[str, Label] = {}
    requests: Sequence[CapturedRequest] = ()


class Folded(msgspec.Struct):
    """What was read of captures: measured, and what lay around it.

    measured    what needs no label
    requests    events, each once, from `since` to `until`; `of_files`: the same by file
    outside     requests before or after that
    elsewhere   requests of that time that another model or inference component than the subject's answered
    times       the earliest and the latest inference time among the requests (UTC)
    outer       the same among those before or after that time
    bad         lines and files that could not be read: the first ones of each file; `more_bad` counts the others
    """

    measured: Measurement = Measurement()
    requests: int = 0
    of_files: dict[str, int] = {}
    outside: int = 0
    elsewhere: int = 0
    times: tuple[datetime, datetime] | None = None
    outer: tuple[datetime, datetime] | None = None
    bad: list[BadInput] = []
    more_bad: int = 0


class CaptureFold:
    """Counts files and requests from `since` to `until` (UTC); an event that comes again is counted once.

    subject_of   is asked once, with the first requests that count, both asked and answered where there are such; those
                 of the width that most have stand first
    take         is given the answers of each batch
    attributes   how payloads are read and whose answers count, as far as that is declared
    preprocess   makes the records of a request, of it and its label (`labels_of`)
    watch        is shown every table that rows were laid out in; rows of a subject with bias or attributions all are
    sample       chooses among the requests
    known        events that were counted before
    left_out     which requests do not count, by their event id and the id that labels name

    Nothing can be counted after `result`.
    """

    def __init__(
        self,
        subject_of: Callable[[Sequence[CapturedRequest]], Subject],
        take: Callable[[Batch], None],
        since: datetime | None = None,
        until: datetime | None = None,
        attributes: Attributes = _UNDECLARED,
        preprocess: Preprocessor | None = None,
        labels_of: Callable[[Sequence[str]], Mapping[str, Label]] = lambda ids: {},
        watch: Callable[[Table], None] | None = None,
        *,
        sample: SampleFold | None = None,
        known: Events | None = None,
        left_out: Callable[[str, str], bool] | None = None,
    ) -> None:
        self._subject_of, self._take, self._attributes = subject_of, take, attributes
        self._preprocess, self._labels_of, self._watch = preprocess, labels_of, watch
        self._since = -np.inf if since is None else since.timestamp()
        self._until = np.inf if until is None else until.timestamp()
        self._subject: Subject | None = None
        self._rows: RowFold | None = None
        self._sample, self._left_out = sample, left_out
        self._events = known or Events()
        # Which place of the batch each file begins at.
        self._files: list[tuple[int, str]] = []
        self._batch, self._size = Captures(Lines()), 0
        self._others = Captures(Lines())
        self._folded = Folded(of_files={}, bad=[])

    def result(self) -> tuple[Folded, Subject | None]:
        """What was read and measured; None for a subject: there was no request."""
        self._count_batch()
        self._count_others()
        self._events = Events()
        if self._rows:
            self._folded.measured += self._rows.finish()
            self._rows = None
        return self._folded, self._subject if self._folded.requests else None

    def read(self, source: Source, notes_bad: bool = True) -> None:
        """Count a capture file. What was counted before a file is given up stays counted. `notes_bad`: whether what
        cannot be read of it is noted here."""
        bad = BadLines(source.name, "a capture record")
        self._folded.of_files[source.name] = 0
        self._files.append((len(self._batch), source.name))
        try:
            for captures, size in captures_in(source, bad, self._attributes):
                self._batch.extend(captures)
                self._size += size
                if len(self._batch) >= ROWS or self._size >= BYTES:
                    self._count_batch()
                    self._files.append((0, source.name))
        except UnreadableError as error:
            if notes_bad:
                self.refuse(source.name, error.reason)
            return
        if not notes_bad:
            return
        self._folded.bad += [BadInput(source.name, each.line, each.reason) for each in bad.named]
        self._folded.more_bad += bad.more

    def refuse(self, name: str, reason: str) -> None:
        """Note a file that cannot be read."""
        self._folded.bad.append(BadInput(name, 0, reason))

    def count(self, requests: Sequence[CapturedRequest], own: Mapping[str, Label]) -> None:
        """Count requests that were read elsewhere; `own` are labels that came with them, for ids that have no other."""
        self._count_batch()
        ours = [is_about(one, self._attributes) for one in requests]
        times = [one.inference_time.timestamp() for one in requests]
        events, joins = [one.event_id for one in requests], [one.join_id for one in requests]
        fresh = self._fresh(times, ours, hashes_of(events), events, joins)
        self._measure([requests[place] for place in fresh.tolist()], own)

    def _count_batch(self) -> None:
        batch, self._batch, self._size = self._batch, Captures(Lines()), 0
        if not len(batch):
            return
        keys, others = both_hashes_of(batch.events)
        fresh = self._fresh(batch.times, batch.ours, keys, batch.events, batch.joins)
        files, self._files = self._files, []
        ends = [place for place, _ in files[1:]] + [len(batch)]
        for (begin, name), end in zip(files, ends, strict=True):
            self._folded.of_files[name] += int(np.searchsorted(fresh, end) - np.searchsorted(fresh, begin))
        if len(fresh) < len(batch):
            batch, keys, others = batch.of(fresh.tolist()), keys[fresh], others[fresh]
        if not len(batch):
            return
        subject = self._settled(batch.of(range(min(len(batch), _LOOKED_AT))).requests())
        if self._rows is None and self._preprocess is None and fits(subject):
            self._rows = RowFold(subject)
        if self._rows:
            counted = self._rows.add(batch)
            ids = Ids(keys, checks_of(others)) if batch.joins == batch.events else ids_of(batch.joins)
            self._answer(subject, batch, counted, keys, ids)
            batch = batch if not counted.fine.any() else batch.of(np.flatnonzero(~counted.fine).tolist())
        self._others.extend(batch)
        if len(self._others) >= TABLE_ROWS or self._others.size >= TABLE_BYTES:
            self._count_others()

    def _count_others(self) -> None:
        others, self._others = self._others, Captures(Lines())
        start = size = 0
        for place in range(len(others)):
            own = len(others.lines[place])
            if place > start and (place - start == TABLE_ROWS or size + own > TABLE_BYTES):
                self._measure([others.request(each) for each in range(start, place)], {})
                start, size = place, 0
            size += own
        self._measure([others.request(each) for each in range(start, len(others))], {})

    def _fresh(
        self,
        times: Sequence[float],
        ours: Sequence[bool],
        keys: Words,
        events: Sequence[str],
        joins: Sequence[str],
    ) -> Places:
        """Which of some requests are inside of the time, the subject's and new, ascending."""
        folded, all_times = self._folded, np.array(times, dtype=np.float64)
        inside = (all_times >= self._since) & (all_times < self._until)
        folded.outside += int(np.count_nonzero(~inside))
        folded.outer = _reached(folded.outer, all_times[~inside])
        if self._left_out:
            gone = [self._left_out(event, join) for event, join in zip(events, joins, strict=True)]
            inside &= ~np.array(gone, dtype=np.bool_)
        mine = np.array(ours, dtype=np.bool_)
        folded.elsewhere += int(np.count_nonzero(inside & ~mine))
        kept = np.flatnonzero(inside & mine)
        moments = np.round(all_times[kept] * 1e6).astype(np.int64)
        new = self._events.add(at_moments(keys[kept], moments))
        folded.measured += Measurement(repeated=int(np.count_nonzero(~new)))
        kept = kept[new]
        folded.requests += len(kept)
        folded.times = _reached(folded.times, all_times[kept])
        return kept

    def _settled(self, requests: Sequence[CapturedRequest]) -> Subject:
        """What is measured, decided by the first requests that count."""
        if self._subject is None:
            sizes = accumulate(map(_size_of, requests[:_LOOKED_AT]))
            count = sum(size <= _READ_AT_FIRST for size in sizes)
            self._subject = self._subject_of(_usual_first(requests[: max(count, 1)], self._attributes))
        return self._subject

    def _answer(self, subject: Subject, batch: Captures, counted: Counted, keys: Words, ids: Ids) -> None:
        """Give the answers of what was counted as rows to whoever joins labels to them."""
        places = np.flatnonzero(counted.fine)
        rows = np.repeat(places, counted.counts)
        firsts = np.cumsum(counted.counts) - counted.counts
        times = np.array(batch.times, dtype=np.float64)
        every = np.ones(len(rows), dtype=np.bool_)
        answers = Answers(
            events=keys[rows],
            joins=ids.keys[rows],
            checks=ids.checks[rows],
            positions=(np.arange(len(rows)) - np.repeat(firsts, counted.counts)).astype(np.uint32),
            counts=np.repeat(counted.counts, counted.counts).astype(np.uint32),
            times=np.round(times[rows] * 1e6).astype(np.int64),
            served=counted.served,
            scores=counted.scores,
            whole=every,
            regular=every,
            classes=counted.classes,
        )
        self._take(Batch(subject, answers, lambda some: [batch.joins[place] for place in rows[some].tolist()]))
        if self._sample:
            self._sample.offer(keys[places], counted.counts, lambda place: batch.request(int(places[place])))

    def _measure(self, requests: Sequence[CapturedRequest], own: Mapping[str, Label]) -> None:
        """Count requests as a table."""
        if not requests:
            return
        subject = self._settled(requests)
        preprocess = self._preprocess
        if preprocess is not None:
            labels = {**own, **self._labels_of([one.join_id for one in requests])}
            preprocess = with_labels(preprocess, labels)
        table = to_table(requests, {}, subject.attributes, preprocess, subject.inputs)
        if self._watch:
            self._watch(table)
        measured, answers = measure_and_answer(table, requests, subject)
        self._folded.measured += measured
        joins = {one.event_id: one.join_id for one in requests}
        ids = [joins[record_id.rpartition("#")[0]] for record_id in table.record_ids]
        self._take(Batch(subject, answers, lambda some: [ids[place] for place in some.tolist()], own, requests))
        if self._sample:
            self._sample.add(requests, rows_by_event(table))
        self._subject = with_found_features(subject, table)


def _usual_first(requests: Sequence[CapturedRequest], attributes: Attributes) -> list[CapturedRequest]:
    """The requests that were both asked and answered, where there are any; those of the width that most have stand
    first: columns are named by them, and an odd one would name all of them wrongly."""
    both = [one for one in requests if one.input and one.output]
    some = [one for one in both if one.input and one.input.data and one.output and one.output.data] or both or requests
    widths = [widths_of(one, attributes) for one in some]
    [(usual, _)] = Counter(widths).most_common(1)
    by_width = sorted(zip(widths, some, strict=True), key=lambda pair: pair[0] != usual)
    return [one for _, one in by_width]


def _reached(so_far: tuple[datetime, datetime] | None, times: Floats) -> tuple[datetime, datetime] | None:
    """The earliest and the latest time, with those of more requests (seconds since 1970)."""
    if not len(times):
        return so_far
    first, last = (datetime.fromtimestamp(float(each), UTC) for each in (times.min(), times.max()))
    return (min(first, so_far[0]), max(last, so_far[1])) if so_far else (first, last)


def _size_of(request: CapturedRequest) -> int:
    return sum(len(payload.data) for payload in (request.input, request.output) if payload)
