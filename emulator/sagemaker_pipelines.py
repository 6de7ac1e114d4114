"""The pipeline operations of the SageMaker emulator: pipelines, executions, steps as the logical clock shows them.

Applies AWS's rules for names, tokens and parameters. Not here: how a step is run (pipeline_runner.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from emulator.pipeline_definition import DefinitionError, parse, text
from emulator.pipeline_runner import PipelineRunner
from emulator.sagemaker_events import World
from emulator.sagemaker_registry import page
from emulator.sagemaker_shapes import ApiError, invalid, not_found
from emulator.sagemaker_state import Document, identifier, moment, sortable


class Pipelines:
    """Pipelines and their executions."""

    def __init__(self, world: World, runner: PipelineRunner, read_object: Callable[[str, str], str]) -> None:
        """`read_object` gives the text of (bucket, key), for definitions that lie in S3."""
        self._world = world
        self._store = world.store
        self._runner = runner
        self._read_object = read_object

    # Pipelines

    def create_pipeline(self, request: Document) -> Document:
        """CreatePipeline: the definition is read and checked; a step that cannot be run here is refused at once."""
        name = request["PipelineName"]
        with self._store.transaction():
            token = self._store.get("pipeline-token", request["ClientRequestToken"])
            if token == {"Request": request}:
                return self._pipeline(name)
            if self._store.get("pipeline", name):
                raise invalid(
                    "Pipeline names must be unique within an AWS account and region. "
                    f"Pipeline with name ({name}) already exists."
                )
            now = self._world.time()
            pipeline = {
                "PipelineName": name,
                "PipelineArn": self._world.arn("pipeline", name),
                "PipelineDisplayName": request.get("PipelineDisplayName", name),
                "PipelineDescription": request.get("PipelineDescription"),
                "PipelineDefinition": self._definition(request),
                "RoleArn": request["RoleArn"],
                "ParallelismConfiguration": request.get("ParallelismConfiguration"),
                "PipelineStatus": "Active",
                "CreationTime": now,
                "LastModifiedTime": now,
            }
            self._store.put("pipeline", name, pipeline)
            self._store.put("pipeline-token", request["ClientRequestToken"], {"Request": request})
        return pipeline

    def update_pipeline(self, request: Document) -> Document:
        """UpdatePipeline: running executions keep the definition that they started with."""
        with self._store.transaction():
            pipeline = self._pipeline(request["PipelineName"])
            if "PipelineDefinition" in request or "PipelineDefinitionS3Location" in request:
                pipeline["PipelineDefinition"] = self._definition(request)
            for name in ("PipelineDisplayName", "PipelineDescription", "RoleArn", "ParallelismConfiguration"):
                if name in request:
                    pipeline[name] = request[name]
            pipeline["LastModifiedTime"] = self._world.time()
            self._store.put("pipeline", pipeline["PipelineName"], pipeline)
        return pipeline

    def describe_pipeline(self, request: Document) -> Document:
        """DescribePipeline."""
        return self._pipeline(request["PipelineName"])

    def _definition(self, request: Document) -> str:
        if "PipelineDefinitionS3Location" in request:
            where = request["PipelineDefinitionS3Location"]
            definition = self._read_object(where["Bucket"], where["ObjectKey"])
        else:
            definition = request.get("PipelineDefinition", "")
        try:
            parse(definition)
        except DefinitionError as error:
            raise invalid(f"Unable to parse pipeline definition. {error}") from error
        return definition

    def _pipeline(self, name_or_arn: str) -> Document:
        name = name_or_arn.rpartition("/")[2]
        pipeline = self._store.get("pipeline", name)
        if pipeline is None:
            raise not_found(f"Pipeline '{self._world.arn('pipeline', name)}' does not exist.")
        return pipeline

    # Executions

    def start_pipeline_execution(self, request: Document) -> Document:
        """StartPipelineExecution: a token that was used gives the same execution; work begins at the next tick."""
        if "SelectiveExecutionConfig" in request:
            raise invalid("Selective execution is not supported by this emulator.")
        with self._store.transaction():
            pipeline = self._pipeline(request["PipelineName"])
            token = f"{pipeline['PipelineName']}/{request['ClientRequestToken']}"
            used = self._store.get("execution-token", token)
            if used is not None:
                if used["Request"] != request:
                    raise ApiError("ConflictException", "The ClientRequestToken was used with a different request.")
                return {"PipelineExecutionArn": used["PipelineExecutionArn"]}
            given = request.get("PipelineParameters", [])
            values = {each["Name"]: each["Value"] for each in given}
            if len(values) != len(given):
                raise invalid("A pipeline parameter is given more than once.")
            try:
                resolved = parse(pipeline["PipelineDefinition"]).values(values)
            except DefinitionError as error:
                raise invalid(f"{error}.") from error
            now = self._world.now()
            number = identifier(12, pipeline["PipelineArn"], request["ClientRequestToken"])
            arn = f"{pipeline['PipelineArn']}/execution/{number}"
            execution = {
                "PipelineName": pipeline["PipelineName"],
                "PipelineArn": pipeline["PipelineArn"],
                "PipelineExecutionArn": arn,
                "PipelineExecutionDisplayName": request.get(
                    "PipelineExecutionDisplayName", f"execution-{int(now.timestamp() * 1000)}"
                ),
                "PipelineExecutionDescription": request.get("PipelineExecutionDescription", ""),
                "ParallelismConfiguration": request.get("ParallelismConfiguration"),
                "CreationTime": sortable(now),
                "Definition": pipeline["PipelineDefinition"],
                "ParameterValues": resolved,
                "Steps": [],
                "FinalStatus": "",
                "FailureReason": "",
                "FinishedAt": "",
            }
            self._store.put("execution", arn, execution)
            self._store.put("execution-token", token, {"Request": request, "PipelineExecutionArn": arn})
            self._store.put("pipeline", pipeline["PipelineName"], {**pipeline, "LastRunTime": sortable(now)})
            event = self._world.events.pipeline_execution(execution, "Executing", None, now)
            self._store.schedule(now, event, arn)
        self._runner.submit(arn)
        return {"PipelineExecutionArn": arn}

    def describe_pipeline_execution(self, request: Document) -> Document:
        """DescribePipelineExecution: Executing until the logical end, whenever the work was done."""
        return _view(self._execution(request["PipelineExecutionArn"]), self._world.now())

    def list_pipeline_executions(self, request: Document) -> Document:
        """ListPipelineExecutions, newest first unless asked otherwise."""
        arn = self._pipeline(request["PipelineName"])["PipelineArn"]
        now = self._world.now()
        found = []
        for execution in self._store.all("execution"):
            created = execution["CreationTime"]
            if (
                execution["PipelineArn"] == arn
                and created >= request.get("CreatedAfter", "")
                and created <= request.get("CreatedBefore", created)
            ):
                view = _view(execution, now)
                found.append(
                    {**view, "StartTime": created, "PipelineExecutionFailureReason": view.get("FailureReason")}
                )
        return page(found, request, "PipelineExecutionSummaries", time="StartTime")

    def list_pipeline_execution_steps(self, request: Document) -> Document:
        """ListPipelineExecutionSteps: the steps that have begun on the logical clock, newest first unless asked."""
        execution = self._execution(request.get("PipelineExecutionArn", ""))
        now = self._world.now()
        steps = [
            step
            if moment(step["EndTime"]) <= now
            else {
                "StepName": step["StepName"],
                "StartTime": step["StartTime"],
                "StepStatus": "Executing",
                "Metadata": {},
            }
            for step in execution["Steps"]
            if moment(step["StartTime"]) <= now
        ]
        return page(steps, request, "PipelineExecutionSteps", time="StartTime")

    def list_pipeline_parameters_for_execution(self, request: Document) -> Document:
        """ListPipelineParametersForExecution: every parameter with the value that the execution runs with."""
        values = self._execution(request["PipelineExecutionArn"])["ParameterValues"]
        return {"PipelineParameters": [{"Name": name, "Value": text(value)} for name, value in sorted(values.items())]}

    def stop_pipeline_execution(self, request: Document) -> Document:
        """StopPipelineExecution: Stopped at once; what steps would have made after now is taken back."""
        arn = request["PipelineExecutionArn"]
        with self._store.transaction():
            execution, now = self._execution(arn), self._world.now()
            status = _view(execution, now)["PipelineExecutionStatus"]
            if status != "Executing":
                raise invalid(f"Pipeline execution with ARN {arn} is {status}; only an Executing one can be stopped.")
            for step in execution["Steps"]:
                package = step["Result"].get("ModelPackageArn")
                if package and moment(step["EndTime"]) > now:
                    self._store.delete("model-package", package)
            execution["Steps"] = [step for step in execution["Steps"] if moment(step["EndTime"]) <= now]
            execution.update(FinalStatus="Stopped", FailureReason="", FinishedAt=sortable(now))
            self._store.put("execution", arn, execution)
            self._store.cancel(arn, now)
            for status, previous in (("Stopping", "Executing"), ("Stopped", "Stopping")):
                event = self._world.events.pipeline_execution(execution, status, previous, now)
                self._store.schedule(now, event, arn)
        self._runner.stop(arn)
        return {"PipelineExecutionArn": arn}

    def _execution(self, arn: str) -> Document:
        execution = self._store.get("execution", arn)
        if execution is None:
            raise not_found(f"Pipeline execution '{arn}' does not exist.")
        return execution


def _view(execution: Document, now: datetime) -> Document:
    """The execution's description at `now`."""
    ended = bool(execution["FinalStatus"]) and moment(execution["FinishedAt"]) <= now
    view = {
        **execution,
        "PipelineExecutionStatus": execution["FinalStatus"] if ended else "Executing",
        "LastModifiedTime": execution["FinishedAt"] if ended else execution["CreationTime"],
    }
    if not (ended and execution["FailureReason"]):
        del view["FailureReason"]
    return view
