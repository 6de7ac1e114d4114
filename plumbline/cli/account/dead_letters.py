"""What a dead letter is about, and what a replay would do now: judged from stored state, without acting.

Repeats only the reads that each function of app.py does first. Texts hold names (keys, windows, claims, ids), never
the content of captures or labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from chalicelib import events, keys, wiring
from chalicelib.decisions.alert import decode_alert, route_accepts
from chalicelib.decisions.retrain import DISPLAY_NAME
from chalicelib.definition import Definition
from chalicelib.errors import NotFoundError, PermanentError, PlumblineError, UnreadableError, UnreadableStateError
from chalicelib.facts import alarms, champions, claims, decisions, deliveries, due, evaluations, labels, monitors
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.challenges import WAITING
from chalicelib.workflows.label_containers import is_settled
from chalicelib.workflows.window_inputs import baselines
from chalicelib.workflows.window_rebuild import stored_inputs

Verdict = Literal["nothing", "works", "fails", "unknown"]


class Judgement(msgspec.Struct, frozen=True):
    """`about`: what the message concerns; `verdict`: a replay would do nothing, work, or fail again; `why`."""

    about: str
    verdict: Verdict
    why: str


class _Answer(msgspec.Struct, frozen=True):
    verdict: Verdict
    why: str


def judge(services: Services, queue: str, body: str) -> Judgement:
    """Judge one message of a queue (its logical name). Raises nothing because of a message or an AWS error."""
    about, answer = _PARTS[queue]
    try:
        subject = about(body)
    except PlumblineError as error:
        reason = error.reason if isinstance(error, UnreadableError) else str(error)
        return Judgement("cannot be read", "nothing", f"{reason}; the function would log that and drop it")
    try:
        found = answer(services, body)
    except PermanentError as error:
        found = _nothing(f"{error}; the function would log that and drop it")
    except UnreadableStateError as error:
        found = _Answer("fails", f"a document in the table cannot be read ({error})")
    except Exception as error:
        if not (isinstance(error, PlumblineError) or wiring.is_aws_error(error)):
            raise
        found = _Answer("unknown", f"the check failed: {' '.join(str(error).split())}")
    return Judgement(subject, found.verdict, found.why)


def _nothing(why: str) -> _Answer:
    return _Answer("nothing", why)


def _definition(services: Services, entry: monitors.Entry) -> Definition | _Answer:
    """A monitor's definition as a function would read it, or why it cannot."""
    try:
        return services.definitions.of(entry)
    except NotFoundError:
        trouble = "is not in the bucket"
    except UnreadableStateError:
        trouble = "cannot be read by this release"
    return _Answer(
        "fails", f"the definition of {entry.name} (version {entry.version}) {trouble}: run `plumbline add` again"
    )


def _of_monitor(services: Services, monitor: str) -> Definition | _Answer:
    entry = monitors.get(services.ledger, monitor)
    if entry is None:
        return _Answer("fails", f"there is no monitor {monitor} (any more): every delivery fails")
    return _definition(services, entry)


def _over_all(found: Iterable[_Answer]) -> _Answer:
    """The answer that counts of several monitors': one that fails, else one that works, else "nothing"."""
    answers = list(found)
    return next(
        (answer for verdict in ("fails", "works", "nothing") for answer in answers if answer.verdict == verdict),
        _nothing("no monitor uses it"),
    )


# Objects --------------------------------------------------------------------------------------------------------------


def _about_object(kind: str) -> Callable[[str], str]:
    def about(body: str) -> str:
        event = events.object_created(body)
        return f"{kind} {keys.s3_uri(event.bucket, event.key)}"

    return about


def _landed(
    kind: str, of_monitor: Callable[[Services, Definition, events.ObjectCreated, keys.HourlyKey], _Answer]
) -> Callable[[Services, str], _Answer]:
    def answer(services: Services, body: str) -> _Answer:
        event = events.object_created(body)
        hourly = keys.parse_hourly(event.key)
        if hourly is None:
            return _nothing("the key does not have SageMaker's hourly layout: it is no monitor's input")
        entries = monitors.find(services.ledger, kind, f"{event.bucket}/{hourly.prefix}")
        if not entries:
            return _nothing("no monitor reads its input there (any more)")
        if not any(each.key == event.key for each in services.objects.list(event.bucket, event.key)):
            return _nothing("the object does not exist any more")
        found = ((entry, _definition(services, entry)) for entry in entries)
        return _over_all(
            each if isinstance(each, _Answer) else of_monitor(services, each, event, hourly) for _, each in found
        )

    return answer


