"""A promotion or a roll-back was claimed: the only function that may change what is served.

A state machine that goes as far as it can at each call: APPLYING (models and their own endpoints exist, the gate is
passed, the baseline is written, the update is asked for), DEPLOYING (until the endpoint is in service), DONE. It is
called again by the endpoints' events and by the clock; every step is either repeatable or compare-and-set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from chalicelib import keys
from chalicelib.definition import Definition
from chalicelib.errors import ConflictError, MisconfiguredError, NotFoundError, PermanentError, words_of
from chalicelib.events import claim_message
from chalicelib.facts import champions, claims, deployments, due, evaluations, pauses
from chalicelib.facts import monitors as index
from chalicelib.facts.champions import Candidate, Champion
from chalicelib.facts.claims import PromotionClaim
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.challenges import approval_of, end_retrain, objection_to, tell
from chalicelib.workflows.gate import GATE_MODEL, Contest, hold_gate

# What a new endpoint configuration takes over; without DataCaptureConfig monitoring would silently end.
COPIED = (
    "ProductionVariants",
    "ShadowProductionVariants",
    "DataCaptureConfig",
    "KmsKeyId",
    "AsyncInferenceConfig",
    "ExplainerConfig",
    "ExecutionRoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
)

# A past champion answers a window's sample now and then: the smallest memory that the common containers start in.
SERVERLESS = {"MemorySizeInMB": 2048, "MaxConcurrency": 2}


def handle(body: str, services: Services) -> None:
    """Take the claim that a message names as far as it goes; a claim that has ended is a repeat."""
    message = claim_message(body)
    claim = claims.load_promotion(services.ledger, message.monitor)
    if claim is None:
        return
    definition = services.definitions.get(message.monitor)
    if claim.claim_id == message.claim_id and claim.in_flight:
        try:
            _advance(services, definition, claim)
        except ConflictError:
            raise
        except Exception as error:
            if not _give_up(services, definition, claim, error):
                raise
    # After an older claim's message too: its worker may have been overtaken by a newer one.
    _tidy(services, definition, claim)


def _advance(services: Services, definition: Definition, claim: PromotionClaim) -> None:
    champion = champions.load_champion(services.ledger, definition.name)
    assert champion is not None, f"{definition.name}: no champion was crowned when the monitor was added"
    if claim.state == "ENDING":
        _close(services, definition, claim)
    elif champion.generation != claim.generation:
        crowned = champion.generation == claim.generation + 1 and champion.candidate.name == claim.candidate
        if crowned:  # the mark was lost after the crown
            _finish(services, definition, claim, champion)
        else:
            _end(services, definition, claim, "SUPERSEDED", f"generation {champion.generation} reigns already")
    elif not _exists(services, definition.endpoint):
        _end(services, definition, claim, "FAILED", f"the endpoint {definition.endpoint} does not exist any more")
    elif claim.state == "APPLYING" and index.is_removed(services.ledger, definition.name):
        _end(services, definition, claim, "REFUSED", "the monitor was removed")
    elif not claim.deploying_since and pauses.in_force(services.ledger, definition.name, services.now()):
        return  # the clock comes back; what the endpoint was asked for already is taken to its end
    elif claim.state == "APPLYING":
        _apply(services, definition, claim, champion)
    else:
        _deploy(services, definition, claim, champion)


def _give_up(services: Services, definition: Definition, claim: PromotionClaim, error: Exception) -> bool:
    """End a claim that cannot go on: at once after an error that stays, else after PATIENCE. False: try again."""
    if claim.state == "ENDING":
        return False
    now, reason = services.now(), words_of(error)
    if not isinstance(error, PermanentError):
        if not claim.failing_since:
            claims.amend_promotion(services.ledger, definition.name, claim.claim_id, now, failing_since=now.isoformat())
        if not claim.failing_since or now - datetime.fromisoformat(claim.failing_since) < claims.PATIENCE:
            return False
        reason = f"given up after {claims.PATIENCE // timedelta(hours=1)} hours: {reason}"
    _end(services, definition, claim, "FAILED", reason)
    return True


def _exists(services: Services, endpoint: str) -> bool:
    try:
        services.sagemaker.describe_endpoint(endpoint)
    except NotFoundError:
        return False
    return True


def _tidy(services: Services, definition: Definition, claim: PromotionClaim) -> None:
    """After a claim's end: delete the endpoints that are not needed any more, make again what an overtaken worker
    has deleted, and give back what it deployed.

    Not before the end: a clean-up that is refused must not hold a claim open.
    """
    current = claims.load_promotion(services.ledger, definition.name)
    champion = champions.load_champion(services.ledger, definition.name)
    if champion is None or (current and current.claim_id == claim.claim_id and current.in_flight):
        return
    unneeded = [_endpoint_name(services, definition, candidate) for candidate in champion.retired]
    if not champion.candidate.endpoint and not (current and current.in_flight):
        # Made for a contest; a champion that has never been replaced answers from the monitored endpoint.
        unneeded.append(_endpoint_name(services, definition, champion.candidate))
    if claim.kind == "promote":
        unneeded.append(_name(services, definition, "gate", claim.candidate))
        if champion.find(claim.candidate) is None:
            unneeded.append(_name(services, definition, "pool", claim.candidate))
    for name in unneeded:
        services.sagemaker.delete_endpoint(name)
    if not index.is_removed(services.ledger, definition.name):
        for candidate in (champion.candidate, *champion.pool):
            if candidate.endpoint and not _exists(services, candidate.endpoint):
                _own_endpoint(services, definition, candidate)
    if current is None or current.claim_id == claim.claim_id or not current.in_flight:
        _give_back(services, definition, claim, champion)


def _give_back(services: Services, definition: Definition, claim: PromotionClaim, champion: Champion) -> None:
    """A worker that was overtaken may have asked the endpoint for the claim's configuration after the claim had ended
    without it: ask for the champion's again.

    Raises ConflictError when that must wait, for an update that runs or for the end of a pause: the queue comes back.
    """
    name = _name(services, definition, f"g{claim.generation + 1}", claim.candidate)
    if name == champion.config_name:
        return
    try:
        if services.sagemaker.describe_endpoint(definition.endpoint).config_name != name:
            return
    except NotFoundError:
        return
    now = services.now()  # of before the update, as in _update
    if pauses.in_force(services.ledger, definition.name, now):
        raise ConflictError(f"{definition.endpoint} runs {name}, which reigns no more, within a pause")
    services.sagemaker.update_endpoint(definition.endpoint, champion.config_name)
    deployments.mark_updating(services.ledger, definition.endpoint, now)


def _apply(services: Services, definition: Definition, claim: PromotionClaim, champion: Champion) -> None:
    if objection := _objection(services, definition, claim):
        _end(services, definition, claim, *objection)
        return
    candidate = _candidate(services, definition, claim, champion)
    if candidate is None:
        _end(services, definition, claim, "SUPERSEDED", f"{claim.candidate} is no longer in the pool")
        return
    champion_ready = _own_endpoint(services, definition, champion.candidate)
    if claim.kind == "promote":
        challenger = _challenger(services, definition, claim, candidate)
        ready = [
            _own_endpoint(services, definition, each)
            for each in {candidate.model_name: candidate, challenger.model_name: challenger}.values()
        ]
        if not (all(ready) and champion_ready):
            return  # the endpoints' events, or the clock, come back
        endpoints = {
            each.name: _endpoint_name(services, definition, each) for each in (champion.candidate, *champion.pool)
        }
        contest = Contest(
            claim=claim,
            candidate=candidate,
            endpoint=_endpoint_name(services, definition, candidate),
            challenger=challenger,
            challenger_endpoint=_endpoint_name(services, definition, challenger),
            champion=champion,
            endpoints=endpoints,
        )
        passed, reason = hold_gate(services, definition, contest)
        if not passed:
            _end(services, definition, claim, "REFUSED", reason)
            return
        if objection := _objection(services, definition, claim):  # the gate takes its time
            _end(services, definition, claim, *objection)
            return
    else:
        reason = f"{candidate.name} serves again"
    try:
        config = _serving_config(services, definition, champion, candidate)
    except NotFoundError:
        reason = f"the endpoint {definition.endpoint} or its configuration does not exist any more"
        _end(services, definition, claim, "FAILED", reason)
        return
    services.sagemaker.ensure_endpoint_config(config)
    name = config["EndpointConfigName"]
    # Before the update: of two workers that disagree about the gate, one goes on and the other thinks again.
    _move(services, definition, claim, state="DEPLOYING", config_name=name, outcome=reason)
    _update(services, definition, claim, name)


def _objection(services: Services, definition: Definition, claim: PromotionClaim) -> tuple[str, str] | None:
    """How the registry ends the claim, and why: until a challenger reigns, a person may say that it shall not."""
    if claim.kind != "promote":
        return None
    status = approval_of(services, claim.package_arn)
    if objection := objection_to(claim.package_arn, status):
        return "FAILED" if status is None else "REFUSED", objection
    if status != "Approved" and definition.policy.promotion == "manual":
        return "REFUSED", f"{claim.package_arn} is not approved any more"
    return None


def _move(services: Services, definition: Definition, claim: PromotionClaim, **fields: object) -> None:
    """Move the claim on from the state that this worker has seen. Raises ConflictError when it has left it."""
    now, name = services.now(), definition.name
    if not claims.amend_promotion(services.ledger, name, claim.claim_id, now, was=claim.state, **fields):
        raise ConflictError(f"{claim.claim_id}: another worker moved it on from {claim.state}")


def _update(services: Services, definition: Definition, claim: PromotionClaim, config_name: str) -> None:
    now = services.now()
    if services.sagemaker.describe_endpoint(definition.endpoint).config_name != config_name:
        try:
            services.sagemaker.update_endpoint(definition.endpoint, config_name)
        except ConflictError:
            return  # another update runs; its end is an event, and the clock comes back too
        # Not when the endpoint serves it already: a transition noted after its end would never end.
        deployments.mark_updating(services.ledger, definition.endpoint, now)
    claims.amend_promotion(services.ledger, definition.name, claim.claim_id, now, deploying_since=now.isoformat())


def _deploy(services: Services, definition: Definition, claim: PromotionClaim, champion: Champion) -> None:
    objection = _objection(services, definition, claim)
    if not claim.deploying_since and not objection:
        _update(services, definition, claim, claim.config_name)
        return
    endpoint = services.sagemaker.describe_endpoint(definition.endpoint)
    if endpoint.status in ("Creating", "Updating", "SystemUpdating", "RollingBack"):
        return
    if endpoint.status == "InService":
        deployments.mark_in_service(services.ledger, endpoint)
    if objection:
        # Within a pause the endpoint is not given back, and a claim that has ended would not be looked at again.
        if not pauses.in_force(services.ledger, definition.name, services.now()):
            _end(services, definition, claim, *objection)
        return
    if endpoint.config_name != claim.config_name or endpoint.status != "InService":
        reason = f"the endpoint is {endpoint.status} with {endpoint.config_name} instead of {claim.config_name}"
        _end(services, definition, claim, "FAILED", reason)
        return
    candidate = _candidate(services, definition, claim, champion)
    if candidate is None:
        _end(services, definition, claim, "SUPERSEDED", f"{claim.candidate} is no longer in the pool")
        return
    endpoint_name = _endpoint_name(services, definition, candidate)
    outgoing = msgspec.structs.replace(
        champion.candidate, endpoint=_endpoint_name(services, definition, champion.candidate)
    )
    since = iso(endpoint.last_modified)
    crowned = champions.crown(
        services.ledger,
        definition.name,
        claim.generation,
        msgspec.structs.replace(candidate, endpoint=endpoint_name),
        outgoing,
        claim.config_name,
        since,
        f"{claim.kind} {claim.decision_id}",
        definition.policy.pool_size,
    )
    if crowned.candidate.name != candidate.name:
        _end(services, definition, claim, "SUPERSEDED", f"generation {crowned.generation} reigns already")
        return
    _finish(services, definition, claim, crowned)


def _finish(services: Services, definition: Definition, claim: PromotionClaim, champion: Champion) -> None:
    """Tell, and mark.

    Windows that settled while the challenger was on its way are due again: it is to answer their samples too.
    """
    for window in _windows_since(services, definition, claim):
        due.mark(services.ledger, definition.name, window, definition.grace, services.now())
    reason = f"{champion.candidate.name} serves as generation {champion.generation}: {claim.outcome}"
    if claim.kind == "promote":
        end_retrain(services, definition, claim.decision_id, claim.window, "PROMOTED", reason)
    else:
        tell(services, definition, claim.decision_id, claim.window, "ROLLED_BACK", reason)
    claims.amend_promotion(
        services.ledger, definition.name, claim.claim_id, services.now(), state="DONE", outcome=reason
    )


def _windows_since(services: Services, definition: Definition, claim: PromotionClaim) -> list[Window]:
    if not claim.fair_from:
        return []
    found = evaluations.evaluations(services.ledger, definition.name, claim.fair_from)
    return [Window.parse(each.window, definition.window_length) for each in found if each.settled]


def _end(services: Services, definition: Definition, claim: PromotionClaim, state: str, reason: str) -> None:
    """End a claim that changes nothing: claim the end, so that no other worker deploys meanwhile, and close."""
    _move(services, definition, claim, state="ENDING", ending=state, outcome=reason)
    _close(services, definition, msgspec.structs.replace(claim, state="ENDING", ending=state, outcome=reason))


def _close(services: Services, definition: Definition, claim: PromotionClaim) -> None:
    """Tell, and mark: a challenger that will not serve needs no approval."""
    state, reason = claim.ending, claim.outcome
    if claim.kind == "promote":
        # A person's own reason stays.
        if state == "REFUSED" and approval_of(services, claim.package_arn) not in ("Rejected", None):
            services.sagemaker.set_approval(claim.package_arn, "Rejected", reason)
        ended = "FAILED" if state == "FAILED" else "REFUSED"
        end_retrain(services, definition, claim.decision_id, claim.window, ended, reason)  # type: ignore[arg-type]
    elif state == "FAILED":
        tell(services, definition, claim.decision_id, claim.window, "ROLL_BACK_FAILED", reason)
    claims.amend_promotion(services.ledger, definition.name, claim.claim_id, services.now(), state=state)


def _candidate(
    services: Services, definition: Definition, claim: PromotionClaim, champion: Champion
) -> Candidate | None:
    """The past champion to bring back, or the registered challenger as a candidate."""
    if claim.kind != "promote":
        return champion.find(claim.candidate)
    package = services.sagemaker.describe_model_package(claim.package_arn)
    # SageMaker makes no model of a package that is not approved. A person's word is never overwritten with it.
    if package.approval_status == "PendingManualApproval" and definition.policy.promotion == "auto":
        services.sagemaker.set_approval(claim.package_arn, "Approved", "approved by policy, to be challenged")
    model_name = _name(services, definition, "model", claim.package_arn)
    services.sagemaker.ensure_model(
        {
            "ModelName": model_name,
            "ExecutionRoleArn": services.settings.execution_role_arn,
            "PrimaryContainer": {"ModelPackageName": claim.package_arn},
        }
    )
    folder = keys.baseline_folder(definition.name, claim.candidate)
    # Trained once more after the gate's model, on the held-back windows too: fair from the window after them.
    newest = Window.parse(claim.window, definition.window_length)
    return Candidate(
        name=claim.candidate,
        model_name=model_name,
        model_data=package.model_data_url,
        package_arn=claim.package_arn,
        fair_from=newest.next().name if package.metadata.get(GATE_MODEL) else claim.fair_from,
        baseline=keys.s3_uri(services.settings.bucket, folder),
    )


def _challenger(services: Services, definition: Definition, claim: PromotionClaim, candidate: Candidate) -> Candidate:
    """The model that passes the gate in the candidate's place: trained without the held-back windows.

    It is the candidate itself where the pipeline has trained only once.
    """
    package = services.sagemaker.describe_model_package(claim.package_arn)
    if not (model_data := package.metadata.get(GATE_MODEL, "")):
        return candidate
    model_name = _name(services, definition, "gate-model", claim.package_arn)
    services.sagemaker.ensure_model(
        {
            "ModelName": model_name,
            "ExecutionRoleArn": services.settings.execution_role_arn,
            "PrimaryContainer": {
                "Image": package.image,
                "ModelDataUrl": model_data,
                "Environment": dict(package.environment),
            },
        }
    )
    return msgspec.structs.replace(
        candidate,
        model_name=model_name,
        model_data=model_data,
        endpoint=_name(services, definition, "gate", candidate.name),
        fair_from=claim.fair_from,
    )


def _own_endpoint(services: Services, definition: Definition, candidate: Candidate) -> bool:
    """See that a candidate has its own serverless endpoint; False while it is being made."""
    name = _endpoint_name(services, definition, candidate)
    try:
        status = services.sagemaker.describe_endpoint(name).status
        if status == "Failed":  # it answers nobody now; the next attempt makes it anew
            services.sagemaker.delete_endpoint(name)
        return status not in ("Creating", "Updating")
    except NotFoundError:
        pass
    variant = {"VariantName": "AllTraffic", "ModelName": candidate.model_name, "ServerlessConfig": SERVERLESS}
    services.sagemaker.ensure_endpoint_config({"EndpointConfigName": name, "ProductionVariants": [variant]})
    index.point(services.ledger, "pool-endpoint", name, definition.name)
    services.sagemaker.ensure_endpoint(name, name)
    return False


def _serving_config(
    services: Services, definition: Definition, champion: Champion, candidate: Candidate
) -> dict[str, Any]:
    """The endpoint's present configuration with this candidate's model in the monitored variant."""
    endpoint = services.sagemaker.describe_endpoint(definition.endpoint)
    present = services.sagemaker.describe_endpoint_config(endpoint.config_name)
    request: dict[str, Any] = {name: present[name] for name in COPIED if name in present}
    variants = [
        _with_model(variant, definition.variant, candidate.model_name) for variant in present["ProductionVariants"]
    ]
    if all(variant["ModelName"] != candidate.model_name for variant in variants):
        raise MisconfiguredError("variant", definition.variant, f"a variant of the endpoint {definition.endpoint}")
    name = _name(services, definition, f"g{champion.generation + 1}", candidate.name)
    return {**request, "ProductionVariants": variants, "EndpointConfigName": name}


def _with_model(variant: Mapping[str, Any], name: str, model: str) -> dict[str, Any]:
    return {**variant, "ModelName": model} if variant["VariantName"] == name else dict(variant)


def _endpoint_name(services: Services, definition: Definition, candidate: Candidate) -> str:
    return candidate.endpoint or _name(services, definition, "pool", candidate.name)


def _name(services: Services, definition: Definition, kind: str, identity: str) -> str:
    """A SageMaker name (63 characters at most) that repeats itself for the same thing.

    It begins with the stage's, for the policies let a stage change its own models and endpoints only.
    """
    digest = hashlib.sha256(f"{definition.name}|{kind}|{identity}".encode()).hexdigest()[:10]
    end = f"-{kind}-{digest}"
    return f"plumbline-{services.settings.stage}-{definition.name}"[: 63 - len(end)].rstrip("-") + end
