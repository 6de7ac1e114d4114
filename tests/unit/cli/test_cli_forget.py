"""`plumbline forget`: afterwards an id stands nowhere in what is kept, and nothing brings it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib import wiring
from chalicelib.facts import due
from chalicelib.records.capture import read_captures
from chalicelib.records.forgetting import Gone, fingerprint, without_hashes, without_lines, without_names
from chalicelib.records.id_hashes import hash_ids
from chalicelib.records.window import Window
from plumbline.cli.main import main
from tests.unit.handlers.world import (
    DATA,
    HOUR,
    MONITOR,
    OWN,
    TOYS,
    Row,
    World,
    capture_line,
    capture_lines,
    definition,
    hour,
    label_line,
    rows_of,
)

THEIRS = ("captures/", "ground-truth/")
BROKEN = rows_of(1, 1, "broken")[0]


@pytest.fixture
def world() -> Iterator[World]:
    """Three hours with labels; in the second, a report names a record because its output is broken."""
    found = World(definition())
    found.live(0)
    found.clock.time = hour(1) + 10 * (HOUR / 60)
    found.put_capture(1, capture_line(BROKEN, "no number"), "broken.jsonl")
    found.live(1)
    found.live(2)
    wiring.use(found.services)
    yield found
    wiring.use(None)


def kept(world: World, *texts: str) -> list[str]:
    """Everything but the user's own files in which one of these stands, as text or as a hash."""
    hashes = [hash_ids([text.strip('"')]).tobytes() for text in texts]
    found = []
    for bucket in (OWN, DATA):
        for key in world.services.objects.keys(bucket):
            body = world.services.objects.get(bucket, key).body
            if bucket == DATA and key.startswith(THEIRS):
                continue
            wanted = [text.encode() for text in texts] + [text.encode().hex().encode() for text in texts]
            if any(each in body for each in wanted) or ("/ids/" in key and any(each in body for each in hashes)):
                found.append(key)
    assert not any(text in str(world.services.ledger.items) for text in texts)
    return found


def forget(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["forget", *arguments]) == code
    return capsys.readouterr().out


def calm(world: World) -> None:
    world.settle()
    world.minutes(20)


def row(number: int, index: int) -> Row:
    return rows_of(number, 20)[index]


def test_the_scene_holds_what_is_to_be_forgotten(world: World) -> None:
    found = kept(world, f'"{row(1, 3).inference_id}"', BROKEN.event_id)
    places = {key.split("/")[3] if key.startswith("plumbline") else key.split("/")[1] for key in found}
    assert places == {"measured", "revisions", "ids", "merge", "churn"}


