"""Inputs that were read wrongly once, each with the right answer: tests/data/cases, which names its sources."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from plumbline.cli.main import main

CASES = Path(__file__).parents[2] / "data" / "cases"
ALL: list[dict[str, Any]] = json.loads((CASES / "cases.json").read_bytes())


@pytest.mark.parametrize("case", ALL, ids=[f"{each['case']} {each['what']}" for each in ALL])
def test_what_was_answered_wrongly_is_answered_rightly(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(CASES / f"{case['case']}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    wanted = dict(case["expected"])
    if case["baseline"]:
        status = main(["baseline", *case["baseline"], "--out", "base-made"])
        said = "".join(capsys.readouterr())
        assert status == wanted.pop("baseline_status", 0), said
        assert not [each for each in wanted.pop("baseline_says", []) if each not in said], said
    for name, count in wanted.pop("present", {}).items():
        [feature] = [one for one in read("base-made/data_quality/statistics.json")["features"] if one["name"] == name]
        described = feature.get("numerical_statistics") or feature["string_statistics"]
        assert described["common"]["num_present"] == count
    if case["evaluate"]:
        given = [] if "--baseline" in case["evaluate"] else ["--baseline", "base-made"]
        status = main(["evaluate", *case["evaluate"], *given, "--out", "out"])
        hold(wanted, status, "".join(capsys.readouterr()))


def hold(wanted: dict[str, Any], status: int, said: str) -> None:
    """Every key of what is wanted, against what was said and written."""
    own = [read(path) for path in sorted(Path("out").glob("*/evaluation.json"))]
    for key, value in wanted.items():
        if key == "status":
            assert status == value, said
        elif key in ("says", "lacks"):
            assert [text for text in value if text in said] == (value if key == "says" else []), said
        elif key in ("rows", "labelled_rows", "labels_conflicting"):
            assert {each["inputs"][key] for each in own} == {value}, said
        elif key == "broken":
            assert [each["broken"] for each in own] == [value] * len(own)
        elif key == "violations":
            found = read("out/data_quality/constraint_violations.json")["violations"]
            assert [f"{each['feature_name']}: {each['constraint_check_type']}" for each in found] == value, said
        elif key == "not_evaluated":
            assert [read(f"out/{name}/evaluation.json")["status"] for name in value] == ["NOT_EVALUATED"] * len(value)
        elif key == "classes":
            matrix = read("out/model_quality/statistics.json")["multiclass_classification_metrics"]["confusion_matrix"]
            assert sorted(matrix) == value
        else:
            statistics = read("out/model_quality/statistics.json")
            [metrics] = [found for name, found in statistics.items() if name.endswith("_metrics")]
            found = statistics["dataset"]["item_count"] if key == "item_count" else metrics[key]["value"]
            assert found == pytest.approx(value), said


def read(path: str | Path) -> Any:
    return json.loads(Path(path).read_bytes())
