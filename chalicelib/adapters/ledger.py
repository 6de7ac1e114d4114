"""The DynamoDB table as versioned documents.

Key design: one table, string partition key `pk` and string sort key `sk` (DynamoDB orders them by their UTF-8
bytes), both made by their owner; no index. Every item has exactly these attributes:

    pk          S  the owner, e.g. one monitor: everything that one decision reads is in one partition
    sk          S  the fact; starts with its kind, and its times sort as text
    revision    S  uuid4 in hex, new with every write; every write names the revision that it replaces
    body        S  the JSON document, as text so that the console shows it
    expires_at  N  seconds since 1970, only on items that may expire: the table's time-to-live attribute

DynamoDB deletes expired items days late and returns them until then, so `expires_at` only frees space. Not here: what a
document says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from random import uniform
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from chalicelib.errors import ConflictError
from chalicelib.ports import Item

# Sorts behind every character that a key may hold: closes the range of keys that begin with a prefix.
_LAST_CHARACTER = "\U0010ffff"


class DynamoLedger:
    """`ports.Ledger` over a DynamoDB client and the name of a table; `pause` lets seconds pass."""

    def __init__(self, client: Any, table_name: str, pause: Callable[[float], None] = lambda seconds: None) -> None:
        self._client = client
        self._table = table_name
        self._pause = pause

    def back_off(self, lost: int) -> None:
        """Wait a random part of 20 ms, doubled with every race lost, at most of 640 ms."""
        self._pause(uniform(0, 0.02 * 2 ** min(lost - 1, 5)))

    def get(self, pk: str, sk: str) -> Item | None:
        """Strongly consistent read of one item."""
        answer = self._client.get_item(TableName=self._table, Key=_key(pk, sk), ConsistentRead=True)
        return _item(answer["Item"]) if "Item" in answer else None

    def put(self, pk: str, sk: str, body: bytes, *, expected: str | None, expires_at: datetime | None = None) -> str:
        """Write if the stored revision is `expected` (None: if there is no item); returns the new revision.

        Raises ConflictError when another write came first. `body` is UTF-8 JSON.
        """
        revision = uuid4().hex
        item = {**_key(pk, sk), "revision": {"S": revision}, "body": {"S": body.decode("utf-8")}}
        if expires_at is not None:
            item["expires_at"] = {"N": str(int(expires_at.timestamp()))}
        try:
            self._client.put_item(
                TableName=self._table,
                Item=item,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **_condition(expected),
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            stored = error.response.get("Item", {})
            # The client repeats a request whose answer was lost; the repeat then finds its own first write.
            if stored.get("revision", {}).get("S") == revision:
                return revision
            raise _conflict(pk, sk, expected) from error
        return revision

    def delete(self, pk: str, sk: str, *, expected: str) -> None:
        """Delete if the stored revision is `expected`; raises ConflictError otherwise, also when it is gone."""
        try:
            self._client.delete_item(TableName=self._table, Key=_key(pk, sk), **_condition(expected))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            raise _conflict(pk, sk, expected) from error

    def query(
        self,
        pk: str,
        *,
        begins_with: str = "",
        since: str | None = None,
        until: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[Item]:
        """Items of a partition in the order of `sk`: those that begin with `begins_with`, `since` <= sk < `until`.

        Strongly consistent; reads as many pages as `limit` (None: all items) needs.
        """
        # A key condition has one range of `sk`, so prefix and ends become one range (DynamoDB rejects an empty one).
        # Its upper end is inclusive in DynamoDB, so `until` itself is dropped from the result.
        lower = max(begins_with, since or "")
        uppers = [end for end in (begins_with and begins_with + _LAST_CHARACTER, until) if end]
        upper = min(uppers) if uppers else None
        if limit == 0 or until == "" or (upper is not None and upper < lower):
            return []
        found: list[Item] = []
        for item in self._range(pk, lower, upper, newest_first, limit):
            if until is not None and item.sk >= until:
                continue
            found.append(item)
            if limit is not None and len(found) == limit:
                break
        return found

    def _range(self, pk: str, lower: str, upper: str | None, newest_first: bool, limit: int | None) -> Iterator[Item]:
        condition = "pk = :pk"
        values = {":pk": {"S": pk}}
        if lower and upper is not None:
            condition += " AND sk BETWEEN :lower AND :upper"
        elif lower:
            condition += " AND sk >= :lower"
        elif upper is not None:
            condition += " AND sk <= :upper"
        if lower:
            values[":lower"] = {"S": lower}
        if upper is not None:
            values[":upper"] = {"S": upper}
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
            "ScanIndexForward": not newest_first,
        }
        if limit is not None:
            request["Limit"] = limit + 1  # one more: the inclusive upper end may be read only to be left out
        for page in self._client.get_paginator("query").paginate(**request):
            for raw in page["Items"]:
                yield _item(raw)


def _key(pk: str, sk: str) -> dict[str, dict[str, str]]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _condition(expected: str | None) -> dict[str, Any]:
    if expected is None:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {"ConditionExpression": "revision = :expected", "ExpressionAttributeValues": {":expected": {"S": expected}}}


def _item(raw: dict[str, dict[str, str]]) -> Item:
    return Item(raw["pk"]["S"], raw["sk"]["S"], raw["revision"]["S"], raw["body"]["S"].encode("utf-8"))


def _conflict(pk: str, sk: str, expected: str | None) -> ConflictError:
    wanted = "no item" if expected is None else f"revision {expected}"
    return ConflictError(f"{pk} / {sk}: expected {wanted}, but it was written or deleted meanwhile")
