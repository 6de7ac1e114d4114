"""Faults that simulated histories have found in our own code, each told as shortly as it can be."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.errors import ConflictError
from chalicelib.facts import alarms, claims
from chalicelib.ports import Ledger
from chalicelib.wiring import Services
from emulator.memory import memory_services
from plumbline.cli.pause import pause, resume
from tests.unit.alerts.faults import Crash, Faults
from tests.unit.handlers.test_promotions import patient, start
from tests.unit.handlers.world import (
    ENDPOINT,
    MINUTE,
    MONITOR,
    World,
    capture_line,
    definition,
    hour,
    rows_of,
    window_name,
)

QUIET = {"retrain": False, "roll_back": False}


def test_a_late_capture_whose_event_is_lost_is_counted_by_the_second_look():
    world = World(definition(policy=QUIET))
    world.live(0)
    world.clock.time = hour(3)
    world.capture(0, rows_of(0, 3, seed="late"), name="late")
    world.lose("captures")
    world.minutes(5)
    assert world.evaluation(0).rows == 20
    world.clock.time = hour(25) + 6 * MINUTE
    world.minutes(20)
    assert world.evaluation(0).rows == 23


def outside_deployment(heard: bool) -> World:
    """Somebody deploys in window 1; of SageMaker's events the second is lost, or both are."""
    world = World(definition(policy=QUIET), endpoint_takes=5 * MINUTE)
    world.live(0)
    sagemaker = world.services.sagemaker
    sagemaker.ensure_endpoint_config({**sagemaker.describe_endpoint_config("churn-1"), "EndpointConfigName": "churn-2"})
    sagemaker.update_endpoint(ENDPOINT, "churn-2")
    updating = world.take()
    assert [queue for queue, _ in updating] == ["endpoints"]
    if heard:
        world.deliver(*updating[0])
    world.clock.time += 10 * MINUTE
    assert [queue for queue, _ in world.take()] == ["endpoints"], "it is in service, which nobody hears"
    return world


@pytest.mark.parametrize("heard", [True, False])
def test_a_deployment_whose_end_is_not_told_does_not_last_for_ever(heard: bool):
    world = outside_deployment(heard)
    world.live(2)
    world.minutes(20)
    report = world.report(2)
    assert world.evaluation(2).settled
    assert report["inputs"]["labelled_rows"] == 20
    assert report["segments"][-1]["config_name"] == "churn-2"


def standing_still(world: World, call: str, meanwhile: Callable[[], Any], nth: int = 1) -> Services:
    """What a worker has that stands still before its `nth` such call of SageMaker, while all else goes on."""
    met = itertools.count(1)

    class StandsStill:
        def __getattr__(self, name: str) -> Any:
            if name == call and next(met) == nth:
                meanwhile()
            return getattr(world.services.sagemaker, name)

    return Faults.replaced(world.services, sagemaker=StandsStill())


@pytest.mark.parametrize("toy", ["z", "x"])
@pytest.mark.parametrize("pool_size", [0, 1])
def test_a_worker_that_was_overtaken_leaves_no_endpoint_of_nobody(toy: str, pool_size: int):
    """It made again what the end of the promotion had deleted: a refused challenger's, a retired champion's."""
    world = patient(pool_size=pool_size, endpoint_takes=timedelta(0))
    world.live(0)
    start(world, 1, "z")
    world.finish_pipeline(toy)
    [(queue, message)] = world.take()
    world.deliver(queue, message)
    [(queue, message)] = [each for each in world.take() if each[0] == "promotion-claims"]

    def everything() -> None:
        world.deliver(queue, message)
        world.minutes(30)
        assert not world.promotion().in_flight

    # The first look is whether the monitored endpoint exists.
    world.deliver(queue, message, services=standing_still(world, "describe_endpoint", everything, nth=2))
    world.minutes(30)
    champion = world.champion()
    assert champion.generation == (1 if toy == "z" else 0)
    known = {each.endpoint for each in (champion.candidate, *champion.pool)}
    models = {
        world.services.sagemaker.describe_endpoint_config(name)["ProductionVariants"][0]["ModelName"]
        for name in world.pool_endpoints()
        if name not in known
    }
    assert models <= {champion.candidate.model_name}


DEAR = {"cost": 50.0}  # only an alarm asks for a retraining


