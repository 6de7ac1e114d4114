"""The retraining policy of a monitor: every number that a decision depends on, with its default.

The defaults were fixed before any result was looked at (docs/decisions/0004 and 0009). Not here: state and history.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from chalicelib.errors import MisconfiguredError


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When to retrain, when to serve a past champion, when to keep still.

    retrain, roll_back   False makes the monitor alert only
    suggest_only         a retraining that pays is said and not started
    promotion            auto, or manual (through the approval of the model package)
    rule                 regret (against surrogates of fresh models), or excess (over the model's own first windows)
    cost                 what one retraining costs, in window-losses (0.2 = one window served 20 points worse; for a
                         regression, one window with a fifth of the baseline's mean absolute error more)
    retrains_per_month   starts in one calendar month (UTC), None: any number
    quiet                periods without a start, each "start/end" in ISO 8601 with offsets
    min_labelled_rows    fewer labelled rows: the window is not settled
    min_label_coverage   smaller labelled share of the rows: the window is not settled
    cool_down_windows    windows between the evidence of one start and the evidence of the next
    half_life_windows    age in windows at which a paired loss counts half
    shrinkage            windows of zero difference added to each candidate's mean (keeps a short record modest)
    reference_windows    rule excess: settled windows since the last start whose mean loss is the reference
    pool_size            past champions kept answerable, each behind its own serverless endpoint
    sample_rows          rows of a window that the pool is asked to score and the surrogates learn from
    training_windows     labelled windows that a challenger is trained on
    holdback_windows     the newest labelled windows, kept from training: gate and new baseline
    """

    retrain: bool = True
    roll_back: bool = True
    suggest_only: bool = False
    promotion: Literal["auto", "manual"] = "auto"
    rule: Literal["regret", "excess"] = "regret"
    cost: float = 0.2
    retrains_per_month: int | None = None
    quiet: tuple[str, ...] = ()
    min_labelled_rows: int = 200
    min_label_coverage: float = 0.6
    cool_down_windows: int = 2
    half_life_windows: float = 4.0
    shrinkage: float = 2.0
    reference_windows: int = 4
    pool_size: int = 10
    sample_rows: int = 512
    training_windows: int = 26
    holdback_windows: int = 4


# More than this was not meant; infinity would not survive the stored JSON.
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
    if policy.retrains_per_month is not None and not 1 <= policy.retrains_per_month <= 31:
        expected = "a number from 1 to 31, or null; retrain: false starts none"
        raise MisconfiguredError(f"{field}.retrains_per_month", policy.retrains_per_month, expected)
    for text in policy.quiet:
        try:
            start, end = _period(text)
            sound = start < end
        except ValueError:
            sound = False
        if not sound:
            expected = "start/end with offsets, such as 2026-11-20T00:00:00Z/2026-12-01T00:00:00Z"
            raise MisconfiguredError(f"{field}.quiet", text, expected)


def quiet_period(periods: Sequence[str], now: datetime) -> str:
    """The first of the quiet periods that holds `now` (start included, end not), "" where none does."""
    for text in periods:
        start, end = _period(text)
        if start <= now < end:
            return text
    return ""


def _period(text: str) -> tuple[datetime, datetime]:
    """Start and end in UTC. Raises ValueError for a text that is no two times with offsets."""
    first, _, last = text.partition("/")
    times = datetime.fromisoformat(first), datetime.fromisoformat(last)
    if any(time.tzinfo is None for time in times):
        raise ValueError("a time without an offset")
    return times[0].astimezone(UTC), times[1].astimezone(UTC)
