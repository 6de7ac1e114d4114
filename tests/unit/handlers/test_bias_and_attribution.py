"""Bias and attribution monitors: reports in Clarify's layout, their violations as incidents, their baselines."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from chalicelib.monitors import baseline
from chalicelib.monitors.model_bias import METRICS, POST, PRE
from chalicelib.monitors.model_explainability import GlobalAttributions, analysis
from chalicelib.records.attributes import Attributes
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.ground_truth import Label
from chalicelib.records.table import to_table
from tests.unit.handlers.test_promotions import PATIENT, start
from tests.unit.handlers.world import (
    DATA,
    MINUTE,
    OWN,
    START,
    TOYS,
    Row,
    World,
    capture_line,
    definition,
    hour,
    rows_of,
)

TYPES = ["DataQuality", "ModelQuality", "ModelBias"]
BIAS = {"facets": [{"name": "z", "above": 0.5}]}
EXPLAINED = {
    "monitor_types": ["ModelExplainability"],
    "attributes": {
        "features": ["x", "z"],
        "probability_attribute": "0",
        "output_names": ["score", "phi_x", "phi_z", "base"],
    },
    "attribution": {"columns": ["phi_x", "phi_z"], "expected_column": "base"},
}


def baseline_of(**changes: Any) -> dict[str, bytes]:
    """The baseline of the x model on 200 rows, with contributions that say that x decides."""
    monitor = definition(**changes)
    rows = rows_of(-100, 200)
    asked = Payload("\n".join(f"{row.x},{row.z}" for row in rows), "CSV", "text/csv")
    answered = Payload("\n".join(explained(row, "x") for row in rows), "CSV", "text/csv")
    labels = {"b": Label("b", json.dumps([row.label("x") for row in rows]), "JSON")}
    table = to_table([CapturedRequest("b", None, START, asked, answered)], labels, monitor.attributes)
    return baseline.baseline_documents(
        table, table.predictions, table.scores, START.isoformat(), bias=monitor.bias, attribution=monitor.attribution
    )


def explained(row: Row, toy: str) -> str:
    """A score, its contributions and the expected value: what decides has most of it."""
    score = TOYS[toy](row.x, row.z)
    phi = {"x": (score - 0.5, 0.01), "z": (0.01, score - 0.5)}[toy]
    return f"{score},{phi[0]},{phi[1]},0.5"


def world_with(folder: str = "", **changes: Any) -> World:
    field = {"model_bias": "model_bias_constraints", "model_explainability": "model_explainability_constraints"}
    given = {field[folder]: f"s3://{DATA}/baseline/{folder}/analysis.json"} if folder else {}
    world = World(definition(policy={"retrain": False, "roll_back": False}, baseline=given, **changes))
    for path, body in baseline_of(**changes).items():
        world.services.objects.put(DATA, f"baseline/{path}", body)
    return world


def values(report: Any, stage: str) -> dict[str, Any]:
    [entry] = report[stage]["facets"]["z"]
    assert entry["value_or_threshold"] == "(0.5, Infinity)"
    return {metric["name"]: metric["value"] for metric in entry["metrics"]}


# Bias -----------------------------------------------------------------------------------------------------------------


def test_bias_is_reported_and_its_drift_is_an_incident() -> None:
    world = world_with("model_bias", monitor_types=["ModelBias"], bias=BIAS)
    rows = world.live(0, "x")
    assert world.report(0, "model-bias")["status"] == "EVALUATED"
    found = world.report(0, "model-bias", "analysis.json")
    assert tuple(values(found, POST)) == METRICS[POST] and tuple(values(found, PRE)) == METRICS[PRE]
    above = [row for row in rows if row.z > 0.5]
    shares = [np.mean([row.label("x") for row in side]) for side in ([r for r in rows if r.z <= 0.5], above)]
    assert values(found, PRE)["DPL"] == pytest.approx(shares[0] - shares[1], abs=1e-12)
    assert values(found, POST)["AD"] == 0.0

    # The labels follow z now: whoever has much of it is refused wrongly, the others are accepted wrongly.
    world.live(1, "z")
    violated = world.report(1, "model-bias", "constraint_violations.json")
    assert violated["version"] == "1.0"
    names = {each["metric_name"] for each in violated["violations"]}
    assert {"DPL", "KL", "TVD"} <= names
    assert {(each["facet"], each["facet_value"]) for each in violated["violations"]} == {("z", "(0.5, Infinity)")}
    # Twenty rows are less fair than the baseline by chance already: the incident is of the first window.
    [alert] = world.alerts("model-bias")
    assert (alert.state, alert.severity, alert.title) == ("opened", "warning", "churn: bias drift")
    assert alert.report.endswith("reports/churn/churn-model-bias/2026/01/05/01")
    first = world.report(0, "model-bias", "constraint_violations.json")["violations"][0]["metric_name"]
    assert alert.reasons[0] == f"{first} of z in (0.5, Infinity): bias_drift_check"
    points = {
        point.name: point.value for point in world.services.metrics.points["Plumbline"] if point.timestamp == hour(1)
    }
    assert points["model_bias_violations"] == len(violated["violations"])


def test_bias_waits_for_labels_and_a_baseline() -> None:
    world = world_with(monitor_types=["ModelBias"], bias=BIAS)
    rows = world.live(0, labelled=False)
    report = world.report(0, "model-bias")
    assert (report["status"], report["reason"]) == (
        "NOT_EVALUATED",
        "no labels yet for 20 rows; looked in 0 label objects",
    )
    world.label(rows, "x", "late")
    world.minutes(4)
    report = world.report(0, "model-bias")
    assert report["reason"] == "there is no model-bias baseline to compare with"
    folder = "reports/churn/churn-model-bias/2026/01/05/01/"
    names = ("analysis.json", "evaluation.json", "label_maturity.json")
    assert world.services.objects.keys(DATA, folder) == tuple(f"{folder}{name}" for name in names)
    assert world.alerts() == []


def test_a_facet_that_the_data_do_not_have_is_said_and_stops_nothing_else() -> None:
    attributes = {"probability_attribute": "0"}  # headerless CSV: the columns are called _c0 and _c1
    world = World(definition(attributes=attributes, monitor_types=TYPES, bias=BIAS, baseline={}))
    world.live(0)
    report = world.report(0, "model-bias")
    assert report["status"] == "NOT_EVALUATED"
    assert report["reason"] == "bias.facets[0].name: got 'z'; expected one of the columns _c0, _c1"
    assert world.report(0, "data-quality", "statistics.json")["dataset"]["item_count"] == 20


def test_a_promoted_challenger_brings_its_own_bias_baseline() -> None:
    world = World(definition(policy=PATIENT, monitor_types=TYPES, bias=BIAS, baseline={}))
    world.live(0)
    start(world, 1, "z")
    world.finish_pipeline("z")
    world.minutes(12)
    folder = "plumbline/payload/churn/baselines/churn/1"
    own = json.loads(world.services.objects.get(OWN, f"{folder}/{baseline.BIAS_CONSTRAINTS}").body)
    assert values(own, POST)["AD"] == 0.0, "the challenger's answers, not the champion's"
    world.live(3, "z")
    assert world.report(3, "model-bias")["status"] == "EVALUATED"


# Attribution ----------------------------------------------------------------------------------------------------------


def explain(world: World, number: int, toy: str) -> None:
    """A window of a model that returns its contributions."""
    world.clock.time = max(world.clock.time, hour(number) + 50 * MINUTE)
    lines = [capture_line(row, explained(row, toy)) for row in rows_of(number, 20)]
    for part in (0, 1):
        world.put_capture(number, b"".join(lines[part::2]), f"0{part}")
    world.settle()
    world.clock.time = max(world.clock.time, hour(number + 1) + 2 * MINUTE)
    world.minutes(8)


def test_attributions_are_reported_and_their_drift_is_an_incident() -> None:
    world = world_with("model_explainability", **EXPLAINED)
    explain(world, 0, "x")
    assert world.report(0, "model-explainability")["status"] == "EVALUATED"
    assert world.report(0, "model-explainability", "constraint_violations.json") == {"version": "1.0", "violations": []}
    found = world.report(0, "model-explainability", "analysis.json")["explanations"]["kernel_shap"]["label0"]
    assert found["global_shap_values"] == pytest.approx({"x": 0.4, "z": 0.01}, abs=1e-12)
    assert found["expected_value"] == 0.5
    assert world.alerts() == []

    explain(world, 1, "z")
    [violation] = world.report(1, "model-explainability", "constraint_violations.json")["violations"]
    assert violation["constraint_check_type"] == "feature_attribution_drift_check"
    [alert] = world.alerts("model-explainability")
    assert alert.title == "churn: feature-attribution drift"
    assert list(alert.reasons) == ["shap of label0: feature_attribution_drift_check"]


def test_answers_without_attributions_are_said() -> None:
    world = world_with("model_explainability", **EXPLAINED)
    world.live(0)
    report = world.report(0, "model-explainability")
    assert report["status"] == "NOT_EVALUATED"
    assert report["reason"] == "no row has attributions; looked for 2 attributions beside the answers of 20 rows"


def test_a_window_is_the_same_in_any_split_and_order_of_its_files() -> None:
    worlds = []
    changes = {**EXPLAINED, "monitor_types": [*TYPES, "ModelExplainability"], "bias": BIAS}
    rows = rows_of(0, 30)
    for parts in (1, 7):
        world = World(definition(policy={"retrain": False, "roll_back": False}, baseline={}, **changes))
        world.clock.time = hour(0) + 50 * MINUTE
        for part in reversed(range(parts)):
            lines = [capture_line(row, explained(row, "x")) for row in rows[part::parts]]
            world.put_capture(0, b"".join(lines), f"{part:02d}")
        world.label(rows, "z", "labels")
        world.clock.time = hour(1)
        world.minutes(8)
        worlds.append(
            {
                kind: world.services.objects.get(DATA, f"reports/churn/churn-{kind}/2026/01/05/01/analysis.json").body
                for kind in ("model-bias", "model-explainability")
            }
        )
    assert worlds[0] == worlds[1]


# Baselines ------------------------------------------------------------------------------------------------------------


def test_a_baseline_is_of_the_answers_that_are_given() -> None:
    monitor = definition(**{**EXPLAINED, "monitor_types": ["ModelBias", "ModelExplainability"], "bias": BIAS})
    attributes: Attributes = monitor.attributes
    asked = Payload("0.1,0.9\n0.9,0.2\n0.8,0.7\n0.2,0.3", "CSV", "text/csv")
    captured = Payload("\n".join(["0.9,9,9,9"] * 4), "CSV", "text/csv")
    table = to_table([CapturedRequest("b", None, START, asked, captured)], {"b": Label("b", "[0,1,1,0]")}, attributes)
    outputs = {"score": ["0.5"] * 4, "phi_x": ["1", "-2", "3", "-4"], "phi_z": ["0"] * 4, "base": ["0.25"] * 4}
    predictions = np.array([0.0, 1.0, 1.0, 0.0])
    options: dict[str, Any] = {"bias": monitor.bias, "attribution": monitor.attribution}
    nothing = np.full(4, np.nan)
    found = baseline.baseline_documents(table, predictions, nothing, START.isoformat(), outputs=outputs, **options)
    assert json.loads(found[baseline.EXPLAINABILITY_CONSTRAINTS]) == analysis(
        {"label0": GlobalAttributions({"x": 2.5, "z": 0.0}, 0.25)}
    )
    assert values(json.loads(found[baseline.BIAS_CONSTRAINTS]), POST)["AD"] == 0.0
    # What the rows say nothing about is left out, and the rest is there.
    blind = msgspec.structs.replace(table, labels=np.ones(4))
    found = baseline.baseline_documents(
        blind, predictions, nothing, START.isoformat(), outputs={**outputs, "phi_x": [None] * 4}, **options
    )
    assert set(found) == {
        *(baseline.DATA_STATISTICS, baseline.DATA_CONSTRAINTS, baseline.MODEL_STATISTICS, baseline.MODEL_CONSTRAINTS)
    }
