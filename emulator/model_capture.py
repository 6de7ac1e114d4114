"""Data capture as a SageMaker endpoint does it: which calls are captured, how a line looks, when a file is written.

Writes the capture file format under its key layout. Not here: how a model answers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from chalicelib.records.times import iso
from emulator.pipeline_jobs import split_uri


@dataclass(frozen=True)
class Call:
    """One answered invocation."""

    event_id: str
    when: datetime
    request: bytes
    request_type: str
    response: bytes
    response_type: str
    inference_id: str = ""
    custom_attributes: str = ""


@dataclass
class _Buffer:
    destination: str
    kms_key_id: str
    first_event: str
    lines: list[str] = field(default_factory=list)


class Capture:
    """Buffers capture lines; writes them to S3, one JSON Lines file per endpoint, variant and hour of invocation."""

    def __init__(self, s3: Any, seed: str) -> None:
        """`seed` goes into the file names, which depend on nothing random."""
        self._s3 = s3
        self._seed = seed
        self._lock = threading.Lock()
        self._buffers: dict[tuple[str, str, str, str], _Buffer] = {}

    def record(self, config: Mapping[str, Any], endpoint: str, variant: str, call: Call) -> None:
        """Take a call up if the endpoint's DataCaptureConfig says so; files of earlier hours are written first."""
        if not config.get("EnableCapture", False) or not sampled(call.event_id, config["InitialSamplingPercentage"]):
            return
        hour = call.when.astimezone(UTC).strftime("%Y/%m/%d/%H")
        destination = config["DestinationS3Uri"].rstrip("/")
        key = (destination, endpoint, variant, hour)
        line = capture_line(config, call)
        with self._lock:
            passed = any(other[3] != hour for other in self._buffers)
        if passed:
            self.flush(call.when, keep_hour=hour)
        with self._lock:
            if key not in self._buffers:
                self._buffers[key] = _Buffer(destination, config.get("KmsKeyId", ""), call.event_id)
            self._buffers[key].lines.append(line)

    def flush(self, now: datetime, keep_hour: str = "") -> list[str]:
        """Write what is buffered (but for the hour to keep) and return the S3 URIs. A failed write keeps its lines."""
        written = []
        with self._lock:
            for key in sorted(self._buffers):
                destination, endpoint, variant, hour = key
                if hour == keep_hour:
                    continue
                buffer = self._buffers[key]
                name = self._file_name(now, buffer.first_event)
                uri = f"{destination}/{endpoint}/{variant}/{hour}/{name}"
                bucket, object_key = split_uri(uri)
                encryption = (
                    {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": buffer.kms_key_id} if buffer.kms_key_id else {}
                )
                body = "".join(f"{line}\n" for line in buffer.lines).encode()
                self._s3.put_object(Bucket=bucket, Key=object_key, Body=body, **encryption)
                del self._buffers[key]
                written.append(uri)
        return written

    def _file_name(self, now: datetime, first_event: str) -> str:
        digest = hashlib.sha256(f"{self._seed}|file|{first_event}".encode()).digest()
        moment = now.astimezone(UTC)
        return f"{moment:%M-%S}-{moment.microsecond // 1000:03d}-{uuid.UUID(bytes=digest[:16], version=4)}.jsonl"


def sampled(event_id: str, percentage: float) -> bool:
    """Whether an event belongs to the sample: by the hash of its id, so that a repeated run captures the same ones."""
    share = int.from_bytes(hashlib.sha256(event_id.encode()).digest()[:8], "big") / 2**64
    return share * 100 < percentage


def capture_line(config: Mapping[str, Any], call: Call) -> str:
    """One line of a capture file (event version 0)."""
    sides = {mode["CaptureMode"] for mode in config.get("CaptureOptions", [])}
    headers = config.get("CaptureContentTypeHeader", {})
    data: dict[str, Any] = {}
    if sides & {"Input", "InputAndOutput"}:
        data["endpointInput"] = _side("INPUT", call.request, call.request_type, headers)
    if sides & {"Output", "InputAndOutput"}:
        data["endpointOutput"] = _side("OUTPUT", call.response, call.response_type, headers)
    metadata: dict[str, Any] = {"eventId": call.event_id}
    if call.custom_attributes:
        metadata["customAttributes"] = [call.custom_attributes]
    if call.inference_id:
        metadata["inferenceId"] = call.inference_id
    metadata["inferenceTime"] = iso(call.when)
    line = {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _side(mode: str, body: bytes, content_type: str, headers: Mapping[str, Any]) -> dict[str, str]:
    media_type = content_type.partition(";")[0].strip().lower()
    encoding = "BASE64"
    for name, member in (("CSV", "CsvContentTypes"), ("JSON", "JsonContentTypes")):
        if media_type in [each.lower() for each in headers.get(member, [])]:
            encoding = name
            break
    try:
        data = base64.b64encode(body).decode() if encoding == "BASE64" else body.decode()
    except UnicodeDecodeError:
        data, encoding = base64.b64encode(body).decode(), "BASE64"
    return {"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding}
