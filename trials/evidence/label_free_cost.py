"""What one window's estimate without labels costs: processor seconds and peak memory of a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

from bench import traffic
from bench.usage import cpu_seconds, peak_megabytes
from chalicelib.evidence.label_free import calibrate, calibrate_for, estimate
from chalicelib.states.row_sample import BASELINE_ROWS, WINDOW_ROWS, RowSample, row_hashes, row_sample
from chalicelib.states.scores import Tally, tally
from chalicelib.states.selection import Selection, binary_selection

ROWS, FEATURES, ROUNDS = 5_000, 20, 3


def measure(seed: int) -> dict[str, float]:
    """CPU seconds of the window's function and of `orjson.loads` over its captures, and the function's peak in MB."""
    random = np.random.Generator(np.random.PCG64(seed))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, count, most in (("baseline", BASELINE_ROWS, BASELINE_ROWS), ("window", ROWS, WINDOW_ROWS)):
            rows = random.normal(size=(count, FEATURES)) + (0.2 if side == "window" else 0.0)
            scores = 1.0 / (1.0 + np.exp(-rows[:, :4].sum(axis=1)))
            labels = (random.random(count) < scores).astype(float) if side == "baseline" else np.full(count, np.nan)
            served = (scores > 0.5).astype(float)
            hashes = row_hashes(np.arange(count, dtype=np.uint64), np.zeros(count, dtype=np.uint64))
            features = {f"x{place:02}": rows[:, place].tolist() for place in range(FEATURES)}
            (folder / f"{side}.selection").write_bytes(binary_selection(scores, served, labels).to_bytes())
            (folder / f"{side}.tally").write_bytes(tally(scores, served, labels).to_bytes())
            sample = row_sample(hashes, features, scores, served, labels, most)
            (folder / f"{side}.rows").write_bytes(sample.to_bytes())
        traffic.write(folder, ROWS, width=FEATURES, seed=seed)
        found = subprocess.run([sys.executable, "-m", __name__, name], check=True, capture_output=True, text=True)
    return dict(json.loads(found.stdout))


def _window(folder: Path) -> None:
    """All that a window does, from stored bytes to the estimate."""
    before = Tally.from_bytes((folder / "baseline.tally").read_bytes())
    now = Selection.from_bytes((folder / "window.selection").read_bytes())
    rows_before, rows_now = (
        RowSample.from_bytes((folder / f"{side}.rows").read_bytes()) for side in ("baseline", "window")
    )
    curve = calibrate(before)
    weighted = calibrate_for(rows_before, rows_now)
    assert curve is not None and weighted is not None
    assert estimate(now, curve, weighted).method == "PAPE"


def main(folder: Path) -> None:
    """Print what rounds of the window and of the reference cost, the smallest of each; memory of the window alone."""
    costs = [_timed(lambda: _window(folder)) for _ in range(ROUNDS)]
    peak = peak_megabytes()
    lines = (folder / "captures.jsonl").read_bytes().splitlines()
    references = [_timed(lambda: [orjson.loads(line) for line in lines]) for _ in range(ROUNDS)]
    print(json.dumps({"cpu": min(costs), "orjson": min(references), "peak": peak}))


def _timed(work: Callable[[], object]) -> float:
    began = cpu_seconds()
    work()
    return cpu_seconds() - began


if __name__ == "__main__":
    main(Path(sys.argv[1]))
