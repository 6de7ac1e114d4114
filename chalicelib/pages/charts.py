"""Small charts as inline SVG, each with a text alternative.

Series are arrays and are thinned to what a screen can show. Not here: colours and strokes (style.py), which numbers are
good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chalicelib.pages.markup import Markup, clipped, element, figure, foreign, joined, share

Floats = npt.NDArray[np.float64]
# Sorted values, and how many rows each stands for.
Weighted = tuple[Floats, npt.NDArray[np.int64]]

BINS = 24
# Points of a curve that are closer to the last drawn one than this share of the axis are skipped.
_STEP = 0.004
_MOST_POINTS = 600
# The axis omits the outermost half percent on each side when the full range would be this many times longer.
_TAIL = 0.005
_STRETCH = 4.0

_WIDTH, _HEIGHT = 320, 130
_SIDE = 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 46, 8, 8, 34


class Pair(NamedTuple):
    """A category or value with its shares, None where a side has none."""

    name: str
    baseline: float | None
    live: float | None


def key(baseline: bool, line: bool = False) -> Markup:
    """The legend of the two kinds of marks."""
    live = _sample(element("line", x1="0", y1="7", x2="28", y2="7", class_="l-line"), "live, this window")
    if not baseline:
        return element("p", live, class_="quiet")
    if line:
        mark = element("line", x1="0", y1="7", x2="28", y2="7", class_="b-line")
    else:
        mark = element("rect", x="1", y="2", width="26", height="10", class_="b-area")
        live = _sample(
            joined(
                element("line", x1="0", y1="4", x2="28", y2="4", class_="l-line"),
                element("rect", x="0", y="8", width="28", height="5", class_="l-bar"),
            ),
            "live, this window",
        )
    return element("p", _sample(mark, "baseline"), live, class_="quiet")


def histogram(label: str, baseline: Weighted | None, live: Weighted | None) -> Markup:
    """Shares of rows in `BINS` equal bins of one axis: the baseline as an area, live as a line.

    `label` is the chart's text alternative. Far tails are left out of the axis, with a note.
    """
    sides = [side for side in (baseline, live) if side is not None and len(side[0])]
    if not sides:
        return joined()
    low, high, cut = _axis(sides)
    # Not low + part * width: the whole width of -1e308 to 1e308 is no float64.
    part = np.arange(BINS + 1) / BINS
    edges = low * (1 - part) + high * part
    shapes = [(side, _shares(side, edges)) for side in sides]
    top = max(float(shares.max()) for _, shares in shapes) or 1.0
    plot_bottom, plot_height = _HEIGHT - 20, _HEIGHT - 20 - 18
    width = (_WIDTH - 2) / BINS
    drawn = []
    for side, shares in shapes:
        tops = plot_bottom - shares / top * plot_height
        path = f"M1 {_n(plot_bottom)}" + "".join(
            f"V{_n(y)}H{_n(1 + (place + 1) * width)}" for place, y in enumerate(tops)
        )
        path += f"V{_n(plot_bottom)}"
        drawn.append(element("path", d=path, class_="b-area" if side is baseline else "l-line"))
    texts = [
        element("text", f"{share(top)} of rows", x="1", y="10"),
        element("text", figure(low), x="1", y=_HEIGHT - 6),
        element("text", figure(high), x=_WIDTH - 1, y=_HEIGHT - 6, text_anchor="end"),
    ]
    if cut:
        texts.append(element("text", "tails left out", x=_WIDTH / 2, y=_HEIGHT - 6, text_anchor="middle"))
    axis = element("line", x1="0", y1=plot_bottom, x2=_WIDTH, y2=plot_bottom, class_="axis")
    return _svg(label, _WIDTH, _HEIGHT, axis, drawn, texts)


def bars(caption: str, pairs: Sequence[Pair], heading: str = "Value", numbers: bool = False) -> Markup:
    """A table with a hollow bar for the baseline and a filled one for live beside the numbers.

    Shares are written as percentages, with `numbers` as figures; bars are as long as their part of the greatest.
    """
    greatest = max((value for pair in pairs for value in pair[1:] if value is not None), default=0.0) or 1.0
    spell = figure if numbers else share
    both = any(pair.baseline is not None for pair in pairs)
    rows = []
    for pair in pairs:
        marks = []
        if both:
            marks.append(_bar(pair.baseline, greatest, 1, "b-bar"))
        marks.append(_bar(pair.live, greatest, 11, "l-bar"))
        chart = element("svg", marks, viewBox="0 0 120 20", preserveAspectRatio="none", height="20", aria_hidden="true")
        cells = [element("th", foreign(pair.name), scope="row"), element("td", chart, class_="bar")]
        if both:
            cells.append(element("td", "-" if pair.baseline is None else spell(pair.baseline), class_="n"))
        cells.append(element("td", "-" if pair.live is None else spell(pair.live), class_="n"))
        rows.append(element("tr", cells))
    heads = [element("th", heading, scope="col"), element("td", "")]
    if both:
        heads.append(element("th", "baseline", scope="col", class_="n"))
    heads.append(element("th", "live", scope="col", class_="n"))
    return element(
        "table",
        element("caption", element("span", clipped(caption), class_="unseen")),
        element("thead", element("tr", heads)),
        element("tbody", rows),
        class_="bars",
    )


def curves(
    label: str,
    x_title: str,
    y_title: str,
    live: tuple[Floats, Floats],
    baseline: tuple[Floats, Floats] | None,
    guide: str,
) -> Markup:
    """Curves in the unit square; `guide`: "diagonal" draws chance, a number as text a level, "" nothing."""
    drawn = []
    if guide == "diagonal":
        drawn.append(element("path", d=_line(np.array([0.0, 1.0]), np.array([0.0, 1.0])), class_="guide"))
    elif guide:
        level = float(guide)
        drawn.append(element("path", d=_line(np.array([0.0, 1.0]), np.array([level, level])), class_="guide"))
    if baseline is not None:
        drawn.append(element("path", d=_line(*thinned(*baseline)), class_="b-line"))
    drawn.append(element("path", d=_line(*thinned(*live)), class_="l-line"))
    return _svg(label, _SIDE, _SIDE, _square(x_title, y_title), drawn)


def reliability(label: str, bins: Sequence[tuple[int, float, float]]) -> Markup:
    """Share of label 1 against mean score per bin (rows, mean score, share), with 95 % Wilson ranges.

    A dot's area grows with its rows.
    """
    drawn = [element("path", d=_line(np.array([0.0, 1.0]), np.array([0.0, 1.0])), class_="guide")]
    most = max((rows for rows, _, _ in bins), default=1)
    for rows, score, positive in bins:
        low, high = wilson(positive, rows)
        x = _x(score)
        drawn.append(element("line", x1=x, y1=_y(low), x2=x, y2=_y(high), class_="l-range"))
    for rows, score, positive in bins:
        drawn.append(element("circle", cx=_x(score), cy=_y(positive), r=3 + 5 * math.sqrt(rows / most), class_="l-dot"))
    return _svg(label, _SIDE, _SIDE, _square("mean score", "share of label 1"), drawn)


def wilson(positive: float, rows: int) -> tuple[float, float]:
    """The 95 % range of a share observed in `rows` rows (Wilson, 1927: Probable inference, JASA 22)."""
    z = 1.959963984540054
    center = positive + z * z / (2 * rows)
    spread = z * math.sqrt(positive * (1 - positive) / rows + z * z / (4 * rows * rows))
    whole = 1 + z * z / rows
    return max(0.0, (center - spread) / whole), min(1.0, (center + spread) / whole)


def thinned(xs: Floats, ys: Floats) -> tuple[Floats, Floats]:
    """The points of a curve that differ on a screen: both ends, and each that is far enough from the last one kept."""
    kept = [0]
    for place in range(1, len(xs) - 1):
        last = kept[-1]
        if abs(xs[place] - xs[last]) >= _STEP or abs(ys[place] - ys[last]) >= _STEP:
            kept.append(place)
    if len(xs) > 1:
        kept.append(len(xs) - 1)
    if len(kept) > _MOST_POINTS:
        kept = [kept[round(place)] for place in np.linspace(0, len(kept) - 1, _MOST_POINTS).tolist()]
    return xs[kept], ys[kept]


def _axis(sides: Sequence[Weighted]) -> tuple[float, float, bool]:
    low = min(float(values[0]) for values, _ in sides)
    high = max(float(values[-1]) for values, _ in sides)
    inner = [_quantile(side, _TAIL) for side in sides], [_quantile(side, 1 - _TAIL) for side in sides]
    near, far = min(inner[0]), max(inner[1])
    # Halves, for the same reason.
    if far > near and high / 2 - low / 2 > _STRETCH * (far / 2 - near / 2):
        low, high = near, far
        return low, high, True
    if low == high:
        room = abs(low) / 2 or 0.5
        return low - room, high + room, False
    return low, high, False


def _quantile(side: Weighted, part: float) -> float:
    values, weights = side
    below = np.cumsum(weights)
    return float(values[int(np.searchsorted(below, part * below[-1]))])


def _shares(side: Weighted, edges: Floats) -> Floats:
    """Rows per bin as a share of all rows; lower edges inclusive, the last bin with both."""
    values, weights = side
    below = np.concatenate([np.zeros(1), np.cumsum(weights)])
    places = np.searchsorted(values, edges, side="left")
    places[-1] = np.searchsorted(values, edges[-1], side="right")
    shares: Floats = np.diff(below[places]) / below[-1]
    return shares


def _bar(value: float | None, greatest: float, y: int, kind: str) -> Markup:
    if not value:
        return joined()
    return element("rect", x="0.5", y=y, width=max(1.0, 119 * value / greatest), height="8", class_=kind)


def _square(x_title: str, y_title: str) -> Markup:
    right, bottom = _SIDE - _RIGHT, _SIDE - _BOTTOM
    ticks = []
    for tick in (0.0, 0.5, 1.0):
        ticks.append(element("text", f"{tick:g}", x=_x(tick), y=bottom + 14, text_anchor="middle"))
        ticks.append(element("text", f"{tick:g}", x=_LEFT - 6, y=_y(tick) + 4, text_anchor="end"))
    middle = (_TOP + bottom) / 2
    return joined(
        element("rect", x=_LEFT, y=_TOP, width=right - _LEFT, height=bottom - _TOP, class_="axis"),
        ticks,
        element("text", x_title, x=(_LEFT + right) / 2, y=_SIDE - 4, text_anchor="middle"),
        element("text", y_title, x="11", y=middle, text_anchor="middle", transform=f"rotate(-90 11 {_n(middle)})"),
    )


def _x(value: float) -> float:
    return _LEFT + value * (_SIDE - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _SIDE - _BOTTOM - value * (_SIDE - _TOP - _BOTTOM)


def _line(xs: Floats, ys: Floats) -> str:
    points = [f"{_n(_x(float(x)))} {_n(_y(float(y)))}" for x, y in zip(xs, ys, strict=True)]
    return "M" + "L".join(points)


def _n(value: float) -> str:
    return f"{round(value, 1):g}"


def _svg(label: str, width: int, height: int, *children: str | Sequence[Markup]) -> Markup:
    return element("svg", *children, viewBox=f"0 0 {width} {height}", role="img", aria_label=label)


def _sample(mark: Markup, words: str) -> Markup:
    picture = element("svg", mark, viewBox="0 0 28 14", aria_hidden="true")
    return element("span", picture, words, class_="key")
