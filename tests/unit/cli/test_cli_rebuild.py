"""`plumbline rebuild`: what is told before and after, and that nothing is asked for that would lose something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from chalicelib import wiring
from chalicelib.errors import MisconfiguredError
from plumbline.cli import rebuild
from plumbline.cli.main import main
from tests.unit.handlers.world import DATA, MONITOR, OWN, World, definition, hour, rows_of, window_name

SPAN = ("--monitor", MONITOR, "--from", "2026-01-05", "--to", "2026-01-05T03:00Z")


@cache
def _lived() -> World:
    world = World(definition(policy={"retrain": False, "roll_back": False}))
    for number in range(3):
        world.live(number)
    world.minutes(40)
    return world


@pytest.fixture
def world() -> Iterator[World]:
    """Three labelled hours, and nothing owed."""
    found = deepcopy(_lived())
    wiring.use(found.services)
    yield found
    wiring.use(None)


def told(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> tuple[str, str]:
    assert main(["rebuild", *arguments]) == status
    out, err = capsys.readouterr()
    return out, err


def captures_of(world: World, number: int) -> tuple[str, ...]:
    return world.services.objects.keys(DATA, f"captures/churn/AllTraffic/{hour(number):%Y/%m/%d/%H}/")


def expire(world: World, number: int) -> list[str]:
    found = captures_of(world, number)
    for key in found:
        world.services.objects.delete(DATA, key)
    return list(found)


def run(world: World, *numbers: int, limit: timedelta = timedelta(minutes=5)) -> tuple[list[rebuild.Done], list[str]]:
    """Ask, with a clock that ticks while the command waits."""
    lines: list[str] = []

    def wait(seconds: float) -> None:
        world.clock.time += timedelta(seconds=seconds)
        world.tick()

    before = rebuild.order(world.services, MONITOR, [window_name(number) for number in numbers])
    return rebuild.follow(world.services, MONITOR, before, wait, limit, lines.append), lines


def test_a_dry_run_tells_and_writes_nothing(capsys: pytest.CaptureFixture[str], world: World) -> None:
    gone = expire(world, 1)
    before, objects = dict(world.services.ledger.items), dict(world.services.objects.objects)
    out, err = told(capsys, 1, *SPAN, "--dry-run")
    assert err == ""
    assert out == (
        "monitor churn: 3 windows, 2 can be rebuilt, 1 refused\n"
        "  2026-01-05T00:00:00Z  rebuild   2 capture files, 1 label object, "
        "inputs named by what is stored of the window\n"
        "  2026-01-05T01:00:00Z  refused   2 of 3 inputs are gone or were written again\n"
        f"      {gone[0]}: is not there any more\n"
        f"      {gone[1]}: is not there any more\n"
        "  2026-01-05T02:00:00Z  rebuild   2 capture files, 1 label object, "
        "inputs named by what is stored of the window\n"
        "2 would be rebuilt; nothing was asked for (--dry-run)\n"
    )
    assert (world.services.ledger.items, world.services.objects.objects) == (before, objects)


def test_the_others_are_asked_for(capsys: pytest.CaptureFixture[str], world: World) -> None:
    expire(world, 1)
    out, err = told(capsys, 1, *SPAN, "--wait", "PT0S")
    assert sorted(world.owed()) == [f"{MONITOR}#{window_name(number)}" for number in (0, 2)]
    assert out == "0 rebuilt (0 with a new report); 1 refused, their last report stays; 2 still owed\n"
    assert "2 asked for" in err


def test_all_or_nothing(capsys: pytest.CaptureFixture[str], world: World) -> None:
    expire(world, 1)
    out, _ = told(capsys, 1, *SPAN, "--all-or-nothing", "--wait", "PT0S")
    assert "nothing was asked for" in out and list(world.owed()) == []


def test_what_was_deleted_comes_back(world: World) -> None:
    before = world.derived()
    for bucket, prefix in ((DATA, "reports/"), (OWN, f"plumbline/payload/{MONITOR}/")):
        for key in world.services.objects.keys(bucket, prefix):
            world.services.objects.delete(bucket, key)
    done, lines = run(world, 0, 1, 2)
    assert [each.state for each in done] == ["rebuilt"] * 3
    assert lines[0] == "[1/3] 2026-01-05T00:00:00Z  rebuilt   same report as before"
    after = world.derived()
    assert {name: body for name, body in before.items() if name in after} == after
    assert len(after) == len(before)


def test_a_new_report_is_told(world: World) -> None:
    late = rows_of(1, 2, seed="late")
    world.capture(1, late, name="late")
    world.lose("captures")
    [done], _ = run(world, 1)
    assert done.state == "rebuilt" and done.detail.startswith(f"new report {world.evaluation(1).digest[:12]}, was ")
    planned = rebuild.plan(world.services, MONITOR, hour(0), hour(3))
    assert rebuild.summary(planned, [done]) == "1 rebuilt (1 with a new report)"
    assert rebuild.all_well(planned, [done])


def test_a_file_that_expires_after_the_look(world: World) -> None:
    before = rebuild.order(world.services, MONITOR, [window_name(1)])
    [first, *_] = expire(world, 1)
    world.minutes(2)
    [done] = rebuild.follow(world.services, MONITOR, before, lambda _: None, timedelta(0), lambda _: None)
    assert done.state == "refused" and first in done.detail
    assert world.evaluation(1).rows == 20


def test_functions_that_do_not_answer(world: World) -> None:
    before = rebuild.order(world.services, MONITOR, [window_name(1)])
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        world.clock.time += timedelta(seconds=seconds)

    [done] = rebuild.follow(world.services, MONITOR, before, wait, timedelta(minutes=1), lambda _: None)
    assert done.state == "waiting" and sum(waits) == 60
    world.minutes(2)
    [done] = rebuild.follow(world.services, MONITOR, before, wait, timedelta(minutes=1), lambda _: None)
    assert done.state == "rebuilt"


def test_functions_that_know_no_rebuild(world: World) -> None:
    before = rebuild.order(world.services, MONITOR, [window_name(1)])
    [item] = [item for item, _ in world.services.ledger.items.values() if item.pk.startswith("DUE#")]
    world.services.ledger.delete(item.pk, item.sk, expected=item.revision)
    [done] = rebuild.follow(world.services, MONITOR, before, lambda _: None, timedelta(0), lambda _: None)
    assert done.state == "unseen" and "older" in done.detail


def test_open_early_and_unknown_windows(world: World) -> None:
    planned = rebuild.plan(world.services, MONITOR, hour(-2), hour(6))
    verdicts = {each.window: (each.verdict, each.reason) for each in planned}
    assert verdicts[window_name(-1)] == ("skipped", f"before the monitor's first window, {window_name(0)}")
    assert verdicts[window_name(2)][0] == "rebuild"
    assert verdicts[window_name(4)] == ("skipped", "open until 2026-01-05T05:05:00Z")
    world.clock.time = hour(6)
    [late] = rebuild.plan(world.services, MONITOR, hour(4), hour(5))
    assert (late.verdict, late.reason) == ("skipped", "not evaluated yet: the clock owes it an evaluation")


def test_a_missing_baseline_is_told(world: World) -> None:
    world.services.objects.delete(DATA, "baseline/data_quality/statistics.json")
    [planned] = rebuild.plan(world.services, MONITOR, hour(1), hour(2))
    assert planned.verdict == "refused" and "baseline/data_quality/statistics.json" in planned.reason


def test_json(capsys: pytest.CaptureFixture[str], world: World) -> None:
    gone = expire(world, 1)
    out, _ = told(capsys, 1, *SPAN, "--json", "--wait", "PT0S")
    document = json.loads(out)
    assert document["monitor"] == MONITOR
    assert [each["verdict"] for each in document["windows"]] == ["rebuild", "refused", "rebuild"]
    assert [line.partition(":")[0] for line in document["windows"][1]["lost"]] == gone
    assert document["windows"][0]["outcome"]["state"] == "waiting" and "outcome" not in document["windows"][1]


@pytest.mark.parametrize(
    "arguments, line",
    [
        (("--from", "soon", "--to", "2026-01-06"), "--from: got 'soon'; expected a date or a time"),
        (("--from", "2026-01-05", "--to", "2026-01-05"), "expected a span in which a window of PT1H begins"),
        (("--from", "2026-01-06", "--to", "2026-01-05"), "expected a span in which a window of PT1H begins"),
        (("--from", "2025-01-05", "--to", "2026-01-05"), "got '8760 windows'; expected at most 1000 at once"),
        (("--from", "2026-01-05", "--to", "2026-01-06", "--wait", "long"), "--wait: got 'long'"),
        (("--from", "2026-01-05", "--to", "2026-01-06", "--monitor", "fraud"), "monitor fraud: not in the table"),
    ],
)
def test_a_wrong_question(
    capsys: pytest.CaptureFixture[str], world: World, arguments: tuple[str, ...], line: str
) -> None:
    named = () if "--monitor" in arguments else ("--monitor", MONITOR)
    out, err = told(capsys, 2, *named, *arguments)
    assert out == "" and err.count("\n") == 1 and line in err


@pytest.mark.parametrize("text", ["2026-01-05T01:00:00+02:00", "2026-01-04T23:00", "2026-01-04T23:00:00Z"])
def test_times_are_utc_unless_they_say_else(text: str) -> None:
    assert rebuild.parse_time(text, "--from") == datetime(2026, 1, 4, 23, tzinfo=UTC)


def test_a_time_that_is_none() -> None:
    with pytest.raises(MisconfiguredError, match="--to"):
        rebuild.parse_time("yesterday", "--to")
