"""Decisions as they were made, with their evidence and outcomes.

Keys: DECISION#{id} / RECORD -> Record; MONITOR#{monitor} / DECISION#{window}#{id} -> Reference;
MONITOR#{monitor} / OUTCOME#{id}#{kind} -> Outcome.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.facts.document import load, load_all, monitor_partition, put_if_absent
from chalicelib.ports import Ledger

# A table item holds 400 KB; a daily window may have thousands of files.
MOST_EVIDENCE = 200


class Evidence(msgspec.Struct, frozen=True):
    """One input: its S3 URI or table key, and its ETag or digest when it was read."""

    source: str
    digest: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A complete decision: action, reasons, policy, evidence, time.

    Of more than MOST_EVIDENCE inputs the table keeps the first and `evidence_count`; the document in S3 names all.
    """

    decision_id: str
    monitor: str
    endpoint: str
    window: str
    action: str
    reasons: Sequence[str]
    serve: str
    excess: float
    reference: float | None
    differences: Mapping[str, float]
    champion: str
    generation: int
    policy_version: str
    evaluation_digest: str
    evidence_digest: str
    evidence: Sequence[Evidence]
    made_at: str
    evidence_count: int = 0
    regret: float = 0.0
    fresh_since: str = ""


class Reference(msgspec.Struct, frozen=True):
    decision_id: str
    window: str
    action: str
    evaluation_digest: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision led to: `kind` is started, promoted, refused, failed, rolled_back or roll_back_failed."""

    decision_id: str
    window: str
    kind: str
    detail: str
    at: str


def decision_id(monitor: str, window: str, policy_version: str, evidence_digest: str) -> str:
    """sha256(monitor | window | policy version | evidence digest), 64 hex digits: also the pipeline's start token."""
    return hashlib.sha256(f"{monitor}|{window}|{policy_version}|{evidence_digest}".encode()).hexdigest()


def save(ledger: Ledger, record: Record) -> Record:
    """Store a decision once; returns the stored one, which an earlier delivery may have written, with all evidence."""
    kept = msgspec.structs.replace(record, evidence=record.evidence[:MOST_EVIDENCE])
    put_if_absent(ledger, f"DECISION#{record.decision_id}", "RECORD", kept)
    stored = load_record(ledger, record.decision_id)
    assert stored is not None
    reference = Reference(stored.decision_id, stored.window, stored.action, stored.evaluation_digest)
    sk = f"DECISION#{stored.window}#{stored.decision_id}"
    put_if_absent(ledger, monitor_partition(stored.monitor), sk, reference)
    # An id stands for its evidence.
    return msgspec.structs.replace(stored, evidence=record.evidence)


def load_record(ledger: Ledger, decision: str) -> Record | None:
    stored = load(ledger, f"DECISION#{decision}", "RECORD", Record)
    return stored.value if stored else None


def references(ledger: Ledger, monitor: str, window: str = "", since: str = "") -> list[Reference]:
    """The decisions of a window, or of all windows from `since` on, in window order."""
    prefix = f"DECISION#{window}#" if window else "DECISION#"
    first = f"DECISION#{since}" if since else None
    return load_all(ledger, monitor_partition(monitor), Reference, begins_with=prefix, since=first)


def save_outcome(ledger: Ledger, monitor: str, outcome: Outcome) -> None:
    """Write an outcome once per decision and kind: the first one counts."""
    put_if_absent(ledger, monitor_partition(monitor), f"OUTCOME#{outcome.decision_id}#{outcome.kind}", outcome)


def outcomes(ledger: Ledger, monitor: str) -> list[Outcome]:
    """All outcomes, oldest first."""
    found = load_all(ledger, monitor_partition(monitor), Outcome, begins_with="OUTCOME#")
    return sorted(found, key=lambda outcome: (outcome.at, outcome.decision_id, outcome.kind))
