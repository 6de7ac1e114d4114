"""What was found in each window, and how each candidate did on its rows.

Keys: MONITOR#{monitor} / EVALUATION#{window} -> Evaluation; MONITOR#{monitor} / REVISION#{window}#{digest} -> Revision;
MONITOR#{monitor} / DECIDED#{window} -> Decided; MONITOR#{monitor} / COPIES#{window} -> Copies;
MONITOR#{monitor} / BESIDE#{window} -> Beside; MONITOR#{monitor} / MERGED#{window} -> Merged;
MONITOR#{monitor} / SETTLED -> Settled;
MONITOR#{monitor} / LOSS#{window}#{candidate} -> Loss;
MONITOR#{monitor} / EXECUTION#{job} -> Execution.
"3 of the last 5 windows" is a query over these, never a counter.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import msgspec

from chalicelib.errors import ConflictError
from chalicelib.facts.document import Stored, change, load, load_all, monitor_partition, put_if_absent
from chalicelib.ports import Ledger
from chalicelib.states.maturity import LabelAges


class Evaluation(msgspec.Struct, frozen=True):
    """The evidence of one window, small enough to query a hundred of them.

    `digest` identifies the revision of the report. `loss` is the served loss over the labelled rows outside
    deployments, None when there is none. `settled`: enough labels by the policy in force. `mixed`: more than one model
    answered. `sample` identifies the labelled row sample that candidates are scored on, `measured` and `labels` what is
    stored of the window, `merged` the labels that its merge files are to have ("": none are to be there yet).
    `delays`: how long after its end the labels of its requests came.
    """

    window: str
    digest: str
    rows: int
    labelled: int
    coverage: float
    loss: float | None
    settled: bool
    mixed: bool
    violations: int
    broken: tuple[str, ...]
    sample: str
    model: str
    measured: str
    labels: str
    merged: str
    delays: LabelAges = LabelAges()


class Revision(msgspec.Struct, frozen=True):
    """A revision of a window's report that was stored, and what it counted."""

    window: str
    digest: str
    stored_at: datetime
    labelled: int
    coverage: float
    loss: float | None


class Decided(msgspec.Struct, frozen=True):
    """The revision of a window's report that everything was done for: copies, decision, act and incidents."""

    window: str
    digest: str


class Copies(msgspec.Struct, frozen=True):
    """What lies on SageMaker's paths: the revision that was copied whole ("" while one is), and the digest of each file
    that is known to lie there."""

    window: str
    digest: str
    files: dict[str, str]


class Beside(msgspec.Struct, frozen=True):
    """Capture files of the hour before that were read and hold no request of the window, by key, with their ETags."""

    window: str
    files: dict[str, str]


class Merged(msgspec.Struct, frozen=True):
    """The labels that a window's merge files were written with."""

    window: str
    labels: str


class Settled(msgspec.Struct, frozen=True):
    """The newest settled window, as far as is known."""

    window: str


class Loss(msgspec.Struct, frozen=True):
    """Loss of a candidate on a window's row sample (`rows` rows), beside what was served on the same rows.

    `upper`: the upper end of the loss's 95 % interval."""

    window: str
    candidate: str
    sample: str
    rows: int
    loss: float
    served_loss: float
    upper: float | None = None


def load_evaluation(ledger: Ledger, monitor: str, window: str) -> Stored[Evaluation] | None:
    return load(ledger, monitor_partition(monitor), f"EVALUATION#{window}", Evaluation)


def save_evaluation(ledger: Ledger, monitor: str, evaluation: Evaluation, expected: str | None) -> None:
    """Replace the revision that the worker began with. Raises ConflictError when another worker was faster:
    the whole evaluation must then be thought again, or an older view of the inputs could overwrite a newer one."""
    ledger.put(
        monitor_partition(monitor),
        f"EVALUATION#{evaluation.window}",
        msgspec.json.encode(evaluation),
        expected=expected,
    )
    if evaluation.settled:
        note_settled(ledger, monitor, evaluation.window)


def evaluations(ledger: Ledger, monitor: str, since: str = "", until: str = "~") -> list[Evaluation]:
    """Evaluations of windows with since <= window < until, oldest first."""
    return load_all(
        ledger,
        monitor_partition(monitor),
        Evaluation,
        begins_with="EVALUATION#",
        since=f"EVALUATION#{since}",
        until=f"EVALUATION#{until}",
    )


def last_evaluations(ledger: Ledger, monitor: str, most: int | None) -> list[Evaluation]:
    """Evaluations of the newest windows, newest first."""
    return load_all(
        ledger, monitor_partition(monitor), Evaluation, begins_with="EVALUATION#", newest_first=True, limit=most
    )


def note_revision(ledger: Ledger, monitor: str, revision: Revision) -> None:
    """Remember a revision, before it becomes the window's; the first time that it was stored counts."""
    put_if_absent(ledger, monitor_partition(monitor), f"REVISION#{revision.window}#{revision.digest}", revision)


def revisions(ledger: Ledger, monitor: str, window: str) -> list[Revision]:
    """The revisions of a window's report, oldest first."""
    found = load_all(ledger, monitor_partition(monitor), Revision, begins_with=f"REVISION#{window}#")
    return sorted(found, key=lambda each: (each.stored_at, each.digest))


