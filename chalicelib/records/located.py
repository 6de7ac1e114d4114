"""Where the requests and the labels of a window stand in its segment: they are decoded when their turn comes.

A request is known by 8 bytes and a label by 12, where objects would take hundreds. Both are found by places in the
bytes of the segment, which are there once; requests come back in parts, in the order of (inference time, event id), and
labels for the ids of a part. Hashes only say where to look: ids are compared as texts, and which of several labels
counts is `ground_truth.resolve`'s to say. Refuses to know what payloads and labels mean.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import UnreadableError
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import UNREADABLE, BadLines, CapturedRequest, Payload, places_of, read_capture_lines
from chalicelib.records.ground_truth import Conflict, Label, Resolved, read_label_lines, resolve
from chalicelib.records.segment import BadInput, Segment, hash_ids, hash_of
from chalicelib.records.table import is_about
from chalicelib.records.window import Window

# A part of a window has at most so many values, unless a single request has more: as a table they take 100 to 200 MB.
VALUES = 1_000_000

# So many places are looked at together.
_BLOCK = 1 << 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class JoinIds:
    """The ids that labels of a window may name, by their distinct hashes in order (`segment.hash_ids`), 8 bytes each.

    An id of another window is taken for one of these with a probability of 2**-64 for each.
    """

    def __init__(self, hashes: Hashes) -> None:
        self._view = hashes.data

    def __len__(self) -> int:
        return len(self._view)

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, str):
            return False
        wanted = int.from_bytes(hash_of(id), "little")
        place = bisect_left(self._view, wanted)
        return place < len(self._view) and self._view[place] == wanted

    def to_bytes(self) -> bytes:
        """As `segment.hashes_from_bytes` reads them."""
        return np.asarray(self._view).astype("<u8", copy=False).tobytes()


class _EventId(msgspec.Struct, gc=False, rename="camel"):
    event_id: str


class _Event(msgspec.Struct, gc=False, rename="camel"):
    event_metadata: _EventId


_events = msgspec.json.Decoder(_Event)


class LocatedRequests(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of a window in the order of (inference time, event id), each event once.

    `bodies`: the capture files. `places`: little-endian int64, one for each request: number of the file * 2**32 + first
    byte of its line. `bad`: the first bad lines of each file, `more_bad` counts the others; `repeated` events came
    before; `elsewhere`: requests of the window that another model or inference component than the monitor's answered.
    """

    bodies: tuple[bytes, ...] = ()
    places: bytes = b""
    bad: tuple[BadInput, ...] = ()
    more_bad: int = 0
    repeated: int = 0
    elsewhere: int = 0

    def __len__(self) -> int:
        return len(self.places) // 8

    def __iter__(self) -> Iterator[CapturedRequest]:
        for start in range(0, len(self), _BLOCK):
            places = np.frombuffer(self.places, dtype="<i8")[start : start + _BLOCK]
            for file, begin in zip((places >> 32).tolist(), (places & 0xFFFFFFFF).tolist(), strict=True):
                line = _line(self.bodies[file], begin)
                yield from read_capture_lines([(0, line)], BadLines("", ""))

    def parts(self, values: int = VALUES) -> Iterator[list[CapturedRequest]]:
        """The requests in parts of at most so many values, or of one request; of no requests one part without any.

        Where the parts end depends on the requests alone.
        """
        part: list[CapturedRequest] = []
        size = 0
        for request in self:
            own = _most_values(request.input) + _most_values(request.output)
            if part and size + own > values:
                yield part
                # The caller's list: here it would live as long as the next one takes.
                part, size = [], 0
            part.append(request)
            size += own
        yield part


def _most_values(payload: Payload | None) -> int:
    """No more values are in a payload than this, nor more records."""
    if payload is None:
        return 0
    if payload.encoding.upper() == "BASE64":
        return 1 + len(payload.data) * 3 // 8
    return 1 + sum(map(payload.data.count, ",\n\r"))


def locate_requests(
    segment: Segment, window: Window, attributes: Attributes | None = None
) -> tuple[LocatedRequests, JoinIds]:
    """Find the requests of the window in a segment's files, and their join ids: an hour may hold more than the window.

    With `attributes`, only those of the model and inference component that they name. Of one event that comes again the
    first in the order of the files counts.
    """
    found = _Found(segment)
    for number, file in enumerate(segment.files):
        if file.refused:
            found.bad.append(BadInput(file.key, 0, file.refused))
        else:
            found.read(number, window, attributes)
    return found.result()


