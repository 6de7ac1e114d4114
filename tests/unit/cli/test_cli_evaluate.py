"""plumbline evaluate on a folder or a bucket of captures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from chalicelib import wiring
from plumbline.cli.main import main
from tests.unit.cli.evaluating import (
    BINARY,
    CHURN,
    ROWS,
    call,
    definition_file,
    label,
    line,
    read,
    write,
)


def test_captures_like_the_baseline_are_clean(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--captures", captures, "--ground-truth", labels, "--baseline", baseline, *BINARY, "0")
    out, _ = call(capsys, 0, "evaluate", *given, "--out", tmp_path / "out")
    assert out.startswith(
        "All right: none of 2 columns moved beyond chance, nor did the error.\n\nchurn: 2022-04-01T10:"
    )
    assert "400 requests, 400 rows" in out and "400 rows labelled (100.0%)" in out
    mine = read(tmp_path / "out/model_quality/statistics.json")["binary_classification_metrics"]
    theirs = read(baseline / "model_quality/statistics.json")["binary_classification_metrics"]
    assert {name: each for name, each in mine.items()} == theirs
    own = read(tmp_path / "out/model_quality/evaluation.json")
    assert own["endpoint"] == "churn" and own["inputs"]["capture_files"] == 2
    assert own["served_loss"] == pytest.approx(1 - mine["accuracy"]["value"])
    assert read(tmp_path / "out/data_quality/constraint_violations.json") == {"violations": []}


def test_the_published_run_has_its_sixty_violations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = (CHURN / "test-dataset-input-cols.csv").read_text().splitlines()
    rows = [*source[:120], *(source[n % len(source)] for n in range(1857))]
    captures = write(tmp_path / "captures.jsonl", [line(n, row, "0.02", n / 60) for n, row in enumerate(rows)])
    call(capsys, 0, "baseline", CHURN / "training-dataset-with-header.csv", "--out", tmp_path / "b")
    given = ("--captures", captures, "--baseline", tmp_path / "b", "--out", tmp_path / "out")
    out, _ = call(capsys, 3, "evaluate", *given)
    assert "data_quality  evaluated  60" in out
    found = read(tmp_path / "out/data_quality/constraint_violations.json")["violations"]
    assert {each["constraint_check_type"] for each in found} == {"data_type_check"} and len(found) == 60
    # Outputs come first in the analysed row: the answer has the name of the baseline's first column.
    assert found[0]["feature_name"] == "Churn" and "Only 0.0% of data is Integral" in found[0]["description"]
    told, _ = call(capsys, 3, "evaluate", *given, "--json")
    assert len(json.loads(told)["monitors"]["data_quality"]["violations"]) == 60


def test_time_range_repeats_and_corrections_are_counted_as_the_functions_do(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = (captures / "churn/AllTraffic/2022/04/01/10/00-00.jsonl").read_text().splitlines()
    write(captures / "churn/AllTraffic/2022/04/01/10/00-01.jsonl", [*again, "no json"])
    write(labels / "2022/04/01/13/b.jsonl", [label(0, 1 - ROWS[0][3])])
    # The later hour's label counts, whichever file was written last.
    (labels / "2022/04/01/12/a.jsonl").touch()
    given = ("--captures", captures, "--ground-truth", labels, "--baseline", baseline, *BINARY, "0")
    given += ("--start", "2022-04-01T10:00Z", "--end", "2022-04-01T11:00Z")
    out, _ = call(capsys, 0, "evaluate", *given, "--out", tmp_path / "out")
    assert "200 requests, 200 rows, 200 outside of the time asked for" in out
    own = read(tmp_path / "out/model_quality/evaluation.json")
    assert own["inputs"]["repeated_requests"] == 200
    assert own["inputs"]["labels_conflicting"] == 1
    assert own["bad_lines"]["count"] == 1 and own["bad_lines"]["sample"][0]["line"] == 201
    wrong = sum(n % 4 == 0 for n in range(200)) + (1 if ROWS[0][3] == 0 else -1)
    assert own["served_loss"] == pytest.approx(wrong / 200)


def test_without_labels_model_quality_says_so_and_data_quality_goes_on(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--captures", captures, "--baseline", baseline, *BINARY, "0", "--out", tmp_path / "out")
    out, _ = call(capsys, 0, "evaluate", *given)
    assert "no labels yet for 400 rows; looked in 0 label objects" in out
    assert not (tmp_path / "out/model_quality/statistics.json").exists()


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"--captures": "nowhere"}, 2, "--captures: got"),
        ({"--baseline": "nowhere"}, 2, "--baseline: got"),
        ({"--start": "yesterday"}, 2, "--start: got 'yesterday'"),
        ({"--start": "2022-04-02", "--end": "2022-04-01"}, 2, "--end: got '2022-04-01'"),
        ({"--start": "2023-01-01"}, 1, "outside of that time: from 2022-04-01T10:00:00Z to 2022-04-01T11:"),
    ],
)
def test_bad_usage_is_told_and_nothing_to_evaluate_is_a_failure(
    tmp_path: Path,
    baseline: Path,
    captures: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    status: int,
    told: str,
) -> None:
    given = {"--captures": str(captures), "--baseline": str(baseline), "--out": str(tmp_path / "out"), **change}
    out, err = call(capsys, status, "evaluate", *(each for pair in given.items() for each in pair))
    assert told in out + err and not (tmp_path / "out").exists()


def test_files_of_an_earlier_evaluation_are_told_where_there_is_nothing_to_evaluate(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ("evaluate", "--captures", captures, "--baseline", baseline, "--out", out)
    late = (*given, "--start", "2023-01-01")
    assert "of an earlier evaluation" not in call(capsys, 1, *late)[0]
    call(capsys, 0, *given)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    told, _ = call(capsys, 1, *late)
    assert f"\nwhat is in {out} is of an earlier evaluation: {out}/report.html, {out}/evidence.json, {out}/data" in told
    told, _ = call(capsys, 1, *late, "--json")
    assert sorted(json.loads(told)["earlier_files"]) == [str(path) for path in files]
    assert sorted(path for path in out.rglob("*") if path.is_file()) == files


def test_with_json_nothing_else_is_on_standard_output(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("evaluate", "--captures", captures, "--baseline", baseline, "--out", tmp_path / "out", "--json")
    out, err = call(capsys, 1, *given, "--start", "2023-01-01")
    assert json.loads(out) == {
        **{"requests": 0, "requests_outside": 400, "requests_elsewhere": 0, "unreadable": 0},
        **{"monitors": {}, "files": [], "earlier_files": []},
    }
    assert "nothing to evaluate: no captured request" in err and "400 requests are outside" in err
    script = tmp_path / "script.py"
    script.write_text(
        "print('loaded')\n"
        "def preprocess_handler(inference_record):\n"
        "    print('called')\n"
        "    a, b = inference_record.endpoint_input.data.split(',')\n"
        "    return {'a': a, 'b': b}\n"
    )
    out, err = call(capsys, 0, *given, "--preprocess", script)
    assert json.loads(out)["requests"] == 400 and "loaded\n" in err and "called\n" in err


@pytest.mark.parametrize("data", ["0,1,0", "0\n1\n0", "[0,1,0]"])
def test_the_document_shows_labels_as_they_are_read(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str], data: str
) -> None:
    """The line of the document, and each of its ways to label a request of three records."""
    document = (Path(__file__).parents[3] / "docs/evaluating-files.md").read_text()
    assert f"`{json.dumps(data)}`" in document
    [shown] = [json.loads(each) for each in document.splitlines() if each.startswith('{"groundTruthData"')]
    one = line(0, "1,2", "0.9", eventId=shown["eventMetadata"]["eventId"])
    write(tmp_path / "c.jsonl", [one, line(1, "1,2\n3,4\n5,6", "0.1\n0.9\n0.2")])
    write(tmp_path / "l.jsonl", [json.dumps(shown), label(1, data)])
    given = ("evaluate", "--captures", tmp_path / "c.jsonl", "--baseline", baseline, *BINARY, "0")
    labelled = ("--ground-truth", tmp_path / "l.jsonl", "--out", tmp_path / "out", "--json")
    assert main([str(each) for each in (*given, *labelled)]) in (0, 3)
    assert json.loads(capsys.readouterr().out)["labelled_rows"] == 4


def test_a_place_without_label_files_is_refused(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    given = ("evaluate", "--captures", captures, "--ground-truth", tmp_path / "none", "--baseline", baseline)
    _, err = call(capsys, 2, *given, *BINARY, "0", "--out", tmp_path / "out")
    assert f"--ground-truth: got '{tmp_path / 'none'}'; expected a file, a folder with files" in err


@pytest.mark.parametrize(("conflict", "told"), [("latest", "the latest"), ("first", "the first"), ("reject", "none")])
def test_ids_with_different_labels_are_told(
    tmp_path: Path,
    baseline: Path,
    captures: Path,
    labels: Path,
    capsys: pytest.CaptureFixture[str],
    conflict: str,
    told: str,
) -> None:
    quality = {"monitor_types": ["ModelQuality"], "labels": {"conflict": conflict}}
    given = ("evaluate", "--captures", captures, "--ground-truth", labels, "--baseline", baseline)
    given += ("--monitor", definition_file(tmp_path, quality), "--out", tmp_path / "out")
    assert "different labels" not in call(capsys, 0, *given)[0]
    # The last one's label is of a request that is not evaluated.
    write(labels / "2022/04/01/13/b.jsonl", [label(n, 1 - ROWS[n % 400][3]) for n in (0, 1, 1000)])
    write(labels / "2022/04/01/12/b.jsonl", [label(1000, ROWS[200][3])])
    assert main([str(each) for each in given]) in (0, 3)
    assert f"\n3 ids have different labels in the label files; {told} counts\n" in capsys.readouterr().out


def test_garbage_is_named_and_no_payload_is_shown(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "c/one.jsonl", ["secret-one", "secret-two"])
    write(tmp_path / "c/.hidden.jsonl", ["secret-three"])
    out, err = call(
        capsys, 1, "evaluate", "--captures", tmp_path / "c", "--baseline", baseline, "--out", tmp_path / "out"
    )
    assert "1 lines or files cannot be read" in out and "one.jsonl" in out
    assert "secret" not in out + err and "hidden" not in out + err


@pytest.mark.usefixtures("bucket")
def test_s3_prefixes_give_the_same_files_as_folders(
    tmp_path: Path,
    baseline: Path,
    captures: Path,
    labels: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, read = wiring.object_store(), Counter[str]()
    get = store.get
    monkeypatch.setattr(store, "get", lambda bucket, key: read.update([key]) or get(bucket, key))
    for name, places in {
        "here": (captures, labels, baseline),
        "s3": ("s3://data/captures", "s3://data/labels", "s3://data/baseline"),
    }.items():
        given = ("--captures", places[0], "--ground-truth", places[1], "--baseline", places[2], *BINARY, "0")
        call(capsys, 0, "evaluate", *given, "--out", tmp_path / name)
    names = sorted(path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*.json"))
    assert names == sorted(path.relative_to(tmp_path / "s3") for path in (tmp_path / "s3").rglob("*.json"))
    for name in names:
        if name.name != "evaluation.json":  # it says where the baseline lies
            assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "s3" / name).read_bytes()
    assert {count for key, count in read.items() if key.startswith("captures/")} == {1}


def test_the_problem_type_is_the_baselines_where_none_is_given(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--captures", captures, "--ground-truth", labels, "--baseline", baseline)
    out, _ = call(capsys, 0, "evaluate", *given, "--out", tmp_path / "out")
    assert "--problem-type BinaryClassification is the baseline's" in out and "(--probability-attribute 0)" in out
    call(capsys, 0, "evaluate", *given, *BINARY, "0", "--out", tmp_path / "told")
    mine, told = (read(tmp_path / name / "model_quality/statistics.json") for name in ("out", "told"))
    assert mine["binary_classification_metrics"] == told["binary_classification_metrics"]
