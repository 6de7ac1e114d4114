"""Reads the stored reports: every figure of the final table comes from files in the report folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import Label
from chalicelib.records.merge import read_merged
from chalicelib.records.table import to_table

Floats = npt.NDArray[np.float64]

# What is kept of the account: SageMaker's files, merged records, decisions. Not the captures themselves.
KEPT = ("reports/", "plumbline/facts/")


@dataclass(frozen=True)
class WindowReport:
    """One window's model-quality report: `error` over all labelled rows (SageMaker's accuracy), nan without labels."""

    window: str
    rows: int
    labelled: int
    error: float
    violations: int
    settled: bool


@dataclass(frozen=True)
class Recorded:
    """Rows of one window as captured and labelled, in time order."""

    window: str
    features: Floats
    labels: Floats
    served: Floats


def save(s3: Any, bucket: str, folder: Path) -> int:
    """Copy what is kept from the bucket into a folder; returns the number of files."""
    count = 0
    for prefix in KEPT:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                path = folder / item["Key"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
                count += 1
    return count


def model_quality(folder: Path, endpoint: str, monitor: str) -> list[WindowReport]:
    """The model-quality reports of a monitor, oldest first."""
    found = []
    for path in sorted((folder / "reports" / endpoint / f"{monitor}-model-quality").rglob("evaluation.json")):
        own = json.loads(path.read_text())
        statistics = path.with_name("statistics.json")
        error, labelled = float("nan"), 0
        if statistics.exists():
            document = json.loads(statistics.read_text())
            error = 1.0 - document["binary_classification_metrics"]["accuracy"]["value"]
            labelled = document["dataset"]["item_count"]
        rows, start = own["inputs"]["rows"], own["window"]["start"]
        found.append(WindowReport(start, rows, labelled, error, _violations(path), own["settled"]))
    return found


def violations_by_type(folder: Path, endpoint: str, monitor: str) -> dict[str, int]:
    """Windows with violations per monitor type."""
    counts: Counter[str] = Counter()
    for kind in ("data-quality", "model-quality"):
        for path in (folder / "reports" / endpoint / f"{monitor}-{kind}").rglob("constraint_violations.json"):
            counts[kind] += bool(json.loads(path.read_text())["violations"])
    return dict(counts)


def _violations(evaluation: Path) -> int:
    path = evaluation.with_name("constraint_violations.json")
    return len(json.loads(path.read_text())["violations"]) if path.exists() else 0


def label_maturity(folder: Path, endpoint: str, monitor: str) -> list[dict[str, Any]]:
    """How far the labels of each window have come, oldest first."""
    paths = sorted((folder / "reports" / endpoint / f"{monitor}-model-quality").rglob("label_maturity.json"))
    return [json.loads(path.read_text()) for path in paths]


def recorded(folder: Path, endpoint: str, attributes: Attributes) -> list[Recorded]:
    """The captured and labelled rows of every window, from the merged records."""
    windows = []
    for path in sorted((folder / "reports/merge" / endpoint).rglob("*.jsonl")):
        merged = read_merged(path.read_bytes(), path.name).requests
        labels: Mapping[str, Label] = {one.request.join_id: one.label for one in merged}
        table = to_table([one.request for one in merged], labels, attributes)
        if not len(table):
            continue
        columns = [[float(value) for value in table.features[name]] for name in attributes.features]
        hour = "-".join(path.parts[-5:-2]) + f"T{path.parts[-2]}:00:00Z"
        windows.append(Recorded(hour, np.array(columns).T, table.labels, table.predictions))
    return windows


def error_of(reports: list[WindowReport]) -> float:
    """Error rate over all labelled rows of a list of reports."""
    known = [report for report in reports if report.error == report.error]
    rows = sum(report.labelled for report in known)
    return sum(report.error * report.labelled for report in known) / rows if rows else float("nan")


def persistence(windows: list[Recorded], delay: int) -> float:
    """Error of answering with the label of `delay` rows ago (at least 1), over the rows that have one."""
    labels = np.concatenate([window.labels for window in windows])
    return float(np.mean(labels[delay:] != labels[:-delay]))
