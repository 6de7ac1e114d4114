"""`make bench-cold-start`: what a cold start of each packaged function costs, measured against `import boto3` alone.

The shortened demo runs on the package with short-lived processes, and between its hours `import boto3` is timed in the
same way: same interpreter, same zip, same moment's load. Processor seconds, not wall time; the interpreter's own start
is left out on both sides. Nothing is compiled ahead, as on Lambda, where the code's folder cannot be written to.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from demo.account import STAGE
from emulator.world import world
from infra.package import Package, folder_of
from infra.template import FUNCTIONS
from trials.packaged.__main__ import FIRST_WEEK, POLICY
from trials.packaged.functions import ColdStart, PackagedFunctions

WINDOWS = 12
GOAL = 3.0
# Functions with many events live longer, or the run would be nothing but cold starts.
LIVES = {"capture_landed": 12, "ground_truth_landed": 6, "ground_truth_posted": 6, "window_due": 6, "windows_due": 4,
         "alert_published": 4, "endpoint_changed": 3, "promotion_claimed": 3}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when every function keeps to the goal, 1 when one does not, 2 without a package."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start")
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--arch", default="x86_64")
    options = parser.parse_args(arguments)
    package = Package(folder_of(options.stage, options.arch))
    if not package.functions.exists():
        print(f"no package in {package.folder}: make package STAGE={options.stage} ARCH={options.arch}")
        return 2
    log = package.folder / "functions.log"
    functions = PackagedFunctions(package, STAGE, lives=lambda name: LIVES.get(name, 1), record=False, log=log)
    with (
        tempfile.TemporaryDirectory() as state,
        world(Path(state), policy=POLICY, apart=functions.apart) as replay,
    ):
        replay.first_week = FIRST_WEEK
        replay.progress = lambda hour, hours: functions.measure_boto3()
        replay.run(WINDOWS)
        starts, warm, boto3 = dict(functions.cold_starts), dict(functions.warm), functions.boto3
    return report(starts, warm, boto3)


def report(starts: dict[str, list[ColdStart]], warm: dict[str, list[float]], boto3: Sequence[float]) -> int:
    """Print medians in milliseconds and their ratio to `import boto3`; 1 when a ratio is above the goal."""
    base = statistics.median(boto3)
    print(f"import boto3 alone: median {1000 * base:.0f} ms of {len(boto3)}, from {1000 * min(boto3):.0f} ms")
    print(f"{'function':22} {'starts':>6} {'import':>7} {'1st event':>9} {'total':>7} {'ratio':>6} {'warm event':>10}")
    above = 0
    for name in FUNCTIONS:
        found = starts.get(name, [])
        if not found:
            print(f"{name:22} {0:6}  no event in this stretch")
            above += 1
            continue
        importing = statistics.median(each.importing for each in found)
        event = statistics.median(each.first_event for each in found)
        total = statistics.median(each.total for each in found)
        later = f"{1000 * statistics.median(warm[name]):7.0f} ms" if warm.get(name) else "-"
        print(
            f"{name:22} {len(found):6} {1000 * importing:7.0f} {1000 * event:9.0f} {1000 * total:7.0f} "
            f"{total / base:6.2f} {later:>10}"
        )
        above += total / base > GOAL
    print(f"{above} of {len(FUNCTIONS)} above the goal of {GOAL:g}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
