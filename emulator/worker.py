"""The functions of app.py in a process of their own, that can be killed at any moment and is started again.

AWS's part (storage, queues, SageMaker, the receiver of alerts) runs in other processes and survives. Both sides are
here: `HandlerProcess` for the deliverer, and `python -m emulator.worker`, which answers one delivery after the other
over a socket. It counts the calls that a function makes, by name. Not here: what a function does.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from emulator.aws import LocalSession, StandInError
from emulator.clock import LogicalClock
from emulator.pump import LambdaContext, ProcessDied

ROOT = Path(__file__).resolve().parent.parent
WEBHOOK = "ground_truth_posted"

# How calls that change something begin, by boto3's names.
_WRITES = ("Put", "Delete", "Update", "Create", "Start", "Send", "Publish", "post")
_TRACE_BYTES = 256


@dataclass(frozen=True)
class Delivery:
    """One answered invocation: the calls that the function made to the outside ("s3.PutObject"), and wall seconds."""

    function: str
    calls: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Moment:
    """When to kill: in the `number`-th delivery to a function, before or after its `call`-th call (both from 1).

    With call 0 it is `seconds` of wall time after the delivery. `again`: the redelivery of the same messages is killed
    before its `again`-th call, too (0: it is not).
    """

    function: str
    number: int
    call: int
    side: str
    seconds: float = 0.0
    again: int = 0


@dataclass
class Kill:
    """One kill -9 as it came out: what ran, and how far it was when it ended.

    `when` is logical time, `calls` and `writes` (calls that change something) were made until then, `at` is the place
    of the last one. `found` says when the same messages were delivered again, and what became of them then.
    """

    function: str
    messages: tuple[str, ...]
    when: datetime
    calls: int = 0
    writes: int = 0
    at: str = ""
    found: str = ""


class HandlerProcess:
    """The process that runs the handlers: one attribute per function of app.py, and `post` for the label webhook.

    A context manager. The process gets `environ` and writes its log to `log`; it gets the time with each delivery.
    When it dies, the delivery raises ProcessDied and the next one starts a new process.
    """

    def __init__(self, environ: Mapping[str, str], clock: LogicalClock, log: IO[str], moment: Moment | None) -> None:
        self._environ = {**environ, "PYTHONPATH": str(ROOT)}
        self._clock = clock
        self._log = log
        self._moment = moment
        self._again: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._numbers: Counter[str] = Counter()
        self._trace = tempfile.NamedTemporaryFile(prefix="plumbline-trace-")  # noqa: SIM115
        self._reset_trace()
        self.deliveries: list[Delivery] = []
        self.kills: list[Kill] = []
        self.starts = 0
        self.when_killed: Callable[[], object] = lambda: None
        """Called after each kill, before anything else runs."""

    def __enter__(self) -> HandlerProcess:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._trace.close()

    def __getattr__(self, function: str) -> Callable[[Mapping[str, Any], LambdaContext], Any]:
        if function.startswith("_"):
            raise AttributeError(function)

        def call(event: Mapping[str, Any], context: LambdaContext) -> Any:
            ids = tuple(record["messageId"] for record in event["Records"])
            fields = {name: value for name, value in asdict(context).items() if name != "started"}
            return self._deliver(function, ids, {"event": event, "context": fields})

        return call

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post to the webhook; the status. Raises ProcessDied when no answer came."""
        ids = (headers["webhook-id"],)
        request = {"path": path, "headers": dict(headers), "body": body.decode()}
        return int(self._deliver(WEBHOOK, ids, {"post": request}))

    def _deliver(self, function: str, ids: tuple[str, ...], question: dict[str, Any]) -> Any:
        if self._process is None:
            self._start()
        stop, seconds = self._due(function, ids)
        question |= {"function": function, "now": self._clock.now().isoformat(), "stop": stop}
        timer = threading.Timer(seconds, self._kill) if seconds is not None else None
        began = time.perf_counter()
        self._reset_trace()
        if timer:
            timer.start()
        answer = self._ask(question)
        if answer is not None and "reached" in answer:
            self._kill()
            answer = None
        if timer:
            timer.join()
        if answer is None:
            if stop is None and seconds is None:
                self._end()
                raise StandInError(f"the process of the handlers ended by itself in {function}; see its log")
            self._found(ids, "killed again")
            self.kills.append(Kill(function, ids, self._clock.now(), **self._traced()))
            self._end()
            self.when_killed()
            raise ProcessDied(function)
        if self._killed:  # after it had answered: Lambda has the answer, the next delivery gets a new process
            self.kills.append(Kill(function, (), self._clock.now(), **self._traced(), found="it had answered"))
            self._end()
        self.deliveries.append(Delivery(function, tuple(answer["calls"]), time.perf_counter() - began))
        self._found(ids, f"{len(answer['calls'])} calls, {answer.get('error', 'done')}")
        if "error" in answer:
            raise HandlerError(answer["error"])
        return answer["answer"]

    def _found(self, ids: tuple[str, ...], words: str) -> None:
        """Note what became of the messages of a kill when they were delivered again."""
        for kill in self.kills:
            if not kill.found and set(ids) & set(kill.messages):
                minutes = (self._clock.now() - kill.when).total_seconds() / 60
                kill.found = f"back after {minutes:.0f} min: {words}"

    def _due(self, function: str, ids: tuple[str, ...]) -> tuple[tuple[int, str] | None, float | None]:
        """Whether this delivery is to be killed: (call, side) or the seconds until then."""
        self._numbers[function] += 1
        moment = self._moment
        if self._again and set(ids) & set(self._again):
            assert moment is not None
            self._again = ()
            return (moment.again, "before"), None
        if moment is None or (function, self._numbers[function]) != (moment.function, moment.number):
            return None, None
        self._again = ids if moment.again else ()
        return ((moment.call, moment.side), None) if moment.call else (None, moment.seconds)

    def _ask(self, question: Mapping[str, Any]) -> Any:
        try:
            self._socket.sendall(json.dumps(question).encode() + b"\n")
            line = self._answers.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def _start(self) -> None:
        self.starts += 1
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "emulator.worker", str(other.fileno()), self._trace.name],
                cwd=ROOT, env=self._environ, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, stdout=self._log,
                stderr=self._log, start_new_session=True,
            )  # fmt: skip
        self._answers = self._socket.makefile("rb")
        if not self._answers.readline():
            self._end()
            raise StandInError("the process of the handlers did not start; see its log")

    def _kill(self) -> None:
        if self._process is not None:
            self._killed = True
            self._process.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        process, self._process = self._process, None
        self._killed = False
        if process is not None:
            process.kill()
            process.wait()
            self._answers.close()
            self._socket.close()

    def _reset_trace(self) -> None:
        # Written over, never cut short: the process has the file mapped.
        self._trace.seek(0)
        self._trace.write(_trace(0, 0, "before the first call"))
        self._trace.flush()

    def _traced(self) -> dict[str, Any]:
        """How far the delivery was: what the process had written into shared memory."""
        return dict(json.loads(Path(self._trace.name).read_bytes().rstrip(b"\0")))


