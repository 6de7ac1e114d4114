"""Where labels were seen: by window, without a window, and which objects were worked off."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from chalicelib.facts import labels
from chalicelib.facts.labels import Source
from emulator.memory import MemoryLedger
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


def test_who_copies_is_alone_until_he_ends_or_his_time_is_over():
    ledger = memory_ledger()
    begin = partial(labels.begin_compaction, ledger, "churn", "h3", "h5")
    assert labels.compaction(ledger, "churn") is None
    assert begin(NOW)
    assert not begin(NOW + timedelta(minutes=14))
    assert begin(NOW + timedelta(minutes=15))
    labels.end_compaction(ledger, "churn")
    assert begin(NOW)
    assert labels.compaction(ledger, "churn") == labels.Compaction("h3", "", NOW + labels.COMPACTION)


def test_what_was_looked_at_is_not_looked_at_again():
    ledger = memory_ledger()
    assert not labels.begin_compaction(ledger, "churn", "h6", "h5", NOW), "no hour is over"
    assert labels.begin_compaction(ledger, "churn", "h3", "h5", NOW)
    places = [("h3", "b"), ("h3", "a"), ("h4", ""), ("h3", "c"), ("h4", "a"), ("h6", "")]
    found = [labels.compacted(ledger, "churn", *place) for place in places]
    assert [each.place for each in found if each] == [
        *(("h3", "b"), ("h3", "b"), ("h4", ""), ("h4", ""), ("h4", "a"), ("h6", "")),
    ]
    labels.end_compaction(ledger, "churn")
    assert not labels.begin_compaction(ledger, "churn", "h3", "h5", NOW)
    assert labels.begin_compaction(ledger, "churn", "h3", "h6", NOW)


def test_what_is_too_old_is_left_out():
    ledger = memory_ledger()
    assert labels.begin_compaction(ledger, "churn", "h3", "h5", NOW)
    labels.compacted(ledger, "churn", "h3", "key")
    labels.end_compaction(ledger, "churn")
    assert labels.begin_compaction(ledger, "churn", "h4", "h5", NOW)
    stored = labels.compaction(ledger, "churn")
    assert stored is not None and stored.place == ("h4", "")


def test_a_monitor_whose_word_nobody_has_begun_has_no_place():
    ledger = memory_ledger()
    assert labels.compacted(ledger, "churn", "h3") is None
    labels.end_compaction(ledger, "churn")
    assert labels.compaction(ledger, "churn") is None


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
