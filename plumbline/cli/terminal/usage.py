"""A command's page of help: what it does, its arguments, one example and its exit statuses, the same way for all."""

from __future__ import annotations

import argparse
import shutil
from typing import Any

# EX_IOERR of sysexits.h.
UNWRITTEN = 74

EXIT_STATUSES = {
    0: "done, or nothing to say",
    1: "done in part; AWS did not answer (credentials, permission, network)",
    2: "bad usage or a refused input; nothing was written",
    3: "found what it looks for: doctor something missing, diff a difference, evaluate violations",
    UNWRITTEN: "standard output cannot be written to (a full disk); all else was done",
    130: "interrupted",
}


def _page(prog: str) -> argparse.HelpFormatter:
    """Paragraphs as they are written, arguments on 98 columns at most."""
    width = min(98, shutil.get_terminal_size().columns - 2)
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=min(30, width // 3), width=width)


class _Once(argparse._StoreAction):
    """An option with one value: of two the last would win, and nobody would hear of the other."""

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
    """The program's parser makes those of the commands, of its own kind."""

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
    """Add a command that `does` something (one line, also in the list of commands), with `more` about it.

    `example` is a command line without "plumbline"; `statuses` say what an exit status means for this command
    (`one="..."`, `three="..."`), where it is not what it means for all.
    """
    told = {**EXIT_STATUSES, 3: ""}
    told |= {number: statuses[word] for word, number in (("zero", 0), ("one", 1), ("three", 3)) if word in statuses}
    return commands.add_parser(
        name,
        help=does,
        description="\n\n".join(part for part in (f"{does[0].upper()}{does[1:]}.", more) if part),
        epilog=_end(example, told),
        formatter_class=_page,
    )


def new_parser(does: str, example: str) -> argparse.ArgumentParser:
    """The parser of the program itself."""
    return _Parser(prog="plumbline", description=does, epilog=_end(example, EXIT_STATUSES), formatter_class=_page)


def _end(example: str, statuses: dict[int, str]) -> str:
    lines = [f"  {number:<5}{meaning}" for number, meaning in statuses.items() if meaning]
    return "\n".join(["example:", f"  plumbline {example}", "", "exit status:", *lines])
