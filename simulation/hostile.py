"""The hostile account: services that fail before or after a call took effect, and let others in between.

Wraps the fakes of tests/fakes, which the contract suite holds to AWS. Knows calls, kinds of calls and faults; refuses
to know what any handler does and what must hold. Every fault is drawn by the name of the delivery that it strikes, so
that leaving one out moves no other.
"""

from __future__ import annotations

import bisect
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chalicelib import ports
from chalicelib.errors import NotFoundError, PlumblineError
from chalicelib.ports import Endpoint, Item, ObjectSummary
from tests.fakes import MemoryLedger, MemoryObjectStore, MemorySageMaker, ServiceError

# Objects on a page of a listing, items on a page of a query.
PAGE = 2

PROTOCOLS = {
    "objects": ports.ObjectStore,
    "ledger": ports.Ledger,
    "queues": ports.Queues,
    "sagemaker": ports.SageMaker,
    "scorer": ports.Scorer,
    "metrics": ports.Metrics,
    "topic": ports.Topic,
    "courier": ports.Courier,
    "secrets": ports.Secrets,
}

# One call in so many is struck, in a delivery that is to be disturbed: reads are many, effects are few and dear.
RARITY = {"objects": 16, "ledger": 16, "queues": 4, "sagemaker": 5, "scorer": 6, "metrics": 8, "topic": 4, "courier": 2}
READS = {"get": 40, "list": 16, "query": 24}

# What seldom happens: a disturbance that is picky strikes one call in three of these, and no other.
RARE = {
    "alarm_changed": ("DUE", "TRIGGER", "MONITOR", "ALARM"),
    "alert_published": ("MONITORS", "ALERT"),
    "capture_landed": ("INCIDENT", "MONITOR", "topic", "quarantine", "baselines"),
    "endpoint_changed": ("DUE", "describe_endpoint", "ENDPOINT"),
    "execution_finished": ("MONITORS", "MONITOR", "INCIDENT", "EXECUTION", "model-monitor", "topic", "INDEX"),
    "ground_truth_landed": ("quarantine",),
    "ground_truth_posted": ("WEBHOOK", "put_if_absent"),
    "model_package_changed": ("CLAIM", "CHAMPION", "MONITORS", "topic", "describe", "queues", "OUTCOME"),
    "pipeline_finished": ("CLAIM#PROMOTION", "PACKAGE", "retraining", "topic", "OUTCOME", "queues", "MONITORS"),
    "promotion_claimed": (
        *(
            "merge",
            "baselines",
            "LOSS",
            "scorer",
            "retraining",
            "update_endpoint",
            "set_approval",
            "describe_endpoint_",
        ),
        *(
            "ensure_endpoint",
            "CHAMPION",
            "DUE",
            "ENDPOINT",
            "INDEX",
            "OUTCOME",
            "topic",
            "CLAIM#RETRAIN",
            "query MONITOR",
        ),
        *("put CLAIM#PROMOTION", "delete_endpoint"),
    ),
    "retrain_claimed": ("MONITORS", "topic", "OUTCOME", "put CLAIM", "start_pipeline"),
    "window_due": (
        *("LOSS", "TRIGGER", "topic", "scorer", "retraining", "INCIDENT", "delete DUE", "list merge", "delete merge"),
        *("decisions", "retrain-claims", "promotion-claims", "put CLAIM", "quarantine", "delete", "ground-truth"),
    ),
    "windows_due": (
        *("put CLAIM", "pipelines", "retrain-claims", "promotion-claims", "model-packages", "queues.send endpoints"),
        *("describe", "OUTCOME", "CURSOR"),
    ),
}

