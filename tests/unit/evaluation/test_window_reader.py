"""A window is measured file by file, part by part: where the parts end changes nothing that a report says."""

from __future__ import annotations

import base64
import contextlib
import json
import random
from collections.abc import Iterator
from datetime import timedelta
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

from bench.window_memory import ROWS, run
from chalicelib.errors import UnreadableError
from chalicelib.evaluation import capture_fold
from chalicelib.evaluation.evaluate import Baselines, Findings, Task, evaluate
from chalicelib.evaluation.measurement import Measurement, Subject
from chalicelib.evaluation.served import Span
from chalicelib.evaluation.stored_window import Inputs, KeptLabels, Measured, lost_inputs
from chalicelib.evaluation.window_reader import WindowReader
from chalicelib.monitors.model_explainability import AttributionSettings
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.ground_truth import Label, resolve
from chalicelib.records.id_hashes import hash_ids
from chalicelib.records.label_table import columns_of
from chalicelib.records.sample import loss_of
from chalicelib.records.table import to_table
from chalicelib.records.window import Window
from chalicelib.states.facets import BiasSettings, Facet
from chalicelib.states.maturity import label_ages
from tests.unit.records.building import NOON, capture_line, captured, measured_window

WINDOW = Window(NOON, timedelta(hours=1))
RULES = ("latest", "first", "reject")
FEATURES = ("age", "plan", "used")
OUTPUTS = ("answer", "phi age", "phi plan", "phi used")
PROBLEMS = {
    "BinaryClassification": Attributes(features=FEATURES, output_names=OUTPUTS, probability_attribute="0"),
    "MulticlassClassification": Attributes(
        problem_type="MulticlassClassification", features=FEATURES, output_names=OUTPUTS, inference_attribute="0"
    ),
    "Regression": Attributes(
        problem_type="Regression", features=FEATURES, output_names=OUTPUTS, inference_attribute="0"
    ),
}
SPANS = (
    Span("before", NOON - timedelta(days=2), NOON - timedelta(days=1), 100),
    Span("one", NOON + timedelta(minutes=10), NOON + timedelta(minutes=15), 50),
    Span("other", NOON + timedelta(minutes=30), NOON + timedelta(minutes=40)),
    Span("never", NOON + timedelta(minutes=55), None),
)
TEXTS = {
    "BinaryClassification": ("0", "1", "1.0", "true", "maybe", ""),
    "MulticlassClassification": ("red", "green", "1", "01", "blue", ""),
    "Regression": ("0", "1e308", "-1e308", "0.1", "2.5", "1e-9", "x"),
}


def requests_of(draw: random.Random, problem: str) -> list[CapturedRequest]:
    """Requests as they come: of one and of several rows, of all encodings, odd ones, late ones, some at one time."""
    found = []
    for number in range(draw.randrange(60, 90)):
        count = draw.choice((1, 1, 1, 2, 5))
        rows = [
            [draw.choice(("", "18", "47", "47.0", "many")), draw.choice(("a", "b")), str(draw.randrange(9))]
            for _ in range(count)
        ]
        answers = [draw.choice(TEXTS[problem]) for _ in range(count)]
        if problem == "BinaryClassification":
            answers = [draw.choice(("0.1", "0.5", "0.9", "x")) for _ in range(count)]
        answered = [[answer, *(str(draw.randrange(3)) for _ in FEATURES)] for answer in answers]
        kind = draw.random()
        if kind < 0.1:
            rows[0].append("one more")
        asked, told = ("\n".join(",".join(row) for row in some) for some in (rows, answered))
        sides: list[Payload | None] = [Payload(asked, "CSV", "text/csv"), Payload(told, "CSV", "text/csv")]
        if 0.1 <= kind < 0.25:
            instances = {"instances": [{"features": row} for row in rows]}
            sides[0] = Payload(json.dumps(instances), "JSON", "application/json")
        elif 0.25 <= kind < 0.35:
            sides[0] = Payload(base64.b64encode(asked.encode()).decode(), "BASE64", "text/csv")
        elif 0.35 <= kind < 0.4:
            sides[draw.randrange(2)] = None
        elif 0.4 <= kind < 0.45:
            sides[0] = Payload("{", "JSON", "application/json")
        at = NOON + timedelta(seconds=draw.choice((0, 60, draw.randrange(3600), draw.randrange(-900, 4500))))
        event = draw.choice(("same-beginning-", "e")) + str(number)
        inference = None if draw.random() < 0.4 else f"r{draw.randrange(50)}"
        found.append(CapturedRequest(event, inference, at, *sides))
    return found


