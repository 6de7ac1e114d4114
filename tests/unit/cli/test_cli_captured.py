"""`plumbline evaluate` on other files than an endpoint's captures, and with a preprocessing script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wiring
from emulator.memory import MemoryServices, memory_services
from plumbline.cli.main import main
from tests.unit.cli.evaluating import BINARY, ROWS, START, call, label, line, read, write

RUN = Path(__file__).parents[2] / "data/model-monitor-published-runs/bias-drift-batch-json-2024-01"
PUBLISHED = (
    *BINARY,
    "SageMakerOutput.predictions[*].score",
    "--inference-attribute",
    "SageMakerOutput.predictions[*].predicted_label",
)
SCRIPT = """
def preprocess_handler(inference_record):
    if inference_record.event_metadata.event_id == "event-0":
        return []
    a, b = inference_record.endpoint_input.data.split(",")
    return {"b": b, "a": a, "p": inference_record.endpoint_output.data}
"""


@pytest.fixture
def baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    table = write(tmp_path / "table.csv", ["a,b,p,y", *(",".join(map(str, row)) for row in ROWS)])
    call(capsys, 0, "baseline", table, *BINARY, "p", "--ground-truth-attribute", "y", "--out", tmp_path / "baseline")
    return tmp_path / "baseline"


@pytest.fixture
def store() -> Iterator[MemoryServices]:
    services = memory_services(lambda: START)
    wiring.use(services)
    yield services
    wiring.use(None)


def statistics(out: Path) -> Any:
    return read(out / "model_quality/statistics.json")["binary_classification_metrics"]["accuracy"]["value"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("indent", [2, 0])
def test_a_capture_may_be_laid_out_over_several_lines(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str], end: str, indent: int
) -> None:
    for number, row in enumerate(ROWS[:40]):
        # Spaces and escaped line ends in a payload are its own.
        capture = json.loads(line(number, f"{row[0]},{row[1]}\n{row[0]}, {row[1]}", f"{row[2]}\n{row[2]}"))
        path = tmp_path / f"captures/{number:02}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(json.dumps(capture, indent=indent).replace("\n", end).encode())
    given = ("--captures", tmp_path / "captures", "--baseline", baseline, *BINARY, "0", "--out", tmp_path / "out")
    out, _ = call(capsys, 0, "evaluate", *given)
    assert "40 files, 40 requests, 80 rows" in out and "cannot be read" not in out
    assert read(tmp_path / "out/data_quality/evaluation.json")["bad_records"] == {}


def test_a_document_of_several_lines_that_is_no_capture_is_told(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"secret": [1, 2]}, indent=2))
    given = ("--captures", tmp_path / "other.json", "--baseline", baseline, "--out", tmp_path / "out")
    out, _ = call(capsys, 1, "evaluate", *given)
    assert "other.json: none of 1 lines is a capture record; line 1: it has no captureData" in out
    assert "secret" not in out


def test_merged_records_of_a_batch_transform(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.dumps(read(RUN / "merged_record.json"))
    asked = json.loads(read(RUN / "merged_record.json")["captureData"]["batchTransformOutput"]["data"])["instances"]
    header = ",".join(f"f{n}" for n in range(len(asked[0]["features"])))
    table = write(tmp_path / "asked.csv", [header, *(",".join(map(str, each["features"])) for each in asked)])
    call(capsys, 0, "baseline", table, "--out", baseline)
    merged = write(tmp_path / "merge/schedule/2024/01/19/19/part-00000.c000.jsonl", [record])
    given = ("--captures", merged, "--baseline", baseline, *PUBLISHED)
    status = main([str(each) for each in ("evaluate", *given, "--out", tmp_path / "out")])
    assert status in (0, 3)
    out = capsys.readouterr().out
    assert "1 requests, 334 rows" in out and "334 rows labelled (100.0%)" in out
    document = json.loads(read(RUN / "merged_record.json")["captureData"]["batchTransformOutput"]["data"])
    served = [each["predicted_label"] for each in document["SageMakerOutput"]["predictions"]]
    truth = json.loads(read(RUN / "merged_record.json")["groundTruthData"]["data"])["instances"]
    right = sum(one == other["label"] for one, other in zip(served, truth, strict=True))
    assert statistics(tmp_path / "out") == pytest.approx(right / 334)
    assert ",".join(names(tmp_path / "out")) == header


def test_a_manifest_stands_for_the_output_that_it_names(
    tmp_path: Path, baseline: Path, store: MemoryServices, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read(RUN / "capture_output_manifest.json")
    bucket, _, prefix = manifest[0]["prefix"].removeprefix("s3://").partition("/")
    store.objects.put(bucket, prefix + manifest[1], (RUN / "transform_output.json.out").read_bytes())
    for side in ("output", "input"):
        write(tmp_path / f"captures/{side}/2024/01/19/19/a.json", [json.dumps(manifest)])
    truth = read(RUN / "merged_record.json")
    labels = write(tmp_path / "labels.jsonl", [json.dumps(truth)])
    given = ("--captures", tmp_path / "captures", "--ground-truth", labels, "--baseline", baseline, *PUBLISHED)
    assert main([str(each) for each in ("evaluate", *given, "--out", tmp_path / "out")]) in (0, 3)
    assert "1 requests, 334 rows" in capsys.readouterr().out


def test_joined_csv_without_a_manifest(tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{row[0]},{row[1]},{row[2]}, event-{n},2022-04-01T10:00:00Z" for n, row in enumerate(ROWS)]
    output = write(tmp_path / "test-dataset.csv.out", lines)
    labels = write(tmp_path / "labels.jsonl", [label(n, row[3]) for n, row in enumerate(ROWS)])
    given = ("--captures", output, "--ground-truth", labels, "--baseline", baseline, *BINARY, "2")
    main([str(each) for each in ("evaluate", *given, "--out", tmp_path / "out")])
    assert "400 requests, 400 rows" in capsys.readouterr().out
    expected = sum((row[2] > 0.5) == row[3] for row in ROWS) / 400
    assert statistics(tmp_path / "out") == pytest.approx(expected)
    assert read(tmp_path / "out/data_quality/constraint_violations.json") == {"violations": []}


def names(out: Path) -> list[str]:
    return [feature["name"] for feature in read(out / "data_quality/statistics.json")["features"]]


@pytest.mark.parametrize("joined", [True, False])
def test_json_lists_of_a_batch_transform_take_the_baselines_names(
    tmp_path: Path, baseline: Path, store: MemoryServices, capsys: pytest.CaptureFixture[str], joined: bool
) -> None:
    """Several records a line; joined with the input by SageMaker, or separated by two manifests."""
    times = {"SageMakerInferenceTime": "2022-04-01T10:30:00Z"}
    asked, answered, truth = [], [], []
    for n in range(0, len(ROWS), 4):
        some = ROWS[n : n + 4]
        question = {"instances": [list(row[:2]) for row in some]}
        answer = {"SageMakerOutput": {"predictions": [{"score": row[2]} for row in some]}}
        asked.append(json.dumps(question))
        answered.append(
            json.dumps({"SageMakerInferenceId": f"event-{n}", **times, **answer, **(question if joined else {})})
        )
        truth.append(label(n, json.dumps({"instances": [{"label": row[3]} for row in some]})))
    store.objects.put("data", "asked/a.json", "\n".join(asked).encode())
    store.objects.put("data", "answered/a.json.out", "\n".join(answered).encode())
    for side, folder, name in (("input", "asked", "a.json"), ("output", "answered", "a.json.out")):
        if side == "output" or not joined:
            manifest = json.dumps([{"prefix": f"s3://data/{folder}/"}, name])
            write(tmp_path / f"captures/{side}/2022/04/01/10/{side}-1.json", [manifest])
    labels = write(tmp_path / "labels.jsonl", truth)
    given = ("--captures", tmp_path / "captures", "--ground-truth", labels, "--baseline", baseline)
    where = "SageMakerOutput.predictions[*].score"
    out, _ = call(capsys, 0, "evaluate", *given, *BINARY, where, "--out", tmp_path / "out")
    assert "100 requests, 400 rows" in out and "400 rows labelled (100.0%)" in out
    assert names(tmp_path / "out") == ["a", "b"]
    assert read(tmp_path / "out/data_quality/constraint_violations.json") == {"violations": []}


def test_a_preprocessing_script_names_the_columns(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captures = write(
        tmp_path / "captures.jsonl", [line(n, f"{row[0]},{row[1]}", str(row[2])) for n, row in enumerate(ROWS)]
    )
    (tmp_path / "script.py").write_text(SCRIPT)
    given = ("--captures", captures, "--baseline", baseline, *BINARY, "p", "--preprocess", tmp_path / "script.py")
    call(capsys, 0, "evaluate", *given, "--out", tmp_path / "out")
    found = read(tmp_path / "out/data_quality/statistics.json")
    assert [each["name"] for each in found["features"]] == ["a", "b"]
    own = read(tmp_path / "out/data_quality/evaluation.json")
    assert own["inputs"]["rows"] == 399
    assert own["noted_records"] == {"preprocess_handler left the request out": {"count": 1, "sample": ["event-0"]}}
    (tmp_path / "script.py").write_text("def handler(record): pass")
    _, err = call(capsys, 2, "evaluate", *given, "--out", tmp_path / "out")
    assert "a function preprocess_handler" in err
