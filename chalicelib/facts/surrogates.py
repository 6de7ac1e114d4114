"""What the surrogates of fresh models lost on each settled window.

Keys: MONITOR#{monitor} / SURROGATES -> Trained; MONITOR#{monitor} / SURROGATE#{window} -> WindowLosses.
Not here: the surrogates and the samples that they learn from (payload, in the bucket).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from chalicelib.facts.document import change, load, load_all, monitor_partition
from chalicelib.ports import Ledger


class Trained(msgspec.Struct, frozen=True):
    """`cuts`: of each surrogate that is kept, the name of the first window that it was not trained on, ascending."""

    cuts: tuple[str, ...] = ()


class WindowLosses(msgspec.Struct, frozen=True):
    """Losses on a window's row sample by the cut of the surrogate; a regression's in units of the target."""

    window: str
    sample: str
    losses: Mapping[str, float]


def trained(ledger: Ledger, monitor: str) -> Trained:
    stored = load(ledger, monitor_partition(monitor), "SURROGATES", Trained)
    return stored.value if stored else Trained()


def keep(ledger: Ledger, monitor: str, cut: str, most: int, always: frozenset[str]) -> Trained:
    """Add a surrogate. Beside the `most` newest ones the oldest and those named by `always` stay."""

    def think(stored: Trained | None) -> Trained:
        cuts = sorted({*(stored.cuts if stored else ()), cut})
        stays = {cuts[0], *cuts[-most:], *(always & set(cuts))}
        return Trained(tuple(sorted(stays)))

    kept, _ = change(ledger, monitor_partition(monitor), "SURROGATES", Trained, think)
    assert kept is not None  # `think` always has an answer
    return kept


def load_losses(ledger: Ledger, monitor: str, window: str) -> WindowLosses | None:
    stored = load(ledger, monitor_partition(monitor), f"SURROGATE#{window}", WindowLosses)
    return stored.value if stored else None


def save_losses(ledger: Ledger, monitor: str, found: WindowLosses) -> None:
    """The newest sample's losses replace an older one's; those of one sample add up."""

    def think(stored: WindowLosses | None) -> WindowLosses:
        if stored is None or stored.sample != found.sample:
            return found
        return WindowLosses(found.window, found.sample, {**stored.losses, **found.losses})

    change(ledger, monitor_partition(monitor), f"SURROGATE#{found.window}", WindowLosses, think)


def losses(ledger: Ledger, monitor: str, since: str, until: str = "~") -> list[WindowLosses]:
    """Losses on windows with since <= window < until, oldest first."""
    return load_all(
        ledger,
        monitor_partition(monitor),
        WindowLosses,
        begins_with="SURROGATE#",
        since=f"SURROGATE#{since}",
        until=f"SURROGATE#{until}",
    )
