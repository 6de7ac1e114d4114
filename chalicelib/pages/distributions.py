"""The page's part about features: each one's distribution in the window against the baseline's.

Reads statistics.json of data quality (model-monitor formats, section 5.1), also Model Monitor's own. The distance that
orders the charts is the plain one (section 5.4). Not here: what is violated, which is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from chalicelib.monitors.data_quality import categorical_distance, numeric_distance
from chalicelib.pages import charts
from chalicelib.pages.charts import Pair, Weighted
from chalicelib.pages.markup import Markup, clipped, element, figure, foreign, joined, plural, share
from chalicelib.states.categories import Categories, counts_in
from chalicelib.states.quantiles import weighted
from chalicelib.states.serialization import MOST_ROWS

# People read the page: of 10,000 columns the first ones are enough.
CHARTS = 100
# Categories or whole numbers shown in one chart; the rest is one line.
MOST_BARS = 8

Document = Mapping[str, Any]

# More rows than any data set has; their sums are still exact.
_Count = Annotated[float, msgspec.Meta(ge=0, le=MOST_ROWS)]


class _Bucket(msgspec.Struct, frozen=True):
    lower_bound: float
    upper_bound: float
    count: _Count


class _Sketch(msgspec.Struct, frozen=True):
    # An item of level i stands for 2^i rows.
    data: Annotated[list[list[float]], msgspec.Meta(max_length=40)] | None = None


class _Kll(msgspec.Struct, frozen=True):
    buckets: list[_Bucket] = []
    sketch: _Sketch = _Sketch()


class _Category(msgspec.Struct, frozen=True):
    value: str | int | float | bool | None
    count: _Count


class _Categorical(msgspec.Struct, frozen=True):
    buckets: list[_Category] = []


class _Distribution(msgspec.Struct, frozen=True):
    kll: _Kll = _Kll()
    categorical: _Categorical = _Categorical()


class _Common(msgspec.Struct, frozen=True):
    num_present: _Count = 0
    num_missing: _Count = 0


class _Described(msgspec.Struct, frozen=True):
    """The drawn part of a feature's `numerical_statistics` or `string_statistics`."""

    common: _Common = _Common()
    mean: float | None = None
    std_dev: float | None = None
    min: float | None = None
    max: float | None = None
    distinct_count: float | None = None
    distribution: _Distribution = _Distribution()


class _Statistics(msgspec.Struct, frozen=True):
    """One feature of statistics.json, by any writer; one of another layout is not drawn."""

    inferred_type: str = "Unknown"
    numerical_statistics: _Described | None = None
    string_statistics: _Described | None = None


class _Side(NamedTuple):
    """One side of a feature: its statistics, and its numbers or categories as far as they are known."""

    kind: str
    described: _Described
    is_numeric: bool
    numbers: Weighted | None
    categories: Categories | None
    not_numbers: int


class _Feature(NamedTuple):
    name: str
    live: _Side
    baseline: _Side | None
    distance: float | None
    in_baseline: bool


def distributions(live: Document, baseline: Document | None, violated: Mapping[str, Sequence[str]]) -> Markup:
    """Charts of the features in `live` against `baseline` (statistics.json each), violated and most drifted first.

    `violated` maps features to their checks. At most `CHARTS` are drawn, and the page says how many are not.
    """
    before = {feature["name"]: feature for feature in (baseline or {}).get("features") or []}
    features = [_feature(one, before.get(one["name"])) for one in live["features"]]
    order = sorted(
        range(len(features)),
        key=lambda place: (features[place].name not in violated, -(features[place].distance or 0.0), place),
    )
    shown = [features[place] for place in order[:CHARTS]]
    said = [f"{plural(len(features), 'feature')} of {plural(live['dataset']['item_count'], 'row')}"]
    if baseline:
        rows = _rows(baseline)
        said.append(f"against {plural(rows, 'row')} of the baseline" if rows else "against the baseline")
        order_said = (
            "Violated features come first, then those that moved most. The gap is the greatest difference between both "
            "distribution functions of numbers, or both shares of a category, without a correction for small samples."
        )
    else:
        order_said = "There is no baseline to compare with."
    left = len(features) - len(shown)
    parts = [
        element("p", f"{' '.join(said)}. {order_said}"),
        charts.key(bool(before)),
        element("div", [_card(one, violated.get(one.name, ())) for one in shown], class_="cards"),
    ]
    if left:
        limit = f"At most {CHARTS} are drawn: {plural(left, 'further feature is', 'further features are')} left out."
        parts.insert(1, element("p", limit, class_="right"))
    return joined(parts)


