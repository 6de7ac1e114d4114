"""PART=label-free: estimates without labels against what the labels said later, on real streams where there are any.

Flights are divided at random into rows for the model, the baseline and the stream, so that the relation is the same
everywhere; a window is a mix of fleets (carrier and airport) of its own: the inputs move, as when an endpoint gets
other callers. Elec2 is in time order and its relation drifts: there the estimate must be withdrawn.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.isotonic import IsotonicRegression

from chalicelib.evidence.error_model import estimate_error, fit_error_model
from chalicelib.evidence.gap import Gap, gap_alarms, gap_of, point
from chalicelib.evidence.label_free import Estimate, calibrate, calibrate_for, estimate, realised
from chalicelib.states.row_sample import BASELINE_ROWS, WINDOW_ROWS, RowSample, row_hashes, row_sample
from chalicelib.states.scores import tally
from chalicelib.states.selection import Selection, binary_selection
from trials.evidence.label_free_cost import measure
from trials.evidence.part import Bound, Part, table, upper

ROOT = Path(__file__).resolve().parents[3]
FLIGHTS = "trials/evidence/data/nyc_long_haul_2013.csv.gz"
ELECTRICITY = "examples/electricity/elec.csv.gz"
METRICS = ("auc", "accuracy", "f1")
WINDOWS, ROWS = 40, 5_000
STREAMS, LOOKS = 200, 100
WEEK, WEEKS = 336, 26

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


def run(seed: int) -> Part:
    """Estimates and gaps on flights, on a made regression and on Elec2; costs."""
    random = np.random.Generator(np.random.PCG64(seed))
    parts = [_flights(random), _interaction(random), _electricity(random), _cost(seed)]
    lines = [line for part in parts for line in (*part.lines, "")]
    figures = {name: value for part in parts for name, value in part.figures.items()}
    bounds = [bound for part in parts for bound in part.bounds]
    return Part("label-free", "Quality before the labels come", lines[:-1], figures, bounds)


# Flights --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """Raw features by name, numbers for the model of shape (n, columns), the target, the fleet of each row."""

    features: Mapping[str, Sequence[Any]]
    table: Floats
    target: Floats
    fleets: Places


def _read_flights() -> Stream:
    rows = list(_rows(FLIGHTS))
    dates, hours, weekdays, carriers, origins, dests, distances, minutes = zip(*rows, strict=True)
    days = [_day(date) for date in dates]
    features = {
        "day": days,
        "hour": [int(one) for one in hours],
        "weekday": [int(one) for one in weekdays],
        "carrier": carriers,
        "origin": origins,
        "dest": dests,
        "distance": [int(one) for one in distances],
    }
    columns = [np.unique(np.array(column), return_inverse=True)[1] for column in features.values()]
    fleets = np.unique(np.array([*map("".join, zip(carriers, origins, strict=True))]), return_inverse=True)[1]
    return Stream(features, np.stack(columns, axis=1).astype(float), np.array(minutes, dtype=float), fleets)


def _day(date: str) -> int:
    """Days since the year began."""
    return int((np.datetime64(date) - np.datetime64(date[:4])) / np.timedelta64(1, "D"))


def _flights(random: np.random.Generator) -> Part:
    """PAPE and CBPE of a classifier (is this flight longer than the median of its route?), the error of its minutes."""
    stream = _read_flights()
    routes = [*zip(stream.features["origin"], stream.features["dest"], strict=True)]
    route = np.unique(np.array(["".join(one) for one in routes]), return_inverse=True)[1]
    medians = np.array([np.median(stream.target[route == one]) for one in range(route.max() + 1)])
    late = (stream.target > medians[route]).astype(float)
    order = random.permutation(len(late))
    third = len(order) // 3
    trained, baseline, rest = order[:third], order[third : third + BASELINE_ROWS], order[third + BASELINE_ROWS :]
    model = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(stream.table[trained], late[trained])
    scores = model.predict_proba(stream.table)[:, 1]
    served = (scores > 0.5).astype(float)
    minutes = HistGradientBoostingRegressor(max_iter=60, random_state=0).fit(
        stream.table[trained], stream.target[trained]
    )
    served_minutes = minutes.predict(stream.table)

    def sample(rows: Places, most: int, regression: bool = False) -> RowSample:
        if regression:
            return _sample(rows, stream.features, np.full(len(late), np.nan), served_minutes, stream.target, most)
        return _sample(rows, stream.features, scores, served, late, most)

    before_rows = sample(baseline, BASELINE_ROWS)
    curve = calibrate(tally(scores[baseline], served[baseline], late[baseline]))
    known = realised(_selection(baseline, scores, served, late))
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(scores[baseline], late[baseline])
    errors = fit_error_model(sample(baseline, BASELINE_ROWS, regression=True))
    assert curve is not None and errors is not None
    missed: dict[str, list[list[float]]] = {"baseline": [], "CBPE from rows": [], "CBPE": [], "PAPE": []}
    inside, apart, effective, minutes_missed = [], 0.0, [], []
    for rows in _mixes(rest, stream.fleets, random):
        nothing = _selection(rows, scores, served, np.full(len(late), np.nan))
        truth = realised(_selection(rows, scores, served, late))
        weighted = calibrate_for(before_rows, sample(rows, WINDOW_ROWS))
        found = {"CBPE": estimate(nothing, curve), "PAPE": estimate(nothing, curve, weighted)}
        assert found["PAPE"].method == "PAPE"
        for name, one in found.items():
            missed[name].append([abs(one.metrics[each].value - truth[each]) for each in METRICS])
        missed["baseline"].append([abs(known[each] - truth[each]) for each in METRICS])
        inside.append([_inside(found["PAPE"], each, truth) for each in METRICS])
        effective.append(found["PAPE"].effective)
        from_rows = _from_rows(scores[rows], served[rows], isotonic.predict(scores[rows]))
        missed["CBPE from rows"].append([abs(from_rows[each] - truth[each]) for each in METRICS])
        apart = max(apart, *(abs(from_rows[each] - found["CBPE"].metrics[each].value) for each in METRICS))
        error = float(np.mean(np.abs(stream.target[rows] - served_minutes[rows])))
        # Labels are left out of the sample: the estimate must not see them.
        window = sample(rows, WINDOW_ROWS, regression=True).with_labels(np.zeros(0, dtype=np.uint64), np.zeros(0))
        guessed = estimate_error(errors, window)
        assert guessed is not None
        minutes_missed.append([abs(errors.mean - error), abs(guessed.metrics["mae"].value - error)])
    body: list[Sequence[Any]] = []
    bounds = [Bound("CBPE from score bins and from rows, largest difference of a metric in a window", apart, 1e-4)]
    for name, values in missed.items():
        body.append([name, *(f"{value:.4f}" for value in np.mean(values, axis=0))])
    better = np.array(missed["CBPE"]) - np.array(missed["PAPE"])
    half = 1.96 * better.std(axis=0, ddof=1) / np.sqrt(len(better))
    body.append(
        [
            "CBPE less PAPE, 95 %",
            *(f"{one - h:+.4f} .. {one + h:+.4f}" for one, h in zip(better.mean(axis=0), half, strict=True)),
        ]
    )
    for place, name in enumerate(METRICS):
        both = [float(np.mean(missed[method], axis=0)[place]) for method in ("PAPE", "CBPE")]
        bounds.append(Bound(f"flights, {name}: mean absolute error of PAPE over that of CBPE", both[0] / both[1], 1.0))
    constant, model_error = np.mean(minutes_missed, axis=0).tolist()
    held = ", ".join(f"{share:.0%} ({name})" for share, name in zip(np.mean(inside, axis=0), METRICS, strict=True))
    lines = [
        f"Flights of more than 1,400 miles from New York, 2013: {WINDOWS} windows of {ROWS:,} rows, baseline "
        f"{len(baseline):,}. Is the flight longer than the median of its route? Mean absolute error of the estimates:",
        "",
        *table(["", *METRICS], body),
        "",
        f"PAPE's weighted baseline is worth {min(effective):.0%} to {max(effective):.0%} of its rows. PAPE's 95 % "
        f"bands hold the truth in {held} "
        "of the windows: the bands have no part for the error of the weights. The windows are mixtures of real rows "
        "in which the relation is the same by construction; where it drifts, no estimate of this kind holds.",
        "",
        f"The same flights, error of a model of the minutes in the air (mean {errors.mean:.2f}): the error model "
        f"misses a window's mean error by {model_error:.3f} minutes on average, the baseline's mean by {constant:.3f}.",
    ]
    figures = {
        "flights": {name: np.mean(values, axis=0).tolist() for name, values in missed.items()},
        "flights, CBPE less PAPE": {"mean": better.mean(axis=0).tolist(), "half of the 95 % interval": half.tolist()},
        "flights, minutes": {"constant": constant, "error model": model_error},
    }
    return Part("flights", "", lines, figures, bounds)


def _mixes(rows: Places, fleets: Places, random: np.random.Generator) -> Iterator[Places]:
    """Windows of the stream's rows: each has its own share of each fleet."""
    own = fleets[rows]
    sizes = np.bincount(own)
    for _ in range(WINDOWS):
        shares = random.dirichlet(np.full(len(sizes), 0.5))
        chances = shares[own] / sizes[own]
        yield random.choice(rows, ROWS, replace=False, p=chances / chances.sum())


