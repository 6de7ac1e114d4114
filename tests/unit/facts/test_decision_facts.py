"""Decisions, their outcomes and the evidence of windows: what is written first stays, and what is asked is found."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chalicelib.errors import ConflictError
from chalicelib.facts import decisions, evaluations
from chalicelib.facts.decisions import Evidence, Outcome, Record
from chalicelib.facts.evaluations import Evaluation, Loss
from emulator.memory import MemoryLedger
from tests.unit.facts.racing import RacingLedger, memory_ledger


def record(window: str = "w1", digest: str = "d", **changes: Any) -> Record:
    usual: dict[str, Any] = {
        "decision_id": decisions.decision_id("churn", window, "v1", digest),
        "monitor": "churn",
        "endpoint": "churn",
        "window": window,
        "action": "HOLD",
        "reasons": ("nothing",),
        "serve": "",
        "excess": 0.0,
        "reference": None,
        "differences": {},
        "champion": "m0",
        "generation": 0,
        "policy_version": "v1",
        "evaluation_digest": f"evaluation-{digest}",
        "evidence_digest": digest,
        "evidence": (Evidence("s3://b/k", "e"),),
        "made_at": "2026-01-05T12:00:00Z",
    }
    return Record(**{**usual, **changes})


def same(left: Record, right: Record) -> bool:
    return msgspec.json.encode(left) == msgspec.json.encode(right)


def outcome(decision: str, kind: str = "started", at: str = "2026-01-05T12:00:00Z", detail: str = "") -> Outcome:
    return Outcome(decision_id=decision, window="w1", kind=kind, detail=detail, at=at)


# Decisions ------------------------------------------------------------------------------------------------------------


def test_an_id_names_monitor_window_policy_and_evidence():
    assert decisions.decision_id("churn", "w", "v", "e") == (
        # printf 'churn|w|v|e' | sha256sum
        "a2c343c8f599c0d6c204dcfb7d3a464c5900c34813d78f61de6a3fafe7222f74"
    )


def test_the_first_to_save_a_decision_wins():
    ledger = memory_ledger()
    first = record()
    assert same(decisions.save(ledger, first), first)
    later = record(action="RETRAIN", made_at="2026-01-05T13:00:00Z")
    assert same(decisions.save(ledger, later), first)
    stored = decisions.load_record(ledger, first.decision_id)
    assert stored is not None and same(stored, first)
    assert decisions.load_record(ledger, "unknown") is None


def test_of_two_at_once_both_get_the_one_that_won():
    first, second = record(made_at="1"), record(made_at="2")
    ledger = RacingLedger(lambda table: decisions.save(table, first))
    assert same(decisions.save(ledger, second), first)
    assert len(decisions.references(ledger, "churn")) == 1


def test_a_crash_between_record_and_reference_is_mended_by_the_repeat():
    ledger = memory_ledger()
    decisions.save(ledger, record())
    ledger.items = {key: item for key, item in ledger.items.items() if key[0].startswith("DECISION#")}
    assert decisions.references(ledger, "churn") == []
    decisions.save(ledger, record())
    assert [each.decision_id for each in decisions.references(ledger, "churn")] == [record().decision_id]


def test_references_by_window_in_order():
    ledger = memory_ledger()
    for window, digest in (("w2", "a"), ("w1", "a"), ("w1", "b"), ("w10", "a")):
        decisions.save(ledger, record(window, digest))
    assert [each.window for each in decisions.references(ledger, "churn")] == ["w1", "w1", "w10", "w2"]
    found = decisions.references(ledger, "churn", "w1")
    assert {each.evaluation_digest for each in found} == {"evaluation-a", "evaluation-b"}
    assert decisions.references(ledger, "fraud") == []


def test_an_outcome_is_told_once_per_kind():
    ledger = memory_ledger()
    decisions.save_outcome(ledger, "churn", outcome("d1", detail="first"))
    decisions.save_outcome(ledger, "churn", outcome("d1", at="2026-01-05T13:00:00Z", detail="repeat"))
    decisions.save_outcome(ledger, "churn", outcome("d1", "promoted", "2026-01-05T14:00:00Z"))
    decisions.save_outcome(ledger, "churn", outcome("d0", "refused", "2026-01-05T11:00:00Z"))
    found = decisions.outcomes(ledger, "churn")
    assert [(each.decision_id, each.kind, each.detail) for each in found] == [
        ("d0", "refused", ""),
        ("d1", "started", "first"),
        ("d1", "promoted", ""),
    ]
    assert decisions.outcomes(ledger, "fraud") == []


# Evaluations ----------------------------------------------------------------------------------------------------------


def evaluation(window: str, settled: bool = True) -> Evaluation:
    return Evaluation(window, "d", 10, 9, 0.9, 0.1, settled, False, 0, (), "s", "m0", "measured", "labels", "")


def save(ledger: MemoryLedger, *found: Evaluation) -> None:
    for each in found:
        evaluations.save_evaluation(ledger, "churn", each, None)


def test_an_evaluation_replaces_only_what_its_worker_has_read():
    ledger = memory_ledger()
    save(ledger, evaluation("w1", settled=False))
    read = evaluations.load_evaluation(ledger, "churn", "w1")
    assert read is not None and not read.value.settled
    evaluations.save_evaluation(ledger, "churn", evaluation("w1"), read.revision)
    for expected in (None, read.revision):
        with pytest.raises(ConflictError):
            evaluations.save_evaluation(ledger, "churn", evaluation("w1", settled=False), expected)
    stored = evaluations.load_evaluation(ledger, "churn", "w1")
    assert stored is not None and stored.value == evaluation("w1")


def test_evaluations_of_a_range_oldest_first():
    ledger = memory_ledger()
    save(ledger, *(evaluation(name) for name in ("w3", "w1", "w2", "w4")))
    assert [each.window for each in evaluations.evaluations(ledger, "churn")] == ["w1", "w2", "w3", "w4"]
    assert [each.window for each in evaluations.evaluations(ledger, "churn", "w2", "w4")] == ["w2", "w3"]


@pytest.mark.parametrize("open_windows", [0, 1, 15, 16, 17, 255, 256, 257, 300])
def test_the_newest_settled_window_however_many_wait_for_labels(open_windows: int):
    ledger = memory_ledger()
    assert evaluations.newest_settled(ledger, "churn") == ""
    save(ledger, *(evaluation(f"w{number:04}", settled=False) for number in range(1, open_windows + 1)))
    assert evaluations.newest_settled(ledger, "churn") == ""
    save(ledger, evaluation("w0000"))
    assert evaluations.newest_settled(ledger, "churn") == "w0000"
    save(ledger, evaluation("w9999"))
    assert evaluations.newest_settled(ledger, "churn") == "w9999"


def test_the_newest_sample_replaces_a_loss_and_the_first_one_does_not():
    ledger = memory_ledger()
    old, new = Loss("w1", "m0", "s1", 5, 0.2, 0.3), Loss("w1", "m0", "s2", 9, 0.1, 0.3)
    evaluations.save_first_loss(ledger, "churn", old)
    evaluations.save_first_loss(ledger, "churn", new)
    assert evaluations.losses(ledger, "churn") == [old]
    evaluations.save_loss(ledger, "churn", new)
    evaluations.save_loss(ledger, "churn", Loss("w2", "churn/3", "s1", 5, 0.2, 0.3))
    assert [(each.window, each.sample) for each in evaluations.losses(ledger, "churn")] == [("w1", "s2"), ("w2", "s1")]
    assert [each.window for each in evaluations.losses(ledger, "churn", "w2")] == ["w2"]
