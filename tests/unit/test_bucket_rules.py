"""The rules of a bucket: one pattern within EventBridge's limits, that hears all it must and is known again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.topology import SOURCES
from plumbline.cli.account.bucket_rules import PATTERN_LIMIT, covering, event_pattern, hears, rule_name, same_source
from plumbline.cli.account.stage_checks import lets_send

PART = st.text("abcdefgh-0123456789", min_size=1, max_size=40)
PREFIX = st.lists(PART, max_size=6).map(lambda parts: "".join(f"{part}/" for part in parts))
BUCKET = "b" * 63


@given(st.lists(PREFIX, min_size=1, max_size=80))
def test_every_prefix_is_heard_within_the_limit(prefixes: list[str]) -> None:
    pattern = event_pattern(BUCKET, prefixes)
    assert len(pattern) <= PATTERN_LIMIT
    assert all(hears(pattern, BUCKET, prefix) for prefix in prefixes)
    assert not hears(pattern, "another", prefixes[0])


@given(st.lists(PREFIX, min_size=1, max_size=20))
def test_covering_is_the_least_that_hears_all(prefixes: list[str]) -> None:
    found = covering(prefixes)
    assert all(any(prefix.startswith(each) for each in found) for prefix in prefixes)
    assert all(not one.startswith(other) for one in found for other in found if one != other)
    assert set(found) <= set(prefixes)


def test_few_prefixes_are_heard_and_no_others() -> None:
    pattern = event_pattern("data", ["captures/", "captures/churn/", "more/"])
    assert json.loads(pattern)["detail"]["object"]["key"] == [{"prefix": "captures/"}, {"prefix": "more/"}]
    assert not hears(pattern, "data", "reports/")


def test_the_order_of_prefixes_makes_no_other_pattern() -> None:
    assert event_pattern("data", ["b/", "a/"]) == event_pattern("data", ["a/", "b/", "a/"])


@pytest.mark.parametrize("stage, bucket", [("a" * 20, "b" * 63), ("x", "abc")])
def test_names_fit_eventbridge(stage: str, bucket: str) -> None:
    names = {rule_name(stage, queue, bucket) for queue in ("captures", "ground-truth")}
    assert len(names) == 2 and all(len(name) <= 64 and name.startswith(f"plumbline-{stage}-") for name in names)


@pytest.mark.parametrize(
    "change",
    [
        {"source": ["aws.ec2"]},
        {"detail-type": ["Object Deleted"]},
        {"account": ["123456789012"]},
        {"detail": {"bucket": {"name": ["data"]}, "reason": ["PutObject"]}},
        {"detail": {"bucket": {"name": ["data"]}, "object": {"key": [{"suffix": ".jsonl"}]}}},
        {"detail": {"bucket": {"name": ["data"]}, "object": {"key": [{"prefix": "captures/churn/"}]}}},
    ],
)
def test_a_rule_that_hears_less_is_not_taken_for_ours(change: dict[str, object]) -> None:
    pattern = json.loads(event_pattern("data", ["captures/"]))
    assert hears(json.dumps(pattern), "data", "captures/")
    assert not hears(json.dumps({**pattern, **change}), "data", "captures/")


@pytest.mark.parametrize("source", [each for each in SOURCES if each.pattern], ids=lambda source: source.queue)
def test_a_rule_of_the_topology_is_known_by_its_source(source: object) -> None:
    pattern = source.pattern  # type: ignore[attr-defined]
    assert same_source(json.dumps(pattern), pattern)
    assert not same_source(json.dumps({**pattern, "source": ["aws.ec2"]}), pattern)
    assert not same_source(json.dumps({**pattern, "detail-type": ["Something Else"]}), pattern)


RULE = "arn:aws:events:us-east-1:123456789012:rule/plumbline-dev-captures-0123"


def statement(**changes: object) -> str:
    usual = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": "*",
        "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:events:us-east-1:123456789012:rule/plumbline-dev-*"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [{**usual, **changes}]})


@pytest.mark.parametrize(
    "policy, allowed",
    [
        (statement(), True),
        (
            statement(Principal={"Service": ["sns.amazonaws.com", "events.amazonaws.com"]}, Action=["SQS:SendMessage"]),
            True,
        ),
        (statement(Condition={"ArnEquals": {"AWS:SourceArn": [RULE]}}), True),
        (statement(Condition={}), True),
        (statement(Principal="*", Action="sqs:*"), True),
        (statement(Condition={"ArnEquals": {"aws:SourceArn": RULE + "4"}}), False),
        (statement(Condition={"StringEquals": {"aws:SourceAccount": "123456789012"}}), True),
        (statement(Condition={"StringEquals": {"aws:SourceAccount": "999999999999"}}), False),
        (statement(Condition={"Bool": {"aws:SecureTransport": "true"}}), True),
        (statement(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}}), False),
        (statement(Principal={"Service": "sns.amazonaws.com"}), False),
        (statement(Principal={"AWS": "arn:aws:iam::123456789012:root"}), False),
        (statement(Action="sqs:ReceiveMessage"), False),
        (statement(Effect="Deny"), False),
        ("", False),
    ],
)
def test_a_queues_policy(policy: str, allowed: bool) -> None:
    assert lets_send(policy, RULE) is allowed
