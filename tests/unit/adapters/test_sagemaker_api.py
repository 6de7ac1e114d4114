"""How SageMaker's own answers are read, where moto has no such answer: canned ones in AWS's wording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from chalicelib.adapters.sagemaker import SageMakerApi
from chalicelib.errors import ConflictError, NotFoundError, RefusedError

ARN = "arn:aws:sagemaker:us-east-1:123456789012:"
EXECUTION = ARN + "pipeline/retrain/execution/abc123def456"
START = {"PipelineName": "retrain", "ClientRequestToken": "t" * 64}


@pytest.fixture
def aws() -> Iterator[tuple[SageMakerApi, Stubber]]:
    client = boto3.client(
        "sagemaker", region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    with Stubber(client) as stubber:
        yield SageMakerApi(client), stubber
        stubber.assert_no_pending_responses()


Aws = tuple[SageMakerApi, Stubber]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("ValidationException", "Invalid pipeline parameters: Colour"),
        ("ResourceNotFound", "Pipeline 'arn:…' does not exist."),
    ],
)
def test_a_wrong_start_is_refused(aws: Aws, code: str, text: str) -> None:
    api, stubber = aws
    stubber.add_client_error("start_pipeline_execution", code, text)
    with pytest.raises(RefusedError, match="pipeline retrain: " + text[:10]):
        api.start_pipeline(START)


@pytest.mark.parametrize("code", ["ResourceLimitExceeded", "ThrottlingException", "AccessDeniedException"])
def test_a_start_that_may_succeed_later_passes_through(aws: Aws, code: str) -> None:
    api, stubber = aws
    stubber.add_client_error("start_pipeline_execution", code, "later")
    with pytest.raises(ClientError, match=code):
        api.start_pipeline(START)


@pytest.mark.parametrize(
    ("method", "describe"),
    [
        ("describe_model", lambda api: api.describe_model("m")),
        ("describe_endpoint", lambda api: api.describe_endpoint("e")),
        ("describe_endpoint_config", lambda api: api.describe_endpoint_config("c")),
        ("describe_model_package", lambda api: api.describe_model_package(ARN + "model-package/g/1")),
    ],
)
@pytest.mark.parametrize("text", ['Could not find model "arn:…".', "ModelPackage arn:… does not exist."])
def test_absence_in_a_validation_message(
    aws: Aws, method: str, describe: Callable[[SageMakerApi], object], text: str
) -> None:
    api, stubber = aws
    stubber.add_client_error(method, "ValidationException", text)
    with pytest.raises(NotFoundError):
        describe(api)
    stubber.add_client_error(method, "ValidationException", "1 validation error detected: Value at 'name' …")
    with pytest.raises(ClientError):
        describe(api)


@pytest.mark.parametrize(
    ("method", "describe"),
    [
        ("describe_pipeline_execution", lambda api: api.describe_execution(EXECUTION)),
        ("describe_processing_job", lambda api: api.describe_processing_job("j")),
    ],
)
def test_absence_by_its_own_code(aws: Aws, method: str, describe: Callable[[SageMakerApi], object]) -> None:
    api, stubber = aws
    stubber.add_client_error(method, "ResourceNotFound", "Could not find it")
    with pytest.raises(NotFoundError):
        describe(api)


@pytest.mark.parametrize(
    ("capture", "percentage"), [({}, None), ({"EnableCapture": False}, None), ({"EnableCapture": True}, 20)]
)
def test_how_much_an_endpoint_captures(aws: Aws, capture: dict[str, bool], percentage: int | None) -> None:
    api, stubber = aws
    now = datetime(2026, 3, 1, tzinfo=UTC)
    described = {
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 20,
        "DestinationS3Uri": "s3://b/c",
        "KmsKeyId": "k",
    }
    answer = {
        "EndpointName": "e",
        "EndpointArn": ARN + "endpoint/e",
        "EndpointConfigName": "c",
        "EndpointStatus": "InService",
        "CreationTime": now,
        "LastModifiedTime": now,
        **({"DataCaptureConfig": {**described, **capture}} if capture else {}),
    }
    stubber.add_response("describe_endpoint", answer)
    assert api.describe_endpoint("e").sampling_percentage == percentage


@pytest.mark.parametrize(
    ("method", "ensure"),
    [
        ("create_model", lambda api: api.ensure_model({"ModelName": "m"})),
        (
            "create_endpoint_config",
            lambda api: api.ensure_endpoint_config(
                {"EndpointConfigName": "c", "ProductionVariants": [{"VariantName": "v", "ModelName": "m"}]}
            ),
        ),
        ("create_endpoint", lambda api: api.ensure_endpoint("e", "c")),
    ],
)
def test_ensure_is_content_with_what_exists_and_with_nothing_else(
    aws: Aws, method: str, ensure: Callable[[SageMakerApi], None]
) -> None:
    api, stubber = aws
    stubber.add_client_error(method, "ValidationException", 'Cannot create already existing model "arn:…".')
    ensure(api)
    stubber.add_client_error(method, "ValidationException", 'Could not find model "arn:…".')
    with pytest.raises(ClientError):
        ensure(api)
    stubber.add_client_error(method, "ResourceLimitExceeded", "The account-level service limit …")
    with pytest.raises(ClientError):
        ensure(api)


def test_an_update_while_another_runs_is_a_conflict(aws: Aws) -> None:
    api, stubber = aws
    stubber.add_client_error("update_endpoint", "ValidationException", 'Cannot update in-progress endpoint "arn:…".')
    with pytest.raises(ConflictError, match="endpoint churn"):
        api.update_endpoint("churn", "churn-2")
    stubber.add_client_error("update_endpoint", "ValidationException", 'Could not find endpoint "arn:…".')
    with pytest.raises(ClientError):
        api.update_endpoint("churn", "churn-2")
    kept = {"RetainAllVariantProperties": True, "RetainDeploymentConfig": True}
    sent = {"EndpointName": "churn", "EndpointConfigName": "churn-2", **kept}
    stubber.add_response("update_endpoint", {"EndpointArn": ARN + "endpoint/churn"}, sent)
    api.update_endpoint("churn", "churn-2")


def test_delete_goes_on_to_the_configuration_when_the_endpoint_is_gone(aws: Aws) -> None:
    api, stubber = aws
    stubber.add_client_error("delete_endpoint", "ValidationException", 'Could not find endpoint "arn:…".')
    stubber.add_response("delete_endpoint_config", {}, {"EndpointConfigName": "pool-1"})
    api.delete_endpoint("pool-1")
    stubber.add_client_error("delete_endpoint", "ThrottlingException", "later")
    with pytest.raises(ClientError):
        api.delete_endpoint("pool-1")


def test_steps_of_all_pages(aws: Aws) -> None:
    api, stubber = aws
    condition = {"StepName": "Better", "StepStatus": "Succeeded", "Metadata": {"Condition": {"Outcome": "True"}}}
    register = {"StepName": "Register", "StepStatus": "Failed", "FailureReason": "no role"}
    asked = {"PipelineExecutionArn": EXECUTION, "SortOrder": "Ascending"}
    page = {"PipelineExecutionSteps": [condition], "NextToken": "more"}
    stubber.add_response("list_pipeline_execution_steps", page, asked)
    stubber.add_response(
        "list_pipeline_execution_steps", {"PipelineExecutionSteps": [register]}, {**asked, "NextToken": "more"}
    )
    steps = api.execution_steps(EXECUTION)
    assert [(step.name, step.status, step.failure_reason) for step in steps] == [
        ("Better", "Succeeded", ""),
        ("Register", "Failed", "no role"),
    ]
    assert steps[0].metadata == {"Condition": {"Outcome": "True"}}
    assert steps[1].metadata == {}


def test_the_name_of_an_executions_pipeline(aws: Aws) -> None:
    api, stubber = aws
    stubber.add_response(
        "describe_pipeline_execution",
        {
            "PipelineArn": ARN + "pipeline/retrain",
            "PipelineExecutionArn": EXECUTION,
            "PipelineExecutionDisplayName": "decision-1",
            "PipelineExecutionStatus": "Failed",
            "FailureReason": "Step failure",
        },
    )
    execution = api.describe_execution(EXECUTION)
    assert (execution.pipeline_name, execution.failure_reason) == ("retrain", "Step failure")


def test_a_package_whose_model_data_is_a_source(aws: Aws) -> None:
    api, stubber = aws
    source = {"S3Uri": "s3://data/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    stubber.add_response(
        "describe_model_package",
        {
            "ModelPackageName": "g",
            "ModelPackageArn": ARN + "model-package/g/1",
            "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": []},
            "InferenceSpecification": {
                "Containers": [{"Image": "image:1", "ModelDataSource": {"S3DataSource": source}}]
            },
        },
    )
    package = api.describe_model_package(ARN + "model-package/g/1")
    assert (package.model_data_url, package.image, package.metadata) == ("s3://data/model/", "image:1", {})


def test_a_monitoring_execution_is_a_processing_job(aws: Aws) -> None:
    api, stubber = aws
    schedule = ARN + "monitoring-schedule/churn"
    output = {"S3Uri": "s3://data/reports", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "Continuous"}
    stubber.add_response(
        "describe_processing_job",
        {
            "ProcessingJobName": "j",
            "ProcessingJobArn": ARN + "processing-job/j",
            "ProcessingJobStatus": "Completed",
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}
            },
            "AppSpecification": {"ImageUri": "image:1"},
            "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
            "ExitMessage": "CompletedWithViolations: …",
            "MonitoringScheduleArn": schedule,
            "Environment": {"dataset_source": "/opt/ml/processing/input"},
            "ProcessingOutputConfig": {
                "Outputs": [
                    {"OutputName": "monitoring_output", "S3Output": output},
                    {"OutputName": "features", "FeatureStoreOutput": {"FeatureGroupName": "g"}},
                ]
            },
        },
    )
    job = api.describe_processing_job("j")
    assert (job.name, job.status, job.monitoring_schedule_arn) == ("j", "Completed", schedule)
    assert job.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert job.exit_message.startswith("CompletedWithViolations")
    assert job.outputs == {"monitoring_output": "s3://data/reports"}
    assert job.environment == {"dataset_source": "/opt/ml/processing/input"}