def _from_rows(scores: Floats, served: Floats, shares: Floats) -> dict[str, float]:
    """CBPE row by row, as it is published: expected cells, and the area from fractional rows in the order of scores."""
    hits, found = float(shares[served == 1].sum()), float(shares.sum())
    right = hits + float((1.0 - shares[served == 0]).sum())
    order = np.argsort(scores, kind="stable")
    _, place = np.unique(scores[order], return_inverse=True)
    positives, negatives = (np.bincount(place, one) for one in (shares[order], 1.0 - shares[order]))
    below = np.cumsum(negatives) - 0.5 * negatives
    return {
        "accuracy": right / len(scores),
        "f1": 2.0 * hits / (float((served == 1).sum()) + found),
        "auc": float((below * positives).sum() / (positives.sum() * negatives.sum())),
    }


# A made regression ----------------------------------------------------------------------------------------------------


def _interaction(random: np.random.Generator) -> Part:
    """The noise is large where two columns are both high; windows move these columns together."""
    names = tuple("abcdef")

    def drawn(count: int, by: float) -> tuple[Floats, Floats, Floats]:
        rows = random.normal(size=(count, len(names)))
        rows[:, :2] += by
        sizes = 1.0 + 4.0 * ((rows[:, 0] > 0.3) & (rows[:, 1] > 0.3))
        served = 10.0 * rows[:, 2] + 5.0 * rows[:, 3]
        return rows, served, served + sizes * random.normal(size=count)

    def sample(rows: Floats, served: Floats, labels: Floats, most: int) -> RowSample:
        features = {name: rows[:, place].tolist() for place, name in enumerate(names)}
        return _sample(np.arange(len(rows)), features, np.full(len(rows), np.nan), served, labels, most)

    model = fit_error_model(sample(*drawn(BASELINE_ROWS, 0.0), BASELINE_ROWS))
    assert model is not None
    missed = []
    for _ in range(WINDOWS):
        rows, served, labels = drawn(ROWS, random.uniform(-0.8, 0.8))
        truth = float(np.mean(np.abs(labels - served)))
        found = estimate_error(model, sample(rows, served, np.full(ROWS, np.nan), WINDOW_ROWS))
        assert found is not None
        missed.append([abs(found.metrics["mae"].value - truth), abs(model.mean - truth)])
    ours, constant = np.mean(missed, axis=0).tolist()
    line = (
        f"A regression whose error is large where two columns are both high, {WINDOWS} windows in which these move: "
        f"the error model misses a window's mean absolute error by {ours:.3f} on average, the baseline's mean by "
        f"{constant:.3f}."
    )
    bound = Bound("regression with an interaction: error of the estimate over the constant's", ours / constant, 0.25)
    return Part("interaction", "", [line], {"interaction": {"error model": ours, "constant": constant}}, [bound])