# Calls that are made seldom, by the scene (history.py) in which they come up, with weights by which all of them are
# struck about as often. A history of the scene aims at two of them, or at one where both are of the same handler.
AIMS: dict[str, dict[str, dict[str, int]]] = {
    "broken": {
        "capture_landed": {
            **{"ledger.get INCIDENT": 2, "ledger.get PAUSE": 9, "ledger.put INCIDENT": 12, "ledger.query MONITOR": 2},
            **{"objects.get baseline": 2, "objects.get captures": 2, "objects.put_if_absent quarantine": 2},
            **{"topic.publish": 3},
        },
    },
    "jobs": {
        "execution_finished": {
            **{"ledger.get PAUSE": 16, "ledger.put EXECUTION": 4, "ledger.put INCIDENT": 5},
            **{"ledger.query MONITOR": 14, "objects.get definitions": 3, "objects.get model-monitor": 2},
            **{"topic.publish": 7, "sagemaker.describe_processing_job": 4},
        },
        "ground_truth_posted": {"ledger.get MONITORS": 7, "ledger.query INDEX": 2, "objects.get definitions": 24},
    },
    "approval": {
        "model_package_changed": {
            **{"ledger.get CHAMPION": 18, "ledger.get CLAIM#PROMOTION": 73, "ledger.get MONITORS": 4},
            **{"ledger.put CLAIM#PROMOTION": 47, "ledger.put CLAIM#RETRAIN": 15, "ledger.put OUTCOME": 12},
            **{"objects.get definitions": 11, "queues.send promotion-claims": 70},
            **{"sagemaker.describe_model_package": 5, "topic.publish": 12, "ledger.get CLAIM#RETRAIN": 6},
        },
        "pipeline_finished": {"ledger.put PACKAGE": 2, "ledger.put CLAIM#RETRAIN": 5},
        "windows_due": {"queues.send model-packages": 7, "sagemaker.describe_model_package": 2},
    },
    "promotion": {
        "capture_landed": {"objects.get baselines": 2},
        "pipeline_finished": {
            **{"ledger.get CHAMPION": 2, "ledger.put CLAIM#PROMOTION": 10, "ledger.put OUTCOME": 4},
            **{"ledger.put PACKAGE": 2, "objects.get definitions": 2, "objects.get retraining": 21},
            **{"topic.publish": 5},
        },
        "promotion_claimed": {
            **{"ledger.get CLAIM#RETRAIN": 5, "ledger.get DUE": 9, "ledger.get MONITORS": 2, "ledger.get PAUSE": 2},
            **{"ledger.put CHAMPION": 3, "ledger.put CLAIM#PROMOTION": 5, "ledger.put CLAIM#RETRAIN": 20},
            **{"ledger.put DUE": 4, "ledger.put ENDPOINT": 2, "ledger.put INDEX": 2, "ledger.put LOSS": 3},
            **{"ledger.put OUTCOME": 2, "ledger.query MONITOR": 6, "objects.put baselines": 24},
            **{"sagemaker.describe_endpoint_config": 4, "sagemaker.ensure_endpoint": 2, "sagemaker.ensure_model": 2},
            **{"sagemaker.update_endpoint": 5, "scorer.invoke": 2, "topic.publish": 4},
        },
        "windows_due": {
            **{"ledger.put CLAIM#PROMOTION": 7, "ledger.put CLAIM#RETRAIN": 2, "queues.send endpoints": 20},
            **{"queues.send pipelines": 2, "queues.send promotion-claims": 6, "sagemaker.describe_execution": 2},
        },
    },
    "return": {
        "promotion_claimed": {"ledger.put CHAMPION": 3, "sagemaker.update_endpoint": 7},
        "window_due": {
            **{"ledger.get CLAIM#PROMOTION": 2, "ledger.get LOSS": 4, "ledger.put CLAIM#PROMOTION": 22},
            **{"ledger.put DUE": 2, "ledger.put LOSS": 2, "queues.send promotion-claims": 18, "scorer.invoke": 2},
        },
    },
    "claims": {
        "ground_truth_landed": {"ledger.get DUE": 2},
        "retrain_claimed": {
            **{"ledger.get PAUSE": 2, "ledger.put CLAIM#RETRAIN": 6, "objects.get definitions": 4},
            **{"topic.publish": 2},
        },
        "window_due": {
            **{"ledger.get CLAIM#RETRAIN": 2, "ledger.get DECISION": 2, "ledger.get PAUSE": 2},
            **{"ledger.get TRIGGER": 4, "ledger.put CLAIM#RETRAIN": 10, "ledger.put DECISION": 2},
            **{"ledger.put TRIGGER": 27, "objects.get retraining": 4, "objects.put_if_absent retraining": 2},
            **{"queues.send retrain-claims": 9, "topic.publish": 3},
        },
        "windows_due": {"ledger.get CHAMPION": 2, "ledger.get DUE": 2, "queues.send retrain-claims": 9},
    },
    "anew": {
        "window_due": {
            **{"ledger.get REBUILD": 2, "ledger.put REBUILD": 3, "objects.delete merge": 3, "objects.put ids": 3},
            **{"objects.put revisions": 2, "objects.put segments": 3},
        },
    },
    "day": {
        "ground_truth_landed": {
            **{"objects.delete ids": 5, "objects.get filter-checks": 4, "objects.get filters": 4},
            **{"objects.get ids": 4, "objects.list filters": 4, "objects.list ids": 4},
            **{"objects.put_if_absent filter-checks": 4, "objects.put_if_absent filters": 4},
        },
    },
    "late": {
        "ground_truth_landed": {
            **{"ledger.delete AWAITING": 2, "ledger.delete UNMATCHED": 2, "ledger.get AWAITING": 2},
            **{"ledger.get LABEL_BATCH": 2, "ledger.get UNMATCHED": 2, "ledger.put LABEL_BATCH": 2},
            **{"ledger.put LATE": 2, "ledger.put LABELS": 4},
        },
        "window_due": {
            **{"ledger.get AWAITING": 4, "ledger.get UNMATCHED": 4, "ledger.put AWAITING": 15},
            **{"ledger.put REVISION": 2, "ledger.put UNMATCHED": 3, "ledger.query LATE": 2, "metrics.put": 2},
            **{"objects.list merge": 6, "ledger.put EVALUATION": 5},
        },
        "windows_due": {"ledger.get LABEL_BATCH": 2, "ledger.put LABEL_BATCH": 2},
    },
}

