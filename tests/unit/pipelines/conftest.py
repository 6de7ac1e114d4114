"""The step scripts as a job finds them, and small merged windows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import package_code
from tests.unit.pipelines.containers import Job, merged_file


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies under CodeUri."""
    folder = tmp_path_factory.mktemp("code")
    package_code.copy(folder)
    return folder


@pytest.fixture(scope="session")
def run_script() -> Callable[..., Job]:
    def run(script: Path, root: Path, *arguments: str, **environment: str) -> Job:
        # A clean environment: only what lies beside the script is importable, as in a container.
        clean = {"PATH": os.defpath, "ML_ROOT": str(root), "OMP_NUM_THREADS": "1", **environment}
        done = subprocess.run(
            [sys.executable, script, *arguments], cwd=root, env=clean, capture_output=True, text=True, timeout=120
        )
        return Job(root, done.returncode, done.stdout + done.stderr)

    return run


@pytest.fixture(scope="session")
def windows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """Two training and two held-back windows, as file:// URIs; the second training window is two files."""
    folder = tmp_path_factory.mktemp("merge")
    uris = []
    for seed in range(5):
        path = folder / f"part-{seed}.jsonl"
        path.write_bytes(merged_file(seed, 40))
        uris.append(path.as_uri())
    return {
        "training": {"2026-01-01T00:00:00Z": uris[:1], "2026-01-02T00:00:00Z": uris[1:3]},
        "holdback": {"2026-01-03T00:00:00Z": uris[3:4], "2026-01-04T00:00:00Z": uris[4:]},
    }
