"""The reference retraining pipeline, as SageMaker pipeline definition JSON.

    python -m pipelines.retraining            write pipelines/retraining.json
    python -m pipelines.retraining --check    compare with the committed file, exit 1 with a diff

Defines the steps, their files and the parameters. Not here: any account, region, role, image or
bucket: every one is a parameter, so the same JSON is created in every account. Needs the SageMaker SDK
(pipelines/requirements.txt, its own environment), but no AWS account and no network: nothing is created here.

Process -> Train -> Evaluate -> ChallengerIsBetter -> TrainServing -> RegisterChallenger. Train gives the model that
passes the gate, TrainServing the same on all labelled windows: that one is registered, the other is in its package's
metadata. The condition has no else branch: a refused challenger is a normal outcome, the execution Succeeds and
registers nothing.

What the SDK (3.27.0) cannot say, and what is done instead:
- A training role that is a parameter (ModelTrainer.role must be plain text), and a training entry point without
  uploading the SDK's driver scripts to S3 while building: both are set on the finished definition (`_complete`).
- An absent experiment or MLflow configuration: the SDK may write it as null, which is removed.
"""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

COMMITTED = Path(__file__).with_name("retraining.json")
CODE = "/opt/ml/processing/input/code"
TRAINING_CODE = "/opt/ml/input/data/code"
MANIFEST = "/opt/ml/processing/input/manifest"
SECONDS = 3600  # per job: far above what 26 windows need, far below the default of a day


def definition() -> dict[str, Any]:
    """Build the pipeline with the SDK and return its definition, stable in every order."""
    _stay_offline()
    import boto3
    from sagemaker.core.model_metrics import MetricsSource, ModelMetrics
    from sagemaker.core.processing import ProcessingInput, ProcessingOutput, Processor
    from sagemaker.core.shapes import ProcessingS3Input, ProcessingS3Output
    from sagemaker.core.workflow.conditions import ConditionLessThan
    from sagemaker.core.workflow.functions import Join, JsonGet
    from sagemaker.core.workflow.parameters import ParameterString
    from sagemaker.core.workflow.pipeline_context import PipelineSession
    from sagemaker.core.workflow.properties import PropertyFile
    from sagemaker.mlops.workflow.condition_step import ConditionStep
    from sagemaker.mlops.workflow.model_step import ModelStep
    from sagemaker.mlops.workflow.pipeline import Pipeline
    from sagemaker.mlops.workflow.steps import ProcessingStep, TrainingStep
    from sagemaker.serve.model_builder import ModelBuilder
    from sagemaker.train.configs import Compute, InputData, OutputDataConfig, StoppingCondition
    from sagemaker.train.model_trainer import ModelTrainer

    session = PipelineSession(boto_session=boto3.Session(), default_bucket="offline")

    def parameter(name: str, default: str | None = None) -> Any:
        return ParameterString(name=name, default_value=default)

    manifest_uri, output_uri, code_uri = parameter("ManifestUri"), parameter("OutputUri"), parameter("CodeUri")
    processing_image, training_image = parameter("ProcessingImageUri"), parameter("TrainingImageUri")
    role, decision_id = parameter("RoleArn"), parameter("DecisionId")
    instance_type = parameter("InstanceType", "ml.m5.large")
    group = parameter("ModelPackageGroupName")
    approval = parameter("ModelApprovalStatus", "PendingManualApproval")

    def under_output(*parts: str) -> Any:
        return Join(on="/", values=[output_uri, *parts])

    def read(name: str, uri: Any, local_path: str) -> ProcessingInput:
        return ProcessingInput(
            input_name=name,
            s3_input=ProcessingS3Input(
                s3_uri=uri, local_path=local_path, s3_data_type="S3Prefix", s3_input_mode="File"
            ),
        )

    def write(name: str, *parts: str) -> ProcessingOutput:
        return ProcessingOutput(
            output_name=name,
            s3_output=ProcessingS3Output(
                s3_uri=under_output(*parts), local_path=f"/opt/ml/processing/output/{name}", s3_upload_mode="EndOfJob"
            ),
        )

    def processor(script: str) -> Processor:
        return Processor(
            role=role, image_uri=processing_image, instance_count=1, instance_type=instance_type,
            entrypoint=["python3", f"{CODE}/{script}"], max_runtime_in_seconds=SECONDS, sagemaker_session=session,
        )  # fmt: skip

    process = ProcessingStep(
        name="Process",
        step_args=processor("process.py").run(
            inputs=[read("manifest", manifest_uri, MANIFEST), read("code", code_uri, CODE)],
            outputs=[
                write("train", "process", "train"),
                write("holdback", "process", "holdback"),
                write("serving", "process", "serving"),
                write("summary", "process", "summary"),
            ],
            arguments=["--decision-id", decision_id],
        ),
    )
    written = process.properties.ProcessingOutputConfig.Outputs

    def training(name: str, rows: str) -> TrainingStep:
        channels = [
            InputData(channel_name="train", data_source=written[rows].S3Output.S3Uri, content_type="text/csv"),
            InputData(channel_name="code", data_source=code_uri),
        ]
        trainer = ModelTrainer(
            sagemaker_session=session,
            role="arn:aws:iam::000000000000:role/replaced-below",
            training_image=training_image,
            base_job_name="retraining",
            compute=Compute(instance_type=instance_type, instance_count=1, volume_size_in_gb=30),
            stopping_condition=StoppingCondition(max_runtime_in_seconds=SECONDS),
            output_data_config=OutputDataConfig(s3_output_path=under_output(rows)),
            hyperparameters={"random_state": 0},
        )
        return TrainingStep(name=name, step_args=trainer.train(input_data_config=channels))

    train, serving = training("Train", "train"), training("TrainServing", "serving")
    model_data = train.properties.ModelArtifacts.S3ModelArtifacts

    evaluation_file = PropertyFile(name="Evaluation", output_name="evaluation", path="evaluation.json")
    evaluate = ProcessingStep(
        name="Evaluate",
        step_args=processor("evaluate.py").run(
            inputs=[
                read("manifest", manifest_uri, MANIFEST),
                read("code", code_uri, CODE),
                read("holdback", written["holdback"].S3Output.S3Uri, "/opt/ml/processing/input/holdback"),
                read("challenger", model_data, "/opt/ml/processing/input/challenger"),
            ],
            outputs=[write("evaluation", "evaluation")],
        ),
        property_files=[evaluation_file],
    )

    def baseline(name: str) -> MetricsSource:
        return MetricsSource(content_type="application/json", s3_uri=under_output("evaluation", f"model_{name}.json"))

    challenger = ModelBuilder(
        sagemaker_session=session,
        role_arn=role,
        image_uri=training_image,
        s3_model_data_url=serving.properties.ModelArtifacts.S3ModelArtifacts,
        dependencies={},  # the default makes the SDK look for a bucket to upload code to
        # SageMaker's scikit-learn serving contract: the handler lies in the archive itself.
        env_vars={"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"},
    )
    register = ModelStep(
        name="RegisterChallenger",
        step_args=challenger.register(
            model_package_group_name=group,
            content_types=["text/csv"],
            response_types=["text/csv"],
            approval_status=approval,
            model_metrics=ModelMetrics(model_statistics=baseline("metrics"), model_constraints=baseline("constraints")),
            customer_metadata_properties={
                "decision_id": decision_id,
                "evaluation_uri": under_output("evaluation", "evaluation.json"),
                "gate_model_data_url": model_data,
            },
        ),
    )

    def loss(path: str) -> Any:
        return JsonGet(step_name=evaluate.name, property_file=evaluation_file, json_path=path)

    better = ConditionStep(
        name="ChallengerIsBetter",
        conditions=[ConditionLessThan(left=loss("losses.challenger"), right=loss("best_incumbent"))],
        if_steps=[serving, register],
        else_steps=[],
    )
    pipeline = Pipeline(
        name="plumbline-retraining",
        parameters=[
            manifest_uri, output_uri, code_uri, processing_image, training_image, role, instance_type, group,
            approval, decision_id,
        ],
        pipeline_experiment_config=None,
        steps=[process, train, evaluate, better],
        sagemaker_session=session,
    )  # fmt: skip
    document: dict[str, Any] = json.loads(pipeline.definition())
    return _complete(document)


