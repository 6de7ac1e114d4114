"""CloudWatch's PutMetricData in lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from chalicelib.ports import Metric
from emulator.memory.errors import ServiceError


class MemoryMetrics:
    """`ports.Metrics`. Refuses, as CloudWatch does, what is no finite number and what is too old or in the future."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.points: dict[str, list[Metric]] = {}

    def put(self, namespace: str, metrics: Sequence[Metric]) -> None:
        now = self._now()
        for metric in metrics:
            if not math.isfinite(metric.value):
                raise ServiceError("InvalidParameterValue", f"metric {metric.name}: not a finite number")
            if not now - timedelta(days=14) <= metric.timestamp <= now + timedelta(hours=2):
                raise ServiceError("InvalidParameterValue", f"metric {metric.name}: timestamp {metric.timestamp}")
            if len(metric.dimensions) > 30 or not all(metric.dimensions.values()):
                raise ServiceError("InvalidParameterValue", f"metric {metric.name}: dimensions")
        self.points.setdefault(namespace, []).extend(
            Metric(m.name, dict(m.dimensions), m.value, m.timestamp) for m in metrics
        )

    def values(self, namespace: str, name: str) -> list[float]:
        """For tests: the values of one metric over all dimensions, in the order they were put."""
        return [metric.value for metric in self.points.get(namespace, []) if metric.name == name]
