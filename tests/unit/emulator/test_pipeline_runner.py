"""Pipelines of the SageMaker emulator: a small retraining pipeline whose every step really runs."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from emulator.pipeline_definition import DefinitionError, Scope, holds, parse, resolve
from emulator.pipeline_jobs import JobError, Jobs
from emulator.pipeline_runner import BackgroundRunner, PipelineRunner

ROLE = "arn:aws:iam::123456789012:role/plumbline"
TOKEN = "t" * 32

PROCESS = """
import os, pathlib, sys
rows = pathlib.Path("{input}/rows.csv".format(input=sys.argv[1])).read_text().split()
assert os.environ["STAGE_OF_TEST"] == "unit" and os.environ["SHARE"] == "2"
assert sys.argv[1].startswith(os.environ["ML_ROOT"])
cut = len(rows) // int(os.environ["SHARE"])
for name, part in (("train", rows[:cut]), ("test", rows[cut:])):
    (pathlib.Path(os.environ["ML_ROOT"]) / "processing" / name / "rows.csv").write_text("\\n".join(part))
"""

TRAIN = """
import json, os, pathlib
root = pathlib.Path(os.environ["ML_ROOT"])
hyperparameters = json.loads((root / "input/config/hyperparameters.json").read_text())
values = [float(row) for row in (pathlib.Path(os.environ["SM_CHANNEL_TRAIN"]) / "rows.csv").read_text().split()]
model = pathlib.Path(os.environ["SM_MODEL_DIR"])
(model / "model.json").write_text(json.dumps({"answer": sum(values) / len(values) + float(hyperparameters["shift"])}))
(model / "code").mkdir()
(model / "code" / "inference.py").write_text((root / "input/data/code/inference.py").read_text())
print("trained on", len(values))
"""

INFERENCE = """
import json, pathlib

def model_fn(model_dir):
    return json.loads((pathlib.Path(model_dir) / "model.json").read_text())["answer"]

def predict_fn(data, model):
    return [model for row in data]
"""

EVALUATE = """
import json, os, pathlib, tarfile
root = pathlib.Path(os.environ["ML_ROOT"]) / "processing"
with tarfile.open(root / "model" / "model.tar.gz") as archive:
    answer = json.load(archive.extractfile("model.json"))["answer"]
values = [float(row) for row in (root / "test" / "rows.csv").read_text().split()]
loss = sum((value - answer) ** 2 for value in values) / len(values)
(root / "evaluation" / "evaluation.json").write_text(json.dumps({"regression": {"mse": {"value": loss}}}))
"""

FAIL = """
import os, pathlib, sys
print("a line of output")
if sys.argv[1:] == ["--tell"]:
    (pathlib.Path(os.environ["ML_ROOT"]) / "output" / "failure").write_text("Traceback\\nthe channel is empty\\n")
