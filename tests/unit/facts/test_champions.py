"""Who serves is compare-and-set on the generation: a late repeat never brings anybody back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.facts import champions
from chalicelib.facts.champions import HISTORY, Candidate, Champion
from emulator.memory import MemoryLedger
from tests.unit.facts.racing import RacingLedger, memory_ledger

SINCE = "2026-01-01T00:00:00Z"


def candidate(name: str, **changes: str) -> Candidate:
    return Candidate(name=name, model_name=f"model-{name}", model_data=f"s3://b/{name}", **changes)


def first(ledger: MemoryLedger, name: str = "m0") -> Champion:
    return champions.crown_first(ledger, "churn", candidate(name), "config-0", SINCE)


def crown(
    ledger: MemoryLedger, expected: int, name: str, outgoing: str, pool_size: int = 10, since: str = SINCE
) -> Champion:
    return champions.crown(
        ledger,
        "churn",
        expected,
        candidate(name),
        candidate(outgoing, endpoint=f"plumbline-{outgoing}"),
        f"config-{expected + 1}",
        since,
        "promote d1",
        pool_size,
    )


def pool(champion: Champion) -> list[str]:
    return [each.name for each in champion.pool]


def retired(champion: Champion) -> list[str]:
    return [each.name for each in champion.retired]


def test_the_first_is_generation_0_and_stays():
    ledger = memory_ledger()
    assert champions.load_champion(ledger, "churn") is None
    champion = first(ledger)
    assert (champion.generation, champion.candidate.name, champion.pool) == (0, "m0", ())
    assert [(each.candidate, each.since, each.config_name) for each in champion.reigns] == [("m0", SINCE, "config-0")]
    assert first(ledger, "other") == champion == champions.load_champion(ledger, "churn")


def test_the_outgoing_champion_joins_the_pool_with_its_endpoint():
    ledger = memory_ledger()
    first(ledger)
    champion = crown(ledger, 0, "m1", "m0")
    assert (champion.generation, champion.candidate.name, champion.retired) == (1, "m1", ())
    assert champion.pool == (candidate("m0", endpoint="plumbline-m0"),)
    assert (champion.reigns[-1].generation, champion.reigns[-1].cause) == (1, "promote d1")
    assert champions.load_champion(ledger, "churn") == champion


def test_a_late_repeat_changes_nothing():
    ledger = memory_ledger()
    first(ledger)
    crown(ledger, 0, "m1", "m0")
    rolled_back = crown(ledger, 1, "m0", "m1")
    assert rolled_back.candidate.name == "m0" and pool(rolled_back) == ["m1"]
    for expected in (0, 1, 3):
        assert crown(ledger, expected, "m1", "m0", pool_size=0) == rolled_back
    assert champions.load_champion(ledger, "churn") == rolled_back


def test_the_oldest_leave_a_full_pool():
    ledger = memory_ledger()
    first(ledger)
    left: list[list[str]] = []
    for generation in range(5):
        champion = crown(ledger, generation, f"m{generation + 1}", f"m{generation}", pool_size=3)
        left.append(retired(champion))
    assert (champion.candidate.name, pool(champion)) == ("m5", ["m2", "m3", "m4"])
    assert left == [[], [], [], ["m0"], ["m1"]]
    assert champion.retired == (candidate("m1", endpoint="plumbline-m1"),), "its endpoint is still to be deleted"


def test_a_smaller_pool_lets_several_go():
    ledger = memory_ledger()
    first(ledger)
    for generation in range(4):
        crown(ledger, generation, f"m{generation + 1}", f"m{generation}")
    champion = crown(ledger, 4, "m5", "m4", pool_size=1)
    assert (pool(champion), retired(champion)) == (["m4"], ["m0", "m1", "m2", "m3"])


def test_without_a_pool_the_outgoing_leaves_at_once():
    ledger = memory_ledger()
    first(ledger)
    champion = crown(ledger, 0, "m1", "m0", pool_size=0)
    assert (champion.pool, retired(champion)) == ((), ["m0"])


def test_who_is_rolled_back_to_leaves_the_pool():
    ledger = memory_ledger()
    first(ledger)
    crown(ledger, 0, "m1", "m0")
    crown(ledger, 1, "m2", "m1")
    champion = crown(ledger, 2, "m0", "m2", pool_size=2)
    assert (champion.candidate.name, pool(champion), champion.retired) == ("m0", ["m1", "m2"], ())


def test_two_promotions_at_once_crown_one():
    ledger = RacingLedger(lambda table: None, lambda table: crown(table, 0, "m1", "m0"))
    first(ledger)
    champion = crown(ledger, 0, "m2", "m0", pool_size=0)
    assert (champion.candidate.name, champion.generation, pool(champion)) == ("m1", 1, ["m0"])


def test_nobody_is_crowned_where_no_monitor_was_added():
    with pytest.raises(AssertionError, match="churn: no champion"):
        crown(memory_ledger(), 0, "m1", "m0")


def test_find():
    ledger = memory_ledger()
    first(ledger)
    champion = crown(ledger, 0, "m1", "m0")
    assert champion.find("m1") == champion.candidate
    assert champion.find("m0") == champion.pool[0]
    assert champion.find("m7") is None


@pytest.mark.parametrize(
    "moment, served",
    [
        ("2025-06-01T00:00:00Z", "m0"),
        ("2026-01-01T00:00:00Z", "m0"),
        ("2026-02-28T23:59:59Z", "m0"),
        ("2026-03-01T00:00:00Z", "m1"),
        ("2026-09-01T00:00:00Z", "m0"),
    ],
)
def test_who_served_at_a_time(moment: str, served: str):
    ledger = memory_ledger()
    first(ledger)
    crown(ledger, 0, "m1", "m0", since="2026-03-01T00:00:00Z")
    champion = crown(ledger, 1, "m0", "m1", since="2026-06-01T00:00:00Z")
    assert champion.reign_at(moment).candidate == served


def test_history_is_bounded():
    ledger = memory_ledger()
    first(ledger)
    for generation in range(HISTORY + 5):
        champion = crown(ledger, generation, f"m{(generation + 1) % 2}", f"m{generation % 2}")
    assert len(champion.reigns) == HISTORY and champion.reigns[-1].generation == HISTORY + 5


names = st.sampled_from(["m0", "m1", "m2", "m3", "m4"])


@given(st.lists(st.tuples(st.integers(-1, 1), names), max_size=40), st.integers(0, 3), st.data())
def test_generations_only_grow(steps: list[tuple[int, str]], pool_size: int, data: st.DataObject):
    """Promotions and roll-backs of the reigning generation and of others, and repeats of whatever was tried before."""
    ledger = memory_ledger()
    champion = first(ledger)
    tried: list[tuple[int, str, str]] = []
    for shift, name in steps:
        if shift == -1 and tried:
            expected, name, outgoing = data.draw(st.sampled_from(tried))
        else:
            expected, outgoing = champion.generation + shift, champion.candidate.name
        if name == outgoing:
            continue
        tried.append((expected, name, outgoing))
        after = crown(ledger, expected, name, outgoing, pool_size)
        if expected == champion.generation:
            assert (after.generation, after.candidate.name) == (champion.generation + 1, name)
        else:
            assert after == champion
        assert len(after.pool) <= pool_size
        everybody = [after.candidate.name, *pool(after), *retired(after)]
        assert len(set(everybody)) == len(everybody)
        assert [each.generation for each in after.reigns] == list(range(after.generation + 1))
        champion = after
