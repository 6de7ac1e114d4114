"""The committed definitions: created as they are in any account, so they may know none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import package_code

ROOT = package_code.ROOT
RETRAINING = ROOT / "pipelines/retraining.json"
OTHER = ROOT / "examples/other-pipeline/definition.json"


def walk(value: Any) -> Iterator[Any]:
    yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(child)


def references(document: Any) -> set[str]:
    return {value["Get"] for value in walk(document) if isinstance(value, dict) and "Get" in value}


def steps(document: Any) -> dict[str, dict[str, Any]]:
    return {value["Name"]: value for value in walk(document) if isinstance(value, dict) and "Arguments" in value}


@pytest.fixture(params=[RETRAINING, OTHER], ids=["reference", "other"])
def definition(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text())


@pytest.fixture
def retraining() -> Any:
    return json.loads(RETRAINING.read_text())


def test_it_names_no_account_region_role_image_or_bucket(definition):
    texts = [value for value in walk(definition) if isinstance(value, str)]
    forbidden = re.compile(r"\d{12}|arn:|s3://|\b[a-z]{2}(-gov)?-[a-z]+-\d\b|amazonaws|\.ecr\.|:latest|offline")
    assert [text for text in texts if forbidden.search(text)] == []
    for value in walk(definition):
        for field in ("RoleArn", "ImageUri", "TrainingImage", "Image", "S3Uri", "S3OutputPath", "ModelDataUrl"):
            if isinstance(value, dict) and field in value:
                assert isinstance(value[field], dict), f"{field} must be a reference"


def test_every_parameter_is_used_and_every_used_one_is_declared(definition):
    declared = {f"Parameters.{parameter['Name']}" for parameter in definition["Parameters"]}
    assert {name for name in references(definition) if name.startswith("Parameters.")} == declared


def test_every_referenced_step_exists(definition):
    known = steps(definition).keys()
    assert {name.split(".")[1] for name in references(definition) if name.startswith("Steps.")} <= known


def test_the_reference_pipelines_parameters_and_defaults(retraining):
    assert {parameter["Name"]: parameter.get("DefaultValue") for parameter in retraining["Parameters"]} == {
        "ManifestUri": None,
        "OutputUri": None,
        "CodeUri": None,
        "ProcessingImageUri": None,
        "TrainingImageUri": None,
        "RoleArn": None,
        "InstanceType": "ml.m5.large",
        "ModelPackageGroupName": None,
        "ModelApprovalStatus": "PendingManualApproval",
        "DecisionId": None,
    }


def test_only_a_better_challenger_is_registered_and_a_refused_one_is_no_failure(retraining):
    assert [(step["Name"], step["Type"]) for step in retraining["Steps"]] == [
        ("Process", "Processing"),
        ("Train", "Training"),
        ("Evaluate", "Processing"),
        ("ChallengerIsBetter", "Condition"),
    ]
    better = steps(retraining)["ChallengerIsBetter"]["Arguments"]
    (condition,) = better["Conditions"]
    assert condition["Type"] == "LessThan"
    assert condition["LeftValue"]["Std:JsonGet"]["Path"] == "losses.challenger"
    assert condition["RightValue"]["Std:JsonGet"]["Path"] == "best_incumbent"
    assert [(step["Name"], step["Type"]) for step in better["IfSteps"]] == [
        ("TrainServing", "Training"),
        ("RegisterChallenger", "RegisterModel"),
    ]
    assert better["ElseSteps"] == []


def test_the_gates_model_has_not_seen_what_it_is_judged_on_and_the_registered_one_has_seen_all(retraining):
    train, serving = steps(retraining)["Train"]["Arguments"], steps(retraining)["TrainServing"]["Arguments"]
    [gate] = [each for each in train["InputDataConfig"] if each["ChannelName"] == "train"]
    [all_rows] = [each for each in serving["InputDataConfig"] if each["ChannelName"] == "train"]
    assert "['train']" in gate["DataSource"]["S3DataSource"]["S3Uri"]["Get"]
    assert "['serving']" in all_rows["DataSource"]["S3DataSource"]["S3Uri"]["Get"]
    package = steps(retraining)["RegisterChallenger"]["Arguments"]
    [container] = package["InferenceSpecification"]["Containers"]
    assert container["ModelDataUrl"] == {"Get": "Steps.TrainServing.ModelArtifacts.S3ModelArtifacts"}
    named = package["CustomerMetadataProperties"]["gate_model_data_url"]
    assert named == {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}


def test_every_script_that_a_step_runs_is_shipped(retraining):
    shipped = package_code.files()
    entry_points = [
        value["ContainerEntrypoint"]
        for value in walk(retraining)
        if isinstance(value, dict) and "ContainerEntrypoint" in value
    ]
    names = {Path(entry_point[1]).name for entry_point in entry_points}
    assert names == {"process.py", "train.py", "evaluate.py"}
    assert names <= shipped.keys()
    assert shipped["inference.py"].is_file()
    assert "chalicelib/records/merge.py" in shipped


def test_the_committed_text_is_canonical(retraining):
    assert RETRAINING.read_text() == json.dumps(retraining, indent=2, sort_keys=True) + "\n"
