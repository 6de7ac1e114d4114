"""Capture files and labels become reports: what lies in the world after a window was evaluated."""

from __future__ import annotations

import json

import msgspec
import pytest

from chalicelib.evaluation.stored_window import KeptLabels, Measured
from chalicelib.events import object_created_body
from chalicelib.facts import labels, monitors
from tests.unit.handlers.world import (
    DATA,
    ENDPOINT,
    HOUR,
    MINUTE,
    MONITOR,
    OWN,
    TOYS,
    World,
    capture_line,
    capture_lines,
    definition,
    hour,
    label_line,
    rows_of,
    window_name,
)

# What only the article's loop needs; most of these tests look at reports alone.
QUIET = {"retrain": False, "roll_back": False}


def quiet(**changes: object) -> World:
    return World(definition(policy=QUIET, **changes))


def close(world: World, number: int) -> None:
    """The clock comes round after a window's end and grace."""
    world.clock.time = max(world.clock.time, hour(number + 1))
    world.minutes(8)


def test_the_files_lie_where_model_monitor_puts_them_under_the_hour_of_the_windows_end() -> None:
    world = quiet()
    rows = world.live(0, "z")

    keys = world.services.objects.keys(DATA, "reports/")
    assert keys == (
        "reports/churn/churn-data-quality/2026/01/05/01/constraint_violations.json",
        "reports/churn/churn-data-quality/2026/01/05/01/constraints.json",
        "reports/churn/churn-data-quality/2026/01/05/01/evaluation.json",
        "reports/churn/churn-data-quality/2026/01/05/01/statistics.json",
        "reports/churn/churn-model-quality/2026/01/05/01/constraint_violations.json",
        "reports/churn/churn-model-quality/2026/01/05/01/evaluation.json",
        "reports/churn/churn-model-quality/2026/01/05/01/label_maturity.json",
        "reports/churn/churn-model-quality/2026/01/05/01/statistics.json",
        "reports/merge/churn/AllTraffic/2026/01/05/00/part-00000-churn.c000.jsonl",
    )
    wrong = sum(row.label("z") != row.label("x") for row in rows)
    quality = world.report(0)
    assert quality["status"] == "EVALUATED"
    assert quality["window"] == {"start": "2026-01-05T00:00:00Z", "end": "2026-01-05T01:00:00Z"}
    assert quality["served_loss"] == wrong / len(rows)
    assert quality["inputs"]["labelled_rows"] == quality["inputs"]["rows"] == len(rows)
    confusion = world.report(0, name="statistics.json")["binary_classification_metrics"]["confusion_matrix"]
    assert confusion["0"]["1"] + confusion["1"]["0"] == wrong
    assert world.report(0, "data-quality", "statistics.json")["dataset"]["item_count"] == len(rows)
    violated = {each["metric_name"] for each in world.report(0, name="constraint_violations.json")["violations"]}
    assert "accuracy" in violated


def test_merged_records_hold_each_request_with_its_label() -> None:
    world = quiet()
    rows = world.live(0)
    merged = {each["eventMetadata"]["inferenceId"]: each for each in world.merged(0)}
    assert set(merged) == {row.inference_id for row in rows}
    for row in rows:
        record = merged[row.inference_id]
        assert record["groundTruthData"]["data"] == str(row.label("x"))
        assert record["captureData"]["endpointInput"]["data"] == f"{row.x},{row.z}"
        assert record["eventMetadata"]["eventId"] == row.event_id


def test_a_label_may_name_the_event_id_where_the_caller_gave_no_inference_id() -> None:
    world = quiet()
    rows = rows_of(0, 10)
    lines = capture_lines(rows, TOYS["x"]).splitlines()
    anonymous = []
    for line in lines:
        document = json.loads(line)
        del document["eventMetadata"]["inferenceId"]
        anonymous.append(json.dumps(document).encode())
    world.put_capture(0, b"\n".join(anonymous), "05")
    world.put_labels(b"".join(label_line(row.event_id, row.label("x")) for row in rows), "labels")
    close(world, 0)
    assert world.evaluation(0).labelled == 10


