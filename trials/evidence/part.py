"""What a part of `make evidence` returns: text, figures, pictures, and bounds that hold or do not."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy import stats


@dataclass(frozen=True)
class Bound:
    """A measured number and the limit that it must keep; `at_least`: the limit is the smallest number allowed."""

    what: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the measured number keeps its limit; nan does not."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(frozen=True)
class Part:
    """The result of one part.

    `lines`: Markdown below the heading `title`. `figures`: JSON values by name. `pictures`: PNG bytes by name, written
    to docs/images/evidence-NAME.png; a line shows one by `picture_line(NAME, ALT)`.
    """

    name: str
    title: str
    lines: Sequence[str]
    figures: Mapping[str, Any]
    bounds: Sequence[Bound] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def upper(hits: int, trials: int) -> float:
    """The upper end of the exact 95 % interval of a share (Clopper and Pearson, 1934)."""
    return 1.0 if hits >= trials else float(stats.beta.ppf(0.975, hits + 1, trials - hits))


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A Markdown table; floats have three decimals."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]


def picture_line(name: str, alt: str) -> str:
    return f"![{alt}](images/evidence-{name}.png)"


def png(figure: Any) -> bytes:
    """The PNG of a matplotlib figure, without the date and version that would make each run's bytes differ."""
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
