"""Runs the executions of a pipeline: every step for real, one after the other, with its place on the logical clock.

Step i of n (in running order, all branches counted) takes the i-th n-th of the execution's logical duration, so the
times are known before anything has run. A step's result (a model package, a job) exists from the step's logical end,
although the work may be done long before. Each finished step is stored at once: after a kill the execution continues
with the first step that is not stored. Not here: the HTTP API.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.records.times import iso
from emulator.pipeline_definition import Definition, DefinitionError, Scope, Step, holds, parse, resolve, text, walk
from emulator.pipeline_jobs import JobError, Jobs, split_uri
from emulator.sagemaker_events import World
from emulator.sagemaker_registry import Registry
from emulator.sagemaker_shapes import ApiError, check_input
from emulator.sagemaker_state import Document, identifier, moment, sortable

_REQUESTS = {
    "Processing": "CreateProcessingJob",
    "Training": "CreateTrainingJob",
    "RegisterModel": "CreateModelPackage",
    "Model": "CreateModel",
}


class Interrupted(Exception):
    """The emulator is closing while a job runs: nothing of the step is kept, the next start runs it again."""


class PipelineRunner:
    """Runs executions inside `start_waiting` (the calm, repeatable way). Override `launch` for another way."""

    def __init__(self, world: World, registry: Registry, jobs: Jobs, s3: Any, duration: timedelta) -> None:
        """`duration` is the logical time from an execution's start to its end."""
        self._world = world
        self._store = world.store
        self._registry = registry
        self._jobs = jobs
        self._s3 = s3
        self._duration = duration
        self._lock = threading.Lock()
        self._closing = False
        self._current: dict[str, str] = {}  # execution ARN -> name of the job that runs now
        # What a killed process left unfinished is found here and run again.
        kept = self._store.all("execution")
        self._waiting = [each["PipelineExecutionArn"] for each in kept if not each["FinalStatus"]]

    def submit(self, arn: str) -> None:
        """Let the execution be run by the next `start_waiting`."""
        with self._lock:
            self._waiting.append(arn)

    def start_waiting(self) -> None:
        """Launch every submitted execution, in the order of submission."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for arn in waiting:
            self.launch(arn)

    def launch(self, arn: str) -> None:
        """Run one execution to its end before returning."""
        self.run(arn)

    def wait(self, arn: str) -> None:
        """Return when the real work of an execution is done (here: run it now if it still waits)."""
        with self._lock:
            here = arn in self._waiting
            if here:
                self._waiting.remove(arn)
        if here:
            self.launch(arn)

    def close(self) -> None:
        """End background work."""

    def stop(self, arn: str) -> None:
        """End the job that an execution is running; its record must say Stopped before."""
        with self._lock:
            job = self._current.get(arn)
        if job is not None:
            self._jobs.stop(job)

    def run(self, arn: str) -> None:
        """Run the steps that are not kept yet, then keep the final status and its event."""
        execution = self._execution(arn)
        definition = parse(execution["Definition"])
        begun = moment(execution["CreationTime"])
        share = self._duration / len(definition.steps)
        status, reason, ended = "Succeeded", "", begun + self._duration
        for number, step in enumerate(definition.steps):
            execution = self._execution(arn)
            if execution["FinalStatus"]:
                return
            kept = {each["StepName"]: each for each in execution["Steps"]}
            if step.name not in kept:
                if not _reached(step, kept):
                    continue
                kept[step.name] = self._run_step(
                    execution, definition, step, begun + number * share, begun + (number + 1) * share
                )
            if kept[step.name]["StepStatus"] == "Failed":
                status, ended = "Failed", begun + (number + 1) * share
                reason = f"Step failure: One or multiple steps failed: [{step.name}]"
                break
        with self._store.transaction():
            execution = self._execution(arn)
            if not execution["FinalStatus"]:
                execution.update(FinalStatus=status, FailureReason=reason, FinishedAt=sortable(ended))
                self._store.put("execution", arn, execution)
                event = self._world.events.pipeline_execution(execution, status, "Executing", ended)
                self._store.schedule(ended, event, arn)

    def _execution(self, arn: str) -> Document:
        execution = self._store.get("execution", arn)
        if execution is None:
            raise LookupError(f"pipeline execution {arn} is not in the store")
        return execution

    def _run_step(
        self, execution: Document, definition: Definition, step: Step, start: datetime, end: datetime
    ) -> Document:
        arn = execution["PipelineExecutionArn"]
        record: Document = {
            "StepName": step.name,
            "StartTime": sortable(start),
            "EndTime": sortable(end),
            "StepStatus": "Succeeded",
            "AttemptCount": 1,
            "Metadata": {},
            "Result": {},
        }
        finish: Callable[[], None] | None = None
        try:
            scope = self._scope(execution, definition)
            finish = self._do(execution, step, scope, record, start, end)
        except (JobError, DefinitionError) as error:
            record.update(StepStatus="Failed", FailureReason=str(error))
        except ApiError as error:
            record.update(StepStatus="Failed", FailureReason=f"ClientError: {error.message}")
        except ClientError as error:
            record.update(StepStatus="Failed", FailureReason=_refusal(error))
        # The step and what it made are kept together: a repeated run never registers a model twice.
        with self._store.transaction():
            latest = self._execution(arn)
            if not latest["FinalStatus"]:
                if finish is not None:
                    finish()
                latest["Steps"].append(record)
                self._store.put("execution", arn, latest)
        return record

    def _do(
        self, execution: Document, step: Step, scope: Scope, record: Document, start: datetime, end: datetime
    ) -> Callable[[], None] | None:
        """Do a step's work, fill its record, and return what is to be kept in the transaction that keeps the record."""
        owner = execution["PipelineExecutionArn"]
        if step.kind == "Condition":
            outcome = all([holds(each, scope) for each in step.arguments["Conditions"]])
            record["Metadata"] = {"Condition": {"Outcome": str(outcome)}}
            record["Result"] = {"Outcome": str(outcome)}
            return None
        arguments = resolve(dict(step.arguments), scope)
        if step.kind == "Fail":
            message = text(arguments.get("ErrorMessage", ""))
            record.update(StepStatus="Failed", FailureReason=message, Metadata={"Fail": {"ErrorMessage": message}})
            return None
        name = _job_name(owner, step.name)
        key = {"Processing": "ProcessingJobName", "Training": "TrainingJobName", "Model": "ModelName"}.get(step.kind)
        if key is not None:
            arguments = {**arguments, key: name}
        check_input(_REQUESTS[step.kind], _texts(arguments))
        if step.kind == "RegisterModel":
            return self._register(arguments, record, end, owner)
        if step.kind == "Model":
            return self._create_model(arguments, record)
        return self._run_job(step.kind, arguments, record, start, end, owner)

    def _register(self, arguments: Document, record: Document, end: datetime, owner: str) -> Callable[[], None]:
        request = check_input("CreateModelPackage", _texts(arguments))

        def keep() -> None:
            package = self._registry.register(request, end, owner)
            record["Metadata"] = {"RegisterModel": {"Arn": package["ModelPackageArn"]}}
            record["Result"] = package

        return keep

    def _create_model(self, arguments: Document, record: Document) -> Callable[[], None]:
        request = check_input("CreateModel", _texts(arguments))

        def keep() -> None:
            model = self._registry.create_model(request)
            record["Metadata"] = {"Model": {"Arn": model["ModelArn"]}}
            record["Result"] = model

        return keep

    def _run_job(
        self, kind: str, arguments: Document, record: Document, start: datetime, end: datetime, owner: str
    ) -> Callable[[], None]:
        noun = f"{kind}Job"
        name = arguments[f"{noun}Name"]
        arn = self._world.arn(f"{kind.lower()}-job", name.lower())
        record["Metadata"] = {noun: {"Arn": arn}}
        description = {
            **arguments,
            f"{noun}Arn": arn,
            f"{noun}Status": "Completed",
            "CreationTime": sortable(start),
            f"{kind}StartTime": sortable(start),
            f"{kind}EndTime": sortable(end),
            "LastModifiedTime": sortable(end),
        }
        with self._lock:
            if self._closing:
                raise Interrupted(owner)
            self._current[owner] = name
        try:
            if kind == "Processing":
                done = self._jobs.processing(name, arguments)
                if done.exit_message:
                    description["ExitMessage"] = done.exit_message
            else:
                done = self._jobs.training(name, arguments)
                description["ModelArtifacts"] = {"S3ModelArtifacts": done.model_artifacts}
        except (JobError, ClientError) as error:
            if self._closing:
                raise Interrupted(owner) from error
            reason = str(error) if isinstance(error, JobError) else _refusal(error)
            description.update({f"{noun}Status": "Failed", "FailureReason": reason})
            record.update(StepStatus="Failed", FailureReason=reason)
        finally:
            with self._lock:
                del self._current[owner]
        record["Result"] = description
        return lambda: self._keep_job(kind, description, end, owner)

    def _keep_job(self, kind: str, description: Document, end: datetime, owner: str) -> None:
        if kind == "Processing":
            self._registry.put_processing_job(description, end, owner)
        else:
            self._registry.put_training_job(description)

    def _scope(self, execution: Document, definition: Definition) -> Scope:
        arn = execution["PipelineExecutionArn"]
        results = {each["StepName"]: each["Result"] for each in execution["Steps"]}
        files = {step.name: step.property_files for step in definition.steps}

        def property_file(step_name: str, file_name: str) -> Any:
            if file_name not in files.get(step_name, {}) or step_name not in results:
                raise DefinitionError(f"Step [{step_name}] has no property file {file_name}, or did not run")
            output, path = files[step_name][file_name]
            folder = walk(results[step_name], f"ProcessingOutputConfig.Outputs['{output}'].S3Output.S3Uri")
            bucket, key = split_uri(f"{folder.rstrip('/')}/{path}")
            try:
                return json.loads(self._s3.get_object(Bucket=bucket, Key=key)["Body"].read())
            except ValueError:
                raise DefinitionError(f"Step [{step_name}]: property file {path} is not JSON") from None

        started = iso(moment(execution["CreationTime"]))
        variables = {
            "PipelineExecutionId": arn.rpartition("/")[2],
            "PipelineExecutionArn": arn,
            "PipelineName": execution["PipelineName"],
            "PipelineArn": execution["PipelineArn"],
            "StartDateTime": started,
            "CurrentDateTime": started,
        }
        return Scope(execution["ParameterValues"], variables, results, property_file)


