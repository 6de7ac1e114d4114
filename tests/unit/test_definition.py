"""The monitor definition: what is accepted, and that a wrong field is named together with what was expected."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.definition import Definition, canonical_json, parse_definition, split_s3_uri, version_of
from chalicelib.errors import MisconfiguredError

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "electricity").glob("*.yaml"))
MANIFEST = {"ManifestUri": "{manifest_uri}"}

FULL: dict[str, Any] = {
    "name": "churn",
    "endpoint": "Churn-Endpoint",
    "variant": "Blue",
    "capture_s3_uri": "s3://captures/all",
    "ground_truth_s3_uri": "s3://labels/churn",
    "output_s3_uri": "s3://reports/churn",
    "monitor_types": ["ModelQuality", "DataQuality"],
    "attributes": {"features": ["a", "b"], "probability_attribute": "0", "probability_threshold": 0.4},
    "window": {"length": "PT6H", "grace": "PT10M"},
    "labels": {"horizon": "P30D", "conflict": "reject"},
    "baseline": {"data_quality_statistics": "s3://baseline/statistics.json"},
    "policy": {"cost": 0.5, "promotion": "manual"},
    "alarms": [{"name": "low", "role": "trigger"}, {"name": "5xx", "role": "veto"}],
    "schedules": ["Churn-Schedule"],
    "retraining": {
        "pipeline_name": "churn-retraining",
        "output_uri": "s3://retraining/churn",
        "parameters": {"ManifestUri": "{manifest_uri}", "Where": "{output_uri}/{monitor}/{endpoint}/{decision_id}"},
    },
    "routes": [
        {"kind": "webhook", "url": "https://example.com/hook", "secret": "/hook"},
        {"kind": "slack", "secret": "/slack", "severities": ["error"]},
    ],
}
REQUIRED = ("name", "endpoint", "capture_s3_uri", "output_s3_uri", "attributes")
LEAST: dict[str, Any] = {name: FULL[name] for name in REQUIRED} | {"monitor_types": ["DataQuality"]}


def changed(path: str, value: Any) -> dict[str, Any]:
    """A copy of the full document with one place set (`a.b`, `list.0`), or removed when the value is Ellipsis."""
    document = copy.deepcopy(FULL)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    place: Any = document
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def refused(document: Any) -> MisconfiguredError:
    with pytest.raises(MisconfiguredError) as caught:
        parse_definition(document)
    assert "\n" not in str(caught.value)
    return caught.value


# What is accepted -----------------------------------------------------------------------------------------------------


def test_every_field():
    found = parse_definition(FULL)
    assert (found.name, found.variant, found.monitor_types) == ("churn", "Blue", ("ModelQuality", "DataQuality"))
    assert (found.window_length.total_seconds(), found.grace.total_seconds()) == (21600, 600)
    assert (found.horizon.days, found.policy.cost, found.alarms[1].role) == (30, 0.5, "veto")
    assert found.retraining is not None and found.routes[1].severities == ("error",)
    assert msgspec.json.decode(canonical_json(found), type=Definition) == found


def test_the_least():
    found = parse_definition(LEAST)
    assert (found.variant, found.window.length, found.labels.horizon) == ("AllTraffic", "PT1H", "P45D")
    assert (found.retraining, found.alarms, found.ground_truth_s3_uri) == (None, (), "")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples(path: Path):
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = parse_definition(document)
    assert found.endpoint == document["endpoint"]
    assert parse_definition(json.loads(json.dumps(document))) == found


def test_there_are_two_examples():
    assert [path.name for path in EXAMPLES] == ["monitor.yaml", "never-retrained.yaml"]


def test_json_and_yaml_are_equal():
    assert version_of(parse_definition(yaml.safe_load(yaml.safe_dump(FULL)))) == version_of(parse_definition(FULL))
    assert version_of(parse_definition(yaml.safe_load(json.dumps(FULL)))) == version_of(parse_definition(FULL))


@given(st.randoms(use_true_random=False))
def test_the_version_does_not_depend_on_the_order_of_keys(random: Any):
    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(each) for each in value]
        if not isinstance(value, dict):
            return value
        names = list(value)
        random.shuffle(names)
        return {name: shuffled(value[name]) for name in names}

    assert canonical_json(parse_definition(shuffled(FULL))) == canonical_json(parse_definition(FULL))


@pytest.mark.parametrize("path, value", [("policy.cost", 0.6), ("name", "churn2"), ("alarms.0.role", "veto")])
def test_another_definition_is_another_version(path: str, value: Any):
    assert version_of(parse_definition(changed(path, value))) != version_of(parse_definition(FULL))


def test_a_default_written_out_is_the_same_version():
    assert version_of(parse_definition(LEAST | {"variant": "AllTraffic"})) == version_of(parse_definition(LEAST))


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, meant",
    [
        ("endpont", "endpoint"),
        ("capture_s3_url", "capture_s3_uri"),
        ("window.lenght", "window.length"),
        ("labels.horizons", "labels.horizon"),
        ("policy.costs", "policy.cost"),
        ("baseline.data_quality_constraint", "baseline.data_quality_constraints"),
        ("attributes.probability_atribute", "attributes.probability_attribute"),
        ("retraining.pipeline", "retraining.pipeline_name"),
        ("alarms.1.rol", "alarms[1].role"),
        ("routes.0.urll", "routes[0].url"),
    ],
)
def test_a_misspelt_field_is_told_the_right_one(path: str, meant: str):
    error = refused(changed(path, "x"))
    written = path.rpartition(".")[2]
    assert error.field == re.sub(r"\w+$", written, meant)
    assert error.expected == f"did you mean {meant}?"


def test_a_field_like_no_other_is_told_all():
    error = refused(changed("alarms.0.zzz", 1))
    assert (error.field, error.expected) == ("alarms[0].zzz", "one of name, role")


@pytest.mark.parametrize(
    "path, field",
    [
        *((name, name) for name in REQUIRED),
        ("alarms.0.name", "alarms[0].name"),
        ("alarms.1.role", "alarms[1].role"),
        ("retraining.pipeline_name", "retraining.pipeline_name"),
        ("retraining.output_uri", "retraining.output_uri"),
        ("retraining.parameters", "retraining.parameters"),
        ("routes.1.kind", "routes[1].kind"),
    ],
)
def test_a_missing_field_is_named(path: str, field: str):
    error = refused(changed(path, ...))
    assert (error.field, error.expected) == (field, "a value: the field is required")


@pytest.mark.parametrize(
    "path, value, field, got, expected",
    [
        ("name", 5, "name", "a whole number", "a text"),
        ("endpoint", None, "endpoint", "nothing", "a text"),
        ("window", "PT1H", "window", "a text", "a mapping of fields"),
        ("monitor_types", "DataQuality", "monitor_types", "a text", "a list"),
        ("alarms", {"name": "low"}, "alarms", "a mapping of fields", "a list"),
        ("alarms.0", "low", "alarms[0]", "a text", "a mapping of fields"),
        ("schedules", [1], "schedules[0]", "a whole number", "a text"),
        ("policy.cost", "much", "policy.cost", "a text", "a number"),
        ("policy.pool_size", 1.5, "policy.pool_size", "a number", "a whole number"),
        ("policy.retrain", "yes", "policy.retrain", "a text", "true or false"),
        (
            "attributes.probability_attribute",
            0,
            "attributes.probability_attribute",
            "a whole number",
            "a text or nothing",
        ),
        ("retraining.parameters", [], "retraining.parameters", "a list", "a mapping of fields"),
        ("retraining.parameters.Extra", 3, "retraining.parameters[...]", "a whole number", "a text"),
        (
            "monitor_types",
            ["DataQality"],
            "monitor_types[0]",
            "DataQality",
            "one of DataQuality, ModelQuality, ModelBias, ModelExplainability",
        ),
        ("alarms.0.role", "trigerr", "alarms[0].role", "trigerr", "one of trigger, evidence, veto"),
        ("labels.conflict", "newest", "labels.conflict", "newest", "one of latest, first, reject"),
        ("policy.promotion", "ask", "policy.promotion", "ask", "one of auto, manual"),
        ("routes.0.kind", "mail", "routes[0].kind", "mail", "one of slack, teams, pagerduty, webhook"),
        (
            "routes.1.severities",
            ["error", "bad"],
            "routes[1].severities[1]",
            "bad",
            "one of critical, error, warning, info",
        ),
        (
            "attributes.problem_type",
            "Ranking",
            "attributes.problem_type",
            "Ranking",
            "one of BinaryClassification, MulticlassClassification, Regression",
        ),
    ],
)
def test_a_wrong_type_is_named_with_what_was_expected(path: str, value: Any, field: str, got: str, expected: str):
    error = refused(changed(path, value))
    assert (error.field, error.value, error.expected) == (field, got, expected)


@pytest.mark.parametrize(
    "uri", ["captures/all", "http://captures", "s3:/captures", "s3://", "s3://Captures/x", "s3://a/b\nc"]
)
@pytest.mark.parametrize(
    "path",
    [
        "capture_s3_uri",
        "output_s3_uri",
        "ground_truth_s3_uri",
        "retraining.output_uri",
        "baseline.data_quality_statistics",
        "baseline.data_quality_constraints",
        "baseline.model_quality_constraints",
        "baseline.model_bias_constraints",
        "baseline.model_explainability_constraints",
    ],
)
def test_a_bad_uri_is_named(path: str, uri: str):
    error = refused(changed(path, uri))
    assert (error.field, error.value) == (path, uri) and "an S3 URI such as s3://" in error.expected


@pytest.mark.parametrize(
    "uri, expected",
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/a/b/", ("bucket", "a/b")),
        ("s3://my.bucket-1/a b/c=d", ("my.bucket-1", "a b/c=d")),
    ],
)
def test_split_s3_uri(uri: str, expected: tuple[str, str]):
    assert split_s3_uri(uri) == expected


@pytest.mark.parametrize(
    "path, value, expected",
    [
        ("name", "Churn", "lower-case letters"),
        ("name", "a--b", "single hyphens"),
        ("name", "a" * 41, "1-40"),
        ("name", "", "1-40"),
        ("endpoint", "my_endpoint", "a SageMaker name"),
        ("endpoint", "-x", "a SageMaker name"),
        ("variant", "all traffic", "a SageMaker name"),
        ("monitor_types", [], "at least one of DataQuality, ModelQuality, ModelBias, ModelExplainability"),
        ("window.length", "PT5H", "whole days"),
        ("window.length", "PT90M", "whole days"),
        ("window.length", "PT0H", "whole days"),
        ("window.length", "P1M", "an ISO-8601 duration"),
        ("window.length", "1h", "an ISO-8601 duration"),
        ("window.length", "P60D", "at most P31D"),
        ("window.grace", "soon", "an ISO-8601 duration"),
        ("window.grace", "P999999W", "at most P31D"),
        ("labels.horizon", "P1Y", "an ISO-8601 duration"),
        ("labels.horizon", "P999999W", "at most P3660D"),
        ("policy.cost", 0, "more than 0"),
        ("policy.cost", float("nan"), "a number from 0 to"),
        ("policy.cost", float("inf"), "a number from 0 to"),
        ("policy.min_label_coverage", 1.5, "a number from 0 to 1"),
        ("policy.min_labelled_rows", 10**30, "a number from 1 to"),
        ("policy.pool_size", 51, "a number from 0 to 50"),
        ("retraining.pipeline_name", "my pipeline", "a SageMaker pipeline name"),
        ("retraining.parameters", {}, "contains {manifest_uri}"),
        ("retraining.parameters", {"ManifestUri": "manifest_uri"}, "contains {manifest_uri}"),
        ("retraining.parameters", {"ManifestUri": "{manifest_uri"}, "contains {manifest_uri}"),
    ],
)
def test_a_value_that_cannot_work_is_named(path: str, value: Any, expected: str):
    error = refused(changed(path, value))
    assert error.field == path and expected in error.expected


@pytest.mark.parametrize("text", ["{manifest}", "{manifest_uri}/{Monitor}", "{}", "x{ output_uri }"])
def test_an_unknown_placeholder_is_named(text: str):
    error = refused(changed("retraining.parameters", {**MANIFEST, "Other": text}))
    assert (error.field, error.value) == ("retraining.parameters.Other", text)
    assert error.expected == "only the placeholders decision_id, endpoint, manifest_uri, monitor, output_uri"


@pytest.mark.parametrize("field", ["capture_s3_uri", "ground_truth_s3_uri"])
@pytest.mark.parametrize("output", ["s3://watched/here", "s3://watched/here/", "s3://watched/here/reports/deep"])
@pytest.mark.parametrize("end", ["", "/"])
def test_output_under_a_watched_prefix_is_refused(field: str, output: str, end: str):
    error = refused(changed("output_s3_uri", output) | {field: f"s3://watched/here{end}"})
    assert (error.field, error.value, error.expected) == ("output_s3_uri", output, f"a place outside {field}")


@pytest.mark.parametrize("output", ["s3://watched/hereafter", "s3://watched", "s3://other/here"])
def test_output_beside_a_watched_prefix_is_fine(output: str):
    document = changed("output_s3_uri", output) | {"capture_s3_uri": "s3://watched/here"}
    assert parse_definition(document).output_s3_uri == output


def test_model_quality_needs_ground_truth():
    assert refused(LEAST | {"monitor_types": ["ModelQuality"]}).field == "ground_truth_s3_uri"


def test_a_regression_that_can_retrain_names_the_error_of_its_baseline():
    regression = changed("attributes", {"problem_type": "Regression", "inference_attribute": "0"})
    regression["baseline"] = {"model_quality_constraints": "s3://bucket/baseline/constraints.json"}
    assert parse_definition(regression).baseline.model_quality_constraints
    without = {**regression, "baseline": {}}
    assert refused(without).field == "baseline.model_quality_constraints"
    alerting = {name: value for name, value in without.items() if name != "retraining"}
    assert parse_definition(alerting).attributes.problem_type == "Regression"


# Bias and attribution -------------------------------------------------------------------------------------------------

BIAS: dict[str, Any] = {"facets": [{"name": "a", "values": ["x", 1]}], "group_variable": "b"}
ATTRIBUTION: dict[str, Any] = {"columns": ["phi_a", "phi_b"], "expected_column": "base"}
OUTPUTS = {"output_names": ["score", "phi_a", "phi_b", "base"]}


def with_sections(**changes: Any) -> dict[str, Any]:
    document = changed("attributes", FULL["attributes"] | OUTPUTS)
    document["monitor_types"] = ["ModelBias", "ModelExplainability"]
    return document | {"bias": BIAS, "attribution": ATTRIBUTION} | changes


def test_bias_and_attribution_are_read_and_kept():
    found = parse_definition(with_sections())
    assert found.bias and found.attribution
    assert [(facet.name, facet.text) for facet in found.bias.facets] == [("a", "x,1")]
    assert (found.attribution.threshold, found.attribution.label) == (0.9, "label0")
    assert parse_definition(json.loads(canonical_json(found))) == found


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"bias": None}, "bias"),
        ({"attribution": None}, "attribution"),
        ({"monitor_types": ["ModelBias"]}, "attribution"),
        ({"monitor_types": ["ModelExplainability"]}, "bias"),
        ({"ground_truth_s3_uri": ""}, "ground_truth_s3_uri"),
        ({"bias": {"facets": []}}, "bias.facets"),
        ({"bias": {"facets": [{"name": "a"}]}}, "bias.facets[0]"),
        ({"bias": {"facets": [{"name": "a", "value": [1]}]}}, "bias.facets[0].value"),
        ({"bias": {"facets": [{"name": "c", "values": [1]}]}}, "bias.facets[0].name"),
        ({"bias": BIAS | {"group_variable": "c"}}, "bias.group_variable"),
        ({"bias": BIAS | {"label_values": [2]}}, "bias.label_values"),
        ({"bias": BIAS | {"label_values": [0, 1]}}, "bias.label_values"),
        ({"bias": BIAS | {"label_above": 1}}, "bias.label_above"),
        ({"bias": BIAS | {"facets": [{"name": "a", "values": [[1]]}]}}, "bias.facets[0].values[0]"),
        ({"attribution": ATTRIBUTION | {"columns": ["phi_a"]}}, "attribution.columns"),
        ({"attribution": ATTRIBUTION | {"columns": ["phi_a", "phi_a"]}}, "attribution.columns"),
        ({"attribution": ATTRIBUTION | {"columns": ["phi_a", "phi_c"]}}, "attribution.columns"),
        ({"attribution": ATTRIBUTION | {"columns": ["phi_a", ""]}}, "attribution.columns"),
        ({"attribution": ATTRIBUTION | {"expected_column": "c"}}, "attribution.expected_column"),
        ({"attribution": ATTRIBUTION | {"label": ""}}, "attribution.label"),
        ({"attribution": ATTRIBUTION | {"threshold": 0}}, "attribution.threshold"),
        ({"attribution": ATTRIBUTION | {"agg_method": "median"}}, "attribution.agg_method"),
        ({"attributes": FULL["attributes"] | OUTPUTS | {"features": []}}, "attribution.columns"),
    ],
)
def test_sections_that_cannot_work_are_refused(changes: dict[str, Any], field: str):
    assert refused(with_sections(**changes)).field == field


def test_without_declared_features_facets_are_looked_for_in_the_data():
    attributes = {"probability_attribute": "0"}
    document = with_sections(monitor_types=["ModelBias"], attribution=None, attributes=attributes)
    assert parse_definition(document).bias


def test_an_alarm_has_one_role():
    error = refused(changed("alarms", [{"name": "low", "role": "trigger"}, {"name": "low", "role": "veto"}]))
    assert (error.field, error.value, error.expected) == ("alarms", ["low"], "each alarm once, in one role")


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"probability_attribute": None}, "inference_attribute"),
        ({"probability_threshold": 1.5}, "probability_threshold"),
        ({"probability_threshold": float("nan")}, "probability_threshold"),
        ({"features": ["a", "a"]}, "features"),
        ({"output_names": ["a"]}, "output_names"),
        ({"features_attribute": "a b ["}, "features_attribute"),
    ],
)
def test_attributes_are_checked_too(changes: dict[str, Any], field: str):
    error = refused(changed("attributes", {**FULL["attributes"], **changes}))
    assert error.field.endswith(field) and error.expected


def test_a_route_that_cannot_be_delivered_is_named_and_its_url_is_not_repeated():
    secret = "https://hooks.example.com/services/very-secret"
    error = refused(changed("routes.1", {"kind": "slack", "url": secret, "secret": "/slack"}))
    assert error.field == "routes[1]" and "either `url` or `secret`" in error.expected
    assert "very-secret" not in str(error)


@pytest.mark.parametrize("document", [None, [], "name: churn", 3])
def test_a_document_that_is_no_mapping(document: Any):
    assert refused(document).expected == "a mapping of fields"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from([*FULL, "policy.cost", "window.length", "alarms.0", "routes.1.secret", "retraining.parameters"]),
)
def test_whatever_stands_in_a_field_it_is_a_definition_or_refused_by_name(value: Any, path: str):
    try:
        found = parse_definition(changed(path, value))
    except MisconfiguredError as error:
        assert error.field and error.expected
    else:
        assert msgspec.json.decode(canonical_json(found), type=Definition) == found
