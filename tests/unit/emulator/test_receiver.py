"""The receiver stands for chat, pager and webhooks."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from emulator.receiver import Receiver

EVENT = {
    "routing_key": "R" * 32,
    "event_action": "trigger",
    "dedup_key": "monitor/m",
    "payload": {"summary": "drift", "source": "plumbline", "severity": "error"},
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def post(url: str, body: Any, kind: str = "application/json", method: str = "POST") -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": kind, "X-Test": "yes"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_each_service_answers_as_it_does(receiver: Receiver) -> None:
    assert post(f"{receiver.url}/services/T0/B0/X", {"text": "hello"}) == (200, "ok")
    status, answer = post(f"{receiver.url}/v2/enqueue", EVENT)
    assert status == 202 and json.loads(answer)["dedup_key"] == "monitor/m"
    assert post(f"{receiver.url}/hook", {"any": "thing"})[0] == 202


def test_what_arrived_is_kept_in_order(receiver: Receiver) -> None:
    post(f"{receiver.url}/hook?a=1", b'{"n": 1}')
    post(f"{receiver.url}/hook", {"n": 2}, kind="application/json; charset=utf-8")
    first, second = receiver.received
    assert (first.path, first.body, first.headers["x-test"]) == ("/hook?a=1", b'{"n": 1}', "yes")
    assert second.json == {"n": 2}
    receiver.clear()
    assert receiver.received == []


@pytest.mark.parametrize(
    ("path", "body", "kind", "method", "status"),
    [
        ("/hook", b"not json", "application/json", "POST", 400),
        ("/hook", {}, "text/plain", "POST", 415),
        ("/hook", {}, "application/json", "PUT", 405),
        ("/services/T0/B0/X", {"nothing": "to show"}, "application/json", "POST", 400),
        ("/v2/enqueue", {**EVENT, "routing_key": "short"}, "application/json", "POST", 400),
        ("/v2/enqueue", {**EVENT, "event_action": "shout"}, "application/json", "POST", 400),
        ("/v2/enqueue", {**EVENT, "payload": {"summary": "s", "source": "x"}}, "application/json", "POST", 400),
        ("/v2/enqueue", {"routing_key": "R" * 32, "event_action": "resolve"}, "application/json", "POST", 400),
    ],
)
def test_malformed_requests_are_refused_and_kept(
    receiver: Receiver, path: str, body: Any, kind: str, method: str, status: int
) -> None:
    assert post(receiver.url + path, body, kind, method)[0] == status
    assert [one.status for one in receiver.received] == [status]
    assert receiver.accepted == []


def test_it_fails_as_often_as_it_was_told(receiver: Receiver) -> None:
    receiver.fail_next(2, 503)
    assert [post(f"{receiver.url}/hook", {})[0] for _ in range(3)] == [503, 503, 202]
    assert len(receiver.received) == 3 and len(receiver.accepted) == 1
    with pytest.raises(ValueError, match="fail_next"):
        receiver.fail_next(1, 200)
