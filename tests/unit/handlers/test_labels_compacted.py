"""Small label objects in containers: the same facts for fewer calls, whatever comes between."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import keys
from chalicelib.evaluation.stored_window import KeptLabels
from chalicelib.events import LabelContainersMessage
from chalicelib.facts import due, forgotten, labels, monitors, rebuilds
from chalicelib.ports import StoredObject
from chalicelib.records.forgetting import Gone, fingerprint, without_labels
from chalicelib.records.label_containers import Container, container_from_bytes, labels_of
from chalicelib.records.window import Window
from chalicelib.workflows import label_containers
from tests.unit.alerts.faults import Faults
from tests.unit.handlers.test_convergence import Interrupted, calmly, known, rest, script, write
from tests.unit.handlers.world import (
    DATA,
    HOUR,
    MINUTE,
    MONITOR,
    OWN,
    Row,
    World,
    definition,
    hour,
    label_line,
    rows_of,
    window_name,
)

QUIET = {"retrain": False, "roll_back": False}
FOLDER = f"plumbline/payload/{MONITOR}/labels/"
WORD = msgspec.json.encode(LabelContainersMessage(MONITOR))


@pytest.fixture
def smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two objects are enough for a container."""
    monkeypatch.setattr(label_containers, "FEWEST", 2)


def quiet(**changes: Any) -> World:
    return World(definition(policy=QUIET, **changes))


def containers(world: World) -> dict[str, Container]:
    objects = world.services.objects
    return {key: container_from_bytes(objects.get(OWN, key).body, key) for key in objects.keys(OWN, FOLDER)}


def copied(world: World) -> list[str]:
    """The keys of the copied objects, each as often as it was copied."""
    return sorted(each.key for container in containers(world).values() for each in container.sources)


def posts(world: World) -> tuple[str, ...]:
    return world.services.objects.keys(DATA, "ground-truth/")


def post(world: World, rows: list[Row], name: str, truth: str = "x") -> None:
    """One object per label; every other one names its request's time."""
    for index, row in enumerate(rows):
        timed = row.time if index % 2 else None
        world.put_labels(label_line(row.inference_id, row.label(truth), timed), f"{name}-{index:04d}")


def until(world: World, time: Any) -> None:
    """The clock ticks every five minutes up to a time."""
    while world.clock.time + 5 * MINUTE < time:
        world.clock.time += 5 * MINUTE
        world.tick()
    world.clock.time = time
    world.tick()


def expire(world: World, *names: str) -> int:
    """A lifecycle rule deletes label objects: all, or those with one of these in their key."""
    gone = [key for key in posts(world) if not names or any(name in key for name in names)]
    for key in gone:
        world.services.objects.delete(DATA, key)
    return len(gone)


def late_capture(world: World, rows: list[Row], number: int = 0) -> None:
    """A capture file that comes late: every label object that may be of it is read again."""
    world.capture(number, rows, name="late")
    world.minutes(70)


def posted(world: World, count: int = 20) -> tuple[list[Row], list[Row]]:
    """An hour's requests, five of which are not captured yet, and posts about all of them, one hour later: one each,
    and of five corrections."""
    rows, late = rows_of(0, count), rows_of(0, 5, seed="late")
    world.clock.time = hour(0) + 56 * MINUTE
    world.capture(0, rows)
    world.settle()
    world.clock.time = hour(1) + 20 * MINUTE
    post(world, [*rows, *late], "post")
    post(world, rows[:5], "corrected", "not-x")
    world.settle()
    return rows, late


def never(world: World) -> World:
    """A world in which nothing is ever copied: whoever were to begin is told that somebody else is at it."""
    labels.begin_compaction(world.services.ledger, MONITOR, "9999-01-01T00:00:00Z", "9999-01-01T00:00:00Z", hour(0))
    return world


@cache
def uncopied() -> dict[str, bytes]:
    world = never(quiet())
    _, late = posted(world)
    until(world, hour(2) + 30 * MINUTE)
    late_capture(world, late)
    assert containers(world) == {} and world.evaluation(0).labelled == 25
    return world.derived()


