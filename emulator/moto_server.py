"""moto behind one small HTTP/1.1 server: the process with the emulator's S3, SQS, DynamoDB and other services.

Run as `python -m emulator.moto_server`: binds a free loopback port, prints it as the first line of stdout, serves until
its stdin is closed (so it never outlives the process that started it).

moto decides what AWS answers; this file only makes it fast. One thread, one selector, keep-alive: moto's state needs no
locks, and a request costs a third of what it costs through moto's own development server. Long polling
(WaitTimeSeconds) would block every other request, so the emulator does not use it. Not here: Plumbline.

Three JSON paths are not AWS's: POST /_stand-in/clock {"now": epoch seconds} (S3's LastModified,
EventBridge's time and CloudWatch's two weeks follow it), GET /_stand-in/queues (visible messages of each queue that has
any) and POST /_stand-in/metric-data (the raw data points of exactly one metric, which GetMetricStatistics cannot give:
moto's periods start at the first point, and a query there also matches metrics with more dimensions).
"""

from __future__ import annotations

import bisect
import functools
import gc
import io
import json
import logging
import os
import re
import selectors
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

# Read by moto when it is imported. Objects stay in memory; one account.
os.environ.update(
    MOTO_S3_DEFAULT_KEY_BUFFER_SIZE=str(64 * 1024 * 1024), MOTO_DISABLE_GLOBAL_CORS="1", MOTO_ACCOUNT_ID="123456789012"
)

import moto.backends as moto_backends
import moto.core.serialize as moto_serialize
import moto.core.utils as moto_utils
from moto.cloudwatch.exceptions import InvalidParameterValue, ValidationError
from moto.cloudwatch.models import CloudWatchBackend, cloudwatch_backends
from moto.core.request import Request
from moto.core.responses import ActionResult
from moto.dynamodb.comparisons import OpDefault
from moto.dynamodb.models.dynamo_type import Item
from moto.dynamodb.models.table import Table
from moto.events.models import EventPattern
from moto.moto_api._internal.moto_random import MotoRandom
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeDeleteMarker, S3Backend
from moto.s3.responses import S3Response
from moto.s3.utils import _VersionedKeyStore
from moto.sqs.exceptions import ReceiptHandleIsInvalid
from moto.sqs.models import Message, Queue, sqs_backends
from werkzeug.exceptions import HTTPException

from emulator.alarms import INITIAL_REASON, refuse_alarm, refuse_old

ACCOUNT = "123456789012"
REGION = "us-east-1"
# Services whose requests skip moto's Flask layer. The name in a request's credential scope -> moto's backend.
DIRECT = {
    "s3": "s3",
    "sqs": "sqs",
    "dynamodb": "dynamodb",
    "events": "events",
    "sns": "sns",
    "monitoring": "cloudwatch",
    "ssm": "ssm",
    "secretsmanager": "secretsmanager",
}

Answer = tuple[int, Mapping[str, Any], bytes]
Route = tuple[re.Pattern[str], Callable[..., Any]]


class _Clock:
    """The emulator's time; the wall clock's until it is set."""

    epoch: float | None = None


def _epoch() -> float:
    return time.time() if _Clock.epoch is None else _Clock.epoch


def _logical_utcnow() -> datetime:
    return datetime.fromtimestamp(_epoch(), tz=UTC).replace(tzinfo=None)


# --- What moto does slowly, done quickly with the same result -------------------------------------------------------


def _replace_everywhere(old: object, new: object) -> None:
    """moto's modules import helpers by name: put `new` wherever `old` was imported."""
    for name, module in list(sys.modules.items()):
        if name.startswith("moto."):
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)


def _fast_unix_time(original: Callable[[datetime | None], float]) -> Callable[..., float]:
    def unix_time(dt: datetime | None = None) -> float:
        return time.time() if dt is None else original(dt)

    return unix_time


