"""The readers under the law: what is read, and what must hold of anything that was accepted.

Each function takes bytes as they may come, drives the project's own reader with them and on to the first use of the
value, and states the properties of what was accepted. Add a reader by adding a function and a line to READERS.
"""

from __future__ import annotations

import base64
import importlib
import pkgutil
import re
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from chalicelib import events, facts, keys
from chalicelib.decisions.alert import decode_alert, slack_message, webhook_body
from chalicelib.definition import canonical_json, decode_definition, parse_definition, version_of
from chalicelib.errors import PlumblineError
from chalicelib.evaluation.broken import broken_columns
from chalicelib.evaluation.evaluate import Baselines, Findings, Task, evaluate
from chalicelib.evaluation.measurement import Measurement, Subject
from chalicelib.evaluation.stored_window import KeptLabels, Measured
from chalicelib.evaluation.window_reader import WindowReader
from chalicelib.facts.document import Stored, load, load_all
from chalicelib.facts.monitors import sources_of
from chalicelib.handlers.ground_truth_posted import PostedRequest, handle
from chalicelib.monitors import model_bias, model_explainability
from chalicelib.monitors.baseline import read_analysis, read_constraints, read_model_constraints, read_statistics
from chalicelib.monitors.data_quality import check_constraints as check_data_constraints
from chalicelib.monitors.documents import encode_json
from chalicelib.monitors.model_quality import check_constraints as check_model_constraints
from chalicelib.monitors.model_quality import deviations as model_deviations
from chalicelib.monitors.model_quality import statistics as model_statistics
from chalicelib.ports import Item
from chalicelib.records.attributes import Attributes
from chalicelib.records.batch import read_manifest, read_transform
from chalicelib.records.batch_reader import Source, captures_in
from chalicelib.records.capture import (
    BadLines,
    CapturedRequest,
    Payload,
    lines_of,
    read_capture_lines,
)
from chalicelib.records.files import kind_of
from chalicelib.records.ground_truth import Conflict, Label, read_ground_truth, resolve, write_ground_truth
from chalicelib.records.id_filters import candidates, filter_from_bytes
from chalicelib.records.id_hashes import hash_ids, hashes_from_bytes
from chalicelib.records.label_containers import contained as contained_of
from chalicelib.records.label_containers import container_from_bytes, container_of
from chalicelib.records.label_containers import labels_of as contained_labels
from chalicelib.records.label_table import LabelColumns, columns_of
from chalicelib.records.merge import Merged, merge, read_merged, write_merged
from chalicelib.records.sample import questions
from chalicelib.records.table import feature_rows, to_table
from chalicelib.records.window import Window
from chalicelib.states.attributions import Attributions, attributions_of
from chalicelib.states.bias import BiasCounts, bias_counts_of
from chalicelib.states.categories import Categories
from chalicelib.states.class_matrix import ClassMatrix
from chalicelib.states.facets import BiasSettings, Facet
from chalicelib.states.moments import Moments
from chalicelib.states.profile import Profile, profile_of
from chalicelib.states.quantiles import Quantiles
from chalicelib.states.residuals import Residuals
from chalicelib.states.scores import Tally, tally
from chalicelib.states.serialization import MOST_ROWS
from chalicelib.webhooks import SignatureError, signed_headers, verify
from emulator.memory import SETTINGS, memory_services
from plumbline.cli.add import read_definition
from trials.fuzz.law import Reader, Reading, accepted, require