def test_an_hour_that_is_over_becomes_one_container() -> None:
    world = quiet()
    posted(world)
    until(world, hour(2) + 9 * MINUTE)
    assert containers(world) == {}
    until(world, hour(2) + 11 * MINUTE)
    [(key, container)] = containers(world).items()
    assert key == f"{FOLDER}{window_name(1)}/{container.digest}.msgpack"
    assert copied(world) == list(posts(world)) and len(posts(world)) == 30
    stored = world.services.objects.get(DATA, posts(world)[0])
    assert container.sources[0].etag == stored.etag
    [label] = labels_of(container.sources[0], "")
    assert label.label_time == stored.last_modified


def test_the_facts_are_the_same_bytes() -> None:
    world = quiet()
    _, late = posted(world)
    until(world, hour(2) + 30 * MINUTE)
    assert len(containers(world)) == 1
    late_capture(world, late)
    assert world.derived() == uncopied()


def test_what_has_expired_is_read_from_its_container() -> None:
    world = quiet()
    _, late = posted(world)
    until(world, hour(2) + 30 * MINUTE)
    assert expire(world) == 30
    late_capture(world, late)
    assert world.derived() == uncopied()


@pytest.mark.parametrize("wanted", [1, 7])
def test_also_when_only_few_are_wanted(wanted: int) -> None:
    world = quiet()
    rows = rows_of(0, 20)
    world.capture(0, rows[wanted:])
    until(world, hour(1) + 20 * MINUTE)
    world.label(rows[wanted:], "x", "all others", timed=True)
    post(world, rows_of(77, 10), "of nobody")
    for row in rows[:wanted]:
        world.put_labels(label_line(row.inference_id, row.label("x"), row.time), f"wanted-{row.inference_id}")
    until(world, hour(2) + 30 * MINUTE)
    assert expire(world) == 11 + wanted
    late_capture(world, rows[:wanted])
    assert world.evaluation(0).labelled == 20


@pytest.mark.parametrize("damage", ["deleted", b"", b"\xc1", msgspec.msgpack.encode({"sources": [], "version": 99})])
def test_without_its_container_the_objects_are_read(damage: Any) -> None:
    world = quiet()
    _, late = posted(world)
    until(world, hour(2) + 30 * MINUTE)
    [key] = containers(world)
    if damage == "deleted":
        world.services.objects.delete(OWN, key)
    else:
        world.services.objects.put(OWN, key, damage)
    late_capture(world, late)
    assert world.derived() == uncopied()


def test_labels_that_are_no_labels_in_a_container_are_read_from_their_objects() -> None:
    world = quiet()
    _, late = posted(world)
    until(world, hour(2) + 30 * MINUTE)
    [(key, container)] = containers(world).items()
    sources = tuple(msgspec.structs.replace(each, labels=b"no label\n") for each in container.sources)
    world.services.objects.put(OWN, key, msgspec.structs.replace(container, sources=sources).to_bytes())
    late_capture(world, late)
    assert world.derived() == uncopied()


def test_overlapping_containers_double_nothing() -> None:
    world = quiet()
    _, late = posted(world)
    until(world, hour(2) + 30 * MINUTE)
    forget_where(world)
    expire(world, "post-0003", "corrected-0001")
    world.deliver("ground-truth", WORD)
    assert sorted(len(each.sources) for each in containers(world).values()) == [28, 30]
    late_capture(world, late)
    assert world.derived() == uncopied()


def forget_where(world: World, number: int = 0) -> None:
    """The table's item is lost: the hours are looked at again, from window `number` on."""
    ledger = world.services.ledger
    if item := ledger.get(f"MONITOR#{MONITOR}", "LABEL_CONTAINERS"):
        ledger.delete(item.pk, item.sk, expected=item.revision)
    labels.begin_compaction(ledger, MONITOR, window_name(number), "9999", world.clock.time)


