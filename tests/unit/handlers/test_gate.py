"""The gate and its record: a model passes it, and its like, trained once more on all labelled windows, serves."""

from __future__ import annotations

import json
from typing import Any

from chalicelib.facts import evaluations
from tests.unit.handlers.test_retraining_effects import drifted
from tests.unit.handlers.world import MONITOR, OWN, World, window_name


def gate_record(world: World) -> Any:
    [key] = [key for key in world.services.objects.keys(OWN, "plumbline/payload/churn/") if key.endswith("gate.json")]
    return json.loads(world.services.objects.get(OWN, key).body)


def test_the_model_trained_on_all_windows_serves_when_the_gates_model_is_better() -> None:
    world = drifted()
    world.finish_pipeline("not-x", gate="z")
    world.minutes(12)
    assert world.serving == "not-x"
    record = gate_record(world)
    assert record["passed"] is True
    assert record["gate_model"] != record["serving_model"] == world.champion().candidate.model_data
    # Fair from the window after the newest on which it was trained.
    assert world.champion().candidate.fair_from == window_name(4)


def test_the_gates_model_decides_and_leaves_nothing_behind() -> None:
    world = drifted()
    world.finish_pipeline("z", gate="x")  # as good as the champion is not better
    world.minutes(12)
    assert world.serving == "x" and world.retraining().state == "REFUSED"
    assert gate_record(world)["passed"] is False
    assert not [name for name in world.endpoints() if "-gate-" in name]
    assert world.endpoints() == ["churn"], "the champion's own is deleted with the contest, too"


def test_after_a_promotion_the_gates_endpoint_is_gone() -> None:
    world = drifted()
    world.finish_pipeline("z", gate="z")
    world.minutes(12)
    assert world.serving == "z"
    assert not [name for name in world.endpoints() if "-gate-" in name]
    names = {loss.window for loss in evaluations.losses(world.services.ledger, MONITOR) if loss.candidate == "churn/1"}
    assert {window_name(2), window_name(3)} <= names, "what the gate's model lost there counts for it"


def test_the_record_compares_row_by_row() -> None:
    world = drifted()
    world.finish_pipeline("z")
    world.minutes(12)
    record = gate_record(world)
    test = record["against_champion"]
    assert record["rows"] == 40 and test["better"] + test["worse"] <= 40
    wrong = round(record["losses"]["first"] * 40) - round(record["losses"]["challenger"] * 40)
    assert test["better"] - test["worse"] == wrong
    assert f"{test['better']} rows better" in world.retraining().outcome
