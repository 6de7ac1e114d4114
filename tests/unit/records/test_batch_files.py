import json
from datetime import UTC, datetime

import pytest

from chalicelib.errors import UnreadableError
from chalicelib.records.attributes import Attributes
from chalicelib.records.batch import read_manifest, read_transform
from chalicelib.records.capture import CapturedRequest, Payload
from chalicelib.records.files import kind_of
from chalicelib.records.ground_truth import Label, resolve
from chalicelib.records.merge import merge, read_merged, write_merged
from chalicelib.records.table import to_table
from tests.unit.records.building import DATA

RUN = DATA / "model-monitor-published-runs" / "bias-drift-batch-json-2024-01"
PUBLISHED = Attributes(
    features_attribute="instances[*].features",
    inference_attribute="SageMakerOutput.predictions[*].predicted_label",
    probability_attribute="SageMakerOutput.predictions[*].score",
)
STARTED = datetime(2022, 8, 30, 0, 49, 15, tzinfo=UTC)
ONE, TWO = "1f1d57b1-2e6f-488c-8c30-db4e6d757861", "2f1d57b1-2e6f-488c-8c30-db4e6d757861"


def test_the_published_manifest():
    body = (RUN / "capture_output_manifest.json").read_bytes()
    assert read_manifest(body, "manifest") == [
        "s3://sagemaker-us-west-2-123456789012/sagemaker/DEMO-ClarifyModelMonitor-1705692244-1224/transform-output/"
        "test-dataset.json.out"
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'["key"]', b'[{"prefix": 1}]', b'[{"prefix": "x/"}]', b'[{"prefix": "s3://b/"}, 1]', b"\xff"],
)
def test_what_is_no_manifest_is_refused(body):
    with pytest.raises(UnreadableError, match="expected a manifest"):
        read_manifest(body, "manifest")


def test_the_published_output_and_merged_record_are_one_table():
    file = read_transform((RUN / "transform_output.json.out").read_bytes(), "output")
    assert file.bad_lines == [] and [request.event_id for request in file.requests] == [
        "94bcc22a-0462-4bd1-92c9-b46a5aaec1aa"
    ]
    published = json.dumps(json.loads((RUN / "merged_record.json").read_bytes())).encode()
    assert read_merged_lines(published).bad_lines[0].reason == "it has no inferenceTime in eventMetadata"
    merged = read_merged(published, "merged", file.requests[0].inference_time)
    labels = {merged.requests[0].request.join_id: merged.requests[0].label}
    one, other = (to_table([request], labels, PUBLISHED) for request in (file.requests[0], merged.requests[0].request))
    assert len(one) == 334 and one.bad == {} and one.regular.all() and len(one.features) == 14
    assert one.features == other.features and one.record_ids == other.record_ids
    assert one.scores.tolist() == other.scores.tolist() and one.labels.tolist() == other.labels.tolist()
    assert one.predictions.tolist()[:3] == [1.0, 1.0, 0.0] and set(one.labels.tolist()) == {0.0, 1.0}


def read_merged_lines(published):
    good = write_merged(merge([], {}))
    line = json.dumps(
        {
            "captureData": {},
            "groundTruthData": {"data": "1"},
            "eventMetadata": {"eventId": "e", "inferenceTime": "2026-01-01T00:00:00Z"},
        }
    ).encode()
    return read_merged(good + published + b"\n" + line, "merged")


def test_merged_batch_records_read_back():
    requests = read_transform(f"1,0.5,{ONE},2022-08-30T00:49:15Z\n".encode(), "output").requests
    merged = merge(requests, {ONE: Label(ONE, "1")})
    body = write_merged(merged)
    assert json.loads(body)["captureData"] == {"batchTransformOutput": {"data": "1,0.5", "encoding": "CSV"}}
    assert [one.request for one in read_merged(body, "merged").requests] == requests


def test_joined_csv():
    body = f"61,0,0.9, {ONE},2022-08-30T00:49:15Z\r\n48,1,0.2, {TWO},2022-08-30T00:49:15Z\r\n".encode()
    requests = read_transform(body, "output").requests
    assert [(each.join_id, each.inference_time) for each in requests] == [(ONE, STARTED), (TWO, STARTED)]
    labels = resolve([Label(ONE, "1"), Label(TWO, "1")]).by_id
    # The index counts from the first column of the joined row.
    table = to_table(requests, labels, Attributes(features=("age", "plan"), probability_attribute="2"))
    assert table.features == {"age": ["61", "48"], "plan": ["0", "1"]}
    assert table.scores.tolist() == [0.9, 0.2] and table.labels.tolist() == [1.0, 1.0] and table.bad == {}


def test_output_alone_and_with_its_captured_input():
    body = f"0.9,{ONE},2022-08-30T00:49:15Z\n0.2,{TWO},2022-08-30T00:49:15Z".encode()
    attributes = Attributes(features=("age", "plan"), probability_attribute="0")
    alone = to_table(read_transform(body, "output").requests, {}, attributes)
    assert alone.scores.tolist() == [0.9, 0.2] and not alone.regular.any() and alone.bad == {}
    asked = b'{"age": 61, "plan": 0}\n{"plan": 1, "age": 48}\n'
    both = to_table(read_transform(body, "output", asked).requests, {}, attributes)
    assert both.features == {"age": [61, 48], "plan": [0, 1]} and both.scores.tolist() == [0.9, 0.2]
    with pytest.raises(UnreadableError, match="2 lines of output for 1 lines of input"):
        read_transform(body, "output", b"61,0\n")
    with pytest.raises(UnreadableError, match="not UTF-8"):
        read_transform(body, "output", b"\xff\n\xff\n")


