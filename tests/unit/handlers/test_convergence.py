"""Facts converge: any order, repetition and crash of deliveries ends in the same bytes; nothing goes back."""

from __future__ import annotations

import random
from collections import Counter
from copy import deepcopy
from datetime import datetime
from functools import cache
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import ConflictError
from chalicelib.evaluation.evaluate import evaluate
from chalicelib.facts import evaluations
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows import window_reports
from chalicelib.workflows.window_inputs import gather
from tests.unit.alerts.faults import Faults
from tests.unit.handlers.world import (
    DATA,
    HOUR,
    MINUTE,
    MONITOR,
    TOYS,
    World,
    capture_line,
    capture_lines,
    definition,
    hour,
    label_line,
    rows_of,
    window_name,
)

QUIET = {"retrain": False, "roll_back": False}

# (when, what is written then): three hours with late captures and labels, corrected, odd and unknown ones.
Write = tuple[datetime, str, int, bytes, str]


def script() -> list[Write]:
    writes: list[Write] = []
    hours = [rows_of(number, 9) for number in range(3)]
    for number, rows in enumerate(hours):
        truth = ("x", "z", "x")[number]
        for part in range(3):
            name = f"{15 + 20 * part}"
            lines = capture_lines(rows[3 * part : 3 * part + 3], TOYS["x"])
            writes.append((hour(number) + (15 + 20 * part) * MINUTE, "capture", number, lines, name))
        labels = b"".join(
            label_line(row.inference_id, row.label(truth), row.time if number % 2 else None) for row in rows
        )
        writes.append((hour(number + 1) + 40 * MINUTE, "label", number, labels, f"labels-{number}"))
    late = rows_of(0, 3, seed="late")
    early = b"".join(label_line(row.inference_id, row.label("x")) for row in late)
    both = label_line(hours[0][0].inference_id, 1 - hours[0][0].label("x")) + label_line(hours[1][0].inference_id, "1")
    writes += [
        (hour(0) + 50 * MINUTE, "capture", 0, capture_lines(hours[0][:2], TOYS["x"]), "repeated"),
        (hour(0) + 52 * MINUTE, "capture", 0, b"not json", "broken"),
        (hour(0) + 55 * MINUTE, "label", 0, early, "for-late-captures"),
        (hour(1) + 20 * MINUTE, "label", 0, label_line("nobody", 1), "for-nobody"),
        (hour(1) + 30 * MINUTE, "label", 0, b"not json", "broken"),
        (hour(2) + 10 * MINUTE, "capture", 0, capture_lines(late, TOYS["x"])[:-40], "late"),
        (hour(2) + 45 * MINUTE, "label", 0, both, "corrected"),
        (hour(3) + 50 * MINUTE, "label", 0, label_line(hours[2][8].inference_id, "maybe"), "odd"),
    ]
    return sorted(writes)


def write(world: World, move: Write) -> None:
    time, kind, number, body, name = move
    world.clock.time = max(world.clock.time, time)
    if kind == "capture":
        world.put_capture(number, body, name)
    else:
        world.put_labels(body, name, arrived=time)


def calmly(world: World, until: datetime) -> None:
    """The clock ticks every five minutes."""
    while world.clock.time + 5 * MINUTE < until:
        world.clock.time += 5 * MINUTE
        world.tick()


def rest(world: World) -> None:
    """Enough clock ticks: every hour of the script is closed, everything debounced is over, no label waits."""
    world.clock.time = max(world.clock.time, hour(4))
    world.minutes(20)
    world.reported()
    assert list(world.owed()) == []


def known(derived: dict[str, bytes]) -> dict[str, bytes]:
    """What the script's hours left; how many silent hours follow differs with the time that a run takes."""
    return {name: body for name, body in derived.items() if not any(_after(name, number) for number in range(3, 24))}


def _after(name: str, number: int) -> bool:
    end = hour(number + 1)
    return window_name(number) in name or end.strftime("/%Y/%m/%d/%H/") in name


@cache
def calm() -> dict[str, bytes]:
    world = World(definition(policy=QUIET))
    for move in script():
        calmly(world, move[0])
        write(world, move)
        world.settle()
    rest(world)
    assert world.evaluation(0).labelled == 9 + 2, "the late capture file's third line is truncated"
    assert world.report(0)["inputs"]["labels_conflicting"] == 1
    assert world.report(0)["bad_lines"]["count"] == 2
    assert world.report(2)["bad_records"] == {
        "label is not 0 or 1": {"count": 1, "sample": [rows_of(2, 9)[8].inference_id]}
    }
    return known(world.derived())


