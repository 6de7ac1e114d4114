"""However many files a window has and columns a model: nothing that is written or sent exceeds its service's limit.

The emulator in memory refuses what AWS refuses: items of more than 400 KB, messages of more than 256 KB.
"""

from __future__ import annotations

import json

import pytest

from chalicelib import keys
from chalicelib.decisions.alert import decode_alert
from chalicelib.facts import decisions, due, rebuilds
from chalicelib.facts.decisions import MOST_EVIDENCE, Record
from chalicelib.records.window import Window
from tests.unit.handlers.world import (
    DATA,
    HOUR,
    MINUTE,
    MONITOR,
    OWN,
    World,
    capture_line,
    definition,
    hour,
    label_line,
    rows_of,
    window_name,
)

QUIET = {"retrain": False, "roll_back": False}


def last_decision(world: World) -> Record:
    reference = decisions.references(world.services.ledger, MONITOR)[-1]
    record = decisions.load_record(world.services.ledger, reference.decision_id)
    assert record is not None
    return record


def test_a_window_of_thousands_of_label_objects_is_decided_and_can_be_rebuilt() -> None:
    world = World(definition(policy=QUIET))
    rows = rows_of(0, 1000)
    world.clock.time = hour(0) + 56 * MINUTE
    world.capture(0, rows)
    world.settle()
    world.clock.time = hour(1) + 2 * MINUTE
    for row in rows:
        world.put_labels(label_line(row.inference_id, row.label("x"), row.time), f"{row.inference_id}".rjust(64, "0"))
    world.settle()
    world.minutes(30)
    assert due.owed(world.services.ledger, MONITOR) == []
    record = last_decision(world)
    assert len(record.evidence) == MOST_EVIDENCE < 1000 < record.evidence_count
    document = json.loads(world.services.objects.get(OWN, keys.decision_key(MONITOR, record.decision_id)).body)
    assert len(document["evidence"]) == record.evidence_count

    # Without what is stored of the window, the decision names its inputs: all of them.
    window, evaluation = Window.of(hour(0), HOUR), world.evaluation(0)
    world.services.objects.delete(OWN, keys.measured_key(MONITOR, window, evaluation.measured))
    due.mark(world.services.ledger, MONITOR, window, world.definition.grace, world.clock.time, anew=True)
    world.minutes(2)
    found = rebuilds.read(world.services.ledger, MONITOR, window_name(0))
    assert found is not None and found.value.outcome == "REBUILT"
    assert world.evaluation(0).labelled == 1000


@pytest.mark.parametrize("columns", [25, 4500])
def test_thousands_of_empty_columns_are_told_in_one_message(columns: int) -> None:
    names = [f"customer_behaviour_feature_{place:05d}_rolling_mean_30d" for place in range(columns)]
    world = World(definition(policy=QUIET, attributes={"probability_attribute": "0", "features": names}))
    features = [{"name": name, "inferred_type": "Fractional", "completeness": 1.0} for name in names]
    constraints = json.dumps({"version": 0.0, "features": features}).encode()
    world.services.objects.put(DATA, "baseline/data_quality/constraints.json", constraints)
    rows = rows_of(0, 20)
    world.clock.time = hour(0) + 50 * MINUTE
    world.put_capture(0, b"".join(capture_line(row, "0.9", "," * (columns - 1)) for row in rows), "a")
    world.settle()
    world.clock.time = hour(1) + 6 * MINUTE
    world.minutes(3)
    assert due.owed(world.services.ledger, MONITOR) == []
    [opened] = [
        found
        for each in world.services.topic.published
        if (found := decode_alert(each.message)).kind == "broken-data" and found.state == "opened"
    ]
    assert len(opened.reasons) == 21
    assert opened.reasons[-1] == f"and {columns - 20} more such findings about columns"
    assert last_decision(world).action == "ALERT"
