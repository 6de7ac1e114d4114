"""A baseline as states: what windows are compared with by evidence, and how one window is compared alone.

The measurement that `plumbline baseline` and the gate store is exact and has scores. Of a baseline by Model Monitor
only its files are left: columns as their sketches say, and right and wrong answers; no scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from chalicelib.evaluation.measurement import Measurement
from chalicelib.evidence.alarms import CountedWindow, evidence_of
from chalicelib.evidence.assessment import NOTHING_READ, UNKNOWN, Assessment, assess
from chalicelib.evidence.cause import Cause, cause_of
from chalicelib.evidence.questions import questions_of
from chalicelib.monitors.published import profile_of_statistics, selection_of_statistics
from chalicelib.states.profile import Profile
from chalicelib.states.question_counts import QuestionCounts, QuestionSet, question_counts
from chalicelib.states.selection import Selection

# Where the measurement of a baseline is, below its folder.
MEASUREMENT = "measurement.msgpack"


class BaselineStates(msgspec.Struct, frozen=True, kw_only=True):
    """`name` identifies the content; `scored`: whether the selection has scores, so that a change can be explained."""

    name: str
    profile: Profile
    selection: Selection
    scored: bool
    questions: QuestionSet
    counts: QuestionCounts


def states_of_measurement(body: bytes) -> BaselineStates:
    """Of a stored measurement. Raises UnreadableError."""
    measured = Measurement.from_bytes(body)
    return _states(hashlib.sha256(body).hexdigest()[:16], measured.profile, measured.selection, True)


def states_of_files(
    statistics: Mapping[str, Any] | None, model_statistics: Mapping[str, Any] | None
) -> BaselineStates | None:
    """Of SageMaker's files; None where neither says anything that can be compared."""
    profile = profile_of_statistics(statistics) if statistics else Profile()
    selection = selection_of_statistics(model_statistics) if model_statistics else Selection()
    if not profile.rows and not selection.packed_cells:
        return None
    body = msgspec.json.encode([statistics, model_statistics], order="sorted")
    return _states(hashlib.sha256(body).hexdigest()[:16], profile, selection, False)


def asked_by(baseline: BaselineStates, monitor_types: Collection[str]) -> BaselineStates:
    """What a monitor of these types asks: columns for data quality, the loss for model quality. What is not asked of a
    window is not read from it either, and would look as if it were missing."""
    profile = baseline.profile if "DataQuality" in monitor_types else Profile()
    selection = baseline.selection if "ModelQuality" in monitor_types else Selection()
    return _states(baseline.name, profile, selection, baseline.scored)


def counts_of(baseline: BaselineStates, measured: Measurement) -> QuestionCounts:
    """A window's answers to the questions of the baseline."""
    return question_counts(baseline.questions, measured.profile, measured.selection)


def why(baseline: BaselineStates, measured: Measurement) -> Cause | None:
    """Why a window's error differs from the baseline's; None where that cannot be said."""
    if not baseline.scored or baseline.selection.problem_type != measured.selection.problem_type:
        return None
    return cause_of(baseline.selection, measured.selection)


def assess_alone(baseline: BaselineStates | None, measured: Measurement) -> Assessment:
    """One look at one measurement: its budget of false alarms is for this look alone."""
    if baseline is None or not measured.rows:
        return UNKNOWN
    if not measured.whole and not measured.labelled:
        return NOTHING_READ
    counts = counts_of(baseline, measured)
    one = CountedWindow(name="", place=0, counts=counts, settled=bool(counts.labelled))
    evidence = evidence_of(baseline.questions, baseline.counts, [one], "", 1.0)
    return assess(evidence, True, why(baseline, measured), bool(counts.labelled))


def _states(name: str, profile: Profile, selection: Selection, scored: bool) -> BaselineStates:
    questions = questions_of(name, profile, selection)
    return BaselineStates(
        name=name,
        profile=profile,
        selection=selection,
        scored=scored,
        questions=questions,
        counts=question_counts(questions, profile, selection),
    )
