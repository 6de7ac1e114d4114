"""The example of a pipeline that knows nothing of Plumbline's code, its training step run for real."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pipelines import package_code
from tests.unit.pipelines.containers import container, manifest_of, merged_file

SCRIPT = package_code.ROOT / "examples/other-pipeline/train.py"


def serve(model_dir: Path, rows: str) -> list[float]:
    specification = importlib.util.spec_from_file_location("other_inference", model_dir / "code/inference.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    model = module.model_fn(str(model_dir))
    body, content_type = module.output_fn(module.predict_fn(module.input_fn(rows, "text/csv"), model), "text/csv")
    assert content_type == "text/csv"
    return [float(line) for line in body.splitlines()]


def test_it_trains_on_what_the_manifest_names_and_serves_csv(tmp_path, run_script, windows):
    root = container(tmp_path / "ml", manifest_of(**windows), "input/data/manifest")
    job = run_script(SCRIPT, root)
    assert job.code == 0, job.log
    assert "trained on 360 rows" in job.log
    sure_one, sure_zero, missing = serve(root / "model", "0.9,0.1,0.5\n0.1,0.9,0.5\n0.9,0.1,")
    assert sure_one > 0.9 > 0.1 > sure_zero
    assert missing > 0.9


def test_the_same_manifest_gives_the_same_answers(tmp_path, run_script, windows):
    answers = []
    for name in ("first", "second"):
        root = container(tmp_path / name, manifest_of(**windows), "input/data/manifest")
        assert run_script(SCRIPT, root).code == 0
        answers.append(serve(root / "model", "0.5,0.4,0.3\n0.2,0.4,0.6"))
    assert np.array_equal(answers[0], answers[1])


FAILURES = {
    "file:///nowhere.jsonl": "file:///nowhere.jsonl cannot be read: FileNotFoundError",
    "": "0 labelled rows in 0 merged files; expected rows of both classes",
}


@pytest.mark.parametrize("uri", FAILURES, ids=["missing object", "no object"])
def test_a_failure_leaves_its_reason(uri, tmp_path, run_script):
    training = {"2026-01-01T00:00:00Z": [uri] if uri else []}
    job = run_script(SCRIPT, container(tmp_path / "ml", manifest_of(training, {}), "input/data/manifest"))
    assert job.code == 1
    assert job.failure == FAILURES[uri]


def test_payload_is_not_quoted_in_the_failure(tmp_path, run_script):
    (tmp_path / "odd.jsonl").write_bytes(merged_file(1, 2).replace(b'"data": "0.', b'"data": "secret', 1))
    uri = (tmp_path / "odd.jsonl").as_uri()
    job = run_script(SCRIPT, container(tmp_path / "ml", manifest_of({"w": [uri]}, {}), "input/data/manifest"))
    assert job.code == 1
    assert "secret" not in job.log + job.failure
