"""Deriving a window anew: the same bytes from the same inputs, nothing lost, nothing done twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import keys
from chalicelib.errors import ConflictError
from chalicelib.evaluation.evaluate import evaluate
from chalicelib.facts import due, rebuilds
from chalicelib.facts.evaluations import load_evaluation
from chalicelib.facts.rebuilds import Rebuild
from chalicelib.records.window import Window
from chalicelib.workflows.window_inputs import Anew, gather
from chalicelib.workflows.window_rebuild import standing
from chalicelib.workflows.window_reports import store
from tests.unit.handlers.test_convergence import calmly, known, rest, script, write
from tests.unit.handlers.world import (
    DATA,
    HOUR,
    MONITOR,
    OWN,
    TOYS,
    World,
    capture_lines,
    definition,
    hour,
    label_line,
    rows_of,
    window_name,
)

# Four hours with traffic and a silent one.
WINDOWS = 5

QUIET = {"retrain": False, "roll_back": False}


@cache
def _lived(policy: tuple[tuple[str, object], ...] = ()) -> World:
    world = World(definition(policy=dict(policy)))
    for number in range(4):
        world.live(number, truth="x" if number < 2 else "not-x")
    world.minutes(70)
    assert list(world.owed()) == [] and len(world.evaluated()) == WINDOWS
    return world


def lived(**policy: object) -> World:
    """Four labelled hours; the last two are answered wrongly, so alerts, decisions and a retraining are there."""
    return deepcopy(_lived(tuple(sorted(policy.items()))))


def order(world: World, *numbers: int) -> None:
    """What `plumbline rebuild` writes, and the clock and the queue after it."""
    for number in numbers:
        window = Window.of(hour(number), HOUR)
        due.mark(world.services.ledger, MONITOR, window, world.definition.grace, world.clock.time, anew=True)
    world.minutes(2)
    assert not {f"{MONITOR}#{window_name(number)}" for number in numbers} & {*world.owed()}


def outcome(world: World, number: int) -> Rebuild:
    stored = rebuilds.read(world.services.ledger, MONITOR, window_name(number))
    assert stored is not None
    return stored.value


def stored_keys(world: World, number: int) -> tuple[str, str]:
    window, evaluation = Window.of(hour(number), HOUR), world.evaluation(number)
    measured = keys.measured_key(MONITOR, window, evaluation.measured)
    return measured, keys.labels_key(MONITOR, window, evaluation.labels)


def reported(world: World) -> dict[str, bytes]:
    """What is derived but for the stored windows."""
    found = world.derived()
    return {name: found[name] for name in found if "/measured/" not in name and "/window-labels/" not in name}


def delete_below(world: World, bucket: str, prefix: str) -> int:
    found = world.services.objects.keys(bucket, prefix)
    for key in found:
        world.services.objects.delete(bucket, key)
    return len(found)


def nothing(world: World) -> None:
    pass


def reports_deleted(world: World) -> None:
    assert delete_below(world, DATA, "reports/") > 10


def everything_derived_deleted(world: World) -> None:
    reports_deleted(world)
    for kind in ("measured", "window-labels", "revisions", "ids"):
        assert delete_below(world, OWN, f"plumbline/payload/{MONITOR}/{kind}/") >= 4


def stored_windows_cut_off(world: World) -> None:
    for number in range(WINDOWS):
        for key in stored_keys(world, number):
            world.services.objects.put(OWN, key, world.services.objects.get(OWN, key).body[:100])


def stored_windows_of_another_release(world: World) -> None:
    for number in range(WINDOWS):
        for key, kind in zip(stored_keys(world, number), ("measured", "window labels"), strict=True):
            world.services.objects.put(OWN, key, msgspec.msgpack.encode((kind, 99)))


def revisions_damaged(world: World) -> None:
    for key in world.services.objects.keys(OWN, f"plumbline/payload/{MONITOR}/revisions/"):
        world.services.objects.put(OWN, key, b"\xc1")


def facts_lost(world: World) -> None:
    for item in world.services.ledger.query(f"MONITOR#{MONITOR}", begins_with="EVALUATION#"):
        world.services.ledger.delete(item.pk, item.sk, expected=item.revision)


def labels_forgotten(world: World) -> None:
    """The table's time to live is over for what it knew of label objects."""
    for (pk, sk), (item, _) in list(world.services.ledger.items.items()):
        if pk.startswith(("LABELS#", "UNMATCHED#", "LANDED#")):
            world.services.ledger.delete(pk, sk, expected=item.revision)


