"""`plumbline baseline` and `plumbline evaluate`: a data set and captures in, SageMaker's files and a table out."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wiring
from cli.main import main
from tests.fakes import memory_services

CHURN = Path(__file__).parents[2] / "data" / "churn"
START = datetime(2022, 4, 1, 10, tzinfo=UTC)
BINARY = ("--problem-type", "BinaryClassification", "--probability-attribute")


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


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "table.csv", ["a,b,p,y", *(",".join(map(str, row)) for row in ROWS)])


@pytest.fixture
def baseline(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    call(capsys, 0, "baseline", table, *BINARY, "p", "--ground-truth-attribute", "y", "--out", tmp_path / "baseline")
    return tmp_path / "baseline"


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    """The table's rows as captures of two hours, in an endpoint's folders."""
    for hour in range(2):
        lines = [
            line(n, f"{row[0]},{row[1]}", str(row[2]), n % 60 + 60 * hour)
            for n, row in enumerate(ROWS)
            if n // 200 == hour
        ]
        write(tmp_path / f"captures/churn/AllTraffic/2022/04/01/{10 + hour}/00-00.jsonl", lines)
    return tmp_path / "captures"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    write(tmp_path / "labels/2022/04/01/12/a.jsonl", [label(n, row[3]) for n, row in enumerate(ROWS)])
    return tmp_path / "labels"


# Baselines ------------------------------------------------------------------------------------------------------------


def test_a_baseline_of_the_churn_table_has_sagemakers_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = call(capsys, 0, "baseline", CHURN / "training-dataset-with-header.csv", "--out", tmp_path / "b")
    assert out.startswith("2,333 rows, 70 features\n")
    assert sorted(path.name for path in tmp_path.rglob("b/**/*.json")) == ["constraints.json", "statistics.json"]
    constraints = read(tmp_path / "b/data_quality/constraints.json")
    assert constraints["features"][0]["name"] == "Churn"
    assert read(tmp_path / "b/data_quality/statistics.json")["dataset"]["item_count"] == 2333


def test_a_baseline_of_predictions_alone_has_no_data_quality(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ("--inference-attribute", "prediction", "--ground-truth-attribute", "label")
    table = CHURN / "validation_with_predictions.csv"
    out, _ = call(capsys, 0, "baseline", table, *BINARY, "probability", *columns, "--out", tmp_path / "b")
    assert "not made: data quality: every column is an answer or a label" in out
    found = read(tmp_path / "b/model_quality/statistics.json")["binary_classification_metrics"]
    assert found["confusion_matrix"] == {"0": {"0": 173, "1": 0}, "1": {"0": 12, "1": 16}}
    assert not (tmp_path / "b/data_quality").exists()


@pytest.mark.parametrize(
    ("kind", "answers", "labels", "metric", "value"),
    [
        ("MulticlassClassification", ["cat", "dog", "owl"], ["cat", "dog", "dog"], "accuracy", 2 / 3),
        ("Regression", ["1", "2", "4.5"], ["1", "2.5", "4"], "mae", 1 / 3),
    ],
)
def test_other_problem_types_have_their_metrics(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    answers: list[str],
    labels: list[str],
    metric: str,
    value: float,
) -> None:
    rows = [
        json.dumps({"x": n, "said": said, "true": true})
        for n, (said, true) in enumerate(zip(answers, labels, strict=True))
    ]
    table = write(tmp_path / "rows.jsonl", rows)
    columns = ("--inference-attribute", "said", "--ground-truth-attribute", "true")
    call(capsys, 0, "baseline", table, "--problem-type", kind, *columns, "--out", tmp_path / "b")
    [found] = [v for k, v in read(tmp_path / "b/model_quality/statistics.json").items() if k.endswith("_metrics")]
    assert found[metric]["value"] == pytest.approx(value, abs=1e-12)
    [feature] = read(tmp_path / "b/data_quality/constraints.json")["features"]
    assert feature["name"] == "x"


@pytest.mark.parametrize(
    ("body", "options", "told"),
    [
        ("a,b\n1,2\n3\n", (), "line 3 has 1 values; expected 2"),
        ('a,b\n1,"2\n', (), "is not CSV"),
        ("a,a\n1,2\n", (), "columns 1 and 2 have the same name; if the first line is no header, say --no-header"),
        ("secret-value,\n1,2\n", (), "column 2 of the header has no name"),
        ("a,b\n", (), "expected a table with rows, got none"),
        ("\xff", (), "expected UTF-8 text; line 1 is not (byte 0 of the file)"),
        ('{"a": 1}\n{"": 1, "a": 2}\n', (), "line 2 has a column without a name"),
        ("a,b\n1,2\n", (*BINARY, "p"), "--probability-attribute: got 'p'; expected one of the columns a, b"),
        ("a,b\n1,2\n", (*BINARY, "a"), "--ground-truth-attribute: got None; expected the column of the label: a, b"),
        ("a,b\n1,x\n", (*BINARY, "a", "--ground-truth-attribute", "b"), "a column with labels that can be read"),
        ("a\n1\n", ("--problem-type", "Regression"), "--inference-attribute: got None"),
        ("a\n1\n", ("--ground-truth-attribute", "a"), "--problem-type beside it"),
    ],
)
def test_a_wrong_table_or_option_is_told_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, options: tuple[str, ...], told: str
) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(body.encode("latin-1"))
    out, err = call(capsys, 2, "baseline", table, *options, "--out", tmp_path / "b")
    assert told in err and not out and "secret" not in err
    assert not (tmp_path / "b").exists()


def test_a_table_may_lie_in_several_files_and_without_a_header(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "t/one.csv", ["1,2", "3,4"])
    write(tmp_path / "t/two.csv", ["5,6"])
    out, _ = call(capsys, 0, "baseline", tmp_path / "t", "--no-header", "--out", tmp_path / "b", "--json")
    assert json.loads(out)["rows"] == 3
    assert [each["name"] for each in read(tmp_path / "b/data_quality/constraints.json")["features"]] == ["_c0", "_c1"]
    write(tmp_path / "t/three.csv", ["5,6,7"])
    _, err = call(capsys, 2, "baseline", tmp_path / "t", "--no-header", "--out", tmp_path / "c")
    assert "three.csv: expected the 2 columns of the first file; missing: 0, others: 1" in err


def test_files_of_a_table_are_put_together_by_the_names_of_their_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "t/one.csv", ["a,b", "1,2", "3,4"])
    write(tmp_path / "t/two.csv", ["b,a", "6,5"])
    call(capsys, 0, "baseline", tmp_path / "t", "--out", tmp_path / "b")
    call(capsys, 0, "baseline", write(tmp_path / "t.csv", ["a,b", "1,2", "3,4", "5,6"]), "--out", tmp_path / "c")
    for name in ("data_quality/statistics.json", "data_quality/constraints.json"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    write(tmp_path / "t/two.csv", ["a,c,d", "5,6,7"])
    _, err = call(capsys, 2, "baseline", tmp_path / "t", "--out", tmp_path / "d")
    assert "two.csv: expected the 2 columns of the first file; missing: 1, others: 2" in err


@pytest.mark.parametrize(("odd", "told"), [(["inf"], "99"), (["NA"] * 10, "90"), (["NA"] * 11, ""), (["", "7"], "")])
def test_a_column_that_a_few_values_make_text_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: Sequence[str], told: str
) -> None:
    numbers = [str(n / 4) for n in range(100 - len(odd))]
    table = write(tmp_path / "t.csv", ["x,y", *(f"{value},{n % 3}" for n, value in enumerate([*odd, *numbers]))])
    out, _ = call(capsys, 0, "baseline", table, "--out", tmp_path / "b")
    note = f"column x: {told} of 100 values are numbers, but it counts as text"
    assert (note in out) if told else ("counts as text" not in out)
    out, _ = call(capsys, 0, "baseline", table, "--out", tmp_path / "b", "--json")
    assert json.loads(out)["notes"] == ([note] if told else [])


def test_of_many_columns_that_count_as_text_the_first_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [",".join(f"c{n}" for n in range(23)), *([",".join(["1"] * 23)] * 9), ",".join(["NA"] * 23)]
    given = ("baseline", write(tmp_path / "t.csv", rows), "--out", tmp_path / "b")
    out, _ = call(capsys, 0, *given)
    assert out.count("column c") == 20 and "… and 3 more such columns (--json has all)" in out
    assert len(json.loads(call(capsys, 0, *given, "--json")[0])["notes"]) == 23


def test_what_spark_writes_beside_a_table_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bodies = {
        **{"part-00000.csv": b"a,b\n1,2\n", "part-00001.csv": b"a,b\n3,4\n"},
        **{"_SUCCESS": b"", "._SUCCESS.crc": b"crc\0", ".part-00000.csv.crc": b"crc\0"},
        "_temporary/0/part-00002.csv": b"a,b\n5",
    }
    services = memory_services(lambda: START)
    for name, body in bodies.items():
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_bytes(body)
        services.objects.put("data", f"_tables/t/{name}", body)
    wiring.use(services)
    try:
        for place in (tmp_path / "t", "s3://data/_tables/t"):
            out, _ = call(capsys, 0, "baseline", place, "--out", tmp_path / "b")
            assert out.startswith("2 rows, 2 features\n")
    finally:
        wiring.use(None)
    # A file that is named itself is what is meant.
    (tmp_path / "t/part-00001.csv").rename(tmp_path / "t/_part.csv")
    assert call(capsys, 0, "baseline", tmp_path / "t/_part.csv", "--out", tmp_path / "b")[0].startswith("1 rows")


# Evaluations ----------------------------------------------------------------------------------------------------------


def test_captures_like_the_baseline_are_clean(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--captures", captures, "--ground-truth", labels, "--baseline", baseline, *BINARY, "0")
    out, _ = call(capsys, 0, "evaluate", *given, "--out", tmp_path / "out")
    assert out.startswith("churn: 2022-04-01T10:00:00Z to 2022-04-01T12:00:00Z\n")
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
    assert f"\nwhat is in {out} is of an earlier evaluation: {out}/report.html, {out}/data_quality/" in told
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


@pytest.fixture
def bucket(captures: Path, labels: Path, baseline: Path) -> Iterator[None]:
    services = memory_services(lambda: START)
    for folder in (captures, labels, baseline):
        for path in folder.rglob("*.json*"):
            key = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            services.objects.put("data", key, path.read_bytes())
    services.objects.put("data", "captures-of-another/x.jsonl", b"no json\n")
    wiring.use(services)
    yield
    wiring.use(None)


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


# Other kinds of files -------------------------------------------------------------------------------------------------

PUBLISHED = CHURN.parent / "model-monitor-published-runs"
ANSWERS = ("--problem-type", "BinaryClassification", "--inference-attribute")


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
        assert "s3://data/answered/a.csv.out: is named by a manifest and is not there" in out
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


# Runs that check less than was asked for ------------------------------------------------------------------------------


def test_the_baseline_is_never_written_over(baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in baseline.rglob("*.json")}
    _, err = call(capsys, 2, "evaluate", "--captures", captures, "--baseline", baseline, "--out", baseline / ".")
    assert "--out: got" in err and {path: path.read_bytes() for path in baseline.rglob("*.json")} == before


OWN = "expected a folder outside of {}, which the next run reads again"
AROUND = "expected a folder that does not hold {}, which is read"
ELSEWHERE = "got 's3://data/out'; expected a folder of this machine"


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("s3://data/out", ELSEWHERE),
        ("captures", OWN.format("--captures")),
        ("captures/../captures/churn/out", OWN.format("--captures")),
        ("link", OWN.format("--captures")),
        ("labels/out", OWN.format("--ground-truth")),
        (".", AROUND.format("--captures")),
        ("c/hg", AROUND.format("--baseline")),
        ("c", AROUND.format("--baseline")),
        ("c/hg/report", ""),
        ("captures-of-another", ""),
    ],
)
def test_what_evaluate_writes_is_never_what_it_reads(
    tmp_path: Path,
    baseline: Path,
    captures: Path,
    labels: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    out: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(captures)
    (tmp_path / "c").mkdir()
    baseline.rename(tmp_path / "c/hg")
    before = sorted(tmp_path.rglob("*"))
    given = ("evaluate", "--captures", captures, "--ground-truth", labels, "--baseline", "c/hg/.", *BINARY, "0")
    _, err = call(capsys, 2 if told else 0, *given, "--out", out)
    assert (f"--out: got '{out}'; expected" in err and told in err) if told else not err
    assert (sorted(tmp_path.rglob("*")) == before) == bool(told)


def test_an_out_that_holds_the_one_file_of_captures_or_of_labels_is_refused(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [first, *_], [labelled] = sorted(captures.rglob("*.jsonl")), labels.rglob("*.jsonl")
    given = ("evaluate", "--captures", first, "--ground-truth", labelled, "--baseline", baseline, *BINARY, "0")
    for option, place in (("--captures", first), ("--ground-truth", labelled)):
        _, err = call(capsys, 2, *given, "--out", place.parent)
        assert AROUND.format(option) in err and [*place.parent.iterdir()] == [place]


@pytest.mark.parametrize(
    ("table", "out", "told"),
    [
        ("t/a.csv", "s3://data/out", ELSEWHERE),
        ("t", "t", OWN.format("TABLE")),
        (".", "t", OWN.format("TABLE")),
        # Around the table's folder, and yet in it: the files would lie where the table does.
        ("t/data_quality", "t", OWN.format("TABLE")),
        ("t/a.csv", "t", AROUND.format("TABLE")),
        ("t/a.csv", ".", AROUND.format("TABLE")),
        ("t/a.csv", "t/baseline", ""),
    ],
)
def test_what_baseline_writes_is_never_what_it_reads(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    out: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("t/a.csv", "t/data_quality/a.csv"):
        write(tmp_path / name, ["a,b", "1,2"])
    before = sorted(tmp_path.rglob("*"))
    _, err = call(capsys, 2 if told else 0, "baseline", table, "--out", out)
    assert told in err and (sorted(tmp_path.rglob("*")) == before) == bool(told)


def test_captures_of_two_variants_are_refused(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(captures / "churn/Canary/2022/04/01/10/00-00.jsonl", [line(900, "1,1", "0.9")])
    _, err = call(capsys, 2, "evaluate", "--captures", captures, "--baseline", baseline, "--out", tmp_path / "out")
    assert "churn/AllTraffic, churn/Canary" in err


@pytest.mark.parametrize(
    ("missing", "body", "status", "told"),
    [
        ("data_quality/statistics.json", None, 0, "drift is not checked: the baseline has no statistics"),
        ("data_quality/statistics.json", "{}", 0, "drift is not checked: the baseline has no statistics"),
        (
            "model_quality/constraints.json",
            '{"binary_classification_constraints": {}}',
            0,
            "the model-quality baseline has no thresholds",
        ),
    ],
)
def test_what_a_baseline_lacks_is_told(
    tmp_path: Path,
    baseline: Path,
    captures: Path,
    labels: Path,
    capsys: pytest.CaptureFixture[str],
    missing: str,
    body: str | None,
    status: int,
    told: str,
) -> None:
    (baseline / missing).unlink() if body is None else (baseline / missing).write_text(body)
    given = ("--captures", captures, "--ground-truth", labels, "--baseline", baseline, *BINARY, "0")
    out, _ = call(capsys, status, "evaluate", *given, "--out", tmp_path / "out")
    assert told in out


def test_answers_that_cannot_be_read_are_a_failure_where_labels_are_at_hand(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--captures", captures, "--ground-truth", labels, "--baseline", baseline, "--out", tmp_path / "out")
    out, _ = call(capsys, 1, "evaluate", *given, *BINARY, "5")
    assert "400 rows: output: probability is not a number" in out
    _, err = call(capsys, 2, "evaluate", *given)
    assert "--problem-type or --monitor FILE beside it" in err


def test_what_the_data_lack_is_no_missing_baseline_whatever_it_is_called(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("evaluate", "--captures", captures, "--ground-truth", labels, "--baseline", baseline)
    given += ("--out", tmp_path / "out", "--monitor")
    for facet, status, told in (
        ("baseline", 1, "bias.facets[0].name: got 'baseline'; expected one of the columns a, b"),
        ("a", 0, "there is no model-bias baseline to compare with"),
    ):
        bias = {"facets": [{"name": facet, "values": [1]}]}
        definition = definition_file(tmp_path, {"monitor_types": ["DataQuality", "ModelBias"], "bias": bias})
        assert told in call(capsys, status, *given, definition)[0]


@pytest.mark.parametrize("attribute", ["target_model", "inference_component"])
def test_captures_that_all_are_of_another_model_are_told(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str], attribute: str
) -> None:
    given = ("evaluate", "--captures", captures, "--baseline", baseline, "--out", tmp_path / "out")
    given += ("--monitor", definition_file(tmp_path, **{attribute: "mistyped"}))
    out, _ = call(capsys, 1, *given)
    assert out == (
        f"nothing to evaluate: no captured request in {captures}\n"
        "400 requests were answered by another model or inference component\n"
    )
    out, _ = call(capsys, 1, *given, "--json")
    assert json.loads(out)["requests_elsewhere"] == 400


def test_files_of_an_earlier_run_do_not_stay(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--captures", captures, "--baseline", baseline, "--out", tmp_path / "out")
    call(capsys, 0, "evaluate", *given, "--ground-truth", labels, *BINARY, "0")
    assert (tmp_path / "out/model_quality/statistics.json").exists()
    (tmp_path / "out/notes.txt").write_text("mine")
    call(capsys, 0, "evaluate", *given)
    assert not (tmp_path / "out/model_quality/statistics.json").exists()
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


def test_a_script_that_exits_is_counted_and_does_not_end_the_command(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\ndef preprocess_handler(inference_record):\n    sys.exit(0)\n")
    given = ("--captures", captures, "--baseline", baseline, "--preprocess", script, "--out", tmp_path / "out")
    out, _ = call(capsys, 1, "evaluate", *given)
    assert "preprocess_handler raised SystemExit" in out


def test_a_baseline_of_unreadable_answers_is_refused(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write(tmp_path / "words.csv", ["a,p,y", *(f"{n},word,{n % 2}" for n in range(9))])
    given = ("baseline", words, *BINARY, "p", "--ground-truth-attribute", "y", "--out", tmp_path / "b")
    _, err = call(capsys, 2, *given)
    assert "--probability-attribute: got 'p'; expected a column with answers that can be read" in err


OUTSIDE = "probability is outside of 0 to 1"


def margins(captures: Path, changed: Sequence[int], answer: str) -> None:
    """Other answers in some of the captures, by event."""
    for path in captures.rglob("*.jsonl"):
        lines = [json.loads(each) for each in path.read_text().splitlines()]
        for each in lines:
            if int(each["eventMetadata"]["eventId"].removeprefix("event-")) in changed:
                each["captureData"]["endpointOutput"]["data"] = answer
        write(path, [json.dumps(each) for each in lines])


def test_a_few_probabilities_outside_of_0_to_1_are_left_out_and_told(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    margins(captures, range(8), "1.7")
    given = ("--captures", captures, "--ground-truth", labels, "--baseline", baseline, "--out", tmp_path / "out")
    out, _ = call(capsys, 0, "evaluate", *given, *BINARY, "0")
    assert f"8 rows: output: {OUTSIDE}" in out
    own = read(tmp_path / "out/model_quality/evaluation.json")
    assert own["bad_records"] == {f"output: {OUTSIDE}": {"count": 8, "sample": ["event-0#0", "event-1#0", "event-2#0"]}}
    assert own["inputs"]["labelled_rows"] == 392 and own["broken"] == []
    assert OUTSIDE in (tmp_path / "out/report.html").read_text()


def test_many_of_them_are_broken_data_and_no_verdict(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    margins(captures, range(400), "37")
    given = ("--captures", captures, "--ground-truth", labels, "--baseline", baseline, "--out", tmp_path / "out")
    out, _ = call(capsys, 1, "evaluate", *given, *BINARY, "0")
    assert f"broken: 100% of the answers cannot be used (output: {OUTSIDE})" in out
    assert "no answer that can be read in 400 rows" in out
    assert not (tmp_path / "out/model_quality/statistics.json").exists()
    out, _ = call(capsys, 1, "evaluate", *given, *BINARY, "0", "--json")
    assert json.loads(out)["broken"] == read(tmp_path / "out/data_quality/evaluation.json")["broken"]
    # Also where no labels were given: data that is broken is not clean.
    call(capsys, 1, "evaluate", "--captures", captures, "--baseline", baseline, *BINARY, "0", "--out", tmp_path / "out")


def test_answers_that_cannot_be_read_are_broken_data_where_answers_are_used(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in captures.rglob("*.jsonl"):
        lines = [json.loads(each) for each in path.read_text().splitlines()]
        for each in lines[:60]:
            each["captureData"]["endpointOutput"] |= {"data": "no Base64!", "encoding": "BASE64"}
        write(path, [json.dumps(each) for each in lines])
    given = ("evaluate", "--captures", captures, "--baseline", baseline, "--out", tmp_path / "out")
    out, _ = call(capsys, 1, *given, *BINARY, "0")
    assert "broken: 30% of the answers cannot be used (output: payload is not Base64)\n" in out
    out, _ = call(capsys, 0, *given)
    assert "120 rows: output: payload is not Base64" in out and "broken" not in out


def test_margins_are_refused_as_probabilities_and_taken_as_margins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(n % 7, -4.0 + n % 9, n % 9 > 3, n % 2) for n in range(400)]
    table = write(tmp_path / "margins.csv", ["a,m,c,y", *(f"{a},{m},{int(c)},{y}" for a, m, c, y in rows)])
    given = ("baseline", table, *BINARY, "m", "--ground-truth-attribute", "y", "--out", tmp_path / "b")
    _, err = call(capsys, 2, *given)
    assert "--probability-attribute: got 'm'; expected a column of probabilities; 312 of its 400 numbers" in err
    assert "outside of 0 to 1 (from -4 to 4)" in err and not (tmp_path / "b").exists()
    out, _ = call(capsys, 0, *given, "--probability-threshold-attribute", "0")
    assert OUTSIDE not in out
    auc = read(tmp_path / "b/model_quality/statistics.json")["binary_classification_metrics"]["auc"]["value"]
    out, _ = call(capsys, 0, *given, "--inference-attribute", "c")
    assert f"312 of 400 rows noted: {OUTSIDE}" in out
    metrics = read(tmp_path / "b/model_quality/statistics.json")["binary_classification_metrics"]
    assert metrics["auc"]["value"] == auc


def test_a_few_of_a_table_are_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(
        tmp_path / "t.csv", ["a,p,y", *(f"{n % 7},{7 if n < 3 else n % 10 / 10},{n % 2}" for n in range(200))]
    )
    out, _ = call(
        capsys, 0, "baseline", table, *BINARY, "p", "--ground-truth-attribute", "y", "--out", tmp_path / "b", "--json"
    )
    assert json.loads(out)["bad_records"] == {OUTSIDE: 3}
    assert read(tmp_path / "b/model_quality/statistics.json")["dataset"]["item_count"] == 197


PREDICTED = ("a,c,p,y", *(f"{n % 7},{n % 2},{n % 10 / 10},{n % 3 > 0:d}" for n in range(200)))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("a;b\n1;2\n", "expected commas between columns; the first line has none, and has ';'"),
        ("1\t2\n3\t4\n", "expected commas between columns; the first line has none, and has '\\t'"),
        ("1,2\n3,4\n", "every column of the first line is a number; say --no-header"),
        (line(1, "1,2", "0.5") + "\n", "expected a table, got captures; `plumbline evaluate` reads them"),
        (label(1, 1) + "\n", "expected a table, got labels"),
        (b"\x1f\x8b\x08\x00", "is compressed (gzip): unpack it first"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16 text; expected UTF-8"),
        ("a,b\n1,\u00e9\n".encode("latin-1"), "expected UTF-8 text; line 2 is not (byte 6 of the file)"),
    ],
)
def test_what_is_no_table_of_columns_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str | bytes, told: str
) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(body.encode() if isinstance(body, str) else body)
    _, err = call(capsys, 2, "baseline", table, "--out", tmp_path / "b")
    assert f"{table}: {told}" in err and not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((*BINARY, "y"), "--probability-attribute: got 'y'; expected another column than the label's"),
        ((*BINARY, "p", "--inference-attribute", "y"), "--inference-attribute: got 'y'; expected another column"),
    ],
)
def test_the_label_is_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: Sequence[str], told: str
) -> None:
    table = write(tmp_path / "t.csv", PREDICTED)
    given = ("baseline", table, *options, "--ground-truth-attribute", "y", "--out", tmp_path / "b")
    assert told in call(capsys, 2, *given)[1]


def test_a_class_in_the_place_of_a_probability_is_told(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "t.csv", PREDICTED)
    given = ("baseline", table, "--ground-truth-attribute", "y", "--out", tmp_path / "b")
    assert "all of c are 0 or 1: is it the class?" in call(capsys, 0, *given, *BINARY, "c")[0]
    assert "is it the class?" not in call(capsys, 0, *given, *BINARY, "p")[0]
    assert "is it the class?" not in call(capsys, 0, *given, *BINARY, "p", "--inference-attribute", "c")[0]
    margins(captures, range(0, 400, 2), "0")
    margins(captures, range(1, 400, 2), "1")
    given = ("evaluate", "--captures", captures, "--ground-truth", labels, "--baseline", baseline)
    status = main([str(each) for each in (*given, *BINARY, "0", "--out", tmp_path / "out", "--json")])
    assert status in (0, 3)
    [note] = json.loads(capsys.readouterr().out)["notes"]
    assert note.startswith("every probability is 0 or 1: is it the class?")


def test_labels_of_nobody_and_labels_of_no_class_are_told_apart(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("evaluate", "--captures", captures, "--baseline", baseline, *BINARY, "0", "--out", tmp_path / "out")
    others = write(tmp_path / "others.jsonl", [label(n + 1000, 1) for n in range(50)])
    out, _ = call(capsys, 1, *given, "--ground-truth", others)
    assert "none of the 50 labels has the id of a request: its inferenceId, else its eventId" in out
    words = write(tmp_path / "words.jsonl", [label(n, "yes") for n in range(400)])
    out, _ = call(capsys, 1, *given, "--ground-truth", words)
    assert "no label that can be read for 400 rows" in out and "has the id of a request" not in out


def test_a_baseline_of_something_else_is_told(
    tmp_path: Path, table: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, whole = tmp_path / "other", tmp_path / "whole"
    call(
        capsys,
        0,
        *("baseline", table, "--problem-type", "Regression", "--inference-attribute", "p"),
        *("--ground-truth-attribute", "y", "--out", other),
    )
    given = ("evaluate", "--captures", captures, "--ground-truth", labels, *BINARY, "0", "--out", tmp_path / "out")
    _, err = call(capsys, 2, *given, "--baseline", other)
    assert "expected a baseline of BinaryClassification; model_quality/constraints.json in it has regression_" in err
    call(capsys, 0, "baseline", table, "--out", whole)
    out, _ = call(capsys, 1, *given, "--baseline", whole)
    assert (
        "has 4 columns (a, b, p, y); a request has 2 values, its answer 1: they fit neither the first nor both" in out
    )


@pytest.fixture
def whole(tmp_path: Path, captures: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A baseline that describes the answer and the inputs."""
    table = write(tmp_path / "whole.csv", ["a,p,b", *(f"{row[0]},{row[2]},{row[1]}" for row in ROWS)])
    call(capsys, 0, "baseline", table, "--out", tmp_path / "whole")
    return tmp_path / "whole"


