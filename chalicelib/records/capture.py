"""Capture files of a real-time endpoint: JSON Lines, one line per request.

Knows the envelope (model-monitor capture format, eventVersion "0"); refuses to know what the payloads inside mean
(`payload`) and where the file came from. Text of a bad line never leaves this module: only its number and the reason.
"""

from __future__ import annotations

import re
import sys
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.records.attributes import Attributes

# A time without a zone cannot be placed in a window.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
# SageMaker's are UUIDs. Each record is named by it, so that its length counts once per record.
EventId = Annotated[str, msgspec.Meta(max_length=256)]


class Payload(msgspec.Struct, frozen=True, gc=False, rename={"content_type": "observedContentType"}):
    """One side of a request as captured: the text itself, or Base64 of it when `encoding` says so."""

    data: str
    encoding: str = ""
    content_type: str | None = None
    mode: str | None = None


# Bad lines that are named one by one; beyond them they are counted.
MOST_BAD_LINES = 10_000
# A file that begins with more of them than these and this many to each good line is garbage: reading on is slow.
_BAD_TO_A_GOOD_ONE = 100


class BadLine(msgspec.Struct, frozen=True, gc=False):
    """A line that could not be read: its 1-based number and why. Never its text."""

    line: int
    reason: str


class BadInput(msgspec.Struct, frozen=True):
    """A line or a whole file that could not be read (line 0: the file)."""

    key: str
    line: int
    reason: str


class CapturedRequest(msgspec.Struct, frozen=True, gc=False):
    """One invocation of the endpoint, with however many records it held. Either side may not have been captured."""

    event_id: str
    inference_id: str | None
    inference_time: datetime
    input: Payload | None = None
    output: Payload | None = None
    # The CustomAttributes header, as captured.
    custom_attributes: tuple[str, ...] = ()
    # Which model of a multi-model endpoint, or which inference component, answered; None where nothing tells.
    target_model: str | None = None
    inference_component: str | None = None
    # A batch transform's record: what it was asked, where it is known, stands in the output beside the answer.
    is_batch: bool = False

    @property
    def join_id(self) -> str:
        """The id that labels name: the caller's inferenceId where there is one, else the eventId."""
        return self.event_id if self.inference_id is None else self.inference_id

    @property
    def identity(self) -> str:
        """Unique per invocation (callers may reuse inference ids)."""
        return self.event_id


class CaptureFile(msgspec.Struct, frozen=True):
    """`bad_lines` are the first ones; `more_bad_lines` counts those beyond MOST_BAD_LINES."""

    requests: list[CapturedRequest]
    bad_lines: list[BadLine]
    more_bad_lines: int = 0


class BadLines:
    """Collects the lines of a file that could not be read.

    `where` names the file, `expected` what its lines should be.
    """

    def __init__(self, where: str, expected: str) -> None:
        self.named: list[BadLine] = []
        self.more = 0
        self._where = where
        self._expected = expected

    def add(self, line: int, error: Exception, good: int) -> None:
        """Note a line and why it was refused. Raises UnreadableError for a file that is nearly nothing else.

        `good` is how many lines before it could be read.
        """
        if len(self.named) < MOST_BAD_LINES:
            self.named.append(BadLine(line, reason_of(error)))
            return
        self.more += 1
        if self._count > MOST_BAD_LINES + _BAD_TO_A_GOOD_ONE * good:
            raise self._unreadable(f"{good or 'none'} of the first {self._count + good} lines")

    def refuse_if_hopeless(self, good: int) -> None:
        """Raise UnreadableError when the file has lines and none of them could be read."""
        if self.named and not good:
            raise self._unreadable(f"none of {self._count} lines")

    @property
    def _count(self) -> int:
        return len(self.named) + self.more

    def _unreadable(self, share: str) -> UnreadableError:
        first = self.named[0]
        return UnreadableError(self._where, f"{share} is {self._expected}; line {first.line}: {first.reason}")


class Metadata(msgspec.Struct, gc=False, rename="camel"):
    """`eventMetadata` of a captured (or merged) request.

    AWS's documents name `customAttributes` without showing it, and show no capture of a multi-model endpoint or of an
    inference component: `targetModel` and `inferenceComponentName` are our reading of the request's headers.
    """

    event_id: EventId
    inference_time: Moment | None = None
    inference_id: str | None = None
    custom_attributes: Any = None
    target_model: str | None = None
    inference_component_name: str | None = None


class Sides(msgspec.Struct, gc=False, rename="camel"):
    """`captureData` of a captured (or merged) request."""

    endpoint_input: Payload | None = None
    endpoint_output: Payload | None = None
    batch_transform_output: Payload | None = None


class CaptureLine(msgspec.Struct, gc=False, rename="camel"):
    """A line of a capture file as it is decoded."""

    capture_data: Sides
    event_metadata: Metadata

    def request(self) -> CapturedRequest:
        """Raises as `request_of`."""
        return request_of(self.capture_data, self.event_metadata)


class UntimedError(ValueError):
    """A record has no time. Only a batch transform's may lack one, and then somebody must say it."""


