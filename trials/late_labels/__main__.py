"""`make late-labels`: labels late, wrong, twice and shuffled on the demo's captures; do the reports end the same?

Records captures of the demo's first hours, plays them three times (labels as they come; every delivery at once; the
final labels at once), shows how the first run's reports are restated, and compares. Exit status 1 when a law is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TextIO

# Linear algebra on tiny batches: threads cost more than they give. Read when numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from trials.late_labels.plan import plan
from trials.late_labels.play import Account, after_all, play, the_end, windows
from trials.late_labels.recording import BEGIN, record
from trials.late_labels.run import at_once, ended, hush, judge
from trials.late_labels.summary import (
    Watch,
    bar,
    chosen,
    conclusion,
    what_is_sent,
    what_was_recorded,
    what_was_restated,
)

HOURS = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the reports restated, nothing was lost and the final reports are the same; else 1."""
    options = _parser().parse_args(arguments)
    out = sys.stdout
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the emulator ends like that of an interrupted run
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # the functions log there
            return _run(options.hours, options.seed, out)
    except KeyboardInterrupt:
        print("\ninterrupted", file=out)
        return 130


def _run(hours: int, seed: int, out: TextIO) -> int:
    began = time.perf_counter()

    def say(*lines: str) -> None:
        print(*lines, sep="\n", file=out, flush=True)

    say(f"Labels that come late, on {hours} hours of the demo's stream: what do reports say meanwhile, and in the end?")
    say("training the demo's first model, asking it, recording what its server captures …")
    recording = record(hours)
    drawn = plan(recording.asked, seed)
    say(*what_was_recorded(recording), "", *what_is_sent(drawn, seed), "")
    watch = Watch(chosen(windows(recording)))
    live = out.isatty()

    def passed(account: Account) -> None:
        watch(account)
        if live:
            progress = bar(account.clock.now(), BEGIN, the_end(recording))
            print(f"\r{progress:60}", end="", file=out, flush=True)

    say("playing three times: labels as they come; every delivery at once; only the final labels, at once …")
    begin = after_all(recording, drawn.deliveries)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=hush) as pool:
        one, other = (
            pool.submit(at_once, recording, deliveries)
            for deliveries in (drawn.at_once(begin), drawn.final_at_once(begin))
        )
        account = play(recording, [*drawn.deliveries, *drawn.after_the_seal], passed=passed)
        every, final = one.result(), other.result()
    if live:
        print(f"\r{'':60}\r", end="", file=out)
    late = ended(account)
    verdict = judge(late, every, final, recording, drawn)
    say(*watch.tables(), "", *what_was_restated(late.stored), "", *conclusion(verdict))
    say(f"{time.perf_counter() - began:.0f} s")
    return verdict.status


def _hours(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"got {text}; expected a whole number from 2 to 100")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trials.late_labels", description="Late labels on the demo's captures."
    )
    parser.add_argument("--hours", type=_hours, default=HOURS, metavar="2..100", help="hours of the demo to record")
    parser.add_argument("--seed", type=int, default=6, help="what befalls the labels is drawn from it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