def test_silence_is_reported_with_what_was_looked_for() -> None:
    world = quiet()
    close(world, 0)
    for monitor_type in ("data-quality", "model-quality"):
        report = world.report(0, monitor_type)
        assert report["status"] == "NOT_EVALUATED"
    assert (
        world.report(0, "data-quality")["reason"]
        == "no readable rows; looked for captures of churn/AllTraffic from 2026-01-05T00:00:00Z to 2026-01-05T01:00:00Z"
    )
    assert world.report(0)["reason"] == "no captured rows; looked in 0 label objects"
    assert world.alerts() == []
    assert world.actions() == ["HOLD"]


def test_rows_without_labels_are_reported_as_waiting() -> None:
    world = quiet()
    world.live(0, labelled=False)
    report = world.report(0)
    assert (report["status"], report["reason"]) == (
        "NOT_EVALUATED",
        "no labels yet for 20 rows; looked in 0 label objects",
    )
    assert world.report(0, "data-quality")["status"] == "EVALUATED"
    assert not world.evaluation(0).settled


def test_without_a_baseline_the_statistics_are_there_and_the_check_is_not() -> None:
    world = quiet(baseline={})
    world.live(0, "z")
    for monitor_type, text in (("data-quality", "data-quality"), ("model-quality", "model-quality")):
        report = world.report(0, monitor_type)
        assert report["status"] == "NOT_EVALUATED"
        assert report["reason"] == f"there is no {text} baseline to compare with"
        assert world.report(0, monitor_type, "statistics.json")["version"] == 0.0
    assert not [key for key in world.services.objects.keys(DATA, "reports/") if "violations" in key]
    assert world.alerts() == []


def test_a_truncated_line_is_counted_and_named_and_the_other_lines_count() -> None:
    world = quiet()
    rows = rows_of(0, 10)
    body = capture_lines(rows, TOYS["x"])
    key = world.put_capture(0, body[: len(body) - 200], "30")
    close(world, 0)
    report = world.report(0, "data-quality")
    assert report["status"] == "EVALUATED"
    assert report["inputs"]["rows"] == 9
    assert report["bad_lines"]["count"] == 1
    [bad] = report["bad_lines"]["sample"]
    assert (bad["key"], bad["line"]) == (key, 10)
    assert "truncated" in bad["reason"]
    assert "captureData" not in bad["reason"]


def test_a_file_that_is_no_json_is_quarantined_once_and_the_window_is_evaluated() -> None:
    world = quiet()
    world.capture(0, rows_of(0, 10))
    key = world.put_capture(0, b"\x1f\x8bnot json at all\n", "45")
    events = world.take()
    for _ in range(3):
        for queue, event in events:
            world.deliver(queue, event)
    close(world, 0)

    [stored] = world.services.objects.keys(OWN, "plumbline/payload/churn/quarantine/")
    record = json.loads(world.services.objects.get(OWN, stored).body)
    assert (record["bucket"], record["key"], record["size"]) == (DATA, key, 18)
    assert bytes.fromhex(record["first_bytes_hex"]) == b"\x1f\x8bnot json at all\n"
    report = world.report(0, "data-quality")
    assert report["inputs"]["rows"] == 10
    [bad] = report["bad_lines"]["sample"]
    assert (bad["key"], bad["line"]) == (key, 0)
    assert world.permanent == world.failures == []


