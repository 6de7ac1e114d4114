"""Every file that is written fits its schema, key by key, and so do Model Monitor's and Clarify's own."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from chalicelib.decisions.alert import encode_alert, webhook_body
from chalicelib.monitors import layouts as reports
from chalicelib.monitors import quality_metrics
from chalicelib.records.ground_truth import Label, write_ground_truth
from chalicelib.records.merge import read_merged, write_merged
from plumbline.cli.main import main
from schemas import SCHEMAS, path_of, schema
from tests.unit.handlers.test_bias_and_attribution import BIAS, EXPLAINED, explain, world_with
from tests.unit.handlers.test_promotions import PATIENT, promote
from tests.unit.handlers.world import DATA as BUCKET
from tests.unit.handlers.world import World, definition
from tests.unit.monitors.churn_windows import (
    baseline_files,
    hurt,
    labels_of,
    other_problems,
    request,
    table_rows,
    window,
)
from tests.unit.records.building import DATA, NOON

ROOT = Path(__file__).parents[2]
PUBLISHED = DATA / "model-monitor-published-runs"
FIXTURES = DATA / "model-monitor-sdk-fixtures"

REPORTS = {
    "DataQuality/statistics.json": "data-quality-statistics",
    "DataQuality/constraints.json": "data-quality-constraints",
    "DataQuality/constraint_violations.json": "data-quality-violations",
    "ModelQuality/statistics.json": "model-quality-statistics",
    "ModelQuality/constraints.json": "model-quality-constraints",
    "ModelQuality/constraint_violations.json": "model-quality-violations",
    "ModelBias/analysis.json": "model-bias-analysis",
    "ModelBias/constraint_violations.json": "model-bias-violations",
    "ModelExplainability/analysis.json": "model-explainability-analysis",
    "ModelExplainability/constraint_violations.json": "model-explainability-violations",
    "ModelQuality/label_maturity.json": "label-maturity",
    "ModelBias/label_maturity.json": "label-maturity",
    "DataQuality/evaluation.json": "evaluation",
    "ModelQuality/evaluation.json": "evaluation",
    "ModelBias/evaluation.json": "evaluation",
    "ModelExplainability/evaluation.json": "evaluation",
}
FOLDERS = {
    "data[-_]quality": "DataQuality",
    "model[-_]quality": "ModelQuality",
    "model[-_]bias": "ModelBias",
    "model[-_]explainability": "ModelExplainability",
}


def strict(body: bytes) -> Any:
    """Strict JSON: no NaN, no infinity, no key twice."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert not [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        return dict(pairs)

    return json.loads(body.decode(), parse_constant=refuse, object_pairs_hook=once)


@cache
def validator(name: str, closed: bool) -> jsonschema.Draft202012Validator:
    """Of the checked-in schema; `closed`: what we write has no key that the schema does not name."""
    document = json.loads(path_of(name).read_bytes())
    if closed:
        document = copy.deepcopy(document)
        for each in document["$defs"].values():
            each.setdefault("additionalProperties", False)
    return jsonschema.Draft202012Validator(document)


def hold(name: str, document: Any, closed: bool = True) -> None:
    jsonschema.Draft202012Validator.check_schema(validator(name, closed).schema)
    errors = [f"{error.json_path}: {error.message[:300]}" for error in validator(name, closed).iter_errors(document)]
    assert not errors, f"{name}: {errors[:5]}"


def hold_report(files: dict[str, dict[str, bytes]]) -> set[str]:
    """Every file of a report; returns the names of the schemas."""
    names = set()
    for kind, documents in files.items():
        for file, body in documents.items():
            names.add(REPORTS[f"{kind}/{file}"])
            hold(REPORTS[f"{kind}/{file}"], strict(body))
    return names


def hold_baseline(files: dict[str, bytes]) -> None:
    for path, body in files.items():
        hold("evidence" if path.endswith("evidence.json") else REPORTS[place_of(path)], strict(body))


def place_of(path: str) -> str:
    kind = next(kind for words, kind in FOLDERS.items() if re.search(words, path))
    return f"{kind}/{path.rsplit('/', 1)[1]}"


# The checked-in schemas -----------------------------------------------------------------------------------------------


def test_the_schemas_are_what_the_types_say() -> None:
    found = subprocess.run([sys.executable, "-m", "schemas", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, f"{len(SCHEMAS)} schemas are current\n"), found.stderr


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_is_a_schema_that_refuses_something(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))
    for wrong in ({}, [], None, {"version": "no"}):
        assert list(validator(name, False).iter_errors(wrong))


def test_the_metrics_are_those_that_are_computed() -> None:
    def metrics(kind: type[msgspec.Struct]) -> set[str]:
        return {field.name for field in msgspec.structs.fields(kind) if field.type is reports.Metric}

    assert metrics(reports.BinaryMetrics) == set(quality_metrics.BINARY)
    assert metrics(reports.MulticlassMetrics) == set(quality_metrics.MULTICLASS)
    assert metrics(reports.RegressionMetrics) == set(quality_metrics.REGRESSION)


