"""Where labels were seen: by window, without a window, and which objects were worked off."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.facts import labels
from chalicelib.facts.labels import Source
from tests.fakes import MemoryLedger
from tests.unit.facts.racing import NOW, RacingLedger, memory_ledger

EXPIRES = NOW + timedelta(days=45)


def source(key: str, arrived: str = "2026-01-05T12:00:00Z", etag: str = "e1") -> Source:
    return Source("labels", key, etag, arrived)


def test_the_sources_of_a_window_in_key_order_each_once():
    ledger = memory_ledger()
    for key in ("b", "a", "b"):
        labels.add_source(ledger, "churn", "w1", source(key), EXPIRES)
    labels.add_source(ledger, "churn", "w10", source("c"), EXPIRES)
    labels.add_source(ledger, "fraud", "w1", source("d"), EXPIRES)
    assert labels.sources(ledger, "churn", "w1") == [source("a"), source("b")]
    assert labels.sources(ledger, "churn", "w2") == []


def test_an_object_written_again_is_another_source():
    ledger = memory_ledger()
    labels.add_source(ledger, "churn", "w1", source("a"), EXPIRES)
    labels.add_source(ledger, "churn", "w1", source("a", etag="e2"), EXPIRES)
    assert labels.sources(ledger, "churn", "w1") == [source("a"), source("a", etag="e2")]


def test_unmatched_sources_since_a_time():
    ledger = memory_ledger()
    early, late = source("z", "2026-01-05T09:00:00Z"), source("a", "2026-01-05T12:00:00Z")
    for each in (late, early, early):
        labels.add_unmatched(ledger, "churn", each, EXPIRES)
    assert labels.unmatched(ledger, "churn", "") == [early, late]
    assert labels.unmatched(ledger, "churn", early.arrived) == [early, late]
    assert labels.unmatched(ledger, "churn", "2026-01-05T10:00:00Z") == [late]
    assert labels.unmatched(ledger, "fraud", "") == []


def remove(ledger: MemoryLedger, each: Source) -> None:
    """Remove what is known of an object now."""
    revision = labels.unmatched_revisions(ledger, "churn", [each]).get(each.sort_key)
    labels.remove_unmatched(ledger, "churn", each, revision)


def test_a_matched_source_is_removed_and_only_that():
    ledger = memory_ledger()
    for each in (source("a"), source("a", etag="e2"), source("b")):
        labels.add_unmatched(ledger, "churn", each, EXPIRES)
    for _ in range(2):
        remove(ledger, source("a"))
    assert labels.unmatched(ledger, "churn", "") == [source("a", etag="e2"), source("b")]


def test_two_that_remove_the_same_are_both_content():
    ledger = RacingLedger(lambda table: None, lambda table: remove(table, source("a")))
    labels.add_unmatched(ledger, "churn", source("a"), EXPIRES)
    remove(ledger, source("a"))
    assert labels.unmatched(ledger, "churn", "") == []


def test_what_was_written_anew_meanwhile_stays():
    def anew(table: MemoryLedger) -> None:
        remove(table, source("a"))
        labels.add_unmatched(table, "churn", source("a"), EXPIRES)

    ledger = RacingLedger(lambda table: None, anew)
    labels.add_unmatched(ledger, "churn", source("a"), EXPIRES)
    remove(ledger, source("a"))
    assert labels.unmatched(ledger, "churn", "") == [source("a")]


def test_what_became_unknown_since_it_was_looked_at_stays():
    ledger = memory_ledger()
    labels.add_unmatched(ledger, "churn", source("a"), EXPIRES)
    revision = labels.unmatched_revisions(ledger, "churn", [source("a")])[source("a").sort_key]
    labels.add_unmatched(ledger, "churn", source("a"), EXPIRES)
    labels.remove_unmatched(ledger, "churn", source("a"), revision)
    assert labels.unmatched(ledger, "churn", "") == [source("a")]


def test_landed_objects_by_folder_and_etag():
    ledger = memory_ledger()
    for key, etag in (("gt/2026/01/05/12/a", "e1"), ("gt/2026/01/05/12/a", "e2"), ("gt/2026/01/05/12/a", "e1")):
        labels.mark_landed(ledger, "labels", key, etag, EXPIRES)
    labels.mark_landed(ledger, "labels", "gt/2026/01/05/13/b", "e3", EXPIRES)
    assert labels.landed(ledger, "labels", "gt/2026/01/05/12") == {
        ("gt/2026/01/05/12/a", "e1"),
        ("gt/2026/01/05/12/a", "e2"),
    }
    assert labels.landed(ledger, "labels", "gt/2026/01/05") == set()
    assert labels.landed(ledger, "other", "gt/2026/01/05/12") == set()


def test_facts_about_labels_expire():
    now = [NOW]
    ledger = MemoryLedger(lambda: now[0])
    labels.add_source(ledger, "churn", "w1", source("a"), EXPIRES)
    labels.add_unmatched(ledger, "churn", source("a"), EXPIRES)
    labels.mark_landed(ledger, "labels", "gt/2026/01/05/12/a", "e1", EXPIRES)
    ledger.reap()
    assert len(ledger.items) == 3
    now[0] = EXPIRES
    ledger.reap()
    assert not ledger.items