NOW = datetime(2026, 3, 1, 12, 59, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

# What monitors say of their payloads: CSV by position, JSON by name, everything declared, nothing but classes, other
# problem types.
ATTRIBUTES = (
    Attributes(probability_attribute="0"),
    Attributes(
        features_attribute="instances[*].features",
        inference_attribute="predictions[*].predicted_label",
        probability_attribute="predictions[*].score",
        ground_truth_attribute="label",
    ),
    Attributes(
        features=tuple(f"f{index}" for index in range(7)),
        output_names=("score", "class"),
        probability_attribute="score",
        inference_attribute="class",
    ),
    Attributes(inference_attribute="predicted_label", features_attribute="features"),
    Attributes(problem_type="MulticlassClassification", inference_attribute="0"),
    Attributes(problem_type="Regression", inference_attribute="0"),
)

# The same payloads as the answers of other problems.
OTHERS = (
    Attributes(problem_type="MulticlassClassification", inference_attribute="0"),
    Attributes(problem_type="Regression", inference_attribute="predictions[*].score"),
)


def _attributes_for(data: bytes) -> Attributes:
    """One way of reading an input, which the input says itself: all of them take too long."""
    return ATTRIBUTES[zlib.crc32(data) % len(ATTRIBUTES)]


# Captures and labels --------------------------------------------------------------------------------------------------


def capture(data: bytes) -> Reading:
    """A capture file, on to a window's reports."""
    bad = BadLines("captures/file.jsonl", "a capture record")
    read = [each.requests() for each, _ in captures_in(Source("file", lambda: [data]), bad, Attributes())]
    every = [request for some in read for request in some]
    told = [each.reason for each in bad.named]
    if not every:
        return Reading(told, tuple(told))
    window = Window.of(every[0].inference_time, HOUR)
    inside = {each.event_id: each for each in reversed(every) if window.contains(each.inference_time)}
    requests = [*inside.values()]
    labels = {each.join_id: Label(each.join_id, "1", "CSV", NOW) for each in every}
    _merged_reads_back(merge(requests, labels))
    attributes = _attributes_for(data)
    table = to_table(requests, labels, attributes)
    told += [*table.bad, *table.noted]
    require(len(feature_rows(table)) == len(table), "a line of features for each record")
    measured = _measured(data, attributes, window)
    require(measured.requests == len(requests) and len(measured.answers) == len(table), "each request and record once")
    with accepted("a stored window reads back"):
        again = Measured.from_bytes(measured.to_bytes(), "measured")
        require(again.to_bytes() == measured.to_bytes(), "a stored window reads back equal")
    found = _evaluated(measured, labels, window)
    told += found.broken
    as_rows = _measured(data, attributes, window, bias=False).measurement
    require(
        as_rows == msgspec.structs.replace(measured.measurement, unmeasured=as_rows.unmeasured), "one way or the other"
    )
    if zlib.crc32(data) % 7 == 0 and len(data) < 10_000 and not measured.measurement.repeated:
        lines = [line for _, line in lines_of(data) if read_capture_lines([(1, line)], BadLines("", ""))]
        turned = _measured(b"\n".join(lines[::-1]), attributes, window)
        others = msgspec.structs.replace(turned, bad=measured.bad, more_bad=measured.more_bad)
        require(_evaluated(others, labels, window).digest == found.digest, "the order of requests does not matter")
    for other in OTHERS[: zlib.crc32(data) % 3]:
        told += _evaluated(_measured(data, other, window), labels, window).broken
    for question in questions(found.sample):
        require(question.body.decode() or not found.rows, "a question is text")
    return Reading((found.digest, told), tuple(told))


def _measured(data: bytes, attributes: Attributes, window: Window, bias: bool = True) -> Measured:
    """With bias all requests are laid out as tables; without it, plain rows are counted as cells."""
    reader = WindowReader(Subject(attributes=attributes, bias=BIAS if bias else None), window, 20)
    reader.add("captures/file.jsonl", "etag", data)
    return reader.finish()


def _evaluated(measured: Measured, labels: Mapping[str, Label], window: Window) -> Findings:
    assert measured.subject is not None
    named = bool(measured.subject.attributes.features)
    # A label of nobody ("") is none.
    columns = columns_of([label for label in labels.values() if label.id])
    return evaluate(
        Task(
            monitor="churn",
            endpoint="churn",
            variant="AllTraffic",
            window=window,
            monitor_types=("DataQuality", "ModelQuality", *(("ModelBias",) if named else ())),
            subject=measured.subject,
            measured=measured,
            labels=columns.resolved(),
            label_objects=1,
            baselines=Baselines(),
            min_labelled_rows=1,
            min_label_coverage=0.0,
            sample_rows=20,
        )
    )


def _merged_reads_back(merged: Merged) -> None:
    with accepted("merged records read back"):
        again = read_merged(write_merged(merged), "merged")
    require([one.request for one in again.requests] == [one.request for one in merged.requests], "requests read back")
    told = [(one.label.data, one.label.encoding) for one in merged.requests]
    require([(one.label.data, one.label.encoding) for one in again.requests] == told, "labels read back")


def merged(data: bytes) -> Reading:
    """A merged file in SageMaker's layout."""
    found = read_merged(data, "merged/file.jsonl")
    _merged_reads_back(found)
    told = tuple(bad.reason for bad in found.bad_lines)
    return Reading((write_merged(found), told), told)


def transform(data: bytes) -> Reading:
    """A batch transform's output, with and without captured input, and the same bytes as a manifest.

    A long one, of up to 30,000 records, is read in one of the three ways, which the input says itself: all of them in
    one go are three readings, not one that is too slow.
    """
    kind = kind_of(data)
    outcomes: list[object] = [kind]
    told: list[str] = []
    ways = ((None, NOW), (data, NOW), (None, None))
    for asked, started in ways if len(data) < 10_000 else (ways[zlib.crc32(data) // 8 % 3],):
        try:
            file = read_transform(data, "output/file.out", asked, started)
        except PlumblineError as error:
            told.append(str(error))
            continue
        told += [bad.reason for bad in file.bad_lines]
        labels = {each.join_id: Label(each.join_id, "1", "CSV", NOW) for each in file.requests}
        _merged_reads_back(merge(file.requests, labels))
        table = to_table(file.requests, labels, _attributes_for(data))
        told += [*table.bad, *table.noted]
        require(len(feature_rows(table)) == len(table), "a line of features for each record")
        outcomes += [file.requests, table.scores.tobytes(), table.labels.tobytes()]
    try:
        outcomes += read_manifest(data, "manifest.json")
    except PlumblineError as error:
        told.append(str(error))
    return Reading((outcomes, told), tuple(told))


def ground_truth(data: bytes) -> Reading:
    """A ground-truth file, on to the labels of a table."""
    file = read_ground_truth(data, "labels/file.jsonl", NOW)
    told = [bad.reason for bad in file.bad_lines]
    with accepted("labels read back"):
        again = read_ground_truth(write_ground_truth(file.labels), "labels/file.jsonl", NOW)
    require(set(again.labels) == set(file.labels) and not again.bad_lines, "labels read back equal")
    columns = columns_of(file.labels)
    with accepted("columns of labels read back"):
        require(LabelColumns.from_bytes(columns.to_bytes()).to_bytes() == columns.to_bytes(), "columns read back equal")
    distinct = {(each.id, each.data, each.encoding, each.label_time, each.record_index): each for each in file.labels}
    there, wanted = columns.resolved().by_id([each.id for each in file.labels]), resolve(distinct.values()).by_id
    require({id: each.data for id, each in there.items()} == {id: each.data for id, each in wanted.items()}, "kept")
    container = container_of([contained_of("labels", "file.jsonl", "etag", NOW, file.labels)])
    [kept] = container_from_bytes(container.to_bytes(), "container").sources
    require(
        set(contained_labels(kept, "labels/file.jsonl")) == set(file.labels), "a container keeps what the file says"
    )
    rules: tuple[Conflict, ...] = ("latest", "first", "reject")
    for rule in rules:
        require(resolve(file.labels, rule).by_id == resolve(file.labels[::-1], rule).by_id, "any order, same label")
    by_id = resolve(file.labels).by_id
    asked = Payload("1,2\n3,4\n", "CSV", "text/csv")
    requests = [CapturedRequest(identity, None, NOW, asked, Payload("0\n1", "CSV")) for identity in by_id]
    table = to_table(requests, by_id, _attributes_for(data))
    told += table.bad
    known = set(table.labels[~np.isnan(table.labels)].tolist())
    if table.problem_type == "BinaryClassification":
        require(known <= {0.0, 1.0}, "a label is 0 or 1")
    if table.problem_type == "MulticlassClassification":
        require(known <= set(range(len(table.classes))), "a label is one of the classes")
    return Reading((write_ground_truth(file.labels), table.labels.tobytes(), told), tuple(told))


# Definitions ----------------------------------------------------------------------------------------------------------


class _File:
    """A path whose content is at hand."""

    def __init__(self, data: bytes, suffix: str) -> None:
        self._data, self.suffix = data, suffix

    def read_text(self, encoding: str) -> str:
        return self._data.decode(encoding)

    def __str__(self) -> str:
        return f"monitor{self.suffix}"


def definition(data: bytes) -> Reading:
    """A monitor definition, as JSON and as YAML; what is accepted is stored, read back and used.

    YAML is read by Python code at 100 KB/s: long files are tried as JSON only.
    """
    outcomes = []
    for suffix in (".json", ".yaml") if len(data) < 10_000 else (".json",):
        file: Any = _File(data, suffix)
        try:
            found = read_definition(file)
        except PlumblineError as error:
            outcomes.append(str(error))
            continue
        stored = canonical_json(found)
        with accepted("a definition reads back"):
            again = decode_definition(stored, "definition")
            require(parse_definition(msgspec.json.decode(stored)) == found, "what is stored could be added again")
        require(again == found and version_of(again) == version_of(found), "a definition reads back equal")
        window = Window.of(NOW, found.window_length)
        require(window.end + found.grace + found.horizon > NOW, "a window ends")
        require(sources_of(found), "a definition has sources")
        to_table(SAMPLE, {each.join_id: Label(each.join_id, '{"label": 1}') for each in SAMPLE}, found.attributes)
        outcomes.append(version_of(found))
    return Reading(outcomes)


SAMPLE = (
    CapturedRequest("a", None, NOW, Payload("1,2\n3,x", "CSV"), Payload("0.5,1\n0.1,0", "CSV")),
    CapturedRequest(
        "b",
        None,
        NOW,
        Payload('{"instances": [{"features": [1, "x", null]}, {"features": {"a": 1}}]}', "JSON"),
        Payload('{"predictions": [{"score": 0.5, "predicted_label": 1}, {"score": "1e400"}]}', "JSON"),
    ),
)


# Stored bytes ---------------------------------------------------------------------------------------------------------

_STATES: tuple[Callable[[bytes], Any], ...] = (
    Attributions.from_bytes,
    BiasCounts.from_bytes,
    Categories.from_bytes,
    ClassMatrix.from_bytes,
    Measurement.from_bytes,
    Moments.from_bytes,
    Profile.from_bytes,
    Quantiles.from_bytes,
    Residuals.from_bytes,
    Tally.from_bytes,
)


def state(data: bytes) -> Reading:
    """A stored state or window: each kind of reader gets the bytes; what one accepts adds up."""
    outcomes: list[object] = []
    errors: list[str] = []
    for read in _STATES:
        try:
            found = read(data)
        except PlumblineError as error:
            errors.append(str(error))
            continue
        with accepted("a state reads back"):
            require(type(found).from_bytes(found.to_bytes()) == found, "a state reads back equal")
        require(found + type(found)() == found, "adding nothing changes nothing")
        _used(_doubled(found))
        outcomes.append(found.to_bytes())
    try:
        measured = Measured.from_bytes(data, "measured")
        require(measured.to_bytes() == Measured.from_bytes(measured.to_bytes(), "again").to_bytes(), "reads back equal")
        outcomes.append(measured.to_bytes())
    except PlumblineError as error:
        errors.append(str(error))
    try:
        kept = KeptLabels.from_bytes(data, "labels")
        outcomes += [kept.sources, kept.columns.resolved().texts]
    except PlumblineError as error:
        errors.append(str(error))
    try:
        container = container_from_bytes(data, "container")
        require(container_from_bytes(container.to_bytes(), "container") == container, "a container reads back equal")
        outcomes += [container.digest, *(len(contained_labels(each, each.key)) for each in container.sources)]
    except PlumblineError as error:
        errors.append(str(error))
    try:
        outcomes.append(hashes_from_bytes(data, "ids").tolist())
    except PlumblineError as error:
        errors.append(str(error))
    try:
        made, wanted = filter_from_bytes(data, "filter"), hash_ids({"a", "b"})
        outcomes.append(candidates(made, wanted).windows.tolist())
    except PlumblineError as error:
        errors.append(str(error))
    return Reading((outcomes, errors), tuple(errors))


def _doubled(found: Any) -> Any:
    try:
        return found + found
    except ValueError as error:
        require(str(MOST_ROWS) in str(error), "two states add up, unless they have more rows than there are")
        return found


def _used(found: Any) -> None:
    if isinstance(found, Moments):
        require(not found.count or found.mean == found.mean, "a mean is a number")
        require(found.std_dev >= 0.0, "a deviation is not negative")
    if isinstance(found, Quantiles):
        require(len(found.ranks(np.array([0.0, 1.0]))) == 2, "ranks of points")
    if isinstance(found, BiasCounts):
        encode_json(model_bias.analysis(found, BIAS))
    if isinstance(found, Attributions) and found.rows:
        encode_json(model_explainability.analysis({"label0": model_explainability.global_attributions(found)}))
    if isinstance(found, Categories):
        require(found.distinct >= 0.0, "different values are counted")
    if isinstance(found, Tally | ClassMatrix | Residuals):
        require(found.rows >= 0, "rows are counted")
        encode_json(model_statistics(found, NOW))
        encode_json(model_deviations(found))


class _OneItem:
    """A table that answers every question with one item."""

    def __init__(self, body: bytes) -> None:
        self.item = Item("MONITOR#churn", "FACT#1", "r1", body)

    def get(self, *_: object) -> Item:
        return self.item

    def query(self, *_: object, **__: object) -> list[Item]:
        return [self.item]


def _kinds_of_facts() -> tuple[type[msgspec.Struct], ...]:
    """Every document that a file of facts/ keeps in the table."""
    found = []
    for module in pkgutil.iter_modules(facts.__path__):
        for kind in vars(importlib.import_module(f"chalicelib.facts.{module.name}")).values():
            mine = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
            if mine and kind is not Stored and kind.__module__ == f"chalicelib.facts.{module.name}":
                found.append(kind)
    return tuple(found)


KINDS_OF_FACTS = _kinds_of_facts()


def fact(data: bytes) -> Reading:
    """A document of the table, as every kind of fact."""
    ledger: Any = _OneItem(data)
    outcomes: list[object] = []
    told = []
    for kind in KINDS_OF_FACTS:
        try:
            stored = load(ledger, "MONITOR#churn", "FACT#1", kind)
            require(stored is not None and load_all(ledger, "MONITOR#churn", kind) == [stored.value], "read alike")
        except PlumblineError as error:
            told.append(str(error))
            continue
        assert stored is not None
        again: Any = _OneItem(msgspec.json.encode(stored.value))
        with accepted("a fact reads back"):
            require(load(again, "MONITOR#churn", "FACT#1", kind) == stored, "a fact reads back equal")
        outcomes.append(msgspec.json.encode(stored.value))
    try:
        outcomes.append(canonical_json(decode_definition(data, "definition")))
    except PlumblineError as error:
        told.append(str(error))
    return Reading((outcomes, told), tuple(told))


# A baseline as SageMaker or others wrote it ---------------------------------------------------------------------------


def _profile() -> Profile:
    rows = [f"{index},{index / 8},word{index % 3},{'' if index % 4 else 1}" for index in range(40)]
    requests = [CapturedRequest(str(index), None, NOW, Payload(row, "CSV")) for index, row in enumerate(rows)]
    names = ("whole", "number", "message", "second_message")
    return profile_of(to_table(requests, {}, Attributes(features=names, probability_attribute="0")))


PROFILE = _profile()
QUALITY = model_statistics(
    tally(np.linspace(0, 1, 20), np.array([0.0, 1.0] * 10), np.array([0.0] * 5 + [1.0] * 15)), NOW
)
BIAS = BiasSettings(facets=(Facet(name="f0", above=0.5), Facet(name="f1", values=("a", "b"))), group_variable="f2")
_ROWS = [f"{index / 8},{'ab'[index % 2]},{'xyz'[index % 3]},{index},{index},{index},{index}" for index in range(12)]
_ASKED = [
    CapturedRequest(str(index), None, NOW, Payload(row, "CSV"), Payload(f"{index / 12},{index % 2}", "CSV"))
    for index, row in enumerate(_ROWS)
]
_ANSWERED = {each.join_id: Label(each.join_id, str(int(each.join_id) % 3 % 2)) for each in _ASKED}
BIAS_COUNTS = bias_counts_of(to_table(_ASKED, _ANSWERED, ATTRIBUTES[2]), BIAS)
BIAS_ANALYSIS = model_bias.analysis(BIAS_COUNTS, BIAS)
ATTRIBUTION_STATE = attributions_of(np.array([[0.1, -0.2], [0.3, 0.4]]), np.array([0.5, 0.5]), ("f0", "f1"))
ATTRIBUTIONS = model_explainability.analysis({"label0": model_explainability.global_attributions(ATTRIBUTION_STATE)})
FEATURES = {"features": [{"name": column.name, "inferred_type": column.inferred_type} for column in PROFILE.columns]}


def baseline(data: bytes) -> Reading:
    """One baseline file in each of its places."""
    outcomes: list[object] = []

    def attempt(use: Callable[[], object]) -> None:
        try:
            outcomes.append(use())
        except PlumblineError as error:
            outcomes.append(str(error))

    def as_constraints() -> object:
        constraints = read_constraints(data, "constraints.json")
        broken = broken_columns(PROFILE, constraints)
        return broken, check_data_constraints(PROFILE, constraints, {"features": []})

    def as_statistics() -> object:
        return check_data_constraints(PROFILE, FEATURES, read_statistics(data, "statistics.json"))

    def as_model_constraints() -> object:
        return check_model_constraints(QUALITY, read_model_constraints(data, "constraints.json"))

    def as_bias_constraints() -> object:
        return model_bias.check_constraints(BIAS_ANALYSIS, read_analysis(data, "analysis.json"))

    def as_attributions() -> object:
        return model_explainability.check_constraints(ATTRIBUTIONS, read_analysis(data, "analysis.json"))

    for use in (as_constraints, as_statistics, as_model_constraints, as_bias_constraints, as_attributions):
        attempt(use)
    return Reading(outcomes)


# Messages -------------------------------------------------------------------------------------------------------------


def event(data: bytes) -> Reading:
    """The body of a queue message, as every kind of event."""
    body = _any_text(data)
    outcomes: list[object] = []
    errors: list[str] = []

    def attempt(read: Callable[[str], Any], use: Callable[[Any], object]) -> None:
        try:
            outcomes.append(use(read(body)))
        except PlumblineError as error:
            errors.append(str(error))

    def as_object(found: events.ObjectCreated) -> object:
        again = events.object_created_body(found.bucket, found.key, found.etag, found.size, found.time).decode()
        with accepted("an event of ours reads back"):
            require(events.object_created(again) == _to_seconds(found), "an event of ours reads back equal")
        return found, keys.parse_hourly(found.key)

    def as_alert(found: bytes) -> object:
        alert = decode_alert(found)
        return webhook_body(alert), msgspec.json.encode(slack_message(alert))

    def in_utc(found: Any) -> object:
        moment = found.time if isinstance(found, events.EndpointChanged) else found.changed_at
        require(moment.tzinfo is not None and Window.of(moment, HOUR).contains(moment), "an event's time has a window")
        return found, moment.astimezone(UTC).isoformat()

    attempt(events.object_created, as_object)
    attempt(events.endpoint_changed, in_utc)
    attempt(events.alarm_changed, in_utc)
    attempt(events.notification, as_alert)
    for read in (
        events.job_changed,
        events.execution_changed,
        events.package_changed,
        events.window_message,
        events.claim_message,
    ):
        attempt(read, msgspec.json.encode)
    return Reading((outcomes, errors), tuple(errors))


def _any_text(data: bytes) -> str:
    """These bytes as a text, also one that UTF-8 cannot hold: JSON's escapes can spell it."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


def _to_seconds(found: events.ObjectCreated) -> events.ObjectCreated:
    return msgspec.structs.replace(found, time=found.time.replace(microsecond=0))


def webhook(data: bytes) -> Reading:
    """The body of a signed webhook in both forms, and the same bytes as somebody's signature headers."""
    answers: list[object] = []
    told = []
    for content_type in ("application/json", "application/x-ndjson"):
        for problem_type in ("BinaryClassification", "Regression"):
            services = memory_services(lambda: NOW)
            services.secrets.values[SETTINGS.webhook_key_parameter] = SECRET
            request = PostedRequest("churn", signed_headers([SECRET], "msg_1", NOW, data), data, content_type)
            places = [("labels", "ground-truth/churn", problem_type)]
            status, body, _ = handle(request, services, lambda endpoint, places=places: places)
            told.append(msgspec.json.encode(body).decode())
            answers.append((status, body))
            if status != 202:
                require(not services.objects.keys("labels"), "a refusal stores nothing")
                continue
            for key in services.objects.keys("labels"):
                with accepted("what was accepted reads back"):
                    file = read_ground_truth(services.objects.get("labels", key).body, key, NOW)
                require(not file.bad_lines and len(file.labels) == body["stored"], "what was accepted is read back")
    lines = [_any_text(line) for line in re.split(rb"\r?\n", data)[:3]]
    headers = dict(zip(("Webhook-Id", "webhook-timestamp", "WEBHOOK-SIGNATURE"), lines, strict=False))
    try:
        require(not verify([SECRET], headers, data, NOW), "nobody signs by chance")
    except SignatureError as error:
        told.append(error.reason)
    return Reading(answers, tuple(told))


READERS: dict[str, Reader] = {
    "capture": Reader(capture, "jsonl"),
    "merged": Reader(merged, "jsonl"),
    "transform": Reader(transform, "jsonl"),
    "ground_truth": Reader(ground_truth, "jsonl"),
    "definition": Reader(definition, "json", shows=True),
    "state": Reader(state, "msgpack"),
    "fact": Reader(fact, "json"),
    "baseline": Reader(baseline, "json", shows=True),
    "event": Reader(event, "json"),
    "webhook": Reader(webhook, "jsonl"),
}
