"""SageMaker's EventBridge events, in the shapes that AWS publishes.

Not here: when an event is due and who receives it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.records.times import iso
from emulator.sagemaker_state import Document, Store, moment, sortable

_NAMESPACE = uuid.UUID("6d1a0c6e-6c0b-5f0e-9d0e-5a6b1f3c2d4e")


class Events:
    """Builds events for one account and region."""

    def __init__(self, account: str, region: str) -> None:
        self.account = account
        self.region = region

    def pipeline_execution(self, execution: Document, status: str, previous: str | None, when: datetime) -> Document:
        """SageMaker Model Building Pipeline Execution Status Change."""
        detail = {
            "pipelineExecutionDisplayName": execution["PipelineExecutionDisplayName"],
            "currentPipelineExecutionStatus": status,
            "executionStartTime": iso(moment(execution["CreationTime"])),
            "pipelineExecutionDescription": execution.get("PipelineExecutionDescription", ""),
            "pipelineArn": execution["PipelineArn"],
            "pipelineExecutionArn": execution["PipelineExecutionArn"],
        }
        if previous is not None:
            detail["previousPipelineExecutionStatus"] = previous
        if status in ("Succeeded", "Failed", "Stopped"):
            detail["executionEndTime"] = iso(when)
        return self._event(
            "SageMaker Model Building Pipeline Execution Status Change",
            [execution["PipelineArn"], execution["PipelineExecutionArn"]],
            detail,
            when,
        )

    def model_package(self, package: Document, when: datetime) -> Document:
        """SageMaker Model Package State Change."""
        copied = (
            "ModelPackageGroupName",
            "ModelPackageVersion",
            "ModelPackageArn",
            "ModelPackageStatus",
            "ModelApprovalStatus",
            "ModelMetrics",
            "InferenceSpecification",
            "CustomerMetadataProperties",
        )
        detail = {name: package[name] for name in copied if name in package}
        detail["CreationTime"] = iso(moment(package["CreationTime"]))
        detail["LastModifiedTime"] = iso(
            moment(package["LastModifiedTime"] if "LastModifiedTime" in package else package["CreationTime"])
        )
        return self._event("SageMaker Model Package State Change", [package["ModelPackageArn"]], detail, when)

    def endpoint(
        self, endpoint: Document, status: str, variants: Sequence[Mapping[str, Any]], when: datetime
    ) -> Document:
        """SageMaker Endpoint State Change: upper snake case status, times in epoch milliseconds, as in the sample."""
        detail = {
            "EndpointName": endpoint["EndpointName"],
            "EndpointArn": endpoint["EndpointArn"],
            "EndpointConfigName": endpoint["EndpointConfigName"],
            "ProductionVariants": [
                {
                    "DesiredWeight": float(variant.get("InitialVariantWeight", 1.0)),
                    "DesiredInstanceCount": float(variant.get("InitialInstanceCount", 1)),
                }
                for variant in variants
            ],
            "EndpointStatus": _snake(status),
            "CreationTime": _milliseconds(moment(endpoint["CreationTime"])),
            "LastModifiedTime": _milliseconds(when),
            "Tags": {},
        }
        event = self._event("SageMaker Endpoint State Change", [endpoint["EndpointArn"]], detail, when)
        event["time"] = str(int(_milliseconds(when)))
        return event

    def processing_job(self, job: Document, when: datetime) -> Document:
        """SageMaker Processing Job State Change: the fields of the job's description, times in epoch milliseconds."""
        detail = {
            name: _milliseconds(moment(value)) if name.endswith("Time") and isinstance(value, str) else value
            for name, value in job.items()
        }
        return self._event("SageMaker Processing Job State Change", [job["ProcessingJobArn"]], detail, when)

    def _event(self, detail_type: str, resources: Sequence[str], detail: Document, when: datetime) -> Document:
        # The id depends on the content only, so that a repeated run sends the same events.
        name = f"{detail_type}|{'|'.join(resources)}|{iso(when)}|{sorted(detail.items(), key=lambda pair: pair[0])!r}"
        return {
            "version": "0",
            "id": str(uuid.uuid5(_NAMESPACE, name)),
            "detail-type": detail_type,
            "source": "aws.sagemaker",
            "account": self.account,
            "time": iso(when),
            "region": self.region,
            "resources": list(resources),
            "detail": detail,
        }


@dataclass(frozen=True)
class World:
    """What every operation works on: the stored state, the logical clock and the account's events."""

    store: Store
    now: Callable[[], datetime]
    events: Events

    def arn(self, kind: str, name: str) -> str:
        """`arn:aws:sagemaker:{region}:{account}:{kind}/{name}`."""
        return f"arn:aws:sagemaker:{self.events.region}:{self.events.account}:{kind}/{name}"

    def time(self) -> str:
        """The logical time as documents keep it."""
        return sortable(self.now())


def _snake(status: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", status).upper()


def _milliseconds(when: datetime) -> float:
    return float(round(when.timestamp() * 1000))
