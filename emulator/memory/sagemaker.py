"""The SageMaker API in dicts: pipelines, model packages, models, endpoints, processing jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from chalicelib.errors import ConflictError, NotFoundError, RefusedError
from chalicelib.ports import Endpoint, ExecutionStep, ModelPackage, Pipeline, PipelineExecution, ProcessingJob
from emulator.memory.errors import ServiceError

_START_FIELDS = {
    "PipelineName",
    "PipelineExecutionDisplayName",
    "PipelineParameters",
    "PipelineExecutionDescription",
    "ClientRequestToken",
    "ParallelismConfiguration",
    "SelectiveExecutionConfig",
}
Value = TypeVar("Value")

_ROLE = "arn:aws:iam::123456789012:role/plumbline-test-model"

_DISPLAY_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,81}")


class MemorySageMaker:
    """`ports.SageMaker`.

    A start is idempotent in its token as AWS promises: the same token and request give the same execution, the same
    token with another request is refused. Executions run until a test finishes them. An endpoint is Creating or
    Updating for `endpoint_delay`, then InService. ARNs count up, so a run repeats exactly.
    """

    def __init__(self, now: Callable[[], datetime], endpoint_delay: timedelta = timedelta(0)) -> None:
        self._now = now
        self._endpoint_delay = endpoint_delay
        self._made = 0
        self._tokens: dict[str, tuple[dict[str, Any], str]] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self.pipelines: dict[str, dict[str, str | None]] = {}
        self.requests: dict[str, dict[str, Any]] = {}
        self.executions: dict[str, PipelineExecution] = {}
        self.steps: dict[str, list[ExecutionStep]] = {}
        self.packages: dict[str, ModelPackage] = {}
        self.approvals: dict[str, tuple[str, str]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.endpoint_configs: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, ProcessingJob] = {}

    # What only tests call: the things that users, pipelines and AWS itself bring about.

    def add_pipeline(self, name: str, parameters: Mapping[str, str | None]) -> None:
        """A pipeline with its parameters' names and defaults; None: a start must give it."""
        self.pipelines[name] = dict(parameters)

    def add_model_package(
        self,
        group: str,
        *,
        model_data_url: str,
        image: str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/model:1",
        metadata: Mapping[str, str] | None = None,
        approval_status: str = "PendingManualApproval",
    ) -> str:
        """Register the group's next version; returns its ARN."""
        version = 1 + sum(package.group == group for package in self.packages.values())
        arn = _arn(f"model-package/{group}/{version}")
        self.packages[arn] = ModelPackage(arn, group, approval_status, model_data_url, image, dict(metadata or {}))
        return arn

    def finish_execution(
        self,
        arn: str,
        status: str = "Succeeded",
        *,
        package: str | None = None,
        failure_reason: str = "",
        steps: Sequence[ExecutionStep] = (),
    ) -> None:
        """End an execution with these steps, and one that registered `package` (a model package's ARN)."""
        self.executions[arn] = msgspec.structs.replace(
            self.executions[arn], status=status, failure_reason=failure_reason
        )
        self.steps[arn].extend(steps)
        if package is not None:
            registered = {"RegisterModel": {"Arn": package}}
            self.steps[arn].append(ExecutionStep("RegisterModel", "Succeeded", registered))

    def fail_endpoint(self, name: str) -> None:
        """The endpoint's last creation or update ends in Failed."""
        endpoint = self._endpoints[name]
        self._endpoints[name] = msgspec.structs.replace(endpoint, status="Failed", last_modified=self._now())

    def add_processing_job(self, job: ProcessingJob) -> None:
        """A processing job, or its next status."""
        self.jobs[job.name] = job

    # ports.SageMaker

    def start_pipeline(self, request: Mapping[str, Any]) -> str:
        name = str(request.get("PipelineName"))
        token = request.get("ClientRequestToken")
        if not isinstance(token, str) or not 32 <= len(token) <= 128:
            raise RefusedError(f"pipeline {name}: ClientRequestToken; expected 32 to 128 characters")
        if token in self._tokens:
            # AWS documents the token, not the code of this refusal.
            first, arn = self._tokens[token]
            if first != dict(request):
                raise RefusedError(f"pipeline {name}: the token was used with another request")
            return arn
        self._check_start(name, request)
        self._made += 1
        arn = _arn(f"pipeline/{name}/execution/e{self._made:011d}")
        copy = deepcopy(dict(request))
        self._tokens[token] = (copy, arn)
        self.requests[arn] = copy
        self.executions[arn] = PipelineExecution(
            arn=arn,
            pipeline_name=name,
            display_name=request.get("PipelineExecutionDisplayName", f"execution-{self._made}"),
            status="Executing",
        )
        self.steps[arn] = []
        return arn

    def describe_pipeline(self, name: str) -> Pipeline:
        parameters = _found(self.pipelines, name, "pipeline")
        return Pipeline(name, _ROLE, {each: default is None for each, default in parameters.items()})

    def describe_execution(self, arn: str) -> PipelineExecution:
        return _found(self.executions, arn, "pipeline execution")

    def execution_steps(self, arn: str) -> list[ExecutionStep]:
        if arn not in self.steps:
            raise ServiceError("ResourceNotFound", f"pipeline execution {arn}")
        return deepcopy(self.steps[arn])

    def describe_model_package(self, arn: str) -> ModelPackage:
        return deepcopy(_found(self.packages, arn, "model package"))

    def set_approval(self, arn: str, status: str, description: str) -> None:
        if arn not in self.packages or status not in ("Approved", "Rejected", "PendingManualApproval"):
            raise ServiceError("ValidationException", f"model package {arn}, status {status}")
        self.packages[arn] = msgspec.structs.replace(self.packages[arn], approval_status=status)
        self.approvals[arn] = (status, description)

    def describe_model(self, name: str) -> Mapping[str, Any]:
        return deepcopy(_found(self.models, name, "model"))

    def ensure_model(self, request: Mapping[str, Any]) -> None:
        name = request["ModelName"]
        if name not in self.models:
            self.models[name] = self._described(request, "ModelArn", f"model/{name}")

    def describe_endpoint(self, name: str) -> Endpoint:
        endpoint = _found(self._endpoints, name, "endpoint")
        settled = endpoint.last_modified + self._endpoint_delay
        if endpoint.status in ("Creating", "Updating") and self._now() >= settled:
            endpoint = msgspec.structs.replace(endpoint, status="InService", last_modified=settled)
            self._endpoints[name] = endpoint
        return endpoint

    def describe_endpoint_config(self, name: str) -> Mapping[str, Any]:
        return deepcopy(_found(self.endpoint_configs, name, "endpoint configuration"))

    def ensure_endpoint_config(self, request: Mapping[str, Any]) -> None:
        name = request["EndpointConfigName"]
        if name in self.endpoint_configs:
            return
        for variant in request["ProductionVariants"]:
            if variant["ModelName"] not in self.models:
                raise ServiceError("ValidationException", f"Could not find model {variant['ModelName']}")
        self.endpoint_configs[name] = self._described(request, "EndpointConfigArn", f"endpoint-config/{name}")

    def ensure_endpoint(self, name: str, config_name: str) -> None:
        if name not in self._endpoints:
            self._deploy(name, config_name, "Creating")

    def update_endpoint(self, name: str, config_name: str) -> None:
        try:
            status = self.describe_endpoint(name).status
        except NotFoundError:
            raise ServiceError("ValidationException", f"Could not find endpoint {name}") from None
        if status in ("Creating", "Updating"):
            raise ConflictError(f"endpoint {name}: it is being created or updated")
        self._deploy(name, config_name, "Updating")

    def delete_endpoint(self, name: str) -> None:
        self._endpoints.pop(name, None)
        self.endpoint_configs.pop(name, None)

    def describe_processing_job(self, name: str) -> ProcessingJob:
        return deepcopy(_found(self.jobs, name, "processing job"))

    def _deploy(self, name: str, config_name: str, status: str) -> None:
        if config_name not in self.endpoint_configs:
            raise ServiceError("ValidationException", f"Could not find endpoint configuration {config_name}")
        self._endpoints[name] = Endpoint(name, config_name, status, self._now())

    def _described(self, request: Mapping[str, Any], arn_field: str, arn_end: str) -> dict[str, Any]:
        return {**deepcopy(dict(request)), arn_field: _arn(arn_end), "CreationTime": self._now()}

    def _check_start(self, name: str, request: Mapping[str, Any]) -> None:
        if name not in self.pipelines:
            raise RefusedError(f"pipeline {name}: no such pipeline")
        unknown = sorted(set(request) - _START_FIELDS)
        if unknown:
            raise RefusedError(f"pipeline {name}: unknown fields {unknown}")
        display_name = request.get("PipelineExecutionDisplayName", "x")
        if len(display_name) > 82 or not _DISPLAY_NAME.fullmatch(display_name):
            raise RefusedError(f"pipeline {name}: display name {display_name!r}")
        given: dict[str, str] = {}
        for parameter in request.get("PipelineParameters", ()):
            if set(parameter) != {"Name", "Value"} or not isinstance(parameter["Value"], str):
                raise RefusedError(f"pipeline {name}: a parameter; expected Name and Value, both text")
            if parameter["Name"] in given or len(parameter["Value"]) > 1024:
                raise RefusedError(f"pipeline {name}: parameter {parameter['Name']}: given twice, or too long")
            given[parameter["Name"]] = parameter["Value"]
        known = self.pipelines[name]
        wrong = sorted(set(given) - set(known))
        missing = sorted(key for key, default in known.items() if default is None and key not in given)
        if wrong or missing:
            raise RefusedError(f"pipeline {name}: unknown parameters {wrong}, missing parameters {missing}")


def _arn(end: str) -> str:
    return f"arn:aws:sagemaker:us-east-1:123456789012:{end}"


def _found(things: Mapping[str, Value], name: str, kind: str) -> Value:
    if name not in things:
        raise NotFoundError(f"{kind} {name}: not found")
    return things[name]
