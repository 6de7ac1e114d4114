"""An account with Model Monitor's schedules: the two published runs whose verdict is known, and others.

What the notebooks printed is as published (the schedule and the execution of churn, all violations and baselines); job
definitions and processing jobs are in the API's shape, and are held to botocore's model of it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

from chalicelib.errors import NotFoundError

RUNS = Path(__file__).parents[2] / "data" / "model-monitor-published-runs"
CHURN, BIAS = RUNS / "churn-2021-05-26", RUNS / "bias-drift-endpoint-json-2024-01"
CHURN_SCHEDULE, BIAS_SCHEDULE = "DEMO-xgb-churn-monitoring-schedule-2021-05-26-0030", "bias-drift"
CHURN_ENDPOINT, BIAS_ENDPOINT = "DEMO-xgb-churn-model-quality-monitor-2021-05-26-0014", "DEMO-census"
CENSUS = (
    *("Age", "Workclass", "fnlwgt", "Education", "Education-Num", "Marital Status", "Occupation", "Relationship"),
    *("Ethnic group", "Sex", "Capital Gain", "Capital Loss", "Hours per week", "Country"),
)
# Of the published run, recovered from its ratios: true negatives, false positives, false negatives, true positives.
CONFUSION = (434, 65, 1167, 151)

_models = botocore.session.get_session()


def arn(kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:us-west-2:123456789012:{kind}/{name.lower()}"


def place(name: str) -> dict[str, Any]:
    return {"S3Uri": f"s3://data/{name}"}


def outputs(name: str) -> dict[str, Any]:
    output = {"S3Uri": f"s3://data/{name}", "LocalPath": "/opt/ml/processing/output"}
    return {"MonitoringOutputs": [{"S3Output": output}]}


def schedule(name: str, monitor_type: str, expression: str = "cron(0 * ? * * *)", **more: Any) -> dict[str, Any]:
    """An answer of DescribeMonitoringSchedule."""
    config = {"ScheduleConfig": {"ScheduleExpression": expression}, "MonitoringType": monitor_type, **more}
    if "MonitoringJobDefinition" not in more:
        config["MonitoringJobDefinitionName"] = f"{name}-job"
    return {
        **{"MonitoringScheduleArn": arn("monitoring-schedule", name), "MonitoringScheduleName": name},
        **{"MonitoringScheduleStatus": "Scheduled", "MonitoringType": monitor_type},
        **{"MonitoringScheduleConfig": config},
        **{"CreationTime": datetime(2024, 1, 1, tzinfo=UTC), "LastModifiedTime": datetime(2024, 1, 1, tzinfo=UTC)},
    }


def job(monitor_type: str, name: str, application: Any, baseline: Any, job_input: Any, output: str) -> dict[str, Any]:
    """An answer of Describe…JobDefinition."""
    return {
        **{"JobDefinitionArn": arn("job-definition", name), "JobDefinitionName": name},
        "CreationTime": datetime(2024, 1, 1, tzinfo=UTC),
        f"{monitor_type}AppSpecification": {"ImageUri": "image", **application},
        f"{monitor_type}BaselineConfig": baseline,
        f"{monitor_type}JobInput": job_input,
        f"{monitor_type}JobOutputConfig": outputs(output),
        "JobResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}},
        "RoleArn": "arn:aws:iam::123456789012:role/monitor",
    }


def watched(endpoint: str, **more: Any) -> dict[str, Any]:
    return {"EndpointName": endpoint, "LocalPath": "/opt/ml/processing/input_data", **more}


def endpoint(name: str, *variants: str, capture: bool = True) -> dict[str, Any]:
    config = {
        **{"EnableCapture": True, "CaptureStatus": "Started", "CurrentSamplingPercentage": 100, "KmsKeyId": ""},
        "DestinationS3Uri": "s3://data/datacapture",
    }
    return {
        **{"EndpointName": name, "EndpointArn": arn("endpoint", name), "EndpointConfigName": name},
        **{"EndpointStatus": "InService", "ProductionVariants": [{"VariantName": each} for each in variants]},
        **({"DataCaptureConfig": config} if capture else {}),
        **{"CreationTime": datetime(2024, 1, 1, tzinfo=UTC), "LastModifiedTime": datetime(2024, 1, 1, tzinfo=UTC)},
    }


def processing(name: str, inputs: list[str], output: str, **environment: str) -> dict[str, Any]:
    """An answer of DescribeProcessingJob of an analysis; an input's last four parts are those of its hour."""
    sources = [
        {
            "InputName": f"endpoint_input_{number}",
            "S3Input": {
                **place(uri),
                "LocalPath": f"/opt/ml/processing/input_data/{'/'.join(uri.split('/')[-6:])}",
                "S3DataType": "S3Prefix",
            },
        }
        for number, uri in enumerate(inputs, 1)
    ]
    constraints = {**place("constraints"), "LocalPath": "/opt/ml/processing/baseline", "S3DataType": "S3Prefix"}
    result = {**place(output), "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}
    return {
        "ProcessingInputs": [{"InputName": "constraints", "S3Input": constraints}, *sources],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "result", "S3Output": result}]},
        **{"ProcessingJobName": name, "ProcessingJobArn": arn("processing-job", name)},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}
        },
        **{"ProcessingJobStatus": "Completed", "AppSpecification": {"ImageUri": "image"}},
        **{"Environment": environment, "CreationTime": datetime(2024, 1, 1, tzinfo=UTC)},
    }


