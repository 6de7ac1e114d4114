"""The laws: what must hold of a history that has been played, whatever happened in it.

Each law is one function (hostile world, calm world) -> the breaches, in words. Facts converge to the calm run's bytes
where nothing is retrained; what was put in is counted by an oracle of its own, made from the history alone; effects are
judged by what SageMaker, the receivers and the documents that guard them have seen.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from chalicelib import keys
from chalicelib.decisions.retrain import excess_loss
from chalicelib.facts import alarms, champions, decisions, evaluations, incidents
from chalicelib.facts.claims import RetrainClaim
from chalicelib.records.window import Window, parse_duration
from chalicelib.workflows.window_reports import REPORTS, Revision
from trials.simulation.history import CHANGED_COST, HOUR, START, Capture, Labels, hour, inputs_of
from trials.simulation.holdings import DATA, ENDPOINT, HOOK, MONITOR, OWN, SLOW, definition
from trials.simulation.world import World, endpoint_exists

# If the calm run retrains on a window, the hostile one does within this many windows, where as many follow.
LIVE_WITHIN = 4
VETOED = ("is declared a veto", "paused since")
HELD_BACK = (*VETOED, "broken data is not learned from", "not settled", "restated")

Law = Callable[[World, World], list[str]]


def seen_while_played(world: World, calm: World) -> list[str]:
    """Two retrainings in flight, a fact without its revision, a handler that fails for ever, no rest: seen at once."""
    return [*world.broken, *(f"after all faults had ended: {failure}" for failure in world.failures[:3])]


def facts_converge(world: World, calm: World) -> list[str]:
    """Without effects, every window's reports, merge files and facts are the calm run's, byte for byte.

    Where a lifecycle rule has deleted captures, their lines cannot be merged again and the report says that files are
    gone: there everything else is the same.
    """
    if world.history.effects:
        return []
    mine, theirs = (_derived(each, world.expired | calm.expired) for each in (world, calm))
    wrong = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
    return [_difference(name, mine.get(name), theirs.get(name)) for name in wrong[:3]]


def nothing_lost(world: World, calm: World) -> list[str]:
    """Every request and every label that came in time is in its window's final report and merge file."""
    wrong = []
    expected = _expected(world)
    for name, length in _monitors(world):
        found: dict[str, str] = {}
        for window in _windows(world, length):
            stored = evaluations.load_evaluation(world.account.ledger, name, window.name)
            if stored is None:
                wrong.append(f"{name}: window {window.name} was never evaluated")
                continue
            rows = sum(
                len(request.rows) for request, good, _ in expected.values() if good and window.contains(request.at)
            )
            if stored.value.rows != rows:
                wrong.append(f"{name}: {window.name} counts {stored.value.rows} rows of {rows}")
            found.update(_merged(world, name, window))
        for event_id, (request, good, label) in sorted(expected.items()):
            hours = Window.of(request.at, length).hours()
            if any(f"/{each}/" in key for key in world.expired for each in hours):
                continue  # lines of its window are gone, so merge files stay as they were; it is counted above
            if good and found.get(event_id) != label:
                wrong.append(
                    f"{name}: request {request.inference_id} of {request.at:%d %H:%M} has the label "
                    f"{found.get(event_id)!r} instead of {label!r}"
                )
    return wrong[:4]


def whole(world: World, calm: World) -> list[str]:
    """What lies on the fixed paths is the revision that the fact names, all of it and nothing else."""
    wrong = []
    store = world.account.objects
    for name, length in _monitors(world):
        for window in _windows(world, length):
            stored = evaluations.load_evaluation(world.account.ledger, name, window.name)
            if stored is None:
                continue
            key = keys.revision_key(name, window, stored.value.digest)
            if (OWN, key) not in store.objects:
                wrong.append(f"{name}: {window.name}: the fact's revision is not there")
                continue
            files = msgspec.msgpack.decode(store.get(OWN, key).body, type=Revision).files
            for path in _paths(name, window):
                there = store.objects.get((DATA, path))
                if (there.body if there else None) != files.get(path):
                    wrong.append(f"{path} is not of the revision {stored.value.digest[:8]} that the fact names")
    return wrong[:4]


