"""python -m trials.fuzz.replay: every kept input under the law, without the fuzzer. Exits 1 when one breaks it.

Prints one JSON line for each, with a digest of the outcome, so that two processes can be compared: sets are ordered
differently in each.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from trials.fuzz.law import Broken, examine
from trials.fuzz.readers import READERS

HERE = Path(__file__).parent


def kept_inputs() -> Iterator[tuple[str, Path]]:
    """(reader, file) of the corpus and of the regressions, in order."""
    for folder in ("corpus", "regressions"):
        for path in sorted((HERE / folder).glob("*/*")):
            yield path.parent.name, path


def main() -> int:
    failed = 0
    for reader, path in kept_inputs():
        line = {"reader": reader, "input": path.relative_to(HERE).as_posix(), "outcome": "", "broken": ""}
        try:
            line["outcome"] = hashlib.sha256(repr(examine(READERS[reader], path.read_bytes())).encode()).hexdigest()
        except Broken as broken:
            line["broken"] = str(broken)
            failed = 1
        print(json.dumps(line))
    return failed


if __name__ == "__main__":
    sys.exit(main())