class _Found:
    """Requests as they are found: at most 36 bytes each, while repeated events are looked for."""

    def __init__(self, segment: Segment) -> None:
        self.bad: list[BadInput] = []
        self._files = segment.files
        lines = sum(file.body.count(b"\n") + 1 for file in segment.files)
        self._events: Hashes = np.empty(lines, dtype=np.uint64)
        self._joins: Hashes = np.empty(lines, dtype=np.uint64)
        self._times: Places = np.empty(lines, dtype=np.int64)
        self._begins = np.empty(lines, dtype=np.uint32)
        self._firsts = np.zeros(len(segment.files) + 1, dtype=np.int64)
        self._count = self._more_bad = self._elsewhere = 0

    def read(self, number: int, window: Window, attributes: Attributes | None) -> None:
        file = self._files[number]
        bad = BadLines(file.key, "a capture record")
        good, elsewhere, place = 0, 0, self._count
        try:
            for line_number, begin, line in places_of(file.body):
                lines = read_capture_lines([(line_number, line)], bad, good)
                good += len(lines)
                for request in lines:
                    if not window.contains(request.inference_time):
                        continue
                    if attributes is not None and not is_about(request, attributes):
                        elsewhere += 1
                        continue
                    event = int.from_bytes(hash_of(request.event_id), "little")
                    other = request.join_id
                    self._events[place] = event
                    self._joins[place] = (
                        event if other == request.event_id else int.from_bytes(hash_of(other), "little")
                    )
                    self._times[place] = _microseconds(request.inference_time)
                    self._begins[place] = begin
                    place += 1
            bad.refuse_if_hopeless(good)
        except UnreadableError as error:
            # A file that is given up is given up as a whole.
            self.bad.append(BadInput(file.key, 0, error.reason))
        else:
            self.bad += [BadInput(file.key, each.line, each.reason) for each in bad.named]
            self._more_bad += bad.more
            self._elsewhere += elsewhere
            self._count = place
        self._firsts[number + 1 :] = self._count

    def result(self) -> tuple[LocatedRequests, JoinIds]:
        count = self._count
        self._joins = self._joins[:count]
        self._joins.sort()
        ids = JoinIds(_distinct(self._joins))
        del self._joins
        self._leave_out_repeated(count)
        order = self._ordered()
        del self._times
        places = np.searchsorted(self._firsts, order, side="right") - 1
        places <<= 32
        places |= self._begins[order]
        del order
        requests = LocatedRequests(
            bodies=tuple(file.body for file in self._files),
            places=places.astype("<i8", copy=False).tobytes(),
            bad=tuple(self.bad),
            more_bad=self._more_bad,
            repeated=count - len(places),
            elsewhere=self._elsewhere,
        )
        return requests, ids

    def _leave_out_repeated(self, count: int) -> None:
        """Keep the first of each event."""
        hashes = self._events[:count]
        order = np.argsort(hashes, kind="stable")
        again: list[int] = []
        for start, end in _runs(hashes, order):
            known: set[str] = set()
            for row in order[start:end].tolist():
                event_id = self._event_id(row)
                if event_id in known:
                    again.append(row)
                known.add(event_id)
        del hashes, order, self._events
        self._times, self._begins = self._times[:count], self._begins[:count]
        if again:
            fresh: Flags = np.ones(count, dtype=np.bool_)
            fresh[again] = False
            self._times, self._begins = self._times[fresh], self._begins[fresh]
            self._firsts = np.concatenate([[0], np.cumsum(fresh)])[self._firsts]

    def _ordered(self) -> Places:
        times = self._times
        order = np.argsort(times, kind="stable")
        # Of equal times the event ids decide, as texts.
        for start, end in _runs(times, order):
            order[start:end] = sorted(order[start:end].tolist(), key=self._event_id)
        return order

    def _event_id(self, row: int) -> str:
        file = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return _events.decode(_line(self._files[file].body, int(self._begins[row]))).event_metadata.event_id