def one_retraining_at_a_time(world: World, calm: World) -> list[str]:
    """Claims follow each other: the last one ended, on newer evidence, after the cool-down; one execution for each."""
    wrong = []
    cool_down = world.history.policy["cool_down_windows"]
    last = None
    for claim in world.retrain_claims:
        if last is not None and claim.decision_id != last.decision_id:
            if last.in_flight:
                wrong.append(f"a retraining on {claim.window} was claimed while that on {last.window} was {last.state}")
            if claim.window_number <= last.window_number:
                wrong.append(f"a retraining on {claim.window} was claimed after one on {last.window}")
            if claim.window_number - last.window_number < cool_down:
                wrong.append(f"claims on {last.window} and {claim.window}: cool-down of {cool_down} windows")
            if not _newer_evidence(world, claim, last):
                wrong.append(f"a retraining on {claim.window} has no evidence after the last start {last.started_at}")
        elif last is not None and not last.in_flight and claim.in_flight:
            wrong.append(f"the retraining on {claim.window} was {last.state} and is {claim.state} again")
        last = claim
    requests = world.account.sagemaker.requests.values()
    tokens = Counter(request["ClientRequestToken"] for request in requests)
    wrong += [f"{count} executions for the decision {token[:12]}" for token, count in tokens.items() if count > 1]
    claimed = {claim.decision_id for claim in world.retrain_claims}
    wrong += [f"an execution that was never claimed: {token[:12]}" for token in tokens if token not in claimed]
    return wrong


def one_promotion_a_generation(world: World, calm: World) -> list[str]:
    """Generations go up by one; each was claimed, and no claim has two."""
    wrong = []
    for before, after in zip(world.crowns, world.crowns[1:], strict=False):
        if after.generation != before.generation + 1:
            wrong.append(f"generation {before.generation} was followed by {after.generation}")
    champion = champions.load_champion(world.account.ledger, MONITOR)
    assert champion is not None
    causes = Counter(reign.cause for reign in champion.reigns)
    wrong += [f"{count} generations by one claim: {cause}" for cause, count in causes.items() if count > 1]
    last = None
    for claim in world.promotion_claims:
        if last is not None and claim.claim_id != last.claim_id:
            if last.in_flight:
                wrong.append(f"{claim.claim_id} was claimed while {last.claim_id} was {last.state}")
            if claim.generation < last.generation:
                wrong.append(f"{claim.claim_id} is for generation {claim.generation} after {last.generation}")
        last = claim
    return wrong


def served_as_crowned(world: World, calm: World) -> list[str]:
    """In the end the endpoint serves the champion, and captures as it did; nobody pays for endpoints of nobody."""
    sagemaker = world.account.sagemaker
    champion = champions.load_champion(world.account.ledger, MONITOR)
    assert champion is not None
    wrong = []
    config = sagemaker.endpoint_configs[sagemaker.endpoints[ENDPOINT].config_name]
    [first] = [found for name, found in sagemaker.endpoint_configs.items() if name == "churn-1"]
    for field in ("DataCaptureConfig", "KmsKeyId"):
        if config.get(field) != first[field]:
            wrong.append(f"the endpoint's configuration lost its {field}")
    if not world.outside:
        served = config["ProductionVariants"][0]["ModelName"]
        if served != champion.candidate.model_name:
            wrong.append(f"the endpoint serves {served}, the champion is {champion.candidate.model_name}")
        if config["EndpointConfigName"] != champion.config_name:
            wrong.append(f"the endpoint runs {config['EndpointConfigName']}, the champion {champion.config_name}")
    known = {each.endpoint for each in (champion.candidate, *champion.pool)} | {ENDPOINT}
    waiting = world.retrain_claims and world.retrain_claims[-1].in_flight
    left = sorted(set(sagemaker.endpoints) - known)
    # The champion's own endpoint stands for the next gate, before the champion's document names it.
    left = [
        name
        for name in left
        if sagemaker.endpoint_configs[name]["ProductionVariants"][0]["ModelName"] != champion.candidate.model_name
    ]
    if left and not waiting:
        wrong.append(f"endpoints of nobody: {', '.join(left)}")
    wrong += [
        f"the pool's {each.name} has no endpoint"
        for each in champion.pool
        if each.endpoint and not endpoint_exists(world, each.endpoint)
    ]
    return wrong