def text(document: dict[str, Any]) -> str:
    """The committed form: sorted keys, two spaces, one newline at the end."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the definition, or compare it with the committed one (`--check`)."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.retraining", description="Write pipelines/retraining.json."
    )
    parser.add_argument("--check", action="store_true", help="compare with the committed file instead of writing it")
    built = text(definition())
    if not parser.parse_args(arguments).check:
        COMMITTED.write_text(built, encoding="utf-8")
        print(f"wrote {COMMITTED}")
        return 0
    committed = COMMITTED.read_text(encoding="utf-8") if COMMITTED.exists() else ""
    difference = difflib.unified_diff(
        committed.splitlines(True), built.splitlines(True), f"committed {COMMITTED.name}", "built now"
    )
    sys.stdout.writelines(difference)
    return int(committed != built)


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    for unused in ("PipelineExperimentConfig", "MlflowConfig"):
        if document.get(unused) is None:
            document.pop(unused, None)
    (condition,) = (step["Arguments"] for step in document["Steps"] if step["Name"] == "ChallengerIsBetter")
    trained = [step["Arguments"] for step in (*document["Steps"], *condition["IfSteps"]) if step["Type"] == "Training"]
    for training in trained:
        training["RoleArn"] = {"Get": "Parameters.RoleArn"}
        training["AlgorithmSpecification"]["ContainerEntrypoint"] = ["python3", f"{TRAINING_CODE}/train.py"]
    return document


def _stay_offline() -> None:
    """Telemetry off, no look-up of roles, no configuration of the person who runs this."""
    configuration = Path(__file__).with_name("sdk-defaults.yaml")
    os.environ["SAGEMAKER_ADMIN_CONFIG_OVERRIDE"] = str(configuration)
    os.environ["SAGEMAKER_USER_CONFIG_OVERRIDE"] = str(configuration)
    os.environ["SAGEMAKER_VALIDATE_ROLE"] = "false"
    # Some SDK modules construct clients when they are imported; these values only let them, and reach nothing.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(AWS_DEFAULT_REGION="us-east-1", AWS_ACCESS_KEY_ID="offline", AWS_SECRET_ACCESS_KEY="offline")
    os.environ.update(
        AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull
    )
    warnings.filterwarnings("ignore", module="sagemaker|pydantic")
    logging.disable(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
