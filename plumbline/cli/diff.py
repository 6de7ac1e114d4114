"""`plumbline diff FILE`: compare a definition file with the stored definition of that name, field by field."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from chalicelib import wiring
from chalicelib.definition import Definition, version_of
from chalicelib.facts import monitors
from chalicelib.wiring import Services
from plumbline.cli.add import read_definition
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command

DIFFERENT = 3


class Difference(msgspec.Struct, frozen=True):
    """A field's path (`policy.cost`, `routes[0].url`) and its value on each side, as JSON."""

    field: str
    stored: str
    file: str


def differences(stored: Definition, other: Definition) -> list[Difference]:
    """The fields that differ, in the order of the document, with defaults filled in on both sides."""
    return list(_compared("", msgspec.to_builtins(stored), msgspec.to_builtins(other)))


def _compared(path: str, ours: Any, theirs: Any) -> Iterator[Difference]:
    """Descend while both sides have the same shape; lists of mappings have it when they are equally long."""
    if ours == theirs:
        return
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in [*ours, *(name for name in theirs if name not in ours)]:
            yield from _compared(f"{path}.{name}" if path else name, ours.get(name), theirs.get(name))
    elif _mappings(ours) and _mappings(theirs) and len(ours) == len(theirs):
        for index, (one, another) in enumerate(zip(ours, theirs, strict=True)):
            yield from _compared(f"{path}[{index}]", one, another)
    else:
        yield Difference(path, *(json.dumps(side, ensure_ascii=False) for side in (ours, theirs)))


def _mappings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, dict) for each in value)


def stored_definition(services: Services, name: str) -> tuple[Definition | None, str]:
    """The definition in force and "", or None and the reason why there is none."""
    entry = monitors.get(services.ledger, name)
    if entry is None:
        return None, f"{name} is not stored; `plumbline add FILE` stores it"
    if entry.removed_at:
        return None, f"{name} was removed {entry.removed_at}; `plumbline add FILE` resumes it"
    return services.definitions.of(entry), ""


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    definition = read_definition(options.file)
    stored, why = stored_definition(wiring.services(), definition.name)
    found = differences(stored, definition) if stored else []
    status = DIFFERENT if found or stored is None else 0
    versions = (version_of(stored) if stored else None, version_of(definition))
    if options.json:
        document = {
            "monitor": definition.name,
            "stored": versions[0],
            "file": versions[1],
            "differences": msgspec.to_builtins(found),
        }
        return Answer(json.dumps(document, indent=2, ensure_ascii=False), status)
    if stored is None:
        return Answer(why, status)
    if not found:
        return Answer(f"{definition.name}: the file is the stored version {versions[0]}", status)
    lines = [f"{definition.name}: stored version {versions[0]}, the file would be {versions[1]}"]
    for each in found:
        lines += [f"  {each.field}", f"    stored  {each.stored}", f"    file    {each.file}"]
    return Answer("\n".join(lines), status)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline diff` and its arguments."""
    parser = add_command(
        commands,
        "diff",
        "compare a definition's file with the stored version",
        "Defaults are filled in on both sides.",
        "diff monitor.yaml",
        three="it differs, is not stored, or was removed",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="YAML or JSON file with one definition")
    parser.add_argument("--json", action="store_true", help="the differences as JSON")
    parser.set_defaults(run=run)
