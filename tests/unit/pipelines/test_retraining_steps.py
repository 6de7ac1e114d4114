"""The three scripts of the reference pipeline, run for real, one process per job."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.unit.pipelines.containers import DECISION, archive, container, manifest_of, merged_file, packed

GUESSER = b"""
def model_fn(folder): return None
def input_fn(body, content_type): return body.splitlines()
def predict_fn(rows, model): return [GUESS for _ in rows]
def output_fn(answers, accept): return "\\n".join(map(str, answers)).encode()
"""


def guesser(value: str) -> bytes:
    return archive({"code/inference.py": GUESSER.replace(b"GUESS", value.encode())})


@pytest.fixture(scope="module")
def processed(tmp_path_factory, run_script, shipped, windows):
    root = container(tmp_path_factory.mktemp("process"), manifest_of(**windows))
    return run_script(shipped / "process.py", root, "--decision-id", DECISION)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_script, shipped, processed):
    root = tmp_path_factory.mktemp("train")
    shutil.copytree(processed.root / "processing/output/train", root / "input/data/train")
    (root / "input/config").mkdir(parents=True)
    (root / "input/config/hyperparameters.json").write_text('{"random_state": "0"}')
    return run_script(shipped / "train.py", root)


@pytest.fixture
def evaluate(tmp_path, run_script, shipped, processed, trained, windows):
    """Evaluate the trained challenger against a champion and a pool, given as archives."""

    def run(champion: bytes, pool: dict[str, bytes] | None = None, gone: tuple[str, ...] = ()):
        models = {"champion": champion, **(pool or {})}
        for name, body in models.items():
            (tmp_path / f"{name}.tar.gz").write_bytes(body)
        places = {name: {"name": name, "model_data": (tmp_path / f"{name}.tar.gz").as_uri()} for name in models}
        for name in gone:
            (tmp_path / f"{name}.tar.gz").unlink()
        manifest = manifest_of(**windows, champion=places.pop("champion"), pool=list(places.values()))
        root = container(tmp_path / "evaluate", manifest)
        shutil.copytree(processed.root / "processing/output/holdback", root / "processing/input/holdback")
        (root / "processing/input/challenger").mkdir()
        (root / "processing/input/challenger/model.tar.gz").write_bytes(packed(trained.root / "model"))
        return run_script(shipped / "evaluate.py", root)

    return run


def test_process_writes_both_tables_and_says_how_many_rows_each_window_gave(processed):
    assert processed.code == 0, processed.log
    output = processed.root / "processing/output"
    with (output / "train/train.csv").open() as lines:
        header, *training = csv.reader(lines)
    with (output / "holdback/holdback.csv").open() as lines:
        holdback_header, *holdback = csv.reader(lines)
    assert header == ["label", "x", "y", "z"]
    assert holdback_header == ["label", "window", "x", "y", "z"]
    assert len(training) == 360
    assert all(int(label) == (float(x) > float(y)) for label, x, y, _ in training)
    assert all(int(label) == (float(x) > float(y)) for label, _, x, y, _ in holdback)
    assert [row[1] for row in holdback] == ["2026-01-03T00:00:00Z"] * 120 + ["2026-01-04T00:00:00Z"] * 120
    summary = processed.json("processing/output/summary/summary.json")
    assert [(entry["window"], entry["rows"]) for entry in summary["training"]] == [
        ("2026-01-01T00:00:00Z", 120),
        ("2026-01-02T00:00:00Z", 240),
    ]
    assert sum(entry["positives"] for entry in summary["training"]) == sum(row[0] == "1" for row in training)
    assert summary["decision_id"] == DECISION


def test_train_writes_a_model_that_serves_csv(trained):
    assert trained.code == 0, trained.log
    assert trained.json("model/metadata.json") == {
        "rows": 360,
        "classes": [0, 1],
        "features": ["x", "y", "z"],
        "seed": 0,
    }
    assert sorted(path.name for path in (trained.root / "model").rglob("*") if path.is_file()) == [
        "inference.py",
        "metadata.json",
        "model.joblib",
    ]


def test_a_better_challenger_is_called_better(evaluate):
    job = evaluate(guesser("0.9"), {"zero": guesser("0.1")})
    assert job.code == 0, job.log
    evaluation = job.json("processing/output/evaluation/evaluation.json")
    losses = evaluation["losses"]
    # One guesser is right exactly where the other is wrong.
    assert losses["champion"] + losses["pool"]["zero"] == pytest.approx(1)
    assert evaluation["best_incumbent"] == min(losses["champion"], losses["pool"]["zero"])
    assert losses["challenger"] < 0.2 < evaluation["best_incumbent"]
    assert evaluation["challenger_better"] is True
    assert evaluation["decision_id"] == DECISION
    assert (evaluation["rows"], evaluation["windows"]) == (240, ["2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"])
    # Windows of the same size: their mean is the whole.
    parts = [entry["losses"]["challenger"] for entry in evaluation["per_window"]]
    assert sum(parts) / 2 == pytest.approx(losses["challenger"])


def test_the_model_metrics_are_the_challengers_in_sagemakers_layout(evaluate):
    job = evaluate(guesser("0.9"))
    evaluation = job.json("processing/output/evaluation/evaluation.json")
    metrics = job.json("processing/output/evaluation/model_metrics.json")
    assert metrics["dataset"]["item_count"] == 240
    accuracy = metrics["binary_classification_metrics"]["accuracy"]["value"]
    assert accuracy == pytest.approx(1 - evaluation["losses"]["challenger"])
    constraints = job.json("processing/output/evaluation/model_constraints.json")["binary_classification_constraints"]
    assert constraints["accuracy"] == {"threshold": accuracy, "comparison_operator": "LessThanThreshold"}


def test_an_equal_champion_is_not_beaten(evaluate, trained):
    job = evaluate(packed(trained.root / "model"))
    assert job.code == 0, job.log
    evaluation = job.json("processing/output/evaluation/evaluation.json")
    assert evaluation["losses"]["challenger"] == evaluation["best_incumbent"]
    assert evaluation["challenger_better"] is False


def test_a_past_champion_that_knows_the_truth_is_not_beaten(evaluate):
    knows = b"""
