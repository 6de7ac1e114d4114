"""A paused monitor goes on counting and does nothing; a removed one ends what is in flight and counts no more."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from chalicelib.definition import version_of
from chalicelib.errors import NotFoundError
from chalicelib.events import ClaimMessage, WindowMessage
from chalicelib.facts import claims, decisions, due, incidents, monitors
from chalicelib.handlers import alert_published, retrain_claimed
from chalicelib.keys import definition_key
from chalicelib.records.window import Window
from plumbline.cli import rebuild
from plumbline.cli.account import dead_letters
from plumbline.cli.pause import pause, resume
from plumbline.cli.remove import remove
from tests.unit.alerts.faults import Faults
from tests.unit.handlers.world import (
    ENDPOINT,
    HOUR,
    MINUTE,
    MONITOR,
    OWN,
    World,
    capture_line,
    definition,
    hour,
    rows_of,
    window_name,
)


def calm(**changes: object) -> World:
    """Three hours in which all is well."""
    world = World(definition(**changes))
    for number in range(3):
        world.live(number)
    return world


def paused(until: datetime | None = None) -> World:
    """Three calm hours, then a pause, then one in which the world has changed."""
    world = calm()
    pause(world.services, MONITOR, until)
    world.live(3, "z")
    return world


def reasons(world: World, number: int) -> list[str]:
    return [reason for record in world.decisions(number) for reason in record.reasons]


def ticks(world: World, minutes: int) -> None:
    world.minutes(minutes, until=world.clock.time + minutes * MINUTE)


# Paused: facts go on --------------------------------------------------------------------------------------------------


def test_a_paused_monitor_counts_and_reports_as_any_other() -> None:
    world, other = paused(), calm()
    other.live(3, "z")
    assert world.evaluation(3) == other.evaluation(3)
    assert world.report(3) == other.report(3)
    assert world.derived() == other.derived()


def test_a_late_label_is_counted_while_paused() -> None:
    world = calm()
    rows = world.live(3, "z", labelled=False)
    pause(world.services, MONITOR, None)
    world.label(rows, "z", "late")
    world.settle()
    ticks(world, 20)
    assert world.evaluation(3).labelled == 20


# Paused: effects are held ---------------------------------------------------------------------------------------------


def test_nothing_is_retrained_while_paused() -> None:
    world = paused()
    assert world.running() == [] and claims.load_retrain(world.services.ledger, MONITOR) is None
    [record] = world.decisions(3)
    assert record.action in ("HOLD", "ALERT")
    assert any(reason.startswith("paused since 2026-01-05T03:09:00Z, until resumed") for reason in record.reasons)


def test_the_same_hour_would_have_been_retrained() -> None:
    world = calm()
    world.live(3, "z")
    assert world.actions()[-1] == "RETRAIN" and len(world.running()) == 1


def test_resumed_what_was_held_back_is_decided_at_once() -> None:
    world = paused()
    assert resume(world.services, MONITOR)
    ticks(world, 5)
    assert [record.action for record in world.decisions(3)][-1] == "RETRAIN"
    assert len(world.running()) == 1


def test_a_pause_ends_by_itself() -> None:
    world = paused(until=hour(4) + 30 * MINUTE)
    assert world.running() == []
    world.live(4, "z")
    assert world.actions()[-1] == "RETRAIN" and len(world.running()) == 1


def test_a_trigger_waits_for_the_end_of_the_pause() -> None:
    world = calm()
    pause(world.services, MONITOR, None)
    world.alarm("accuracy-low", "ALARM")
    world.settle()
    ticks(world, 20)
    assert world.running() == []
    resume(world.services, MONITOR)
    ticks(world, 20)
    assert len(world.running()) == 1
    assert "alarm accuracy-low is declared a trigger and is in ALARM" in reasons(world, 2)


def test_a_pause_between_the_claim_and_the_start_holds_the_start() -> None:
    world = calm()
    world.live(3, "z")
    [execution] = world.running()
    claim = world.retraining()
    # As it was before the start, whose token gives the same execution again: the claim made, its message on the way.
    item = world.services.ledger.get(f"MONITOR#{MONITOR}", "CLAIM#RETRAIN")
    assert item is not None
    starting = msgspec.structs.replace(claim, state="STARTING", execution_arn="")
    world.services.ledger.put(item.pk, item.sk, msgspec.json.encode(starting), expected=item.revision)
    pause(world.services, MONITOR, None)
    body = msgspec.json.encode(ClaimMessage(MONITOR, claim.decision_id))
    retrain_claimed.handle(body.decode(), world.services)
    assert world.retraining().state == "STARTING"
    resume(world.services, MONITOR)
    ticks(world, 25)  # the clock sends the claim again once its lease is over
    assert world.retraining().state == "STARTED"
    assert [execution] == world.running()
    assert execution.arn == world.retraining().execution_arn


def test_a_challenger_waits_for_the_end_of_the_pause() -> None:
    world = calm()
    world.live(3, "z")
    pause(world.services, MONITOR, None)
    world.finish_pipeline("z")
    world.settle()
    ticks(world, 60)
    assert world.champion().generation == 0 and world.promotion().state == "APPLYING"
    assert world.pool_endpoints() == []
    resume(world.services, MONITOR)
    ticks(world, 60)
    assert world.champion().generation == 1 and world.promotion().state == "DONE"


# Paused: alerts -------------------------------------------------------------------------------------------------------


def about(world: World) -> list[tuple[str, str]]:
    return [(alert.kind, alert.state) for alert in world.alerts() if alert.state != "notice"]


def broken_hour(world: World, number: int) -> None:
    """Requests without half of their columns."""
    world.clock.time = hour(number) + 50 * MINUTE
    rows = rows_of(number, 20)
    world.put_capture(number, b"".join(capture_line(row, "0.9", asked=f"{row.x}") for row in rows), "broken")
    world.settle()
    world.clock.time = hour(number + 1) + 2 * MINUTE
    world.minutes(6, until=hour(number + 1) + 9 * MINUTE)


def test_no_incident_alerts_while_paused_and_an_open_one_does_afterwards() -> None:
    world = calm()
    pause(world.services, MONITOR, None)
    broken_hour(world, 3)
    assert about(world) == []
    [incident] = [
        each for each in incidents.read_incidents(world.services.ledger, MONITOR) if each.kind == "broken-data"
    ]
    assert incident.state == "OPEN"
    resume(world.services, MONITOR)
    ticks(world, 5)
    assert ("broken-data", "opened") in about(world)


def test_of_an_incident_within_the_pause_nobody_is_told() -> None:
    world = calm()
    pause(world.services, MONITOR, None)
    broken_hour(world, 3)
    world.live(4)
    resume(world.services, MONITOR)
    ticks(world, 5)
    world.live(5)
    assert about(world) == []


def test_an_incident_that_was_told_is_resolved_afterwards() -> None:
    world = calm()
    broken_hour(world, 3)
    assert about(world)[0] == ("broken-data", "opened")
    pause(world.services, MONITOR, None)
    told = about(world)
    world.live(4)
    assert about(world) == told
    resume(world.services, MONITOR)
    ticks(world, 5)
    assert ("broken-data", "resolved") in about(world)


def test_each_alert_comes_once() -> None:
    world = calm()
    pause(world.services, MONITOR, None)
    broken_hour(world, 3)
    resume(world.services, MONITOR)
    for number in (4, 5):
        world.live(number)
    assert len(about(world)) == len(set(about(world)))


# Removed --------------------------------------------------------------------------------------------------------------


def test_a_removed_monitor_evaluates_nothing_more() -> None:
    world = calm()
    remove(world.services, MONITOR)
    before = world.derived()
    world.live(3)
    assert [each.window for each in world.evaluated()] == [window_name(number) for number in range(3)]
    assert world.derived() == before
    assert list(world.owed()) == [] and world.failures == [] and world.permanent == []


def test_windows_that_were_due_are_owed_no_longer() -> None:
    world = calm()
    rows = rows_of(3, 20)
    world.clock.time = hour(3) + 50 * MINUTE
    world.capture(3, rows)
    world.settle()
    assert list(world.owed())
    remove(world.services, MONITOR)
    world.clock.time = hour(4) + 6 * MINUTE
    ticks(world, 10)
    assert list(world.owed()) == [] and world.failures == []


def test_labels_of_a_removed_monitor_are_nobodys() -> None:
    world = calm()
    remove(world.services, MONITOR)
    assert world.services.definitions.ground_truth_places(ENDPOINT) == []
    world.label(rows_of(2, 20), "z", "again")
    world.settle()
    assert list(world.owed()) == [] and world.failures == []


def test_a_retraining_that_runs_is_refused_at_its_end() -> None:
    world = calm()
    world.live(3, "z")
    remove(world.services, MONITOR)
    _, package = world.finish_pipeline("z")
    world.settle()
    ticks(world, 30)
    claim = world.retraining()
    assert claim.state == "REFUSED" and claim.outcome == f"{package} is not used: the monitor was removed"
    assert world.champion().generation == 0 and world.pool_endpoints() == [] and world.failures == []


def test_the_end_of_what_was_in_flight_is_told_by_the_removed_monitors_routes() -> None:
    world = calm()
    world.live(3, "z")
    remove(world.services, MONITOR)
    world.finish_pipeline("z")
    world.settle()
    assert world.alerts()[-1].summary == "a challenger was refused"


def test_an_alert_waits_for_a_definition_that_is_missing_in_s3() -> None:
    world = calm()
    world.live(3, "z")
    envelope = next(message for queue, message in world.history if queue == "alerts").decode()
    [entry] = monitors.all_entries(world.services.ledger)
    world.services.objects.delete(OWN, definition_key(MONITOR, entry.version))
    # Another process: this one has decoded the definition already.
    with pytest.raises(NotFoundError):
        alert_published.handle(envelope, Faults.replaced(world.services))


def test_an_alert_of_a_monitor_that_was_never_added_is_nobodys() -> None:
    world = calm()
    world.live(3, "z")
    envelope = next(message for queue, message in world.history if queue == "alerts").decode()
    stranger = envelope.replace(f'\\"monitor\\": \\"{MONITOR}\\"', '\\"monitor\\": \\"another\\"')
    assert stranger != envelope
    assert alert_published.handle(stranger, world.services) is None
    assert world.services.queues.take("alerts") == []


def test_a_retraining_that_waits_to_start_is_not_started() -> None:
    world = calm()
    pause(world.services, MONITOR, None)
    resume(world.services, MONITOR)
    world.live(3, "z")
    claim = world.retraining()
    item = world.services.ledger.get(f"MONITOR#{MONITOR}", "CLAIM#RETRAIN")
    assert item is not None
    starting = msgspec.structs.replace(claim, state="STARTING", execution_arn="")
    world.services.ledger.put(item.pk, item.sk, msgspec.json.encode(starting), expected=item.revision)
    started = dict(world.services.sagemaker.executions)
    remove(world.services, MONITOR)
    ticks(world, 25)
    assert (world.retraining().state, world.retraining().outcome) == (
        "FAILED",
        "not started: the monitor was removed",
    )
    assert world.services.sagemaker.executions == started


def test_a_challenger_on_its_way_is_refused() -> None:
    world = World(definition(), endpoint_takes=5 * MINUTE)
    for number in range(3):
        world.live(number)
    world.live(3, "z")
    _, package = world.finish_pipeline("z")
    world.settle()
    assert world.promotion().state == "APPLYING"
    remove(world.services, MONITOR)
    ticks(world, 40)
    assert world.promotion().state == "REFUSED" and world.retraining().state == "REFUSED"
    assert world.services.sagemaker.describe_model_package(package).approval_status == "Rejected"
    assert world.champion().generation == 0 and world.failures == []
    # The challenger's own endpoint is gone; the champion's stays and is told by `remove`.
    assert [name for name in world.pool_endpoints() if "new" in name] == []


def test_an_endpoint_that_is_updated_is_taken_to_its_end() -> None:
    world = World(definition(), endpoint_takes=5 * MINUTE)
    for number in range(3):
        world.live(number)
    world.live(3, "z")
    world.finish_pipeline("z")
    world.settle()
    for _ in range(40):
        if world.promotion().state == "DEPLOYING":
            break
        ticks(world, 1)
    assert world.promotion().state == "DEPLOYING"
    remove(world.services, MONITOR)
    ticks(world, 40)
    assert world.promotion().state == "DONE" and world.champion().generation == 1 and world.serving == "z"


def test_a_challenger_that_waits_for_a_person_waits_no_longer() -> None:
    world = calm(policy={"promotion": "manual"})
    world.live(3, "z")
    world.finish_pipeline("z")
    world.settle()
    assert world.retraining().state == "AWAITING_APPROVAL"
    remove(world.services, MONITOR)
    assert (world.retraining().state, world.retraining().outcome) == ("REFUSED", "the monitor was removed")
    assert [each.kind for each in decisions.outcomes(world.services.ledger, MONITOR)][-1] == "refused"


def test_neither_rebuild_nor_redrive_takes_a_removed_monitor_up() -> None:
    world = calm()
    remove(world.services, MONITOR)
    with pytest.raises(NotFoundError, match="was removed 2026-01-05T03:09:00Z; `plumbline add FILE`"):
        rebuild.plan(world.services, MONITOR, hour(0), hour(2))
    due.mark(world.services.ledger, MONITOR, Window(hour(1), HOUR), MINUTE, world.clock.time)
    body = msgspec.json.encode(WindowMessage(MONITOR, window_name(1))).decode()
    judged = dead_letters.judge(world.services, "windows", body)
    assert (judged.verdict, judged.why) == ("nothing", "the monitor was removed: its windows are not evaluated")


def test_removing_twice_is_removing_once() -> None:
    world = calm()
    assert remove(world.services, MONITOR)
    before = dict(world.services.ledger.items)
    world.clock.time += HOUR
    assert not remove(world.services, MONITOR)
    assert world.services.ledger.items == before


def test_added_again_it_goes_on_from_now_with_its_champion() -> None:
    world = calm()
    champion = world.champion()
    remove(world.services, MONITOR)
    world.live(3)
    world.live(4, labelled=False)
    world.add(world.definition)
    entry = monitors.get(world.services.ledger, MONITOR)
    assert entry is not None
    assert (entry.removed_at, entry.since, entry.version) == ("", window_name(5), version_of(world.definition))
    world.live(5)
    evaluated = [each.window for each in world.evaluated()]
    assert evaluated == [window_name(number) for number in (0, 1, 2, 5)]
    assert world.champion() == champion


def test_a_window_of_before_the_removal_may_still_be_restated_after_adding_again() -> None:
    world = calm()
    remove(world.services, MONITOR)
    world.add(world.definition)
    due.mark(world.services.ledger, MONITOR, Window(hour(2), HOUR), MINUTE, world.clock.time)
    ticks(world, 5)
    assert list(world.owed()) == [] and world.evaluation(2).labelled == 20


def test_looked_at_again_while_paused_the_decision_stays_the_same() -> None:
    world = paused()
    for _ in range(3):
        due.mark(world.services.ledger, MONITOR, Window(hour(3), HOUR), MINUTE, world.clock.time)
        ticks(world, 3)
    assert world.running() == [] and len(world.decisions(3)) == 1
