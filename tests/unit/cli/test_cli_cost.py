"""`plumbline cost`: more traffic and slower labels cost more, and every part of the bill has a price."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from plumbline.cli.cost import evaluations
from plumbline.cli.main import main

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def bill(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, float]:
    assert main(["cost", "--json", "--requests-per-hour", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dollars_a_month"] == pytest.approx(sum(found["by_service"].values()))
    return found


def test_more_traffic_and_slower_labels_cost_more(capsys: pytest.CaptureFixture[str]) -> None:
    few, many, slow = (bill(capsys, *each) for each in (("60",), ("5000",), ("5000", "--labels-over", "30d")))
    assert 1 < few["dollars_a_month"] < many["dollars_a_month"] < slow["dollars_a_month"]
    assert many["stage_dollars_a_month"] == few["stage_dollars_a_month"] > 1
    # A processing job for each window and monitor type: 720 hours, two types, a quarter of an hour at $0.23.
    assert few["model_monitor_dollars_a_month"] == pytest.approx(720 * 2 * 0.25 * 0.23)


def test_fewer_windows_cost_less_and_wider_rows_more(capsys: pytest.CaptureFixture[str]) -> None:
    hourly, daily = bill(capsys, "1000"), bill(capsys, "1000", "--window", "1d")
    assert daily["dollars_a_month"] < hourly["dollars_a_month"]
    assert bill(capsys, "1000", "--features", "200")["dollars_a_month"] > hourly["dollars_a_month"]


def test_evaluations_of_a_window_are_bounded_however_slowly_labels_come() -> None:
    counts = [evaluations(1000, HOUR, span) for span in (HOUR / 6, DAY, 2 * DAY, 30 * DAY)]
    assert 1 <= counts[0] <= 3 and counts == sorted(counts) and counts[-1] <= 41


def test_what_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--requests-per-hour", "0"]) == 2
    assert main(["cost", "--requests-per-hour", "10", "--window", "90m"]) == 2
    assert "--window" in capsys.readouterr().err
