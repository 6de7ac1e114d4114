"""A retraining was claimed: start the pipeline with the claim's exact request, and mark the claim started.

The only function that may start pipelines. A repeat sends the same request with the same token, and SageMaker returns
the same execution.
"""

from __future__ import annotations

from datetime import timedelta

from chalicelib.errors import RefusedError, words_of
from chalicelib.events import claim_message
from chalicelib.facts import claims, decisions, pauses
from chalicelib.wiring import Services
from chalicelib.workflows.challenges import end_retrain, tell


def handle(body: str, services: Services) -> None:
    """Start the claimed pipeline; a message about a claim that has moved on is a repeat.

    During a pause nothing is started, and the clock sends the claim again. A removed monitor starts nothing.
    """
    message = claim_message(body)
    claim = claims.load_retrain(services.ledger, message.monitor)
    if claim is None or claim.decision_id != message.claim_id or claim.state != "STARTING":
        return
    entry = services.definitions.entry(message.monitor)
    definition = services.definitions.of(entry)
    if entry.removed_at:
        reason = "not started: the monitor was removed"
        end_retrain(services, definition, claim.decision_id, claim.window, "FAILED", reason)
        return
    if pauses.in_force(services.ledger, definition.name, services.now()):
        return
    try:
        arn = services.sagemaker.start_pipeline(claim.request)
    except RefusedError as error:
        # A request that SageMaker rejects stays wrong: fail instead of retrying for ever.
        end_retrain(services, definition, claim.decision_id, claim.window, "FAILED", f"not started: {error}")
        return
    except Exception as error:  # a quota or a permission, which a person may mend meanwhile
        if services.now() - claim.started_at < claims.PATIENCE:
            raise
        hours = claims.PATIENCE // timedelta(hours=1)
        reason = f"not started within {hours} hours: {words_of(error)}"
        end_retrain(services, definition, claim.decision_id, claim.window, "FAILED", reason)
        return
    record = decisions.load_record(services.ledger, claim.decision_id)
    causes = record.reasons[:1] if record else ()
    tell(services, definition, claim.decision_id, claim.window, "STARTED", f"pipeline execution {arn}", causes)
    claims.move_retrain(
        services.ledger, definition.name, claim.decision_id, ("STARTING",), "STARTED", services.now(), execution_arn=arn
    )
