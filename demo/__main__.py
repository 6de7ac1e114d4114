"""`make demo`: the whole loop on real data, on one machine.

Starts the emulator, plays the electricity stream through the handlers of app.py, prints the table and writes the
reports to a folder. Exit status 0 only when the loop closed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from chalicelib.facts import decisions, evaluations
from chalicelib.records.times import iso
from demo import bikes
from demo.account import BUCKET, FIRST, LOOP, definition
from demo.picture import draw
from demo.reports import save
from demo.run import HOUR, LABEL_DELAY, Replay, made_decisions
from demo.stream import TRAINING_WEEKS
from demo.summary import Summary, alerts_by_receiver, summarise
from emulator.world import world
from plumbline.cli.account.kept_stage import KeptStage, keep
from plumbline.cli.serve import write_site

WEEKS = 134 - TRAINING_WEEKS

# What marks a folder as ours to empty.
MARK = "README-demo.txt"


class Progress:
    """What happens, as it happens: a line per outcome, and below it where the replay is (live on a terminal)."""

    WIDTH = 110
    RECENT = 8

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._started = time.monotonic()
        self._told: set[tuple[str, str]] = set()
        self.replay: Replay | None = None

    def __call__(self, hour: int, hours: int) -> None:
        if self.replay is None:
            return
        live = self._out.isatty()
        ledger = self.replay.services.ledger
        for outcome in decisions.outcomes(ledger, LOOP):
            if (outcome.decision_id, outcome.kind) not in self._told:
                self._told.add((outcome.decision_id, outcome.kind))
                self._print(self._cut(f"{outcome.at}  {outcome.kind:11}  {self._why(outcome)}"), live)
        bar = "#" * (24 * hour // hours)
        errors = f"error of the last {self.RECENT} windows: {self._error(LOOP)} (never retrained {self._error(FIRST)})"
        line = f"[{bar:24}] {hour:3d}/{hours}  {errors}  {time.monotonic() - self._started:3.0f} s"
        if live:
            print(f"\r{line:{self.WIDTH}}", end="\n" if hour == hours else "", file=self._out, flush=True)
        elif hour % 12 == 0 or hour == hours:
            self._print(line, live)

    def _print(self, line: str, live: bool) -> None:
        print(f"\r{line:{self.WIDTH}}" if live else line, file=self._out, flush=True)

    def _cut(self, text: str) -> str:
        return text if len(text) <= self.WIDTH else f"{text[: self.WIDTH - 1]}…"

    def _why(self, outcome: decisions.Outcome) -> str:
        assert self.replay is not None
        record = decisions.load_record(self.replay.services.ledger, outcome.decision_id)
        return record.reasons[0] if outcome.kind == "started" and record else outcome.detail

    def _error(self, monitor: str) -> str:
        assert self.replay is not None
        since = iso(self.replay.clock.now() - (self.RECENT + LABEL_DELAY // HOUR) * HOUR)
        found = evaluations.evaluations(self.replay.services.ledger, monitor, since)
        losses = [each.loss for each in found if each.settled and each.loss is not None][-self.RECENT :]
        return f"{sum(losses) / len(losses):.3f}" if losses else "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when the loop closed, 1 when it did not."""
    options = _parser().parse_args(arguments)
    out = sys.stdout
    folder: Path = options.out
    try:
        _empty(folder)
    except OSError as error:
        print(f"--out {folder}: {error.strerror or error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped demo cleans up like an interrupted one
    try:
        return _run(folder, options.windows, out)
    except KeyboardInterrupt:
        print(f"\ninterrupted; the emulator has been stopped, {folder}/ holds no whole result", file=out)
        return 130


def _empty(folder: Path) -> None:
    """Make the folder, or empty the one of an earlier demo. Raises OSError for one that holds anything else."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise OSError(f"holds other files than a demo's; expected an empty folder or one with {MARK}")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).write_text("The output of Plumbline's demo; the next run with this folder deletes all of it.\n")


def _run(folder: Path, windows: int, out: TextIO) -> int:
    progress = Progress(out)
    print("bikes: training the first model on 8 weeks, playing the others …", file=out, flush=True)
    with (folder / "functions.log").open("w") as log, contextlib.redirect_stdout(log):
        table, bike_faults = bikes.play(folder / "bikes", windows if windows < WEEKS else None)
    print(f"{table}\n  picture: {folder}/bikes/error-over-time.png\n", file=out, flush=True)
    print("electricity: starting the emulator, training the first model on 26 weeks …", file=out, flush=True)
    # The functions log to standard output, as on Lambda; here that is a file beside the reports.
    with (
        (folder / "functions.log").open("a") as log,
        contextlib.redirect_stdout(log),
        tempfile.TemporaryDirectory() as state,
        world(Path(state), progress=progress) as replay,
    ):
        progress.replay = replay
        replay.run(windows)
        print("reading the reports, simulating the neighbouring policies …", file=out, flush=True)
        summary = _finish(replay, folder)
    print(summary.text, file=out)
    print(f"\nreports and picture: {folder}/  (picture: {folder}/error-over-time.png)", file=out)
    plumbline = os.path.relpath(Path(sys.executable).with_name("plumbline"))
    first = next((record for record in _records(folder) if record.action == "RETRAIN"), None)
    if first:
        print(f"why a retrain was started: {plumbline} explain {first.decision_id[:12]} --from {folder}", file=out)
    print(f"the page: {folder}/page/index.html, or {plumbline} serve {folder}", file=out)
    if summary.faults and windows < WEEKS:
        print(f"a run of {windows} windows may be too short to close the loop; the whole demo has {WEEKS}", file=out)
    faults = [*bike_faults, *summary.faults]
    for fault in faults:
        print(f"the loop did not close: {fault}", file=out)
    return 1 if faults else 0


def _finish(replay: Replay, folder: Path) -> Summary:
    ledger = replay.services.ledger
    save(replay.account.client("s3"), BUCKET, folder)
    keep(folder, replay.services)
    write_site(KeptStage(folder), folder / "page")
    outcomes = decisions.outcomes(ledger, LOOP)
    (folder / "outcomes.json").write_bytes(msgspec.json.format(msgspec.json.encode(outcomes)))
    alerts = [{"path": each.path, "status": each.status, "body": each.json} for each in replay.receiver.received]
    (folder / "alerts-received.json").write_bytes(msgspec.json.format(msgspec.json.encode(alerts)))
    worked = Counter({name: count for (name, what), count in replay.pump.counts.items() if what == "succeeded"})
    worked["ground_truth_posted"] = sum(replay.posts.values())
    summary = summarise(
        folder, list(made_decisions(replay.services, LOOP)), outcomes, replay.alarm_changes, worked,
        len(replay.approved), replay.pump.dead_letters(), definition(LOOP, replay.receiver.url).attributes,
        alerts_by_receiver(replay.receiver.accepted),
    )  # fmt: skip
    draw(folder / "error-over-time.png", summary.loop, summary.never, outcomes)
    return summary


def _records(folder: Path) -> list[decisions.Record]:
    found = [
        msgspec.json.decode(path.read_bytes(), type=decisions.Record)
        for path in folder.glob(f"plumbline/facts/{LOOP}/decisions/*.json")
    ]
    return sorted(found, key=lambda record: record.window)


def _windows(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= WEEKS:
        raise argparse.ArgumentTypeError(f"got {text}; expected a whole number from 1 to {WEEKS}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Plumbline's main job on real data.")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the reports (emptied first)")
    parser.add_argument("--windows", type=_windows, default=WEEKS, metavar=f"1..{WEEKS}",
                        help="how many windows to stream")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