def _capture(
    services: Services, definition: Definition, event: events.ObjectCreated, hourly: keys.HourlyKey
) -> _Answer:
    window = Window.of(hourly.hour, definition.window_length)
    if _sealed(services, definition, window):
        return _nothing(f"the window {window.name} of {definition.name} is sealed: its label horizon is over")
    return _Answer(
        "works",
        f"it marks the window {window.name} of {definition.name} due and checks the rows' shape; the window's next "
        "evaluation finds the file without it, too",
    )


def _labels(services: Services, definition: Definition, event: events.ObjectCreated, hourly: keys.HourlyKey) -> _Answer:
    folder = event.key.rpartition("/")[0]
    if (event.key, event.etag) in labels.landed(services.ledger, event.bucket, folder):
        return _nothing("it was processed, by this or another delivery")
    return _Answer("works", f"it finds the windows of {definition.name} that the labels belong to and marks them due")


def _sealed(services: Services, definition: Definition, window: Window) -> bool:
    evaluated = evaluations.load_evaluation(services.ledger, definition.name, window.name) is not None
    return evaluated and services.now() >= window.end + definition.horizon


# The clock and windows ------------------------------------------------------------------------------------------------


def _tick(services: Services, body: str) -> _Answer:
    broken = [
        found
        for entry in monitors.all_entries(services.ledger)
        if isinstance(found := _definition(services, entry), _Answer)
    ]
    if broken:
        return _Answer("fails", "; ".join(each.why for each in broken))
    return _nothing("the next tick does everything that this one left undone")


def _window(services: Services, body: str) -> _Answer:
    message = events.window_message(body)
    owed = due.read(services.ledger, message.monitor, message.window)
    if owed is None:
        return _nothing("the window is not due any more: it was evaluated since")
    if monitors.is_removed(services.ledger, message.monitor):
        return _nothing("the monitor was removed: its windows are not evaluated")
    definition = _of_monitor(services, message.monitor)
    if isinstance(definition, _Answer):
        return definition
    window = Window.parse(message.window, definition.window_length)
    if not owed.value.anew:
        if _sealed(services, definition, window):
            return _nothing("the window is sealed: its label horizon is over")
        if trouble := _stored_trouble(services, definition, window):
            end = window.next().name
            fix = f"plumbline rebuild --monitor {definition.name} --from {window.name} --to {end}"
            return _Answer("fails", f"{trouble}; run {fix}")
    try:
        baselines(services, definition, champions.load_champion(services.ledger, definition.name), window)
    except (NotFoundError, UnreadableError) as error:
        return _Answer("fails", f"its baseline cannot be read ({error})")
    return _Answer("works", "the window is due and would be evaluated; the clock sends it again by itself")


def _stored_trouble(services: Services, definition: Definition, window: Window) -> str:
    stored = evaluations.load_evaluation(services.ledger, definition.name, window.name)
    if stored is None:
        return ""
    try:
        stored_inputs(services, definition, window, stored.value)
    except NotFoundError:
        return "what is stored of it is lost"
    except UnreadableError as error:
        return f"what is stored of it cannot be read ({error.reason})"
    return ""


# Events of SageMaker and CloudWatch -----------------------------------------------------------------------------------


def _execution(services: Services, body: str) -> _Answer:
    event = events.job_changed(body)
    try:
        job = services.sagemaker.describe_processing_job(event.name)
    except NotFoundError:
        return _nothing("the job does not exist any more")
    schedule = (job.monitoring_schedule_arn or "").rpartition("/")[2]
    entries = monitors.find(services.ledger, "schedule", schedule) if schedule else []
    if not entries:
        return _nothing("it belongs to no schedule that a monitor names")
    return _over_all(
        each if isinstance(each, _Answer) else _Answer("works", f"its violations are read for {each.name}")
        for each in (_definition(services, entry) for entry in entries)
    )


