"""Fields, numbers and hashes of bytes, held to Python's own."""

import re

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.records.cells import (
    LONGEST,
    MINUS,
    PAD,
    buffer_of,
    endings,
    hashes,
    hashes_of,
    numbers,
)

PLAIN = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)")
text = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**18), 10**18).map(str),
    st.decimals(-(10**6), 10**6, places=12).map(str),
    st.text(alphabet="0123456789.-+eE _/:xé", max_size=LONGEST // 2),
)
masked = st.one_of(text, st.text(alphabet="0123456789.\x01\x02\x0f\x10\x1f", max_size=12))
lists = st.lists(text, min_size=1, max_size=30)


def laid_out(texts):
    encoded = [each.encode() for each in texts]
    lengths = np.array([len(each) for each in encoded])
    buffer = buffer_of([each + b"," for each in encoded])
    return buffer, PAD + np.cumsum(lengths + 1) - (lengths + 1), lengths


def words_of(buffer, begins, lengths):
    return endings(buffer, begins, lengths, max(1, -(-int(lengths.max()) // 8)))


@given(lists)
@example(["...00000é"])
@example(["...0000000"])
@example(["1.5", "........"])
def test_plain_numbers_are_what_python_reads_and_nothing_else_is_one(texts):
    buffer, begins, lengths = laid_out(texts)
    found = numbers(words_of(buffer, begins, lengths), lengths, buffer[begins] == MINUS)
    for each, value, pointed, plain in zip(texts, *found, strict=True):
        if plain:
            assert PLAIN.fullmatch(each)
            assert (value, pointed) == (float(each), "." in each)
        # What is left to Python is long, or halfway between two numbers.
        elif PLAIN.fullmatch(each):
            assert len(each) > 17


@given(lists)
def test_a_text_has_one_hash_wherever_it_stands(texts):
    buffer, begins, lengths = laid_out(texts)
    words = words_of(buffer, begins, lengths)
    for lane in (0, 1):
        assert hashes(words, lengths, lane).tolist() == hashes_of(texts, lane).tolist()
        more = endings(buffer, begins, lengths, len(words) + 2)
        assert hashes(more, lengths, lane).tolist() == hashes_of(texts, lane).tolist()
        assert len(set(hashes_of(texts, lane).tolist())) == len(set(texts))


def test_hashes_of_ids_that_look_alike_spread():
    texts = [f"id-{number:09}" for number in range(100_000)] + [f"{number}" for number in range(100_000)]
    found = hashes_of(texts)
    assert len(np.unique(found)) == len(texts)
    # Its highest and its lowest bits are as evenly used as chance would have it (a chi-squared of 255 + 6 deviations).
    for bits in (found >> np.uint64(56), found & np.uint64(255)):
        counts = np.bincount(bits.astype(np.int64), minlength=256)
        assert ((counts - len(texts) / 256) ** 2).sum() / (len(texts) / 256) < 255 + 6 * (2 * 255) ** 0.5
    assert hashes_of(["a" * 100, "a" * 101, "\ud800"]).tolist() != hashes_of(["a" * 101, "a" * 100, "?"]).tolist()
