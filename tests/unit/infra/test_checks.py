"""Every check of a built package sees its fault: each is planted alone, and the check that is meant for it fails."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra import checks
from infra.checks import Built
from tests.unit.infra.conftest import SITE, elf, write_zip

# The two that ask AWS's own tools take seconds; the translator is in the packaging environment only.
SLOW = (checks.cfn_lint_is_content, checks.sam_translates)
TRANSLATOR = pytest.mark.skipif(
    importlib.util.find_spec("samtranslator") is None, reason="the SAM translator is in .venv-package: make package"
)

Spoil = Callable[[dict[str, Any]], object]


def properties(resources: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = resources[name]["Properties"]
    return found


def event(resources: dict[str, Any], function: str) -> dict[str, Any]:
    found: dict[str, Any] = properties(resources, function)["Events"][f"{function}SqsEventSource"]["Properties"]
    return found


def statements(resources: dict[str, Any], role: str) -> list[Any]:
    found: list[Any] = properties(resources, role)["Policies"][0]["PolicyDocument"]["Statement"]
    return found


def route(resources: dict[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = properties(resources, "RestAPI")["DefinitionBody"]["paths"][path]["post"]
    return found


def renamed(resources: dict[str, Any]) -> None:
    """What Chalice and a merge make of a handler that somebody renamed."""
    resources["CaptureArrived"] = {**resources["CaptureLanded"]}
    resources["CaptureArrived"]["Properties"] = {
        **properties(resources, "CaptureLanded"),
        "Handler": "app.capture_arrived",
    }
    resources["CaptureLanded"] = {"Properties": {"Timeout": 60}}


def allow(role: str, action: str, resource: Any, sid: str = "Planted") -> Spoil:
    planted = {"Sid": sid, "Effect": "Allow", "Action": [action], "Resource": resource}
    return lambda resources: statements(resources, role).append(planted)


def no_metric(resources: dict[str, Any]) -> None:
    resources.pop("OverdueAlarm")


# (check, fault) -> how the resources of the template are spoilt.
FAULTS: dict[tuple[Any, str], Spoil] = {
    (checks.functions_match_app, "a renamed handler"): renamed,
    (checks.functions_match_app, "a function is missing"): lambda all: all.pop("RetrainClaimed"),
    (checks.functions_match_app, "a handler twice"): lambda all: all.update(Again=all["WindowDue"]),
    (checks.routes_ask_whom_they_say, "IAM is not asked"): lambda all: route(all, "/iam/ground-truth/{endpoint}").pop(
        "security"
    ),
    (checks.routes_ask_whom_they_say, "a signed path asks IAM"): lambda all: route(
        all, "/ground-truth/{endpoint}"
    ).update(security=[{"sigv4": []}]),
    (checks.queues_are_references, "a queue by its name"): lambda all: event(all, "WindowDue").update(
        Queue={"Fn::Sub": "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:plumbline-dev-windows"}
    ),
    (checks.queues_are_references, "another function's queue"): lambda all: event(all, "WindowDue").update(
        Queue={"Fn::GetAtt": ["CapturesQueue", "Arn"]}
    ),
    (checks.queues_are_references, "no queue"): lambda all: properties(all, "WindowDue").pop("Events"),
    (checks.failures_are_partial, "a whole batch"): lambda all: event(all, "CaptureLanded").pop(
        "FunctionResponseTypes"
    ),
    (checks.dead_letters_have_a_place, "a queue"): lambda all: properties(all, "WindowsQueue").pop("RedrivePolicy"),
    (checks.dead_letters_have_a_place, "a rule"): lambda all: properties(all, "PipelinesRule")["Targets"][0].pop(
        "DeadLetterConfig"
    ),
    (checks.dead_letters_have_a_place, "a subscription"): lambda all: properties(all, "AlertsSubscription").pop(
        "RedrivePolicy"
    ),
    (checks.messages_are_kept, "a queue"): lambda all: properties(all, "WindowsQueue").pop("MessageRetentionPeriod"),
    (checks.messages_are_kept, "dead letters"): lambda all: properties(all, "WindowsDeadQueue").update(
        MessageRetentionPeriod=345600
    ),
    (checks.receives_are_enough, "four"): lambda all: properties(all, "WindowsQueue")["RedrivePolicy"].update(
        maxReceiveCount=4
    ),
    (checks.visibility_outlasts_functions, "five times"): lambda all: properties(all, "WindowsQueue").update(
        VisibilityTimeout=1500
    ),
    (checks.visibility_outlasts_functions, "a window"): lambda all: event(all, "WindowDue").update(
        MaximumBatchingWindowInSeconds=5
    ),
    (checks.senders_are_allowed, "no policy"): lambda all: all.pop("PipelinesQueuePolicy"),
    (checks.senders_are_allowed, "another rule's"): lambda all: properties(all, "PipelinesRule").update(
        Name="plumbline-dev-pipelines-2"
    ),
    (checks.senders_are_allowed, "no policy for the topic"): lambda all: all.pop("AlertsQueuePolicy"),
    (checks.senders_are_allowed, "no policy for dead letters"): lambda all: all.pop("PipelinesDeadQueuePolicy"),
    (checks.senders_are_allowed, "no policy for the topic's"): lambda all: all.pop("AlertsDeadQueuePolicy"),
    (checks.patterns_are_short, "one prefix per monitor"): lambda all: properties(all, "CapturesRule").update(
        EventPattern={"detail": {"object": {"key": [{"prefix": f"captures/endpoint-{n:03d}/"} for n in range(100)]}}}
    ),
    (checks.names_carry_the_stage, "a bare name"): lambda all: properties(all, "WindowsQueue").update(
        QueueName="plumbline-windows"
    ),
    (checks.names_carry_the_stage, "no name"): lambda all: properties(all, "WindowDue").pop("FunctionName"),
    (checks.names_carry_the_stage, "a name twice"): lambda all: properties(all, "ClockQueue").update(
        QueueName="plumbline-dev-windows"
    ),
    (checks.storage_is_safe, "provisioned"): lambda all: properties(all, "Table").pop("BillingMode"),
    (checks.storage_is_safe, "not recoverable"): lambda all: properties(all, "Table").pop(
        "PointInTimeRecoverySpecification"
    ),
    (checks.storage_is_safe, "nothing expires"): lambda all: properties(all, "Table").pop("TimeToLiveSpecification"),
    (checks.storage_is_safe, "deleted with the stack"): lambda all: all["Table"].pop("DeletionPolicy"),
    (checks.logs_are_kept_for_a_while, "for ever"): lambda all: properties(all, "WindowDueLogGroup").pop(
        "RetentionInDays"
    ),
    (checks.logs_are_kept_for_a_while, "Lambda's own group"): lambda all: properties(all, "WindowDue").pop(
        "LoggingConfig"
    ),
    (checks.health_has_alarms, "overdue windows"): no_metric,
    (checks.health_has_alarms, "dead letters"): lambda all: all.pop("WindowsDeadAlarm"),
    (checks.health_has_alarms, "dropped messages"): lambda all: all.pop("PermanentFailuresAlarm"),
    (checks.health_has_alarms, "refused alerts"): lambda all: all.pop("AlertsRefusedAlarm"),
    (checks.health_has_alarms, "5XX"): lambda all: all.pop("LabelsFailedAlarm"),
    (checks.health_has_alarms, "late messages"): lambda all: all.pop("WindowsLateAlarm"),
    (checks.health_has_alarms, "errors"): lambda all: all.pop("GroundTruthPostedErrorsAlarm"),
    (checks.health_has_alarms, "throttles"): lambda all: all.pop("WindowDueThrottlesAlarm"),
    (checks.health_has_alarms, "has no receiver"): lambda all: properties(all, "OverdueAlarm").pop("AlarmActions"),
    (checks.health_has_alarms, "more than a week"): lambda all: properties(all, "OverdueAlarm").update(Period=604801),
    (checks.health_has_alarms, "no dashboard"): lambda all: all.pop("Dashboard"),
    (checks.encryption_reaches_the_senders, "AWS's key"): lambda all: properties(all, "WindowsQueue").update(
        KmsMasterKeyId="alias/aws/sqs"
    ),
    (checks.encryption_reaches_the_senders, "plain"): lambda all: [
        properties(all, "WindowsQueue").pop(name) for name in ("KmsMasterKeyId", "SqsManagedSseEnabled")
    ],
    (checks.encryption_reaches_the_senders, "no rule may"): lambda all: properties(all, "Key")["KeyPolicy"][
        "Statement"
    ].pop(1),
    (checks.roles_are_the_functions_own, "shared"): lambda all: properties(all, "WindowDue").update(
        Role={"Fn::GetAtt": ["WindowsDueRole", "Arn"]}
    ),
    (checks.roles_are_the_functions_own, "another policy"): lambda all: statements(all, "WindowDueRole").pop(),
    (checks.roles_are_the_functions_own, "a managed policy"): lambda all: properties(all, "WindowDueRole").update(
        ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"]
    ),
    (checks.roles_are_the_functions_own, "unbounded"): lambda all: properties(all, "WindowDueRole").pop(
        "PermissionsBoundary"
    ),
    (checks.wildcards_have_reasons, "an action"): allow("WindowDueRole", "s3:*", {"Fn::GetAtt": ["Table", "Arn"]}),
    (checks.wildcards_have_reasons, "everything"): allow("WindowDueRole", "s3:GetObject", "*"),
    (checks.wildcards_have_reasons, "a kind"): allow(
        "WindowDueRole", "s3:GetObject", {"Fn::Sub": "arn:${AWS::Partition}:s3:::plumbline-*"}
    ),
    (checks.wildcards_have_reasons, "a queue policy"): lambda all: properties(all, "PipelinesQueuePolicy")[
        "PolicyDocument"
    ]["Statement"][0].update(Action=["sqs:*"]),
    (checks.wildcards_have_reasons, "a key policy"): lambda all: properties(all, "Key")["KeyPolicy"]["Statement"][
        1
    ].update(Action=["kms:*"]),
    (checks.effects_have_one_owner, "the worker starts pipelines"): allow(
        "WindowDueRole", "sagemaker:StartPipelineExecution", {"Ref": "PipelineArns"}
    ),
    (checks.effects_have_one_owner, "the retrainer deploys"): allow(
        "RetrainClaimedRole", "sagemaker:UpdateEndpoint", {"Ref": "EndpointArns"}
    ),
    (checks.effects_have_one_owner, "nobody deploys"): lambda all: all["PromotionClaimedRole"]["Properties"].update(
        Policies=[]
    ),
    (checks.webhook_writes_labels_only, "captures"): allow(
        "ApiHandlerRole", "s3:PutObject", {"Fn::Sub": "arn:${AWS::Partition}:s3:::b/captures/x"}, sid="Captures"
    ),
    (checks.webhook_writes_labels_only, "messages"): allow(
        "ApiHandlerRole", "sqs:SendMessage", {"Fn::GetAtt": ["WindowsQueue", "Arn"]}
    ),
    (checks.runtime_fits, "an old runtime"): lambda all: properties(all, "WindowDue").update(Runtime="python3.11"),
    (checks.runtime_fits, "another architecture"): lambda all: properties(all, "WindowDue").update(
        Architectures=["x86_64"]
    ),
    (checks.runtime_fits, "no layer"): lambda all: all.pop("ManagedLayer"),
    (checks.runtime_fits, "without the layer"): lambda all: properties(all, "WindowDue").pop("Layers"),
}


def failing(built: Built, *, slow: bool = False) -> set[Any]:
    chosen = {name: found for name, found in checks.CHECKS.items() if slow or found not in SLOW}
    return {found for name, found in chosen.items() if list(found(built))}


def test_every_check_holds_on_what_is_built(built: Built) -> None:
    assert failing(built) == set()


@pytest.mark.parametrize(("sees", "fault"), FAULTS, ids=[f"{each[0].__name__}: {each[1]}" for each in FAULTS])
def test_a_planted_fault_is_seen(built: Built, sees: Any, fault: str) -> None:
    FAULTS[sees, fault](built.template["Resources"])
    assert list(sees(built)), f"{sees.__name__} did not see {fault}"


def small(built: Built, *names: str) -> Built:
    """A template of a few resources: cfn-lint takes seconds for the whole one, which `make package` gives it."""
    kept = {name: built.template["Resources"][name] for name in names}
    whole = {name: built.template[name] for name in ("AWSTemplateFormatVersion", "Transform")}
    return replace(built, template={**whole, "Resources": kept})


def test_what_cfn_lint_finds_is_told(built: Built) -> None:
    policy = {"Type": "AWS::SQS::QueueInlinePolicy", "Properties": {"Queue": {"Ref": "NoQueue"}}}
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "plumbline-dev-windows"}}
    built.template["Resources"].update(Queue=queue, Policy=policy)
    assert list(checks.cfn_lint_is_content(small(built, "Queue"))) == []
    queue["Properties"]["Colour"] = "red"
    faults = "\n".join(checks.cfn_lint_is_content(small(built, "Queue", "Policy")))
    assert "Colour" in faults
    assert "NoQueue" in faults


@TRANSLATOR
def test_the_translator_finds_nothing(built: Built) -> None:
    assert list(checks.sam_translates(built)) == []


@TRANSLATOR
def test_what_the_translator_refuses_is_told(built: Built) -> None:
    event(built.template["Resources"], "WindowDue").pop("Queue")
    assert any("WindowDue" in fault for fault in checks.sam_translates(built))


def test_a_handler_that_the_topology_does_not_know_is_told(built: Built) -> None:
    more = built.app + '\n\n@app.on_sqs_message(queue=queue("more"))\ndef more_landed(event):\n    pass\n'
    faults = "\n".join(checks.functions_match_app(replace(built, app=more)))
    assert "app.py has more_landed, chalicelib/topology.py has not" in faults
    assert "app.py has more_landed, no function of the template calls it" in faults


# Zips -----------------------------------------------------------------------------------------------------------------


def with_layer(built: Built, files: dict[str, bytes], tmp_path: Path) -> Built:
    return replace(built, layer=write_zip(tmp_path / "spoilt.zip", files))


def test_a_package_without_numpy_is_seen(built: Built, layer_files: dict[str, bytes], tmp_path: Path) -> None:
    """What Chalice leaves when it finds no wheel: an exit status of 0 and a layer without the package."""
    files = {name: body for name, body in layer_files.items() if "/numpy" not in name}
    spoilt = with_layer(built, files, tmp_path)
    assert list(checks.native_code_fits(spoilt)) == ["numpy is not in spoilt.zip, or without its compiled part"]
    assert any("numpy" in fault for fault in checks.packages_are_pinned(spoilt))


def test_a_wheel_of_another_architecture_is_seen(built: Built, layer_files: dict[str, bytes], tmp_path: Path) -> None:
    wrong = f"{SITE}/msgspec/_core.so"
    spoilt = with_layer(built, {**layer_files, wrong: elf("x86_64")}, tmp_path)
    assert list(checks.native_code_fits(spoilt)) == [f"{wrong} is for x86_64, expected arm64"]


def test_another_version_than_the_pinned_one_is_seen(
    built: Built, layer_files: dict[str, bytes], tmp_path: Path
) -> None:
    files = {
        name.replace(built.pins["boto3"], "1.0.0") if "boto3" in name else name: b for name, b in layer_files.items()
    }
    found = list(checks.packages_are_pinned(with_layer(built, files, tmp_path)))
    assert found == [f"boto3 is 1.0.0, expected {built.pins['boto3']}"]


def test_an_unpinned_boto3_is_seen(built: Built) -> None:
    pins = {name: version for name, version in built.pins.items() if name != "boto3"}
    assert any("boto3 is not pinned" in fault for fault in checks.packages_are_pinned(replace(built, pins=pins)))


def test_a_missing_and_a_foreign_file_are_seen(built: Built, function_files: dict[str, bytes], tmp_path: Path) -> None:
    files = {name: body for name, body in function_files.items() if name != "chalicelib/keys.py"}
    spoilt = replace(built, functions=write_zip(tmp_path / "spoilt.zip", {**files, "secrets.txt": b""}))
    assert list(checks.code_is_whole(spoilt)) == [
        "chalicelib/keys.py is not in spoilt.zip",
        "secrets.txt is in spoilt.zip and not in the repository",
    ]


def test_a_layer_that_is_too_large_is_seen(
    built: Built, layer_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = with_layer(built, {**layer_files, f"{SITE}/more.bin": bytes(200_000)}, tmp_path)
    assert list(checks.zips_are_small(spoilt)) == []
    monkeypatch.setattr(checks, "UNZIPPED_LIMIT", 100_000)
    monkeypatch.setattr(checks, "ZIPPED_LIMIT", 100)
    assert len(list(checks.zips_are_small(spoilt))) == 3


def test_a_layer_of_another_runtime_is_seen(built: Built, layer_files: dict[str, bytes], tmp_path: Path) -> None:
    files = {name.replace("python3.12", "python3.11"): body for name, body in layer_files.items()}
    assert any("another runtime" in fault for fault in checks.runtime_fits(with_layer(built, files, tmp_path)))


def test_faults_are_lines_below_their_check() -> None:
    assert checks.Result("a check", ("one", "two")).line == "FAIL  a check\n      one\n      two"
    assert checks.Result("a check", ()).line == "ok    a check"


def test_every_check_has_a_planted_fault() -> None:
    """The zips' are planted by the tests above, the translator's too."""
    by_hand = {
        checks.code_is_whole,
        checks.packages_are_pinned,
        checks.policies_fit_iam,
        checks.native_code_fits,
        checks.zips_are_small,
        checks.cfn_lint_is_content,
        checks.sam_translates,
    }
    assert {sees for sees, _ in FAULTS} | by_hand == set(checks.CHECKS.values())