def _alarm(services: Services, body: str) -> _Answer:
    event = events.alarm_changed(body)

    def of(entry: monitors.Entry) -> _Answer:
        if isinstance(found := _definition(services, entry), _Answer):
            return found
        newest = alarms.states(services.ledger, entry.name).get(event.name)
        if newest and newest.changed_at > event.changed_at:
            return _nothing(f"{entry.name} has a newer state of it, {newest.state}")
        return _Answer("works", f"{entry.name} records it")

    entries = monitors.find(services.ledger, "alarm", event.name)
    return _over_all(map(of, entries)) if entries else _nothing("no monitor names this alarm (any more)")


def _endpoint(services: Services, body: str) -> _Answer:
    event = events.endpoint_changed(body)
    entries = [
        entry for kind in ("endpoint", "pool-endpoint") for entry in monitors.find(services.ledger, kind, event.name)
    ]
    if not entries:
        return _nothing("no monitor names this endpoint (any more)")
    return _over_all(
        each
        if isinstance(each, _Answer)
        else _Answer(
            "works", f"it is added to the timeline of {event.name}, and a promotion of {each.name} may continue"
        )
        for each in (_definition(services, entry) for entry in entries)
    )


# Claims ---------------------------------------------------------------------------------------------------------------


def _retrain(services: Services, body: str) -> _Answer:
    message = events.claim_message(body)
    claim = claims.load_retrain(services.ledger, message.monitor)
    if claim is None or claim.decision_id != message.claim_id:
        return _nothing("another claim has replaced it")
    if claim.state != "STARTING":
        return _nothing(f"the claim has moved on: it is {claim.state}")
    definition = _of_monitor(services, message.monitor)
    if isinstance(definition, _Answer):
        return definition
    return _Answer("works", "it starts the pipeline, once: the request holds its token; the clock sends it again, too")


def _promotion(services: Services, body: str) -> _Answer:
    message = events.claim_message(body)
    claim = claims.load_promotion(services.ledger, message.monitor)
    if claim is None or claim.claim_id != message.claim_id:
        return _nothing("another claim has replaced it")
    if not claim.in_flight:
        return _nothing(f"the claim has ended: it is {claim.state}")
    definition = _of_monitor(services, message.monitor)
    if isinstance(definition, _Answer):
        return definition
    return _Answer("works", f"the claim ({claim.state}) goes one step further; the clock sends it again, too")


def _pipeline(services: Services, body: str) -> _Answer:
    event = events.execution_changed(body)
    try:
        execution = services.sagemaker.describe_execution(event.arn)
    except NotFoundError:
        return _nothing("the execution does not exist any more")
    if not execution.display_name.startswith(DISPLAY_NAME):
        return _nothing("Plumbline did not start this execution")
    record = decisions.load_record(services.ledger, execution.display_name.removeprefix(DISPLAY_NAME))
    claim = claims.load_retrain(services.ledger, record.monitor) if record else None
    if record is None or claim is None or claim.decision_id != record.decision_id:
        return _nothing("it belongs to no claim (any more)")
    if claim.state not in WAITING:
        return _nothing(f"the claim has moved on: it is {claim.state}")
    definition = _of_monitor(services, record.monitor)
    if isinstance(definition, _Answer):
        return definition
    return _Answer("works", f"the retraining of {record.monitor} continues: the execution {execution.status}")


def _package(services: Services, body: str) -> _Answer:
    event = events.package_changed(body)
    approval = claims.awaited_approval(services.ledger, event.arn)
    if approval is None:
        return _nothing("no retraining waits for this package")
    claim = claims.load_retrain(services.ledger, approval.monitor)
    if claim is None or claim.decision_id != approval.decision_id or claim.state != "AWAITING_APPROVAL":
        return _nothing("the retraining that waited for it has moved on")
    definition = _of_monitor(services, approval.monitor)
    if isinstance(definition, _Answer):
        return definition
    return _Answer("works", f"the retraining of {approval.monitor} continues with the registry's current status")


