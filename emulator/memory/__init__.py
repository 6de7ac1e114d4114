"""The Protocols of `chalicelib/ports.py` in memory: fast, and as strict as AWS where strictness matters.

`tests/contract/` checks each fake against its adapter. No thread, no random number, no clock of their own: the same
calls give the same bytes. Callers get copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chalicelib.settings import Settings
from chalicelib.wiring import Services
from emulator.memory.courier import Delivery, MemoryCourier
from emulator.memory.errors import ServiceError
from emulator.memory.ledger import MemoryLedger
from emulator.memory.metrics import MemoryMetrics
from emulator.memory.objects import MemoryObjectStore
from emulator.memory.queues import MemoryQueues
from emulator.memory.sagemaker import MemorySageMaker
from emulator.memory.scorer import MemoryScorer
from emulator.memory.secrets import MemorySecrets
from emulator.memory.topic import MemoryTopic, Published

__all__ = [
    "SETTINGS",
    "Delivery",
    "MemoryCourier",
    "MemoryLedger",
    "MemoryMetrics",
    "MemoryObjectStore",
    "MemoryQueues",
    "MemorySageMaker",
    "MemoryScorer",
    "MemorySecrets",
    "MemoryServices",
    "MemoryTopic",
    "Published",
    "ServiceError",
    "memory_services",
]

SETTINGS = Settings(
    stage="test",
    region="us-east-1",
    bucket="plumbline-test",
    table="plumbline-test",
    topic_arn="arn:aws:sns:us-east-1:123456789012:plumbline-test-alerts",
    webhook_key_parameter="/plumbline/test/webhook-keys",
    execution_role_arn="arn:aws:iam::123456789012:role/plumbline-test-model",
)


@dataclass(frozen=True, eq=False, repr=False)
class MemoryServices(Services):
    """Services over fakes, typed as the fakes that they are, so that tests reach what only tests may."""

    objects: MemoryObjectStore
    ledger: MemoryLedger
    queues: MemoryQueues
    sagemaker: MemorySageMaker
    scorer: MemoryScorer
    metrics: MemoryMetrics
    topic: MemoryTopic
    courier: MemoryCourier
    secrets: MemorySecrets


def memory_services(now: Callable[[], datetime], settings: Settings = SETTINGS) -> MemoryServices:
    """One empty fake of each service, all by the same clock."""
    return MemoryServices(
        settings=settings,
        now=now,
        objects=MemoryObjectStore(now),
        ledger=MemoryLedger(now),
        queues=MemoryQueues(),
        sagemaker=MemorySageMaker(now),
        scorer=MemoryScorer(),
        metrics=MemoryMetrics(now),
        topic=MemoryTopic(),
        courier=MemoryCourier(),
        secrets=MemorySecrets(),
    )
