"""Model Monitor's schedules as one shape, whichever of its five job definitions a schedule has.

Source: the SageMaker API's DescribeMonitoringSchedule, Describe{DataQuality,ModelQuality,ModelBias,
ModelExplainability}JobDefinition, ListMonitoringExecutions and DescribeProcessingJob.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Protocol

import msgspec

from chalicelib.definition import MonitorType

_OPERATIONS: dict[MonitorType, str] = {
    "DataQuality": "describe_data_quality_job_definition",
    "ModelQuality": "describe_model_quality_job_definition",
    "ModelBias": "describe_model_bias_job_definition",
    "ModelExplainability": "describe_model_explainability_job_definition",
}
_INPUT = "/opt/ml/processing/input_data"
# An execution that ended in one of these has a report.
_DONE = ("Completed", "CompletedWithViolations")
_HOUR = re.compile(r"/\d{4}/\d\d/\d\d/\d\d/?$")


class Asker(Protocol):
    """The part of `Account` that is needed here."""

    def ask(self, service: str, operation: str, **request: Any) -> dict[str, Any]: ...


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A monitoring schedule with its job definition; "" and None: not given."""

    name: str
    monitor_type: MonitorType
    expression: str
    endpoint: str  # "": the schedule watches batch transforms
    output_uri: str
    problem_type: str = ""
    features_attribute: str | None = None
    inference_attribute: str | None = None
    probability_attribute: str | None = None
    probability_threshold: float | None = None
    excluded_features: str = ""
    start_offset: str = ""
    end_offset: str = ""
    ground_truth_uri: str = ""
    statistics_uri: str = ""
    constraints_uri: str = ""
    baselining_job: str = ""
    config_uri: str = ""
    scripts: tuple[str, ...] = ()


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """A past execution of a schedule: what it read, and where its report is. Times as AWS writes them, UTC."""

    scheduled: str
    status: str
    captures_uri: str  # captures or merged records; of several hours the folder above them
    is_several: bool
    report_uri: str
    start: str = ""
    end: str = ""


def names_of_all(account: Asker) -> list[str]:
    """The names of every monitoring schedule of the account's region."""
    summaries = account.ask("sagemaker", "list_monitoring_schedules")["MonitoringScheduleSummaries"]
    return sorted(each["MonitoringScheduleName"] for each in summaries)


def read_schedule(account: Asker, name: str) -> Schedule:
    """Describe a schedule and its job definition. Raises what `Account.ask` raises."""
    found = account.ask("sagemaker", "describe_monitoring_schedule", MonitoringScheduleName=name)
    config = found["MonitoringScheduleConfig"]
    # A definition within the schedule is the older way, and has no type: only data quality could be written so.
    kind: MonitorType = config.get("MonitoringType") or found.get("MonitoringType") or "DataQuality"
    inline = config.get("MonitoringJobDefinition")
    if inline is not None:
        (job_input, *_), output = inline["MonitoringInputs"], inline["MonitoringOutputConfig"]
        application, baseline = inline["MonitoringAppSpecification"], inline.get("BaselineConfig", {})
    else:
        job = account.ask("sagemaker", _OPERATIONS[kind], JobDefinitionName=config["MonitoringJobDefinitionName"])
        job_input, output = job[f"{kind}JobInput"], job[f"{kind}JobOutputConfig"]
        application, baseline = job[f"{kind}AppSpecification"], job.get(f"{kind}BaselineConfig", {})
    endpoint = job_input.get("EndpointInput", {})
    asked = endpoint or job_input.get("BatchTransformInput", {})
    return Schedule(
        name=found["MonitoringScheduleName"],
        monitor_type=kind,
        expression=config.get("ScheduleConfig", {}).get("ScheduleExpression", ""),
        endpoint=endpoint.get("EndpointName", ""),
        output_uri=output["MonitoringOutputs"][0]["S3Output"]["S3Uri"],
        problem_type=application.get("ProblemType", ""),
        features_attribute=asked.get("FeaturesAttribute"),
        inference_attribute=asked.get("InferenceAttribute"),
        probability_attribute=asked.get("ProbabilityAttribute"),
        probability_threshold=asked.get("ProbabilityThresholdAttribute"),
        excluded_features=asked.get("ExcludeFeaturesAttribute", ""),
        start_offset=asked.get("StartTimeOffset", ""),
        end_offset=asked.get("EndTimeOffset", ""),
        ground_truth_uri=job_input.get("GroundTruthS3Input", {}).get("S3Uri", ""),
        statistics_uri=baseline.get("StatisticsResource", {}).get("S3Uri", ""),
        constraints_uri=baseline.get("ConstraintsResource", {}).get("S3Uri", ""),
        baselining_job=baseline.get("BaseliningJobName", ""),
        config_uri=application.get("ConfigUri", ""),
        scripts=tuple(
            application[key]
            for key in ("RecordPreprocessorSourceUri", "PostAnalyticsProcessorSourceUri")
            if application.get(key)
        ),
    )


def past_executions(account: Asker, schedule: str, count: int) -> list[Execution]:
    """The newest executions of a schedule that have a report, newest first; at most `count`.

    An execution whose processing job says no longer where its input was is left out.
    """
    found = account.ask(
        "sagemaker",
        "list_monitoring_executions",
        MonitoringScheduleName=schedule,
        SortBy="ScheduledTime",
        SortOrder="Descending",
        # Failed ones are between them; not all that a schedule ever ran.
        PaginationConfig={"MaxItems": 10 * count, "PageSize": 100},
    )["MonitoringExecutionSummaries"]
    executions: list[Execution] = []
    for summary in found:
        if len(executions) == count:
            break
        if summary["MonitoringExecutionStatus"] in _DONE and summary.get("ProcessingJobArn"):
            name = summary["ProcessingJobArn"].rpartition("/")[2]
            job = account.ask("sagemaker", "describe_processing_job", ProcessingJobName=name)
            if execution := _execution(summary, job):
                executions.append(execution)
    return executions


def _execution(summary: Mapping[str, Any], job: Mapping[str, Any]) -> Execution | None:
    places = []
    for each in job.get("ProcessingInputs", []):
        source = each.get("S3Input", {})
        if str(source.get("LocalPath", "")).startswith(_INPUT):
            places.append(source["S3Uri"])
    outputs = job.get("ProcessingOutputConfig", {}).get("Outputs", [])
    above = {_HOUR.sub("", place) for place in places}
    if not outputs or len(above) != 1:
        return None
    environment = job.get("Environment", {})
    return Execution(
        scheduled=f"{summary['ScheduledTime'].astimezone(UTC):%Y-%m-%dT%H:%MZ}",
        status=summary["MonitoringExecutionStatus"],
        captures_uri=places[0] if len(places) == 1 else above.pop(),
        is_several=len(places) > 1,
        report_uri=outputs[0]["S3Output"]["S3Uri"],
        start=environment.get("start_time", ""),
        end=environment.get("end_time", ""),
    )
