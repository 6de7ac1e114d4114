"""Captures, labels and tables for the tests of `plumbline baseline` and `plumbline evaluate`, and a call of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from plumbline.cli.main import main

CHURN = Path(__file__).parents[2] / "data" / "churn"
PUBLISHED = CHURN.parent / "model-monitor-published-runs"
START = datetime(2022, 4, 1, 10, tzinfo=UTC)
BINARY = ("--problem-type", "BinaryClassification", "--probability-attribute")
ANSWERS = ("--problem-type", "BinaryClassification", "--inference-attribute")


def line(number: int, asked: str, answered: str, minutes: float = 0.0, **metadata: str) -> str:
    time = START + timedelta(minutes=minutes)
    sides = {
        "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": asked, "encoding": "CSV"},
        "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": answered, "encoding": "CSV"},
    }
    known = {"eventId": f"event-{number}", "inferenceTime": f"{time:%Y-%m-%dT%H:%M:%SZ}", **metadata}
    return json.dumps({"captureData": sides, "eventMetadata": known, "eventVersion": "0"})


def label(number: int, value: object) -> str:
    data = {"data": str(value), "encoding": "CSV"}
    return json.dumps({"groundTruthData": data, "eventMetadata": {"eventId": f"event-{number}"}, "eventVersion": "0"})


def write(path: Path, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{each}\n" for each in lines))
    return path


def call(capsys: pytest.CaptureFixture[str], status: int, *arguments: object) -> tuple[str, str]:
    assert main([str(each) for each in arguments]) == status
    return capsys.readouterr()


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def definition_file(folder: Path, changed: Mapping[str, Any] | None = None, **attributes: object) -> Path:
    """A monitor's definition with what the baselines here have, and other fields or attributes."""
    definition = {
        **{"name": "churn", "endpoint": "churn", "monitor_types": ["DataQuality", "ModelQuality"]},
        **{"capture_s3_uri": "s3://data/captures", "ground_truth_s3_uri": "s3://data/labels"},
        "output_s3_uri": "s3://data/out",
        "attributes": {"problem_type": "BinaryClassification", "probability_attribute": "0", **attributes},
        "baseline": {"model_quality_constraints": "s3://data/constraints.json"},
        **(changed or {}),
    }
    (folder / "churn.json").write_text(json.dumps(definition))
    return folder / "churn.json"


# A table of two features, an answer and a label, of which one in four is wrong.
ROWS = [(n % 7, n % 5 / 2, 0.9 if n % 2 else 0.2, n % 2 if n % 4 else 1 - n % 2) for n in range(400)]
