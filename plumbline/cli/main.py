"""The command line as a process: signals, and output in any encoding."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the statuses of `commands.run`, or 130 when interrupted."""
    try:
        from plumbline.cli.commands import run  # here: importing takes half a second, and Ctrl-C must work then too

        return run(arguments)
    except KeyboardInterrupt:
        print("plumbline: interrupted", file=sys.stderr)
        return 130


def program() -> int:
    """`plumbline` as a process: it ends silently when the reader of its output goes away (`| head`).

    Characters that the output's encoding lacks are replaced (an ASCII terminal, file names that are not UTF-8).
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            stream.reconfigure(errors="replace")
    return main()


if __name__ == "__main__":
    sys.exit(program())
