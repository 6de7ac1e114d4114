"""What people hear of a window: its verdicts on incidents, in words, and the weekly count of violations. Not an event
source: window_due's last step.

Kinds: "broken-data" opens and closes with the window. "model-quality" (the answers are worse) and "data-quality"
(columns moved) follow the evidence: they open on confirmed alarms, are announced again when something joins, and close
after four windows without. Violations of Model Monitor's thresholds open incidents only where the definition says so.
Not here: how an alert is sent (`incident_alerts`), what an incident is (`facts.incidents`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec

from chalicelib import keys
from chalicelib.decisions.alert import Severity
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.evaluation.evaluate import Findings
from chalicelib.evidence.assessment import Assessment, Moved
from chalicelib.facts import evaluations, incidents
from chalicelib.facts.evaluations import Evaluation
from chalicelib.monitors.types import TYPES
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.incident_alerts import Finding, notify, publish_pending
from chalicelib.workflows.window_traffic import KIND as TRAFFIC
from chalicelib.workflows.window_traffic import watch_traffic

# A chat message is no report: the report has them all.
VIOLATIONS_SHOWN = 8
# Windows without evidence after which an incident closes.
QUIET_WINDOWS = 4

LOSS, COLUMNS = TYPES["ModelQuality"].suffix, TYPES["DataQuality"].suffix
_WEEK = timedelta(days=7)


class _Verdict(msgspec.Struct, kw_only=True):
    """What one window says of one kind of incident. `joined`: what moved by name, with how far; `quiet`: after how many
    windows without anything it closes."""

    monitor_type: str
    bad: bool = False
    reasons: Sequence[str] = ()
    joined: Mapping[str, float] = {}
    severity: Severity = "warning"
    quiet: int = 0


def tell(
    services: Services,
    definition: Definition,
    window: Window,
    evaluation: Evaluation,
    findings: Findings,
    found: Assessment,
    decision_id: str,
) -> tuple[str, ...]:
    """Open or resolve the incidents that this window has a verdict on, and publish what is owed; returns the kinds that
    are open then."""
    bucket, output = split_s3_uri(definition.output_s3_uri)
    finding: dict[str, Finding] = {}
    if low := watch_traffic(services, definition, window, evaluation, decision_id):
        finding[TRAFFIC] = low
    for kind, verdict in _verdicts(definition, evaluation, findings, found).items():
        name, now = definition.name, services.now()
        if verdict.bad:
            incidents.open_incident(
                services.ledger, name, kind, window.name, now, verdict.severity, joined=verdict.joined
            )
        else:
            quiet = Window.of(window.start - verdict.quiet * definition.window_length, definition.window_length)
            incidents.resolve_incident(services.ledger, name, kind, window.name, now, bad_until=quiet.name)
        folder = keys.report_folder(output, definition.endpoint, definition.name, verdict.monitor_type, window)
        finding[kind] = Finding(
            window=window.name,
            reasons=verdict.reasons,
            report=keys.s3_uri(bucket, folder),
            decision_id=decision_id,
        )
    still_open = publish_pending(services, definition, finding)
    if definition.alerts.violations == "digest":
        _digest(services, definition, window)
    return still_open


def _verdicts(
    definition: Definition, evaluation: Evaluation, findings: Findings, found: Assessment
) -> dict[str, _Verdict]:
    verdicts: dict[str, _Verdict] = {}
    if evaluation.rows:
        verdicts["broken-data"] = _Verdict(
            monitor_type="DataQuality",
            bad=bool(evaluation.broken),
            reasons=evaluation.broken,
            severity="error",
        )
    if found.asked:
        verdicts[COLUMNS] = _of_evidence("DataQuality", found.columns, found, definition)
    if found.loss_asked:
        verdicts[LOSS] = _of_evidence("ModelQuality", found.loss, found, definition)
    if definition.alerts.violations != "wake":
        return verdicts
    for monitor_type, kind in TYPES.items():
        judged = evaluation.settled if kind.needs_labels else evaluation.rows
        if monitor_type not in findings.violations or not judged:
            continue
        verdict = verdicts.setdefault(kind.suffix, _Verdict(monitor_type=monitor_type))
        if named := findings.violations[monitor_type]:
            verdict.reasons = [*verdict.reasons, *_shown(named)]
            verdict.bad = True
        # What asks for its thresholds has its verdict at once, unless evidence holds it open.
        verdict.quiet = verdict.quiet if found.real else 0
    return verdicts


def _of_evidence(monitor_type: str, moved: Sequence[Moved], found: Assessment, definition: Definition) -> _Verdict:
    """The first three lines: what changed by how much, since when and how sure, why."""
    confirmed = [each for each in moved if each.confirmed]
    verdict = _Verdict(monitor_type=monitor_type, quiet=QUIET_WINDOWS)
    if not confirmed:
        return verdict
    verdict.bad = True
    verdict.severity = "error" if monitor_type == "ModelQuality" and found.calibrated else "warning"
    verdict.joined = {each.column or "the error": abs(each.change) for each in confirmed}
    worst = confirmed[0]
    ever, within = definition.promise.ever, definition.promise.within
    sure = f"false alarms: at most {ever:.0%} within {within}"
    if not found.calibrated:
        sure = f"uncalibrated: {found.why_uncalibrated}"
    why = found.why[0] if found.why else "the error is not worse" if found.loss_asked else "no settled labels yet"
    rest = confirmed[1:] if monitor_type == "DataQuality" else [each for each in found.columns if each.confirmed]
    verdict.reasons = [
        f"{_words(worst)} ({100 * worst.change:+.1f} points)",
        f"since the window beginning {worst.since}; {sure}",
        f"why: {why}",
        *_shown([_words(each) for each in rest]),
    ]
    return verdict


def _words(moved: Moved) -> str:
    return f"{moved.column}: {moved.what}" if moved.column else moved.what


def _shown(lines: Sequence[str]) -> list[str]:
    """The first few lines, and how many more there are."""
    rest = len(lines) - VIOLATIONS_SHOWN
    return [*lines[:VIOLATIONS_SHOWN], *([f"and {rest} more"] if rest > 0 else [])]


def _digest(services: Services, definition: Definition, window: Window) -> None:
    """With the first window of a week: how many windows of the week before violated Model Monitor's thresholds."""
    before = Window.of(window.start - definition.window_length, definition.window_length)
    (year, week, _), other = before.start.isocalendar(), window.start.isocalendar()
    if (year, week) == (other.year, other.week):
        return
    since = Window.of(window.start - _WEEK, definition.window_length)
    past = evaluations.evaluations(services.ledger, definition.name, since.name, window.name)
    violated = [each for each in past if each.violations]
    if not violated:
        return
    total = sum(each.violations for each in violated)
    notify(
        services,
        definition,
        COLUMNS,
        f"violations of {year}-W{week:02}",
        "info",
        f"{total} violations of Model Monitor's thresholds in week {year}-W{week:02}",
        [f"in {len(violated)} of {len(past)} windows; the reports list them"],
        window=window.name,
    )
