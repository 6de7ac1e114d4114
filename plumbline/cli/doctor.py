"""`plumbline doctor`: what this account lacks for a stage and its monitors to work, and the command that fixes it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from chalicelib import settings as deployment
from chalicelib.definition import Definition
from chalicelib.facts import monitors
from chalicelib.facts.monitors import Entry
from chalicelib.wiring import LazyServices, Services
from plumbline.cli.account.account import Account
from plumbline.cli.account.choice import chosen
from plumbline.cli.account.monitor_checks import check_monitor
from plumbline.cli.account.stage_checks import check_stage, refuse_wrong_stage
from plumbline.cli.add import read_definition
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.findings import Finding, Findings
from plumbline.cli.terminal.usage import add_command

SOMETHING_MISSING = 3


def examine(
    account: Account, services: Services, monitor: str = "", definition: Definition | None = None
) -> list[Finding]:
    """The findings about the stage, then about one monitor, a definition that is not stored yet, or all monitors."""
    deployed = refuse_wrong_stage(account, services.settings)
    found = list(check_stage(account, services.settings))
    if definition is not None:
        return found + list(check_monitor(account, services, definition, stored=False))
    if not deployed:
        return found  # no table, so no monitors
    own = Findings(account, f"stage {services.settings.stage}")
    entries: list[Entry] = []
    own.check("the stored monitors", lambda: entries.extend(monitors.all_entries(services.ledger)))
    if not own.found:
        entries = chosen(entries, monitor)
        if not entries:
            own.warning("no monitor is stored", "plumbline add monitor.yaml")
    definitions: list[Definition] = []

    def read(entry: Entry) -> None:
        definitions.append(services.definitions.of(entry))

    for entry in entries:
        own.check(f"the definition of {entry.name}", read, entry)
    found += own
    for each in definitions:
        found += check_monitor(account, services, each, stored=True)
    return found


def text(account: Account, findings: Sequence[Finding]) -> str:
    """The findings as lines, each followed by the command that fixes it."""
    lines = [f"account {account.number}, {account.region}, as {account.identity['Arn']}"]
    about = ""
    for each in findings:
        if each.about != about:
            about = each.about
            lines.append(about)
        lines.append(f"  {each.status:<7}  {each.what}")
        if each.fix:
            lines.append(f"{'':11}> {each.fix}")
    counts = {
        status: len([each for each in findings if each.status == status]) for status in ("missing", "warning", "ok")
    }
    lines.append(f"{counts['missing']} missing, {counts['warning']} warnings, {counts['ok']} ok")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    definition = read_definition(options.definition) if options.definition else None
    settings = deployment.load()
    if options.stage:
        settings = deployment.of_stage(settings, options.stage)
    account, services = Account(settings.region), LazyServices(settings)
    findings = examine(account, services, options.monitor, definition)
    status = SOMETHING_MISSING if any(each.status == "missing" for each in findings) else 0
    if options.json:
        document = {
            "account": account.number,
            "region": account.region,
            "identity": account.identity["Arn"],
            "stage": settings.stage,
            "findings": msgspec.to_builtins(findings),
        }
        return Answer(json.dumps(document, indent=2, ensure_ascii=False), status)
    return Answer(text(account, findings), status)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline doctor` and its arguments."""
    parser = add_command(
        commands,
        "doctor",
        "list what this account lacks, and the command that fixes it",
        "Checks the stage and every stored monitor. Changes nothing.",
        "doctor --definition monitor.yaml",
        three="something is missing",
    )
    parser.add_argument("--stage", default="", metavar="NAME", help="default: PLUMBLINE_STAGE, else dev")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--monitor", default="", metavar="NAME", help="check only this stored monitor")
    what.add_argument(
        "--definition", type=Path, metavar="FILE", help="check a definition that is not stored yet (YAML or JSON)"
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    parser.set_defaults(run=run)
