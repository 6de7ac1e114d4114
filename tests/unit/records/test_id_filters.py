"""Every id is found in every window that holds it; the few others that are taken for one, the check finds out."""

import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import UnreadableError
from chalicelib.records.id_filters import MOST_WINDOWS, build, candidates, confirmed, filter_from_bytes
from chalicelib.records.id_times import seconds_of

hashes = st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=40).map(sorted)


LOW = 2**32 - 1


def array(numbers):
    return np.array(numbers, dtype=np.uint64)


def pairs(found):
    return set(zip(found.wanted.tolist(), found.windows.tolist(), strict=True))


@settings(max_examples=200, deadline=None)
@given(st.lists(hashes, max_size=9), hashes)
def test_all_that_is_there_is_found_and_nothing_else(windows, others):
    made, check = build([(f"w{number}", array(ids)) for number, ids in enumerate(windows)])
    read = filter_from_bytes(made.to_bytes(), "here")
    wanted = array(sorted({*others, *(one for ids in windows for one in ids)}))
    named = candidates(read, wanted)
    found = pairs(confirmed(read, check, wanted, named, "check"))
    true = {
        (place, number) for place, one in enumerate(wanted.tolist()) for number, ids in enumerate(windows) if one in ids
    }
    assert true <= pairs(named)
    # What the check cannot tell apart: equal low halves of two hashes of one bucket.
    assert all(int(wanted[place]) & LOW in {one & LOW for one in windows[number]} for place, number in found - true)


def test_a_day_of_hours_takes_less_than_twelve_bits_a_row_and_is_seldom_wrong():
    draw = np.random.default_rng(7)
    windows = [(f"w{hour:02d}", np.unique(draw.integers(0, 2**64, 2000, dtype=np.uint64))) for hour in range(24)]
    made, check = build(windows)
    assert len(made.to_bytes()) <= 1.5 * made.rows
    assert len(check) == 4 * made.rows
    strangers = draw.integers(0, 2**64, 20_000, dtype=np.uint64)
    named = candidates(made, strangers)
    assert len(named.wanted) / len(strangers) < 1.2 / 32
    assert not len(confirmed(made, check, strangers, named, "check").wanted)


def test_any_order_of_the_same_ids_gives_the_same_bytes():
    ids = array([5, 9, 2**63, 7])
    one, other = build([("a", ids), ("b", array([9]))]), build([("a", ids[::-1]), ("b", array([9]))])
    assert one[0].to_bytes() == other[0].to_bytes() and one[1] == other[1]


@pytest.mark.parametrize(
    "cut", [lambda body: b"", lambda body: body[:-1], lambda body: body + b"x", lambda body: b"\x81"]
)
def test_damaged_bytes_are_refused(cut):
    made, check = build([("a", array([1, 2, 3, 4, 5]))])
    with pytest.raises(UnreadableError):
        filter_from_bytes(cut(made.to_bytes()), "here")
    with pytest.raises(UnreadableError, match="of 20 bytes"):
        wanted = array([1])
        confirmed(made, check[:-1], wanted, candidates(made, wanted), "check")


def test_too_many_windows_are_refused():
    with pytest.raises(ValueError, match="128"):
        build([(str(number), array([number])) for number in range(MOST_WINDOWS + 1)])


def test_ids_that_tell_their_time():
    assert seconds_of("019b3f1e-6c00-7abc-8def-0123456789ab") == 0x019B3F1E6C00 // 1000
    assert seconds_of("01KCZHWV00ABCDEFGHJKMNPQRS") == seconds_of("01kczhwv00abcdefghjkmnpqrs") > 1_700_000_000
    for other in (str(uuid.UUID(int=7, version=4)), "order-17", "", "ZZZZZZZZZZZZZZZZZZZZZZZZZZ", "7" * 26, "0" * 26):
        assert seconds_of(other) == 0
