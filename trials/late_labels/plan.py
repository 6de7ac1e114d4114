"""What label systems send, and when: late, in any order, some never, some wrong at first, some twice.

Everything is drawn from a seed, for given requests with their true labels. Not here: what happens to a label.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from chalicelib.records.window import Window
from emulator.clock import timestamp
from trials.late_labels.recording import LabelledRequest

HORIZON = timedelta(hours=24)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)

NEVER, CORRECTED, REPEATED = 0.05, 0.01, 0.02
# Of the labels that never come in time, so many come after all: when their window is sealed.
AFTER_THE_SEAL = 1 / 3
# Posts that are sent again as they were, with their webhook-id.
SENT_AGAIN = 0.02
# Requests of several records that are labelled record by record.
BY_RECORD = 1 / 10
# Half of the labels take longer than this many hours; the logarithm of the delay is normal with this spread.
MEDIAN_HOURS, SPREAD = 3.0, 1.1
MOST_HOURS = 23.0

# A label system hands over twice an hour what it has learned; some of it is held up by so many turns.
TURN, FIRST_TURN = timedelta(minutes=30), timedelta(minutes=10)
HELD_UP, MOST_TURNS = 0.15, 8
# No turn is so near to the seal that it could be worked off after it.
BEFORE_THE_SEAL = timedelta(minutes=20)


@dataclass(frozen=True)
class Labelled:
    """What is labelled at once: a request (`record` None), or one record of it; `truth` has a value for each record.

    `timed`: its labels say when they became known; `placed`: they say when the request was made.
    """

    id: str
    record: int | None
    asked_at: datetime
    truth: tuple[int, ...]
    timed: bool
    placed: bool

    @property
    def seal(self) -> datetime:
        """When its window takes no more labels."""
        return Window.of(self.asked_at, HOUR).end + HORIZON


@dataclass(frozen=True)
class Told:
    """One label as a system sends it: the value for each record, and when that became known."""

    of: Labelled
    values: tuple[int, ...]
    known_at: datetime

    def entry(self) -> dict[str, Any]:
        """As the webhook takes it."""
        entry: dict[str, Any] = {"id": self.of.id, "label": self._label()}
        if self.of.record is not None:
            entry["recordIndex"] = self.of.record
        return {**entry, **self._times()}

    def line(self) -> dict[str, Any]:
        """As a line of a ground-truth file in SageMaker's layout."""
        label = self._label()
        data = {
            "data": json.dumps(label, separators=(",", ":")),
            "encoding": "JSON" if isinstance(label, list) else "CSV",
        }
        metadata: dict[str, Any] = {"eventId": self.of.id, **self._times()}
        if self.of.record is not None:
            metadata["recordIndex"] = self.of.record
        return {"groundTruthData": data, "eventMetadata": metadata, "eventVersion": "0"}

    def _label(self) -> int | list[int]:
        return list(self.values) if len(self.values) > 1 else self.values[0]

    def _times(self) -> dict[str, str]:
        times = {}
        if self.of.timed:
            times["labelTime"] = timestamp(self.known_at)
        if self.of.placed:
            times["inferenceTime"] = timestamp(self.of.asked_at)
        return times


@dataclass(frozen=True)
class Delivery:
    """One signed post (`name` is its webhook-id) or one dropped file."""

    at: datetime
    name: str
    posted: bool
    labels: tuple[Told, ...]

    def body(self) -> bytes:
        if self.posted:
            return json.dumps([label.entry() for label in self.labels]).encode()
        return b"".join(json.dumps(label.line()).encode() + b"\n" for label in self.labels)


