"""An account in memory and the functions of app.py around it: captures and labels arrive at planned times.

Storage, table and queues are the fakes, which the contract tests (tests/contract) hold equal to the emulator's: each
window is evaluated dozens of times, too often for calls by HTTP. Events, batches, retries, functions and signed posts
are real. Not here: what is drawn (plan.py) and what must hold (laws.py).
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec

from chalicelib import keys, wiring
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.records.window import Window
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import Services
from demo.account import BUCKET, FIRST, IMAGE, ROLE, definition
from demo.web import Post, poster
from emulator.clock import LogicalClock
from emulator.memory import SETTINGS, memory_services
from emulator.memory.functions import EventBucket, Functions
from emulator.memory.shared import SharedLedger
from plumbline.cli.add import add_monitor
from trials.late_labels.plan import HORIZON, HOUR, Delivery
from trials.late_labels.recording import BEGIN, Landing, Recording

# AWS ticks every minute. Nothing here happens more often than labels are handed over.
TICK = timedelta(minutes=5)
SECRET = "whsec_" + base64.b64encode(b"the label system's key, no secret").decode()
# After the last seal: what came too late is looked up and listed.
REST = timedelta(hours=3)


def monitor(horizon: timedelta) -> Definition:
    """The demo's monitor of the endpoint that is never retrained, with a label horizon of so many hours.

    Records are merged when windows settle and when they are sealed; with a longer horizon, of which a run does not see
    the end, at every restatement.
    """
    found = definition(FIRST, "http://127.0.0.1:1")
    found = msgspec.structs.replace(found, merged_records="settled" if horizon == HORIZON else "always")
    labels = msgspec.structs.replace(found.labels, horizon=f"PT{horizon // HOUR}H")
    return msgspec.structs.replace(found, labels=labels, routes=(), schedules=())


class Account:
    """The account while it is played. `failures`: what a function did not do; `answers`: the webhook's, by status."""

    def __init__(self, clock: LogicalClock, horizon: timedelta) -> None:
        self.clock = clock
        self.monitor = monitor(horizon)
        settings = msgspec.structs.replace(SETTINGS, stage="demo", bucket=BUCKET)
        services = memory_services(clock.now, settings)
        self.objects = EventBucket(clock.now, services.queues, BUCKET)
        self.services: Services = dataclasses.replace(services, ledger=SharedLedger(clock.now), objects=self.objects)
        services.secrets.values[settings.webhook_key_parameter] = SECRET
        self.answers: Counter[int] = Counter()
        self._refused: list[str] = []
        self._running = Functions(services.queues)
        self._post: Post | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the functions of app.py work in this account."""
        import app

        wiring.use(self.services)
        self._post = poster(app)
        try:
            yield
        finally:
            wiring.use(None)

    def furnish(self, baseline: Mapping[str, bytes]) -> None:
        """The baseline's files, and an endpoint with data capture as the demo's."""
        for key, body in baseline.items():
            self.objects.put(BUCKET, key, body)
        sagemaker = self.services.sagemaker
        model = {"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/models/electricity-1/model.tar.gz"}
        sagemaker.ensure_model({"ModelName": "electricity-1", "ExecutionRoleArn": ROLE, "PrimaryContainer": model})
        config = f"{FIRST}-1"
        variant = {"VariantName": "AllTraffic", "ModelName": "electricity-1", "InstanceType": "ml.m5.large",
                   "InitialInstanceCount": 1, "InitialVariantWeight": 1.0}  # fmt: skip
        capture = {"EnableCapture": True, "InitialSamplingPercentage": 100, "DestinationS3Uri": f"s3://{BUCKET}/captures",
                   "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]}  # fmt: skip
        sagemaker.ensure_endpoint_config(
            {"EndpointConfigName": config, "ProductionVariants": [variant], "DataCaptureConfig": capture}
        )
        sagemaker.ensure_endpoint(FIRST, config)

    def deliver(self, delivery: Delivery) -> None:
        """A label system posts, or drops a file under the hour of its arrival."""
        body = delivery.body()
        if not delivery.posted:
            _, prefix = split_s3_uri(self.monitor.ground_truth_s3_uri)
            key = keys.join(prefix, keys.hour_folder(self.clock.now()), f"{delivery.name}.jsonl")
            self.objects.put(BUCKET, key, body, content_type="application/jsonlines")
            return
        headers = signed_headers([SECRET], delivery.name, self.clock.now(), body)
        assert self._post is not None
        status = self._post(f"/ground-truth/{FIRST}", {**headers, "Content-Type": "application/json"}, body)
        self.answers[status] += 1
        if status != 202:
            self._refused.append(f"the post {delivery.name} was answered {status}")

    def tick(self) -> None:
        """The clock's schedule, and everything that it sets off."""
        self._running.tick(self.clock.now())

    def settle(self) -> None:
        """Call the functions until no queue has a message."""
        self._running.settle()

    @property
    def worked(self) -> Counter[str]:
        """Messages that were worked off, by function."""
        return self._running.worked

    @property
    def failures(self) -> list[str]:
        """What was not done."""
        return [*self._refused, *self._running.failures]


def after_all(recording: Recording, deliveries: Iterable[Delivery]) -> datetime:
    """When the last hour's captures are there, and everything that labels say is known: none may be of the future."""
    captured = BEGIN + recording.hours * HOUR + timedelta(minutes=15)
    return max(captured, *(each.at for each in deliveries))


def the_end(recording: Recording) -> datetime:
    """When every window with captures is sealed, by the horizon of the run whose labels come late."""
    return BEGIN + recording.hours * HOUR + HORIZON + REST


def play(
    recording: Recording,
    deliveries: Iterable[Delivery],
    horizon: timedelta = HORIZON,
    passed: Callable[[Account], None] = lambda account: None,
) -> Account:
    """Let the captures land as they were recorded and the deliveries come at their times; the account at the end.

    `passed` is called after each tick of the clock.
    """
    clock = LogicalClock(BEGIN)
    account = Account(clock, horizon)
    with account.running():
        account.furnish(recording.baseline)
        add_monitor(account.services, account.monitor)
        everything: list[Landing | Delivery] = [*recording.captures, *deliveries]
        coming = sorted(everything, key=lambda each: each.at)
        end = the_end(recording) + (horizon - HORIZON)
        while clock.now() < end:
            until = clock.now() + TICK
            while coming and coming[0].at < until:
                _arrive(account, coming.pop(0))
            clock.advance(to=until)
            account.tick()
            passed(account)
    return account


def _arrive(account: Account, each: Landing | Delivery) -> None:
    account.clock.advance(to=max(each.at, account.clock.now()))
    if isinstance(each, Landing):
        account.objects.put(BUCKET, each.key, each.body, content_type="application/jsonlines")
    else:
        account.deliver(each)
    account.settle()


def windows(recording: Recording) -> list[Window]:
    """The windows that have captures, oldest first."""
    return [Window.of(BEGIN + number * HOUR, HOUR) for number in range(recording.hours)]


def report(account: Account, window: Window, name: str, monitor_type: str = "ModelQuality") -> dict[str, Any] | None:
    """A stored file of a window's report, decoded; None where there is none."""
    _, output = split_s3_uri(account.monitor.output_s3_uri)
    folder = keys.report_folder(output, FIRST, account.monitor.name, monitor_type, window)
    stored = account.objects.objects.get((BUCKET, f"{folder}/{name}"))
    return None if stored is None else json.loads(stored.body)