def _trace(calls: int, writes: int, at: str) -> bytes:
    """How far a delivery is, in the bytes of the memory that both processes share."""
    return json.dumps({"calls": calls, "writes": writes, "at": at}).encode().ljust(_TRACE_BYTES, b"\0")


class HandlerError(RuntimeError):
    """What a function raised in its process, by its type's name."""


# --- The process that is killed --------------------------------------------------------------------------------------


class _Watch:
    """Counts the calls of the current delivery, and blocks for ever at the requested one."""

    def __init__(self, trace: str, answer: Callable[[Mapping[str, Any]], None]) -> None:
        with open(trace, "r+b") as file:
            self._trace = mmap.mmap(file.fileno(), _TRACE_BYTES)
        self._answer = answer
        self._stop: tuple[int, str] | None = None
        self._writes = 0
        self.calls: list[str] = []

    def begin(self, stop: tuple[int, str] | None) -> None:
        """A delivery begins."""
        self._stop, self._writes, self.calls = stop, 0, []

    def before(self, name: str) -> None:
        """A call is about to be sent."""
        self.calls.append(name)
        self._write(f"before {name}")
        self._wait("before")

    def after(self, name: str) -> None:
        """A call was answered."""
        self._writes += name.partition(".")[2].startswith(_WRITES)
        self._write(f"after {name}")
        self._wait("after")

    def _write(self, at: str) -> None:
        # Shared memory: what stands here outlives the process.
        self._trace[:] = _trace(len(self.calls), self._writes, at)

    def _wait(self, side: str) -> None:
        if self._stop == (len(self.calls), side):
            self._answer({"reached": side})
            while True:
                signal.pause()


class _WatchedSession(LocalSession):
    """boto3's default session of this process, whose clients tell the watch of every request and every answer."""

    def __init__(self, urls: Mapping[str, str], watch: _Watch) -> None:
        super().__init__(urls)
        self._watch = watch

    def client(self, service_name: str, *args: Any, **kwargs: Any) -> Any:
        client = super().client(service_name, *args, **kwargs)

        def before(event_name: str, **_: Any) -> None:
            self._watch.before(f"{service_name}.{event_name.rpartition('.')[2]}")

        def after(event_name: str, **_: Any) -> None:
            self._watch.after(f"{service_name}.{event_name.rpartition('.')[2]}")

        client.meta.events.register_first("before-send", before)
        client.meta.events.register("response-received", after)
        return client


def main(arguments: list[str]) -> None:
    """Answer deliveries until the socket closes; see HandlerProcess."""
    import boto3

    import app
    from chalicelib import wiring
    from chalicelib.ports import Courier
    from chalicelib.settings import from_environment
    from demo.web import poster

    connection = socket.socket(fileno=int(arguments[0]))

    def answer(document: Mapping[str, Any]) -> None:
        connection.sendall(json.dumps(document).encode() + b"\n")

    watch = _Watch(arguments[1], answer)
    sagemaker = os.environ["AWS_ENDPOINT_URL_SAGEMAKER"]
    urls = {"": os.environ["AWS_ENDPOINT_URL"], "sagemaker": sagemaker, "sagemaker-runtime": sagemaker}
    boto3.DEFAULT_SESSION = _WatchedSession(urls, watch)
    now = [datetime.fromtimestamp(0, UTC)]

    class WatchedServices(wiring.LazyServices):
        @cached_property
        def courier(self) -> Courier:
            inner = super().courier

            class Watched:
                def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
                    watch.before("courier.post")
                    status = inner.post(url, body, headers)
                    watch.after("courier.post")
                    return status

            return Watched()

    wiring.use(WatchedServices(from_environment(os.environ), now=lambda: now[0]))
    post = poster(app)
    answer({"ready": os.getpid()})
    for line in connection.makefile("rb"):
        question = json.loads(line)
        now[0] = datetime.fromisoformat(question["now"])
        watch.begin(tuple(question["stop"]) if question["stop"] else None)
        try:
            if request := question.get("post"):
                result: Any = post(request["path"], request["headers"], request["body"].encode())
            else:
                function = getattr(app, question["function"])
                result = function(question["event"], LambdaContext(**question["context"]))
        except Exception as error:  # the queue's business, like any crash of a function
            answer({"error": type(error).__name__, "calls": watch.calls})
        else:
            answer({"answer": result, "calls": watch.calls})


if __name__ == "__main__":
    main(sys.argv[1:])
