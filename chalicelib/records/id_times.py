"""Ids that tell when they were made: UUIDs of version 7 and ULIDs begin with 48 bits of milliseconds since 1970.

RFC 9562, section 5.7; ULID specification. Such an id is made shortly before the request that bears it, as a rule and
not for sure: the time says where to look first. Any 26 letters and digits may look like a ULID.
"""

from __future__ import annotations

import re

_UUID7 = re.compile(r"([0-9a-fA-F]{8})-([0-9a-fA-F]{4})-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(f"[0-7][{_CROCKFORD}]{{25}}", re.IGNORECASE)
_VALUES = {letter: value for value, letter in enumerate(_CROCKFORD)}
# Times before 2001 and after 2100 are no times.
_PLAUSIBLE = range(978_307_200, 4_102_444_800)


def seconds_of(id: str) -> int:
    """Seconds since 1970 that an id tells; 0 where it tells none."""
    if found := _UUID7.fullmatch(id):
        seconds = int(found[1] + found[2], 16) // 1000
    elif _ULID.fullmatch(id):
        seconds = 0
        for letter in id[:10].upper():
            seconds = seconds * 32 + _VALUES[letter]
        seconds //= 1000
    else:
        return 0
    return seconds if seconds in _PLAUSIBLE else 0
