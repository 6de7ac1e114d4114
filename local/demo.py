"""`make demo`: the main job on real data, on this machine alone.

Starts the stand-in, plays the electricity stream through the handlers of app.py, prints the table and leaves the
reports in a folder. Exit status 0 only when the loop closed.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from chalicelib.facts import decisions
from local.replay.account import BUCKET, LOOP, definition
from local.replay.picture import draw
from local.replay.reports import save
from local.replay.run import Replay, made_decisions
from local.replay.stream import TRAINING_WEEKS
from local.replay.summary import Summary, summarise
from local.world import world

WEEKS = 134 - TRAINING_WEEKS


class Progress:
    """A line that tells where the replay is: live on a terminal, now and then elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._started = time.monotonic()
        self.replay: Replay | None = None

    def __call__(self, hour: int, hours: int) -> None:
        live = self._out.isatty()
        if not live and hour % 12 and hour != hours:
            return
        bar = "#" * (28 * hour // hours)
        line = f"[{bar:28}] window {hour:3d}/{hours}  {self._state()}  {time.monotonic() - self._started:4.0f} s"
        print(f"\r{line:118}" if live else line, end="" if live and hour < hours else "\n", file=self._out, flush=True)

    def _state(self) -> str:
        if self.replay is None:
            return ""
        kinds = Counter(outcome.kind for outcome in decisions.outcomes(self.replay.services.ledger, LOOP))
        return (
            f"{kinds['started']} retrains, {kinds['promoted']} promoted, {kinds['refused']} refused, "
            f"{kinds['rolled_back']} rolled back"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when the loop closed, 1 when it did not."""
    options = _parser().parse_args(arguments)
    out = sys.stdout
    folder: Path = options.out
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    progress = Progress(out)
    print("starting the stand-in, training the first model on 26 weeks …", file=out, flush=True)
    # The functions log to standard output, as on Lambda; here that is a file beside the reports.
    with (
        (folder / "functions.log").open("w") as log,
        contextlib.redirect_stdout(log),
        tempfile.TemporaryDirectory() as state,
        world(Path(state), progress=progress) as replay,
    ):
        progress.replay = replay
        replay.run(options.windows)
        print("reading the reports, simulating the neighbouring policies …", file=out, flush=True)
        summary = _finish(replay, folder)
    print(summary.text, file=out)
    print(f"\nreports and picture: {folder}/  (picture: {folder}/error-over-time.png)", file=out)
    first = next((record for record in _records(folder) if record.action == "RETRAIN"), None)
    if first:
        print(f"why a retrain was started: plumbline explain {first.decision_id[:12]} --from {folder}", file=out)
    for fault in summary.faults:
        print(f"the loop did not close: {fault}", file=out)
    return 1 if summary.faults else 0


def _finish(replay: Replay, folder: Path) -> Summary:
    ledger = replay.services.ledger
    save(replay.account.client("s3"), BUCKET, folder)
    outcomes = decisions.outcomes(ledger, LOOP)
    (folder / "outcomes.json").write_bytes(msgspec.json.format(msgspec.json.encode(outcomes)))
    alerts = [{"path": each.path, "status": each.status, "body": each.json} for each in replay.receiver.received]
    (folder / "alerts-received.json").write_bytes(msgspec.json.format(msgspec.json.encode(alerts)))
    worked = Counter({name: count for (name, what), count in replay.pump.counts.items() if what == "succeeded"})
    worked["ground_truth_posted"] = sum(replay.posts.values())
    summary = summarise(
        folder, list(made_decisions(replay.services, LOOP)), outcomes, replay.alarm_changes, worked,
        len(replay.approved), replay.pump.dead_letters(), definition(LOOP, replay.receiver.url).attributes,
    )  # fmt: skip
    draw(folder / "error-over-time.png", summary.loop, summary.never, outcomes)
    return summary


def _records(folder: Path) -> list[decisions.Record]:
    found = [
        msgspec.json.decode(path.read_bytes(), type=decisions.Record)
        for path in folder.glob(f"plumbline/facts/{LOOP}/decisions/*.json")
    ]
    return sorted(found, key=lambda record: record.window)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.demo", description="Plumbline's main job on real data.")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the reports (emptied first)")
    parser.add_argument("--windows", type=int, default=WEEKS, choices=range(1, WEEKS + 1), metavar=f"1..{WEEKS}",
                        help="how many windows to stream")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
