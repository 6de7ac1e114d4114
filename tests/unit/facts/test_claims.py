"""Claims: in whatever order claims, ends and repeats come, never two in flight, and never one within the cool-down."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.facts import claims
from chalicelib.facts.claims import LEASE, Approval, PromotionClaim, RetrainClaim
from emulator.memory import MemoryLedger
from tests.unit.facts.racing import NOW, RacingLedger, memory_ledger

COOL_DOWN = 4
ENDED = ("PROMOTED", "REFUSED", "FAILED")


def retrain(number: int, name: str = "") -> RetrainClaim:
    return RetrainClaim(
        decision_id=name or f"d{number}",
        window=f"w{number}",
        window_number=number,
        state="STARTING",
        started_at=NOW,
        lease_until=NOW + LEASE,
        request={"ClientRequestToken": name or f"d{number}"},
        manifest_uri="s3://b/m",
        output_uri="s3://b/o",
        fair_from="w9",
    )


def claim(ledger: MemoryLedger, number: int, name: str = "", cool_down: int = COOL_DOWN) -> bool:
    return claims.claim_retrain(ledger, "churn", retrain(number, name), cool_down)


def move(ledger: MemoryLedger, name: str, to: str, states: tuple[str, ...] = claims.RETRAIN_IN_FLIGHT) -> bool:
    return claims.move_retrain(ledger, "churn", name, states, to, NOW)


def stored(ledger: MemoryLedger) -> RetrainClaim:
    found = claims.load_retrain(ledger, "churn")
    assert found is not None
    return found


# A retraining ---------------------------------------------------------------------------------------------------------


def test_the_first_claim_stands():
    ledger = memory_ledger()
    assert claims.load_retrain(ledger, "churn") is None
    assert claim(ledger, 10)
    assert stored(ledger) == retrain(10) and stored(ledger).in_flight


@pytest.mark.parametrize("state", claims.RETRAIN_IN_FLIGHT)
def test_in_flight_nothing_else_is_granted(state: str):
    ledger = memory_ledger()
    claim(ledger, 10)
    move(ledger, "d10", state)
    assert not claim(ledger, 100)
    assert stored(ledger).decision_id == "d10"


@pytest.mark.parametrize("state", ENDED)
def test_the_same_decision_is_granted_only_while_it_starts(state: str):
    ledger = memory_ledger()
    assert claim(ledger, 10) and claim(ledger, 10)
    move(ledger, "d10", "STARTED")
    assert not claim(ledger, 10)
    move(ledger, "d10", state)
    assert not claim(ledger, 10) and not claim(ledger, 10, cool_down=0)


@pytest.mark.parametrize("number, granted", [(9, False), (10, False), (11, False), (13, False), (14, True), (99, True)])
def test_the_next_start_waits_for_the_cool_down_in_windows(number: int, granted: bool):
    ledger = memory_ledger()
    claim(ledger, 10)
    move(ledger, "d10", "FAILED")
    assert claim(ledger, number, "another") is granted


@pytest.mark.parametrize("number, granted", [(9, False), (10, False), (11, True)])
def test_without_a_cool_down_evidence_must_still_be_newer(number: int, granted: bool):
    ledger = memory_ledger()
    claim(ledger, 10)
    move(ledger, "d10", "PROMOTED")
    assert claim(ledger, number, "another", cool_down=0) is granted


def test_a_repeat_keeps_the_first_request_byte_for_byte():
    ledger = memory_ledger()
    claim(ledger, 10)
    other = msgspec.structs.replace(retrain(10), request={"ClientRequestToken": "changed"})
    assert claims.claim_retrain(ledger, "churn", other, COOL_DOWN)
    assert stored(ledger).request == {"ClientRequestToken": "d10"}


def test_of_two_that_claim_at_once_one_wins():
    granted: list[bool] = []
    ledger = RacingLedger(lambda table: granted.append(claim(table, 11)))
    assert not claim(ledger, 10)
    assert granted == [True] and stored(ledger).decision_id == "d11"


def test_an_end_that_comes_between_the_read_and_the_write_is_seen():
    ledger = RacingLedger(lambda table: None, lambda table: move(table, "d10", "FAILED"))
    claim(ledger, 10)
    assert not move(ledger, "d10", "STARTED", ("STARTING",))
    assert stored(ledger).state == "FAILED"


def test_moving_on_renews_the_lease_and_keeps_what_is_known():
    ledger = memory_ledger()
    claim(ledger, 10)
    later = NOW + timedelta(minutes=3)
    assert claims.move_retrain(ledger, "churn", "d10", ("STARTING",), "STARTED", later, execution_arn="arn:e")
    assert (stored(ledger).lease_until, stored(ledger).execution_arn) == (later + LEASE, "arn:e")
    assert claims.move_retrain(ledger, "churn", "d10", ("STARTED",), "FAILED", later, outcome="no data")
    assert (stored(ledger).execution_arn, stored(ledger).outcome) == ("arn:e", "no data")
    assert not stored(ledger).in_flight


@pytest.mark.parametrize("name, states", [("d9", ("STARTING",)), ("d10", ("STARTED",)), ("d10", ())])
def test_a_move_of_another_claim_or_from_another_state_does_nothing(name: str, states: tuple[str, ...]):
    ledger = memory_ledger()
    assert not move(ledger, name, "FAILED", states)
    claim(ledger, 10)
    assert not move(ledger, name, "FAILED", states)
    assert stored(ledger) == retrain(10)


# Any order of claims of few windows and decisions, starts, and ends: of the right decision or of an old one.
numbers = st.integers(0, 25)
steps = st.lists(
    st.tuples(st.just("claim"), numbers, st.sampled_from("ab"))
    | st.tuples(st.just("start"), numbers, st.sampled_from("ab"))
    | st.tuples(st.sampled_from(ENDED), numbers, st.sampled_from("ab"))
    | st.tuples(st.sampled_from(["start-current", *ENDED]), st.just(-1), st.just("")),
    max_size=80,
)


@given(steps, st.integers(0, 6))
def test_never_two_in_flight_and_never_within_the_cool_down(found: list[tuple[str, int, str]], cool_down: int):
    ledger = memory_ledger()
    started: dict[str, int] = {}
    ended: set[str] = set()
    for kind, number, version in found:
        current = claims.load_retrain(ledger, "churn")
        name = f"{number}{version}" if number >= 0 else current.decision_id if current else "none"
        if kind == "claim":
            was_starting = current is not None and current.decision_id == name and current.state == "STARTING"
            granted = claim(ledger, number, name, cool_down)
            if granted and name not in started:
                assert all(each in ended for each in started), "another retraining is in flight"
                assert all(number - other >= max(1, cool_down) for other in started.values())
                started[name] = number
            elif name in started:
                assert granted == was_starting
        elif kind.startswith("start"):
            move(ledger, name, "STARTED", ("STARTING",))
        elif move(ledger, name, kind):
            assert name in started and name not in ended
            ended.add(name)
        assert len(set(started) - ended) <= 1
    assert list(started.values()) == sorted(started.values())


@given(st.permutations(list(range(12)) * 2))
def test_in_any_order_of_repeated_claims_somebody_starts(order: list[int]):
    ledger = memory_ledger()
    granted = [number for number in order if claim(ledger, number)]
    assert granted and set(granted) == {order[0]}


# A change of what is served -------------------------------------------------------------------------------------------


def promotion(name: str, generation: int = 0, **changes: Any) -> PromotionClaim:
    usual: dict[str, Any] = {
        "claim_id": name,
        "kind": "promote",
        "decision_id": "d",
        "window": "w",
        "generation": generation,
        "candidate": "churn/2",
        "package_arn": "arn",
        "state": "APPLYING",
        "claimed_at": NOW,
        "lease_until": NOW + LEASE,
    }
    return PromotionClaim(**{**usual, **changes})


def promote(ledger: MemoryLedger, name: str, generation: int = 0) -> bool:
    return claims.claim_promotion(ledger, "churn", promotion(name, generation))


def amend(ledger: MemoryLedger, name: str, **fields: object) -> bool:
    return claims.amend_promotion(ledger, "churn", name, NOW, **fields)


def test_one_promotion_at_a_time():
    ledger = memory_ledger()
    assert claims.load_promotion(ledger, "churn") is None
    assert promote(ledger, "a") and promote(ledger, "a")
    assert not promote(ledger, "b", 5)
    assert amend(ledger, "a", state="DEPLOYING")
    assert promote(ledger, "a") and not promote(ledger, "b")
    assert amend(ledger, "a", state="DONE")
    assert not promote(ledger, "a") and promote(ledger, "b", 1)


def test_a_claim_for_an_older_generation_is_a_late_repeat():
    ledger = memory_ledger()
    promote(ledger, "a", 3)
    amend(ledger, "a", state="REFUSED")
    assert not promote(ledger, "b", 2)
    assert promote(ledger, "c", 3)


def test_what_has_ended_or_is_not_there_is_not_amended():
    ledger = memory_ledger()
    assert not amend(ledger, "a", state="DONE")
    promote(ledger, "a")
    assert not amend(ledger, "b", state="DONE")
    assert amend(ledger, "a", state="DONE", outcome="served")
    assert not amend(ledger, "a", state="APPLYING")
    found = claims.load_promotion(ledger, "churn")
    assert found is not None and (found.state, found.outcome) == ("DONE", "served")


def test_an_amendment_renews_the_lease():
    ledger = memory_ledger()
    promote(ledger, "a")
    later = NOW + timedelta(minutes=7)
    claims.amend_promotion(ledger, "churn", "a", later, config_name="churn-2")
    found = claims.load_promotion(ledger, "churn")
    assert found is not None and (found.lease_until, found.config_name) == (later + LEASE, "churn-2")


def test_two_promotions_at_once():
    granted: list[bool] = []
    ledger = RacingLedger(lambda table: granted.append(promote(table, "b")))
    assert not promote(ledger, "a")
    assert granted == [True]


def test_the_first_approval_awaited_stays():
    ledger = memory_ledger()
    assert claims.awaited_approval(ledger, "arn:p") is None
    claims.await_approval(ledger, "arn:p", Approval("churn", "d1"))
    claims.await_approval(ledger, "arn:p", Approval("churn", "d2"))
    assert claims.awaited_approval(ledger, "arn:p") == Approval("churn", "d1")
    assert claims.awaited_approval(ledger, "arn:q") is None
