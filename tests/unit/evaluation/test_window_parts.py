"""A window is measured part by part: where the parts end changes nothing, and neither does who looks labels up."""

from __future__ import annotations

import base64
import json
import random
from datetime import timedelta

import msgspec
import pytest

from bench.window_memory import JOIN_MUST, ROWS, run
from chalicelib.evaluation.evaluate import Baselines, Task, evaluate
from chalicelib.evaluation.window_parts import Span
from chalicelib.monitors.model_explainability import AttributionSettings
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest, Payload, read_captures
from chalicelib.records.ground_truth import Label, read_ground_truth, resolve
from chalicelib.records.located import VALUES, locate_labels, locate_requests
from chalicelib.records.merge import merge, write_merged
from chalicelib.records.sample import loss_of
from chalicelib.records.segment import Segment, SegmentFile, hash_ids, with_files
from chalicelib.records.table import to_table
from chalicelib.records.window import Window
from chalicelib.states.facets import BiasSettings, Facet
from chalicelib.states.maturity import ages_of
from tests.unit.records.building import NOON, capture_line, captured, located, segment_of

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


def window(seed: int, problem: str) -> Segment:
    draw = random.Random(f"{seed}-{problem}")
    requests = requests_of(draw, problem)
    again = [
        msgspec.structs.replace(each, inference_time=each.inference_time + timedelta(minutes=draw.randrange(2)))
        for each in draw.sample(requests, 9)
    ]
    labels = labels_for(draw, requests, problem)
    draw.shuffle(requests)
    segment = segment_of(requests[:40], [*requests[40:], *again], labels=labels)
    odd = SegmentFile("captures/2.jsonl", "etag", b"\n \n{}\n" + capture_line(requests[0]) + b"not JSON")
    refused = [
        SegmentFile("captures/3.jsonl", "e", b"garbage\n"),
        SegmentFile("captures/4.jsonl", "e", b"", "too large"),
    ]
    return with_files(segment, [odd, *refused])


