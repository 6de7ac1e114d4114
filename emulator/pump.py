"""What AWS does between an event and a function: matching, queueing, polling, batches, retries, dead letters.

Covers the topology's sources, SQS's event as Lambda passes it, and EventBridge's patterns. Where moto's events differ
from AWS's, they are corrected here, so that the handlers see only AWS's. Not here: what a function does.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
import traceback
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chalicelib.topology import SOURCES, Source, resource_name, takes_s3_events
from emulator.aws import ACCOUNT, REGION, LocalAws, StandInError
from emulator.clock import LogicalClock, timestamp

_EVENT_IDS = uuid.UUID("9c5f0f3e-52a4-5b0b-9a51-3f6a6d9f1c11")
_ABSENT = object()

# How long moto hides what a dead process had, in seconds on the wall's clock: SQS allows 12 hours since it was taken.
_HIDDEN = 11 * 3600


# --- EventBridge's patterns ------------------------------------------------------------------------------------------


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Whether an event matches an EventBridge pattern.

    Understands nesting, exact values, prefix, suffix, equals-ignore-case, anything-but (values, prefix, suffix),
    numeric, exists, wildcard and $or. An event's list matches when any of its members does. Raises ValueError for any
    other matcher: a rule that silently never matched would be worse.
    Definition: Amazon EventBridge User Guide, "Comparison operators for use in event patterns".
    """
    for name, wanted in pattern.items():
        if name == "$or":
            if not any(matches(alternative, event) for alternative in wanted):
                return False
            continue
        value = event.get(name, _ABSENT) if isinstance(event, Mapping) else _ABSENT
        if isinstance(wanted, Mapping):
            # A nested pattern over an absent object may still match by {"exists": false}.
            if not matches(wanted, value if isinstance(value, Mapping) else {}):
                return False
        elif not isinstance(wanted, Sequence) or isinstance(wanted, str) or not wanted:
            raise ValueError(f"pattern field {name}: expected a non-empty list of values or an object")
        elif not any(_accepts(matcher, value) for matcher in wanted):
            return False
    return True


def _accepts(matcher: Any, value: Any) -> bool:
    if not isinstance(matcher, Mapping):
        return any(_same(matcher, member) for member in _members(value))
    if len(matcher) != 1:
        raise ValueError(f"matcher {sorted(matcher)}: expected exactly one operator")
    [(operator, operand)] = matcher.items()
    if operator == "exists":
        # `exists` looks at leaves only: an object is not a leaf.
        return (value is not _ABSENT and not isinstance(value, Mapping)) == bool(operand)
    members = list(_members(value))
    if operator == "anything-but":
        return bool(members) and not any(_excluded(operand, member) for member in members)
    return any(_compare(operator, operand, member) for member in members)


def _members(value: Any) -> Iterator[Any]:
    if value is _ABSENT or isinstance(value, Mapping):
        return
    if isinstance(value, list):
        yield from (member for member in value if not isinstance(member, Mapping | list))
    else:
        yield value


def _same(wanted: Any, value: Any) -> bool:
    """Equal in JSON: true is not 1, 1 is 1.0."""
    return isinstance(wanted, bool) == isinstance(value, bool) and bool(wanted == value)


def _excluded(operand: Any, value: Any) -> bool:
    if isinstance(operand, Mapping):
        [(operator, inner)] = operand.items()
        return any(_compare(operator, one, value) for one in (inner if isinstance(inner, list) else [inner]))
    return any(_same(one, value) for one in (operand if isinstance(operand, list) else [operand]))


def _compare(operator: str, operand: Any, value: Any) -> bool:
    if operator == "numeric":
        return _numeric(operand, value)
    if operator not in ("prefix", "suffix", "equals-ignore-case", "wildcard"):
        raise ValueError(f"matcher {operator!r}: not one that the emulator understands")
    if not isinstance(value, str):
        return False
    if isinstance(operand, Mapping) and operator in ("prefix", "suffix"):
        operand, value = str(operand["equals-ignore-case"]).lower(), value.lower()
    if operator == "prefix":
        return bool(value.startswith(operand))
    if operator == "suffix":
        return bool(value.endswith(operand))
    if operator == "equals-ignore-case":
        return bool(value.lower() == str(operand).lower())
    return _wildcard(str(operand), value)


