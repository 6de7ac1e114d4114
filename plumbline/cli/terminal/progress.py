"""What a person sees while a command works: a bar on a terminal, nothing where a program reads the output."""

from __future__ import annotations

import sys
from typing import TextIO

WIDTH = 24


def note(line: str) -> None:
    """Print a line on standard error at once, so that --json on standard output stays one document."""
    print(line, file=sys.stderr, flush=True)


class Progress:
    """A bar of `total` steps (bytes, files) on stderr; leaving `with` clears the line."""

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        self._what, self._total, self._done, self._shown = what, total, 0, -1
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()

    def __enter__(self) -> Progress:
        self.advance(0)
        return self

    def advance(self, steps: int) -> None:
        """Count more steps as done; the line is redrawn when its percentage changes."""
        self._done += steps
        percent = 100 * self._done // self._total if self._total else 100
        if not self._live or percent == self._shown:
            return
        self._shown = percent
        full = WIDTH * percent // 100
        self._stream.write(f"\r{self._what} [{'#' * full}{' ' * (WIDTH - full)}] {percent:3d} %")
        self._stream.flush()

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
