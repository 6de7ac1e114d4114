"""One seed, one history: what users, models and AWS do, and when. Knows no service, no handler and no fault.

A history is data, so that a part of it can be left out when a failing one is shrunk: every input has an id, and what is
drawn while it is played (`Draws`) depends on the seed and on a name only, never on what was drawn before.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec

# In the evening, so that the day ends in the middle of a history: DAY_ENDS windows after its start.
START = datetime(2026, 1, 5, 18, tzinfo=UTC)
DAY_ENDS = 6
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)

# So many seeds in a row have the same inputs, the same AWS and the same people, and so one calm run; what is hostile
# is drawn for each. A calm run costs more than a hostile one, which finds most of its windows evaluated already.
ALIKE = 4

# What a retraining costs by a later version of the definition.
CHANGED_COST = 0.25

# Seven histories in eight have a scene: they are arranged so that something rare happens. The weights let each
# of the calls that belong to a scene (hostile.AIMS) come up about as often.
SCENES = {"broken": 70, "jobs": 62, "approval": 275, "promotion": 160, "return": 120, "claims": 125, "anew": 40}
SCENES |= {"day": 40, "late": 80}
ARRANGED = 7 / 8

# What answers: the probability of class 1 by the two features of a row.
TOYS: dict[str, Any] = {
    "x": lambda x, z: 0.9 if x > 0.5 else 0.1,
    "z": lambda x, z: 0.9 if z > 0.5 else 0.1,
    "one": lambda x, z: 0.9,
}


class Request(msgspec.Struct, frozen=True):
    """One invocation of one to three rows, of two features each."""

    inference_id: str
    event_id: str
    at: datetime
    rows: tuple[tuple[float, float], ...]


class Capture(msgspec.Struct, frozen=True):
    """A capture file of window `window`. `shape`: good; wide (rows with a column too many); garbage (no JSON)."""

    id: str
    at: datetime
    window: int
    name: str
    requests: tuple[Request, ...]
    shape: str


class Label(msgspec.Struct, frozen=True):
    """`timed`: the entry names the request's inference time."""

    inference_id: str
    data: str
    encoding: str
    inference_time: datetime | None


class Labels(msgspec.Struct, frozen=True):
    """A ground-truth file that arrives, or a call of the webhook."""

    id: str
    at: datetime
    name: str
    entries: tuple[Label, ...]
    webhook: bool


class AlarmChange(msgspec.Struct, frozen=True):
    id: str
    at: datetime
    name: str
    state: str


class Deployment(msgspec.Struct, frozen=True):
    """Somebody else deploys a configuration of their own."""

    id: str
    at: datetime
    number: int


class NewVersion(msgspec.Struct, frozen=True):
    """The definition is added again with another policy."""

    id: str
    at: datetime
    policy: dict[str, Any]


class Job(msgspec.Struct, frozen=True):
    """An execution of an existing Model Monitor schedule ends."""

    id: str
    at: datetime
    name: str
    status: str
    violations: int


class Hold(msgspec.Struct, frozen=True):
    """A person pauses the monitor; `ends`: when the pause ends by itself, `resumed`: when the person ends it before."""

    id: str
    at: datetime
    ends: datetime
    resumed: datetime | None


class Anew(msgspec.Struct, frozen=True):
    """A person has the windows from `first` on that can be rebuilt derived again, `count` of them at most."""

    id: str
    at: datetime
    first: int
    count: int


Input = Capture | Labels | AlarmChange | Deployment | NewVersion | Job | Hold | Anew


