"""`make evidence`: run parts, print and write what they measured; exit status 1 when a number misses its limit."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

# Small arrays: threads cost more than they give. Read when numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from trials.evidence.document import write
from trials.evidence.part import Part
from trials.evidence.parts import ORDER

SEED = 15
PROCESSES = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every number of the parts that ran keeps its limit; else 1."""
    present = [name for name in ORDER if importlib.util.find_spec(_module(name)) is not None]
    parser = argparse.ArgumentParser(prog="make evidence", description=__doc__)
    parser.add_argument("--part", action="append", choices=present, help="a part to run; all by default")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    names = [name for name in present if name in (options.part or present)]
    parts: dict[str, Part] = {}
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(_run, name, options.seed): name for name in names}
        for done in as_completed(running):
            name = running[done]
            parts[name], seconds = done.result()
            _print(parts[name], seconds)
    write([parts[name] for name in names], options.seed)
    missed = [f"{part.name}: {bound.what}" for part in parts.values() for bound in part.bounds if not bound.holds]
    count = sum(len(part.bounds) for part in parts.values())
    print(
        f"\n{count - len(missed)} of {count} numbers keep their limits; docs/evidence.md and docs/evidence.json written"
    )
    for what in missed:
        print(f"MISSED {what}")
    return 1 if missed else 0


def _module(name: str) -> str:
    return f"trials.evidence.parts.{name.replace('-', '_')}"


def _run(name: str, seed: int) -> tuple[Part, float]:
    began = time.process_time()
    part: Part = importlib.import_module(_module(name)).run(seed)
    return part, time.process_time() - began


def _print(part: Part, seconds: float) -> None:
    print(f"\n{part.title} (PART={part.name}, {seconds:.0f} CPU seconds)\n", *part.lines, sep="\n")
    for bound in part.bounds:
        sign = ">=" if bound.at_least else "<="
        mark = "ok    " if bound.holds else "MISSED"
        print(f"{mark} {bound.what}: {bound.measured:.4g} (must be {sign} {bound.limit:g})")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
