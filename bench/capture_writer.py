"""What capturing costs a prediction, and whether anything is lost: `python -m bench.capture_writer`.

Sends --requests (1,000,000) predictions of 20 features through an ASGI application, in turns bare and behind
`AsgiCapture`, and prints the median of both. The load stays within the writer's bound: blocks wait while more than
half of it waits. Afterwards every request must be in a file, `plumbline evaluate` must read all of them, and a burst of
three times the bound must be written or counted as dropped, each request once. Exit status 1: one of these is not so,
or the median overhead is above 50 us.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.usage import cpu_seconds
from plumbline.capture import AsgiCapture, CaptureWriter
from plumbline.cli.main import main as plumbline

BOUND_MICROSECONDS = 50.0
FEATURES = 20
# Requests of a kind in a row; few enough that a slower machine slows both alike.
BLOCK = 1_000
WEIGHTS = [0.1 * (number % 5 - 2) for number in range(FEATURES)]
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/invocations",
    "headers": [(b"host", b"model:8080"), (b"content-type", b"text/csv"), (b"content-length", b"139")],
}


async def model(scope: Any, receive: Any, send: Any) -> None:
    """A linear model: as cheap as a prediction can be, so that the overhead is not hidden in it."""
    body = (await receive())["body"]
    score = sum(weight * float(value) for weight, value in zip(WEIGHTS, body.split(b","), strict=True))
    answer = b"%.4f" % (1 / (1 + 2.718281828459045**-score))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/csv")]})
    await send({"type": "http.response.body", "body": answer})


async def send_nowhere(message: Any) -> None:
    pass


async def timed(app: Any, bodies: list[bytes]) -> list[int]:
    """Nanoseconds of each request."""
    taken = []
    for body in bodies:

        async def receive(body: bytes = body) -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        start = time.perf_counter_ns()
        await app(dict(SCOPE), receive, send_nowhere)
        taken.append(time.perf_counter_ns() - start)
    return taken


async def drive(captured: Any, writer: CaptureWriter, bodies: list[bytes], requests: int, bound: int) -> Any:
    """Nanoseconds of bare and of captured requests, shape (requests,) each."""
    bare, behind = [], []
    for done in range(0, requests, BLOCK):
        some = [bodies[(done + index) % len(bodies)] for index in range(min(BLOCK, requests - done))]
        bare += await timed(model, some)
        while writer.waiting > bound // 2:
            await asyncio.sleep(0.001)
        behind += await timed(captured, some)
    return np.array(bare), np.array(behind)


def rows(count: int) -> list[bytes]:
    values = np.random.default_rng(7).normal(size=(count, FEATURES))
    return [b",".join(b"%.4f" % value for value in row) for row in values]


def ids_in(folder: Path) -> tuple[int, int]:
    """Lines, and distinct event ids, of all files."""
    lines, ids = 0, set()
    for path in folder.rglob("*.jsonl"):
        for line in path.open("rb"):
            lines += 1
            ids.add(json.loads(line)["eventMetadata"]["eventId"])
    return lines, len(ids)


def evaluated(captures: Path, bodies: list[bytes], folder: Path) -> int:
    """How many requests `plumbline evaluate` finds in the files."""
    table = folder / "table.csv"
    table.write_bytes(b"\n".join([b",".join(b"f%d" % number for number in range(FEATURES)), *bodies]))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        plumbline(["baseline", str(table), "--out", str(folder / "baseline")])
        said.truncate(said.seek(0))
        asked = ("--captures", captures, "--baseline", folder / "baseline", "--out", folder / "report", "--json")
        plumbline(["evaluate", *map(str, asked)])
    return int(json.loads(said.getvalue())["requests"])


def percentiles(values: Any) -> str:
    return ", ".join(f"{share} % {np.percentile(values, share) / 1000:.1f} us" for share in (50, 99, 99.9))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--bound", type=int, default=10_000, help="requests that may wait in the writer's queue")
    options = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        folder, bodies = Path(name), rows(10_000)
        writer = CaptureWriter(folder / "captures", "bench", max_requests=options.bound, flush_seconds=2)
        start, used = time.perf_counter(), cpu_seconds()
        bare, behind = asyncio.run(drive(AsgiCapture(model, writer), writer, bodies, options.requests, options.bound))
        writer.close(60)
        wall, used = time.perf_counter() - start, cpu_seconds() - used
        overhead = (np.median(behind) - np.median(bare)) / 1000
        print(f"bare      {percentiles(bare)}")
        print(f"captured  {percentiles(behind)}")
        print(f"overhead  {overhead:.1f} us at the median (bound {BOUND_MICROSECONDS:.0f})")
        print(f"{2 * options.requests:,} requests, half of them captured, in {wall:.0f} s; {used:.0f} CPU seconds")
        lines, ids = ids_in(folder / "captures")
        print(f"{options.requests:,} captured, {lines:,} lines, {ids:,} ids; {writer.counts}")
        if overhead > BOUND_MICROSECONDS:
            wrong.append(f"the median overhead is {overhead:.1f} us")
        if not lines == ids == writer.counts.written == options.requests:
            wrong.append("requests were lost or written twice")
        found = evaluated(folder / "captures", bodies, folder)
        print(f"plumbline evaluate reads {found:,} requests")
        if found != options.requests:
            wrong.append("plumbline evaluate does not read what was captured")
        burst = CaptureWriter(folder / "burst", "bench", max_requests=options.bound)
        offered = 3 * options.bound
        taken = sum(burst.record(bodies[index % len(bodies)], b"0.5") for index in range(offered))
        burst.close(60)
        lines, _ = ids_in(folder / "burst")
        print(f"burst: {offered:,} offered, {taken:,} taken; {burst.counts}")
        if not (0 < burst.counts.dropped_full == offered - taken and lines == burst.counts.written == taken):
            wrong.append("a request of the burst was neither written nor counted")
    for each in wrong:
        print(f"capture writer: {each}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
