"""What every ledger does: the fake and DynamoDB alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from chalicelib.adapters.ledger import DynamoLedger
from chalicelib.errors import ConflictError
from chalicelib.ports import Ledger
from emulator.memory import MemoryLedger
from tests.contract.worlds import client, create_table


def test_an_item_that_is_not_there(ledger: Ledger) -> None:
    assert ledger.get("m", "w") is None


def test_a_first_write_is_read_back(ledger: Ledger) -> None:
    body = '{"text": "é"}'.encode()
    revision = ledger.put("m", "w", body, expected=None)
    item = ledger.get("m", "w")
    assert item is not None
    assert (item.pk, item.sk, item.revision, item.body) == ("m", "w", revision, body)


def test_a_first_write_loses_where_an_item_is(ledger: Ledger) -> None:
    ledger.put("m", "w", b"1", expected=None)
    with pytest.raises(ConflictError, match="m / w"):
        ledger.put("m", "w", b"2", expected=None)
    item = ledger.get("m", "w")
    assert item is not None and item.body == b"1"


def test_each_write_replaces_the_revision_that_it_names(ledger: Ledger) -> None:
    first = ledger.put("m", "w", b"1", expected=None)
    second = ledger.put("m", "w", b"1", expected=first)
    assert second != first  # also when the body is the same
    with pytest.raises(ConflictError):
        ledger.put("m", "w", b"3", expected=first)
    item = ledger.get("m", "w")
    assert item is not None and item.revision == second


def test_a_replacement_loses_where_no_item_is(ledger: Ledger) -> None:
    with pytest.raises(ConflictError):
        ledger.put("m", "w", b"1", expected="r1")
    assert ledger.get("m", "w") is None


def test_delete_names_its_revision(ledger: Ledger) -> None:
    first = ledger.put("m", "w", b"1", expected=None)
    second = ledger.put("m", "w", b"2", expected=first)
    with pytest.raises(ConflictError):
        ledger.delete("m", "w", expected=first)
    ledger.delete("m", "w", expected=second)
    assert ledger.get("m", "w") is None
    with pytest.raises(ConflictError):
        ledger.delete("m", "w", expected=second)


def test_a_revision_is_never_used_again(ledger: Ledger) -> None:
    first = ledger.put("m", "w", b"1", expected=None)
    ledger.delete("m", "w", expected=first)
    assert ledger.put("m", "w", b"1", expected=None) != first


def test_an_item_that_may_expire_is_still_there(ledger: Ledger) -> None:
    ledger.put("m", "w", b"1", expected=None, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert ledger.get("m", "w") is not None  # expiry is housekeeping, days late; nothing may count on it


def test_what_the_table_cannot_hold_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="ValidationException"):
        ledger.put("m", "w", b"x" * (400 * 1024), expected=None)
    with pytest.raises(UnicodeDecodeError):
        ledger.put("m", "w", b"\xff", expected=None)
    assert ledger.get("m", "w") is None


def _sort_keys(ledger: Ledger, **query: Any) -> list[str]:
    return [item.sk for item in ledger.query("m", **query)]


def test_query_ranges(ledger: Ledger) -> None:
    for sk in ("window#03", "window#01", "claim", "window#02", "windowed"):
        ledger.put("m", sk, b"{}", expected=None)
    ledger.put("other", "window#02", b"{}", expected=None)
    assert _sort_keys(ledger) == ["claim", "window#01", "window#02", "window#03", "windowed"]
    assert _sort_keys(ledger, begins_with="window#") == ["window#01", "window#02", "window#03"]
    assert _sort_keys(ledger, begins_with="window#", since="window#02") == ["window#02", "window#03"]
    assert _sort_keys(ledger, begins_with="window#", until="window#02") == ["window#01"]
    assert _sort_keys(ledger, since="window#01", until="window#03") == ["window#01", "window#02"]
    assert _sort_keys(ledger, begins_with="window#", since="window#03", until="window#01") == []
    assert _sort_keys(ledger, begins_with="claims") == []
    assert ledger.query("nobody") == []


def test_query_newest_first_with_a_limit(ledger: Ledger) -> None:
    for hour in range(6):
        ledger.put("m", f"window#{hour}", b"{}", expected=None)
    newest = _sort_keys(ledger, begins_with="window#", until="window#4", newest_first=True, limit=2)
    assert newest == ["window#3", "window#2"]
    assert _sort_keys(ledger, limit=2) == ["window#0", "window#1"]
    assert _sort_keys(ledger, limit=0) == []


def test_query_reads_all_pages(ledger: Ledger) -> None:
    body = b'"' + b"x" * 300_000 + b'"'  # four fill DynamoDB's page of 1 MB
    for number in range(9):
        ledger.put("m", f"w{number}", body, expected=None)
    assert _sort_keys(ledger) == [f"w{number}" for number in range(9)]
    assert _sort_keys(ledger, limit=7) == [f"w{number}" for number in range(7)]


_short = st.text(alphabet="ab#é", max_size=3)


@pytest.fixture(scope="module")
def table() -> Iterator[DynamoLedger]:
    """One table for all examples below: each writes a partition of its own."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        dynamodb = client("dynamodb")
        create_table(dynamodb)
        yield DynamoLedger(dynamodb, "facts")


_partitions = (f"m{number}" for number in itertools.count())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sets(_short.filter(bool), max_size=8),
    st.fixed_dictionaries(
        {
            "begins_with": _short,
            "since": st.none() | _short,
            "until": st.none() | _short,
            "newest_first": st.booleans(),
            "limit": st.none() | st.integers(0, 4),
        }
    ),
)
def test_every_query_gives_the_same_on_both(table: DynamoLedger, sort_keys: set[str], query: dict[str, Any]) -> None:
    fake = MemoryLedger(lambda: datetime(2026, 1, 1, tzinfo=UTC))
    pk = next(_partitions)
    for sk in sort_keys:
        table.put(pk, sk, b"{}", expected=None)
        fake.put(pk, sk, b"{}", expected=None)
    assert [item.sk for item in table.query(pk, **query)] == [item.sk for item in fake.query(pk, **query)]
