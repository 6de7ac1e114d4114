"""Compare-and-set over the ledger: what a lost race leads to."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from chalicelib.adapters.ledger import DynamoLedger
from chalicelib.errors import ConflictError
from chalicelib.facts.document import ATTEMPTS, change, load, load_all, put_if_absent
from emulator.memory import MemoryLedger
from tests.unit.facts.racing import RacingLedger, memory_ledger


class Count(msgspec.Struct, frozen=True):
    value: int
    by: str = ""


def add_one(stored: Count | None) -> Count:
    return Count((stored.value if stored else 0) + 1, "me")


def intrude(ledger: MemoryLedger) -> None:
    change(ledger, "P", "S", Count, lambda stored: Count((stored.value if stored else 0) + 10, "intruder"))


def test_a_change_writes_and_says_so():
    ledger = memory_ledger()
    assert change(ledger, "P", "S", Count, add_one) == (Count(1, "me"), True)
    assert change(ledger, "P", "S", Count, add_one) == (Count(2, "me"), True)
    stored = load(ledger, "P", "S", Count)
    assert stored is not None and stored.value == Count(2, "me")


def test_nothing_to_write_leaves_the_revision():
    ledger = memory_ledger()
    assert change(ledger, "P", "S", Count, lambda stored: None) == (None, False)
    assert not ledger.items
    change(ledger, "P", "S", Count, add_one)
    before = ledger.get("P", "S")
    assert change(ledger, "P", "S", Count, lambda stored: stored) == (Count(1, "me"), False)
    assert change(ledger, "P", "S", Count, lambda stored: Count(1, "me")) == (Count(1, "me"), False)
    assert change(ledger, "P", "S", Count, lambda stored: None) == (Count(1, "me"), False)
    assert ledger.get("P", "S") == before


@pytest.mark.parametrize("races", range(1, ATTEMPTS))
def test_the_loser_thinks_again_over_what_won(races: int):
    ledger = RacingLedger(*[intrude] * races)
    assert change(ledger, "P", "S", Count, add_one) == (Count(10 * races + 1, "me"), True)


class BusyLedger:
    """A table whose calls take 3 to 6 ms, for several threads, which back off as functions do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = memory_ledger()
        self.back_off = DynamoLedger(None, "facts", time.sleep).back_off

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            time.sleep(random.uniform(0.003, 0.006))
            with self._lock:
                return getattr(self._table, name)(*args, **named)

        return call


def test_twenty_functions_change_one_document_at_the_same_moment():
    """Capture files of many instances are flushed in the same minute: without a pause in between some give up."""
    ledger: Any = BusyLedger()

    def work() -> None:
        for _ in range(3):
            change(ledger, "P", "S", Count, add_one)

    with ThreadPoolExecutor(20) as pool:
        for each in [pool.submit(work) for _ in range(20)]:
            each.result()
    stored = load(ledger, "P", "S", Count)
    assert stored is not None and stored.value.value == 60


def test_the_wait_after_a_lost_race_grows_and_is_bounded():
    for lost, most in enumerate((0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 0.64), start=1):
        waits: list[float] = []
        for _ in range(200):
            DynamoLedger(None, "facts", waits.append).back_off(lost)
        assert 0 <= min(waits) < most / 2 < max(waits) <= most


def test_who_always_loses_gives_up_and_overwrites_nothing():
    ledger = RacingLedger(*[intrude] * ATTEMPTS)
    with pytest.raises(ConflictError, match=f"P S: {ATTEMPTS} races lost"):
        change(ledger, "P", "S", Count, add_one)
    stored = load(ledger, "P", "S", Count)
    assert stored is not None and stored.value == Count(10 * ATTEMPTS, "intruder")


def test_the_loser_may_find_nothing_left_to_do():
    ledger = RacingLedger(intrude)
    found = change(ledger, "P", "S", Count, lambda stored: None if stored else Count(1, "me"))
    assert found == (Count(10, "intruder"), False)


def test_a_document_deleted_meanwhile_is_thought_anew():
    ledger = RacingLedger(lambda table: None, lambda table: table.items.clear())
    change(ledger, "P", "S", Count, add_one)
    assert change(ledger, "P", "S", Count, add_one) == (Count(1, "me"), True)


def test_put_if_absent_keeps_the_first():
    ledger = memory_ledger()
    assert put_if_absent(ledger, "P", "S", Count(1))
    assert not put_if_absent(ledger, "P", "S", Count(2))
    assert not put_if_absent(RacingLedger(intrude), "P", "S", Count(2))
    assert load_all(ledger, "P", Count) == [Count(1)]


def test_load_all_reads_a_range_in_order():
    ledger = memory_ledger()
    for name in ("a#2", "b#1", "a#1", "a#3"):
        put_if_absent(ledger, "P", name, Count(0, name))
    assert [each.by for each in load_all(ledger, "P", Count, begins_with="a#")] == ["a#1", "a#2", "a#3"]
    assert [each.by for each in load_all(ledger, "P", Count, since="a#2", until="b")] == ["a#2", "a#3"]
    assert [each.by for each in load_all(ledger, "P", Count, newest_first=True, limit=2)] == ["b#1", "a#3"]
    assert load(ledger, "P", "c", Count) is None
