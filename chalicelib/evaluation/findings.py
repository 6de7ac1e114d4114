"""evaluation.json: what was looked at, how far it can be trusted and why something was not evaluated.

It stands beside SageMaker's files, which have no place for this. Knows its layout (docs/reports.md); refuses to know
thresholds. Reasons and ids are in it, values are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.evaluation.measurement import Measurement
from chalicelib.evidence.calibration import calibration
from chalicelib.evidence.label_maturity import ages_findings
from chalicelib.evidence.selection import selection_findings
from chalicelib.monitors import model_quality
from chalicelib.records.capture import BadInput
from chalicelib.records.table import BadRecords
from chalicelib.states.maturity import LabelAges

VERSION = 1

# Bad lines named in a report; all are counted.
BAD_LINES_NAMED = 20


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What was evaluated: whose captures, from when (inclusive) to when (exclusive, ISO times), against what."""

    monitor: str
    endpoint: str
    variant: str
    start: str
    end: str
    baseline: str


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: files and requests, labels that came more than once, and what could not be read.

    `capture_files_gone` counts those that are not there any more and could not be read again with others.
    `more_bad` counts the bad lines that are not in `bad`; `elsewhere` the requests that another model or inference
    component than the monitor's answered.
    """

    capture_files: int
    capture_files_gone: int = 0
    requests: int
    label_objects: int
    labels_repeated: int
    labels_conflicting: int
    labels_rejected: int
    bad: Sequence[BadInput]
    more_bad: int = 0
    elsewhere: int = 0


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows have a label, their share of the answered ones, whether that is enough, and what was lost.

    `loss` as `records.sample.loss_of` has it; `segments`: the same per model that answered; `ages`: how long the
    labels took, where their times are known.
    """

    rows: int
    coverage: float
    settled: bool
    loss: float | None
    segments: Sequence[Mapping[str, Any]]
    ages: LabelAges | None = None


def own_findings(
    scope: Scope,
    read: Read,
    measured: Measurement,
    labelled: Labelled,
    broken: Sequence[str],
    monitor_type: str,
    status: str,
    reason: str,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of evaluation.json for one monitor type; `notes`: what a reader should know of how it was read."""
    bad = [{"key": line.key, "line": line.line, "reason": line.reason} for line in read.bad[:BAD_LINES_NAMED]]
    document = {
        "version": VERSION,
        "monitor": scope.monitor,
        "monitor_type": monitor_type,
        "endpoint": scope.endpoint,
        "variant": scope.variant,
        "window": {"start": scope.start, "end": scope.end},
        "status": status,
        "reason": reason,
        "baseline": scope.baseline,
        "inputs": {
            "capture_files": read.capture_files,
            "capture_files_gone": read.capture_files_gone,
            "requests": read.requests,
            "rows": measured.rows,
            "repeated_requests": measured.repeated,
            "requests_elsewhere": read.elsewhere,
            "label_objects": read.label_objects,
            "labelled_rows": labelled.rows,
            "label_coverage": labelled.coverage,
            "labels_repeated": read.labels_repeated,
            "labels_conflicting": read.labels_conflicting,
            "labels_rejected": read.labels_rejected,
        },
        "bad_lines": {"count": len(read.bad) + read.more_bad, "sample": bad},
        "bad_records": _counted(measured.bad_records),
        "noted_records": _counted(measured.noted_records),
        "broken": list(broken),
        "settled": labelled.settled,
        "served_loss": labelled.loss,
        "segments": list(labelled.segments),
        **({"notes": list(notes)} if notes else {}),
    }
    if monitor_type in ("ModelQuality", "ModelBias") and labelled.ages is not None:
        document["label_ages"] = ages_findings(labelled.ages)
    if monitor_type == "ModelQuality" and measured.selection.rows:
        mae = measured.residuals.sizes.mean if measured.residuals.rows else None
        document["selection"] = selection_findings(measured.selection, mae)
    if monitor_type == "ModelQuality" and measured.quality.rows:
        document["deviations"] = model_quality.deviations(measured.quality)
    if monitor_type == "ModelQuality" and measured.tally.rows:
        document["calibration"] = calibration(measured.tally)
    return document


def _counted(found: Mapping[str, BadRecords]) -> dict[str, Any]:
    return {why: {"count": each.count, "sample": list(each.sample)} for why, each in found.items()}
