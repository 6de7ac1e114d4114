"""A window is due: evaluate it, store what was found, decide, act. Gather -> think -> act, read from top to bottom."""

from __future__ import annotations

from chalicelib.events import window_message
from chalicelib.facts import champions, due, evaluations
from chalicelib.handlers.window_decision import decide_and_act
from chalicelib.handlers.window_inputs import gather, sweep_labels
from chalicelib.handlers.window_reports import store
from chalicelib.monitors.evaluation import evaluate
from chalicelib.records.window import Window
from chalicelib.wiring import Services


def handle(body: str, services: Services) -> None:
    """Work off one message. Nothing is owed any more: a repeat. Marked again while this ran: it stays due.

    Raises ConflictError when another worker evaluated the same window meanwhile: the queue delivers again, and the
    inputs are read again.
    """
    message = window_message(body)
    owed = due.read(services.ledger, message.monitor, message.window)
    if owed is None:
        return
    definition = services.definitions.get(message.monitor)
    window = Window.parse(message.window, definition.window_length)
    previous = evaluations.load_evaluation(services.ledger, definition.name, window.name)
    sealed = services.now() >= window.end + definition.horizon
    if not (sealed and previous):
        if previous is None and definition.ground_truth_s3_uri:
            sweep_labels(services, definition, window)
        gathered = gather(services, definition, window)
        findings = evaluate(gathered.task)
        champion = champions.load_champion(services.ledger, definition.name)
        model = champion.reign_at(window.name).candidate if champion else ""
        evaluation = store(services, definition, window, findings, model, previous, gathered.kms_key_id)
        decide_and_act(services, definition, window, evaluation, findings, gathered)
    due.finish(services.ledger, definition.name, window.name, owed.revision)
