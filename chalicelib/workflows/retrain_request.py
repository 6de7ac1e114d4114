"""What a retraining is given: the manifest of its windows and the exact start request. Not an event source: a decision
to retrain needs both before it is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib import keys
from chalicelib.decisions.decide import Action
from chalicelib.decisions.retrain import DISPLAY_NAME
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.facts import claims, evaluations
from chalicelib.facts.champions import Candidate, Champion
from chalicelib.facts.decisions import Record
from chalicelib.records.window import Window
from chalicelib.wiring import Services


def retrain_claim(
    services: Services, definition: Definition, window: Window, record: Record, evidence_since: str
) -> claims.RetrainClaim:
    """The claim of a decision to retrain, with the exact request that starts the pipeline."""
    retraining = definition.retraining
    assert retraining is not None, "a decision to retrain needs a pipeline"
    now = services.now()
    manifest_uri = keys.s3_uri(
        services.settings.bucket, keys.training_manifest_key(definition.name, record.decision_id)
    )
    output_uri = f"{retraining.output_uri.rstrip('/')}/{record.decision_id}"
    values = {
        "manifest_uri": manifest_uri,
        "output_uri": output_uri,
        "decision_id": record.decision_id,
        "monitor": definition.name,
        "endpoint": definition.endpoint,
    }
    parameters = [
        {"Name": name, "Value": _filled(text, values)} for name, text in sorted(retraining.parameters.items())
    ]
    request: dict[str, object] = {
        "PipelineName": retraining.pipeline_name,
        "PipelineExecutionDisplayName": f"{DISPLAY_NAME}{record.decision_id}",
        "PipelineExecutionDescription": f"{definition.name}: window {record.window}",
        "PipelineParameters": parameters,
        "ClientRequestToken": record.decision_id,
    }
    manifest = msgspec.json.decode(services.objects.get(*split_s3_uri(manifest_uri)).body)
    return claims.RetrainClaim(
        decision_id=record.decision_id,
        window=window.name,
        window_number=ordinal(window),
        state="STARTING",
        started_at=now,
        lease_until=now + claims.LEASE,
        request=request,
        manifest_uri=manifest_uri,
        output_uri=output_uri,
        fair_from=manifest["holdback"][0]["window"],
        evidence_since=evidence_since,
        policy_version=record.policy_version,
    )


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def with_manifest(
    services: Services, definition: Definition, window: Window, record: Record, champion: Champion | None
) -> Record:
    """Write the training manifest; without enough labelled windows to learn from, the decision is not to retrain."""
    assert champion is not None and definition.retraining is not None
    policy = definition.policy
    settled = [
        each.window
        for each in evaluations.evaluations(services.ledger, definition.name, "", window.next().name)
        if each.settled and not each.broken
    ]
    held_back = settled[-policy.holdback_windows :]
    training = settled[: -policy.holdback_windows][-policy.training_windows :]
    if len(held_back) < policy.holdback_windows or not training:
        reason = f"no retrain: {len(settled)} labelled windows are too few to train on and hold back"
        return msgspec.structs.replace(record, action=Action.ALERT.value, reasons=(*record.reasons, reason))
    manifest = {
        "version": 1,
        "monitor": definition.name,
        "decision_id": record.decision_id,
        "attributes": definition.attributes,
        "evidence": record.evidence,
        "training": [_manifest_window(services, definition, name) for name in training],
        "holdback": [_manifest_window(services, definition, name) for name in held_back],
        "champion": _manifest_model(champion.candidate),
        "pool": [_manifest_model(each) for each in champion.pool],
    }
    key = keys.training_manifest_key(definition.name, record.decision_id)
    services.objects.put_if_absent(services.settings.bucket, key, msgspec.json.encode(manifest, order="sorted"))
    return record


def _manifest_window(services: Services, definition: Definition, name: str) -> dict[str, Any]:
    """The merge files of a window that exist: an hour without a labelled request has none."""
    bucket, output = split_s3_uri(definition.output_s3_uri)
    window = Window.parse(name, definition.window_length)
    paths = [
        keys.merge_key(output, definition.endpoint, definition.variant, definition.name, hour)
        for hour in window.hours()
    ]
    found = {each.key for path in paths for each in services.objects.list(bucket, path)}
    return {"window": name, "merged": [keys.s3_uri(bucket, path) for path in paths if path in found]}


def _manifest_model(candidate: Candidate) -> dict[str, str]:
    return {"name": candidate.name, "model_data": candidate.model_data}


def ordinal(window: Window) -> int:
    """Windows since 1970, so that windows can be subtracted."""
    return int(window.start.timestamp() // window.length.total_seconds())