def test_the_calm_run_repeats_byte_for_byte() -> None:
    again = calm.__wrapped__()
    assert again == calm()
    assert len(again) > 20


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_random_order_and_repeats_end_in_the_same_bytes(seed: int) -> None:
    draw = random.Random(seed)
    world = World(definition(policy=QUIET))
    withheld: list[tuple[str, bytes]] = []
    for move in script():
        write(world, move)
        withheld += world.take()
        draw.shuffle(withheld)
        for _ in range(draw.randrange(4)):
            if withheld:
                # A copy stays with probability one half: the same message comes again.
                world.deliver(*(withheld.pop() if draw.random() < 0.5 else draw.choice(withheld)))
                withheld += world.take()
        if draw.random() < 0.5:
            world.deliver("clock", b"{}")
            withheld += world.take()
    for queue, message in withheld:
        world.services.queues.send(queue, [message])
    world.disturbed(draw, moves=60)
    rest(world)
    assert known(world.derived()) == calm()
    assert world.permanent == []


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 100)))
def test_lost_events_of_the_first_hours_change_nothing_once_the_clock_has_come_round(lost: set[int]) -> None:
    # Captures that arrive after their window's evaluation need their event: nothing else tells of them.
    world = World(definition(policy=QUIET))
    for index, move in enumerate(script()):
        calmly(world, move[0])
        write(world, move)
        late = move[1] == "capture" and move[4] == "late"
        if index in lost and not late:
            world.lose("captures" if move[1] == "capture" else "ground-truth")
        world.settle()
    rest(world)
    quarantined = {name for name in calm() if "/quarantine/" in name}
    derived = known(world.derived())
    assert {name: body for name, body in derived.items() if name not in quarantined} == {
        name: body for name, body in calm().items() if name not in quarantined
    }


@cache
def before_a_window_that_acts(horizon: str = "P2D") -> World:
    """Three calm hours and one that went wrong, its labels here and its evaluation one tick away."""
    world = World(definition(labels={"horizon": horizon}))
    for number in range(3):
        world.live(number)
    rows = rows_of(3, 20)
    world.clock.time = hour(3) + 56 * MINUTE
    world.capture(3, rows)
    world.label(rows, "z", "labels-3")
    world.settle()
    world.clock.time = hour(4) + 5 * MINUTE
    return world


def one_tick(world: World) -> None:
    world.minutes(1)


@cache
def undisturbed(horizon: str = "P2D") -> World:
    world = deepcopy(before_a_window_that_acts(horizon))
    one_tick(world)
    world.minutes(20)
    return world


# With the second one the window is sealed before the message of the dead worker comes again.
@pytest.mark.parametrize("horizon", ["P2D", "PT8M"])
@pytest.mark.parametrize("late", [False, True])
def test_a_crash_at_any_call_ends_in_the_same_bytes_one_alert_and_one_start(late: bool, horizon: str) -> None:
    expected = undisturbed(horizon)
    told = Counter((alert.kind, alert.state, alert.window) for alert in expected.alerts())
    assert told == {
        ("model-quality", "opened", window_name(3)): 1,
        ("retraining", "notice", window_name(3)): 1,
    }
    tried = 0
    for place, world in before_a_window_that_acts(horizon).crashes(one_tick, late):
        tried += 1
        assert world.derived() == expected.derived(), place
        # A crash between the receiver's answer and the mark delivers twice, under the same id.
        assert {alert.alert_id for alert in world.alerts()} == {alert.alert_id for alert in expected.alerts()}, place
        assert world.crashed is not None
        repeated = len(world.alerts()) - len(expected.alerts())
        assert repeated == 0 or (repeated == 1 and world.crashed[0] == "alerts"), place
        assert len(world.services.sagemaker.executions) == 1, place
        assert world.services.sagemaker.requests == expected.services.sagemaker.requests, place
        assert world.retraining().state == "STARTED", place
        decided, wanted = (
            [msgspec.structs.replace(record, made_at="") for record in each.decisions(3)] for each in (world, expected)
        )
        assert decided == wanted, place
        assert list(world.owed()) == [], place
    assert tried > 100


