"""The demo's second stream: Bike Sharing's "busy hour", on which a stale model visibly hurts.

The functions of app.py over the fakes of `emulator.memory`: one week of rides is an hour on the clock, labels come two
hours later. Models are scikit-learn's gradient-boosted trees, trained on the last 8 weeks. Beside the loop stand the
first model for ever, a new model each week, and persistence. Source and citation: examples/bikes/SOURCE.md.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import gzip
import json
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib import keys, wiring
from chalicelib.decisions.alert import Alert
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import NotFoundError
from chalicelib.evaluation.baseline_states import MEASUREMENT
from chalicelib.evaluation.measurement import Subject, measure
from chalicelib.facts import decisions, evaluations
from chalicelib.facts.decisions import Outcome, Record
from chalicelib.facts.evaluations import Evaluation
from chalicelib.monitors.baseline import baseline_documents
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.ground_truth import Label
from chalicelib.records.merge import read_merged
from chalicelib.records.table import Table, to_table
from emulator.clock import LogicalClock, timestamp
from emulator.memory import SETTINGS, MemoryServices, memory_services
from emulator.memory.functions import EventBucket, Functions
from emulator.memory.shared import SharedLedger
from plumbline.cli.account.kept_stage import KeptStage, keep
from plumbline.cli.add import add_monitor, read_definition
from plumbline.cli.serve import write_site

ROOT = Path(__file__).resolve().parents[1]
MONITOR, BUCKET, PIPELINE = "bikes", "plumbline-demo", "bikes-retraining"
WEEK, TRAINING_WEEKS, BASELINE_WEEKS = 168, 8, 4
# A request asks for a day.
DAY = 24
LABELS_LATE = 2
START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
SECRET = "whsec_" + base64.b64encode(b"the receiver's key, no secret").decode()

# What a whole run must keep.
MOST_ERROR, MOST_RETRAINS = 0.085, 8

Floats = npt.NDArray[np.float64]
Model = Any


@dataclass(frozen=True)
class Rides:
    """`lines`: the features of each hour as CSV text; `features` (n, 8); `labels` (n,): 1 where there were more rides
    than in the median hour of the first 8 weeks."""

    lines: list[str]
    features: Floats
    labels: Floats

    @property
    def weeks(self) -> int:
        return len(self.labels) // WEEK

    def part(self, first: int, until: int) -> slice:
        """The rows of the weeks from `first` on and before `until`."""
        return slice(first * WEEK, until * WEEK)


def load(path: Path = ROOT / "examples/bikes/bike_sharing_hour.csv.gz") -> Rides:
    """Read the data set."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    table = np.array([row[1:] for row in rows], dtype=np.float64)
    rides = table[:, 8]
    busy = (rides > np.median(rides[: TRAINING_WEEKS * WEEK])).astype(np.float64)
    return Rides([",".join(row[1:9]) for row in rows], table[:, :8], busy)


