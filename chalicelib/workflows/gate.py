"""The gate: challenger, champion and pool on the same held-back rows. Not an event source: promotion_claimed asks it.

Not here: endpoints and models, which promotion_claimed alone makes, deletes and deploys.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from chalicelib.decisions.challenger import Segment, SignTest, challenge, sign_test, worse_segments
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import MisconfiguredError, NotFoundError, PermanentError, PlumblineError
from chalicelib.evaluation.baseline_states import MEASUREMENT
from chalicelib.evaluation.measurement import measure
from chalicelib.facts import evaluations
from chalicelib.facts.champions import Candidate, Champion
from chalicelib.facts.claims import PromotionClaim
from chalicelib.facts.evaluations import Loss
from chalicelib.monitors import model_bias
from chalicelib.monitors.baseline import baseline_documents
from chalicelib.records.merge import MergedRequest, read_merged
from chalicelib.records.window import Window
from chalicelib.states.bias import bias_counts_of
from chalicelib.states.flips import numbers_of
from chalicelib.wiring import Services
from chalicelib.workflows.scoring import Scored, score
from chalicelib.workflows.window_inputs import subject_of

# The customer metadata of a model package that names the model to pass the gate, trained without the held-back windows.
GATE_MODEL = "gate_model_data_url"

SCORING_ATTEMPTS = 3


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """Who meets whom: the candidate to serve, the challenger that passes the gate in its place (the candidate itself
    where the pipeline has trained once), the champion with its pool, and everybody's endpoints."""

    claim: PromotionClaim
    candidate: Candidate
    endpoint: str
    challenger: Candidate
    challenger_endpoint: str
    champion: Champion
    endpoints: Mapping[str, str]


class GateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate found (`gate.json` beside the new baseline).

    `losses`: of the challenger ("challenger") and of every incumbent by name. `against_champion` and `worse_segments`
    compare with the champion row by row; they decide nothing. `bias`: Clarify's post-training metrics of both.
    """

    decision_id: str
    gate_model: str
    serving_model: str
    champion: str
    rows: int
    passed: bool
    reason: str
    losses: dict[str, float]
    against_champion: SignTest
    worse_segments: list[Segment]
    bias: dict[str, Any]
    version: int = 1


def hold_gate(services: Services, definition: Definition, contest: Contest) -> tuple[bool, str]:
    """Whether the challenger passes, and why. Writes the record and, when it passes, the new baseline.

    Raises PlumblineError when the challenger or the champion does not answer now, which another attempt may mend.
    """
    claim, champion = contest.claim, contest.champion
    held_back, kms_key_id = _held_back(services, claim)
    challenger = _answers(services, definition, contest.challenger_endpoint, held_back)
    champions_own = _answers(services, definition, contest.endpoints[champion.candidate.name], held_back)
    if challenger is None or champions_own is None:
        silent = contest.candidate.name if challenger is None else champion.candidate.name
        return False, f"{silent} does not answer every held-back row, so there is nothing to compare"
    twice_trained = contest.challenger_endpoint != contest.endpoint
    if twice_trained and _answers(services, definition, contest.endpoint, held_back) is None:
        return False, f"the model of {contest.candidate.name} that is to serve does not answer every held-back row"
    _save_losses(services, definition, contest.challenger, challenger)
    _save_losses(services, definition, champion.candidate, champions_own)
    incumbents = {champion.candidate.name: champions_own.loss()}
    for member in champion.pool:
        try:
            scored = _answers(services, definition, contest.endpoints[member.name], held_back)
        except Exception:  # whoever could serve must not stop the challenge
            scored = None
        if scored:
            _save_losses(services, definition, member, scored)
            incumbents[member.name] = scored.loss()
    gate = challenge(challenger.loss(), incumbents)
    bucket, folder = split_s3_uri(contest.candidate.baseline)
    documents: dict[str, bytes] = {}
    if gate.passed:
        documents = baseline_documents(
            challenger.captured,
            challenger.predictions,
            challenger.scores,
            claim.window,
            outputs=challenger.outputs,
            bias=definition.bias,
            attribution=definition.attribution,
        )
        answered = msgspec.structs.replace(
            challenger.captured,
            predictions=challenger.predictions,
            scores=challenger.scores,
            outputs=challenger.outputs,
        )
        documents[MEASUREMENT] = measure(answered, subject_of(definition)).to_bytes()
    test = sign_test(challenger.row_losses(), champions_own.row_losses())
    record = GateRecord(
        decision_id=claim.decision_id,
        gate_model=contest.challenger.model_data,
        serving_model=contest.candidate.model_data,
        champion=champion.candidate.name,
        rows=len(challenger.captured),
        passed=gate.passed,
        reason=gate.reason,
        losses={"challenger": gate.challenger, **gate.incumbents},
        against_champion=test,
        worse_segments=worse_segments(_columns(challenger), challenger.row_losses(), champions_own.row_losses()),
        bias={
            name: analysis
            for name, scored in (("challenger", challenger), ("champion", champions_own))
            if (analysis := _bias(definition, scored))
        },
    )
    documents["gate.json"] = msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=2)
    for name, document in documents.items():
        services.objects.put(bucket, f"{folder}/{name}", document, kms_key_id=kms_key_id)
    words = (
        f"{gate.reason}; against the champion {test.better} rows better, {test.worse} worse (sign test p {test.p:.2g})"
    )
    return gate.passed, words


def _columns(scored: Scored) -> dict[str, Any]:
    """The features as numbers, nan where one is missing or a text."""
    found = numbers_of(scored.captured.features, len(scored.captured))
    return {name: found[:, place] for place, name in enumerate(scored.captured.features)}


def _bias(definition: Definition, scored: Scored) -> Any:
    if definition.bias is None:
        return None
    answered = msgspec.structs.replace(scored.captured, predictions=scored.predictions, scores=scored.scores)
    try:
        analysis = model_bias.analysis(bias_counts_of(answered, definition.bias), definition.bias)
    except MisconfiguredError:  # a facet has rows on one side only
        return None
    return analysis.get("post_training_bias_metrics")


def _answers(
    services: Services, definition: Definition, endpoint: str, held_back: list[MergedRequest]
) -> Scored | None:
    """An endpoint's answers to the held-back rows; None when it is not in service or answers what cannot be read.

    A refusal costs a whole retraining, so nothing is believed at once. Raises what the endpoint raises instead of an
    answer (starting, throttled, an error in its container): that may pass.
    """
    raised: PlumblineError | None = None
    for _ in range(SCORING_ATTEMPTS):
        try:
            if services.sagemaker.describe_endpoint(endpoint).status != "InService":
                return None
            return score(services, definition, endpoint, held_back)
        except (NotFoundError, PermanentError):
            raised = None
        except PlumblineError as error:
            raised = error
    if raised:
        raise raised
    return None


def _save_losses(services: Services, definition: Definition, candidate: Candidate, scored: Scored) -> None:
    """Held-back windows are fair to everybody, so their losses count in the decayed comparison from the first day.

    Those of a challenger count for the candidate that serves in its place: it has learned from four windows more.
    """
    captured = scored.captured
    starts = [Window.of(datetime.fromtimestamp(time, UTC), definition.window_length) for time in captured.times]
    for window in sorted(set(starts)):
        if window.name < candidate.fair_from:
            continue
        rows = np.array([start == window for start in starts]) & ~np.isnan(captured.labels)
        if not rows.any():
            continue
        evaluations.save_first_loss(
            services.ledger,
            definition.name,
            Loss(
                window=window.name,
                candidate=candidate.name,
                sample="held back",
                rows=int(rows.sum()),
                loss=scored.loss(rows),
                served_loss=scored.served_loss(rows),
                upper=scored.upper(rows),
            ),
        )


class _Windows(msgspec.Struct):
    merged: list[str]


class _Manifest(msgspec.Struct):
    holdback: list[_Windows]


def _held_back(services: Services, claim: PromotionClaim) -> tuple[list[MergedRequest], str | None]:
    bucket, key = split_s3_uri(claim.manifest_uri)
    manifest = msgspec.json.decode(services.objects.get(bucket, key).body, type=_Manifest)
    merged: list[MergedRequest] = []
    kms_key_id = None
    for uri in (uri for window in manifest.holdback for uri in window.merged):
        stored = services.objects.get(*split_s3_uri(uri))
        kms_key_id = kms_key_id or stored.kms_key_id
        merged.extend(read_merged(stored.body, uri).requests)
    return sorted(merged, key=lambda one: (one.request.inference_time, one.request.event_id)), kms_key_id
