"""Takes requests from a service that answers predictions, and writes them in a thread of its own.

A prediction pays for one append under a lock. Redaction, encoding and writing happen in the thread. Nothing here
raises into the service: what cannot be kept is dropped and counted.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import threading
import time
import uuid
import weakref
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, NamedTuple

from plumbline.capture.lines import Request, capture_line, file_name, hour_of, is_sampled
from plumbline.capture.places import Place, place_of
from plumbline.capture.redaction import Redact

log = logging.getLogger("plumbline.capture")

# How often the thread takes what waits, in seconds.
TICK = 0.25
# After so many lines (some 0.1 ms) the thread rests for so many seconds. Without a rest it would take the interpreter's
# lock back before a waiting prediction wakes, and hold it for 5 ms.
LINES_AT_ONCE = 16
REST = 0.0002


class Counts(NamedTuple):
    """What became of the requests of the sample so far; their sum, and those that still wait, is all of them."""

    written: int = 0
    dropped_full: int = 0  # the queue was full: more requests, or more bytes, than its bounds
    dropped_large: int = 0  # a payload above `max_payload_bytes`
    dropped_unredacted: int = 0  # the redaction, or the encoding, raised
    dropped_closed: int = 0  # came after close(), or could not be written before its timeout
    files: int = 0
    failed_writes: int = 0  # a file that will be tried again


class _Hour:
    """Lines of one hour that wait for their file."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.held = 0  # bytes of payload, as counted against the bound
        self.size = 0  # bytes of the file
        self.since = 0.0


