"""When labels are news enough to restate a window, and how often that can be."""

from datetime import timedelta

import pytest

from chalicelib.facts import news
from chalicelib.facts.news import News
from emulator.memory import MemoryLedger
from tests.unit.handlers.world import START

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def known(pending: int, labelled: int, needed: int = 600, idle: int = 0, rows: int = 1000) -> News:
    return News("w", pending, True, rows, rows, labelled, needed, idle)


@pytest.mark.parametrize(
    ("what", "enough"),
    [
        (News("w", 3), True),  # not evaluated yet
        (known(0, 0), False),
        (known(1, 0), True),  # the first ones
        (known(99, 500), False),
        (known(100, 500), True),  # may settle
        (known(100, 500, idle=1), False),  # the last ones brought nothing
        (known(200, 500, idle=1), True),
        (known(149, 600), False),
        (known(150, 600), True),  # a quarter more
        (known(49, 100), False),  # a quarter, and no twentieth of all rows
        (known(50, 100), True),
        (known(10_000, 1000), False),  # every row has a label: the next age step is soon enough
        (News("w", 10, True, 100, 1000, 500, 600), True),  # ten rows a request
    ],
)
def test_what_is_news(what: News, enough: bool) -> None:
    assert what.is_enough == enough


def test_what_comes_meanwhile_goes_on_waiting() -> None:
    ledger = MemoryLedger(lambda: START)
    assert news.heard(ledger, "m", "w", 5)
    taken = news.pending(ledger, "m", "w")
    assert news.heard(ledger, "m", "w", 2)
    news.reported(ledger, "m", "w", taken, 100, 100, 5, 60)
    assert news.pending(ledger, "m", "w") == 2


@pytest.mark.parametrize("labels", [1, 7, 100])
def test_labels_that_come_again_cost_few_restatements(labels: int) -> None:
    ledger = MemoryLedger(lambda: START)
    news.reported(ledger, "m", "w", 0, 1000, 1000, 300, 600)
    restated = 0
    for _ in range(3000):
        if news.heard(ledger, "m", "w", labels):
            news.reported(ledger, "m", "w", news.pending(ledger, "m", "w"), 1000, 1000, 300, 600)
            restated += 1
    assert 0 <= restated <= 16


def test_labels_that_trickle_are_reported_some_twenty_times_before_all_are_there() -> None:
    ledger, labelled, restated = MemoryLedger(lambda: START), 0, 0
    news.reported(ledger, "m", "w", 0, 1000, 1000, 0, 600)
    for _ in range(1000):
        if news.heard(ledger, "m", "w", 1):
            labelled += news.pending(ledger, "m", "w")
            news.reported(ledger, "m", "w", news.pending(ledger, "m", "w"), 1000, 1000, labelled, 600)
            restated += 1
            settled = labelled >= 600
    assert settled and restated <= 20


def test_age_steps_end_with_the_seal() -> None:
    assert news.steps(timedelta(hours=10)) == [HOUR, 6 * HOUR, 10 * HOUR]
    assert news.steps(timedelta(minutes=90)) == [HOUR, 2 * HOUR]
    steps = news.steps(45 * DAY)
    days = [DAY * day for day in (1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 45)]
    assert steps == [HOUR, 6 * HOUR, *days]
    assert news.seen_until(6 * HOUR + timedelta(minutes=1), 45 * DAY) == HOUR
    assert news.seen_until(7 * HOUR, 45 * DAY) == 6 * HOUR