def test_a_document_of_two_problem_types_is_refused() -> None:
    body = strict(window().documents["ModelQuality"]["statistics.json"])
    body["regression_metrics"] = {
        name: {"value": 1.0, "standard_deviation": "NaN"} for name in quality_metrics.REGRESSION
    }
    assert list(validator("model-quality-statistics", True).iter_errors(body))


def test_an_unknown_key_of_ours_is_seen() -> None:
    body = strict(window().documents["ModelQuality"]["evaluation.json"])
    body["inputs"]["rowz"] = 1
    assert [error.json_path for error in validator("evaluation", False).iter_errors(body)] == ["$.inputs"]


# What we write --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "findings",
    [
        {},
        {"rows": hurt()},
        {"labelled": False},
        {"known": False},
        {"rows": []},
        {"rows": table_rows()[400:405]},
        {"rows": [{**row, "label": "0"} for row in table_rows()[400:]]},
    ],
    ids=["calm", "violated", "without labels", "without a baseline", "empty", "few rows", "labels of one kind"],
)
def test_every_report_of_a_real_table_fits(findings: dict[str, Any]) -> None:
    names = hold_report(window(**findings).documents)
    assert "evaluation" in names
    if not findings:
        assert names == set(REPORTS.values()) - {"model-quality-constraints", "label-maturity"}


def test_every_baseline_of_a_real_table_fits() -> None:
    hold_baseline(baseline_files())


def test_the_other_problem_types_fit() -> None:
    for known, findings in other_problems().values():
        hold_baseline(known)
        assert "model-quality-violations" in hold_report(findings.documents)


def test_what_the_commands_write_fits(tmp_path: Path) -> None:
    table, captures = tmp_path / "table.csv", tmp_path / "captures/churn/AllTraffic/2026/01/01/12/a.jsonl"
    columns = [name for name in table_rows()[0] if name != "label"]
    lines = [",".join([*columns, "probability", "label"])]
    records = []
    for number, row in enumerate(table_rows()):
        sent = request(number, row)
        assert sent.input and sent.output
        probability = sent.output.data.split(",")[0]
        lines.append(",".join([*(row[name] for name in columns), probability, row["label"]]))
        sides = {
            "endpointInput": {"data": sent.input.data, "encoding": "CSV", "mode": "INPUT"},
            "endpointOutput": {"data": probability, "encoding": "CSV", "mode": "OUTPUT"},
        }
        metadata = {"eventId": sent.event_id, "inferenceTime": sent.inference_time.isoformat()}
        records.append(json.dumps({"captureData": sides, "eventMetadata": metadata, "eventVersion": "0"}))
    captures.parent.mkdir(parents=True)
    captures.write_text("\n".join([*records, "{no record"]))
    table.write_text("\n".join(lines))
    (tmp_path / "labels.jsonl").write_bytes(write_ground_truth(labels_of(table_rows()[:500]).values()))
    model = ("--problem-type", "BinaryClassification", "--probability-attribute")
    known, out = str(tmp_path / "baseline"), str(tmp_path / "out")
    assert (
        main(["baseline", str(table), *model, "probability", "--ground-truth-attribute", "label", "--out", known]) == 0
    )
    sources = ("--captures", str(tmp_path / "captures"), "--ground-truth", str(tmp_path / "labels.jsonl"))
    assert main(["evaluate", *sources, "--baseline", known, *model, "0", "--out", out]) in (0, 3)
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.json")}
    hold_baseline(files)
    assert {Path(path).name for path in files} == {
        *("statistics.json", "constraints.json", "constraint_violations.json", "evaluation.json", "evidence.json"),
    }
    assert (tmp_path / "out/report.html").read_bytes().startswith(b"<!DOCTYPE html>")


def test_extreme_numbers_are_strict_json() -> None:
    rows = [dict(row) for row in table_rows()[400:]]
    for row, text in zip(rows, ("1e308", "-1e308", "inf", "nan", "1e309", str(2**80)), strict=False):
        row["Day Mins"] = text
    hold_report(window(rows).documents)


# The keys of everything that a monitor's life leaves in S3 -> the schema of the object, None: nobody else's business.
WRITTEN = {
    r"data/(captures|models|retraining|ground-truth|baseline)/.*": None,
    r"data/reports/merge/.*\.jsonl": "merged-record",
    r"data/reports/churn/churn-(data-quality|model-quality|model-bias|model-explainability)/.*\.json": "report",
    r"[^/]*/plumbline/payload/churn/baselines/churn/[0-9]+/gate\.json": "gate",
    r"[^/]*/plumbline/payload/churn/baselines/.*(?<!/gate)\.json": "report",
    r"[^/]*/plumbline/payload/churn/baselines/.*\.msgpack": None,
    r"[^/]*/plumbline/facts/churn/definitions/[^/]*\.json": "monitor-definition",
    r"[^/]*/plumbline/facts/churn/decisions/[^/]*\.json": "decision",
    r"[^/]*/plumbline/facts/churn/retraining/[^/]*/manifest\.json": "training-manifest",
    r"[^/]*/plumbline/payload/churn/quarantine/[^/]*\.json": "quarantine",
    r"[^/]*/plumbline/payload/churn/(measured|window-labels|ids|revisions|surrogates)/.*": None,
}