class _LazyAttributes(Mapping[str, Any]):
    """A queue's attributes, each computed when asked for: moto counts all messages to answer any one of them."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        names = list(queue.BASE_ATTRIBUTES)
        if queue.fifo_queue:
            names += queue.FIFO_ATTRIBUTES
        if getattr(queue, "kms_master_key_id", None):
            names += queue.KMS_ATTRIBUTES
        self._names = names

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        value = getattr(self._queue, moto_utils.camelcase_to_underscores(name))
        if isinstance(value, bool):
            return str(value).lower()
        return json.dumps(value) if name == "RedrivePolicy" and value else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


_received: dict[str, Message] = {}  # receipt handle -> message, so that a delete need not search the queue


def _mark_received(original: Callable[..., None]) -> Callable[..., None]:
    def mark_received(self: Message, visibility_timeout: int | None = None) -> None:
        original(self, visibility_timeout)
        _received[str(self.receipt_handle)] = self

    return mark_received


def _delete_message(self: Queue, receipt_handle: str) -> None:
    if receipt_handle in self.deleted_messages:
        return
    message = _received.get(receipt_handle)
    try:
        self._messages.remove(message)  # type: ignore[arg-type]
    except ValueError:
        raise ReceiptHandleIsInvalid() from None
    assert message is not None
    self.pending_messages.discard(message)
    for handle in message.all_receipt_handles:
        if handle is not None:
            self.deleted_messages.add(handle)
            _received.pop(handle, None)


def _query(original: Callable[..., Any]) -> Callable[..., Any]:
    """Table.query over one partition instead of the whole table, for what a string sort key can answer alone."""
    compare: dict[str, Callable[..., bool]] = {
        "BEGINS_WITH": lambda key, a: key.startswith(a),
        "BETWEEN": lambda key, a, b: a <= key <= b,
        "=": lambda key, a: key == a,
        "<": lambda key, a: key < a,
        "<=": lambda key, a: key <= a,
        ">": lambda key, a: key > a,
        ">=": lambda key, a: key >= a,
    }

    def query(
        self: Table,
        hash_key: Any,
        range_comparison: str | None,
        range_objs: list[Any],
        limit: int,
        exclusive_start_key: dict[str, Any] | None,
        scan_index_forward: bool,
        projection_expressions: Any,
        index_name: str | None = None,
        consistent_read: bool = False,
        filter_expression: Any = None,
        hash_key_conditions: Any = None,
        range_key_conditions: Any = None,
        **filter_kwargs: Any,
    ) -> tuple[list[Item], int, dict[str, Any] | None]:
        operator = range_comparison.upper() if range_comparison else None
        partition = {} if index_name else self.items.get(hash_key, {})
        plain = (
            index_name is None
            and self.range_key_attr is not None
            and (operator is None or operator in compare)
            and (filter_expression is None or isinstance(filter_expression, OpDefault))
            and not projection_expressions
            and not filter_kwargs
            and all(key.type == "S" for key in partition)
            and all(value.type == "S" for value in range_objs)
        )
        if not plain:
            return original(  # type: ignore[no-any-return]
                self, hash_key, range_comparison, range_objs, limit, exclusive_start_key, scan_index_forward,
                projection_expressions, index_name, consistent_read, filter_expression, hash_key_conditions,
                range_key_conditions, **filter_kwargs,
            )  # fmt: skip
        values = [value.value for value in range_objs]
        items = list(partition.values())
        if operator is not None:
            items = [item for item in items if compare[operator](item.range_key.value, *values)]
        items.sort(key=lambda item: item.range_key.value, reverse=scan_index_forward is False)
        if exclusive_start_key:
            start = exclusive_start_key[str(self.range_key_attr)]["S"]
            ahead = (lambda key: key < start) if scan_index_forward is False else (lambda key: key > start)
            items = [item for item in items if ahead(item.range_key.value)]  # type: ignore[no-untyped-call]
        results: list[Item] = []
        size = 0
        for item in items:
            size += item.size()
            if len(results) == limit or (results and size > 1024 * 1024):  # a page: the limit or a megabyte
                return results, len(results), self._get_last_evaluated_key(results[-1], None)
            results.append(item)
        return results, len(results), None

    return query


class _Names:
    """The sorted key names of a bucket, kept beside moto's store so that a listing need not read every key."""

    def __init__(self) -> None:
        self._of: dict[int, list[str]] = {}

    def of(self, store: _VersionedKeyStore) -> list[str]:
        names: list[str] | None = store.__dict__.get("sorted_names")
        if names is None or len(names) != len(store):
            names = store.__dict__["sorted_names"] = sorted(dict.keys(store))
        return names

    def wrap_set(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def set_item(store: _VersionedKeyStore, key: str, value: Any) -> Any:
            names = store.__dict__.get("sorted_names")
            if names is not None and key not in store:
                bisect.insort(names, key)
            return original(store, key, value)

        return set_item

    def wrap_pop(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def pop(store: _VersionedKeyStore, key: str) -> Any:
            store.__dict__.pop("sorted_names", None)
            return original(store, key)

        return pop


def _list_objects(
    original: Callable[..., Any], names_of: Callable[[_VersionedKeyStore], list[str]]
) -> Callable[..., Any]:
    def list_objects(
        self: S3Backend,
        bucket: Any,
        prefix: str | None,
        delimiter: str | None,
        marker: str | None,
        max_keys: int | None,
    ) -> Any:
        store = getattr(bucket, "keys", None)
        if marker or max_keys is not None or not isinstance(store, _VersionedKeyStore):
            return original(self, bucket, prefix, delimiter, marker, max_keys)
        start = prefix or ""
        names = names_of(store)
        found, folders = [], []
        at = bisect.bisect_left(names, start)
        while at < len(names) and names[at].startswith(start):
            name = names[at]
            cut = name.find(delimiter, len(start)) if delimiter else -1
            key = store[name]
            if isinstance(key, FakeDeleteMarker):
                at += 1
            elif cut >= 0:
                folder = name[: cut + len(str(delimiter))]
                folders.append(folder)
                at = bisect.bisect_left(names, folder + "\U0010ffff", at)
            else:
                found.append(key)
                at += 1
        return found, folders, False, None

    return list_objects


def _picker(original: Callable[..., Any]) -> Callable[..., Any]:
    """Reading a key from a plain dict needs none of moto's aliases when the key is there under its own name."""
    candidates: dict[tuple[Any, ...], tuple[str, ...]] = {}

    def pick(self: Any, context: Any) -> Any:
        obj = context.obj
        if type(obj) is not dict or self.response_transformers:
            return original(self, context)
        if context.key in obj:
            return obj[context.key]
        shape = context.shape
        parent = getattr(shape, "parent", None)
        name: tuple[Any, ...] = (type(self), context.key, getattr(parent, "name", None))
        if shape is not None:
            name += (shape.name, shape.type_name, shape.serialization.get("name"))
        keys = candidates.get(name)
        if keys is None:
            keys = candidates[name] = tuple(self.get_possible_keys(context))
        for key in keys:
            if key in obj or "." in key:
                return original(self, context)
        return None

    return pick


def _xml(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"<{name}>{''.join(_xml(key, member) for key, member in value.items())}</{name}>"
    if isinstance(value, list):
        return "".join(_xml(name, member) for member in value)
    return f"<{name}>{str(value).lower() if isinstance(value, bool) else escape(str(value))}</{name}>"


def _serialized(original: Callable[..., Any]) -> Callable[..., Any]:
    """A listing's XML written as it is; moto walks the service model for every member of every key.

    And a bucket that tells EventBridge of its objects says so when it is asked, which moto forgets.
    """

    def serialized(self: S3Response, action_result: ActionResult) -> Any:
        listing = action_result.result
        if self.data.get("Action") == "GetBucketNotificationConfiguration" and isinstance(listing, dict):
            stored = self.backend.get_bucket_notification_configuration(self.bucket_name)
            if stored.event_bridge is not None:
                listing["EventBridgeConfiguration"] = {}
        if self.data.get("Action") != "ListObjectsV2" or not isinstance(listing, dict):
            return original(self, action_result)
        body = "".join(_xml(name, value) for name, value in listing.items())
        return (
            200,
            {"Content-Type": "application/xml"},
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{body}</ListBucketResult>',
        )

    return serialized


def _matches_event(original: Callable[..., bool]) -> Callable[..., bool]:
    def matches_event(self: EventPattern, event: Any) -> bool:
        sources = self.get_pattern().get("source") if self.get_pattern() else None
        if sources and all(isinstance(source, str) for source in sources) and event["source"] not in sources:
            return False
        return original(self, event)

    return matches_event


def _put_metric_data(original: Callable[..., None]) -> Callable[..., None]:
    """moto keeps any time; CloudWatch refuses what is older than two weeks or too far ahead."""

    def put_metric_data(self: CloudWatchBackend, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        if _Clock.epoch is not None:
            now = datetime.fromtimestamp(_Clock.epoch, tz=UTC)
            for datum in metric_data:
                if datum.get("Timestamp") is None:
                    datum["Timestamp"] = _logical_utcnow()
                problem = refuse_old(_utc(datum["Timestamp"]), now)
                if problem:
                    raise InvalidParameterValue(problem)
        original(self, namespace, metric_data)

    return put_metric_data


def _put_metric_alarm(original: Callable[..., Any]) -> Callable[..., Any]:
    """moto takes any alarm and lets it begin as OK; CloudWatch refuses some, and knows nothing of a new one."""

    def put_metric_alarm(self: CloudWatchBackend, **given: Any) -> Any:
        if not given.get("rule") and not given.get("metric_data_queries"):
            names = {
                "AlarmName": "name", "Namespace": "namespace", "MetricName": "metric_name", "Period": "period",
                "ComparisonOperator": "comparison_operator", "EvaluationPeriods": "evaluation_periods",
                "DatapointsToAlarm": "datapoints_to_alarm", "Threshold": "threshold", "Statistic": "statistic",
                "ExtendedStatistic": "extended_statistic", "TreatMissingData": "treat_missing_data",
                "Dimensions": "dimensions",
            }  # fmt: skip
            problem = refuse_alarm({name: given.get(ours) for name, ours in names.items()})
            if problem:
                raise ValidationError(problem)
        before = self.alarms.get(given["name"])
        alarm = original(self, **given)
        if before is None:
            alarm.state_value, alarm.state_reason = "INSUFFICIENT_DATA", INITIAL_REASON
        else:
            for attribute in ("value", "reason", "reason_data", "updated_timestamp"):
                setattr(alarm, f"state_{attribute}", getattr(before, f"state_{attribute}"))
        return alarm

    return put_metric_alarm


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def quicken() -> None:
    """Replace, in this process, the parts of moto that cost most; each gives moto's own answer."""
    for service in DIRECT:
        _routes(service)  # imports every module that is patched below
    unix_time = _fast_unix_time(moto_utils.unix_time)
    _replace_everywhere(moto_utils.unix_time, unix_time)
    _replace_everywhere(moto_utils.unix_time_millis, lambda dt=None: unix_time(dt) * 1000.0)
    for helper in (moto_utils.camelcase_to_underscores, moto_utils.method_names_from_class):
        _replace_everywhere(helper, functools.lru_cache(maxsize=4096)(helper))
    moto_serialize.AttributePicker.__call__ = _picker(moto_serialize.AttributePicker.__call__)  # type: ignore[method-assign]
    MotoRandom.get_random_string = (  # type: ignore[method-assign]
        lambda self, length=20, include_digits=True, lower_case=False: (
            (uuid.uuid4().hex * (length // 32 + 1))[:length]
            if include_digits
            else "".join(self.choices("abcdefghijklmnopqrstuvwxyz", k=length))
        )
    )
    sqs = sys.modules["moto.sqs.models"]
    sqs.generate_receipt_handle = lambda: uuid.uuid4().hex * 4  # type: ignore[attr-defined]
    Queue.attributes = property(_LazyAttributes)  # type: ignore[assignment,method-assign]
    Queue.delete_message = _delete_message  # type: ignore[method-assign]
    Message.mark_received = _mark_received(Message.mark_received)  # type: ignore[method-assign]
    Table.query = _query(Table.query)  # type: ignore[method-assign]
    names = _Names()
    _VersionedKeyStore.__setitem__ = names.wrap_set(_VersionedKeyStore.__setitem__)  # type: ignore[method-assign]
    _VersionedKeyStore.pop = names.wrap_pop(_VersionedKeyStore.pop)  # type: ignore[method-assign]
    S3Backend.list_objects = _list_objects(S3Backend.list_objects, names.of)  # type: ignore[method-assign]
    S3Response.serialized = _serialized(S3Response.serialized)  # type: ignore[method-assign]
    EventPattern.matches_event = _matches_event(EventPattern.matches_event)  # type: ignore[method-assign]
    CloudWatchBackend.put_metric_data = _put_metric_data(CloudWatchBackend.put_metric_data)  # type: ignore[method-assign]
    CloudWatchBackend.put_metric_alarm = _put_metric_alarm(CloudWatchBackend.put_metric_alarm)  # type: ignore[method-assign]
    # The times that a reader of S3 and CloudWatch sees are the emulator's.
    for models in ("moto.s3.models", "moto.cloudwatch.models"):
        vars(sys.modules[models])["utcnow"] = _logical_utcnow
    vars(sys.modules["moto.s3.notifications"])["unix_time"] = _epoch


# --- Requests --------------------------------------------------------------------------------------------------------


@functools.cache
def _routes(service: str) -> tuple[Route, ...]:
    regional = moto_backends.get_backend(DIRECT[service])[ACCOUNT]  # type: ignore[call-overload]
    backend = regional[REGION if REGION in regional else "aws"]
    return tuple((re.compile(path.replace("{0}", "")), handler) for path, handler in backend.url_paths.items())


_flask = DomainDispatcherApplication(create_backend_app)


def _environ(method: str, target: str, headers: Mapping[str, str], body: bytes, port: int) -> dict[str, Any]:
    path, _, query = target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1") if "%" in path else path,
        "RAW_URI": target,
        "REQUEST_URI": target,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    preserved = {}
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        if "_" in name and name.startswith("x-amz-meta-"):
            preserved[f"HTTP_{key}"] = name
    if preserved:
        environ["moto.preserved_header_names"] = preserved
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def _through_flask(environ: dict[str, Any]) -> Answer:
    head: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        head[:] = [int(status.split(" ", 1)[0]), dict(headers)]

    chunks = _flask(environ, start_response)
    body = b"".join(chunks)
    return head[0], head[1], body


def answer(method: str, target: str, headers: Mapping[str, str], body: bytes, port: int) -> Answer:
    """Answer one request: our own paths, moto's services directly, everything else through moto's Flask application."""
    if target.startswith("/_stand-in/"):
        return 200, {"Content-Type": "application/json"}, _own(target.removeprefix("/_stand-in/"), body)
    environ = _environ(method, target, headers, body, port)
    scope = headers.get("authorization", "").split("/", 4)
    service = scope[3] if len(scope) > 3 else ""
    if service in DIRECT:
        path = target.partition("?")[0]
        for pattern, handler in _routes(service):
            if pattern.match(path):
                request = Request(environ)
                try:
                    result = handler(request, request.raw_url, request.headers)
                except HTTPException as refused:
                    result = (refused.code, dict(refused.get_headers()), refused.get_body())
                status, answered, content = result if len(result) == 3 else (200, {}, result)
                return int(status), answered, content.encode() if isinstance(content, str) else bytes(content)
    return _through_flask(environ)


_metric_index: dict[tuple[Any, ...], list[Any]] = {}
_metrics_read = 0


def _metric_data(query: Mapping[str, Any]) -> list[list[Any]]:
    """Raw points [epoch, sum, minimum, maximum, sample count, unit] of one metric, in the order they came."""
    global _metrics_read
    data = cloudwatch_backends[ACCOUNT][REGION].metric_data
    for datum in data[_metrics_read:]:
        dimensions = tuple(sorted((dimension.name, dimension.value) for dimension in datum.dimensions))
        _metric_index.setdefault((datum.namespace, datum.name, dimensions), []).append(datum)
    _metrics_read = len(data)
    wanted = (query["namespace"], query["name"], tuple(sorted(query["dimensions"].items())))
    points = []
    for datum in reversed(_metric_index.get(wanted, [])):
        epoch = _utc(datum.timestamp).timestamp()
        if query["start"] <= epoch < query["end"]:
            single = getattr(datum, "value", None)
            figures = [datum.sum, datum.min, datum.max, datum.sample_count] if single is None else [single] * 3 + [1.0]
            points.append([epoch, *figures, datum.unit])
    return points[::-1]


def _own(path: str, body: bytes) -> bytes:
    result: Any
    if path == "clock":
        _Clock.epoch = float(json.loads(body)["now"])
        result = {}
    elif path == "queues":
        queues = sqs_backends[ACCOUNT][REGION].queues.values()
        result = {queue.name: len(queue.messages) for queue in queues if queue._messages}
    elif path == "metric-data":
        result = _metric_data(json.loads(body))
    else:
        raise LookupError(f"no path {path}")
    return json.dumps(result).encode()


# --- Connections -----------------------------------------------------------------------------------------------------


def _unchunk(buffer: bytes, start: int) -> tuple[bytes, int] | None:
    """The body of a chunked request and where it ends; None while it is incomplete."""
    body = bytearray()
    at = start
    while True:
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return None
        size = int(buffer[at:line].split(b";")[0], 16)
        at = line + 2
        if size == 0:
            end = buffer.find(b"\r\n", at)
            while end > at:  # trailers
                at = end + 2
                end = buffer.find(b"\r\n", at)
            return (bytes(body), end + 2) if end >= 0 else None
        if len(buffer) < at + size + 2:
            return None
        body += buffer[at : at + size]
        at += size + 2


class _Connection:
    def __init__(self, sock: socket.socket, port: int) -> None:
        self._sock = sock
        self._port = port
        self._buffer = bytearray()
        self._continued = False

    def feed(self, received: bytes) -> None:
        self._buffer += received
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        lines = self._buffer[:head_end].decode("latin-1").split("\r\n")
        method, target, _version = lines[0].split(" ")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        start = head_end + 4
        if headers.get("transfer-encoding", "").lower() == "chunked":
            unchunked = _unchunk(bytes(self._buffer), start)
            body, end = unchunked if unchunked else (b"", -1)
        else:
            end = start + int(headers.get("content-length", "0"))
            body = bytes(self._buffer[start:end]) if len(self._buffer) >= end else b""
            end = end if len(self._buffer) >= end else -1
        if end < 0:
            if "100-continue" in headers.get("expect", "").lower() and not self._continued:
                self._continued = True
                self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            return False
        del self._buffer[:end]
        self._continued = False
        try:
            status, answered, content = answer(method, target, headers, body, self._port)
        except Exception:
            traceback.print_exc()
            status, answered, content = 500, {}, b""
        length = len(content)
        out = [f"HTTP/1.1 {status} -"]
        for name, value in answered.items():
            lowered = name.lower()
            if lowered == "content-length":
                length = int(value) if method == "HEAD" else length
            elif lowered not in ("connection", "transfer-encoding"):
                out.append(f"{name}: {value}")
        bodiless = method == "HEAD" or status in (204, 304)
        if status not in (204, 304):
            out.append(f"Content-Length: {length}")
        head = "\r\n".join(out).encode("latin-1") + b"\r\n\r\n"
        self._sock.sendall(head if bodiless else head + content)
        return True


def serve(listener: socket.socket) -> None:
    """Serve every connection of `listener` in this thread, for ever."""
    port = int(listener.getsockname()[1])
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                sock, _address = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(30)  # a client that does not read its answer must not hold up the others
                selector.register(sock, selectors.EVENT_READ, _Connection(sock, port))
                continue
            client = key.fileobj
            assert isinstance(client, socket.socket)
            try:
                received = client.recv(1 << 20)
                if received:
                    key.data.feed(received)
            except (OSError, ValueError):  # gone, or not speaking HTTP
                received = b""
            if not received:
                selector.unregister(client)
                client.close()


def _end_with_parent() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def main() -> None:
    """Start the server; see the module's docstring."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    quicken()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # What is loaded by now stays: the collector need not walk it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    print(listener.getsockname()[1], flush=True)
    serve(listener)


if __name__ == "__main__":
    main()