# Alerts ---------------------------------------------------------------------------------------------------------------


def _about_alert(body: str) -> str:
    alert = decode_alert(events.notification(body))
    return f"alert {alert.kind} {alert.state} of {alert.monitor}, {alert.occurred_at}"


def _alert(services: Services, body: str) -> _Answer:
    alert = decode_alert(events.notification(body))
    entry = monitors.get(services.ledger, alert.monitor)
    if entry is None:
        return _nothing(f"there is no monitor {alert.monitor} (any more), so no receiver either")
    definition = _definition(services, entry)
    if isinstance(definition, _Answer):
        return definition
    missing, count, asked = [], 0, events.delivery_route(body)
    for route in definition.routes:
        if not route_accepts(route, alert) or asked not in ("", deliveries.route_digest(route)):
            continue
        count += 1
        known = deliveries.read(services.ledger, alert.alert_id, route)
        if known is None or known.state in ("DELIVERING", "FAILED"):
            last = f", last answer HTTP {known.status}" if known and known.status else ""
            missing.append(f"{route.kind} {deliveries.route_digest(route)[:8]}{last}")
    if not missing:
        return _nothing("every receiver has it" if count else "the definition names no such receiver")
    return _Answer("works", f"{len(missing)} of {count} receivers do not have it: {'; '.join(missing)}")


def _about_window(body: str) -> str:
    message = events.window_message(body)
    return f"window {message.window} of {message.monitor}"


def _about_claim(kind: str) -> Callable[[str], str]:
    def about(body: str) -> str:
        message = events.claim_message(body)
        return f"{kind} of {message.monitor}, claim {message.claim_id}"

    return about


def _about_job(body: str) -> str:
    event = events.job_changed(body)
    return f"processing job {event.name}, {event.status}"


def _about_alarm(body: str) -> str:
    event = events.alarm_changed(body)
    return f"alarm {event.name} went {event.state} at {iso(event.changed_at)}"


def _about_execution(body: str) -> str:
    event = events.execution_changed(body)
    return f"pipeline execution {event.arn}, {event.status}"


def _about_package(body: str) -> str:
    event = events.package_changed(body)
    return f"model package {event.arn}, {event.approval_status}"


def _about_endpoint(body: str) -> str:
    event = events.endpoint_changed(body)
    return f"endpoint {event.name}, {event.status} with {event.config_name}"


def _about_labels(body: str) -> str:
    if monitor := events.label_batch(body):
        return f"labels of {monitor} that wait to be looked up"
    if monitor := events.label_containers(body):
        return f"label objects of {monitor} to be copied into containers"
    return _about_object("label file")(body)


def _ground_truth(services: Services, body: str) -> _Answer:
    if monitor := events.label_containers(body):
        place = labels.compaction(services.ledger, monitor)
        if place is None or not is_settled(place.hour, services.now()):
            return _nothing("all past hours of arrival have been processed")
        return _Answer("works", f"copies those that arrived from {place.hour} on; the clock triggers that by itself")
    monitor = events.label_batch(body)
    if monitor is None:
        return _landed("ground-truth", _labels)(services, body)
    if not labels.awaiting(services.ledger, monitor, limit=1):
        return _nothing("no label waits any more")
    return _Answer("works", "looks them up; the clock triggers that every minute")


# Per queue of the topology: what a message is about, and what a replay would do.
_PARTS: dict[str, tuple[Callable[[str], str], Callable[[Services, str], _Answer]]] = {
    "captures": (_about_object("capture file"), _landed("capture", _capture)),
    "ground-truth": (_about_labels, _ground_truth),
    "clock": (lambda body: "a tick of the clock", _tick),
    "windows": (_about_window, _window),
    "executions": (_about_job, _execution),
    "alarms": (_about_alarm, _alarm),
    "retrain-claims": (_about_claim("retraining"), _retrain),
    "promotion-claims": (_about_claim("promotion or roll-back"), _promotion),
    "pipelines": (_about_execution, _pipeline),
    "model-packages": (_about_package, _package),
    "endpoints": (_about_endpoint, _endpoint),
    "alerts": (_about_alert, _alert),
}
