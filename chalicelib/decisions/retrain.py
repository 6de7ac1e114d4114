"""How much has staying cost: the excess loss since the last start.

The rule, from methods on "when to retrain" (Mahadevan & Mathioudakis, CARA, arXiv 2310.04216; Regol et al., UPF,
arXiv 2505.14903) in its simplest robust form: a ski rental on the loss above what the model showed at first.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib.decisions.policy import Policy

# What a pipeline execution of ours is called, before the decision id: how its end finds the claim.
DISPLAY_NAME = "plumbline-"


class ExcessLoss(msgspec.Struct, frozen=True):
    """`excess` in window-errors (1.0: a whole window answered wrongly); `reference` is None while it is learned."""

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
