"""CloudWatch alarms: the tables of AWS's documentation, and whole evaluations on metric data in moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.topology import SOURCES
from emulator.alarms import AlarmEvaluator, judge, refuse_alarm, refuse_old, statistic
from emulator.aws import LocalAws, MetricPoint
from emulator.clock import LogicalClock
from emulator.pump import matches

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
NAMESPACE = "aws/sagemaker/Endpoints/model-metrics"
DIMENSIONS = {"Endpoint": "churn", "MonitoringSchedule": "churn-model-quality"}
ALARM: dict[str, Any] = {
    "AlarmName": "f2",
    "Namespace": NAMESPACE,
    "MetricName": "f2",
    "Dimensions": [{"Name": name, "Value": value} for name, value in DIMENSIONS.items()],
    "Statistic": "Average",
    "Period": 600,
    "EvaluationPeriods": 1,
    "DatapointsToAlarm": 1,
    "Threshold": 0.625,
    "ComparisonOperator": "LessThanOrEqualToThreshold",
    "TreatMissingData": "breaching",
}


# --- The documentation's tables: (points, oldest first; state for missing, ignore, breaching, notBreaching)

OK, ALARMED, NONE, KEEP = "OK", "ALARM", "INSUFFICIENT_DATA", None
THREE_OF_THREE = [
    ("0-X-X", (OK, OK, OK, OK)),
    ("0----", (OK, OK, OK, OK)),
    ("-----", (NONE, KEEP, ALARMED, OK)),
    ("0XX-X", (ALARMED,) * 4),
    ("--X--", (ALARMED, KEEP, ALARMED, OK)),
]
TWO_OF_THREE = [
    ("0-X-X", (ALARMED,) * 4),
    ("00X0X", (ALARMED,) * 4),
    ("0-X--", (OK, OK, ALARMED, OK)),
    ("----0", (OK, OK, ALARMED, OK)),
    ("---X-", (ALARMED, KEEP, ALARMED, OK)),
]


@pytest.mark.parametrize(
    ("needed", "points", "states"),
    [(3, *row) for row in THREE_OF_THREE] + [(2, *row) for row in TWO_OF_THREE],
)
def test_missing_data_is_treated_as_in_the_documentation(
    needed: int, points: str, states: tuple[str | None, ...]
) -> None:
    values = [{"0": False, "X": True, "-": None}[point] for point in points]
    treatments = ("missing", "ignore", "breaching", "notBreaching")
    assert tuple(judge(values, 3, needed, treatment) for treatment in treatments) == states


@pytest.mark.parametrize("points", ["----X", "---X-"])
def test_a_single_recent_breach_is_not_yet_an_alarm_of_three_of_three(points: str) -> None:
    values = [{"X": True, "-": None}[point] for point in points]
    assert judge(values, 3, 3, "missing") != "ALARM"


# --- What AWS refuses


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"Period": 45}, "Period"),
        ({"Period": 0}, "Period"),
        ({"Period": 86_400, "EvaluationPeriods": 8}, "7 days"),
        ({"Period": 600, "EvaluationPeriods": 145}, "a day"),
        ({"DatapointsToAlarm": 2}, "DatapointsToAlarm"),
        ({"DatapointsToAlarm": 0}, "DatapointsToAlarm"),
        ({"Statistic": "Median"}, "Statistic"),
        ({"Statistic": None}, "Statistic"),
        ({"ExtendedStatistic": "p99"}, "Statistic"),
        ({"Statistic": None, "ExtendedStatistic": "p101"}, "percentile"),
        ({"ComparisonOperator": "Below"}, "ComparisonOperator"),
        ({"Threshold": None}, "Threshold"),
        ({"Threshold": float("nan")}, "Threshold"),
        ({"TreatMissingData": "zero"}, "TreatMissingData"),
        ({"MetricName": None}, "MetricName"),
        ({"EvaluationPeriods": 0}, "EvaluationPeriods"),
        ({"Dimensions": [{"Name": "a", "Value": "1"}, {"Name": "a", "Value": "2"}]}, "Dimensions"),
    ],
)
def test_alarms_that_cloudwatch_refuses(change: dict[str, Any], named: str) -> None:
    assert named in str(refuse_alarm({**ALARM, **change}))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Period": 10},
        {"Period": 86_400, "EvaluationPeriods": 7},
        {"Period": 3600, "EvaluationPeriods": 168},
        {"Period": 600, "EvaluationPeriods": 144, "DatapointsToAlarm": 3},
        {"Statistic": None, "ExtendedStatistic": "p99.9"},
        {"TreatMissingData": None, "DatapointsToAlarm": None},
    ],
)
def test_alarms_that_cloudwatch_takes(change: dict[str, Any]) -> None:
    assert refuse_alarm({**ALARM, **change}) is None


def test_metric_data_is_refused_beyond_two_weeks_and_two_hours() -> None:
    assert refuse_old(START - timedelta(days=14), START) is None
    assert "two weeks" in str(refuse_old(START - timedelta(days=14, seconds=1), START))
    assert refuse_old(START + timedelta(hours=2), START) is None
    assert "future" in str(refuse_old(START + timedelta(hours=2, seconds=1), START))


# --- Statistics


def test_statistics_of_values_and_statistic_sets() -> None:
    points = [MetricPoint(START, v, v, v, 1.0) for v in (1.0, 2.0, 6.0)] + [MetricPoint(START, 11.0, 0.5, 7.0, 2.0)]
    names = ("Average", "Sum", "Minimum", "Maximum", "SampleCount")
    assert [statistic(name, points) for name in names] == [4.0, 20.0, 0.5, 7.0, 5.0]
    assert statistic("p50", points) == 2.0 and statistic("p100", points) == 6.0 and statistic("p75", points) == 4.0
    assert statistic("Average", []) is None
    assert statistic("p50", points[3:]) is None


# --- Evaluations


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as running:
        yield running


class World:
    """A clock, an evaluator, and the events that were delivered."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.clock = LogicalClock(START)
        self.clock.follow(aws.set_time)
        self.delivered: list[Any] = []
        self.alarms = AlarmEvaluator(aws, self.clock, self.delivered.append)

    def publish(self, name: str, value: float, at: datetime | None = None, dimensions: Any = DIMENSIONS) -> None:
        datum = {
            "MetricName": name,
            "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
            "Timestamp": at or self.clock.now(),
            "Value": value,
        }
        self.aws.client("cloudwatch").put_metric_data(Namespace=NAMESPACE, MetricData=[datum])

    def evaluate(self, minutes: float = 1) -> list[str]:
        """The states entered, after that much time."""
        self.clock.advance(by=timedelta(minutes=minutes))
        return [event["detail"]["state"]["value"] for event in self.alarms.evaluate()]

    def state(self, name: str) -> dict[str, Any]:
        [alarm] = self.aws.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
        return dict(alarm)


