"""One run of the shortened demo with the handlers in a process that is killed, and how a moment is drawn for it.

Sets the demo's length and policy. Not here: what must hold afterwards (laws.py).
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from emulator.clock import LogicalClock
from emulator.worker import Delivery, HandlerProcess, Kill, Moment
from emulator.world import world
from trials.kill.laws import Observation, Seen, breaches, facts_equal, half_written, observe, read_objects

# Weeks in which the first model is stale already, and a policy under which retraining is cheap: a short stream has two
# retrainings, one approved by hand and one by policy.
STALE = 56
WINDOWS = 12
POLICY: Mapping[str, object] = {"cost": 0.02, "reference_windows": 2, "holdback_windows": 2, "cool_down_windows": 2}

# Hours without traffic after the stream's own, in which no moment is drawn: what a kill left has time to come to rest.
REST = 5

# One moment in so many is by the wall's clock, and after one in so many the redelivery is killed, too.
BY_WALL_CLOCK = 4
AGAIN = 4


@dataclass(frozen=True)
class Played:
    """One run: the laws that it broke, how many facts were compared and which differ, and the kills as they came."""

    wrong: list[str]
    compared: int
    different: list[str]
    kills: list[Kill]
    deliveries: list[Delivery]
    seconds: float
    observation: Observation | None = None


def play(moment: Moment | None = None, calm: Observation | None = None) -> Played:
    """Play the shortened demo with the handlers in a process of their own, which is killed at `moment`.

    `calm` is the undisturbed run that this one is compared with; without it, with itself.
    """
    began = time.perf_counter()
    messages: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as state, (Path(state) / "functions.log").open("w") as log:
        started: list[HandlerProcess] = []

        def apart(environ: Mapping[str, str], clock: LogicalClock) -> HandlerProcess:
            started.append(HandlerProcess(environ, clock, log, moment))
            return started[0]

        def recorder(queue: str, body: str) -> None:
            messages.append((queue, body))

        captures = calm.captures if calm else None
        with world(Path(state), POLICY, recorder, apart=apart, captures=captures) as replay:
            [process] = started
            wrong: list[str] = []
            process.when_killed = lambda: wrong.extend(half_written(replay))
            replay.first_week = STALE
            replay.run(WINDOWS)
            deliveries = list(process.deliveries)
            replay.rest(REST)
            died = sum(kill.function == "alert_published" for kill in process.kills)
            seen = Seen(replay, messages, died, read_objects(replay))
            found = observe(seen)
            wrong += breaches(seen, calm or found)
            compared, different = facts_equal(seen, calm or found)
    if moment and not process.kills:
        wrong.append(f"delivery {moment.number} of {moment.function} had no call {moment.call} to be killed at")
    wrong += [f"{kill.function}: its messages did not come back" for kill in process.kills if not kill.found]
    return Played(
        wrong, compared, different, process.kills, deliveries, time.perf_counter() - began, None if calm else found
    )


def attempt(moment: Moment, calm: Observation) -> Played:
    """`play`, with an exception reported as a breach, so that the other moments still run."""
    try:
        return play(moment, calm)
    except Exception as error:
        return Played([f"the run stopped: {type(error).__name__}: {error}"], 0, [], [], [], 0.0)


def draw(random: Random, deliveries: Sequence[Delivery], count: int) -> list[Moment]:
    """Random moments: a handler, one of its calls in the undisturbed run, before or after; or a time by the wall.

    Each handler comes once before any comes again, so that the rare ones, which do what cannot be taken back, are met
    as often as those that make most of the calls.
    """
    by_function: defaultdict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        by_function[delivery.function].append(delivery)
    functions: list[str] = []
    while len(functions) < count:
        functions += random.sample(sorted(by_function), len(by_function))
    return [_moment(random, function, by_function[function]) for function in functions[:count]]


def _moment(random: Random, function: str, deliveries: Sequence[Delivery]) -> Moment:
    calls = [(number, call) for number, each in enumerate(deliveries, 1) for call in range(1, len(each.calls) + 1)]
    number, call = random.choice(calls)
    again = random.randint(1, 6) if random.randrange(AGAIN) == 0 else 0
    if random.randrange(BY_WALL_CLOCK) == 0:
        return Moment(function, number, 0, "", random.random() * deliveries[number - 1].seconds, again)
    return Moment(function, number, call, random.choice(("before", "after")), 0.0, again)
