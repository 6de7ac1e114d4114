"""Every queue, which function it feeds, and which AWS events reach it.

The stage's name is in every resource name. Queues and EventBridge rules are created from this table, and
infra/template.py makes the CloudFormation template from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Source:
    """One queue and the function that it feeds.

    `pattern` is the EventBridge event pattern whose events are put on the queue (None: filled by our own functions,
    by SNS, or by the clock's schedule). `timeout` is the function's, in seconds, `memory` its size in MB (its share of
    a processor goes with it). `late` is the age of the oldest message, in seconds, at which somebody should look.
    """

    queue: str
    function: str
    pattern: Mapping[str, Any] | None = None
    batch_size: int = 10
    timeout: int = 60
    schedule: str | None = None
    topic: bool = field(default=False)
    batching_window: int = 0
    memory: int = 512
    late: int = 900

    @property
    def visibility(self) -> int:
        """Seconds after which a message that was taken and not deleted can be taken again.

        Six times the function's timeout plus the batching window, as AWS recommends (Lambda Developer Guide, "Creating
        and configuring an Amazon SQS event source mapping").
        """
        return 6 * self.timeout + self.batching_window


# Lambda's guide recommends at least 5, so that a few retries precede the dead-letter queue.
MAX_RECEIVES = 5

# The one function that no queue feeds: API Gateway gives up after 29 seconds.
WEBHOOK, WEBHOOK_TIMEOUT, WEBHOOK_MEMORY = "ground_truth_posted", 29, 512

# Below /plumbline/{stage}/ in Parameter Store, plumbline/{stage}/ in Secrets Manager. The author of a definition
# chooses which secret a route sends, so routes and the webhook's keys share no prefix.
ROUTE_SECRETS, WEBHOOK_SECRETS, PAGE_SECRETS = "routes/", "webhook-keys", "page-key"

SOURCES: tuple[Source, ...] = (
    # The two S3 sources share the event; the key layout tells them apart (keys.py), one rule per bucket and prefix.
    Source("captures", "capture_landed", {"source": ["aws.s3"], "detail-type": ["Object Created"]}),
    Source(
        "ground-truth",
        "ground_truth_landed",
        {"source": ["aws.s3"], "detail-type": ["Object Created"]},
        timeout=300,
        memory=1024,
    ),
    Source("clock", "windows_due", schedule="rate(1 minute)", batch_size=1, timeout=120),
    Source("windows", "window_due", batch_size=1, timeout=300, memory=1769, late=3600),
    Source(
        "executions",
        "execution_finished",
        {
            "source": ["aws.sagemaker"],
            "detail-type": ["SageMaker Processing Job State Change"],
            "detail": {"ProcessingJobStatus": ["Completed", "Failed", "Stopped"]},
        },
    ),
    Source("alarms", "alarm_changed", {"source": ["aws.cloudwatch"], "detail-type": ["CloudWatch Alarm State Change"]}),
    Source("retrain-claims", "retrain_claimed", batch_size=1),
    Source("promotion-claims", "promotion_claimed", batch_size=1, timeout=300, memory=1024, late=3600),
    Source(
        "pipelines",
        "pipeline_finished",
        {
            "source": ["aws.sagemaker"],
            "detail-type": ["SageMaker Model Building Pipeline Execution Status Change"],
            "detail": {"currentPipelineExecutionStatus": ["Succeeded", "Failed", "Stopped"]},
        },
    ),
    Source(
        "model-packages",
        "model_package_changed",
        {"source": ["aws.sagemaker"], "detail-type": ["SageMaker Model Package State Change"]},
    ),
    Source(
        "endpoints",
        "endpoint_changed",
        {"source": ["aws.sagemaker"], "detail-type": ["SageMaker Endpoint State Change"]},
    ),
    # One receiver a message, and one message a call: who waits for a receiver keeps no other waiting.
    Source("alerts", "alert_published", topic=True, batch_size=1),
)


def resource_name(stage: str, name: str) -> str:
    """`plumbline-{stage}-{name}`: queues, their "-dead" twins, table, topics, rules and functions."""
    return f"plumbline-{stage}-{name}"


def takes_s3_events(source: Source) -> bool:
    """Whether a source takes S3's events: its rules are one per bucket and prefix, so the topology names none."""
    return source.pattern is not None and "aws.s3" in source.pattern.get("source", ())
