"""A window's capture files become what is stored of it: file by file, each decoded, measured and dropped.

Files come in the order of their keys, so the same files give the same bytes. Only the requests of one file, or a
part of at most `VALUES` values, are held. Not here: labels, keys and where files are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from chalicelib.errors import UnreadableError
from chalicelib.evaluation.measurement import Measurement, Subject, measure_and_answer, with_found_features
from chalicelib.evaluation.stored_window import Measured, MeasuredFile, asked_of
from chalicelib.records.answers import Answers, microseconds_of, no_answers, together
from chalicelib.records.capture import BadInput, CapturedRequest, Payload, read_captures
from chalicelib.records.cells import hashes_of
from chalicelib.records.joins import Events, ids_of
from chalicelib.records.sample import SampleFold, rows_by_event
from chalicelib.records.table import is_about, to_table
from chalicelib.records.window import Window
from chalicelib.states.flips import ROWS as FLIP_ROWS

# A part of a window has at most so many values, unless a single request has more: as a table they take 100 to 200 MB.
VALUES = 1_000_000

# The labelled part of what is kept is what candidates answer: so many times as many rows as they are asked.
SAMPLE_TIMES = 4
# So many rows of each side of a facet keep their features, of which the labelled ones are in the flip test.
_FLIP_TIMES = 2


class WindowReader:
    """Measures the requests of a window. `base`: what was measured of files that cannot be read again.

    `forgotten`: which ids are to be left out.
    """

    def __init__(
        self,
        subject: Subject,
        window: Window,
        sample_rows: int,
        base: Measured | None = None,
        forgotten: Callable[..., bool] | None = None,
        values: int = VALUES,
    ) -> None:
        self._window, self._forgotten, self._values = window, forgotten, values
        self._asked = base.asked if base else asked_of(subject)
        self._subject = base.subject if base and base.subject else subject
        self._base = base or Measured()
        self._measurement = self._base.measurement
        self._answers, self._unread = [self._base.answers], [self._base.unread]
        self._files = list(self._base.files)
        self._bad, self._more_bad = list(self._base.bad), self._base.more_bad
        self._requests, self._elsewhere = self._base.requests, self._base.elsewhere
        self._events = Events()
        for known in (*self._answers, *self._unread):
            self._events.add(np.unique(known.events))
        self._sample = SampleFold(SAMPLE_TIMES * sample_rows, self._base.sample)
        self._part: list[CapturedRequest] = []
        self._size = 0

    def refuse(self, key: str, etag: str, reason: str) -> None:
        """A file that is not read."""
        self._files.append(MeasuredFile(key, etag))
        self._bad.append(BadInput(key, 0, reason))

    def add(self, key: str, etag: str, body: bytes) -> None:
        """Read the next file, in the order of keys. One that cannot be read is noted as a whole."""
        try:
            read = read_captures(body, key)
        except UnreadableError as error:
            self.refuse(key, etag, error.reason)
            return
        self._bad += [BadInput(key, each.line, each.reason) for each in read.bad_lines]
        self._more_bad += read.more_bad_lines
        inside = [one for one in read.requests if self._window.contains(one.inference_time)]
        if self._forgotten:
            inside = [one for one in inside if not self._forgotten(one.event_id, one.inference_id)]
        ours = [one for one in inside if is_about(one, self._subject.attributes)]
        self._elsewhere += len(inside) - len(ours)
        fresh = self._events.add(hashes_of([one.event_id for one in ours])).tolist() if ours else []
        self._measurement += Measurement(repeated=len(fresh) - sum(fresh))
        self._files.append(MeasuredFile(key, etag, sum(fresh)))
        self._requests += sum(fresh)
        for one, is_fresh in zip(ours, fresh, strict=True):
            if is_fresh:
                self._wait(one)

    def finish(self) -> Measured:
        self._measure()
        return msgspec.structs.replace(
            self._base,
            asked=self._asked,
            subject=self._subject,
            files=tuple(sorted(self._files, key=lambda file: file.key)),
            requests=self._requests,
            elsewhere=self._elsewhere,
            bad=tuple(self._bad),
            more_bad=self._more_bad,
            measurement=self._measurement,
            answers=self._together(),
            unread=together(self._unread),
            sample=self._sample.chosen,
        )

    def _together(self) -> Answers:
        return together(self._answers).with_fewer_numbers(_FLIP_TIMES * FLIP_ROWS)

    def _wait(self, request: CapturedRequest) -> None:
        size = _most_values(request.input) + _most_values(request.output)
        if self._part and self._size + size > self._values:
            self._measure()
        self._part.append(request)
        self._size += size

    def _measure(self) -> None:
        part, self._part, self._size = self._part, [], 0
        if not part:
            return
        table = to_table(part, {}, self._subject.attributes)
        measured, answers = measure_and_answer(table, part, self._subject)
        self._measurement += measured
        self._answers.append(answers)
        if self._subject.bias:  # features of rows that will not be in the flip test are not held
            self._answers = [self._together()]
        self._unread.append(_unread(part, answers))
        self._sample.add(part, rows_by_event(table))
        self._subject = with_found_features(self._subject, table)


def _unread(part: Sequence[CapturedRequest], answers: Answers) -> Answers:
    """Rows for the requests that no record was found in."""
    without = np.flatnonzero(~np.isin(hashes_of([one.event_id for one in part]), answers.events)).tolist()
    some = [part[place] for place in without]
    if not some:
        return no_answers()
    count = len(some)
    ids = ids_of([one.join_id for one in some])
    return msgspec.structs.replace(
        no_answers(),
        events=hashes_of([one.event_id for one in some]),
        joins=ids.keys,
        checks=ids.checks,
        positions=np.zeros(count, dtype=np.uint32),
        counts=np.zeros(count, dtype=np.uint32),
        times=np.array([microseconds_of(one.inference_time) for one in some], dtype=np.int64),
        served=np.full(count, np.nan),
        scores=np.full(count, np.nan),
        whole=np.zeros(count, dtype=np.bool_),
        regular=np.zeros(count, dtype=np.bool_),
    )


def _most_values(payload: Payload | None) -> int:
    """No more values are in a payload than this, nor more records."""
    if payload is None:
        return 0
    if payload.encoding.upper() == "BASE64":
        return 1 + len(payload.data) * 3 // 8
    return 1 + sum(map(payload.data.count, ",\n\r"))
