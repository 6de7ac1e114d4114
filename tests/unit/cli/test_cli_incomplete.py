"""plumbline evaluate where something is missing, does not fit or is broken: what is said, and with which status."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from chalicelib.monitors.documents import shortened
from plumbline.cli.main import main
from tests.unit.cli.evaluating import (
    BINARY,
    ROWS,
    call,
    definition_file,
    label,
    line,
    read,
    write,
)


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
    for path in (baseline / "model_quality").iterdir():
        path.unlink()
    _, err = call(capsys, 2, "evaluate", *given)
    assert "--problem-type or --monitor FILE beside it; the baseline says nothing of model quality" in err


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
    assert f"Broken data: 100% of the answers cannot be used (output: {OUTSIDE})" in out
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
    assert "Broken data: 30% of the answers cannot be used (output: payload is not Base64).\n" in out
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
        ("1,2\n3,4\n", "every column of the first line is a number; use --no-header"),
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
    given = (*given, "--exit-on", "violations")
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
    assert "Broken data: 5% of the lines of captures cannot be read" in out


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
    assert "Broken data: 5% of the capture files cannot be read" in out and "lines of captures" not in out


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


def shop(folder: Path) -> tuple[Path, Callable[[], list[object]]]:
    """A baseline of four columns that do not look alike, and what makes one more row of it."""
    random = Random(3)

    def row() -> list[object]:
        return [random.gauss(0, 1), random.gauss(30, 2), random.choice("abc"), random.gauss(500, 9)]

    lines = ["age,visits,city,spent", *(",".join(map(str, row())) for _ in range(400))]
    return write(folder / "table.csv", lines), row


@pytest.mark.parametrize(("answer", "with_answer"), [("1", False), ("1", True), ('{"y": 1}', False)])
def test_a_column_that_requests_lack_is_named_and_no_other_one_drifts(
    answer: str, with_answer: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, row = shop(tmp_path)
    if with_answer:
        lines = table.read_text().splitlines()
        write(table, [f"y,{lines[0]}", *(f"{place % 2},{each}" for place, each in enumerate(lines[1:]))])
    short = [line(number, ",".join(map(str, (each := row())[:1] + each[2:])), answer) for number in range(200)]
    captures = write(tmp_path / "captures" / "a.jsonl", short)
    call(capsys, 0, "baseline", table, "--out", tmp_path / "base")
    given = ("evaluate", "--captures", captures, "--baseline", tmp_path / "base", "--out", tmp_path / "out")
    out, _ = call(capsys, 1, *given)
    assert "requests of 3 values: they fit the 4 columns of the baseline if `visits` is missing\n" in out
    assert out.startswith("Broken data: 100% of the rows do not have the declared features (expected 4 features, got 1")
    assert "\nNot known: no row could be read as the baseline's columns.\n" in out and "another baseline" not in out


def test_rows_that_lack_a_column_are_broken_and_the_others_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, row = shop(tmp_path)
    rows = [each if number % 3 else each[:1] + each[2:] for number in range(600) for each in [row()]]
    lines = [line(number, ",".join(map(str, each)), "1") for number, each in enumerate(rows)]
    captures = write(tmp_path / "captures" / "a.jsonl", lines)
    call(capsys, 0, "baseline", table, "--out", tmp_path / "base")
    given = ("evaluate", "--captures", captures, "--baseline", tmp_path / "base", "--out", tmp_path / "out")
    out, _ = call(capsys, 1, *given)
    assert "Broken data: 33% of the rows" in out and "if `visits` is missing" in out
    assert "All right: none of 4 columns moved" in out


def test_a_value_that_the_baseline_never_had_is_named_and_numbers_are_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, row = shop(tmp_path)
    rows = [[*each[:2], "zz" if number % 2 else each[2], each[3]] for number in range(600) for each in [row()]]
    lines = [line(number, ",".join(map(str, each)), "1") for number, each in enumerate(rows)]
    captures = write(tmp_path / "captures" / "a.jsonl", lines)
    call(capsys, 0, "baseline", table, "--out", tmp_path / "base")
    given = ("evaluate", "--captures", captures, "--baseline", tmp_path / "base", "--out", tmp_path / "out")
    out, _ = call(capsys, 3, *given)
    assert 'never had rose from 0.0 to 50.0 %; new: "zz"\n' in out
    assert not re.search(r"\d\.\d{6}", out)
    assert shortened("m with 0.8333333333333334 +/- NaN was LessThanThreshold '0.9'") == (
        "m with 0.8333 was LessThanThreshold '0.9'"
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [('{"predicted_label": 1, "score": 0.75}', "it has predicted_label, score"), ("1,0.75", "it has 0, 1")],
)
def test_an_attribute_that_no_answer_has_is_told_beside_those_that_it_has(
    answer: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, row = shop(tmp_path)
    lines = [line(number, ",".join(map(str, row())), answer) for number in range(50)]
    captures = write(tmp_path / "captures" / "a.jsonl", lines)
    call(capsys, 0, "baseline", table, "--out", tmp_path / "base")
    given = ("evaluate", "--captures", captures, "--baseline", tmp_path / "base", "--out", tmp_path / "out")
    out, _ = call(capsys, 1, *given, "--problem-type", "BinaryClassification", "--inference-attribute", "predicted")
    assert f"--inference-attribute predicted: an answer has no such value; {told}\n" in out


def test_answers_of_two_names_ask_for_the_positive_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, row = shop(tmp_path)
    answers = ['{"label": "LABEL_1"}', '{"label": "LABEL_0"}']
    lines = [line(number, ",".join(map(str, row())), answers[number % 2]) for number in range(50)]
    captures = write(tmp_path / "captures" / "a.jsonl", lines)
    call(capsys, 0, "baseline", table, "--out", tmp_path / "base")
    given = ("evaluate", "--captures", captures, "--baseline", tmp_path / "base", "--out", tmp_path / "out")
    given = (*given, "--problem-type", "BinaryClassification", "--inference-attribute", "label")
    out, _ = call(capsys, 1, *given)
    assert "answers are such as LABEL_0, LABEL_1: --positive-class says which one is 1\n" in out
    assert "--positive-class" not in call(capsys, 0, *given, "--positive-class", "LABEL_1")[0]


def test_an_id_is_told_in_the_baseline_and_where_it_drifts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = Random(5)
    rows = [f"{number},{random.randrange(9)},{random.gauss(0, 1)}" for number in range(900)]
    table = write(tmp_path / "table.csv", ["order,items,weight", *rows[:400]])
    captures = write(tmp_path / "captures" / "a.jsonl", [line(n, rows[n], "1") for n in range(400, 900)])
    out, _ = call(capsys, 0, "baseline", table, "--out", tmp_path / "base")
    assert "column order: no value comes twice: an id or a time? It will always drift\n" in out
    assert out.count("It will always drift") == 1
    given = ("evaluate", "--captures", captures, "--baseline", tmp_path / "base", "--out", tmp_path / "out")
    out, _ = call(capsys, 3, *given)
    assert "all are above the baseline's: an id or a time?\n" in out
