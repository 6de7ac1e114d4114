"""SQS by logical queue name.

Knows the limits of one SendMessageBatch. Refuses to know what a message says and who reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from chalicelib.errors import PlumblineError

_BATCH_MESSAGES = 10
# The lowest of the limits that AWS has had for one batch; regions have not all been raised to 1 MiB.
_BATCH_BYTES = 256 * 1024


class SqsQueues:
    """`ports.Queues` over an SQS client; `name_of` turns a logical name into the queue's name in the account.

    URLs are asked for once per queue and kept: a queue keeps its URL as long as it lives.
    """

    def __init__(self, client: Any, name_of: Callable[[str], str]) -> None:
        self._client = client
        self._name_of = name_of
        self._urls: dict[str, str] = {}

    def send(self, queue: str, bodies: Sequence[bytes]) -> None:
        """Send each body (UTF-8 text) as one message, in order, at most ten per request.

        Raises PlumblineError when SQS did not accept some of them. What was accepted stays sent: delivery is at least
        once, and the readers of every queue live with repeats.
        """
        for batch in _batches(bodies):
            answer = self._client.send_message_batch(
                QueueUrl=self._url(queue),
                Entries=[{"Id": str(i), "MessageBody": body.decode("utf-8")} for i, body in enumerate(batch)],
            )
            failed = answer.get("Failed", [])
            if failed:
                codes = ", ".join(sorted({entry["Code"] for entry in failed}))
                raise PlumblineError(f"queue {queue}: {len(failed)} of {len(batch)} messages not accepted ({codes})")

    def _url(self, queue: str) -> str:
        if queue not in self._urls:
            self._urls[queue] = self._client.get_queue_url(QueueName=self._name_of(queue))["QueueUrl"]
        return self._urls[queue]


def _batches(bodies: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for body in bodies:
        if batch and (len(batch) == _BATCH_MESSAGES or size + len(body) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += len(body)
    if batch:
        yield batch