class LocatedLabels(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of a window by the hash of their id.

    `body`: canonical ground-truth lines. `keys`: the ids' hashes in order, little-endian uint64; `begins`: the first
    bytes of the lines in the same order, little-endian uint32. `arrived` is the label time of a line without one,
    `conflict` the rule, the counts are those of `ground_truth.Resolved` over all labels.
    """

    body: bytes = b""
    keys: bytes = b""
    begins: bytes = b""
    arrived: datetime = _EPOCH
    conflict: Conflict = "latest"
    repeated: int = 0
    conflicting: int = 0
    rejected: int = 0

    def __len__(self) -> int:
        return len(self.keys) // 8

    def of(self, ids: Iterable[str]) -> Resolved:
        """The labels of these ids (and of none or few others), as `resolve` chooses among all that they have."""
        wanted = hash_ids(ids).astype(np.uint64, copy=False)
        keys = np.frombuffer(self.keys, dtype="<u8")
        firsts = np.searchsorted(keys, wanted, side="left")
        counts = np.searchsorted(keys, wanted, side="right") - firsts
        # 3, 3 and 7, 2 become 3, 4, 5, 7, 8.
        places = np.repeat(firsts - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
        begins = np.frombuffer(self.begins, dtype="<u4")[places]
        return resolve(self._read(begins.tolist()), self.conflict)

    def _read(self, begins: Sequence[int]) -> list[Label]:
        lines = ((0, _line(self.body, begin)) for begin in begins)
        return read_label_lines(lines, "segment", self.arrived, BadLines("segment", ""))


def locate_labels(segment: Segment, window: Window, conflict: Conflict = "latest") -> LocatedLabels:
    """Find the labels kept in a segment. Each carries its label time, so the window's end is never used as one.

    Raises UnreadableError when there are lines and none names an id.
    """
    lines = segment.labels.count(b"\n") + 1
    keys: Hashes = np.empty(lines, dtype=np.uint64)
    begins = np.empty(lines, dtype=np.uint32)
    bad, count = BadLines("segment", "a ground-truth record"), 0
    for number, begin, line in places_of(segment.labels):
        try:
            id = _events.decode(line).event_metadata.event_id
        except UNREADABLE as error:
            bad.add(number, error, count)
            continue
        keys[count] = int.from_bytes(hash_of(id), "little")
        begins[count] = begin
        count += 1
    bad.refuse_if_hopeless(count)
    order = np.argsort(keys[:count], kind="stable")
    keys = keys[order]
    begins = begins[order]
    del order
    labels = LocatedLabels(
        body=segment.labels,
        keys=keys.astype("<u8", copy=False).tobytes(),
        begins=begins.astype("<u4", copy=False).tobytes(),
        arrived=window.end,
        conflict=conflict,
    )
    repeated = conflicting = rejected = 0
    for start, end in _runs(keys):
        of_one = resolve(labels._read(begins[start:end].tolist()), conflict)
        repeated += of_one.repeated
        conflicting += of_one.conflicting
        rejected += of_one.rejected
    return msgspec.structs.replace(labels, repeated=repeated, conflicting=conflicting, rejected=rejected)


def _runs(values: Hashes | Places, order: Places | None = None) -> Iterator[tuple[int, int]]:
    """Where equal neighbours begin and end among values, in the given order of them."""
    count = len(values)
    start: int | None = None
    for begin in range(0, count - 1, _BLOCK):
        rows = slice(begin, min(begin + _BLOCK, count - 1) + 1)
        some = values[rows] if order is None else values[order[rows]]
        same = some[1:] == some[:-1]
        edges = np.flatnonzero(np.diff(same, prepend=start is not None))
        for edge in (edges + begin).tolist():
            if start is None:
                start = edge
            else:
                yield start, edge + 1
                start = None
    if start is not None:
        yield start, count


def _distinct(ordered: Hashes) -> Hashes:
    again: Flags = np.zeros(len(ordered), dtype=np.bool_)
    np.equal(ordered[1:], ordered[:-1], out=again[1:])
    return ordered[~again] if again.any() else ordered


def _line(body: bytes, begin: int) -> bytes:
    end = body.find(b"\n", begin)
    return body[begin:] if end < 0 else body[begin:end]


def _microseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