def labels_for(draw: random.Random, requests: list[CapturedRequest], problem: str) -> list[Label]:
    """Labels of most of them: repeated, corrected, of single records, with and without a time; some of nobody."""
    found = []
    counts = {request.join_id: request.input.data.count("\n") + 1 if request.input else 1 for request in requests}
    for id, count in [*counts.items(), ("nobody", 1)]:
        for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
            texts = draw.choices(TEXTS[problem][:4], k=count if draw.random() < 0.9 else 2)
            texts[0] = draw.choice(TEXTS[problem])
            data = draw.choice((",".join(texts), json.dumps(texts)))
            known = NOON + timedelta(minutes=draw.randrange(-30, 300))
            record = draw.randrange(3) if draw.random() < 0.25 else None
            label = Label(id, data, draw.choice(("CSV", "JSON")), known, record_index=record)
            found += [label, label]
            if draw.random() < 0.2:
                found.append(msgspec.structs.replace(label, label_time=known + timedelta(minutes=1)))
    return found


def subject_of(problem: str) -> Subject:
    positive = {"BinaryClassification": (1,), "MulticlassClassification": ("red",), "Regression": (2.5,)}[problem]
    return Subject(
        attributes=PROBLEMS[problem],
        bias=BiasSettings(facets=(Facet(name="plan", values=("a",)),), label_values=positive),
        attribution=AttributionSettings(columns=OUTPUTS[1:]),
    )


@contextlib.contextmanager
def in_parts(rows: int) -> Iterator[None]:
    """Batches and tables of so many requests."""
    with patch.object(capture_fold, "ROWS", rows), patch.object(capture_fold, "TABLE_ROWS", rows):
        yield


def window(seed: int, problem: str) -> tuple[Measured, list[CapturedRequest], list[Label]]:
    """A window of three files, with odd lines and refused files; its requests once each, and labels."""
    draw = random.Random(f"{seed}-{problem}")
    requests = requests_of(draw, problem)
    again = draw.sample(requests, 9)
    labels = labels_for(draw, requests, problem)
    draw.shuffle(requests)
    reader = WindowReader(subject_of(problem), WINDOW, 12)
    first, second = requests[:40], [*requests[40:], *again]
    for number, some in enumerate((first, second)):
        reader.add(f"captures/{number}.jsonl", "etag", b"".join(map(capture_line, some)))
    reader.add("captures/2.jsonl", "etag", b"\n \n{}\n" + capture_line(requests[0]) + b"not JSON")
    reader.add("captures/3.jsonl", "e", b"garbage\n")
    reader.refuse("captures/4.jsonl", "e", "too large")
    known: dict[str, CapturedRequest] = {}
    for each in (*first, *second):
        if WINDOW.contains(each.inference_time):
            known.setdefault(each.event_id, each)
    return reader.finish(), list(known.values()), labels


def evaluated(measured: Measured, labels: list[Label], conflict: str = "latest", **changes: object) -> Findings:
    task: dict[str, object] = {
        "monitor": "churn",
        "endpoint": "churn",
        "variant": "AllTraffic",
        "window": WINDOW,
        "monitor_types": ("DataQuality", "ModelQuality", "ModelBias", "ModelExplainability"),
        "subject": measured.subject,
        "measured": measured,
        "labels": columns_of(labels).resolved(conflict),
        "label_objects": 1,
        "baselines": Baselines(),
        "deployments": SPANS,
        "min_labelled_rows": 1,
        "min_label_coverage": 0.0,
        "sample_rows": 12,
        **changes,
    }
    return evaluate(Task(**task))  # type: ignore[arg-type]


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("seed", range(6))
def test_where_the_parts_end_changes_no_byte(problem, seed):
    measured, _, labels = window(seed, problem)
    whole = evaluated(measured, labels, RULES[seed % 3])
    assert whole.labelled > 5 and len(whole.sample) > 1 and whole.mixed
    for values in (1, 13, 100):
        with in_parts(values):
            parts, _, _ = window(seed, problem)
        assert evaluated(parts, labels, RULES[seed % 3]) == whole
    again = Measured.from_bytes(measured.to_bytes(), "measured")
    assert again.to_bytes() == measured.to_bytes()
    assert evaluated(again, labels, RULES[seed % 3]) == whole


@pytest.mark.parametrize("conflict", RULES)
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_measured_is_what_is_there(problem, seed, conflict):
    """Against reading everything at once: dictionaries of requests and labels, one table."""
    measured, expected, labels = window(seed, problem)
    assert measured.requests == len(expected) == sum(file.requests for file in measured.files)
    assert [(bad.key[-7:-6], bad.line) for bad in measured.bad] == [("2", 3), ("2", 5), ("3", 0), ("4", 0)]
    resolved = resolve(set(labels), conflict)
    found = evaluated(measured, labels, conflict, deployments=())
    table = to_table(expected, resolved.by_id, PROBLEMS[problem])
    answered = table.whole & (table.predictions == table.predictions)
    assert found.rows == len(table)
    assert found.loss == pytest.approx(
        loss_of(table.predictions[answered], table.labels[answered], table.problem_type), rel=1e-12
    )
    known = [resolved.known_at(each.join_id) for each in expected]
    ages = [(each - WINDOW.end).total_seconds() for each in known if each]
    assert found.delays == label_ages(len(expected), np.array(ages))