def _wildcard(pattern: str, value: str) -> bool:
    first, *rest = pattern.split("*")
    if not rest:
        return value == pattern
    if not value.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = value.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(value) - at >= len(rest[-1]) and value.endswith(rest[-1])


def _numeric(operand: Sequence[Any], value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if len(operand) % 2 or not operand:
        raise ValueError("matcher 'numeric': expected pairs of an operator and a number")
    tests: dict[str, Callable[[float, float], bool]] = {
        "=": lambda a, b: a == b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
    }
    return all(tests[operand[at]](value, operand[at + 1]) for at in range(0, len(operand), 2))


# --- Lambda ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LambdaContext:
    """The context object that Lambda gives a function."""

    function_name: str
    aws_request_id: str
    timeout: int
    memory_limit_in_mb: int = 512
    function_version: str = "$LATEST"
    identity: None = None
    client_context: None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def invoked_function_arn(self) -> str:
        """The function's ARN."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function_name}"

    @property
    def log_group_name(self) -> str:
        """Where Lambda would put its logs."""
        return f"/aws/lambda/{self.function_name}"

    @property
    def log_stream_name(self) -> str:
        """One stream per function in the emulator."""
        return "emulator"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds of wall time until the function's timeout."""
        return max(0, int(1000 * (self.timeout - (time.monotonic() - self.started))))


class ProcessDied(ConnectionError):
    """The process that ran a function was gone before it had answered."""


def _corrected(message: Mapping[str, Any]) -> str:
    """A message's body with moto's S3 event in AWS's shape; any other body as it is."""
    body: str = message["Body"]
    if '"aws.s3"' not in body:
        return body
    event = json.loads(body)
    if not isinstance(event, dict) or event.get("source") != "aws.s3":
        return body
    stored = event["detail"]["object"]
    if "eTag" in stored:
        stored["etag"] = stored.pop("eTag")
    if stored.get("version-id") in (None, "null"):  # AWS names it in versioned buckets only
        stored.pop("version-id", None)
    # moto has one id and one sequencer for all events. These are stable when a message is delivered again, and later
    # events have later sequencers.
    sent = int(message.get("Attributes", {}).get("SentTimestamp", "0"))
    stored["sequencer"] = f"{sent:012X}{message['MessageId'].replace('-', '')[:6].upper()}"
    event["id"] = str(uuid.uuid5(_EVENT_IDS, message["MessageId"]))
    return json.dumps(event, separators=(",", ":"))


def _record(message: Mapping[str, Any], body: str, arn: str) -> dict[str, Any]:
    attributes = {}
    for name, value in message.get("MessageAttributes", {}).items():
        attribute: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
        if "StringValue" in value:
            attribute["stringValue"] = value["StringValue"]
        if "BinaryValue" in value:
            attribute["binaryValue"] = value["BinaryValue"]
        attributes[name] = attribute
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": body,
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": attributes,
        "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": REGION,
    }
    if "MD5OfMessageAttributes" in message:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return record


def _exception_names(error: BaseException) -> list[str]:
    """The type of a failure; for Powertools' "all records failed" those of the records."""
    children = getattr(error, "child_exceptions", None) or ()
    names = [child[0].__name__ for child in children if isinstance(child, tuple) and child and child[0] is not None]
    return names or [type(error).__name__]


def _failed_ids(result: Any, ids: Sequence[str]) -> set[str]:
    """Which messages a function reported back, by Lambda's rules: an unknown or empty identifier fails the batch."""
    if not isinstance(result, Mapping) or not result.get("batchItemFailures"):
        return set()
    reported = {item.get("itemIdentifier") for item in result["batchItemFailures"]}
    return reported if reported <= set(ids) else set(ids)


