"""The stage's file: what it becomes, and one line for everything that can be wrong in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.existing import arns
from infra.stage_file import StageFile, StageFileError, read, template_parameters
from infra.template import parameters

GIVEN: dict[str, Any] = {
    "region": "eu-west-1",
    "artifacts_bucket": "artifacts",
    "model_role_arn": "arn:aws:iam::123456789012:role/models",
    "captures": ["s3://captures/all/", "s3://more/captures"],
    "ground_truth": ["s3://labels/churn"],
    "reports": ["s3://captures/reports"],
    "data_keys": ["arn:aws:kms:eu-west-1:123456789012:key/1"],
    "endpoints": ["Churn"],
    "pipelines": ["Churn-Retraining"],
    "model_package_groups": ["churn"],
    "parameters": {"LogLevel": "DEBUG", "MaximumConcurrency": 5},
    "tags": {"team": "ml"},
}


def written(folder: Path, document: Any) -> Path:
    path = folder / "dev.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def refusal(folder: Path, document: Any) -> str:
    with pytest.raises(StageFileError) as raised:
        read(written(folder, document), "dev")
    text = str(raised.value)
    assert "\n" not in text
    return text.replace(str(folder / "dev.json"), "dev.json")


def test_places_become_arns(tmp_path: Path) -> None:
    found = read(written(tmp_path, GIVEN), "dev")
    s3, sagemaker = "arn:${AWS::Partition}:s3:::", "arn:${AWS::Partition}:sagemaker:${AWS::Region}:${AWS::AccountId}:"
    named = {
        name: [each["Fn::Sub"] if isinstance(each, dict) else each for each in found]
        for name, found in arns(found).items()
    }
    assert named == {
        "CaptureObjects": [f"{s3}captures/all/*", f"{s3}more/captures/*"],
        "GroundTruthObjects": [f"{s3}labels/churn/*"],
        "ReportObjects": [f"{s3}captures/reports/*"],
        "BaselineObjects": [],
        "RetrainingObjects": [],
        "MonitorReportObjects": [],
        "ExistingBuckets": [f"{s3}captures", f"{s3}more", f"{s3}labels"],
        "DataKeyArns": ["arn:aws:kms:eu-west-1:123456789012:key/1"],
        "EndpointArns": [f"{sagemaker}endpoint/churn"],
        "PipelineArns": [f"{sagemaker}pipeline/churn-retraining"],
        "ModelPackageArns": [f"{sagemaker}model-package/churn/*"],
    }
    assert template_parameters(found) == {
        "ModelRoleArn": "arn:aws:iam::123456789012:role/models",
        "LogLevel": "DEBUG",
        "MaximumConcurrency": "5",
    }
    assert found.event_buckets == ("captures", "more", "labels")


def test_every_parameter_that_it_makes_is_the_templates(tmp_path: Path) -> None:
    every = {name: ["s3://bkt/p"] for name in ("captures", "ground_truth", "reports", "baselines", "retraining")}
    found = read(written(tmp_path, {**GIVEN, **every, "monitor_reports": ["s3://bkt/p"], "bucket": "own"}), "dev")
    made = template_parameters(found)
    assert made.keys() <= parameters("dev").keys()
    assert "BucketName" in made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capture": []}, "unknown field capture; did you mean captures?"),
        ({"captures": ["bucket/prefix"]}, "captures: 'bucket/prefix'; expected a folder such as s3://bucket/prefix"),
        ({"reports": ["s3://bucket"]}, "reports: 's3://bucket'; expected a folder such as s3://bucket/prefix"),
        ({"captures": ["s3://bucket/*"]}, "captures: 's3://bucket/*'; expected a folder such as s3://bucket/prefix"),
        ({"endpoints": ["*"]}, "endpoints: '*'; expected a SageMaker name, or its beginning and *"),
        ({"parameters": {"LogLevl": "INFO"}}, "parameters: 'LogLevl'; expected one of CreateKmsKey, "),
        ({"parameters": {"EndpointArns": "*"}}, "parameters: 'EndpointArns'; expected one of "),
        ({"region": 7}, "Expected `str`, got `int` - at `$.region`"),
    ],
)
def test_what_is_wrong_is_reported(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert message in refusal(tmp_path, {**GIVEN, **change})


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageFileError, match="no such file"):
        read(tmp_path / "none.json", "dev")
    assert "cannot be read as JSON" in refusal(tmp_path, "{")
    assert "expected an object of fields" in refusal(tmp_path, [])
    assert "missing required field `region`" in refusal(tmp_path, {})


def test_the_least_is_three_fields() -> None:
    least = StageFile(region="eu-west-1", artifacts_bucket="a", model_role_arn="arn:aws:iam::123456789012:role/m")
    assert template_parameters(least) == {"ModelRoleArn": least.model_role_arn}
