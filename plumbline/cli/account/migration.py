"""Model Monitor's schedules as monitor definitions: one for each endpoint, with a note on what is not the same.

Not here: anything that writes to the account. Schedules, job definitions, baselines and alarms stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.definition import Definition, parse_definition
from chalicelib.errors import UNDECODABLE, MisconfiguredError, NotFoundError, UnreadableError
from plumbline.cli.account.schedules import Asker, Schedule
from plumbline.cli.inputs.places import file_of

# Hours of a window that a day can be cut into.
_HOURS = (1, 2, 3, 4, 6, 8, 12, 24)
_CRON = re.compile(r"cron\(0 (\*|\d{1,2})(?:/(\d{1,2}))? \? \* \* \*\)")
_NAMESPACE = "aws/sagemaker/Endpoints/"


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """What became of some schedules of one endpoint: a definition and the document that it was made of, or a reason."""

    schedules: tuple[Schedule, ...]
    document: dict[str, Any] = {}
    definition: Definition | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


def migrate(account: Asker, schedules: Sequence[Schedule]) -> list[Migration]:
    """Definitions for schedules; what cannot become one says why. Raises what `Account.ask` raises."""
    done: list[Migration] = []
    names: set[str] = set()
    for group in _grouped(schedules):
        try:
            found = _migrated(account, group, names)
        except (MisconfiguredError, NotFoundError, UnreadableError) as error:
            found = Migration(schedules=tuple(group), reason=str(error))
        done.append(found)
    return done


def _grouped(schedules: Sequence[Schedule]) -> list[list[Schedule]]:
    """Schedules that one monitor can stand for: of one endpoint and rhythm, each type once, one place of labels."""
    groups: list[list[Schedule]] = []
    for schedule in schedules:
        for group in groups:
            labels = {each.ground_truth_uri for each in (*group, schedule) if each.ground_truth_uri}
            same = (group[0].endpoint, group[0].expression) == (schedule.endpoint, schedule.expression)
            new = schedule.monitor_type not in [each.monitor_type for each in group]
            if schedule.endpoint and same and new and len(labels) < 2:
                group.append(schedule)
                break
        else:
            groups.append([schedule])
    return groups


def _migrated(account: Asker, group: Sequence[Schedule], names: set[str]) -> Migration:
    first = group[0]
    if not first.endpoint:
        reason = "it watches batch transforms; `plumbline evaluate` reads their output, the deployed functions do not"
        return Migration(schedules=tuple(group), reason=reason)
    notes: list[str] = []
    endpoint = account.ask("sagemaker", "describe_endpoint", EndpointName=first.endpoint)
    capture = endpoint.get("DataCaptureConfig")
    if capture is None:
        return Migration(schedules=tuple(group), reason=f"the endpoint {first.endpoint} has no data capture now")
    variants = [each["VariantName"] for each in endpoint["ProductionVariants"]]
    if len(variants) > 1:
        notes.append(f"the endpoint has {len(variants)} variants; this monitor watches {variants[0]}")
    document: dict[str, Any] = {
        "name": _name(first.endpoint, names),
        "endpoint": first.endpoint,
        "variant": variants[0],
        "capture_s3_uri": capture["DestinationS3Uri"],
        "output_s3_uri": first.output_uri,
        "monitor_types": [each.monitor_type for each in group],
        "attributes": {},
        "window": {"length": _length(first.expression, notes)},
        "baseline": _baseline(group, notes),
        "schedules": [each.name for each in group],
    }
    if labels := next((each.ground_truth_uri for each in group if each.ground_truth_uri), ""):
        document["ground_truth_s3_uri"] = labels
    for schedule in group:
        _clarify(document, schedule, notes)
    document["attributes"] = {**_attributes(group, notes), **document["attributes"]}
    if alarms := _alarms(account, group):
        document["alarms"] = [{"name": name, "role": "evidence"} for name in alarms]
        notes.append("alarms are evidence only; role trigger lets one ask for a retraining, veto lets one forbid it")
    for schedule in group:
        _note_differences(schedule, notes)
    notes.append("without a section `retraining` this monitor retrains nothing; without `routes` SNS alone has alerts")
    definition = parse_definition(document)
    return Migration(schedules=tuple(group), document=document, definition=definition, notes=tuple(notes))


def _name(endpoint: str, taken: set[str]) -> str:
    """A monitor's name: the endpoint's in lower case, at most 40 characters, numbered where it is taken."""
    base = re.sub(r"[^a-z0-9]+", "-", endpoint.lower()).strip("-")[:40].strip("-")
    name, number = base, 2
    while name in taken:
        name, number = f"{base[:36].strip('-')}-{number}", number + 1
    taken.add(name)
    return name


def _length(expression: str, notes: list[str]) -> str:
    found = _CRON.fullmatch(expression)
    if not found:
        notes.append(f"the schedule runs at {expression or 'no fixed time'}; this monitor's windows are hours")
        return "PT1H"
    hours = int(found[2]) if found[2] else 1 if found[1] == "*" else 24
    nearest = max(each for each in _HOURS if each <= max(1, hours))
    if nearest != hours:
        notes.append(f"the schedule runs every {hours} hours; windows of {nearest} hours come nearest")
    elif found[1] not in ("*", "0", "00") and hours > 1:
        notes.append(f"the schedule counts from {int(found[1]):02}:00; windows count from 00:00 UTC")
    return f"PT{nearest}H" if nearest < 24 else "P1D"


def _baseline(group: Sequence[Schedule], notes: list[str]) -> dict[str, str]:
    fields = {
        "DataQuality": "data_quality_constraints",
        "ModelQuality": "model_quality_constraints",
        "ModelBias": "model_bias_constraints",
        "ModelExplainability": "model_explainability_constraints",
    }
    found = {}
    for schedule in group:
        if schedule.statistics_uri and schedule.monitor_type == "DataQuality":
            found["data_quality_statistics"] = schedule.statistics_uri
        if schedule.constraints_uri:
            found[fields[schedule.monitor_type]] = schedule.constraints_uri
        else:
            job = f"; its baselining job {schedule.baselining_job} wrote one" if schedule.baselining_job else ""
            notes.append(f"{schedule.name} has no constraints: {schedule.monitor_type} is compared with nothing{job}")
    return found


def _attributes(group: Sequence[Schedule], notes: list[str]) -> dict[str, Any]:
    """How payloads are read, each field from the first schedule that has it."""

    def first(field: str) -> Any:
        return next((value for each in group if (value := getattr(each, field)) not in (None, "")), None)

    found = {
        "problem_type": first("problem_type"),
        "features_attribute": first("features_attribute"),
        "inference_attribute": first("inference_attribute"),
        "probability_attribute": first("probability_attribute"),
        "probability_threshold": first("probability_threshold"),
    }
    given = {name: value for name, value in found.items() if value is not None}
    if "inference_attribute" not in given and "probability_attribute" not in given:
        given["inference_attribute"] = "0"
        notes.append("no schedule says where the answer is: inference_attribute is its first CSV column")
    for field in found:
        values = {getattr(each, field) for each in group} - {None, ""}
        if len(values) > 1:
            notes.append(f"the schedules differ in {field}; that of {group[0].name} counts")
    return given


def _clarify(document: dict[str, Any], schedule: Schedule, notes: list[str]) -> None:
    """What Clarify's analysis configuration says about columns, facets and attributions."""
    if schedule.monitor_type not in ("ModelBias", "ModelExplainability"):
        return
    config = _config(schedule.config_uri)
    headers, label = [str(name) for name in config.get("headers", [])], config.get("label")
    if isinstance(label, int) and label < len(headers):
        label = headers[label]
    if headers:
        document["attributes"]["features"] = [name for name in headers if name not in (label, "SageMakerInferenceId")]
    if schedule.monitor_type == "ModelExplainability":
        method = config.get("methods", {}).get("shap", {}).get("agg_method", "mean_abs")
        if method not in ("mean_abs", "mean_sq"):
            notes.append(f"{schedule.name} takes the {method} of attributions; this monitor takes mean_abs")
            method = "mean_abs"
        document["attribution"] = {"agg_method": method}
        notes.append("attributions are read from a model that returns them; name its outputs in attribution.columns")
        return
    document["bias"] = {
        "facets": [_selection(each, headers, schedule.name, notes) for each in config.get("facet", [])],
        "label_name": str(label or "label"),
        "label_values": config.get("label_values_or_threshold", [1]),
    }
    group = config.get("group_variable")
    if group is not None:
        document["bias"]["group_variable"] = headers[group] if isinstance(group, int) else str(group)


