"""How long labels take: a mergeable histogram of label ages, and the maturity curve that past windows teach.

The age of a request's first label is counted from the request, and from the end of its window; the curve is learned
from the second, because hourly windows whose labels come in one daily batch have only that in common. Windows that
still wait are used as far as they were observed (a window three days old says nothing about the fourth day): the curve
is the product-limit estimator of right-censored ages (Kaplan and Meier, 1958) over fixed steps, and a request that
never gets a label is censored. Counts are exact: any order and split gives the same bytes. Not here: clocks (ages and
observed times are arguments) and texts (`evidence.label_maturity`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.states.serialization import MOST_ROWS, pack, unpack

VERSION = 1

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

# Where the steps end, in seconds. Later labels are in a last step without an end.
EDGES: tuple[int, ...] = (
    *(minutes * _MINUTE for minutes in (0, 1, 5, 10, 15, 30, 45)),
    *(hours * _HOUR for hours in range(1, 25)),
    *(hours * _HOUR for hours in range(30, 73, 6)),
    *(days * _DAY for days in range(4, 15)),
    *(days * _DAY for days in (17, 19, 21, 24, 28, 31, 35, 40, 45, 50, 55, 60, 75, 90, 120, 150, 180, 240, 300, 365)),
    *(days * _DAY for days in (450, 540, 730, 1095, 1460, 1825, 2555, 3660)),
)

_edges = np.array(EDGES, dtype=np.float64)


class LabelAges(msgspec.Struct, frozen=True, array_like=True):
    """Requests and the ages of their first labels; `LabelAges()` is the identity of `+`.

    `counts`: (step, requests) of the steps that have any, in order; step i has the ages above EDGES[i - 1] up to
    EDGES[i], the first all up to nothing (before the window's end; before the request, by another clock).
    """

    requests: int = 0
    counts: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if any(one >= other for (one, _), (other, _) in pairwise(self.counts)):
            raise ValueError("each step once, in order")
        if any(not 0 <= step <= len(EDGES) or not 1 <= count <= MOST_ROWS for step, count in self.counts):
            raise ValueError(f"counts from 1 to {MOST_ROWS} of steps from 0 to {len(EDGES)}")
        if not self.labelled <= self.requests <= MOST_ROWS:
            raise ValueError("at most one first label for each request")

    def __add__(self, other: LabelAges) -> LabelAges:
        counts = dict(self.counts)
        for step, count in other.counts:
            counts[step] = counts.get(step, 0) + count
        return LabelAges(self.requests + other.requests, tuple(sorted(counts.items())))

    @property
    def labelled(self) -> int:
        """How many requests have a label."""
        return sum(count for _, count in self.counts)

    @property
    def coverage(self) -> float:
        """Their share, 0 where there are no requests."""
        return self.labelled / self.requests if self.requests else 0.0

    def to_bytes(self) -> bytes:
        return pack("label_ages", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> LabelAges:
        """Raises UnreadableError."""
        return unpack(body, "label_ages", VERSION, cls)


def label_ages(requests: int, ages: npt.NDArray[np.float64]) -> LabelAges:
    """The histogram of `ages` (seconds, shape (k,)), one for each of the `requests` that has a label."""
    steps, counts = np.unique(np.searchsorted(_edges, ages, side="left"), return_counts=True)
    return LabelAges(requests, tuple(zip(steps.tolist(), counts.tolist(), strict=True)))


class Observed(msgspec.Struct, frozen=True):
    """A past window: its ages since its end, and for how many seconds after that its labels could have come."""

    ages: LabelAges
    seconds: float


class Curve(msgspec.Struct, frozen=True):
    """The share of requests that have a label by the end of each step that could be seen.

    `shares[i]` belongs to EDGES[i]; `windows` and `requests` say what it was learned from.
    """

    shares: tuple[float, ...] = ()
    windows: int = 0
    requests: int = 0

    def at(self, seconds: float) -> float:
        """The share by an age, even within a step; beyond what could be seen, the last share."""
        if not self.shares or seconds < 0:
            return 0.0
        return float(np.interp(seconds, EDGES[: len(self.shares)], self.shares))


# A step with fewer requests at risk is not used: one late label would be a tenth of them.
LEAST_AT_RISK = 10


def maturity(past: Iterable[Observed], horizon: float) -> Curve:
    """The curve learned from past windows, up to `horizon` seconds, as far as any was observed.

    In each step, of the requests without a label and in windows old enough to have seen all of it, the share that got
    one. Beyond the last step that `LEAST_AT_RISK` requests could be seen in, nothing is said.
    """
    windows = [each for each in past if each.ages.requests]
    steps = int(np.searchsorted(_edges, horizon, side="left")) + 1
    came = np.zeros((len(windows), len(EDGES) + 1), dtype=np.float64)
    for row, each in enumerate(windows):
        for step, count in each.ages.counts:
            came[row, step] = count
    requests = np.array([each.ages.requests for each in windows], dtype=np.float64)
    waiting = requests[:, None] - np.cumsum(came, axis=1) + came
    seen = np.array([each.seconds for each in windows], dtype=np.float64)[:, None] >= _edges[None, :]
    # Counts of requests in float64: exact, and so the same in any order.
    exposed, at_risk, had = (
        np.where(seen, each, 0.0).sum(axis=0).tolist() for each in (requests[:, None], waiting[:, :-1], came[:, :-1])
    )
    shares, left = [], 1.0
    for step in range(min(steps, len(EDGES))):
        if exposed[step] < LEAST_AT_RISK:
            break
        if at_risk[step]:
            left *= 1.0 - had[step] / at_risk[step]
        shares.append(1.0 - left)
    return Curve(tuple(shares), len(windows), int(requests.sum()))


class Outlook(msgspec.Struct, frozen=True):
    """The state of a window's labels, and the expected one.

    `settled_share` is the coverage as a share of the one expected in the end; `settled_in`: in how many seconds
    `SETTLED` of that are expected, None where the curve does not reach so far.
    """

    coverage: float
    expected_coverage: float
    settled_share: float
    settled_in: int | None


# A window counts as having all of its labels when this share of the expected ones is there.
SETTLED = 0.99


def outlook(ages: LabelAges, curve: Curve, since: float) -> Outlook:
    """The outlook of a window that ended `since` seconds ago; `ages` are counted from its end.

    Waiting requests are expected to get labels as earlier ones did that waited as long. Without a curve, the present
    coverage is the expected one.
    """
    here, final = curve.at(since), curve.shares[-1] if curve.shares else 0.0
    waiting = (1.0 - ages.coverage) / (1.0 - here) if here < 1.0 else 0.0

    def after(seconds: float) -> float:
        """The coverage that is expected so many seconds from now."""
        return ages.coverage + waiting * (curve.at(since + seconds) - here)

    expected = min(1.0, max(ages.coverage, ages.coverage + waiting * (final - here)))
    if not expected:
        return Outlook(0.0, 0.0, 1.0, None)
    enough = SETTLED * expected
    settled_in = next((seconds for seconds in EDGES if after(seconds) >= enough), None)
    return Outlook(ages.coverage, expected, min(1.0, ages.coverage / expected), settled_in)


def quantile(ages: LabelAges, part: float) -> int | None:
    """The end of the step (seconds) by which this part of the labels that came had come; None: beyond the last."""
    wanted, reached = math.ceil(part * ages.labelled), 0
    for step, count in ages.counts:
        reached += count
        if reached >= wanted:
            return EDGES[step] if step < len(EDGES) else None
    return None
