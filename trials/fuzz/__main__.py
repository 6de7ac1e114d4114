"""python -m trials.fuzz: each reader under the fuzzer for some time; what breaks the law is kept as a regression.

Runs one process per reader, two at a time on two processors, and prints one line for each. Exits 1 when any law broke.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
READERS = (
    "capture",
    "merged",
    "transform",
    "ground_truth",
    "definition",
    "state",
    "fact",
    "baseline",
    "event",
    "webhook",
)

# The payload limit of a real-time endpoint is 6 MB; what grows too fast shows at a hundredth of it.
LONGEST_INPUT = 65536
# A record of a transform's output may be two bytes, and 20,000 of them take a second or two under the fuzzer.
LONGEST_OF = {"transform": 16384}


class Campaign(NamedTuple):
    reader: str
    executions: int
    per_second: int
    edges: int
    corpus: int
    broken: str
    kept: tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trials.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("readers", nargs="*", help=f"some of: {', '.join(READERS)}; all when none is named")
    parser.add_argument("--seconds", type=int, default=120, help="for each reader (120)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="readers at a time (2)")
    options = parser.parse_args()
    if unknown := sorted(set(options.readers) - set(READERS)):
        parser.error(f"no such reader: {', '.join(unknown)}; expected some of {', '.join(READERS)}")
    if find_spec("atheris") is None:
        parser.error("atheris is not installed here; `make fuzz` runs this in its own environment")
    print(f"{'reader':13}{'executions':>11}{'per second':>12}{'edges':>7}{'corpus':>8}  laws", flush=True)
    campaigns = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for campaign in pool.map(lambda reader: run(reader, options.seconds), options.readers or READERS):
            campaigns.append(campaign)
            figures = f"{campaign.executions:>11}{campaign.per_second:>12}{campaign.edges:>7}{campaign.corpus:>8}"
            print(f"{campaign.reader:13}{figures}  {campaign.broken or 'held'}", flush=True)
            for path in campaign.kept:
                print(f"{'':13}kept as {path}; replay: python -m pytest tests/fuzz", flush=True)
    return int(any(campaign.broken for campaign in campaigns))


def run(reader: str, seconds: int) -> Campaign:
    """One reader in a process of its own, from its corpus and its regressions on."""
    with tempfile.TemporaryDirectory() as folder:
        found, crashes = Path(folder, "corpus"), Path(folder, "crashes")
        found.mkdir()
        crashes.mkdir()
        seeds = [str(place) for place in (HERE / "corpus" / reader, HERE / "regressions" / reader) if place.is_dir()]
        arguments = [
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST_OF.get(reader, LONGEST_INPUT)}",
            "-len_control=0",
            "-timeout=30",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            f"-artifact_prefix={crashes}/",
        ]
        process = subprocess.run(
            [sys.executable, "-m", "trials.fuzz.campaign", reader, str(found), *seeds, *arguments],
            capture_output=True,
            cwd=HERE.parent.parent,
            text=True,
            errors="replace",
        )
        log = process.stderr + process.stdout
        kept = tuple(_keep(reader, path) for path in sorted(crashes.iterdir()))
        return Campaign(
            reader,
            _last(r"stat::number_of_executed_units: (\d+)", log),
            _last(r"stat::average_exec_per_sec: +(\d+)", log),
            _last(r"cov: (\d+)", log),
            _last(r"corp: (\d+)", log),
            _broken(log, process.returncode, bool(kept)),
            kept,
        )


def _keep(reader: str, crash: Path) -> str:
    digest = hashlib.sha256(crash.read_bytes()).hexdigest()[:12]
    place = HERE / "regressions" / reader / f"found-{digest}"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(crash, place)
    return str(place.relative_to(HERE.parent.parent))


def _broken(log: str, status: int, kept: bool) -> str:
    """What the first broken law was, in one line; "" when all held."""
    if status == 0 and not kept:
        return ""
    first = re.search(r"^BrokenLawError: (.*)$", log, re.MULTILINE) or re.search(r"ERROR: (libFuzzer: .*)$", log, re.M)
    return first[1][:200] if first else f"the fuzzer ended with {status}: {log.strip().splitlines()[-1:]}"


def _last(pattern: str, log: str) -> int:
    found = re.findall(pattern, log)
    return int(found[-1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
