"""The traffic of a window against what is usual, and the incident of it. Not an event source: a part of window_due."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.decisions.traffic import is_suspicious, traffic_finding
from chalicelib.definition import Definition
from chalicelib.facts import deployments, evaluations, incidents
from chalicelib.facts.evaluations import Evaluation
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.incident_alerts import Finding

KIND = "traffic"
# Looked at first, for a window that may be low.
WINDOWS_BEFORE = 24
_DAY = timedelta(days=1)
# Phases of which the days before are compared: an hour with the same hour, a day with the same weekday.
_DAYS, _WEEKS = 14, 8


def watch_traffic(
    services: Services, definition: Definition, window: Window, evaluation: Evaluation, decision_id: str
) -> Finding | None:
    """Open or end the incident by the newest window; what to say of it where it is bad."""
    ledger, name, now = services.ledger, definition.name, services.now()
    if now >= window.end + 2 * definition.window_length:
        return None  # restated later: the windows after it have told
    found = evaluations.last_evaluations(ledger, name, WINDOWS_BEFORE + 1)
    if any(each.window > window.name for each in found):
        return None
    before = [each.rows for each in found if each.window < window.name]
    if is_suspicious(evaluation.rows, before):
        alike, is_sampled_alike = _usual(services, definition, window)
        if low := traffic_finding(evaluation.rows, alike, before, is_sampled_alike):
            incidents.open_incident(ledger, name, KIND, window.name, now, low.severity)
            return Finding(window=window.name, reasons=[low.reason], decision_id=decision_id)
    if evaluation.rows:
        # Also in the window that opened it: captures may have come late.
        incidents.end_if_open(ledger, name, KIND, window.name, now)
    return None


def _usual(services: Services, definition: Definition, window: Window) -> tuple[list[int], bool]:
    """Records of earlier windows of the same phase, and whether data capture took the same share in all of them."""
    length = definition.window_length
    phase, times = (_DAY, _DAYS) if length < _DAY else (7 * _DAY, _WEEKS)
    if phase % length:
        times = 0
    names = [Window.of(window.start - number * phase, length).name for number in range(1, times + 1)]
    known = [evaluations.load_evaluation(services.ledger, definition.name, each) for each in names]
    since = window.start - times * phase
    changes = [each for each in deployments.timeline(services.ledger, definition.endpoint) if each.began >= since]
    return [each.value.rows for each in known if each], len({each.sampling_percentage for each in changes}) <= 1
