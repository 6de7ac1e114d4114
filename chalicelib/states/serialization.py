"""The binary form of a state: msgpack of [kind, version, state].

Rejects unknown kinds and versions; each state declares its own kind, version and fields.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from chalicelib.errors import UNDECODABLE, UnreadableError

State = TypeVar("State")

# More than any data set has; sums of several such counts still fit in 64 bits.
MOST_ROWS = 1 << 53


def pack(kind: str, version: int, state: Any) -> bytes:
    """Bytes of a state; equal states give equal bytes."""
    return msgspec.msgpack.encode((kind, version, state))


def unpack(body: bytes, kind: str, version: int, type: type[State]) -> State:
    """The state in these bytes; raises UnreadableError for damage, another kind of state or another version."""
    where = f"{kind} state"
    try:
        found_kind, found_version, raw = msgspec.msgpack.decode(body, type=tuple[str, int, msgspec.Raw])
        if found_kind != kind:
            raise UnreadableError(where, f"expected a {kind} state, got another kind")
        if found_version != version:
            raise UnreadableError(where, f"expected version {version}, got {found_version}")
        return msgspec.msgpack.decode(raw, type=type)
    except UNDECODABLE:
        raise UnreadableError(where, f"expected a serialized {kind} state") from None
