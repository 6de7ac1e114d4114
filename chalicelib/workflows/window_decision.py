"""Deciding on an evaluated window and acting on it. Not an event source: window_due's last third.

Gather the history, think with one pure call, write the decision down, then act: every act is claimed, so that doing
this again after a crash or a repeat changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import numpy as np

from chalicelib import keys
from chalicelib.decisions.decide import Action, Situation, decide
from chalicelib.decisions.policy import quiet_period
from chalicelib.decisions.retrain import SurrogateLosses
from chalicelib.definition import Definition, split_s3_uri, version_of
from chalicelib.errors import ConflictError
from chalicelib.evaluation.evaluate import Findings
from chalicelib.events import ClaimMessage
from chalicelib.evidence.assessment import Assessment
from chalicelib.facts import alarms, champions, claims, decisions, due, evaluations, pauses, standings
from chalicelib.facts.champions import Champion
from chalicelib.facts.decisions import Evidence, Record, Reference
from chalicelib.facts.evaluations import Evaluation, Loss
from chalicelib.facts.standings import Standing
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.challenges import send_promotion
from chalicelib.workflows.retrain_history import (
    candidate_losses,
    evidence_since,
    former_champion,
    since_start,
    starts_in_month,
    stop_reason,
    weighed_losses,
)
from chalicelib.workflows.retrain_request import ordinal, retrain_claim, with_manifest
from chalicelib.workflows.scoring import score
from chalicelib.workflows.surrogates import learn, loss_unit
from chalicelib.workflows.window_incidents import tell
from chalicelib.workflows.window_inputs import Gathered

# After so long no further candidate is asked to answer a window's sample. One more may take the runtime's whole minute.
SCORING_TIME = timedelta(minutes=1)


class _Alarms(msgspec.Struct, frozen=True):
    triggers: list[str]
    vetoes: list[str]
    evidence: list[str]


def decide_and_act(
    services: Services,
    definition: Definition,
    window: Window,
    evaluation: Evaluation,
    findings: Findings,
    gathered: Gathered,
    found: Assessment,
    restored: bool = False,
) -> None:
    """Decide once per evidence, act on what was decided, and tell people what has opened or closed.

    Raises ConflictError when an alarm that asked was answered with a newer window meanwhile: that one acts on it, and
    this one is decided without.
    `restored`: the fact of this window was lost. It decides nothing again: where the facts of other windows are lost
    as well, it would take itself for the newest, and old evidence for new.
    """
    if evaluation.settled:  # its worker may have died before it was noted
        evaluations.note_settled(services.ledger, definition.name, window.name)
    newest = evaluations.newest_settled(services.ledger, definition.name)
    newer = newest if newest > window.name else ""
    made = decisions.references(services.ledger, definition.name, window.name)
    champion = champions.load_champion(services.ledger, definition.name)
    if evaluation.settled and champion:
        _score_candidates(services, definition, window, findings, champion)
        if definition.policy.rule == "regret" and not evaluation.broken:
            sample, digest = findings.sample, findings.sample_digest
            learn(services, definition, window, sample, digest, champion, gathered.kms_key_id)
    if newer:
        _ask_anew(services, definition, window, made, newer)
    said = newer and any(reference.evaluation_digest == evaluation.digest for reference in made)
    if said or (restored and made):
        record = None  # a newer window decides now, and this one has said what it had to say
    else:
        if newer and evaluation.settled:  # its loss is evidence for the newest one, too: that one is decided again
            length = definition.window_length
            due.mark(services.ledger, definition.name, Window.parse(newer, length), definition.grace, services.now())
        record = _decide(services, definition, window, evaluation, findings, gathered, found, champion, newer)
        _act(services, definition, window, record)
    told = tell(services, definition, window, evaluation, findings, found, record.decision_id if record else "")
    _stand(services, definition, window, evaluation, found, newest, record, told)


def _stand(
    services: Services,
    definition: Definition,
    window: Window,
    evaluation: Evaluation,
    found: Assessment,
    settled: str,
    record: Record | None,
    open_incidents: tuple[str, ...],
) -> None:
    """Keep how the monitor stands after this window."""
    if evaluation.window != settled:
        stored = evaluations.load_evaluation(services.ledger, definition.name, settled) if settled else None
        last = stored.value if stored else None
    else:
        last = evaluation
    standing = Standing(
        monitor=definition.name,
        endpoint=definition.endpoint,
        window=window.name,
        hours=definition.window_hours,
        level=found.level,
        headline=found.headline,
        broken=evaluation.broken[0] if evaluation.broken else "",
        action=record.action if record else "",
        loss=last.loss if last else None,
        coverage=last.coverage if last else 0.0,
        incidents=open_incidents,
    )
    standings.save(services.ledger, standing)


def _ask_anew(
    services: Services, definition: Definition, window: Window, made: Sequence[Reference], newer: str
) -> None:
    """Where a retraining that an alarm asked for was decided and never claimed, as often did its worker die, the newest
    window is asked."""
    claim = claims.load_retrain(services.ledger, definition.name)
    asked = [
        trigger
        for trigger in alarms.asking(services.ledger, definition.name, window.name, newest=False)
        if claim is None or trigger.at >= claim.started_at
    ]
    if not asked:
        return
    unclaimed = [
        each.decision_id
        for each in made
        if each.action == Action.RETRAIN.value and (claim is None or each.decision_id != claim.decision_id)
    ]
    records = [decisions.load_record(services.ledger, each) for each in unclaimed]
    # One from before the alarm was decided without it.
    last = max((record.made_at for record in records if record is not None), default="")
    triggers = [trigger for trigger in asked if last >= iso(trigger.at)]
    if triggers:
        newest = Window.parse(newer, definition.window_length)
        # Marked first: a trigger that nobody has answered waits for any window, a window that nobody marks for none.
        due.mark(services.ledger, definition.name, newest, definition.grace, services.now(), wait=timedelta(0))
        alarms.ask_again(services.ledger, definition.name, triggers)


def _decide(
    services: Services,
    definition: Definition,
    window: Window,
    evaluation: Evaluation,
    findings: Findings,
    gathered: Gathered,
    found: Assessment,
    champion: Champion | None,
    newer: str,
) -> Record:
    policy = definition.policy
    claim = claims.load_retrain(services.ledger, definition.name)
    promotion = claims.load_promotion(services.ledger, definition.name)
    triggers = [
        trigger
        for trigger in alarms.asking(services.ledger, definition.name, window.name, newest=not newer)
        if trigger.answered or claim is None or trigger.at >= claim.started_at  # older ones: that start was the answer
    ]
    states = _alarms(services, definition, triggers)
    pause = pauses.in_force(services.ledger, definition.name, services.now())
    started = since_start(definition, claim, window, champion)
    since = evidence_since(definition, claim, window, champion)
    unit = loss_unit(services, definition)
    scale = unit or 1.0
    weighed, fresh = weighed_losses(services, definition, window, evaluation, champion, started, scale)
    evidence = (weighed, fresh)
    if since != started:
        evidence = weighed_losses(services, definition, window, evaluation, champion, since, scale)
    ago = ordinal(window) - claim.window_number if claim else None
    situation = Situation(
        window=window.name,
        rows=evaluation.rows,
        labelled=evaluation.labelled,
        coverage=evaluation.coverage,
        settled=evaluation.settled,
        champion=champion.candidate.name if champion else "",
        losses_since_start=weighed,
        surrogates=fresh,
        since=started,
        candidate_losses=candidate_losses(services, definition, window, champion, scale),
        can_retrain=policy.retrain and definition.retraining is not None and champion is not None,
        retrain_in_flight=f"the retraining {claim.decision_id[:12]} is {claim.state}"
        if claim and claim.in_flight
        else "",
        promotion_in_flight=(
            f"the {promotion.kind} of {promotion.candidate} is {promotion.state}"
            if promotion and promotion.in_flight
            else ""
        ),
        windows_since_start=ago,
        starts_this_month=starts_in_month(claim, services.now()),
        quiet=quiet_period(policy.quiet, services.now()),
        stopped=stop_reason(definition, claim, champion, ago),
        former=former_champion(champion),
        unit_missing="" if unit else "the baseline has no mean absolute error to measure losses by",
        broken=evaluation.broken,
        found=found,
        violations={kind: len(named) for kind, named in findings.violations.items()},
        violations_wake=definition.alerts.violations == "wake",
        triggers=states.triggers,
        vetoes=states.vetoes,
        evidence_alarms=states.evidence,
        paused=pause.words if pause else "",
        newer_window=newer,
    )
    verdict = decide(situation, policy)
    version = version_of(definition)
    digest = _evidence_digest(
        evaluation, ([], []) if newer else evidence, triggers, states, newer, situation.paused, found
    )
    read = _evidence(definition, window, evaluation, gathered, services.settings.bucket)
    record = Record(
        decision_id=decisions.decision_id(definition.name, window.name, version, digest),
        monitor=definition.name,
        endpoint=definition.endpoint,
        window=window.name,
        action=verdict.action.value,
        reasons=verdict.reasons,
        serve=verdict.serve,
        excess=verdict.excess,
        reference=verdict.reference,
        differences=verdict.differences,
        regret=verdict.regret,
        fresh_since=verdict.fresh_since,
        champion=situation.champion,
        generation=champion.generation if champion else -1,
        policy_version=version,
        evaluation_digest=evaluation.digest,
        evidence_digest=digest,
        evidence=read,
        evidence_count=len(read),
        made_at=iso(services.now()),
    )
    if verdict.action is Action.RETRAIN:
        record = with_manifest(services, definition, window, record, champion)
    stored = decisions.save(services.ledger, record)
    # Too little, or nothing sound, to learn from yet: the triggers wait for a window that has it.
    unable = bool(evaluation.broken) or (verdict.action is Action.RETRAIN and stored.action != Action.RETRAIN.value)
    answers = evaluation.settled and not newer and not states.vetoes and not pause and not unable
    if answers and not alarms.answered(services.ledger, definition.name, triggers, window.name):
        raise ConflictError(f"{definition.name}: an alarm of window {window.name} was answered with another window")
    body = msgspec.json.encode(stored, order="sorted")
    services.objects.put_if_absent(
        services.settings.bucket, keys.decision_key(definition.name, stored.decision_id), body
    )
    return stored


def _act(services: Services, definition: Definition, window: Window, record: Record) -> None:
    champion = champions.load_champion(services.ledger, definition.name)
    if record.action == Action.RETRAIN.value:
        before = claims.load_retrain(services.ledger, definition.name)
        since = evidence_since(definition, before, window, champion)
        claim = retrain_claim(services, definition, window, record, since)
        if claims.claim_retrain(services.ledger, definition.name, claim, definition.policy.cool_down_windows):
            message = msgspec.json.encode(ClaimMessage(definition.name, record.decision_id))
            services.queues.send("retrain-claims", [message])
    if record.serve and champion and champion.generation == record.generation:
        now = services.now()
        promotion = claims.PromotionClaim(
            claim_id=f"roll_back-{record.decision_id}",
            kind="roll_back",
            decision_id=record.decision_id,
            window=window.name,
            generation=record.generation,
            candidate=record.serve,
            package_arn="",
            state="APPLYING",
            claimed_at=now,
            lease_until=now + claims.LEASE,
        )
        if claims.claim_promotion(services.ledger, definition.name, promotion):
            send_promotion(services, definition.name, promotion.claim_id)


def _score_candidates(
    services: Services, definition: Definition, window: Window, findings: Findings, champion: Champion
) -> None:
    """Let everybody who could serve answer the window's sample; what was answered before is not asked again.

    Whoever could serve must not stop who serves: any failure means no loss for this window, and so does an answer that
    would come too late.
    """
    late = services.now() + SCORING_TIME
    known = {
        (loss.candidate, loss.sample)
        for loss in evaluations.losses(services.ledger, definition.name, window.name)
        if loss.window == window.name
    }
    everybody = (champion.candidate, *champion.pool)
    first = ordinal(window) % len(everybody)  # in turns, so that one who takes all the time silences nobody for good
    for candidate in (*everybody[first:], *everybody[:first]):
        fair = window.name >= candidate.fair_from
        if not candidate.endpoint or not fair or (candidate.name, findings.sample_digest) in known:
            continue
        if services.now() >= late:
            return
        try:
            scored = score(services, definition, candidate.endpoint, findings.sample)
        except Exception:  # whatever it is, the window is decided without this candidate
            continue
        if not scored.captured.labels.size or np.isnan(scored.captured.labels).all():
            continue
        evaluations.save_loss(
            services.ledger,
            definition.name,
            Loss(
                window=window.name,
                candidate=candidate.name,
                sample=findings.sample_digest,
                rows=len(scored.captured),
                loss=scored.loss(),
                served_loss=scored.served_loss(),
                upper=scored.upper(),
            ),
        )


def _alarms(services: Services, definition: Definition, triggers: Sequence[alarms.Trigger]) -> _Alarms:
    states = alarms.states(services.ledger, definition.name)
    asked = {trigger.alarm for trigger in triggers}
    in_alarm = {name for name, state in states.items() if state.state == "ALARM"}
    by_role: dict[str, list[str]] = {"trigger": [], "veto": [], "evidence": []}
    for alarm in definition.alarms:
        if alarm.name in (asked if alarm.role == "trigger" else in_alarm):
            by_role[alarm.role].append(alarm.name)
    return _Alarms(by_role["trigger"], by_role["veto"], by_role["evidence"])


def _evidence_digest(
    evaluation: Evaluation,
    weighed: tuple[Sequence[float], Sequence[SurrogateLosses]],
    triggers: Sequence[alarms.Trigger],
    states: _Alarms,
    newer: str,
    paused: str,
    found: Assessment,
) -> str:
    """What a decision stands on.

    The losses of the windows before count while the window is the newest: late labels change them. So does a veto or a
    pause: its end asks anew. A trigger counts by the moment it asked: the same alarm asking again is a new question.
    """
    asked = sorted(f"{each.at.isoformat()} {each.alarm}" for each in triggers if each.alarm in states.triggers)
    held = [*states.vetoes, *([paused] if paused else [])]
    losses, surrogates = weighed
    document = [
        evaluation.digest,
        list(losses),
        asked,
        [] if newer else held,
        *([list(surrogates)] if surrogates else []),
        *([] if newer else [found.headline]),
    ]
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


def _evidence(
    definition: Definition, window: Window, evaluation: Evaluation, gathered: Gathered, bucket: str
) -> list[Evidence]:
    """Keys and ETags of what was read."""
    source, _ = split_s3_uri(definition.capture_s3_uri)
    read = [Evidence(keys.s3_uri(source, file.key), file.etag) for file in gathered.task.measured.files]
    read += [Evidence(uri, etag) for uri, etag in gathered.label_sources]
    read.append(
        Evidence(keys.s3_uri(bucket, keys.revision_key(definition.name, window, evaluation.digest)), evaluation.digest)
    )
    read.append(
        Evidence(
            keys.s3_uri(bucket, keys.definition_key(definition.name, version_of(definition))), version_of(definition)
        )
    )
    return read