@dataclass(frozen=True)
class Plan:
    """`deliveries` in the order of their times, what comes after the seal apart; `final`: what counts in the end.

    `counts` says in a word how many labels each thing befalls.
    """

    deliveries: tuple[Delivery, ...]
    after_the_seal: tuple[Delivery, ...]
    final: tuple[Told, ...]
    counts: Counter[str]

    def at_once(self, begin: datetime) -> list[Delivery]:
        """Every delivery within the horizon, in order, a second after the other."""
        return _one_by_one(begin, self.deliveries)

    def final_at_once(self, begin: datetime) -> list[Delivery]:
        """What counts in the end, and nothing else, in one post and one file."""
        halves = [
            Delivery(begin, "final-post", True, self.final[::2]),
            Delivery(begin, "final-file", False, self.final[1::2]),
        ]
        return _one_by_one(begin, halves)

    def delays(self) -> list[float]:
        """How long the labels that count took to become known, in hours, sorted."""
        return sorted((label.known_at - label.of.asked_at) / HOUR for label in self.final)


def plan(asked: Sequence[LabelledRequest], seed: int) -> Plan:
    """Draw what befalls the labels of these requests."""
    draw = Random(seed)
    labelled = list(_labelled(asked, draw))
    never, corrected, repeated = _chosen(labelled, draw)
    baskets, late = _Baskets(draw), _Baskets(draw)
    final = []
    for each in labelled:
        if each in never:
            if draw.random() < AFTER_THE_SEAL:
                known_at = each.seal + draw.randrange(20, 80) * 60 * SECOND
                late.put(_next_turn(known_at), Told(each, each.truth, known_at))
            continue
        last, turn = (_wrong_then_right if each in corrected else _come)(each, baskets, draw)
        if each in repeated:
            baskets.put(min(turn + draw.randint(1, MOST_TURNS) * TURN, _last_turn(each.seal)), last)
        final.append(last)
    deliveries, after_the_seal = baskets.deliveries("labels"), late.deliveries("after-the-seal")
    posts = [each for each in deliveries if each.posted]
    again = draw.sample(posts, max(1, round(SENT_AGAIN * len(posts))))
    deliveries += [
        Delivery(each.at + draw.randint(1, MOST_TURNS) * TURN, each.name, True, each.labels) for each in again
    ]
    counts = baskets.counts
    counts["labels"], counts["never"] = len(labelled), len(never)
    counts["after the seal"] = sum(len(each.labels) for each in after_the_seal)
    counts["corrected"], counts["repeated"] = len(corrected), len(repeated)
    counts["posts"], counts["sent again"] = len(posts), len(again)
    counts["files"] = len(deliveries) - len(posts) - len(again)
    counts["by record"] = sum(each.record is not None for each in labelled)
    counts["placed"], counts["timed"] = sum(each.placed for each in labelled), sum(each.timed for each in labelled)
    return Plan(_in_order(deliveries), _in_order(after_the_seal), tuple(final), counts)


def _come(each: Labelled, baskets: _Baskets, draw: Random) -> tuple[Told, datetime]:
    """One label comes; returns it and its turn."""
    label = Told(each, each.truth, each.asked_at + _delay(draw, MOST_HOURS))
    turn = _turn_of(label, draw)
    baskets.put(turn, label)
    return label, turn


def _wrong_then_right(each: Labelled, baskets: _Baskets, draw: Random) -> tuple[Told, datetime]:
    """A wrong label comes and later the right one; returns that and its turn.

    Where both say when they became known, the wrong one may be held up and come last.
    """
    last_turn = _last_turn(each.seal)
    wrong = Told(each, _spoiled(each.truth, draw), each.asked_at + _delay(draw, MOST_HOURS / 2))
    turn = _turn_of(wrong, draw)
    later = (last_turn - wrong.known_at) * draw.uniform(0.2, 0.9)
    right = Told(each, each.truth, (wrong.known_at + later).replace(microsecond=0))
    right_turn = max(_next_turn(right.known_at), turn + TURN)
    if each.timed and right_turn + TURN <= last_turn and draw.random() < 0.5:
        turn = right_turn + TURN
        baskets.counts["overtaken by their correction"] += 1
    baskets.put(turn, wrong)
    baskets.put(right_turn, right)
    return right, right_turn


