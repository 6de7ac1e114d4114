"""S3 keys in both directions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import keys
from chalicelib.keys import HourlyKey, parse_hourly
from chalicelib.records.window import Window

HOUR = timedelta(hours=1)
START = datetime(2026, 1, 2, 3, tzinfo=UTC)
WINDOW = Window(START, HOUR)

parts = st.text(st.characters(codec="utf-8", exclude_characters="/\n\r"), min_size=1, max_size=12)
hours = st.datetimes(datetime(1970, 1, 1), datetime(2999, 12, 31)).map(
    lambda moment: moment.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
)
windows = st.builds(Window.of, hours, st.sampled_from([HOUR, 6 * HOUR, 24 * HOUR, 48 * HOUR]))


@given(st.lists(parts, max_size=5), hours, parts)
def test_an_hourly_key_is_read_as_it_was_written(prefix: list[str], hour: datetime, name: str):
    written = HourlyKey("/".join(prefix), hour, name)
    assert parse_hourly(written.key) == written


@given(st.lists(parts, min_size=1, max_size=9))
def test_what_is_read_is_written_back(found: list[str]):
    key = "/".join(found)
    read = parse_hourly(key)
    assert read is None or read.key == key


@given(parts, parts, parts, hours, parts)
def test_a_capture_key_leads_to_its_prefix(destination: str, endpoint: str, variant: str, hour: datetime, name: str):
    prefix = keys.capture_prefix(f"/{destination}/", endpoint, variant)
    read = parse_hourly(f"{prefix}/{keys.hour_folder(hour)}/{name}")
    assert read == HourlyKey(prefix, hour, name)


@pytest.mark.parametrize(
    "key, expected",
    [
        (
            "datacapture/churn/AllTraffic/2026/01/02/03/04-05-678-aa.jsonl",
            HourlyKey("datacapture/churn/AllTraffic", START, "04-05-678-aa.jsonl"),
        ),
        ("2026/01/02/03/a.jsonl", HourlyKey("", START, "a.jsonl")),
        # The folder nearest to the name counts.
        ("a/2020/01/01/00/2026/01/02/03/b", HourlyKey("a/2020/01/01/00", START, "b")),
        ("a/12026/01/02/03/b/2026/01/02/03/c d", HourlyKey("a/12026/01/02/03/b", START, "c d")),
    ],
)
def test_hourly_keys(key: str, expected: HourlyKey):
    assert parse_hourly(key) == expected


@pytest.mark.parametrize(
    "key",
    [
        "",
        "churn/AllTraffic/a.jsonl",
        "churn/2026/01/02/a.jsonl",
        "churn/2026/01/02/03/",
        "churn/2026/01/02/03",
        "churn/2026/13/02/03/a.jsonl",
        "churn/2026/02/30/03/a.jsonl",
        "churn/2026/01/02/24/a.jsonl",
        "churn/2026/1/2/3/a.jsonl",
        "churn/26/01/02/03/a.jsonl",
        "churn/0001/01/02/03/a.jsonl",
        "churn/2026-01-02-03/a.jsonl",
        "churn/2026/01/02/03/",
        "churn/x2026/01/02/03/a.jsonl",
        "churn/\uff12\uff10\uff12\uff16/01/02/03/a.jsonl",
        "/2026/01/02/03/a.jsonl",
    ],
)
def test_other_keys_are_nobodys(key: str):
    assert parse_hourly(key) is None


def test_hours_are_utc():
    east = datetime.fromisoformat("2026-01-02T13:30:00+10:00")
    assert keys.hour_folder(east) == "2026/01/02/03"


@given(windows)
def test_an_ids_key_gives_its_window_back(window: Window):
    key = keys.ids_key("churn", window, "d1")
    assert key.startswith(keys.ids_prefix("churn"))
    assert Window.parse(keys.parse_ids_key(key), window.length) == window


@given(st.lists(windows, unique=True, max_size=6))
def test_ids_keys_sort_as_their_windows(found: list[Window]):
    names = sorted(keys.ids_key("churn", window, "d1") for window in found)
    starts = [Window.parse(keys.parse_ids_key(name), HOUR).start for name in names]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    "parts, expected",
    [((), ""), (("", ""), ""), (("a", "", "b"), "a/b"), (("/a/", "/b/c/"), "a/b/c"), (("a//b", "c"), "a//b/c")],
)
def test_join(parts: tuple[str, ...], expected: str):
    assert keys.join(*parts) == expected


def test_reports_lie_where_model_monitor_puts_them():
    assert keys.report_folder("reports", "churn", "m", "ModelQuality", WINDOW) == (
        "reports/churn/m-model-quality/2026/01/02/04"
    )
    assert keys.report_folder("", "churn", "m", "DataQuality", WINDOW) == "churn/m-data-quality/2026/01/02/04"
    assert keys.merge_key("reports", "churn", "AllTraffic", "m", "2026/01/02/03") == (
        "reports/merge/churn/AllTraffic/2026/01/02/03/part-00000-m.c000.jsonl"
    )


PAYLOAD = {
    "measured": keys.measured_key("m", WINDOW, "d" * 64),
    "labels": keys.labels_key("m", WINDOW, "d" * 64),
    "ids": keys.ids_key("m", WINDOW, "d1"),
    "label container": keys.label_container_key("m", "2026-01-02T03:00:00Z", "d1"),
    "revision": keys.revision_key("m", WINDOW, "d1"),
    "baseline": keys.baseline_folder("m", "churn/3"),
    "quarantine": keys.quarantine_key("m", "d1"),
}
FACTS = {
    "definition": keys.definition_key("m", "v1"),
    "decision": keys.decision_key("m", "d1"),
    "manifest": keys.training_manifest_key("m", "d1"),
}


def test_the_retention_class_is_part_of_the_key():
    assert all(key.startswith("plumbline/payload/m/") for key in PAYLOAD.values())
    assert all(key.startswith("plumbline/facts/m/") for key in FACTS.values())
    everything = [*PAYLOAD.values(), *FACTS.values()]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("key", [*PAYLOAD.values(), *FACTS.values()])
def test_our_own_keys_are_nobodys_input(key: str):
    assert parse_hourly(key) is None


def test_s3_uri():
    assert keys.s3_uri("bucket", "a/b") == "s3://bucket/a/b"