@pytest.mark.parametrize("wanted", [3, 10])
def test_an_object_that_is_written_again_is_another_source(wanted: int) -> None:
    world = quiet()
    rows = rows_of(0, wanted)
    world.capture(0, rows)
    world.clock.time = hour(1) + 20 * MINUTE
    for row in [*rows, *rows_of(1, 10)]:  # the others are of the next window
        world.put_labels(label_line(row.inference_id, row.label("x"), row.time), f"post-{row.inference_id}")
    for queue, message in world.take():
        world.deliver(queue, message)
    world.clock.time = hour(2) + 12 * MINUTE
    world.deliver("ground-truth", WORD)  # nobody has begun: nothing is done
    assert containers(world) == {}
    forget_where(world)
    world.deliver("ground-truth", WORD)
    assert len(copied(world)) == wanted + 10
    [first, *_] = posts(world)
    other = rows_of(0, 12, seed="other")[3]
    world.services.objects.put(DATA, first, label_line(other.inference_id, 1, other.time))
    world.capture(0, [other], name="other")
    world.minutes(70)
    assert world.evaluation(0).labelled == wanted + 1, "what the object was and what it is"
    uris = [uri for uri, _ in label_sources(world)]
    assert uris.count(keys.s3_uri(DATA, first)) == 2


def test_an_object_that_was_written_again_before_anybody_kept_it_is_read_as_it_is() -> None:
    worlds = [quiet(), never(quiet())]
    for world in worlds:
        rows = rows_of(0, 10)
        world.capture(0, rows)
        world.clock.time = hour(1) + 20 * MINUTE
        post(world, rows, "post")
        world.settle(batches=False)
        [first, *_] = posts(world)
        world.services.objects.put(DATA, first, label_line(rows[0].inference_id, 1 - rows[0].label("x")))
        world.minutes(120)
        assert world.evaluation(0).labelled == 10
    assert worlds[0].derived() == worlds[1].derived()
    assert len(copied(worlds[0])) == 10


def label_sources(world: World, number: int = 0) -> tuple[tuple[str, str], ...]:
    key = keys.labels_key(MONITOR, Window.of(hour(number), HOUR), world.evaluation(number).labels)
    return KeptLabels.from_bytes(world.services.objects.get(OWN, key).body, key).sources


# What is copied, and how much at once ---------------------------------------------------------------------------------


def test_only_small_objects_in_sagemakers_form_are_copied() -> None:
    world = quiet(labels={"horizon": "P2D", "mapping": {"id": "order", "label": "outcome"}})
    world.clock.time = hour(1) + 20 * MINUTE
    rows = rows_of(0, 20)
    post(world, rows[:8], "post")
    line = label_line(rows[8].inference_id, 1)
    world.put_labels(line * (label_containers.SMALL // len(line) + 1), "large")
    for index in range(9):
        world.put_labels(b"order,outcome\nr0-1,1\n", f"mapped-{index}")
    world.put_labels(b"neither", "unreadable")
    world.put_labels(line + b"\xff\n", "broken")
    until(world, hour(2) + 12 * MINUTE)
    assert [key.rpartition("/")[2] for key in copied(world)] == [
        "broken.jsonl",
        *(f"post-{index:04d}.jsonl" for index in range(8)),
    ]


def test_few_objects_stay_as_they_are() -> None:
    world = quiet()
    world.clock.time = hour(1) + 20 * MINUTE
    post(world, rows_of(0, label_containers.FEWEST - 1), "post")
    until(world, hour(2) + 12 * MINUTE)
    assert containers(world) == {}
    place = labels.compaction(world.services.ledger, MONITOR)
    assert place == labels.Compaction(window_name(2)), "the hour was looked at"


def test_a_monitor_without_labels_copies_nothing() -> None:
    world = quiet(monitor_types=["DataQuality"], ground_truth_s3_uri="")
    until(world, hour(3))
    assert labels.compaction(world.services.ledger, MONITOR) is None


def test_a_container_is_written_under_the_key_of_its_objects() -> None:
    world = quiet()
    world.clock.time = hour(1) + 20 * MINUTE
    rows = rows_of(0, 30)
    post(world, rows, "post")
    objects = world.services.objects
    for index, key in enumerate(posts(world)):
        kms = (None, "key-a", "key-b")[index % 3]
        objects.put(DATA, key, objects.get(DATA, key).body, kms_key_id=kms)
    until(world, hour(2) + 12 * MINUTE)
    found = {objects.get(OWN, key).kms_key_id: len(container.sources) for key, container in containers(world).items()}
    assert found == {None: 10, "key-a": 10, "key-b": 10}


def test_a_run_is_bounded_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_containers, "MOST_OBJECTS", 10)
    world = quiet()
    _, late = posted(world)
    world.clock.time = hour(2) + 15 * MINUTE
    for done in (10, 20, 30):
        world.tick()
        assert len(copied(world)) == done
        world.clock.time += MINUTE
    assert copied(world) == list(posts(world))
    assert len(containers(world)) == 3
    late_capture(world, late)
    assert world.derived() == uncopied()


def test_a_container_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    world = quiet()
    posted(world)
    monkeypatch.setattr(
        label_containers, "MOST_BYTES", 12 * len(world.services.objects.get(DATA, posts(world)[0]).body)
    )
    until(world, hour(2) + 15 * MINUTE)
    assert copied(world) == list(posts(world))
    assert all(len(each.sources) <= 13 for each in containers(world).values()) and len(containers(world)) == 3


def test_hours_that_were_missed_are_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_containers, "MOST_HOURS", 3)
    world = quiet()
    for number in range(8):
        world.clock.time = hour(number) + 30 * MINUTE
        post(world, rows_of(number, 8), f"post-{number}")
    world.settle()
    world.clock.time = hour(8) + 30 * MINUTE
    for hours in (3, 6, 8):
        world.tick()
        assert len(containers(world)) == hours
        world.clock.time += MINUTE


