"""Which of the models that we have should serve: decayed paired losses, and the gate for a new one.

A candidate is compared with what was served on the same rows, so that a hard window counts against nobody. A window
that a candidate was trained on says nothing about it and must not be among its losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.decisions.policy import Policy


class PairedLoss(msgspec.Struct, frozen=True):
    """`age` in windows before the one decided on (0 = that one); losses are on the same rows."""

    age: int
    loss: float
    served_loss: float


def decayed_difference(losses: Sequence[PairedLoss], policy: Policy) -> float:
    """Mean of (loss - served loss), a window of age a weighing 0.5 ** (a / half-life), shrunk towards 0."""
    total = weight = 0.0
    for paired in losses:
        share = 0.5 ** (paired.age / policy.half_life_windows)
        total += share * (paired.loss - paired.served_loss)
        weight += share
    return total / (weight + policy.shrinkage) if weight + policy.shrinkage else 0.0


def best_candidate(
    losses: Mapping[str, Sequence[PairedLoss]], champion: str, policy: Policy
) -> tuple[str, dict[str, float]]:
    """The candidate with the smallest decayed difference, and everybody's; a tie keeps the champion."""
    differences = {name: decayed_difference(paired, policy) for name, paired in losses.items()}
    best = min(differences, key=lambda name: (differences[name], name != champion, name), default=champion)
    return best, differences


class Gate(msgspec.Struct, frozen=True):
    """The outcome of a challenge on held-back rows."""

    passed: bool
    reason: str
    challenger: float
    incumbents: dict[str, float]


def challenge(challenger: float, incumbents: Mapping[str, float]) -> Gate:
    """A challenger must lose less on the held-back rows than the champion and every past champion in the pool."""
    best = min(incumbents, key=lambda name: (incumbents[name], name))
    passed = challenger < incumbents[best]
    word = "lower than" if passed else "not lower than"
    reason = f"held-back error {challenger:.4f} is {word} the best incumbent's {incumbents[best]:.4f} ({best})"
    return Gate(passed, reason, challenger, dict(incumbents))
