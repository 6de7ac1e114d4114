"""Which model serves, which could serve again, and since when: one document per monitor, so each change is one write.

Key: MONITOR#{monitor} / CHAMPION -> Champion. Its `generation` counts promotions and roll-backs; a promotion is
compare-and-set on it, so a late repeat can never bring back a model that was rolled back.
"""

from __future__ import annotations

import msgspec

from chalicelib.facts.document import change, load, monitor_partition
from chalicelib.ports import Ledger

# Reigns kept in the document: more than restatements within a label horizon need.
HISTORY = 200


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A model that serves or could serve.

    `endpoint` is its own serverless endpoint ("" while it never needed one). `fair_from` names the first window that
    it was not trained on. `baseline` is the S3 URI of its baseline folder ("" = the definition's).
    """

    name: str
    model_name: str
    model_data: str
    package_arn: str = ""
    endpoint: str = ""
    fair_from: str = ""
    baseline: str = ""


class Reign(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of serving: `since` (ISO) is when the endpoint was in service with `config_name`."""

    generation: int
    candidate: str
    since: str
    config_name: str
    baseline: str
    cause: str


class Champion(msgspec.Struct, frozen=True, kw_only=True):
    """`retired`: past champions that did not fit in the pool at the last change; their endpoints must be deleted."""

    generation: int
    candidate: Candidate
    config_name: str
    pool: tuple[Candidate, ...]
    reigns: tuple[Reign, ...]
    retired: tuple[Candidate, ...] = ()

    def find(self, name: str) -> Candidate | None:
        """The champion or a pool member by name."""
        return next((known for known in (self.candidate, *self.pool) if known.name == name), None)

    def reign_at(self, moment: str) -> Reign:
        """The reign at a time (ISO); before the first reign: the first."""
        return next((reign for reign in reversed(self.reigns) if reign.since <= moment), self.reigns[0])


def load_champion(ledger: Ledger, monitor: str) -> Champion | None:
    stored = load(ledger, monitor_partition(monitor), "CHAMPION", Champion)
    return stored.value if stored else None


def crown_first(ledger: Ledger, monitor: str, candidate: Candidate, config_name: str, since: str) -> Champion:
    """Record the model that serves when the monitor is added as generation 0; an existing champion stays."""
    reign = Reign(
        generation=0,
        candidate=candidate.name,
        since=since,
        config_name=config_name,
        baseline=candidate.baseline,
        cause="served when the monitor was added",
    )
    first = Champion(generation=0, candidate=candidate, config_name=config_name, pool=(), reigns=(reign,))
    champion, _ = change(
        ledger, monitor_partition(monitor), "CHAMPION", Champion, lambda stored: None if stored else first
    )
    assert champion is not None
    return champion


def crown(
    ledger: Ledger,
    monitor: str,
    expected: int,
    candidate: Candidate,
    outgoing: Candidate,
    config_name: str,
    since: str,
    cause: str,
    pool_size: int,
) -> Champion:
    """Make a candidate the champion if the generation is still `expected`; the outgoing champion joins the pool.

    Past champions that no longer fit in the pool (the oldest first) are `retired`. Returns the champion now; when the
    generation is another one already, nothing is written.
    """

    def think(stored: Champion | None) -> Champion | None:
        if stored is None or stored.generation != expected:
            return None
        reign = Reign(
            generation=expected + 1,
            candidate=candidate.name,
            since=since,
            config_name=config_name,
            baseline=candidate.baseline,
            cause=cause,
        )
        others = [known for known in stored.pool if known.name not in (candidate.name, outgoing.name)]
        pool = [*others, outgoing]
        excess = max(0, len(pool) - pool_size)
        return Champion(
            generation=expected + 1,
            candidate=candidate,
            config_name=config_name,
            pool=tuple(pool[excess:]),
            retired=tuple(pool[:excess]),
            reigns=(*stored.reigns, reign)[-HISTORY:],
        )

    champion, _ = change(ledger, monitor_partition(monitor), "CHAMPION", Champion, think)
    assert champion is not None, f"{monitor}: no champion was crowned when the monitor was added"
    return champion