def life() -> list[World]:
    """A monitor that is retrained and promoted, with a file in quarantine; one that explains itself."""
    world = World(definition(policy=PATIENT, monitor_types=["DataQuality", "ModelQuality", "ModelBias"], bias=BIAS))
    world.live(0)
    world.put_capture(1, b"\x1f\x8bno JSON\n", "45")
    promote(world, 1, "z")
    world.live(3, "x")
    explained = world_with("model_explainability", **EXPLAINED)
    explain(explained, 0, "x")
    explain(explained, 1, "z")
    return [world, explained]


def test_everything_that_a_monitor_writes_fits() -> None:
    worlds = life()
    seen = set()
    for world in worlds:
        for (bucket, key), stored in world.services.objects.objects.items():
            place = f"{'data' if bucket == BUCKET else bucket}/{key}"
            [name] = [name for pattern, name in WRITTEN.items() if re.fullmatch(pattern, place)] or [place]
            seen.add(name)
            if name == "report":
                hold(REPORTS[place_of(key)], strict(stored.body))
            elif name and name.endswith("-record"):
                for line in stored.body.splitlines():
                    hold(name, strict(line))
            elif name:
                hold(name, strict(stored.body))
        for alert in world.alerts():
            hold("alert", strict(encode_alert(alert).encode()))
            hold("alert-webhook", strict(webhook_body(alert)))
    assert seen == set(WRITTEN.values())
    assert {alert.state for world in worlds for alert in world.alerts()} == {"opened", "notice"}


def test_labels_that_were_posted_fit() -> None:
    labels = [Label("a", "1"), Label("b", "[0, 1]", "JSON", NOON, NOON)]
    lines = [strict(line) for line in write_ground_truth(labels).splitlines()]
    for line in lines:
        hold("ground-truth-record", line)
    assert len(lines) == 2


def test_merged_records_of_a_batch_transform_fit() -> None:
    published = json.loads((PUBLISHED / "bias-drift-batch-json-2024-01/merged_record.json").read_bytes())
    [line] = write_merged(read_merged(json.dumps(published).encode(), "merged.jsonl", NOON)).splitlines()
    hold("merged-record", strict(line))
    assert set(strict(line)["captureData"]) == {"batchTransformOutput"}


def test_merged_records_of_a_multi_model_endpoint_fit() -> None:
    document = json.loads((PUBLISHED / "bias-drift-endpoint-json-2024-01/merged_record.json").read_bytes())
    known = {"customAttributes": ["a=1"], "targetModel": "model-1.tar.gz", "inferenceComponentName": "component-1"}
    document["eventMetadata"] |= known
    [line] = write_merged(read_merged(json.dumps(document).encode(), "merged.jsonl")).splitlines()
    hold("merged-record", strict(line))
    assert strict(line)["eventMetadata"].items() >= known.items()


@pytest.mark.parametrize("name", ["monitor.yaml", "never-retrained.yaml"])
def test_the_examples_are_definitions(name: str) -> None:
    hold("monitor-definition", yaml.safe_load((ROOT / "examples/electricity" / name).read_text(encoding="utf-8")))


def test_a_misspelt_field_of_a_definition_is_seen() -> None:
    document = yaml.safe_load((ROOT / "examples/electricity/monitor.yaml").read_text(encoding="utf-8"))
    document["windows"] = document.pop("window")
    assert [error.json_path for error in validator("monitor-definition", False).iter_errors(document)] == ["$"]


# What Model Monitor and Clarify write ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("data-quality-statistics", FIXTURES / "statistics.json"),
        ("data-quality-constraints", FIXTURES / "constraints.json"),
        ("data-quality-violations", PUBLISHED / "churn-data-quality-2022-04/constraint_violations.first10.json"),
        ("model-quality-statistics", FIXTURES / "model_monitor_model_quality_regression.json"),
        *(
            ("model-quality-violations", PUBLISHED / run / "constraint_violations.json")
            for run in ("churn-2021-02", "churn-2021-05-18", "churn-2021-05-26")
        ),
        *(
            (name, PUBLISHED / run / file)
            for run in ("bias-drift-batch-json-2024-01", "bias-drift-endpoint-json-2024-01")
            for name, file in (
                ("model-bias-analysis", "baseline_analysis.json"),
                ("model-bias-violations", "constraint_violations.json"),
                ("merged-record", "merged_record.json"),
            )
        ),
        ("model-bias-analysis", FIXTURES / "clarify_data_bias_analysis_good.json"),
        (
            "model-explainability-analysis",
            PUBLISHED / "attribution-drift-endpoint-jsonlines-2023-01/baseline_analysis.json",
        ),
        ("model-explainability-analysis", FIXTURES / "clarify_explanability.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.parent.name}/{value.name}",
)
def test_published_files_fit(name: str, path: Path) -> None:
    hold(name, json.loads(path.read_bytes()), closed=False)
