"""The picture of a backtest: the loss of each window under several policies, as a file of its own (SVG).

Not here: what a policy would have done (decisions/backtest.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chalicelib.pages.markup import Markup, element, figure

_WIDTH, _HEIGHT = 760, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 40, 34
_COLOURS = ("#8a8a8a", "#0b6bcb", "#2e8540", "#b35900")
# A mean of so many windows is drawn: single windows hide the course.
SMOOTHED = 4


def picture(series: Mapping[str, tuple[Sequence[float], Sequence[int]]], origin: int) -> Markup:
    """`series`: by policy the loss of each window from window `origin` on, and the windows at whose end a retraining
    started, which are ticks on its line."""
    smooth = {name: _means(losses) for name, (losses, _) in series.items()}
    top = max((max(each) for each in smooth.values() if each), default=1.0) or 1.0
    longest = max((len(each) for each in smooth.values()), default=1)

    def x(window: float) -> float:
        return _LEFT + window / max(1, longest - 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(loss: float) -> float:
        return _HEIGHT - _BOTTOM - loss / top * (_HEIGHT - _TOP - _BOTTOM)

    drawn = [element("rect", x="0", y="0", width=_WIDTH, height=_HEIGHT, fill="#ffffff")]
    for part in (0.0, 0.5, 1.0):
        drawn.append(
            element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(part * top), y2=y(part * top), stroke="#dddddd")
        )
        drawn.append(element("text", figure(part * top), x=_LEFT - 6, y=y(part * top) + 4, text_anchor="end"))
    for place, (name, (_, starts)) in enumerate(series.items()):
        colour, means = _COLOURS[place % len(_COLOURS)], smooth[name]
        if not means:
            continue
        path = "M" + "L".join(f"{x(window):.1f} {y(loss):.1f}" for window, loss in enumerate(means))
        drawn.append(element("path", d=path, fill="none", stroke=colour, stroke_width="1.5"))
        for start in starts:
            at = min(max(0, start - origin), len(means) - 1)
            drawn.append(element("line", x1=x(at), x2=x(at), y1=y(means[at]) - 7, y2=y(means[at]) + 7, stroke=colour))
        drawn.append(element("rect", x=_LEFT + 220 * place, y="12", width="18", height="4", fill=colour))
        drawn.append(element("text", name, x=_LEFT + 220 * place + 24, y="18"))
    title = f"windows; loss, mean of {SMOOTHED} windows; ticks: a retraining starts"
    drawn.append(element("text", title, x=_LEFT, y=_HEIGHT - 10))
    return element(
        "svg",
        drawn,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        font_family="sans-serif",
        font_size="12",
        role="img",
        aria_label="loss of each window under several policies",
    )


def _means(losses: Sequence[float]) -> list[float]:
    return [float(np.mean(losses[max(0, at + 1 - SMOOTHED) : at + 1])) for at in range(len(losses))]
