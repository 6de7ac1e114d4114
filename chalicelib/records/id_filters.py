"""Which windows hold these ids? Hashes of the join ids of several windows in twelve bits each, and a check beside them.

A filter is the sorted hashes of all ids of its windows, cut to `log2(rows) + FIELD - window` bits: the upper part is
coded in unary (the quotients of Elias, 1974, and Fano, 1971), the rest and the number of the window stand in FIELD
bits at the same place. An id may stand there for several windows. An id that is in none of them is taken for one of
them with a probability of about 2 ** -(FIELD - window bits): 1 in 32 for a day of hours. What the filter says is
compared with 32 more bits per row that are kept at the same places (the check), read only where the filter says
anything: after that, one of 2 ** 37 is taken wrongly, and its price is a window that is evaluated once for nothing.

Knows no keys and no clock; windows are texts in the order that they are given in.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.errors import UNDECODABLE, UnreadableError

VERSION = 1

# Bits beside the unary part: 1.9 of that and these are less than 12 a row.
FIELD = 10
# Buckets of the unary part to sixteen rows.
_BUCKETS = 14
# More windows in one filter would leave no bits for hashes.
MOST_WINDOWS = 1 << 7

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
_LOW = np.uint64((1 << 32) - 1)


class IdFilter(msgspec.Struct, frozen=True):
    """`windows` by number; `rows` entries.

    `quotients`, `low` and `high`: the unary part, eight and two bits of each entry.
    """

    windows: tuple[str, ...]
    rows: int
    quotients: bytes
    low: bytes
    high: bytes
    version: int = VERSION

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)


class Candidates(msgspec.Struct, frozen=True, eq=False):
    """Pairs that a filter names, each of shape (k,): position among the wanted hashes, place in the filter, number of
    the window."""

    wanted: Places
    places: Places
    windows: Places


def build(ids: Sequence[tuple[str, Hashes]]) -> tuple[IdFilter, bytes]:
    """The filter of (window, hashes of its ids) and its check: 4 bytes a row. The same ids give the same bytes."""
    if len(ids) > MOST_WINDOWS:
        raise ValueError(f"at most {MOST_WINDOWS} windows")
    hashes = np.concatenate([found for _, found in ids]) if ids else np.zeros(0, dtype=np.uint64)
    numbers = np.repeat(np.arange(len(ids), dtype=np.uint64), [len(found) for _, found in ids])
    order = np.lexsort((numbers, hashes))
    hashes, numbers = hashes[order], numbers[order]
    rows, window_bits = len(hashes), _window_bits(len(ids))
    buckets, rests = _split(hashes, rows, FIELD - window_bits)
    bits = np.zeros(rows + _buckets(rows), dtype=np.bool_)
    bits[buckets + np.arange(rows)] = True
    fields = (rests << np.uint64(window_bits)) | numbers
    high = np.zeros((-(-rows // 4), 4), dtype=np.uint8)
    high.reshape(-1)[:rows] = (fields >> np.uint64(8)).astype(np.uint8)
    packed = (high << np.array([0, 2, 4, 6], dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    made = IdFilter(
        tuple(window for window, _ in ids),
        rows,
        np.packbits(bits).tobytes(),
        (fields & np.uint64(255)).astype(np.uint8).tobytes(),
        packed.tobytes(),
    )
    return made, (hashes & _LOW).astype("<u4").tobytes()


def filter_from_bytes(body: bytes, where: str) -> IdFilter:
    """Raises UnreadableError naming `where` for bytes that are no filter of this version."""
    try:
        found = msgspec.msgpack.decode(body, type=IdFilter)
    except UNDECODABLE:
        raise UnreadableError(where, "expected a filter of ids") from None
    rows = found.rows
    lengths = (len(found.quotients), len(found.low), len(found.high))
    if (
        found.version != VERSION
        or not 0 <= rows < 1 << 31
        or len(found.windows) > MOST_WINDOWS
        or lengths != (-(-(rows + _buckets(rows)) // 8), rows, -(-rows // 4))
    ):
        raise UnreadableError(where, f"expected a whole filter of ids of version {VERSION}")
    return found


def candidates(made: IdFilter, wanted: Hashes) -> Candidates:
    """The windows that may hold the wanted hashes, shape (n,): all that do, and a few that do not."""
    rows = made.rows
    none = np.zeros(0, dtype=np.int64)
    if not rows or not len(wanted):
        return Candidates(none, none, none)
    window_bits = _window_bits(len(made.windows))
    places = np.flatnonzero(np.unpackbits(np.frombuffer(made.quotients, dtype=np.uint8)))[:rows]
    buckets_of = places - np.arange(len(places))
    starts = np.zeros(_buckets(rows) + 1, dtype=np.int64)
    np.cumsum(np.bincount(buckets_of, minlength=_buckets(rows))[: _buckets(rows)], out=starts[1:])
    buckets, rests = _split(wanted, rows, FIELD - window_bits)
    low, high = np.frombuffer(made.low, dtype=np.uint8), np.frombuffer(made.high, dtype=np.uint8)
    at, ends = starts[buckets], starts[buckets + 1]
    who = np.arange(len(wanted))
    found: list[tuple[Places, Places, Places]] = []
    while True:
        inside = at < ends
        if not inside.all():
            who, at, ends, rests = who[inside], at[inside], ends[inside], rests[inside]
        if not len(who):
            break
        fields = low[at].astype(np.int64) | (
            ((high[at >> 2] >> (2 * (at & 3)).astype(np.uint8)) & 3).astype(np.int64) << 8
        )
        same = (fields >> window_bits) == rests.astype(np.int64)
        found.append((who[same], at[same], fields[same] & ((1 << window_bits) - 1)))
        at = at + 1
    numbers = [np.concatenate(parts) if found else none for parts in zip(*found, strict=True)] or [none] * 3
    real = numbers[2] < len(made.windows)
    return Candidates(*(each[real] for each in numbers))


def confirmed(made: IdFilter, check: bytes, wanted: Hashes, named: Candidates, where: str) -> Candidates:
    """Those candidates that the check agrees with. Raises UnreadableError naming `where` for another filter's check."""
    if len(check) != 4 * made.rows:
        raise UnreadableError(where, f"expected a check of {4 * made.rows} bytes, got {len(check)}")
    known = np.frombuffer(check, dtype="<u4")
    same = known[named.places] == (wanted[named.wanted] & _LOW).astype(np.uint32)
    return Candidates(named.wanted[same], named.places[same], named.windows[same])


def _split(hashes: Hashes, rows: int, rest_bits: int) -> tuple[Places, Hashes]:
    """Bucket and rest of each hash: its upper half as a part of all buckets, so that order stays."""
    scaled = (hashes >> np.uint64(32)) * np.uint64(_buckets(rows))
    return (scaled >> np.uint64(32)).astype(np.int64), (scaled & _LOW) >> np.uint64(32 - rest_bits)


def _buckets(rows: int) -> int:
    return max(1, rows * _BUCKETS // 16)


def _window_bits(windows: int) -> int:
    return max(windows - 1, 0).bit_length()
