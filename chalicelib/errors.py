"""Every error that Plumbline raises on purpose; it refuses to know where they are caught.

What each one means for a message in a queue is the table of docs/architecture.md: a permanent error is
recorded and the message is done; any other exception makes the queue deliver the message again.
No message text ever holds payload: names, keys, line numbers and counts only.
"""

from __future__ import annotations

import msgspec

# Every way in which msgspec fails on bytes that somebody else wrote: not the format or not the type, text that is not
# UTF-8, nesting beyond Python's stack.
UNDECODABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


class PlumblineError(Exception):
    """The root: catching it catches what was raised on purpose and nothing else.

    `counted_as`: the metric of app.py that counts a message which ended so.
    """

    counted_as = "Failures"


class PermanentError(PlumblineError):
    """Trying again with the same input can only fail again."""

    counted_as = "PermanentFailures"


class MisconfiguredError(PermanentError):
    """A setting or a field of a definition is wrong: names the field, what it holds, what was expected."""

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
    """What Plumbline stored itself is nothing that this release reads. Not permanent: another release may read it, so
    the message that met it is delivered again and in the end is a dead letter, to be redriven after the repair.
    """

    def __init__(self, where: str, expected: str) -> None:
        super().__init__(f"{where}: expected {expected}")
        self.where = where


class NotFoundError(PlumblineError):
    """A named thing (object, endpoint, job) does not exist."""


class ConflictError(PlumblineError):
    """A conditional write lost: somebody else wrote first. Read again and think again."""


class RefusedError(PermanentError):
    """The other side understood the request and refuses it (validation, a forbidden address, a 4xx answer)."""
