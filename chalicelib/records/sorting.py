"""The order of many hashes at once: by their first 16 bits, which NumPy sorts by counting, and then in small parts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

_TOP = np.uint64(48)
_PART = 1 << 15


def order_of_hashes(keys: Words) -> Places:
    """The places of numbers that are spread evenly over 64 bits in order; those of equal ones stay as they are."""
    top = _top_of(keys)
    order = np.argsort(top, kind="stable")
    # Part by part, in place: of ten million labels each array more is 80 MB.
    first = np.arange(0, 1 << 16, max(1, (_PART << 16) // max(len(keys), 1)), dtype=np.uint16)
    ends = np.searchsorted(top, first[1:], sorter=order)
    start = 0
    for stop in [*ends.tolist(), len(keys)]:
        part = order[start:stop]
        order[start:stop] = part.take(np.argsort(keys.take(part), kind="stable"))
        start = stop
    return order


def _top_of(keys: Words) -> npt.NDArray[np.uint16]:
    top = np.empty(len(keys), dtype=np.uint16)
    return np.right_shift(keys, _TOP, out=top, casting="unsafe")