def test_a_trigger_that_comes_again_on_the_same_window_is_a_new_question():
    """The first was answered "a retraining is in flight"; the second had the same name and was never decided on."""
    world = World(definition(policy={**DEAR, "cool_down_windows": 1}))
    for number in range(3):
        world.live(number)
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    world.live(3)
    world.alarm("accuracy-low", "OK")
    world.minutes(2)
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    assert any("is STARTED" in reason for record in world.decisions(3) for reason in record.reasons)
    world.finish_pipeline(status="Failed")
    world.alarm("accuracy-low", "OK")
    world.minutes(4)
    assert len(world.services.sagemaker.executions) == 1
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    assert len(world.services.sagemaker.executions) == 2
    assert world.retraining().window == window_name(3)


def test_a_trigger_that_is_heard_of_after_its_end_has_asked_all_the_same():
    """The alarm was over in minutes, and its two events came in the other order: nobody was asked."""
    world = World(definition(policy={**DEAR, "cool_down_windows": 1}))
    for number in range(3):
        world.live(number)
    began = world.clock.time
    world.clock.time += 5 * MINUTE
    world.alarm("accuracy-low", "OK")
    world.minutes(2)
    world.alarm("accuracy-low", "ALARM", at=began)
    world.minutes(4)
    assert len(world.services.sagemaker.executions) == 1
    assert alarms.states(world.services.ledger, MONITOR)["accuracy-low"].state == "OK"


def test_a_trigger_from_before_the_last_start_starts_nothing_more():
    """Its event came hours late, when the retraining that answered it had long begun."""
    world = World(definition(policy={**DEAR, "cool_down_windows": 1}))
    for number in range(3):
        world.live(number)
    asked = world.clock.time
    world.clock.time += 10 * MINUTE
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    world.finish_pipeline(status="Failed")
    world.live(3)
    world.alarm("accuracy-low", "OK")
    world.live(4)
    world.alarm("accuracy-low", "ALARM", at=world.clock.time)
    world.take()  # its news is lost; what comes instead is the old one
    world.services.ledger.put(
        "MONITOR#churn",
        f"TRIGGER#{asked.isoformat()}#accuracy-low",
        msgspec.json.encode(alarms.Trigger("accuracy-low", asked)),
        expected=None,
    )
    world.live(5)
    assert len(world.services.sagemaker.executions) == 1
    assert "alarm accuracy-low is declared a trigger and is in ALARM" not in world.decisions(5)[-1].reasons


def test_labels_that_settle_an_older_window_let_the_newest_be_decided_again():
    """The newest window was decided before the loss of the one before it was known, and no further one came."""
    world = World(definition(policy={"cost": 0.4, "reference_windows": 1, "holdback_windows": 1}))
    for number in range(3):
        world.live(number)
    world.live(3, labelled=False)
    world.live(4, truth="z")
    assert world.running() == []
    world.label(rows_of(3, 20), "z", "late-3")
    world.minutes(10)
    [execution] = world.running()
    assert world.retraining().window == window_name(4)
    assert execution.display_name.endswith(world.decisions(4)[-1].decision_id)


def test_a_slower_worker_does_not_take_newer_ids_away():
    """It had read one capture file less, and wrote its ids last: a label without a time did not find its window."""
    world = World(definition(policy=QUIET))
    first, second = rows_of(0, 4, seed="a"), rows_of(0, 4, seed="b")
    world.clock.time = hour(0) + 50 * MINUTE
    world.capture(0, first, name="a")
    world.settle()
    world.clock.time = hour(1) + 6 * MINUTE
    world.deliver("clock", b"{}")
    [(queue, message)] = [each for each in world.take() if each[0] == "windows"]

    class StandsStill:
        """Everything else happens before the ids are written."""

        def __init__(self) -> None:
            self.stood = False

        def __getattr__(self, name: str) -> Any:
            found = getattr(world.services.objects, name)
            if not name.startswith("put"):
                return found

            def put(bucket: str, key: str, *others: Any, **how: Any) -> Any:
                if "/ids/" in key and not self.stood:
                    self.stood = True
                    world.capture(0, second, name="b")
                    world.minutes(20)
                return found(bucket, key, *others, **how)

            return put

    with suppress(ConflictError):
        world.deliver(queue, message, services=Faults.replaced(world.services, objects=StandsStill()))
    world.minutes(20)
    assert world.evaluation(0).rows == 8
    world.label(second, "x", "untimed")
    world.minutes(5)
    assert world.evaluation(0).labelled == 4


