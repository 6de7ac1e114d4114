"""A delivery of wrong labels is taken out again, and every window that had them is restated without them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.errors import MisconfiguredError
from chalicelib.facts import due, evaluations, rebuilds
from chalicelib.records.ground_truth import Label, write_ground_truth
from chalicelib.records.window import Window
from plumbline.cli.withdraw import withdraw
from tests.unit.handlers.world import DATA, HOUR, MONITOR, Row, World, definition, window_name


def loss(world: World, number: int) -> float | None:
    stored = evaluations.load_evaluation(world.services.ledger, MONITOR, window_name(number))
    assert stored
    return stored.value.loss


def flipped(rows: list[Row], **more: object) -> list[dict[str, object]]:
    return [{"id": row.inference_id, "label": 1 - row.label("x"), **more} for row in rows]


@pytest.fixture
def world() -> World:
    return World(definition(policy={"retrain": False, "roll_back": False}))


def poisoned(world: World) -> list[str]:
    """Three windows with true labels, then flipped ones for the second; the objects of the post."""
    rows = [world.live(number) for number in range(3)]
    assert loss(world, 1) == 0.0
    before = set(world.services.objects.keys(DATA, "ground-truth/"))
    assert world.post(flipped(rows[1]), "poison") == 202
    world.settle()
    world.minutes(7 * 60)  # corrections wait for the window's next age step
    assert loss(world, 1) == 1.0
    return sorted(set(world.services.objects.keys(DATA, "ground-truth/")) - before)


def test_labels_from_the_future_are_refused(world: World) -> None:
    rows = [world.live(number) for number in range(3)]
    assert world.post(flipped(rows[1], labelTime="2899-12-31T00:00:00Z"), "poison") == 422
    far = datetime(2899, 12, 31, tzinfo=UTC)
    forged = [Label(row.inference_id, str(1 - row.label("x")), "CSV", far) for row in rows[1]]
    world.put_labels(write_ground_truth(forged), "future")
    world.settle()
    world.minutes(20)
    assert loss(world, 1) == 0.0


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("by_id", [False, True])
def test_a_delivery_that_was_withdrawn_counts_no_more(world: World, by_id: bool, sealed: bool) -> None:
    [key] = poisoned(world)
    if sealed:
        world.clock.time += timedelta(days=3)
        world.minutes(5)
    for _ in range(2):
        [done] = withdraw(world.services, "poison" if by_id else f"s3://{DATA}/{key}")
        assert (done.monitor, done.uri, done.windows) == (MONITOR, f"s3://{DATA}/{key}", 1)
        world.minutes(20)
        assert loss(world, 1) == 0.0
        assert [loss(world, number) for number in (0, 2)] == [0.0, 0.0]
    # Neither its event nor the end of what it was brings it back.
    world.repeat_events()
    world.settle()
    world.minutes(20)
    assert loss(world, 1) == 0.0


def test_a_window_without_a_withdrawn_object_can_be_rebuilt(world: World) -> None:
    [key] = poisoned(world)
    withdraw(world.services, f"s3://{DATA}/{key}")
    world.services.objects.delete(DATA, key)
    window = Window.parse(window_name(1), HOUR)
    due.mark(world.services.ledger, MONITOR, window, definition().grace, world.clock.time, anew=True)
    world.minutes(20)
    done = rebuilds.read(world.services.ledger, MONITOR, window_name(1))
    assert done and done.value.outcome == "REBUILT" and loss(world, 1) == 0.0


@pytest.mark.parametrize("delivery", ["s3://elsewhere/x.jsonl", "s3://data/captures/x.jsonl", "never-posted"])
def test_what_nobody_delivered_is_refused(world: World, delivery: str) -> None:
    world.live(0)
    with pytest.raises(MisconfiguredError):
        withdraw(world.services, delivery)