def test_an_id_stands_nowhere_any_more(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    one = row(1, 3)
    text = forget(capsys, one.inference_id)
    assert kept(world, f'"{one.inference_id}"', one.event_id) == []
    assert "restated without them soon: 1 open windows" in text
    assert "not ours, still hold them: 1 objects of ground truth" in text
    assert f"s3://{DATA}/captures/" in text and "never reached:" in text
    calm(world)
    assert kept(world, f'"{one.inference_id}"', one.event_id) == []
    assert [world.evaluation(number).rows for number in range(3)] == [20, 20, 20]
    assert [world.evaluation(number).labelled for number in range(3)] == [20, 19, 20]


def test_a_report_does_not_name_them_any_more(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    forget(capsys, BROKEN.inference_id)
    assert kept(world, f'"{BROKEN.inference_id}"', BROKEN.event_id) == []
    assert world.report(1)["bad_records"]


def test_the_restated_window_is_what_it_would_be_without_them(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    one = row(2, 7)
    forget(capsys, one.inference_id)
    calm(world)
    other = World(definition())
    for number in range(3):
        if number == 1:
            other.clock.time = hour(1) + 10 * (HOUR / 60)
            other.put_capture(1, capture_line(BROKEN, "no number"), "broken.jsonl")
        if number < 2:
            other.live(number)
    rows = [each for each in rows_of(2, 20) if each != one]
    other.clock.time = hour(2) + 50 * (HOUR / 60)
    other.put_capture(2, capture_lines(rows, TOYS["x"]), "all.jsonl")
    other.label(rows, "x", "labels-2", timed=True)
    other.settle()
    other.minutes(30)
    mine, theirs = world.report(2, name="statistics.json"), other.report(2, name="statistics.json")
    assert mine["binary_classification_metrics"] == theirs["binary_classification_metrics"]
    assert sorted(map(str, world.merged(2))) == sorted(map(str, other.merged(2)))


def test_neither_a_repeat_nor_a_late_label_nor_a_rebuild_brings_them_back(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    one = row(1, 3)
    forget(capsys, one.inference_id)
    calm(world)
    world.put_labels(label_line(one.inference_id, 0, one.time), "late")
    world.repeat_events()
    calm(world)
    due.mark(world.services.ledger, MONITOR, Window(hour(1), HOUR), 0 * HOUR, world.clock.time, anew=True)
    calm(world)
    assert kept(world, f'"{one.inference_id}"', one.event_id) == []
    assert world.evaluation(1).rows == 20


def posted(world: World) -> Row:
    """Labels of the third hour again, an object for each, copied into a container with those that came in that hour;
    returns one of the requests."""
    rows = rows_of(2, 20)
    world.clock.time = hour(3) + 30 * (HOUR / 60)
    for each in rows:
        world.put_labels(label_line(each.inference_id, each.label("x")), f"post-{each.inference_id}")
    world.put_labels(label_line("nobody", 1), "post-nobody")
    world.minutes(60)
    assert len(world.services.objects.keys(OWN, CONTAINERS)) == 1
    return rows[7]


CONTAINERS = f"plumbline/payload/{MONITOR}/labels/2026-01-05T03:00:00Z/"


def test_labels_are_cut_out_of_containers_and_nothing_brings_them_back(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    one = posted(world)
    [key] = world.services.objects.keys(OWN, CONTAINERS)
    assert key in kept(world, f'"{one.inference_id}"')
    text = forget(capsys, one.inference_id)
    assert "1 captured requests, 2 labels and 1 merged records taken out, and 2 labels of containers;" in text
    assert f"s3://{DATA}/ground-truth/churn/2026/01/05/03/post-{one.inference_id}.jsonl" in text
    assert kept(world, f'"{one.inference_id}"', one.event_id) == []
    assert world.services.objects.keys(OWN, CONTAINERS) == (key,)
    calm(world)
    world.capture(2, rows_of(2, 3, "late"), name="late")
    due.mark(world.services.ledger, MONITOR, Window(hour(2), HOUR), 0 * HOUR, world.clock.time, anew=True)
    calm(world)
    assert kept(world, f'"{one.inference_id}"', one.event_id) == []
    assert (world.evaluation(2).rows, world.evaluation(2).labelled) == (22, 19)


def test_labels_of_nobody_go_and_their_objects_are_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    posted(world)
    [found] = json.loads(forget(capsys, "nobody", "--json"))
    assert (found["copies"], found["labels"], found["restated"]) == (1, 0, [])
    assert found["ground_truth"] == [f"s3://{DATA}/ground-truth/churn/2026/01/05/03/post-nobody.jsonl"]
    assert kept(world, '"nobody"') == []


def test_a_container_keeps_its_kms_key_and_an_unreadable_one_is_told(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    one = posted(world)
    [key] = world.services.objects.keys(OWN, CONTAINERS)
    objects = world.services.objects
    objects.put(OWN, key, objects.get(OWN, key).body, kms_key_id="their key")
    objects.put(OWN, f"{CONTAINERS}damaged.msgpack", b"damaged")
    text = forget(capsys, one.inference_id, code=1)
    assert f"could not be read, so may hold them: s3://{OWN}/{CONTAINERS}damaged.msgpack" in text
    assert objects.get(OWN, key).kms_key_id == "their key"


def test_again_it_finds_nothing_and_changes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    forget(capsys, row(1, 3).inference_id)
    calm(world)
    before = dict(world.services.objects.objects)
    [found] = json.loads(forget(capsys, row(1, 3).inference_id, "--json"))
    assert (found["requests"], found["labels"], found["merged"], found["objects"], found["restated"]) == (
        0,
        0,
        0,
        0,
        [],
    )
    assert world.services.objects.objects == before


def test_by_event_id_and_from_a_file(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, second = row(0, 1), row(2, 2)
    path = tmp_path / "ids"
    path.write_text(f"{first.event_id}\n\n{second.event_id}\n")
    [found] = json.loads(forget(capsys, "--ids-from", str(path), "--monitor", MONITOR, "--json"))
    assert (found["requests"], len(found["restated"])) == (2, 2)
    calm(world)
    assert kept(world, first.event_id, second.event_id) == []
    assert [world.evaluation(number).rows for number in range(3)] == [19, 21, 19]


def test_a_sealed_window_loses_the_records_and_keeps_its_numbers(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    one, before = row(1, 3), world.evaluation(1)
    world.clock.time = hour(2) + definition().horizon
    text = forget(capsys, one.inference_id)
    assert "sealed, their numbers still count them: 1 windows" in text
    assert "plumbline rebuild --monitor churn --from 2026-01-05T01:00:00Z --to 2026-01-05T02:00:00Z" in text
    assert kept(world, f'"{one.inference_id}"', one.event_id) == []
    assert world.evaluation(1) == before
    due.mark(world.services.ledger, MONITOR, Window(hour(1), HOUR), 0 * HOUR, world.clock.time, anew=True)
    calm(world)
    assert world.evaluation(1).rows == 20


def test_captures_that_have_expired_do_not_matter(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for key in world.services.objects.keys(DATA, "captures/"):
        world.services.objects.delete(DATA, key)
    one = row(0, 4)
    forget(capsys, one.inference_id)
    calm(world)
    assert kept(world, f'"{one.inference_id}"', one.event_id) == []
    # Sums keep what nothing can be taken out of: only captures that are there could be measured again.
    assert (world.evaluation(0).rows, world.evaluation(0).labelled) == (20, 19)


def test_a_quarantined_beginning_goes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.put_capture(2, b"person-1 is not JSON\n", "unreadable.jsonl")
    world.put_capture(2, b"somebody else is not JSON\n", "unreadable-too.jsonl")
    calm(world)
    prefix = f"plumbline/payload/{MONITOR}/quarantine/"
    assert len(world.services.objects.keys(OWN, prefix)) == 2
    forget(capsys, "person-1")
    assert len(world.services.objects.keys(OWN, prefix)) == 1


def test_what_cannot_be_read_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    [key] = world.services.objects.keys(OWN, f"plumbline/payload/{MONITOR}/measured/2026-01-05T00:00:00Z/")
    world.services.objects.put(OWN, key, b"damaged")
    assert f"could not be read, so may hold them: s3://{OWN}/{key}" in forget(capsys, "anybody", code=1)


def test_no_id_is_bad_usage(world: World) -> None:
    assert main(["forget"]) == 2


# The parts ------------------------------------------------------------------------------------------------------------


def test_lines_keep_their_numbers_and_unreadable_ones_stay() -> None:
    rows = rows_of(0, 3)
    lines = capture_lines(rows, TOYS["x"]).splitlines(keepends=True)
    body = lines[0] + b"not JSON\n" + lines[1] + lines[2]
    cut = without_lines(body, Gone(frozenset([fingerprint(rows[0].event_id)])), keep_numbers=True)
    assert (cut.lines, cut.ids) == (1, {rows[0].event_id, rows[0].inference_id})
    read = read_captures(cut.body, "f")
    assert [each.event_id for each in read.requests] == [rows[1].event_id, rows[2].event_id]
    assert [bad.line for bad in read.bad_lines] == [2]


def test_hashes_of_others_stay() -> None:
    index = hash_ids(["a", "b", "c"]).tobytes()
    cut = without_hashes(index, hash_ids(["b", "nobody"]).tolist())
    assert cut == hash_ids(["a", "c"]).tobytes()
    assert without_hashes(b"damaged", [1]) == b"damaged"


def test_names_in_lists_go_and_nothing_else() -> None:
    document = {"sample": ["e1#0", "e2#0", "e1"], "e1": {"text": "e1", "numbers": [1, None]}, "lists": [["e1#12"]]}
    assert without_names(document, lambda name: name == "e1") == {
        "sample": ["e2#0"],
        "e1": {"text": "e1", "numbers": [1, None]},
        "lists": [[]],
    }