# Elec2 ----------------------------------------------------------------------------------------------------------------


def _electricity(random: np.random.Generator) -> Part:
    """A model of the first 26 weeks, a baseline of the next 26; then each week is a window."""
    rows = np.array([*_rows(ELECTRICITY)], dtype=float)
    first, second = WEEK * WEEKS, 2 * WEEK * WEEKS
    model = HistGradientBoostingClassifier(random_state=0).fit(rows[:first, :6], rows[:first, 6])
    scores = model.predict_proba(rows[:, :6])[:, 1]
    served, labels = (scores > 0.5).astype(float), rows[:, 6]
    weeks = [np.arange(begin, begin + WEEK) for begin in range(second, len(rows) - WEEK + 1, WEEK)]
    before = np.arange(first, second)

    def gaps(truth: Floats) -> list[tuple[str, int, Gap]]:
        curve = calibrate(tally(scores[before], served[before], truth[before]))
        assert curve is not None
        return [
            (f"week {place + 1}", place, gap_of(_selection(week, scores, served, truth), curve))
            for place, week in enumerate(weeks)
        ]

    alarms = gap_alarms(gaps(labels), LOOKS)
    ends = sorted(int(alarm.last.split()[1]) for alarm in alarms)
    curve = calibrate(tally(scores[before], served[before], labels[before]))
    assert curve is not None
    nothing = np.full(len(labels), np.nan)
    seen = [alarm for alarm in alarms if int(alarm.last.split()[1]) <= 5]
    said = point("week 6", estimate(_selection(weeks[5], scores, served, nothing), curve), None, seen)
    chances = curve.at(np.floor(scores * 1000).astype(np.int64))[0]
    fired = sum(
        bool(gap_alarms(gaps((random.random(len(chances)) < chances).astype(float)), LOOKS)) for _ in range(STREAMS)
    )
    single = len({alarm.first for alarm in alarms if alarm.windows == 1})
    lines = [
        f"Elec2, in time order, {len(weeks)} weeks after the baseline: the gap between estimate and truth is first "
        f"found in week {ends[0] if ends else 'none'}, in {single} single weeks in all. What is said of "
        f'week 6: "{said.note}".',
        "",
        f"Labels of baseline and weeks drawn again from the estimate, {STREAMS} streams: ever a gap in {fired}.",
    ]
    bounds = [
        Bound("Elec2: weeks until the gap is found", float(ends[0]) if ends else float("inf"), 5),
        Bound(
            "Elec2: the estimate of week 6 is withdrawn",
            float(said.note.startswith("withdrawn") and not said.metrics),
            1,
            at_least=True,
        ),
        Bound(
            f"labels drawn again from the estimate, {STREAMS} streams: ever a gap, bound", upper(fired, STREAMS), 0.06
        ),
    ]
    figures = {"Elec2": {"first": ends[0] if ends else None, "weeks": single, "ever, nothing changed": fired / STREAMS}}
    return Part("Elec2", "", lines, figures, bounds)


