"""The ASGI and WSGI middleware: the application's answer is the same, and the file has it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from plumbline.capture import AsgiCapture, CaptureWriter, WsgiCapture

HEADERS = [
    (b"content-type", b"text/csv"),
    (b"x-amzn-sagemaker-inference-id", b"id-1"),
    (b"x-amzn-sagemaker-custom-attributes", b"trace=7"),
]


class Place:
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def put(self, key: str, body: bytes) -> None:
        self.lines += map(json.loads, body.splitlines())


def sides(line: Any) -> tuple[str, str]:
    return line["captureData"]["endpointInput"]["data"], line["captureData"]["endpointOutput"]["data"]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Reads a body in parts, answers in parts; a path says what goes wrong."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    if scope["path"] == "/raises":
        raise RuntimeError("the application's own")
    status = 500 if b"fail" in body else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"Content-Type", b"application/json")]})
    for part in (b'{"got":', b"%d" % len(body), b"}"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


def asked(app: Any, parts: list[bytes], path: str = "/invocations", method: str = "POST") -> list[Any]:
    """What an application sends for a request in parts."""
    sent: list[Any] = []
    messages = [
        {"type": "http.request", "body": part, "more_body": index < len(parts) - 1} for index, part in enumerate(parts)
    ]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": list(HEADERS)}
    asyncio.run(app(scope, receive, send))
    return sent


def test_asgi_captures_answers_and_changes_none() -> None:
    place = Place()
    writer = CaptureWriter(place, "churn")
    app = AsgiCapture(asgi_app, writer, paths=("/invocations", "/predict", "/raises"))
    parts = [b"1,2", b",3"]
    assert asked(app, parts) == asked(asgi_app, parts)
    assert asked(app, parts, "/predict") == asked(asgi_app, parts)
    for other in ({"path": "/ping"}, {"method": "GET"}):
        assert asked(app, parts, **other) == asked(asgi_app, parts, **other)
    assert asked(app, [b"fail"])[0]["status"] == 500
    with pytest.raises(RuntimeError, match="the application's own"):
        asked(app, parts, "/raises")
    writer.close()
    assert [sides(line) for line in place.lines] == [("1,2,3", '{"got":5}')] * 2
    metadata = place.lines[0]["eventMetadata"]
    assert metadata["inferenceId"] == "id-1" and metadata["customAttributes"] == ["trace=7"]
    assert place.lines[0]["captureData"]["endpointOutput"]["observedContentType"] == "application/json"


def test_asgi_gives_a_large_payload_up_and_answers_it() -> None:
    writer = CaptureWriter(Place(), "churn", max_payload_bytes=100)
    app = AsgiCapture(asgi_app, writer)
    assert asked(app, [b"x" * 60, b"x" * 60])[1:] == asked(asgi_app, [b"x" * 120])[1:]
    writer.close()
    assert writer.counts.dropped_large == 1 and writer.counts.written == 0


def test_asgi_outside_of_the_sample_the_application_is_called_as_it_is() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((receive, send))

    async def receive() -> Any:
        return {}

    async def send(message: Any) -> None: ...

    none = AsgiCapture(app, CaptureWriter(Place(), "churn", sampling_percentage=0))
    scope = {"type": "http", "path": "/invocations", "method": "POST", "headers": []}
    asyncio.run(none(scope, receive, send))
    asyncio.run(none({"type": "websocket", "path": "/invocations"}, receive, send))
    assert seen == [(receive, send)] * 2


def test_asgi_closes_the_writer_when_the_server_ends() -> None:
    place, sent = Place(), []
    writer = CaptureWriter(place, "churn")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        writer.record(b"1", b"2")
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message: Any) -> None:
        sent.append((message["type"], len(place.lines)))

    asyncio.run(AsgiCapture(app, writer)({"type": "lifespan"}, send, send))  # type: ignore[arg-type]
    assert sent == [("lifespan.shutdown.complete", 1)]


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    size = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(2) + environ["wsgi.input"].readline(size)
    status = "500 Internal Server Error" if b"fail" in body else "200 OK"
    start_response(status, [("Content-Type", "application/json")])
    return [b'{"got":', b"%d" % len(body), b"}"]


def answer(app: Any, body: bytes, path: str = "/invocations", method: str = "POST") -> tuple[Any, bytes]:
    """Status, headers and body, with both sides held to PEP 3333 by wsgiref's validator."""
    environ: dict[str, Any] = {
        **{"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_TYPE": "text/csv", "CONTENT_LENGTH": str(len(body))},
        **{
            "wsgi.input": io.BytesIO(body),
            "QUERY_STRING": "",
            "HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID": "id-1",
            "SCRIPT_NAME": "",
        },
    }
    setup_testing_defaults(environ)
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> Callable[[bytes], None]:
        started.append((status, headers))
        return lambda part: None

    result = validator(app)(environ, start_response)
    try:
        return started[0], b"".join(result)
    finally:
        result.close()  # type: ignore[attr-defined]


def test_wsgi_captures_answers_and_changes_none() -> None:
    place = Place()
    writer = CaptureWriter(place, "churn")
    app = validator(WsgiCapture(validator(wsgi_app), writer))
    assert answer(app, b"1,2,3") == answer(wsgi_app, b"1,2,3")
    for other in ({"path": "/ping"}, {"method": "PUT"}):
        assert answer(app, b"1", **other) == answer(wsgi_app, b"1", **other)
    assert answer(app, b"fail")[0][0].startswith("500")
    writer.close()
    assert [sides(line) for line in place.lines] == [("1,2,3", '{"got":5}')]
    assert place.lines[0]["eventMetadata"]["inferenceId"] == "id-1"


def test_wsgi_gives_a_large_payload_up_and_answers_it() -> None:
    writer = CaptureWriter(Place(), "churn", max_payload_bytes=100)
    assert answer(WsgiCapture(wsgi_app, writer), b"x" * 120) == answer(wsgi_app, b"x" * 120)
    writer.close()
    assert writer.counts.dropped_large == 1 and writer.counts.written == 0


def test_wsgi_captures_what_is_written_by_hand_and_not_what_was_broken_off() -> None:
    place = Place()
    writer = CaptureWriter(place, "churn")

    def by_hand(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read(3)
        start_response("200 OK", [("Content-Type", "text/csv")])(b"0.")
        return [b"5"]

    answer(WsgiCapture(by_hand, writer), b"1,2")
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/invocations", "wsgi.input": io.BytesIO(b"9")}
    setup_testing_defaults(environ)
    broken = WsgiCapture(wsgi_app, writer)(environ, lambda *_: lambda part: None)
    next(iter(broken))
    broken.close()  # type: ignore[attr-defined]
    writer.close()
    assert [sides(line) for line in place.lines] == [("1,2", "0.5")]