def test_a_file_that_is_too_large_is_not_read_and_is_counted() -> None:
    world = quiet()
    world.capture(0, rows_of(0, 10))
    key = world.put_capture(0, b"\n" * 50_000_001, "45")
    labels_key = world.put_labels(b"\n" * 50_000_001, "large")
    close(world, 0)

    records = [
        json.loads(world.services.objects.get(OWN, stored).body)
        for stored in world.services.objects.keys(OWN, "plumbline/payload/churn/quarantine/")
    ]
    assert {record["key"] for record in records} == {key, labels_key}
    for record in records:
        assert (record["size"], record["first_bytes_hex"]) == (50_000_001, "")
        assert record["reason"] == "50000001 bytes; at most 50000000 are read"
    report = world.report(0, "data-quality")
    assert (report["inputs"]["rows"], report["inputs"]["capture_files"]) == (10, 2)
    assert report["bad_lines"] == {
        "count": 1,
        "sample": [{"key": key, "line": 0, "reason": "50000001 bytes; at most 50000000 are read"}],
    }
    assert world.permanent == world.failures == []


def test_only_the_requests_of_the_monitors_model_count() -> None:
    watched = {**msgspec.to_builtins(definition().attributes), "target_model": "a.tar.gz"}
    world = quiet(attributes=watched)
    rows = rows_of(0, 10)
    lines = capture_lines(rows, TOYS["x"]).splitlines(keepends=True)
    ours = b"".join(line.replace(b'"eventId"', b'"targetModel":"a.tar.gz","eventId"') for line in lines[:7])
    world.put_capture(0, ours + b"".join(lines[7:]), "30")
    close(world, 0)
    inputs = world.report(0, "data-quality")["inputs"]
    assert (inputs["requests"], inputs["requests_elsewhere"], inputs["rows"]) == (7, 3, 7)


def test_a_quarantined_file_keeps_the_captures_encryption_key() -> None:
    world = quiet()
    key = f"captures/{ENDPOINT}/AllTraffic/2026/01/05/00/10-00-000-x.jsonl"
    world.services.objects.put(DATA, key, b"nonsense\n", kms_key_id="alias/captures")
    close(world, 0)
    [stored] = world.services.objects.keys(OWN, "plumbline/payload/churn/quarantine/")
    assert world.services.objects.get(OWN, stored).kms_key_id == "alias/captures"


def test_everything_made_from_captures_inherits_their_encryption_key() -> None:
    world = quiet()
    rows = rows_of(0, 10)
    key = f"captures/{ENDPOINT}/AllTraffic/2026/01/05/00/10-00-000-x.jsonl"
    world.services.objects.put(DATA, key, capture_lines(rows, TOYS["x"]), kms_key_id="alias/captures")
    world.label(rows, "x", "labels")
    close(world, 0)
    derived = [(DATA, each) for each in world.services.objects.keys(DATA, "reports/")]
    for folder in ("measured", "window-labels", "ids", "revisions"):
        found = world.services.objects.keys(OWN, f"plumbline/payload/churn/{folder}/")
        assert found
        derived += [(OWN, each) for each in found]
    assert {world.services.objects.get(*each).kms_key_id for each in derived} == {"alias/captures"}


@pytest.mark.parametrize("lost", [(), ("ground-truth",), ("captures",), ("captures", "ground-truth")])
@pytest.mark.parametrize("labels_first", [False, True])
def test_labels_and_captures_meet_in_either_order_and_without_their_events(
    lost: tuple[str, ...], labels_first: bool
) -> None:
    world = quiet()
    rows = rows_of(0, 12)

    def write(what: str) -> None:
        if what == "captures":
            world.capture(0, rows)
        else:
            world.label(rows, "x", "labels")
        if what in lost:
            world.lose(what)
        world.settle()

    world.clock.time = hour(0) + 56 * MINUTE
    for what in ("ground-truth", "captures") if labels_first else ("captures", "ground-truth"):
        write(what)
    close(world, 0)
    assert world.evaluation(0).labelled == 12
    assert len(world.merged(0)) == 12
    assert world.report(0)["inputs"]["label_objects"] == 1


