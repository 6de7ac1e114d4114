"""The command line as a process: signals, and an output that takes whatever it is told."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the statuses of `commands.run`, and 130 when it was interrupted."""
    try:
        from plumbline.cli.commands import run  # here, for that takes half a second, in which Ctrl-C is heard too

        return run(arguments)
    except KeyboardInterrupt:
        print("plumbline: interrupted", file=sys.stderr)
        return 130


def program() -> int:
    """`plumbline` as a process of its own: it ends without words when the reader of its output goes away (`| head`).

    What the output cannot spell (ASCII, names of files that are no UTF-8) is replaced.
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            stream.reconfigure(errors="replace")
    return main()


if __name__ == "__main__":
    sys.exit(program())
