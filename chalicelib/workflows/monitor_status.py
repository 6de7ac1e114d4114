"""One monitor's state, from the facts that the functions decide on: for `plumbline status` and for the page.

Not an event source.
"""

from __future__ import annotations

from datetime import timedelta

from chalicelib.definition import Definition
from chalicelib.facts import champions, claims, cursor, decisions, due, evaluations, incidents, pauses
from chalicelib.facts.monitors import Entry
from chalicelib.pages.views import Status
from chalicelib.records.window import Window
from chalicelib.wiring import Services

# A window due longer ago than this was sent and lost, or refused; a clock later than this is not running.
OVERDUE_AFTER = due.RESEND_AFTER


def status(services: Services, entry: Entry) -> Status:
    """Read one monitor's facts."""
    ledger, name = services.ledger, entry.name
    definition = services.definitions.of(entry)
    champion = champions.load_champion(ledger, name)
    newest = evaluations.newest(ledger, name)
    settled_name = evaluations.newest_settled(ledger, name)
    settled = evaluations.load_evaluation(ledger, name, settled_name) if settled_name else None
    verdict = last_decision(services, name, newest.window) if newest else None
    claim, promotion = claims.load_retrain(ledger, name), claims.load_promotion(ledger, name)
    unclocked = 0 if entry.removed_at else _unclocked(services, definition, entry)
    pause = pauses.in_force(ledger, name, services.now())
    return Status(
        monitor=name,
        endpoint=definition.endpoint,
        version=entry.version,
        champion=champion.candidate.name if champion else "",
        generation=champion.generation if champion else 0,
        window=newest.window if newest else "",
        verdict=verdict.action if verdict else "",
        decision_id=verdict.decision_id if verdict else "",
        rows=newest.rows if newest else 0,
        coverage=newest.coverage if newest else 0.0,
        loss=settled.value.loss if settled else None,
        settled_window=settled_name,
        settled_coverage=settled.value.coverage if settled else 0.0,
        incidents=tuple(each.kind for each in incidents.read_incidents(ledger, name) if each.state == "OPEN"),
        retraining=f"{claim.state} {claim.decision_id[:12]}" if claim and claim.in_flight else "",
        promotion=f"{promotion.kind} {promotion.candidate} {promotion.state}"
        if promotion and promotion.in_flight
        else "",
        overdue=unclocked + sum(services.now() - each.not_before > OVERDUE_AFTER for each in due.owed(ledger, name)),
        unclocked=unclocked,
        paused=pause.words if pause else "",
        removed_at=entry.removed_at,
    )


def last_decision(services: Services, monitor: str, window: str) -> decisions.Record | None:
    """The last decision on a window."""
    found = decisions.references(services.ledger, monitor, window)
    records = [decisions.load_record(services.ledger, each.decision_id) for each in found]
    return max((each for each in records if each), key=lambda record: record.made_at, default=None)


def _unclocked(services: Services, definition: Definition, entry: Entry) -> int:
    """The number of closed windows that the clock has not marked due."""
    length = definition.window_length
    done = cursor.read(services.ledger, entry.name)
    first = max([Window.parse(entry.since, length), *([Window.parse(done, length).next()] if done else [])])
    late: timedelta = services.now() - OVERDUE_AFTER - definition.grace - first.start
    return max(0, late // length)