def test_a_label_for_an_unknown_id_waits_for_its_capture() -> None:
    world = quiet()
    world.capture(0, rows_of(0, 10))
    late = rows_of(0, 4, seed="late")
    world.label(late, "x", "early-bird")
    close(world, 0)
    waiting = labels.unmatched(world.services.ledger, MONITOR, "")
    assert [source.key.rpartition("/")[2] for source in waiting] == ["early-bird.jsonl"]
    assert world.evaluation(0).labelled == 0

    world.capture(0, late, name="late")
    world.minutes(3)
    assert world.evaluation(0).labelled == 4
    assert {each["eventMetadata"]["inferenceId"] for each in world.merged(0)} == {row.inference_id for row in late}
    assert world.report(0)["inputs"]["label_objects"] == 1


def test_a_lost_label_event_of_a_later_hour_is_found_by_that_hours_sweep() -> None:
    world = quiet()
    rows = world.live(0, labelled=False)
    world.clock.time = hour(2) + 30 * MINUTE
    world.label(rows, "x", "labels")
    world.lose("ground-truth")
    close(world, 1)
    assert world.evaluation(0).labelled == 0
    close(world, 2)
    assert world.evaluation(0).labelled == len(rows)


def test_one_label_object_may_touch_several_windows() -> None:
    world = quiet()
    first, second = rows_of(0, 10), rows_of(1, 10)
    world.capture(0, first)
    close(world, 0)
    world.capture(1, second)
    world.label([*first, *second], "x", "both")
    close(world, 1)
    assert [each.labelled for each in world.evaluated()[:2]] == [10, 10]
    assert [world.report(number)["inputs"]["label_objects"] for number in (0, 1)] == [1, 1]


def test_a_label_that_is_no_number_leaves_its_row_unlabelled_and_is_counted() -> None:
    world = quiet()
    rows = rows_of(0, 10)
    world.capture(0, rows)
    world.put_labels(b"".join(label_line(row.inference_id, "1") for row in rows[:9]), "good")
    world.put_labels(label_line(rows[9].inference_id, "maybe"), "odd")
    close(world, 0)
    report = world.report(0)
    assert report["inputs"]["labelled_rows"] == 9
    assert report["bad_records"] == {"label is not 0 or 1": {"count": 1, "sample": [rows[9].inference_id]}}
    assert "maybe" not in json.dumps(report)


def test_a_label_file_that_is_no_json_is_quarantined_and_stops_nothing() -> None:
    world = quiet()
    rows = world.live(0)
    key = world.put_labels(b"<html>gateway timeout</html>", "odd")
    world.minutes(3)
    [stored] = world.services.objects.keys(OWN, "plumbline/payload/churn/quarantine/")
    record = json.loads(world.services.objects.get(OWN, stored).body)
    assert (record["key"], record["size"]) == (key, 28)
    assert world.evaluation(0).labelled == len(rows)
    assert world.permanent == world.failures == []


def test_the_webhook_and_a_file_say_the_same() -> None:
    by_file, by_post = quiet(), quiet()
    for world in (by_file, by_post):
        rows = rows_of(0, 10)
        world.capture(0, rows)
        world.clock.time = hour(1)
        if world is by_file:
            world.label(rows, "x", "labels")
        else:
            entries = [{"id": row.inference_id, "label": row.label("x")} for row in rows]
            assert [world.post(entries, "msg_1") for _ in range(3)] == [202, 202, 202]
        close(world, 0)
    # The stored labels name their sources, which differ; what was found does not.
    assert by_post.evaluation(0).digest == by_file.evaluation(0).digest
    assert by_post.merged(0) == by_file.merged(0)


def test_a_new_version_of_the_definition_is_used_from_the_next_evaluation_on() -> None:
    world = quiet()
    rows = world.live(0)
    before = world.evaluation(0)
    assert before.settled
    [first] = world.decisions(0)
    world.add(definition(policy={**QUIET, "min_labelled_rows": 30}))
    world.live(1)
    assert world.evaluation(0) == before, "what is done is not done again"
    assert not world.evaluation(1).settled
    [second] = world.decisions(1)
    assert second.policy_version != first.policy_version
    entry = monitors.get(world.services.ledger, MONITOR)
    assert entry is not None
    assert (entry.version, entry.since) == (second.policy_version, window_name(0))
    for record in (first, second):
        stored = world.services.objects.get(OWN, f"plumbline/facts/churn/definitions/{record.policy_version}.json").body
        expected = 8 if record is first else 30
        assert msgspec.json.decode(stored)["policy"]["min_labelled_rows"] == expected
    late = world.label(rows[:1], "z", "corrected")
    assert late
    world.minutes(3)
    world.reported()
    assert not world.evaluation(0).settled, "restated under the version in force"


