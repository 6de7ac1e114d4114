"""`plumbline evaluate` on what KServe's logger and Azure ML's data collector wrote."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from plumbline.cli.inputs.logged import _lines
from plumbline.cli.inputs.places import File
from tests.unit.cli.evaluating import BINARY, ROWS, call, label, read, write

KSERVE, AZURE = "org.kubeflow.serving.inference", "azureml.inference"
DEPLOYMENT = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
    "/onlineEndpoints/churn/deployments/blue"
)


def stored(number: int, side: str, document: Any, service: str = "churn") -> dict[str, Any]:
    """An object of KServe's blob storage logger, in the order and the forms of Go's encoding/json."""
    return {
        "url": {"Scheme": "s3", "Opaque": "", "User": None, "Host": "logs", "Path": "/"},
        "bytes": b64encode(json.dumps(document).encode()).decode(),
        **{"contentType": "application/json", "reqType": f"{KSERVE}.{side}", "id": f"event-{number}"},
        **{"inferenceService": service, "namespace": "default", "component": "predictor", "endpoint": "default"},
        "occurrenceTime": f"2022-04-01T10:{number % 60:02}:00.123456789Z",
    }


def kserve_event(number: int, side: str, document: Any) -> dict[str, Any]:
    return {
        **{"specversion": "1.0", "id": f"event-{number}", "type": f"{KSERVE}.{side}", "source": "http://churn/"},
        **{"time": f"2022-04-01T10:{number % 60:02}:00Z", "datacontenttype": "application/json", "data": document},
        **{"inferenceservicename": "churn", "namespace": "default", "component": "predictor"},
    }


def azure_event(number: int, kind: str, document: Any, **more: Any) -> dict[str, Any]:
    return {
        **{"specversion": "1.0", "id": f"{kind}-{number}", "source": DEPLOYMENT, "type": f"{AZURE}.{kind}"},
        **{"datacontenttype": "application/json", "time": f"2022-04-01T10:{number % 60:02}:00Z", "data": document},
        **{"correlationid": f"event-{number}", "xrequestid": f"event-{number}", "contentrange": "bytes 0-59/*"},
        **more,
    }


def asked(row: tuple[Any, ...]) -> dict[str, Any]:
    return {"instances": [list(row[:2])]}


def answered(row: tuple[Any, ...]) -> dict[str, Any]:
    return {"predictions": [row[2]]}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write(tmp_path / "labels.jsonl", [label(n, row[3]) for n, row in enumerate(ROWS)])


def is_clean(
    tmp_path: Path, baseline: Path, labels: Path, capsys: pytest.CaptureFixture[str], where: str = "predictions[*]"
) -> None:
    """The same rows as the baseline's, with their labels, give its metrics and no violation."""
    given = ("--captures", tmp_path / "logs", "--ground-truth", labels, "--baseline", baseline, *BINARY, where)
    out, _ = call(capsys, 0, "evaluate", *given, "--out", tmp_path / "out")
    assert "400 requests, 400 rows" in out and "400 rows labelled (100.0%)" in out and "cannot be read" not in out
    mine = read(tmp_path / "out/model_quality/statistics.json")["binary_classification_metrics"]
    assert mine == read(baseline / "model_quality/statistics.json")["binary_classification_metrics"]
    features = read(tmp_path / "out/data_quality/statistics.json")["features"]
    assert [each["name"] for each in features] == ["a", "b"]


