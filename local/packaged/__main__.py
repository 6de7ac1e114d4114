"""`make package-check`: the demo, shortened, on what was packaged, and the policies against what it called.

Knows which stretch of the stream makes every function act, and what is told at the end. Exit status 0 only when the
loop closed, nothing failed, and policies and calls agree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from chalicelib.facts import decisions
from infra.package import Package, folder_of
from infra.permissions import Deployment, compare, table
from local.aws import ACCOUNT, REGION
from local.packaged.functions import PackagedFunctions
from local.replay.account import BUCKET, LOOP, STAGE
from local.world import world

# Weeks in which the first model is stale already, under a policy that retrains early: a short stream that acts.
FIRST_WEEK, WINDOWS = 56, 17
POLICY: dict[str, object] = {"cost": 0.02, "reference_windows": 2, "holdback_windows": 2, "cool_down_windows": 2}


def deployment() -> Deployment:
    """The parameters with which the demo's stage would be deployed: an existing bucket that holds everything."""

    def objects(*prefixes: str) -> list[str]:
        return [f"arn:aws:s3:::{BUCKET}/{prefix}/*" for prefix in prefixes]

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
    parser = argparse.ArgumentParser(prog="python -m local.packaged")
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--windows", type=int, default=WINDOWS)
    options = parser.parse_args(arguments)
    package = Package(folder_of(options.stage, "x86_64"))
    with (
        tempfile.TemporaryDirectory() as state,
        PackagedFunctions(package, STAGE, lives=200, record=True, log=package.folder / "functions.log") as functions,
        world(Path(state), policy=POLICY, through=functions.through) as replay,
    ):
        replay.first_week = FIRST_WEEK
        replay.run(options.windows)
        outcomes = decisions.outcomes(replay.services.ledger, LOOP)
        from local.packaged.scenes import Scenes

        Scenes(replay, functions).play()
        print([o.kind for o in outcomes], replay.pump.dead_letters(), set(replay.pump.failures))
        calls = dict(functions.calls)
    found = compare(deployment(), calls)
    print(table(found))
    print("missing:", *found.missing, sep="\n  ")
    print("unused:", *found.unused, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
