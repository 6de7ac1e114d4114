"""Laws of the states behind multiclass and regression quality: any split, any order, the same bytes."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import UnreadableError
from chalicelib.states.class_matrix import ClassMatrix, class_matrix
from chalicelib.states.residuals import ROWS, Residuals, hashes_of, residuals
from chalicelib.states.scores import Tally

NAN = float("nan")
NAMES = ("bird", "cat", "dog", "eel", "fox")

number = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, -0.0, 1e308, -1e308, NAN]))
CASES = {
    "class_matrix": (
        ClassMatrix(),
        st.tuples(st.sampled_from([*NAMES, None]), st.sampled_from([*NAMES, None])),
        lambda some, first: matrix_of(some),
    ),
    "residuals": (
        Residuals(),
        st.tuples(number, number),
        lambda some, first: residuals(
            hashes_of([f"e{index}#0" for index in range(first, first + len(some))]),
            *(np.array([row[column] for row in some], dtype=np.float64) for column in (1, 0)),
        ),
    ),
}


def matrix_of(some):
    """From (label, served) names, as a table of these rows alone would number them."""
    names = sorted({name for row in some for name in row if name})
    columns = [[names.index(name) if name else NAN for name in column] for column in zip(*some, strict=True)]
    labels, served = (np.array(column, dtype=np.float64) for column in columns) if some else (np.zeros(0), np.zeros(0))
    return class_matrix(names, served, labels)


@pytest.mark.parametrize("name", CASES)
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_any_split_in_any_order_gives_the_same_state(name, data):
    identity, row, state_of = CASES[name]
    some = data.draw(st.lists(row, max_size=14))
    cut, second = sorted(data.draw(st.tuples(st.integers(0, len(some)), st.integers(0, len(some)))))
    a, b, c = (state_of(some[start:end], start) for start, end in ((0, cut), (cut, second), (second, len(some))))
    whole = state_of(some, 0)
    assert (a + b) + c == a + (b + c) == (c + b) + a == whole
    assert ((a + b) + c).to_bytes() == ((c + a) + b).to_bytes() == whole.to_bytes()
    assert whole + identity == identity + whole == whole
    assert type(whole).from_bytes(whole.to_bytes()) == whole


STATES = {
    "class_matrix": matrix_of([("cat", "dog"), ("dog", "dog"), ("eel", "cat")]),
    "residuals": residuals(hashes_of(["a", "b", "c"]), np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.0, 0.0])),
}


@pytest.mark.parametrize("name", STATES)
def test_bytes_that_are_no_such_state_are_refused(name):
    kind, body = type(STATES[name]), STATES[name].to_bytes()
    with pytest.raises(UnreadableError, match="another kind"):
        kind.from_bytes(Tally().to_bytes())
    position = body.index(name.encode()) + len(name)
    assert body[position] == 1
    with pytest.raises(UnreadableError, match="expected version 1, got 2"):
        kind.from_bytes(body[:position] + b"\x02" + body[position + 1 :])
    for damaged in (b"", body[:-1], b"\x00" + body, b"not a state"):
        with pytest.raises(UnreadableError):
            kind.from_bytes(damaged)


@pytest.mark.parametrize(
    "fields",
    [
        (("b", "a"), b"", b""),
        (("a",), b"", b""),
        (("a",), bytes(8), b""),
        (("a",), b"\x01" + bytes(7), b"\x01" + bytes(7)),
        (("a",), bytes(8), bytes(8)),
        (("a",), bytes(7) + b"\x80", b"\x01" + bytes(7)),
        (("a",), bytes(8), bytes(7) + b"\x7f"),
    ],
)
def test_a_matrix_that_no_rows_have_is_refused(fields):
    with pytest.raises(ValueError, match=r"classes|place|matrix|counts"):
        ClassMatrix(*fields)


def test_residuals_that_no_rows_have_are_refused():
    good = STATES["residuals"]
    parts = [getattr(good, name) for name in Residuals.__struct_fields__]
    for field, broken in (
        (0, Residuals().labels),
        (1, good.labels + good.labels),
        (2, good.packed_hashes[::-1]),
        (3, good.packed_labels[:-8]),
        (4, np.array([1.0, NAN, 2.0]).tobytes()),
    ):
        with pytest.raises(ValueError, match=r"error|rows|finite"):
            Residuals(*parts[:field], broken, *parts[field + 1 :])


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=40))
def test_a_matrix_counts_what_is_there(some):
    state = matrix_of(some)
    cells = zip(state.labels.tolist(), state.served.tolist(), state.counts.tolist(), strict=True)
    found = {(state.classes[label], state.classes[served]): count for label, served, count in cells}
    assert found == Counter(some)
    assert state.rows == len(some)


def test_many_classes_cost_their_rows_and_not_their_square():
    names = sorted(f"c{index:06}" for index in range(100_000))
    positions = np.arange(100_000, dtype=np.float64)
    state = class_matrix(names, positions[::-1].copy(), positions)
    assert len(state.counts) == 100_000
    assert len(state.to_bytes()) < 3_000_000


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=40))
def test_sums_of_errors_are_exact(some):
    labels, predictions = (np.array(column) for column in zip(*some, strict=True))
    state = residuals(hashes_of([str(index) for index in range(len(some))]), predictions, labels)
    sizes = [Fraction(abs(label - prediction)) for label, prediction in some]
    assert state.sizes.mean == float(sum(sizes) / len(sizes))
    assert state.sizes.mean_square == float(sum(size * size for size in sizes) / len(sizes))
    assert state.labels.mean == float(sum(map(Fraction, labels.tolist())) / len(some))


@pytest.mark.parametrize("parts", [1, 2, 7, 40])
def test_the_kept_rows_are_the_same_for_every_split(parts):
    generator = np.random.Generator(np.random.PCG64(5))
    labels, predictions = generator.normal(size=(2, 9000))
    hashes = hashes_of([f"e{index}#0" for index in range(9000)])
    state = Residuals()
    for part in range(parts):
        state = residuals(hashes[part::parts], predictions[part::parts], labels[part::parts]) + state
    smallest = np.argsort(hashes)[:ROWS]
    for found, expected in zip(state.sample, (hashes, labels, predictions), strict=True):
        np.testing.assert_array_equal(found, expected[smallest])
    assert state.rows == 9000
    assert state.to_bytes() == residuals(hashes, predictions, labels).to_bytes()
    # The choice knows nothing of the values: its mean error is that of all rows, within four standard errors.
    assert abs(state.sample[1].mean()) < 4 / ROWS**0.5


def test_rows_that_miss_something_are_left_out_and_huge_errors_stay_numbers():
    state = residuals(hashes_of(list("abcd")), np.array([1e308, NAN, 1.0, np.inf]), np.array([-1e308, 1.0, NAN, 1.0]))
    assert state.rows == 1
    assert state.sizes.mean == np.finfo(float).max
