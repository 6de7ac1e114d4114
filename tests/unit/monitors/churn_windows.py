"""A monitor on the real churn table, evaluated: documents of all four types and of their baseline, for tests.

The first 400 rows are the baseline, the others the window. The model is a formula of three columns that also explains
itself; `State` is the one-hot columns of the table turned back into text, so that there is a column of categories.
"""

from __future__ import annotations

import csv
import functools
import itertools
import json
import math
from datetime import timedelta
from typing import Any

import msgspec

from chalicelib.evaluation.evaluate import Baselines, Findings, Task, evaluate
from chalicelib.evaluation.measurement import Measurement, Subject
from chalicelib.monitors import baseline
from chalicelib.monitors.baseline import baseline_documents
from chalicelib.monitors.model_explainability import AttributionSettings
from chalicelib.records.attributes import Attributes, ProblemType
from chalicelib.records.capture import BadInput, CapturedRequest, Payload
from chalicelib.records.ground_truth import Label
from chalicelib.records.label_table import columns_of
from chalicelib.records.table import to_table
from chalicelib.records.window import Window
from chalicelib.states.facets import BiasSettings, Facet
from tests.unit.records.building import DATA, NOON, measured_window

TYPES = ("DataQuality", "ModelQuality", "ModelBias", "ModelExplainability")
WEIGHTS = {"Account Length": 0.0, "Day Mins": 0.012, "CustServ Calls": 0.45, "Int'l Plan_yes": 2.0, "State": 0.0}
MEANS = {"Account Length": 100.0, "Day Mins": 180.0, "CustServ Calls": 1.5, "Int'l Plan_yes": 0.1, "State": 0.0}
PHI = tuple(f"phi {name}" for name in WEIGHTS)
ATTRIBUTES = Attributes(
    features=tuple(WEIGHTS), probability_attribute="0", output_names=("probability", *PHI, "expected value")
)
BIAS = BiasSettings(facets=(Facet(name="Int'l Plan_yes", values=(1,)), Facet(name="State", values=("NJ", "TX"))))
ATTRIBUTION = AttributionSettings(columns=PHI, expected_column="expected value")
WINDOW = Window(NOON, timedelta(hours=1))
SPLIT = 400
SUBJECT = Subject(attributes=ATTRIBUTES, bias=BIAS, attribution=ATTRIBUTION)


@functools.cache
def table_rows() -> list[dict[str, str]]:
    """Five features and the label of the first 666 rows, as the CSV has them."""
    with (DATA / "churn/training-dataset-with-header.csv").open() as file:
        rows = list(itertools.islice(csv.DictReader(file), 666))
    found = []
    for row in rows:
        state = next(name.removeprefix("State_") for name in row if name.startswith("State_") and float(row[name]))
        found.append(
            {**{name: row[name] for name in WEIGHTS if name != "State"}, "State": state, "label": row["Churn"]}
        )
    return found


def request(number: int, row: dict[str, str]) -> CapturedRequest:
    """The row asked and answered; what is no number moves nothing, and nothing moves it far."""
    phi = []
    for name, weight in WEIGHTS.items():
        try:
            moved = weight * (float(row[name]) - MEANS[name]) if weight else 0.0
            phi.append(min(100.0, max(-100.0, moved)) if moved == moved else 0.0)
        except ValueError:
            phi.append(0.0)
    probability = 1.0 / (1.0 + math.exp(2.0 - math.fsum(phi)))
    asked = ",".join(row[name] for name in WEIGHTS)
    answered = ",".join(map(repr, [probability, *phi, -2.0]))
    sides = Payload(asked, "CSV", "text/csv"), Payload(answered, "CSV", "text/csv")
    return CapturedRequest(f"event-{number:04}", None, NOON + timedelta(seconds=number), *sides)


def labels_of(rows: list[dict[str, str]]) -> dict[str, Label]:
    return {f"event-{number:04}": Label(f"event-{number:04}", row["label"], "CSV") for number, row in enumerate(rows)}


@functools.cache
def baseline_files() -> dict[str, bytes]:
    rows = table_rows()[:SPLIT]
    requests = [request(number, row) for number, row in enumerate(rows)]
    table = to_table(requests, labels_of(rows), ATTRIBUTES)
    return baseline_documents(
        table, table.predictions, table.scores, "2026-01-01T00:00:00+00:00", bias=BIAS, attribution=ATTRIBUTION
    )