def alerts_once(world: World, calm: World) -> list[str]:
    """A receiver gets each alert once (twice only when a process died between post and mark), each that is owed."""
    wrong = []
    delivered = [json.loads(each.body)["data"] for each in world.account.courier.delivered if each.url == HOOK]
    counts = Counter(alert["alert_id"] for alert in delivered)
    excused = (
        world.coverage[("alert_published", "courier.post", "after")]
        + sum(
            count
            for (function, _, way), count in world.coverage.items()
            if function == "alert_published" and way != "before"
        )
        + sum(
            count
            for (function, kind, way), count in world.coverage.items()
            if function == "alert_published" and way == "before" and kind == "ledger.put ALERT"
        )
        + sum(
            count
            for (function, kind, way), count in world.coverage.items()
            if function == "alert_published" and way == "before" and kind == "ledger.get ALERT"
        )
    )
    repeated = sum(count - 1 for count in counts.values())
    if repeated > excused:
        wrong.append(f"{repeated} alerts were delivered again, {excused} faults could have led to that")
    published = {alert["alert_id"]: alert for alert in world.account.topic.published}
    opened = Counter((alert["kind"], alert["incident"]) for alert in published.values() if alert["state"] == "opened")
    wrong += [f"{what} was opened {count} times" for what, count in opened.items() if count > 1]
    got = set(counts)
    for identity, alert in published.items():
        if alert["monitor"] != MONITOR or identity in got:
            continue
        twin = [other for other in published.values() if other["incident"] == alert["incident"] != ""]
        overtaken = alert["state"] == "opened" and any(
            other["state"] == "resolved" and other["alert_id"] in got for other in twin
        )
        if not overtaken:
            wrong.append(f"never delivered: {alert['kind']} {alert['state']} of {alert['window']}")
    for name in world.monitors:
        for incident in incidents.read_incidents(world.account.ledger, name):
            wrong += [f"{incident.kind}: still owes {owed.state}" for owed in incidents.pending(incident)]
    return wrong[:4]


def live(world: World, calm: World) -> list[str]:
    """An episode that the calm run retrains on is retrained on here, too, on that window or one of the next few.

    Windows do not count that a veto or a pause held back here alone (it was told of late, or the decision came late),
    and those whose worker decided on a retraining and was struck before it could claim it.
    """
    if not calm.retrain_claims:
        return []
    first = Window.parse(calm.retrain_claims[0].window, HOUR)
    # Without as many windows after it on which anything could be decided nothing can be asked for.
    after = [
        window
        for window in _windows(world, HOUR)
        if window.start > first.start and _decided(calm, window) and not _excused(world, window)
    ]
    if len(after) < LIVE_WITHIN:
        return []
    if not _lasting(calm, first):
        return []
    limit = after[LIVE_WITHIN - 1].start
    if not world.retrain_claims:
        return [f"the calm run retrained on {first.name}, this one never"]
    mine = Window.parse(world.retrain_claims[0].window, HOUR)
    if mine.start > limit:
        return [f"the calm run retrained on {first.name}, this one not before {mine.name}"]
    return []


LAWS: tuple[Law, ...] = (
    seen_while_played,
    nothing_lost,
    whole,
    facts_converge,
    one_retraining_at_a_time,
    one_promotion_a_generation,
    served_as_crowned,
    alerts_once,
    live,
)


def breaches(world: World, calm: World) -> list[str]:
    """Every law that a history broke, with what broke it."""
    return [f"{law.__name__}: {words}" for law in LAWS for words in law(world, calm)]


def _newer_evidence(world: World, claim: RetrainClaim, last: RetrainClaim) -> bool:
    """Whether the claim's window began after the last start, or an alarm that asked for it came after it."""
    if claim.window >= last.started_at.strftime("%Y-%m-%dT%H:%M:%SZ"):
        return True
    asked = alarms.asking(world.account.ledger, MONITOR, claim.window, newest=False)
    return any(trigger.at >= last.started_at for trigger in asked)


def _decided(calm: World, window: Window) -> bool:
    """Whether the calm run decided on a window without being held back (a veto, broken data, too few labels)."""
    return any(not _says(record, HELD_BACK) for record in _records(calm, window))


def _excused(world: World, window: Window) -> bool:
    """Whether a window could not be retrained on for what neither its worker nor we can help."""
    records = _records(world, window)
    claimed = {claim.decision_id for claim in world.retrain_claims}
    struck = world.struck_windows.get(window.name, START).strftime("%Y-%m-%dT%H:%M:%SZ")
    wanted = [each.made_at for each in records if each.action == "RETRAIN" and each.decision_id not in claimed]
    vetoed = any(_says(record, VETOED) for record in records) and all(_says(record, HELD_BACK) for record in records)
    return vetoed or any(made_at <= struck for made_at in wanted)


def _records(world: World, window: Window) -> list[decisions.Record]:
    ledger = world.account.ledger
    found = [
        decisions.load_record(ledger, each.decision_id) for each in decisions.references(ledger, MONITOR, window.name)
    ]
    return [record for record in found if record is not None]


def _says(record: decisions.Record, words: Sequence[str]) -> bool:
    return any(each in reason for reason in record.reasons for each in words)


def _lasting(calm: World, window: Window) -> bool:
    """Whether what the calm run retrained on was still so when all labels were there, or an alarm asked for it."""
    if alarms.asking(calm.account.ledger, MONITOR, window.name, newest=False):
        return True
    found = evaluations.evaluations(calm.account.ledger, MONITOR, "", window.next().name)
    losses = [each.loss for each in found if each.settled and each.loss is not None and not each.broken]
    policy = definition(calm.history, {"cost": CHANGED_COST}).policy
    return excess_loss(losses, policy).reaches(policy)


