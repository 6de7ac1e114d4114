"""The evidence about an evaluated window: counted, added up with its neighbours, assessed. Not an event source:
window_due's second half.

A window is compared with the baseline of whoever served when it began. Its counts are kept in the table, a few hundred
bytes a window; what is read is bounded: the 64 windows before it, its successor, and the first 28 windows that were
compared with this baseline (or two seasons), which say how much windows fluctuate. They are always the same ones, so
a change that comes later is not taken for fluctuation; one that came among them makes neighbours alike, which the check
of their order notices. Not here: questions and tests (`evidence`), what is done about it (`decisions`).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import NotFoundError
from chalicelib.evaluation.baseline_states import (
    MEASUREMENT,
    BaselineStates,
    asked_by,
    counts_of,
    states_of_files,
    states_of_measurement,
    why,
)
from chalicelib.evaluation.evaluate import Findings
from chalicelib.evidence.alarms import MOST_WINDOWS, CountedWindow, evidence_of
from chalicelib.evidence.assessment import NO_RECORDS, UNKNOWN, Assessment, assess
from chalicelib.evidence.windows import LEAST_WINDOWS
from chalicelib.facts import counted_windows
from chalicelib.facts.counted_windows import Assessed, Counted
from chalicelib.facts.evaluations import Evaluation
from chalicelib.records.window import Window
from chalicelib.states.question_counts import QuestionCounts
from chalicelib.wiring import Services
from chalicelib.workflows.retrain_request import ordinal
from chalicelib.workflows.window_inputs import Gathered

# Of the labels that are expected; then the loss may be asked.
LABELS_SETTLED = 0.99


def weigh_evidence(
    services: Services,
    definition: Definition,
    window: Window,
    evaluation: Evaluation,
    findings: Findings,
    gathered: Gathered,
) -> Assessment:
    """Count the window, keep the counts, and say what the evidence comes to. The same facts, the same answer."""
    if not findings.rows:
        return NO_RECORDS
    known_states = _states(services, definition, window, gathered)
    if known_states is None:
        return UNKNOWN
    states = asked_by(known_states, definition.monitor_types)
    length, monitor = definition.window_length, definition.name
    asked = f"{states.name}-{definition.window_hours}"
    since = Window.of(window.start - (MOST_WINDOWS - 1) * length, length)
    after = Window.of(window.start + 2 * length, length)
    known = counted_windows.counted_between(services.ledger, monitor, asked, since.name, after.name)
    own = _counted(services, definition, window, evaluation, findings, states, known)
    counted_windows.save_counted(services.ledger, monitor, asked, own)
    shown = [*(each for each in known if each.window != window.name), own]
    promise = definition.promise
    season = promise.windows_of_season(length)
    first = counted_windows.first_counted(services.ledger, monitor, asked, max(LEAST_WINDOWS, 2 * season))
    reference = [each for each in first if not each.broken and each.window != window.name]
    found = evidence_of(
        states.questions,
        states.counts,
        [_window(each) for each in shown],
        window.name,
        promise.looks(length),
        ever=promise.ever,
        reference=[_window(each) for each in reference],
        season=season,
    )
    cause = why(states, findings.measurement) if found.loss else None
    assessed = assess(found, False, cause, own.settled and bool(states.counts.labelled))
    counted_windows.save_assessed(services.ledger, monitor, Assessed(window=window.name, found=assessed))
    return assessed


def _states(services: Services, definition: Definition, window: Window, gathered: Gathered) -> BaselineStates | None:
    """The baseline of the champion that reigned when the window began: its measurement, else Model Monitor's files."""
    folder = gathered.champion.reign_at(window.name).baseline if gathered.champion else ""
    uri = f"{folder}/{MEASUREMENT}" if folder else definition.baseline.measurement
    if uri:
        try:
            return states_of_measurement(services.objects.get(*split_s3_uri(uri)).body)
        except NotFoundError:
            if not folder:
                raise
    return states_of_files(gathered.task.baselines.data_quality_statistics, None)


def _counted(
    services: Services,
    definition: Definition,
    window: Window,
    evaluation: Evaluation,
    findings: Findings,
    states: BaselineStates,
    known: Sequence[Counted],
) -> Counted:
    sealed = services.now() >= window.end + definition.horizon
    expected = 1.0 if sealed else _expected_coverage(known)
    wanted = expected * findings.answered
    labelled = findings.labelled
    return Counted(
        window=window.name,
        place=ordinal(window),
        counts=counts_of(states, findings.measurement).to_bytes(),
        settled=evaluation.settled and (sealed or labelled >= LABELS_SETTLED * wanted),
        awaited=0 if sealed else max(0, round(wanted) - labelled),
        answered=findings.answered,
        labelled=labelled,
        sealed=sealed,
        broken=bool(evaluation.broken),
    )


def _expected_coverage(known: Sequence[Counted]) -> float:
    """The share of rows that get a label in the end: the median of sealed windows, or all where none is sealed yet."""
    found = [each.labelled / each.answered for each in known if each.sealed and each.answered]
    return statistics.median(found) if found else 1.0


def _window(counted: Counted) -> CountedWindow:
    return CountedWindow(
        name=counted.window,
        place=counted.place,
        counts=QuestionCounts.from_bytes(counted.counts),
        settled=counted.settled,
        awaited=counted.awaited,
    )