DAMAGES = [
    nothing,
    reports_deleted,
    everything_derived_deleted,
    stored_windows_cut_off,
    stored_windows_of_another_release,
    revisions_damaged,
    facts_lost,
    labels_forgotten,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_the_same_inputs_give_the_same_bytes(damage: Callable[[World], None], sealed: bool) -> None:
    world = lived()
    before, told, effects = world.derived(), world.alerts(), acts(world)
    assert told and world.retraining().state == "STARTED"
    if sealed:
        world.clock.time += world.definition.horizon
    damage(world)
    order(world, *range(WINDOWS))
    after = world.derived()
    assert {name: after[name] for name in before} == before
    assert world.alerts() == told
    assert acts(world) == effects
    outcomes = [outcome(world, number) for number in range(WINDOWS)]
    assert [each.outcome for each in outcomes] == ["REBUILT"] * WINDOWS
    assert [each.after for each in outcomes] == [world.evaluation(number).digest for number in range(WINDOWS)]


def acts(world: World) -> list[object]:
    """What cannot be taken back, and the decisions behind it."""
    published = {
        (point.name, point.timestamp, point.value): None
        for points in world.services.metrics.points.values()
        for point in points
        if point.timestamp < hour(WINDOWS)
    }
    count = sum(
        point.timestamp < hour(WINDOWS) for points in world.services.metrics.points.values() for point in points
    )
    assert count == len(published), "each metric is published once"
    return [
        sorted(world.services.sagemaker.executions),
        world.retraining().decision_id,
        world.champion(),
        [record for number in range(WINDOWS) for record in world.decisions(number)],
        count,
    ]


def test_a_damaged_stored_window_stands_in_the_way_of_new_labels_until_then() -> None:
    """The reason for the command: without it nothing moves."""
    world = lived(**QUIET)
    stored_windows_cut_off(world)
    late = rows_of(1, 1, seed="late")
    world.capture(1, late, name="late")
    world.settle()
    world.minutes(70)
    assert list(world.owed()) and any("expected measured" in error for error in world.permanent)
    rows = world.evaluation(1).rows
    order(world, 1)
    assert world.evaluation(1).rows == rows + 1


@pytest.mark.parametrize("what", ["capture", "label", "rewritten"])
@pytest.mark.parametrize("damage", [nothing, stored_windows_cut_off], ids=["stored", "evidence"])
def test_nothing_is_forgotten_whose_input_is_gone(what: str, damage: Callable[[World], None]) -> None:
    world = lived(**QUIET)
    damage(world)
    place = {"capture": f"captures/churn/AllTraffic/{hour(1):%Y/%m/%d/%H}/", "label": "ground-truth/"}
    key = next(
        key for key in world.services.objects.keys(DATA, place.get(what, "ground-truth/")) if "labels-2" not in key
    )
    if what == "rewritten":
        key = next(key for key in world.services.objects.keys(DATA, "ground-truth/") if "labels-1" in key)
        world.services.objects.put(DATA, key, label_line("nobody", 1))
    elif what == "label":
        key = next(key for key in world.services.objects.keys(DATA, "ground-truth/") if "labels-1" in key)
        world.services.objects.delete(DATA, key)
    else:
        world.services.objects.delete(DATA, key)
    before = {
        name: body
        for name, body in world.derived().items()
        if "/measured/" not in name and "/window-labels/" not in name
    }
    window = Window.of(hour(1), HOUR)
    due.mark(world.services.ledger, MONITOR, window, world.definition.grace, world.clock.time, anew=True)
    world.minutes(2)
    refused = outcome(world, 1)
    assert refused.outcome == "REFUSED" and refused.lost_count == 1
    [lost] = refused.lost
    assert key in lost and lost.endswith("was written again" if what == "rewritten" else "is not there any more")
    assert {
        name: body
        for name, body in world.derived().items()
        if "/measured/" not in name and "/window-labels/" not in name
    } == before


def test_without_stored_window_and_decision_nothing_tells_what_must_be_there() -> None:
    world = lived(**QUIET)
    everything_derived_deleted(world)
    for (pk, sk), (item, _) in list(world.services.ledger.items.items()):
        if sk.startswith("DECISION#") or pk.startswith("DECISION#"):
            world.services.ledger.delete(pk, sk, expected=item.revision)
    due.mark(world.services.ledger, MONITOR, Window.of(hour(1), HOUR), HOUR, world.clock.time, anew=True)
    with pytest.raises(Exception, match="replaced by another worker"):
        world.minutes(2)
    assert outcome(world, 1).reason == "what is stored of the window is lost: nothing tells which inputs must be there"


@pytest.mark.parametrize("damage", [nothing, facts_lost])
def test_what_came_after_the_seal_stays_out(damage: Callable[[World], None]) -> None:
    world = lived(**QUIET)
    before = world.derived()
    world.clock.time += world.definition.horizon
    damage(world)
    late = rows_of(1, 4, seed="late")
    world.capture(1, late, name="late")
    world.label([*late, *rows_of(1, 20)[:1]], "x", "after the seal")
    world.settle()
    order(world, 1)
    assert outcome(world, 1).outcome == "REBUILT"
    assert world.evaluation(1).rows == 20 and world.evaluation(1).labelled == 20
    if damage is nothing:
        after = world.derived()
        # The id lists of a day that is over become a filter.
        assert {name: after[name] for name in before if not name.startswith("ids of")} == {
            name: body for name, body in before.items() if not name.startswith("ids of")
        }


def test_what_came_since_is_counted_while_the_window_is_open() -> None:
    world, usual = lived(**QUIET), lived(**QUIET)
    for each in (world, usual):
        late = rows_of(1, 4, seed="late")
        each.capture(1, late, name="late")
        each.label(late, "x", "late labels", timed=True)
        each.lose("captures")
        each.settle()
    usual.minutes(70)
    usual.reported()
    order(world, 1)
    world.minutes(70)
    assert world.evaluation(1) == usual.evaluation(1)
    assert world.evaluation(1).rows == 24
    assert outcome(world, 1).before != outcome(world, 1).after


def test_a_capture_that_lands_meanwhile_does_not_take_the_order_back() -> None:
    world = lived(**QUIET)
    stored_windows_cut_off(world)
    window = Window.of(hour(1), HOUR)
    ledger, grace = world.services.ledger, world.definition.grace
    due.mark(ledger, MONITOR, window, grace, world.clock.time, anew=True)
    world.put_capture(1, capture_lines(rows_of(1, 1, seed="late"), TOYS["x"]), "late")
    world.settle()
    world.minutes(2)
    assert outcome(world, 1).outcome == "REBUILT" and world.evaluation(1).rows == 21


def test_a_slow_rebuild_does_not_take_back_what_a_faster_worker_found() -> None:
    world = lived(**QUIET)
    services, window = world.services, Window.of(hour(1), HOUR)
    previous = load_evaluation(services.ledger, MONITOR, window.name)
    assert previous is not None
    found = standing(services, world.definition, window, previous.value)
    slow = gather(services, world.definition, window, previous.value, Anew(found.inputs, only=False))
    world.capture(1, rows_of(1, 4, seed="late"), name="late")
    world.settle()
    world.minutes(70)
    newer = world.derived()
    assert world.evaluation(1).rows == 24
    store(
        services,
        world.definition,
        window,
        evaluate(slow.task),
        slow,
        previous,
        f"latest {slow.labels}",
        anew=True,
    )
    assert world.derived() == newer


def test_an_input_that_goes_away_while_it_is_gathered() -> None:
    world = lived(**QUIET)
    services, window = world.services, Window.of(hour(1), HOUR)
    found = standing(services, world.definition, window, world.evaluation(1))
    services.objects.delete(DATA, min(found.inputs.captures))
    with pytest.raises(ConflictError, match="went away"):
        gather(services, world.definition, window, None, Anew(found.inputs, only=False))


def of_window(world: World, number: int) -> dict[str, bytes]:
    """The stored reports, merge file and fact of one window; a world whose stored windows are lost has no more."""
    folders = (f"{hour(number + 1):/%Y/%m/%d/%H/}", f"merge/churn/AllTraffic/{hour(number):%Y/%m/%d/%H}/")
    objects = world.services.objects
    reports = [key for key in objects.keys(DATA, "reports/") if not key.endswith("/label_maturity.json")]
    found = {key: objects.get(DATA, key).body for key in reports if folders[0] in key or folders[1] in key}
    stored = {key: objects.get(OWN, key).body for key in stored_keys(world, number)}
    return {**found, **stored, "fact": msgspec.json.encode(world.evaluation(number))}


def test_a_crash_anywhere_ends_in_the_same_bytes() -> None:
    world = lived(**QUIET)
    everything_derived_deleted(world)
    expected = deepcopy(world)
    order(expected, 2)
    wanted = of_window(expected, 2)
    due.mark(
        world.services.ledger, MONITOR, Window.of(hour(2), HOUR), world.definition.grace, world.clock.time, anew=True
    )
    seen = 0
    for where, crashed in world.crashes(lambda copy: copy.minutes(2)):
        assert of_window(crashed, 2) == wanted, where
        assert crashed.alerts() == expected.alerts(), where
        seen += 1
    assert seen > 50


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_orders_and_damage_in_the_middle_of_everything_end_in_the_same_bytes(seed: int) -> None:
    """Late captures and labels, repeats, any order; now and then a stored window is lost and the window ordered."""
    draw = random.Random(seed)
    world, calm = World(definition(policy=QUIET)), World(definition(policy=QUIET))
    for move in script():
        write(world, move)
        calmly(calm, world.clock.time)
        calm.clock.time = world.clock.time  # a label's time is that of its file
        write(calm, move)
        calm.settle()
        world.disturbed(draw, moves=8)
        evaluated = [each for each in world.evaluated() if draw.random() < 0.5]
        for each in evaluated:
            window = Window.parse(each.window, HOUR)
            if draw.random() < 0.5:
                world.services.objects.delete(OWN, keys.measured_key(MONITOR, window, each.measured))
            due.mark(world.services.ledger, MONITOR, window, world.definition.grace, world.clock.time, anew=True)
        world.disturbed(draw, moves=8)
    for number in range(3):
        window = Window.of(hour(number), HOUR)
        due.mark(world.services.ledger, MONITOR, window, world.definition.grace, world.clock.time, anew=True)
    rest(world)
    rest(calm)
    assert known(world.derived()) == known(calm.derived())
    assert world.permanent == []


def test_a_window_that_was_never_evaluated_has_nothing_to_miss() -> None:
    world = World(definition(policy=QUIET))
    world.clock.time = hour(1) + HOUR
    window = Window.of(hour(0), HOUR)
    due.mark(world.services.ledger, MONITOR, window, world.definition.grace, world.clock.time, anew=True)
    world.minutes(2)
    assert load_evaluation(world.services.ledger, MONITOR, window.name) is not None
    assert outcome(world, 0).before == ""
