"""Traffic that once was lost or broke a monitor: files open when the hour turns, images, nested label files."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta

import msgspec

from tests.unit.handlers.world import DATA, MINUTE, Row, World, capture_line, definition, hour, rows_of

SECOND = timedelta(seconds=1)


def lines(rows: list[Row]) -> bytes:
    return b"".join(capture_line(row, "0.9" if row.x > 0.5 else "0.1") for row in rows)


def from_on(rows: list[Row], begin: datetime) -> list[Row]:
    """The same requests, one a second."""
    return [msgspec.structs.replace(row, time=begin + place * SECOND) for place, row in enumerate(rows)]


def test_a_request_belongs_to_the_window_of_its_time_whatever_folder_its_file_is_in() -> None:
    world = World()
    early, late = rows_of(0, 20), rows_of(1, 40)
    early = [
        msgspec.structs.replace(row, time=hour(1) - 30 * SECOND + index * SECOND) for index, row in enumerate(early)
    ]
    turned = [msgspec.structs.replace(row, time=hour(1) + index * SECOND) for index, row in enumerate(late[:10])]
    rest = [
        msgspec.structs.replace(row, time=hour(1) + 10 * MINUTE + index * SECOND) for index, row in enumerate(late[10:])
    ]
    world.clock.time = hour(1) + MINUTE
    world.put_capture(0, lines([*early, *turned]), "59-30")
    world.settle()
    world.clock.time = hour(1) + 20 * MINUTE
    world.put_capture(1, lines(rest), "10-00")
    world.settle()
    world.label([*early, *late], "x", "labels")
    world.settle()
    world.minutes(6, until=hour(2) + 9 * MINUTE)
    assert [world.report(number)["inputs"]["rows"] for number in (0, 1)] == [20, 40]
    assert [world.report(number)["inputs"]["labelled_rows"] for number in (0, 1)] == [20, 40]
    # Evaluated again, a file that holds nothing of the window is not read again, and nothing is counted twice.
    world.label(rest[:1], "not-x", "corrected")
    world.settle()
    world.minutes(90)
    assert world.report(1)["inputs"]["rows"] == 40 and world.report(0)["inputs"]["rows"] == 20


def test_images_break_nothing_of_a_monitor_of_model_quality() -> None:
    baseline = {"model_quality_constraints": f"s3://{DATA}/baseline/model_quality/constraints.json"}
    attributes = {"probability_attribute": "0"}
    world = World(definition(monitor_types=["ModelQuality"], attributes=attributes, baseline=baseline))
    rows = rows_of(0, 40)
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(128, 200))).decode()

    def of_image(row: Row) -> bytes:
        line = json.loads(lines([row]))
        line["captureData"]["endpointInput"].update(observedContentType="image/png", encoding="BASE64", data=picture)
        return json.dumps(line).encode() + b"\n"

    world.clock.time = hour(0) + 50 * MINUTE
    world.put_capture(0, b"".join(map(of_image, rows)), "05")
    world.settle()
    world.clock.time = hour(1) + 2 * MINUTE
    world.label(rows, "x", "labels")
    world.settle()
    world.minutes(6, until=hour(1) + 9 * MINUTE)
    report = world.report(0, "model-quality")
    assert (report["status"], report["broken"], report["served_loss"]) == ("EVALUATED", [], 0.0)
    assert report["inputs"]["labelled_rows"] == 40 and world.alerts() == []


def test_label_files_below_folders_of_the_hour_are_read() -> None:
    world = World()
    rows = world.live(0, labelled=False)
    world.label(rows, "x", "batch-1/part-00000")
    world.settle()
    world.minutes(90)
    assert world.report(0)["inputs"]["labelled_rows"] == 20
