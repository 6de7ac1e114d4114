"""`python -m trials.kill --kills N --seed S`: kill -9 at N random moments of a short demo, each in a run of its own.

An undisturbed run is played first: its calls are what moments are drawn from, its captures are what the others get, and
its facts are what theirs must equal. Exit status 1 when a law was broken, a fact differs or a moment did not come.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from random import Random

# Linear algebra on tiny batches: threads cost more than they give. Read when numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from demo.run import START
from trials.kill.run import WINDOWS, Played, attempt, draw, play


def line(number: int, played: Played) -> list[str]:
    """One line per kill of a run, then what was wrong."""
    lines = []
    for kill in played.kills:
        hour = (kill.when - START).total_seconds() / 3600
        where = f"{kill.at}, call {kill.calls}" if kill.calls else kill.at
        laws, facts = "broken" if played.wrong else "held", "no" if played.different else f"{played.compared}"
        lines.append(
            f"{number:>3} {hour:6.1f}  {kill.function:22} {where:46} {kill.writes:>6}  {kill.found:42} "
            f"{laws:>6} {facts:>11}"
        )
    if not lines:
        lines.append(f"{number:>3} {'-':>6}  the moment did not come")
    return [*lines, *(f"      {words}" for words in (*played.wrong, *(f"facts: {each}" for each in played.different)))]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}: the undisturbed run of {WINDOWS} windows …", flush=True)
    calm = play()
    for words in (*calm.wrong, *calm.different):
        print(f"the undisturbed run: {words}")
    if calm.wrong or calm.different:
        return 1
    kept = calm.observation
    assert kept is not None
    print(
        f"{calm.seconds:.0f} s, {sum(len(each.calls) for each in calm.deliveries)} calls of the handlers in "
        f"{len(calm.deliveries)} deliveries, {len(kept.retrained)} retrainings, {kept.promoted} promotions, "
        f"{len(kept.facts)} facts\n"
    )
    print(
        f"{'':>3} {'hour':>6}  {'handler':22} {'killed':46} {'writes':>6}  {'found after restart':42} {'laws':>6} "
        f"{'equal facts':>11}"
    )
    moments = draw(Random(seed), calm.deliveries, options.kills)
    began, failed, kills = time.perf_counter(), 0, 0
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        played = pool.map(attempt, moments, [kept] * len(moments))
        for number, each in enumerate(played, 1):
            print("\n".join(line(number, each)), flush=True)
            kills += len(each.kills)
            failed += bool(each.wrong or each.different)
    took = time.perf_counter() - began
    print(f"\n{len(moments)} moments, {kills} times kill -9, in {took:.0f} s")
    print(f"the laws held and the facts were equal {len(moments) - failed} times of {len(moments)}")
    if failed:
        print(f"again with: python -m trials.kill --kills {options.kills} --seed {seed}")
    return 1 if failed else 0


def _kills(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"got {text}; expected a whole number from 1 to 1000")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trials.kill", description="kill -9 at random moments of the demo.")
    parser.add_argument("--kills", type=_kills, default=20, metavar="1..1000", help="random moments, one run for each")
    parser.add_argument("--seed", type=int, help="what they are drawn from; without it, fresh and printed")
    parser.add_argument("--jobs", type=_kills, default=2, help="runs at a time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
