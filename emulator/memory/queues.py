"""SQS in lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chalicelib.topology import SOURCES
from emulator.memory.errors import ServiceError

QUEUES = tuple(source.queue for source in SOURCES)
_MESSAGE_BYTES = 256 * 1024


class MemoryQueues:
    """`ports.Queues` with the topology's queues. Messages stay, in order, until a test takes them."""

    def __init__(self, names: Iterable[str] = QUEUES) -> None:
        self.messages: dict[str, list[bytes]] = {name: [] for name in names}

    def send(self, queue: str, bodies: Sequence[bytes]) -> None:
        if bodies and queue not in self.messages:
            raise ServiceError("AWS.SimpleQueueService.NonExistentQueue", f"no queue {queue}")
        for body in bodies:
            body.decode("utf-8")
            if not 0 < len(body) <= _MESSAGE_BYTES:
                raise ServiceError("InvalidParameterValue", f"message of {len(body)} bytes")
        if bodies:
            self.messages[queue].extend(bytes(body) for body in bodies)

    def take(self, queue: str) -> list[bytes]:
        """For tests: what waits in a queue, oldest first; it is gone from it then."""
        waiting, self.messages[queue] = self.messages[queue], []
        return waiting
