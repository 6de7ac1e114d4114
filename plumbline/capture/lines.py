"""One request as a line of a capture file, and the names of files and folders: SageMaker's layout, event version "0".

Source: Amazon SageMaker Developer Guide, "Capture data from real-time endpoint"; docs/model-monitor-formats.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Literal, NamedTuple

Mode = Literal["INPUT", "OUTPUT"]

# Media types whose text stands in the file as it is; every other payload is Base64. SageMaker's capture configuration
# names them too; these are the SDK's defaults and the JSON Lines of AWS's own samples.
CSV_TYPES = frozenset({"text/csv"})
JSON_TYPES = frozenset({"application/json", "application/jsonlines"})


class Request(NamedTuple):
    """One answered request. `time` is seconds since 1970; an empty id or attribute is none."""

    event_id: str
    inference_id: str
    time: float
    request: bytes
    request_type: str
    response: bytes
    response_type: str
    custom_attributes: str = ""

    @property
    def size(self) -> int:
        """Bytes of both payloads."""
        return len(self.request) + len(self.response)


def is_sampled(identity: str, percentage: float) -> bool:
    """Whether the request of this id belongs to the sample.

    The first 64 bits of the id's SHA-256 decide: a retry with the same id, and every host that serves it, answer alike.
    """
    if percentage >= 100:
        return True
    share = int.from_bytes(hashlib.sha256(identity.encode("utf-8", "replace")).digest()[:8], "big") / 2**64
    return share * 100 < percentage


def capture_line(request: Request) -> bytes:
    """The line of a request, with its line end."""
    metadata: dict[str, object] = {"eventId": request.event_id}
    if request.custom_attributes:
        metadata["customAttributes"] = [request.custom_attributes]
    if request.inference_id:
        metadata["inferenceId"] = request.inference_id
    metadata["inferenceTime"] = f"{datetime.fromtimestamp(request.time, UTC):%Y-%m-%dT%H:%M:%SZ}"
    line = {
        "captureData": {
            "endpointInput": _side("INPUT", request.request, request.request_type),
            "endpointOutput": _side("OUTPUT", request.response, request.response_type),
        },
        "eventMetadata": metadata,
        "eventVersion": "0",
    }
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _side(mode: Mode, body: bytes, content_type: str) -> dict[str, str]:
    media_type = content_type.partition(";")[0].strip().lower()
    encoding = "CSV" if media_type in CSV_TYPES else "JSON" if media_type in JSON_TYPES else "BASE64"
    try:
        data = body.decode() if encoding != "BASE64" else base64.b64encode(body).decode()
    except UnicodeDecodeError:
        data, encoding = base64.b64encode(body).decode(), "BASE64"
    return {"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding}


def hour_of(time: float) -> str:
    """The hour of a request as a file's folder has it: YYYY/MM/DD/HH, UTC."""
    return f"{datetime.fromtimestamp(time, UTC):%Y/%m/%d/%H}"


def file_name(time: float, unique: str) -> str:
    """The name of a file that is written at this time: minute-second-millisecond and something unique."""
    moment = datetime.fromtimestamp(time, UTC)
    return f"{moment:%M-%S}-{moment.microsecond // 1000:03d}-{unique}.jsonl"
