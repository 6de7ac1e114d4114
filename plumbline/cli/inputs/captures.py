"""Files of captured requests of any kind: captures, merged records, a batch transform's output, manifests.

Chooses the reader for a file and finds the files that a manifest names. Not here: what the requests hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from chalicelib import keys
from chalicelib.errors import UNDECODABLE, UnreadableError
from chalicelib.records.batch import read_manifest, read_transform
from chalicelib.records.capture import BadInput, BadLine, CapturedRequest, read_captures
from chalicelib.records.files import kind_of
from chalicelib.records.ground_truth import Label
from chalicelib.records.merge import read_merged
from plumbline.cli.inputs.places import File, file_of


class Requests(msgspec.Struct, frozen=True):
    """The requests of one file, its labels (merged records only), and what could not be read."""

    requests: list[CapturedRequest] = []
    labels: list[Label] = []
    bad: list[BadInput] = []
    more_bad: int = 0


def requests_of(file: File, body: bytes) -> Requests:
    """Read a file that is not a manifest, by the kind of its first record."""
    kind = kind_of(body)
    if is_laid_out(body):  # a valid JSON document has no line end within a string
        body = body.replace(b"\n", b" ")
    try:
        if kind == "merged":
            merged = read_merged(body, file.name, file.arrived)
            found = [one.request for one in merged.requests]
            labels = [one.label for one in merged.requests]
            return Requests(found, labels, _named(file, merged.bad_lines), merged.more_bad_lines)
        if kind == "ground-truth":
            raise UnreadableError(file.name, "holds labels and no captures; --ground-truth reads it")
        if kind == "transform":
            return _transform(file, body, None)
        content = read_captures(body, file.name)
    except UnreadableError as error:
        return Requests(bad=[BadInput(file.name, 0, error.reason)])
    return Requests(content.requests, [], _named(file, content.bad_lines), content.more_bad_lines)


def is_laid_out(body: bytes) -> bool:
    """Whether this is a single record over several lines, as notebooks show it."""
    if b"\n" not in body.strip():
        return False
    try:
        msgspec.json.decode(body)
    except UNDECODABLE:
        return False
    return True


def transforms_of(manifests: Sequence[tuple[File, bytes]]) -> Iterator[Requests]:
    """The requests of batch transforms from the manifests of their capture, one part per output file.

    SageMaker writes a manifest of a job's input and one of its output, in folders `input` and `output` under the hour
    in which the job started. Where an hour has one of each, with as many files, they are paired file by file;
    otherwise the output is read alone (it holds its input when the job joined them).
    """
    asked: dict[str, list[tuple[File, bytes]]] = {}
    for file, body in manifests:
        if side := _side(file, "input"):
            asked.setdefault(side, []).append((file, body))
    answered = [(file, body) for file, body in manifests if not _side(file, "input")]
    for file, body in answered:
        try:
            outputs = read_manifest(body, file.name)
            side = _side(file, "output")
            partners = asked.get(side, []) if side else []
            alone = sum(_side(other, "output") == side for other, _ in answered) == 1
            inputs = read_manifest(partners[0][1], partners[0][0].name) if len(partners) == 1 and alone else []
            pairs = inputs if len(inputs) == len(outputs) else [""] * len(outputs)
            for output, question in zip(outputs, pairs, strict=True):
                yield _named_output(file, output, question)
        except UnreadableError as error:
            yield Requests(bad=[BadInput(error.where, 0, error.reason)])


def _named_output(manifest: File, output: str, question: str) -> Requests:
    answered, asked = _object(output), _object(question).read() if question else None
    # Records have no time of their own: they get the job's, which is the manifest's.
    found = File(output, answered.size, manifest.arrived, answered.pieces)
    return _transform(found, answered.read(), asked)


def _object(uri: str) -> File:
    """A file that a manifest names. Raises UnreadableError when it does not exist."""
    file = file_of(uri, "--captures")
    if file is None:
        raise UnreadableError(uri, "is named by a manifest and does not exist")
    return file


def _transform(file: File, body: bytes, asked: bytes | None) -> Requests:
    content = read_transform(body, file.name, asked, file.arrived)
    return Requests(content.requests, [], _named(file, content.bad_lines), content.more_bad_lines)


def _side(file: File, side: str) -> str:
    """The hour folder of a manifest on this side ("input" or "output"), without the side; "" for another."""
    hourly = keys.parse_hourly(file.name.removeprefix("s3://").lstrip("/"))
    if hourly is None or hourly.prefix.rpartition("/")[2] != side:
        return ""
    return f"{hourly.prefix.rpartition('/')[0]}/{keys.hour_folder(hourly.hour)}"


def _named(file: File, lines: Sequence[BadLine]) -> list[BadInput]:
    return [BadInput(file.name, line.line, line.reason) for line in lines]
