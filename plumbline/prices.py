"""What AWS asks for what a stage uses, and what a month of it costs. Pure arithmetic; no account is asked.

The prices are list prices of us-east-1 without free tiers and discounts, as of `AS_OF`; other Regions differ by up to a
third. This program does not ask AWS for them: check the page named beside each before you rely on a figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from chalicelib.topology import SOURCES

AS_OF = "2025-11"

# What is used in a month, by the names in `PRICES`.
Usage = Counter[str]


class Price(NamedTuple):
    """`dollars` for `per` units; `unit` and the AWS pricing `page` say of what."""

    dollars: float
    per: float
    unit: str
    page: str


PRICES: Mapping[str, Price] = {
    "lambda.requests": Price(0.20, 1e6, "invocations", "lambda/pricing"),
    "lambda.gb_seconds": Price(0.0000133334, 1, "GB-seconds, arm64", "lambda/pricing"),
    "s3.puts": Price(0.005, 1e3, "PUT and LIST requests", "s3/pricing"),
    "s3.gets": Price(0.0004, 1e3, "GET requests", "s3/pricing"),
    "s3.gb_months": Price(0.023, 1, "GB stored for a month", "s3/pricing"),
    "dynamodb.writes": Price(0.625, 1e6, "write request units of 1 KB", "dynamodb/pricing/on-demand"),
    "dynamodb.reads": Price(0.125, 1e6, "read request units of 4 KB", "dynamodb/pricing/on-demand"),
    "sqs.requests": Price(0.40, 1e6, "requests of up to 64 KB", "sqs/pricing"),
    "sns.publishes": Price(0.50, 1e6, "publishes of up to 64 KB", "sns/pricing"),
    "apigateway.requests": Price(3.50, 1e6, "REST API calls", "api-gateway/pricing"),
    "cloudwatch.metrics": Price(0.30, 1, "custom metrics kept for a month", "cloudwatch/pricing"),
    "cloudwatch.requests": Price(0.01, 1e3, "PutMetricData requests", "cloudwatch/pricing"),
    "cloudwatch.logs_gb": Price(0.50, 1, "GB of logs taken in", "cloudwatch/pricing"),
    "cloudwatch.alarms": Price(0.10, 1, "alarms kept for a month", "cloudwatch/pricing"),
    "kms.requests": Price(0.03, 1e4, "requests", "kms/pricing"),
    "kms.keys": Price(1.00, 1, "customer managed keys kept for a month", "kms/pricing"),
}

# A Model Monitor schedule runs a processing job for each window and monitor type.
PROCESSING_INSTANCE, PROCESSING_DOLLARS_AN_HOUR = "ml.m5.xlarge", 0.23
# From its start to its end, most of which is starting the instance and Spark.
PROCESSING_MINUTES = 15.0

# The event source mapping of each queue polls with five connections that wait for 20 seconds.
QUEUES = len(SOURCES)
POLLS_A_MONTH = 5 * 3 * 60 * 24 * 30


def dollars(usage: Mapping[str, float]) -> dict[str, float]:
    """Name -> what it costs in US dollars. Raises KeyError for a name that has no price."""
    return {name: count * PRICES[name].dollars / PRICES[name].per for name, count in usage.items()}


def by_service(usage: Mapping[str, float]) -> dict[str, float]:
    """Service ("s3", "lambda", …) -> US dollars, the dearest first."""
    total: Counter[str] = Counter()
    for name, cost in dollars(usage).items():
        total[name.partition(".")[0]] += cost  # type: ignore[assignment]
    return dict(total.most_common())


def model_monitor(windows: float, monitor_types: int) -> float:
    """What Model Monitor's processing jobs cost for so many windows, in US dollars."""
    return windows * monitor_types * PROCESSING_DOLLARS_AN_HOUR * PROCESSING_MINUTES / 60
