"""Who answered a window's rows and how well: what was lost in each stretch of the deployment timeline.

Rows of a transition belong to no configuration. Not here: thresholds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.evaluation.quality import Quality
from chalicelib.records.answers import Answers, microseconds_of
from chalicelib.records.attributes import ProblemType
from chalicelib.records.sample import GREATEST_LOSS
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.states.moments import Moments, moments_of

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class Span(msgspec.Struct, frozen=True):
    """A stretch of the deployment timeline: `config_name` answered from `since` on, after a transition from `began`.

    `since` None: the transition still lasts. `sampling_percentage`: how many of a hundred requests were captured.
    """

    config_name: str
    began: datetime
    since: datetime | None
    sampling_percentage: int | None = None


class Served(msgspec.Struct, frozen=True):
    """Rows with an answer; of these, rows with a label, wrong answers among them, a regression's absolute errors."""

    rows: int = 0
    labelled: int = 0
    wrong: int = 0
    errors: Moments = Moments()

    def loss(self, problem_type: ProblemType) -> float | None:
        """As `records.sample.loss_of` has it, rounded once; None without a labelled row."""
        if not self.labelled:
            return None
        return min(self.errors.mean, GREATEST_LOSS) if problem_type == "Regression" else self.wrong / self.labelled


def served_of(
    answers: Answers, quality: Quality, problem_type: ProblemType, window: Window, deployments: Sequence[Span]
) -> tuple[Served, list[dict[str, Any]]]:
    """What was served outside of transitions, and the same for each configuration that answered rows, oldest first, as
    evaluation.json has them."""
    steady = answers.whole & ~np.isnan(quality.served) & ~in_transition(answers.times, deployments)
    segments = []
    for name, began, ended, sampling in _stretches(window, deployments):
        times = answers.times
        rows = steady & (times >= microseconds_of(began)) & (times < microseconds_of(ended))
        served = _counted(quality, rows, problem_type)
        if served.rows:
            segments.append(
                {
                    "config_name": name,
                    "from": iso(began),
                    "rows": served.rows,
                    "labelled": served.labelled,
                    "loss": served.loss(problem_type),
                    "sampling_percentage": sampling,
                }
            )
    return _counted(quality, steady, problem_type), segments


def in_transition(times: Places, deployments: Sequence[Span]) -> Flags:
    """Which times (microseconds since 1970) are within a transition."""
    rows = np.zeros(len(times), dtype=np.bool_)
    for span in deployments:
        until = microseconds_of(span.since) if span.since else math.inf
        rows |= (times >= microseconds_of(span.began)) & (times < until)
    return rows


def _counted(quality: Quality, rows: Flags, problem_type: ProblemType) -> Served:
    known = rows & ~np.isnan(quality.labels)
    predictions, labels = quality.served[known], quality.labels[known]
    counts = int(rows.sum()), int(known.sum())
    if problem_type != "Regression":
        return Served(*counts, int((predictions != labels).sum()))
    with np.errstate(over="ignore"):
        errors = np.abs(predictions - labels)
    return Served(*counts, errors=moments_of(np.minimum(errors, sys.float_info.max)))


def _stretches(window: Window, deployments: Sequence[Span]) -> list[tuple[str, datetime, datetime, int | None]]:
    """Name, begin, end and sampling of each; what answered before the first span that is known has no name."""
    ended = [span for span in deployments if span.since is not None and span.since < window.end]
    edges: list[tuple[str, datetime, int | None]] = [("not known", window.start, None)]
    for span in sorted(ended, key=lambda span: span.began):
        assert span.since is not None
        edges.append((span.config_name, max(span.since, window.start), span.sampling_percentage))
    ends = [span.began for span in sorted(ended, key=lambda span: span.began)] + [window.end]
    return [(name, began, end, sampling) for (name, began, sampling), end in zip(edges, ends, strict=True)]
