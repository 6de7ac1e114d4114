"""What the pages show, as types: each page's `.json` is one of these as it is.

Times and windows are ISO texts in UTC, "" where there is none. Names of columns are in them, values of data are not.
Not here: where the facts come from (`workflows.page_views`), how they look.
"""

from __future__ import annotations

import msgspec

from chalicelib.evidence.assessment import UNKNOWN, Assessment, Level


class FleetLine(msgspec.Struct, frozen=True, kw_only=True):
    """One monitor. `trouble`: the higher, the sooner somebody should look (0: nothing is wrong). `sentence`: how it
    stands, in words. `overdue`: whole hours since the end of the newest decided window, where that is too long."""

    monitor: str
    endpoint: str
    trouble: int
    level: Level
    sentence: str
    window: str = ""
    action: str = ""
    loss: float | None = None
    coverage: float = 0.0
    incidents: tuple[str, ...] = ()
    overdue: int = 0


class FleetView(msgspec.Struct, frozen=True, kw_only=True):
    """Every monitor that was not removed, those in trouble first."""

    stage: str
    at: str
    monitors: tuple[FleetLine, ...]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One monitor, as `plumbline status` has it. Coverage is from 0 to 1.

    `overdue` counts windows that should have been evaluated by now; `unclocked` of them were never marked due, which
    means that the clock is not running.
    """

    monitor: str
    endpoint: str
    version: str
    champion: str
    generation: int
    window: str
    verdict: str
    decision_id: str
    rows: int
    coverage: float
    loss: float | None
    settled_window: str
    settled_coverage: float
    incidents: tuple[str, ...]
    retraining: str
    promotion: str
    overdue: int
    unclocked: int
    paused: str
    removed_at: str

    @property
    def state(self) -> str:
        return "removed" if self.removed_at else "paused" if self.paused else "active"


class WindowLine(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluated window. `loss` is of the labelled rows, None without any; `settled`: enough of them are labelled.
    `low` and `high`: the loss's 95 % range (Wilson), of a classifier. `found`: what the evidence came to."""

    window: str
    rows: int
    labelled: int
    coverage: float
    loss: float | None
    settled: bool
    low: float | None = None
    high: float | None = None
    violations: int = 0
    broken: tuple[str, ...] = ()
    found: Assessment = UNKNOWN
    action: str = ""
    decision_id: str = ""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision led to: `kind` is started, promoted, refused, failed, rolled_back or roll_back_failed."""

    at: str
    window: str
    kind: str
    detail: str
    decision_id: str


class OpenIncident(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    severity: str
    since: str
    joined: tuple[str, ...] = ()


class MonitorView(msgspec.Struct, frozen=True, kw_only=True):
    """One monitor: `sentence` says how it stands, `why` the likeliest causes. `windows`: the newest, oldest first.
    `metric`: what the loss is called. `promise`: how often the evidence may be wrong."""

    status: Status
    level: Level
    sentence: str
    why: tuple[str, ...]
    at: str
    variant: str
    types: tuple[str, ...]
    hours: int
    metric: str
    promise: str
    windows: tuple[WindowLine, ...]
    marks: tuple[Mark, ...]
    incidents: tuple[OpenIncident, ...]


class DecisionLine(msgspec.Struct, frozen=True, kw_only=True):
    decision_id: str
    action: str


class WindowView(msgspec.Struct, frozen=True, kw_only=True):
    """One window of a monitor. `before` and `after` name its neighbours, `reports` the folders of SageMaker's files."""

    monitor: str
    endpoint: str
    hours: int
    metric: str
    line: WindowLine
    before: str
    after: str
    reports: dict[str, str]
    decisions: tuple[DecisionLine, ...]


class DecisionView(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with its reasons, its evidence and what it led to."""

    decision_id: str
    monitor: str
    endpoint: str
    window: str
    action: str
    reasons: tuple[str, ...]
    made_at: str
    champion: str
    generation: int
    policy_version: str
    excess: float
    regret: float
    reference: float | None
    differences: dict[str, float]
    evidence: tuple[tuple[str, str], ...]
    evidence_count: int
    outcomes: tuple[Mark, ...]