def test_files_under_nobodys_prefix_are_nobodys_input() -> None:
    world = quiet()
    body = capture_lines(rows_of(0, 5), TOYS["x"])
    for key in (
        "captures/other/AllTraffic/2026/01/05/00/a.jsonl",
        f"captures/{ENDPOINT}/Shadowed/2026/01/05/00/a.jsonl",
        f"captures/{ENDPOINT}/AllTraffic/readme.txt",
        "ground-truth/other/2026/01/05/00/a.jsonl",
        f"ground-truth/{ENDPOINT}/a.jsonl",
    ):
        world.services.objects.put(DATA, key, body)
    world.settle()
    assert list(world.owed()) == []
    close(world, 0)
    assert world.evaluation(0).rows == 0
    assert world.permanent == world.failures == []


def test_a_captured_file_that_a_lifecycle_rule_deletes_stays_counted() -> None:
    world = quiet()
    rows = world.live(0, labelled=False)
    for key in world.services.objects.keys(DATA, "captures/"):
        world.services.objects.delete(DATA, key)
    world.clock.time = hour(5)
    world.label(rows, "x", "late")
    world.minutes(4)
    assert world.evaluation(0).rows == world.evaluation(0).labelled == len(rows)
    assert world.report(0)["inputs"]["capture_files"] == 2
    assert world.services.objects.keys(DATA, "reports/merge/") == (), "its lines are gone"


def test_labels_whose_object_is_deleted_stay_counted_when_the_window_is_restated() -> None:
    world = quiet()
    rows = world.live(0)
    for key in world.services.objects.keys(DATA, "ground-truth/"):
        world.services.objects.delete(DATA, key)
    world.capture(0, rows_of(0, 5, seed="late"), name="late")
    world.minutes(4)
    assert world.evaluation(0).rows == len(rows) + 5
    assert world.evaluation(0).labelled == len(rows)


def test_a_window_beyond_the_label_horizon_is_sealed() -> None:
    world = quiet(labels={"horizon": "PT3H"})
    rows = world.live(0, labelled=False)
    before = world.derived()
    world.clock.time = hour(4)
    world.label(rows, "x", "too-late")
    world.minutes(10)
    assert not [name for name in world.derived() if name not in before and "T00:00:00Z" in name]
    assert {name: world.derived()[name] for name in before} == before
    assert not world.evaluation(0).settled


def test_metrics_are_published_once_with_the_windows_time() -> None:
    world = quiet()
    rows = world.live(0)
    world.label(rows[:2], "z", "corrected")
    world.minutes(3)
    points = world.services.metrics.points["Plumbline"]
    first = [point for point in points if point.timestamp == hour(0)]
    assert sorted(point.name for point in first) == [
        "accuracy",
        "data_quality_violations",
        "label_coverage",
        "model_quality_violations",
        "rows",
    ]
    assert {name: value for point in first for name, value in [(point.name, point.value)]}["accuracy"] == 1.0
    assert {tuple(sorted(point.dimensions.items())) for point in points} == {
        (("Endpoint", "churn"), ("Monitor", "churn"))
    }


def test_a_restatement_of_a_window_older_than_two_weeks_publishes_no_metric() -> None:
    world = quiet(labels={"horizon": "P45D"})
    rows = world.live(0, labelled=False)
    known = len(world.services.metrics.points["Plumbline"])
    world.clock.time = hour(0) + 15 * 24 * HOUR
    world.label(rows, "x", "late")
    world.lose("captures")
    world.settle()
    world.clock.time += 2 * HOUR
    world.services.queues.send("windows", [msgspec.json.encode({"monitor": MONITOR, "window": window_name(0)})])
    for queue, message in world.take():
        world.deliver(queue, message)
    assert world.evaluation(0).settled
    assert len(world.services.metrics.points["Plumbline"]) == known


