"""`plumbline status`, `pause`, `remove` and `diff`: what they print, as text and as JSON, and what they leave alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib import wiring
from chalicelib.definition import parse_definition
from chalicelib.facts import due, pauses
from chalicelib.records.window import Window
from chalicelib.workflows.monitor_status import OVERDUE_AFTER
from plumbline.cli.diff import differences
from plumbline.cli.main import main
from tests.unit.handlers.world import HOUR, MINUTE, MONITOR, World, definition, hour

DOCUMENT: dict[str, Any] = {
    "name": "churn",
    "endpoint": "churn",
    "capture_s3_uri": "s3://data/captures",
    "output_s3_uri": "s3://data/reports",
    "monitor_types": ["DataQuality"],
    "attributes": {"probability_attribute": "0", "features": ["x", "z"]},
}


@pytest.fixture
def world() -> Iterator[World]:
    """Three calm hours of a monitor, which the commands ask about."""
    found = World(definition())
    for number in range(3):
        found.live(number)
    wiring.use(found.services)
    yield found
    wiring.use(None)


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def one(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    [found] = json.loads(output_of(capsys, "status", MONITOR, "--json"))
    return dict(found)


# status ---------------------------------------------------------------------------------------------------------------


def test_status_of_all_is_a_table(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    titles, row = output_of(capsys, "status").splitlines()
    assert titles.split()[:5] == ["MONITOR", "STATE", "ENDPOINT", "CHAMPION", "WINDOW"]
    assert titles.split()[5:] == ["VERDICT", "LABELS", "INCIDENTS", "RETRAIN", "OVERDUE"]
    assert row.split() == ["churn", "active", "churn", "first", "2026-01-05T02Z", "HOLD", "100%", "-", "-", "-"]


def test_status_of_one_says_where_to_go_on(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    text = output_of(capsys, "status", MONITOR)
    [record] = world.decisions(2)
    assert f"verdict     HOLD: plumbline explain {record.decision_id}\n" in text
    assert "window      2026-01-05T02:00:00Z, 20 rows, 100% labelled\n" in text
    assert "settled     2026-01-05T02:00:00Z, 100% labelled, loss 0.0000\n" in text
    assert "champion    first (generation 0)\n" in text and text.endswith("overdue     0 windows\n")


def test_status_follows_what_happens(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.live(3, "z")
    found = one(capsys)
    assert found["verdict"] == "RETRAIN" and found["retraining"] == f"STARTED {found['decision_id'][:12]}"
    assert found["incidents"] == ["model-quality"] and found["loss"] == world.evaluation(3).loss
    assert output_of(capsys, "status").splitlines()[1].split()[-3:] == ["model-quality", "STARTED", "-"]


def test_a_window_without_labels_yet(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.live(3, labelled=False)
    found = one(capsys)
    assert (found["window"], found["coverage"]) == ("2026-01-05T03:00:00Z", 0.0)
    assert (found["settled_window"], found["settled_coverage"]) == ("2026-01-05T02:00:00Z", 1.0)


def test_the_last_decision_on_a_window_is_its_verdict(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.clock.time += MINUTE
    world.alarm("accuracy-low", "ALARM")
    world.settle()
    world.minutes(20, until=world.clock.time + 20 * MINUTE)
    assert len(world.decisions(2)) == 2
    assert one(capsys)["decision_id"] == world.decisions(2)[-1].decision_id


def test_windows_that_wait_too_long_are_overdue(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    due.mark(world.services.ledger, MONITOR, Window(hour(1), HOUR), MINUTE, world.clock.time)
    assert one(capsys)["overdue"] == 0
    world.clock.time += OVERDUE_AFTER + 2 * MINUTE
    assert (one(capsys)["overdue"], one(capsys)["unclocked"]) == (1, 0)


def test_a_clock_that_does_not_run_is_seen(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.clock.time = hour(6) + OVERDUE_AFTER + 5 * MINUTE
    assert one(capsys)["unclocked"] == 3
    assert output_of(capsys, "status", MONITOR).endswith(
        "overdue     3 windows, 3 of them never marked due: is the clock running?\n"
    )


def test_status_before_the_first_window(capsys: pytest.CaptureFixture[str]) -> None:
    fresh = World(definition())
    wiring.use(fresh.services)
    assert output_of(capsys, "status").splitlines()[1].split()[4:7] == ["-", "-", "-"]
    assert "window      none evaluated yet\n" in output_of(capsys, "status", MONITOR)
    wiring.use(None)


def test_status_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    empty = World(definition())
    for item in list(empty.services.ledger.query("MONITORS")):
        empty.services.ledger.delete(item.pk, item.sk, expected=item.revision)
    wiring.use(empty.services)
    assert output_of(capsys, "status") == "no monitor is stored; `plumbline add FILE` stores one\n"
    assert "stored: none" in refused(capsys, "status", MONITOR)
    wiring.use(None)


def test_status_changes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = dict(world.services.ledger.items), dict(world.services.objects.objects)
    output_of(capsys, "status")
    output_of(capsys, "status", MONITOR)
    assert (world.services.ledger.items, world.services.objects.objects) == before


# pause ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, until",
    [
        ("2026-01-05T18:00Z", "2026-01-05T18:00:00Z"),
        ("2026-01-05T18:00:30Z", "2026-01-05T18:00:30Z"),
        ("2026-01-05T18:00+02:00", "2026-01-05T16:00:00Z"),
        ("PT4H", "2026-01-05T07:09:00Z"),
        ("P1D", "2026-01-06T03:09:00Z"),
    ],
)
def test_pause_until(world: World, capsys: pytest.CaptureFixture[str], given: str, until: str) -> None:
    text = output_of(capsys, "pause", MONITOR, "--until", given)
    assert text.splitlines()[0] == f"churn: paused since 2026-01-05T03:09:00Z, until {until}"
    assert one(capsys)["state"] == "paused" and one(capsys)["paused"].endswith(until)


def test_pause_until_it_is_resumed(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(output_of(capsys, "pause", MONITOR, "--json")) == {
        "monitor": "churn",
        "paused": True,
        "since": "2026-01-05T03:09:00Z",
        "until": None,
    }
    world.clock.time += timedelta(days=400)
    assert one(capsys)["state"] == "paused"
    text = output_of(capsys, "pause", MONITOR, "--resume")
    assert text == "churn: resumed; its newest settled window is decided again\n"
    assert one(capsys)["state"] == "active"
    assert [each.window for each in due.owed(world.services.ledger, MONITOR)] == ["2026-01-05T02:00:00Z"]


def test_resumed_without_a_pause_nothing_is_owed(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = dict(world.services.ledger.items)
    assert output_of(capsys, "pause", MONITOR, "--resume") == "churn: was not paused\n"
    assert json.loads(output_of(capsys, "pause", MONITOR, "--resume", "--json"))["changed"] is False
    assert world.services.ledger.items == before


def test_paused_again_it_keeps_its_beginning(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    output_of(capsys, "pause", MONITOR, "--until", "PT1H")
    world.clock.time += 30 * MINUTE
    assert "since 2026-01-05T03:09:00Z, until 2026-01-05T05:39:00Z" in output_of(
        capsys, "pause", MONITOR, "--until", "PT2H"
    )
    world.clock.time += timedelta(hours=3)
    assert pauses.in_force(world.services.ledger, MONITOR, world.clock.time) is None
    assert "since 2026-01-05T06:39:00Z" in output_of(capsys, "pause", MONITOR)


@pytest.mark.parametrize(
    "until",
    ["tomorrow", "2026-01-05", "2026-01-05T18:00", "2026-13-05T18:00Z", "P", "-PT1H", "2026-01-05T03:09Z", "PT0S"],
)
def test_a_wrong_end(world: World, capsys: pytest.CaptureFixture[str], until: str) -> None:
    before = dict(world.services.ledger.items)
    assert refused(capsys, "pause", MONITOR, f"--until={until}").startswith("plumbline: --until: got ")
    assert world.services.ledger.items == before


def test_an_end_and_its_resumption_at_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["pause", MONITOR, "--until", "PT1H", "--resume"])
    assert caught.value.code == 2


# remove ---------------------------------------------------------------------------------------------------------------


def test_remove_says_what_stays(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    objects = dict(world.services.objects.objects)
    text = output_of(capsys, "remove", MONITOR)
    assert text.startswith("churn: removed; its windows are no longer evaluated\n")
    for command in (
        "aws s3 rm --recursive s3://data/reports/churn/churn-model-quality/",
        "aws s3 rm --recursive s3://data/reports/churn/churn-data-quality/",
        "aws s3 rm --recursive s3://plumbline-test/plumbline/payload/churn/",
        "aws s3 rm --recursive s3://plumbline-test/plumbline/facts/churn/",
    ):
        assert f"    > {command}\n" in text
    assert world.services.objects.objects == objects
    found = one(capsys)
    assert (found["state"], found["removed_at"]) == ("removed", "2026-01-05T03:09:00Z")
    assert output_of(capsys, "remove", MONITOR).startswith("churn: was removed 2026-01-05T03:09:00Z\n")


def test_remove_names_every_object_that_the_monitor_wrote(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.live(3, "z")
    stays = json.loads(output_of(capsys, "remove", MONITOR, "--json"))["stays"]
    folders = [each["delete"].split()[4].removeprefix("s3://") for each in stays if " s3 rm " in each["delete"]]
    theirs = ("captures/", "ground-truth/", "baseline/", "models/")
    written = [f"{bucket}/{key}" for bucket, key in world.services.objects.objects if not key.startswith(theirs)]
    assert written
    assert [place for place in written if not place.startswith(tuple(folders))] == []


def test_remove_names_the_endpoints_that_cost(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.live(3, "z")
    world.finish_pipeline("z")
    world.settle()
    world.minutes(40, until=world.clock.time + 40 * MINUTE)
    assert world.champion().generation == 1
    text = output_of(capsys, "remove", MONITOR)
    for name in world.pool_endpoints():
        if name.startswith("plumbline"):
            assert f"aws sagemaker delete-endpoint --endpoint-name {name}" in text, name
    assert text.count("delete-endpoint --endpoint-name") >= 1


def test_remove_says_what_is_in_flight(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.live(3, "z")
    claim = world.retraining()
    text = output_of(capsys, "remove", MONITOR)
    assert (
        f"the retraining {claim.decision_id[:12]} is STARTED: its execution continues and its model is refused" in text
    )
    assert f"--pipeline-execution-arn {claim.execution_arn}" in text
    assert "not started" not in text


# diff -----------------------------------------------------------------------------------------------------------------


def file(folder: Path, **changes: Any) -> str:
    path = folder / "monitor.yaml"
    path.write_text(yaml.safe_dump({**DOCUMENT, **changes}), encoding="utf-8")
    return str(path)


@pytest.fixture
def plain(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> World:
    """The monitor as DOCUMENT says it."""
    output_of(capsys, "add", file(tmp_path))
    return world


def test_the_same(plain: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    version = plain.services.definitions.get(MONITOR)
    text = output_of(capsys, "diff", file(tmp_path, policy={"cost": version.policy.cost}))  # a default, written out
    assert text.startswith("churn: the file is the stored version ")


def test_each_field_that_differs(plain: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    changed = file(
        tmp_path,
        policy={"cost": 0.5},
        attributes={"probability_attribute": "0", "features": ["x", "y", "z"]},
        alarms=[{"name": "late", "role": "veto"}],
    )
    before = dict(plain.services.ledger.items)
    lines = output_of(capsys, "diff", changed, code=3).splitlines()
    assert lines[0].startswith("churn: stored version ") and ", the file would be " in lines[0]
    assert lines[1:] == [
        "  attributes.features",
        '    stored  ["x", "z"]',
        '    file    ["x", "y", "z"]',
        "  policy.cost",
        "    stored  0.2",
        "    file    0.5",
        "  alarms",
        "    stored  []",
        '    file    [{"name": "late", "role": "veto"}]',
    ]
    found = json.loads(output_of(capsys, "diff", changed, "--json", code=3))
    assert [each["field"] for each in found["differences"]][:2] == ["attributes.features", "policy.cost"]
    assert plain.services.ledger.items == before


def test_what_is_not_stored_differs(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = output_of(capsys, "diff", file(tmp_path, name="other"), code=3)
    assert text == "other is not stored; `plumbline add FILE` stores it\n"
    found = json.loads(output_of(capsys, "diff", file(tmp_path, name="other"), "--json", code=3))
    assert (found["stored"], found["differences"]) == (None, [])


def test_what_was_removed_differs(plain: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output_of(capsys, "remove", MONITOR)
    text = output_of(capsys, "diff", file(tmp_path), code=3)
    assert text.startswith("churn was removed 2026-01-05T03:09:00Z; ")


def test_a_bad_file_is_refused(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "did you mean endpoint?" in refused(capsys, "diff", file(tmp_path, endpont="x"))


def test_a_field_within_a_list(plain: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output_of(capsys, "add", file(tmp_path, alarms=[{"name": "late", "role": "veto"}]))
    text = output_of(capsys, "diff", file(tmp_path, alarms=[{"name": "late", "role": "trigger"}]), code=3)
    assert text.splitlines()[1:] == ["  alarms[0].role", '    stored  "veto"', '    file    "trigger"']


def test_equal_definitions_have_no_difference() -> None:
    assert differences(parse_definition(DOCUMENT), parse_definition(json.loads(json.dumps(DOCUMENT)))) == []
