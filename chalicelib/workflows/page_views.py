"""What the pages show, read from the facts of the table: no object of S3 is read but definitions, so a page holds no
value of the data. Not an event source: the served page and `plumbline serve` share it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from chalicelib import keys
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import NotFoundError
from chalicelib.evidence.assessment import NO_RECORDS, UNKNOWN, Assessment, Level
from chalicelib.facts import counted_windows, decisions, evaluations, incidents, monitors, standings
from chalicelib.facts.decisions import Outcome, Reference
from chalicelib.facts.evaluations import Evaluation
from chalicelib.facts.standings import Standing
from chalicelib.pages.charts import wilson
from chalicelib.pages.views import (
    DecisionLine,
    DecisionView,
    FleetLine,
    FleetView,
    Mark,
    MonitorView,
    OpenIncident,
    Status,
    WindowLine,
    WindowView,
)
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.monitor_status import status

# Windows on a monitor's page: a week of hours.
WINDOWS_SHOWN = 168
# Windows' lengths, and two hours, after which a monitor that decided no window is in trouble.
LATE_AFTER = 2
_TROUBLE: dict[Level, int] = {"worse": 50, "drift": 30, "notice": 10, "unknown": 5, "fine": 0}


def fleet_view(services: Services) -> FleetView:
    """All monitors: two queries, whatever their number."""
    now = services.now()
    known = {each.monitor: each for each in standings.all_standings(services.ledger)}
    lines = [
        _fleet_line(known.get(entry.name), entry.name, now)
        for entry in monitors.all_entries(services.ledger)
        if not entry.removed_at
    ]
    lines.sort(key=lambda line: (-line.trouble, line.monitor))
    return FleetView(stage=services.settings.stage, at=iso(now), monitors=tuple(lines))


def _fleet_line(standing: Standing | None, monitor: str, now: datetime) -> FleetLine:
    if standing is None:
        return FleetLine(
            monitor=monitor, endpoint="", trouble=20, level="unknown", sentence="No window was decided yet."
        )
    length = timedelta(hours=standing.hours)
    silent = now - Window.parse(standing.window, length).end
    late = silent > LATE_AFTER * length + timedelta(hours=2)
    trouble, sentence = _TROUBLE[standing.level], standing.headline
    if standing.incidents:
        trouble = max(trouble, 40 if "model-quality" in standing.incidents else 25)
        if standing.level in ("fine", "unknown"):
            sentence = f"Still open: {', '.join(standing.incidents)}. {sentence}"
    if standing.broken:
        trouble, sentence = 45, f"Broken data: {standing.broken}."
    if late:
        trouble = max(trouble, 35)
        sentence = f"No window for {_hours(silent)}: no traffic, or the clock is not running. {sentence}"
    return FleetLine(
        monitor=monitor,
        endpoint=standing.endpoint,
        trouble=trouble,
        level=standing.level,
        sentence=sentence,
        window=standing.window,
        action=standing.action,
        loss=standing.loss,
        coverage=standing.coverage,
        incidents=standing.incidents,
        overdue=int(silent / timedelta(hours=1)) if late else 0,
    )


def monitor_view(services: Services, name: str) -> MonitorView:
    """One monitor, with its newest windows. Raises NotFoundError for an unknown one."""
    entry = services.definitions.entry(name)
    definition, found = services.definitions.of(entry), status(services, entry)
    shown = evaluations.last_evaluations(services.ledger, name, WINDOWS_SHOWN)[::-1]
    first = shown[0].window if shown else ""
    assessed = {each.window: each.found for each in counted_windows.assessed(services.ledger, name, first)}
    decided: dict[str, list[Reference]] = {}
    for reference in decisions.references(services.ledger, name, since=first):
        decided.setdefault(reference.window, []).append(reference)
    lines = [
        _line(definition, each, assessed.get(each.window, UNKNOWN), decided.get(each.window, ())) for each in shown
    ]
    opened = [each for each in incidents.read_incidents(services.ledger, name) if each.state == "OPEN"]
    marks = [_mark(each) for each in decisions.outcomes(services.ledger, name) if each.window >= first]
    level, sentence, why = _sentence(found, lines, marks, definition.window_length)
    return MonitorView(
        status=found,
        level=level,
        sentence=sentence,
        why=why,
        at=iso(services.now()),
        variant=definition.variant,
        types=tuple(definition.monitor_types),
        hours=definition.window_hours,
        metric=_metric(definition),
        promise=_promise(definition),
        windows=tuple(lines),
        marks=tuple(marks),
        incidents=tuple(
            OpenIncident(
                kind=each.kind, severity=each.severity, since=each.opened_window, joined=tuple(sorted(each.joined))
            )
            for each in opened
        ),
    )


def window_view(services: Services, name: str, window_name: str) -> WindowView:
    """One window of a monitor. Raises NotFoundError where it was not evaluated."""
    definition = services.definitions.get(name)
    window = Window.parse(window_name, definition.window_length)
    stored = evaluations.load_evaluation(services.ledger, name, window.name)
    if stored is None:
        raise NotFoundError(f"monitor {name}: the window {window.name} was not evaluated")
    found = counted_windows.load_assessed(services.ledger, name, window.name) or UNKNOWN
    references = decisions.references(services.ledger, name, window.name)
    before, after = Window.of(window.start - window.length, window.length), window.next()
    there = {
        each.window
        for each in evaluations.evaluations(services.ledger, name, before.name, after.next().name)
        if each.window != window.name
    }
    bucket, output = split_s3_uri(definition.output_s3_uri)
    return WindowView(
        monitor=name,
        endpoint=definition.endpoint,
        hours=definition.window_hours,
        metric=_metric(definition),
        line=_line(definition, stored.value, found, references),
        before=before.name if before.name in there else "",
        after=after.name if after.name in there else "",
        reports={
            kind: keys.s3_uri(bucket, keys.report_folder(output, definition.endpoint, name, kind, window))
            for kind in definition.monitor_types
        },
        decisions=tuple(DecisionLine(decision_id=each.decision_id, action=each.action) for each in references),
    )


def decision_view(services: Services, decision_id: str) -> DecisionView:
    """One decision. Raises NotFoundError for an unknown one."""
    record = decisions.load_record(services.ledger, decision_id)
    if record is None:
        raise NotFoundError(f"decision {decision_id}: not in the table")
    led = [each for each in decisions.outcomes(services.ledger, record.monitor) if each.decision_id == decision_id]
    return DecisionView(
        decision_id=record.decision_id,
        monitor=record.monitor,
        endpoint=record.endpoint,
        window=record.window,
        action=record.action,
        reasons=tuple(record.reasons),
        made_at=record.made_at,
        champion=record.champion,
        generation=record.generation,
        policy_version=record.policy_version,
        excess=record.excess,
        regret=record.regret,
        reference=record.reference,
        differences=dict(record.differences),
        evidence=tuple((each.source, each.digest) for each in record.evidence),
        evidence_count=max(record.evidence_count, len(record.evidence)),
        outcomes=tuple(_mark(each) for each in led),
    )


def _line(
    definition: Definition, evaluation: Evaluation, found: Assessment, references: Sequence[Reference]
) -> WindowLine:
    regression = definition.attributes.problem_type == "Regression"
    span = None
    if evaluation.loss is not None and evaluation.labelled and not regression:
        span = wilson(min(1.0, max(0.0, evaluation.loss)), evaluation.labelled)
    return WindowLine(
        window=evaluation.window,
        rows=evaluation.rows,
        labelled=evaluation.labelled,
        coverage=evaluation.coverage,
        loss=evaluation.loss,
        settled=evaluation.settled,
        low=span[0] if span else None,
        high=span[1] if span else None,
        violations=evaluation.violations,
        broken=evaluation.broken,
        found=found if evaluation.rows else NO_RECORDS,
        action=references[-1].action if references else "",
        decision_id=references[-1].decision_id if references else "",
    )


def _mark(outcome: Outcome) -> Mark:
    return Mark(
        at=outcome.at,
        window=outcome.window,
        kind=outcome.kind,
        detail=outcome.detail,
        decision_id=outcome.decision_id,
    )


def _promise(definition: Definition) -> str:
    within = re.sub(r"P(\d+)D", r"\1 days", definition.promise.within)
    within = re.sub(r"PT(\d+)H", r"\1 hours", within)
    return f"with at most {definition.promise.ever:.0%} for a false alarm within {within}"


def _metric(definition: Definition) -> str:
    return "mean absolute error" if definition.attributes.problem_type == "Regression" else "error rate"


def _sentence(
    found: Status, lines: Sequence[WindowLine], marks: Sequence[Mark], length: timedelta
) -> tuple[Level, str, tuple[str, ...]]:
    """How the monitor stands, and why: broken data first, then answers as the newest labels tell, then columns."""
    doing = _doing(found)
    if not lines:
        return "unknown", f"No window was evaluated yet.{doing}", ()
    newest = lines[-1]
    known = next((each for each in reversed(lines) if each.found.loss_asked), None)
    if newest.broken:
        return "unknown", f"Broken data: {newest.broken[0]}.{doing}", newest.broken[1:]
    if known and known.found.level == "worse":
        told = _served_since(found, marks, iso(Window.parse(known.window, length).end))
        return "worse", f"{known.found.headline}{told}{doing}", known.found.why
    if newest.found.level in ("drift", "worse"):
        return newest.found.level, f"{newest.found.headline}{doing}", newest.found.why
    if found.incidents:
        worse = "model-quality" in found.incidents
        told = f"{newest.found.headline} Still open: {', '.join(found.incidents)}."
        return "worse" if worse else "drift", f"{told}{doing}", newest.found.why
    if newest.found.level == "fine" and known and known.loss is not None:
        told = f"All right: none of {newest.found.asked} columns moved beyond chance, nor did the error."
        return "fine", f"{told}{doing}", ()
    return newest.found.level, f"{newest.found.headline}{doing}", newest.found.why


def _served_since(found: Status, marks: Sequence[Mark], end: str) -> str:
    """That another model serves since the newest labelled window, so that its verdict is about the one before."""
    changed = [mark for mark in marks if mark.kind in ("promoted", "rolled_back") and mark.at >= end]
    if not changed:
        return ""
    return f" {found.champion} has served since {changed[-1].at}; no window of it is labelled yet."


def _doing(found: Status) -> str:
    """What is under way, or stands in the way."""
    parts = []
    if found.retraining:
        parts.append("A retraining is under way.")
    if found.promotion:
        parts.append(f"Under way: {found.promotion}.")
    if found.paused:
        parts.append(f"Paused: {found.paused}.")
    if found.overdue:
        parts.append(f"{found.overdue} {'window is' if found.overdue == 1 else 'windows are'} overdue.")
    return "".join(f" {part}" for part in parts)


def _hours(time: timedelta) -> str:
    whole = int(time / timedelta(hours=1))
    return f"{whole} hours" if whole < 48 else f"{whole // 24} days"
