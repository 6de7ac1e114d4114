"""Serves a fleet of a thousand monitors, one of them with windows and decisions, and a folder where one is given, and
lets a real browser look at them (check.mjs). Exit status 0 when everything that it checks holds.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from chalicelib.facts import monitors, standings
from chalicelib.facts.standings import Standing
from chalicelib.wiring import Services
from emulator.memory import SETTINGS
from plumbline.cli.account.kept_stage import KeptStage
from plumbline.cli.serve import server_of
from tests.unit.handlers.world import World, definition

HERE = Path(__file__).parent


def fleet() -> Services:
    """A monitor that is worse and is being retrained, and 999 that are all right."""
    world = World(definition())
    for number in range(8):
        world.live(number, "x" if number < 3 else "z")
    services = world.services
    for number in range(999):
        name = f"monitor-{number:03d}"
        monitors.add(services.ledger, services.objects, SETTINGS.bucket, definition(name=name), "2026-01-05T00:00:00Z")
        told = f"All right: none of {number % 40 + 3} columns moved beyond chance, nor did the error."
        standing = Standing(
            monitor=name, endpoint=f"endpoint-{number}", window="2026-01-05T07:00:00Z", hours=1, level="fine",
            headline=told, action="HOLD", loss=number / 7919, coverage=1.0,
        )  # fmt: skip
        standings.save(services.ledger, standing)
    return services


@contextlib.contextmanager
def served(services: Services) -> Iterator[str]:
    """The address of a server that answers while the block runs."""
    with server_of(services) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def main() -> int:
    """Run the checks; 0 when all hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser", description=__doc__)
    parser.add_argument("--chromium", required=True, help="the browser's program")
    parser.add_argument("--folder", default="", help="the output of a demo, looked at too")
    parser.add_argument("--pictures", default="", help="a folder for pictures of the pages")
    options = parser.parse_args()
    stages = [("churn", fleet())]
    if options.folder:
        stages.append(("", KeptStage(Path(options.folder))))
    status = 0
    for monitor, services in stages:
        with served(services) as address:
            command = ["node", str(HERE / "check.mjs"), options.chromium, address, monitor, options.pictures]
            status |= subprocess.run(command, check=False, timeout=300).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