def test_files_that_cannot_be_read_again_stay_counted_and_new_ones_are_added():
    subject = Subject(attributes=PROBLEMS["BinaryClassification"])
    requests = [captured(f"e{number}", "1,a,2", "0.9,1,2,3") for number in range(9)]
    whole = measured_window(subject, WINDOW, requests[:4], requests[4:])
    base = measured_window(subject, WINDOW, requests[:4])
    reader = WindowReader(subject, WINDOW, 512, Measured.from_bytes(base.to_bytes(), "base"))
    reader.add("captures/1.jsonl", "etag", b"".join(map(capture_line, [requests[0], *requests[4:]])))
    both = reader.finish()
    assert both.measurement == whole.measurement + Measurement(repeated=1)
    assert (both.answers.to_bytes(), both.sample) == (whole.answers.to_bytes(), whole.sample)
    assert [file.requests for file in both.files] == [4, 5]


def test_names_are_those_of_the_first_part_where_none_are_declared():
    wide, narrow = ({"a": 1, "b": 2}, {"a": 1, "c": 3})
    requests = [
        captured(
            f"e{number}", json.dumps({"instances": [row]}), "0.5", kind="JSON", at=NOON + timedelta(seconds=number)
        )
        for number, row in enumerate([wide, wide, narrow])
    ]
    subject = Subject(attributes=Attributes(probability_attribute="0"))
    whole = evaluated(measured_window(subject, WINDOW, requests), [])
    with in_parts(1):
        parts = evaluated(measured_window(subject, WINDOW, requests), [])
    columns = [
        [column["name"] for column in json.loads(each.documents["DataQuality"]["statistics.json"])["features"]]
        for each in (whole, parts)
    ]
    assert columns == [["a", "b", "c"], ["a", "b"]]
    own = json.loads(parts.documents["DataQuality"]["evaluation.json"])
    assert own["bad_records"] == {"expected 2 features, got 1 more": {"count": 1, "sample": ["e2#0"]}}


def test_who_is_forgotten_is_in_no_row_and_in_no_sample():
    subject = Subject(attributes=PROBLEMS["BinaryClassification"])
    requests = [captured(f"e{number}", "1,a,2", "0.9,1,2,3", inference_id=f"i{number // 2}") for number in range(6)]
    odd = captured("odd", "1,a", "x", inference_id="i9")
    measured = measured_window(subject, WINDOW, [*requests, odd])
    cut = measured.without(hash_ids(["i1", "odd"]))
    assert cut.requests == 3 and len(cut.measured.answers) == 4 and cut.measured.asked == ""
    assert {each.request.event_id for each in cut.measured.sample} == {"e0", "e1", "e4", "e5"}
    assert b"odd" in measured.to_bytes() and b"odd" not in cut.measured.to_bytes()
    assert set(cut.joins.tolist()) == set(hash_ids(["i1", "i9"]).tolist())
    assert measured.without(hash_ids(["nobody"])).measured is measured


def test_damage_is_noticed_and_another_release_is_named():
    measured = measured_window(subject_of("Regression"), WINDOW, [captured("e1", "1,a,2", "3,1,2,3")])
    labels = KeptLabels(columns_of([Label("e1", "1")]), (("s3://b/k", "etag"),))
    assert KeptLabels.from_bytes(labels.to_bytes(), "w").to_bytes() == labels.to_bytes()
    for kind, body in ((Measured, measured.to_bytes()), (KeptLabels, labels.to_bytes())):
        for damaged in (b"", body[:-1], body[:40], msgspec.msgpack.encode(("other", 1))):
            with pytest.raises(UnreadableError):
                kind.from_bytes(damaged, "w")
    with pytest.raises(UnreadableError, match="measured of version 99; this release reads version 1"):
        Measured.from_bytes(msgspec.msgpack.encode(("measured", 99)), "w")


def test_lost_inputs_are_told_from_those_that_were_written_again():
    named = Inputs({"a": "1", "b": "1"}, (("s3://l/x", "1"), ("s3://l/y", "1")))
    found = Inputs({"a": "2"}, (("s3://l/x", "1"), ("s3://l/y", "2")))
    assert lost_inputs(named, found) == [
        "a: was written again",
        "b: is not there any more",
        "s3://l/y: was written again",
    ]


def test_a_window_of_a_million_tiny_rows_is_never_one_table():
    """16 requests of 99,000 rows of one digit: as one table they would take some 600 MB. In a process of its own."""
    found = run("hostile", 16)
    assert found["rows"] == 16 * ROWS
    assert found["above"] < 350
