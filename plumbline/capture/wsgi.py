"""WSGI middleware (Flask, Django, …): captures answered predictions, changes none of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from plumbline.capture.lines import Request
from plumbline.capture.writer import CaptureWriter

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Input:
    """The request's stream; keeps what the application reads of it."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream, self._most = stream, most
        self.parts: list[bytes] = []
        self.size = 0

    def _keep(self, part: bytes) -> bytes:
        self.size += len(part)
        if self.size <= self._most:
            self.parts.append(part)
        return part

    def read(self, *size: int) -> bytes:
        return self._keep(self._stream.read(*size))

    def readline(self, *size: int) -> bytes:
        return self._keep(self._stream.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        return [self._keep(line) for line in self._stream.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._keep, self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output:
    """The answer; when the server closes it, the request is captured."""

    def __init__(self, parts: Iterable[bytes], keep: Callable[[bytes], None], done: Callable[[], None]) -> None:
        self._parts, self._keep, self._done = parts, keep, done
        self._is_whole = False

    def __len__(self) -> int:
        # Servers take the length of an answer in one part for its Content-Length. TypeError where it has none.
        return len(self._parts)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            self._keep(part)
            yield part
        self._is_whole = True

    def close(self) -> None:
        try:
            if close := getattr(self._parts, "close", None):
                close()
        finally:
            if self._is_whole:
                self._done()


class WsgiCapture:
    """Wraps an application: POST requests to `paths` that were answered with 2xx go to the writer.

    PEP 3333. An application that writes by the callable that `start_response` returns is captured too.
    """

    def __init__(self, app: App, writer: CaptureWriter, paths: tuple[str, ...] = ("/invocations",)) -> None:
        self._app, self._writer, self._paths = app, writer, frozenset(paths)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if path not in self._paths or environ.get("REQUEST_METHOD") != "POST":
            return self._app(environ, start_response)
        inference_id = environ.get("HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID", "")
        event_id = self._writer.wants(inference_id)
        if not event_id:
            return self._app(environ, start_response)
        at, most = time.time(), self._writer.max_payload_bytes
        asked = _Input(environ["wsgi.input"], most)
        answered: list[bytes] = []
        size, status, response_type = 0, "", ""

        def start(given: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], Any]:
            nonlocal status, response_type
            status = given
            response_type = next((value for name, value in headers if name.lower() == "content-type"), "")
            write = start_response(given, headers, *error)

            def write_and_keep(part: bytes) -> Any:
                keep(part)
                return write(part)

            return write_and_keep

        def keep(part: bytes) -> None:
            nonlocal size
            size += len(part)
            if size <= most:
                answered.append(part)

        def done() -> None:
            if not status.startswith("2"):
                return
            if asked.size + size > most:
                self._writer.drop_large()
                return
            self._writer.take(
                Request(
                    event_id,
                    inference_id,
                    at,
                    b"".join(asked.parts),
                    environ.get("CONTENT_TYPE", ""),
                    b"".join(answered),
                    response_type,
                    environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES", ""),
                )
            )

        environ["wsgi.input"] = asked
        return _Output(self._app(environ, start), keep, done)
