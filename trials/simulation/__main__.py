"""`python -m trials.simulation --seed S --runs N`: play histories, judge them, tell the shortest one that fails.

Exit status 1 when a law was broken. The seeds are printed, so that any run can be repeated.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

# Linear algebra on tiny batches: threads cost more than they give. Read when numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

Coverage = Counter[tuple[str, str, str]]


def run_seeds(seeds: list[int]) -> tuple[list[tuple[int, list[str]]], Coverage, Counter[str]]:
    """Play some seeds; returns those that broke laws, the faults that struck, and what happened in numbers."""
    from trials.simulation.history import draw_history
    from trials.simulation.shrink import play_both

    # Of a history little is garbage before its end, and then nearly all: it is looked for between the parts.
    gc.set_threshold(100_000, 50, 1000)
    gc.collect()
    failed: list[tuple[int, list[str]]] = []
    coverage: Coverage = Counter()
    happened: Counter[str] = Counter()
    for seed in seeds:
        world, calm, wrong = play_both(draw_history(seed))
        coverage.update({(*call, "before"): 0 for call in world.met})  # met, be it never struck
        coverage.update(world.coverage)
        happened["histories with effects"] += world.history.effects
        happened["retrainings started"] += len(world.executions)
        happened["retrainings started in calm runs"] += len(calm.executions)
        happened["changes of the champion"] += max(0, len(world.crowns) - 1)
        happened["faults, losses, repeats, delays"] += len(world.applied)
        if wrong:
            failed.append((seed, wrong))
    return failed, coverage, happened


def chunks(seeds: Iterable[int], size: int) -> list[list[int]]:
    found = list(seeds)
    return [found[first : first + size] for first in range(0, len(found), size)]


def simulate(seed: int, runs: int, jobs: int) -> tuple[list[tuple[int, list[str]]], Coverage, Counter[str], float]:
    """Play `runs` histories from `seed` on, over `jobs` processes."""
    began = time.perf_counter()
    failed: list[tuple[int, list[str]]] = []
    coverage: Coverage = Counter()
    happened: Counter[str] = Counter()
    parts = chunks(range(seed, seed + runs), 20)
    if jobs == 1 or len(parts) == 1:
        results: Any = map(run_seeds, parts)
        pool = None
    else:
        pool = ProcessPoolExecutor(jobs)
        results = pool.map(run_seeds, parts)
    for found, struck, numbers in results:
        failed += found
        coverage.update(struck)
        happened += numbers
    if pool:
        pool.shutdown()
    return failed, coverage, happened, time.perf_counter() - began


def coverage_table(coverage: Coverage) -> list[str]:
    """One line per (handler, call): how often it was struck before, after, and let others in."""
    calls = sorted({(function, kind) for function, kind, _ in coverage})
    lines = [f"{'handler':24} {'call':44} {'before':>7} {'after':>7} {'interleaved':>12}"]
    for function, kind in calls:
        before, after, between = (coverage[function, kind, way] for way in ("before", "after", "interleaved"))
        lines.append(f"{function:24} {kind:44} {before:7} {after:7} {between:12}")
    least = {
        way: min((coverage[(*call, way)] for call in calls), default=0) for way in ("before", "after", "interleaved")
    }
    lines.append(f"{len(calls)} calls; the least often struck: " + ", ".join(f"{n} {way}" for way, n in least.items()))
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trials.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed; without it, a fresh one is drawn and printed")
    parser.add_argument("--runs", type=int, help="histories (default: 1 with --seed, else 1000)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--coverage", action="store_true", help="print the table of calls that were struck")
    parser.add_argument("--mutations", action="store_true", help="plant known faults: is each caught within 500 seeds?")
    parser.add_argument("--story", action="store_true", help="tell the whole history of one seed")
    parser.add_argument("--no-shrink", action="store_true", help="only name the seeds that fail")
    options = parser.parse_args(arguments)
    if options.mutations:
        from trials.simulation.mutations import check

        return check(options.seed or 0, jobs=options.jobs)
    from trials.simulation.shrink import shrink, story

    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    runs = options.runs or (1 if options.seed is not None else 1000)
    if options.story:
        print("\n".join(story(seed)))
        return 0
    failed, coverage, happened, took = simulate(seed, runs, options.jobs)
    if options.coverage:
        print("\n".join(coverage_table(coverage)))
    numbers = ", ".join(f"{count} {what}" for what, count in happened.items())
    print(f"seeds {seed} to {seed + runs - 1}: {numbers}")
    print(f"{runs} histories in {took:.1f} s, {runs / took * 60:.0f} a minute, {len(failed)} broke a law")
    for number, wrong in failed[:20]:
        print(f"seed {number}: {wrong[0]}")
    if failed and not options.no_shrink:
        number, wrong = failed[0]
        law = wrong[0].split(":")[0]
        print(f"\nthe shortest history of seed {number} that breaks {law}:")
        print("\n".join(story(number, shrink(number, law))))
        print(f"replay it with: python -m trials.simulation --seed {number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