def test_objects_of_kserves_logger(
    tmp_path: Path, baseline: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, row in enumerate(ROWS):
        for side, document in (("request", asked(row)), ("response", answered(row))):
            path = tmp_path / f"logs/default/churn/predictor/event-{number}-{side}.json"
            write(path, [json.dumps(stored(number, side, document))])
    is_clean(tmp_path, baseline, labels, capsys)


def test_batches_of_kserves_logger_and_its_second_protocol(
    tmp_path: Path, baseline: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides: dict[str, list[dict[str, Any]]] = {"request": [], "response": []}
    for number, row in enumerate(ROWS):
        question = {"inputs": [{"name": "input-0", "shape": [1, 2], "datatype": "FP32", "data": list(row[:2])}]}
        answer = {"outputs": [{"name": "p", "shape": [1], "datatype": "FP32", "data": [row[2]]}]}
        sides["request"].append(stored(number, "request", question))
        sides["response"].append(stored(number, "response", answer))
    # Many requests are under way at once, and the last is answered first.
    events = [*sides["request"], *reversed(sides["response"])]
    for start in range(0, len(events), 50):
        write(tmp_path / f"logs/{start:04}-request.json", [json.dumps(events[start : start + 50])])
    is_clean(tmp_path, baseline, labels, capsys, "outputs[0].data[*]")


def test_cloud_events_of_kserve_in_lines(
    tmp_path: Path, baseline: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a sink of Knative's writes them; answers before questions."""
    lines = [json.dumps(kserve_event(n, "response", answered(row))) for n, row in enumerate(ROWS)]
    lines += [json.dumps(kserve_event(n, "request", asked(row))) for n, row in enumerate(ROWS)]
    write(tmp_path / "logs/events.jsonl", lines)
    is_clean(tmp_path, baseline, labels, capsys)


@pytest.mark.parametrize(
    ("names", "where"), [(("model_inputs", "model_outputs"), "[*].p"), (("inputs", "outputs"), "[*].p")]
)
def test_collections_of_azures_data_collector(
    tmp_path: Path,
    baseline: Path,
    labels: Path,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, str],
    where: str,
) -> None:
    inputs = [json.dumps(azure_event(n, names[0], [{"a": row[0], "b": row[1]}])) for n, row in enumerate(ROWS)]
    outputs = [json.dumps(azure_event(n, names[1], [{"p": row[2]}])) for n, row in enumerate(ROWS)]
    write(tmp_path / f"logs/churn/blue/{names[0]}/2022/04/01/10/i1.jsonl", inputs)
    write(tmp_path / f"logs/churn/blue/{names[1]}/2022/04/01/10/i1.jsonl", outputs)
    is_clean(tmp_path, baseline, labels, capsys, where)


def test_payload_logging_of_azures(
    tmp_path: Path, baseline: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [json.dumps(azure_event(n, "request", {"data": [row[:2]]}, path="/score")) for n, row in enumerate(ROWS)]
    outputs = [json.dumps(azure_event(n, "response", [row[2]])) for n, row in enumerate(ROWS)]
    write(tmp_path / "logs/request/2022/04/01/10/i1.jsonl", inputs)
    write(tmp_path / "logs/response/2022/04/01/10/i1.jsonl", outputs)
    is_clean(tmp_path, baseline, labels, capsys)


def test_several_records_in_a_request_of_azures(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "logs/a.jsonl", [json.dumps(azure_event(0, "request", {"data": [row[:2] for row in ROWS[:3]]}))])
    write(tmp_path / "logs/b.jsonl", [json.dumps(azure_event(0, "response", [row[2] for row in ROWS[:3]]))])
    given = ("--captures", tmp_path / "logs", "--baseline", baseline, *BINARY, "predictions[*]")
    out, _ = call(capsys, 0, "evaluate", *given, "--out", tmp_path / "out")
    assert "1 requests, 3 rows" in out


def test_what_is_no_event_is_counted_with_its_line_and_not_shown(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps(kserve_event(n, "request", asked(row))) for n, row in enumerate(ROWS)]
    lines += [json.dumps(kserve_event(n, "response", answered(row))) for n, row in enumerate(ROWS)]
    lines[2] = '{"secret": 1}'
    lines[3] = '"secret" no json'
    lines[4] = json.dumps(azure_event(4, "request", "https://secret", datainblob="true"))
    write(tmp_path / "logs/events.jsonl", lines)
    given = ("--captures", tmp_path / "logs", "--baseline", baseline, *BINARY, "predictions[*]")
    out, err = call(capsys, 0, "evaluate", *given, "--out", tmp_path / "out")
    # Three questions are lost; their answers stand alone.
    assert "400 requests" in out and "3 lines" in out and "secret" not in out + err
    own = read(tmp_path / "out/data_quality/evaluation.json")
    assert [each["line"] for each in own["bad_lines"]["sample"]] == [3, 4, 5]
    assert "secret" not in json.dumps(own)


def test_events_of_several_services_are_refused(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps(stored(n, "request", asked(ROWS[n]), f"service-{n}")) for n in range(2)]
    write(tmp_path / "logs/events.jsonl", lines)
    given = ("--captures", tmp_path / "logs", "--baseline", baseline, "--out", tmp_path / "out")
    _, err = call(capsys, 2, "evaluate", *given)
    assert "default/service-0/predictor, default/service-1/predictor" in err and "name its folder" in err


def test_an_object_without_a_time_has_that_of_its_file(
    tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    event = stored(0, "request", asked(ROWS[0]))
    for time in ("0001-01-01T00:00:00Z", None):
        given = {**event, "occurrenceTime": time}
        path = write(tmp_path / "logs/event-0-request.json", [json.dumps(given)])
        arguments = ("--captures", path, "--baseline", baseline, "--out", tmp_path / "out", "--json")
        os.utime(path, (1_700_000_000, 1_700_000_000))
        out, _ = call(capsys, 0, "evaluate", *arguments)
        assert json.loads(out)["window"]["start"] == "2023-11-14T22:00:00Z"


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
EVENTS = st.builds(
    lambda event, changes, gone: {key: value for key, value in {**event, **changes}.items() if key not in gone},
    st.sampled_from(
        [
            *(stored(n, side, {"instances": [1]}) for n in range(2) for side in ("request", "response")),
            *(kserve_event(n, side, {"instances": [1]}) for n in range(2) for side in ("request", "response")),
            *(azure_event(n, side, [{"a": 1}]) for n in range(2) for side in ("model_inputs", "response")),
        ]
    ),
    st.dictionaries(
        st.sampled_from(
            ["id", "data", "time", "occurrenceTime", "bytes", "datacontenttype", "correlationid", "reqType"]
        ),
        VALUES,
        max_size=2,
    ),
    st.sets(st.sampled_from(["id", "data", "time", "type", "bytes", "correlationid", "xrequestid"]), max_size=2),
)


@given(st.lists(EVENTS | VALUES, max_size=8), st.booleans())
def test_every_event_is_in_one_capture_or_counted(events: list[Any], in_lines: bool) -> None:
    """Whatever a file holds: a line for each event, and every side of a request in exactly one capture."""
    assume(not (in_lines and len(events) == 1 and isinstance(events[0], list)))  # that file is a list of events
    # Events of several services are refused as a whole.
    for event in events:
        if isinstance(event, dict):
            for key in ("source", "inferenceService", "inferenceservicename", "namespace", "component"):
                event.pop(key, None)
    text = "\n".join(map(json.dumps, events)) if in_lines else json.dumps(events)
    file = File("logs/a.json", len(text), datetime(2023, 1, 1, tzinfo=UTC), lambda: iter([text.encode()]))
    lines = list(_lines([file]))
    captures = [json.loads(line)["captureData"] for line in lines if line not in (b"", b"{}")]
    sides = sum(len(capture) for capture in captures)
    assert sides + lines.count(b"{}") == len(events)
    # The first side of each request has an empty line, that of one that stays alone too.
    assert lines.count(b"") == len(captures)
