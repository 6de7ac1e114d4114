"""Containers of labels: each source as it was, the same bytes for the same sources, nothing of the forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import UnreadableError
from chalicelib.records.forgetting import Gone, fingerprint, without_labels
from chalicelib.records.ground_truth import Label, read_ground_truth, write_ground_truth
from chalicelib.records.label_containers import (
    VERSION,
    Container,
    contained,
    container_from_bytes,
    container_of,
    labels_of,
)

ARRIVED = datetime(2026, 1, 5, 12, 0, 1, 250_000, tzinfo=UTC)

times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
labels = st.builds(
    Label,
    id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    data=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    encoding=st.sampled_from(["CSV", "JSON"]),
    label_time=times,
    inference_time=st.none() | times,
    record_index=st.none() | st.integers(0, 99_999),
)


def example() -> Container:
    """Three sources, one of them the second version of a key."""
    found = [("b", "k1", "e1", "a"), ("b", "k1", "e2", "b"), ("a", "k9", "e1", "c")]
    return container_of(
        contained(
            bucket, key, etag, ARRIVED, [Label(id, "1", label_time=ARRIVED), Label("all", "0", label_time=ARRIVED)]
        )
        for bucket, key, etag, id in found
    )


@given(st.lists(labels, max_size=6))
def test_labels_come_out_as_they_went_in(found: list[Label]) -> None:
    container = container_of([contained("b", "k", "e", ARRIVED, found)])
    [source] = container_from_bytes(container.to_bytes(), "c").sources
    read = labels_of(source, "")
    assert set(read) == set(found)
    assert write_ground_truth(read) == write_ground_truth(found)


def test_a_label_without_a_time_keeps_that_of_its_arrival() -> None:
    body = b'{"groundTruthData":{"data":"1","encoding":"CSV"},"eventMetadata":{"eventId":"a"},"eventVersion":"0"}\n'
    read = read_ground_truth(body, "k", ARRIVED).labels
    [label] = labels_of(contained("b", "k", "e", ARRIVED, read), "k")
    assert label.label_time == ARRIVED
    assert label == read[0]


@given(st.permutations(example().sources))
def test_the_same_sources_are_the_same_bytes(order: list[object]) -> None:
    again = container_of(order)  # type: ignore[arg-type]
    assert again.to_bytes() == example().to_bytes()
    assert again.digest == example().digest


def test_the_name_is_that_of_the_sources() -> None:
    digests = {example().digest}
    for field in ("bucket", "key", "etag"):
        first, *others = example().sources
        digests.add(container_of([msgspec.structs.replace(first, **{field: "other"}), *others]).digest)
    digests.add(container_of(example().sources[1:]).digest)
    assert len(digests) == 5


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", msgspec.msgpack.encode([1]), msgspec.msgpack.encode({"version": VERSION})]
)
def test_what_is_no_container_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableError, match=r"^where: expected a container of labels"):
        container_from_bytes(body, "where")


def test_a_container_of_another_release_is_refused() -> None:
    body = msgspec.msgpack.encode(msgspec.structs.replace(example(), version=VERSION + 1))
    with pytest.raises(UnreadableError, match=rf"a container of version {VERSION + 1}; this release reads"):
        container_from_bytes(body, "where")


def test_without_the_forgotten_the_sources_stay() -> None:
    gone = Gone(frozenset([fingerprint("a"), fingerprint("nobody")]))
    cut = without_labels(example(), gone)
    assert cut.labels == 1
    assert [each.identity for each in cut.sources] == [("b", "k1", "e1")]
    assert cut.container.digest == example().digest
    assert {label.id for each in cut.container.sources for label in labels_of(each, "")} == {"b", "c", "all"}
    assert without_labels(cut.container, gone).labels == 0
    assert without_labels(example(), Gone()).container == example()


def test_a_source_without_any_label_left_is_still_one() -> None:
    source = contained("b", "k", "e", ARRIVED, [Label("a", "1", label_time=ARRIVED - timedelta(days=1))])
    cut = without_labels(container_of([source]), Gone(frozenset([fingerprint("a")])))
    assert labels_of(cut.container.sources[0], "k") == []
