"""CloudWatch alarms as CloudWatch evaluates them: moto stores alarms and metric data, but evaluates nothing.

Covers periods, statistics, M out of N, missing data, and the event of a state change. Not here: metric math, composite
and anomaly alarms, trimmed statistics, and alarm actions (unused: EventBridge carries every change).

Definitions: Amazon CloudWatch User Guide, "Alarm evaluation" and "Configuring how CloudWatch alarms treat missing
data"; API reference, PutMetricAlarm and PutMetricData.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emulator.aws import LocalAws, MetricPoint
    from emulator.clock import LogicalClock

_EVENT_IDS = uuid.UUID("4f3a1b0e-7d0c-5a58-8d59-2b1f4bb7a7d2")
_STATISTICS = ("Average", "Sum", "Minimum", "Maximum", "SampleCount")
_PERCENTILE = re.compile(r"p(100|\d{1,2}(?:\.\d{1,10})?)")
_TREATMENTS = ("missing", "notBreaching", "breaching", "ignore")
# The operator, and how CloudWatch says it in a reason.
_OPERATORS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanThreshold": (lambda value, threshold: value > threshold, "greater than"),
    "GreaterThanOrEqualToThreshold": (lambda value, threshold: value >= threshold, "greater than or equal to"),
    "LessThanThreshold": (lambda value, threshold: value < threshold, "less than"),
    "LessThanOrEqualToThreshold": (lambda value, threshold: value <= threshold, "less than or equal to"),
}
# CloudWatch looks this many periods further back than it needs, in case some are missing (3 -> 5 in its own example).
_EXTRA_PERIODS = 2
INITIAL_REASON = "Unchecked: Initial alarm creation"


def refuse_old(timestamp: datetime, now: datetime) -> str | None:
    """Why PutMetricData refuses a data point's time (two weeks back, two hours ahead), or None when it takes it."""
    if timestamp < now - timedelta(days=14):
        return "The parameter MetricData.member.1.Timestamp must be within the past two weeks."
    if timestamp > now + timedelta(hours=2):
        return "The parameter MetricData.member.1.Timestamp must not be more than two hours in the future."
    return None


def refuse_alarm(alarm: Mapping[str, Any]) -> str | None:
    """Why PutMetricAlarm refuses these parameters (its own names), or None when it takes them."""
    for name in ("AlarmName", "MetricName", "Namespace", "ComparisonOperator"):
        if not alarm.get(name):
            return f"The parameter {name} is required"
    if alarm["ComparisonOperator"] not in _OPERATORS:
        return f"ComparisonOperator {alarm['ComparisonOperator']}: expected one of {', '.join(_OPERATORS)}"
    threshold = alarm.get("Threshold")
    if not isinstance(threshold, int | float) or isinstance(threshold, bool) or not math.isfinite(threshold):
        return "The parameter Threshold is required and must be a finite number"
    statistic, extended = alarm.get("Statistic"), alarm.get("ExtendedStatistic")
    if bool(statistic) == bool(extended):
        return "Exactly one of Statistic and ExtendedStatistic is required"
    if statistic and statistic not in _STATISTICS:
        return f"Statistic {statistic}: expected one of {', '.join(_STATISTICS)}"
    if extended and not _PERCENTILE.fullmatch(extended):
        return f"ExtendedStatistic {extended}: expected a percentile such as p99"
    period, periods = alarm.get("Period"), alarm.get("EvaluationPeriods")
    if not isinstance(period, int) or not (period in (10, 20, 30) or (period > 0 and period % 60 == 0)):
        return f"Period {period}: expected 10, 20, 30 or a multiple of 60 seconds"
    if not isinstance(periods, int) or periods < 1:
        return f"EvaluationPeriods {periods}: expected a whole number from 1"
    if period * periods > 604_800:
        return "Metrics cannot be checked across more than 7 days (EvaluationPeriods * Period must be <= 604800)"
    if period < 3600 and period * periods > 86_400:
        return "Metrics with a Period under one hour cannot be checked across more than a day (at most 86400 seconds)"
    needed = alarm.get("DatapointsToAlarm")
    if needed is not None and not (isinstance(needed, int) and 1 <= needed <= periods):
        return f"DatapointsToAlarm {needed}: expected a whole number from 1 to EvaluationPeriods ({periods})"
    if alarm.get("TreatMissingData") not in (None, *_TREATMENTS):
        return f"TreatMissingData {alarm['TreatMissingData']}: expected one of {', '.join(_TREATMENTS)}"
    names = [dimension["Name"] for dimension in alarm.get("Dimensions") or ()]
    if len(names) > 30 or len(set(names)) < len(names):
        return "Dimensions: expected at most 30, each name once"
    return None