def window(
    rows: list[dict[str, str]] | None = None, labelled: bool = True, known: bool = True, **changes: Any
) -> Findings:
    """The evaluation of a window of these rows (the other 266 by default), with or without labels and baseline."""
    rows = table_rows()[SPLIT:] if rows is None else rows
    subject = changes.get("subject", SUBJECT)
    requests = [request(number, row) for number, row in enumerate(rows)]
    measured = measured_window(subject, WINDOW, requests[:100], requests[100:200], requests[200:])
    labels = columns_of(labels_of(rows).values() if labelled else ()).resolved()
    before = {path: json.loads(body) for path, body in baseline_files().items()} if known else {}
    task: dict[str, Any] = {
        "monitor": "churn",
        "endpoint": "DEMO-xgb-churn",
        "variant": "AllTraffic",
        "window": WINDOW,
        "monitor_types": TYPES,
        "subject": subject,
        "measured": measured,
        "labels": labels,
        "label_objects": 1,
        "baselines": Baselines(
            data_quality_statistics=before.get(baseline.DATA_STATISTICS),
            data_quality_constraints=before.get(baseline.DATA_CONSTRAINTS),
            model_quality_constraints=before.get(baseline.MODEL_CONSTRAINTS),
            model_bias_constraints=before.get(baseline.BIAS_CONSTRAINTS),
            model_explainability_constraints=before.get(baseline.EXPLAINABILITY_CONSTRAINTS),
            source="definition" if known else "",
        ),
        "min_labelled_rows": 100,
        "min_label_coverage": 0.5,
        "sample_rows": 10,
    }
    return evaluate(Task(**{**task, **changes}))


def hurt() -> list[dict[str, str]]:
    """The window with a column that moved, one with gaps, one with a word in it and a new category."""
    rows = [dict(row) for row in table_rows()[SPLIT:]]
    for number, row in enumerate(rows):
        row["Day Mins"] = str(float(row["Day Mins"]) + 80.0)
        if number % 9 == 0:
            row["Account Length"] = ""
        if number % 40 == 0:
            row["State"] = "XX"
    rows[3]["CustServ Calls"] = "many"
    return rows


def other_problems() -> dict[str, tuple[dict[str, bytes], Findings]]:
    """Problem type -> baseline and window of an answer that is wrong now and then, for several classes and a number."""
    found = {}
    rows = table_rows()[:300]
    problems: dict[ProblemType, tuple[str, str]] = {
        "MulticlassClassification": ("State", "State"),
        "Regression": ("Day Mins", "Account Length"),
    }
    for problem, (answer, truth) in problems.items():
        attributes = Attributes(problem_type=problem, inference_attribute="0", features=("Day Mins",))
        labels = {str(number): Label(str(number), row[truth], "CSV") for number, row in enumerate(rows)}
        requests = []
        for number, row in enumerate(rows):
            answered = rows[number - 1][answer] if number % 3 == 0 else row[answer]
            sides = Payload(row["Day Mins"], "CSV", "text/csv"), Payload(answered, "CSV", "text/csv")
            requests.append(CapturedRequest(str(number), None, NOON + timedelta(seconds=number), *sides))
        table = to_table(requests, labels, attributes)
        known = baseline_documents(table, table.predictions, table.scores, "2026-01-01T00:00:00+00:00")
        subject = Subject(attributes=attributes)
        findings = window(
            measured=measured_window(subject, WINDOW, requests[:250]),
            labels=columns_of(labels.values()).resolved(),
            subject=subject,
            monitor_types=("DataQuality", "ModelQuality"),
            baselines=Baselines(model_quality_constraints=json.loads(known[baseline.MODEL_CONSTRAINTS])),
        )
        found[str(problem)] = known, findings
    return found


REQUESTS = [request(number, row) for number, row in enumerate(table_rows()[SPLIT:])]
MEASURED = measured_window(SUBJECT, WINDOW, REQUESTS[:100], REQUESTS[100:200], REQUESTS[200:])
BAD_LINES = msgspec.structs.replace(
    MEASURED,
    bad=(
        BadInput("captures/2026/01/01/12/a.jsonl", 7, "not JSON"),
        BadInput("captures/2026/01/01/12/b.jsonl", 0, "empty"),
    ),
    measurement=MEASURED.measurement + Measurement(repeated=2),
)


def decoded(files: dict[str, dict[str, bytes]]) -> dict[str, dict[str, Any]]:
    return {kind: {name: json.loads(body) for name, body in each.items()} for kind, each in files.items()}


def decoded_baseline() -> dict[str, Any]:
    return {path: json.loads(body) for path, body in baseline_files().items()}
