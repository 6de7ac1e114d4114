"""A window is restated when there is news, reads no capture for labels, and merges its records when it settles."""

from __future__ import annotations

from typing import Any
from unittest import mock

from chalicelib import keys
from chalicelib.facts import evaluations
from chalicelib.records.merge import read_merged
from chalicelib.records.window import Window
from chalicelib.workflows import window_inputs
from tests.unit.handlers.test_windows_evaluated import quiet
from tests.unit.handlers.world import DATA, HOUR, MINUTE, MONITOR, OWN, World, hour, rows_of, window_name


def merged(world: World) -> dict[str, str]:
    found = {}
    for key in world.services.objects.keys(DATA, "reports/merge/"):
        for one in read_merged(world.services.objects.get(DATA, key).body, key).requests:
            found[one.request.join_id] = one.label.data
    return found


def watched(world: World) -> list[tuple[str, str]]:
    """What is read and written of S3 from now on: (get or put, key)."""
    seen: list[tuple[str, str]] = []
    objects = world.services.objects
    for name in ("get", "put", "put_if_absent"):
        call = getattr(objects, name)

        def noting(bucket: str, key: str, *given: Any, _call: Any = call, _name: str = name, **named: Any) -> Any:
            seen.append((_name, key))
            return _call(bucket, key, *given, **named)

        setattr(objects, name, noting)
    return seen


def test_late_labels_read_no_capture_and_put_only_what_changed() -> None:
    world = quiet(merged_records="never", retraining=None)
    rows = world.live(0, labelled=False)
    seen = watched(world)
    world.label(rows[:9], "x", "some")
    with mock.patch.object(window_inputs, "WindowReader", side_effect=AssertionError("captures are read")):
        world.minutes(3)
    assert world.evaluation(0).labelled == 9
    assert not [key for call, key in seen if "put" in call and "/measured/" in key]
    put = [key.rpartition("/")[2] for call, key in seen if call == "put" and "data-quality" in key]
    assert put == ["evaluation.json"], "statistics and violations are as they were"
    seen.clear()
    world.label(rows[:9], "x", "the same again")
    world.minutes(120)
    assert not [key for call, key in seen if call == "put" and key.endswith("statistics.json")]


def test_records_are_merged_when_the_window_settles_and_when_it_is_sealed() -> None:
    world = quiet(merged_records="settled", labels={"horizon": "PT6H"})
    rows = world.live(0, labelled=False)
    world.label(rows[:4], "x", "some")
    world.minutes(3)
    assert world.evaluation(0).labelled == 4 and not world.evaluation(0).settled and merged(world) == {}
    world.label(rows[4:16], "x", "most")
    world.minutes(3)
    assert world.evaluation(0).settled and len(merged(world)) == 16
    world.label(rows[16:], "x", "the rest")
    world.minutes(3)
    world.reported()
    assert world.evaluation(0).labelled == 20 and len(merged(world)) == 16
    world.clock.time = hour(7) + MINUTE
    world.minutes(10)
    assert len(merged(world)) == 20, "the seal is owed by the clock"
    assert evaluations.merged_labels(world.services.ledger, MONITOR, window_name(0)) == world.evaluation(0).merged


def test_merge_files_stay_when_captures_have_expired() -> None:
    world = quiet(merged_records="settled", labels={"horizon": "PT6H"})
    rows = world.live(0, labelled=False)
    world.label(rows[:16], "x", "most")
    world.minutes(3)
    before = merged(world)
    for key in world.services.objects.keys(DATA, "captures/"):
        world.services.objects.delete(DATA, key)
    world.label(rows[16:], "x", "the rest")
    world.clock.time = hour(7) + MINUTE
    world.minutes(10)
    assert world.evaluation(0).labelled == 20 and merged(world) == before and len(before) == 16


def test_what_is_no_news_waits_for_the_next_age_step() -> None:
    world = quiet()
    rows = world.live(0)
    revisions = len(evaluations.revisions(world.services.ledger, MONITOR, window_name(0)))
    world.label(rows[:1], "z", "corrected")
    world.minutes(20)
    assert len(evaluations.revisions(world.services.ledger, MONITOR, window_name(0))) == revisions
    world.clock.time = hour(2)
    world.minutes(3)
    assert len(evaluations.revisions(world.services.ledger, MONITOR, window_name(0))) == revisions + 1
    assert world.report(0)["inputs"]["labels_conflicting"] == 1


def test_a_verdict_is_not_late_however_old_the_window_is() -> None:
    world = quiet()
    rows = world.live(0, labelled=False)
    world.clock.time = hour(30)
    world.minutes(5)
    world.label(rows[:7], "x", "some")
    world.minutes(3)
    assert not world.evaluation(0).settled
    world.label(rows[7:14], "x", "enough")
    world.minutes(2)
    assert world.evaluation(0).settled


def test_a_captured_file_that_comes_after_others_have_expired_is_added() -> None:
    world = quiet()
    world.live(0)
    for key in world.services.objects.keys(DATA, "captures/"):
        world.services.objects.delete(DATA, key)
    world.capture(0, rows_of(0, 3, seed="late"), name="late")
    world.minutes(3)
    assert world.evaluation(0).rows == 23
    assert world.report(0)["inputs"]["capture_files"] == 3
    assert world.report(0)["inputs"]["capture_files_gone"] == 2
    [key] = world.services.objects.keys(OWN, f"plumbline/payload/{MONITOR}/measured/{window_name(0)}/")
    assert key == keys.measured_key(MONITOR, Window.parse(window_name(0), HOUR), world.evaluation(0).measured)