def judge(
    values: Sequence[bool | None], evaluation_periods: int, datapoints_to_alarm: int, treat_missing_data: str
) -> str | None:
    """The state that CloudWatch sets: "OK", "ALARM" or "INSUFFICIENT_DATA"; None to retain the present one.

    `values` is the evaluation range, oldest first: breaching, not breaching, or None where a period has no data.
    """
    real = [value for value in values if value is not None]
    if len(real) >= evaluation_periods:
        return "ALARM" if sum(real[-evaluation_periods:]) >= datapoints_to_alarm else "OK"
    breaching = sum(real)
    if treat_missing_data == "breaching":
        breaching += evaluation_periods - len(real)
    if breaching >= datapoints_to_alarm:
        return "ALARM"
    if treat_missing_data in ("breaching", "notBreaching"):
        return "OK"
    if not real:
        return "INSUFFICIENT_DATA" if treat_missing_data == "missing" else None
    if all(real):
        # Nothing but breaches, though too few: the next points decide, unless the oldest breach has waited long enough.
        if treat_missing_data == "ignore":
            return None
        oldest = next(at for at, value in enumerate(values) if value is not None)
        return "ALARM" if len(values) - oldest >= datapoints_to_alarm else "OK"
    return "OK"


def statistic(name: str, points: Sequence[MetricPoint]) -> float | None:
    """A period's value of a statistic ("Average", …, "p99"), or None when it has no data.

    Percentiles need single values: statistic sets count only where their minimum is their maximum, as in CloudWatch.
    """
    count = sum(point.count for point in points)
    if not points or count == 0:
        return None
    if name == "Average":
        return math.fsum(point.total for point in points) / count
    if name == "Sum":
        return math.fsum(point.total for point in points)
    if name == "SampleCount":
        return count
    if name == "Minimum":
        return min(point.minimum for point in points)
    if name == "Maximum":
        return max(point.maximum for point in points)
    values = sorted(
        value for point in points if point.minimum == point.maximum for value in [point.minimum] * int(point.count)
    )
    if not values:
        return None
    at = float(name[1:]) / 100 * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


@dataclass(frozen=True)
class _Period:
    start: datetime
    value: float | None
    count: float