@pytest.mark.parametrize("answer", ["{}", "1,{}"])
def test_a_declared_output_is_none_of_the_features_that_the_baseline_names(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    outputs = ["p"] if answer == "{}" else ["class", "p"]
    lines = [line(n, f"{row[0]},{row[1]}", answer.format(row[2]), n % 60) for n, row in enumerate(ROWS)]
    given = ("evaluate", "--captures", write(tmp_path / "c.jsonl", lines), "--baseline", whole)
    definition = definition_file(tmp_path, output_names=outputs, probability_attribute="p")
    call(capsys, 3 if "class" in outputs else 0, *given, "--monitor", definition, "--out", tmp_path / "out")
    found = read(tmp_path / "out/data_quality/statistics.json")["features"]
    assert [each["name"] for each in found] == [*outputs, "a", "b"]


def test_declared_outputs_may_name_the_first_values_of_an_answer(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line(n, f"{row[0]},{row[1]}", f"{row[2]},1", n % 60) for n, row in enumerate(ROWS)]
    given = ("evaluate", "--captures", write(tmp_path / "c.jsonl", lines), "--baseline", whole)
    call(capsys, 0, *given, "--monitor", definition_file(tmp_path, output_names=["p"]), "--out", tmp_path / "out")
    found = read(tmp_path / "out/data_quality/statistics.json")["features"]
    assert [each["name"] for each in found] == ["p", "a", "b"]


@pytest.mark.parametrize(("outputs", "inputs"), [(["p"], ["a", "b"]), (["p", "a"], ["b"])])
def test_declared_outputs_and_inputs_of_another_width_are_told(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str], outputs: list[str], inputs: list[str]
) -> None:
    asked = ",".join("1" for _ in (*inputs, "more"))
    captures = write(tmp_path / "c.jsonl", [line(n, asked, "0.5") for n in range(400)])
    given = ("evaluate", "--captures", captures, "--baseline", whole, "--out", tmp_path / "out")
    out, _ = call(capsys, 1, *given, "--monitor", definition_file(tmp_path, output_names=outputs))
    names = ", ".join((*outputs, *inputs))
    assert f"has 3 columns ({names}); a request has {len(inputs) + 1} values, its answer 1: they fit neither" in out


