"""What every queue, topic, metrics service and secret store does: the fakes and AWS's alike."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chalicelib.errors import NotFoundError
from chalicelib.ports import Metric, Secrets
from tests.contract.worlds import MetricWorld, QueueWorld, TopicWorld


def test_every_body_is_one_message(queue_world: QueueWorld) -> None:
    bodies = [f'{{"number": {i}, "text": "é"}}'.encode() for i in range(23)]
    queue_world.queues.send("windows", bodies)
    assert sorted(queue_world.received("windows")) == sorted(bodies)
    assert queue_world.received("retrain-claims") == []


def test_large_messages_are_split_over_requests(queue_world: QueueWorld) -> None:
    bodies = [str(i).encode() * 100_000 for i in range(5)]
    queue_world.queues.send("windows", bodies)
    assert sorted(queue_world.received("windows")) == sorted(bodies)


def test_nothing_to_send(queue_world: QueueWorld) -> None:
    queue_world.queues.send("windows", [])
    assert queue_world.received("windows") == []


def test_a_queue_that_does_not_exist(queue_world: QueueWorld) -> None:
    with pytest.raises(Exception, match=r"NonExistentQueue|QueueDoesNotExist"):
        queue_world.queues.send("nowhere", [b"{}"])


def test_an_alert_arrives_with_its_attributes(topic_world: TopicWorld) -> None:
    topic_world.topic.publish("Drift on churn", "text é\nsecond line", {"severity": "high", "monitor": "churn"})
    assert topic_world.received() == [
        ("Drift on churn", "text é\nsecond line", {"severity": "high", "monitor": "churn"})
    ]


def test_a_subject_is_made_to_fit_and_empty_attributes_are_left_out(topic_world: TopicWorld) -> None:
    topic_world.topic.publish("Drift\non\t" + "x" * 200, "text", {"severity": "high", "variant": ""})
    [(subject, _, attributes)] = topic_world.received()
    assert subject == "Drift on " + "x" * 89 + "…"
    assert len(subject) == 99
    assert attributes == {"severity": "high"}


def test_metrics_arrive_also_more_than_a_call_takes(metric_world: MetricWorld) -> None:
    now = datetime.now(UTC)
    points = [Metric("Rows", {"Monitor": f"m{i % 2}"}, float(i), now) for i in range(1201)]
    metric_world.metrics.put("Plumbline", points)
    metric_world.metrics.put("Plumbline", [Metric("Other", {}, 0.5, now)])
    assert metric_world.totals("Plumbline", "Rows") == {"m0": (601, 360600.0), "m1": (600, 360000.0)}
    assert metric_world.totals("Plumbline", "Other") == {"": (1, 0.5)}


def test_no_metric_is_no_call(metric_world: MetricWorld) -> None:
    metric_world.metrics.put("Plumbline", [])
    assert metric_world.totals("Plumbline", "Rows") == {}


def test_secrets_of_both_services(secrets: Secrets) -> None:
    assert secrets.get("/plumbline/keys") == "whsec_abc"
    assert secrets.get("secretsmanager:pager") == "token"


@pytest.mark.parametrize("name", ["/plumbline/none", "secretsmanager:none", "pager", "secretsmanager:/plumbline/keys"])
def test_a_secret_that_does_not_exist(secrets: Secrets, name: str) -> None:
    with pytest.raises(NotFoundError, match=name):
        secrets.get(name)
