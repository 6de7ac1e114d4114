"""Two charts over windows: quality with its range, label coverage and what was done; and which columns moved when.

Not here: colours (style.py, site.py), which windows are bad (`evidence`).
"""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.pages.markup import Markup, clipped, element, figure, joined, share
from chalicelib.pages.site import Links, moment
from chalicelib.pages.views import Mark, WindowLine

_WIDTH, _LEFT, _RIGHT = 960, 64, 12
_TOP, _PLOT, _STRIP = 30, 200, 26
COLUMNS_SHOWN = 30
_NAME_WIDTH, _ROW = 190, 18
# Of a share, in points: the steps of a heat map's shades.
_STEPS = (0.02, 0.05, 0.15)
_LETTERS = {
    "started": "S",
    "promoted": "P",
    "refused": "X",
    "failed": "X",
    "rolled_back": "R",
    "roll_back_failed": "X",
}
LEGEND = "S: retraining started; P: promoted; R: rolled back; X: refused or failed."


def quality(
    label: str, monitor: str, metric: str, lines: Sequence[WindowLine], marks: Sequence[Mark], links: Links
) -> Markup:
    """The loss of each window that has labels, with its 95 % range, above the share of rows that have one."""
    known = [(place, each) for place, each in enumerate(lines) if each.loss is not None]
    highest = max((each.high if each.high is not None else each.loss or 0.0 for _, each in known), default=0.0) or 1.0
    bottom, drawn = _TOP + _PLOT, []

    def y(value: float) -> float:
        return bottom - value / (1.05 * highest) * _PLOT

    for part in (0.0, 0.5, 1.0):
        height = y(part * highest)
        drawn.append(element("line", x1=_LEFT, y1=height, x2=_WIDTH - _RIGHT, y2=height, class_="row-line"))
        drawn.append(element("text", figure(part * highest), x=_LEFT - 6, y=height + 4, text_anchor="end"))
    settled = [(place, each) for place, each in known if each.settled]
    banded = [(_x(place, lines), each.low, each.high) for place, each in settled if each.low is not None]
    if banded:
        above = [f"{_n(x)} {_n(y(high or 0.0))}" for x, _, high in banded]
        below = [f"{_n(x)} {_n(y(low or 0.0))}" for x, low, _ in reversed(banded)]
        drawn.append(element("path", d=f"M{'L'.join([*above, *below])}Z", class_="band"))
    if settled:
        points = [f"{_n(_x(place, lines))} {_n(y(each.loss or 0.0))}" for place, each in settled]
        drawn.append(element("path", d=f"M{'L'.join(points)}", class_="l-line"))
    for mark, letter, place in _placed(marks, lines):
        x = _x(place, lines)
        drawn.append(element("line", x1=x, y1=_TOP - 8, x2=x, y2=bottom, class_="mark-line"))
        name = element("text", letter, x=x, y=_TOP - 12, text_anchor="middle", class_="mark-name")
        told = element("title", f"{moment(mark.at)}: {mark.kind.replace('_', ' ')}. {mark.detail}")
        drawn.append(element("a", element("g", told, name), href=links.decision(mark.decision_id)))
    for place, each in known:
        worse = each.found.level == "worse"
        dot = element(
            "circle",
            cx=_x(place, lines),
            cy=y(each.loss or 0.0),
            r=4.5 if worse else 3,
            class_="bad-dot" if worse else "l-dot" if each.settled else "later",
        )
        labelled = f"{share(each.coverage)} of {each.rows} rows labelled"
        words = element("title", f"{moment(each.window)}: {metric} {figure(each.loss)}, {labelled}")
        drawn.append(element("a", element("g", words, dot), href=links.window(monitor, each.window)))
    strip = bottom + 14
    wide = max(1.0, (_WIDTH - _LEFT - _RIGHT) / max(len(lines), 1) - 0.5)
    for place, each in enumerate(lines):
        if each.coverage > 0:
            tall = each.coverage * _STRIP
            x = _x(place, lines) - wide / 2
            drawn.append(element("rect", x=x, y=strip + _STRIP - tall, width=wide, height=tall, class_="cover"))
    drawn.append(element("text", "labels", x=_LEFT - 6, y=strip + _STRIP / 2 + 4, text_anchor="end"))
    drawn.append(element("text", metric, x=4, y=14))
    # A group: what has links in it is no image.
    return _svg(label, strip + _STRIP + 24, [*drawn, *_times(lines, strip + _STRIP + 16, _LEFT)], "group")