def execution(name: str, scheduled: datetime, status: str = "CompletedWithViolations") -> dict[str, Any]:
    return {
        **{"MonitoringScheduleName": name, "ScheduledTime": scheduled, "MonitoringExecutionStatus": status},
        **{"CreationTime": scheduled, "LastModifiedTime": scheduled},
        "ProcessingJobArn": arn("processing-job", f"{name}-{scheduled:%Y%m%d%H%M}"),
    }


class FakeAccount:
    """Answers what `Account.ask` is asked, and holds both to botocore's model of the API."""

    def __init__(self) -> None:
        self.schedules: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.executions: dict[str, list[dict[str, Any]]] = {}
        self.processing: dict[str, dict[str, Any]] = {}
        self.alarms: list[dict[str, Any]] = []
        self.asked: list[str] = []

    def ask(self, service: str, operation: str, **request: Any) -> dict[str, Any]:
        self.asked.append(operation)
        paging = request.pop("PaginationConfig", {})
        name = "".join(part.capitalize() for part in operation.split("_"))
        model = _models.get_service_model(service).operation_model(name)
        answer = getattr(self, f"_{operation}", self._described)(**request)
        if paging:
            answer = {key: value[: paging["MaxItems"]] for key, value in answer.items()}
        for values, shape in ((request, model.input_shape), (answer, model.output_shape)):
            errors = ParamValidator().validate(values, shape)
            assert not errors.has_errors(), errors.generate_report()
        return answer

    def _described(self, **request: str) -> dict[str, Any]:
        (key, name), places = (
            *request.items(),
            {
                "MonitoringScheduleName": self.schedules,
                "JobDefinitionName": self.jobs,
                "EndpointName": self.endpoints,
                "ProcessingJobName": self.processing,
            },
        )
        if name not in places[key]:
            raise NotFoundError(f"Could not find {name}")
        return places[key][name]

    def _list_monitoring_schedules(self) -> dict[str, Any]:
        known = ("MonitoringScheduleName", "MonitoringScheduleArn", "MonitoringScheduleStatus")
        times = ("CreationTime", "LastModifiedTime")
        found = [{key: each[key] for key in (*known, *times)} for each in self.schedules.values()]
        return {"MonitoringScheduleSummaries": found}

    def _list_monitoring_executions(self, MonitoringScheduleName: str, **order: str) -> dict[str, Any]:
        assert order == {"SortBy": "ScheduledTime", "SortOrder": "Descending"}
        found = self.executions.get(MonitoringScheduleName, [])
        return {"MonitoringExecutionSummaries": sorted(found, key=lambda one: one["ScheduledTime"], reverse=True)}

    def _describe_alarms(self, **request: Any) -> dict[str, Any]:
        return {"MetricAlarms": self.alarms}


