"""`make bench-window`: what a window costs in the deployed function, in processor seconds and memory.

`python -m bench.window_memory [--records 20000 100000 300000]` lays captures of 20 features and their labels into an
object store in memory and has `window_due`'s first two thirds work on them, each case in a process of its own. The
hostile window is 45 requests of 99,000 rows of one digit. Memory is what the process had at its peak above what it had
before (the store is full then). Then the last fifth of the labels comes late: from gathering to stored reports, and no
capture is read. Exit status 1 when that takes more than 2 microseconds a row, or a window more memory than the function
has.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import traffic
from bench.usage import cpu_seconds, peak_megabytes
from chalicelib.definition import Definition, parse_definition
from chalicelib.evaluation.evaluate import evaluate
from chalicelib.facts import evaluations, labels
from chalicelib.ports import StoredObject
from chalicelib.records.window import Window
from chalicelib.topology import SOURCES
from chalicelib.wiring import Services
from chalicelib.workflows.window_inputs import gather
from chalicelib.workflows.window_reports import store
from emulator.memory import SETTINGS, MemoryObjectStore, memory_services

FOLDER = Path("build/bench")
# Processor microseconds a row for late labels of a window that was measured before.
LATE_MUST = 2.0
START = datetime(2026, 1, 5, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = START + 2 * HOUR
REQUESTS, ROWS = 45, 99_000
# Lines of one object: SageMaker writes captures, and callers post labels, in files of some megabytes.
CAPTURES, LABELS = 10_000, 20_000
DATA, ENDPOINT = "data", "bench"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 when every bound is kept, 1 when one is not."""
    parser = argparse.ArgumentParser(prog="python -m bench.window_memory", description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[20_000, 100_000, 300_000])
    parser.add_argument("--case", nargs=2, metavar=("NAME", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        print(json.dumps(CASES[options.case[0]](int(options.case[1]))))
        return 0
    for records in options.records:
        _written(records)
    limit = next(source.memory for source in SOURCES if source.function == "window_due")
    kept = True
    print(
        f"{'window':>24} {'inputs MB':>10} {'CPU s':>7} {'us a row':>9} {'peak MB':>8} {'bytes a row':>12} "
        f"{'late s':>7}"
    )
    for name, count in [*(("evaluate", each) for each in options.records), ("hostile", REQUESTS)]:
        found = run(name, count)
        late = run("late", count)["cpu"] if name == "evaluate" else None
        rows = found["rows"]
        print(
            f"{f'{rows:,} rows':>24} {found['inputs']:10.1f} {found['cpu']:7.1f} {1e6 * found['cpu'] / rows:9.1f} "
            f"{found['peak']:8.0f} {1e6 * found['above'] / rows:12.0f} {'' if late is None else f'{late:.2f}':>7}",
            flush=True,
        )
        kept = kept and found["peak"] < limit and (late is None or 1e6 * late / rows <= LATE_MUST)
    told = "kept" if kept else "NOT KEPT"
    print(f"bounds: {LATE_MUST:.0f} us a row for late labels, {limit} MB at the peak: {told}")
    return int(not kept)


def run(case: str, count: int) -> dict[str, Any]:
    """One case in a process of its own: `count` records, or requests of the hostile window."""
    command = [sys.executable, "-m", "bench.window_memory", "--case", case, str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _written(records: int) -> Path:
    folder = FOLDER / f"window-{records}"
    if not (folder / "done").exists():
        traffic.write(folder, records)
        (folder / "done").touch()
    return folder


def definition(features: tuple[str, ...]) -> Definition:
    """A monitor of a classifier whose captures are these."""
    return parse_definition(
        {
            "name": ENDPOINT,
            "endpoint": ENDPOINT,
            "capture_s3_uri": f"s3://{DATA}/captures",
            "ground_truth_s3_uri": f"s3://{DATA}/ground-truth",
            "output_s3_uri": f"s3://{DATA}/reports",
            "attributes": {"features": list(features), "probability_attribute": "0"},
        }
    )


class Inbox(MemoryObjectStore):
    """A store that keeps the inputs alone: what the function writes is not its memory any more."""

    def put_if_absent(self, bucket: str, key: str, body: bytes, **named: Any) -> bool:
        return bucket == SETTINGS.bucket or super().put_if_absent(bucket, key, body, **named)


# A store with a window's objects, its monitor, and how many bytes they have.
Furnished = tuple[Services, Definition, int]


def _services() -> Services:
    return dataclasses.replace(memory_services(lambda: NOW), objects=Inbox(lambda: NOW))


def furnished(records: int) -> Furnished:
    """A window of plain captures and their labels."""
    services, monitor, folder, size = _services(), definition(traffic.features(20)), _written(records), 0
    for kind, lines in (("captures", CAPTURES), ("labels", LABELS)):
        with (folder / f"{kind}.jsonl").open("rb") as file:
            number = 0
            while body := b"".join(line for _, line in zip(range(lines), file, strict=False)):
                _put(services, kind, number, body)
                number, size = number + 1, size + len(body)
    return services, monitor, size


def hostile(requests: int) -> Furnished:
    """Requests, each in a file of its own, with nearly as many rows of one digit as a request may have."""
    services, size = _services(), 0
    rows = "1\\n" * ROWS
    line = (
        '{{"captureData":{{"endpointInput":{{"observedContentType":"text/csv","mode":"INPUT","data":"{rows}","encoding":'
        '"CSV"}},"endpointOutput":{{"observedContentType":"text/csv","mode":"OUTPUT","data":"{rows}","encoding":"CSV"}}}},'
        '"eventMetadata":{{"eventId":"event-{number:02}","inferenceTime":"2026-01-05T10:00:{number:02}Z"}},'
        '"eventVersion":"0"}}\n'
    )
    for number in range(requests):
        body = line.format(rows=rows, number=number).encode()
        _put(services, "captures", number, body)
        size += len(body)
    return services, definition(("x",)), size


def _put(services: Services, kind: str, number: int, body: bytes) -> None:
    if kind == "captures":
        key = f"captures/{ENDPOINT}/AllTraffic/{START:%Y/%m/%d/%H}/{number:04}.jsonl"
        services.objects.put(DATA, key, body)
        return
    key = f"ground-truth/{START:%Y/%m/%d/%H}/{number:04}.jsonl"
    services.objects.put(DATA, key, body)
    [there] = services.objects.list(DATA, key)
    source = labels.Source(DATA, key, there.etag, f"{START:%Y-%m-%dT%H:%M:%SZ}")
    labels.add_source(services.ledger, ENDPOINT, Window(START, HOUR).name, source, NOW + 30 * 24 * HOUR)


def evaluated(window: Furnished) -> dict[str, Any]:
    """Gather and evaluate once."""
    services, monitor, size = window
    gc.collect()
    before, start = peak_megabytes(), cpu_seconds()
    gathered = gather(services, monitor, Window(START, HOUR), None)
    findings = evaluate(gathered.task)
    done = cpu_seconds()
    return {
        "cpu": done - start,
        "peak": peak_megabytes(),
        "above": peak_megabytes() - before,
        "inputs": size / 1e6,
        "rows": findings.rows,
        "labelled": findings.labelled,
        "digest": findings.digest,
    }


class Counting(MemoryObjectStore):
    """A store that counts the captures that are read."""

    captures = 0

    def get(self, bucket: str, key: str) -> StoredObject:
        self.captures += bucket == DATA and key.startswith("captures/")
        return super().get(bucket, key)


def late(records: int) -> dict[str, Any]:
    """Labels that come after a window was evaluated with the others: from gathering to stored reports."""
    objects = Counting(lambda: NOW)
    services, monitor, folder = memory_services(lambda: NOW), definition(traffic.features(20)), _written(records)
    services = dataclasses.replace(services, objects=objects)
    for number, lines in enumerate(_pieces(folder / "captures.jsonl", CAPTURES)):
        _put(services, "captures", number, lines)
    *first, last = _pieces(folder / "labels.jsonl", max(records // 5, 1))
    for number, lines in enumerate(first):
        _put(services, "labels", number, lines)
    _restate(services, monitor)
    _put(services, "labels", len(first), last)
    gc.collect()
    objects.captures, start = 0, cpu_seconds()
    rows, labelled = _restate(services, monitor)
    done = cpu_seconds() - start
    assert objects.captures == 0, "late labels read no capture"
    return {"cpu": done, "rows": rows, "labelled": labelled, "read": objects.captures}


def _pieces(path: Path, lines: int) -> list[bytes]:
    with path.open("rb") as file:
        return list(iter(lambda: b"".join(line for _, line in zip(range(lines), file, strict=False)), b""))


def _restate(services: Services, monitor: Definition) -> tuple[int, int]:
    window = Window(START, HOUR)
    previous = evaluations.load_evaluation(services.ledger, monitor.name, window.name)
    gathered = gather(services, monitor, window, previous.value if previous else None)
    findings = evaluate(gathered.task)
    store(services, monitor, window, findings, gathered, previous)
    return findings.rows, findings.labelled


CASES = {
    "evaluate": lambda records: evaluated(furnished(records)),
    "hostile": lambda requests: evaluated(hostile(requests)),
    "late": late,
}

if __name__ == "__main__":
    sys.exit(main())
