"""The list of commands: parse the arguments, run one command, print its answer, or one line for an error.

Each command is one file with `register(commands)` and `run(options)`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Sequence
from importlib import metadata

from chalicelib import wiring
from chalicelib.errors import PlumblineError
from plumbline.cli import (
    add,
    adopt,
    alerts,
    backtest,
    baseline,
    connect,
    cost,
    diff,
    doctor,
    evaluate,
    explain,
    forget,
    ground_truth,
    migrate,
    page,
    pause,
    rebuild,
    redrive,
    remove,
    serve,
    status,
    tune,
)
from plumbline.cli.account.account import DeniedError, UnansweredError, failure
from plumbline.cli.push import PushError
from plumbline.cli.terminal.usage import UNWRITTEN, new_parser

# In the order of the help page.
COMMANDS = (
    *(add, explain, rebuild, redrive, baseline, evaluate, backtest, tune, cost, doctor, connect, migrate),
    *(status, serve, page, ground_truth, forget, pause, alerts, adopt, remove, diff),
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 done, 1 done in part or AWS failed, 2 bad usage or an invalid input.

    3: doctor found something missing, diff a difference, evaluate evidence; 74: standard output is not writable.
    """
    options = _parser().parse_args(arguments)
    try:
        text, code = options.run(options)
    except PlumblineError as error:
        print(f"plumbline: {error}", file=sys.stderr)
        return 1 if isinstance(error, DeniedError | PushError | UnansweredError) else 2
    except Exception as error:
        if not wiring.is_aws_error(error):  # no credentials, an expired token, no such bucket
            raise
        print(f"plumbline: {failure(error)}", file=sys.stderr)
        return 1
    try:
        print(text, flush=True)
    except OSError as error:
        return _unwritten(error)
    return int(code)


def _unwritten(error: OSError) -> int:
    """Report that the answer could not be written; the command's own status would read as a verdict."""
    with contextlib.suppress(OSError):  # standard error may go to the same full disk
        print(f"plumbline: standard output cannot be written to: {error.strerror}", file=sys.stderr, flush=True)
    # At exit Python writes what is left in its buffer, and would fail with a status of its own.
    sys.stdout = io.StringIO()
    return UNWRITTEN


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "Watch deployed models; retrain when it pays. Each command has a page of its own: plumbline COMMAND --help",
        "add --check monitor.yaml",
    )
    parser.add_argument("--version", action="version", version=f"plumbline {metadata.version('plumbline')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.register(commands)
    return parser
