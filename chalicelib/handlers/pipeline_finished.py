"""A pipeline execution ended: is there a challenger, and may it challenge?

The decision id is in the execution's display name, so the claim is found even when its mark was lost.
"""

from __future__ import annotations

import msgspec

from chalicelib.decisions.retrain import DISPLAY_NAME
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import UNDECODABLE, NotFoundError
from chalicelib.events import execution_changed
from chalicelib.facts import claims, decisions, monitors
from chalicelib.ports import ExecutionStep, PipelineExecution
from chalicelib.wiring import Services
from chalicelib.workflows.challenges import (
    WAITING,
    approval_of,
    ask_for_approval,
    end_retrain,
    objection_to,
    refuse,
    request_promotion,
)


class _Losses(msgspec.Struct):
    challenger: float


class _Evaluation(msgspec.Struct):
    """The part of a pipeline's evaluation.json that a refusal quotes."""

    losses: _Losses
    best_incumbent: float


def handle(body: str, services: Services) -> None:
    """Handle one event; executions that Plumbline did not start, and repeats, are ignored."""
    event = execution_changed(body)
    if event.status not in ("Succeeded", "Failed", "Stopped"):
        return
    try:
        execution = services.sagemaker.describe_execution(event.arn)
    except NotFoundError:
        return
    if not execution.display_name.startswith(DISPLAY_NAME):
        return
    record = decisions.load_record(services.ledger, execution.display_name.removeprefix(DISPLAY_NAME))
    claim = claims.load_retrain(services.ledger, record.monitor) if record else None
    if record is None or claim is None or claim.decision_id != record.decision_id or claim.state not in WAITING:
        return
    definition = services.definitions.get(record.monitor)
    if not claim.execution_arn:  # the mark of the start was lost; the clock needs the execution's ARN
        claims.move_retrain(
            services.ledger,
            definition.name,
            claim.decision_id,
            ("STARTING",),
            "STARTED",
            services.now(),
            execution_arn=event.arn,
        )
    if execution.status != "Succeeded":
        reason = f"the execution {execution.status}: {execution.failure_reason}"
        end_retrain(services, definition, claim.decision_id, claim.window, "FAILED", reason)
    elif package_arn := _registered_package(services.sagemaker.execution_steps(event.arn)):
        _challenge(services, definition, claim, package_arn)
    else:
        reason = _refusal(services, claim, execution)
        end_retrain(services, definition, claim.decision_id, claim.window, "REFUSED", reason)


def _registered_package(steps: list[ExecutionStep]) -> str:
    """The ARN of the model package that an execution registered, "" when it registered none."""
    registered = (step.metadata.get("RegisterModel", {}).get("Arn", "") for step in steps)
    return next((arn for arn in registered if arn), "")


def _challenge(services: Services, definition: Definition, claim: claims.RetrainClaim, package_arn: str) -> None:
    status = approval_of(services, package_arn)
    if objection := objection_to(package_arn, status):
        refuse(services, definition, claim, objection)
    elif monitors.is_removed(services.ledger, definition.name):
        reason = f"{package_arn} is not used: the monitor was removed"
        end_retrain(services, definition, claim.decision_id, claim.window, "REFUSED", reason)
    elif definition.policy.promotion == "manual" and status != "Approved":
        approval = claims.Approval(definition.name, claim.decision_id)
        claims.await_approval(services.ledger, package_arn, approval)
        ask_for_approval(services, definition, claim, package_arn)
        claims.move_retrain(
            services.ledger,
            definition.name,
            claim.decision_id,
            WAITING,
            "AWAITING_APPROVAL",
            services.now(),
            package_arn=package_arn,
        )
    else:
        request_promotion(services, definition, claim, package_arn)


def _refusal(services: Services, claim: claims.RetrainClaim, execution: PipelineExecution) -> str:
    """Why a pipeline registered nothing, from its evaluation.json where it wrote one."""
    bucket, prefix = split_s3_uri(claim.output_uri, "output_uri")
    try:
        body = services.objects.get(bucket, f"{prefix}/evaluation/evaluation.json").body
        found = msgspec.json.decode(body, type=_Evaluation)
    except (NotFoundError, *UNDECODABLE):
        return f"{execution.arn} registered no model package"
    challenger, best = found.losses.challenger, found.best_incumbent
    return f"held-back error {challenger:.4f} is not lower than the best incumbent's {best:.4f}"
