"""The monitor definition: one document per monitor, validated before anything is stored or handled.

Knows every field a user may write and what is expected in it; refuses to know where definitions are kept
(facts/monitors.py) or what they lead to. YAML is read by the command line only; what is stored is canonical JSON.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from datetime import timedelta
from functools import cache, lru_cache
from typing import Any, Literal, get_args, get_origin

import msgspec

from chalicelib.decisions.alert import Route
from chalicelib.decisions.policy import Policy, check_policy
from chalicelib.errors import UNDECODABLE, MisconfiguredError, UnreadableStateError
from chalicelib.evidence.alarms import Promise
from chalicelib.monitors.model_explainability import AttributionSettings, check_threshold
from chalicelib.monitors.types import LABELLED_TYPES, TYPES, MonitorType
from chalicelib.records.attributes import Attributes
from chalicelib.records.attributes import check as check_attributes
from chalicelib.records.label_files import LabelMapping, check_mapping
from chalicelib.records.window import check_length, parse_duration
from chalicelib.states.facets import BiasSettings
from chalicelib.states.facets import check as check_bias

# SageMaker's own rule for endpoint, schedule and pipeline names.
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
# Monitor names become parts of endpoint names with a suffix, so they are kept shorter.
MONITOR_NAME = re.compile(r"[a-z0-9](-?[a-z0-9]){0,39}")
S3_URI = re.compile(r"s3://([a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?)(?:/(.*))?")


# A closed window is evaluated again this long after, or half a horizon, whichever is shorter: otherwise a late file
# whose event was lost would not be found.
SECOND_LOOK = timedelta(days=1)
# Two seasons are read of the windows that show how much windows fluctuate.
MOST_SEASON = 256


class WindowSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`length`: ISO-8601, whole hours. `grace`: how long after its end a window waits for the last capture files."""

    length: str = "PT1H"
    grace: str = "PT5M"


class LabelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`horizon`: how long a window stays open to labels. `conflict`: which of several different labels counts.
    `mapping`: how label files that are not SageMaker's are read."""

    horizon: str = "P45D"
    conflict: Literal["latest", "first", "reject"] = "latest"
    mapping: LabelMapping | None = None


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """S3 URIs of the first champion's baseline files; empty: that check is not evaluated and says so."""

    data_quality_statistics: str = ""
    data_quality_constraints: str = ""
    model_quality_constraints: str = ""
    model_bias_constraints: str = ""
    model_explainability_constraints: str = ""
    measurement: str = ""


class PromiseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The promise on false alarms: where nothing changes, with a probability of at most `ever` there is one `within`
    this time. `season`: ISO 8601, after which traffic repeats (a week: P7D); "" for none."""

    ever: float = 0.05
    within: str = "P365D"
    season: str = ""

    def looks(self, window: timedelta) -> float:
        """How many windows of this length the time has."""
        return Promise(ever=self.ever, within=parse_duration(self.within, "promise.within")).looks(window)

    def windows_of_season(self, window: timedelta) -> int:
        """After how many windows traffic repeats; 1 without a season."""
        return round(parse_duration(self.season, "promise.season") / window) if self.season else 1


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`violations`: what becomes of violations of Model Monitor's thresholds without evidence: they are in the report;
    or counted in a weekly notice too; or open incidents and wake people."""

    violations: Literal["report", "digest", "wake"] = "report"


class Alarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A CloudWatch alarm and what its ALARM state means for a decision.

    trigger: asks for a retraining (all guards still hold); evidence: is written down with the decision;
    veto: while it lasts, nothing is retrained or rolled back.
    """

    name: str
    role: Literal["trigger", "evidence", "veto"]


class Retraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which pipeline, and what it is given.

    `parameters` maps each pipeline parameter to a text in which {manifest_uri}, {output_uri}, {decision_id},
    {monitor}, {endpoint} are replaced. At least one parameter must take {manifest_uri}.
    `output_uri` is where this monitor's executions may write.
    """

    pipeline_name: str
    output_uri: str
    parameters: dict[str, str]


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One monitor. See docs/monitor-definition.md for every field with its default."""

    name: str
    endpoint: str
    capture_s3_uri: str
    output_s3_uri: str
    variant: str = "AllTraffic"
    monitor_types: tuple[MonitorType, ...] = ("DataQuality", "ModelQuality")
    merged_records: Literal["settled", "always", "never"] = "settled"
    ground_truth_s3_uri: str = ""
    attributes: Attributes
    window: WindowSettings = WindowSettings()
    labels: LabelSettings = LabelSettings()
    baseline: Baseline = Baseline()
    promise: PromiseSettings = PromiseSettings()
    alerts: AlertSettings = AlertSettings()
    policy: Policy = Policy()
    bias: BiasSettings | None = None
    attribution: AttributionSettings | None = None
    alarms: tuple[Alarm, ...] = ()
    schedules: tuple[str, ...] = ()
    retraining: Retraining | None = None
    routes: tuple[Route, ...] = ()

    @property
    def reads_labels(self) -> bool:
        """Whether any of its monitor types needs labels."""
        return not set(LABELLED_TYPES).isdisjoint(self.monitor_types)

    @property
    def window_hours(self) -> int:
        return self.window_length // timedelta(hours=1)

    @property
    def window_length(self) -> timedelta:
        return parse_duration(self.window.length, "window.length")

    @property
    def grace(self) -> timedelta:
        return parse_duration(self.window.grace, "window.grace")

    @property
    def horizon(self) -> timedelta:
        return parse_duration(self.labels.horizon, "labels.horizon")

    @property
    def second_look(self) -> timedelta:
        """How long after its own evaluation a window is evaluated again: a file whose event was lost is found then."""
        return max(min(SECOND_LOOK, self.horizon / 2) // self.window_length, 1) * self.window_length


@lru_cache(maxsize=1024)
def split_s3_uri(uri: str, field: str = "uri") -> tuple[str, str]:
    """`s3://bucket/a/b/` -> ("bucket", "a/b"). Raises MisconfiguredError naming `field`."""
    match = S3_URI.fullmatch(uri)
    if not match:
        raise MisconfiguredError(field, uri, "an S3 URI such as s3://bucket/prefix")
    return match[1], (match[2] or "").strip("/")


def parse_definition(document: Any) -> Definition:
    """Check a decoded YAML or JSON document and return the definition.

    Raises MisconfiguredError naming the field, what it holds and what was expected (for a misspelt field also
    the name that was probably meant).
    """
    if not isinstance(document, dict):
        raise MisconfiguredError("definition", type(document).__name__, "a mapping of fields")
    _refuse_what_cannot_be_written(document)
    _refuse_unknown_fields(document, Definition, "")
    try:
        definition = msgspec.convert(document, Definition)
    except msgspec.ValidationError as error:
        raise _as_misconfigured(error) from None
    _check(definition)
    return definition


def canonical_json(definition: Definition) -> bytes:
    """The bytes under which a definition is stored; equal definitions give equal bytes."""
    return msgspec.json.encode(definition, order="sorted")


def decode_definition(body: bytes, where: str) -> Definition:
    """Read what `canonical_json` wrote; `where` names it. Raises UnreadableStateError."""
    try:
        return msgspec.json.decode(body, type=Definition)
    except UNDECODABLE:
        raise UnreadableStateError(where, "a stored monitor definition") from None


def version_of(definition: Definition) -> str:
    """The first 12 hex digits of the SHA-256 of the canonical JSON: the policy version of every decision."""
    return hashlib.sha256(canonical_json(definition)).hexdigest()[:12]


def _refuse_what_cannot_be_written(document: Any) -> None:
    """Escapes can spell half a surrogate pair and aliases a list in itself: neither can be stored or shown."""
    try:
        msgspec.json.encode(document)
    except UnicodeEncodeError:
        raise MisconfiguredError("definition", "half a surrogate pair", "text that UTF-8 can hold") from None
    except RecursionError:
        raise MisconfiguredError("definition", "endless nesting", "a mapping of fields") from None
    except TypeError:
        pass  # a key or value that no field takes: refused by name


def _check(definition: Definition) -> None:
    if not MONITOR_NAME.fullmatch(definition.name):
        raise MisconfiguredError("name", definition.name, "1-40 lower-case letters, digits and single hyphens")
    for field in ("endpoint", "variant"):
        if not NAME.fullmatch(getattr(definition, field)):
            raise MisconfiguredError(field, getattr(definition, field), "a SageMaker name: letters, digits, hyphens")
    for field in ("capture_s3_uri", "output_s3_uri"):
        split_s3_uri(getattr(definition, field), field)
    if not definition.monitor_types:
        raise MisconfiguredError("monitor_types", [], f"at least one of {', '.join(get_args(MonitorType))}")
    if len(set(definition.monitor_types)) < len(definition.monitor_types):
        raise MisconfiguredError("monitor_types", list(definition.monitor_types), "each type once")
    try:
        check_attributes(definition.attributes)
    except MisconfiguredError as error:
        raise MisconfiguredError(f"attributes.{error.field}", error.value, error.expected) from None
    try:
        check_length(definition.window_length, "window.length")
    except MisconfiguredError as error:  # what the user wrote, not how Python prints it
        raise MisconfiguredError(error.field, definition.window.length, error.expected) from None
    _check_durations(definition)
    _check_promise(definition)
    if definition.labels.mapping:
        try:
            check_mapping(definition.labels.mapping)
        except MisconfiguredError as error:
            raise MisconfiguredError(f"labels.mapping.{error.field}", error.value, error.expected) from None
    check_policy(definition.policy)
    if definition.reads_labels:
        split_s3_uri(definition.ground_truth_s3_uri, "ground_truth_s3_uri")
    _check_sections(definition)
    names = [alarm.name for alarm in definition.alarms]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise MisconfiguredError("alarms", twice, "each alarm once, in one role")
    for field in Baseline.__struct_fields__:
        if value := getattr(definition.baseline, field):
            split_s3_uri(value, f"baseline.{field}")
    _check_prefixes(definition)
    if definition.retraining:
        if definition.merged_records == "never":
            raise MisconfiguredError("merged_records", "never", "settled or always: a retraining learns from them")
        _check_retraining(definition.retraining)
        if definition.attributes.problem_type == "Regression" and not definition.baseline.model_quality_constraints:
            expected = "a file with the mean absolute error of the baseline: losses are multiples of it"
            raise MisconfiguredError("baseline.model_quality_constraints", "", expected)


def _check_sections(definition: Definition) -> None:
    """A monitor type has its section, and a section its monitor type: one that nothing reads is a slip."""
    for monitor_type, kind in TYPES.items():
        if not (name := kind.section):
            continue
        section = getattr(definition, name)
        if monitor_type in definition.monitor_types and section is None:
            raise MisconfiguredError(name, None, f"a section, as monitor_types has {monitor_type}")
        if monitor_type not in definition.monitor_types and section is not None:
            raise MisconfiguredError(name, "a section", f"{monitor_type} in monitor_types, or no section")
    if definition.bias:
        try:
            _check_bias(definition.bias, definition.attributes)
        except MisconfiguredError as error:
            raise MisconfiguredError(f"bias.{error.field}", error.value, error.expected) from None
    if definition.attribution:
        try:
            _check_attribution(definition.attribution, definition.attributes)
        except MisconfiguredError as error:
            raise MisconfiguredError(f"attribution.{error.field}", error.value, error.expected) from None


def _check_bias(bias: BiasSettings, attributes: Attributes) -> None:
    check_bias(bias)
    if attributes.problem_type == "BinaryClassification" and sorted(bias.positive.members([0, 1]).tolist()) != [0, 1]:
        field = "label_values" if bias.label_above is None else "label_above"
        raise MisconfiguredError(field, bias.positive.text, "one of the classes 0 and 1 to be positive")
    columns = (*attributes.features, *attributes.output_names)
    names = {f"facets[{place}].name": facet.name for place, facet in enumerate(bias.facets)}
    if bias.group_variable:
        names["group_variable"] = bias.group_variable
    for field, name in names.items():
        if attributes.features and name not in columns:  # else the data's own names are not known before
            raise MisconfiguredError(field, name, f"one of attributes.features or output_names: {', '.join(columns)}")


def _check_attribution(attribution: AttributionSettings, attributes: Attributes) -> None:
    check_threshold(attribution.threshold)
    if not attribution.label:
        raise MisconfiguredError("label", "", "a name")
    columns, features = attribution.columns, attributes.features
    if not columns and features and not attribution.expected_column:
        return  # the model returns none
    if not features or len(columns) != len(features) or len(set(columns)) != len(columns):
        expected = (
            f"{len(features)} outputs, one for each of attributes.features" if features else "attributes.features"
        )
        raise MisconfiguredError("columns", list(columns), expected)
    for field, name in (*(("columns", name) for name in columns), ("expected_column", attribution.expected_column)):
        if (name or field == "columns") and name not in attributes.output_names:
            raise MisconfiguredError(
                field, name, f"one of attributes.output_names: {', '.join(attributes.output_names)}"
            )


def _check_durations(definition: Definition) -> None:
    """Longer ones are slips of the pen, and sums with them would leave the calendar."""
    for field, text, days in (
        ("window.length", definition.window.length, 31),
        ("window.grace", definition.window.grace, 31),
        ("labels.horizon", definition.labels.horizon, 3660),
    ):
        if parse_duration(text, field) > timedelta(days=days):
            raise MisconfiguredError(field, text, f"at most P{days}D")


def _check_promise(definition: Definition) -> None:
    promise, length = definition.promise, definition.window_length
    if not 0.0 < promise.ever <= 0.5:
        raise MisconfiguredError("promise.ever", promise.ever, "a probability above 0 and at most 0.5")
    within = parse_duration(promise.within, "promise.within")
    if not length <= within <= timedelta(days=3660):
        raise MisconfiguredError("promise.within", promise.within, "at least a window and at most P3660D")
    if promise.season:
        season = parse_duration(promise.season, "promise.season")
        if season % length or not 2 * length <= season <= MOST_SEASON * length:
            expected = f"2 to {MOST_SEASON} windows of {definition.window.length}"
            raise MisconfiguredError("promise.season", promise.season, expected)


def _check_prefixes(definition: Definition) -> None:
    """Derived output must never match a prefix that we listen to, or each report would be an event for us."""
    written = {"output_s3_uri": definition.output_s3_uri}
    if definition.retraining:
        written["retraining.output_uri"] = definition.retraining.output_uri
    for name, uri in written.items():
        for field in ("capture_s3_uri", "ground_truth_s3_uri"):
            source = getattr(definition, field)
            if source and f"{uri.rstrip('/')}/".startswith(f"{source.rstrip('/')}/"):
                raise MisconfiguredError(name, uri, f"a place outside {field}")
    if definition.ground_truth_s3_uri.rstrip("/") == definition.capture_s3_uri.rstrip("/"):
        raise MisconfiguredError(
            "ground_truth_s3_uri", definition.ground_truth_s3_uri, "another place than the captures"
        )


def _check_retraining(retraining: Retraining) -> None:
    if not NAME.fullmatch(retraining.pipeline_name):
        raise MisconfiguredError("retraining.pipeline_name", retraining.pipeline_name, "a SageMaker pipeline name")
    split_s3_uri(retraining.output_uri, "retraining.output_uri")
    if not any("{manifest_uri}" in text for text in retraining.parameters.values()):
        raise MisconfiguredError(
            "retraining.parameters", sorted(retraining.parameters), "one parameter whose value contains {manifest_uri}"
        )
    known = {"manifest_uri", "output_uri", "decision_id", "monitor", "endpoint"}
    for name, text in retraining.parameters.items():
        for placeholder in re.findall(r"{([^{}]*)}", text):
            if placeholder not in known:
                raise MisconfiguredError(
                    f"retraining.parameters.{name}", text, "only the placeholders " + ", ".join(sorted(known))
                )


def _refuse_unknown_fields(document: Any, kind: Any, path: str) -> None:
    """msgspec names an unknown field but not the one that was meant; a misspelt field deserves both."""
    fields = _fields(kind)
    for name, value in document.items():
        here = f"{path}{name}"
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1)
            expected = f"did you mean {path}{near[0]}?" if near else "one of " + ", ".join(sorted(fields))
            raise MisconfiguredError(here, "an unknown field", expected)
        if isinstance(value, dict) and (inner := _struct_in(fields[name])):
            _refuse_unknown_fields(value, inner, f"{here}.")
        for position, entry in enumerate(value if isinstance(value, list) else ()):
            if isinstance(entry, dict) and (inner := _struct_in(fields[name])):
                _refuse_unknown_fields(entry, inner, f"{here}[{position}].")


@cache
def _fields(kind: Any) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _struct_in(annotation: Any) -> Any:
    """The struct type inside `X`, `X | None` or `tuple[X, ...]`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    return next((inner for part in getattr(annotation, "__args__", ()) if (inner := _struct_in(part))), None)


