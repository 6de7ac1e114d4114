"""Capture files of a real-time endpoint: JSON Lines, one line per request.

Knows the envelope (model-monitor capture format, eventVersion "0"); refuses to know what the payloads inside mean
(`payload`) and where the file came from. Text of a bad line never leaves this module: only its number and the reason.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from chalicelib.errors import UNDECODABLE, UnreadableError

# A time without a zone cannot be placed in a window.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Payload(msgspec.Struct, frozen=True, gc=False, rename={"content_type": "observedContentType"}):
    """One side of a request as captured: the text itself, or Base64 of it when `encoding` says so."""

    data: str
    encoding: str = ""
    content_type: str | None = None
    mode: str | None = None


class BadLine(msgspec.Struct, frozen=True, gc=False):
    """A line that could not be read: its 1-based number and why. Never its text."""

    line: int
    reason: str


class CapturedRequest(msgspec.Struct, frozen=True, gc=False):
    """One invocation of the endpoint, with however many records it held. Either side may not have been captured."""

    event_id: str
    inference_id: str | None
    inference_time: datetime
    input: Payload | None = None
    output: Payload | None = None

    @property
    def join_id(self) -> str:
        """The id that labels name: the caller's inferenceId where there is one, else the eventId."""
        return self.event_id if self.inference_id is None else self.inference_id

    @property
    def identity(self) -> str:
        """Unique per invocation (callers may reuse inference ids)."""
        return self.event_id


class CaptureFile(msgspec.Struct, frozen=True):
    requests: list[CapturedRequest]
    bad_lines: list[BadLine]


class Metadata(msgspec.Struct, gc=False, rename="camel"):
    """`eventMetadata` of a captured (or merged) request."""

    # SageMaker's are UUIDs. Each record is named by it, so that its length counts once per record.
    event_id: Annotated[str, msgspec.Meta(max_length=256)]
    inference_time: Moment
    inference_id: str | None = None


class Sides(msgspec.Struct, gc=False, rename="camel"):
    """`captureData` of a captured (or merged) request."""

    endpoint_input: Payload | None = None
    endpoint_output: Payload | None = None


class _Line(msgspec.Struct, gc=False, rename="camel"):
    capture_data: Sides
    event_metadata: Metadata


_decoder = msgspec.json.Decoder(_Line)
_LINE = re.compile(rb"[^\n]+")


def plausible(time: datetime) -> datetime:
    """The time in UTC. Raises OverflowError outside 1970 to 2899: no window could be cut or named there."""
    moved = time.astimezone(UTC)
    if not 1970 <= moved.year < 2900:
        raise OverflowError("a time outside 1970 to 2899")
    return moved


def request_of(sides: Sides, metadata: Metadata) -> CapturedRequest:
    """Put the parts of an envelope together, the time in UTC. Raises OverflowError for a time that no window has."""
    return CapturedRequest(
        metadata.event_id,
        metadata.inference_id,
        plausible(metadata.inference_time),
        sides.endpoint_input,
        sides.endpoint_output,
    )


def lines_of(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of a JSON Lines file that are not blank, with their 1-based numbers."""
    # Not split: a list of all lines would be a second copy of the file, and many times its size where lines are empty.
    number, end = 1, 3 if body.startswith(b"\xef\xbb\xbf") else 0
    for found in _LINE.finditer(body, end):
        number += body.count(b"\n", end, found.start())
        end = found.end()
        if not (line := found[0]).isspace():
            yield number, line


def reason_of(error: Exception) -> str:
    """Why a line was refused, in words that hold no payload (msgspec names places and types, never values)."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    # A file may be bad in every line, mostly in the same way: each reason is kept once.
    return "not UTF-8 text" if isinstance(error, UnicodeError) else sys.intern(str(error))


def refuse_if_hopeless(where: str, good: int, bad_lines: list[BadLine], expected: str) -> None:
    """Raise UnreadableError when a file has lines and none of them could be read."""
    if bad_lines and not good:
        first = bad_lines[0]
        raise UnreadableError(where, f"none of {len(bad_lines)} lines is {expected}; line {first.line}: {first.reason}")


def read_captures(body: bytes, where: str) -> CaptureFile:
    """Read a capture file; lines that cannot be read are counted and named, unknown keys are ignored.

    `where` names the file in errors. An empty body is an empty file. Raises UnreadableError when there are lines
    that are not blank and none of them is a capture record. Layout: model-monitor formats, section 2.1.
    """
    content = read_capture_lines(lines_of(body))
    refuse_if_hopeless(where, len(content.requests), content.bad_lines, "a capture record")
    return content


def read_capture_lines(lines: Iterable[tuple[int, bytes]]) -> CaptureFile:
    """Read numbered lines of a capture file; those that cannot be read are counted and named, be it all of them."""
    requests: list[CapturedRequest] = []
    bad_lines: list[BadLine] = []
    for number, line in lines:
        try:
            parsed = _decoder.decode(line)
            requests.append(request_of(parsed.capture_data, parsed.event_metadata))
        except (*UNDECODABLE, OverflowError) as error:
            bad_lines.append(BadLine(number, reason_of(error)))
    return CaptureFile(requests, bad_lines)
