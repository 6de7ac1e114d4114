"""A window, part by part: what its rows measure, who answered them and how well, its merged records, its row sample.

Parts come in the order of (inference time, event id), each is laid out as a table, counted and dropped. Everything kept
of it adds up, so where the parts end changes nothing but what `evaluation.measurement` says of parts. Refuses to know
files, thresholds and texts (`evaluation`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.evaluation.measurement import Measurement, Subject, measure, with_found_features
from chalicelib.records.attributes import ProblemType
from chalicelib.records.capture import CapturedRequest
from chalicelib.records.ground_truth import Resolved
from chalicelib.records.merge import MergedFiles, merge
from chalicelib.records.preprocess import Preprocessor
from chalicelib.records.sample import GREATEST_LOSS, SampleFold, rows_by_event
from chalicelib.records.table import Table, to_table
from chalicelib.records.window import Window
from chalicelib.states.maturity import LabelAges, ages_of
from chalicelib.states.moments import Moments, moments_of

Flags = npt.NDArray[np.bool_]


class Span(msgspec.Struct, frozen=True):
    """A stretch of the deployment timeline: `config_name` answered from `since` on, after a transition from `began`.

    `since` None: the transition still lasts. `sampling_percentage`: how many of a hundred requests were captured.
    """

    config_name: str
    began: datetime
    since: datetime | None
    sampling_percentage: int | None = None


class Served(msgspec.Struct, frozen=True):
    """Rows with an answer; of these, rows with a label, wrong answers among them, and a regression's absolute errors.

    `Served()` is the identity of `+`.
    """

    rows: int = 0
    labelled: int = 0
    wrong: int = 0
    errors: Moments = Moments()

    def __add__(self, other: Served) -> Served:
        return Served(
            self.rows + other.rows,
            self.labelled + other.labelled,
            self.wrong + other.wrong,
            self.errors + other.errors,
        )

    def loss(self, problem_type: ProblemType) -> float | None:
        """As `records.sample.loss_of` has it, rounded once; None without a labelled row."""
        if not self.labelled:
            return None
        return min(self.errors.mean, GREATEST_LOSS) if problem_type == "Regression" else self.wrong / self.labelled


class Segment(msgspec.Struct, frozen=True):
    """A stretch of the window that one configuration answered, from `began` to before `ended` (seconds since 1970)."""

    config_name: str
    began: float
    ended: float
    sampling_percentage: int | None
    served: Served = Served()


class WindowFold:
    """Adds up the parts of a window; `deployments` may begin before it."""

    def __init__(
        self,
        subject: Subject,
        window: Window,
        deployments: Sequence[Span],
        sample_rows: int,
        preprocess: Preprocessor | None = None,
    ) -> None:
        self.measured = Measurement()
        # Rows of a transition belong to nobody.
        self.served = Served()
        self.segments = _segments(window, deployments)
        self.merged = MergedFiles()
        self.sample = SampleFold(sample_rows)
        # From each request, and from the window's end.
        self.ages = self.delays = LabelAges()
        self._subject, self._window, self._deployments, self._preprocess = subject, window, deployments, preprocess

    def add(self, requests: Sequence[CapturedRequest], labels: Resolved) -> None:
        """Count the next requests and the labels that these have."""
        table = to_table(requests, labels.by_id, self._subject.attributes, self._preprocess)
        self.measured += measure(table, self._subject)
        self._subject = with_found_features(self._subject, table)
        self._count_served(table)
        merged = merge(requests, labels.by_id).requests
        self.merged.add(merged)
        steady = [one for one in merged if not _in_transition(one.request.inference_time, self._deployments)]
        self.sample.add(steady, rows_by_event(table))
        self.ages += ages_of(requests, labels)
        self.delays += ages_of(requests, labels, self._window.end)

    def _count_served(self, table: Table) -> None:
        steady = table.whole & ~np.isnan(table.predictions) & ~_transition_rows(table, self._deployments)
        self.served += _served(table, steady)
        self.segments = [
            msgspec.structs.replace(segment, served=segment.served + _served(table, steady & _rows_of(segment, table)))
            for segment in self.segments
        ]


def _served(table: Table, rows: Flags) -> Served:
    known = rows & ~np.isnan(table.labels)
    predictions, labels = table.predictions[known], table.labels[known]
    counts = int(rows.sum()), int(known.sum())
    if table.problem_type != "Regression":
        return Served(*counts, int((predictions != labels).sum()))
    with np.errstate(over="ignore"):
        errors = np.abs(predictions - labels)
    return Served(*counts, errors=moments_of(np.minimum(errors, sys.float_info.max)))


def _segments(window: Window, deployments: Sequence[Span]) -> list[Segment]:
    """Oldest first; what answered before the first span that is known has no name."""
    ended = [span for span in deployments if span.since is not None and span.since < window.end]
    edges: list[tuple[str, datetime, int | None]] = [("not known", window.start, None)]
    for span in sorted(ended, key=lambda span: span.began):
        assert span.since is not None
        edges.append((span.config_name, max(span.since, window.start), span.sampling_percentage))
    ends = [began for _, began, _ in edges[1:]] + [window.end]
    return [
        Segment(name, began.timestamp(), end.timestamp(), sampling)
        for (name, began, sampling), end in zip(edges, ends, strict=True)
    ]


def _rows_of(segment: Segment, table: Table) -> Flags:
    return np.asarray((table.times >= segment.began) & (table.times < segment.ended), dtype=np.bool_)


def segments_findings(segments: Sequence[Segment], problem_type: ProblemType) -> list[dict[str, Any]]:
    """Segments with rows, as evaluation.json has them."""
    return [
        {
            "config_name": segment.config_name,
            "from": datetime.fromtimestamp(segment.began, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "rows": segment.served.rows,
            "labelled": segment.served.labelled,
            "loss": segment.served.loss(problem_type),
            "sampling_percentage": segment.sampling_percentage,
        }
        for segment in segments
        if segment.served.rows
    ]


def _in_transition(moment: datetime, deployments: Sequence[Span]) -> bool:
    return any(span.began <= moment and (span.since is None or moment < span.since) for span in deployments)


def _transition_rows(table: Table, deployments: Sequence[Span]) -> Flags:
    rows = np.zeros(len(table), dtype=np.bool_)
    for span in deployments:
        until = span.since.timestamp() if span.since else math.inf
        rows |= (table.times >= span.began.timestamp()) & (table.times < until)
    return rows
