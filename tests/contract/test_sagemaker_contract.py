"""What every SageMaker does, as far as moto can say.

moto starts a second execution for a repeated ClientRequestToken, takes unknown parameters, lists executions without
order, replaces what exists where AWS refuses, and has neither steps nor UpdateEndpoint. So those are tested on the fake
alone (`tests/unit/adapters/test_fakes.py`), and the adapter's reading of AWS's own answers on canned answers
(`tests/unit/adapters/test_sagemaker_api.py`).
"""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.errors import NotFoundError, RefusedError
from chalicelib.ports import SageMaker
from tests.contract.worlds import ROLE, SageMakerWorld

CONTAINER = {"Image": "image:1", "ModelDataUrl": "s3://data/model.tar.gz"}


def _start_request(**changed: Any) -> dict[str, Any]:
    return {
        "PipelineName": "retrain",
        "PipelineExecutionDisplayName": "decision-1",
        "PipelineParameters": [
            {"Name": "Window", "Value": "2026-01-01T00"},
            {"Name": "Manifest", "Value": "s3://data/manifest.json"},
        ],
        "ClientRequestToken": "a" * 64,
        **changed,
    }


def _deploy(sagemaker: SageMaker, name: str) -> None:
    sagemaker.ensure_model({"ModelName": name, "PrimaryContainer": CONTAINER, "ExecutionRoleArn": ROLE})
    sagemaker.ensure_endpoint_config(
        {
            "EndpointConfigName": name,
            "ProductionVariants": [
                {
                    "VariantName": "AllTraffic",
                    "ModelName": name,
                    "InstanceType": "ml.m5.large",
                    "InitialInstanceCount": 1,
                }
            ],
        }
    )
    sagemaker.ensure_endpoint(name, name)


def test_a_started_execution_is_described(sagemaker_world: SageMakerWorld) -> None:
    sagemaker = sagemaker_world.sagemaker
    arn = sagemaker.start_pipeline(_start_request())
    described = sagemaker.describe_execution(arn)
    assert (described.arn, described.pipeline_name, described.display_name) == (arn, "retrain", "decision-1")


def test_a_start_that_can_never_succeed_is_refused(sagemaker_world: SageMakerWorld) -> None:
    sagemaker = sagemaker_world.sagemaker
    without_token = _start_request()
    del without_token["ClientRequestToken"]
    for request in (
        _start_request(PipelineName="unknown"),
        _start_request(ClientRequestToken="short"),
        _start_request(Colour="blue"),
        without_token,
    ):
        with pytest.raises(RefusedError):
            sagemaker.start_pipeline(request)


def test_a_pipeline_is_described_with_its_parameters(sagemaker_world: SageMakerWorld) -> None:
    pipeline = sagemaker_world.sagemaker.describe_pipeline("retrain")
    assert (pipeline.name, pipeline.role_arn) == ("retrain", ROLE)
    assert pipeline.parameters == {"Window": False, "Manifest": True}


def test_a_model_package_is_described_and_approved(sagemaker_world: SageMakerWorld) -> None:
    sagemaker, arn = sagemaker_world.sagemaker, sagemaker_world.package
    package = sagemaker.describe_model_package(arn)
    assert package.arn == arn
    assert (package.group, package.approval_status) == ("champions", "PendingManualApproval")
    assert (package.model_data_url, package.image) == ("s3://data/model.tar.gz", "image:1")
    assert dict(package.metadata) == {"decision": "d1"}
    sagemaker.set_approval(arn, "Approved", "better by 0.02")
    assert sagemaker.describe_model_package(arn).approval_status == "Approved"


def test_a_model_is_deployed_behind_an_endpoint(sagemaker_world: SageMakerWorld) -> None:
    sagemaker = sagemaker_world.sagemaker
    _deploy(sagemaker, "champion-1")
    endpoint = sagemaker.describe_endpoint("champion-1")
    assert (endpoint.name, endpoint.config_name, endpoint.status) == ("champion-1", "champion-1", "InService")
    assert endpoint.last_modified.utcoffset() is not None
    config = sagemaker.describe_endpoint_config("champion-1")
    assert config["ProductionVariants"][0]["ModelName"] == "champion-1"
    assert "EndpointConfigArn" in config and "ResponseMetadata" not in config
    model = sagemaker.describe_model("champion-1")
    assert model["PrimaryContainer"]["ModelDataUrl"] == CONTAINER["ModelDataUrl"]
    assert model["ExecutionRoleArn"] == ROLE


def test_what_exists_already_is_fine(sagemaker_world: SageMakerWorld) -> None:
    _deploy(sagemaker_world.sagemaker, "champion-1")
    _deploy(sagemaker_world.sagemaker, "champion-1")
    assert sagemaker_world.sagemaker.describe_endpoint("champion-1").status == "InService"


def test_a_configuration_needs_its_model_and_an_endpoint_its_configuration(sagemaker_world: SageMakerWorld) -> None:
    sagemaker = sagemaker_world.sagemaker
    variant = {"VariantName": "v", "ModelName": "none", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    with pytest.raises(Exception, match="Could not find"):
        sagemaker.ensure_endpoint_config({"EndpointConfigName": "c", "ProductionVariants": [variant]})
    with pytest.raises(Exception, match="Could not find"):
        sagemaker.ensure_endpoint("e", "none")
    with pytest.raises(NotFoundError):
        sagemaker.describe_endpoint("e")


def test_delete_takes_the_configuration_too_and_can_be_repeated(sagemaker_world: SageMakerWorld) -> None:
    sagemaker = sagemaker_world.sagemaker
    _deploy(sagemaker, "champion-1")
    sagemaker.delete_endpoint("champion-1")
    sagemaker.delete_endpoint("champion-1")
    with pytest.raises(NotFoundError):
        sagemaker.describe_endpoint("champion-1")
    with pytest.raises(NotFoundError):
        sagemaker.describe_endpoint_config("champion-1")
    assert sagemaker.describe_model("champion-1")["ModelName"] == "champion-1"


def test_what_does_not_exist_is_not_found(sagemaker_world: SageMakerWorld) -> None:
    sagemaker = sagemaker_world.sagemaker
    arn = "arn:aws:sagemaker:us-east-1:123456789012:"
    for describe, name in (
        (sagemaker.describe_execution, arn + "pipeline/retrain/execution/none"),
        (sagemaker.describe_model_package, arn + "model-package/champions/9"),
        (sagemaker.describe_pipeline, "none"),
        (sagemaker.describe_model, "none"),
        (sagemaker.describe_endpoint, "none"),
        (sagemaker.describe_endpoint_config, "none"),
        (sagemaker.describe_processing_job, "none"),
    ):
        with pytest.raises(NotFoundError):
            describe(name)