@pytest.mark.parametrize("late", [False, True])
def test_a_crash_while_captures_and_labels_land_ends_in_the_same_bytes(late: bool) -> None:
    base = World(definition(policy=QUIET))
    rows = rows_of(0, 12)
    base.clock.time = hour(0) + 56 * MINUTE
    base.capture(0, rows[:9], files=2)
    base.put_capture(0, b"not json", "broken")
    base.label(rows, "x", "labels")
    base.put_labels(b"not json", "broken")

    def land(world: World) -> None:
        world.settle()
        world.capture(0, rows[9:], name="late")
        world.clock.time = hour(1) + 5 * MINUTE
        world.minutes(2)

    calm_world = deepcopy(base)
    land(calm_world)
    calm_world.minutes(20)
    expected = calm_world.derived()
    assert calm_world.evaluation(0).labelled == 12
    for place, world in base.crashes(land, late):
        assert world.derived() == expected, place
        assert list(world.owed()) == [], place


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_effects_are_safe_and_live_in_any_order(seed: int) -> None:
    """What the calm run does about a drift, every run does: one retraining at a time, and the better model serves."""
    draw = random.Random(seed)
    world = World()
    for number in range(9):
        rows = rows_of(number, 20)
        world.clock.time = max(world.clock.time, hour(number) + 56 * MINUTE)
        world.capture(number, rows, files=2)
        world.label(rows, "x" if number < 3 else "z", f"labels-{number}")
        world.disturbed(draw, moves=25)
        world.clock.time = max(world.clock.time, hour(number + 1) + 5 * MINUTE)
        for _ in range(3):
            world.clock.time += MINUTE
            world.services.queues.send("clock", [b"{}"])
            world.disturbed(draw, moves=15)
        assert len(world.running()) <= 1
        if world.running() and draw.random() < 0.7:
            world.finish_pipeline("z", name=f"model-{number}")
    world.minutes(30)
    if world.running():
        world.finish_pipeline("z", name="last")
        world.minutes(30)

    assert world.serving == "z"
    assert world.outcomes().count("promoted") >= 1
    starts = sorted(record.window for record in world.decisions() if record.decision_id in started(world))
    assert len(starts) == len(world.services.sagemaker.executions)
    for earlier, later in pairwise(starts):
        apart = datetime.fromisoformat(later) - datetime.fromisoformat(earlier)
        assert apart >= world.definition.policy.cool_down_windows * HOUR
    told = Counter(alert.alert_id for alert in world.alerts())
    assert set(told.values()) == {1}


def started(world: World) -> set[str]:
    return {each.display_name.removeprefix("plumbline-") for each in world.services.sagemaker.executions.values()}


def restated(world: World, number: int) -> None:
    world.minutes(4)
    world.reported()
    assert world.evaluation(number).settled


def test_late_labels_change_the_report() -> None:
    world = World(definition(policy=QUIET))
    rows = world.live(0, labelled=False)
    world.label(rows[:12], "x", "some")
    restated(world, 0)
    assert (world.evaluation(0).labelled, world.evaluation(0).loss) == (12, 0.0)
    world.label(rows[12:], "not-x", "the rest")
    restated(world, 0)
    assert (world.evaluation(0).labelled, world.evaluation(0).loss) == (20, 0.4)
    assert world.report(0)["served_loss"] == 0.4
    assert len(world.merged(0)) == 20


def test_a_corrected_label_changes_the_report_and_an_older_one_does_not() -> None:
    world = World(definition(policy=QUIET))
    rows = world.live(0)
    first = rows[0].inference_id
    right = rows[0].label("x")
    corrected = msgspec.json.encode(
        {
            "groundTruthData": {"data": str(1 - right), "encoding": "CSV"},
            "eventMetadata": {"eventId": first, "labelTime": "2026-01-05T01:30:00Z"},
        }
    )
    world.put_labels(corrected, "corrected")
    restated(world, 0)
    assert world.evaluation(0).loss == 1 / 20
    older = corrected.replace(b"01:30:00", b"00:30:00").replace(
        f'"data":"{1 - right}"'.encode(), f'"data":"{right}"'.encode()
    )
    world.put_labels(older, "older")
    restated(world, 0)
    assert world.evaluation(0).loss == 1 / 20
    assert world.report(0)["inputs"]["labels_conflicting"] == 1


def work(world: World, number: int) -> Work:
    return Work(world, Window.parse(window_name(number), HOUR))


class Work:
    """A worker that has read its inputs and not stored anything yet."""

    def __init__(self, world: World, window: Window) -> None:
        self._world, self._window = world, window
        services = world.services
        self._previous = evaluations.load_evaluation(services.ledger, MONITOR, window.name)
        known = self._previous.value if self._previous else None
        self._gathered = gather(services, world.definition, window, known)

    def store(self, services: Services | None = None) -> None:
        window_reports.store(
            services or self._world.services,
            self._world.definition,
            self._window,
            evaluate(self._gathered.task),
            self._gathered,
            self._previous,
        )