# JSON's words in msgspec's messages, and ours.
_WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping of fields",
    "null": "nothing",
}


def _as_misconfigured(error: msgspec.ValidationError) -> MisconfiguredError:
    text, _, place = str(error).partition(" - at `$")
    field = place.rstrip("`").lstrip(".") or "definition"
    missing = re.search(r"missing required field `(\w+)`", text)
    if missing:
        return MisconfiguredError(
            f"{field}.{missing[1]}" if place else missing[1], None, "a value: the field is required"
        )
    if text.startswith("Invalid enum value"):
        return MisconfiguredError(field, text.partition("'")[2].rstrip("'"), "one of " + ", ".join(_choices(field)))
    kinds = re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`", text)
    if not kinds:
        return MisconfiguredError(field, "an invalid value", text)
    expected, got = (" or ".join(_WORDS.get(word, word) for word in kind.split(" | ")) for kind in kinds.groups())
    return MisconfiguredError(field, got, expected)


def _choices(field: str) -> list[str]:
    """The words that may stand at a place such as alarms[0].role; msgspec names only the one that may not."""
    kind: Any = Definition
    for name in re.findall(r"[a-z_]+", field):
        kind = {each.name: each.type for each in msgspec.structs.fields(_struct_in(kind))}[name]
    while get_origin(kind) is not Literal:
        kind = get_args(kind)[0]
    return [str(word) for word in get_args(kind)]
