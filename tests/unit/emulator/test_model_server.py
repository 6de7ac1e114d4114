"""Invocations, data capture and metrics of the SageMaker emulator's endpoints, through boto3's runtime client."""

from __future__ import annotations

import base64
import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from emulator.model_capture import sampled
from emulator.model_server import METRIC_NAMESPACE
from emulator.sagemaker_shapes import ApiError

KEY = re.compile(
    r"^data/fraud/AllTraffic/(\d{4}/\d{2}/\d{2}/\d{2})/\d{2}-\d{2}-\d{3}-"
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.jsonl$"
)


def capture(scene: Any, **changes: Any) -> dict[str, Any]:
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{scene.bucket}/data",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
        **changes,
    }


def serve(scene: Any, config: dict[str, Any] | None, **model: Any) -> None:
    scene.endpoint("fraud", scene.config("config-a", scene.model("model-a", **model), config))


def invoke(scene: Any, body: bytes, content_type: str = "text/csv", accept: str = "text/csv", **extra: Any) -> bytes:
    answer = scene.runtime.invoke_endpoint(
        EndpointName="fraud", Body=body, ContentType=content_type, Accept=accept, **extra
    )
    return answer["Body"].read()


def lines(scene: Any, uris: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for uri in uris for line in scene.read(uri).splitlines()]


def test_a_captured_call_is_written_as_sagemaker_writes_it(scene: Any) -> None:
    serve(scene, capture(scene), answer=0.5)
    scene.clock = datetime(2026, 3, 2, 10, 15, 30, 987654, tzinfo=UTC)
    assert invoke(scene, b"1,2\n3,4\n", InferenceId="57") == b"3.5\n7.5"
    (uri,) = scene.server.flush(scene.clock)
    key = uri.removeprefix(f"s3://{scene.bucket}/")
    assert KEY.match(key)
    assert key.split("/")[3:7] == ["2026", "03", "02", "10"]
    assert key.split("/")[7].startswith("15-30-987-")
    (line,) = lines(scene, [uri])
    event_id = line["eventMetadata"].pop("eventId")
    assert str(uuid.UUID(event_id)) == event_id
    assert line == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv",
                "mode": "INPUT",
                "data": "1,2\n3,4\n",
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "text/csv; charset=utf-8",
                "mode": "OUTPUT",
                "data": "3.5\n7.5",
                "encoding": "CSV",
            },
        },
        "eventMetadata": {"inferenceId": "57", "inferenceTime": "2026-03-02T10:15:30Z"},
        "eventVersion": "0",
    }
    assert scene.server.flush(scene.clock) == []


def test_encoding_follows_the_declared_content_type_and_is_base64_otherwise(scene: Any) -> None:
    serve(scene, capture(scene, CaptureContentTypeHeader={"CsvContentTypes": ["text/csv"]}))
    assert json.loads(invoke(scene, b"[[1, 2]]", "application/json", "application/json")) == [3.0]
    (line,) = lines(scene, scene.server.flush(scene.clock))
    side = line["captureData"]["endpointInput"]
    assert side["encoding"] == "BASE64"
    assert base64.b64decode(side["data"]) == b"[[1, 2]]"
    assert line["captureData"]["endpointOutput"]["observedContentType"] == "application/json"


def test_only_the_chosen_side_and_custom_attributes_are_captured(scene: Any) -> None:
    serve(scene, capture(scene, CaptureOptions=[{"CaptureMode": "Output"}]))
    invoke(scene, b"1", CustomAttributes="c000b4f9")
    (line,) = lines(scene, scene.server.flush(scene.clock))
    assert list(line["captureData"]) == ["endpointOutput"]
    assert line["eventMetadata"]["customAttributes"] == ["c000b4f9"]
    assert "inferenceId" not in line["eventMetadata"]


def test_the_file_of_an_hour_is_written_when_the_hour_changes(scene: Any) -> None:
    serve(scene, capture(scene))
    scene.clock = datetime(2026, 3, 2, 10, 59, 59, tzinfo=UTC)
    invoke(scene, b"1")
    scene.clock = datetime(2026, 3, 2, 11, 0, 1, tzinfo=UTC)
    invoke(scene, b"2")
    listed = scene.s3.list_objects_v2(Bucket=scene.bucket, Prefix="data/")["Contents"]
    (key,) = [each["Key"] for each in listed]
    assert KEY.match(key)[1] == "2026/03/02/10"  # the hour of the invocation, though it was written in the next
    assert "/00-01-000-" in key
    (line,) = lines(scene, [f"s3://{scene.bucket}/{key}"])
    assert line["captureData"]["endpointInput"]["data"] == "1"
    (second,) = scene.server.flush(scene.clock)
    assert "/2026/03/02/11/00-01-000-" in second


def test_sampling_is_by_event_id(scene: Any) -> None:
    serve(scene, capture(scene, InitialSamplingPercentage=30))
    ids = [scene.server.invoke("fraud", b"1").event_id for _ in range(200)]
    captured = [line["eventMetadata"]["eventId"] for line in lines(scene, scene.server.flush(scene.clock))]
    assert captured == [event_id for event_id in ids if sampled(event_id, 30)]
    assert 35 <= len(captured) <= 85  # 60 expected, 6.5 standard deviation
    assert len(set(ids)) == 200