class CaptureWriter:
    """Writes capture files below `destination`, a folder or s3://…, as {endpoint}/{variant}/YYYY/MM/DD/HH/….jsonl.

    `sampling_percentage`: of how many requests in a hundred, by hash of the inference id, else of the event id.
    `redact`: what is done to each payload before it is encoded (`redaction.blank` makes one).
    `max_requests`: requests that may wait to be encoded; `max_bytes`: payload bytes that may wait to be written.
    `max_payload_bytes`: of input and output together. `flush_seconds`: the oldest line waits no longer for its file.
    `flush_on_sigterm`: write what waits when the process is asked to end, then do what would have been done.

    Not here: any guarantee after a crash. What waited in memory is lost with the process.
    """

    def __init__(
        self,
        destination: str | Path | Place,
        endpoint: str,
        variant: str = "AllTraffic",
        *,
        sampling_percentage: float = 100,
        redact: Redact | None = None,
        max_requests: int = 10_000,
        max_bytes: int = 64 << 20,
        max_payload_bytes: int = 1 << 20,
        flush_seconds: float = 60,
        kms_key_id: str = "",
        flush_on_sigterm: bool = True,
    ) -> None:
        """Raises ValueError for names that cannot be folders, and for a sampling percentage outside 0 to 100."""
        for name, value in (("endpoint", endpoint), ("variant", variant)):
            if not value or "/" in value or value.startswith("."):
                raise ValueError(f"{name}: got {value!r}; expected a name without / that does not begin with a dot")
        if not 0 <= sampling_percentage <= 100:
            raise ValueError(f"sampling_percentage: got {sampling_percentage}; expected 0 to 100")
        self.max_payload_bytes = max_payload_bytes
        self._place = place_of(destination, kms_key_id) if isinstance(destination, str | Path) else destination
        self._prefix = f"{endpoint}/{variant}"
        self._percentage, self._redact = sampling_percentage, redact
        self._max_requests, self._max_bytes, self._flush_seconds = max_requests, max_bytes, flush_seconds
        self._counts = dict.fromkeys(Counts._fields, 0)
        self._start_empty()
        _writers.add(self)
        if flush_on_sigterm:
            _flush_on_sigterm()

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._wake: SimpleQueue[threading.Event | None] = SimpleQueue()
        self._waiting: list[Request] = []
        self._held = 0
        self._hours: dict[str, _Hour] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._deadline = float("inf")

    # On the way of a prediction --------------------------------------------------------------------------------------

    def wants(self, inference_id: str = "") -> str:
        """A new event id for a request that is to be captured; "" for one outside of the sample."""
        event_id = str(uuid.uuid4())
        return event_id if is_sampled(inference_id or event_id, self._percentage) else ""

    def record(
        self,
        request: bytes,
        response: bytes,
        request_type: str = "text/csv",
        response_type: str = "text/csv",
        inference_id: str = "",
        custom_attributes: str = "",
        at: float | None = None,
    ) -> bool:
        """Capture an answered request, if it belongs to the sample. Whether it was taken; never raises.

        `at`: when it was asked, in seconds since 1970; default: now.
        """
        event_id = self.wants(inference_id)
        moment = time.time() if at is None else at
        taken = (event_id, inference_id, moment, request, request_type, response, response_type, custom_attributes)
        return bool(event_id) and self.take(Request(*taken))

    def take(self, request: Request) -> bool:
        """Queue a request that `wants` chose; whether there was room."""
        size = len(request.request) + len(request.response)
        with self._lock:
            if size > self.max_payload_bytes:
                return self._drop("dropped_large")
            if self._closed:
                return self._drop("dropped_closed")
            if len(self._waiting) >= self._max_requests or self._held + size > self._max_bytes:
                return self._drop("dropped_full")
            self._waiting.append(request)
            self._held += size
            if self._thread is None:
                self._start()
            # Once, at half of the bound: the thread looks by itself each tick.
            if len(self._waiting) == self._max_requests // 2:
                self._wake.put(None)
        return True

    def drop_large(self) -> None:
        """Count a request whose payload was given up while it was collected."""
        with self._lock:
            self._drop("dropped_large")

    def _drop(self, reason: str) -> bool:
        self._counts[reason] += 1
        return False

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="plumbline-capture", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter ends, or there are no more threads: the next request tries again
            self._thread = None

    # For the service's owner -----------------------------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        with self._lock:
            return Counts(**self._counts)

    @property
    def waiting(self) -> int:
        """Requests that wait to be encoded."""
        return len(self._waiting)

    def flush(self, timeout: float = 10) -> bool:
        """Write everything that was taken before; whether all of it was written within the timeout."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return not self._waiting and not self._hours
        done = threading.Event()
        self._wake.put(done)
        return done.wait(timeout) and not self._hours

    def close(self, timeout: float = 10) -> None:
        """Take nothing any more and write what waits. What is not written within the timeout is dropped and counted."""
        with self._lock:
            self._closed, self._deadline = True, time.monotonic() + timeout
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._wake.put(None)
            thread.join(timeout)
        elif thread is None and self._waiting:  # no thread could be started
            self._work()

    # In the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        finally:
            # Whatever ended it, the next request starts another one.
            self._thread = None

    def _work(self) -> None:
        while True:
            asked: threading.Event | None = None
            with contextlib.suppress(Empty):
                asked = self._wake.get(timeout=TICK)
            closing = self._closed  # read before what waits is taken: nothing comes after it
            self._encode()
            self._write(everything=closing or asked is not None)
            if asked is not None:
                asked.set()
            if closing and (not self._hours or time.monotonic() > self._deadline):
                with self._lock:
                    self._counts["dropped_closed"] += sum(len(hour.lines) for hour in self._hours.values())
                self._hours.clear()
                return

    def _encode(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for index, request in enumerate(waiting):
            if index % LINES_AT_ONCE == 0:
                time.sleep(REST)
            size = request.size
            try:
                line = capture_line(self._redacted(request))
            except Exception as error:  # of a customer's own redaction; its text may hold what it read
                log.warning("a request is not captured: its redaction or encoding raised %s", type(error).__name__)
                with self._lock:
                    self._held -= size
                    self._drop("dropped_unredacted")
                continue
            hour = self._hours.setdefault(hour_of(request.time), _Hour())
            hour.since = hour.since or time.monotonic()
            hour.lines.append(line)
            hour.held += size
            hour.size += len(line)

    def _redacted(self, request: Request) -> Request:
        if self._redact is None:
            return request
        asked = self._redact("INPUT", request.request, request.request_type)
        answered = self._redact("OUTPUT", request.response, request.response_type)
        return request._replace(request=asked, response=answered)

    def _write(self, everything: bool) -> None:
        for name, hour in list(self._hours.items()):
            old = time.monotonic() - hour.since >= self._flush_seconds
            if not (everything or old or hour.size >= self._max_bytes // 4):
                continue
            key = f"{self._prefix}/{name}/{file_name(time.time(), str(uuid.uuid4()))}"
            try:
                self._place.put(key, b"".join(hour.lines))
            except Exception as error:  # whatever a disk or S3 may answer: the lines stay, and count against the bound
                log.warning("a capture file is not written, and is tried again: %s", type(error).__name__)
                hour.since = time.monotonic()
                with self._lock:
                    self._counts["failed_writes"] += 1
                continue
            del self._hours[name]
            with self._lock:
                self._held -= hour.held
                self._counts["written"] += len(hour.lines)
                self._counts["files"] += 1


# At the end of the process --------------------------------------------------------------------------------------------

_writers: weakref.WeakSet[CaptureWriter] = weakref.WeakSet()
_before: Any = None
_is_installed = _is_ending = False


def close_all() -> None:
    """Close every writer of this process, each within its own timeout."""
    for writer in list(_writers):
        writer.close()


def _flush_all() -> None:
    for writer in list(_writers):
        writer.flush()


def _flush_on_sigterm() -> None:
    """Put ourselves before what SIGTERM would do. Not outside the main thread: atexit and close() remain there."""
    global _before, _is_installed
    if _is_installed or threading.current_thread() is not threading.main_thread():
        return
    _before = signal.signal(signal.SIGTERM, _terminated)
    _is_installed = True


def _terminated(number: int, frame: FrameType | None) -> None:
    """Flush in another thread: the main thread may hold a writer's lock just now, and waits for nothing here."""
    global _is_ending
    if callable(_before):
        # A server that ends by itself answers what it has begun; those requests are written by close_all.
        threading.Thread(target=_flush_all, daemon=True).start()
        _before(number, frame)
    elif _before == signal.SIG_DFL and _is_ending:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    elif _before == signal.SIG_DFL:
        _is_ending = True
        threading.Thread(target=_flush_and_end, args=(number,), daemon=True).start()


def _flush_and_end(number: int) -> None:
    _flush_all()
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, number)


def _in_child() -> None:
    """A forked worker has none of the parent's threads, and must not write the parent's requests a second time."""
    global _is_ending
    _is_ending = False
    for writer in list(_writers):
        writer._start_empty()
        writer._counts = dict.fromkeys(Counts._fields, 0)


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
