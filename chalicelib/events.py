"""AWS's event shapes, only here: a queue message's body -> the few facts that a handler needs.

The shapes are in format section 10, verbatim samples in tests/events/. A body that is not such an event raises
UnreadableError naming what was expected; a retry could not help, so it is recorded and dropped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.records.capture import plausible
from chalicelib.records.times import iso


class ObjectCreated(msgspec.Struct, frozen=True):
    """An S3 object was written. The key is plain text: EventBridge does not URL-encode it."""

    bucket: str
    key: str
    etag: str
    size: int
    time: datetime


class JobChanged(msgspec.Struct, frozen=True):
    name: str
    status: str


class ExecutionChanged(msgspec.Struct, frozen=True):
    arn: str
    status: str


class PackageChanged(msgspec.Struct, frozen=True):
    arn: str
    approval_status: str


class EndpointChanged(msgspec.Struct, frozen=True):
    """`status` is the event's upper snake case (IN_SERVICE), not the API's InService."""

    name: str
    status: str
    config_name: str
    time: datetime


class AlarmChanged(msgspec.Struct, frozen=True):
    name: str
    state: str
    changed_at: datetime


M = TypeVar("M", bound=msgspec.Struct)


class WindowMessage(msgspec.Struct, frozen=True):
    """Plumbline's own message on the windows queue."""

    monitor: str
    window: str


class ClockMessage(msgspec.Struct, frozen=True):
    """Plumbline's own message on the clock queue: tend every `of`-th monitor, beginning with number `part`.

    EventBridge's own event has neither, and stands for all monitors.
    """

    part: int = 0
    of: int = 0


class ClaimMessage(msgspec.Struct, frozen=True):
    """Plumbline's own message on the claim queues: the claim to act on."""

    monitor: str
    claim_id: str


class LabelBatchMessage(msgspec.Struct, frozen=True):
    """Plumbline's own message on the ground-truth queue: look up the waiting labels of a monitor."""

    label_batch_of: str


def label_batch(body: str) -> str | None:
    """The monitor of a label batch message; None for any other message."""
    try:
        return msgspec.json.decode(body, type=LabelBatchMessage).label_batch_of
    except (ValueError, RecursionError):
        return None


class LabelContainersMessage(msgspec.Struct, frozen=True):
    """Plumbline's own message on the ground-truth queue: copy a monitor's small label objects into containers."""

    label_containers_of: str


def label_containers(body: str) -> str | None:
    """The monitor of a label containers message; None for any other message."""
    try:
        return msgspec.json.decode(body, type=LabelContainersMessage).label_containers_of
    except (ValueError, RecursionError):
        return None


def object_created(body: str) -> ObjectCreated:
    detail, time = _detail(body, "an S3 Object Created event")
    try:
        thing = detail["object"]
        bucket, key, etag = _text(detail["bucket"]["name"]), _text(thing["key"]), _text(thing["etag"])
        return ObjectCreated(bucket, key, etag, int(thing.get("size", 0)), time)
    except (KeyError, TypeError, ValueError) as error:
        raise _unlike("an S3 Object Created event", error) from None


def job_changed(body: str) -> JobChanged:
    detail, _ = _detail(body, "a Processing Job State Change event")
    return JobChanged(*_fields(detail, "ProcessingJobName", "ProcessingJobStatus"))


def execution_changed(body: str) -> ExecutionChanged:
    detail, _ = _detail(body, "a Pipeline Execution Status Change event")
    return ExecutionChanged(*_fields(detail, "pipelineExecutionArn", "currentPipelineExecutionStatus"))


def package_changed(body: str) -> PackageChanged:
    detail, _ = _detail(body, "a Model Package State Change event")
    arn, approval = _fields(detail, "ModelPackageArn", "ModelApprovalStatus")
    return PackageChanged(arn, approval)


def endpoint_changed(body: str) -> EndpointChanged:
    detail, time = _detail(body, "an Endpoint State Change event")
    name, status, config = _fields(detail, "EndpointName", "EndpointStatus", "EndpointConfigName")
    return EndpointChanged(name, status, config, time)


