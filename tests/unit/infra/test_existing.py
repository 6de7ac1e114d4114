"""A stage of any size: what its file names goes into managed policies within every limit, or is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra import checks, existing, policies
from infra.checks import Built
from infra.existing import POLICY_LIMIT, managed_policies, size
from infra.stage_file import StageFile, StageFileError
from tests.unit.infra.conftest import packaged_template
from tests.unit.infra.test_checks import SLOW, TRANSLATOR

ROLES = {function: f"{function}-role" for function in policies.CALLED}


def stage_file(**fields: Any) -> StageFile:
    return StageFile(region="eu-west-1", artifacts_bucket="a", model_role_arn="arn:aws:iam::1:role/m", **fields)


def large() -> StageFile:
    """2,000 endpoints of 100 teams, 20 each that begin alike; 50 pipelines and groups; folders of 20 buckets."""
    buckets = [f"company-ml-captures-of-business-unit-{n:02d}" for n in range(20)]
    folders = {
        place: tuple(f"s3://{bucket}/{place}/production" for bucket in buckets)
        for place in ("captures", "ground_truth", "reports", "baselines", "retraining", "monitor_reports")
    }
    return stage_file(
        endpoints=tuple(f"churn-prod-eu-team-{team:03d}-*" for team in range(100)),
        pipelines=tuple(f"churn-retraining-of-team-{n:03d}" for n in range(50)),
        model_package_groups=tuple(f"churn-models-of-team-{n:03d}" for n in range(50)),
        data_keys=tuple(
            f"arn:aws:kms:eu-west-1:123456789012:key/{n:08d}-0000-0000-0000-000000000000" for n in range(20)
        ),
        **folders,
    )


@pytest.fixture(scope="module")
def large_template(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return packaged_template(tmp_path_factory.mktemp("large"), large())


def test_a_large_stage_is_within_every_limit(built: Built, large_template: Any) -> None:
    whole = replace(built, template=large_template)
    assert len(whole.of_type("AWS::IAM::ManagedPolicy")) > 10
    for name, found in checks.CHECKS.items():
        if found not in SLOW:
            assert list(found(whole)) == [], name


def test_cfn_lint_takes_a_large_stage(built: Built, large_template: Any) -> None:
    assert list(checks.cfn_lint_is_content(replace(built, template=large_template))) == []


@TRANSLATOR
def test_the_translator_takes_a_large_stage(built: Built, large_template: Any) -> None:
    assert list(checks.sam_translates(replace(built, template=large_template))) == []


@pytest.mark.parametrize("count", [0, 1, 50, 90, 600])
def test_every_arn_is_granted_once_to_whoever_needs_it(count: int) -> None:
    """Against IAM's own way to count: every policy fits, and together they say what the statements say."""
    named = stage_file(
        endpoints=tuple(f"churn-prod-eu-{n:06d}" for n in range(count)),
        captures=tuple(f"s3://company-captures/datacapture/{n:03d}" for n in range(min(count, 50))),
    )
    made = managed_policies(named, ROLES)
    lists = existing.arns(named)
    for function, role in ROLES.items():
        granted: dict[str, list[Any]] = {}
        for policy in made.values():
            assert size(policy["Properties"]["PolicyDocument"]) <= POLICY_LIMIT
            if policy["Properties"]["Roles"] == [{"Ref": role}]:
                for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                    granted.setdefault(statement["Sid"], []).extend(statement["Resource"])
        wanted = {
            each.sid: list(lists[each.resources["Ref"]])
            for each in policies.existing(function)
            if lists[each.resources["Ref"]]
        }
        assert granted == wanted


def test_policies_are_filled(built: Built) -> None:
    made = managed_policies(stage_file(endpoints=tuple(f"churn-prod-eu-{n:06d}" for n in range(600))), ROLES)
    sizes = [size(policy["Properties"]["PolicyDocument"]) for policy in made.values()]
    assert all(each > POLICY_LIMIT - 100 for each in sizes[:-1])


def test_more_names_than_a_role_takes_are_refused_in_one_line() -> None:
    with pytest.raises(StageFileError, match="a role takes 10: write what names have in common") as raised:
        managed_policies(stage_file(endpoints=tuple(f"churn-prod-eu-{n:06d}" for n in range(2000))), ROLES)
    assert "\n" not in str(raised.value)


def spoilt(built: Built, **properties: Any) -> list[str]:
    policy = {"Type": "AWS::IAM::ManagedPolicy", "Properties": properties}
    many = {f"Planted{n}": policy for n in range(11)}
    return list(
        checks.policies_fit_iam(replace(built, template={"Resources": {**built.template["Resources"], **many}}))
    )


def test_what_does_not_fit_is_seen(built: Built) -> None:
    long = {"Statement": [{"Resource": ["a" * (POLICY_LIMIT + 1)]}]}
    told = spoilt(built, PolicyDocument=long, Roles=[{"Ref": "WindowDueRole"}])
    assert any("Planted0: " in each for each in told)
    assert any("WindowDueRole: 11 managed policies" in each for each in told)


def test_a_long_role_and_a_long_parameter_are_seen(built: Built) -> None:
    template = built.template
    template["Resources"]["WindowDueRole"]["Properties"]["Policies"].append({"PolicyDocument": {"x": "a" * 10_240}})
    template["Parameters"]["LogLevel"]["Default"] = "a" * 4_097
    told = "\n".join(checks.policies_fit_iam(built))
    assert "WindowDueRole: " in told and "the parameter LogLevel" in told
