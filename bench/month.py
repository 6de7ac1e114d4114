"""`make bench-month`: a simulated month of one endpoint, every AWS call counted and priced.

`python -m bench.month [--rows N] [--labels at-once | 2-days | 30-days] [--by webhook | s3] [--days N]`: the functions
of app.py over fakes that count (bench/counting.py), the clock's schedule each minute, 60 capture files an hour,
labels of 97 % of the rows handed over every ten minutes. The last 30 days are priced; with labels that trickle over 30
days the simulation therefore runs for 60, so that each day has the labels of the 30 before. A window is an hour.

Lambda's time is the processor time of this process, at the share of a processor that the function's memory buys, plus a
stated wait for each call (`WAITS`). Not measured here: real latencies, cold starts, throttling.

Exit status 1 beyond a bound: dollars a month, restatements a window, calls of a window in week 1 against the last week,
minutes from the label that settles a window to its report.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import io
import json
import random
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from bench import traffic
from bench.counting import Meter, counted
from bench.usage import cpu_seconds
from chalicelib import keys, wiring
from chalicelib.definition import Definition, parse_definition
from chalicelib.facts import evaluations
from chalicelib.records.window import Window
from chalicelib.topology import WEBHOOK, WEBHOOK_MEMORY, Source
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import Services
from demo.web import poster
from emulator.clock import LogicalClock, timestamp
from emulator.memory import SETTINGS, memory_services
from emulator.memory.functions import EventBucket, Functions
from emulator.memory.shared import SharedLedger
from plumbline.cli.add import add_monitor
from plumbline.cli.main import main as plumbline
from plumbline.prices import POLLS_A_MONTH, QUEUES, Usage, by_service, dollars, model_monitor

# What `plumbline cost` is computed from.
USAGE = Path(__file__).parents[1] / "plumbline" / "usage.json"
MEASURED_ROWS, MEASURED_DAYS = (60, 1000), 4

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE, TURN, HOUR, DAY = timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(days=1)
PRICED_DAYS, FILES_AN_HOUR, LABELLED = 30, 60, 0.97
DATA, ENDPOINT = "data", "bench"
SECRET = "whsec_" + base64.b64encode(b"the label system's key, no secret").decode()

# How long a label takes at most; the delays are even up to it.
SPANS = {"at-once": timedelta(minutes=10), "2-days": 2 * DAY, "30-days": 30 * DAY}
# Seconds that a function waits for one call, as the services answer in the same Region.
WAITS = {"s3.get": 0.020, "s3.put": 0.030, "s3.list": 0.030, "s3.delete": 0.020, "dynamodb.get": 0.004,
         "dynamodb.put": 0.006, "dynamodb.query": 0.006, "dynamodb.delete": 0.006, "sqs.send": 0.010,
         "sns.publish": 0.020, "cloudwatch.put": 0.030}  # fmt: skip
# Bytes of the lines that Lambda itself logs of an invocation: START, END, REPORT.
LOG_LINES = 400
# Memory, in MB, at which a function has a whole processor.
WHOLE_PROCESSOR = 1769

MOST_DOLLARS, MOST_RESTATEMENTS, MOST_GROWTH, MOST_MINUTES = 3.0, 40, 0.10, 2.0
# A window's own calls are compared over the first days of its life.
COMPARED_DAYS = 2


def definition(features: Sequence[str]) -> Definition:
    """Data quality and model quality of a binary classifier."""
    return parse_definition(
        {
            "name": ENDPOINT,
            "endpoint": ENDPOINT,
            "capture_s3_uri": f"s3://{DATA}/captures",
            "ground_truth_s3_uri": f"s3://{DATA}/ground-truth",
            "output_s3_uri": f"s3://{DATA}/reports",
            "monitor_types": ["DataQuality", "ModelQuality"],
            "attributes": {"features": list(features), "probability_attribute": "0"},
            "labels": {"horizon": "P31D"},
            "baseline": {
                "measurement": f"s3://{DATA}/baseline/measurement.msgpack",
                "data_quality_statistics": f"s3://{DATA}/baseline/data_quality/statistics.json",
                "data_quality_constraints": f"s3://{DATA}/baseline/data_quality/constraints.json",
                "model_quality_constraints": f"s3://{DATA}/baseline/model_quality/constraints.json",
            },
            "policy": {"retrain": False},
        }
    )


@dataclass
class Counted:
    """What one simulated stretch used. `windows`: calls of `window_due` by window and age in days;
    `evaluated`: how often each window was evaluated; `late`: minutes from settling to the report of each window."""

    usage: Usage = field(default_factory=Counter)
    windows: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    evaluated: Counter[str] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)
    invocations: Counter[str] = field(default_factory=Counter)


class Stage:
    """The functions of app.py in an account of fakes, metered."""

    def __init__(self, clock: LogicalClock) -> None:
        import app

        self.clock, self.meter, self.found = clock, Meter(), Counted()
        plain = memory_services(clock.now, msgspec.structs.replace(SETTINGS, stage="bench", bucket="stage"))
        self.objects = EventBucket(clock.now, plain.queues, DATA)
        plain.secrets.values[plain.settings.webhook_key_parameter] = SECRET
        self.plain: Services = dataclasses.replace(plain, ledger=SharedLedger(clock.now), objects=self.objects)
        self._post = poster(app)
        self._refused: list[str] = []
        self._running = Functions(plain.queues, self._invoked)
        wiring.use(counted(self.plain, self.meter))

    def post(self, name: str, entries: Sequence[dict[str, Any]]) -> None:
        """The label system posts what it has learned."""
        body = json.dumps(entries).encode()
        headers = {**signed_headers([SECRET], name, self.clock.now(), body), "Content-Type": "application/json"}
        with self._metered(WEBHOOK, WEBHOOK_MEMORY):
            status = self._post(f"/ground-truth/{ENDPOINT}", headers, body)
        self._use("apigateway.requests", 1)
        if status != 202:
            self._refused.append(f"a post was answered {status}")

    def tick(self) -> None:
        """One minute of the clock's schedule, and everything that it sets off."""
        self._running.tick(self.clock.now())

    @property
    def failures(self) -> list[str]:
        """What was not done."""
        return [*self._refused, *self._running.failures]

    @contextlib.contextmanager
    def _invoked(self, source: Source, bodies: Sequence[bytes]) -> Iterator[None]:
        before = sum(self.meter.calls.values())
        with self._metered(source.function, source.memory):
            yield
        # Received together, deleted together; S3's events and the clock's are sent by EventBridge for nothing.
        self._use("sqs.requests", 2)
        if source.function == "window_due":
            self._note(bodies, sum(self.meter.calls.values()) - before)

    def _note(self, bodies: Sequence[bytes], calls: int) -> None:
        for body in bodies:
            window = json.loads(body)["window"]
            age = (self.clock.now() - datetime.fromisoformat(window)) // DAY
            self.found.windows[window][age] += calls
            self.found.evaluated[window] += 1

    def _metered(self, function: str, memory: int) -> Any:
        return _Metered(self, function, memory)

    def _use(self, name: str, units: float) -> None:
        self.meter.use(name, units)