def test_a_late_repeat_of_an_ended_promotion_is_not_granted():
    """Its worker had stood still while the challenger was promoted and rolled back; it refused the pool's model."""
    ledger = memory_services(lambda: hour(0)).ledger

    def claim(name: str, generation: int) -> claims.PromotionClaim:
        return claims.PromotionClaim(
            claim_id=name,
            kind="promote",
            decision_id="d",
            window=window_name(0),
            generation=generation,
            candidate="churn/1",
            package_arn="",
            state="APPLYING",
            claimed_at=hour(0),
            lease_until=hour(0),
        )

    for name, generation in (("promote-1", 0), ("roll_back-1", 1)):
        assert claims.claim_promotion(ledger, "churn", claim(name, generation))
        assert claims.amend_promotion(ledger, "churn", name, hour(0), state="DONE")
    assert not claims.claim_promotion(ledger, "churn", claim("promote-1", 2))
    assert claims.claim_promotion(ledger, "churn", claim("promote-2", 2))


def test_a_trigger_is_not_used_up_by_a_window_of_broken_data():
    world = World(definition(policy={**DEAR, "roll_back": False}))
    for number in range(3):
        world.live(number)
    rows = rows_of(3, 20)
    world.clock.time = hour(3) + 50 * MINUTE
    lines = [capture_line(row, "0.9", f"{row.x},{row.z},1" if at % 3 == 0 else None) for at, row in enumerate(rows)]
    world.put_capture(3, b"".join(lines), "broken")
    world.settle()
    world.clock.time = hour(4) + 2 * MINUTE
    world.label(rows, "x", "labels-3")
    world.minutes(8)
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    assert "broken data is not learned from: no retrain" in world.decisions(3)[-1].reasons
    assert world.running() == []
    world.live(4)
    assert world.retraining().window == window_name(4)


def test_a_label_that_lands_while_its_window_gathers_is_found():
    """A window's ids are written before it looks for labels that found no window; the other way round it was missed."""
    world = World(definition(policy=QUIET))
    rows = rows_of(0, 6)
    world.clock.time = hour(0) + 50 * MINUTE
    world.capture(0, rows)
    world.settle()
    world.clock.time = hour(1) + 6 * MINUTE
    world.deliver("clock", b"{}")
    [(queue, message)] = [each for each in world.take() if each[0] == "windows"]

    class Meanwhile:
        """The labels land right after the window has looked for labels that wait."""

        landed = False

        def __getattr__(self, name: str) -> Any:
            return getattr(world.services.ledger, name)

        def query(self, pk: str, **how: Any) -> Any:
            found = world.services.ledger.query(pk, **how)
            if pk.startswith("UNMATCHED#") and not self.landed:
                self.landed = True
                world.label(rows, "x", "meanwhile")
                world.settle()
            return found

    world.deliver(queue, message, services=Faults.replaced(world.services, ledger=Meanwhile()))
    world.minutes(20)
    assert world.evaluation(0).labelled == 6


def test_a_promotion_that_waits_for_another_update_waits_for_the_end_of_a_pause_too():
    """It was already marked as deploying when the endpoint was busy, and then went on within the pause."""
    world = patient()
    world.live(0)
    start(world, 1, "z")
    world.finish_pipeline("z")
    busy = True

    class Busy:
        def __getattr__(self, name: str) -> Any:
            if name == "update_endpoint" and busy:
                raise ConflictError("Cannot update in-progress endpoint")
            return getattr(world.services.sagemaker, name)

    services = Faults.replaced(world.services, sagemaker=Busy())
    while claims.load_promotion(world.services.ledger, MONITOR) is None or world.promotion().state == "APPLYING":
        for message in world.take():
            world.deliver(*message, services=services)
        world.clock.time += MINUTE
    assert world.promotion().state == "DEPLOYING" and not world.promotion().deploying_since
    pause(world.services, MONITOR, None)
    busy = False
    world.minutes(60, until=world.clock.time + 60 * MINUTE)
    assert world.serving == "x" and world.champion().generation == 0
    resume(world.services, MONITOR)
    world.minutes(60, until=world.clock.time + 60 * MINUTE)
    assert world.serving == "z" and world.champion().generation == 1


