"""The claims before the two acts that cannot be undone: start a retraining, change what is served.

Keys: MONITOR#{monitor} / CLAIM#RETRAIN -> RetrainClaim; MONITOR#{monitor} / CLAIM#PROMOTION -> PromotionClaim;
PACKAGE#{arn} / APPROVAL -> Approval (a package that waits for a person).

A claim is written before the act, holds what is needed to repeat it exactly, and is marked after it. A claim in flight
is a lease: when it expires, the clock sends it again, and because of its token the act happens once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from chalicelib.facts.document import change, load, monitor_partition, put_if_absent
from chalicelib.ports import Ledger

LEASE = timedelta(minutes=10)

# So long a step of a claim may fail before the claim ends, with the last reason.
PATIENCE = timedelta(hours=6)
# So long an execution may run: a callback step waits for at most as long.
LONGEST_EXECUTION = timedelta(days=7)
# A challenger that waits for a person is told of again, and ends.
REMIND_AFTER, LONGEST_APPROVAL = timedelta(days=7), timedelta(days=14)

# Ids of earlier claims that are kept: no message is repeated after that many promotions.
REMEMBERED = 32

RETRAIN_IN_FLIGHT = ("STARTING", "STARTED", "AWAITING_APPROVAL", "PROMOTING")


class PastStart(msgspec.Struct, frozen=True):
    """An ended claim of a retraining, as far as later ones depend on it."""

    decision_id: str
    started_at: datetime
    state: str
    policy_version: str


class RetrainClaim(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: STARTING, STARTED, AWAITING_APPROVAL, PROMOTING, then PROMOTED, REFUSED or FAILED.

    `window` is the evidence's window, `window_number` its ordinal (for subtraction), `request` the exact
    StartPipelineExecution request, `started_at` when the claim was made: older evidence does not count again.
    `evidence_since`: windows from this name on were its evidence ("": all), so that deciding again finds the same.
    `before`: the claims that stood here, the last first.
    """

    decision_id: str
    window: str
    window_number: int
    state: str
    started_at: datetime
    lease_until: datetime
    request: dict[str, object]
    manifest_uri: str
    output_uri: str
    fair_from: str
    evidence_since: str = ""
    execution_arn: str = ""
    package_arn: str = ""
    outcome: str = ""
    policy_version: str = ""
    before: tuple[PastStart, ...] = ()

    @property
    def in_flight(self) -> bool:
        return self.state in RETRAIN_IN_FLIGHT

    @property
    def starts(self) -> tuple[PastStart, ...]:
        """This start and those before it, the last first."""
        return (PastStart(self.decision_id, self.started_at, self.state, self.policy_version), *self.before)


def load_retrain(ledger: Ledger, monitor: str) -> RetrainClaim | None:
    stored = load(ledger, monitor_partition(monitor), "CLAIM#RETRAIN", RetrainClaim)
    return stored.value if stored else None


def claim_retrain(ledger: Ledger, monitor: str, claim: RetrainClaim, cool_down_windows: int) -> bool:
    """True when this claim is granted (also when an earlier delivery made it and it has not started yet).

    Granted when there is no claim, or the stored one has ended *and* its cool-down is over *and* its window is older.
    Without the last condition late repeats of old windows would start a retraining again.
    """

    def think(stored: RetrainClaim | None) -> RetrainClaim | None:
        if stored is None:
            return claim
        cooled = claim.window_number - stored.window_number >= cool_down_windows
        if stored.in_flight or not cooled or stored.window_number >= claim.window_number:
            return None
        return msgspec.structs.replace(claim, before=stored.starts[:REMEMBERED])

    current, _ = change(ledger, monitor_partition(monitor), "CLAIM#RETRAIN", RetrainClaim, think)
    return current is not None and current.decision_id == claim.decision_id and current.state == "STARTING"


