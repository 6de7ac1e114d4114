"""The bikes of the demo, shortened: a model goes stale, one retraining brings the error down, alerts say why."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import bikes

WEEKS = 24


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("demo") / "bikes"
    table, faults = bikes.play(folder, WEEKS)
    assert faults == []
    return table, folder


def test_the_table_sets_the_loop_beside_what_else_could_be_done(played: tuple[str, Path]) -> None:
    table, folder = played
    errors = [float(line.split()[0]) for line in table.splitlines()[1:5]]
    never, loop, weekly, persistence = errors
    assert weekly < loop < never < persistence
    assert "1 retrains, 1 promotions" in table
    assert (folder / "error-over-time.png").stat().st_size > 10_000


def test_the_retraining_is_announced_with_its_regret_and_cost_before_the_promotion(played: tuple[str, Path]) -> None:
    alerts = bikes.msgspec.json.decode((played[1] / "alerts-received.json").read_bytes(), type=list[bikes.Alert])
    told = [alert for alert in alerts if alert.kind in ("retraining", "promotion")]
    assert [alert.title for alert in told] == ["bikes: a retraining has started", "bikes: a challenger was promoted"]
    assert told[0].reasons[0].startswith("regret 0.") and "the cost of a retrain (0.2" in told[0].reasons[0]
    drift = next(alert for alert in alerts if alert.kind == "data-quality")
    assert drift.severity == "warning" and "temp: share of values up to" in drift.reasons[0]
