"""What `make openapi-fuzz` says when the storage does not hold what was answered: each fault is planted alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chalicelib.facts.deliveries import Receipt, receive
from emulator.label_server import BUCKET, ENDPOINT, LabelServer
from emulator.memory import MemoryLedger, MemoryObjectStore
from tests.openapi.__main__ import LEAST, faults

NOW = datetime(2026, 1, 5, tzinfo=UTC)
Call = tuple[str, str, str, int]


@pytest.fixture
def scene() -> tuple[LabelServer, list[Call]]:
    """As many accepted and refused calls as are asked for, and what an honest server has stored of them."""
    objects, ledger = MemoryObjectStore(lambda: NOW), MemoryLedger(lambda: NOW)
    calls: list[Call] = []
    for number in range(LEAST):
        calls += [("POST", "/", f"good-{number}", 202), ("POST", "/", f"bad-{number}", 422)]
        store(LabelServer("", objects, ledger), f"good-{number}")
    return LabelServer("", objects, ledger), calls


def store(server: LabelServer, webhook_id: str, *, receipt: bool = True, body: bool = True) -> None:
    key = f"ground-truth/{ENDPOINT}/2026/01/05/00/{webhook_id}.jsonl"
    if receipt:
        receive(server.ledger, ENDPOINT, webhook_id, Receipt("d", 1, ((BUCKET, key),), 1), NOW)
    if body:
        server.objects.put(BUCKET, key, b"{}")


def test_an_honest_server(scene: tuple[LabelServer, list[Call]]) -> None:
    assert faults(*scene) == []


def test_a_refused_call_left_an_object(scene: tuple[LabelServer, list[Call]]) -> None:
    store(scene[0], "bad-1", receipt=False)
    assert faults(*scene) == ["1 objects without a receipt, or the reverse"]


def test_a_refused_call_left_a_receipt(scene: tuple[LabelServer, list[Call]]) -> None:
    store(scene[0], "bad-1")
    assert faults(*scene) == ["1 receipts without a call that was accepted, or the reverse"]


def test_an_accepted_call_left_nothing(scene: tuple[LabelServer, list[Call]]) -> None:
    assert len(faults(scene[0], [*scene[1], ("POST", "/", "good-more", 202)])) == 1


def test_an_accepted_calls_object_is_missing(scene: tuple[LabelServer, list[Call]]) -> None:
    store(scene[0], "good-more", body=False)
    assert len(faults(scene[0], [*scene[1], ("POST", "/", "good-more", 202)])) == 1


def test_an_answer_of_5xx(scene: tuple[LabelServer, list[Call]]) -> None:
    assert faults(scene[0], [*scene[1], ("POST", "/", "x", 500)]) == ["an answer of 5xx"]


def test_calls_that_are_all_of_one_kind(scene: tuple[LabelServer, list[Call]]) -> None:
    server, calls = scene
    assert len(faults(server, [call for call in calls if call[3] == 202])) == 1