def test_what_no_open_window_can_want_is_left_alone() -> None:
    world = quiet()
    world.clock.time = hour(1) + 20 * MINUTE
    post(world, rows_of(0, 20), "post")
    world.settle()
    world.clock.time = hour(3) + world.definition.horizon
    world.tick()
    assert containers(world) == {}
    assert labels.compaction(world.services.ledger, MONITOR) == labels.Compaction(
        Window.of(world.clock.time, HOUR).previous().name
    )


def test_a_removed_monitor_is_left_alone() -> None:
    world = quiet()
    posted(world)
    world.clock.time = hour(2) + 12 * MINUTE
    forget_where(world)
    monitors.remove(world.services.ledger, MONITOR, "2026-01-05T02:00:00Z")
    world.deliver("ground-truth", WORD)
    assert containers(world) == {}


def test_a_label_object_with_more_ids_than_the_table_keeps_is_found_after_it_expired(
    monkeypatch: pytest.MonkeyPatch, smallest: None
) -> None:
    monkeypatch.setattr(labels, "MOST_AWAITING", 3)
    world = quiet()
    rows = rows_of(0, 10)
    world.capture(0, rows)
    world.clock.time = hour(1) + 20 * MINUTE
    for part in (rows[:5], rows[5:]):
        world.label(part, "x", f"labels-{part[0].inference_id}")
    for queue, message in world.take():
        world.deliver(queue, message)
    world.clock.time = hour(2) + 12 * MINUTE
    forget_where(world)
    world.deliver("ground-truth", WORD)
    assert expire(world) == 2
    world.minutes(70)
    assert world.evaluation(0).labelled == 10


# What it saves --------------------------------------------------------------------------------------------------------


class Counted:
    """How often each call of the object store is made, by the place of the key."""

    def __init__(self, world: World) -> None:
        self.calls: dict[tuple[str, str], int] = {}
        for name in ("get", "list", "put", "put_if_absent"):
            setattr(world.services.objects, name, self._counting(name, getattr(world.services.objects, name)))

    def _counting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(bucket: str, key: str, *args: Any, **kwargs: Any) -> Any:
            place = key.split("/")[3] if bucket == OWN else key.split("/")[0]
            self.calls[name, place] = self.calls.get((name, place), 0) + 1
            return call(bucket, key, *args, **kwargs)

        return counted

    def take(self) -> tuple[int, int, int]:
        """GETs of label objects, GETs of containers and listings of them since the last time."""
        found = (
            self.calls.get(("get", "ground-truth"), 0),
            self.calls.get(("get", "labels"), 0),
            self.calls.get(("list", "labels"), 0),
        )
        self.calls.clear()
        return found


