"""One reader under the fuzzer, in a process of its own: python -m trials.fuzz.campaign READER LIBFUZZER-ARGUMENT...

Needs atheris; everything of Plumbline is imported under its instrumentation, so that coverage guides the search.
"""

from __future__ import annotations

import sys
import zlib

import atheris

with atheris.instrument_imports(include=["chalicelib", "plumbline"], enable_loader_override=False):
    from trials.fuzz.readers import READERS

from trials.fuzz.law import SECONDS, Broken, examine
from trials.fuzz.mutation import mutate

# Under instrumentation the readers take three times as long as without it, where the law is meant (20,000 records of a
# transform: 1.9 s and 0.65 s).
ALLOWED = 3 * SECONDS


class BrokenLawError(Exception):
    """What the fuzzer takes for a crash."""


def main() -> None:
    reader = READERS[sys.argv[1]]

    def one(data: bytes) -> None:
        try:
            # Of every eight inputs one is read twice: chosen by the input, so that it fails again when it is replayed.
            examine(reader, data, twice=zlib.crc32(data) % 8 == 0, seconds=ALLOWED)
        except Broken as broken:
            raise BrokenLawError(str(broken)) from broken.__cause__

    def changed(data: bytes, max_size: int, seed: int) -> bytes:
        return mutate(data, max_size, seed, reader.form, atheris.Mutate)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