def heat(label: str, lines: Sequence[WindowLine]) -> Markup:
    """Columns that moved, against windows: the darker, the further; an outline where no second look confirmed it."""
    names = _moved_columns(lines)
    if not names:
        return joined()
    drawn = []
    for row, name in enumerate(names[:COLUMNS_SHOWN]):
        top = 6 + row * _ROW
        drawn.append(element("text", clipped(name, 28), x=0, y=top + 12, class_="row-name"))
        drawn.append(
            element("line", x1=_NAME_WIDTH, y1=top + _ROW - 2, x2=_WIDTH - _RIGHT, y2=top + _ROW - 2, class_="row-line")
        )
        for first, last, shade, change in _runs(name, lines):
            begin, end = _edge(first, lines), _edge(last + 1, lines)
            told = f"{name}: {moment(lines[first].window)} to {moment(lines[last].window)}, {100 * change:+.1f} points"
            drawn.append(
                element(
                    "g",
                    element("title", told),
                    element("rect", x=begin, y=top, width=max(1.5, end - begin - 0.5), height=_ROW - 4, class_=shade),
                )
            )
    height = 6 + min(len(names), COLUMNS_SHOWN) * _ROW
    return _svg(label, height + 22, [*drawn, *_times(lines, height + 14, _NAME_WIDTH)])


def moved_columns(lines: Sequence[WindowLine]) -> int:
    """How many columns a heat map of these windows has."""
    return len(_moved_columns(lines))


def _moved_columns(lines: Sequence[WindowLine]) -> list[str]:
    """Those that moved in some window, the ones confirmed most often first."""
    weight: dict[str, tuple[int, float]] = {}
    for line in lines:
        for each in line.found.columns:
            confirmed, far = weight.get(each.column, (0, 0.0))
            weight[each.column] = (confirmed + each.confirmed, max(far, abs(each.change)))
    return sorted(weight, key=lambda name: (-weight[name][0], -weight[name][1], name))


def _runs(name: str, lines: Sequence[WindowLine]) -> list[tuple[int, int, str, float]]:
    """Windows beside each other that look alike: first, last, shade, largest change."""
    runs: list[tuple[int, int, str, float]] = []
    for place, line in enumerate(lines):
        moved = next((each for each in line.found.columns if each.column == name), None)
        if moved is None:
            continue
        shade = f"h{1 + sum(abs(moved.change) >= step for step in _STEPS)}" if moved.confirmed else "h0"
        if runs and runs[-1][1] == place - 1 and runs[-1][2] == shade:
            first, _, _, change = runs[-1]
            runs[-1] = (first, place, shade, max(change, moved.change, key=abs))
        else:
            runs.append((place, place, shade, moved.change))
    return runs


def _placed(marks: Sequence[Mark], lines: Sequence[WindowLine]) -> list[tuple[Mark, str, int]]:
    """Marks with their letter, at the window that was the newest when they happened."""
    found = []
    for mark in marks:
        place = sum(line.window <= mark.at for line in lines) - 1
        if place >= 0 and mark.kind in _LETTERS:
            found.append((mark, _LETTERS[mark.kind], place))
    return found


def _x(place: int, lines: Sequence[WindowLine]) -> float:
    return _LEFT + (place + 0.5) * (_WIDTH - _LEFT - _RIGHT) / max(len(lines), 1)


def _edge(place: int, lines: Sequence[WindowLine]) -> float:
    return _NAME_WIDTH + place * (_WIDTH - _NAME_WIDTH - _RIGHT) / max(len(lines), 1)


def _times(lines: Sequence[WindowLine], y: float, left: float) -> list[Markup]:
    if not lines:
        return []
    middle = (left + _WIDTH - _RIGHT) / 2
    texts = [element("text", moment(lines[0].window), x=left, y=y)]
    if len(lines) > 2:
        texts.append(element("text", moment(lines[len(lines) // 2].window), x=middle, y=y, text_anchor="middle"))
    if len(lines) > 1:
        texts.append(element("text", moment(lines[-1].window), x=_WIDTH - _RIGHT, y=y, text_anchor="end"))
    return texts


def _n(value: float) -> str:
    return f"{round(value, 1):g}"


def _svg(label: str, height: float, children: Sequence[Markup], role: str = "img") -> Markup:
    return element("svg", children, viewBox=f"0 0 {_WIDTH} {_n(height)}", role=role, aria_label=label)
