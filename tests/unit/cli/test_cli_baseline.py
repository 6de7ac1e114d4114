"""plumbline baseline: what is made of a table, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from chalicelib import wiring
from emulator.memory import memory_services
from tests.unit.cli.evaluating import (
    BINARY,
    CHURN,
    START,
    call,
    read,
    write,
)


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
        ("a,a\n1,2\n", (), "columns 1 and 2 have the same name; if the first line is not a header, use --no-header"),
        ("secret-value,\n1,2\n", (), "column 2 of the header has no name"),
        ("a,b\n", (), "expected a table with rows, got none"),
        ("\xff", (), "expected UTF-8 text; line 1 is not (byte 0 of the file)"),
        ('{"a": 1}\n{"": 1, "a": 2}\n', (), "line 2 has a column without a name"),
        ("a,b\n1,2\n", (*BINARY, "p"), "--probability-attribute: got 'p'; expected one of the columns a, b"),
        ("a,b\n1,2\n", (*BINARY, "a"), "--ground-truth-attribute: got None; expected the column of the label: a, b"),
        ("a,b\n1,x\n", (*BINARY, "a", "--ground-truth-attribute", "b"), "a column with labels that can be read"),
        ("a\n1\n", ("--problem-type", "Regression"), "--inference-attribute: got None"),
        ("a\n1\n", ("--ground-truth-attribute", "a"), "--problem-type with it"),
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
