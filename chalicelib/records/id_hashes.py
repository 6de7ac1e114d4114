"""Lists of ids as hashes: small enough to look a label up in weeks of windows.

Two ids in 2**32 windows of 10,000 rows may have one hash; the price is a window that is evaluated once for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from chalicelib.errors import UnreadableError
from chalicelib.records.cells import hashes_of

Hashes = npt.NDArray[np.uint64]


def hash_ids(ids: Iterable[str]) -> Hashes:
    """Sorted distinct 8-byte hashes of ids (`cells.hashes_of`, as answers have them)."""
    return np.unique(hashes_of(list(ids)))


def hashes_to_bytes(hashes: Hashes) -> bytes:
    """Little-endian, as `hashes_from_bytes` reads them."""
    return hashes.astype("<u8", copy=False).tobytes()


def hashes_from_bytes(body: bytes, where: str) -> Hashes:
    """Raises UnreadableError naming `where` for no whole number of hashes."""
    if len(body) % 8:
        raise UnreadableError(where, f"expected hashes of 8 bytes, got {len(body)} bytes")
    return np.frombuffer(body, dtype="<u8").astype(np.uint64, copy=False)