# What there is --------------------------------------------------------------------------------------------------------


def _monitors(world: World) -> list[tuple[str, timedelta]]:
    return [(name, 2 * HOUR if name == SLOW else HOUR) for name in world.monitors]


def _windows(world: World, length: timedelta) -> Iterator[Window]:
    """The windows that have had traffic or could have had it."""
    window = Window(START, length)
    while window.start < hour(world.history.windows):
        yield window
        window = window.next()


def _paths(monitor: str, window: Window) -> Iterator[str]:
    types = ("DataQuality", "ModelQuality")
    for monitor_type in types:
        folder = keys.report_folder("reports", ENDPOINT, monitor, monitor_type, window)
        yield from (f"{folder}/{name}" for name in REPORTS)


def _derived(world: World, expired: set[str]) -> dict[str, bytes]:
    """Reports, merge files and facts of the windows of the history; of those with expired captures without what depends
    on whether these could be read again."""
    found: dict[str, bytes] = {}
    for name, length in _monitors(world):
        for window in _windows(world, length):
            whole = not any(f"/{each}/" in key for key in expired for each in window.hours())
            for path in _paths(name, window):
                if there := world.account.objects.objects.get((DATA, path)):
                    found[path] = there.body if whole else _without(there.body, "capture_files_gone")
            for each in window.hours() if whole else ():
                path = keys.merge_key("reports", ENDPOINT, "AllTraffic", name, each)
                if there := world.account.objects.objects.get((DATA, path)):
                    found[path] = there.body
            if item := world.account.ledger.get(f"MONITOR#{name}", f"EVALUATION#{window.name}"):
                found[f"{name} {item.sk}"] = item.body if whole else _without(item.body, *_READ_AGAIN)
    return found


# Digests in an evaluation's fact of what was measured, of the report that says so, and of what was merged.
_READ_AGAIN = ("digest", "measured", "merged")


def _without(body: bytes, *fields: str) -> bytes:
    """A JSON document without these fields, at its top or among the inputs."""
    document = json.loads(body)
    for field in fields:
        document.pop(field, None)
        if isinstance(document.get("inputs"), dict):
            document["inputs"].pop(field, None)
    return json.dumps(document).encode()


def _difference(name: str, mine: bytes | None, theirs: bytes | None) -> str:
    if mine is None or theirs is None:
        return f"{name} is there only {'in the calm run' if mine is None else 'here'}"
    try:
        one, other = json.loads(mine), json.loads(theirs)
    except ValueError:
        return f"{name}: {len(mine)} bytes, {len(theirs)} in the calm run"
    fields = [
        f"{field} {one.get(field)!r:.60} / {other.get(field)!r:.60}"
        for field in one
        if one.get(field) != other.get(field)
    ]
    return f"{name} differs (here / calm): {'; '.join(fields[:4])}"


def _expected(world: World) -> dict[str, tuple[Any, bool, str | None]]:
    """Event id -> request, whether its file can be read into rows, and the label that must be found with it."""
    horizon = parse_horizon(world)
    last: dict[str, tuple[Any, str]] = {}
    for labels in sorted(inputs_of(world.history, Labels, world.removed), key=lambda each: each.at):
        at = world.label_times.get(labels.id)
        if at is None:
            continue
        for entry in labels.entries:
            last.setdefault(entry.inference_id, (at, entry.data))
            if at >= last[entry.inference_id][0] and not labels.name.startswith("too-late"):
                last[entry.inference_id] = (at, entry.data)
    found = {}
    for capture in inputs_of(world.history, Capture, world.removed):
        for request in capture.requests:
            label = last.get(request.inference_id)
            if label is not None and label[0] >= hour(capture.window + 1) + horizon:
                label = None
            found[request.event_id] = (request, capture.shape != "garbage", label[1] if label else None)
    return found


def parse_horizon(world: World) -> timedelta:
    return parse_duration(world.history.horizon, "horizon")


def _merged(world: World, monitor: str, window: Window) -> dict[str, str]:
    """Event id -> label, from the merge files of a window."""
    found = {}
    for each in window.hours():
        there = world.account.objects.objects.get(
            (DATA, keys.merge_key("reports", ENDPOINT, "AllTraffic", monitor, each))
        )
        for line in there.body.splitlines() if there else ():
            document = json.loads(line)
            found[document["eventMetadata"]["eventId"]] = document["groundTruthData"]["data"]
    return found
