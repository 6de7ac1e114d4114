"""The loop under other policies, on the recorded captures: does the result depend on one lucky setting?

The same pure functions decide (decisions/) and the same training algorithm learns; as in the replay, deployments take
effect one window after the decision, and labels come two windows late. Without alarms: only the policy counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.decisions.challenger import PairedLoss, challenge
from chalicelib.decisions.decide import Action, Situation, decide
from chalicelib.decisions.policy import Policy
from demo.reports import Recorded

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LABEL_DELAY = 2
DEPLOYMENT_DELAY = 1

SETTINGS: dict[str, dict[str, float]] = {
    "half the cost (0.1)": {"cost": 0.1},
    "twice the cost (0.4)": {"cost": 0.4},
    "twice the half-life (8 windows)": {"half_life_windows": 8.0},
}


@dataclass
class Model:
    """A candidate: its error per window, and the first window that it was not trained on."""

    errors: list[float]
    fair_from: int


@dataclass
class Simulation:
    """The loop over recorded windows. Trained models are shared between settings: the same rows, the same model."""

    windows: Sequence[Recorded]
    first: Floats
    cut: float = 0.5
    _trained: dict[tuple[int, int], list[float]] = field(default_factory=dict)

    def run(self, policy: Policy) -> tuple[float, int, int, int]:
        """(error over all windows, retrains, promotions, roll-backs) under a policy."""
        models = [Model(self.first.tolist(), 0)]
        champion, served = 0, list[float]()
        start: int | None = None
        pending: tuple[int, Model, slice] | None = None
        roll_back: tuple[int, int] | None = None
        retrains = promotions = roll_backs = 0
        for now in range(len(self.windows)):
            if pending and now >= pending[0]:
                _, challenger, held = pending
                pending = None
                incumbents = {str(number): float(np.mean(model.errors[held])) for number, model in enumerate(models)}
                if challenge(float(np.mean(challenger.errors[held])), incumbents).passed:
                    models.append(challenger)
                    champion = len(models) - 1
                    promotions += 1
            if roll_back and now >= roll_back[0]:
                champion, roll_back = roll_back[1], None
                roll_backs += 1
            served.append(models[champion].errors[now])
            settled = now - LABEL_DELAY
            if settled < 0:
                continue
            verdict = decide(self._situation(settled, models, champion, served, start, pending is not None), policy)
            if verdict.serve:
                roll_back = (now + DEPLOYMENT_DELAY, int(verdict.serve))
            if verdict.action is Action.RETRAIN:
                held = slice(settled + 1 - policy.holdback_windows, settled + 1)
                first = max(0, held.start - policy.training_windows)
                challenger = Model(self._errors_of_model_trained_on(first, held.start), held.start)
                pending = (now + DEPLOYMENT_DELAY, challenger, held)
                start = settled
                retrains += 1
        return float(np.mean(served)), retrains, promotions, roll_backs

    def _situation(
        self, settled: int, models: list[Model], champion: int, served: list[float], start: int | None, in_flight: bool
    ) -> Situation:
        rows = len(self.windows[settled].labels)
        # Windows that began after the start: the start came LABEL_DELAY windows after its evidence.
        since = 0 if start is None else start + LABEL_DELAY + 1
        return Situation(
            window=self.windows[settled].window, rows=rows, labelled=rows, coverage=1.0, settled=True,
            champion=str(champion), losses_since_start=served[since : settled + 1],
            candidate_losses={
                str(number): [
                    PairedLoss(settled - at, model.errors[at], served[at]) for at in range(model.fair_from, settled + 1)
                ]
                for number, model in enumerate(models)
            },
            retrain_in_flight="a retraining is in flight" if in_flight else "",
            windows_since_start=None if start is None else settled - start,
        )  # fmt: skip

    def _errors_of_model_trained_on(self, first: int, until: int) -> list[float]:
        if (first, until) not in self._trained:
            from sklearn.ensemble import HistGradientBoostingClassifier

            features = np.concatenate([window.features for window in self.windows[first:until]])
            labels = np.concatenate([window.labels for window in self.windows[first:until]])
            model = HistGradientBoostingClassifier(random_state=0).fit(features, labels)
            everything = np.concatenate([window.features for window in self.windows])
            answers = model.predict_proba(everything)[:, 1] > self.cut
            self._trained[first, until] = errors_per_window(self.windows, answers)
        return self._trained[first, until]


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
