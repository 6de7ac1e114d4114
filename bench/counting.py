"""Services that count what AWS would charge for: each call by its kind, its bytes, and the function that made it.

The services themselves are the fakes. Units follow AWS's pricing pages: a strongly consistent read takes a unit for
each 4 KB, a write one for each 1 KB, a message one request for each 64 KB. Not here: prices.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from chalicelib.ports import Item, ObjectSummary, StoredObject
from chalicelib.wiring import Services
from plumbline.prices import Usage

# Keys in one page of a listing, messages in one batch, bytes in one unit of a message.
PAGE, BATCH, MESSAGE = 1000, 10, 65536


@dataclasses.dataclass
class Meter:
    """`usage` in the names of `prices.PRICES`, `used` the same by function; `calls` and `bytes` by function and call;
    `function` works now."""

    usage: Usage = dataclasses.field(default_factory=Counter)
    used: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    calls: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    bytes: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    function: str = ""

    def add(self, name: str, call: str, units: float = 1, size: int = 0) -> None:
        """Count one call: `units` of the priced thing `name`."""
        self.use(name, units)
        self.calls[self.function, call] += 1
        self.bytes[self.function, call] += size

    def use(self, name: str, units: float) -> None:
        """Count what is no call."""
        self.usage[name] += units  # type: ignore[assignment]
        self.used[self.function, name] += units  # type: ignore[assignment]


class _Counting:
    """Passes calls on to a service; subclasses count some of them."""

    def __init__(self, inner: Any, meter: Meter) -> None:
        self._inner, self._meter = inner, meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class CountingObjects(_Counting):
    def get(self, bucket: str, key: str) -> StoredObject:
        self._meter.add("s3.gets", "s3.get")
        stored: StoredObject = self._inner.get(bucket, key)
        self._meter.bytes[self._meter.function, "s3.get"] += len(stored.body)
        return stored

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectSummary]:
        found = [*self._inner.list(bucket, prefix)]
        self._meter.add("s3.puts", "s3.list", max(1, math.ceil(len(found) / PAGE)))
        return iter(found)

    def put(self, bucket: str, key: str, body: bytes, **named: Any) -> str:
        self._meter.add("s3.puts", "s3.put", size=len(body))
        etag: str = self._inner.put(bucket, key, body, **named)
        return etag

    def put_if_absent(self, bucket: str, key: str, body: bytes, **named: Any) -> bool:
        self._meter.add("s3.puts", "s3.put", size=len(body))
        written: bool = self._inner.put_if_absent(bucket, key, body, **named)
        return written

    def delete(self, bucket: str, key: str) -> None:
        self._meter.calls[self._meter.function, "s3.delete"] += 1
        self._inner.delete(bucket, key)


class CountingLedger(_Counting):
    def get(self, pk: str, sk: str) -> Item | None:
        item: Item | None = self._inner.get(pk, sk)
        size = _size(item) if item else 0
        self._meter.add("dynamodb.reads", "dynamodb.get", max(1, math.ceil(size / 4096)), size)
        return item

    def put(self, pk: str, sk: str, body: bytes, **named: Any) -> str:
        size = len(pk) + len(sk) + len(body)
        self._meter.add("dynamodb.writes", "dynamodb.put", max(1, math.ceil(size / 1024)), size)
        revision: str = self._inner.put(pk, sk, body, **named)
        return revision

    def delete(self, pk: str, sk: str, *, expected: str) -> None:
        self._meter.add("dynamodb.writes", "dynamodb.delete")
        self._inner.delete(pk, sk, expected=expected)

    def query(self, pk: str, **named: Any) -> list[Item]:
        found: list[Item] = self._inner.query(pk, **named)
        size = sum(map(_size, found))
        self._meter.add("dynamodb.reads", "dynamodb.query", max(1, math.ceil(size / 4096)), size)
        self._meter.calls[self._meter.function, "dynamodb.items"] += len(found)
        return found


class CountingQueues(_Counting):
    def send(self, queue: str, bodies: Sequence[bytes]) -> None:
        for first in range(0, len(bodies), BATCH):
            size = sum(map(len, bodies[first : first + BATCH]))
            self._meter.add("sqs.requests", "sqs.send", max(1, math.ceil(size / MESSAGE)), size)
        self._inner.send(queue, bodies)


class CountingTopic(_Counting):
    def publish(self, *arguments: Any, **named: Any) -> Any:
        self._meter.add("sns.publishes", "sns.publish")
        return self._inner.publish(*arguments, **named)


class CountingMetrics(_Counting):
    def put(self, namespace: str, metrics: Sequence[Any]) -> None:
        self._meter.add("cloudwatch.requests", "cloudwatch.put")
        self._inner.put(namespace, metrics)


class CountingSageMaker(_Counting):
    """SageMaker's control plane costs nothing; its calls are counted all the same, for its quotas."""

    def __getattr__(self, name: str) -> Any:
        called = getattr(self._inner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self._meter.calls[self._meter.function, f"sagemaker.{name}"] += 1
            return called(*arguments, **named)

        return counted


def counted(services: Services, meter: Meter) -> Services:
    """The services, each counting into `meter`."""
    return dataclasses.replace(
        services,
        objects=CountingObjects(services.objects, meter),
        ledger=CountingLedger(services.ledger, meter),
        queues=CountingQueues(services.queues, meter),
        topic=CountingTopic(services.topic, meter),
        metrics=CountingMetrics(services.metrics, meter),
        sagemaker=CountingSageMaker(services.sagemaker, meter),
    )


def _size(item: Item) -> int:
    return len(item.pk) + len(item.sk) + len(item.body)
