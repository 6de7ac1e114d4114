"""Labels as columns: what is left when those of one delivery are taken out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.records.ground_truth import Label
from chalicelib.records.label_table import columns_of

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
LABELS = st.builds(
    Label,
    st.sampled_from("abc"),
    st.sampled_from(["0", "1"]),
    st.just("CSV"),
    st.sampled_from([None, NOON, NOON + timedelta(microseconds=1)]),
    record_index=st.sampled_from([None, 0, 1]),
)


@given(st.lists(LABELS, max_size=8), st.lists(LABELS, max_size=8))
def test_what_is_taken_out_is_exactly_what_was_named(some: list[Label], out: list[Label]) -> None:
    left = columns_of(some).minus(columns_of(out))
    assert left.to_bytes() == columns_of([label for label in some if label not in out]).to_bytes()