def train(features: Floats, labels: Floats) -> Model:
    """The pipeline's algorithm."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=0).fit(features, labels)


@dataclass
class BikesDemo:
    """The stage, the two endpoints, the pipeline, and what came out."""

    rides: Rides = field(default_factory=load)
    clock: LogicalClock = field(default_factory=lambda: LogicalClock(START))

    def __post_init__(self) -> None:
        plain = memory_services(self.clock.now, msgspec.structs.replace(SETTINGS, bucket="plumbline-stage"))
        objects = EventBucket(self.clock.now, plain.queues, BUCKET)
        self.services: MemoryServices = dataclasses.replace(
            plain,
            ledger=SharedLedger(self.clock.now),
            objects=objects,  # type: ignore[arg-type]
        )
        self._models: dict[str, Model] = {}
        self._published = 0
        self.services.scorer.models = _Deployed(self)
        self.services.secrets.values["/plumbline/test/routes/hook-key"] = SECRET
        wiring.use(self.services)
        self._functions = Functions(plain.queues)
        self._furnish()

    def run(self, weeks: int | None = None, progress: Callable[[int, int], None] = lambda week, weeks: None) -> None:
        """Play the weeks after the training, then wait until everything has come to rest."""
        last = self.rides.weeks if weeks is None else min(self.rides.weeks, TRAINING_WEEKS + weeks)
        for week in range(TRAINING_WEEKS, last + LABELS_LATE + 1):
            begin = START + (week - TRAINING_WEEKS + 1) * HOUR
            if week < last:
                self._traffic(week, begin)
            self.clock.advance(to=begin + HOUR)
            if TRAINING_WEEKS <= week - LABELS_LATE < last:
                self._label(week - LABELS_LATE)
            for minute in (1, 2, 7, 8, 9):
                self.clock.advance(to=begin + HOUR + minute * MINUTE)
                self._tick()
            progress(week + 1 - TRAINING_WEEKS, last - TRAINING_WEEKS)

    @cached_property
    def baseline(self) -> dict[str, bytes]:
        """Files of the last training weeks, each answered by a model that was trained on the other weeks."""
        rows = self.rides.part(TRAINING_WEEKS - BASELINE_WEEKS, TRAINING_WEEKS)
        answers = np.concatenate(
            [self._left_out(TRAINING_WEEKS - 1 - back) for back in reversed(range(BASELINE_WEEKS))]
        )
        asked = Payload("\n".join(self.rides.lines[rows]), "CSV", "text/csv")
        answered = Payload("\n".join(repr(float(each)) for each in answers), "CSV", "text/csv")
        label = Label("baseline", json.dumps([int(each) for each in self.rides.labels[rows]]), "JSON")
        request = CapturedRequest("baseline", None, START, asked, answered)
        table = to_table([request], {"baseline": label}, self._attributes)
        documents = baseline_documents(table, table.predictions, table.scores, START.isoformat())
        return {**documents, MEASUREMENT: measure(table, Subject(attributes=self._attributes)).to_bytes()}

    def _left_out(self, week: int) -> Floats:
        """Answers to one training week by a model of the others."""
        others = np.delete(np.arange(TRAINING_WEEKS * WEEK), self.rides.part(week, week + 1))
        twin = train(self.rides.features[others], self.rides.labels[others])
        answers: Floats = twin.predict_proba(self.rides.features[self.rides.part(week, week + 1)])[:, 1]
        return answers

    # What came out.

    @property
    def evaluated(self) -> list[Evaluation]:
        """Evaluations of all windows with traffic, in order."""
        return [one for one in evaluations.evaluations(self.services.ledger, MONITOR) if one.rows]

    @property
    def error(self) -> float:
        """Of the served answers over all labelled rows."""
        return float(np.mean([one.loss for one in self.evaluated if one.loss is not None]))

    def records(self) -> list[Record]:
        found = []
        for reference in decisions.references(self.services.ledger, MONITOR):
            record = decisions.load_record(self.services.ledger, reference.decision_id)
            assert record is not None
            found.append(record)
        return found

    def outcomes(self) -> list[Outcome]:
        return decisions.outcomes(self.services.ledger, MONITOR)

    def alerts(self) -> list[Alert]:
        """What the receiver got, in order."""
        bodies = [json.loads(each.body)["data"] for each in self.services.courier.delivered]
        return [msgspec.convert(body, Alert) for body in bodies]

    @property
    def failures(self) -> list[str]:
        return self._functions.failures

    # The account before Plumbline is added.

    @cached_property
    def _definition(self) -> Definition:
        return read_definition(ROOT / "examples/bikes/monitor.yaml")

    @property
    def _attributes(self) -> Attributes:
        return self._definition.attributes

    def _furnish(self) -> None:
        rows = self.rides.part(0, TRAINING_WEEKS)
        first = self._put_model("bikes-1", train(self.rides.features[rows], self.rides.labels[rows]))
        sagemaker = self.services.sagemaker
        role = "arn:aws:iam::123456789012:role/plumbline-demo-model"
        container = {"Image": "training", "ModelDataUrl": first}
        sagemaker.ensure_model({"ModelName": "bikes-1", "ExecutionRoleArn": role, "PrimaryContainer": container})
        variant = {"VariantName": "AllTraffic", "ModelName": "bikes-1", "InstanceType": "ml.m5.large",
                   "InitialInstanceCount": 1, "InitialVariantWeight": 1.0}  # fmt: skip
        capture = {"EnableCapture": True, "InitialSamplingPercentage": 100,
                   "DestinationS3Uri": f"s3://{BUCKET}/captures",
                   "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]}  # fmt: skip
        sagemaker.ensure_endpoint_config(
            {"EndpointConfigName": "bikes-1", "ProductionVariants": [variant], "DataCaptureConfig": capture}
        )
        sagemaker.ensure_endpoint(MONITOR, "bikes-1")
        sagemaker.add_pipeline(PIPELINE, {"ManifestUri": None, "OutputUri": None})
        for path, body in self.baseline.items():
            self.services.objects.put(BUCKET, f"baseline/{path}", body)
        self.clock.advance(to=START + HOUR)
        add_monitor(self.services, self._definition)

    def _put_model(self, name: str, model: Model) -> str:
        uri = f"s3://{BUCKET}/models/{name}/model.tar.gz"
        self._models[uri] = model
        self.services.objects.put(*split_s3_uri(uri), b"a model")
        return uri

    def model_behind(self, endpoint: str) -> Model:
        """The model that an endpoint answers with. Raises NotFoundError."""
        sagemaker = self.services.sagemaker
        config = sagemaker.describe_endpoint_config(sagemaker.describe_endpoint(endpoint).config_name)
        container = sagemaker.describe_model(config["ProductionVariants"][0]["ModelName"])["PrimaryContainer"]
        package = container.get("ModelPackageName")
        uri = sagemaker.describe_model_package(package).model_data_url if package else container["ModelDataUrl"]
        return self._models[uri]

    # What callers, the label system and AWS do.

    def _traffic(self, week: int, begin: datetime) -> None:
        """Seven requests of a day each, captured in one file."""
        rows = self.rides.part(week, week + 1)
        answers = self.model_behind(MONITOR).predict_proba(self.rides.features[rows])[:, 1]
        lines = []
        for day in range(WEEK // DAY):
            part = slice(day * DAY, (day + 1) * DAY)
            time = begin + (8 + 7 * day) * MINUTE
            asked = "\n".join(self.rides.lines[rows][part])
            answered = "\n".join(repr(float(each)) for each in answers[part])
            lines.append(_captured(week, day, time, asked, answered))
        self.clock.advance(to=begin + 52 * MINUTE)
        prefix = keys.capture_prefix("captures", MONITOR, "AllTraffic")
        name = f"{prefix}/{keys.hour_folder(begin)}/08-00-000-{uuid.UUID(int=week)}.jsonl"
        self.services.objects.put(BUCKET, name, b"".join(lines))
        self._settle()

    def _label(self, week: int) -> None:
        labels = self.rides.labels[self.rides.part(week, week + 1)].reshape(-1, DAY)
        lines = []
        for day, some in enumerate(labels):
            data = json.dumps([int(each) for each in some])
            lines.append(
                msgspec.json.encode(
                    {
                        "groundTruthData": {"data": data, "encoding": "JSON"},
                        "eventMetadata": {"eventId": f"{week}-{day}"},
                        "eventVersion": "0",
                    }
                )
            )
        key = f"ground-truth/bikes/{keys.hour_folder(self.clock.now())}/week-{week}.jsonl"
        self.services.objects.put(BUCKET, key, b"\n".join(lines) + b"\n")
        self._settle()

    def _tick(self) -> None:
        self._functions.tick(self.clock.now())
        self._settle()

    def _settle(self) -> None:
        """Everything that AWS does by itself: events, alerts, pipelines."""
        while True:
            self._functions.settle()
            published = self.services.topic.published[self._published :]
            self._published += len(published)
            envelopes = [
                json.dumps({"Type": "Notification", "Subject": each.subject, "Message": each.message}).encode()
                for each in published
            ]
            self.services.queues.send("alerts", envelopes)
            if not published and not self._run_pipelines():
                return

    def _run_pipelines(self) -> int:
        """Train what waits to be: a model for the gate without the held-back windows, and the one to serve."""
        sagemaker = self.services.sagemaker
        running = [each for each in sagemaker.executions.values() if each.status == "Executing"]
        for execution in running:
            given = {each["Name"]: each["Value"] for each in sagemaker.requests[execution.arn]["PipelineParameters"]}
            manifest = msgspec.json.decode(self.services.objects.get(*split_s3_uri(given["ManifestUri"])).body)
            training, holdback = (self._rows(manifest[part]) for part in ("training", "holdback"))
            name = execution.arn[-4:]
            gate = self._put_model(f"gate-{name}", train(*_learned([training])))
            serving = self._put_model(f"serve-{name}", train(*_learned([training, holdback])))
            package = sagemaker.add_model_package(
                MONITOR, model_data_url=serving, metadata={"gate_model_data_url": gate}
            )
            sagemaker.finish_execution(execution.arn, "Succeeded", package=package)
            detail = {"pipelineExecutionArn": execution.arn, "currentPipelineExecutionStatus": "Succeeded"}
            event = {"detail-type": "SageMaker Model Building Pipeline Execution Status Change",
                     "source": "aws.sagemaker", "time": timestamp(self.clock.now()), "detail": detail}  # fmt: skip
            self.services.queues.send("pipelines", [json.dumps(event).encode()])
        return len(running)

    def _rows(self, windows: Sequence[dict[str, Any]]) -> Table:
        merged = []
        for uri in (uri for window in windows for uri in window["merged"]):
            merged += read_merged(self.services.objects.get(*split_s3_uri(uri)).body, uri).requests
        labels = {one.request.join_id: one.label for one in merged if one.label}
        return to_table([one.request for one in merged], labels, self._attributes)


class _Deployed(dict[str, Callable[[list[list[str]]], list[Any]]]):
    """The fakes' models: whatever an endpoint that exists deploys now."""

    def __init__(self, demo: BikesDemo) -> None:
        super().__init__()
        self._demo = demo

    def __contains__(self, endpoint: object) -> bool:
        try:
            return self._demo.services.sagemaker.describe_endpoint(str(endpoint)).status == "InService"
        except NotFoundError:
            return False

    def __getitem__(self, endpoint: str) -> Callable[[list[list[str]]], list[Any]]:
        model = self._demo.model_behind(endpoint)
        return lambda rows: [float(each) for each in model.predict_proba(np.array(rows, dtype=np.float64))[:, 1]]


