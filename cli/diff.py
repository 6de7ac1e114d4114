"""`plumbline diff FILE`: a definition's file against what is stored under its name, field by field."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec

from chalicelib import wiring
from chalicelib.definition import Definition, version_of
from chalicelib.facts import monitors
from chalicelib.wiring import Services
from cli.add import read_definition

DIFFERENT = 3

_ABSENT = "nothing"


class Difference(msgspec.Struct, frozen=True):
    """A field by its path (`policy.cost`, `routes[0].url`) and what each side holds: JSON, or "nothing"."""

    field: str
    stored: str
    file: str


def differences(stored: Definition, other: Definition) -> list[Difference]:
    """The fields that differ, defaults filled in on both sides, in the order of the document."""
    ours, theirs = _flat(msgspec.to_builtins(stored)), _flat(msgspec.to_builtins(other))
    return [
        Difference(field, ours.get(field, _ABSENT), theirs.get(field, _ABSENT))
        for field in [*ours, *(field for field in theirs if field not in ours)]
        if ours.get(field) != theirs.get(field)
    ]


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Every leaf of a document by its path; what is empty is a leaf too."""
    if isinstance(value, dict) and value:
        parts = [(f"{path}.{name}" if path else str(name), each) for name, each in value.items()]
    # A list of plain values is compared whole: that one of ten features is new says more than ten shifted ones.
    elif isinstance(value, list | tuple) and any(isinstance(each, dict) for each in value):
        parts = [(f"{path}[{index}]", each) for index, each in enumerate(value)]
    else:
        return {path: json.dumps(value, ensure_ascii=False)}
    return {place: leaf for name, each in parts for place, leaf in _flat(each, name).items()}


def stored_definition(services: Services, name: str) -> tuple[Definition | None, str]:
    """The definition in force and "", or None and why there is none."""
    entry = monitors.get(services.ledger, name)
    if entry is None:
        return None, f"{name} is not stored; `plumbline add FILE` stores it"
    if entry.removed_at:
        return None, f"{name} was removed {entry.removed_at}; `plumbline add FILE` takes it up again"
    return services.definitions.of(entry), ""


def run(options: argparse.Namespace) -> tuple[str, int]:
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
        return json.dumps(document, indent=2, ensure_ascii=False), status
    if stored is None:
        return why, status
    if not found:
        return f"{definition.name}: the file is the stored version {versions[0]}", status
    lines = [f"{definition.name}: stored version {versions[0]}, the file would be {versions[1]}"]
    for each in found:
        lines += [f"  {each.field}", f"    stored  {each.stored}", f"    file    {each.file}"]
    return "\n".join(lines), status


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline diff` and its arguments."""
    parser = commands.add_parser("diff", help="compare a definition's file with the stored version")
    parser.add_argument("file", type=Path, help="YAML or JSON file with one definition")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)