# Every way in which a line of a file can be none of ours.
UNREADABLE = (*UNDECODABLE, OverflowError, UntimedError)

decode_line = msgspec.json.Decoder(CaptureLine).decode
_LINE = re.compile(rb"[^\n]+")


def plausible(time: datetime) -> datetime:
    """The time in UTC. Raises OverflowError outside 1970 to 2899: no window could be cut or named there."""
    moved = time.astimezone(UTC)
    if not 1970 <= moved.year < 2900:
        raise OverflowError("a time outside 1970 to 2899")
    return moved


def request_of(sides: Sides, metadata: Metadata, time: datetime | None = None) -> CapturedRequest:
    """Put the parts of an envelope together, the time in UTC; `time` counts where a batch transform's record has none.

    Raises OverflowError for a time that no window has, UntimedError where there is none.
    """
    is_batch = sides.batch_transform_output is not None
    moment = metadata.inference_time or (time if is_batch else None)
    if moment is None:
        raise UntimedError("it has no inferenceTime in eventMetadata")
    attributes = metadata.custom_attributes
    if isinstance(attributes, str):
        attributes = [attributes]
    return CapturedRequest(
        metadata.event_id,
        metadata.inference_id,
        plausible(moment),
        sides.endpoint_input,
        sides.batch_transform_output if is_batch else sides.endpoint_output,
        tuple(each for each in attributes if isinstance(each, str)) if isinstance(attributes, list) else (),
        metadata.target_model,
        metadata.inference_component_name,
        is_batch,
    )


def is_answered_by(model: str | None, component: str | None, attributes: Attributes) -> bool:
    """Whether this model and this inference component are those that the attributes name (none named: any)."""
    return attributes.target_model in (None, model) and attributes.inference_component in (None, component)


def lines_of(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of a JSON Lines file that are not blank, with their 1-based numbers."""
    for number, _, line in places_of(body):
        yield number, line


def places_of(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The same with the place of each line's first byte: (number, place, line)."""
    # Not split: a list of all lines would be a second copy of the file, and many times its size where lines are empty.
    number, end = 1, len(BOM_UTF8) if body.startswith(BOM_UTF8) else 0
    for found in _LINE.finditer(body, end):
        number += body.count(b"\n", end, found.start())
        end = found.end()
        if not (line := found[0]).isspace():
            yield number, found.start(), line


def reason_of(error: Exception) -> str:
    """Why a line was refused, in words that hold no payload (msgspec names places and types, never values)."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, msgspec.MsgspecError):
        return sys.intern(_in_words(str(error)))
    # A file may be bad in every line, mostly in the same way: each reason is kept once.
    return "not UTF-8 text" if isinstance(error, UnicodeError) else sys.intern(str(error))


_KINDS = {"object": "an object", "array": "a list", "str": "a text", "int": "a number", "float": "a number",
          "bool": "true or false", "null": "null", "datetime": "a time"}  # fmt: skip
_UNLIKE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `(.+)`)?")
_LACKS = re.compile(r"Object missing required field `(.+)`(?: - at `(.+)`)?")


def _in_words(text: str) -> str:
    """A decoder's message in words: what was expected, where, and what was found. It names no value."""
    if found := _UNLIKE.fullmatch(text):
        wanted = " or ".join(dict.fromkeys(_KINDS.get(each.strip(), each.strip()) for each in found[1].split("|")))
        where = f" at {found[3].removeprefix('$.')}" if found[3] else ""
        return f"expected {wanted}{where}, found {_KINDS.get(found[2], found[2])}"
    if found := _LACKS.fullmatch(text):
        return f"it has no {found[1]}" + (f" in {found[2].removeprefix('$.')}" if found[2] else "")
    if "truncated" in text:
        return "it is no whole JSON document: it was truncated"
    return "it is not JSON" if "malformed" in text else text


def read_captures(body: bytes, where: str) -> CaptureFile:
    """Read a capture file; lines that cannot be read are counted and named, unknown keys are ignored.

    `where` names the file in errors. An empty body is an empty file. Raises UnreadableError when there are lines
    that are not blank and none of them, or of the first 10,000 hardly one, is a capture record. Layout: model-monitor
    formats, section 2.1.
    """
    bad_lines = BadLines(where, "a capture record")
    requests = read_capture_lines(lines_of(body), bad_lines)
    bad_lines.refuse_if_hopeless(len(requests))
    return CaptureFile(requests, bad_lines.named, bad_lines.more)


def read_capture_lines(lines: Iterable[tuple[int, bytes]], bad_lines: BadLines, good: int = 0) -> list[CapturedRequest]:
    """Read numbered lines of a capture file, `good` of which were read before; `bad_lines` notes those that are none.

    Raises UnreadableError as `BadLines.add`.
    """
    requests: list[CapturedRequest] = []
    for number, line in lines:
        try:
            requests.append(decode_line(line).request())
        except UNREADABLE as error:
            bad_lines.add(number, error, good + len(requests))
    return requests