def test_disabled_capture_and_serverless_endpoints_capture_nothing(scene: Any) -> None:
    serve(scene, capture(scene, EnableCapture=False))
    scene.sm.create_endpoint(
        EndpointName="pool", EndpointConfigName=scene.config("config-s", "model-a", capture(scene), serverless=True)
    )
    scene.advance(minutes=1)
    assert scene.sm.describe_endpoint(EndpointName="pool")["EndpointStatus"] == "InService"
    invoke(scene, b"1")
    assert scene.server.invoke("pool", b"1").body == b"1.0"
    assert scene.server.flush(scene.clock) == []


def test_calls_repeated_after_a_kill_get_the_event_ids_of_the_lost_ones(scene: Any) -> None:
    serve(scene, capture(scene))
    kept = scene.server.invoke("fraud", b"1").event_id
    scene.server.flush(scene.clock)
    lost = scene.server.invoke("fraud", b"2").event_id
    scene.restart()
    assert scene.server.invoke("fraud", b"2").event_id == lost != kept


def test_the_code_of_the_model_decides_the_formats(scene: Any) -> None:
    script = """
import json
import helper

def model_fn(model_dir):
    return 10

def input_fn(body, content_type):
    return json.loads(body)["instances"]

def predict_fn(data, model):
    return [helper.scaled(row["features"], model) for row in data]

def output_fn(prediction, accept):
    return json.dumps({"predictions": prediction}), "application/json"
"""
    files = {"code/inference.py": script, "code/helper.py": "def scaled(row, by):\n    return sum(row) * by\n"}
    url = scene.put("m/model.tar.gz", scene.archive(files))
    scene.sm.create_model(ModelName="model-j", PrimaryContainer={"Image": "sklearn", "ModelDataUrl": url})
    scene.endpoint("fraud", scene.config("config-j", "model-j"))
    answer = scene.runtime.invoke_endpoint(
        EndpointName="fraud", Body=b'{"instances":[{"features":[1,2]}]}', ContentType="application/json"
    )
    assert json.loads(answer["Body"].read()) == {"predictions": [30]}
    assert answer["ContentType"] == "application/json"
    assert answer["InvokedProductionVariant"] == "AllTraffic"


def test_a_model_that_raises_is_a_model_error_without_payload_and_is_counted(scene: Any) -> None:
    serve(scene, capture(scene))
    scene.server.fail_next("fraud", 2)
    for _ in range(2):
        with pytest.raises(ClientError) as raised:
            invoke(scene, b"1")
        assert raised.value.response["Error"]["Code"] == "ModelError"
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
        assert raised.value.response["OriginalStatusCode"] == 500
    with pytest.raises(ClientError) as raised:
        invoke(scene, b"1,secret")
    assert raised.value.response["OriginalMessage"] == "ValueError"
    assert "secret" not in str(raised.value)
    with pytest.raises(ClientError) as raised:
        invoke(scene, b"x", "image/png")
    assert raised.value.response["OriginalStatusCode"] == 415
    invoke(scene, b"1")
    points = scene.server.metrics(scene.clock)
    assert {point["MetricName"]: point["Value"] for point in points} == {
        "Invocations": 5.0,
        "Invocation4XXErrors": 1.0,
        "Invocation5XXErrors": 3.0,
    }
    dimensions = [{"Name": "EndpointName", "Value": "fraud"}, {"Name": "VariantName", "Value": "AllTraffic"}]
    assert all(point["Dimensions"] == dimensions for point in points)
    assert scene.server.metrics(scene.clock) == []
    assert METRIC_NAMESPACE == "AWS/SageMaker"
    assert len(lines(scene, scene.server.flush(scene.clock))) == 1  # what failed is not captured


def test_a_call_that_the_runtime_refuses(scene: Any) -> None:
    with pytest.raises(ClientError) as raised:
        invoke(scene, b"1")
    assert raised.value.response["Error"] == {
        "Code": "ValidationError",
        "Message": "Endpoint fraud of account 123456789012 not found.",
    }
    serve(scene, None)
    with pytest.raises(ApiError, match="1 to 64 printable"):
        scene.server.invoke("fraud", b"1", inference_id="x" * 65)
    assert scene.server.metrics(scene.clock) == []


def test_variants_share_the_calls_by_weight(scene: Any) -> None:
    size = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    variants = [
        {"VariantName": "a", "ModelName": scene.model("model-a"), "InitialVariantWeight": 3.0, **size},
        {"VariantName": "b", "ModelName": scene.model("model-b", 1.0), "InitialVariantWeight": 1.0, **size},
    ]
    scene.sm.create_endpoint_config(EndpointConfigName="two", ProductionVariants=variants)
    scene.endpoint("fraud", "two")
    names = [scene.server.invoke("fraud", b"0").variant for _ in range(200)]
    assert 125 <= names.count("a") <= 175  # 150 expected, 6.1 standard deviation
    assert invoke(scene, b"0", TargetVariant="b") == b"1.0"
