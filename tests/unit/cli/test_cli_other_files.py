"""plumbline evaluate on merged records, batch transforms and what else SageMaker writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chalicelib import wiring
from emulator.memory import memory_services
from tests.unit.cli.evaluating import (
    ANSWERS,
    BINARY,
    CHURN,
    PUBLISHED,
    ROWS,
    START,
    call,
    label,
    line,
    read,
    write,
)


def test_merged_records_bring_their_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("--inference-attribute", "prediction", "--ground-truth-attribute", "label")
    table, baseline = CHURN / "validation_with_predictions.csv", tmp_path / "b"
    call(capsys, 0, "baseline", table, *BINARY, "probability", *columns, "--out", baseline)
    for run, attribute in (
        ("bias-drift-endpoint-json-2024-01", "predictions[].predicted_label"),
        ("bias-drift-batch-json-2024-01", "SageMakerOutput.predictions[].predicted_label"),
    ):
        given = ("--captures", PUBLISHED / run / "merged_record.json", "--baseline", baseline)
        out, _ = call(capsys, 3, "evaluate", *given, *ANSWERS, attribute, "--out", tmp_path / run)
        assert "334 rows labelled (100.0%)" in out


def test_a_transforms_output_is_found_by_its_manifest(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Input and output of a job that did not join them belong together by the manifests of one hour."""
    services = memory_services(lambda: START)
    put = services.objects.put
    put("data", "asked/a.csv", b"".join(f"{row[0]},{row[1]}\n".encode() for row in ROWS))
    ended = b"".join(f"{row[2]},id-{n},2022-04-01T10:30:00Z\n".encode() for n, row in enumerate(ROWS))
    put("data", "answered/a.csv.out", ended)
    for side, folder, name in (("input", "asked", "a.csv"), ("output", "answered", "a.csv.out")):
        manifest = json.dumps([{"prefix": f"s3://data/{folder}/"}, name]).encode()
        put("data", f"captures/{side}/2022/04/01/10/{side}-1.json", manifest)
    put("data", "labels/2022/04/02/00/a.jsonl", b"".join(f"{_of(n)}\n".encode() for n in range(len(ROWS))))
    wiring.use(services)
    try:
        given = ("--captures", "s3://data/captures", "--ground-truth", "s3://data/labels", "--baseline", baseline)
        out, _ = call(capsys, 0, "evaluate", *given, *BINARY, "0", "--out", tmp_path / "out")
        assert "400 rows labelled (100.0%)" in out
        services.objects.delete("data", "answered/a.csv.out")
        out, _ = call(capsys, 1, "evaluate", *given, *BINARY, "0", "--out", tmp_path / "again")
        assert "s3://data/answered/a.csv.out: is named by a manifest and does not exist" in out
    finally:
        wiring.use(None)
    assert read(tmp_path / "out/data_quality/constraint_violations.json") == {"violations": []}
    own = read(tmp_path / "out/model_quality/evaluation.json")
    assert own["served_loss"] == pytest.approx(0.25)


def _of(number: int) -> str:
    return label(number, ROWS[number][3]).replace("event-", "id-")


def test_a_users_own_script_makes_the_records(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The captures have the features the other way round, and a header that the script drops."""
    script = tmp_path / "script.py"
    script.write_text(
        "def preprocess_handler(inference_record):\n"
        "    b, a = inference_record.endpoint_input.data.split(',')\n"
        "    p = inference_record.endpoint_output.data\n"
        "    return {'a': a, 'b': b, 'p': p}\n"
    )
    lines = [line(n, f"{row[1]},{row[0]}", str(row[2]), n % 60) for n, row in enumerate(ROWS)]
    captures = write(tmp_path / "c.jsonl", lines)
    given = ("--captures", captures, "--baseline", baseline, *BINARY, "p", "--out", tmp_path / "out")
    call(capsys, 0, "evaluate", *given, "--preprocess", script)
    mine = read(tmp_path / "out/data_quality/statistics.json")["features"]
    assert mine == read(baseline / "data_quality/statistics.json")["features"]


def test_labels_among_the_captures_are_told(
    tmp_path: Path, baseline: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--captures", labels, "--baseline", baseline, "--out", tmp_path / "out")
    out, _ = call(capsys, 1, "evaluate", *given)
    assert "holds labels and no captures; --ground-truth reads it" in out