# Costs ----------------------------------------------------------------------------------------------------------------


def _cost(seed: int) -> Part:
    found = measure(seed)
    line = (
        f"One window of 5,000 rows of 20 features, sample {WINDOW_ROWS:,}, baseline sample {BASELINE_ROWS:,}, from "
        f"stored bytes to PAPE's estimate with its band: processor time of {found['cpu'] / found['orjson']:.0f} "
        f"runs of `orjson.loads` over the window's captures; peak memory {found['peak']:.0f} MB."
    )
    bound = Bound("peak memory of the window's function, MB", found["peak"], 400)
    return Part(
        "cost",
        "",
        [line],
        {"cost": {"orjson.loads runs": found["cpu"] / found["orjson"], "peak MB": found["peak"]}},
        [bound],
    )


def _rows(path: str) -> Iterator[list[str]]:
    with gzip.open(ROOT / path, "rt", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        yield from rows


def _selection(rows: Places, scores: Floats, served: Floats, labels: Floats) -> Selection:
    return binary_selection(scores[rows], served[rows], labels[rows])


def _sample(
    rows: Places, features: Mapping[str, Sequence[Any]], scores: Floats, served: Floats, labels: Floats, most: int
) -> RowSample:
    hashes = row_hashes(rows.astype(np.uint64), np.zeros(len(rows), dtype=np.uint64))
    chosen = {name: [column[row] for row in rows.tolist()] for name, column in features.items()}
    return row_sample(hashes, chosen, scores[rows], served[rows], labels[rows], most)


def _inside(found: Estimate, name: str, truth: Mapping[str, float]) -> bool:
    return found.metrics[name].low <= truth[name] <= found.metrics[name].high