def a_thousand(copying: bool) -> tuple[World, Counted]:
    """A window with a thousand requests and an object for each label; none has been evaluated yet."""
    world = quiet(baseline={}) if copying else never(quiet(baseline={}))
    rows = rows_of(0, 1000)
    world.capture(0, rows)
    for queue, message in world.take():
        world.deliver(queue, message)
    world.clock.time = hour(1) + 20 * MINUTE
    for row in rows:
        world.put_labels(label_line(row.inference_id, row.label("x"), row.time), f"post-{row.inference_id}")
    for queue, message in world.take():
        world.deliver(queue, message)
    world.clock.time = hour(2) + 12 * MINUTE
    if copying:
        forget_where(world)
        world.deliver("ground-truth", WORD)
        assert len(copied(world)) == 1000
    return world, Counted(world)


def evaluate(world: World) -> None:
    """Only the window's own message: what lies in the queues beside it reads nothing of interest."""
    world.deliver("windows", msgspec.json.encode({"monitor": MONITOR, "window": window_name(0)}))


def owe(world: World, anew: bool = False) -> None:
    window = Window.of(hour(0), HOUR)
    due.mark(world.services.ledger, MONITOR, window, world.definition.grace, world.clock.time, anew=anew)


@cache
def thousand_facts() -> tuple[dict[str, bytes], tuple[int, int, int]]:
    world, counted = a_thousand(copying=False)
    owe(world)
    evaluate(world)
    return world.derived(), counted.take()


def test_a_window_of_a_thousand_label_objects_is_evaluated_with_one_read() -> None:
    facts, calls = thousand_facts()
    assert calls == (1000, 0, 1), "and without containers as ever, but for asking whether there are any"
    world, counted = a_thousand(copying=True)
    owe(world)
    evaluate(world)
    assert counted.take() == (0, 1, 1)
    assert world.evaluation(0).labelled == 1000
    assert world.derived() == facts


def test_a_late_capture_and_a_rebuild_read_them_once_more() -> None:
    world, counted = a_thousand(copying=True)
    owe(world)
    evaluate(world)
    counted.take()
    world.capture(0, rows_of(0, 3, seed="late"), name="late")
    owe(world)
    evaluate(world)
    assert counted.take() == (0, 1, 1)
    before = world.derived()
    owe(world, anew=True)
    evaluate(world)
    assert counted.take() == (0, 1, 1)
    assert world.derived() == before


def test_what_is_gone_and_in_no_container_is_asked_for_once() -> None:
    world, counted = a_thousand(copying=True)
    for row in rows_of(0, 5):
        world.put_labels(label_line(row.inference_id, 1, row.time), f"more-{row.inference_id}", arrived=hour(1))
    for queue, message in world.take():
        world.deliver(queue, message)
    assert expire(world, "more-") == 5
    counted.take()
    owe(world)
    evaluate(world)
    assert counted.take() == (5, 1, 1)
    assert world.evaluation(0).labelled == 1000


def test_objects_that_were_nobodys_when_they_came_are_looked_through_with_one_read() -> None:
    world = quiet(baseline={})
    rows = rows_of(0, 1000)
    world.clock.time = hour(0) + 10 * MINUTE
    for row in rows:
        world.put_labels(label_line(row.inference_id, row.label("x")), f"post-{row.inference_id}")
    world.settle()
    assert len(labels.unmatched(world.services.ledger, MONITOR, "")) == 1000
    world.clock.time = hour(1) + 12 * MINUTE
    forget_where(world)
    world.deliver("ground-truth", WORD)
    world.capture(0, rows)
    owe(world)
    counted = Counted(world)
    evaluate(world)
    assert counted.take() == (0, 1, 1)
    assert world.evaluation(0).labelled == 1000


# Rebuilding -----------------------------------------------------------------------------------------------------------


def rebuilt(world: World) -> rebuilds.Rebuild:
    owe(world, anew=True)
    world.minutes(2)
    stored = rebuilds.read(world.services.ledger, MONITOR, window_name(0))
    assert stored is not None
    return stored.value


@pytest.mark.parametrize("sealed", [False, True])
def test_a_window_is_rebuilt_whose_label_objects_have_expired(sealed: bool) -> None:
    world = quiet()
    _, late = posted(world)
    until(world, hour(2) + 30 * MINUTE)
    late_capture(world, late)
    expire(world)
    if sealed:
        world.clock.time += world.definition.horizon
    assert rebuilt(world).outcome == "REBUILT"
    mine, wanted = world.derived(), uncopied()
    assert {name: mine[name] for name in wanted} == wanted


