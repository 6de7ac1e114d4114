"""Every error that Plumbline raises on purpose.

What each one means for a message in a queue is in docs/architecture.md: a permanent error is recorded and the message
is done; any other exception makes the queue deliver the message again. An error's text holds names, keys, line numbers
and counts, never payload.
"""

from __future__ import annotations

import msgspec

# Every way in which msgspec fails on foreign bytes: wrong format or type, text that is not UTF-8, nesting beyond
# Python's stack.
UNDECODABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


class PlumblineError(Exception):
    """The root of all errors that are raised on purpose.

    `counted_as`: the metric of app.py that counts a message which failed with this error.
    """

    counted_as = "Failures"


class PermanentError(PlumblineError):
    """A repeat with the same input would fail again."""

    counted_as = "PermanentFailures"


class MisconfiguredError(PermanentError):
    """A setting or a field of a definition is wrong: names the field, its value, and what was expected."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}: got {value!r}; expected {expected}")
        self.field = field
        self.value = value
        self.expected = expected


class UnreadableError(PermanentError):
    """A whole file or message cannot be read. `where` names it, `reason` says what was expected instead."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class UnreadableStateError(PlumblineError):
    """This release cannot read a document that Plumbline stored. Not permanent: another release may read it, so the
    message is delivered again and finally becomes a dead letter, to be redriven after the repair.
    """

    def __init__(self, where: str, expected: str) -> None:
        super().__init__(f"{where}: expected {expected}")
        self.where = where


class NotFoundError(PlumblineError):
    """A named thing (object, endpoint, job) does not exist."""


class UnavailableError(PlumblineError):
    """A model does not answer now: throttled, starting, out of time, not permitted, or an error in its container."""


class ConflictError(PlumblineError):
    """A conditional write lost against another one. Read again and decide again."""


class RefusedError(PermanentError):
    """The receiver rejects the request for good (validation, a forbidden address, a 4xx answer)."""


def words_of(error: Exception) -> str:
    """What may be said of an error to people: our own words or AWS's. Of any other only the type, for its text may
    quote payload."""
    if isinstance(error, PlumblineError):
        return str(error)
    response = getattr(error, "response", None)
    if isinstance(response, dict) and isinstance(response.get("Error"), dict):
        return f"{response['Error'].get('Code', '')}: {response['Error'].get('Message', '')}"
    return type(error).__name__
