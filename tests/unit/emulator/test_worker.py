"""The process of the handlers: it answers as app.py does, and dies where it is told to, for real."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib.topology import resource_name
from demo.account import BUCKET, STAGE, WEBHOOK_KEYS, WEBHOOK_SECRET, environment
from emulator.aws import LocalAws, StandInError, create_resources
from emulator.clock import LogicalClock
from emulator.pump import Pump
from emulator.worker import HandlerProcess, Moment

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
TICK = "windows_due"


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as aws:
        create_resources(aws, STAGE, [BUCKET])
        aws.client("ssm").put_parameter(Name=WEBHOOK_KEYS, Value=WEBHOOK_SECRET, Type="SecureString")
        yield aws


Start = Callable[[Moment | None], AbstractContextManager[HandlerProcess]]


@pytest.fixture
def clock() -> LogicalClock:
    return LogicalClock(START)


@pytest.fixture
def start(aws: LocalAws, clock: LogicalClock, tmp_path: Path) -> Iterator[Start]:
    environ = {**os.environ, **environment(aws, "http://127.0.0.1:1")}
    with (tmp_path / "functions.log").open("w") as log:
        yield lambda moment: HandlerProcess(environ, clock, log, moment)


def visible(aws: LocalAws) -> dict[str, int]:
    """Messages by queue, the dead-letter queues among them."""
    names = {resource_name(STAGE, name): name for name in ("clock", "windows", "clock-dead", "windows-dead")}
    return {names[name]: count for name, count in aws.visible_messages().items() if name in names and count}


def test_a_delivery_is_answered_and_its_calls_are_told(aws: LocalAws, clock: LogicalClock, start: Start) -> None:
    with start(None) as process:
        pump = Pump(aws, process, clock=clock)
        pump.call_schedule(TICK, "clock")
        assert pump.drain() == 1
    [delivery] = process.deliveries
    assert delivery.function == TICK and "dynamodb.Query" in delivery.calls
    assert (process.kills, process.starts, pump.failures) == ([], 1, [])


@pytest.mark.parametrize("moment", [
    Moment(TICK, 1, 2, "before"), Moment(TICK, 1, 2, "after"), Moment(TICK, 1, 0, "", 0.0),
], ids=["before a call", "after a call", "by the wall's clock"])  # fmt: skip
def test_a_killed_delivery_comes_back_to_a_new_process(
    aws: LocalAws, clock: LogicalClock, start: Start, moment: Moment
) -> None:
    with start(moment) as process:
        pump = Pump(aws, process, clock=clock)
        pump.call_schedule(TICK, "clock")
        pump.drain()
        [kill] = process.kills
        assert (pump.taken, process.deliveries, visible(aws)) == (1, [], {})
        if moment.call:
            assert kill.calls == 2 and kill.at.startswith(moment.side)
        clock.advance(by=timedelta(minutes=12))
        pump.drain()
        assert (pump.taken, len(process.deliveries), visible(aws)) == (0, 1, {})
        assert kill.found.startswith("back after 12 min: ") and kill.found.endswith(" done")
        assert process.starts == 2


def test_the_redelivery_can_be_killed_too(aws: LocalAws, clock: LogicalClock, start: Start) -> None:
    with start(Moment(TICK, 1, 3, "after", again=1)) as process:
        pump = Pump(aws, process, clock=clock)
        pump.call_schedule(TICK, "clock")
        for _ in range(3):
            pump.drain()
            clock.advance(by=timedelta(minutes=12))
        assert [(kill.calls, kill.found[-4:]) for kill in process.kills] == [(3, "gain"), (1, "done")]
        assert (process.starts, pump.taken, visible(aws)) == (3, 0, {})


def test_a_post_without_a_signature_is_answered(start: Start) -> None:
    headers = {"webhook-id": "1", "content-type": "application/json"}
    with start(None) as process:
        assert process.post("/ground-truth/nobody", headers, b"[]") == 401


def test_a_process_that_does_not_start_is_an_error(clock: LogicalClock, tmp_path: Path) -> None:
    nowhere: dict[str, Any] = {"PATH": os.environ["PATH"]}
    with (tmp_path / "log").open("w") as log, pytest.raises(StandInError, match="did not start"):
        HandlerProcess(nowhere, clock, log, None).__enter__()