class BackgroundRunner(PipelineRunner):
    """The same in one background thread: executions run one after the other while the emulator goes on answering."""

    def __init__(self, world: World, registry: Registry, jobs: Jobs, s3: Any, duration: timedelta) -> None:
        super().__init__(world, registry, jobs, s3, duration)
        self._pool = ThreadPoolExecutor(1, "pipeline")
        self._running: dict[str, Future[None]] = {}

    def launch(self, arn: str) -> None:
        """Queue the execution for the thread."""
        self._running[arn] = self._pool.submit(self.run, arn)

    def wait(self, arn: str) -> None:
        """Return when the execution's real work is done; an error of the runner itself is raised here."""
        super().wait(arn)
        if arn in self._running:
            self._running[arn].result()

    def close(self) -> None:
        """Stop the job that runs now and wait for the thread; the next start runs its step again."""
        with self._lock:
            self._closing = True
            jobs = list(self._current.values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for job in jobs:
            self._jobs.stop(job)
        self._pool.shutdown(wait=True)


def _refusal(error: ClientError) -> str:
    return f"ClientError: {error.operation_name} was refused: {error.response.get('Error', {}).get('Code', '')}"


def _reached(step: Step, kept: dict[str, Document]) -> bool:
    """Whether the step is to run: its branch was taken and everything that it needs has run."""
    if step.branch is not None:
        condition = kept.get(step.branch[0])
        if condition is None or condition["Result"].get("Outcome") != step.branch[1]:
            return False
    return step.needs <= kept.keys()


def _job_name(execution_arn: str, step: str) -> str:
    execution = execution_arn.rpartition("/")[2]
    return f"pipelines-{execution}-{step[:25].replace('_', '-')}-{identifier(10, execution_arn, step)}"


def _texts(value: Any) -> Any:
    """Numbers and booleans that references put where the API wants text (environment, arguments, hyperparameters)."""
    if isinstance(value, list):
        return [_texts(each) for each in value]
    if not isinstance(value, dict):
        return value
    out = {key: _texts(each) for key, each in value.items()}
    for name in ("Environment", "HyperParameters", "CustomerMetadataProperties"):
        if isinstance(out.get(name), dict):
            out[name] = {key: text(each) for key, each in out[name].items()}
    for name in ("ContainerArguments", "ContainerEntrypoint"):
        if isinstance(out.get(name), list):
            out[name] = [text(each) for each in out[name]]
    return out