FOCUS = {
    scene: {(function, kind): weight for function, kinds in aims.items() for kind, weight in kinds.items()}
    for scene, aims in AIMS.items()
}

# Documents that are written when something rare happens.
SELDOM = ("CLAIM", "CHAMPION", "OUTCOME", "PACKAGE", "DECISION", "LOSS", "TRIGGER", "INCIDENT", "EXECUTION", "CURSOR")
SELDOM += ("retraining", "decisions", "baselines", "quarantine", "merge", "revisions", "segments", "definitions", "ids")
SELDOM += ("filters", "filter-checks")

BEFORE, AFTER, BETWEEN = "before", "after", "interleaved"


class Crash(BaseException):
    """The process is gone: no `except Exception` of a handler sees it."""


@dataclass
class Disturbance:
    """What shall happen to one delivery: at most one call of it is struck, in one of three ways."""

    id: str
    salt: int
    way: str  # BEFORE | AFTER | BETWEEN
    crash: bool
    company: str  # with BETWEEN: twin | next | stall
    stall: timedelta
    function: str = ""
    picky: bool = False
    focus: str = ""
    struck: str = ""
    met: set[str] = field(default_factory=set)
    calls: int = 0

    def strikes(self, port: str, method: str, args: Sequence[Any]) -> bool:
        """Whether this call is the one."""
        if self.struck:
            return False
        self.calls += 1
        kind = kind_of(port, method, args)
        self.met.add(kind)
        if self.focus:
            return kind == self.focus
        if self.picky or kind.endswith(" definitions"):
            rare = kind.endswith(" definitions") or any(word in kind for word in RARE[self.function])
            return rare and zlib.crc32(f"{self.salt}{kind}{self.calls}".encode()) % 3 == 0
        rarity = RARITY.get(port, 8)
        if port in ("objects", "ledger"):
            rarity = READS.get(method, rarity)
        if kind.partition(" ")[2].startswith(SELDOM):
            rarity = 4
        return zlib.crc32(f"{self.salt}{kind}{self.calls}".encode()) % rarity == 0


