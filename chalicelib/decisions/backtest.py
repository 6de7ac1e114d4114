"""What would a policy have done: the decisions of a monitor replayed over windows whose losses are all known.

Everything is counted in windows, 0 the oldest; a model is named by its cut, the first window that it was not trained
on. A decision at the end of window t knows the labels up to t - lateness; a model that is trained then serves from
t + 1 + training, a roll-back from t + 1. Not here: who reads rows and trains models (plumbline/cli/backtest.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.decisions.challenger import PairedLoss, challenge
from chalicelib.decisions.decide import Action, Situation, decide
from chalicelib.decisions.policy import Policy
from chalicelib.decisions.retrain import Start, SurrogateLosses, regret, why_stopped

Floats = npt.NDArray[np.float64]

CADENCES = (1, 2, 3, 4, 6, 8, 13, 26, 52)


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """Losses of what could have been served, on `n` windows.

    first       losses of the first champion, shape (n,); it serves from window `origin` on, and was trained before it
    fresh       [c, u] is the loss on window u of a model trained on the windows before c, shape (n, n); nan where u < c
                or where there is nothing to train on
    surrogates  the same for surrogates
    lateness    how many windows later labels come
    training    how many windows a retraining takes
    """

    first: Floats
    fresh: Floats
    surrogates: Floats
    origin: int = 0
    lateness: int = 2
    training: int = 1

    @property
    def windows(self) -> int:
        return len(self.first)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy would have led to. `served`: the loss of each window from `origin` on. `delays`: per start, windows
    from where a fresh model would have lost less to where the new one serves. `stops`: windows in which the loop had
    stopped."""

    served: list[float]
    starts: list[int]
    promotions: int = 0
    refusals: int = 0
    roll_backs: int = 0
    delays: list[int] = []
    stops: int = 0

    @property
    def error(self) -> float:
        """The mean loss of a window."""
        return float(np.mean(self.served))

    def total(self, cost: float) -> float:
        """Losses of all windows and the cost of every start, in window-losses."""
        return float(np.sum(self.served)) + cost * len(self.starts)


class _Model(msgspec.Struct):
    """A candidate: `losses` per window, comparable from window `fair` on, trained on the windows before `cut`."""

    losses: Floats
    fair: int
    cut: int


def replay(course: Course, policy: Policy, trained: Callable[[int], Floats] | None = None) -> Outcome:
    """Decide window by window as the deployed function would, with the pool, the gate and the last training.

    `trained`: the row of `course.fresh` of a cut, for those who train only what the policy asks for.
    """
    row = trained or (lambda cut: course.fresh[cut])
    models = [_Model(course.first, course.origin, course.origin)]
    champion, former, pool = 0, "", list[int]()
    served: dict[int, int] = {}
    pending: tuple[int, _Model, slice] | None = None
    roll_back: tuple[int, int] | None = None
    start: int | None = None
    answered: int | None = None  # the start that led to a model
    ended: list[Start] = []
    promoted_at = 0
    starts, delays, promotions, refusals, roll_backs, stops = list[int](), list[int](), 0, 0, 0, 0
    for now in range(course.origin, course.windows):
        if pending and now >= pending[0]:
            _, challenger, held = pending
            pending = None
            incumbents = {str(each): float(np.mean(models[each].losses[held])) for each in (champion, *pool)}
            if challenge(float(np.mean(challenger.losses[held])), incumbents).passed:
                models.append(challenger)
                pool = [*pool, champion][-policy.pool_size :] if policy.pool_size else []
                former, champion, promoted_at = str(champion), len(models) - 1, now
                promotions += 1
                answered = start
                ended.append(Start("PROMOTED", ""))
            else:
                refusals += 1
                ended.append(Start("REFUSED", ""))
        if roll_back and now >= roll_back[0]:
            if ended and former:  # it was promoted, not brought back
                ended[-1] = msgspec.structs.replace(ended[-1], served_windows=now - promoted_at)
            pool = [*(each for each in pool if each != roll_back[1]), champion]
            champion, former, roll_back = roll_back[1], "", None
            roll_backs += 1
        served[now] = champion
        settled = now - course.lateness
        if settled < course.origin:
            continue
        surrogates = _surrogates(course, [models[served[at]].cut for at in range(course.origin, settled + 1)])
        stopped = why_stopped(ended[::-1], "", settled - start) if start is not None else ""
        stops += bool(stopped)
        # The windows that began after the last start; if it led to a model, after that model began to serve.
        # As in workflows/retrain_history.py.
        anew = policy.rule == "regret" or pending or (start is not None and settled <= start + course.lateness)
        last = start if anew else answered
        since = 0 if last is None else max(last + course.lateness + 1, promoted_at)
        situation = Situation(
            window=_name(settled),
            rows=1,
            labelled=1,
            coverage=1.0,
            settled=True,
            champion=str(champion),
            former=former,
            losses_since_start=[
                float(models[served[at]].losses[at]) for at in range(max(since, course.origin), settled + 1)
            ],
            surrogates=surrogates,
            since=_name(since) if since else "",
            candidate_losses={str(each): _paired(models, each, served, settled) for each in (champion, *pool)},
            can_retrain=settled + 1 - policy.holdback_windows > 0,
            retrain_in_flight="a retraining is in flight" if pending else "",
            windows_since_start=None if start is None else settled - start,
            stopped=stopped,
        )
        verdict = decide(situation, policy)
        if verdict.serve:
            roll_back = (now + 1, int(verdict.serve))
        if verdict.action is Action.RETRAIN:
            pending = (now + 1 + course.training, *_challenger(row, policy, settled))
            better_since = regret(surrogates, situation.since).since
            delays += [pending[0] - int(better_since)] if better_since else []
            starts.append(now)
            start = settled
    return Outcome(
        served=[float(models[served[at]].losses[at]) for at in sorted(served)],
        starts=starts,
        promotions=promotions,
        refusals=refusals,
        roll_backs=roll_backs,
        delays=delays,
        stops=stops,
    )