@pytest.mark.parametrize("what", ["expired", "written again"])
def test_without_a_container_it_is_refused(what: str) -> None:
    world = quiet()
    _, late = posted(world)
    until(world, hour(2) + 30 * MINUTE)
    late_capture(world, late)
    if what == "expired":
        expire(world, "post-0001", "post-0002")
    else:
        for key in posts(world)[6:8]:
            world.services.objects.put(DATA, key, label_line("nobody", 1))
    assert rebuilt(world).outcome == "REBUILT", "the container has them as they were"
    for key in containers(world):
        world.services.objects.delete(OWN, key)
    refused = rebuilt(world)
    assert (refused.outcome, refused.lost_count) == ("REFUSED", 2)


# Whatever comes between -----------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_at_any_moment_and_again_and_after_the_objects_expired_the_facts_are_the_same(seed: int) -> None:
    draw = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_containers, "FEWEST", 1)
        patch.setattr(label_containers, "MOST_OBJECTS", draw.choice([1, 2, 2000]))
        world, calm = quiet(), never(quiet())
        for move in script():
            write(world, move)
            calmly(calm, world.clock.time)
            calm.clock.time = world.clock.time  # a label's time is that of its file
            write(calm, move)
            calm.settle()
            world.disturbed(draw, moves=draw.choice([2, 8, 20]))
            if draw.random() < 0.5:
                forget_where(world, number=draw.choice([0, 0, 1]))
                world.services.queues.send("ground-truth", [WORD] * draw.choice([1, 2]))
            world.disturbed(draw, moves=4)
            lose_what_there_is_twice(world, draw)
        world.disturbed(draw, moves=30)
        rest(world)
        rest(calm)
        assert containers(world) and not containers(calm)
    assert known(world.derived()) == known(calm.derived())
    assert world.permanent == []


def lose_what_there_is_twice(world: World, draw: random.Random) -> None:
    """Delete some of the label objects that were worked off and copied, or some of the containers whose objects are
    there."""
    found = containers(world)
    held = {(each.key, each.etag) for container in found.values() for each in container.sources}
    objects = world.services.objects
    there = {(key, objects.get(DATA, key).etag) for key in posts(world)}
    if draw.random() < 0.5:
        for key, etag in sorted(held & there):
            folder = key.rpartition("/")[0]
            if (key, etag) in labels.landed(world.services.ledger, DATA, folder) and draw.random() < 0.5:
                objects.delete(DATA, key)
    else:
        for key, container in found.items():
            if {(each.key, each.etag) for each in container.sources} <= there and draw.random() < 0.5:
                objects.delete(OWN, key)


def before_copying(count: int = 20) -> World:
    """An hour of posts that is over, and a window whose labels were not read."""
    world = quiet()
    posted(world, count)
    world.clock.time = hour(2) + 15 * MINUTE
    return world


def then_expire(world: World) -> None:
    """Everything that was copied expires, and a late capture has all labels of the window read."""
    expire_copied(world)
    world.capture(0, rows_of(0, 5, seed="late"), name="late")
    world.minutes(3)


def expire_copied(world: World) -> None:
    done = set(copied(world))
    for key in posts(world):
        if key in done:
            world.services.objects.delete(DATA, key)


@pytest.mark.parametrize("late", [False, True])
def test_a_crash_at_any_call_ends_in_the_same_bytes(late: bool) -> None:
    world = before_copying(count=2)
    forget_where(world)
    calm_world, plain = deepcopy(world), never(deepcopy(world))
    calm_world.deliver("ground-truth", WORD)
    for each in (calm_world, plain):
        then_expire(each)
    assert expire(calm_world) == 0 and expire(plain) == 9
    expected = calm_world.derived()
    assert expected == plain.derived() and calm_world.evaluation(0).labelled == 7
    tried = 0
    for place, crashed in world.crashes(lambda copy: copy.deliver("ground-truth", WORD), late):
        tried += 1
        then_expire(crashed)
        assert crashed.derived() == expected, place
        assert containers(crashed).keys() == containers(calm_world).keys(), place
        assert list(crashed.owed()) == [], place
    assert tried > 20