def kind_of(port: str, method: str, args: Sequence[Any]) -> str:
    """A call by what it touches: "ledger.put CLAIM#RETRAIN", "objects.get segments", "queues.send windows"."""
    if port == "ledger":
        pk = str(args[0]).partition("#")[0]
        what = pk
        if pk == "MONITOR" and len(args) > 1 and method != "query":
            sk = str(args[1])
            what = sk if sk.startswith("CLAIM") else sk.partition("#")[0]
        return f"{port}.{method} {what}"
    if port == "objects":
        parts = str(args[1]).split("/")
        if parts[0] == "plumbline":
            what = parts[3]
        elif parts[0] == "reports":
            what = "merge" if parts[1] == "merge" else "reports"
        else:
            what = parts[0]
        return f"{port}.{method} {what}"
    if port == "queues":
        return f"{port}.{method} {args[0]}"
    return f"{port}.{method}"


class Guard:
    """A service as handlers see it: each call may be struck."""

    def __init__(
        self, name: str, service: Any, meet: Callable[[str, str, Any], Disturbance | None], world: Any
    ) -> None:
        for method in vars(PROTOCOLS[name]):
            if not method.startswith("_"):
                setattr(self, method, _guarded(name, method, getattr(service, method), meet, world))


def _guarded(port: str, method: str, call: Any, meet: Any, world: Any) -> Callable[..., Any]:
    paged = {"objects.list": _list_in_pages, "ledger.query": _query_in_pages}.get(f"{port}.{method}")

    def guarded(*args: Any, **kwargs: Any) -> Any:
        met = meet(port, method, args)
        if met is None:
            return call(*args, **kwargs)
        kind = kind_of(port, method, args)
        failure: BaseException = Crash() if met.crash else ServiceError("ThrottlingException", "slow down")
        if met.way == BEFORE:
            world.note_fault(met, kind, BEFORE)
            raise failure
        if met.way == BETWEEN:
            if paged and met.salt % 2:
                return paged(call, lambda: world.let_in(met, kind), args, kwargs)
            world.let_in(met, kind)
            return call(*args, **kwargs)
        if port == "queues" and len(args[1]) > 1 and met.salt % 2:
            args = (args[0], args[1][: len(args[1]) // 2])  # the second batch was not accepted
        with suppress(PlumblineError):  # whether it worked or not, nobody hears of it
            answer = call(*args, **kwargs)
            if isinstance(answer, Iterator):
                list(answer)
        world.note_fault(met, kind, AFTER)
        raise failure

    return guarded


def _list_in_pages(call: Any, let_in: Callable[[], None], args: Any, kwargs: Any) -> Iterator[ObjectSummary]:
    """A page, then others write, then the pages after the last key as they are then."""
    page = list(call(*args, **kwargs))[:PAGE]
    let_in()
    last = page[-1].key if page else ""
    return iter([*page, *(each for each in call(*args, **kwargs) if each.key > last)])


def _query_in_pages(call: Any, let_in: Callable[[], None], args: Any, kwargs: Any) -> list[Item]:
    page = call(*args, **kwargs)[:PAGE]
    let_in()
    rest = call(*args, **kwargs)
    if page:
        last, newest_first = page[-1].sk, kwargs.get("newest_first", False)
        rest = [*page, *(item for item in rest if (item.sk < last if newest_first else item.sk > last))]
    limit = kwargs.get("limit")
    return rest if limit is None else rest[:limit]


class Objects(MemoryObjectStore):
    """S3 that tells of every object that is written, and whose listings need no walk over all keys."""

    def __init__(self, now: Callable[[], datetime], written: Callable[[str, str], None]) -> None:
        super().__init__(now)
        self._written = written
        self._sorted: dict[str, list[str]] = {}

    def put(self, bucket: str, key: str, body: bytes, **how: Any) -> str:
        if (bucket, key) not in self.objects:
            bisect.insort(self._sorted.setdefault(bucket, []), key)
        etag = super().put(bucket, key, body, **how)
        self._written(bucket, key)
        return etag

    def delete(self, bucket: str, key: str) -> None:
        if (bucket, key) in self.objects:
            keys = self._sorted[bucket]
            del keys[bisect.bisect_left(keys, key)]
        super().delete(bucket, key)

    def keys(self, bucket: str, prefix: str = "") -> tuple[str, ...]:
        keys = self._sorted.get(bucket, [])
        first = bisect.bisect_left(keys, prefix)
        last = first
        while last < len(keys) and keys[last].startswith(prefix):
            last += 1
        return tuple(keys[first:last])


class Table(MemoryLedger):
    """The table by partition; `written` sees every item that is stored."""

    def __init__(self, now: Callable[[], datetime], written: Callable[[str, str, bytes], None]) -> None:
        super().__init__(now)
        self._written = written
        self._sorted: dict[str, list[str]] = {}

    def put(self, pk: str, sk: str, body: bytes, *, expected: str | None, expires_at: datetime | None = None) -> str:
        new = (pk, sk) not in self.items
        revision = super().put(pk, sk, body, expected=expected, expires_at=expires_at)
        if new:
            bisect.insort(self._sorted.setdefault(pk, []), sk)
        self._written(pk, sk, body)
        return revision

    def delete(self, pk: str, sk: str, *, expected: str) -> None:
        super().delete(pk, sk, expected=expected)
        self._forget(pk, sk)

    def query(
        self,
        pk: str,
        *,
        begins_with: str = "",
        since: str | None = None,
        until: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[Item]:
        keys = self._sorted.get(pk, [])
        low = begins_with if since is None else max(begins_with, since)
        found = []
        for sk in keys[bisect.bisect_left(keys, low) :]:
            if not sk.startswith(begins_with) or (until is not None and sk >= until):
                break
            found.append(self.items[pk, sk][0])
        if newest_first:
            found.reverse()
        return found if limit is None else found[:limit]

    def reap(self) -> None:
        known = list(self.items)
        super().reap()
        for pk, sk in known:
            if (pk, sk) not in self.items:
                self._forget(pk, sk)

    def _forget(self, pk: str, sk: str) -> None:
        keys = self._sorted[pk]
        del keys[bisect.bisect_left(keys, sk)]


class SageMaker(MemorySageMaker):
    """SageMaker whose deployments and executions take their time and may fail; the world decides when and how."""

    def __init__(self, now: Callable[[], datetime], world: Any) -> None:
        super().__init__(now)
        self._world = world

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        return self._endpoints

    def describe_endpoint(self, name: str) -> Endpoint:
        if name not in self._endpoints:
            raise NotFoundError(f"endpoint {name}: not found")
        return self._endpoints[name]

    def start_pipeline(self, request: Mapping[str, Any]) -> str:
        known = len(self.executions)
        arn = super().start_pipeline(request)
        if len(self.executions) > known:
            self._world.execution_started(arn)
        return arn

    def set_approval(self, arn: str, status: str, description: str) -> None:
        super().set_approval(arn, status, description)
        self._world.package_event(arn, status)

    def update_endpoint(self, name: str, config_name: str) -> None:
        super().update_endpoint(name, config_name)
        self._world.endpoint_updates.append((name, config_name))

    def settle(self, name: str, status: str, config_name: str) -> None:
        """The endpoint's transition is over."""
        self._endpoints[name] = Endpoint(name, config_name, status, self._now())

    def _deploy(self, name: str, config_name: str, status: str) -> None:
        previous = self._endpoints.get(name)
        super()._deploy(name, config_name, status)
        self._world.deploying(self._endpoints[name], previous)