def note_decided(ledger: Ledger, monitor: str, window: str, digest: str) -> None:
    """Remember that nothing is left to do for a revision."""
    done = Decided(window, digest)
    change(
        ledger,
        monitor_partition(monitor),
        f"DECIDED#{window}",
        Decided,
        lambda stored: None if stored == done else done,
    )


def is_decided(ledger: Ledger, monitor: str, window: str, digest: str) -> bool:
    """Whether nothing is left to do for a revision."""
    stored = load(ledger, monitor_partition(monitor), f"DECIDED#{window}", Decided)
    return stored is not None and stored.value.digest == digest


def copies(ledger: Ledger, monitor: str, window: str) -> Stored[Copies] | None:
    return load(ledger, monitor_partition(monitor), f"COPIES#{window}", Copies)


def save_copies(ledger: Ledger, monitor: str, copied: Copies, expected: str | None) -> str:
    """Returns the revision. Raises ConflictError when another worker copies, too."""
    body = msgspec.json.encode(copied)
    return ledger.put(monitor_partition(monitor), f"COPIES#{copied.window}", body, expected=expected)


def beside(ledger: Ledger, monitor: str, window: str) -> dict[str, str]:
    """Capture files of the hour before that are known to hold no request of a window, with their ETags."""
    stored = load(ledger, monitor_partition(monitor), f"BESIDE#{window}", Beside)
    return stored.value.files if stored else {}


def note_beside(ledger: Ledger, monitor: str, window: str, files: dict[str, str]) -> None:
    """Remember capture files of the hour before that hold no request of a window."""
    change(ledger, monitor_partition(monitor), f"BESIDE#{window}", Beside, lambda _: Beside(window, files))


def merged_labels(ledger: Ledger, monitor: str, window: str) -> str | None:
    """With which labels a window's merge files were written last; None where there are none."""
    stored = load(ledger, monitor_partition(monitor), f"MERGED#{window}", Merged)
    return stored.value.labels if stored else None


def note_merged(ledger: Ledger, monitor: str, window: str, labels: str) -> None:
    """Remember with which labels merge files were written; "": they may be older than those asked for."""
    done = Merged(window, labels)
    change(ledger, monitor_partition(monitor), f"MERGED#{window}", Merged, lambda _: done)


def newest(ledger: Ledger, monitor: str) -> Evaluation | None:
    """The evaluation of the newest window that has one."""
    found = load_all(
        ledger, monitor_partition(monitor), Evaluation, begins_with="EVALUATION#", newest_first=True, limit=1
    )
    return found[0] if found else None


def note_settled(ledger: Ledger, monitor: str, window: str) -> None:
    """A window is settled; the newest one is remembered."""
    change(
        ledger,
        monitor_partition(monitor),
        "SETTLED",
        Settled,
        lambda stored: Settled(window) if stored is None or stored.window < window else None,
    )


def newest_settled(ledger: Ledger, monitor: str) -> str:
    """The name of the newest settled window, or "".

    It is remembered; only where that window is not settled any more, for captures came, all are looked through. Where
    none is remembered, one may have been stored by a worker that died before it was: that is a matter of some windows,
    and a monitor without labels is not looked through again for each decision.
    """
    known = load(ledger, monitor_partition(monitor), "SETTLED", Settled)
    if known:
        evaluation = load_evaluation(ledger, monitor, known.value.window)
        if evaluation and evaluation.value.settled:
            return known.value.window
    found = _newest_settled(ledger, monitor, (16, 256, None) if known else (16,))
    if known and found:
        with suppress(ConflictError):  # noted meanwhile by somebody who knows more
            body = msgspec.json.encode(Settled(found))
            ledger.put(monitor_partition(monitor), "SETTLED", body, expected=known.revision)
    return found


def _newest_settled(ledger: Ledger, monitor: str, pages: Sequence[int | None]) -> str:
    # Labels come late but not for ever: the newest settled window is near the newest evaluated one.
    for page in pages:
        found = last_evaluations(ledger, monitor, page)
        for evaluation in found:
            if evaluation.settled:
                return evaluation.window
        if page is None or len(found) < page:
            return ""
    return ""


def save_loss(ledger: Ledger, monitor: str, loss: Loss) -> None:
    """The newest sample's loss replaces an older one's."""
    change(ledger, monitor_partition(monitor), f"LOSS#{loss.window}#{loss.candidate}", Loss, lambda _: loss)


def save_first_loss(ledger: Ledger, monitor: str, loss: Loss) -> None:
    """Keep a loss where there is none yet."""
    put_if_absent(ledger, monitor_partition(monitor), f"LOSS#{loss.window}#{loss.candidate}", loss)


def losses(ledger: Ledger, monitor: str, since: str = "") -> list[Loss]:
    """Candidate losses of windows from `since` on, oldest first."""
    return load_all(
        ledger, monitor_partition(monitor), Loss, begins_with="LOSS#", since=f"LOSS#{since}", until="LOSS#~"
    )


class Execution(msgspec.Struct, frozen=True):
    """One finished execution of an existing Model Monitor schedule, as its files tell it."""

    job: str
    schedule: str
    status: str
    violations: int
    report: str
    finished_at: datetime


def save_execution(ledger: Ledger, monitor: str, execution: Execution) -> bool:
    """Keep an execution; False when it is known already."""
    _, written = change(
        ledger,
        monitor_partition(monitor),
        f"EXECUTION#{execution.job}",
        Execution,
        lambda stored: None if stored else execution,
    )
    return written
