"""Records the demo's captures: a really trained model is really invoked, and the files of its server are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from demo.account import BUCKET, FIRST
from demo.run import FLUSHES, HOUR, START
from demo.stream import REQUEST_ROWS, TRAINING_WEEKS, Request, load, requests_of_week
from emulator.world import world

# The first of the demo's hours that has traffic.
BEGIN = START + HOUR

# The demo's requests, its batches cut into pieces: so there are enough labels that each comes in its own time.
PIECE = 8
SIZES = tuple(size for rows in REQUEST_ROWS for size in [PIECE] * (rows // PIECE) + [rows % PIECE] * (rows % PIECE > 0))


@dataclass(frozen=True)
class LabelledRequest:
    """One request and the true labels of its rows (0 or 1)."""

    id: str
    time: datetime
    truth: tuple[int, ...]


@dataclass(frozen=True)
class Landing:
    """An object that was written, and when."""

    at: datetime
    key: str
    body: bytes


@dataclass(frozen=True)
class Recording:
    """`hours` of traffic: what was asked, the capture files as they came, and the baseline's files by key."""

    hours: int
    asked: tuple[LabelledRequest, ...]
    captures: tuple[Landing, ...]
    baseline: Mapping[str, bytes]

    @property
    def rows(self) -> int:
        return sum(len(one.truth) for one in self.asked)


def record(hours: int) -> Recording:
    """Play the first hours of the demo's endpoint that is never retrained; no function of Plumbline runs meanwhile."""
    with tempfile.TemporaryDirectory() as state, world(Path(state)) as replay:
        account, clock, stream = replay.account, replay.clock, replay.stream
        s3, runtime = account.client("s3"), account.client("sagemaker-runtime")
        clock.advance(by=timedelta(minutes=5))  # the endpoints come into service
        captures: dict[str, Landing] = {}
        asked = []
        for hour in range(hours):
            requests = _requests(hour)
            flush_every = -(-len(requests) // FLUSHES)
            for number, request in enumerate(requests, 1):
                clock.advance(to=request.time)
                runtime.invoke_endpoint(
                    EndpointName=FIRST, Body="\n".join(stream.lines[request.rows]), ContentType="text/csv",
                    Accept="text/csv", InferenceId=request.inference_id,
                )  # fmt: skip
                asked.append(_asked(request))
                if number % flush_every == 0 or number == len(requests):
                    account.sagemaker.flush(clock.now())
            for key, body in _read(s3, f"captures/{FIRST}/AllTraffic/{BEGIN + hour * HOUR:%Y/%m/%d/%H}/").items():
                captures[key] = Landing(_written(key, BEGIN + hour * HOUR), key, body)
        return Recording(hours, tuple(asked), tuple(captures.values()), _read(s3, "baseline/"))


def _requests(hour: int) -> list[Request]:
    return list(requests_of_week(TRAINING_WEEKS + hour, BEGIN + hour * HOUR, HOUR, "r", SIZES))


def _asked(request: Request) -> LabelledRequest:
    return LabelledRequest(
        request.inference_id, request.time, tuple(int(label) for label in load().labels[request.rows])
    )


def _written(key: str, hour: datetime) -> datetime:
    """When a capture file was written: its name begins with the minute and the second of its hour."""
    minute, second = key.rpartition("/")[2].split("-")[:2]
    return hour + timedelta(minutes=int(minute), seconds=int(second))


def _read(s3: Any, prefix: str) -> dict[str, bytes]:
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return {item["Key"]: s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read() for item in listed}
