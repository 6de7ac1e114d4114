"""The clock: send a message per due window, and check everything in flight whose lease has expired.

Events are hints, and SageMaker's are best effort, so the clock checks everything that should have ended by now. A stage
of many monitors is tended in parts, a message each, so that no tick grows with their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.definition import Definition
from chalicelib.errors import NotFoundError, PlumblineError
from chalicelib.events import (
    ClaimMessage,
    ClockMessage,
    LabelBatchMessage,
    LabelContainersMessage,
    WindowMessage,
    clock_message,
    endpoint_changed_body,
    execution_changed_body,
    package_changed_body,
)
from chalicelib.facts import champions, claims, cursor, deployments, due, labels, news
from chalicelib.facts import monitors as index
from chalicelib.facts.monitors import Entry
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.challenges import (
    approval_of,
    ask_for_approval,
    end_retrain,
    objection_to,
    send_promotion,
)
from chalicelib.workflows.label_containers import hours_to_compact
from chalicelib.workflows.served_model import check_served

# More are tended in parts of so many. A monitor takes 8 calls in a quiet minute and 16 when a window closes.
MONITORS_A_PART = 20
# One tick marks at most this many windows of a monitor; the next tick continues.
CATCH_UP = 500
# And at most so many hours of age steps.
CATCH_UP_HOURS = 48
HOUR = timedelta(hours=1)


class TickError(PlumblineError):
    """Some monitors failed; the others had their tick."""

    def __init__(self, failures: Sequence[tuple[str, Exception]]) -> None:
        super().__init__("; ".join(f"{name}: {type(error).__name__}" for name, error in failures))


def handle(body: str, services: Services) -> int:
    """Run one tick, or the part of one that a message asks for; returns how many windows that it sent are overdue.

    A failure stops neither the other monitors nor the other steps of its own: it is raised at the end as a TickError.
    """
    now = services.now()
    failures: list[tuple[str, Exception]] = []
    asked = clock_message(body)
    entries = index.all_entries(services.ledger)
    if asked.of:
        entries = entries[asked.part :: asked.of]
    elif len(entries) > MONITORS_A_PART:
        of = -(-len(entries) // MONITORS_A_PART)
        services.queues.send("clock", [msgspec.json.encode(ClockMessage(part, of)) for part in range(of)])
        entries = []
    for entry in entries:
        for step in (_tend, _reconcile_retrain, _reconcile_promotion):
            try:
                step(services, entry, now)
            except Exception as error:  # raised below, with the monitor's name
                failures.append((entry.name, error))
    # Of a tick in parts, the first message sends what is due.
    ready = [] if asked.of else due.take_ready(services.ledger, now)
    services.queues.send("windows", [msgspec.json.encode(WindowMessage(each.monitor, each.window)) for each in ready])
    if failures:
        raise TickError(failures)
    return due.count_overdue(ready, now)


def _tend(services: Services, entry: Entry, now: datetime) -> None:
    """A monitor's regular work; a removed one has none, only its claims are finished."""
    if entry.removed_at:
        return
    definition = services.definitions.of(entry)
    closed = _owe_closed_windows(services, definition, entry.since, now)
    _owe_what_waits(services, definition, entry.since, now)
    _reconcile_deployment(services, definition, closed)
    _send_label_batch(services, definition, now)
    _send_label_compaction(services, definition, entry.since, now)


def _owe_closed_windows(services: Services, definition: Definition, since: str, now: datetime) -> bool:
    """Mark every newly closed window due, with or without traffic (silence is a finding), and an earlier one again.

    Returns whether any has closed since the last tick.
    """
    length = definition.window_length
    back = definition.second_look
    first = Window.parse(since, length)
    if done := cursor.read(services.ledger, definition.name):
        # A monitor that was removed and added again starts later than its old position.
        first = max(first, Window.parse(done, length).next())
    last = None
    window = first
    for _ in range(CATCH_UP):
        if now < window.end + definition.grace:
            break
        due.mark(services.ledger, definition.name, window, definition.grace, now, fresh=True)
        earlier = Window(window.start - back, length)
        if earlier.name >= since:
            due.mark(services.ledger, definition.name, earlier, definition.grace, now)
        last = window
        window = window.next()
    if last is not None:
        cursor.advance(services.ledger, definition.name, last.name)
    return last is not None


def _owe_what_waits(services: Services, definition: Definition, since: str, now: datetime) -> None:
    """At each age step a window whose labels wait is owed an evaluation, and when it is sealed, every window.

    Asked for each hour once, whatever windows close: steps and ends of windows are whole hours.
    """
    if not definition.reads_labels:
        return
    name, length = definition.name, definition.window_length
    steps = news.steps(definition.horizon)
    last = Window.of(now, HOUR).start
    hour = cursor.hour(services.ledger, name) or max(last - HOUR, Window.parse(since, length).start)
    for _ in range(CATCH_UP_HOURS):
        if hour >= last:
            break
        hour += HOUR
        for step in steps:
            window = Window.of(hour - step, length).previous()
            if window.end != hour - step or window.name < since:
                continue
            if step == steps[-1] or news.pending(services.ledger, name, window.name):
                due.mark(services.ledger, name, window, definition.grace, now, wait=timedelta(0))
        cursor.advance_hour(services.ledger, name, hour)