def test_two_workers_at_once_make_one_container() -> None:
    base = before_copying()
    forget_where(base)
    calm_world = deepcopy(base)
    calm_world.deliver("ground-truth", WORD)
    expected = containers(calm_world)
    assert [len(each.sources) for each in expected.values()] == [30]
    met = 0
    for step in range(1, 80):
        world = deepcopy(base)
        interrupted = Interrupted(step, lambda world=world: world.deliver("ground-truth", WORD))
        world.deliver("ground-truth", WORD, wrapped(interrupted, world))
        if not interrupted.done:
            break
        met += 1
        assert containers(world) == expected, f"call {step}"
        assert labels.compaction(world.services.ledger, MONITOR) == labels.compaction(
            calm_world.services.ledger, MONITOR
        )
    assert met > 30


def wrapped(faults: Faults, world: World) -> Any:
    services = world.services
    return Faults.replaced(services, objects=faults.wrap(services.objects), ledger=faults.wrap(services.ledger))


def test_who_lists_less_than_the_other_loses_and_doubles_nothing() -> None:
    base = before_copying()
    forget_where(base)
    row = rows_of(0, 20)[9]
    shapes = set()
    for step in range(1, 60, 6):
        world = deepcopy(base)

        def one_more(world: World = world) -> None:
            world.put_labels(label_line(row.inference_id, 1 - row.label("x")), "more", arrived=hour(1))
            world.deliver("ground-truth", WORD)

        interrupted = Interrupted(step, one_more)
        world.deliver("ground-truth", WORD, wrapped(interrupted, world))
        if not interrupted.done:
            break
        shapes.add(tuple(sorted(len(each.sources) for each in containers(world).values())))
        world.settle()
        expire_copied(world)
        late_capture(world, rows_of(0, 5, seed="late"))
        assert world.evaluation(0).labelled == 25
        assert len(label_sources(world)) == 31, f"call {step}"
    assert (30, 31) in shapes


def test_ids_that_are_forgotten_while_a_container_is_written_are_not_in_it() -> None:
    base = before_copying()
    forget_where(base)
    one = rows_of(0, 20)[4].inference_id
    met = 0
    for step in range(1, 80):
        world = deepcopy(base)
        interrupted = Interrupted(step, lambda world=world: forget(world, one))
        world.deliver("ground-truth", WORD, wrapped(interrupted, world))
        if not interrupted.done:
            break
        met += 1
        assert list(cut(world, one)) == [], f"call {step}"
        assert len(copied(world)) == 30
    assert met > 30


def test_also_when_who_writes_it_crashes_then() -> None:
    base = before_copying(count=3)
    forget_where(base)
    one = rows_of(0, 3)[1].inference_id
    counted, whole = Faults(0, after=False), deepcopy(base)
    whole.deliver("ground-truth", WORD, wrapped(counted, whole))
    tried = 0
    for step in range(1, counted.calls + 1):
        for crash in range(step, counted.calls + 3):
            world = deepcopy(base)
            interrupted, faults = Interrupted(step, lambda world=world: forget(world, one)), Faults(crash, after=True)
            inner = Faults.replaced(
                world.services,
                objects=interrupted.wrap(faults.wrap(world.services.objects)),
                ledger=interrupted.wrap(faults.wrap(world.services.ledger)),
            )
            world.deliver("ground-truth", WORD, inner)
            if faults.fired:
                world.deliver("ground-truth", WORD)
                tried += 1
            assert list(cut(world, one)) == [], f"forgotten before call {step}, crashed after call {crash}"
            assert len(copied(world)) == 11
    assert tried > 200


def forget(world: World, id: str) -> None:
    """What `plumbline forget` does: bury the id, then cut it out of what there is."""
    forgotten.bury(world.services.ledger, MONITOR, [fingerprint(id)], world.clock.time)
    for key, stored in cut(world, id):
        world.services.objects.put(OWN, key, stored.body)


def cut(world: World, id: str) -> Iterator[tuple[str, StoredObject]]:
    """Containers in which an id stands, as they are without it."""
    gone = Gone(frozenset([fingerprint(id)]))
    for key, container in containers(world).items():
        found = without_labels(container, gone)
        if found.labels:
            yield key, StoredObject(found.container.to_bytes(), "", world.clock.time)