def never(course: Course) -> Outcome:
    """The first champion for ever."""
    return Outcome(served=course.first[course.origin :].tolist(), starts=[])


def cadence(course: Course, every: int) -> Outcome:
    """A retraining each `every` windows, always served, never rolled back."""
    return _scheduled(course, list(range(course.origin + every - 1, course.windows, every)))


def best_cadence(course: Course, cost: float) -> tuple[int, Outcome]:
    """The cadence of `CADENCES` that cost least, which nobody could know beforehand."""
    found = [(every, cadence(course, every)) for every in CADENCES if every < course.windows - course.origin]
    return min(found, key=lambda each: (each[1].total(cost), each[0]))


def best_schedule(course: Course, cost: float) -> Outcome:
    """The cheapest schedule in hindsight with the same lateness of labels and training time, without roll-back.

    Exact: a dynamic programme over (window, model that serves), from the last window back.
    """
    lag = course.lateness + course.training
    # Row 0 is the first champion, row c > origin the model of cut c.
    table = np.where(np.isfinite(course.fresh), course.fresh, np.inf)
    ahead = np.zeros(course.windows)
    ahead_first = 0.0
    switches: list[tuple[npt.NDArray[np.bool_], bool]] = []
    for at in range(course.windows - 1, course.origin - 1, -1):
        stay, stay_first = table[:, at] + ahead, float(course.first[at]) + ahead_first
        cut = at - lag
        renewed = cost + float(stay[cut]) if cut > course.origin else np.inf
        switches.append((stay > renewed, renewed < stay_first))
        ahead, ahead_first = np.minimum(stay, renewed), min(stay_first, renewed)
    current: int | None = None
    starts, served = [], []
    for at, (which, first) in zip(range(course.origin, course.windows), reversed(switches), strict=True):
        if first if current is None else bool(which[current]):
            current = at - lag
            starts.append(at - 1 - course.training)
        served.append(float(course.first[at] if current is None else course.fresh[current, at]))
    return Outcome(served=served, starts=starts, promotions=len(starts))


def _scheduled(course: Course, times: Sequence[int]) -> Outcome:
    served: list[float] = []
    cut: int | None = None
    known = [at for at in times if at - course.lateness >= course.origin]
    waiting = {at + 1 + course.training: at - course.lateness + 1 for at in known}
    for at in range(course.origin, course.windows):
        cut = waiting.get(at, cut)
        served.append(float(course.first[at] if cut is None else course.fresh[cut, at]))
    return Outcome(served=served, starts=list(times), promotions=len(waiting))


def _challenger(row: Callable[[int], Floats], policy: Policy, settled: int) -> tuple[_Model, slice]:
    """The model to be served, trained on all labelled windows; on the held-back windows its losses are those of the
    gate's model, which was not trained on them."""
    held = slice(settled + 1 - policy.holdback_windows, settled + 1)
    losses = row(held.start).copy()
    if settled + 1 < len(losses):  # with labels at once, the last window's model has nothing left to serve
        losses[settled + 1 :] = row(settled + 1)[settled + 1 :]
    return _Model(losses, held.start, settled + 1), held


def _surrogates(course: Course, cuts: Sequence[int]) -> list[SurrogateLosses]:
    """What the surrogates lost on the windows from `origin` on; `cuts` of what was served there.

    Where no surrogate is as old as what was served, the oldest one stands in for it.
    """
    found = []
    trained = [bool(np.isfinite(each).any()) for each in course.surrogates]
    oldest = trained.index(True) if any(trained) else course.windows
    for at, cut in zip(range(course.origin, course.origin + len(cuts)), cuts, strict=True):
        reference = cut if trained[cut] else oldest
        if reference > at:
            continue
        losses = course.surrogates[: at + 1, at]
        fresh = {_name(each): float(losses[each]) for each in range(course.origin, at + 1) if np.isfinite(losses[each])}
        found.append(SurrogateLosses(_name(at), float(course.surrogates[reference, at]), fresh))
    return found


def _paired(models: Sequence[_Model], number: int, served: dict[int, int], settled: int) -> list[PairedLoss]:
    model = models[number]
    return [
        PairedLoss(settled - at, float(model.losses[at]), float(models[served[at]].losses[at]))
        for at in range(model.fair, settled + 1)
        if at in served
    ]


def _name(window: int) -> str:
    return f"{window:06d}"