@pytest.fixture
def world(aws: LocalAws) -> Iterator[World]:
    yield World(aws)
    cloudwatch = aws.client("cloudwatch")
    names = [alarm["AlarmName"] for alarm in cloudwatch.describe_alarms()["MetricAlarms"]]
    cloudwatch.delete_alarms(AlarmNames=names)


def test_the_articles_alarm_fires_once_and_recovers(world: World) -> None:
    world.alarms.put_alarm(**{**ALARM, "AlarmDescription": "F2 is low"})
    assert world.state("f2")["StateValue"] == "INSUFFICIENT_DATA"
    world.publish("f2", 0.8)
    assert world.evaluate() == ["OK"]
    world.clock.advance(by=timedelta(minutes=10))
    world.publish("f2", 0.5)
    assert world.evaluate() == ["ALARM"]
    assert world.evaluate(0) == []  # no news, no event
    world.clock.advance(by=timedelta(minutes=10))
    world.publish("f2", 0.9)
    assert world.evaluate() == ["OK"]
    assert len(world.delivered) == 3


def test_the_event_has_cloudwatchs_shape(world: World) -> None:
    world.alarms.put_alarm(**{**ALARM, "AlarmDescription": "F2 is low", "MetricName": "f2-event"})
    world.publish("f2-event", 0.5)
    world.evaluate()
    [event] = world.delivered
    [source] = [source for source in SOURCES if source.pattern is not None and matches(source.pattern, event)]
    assert source.queue == "alarms"
    assert event["time"] == "2026-01-05T09:01:00Z" and event["account"] == "123456789012" and event["version"] == "0"
    assert event["resources"] == ["arn:aws:cloudwatch:us-east-1:123456789012:alarm:f2"]
    detail = event["detail"]
    assert set(detail) == {"alarmName", "configuration", "previousState", "state"}
    [metric] = detail["configuration"]["metrics"]
    assert detail["configuration"]["description"] == "F2 is low" and metric["returnData"] is True
    assert metric["metricStat"] == {
        "metric": {"namespace": NAMESPACE, "name": "f2-event", "dimensions": DIMENSIONS},
        "period": 600,
        "stat": "Average",
    }
    assert detail["previousState"]["value"] == "INSUFFICIENT_DATA"
    assert detail["previousState"]["timestamp"] == "2026-01-05T09:00:00.000+0000"
    assert detail["state"]["value"] == "ALARM" and detail["state"]["timestamp"] == "2026-01-05T09:01:00.000+0000"
    assert "0.5" in detail["state"]["reason"] and "(0.625)" in detail["state"]["reason"]
    data = json.loads(detail["state"]["reasonData"])
    assert (data["recentDatapoints"], data["threshold"], data["period"]) == ([0.5], 0.625, 600)
    assert data["evaluatedDatapoints"][0]["value"] == 0.5
    assert world.state("f2")["StateReasonData"] == detail["state"]["reasonData"]