def test_a_script_may_return_a_declared_output_under_the_baselines_name(
    tmp_path: Path, whole: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "def preprocess_handler(inference_record):\n"
        "    a, b = inference_record.endpoint_input.data.split(',')\n"
        "    return {'a': a, 'b': b, 'p': inference_record.endpoint_output.data}\n"
    )
    definition = definition_file(tmp_path, output_names=["p"], probability_attribute="p")
    given = ("evaluate", "--captures", captures, "--baseline", whole, "--monitor", definition)
    call(capsys, 0, *given, "--preprocess", script, "--out", tmp_path / "out")
    found = read(tmp_path / "out/data_quality/statistics.json")["features"]
    assert [each["name"] for each in found] == ["p", "a", "b"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["p", "a", "a"], "--baseline: got ['a']; expected {} with each name once"),
        (["", "a"], "names that are not empty"),
    ],
)
def test_columns_of_a_baseline_that_are_no_names_are_told(
    tmp_path: Path, whole: Path, captures: Path, capsys: pytest.CaptureFixture[str], names: Sequence[str], told: str
) -> None:
    place = "data_quality/constraints.json"
    constraints = read(whole / place)
    constraints["features"] = [{**constraints["features"][0], "name": name} for name in names]
    (whole / place).write_text(json.dumps(constraints))
    given = ("evaluate", "--captures", captures, "--baseline", whole, "--out", tmp_path / "out")
    out, err = call(capsys, 2, *given)
    assert told.format(place) in err and not out and not (tmp_path / "out").exists()


