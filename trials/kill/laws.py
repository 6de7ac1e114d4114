"""What must hold after a run in which the handlers' process was killed, read from the account alone.

Each law is one function: (the observed run, the undisturbed run) -> its breaches, as text. Not here: when and where a
kill came, with one exception: an alert may be delivered again when its delivery died.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec

from chalicelib import keys
from chalicelib.decisions.alert import Alert, decode_alert, route_accepts
from chalicelib.decisions.retrain import DISPLAY_NAME
from chalicelib.definition import Definition
from chalicelib.events import notification
from chalicelib.facts import alarms, champions, claims, decisions, deliveries, evaluations, incidents
from chalicelib.records.merge import read_merged
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.window_reports import REPORTS, Revision
from demo.account import BUCKET, FIRST, LOOP
from demo.run import HOUR, START, Replay
from demo.stream import WEEK, requests_of_week

PIPELINE = "plumbline-retraining"
MONITORS = (LOOP, FIRST)

# If the undisturbed run retrains on a window, a disturbed one does within this many windows.
LIVE_WITHIN = 4


@dataclass(frozen=True)
class Observation:
    """An undisturbed run: its inputs as files in the bucket, and what it made of them.

    `facts`: reports and merged records by key, evaluations by monitor and window. `reigns`: (model, since) of every
    champion, which says whether two runs can be compared whole. `retrained`: the windows of its retrainings.
    """

    captures: Mapping[str, bytes]
    labels: Mapping[str, bytes]
    facts: Mapping[str, bytes]
    reigns: list[tuple[str, str]]
    retrained: Sequence[str]
    promoted: int


@dataclass
class Seen:
    """What was seen of a run that has come to rest. `messages` are (queue, body) as they were delivered."""

    replay: Replay
    messages: Sequence[tuple[str, str]]
    died_delivering_alerts: int = 0
    objects: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def services(self) -> Services:
        return self.replay.services

    def sagemaker(self) -> Any:
        return self.replay.account.client("sagemaker")

    def definition(self, monitor: str) -> Definition:
        return self.services.definitions.get(monitor)

    def alerts(self) -> list[Alert]:
        """The alerts that were published, each once."""
        found = [decode_alert(notification(body)) for queue, body in self.messages if queue == "alerts"]
        return list({alert.alert_id: alert for alert in found}.values())


Law = Callable[[Seen, Observation], list[str]]


def read_objects(replay: Replay) -> dict[str, bytes]:
    """Every object of the bucket that is an input or derived from one."""
    s3 = replay.account.client("s3")
    found = {}
    for prefix in ("captures/", "ground-truth/", "reports/", "plumbline/"):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for item in page.get("Contents", []):
                found[item["Key"]] = s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
    return found


def observe(seen: Seen) -> Observation:
    """Keep what other runs are compared with."""
    champion = champions.load_champion(seen.services.ledger, LOOP)
    assert champion is not None
    return Observation(
        captures=_below(seen.objects, "captures/"),
        labels=_below(seen.objects, "ground-truth/"),
        facts=_facts(seen),
        reigns=_reigns(champion),
        retrained=sorted(each.window for each in _outcomes(seen, "started")),
        promoted=len(_outcomes(seen, "promoted")),
    )


# --- The laws --------------------------------------------------------------------------------------------------------


def at_rest(seen: Seen, calm: Observation) -> list[str]:
    """It went on: every message was worked off, no claim is in flight, nothing was given up."""
    pump, ledger = seen.replay.pump, seen.services.ledger
    wrong = [f"{count} dead letters of the queue {queue}" for queue, count in pump.dead_letters().items()]
    wrong += [f"{count} messages wait in the queue {queue}" for queue, count in pump.waiting().items()]
    if pump.taken:
        wrong.append(f"{pump.taken} messages were not given back")
    retraining, promotion = claims.load_retrain(ledger, LOOP), claims.load_promotion(ledger, LOOP)
    if retraining and retraining.in_flight:
        wrong.append(f"the retraining on {retraining.window} is still {retraining.state}")
    if promotion and promotion.in_flight:
        wrong.append(f"the promotion {promotion.claim_id} is still {promotion.state}")
    return wrong


def same_inputs(seen: Seen, calm: Observation) -> list[str]:
    """The run had the captures and labels of the undisturbed one: a label post that died is stored once."""
    wrong = []
    for name, mine, theirs in (
        ("captures/", _below(seen.objects, "captures/"), calm.captures),
        ("ground-truth/", _below(seen.objects, "ground-truth/"), calm.labels),
    ):
        wrong += [f"{name}: {words}" for words in _differences(mine, theirs)]
    return wrong


def nothing_lost(seen: Seen, calm: Observation) -> list[str]:
    """Every row and every label that was sent is counted in its window's report, and merged once.

    Labels of rows that an endpoint answered while SageMaker changed its model are merged, and counted for no model.
    """
    wrong = []
    for monitor in MONITORS:
        changing = _changing(seen, monitor)
        merged: Counter[tuple[str, str]] = Counter()
        for path, body in _below(seen.objects, f"reports/merge/{monitor}/").items():
            for one in read_merged(body, path).requests:
                merged[one.request.join_id, one.label.data.replace(" ", "")] += 1
        for hour in range(seen.replay.hours):
            window = Window.of(START + HOUR * (1 + hour), HOUR)
            requests = list(requests_of_week(seen.replay.first_week + hour, window.start, HOUR, "r"))
            steady = WEEK - sum(len(range(*one.rows.indices(10**6))) for one in requests if changing(one.time))
            stored = evaluations.load_evaluation(seen.services.ledger, monitor, window.name)
            if stored is None:
                wrong.append(f"{monitor}: window {window.name} was never evaluated")
            elif (stored.value.rows, stored.value.labelled) != (WEEK, steady):
                counted = f"{stored.value.rows} rows of {WEEK} and {stored.value.labelled} labels of {steady}"
                wrong.append(f"{monitor}: {window.name} counts {counted}")
        sent = Counter(_sent(seen.replay))
        wrong += [f"{monitor}: {name} was not merged" for name, _ in (sent - merged)]
        wrong += [f"{monitor}: {name} was merged more often than it was sent" for name, _ in (merged - sent)]
    return wrong


def whole(seen: Seen, calm: Observation) -> list[str]:
    """What lies on SageMaker's paths is the revision that the fact names, all of it and nothing else."""
    wrong = []
    for monitor, window, stored in _evaluated(seen):
        key = keys.revision_key(monitor, window, stored.digest)
        if key not in seen.objects:
            wrong.append(f"{monitor}: {window.name}: the fact's revision is not there")
            continue
        files = msgspec.msgpack.decode(seen.objects[key], type=Revision).files
        for path in _paths(seen.definition(monitor), window):
            if seen.objects.get(path) != files.get(path):
                wrong.append(f"{path} is not of the revision that the fact names")
    return wrong


