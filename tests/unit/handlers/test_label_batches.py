"""Labels without a time: looked up many at once, in filters of days that are over and in the lists of the last one."""

from __future__ import annotations

import json
import uuid
from copy import deepcopy
from datetime import datetime
from typing import Any

import pytest

from chalicelib.facts import labels
from tests.unit.handlers.test_windows_evaluated import quiet
from tests.unit.handlers.world import (
    DATA,
    ENDPOINT,
    MINUTE,
    MONITOR,
    OWN,
    Row,
    World,
    hour,
    label_line,
    rows_of,
)

PAYLOAD = f"plumbline/payload/{MONITOR}"
WEEK = {"horizon": "P7D"}


def kinds(world: World) -> tuple[int, int, int]:
    """How many id lists, filters and checks there are."""
    there = world.services.objects.keys
    return tuple(len(there(OWN, f"{PAYLOAD}/{kind}/")) for kind in ("ids", "filters", "filter-checks"))


def gets(world: World) -> list[str]:
    """Keys below our own payload that were read, from here on."""
    read: list[str] = []
    objects, get = world.services.objects, world.services.objects.get

    def noted(bucket: str, key: str) -> Any:
        if bucket == OWN and key.startswith(PAYLOAD):
            read.append(key.removeprefix(f"{PAYLOAD}/").partition("/")[0])
        return get(bucket, key)

    objects.get = noted  # type: ignore[method-assign]
    return read


def put(world: World, number: int, rows: list[Row]) -> None:
    """Captures of a window that are evaluated without labels."""
    world.clock.time = max(world.clock.time, hour(number) + 50 * MINUTE)
    world.capture(number, rows)
    world.minutes(20)


def two_days() -> tuple[World, list[list[Row]]]:
    """Three hours of a day that is over, and one of the next."""
    world = quiet(labels=WEEK)
    traffic = [rows_of(number, 10) for number in (0, 1, 5, 25)]
    for number, rows in zip((0, 1, 5, 25), traffic, strict=True):
        put(world, number, rows)
    world.clock.time = hour(27)
    return world, traffic


def answer(world: World, rows: list[Row], name: str = "labels", timed: datetime | None = None) -> None:
    world.put_labels(b"".join(label_line(row.inference_id, row.label("x"), timed) for row in rows), name)
    world.minutes(20)


def test_a_day_that_is_over_becomes_one_filter_and_labels_find_their_windows_in_it() -> None:
    world, traffic = two_days()
    assert kinds(world) == (4, 0, 0)
    answer(world, [rows[0] for rows in traffic])
    assert kinds(world) == (1, 1, 1)
    assert [world.evaluation(number).labelled for number in (0, 1, 5, 25)] == [1, 1, 1, 1]
    answer(world, [rows[1] for rows in traffic], "more")
    assert [world.evaluation(number).labelled for number in (0, 1, 5, 25)] == [2, 2, 2, 2]
    assert not labels.awaiting(world.services.ledger, MONITOR)
    assert not labels.unmatched(world.services.ledger, MONITOR, "")


def test_many_posts_are_looked_up_at_once() -> None:
    world, traffic = two_days()
    answer(world, traffic[0][:1])
    for number, row in enumerate(traffic[1]):
        world.put_labels(label_line(row.inference_id, row.label("x")), f"post-{number}")
    read = gets(world)
    world.settle(batches=False)
    assert not {"filters", "filter-checks", "ids"} & set(read)
    assert len(labels.awaiting(world.services.ledger, MONITOR)) == 10
    world.tick()
    assert (read.count("filters"), read.count("filter-checks"), read.count("ids")) == (1, 1, 1)
    world.minutes(20)
    assert world.evaluation(1).labelled == 10


def test_a_capture_that_comes_after_its_day_became_a_filter_is_found() -> None:
    world, traffic = two_days()
    answer(world, traffic[0][:1])
    late = rows_of(1, 3, "late")
    world.capture(1, late, name="late")
    world.minutes(20)
    answer(world, late, "of-late")
    assert world.evaluation(1).labelled == 3
    assert kinds(world)[1] == 1


def test_an_id_of_several_windows_is_labelled_in_all_of_them() -> None:
    world = quiet(labels=WEEK)
    for number in (0, 2, 26):
        again = [Row("again", f"event-{number}", hour(number) + MINUTE, 0.9, 0.1)]
        put(world, number, [*rows_of(number, 5), *again])
    world.clock.time = hour(29)
    answer(world, [Row("again", "", hour(0), 0.9, 0.1)])
    assert [world.evaluation(number).labelled for number in (0, 2, 26)] == [1, 1, 1]


def test_a_label_with_the_time_of_another_window_finds_its_own() -> None:
    world, traffic = two_days()
    answer(world, traffic[0][:4], timed=hour(25) + MINUTE)
    assert world.evaluation(0).labelled == 4
    assert world.evaluation(25).labelled == 0
    assert not labels.awaiting(world.services.ledger, MONITOR)


def test_labels_of_nobody_wait_and_are_not_looked_up_again() -> None:
    world, _ = two_days()
    answer(world, rows_of(77, 3))
    assert not labels.awaiting(world.services.ledger, MONITOR)
    assert len(labels.unmatched(world.services.ledger, MONITOR, "")) == 1
    read = gets(world)
    world.minutes(30)
    assert not {"filters", "filter-checks", "ids"} & set(read)