class History(msgspec.Struct, frozen=True, kw_only=True):
    """`seed` names what is hostile, `inputs_seed` everything else.

    `drift`: the window from which on the truth is another one; `back`: from which on it is the first again.

    `effects` False: the policy only alerts, so that what is derived must equal the calm run's bytes. `lossy`: events of
    S3 may be lost; then files stay, and every window is looked at a second time. Otherwise the horizon is so long that
    the second look comes after the history's end, and cannot hide what the first should have seen; and a lifecycle rule
    deletes some files after `captures_kept` and `labels_kept`. `scene`: one of SCENES or "".
    """

    seed: int
    inputs_seed: int
    windows: int
    effects: bool
    drift: int
    back: int
    policy: dict[str, Any]
    slow: bool
    horizon: str
    tick: int
    lossy: bool
    captures_kept: timedelta
    labels_kept: timedelta
    scene: str
    inputs: tuple[Input, ...]

    @property
    def end(self) -> datetime:
        """When the last input has come and its arrival hour is over."""
        last = max((each.at for each in self.inputs), default=START)
        return max(hour(self.windows), START + ((last - START) // HOUR + 1) * HOUR)

    def truth(self, window: int) -> str:
        return "z" if self.drift <= window < self.back else "x"


class Draws:
    """Chance by name: the same seed and name draw the same, whatever else was drawn or left out."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of(self, *name: object) -> random.Random:
        return random.Random("|".join(map(str, (self._seed, *name))))

    def chosen(self, share: float, *name: object) -> bool:
        """True for this share of the names: one number, without a generator, which takes long to seed."""
        digest = blake2b("|".join(map(str, (self._seed, *name))).encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big") < share * 2**48


def hour(number: int) -> datetime:
    """The start of window `number`."""
    return START + number * HOUR


def draw_history(seed: int) -> History:
    """Draw a whole history."""
    inputs_seed = seed // ALIKE
    draw = Draws(inputs_seed).of("history")
    set_up = Draws(inputs_seed).of("scene")
    scene = set_up.choices(list(SCENES), list(SCENES.values()))[0] if set_up.random() < ARRANGED else ""
    loop = scene in ("approval", "promotion", "return", "claims")
    windows = draw.randint(8 if loop else 6, 14) + (3 if scene == "return" else 0)
    effects = draw.random() < 0.5 or loop
    drift = 3 if loop else draw.randint(3, max(3, windows // 2))
    back = drift + draw.randint(3, 6) if draw.random() < 0.4 or scene == "return" else windows + 99
    # Captures that come hours after their window are found by their events alone, so none may be lost.
    lossy = (draw.random() < 0.5 or scene == "late") and scene != "day"
    short = lossy and (draw.random() < 0.4 or scene == "late")
    # One label file a window, and nothing after it that could heal what went wrong.
    plain = draw.random() < 0.3 and scene not in ("day", "late")
    inputs = _Inputs(draw, START)
    for window in range(windows):
        _traffic(inputs, draw, window, windows, drift, back, short, plain, scene)
    if loop and set_up.random() < 0.7:
        inputs.add(AlarmChange, hour(4) + set_up.randint(1, 100) * MINUTE, name="accuracy-low", state="ALARM")
    elif draw.random() < 0.5:
        _alarms(inputs, draw, windows)
    if draw.random() < (0.25 if effects else 0.15):
        inputs.add(Deployment, hour(draw.randint(1, windows - 1)) + draw.randint(1, 59) * MINUTE, number=1)
    if draw.random() < 0.25:
        changes = {"cost": CHANGED_COST, **({"min_labelled_rows": draw.randint(1, 4)} if effects else {})}
        inputs.add(NewVersion, hour(draw.randint(1, windows - 1)) + draw.randint(1, 59) * MINUTE, policy=changes)
    if draw.random() < 0.3 or scene == "jobs":
        for number in range(draw.randint(1, 3)):
            status = draw.choice(["Completed", "Completed", "Failed"])
            inputs.add(
                Job,
                hour(draw.randint(1, windows)) + draw.randint(1, 59) * MINUTE,
                name=f"model-monitoring-{number:02d}",
                status=status,
                violations=draw.randint(0, 2),
            )
    _people(inputs, Draws(inputs_seed).of("people"), windows, scene)
    policy = {
        # Few rows, short histories: the laws are about effects, whatever asks for them.
        "rule": "excess",
        "retrain": effects,
        "roll_back": effects,
        "promotion": "manual" if scene == "approval" or (draw.random() < 0.3 and not loop) else "auto",
        "min_labelled_rows": 2,
        "min_label_coverage": 0.4,
        "reference_windows": draw.choice([1, 2]),
        "cool_down_windows": draw.choice([0, 1, 2, 2, 3]),
        "holdback_windows": draw.choice([1, 2]),
        "training_windows": 4,
        "half_life_windows": 2.0,
        "shrinkage": 0.5,
        "pool_size": draw.choice([2, 10] if scene == "return" else [0, 1, 2, 10]),
        "sample_rows": draw.choice([2, 4, 64]),
    }
    return History(
        seed=seed,
        inputs_seed=inputs_seed,
        windows=windows,
        effects=effects,
        drift=drift,
        back=back,
        policy=policy,
        slow=draw.random() < 0.3,
        horizon="PT10H" if lossy else "P2D",
        tick=draw.choice([5, 7, 10]),
        lossy=lossy,
        captures_kept=5 * HOUR,
        # Longer than any capture is late and than labels wait for a daily restatement; S3 counts in days.
        labels_kept=(draw.randint(27, 31) + (9 if scene == "day" else 0)) * HOUR,
        scene=scene,
        inputs=tuple(sorted(inputs.found, key=lambda each: each.at)),
    )


class _Inputs:
    """Collects inputs; no two come in the same second, so that "later" always means something."""

    def __init__(self, draw: random.Random, start: datetime) -> None:
        self._draw, self._start, self._taken = draw, start, set[datetime]()
        self.found: list[Input] = []

    def add(self, kind: Any, at: datetime, name: str = "", **fields: Any) -> None:
        at = max(at, self._start + MINUTE).replace(microsecond=0)
        while at in self._taken:
            at += SECOND
        self._taken.add(at)
        identity = f"{kind.__name__} {name} {len(self.found)}"
        if name:
            fields["name"] = name
        self.found.append(kind(id=identity, at=at, **fields))


def _traffic(
    inputs: _Inputs,
    draw: random.Random,
    window: int,
    windows: int,
    drift: int,
    back: int,
    short: bool,
    plain: bool,
    scene: str,
) -> None:
    """The requests of a window, their capture files and their labels.

    In the scene "day" parts of both come when the day that they are of is long over; in the scene "late" many captures
    come after their labels, and many labels after the seal.
    """
    overdue = scene == "day" and window < DAY_ENDS
    broken = 0.3 if scene == "broken" else 0.03
    if draw.random() < 0.05:
        return  # silence
    count = draw.randint(3, 6)
    requests = [
        Request(
            inference_id=f"r{window}-{number}",
            event_id=f"{window:04x}{number:04x}{draw.getrandbits(32):08x}",
            at=hour(window) + (number * 55 // count) * MINUTE + draw.randint(0, 59) * SECOND,
            rows=tuple((round(draw.random(), 3), round(draw.random(), 3)) for _ in range(draw.choice([1, 1, 1, 2, 3]))),
        )
        for number in range(count)
    ]
    files = 3 if overdue else draw.randint(1, min(3, count))
    size = -(-count // files)
    for number, first in enumerate(range(0, count, size)):
        part = requests[first : first + size]
        late = timedelta()
        if draw.random() < (0.5 if scene == "late" else 0.15):
            late = draw.choice([3, 10, 40, 90, 200]) * MINUTE
        shape = draw.choice(["wide", "garbage"]) if draw.random() < broken else "good"
        at = part[-1].at + draw.randint(5, 90) * SECOND + late
        if overdue and number and draw.random() < 0.9:
            at = hour(DAY_ENDS + 2) + draw.randint(20, 150) * MINUTE
        inputs.add(
            Capture,
            at,
            f"{window:02d}-{number:02d}",
            window=window,
            requests=tuple(part),
            shape=shape,
        )
    _labels(inputs, draw, window, windows, requests, "z" if drift <= window < back else "x", short, plain, scene)


def _labels(
    inputs: _Inputs,
    draw: random.Random,
    window: int,
    windows: int,
    requests: list[Request],
    truth: str,
    short: bool,
    plain: bool,
    scene: str,
) -> None:
    overdue = scene == "day" and window < DAY_ENDS
    batches: dict[tuple[str, datetime], list[tuple[Request, bool]]] = {}
    usual = hour(window + 1) + draw.randint(-20, 40) * MINUTE
    # Late enough to come after the lifecycle rule; in the last windows not so late, for every hour must be played.
    late = hour(window + 1) + draw.choice([60, 120, 200, *([330] * (windows - window > 3))]) * MINUTE
    late += draw.randint(0, 30) * MINUTE
    if overdue:
        late = hour(DAY_ENDS + 2) + draw.randint(2, 230) * MINUTE
    for request in requests:
        kind = draw.random()
        if kind < 0.07:
            continue  # never
        soon = max(request.at + MINUTE, usual)
        if kind < 0.12:
            batches.setdefault(("early", request.at + 5 * SECOND), []).append((request, True))
        elif kind < (0.5 if overdue else 0.22):
            batches.setdefault(("late", late), []).append((request, True))
        elif kind < (0.58 if overdue else 0.30):
            batches.setdefault(("usual", soon), []).append((request, False))
            batches.setdefault(("corrected", late + 7 * MINUTE), []).append((request, True))
        else:
            batches.setdefault(("usual", soon), []).append((request, True))
            if draw.random() < 0.06:
                batches.setdefault(("repeated", late - 9 * MINUTE), []).append((request, True))
        if short and draw.random() < (0.2 if scene == "late" else 0.03):
            batches.setdefault(("too-late", hour(window + 1) + 11 * HOUR), []).append((request, False))
    if plain:
        batches = {
            ("usual", hour(window + 1) + draw.randint(2, 25) * MINUTE): [(request, True) for request in requests]
        }
    merged: dict[str, tuple[datetime, list[tuple[Request, bool]]]] = {}
    for (kind, at), found in batches.items():
        first, others = merged.get(kind, (at, []))
        merged[kind] = (max(first, at), others + found)
    for kind, (at, found) in merged.items():
        timed = not plain and draw.random() < (0.1 if overdue else 0.4)
        entries = tuple(_entry(request, truth, right, timed) for request, right in found)
        inputs.add(Labels, at, f"{kind}-{window:02d}", entries=entries, webhook=draw.random() < 0.25)


def _entry(request: Request, truth: str, right: bool, timed: bool) -> Label:
    values = [int((TOYS[truth](x, z) > 0.5) == right) for x, z in request.rows]
    data, encoding = (json.dumps(values), "JSON") if len(values) > 1 else (str(values[0]), "CSV")
    return Label(request.inference_id, data, encoding, request.at if timed else None)


def _alarms(inputs: _Inputs, draw: random.Random, windows: int) -> None:
    """Alarms flip; the veto is over before the end, or nothing could be said about what must happen."""
    for name in draw.sample(["accuracy-low", "deploying", "latency"], draw.randint(1, 3)):
        at = hour(draw.randint(0, windows - 2)) + draw.randint(1, 59) * MINUTE
        for _ in range(draw.randint(1, 2)):
            inputs.add(AlarmChange, at, name=name, state="ALARM")
            at += draw.randint(1, 150) * MINUTE
            inputs.add(AlarmChange, at, name=name, state="OK")
            at += draw.randint(1, 100) * MINUTE


def _people(inputs: _Inputs, draw: random.Random, windows: int, scene: str) -> None:
    """What operators do beside: a pause, over long before the end, or nothing could be said about what must happen."""
    if draw.random() < 0.15:
        at = hour(draw.randint(2, windows - 4)) + draw.randint(1, 59) * MINUTE
        lasts = draw.choice([25, 70, 130]) * MINUTE
        inputs.add(Hold, at, ends=at + lasts, resumed=at + lasts / 2 if draw.random() < 0.5 else None)
    for _ in range(2 if scene == "anew" else draw.random() < 0.1):
        at = hour(draw.randint(3, windows)) + draw.randint(1, 59) * MINUTE
        inputs.add(Anew, at, first=draw.randint(0, windows - 3), count=draw.randint(1, 3))


def inputs_of(history: History, kind: Any, removed: Iterable[str] = ()) -> list[Any]:
    """The inputs of one kind that are left, in the order of their coming."""
    gone = set(removed)
    return [each for each in history.inputs if isinstance(each, kind) and each.id not in gone]
