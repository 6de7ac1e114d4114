"""How much has staying cost: regret against fresh models, or excess over the model's own first windows.

Both are a ski rental (Karlin et al., Competitive snoopy caching, Algorithmica 3, 1988): pay for a retraining when
staying has cost as much as its price. Compare Mahadevan & Mathioudakis, CARA, arXiv 2310.04216, and Regol et al., UPF,
arXiv 2505.14903. Losses are shares of wrong answers, or multiples of the baseline's mean absolute error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.decisions.policy import Policy

# What a pipeline execution of ours is called, before the decision id: how its end finds the claim.
DISPLAY_NAME = "plumbline-"

# Starts in a row that came to nothing, after which the loop waits longer and a person must look.
FUTILE_STARTS = 2
# A promotion that is taken back within so many windows came to nothing.
EARLY_WINDOWS = 8
# Windows after the evidence of the last start until it tries again; twice as many after each further one, to a limit.
STOP_WINDOWS = 8
LONGEST_STOP_WINDOWS = 64


class SurrogateLosses(msgspec.Struct, frozen=True):
    """What the surrogates lost on one settled window.

    `served`: the loss of the surrogate that is as old as what was served. `losses`: by the name of the first window
    that a surrogate was not trained on; only surrogates that were not trained on this window.
    """

    window: str
    served: float
    losses: Mapping[str, float]


class Regret(msgspec.Struct, frozen=True):
    """`regret` in window-losses; `since`: the window from which a fresh model would have lost so much less, "" while
    there is none; `windows`: how many settled windows since the last start have surrogates."""

    regret: float
    since: str
    windows: int

    def reaches(self, policy: Policy) -> bool:
        """By then staying has cost as much as the retraining that was not started would have."""
        return bool(self.since) and self.regret >= policy.cost


def regret(history: Sequence[SurrogateLosses], since: str = "") -> Regret:
    """The largest sum of (served - fresh) over the windows from r on, of any surrogate r not before `since`.

    `history`: settled windows in any order. A window that a surrogate did not answer is left out of its sum. A tie
    takes the earliest r.
    """
    sums: dict[str, float] = {}
    counted = [each for each in sorted(history, key=lambda each: each.window) if each.window >= since]
    for each in counted:
        for fresh, loss in each.losses.items():
            if since <= fresh <= each.window:
                sums[fresh] = sums.get(fresh, 0.0) + each.served - loss
    best = min(sums, key=lambda fresh: (-sums[fresh], fresh), default="")
    return Regret(max(0.0, sums[best]) if best else 0.0, best, len(counted))


class Start(msgspec.Struct, frozen=True):
    """A past start of the pipeline that has ended: how, under which version of the definition, and how many windows
    the promoted model served before it was rolled back (None: it was not)."""

    outcome: str
    version: str
    served_windows: int | None = None

    @property
    def futility(self) -> str:
        """Why the start came to nothing, in words; "" where it did not."""
        if self.outcome in ("REFUSED", "FAILED"):
            return self.outcome.lower()
        if self.served_windows is not None and self.served_windows <= EARLY_WINDOWS:
            return f"rolled back after {self.served_windows} windows"
        return ""


def why_stopped(starts: Sequence[Start], version: str, windows_since_start: int) -> str:
    """Why the loop has stopped, in words; "" while it may start a retraining. `starts`: newest first.

    What fails may fail for good, so the waits grow; what was wrong may have been mended, so they end. The loop goes on
    at once when a person has changed the definition: starts under another version do not count.
    """
    futile = [start.futility for start in starts if start.version == version]
    last = futile[: futile.index("")] if "" in futile else futile
    wait = min(STOP_WINDOWS * 2 ** (len(last) - FUTILE_STARTS), LONGEST_STOP_WINDOWS)
    if len(last) < FUTILE_STARTS or windows_since_start >= wait:
        return ""
    named = ", ".join(last[:FUTILE_STARTS])
    return (
        f"stopped, for the last {len(last)} retrainings came to nothing (newest first: {named}) and the model still "
        f"loses; the loop goes on {wait} windows after the last start, or with a changed definition"
    )


class ExcessLoss(msgspec.Struct, frozen=True):
    """`excess` in window-losses (1.0: a whole window answered wrongly); `reference` is None while it is learned."""

    excess: float
    reference: float | None
    windows: int

    def reaches(self, policy: Policy) -> bool:
        """Twice the cost of a retraining: by then staying has cost as much as the optimal choice could have saved."""
        return self.reference is not None and self.excess >= 2 * policy.cost


def excess_loss(losses: Sequence[float], policy: Policy) -> ExcessLoss:
    """Accumulate m <- max(0, m + loss - reference) over the settled windows since the last start, oldest first.

    The reference is the mean of the first `policy.reference_windows` losses, which do not accumulate themselves.
    """
    learned = losses[: policy.reference_windows]
    if len(learned) < policy.reference_windows:
        return ExcessLoss(0.0, None, len(losses))
    reference = sum(learned) / len(learned)
    excess = 0.0
    for loss in losses[policy.reference_windows :]:
        excess = max(0.0, excess + loss - reference)
    return ExcessLoss(excess, reference, len(losses))