sys.exit("could not train")
"""


def get(reference: str) -> dict[str, str]:
    return {"Get": reference}


def join(*values: Any, on: str = "/") -> dict[str, Any]:
    return {"Std:Join": {"On": on, "Values": list(values)}}


def s3_input(name: str, uri: Any, path: str) -> dict[str, Any]:
    source = {"S3Uri": uri, "LocalPath": path, "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "AppManaged": False, "S3Input": source}


def s3_output(name: str) -> dict[str, Any]:
    uri = join(get("Parameters.Output"), get("Execution.PipelineExecutionId"), name)
    local = f"/opt/ml/processing/{name}"
    return {"OutputName": name, "S3Output": {"S3Uri": uri, "LocalPath": local, "S3UploadMode": "EndOfJob"}}


def channel(name: str, uri: Any) -> dict[str, Any]:
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}


def processing(name: str, command: list[Any], inputs: list[Any], outputs: list[str], **extra: Any) -> dict[str, Any]:
    script = s3_input("code", join(get("Parameters.Code"), command[0]), "/opt/ml/processing/input/code")
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "ProcessingResources": {"ClusterConfig": cluster},
            "AppSpecification": {
                "ImageUri": "sklearn",
                "ContainerEntrypoint": ["python3", f"/opt/ml/processing/input/code/{command[0]}"],
                **({"ContainerArguments": command[1:]} if command[1:] else {}),
            },
            "RoleArn": ROLE,
            "ProcessingInputs": [*inputs, script],
            "ProcessingOutputConfig": {"Outputs": [s3_output(each) for each in outputs]},
            "Environment": {"SHARE": get("Parameters.Share")},
        },
        **extra,
    }


def definition(train: str = "train.py", arguments: tuple[str, ...] = ()) -> dict[str, Any]:
    """Process -> Train -> Evaluate -> Better? -> Register or Refuse, written out of order."""
    outputs = "ProcessingOutputConfig.Outputs"
    evaluated = {
        "Std:JsonGet": {"PropertyFile": get("Steps.Evaluate.PropertyFiles.Report"), "Path": "regression.mse.value"}
    }
    container = {"Image": "sklearn", "ModelDataUrl": get("Steps.Train.ModelArtifacts.S3ModelArtifacts")}
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": "quality",
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [container],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
            "CustomerMetadataProperties": {"threshold": get("Parameters.Threshold")},
        },
    }
    refuse = {
        "Name": "Refuse",
        "Type": "Fail",
        "Arguments": {"ErrorMessage": join("not better than", get("Parameters.Threshold"), on=" ")},
    }
    condition = {"Type": "LessThanOrEqualTo", "LeftValue": evaluated, "RightValue": get("Parameters.Threshold")}
    training = {
        "Name": "Train",
        "Type": "Training",
        "Arguments": {
            "AlgorithmSpecification": {
                "TrainingImage": "sklearn",
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python3", f"/opt/ml/input/data/code/{train}"],
                **({"ContainerArguments": list(arguments)} if arguments else {}),
            },
            "OutputDataConfig": {"S3OutputPath": join(get("Parameters.Output"), "models")},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
            "RoleArn": ROLE,
            "InputDataConfig": [
                channel("train", get(f"Steps.Process.{outputs}['train'].S3Output.S3Uri")),
                channel("code", get("Parameters.Code")),
            ],
            "HyperParameters": {"shift": "0.0"},
        },
    }
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": [
            {"Name": "Data", "Type": "String"},
            {"Name": "Code", "Type": "String"},
            {"Name": "Output", "Type": "String"},
            {"Name": "Threshold", "Type": "Float", "DefaultValue": 1.0},
            {"Name": "Share", "Type": "Integer", "DefaultValue": 2},
        ],
        "Steps": [
            {"Name": "Better", "Type": "Condition",
             "Arguments": {"Conditions": [condition], "IfSteps": [register], "ElseSteps": [refuse]}},
            processing(
                "Evaluate", ["evaluate.py"],
                [
                    s3_input("model", get("Steps.Train.ModelArtifacts.S3ModelArtifacts"), "/opt/ml/processing/model"),
                    s3_input("test", get(f"Steps.Process.{outputs}['test'].S3Output.S3Uri"), "/opt/ml/processing/test"),
                ],
                ["evaluation"],
                PropertyFiles=[
                    {"PropertyFileName": "Report", "OutputName": "evaluation", "FilePath": "evaluation.json"}
                ],
            ),
            training,
            processing(
                "Process", ["process.py", "/opt/ml/processing/input/data"],
                [s3_input("data", get("Parameters.Data"), "/opt/ml/processing/input/data")],
                ["train", "test"],
            ),
        ],
    }  # fmt: skip


def create(scene: Any, **changes: Any) -> None:
    scripts = {
        "process.py": PROCESS,
        "train.py": TRAIN,
        "evaluate.py": EVALUATE,
        "fail.py": FAIL,
        "inference.py": INFERENCE,
    }
    for name, script in scripts.items():
        scene.put(f"code/{name}", script)
    scene.put("data/rows.csv", "1\n2\n3\n1\n2\n3\n")
    scene.put("data-old/rows.csv", "100\n")
    scene.sm.create_pipeline(
        PipelineName="retrain",
        PipelineDefinition=json.dumps(definition(**changes)),
        RoleArn=ROLE,
        ClientRequestToken="c" * 32,
    )


def start(scene: Any, token: str = TOKEN, **parameters: Any) -> str:
    values = {
        "Data": f"s3://{scene.bucket}/data",
        "Code": f"s3://{scene.bucket}/code",
        "Output": f"s3://{scene.bucket}/runs",
        **parameters,
    }
    return scene.sm.start_pipeline_execution(
        PipelineName="retrain",
        PipelineExecutionDisplayName="decision-1",
        PipelineParameters=[{"Name": name, "Value": value} for name, value in values.items()],
        ClientRequestToken=token,
    )["PipelineExecutionArn"]


def steps(scene: Any, arn: str) -> dict[str, Any]:
    pages = scene.sm.get_paginator("list_pipeline_execution_steps").paginate(
        PipelineExecutionArn=arn, SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    return {step["StepName"]: step for page in pages for step in page["PipelineExecutionSteps"]}


def statuses(scene: Any) -> list[tuple[Any, str]]:
    return [
        (each.get("previousPipelineExecutionStatus"), each["currentPipelineExecutionStatus"])
        for each in scene.sent("SageMaker Model Building Pipeline Execution")
    ]


def test_a_better_model_is_trained_registered_approved_and_served(scene: Any) -> None:
    create(scene)
    arn = start(scene)
    scene.server.tick()
    assert scene.sm.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Executing"
    scene.advance(minutes=5)  # the real work is long done, the logical clock is in the second of six steps
    begun = steps(scene, arn)
    assert [(name, step["StepStatus"]) for name, step in begun.items()] == [
        ("Process", "Succeeded"),
        ("Train", "Executing"),
    ]
    assert scene.sm.list_model_packages()["ModelPackageSummaryList"] == []
    scene.advance(minutes=15)
    done = steps(scene, arn)
    assert list(done) == ["Process", "Train", "Evaluate", "Better", "Register"]
    assert {step["StepStatus"] for step in done.values()} == {"Succeeded"}
    assert done["Better"]["Metadata"]["Condition"]["Outcome"] == "True"
    described = scene.sm.describe_pipeline_execution(PipelineExecutionArn=arn)
    assert described["PipelineExecutionStatus"] == "Succeeded"
    assert described["PipelineExecutionDisplayName"] == "decision-1"
    assert statuses(scene) == [(None, "Executing"), ("Executing", "Succeeded")]
    event = scene.sent("SageMaker Model Building Pipeline Execution")[-1]
    assert event["pipelineExecutionArn"] == arn
    assert (event["executionStartTime"], event["executionEndTime"]) == ("2026-03-02T10:00:00Z", "2026-03-02T10:20:00Z")

    package = done["Register"]["Metadata"]["RegisterModel"]["Arn"]
    registered = scene.sm.describe_model_package(ModelPackageName=package)
    assert registered["CustomerMetadataProperties"] == {"threshold": "1.0"}
    url = registered["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
    with tarfile.open(fileobj=io.BytesIO(scene.read(url))) as archive:
        assert archive.getnames() == ["code", "code/inference.py", "model.json"]
    job = scene.sm.describe_training_job(TrainingJobName=done["Train"]["Metadata"]["TrainingJob"]["Arn"].split("/")[1])
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == url
    assert "trained on 3" in scene.server.job_log(job["TrainingJobName"]).read_text()
    assert [each["ProcessingJobStatus"] for each in scene.sent("SageMaker Processing Job")] == ["Completed"] * 2
    assert not list((scene.folder / "jobs").iterdir())

    scene.sm.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    scene.sm.create_model(ModelName="champion", PrimaryContainer={"ModelPackageName": package})
    scene.endpoint("fraud", scene.config("champion", "champion"))
    assert scene.server.invoke("fraud", b"9").body == b"2.0"  # the mean of 1, 2, 3
    assert [each["ModelApprovalStatus"] for each in scene.sent("SageMaker Model Package")] == [
        "PendingManualApproval",
        "Approved",
    ]


def test_the_other_outcome_of_the_condition_fails_with_its_message(scene: Any) -> None:
    create(scene)
    arn = start(scene, Threshold="0.25")
    scene.server.tick()
    scene.advance(minutes=20)
    done = steps(scene, arn)
    assert list(done) == ["Process", "Train", "Evaluate", "Better", "Refuse"]
    assert done["Better"]["Metadata"]["Condition"]["Outcome"] == "False"
    assert done["Refuse"]["FailureReason"] == "not better than 0.25"
    described = scene.sm.describe_pipeline_execution(PipelineExecutionArn=arn)
    assert described["PipelineExecutionStatus"] == "Failed"
    assert "[Refuse]" in described["FailureReason"]
    assert statuses(scene)[-1] == ("Executing", "Failed")
    assert scene.sm.list_model_packages()["ModelPackageSummaryList"] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "AlgorithmError: could not train, exit code: 1"),
        (("--tell",), "AlgorithmError: the channel is empty, exit code: 1"),
    ],
)
def test_a_step_that_fails_ends_the_execution_and_tells_why(scene: Any, arguments: Any, reason: str) -> None:
    create(scene, train="fail.py", arguments=arguments)
    arn = start(scene)
    scene.server.tick()
    scene.advance(minutes=20)
    done = steps(scene, arn)
    assert list(done) == ["Process", "Train"]
    assert done["Train"]["FailureReason"] == reason
    assert scene.sm.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Failed"
    name = done["Train"]["Metadata"]["TrainingJob"]["Arn"].split("/")[1]
    job = scene.sm.describe_training_job(TrainingJobName=name)
    assert (job["TrainingJobStatus"], job["FailureReason"]) == ("Failed", reason)
    assert scene.server.job_log(name).read_text() == "a line of output\ncould not train\n"


def test_input_that_is_not_there_fails_the_step(scene: Any) -> None:
    create(scene)
    arn = start(scene, Data=f"s3://{scene.bucket}/dat")  # no folder of this name, though two begin so
    scene.server.tick()
    scene.advance(minutes=20)
    assert steps(scene, arn)["Process"]["FailureReason"].startswith("ClientError: No S3 objects found under S3 URL")


def test_a_token_starts_one_execution(scene: Any) -> None:
    create(scene)
    arn = start(scene)
    scene.server.tick()
    scene.restart()
    assert start(scene) == arn
    with pytest.raises(ClientError) as raised:
        start(scene, Threshold="2")
    assert raised.value.response["Error"]["Code"] == "ConflictException"
    other = start(scene, token="u" * 32)
    assert other != arn
    listed = scene.sm.list_pipeline_executions(PipelineName="retrain")["PipelineExecutionSummaries"]
    assert [each["PipelineExecutionArn"] for each in listed] == [other, arn]
    with pytest.raises(ClientError) as raised:
        start(scene, token="t" * 129)
    assert "less than or equal to 128" in raised.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"Colour": "red"}, "Unknown parameters ['Colour']"), ({"Share": "half"}, "of type Integer")],
)
def test_wrong_parameters_are_refused(scene: Any, parameters: dict[str, str], words: str) -> None:
    create(scene)
    with pytest.raises(ClientError) as raised:
        start(scene, **parameters)
    assert raised.value.response["Error"]["Code"] == "ValidationException"
    assert words in raised.value.response["Error"]["Message"]
    with pytest.raises(ClientError, match=r"\['Code', 'Data', 'Output'\] have no default"):
        scene.sm.start_pipeline_execution(PipelineName="retrain", ClientRequestToken=TOKEN)
    assert scene.sm.list_pipeline_executions(PipelineName="retrain")["PipelineExecutionSummaries"] == []


def test_a_definition_that_cannot_run_here_is_refused_at_creation(scene: Any) -> None:
    wrong = {"Version": "2020-12-01", "Steps": [{"Name": "Wait", "Type": "Callback", "Arguments": {}}]}
    with pytest.raises(ClientError) as raised:
        scene.sm.create_pipeline(
            PipelineName="p", PipelineDefinition=json.dumps(wrong), RoleArn=ROLE, ClientRequestToken=TOKEN
        )
    error = raised.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert "Step [Wait]: type Callback is not supported" in error["Message"]


class KilledInTraining(Jobs):
    """Stops like a killed process when the training job begins."""

    def training(self, job_name: str, request: Any) -> Any:
        raise KeyboardInterrupt


class KillingRunner(PipelineRunner):
    """Runs until the training step."""

    def __init__(self, world: Any, registry: Any, jobs: Jobs, s3: Any, duration: timedelta) -> None:
        super().__init__(
            world, registry, KilledInTraining(s3, world.store.folder, {"STAGE_OF_TEST": "unit"}), s3, duration
        )


def test_a_killed_execution_goes_on_with_its_first_unfinished_step(scene: Any) -> None:
    scene.runner = KillingRunner
    scene.restart()
    create(scene)
    arn = start(scene)
    with pytest.raises(KeyboardInterrupt):
        scene.server.tick()
    scene.s3.delete_object(Bucket=scene.bucket, Key="data/rows.csv")  # the first step could not be run again
    scene.runner = PipelineRunner
    scene.restart()
    scene.server.tick()
    scene.advance(minutes=20)
    assert {name: step["StepStatus"] for name, step in steps(scene, arn).items()} == dict.fromkeys(
        ["Process", "Train", "Evaluate", "Better", "Register"], "Succeeded"
    )
    assert statuses(scene) == [(None, "Executing"), ("Executing", "Succeeded")]
    assert len(scene.sm.list_model_packages()["ModelPackageSummaryList"]) == 1


def test_a_stopped_execution_takes_back_what_lay_ahead(scene: Any) -> None:
    create(scene)
    arn = start(scene)
    scene.server.tick()
    scene.advance(minutes=4)
    scene.sm.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=TOKEN)
    scene.advance(minutes=30)
    assert scene.sm.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Stopped"
    assert list(steps(scene, arn)) == ["Process"]
    assert scene.sm.list_model_packages()["ModelPackageSummaryList"] == []
    assert statuses(scene) == [(None, "Executing"), ("Executing", "Stopping"), ("Stopping", "Stopped")]
    assert scene.sent("SageMaker Model Package") == []


def test_in_the_background_the_stand_in_answers_while_a_step_runs(scene: Any) -> None:
    scene.runner = BackgroundRunner
    scene.restart()
    create(scene)
    gate = scene.folder / "gate"
    scene.put(
        "code/process.py",
        f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists():\n    time.sleep(0.05)\n" + PROCESS,
    )
    arn = start(scene)
    scene.server.tick()
    scene.advance(minutes=30)
    assert scene.sm.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Executing"
    scene.restart()  # the waiting job is stopped, and its step is not taken for a failure
    assert steps(scene, arn) == {}
    gate.touch()
    scene.server.tick()
    waiter = threading.Thread(target=scene.server.wait, args=(arn,))
    waiter.start()
    waiter.join(30)
    assert not waiter.is_alive()
    scene.server.tick()
    assert scene.sm.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Succeeded"
    assert statuses(scene) == [(None, "Executing"), ("Executing", "Succeeded")]


def test_script_mode_of_the_sdk_is_understood(scene: Any, tmp_path: Any) -> None:
    script = (
        "import json, os, pathlib, sys\n"
        "pathlib.Path(os.environ['SM_MODEL_DIR'], 'arguments').write_text(json.dumps(sys.argv[1:]))\n"
        "pathlib.Path(os.environ['SM_OUTPUT_DATA_DIR'], 'seen').write_text(os.environ['SM_HP_DEPTH'])\n"
    )
    source = scene.put("source/sourcedir.tar.gz", scene.archive({"train.py": script}))
    request = {
        "AlgorithmSpecification": {"TrainingImage": "sklearn", "TrainingInputMode": "File"},
        "HyperParameters": {
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": json.dumps(source),
            "depth": "3",
            "name": '"a b"',
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://{scene.bucket}/models/"},
    }
    done = Jobs(scene.s3, tmp_path, {}).training("job-1", request)
    assert done.model_artifacts == f"s3://{scene.bucket}/models/job-1/output/model.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(scene.read(done.model_artifacts))) as archive:
        arguments = archive.extractfile("arguments")
        assert arguments is not None
        assert json.load(arguments) == ["--depth", "3", "--name", "a b"]
    assert scene.read(f"s3://{scene.bucket}/models/job-1/output/output.tar.gz")


def test_a_manifest_names_the_objects_of_an_input(scene: Any, tmp_path: Any) -> None:
    scene.put("x/a/1.csv", "1")
    scene.put("x/b/2.csv", "2")
    scene.put("x/c/3.csv", "3")
    manifest = scene.put("manifest.json", json.dumps([{"prefix": f"s3://{scene.bucket}/x/"}, "a/1.csv", "c/3.csv"]))
    code = (
        "import os, pathlib; root = pathlib.Path(os.environ['ML_ROOT'], 'processing')\n"
        "names = sorted(path.relative_to(root / 'in').as_posix() for path in (root / 'in').rglob('*.csv'))\n"
        "(root / 'out' / 'names').write_text(' '.join(names))\n"
        "(root.parent / 'output/message').write_text('Completed: 2')"
    )
    request = {
        "AppSpecification": {"ContainerEntrypoint": ["python3", "-c", code]},
        "ProcessingInputs": [
            {"S3Input": {"S3Uri": manifest, "S3DataType": "ManifestFile", "LocalPath": "/opt/ml/processing/in"}}
        ],
        "ProcessingOutputConfig": {
            "Outputs": [{"S3Output": {"S3Uri": f"s3://{scene.bucket}/out", "LocalPath": "/opt/ml/processing/out"}}]
        },
    }
    assert Jobs(scene.s3, tmp_path, {}).processing("job-2", request).exit_message == "Completed: 2"
    assert scene.read(f"s3://{scene.bucket}/out/names") == b"a/1.csv c/3.csv"


SCOPE = Scope(
    {"P": 2, "Flag": True}, {"PipelineName": "p"}, {"A": {"L": [{"OutputName": "x.y", "V": [5, 6]}]}}, lambda *_: {}
)


@pytest.mark.parametrize(
    ("condition", "outcome"),
    [
        ({"Type": "LessThan", "LeftValue": get("Parameters.P"), "RightValue": 2}, False),
        ({"Type": "GreaterThanOrEqualTo", "LeftValue": get("Parameters.P"), "RightValue": 2}, True),
        ({"Type": "GreaterThan", "LeftValue": 3, "RightValue": get("Parameters.P")}, True),
        ({"Type": "In", "QueryValue": get("Parameters.P"), "Values": [1, 2]}, True),
        (
            {
                "Type": "Not",
                "Expression": {"Type": "Equals", "LeftValue": "p", "RightValue": get("Execution.PipelineName")},
            },
            False,
        ),
        (
            {
                "Type": "Or",
                "Conditions": [
                    {"Type": "Equals", "LeftValue": 1, "RightValue": 2},
                    {"Type": "Equals", "LeftValue": 2, "RightValue": 2},
                ],
            },
            True,
        ),
    ],
)
def test_conditions(condition: dict[str, Any], outcome: bool) -> None:
    assert holds(condition, SCOPE) is outcome


def test_references() -> None:
    assert resolve(get("Steps.A.L['x.y'].V[1]"), SCOPE) == 6
    assert resolve({"a": [join("x", get("Parameters.Flag"), get("Parameters.P"), on="-")]}, SCOPE) == {
        "a": ["x-true-2"]
    }
    with pytest.raises(DefinitionError, match="there is no Missing"):
        resolve(get("Steps.A.Missing"), SCOPE)
    with pytest.raises(DefinitionError, match="must be a number, got str"):
        holds({"Type": "LessThan", "LeftValue": "2", "RightValue": 3}, SCOPE)


@pytest.mark.parametrize(
    ("steps_", "words"),
    [
        (
            [{"Name": "A", "Type": "Fail", "DependsOn": ["B"]}, {"Name": "B", "Type": "Fail", "DependsOn": ["A"]}],
            "circle",
        ),
        ([{"Name": "A", "Type": "Fail", "Arguments": {"ErrorMessage": get("Parameters.X")}}], "refers to Parameters.X"),
        ([{"Name": "A", "Type": "Fail"}, {"Name": "A", "Type": "Fail"}], "unique"),
        ([{"Name": "A", "Type": "Condition", "Arguments": {"Conditions": [{"Type": "Between"}]}}], "condition Between"),
        ([], "no steps"),
    ],
)
def test_definitions_that_are_refused(steps_: list[Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        parse(json.dumps({"Version": "2020-12-01", "Steps": steps_}))


def test_a_job_that_is_stopped_before_its_process_runs_ends_at_once(tmp_path: Any) -> None:
    """It may still fetch its inputs; whoever closes the emulator would wait for it for ever."""
    jobs = Jobs(None, tmp_path, {})
    jobs.stop("late")
    sleeping = {
        "AppSpecification": {"ImageUri": "x", "ContainerEntrypoint": ["python", "-c", "import time; time.sleep(600)"]}
    }
    with pytest.raises(JobError):
        jobs.processing("late", sleeping)
