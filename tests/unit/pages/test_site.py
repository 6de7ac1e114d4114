"""The pages of fleet, monitor, window and decision: what they say, that they show no payload, and that every link of
theirs leads somewhere."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from chalicelib import wiring
from chalicelib.evidence.assessment import Assessment, Moved
from chalicelib.facts import monitors, standings
from chalicelib.facts.standings import Standing
from chalicelib.pages.fleet import fleet_page
from chalicelib.pages.monitor import monitor_page
from chalicelib.pages.site import Links
from chalicelib.pages.views import FleetLine, FleetView, WindowLine
from chalicelib.workflows.page_answers import answered
from chalicelib.workflows.page_views import fleet_view, monitor_view
from emulator.memory import SETTINGS
from plumbline.cli.account.kept_stage import KeptStage, keep
from plumbline.cli.main import main
from plumbline.cli.serve import write_site
from tests.unit.handlers.world import HOUR, MONITOR, World, definition

HREF = re.compile(r'href="([^"]*)"')


@pytest.fixture(scope="module")
def world() -> World:
    """Three calm hours, then five in which the first model answers wrongly."""
    found = World(definition())
    for number in range(8):
        found.live(number, "x" if number < 3 else "z")
    return found


def links_of(body: bytes) -> set[str]:
    return {each for each in HREF.findall(body.decode()) if not each.startswith(("#", "data:"))}


def test_every_link_leads_to_a_page_and_every_page_is_json_too(world: World) -> None:
    seen, waiting = set(), {"/"}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        found = answered(world.services, path)
        assert (found.status, found.media_type) == (200, "text/html; charset=utf-8"), path
        links = links_of(found.body)
        [same] = [link for link in links if link.endswith(".json")]
        as_json = answered(world.services, same)
        assert as_json.status == 200 and json.loads(as_json.body)
        waiting |= links - seen - {same}
    kinds = {path.split("/")[1] for path in seen}
    assert kinds == {"", "monitors", "decisions"} and len(seen) > 15


def test_no_page_is_below_another_name(world: World) -> None:
    for path in ("/monitors/nobody", "/monitors/churn/windows/2031-01-05T020000Z", f"/decisions/{'0' * 64}", "/x",
                 "/monitors/churn/windows/yesterday"):  # fmt: skip
        found = answered(world.services, path)
        assert found.status == 404 and b"Not found" in found.body
        assert answered(world.services, f"{path}.json").status == 404


def test_a_monitor_says_what_is_wrong_since_when_and_what_is_done(world: World) -> None:
    view = monitor_view(world.services, MONITOR)
    assert view.level == "worse"
    assert view.sentence.startswith("Worse than the baseline since 2026-01-05T03:00:00Z: share of wrong answers rose")
    assert view.sentence.endswith("A retraining is under way.")
    assert [line.window[11:13] for line in view.windows] == [f"{hour:02d}" for hour in range(8)]
    assert [mark.kind for mark in view.marks] == ["started"]
    assert [each.kind for each in view.incidents] == ["model-quality"]
    low, high = view.windows[0].low, view.windows[0].high
    assert low == 0.0 and high is not None and 0.1 < high < 0.2  # Wilson's range of no error in 20 rows
    text = monitor_page(view, Links()).decode()
    assert "Worse than the baseline since" in text and "Quality over time" in text and "Open incidents" in text


def test_the_fleet_lists_trouble_first_and_what_is_silent(world: World) -> None:
    services = world.services
    [line] = fleet_view(services).monitors
    assert (line.monitor, line.level, line.action, line.trouble) == (MONITOR, "worse", "ALERT", 50)
    later = msgspec.structs.replace(standings.all_standings(services.ledger)[0])
    assert later.incidents == ("model-quality",)
    world.clock.time += 30 * HOUR
    try:
        [line] = fleet_view(services).monitors
        assert line.overdue == 30 and line.sentence.startswith("No window for 30 hours: no traffic, or the clock is")
    finally:
        world.clock.time -= 30 * HOUR


def test_an_older_window_tells_the_loss_and_never_how_the_newest_stands() -> None:
    world = World(definition())
    ledger = world.services.ledger
    world.live(0)
    world.live(1)
    [newest] = standings.all_standings(ledger)
    older = msgspec.structs.replace(newest, window="2026-01-05T00:00:00Z", headline="old", loss=0.25, incidents=("x",))
    standings.save(ledger, older)
    assert standings.all_standings(ledger) == [msgspec.structs.replace(newest, loss=0.25, incidents=("x",))]


def test_a_window_without_a_record_says_so() -> None:
    world = World(definition())
    world.live(0)
    world.minutes(65)
    *_, newest = monitor_view(world.services, MONITOR).windows
    told = "Not known: no record was captured in this window."
    assert (newest.rows, newest.found.headline) == (0, told)
    assert fleet_view(world.services).monitors[0].sentence == told


def test_a_removed_monitor_is_not_listed_and_a_new_one_is() -> None:
    found = World(definition())
    assert [line.sentence for line in fleet_view(found.services).monitors] == ["No window was decided yet."]
    assert monitor_view(found.services, MONITOR).sentence.startswith("No window was evaluated yet.")
    monitors.remove(found.services.ledger, MONITOR, "2026-01-05T00:00:00Z")
    assert fleet_view(found.services).monitors == ()
    assert b"No monitor is stored" in answered(found.services, "/").body


def test_names_from_outside_are_text() -> None:
    moved = Moved(column="<script>", what="<b>", change=0.2, since="", windows=1, p=1e-9, confirmed=True)
    found = Assessment(level="drift", headline="<i>", columns=(moved,), asked=1)
    world = World(definition())
    world.live(0)
    view = monitor_view(world.services, MONITOR)
    line = WindowLine(
        window="2026-01-05T00:00:00Z", rows=1, labelled=0, coverage=0.0, loss=None, settled=False, found=found
    )
    body = monitor_page(msgspec.structs.replace(view, sentence="<i>", windows=(line,)), Links()).decode()
    assert "&lt;script&gt;" in body and "&lt;i&gt;" in body
    assert body.count("<script>") == 1 and "<i>" not in body


def test_a_fleet_of_a_thousand_is_one_small_page() -> None:
    lines = tuple(
        FleetLine(
            monitor=f"monitor-{number:04d}", endpoint=f"endpoint-{number}", trouble=number % 7, level="fine",
            sentence=f"All right: none of {number % 40} columns moved beyond chance, nor did the error.",
            window="2026-01-05T00:00:00Z", action="HOLD", loss=number / 7919, coverage=0.5,
        )
        for number in range(1000)
    )  # fmt: skip
    body = fleet_page(FleetView(stage="test", at="2026-01-05T00:00:00Z", monitors=lines), Links())
    assert len(gzip.compress(body)) < 100_000
    assert body.count(b"<tr>") == 1001


def test_a_fleet_is_read_in_two_queries() -> None:
    found = World(definition())
    ledger, asked = found.services.ledger, []
    for number in range(300):
        name = f"m{number}"
        monitors.add(ledger, found.services.objects, SETTINGS.bucket, definition(name=name), "2026-01-05T00:00:00Z")
        one = Standing(
            monitor=name, endpoint="e", window="2026-01-05T00:00:00Z", hours=1, level="fine", headline="Fine"
        )
        standings.save(ledger, one)
    query = ledger.query
    ledger.query = lambda *keys, **more: asked.append(keys) or query(*keys, **more)
    try:
        assert len(fleet_view(found.services).monitors) == 301
    finally:
        del ledger.query
    assert len(asked) == 2


def test_a_kept_stage_has_the_same_pages(world: World, tmp_path: Path) -> None:
    assert keep(tmp_path, world.services)
    kept = KeptStage(tmp_path)
    for path in ("/fleet.json", f"/monitors/{MONITOR}.json", f"/monitors/{MONITOR}"):
        assert answered(kept, path) == answered(world.services, path)


def test_pages_as_files_link_to_each_other(world: World, tmp_path: Path) -> None:
    keep(tmp_path, world.services)
    assert write_site(KeptStage(tmp_path), tmp_path / "page") == len(list((tmp_path / "page").rglob("*.html")))
    for path in (tmp_path / "page").rglob("*.html"):
        for link in links_of(path.read_bytes()):
            assert (path.parent / link).is_file(), f"{path}: {link}"


def test_serve_writes_files_and_says_what_it_expects(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path / "kept", world.services)
    assert main(["serve", str(tmp_path / "kept"), "--write", str(tmp_path / "page")]) == 0
    assert capsys.readouterr().out.endswith(f"pages in {tmp_path}/page/index.html\n")
    assert main(["serve", str(tmp_path / "page")]) == 2
    assert "expected a folder with report.html in it or below, or a demo's output" in capsys.readouterr().err


@pytest.fixture
def stage(world: World) -> Iterator[World]:
    wiring.use(world.services)
    yield world
    wiring.use(None)


def test_serve_without_a_folder_reads_the_stage(
    stage: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--write", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page/index.html").is_file()