def test_of_many_columns_the_first_are_named_and_the_others_counted(
    tmp_path: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"c{number}" for number in range(14)]
    table = write(tmp_path / "wide.csv", [",".join(names), *[",".join("1" * 14)] * 20])
    told = f"{', '.join(names[:12])} and 2 more"
    given = ("baseline", table, "--out", tmp_path / "wide")
    assert f"expected one of the columns {told}" in call(capsys, 2, *given, *BINARY, "p")[1]
    definition = definition_file(tmp_path, features=["d"])
    options = ("--monitor", definition, "--probability-attribute", "c0", "--ground-truth-attribute", "c1")
    assert f"expected one of the table's columns: {told}" in call(capsys, 2, *given, *options)[1]
    call(capsys, 0, *given)
    given = ("evaluate", "--captures", captures, "--baseline", tmp_path / "wide", "--out", tmp_path / "out")
    assert f"has 14 columns ({told}); a request has 2 values, its answer 1: they fit" in call(capsys, 1, *given)[0]


def test_captures_of_which_many_lines_cannot_be_read_are_not_clean(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("evaluate", "--captures", captures, "--ground-truth", labels, "--baseline", baseline, *BINARY, "0")
    [first, _] = sorted(captures.rglob("*.jsonl"))
    with first.open("ab") as stream:
        stream.write(b"\xff\n" * 21)
    out, _ = call(capsys, 0, *given, "--out", tmp_path / "out")
    assert "21 lines or files cannot be read" in out and "broken" not in out
    with first.open("ab") as stream:
        stream.write(b"\xff\n")
    out, _ = call(capsys, 1, *given, "--out", tmp_path / "out")
    assert "broken: 5% of the lines of captures cannot be read" in out


def test_captures_of_which_many_files_cannot_be_read_are_not_clean(
    tmp_path: Path, baseline: Path, captures: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("evaluate", "--captures", captures, "--ground-truth", labels, "--baseline", baseline, *BINARY, "0")
    folder = captures / "churn/AllTraffic/2022/04/01/12"
    for number in range(18):
        write(folder / f"00-{number:02}.jsonl", [line(1000 + number, "3,1.0", "0.9", 120)])
    (folder / "packed.jsonl").write_bytes(gzip.compress(b""))
    # One of 21.
    out, _ = call(capsys, 0, *given, "--out", tmp_path / "out")
    assert "1 lines or files cannot be read" in out and "broken" not in out
    (folder / "00-00.jsonl").unlink()
    (folder / "00-01.jsonl").unlink()
    # One of 19: more than one in twenty.
    out, _ = call(capsys, 1, *given, "--out", tmp_path / "out")
    assert "broken: 5% of the capture files cannot be read" in out and "lines of captures" not in out


def test_lines_that_cannot_be_read_are_few_beside_repeated_requests_and_those_of_another_model(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [first, second] = sorted(captures.rglob("*.jsonl"))
    second.write_bytes(first.read_bytes())
    elsewhere = [line(n, "1,1", "0.9", targetModel="b.tar.gz") for n in range(1000, 1200)]
    given = ("evaluate", "--captures", captures, "--baseline", baseline, "--out", tmp_path / "out")
    given += ("--monitor", definition_file(tmp_path, target_model="a.tar.gz"))
    ours = [each.replace('"eventId"', '"targetModel": "a.tar.gz", "eventId"') for each in first.read_text().split("\n")]
    write(first, [*ours[:-1], *elsewhere, *["no json"] * 20])
    write(second, ours[:-1])
    out, _ = call(capsys, 0, *given)
    assert "200 requests, 200 rows, 200 repeated" in out and "200 requests were answered by another model" in out
    assert "20 lines or files cannot be read" in out and "broken" not in out
    assert json.loads(call(capsys, 0, *given, "--json")[0])["requests_elsewhere"] == 200


def test_compressed_captures_and_labels_are_told(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(next(captures.rglob("*.jsonl")).read_bytes()))
    given = ("evaluate", "--baseline", baseline, *BINARY, "0", "--out", tmp_path / "out")
    out, _ = call(capsys, 1, *given, "--captures", packed)
    assert f"{packed}: is compressed (gzip): unpack it first" in out
    out, _ = call(capsys, 1, *given, "--captures", captures, "--ground-truth", packed)
    assert f"{packed}: is compressed (gzip): unpack it first" in out


def test_labels_of_one_hour_count_by_their_texts_alone(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = set()
    for number, values in enumerate(((0, 1), (1, 0))):
        folder = tmp_path / f"labels-{number}/2022/04/01/12"
        for name, value in zip("ab", values, strict=True):
            write(folder / f"{name}.jsonl", [label(n, value) for n in range(400)])
        write(folder / "c.jsonl", [])
        write(folder / ".d.jsonl", ["no json"])
        given = ("--captures", captures, "--ground-truth", folder, "--baseline", baseline, *BINARY, "0")
        assert main([str(each) for each in ("evaluate", *given, "--out", tmp_path / "out")]) in (0, 3)
        out = capsys.readouterr().out
        assert (
            "400 ids have different labels in the label files; the latest counts" in out and "cannot be read" not in out
        )
        losses.add(read(tmp_path / "out/model_quality/evaluation.json")["served_loss"])
    assert len(losses) == 1


@pytest.mark.parametrize(("end", "labelled"), [("\r\n", 400), ("\r", 0)])
def test_lines_of_labels_end_with_a_line_feed(
    tmp_path: Path, baseline: Path, captures: Path, capsys: pytest.CaptureFixture[str], end: str, labelled: int
) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes("".join(f"{label(n, row[3])}{end}" for n, row in enumerate(ROWS)).encode())
    given = ("--captures", captures, "--ground-truth", path, "--baseline", baseline, *BINARY, "0")
    out, _ = call(capsys, 0 if labelled else 1, "evaluate", *given, "--out", tmp_path / "out")
    assert f" {labelled} rows labelled" in out
