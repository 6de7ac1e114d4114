"""CloudWatch PutMetricData, in calls of at most 1000 data points. Not here: what they mean; none is read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chalicelib.ports import Metric

_CALL_DATA_POINTS = 1000


class CloudWatchMetrics:
    """`ports.Metrics` over a CloudWatch client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def put(self, namespace: str, metrics: Sequence[Metric]) -> None:
        """Publish data points without unit, at most 1000 per call; none makes no call."""
        for start in range(0, len(metrics), _CALL_DATA_POINTS):
            self._client.put_metric_data(
                Namespace=namespace,
                MetricData=[
                    {
                        "MetricName": metric.name,
                        "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions.items()],
                        "Timestamp": metric.timestamp,
                        "Value": metric.value,
                    }
                    for metric in metrics[start : start + _CALL_DATA_POINTS]
                ],
            )