def model_fn(folder): return None
def input_fn(body, content_type): return [line.split(",") for line in body.splitlines()]
def predict_fn(rows, model): return [float(float(x) > float(y)) for x, y, _ in rows]
def output_fn(answers, accept): return "".join(f"{answer}\\n" for answer in answers), accept
"""
    job = evaluate(guesser("0.9"), {"knows": archive({"code/inference.py": knows})})
    assert job.code == 0, job.log
    evaluation = job.json("processing/output/evaluation/evaluation.json")
    assert evaluation["losses"]["pool"]["knows"] == evaluation["best_incumbent"] == 0
    assert evaluation["challenger_better"] is False


def test_a_past_champion_that_cannot_be_asked_is_named_and_not_compared(evaluate):
    pool = {
        "no-code": archive({"model.joblib": b""}),
        "exits": archive({"code/inference.py": b"raise SystemExit(3)"}),
        "climbs": archive({"../outside.py": b""}),
        "beyond": guesser("7.0"),
        "not-a-number": guesser("float('nan')"),
        "no-archive": b"text",
    }
    job = evaluate(guesser("0.9"), {**pool, "gone": b""}, gone=("gone",))
    assert job.code == 0, job.log
    evaluation = job.json("processing/output/evaluation/evaluation.json")
    assert evaluation["losses"]["pool"] == {}
    assert evaluation["not_compared"].pop("gone").endswith("gone.tar.gz does not exist")
    assert evaluation["not_compared"] == {
        "no-code": "FileNotFoundError",
        "exits": "RuntimeError",
        "climbs": "OutsideDestinationError",
        "beyond": "ValueError",
        "not-a-number": "ValueError",
        "no-archive": "ReadError",
    }
    assert evaluation["best_incumbent"] == evaluation["losses"]["champion"]


def test_models_do_not_share_modules(evaluate):
    """Both archives bring a module of the same name; each must get its own."""
    code = GUESSER.replace(b"GUESS", b"guess.VALUE").replace(b"\n", b"\nimport guess\n", 1)
    high = archive({"code/inference.py": code, "code/guess.py": b"VALUE = 0.9"})
    low = archive({"code/inference.py": code, "code/guess.py": b"VALUE = 0.1"})
    losses = evaluate(high, {"low": low}).json("processing/output/evaluation/evaluation.json")["losses"]
    assert losses["champion"] + losses["pool"]["low"] == pytest.approx(1)


def test_a_champion_that_cannot_be_asked_fails_the_step(evaluate):
    job = evaluate(b"text")
    assert job.code == 1
    assert "champion" in job.failure and "ReadError" in job.failure
    assert not (job.root / "processing/output/evaluation/evaluation.json").exists()


def test_a_missing_merged_object_is_named(tmp_path, run_script, shipped, windows):
    gone = (tmp_path / "gone.jsonl").as_uri()
    manifest = manifest_of(
        {"2026-01-01T00:00:00Z": [*windows["training"]["2026-01-01T00:00:00Z"], gone]}, windows["holdback"]
    )
    job = run_script(shipped / "process.py", container(tmp_path / "ml", manifest))
    assert job.code == 1
    assert gone in job.failure and "2026-01-01T00:00:00Z" in job.failure
    assert (job.root / "output/message").read_text() == job.failure
    assert not (job.root / "processing/output").exists()


def test_unusable_rows_are_counted_and_never_quoted(tmp_path, run_script, shipped, windows):
    record = json.loads(merged_file(9, 1))
    record["captureData"]["endpointInput"]["data"] = "secret,0.1,0.2\n0.1,0.2\n0.3,0.1,0.5"
    record["groundTruthData"]["data"] = "1,0,1"
    (tmp_path / "bad.jsonl").write_bytes(merged_file(8, 40, quirks=(json.dumps(record), "{broken")))
    training = {**windows["training"], "2026-01-02T12:00:00Z": [(tmp_path / "bad.jsonl").as_uri()]}
    root = container(tmp_path / "ml", manifest_of(training, windows["holdback"]))
    job = run_script(shipped / "process.py", root)
    assert job.code == 0, job.log
    last = job.json("processing/output/summary/summary.json")["training"][-1]
    assert last["rows"] == 121
    assert last["left_out"]["a feature is not a number"] == 1
    assert last["left_out"]["line is no merged record"] == 1
    assert sum(last["left_out"].values()) == 3
    everything = job.log + "".join(path.read_text() for path in root.rglob("*") if path.is_file())
    assert "secret" not in everything


def one_class(tmp_path: Path, windows: dict) -> dict:
    lines = [json.loads(line) for line in merged_file(1, 80).splitlines()]
    for line in lines:
        line["groundTruthData"]["data"] = "1,1,1"
    path = tmp_path / "ones.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return manifest_of({"2026-01-01T00:00:00Z": [path.as_uri()]}, windows["holdback"])


REFUSED = {
    "both classes": one_class,
    "training: 120 usable rows in 1 windows; expected 200": lambda tmp_path, windows: manifest_of(
        {"2026-01-01T00:00:00Z": windows["training"]["2026-01-01T00:00:00Z"]}, windows["holdback"]
    ),
    "holdback: 0 usable rows": lambda tmp_path, windows: manifest_of(windows["training"], {}),
    "is not after the training windows": lambda tmp_path, windows: manifest_of(
        windows["training"], windows["training"]
    ),
    "belongs to decision": lambda tmp_path, windows: manifest_of(**windows, decision_id="e" * 64),
    "version 2": lambda tmp_path, windows: manifest_of(**windows, version=2),
    "probability_attribute": lambda tmp_path, windows: manifest_of(**windows, attributes={"inference_attribute": "0"}),
}


@pytest.mark.parametrize("expected", REFUSED)
def test_what_cannot_be_trained_on_is_refused_with_the_reason(expected, tmp_path, run_script, shipped, windows):
    root = container(tmp_path / "ml", REFUSED[expected](tmp_path, windows))
    job = run_script(shipped / "process.py", root, "--decision-id", DECISION)
    assert job.code == 1
    assert expected in job.failure
    assert not (root / "processing/output").exists()


def test_merged_objects_are_fetched_from_s3(tmp_path, run_script, shipped):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        settings = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        s3 = boto3.client(
            "s3",
            endpoint_url=settings["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        s3.create_bucket(Bucket="merged")
        # A key may hold what would be special in a URL.
        for key in ("hour 1/part?#1.jsonl", "hour 2/part.jsonl"):
            s3.put_object(Bucket="merged", Key=key, Body=merged_file(len(key), 80))
        training, holdback = (
            {"2026-01-01T00:00:00Z": ["s3://merged/hour 1/part?#1.jsonl"]},
            "s3://merged/hour 2/part.jsonl",
        )
        good = manifest_of(training, {"2026-01-02T00:00:00Z": [holdback]})
        job = run_script(shipped / "process.py", container(tmp_path / "good", good), **settings)
        assert job.code == 0, job.log
        assert job.json("processing/output/summary/summary.json")["holdback"][0]["rows"] == 240
        bad = manifest_of(training, {"2026-01-02T00:00:00Z": [holdback, "s3://merged/hour 3/part.jsonl"]})
        job = run_script(shipped / "process.py", container(tmp_path / "bad", bad), **settings)
        assert job.code == 1
        assert "s3://merged/hour 3/part.jsonl does not exist" in job.failure
    finally:
        server.stop()
