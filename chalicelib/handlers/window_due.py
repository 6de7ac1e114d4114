"""A window is due: evaluate it, store what was found, decide, act. Gather -> think -> act, read from top to bottom."""

from __future__ import annotations

import math

from chalicelib.definition import Definition
from chalicelib.errors import ConflictError
from chalicelib.evaluation.evaluate import evaluate
from chalicelib.events import window_message
from chalicelib.facts import due, evaluations, news, rebuilds
from chalicelib.facts.document import Stored
from chalicelib.facts.evaluations import Evaluation
from chalicelib.facts.rebuilds import Rebuild
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.window_decision import decide_and_act
from chalicelib.workflows.window_evidence import weigh_evidence
from chalicelib.workflows.window_inputs import Anew, gather, sweep_labels
from chalicelib.workflows.window_label_maturity import write_label_maturity
from chalicelib.workflows.window_merge import labels_to_merge, write_merged_records
from chalicelib.workflows.window_rebuild import standing
from chalicelib.workflows.window_reports import put_copies, store

# Two workers on one window meet now and then; more than this in a row is for the queue's retry.
ATTEMPTS = 3


def handle(body: str, services: Services) -> None:
    """Work off one message. Nothing is owed any more: a repeat. Marked again while this ran: it stays due.

    What is owed to a removed monitor is owed no longer.

    Raises ConflictError when other workers evaluated the same window again and again meanwhile.
    """
    message = window_message(body)
    owed = due.read(services.ledger, message.monitor, message.window)
    if owed is None:
        return
    entry = services.definitions.entry(message.monitor)
    if entry.removed_at:
        due.finish(services.ledger, message.monitor, message.window, owed.revision)
        return
    definition = services.definitions.of(entry)
    window = Window.parse(message.window, definition.window_length)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _evaluate(services, definition, window, owed.value.anew)
            break
        except ConflictError:  # another worker was faster: read the inputs again and think again
            if attempt == ATTEMPTS:
                raise
    due.finish(services.ledger, definition.name, window.name, owed.revision)


def _evaluate(services: Services, definition: Definition, window: Window, anew: bool) -> None:
    previous = evaluations.load_evaluation(services.ledger, definition.name, window.name)
    past = services.now() >= window.end + definition.horizon
    order = _order(services, definition, window, previous, past) if anew else None
    sealed = previous is not None and past and order is None
    if definition.ground_truth_s3_uri and (previous is None or _swept_again(services, definition, window)):
        sweep_labels(services, definition, window)
    waiting = news.pending(services.ledger, definition.name, window.name)
    gathered = gather(services, definition, window, previous.value if previous else None, order, sealed)
    kms_key_id = gathered.kms_key_id
    same = previous is not None and (gathered.measured, gathered.labels) == (
        previous.value.measured,
        previous.value.labels,
    )
    as_sealed = previous.value if previous and sealed and same else None
    if as_sealed and not _asks(services, definition, as_sealed):
        write_label_maturity(services, definition, window, as_sealed, kms_key_id)
        return
    findings = evaluate(gathered.task)
    if as_sealed and findings.digest != as_sealed.digest:
        # By another definition than it was sealed with: its report stays as it is.
        put_copies(services, definition, window, kms_key_id)
        write_label_maturity(services, definition, window, as_sealed, kms_key_id)
        return
    merged = labels_to_merge(definition, previous.value if previous else None, findings.settled, past, gathered.labels)
    evaluation = store(services, definition, window, findings, gathered, previous, merged, anew=order is not None)
    write_merged_records(services, definition, window, evaluation, gathered, over=order is not None)
    policy = definition.policy
    needed = max(policy.min_labelled_rows, math.ceil(policy.min_label_coverage * findings.answered))
    requests = gathered.task.measured.requests
    news.reported(
        services.ledger, definition.name, window.name, waiting, requests, findings.answered, findings.labelled, needed
    )
    write_label_maturity(services, definition, window, evaluation, kms_key_id)
    restored = order is not None and previous is None
    found = weigh_evidence(services, definition, window, evaluation, findings, gathered)
    decide_and_act(services, definition, window, evaluation, findings, gathered, found, restored)
    evaluations.note_decided(services.ledger, definition.name, window.name, evaluation.digest)
    if order is not None:
        before = previous.value.digest if previous else ""
        done = Rebuild(window=window.name, outcome="REBUILT", at=services.now(), before=before, after=evaluation.digest)
        rebuilds.note(services.ledger, definition.name, done)


def _asks(services: Services, definition: Definition, evaluation: Evaluation) -> bool:
    """Whether there is something to do for a sealed window that nothing was added to.

    Its merge files are to have the last labels, its worker died before all was done, or it is the newest settled one,
    which decides again when an alarm asks or a veto or pause ends.
    """
    if labels_to_merge(definition, evaluation, True, True, evaluation.labels) != evaluation.merged:
        return True
    if not evaluations.is_decided(services.ledger, definition.name, evaluation.window, evaluation.digest):
        return True
    return evaluations.newest_settled(services.ledger, definition.name) == evaluation.window


def _swept_again(services: Services, definition: Definition, window: Window) -> bool:
    """Whether label objects are looked for once more: a job may file them late into the folder of an earlier hour. Not
    when what was worked off may be forgotten: all of it would be sent again."""
    now = services.now()
    return window.end + definition.second_look <= now < window.start + definition.horizon


def _order(
    services: Services, definition: Definition, window: Window, previous: Stored[Evaluation] | None, past: bool
) -> Anew | None:
    """How to derive the window anew; None, and a note of it, when that would lose something that was counted.

    Asked here and not only by who ordered it: files may have expired since.
    """
    found = standing(services, definition, window, previous.value if previous else None)
    if found.whole:
        return Anew(found.inputs, only=past and found.evaluated)
    refused = Rebuild(
        window=window.name,
        outcome="REFUSED",
        at=services.now(),
        reason=found.reason,
        lost=found.lost[: rebuilds.LOST_NAMED],
        lost_count=len(found.lost),
    )
    rebuilds.note(services.ledger, definition.name, refused)
    return None
