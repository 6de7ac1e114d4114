"""The retraining policy of a monitor: every number that a decision depends on, with its default.

The defaults were fixed before any result was looked at (docs/decisions/0004). Knows no state and no history.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from chalicelib.errors import MisconfiguredError


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When to retrain, when to serve a past champion, when to keep still.

    retrain, roll_back   False makes the monitor alert only
    promotion            auto, or manual (through the approval of the model package)
    cost                 what one retraining costs, in window-errors (0.2 = one window served 20 points worse)
    min_labelled_rows    fewer labelled rows: the window is not settled
    min_label_coverage   smaller labelled share of the rows: the window is not settled
    cool_down_windows    windows between the evidence of one start and the evidence of the next
    half_life_windows    age in windows at which a paired loss counts half
    shrinkage            windows of zero difference added to each candidate's mean (keeps a short record modest)
    reference_windows    settled windows since the last start whose mean loss is the reference
    pool_size            past champions kept answerable, each behind its own serverless endpoint
    sample_rows          rows of a window that the pool is asked to score
    training_windows     labelled windows that a challenger is trained on
    holdback_windows     the newest labelled windows, kept from training: gate and new baseline
    """

    retrain: bool = True
    roll_back: bool = True
    promotion: Literal["auto", "manual"] = "auto"
    cost: float = 0.2
    min_labelled_rows: int = 200
    min_label_coverage: float = 0.6
    cool_down_windows: int = 4
    half_life_windows: float = 4.0
    shrinkage: float = 2.0
    reference_windows: int = 4
    pool_size: int = 10
    sample_rows: int = 512
    training_windows: int = 26
    holdback_windows: int = 4


# Whoever writes more than this meant something else; infinity would not survive the stored JSON.
_MANY = 1_000_000


def check_policy(policy: Policy, field: str = "policy") -> None:
    """Raise MisconfiguredError naming the first field that cannot work."""
    for name, low, high in (
        ("cost", 0.0, _MANY),
        ("min_labelled_rows", 1, _MANY),
        ("min_label_coverage", 0.0, 1.0),
        ("cool_down_windows", 0, _MANY),
        ("half_life_windows", 0.1, 365),
        ("shrinkage", 0.0, _MANY),
        ("reference_windows", 1, _MANY),
        ("pool_size", 0, 50),
        ("sample_rows", 1, 5000),
        ("training_windows", 1, _MANY),
        ("holdback_windows", 1, _MANY),
    ):
        value = getattr(policy, name)
        # NaN is in no interval.
        if not low <= value <= high:
            raise MisconfiguredError(f"{field}.{name}", value, f"a number from {low:g} to {high}")
    if policy.cost == 0:
        raise MisconfiguredError(
            f"{field}.cost", policy.cost, "more than 0 (a free retraining would start at any noise)"
        )