def test_a_label_file_written_again_under_its_key_is_read_again() -> None:
    world = quiet()
    rows = rows_of(0, 10)
    world.capture(0, rows)
    world.clock.time = hour(1)
    world.label(rows, "x", "labels")
    close(world, 0)
    assert world.evaluation(0).loss == 0.0
    world.clock.time = hour(1) + 30 * MINUTE
    world.label(rows, "not-x", "labels")
    world.minutes(4)
    world.reported()
    assert world.evaluation(0).loss == 1.0
    assert world.report(0)["inputs"]["label_objects"] == 1


def test_labels_that_change_places_reach_the_merge_file_though_no_count_changes() -> None:
    # The scored sample is one row; by the other rule each of the two rows has the label that the other one had.
    world = World(definition(policy={**QUIET, "sample_rows": 1}))
    rows = rows_of(0, 30)
    one, two = [row.inference_id for row in rows if row.x > 0.5][:2]
    world.capture(0, rows)
    for minute, first, second in ((1, 0, 1), (2, 1, 0)):
        world.clock.time = hour(1) + minute * MINUTE
        lines = {**{row.inference_id: row.label("x") for row in rows}, one: first, two: second}
        world.put_labels(b"".join(label_line(*each) for each in lines.items()), f"labels-{minute}")
    close(world, 0)
    before = world.report(0)
    stated = {each["eventMetadata"]["inferenceId"]: each["groundTruthData"]["data"] for each in world.merged(0)}
    assert (stated[one], stated[two]) == ("1", "0")

    world.add(definition(policy={**QUIET, "sample_rows": 1}, labels={"horizon": "P2D", "conflict": "first"}))
    [key] = [key for key in world.services.objects.keys(DATA, "captures/")]
    stored = world.services.objects.get(DATA, key)
    world.services.queues.send(
        "captures", [object_created_body(DATA, key, stored.etag, len(stored.body), world.clock.time)]
    )
    world.minutes(4)
    stated = {each["eventMetadata"]["inferenceId"]: each["groundTruthData"]["data"] for each in world.merged(0)}
    assert (stated[one], stated[two]) == ("0", "1")
    assert world.report(0) == before


def test_files_that_a_newer_revision_no_longer_has_are_deleted() -> None:
    world = quiet(labels={"horizon": "P2D", "conflict": "reject"})
    rows = world.live(0)
    merge = world.services.objects.keys(DATA, "reports/merge/")
    assert len(merge) == 1
    world.label(rows, "not-x", "contradiction")
    world.minutes(4)
    world.reported()
    assert world.evaluation(0).labelled == 0
    assert world.services.objects.keys(DATA, "reports/merge/") == ()
    assert world.report(0)["inputs"]["labels_rejected"] == len(rows)
    quality = world.services.objects.keys(DATA, "reports/churn/churn-model-quality/2026/01/05/01/")
    assert [key.rpartition("/")[2] for key in quality] == ["evaluation.json", "label_maturity.json"]


def test_a_restated_window_is_stored_once() -> None:
    world = quiet()
    rows = world.live(0, labelled=False)
    kinds = ("measured", "window-labels")
    before = [world.services.objects.keys(OWN, f"plumbline/payload/churn/{kind}/") for kind in kinds]
    world.label(rows, "x", "labels")
    world.minutes(4)
    after = [world.services.objects.keys(OWN, f"plumbline/payload/churn/{kind}/{window_name(0)}/") for kind in kinds]
    assert [len(found) for found in (*before, *after)] == [1, 1, 1, 1]
    assert before[0] == after[0] and before[1] != after[1], "labels touch only labels"


