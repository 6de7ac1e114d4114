"""Columns that grow, in pages of their own.

The allocator keeps what is given back between smaller pieces, and columns that are made anew to be longer leave a hole
each time: of ten million labels or a million scores that is more than they need themselves. What lies in pages of its
own is the system's again at once, and room that was not written to takes no memory. Knows numbers only.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

# Values that are moved at a time.
_PART = 1 << 15
_FIRST = 1 << 10


def in_pages(count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Zeros in pages of their own, shape (count,)."""
    if not count:
        return np.zeros(0, dtype=dtype)
    # By default a process that is forked would write into the same pages.
    return np.frombuffer(mmap.mmap(-1, count * dtype.itemsize, access=mmap.ACCESS_COPY), dtype=dtype)


def chosen(column: npt.NDArray[Any], flags: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """The values that are flagged, in pages of their own."""
    found = in_pages(int(np.count_nonzero(flags)), column.dtype)
    held = 0
    for start in range(0, len(column), _PART):
        part = column[start : start + _PART][flags[start : start + _PART]]
        found[held : held + len(part)] = part
        held += len(part)
    return found


class Growing:
    """A column, shape (n,). Views of its array are valid until it grows."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._room = in_pages(0, np.dtype(dtype))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def array(self) -> npt.NDArray[Any]:
        return self._room[: self._count]

    def append(self, values: npt.NDArray[Any]) -> None:
        self._reserve(len(values))
        self._room[self._count : self._count + len(values)] = values
        self._count += len(values)

    def insert(self, places: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
        """Each value before what is at its place; places ascend. The same as `numpy.insert`."""
        self._reserve(len(values))
        end, last = self._count, len(values)
        # From the end on: what is moved up does not meet what is still to be moved.
        while last:
            start = max(0, end - _PART)
            first = int(np.searchsorted(places[:last], start))
            part = np.insert(self._room[start:end], places[first:last] - start, values[first:last])
            self._room[start + first : end + last] = part
            end, last = start, first
        self._count += len(values)

    def hold(self, values: npt.NDArray[Any]) -> None:
        """These values, not more than there are, in place of its own."""
        self._room[: len(values)] = values
        self._count = len(values)

    def cut(self, count: int) -> None:
        """Its first values alone."""
        self._count = count

    def taken(self, order: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The values in this order, in pages of their own; the column is empty afterwards."""
        taken = in_pages(self._count, self._room.dtype)
        # In this mode nothing is held twice; all places are there.
        self.array.take(order, out=taken, mode="clip")
        self._room, self._count = in_pages(0, self._room.dtype), 0
        return taken

    def _reserve(self, more: int) -> None:
        if self._count + more > len(self._room):
            larger = in_pages(max(2 * len(self._room), self._count + more, _FIRST), self._room.dtype)
            larger[: self._count] = self.array
            self._room = larger
