"""A Model Monitor execution of an existing schedule finished: read its files and store its violations.

An execution has no event of its own: it is a processing job with a monitoring schedule (format section 10). Its
violations alert, but start no retraining.
"""

from __future__ import annotations

from datetime import UTC

import msgspec

from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import UNDECODABLE, NotFoundError, UnreadableError
from chalicelib.events import job_changed
from chalicelib.facts import evaluations, incidents
from chalicelib.ports import ProcessingJob
from chalicelib.wiring import Services
from chalicelib.workflows.incident_alerts import Finding, publish_pending


class _Violations(msgspec.Struct):
    violations: list[dict[str, object]]


def handle(body: str, services: Services) -> None:
    """Handle one processing-job event; jobs of unknown schedules, and merge jobs, are ignored."""
    event = job_changed(body)
    if event.name.startswith("groundtruth-merge-"):
        return
    try:
        job = services.sagemaker.describe_processing_job(event.name)
    except NotFoundError:
        return
    if not job.monitoring_schedule_arn or job.status == "InProgress":
        return
    schedule = job.monitoring_schedule_arn.rpartition("/")[2]
    for definition in services.definitions.find("schedule", schedule):
        _record(services, definition, schedule, job)


def _record(services: Services, definition: Definition, schedule: str, job: ProcessingJob) -> None:
    report = next(iter(job.outputs.values()), "")
    reasons = _violations(services, report) if job.status == "Completed" else [f"the execution ended {job.status}"]
    execution = evaluations.Execution(
        job=job.name,
        schedule=schedule,
        status=job.exit_message.partition(":")[0] or job.status,
        violations=len(reasons),
        report=report,
        finished_at=services.now(),
    )
    evaluations.save_execution(services.ledger, definition.name, execution)
    # The window's start, or the job's creation time in the same format, because the two are compared.
    window = job.environment.get("start_time") or f"{job.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    name, now = definition.name, services.now()
    # A clean execution of one schedule says nothing about what another has found.
    if reasons:
        incident = incidents.open_incident(
            services.ledger, name, "model-monitor", window, now, "warning", source=schedule
        )
    else:
        incident = incidents.resolve_incident(services.ledger, name, "model-monitor", window, now, source=schedule)
    publish_pending(services, definition, {incident.name: Finding(window=window, reasons=reasons, report=report)})


def _violations(services: Services, report: str) -> list[str]:
    """The names of what was violated; a completed execution without the file has none (format section 1)."""
    bucket, prefix = split_s3_uri(report, "the job's output")
    key = f"{prefix}/constraint_violations.json"
    try:
        body = services.objects.get(bucket, key).body
    except NotFoundError:
        return []
    try:
        found = msgspec.json.decode(body, type=_Violations).violations
    except UNDECODABLE:
        raise UnreadableError(key, "expected SageMaker's constraint_violations.json") from None
    names = (violation.get("metric_name") or violation.get("feature_name") for violation in found)
    return [f"{name}: {violation.get('constraint_check_type')}" for name, violation in zip(names, found, strict=True)]
