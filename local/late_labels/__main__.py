"""`make late-labels`: labels late, wrong, twice and shuffled on the demo's captures; do the reports end the same?

Records captures of the demo's first hours, plays them three times (labels as they come; every delivery at once; the
final labels at once), shows how the first run's reports are restated, and compares. Exit status 1 when a law is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TextIO

# Linear algebra on tiny batches: threads cost more than they give. Read when numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from local.late_labels.laws import AGES, ONCE, Compared
from local.late_labels.plan import HORIZON, HOUR, plan
from local.late_labels.play import Account, after_the_captures, play, the_end, windows
from local.late_labels.recording import BEGIN, record
from local.late_labels.run import at_once, ended, hush, judge
from local.late_labels.telling import HEADING, Watch, bar, late_of, revisions_of, what_is_sent, what_windows_say

HOURS = 40
SHOWN = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the reports restated, nothing was lost and the final reports are the same; else 1."""
    options = _parser().parse_args(arguments)
    out = sys.stdout
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # the functions log there
        return _run(options.hours, options.seed, out)


def _run(hours: int, seed: int, out: TextIO) -> int:
    began = time.perf_counter()

    def say(*lines: str) -> None:
        print(*lines, sep="\n", file=out, flush=True)

    say(f"training the demo's first model, asking it for {hours} hours, recording the captures …")
    recording = record(hours)
    drawn = plan(recording.asked, seed)
    say(
        f"{recording.rows} rows in {len(recording.asked)} requests and {len(recording.captures)} capture files; one hour "
        f"is a window, and each takes labels for {HORIZON // HOUR} hours after its end",
        "", *what_is_sent(drawn, seed), "",
    )  # fmt: skip
    all_windows = windows(recording)
    watch = Watch([all_windows[hours // 12], all_windows[hours // 2], all_windows[-1]])
    live = out.isatty()

    def passed(account: Account) -> None:
        watch(account)
        if live:
            told = bar(account.clock.now(), BEGIN, the_end(recording), recording)
            print(f"\r{told:60}", end="", file=out, flush=True)

    say("playing three times: labels as they come; every delivery at once; only the final labels, at once …")
    begin = after_the_captures(recording)
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
    for window in watch.windows:
        say("", f"window {window.name}, as its stored report said", HEADING, *watch.lines[window.name])
        say(f"  {what_windows_say(account, window)}")
    verdict = judge(late, every, final, recording, drawn, account.monitor.name)
    fewest, middle, most = revisions_of(late.stored)
    labels, of_windows = late_of(late.stored)
    say(
        "",
        f"{hours} windows were evaluated and restated: {fewest} to {most} revisions each (median {middle:.0f})",
        f"{labels} labels came after the seal: listed in the settledness.json of {of_windows} windows, counted in no report",
        "",
        *_compared("every delivery at once, in order", verdict.every, AGES, "of labels that say no time "),
        *_compared("only the final labels, at once", verdict.final, ONCE, ""),
    )
    for words in verdict.broken[:SHOWN]:
        say(f"broken: {words}")
    if len(verdict.broken) > SHOWN:
        say(f"and {len(verdict.broken) - SHOWN} more")
    say(
        f"{'the law is broken' if verdict.broken else 'the reports end the same, and no label was lost'} "
        f"({time.perf_counter() - began:.0f} s)"
    )
    return 1 if verdict.broken else 0


def _compared(name: str, found: Compared, left_out: dict[str, str], whose: str) -> list[str]:
    lines = [f"against {name}: {found.files - len(found.different)} of {found.files} files are the same, byte for byte"]
    lines.append(f"  but for these fields of {found.without} evaluation.json {whose}".rstrip() + ":")
    return lines + [f"    {field}: {why}" for field, why in left_out.items()]


def _hours(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"got {text}; expected a whole number from 2 to 100")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.late_labels", description="Late labels on the demo's captures."
    )
    parser.add_argument("--hours", type=_hours, default=HOURS, metavar="2..100", help="hours of the demo to record")
    parser.add_argument("--seed", type=int, default=6, help="what befalls the labels is drawn from it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
