"""What a job of a retraining pipeline finds in its container: a private /opt/ml, a manifest, merged files, archives."""

from __future__ import annotations

import io
import json
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DECISION = "d" * 64


@dataclass(frozen=True)
class Job:
    """One container: its /opt/ml, and the exit of the script that ran in it."""

    root: Path
    code: int
    log: str

    @property
    def failure(self) -> str:
        return (self.root / "output/failure").read_text()

    def json(self, path: str) -> Any:
        return json.loads((self.root / path).read_text())


def merged_file(seed: int, requests: int, *, quirks: tuple[str, ...] = ()) -> bytes:
    """Merge records of three rows: label 1 where x > y; z is noise, at times empty."""
    chance = random.Random(seed)
    lines = []
    for number in range(requests):
        rows, labels = [], []
        for _ in range(3):
            x, y, z = chance.random(), chance.random(), chance.random()
            rows.append(f"{x!r},{y!r},{z!r}" if z > 0.1 else f"{x!r},{y!r},")
            labels.append(int(x > y))
        truth = json.dumps(labels) if number % 2 else ",".join(map(str, labels))
        lines.append(
            json.dumps(
                {
                    "eventVersion": "0",
                    "groundTruthData": {"data": truth, "encoding": "JSON" if number % 2 else "CSV"},
                    "captureData": {
                        side: {"data": data, "encoding": "CSV", "mode": mode, "observedContentType": "text/csv"}
                        for side, mode, data in (
                            ("endpointInput", "INPUT", "\n".join(rows)),
                            ("endpointOutput", "OUTPUT", "0.5\n0.5\n0.5\n"),
                        )
                    },
                    "eventMetadata": {
                        "eventId": f"event-{seed}-{number:05}",
                        "inferenceId": f"id-{seed}-{number}",
                        "inferenceTime": "2026-01-01T00:00:00Z",
                    },
                }
            )
        )
    return ("\n".join([*lines, *quirks]) + "\n").encode()


def manifest_of(training: dict[str, list[str]], holdback: dict[str, list[str]], **fields: Any) -> dict[str, Any]:
    """A manifest as Plumbline writes it."""
    return {
        "version": 1,
        "monitor": "small",
        "decision_id": DECISION,
        "evidence": {},
        "attributes": {
            "problem_type": "BinaryClassification",
            "features": ["x", "y", "z"],
            "probability_attribute": "0",
            "probability_threshold": 0.5,
        },
        "training": [{"window": window, "merged": uris} for window, uris in training.items()],
        "holdback": [{"window": window, "merged": uris} for window, uris in holdback.items()],
        "champion": {"name": "none", "model_data": "file:///nowhere"},
        "pool": [],
        **fields,
    }


def container(folder: Path, manifest: dict[str, Any], channel: str = "processing/input/manifest") -> Path:
    """A fresh /opt/ml with a manifest in it."""
    path = folder / channel / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))
    return folder


def archive(files: dict[str, bytes]) -> bytes:
    """A model.tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, body in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            packed.addfile(entry, io.BytesIO(body))
    return buffer.getvalue()


def packed(model_dir: Path) -> bytes:
    """A model directory as SageMaker packs it after training."""
    return archive({p.relative_to(model_dir).as_posix(): p.read_bytes() for p in model_dir.rglob("*") if p.is_file()})