def _feature(live: Document, baseline: Document | None) -> _Feature:
    now = _side(live) or _Side("Unknown", _Described(), False, None, None, 0)
    before = _side(baseline) if baseline else None
    if before and before.numbers is not None and now.numbers is None:
        # One value that is not a number makes the whole column text: its numbers are still worth drawing.
        now = _with_numbers(now)
    distance = None
    if before and _drawable(before.numbers) and _drawable(now.numbers):
        assert before.numbers is not None and now.numbers is not None
        distance = numeric_distance(before.numbers, now.numbers, robust=False)
    elif before and before.categories and now.categories and before.categories.total and now.categories.total:
        distance = categorical_distance(before.categories, now.categories, robust=False)
    return _Feature(live["name"], now, before, distance, baseline is not None)


def _side(feature: Document) -> _Side | None:
    """One side of a feature; None where its statistics have another layout."""
    try:
        read = msgspec.convert(feature, _Statistics)
    except (msgspec.ValidationError, OverflowError):
        return None
    if read.numerical_statistics is not None:
        described = read.numerical_statistics
        return _Side(read.inferred_type, described, True, _numbers(described.distribution.kll), None, 0)
    described = read.string_statistics or _Described()
    buckets = described.distribution.categorical.buckets
    counts = {str(bucket.value): int(bucket.count) for bucket in buckets if bucket.count >= 1}
    more = max(0, int(described.common.num_present) - sum(counts.values())) if counts else 0
    return _Side(read.inferred_type, described, False, None, Categories(tuple(sorted(counts.items())), more), 0)


def _numbers(kll: _Kll) -> Weighted:
    if kll.sketch.data:
        return weighted([np.array(level, dtype=np.float64) for level in kll.sketch.data])
    # A file without its sketch: each bucket stands at its middle.
    buckets = sorted((bucket.lower_bound / 2 + bucket.upper_bound / 2, int(bucket.count)) for bucket in kll.buckets)
    filled = [bucket for bucket in buckets if bucket[1]]
    return np.array([middle for middle, _ in filled]), np.array([rows for _, rows in filled], dtype=np.int64)


def _with_numbers(side: _Side) -> _Side:
    assert side.categories is not None
    found = []
    for value, rows in side.categories.counts:
        try:
            number = float(value)
        except ValueError:
            continue
        if math.isfinite(number) and "_" not in value:
            found.append((number, rows))
    if not found:
        return side
    found.sort()
    numbers = np.array([number for number, _ in found]), np.array([rows for _, rows in found], dtype=np.int64)
    return side._replace(numbers=numbers, not_numbers=side.categories.total - int(numbers[1].sum()))


def _drawable(numbers: Weighted | None) -> bool:
    return numbers is not None and len(numbers[0]) > 0


def _card(one: _Feature, checks: Sequence[str]) -> Markup:
    about = [one.live.kind]
    if one.baseline and one.baseline.kind != one.live.kind:
        about[0] += f" (baseline: {one.baseline.kind})"
    if one.distance is not None:
        about.append(f"greatest gap {figure(one.distance)}")
    if one.baseline is None:
        about.append("not drawable from the baseline" if one.in_baseline else "not in the baseline")
    about += _missing(one)
    parts = [element("h3", foreign(one.name)), element("p", " · ".join(about), class_="quiet")]
    if checks:
        parts.append(element("p", f"▲ Violation: {', '.join(checks)}", class_="flag"))
    parts.append(_chart(one))
    if one.live.not_numbers:
        values = plural(one.live.not_numbers, "live value is", "live values are")
        rest = f"{values} not a number, or not listed: not drawn."
        parts.append(element("p", rest, class_="quiet"))
    parts.append(_summary(one))
    return element("section", parts, class_="card hit" if checks else "card")


def _chart(one: _Feature) -> Markup:
    before, now = one.baseline, one.live
    if _drawable(now.numbers) or (before and _drawable(before.numbers)):
        old = before.numbers if before and _drawable(before.numbers) else None
        new = now.numbers if _drawable(now.numbers) else None
        if pairs := _few_values(old, new):
            return charts.bars(f"Shares of the values of {one.name}", pairs)
        return charts.histogram(_spoken(one), old, new)
    if before and before.categories is None:
        return element("p", "The baseline has numbers here, live has none.")
    pairs = _shares_of(before.categories if before else None, now.categories)
    if not pairs:
        return element("p", "No values in this window.")
    return charts.bars(f"Shares of the categories of {one.name}", pairs)


