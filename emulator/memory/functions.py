"""The functions of app.py over the fakes: events reach queues, queues reach functions, what failed is delivered again.

As `emulator.pump` over moto, without a server: a window is evaluated dozens of times where this is used. Batches,
retries and partial batch responses are real. Not here: what arrives and when.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from chalicelib.events import object_created_body
from chalicelib.topology import SOURCES, Source
from emulator.clock import timestamp
from emulator.memory.queues import MemoryQueues
from emulator.memory.shared import SharedObjects
from emulator.pump import LambdaContext

RECEIVES = 5
# The first part of a key says which queue is told of a new object.
QUEUES = {"captures": "captures", "ground-truth": "ground-truth"}

Around = Callable[[Source, Sequence[bytes]], AbstractContextManager[None]]


class EventBucket(SharedObjects):
    """S3 with EventBridge: new captures and labels in `bucket` are announced to their queues."""

    def __init__(self, now: Callable[[], datetime], queues: MemoryQueues, bucket: str) -> None:
        super().__init__(now)
        self._queues, self._bucket = queues, bucket

    def put(self, bucket: str, key: str, body: bytes, *args: Any, **named: Any) -> str:
        etag = super().put(bucket, key, body, *args, **named)
        queue = QUEUES.get(key.partition("/")[0])
        if queue and bucket == self._bucket:
            self._queues.send(queue, [object_created_body(bucket, key, etag, len(body), self._now())])
        return etag


class Functions:
    """Delivers messages to the functions. `failures`: what was not done in so many receives; `worked`: messages done.

    `around` is entered for each invocation, with the messages that are delivered.
    """

    def __init__(self, queues: MemoryQueues, around: Around = lambda source, bodies: nullcontext()) -> None:
        import app

        self._app, self._queues, self._around = app, queues, around
        self.failures: list[str] = []
        self.worked: Counter[str] = Counter()

    def tick(self, now: datetime) -> None:
        """The clock's schedule, and everything that it sets off."""
        self._queues.send("clock", [json.dumps({"time": timestamp(now)}).encode()])
        self.settle()

    def settle(self) -> None:
        """Call the functions until no queue has a message."""
        while any([self._take(source) for source in SOURCES]):
            pass

    def _take(self, source: Source) -> int:
        bodies = self._queues.take(source.queue)
        for first in range(0, len(bodies), source.batch_size):
            self._deliver(source, bodies[first : first + source.batch_size])
        return len(bodies)

    def _deliver(self, source: Source, bodies: Sequence[bytes]) -> None:
        waiting = {str(number): body for number, body in enumerate(bodies)}
        for _ in range(RECEIVES):
            records = [_record(source, name, body) for name, body in waiting.items()]
            context = LambdaContext(source.function, str(uuid.uuid5(uuid.NAMESPACE_OID, source.queue)), source.timeout)
            with self._around(source, [*waiting.values()]):
                answer = getattr(self._app, source.function)({"Records": records}, context)
            failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
            self.worked[source.function] += len(waiting) - len(failed)
            waiting = {name: body for name, body in waiting.items() if name in failed}
            if not waiting:
                return
        self.failures += [f"{source.function} did not work a message off in {RECEIVES} times"] * len(waiting)


def _record(source: Source, name: str, body: bytes) -> dict[str, Any]:
    return {
        "messageId": name, "receiptHandle": name, "body": body.decode(), "attributes": {}, "messageAttributes": {},
        "md5OfBody": "", "eventSource": "aws:sqs", "awsRegion": "us-east-1",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:plumbline-test-{source.queue}",
    }  # fmt: skip
