"""A window's capture files become what is stored of it, file by file.

Files come in the order of their keys, so the same files give the same bytes. Not here: labels, keys, where files are,
and how they are read (`capture_fold`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from chalicelib.evaluation.capture_fold import Batch, CaptureFold
from chalicelib.evaluation.measurement import Subject
from chalicelib.evaluation.stored_window import Measured, MeasuredFile, asked_of
from chalicelib.records.answers import Answers, microseconds_of, no_answers, together
from chalicelib.records.batch_reader import Source
from chalicelib.records.capture import CapturedRequest
from chalicelib.records.cells import hashes_of
from chalicelib.records.joins import Events, at_moments, ids_of
from chalicelib.records.sample import SampleFold
from chalicelib.records.window import Window
from chalicelib.states.flips import ROWS as FLIP_ROWS

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
    ) -> None:
        self._base = base or Measured()
        self._asked = self._base.asked if base else asked_of(subject)
        self._subject = self._base.subject or subject
        self._answers, self._unread = [self._base.answers], [self._base.unread]
        self._etags: dict[str, str] = {}
        self._sample = SampleFold(SAMPLE_TIMES * sample_rows, self._base.sample)
        known = Events()
        for answers in (*self._answers, *self._unread):
            known.add(np.unique(at_moments(answers.events, answers.times)))
        self._fold = CaptureFold(
            lambda _: self._subject,
            self._take,
            window.start,
            window.end,
            self._subject.attributes,
            sample=self._sample,
            known=known,
            left_out=forgotten,
        )

    def refuse(self, key: str, etag: str, reason: str) -> None:
        """A file that is not read."""
        self._etags[key] = etag
        self._fold.refuse(key, reason)

    def add(self, key: str, etag: str, body: bytes, of_window: bool = True) -> None:
        """Read the next file, in the order of keys. One that cannot be read is noted as a whole; of a file that lies in
        the hour before (`of_window` False) what cannot be read is that hour's."""
        self._etags[key] = etag
        self._fold.read(Source(key, lambda: [body]), of_window)

    def finish(self) -> Measured:
        folded, subject = self._fold.result()
        base = self._base
        files = [MeasuredFile(key, etag, folded.of_files.get(key, 0)) for key, etag in self._etags.items()]
        return msgspec.structs.replace(
            base,
            asked=self._asked,
            subject=subject or self._subject,
            files=tuple(sorted([*base.files, *files], key=lambda file: file.key)),
            requests=base.requests + folded.requests,
            elsewhere=base.elsewhere + folded.elsewhere,
            bad=(*base.bad, *folded.bad),
            more_bad=base.more_bad + folded.more_bad,
            measurement=base.measurement + folded.measured,
            answers=self._together(),
            unread=together(self._unread),
            sample=self._sample.chosen,
        )

    def _together(self) -> Answers:
        return together(self._answers).with_fewer_numbers(_FLIP_TIMES * FLIP_ROWS)

    def _take(self, batch: Batch) -> None:
        self._answers.append(batch.answers)
        if batch.subject.bias:  # features of rows that will not be in the flip test are not held
            self._answers = [self._together()]
        if batch.requests:
            self._unread.append(_unread(batch.requests, batch.answers))


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
