"""Evidence in the deployed functions: counts are kept, alarms confirmed, incidents open and close, decisions hold."""

from __future__ import annotations

import random
from copy import deepcopy
from functools import cache

from chalicelib.decisions.alert import Alert
from chalicelib.facts import counted_windows, evaluations
from tests.unit.handlers.world import DATA, MONITOR, World, definition, rows_of, window_name

# 40 rows a window; the baseline's error is 0, that of "not-x" is 1.
TRUTHS = ["x", "x", "not-x", "not-x", "x", "x", "x", "x", "x"]
POLICY = {"retrain": False, "roll_back": False}


def world_of(truths: list[str], **changes: object) -> World:
    world = World(definition(policy=POLICY, **{"alerts": {"violations": "report"}, **changes}))
    for number, truth in enumerate(truths):
        world.live(number, truth, count=40)
    return world


@cache
def _told() -> World:
    return world_of(TRUTHS)


def of_kind(world: World, kind: str) -> list[Alert]:
    return [alert for alert in world.alerts() if alert.kind == kind]


def assessed(world: World, number: int):
    return counted_windows.load_assessed(world.services.ledger, MONITOR, window_name(number))


def test_worse_answers_open_one_incident_when_a_second_window_agrees_and_close_it_after_four_without() -> None:
    found = of_kind(_told(), "model-quality")
    assert [(alert.state, alert.window, alert.severity) for alert in found] == [
        ("opened", window_name(3), "warning"),
        ("resolved", window_name(7), "warning"),
    ]
    what, since, why = found[0].reasons[:3]
    assert what == "share of wrong answers rose from 0.0 to 100.0 % (+100.0 points)"
    assert since.startswith(f"since the window beginning {window_name(2)}; uncalibrated: ")
    assert why.startswith("why: the error rose from 0.0 to 100.0 %: inputs +0.0 points, relation ")
    assert "worse" in found[0].title


def test_each_window_says_what_the_evidence_comes_to() -> None:
    world = _told()
    assert [assessed(world, number).level for number in range(6)] == ["fine", "fine", "notice", "worse", "fine", "fine"]
    worse = assessed(world, 3)
    assert worse.headline.startswith(f"Worse than the baseline since {window_name(2)}: share of wrong answers rose")
    assert not worse.calibrated and not worse.wakes and "28 are needed" in worse.why_uncalibrated
    assert assessed(world, 1).headline == "All right: none of 2 columns moved beyond chance, nor did the error."


def test_thresholds_and_uncalibrated_evidence_wake_nobody_and_are_said() -> None:
    world = _told()
    assert evaluations.load_evaluation(world.services.ledger, MONITOR, window_name(3)).value.violations
    assert {record.action for record in world.decisions()} == {"HOLD"}
    [record] = [each for each in world.decisions() if each.window == window_name(3)]
    [said] = [reason for reason in record.reasons if reason.startswith("Worse than the baseline since")]
    assert "(uncalibrated: " in said
    assert any(reason.endswith("ModelQuality violations") for reason in record.reasons)


def test_calibrated_evidence_wakes() -> None:
    # Windows that say how much windows fluctuate: about each second one has a wrong answer, in no order.
    draw = random.Random(4)
    world = world_of(["x"] * 2)
    truths = ["x"] * 30 + ["not-x"] * 2
    for number, truth in enumerate(truths[2:], start=2):
        rows = world.live(number, truth, count=40, labelled=False)
        wrong = set(draw.sample(range(40), draw.choice([0, 1]))) if truth == "x" else set()
        for index, row in enumerate(rows):
            told = truth if index not in wrong else "not-x"
            world.label([row], told, f"labels-{number}-{index}")
        world.settle()
        world.minutes(10)
    [opened] = of_kind(world, "model-quality")
    assert (opened.state, opened.severity) == ("opened", "error")
    assert opened.reasons[1].endswith("false alarms: at most 5% within P365D")
    last = [each for each in world.decisions() if each.window == window_name(31)][-1]
    assert last.action == "ALERT"
    [said] = [reason for reason in last.reasons if reason.startswith("Worse than the baseline since")]
    assert "uncalibrated" not in said


def test_a_correction_takes_the_alarm_back() -> None:
    world = deepcopy(_told())
    rows = rows_of(3, 40)
    world.label(rows, "x", "corrected")
    world.settle()
    world.minutes(90)
    # What is left is window 2, which nothing confirms any more.
    assert [assessed(world, number).level for number in (2, 3)] == ["notice", "notice"]


def test_without_a_measurement_columns_are_compared_with_the_published_statistics() -> None:
    folder = f"s3://{DATA}/baseline/data_quality"
    files = {f"data_quality_{name}": f"{folder}/{name}.json" for name in ("statistics", "constraints")}
    world = world_of(["x"], baseline=files)
    found = assessed(world, 0)
    assert (found.level, found.asked, found.loss_asked) == ("fine", 2, False)


def test_a_digest_counts_the_violations_of_the_week_before() -> None:
    world = world_of(["x", "not-x"], alerts={"violations": "digest"})
    assert of_kind(world, "data-quality") == []
    world.live(7 * 24, "x", count=40)  # the Monday after
    [digest] = of_kind(world, "data-quality")
    assert (digest.state, digest.severity) == ("notice", "info")
    assert "violations of Model Monitor's thresholds in week 2026-W02" in digest.title
    assert digest.reasons[0].startswith("in ") and " of " in digest.reasons[0]


def test_what_a_monitor_does_not_ask_is_no_evidence() -> None:
    world = world_of(["x"], monitor_types=["ModelQuality"])
    found = assessed(world, 0)
    assert (found.level, found.asked, found.loss_asked) == ("fine", 0, True)