def add_churn(account: FakeAccount, objects: Any) -> None:
    """The churn run of 2021-05-26: its schedule, its execution and its violations as published."""
    found = json.loads((CHURN / "describe_monitoring_schedule.json").read_text())
    summary = json.loads((CHURN / "execution_summary.json").read_text())
    for document, keys in ((found, ("CreationTime", "LastModifiedTime")),
                           (summary, ("ScheduledTime", "CreationTime", "LastModifiedTime"))):  # fmt: skip
        document.update({key: datetime.fromisoformat(document[key]) for key in keys})
    account.schedules[CHURN_SCHEDULE] = found
    name = found["MonitoringScheduleConfig"]["MonitoringJobDefinitionName"]
    account.jobs[name] = job(
        "ModelQuality",
        name,
        {"ProblemType": "BinaryClassification"},
        {"ConstraintsResource": place("baseline/constraints.json")},
        {
            "EndpointInput": watched(CHURN_ENDPOINT, ProbabilityAttribute="0", ProbabilityThresholdAttribute=0.5),
            "GroundTruthS3Input": place("ground-truth"),
        },
        "reports",
    )
    account.endpoints[CHURN_ENDPOINT] = endpoint(CHURN_ENDPOINT, "AllTraffic")
    account.executions[CHURN_SCHEDULE] = [summary]
    merged = f"merge/{CHURN_ENDPOINT}/AllTraffic/2021/05/26/00"
    report = f"reports/{CHURN_ENDPOINT}/{CHURN_SCHEDULE}/2021/05/26/01"
    processing_name = summary["ProcessingJobArn"].rpartition("/")[2]
    account.processing[processing_name] = processing(processing_name, [merged], report)
    line = json.loads((CHURN / "capture.jsonl").read_text().splitlines()[0])
    lines = []
    for count, (answer, label) in zip(CONFUSION, ((0.1, 0), (0.9, 0), (0.1, 1), (0.9, 1)), strict=True):
        for _ in range(count):
            line["captureData"]["endpointOutput"]["data"] = str(answer)
            line["eventMetadata"]["eventId"] = line["eventMetadata"]["inferenceId"] = f"id-{len(lines)}"
            line["groundTruthData"] = {"data": str(label), "encoding": "CSV"}
            lines.append(json.dumps(line))
    objects.put("data", f"{merged}/part-00000-0.c000.jsonl", "\n".join(lines).encode())
    objects.put("data", "baseline/constraints.json", (CHURN / "suggested_constraints.rounded.json").read_bytes())
    objects.put("data", f"{report}/constraint_violations.json", (CHURN / "constraint_violations.json").read_bytes())


def add_bias(account: FakeAccount, objects: Any) -> None:
    """The bias run of 2024-01-19: baseline, merged record (three of them, as its counts say) and violations."""
    account.schedules[BIAS_SCHEDULE] = schedule(BIAS_SCHEDULE, "ModelBias")
    account.jobs[f"{BIAS_SCHEDULE}-job"] = job(
        "ModelBias",
        f"{BIAS_SCHEDULE}-job",
        {"ConfigUri": "s3://data/analysis_config.json"},
        {"ConstraintsResource": place("bias/analysis.json")},
        {
            "EndpointInput": watched(
                BIAS_ENDPOINT,
                FeaturesAttribute="instances[*].features",
                InferenceAttribute="predictions[].predicted_label",
            ),
            "GroundTruthS3Input": place("census-truth"),
        },
        "census-reports",
    )
    account.endpoints[BIAS_ENDPOINT] = endpoint(BIAS_ENDPOINT, "AllTraffic", "Shadow")
    scheduled = datetime(2024, 1, 19, 21, tzinfo=UTC)
    account.executions[BIAS_SCHEDULE] = [
        execution(BIAS_SCHEDULE, scheduled),
        execution(BIAS_SCHEDULE, datetime(2024, 1, 19, 22, tzinfo=UTC), "Failed"),
    ]
    name = f"{BIAS_SCHEDULE}-{scheduled:%Y%m%d%H%M}"
    hours = [f"census-merge/{BIAS_ENDPOINT}/AllTraffic/2024/01/19/{hour}" for hour in (19, 20)]
    report = f"census-reports/{BIAS_ENDPOINT}/{BIAS_SCHEDULE}/2024/01/19/21"
    times = {"start_time": "2024-01-19T19:00:00Z", "end_time": "2024-01-19T21:00:00Z"}
    account.processing[name] = processing(name, hours, report, **times)
    record = json.loads((BIAS / "merged_record.json").read_text())
    for number in range(3):
        record["eventMetadata"]["eventId"] = f"event-{number}"
        objects.put("data", f"{hours[number % 2]}/part-{number}.jsonl", json.dumps(record).encode())
    # Of an hour that the execution did not read.
    record["eventMetadata"] = {"eventId": "later", "inferenceTime": "2024-01-19T22:10:00Z"}
    later = f"census-merge/{BIAS_ENDPOINT}/AllTraffic/2024/01/19/22/part-0.jsonl"
    objects.put("data", later, json.dumps(record).encode())
    config = {
        "headers": ["Target", *CENSUS],
        "label": "Target",
        "label_values_or_threshold": [1],
        "facet": [{"name_or_index": "Sex", "value_or_threshold": [0]}],
        "group_variable": "Age",
        "methods": {"post_training_bias": {"methods": "all"}},
    }
    objects.put("data", "analysis_config.json", json.dumps(config).encode())
    objects.put("data", "bias/analysis.json", (BIAS / "baseline_analysis.json").read_bytes())
    objects.put("data", f"{report}/constraint_violations.json", (BIAS / "constraint_violations.json").read_bytes())
