"""Plumbline's table of contents: one function per event source. docs/architecture.md tells the way of an event.

Every AWS event comes through a queue of its own, so that retries, back-pressure, dead letters and partial batch
responses are the same for all. The work is in chalicelib/handlers, one file per function below, imported when the
function first runs: a function loads nothing that it does not use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from chalice import Chalice, ConvertToMiddleware, IAMAuthorizer, Response
from chalice.app import SQSEvent

from chalicelib import events, settings, wiring
from chalicelib.errors import PermanentError
from chalicelib.wiring import Services

app = Chalice(app_name="plumbline")
logger = Logger(service="plumbline")
# The service is the metrics' dimension: two stages in one account are two series.
metrics = Metrics(namespace="Plumbline/Functions", service=f"plumbline-{settings.stage()}")
app.register_middleware(ConvertToMiddleware(logger.inject_lambda_context))
app.register_middleware(ConvertToMiddleware(metrics.log_metrics))


def queue(name: str) -> str:
    return wiring.queue_name(settings.stage(), name)


def work_off(event: SQSEvent, handle: Callable[[str, Services], Any]) -> dict[str, Any]:
    """Give each message of a batch to a handler; only those that failed go back to the queue.

    What can only fail again (PermanentError) is logged, counted and done. Logs hold names, never payload.
    """
    services = wiring.services()

    def one(record: SQSRecord) -> None:
        try:
            handle(record.body, services)
        except Exception as error:
            log_failure(error, record.body)
            if not isinstance(error, PermanentError):
                raise

    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    response = process_partial_response(
        event=event.to_dict(), record_handler=one, processor=processor, context=event.context
    )
    metrics.add_metric(name="Messages", unit=MetricUnit.Count, value=len(event.to_dict()["Records"]))
    return dict(response)


def log_failure(error: Exception, body: str) -> None:
    """Log and count a message that failed: names, codes and reasons, never what a capture or a label holds."""
    about = {**wiring.explained(error), **events.subject(body)}
    if isinstance(error, PermanentError):
        logger.error("permanent failure", **about)
    else:
        logger.warning("failed, the queue delivers it again", **about)
    metrics.add_metric(name=getattr(error, "counted_as", "Failures"), unit=MetricUnit.Count, value=1)


@app.on_sqs_message(queue=queue("captures"), batch_size=10)
def capture_landed(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.capture_landed import handle

    return work_off(event, handle)


def posted(endpoint: str, caller: str | None = None) -> Response:
    from chalicelib.handlers.ground_truth_posted import PostedRequest, handle

    call, services = app.current_request, wiring.services()
    request = PostedRequest(endpoint, call.headers, call.raw_body, call.headers.get("content-type", ""), caller)
    status, body, headers = handle(request, services, services.definitions.ground_truth_places)
    metrics.add_metric(name="GroundTruthPosts", unit=MetricUnit.Count, value=1)
    return Response(body=body, status_code=status, headers=headers)


# Chalice would answer a wrong content type in its own way; the handler answers with a problem document.
@app.route("/ground-truth/{endpoint}", methods=["POST"], content_types=["*/*"])
def ground_truth_posted(endpoint: str) -> Response:
    return posted(endpoint)


# API Gateway asks IAM before it calls, and passes the caller's ARN; without IAM there is none.
@app.route("/iam/ground-truth/{endpoint}", methods=["POST"], content_types=["*/*"], authorizer=IAMAuthorizer())
def ground_truth_posted_by_iam(endpoint: str) -> Response:
    return posted(endpoint, app.current_request.context.get("identity", {}).get("userArn") or "")


# Open to all: it says what any label webhook of this release takes, and nothing about this deployment.
@app.route("/openapi.json", methods=["GET"])
def openapi() -> Response:
    from chalicelib.openapi import document

    metrics.add_metric(name="OpenapiReads", unit=MetricUnit.Count, value=1)
    return Response(body=document(), headers={"Content-Type": "application/json"})


def paged() -> Response:
    from chalicelib.handlers.page_asked import PageRequest, handle

    call = app.current_request
    session = (call.query_params or {}).get("session", "")
    request = PageRequest(call.path, call.uri_params or {}, call.context.get("path", ""), session, call.headers)
    status, body, headers = handle(request, wiring.services())
    return Response(body=body, status_code=status, headers=headers)


# These ask for a session themselves: a browser cannot sign its requests for IAM.
@app.route("/", methods=["GET"])
def page_of_fleet() -> Response:
    return paged()


@app.route("/fleet.json", methods=["GET"])
def fleet_as_json() -> Response:
    return paged()


@app.route("/monitors/{monitor}", methods=["GET"])
def page_of_monitor(monitor: str) -> Response:
    return paged()


@app.route("/monitors/{monitor}/windows/{window}", methods=["GET"])
def page_of_window(monitor: str, window: str) -> Response:
    return paged()


@app.route("/decisions/{decision}", methods=["GET"])
def page_of_decision(decision: str) -> Response:
    return paged()


@app.on_sqs_message(queue=queue("ground-truth"), batch_size=10)
def ground_truth_landed(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.ground_truth_landed import handle

    return work_off(event, handle)


@app.on_sqs_message(queue=queue("clock"), batch_size=1)
def windows_due(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.windows_due import handle

    def tick(body: str, services: Services) -> None:
        metrics.add_metric(name="WindowsOverdue", unit=MetricUnit.Count, value=handle(body, services))

    return work_off(event, tick)


@app.on_sqs_message(queue=queue("windows"), batch_size=1)
def window_due(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.window_due import handle

    return work_off(event, handle)


@app.on_sqs_message(queue=queue("executions"), batch_size=10)
def execution_finished(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.execution_finished import handle

    return work_off(event, handle)


@app.on_sqs_message(queue=queue("alarms"), batch_size=10)
def alarm_changed(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.alarm_changed import handle

    return work_off(event, handle)


@app.on_sqs_message(queue=queue("retrain-claims"), batch_size=1)
def retrain_claimed(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.retrain_claimed import handle

    return work_off(event, handle)


@app.on_sqs_message(queue=queue("promotion-claims"), batch_size=1)
def promotion_claimed(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.promotion_claimed import handle

    return work_off(event, handle)


@app.on_sqs_message(queue=queue("pipelines"), batch_size=10)
def pipeline_finished(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.pipeline_finished import handle

    return work_off(event, handle)


@app.on_sqs_message(queue=queue("model-packages"), batch_size=10)
def model_package_changed(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.model_package_changed import handle

    return work_off(event, handle)


@app.on_sqs_message(queue=queue("endpoints"), batch_size=10)
def endpoint_changed(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.endpoint_changed import handle

    return work_off(event, handle)


@app.on_sqs_message(queue=queue("alerts"), batch_size=1)
def alert_published(event: SQSEvent) -> dict[str, Any]:
    from chalicelib.handlers.alert_published import handle

    return work_off(event, handle)
