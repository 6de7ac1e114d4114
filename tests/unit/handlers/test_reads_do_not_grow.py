"""What deciding a window reads does not grow with the monitor's age."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.facts import evaluations
from tests.unit.handlers.world import HOUR, MINUTE, MONITOR, START, World, definition, hour, rows_of, window_name

# Items of one tick and one evaluation.
MOST_READ = 200


def test_a_monitor_without_labels_reads_as_much_after_a_month_as_after_a_day() -> None:
    changed: dict[str, Any] = {"retraining": None, "alarms": [], "schedules": []}
    own = definition(
        monitor_types=["DataQuality"],
        ground_truth_s3_uri="",
        policy={"retrain": False, "roll_back": False},
        **changed,
    )
    world = World(own)
    world.live(0, labelled=False)
    ledger = world.services.ledger
    stored = evaluations.load_evaluation(ledger, MONITOR, window_name(0))
    assert stored
    for number in range(1, 24 * 30):
        name = (START - number * HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")
        earlier = msgspec.json.encode(msgspec.structs.replace(stored.value, window=name))
        ledger.put(f"MONITOR#{MONITOR}", f"EVALUATION#{name}", earlier, expected=None)
    read = 0
    query = ledger.query

    def counted(*keys: Any, **more: Any) -> Any:
        nonlocal read
        found = query(*keys, **more)
        read += len(found)
        return found

    world.clock.time = hour(1) + 50 * MINUTE
    world.capture(1, rows_of(1, 20))
    world.settle()
    world.clock.time = hour(2) + 6 * MINUTE
    ledger.query = counted  # type: ignore[method-assign]
    world.tick()
    assert evaluations.load_evaluation(ledger, MONITOR, window_name(1))
    assert 0 < read <= MOST_READ
