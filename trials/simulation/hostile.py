"""The hostile account: services that fail before or after a call took effect, and let others in between.

Wraps the fakes of emulator/memory, which the contract suite holds to AWS. Knows calls, kinds of calls and faults; not
what any handler does and what must hold. Every fault is drawn by the name of the delivery that it strikes, so
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
from emulator.memory import MemoryLedger, MemoryObjectStore, MemorySageMaker, ServiceError

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
        *(
            "decisions",
            "retrain-claims",
            "promotion-claims",
            "put CLAIM",
            "quarantine",
            "delete",
            "ground-truth",
            "labels",
        ),
    ),
    "windows_due": (
        *("put CLAIM", "pipelines", "retrain-claims", "promotion-claims", "model-packages", "queues.send endpoints"),
        *("describe", "OUTCOME", "CURSOR"),
    ),
}

# Calls that are made seldom, by the scene (history.py) in which they come up, with weights by which all of them are
# struck about as often. A history of the scene aims at four of them, or at fewer where some are of the same handler.
AIMS: dict[str, dict[str, dict[str, int]]] = {
    "broken": {
        "capture_landed": {
            **{"ledger.get INCIDENT": 92, "ledger.get PAUSE": 150, "ledger.put INCIDENT": 140},
            **{"ledger.query MONITOR": 35, "objects.get baseline": 57, "objects.put_if_absent quarantine": 240},
            **{"topic.publish": 58},
        },
    },
    "jobs": {
        "execution_finished": {
            **{"ledger.get PAUSE": 110, "ledger.put EXECUTION": 75, "ledger.put INCIDENT": 59},
            **{"ledger.query MONITOR": 38, "objects.get definitions": 48, "objects.get model-monitor": 80},
            **{"topic.publish": 111},
        },
        "ground_truth_posted": {"ledger.get MONITORS": 74, "ledger.query INDEX": 42, "objects.get definitions": 130},
        "window_due": {"objects.get labels": 400},
    },
    "approval": {
        "alarm_changed": {"ledger.get DUE": 300, "ledger.query INDEX": 60},
        "model_package_changed": {
            **{"ledger.get CHAMPION": 170, "ledger.get CLAIM#PROMOTION": 450, "ledger.get CLAIM#RETRAIN": 35},
            **{"ledger.get MONITORS": 61, "ledger.put CLAIM#PROMOTION": 850, "ledger.put CLAIM#RETRAIN": 200},
            **{"ledger.put OUTCOME": 486, "objects.get definitions": 928, "queues.send promotion-claims": 850},
            **{"sagemaker.describe_model_package": 170, "topic.publish": 556},
        },
        "pipeline_finished": {"ledger.put CLAIM#RETRAIN": 35, "ledger.put PACKAGE": 51},
        "windows_due": {"queues.send model-packages": 168},
    },
    "promotion": {
        "pipeline_finished": {"ledger.put CLAIM#PROMOTION": 35},
        "promotion_claimed": {
            **{"ledger.get CLAIM#RETRAIN": 43, "ledger.get DUE": 35, "ledger.get MONITORS": 35},
            **{"ledger.get PAUSE": 35, "ledger.put CHAMPION": 164, "ledger.put CLAIM#PROMOTION": 60},
            **{"ledger.put CLAIM#RETRAIN": 220, "ledger.put DUE": 72, "ledger.put ENDPOINT": 35},
            **{"ledger.put LOSS": 70, "ledger.put OUTCOME": 35, "ledger.query MONITOR": 80},
            **{"objects.put baselines": 70, "sagemaker.describe_endpoint_config": 90},
            **{"sagemaker.ensure_endpoint": 233, "sagemaker.set_approval": 140, "scorer.invoke": 46},
            **{"topic.publish": 49},
        },
        "window_due": {"ledger.put DECISION": 200},
        "windows_due": {
            **{"ledger.put CLAIM#PROMOTION": 48, "queues.send endpoints": 200, "queues.send pipelines": 138},
            **{"queues.send promotion-claims": 93},
        },
    },
    "return": {
        "promotion_claimed": {"sagemaker.update_endpoint": 289},
        "window_due": {
            **{"ledger.get CLAIM#PROMOTION": 35, "ledger.get LOSS": 35, "ledger.put CLAIM#PROMOTION": 747},
            **{"ledger.put DUE": 35, "queues.send promotion-claims": 314},
        },
    },
    "claims": {
        "ground_truth_landed": {"ledger.get DUE": 35},
        "pipeline_finished": {"ledger.put OUTCOME": 250, "objects.get retraining": 250, "topic.publish": 60},
        "retrain_claimed": {"ledger.get PAUSE": 39, "ledger.put CLAIM#RETRAIN": 43, "objects.get definitions": 46},
        "window_due": {
            **{"ledger.get DECISION": 35, "ledger.get PAUSE": 35, "ledger.get TRIGGER": 90},
            **{"ledger.put CLAIM#RETRAIN": 168, "ledger.put TRIGGER": 210, "objects.get retraining": 75},
            **{"objects.put_if_absent retraining": 158, "queues.send retrain-claims": 350, "topic.publish": 35},
        },
        "windows_due": {"ledger.get DUE": 35, "queues.send retrain-claims": 140},
    },
    "anew": {
        "window_due": {
            **{"ledger.get REBUILD": 35, "ledger.put REBUILD": 59, "objects.delete merge": 35},
            **{"objects.put ids": 82, "objects.put revisions": 88, "objects.put segments": 37},
        },
    },
    "day": {
        "ground_truth_landed": {
            **{"objects.delete ids": 107, "objects.get filter-checks": 35, "objects.get filters": 35},
            **{"objects.put_if_absent filter-checks": 58, "objects.put_if_absent filters": 60},
        },
    },
    "late": {
        "ground_truth_landed": {
            **{"ledger.delete AWAITING": 60, "ledger.delete UNMATCHED": 70, "ledger.get LABEL_BATCH": 35},
            **{"ledger.put LABEL_BATCH": 35, "ledger.put LATE": 35},
        },
        "window_due": {
            **{"ledger.get AWAITING": 77, "ledger.get UNMATCHED": 47, "ledger.put AWAITING": 191},
            **{"ledger.put EVALUATION": 35, "ledger.put LOSS": 300, "ledger.put UNMATCHED": 38},
            **{"ledger.query LATE": 35, "objects.list merge": 35},
        },
        "windows_due": {"ledger.get LABEL_BATCH": 35, "ledger.put LABEL_CONTAINERS": 266},
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
