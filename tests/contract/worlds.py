"""What the contract tests are given: an implementation, and a way to look at the world behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3

from chalicelib.ports import Metrics, Queues, SageMaker, Topic

REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/plumbline-test-model"


@dataclass
class QueueWorld:
    queues: Queues
    received: Callable[[str], list[bytes]]


@dataclass
class TopicWorld:
    topic: Topic
    received: Callable[[], list[tuple[str, str, dict[str, str]]]]


@dataclass
class MetricWorld:
    metrics: Metrics
    totals: Callable[[str, str], dict[str, tuple[int, float]]]


@dataclass
class SageMakerWorld:
    sagemaker: SageMaker
    package: str


def client(service: str) -> Any:
    """A client of moto's account."""
    return boto3.client(service, region_name=REGION)


def create_table(dynamodb: Any) -> None:
    """The table "facts" with the ledger's keys."""
    dynamodb.create_table(
        TableName="facts",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
