"""The packaged functions in the place of app.py's: an object that the pump and the replay call as they call the app.

A process is ended after a number of events, as Lambda ends an instance, so that there is more than one cold start per
function. Not here: what is in an event.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import tempfile
import uuid
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.topology import SOURCES, WEBHOOK, WEBHOOK_TIMEOUT, resource_name
from demo.web import getter, poster
from emulator.clock import LogicalClock
from infra.package import Package

SCRIPT = Path(__file__).with_name("function_process.py")


class PackagedError(RuntimeError):
    """A packaged function's process ended, or a function of the webhook failed; its traceback is in the text."""


@dataclass(frozen=True)
class ColdStart:
    """Processor seconds of a new process: importing app.py, and the first event."""

    importing: float
    first_event: float

    @property
    def total(self) -> float:
        return self.importing + self.first_event


class FunctionProcess:
    """A running process of one function."""

    def __init__(self, python: str, function: str, folders: tuple[Path, ...], record: bool, log: Any) -> None:
        theirs, self._to = os.pipe()
        self._back, answers = os.pipe()
        mode = "record" if record else "time"
        options = ["-I", "-S"] if record else ["-I", "-S", "-B"]
        command = [python, *options, str(SCRIPT), function, str(theirs), str(answers), mode]
        self._process = subprocess.Popen(
            [*command, *(str(folder) for folder in folders)],
            pass_fds=(theirs, answers),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folders[0],
        )
        os.close(theirs)
        os.close(answers)
        self._requests = os.fdopen(self._to, "w", encoding="utf-8")
        self._answers = os.fdopen(self._back, encoding="utf-8")
        self._function = function
        self.events = 0

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The process's answer to one event. Raises PackagedError when it has ended."""
        try:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
            line = self._answers.readline()
        except OSError:
            line = ""
        if not line:
            raise PackagedError(f"the process of {self._function} ended; its last words are in the log")
        self.events += 1
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Let the process end, and wait for it."""
        for stream in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class PackagedFunctions:
    """Every function of a package, each in a process; attributes are called like the functions of app.py.

    `lives`: how many events a function's process works off before the next event gets a new one. `calls`,
    `cold_starts` and `warm` (processor seconds of later events) are what the processes reported, by function; `boto3`
    holds what `measure_boto3` found. Calls are noted with `record`; without it nothing is compiled ahead, as on
    Lambda, whose folder cannot be written to. A context manager: processes and the unpacked folder end with the block.
    """

    def __init__(self, package: Package, stage: str, *, lives: Callable[[str], int], record: bool, log: Path) -> None:
        self._package = package
        self._stage = stage
        self._lives = lives
        self._record = record
        self._log_path = log
        self._running: dict[str, FunctionProcess] = {}
        self.calls: defaultdict[str, list[tuple[str, str, Mapping[str, str]]]] = defaultdict(list)
        self.cold_starts: defaultdict[str, list[ColdStart]] = defaultdict(list)
        self.warm: defaultdict[str, list[float]] = defaultdict(list)
        self.boto3: list[float] = []

    def __enter__(self) -> PackagedFunctions:
        self._folder = tempfile.TemporaryDirectory(prefix="plumbline-package-")
        self._folders = unpack(self._package, Path(self._folder.name))
        self._log = self._log_path.open("w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self.end_all()
        self._log.close()
        self._folder.cleanup()

    def end_all(self) -> None:
        """End every process; the next event of each function finds a new one, with the environment of that moment."""
        for process in self._running.values():
            process.end()
        self._running.clear()

    def apart(self, _: Mapping[str, str], clock: LogicalClock) -> PackagedFunctions:
        """These functions at a clock's time, for `local.world.world`; processes take the environment they begin in."""
        routes = importlib.import_module("app").app
        self._clock = clock
        self.app = _Routes(routes, lambda event: self._answer(WEBHOOK, event, WEBHOOK_TIMEOUT))
        self.post, self.get = poster(self), getter(self)
        return self

    def __getattr__(self, name: str) -> Callable[[Any, Any], Any]:
        for source in SOURCES:
            if source.function == name:
                return lambda event, _: self._answer(name, event, source.timeout)
        raise AttributeError(name)

    def _answer(self, function: str, event: Any, timeout: int) -> Any:
        answer = self.invoke(function, event, timeout)
        if "error" in answer:
            raise PackagedError(f"{function}: {answer['traceback']}")
        return answer["result"]

    def invoke(self, function: str, event: Any, timeout: int) -> dict[str, Any]:
        """One event for one function; what its process answers."""
        process = self._running.pop(function, None)
        if process is not None and process.events >= self._lives(function):
            process.end()
            process = None
        if process is None:
            python = self._package.manifest["python"]
            process = FunctionProcess(python, function, self._folders, self._record, self._log)
        self._running[function] = process
        answer = process.ask(
            {"now": self._clock.now().isoformat(), "event": event, "context": self._context(function, timeout)}
        )
        self.calls[function].extend((service, name, names) for service, name, names in answer.get("calls", ()))
        if "import_cpu" in answer:
            self.cold_starts[function].append(ColdStart(answer["import_cpu"], answer["event_cpu"]))
        else:
            self.warm[function].append(answer["event_cpu"])
        return answer

    def measure_boto3(self) -> None:
        """Time `import boto3` alone in a process like the functions'; the processor seconds go to `boto3`."""
        process = FunctionProcess(self._package.manifest["python"], "boto3", self._folders, self._record, self._log)
        answer = process.ask({"now": self._clock.now().isoformat(), "event": None, "context": {"timeout": 1}})
        process.end()
        self.boto3.append(answer["import_cpu"])

    def _context(self, function: str, timeout: int) -> Mapping[str, Any]:
        name = resource_name(self._stage, function)
        return {
            "function_name": name,
            "function_version": "$LATEST",
            "invoked_function_arn": f"arn:aws:lambda:us-east-1:123456789012:function:{name}",
            "memory_limit_in_mb": 512,
            "aws_request_id": str(uuid.uuid4()),
            "log_group_name": f"/aws/lambda/{name}",
            "log_stream_name": "emulator",
            "timeout": timeout,
        }


class _Routes:
    """Chalice's app for its test client: routes and settings are the app's, requests go to the package."""

    def __init__(self, app: Any, answer: Callable[[Any], Any]) -> None:
        self._app = app
        self._answer = answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def __call__(self, event: Any, _: Any) -> Any:
        # API Gateway hands over text; Chalice's test client keeps bytes.
        body = event["body"]
        return self._answer({**event, "body": body.decode("utf-8") if isinstance(body, bytes) else body})


def unpack(package: Package, folder: Path) -> tuple[Path, ...]:
    """Unpack both zips; the folders that Lambda has on its path: the code's, then the layer's."""
    task, layer = folder / "task", folder / "opt"
    for source, target in ((package.functions, task), (package.layer, layer)):
        with zipfile.ZipFile(source) as archive:
            archive.extractall(target)
    runtime = package.manifest["runtime"]
    return task, layer / "python" / "lib" / runtime / "site-packages"
