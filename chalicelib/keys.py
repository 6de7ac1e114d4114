"""Every S3 key, built and parsed: the only place that spells SageMaker's keys and Plumbline's own.

Captures, ground truth, merge output and reports have SageMaker's layout (format sections 2.1, 3, 4, 11.1); everything
else is below `plumbline/` in Plumbline's own bucket, first by retention class: `payload` (holds captured data, with the
captures' KMS key and retention) or `facts` (numbers only).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from chalicelib.monitors.types import TYPES
from chalicelib.records.window import Window

# A ground-truth location may be a whole bucket: its keys start with the hour.
_HOURLY = re.compile(r"(?:(?P<prefix>.+)/)?(?P<hour>[12][0-9]{3}/[0-9]{2}/[0-9]{2}/[0-9]{2})/(?P<name>.*[^/])")


class HourlyKey(msgspec.Struct, frozen=True):
    """A key of SageMaker's hourly layout; `prefix`: capture destination/endpoint/variant, or ground-truth location."""

    prefix: str
    hour: datetime
    name: str

    @property
    def key(self) -> str:
        folder = hour_folder(self.hour)
        return f"{self.prefix}/{folder}/{self.name}" if self.prefix else f"{folder}/{self.name}"


@lru_cache(maxsize=1024)
def hour_folder(hour: datetime) -> str:
    """2026-01-02T03:… -> "2026/01/02/03"."""
    return hour.astimezone(UTC).strftime("%Y/%m/%d/%H")


def parse_hourly(key: str) -> HourlyKey | None:
    """Split a capture or ground-truth key; None when it has another layout, and so is no input."""
    match = _HOURLY.fullmatch(key)
    if not match:
        return None
    try:
        hour = datetime.strptime(match["hour"], "%Y/%m/%d/%H").replace(tzinfo=UTC)
    except ValueError:
        return None
    return HourlyKey(match["prefix"] or "", hour, match["name"])


def join(*parts: str) -> str:
    """Join key parts with single slashes, skipping empty ones."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


def capture_prefix(destination: str, endpoint: str, variant: str) -> str:
    """The part of a capture key before its hour. `destination` is the key part of the capture destination URI."""
    return join(destination, endpoint, variant)


def report_folder(output: str, endpoint: str, monitor: str, monitor_type: str, window: Window) -> str:
    """{output}/{endpoint}/{monitor}-{type}/YYYY/MM/DD/HH, the hour being the window's end."""
    schedule = f"{monitor}-{TYPES[monitor_type].suffix}"
    return join(output, endpoint, schedule, hour_folder(window.end))


def label_maturity_key(output: str, endpoint: str, monitor: str, monitor_type: str, window: Window) -> str:
    """Beside a report, but not part of its revisions: its content depends on the time of writing."""
    return join(report_folder(output, endpoint, monitor, monitor_type, window), "label_maturity.json")


def merge_key(output: str, endpoint: str, variant: str, monitor: str, hour: str) -> str:
    """SageMaker's merge folder by capture hour ("YYYY/MM/DD/HH"); the part file has the monitor's name, so that each
    monitor rewrites its own."""
    return join(output, "merge", endpoint, variant, hour, f"part-00000-{monitor}.c000.jsonl")


def merge_prefix(output: str, endpoint: str, variant: str) -> str:
    """The folder of SageMaker's merged records of a variant."""
    return join(output, "merge", endpoint, variant) + "/"


def report_prefix(output: str, endpoint: str, monitor: str, monitor_type: str) -> str:
    """The folder of all reports of a monitor type."""
    return join(output, endpoint, f"{monitor}-{TYPES[monitor_type].suffix}") + "/"


def definition_key(monitor: str, version: str) -> str:
    return f"plumbline/facts/{monitor}/definitions/{version}.json"


def measured_key(monitor: str, window: Window, digest: str) -> str:
    """What the window's captures were measured to be, with their manifest and a sample of them.

    Named by its content and referred to by the evaluation fact, so that a slower worker's older one cannot take the
    place of a newer one. So are the window's labels.
    """
    return f"plumbline/payload/{monitor}/measured/{window.name}/{digest}.msgpack"


def labels_key(monitor: str, window: Window, digest: str) -> str:
    """The labels of a window's requests, and which objects they came from."""
    return f"plumbline/payload/{monitor}/window-labels/{window.name}/{digest}.msgpack"


def ids_prefix(monitor: str) -> str:
    return f"plumbline/payload/{monitor}/ids/"


def ids_key(monitor: str, window: Window, digest: str) -> str:
    """The join ids of a window's requests, hashed: how a label without a time finds its window.

    Named by its content, like what is measured: a slower worker's fewer ids must not take the place of a newer one's.
    """
    return f"{ids_prefix(monitor)}{window.name}/{digest}.bin"


def payload_prefix(monitor: str) -> str:
    """Everything of a monitor that holds captured data, or could reveal it."""
    return f"plumbline/payload/{monitor}/"


def parse_ids_key(key: str) -> str:
    """The window name in an ids key."""
    return key.split("/")[-2]


def filters_prefix(monitor: str) -> str:
    return f"plumbline/payload/{monitor}/filters/"


def filter_key(monitor: str, span: Window, digest: str) -> str:
    """The ids of a day's windows (or of one longer window), in twelve bits each: it replaces their own id objects."""
    return f"{filters_prefix(monitor)}{span.name}/{digest}.msgpack"


def parse_filter_key(key: str) -> tuple[str, str]:
    """Name of the span and digest in a filter's key."""
    span, name = key.split("/")[-2:]
    return span, name.removesuffix(".msgpack")


def filter_check_key(monitor: str, span: str, digest: str) -> str:
    """The data that a filter's answers are checked with."""
    return f"plumbline/payload/{monitor}/filter-checks/{span}/{digest}.bin"


def label_containers_prefix(monitor: str, hour: str) -> str:
    return f"plumbline/payload/{monitor}/labels/{hour}/"


def label_container_key(monitor: str, hour: str, digest: str) -> str:
    """The labels of small ground-truth objects that arrived in `hour` (its start, like a window's name)."""
    return f"{label_containers_prefix(monitor, hour)}{digest}.msgpack"


def revision_key(monitor: str, window: Window, digest: str) -> str:
    """All files of a revision, including merged records, so payload."""
    return f"plumbline/payload/{monitor}/revisions/{window.name}/{digest}.msgpack"


def decision_key(monitor: str, decision_id: str) -> str:
    return f"plumbline/facts/{monitor}/decisions/{decision_id}.json"


def training_manifest_key(monitor: str, decision_id: str) -> str:
    return f"plumbline/facts/{monitor}/retraining/{decision_id}/manifest.json"


def surrogate_key(monitor: str, window: str, what: str) -> str:
    """Row samples, and surrogates, whose cuts are values of rows: `what` is sample or surrogate."""
    return f"plumbline/payload/{monitor}/surrogates/{window}/{what}.msgpack"


def baseline_folder(monitor: str, candidate: str) -> str:
    """Payload, because statistics of held-back rows name categories."""
    return f"plumbline/payload/{monitor}/baselines/{candidate}"


def quarantine_key(monitor: str, digest: str) -> str:
    return f"plumbline/payload/{monitor}/quarantine/{digest}.json"


def s3_uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"
