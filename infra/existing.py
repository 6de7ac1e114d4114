"""What a stage's file names of existing data and models, as managed policies of the functions' roles.

Knows IAM's limits and how ARNs are packed into policies below them. Not here: which function needs which list
(infra/policies.py). ARNs are never parameters: CloudFormation takes 4,096 bytes of one, some fifty names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra import policies
from infra.expressions import Value, logical, ref, sub
from infra.stage_file import StageFile, StageFileError, split

# IAM User Guide, "IAM and AWS STS quotas": characters of a managed policy without white space, and managed policies of
# a role. The second is the default; AWS raises it to 20 on request.
POLICY_LIMIT, POLICIES_OF_A_ROLE = 6_144, 10

# The longest of each that AWS has, so that what fits here fits everywhere.
_LONGEST = {"AWS::Partition": "aws-us-gov", "AWS::Region": "ap-southeast-99", "AWS::AccountId": "0" * 12}


def arns(stage_file: StageFile) -> Mapping[str, tuple[Value, ...]]:
    """List of infra/policies.py -> the ARNs that a stage's file names for it."""

    def objects(uris: tuple[str, ...]) -> tuple[Value, ...]:
        return tuple(sub(f"arn:${{AWS::Partition}}:s3:::{'/'.join(split(uri))}/*") for uri in uris)

    def sagemaker(kind: str, names: tuple[str, ...], more: str = "") -> tuple[Value, ...]:
        # SageMaker's ARNs have its names in lower case.
        prefix = f"arn:${{AWS::Partition}}:sagemaker:${{AWS::Region}}:${{AWS::AccountId}}:{kind}"
        return tuple(sub(f"{prefix}/{name.lower()}{more}") for name in names)

    return {
        "CaptureObjects": objects(stage_file.captures),
        "GroundTruthObjects": objects(stage_file.ground_truth),
        "ReportObjects": objects(stage_file.reports),
        "BaselineObjects": objects(stage_file.baselines),
        "RetrainingObjects": objects(stage_file.retraining),
        "MonitorReportObjects": objects(stage_file.monitor_reports),
        "ExistingBuckets": tuple(sub(f"arn:${{AWS::Partition}}:s3:::{name}") for name in stage_file.existing_buckets),
        "DataKeyArns": stage_file.data_keys,
        "EndpointArns": sagemaker("endpoint", stage_file.endpoints),
        "PipelineArns": sagemaker("pipeline", stage_file.pipelines),
        "ModelPackageArns": sagemaker("model-package", stage_file.model_package_groups, "/*"),
    }


def managed_policies(stage_file: StageFile, roles: Mapping[str, str]) -> Mapping[str, Value]:
    """Logical id -> managed policy, for each role that needs what the file names; `roles`: function -> role's id.

    Raises StageFileError where a role would need more policies than IAM attaches.
    """
    named, made = arns(stage_file), {}
    for function, role in roles.items():
        packed = list(_packed(policies.existing(function), named))
        if len(packed) > POLICIES_OF_A_ROLE:
            raise StageFileError(
                f"the names for {function} fill {len(packed)} policies, a role takes {POLICIES_OF_A_ROLE}: write what "
                'names have in common, such as "churn-*", or folders that lie higher'
            )
        for number, statements in enumerate(packed, start=1):
            made[logical(function, f"Existing{number}")] = {
                "Type": "AWS::IAM::ManagedPolicy",
                "Properties": {
                    "Description": f"Plumbline: what the stage's file names for {function}",
                    "PolicyDocument": {"Version": "2012-10-17", "Statement": statements},
                    "Roles": [ref(role)],
                },
            }
    return made


def size(value: Any) -> int:
    """The most characters that IAM counts for a policy document or a part of it."""
    text = json.dumps(_resolved(value), separators=(",", ":"))
    return len(re.sub(r"\s", "", text))


def _resolved(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"Fn::Sub"} and isinstance(value["Fn::Sub"], str):
            return re.sub(r"\$\{([\w:]+)\}", lambda match: _LONGEST[match[1]], value["Fn::Sub"])
        return {name: _resolved(each) for name, each in value.items()}
    return [_resolved(each) for each in value] if isinstance(value, list | tuple) else value


def _packed(
    statements: tuple[policies.Statement, ...], named: Mapping[str, tuple[Value, ...]]
) -> Iterator[list[dict[str, Any]]]:
    """The statements of each policy: filled from the first ARN to the last, a statement going on in the next."""
    policy: list[dict[str, Any]] = []
    left = POLICY_LIMIT - size({"Version": "2012-10-17", "Statement": []})
    room = left
    for statement in statements:
        resources: list[Value] = []
        for resource in named[statement.resources["Ref"]]:
            cost = size(resource) + 1
            if resources and cost > room:
                yield policy
                policy, resources, room = [], [], left
            if not resources:
                opened = {**statement.allow(), "Resource": resources}
                if size(opened) + 1 + cost > room:
                    yield policy
                    policy, room = [], left
                policy.append(opened)
                room -= size(opened) + 1
            resources.append(resource)
            room -= cost
    if policy:
        yield policy