@pytest.mark.parametrize("evaluated_before", [False, True])
def test_who_gathered_early_and_stores_late_loses_and_the_files_are_the_newer_ones(evaluated_before: bool) -> None:
    world = World(definition(policy=QUIET))
    rows = rows_of(0, 20)
    world.capture(0, rows)
    world.settle()
    if evaluated_before:
        world.clock.time = hour(1)
        world.minutes(7)
    world.clock.time = max(world.clock.time, hour(1))
    world.label(rows[:3], "x", "some")
    world.settle()
    slow = work(world, 0)
    world.clock.time = hour(1) + 10 * MINUTE
    world.label(rows, "z", "labels")
    world.settle()
    work(world, 0).store()
    newer = world.derived()
    with pytest.raises(ConflictError):
        slow.store()
    assert world.derived() == newer
    assert world.report(0)["inputs"]["labelled_rows"] == 20


@pytest.mark.parametrize("conflict", ["latest", "reject"])
def test_copies_of_an_older_revision_give_way_to_the_newer_one(conflict: str) -> None:
    """The worker whose fact came first is overtaken while it copies, at any of its calls.

    Where contradicting labels are rejected, the newer revision has fewer files than the older one.
    """
    calm_world = World(definition(policy=QUIET, labels={"horizon": "P2D", "conflict": conflict}))
    rows = rows_of(0, 20)
    calm_world.capture(0, rows)
    calm_world.label(rows, "x", "labels")
    calm_world.settle()

    def newer(world: World) -> None:
        world.clock.time = hour(1) + 10 * MINUTE
        world.label(rows, "not-x", "contradiction")
        world.settle()
        work(world, 0).store()

    expected = deepcopy(calm_world)
    work(expected, 0).store()
    newer(expected)
    assert expected.evaluation(0).labelled == (20 if conflict == "latest" else 0)

    overtaken = 0
    for step in range(1, 60):
        world = deepcopy(calm_world)
        interrupted = Interrupted(step, lambda world=world: newer(world))
        services = Faults.replaced(world.services, objects=interrupted.wrap(world.services.objects))
        slow = work(world, 0)
        try:
            slow.store(services)
        except ConflictError:
            assert interrupted.done, "overtaken before its fact"
        if not interrupted.done:
            break
        if world.evaluation(0) == expected.evaluation(0):
            overtaken += 1
            assert world.derived() == expected.derived(), f"call {step} of the object store"
    assert overtaken > 5


class Interrupted(Faults):
    """Something else happens, once, right before the k-th call of a port, where it can happen."""

    def __init__(self, step: int, happen: object) -> None:
        super().__init__(0, after=False)
        self._at, self._happen, self.done = step, happen, False

    def call(self, port: object, name: str, *args: object, **kwargs: object) -> object:
        if self.calls + 1 == self._at:
            self.done = True
            self._happen()
        return super().call(port, name, *args, **kwargs)


def test_a_repeated_window_message_does_nothing_once_nothing_is_owed() -> None:
    world = World(definition(policy=QUIET))
    world.live(0)
    before = {name: item for name, item in world.services.ledger.items.items()}
    objects = dict(world.services.objects.objects)
    message = msgspec.json.encode({"monitor": MONITOR, "window": window_name(0)})
    for _ in range(3):
        world.deliver("windows", message)
    assert world.services.ledger.items == before
    assert world.services.objects.objects == objects
    assert world.take() == []


def test_what_lands_while_a_window_is_evaluated_keeps_it_due() -> None:
    world = World(definition(policy=QUIET))
    rows = rows_of(0, 20)
    world.capture(0, rows[:10])
    world.settle()
    world.clock.time = hour(1) + 6 * MINUTE

    def land() -> None:
        world.capture(0, rows[10:], name="more")
        [(queue, event)] = world.take()
        world.deliver(queue, event)

    world.deliver("clock", b"{}")
    [(queue, message)] = world.take()
    interrupted = Interrupted(40, land)
    for step in range(1, 100):
        copy = deepcopy(world)
        world, original = copy, world
        interrupted = Interrupted(step, land)
        services = Faults.replaced(world.services, ledger=interrupted.wrap(world.services.ledger))
        world.deliver(queue, message, services)
        if not interrupted.done:
            break
        world.minutes(4)
        assert world.evaluation(0).rows == 20, f"call {step} of the ledger"
        world = original
    assert step > 5


def test_a_capture_line_twice_counts_once() -> None:
    world = World(definition(policy=QUIET))
    row = rows_of(0, 1)[0]
    for name in ("a", "b"):
        world.put_capture(0, capture_line(row, "0.9"), name)
    world.clock.time = hour(1)
    world.minutes(7)
    assert world.evaluation(0).rows == 1
    assert world.report(0)["inputs"]["repeated_requests"] == 1
    assert len(world.services.objects.keys(DATA, "captures/")) == 2