def _captured(week: int, day: int, time: datetime, asked: str, answered: str) -> bytes:
    sides = {
        "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": asked, "encoding": "CSV"},
        "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": answered, "encoding": "CSV"},
    }
    metadata = {
        "eventId": str(uuid.UUID(int=week * 1000 + day)),
        "inferenceId": f"{week}-{day}",
        "inferenceTime": timestamp(time),
    }
    return msgspec.json.encode({"captureData": sides, "eventMetadata": metadata, "eventVersion": "0"}) + b"\n"


def _learned(tables: Sequence[Table]) -> tuple[Floats, Floats]:
    features = [np.array(list(table.features.values()), dtype=np.float64).T for table in tables]
    labels = np.concatenate([table.labels for table in tables])
    known = ~np.isnan(labels)
    return np.concatenate(features)[known], labels[known]


def play(folder: Path, weeks: int | None = None) -> tuple[str, list[str]]:
    """Run the stream, write what came out below `folder`; returns the table and, in words, what should have been
    otherwise (of a whole run)."""
    demo = BikesDemo()
    try:
        demo.run(weeks)
    finally:
        wiring.use(None)
    alternatives = others(demo.rides, weeks)
    losses = np.array([one.loss for one in demo.evaluated if one.loss is not None])
    outcomes = demo.outcomes()
    folder.mkdir(parents=True)
    keep(folder, demo.services)
    write_site(KeptStage(folder), folder / "page")
    (folder / "outcomes.json").write_bytes(msgspec.json.format(msgspec.json.encode(outcomes)))
    (folder / "alerts-received.json").write_bytes(msgspec.json.format(msgspec.json.encode(demo.alerts())))
    _draw(folder / "error-over-time.png", losses, alternatives, outcomes)
    kinds = Counter(outcome.kind for outcome in outcomes)
    lines = ["bikes: is this hour a busy one? error rate over all labelled rows"]
    for error, name in (
        (float(alternatives.never.mean()), "the first model for ever"),
        (float(losses.mean()), f"with the loop, default policy ({kinds['started']} retrains, {kinds['promoted']} "
                               f"promotions, {kinds['rolled_back']} roll-backs)"),
        (float(alternatives.weekly.mean()), f"a new model each week ({len(alternatives.weekly)} retrains)"),
        (float(alternatives.persistence.mean()), "persistence: the same hour as far back as labels are known"),
    ):  # fmt: skip
        lines.append(f"  {error:.4f}  {name}")
    for record in demo.records():
        if record.action in ("RETRAIN", "ROLL_BACK"):
            lines.append(f"  {record.decision_id[:12]}  {record.action:9}  window {record.window}: {record.reasons[0]}")
    faults = list(demo.failures)
    if weeks is None and (losses.mean() > MOST_ERROR or kinds["started"] > MOST_RETRAINS):
        faults.append(f"bikes: expected an error of at most {MOST_ERROR} with at most {MOST_RETRAINS} retrainings")
    return "\n".join(lines), faults