def _send_label_batch(services: Services, definition: Definition, now: datetime) -> None:
    """Request the look-up of labels without an inference time: in one batch, and one batch at a time."""
    if labels.awaiting(services.ledger, definition.name, limit=1) and labels.begin_batch(
        services.ledger, definition.name, now
    ):
        services.queues.send("ground-truth", [msgspec.json.encode(LabelBatchMessage(definition.name))])


def _send_label_compaction(services: Services, definition: Definition, since: str, now: datetime) -> None:
    """Request that small label objects of past hours are copied into containers, by one worker at a time."""
    hours = hours_to_compact(definition, since, now)
    if hours and labels.begin_compaction(services.ledger, definition.name, *hours, now):
        services.queues.send("ground-truth", [msgspec.json.encode(LabelContainersMessage(definition.name))])


def _reconcile_deployment(services: Services, definition: Definition, closed: bool) -> None:
    """Replace a lost event of an endpoint update: without its end, every later row would count as in transition.

    The endpoint is described while an update is open, and as each window closes, because both events may be lost.
    """
    timeline = deployments.timeline(services.ledger, definition.endpoint)
    if not closed and (not timeline or timeline[-1].ended is not None):
        return
    champion = champions.load_champion(services.ledger, definition.name)
    known = timeline[-1].config_name if timeline else champion.config_name if champion else ""
    try:
        endpoint = services.sagemaker.describe_endpoint(definition.endpoint)
    except NotFoundError:
        return  # without an endpoint there is no traffic, which its windows report
    if endpoint.status == "InService" and endpoint.config_name != known:
        body = endpoint_changed_body(endpoint.name, endpoint.config_name, endpoint.last_modified)
        services.queues.send("endpoints", [body])
    if closed:
        check_served(services, definition, endpoint)


def _reconcile_retrain(services: Services, entry: Entry, now: datetime) -> None:
    """Handle an expired lease: ask SageMaker for the state, send the event that was lost, and renew the lease."""
    claim = claims.load_retrain(services.ledger, entry.name)
    if claim is None or not claim.in_flight or claim.lease_until > now:
        return
    definition = services.definitions.of(entry)
    if claim.state == "STARTING":
        body = msgspec.json.encode(ClaimMessage(definition.name, claim.decision_id))
        services.queues.send("retrain-claims", [body])
    elif claim.state == "AWAITING_APPROVAL":
        status = approval_of(services, claim.package_arn)
        if status is None:
            reason = objection_to(claim.package_arn, status)
            end_retrain(services, definition, claim.decision_id, claim.window, "REFUSED", reason)
            return
        if status not in ("Approved", "Rejected") and _approval_ended(services, definition, claim, now):
            return
        if status in ("Approved", "Rejected"):
            body = package_changed_body(claim.package_arn, status, now)
            services.queues.send("model-packages", [body])
    else:
        try:
            execution = services.sagemaker.describe_execution(claim.execution_arn)
        except NotFoundError:
            reason = f"{claim.execution_arn} does not exist any more"
            end_retrain(services, definition, claim.decision_id, claim.window, "FAILED", reason)
            return
        if execution.status in ("Succeeded", "Failed", "Stopped"):
            body = execution_changed_body(execution.arn, execution.status, now)
            services.queues.send("pipelines", [body])
        elif claim.state == "STARTED" and now - claim.started_at >= claims.LONGEST_EXECUTION:
            reason = f"{claim.execution_arn} has not ended within {claims.LONGEST_EXECUTION.days} days; it still runs"
            end_retrain(services, definition, claim.decision_id, claim.window, "FAILED", reason)
            return
    claims.move_retrain(services.ledger, definition.name, claim.decision_id, (claim.state,), claim.state, now)


def _approval_ended(services: Services, definition: Definition, claim: claims.RetrainClaim, now: datetime) -> bool:
    """Tell people once more of a challenger that waits for them; end it when nobody has decided in time."""
    if now - claim.started_at >= claims.LONGEST_APPROVAL:
        reason = f"nobody has approved {claim.package_arn} within {claims.LONGEST_APPROVAL.days} days"
        end_retrain(services, definition, claim.decision_id, claim.window, "REFUSED", reason)
        return True
    if now - claim.started_at >= claims.REMIND_AFTER and not claim.outcome:
        last = claim.started_at + claims.LONGEST_APPROVAL
        ask_for_approval(services, definition, claim, claim.package_arn, f"otherwise it is refused on {iso(last)}")
        claims.move_retrain(
            services.ledger, definition.name, claim.decision_id, (claim.state,), claim.state, now, outcome="reminded"
        )
    return False


def _reconcile_promotion(services: Services, entry: Entry, now: datetime) -> None:
    """A lease ran out, or the event that the endpoint is in service was lost: the claim goes on from where it is."""
    claim = claims.load_promotion(services.ledger, entry.name)
    if claim and claim.in_flight and claim.lease_until <= now:
        claims.amend_promotion(services.ledger, entry.name, claim.claim_id, now)
        send_promotion(services, entry.name, claim.claim_id)
