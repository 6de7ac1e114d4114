"""Emulates the receivers of alerts: Slack-compatible chat, PagerDuty Events v2, generic webhooks.

Answers good and malformed requests as they do, and keeps what arrived. The services' own paths: `/services/...` and
`/slack/...` are chat, `.../v2/enqueue` is PagerDuty, anything else is a webhook.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request, accepted or not: header names in lower case, the raw body, and the status it was answered with."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def _judge(path: str, document: Any) -> tuple[int, str, bytes]:
    """The answer of the service behind a path: (status, content type, body)."""
    if path.startswith(("/services/", "/slack/")):
        # https://api.slack.com/messaging/webhooks: "ok" in plain text; no_text when there is nothing to show.
        shown = document if isinstance(document, dict) else {}
        if not any(shown.get(name) for name in ("text", "blocks", "attachments")):
            return 400, "text/plain", b"no_text"
        return 200, "text/plain", b"ok"
    if path.endswith("/v2/enqueue"):
        return _judge_pagerduty(document)
    return 202, "application/json", b"{}"


def _judge_pagerduty(document: Any) -> tuple[int, str, bytes]:
    """Events API v2: 202 with the deduplication key, 400 with the list of errors."""
    errors = []
    event = document if isinstance(document, dict) else {}
    if not isinstance(event.get("routing_key"), str) or len(event["routing_key"]) != 32:
        errors.append("'routing_key' is missing or is not 32 characters long")
    action = event.get("event_action")
    if action not in ("trigger", "acknowledge", "resolve"):
        errors.append("'event_action' must be one of trigger, acknowledge, resolve")
    key = event.get("dedup_key")
    if action in ("acknowledge", "resolve") and not key:
        errors.append("'dedup_key' is required for acknowledge and resolve")
    if action == "trigger":
        payload = event.get("payload")
        payload = payload if isinstance(payload, dict) else {}
        for name in ("summary", "source"):
            if not isinstance(payload.get(name), str) or not payload[name]:
                errors.append(f"'payload.{name}' is missing or blank")
        if payload.get("severity") not in ("critical", "error", "warning", "info"):
            errors.append("'payload.severity' must be one of critical, error, warning, info")
    if isinstance(key, str) and len(key) > 255:
        errors.append("'dedup_key' is longer than 255 characters")
    if errors:
        answer: dict[str, Any] = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
        return 400, "application/json", json.dumps(answer).encode()
    answer = {"status": "success", "message": "Event processed", "dedup_key": key or "emulator"}
    return 202, "application/json", json.dumps(answer).encode()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away without a word is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Receiver:
    """A threaded HTTP server on loopback; a context manager. `url` is its address without a path."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._failures: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, kind, body = receiver._accept(self.command, self.path, headers, self.rfile.read(length))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if status in (429, 503):
                    self.send_header("Retry-After", "1")
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET = do_PUT = do_DELETE = do_PATCH = _answer

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def _accept(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, bytes]:
        with self._lock:
            if self._failures:
                answer = (self._failures.pop(0), "text/plain", b"failure on request")
            elif method != "POST":
                answer = (405, "text/plain", b"expected POST")
            elif headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                answer = (415, "text/plain", b"expected application/json")
            else:
                try:
                    answer = _judge(path, json.loads(body))
                except ValueError:
                    answer = (400, "text/plain", b"invalid_payload")
            self._received.append(Received(method, path, headers, body, answer[0]))
            return answer

    @property
    def received(self) -> list[Received]:
        """Every request in the order of arrival, also those that were refused."""
        with self._lock:
            return list(self._received)

    @property
    def accepted(self) -> list[Received]:
        """The requests that got a 2xx answer, in order."""
        return [request for request in self.received if 200 <= request.status < 300]

    def fail_next(self, count: int, status: int = 503) -> None:
        """Answer the next `count` requests with `status`, whatever they hold."""
        if not 400 <= status <= 599 or count < 0:
            raise ValueError(f"fail_next: got {count} x {status}; expected a count and a status from 400 to 599")
        with self._lock:
            self._failures = [status] * count

    def clear(self) -> None:
        """Forget what arrived and what was to fail."""
        with self._lock:
            self._received.clear()
            self._failures.clear()

    def start(self) -> Receiver:
        """Begin to serve."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Receiver:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