class _Metered:
    """Lambda's bill for one invocation: processor time at the share that the memory buys, and the waits for calls."""

    def __init__(self, stage: Stage, function: str, memory: int) -> None:
        self._stage, self._function, self._memory = stage, function, memory

    def __enter__(self) -> None:
        self._stage.meter.function = self._function
        self._calls = Counter(self._stage.meter.calls)
        self._log = io.StringIO()
        self._redirected = contextlib.redirect_stdout(self._log)
        self._redirected.__enter__()
        self._began = cpu_seconds()

    def __exit__(self, *exception: object) -> None:
        stage = self._stage
        used = cpu_seconds() - self._began
        self._redirected.__exit__(None, None, None)
        made = stage.meter.calls - self._calls
        waits = sum(WAITS.get(call, 0.0) * count for (_, call), count in made.items())
        seconds = used / min(1.0, self._memory / WHOLE_PROCESSOR) + waits
        stage._use("lambda.requests", 1)
        stage._use("cloudwatch.logs_gb", (len(self._log.getvalue()) + LOG_LINES) / 1e9)
        stage._use("lambda.gb_seconds", seconds * self._memory / 1024)
        stage.found.seconds[self._function] += used  # type: ignore[assignment]
        stage.found.invocations[self._function] += 1


def furnish(stage: Stage) -> Definition:
    """A baseline from rows of the same traffic, an endpoint that captures, and the monitor."""
    monitor = definition(traffic.features(20))
    with TemporaryDirectory() as folder:
        table, out = Path(folder) / "baseline.csv", Path(folder) / "out"
        lines, _ = traffic._part(0, 5000, 20, False, 7)
        captured = [json.loads(line)["captureData"] for line in lines]
        draw = random.Random(7)
        rows = [f"{each['endpointInput']['data']},{each['endpointOutput']['data']}" for each in captured]
        labels = [int(draw.random() < float(each["endpointOutput"]["data"])) for each in captured]
        header = ",".join([*traffic.features(20), "score", "label"])
        table.write_text(header + "\n" + "\n".join(f"{a},{b}" for a, b in zip(rows, labels, strict=True)) + "\n")
        status = plumbline(
            ["baseline", str(table), "--out", str(out), "--problem-type", "BinaryClassification",
             "--probability-attribute", "score", "--ground-truth-attribute", "label"]
        )  # fmt: skip
        assert status == 0, "the baseline could not be made"
        for path in sorted(out.rglob("*")):
            if path.is_file():
                stage.objects.put(DATA, f"baseline/{path.relative_to(out).as_posix()}", path.read_bytes())
    sagemaker = stage.plain.sagemaker
    container = {"Image": "image", "ModelDataUrl": f"s3://{DATA}/model.tar.gz"}
    role = "arn:aws:iam::123456789012:role/model"
    sagemaker.ensure_model({"ModelName": "bench-1", "ExecutionRoleArn": role, "PrimaryContainer": container})
    variant = {"VariantName": "AllTraffic", "ModelName": "bench-1", "InstanceType": "ml.m5.large",
               "InitialInstanceCount": 1, "InitialVariantWeight": 1.0}  # fmt: skip
    capture = {"EnableCapture": True, "InitialSamplingPercentage": 100, "DestinationS3Uri": f"s3://{DATA}/captures",
               "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]}  # fmt: skip
    sagemaker.ensure_endpoint_config(
        {"EndpointConfigName": "bench-1", "ProductionVariants": [variant], "DataCaptureConfig": capture}
    )
    sagemaker.ensure_endpoint(ENDPOINT, "bench-1")
    add_monitor(stage.plain, monitor)
    return monitor


@dataclass(frozen=True)
class Hour:
    """The capture files of an hour by minute, and its labels: (minutes after the hour's beginning, id, label)."""

    files: list[bytes]
    labels: list[tuple[float, str, str]]


def hour_of(number: int, rows: int, span: timedelta, seed: int) -> Hour:
    """The traffic of hour `number`; each label takes up to `span` from its request."""
    draw = random.Random(f"{seed}-{number}")
    lines, truth = traffic._part(number, rows, 20, False, seed)
    start = timestamp(BEGIN + number * HOUR)[:13]
    files: list[list[str]] = [[] for _ in range(FILES_AN_HOUR)]
    minutes: dict[str, float] = {}
    for line in lines:
        place = line.index('"inferenceTime":"') + len('"inferenceTime":"')
        minute = int(line[place + 14 : place + 16])
        files[minute].append(line[:place] + start + line[place + 13 :])
        event = line[line.index('"eventId":"') + 11 :][:36]
        minutes[event] = minute
    labels = []
    for each in truth:
        document = json.loads(each)
        event = document["eventMetadata"]["eventId"]
        delay = minutes[event] + 1 + draw.random() * (span / MINUTE)
        labels.append((delay, event, document["groundTruthData"]["data"]))
    return Hour(["".join(each).encode() for each in files], labels)


def simulate(rows: int, labels: str, by: str, days: int, progress: bool = True) -> Stage:
    """Play the days; the stage with what was counted in the last `PRICED_DAYS` of them."""
    clock = LogicalClock(BEGIN)
    stage = Stage(clock)
    monitor = furnish(stage)
    waiting: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    delivered: Counter[str] = Counter()
    settling: dict[str, datetime] = {}
    policy = monitor.policy
    needed = max(policy.min_labelled_rows, policy.min_label_coverage * rows)
    first_priced = BEGIN + max(days - PRICED_DAYS, 0) * DAY
    stage.meter.usage.clear()
    for number in range(24 * days):
        hour = hour_of(number, rows, SPANS[labels], 2026)
        begun = BEGIN + number * HOUR
        window = Window.of(begun, HOUR).name
        for delay, event, label in hour.labels:
            turn = int((number * 60 + delay) // 10) + 1
            waiting[turn].append((event, label, window))
        for minute, body in enumerate(hour.files):
            clock.advance(to=begun + (minute + 1) * MINUTE)
            if clock.now() == first_priced + MINUTE:
                stage.meter.usage.clear()
                stage.meter.used.clear()
                stage.found.invocations.clear()
            if body:
                name = f"{keys.capture_prefix('captures', ENDPOINT, 'AllTraffic')}/{keys.hour_folder(begun)}"
                key = f"{name}/{minute:02}-00-000-{uuid.UUID(int=number * 60 + minute)}.jsonl"
                stage.objects.put(DATA, key, body, content_type="application/jsonlines")
            turn = (number * 60 + minute + 1) // 10
            if (minute + 1) % 10 == 0 and (some := waiting.pop(turn, [])):
                _deliver(stage, by, turn, some)
                for _, _, of in some:
                    delivered[of] += 1
                    if delivered[of] >= needed and of not in settling:
                        settling[of] = max(clock.now(), Window.parse(of, HOUR).end + monitor.grace)
            stage.tick()
            _watch(stage, monitor, settling, delivered, needed)
        if progress and number % 24 == 23:
            print(f"\rday {number // 24 + 1} of {days}", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)
    stage.found.usage = Usage(stage.meter.usage)
    return stage


def _deliver(stage: Stage, by: str, turn: int, some: Sequence[tuple[str, str, str]]) -> None:
    if by == "webhook":
        stage.post(f"turn-{turn}", [{"id": event, "label": label} for event, label, _ in some])
        return
    body = b"".join(traffic._LABEL.format(label=label, event=event).encode() for event, label, _ in some)
    key = keys.join("ground-truth", keys.hour_folder(stage.clock.now()), f"turn-{turn}.jsonl")
    stage.objects.put(DATA, key, body, content_type="application/jsonlines")


def _watch(
    stage: Stage, monitor: Definition, settling: dict[str, datetime], delivered: Counter[str], needed: float
) -> None:
    """Note how long windows that have enough labels wait for a report that says so."""
    for window in [each for each, since in settling.items() if since <= stage.clock.now() and delivered[each] >= 0]:
        stored = evaluations.load_evaluation(stage.plain.ledger, monitor.name, window)
        if stored and stored.value.settled:
            stage.found.late.append((stage.clock.now() - settling[window]) / MINUTE)
            settling[window] = datetime.max.replace(tzinfo=UTC)


def stage_polls() -> Usage:
    """What the queues' event source mappings poll in a month, whatever the number of monitors."""
    return Usage({"sqs.requests": POLLS_A_MONTH * QUEUES})


def weeks(found: Counted, days: int) -> tuple[float, float]:
    """Calls of `window_due` for a window of the first and of the last week, over the first days of its life."""

    def of(first: int) -> float:
        names = [timestamp(BEGIN + (24 * first + hour) * HOUR) for hour in range(24 * 7)]
        return mean(sum(found.windows[name][age] for age in range(COMPARED_DAYS)) for name in names)

    last = days - 7 - COMPARED_DAYS
    return of(0), of(max(last, 0))


def report(stage: Stage, rows: int, labels: str, by: str, days: int) -> tuple[list[str], list[str]]:
    """What was counted, in lines; and the bounds that were missed."""
    found = stage.found
    scale = PRICED_DAYS / min(days, PRICED_DAYS)
    usage = Usage({name: count * scale for name, count in found.usage.items()})
    usage["cloudwatch.metrics"] += 5  # rows, label_coverage, accuracy, two counts of violations
    total = sum(dollars(usage).values())
    windows = 24 * PRICED_DAYS
    whole = [count for name, count in found.evaluated.items() if _is_whole(name, labels, days)]
    restated = max(whole or [0])
    early, late = weeks(found, days)
    waited = max(found.late, default=0.0)
    polls = sum(dollars(stage_polls()).values())
    processors = (f"{name} {used:.1f} ({found.invocations[name]})" for name, used in found.seconds.most_common())
    lines = [
        f"{rows} rows an hour, labels {labels} by {by}; {days} days, the last {min(days, PRICED_DAYS)} priced:",
        f"  ${total:.2f} a month for the endpoint; Model Monitor's jobs: ${model_monitor(windows, 2):.0f}",
        f"  ${polls:.2f} a month for polling the stage's {QUEUES} queues, once for all monitors",
        "  " + ", ".join(f"{name} ${cost:.2f}" for name, cost in by_service(usage).items() if cost >= 0.005),
        "  " + ", ".join(f"{name} {count:,.0f}" for name, count in sorted(usage.items()) if count >= 0.5),
        f"  evaluations of a window: most {restated}, mean {mean(whole or [0]):.1f}; {len(whole)} have all labels",
        f"  calls of a window in its first {COMPARED_DAYS} days: week 1 {early:.0f}, last week {late:.0f}",
        f"  from the label that settles a window to its report: at most {waited:.0f} min; {len(found.late)} windows",
        f"  CPU seconds (invocations): {', '.join(processors)}",
    ]
    missed = [*stage.failures]
    if total > MOST_DOLLARS and rows <= 1000:
        missed.append(f"${total:.2f} a month, at most ${MOST_DOLLARS:.2f}")
    if restated > MOST_RESTATEMENTS + 1:
        missed.append(f"{restated - 1} restatements of a window, at most {MOST_RESTATEMENTS}")
    if days >= 14 + COMPARED_DAYS and abs(late - early) > MOST_GROWTH * early:
        missed.append(f"{early:.0f} calls a window in week 1, {late:.0f} in the last")
    if waited > MOST_MINUTES:
        missed.append(f"{waited:.0f} minutes from a window's settling to its report, at most {MOST_MINUTES:.0f}")
    return lines, missed


def _is_whole(name: str, labels: str, days: int) -> bool:
    """Whether all labels of a window came within the simulation."""
    return datetime.fromisoformat(name) + HOUR + SPANS[labels] <= BEGIN + days * DAY


def coefficients() -> dict[str, Any]:
    """What one invocation of each function uses: a part for each, and a part for each row of a window.

    From two simulations of `MEASURED_DAYS` days with labels within two days, the first day of each left out.
    """
    found: list[dict[str, dict[str, float]]] = []
    counts: list[Counter[str]] = []
    for rows in MEASURED_ROWS:
        stage = simulate(rows, "2-days", "webhook", MEASURED_DAYS)
        each: dict[str, dict[str, float]] = defaultdict(dict)
        for (function, name), units in stage.meter.used.items():
            if function and stage.found.invocations[function]:
                each[function][name] = units / stage.found.invocations[function]
        found.append(each)
        counts.append(stage.found.invocations)
    low, high = MEASURED_ROWS
    functions = {}
    for function in sorted({*found[0], *found[1]}):
        names = sorted({*found[0].get(function, {}), *found[1].get(function, {})})
        lines = {}
        for name in names:
            one, other = (each.get(function, {}).get(name, 0.0) for each in found)
            slope = max(0.0, (other - one) / (high - low))
            lines[name] = {"each": max(0.0, one - slope * low), "row": slope}
        functions[function] = lines
    landed = counts[1]["ground_truth_landed"] / max(1, counts[1]["ground_truth_posted"])
    return {"rows": list(MEASURED_ROWS), "features": 20, "landed_a_post": landed, "functions": functions}


def cases(options: argparse.Namespace) -> Iterator[tuple[int, str, str]]:
    """The cases asked for, in order."""
    for rows in options.rows:
        for labels in options.labels:
            for by in options.by:
                yield rows, labels, by


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print, judge; 0 when every bound is kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.month", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1000], help="rows an hour")
    parser.add_argument("--labels", nargs="+", choices=[*SPANS], default=["30-days"], help="how long labels take")
    parser.add_argument("--by", nargs="+", choices=["webhook", "s3"], default=["webhook"])
    parser.add_argument("--write", action="store_true", help="write plumbline/usage.json, what `plumbline cost` knows")
    parser.add_argument("--days", type=int, help="days to simulate; default: 30 and the days that labels take")
    options = parser.parse_args(arguments)
    if options.write:
        USAGE.write_text(json.dumps(coefficients(), indent=1) + "\n")
        print(f"written: {USAGE}")
        return 0
    failed = False
    for rows, labels, by in cases(options):
        days = options.days or PRICED_DAYS + -(-SPANS[labels] // DAY)
        stage = simulate(rows, labels, by, days)
        lines, missed = report(stage, rows, labels, by, days)
        print(*lines, *(f"  NOT KEPT: {each}" for each in missed[:10]), sep="\n", flush=True)
        failed = failed or bool(missed)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