class Pump:
    """Takes messages from the queues and calls the functions of the app, as Lambda's event source mappings do.

    `app` is the Chalice app's module (or anything with the topology's function names as attributes). `aws.resources`
    must exist. With `concurrency` > 1 that many batches of one queue are in flight at a time. `recorder` gets every
    (queue, body) as it is delivered.
    """

    def __init__(
        self,
        aws: LocalAws,
        app: Any,
        sources: Sequence[Source] = SOURCES,
        clock: LogicalClock | None = None,
        concurrency: int = 1,
        recorder: Callable[[str, str], None] | None = None,
    ) -> None:
        if aws.resources is None:
            raise StandInError("the pump needs queues: call create_resources() first")
        self._aws = aws
        self._resources = aws.resources
        self._app = app
        self._sources = {source.queue: source for source in sources}
        self._clock = clock
        self._concurrency = concurrency
        self._recorder = recorder
        self._sqs = aws.client("sqs")
        self._lock = threading.Lock()
        self._made = 0
        self._taken: list[tuple[datetime, str, str]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        """(function, "invoked" | "succeeded" | "failed" | "died"): invocations, and messages by outcome."""
        self.cpu_seconds: defaultdict[str, float] = defaultdict(float)
        self.wall_seconds: defaultdict[str, float] = defaultdict(float)
        self.failures: list[tuple[str, str]] = []
        """(function, exception type) of every failed invocation."""
        self.tracebacks: dict[tuple[str, str], str] = {}
        """The first traceback of each kind of failure."""

    def drain(self, max_rounds: int = 1000) -> int:
        """Call functions until no queue has a visible message; returns how many messages were taken.

        One request asks all queues at once; only those with messages are polled. Raises StandInError, naming the
        queues, when there are messages left after `max_rounds` rounds.
        """
        taken = 0
        self._give_back()
        for _ in range(max_rounds):
            waiting = self.waiting()
            if not waiting:
                return taken
            for queue, count in waiting.items():
                source = self._sources[queue]
                size = min(source.batch_size, 10)
                batches = -(-count // size)
                if self._concurrency == 1 or batches == 1:
                    taken += sum(self._take(source, size) for _ in range(batches))
                else:
                    with ThreadPoolExecutor(self._concurrency) as pool:
                        taken += sum(pool.map(lambda _, s=source, n=size: self._take(s, n), range(batches)))
        waiting = self.waiting()
        if waiting:
            left = ", ".join(f"{queue} ({count})" for queue, count in waiting.items())
            raise StandInError(f"queues still have messages after {max_rounds} rounds: {left}")
        return taken

    @property
    def taken(self) -> int:
        """Messages that a function had when its process died, and whose visibility timeout is not over."""
        return len(self._taken)

    def _give_back(self) -> None:
        """Make the messages of dead processes visible whose timeout is over on the demo's clock."""
        if self._clock is None:
            return
        now = self._clock.now()
        over = [each for each in self._taken if each[0] <= now]
        self._taken = [each for each in self._taken if each[0] > now]
        for _, url, handle in over:
            self._sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)

    def waiting(self) -> dict[str, int]:
        """Visible messages by queue, in the topology's order, empty queues left out."""
        counts = self._aws.visible_messages()
        names = {queue: resource_name(self._resources.stage, queue) for queue in self._sources}
        return {queue: counts[name] for queue, name in names.items() if counts.get(name)}

    def dead_letters(self) -> dict[str, int]:
        """Messages in the dead-letter queues, by the queue they came from, empty ones left out."""
        counts = self._aws.visible_messages()
        names = {queue: resource_name(self._resources.stage, f"{queue}-dead") for queue in self._sources}
        return {queue: counts[name] for queue, name in names.items() if counts.get(name)}

    def _take(self, source: Source, size: int) -> int:
        url = self._resources.queue_urls[source.queue]
        messages = self._sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=size, AttributeNames=["All"], MessageAttributeNames=["All"]
        ).get("Messages", [])
        if not messages:
            return 0
        bodies = [_corrected(message) for message in messages]
        if self._recorder is not None:
            for body in bodies:
                self._recorder(source.queue, body)
        arn = self._resources.queue_arns[source.queue]
        event = {"Records": [_record(message, body, arn) for message, body in zip(messages, bodies, strict=True)]}
        try:
            failed = self._invoke(source, event)
        except ProcessDied:
            # The messages are neither deleted nor released: they stay invisible until their timeout ends.
            if self._clock is None:
                raise
            until = self._clock.now() + timedelta(seconds=source.visibility)
            for message in messages:  # moto's clock is the wall's: not before we say so
                self._sqs.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=_HIDDEN
                )
            with self._lock:
                self._taken += [(until, url, message["ReceiptHandle"]) for message in messages]
                self.counts[source.function, "died"] += len(messages)
            return len(messages)
        done = [message for message in messages if message["MessageId"] not in failed]
        if done:
            answer = self._sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(done)],
            )
            if answer.get("Failed"):
                raise StandInError(f"{source.queue}: {len(answer['Failed'])} messages could not be deleted")
        for message in messages:
            if message["MessageId"] in failed:
                self._sqs.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                )
        with self._lock:
            self.counts[source.function, "succeeded"] += len(done)
            self.counts[source.function, "failed"] += len(messages) - len(done)
        return len(messages)

    def _invoke(self, source: Source, event: dict[str, Any]) -> set[str]:
        ids = [record["messageId"] for record in event["Records"]]
        function = getattr(self._app, source.function)
        context = LambdaContext(
            resource_name(self._resources.stage, source.function), str(uuid.uuid5(_EVENT_IDS, ids[0])), source.timeout
        )
        wall, cpu = time.perf_counter(), time.thread_time()
        kinds: list[str] = []
        try:
            failed = _failed_ids(function(event, context), ids)
            if failed:
                kinds = ["batchItemFailures"]
        except ProcessDied:
            raise
        except Exception as error:  # the queue's business, like any crash of a function
            failed = set(ids)
            kinds = _exception_names(error)
            with self._lock:
                for kind in kinds:
                    self.tracebacks.setdefault((source.function, kind), "".join(traceback.format_exception(error)))
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        with self._lock:
            self.counts[source.function, "invoked"] += 1
            self.wall_seconds[source.function] += wall
            self.cpu_seconds[source.function] += cpu
            self.failures.extend((source.function, kind) for kind in kinds)
        return failed

    def send(self, queue: str, body: str | bytes | Mapping[str, Any]) -> None:
        """Put one message on a queue (a mapping as compact JSON)."""
        if isinstance(body, bytes):
            body = body.decode()
        text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
        self._sqs.send_message(QueueUrl=self._resources.queue_urls[queue], MessageBody=text)

    def deliver(self, event: Mapping[str, Any]) -> list[str]:
        """Put an EventBridge event made by the emulator on every queue whose pattern it matches; returns the queues.

        AWS accepts no events in the name of an AWS service, so this goes by the topology's patterns straight to
        the queues. S3's events are refused: moto sends those itself.
        """
        if event.get("source") == "aws.s3":
            raise ValueError("deliver: S3's events come from moto; write an object instead")
        queues = [
            source.queue
            for source in self._sources.values()
            if source.pattern is not None and not takes_s3_events(source) and matches(source.pattern, event)
        ]
        for queue in queues:
            self.send(queue, event)
        return queues

    def call_schedule(self, function: str, queue: str) -> None:
        """Put EventBridge's scheduled event, at the clock's time, on the queue that feeds a scheduled function.

        Raises ValueError when the topology has no such schedule.
        """
        source = self._sources.get(queue)
        if source is None or source.function != function or source.schedule is None:
            raise ValueError(f"call_schedule: no schedule calls {function} through the queue {queue}")
        if self._clock is None:
            raise ValueError("call_schedule: the pump was made without a clock")
        with self._lock:
            self._made += 1
            number = self._made
        now = timestamp(self._clock.now())
        self.send(
            queue,
            {
                "version": "0",
                "id": str(uuid.uuid5(_EVENT_IDS, f"{queue}|{now}|{number}")),
                "detail-type": "Scheduled Event",
                "source": "aws.events",
                "account": ACCOUNT,
                "time": now,
                "region": REGION,
                "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{resource_name(self._resources.stage, queue)}"],
                "detail": {},
            },
        )

    def report(self, out: Any = sys.stderr) -> None:
        """Write one line per function: invocations, messages, seconds; then each kind of failure with its number."""
        for function in sorted({name for name, _ in self.counts}):
            print(
                f"{function:24s} {self.counts[function, 'invoked']:6d} calls {self.counts[function, 'succeeded']:6d} "
                f"ok {self.counts[function, 'failed']:5d} failed  {self.cpu_seconds[function]:7.2f} s cpu "
                f"{self.wall_seconds[function]:7.2f} s wall",
                file=out,
            )
        for (function, kind), count in sorted(Counter(self.failures).items()):
            print(f"{function:24s} {count:6d} x {kind}", file=out)