def half_written(replay: Replay) -> list[str]:
    """What a reader must not see at the moment of a kill: a fact without its revision, a file without one."""
    seen = Seen(replay, [], objects=read_objects(replay))
    wrong = []
    for monitor, window, stored in _evaluated(seen):
        named = keys.revision_key(monitor, window, stored.digest)
        if named not in seen.objects:
            wrong.append(f"{monitor}: {window.name}: the fact's revision is not there")
        stored_ones = _below(seen.objects, named.rpartition("/")[0]).values()
        revisions = [msgspec.msgpack.decode(body, type=Revision).files for body in stored_ones]
        for path in _paths(seen.definition(monitor), window):
            body = seen.objects.get(path)
            if body is not None and all(files.get(path) != body for files in revisions):
                wrong.append(f"{path} is of no stored revision")
    for path, body in _below(seen.objects, "reports/merge/").items():
        # No part of a revision: written when a window settles and when it is sealed.
        if body and (not body.endswith(b"\n") or read_merged(body, path).bad_lines):
            wrong.append(f"{path} is not whole")
    return [f"half_written: {words} (when the kill came)" for words in wrong[:3]]


def facts_equal(seen: Seen, calm: Observation) -> tuple[int, list[str]]:
    """Reports, merged records and evaluations are the undisturbed run's, byte for byte: how many, and which are not.

    Of the monitor that retrains, the files that depend on who served when (constraints, violations, evaluations) are
    compared when the same models have served since the same moments; a retraining may come a little later.
    """
    champion = champions.load_champion(seen.services.ledger, LOOP)
    assert champion is not None
    mine, theirs = _facts(seen), dict(calm.facts)
    if _reigns(champion) != calm.reigns:
        mine, theirs = ({name: body for name, body in each.items() if _of_inputs(name)} for each in (mine, theirs))
    return len(theirs), _differences(mine, theirs)


