"""The SageMaker emulator's API, asked by an unmodified boto3 client."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.sagemaker import SageMakerApi

CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://captures/data",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
}


def refusal(call: Any, **request: Any) -> tuple[str, str]:
    """The code and the message of the error that a call gives."""
    with pytest.raises(ClientError) as raised:
        call(**request)
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


def package(scene: Any, group: str = "quality", **extra: Any) -> str:
    url = scene.put("registry/model.tar.gz", b"x")
    specification = {
        "Containers": [{"Image": "sklearn", "ModelDataUrl": url}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }
    return scene.sm.create_model_package(ModelPackageGroupName=group, InferenceSpecification=specification, **extra)[
        "ModelPackageArn"
    ]


def test_an_endpoint_takes_its_logical_time_and_announces_each_state(scene: Any) -> None:
    scene.config("config-a", scene.model("model-a"), CAPTURE)
    scene.sm.create_endpoint(EndpointName="fraud", EndpointConfigName="config-a")
    scene.advance(minutes=2, seconds=59)
    assert scene.server.next_change() == scene.clock + timedelta(seconds=1)
    assert scene.sm.describe_endpoint(EndpointName="fraud")["EndpointStatus"] == "Creating"
    scene.advance(seconds=1)
    described = scene.sm.describe_endpoint(EndpointName="fraud")
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == "config-a"
    assert described["LastModifiedTime"] == scene.clock
    assert described["DataCaptureConfig"]["CurrentSamplingPercentage"] == 100
    states = [(each["EndpointStatus"], each["EndpointConfigName"]) for each in scene.sent("SageMaker Endpoint State")]
    assert states == [("CREATING", "config-a"), ("IN_SERVICE", "config-a")]
    event = scene.events[-1]
    assert event["resources"] == ["arn:aws:sagemaker:us-east-1:123456789012:endpoint/fraud"]
    assert event["time"] == str(int(scene.clock.timestamp() * 1000))


def test_while_an_endpoint_is_updating_the_old_model_answers_and_another_update_is_refused(scene: Any) -> None:
    scene.endpoint("fraud", scene.config("config-a", scene.model("model-a", 1.0)))
    scene.config("config-b", scene.model("model-b", 2.0))
    scene.sm.update_endpoint(EndpointName="fraud", EndpointConfigName="config-b")

    def answer() -> bytes:
        return scene.runtime.invoke_endpoint(EndpointName="fraud", ContentType="text/csv", Body=b"0")["Body"].read()

    described = scene.sm.describe_endpoint(EndpointName="fraud")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("Updating", "config-a")
    assert described["PendingDeploymentSummary"]["EndpointConfigName"] == "config-b"
    assert answer() == b"1.0"
    code, message = refusal(scene.sm.update_endpoint, EndpointName="fraud", EndpointConfigName="config-a")
    assert code == "ValidationException"
    assert message.startswith("Cannot update in-progress endpoint")
    scene.restart()
    scene.advance(minutes=3)
    assert scene.sm.describe_endpoint(EndpointName="fraud")["EndpointConfigName"] == "config-b"
    assert answer() == b"2.0"
    states = [each["EndpointStatus"] for each in scene.sent("SageMaker Endpoint State")]
    assert states == ["CREATING", "IN_SERVICE", "UPDATING", "IN_SERVICE"]


def test_an_update_keeps_the_instances_that_scaling_has_added(scene: Any) -> None:
    scene.endpoint("fraud", scene.config("config-a", scene.model("model-a", 1.0)))
    scene.config("config-b", scene.model("model-b", 2.0))
    [variant] = scene.sm.describe_endpoint(EndpointName="fraud")["ProductionVariants"]
    wanted = {"VariantName": variant["VariantName"], "DesiredInstanceCount": 7, "DesiredWeight": 0.5}
    scene.sm.update_endpoint_weights_and_capacities(EndpointName="fraud", DesiredWeightsAndCapacities=[wanted])
    SageMakerApi(scene.sm).update_endpoint("fraud", "config-b")
    scene.advance(minutes=3)
    described = scene.sm.describe_endpoint(EndpointName="fraud")
    [variant] = described["ProductionVariants"]
    assert described["EndpointConfigName"] == "config-b"
    assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (7, 0.5)
    scene.sm.update_endpoint(EndpointName="fraud", EndpointConfigName="config-a")
    scene.advance(minutes=3)
    [variant] = scene.sm.describe_endpoint(EndpointName="fraud")["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == 1


def test_an_update_to_a_model_that_does_not_load_is_rolled_back(scene: Any) -> None:
    scene.endpoint("fraud", scene.config("config-a", scene.model("model-a", 1.0)))
    scene.config("config-b", scene.model("model-b", script="raise RuntimeError('no')"))
    scene.sm.update_endpoint(EndpointName="fraud", EndpointConfigName="config-b")
    scene.advance(minutes=3)
    described = scene.sm.describe_endpoint(EndpointName="fraud")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "config-a")
    assert "health check" in described["FailureReason"]
    scene.endpoint("new", "config-b")
    assert scene.sm.describe_endpoint(EndpointName="new")["EndpointStatus"] == "Failed"


def test_missing_and_repeated_resources_are_refused_in_the_words_of_aws(scene: Any) -> None:
    arn = "arn:aws:sagemaker:us-east-1:123456789012"
    missing = refusal(scene.sm.describe_endpoint, EndpointName="Absent")
    assert missing == ("ValidationException", f'Could not find endpoint "{arn}:endpoint/absent".')
    missing = refusal(scene.sm.create_endpoint, EndpointName="e", EndpointConfigName="absent")
    assert missing == ("ValidationException", f'Could not find endpoint configuration "{arn}:endpoint-config/absent".')
    missing = refusal(scene.sm.describe_model, ModelName="absent")
    assert missing == ("ValidationException", f'Could not find model "{arn}:model/absent".')
    missing = refusal(scene.sm.describe_pipeline, PipelineName="absent")
    assert missing == ("ResourceNotFound", f"Pipeline '{arn}:pipeline/absent' does not exist.")
    execution = f"{arn}:pipeline/absent/execution/abcdefghijkl"
    assert refusal(scene.sm.describe_pipeline_execution, PipelineExecutionArn=execution)[0] == "ResourceNotFound"
    assert refusal(scene.sm.describe_processing_job, ProcessingJobName="absent")[0] == "ValidationException"
    absent = {"Image": "sklearn", "ModelDataUrl": f"s3://{scene.bucket}/nothing.tar.gz"}
    assert "Could not find model data" in refusal(scene.sm.create_model, ModelName="m", PrimaryContainer=absent)[1]
    scene.config("config-a", scene.model("model-a"))
    variants = [{"VariantName": "v", "ModelName": "model-a", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}]
    again = refusal(scene.sm.create_endpoint_config, EndpointConfigName="config-a", ProductionVariants=variants)
    assert again[1].startswith("Cannot create already existing endpoint configuration")


@pytest.mark.parametrize(
    ("operation", "request_", "words"),
    [
        ("create_model", {"ModelName": "no_underscore", "PrimaryContainer": {"Image": "i"}}, "regular expression"),
        ("create_model", {"ModelName": "a" * 64, "PrimaryContainer": {"Image": "i"}}, "less than or equal to 63"),
        ("describe_endpoint", {"EndpointName": "-x"}, "at 'endpointName'"),
        (
            "update_model_package",
            {
                "ModelPackageArn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/a/1",
                "ModelApprovalStatus": "Perhaps",
            },
            "enum value set",
        ),
        (
            "create_endpoint_config",
            {
                "EndpointConfigName": "c",
                "ProductionVariants": [
                    {
                        "VariantName": "v",
                        "ModelName": "m",
                        "ServerlessConfig": {"MemorySizeInMB": 999999, "MaxConcurrency": 1},
                    }
                ],
            },
            "less than or equal",
        ),
    ],
)
def test_constraints_of_the_service_model_are_enforced(
    scene: Any, operation: str, request_: dict[str, Any], words: str
) -> None:
    code, message = refusal(getattr(scene.sm, operation), **request_)
    assert code == "ValidationException"
    assert message.startswith("1 validation error detected")
    assert words in message


def test_a_client_that_does_not_validate_gets_every_problem_at_once(scene: Any) -> None:
    body = json.dumps({"EndpointName": 5, "Unknown": 1}).encode()
    request = urllib.request.Request(
        scene.server.url,
        body,
        {"X-Amz-Target": "SageMaker.CreateEndpoint", "Content-Type": "application/x-amz-json-1.1"},
    )
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request)
    answer = json.loads(raised.value.read())
    assert raised.value.code == 400
    assert answer["__type"] == "ValidationException"
    assert answer["message"].startswith("2 validation errors detected")
    assert "'endpointConfigName'" in answer["message"]


def test_an_operation_that_is_not_offered_says_so(scene: Any) -> None:
    assert refusal(scene.sm.list_domains) == (
        "UnknownOperationException",
        "ListDomains is not offered by this emulator.",
    )


def test_model_packages_are_versioned_approved_and_listed(scene: Any) -> None:
    scene.sm.create_model_package_group(ModelPackageGroupName="quality")
    assert refusal(scene.sm.create_model_package_group, ModelPackageGroupName="quality")[1].startswith(
        "Model Package Group already exists"
    )
    arns = [package(scene, CustomerMetadataProperties={"number": str(n)}) for n in range(12)]
    scene.server.tick()
    assert arns[1].endswith(":model-package/quality/2")
    scene.sm.update_model_package(
        ModelPackageArn=arns[1],
        ModelApprovalStatus="Approved",
        ApprovalDescription="better",
        CustomerMetadataProperties={"loss": "0.1"},
    )
    scene.server.tick()
    described = scene.sm.describe_model_package(ModelPackageName=arns[1])
    assert described["ModelApprovalStatus"] == "Approved"
    assert described["ApprovalDescription"] == "better"
    assert described["CustomerMetadataProperties"] == {"number": "1", "loss": "0.1"}
    first = scene.sm.list_model_packages(ModelPackageGroupName="quality")
    assert len(first["ModelPackageSummaryList"]) == 10
    pages = scene.sm.get_paginator("list_model_packages").paginate(ModelPackageGroupName="quality")
    assert [each["ModelPackageArn"] for page in pages for each in page["ModelPackageSummaryList"]] == arns
    approved = scene.sm.list_model_packages(ModelPackageGroupName="quality", ModelApprovalStatus="Approved")
    assert [each["ModelPackageVersion"] for each in approved["ModelPackageSummaryList"]] == [2]
    events = scene.sent("SageMaker Model Package State Change")
    assert [each["ModelApprovalStatus"] for each in events] == ["PendingManualApproval"] * 12 + ["Approved"]
    assert events[-1]["ModelPackageArn"] == arns[1]
    assert events[-1]["CreationTime"] == "2026-03-02T10:00:00Z"


def test_a_package_must_be_approved_before_a_model_is_made_of_it(scene: Any) -> None:
    scene.sm.create_model_package_group(ModelPackageGroupName="quality")
    arn = package(scene)
    container = {"ModelPackageName": arn}
    assert "only an Approved" in refusal(scene.sm.create_model, ModelName="m", PrimaryContainer=container)[1]
    scene.sm.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    scene.sm.create_model(ModelName="m", Containers=[container])
    assert scene.sm.describe_model(ModelName="m")["Containers"] == [container]


def test_an_injected_monitoring_execution_is_described_and_announced(scene: Any) -> None:
    name = "model-quality-monitoring-202603021000-daba5c00170dd5cdfc2fa368"
    schedule = "arn:aws:sagemaker:us-east-1:123456789012:monitoring-schedule/hourly"
    outputs = [
        {
            "OutputName": "result",
            "S3Output": {
                "S3Uri": "s3://reports/x",
                "LocalPath": "/opt/ml/processing/output",
                "S3UploadMode": "EndOfJob",
            },
        }
    ]
    arn = scene.server.add_processing_job(
        {
            "ProcessingJobName": name,
            "ProcessingJobStatus": "Completed",
            "ExitMessage": "CompletedWithViolations: Job completed successfully with 10 violations.",
            "MonitoringScheduleArn": schedule,
            "ProcessingOutputConfig": {"Outputs": outputs},
            "ProcessingEndTime": scene.clock,
        }
    )
    scene.server.tick()
    described = scene.sm.describe_processing_job(ProcessingJobName=name)
    assert described["ProcessingJobArn"] == arn
    assert described["MonitoringScheduleArn"] == schedule
    assert described["ProcessingEndTime"] == scene.clock
    (detail,) = scene.sent("SageMaker Processing Job State Change")
    assert detail["ProcessingJobStatus"] == "Completed"
    assert detail["ExitMessage"].startswith("CompletedWithViolations:")
    assert detail["ProcessingOutputConfig"] == {"Outputs": outputs}
    assert scene.events[-1]["resources"] == [arn]


def test_names_are_found_in_any_case_but_not_by_the_runtime(scene: Any) -> None:
    scene.endpoint("Fraud", scene.config("config-a", scene.model("Model-A")))
    assert scene.sm.describe_endpoint(EndpointName="fraud")["EndpointName"] == "Fraud"
    assert scene.sm.describe_model(ModelName="model-a")["ModelName"] == "Model-A"
    assert scene.runtime.invoke_endpoint(EndpointName="Fraud", ContentType="text/csv", Body=b"1")["Body"].read()
    asked = refusal(scene.runtime.invoke_endpoint, EndpointName="fraud", ContentType="text/csv", Body=b"1")
    assert asked == ("ValidationError", "Endpoint fraud of account 123456789012 not found.")


def test_deleting_an_endpoint_and_its_configuration_leaves_nothing(scene: Any) -> None:
    scene.config("config-a", scene.model("model-a"))
    scene.sm.create_endpoint(EndpointName="fraud", EndpointConfigName="config-a")
    scene.sm.delete_endpoint(EndpointName="fraud")
    scene.sm.delete_endpoint_config(EndpointConfigName="config-a")
    scene.sm.delete_model(ModelName="model-a")
    scene.advance(minutes=5)
    assert scene.sm.list_endpoints()["Endpoints"] == []
    assert refusal(scene.sm.delete_endpoint, EndpointName="fraud")[0] == "ValidationException"
    assert [each["EndpointStatus"] for each in scene.sent("SageMaker Endpoint")] == ["CREATING", "DELETING"]


def test_a_connection_is_kept_and_a_call_is_quick(scene: Any) -> None:
    scene.sm.list_endpoints()
    begun = time.perf_counter()
    for _ in range(50):
        scene.sm.list_endpoints()
    # Nagle's algorithm against delayed acknowledgements would make it 40 ms a call.
    assert (time.perf_counter() - begun) / 50 < 0.03
