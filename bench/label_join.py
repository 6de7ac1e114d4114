"""What a batch of labels costs: CPU, bytes and objects read, against 1, 30 and 365 days of hourly windows.

`python -m bench.label_join [--rows 10000] [--labels 10000] [--days 1 30 365]` lays the ids of so many windows into an
object store in memory and has the handler look up labels without a time. CPU is this process's own; what S3 would take
beside it is bytes and objects. Four batches: labels of one window, of all windows, of nobody, and ten labels only.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from chalicelib import keys
from chalicelib.definition import parse_definition
from chalicelib.facts import labels
from chalicelib.records.id_filters import build
from chalicelib.records.window import Window
from chalicelib.workflows.label_batches import look_up
from emulator.memory import SETTINGS, memory_services

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONITOR = "bench"


def definition(days: int) -> Any:
    return parse_definition(
        {
            "name": MONITOR,
            "endpoint": "bench",
            "capture_s3_uri": "s3://data/captures",
            "ground_truth_s3_uri": "s3://data/ground-truth",
            "output_s3_uri": "s3://data/reports",
            "attributes": {"features": ["x"], "probability_attribute": "0"},
            "labels": {"horizon": f"P{days + 2}D"},
        }
    )


class Counted:
    """An object store that counts what is read of it."""

    def __init__(self, objects: Any) -> None:
        self._objects, self.gets, self.bytes, self.lists, self.filters = objects, 0, 0, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def get(self, bucket: str, key: str) -> Any:
        found = self._objects.get(bucket, key)
        self.gets, self.bytes = self.gets + 1, self.bytes + len(found.body)
        self.filters += len(found.body) * ("/filters/" in key)
        return found

    def list(self, bucket: str, prefix: str) -> Any:
        found = list(self._objects.list(bucket, prefix))
        self.lists += max(1, -(-len(found) // 1000))
        return iter(found)


def furnished(days: int, rows: int, count: int) -> tuple[Any, int, dict[str, np.ndarray]]:
    """A store with one filter for each day, two hours after the last; the filters' bytes; hashes to look up."""
    now = START + days * DAY + 2 * HOUR
    services = memory_services(lambda: now)
    size, some = 0, []
    for day in range(days):
        draw = np.random.default_rng(day)
        ids = np.sort(draw.integers(0, 2**64, (24, rows), dtype=np.uint64), axis=1)
        span = Window(START + day * DAY, DAY)
        windows = [Window(span.start + hour * HOUR, HOUR).name for hour in range(24)]
        made, check = build(list(zip(windows, ids, strict=True)))
        body = made.to_bytes()
        size += len(body)
        services.objects.put(SETTINGS.bucket, keys.filter_key(MONITOR, span, f"{day}"), body)
        services.objects.put(SETTINGS.bucket, keys.filter_check_key(MONITOR, span.name, f"{day}"), check)
        some.append(draw.choice(ids.reshape(-1), -(-count // days), replace=False))
    draw = np.random.default_rng(days)
    return (
        services,
        size,
        {
            "one window": draw.choice(ids[-1], min(count, rows), replace=False),
            "all windows": np.concatenate(some)[:count],
            "nobody": draw.integers(0, 2**64, count, dtype=np.uint64),
        },
    )


def batch(services: Any, hashes: np.ndarray) -> None:
    """Posts of ten labels each that wait to be looked up."""
    for number, start in enumerate(range(0, len(hashes), 10)):
        ten = np.sort(hashes[start : start + 10])
        source = labels.Source("data", f"ground-truth/{number}", "e", "2026-01-01T00:00:00Z")
        waits = labels.Awaiting(source, services.now(), ten.astype("<u8").tobytes(), (0,) * len(ten))
        labels.add_awaiting(services.ledger, MONITOR, waits, services.now() + DAY)


def measured(days: int, rows: int, count: int) -> list[dict[str, Any]]:
    """One line for each batch."""
    services, size, batches = furnished(days, rows, count)
    batches["one window, ten labels"] = batches["one window"][:10]
    lines = []
    for name, hashes in batches.items():
        batch(services, hashes)
        counted = Counted(services.objects)
        watched = dataclasses.replace(services, objects=counted)
        begin = time.process_time()
        look_up(watched, definition(days))
        lines.append(
            {
                "days": days,
                "labels of": name,
                "cpu_s": round(time.process_time() - begin, 2),
                "objects_read": counted.gets,
                "megabytes_read": round(counted.bytes / 1e6, 1),
                "of_filters": round(counted.filters / 1e6, 1),
                "lists": counted.lists,
                "filter_bytes_a_row": round(size / (24 * days * rows), 3),
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--labels", type=int, default=10_000)
    parser.add_argument("--days", type=int, nargs="+", default=[1, 30, 365])
    options = parser.parse_args()
    for days in options.days:
        for line in measured(days, options.rows, options.labels):
            print(msgspec.json.encode(line).decode(), flush=True)


if __name__ == "__main__":
    main()
