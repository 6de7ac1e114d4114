"""`make package-check`: the demo, shortened, on what was packaged, and the policies against what it called.

Replays a part of the stream in which every function acts. Exit status 0 only when the loop closed, nothing failed,
every packaged function ran, and policies and calls agree both ways.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from chalicelib.facts import decisions
from demo.account import BUCKET, LOOP, STAGE
from demo.run import Replay
from emulator.aws import ACCOUNT, REGION
from emulator.world import world
from infra.package import Package, folder_of
from infra.permissions import Deployment, compare, table
from infra.template import FUNCTIONS
from trials.packaged.functions import PackagedFunctions
from trials.packaged.scenes import Scenes

# Weeks in which the first model is stale already, under a policy that retrains early: a short stream that acts.
FIRST_WEEK, WINDOWS = 56, 17
POLICY: dict[str, object] = {"cost": 0.02, "reference_windows": 2, "holdback_windows": 2, "cool_down_windows": 2}

# Events of one process before the next one begins cold.
LIVES = 200


def deployment() -> Deployment:
    """The parameters with which the demo's stage would be deployed: one existing bucket holds everything."""

    def sagemaker(*resources: str) -> list[str]:
        return [f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{resource}" for resource in resources]

    return Deployment(
        STAGE,
        ACCOUNT,
        REGION,
        {
            "BucketName": BUCKET,
            "EndpointArns": sagemaker(f"endpoint/{LOOP}"),
            "PipelineArns": sagemaker("pipeline/plumbline-retraining"),
            "ModelPackageArns": sagemaker(f"model-package/{LOOP}/*"),
            "MetricsNamespace": "Plumbline",
        },
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay, play the scenes, compare; 0 when all is well, 1 when not, 2 when there is no package."""
    parser = argparse.ArgumentParser(prog="python -m trials.packaged", description="The demo on what was packaged.")
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--arch", default="x86_64")
    options = parser.parse_args(arguments)
    package = Package(folder_of(options.stage, options.arch))
    if not package.functions.exists():
        print(f"no package in {package.folder}: make package STAGE={options.stage} ARCH={options.arch}")
        return 2
    began = time.monotonic()
    log = package.folder / "functions.log"
    functions = PackagedFunctions(package, STAGE, lives=lambda _: LIVES, record=True, log=log)
    with (
        tempfile.TemporaryDirectory() as state,
        world(Path(state), policy=POLICY, apart=functions.apart) as replay,
    ):
        replay.first_week = FIRST_WEEK
        replay.run(WINDOWS)
        faults = list(_faults(replay))
        Scenes(replay, functions).play()
        faults += [f"{name} never ran" for name in FUNCTIONS if not functions.cold_starts[name]]
        faults += [f"{name} failed: {kind}" for name, kind in sorted(set(replay.pump.failures))]
        faults += [f"{count} dead letters of {queue}" for queue, count in replay.pump.dead_letters().items()]
        calls = dict(functions.calls)
    found = compare(deployment(), calls)
    print(table(found))
    faults += [f"the policy lacks: {each}" for each in found.missing]
    faults += [f"never used: {each}" for each in found.unused]
    runtime = package.manifest["runtime"]
    print(f"\n{WINDOWS} windows and the seldom scenes on {package.folder.name} ({runtime}): ", end="")
    print(f"{sum(map(len, calls.values()))} AWS calls, {time.monotonic() - began:.0f} s, {len(faults)} faults")
    for fault in faults:
        print(f"FAIL  {fault}")
    if faults:
        print(f"what the functions logged: {log}")
    return 1 if faults else 0


def _faults(replay: Replay) -> list[str]:
    """Whether the loop closed: the shortened run must retrain and promote, or it shows nothing."""
    kinds = {outcome.kind for outcome in decisions.outcomes(replay.services.ledger, LOOP)}
    return [f"nothing was {kind}" for kind in ("started", "promoted") if kind not in kinds]


if __name__ == "__main__":
    sys.exit(main())