def one_retraining_at_a_time(seen: Seen, calm: Observation) -> list[str]:
    """One execution per decision; each after the end of the last one, its cool-down over, on newer evidence."""
    wrong = []
    started = _outcomes(seen, "started")
    ends = {each.decision_id: each for each in _outcomes(seen, "promoted", "refused", "failed")}
    listed = seen.sagemaker().list_pipeline_executions(PipelineName=PIPELINE, MaxResults=100)
    names = [each["PipelineExecutionDisplayName"] for each in listed["PipelineExecutionSummaries"]]
    expected = [f"{DISPLAY_NAME}{each.decision_id}" for each in started]
    if sorted(names) != sorted(expected):
        wrong.append(f"{len(names)} executions for {len(expected)} recorded retrainings")
    ordered = sorted(started, key=lambda each: each.window)
    cool_down = seen.definition(LOOP).policy.cool_down_windows
    for last, this in pairwise(ordered):
        end = ends.get(last.decision_id)
        if end is None or end.at > this.at:
            wrong.append(f"the retraining on {this.window} began before that on {last.window} had ended")
        if (_start(this.window) - _start(last.window)) / HOUR < cool_down:
            wrong.append(f"retrainings on {last.window} and {this.window}: cool-down of {cool_down} windows")
        asked = alarms.asking(seen.services.ledger, LOOP, this.window, newest=False)
        if this.window < last.at and not any(trigger.at >= datetime.fromisoformat(last.at) for trigger in asked):
            wrong.append(f"the retraining on {this.window} has no evidence after the last start {last.at}")
    wrong += [f"the retraining on {each.window} has no end" for each in started if each.decision_id not in ends]
    return wrong


def one_promotion_a_generation(seen: Seen, calm: Observation) -> list[str]:
    """Each promotion or roll-back has one generation and one update of the endpoint; what is served was crowned."""
    wrong = []
    sagemaker = seen.sagemaker()
    champion = champions.load_champion(seen.services.ledger, LOOP)
    assert champion is not None
    if [each.generation for each in champion.reigns] != list(range(champion.generation + 1)):
        wrong.append(f"generations {[each.generation for each in champion.reigns]}")
    causes = Counter(each.cause for each in champion.reigns)
    wrong += [f"{count} generations by one claim: {cause}" for cause, count in causes.items() if count > 1]
    changes = len(_outcomes(seen, "promoted", "rolled_back"))
    if changes != champion.generation:
        wrong.append(f"{changes} changes of the champion were recorded, {champion.generation} made")
    updates = [each for each in _endpoint_events(seen, LOOP) if each["EndpointStatus"] == "UPDATING"]
    if len(updates) != champion.generation:
        wrong.append(f"{len(updates)} updates of the endpoint for {champion.generation} changes of the champion")
    config = sagemaker.describe_endpoint_config(
        EndpointConfigName=sagemaker.describe_endpoint(EndpointName=LOOP)["EndpointConfigName"]
    )
    if config["EndpointConfigName"] != champion.config_name:
        wrong.append(f"the endpoint runs {config['EndpointConfigName']}, the champion {champion.config_name}")
    first = sagemaker.describe_endpoint_config(EndpointConfigName=champion.reigns[0].config_name)
    if config.get("DataCaptureConfig") != first["DataCaptureConfig"]:
        wrong.append("the endpoint's configuration lost its DataCaptureConfig")
    there = {each["EndpointName"] for each in sagemaker.list_endpoints(MaxResults=100)["Endpoints"]}
    needed = {*MONITORS, *(each.endpoint for each in champion.pool)}
    wrong += [f"the endpoint {name} is gone" for name in sorted(needed - there)]
    orphaned = there - needed - {champion.candidate.endpoint}
    wrong += [f"the endpoint {name} belongs to no candidate" for name in sorted(orphaned)]
    return wrong