def test_json_lines_with_joined_input():
    line = {
        "age": 61,
        "plan": 0,
        "SageMakerOutput": {"score": 0.9},
        "SageMakerInferenceId": ONE,
        "SageMakerInferenceTime": "2022-08-30T00:49:15Z",
    }
    (request,) = read_transform(json.dumps(line).encode(), "output").requests
    for attribute in ("SageMakerOutput.score", "score"):
        table = to_table([request], {}, Attributes(features=("age", "plan"), probability_attribute=attribute))
        assert table.features == {"age": [61], "plan": [0]} and table.scores.tolist() == [0.9] and table.bad == {}
    del line["age"], line["plan"]
    (request,) = read_transform(json.dumps(line).encode(), "output").requests
    table = to_table([request], {}, Attributes(features=("age", "plan"), probability_attribute="score"))
    assert table.scores.tolist() == [0.9] and not table.regular.any() and table.bad == {}


def joined(document, **attributes):
    request = CapturedRequest("e", None, STARTED, None, Payload(json.dumps(document), "JSON"), is_batch=True)
    return to_table([request], {}, Attributes(**attributes))


@pytest.mark.parametrize("count", [0, 2, 3, 100_001])
def test_a_joined_document_with_one_answer_is_one_record_whatever_lists_it_holds(count):
    table = joined({"a": [1] * count, "SageMakerOutput": 0.5}, probability_attribute="SageMakerOutput")
    assert table.features == {"a": [[1] * count]} and table.scores.tolist() == [0.5] and table.bad == {}


@pytest.mark.parametrize(
    ("answer", "attribute"),
    [
        ([0.9, 0.2, 0.6], "SageMakerOutput"),
        ({"score": [0.9, 0.2, 0.6]}, "SageMakerOutput.score"),
        ({"predictions": [{"score": 0.9}, {"score": 0.2}, {"score": 0.6}]}, "SageMakerOutput.predictions[*].score"),
    ],
)
def test_a_joined_document_with_an_answer_for_each_place_is_as_many_records(answer, attribute):
    table = joined({"a": [1, 2, 3], "SageMakerOutput": answer}, probability_attribute=attribute)
    assert table.features == {"a": [1, 2, 3]} and table.scores.tolist() == [0.9, 0.2, 0.6] and table.bad == {}


def test_a_list_of_one_in_a_joined_document_is_its_value():
    table = joined({"a": [7], "SageMakerOutput": {"score": 0.5}}, probability_attribute="SageMakerOutput.score")
    assert table.features == {"a": [7]} and table.scores.tolist() == [0.5] and table.bad == {}


def test_a_joined_document_of_too_many_records_is_counted():
    many = [1] * 100_001
    table = joined({"a": many, "SageMakerOutput": {"score": many}}, probability_attribute="SageMakerOutput.score")
    assert len(table) == 0 and set(table.bad) == {
        "input: more than 100000 records in one request",
        "output: more than 100000 records in one request",
        "no record in the request",
    }


def test_numbers_stay_as_they_were_written():
    text = (
        '{"x":1.50,"SageMakerInferenceId":"i","SageMakerInferenceTime":"2022-08-30T00:49:15Z","y":12345678901234567890}'
    )
    assert read_transform(text.encode(), "output").requests[0].output.data == '{"x":1.50,"y":12345678901234567890}'


def test_without_ids_the_jobs_start_counts():
    with pytest.raises(UnreadableError, match="expected SageMakerInferenceId and SageMakerInferenceTime"):
        read_transform(b"0.9\n0.2\n", "output")
    requests = read_transform(b"0.9\n0.2\n", "output", started=STARTED).requests
    assert len({each.event_id for each in requests}) == 2 and {each.inference_time for each in requests} == {STARTED}
    assert requests == read_transform(b"0.9\n0.2\n", "output", started=STARTED).requests
    assert [each.output.data for each in requests] == ["0.9", "0.2"]


def test_bad_lines_are_named():
    body = f'\n{{"secret": \n0.9\n\xff\n1,{"i" * 300},2022-08-30T00:49:15Z\n1,{ONE},2022-08-30T00:49:15Z'
    file = read_transform(body.encode("latin-1"), "output")
    assert len(file.requests) == 1 and [bad.line for bad in file.bad_lines] == [2, 3, 4, 5]
    assert not any("secret" in bad.reason for bad in file.bad_lines)
    assert read_transform(b"", "output").requests == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("model-monitor-published-runs/bias-drift-batch-json-2024-01/capture_output_manifest.json", "manifest"),
        ("model-monitor-published-runs/bias-drift-batch-json-2024-01/transform_output.json.out", "transform"),
        ("model-monitor-published-runs/bias-drift-batch-json-2024-01/merged_record.json", "merged"),
        ("model-monitor-published-runs/churn-2021-02/capture.jsonl", "capture"),
        ("capture-llm/capture.jsonl", "capture"),
        ("model-monitor-sdk-fixtures/actuals.jsonl", "ground-truth"),
        ("model-monitor-sdk-fixtures/statistics.json", "unknown"),
        ("churn/test-dataset-input-cols.csv", "unknown"),
    ],
)
def test_the_kind_of_a_file(path, kind):
    assert kind_of((DATA / path).read_bytes()) == kind


def test_the_kind_of_other_bytes():
    assert kind_of(b" \n\n") == "empty" and kind_of(b"\xff\x00") == "unknown"
    assert kind_of(f"garbage\n61,0,0.9, {ONE},2022-08-30T00:49:15Z\n".encode()) == "transform"