def test_an_endpoint_that_an_overtaken_worker_updates_is_given_back_to_the_champion():
    """It stood still before it asked; another worker asked, the endpoint rolled back, and the claim ended as FAILED."""
    world = patient()
    world.live(0)
    start(world, 1, "z")
    world.finish_pipeline("z")
    sagemaker = world.services.sagemaker
    before = sagemaker.describe_endpoint(ENDPOINT).config_name
    stands = True

    def everything() -> None:
        nonlocal stands
        stands = False
        world.deliver(*message)
        assert sagemaker.describe_endpoint(ENDPOINT).config_name != before
        sagemaker.update_endpoint(ENDPOINT, before)
        world.minutes(30, until=world.clock.time + 30 * MINUTE)
        assert world.promotion().state == "FAILED"

    services = standing_still(world, "update_endpoint", everything)
    while stands:
        for message in world.take():
            world.deliver(*message, services=services)
        world.clock.time += MINUTE
    world.minutes(60, until=world.clock.time + 60 * MINUTE)
    assert sagemaker.describe_endpoint(ENDPOINT).config_name == before == world.champion().config_name


def test_an_endpoint_that_an_overtaken_worker_deletes_is_made_again():
    """It had failed when the worker looked, and was a pool member's when the worker, half an hour later, deleted it."""
    world = patient(endpoint_takes=5 * MINUTE)
    world.live(0)
    start(world, 1, "z")
    world.finish_pipeline("z")
    sagemaker = world.services.sagemaker
    while not world.pool_endpoints():
        for message in world.take():
            world.deliver(*message)
    claim = world.promotion()
    [champions_own] = [
        name
        for name in world.pool_endpoints()
        if sagemaker.describe_endpoint_config(name)["ProductionVariants"][0]["ModelName"] == "first"
    ]
    sagemaker.fail_endpoint(champions_own)
    message = ("promotion-claims", msgspec.json.encode({"monitor": MONITOR, "claim_id": claim.claim_id}))
    stands = True

    def everything() -> None:
        nonlocal stands
        stands = False
        world.deliver(*message)
        world.minutes(30, until=world.clock.time + 30 * MINUTE)
        assert world.promotion().state == "DONE"
        assert [each.endpoint for each in world.champion().pool] == [champions_own]

    world.deliver(*message, services=standing_still(world, "delete_endpoint", everything))
    assert not stands
    assert champions_own in world.pool_endpoints()


def test_an_alarm_that_a_newer_window_has_answered_starts_nothing_on_an_older_one(monkeypatch: pytest.MonkeyPatch):
    """The older window's worker stood still between its decision and its note that the alarm was answered; the newer
    one's made that note and died, and has the retraining to start when it comes back."""
    world = World(definition(policy={**DEAR, "cool_down_windows": 0}))
    for number in range(3):
        world.live(number)
    note = alarms.answered
    deaths = iter(["the newer window's worker"])

    def answered(ledger: Ledger, monitor: str, triggers: list[alarms.Trigger], window: str) -> bool:
        for _ in deaths if triggers else ():
            note(ledger, monitor, triggers, window_name(3))
        return note(ledger, monitor, triggers, window)

    monkeypatch.setattr(alarms, "answered", answered)
    world.alarm("accuracy-low", "ALARM")
    world.minutes(10)
    assert next(deaths, None) is None
    assert world.running() == []
    world.live(3)
    assert world.retraining().window == window_name(3)
    assert len(world.services.sagemaker.executions) == 1


def test_an_alarm_whose_retraining_was_never_claimed_asks_the_newest_window(monkeypatch: pytest.MonkeyPatch):
    """Its window's worker died between decision and claim, again and again, until a newer window had settled."""
    world = World(definition(policy={**DEAR, "cool_down_windows": 1}))
    for number in range(3):
        world.live(number)
    claim = claims.claim_retrain

    def dies(ledger: Ledger, monitor: str, wanted: claims.RetrainClaim, cool_down_windows: int) -> bool:
        if wanted.window == window_name(2):
            raise Crash
        return claim(ledger, monitor, wanted, cool_down_windows)

    monkeypatch.setattr(claims, "claim_retrain", dies)
    world.alarm("accuracy-low", "ALARM")
    world.minutes(4)
    world.alarm("accuracy-low", "OK")
    [trigger] = alarms.asking(world.services.ledger, MONITOR, window_name(2), newest=False)
    assert world.decisions(2)[-1].action == "RETRAIN"
    assert world.running() == []
    world.live(3)
    world.minutes(30)
    assert world.retraining().window == window_name(3)
    assert alarms.asking(world.services.ledger, MONITOR, window_name(3), newest=False) == [
        msgspec.structs.replace(trigger, answered=window_name(3))
    ]
    assert len(world.services.sagemaker.executions) == 1
