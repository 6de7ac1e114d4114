"""Incidents: one of each kind per monitor, opened once and resolved once.

Keys: MONITOR#{monitor} / INCIDENT#{kind} and INCIDENT#{kind}#{source} -> Incident. Monotone in window: a verdict about
an older window never undoes a newer one, so the newest verdict holds in any order of arrival. A window resolves an
incident if it is strictly newer than every bad one, and opens it again if it is strictly newer than the resolution.

Claim, act, mark: opening or resolving records an owed alert; publishing it marks it published; after a crash in between
it is still `pending` for the next worker. The id of an alert depends only on the incident and its state, so one that is
published twice is recognized by its id (facts/deliveries.py). Not here: what makes a window bad, an alert's text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal, get_args

import msgspec

from chalicelib.decisions.alert import Severity, alert_id, incident_id
from chalicelib.facts.document import change, load, load_all, monitor_partition
from chalicelib.ports import Ledger
from chalicelib.records.times import iso

_PREFIX = "INCIDENT#"
NOTHING: Mapping[str, float] = {}
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


class OwedAlert(msgspec.Struct, frozen=True):
    """An alert not yet known to be published: `window` decided it, `decided_at` (ISO 8601) is when."""

    alert_id: str
    incident: str
    state: Literal["opened", "changed", "resolved"]
    severity: Severity
    window: str
    decided_at: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """`number` counts openings (0: never opened). `decided_window`: the newest window whose verdict is the state's.

    `joined`: what is wrong in the open incident, by name, with how far each had moved when it was last announced;
    `changes`: how often it was announced again.
    `source`: the finder where several find the same kind (a monitoring schedule), else "".
    `owed`: the alerts not yet published, oldest first; a resolution stays owed when the next incident opens.
    """

    monitor: str
    kind: str
    source: str = ""
    number: int = 0
    state: Literal["OPEN", "RESOLVED"] = "RESOLVED"
    severity: Severity = "error"
    decided_window: str = ""
    opened_window: str = ""
    resolved_window: str = ""
    joined: dict[str, float] = {}
    changes: int = 0
    owed: tuple[OwedAlert, ...] = ()

    @property
    def name(self) -> str:
        """The key of an incident within its monitor."""
        return _name(self.kind, self.source)


def open_incident(
    ledger: Ledger,
    monitor: str,
    kind: str,
    window_start: str,
    now: datetime,
    severity: Severity = "error",
    *,
    source: str = "",
    joined: Mapping[str, float] = NOTHING,
) -> Incident:
    """Record that a window is bad; opens the incident unless it is open or a newer window was good.

    `joined`: what is wrong by name, and how far it moved (0: no matter). An open incident is announced again when
    a name joins, moved clearly further than was announced, or the severity rises: that is then the incident's.
    `window_start`: a text that sorts by time (Window.name). Raises ConflictError after several lost races in a row.
    """

    def think(stored: Incident | None) -> Incident:
        incident = stored or Incident(monitor=monitor, kind=kind, source=source)
        if incident.state == "OPEN":
            decided = _decided_by(incident, window_start)
            news = {name: size for name, size in joined.items() if _is_news(incident.joined.get(name), size)}
            rises = SEVERITIES.index(severity) < SEVERITIES.index(incident.severity)
            if not (news or rises) or window_start < incident.decided_window:
                return decided
            decided = msgspec.structs.replace(
                decided,
                joined={**incident.joined, **news},
                changes=incident.changes + 1,
                severity=severity if rises else incident.severity,
            )
            return _owing(decided, "changed", window_start, now)
        # A window restated as bad may open an incident on which it had no verdict, but not one that it resolved.
        if window_start < incident.decided_window or (incident.number and window_start <= incident.resolved_window):
            return incident
        opened = msgspec.structs.replace(
            incident,
            number=incident.number + 1,
            state="OPEN",
            severity=severity,
            opened_window=window_start,
            joined=dict(joined),
            changes=0,
        )
        return _owing(_decided_by(opened, window_start), "opened", window_start, now)

    return _change(ledger, monitor, _name(kind, source), think)


def resolve_incident(
    ledger: Ledger,
    monitor: str,
    kind: str,
    window_start: str,
    now: datetime,
    *,
    source: str = "",
    bad_until: str = "~",
) -> Incident:
    """Record that a window is good; resolves the incident if the window is newer than every bad one, and none of these
    is newer than `bad_until` ("~": any).

    A good window without an incident is recorded, too: a late verdict about an older one must not open it.
    """

    def think(stored: Incident | None) -> Incident:
        incident = stored or Incident(monitor=monitor, kind=kind, source=source)
        if incident.state == "RESOLVED":
            return _decided_by(incident, window_start)
        if window_start <= incident.decided_window or incident.decided_window > bad_until:
            return incident
        resolved = msgspec.structs.replace(incident, state="RESOLVED", resolved_window=window_start)
        return _owing(_decided_by(resolved, window_start), "resolved", window_start, now)

    return _change(ledger, monitor, _name(kind, source), think)


def end_if_open(ledger: Ledger, monitor: str, kind: str, window_start: str, now: datetime) -> bool:
    """Resolve an open incident because its cause is seen to be gone, also in the window that opened it, but not where a
    newer window was bad; False where nothing was resolved."""

    def think(stored: Incident | None) -> Incident | None:
        if stored is None or stored.state != "OPEN" or stored.decided_window > window_start:
            return None
        resolved = msgspec.structs.replace(stored, state="RESOLVED", resolved_window="")
        return _owing(_decided_by(resolved, window_start), "resolved", window_start, now)

    _, resolved = change(ledger, *_key(monitor, kind), Incident, think)
    return resolved


def load_incident(ledger: Ledger, monitor: str, name: str) -> Incident | None:
    stored = load(ledger, *_key(monitor, name), Incident)
    return stored.value if stored else None


def pending(incident: Incident) -> tuple[OwedAlert, ...]:
    """The alerts that must still be published, oldest first."""
    return incident.owed


def forget_ended(ledger: Ledger, monitor: str, name: str, since: datetime) -> None:
    """Drop the owed alerts of incidents that were both opened and resolved after a time (within a pause)."""
    began = iso(since)

    def think(stored: Incident | None) -> Incident | None:
        if stored is None:
            return None
        late = [(alert.incident, alert.state) for alert in stored.owed if alert.decided_at > began]
        ended = {incident for incident, state in late if state == "opened" and (incident, "resolved") in late}
        return msgspec.structs.replace(
            stored, owed=tuple(alert for alert in stored.owed if alert.incident not in ended)
        )

    change(ledger, *_key(monitor, name), Incident, think)


def mark_published(ledger: Ledger, monitor: str, name: str, published: str) -> None:
    """Record that an alert of this incident was published; repeating it changes nothing."""

    def think(stored: Incident | None) -> Incident | None:
        if stored is None:
            return None
        owed = tuple(alert for alert in stored.owed if alert.alert_id != published)
        return msgspec.structs.replace(stored, owed=owed)

    change(ledger, *_key(monitor, name), Incident, think)


def read_incidents(ledger: Ledger, monitor: str) -> list[Incident]:
    """Every incident on which a monitor ever had a verdict, by name."""
    return load_all(ledger, monitor_partition(monitor), Incident, begins_with=_PREFIX)


def _name(kind: str, source: str) -> str:
    return f"{kind}#{source}" if source else kind


def _key(monitor: str, name: str) -> tuple[str, str]:
    return monitor_partition(monitor), f"{_PREFIX}{name}"


def _change(ledger: Ledger, monitor: str, name: str, think: Callable[[Incident | None], Incident]) -> Incident:
    stored, _ = change(ledger, *_key(monitor, name), Incident, think)
    assert stored is not None  # `think` always has an answer
    return stored


def _decided_by(incident: Incident, window_start: str) -> Incident:
    return msgspec.structs.replace(incident, decided_window=max(incident.decided_window, window_start))


def _is_news(announced: float | None, size: float) -> bool:
    """Whether something joins the incident, or moved twice as far as was announced, and 5 points further."""
    return announced is None or size >= max(2.0 * announced, announced + 0.05)


def _owing(
    incident: Incident, state: Literal["opened", "changed", "resolved"], window_start: str, now: datetime
) -> Incident:
    name = incident_id(incident.monitor, incident.name, incident.number)
    told = f"{state} {incident.changes}" if state == "changed" else state
    alert = OwedAlert(alert_id(name, told), name, state, incident.severity, window_start, iso(now))
    return msgspec.structs.replace(incident, owed=(*incident.owed, alert))
