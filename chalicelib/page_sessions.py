"""Signed sessions of the page: anyone who may read the stage's page key can make one, and it is valid for hours.

A session is `{expires}.{signature}`: seconds since 1970, and the HMAC-SHA256 in hex of it and the stage. Pure; not
here: the clock, where the key is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from chalicelib.errors import MisconfiguredError

LONGEST = timedelta(hours=12)
COOKIE = "plumbline-session"
LEAST_KEY = 24
_SESSION = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})")


def session(key: str, stage: str, now: datetime, lasts: timedelta = LONGEST) -> str:
    """A session that ends after `lasts`. Raises MisconfiguredError for a key that is too short."""
    expires = int((now + lasts).timestamp())
    return f"{expires}.{_signature(key, stage, expires)}"


def holds(keys: Sequence[str], stage: str, given: str, now: datetime) -> bool:
    """Whether a session was signed with one of the keys, has not ended, and ends within LONGEST."""
    match = _SESSION.fullmatch(given)
    if match is None:
        return False
    expires = int(match[1])
    genuine = False
    for key in keys:  # all of them: the time it takes says nothing
        genuine |= hmac.compare_digest(_signature(key, stage, expires), match[2])
    return genuine and now.timestamp() < expires <= (now + LONGEST).timestamp()


def _signature(key: str, stage: str, expires: int) -> str:
    if len(key) < LEAST_KEY:
        raise MisconfiguredError("page key", "a text that is not shown", f"at least {LEAST_KEY} characters")
    return hmac.new(key.encode(), f"plumbline page {stage} {expires}".encode(), hashlib.sha256).hexdigest()
