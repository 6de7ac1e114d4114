"""Plays one history: the account, the queues, the clock, users and models, around the handlers of `app.py`.

Knows how messages travel (at least once, late, shuffled, five receives, dead letters that are redriven) and what users
and AWS do; judges nothing (laws.py). Played calmly, everything is delivered once, in order and without a fault; played
with hostility, the same inputs come at the same times, and nothing else can be relied on.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

import trials.simulation.remembered  # noqa: F401  (puts what remembers in place)
from chalicelib.decisions.decide import Action
from chalicelib.definition import Definition
from chalicelib.errors import ConflictError, NotFoundError, PermanentError, PlumblineError
from chalicelib.events import WindowMessage, object_created_body
from chalicelib.facts import alarms, claims, decisions, evaluations, pauses
from chalicelib.facts.champions import Champion
from chalicelib.facts.claims import PromotionClaim, RetrainClaim
from chalicelib.handlers import (
    alarm_changed,
    alert_published,
    capture_landed,
    endpoint_changed,
    execution_finished,
    ground_truth_landed,
    ground_truth_posted,
    model_package_changed,
    pipeline_finished,
    promotion_claimed,
    retrain_claimed,
    window_due,
    windows_due,
)
from chalicelib.ports import Endpoint, ProcessingJob
from chalicelib.records.window import Window
from chalicelib.topology import SOURCES
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import Services
from chalicelib.workflows import label_containers
from emulator.memory import SETTINGS, MemoryServices, memory_services
from plumbline.cli import rebuild
from plumbline.cli.add import add_monitor
from plumbline.cli.pause import pause, resume
from trials.simulation.history import (
    HOUR,
    MINUTE,
    SECOND,
    START,
    TOYS,
    AlarmChange,
    Anew,
    Capture,
    Deployment,
    Draws,
    History,
    Hold,
    Job,
    Labels,
    NewVersion,
    hour,
)
from trials.simulation.holdings import (
    DATA,
    ENDPOINT,
    MONITOR,
    OWN,
    PIPELINE,
    SCHEDULE,
    SLOW,
    baseline_files,
    capture_line,
    definition,
    label_document,
    model_data,
    serving_config,
    slow_definition,
)
from trials.simulation.hostile import (
    BETWEEN,
    FOCUS,
    PROTOCOLS,
    RARE,
    Crash,
    Disturbance,
    Guard,
    Objects,
    SageMaker,
    Table,
)

# What somebody else deploys.
OUTSIDE = "outside-1"
# Label objects that make a container: what the functions have.
FEWEST = label_containers.FEWEST
WEBHOOK_SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()


# By queue; looked up at each delivery, so that a planted fault in a handler's module is met.
HANDLERS: dict[str, Callable[[str, Services], Any]] = {
    "captures": lambda body, services: capture_landed.handle(body, services),
    "ground-truth": lambda body, services: ground_truth_landed.handle(body, services),
    "clock": windows_due.handle,
    "windows": lambda body, services: window_due.handle(body, services),
    "executions": lambda body, services: execution_finished.handle(body, services),
    "alarms": lambda body, services: alarm_changed.handle(body, services),
    "retrain-claims": lambda body, services: retrain_claimed.handle(body, services),
    "promotion-claims": lambda body, services: promotion_claimed.handle(body, services),
    "pipelines": lambda body, services: pipeline_finished.handle(body, services),
    "model-packages": lambda body, services: model_package_changed.handle(body, services),
    "endpoints": lambda body, services: endpoint_changed.handle(body, services),
    "alerts": lambda body, services: alert_published.handle(body, services),
}
FUNCTIONS = {source.queue: source.function for source in SOURCES}
WEBHOOK = "ground_truth_posted"

# Six times the function's timeout, as the queues are made.
VISIBILITY = {source.queue: timedelta(seconds=6 * source.timeout) for source in SOURCES}
RECEIVES = 5

# SageMaker's events are best effort; S3's and CloudWatch's are promised, but an input's loss must cost nothing either.
LOST = {"captures": 0.08, "ground-truth": 0.08, "pipelines": 0.2, "model-packages": 0.2, "endpoints": 0.2}
LOST["executions"] = 0.2

# Which share of the deliveries of a queue is disturbed: rare messages more often.
DISTURBED = {"captures": 0.2, "ground-truth": 0.25, "clock": 0.12, "windows": 0.35, "alerts": 0.2}
DISTURBED_OTHERS = 0.6

# A dead letter waits this long for the person who redrives it.
DEAD_FOR = 90 * MINUTE

# Captures live until their window has been measured: a rule that deletes them leaves more time than functions are away.
MOST_AWAY = 2 * HOUR

# The calm end of a history: longer than anything may still take.
TAIL = 48 * HOUR
QUIET_TICK = 20 * MINUTE


class Message:
    """A message on a queue. `id` is the same whenever the same thing is said for the n-th time."""

    __slots__ = ("body", "id", "queue", "receives", "redriven")

    def __init__(self, identity: str, queue: str, body: bytes) -> None:
        self.id, self.queue, self.body, self.receives = identity, queue, body, 0
        self.redriven = False  # by a person, who mended first what had failed


class Stuck(Exception):
    """A history did not come to rest."""


class _Queues:
    """`ports.Queues`: what is sent travels through the world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def send(self, queue: str, bodies: Any) -> None:
        for body in bodies:
            self._world.post(queue, bytes(body))


