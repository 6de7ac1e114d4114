"""Help pages, the same for every command: what it does, its arguments, one example, its exit statuses."""

from __future__ import annotations

import argparse
import shutil
from typing import Any

# EX_IOERR of sysexits.h.
UNWRITTEN = 74

EXIT_STATUSES = {
    0: "done, or nothing to say",
    1: "done in part; AWS failed (credentials, permission, network)",
    2: "bad usage or invalid input; nothing was written",
    3: "found: by doctor something missing, by diff a difference, by evaluate evidence",
    UNWRITTEN: "standard output cannot be written to (a full disk); the rest was done",
    130: "interrupted",
}


def _page(prog: str) -> argparse.HelpFormatter:
    """A formatter that keeps paragraphs as written and sets arguments in at most 98 columns."""
    width = min(98, shutil.get_terminal_size().columns - 2)
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=min(30, width // 3), width=width)


class _Once(argparse._StoreAction):
    """An option that may be given once; argparse would silently take the last of two values."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = vars(namespace).setdefault("given", [])
        if self in given:
            raise argparse.ArgumentError(self, "given twice; expected once")
        given.append(self)
        super().__call__(parser, namespace, values, option_string)


class _Parser(argparse.ArgumentParser):
    """The parser of the program and of each command: options may be given once."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        for name in (None, "store"):
            self.register("action", name, _Once)


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    does: str,
    more: str,
    example: str,
    **statuses: str,
) -> argparse.ArgumentParser:
    """Add a command; `does` is one line, also shown in the list of commands, `more` a paragraph.

    `example` is a command line without "plumbline"; `statuses` (`one="..."`, `three="..."`) replace the meaning of an
    exit status for this command.
    """
    meanings = {**EXIT_STATUSES, 3: ""}
    meanings |= {number: statuses[word] for word, number in (("zero", 0), ("one", 1), ("three", 3)) if word in statuses}
    return commands.add_parser(
        name,
        help=does,
        description="\n\n".join(part for part in (f"{does[0].upper()}{does[1:]}.", more) if part),
        epilog=_end(example, meanings),
        formatter_class=_page,
    )


def new_parser(does: str, example: str) -> argparse.ArgumentParser:
    """The parser of the program itself."""
    return _Parser(prog="plumbline", description=does, epilog=_end(example, EXIT_STATUSES), formatter_class=_page)


def _end(example: str, statuses: dict[int, str]) -> str:
    lines = [f"  {number:<5}{meaning}" for number, meaning in statuses.items() if meaning]
    return "\n".join(["example:", f"  plumbline {example}", "", "exit status:", *lines])