def test_more_ids_than_the_table_keeps_are_read_from_their_object(monkeypatch: pytest.MonkeyPatch) -> None:
    world, traffic = two_days()
    monkeypatch.setattr(labels, "MOST_AWAITING", 3)
    answer(world, traffic[0])
    assert world.evaluation(0).labelled == 10


def test_ids_that_tell_their_time_are_looked_for_there_only() -> None:
    world = quiet(labels=WEEK)
    rows = []
    for number in (1, 30, 60):
        at = hour(number) + MINUTE
        made = int(at.timestamp() * 1000)
        identity = str(uuid.UUID(int=made << 80 | 7 << 76 | 2 << 62 | number))
        rows.append(Row(identity, f"event-{number}", at, 0.9, 0.1))
        put(world, number, [*rows_of(number, 5), rows[-1]])
    world.clock.time = hour(75)
    answer(world, rows_of(1, 5)[:1])
    assert kinds(world)[1] == 3
    read = gets(world)
    answer(world, rows[2:], "told")
    assert world.evaluation(60).labelled == 1
    assert read.count("filters") == 1


def test_labels_after_the_seal_are_counted_and_listed() -> None:
    world = quiet(labels={"horizon": "PT30H"})
    rows = rows_of(0, 10)
    put(world, 0, rows)
    answer(world, rows[:6])
    world.clock.time = hour(35)
    answer(world, rows[6:9], "late")
    answer(world, rows[9:], "late-timed", timed=rows[9].time)
    assert world.evaluation(0).labelled == 6
    told = world.report(0, name="label_maturity.json")
    assert told["sealed"] and told["summary"] == "this window is sealed; its final coverage is 60 %"
    assert told["late_label_count"] == 4
    assert sorted((each["object"].rpartition("/")[2], each["labels"]) for each in told["late_labels"]) == [
        ("late-timed.jsonl", 1),
        ("late.jsonl", 3),
    ]


@pytest.mark.parametrize("most", [512, 1])
def test_late_labels_of_single_records_are_counted_each(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MOST_AWAITING", most)
    world = quiet(labels={"horizon": "PT30H"})
    rows = rows_of(0, 10)
    put(world, 0, rows)
    world.clock.time = hour(35)
    lines = []
    for row, records in ((rows[0], 3), (rows[1], 1), (rows[2], 2)):
        for number in range(records):
            line = json.loads(label_line(row.inference_id, row.label("x")))
            line["eventMetadata"]["recordIndex"] = number
            lines.append(json.dumps(line).encode())
    world.put_labels(b"\n".join(lines), "by-record")
    world.repeat_events()
    world.minutes(20)
    told = world.report(0, name="label_maturity.json")
    assert told["late_label_count"] == 6
    assert [each["labels"] for each in told["late_labels"]] == [6]


def test_a_label_that_came_before_the_seal_counts_though_its_window_is_evaluated_after_it() -> None:
    world = quiet(labels={"horizon": "PT30H"})
    rows = rows_of(0, 10)
    put(world, 0, rows)
    world.clock.time = hour(31) - MINUTE
    world.put_labels(b"".join(label_line(row.inference_id, row.label("x")) for row in rows), "in-time")
    world.settle()
    assert world.evaluation(0).labelled == 0
    world.minutes(60)
    assert world.clock.time > hour(31)
    assert world.evaluation(0).labelled == 10
    assert world.report(0, name="label_maturity.json")["late_label_count"] == 0


@pytest.mark.parametrize("timed", [True, False])
def test_a_label_that_came_before_the_seal_counts_though_its_event_was_late_or_lost(timed: bool) -> None:
    late = quiet(labels={"horizon": "PT30H"})
    rows = rows_of(0, 10)
    put(late, 0, rows)
    late.clock.time = hour(31) - 10 * MINUTE
    late.label(rows, "x", "in-time", timed=timed)
    lost = deepcopy(late)
    waiting = late.take()
    late.clock.time = hour(31) + 10 * MINUTE
    for queue, message in waiting:
        late.deliver(queue, message)
    lost.lose("ground-truth")  # the sweep of the hour in which the file came finds it
    for world in (late, lost):
        world.minutes(90)
        assert world.evaluation(0).labelled == 10
        assert world.report(0, name="label_maturity.json")["late_label_count"] == 0


def test_label_files_of_other_systems_are_joined_by_the_mapping() -> None:
    mapping = {"id": "order", "label": "outcome"}
    world = quiet(labels={**WEEK, "mapping": mapping})
    rows = rows_of(0, 10)
    put(world, 0, rows)
    table = "\n".join(["order,outcome,other", *(f"{row.inference_id},{row.label('x')},-" for row in rows[:7])])
    world.services.objects.put(DATA, f"ground-truth/{ENDPOINT}/2026/01/05/01/export of Monday", table.encode())
    world.minutes(20)
    assert world.evaluation(0).labelled == 7
    answer(world, rows[7:])
    assert world.evaluation(0).labelled == 10
