"""The shortest history that still fails, as a story that can be read.

Leaves out inputs, then faults, repeats, delays and losses, in ever smaller pieces, as long as the same law stays
broken. What is drawn depends on names only, so what is left behaves as before, as far as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from trials.simulation.history import History, draw_history
from trials.simulation.laws import breaches
from trials.simulation.world import World

# Plays for one shrinking: enough to halve a few hundred things down to a handful.
PLAYS = 400


def play_both(history: History, removed: Sequence[str] = (), *, story: bool = False) -> tuple[World, World, list[str]]:
    """The hostile world, the calm one, and the laws that the hostile one broke; the calm run must hold them, too."""
    calm, wrong = calm_run(history, removed)
    world = World(history, hostile=True, removed=removed, story=story).play()
    return world, calm, [*wrong, *breaches(world, calm)]


# The last calm run, and what it was of: the next seeds often have it in common.
_last: list[tuple[History, frozenset[str], World, list[str]]] = []


def calm_run(history: History, removed: Sequence[str] = ()) -> tuple[World, list[str]]:
    """The calm run of these inputs, and the laws that it broke."""
    inputs = msgspec.structs.replace(history, seed=0)
    left_out = frozenset(removed) & {each.id for each in history.inputs}
    for known, without, calm, wrong in _last:
        if known == inputs and without == left_out:
            return calm, wrong
    calm = World(history, hostile=False, removed=left_out).play()
    wrong = [f"calm run: {words}" for words in breaches(calm, calm)]
    _last[:] = [(inputs, left_out, calm, wrong)]
    return calm, wrong


def shrink(seed: int, law: str, plays: int = PLAYS) -> list[str]:
    """The ids that can be left out of a seed's history while `law` (the part before the colon) stays broken."""
    history = draw_history(seed)
    left = [plays]

    def applied(removed: Sequence[str]) -> tuple[list[str], bool]:
        left[0] -= 1
        try:
            world, _, wrong = play_both(history, removed)
        except Exception:  # a history that the world itself cannot play is no witness
            return [], False
        return world.applied, any(words.startswith(law) for words in wrong)

    removed: list[str] = []
    while left[0] > 0:
        found, _ = applied(removed)
        size = len(removed)
        inputs = [each.id for each in history.inputs if each.id not in removed]
        removed = _without(inputs, removed, applied, left)
        found, _ = applied(removed)
        removed = _without(sorted(set(found)), removed, applied, left)
        if len(removed) == size:
            break
    return removed


def _without(
    candidates: list[str],
    removed: list[str],
    applied: Callable[[Sequence[str]], tuple[list[str], bool]],
    left: list[int],
) -> list[str]:
    """Leave out as many of the candidates as can be, in halves, quarters and so on."""
    size = max(1, len(candidates) // 2)
    while candidates and left[0] > 0:
        kept: list[str] = []
        for first in range(0, len(candidates), size):
            piece = candidates[first : first + size]
            if left[0] > 0 and applied([*removed, *piece])[1]:
                removed = [*removed, *piece]
            else:
                kept += piece
        candidates = kept
        if size == 1:
            break
        size = max(1, size // 2)
    return removed


def story(seed: int, removed: Sequence[str] = ()) -> list[str]:
    """The history of a seed without what was removed, line by line, and the laws that it breaks."""
    world, _, wrong = play_both(draw_history(seed), removed, story=True)
    lines = [line for line in world.lines or [] if not line.endswith("windows_due()")]
    numbered = [f"{number:4d}  {line}" for number, line in enumerate(lines, start=1)]
    return [*numbered, *(f"BROKEN  {words}" for words in wrong)]
