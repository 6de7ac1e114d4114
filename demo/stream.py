"""The electricity stream (Elec2): 45,312 half-hourly rows; one week of data is one window of the demo.

Reads the file and turns rows into requests. Source and citation: examples/electricity/SOURCE.md.
"""

from __future__ import annotations

import functools
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
FEATURES = ("period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")

WEEK = 336
TRAINING_WEEKS = 26

# Rows per request within a window: most callers send batches, some single rows. 6 * 48 + 40 + 8 = 336.
REQUEST_ROWS = (48, 1, 48, 1, 1, 48, 1, 40, 1, 48, 1, 1, 48, 1, 48)

QUIET = timedelta(minutes=8)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stream:
    """`lines`: the features of each row as CSV text, as published; `features` (n, 6); `labels` (n,) 0 or 1.

    Compared by identity.
    """

    lines: list[str]
    features: Floats
    labels: Floats

    def week(self, number: int) -> slice:
        """The rows of a week, counted from 0."""
        return slice(number * WEEK, (number + 1) * WEEK)

    @property
    def weeks(self) -> int:
        return len(self.lines) // WEEK


@dataclass(frozen=True)
class Request:
    """One invocation: its id, its time, the rows it holds."""

    inference_id: str
    time: datetime
    rows: slice


@functools.cache
def load(path: Path = ROOT / "examples/electricity/elec.csv.gz") -> Stream:
    """Read the data set, once per process."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        header, *body = file.read().splitlines()
    if header != ",".join((*FEATURES, "class")):
        raise ValueError(f"{path.name}: expected the columns {', '.join(FEATURES)}, class")
    parts = [line.rpartition(",") for line in body]
    lines = [features for features, _, _ in parts]
    labels = np.array([float(label) for _, _, label in parts])
    features = np.array([[float(value) for value in line.split(",")] for line in lines])
    return Stream(lines, features, labels)


def requests_of_week(
    week: int, start: datetime, length: timedelta, prefix: str, sizes: Sequence[int] = REQUEST_ROWS
) -> Iterator[Request]:
    """The requests of one week, spread evenly over the window that begins at `start`, rows in order.

    `sizes`: the rows of each, a week in all. None in the first minutes: the replay closes the hour before in them.
    """
    first = week * WEEK
    for number, rows in enumerate(sizes):
        # Whole seconds, as captures have them.
        seconds = int((length - QUIET).total_seconds() * (number + 0.5) / len(sizes))
        time = start + QUIET + timedelta(seconds=seconds)
        yield Request(f"{prefix}-{week:03d}-{number:02d}", time, slice(first, first + rows))
        first += rows
