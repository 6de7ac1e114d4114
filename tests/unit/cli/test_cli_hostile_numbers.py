"""Numbers at the edge of float64 and beyond it: whatever is written is strict JSON, and no command ends in a trace."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from plumbline.cli.main import main
from tests.unit.cli.evaluating import START, label, line, write

ROWS = 12
HOSTILE = (
    *("1e308", "-1e308", "1.7976931348623157e308", "-1.7976931348623157e308", "1e400", "-1e400"),
    *("5e-324", "-5e-324", "-0.0", "NaN", "Infinity", "-Infinity", "inf", "nan"),
    *("9007199254740993", "-9007199254740993", "18446744073709551617", "1" + "0" * 400, "0.1", "1", "0", "3"),
)
NUMBERS = tuple(text for text in HOSTILE if text not in ("NaN", "nan", "inf", "Infinity", "-Infinity"))
FINITE = tuple(text for text in NUMBERS if math.isfinite(float(text)))
HUGE = ["1e308", "-1e308"] * (ROWS // 2)
MARGINS = (
    "--problem-type",
    "BinaryClassification",
    "--probability-threshold-attribute",
    "0",
    "--probability-attribute",
)
REGRESSION = ("--problem-type", "Regression", "--inference-attribute")


def strict(body: bytes) -> Any:
    """A JSON document without NaN and infinities, also none that only overflows when it is read."""

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    def number(text: str) -> float:
        assert math.isfinite(float(text)), f"{text} is no float64"
        return float(text)

    return json.loads(body, parse_constant=refuse, parse_float=number)


def ends_well(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object) -> int:
    """Run a command; its exit status, when everything that it wrote and said is what it should be."""
    status = main([*map(str, arguments), "--out", str(out), "--json"])
    said, error = capsys.readouterr()
    assert status in (0, 1, 2, 3) and "Traceback" not in error
    if said:
        strict(said.encode())
    for path in out.rglob("*.json*"):
        for text in path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]:
            strict(text)
    return status


def in_json(text: str) -> str:
    return {"inf": "Infinity", "nan": "NaN"}.get(text, text)


def captured(feature: list[str], answers: list[str], kind: str) -> list[str]:
    """A capture file's lines; a JSON payload holds the numbers as they are spelt, also those that are no JSON."""
    lines = []
    for number, (one, other) in enumerate(zip(feature, answers, strict=True)):
        if kind == "csv":
            lines.append(line(number, f"{one},{number}", other))
            continue
        made = line(number, f'{{"a": {in_json(one)}, "b": {number}}}', in_json(other))
        lines.append(made.replace('"CSV"', '"JSON"').replace("text/csv", "application/json"))
    return lines


columns = st.lists(st.sampled_from(HOSTILE), min_size=ROWS, max_size=ROWS)
answers = st.lists(st.sampled_from(NUMBERS), min_size=ROWS, max_size=ROWS)


@pytest.mark.parametrize("problem", [REGRESSION, MARGINS], ids=["regression", "margins"])
@pytest.mark.parametrize("kind", ["csv", "json"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=columns, now=columns, was=answers, answer=answers)
@example(before=HUGE, now=HUGE, was=HUGE, answer=HUGE[::-1])
@example(before=["1"] * ROWS, now=HUGE, was=["0.1", "3"] * (ROWS // 2), answer=HUGE)
@example(before=HUGE, now=["0.1", "3"] * (ROWS // 2), was=HUGE, answer=["0.1", "3"] * (ROWS // 2))
@example(before=["1e308"] * ROWS, now=["1e308"] * ROWS, was=["1e308"] * ROWS, answer=["1e308"] * ROWS)
def test_every_file_is_strict_json(
    problem: tuple[str, ...],
    kind: str,
    before: list[str],
    now: list[str],
    was: list[str],
    answer: list[str],
    capsys: pytest.CaptureFixture[str],
):
    binary = problem is MARGINS
    with TemporaryDirectory() as name:
        folder = Path(name)
        labels_then = ["1", "0"] * (ROWS // 2) if binary else was[::-1]
        rows = list(zip(before, was, labels_then, strict=True))
        if kind == "csv":
            table = write(folder / "t.csv", ["a,b,p,y", *(f"{a},{n},{p},{y}" for n, (a, p, y) in enumerate(rows))])
        else:
            documents = [
                f'{{"a": {in_json(a)}, "b": {n}, "p": {in_json(p)}, "y": {in_json(y)}}}'
                for n, (a, p, y) in enumerate(rows)
            ]
            table = write(folder / "t.jsonl", documents)
        baseline = folder / "baseline"
        made = ends_well(capsys, baseline, "baseline", table, *problem, "p", "--ground-truth-attribute", "y")
        if made == 2 and not baseline.exists():  # refused; the windows are held against a healthy one
            plain = write(folder / "p.csv", ["a,b,p,y", *(f"{n % 3},{n},{n % 5},{n % 2}" for n in range(ROWS))])
            assert ends_well(capsys, baseline, "baseline", plain, *problem, "p", "--ground-truth-attribute", "y") == 0
        write(folder / f"captures/churn/AllTraffic/{START:%Y/%m/%d/%H}/a.jsonl", captured(now, answer, kind))
        labels_now = ["1", "0"] * (ROWS // 2) if binary else was
        write(folder / "labels/a.jsonl", [label(n, each) for n, each in enumerate(labels_now)])
        place = "0" if kind == "csv" else "@"
        ends_well(
            capsys,
            folder / "report",
            *("evaluate", "--captures", folder / "captures", "--ground-truth", folder / "labels"),
            *("--baseline", baseline, *problem, place),
        )