def alarm_changed(body: str) -> AlarmChanged:
    detail, _ = _detail(body, "a CloudWatch Alarm State Change event")
    try:
        state = detail["state"]
        return AlarmChanged(_text(detail["alarmName"]), _text(state["value"]), _time(state["timestamp"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _unlike("a CloudWatch Alarm State Change event", error) from None


def notification(body: str) -> bytes:
    """The Message inside an SNS envelope."""
    try:
        return _text(msgspec.json.decode(body)["Message"]).encode()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unlike("an SNS notification", error) from None


def delivery_body(message: bytes, route: str) -> bytes:
    """An alert for one receiver alone: an envelope that also holds the digest of its route."""
    return msgspec.json.encode({"Message": message.decode(), "Route": route})


def delivery_route(body: str) -> str:
    """The digest of the route in what `delivery_body` wrote; "" in SNS's own envelope."""
    try:
        return _text(msgspec.json.decode(body).get("Route", ""))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise _unlike("an SNS notification", error) from None


def subject(body: str) -> dict[str, str]:
    """What a log may say of a message: the monitor, window and claim that it names where it is one of ours."""
    try:
        document = msgspec.json.decode(body)
        if isinstance(document, dict) and isinstance(message := document.get("Message"), str):
            document = msgspec.json.decode(message)
    except UNDECODABLE:
        return {}
    if not isinstance(document, dict):
        return {}
    names = ("monitor", "window", "claim_id")
    return {name: value for name in names if isinstance(value := document.get(name), str) and 0 < len(value) <= 256}


def window_message(body: str) -> WindowMessage:
    return _own(body, WindowMessage)


def clock_message(body: str) -> ClockMessage:
    """A tick is a tick, whatever its message says: what is none of ours stands for all monitors."""
    try:
        found = _own(body, ClockMessage)
    except UnreadableError:
        return ClockMessage()
    return found if 0 <= found.part < found.of else ClockMessage()


def claim_message(body: str) -> ClaimMessage:
    return _own(body, ClaimMessage)


def object_created_body(bucket: str, key: str, etag: str, size: int, time: datetime) -> bytes:
    """S3's event, for a sweep to put on the queue when the real one was lost."""
    detail = {"version": "0", "bucket": {"name": bucket}, "object": {"key": key, "size": size, "etag": etag}}
    return _event("Object Created", "aws.s3", time, detail)


def execution_changed_body(arn: str, status: str, time: datetime) -> bytes:
    """SageMaker's event for the end of a pipeline execution."""
    detail = {"pipelineExecutionArn": arn, "currentPipelineExecutionStatus": status}
    return _event("SageMaker Model Building Pipeline Execution Status Change", "aws.sagemaker", time, detail)


def package_changed_body(arn: str, approval_status: str, time: datetime) -> bytes:
    """SageMaker's event for the approval or rejection of a model package."""
    detail = {"ModelPackageArn": arn, "ModelApprovalStatus": approval_status}
    return _event("SageMaker Model Package State Change", "aws.sagemaker", time, detail)


def endpoint_changed_body(name: str, config_name: str, time: datetime) -> bytes:
    """SageMaker's event for an endpoint that came into service."""
    detail = {"EndpointName": name, "EndpointStatus": "IN_SERVICE", "EndpointConfigName": config_name}
    return _event("SageMaker Endpoint State Change", "aws.sagemaker", time, detail)


def _event(detail_type: str, source: str, time: datetime, detail: dict[str, Any]) -> bytes:
    stamp = iso(time)
    return msgspec.json.encode(
        {"version": "0", "detail-type": detail_type, "source": source, "time": stamp, "detail": detail}
    )


def _own(body: str, kind: type[M]) -> M:
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise _unlike(f"a {kind.__name__}", error) from None


def _detail(body: str, expected: str) -> tuple[dict[str, Any], datetime]:
    try:
        event = msgspec.json.decode(body)
        detail = event["detail"]
        if not isinstance(detail, dict):
            raise TypeError("detail is not an object")
        return detail, _time(event["time"])
    # Bodies nested beyond Python's stack are hostile, and will be so again.
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unlike(expected, error) from None


def _fields(detail: dict[str, Any], *names: str) -> list[str]:
    missing = [name for name in names if not isinstance(detail.get(name), str)]
    if missing:
        raise UnreadableError("event", f"expected the text fields {', '.join(missing)} in detail")
    return [detail[name] for name in names]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _time(value: object) -> datetime:
    """ISO-8601 with Z, +00:00 or +0000, or epoch milliseconds as text: AWS's samples have all of them."""
    if not isinstance(value, str | int):
        raise TypeError("not a time")
    text = str(value)
    try:
        if text.isdigit():
            return plausible(datetime.fromtimestamp(int(text) / 1000, UTC))
        moment = datetime.fromisoformat(text)
        return plausible(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (OverflowError, OSError):
        raise ValueError("a time beyond the calendar") from None


def _unlike(expected: str, error: Exception) -> UnreadableError:
    # The class and the missing name only: a message's content may be payload.
    hint = f" (missing {error.args[0]})" if isinstance(error, KeyError) else f" ({type(error).__name__})"
    return UnreadableError("message", f"expected {expected}{hint}")
