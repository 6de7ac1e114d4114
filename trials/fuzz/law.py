"""What every reader owes for any bytes, and how one input is judged.

A reader ends with a value or with one of the project's named errors: within 2 s of processor time, within 512 MB,
the same way twice, and without a word of the payload in anything that it tells. Knows no reader and no fuzzer.
"""

from __future__ import annotations

import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from chalicelib.errors import PlumblineError

SECONDS = 2.0
MEGABYTES = 512

# Planted in inputs where payload stands: it must come back in no error, no reason of a bad line or record.
CANARY = "canary-7f3a"


class Reading(NamedTuple):
    """What a reader made of its input: a value that can be compared, and the texts that may end in logs and reports."""

    value: object
    told: tuple[str, ...] = ()


class Reader(NamedTuple):
    """A reader under the law. `form`: jsonl, json, yaml or msgpack, which the mutation follows.

    `shows`: its errors name what they found on purpose (a definition's fields, a baseline's settings), so the canary
    is not looked for.
    """

    read: Callable[[bytes], Reading]
    form: str
    shows: bool = False


class Broken(BaseException):
    """The law does not hold for an input. Not an Exception, so that no code under test can catch it."""


def require(holds: object, law: str) -> None:
    """A property of the value that was read."""
    if not holds:
        raise Broken(law)


@contextmanager
def accepted(law: str) -> Iterator[None]:
    """What was read once is no error any more: not when it was written and is read again."""
    try:
        yield
    except PlumblineError as error:
        raise Broken(f"{law}: {type(error).__name__}") from error


def examine(reader: Reader, data: bytes, twice: bool = True, seconds: float = SECONDS) -> object:
    """Read the input, and again if `twice`; returns the outcome, comparable between processes. Raises Broken.

    `seconds` of processor time are allowed for a reading.
    """
    first = _outcome(reader, data, seconds)
    if (grown := _peak() - _began[-1]) > MEGABYTES:
        _began.append(_peak())
        raise Broken(f"memory: {grown:.0f} MB, allowed are {MEGABYTES}")
    if twice and _outcome(reader, data, seconds) != first:
        raise Broken("deterministic: the same bytes gave another result the second time")
    return first


def _outcome(reader: Reader, data: bytes, seconds: float) -> tuple[str, object]:
    try:
        with _limited(seconds):
            reading = reader.read(data)
    except PlumblineError as error:
        _silent(reader, str(error))
        return type(error).__name__, str(error)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raised = f"{type(error).__name__} of {Path(place.filename).name}, line {place.lineno}"
        raise Broken(f"named errors only: {raised} came out") from error
    for text in reading.told:
        _silent(reader, text)
    return "read", reading.value


def _silent(reader: Reader, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Broken("messages: one cannot be written as UTF-8") from None
    if not reader.shows and CANARY in text:
        raise Broken(f"silence: a message repeats what was read: {text!r}")


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer than `seconds` of processor time; other people's load does not count."""

    def late(*_: Any) -> None:
        raise Broken(f"speed: more than {seconds} s")

    previous = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


def _peak() -> float:
    """The most memory that the process has had, in MB."""
    # Where there is one, Linux's own file: what getrusage tells begins at the peak of whoever started the process.
    with suppress(OSError, IndexError):
        return int(Path("/proc/self/status").read_bytes().partition(b"VmHWM:")[2].split(maxsplit=1)[0]) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


# Measured from here on, so that no input can hide behind a hungry one before it; anew after one that has failed.
_began = [_peak()]


def begin() -> None:
    """Measure memory from here on: whatever else the process has done until now is no reader's."""
    _began.append(_peak())
