"""ASGI middleware (Starlette, FastAPI, Litestar, …): captures answered predictions, changes none of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from plumbline.capture.lines import Request
from plumbline.capture.writer import CaptureWriter

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# The headers of InvokeEndpoint, as a SageMaker container gets them.
_TYPE, _INFERENCE_ID, _ATTRIBUTES = (
    b"content-type",
    b"x-amzn-sagemaker-inference-id",
    b"x-amzn-sagemaker-custom-attributes",
)


class AsgiCapture:
    """Wraps an application: POST requests to `paths` that were answered with 2xx go to the writer.

    The writer is closed when the server's lifespan ends. ASGI 3.0, asgi.readthedocs.io.
    """

    def __init__(self, app: App, writer: CaptureWriter, paths: tuple[str, ...] = ("/invocations",)) -> None:
        self._app, self._writer, self._paths = app, writer, frozenset(paths)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._closing(send))
            return
        if scope["type"] != "http" or scope["path"] not in self._paths or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        inference_id = headers.get(_INFERENCE_ID, b"").decode("latin-1")
        event_id = self._writer.wants(inference_id)
        if not event_id:
            await self._app(scope, receive, send)
            return
        at, most = time.time(), self._writer.max_payload_bytes
        asked: list[bytes] = []
        answered: list[bytes] = []
        size, status, response_type = 0, 0, ""

        async def receive_and_keep() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request" and (body := message.get("body", b"")):
                size += len(body)
                if size <= most:
                    asked.append(body)
            return message

        async def send_and_keep(message: Message) -> None:
            nonlocal size, status, response_type
            await send(message)
            if message["type"] == "http.response.body":
                if body := message.get("body", b""):
                    size += len(body)
                    if size <= most:
                        answered.append(body)
                if not message.get("more_body", False) and 200 <= status < 300:
                    keep()
            elif message["type"] == "http.response.start":
                status = message["status"]
                response_type = _header(message.get("headers", ()), _TYPE)

        def keep() -> None:
            if size > most:
                self._writer.drop_large()
                return
            self._writer.take(
                Request(
                    event_id,
                    inference_id,
                    at,
                    b"".join(asked),
                    headers.get(_TYPE, b"").decode("latin-1"),
                    b"".join(answered),
                    response_type,
                    headers.get(_ATTRIBUTES, b"").decode("latin-1"),
                )
            )

        await self._app(scope, receive_and_keep, send_and_keep)

    def _closing(self, send: Send) -> Send:
        async def send_and_close(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await asyncio.get_running_loop().run_in_executor(None, self._writer.close)
            await send(message)

        return send_and_close


def _header(headers: Any, name: bytes) -> str:
    return next((bytes(value).decode("latin-1") for key, value in headers if bytes(key).lower() == name), "")
