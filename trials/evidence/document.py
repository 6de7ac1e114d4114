"""docs/evidence.json and docs/evidence.md: the figures of every part that was run, and the text made from them.

A run of some parts replaces these parts in the JSON and keeps the others; the Markdown is made from the JSON alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trials.evidence.part import Part, table
from trials.evidence.parts import ORDER

DOCS = Path(__file__).resolve().parents[2] / "docs"

INTRODUCTION = """\
# Evidence: what an alarm promises, and what was measured

`make evidence` writes this file and [evidence.json](evidence.json). It simulates streams from a fixed seed, asks the
package's own functions with their defaults, and ends with status 1 when a number misses its limit. `make evidence
PART=null` runs one part. "Bound" is the upper end of the exact 95 % interval of a measured share.

How the test works: every column becomes a few yes/no questions. Is the value missing, is it at or below the baseline's
5, 25, 50, 75, 95 % point, is it outside the baseline's range, is it larger than a random row of the baseline, is it
category c, is it a category that the baseline never had? For each question the share of "yes" in the window is compared
with the share in the baseline by Fisher's exact test. Windows are added up, too: every aligned pair, four, eight,
sixteen, thirty-two, for a small change shows only in many rows. The budget for false alarms (0.05 for the stated
period) is divided by the windows of the period, the columns, the questions of the column, and 2: one half for single
windows and one for blocks. An alarm needs both: p below this level, and a share that moved by at least 3 points (1 for
missing, unseen and outside values and for wrong answers).

Wrong answers are asked of settled windows alone (sealed, or with 99 % of the expected labels), one-sided, with a budget
of their own; labels that are still expected count as right.

With 28 or more baseline windows an alarm must also be rare among these windows (t, on shares and on log-odds; budget
0.04). Their order and their tails are checked; where a check fails, or with fewer windows, alarms are uncalibrated. An
alarm is confirmed when a second window agrees: of a single window a neighbour, of a block both halves.
"""

DISTRUST = """\
## Where it is used

`plumbline evaluate` looks once, with one window's budget: what moved decides the first line and exit status 3. The
functions keep each window's counts, look at the 64 windows before it and, from the 28th window of a baseline on, at how
much its first 28 windows fluctuate. A confirmed alarm of the loss opens an incident (an error where it is calibrated,
else a warning), one of columns a warning. A window whose labels are not complete is not asked for its loss: settled
means sealed, or 99 % of the labels that come in the end, which is the median of sealed windows, or all while none is.

## Distrust

- The promise is for rows that are independent, or windows that are exchangeable, over the stated period. It is one
  monitor's: a fleet of N monitors has N times as many false alarms.
- Heavy tails, autocorrelation and slow cycles of the windows are marked as uncalibrated. They are not cured.
- A season that is not declared passes as wide variation between windows: it costs power, not false alarms.
- A trend is no false alarm here: it is a change.
- The simulated columns are independent of each other and one column changes at a time. Real columns move together.
- The other tools' rules are written again from their published definitions, at their defaults. They are not their code.
- The first 28 windows of a baseline are taken as fluctuation. What drifts from the first day on is fluctuation, too,
  unless it makes neighbours alike; the check of their order is made for that, and marks such a baseline.
- A category in the middle of an ordered variable moves to one side only when the variable's mean moves either way.
  Where windows fluctuate by a third of a row's deviation such a category breaks the promise (`PART=windows`).
- The policy's threshold was chosen among three on this very panel.
"""


def write(parts: Sequence[Part], seed: int, docs: Path = DOCS) -> None:
    """Put these parts into docs/evidence.json, write docs/evidence.md from it, and the parts' pictures."""
    known = _known(docs)
    for part in parts:
        known[part.name] = {
            "title": part.title,
            "seed": seed,
            "bounds": [
                {
                    "what": bound.what,
                    "measured": bound.measured,
                    "limit": bound.limit,
                    "at_least": bound.at_least,
                    "holds": bound.holds,
                }
                for bound in part.bounds
            ],
            "figures": part.figures,
            "lines": list(part.lines),
        }
        (docs / "images").mkdir(exist_ok=True)
        for name, picture in part.pictures.items():
            (docs / "images" / f"evidence-{name}.png").write_bytes(picture)
    ordered = {name: known[name] for name in ORDER if name in known}
    (docs / "evidence.json").write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (docs / "evidence.md").write_text(text(ordered), encoding="utf-8")


def text(parts: dict[str, Any]) -> str:
    """docs/evidence.md, from what docs/evidence.json holds."""
    chapters = [INTRODUCTION]
    for name, part in parts.items():
        lines = [f"## {part['title']}", "", f"`PART={name}`, seed {part['seed']}", "", *part["lines"]]
        if part["bounds"]:
            limits = [
                [bound["what"], bound["measured"], f"{'>=' if bound['at_least'] else '<='} {bound['limit']:g}",
                 "holds" if bound["holds"] else "**missed**"]
                for bound in part["bounds"]
            ]  # fmt: skip
            lines += ["", *table(["what must hold", "measured", "limit", ""], limits)]
        chapters.append("\n".join(lines) + "\n")
    return "\n".join([*chapters, DISTRUST])


def _known(docs: Path) -> dict[str, Any]:
    path = docs / "evidence.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