def _draw(path: Path, losses: Floats, alternatives: Others, outcomes: Sequence[Outcome]) -> None:
    """Error by week, mean of four: the loop, the first model, a new model each week; and when the loop acted."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plot

    figure, axes = plot.subplots(figsize=(12, 5.5), dpi=120)
    for values, colour, name in (
        (alternatives.never, "#d1242f", "the first model for ever"),
        (losses, "#0969da", "with the loop"),
        (alternatives.weekly, "#57606a", "a new model each week"),
    ):
        smooth = [values[max(0, week - 3) : week + 1].mean() for week in range(len(values))]
        axes.plot(smooth, color=colour, linewidth=2.0, label=f"{name} ({values.mean():.3f})")
    for outcome in outcomes:
        if outcome.kind in ("promoted", "rolled_back"):
            week = (datetime.fromisoformat(outcome.at) - START) / HOUR - 1
            style = "-" if outcome.kind == "promoted" else "--"
            axes.axvline(week, color="#1a7f37", linestyle=style, linewidth=1.1, alpha=0.75)
    axes.set_xlabel("week after the training (line: challenger promoted; dashed: past champion back)")
    axes.set_ylabel("error rate of the served answers, mean of 4 weeks")
    axes.set_ylim(0, None)
    axes.set_title("Bike Sharing, busy hour: a stale model hurts, the loop recovers")
    axes.legend(loc="upper right", fontsize=9)
    axes.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path)
    plot.close(figure)


@dataclass(frozen=True)
class Others:
    """What else could have been done, as the error of each week: the first model for ever, a new model each week (as
    soon as its labels are there), the label of the same hour as far back as labels are known."""

    never: Floats
    weekly: Floats
    persistence: Floats


def others(rides: Rides, weeks: int | None = None) -> Others:
    """Of the weeks after the training."""
    last = rides.weeks if weeks is None else min(rides.weeks, TRAINING_WEEKS + weeks)
    first = train(rides.features[rides.part(0, TRAINING_WEEKS)], rides.labels[rides.part(0, TRAINING_WEEKS)])
    never, weekly, persistence = [], [], []
    for week in range(TRAINING_WEEKS, last):
        rows = rides.part(week, week + 1)
        truth = rides.labels[rows]
        never.append(float(np.mean(first.predict(rides.features[rows]) != truth)))
        # Labels come two windows late, and training takes one.
        until = max(TRAINING_WEEKS, week - LABELS_LATE - 1)
        known = rides.part(until - TRAINING_WEEKS, until)
        model = train(rides.features[known], rides.labels[known])
        weekly.append(float(np.mean(model.predict(rides.features[rows]) != truth)))
        back = rides.part(week - LABELS_LATE - 1, week - LABELS_LATE)
        persistence.append(float(np.mean(rides.labels[back] != truth)))
    return Others(np.array(never), np.array(weekly), np.array(persistence))
