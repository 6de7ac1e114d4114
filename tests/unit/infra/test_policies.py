"""Policies as data: who may what, for which reasons, and the comparison with recorded calls."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.topology import WEBHOOK
from infra import permissions, policies
from infra.permissions import Deployment, compare, matches
from infra.policies import CALLED, LISTS, SOURCES_OF_UNCALLED, statements, uncalled
from infra.template import FUNCTIONS, merge_template

HERE = Deployment(
    "dev",
    "123456789012",
    "eu-west-1",
    {
        "BucketName": "own",
        "CaptureObjects": ["arn:aws:s3:::captures/all/*"],
        "PipelineArns": ["arn:aws:sagemaker:eu-west-1:123456789012:pipeline/churn"],
    },
)


def test_every_function_has_a_list_and_every_list_a_function() -> None:
    assert set(CALLED) == set(FUNCTIONS)


def test_statement_ids_are_unique_in_their_policy() -> None:
    for function in FUNCTIONS:
        ids = [each.sid for each in statements(function)]
        assert len(ids) == len(set(ids)), function
        assert all(each.isalnum() for each in ids), "IAM takes letters and digits only"


def test_every_condition_is_the_templates() -> None:
    conditions = merge_template("dev")["Conditions"]
    named = {each.only_if for function in FUNCTIONS for each in statements(function) if each.only_if}
    lists = {f"Has{name}" for name in LISTS}
    assert named - lists <= conditions.keys()
    assert named & lists == lists, "every list is somebody's"


def test_what_no_client_call_shows_has_a_source_and_no_source_is_idle() -> None:
    actions = {action for function in FUNCTIONS for each in uncalled(function) for action in each.actions}
    assert actions == set(SOURCES_OF_UNCALLED)
    assert all(page.startswith("https://docs.aws.amazon.com/") for page in SOURCES_OF_UNCALLED.values())


def test_every_reason_is_a_sentence() -> None:
    assert all(len(reason) > 40 and reason.endswith(".") for reason in policies.reasons().values())


def test_every_operation_has_its_service_page() -> None:
    services = {service.removesuffix("-runtime") for service, _ in permissions.OPERATIONS}
    assert services == set(permissions.AUTHORIZATION_PAGES)


# The comparison -------------------------------------------------------------------------------------------------------


def calls(function: str, *made: tuple[str, str, dict[str, str]]) -> dict[str, Any]:
    return {function: list(made)}


def test_a_granted_call_is_no_fault_and_counts() -> None:
    found = compare(HERE, calls("retrain_claimed", ("sagemaker", "StartPipelineExecution", {"PipelineName": "churn"})))
    assert found.missing == ()
    assert found.used["retrain_claimed"] == {"sagemaker:StartPipelineExecution": 1}
    assert not [each for each in found.unused if "StartPipelineExecution" in each]


@pytest.mark.parametrize(
    ("function", "call", "missing"),
    [
        (
            "retrain_claimed",
            ("sagemaker", "StartPipelineExecution", {"PipelineName": "another"}),
            "retrain_claimed: sagemaker:StartPipelineExecution on "
            "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/another",
        ),
        (
            "window_due",
            ("sagemaker", "StartPipelineExecution", {"PipelineName": "churn"}),
            "window_due: sagemaker:StartPipelineExecution on arn:aws:sagemaker:eu-west-1:123456789012:pipeline/churn",
        ),
        (
            WEBHOOK,
            ("s3", "PutObject", {"Bucket": "own", "Key": "captures/a"}),
            f"{WEBHOOK}: s3:PutObject on arn:aws:s3:::own/captures/a",
        ),
        (
            "capture_landed",
            ("dynamodb", "GetItem", {"TableName": "plumbline-prod-table"}),
            "capture_landed: dynamodb:GetItem on arn:aws:dynamodb:eu-west-1:123456789012:table/plumbline-prod-table",
        ),
    ],
)
def test_a_call_that_no_policy_grants_is_reported(function: str, call: Any, missing: str) -> None:
    assert compare(HERE, calls(function, call)).missing == (missing,)


def test_a_monitored_endpoint_may_be_given_any_configuration_and_no_other_endpoint_may() -> None:
    here = Deployment(
        "dev",
        "123456789012",
        "eu-west-1",
        {"EndpointArns": ["arn:aws:sagemaker:eu-west-1:123456789012:endpoint/churn"]},
    )

    def missing(endpoint: str, config: str) -> tuple[str, ...]:
        request = {"EndpointName": endpoint, "EndpointConfigName": config}
        return compare(here, calls("promotion_claimed", ("sagemaker", "UpdateEndpoint", request))).missing

    assert missing("churn", "plumbline-dev-churn-g1") == ()
    assert missing("churn", "named-by-its-owner") == (), "the first champion's"
    assert missing("another", "named-by-its-owner") == (
        "promotion_claimed: sagemaker:UpdateEndpoint on arn:aws:sagemaker:eu-west-1:123456789012:endpoint/another",
    )


def test_a_grant_that_nothing_used_is_told() -> None:
    unused = compare(HERE, {}).unused
    for line in (
        "retrain_claimed: sagemaker:StartPipelineExecution on "
        "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/churn (statement Retrain)",
        "capture_landed: s3:GetObject on arn:aws:s3:::captures/all/* (statement CapturesExisting)",
        "windows_due: sqs:SendMessage on arn:aws:sqs:eu-west-1:123456789012:plumbline-dev-retrain-claims "
        "(statement Send)",
    ):
        assert line in unused
    assert not [each for each in unused if "GroundTruthExisting" in each], "its parameter is empty: nothing is granted"


def test_an_unknown_operation_is_not_passed_over() -> None:
    with pytest.raises(KeyError):
        compare(HERE, calls("window_due", ("s3", "PutBucketPolicy", {"Bucket": "own"})))


@pytest.mark.parametrize(
    ("pattern", "resource", "answer"),
    [
        ("arn:aws:s3:::b/captures/*", "arn:aws:s3:::b/captures/e/v/x", True),
        ("arn:aws:s3:::b/captures/*", "arn:aws:s3:::b/labels/x", False),
        ("arn:aws:s3:::b/a[1]*", "arn:aws:s3:::b/a[1]x", True),
        ("*", "anything", True),
        ("arn:aws:s3:::B", "arn:aws:s3:::b", False),
    ],
)
def test_resources_match_as_iam_matches_them(pattern: str, resource: str, answer: bool) -> None:
    assert matches(pattern, resource) is answer


def test_the_table_names_every_function_and_every_source() -> None:
    made = calls("retrain_claimed", ("sagemaker", "StartPipelineExecution", {"PipelineName": "churn"}))
    text = permissions.table(compare(HERE, made))
    assert "sagemaker:StartPipelineExecution 1" in next(
        line for line in text.splitlines() if line.split()[:1] == ["retrain_claimed"]
    )
    assert all(f"  {function}" in text for function in FUNCTIONS)
    assert "iam:PassRole (promotion_claimed): https://docs.aws.amazon.com/" in text
    assert "sqs:ReceiveMessage (every function with a queue): https://docs.aws.amazon.com/" in text