class _Topic:
    def __init__(self, world: World) -> None:
        self._world = world
        self.published: list[dict[str, Any]] = []

    def publish(self, subject: str, message: str, attributes: Mapping[str, str]) -> None:
        alert = json.loads(message)
        if alert["incident"] and alert["monitor"] == MONITOR:
            self._world.held(f"an alert ({alert['kind']} {alert['state']}) was sent")
        self.published.append(alert)
        envelope = {"Type": "Notification", "Subject": subject, "Message": message}
        self._world.post("alerts", json.dumps(envelope).encode())


class _Deployed(dict[str, Any]):
    """MemoryScorer's models: whatever an endpoint that is in service deploys now."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def __contains__(self, endpoint: object) -> bool:
        found = self._world.account.sagemaker.endpoints.get(str(endpoint))
        return found is not None and found.status in ("InService", "Updating")

    def __getitem__(self, endpoint: str) -> Callable[[list[list[str]]], list[float]]:
        toy = TOYS[self._world.toy_of(self._world.account.sagemaker.endpoints[endpoint].config_name)]

        def answer(rows: list[list[str]]) -> list[float]:
            if any(len(row) != 2 for row in rows):
                raise PlumblineError(f"endpoint {endpoint}: the model container answered with status 500")
            return [toy(float(x), float(z)) for x, z in rows]

        return answer


class World:
    """One account and its queues. `hostile` False: the calm run. `removed`: inputs and faults that are left out."""

    def __init__(self, history: History, hostile: bool, removed: Iterable[str] = (), *, story: bool = False) -> None:
        self.history, self.hostile, self.removed = history, hostile, frozenset(removed)
        self.draws = Draws(history.inputs_seed)  # what AWS and people do
        self.hostility = Draws(history.seed)
        self.applied: list[str] = []
        self.coverage: Counter[tuple[str, str, str]] = Counter()
        self.met: set[tuple[str, str]] = set()  # (function, call): what could have been struck
        self.lines: list[str] | None = [] if story else None
        self.expired: set[str] = set()  # files that a lifecycle rule has deleted
        self.broken: list[str] = []  # laws that were seen broken while the history was played
        self.acknowledge_first = False
        self._time = START - HOUR
        self._heap: list[tuple[datetime, int, str, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._said: Counter[str] = Counter()
        self._running: list[tuple[str, Disturbance | None]] = []
        self._began: list[datetime] = []  # when each of the running handlers began to run
        self._pauses: list[tuple[datetime, datetime]] = []
        self._waiting = 0
        self._dead: list[Message] = []
        self._quiet = False
        self._out = False
        self._away: list[tuple[datetime, timedelta]] = []
        self._born = False
        aims = FOCUS.get(history.scene, {})
        drawn = self.hostility.of("focus").choices(list(aims), list(aims.values()), k=4) if aims else []
        self._focus = dict(drawn)  # by function, the call that is aimed at
        self._deployments: Counter[str] = Counter()
        # What laws.py looks at besides the account.
        self.served: list[tuple[datetime, str]] = []
        self.configs_served: list[str] = []
        self.endpoint_updates: list[tuple[str, str]] = []
        self.executions: list[tuple[str, datetime, datetime | None]] = []
        self.crowns: list[Champion] = []
        self.retrain_claims: list[RetrainClaim] = []
        self.promotion_claims: list[PromotionClaim] = []
        self.label_times: dict[str, datetime] = {}

        self.outside: list[datetime] = []
        self.struck_windows: dict[str, datetime] = {}  # of MONITOR: when a worker last died or was refused a call
        self.version = 0
        self._furnish()

    # Time and messages ------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return self._time

    def at(self, time: datetime, kind: str, act: Callable[..., None], *args: Any) -> None:
        if kind != "tick":
            self._waiting += 1
        heapq.heappush(self._heap, (time, next(self._order), kind, act, args))

    def run(self, until: datetime) -> None:
        """Let everything happen that is to happen until then."""
        while self._heap and self._heap[0][0] <= until:
            self.step()
        self._time = max(self._time, until)

    def _outage(self, until: datetime) -> None:
        """No function runs until then, while the world goes on: for the handlers the clock jumps.

        Not when they would be away for more than `MOST_AWAY` of the time that a lifecycle rule leaves them.
        """
        lately = self._time - self.history.captures_kept
        self._away = [(begun, length) for begun, length in self._away if begun > lately]
        length = until - self._time
        if sum((each for _, each in self._away), length) > MOST_AWAY:
            return
        self._away.append((self._time, length))
        self.tell(f"the clock jumps to {until:%H:%M:%S}")
        late = []
        self._out = True
        while self._heap and self._heap[0][0] <= until:
            if self._heap[0][2] == "delivery":
                late.append(heapq.heappop(self._heap))
            else:
                self.step()
        self._out, self._time = False, until
        for _, order, kind, act, args in late:
            heapq.heappush(self._heap, (until, order, kind, act, args))

    def step(self) -> None:
        time, _, kind, act, args = heapq.heappop(self._heap)
        if kind != "tick":
            self._waiting -= 1
        self._time = max(self._time, time)
        act(*args)

    def tell(self, text: str, *details: object) -> None:
        if self.lines is not None:
            depth = "    " * len(self._running)
            self.lines.append(f"{self._time:%d %H:%M:%S}  {depth}{text}{' '.join(map(str, ('', *details)))}")

    def chosen(self, kind: str, identity: str, share: float) -> Any:
        """Whether something hostile befalls this, and then its chance; noted, so that it can be left out."""
        if not self.hostile or self._quiet:
            return None
        if not self.hostility.chosen(share, kind, identity):
            return None
        name = f"{kind} {identity}"
        if name in self.removed:
            return None
        self.applied.append(name)
        return self.hostility.of(kind, identity)

    def post(self, queue: str, body: bytes, lossy: bool = False) -> None:
        """Put a message on a queue: never (only if `lossy`), once or several times, now or later."""
        if not self._born:
            return
        name = f"{queue}:{zlib.crc32(body):08x}"
        self._said[name] += 1
        identity = f"{name}.{self._said[name]}"
        overlooked = self._focus.get("windows_due") == f"queues.send {queue}"  # then the clock has to do it
        heard = not overlooked and FUNCTIONS[queue] in self._focus  # or there was nothing to strike
        if lossy and not heard and self.chosen("lose", identity, 0.9 if overlooked else LOST[queue]):
            self.tell(f"lost: {self._about(queue, body)}")
            return
        copies = 1
        if draw := self.chosen("repeat", identity, 0.12):
            copies = draw.choice([2, 2, 3])
        for number in range(copies):
            delay = SECOND
            if draw := self.chosen("delay", f"{identity}/{number}", 0.35 if number == 0 and not overlooked else 0.9):
                delay = draw.choice([5, 20, 60, 200, 600, 1800, 4500]) * SECOND + draw.randint(0, 60) * SECOND
            message = Message(f"{identity}/{number}", queue, body)
            self.at(self._time + delay, "delivery", self.deliver, message)

    def deliver(self, message: Message, twin: bool = False) -> None:
        """Give a message to its handler, as the queue and app.py do."""
        message.receives += 1
        queue = message.queue
        disturbance = None
        identity = f"{message.id}#{message.receives}{'t' if twin else ''}"
        share = DISTURBED.get(queue, DISTURBED_OTHERS)
        aim = self._focus.get(FUNCTIONS[queue], "")
        if aim and message.receives < RECEIVES:
            share = 0.95
        if not message.redriven and (draw := self.chosen("fault", identity, share)):
            disturbance = self._disturbance(identity, draw, FUNCTIONS[queue])
        share = 0.8 if aim == "objects.get definitions" else 0.08
        if self.chosen("cold start", identity, share):
            self._forget_definitions()
        if self.lines is not None:  # told of every delivery, so not put in words for nobody
            self.tell(f"{FUNCTIONS[queue]}({self._about(queue, message.body)})")
        body = message.body.decode()
        services = self.services if disturbance else self.undisturbed
        done, _ = self._run(FUNCTIONS[queue], disturbance, message, lambda: HANDLERS[queue](body, services))
        if done and queue == "windows" and not (disturbance and disturbance.struck):
            self._has_acted(message.body)
        if done or twin or self.acknowledge_first:
            return
        if message.receives >= RECEIVES:
            self.tell(f"dead letter: {self._about(queue, message.body)}")
            if self._quiet:
                self.broken.append(f"{FUNCTIONS[queue]} fails for ever on {self._about(queue, message.body)}")
                return
            message.receives, message.redriven = 0, True
            self.at(self._time + DEAD_FOR, "delivery", self.deliver, message)
            return
        wait = VISIBILITY[queue]
        if draw := self.chosen("sooner", identity, 0.5):
            wait = draw.randint(1, 300) * SECOND
        self.at(self._time + wait, "delivery", self.deliver, message)

    def _run(
        self, function: str, disturbance: Disturbance | None, message: Message | None, act: Callable[[], Any]
    ) -> tuple[bool, Any]:
        """Run a handler; True when its message is done, and its answer."""
        self._running.append((function, disturbance))
        self._began.append(self._time)
        self._messages.append(message)
        answer = None
        try:
            answer = act()
            done = True
        except Crash:
            done = False
            self.tell("the process died")
        except PermanentError as error:
            done = True
            self.tell(f"permanent: {error}")
        except Exception as error:
            done = False
            self.tell(f"failed: {type(error).__name__}: {error}")
            # A lease of a worker that died just before the calm may keep the first ones waiting.
            calm = self._quiet and self._time > self.history.end + HOUR
            if calm and not isinstance(error, ConflictError) and len(self._running) == 1:
                self.failures.append(f"{function}: {type(error).__name__}: {error}")
        finally:
            self._running.pop()
            self._began.pop()
            self._messages.pop()
            if disturbance is not None:
                self.met.update((function, kind) for kind in disturbance.met)
                if not disturbance.struck:
                    self.applied.remove(f"fault {disturbance.id}")
        return done, answer

    def _disturbance(self, identity: str, draw: Any, function: str) -> Disturbance:
        way = draw.choice(["before", "after", BETWEEN])
        if len(self._running) > 1 and way == BETWEEN:
            way = "after"
        minutes = draw.choice([1, 3, 5, 8, 12, 20, 40])
        company = draw.choice(["twin", "next", "next", "stall", "stall", "stall"])
        salt, crash = draw.getrandbits(30), draw.random() < 0.6
        picky = draw.random() < 0.5 and function in RARE
        if function in self._focus and draw.random() < 0.95:
            way, aim = draw.choice([way, "before", "after"]), self._focus[function]
            return Disturbance(identity, salt, way, crash, company, minutes * MINUTE, function, focus=aim)
        return Disturbance(identity, salt, way, crash, company, minutes * MINUTE, function, picky)

    # What guards ask (hostile.py) -------------------------------------------------------------------------------------

    def meet(self, port: str, method: str, args: Any) -> Disturbance | None:
        """The disturbance of the running handler, when it strikes this call."""
        disturbance = self._running[-1][1] if self._running else None
        if disturbance is None or self._quiet or not disturbance.strikes(port, method, args):
            return None
        return disturbance

    def note_fault(self, met: Disturbance, kind: str, way: str) -> None:
        met.struck = kind
        self.coverage[self._running[-1][0], kind, way] += 1
        if way != BETWEEN:
            message = self._messages[-1]
            if message is not None and message.queue == "windows":
                asked = msgspec.json.decode(message.body, type=WindowMessage)
                if asked.monitor == MONITOR:
                    self.struck_windows[asked.window] = self._time
            what = "the process dies" if met.crash else "the service fails"
            self.tell(f"! {what} {way} {kind}")

    def let_in(self, met: Disturbance, kind: str) -> None:
        """Let others run while a handler stands before a call."""
        self.note_fault(met, kind, BETWEEN)
        message = self._messages[-1]
        self.tell(f"! stands still before {kind}; meanwhile ({met.company}):")
        if met.company == "twin" and message is not None:
            twin = Message(f"{message.id}~{message.receives}", message.queue, message.body)
            self.deliver(twin, twin=True)
        elif met.company == "next" and self._heap and self._heap[0][0] < self._time + HOUR:
            self.step()
        else:
            self.run(self._time + met.stall)
        self.tell(f"… goes on with {kind}")

    # The account ------------------------------------------------------------------------------------------------------

    def _furnish(self) -> None:
        self.failures: list[str] = []
        self._messages: list[Message | None] = []
        now = self.now
        base = memory_services(now)
        fields = {name: getattr(base, name) for name in PROTOCOLS}
        fields |= {
            "objects": Objects(now, self._object_written),
            "ledger": Table(now, self._item_written),
            "queues": _Queues(self),
            "sagemaker": SageMaker(now, self),
            "topic": _Topic(self),
        }
        self.account = MemoryServices(settings=SETTINGS, now=now, **fields)
        guards = {name: Guard(name, service, self.meet, self) for name, service in fields.items()}
        # What a delivery is given that nothing befalls, and what one that is disturbed; both know the definitions.
        self.undisturbed = Services(settings=SETTINGS, now=now, **fields)
        self.services = Services(settings=SETTINGS, now=now, **guards)
        self._forget_definitions()
        account = self.account
        account.scorer.models = _Deployed(self)
        self.toys: dict[str, str] = {}
        sagemaker = account.sagemaker
        for name, toy in (("first", "x"), ("outside", "x")):
            self.toys[model_data(name)] = toy
            sagemaker.ensure_model({"ModelName": name, "PrimaryContainer": {"ModelDataUrl": model_data(name)}})
        sagemaker.ensure_endpoint_config(serving_config("churn-1", "first"))
        sagemaker.ensure_endpoint_config(serving_config(OUTSIDE, "outside"))
        sagemaker.ensure_endpoint(ENDPOINT, "churn-1")
        sagemaker.settle(ENDPOINT, "InService", "churn-1")
        self._heap.clear()
        self._waiting = 0
        self.served.append((self._time, "x"))
        sagemaker.add_pipeline(PIPELINE, {"Manifest": None, "Output": None})
        account.secrets.values |= {"/hook": WEBHOOK_SECRET, SETTINGS.webhook_key_parameter: WEBHOOK_SECRET}
        for path, body in baseline_files().items():
            account.objects.put(DATA, f"baseline/{path}", body)
        self._time = START
        self.monitors = [MONITOR]
        add_monitor(account, definition(self.history))
        if self.history.slow:
            self.monitors.append(SLOW)
            add_monitor(account, slow_definition(self.history))
        self._born = True

    def _forget_definitions(self) -> None:
        """The process is new: no definition is known to it."""
        known: dict[tuple[str, str], Definition] = {}
        for services in (self.undisturbed, self.services):
            services.__dict__.pop("definitions", None)
            services.definitions._decoded = known

    def _object_written(self, bucket: str, key: str) -> None:
        if not self._born or bucket != DATA:
            return
        queue = key.partition("/")[0]
        if queue not in ("captures", "ground-truth"):
            return
        stored = self.account.objects.get(bucket, key)
        event = object_created_body(bucket, key, stored.etag, len(stored.body), self._time)
        self.post(queue, event, lossy=self.history.lossy)
        kept = self.history.captures_kept if queue == "captures" else self.history.labels_kept
        if not self.history.lossy and self.chosen("expire", f"{queue} {key}", 0.5):
            self.at(self._time + kept, "expiry", self._expire, key)

    def _expire(self, key: str) -> None:
        self.tell(f"lifecycle deletes {key}")
        self.expired.add(key)
        self.account.objects.delete(DATA, key)

    def _item_written(self, pk: str, sk: str, body: bytes) -> None:
        """What laws.py wants to have seen: every state of the documents that guard effects."""
        if pk != f"MONITOR#{MONITOR}":
            return
        if sk == "CHAMPION":
            self.crowns.append(msgspec.json.decode(body, type=Champion))
        elif sk == "CLAIM#RETRAIN":
            self.retrain_claims.append(msgspec.json.decode(body, type=RetrainClaim))
            self.tell(f"= retrain claim: {self.retrain_claims[-1].window} {self.retrain_claims[-1].state}")
        elif sk == "CLAIM#PROMOTION":
            self.promotion_claims.append(msgspec.json.decode(body, type=PromotionClaim))
            claim = self.promotion_claims[-1]
            self.tell(f"= {claim.kind} claim: {claim.candidate} for generation {claim.generation}: {claim.state}")
        elif sk.startswith("EVALUATION#"):
            self._check_revision(sk.partition("#")[2], msgspec.json.decode(body)["digest"])

    def _check_revision(self, window: str, digest: str) -> None:
        key = f"plumbline/payload/{MONITOR}/revisions/{window}/{digest}.msgpack"
        self.tell(f"= evaluation of {window}: {digest[:8]}")
        if (OWN, key) not in self.account.objects.objects:
            self.broken.append(f"half-written: the fact of {window} names revision {digest[:8]}, which is not there")

    # SageMaker --------------------------------------------------------------------------------------------------------

    def deploying(self, endpoint: Endpoint, previous: Endpoint | None) -> None:
        """A creation or an update has begun; when and how it ends depends on how many there were before."""
        if not self._born:
            return
        own = endpoint.name == ENDPOINT
        if own and endpoint.config_name != OUTSIDE:
            self.held("the endpoint was updated")
        kind = "serving" if own else "pool"
        self._deployments[kind] += 1
        draw = self.draws.of("deployment", kind, self._deployments[kind])
        fails = draw.random() < 0.06
        self.tell(f"= endpoint {endpoint.name} {endpoint.status} with {endpoint.config_name}")
        self._endpoint_event(endpoint)
        took = draw.choice([2, 4, 7, 15, 30]) * MINUTE
        self.at(self._time + took, "deployment", self._deployed, endpoint, previous, fails)

    def _deployed(self, endpoint: Endpoint, previous: Endpoint | None, fails: bool) -> None:
        sagemaker, name = self.account.sagemaker, endpoint.name
        if sagemaker.endpoints.get(name) is not endpoint:
            return  # deleted meanwhile
        if name != ENDPOINT:
            sagemaker.settle(name, "Failed" if fails else "InService", endpoint.config_name)
        else:
            config = previous.config_name if fails and previous else endpoint.config_name
            sagemaker.settle(name, "InService", config)
            self.served.append((self._time, self.toy_of(config)))
            self.configs_served.append(config)
        now = sagemaker.endpoints[name]
        self.tell(f"= endpoint {name} {now.status} with {now.config_name}")
        self._endpoint_event(now)

    def _endpoint_event(self, endpoint: Endpoint) -> None:
        words = {"InService": "IN_SERVICE", "Creating": "CREATING", "Updating": "UPDATING", "Failed": "FAILED"}
        detail = {
            "EndpointName": endpoint.name,
            "EndpointStatus": words[endpoint.status],
            "EndpointConfigName": endpoint.config_name,
        }
        # Where bytes are compared, both runs must hear of the serving endpoint: its timeline is an input, too.
        lossy = self.history.effects or endpoint.name != ENDPOINT
        self.post("endpoints", self._event("SageMaker Endpoint State Change", "aws.sagemaker", detail), lossy=lossy)

    def toy_of(self, config_name: str) -> str:
        sagemaker = self.account.sagemaker
        config = sagemaker.endpoint_configs[config_name]
        container = sagemaker.models[config["ProductionVariants"][0]["ModelName"]]["PrimaryContainer"]
        if "ModelPackageName" in container:
            return self.toys[sagemaker.packages[container["ModelPackageName"]].model_data_url]
        return self.toys[container["ModelDataUrl"]]

    def execution_started(self, arn: str) -> None:
        number = len(self.executions)
        self.held("a retraining was started")
        if any(ended is None for _, _, ended in self.executions):
            self.broken.append(f"two retrainings in flight: {arn} was started before the last one ended")
        self.executions.append((arn, self._time, None))
        self.tell(f"= execution {arn[-12:]} started")
        draw = self.draws.of("execution", number)
        took = draw.choice([8, 20, 45, 90]) * MINUTE
        result = draw.choice(["good", "good", "good", "good", "bad", "none", "failed", "stopped"])
        if self.history.scene in ("approval", "return") or (self.history.scene == "promotion" and draw.random() < 0.6):
            result = "good"
        elif self.history.scene == "claims" and draw.random() < 0.5:
            result = draw.choice(["none", "failed"])
        self.at(self._time + took, "execution", self._execution_ends, number, arn, result)

    def _execution_ends(self, number: int, arn: str, result: str) -> None:
        sagemaker = self.account.sagemaker
        self.executions[number] = (arn, self.executions[number][1], self._time)
        package = ""
        if result in ("good", "bad"):
            window = int((self._time - START) // HOUR) - 1
            data = model_data(f"trained-{number}")
            self.toys[data] = self.history.truth(window) if result == "good" else "one"
            package = sagemaker.add_model_package(MONITOR, model_data_url=data)
            self.package_event(package, "PendingManualApproval")
            self._people(number, package)
        status = {"failed": "Failed", "stopped": "Stopped"}.get(result, "Succeeded")
        sagemaker.finish_execution(arn, status, package=package or None, failure_reason="out of memory")
        self.tell(f"= execution {arn[-12:]} {status}, {result}")
        detail = {"pipelineExecutionArn": arn, "currentPipelineExecutionStatus": status}
        kind = "SageMaker Model Building Pipeline Execution Status Change"
        self.post("pipelines", self._event(kind, "aws.sagemaker", detail), lossy=True)

    def _people(self, number: int, package: str) -> None:
        """With manual promotion somebody looks at the package: at once, later, or never."""
        if self.history.policy["promotion"] != "manual":
            return
        draw = self.draws.of("approval", number)
        rejected = 2 if self.history.scene == "approval" else 1
        verdict = draw.choice(["Approved"] * (2 + rejected) + ["Rejected"] * rejected + [""])
        if verdict:
            wait = draw.choice([0, 2, 30, 120] if self.history.scene != "approval" else [15, 30]) * MINUTE
            self.at(self._time + wait, "approval", self._approve, package, verdict)

    def _approve(self, package: str, verdict: str) -> None:
        self.tell(f"a person says {verdict} to {package[-8:]}")
        self.account.sagemaker.set_approval(package, verdict, "by hand")

    def package_event(self, arn: str, status: str) -> None:
        detail = {"ModelPackageArn": arn, "ModelApprovalStatus": status}
        self.post(
            "model-packages", self._event("SageMaker Model Package State Change", "aws.sagemaker", detail), lossy=True
        )

    def _event(self, kind: str, source: str, detail: Mapping[str, Any], time: datetime | None = None) -> bytes:
        stamp = (time or self._time).strftime("%Y-%m-%dT%H:%M:%SZ")
        return json.dumps({"detail-type": kind, "source": source, "time": stamp, "detail": detail}).encode()

    # Users ------------------------------------------------------------------------------------------------------------

    def happen(self, thing: Any) -> None:
        """Let an input come."""
        getattr(self, f"_{type(thing).__name__.lower()}")(thing)

    def _capture(self, capture: Capture) -> None:
        folder = hour(capture.window).strftime("%Y/%m/%d/%H")
        key = f"captures/{ENDPOINT}/AllTraffic/{folder}/{capture.name}-00-5f4da3e72739.jsonl"
        self.tell(f"capture file {capture.name}: {len(capture.requests)} requests, {capture.shape}")
        self.account.objects.put(DATA, key, self.capture_bytes(capture), content_type="application/jsonlines")

    def capture_bytes(self, capture: Capture) -> bytes:
        """The file as SageMaker writes it: each request with the answer of the model that served then."""
        if capture.shape == "garbage":
            return b"\x00 this is no JSON\n" * 3
        return b"".join(
            capture_line(request, TOYS[self._serving_at(request.at)], capture.shape == "wide")
            for request in capture.requests
        )

    def _serving_at(self, moment: datetime) -> str:
        return next((toy for since, toy in reversed(self.served) if since <= moment), self.served[0][1])

    def _labels(self, labels: Labels) -> None:
        self.label_times[labels.id] = self._time
        if labels.webhook:
            entries = [label_document(entry) for entry in labels.entries]
            body = json.dumps(entries).encode()
            headers = signed_headers([WEBHOOK_SECRET], labels.id.replace(" ", "-"), self._time, body)
            request = ground_truth_posted.PostedRequest(ENDPOINT, headers, body, "application/json")
            self._call_webhook(labels, request, 1)
            return
        body = b"".join(json.dumps(label_document(entry)).encode() + b"\n" for entry in labels.entries)
        key = f"ground-truth/{ENDPOINT}/{self._time:%Y/%m/%d/%H}/{labels.name}.jsonl"
        self.tell(f"label file {labels.name}: {[entry.inference_id for entry in labels.entries]}")
        self.account.objects.put(DATA, key, body, content_type="application/jsonlines")

    def _call_webhook(self, labels: Labels, request: Any, attempt: int) -> None:
        """Senders try again until they have an answer; some that had one try again, too."""
        disturbance = None
        identity = f"webhook {labels.id}#{attempt}"
        aim = self._focus.get(WEBHOOK, "")
        if attempt < 3 and (draw := self.chosen("fault", identity, 0.95 if aim else 0.3)):
            disturbance = self._disturbance(identity, draw, WEBHOOK)
            disturbance.stall = min(disturbance.stall, MINUTE)
        self.tell(f"webhook call {attempt}, {labels.name}: {[entry.inference_id for entry in labels.entries]}")
        if aim == "objects.get definitions" and self.chosen("cold start", identity, 0.8):
            self._forget_definitions()
        services = self.services if disturbance else self.undisturbed
        places = services.definitions.ground_truth_places
        done, answer = self._run(
            WEBHOOK, disturbance, None, lambda: ground_truth_posted.handle(request, services, places)
        )
        if done and answer is not None and answer[0] not in (202, 401):
            self.broken.append(f"the webhook answered {answer[0]} to {labels.id}")
        if not done or (attempt == 1 and self.chosen("repost", labels.id, 0.2)):
            self.at(self._time + 20 * SECOND, "webhook", self._call_webhook, labels, request, attempt + 1)

    def _alarmchange(self, change: AlarmChange) -> None:
        stamp = self._time.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        detail = {"alarmName": change.name, "state": {"value": change.state, "timestamp": stamp}}
        self.tell(f"alarm {change.name} {change.state}")
        self.post("alarms", self._event("CloudWatch Alarm State Change", "aws.cloudwatch", detail))

    def _deployment(self, deployment: Deployment) -> None:
        try:
            self.account.sagemaker.update_endpoint(ENDPOINT, OUTSIDE)
        except ConflictError:
            return
        self.endpoint_updates.pop()
        self.outside.append(self._time)

    def _newversion(self, version: NewVersion) -> None:
        self.tell(f"a new version of the definition: {version.policy}")
        add_monitor(self.account, definition(self.history, version.policy))

    def _job(self, job: Job) -> None:
        folder = f"model-monitor/{job.name}"
        if job.violations:
            found = [{"feature_name": f"f{n}", "constraint_check_type": "drift"} for n in range(job.violations)]
            body = json.dumps({"violations": found}).encode()
            self.account.objects.put(DATA, f"{folder}/constraint_violations.json", body)
        self.account.sagemaker.add_processing_job(
            ProcessingJob(
                name=job.name,
                status=job.status,
                created_at=self._time,
                exit_message="CompletedWithViolations" if job.violations else "Completed",
                monitoring_schedule_arn=f"arn:aws:sagemaker:us-east-1:1:monitoring-schedule/{SCHEDULE}",
                outputs={"monitoring_output": f"s3://{DATA}/{folder}"},
                environment={"start_time": self._time.strftime("%Y-%m-%dT%H:%M:%SZ")},
            )
        )
        detail = {"ProcessingJobName": job.name, "ProcessingJobStatus": job.status}
        self.post(
            "executions", self._event("SageMaker Processing Job State Change", "aws.sagemaker", detail), lossy=True
        )

    def _hold(self, hold: Hold) -> None:
        self.tell(f"a person pauses the monitor until {hold.ends:%d %H:%M}")
        pause(self.account, MONITOR, hold.ends)
        self._pauses.append((self._time, hold.ends))
        if hold.resumed:
            self.at(hold.resumed, "resume", self._resume)

    def _resume(self) -> None:
        self.tell("a person ends the pause")
        resume(self.account, MONITOR)
        self._pauses[-1] = (self._pauses[-1][0], self._time)

    def held(self, what: str) -> None:
        """An effect begins: it must not, when the handler that brings it about began to run within a pause."""
        if any(since <= self._began[-1] and self._time < until for since, until in self._pauses if self._began):
            self.broken.append(f"{what} while the monitor was paused")

    def _is_held_back(self) -> bool:
        """Whether a veto or a pause is in force. One that comes back is decided as at first, so that the newest record
        is still the retraining's; its end asks again."""
        states = alarms.states(self.account.ledger, MONITOR)
        vetoes = [each.name for each in definition(self.history).alarms if each.role == "veto"]
        vetoed = any(name in states and states[name].state == "ALARM" for name in vetoes)
        return vetoed or pauses.in_force(self.account.ledger, MONITOR, self._time) is not None

    def _has_acted(self, body: bytes) -> None:
        """The worker of a window is done, and nothing befell it: a retraining that was decided on is claimed now."""
        ledger, asked = self.account.ledger, msgspec.json.decode(body, type=WindowMessage)
        if asked.monitor != MONITOR or evaluations.newest_settled(ledger, MONITOR) != asked.window:
            return
        made = decisions.references(ledger, MONITOR, asked.window)
        wanted = [each for each in made if each.action == Action.RETRAIN.value]
        claim = claims.load_retrain(ledger, MONITOR)
        if not wanted or (claim and (claim.in_flight or claim.window >= asked.window)) or self._is_held_back():
            return
        records = [decisions.load_record(ledger, each.decision_id) for each in made]
        last = max((record for record in records if record), key=lambda record: record.made_at)
        if last.action == Action.RETRAIN.value:
            self.broken.append(f"a retraining was decided on {asked.window} and nobody claimed it")

    def _anew(self, anew: Anew) -> None:
        planned = rebuild.plan(self.account, MONITOR, hour(anew.first), hour(anew.first + anew.count))
        windows = [each.window for each in planned if each.verdict == "rebuild"]
        self.tell(f"a person has {windows} derived again")
        rebuild.order(self.account, MONITOR, windows)

    # The clock --------------------------------------------------------------------------------------------------------

    def tick(self, number: int) -> None:
        pause = QUIET_TICK if self._quiet else self.history.tick * MINUTE
        self.at(self._time + pause, "tick", self.tick, number + 1)
        if self._out or self.chosen("skip", f"tick {number}", 0.1):
            return
        if draw := self.chosen("jump", f"tick {number}", 0.004):
            self._outage(self._time + draw.choice([12, 45, 100]) * MINUTE)
        message = Message(f"clock {number}", "clock", b"{}")
        self.at(self._time, "delivery", self.deliver, message)

    def play(self) -> World:
        """The hostile part, then the calm end until nothing is due and nothing is in flight."""
        # An hour has one to three label objects: in half of the histories that is enough for a container.
        label_containers.FEWEST = 1 if Draws(self.history.inputs_seed).chosen(0.5, "containers") else FEWEST
        try:
            return self._play()
        finally:
            label_containers.FEWEST = FEWEST

    def _play(self) -> World:
        for thing in self.history.inputs:
            if thing.id not in self.removed:
                self.at(thing.at, "input", self.happen, thing)
        self.at(START + 30 * SECOND, "tick", self.tick, 0)
        self.run(self.history.end)
        self._quiet = True
        self.tell("from here on everything is calm")
        until = self._time + TAIL
        # Where events are lost, arrival hours are swept when their windows close, so the last one must close, also in
        # the slow monitor; and every window must have had its second look.
        look = hour(self.history.windows) + definition(self.history).horizon / 2
        closed = hour(self.history.windows + 1) + HOUR / 2
        least = max(self._time, look) + (3 if self.history.slow else 2) * HOUR if self.history.lossy else closed
        while self._time < until:
            self.run(self._time + QUIET_TICK)
            if self._time >= least and not self._waiting and not self._owed():
                return self
        self.broken.append(f"not at rest {TAIL} after the last input: {self._owed() or 'messages'}")
        return self

    def _owed(self) -> str:
        """What is still due or in flight; a challenger that nobody decides on may wait for ever."""
        ledger = self.account.ledger
        for shard in range(8):
            for item in ledger.query(f"DUE#{shard}"):
                due = msgspec.json.decode(item.body)
                if due["sent_until"] is not None or due["not_before"] <= self._time.strftime("%Y-%m-%dT%H:%M:%SZ"):
                    return f"window {item.sk} is due"
        for name in self.monitors:
            if ledger.query(f"AWAITING#{name}"):
                return f"labels of {name} wait to be looked up"
            if waiting := self._news(name):
                return waiting
        if self.retrain_claims and self.retrain_claims[-1].in_flight:
            claim = self.retrain_claims[-1]
            if claim.state != "AWAITING_APPROVAL" or self._decided(claim.package_arn):
                return f"retraining {claim.window} is {claim.state}"
        if self.promotion_claims and self.promotion_claims[-1].in_flight:
            return f"{self.promotion_claims[-1].claim_id} is {self.promotion_claims[-1].state}"
        return ""

    def _news(self, name: str) -> str:
        """Labels of open windows that wait to be reported; at their seal the clock has them reported a little later."""
        length = HOUR * (2 if name == SLOW else 1)
        horizon = definition(self.history).horizon
        for item in self.account.ledger.query(f"MONITOR#{name}", begins_with="NEWS#"):
            known = msgspec.json.decode(item.body)
            window = Window.parse(known["window"], length)
            if known["pending"] and known["evaluated"] and self._time < window.end + horizon + HOUR:
                return f"labels of {name} {window.name} wait"
        return ""

    def _decided(self, package: str) -> bool:
        return self.account.sagemaker.packages[package].approval_status != "PendingManualApproval"

    def _about(self, queue: str, body: bytes) -> str:
        """A message in a few words."""
        if queue == "clock":
            return ""
        if queue == "alerts":
            alert = json.loads(json.loads(body)["Message"])
            return f"{alert['kind']} {alert['state']} {alert['window']}"
        document = json.loads(body)
        if "detail" not in document:
            return " ".join(str(value)[:28] for value in document.values())
        detail = document["detail"]
        if "object" in detail:
            return str(detail["object"]["key"]).rpartition("/")[2]
        return " ".join(str(value)[-26:] for value in detail.values())


def endpoint_exists(world: World, name: str) -> bool:
    try:
        world.account.sagemaker.describe_endpoint(name)
    except NotFoundError:
        return False
    return True
