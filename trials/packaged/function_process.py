"""One function in a process of its own, with what the zips hold and the standard library: Lambda's side of an event.

A script, run with `-I -S` so that no installed package and no folder of the repository can be imported:
`function_process.py FUNCTION REQUESTS ANSWERS record|time FOLDER...`. It imports app.py when the first event comes, as
a cold start does, and answers each event with the function's result, the processor seconds of import and event, and
the AWS calls that its clients made. Requests and answers are lines of JSON on the two file descriptors.

Imports the standard library only until the first event. Not here: what the function does.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import IO, Any

WEBHOOK = "ground_truth_posted"


class Function:
    """The function that this process is for; nothing of it is imported before its first event."""

    def __init__(self, name: str, mode: str) -> None:
        self._name = name
        self._mode = mode
        self._call: Callable[[Any, Any], Any] | None = None
        self._now = ""
        self._calls: list[tuple[str, str, dict[str, str]]] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What became of one event: `result` or `error`, processor seconds, calls."""
        self._now = request["now"]
        self._calls.clear()
        answer: dict[str, Any] = {}
        began = time.process_time()
        try:
            if self._call is None:
                self._call = self._start()
                answer["import_cpu"] = time.process_time() - began
                began = time.process_time()
            answer["result"] = self._call(request["event"], _context(request["context"]))
        except Exception as error:
            answer["error"] = type(error).__name__
            answer["traceback"] = traceback.format_exc()
        answer["event_cpu"] = time.process_time() - began
        answer["calls"] = list(self._calls)
        return answer

    def _start(self) -> Callable[[Any, Any], Any]:
        """Import the app, whose services tell the time of the emulator; what Lambda would call."""
        if self._name == "boto3":  # what a cold start is measured against
            import boto3

            return lambda event, context: boto3.__version__
        import app
        from chalicelib import settings, wiring

        wiring.use(wiring.LazyServices(settings.load(), now=lambda: datetime.fromisoformat(self._now)))
        if self._mode == "record":
            self._record()
        found: Callable[[Any, Any], Any] = app.app if self._name == WEBHOOK else getattr(app, self._name)
        return found

    def _record(self) -> None:
        """Note each call of each client that boto3 makes from now on: service, operation, names in its parameters."""
        import boto3

        def note(params: dict[str, Any], model: Any, **_: Any) -> None:
            names = {name: value for name, value in params.items() if isinstance(value, str)}
            self._calls.append((model.service_model.service_name, model.name, names))

        boto3.setup_default_session()
        boto3.DEFAULT_SESSION.events.register("provide-client-params.*.*", note)


def _context(fields: dict[str, Any]) -> SimpleNamespace:
    """The context object that Lambda gives a function."""
    return SimpleNamespace(**fields, get_remaining_time_in_millis=lambda: 1000 * fields["timeout"])


def serve(function: Function, requests: IO[str], answers: IO[str]) -> None:
    """Answer each request until there are no more."""
    for line in requests:
        answers.write(json.dumps(function.answer(json.loads(line))) + "\n")
        answers.flush()


def main(arguments: list[str]) -> None:
    """Answer on the two file descriptors that the command line names."""
    name, requests, answers, mode, *folders = arguments
    sys.path[:0] = folders
    with open(int(requests), encoding="utf-8") as reading, open(int(answers), "w", encoding="utf-8") as writing:
        serve(Function(name, mode), reading, writing)


if __name__ == "__main__":
    main(sys.argv[1:])
