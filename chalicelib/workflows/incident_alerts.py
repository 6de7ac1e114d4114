"""Publishing what incidents owe, and notices: the one place where an alert gets its words and goes to the topic.

Not an event source: the handlers that find something share it. Claim (facts/incidents.py), publish, mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.decisions import alert as words
from chalicelib.decisions.alert import Alert, Severity
from chalicelib.definition import Definition
from chalicelib.facts import incidents, pauses
from chalicelib.monitors.types import TYPES
from chalicelib.records.times import iso
from chalicelib.wiring import Services

TITLES = {
    "broken-data": "captured data is broken",
    **{kind.suffix: kind.incident for kind in TYPES.values()},
    "model-monitor": "a Model Monitor execution found violations",
    "traffic": "traffic stopped, or is less than half of the least at this time",
    "deployment": "the endpoint serves another model than the champion",
}


# Of an alert; of a reason, in characters.
MOST_REASONS, LONGEST_REASON = 32, 1000


class Finding(msgspec.Struct, frozen=True):
    """What was found about one incident in one window."""

    window: str
    reasons: Sequence[str]
    report: str = ""
    decision_id: str = ""


def publish_pending(services: Services, definition: Definition, findings: Mapping[str, Finding]) -> tuple[str, ...]:
    """Publish every alert that this monitor's incidents owe, also those that an earlier crash left behind; returns the
    kinds of the incidents that are open.

    `findings`: by the incident's name, which is its kind where the kind has one source only.
    While a pause holds none is: they stay owed, and of an incident that begins and ends within it nobody is told.
    """
    known = incidents.read_incidents(services.ledger, definition.name)
    still_open = tuple(sorted({each.kind for each in known if each.state == "OPEN"}))
    owing = [each for each in known if incidents.pending(each)]
    if owing and (pause := pauses.in_force(services.ledger, definition.name, services.now())):
        for incident in owing:
            incidents.forget_ended(services.ledger, definition.name, incident.name, pause.since)
        return still_open
    for incident in owing:
        for owed in incidents.pending(incident):
            finding = findings.get(incident.name)
            if finding is None or finding.window != owed.window:
                finding = Finding(window=owed.window, reasons=())
            title = f"{definition.name}: {TITLES.get(incident.kind, incident.kind)}"
            if incident.source:
                title += f" ({incident.source})"
            _publish(
                services,
                Alert(
                    alert_id=owed.alert_id,
                    incident=owed.incident,
                    monitor=definition.name,
                    endpoint=definition.endpoint,
                    kind=incident.kind,
                    state=owed.state,
                    severity=owed.severity,
                    title=title,
                    summary=f"{owed.state} by the window beginning {owed.window}",
                    reasons=list(finding.reasons),
                    window=owed.window,
                    decision_id=finding.decision_id,
                    report=finding.report,
                    occurred_at=owed.decided_at,
                ),
            )
            incidents.mark_published(services.ledger, definition.name, incident.name, owed.alert_id)
    return still_open


def notify(
    services: Services,
    definition: Definition,
    kind: str,
    about: str,
    severity: Severity,
    title: str,
    reasons: Sequence[str],
    *,
    window: str = "",
    decision_id: str = "",
) -> None:
    """Publish a notice. `about` makes its id: told again, it is known downstream and not delivered twice."""
    notice = words.incident_id(definition.name, kind, about)
    _publish(
        services,
        Alert(
            alert_id=words.alert_id(notice, "notice"),
            monitor=definition.name,
            endpoint=definition.endpoint,
            kind=kind,
            state="notice",
            severity=severity,
            title=f"{definition.name}: {title}",
            summary=title,
            reasons=list(reasons),
            window=window,
            decision_id=decision_id,
            occurred_at=iso(services.now()),
        ),
    )


def publish_test(services: Services, definition: Definition) -> tuple[str, str]:
    """Publish an opening and its resolution that every route takes; their alert ids."""
    now = iso(services.now())
    incident = words.incident_id(definition.name, words.TEST, now)
    ids = []
    for state in ("opened", "resolved"):
        ids.append(words.alert_id(incident, state))
        alert = Alert(
            alert_id=ids[-1],
            incident=incident,
            monitor=definition.name,
            endpoint=definition.endpoint,
            kind=words.TEST,
            state=state,
            severity="info",
            title=f"{definition.name}: a test of this route",
            summary="nothing is wrong",
            reasons=["somebody ran `plumbline alerts`"],
            occurred_at=now,
        )
        _publish(services, alert)
    return ids[0], ids[1]


def _publish(services: Services, alert: Alert) -> None:
    """Publish, cut to what the topic takes: 256 KB."""
    rest = len(alert.reasons) - MOST_REASONS
    reasons = [_cut(each) for each in alert.reasons[:MOST_REASONS]] + ([f"and {rest} more"] if rest > 0 else [])
    alert = msgspec.structs.replace(alert, reasons=reasons)
    services.topic.publish(words.subject(alert), words.encode_alert(alert), words.attributes(alert))


def _cut(reason: str) -> str:
    return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1] + "…"
