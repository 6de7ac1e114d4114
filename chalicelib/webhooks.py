"""The Standard Webhooks scheme, symmetric form: sign messages, and verify that they come from a holder of a key.

Keys and times are arguments. Source: standardwebhooks.com, specification 1.0.0; why it is implemented here:
docs/decisions/0003. Not here: the clock, where secrets are kept, what a body means.

>>> secret = "whsec_" + base64.b64encode(bytes(range(24))).decode()
>>> now = datetime(2026, 1, 2, tzinfo=UTC)
>>> headers = signed_headers([secret], "msg_1", now, b"{}")
>>> verify([secret], headers, b"{}", now).webhook_id
'msg_1'
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from chalicelib.errors import MisconfiguredError, PermanentError

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

TOLERANCE = timedelta(seconds=300)
MAX_ID_LENGTH = 256
MIN_KEY_BYTES = 24

_PREFIX = "whsec_"
_ID = re.compile(rf"[!-~]{{1,{MAX_ID_LENGTH}}}")
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,10}")


class SignatureError(PermanentError):
    """The request is not proved to come from a holder of a key. `reason` says nothing about any key."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Verified(msgspec.Struct, frozen=True):
    """A genuine request: its id (the same for every attempt) and when this attempt was signed."""

    webhook_id: str
    timestamp: int

    @property
    def signed_at(self) -> datetime:
        return datetime.fromtimestamp(self.timestamp, UTC)


def read_secret(secret: str) -> bytes:
    """The key bytes of `whsec_<base64>`, at least 24. Raises MisconfiguredError, which does not quote the secret."""
    expected = f"{_PREFIX} followed by the base64 of at least {MIN_KEY_BYTES} bytes"
    wrong = MisconfiguredError("webhook secret", "a text that is not shown", expected)
    if not secret.startswith(_PREFIX):
        raise wrong
    text = secret.removeprefix(_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
    if len(key) < MIN_KEY_BYTES:
        raise wrong
    return key


def sign(key: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """`v1,<base64 of the HMAC-SHA256>` over id.timestamp.body. `timestamp`: seconds since 1970."""
    content = b".".join((webhook_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def signed_headers(secrets: Sequence[str], webhook_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The three headers of an outgoing webhook, signed with every secret (several while they are rotated)."""
    timestamp = int(now.timestamp())
    signatures = [sign(key, webhook_id, timestamp, body) for key in _keys(secrets)]
    return {ID_HEADER: webhook_id, TIMESTAMP_HEADER: str(timestamp), SIGNATURE_HEADER: " ".join(signatures)}


def verify(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime, tolerance: timedelta = TOLERANCE
) -> Verified:
    """Check that one of the signatures was made with one of the secrets, within `tolerance` of `now`.

    Header names are matched in any case. Raises SignatureError, or MisconfiguredError for an invalid secret.
    """
    keys = _keys(secrets)
    found = {name.lower(): value for name, value in headers.items()}
    for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER):
        if not found.get(name):
            raise SignatureError(f"the header {name} is missing")
    webhook_id, stamp = read_id(found), found[TIMESTAMP_HEADER]
    if not _TIMESTAMP.fullmatch(stamp):
        raise SignatureError(f"{TIMESTAMP_HEADER}: expected whole seconds since 1970-01-01T00:00:00Z")
    timestamp = int(stamp)
    seconds = int(tolerance.total_seconds())
    if timestamp < (now - tolerance).timestamp():
        raise SignatureError(f"{TIMESTAMP_HEADER} is more than {seconds} seconds ago")
    if timestamp > (now + tolerance).timestamp():
        raise SignatureError(f"{TIMESTAMP_HEADER} is more than {seconds} seconds ahead")
    genuine = False
    for key in keys:
        expected = sign(key, webhook_id, timestamp, body).encode()
        for given in found[SIGNATURE_HEADER].split():
            # No early exit: the time taken must not reveal which key or signature matched.
            genuine |= hmac.compare_digest(expected, given.encode("utf-8", "surrogatepass"))
    if not genuine:
        raise SignatureError(f"no v1 signature in {SIGNATURE_HEADER} fits this id, timestamp and body")
    return Verified(webhook_id, timestamp)


def read_id(headers: Mapping[str, str]) -> str:
    """The id of a message, the same for every attempt. Raises SignatureError when it is missing or invalid."""
    found = next((value for name, value in headers.items() if name.lower() == ID_HEADER), "")
    if not _ID.fullmatch(found):
        raise SignatureError(f"{ID_HEADER}: expected 1 to {MAX_ID_LENGTH} printable ASCII characters without blanks")
    return found


def _keys(secrets: Sequence[str]) -> list[bytes]:
    if not secrets:
        raise MisconfiguredError("webhook secret", "no secret at all", "one or several whsec_ secrets")
    return [read_secret(secret) for secret in secrets]