def task(segment: Segment, problem: str, conflict: str = "latest", **changes: object) -> Task:
    attributes = PROBLEMS[problem]
    positive = {"BinaryClassification": (1,), "MulticlassClassification": ("red",), "Regression": (2.5,)}[problem]
    values: dict[str, object] = {
        "monitor": "churn",
        "endpoint": "churn",
        "variant": "AllTraffic",
        "window": WINDOW,
        "monitor_types": ("DataQuality", "ModelQuality", "ModelBias", "ModelExplainability"),
        "attributes": attributes,
        "requests": locate_requests(segment, WINDOW, attributes)[0],
        "labels": locate_labels(segment, WINDOW, conflict),
        "capture_files": len(segment.files),
        "label_objects": 1,
        "baselines": Baselines(),
        "bias": BiasSettings(facets=(Facet(name="plan", values=("a",)),), label_values=positive),
        "attribution": AttributionSettings(columns=OUTPUTS[1:]),
        "deployments": SPANS,
        "min_labelled_rows": 1,
        "min_label_coverage": 0.0,
        "sample_rows": 12,
        **changes,
    }
    return Task(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("seed", range(6))
def test_where_the_parts_end_changes_no_byte(problem, seed):
    segment = window(seed, problem)
    whole = evaluate(task(segment, problem, RULES[seed % 3]))
    assert whole.labelled > 5 and len(whole.sample) > 1 and whole.mixed
    for values in (1, 13, 100):
        assert evaluate(task(segment, problem, RULES[seed % 3], part_values=values)) == whole


@pytest.mark.parametrize("conflict", RULES)
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_located_is_what_is_there(problem, seed, conflict):
    """Against reading everything at once: dictionaries of requests and labels, one table."""
    segment = window(seed, problem)
    known: dict[str, CapturedRequest] = {}
    repeated = 0
    for file in segment.files[:3]:
        for request in read_captures(file.body, file.key).requests:
            if WINDOW.contains(request.inference_time):
                repeated += request.event_id in known
                known.setdefault(request.event_id, request)
    expected = sorted(known.values(), key=lambda one: (one.inference_time, one.event_id))
    requests, ids = locate_requests(segment, WINDOW)
    assert [*requests] == expected and len(requests) == len(expected)
    assert (requests.repeated, [(bad.key[-7:-6], bad.line) for bad in requests.bad]) == (
        repeated,
        [("2", 3), ("2", 5), ("3", 0), ("4", 0)],
    )
    assert all(request.join_id in ids for request in expected) and "somebody" not in ids
    resolved = resolve(read_ground_truth(segment.labels, "segment", WINDOW.end).labels, conflict)
    labels = locate_labels(segment, WINDOW, conflict)
    counts = resolved.repeated, resolved.conflicting, resolved.rejected
    assert (labels.repeated, labels.conflicting, labels.rejected) == counts
    assert all(counts[:2])
    for part in requests.parts(50):
        some = labels.of(request.join_id for request in part)
        wanted = {request.join_id for request in part}
        assert some.by_id == {id: label for id, label in resolved.by_id.items() if id in wanted}
        assert all(some.known_at(id) == resolved.known_at(id) for id in wanted)

    found = evaluate(task(segment, problem, conflict, deployments=()))
    table = to_table(expected, resolved.by_id, PROBLEMS[problem])
    answered = table.whole & (table.predictions == table.predictions)
    assert found.rows == len(table)
    assert found.loss == pytest.approx(
        loss_of(table.predictions[answered], table.labels[answered], table.problem_type), rel=1e-12
    )
    assert found.delays == ages_of(expected, resolved, WINDOW.end)
    assert b"".join(found.merged.values()) == write_merged(merge(expected, resolved.by_id))


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_parts_are_bounded_by_the_values_that_payloads_may_hold(end):
    requests = [captured(f"e{number}", f"1,2{end}3,4", f"0.5{end}0.5") for number in range(7)]
    found, _ = located(requests, (), WINDOW)
    sizes = [[request.event_id for request in part] for part in found.parts(12)]
    assert sizes == [["e0", "e1"], ["e2", "e3"], ["e4", "e5"], ["e6"]]
    assert [len(part) for part in found.parts(1)] == [1] * 7
    assert [len(part) for part in found.parts()] == [7] and VALUES > 42
    assert [*located([], (), WINDOW)[0].parts()] == [[]]


def test_names_are_those_of_the_first_part_where_none_are_declared():
    wide, narrow = ({"a": 1, "b": 2}, {"a": 1, "c": 3})
    requests = [
        captured(
            f"e{number}", json.dumps({"instances": [row]}), "0.5", kind="JSON", at=NOON + timedelta(seconds=number)
        )
        for number, row in enumerate([wide, wide, narrow])
    ]
    segment = segment_of(requests)
    plain = {"attributes": Attributes(probability_attribute="0"), "bias": None, "attribution": None}
    whole = evaluate(task(segment, "BinaryClassification", **plain))
    parts = evaluate(task(segment, "BinaryClassification", part_values=1, **plain))
    columns = [
        [column["name"] for column in json.loads(each.documents["DataQuality"]["statistics.json"])["features"]]
        for each in (whole, parts)
    ]
    assert columns == [["a", "b", "c"], ["a", "b"]]
    own = json.loads(parts.documents["DataQuality"]["evaluation.json"])
    assert own["bad_records"] == {"expected 2 features, got 1 more": {"count": 1, "sample": ["e2#0"]}}


def test_a_label_of_another_id_with_the_same_hash_is_not_taken():
    """Hashes only say where to look."""
    _, labels = located([captured("e1", "1", "0.9")], [Label("e1", "1"), Label("e2", "0")], WINDOW)
    of_one = hash_ids(["e1"]).tobytes()
    same = msgspec.structs.replace(labels, keys=of_one * 2)
    assert same.of(["e1"]).by_id["e1"].data == "1"
    assert (same.of(["e1"]).repeated, same.of(["e1"]).conflicting) == (0, 0)
    assert same.of(["e3"]).by_id == {}


def test_a_window_of_a_million_tiny_rows_is_never_one_table():
    """16 requests of 99,000 rows of one digit: as one table they would take some 600 MB. In a process of its own."""
    found = run("hostile", 16)
    assert found["rows"] == 16 * ROWS
    assert found["above"] < 350


def test_the_join_takes_at_most_40_bytes_for_each_captured_row():
    assert run("join", 20_000)["join"] <= JOIN_MUST
