"""The index of monitors: among thousands, a source finds exactly those that listen to it."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib import keys
from chalicelib.definition import Definition, parse_definition, version_of
from chalicelib.errors import NotFoundError
from chalicelib.facts import monitors
from chalicelib.facts.monitors import Definitions
from emulator.memory import MemoryLedger, MemoryObjectStore
from tests.unit.facts.racing import NOW, memory_ledger

BUCKET = "plumbline-test"
SINCE = "2026-01-05T12:00:00Z"


class Table:
    def __init__(self) -> None:
        self.ledger: MemoryLedger = memory_ledger()
        self.objects = MemoryObjectStore(lambda: NOW)
        self.definitions = Definitions(self.ledger, self.objects, BUCKET)

    def add(self, definition: Definition, since: str = SINCE) -> monitors.Entry:
        return monitors.add(self.ledger, self.objects, BUCKET, definition, since)

    def find(self, kind: str, value: str) -> list[str]:
        return [entry.name for entry in monitors.find(self.ledger, kind, value)]


@pytest.fixture
def table() -> Table:
    return Table()


def definition(name: str, **changes: Any) -> Definition:
    document: dict[str, Any] = {
        "name": name,
        "endpoint": name,
        "capture_s3_uri": "s3://captures/all",
        "ground_truth_s3_uri": f"s3://labels/{name}",
        "output_s3_uri": "s3://reports",
        "attributes": {"probability_attribute": "0"},
    }
    return parse_definition({**document, **changes})


def capture_source(key: str) -> str:
    hourly = keys.parse_hourly(key)
    assert hourly is not None
    return f"captures/{hourly.prefix}"


def test_a_capture_key_finds_its_monitor_among_thousands(table: Table):
    for number in range(3000):
        table.add(definition(f"m{number}"))
    assert len(monitors.all_entries(table.ledger)) == 3000
    key = "all/m1234/AllTraffic/2026/01/05/12/47-11-aa.jsonl"
    assert table.find("capture", capture_source(key)) == ["m1234"]
    assert table.find("endpoint", "m77") == ["m77"]
    assert table.find("ground-truth", "labels/m2999") == ["m2999"]
    assert table.find("capture", capture_source("all/m3000/AllTraffic/2026/01/05/12/a.jsonl")) == []
    # A prefix of a name is another name, and another variant is another source.
    assert table.find("capture", "captures/all/m12") == []
    assert table.find("capture", capture_source("all/m1234/Shadow/2026/01/05/12/a.jsonl")) == []


def test_several_monitors_of_one_source_are_found_by_name(table: Table):
    for name in ("b", "a", "c"):
        table.add(definition(name, endpoint="shared"))
    assert table.find("endpoint", "shared") == ["a", "b", "c"]
    assert table.find("capture", "captures/all/shared/AllTraffic") == ["a", "b", "c"]


def test_everything_that_a_definition_listens_to(table: Table):
    found = definition(
        "churn",
        alarms=[{"name": "low", "role": "trigger"}, {"name": "5xx", "role": "veto"}],
        schedules=["Churn-Schedule"],
    )
    table.add(found)
    sources = [
        ("capture", "captures/all/churn/AllTraffic"),
        ("endpoint", "churn"),
        ("ground-truth", "labels/churn"),
        ("alarm", "low"),
        ("alarm", "5xx"),
        ("schedule", "churn-schedule"),
    ]
    assert list(monitors.sources_of(found)) == sources
    for kind, value in sources:
        assert table.find(kind, value) == ["churn"]
        assert table.find(kind, f"{value}x") == []
    assert table.find("endpoint", "labels/churn") == []


def test_ground_truth_may_lie_in_the_root_of_a_bucket(table: Table):
    table.add(definition("churn", ground_truth_s3_uri="s3://labels"))
    hourly = keys.parse_hourly("2026/01/05/12/a.jsonl")
    assert hourly is not None
    assert table.find("ground-truth", f"labels/{hourly.prefix}") == ["churn"]


def test_adding_again_changes_nothing(table: Table):
    first = table.add(definition("churn"))
    before, objects = dict(table.ledger.items), dict(table.objects.objects)
    assert table.add(definition("churn"), "2026-02-01T00:00:00Z") == first
    assert (table.ledger.items, table.objects.objects) == (before, objects)


def test_a_new_version_is_in_force_and_the_old_one_stays_stored(table: Table):
    old, new = definition("churn"), definition("churn", policy={"cost": 0.5})
    first, second = table.add(old), table.add(new, "2026-02-01T00:00:00Z")
    assert (first.version, second.version) == (version_of(old), version_of(new))
    assert second.since == SINCE, "a monitor that exists keeps the first window that it owes"
    assert table.definitions.get("churn") == new
    assert table.definitions.of(first) == old
    assert len(table.objects.keys(BUCKET)) == 2


def test_a_source_that_was_left_leads_nowhere(table: Table):
    table.add(definition("churn"))
    table.add(definition("churn", capture_s3_uri="s3://captures/elsewhere", ground_truth_s3_uri="s3://labels/new"))
    assert table.find("capture", "captures/all/churn/AllTraffic") == []
    assert table.find("ground-truth", "labels/churn") == []
    assert table.find("capture", "captures/elsewhere/churn/AllTraffic") == ["churn"]
    assert table.find("endpoint", "churn") == ["churn"]


def test_a_source_that_was_left_and_taken_again_leads_back(table: Table):
    for uri in ("s3://captures/all", "s3://captures/elsewhere", "s3://captures/all"):
        table.add(definition("churn", capture_s3_uri=uri))
    assert table.find("capture", "captures/all/churn/AllTraffic") == ["churn"]


def test_endpoints_made_by_ourselves_are_in_no_definition(table: Table):
    monitors.point(table.ledger, "pool-endpoint", "churn-m3", "churn")
    assert table.find("pool-endpoint", "churn-m3") == [], "a pointer without a monitor"
    table.add(definition("churn"))
    monitors.point(table.ledger, "pool-endpoint", "churn-m3", "churn")
    assert table.find("pool-endpoint", "churn-m3") == ["churn"]


def test_definitions_are_read_by_name_and_by_source(table: Table):
    churn, fraud = definition("churn", endpoint="shared"), definition("fraud", endpoint="shared")
    table.add(churn)
    table.add(fraud)
    assert table.definitions.get("fraud") == fraud
    assert table.definitions.find("endpoint", "shared") == [churn, fraud]
    with pytest.raises(NotFoundError, match="monitor nobody: not in the table"):
        table.definitions.get("nobody")


def test_places_of_ground_truth(table: Table):
    table.add(definition("churn", endpoint="shared"))
    table.add(definition("drift", endpoint="shared", monitor_types=["DataQuality"], ground_truth_s3_uri=""))
    assert table.definitions.ground_truth_places("shared") == [("labels", "churn", "BinaryClassification")]
    assert table.definitions.ground_truth_places("other") == []
