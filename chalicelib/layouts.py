"""The layouts of the other files that Plumbline writes, as types: `schemas/` is generated from them.

Definition, decision and alert have types of their own; the other files' are here. No code builds or reads with them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from chalicelib.decisions.alert import Alert
from chalicelib.facts.decisions import Evidence
from chalicelib.records.attributes import Attributes

Count = Annotated[int, Meta(ge=0)]


# JSON Lines -----------------------------------------------------------------------------------------------------------


class GroundTruthData(Struct):
    """A label as text: CSV, or a JSON document with a value per record."""

    data: str
    encoding: str


class LabelMetadata(Struct, rename="camel"):
    """`eventId` is the inference id where the caller gave one; times and record index are Plumbline's additions."""

    event_id: str
    inference_time: str | UnsetType = UNSET
    label_time: str | UnsetType = UNSET
    record_index: Count | UnsetType = UNSET


class GroundTruthLine(Struct, rename="camel"):
    """One label (model-monitor formats, section 3)."""

    ground_truth_data: GroundTruthData
    event_metadata: LabelMetadata
    event_version: Literal["0"]


class CapturedSide(Struct, rename="camel"):
    """One side of a request, or a line of a batch transform, which has neither mode nor content type."""

    data: str
    encoding: str
    mode: Literal["INPUT", "OUTPUT"] | UnsetType = UNSET
    observed_content_type: str | UnsetType = UNSET


class CaptureData(Struct, rename="camel"):
    endpoint_input: CapturedSide | UnsetType = UNSET
    endpoint_output: CapturedSide | UnsetType = UNSET
    batch_transform_output: CapturedSide | UnsetType = UNSET


class RequestMetadata(Struct, rename="camel"):
    """A batch transform has no time."""

    event_id: str
    inference_id: str | UnsetType = UNSET
    inference_time: str | UnsetType = UNSET
    custom_attributes: list[str] | UnsetType = UNSET
    target_model: str | UnsetType = UNSET
    inference_component_name: str | UnsetType = UNSET


class MergedLine(Struct, rename="camel"):
    """A captured request with its label (model-monitor formats, section 4)."""

    event_version: Literal["0"]
    ground_truth_data: GroundTruthData
    capture_data: CaptureData
    event_metadata: RequestMetadata


# Documents ------------------------------------------------------------------------------------------------------------


class ManifestWindow(Struct, forbid_unknown_fields=True):
    """A window by its start, and the S3 URIs of its merged records."""

    window: str
    merged: list[str]


class ManifestModel(Struct, forbid_unknown_fields=True):
    name: str
    model_data: str


class Manifest(Struct, forbid_unknown_fields=True):
    """The input of a retraining (pipelines/README.md)."""

    version: Literal[1]
    monitor: str
    decision_id: str
    attributes: Attributes
    evidence: list[Evidence]
    training: list[ManifestWindow]
    holdback: list[ManifestWindow]
    champion: ManifestModel
    pool: list[ManifestModel]


class Quarantine(Struct, forbid_unknown_fields=True):
    """A file that could not be read."""

    bucket: str
    key: str
    etag: str
    reason: str
    size: Count
    first_bytes_hex: Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")]


class AlertWebhook(Struct, forbid_unknown_fields=True):
    """The body of a signed webhook (Standard Webhooks)."""

    type: Literal["alert.opened", "alert.changed", "alert.resolved", "alert.notice"]
    timestamp: str
    data: Alert