def _selection(facet: Mapping[str, Any], headers: Sequence[str], schedule: str, notes: list[str]) -> dict[str, Any]:
    name = facet.get("name_or_index", "")
    if isinstance(name, int) and name < len(headers):
        name = headers[name]
    values = facet.get("value_or_threshold", [])
    if len(values) == 1 and isinstance(values[0], float) and not values[0].is_integer():
        return {"name": str(name), "above": values[0]}
    if any(isinstance(value, int | float) and value not in (0, 1) for value in values):
        notes.append(f"{schedule}: Clarify may take the numbers of facet {name} for thresholds; here they are values")
    return {"name": str(name), "values": values}


def _config(uri: str) -> dict[str, Any]:
    file = file_of(uri, "ConfigUri")
    if file is None:
        raise NotFoundError(f"{uri}: the analysis configuration is not there")
    try:
        document = msgspec.json.decode(file.read())
    except UNDECODABLE:
        document = None
    if not isinstance(document, dict):
        raise UnreadableError(uri, "expected Clarify's analysis configuration, a JSON object")
    return document


def _alarms(account: Asker, group: Sequence[Schedule]) -> list[str]:
    """CloudWatch alarms on the metrics that Model Monitor publishes for these schedules."""
    schedules = {each.name for each in group}
    alarms = account.ask("cloudwatch", "describe_alarms", AlarmTypes=["MetricAlarm"]).get("MetricAlarms", [])
    return sorted(alarm["AlarmName"] for alarm in alarms if _is_about(alarm, group[0].endpoint, schedules))


def _is_about(alarm: Mapping[str, Any], endpoint: str, schedules: set[str]) -> bool:
    for metric in _metrics(alarm):
        dimensions = {each["Name"]: each["Value"] for each in metric.get("Dimensions", [])}
        named = dimensions.get("MonitoringSchedule")
        ours = named in schedules if named else dimensions.get("Endpoint") == endpoint
        if str(metric.get("Namespace", "")).startswith(_NAMESPACE) and ours:
            return True
    return False


def _metrics(alarm: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield alarm
    for each in alarm.get("Metrics", []):
        yield each.get("MetricStat", {}).get("Metric", {})


def _note_differences(schedule: Schedule, notes: list[str]) -> None:
    if schedule.start_offset or schedule.end_offset:
        span = f"{schedule.start_offset or 'PT0S'} to {schedule.end_offset or 'PT0S'}"
        notes.append(
            f"{schedule.name} looks at {span}: not needed here, labels are joined until labels.horizon is over"
        )
    if schedule.excluded_features:
        notes.append(f"{schedule.name} leaves the features {schedule.excluded_features} out; this monitor does not")
    for uri in schedule.scripts:
        notes.append(f"{schedule.name} runs {uri}; the deployed functions run no script (`evaluate --preprocess` does)")
