"""The part of the SageMaker API that the loop needs.

Knows how SageMaker says "does not exist", "exists already" and "busy": most of its calls use the one code
ValidationException for all three, so only the message text distinguishes them. Not here: why anything is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import msgspec
from botocore.exceptions import ClientError, ParamValidationError

from chalicelib.errors import ConflictError, NotFoundError, RefusedError
from chalicelib.ports import Endpoint, ExecutionStep, ModelPackage, Pipeline, PipelineExecution, ProcessingJob

# As AWS spells them: Could not find endpoint "…" / ModelPackage … does not exist / Pipeline … not found.
_ABSENT_WORDS = ("could not find", "does not exist", "not found")
# Cannot create already existing model "…".
_EXISTING_WORDS = ("already exist",)
# Cannot update in-progress endpoint "…".
_BUSY_WORDS = ("in-progress", "in progress")


class SageMakerApi:
    """`ports.SageMaker` over a SageMaker client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def start_pipeline(self, request: Mapping[str, Any]) -> str:
        """StartPipelineExecution with exactly this request; returns the execution's ARN.

        Raises RefusedError for a request that can never start (ValidationException, unknown pipeline, or a field that
        boto3 rejects). Limits and throttling pass through: they are temporary.
        """
        if not request.get("ClientRequestToken"):
            # boto3 would generate a new one at each call, and a repeat would start a second execution.
            raise RefusedError(f"pipeline {request.get('PipelineName')}: no ClientRequestToken; expected the claim's")
        try:
            arn: str = self._client.start_pipeline_execution(**request)["PipelineExecutionArn"]
        except ParamValidationError as error:
            raise RefusedError(f"pipeline {request.get('PipelineName')}: {error}") from error
        except ClientError as error:
            if _code(error) in ("ValidationException", "ResourceNotFound"):
                raise RefusedError(f"pipeline {request.get('PipelineName')}: {_text(error)}") from error
            raise
        return arn

    def describe_pipeline(self, name: str) -> Pipeline:
        """DescribePipeline, with the parameters of its definition. Raises NotFoundError."""
        with _absent_as_not_found(f"pipeline {name}"):
            answer = self._client.describe_pipeline(PipelineName=name)
        # A definition that was written by hand may have no parameters.
        definition = msgspec.json.decode(answer.get("PipelineDefinition") or "{}")
        parameters = {each["Name"]: "DefaultValue" not in each for each in definition.get("Parameters", ())}
        return Pipeline(answer["PipelineName"], answer["RoleArn"], parameters)

    def describe_execution(self, arn: str) -> PipelineExecution:
        """DescribePipelineExecution; the pipeline's name is read from its ARN. Raises NotFoundError."""
        with _absent_as_not_found(arn):
            answer = self._client.describe_pipeline_execution(PipelineExecutionArn=arn)
        return PipelineExecution(
            arn=answer["PipelineExecutionArn"],
            pipeline_name=answer["PipelineArn"].rpartition(":pipeline/")[2].split("/")[0],
            display_name=answer.get("PipelineExecutionDisplayName", ""),
            status=answer["PipelineExecutionStatus"],
            failure_reason=answer.get("FailureReason", ""),
        )

    def execution_steps(self, arn: str) -> list[ExecutionStep]:
        """ListPipelineExecutionSteps, all pages, in start order."""
        pages = self._client.get_paginator("list_pipeline_execution_steps").paginate(
            PipelineExecutionArn=arn, SortOrder="Ascending"
        )
        return [
            ExecutionStep(
                name=step["StepName"],
                status=step["StepStatus"],
                metadata=step.get("Metadata", {}),
                failure_reason=step.get("FailureReason", ""),
            )
            for page in pages
            for step in page["PipelineExecutionSteps"]
        ]

    def describe_model_package(self, arn: str) -> ModelPackage:
        """DescribeModelPackage; image and model data are those of its first container. Raises NotFoundError."""
        with _absent_as_not_found(arn):
            answer = self._client.describe_model_package(ModelPackageName=arn)
        containers = answer.get("InferenceSpecification", {}).get("Containers", ())
        container = containers[0] if containers else {}
        source = container.get("ModelDataSource", {}).get("S3DataSource", {})
        return ModelPackage(
            arn=answer["ModelPackageArn"],
            group=answer.get("ModelPackageGroupName", ""),
            approval_status=answer.get("ModelApprovalStatus", ""),
            model_data_url=container.get("ModelDataUrl") or source.get("S3Uri", ""),
            image=container.get("Image", ""),
            metadata=answer.get("CustomerMetadataProperties", {}),
            environment=container.get("Environment", {}),
        )

    def set_approval(self, arn: str, status: str, description: str) -> None:
        """UpdateModelPackage: `status` is Approved or Rejected, `description` the reason."""
        self._client.update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=description
        )

    def describe_model(self, name: str) -> Mapping[str, Any]:
        """DescribeModel, raw. Raises NotFoundError."""
        with _absent_as_not_found(f"model {name}"):
            return _answer(self._client.describe_model(ModelName=name))

    def ensure_model(self, request: Mapping[str, Any]) -> None:
        """CreateModel with this request; an existing model of that name is no error."""
        with _existing_is_fine():
            self._client.create_model(**request)

    def describe_endpoint(self, name: str) -> Endpoint:
        """DescribeEndpoint. Raises NotFoundError."""
        with _absent_as_not_found(f"endpoint {name}"):
            answer = self._client.describe_endpoint(EndpointName=name)
        capture = answer.get("DataCaptureConfig", {})
        return Endpoint(
            name=answer["EndpointName"],
            # Absent while an endpoint that failed at creation waits to be deleted.
            config_name=answer.get("EndpointConfigName", ""),
            status=answer["EndpointStatus"],
            last_modified=answer["LastModifiedTime"].astimezone(UTC),
            sampling_percentage=capture.get("CurrentSamplingPercentage") if capture.get("EnableCapture") else None,
        )

    def describe_endpoint_config(self, name: str) -> Mapping[str, Any]:
        """DescribeEndpointConfig, raw. Raises NotFoundError."""
        with _absent_as_not_found(f"endpoint configuration {name}"):
            return _answer(self._client.describe_endpoint_config(EndpointConfigName=name))

    def ensure_endpoint_config(self, request: Mapping[str, Any]) -> None:
        """CreateEndpointConfig with this request; an existing configuration of that name is no error."""
        with _existing_is_fine():
            self._client.create_endpoint_config(**request)

    def ensure_endpoint(self, name: str, config_name: str) -> None:
        """CreateEndpoint; an existing endpoint of that name is no error, whatever it serves."""
        with _existing_is_fine():
            self._client.create_endpoint(EndpointName=name, EndpointConfigName=config_name)

    def update_endpoint(self, name: str, config_name: str) -> None:
        """UpdateEndpoint. The instances that scaling has added, the weights that were set by hand and the deployment
        configuration of the last update stay. Raises ConflictError while the endpoint is being created or updated."""
        try:
            self._client.update_endpoint(
                EndpointName=name,
                EndpointConfigName=config_name,
                RetainAllVariantProperties=True,
                RetainDeploymentConfig=True,
            )
        except ClientError as error:
            if _says(error, _BUSY_WORDS):
                raise ConflictError(f"endpoint {name}: it is being created or updated") from error
            raise

    def delete_endpoint(self, name: str) -> None:
        """DeleteEndpoint and DeleteEndpointConfig of the same name; a missing one is no error."""
        with _absent_is_fine():
            self._client.delete_endpoint(EndpointName=name)
        with _absent_is_fine():
            self._client.delete_endpoint_config(EndpointConfigName=name)

    def describe_processing_job(self, name: str) -> ProcessingJob:
        """DescribeProcessingJob. Raises NotFoundError."""
        with _absent_as_not_found(f"processing job {name}"):
            answer = self._client.describe_processing_job(ProcessingJobName=name)
        return ProcessingJob(
            name=answer["ProcessingJobName"],
            status=answer["ProcessingJobStatus"],
            created_at=answer["CreationTime"].astimezone(UTC),
            exit_message=answer.get("ExitMessage", ""),
            monitoring_schedule_arn=answer.get("MonitoringScheduleArn"),
            outputs={
                output["OutputName"]: output["S3Output"]["S3Uri"]
                for output in answer.get("ProcessingOutputConfig", {}).get("Outputs", ())
                if "S3Output" in output  # the other kind writes to the feature store
            },
            environment=answer.get("Environment", {}),
        )


@contextmanager
def _absent_as_not_found(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _says_absent(error):
            raise NotFoundError(f"{what}: {_text(error)}") from error
        raise


@contextmanager
def _absent_is_fine() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if not _says_absent(error):
            raise


@contextmanager
def _existing_is_fine() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _code(error) != "ResourceInUse" and not _says(error, _EXISTING_WORDS):
            raise


def _says_absent(error: ClientError) -> bool:
    return _code(error) == "ResourceNotFound" or _says(error, _ABSENT_WORDS)


def _says(error: ClientError, words: tuple[str, ...]) -> bool:
    text = _text(error).lower()
    return _code(error) == "ValidationException" and any(word in text for word in words)


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _text(error: ClientError) -> str:
    return str(error.response["Error"].get("Message", ""))


def _answer(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in raw.items() if name != "ResponseMetadata"}
