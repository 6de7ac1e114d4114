"""The parts of `make evidence`: one module each, named as in `ORDER` with `_` for `-`, with `run(seed) -> Part`."""

from __future__ import annotations

import importlib
import importlib.util
import time

from trials.evidence.part import Part

# The order of docs/evidence.md.
ORDER = ("null", "power", "windows", "loss", "label-free", "cause", "policy")


def present() -> list[str]:
    """The parts that there are, in order."""
    return [name for name in ORDER if importlib.util.find_spec(_module(name)) is not None]


def run_part(name: str, seed: int) -> tuple[Part, float]:
    """Run one part; also its CPU seconds."""
    began = time.process_time()
    part: Part = importlib.import_module(_module(name)).run(seed)
    return part, time.process_time() - began


def _module(name: str) -> str:
    return f"{__name__}.{name.replace('-', '_')}"
