"""Files of a batch transform: the manifests of its capture, and the output that they name.

Knows how SageMaker lays both out and where it puts an inference id (model-monitor formats, section 2.4); refuses to
know where the files are stored and what the records mean (`table`). Of a bad line only its number and the reason leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import blake2b

import msgspec

from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.records.capture import (
    UNREADABLE,
    BadLines,
    CapturedRequest,
    CaptureFile,
    Payload,
    UntimedError,
    lines_of,
    plausible,
)

ID, TIME = "SageMakerInferenceId", "SageMakerInferenceTime"

_NO_TIME = f"expected {ID} and {TIME} as the last two columns or as keys"
_LONGEST_ID = 256

_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_texts = msgspec.json.Decoder(str)


def read_manifest(body: bytes, where: str) -> list[str]:
    """The S3 URIs that a capture manifest names, in its order.

    A JSON array: an object with `prefix`, then keys below it. Raises UnreadableError, naming `where`, for anything
    else. Layout: model-monitor formats, section 2.4 (the documentation calls it JSON Lines; it is one array).
    """
    expected = 'expected a manifest: [{"prefix": "s3://bucket/..."}, "key", ...]'
    try:
        document = msgspec.json.decode(body)
    except UNDECODABLE:
        raise UnreadableError(where, expected) from None
    if not (isinstance(document, list) and document and isinstance(document[0], dict)):
        raise UnreadableError(where, expected)
    prefix, keys = document[0].get("prefix"), document[1:]
    if not isinstance(prefix, str) or not prefix.startswith("s3://") or not all(isinstance(key, str) for key in keys):
        raise UnreadableError(where, expected)
    return [prefix + key for key in keys]


def read_transform(body: bytes, where: str, asked: bytes | None = None, started: datetime | None = None) -> CaptureFile:
    """Read a transform's output as requests, one per line (or one for a single JSON document over many lines).

    `where` names the file in errors. `asked` is the input file that the output answers, line by line, where it was
    captured; without it, output that was joined with its input (JoinSource) holds both, and `table` tells them apart.
    `started` is when the job began: records without SageMaker's own id and time (GenerateInferenceId was off) get it,
    and an id made from `where` and their line; without `started` they are bad lines.

    Raises UnreadableError when no line is a record, or when `asked` has another number of lines.
    """
    documents = _documents(body)
    questions: list[str] = []
    if asked is not None:
        try:
            questions = [text.decode() for _, text in _documents(asked)]
        except UnicodeDecodeError:
            raise UnreadableError(where, "the captured input is not UTF-8 text") from None
        documents = [*documents]
        if len(questions) != len(documents):
            raise UnreadableError(where, f"{len(documents)} lines of output for {len(questions)} lines of input")
    requests: list[CapturedRequest] = []
    bad_lines = BadLines(where, "a record of a transform's output")
    for position, (number, line) in enumerate(documents):
        try:
            is_json = line.lstrip()[:1] == b"{"
            identity, time, text = _json_parts(line) if is_json else _csv_parts(line)
            if time is None:
                if started is None:
                    raise UntimedError(_NO_TIME)
                time, identity = plausible(started), identity or _made_id(where, number)
            kind = "JSON" if is_json else "CSV"
            question = Payload(questions[position], _kind_of(questions[position])) if questions else None
            requests.append(
                CapturedRequest(
                    identity or _made_id(where, number), None, time, question, Payload(text, kind), is_batch=True
                )
            )
        except UNREADABLE as error:
            bad_lines.add(number, error, len(requests))
    bad_lines.refuse_if_hopeless(len(requests))
    return CaptureFile(requests, bad_lines.named, bad_lines.more)


def _documents(body: bytes) -> Iterable[tuple[int, bytes]]:
    """The lines with their numbers; a JSON document that is written over several lines is one."""
    lines = lines_of(body)
    first = next(lines, None)
    if first is None:
        return []
    if first[1].lstrip()[:1] == b"{":
        try:
            _objects.decode(first[1])
        except UNDECODABLE:
            try:
                _objects.decode(body)
                return [(1, body)]
            except UNDECODABLE:
                pass  # each bad line is counted for itself
    return _chained(first, lines)


def _chained(first: tuple[int, bytes], lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    yield first
    yield from lines


def _csv_parts(line: bytes) -> tuple[str, datetime | None, str]:
    """Id, time and the row without them; "" and None where it has none."""
    text = line.decode().rstrip("\r")
    row, *last = text.rsplit(",", 2)
    if len(last) == 2 and (time := _time_of(last[1].strip(' "'))):
        return _checked(last[0].strip(' "')), time, row
    return "", None, text


def _json_parts(line: bytes) -> tuple[str, datetime | None, str]:
    parts = _objects.decode(line)
    identity, time = (_texts.decode(parts.pop(key, msgspec.Raw(b'""'))) for key in (ID, TIME))
    # Put together from the original pieces: numbers stay as they were written.
    rest = b",".join(msgspec.json.encode(key) + b":" + bytes(raw) for key, raw in parts.items())
    return _checked(identity), _time_of(time), (b"{" + rest + b"}").decode()


def _checked(identity: str) -> str:
    if len(identity) > _LONGEST_ID:
        raise OverflowError(f"{ID} has more than {_LONGEST_ID} characters")
    return identity


def _time_of(text: str) -> datetime | None:
    try:
        time = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return plausible(time) if time.tzinfo else None


def _made_id(where: str, line: int) -> str:
    return f"{blake2b(where.encode(), digest_size=16).hexdigest()}-{line}"


def _kind_of(text: str) -> str:
    return "JSON" if text.lstrip()[:1] in ("{", "[") else "CSV"
