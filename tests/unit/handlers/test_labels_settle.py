"""Labels that come late, corrected, repeated and in any order: what is told along the way, and where it ends."""

from __future__ import annotations

import json
import random
import re
from copy import deepcopy
from datetime import datetime
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.facts import evaluations
from tests.unit.handlers.test_windows_evaluated import quiet
from tests.unit.handlers.world import DATA, HOUR, MONITOR, OWN, Row, World, hour, label_line, rows_of

HORIZON = {"horizon": "PT24H"}
# What a file of labels says of how they came; all else must be equal however they came.
DELIVERY = ("label_objects", "labels_repeated", "labels_conflicting", "labels_rejected")


def label_maturity(world: World, number: int) -> Any:
    return world.report(number, name="label_maturity.json")


def line(row: Row, value: int, known: datetime) -> bytes:
    document = json.loads(label_line(row.inference_id, value))
    document["eventMetadata"]["labelTime"] = known.isoformat()
    return json.dumps(document).encode() + b"\n"


def reports(world: World, windows: int = 2) -> dict[str, Any]:
    """Every report and merge file of the windows with traffic, but for how the labels were delivered."""
    found: dict[str, Any] = {}
    for key in world.services.objects.keys(DATA, "reports/"):
        if key.endswith("label_maturity.json") or not re.search(f"/2026/01/05/0[0-{windows}]/", key):
            continue
        body = world.services.objects.get(DATA, key).body
        found[key] = body
        if key.endswith("evaluation.json"):
            document = json.loads(body)
            for name in DELIVERY:
                del document["inputs"][name]
            found[key] = document
    return found


def traffic(world: World, windows: int) -> list[Row]:
    rows = []
    for number in range(windows):
        rows += world.live(number, labelled=False)
    return rows


def deliveries(rows: list[Row], seed: int) -> tuple[list[tuple[datetime, bytes]], list[bytes]]:
    """Labels as they come (5 % never, some corrected, some repeated), and the last word on each, all at once."""
    draw = random.Random(seed)
    coming: list[tuple[datetime, bytes]] = []
    final: list[bytes] = []
    for row in rows:
        if draw.random() < 0.05:
            continue
        known = row.time + draw.random() * HOUR / 2
        wrong, truth = 1 - row.label("x"), row.label("x")
        if draw.random() < 0.1:
            coming.append((known, line(row, wrong, known)))
            corrected = known + draw.random() * HOUR / 2
            coming.append((corrected, line(row, truth, corrected)))
            final += [line(row, wrong, known), line(row, truth, corrected)]
        else:
            coming.append((known, line(row, truth, known)))
            final.append(line(row, truth, known))
            if draw.random() < 0.1:
                coming.append((known + HOUR / 2, line(row, truth, known + HOUR / 2)))
    return coming, final


def test_shuffled_late_and_corrected_labels_end_where_the_same_labels_at_once_end() -> None:
    late = quiet(labels=HORIZON)
    at_once = quiet(labels=HORIZON)
    coming, final = deliveries(traffic(late, 4), 3)
    traffic(at_once, 4)
    random.Random(4).shuffle(coming)
    for number, start in enumerate(range(0, len(coming), 8)):
        late.put_labels(b"".join(body for _, body in coming[start : start + 8]), f"part-{number}")
        late.minutes(70)
    at_once.put_labels(b"".join(final), "all")
    at_once.minutes(70)
    late.reported()
    assert late.clock.time < hour(28)
    told = label_maturity(late, 0)
    coverages = [each["label_coverage"] for each in told["revisions"]]
    assert len(coverages) > 2 and coverages == sorted(coverages)
    for each in told["revisions"]:
        assert each["key"] in late.services.objects.keys(OWN, "plumbline/payload/churn/revisions/")
    assert reports(late, 4) == reports(at_once, 4)
    assert late.report(0)["inputs"]["labels_repeated"] + late.report(1)["inputs"]["labels_repeated"] > 0


def test_past_windows_teach_how_long_labels_take() -> None:
    world = quiet(labels=HORIZON)
    told = []
    for number in range(8):
        rows = world.live(number, labelled=False)
        # Of ten labels seven come at once and two two hours later; one never does.
        world.put_labels(b"".join(label_line(row.inference_id, row.label("x")) for row in rows[:14]), f"first-{number}")
        world.minutes(4)
        told.append(label_maturity(world, number))
        if number >= 2:
            before = rows_of(number - 2, 20)
            later = b"".join(label_line(row.inference_id, row.label("x")) for row in before[14:18])
            world.put_labels(later, f"second-{number}")
            world.minutes(4)
    assert told[0]["summary"] == "no past window tells how long labels take; the coverage of this one is 70 %"
    last = told[-1]
    assert last["learned_from"] == {"windows": 7, "requests": 140}
    assert last["label_coverage"] == 0.7
    assert 0.88 < last["expected_final_coverage"] < 0.93
    assert last["settled_share"] == last["label_coverage"] / last["expected_final_coverage"]
    assert "of labels arrive within" in last["summary"] and "settled, expected final coverage 9" in last["summary"]
    assert last["expected_by"] > last["as_of"]
    ages = world.report(0)["label_ages"]
    assert (ages["requests"], ages["labelled_requests"]) == (20, 18)
    assert sum(step["requests"] for step in ages["steps"]) == 18


def test_a_sealed_window_says_its_final_coverage() -> None:
    world = quiet(labels={"horizon": "PT3H"})
    world.live(0)
    [evaluation] = evaluations.last_evaluations(world.services.ledger, MONITOR, 5)
    assert evaluation.delays.coverage == 1.0
    assert not label_maturity(world, 0)["sealed"]
    assert label_maturity(world, 0)["sealed_at"] == "2026-01-05T04:00:00Z"


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_order_repetition_and_split_of_the_deliveries_ends_in_the_same_reports(data: st.DataObject) -> None:
    lines = COMING + [COMING[place] for place in data.draw(st.lists(st.integers(0, len(COMING) - 1), max_size=10))]
    lines = data.draw(st.permutations(lines))
    cuts = sorted({0, len(lines), *data.draw(st.lists(st.integers(1, len(lines) - 1), max_size=6))})
    world = deepcopy(BEFORE)
    for number, (start, end) in enumerate(pairwise(cuts)):
        world.put_labels(b"".join(lines[start:end]), f"part-{number}")
        world.minutes(data.draw(st.sampled_from([1, 20])))
    world.minutes(70)
    world.reported()
    assert reports(world) == AT_ONCE


def _at_once() -> tuple[World, list[bytes], dict[str, Any]]:
    """Two windows without labels, their labels, and the reports when all of them have come in one file."""
    before = quiet(labels=HORIZON)
    coming = [body for _, body in deliveries(traffic(before, 2), 5)[0]]
    world = deepcopy(before)
    world.put_labels(b"".join(coming), "all")
    world.minutes(70)
    return before, coming, reports(world)


BEFORE, COMING, AT_ONCE = _at_once()