def _few_values(baseline: Weighted | None, live: Weighted | None) -> list[Pair]:
    """A bar for each value when there are few (a one-hot column, a grade); else nothing."""
    sides = [side for side in (baseline, live) if side is not None]
    values: list[float] = np.unique(np.concatenate([side[0] for side in sides])).tolist()
    if len(values) > MOST_BARS:
        return []

    def part(side: Weighted | None, value: float) -> float | None:
        if side is None:
            return None
        return float(side[1][side[0] == value].sum() / side[1].sum())

    return [Pair(figure(value), part(baseline, value), part(live, value)) for value in values]


def _shares_of(baseline: Categories | None, live: Categories | None) -> list[Pair]:
    """The categories with the greatest share on either side, and one bar for all others.

    A value that one side does not list, but may have, has no bar there.
    """
    sides = [side if side and side.total else None for side in (baseline, live)]
    names = sorted({name for side in sides if side for name, _ in side.counts})
    counts = [counts_in(side, names) if side else dict.fromkeys(names) for side in sides]
    totals = [side.total if side else 0 for side in sides]

    def part(side: int, name: str) -> float | None:
        count = counts[side][name]
        return None if count is None else count / totals[side]

    pairs = [Pair(name, part(0, name), part(1, name)) for name in names]
    pairs.sort(key=lambda pair: (-max(pair.baseline or 0.0, pair.live or 0.0), pair.name))
    shown, rest = pairs[:MOST_BARS], pairs[MOST_BARS:]
    others = [
        None if state is None else max(0.0, 1.0 - math.fsum((pair.baseline, pair.live)[side] or 0.0 for pair in shown))
        for side, state in enumerate(sides)
    ]
    if rest or any((other or 0.0) > 1e-9 for other in others):
        shown.append(Pair("(all others)", others[0], others[1]))
    return shown


def _spoken(one: _Feature) -> str:
    parts = [f"Distribution of {clipped(one.name)}."]
    for title, side in (("Baseline", one.baseline), ("Live", one.live)):
        if side and _drawable(side.numbers):
            assert side.numbers is not None
            values = side.numbers[0]
            middle = figure(_median(side.numbers))
            parts.append(f"{title}: median {middle}, from {figure(float(values[0]))} to {figure(float(values[-1]))}.")
    return " ".join(parts)


def _median(numbers: Weighted) -> float:
    below = np.cumsum(numbers[1])
    return float(numbers[0][int(np.searchsorted(below, below[-1] / 2))])


def _summary(one: _Feature) -> Markup:
    numeric = any(side.is_numeric for side in (one.baseline, one.live) if side)
    heads = ["mean", "std dev", "min", "max"] if numeric else ["values", "distinct"]
    rows = []
    for title, side in (("baseline", one.baseline), ("live", one.live)):
        if side is None:
            continue
        if numeric:
            cells = [_figure(getattr(side.described, name)) for name in ("mean", "std_dev", "min", "max")]
        else:
            cells = [_figure(side.described.common.num_present), _figure(side.described.distinct_count)]
        rows.append(
            element("tr", element("th", title, scope="row"), [element("td", each, class_="n") for each in cells])
        )
    columns = [element("th", head, scope="col", class_="n") for head in heads]
    return element(
        "table",
        element("caption", element("span", f"Figures of {clipped(one.name)}", class_="unseen")),
        element("thead", element("tr", element("td", ""), columns)),
        element("tbody", rows),
    )


def _missing(one: _Feature) -> list[str]:
    """The share of rows without a value, unless it is zero on both sides."""
    parts = []
    for side in (one.baseline, one.live):
        if side is not None:
            common = side.described.common
            parts.append(common.num_missing / (common.num_missing + common.num_present) if common.num_missing else 0.0)
    return [f"missing {' → '.join(map(share, parts))}"] if any(parts) else []


def _rows(statistics: Document) -> int | None:
    dataset = statistics.get("dataset")
    count = dataset.get("item_count") if isinstance(dataset, Mapping) else None
    return int(count) if isinstance(count, int | float) and 0 < count <= MOST_ROWS else None


def _figure(value: Any) -> str:
    return "-" if value is None else figure(value)
