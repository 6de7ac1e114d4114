"""The replay: traffic, labels two hours late, the clock, and everything that AWS does in between.

One week of data is one hour on the demo's clock. This plays the callers, the label system, CloudWatch, SageMaker, and a
person who approves the first challenger. Not here: any decision.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.facts import decisions
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import Services
from demo.account import BUCKET, FIRST, LOOP, WEBHOOK_SECRET, Account, definition
from demo.stream import ROOT, TRAINING_WEEKS, Request, Stream, requests_of_week
from demo.web import Post
from emulator.clock import LogicalClock, timestamp
from emulator.pump import ProcessDied, Pump
from emulator.receiver import Receiver
from plumbline.cli.add import add_monitor

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
LABEL_DELAY = timedelta(hours=2)
# After an hour's end: its captures are flushed, its labels posted; the clock's schedule runs when the grace is over.
GRACE = timedelta(minutes=6)
# Capture files of an hour, about; SageMaker flushes every minute under traffic.
FLUSHES = 3

# One hour in which the model server fails some requests: the veto is seen to work.
FAULTY_HOUR, FAULTS = 52, 4
# The published Model Monitor execution is completed in this hour.
EXECUTION_HOUR = 3
# Every so many posts the label system repeats itself, as at-least-once systems do.
REPEATED_POST = 10


@dataclass
class Replay:
    """The replay's state. `progress` is called after every hour; `posts` counts the webhook's answers."""

    account: Account
    services: Services
    post: Post
    pump: Pump
    clock: LogicalClock
    stream: Stream
    receiver: Receiver
    progress: Callable[[int, int], None] = lambda hour, hours: None
    policy: Mapping[str, object] = field(default_factory=dict)
    first_week: int = TRAINING_WEEKS
    approve_first: bool = True
    hours: int = 0
    posts: Counter[int] = field(default_factory=Counter)
    failed_requests: int = 0
    approved: list[str] = field(default_factory=list)
    alarm_changes: list[str] = field(default_factory=list)

    def run(self, hours: int) -> None:
        """Stream `hours` weeks from `first_week` on, then wait until everything has come to rest."""
        self.hours = hours
        self._add_monitors()
        for hour in range(hours):
            self._one_hour(hour)
            self.progress(hour + 1, hours)
        self.rest(int(LABEL_DELAY / HOUR) + 1)  # the last labels, and whatever is still in flight

    def rest(self, hours: int) -> None:
        """Let hours pass without traffic."""
        for _ in range(hours):
            self._quiet_hour()

    def _add_monitors(self) -> None:
        self.clock.advance(by=timedelta(minutes=5))  # the endpoints come into service
        self._settle()
        self.clock.advance(to=START + HOUR)
        promotion = {"promotion": "manual"} if self.approve_first else {"promotion": "auto"}
        for name in (LOOP, FIRST):
            extra = {**self.policy, **promotion} if name == LOOP else {}
            add_monitor(self.services, definition(name, self.receiver.url, **extra))

    def _one_hour(self, hour: int) -> None:
        start = START + HOUR * (1 + hour)
        week = self.first_week + hour
        if hour == EXECUTION_HOUR:
            self._complete_published_execution()
        requests = list(requests_of_week(week, start, HOUR, "r"))
        flush_every = -(-len(requests) // FLUSHES)
        for number, request in enumerate(requests, 1):
            self.clock.advance(to=request.time)
            for endpoint in (LOOP, FIRST):
                self._invoke(endpoint, request, hour)
            if number % flush_every == 0:
                self._settle()
        self._end_of_hour(start + HOUR, hour - int(LABEL_DELAY / HOUR))

    def _quiet_hour(self) -> None:
        now = self.clock.now().replace(minute=0, second=0) + HOUR
        last = int((now - START) / HOUR) - 2
        self._end_of_hour(now, last - int(LABEL_DELAY / HOUR))

    def _end_of_hour(self, end: datetime, labelled_hour: int) -> None:
        self.clock.advance(to=end)
        if 0 <= labelled_hour < self.hours:
            self._post_labels(labelled_hour)
        self._settle()
        # AWS ticks every minute; here the first tick has the labels looked up, the second evaluates what they touch.
        self.pump.call_schedule("windows_due", "clock")
        self._settle()
        self.clock.advance(to=end + GRACE)
        self.pump.call_schedule("windows_due", "clock")
        self._settle()
        self._approve()

    def _invoke(self, endpoint: str, request: Request, hour: int) -> None:
        body = "\n".join(self.stream.lines[request.rows])
        if endpoint == LOOP and hour == FAULTY_HOUR and request.inference_id.endswith("-00"):
            # These callers try again, so no row is lost; the server's errors are real.
            self.account.sagemaker.fail_next(LOOP, FAULTS)
        for _ in range(FAULTS + 1):
            try:
                self.account.client("sagemaker-runtime").invoke_endpoint(
                    EndpointName=endpoint, Body=body, ContentType="text/csv", Accept="text/csv",
                    InferenceId=request.inference_id,
                )  # fmt: skip
                return
            except ClientError as error:
                if error.response["Error"]["Code"] != "ModelError":
                    raise
                self.failed_requests += 1
        raise RuntimeError(f"{endpoint} did not answer {request.inference_id}")

    def _post_labels(self, hour: int) -> None:
        """The label system: one post per endpoint and hour, its labels by position, every tenth post repeated."""
        start = START + HOUR * (1 + hour)
        requests = list(requests_of_week(self.first_week + hour, start, HOUR, "r"))
        # Half of the systems know when the inference was, half do not.
        timed = hour % 2 == 0
        for endpoint in (LOOP, FIRST):
            body = json.dumps([self._entry(request, timed) for request in requests]).encode()
            webhook_id = f"labels-{endpoint}-{hour:03d}"
            for _ in range(2 if hour % REPEATED_POST == 0 else 1):
                headers = signed_headers([WEBHOOK_SECRET], webhook_id, self.clock.now(), body)
                headers["Content-Type"] = "application/json"
                self.posts[self._answered(f"/ground-truth/{endpoint}", headers, body)] += 1

    def _answered(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post until there is an answer: what a label system does that speaks Standard Webhooks."""
        while True:
            try:
                return self.post(path, headers, body)
            except ProcessDied:
                continue

    def _entry(self, request: Request, timed: bool) -> dict[str, Any]:
        labels = [int(label) for label in self.stream.labels[request.rows]]
        entry: dict[str, Any] = {"id": request.inference_id, "label": labels if len(labels) > 1 else labels[0]}
        return {**entry, "inferenceTime": timestamp(request.time)} if timed else entry

    def _settle(self) -> None:
        """Everything that AWS does by itself until nothing is left to do at this moment."""
        now = self.clock.now()
        self.account.sagemaker.flush(now)
        self._publish(self.account.sagemaker.metrics(now))
        self.account.sagemaker.tick()
        self.pump.drain()
        for event in self.account.alarms.evaluate():
            detail = event["detail"]
            self.alarm_changes.append(f"{detail['alarmName']} {detail['state']['value']} at {event['time']}")
            self.pump.deliver(event)
        self.pump.drain()

    def _publish(self, points: list[dict[str, Any]]) -> None:
        for first in range(0, len(points), 500):
            self.account.client("cloudwatch").put_metric_data(
                Namespace="AWS/SageMaker", MetricData=points[first : first + 500]
            )

    def _approve(self) -> None:
        """A person looks at the first challenger that waits and approves it; from then on the policy is auto."""
        if not self.approve_first or self.approved:
            return
        sagemaker = self.account.client("sagemaker")
        waiting = [
            package["ModelPackageArn"]
            for package in sagemaker.list_model_packages(ModelPackageGroupName=LOOP)["ModelPackageSummaryList"]
            if package["ModelApprovalStatus"] == "PendingManualApproval"
        ]
        for arn in waiting[:1]:
            sagemaker.update_model_package(
                ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="looked at by hand"
            )
            self.approved.append(arn)
            self._settle()
            add_monitor(self.services, definition(LOOP, self.receiver.url, **{**self.policy, "promotion": "auto"}))

    def _complete_published_execution(self) -> None:
        """One execution of an existing schedule, with the published churn run's files.

        The files are real; the description of the analysis job is synthetic: AWS published that of the merge job only.
        """
        folder = ROOT / "examples/churn-execution"
        report = "model-monitor-reports/churn/2021/05/26/01"
        violations = (folder / "constraint_violations.json").read_bytes()
        self.account.client("s3").put_object(Bucket=BUCKET, Key=f"{report}/constraint_violations.json", Body=violations)
        description = json.loads((folder / "describe_processing_job.synthetic.json").read_text())
        description["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] = f"s3://{BUCKET}/{report}"
        self.account.sagemaker.add_processing_job(description)


def made_decisions(services: Services, monitor: str) -> Iterator[decisions.Record]:
    """Every stored decision of a monitor, in window order."""
    for reference in decisions.references(services.ledger, monitor):
        record = decisions.load_record(services.ledger, reference.decision_id)
        assert record is not None
        yield record
