"""The loop under other policies, on the recorded captures: does the result depend on one lucky setting?

The package's own replay decides (decisions/backtest.py) and the same training algorithm learns; as in the demo's
replay, deployments take effect one window after the decision, and labels come two windows late. Without alarms: only
the policy counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.decisions.backtest import Course, replay
from chalicelib.decisions.policy import Policy
from chalicelib.evidence.surrogate import Sample, train
from demo.reports import Recorded

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LABEL_DELAY = 2

SETTINGS: dict[str, dict[str, float]] = {
    "half the cost (0.1)": {"cost": 0.1},
    "twice the cost (0.4)": {"cost": 0.4},
    "twice the half-life (8 windows)": {"half_life_windows": 8.0},
}


@dataclass
class Simulation:
    """The loop over recorded windows. Trained models are shared between settings: the same rows, the same model."""

    windows: Sequence[Recorded]
    first: Floats
    cut: float = 0.5
    _trained: dict[int, Floats] = field(default_factory=dict)
    _surrogates: Floats | None = None

    def run(self, policy: Policy) -> tuple[float, int, int, int]:
        """(error over all windows, retrains, promotions, roll-backs) under a policy."""
        n = len(self.windows)
        if self._surrogates is None:
            self._surrogates = self._surrogate_errors(policy)
        unknown = np.full((n, n), np.nan)
        course = Course(first=self.first, fresh=unknown, surrogates=self._surrogates, lateness=LABEL_DELAY, training=0)
        found = replay(course, policy, lambda cut: self._errors_of_model_trained_before(cut, policy))
        return found.error, len(found.starts), found.promotions, found.roll_backs

    def _surrogate_errors(self, policy: Policy) -> Floats:
        """What the deployed functions would have kept; in place of their row samples, the first rows of each window."""
        n, most = len(self.windows), policy.sample_rows
        samples = [
            Sample(window.features[:most], (window.labels[:most] == 1.0).astype(float)) for window in self.windows
        ]
        errors = np.full((n, n), np.nan)
        for before in range(policy.holdback_windows, n):
            surrogate = train(samples[max(0, before - policy.training_windows) : before], "BinaryClassification")
            errors[before, before:] = [surrogate.loss(sample, self.cut) for sample in samples[before:]]
        return errors

    def _errors_of_model_trained_before(self, until: int, policy: Policy) -> Floats:
        if until not in self._trained:
            from sklearn.ensemble import HistGradientBoostingClassifier

            part = self.windows[max(0, until - policy.training_windows) : until]
            features = np.concatenate([window.features for window in part])
            labels = np.concatenate([window.labels for window in part])
            model = HistGradientBoostingClassifier(random_state=0).fit(features, labels)
            everything = np.concatenate([window.features for window in self.windows])
            answers = model.predict_proba(everything)[:, 1] > self.cut
            self._trained[until] = np.array(errors_per_window(self.windows, answers))
        return self._trained[until]


def errors_per_window(windows: Sequence[Recorded], answers: Bools) -> list[float]:
    """Error rate of each window for one answer per row of all windows."""
    errors, at = [], 0
    for window in windows:
        until = at + len(window.labels)
        errors.append(float(np.mean(answers[at:until] != (window.labels == 1.0))))
        at = until
    return errors


def neighbouring_policies() -> dict[str, Policy]:
    """The settings around the default that are reported beside it, fixed before any result was looked at."""
    return {name: msgspec.structs.replace(Policy(), **changes) for name, changes in SETTINGS.items()}
