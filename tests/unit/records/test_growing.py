import numpy as np
import pytest

from chalicelib.records import growing
from chalicelib.records.growing import Growing


def grown(values):
    column = Growing(np.int64)
    for start in range(0, len(values), 700):
        column.append(values[start : start + 700])
    return column


@pytest.mark.parametrize("part", [1, 7, 1 << 15])
@pytest.mark.parametrize(("known", "new"), [(0, 0), (0, 3), (5, 0), (5, 3), (3000, 1), (3000, 2500)])
def test_a_column_takes_values_in_between(monkeypatch, part, known, new):
    monkeypatch.setattr(growing, "_PART", part)
    draw = np.random.Generator(np.random.PCG64([known, new]))
    values, more = draw.integers(0, 100, known), draw.integers(100, 200, new)
    places = np.sort(draw.integers(0, known + 1, new))
    column = grown(values)
    column.insert(places, more)
    assert column.array.tolist() == np.insert(values, places, more).tolist()
    assert len(column) == known + new


def test_a_column_is_cut_and_holds_and_is_taken():
    values = np.arange(5000)
    column = grown(values)
    column.cut(4000)
    assert column.array.tolist() == values[:4000].tolist()
    column.hold(column.array[::2])
    assert column.array.tolist() == values[:4000:2].tolist()
    column.append(np.array([7]))
    taken = column.taken(np.arange(2001)[::-1])
    assert taken.tolist() == [7, *values[:4000:2][::-1].tolist()]
    assert len(column) == 0
    assert column.taken(np.zeros(0, dtype=np.int64)).tolist() == []
    column.append(values[:3])
    assert column.array.tolist() == [0, 1, 2]


@pytest.mark.parametrize("part", [1, 7, 1 << 15])
@pytest.mark.parametrize("count", [0, 1, 3000])
def test_flagged_values_are_chosen(monkeypatch, part, count):
    monkeypatch.setattr(growing, "_PART", part)
    draw = np.random.Generator(np.random.PCG64(count))
    values, flags = draw.integers(0, 100, count), draw.integers(0, 2, count).astype(np.bool_)
    assert growing.chosen(values, flags).tolist() == values[flags].tolist()