def alerts_once(seen: Seen, calm: Observation) -> list[str]:
    """Each alert reaches each route once (a route again only where its delivery died), and each outcome is recorded."""
    wrong = []
    ledger = seen.services.ledger
    published = seen.alerts()
    due: Counter[str] = Counter()
    for alert in published:
        for route in seen.definition(alert.monitor).routes:
            if not route_accepts(route, alert):
                continue
            delivery = deliveries.read(ledger, alert.alert_id, route)
            state = delivery.state if delivery else "never begun"
            if state == "DELIVERED":
                due[route.kind] += 1
            elif state != "OVERTAKEN":
                wrong.append(f"{alert.kind} {alert.state} of {alert.window} by {route.kind}: {state}")
    got = Counter(_kind(request.path) for request in seen.replay.receiver.accepted)
    wrong += [f"{kind}: {got[kind]} arrived of {count} delivered" for kind, count in due.items() if got[kind] < count]
    again = sum((got - due).values())
    if again > seen.died_delivering_alerts:
        wrong.append(f"{again} alerts were delivered again, {seen.died_delivering_alerts} deliveries had died")
    opened = Counter((alert.kind, alert.incident) for alert in published if alert.state == "opened")
    wrong += [f"{kind} was opened {count} times: {name}" for (kind, name), count in opened.items() if count > 1]
    for monitor in MONITORS:
        for incident in incidents.read_incidents(ledger, monitor):
            wrong += [f"{monitor}: {incident.kind} still owes {owed.state}" for owed in incidents.pending(incident)]
    notices = Counter(alert.decision_id for alert in published if alert.state == "notice")
    for decision, count in Counter(each.decision_id for each in decisions.outcomes(ledger, LOOP)).items():
        if notices[decision] < count:
            wrong.append(f"{count} outcomes of the decision {decision[:12]}, {notices[decision]} notices")
    return wrong


def live(seen: Seen, calm: Observation) -> list[str]:
    """If the undisturbed run retrains, so does this one, a few windows later at most; and if it promotes."""
    mine = sorted(each.window for each in _outcomes(seen, "started"))
    wrong = []
    if calm.retrained and not mine:
        wrong.append(f"the undisturbed run retrained on {calm.retrained[0]}, this one never")
    elif calm.retrained and (_start(mine[0]) - _start(calm.retrained[0])) / HOUR > LIVE_WITHIN:
        wrong.append(f"the undisturbed run retrained on {calm.retrained[0]}, this one not before {mine[0]}")
    if calm.promoted and not _outcomes(seen, "promoted"):
        wrong.append("the undisturbed run promoted a challenger, this one never")
    return wrong


LAWS: tuple[Law, ...] = (
    at_rest,
    same_inputs,
    nothing_lost,
    whole,
    one_retraining_at_a_time,
    one_promotion_a_generation,
    alerts_once,
    live,
)


def breaches(seen: Seen, calm: Observation) -> list[str]:
    """Every broken law, with its first breaches; equality of facts is checked separately."""
    return [f"{law.__name__}: {words}" for law in LAWS for words in law(seen, calm)[:3]]


# --- What there is ---------------------------------------------------------------------------------------------------


