"""Merged records: a captured request with its label, in the layout of SageMaker's ground-truth merge job.

Knows the join rule (inferenceId, else eventId, by string equality; inner join) and the layout; refuses to know which
of several labels counts (`ground_truth`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from chalicelib.records.capture import (
    UNREADABLE,
    BadLine,
    BadLines,
    CapturedRequest,
    Metadata,
    Payload,
    Sides,
    lines_of,
    request_of,
)
from chalicelib.records.ground_truth import Label


class MergedRequest(msgspec.Struct, frozen=True, gc=False):
    request: CapturedRequest
    label: Label


class Merged(msgspec.Struct, frozen=True):
    """Labelled requests in the order of (inference time, event id); `unlabelled` requests found no label."""

    requests: list[MergedRequest]
    unlabelled: int
    bad_lines: list[BadLine] = []
    more_bad_lines: int = 0


class _GroundTruthData(msgspec.Struct, gc=False):
    data: str
    encoding: str = "CSV"


class _Line(msgspec.Struct, gc=False, rename="camel"):
    ground_truth_data: _GroundTruthData
    capture_data: Sides
    event_metadata: Metadata


_decoder = msgspec.json.Decoder(_Line)


def merge(requests: Sequence[CapturedRequest], labels: Mapping[str, Label]) -> Merged:
    """Join labels to requests; several requests may share one label, labels without a request are dropped.

    Rule: model-monitor formats, section 3.1.
    """
    ordered = sorted(requests, key=lambda request: (request.inference_time, request.event_id))
    merged = [MergedRequest(request, labels[request.join_id]) for request in ordered if request.join_id in labels]
    return Merged(merged, len(requests) - len(merged))


def write_merged(merged: Merged) -> bytes:
    """Write merged requests as JSON Lines in SageMaker's layout (model-monitor formats, section 4)."""
    return b"".join(msgspec.json.encode(_merged(one)) + b"\n" for one in merged.requests)


class MergedFiles:
    """The merge job's files of a window: it files a record under its capture hour ("YYYY/MM/DD/HH")."""

    def __init__(self) -> None:
        self._files: dict[str, list[tuple[datetime, str, bytes]]] = {}

    def add(self, merged: Sequence[MergedRequest]) -> None:
        """Add records, in any order."""
        for one in merged:
            line = msgspec.json.encode(_merged(one)) + b"\n"
            time = one.request.inference_time
            self._files.setdefault(f"{time.astimezone(UTC):%Y/%m/%d/%H}", []).append((time, one.request.event_id, line))

    def finish(self) -> dict[str, bytes]:
        """The files by hour, in order, each in the order of (inference time, event id)."""
        return {hour: b"".join(line for _, _, line in sorted(self._files[hour])) for hour in sorted(self._files)}


def read_merged(body: bytes, where: str, batch_time: datetime | None = None) -> Merged:
    """Read merged requests back, in the order of the file; the labels' times are not part of the layout.

    Neither is a time part of a batch transform's merged record: `batch_time` (the hour of its folder) stands for it,
    and without one such lines are bad. Raises UnreadableError when there are lines and none is a merged record.
    """
    merged: list[MergedRequest] = []
    bad_lines = BadLines(where, "a merged record")
    for number, line in lines_of(body):
        try:
            parsed = _decoder.decode(line)
            request = request_of(parsed.capture_data, parsed.event_metadata, batch_time)
            label = Label(request.join_id, parsed.ground_truth_data.data, parsed.ground_truth_data.encoding)
            merged.append(MergedRequest(request, label))
        except UNREADABLE as error:
            bad_lines.add(number, error, len(merged))
    bad_lines.refuse_if_hopeless(len(merged))
    return Merged(merged, 0, bad_lines.named, bad_lines.more)


def _merged(one: MergedRequest) -> dict[str, Any]:
    document = _document(one.request)
    truth = {"data": one.label.data, "encoding": one.label.encoding}
    return {"eventVersion": document.pop("eventVersion"), "groundTruthData": truth, **document}


def write_captured(request: CapturedRequest) -> bytes:
    """A request as a line of a capture file, without a line end."""
    return msgspec.json.encode(_document(request))


def _document(request: CapturedRequest) -> dict[str, Any]:
    output = "batchTransformOutput" if request.is_batch else "endpointOutput"
    sides = {"endpointInput": request.input, output: request.output}
    metadata: dict[str, Any] = {"eventId": request.event_id}
    if request.inference_id is not None:
        metadata["inferenceId"] = request.inference_id
    metadata["inferenceTime"] = request.inference_time
    if request.custom_attributes:
        metadata["customAttributes"] = request.custom_attributes
    if request.target_model is not None:
        metadata["targetModel"] = request.target_model
    if request.inference_component is not None:
        metadata["inferenceComponentName"] = request.inference_component
    return {
        "eventVersion": "0",
        "captureData": {name: _side(payload) for name, payload in sides.items() if payload is not None},
        "eventMetadata": metadata,
    }


def _side(payload: Payload) -> dict[str, str]:
    # SageMaker leaves out what it does not know; null would be a new shape.
    side = {"data": payload.data, "encoding": payload.encoding}
    if payload.mode is not None:
        side["mode"] = payload.mode
    if payload.content_type is not None:
        side["observedContentType"] = payload.content_type
    return side
