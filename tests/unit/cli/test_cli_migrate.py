"""`plumbline migrate`: definitions from Model Monitor's schedules, and both verdicts on past executions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.stub import Stubber

from chalicelib import wiring
from chalicelib.definition import Definition
from chalicelib.errors import NotFoundError
from emulator.memory import memory_services
from plumbline.cli.account.account import Account
from plumbline.cli.account.schedules import past_executions
from plumbline.cli.add import read_definition
from plumbline.cli.commands import _parser
from plumbline.cli.migrate import run_in
from tests.unit.cli.evaluating import START
from tests.unit.cli.schedules import (
    BIAS_ENDPOINT,
    BIAS_SCHEDULE,
    CENSUS,
    CHURN_ENDPOINT,
    CHURN_SCHEDULE,
    FakeAccount,
    add_bias,
    add_churn,
    endpoint,
    execution,
    job,
    outputs,
    place,
    processing,
    schedule,
    watched,
)

CHURN_NAME = "demo-xgb-churn-model-quality-monitor-202"


@pytest.fixture
def account() -> Iterator[FakeAccount]:
    services = memory_services(lambda: START)
    wiring.use(services)
    found = FakeAccount()
    add_churn(found, services.objects)
    add_bias(found, services.objects)
    yield found
    wiring.use(None)


def call(account: FakeAccount, *arguments: object) -> tuple[str, int]:
    return run_in(account, _parser().parse_args(["migrate", *map(str, arguments)]))


def written(folder: Path) -> dict[str, Definition]:
    """The definitions below a folder, as `plumbline add --check` reads them."""
    return {path.stem: read_definition(path) for path in sorted(folder.glob("*.yaml"))}


def test_it_needs_a_region_and_no_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith(("PLUMBLINE_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    client = boto3.client("sagemaker", aws_access_key_id="a", aws_secret_access_key="b")
    asked: list[Any] = []
    monkeypatch.setattr(wiring, "client", lambda *given: asked.append(given) or client)
    with Stubber(client) as stub:
        stub.add_response("list_monitoring_schedules", {"MonitoringScheduleSummaries": []}, {})
        options = _parser().parse_args(["migrate", "--all", "--out", str(tmp_path)])
        assert options.run(options) == ("no monitoring schedule in this region", 1)
    assert asked == [("sagemaker", None)]


def test_each_endpoint_becomes_a_monitor(account: FakeAccount, tmp_path: Path) -> None:
    text, status = call(account, "--all", "--out", tmp_path)
    assert status == 0 and f"next: plumbline add --check {tmp_path}/{CHURN_NAME}.yaml" in text
    found = written(tmp_path)
    assert list(found) == ["demo-census", CHURN_NAME]
    churn, census = found[CHURN_NAME], found["demo-census"]
    assert (churn.endpoint, churn.variant, churn.window.length) == (CHURN_ENDPOINT, "AllTraffic", "PT1H")
    assert churn.monitor_types == ("ModelQuality",) and churn.schedules == (CHURN_SCHEDULE,)
    assert (churn.capture_s3_uri, churn.ground_truth_s3_uri, churn.output_s3_uri) == (
        "s3://data/datacapture",
        "s3://data/ground-truth",
        "s3://data/reports",
    )
    assert (churn.attributes.probability_attribute, churn.attributes.inference_attribute) == ("0", None)
    assert churn.baseline.model_quality_constraints == "s3://data/baseline/constraints.json"
    assert census.attributes.features == CENSUS and census.attributes.features_attribute == "instances[*].features"
    assert census.bias and census.bias.label_name == "Target" and census.bias.group_variable == "Age"
    assert [(facet.name, facet.values) for facet in census.bias.facets] == [("Sex", (0,))]
    assert "the endpoint has 2 variants; this monitor watches AllTraffic" in text
    assert not [each for each in account.asked if not each.startswith(("describe_", "list_"))]


def test_both_verdicts_on_the_published_runs(account: FakeAccount, tmp_path: Path) -> None:
    text, status = call(account, "--all", "--out", tmp_path, "--compare", "--json")
    assert status == 0
    churn, bias = json.loads(text)["comparisons"]
    assert (churn["schedule"], churn["scheduled"]) == (CHURN_SCHEDULE, "2021-05-26T01:00Z")
    assert churn["theirs"] == churn["ours"] == "CompletedWithViolations"
    assert len(churn["both"]) == 10 and churn["only_theirs"] == []
    # Model Monitor suggests a constraint for f0_5 and never reports it.
    assert churn["only_ours"] == ["f0_5: LessThanThreshold"]
    assert bias["theirs"] == bias["ours"] == "CompletedWithViolations" and bias["reason"] == ""
    assert len(bias["both"]) == 9 and bias["only_theirs"] == []
    # Clarify takes fairness to be 0 for DI too.
    assert bias["only_ours"] == ["DI of Sex in 0: bias_drift_check"]
    text, _ = call(account, "--schedule", BIAS_SCHEDULE, "--out", tmp_path, "--compare")
    [row] = [line for line in text.splitlines() if line.startswith(f"{BIAS_SCHEDULE} 2024-01-19T21:00Z ")]
    assert row.split()[2:] == ["CompletedWithViolations", "CompletedWithViolations", "9", "0", "1"]
    assert f"{BIAS_SCHEDULE} 2024-01-19T21:00Z: only ours: DI of Sex in 0: bias_drift_check" in text


def test_what_cannot_be_compared_says_why(account: FakeAccount, tmp_path: Path) -> None:
    wiring.object_store().delete("data", "baseline/constraints.json")
    text, status = call(account, "--schedule", CHURN_SCHEDULE, "--out", tmp_path, "--compare")
    assert (
        status == 0 and "s3://data/baseline/constraints.json: baseline.model_quality_constraints is not there" in text
    )


def data_quality(account: FakeAccount, name: str, watches: str, expression: str, **inputs: Any) -> None:
    """A schedule of data quality with its definition within it, the older way."""
    within = {
        "MonitoringInputs": [inputs or {"EndpointInput": watched(watches)}],
        "MonitoringOutputConfig": outputs("data-quality"),
        "MonitoringResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}
        },
        "MonitoringAppSpecification": {"ImageUri": "image", "RecordPreprocessorSourceUri": "s3://data/script.py"},
        "RoleArn": "arn:aws:iam::123456789012:role/monitor",
        "BaselineConfig": {
            "StatisticsResource": place("dq/statistics.json"),
            "ConstraintsResource": place("dq/constraints.json"),
        },
    }
    account.schedules[name] = schedule(name, "DataQuality", expression, MonitoringJobDefinition=within)


def test_schedules_of_one_endpoint_are_one_monitor(account: FakeAccount, tmp_path: Path) -> None:
    data_quality(account, "hourly", CHURN_ENDPOINT, "cron(0 * ? * * *)")
    data_quality(account, "six-hourly", CHURN_ENDPOINT, "cron(0 3/6 ? * * *)")
    text, status = call(account, "--all", "--out", tmp_path)
    found, second = written(tmp_path), "demo-xgb-churn-model-quality-monitor-2"
    assert status == 0 and set(found) == {"demo-census", CHURN_NAME, second}
    both, alone = found[CHURN_NAME], found[second]
    assert set(both.monitor_types) == {"DataQuality", "ModelQuality"} and len(both.schedules) == 2
    assert both.baseline.data_quality_statistics == "s3://data/dq/statistics.json"
    assert alone.window.length == "PT6H" and alone.attributes.inference_attribute == "0"
    assert "the schedule counts from 03:00; windows count from 00:00 UTC" in text
    assert "hourly runs s3://data/script.py; the deployed functions run no script" in text
    assert "# six-hourly runs s3://data/script.py" in (tmp_path / f"{second}.yaml").read_text()


@pytest.mark.parametrize(
    ("expression", "length", "told"),
    [
        ("cron(0 * ? * * *)", "PT1H", ""),
        ("cron(0 0 ? * * *)", "P1D", ""),
        ("cron(0 0/12 ? * * *)", "PT12H", ""),
        ("cron(0 0/5 ? * * *)", "PT4H", "every 5 hours; windows of 4 hours come nearest"),
        ("NOW", "PT1H", "the schedule runs at NOW"),
    ],
)
def test_windows_are_as_long_as_the_schedule_is_far_apart(
    account: FakeAccount, tmp_path: Path, expression: str, length: str, told: str
) -> None:
    data_quality(account, "other", BIAS_ENDPOINT, expression)
    text, _ = call(account, "--schedule", "other", "--out", tmp_path)
    assert written(tmp_path)["demo-census"].window.length == length and told in text


def test_alarms_on_its_metrics_are_evidence(account: FakeAccount, tmp_path: Path) -> None:
    def alarm(name: str, namespace: str, **dimensions: str) -> dict[str, Any]:
        named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
        return {"AlarmName": name, "Namespace": namespace, "MetricName": "accuracy", "Dimensions": named}

    metrics = "aws/sagemaker/Endpoints/model-metrics"
    stat = {"Metric": alarm("", metrics, MonitoringSchedule=CHURN_SCHEDULE), "Period": 60, "Stat": "Average"}
    stat["Metric"].pop("AlarmName")
    account.alarms = [
        alarm("accuracy-low", metrics, Endpoint=CHURN_ENDPOINT, MonitoringSchedule=CHURN_SCHEDULE),
        {"AlarmName": "by-math", "Metrics": [{"Id": "m", "MetricStat": stat}]},
        alarm("of-another", metrics, Endpoint=CHURN_ENDPOINT, MonitoringSchedule="another"),
        alarm("latency", "AWS/SageMaker", Endpoint=CHURN_ENDPOINT),
    ]
    call(account, "--schedule", CHURN_SCHEDULE, "--out", tmp_path)
    assert [(each.name, each.role) for each in written(tmp_path)[CHURN_NAME].alarms] == [
        ("accuracy-low", "evidence"),
        ("by-math", "evidence"),
    ]


def test_what_no_definition_can_say_is_left_out_with_its_reason(account: FakeAccount, tmp_path: Path) -> None:
    batch = {
        "BatchTransformInput": {
            "DataCapturedDestinationS3Uri": "s3://data/batch",
            "DatasetFormat": {"Csv": {"Header": False}},
            "LocalPath": "/opt/ml/processing/input",
        }
    }
    data_quality(account, "batch", "", "cron(0 * ? * * *)", **batch)
    data_quality(account, "gone", "no-endpoint", "cron(0 * ? * * *)")
    data_quality(account, "dark", "no-capture", "cron(0 * ? * * *)")
    account.endpoints["no-capture"] = endpoint("no-capture", "AllTraffic", capture=False)
    text, status = call(account, "--all", "--out", tmp_path)
    assert status == 1 and len(written(tmp_path)) == 2
    assert "nothing: it watches batch transforms" in text
    assert "nothing: Could not find no-endpoint" in text
    assert "nothing: the endpoint no-capture has no data capture now" in text
    with pytest.raises(NotFoundError):
        call(account, "--schedule", "unknown", "--out", tmp_path)
    account.schedules.clear()
    assert call(account, "--all", "--out", tmp_path) == ("no monitoring schedule in this region", 1)


def test_attributions_take_their_columns_from_the_analysis_configuration(account: FakeAccount, tmp_path: Path) -> None:
    account.schedules["shap"] = schedule("shap", "ModelExplainability")
    account.jobs["shap-job"] = job(
        "ModelExplainability",
        "shap-job",
        {"ConfigUri": "s3://data/shap.json"},
        {"BaseliningJobName": "baselining"},
        {"EndpointInput": watched(BIAS_ENDPOINT, InferenceAttribute="0", StartTimeOffset="-P8D", EndTimeOffset="-P1D")},
        "shap-reports",
    )
    config = {"headers": ["Target", "a", "b"], "label": 0, "methods": {"shap": {"agg_method": "median"}}}
    wiring.object_store().put("data", "shap.json", json.dumps(config).encode())
    text, status = call(account, "--schedule", "shap", "--out", tmp_path)
    found = written(tmp_path)["demo-census"]
    assert status == 0 and found.attributes.features == ("a", "b")
    assert found.attribution and found.attribution.agg_method == "mean_abs" and "takes the median" in text
    assert "its baselining job baselining wrote one" in text
    assert "shap looks at -P8D to -P1D: not needed here" in text
    wiring.object_store().put("data", "shap.json", b"no json")
    text, status = call(account, "--schedule", "shap", "--out", tmp_path)
    assert status == 1 and "s3://data/shap.json: expected Clarify's analysis configuration" in text


def test_the_files_are_yaml_with_their_notes(account: FakeAccount, tmp_path: Path) -> None:
    call(account, "--schedule", CHURN_SCHEDULE, "--out", tmp_path)
    text = (tmp_path / f"{CHURN_NAME}.yaml").read_text()
    assert text.startswith(f"# From Model Monitor's schedules: {CHURN_SCHEDULE}\n")
    assert "# without a section `retraining` this monitor retrains nothing" in text
    assert list(yaml.safe_load(text))[:2] == ["name", "endpoint"]


def test_the_newest_executions_are_asked_of_the_real_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through botocore, which checks every request; no more pages are read than are needed."""
    client = boto3.client("sagemaker", "us-west-2", aws_access_key_id="a", aws_secret_access_key="b")
    monkeypatch.setattr(wiring, "client", lambda service, region: client)
    zone = timezone(timedelta(hours=-8))
    times = [datetime(2024, 1, 19, hour, tzinfo=zone) for hour in (13, 12, 11)]
    found = [
        execution("shap", time, status) for time, status in zip(times, ("Failed", *["Completed"] * 2), strict=True)
    ]
    order = {"MonitoringScheduleName": "shap", "SortBy": "ScheduledTime", "SortOrder": "Descending", "MaxResults": 100}
    with Stubber(client) as stub:
        more = {"MonitoringExecutionSummaries": found * 4, "NextToken": "more"}
        stub.add_response("list_monitoring_executions", more, order)
        name = found[1]["ProcessingJobArn"].rpartition("/")[2]
        described = processing(name, ["captures/e/v/2024/01/19/19"], "report")
        stub.add_response("describe_processing_job", described, {"ProcessingJobName": name})
        [one] = past_executions(Account("us-west-2"), "shap", 1)
        stub.assert_no_pending_responses()
    assert (one.scheduled, one.status, one.is_several) == ("2024-01-19T20:00Z", "Completed", False)
    assert one.captures_uri == "s3://data/captures/e/v/2024/01/19/19"
