"""`plumbline backtest` and `tune`: a table whose relation turns over once, and the folder of reports of a monitor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from chalicelib.definition import canonical_json
from plumbline.cli.main import main
from tests.unit.handlers.world import DATA, World, definition

ROWS, WINDOWS, TURN = 60, 16, 8


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 windows of 60 rows: the label is x > 0.5, and from window 8 on x <= 0.5."""
    draw = np.random.default_rng(0)
    lines = ["x,z,kind,label"]
    for window in range(WINDOWS):
        for x, z in draw.random((ROWS, 2)).tolist():
            lines.append(f"{x:.3f},{z:.3f},{'ab'[x > z]},{int((x > 0.5) == (window < TURN))}")
    path = tmp_path_factory.mktemp("backtest") / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def options(table: Path) -> list[str]:
    return [str(table), "--label", "label", "--rows-per-window", str(ROWS), "--training-windows", "2"]


def test_the_table_sets_policies_side_by_side(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "picture.svg"
    assert main(["backtest", *options(table), "--svg", str(picture), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    lines = {line["policy"]: line for line in document["policies"]}
    assert document["windows"] == WINDOWS - 2
    # 6 windows right and 8 wrong, within a few rows that the trees err on.
    assert lines["never"]["error"] == pytest.approx(8 / 14, abs=0.03)
    assert lines["best schedule in hindsight"]["retrains"] >= 1
    assert lines["best schedule in hindsight"]["ratio"] == 1.0
    assert lines["rule regret"]["retrains"] >= 1
    assert lines["rule regret"]["error"] < lines["never"]["error"]
    assert all(line["ratio"] >= 1.0 for line in lines.values() if line["ratio"] and line["roll_backs"] == 0)
    assert lines["every 1 windows"]["retrains"] == WINDOWS - 2
    assert picture.read_text().startswith("<svg ") and "rule regret" in picture.read_text()


def test_people_get_a_table(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", *options(table), "--cost", "0.5"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("14 windows, labels 2 windows late, a retraining costs 0.5 window-losses\npolicy ")
    assert "persistence: the last label known" in text


def test_tune_proposes_the_highest_cost_that_loses_little(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", *options(table), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    errors = {each["cost"]: each["error"] for each in found["tried"]}
    least = min(errors.values())
    assert errors[found["proposed_cost"]] <= 1.05 * least
    assert all(error > 1.05 * least for cost, error in errors.items() if cost > found["proposed_cost"])


def test_a_regression_is_weighed_in_multiples_of_its_first_loss(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = []
    for unit in (1, 1024):
        rows = [line.rsplit(",", 1) for line in table.read_text().splitlines()]
        changed = tmp_path / f"{unit}.csv"
        lines = [f"{rest},{label if label == 'label' else unit * int(label)}" for rest, label in rows]
        changed.write_text("\n".join(lines) + "\n")
        assert main(["backtest", *options(changed), "--problem-type", "Regression", "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    assert documents[0] == documents[1]


def test_a_folder_of_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(definition(policy={"cost": 1000.0}))
    for number in range(10):
        world.live(number, "x" if number < 4 else "z")
    for key in world.services.objects.keys(DATA, "reports/"):
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(world.services.objects.get(DATA, key).body)
    monitor = tmp_path / "monitor.yaml"
    monitor.write_text(yaml.safe_dump(json.loads(canonical_json(world.definition))))
    assert main(["backtest", str(tmp_path / "reports"), "--monitor", str(monitor), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    never = next(line for line in document["policies"] if line["policy"] == "never")
    losses = [world.evaluation(number).loss for number in range(10)]
    assert document["windows"] == 10 and never["error"] == pytest.approx(np.mean(losses))


@pytest.mark.parametrize(
    "changed, text",
    [
        (["--rows-per-window", "0"], "--rows-per-window"),
        (["--rows-per-window", "480"], "at least 10 with labelled rows"),
        (["--rows-per-window", "60", "--cost", "0"], "policy.cost"),
    ],
)
def test_what_cannot_be_replayed_is_named(
    table: Path, changed: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backtest", str(table), "--label", "label", "--training-windows", "2", *changed]) == 2
    assert text in capsys.readouterr().err


def test_reports_need_a_definition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    assert main(["backtest", str(tmp_path)]) == 2
    assert "--monitor" in capsys.readouterr().err