def test_two_of_three_hours_and_the_exact_dimensions(world: World) -> None:
    world.alarms.put_alarm(
        **{
            **ALARM, "AlarmName": "accuracy", "MetricName": "accuracy", "Period": 3600, "EvaluationPeriods": 3,
            "DatapointsToAlarm": 2, "ComparisonOperator": "LessThanThreshold", "TreatMissingData": "missing",
        }
    )  # fmt: skip
    states = []
    for value in (0.9, 0.5, 0.9, 0.5, 0.5):
        # The same metric with one dimension more is another metric.
        world.publish("accuracy", 0.0, dimensions={**DIMENSIONS, "Feature": "x"})
        world.publish("accuracy", value)
        states.append(world.evaluate(60))
    # Each point is an hour old when it is judged; two breaches among the last three come with the fourth.
    assert states == [["OK"], [], [], ["ALARM"], []]


@pytest.mark.parametrize(
    ("treatment", "expected"),
    [("missing", ["INSUFFICIENT_DATA"]), ("ignore", []), ("breaching", ["ALARM"]), ("notBreaching", [])],
)
def test_when_a_metric_stops(world: World, treatment: str, expected: list[str]) -> None:
    name = f"stops-{treatment}"
    world.alarms.put_alarm(**{**ALARM, "AlarmName": name, "MetricName": name, "TreatMissingData": treatment})
    world.publish(name, 0.9)
    assert world.evaluate() == ["OK"]
    assert world.evaluate(20) == []  # the point is still in the evaluation range
    assert world.evaluate(10) == expected


@pytest.mark.parametrize(
    ("operator", "breaching"),
    [
        ("GreaterThanThreshold", [1.1]),
        ("GreaterThanOrEqualToThreshold", [1.0, 1.1]),
        ("LessThanThreshold", [0.9]),
        ("LessThanOrEqualToThreshold", [0.9, 1.0]),
    ],
)
def test_comparison_operators(world: World, operator: str, breaching: list[float]) -> None:
    for value in (0.9, 1.0, 1.1):
        name = f"{operator}-{value}"
        world.alarms.put_alarm(
            **{**ALARM, "AlarmName": name, "MetricName": name, "ComparisonOperator": operator, "Threshold": 1.0}
        )
        world.publish(name, value)
    world.evaluate()
    alarmed = [value for value in (0.9, 1.0, 1.1) if world.state(f"{operator}-{value}")["StateValue"] == "ALARM"]
    assert alarmed == breaching


def test_an_alarm_without_any_data_stays_unknown_and_silent(world: World) -> None:
    world.alarms.put_alarm(**{**ALARM, "AlarmName": "never", "MetricName": "never", "TreatMissingData": "missing"})
    assert world.evaluate() == []


def test_a_plain_client_meets_the_same_refusals(world: World) -> None:
    cloudwatch = world.aws.client("cloudwatch")
    with pytest.raises(ClientError, match="7 days") as refused:
        cloudwatch.put_metric_alarm(**{**ALARM, "Period": 86_400, "EvaluationPeriods": 8})
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []
    with pytest.raises(ClientError, match="two weeks") as refused:
        world.publish("f2", 0.5, at=START - timedelta(days=15))
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValue"


def test_putting_an_alarm_again_keeps_its_state(world: World) -> None:
    world.alarms.put_alarm(**{**ALARM, "AlarmName": "again", "MetricName": "again"})
    world.publish("again", 0.1)
    assert world.evaluate() == ["ALARM"]
    world.alarms.put_alarm(**{**ALARM, "AlarmName": "again", "MetricName": "again", "Threshold": 0.2})
    assert world.state("again")["StateValue"] == "ALARM"
    assert world.evaluate() == []