def _labelled(asked: Iterable[LabelledRequest], draw: Random) -> Iterator[Labelled]:
    for one in asked:
        # Every other hour's labels do not say when they became known: then when they came counts.
        timed, placed = int(one.time.timestamp()) // 3600 % 2 == 0, draw.random() < 0.5
        if len(one.truth) > 1 and draw.random() < BY_RECORD:
            for record, value in enumerate(one.truth):
                yield Labelled(one.id, record, one.time, (value,), timed, placed)
        else:
            yield Labelled(one.id, None, one.time, one.truth, timed, placed)


def _chosen(labelled: Sequence[Labelled], draw: Random) -> tuple[set[Labelled], set[Labelled], set[Labelled]]:
    """Which never come, which are wrong first, which are sent twice.

    A label without a time that is both corrected and sent again would be open to doubt: nothing tells a repetition of
    the old value from a newer correction. So such labels are one or the other.
    """
    shuffled = draw.sample(list(labelled), len(labelled))
    never = set(shuffled[: round(NEVER * len(shuffled))])
    rest = shuffled[len(never) :]
    corrected = set(rest[: max(1, round(CORRECTED * len(shuffled)))])
    able = [each for each in rest if each.timed or each not in corrected]
    return never, corrected, set(draw.sample(able, max(1, round(REPEATED * len(shuffled)))))


def _delay(draw: Random, most: float) -> timedelta:
    """A long tail within so many hours: log-normal, drawn again beyond."""
    while True:
        hours = MEDIAN_HOURS * draw.lognormvariate(0.0, SPREAD)
        if hours <= most:
            return max(1, round(hours * 3600)) * SECOND


def _spoiled(truth: tuple[int, ...], draw: Random) -> tuple[int, ...]:
    """The same with one wrong value."""
    at = draw.randrange(len(truth))
    return (*truth[:at], 1 - truth[at], *truth[at + 1 :])


def _next_turn(moment: datetime) -> datetime:
    """When what is known at a moment is handed over."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + FIRST_TURN + -(-(moment - midnight - FIRST_TURN) // TURN) * TURN


def _last_turn(seal: datetime) -> datetime:
    last = _next_turn(seal - BEFORE_THE_SEAL)
    return last if last <= seal - BEFORE_THE_SEAL else last - TURN


def _turn_of(label: Told, draw: Random) -> datetime:
    held = draw.randint(1, MOST_TURNS) * TURN if draw.random() < HELD_UP else timedelta(0)
    return min(_next_turn(label.known_at) + held, _last_turn(label.of.seal))


class _Baskets:
    """Labels by the turn in which they are handed over: half of them posted, half dropped as files."""

    def __init__(self, draw: Random) -> None:
        self._draw = draw
        self._baskets: defaultdict[tuple[datetime, bool], list[Told]] = defaultdict(list)
        self.counts: Counter[str] = Counter()

    def put(self, turn: datetime, label: Told) -> None:
        self._baskets[turn, self._draw.random() < 0.5].append(label)

    def deliveries(self, name: str) -> list[Delivery]:
        found = []
        for (turn, posted), labels in sorted(self._baskets.items(), key=lambda item: item[0]):
            self._draw.shuffle(labels)
            # The two of a turn come in either order.
            at = turn + self._draw.randrange(240) * SECOND
            found.append(Delivery(at, f"{name}-{turn:%dT%H%M}-{'post' if posted else 'file'}", posted, tuple(labels)))
        return found


def _in_order(deliveries: Iterable[Delivery]) -> tuple[Delivery, ...]:
    return tuple(sorted(deliveries, key=lambda each: (each.at, each.name)))


def _one_by_one(begin: datetime, deliveries: Sequence[Delivery]) -> list[Delivery]:
    return [
        Delivery(begin + number * SECOND, each.name, each.posted, each.labels) for number, each in enumerate(deliveries)
    ]
