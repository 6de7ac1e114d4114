"""The command line: arguments in, one line per error out. The work is in the module of each command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from chalicelib import wiring
from chalicelib.errors import PlumblineError
from cli.add import add_monitor, read_definition
from cli.explain import explanation, find_in_folder, find_in_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 done, 2 bad usage or a refused input."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options))
    except PlumblineError as error:
        print(f"plumbline: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if not wiring.is_aws_error(error):  # no credentials, an expired token, no such bucket
            raise
        print(f"plumbline: AWS: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _add(options: argparse.Namespace) -> str:
    definition = read_definition(options.file)
    if options.check:
        return f"{options.file}: a valid definition of the monitor {definition.name}"
    entry = add_monitor(wiring.services(), definition)
    return f"added {entry.name}, version {entry.version}; windows from {entry.since} on are evaluated"


def _explain(options: argparse.Namespace) -> str:
    if options.folder:
        return explanation(*find_in_folder(options.folder, options.decision))
    return explanation(*find_in_table(wiring.services(), options.decision))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="plumbline", description="Watch deployed models; retrain when it pays.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="store a monitor definition and index it")
    add.add_argument("file", type=Path, help="YAML or JSON file with one definition")
    add.add_argument("--check", action="store_true", help="only check the file; needs no AWS account")
    add.set_defaults(run=_add)
    explain = commands.add_parser("explain", help="print a decision with its reasons and evidence")
    explain.add_argument("decision", help="the decision's id (with --from, its first digits are enough)")
    explain.add_argument("--from", dest="folder", type=Path, help="a folder of reports instead of the account")
    explain.set_defaults(run=_explain)
    return parser


if __name__ == "__main__":
    sys.exit(main())