def _below(objects: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    return {name: body for name, body in objects.items() if name.startswith(prefix)}


def _start(window: str) -> datetime:
    return Window.parse(window, HOUR).start


def _outcomes(seen: Seen, *kinds: str) -> list[decisions.Outcome]:
    return [each for each in decisions.outcomes(seen.services.ledger, LOOP) if each.kind in kinds]


def _reigns(champion: champions.Champion) -> list[tuple[str, str]]:
    return [(each.candidate, each.since) for each in champion.reigns]


def _evaluated(seen: Seen) -> Iterator[tuple[str, Window, evaluations.Evaluation]]:
    for monitor in MONITORS:
        for each in evaluations.evaluations(seen.services.ledger, monitor):
            yield monitor, Window.parse(each.window, HOUR), each


def _facts(seen: Seen) -> dict[str, bytes]:
    below = _below(seen.objects, "reports/")
    # Label maturity is as of the time of writing, which a kill changes.
    found = {name: body for name, body in below.items() if not name.endswith("/label_maturity.json")}
    for monitor, window, each in _evaluated(seen):
        found[f"evaluation {monitor} {window.name}"] = msgspec.json.encode(each)
    return found


def _of_inputs(name: str) -> bool:
    """Whether a fact depends on captures and labels only, not on the champion."""
    loops = name.startswith((f"reports/{LOOP}/", f"evaluation {LOOP} "))
    return not loops or name.endswith("/statistics.json")


def _differences(mine: Mapping[str, bytes], theirs: Mapping[str, bytes]) -> list[str]:
    """The names whose bytes are not equal, a few of them, with where they are."""
    wrong = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
    named = []
    for name in wrong[:3]:
        where = "differs" if name in mine and name in theirs else f"is only {'here' if name in mine else 'there'}"
        named.append(f"{name} {where}")
    return named + ([f"and {len(wrong) - 3} more"] if len(wrong) > 3 else [])


def _endpoint_events(seen: Seen, endpoint: str) -> list[dict[str, Any]]:
    """The details of SageMaker's events of an endpoint, each once, in the order of their times."""
    events = [json.loads(body) for queue, body in seen.messages if queue == "endpoints"]
    events = [event for event in events if "id" in event]  # the clock's own reminders have none
    details = {event["id"]: event["detail"] for event in events if event["detail"]["EndpointName"] == endpoint}
    return sorted(details.values(), key=lambda detail: float(detail["LastModifiedTime"]))


def _changing(seen: Seen, endpoint: str) -> Callable[[datetime], bool]:
    """Whether SageMaker was changing the model of an endpoint at a time."""
    spans, began = [], None
    for detail in _endpoint_events(seen, endpoint):
        at = datetime.fromtimestamp(float(detail["LastModifiedTime"]) / 1000, UTC)
        if detail["EndpointStatus"] == "UPDATING":
            began = at
        elif began is not None:
            spans.append((began, at))
            began = None
    return lambda moment: any(began <= moment < ended for began, ended in spans)


def _sent(replay: Replay) -> Iterator[tuple[str, str]]:
    """(inference id, label as it is stored) of every request of the run."""
    for hour in range(replay.hours):
        for request in requests_of_week(replay.first_week + hour, START + HOUR * (1 + hour), HOUR, "r"):
            labels = [int(label) for label in replay.stream.labels[request.rows]]
            yield request.inference_id, json.dumps(labels if len(labels) > 1 else labels[0]).replace(" ", "")


def _paths(definition: Definition, window: Window) -> Iterator[str]:
    for monitor_type in definition.monitor_types:
        folder = keys.report_folder("reports", definition.endpoint, definition.name, monitor_type, window)
        yield from (f"{folder}/{name}" for name in REPORTS)


def _kind(path: str) -> str:
    """The kind of route that posts to a path of the receiver."""
    return "slack" if path.startswith("/services/") else "pagerduty" if path == "/v2/enqueue" else "webhook"