def _millis(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


class AlarmEvaluator:
    """Evaluates every metric alarm in moto at the clock's time; a change of state becomes an event.

    `deliver` (for instance `Pump.deliver`) gets each event.
    """

    def __init__(
        self, aws: LocalAws, clock: LogicalClock, deliver: Callable[[Mapping[str, Any]], object] | None = None
    ) -> None:
        self._aws = aws
        self._clock = clock
        self._deliver = deliver
        self._cloudwatch = aws.client("cloudwatch")
        self._changes = 0

    def put_alarm(self, **parameters: Any) -> None:
        """PutMetricAlarm. Raises botocore's ClientError (ValidationError) for what CloudWatch refuses.

        A new alarm begins as INSUFFICIENT_DATA; one that exists keeps its state. The emulator's server does both, so a
        plain `put_metric_alarm` of any client means the same.
        """
        self._cloudwatch.put_metric_alarm(**parameters)

    def evaluate(self) -> list[dict[str, Any]]:
        """Evaluate all alarms now; returns (and delivers) the "CloudWatch Alarm State Change" events, by alarm name."""
        now = self._clock.now()
        events = []
        pages = self._cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=["MetricAlarm"])
        for alarm in sorted((alarm for page in pages for alarm in page["MetricAlarms"]), key=lambda a: a["AlarmName"]):
            if alarm.get("MetricName"):  # metric math has none
                event = self._evaluate(alarm, now)
                if event is not None:
                    events.append(event)
        for event in events:
            if self._deliver is not None:
                self._deliver(event)
        return events

    def _periods(self, alarm: Mapping[str, Any], now: datetime) -> list[_Period]:
        """The evaluation range, oldest first: periods end at the last whole minute (ten seconds when shorter)."""
        length = int(alarm["Period"])
        grain = 60 if length >= 60 else 10
        end = math.floor(now.timestamp() / grain) * grain
        number = int(alarm["EvaluationPeriods"]) + _EXTRA_PERIODS
        first = end - number * length
        dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm.get("Dimensions", [])}
        points = self._aws.metric_points(
            alarm["Namespace"],
            alarm["MetricName"],
            dimensions,
            datetime.fromtimestamp(first, UTC),
            datetime.fromtimestamp(end, UTC),
        )
        buckets: list[list[MetricPoint]] = [[] for _ in range(number)]
        for point in points:
            if alarm.get("Unit") in (None, point.unit):
                buckets[int((point.timestamp.timestamp() - first) // length)].append(point)
        name = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        return [
            _Period(
                datetime.fromtimestamp(first + at * length, UTC),
                statistic(name, bucket),
                sum(point.count for point in bucket),
            )
            for at, bucket in enumerate(buckets)
        ]

    def _evaluate(self, alarm: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
        periods = self._periods(alarm, now)
        breaches, words = _OPERATORS[alarm["ComparisonOperator"]]
        threshold = float(alarm["Threshold"])
        needed = int(alarm["EvaluationPeriods"])
        enough = int(alarm.get("DatapointsToAlarm") or needed)
        verdicts = [None if one.value is None else breaches(one.value, threshold) for one in periods]
        state = judge(verdicts, needed, enough, alarm.get("TreatMissingData") or "missing")
        previous = alarm["StateValue"]
        if state is None or state == previous:
            return None
        real = [one for one in periods if one.value is not None]
        evaluated = (real if len(real) >= needed else periods)[-needed:]
        reason = _reason(state, previous, evaluated, words, threshold, needed, enough)
        reason_data = json.dumps(
            {
                "version": "1.0",
                "queryDate": _millis(now),
                **({"startDate": _millis(evaluated[0].start)} if state != "INSUFFICIENT_DATA" else {}),
                "statistic": alarm.get("Statistic") or alarm["ExtendedStatistic"],
                "period": alarm["Period"],
                "recentDatapoints": [one.value for one in evaluated if one.value is not None],
                "threshold": threshold,
                "evaluatedDatapoints": [
                    {"timestamp": _millis(one.start)}
                    | ({} if one.value is None else {"sampleCount": one.count, "value": one.value})
                    for one in reversed(evaluated)
                ],
            },
            separators=(",", ":"),
        )
        self._cloudwatch.set_alarm_state(
            AlarmName=alarm["AlarmName"], StateValue=state, StateReason=reason, StateReasonData=reason_data
        )
        self._changes += 1
        return _event(alarm, now, self._changes, {"value": state, "reason": reason, "reasonData": reason_data})


def _reason(
    state: str, previous: str, periods: Sequence[_Period], words: str, threshold: float, needed: int, enough: int
) -> str:
    def count(number: int) -> str:
        return f"{number} datapoint{'' if number == 1 else 's'}"

    if state == "INSUFFICIENT_DATA":
        return f"Insufficient Data: {count(needed)} {'was' if needed == 1 else 'were'} unknown."
    shown = [f"{one.value} ({one.start:%d/%m/%y %H:%M:%S})" for one in reversed(periods) if one.value is not None]
    unknown = sum(one.value is None for one in periods)
    if not shown:
        treated = "Breaching" if state == "ALARM" else "NonBreaching"
        verb = "was" if unknown == 1 else "were"
        received = f"no datapoints were received for {count(needed)}"
        return f"Threshold Crossed: {received} and {count(unknown)} {verb} treated as [{treated}]."
    minimum = enough if state == "ALARM" else needed - enough + 1
    verb = ("was" if len(shown) == 1 else "were") + ("" if state == "ALARM" else " not")
    return (
        f"Threshold Crossed: {len(shown)} out of the last {count(needed)} [{', '.join(shown)}] {verb} {words} the "
        f"threshold ({threshold}) (minimum {count(minimum)} for {previous} -> {state} transition)."
    )


def _event(alarm: Mapping[str, Any], now: datetime, number: int, state: Mapping[str, str]) -> dict[str, Any]:
    arn = alarm["AlarmArn"]
    region, account = arn.split(":")[3:5]
    before = {
        "value": alarm["StateValue"],
        "timestamp": _millis(alarm["StateUpdatedTimestamp"]),
        "reason": alarm["StateReason"],
    }
    if alarm.get("StateReasonData", "{}") != "{}":
        before["reasonData"] = alarm["StateReasonData"]
    stat: dict[str, Any] = {
        "metric": {
            "namespace": alarm["Namespace"],
            "name": alarm["MetricName"],
            "dimensions": {dimension["Name"]: dimension["Value"] for dimension in alarm.get("Dimensions", [])},
        },
        "period": alarm["Period"],
        "stat": alarm.get("Statistic") or alarm["ExtendedStatistic"],
    }
    if alarm.get("Unit"):
        stat["unit"] = alarm["Unit"]
    metric_id = str(uuid.uuid5(_EVENT_IDS, alarm["AlarmName"]))
    configuration: dict[str, Any] = {"metrics": [{"id": metric_id, "metricStat": stat, "returnData": True}]}
    if alarm.get("AlarmDescription"):
        configuration = {"description": alarm["AlarmDescription"], **configuration}
    return {
        "version": "0",
        "id": str(uuid.uuid5(_EVENT_IDS, f"{arn}|{_millis(now)}|{number}")),
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "account": account,
        "time": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "region": region,
        "resources": [arn],
        "detail": {
            "alarmName": alarm["AlarmName"],
            "configuration": configuration,
            "previousState": before,
            "state": {"value": state["value"], "timestamp": _millis(now)} | dict(state),
        },
    }
