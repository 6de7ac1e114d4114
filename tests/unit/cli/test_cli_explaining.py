"""`--explain-with ENDPOINT`: attributions of a model that returns none, asked for within a budget of calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chalicelib import wiring
from chalicelib.errors import MisconfiguredError
from chalicelib.evaluation.explanation import MOST_ROWS, Chosen, background_of
from chalicelib.records.attributes import Attributes
from chalicelib.records.table import to_table
from emulator.memory import memory_services
from tests.unit.cli.evaluating import START, call, line, read, write
from tests.unit.records.building import captured

WEIGHTS = {"a": 0.02, "b": -0.2, "c": 0.0}
ROWS = [(n % 7, (n % 5) / 2, (n * n) % 11) for n in range(300)]


def answer(weights: dict[str, float], row: tuple[float, ...]) -> float:
    return 0.5 + sum(weight * value for weight, value in zip(weights.values(), row, strict=True))


class Model:
    """A linear model that counts what it is asked."""

    def __init__(self, **weights: float) -> None:
        self.weights = WEIGHTS | weights
        self.calls = self.rows = 0

    def __call__(self, rows: list[list[str]]) -> list[float]:
        self.calls += 1
        self.rows += len(rows)
        return [answer(self.weights, tuple(map(float, row))) for row in rows]


@pytest.fixture
def endpoints() -> Iterator[dict[str, Any]]:
    services = memory_services(lambda: START)
    services.scorer.models.update({"quiet": Model(), "changed": Model(a=2.0, b=0.0, c=1.0)})
    wiring.use(services)
    yield services.scorer.models
    wiring.use(None)


@pytest.fixture
def monitor(tmp_path: Path) -> Path:
    definition = {
        "name": "churn",
        "endpoint": "churn",
        "monitor_types": ["DataQuality", "ModelExplainability"],
        "attributes": {"problem_type": "Regression", "features": [*WEIGHTS], "inference_attribute": "0"},
        "capture_s3_uri": "s3://data/captures",
        "ground_truth_s3_uri": "s3://data/labels",
        "output_s3_uri": "s3://data/reports",
        "attribution": {},
    }
    path = tmp_path / "monitor.json"
    path.write_text(json.dumps(definition))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [",".join(map(str, (*row, answer(WEIGHTS, row), 1))) for row in ROWS]
    return write(tmp_path / "table.csv", ["a,b,c,p,y", *rows])


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    lines = [line(n, ",".join(map(str, row)), str(answer(WEIGHTS, row)), n % 60) for n, row in enumerate(ROWS)]
    write(tmp_path / "captures/churn/AllTraffic/2022/04/01/10/one.jsonl", lines[:100])
    write(tmp_path / "captures/churn/AllTraffic/2022/04/01/10/two.jsonl", lines[100:])
    return tmp_path / "captures"


def baseline(capsys: Any, table: Path, monitor: Path, out: Path, *options: object) -> tuple[str, str]:
    named = ("--monitor", monitor, "--inference-attribute", "p", "--ground-truth-attribute", "y")
    return call(capsys, 0, "baseline", table, *named, "--explain-with", "quiet", "--out", out, *options)


def test_a_linear_model_is_explained_exactly_and_a_changed_one_violates(
    capsys: Any, endpoints: dict[str, Any], monitor: Path, table: Path, captures: Path, tmp_path: Path
) -> None:
    out, _ = baseline(capsys, table, monitor, tmp_path / "b")
    assert "300 rows explained by 5 calls of quiet" in out
    shap = read(tmp_path / "b/model_explainability/analysis.json")["explanations"]["kernel_shap"]["label0"]
    columns = np.array(ROWS, dtype=float)
    # The Shapley value of a linear model is weight * (value - mean).
    sizes = np.abs(np.array(list(WEIGHTS.values())) * (columns - columns.mean(axis=0))).mean(axis=0)
    assert list(shap["global_shap_values"]) == [*WEIGHTS]
    assert list(shap["global_shap_values"].values()) == pytest.approx(sizes.tolist(), abs=1e-9)
    assert shap["expected_value"] == pytest.approx(answer(WEIGHTS, tuple(columns.mean(axis=0))), abs=1e-9)
    evaluate = ("evaluate", "--captures", captures, "--monitor", monitor, "--baseline", tmp_path / "b")
    out, _ = call(capsys, 0, *evaluate, "--explain-with", "quiet", "--out", tmp_path / "same")
    assert "300 rows explained by 5 calls of quiet" in out
    assert read(tmp_path / "same/model_explainability/constraint_violations.json")["violations"] == []
    again = read(tmp_path / "same/model_explainability/analysis.json")["explanations"]["kernel_shap"]["label0"]
    assert list(again["global_shap_values"].values()) == pytest.approx(sizes.tolist(), abs=1e-9)
    call(capsys, 3, *evaluate, "--exit-on", "violations", "--explain-with", "changed", "--out", tmp_path / "drifted")
    (violation,) = read(tmp_path / "drifted/model_explainability/constraint_violations.json")["violations"]
    assert violation["constraint_check_type"] == "feature_attribution_drift_check"


def test_the_budget_is_kept(capsys: Any, endpoints: dict[str, Any], monitor: Path, table: Path, tmp_path: Path) -> None:
    out, _ = baseline(capsys, table, monitor, tmp_path / "b", "--explain-calls", 1)
    # One call of 500 rows: the background, and 71 rows with 6 coalitions each.
    assert "71 rows explained by 1 calls" in out
    assert (endpoints["quiet"].calls, endpoints["quiet"].rows) == (1, 1 + 71 * 7)
    arguments = ("--monitor", monitor, "--inference-attribute", "p", "--ground-truth-attribute", "y")
    out = tmp_path / "b"
    _, err = call(
        capsys, 2, "baseline", table, *arguments, "--out", out, "--explain-with", "quiet", "--explain-calls", 0
    )
    assert "max_calls" in err and "at least 1" in err


def test_without_being_asked_nothing_is_explained(
    capsys: Any, endpoints: dict[str, Any], monitor: Path, table: Path, captures: Path, tmp_path: Path
) -> None:
    baseline(capsys, table, monitor, tmp_path / "b")
    asked = endpoints["quiet"].calls
    evaluate = ("evaluate", "--captures", captures, "--monitor", monitor, "--baseline", tmp_path / "b")
    call(capsys, 0, *evaluate, "--out", tmp_path / "o")
    own = read(tmp_path / "o/model_explainability/evaluation.json")
    assert own["status"] == "NOT_EVALUATED"
    assert "the model returns no attributions" in own["reason"]
    assert endpoints["quiet"].calls == asked


def test_what_cannot_be_explained_is_refused(
    capsys: Any, endpoints: dict[str, Any], monitor: Path, table: Path, tmp_path: Path
) -> None:
    _, err = call(capsys, 2, "baseline", table, "--explain-with", "quiet", "--out", tmp_path / "b")
    assert "--monitor FILE with ModelExplainability" in err
    script = write(tmp_path / "script.py", ["def preprocess_handler(inference_record):", "    return {}"])
    arguments = ("--baseline", tmp_path, "--monitor", monitor, "--preprocess", script, "--out", tmp_path / "o")
    _, err = call(capsys, 2, "evaluate", "--captures", table, *arguments, "--explain-with", "quiet")
    assert "no --preprocess with it" in err
    document = json.loads(monitor.read_text())
    document["attributes"]["problem_type"] = "MulticlassClassification"
    monitor.write_text(json.dumps(document))
    _, err = call(
        capsys, 2, "baseline", table, "--monitor", monitor, "--out", tmp_path / "b", "--explain-with", "quiet"
    )
    assert "a model that returns a number" in err
    document["attributes"]["problem_type"] = "Regression"
    outputs = {"output_names": ["x", "y", "z"]}
    document["attributes"] |= outputs
    document["attribution"] = {"columns": outputs["output_names"]}
    monitor.write_text(json.dumps(document))
    arguments = ("--monitor", monitor, "--out", tmp_path / "b", "--explain-with", "quiet")
    _, err = call(capsys, 2, "baseline", table, *arguments)
    assert "named by attribution.columns" in err


def test_the_choice_of_rows_does_not_depend_on_the_split() -> None:
    attributes = Attributes(features=("a",), inference_attribute="0")
    requests = [captured(f"e{index:04}", str(index), "1") for index in range(2500)]
    whole, parts = Chosen(("a",)), Chosen(("a",))
    whole.add(to_table(requests, {}, attributes))
    for start in (1500, 0, 700):
        stop = {1500: 2500, 0: 700, 700: 1500}[start]
        parts.add(to_table(requests[start:stop], {}, attributes))

    def predict(rows: list[list[Any]]) -> list[float]:
        return [float(row[0]) for row in rows]

    (one, calls), (other, _) = (chosen.explain(predict, (0.0,), 100) for chosen in (whole, parts))
    assert one == other
    assert (one.rows, calls) == (MOST_ROWS, 5)


def test_a_row_of_the_baselines_own_stands_for_what_is_not_there() -> None:
    statistics = {
        "features": [
            {"name": "n", "numerical_statistics": {"mean": 1.5}},
            {
                "name": "s",
                "string_statistics": {
                    "distribution": {
                        "categorical": {"buckets": [{"value": "b", "count": 3}, {"value": "a", "count": 3}]}
                    }
                },
            },
        ]
    }
    assert background_of(statistics, ("s", "n")) == ("a", 1.5)
    with pytest.raises(MisconfiguredError, match="a mean, or categories"):
        background_of(statistics, ("x",))