def test_the_same_labels_in_another_object_change_nothing_but_the_count_of_objects() -> None:
    world = quiet()
    rows = rows_of(0, 10)
    world.capture(0, rows)
    lines = [
        line.replace(b'"eventId"', b'"labelTime": "2026-01-05T00:59:00Z", "eventId"')
        for line in (label_line(row.inference_id, row.label("x")) for row in rows)
    ]
    for name in ("labels", "again"):
        key = world.put_labels(b"".join(lines), name)
        world.clock.time = max(world.clock.time, hour(1) + 10 * MINUTE)
        world.minutes(3)
    world.reported()
    assert world.report(0)["inputs"]["label_objects"] == 2
    world.services.objects.delete(DATA, key)
    world.capture(0, rows_of(0, 2, seed="late"), name="late")
    world.minutes(3)
    assert world.evaluation(0).rows == 12
    assert world.report(0)["inputs"]["label_objects"] == 2


def test_bad_events_are_permanent_and_hold_nothing_up() -> None:
    world = quiet()
    for queue in ("captures", "ground-truth", "windows", "endpoints", "alarms", "pipelines", "alerts"):
        world.services.queues.send(queue, [b'{"detail": 1}', b"nonsense"])
    world.live(0)
    assert world.evaluation(0).settled
    assert len(world.permanent) == 14
    assert world.failures == []


def test_the_answer_of_a_request_that_was_not_captured_is_said_to_be_missing() -> None:
    world = quiet()
    rows = rows_of(0, 10)
    halves = []
    for row in rows:
        document = json.loads(capture_line(row, "0.9"))
        del document["captureData"]["endpointOutput"]
        halves.append(json.dumps(document).encode() + b"\n")
    world.put_capture(0, b"".join(halves), "10")
    world.label(rows, "x", "labels")
    close(world, 0)
    report = world.report(0)
    assert report["status"] == "NOT_EVALUATED"
    assert report["bad_records"]["output was not captured"]["count"] == 10
    assert world.report(0, "data-quality")["status"] == "EVALUATED"


def test_a_window_of_a_day_holds_its_hours() -> None:
    world = quiet(window={"length": "P1D", "grace": "PT5M"})
    for number in (1, 13):
        world.clock.time = hour(number + 1)
        rows = rows_of(number, 10)
        world.capture(number, rows)
        world.label(rows, "x", f"labels-{number}")
        world.settle()
    world.clock.time = hour(24)
    world.minutes(7)
    assert world.evaluation(0).rows == 20
    assert [len(world.merged(number)) for number in (1, 13)] == [10, 10]
    assert world.services.objects.keys(DATA, "reports/churn/churn-data-quality/2026/01/06/00/")


def test_what_is_stored_names_what_was_read() -> None:
    world = quiet()
    world.live(0)
    [key] = world.services.objects.keys(OWN, f"plumbline/payload/churn/measured/{window_name(0)}/")
    assert key.endswith(f"/{world.evaluation(0).measured}.msgpack")
    measured = Measured.from_bytes(world.services.objects.get(OWN, key).body, key)
    [key] = world.services.objects.keys(OWN, f"plumbline/payload/churn/window-labels/{window_name(0)}/")
    assert key.endswith(f"/{world.evaluation(0).labels}.msgpack")
    labels = KeptLabels.from_bytes(world.services.objects.get(OWN, key).body, key)
    assert [uri for uri, _ in labels.sources] == [
        f"s3://{DATA}/{each}" for each in world.services.objects.keys(DATA, "ground-truth/")
    ]
    stored = {
        each: world.services.objects.get(DATA, each).etag for each in world.services.objects.keys(DATA, "captures/")
    }
    assert measured.manifest == stored
    [record] = world.decisions(0)
    named = {each.source: each.digest for each in record.evidence}
    for prefix in ("captures/", "ground-truth/"):
        for each in world.services.objects.keys(DATA, prefix):
            assert named[f"s3://{DATA}/{each}"] == world.services.objects.get(DATA, each).etag