def move_retrain(
    ledger: Ledger,
    monitor: str,
    decision_id: str,
    states: tuple[str, ...],
    to: str,
    now: datetime,
    *,
    execution_arn: str = "",
    package_arn: str = "",
    outcome: str = "",
) -> bool:
    """Move a decision's claim to state `to` if it is in one of `states`; False for a repeat or a newer claim."""

    def think(stored: RetrainClaim | None) -> RetrainClaim | None:
        if stored is None or stored.decision_id != decision_id or stored.state not in states:
            return None
        return msgspec.structs.replace(
            stored,
            state=to,
            lease_until=now + LEASE,
            execution_arn=execution_arn or stored.execution_arn,
            package_arn=package_arn or stored.package_arn,
            outcome=outcome or stored.outcome,
        )

    _, moved = change(ledger, monitor_partition(monitor), "CLAIM#RETRAIN", RetrainClaim, think)
    return moved


class PromotionClaim(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: promote (a challenger) or roll_back (a past champion). `generation`: the one that it may replace.

    `state`: APPLYING (models, endpoints, gate), DEPLOYING (the endpoint updates; `deploying_since` "": not requested
    yet), then DONE; or ENDING (what is no longer needed is deleted) and then `ending`: REFUSED, SUPERSEDED or FAILED.
    `failing_since`: when a step of it failed first, ISO 8601 ("": none has).
    `before`: ids of the previous claims, the last first; a late repeat of one of them is not granted.
    """

    claim_id: str
    kind: str
    decision_id: str
    window: str
    generation: int
    candidate: str
    package_arn: str
    state: str
    claimed_at: datetime
    lease_until: datetime
    manifest_uri: str = ""
    fair_from: str = ""
    config_name: str = ""
    deploying_since: str = ""
    failing_since: str = ""
    ending: str = ""
    outcome: str = ""
    before: tuple[str, ...] = ()

    @property
    def in_flight(self) -> bool:
        return self.state in ("APPLYING", "DEPLOYING", "ENDING")


def load_promotion(ledger: Ledger, monitor: str) -> PromotionClaim | None:
    stored = load(ledger, monitor_partition(monitor), "CLAIM#PROMOTION", PromotionClaim)
    return stored.value if stored else None


def claim_promotion(ledger: Ledger, monitor: str, claim: PromotionClaim) -> bool:
    """True when this claim is granted and in flight. Granted when none is in flight and this one has not ended before.

    Generations only grow: a claim for an older one than the last claimed is a late repeat and is not granted.
    """

    def think(stored: PromotionClaim | None) -> PromotionClaim | None:
        if stored is None:
            return claim
        if stored.claim_id == claim.claim_id or stored.in_flight or claim.generation < stored.generation:
            return None
        if claim.claim_id in stored.before:
            return None
        return msgspec.structs.replace(claim, before=(stored.claim_id, *stored.before)[:REMEMBERED])

    current, _ = change(ledger, monitor_partition(monitor), "CLAIM#PROMOTION", PromotionClaim, think)
    return current is not None and current.claim_id == claim.claim_id and current.in_flight


def amend_promotion(
    ledger: Ledger, monitor: str, claim_id: str, now: datetime, *, was: str = "", **fields: object
) -> bool:
    """Write progress into a claim in flight; False when it has ended or was replaced, or its state is not `was`."""

    def think(stored: PromotionClaim | None) -> PromotionClaim | None:
        if stored is None or stored.claim_id != claim_id or not stored.in_flight or (was and stored.state != was):
            return None
        return msgspec.structs.replace(stored, lease_until=now + LEASE, **fields)

    _, written = change(ledger, monitor_partition(monitor), "CLAIM#PROMOTION", PromotionClaim, think)
    return written


class Approval(msgspec.Struct, frozen=True):
    """A registered model package that a person must approve, and its retraining."""

    monitor: str
    decision_id: str


def await_approval(ledger: Ledger, package_arn: str, approval: Approval) -> None:
    put_if_absent(ledger, f"PACKAGE#{package_arn}", "APPROVAL", approval)


def awaited_approval(ledger: Ledger, package_arn: str) -> Approval | None:
    stored = load(ledger, f"PACKAGE#{package_arn}", "APPROVAL", Approval)
    return stored.value if stored else None
