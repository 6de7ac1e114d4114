"""Requests that KServe's logger or Azure ML's data collector wrote down, as SageMaker capture lines.

Both write what was asked and what was answered as two events with one id, mostly in two files. KServe: CloudEvents of
type org.kubeflow.serving.inference.{request,response}, or the objects of its blob storage logger (pkg/logger/types.go
of kserve/kserve, Apache-2.0). Azure: CloudEvents of type azureml.inference.{request,response}, or the names of its own
collections (learn.microsoft.com, "Collect production data from models deployed for real-time inferencing").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from chalicelib.errors import UNDECODABLE, MisconfiguredError
from plumbline.cli.inputs.places import PIECE, File

_KSERVE, _AZURE = "org.kubeflow.serving.inference.", "azureml.inference."
_MARK = re.compile(rb'"(?:reqType|type)"\s*:\s*"(?:org\.kubeflow\.serving|azureml)\.inference\.')
_INPUTS = ("request", "inputs", "model_inputs")
_OUTPUTS = ("response", "outputs", "model_outputs")
_AZURE_DEPLOYMENT = re.compile(r"/onlineEndpoints/([^/]+)/deployments/([^/]+)", re.IGNORECASE)
# Go writes this for a time that is not set.
_NO_TIME = "0001-01-01"

Side = Literal["endpointInput", "endpointOutput"]


class _Event(msgspec.Struct, frozen=True):
    """One side of a request. `service`: what answered, for people; `side` as captures have it."""

    id: str
    side: Side
    service: str
    time: str
    payload: dict[str, str]


def as_captures(files: Sequence[File]) -> Sequence[File]:
    """The files of a place; where its first one that is not empty is KServe's or Azure's, all of them as one file.

    That one is a file of captures in which each event has a line: empty for the first side of a request, the capture
    for the second, and no capture for what is no event, so that the reader of captures counts it. Requests of which
    one side alone was logged come last.
    Raises, when read, MisconfiguredError for events of several services, and UnreadableError.
    """
    first = next((file for file in files if file.size), None)
    if first is None:
        return files
    beginning, pieces = first.begun()
    if not _MARK.search(beginning):
        # An object is not read from S3 a second time.
        return [msgspec.structs.replace(file, pieces=pieces) if file is first else file for file in files]
    name = f"{first.name.rpartition('/')[0] or first.name} ({len(files)} files of events, line by line)"
    return [File(name, sum(file.size for file in files), first.modified, lambda: _pieces(files))]


def _pieces(files: Sequence[File]) -> Iterator[bytes]:
    piece = bytearray()
    for line in _lines(files):
        piece += line + b"\n"
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _lines(files: Sequence[File]) -> Iterator[bytes]:
    waiting: dict[tuple[str, Side], list[_Event]] = {}
    services: set[str] = set()
    for file in files:
        for record in _records(file.read()):
            event = _event_of(record, file)
            if event is None:
                yield b"{}"
                continue
            services.add(event.service)
            if len(services) > 1:
                expected = "requests of one service; name its folder"
                raise MisconfiguredError("--captures", ", ".join(sorted(services)), expected)
            other: Side = "endpointOutput" if event.side == "endpointInput" else "endpointInput"
            if partners := waiting.get((event.id, other)):
                yield _capture(event, partners.pop(0))
                if not partners:
                    del waiting[event.id, other]
            else:
                waiting.setdefault((event.id, event.side), []).append(event)
                yield b""
    for alone in waiting.values():
        yield from (_capture(event) for event in alone)


def _records(body: bytes) -> Iterator[Any]:
    """The JSON values of a file: one, a list of several, or one in each line; None for a line that is not JSON."""
    try:
        document = msgspec.json.decode(body)
        yield from document if isinstance(document, list) else [document]
        return
    except UNDECODABLE:
        pass
    for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if not line or line.isspace():
            continue
        try:
            yield msgspec.json.decode(line)
        except UNDECODABLE:
            yield None


def _event_of(record: Any, file: File) -> _Event | None:
    if not isinstance(record, dict):
        return None
    kind = record.get("reqType") or record.get("type")
    if not isinstance(kind, str):
        return None
    part = kind.removeprefix(_KSERVE).removeprefix(_AZURE)
    side: Side | None = "endpointInput" if part in _INPUTS else "endpointOutput" if part in _OUTPUTS else None
    payload = _stored(record) if "reqType" in record else _cloud_event(record, side, kind.startswith(_AZURE))
    found = record.get("correlationid") or record.get("xrequestid") if kind.startswith(_AZURE) else None
    identity = found or record.get("id")
    if part == kind or side is None or payload is None or not isinstance(identity, str):
        return None
    time = record.get("occurrenceTime") or record.get("time")
    if not isinstance(time, str) or time.startswith(_NO_TIME):
        time = file.modified.isoformat()
    return _Event(identity, side, _service(record), time, payload)


def _service(record: dict[str, Any]) -> str:
    if found := _AZURE_DEPLOYMENT.search(str(record.get("source", ""))):
        return f"{found[1]}/{found[2]}"
    name = record.get("inferenceService") or record.get("inferenceservicename") or ""
    return "/".join(str(each) for each in (record.get("namespace"), name, record.get("component")) if each)


def _stored(record: dict[str, Any]) -> dict[str, str] | None:
    """An object of KServe's blob storage logger. It has the request's content type on both sides."""
    body = record.get("bytes", "")
    if not isinstance(body, str):
        return None
    return _payload(body, "BASE64", record.get("contentType"))


def _cloud_event(record: dict[str, Any], side: Side | None, is_azure: bool) -> dict[str, str] | None:
    kind = record.get("datacontenttype")
    if isinstance(encoded := record.get("data_base64"), str):
        return _payload(encoded, "BASE64", kind)
    # Large and binary payloads of Azure's are in a blob of their own, and `data` is its address.
    if "data" not in record or str(record.get("datainblob", "")).lower() == "true":
        return None
    data = record["data"]
    if isinstance(data, str) and "json" not in str(kind):
        return _payload(data, "CSV" if kind == "text/csv" else "", kind)
    if is_azure and isinstance(data, dict) and list(data) in (["data"], ["input_data"]):
        (inner,) = data.values()
        data = inner if isinstance(inner, dict) or _is_nested(inner) else data
    if side == "endpointOutput" and isinstance(data, list) and not _is_nested(data):
        data = {"predictions": data}  # one value for each record; a list alone would be one record of several values
    return _payload(msgspec.json.encode(data).decode(), "JSON", kind)


def _is_nested(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, list | dict) for each in value)


def _payload(data: str, encoding: str, content_type: Any) -> dict[str, str]:
    known = {"observedContentType": content_type} if isinstance(content_type, str) else {}
    return {"data": data, "encoding": encoding, **known}


def _capture(event: _Event, other: _Event | None = None) -> bytes:
    """The line of a request, without its line end; its time is that of what was asked, where that is known."""
    asked = other if other is not None and other.side == "endpointInput" else event
    sides = {each.side: each.payload for each in (event, other) if each is not None}
    metadata = {"eventId": event.id, "inferenceTime": asked.time}
    return msgspec.json.encode({"captureData": sides, "eventMetadata": metadata, "eventVersion": "0"})
