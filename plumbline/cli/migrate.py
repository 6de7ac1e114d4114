"""`plumbline migrate --schedule NAME | --all --out DIR`: monitor definitions from Model Monitor's schedules.

Reads the account and writes files on this machine only. With --compare, past executions are evaluated again on the
input that they had, and both verdicts stand side by side. What it reads and leaves out: docs/migrate.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from chalicelib.definition import Definition
from chalicelib.errors import MisconfiguredError, NotFoundError, UnreadableError
from chalicelib.monitors import baseline
from plumbline.cli import evaluate
from plumbline.cli.account.account import Account
from plumbline.cli.account.migration import Migration
from plumbline.cli.account.migration import migrate as migrated
from plumbline.cli.account.schedules import (
    Asker,
    Execution,
    Schedule,
    names_of_all,
    past_executions,
    read_schedule,
)
from plumbline.cli.inputs.places import beside, file_of
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.output import write_files
from plumbline.cli.terminal.usage import add_command, new_parser

_BASELINES = {
    "data_quality_statistics": baseline.DATA_STATISTICS,
    "data_quality_constraints": baseline.DATA_CONSTRAINTS,
    "model_quality_constraints": baseline.MODEL_CONSTRAINTS,
    "model_bias_constraints": baseline.BIAS_CONSTRAINTS,
    "model_explainability_constraints": baseline.EXPLAINABILITY_CONSTRAINTS,
}
_VIOLATIONS = "constraint_violations.json"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Both verdicts on the input of one execution; violations by what they are about. `reason`: why there is none."""

    schedule: str
    scheduled: str
    theirs: str
    ours: str = ""
    both: tuple[str, ...] = ()
    only_theirs: tuple[str, ...] = ()
    only_ours: tuple[str, ...] = ()
    reason: str = ""


def run(options: argparse.Namespace) -> tuple[str, int]:
    """The command: its output and its exit status."""
    # No stage is needed yet, so nothing of its settings is read.
    return run_in(Account(None), options)


def run_in(account: Asker, options: argparse.Namespace) -> tuple[str, int]:
    """The command in an account. Raises NotFoundError for a schedule that is not there."""
    names = options.schedule or names_of_all(account)
    migrations = migrated(account, [read_schedule(account, name) for name in names])
    made = [each for each in migrations if each.definition]
    paths = write_files(options.out, {_path(each): _yaml(each) for each in made}, [])
    compared: list[Comparison] = []
    if options.compare:
        for each in made:
            compared += _compared(account, each, options.out, options.executions)
    status = 0 if len(made) == len(migrations) and migrations else 1
    if options.json:
        return _json(migrations, paths, compared), status
    return _text(migrations, paths, compared), status


def _path(migration: Migration) -> str:
    return f"{migration.document['name']}.yaml"


def _yaml(migration: Migration) -> bytes:
    """The document, with what a person should look at above it."""
    names = ", ".join(each.name for each in migration.schedules)
    head = [f"From Model Monitor's schedules: {names}", *migration.notes]
    lines = "".join(f"# {line}\n" for line in head)
    text: str = yaml.safe_dump(migration.document, sort_keys=False, allow_unicode=True, width=120)
    return (lines + text).encode()


# Both verdicts --------------------------------------------------------------------------------------------------------


def _compared(account: Asker, migration: Migration, out: Path, count: int) -> list[Comparison]:
    found = []
    for schedule in migration.schedules:
        for execution in past_executions(account, schedule.name, count):
            folder = out / "compare" / schedule.name / execution.scheduled.replace(":", "")
            try:
                found.append(_comparison(schedule, execution, migration, folder))
            except (MisconfiguredError, NotFoundError, UnreadableError) as error:
                found.append(_uncompared(schedule, execution, str(error)))
    return found


def _comparison(schedule: Schedule, execution: Execution, migration: Migration, folder: Path) -> Comparison:
    theirs = _violations(beside(execution.report_uri, _VIOLATIONS))
    alone = {**migration.document, "monitor_types": [schedule.monitor_type]}
    for name, kind in (("bias", "ModelBias"), ("attribution", "ModelExplainability")):
        if kind != schedule.monitor_type:
            alone.pop(name, None)
    assert migration.definition is not None
    files = {"monitor.yaml": yaml.safe_dump(alone).encode(), **_baseline_files(migration.definition)}
    write_files(folder, files, [])
    arguments = ["evaluate", "--captures", execution.captures_uri, "--baseline", str(folder / "baseline"), "--json"]
    arguments += ["--monitor", str(folder / "monitor.yaml"), "--out", str(folder / "report")]
    if execution.is_several and execution.start and execution.end:
        arguments += ["--start", execution.start, "--end", execution.end]
    parser = new_parser("", "")
    evaluate.register(parser.add_subparsers())
    text, _ = evaluate.run(parser.parse_args(arguments))
    part = evaluate.FOLDERS[schedule.monitor_type]
    state = json.loads(text)["monitors"].get(part, {"status": "NOT_EVALUATED", "reason": "nothing to evaluate"})
    if state["status"] != "EVALUATED":
        return _uncompared(schedule, execution, state["reason"])
    ours = _violations(str(folder / "report" / part / _VIOLATIONS))
    return Comparison(
        schedule=schedule.name,
        scheduled=execution.scheduled,
        theirs=execution.status,
        ours="CompletedWithViolations" if ours else "Completed",
        both=tuple(sorted(ours & theirs)),
        only_theirs=tuple(sorted(theirs - ours)),
        only_ours=tuple(sorted(ours - theirs)),
    )


def _uncompared(schedule: Schedule, execution: Execution, reason: str) -> Comparison:
    return Comparison(schedule=schedule.name, scheduled=execution.scheduled, theirs=execution.status, reason=reason)


def _baseline_files(definition: Definition) -> dict[str, bytes]:
    found = {}
    for field, path in _BASELINES.items():
        if uri := getattr(definition.baseline, field):
            file = file_of(uri, f"baseline.{field}")
            if file is None:
                raise NotFoundError(f"{uri}: baseline.{field} is not there")
            found[f"baseline/{path}"] = file.read()
    return found


def _violations(place: str) -> set[str]:
    """What a file of violations is about; a missing file has none."""
    file = file_of(place, "report")
    if file is None:
        return set()
    try:
        found = json.loads(file.read())["violations"]
        return {_about(each) for each in found}
    except (ValueError, KeyError, TypeError):
        raise UnreadableError(place, "expected a file of violations") from None


def _about(violation: dict[str, Any]) -> str:
    name = violation.get("feature_name") or violation.get("metric_name") or ""
    facet = f" of {violation['facet']} in {violation['facet_value']}" if "facet" in violation else ""
    return f"{violation.get('label', '')} {name}{facet}: {violation['constraint_check_type']}".strip()


# What is said ---------------------------------------------------------------------------------------------------------


def _text(migrations: Sequence[Migration], paths: Sequence[str], compared: Sequence[Comparison]) -> str:
    if not migrations:
        return "no monitoring schedule in this region"
    rows = [("SCHEDULE", "TYPE", "BECOMES")]
    for each in migrations:
        becomes = f"{each.document['name']}" if each.definition else f"nothing: {each.reason}"
        rows += [(schedule.name, schedule.monitor_type, becomes) for schedule in each.schedules]
    lines = aligned(rows)
    for each in migrations:
        if each.definition:
            lines += ["", f"{each.document['name']}:", *(f"  {note}" for note in each.notes)]
    if compared:
        lines += ["", *_verdicts(compared)]
    first = paths[0] if paths else ""
    return "\n".join([*lines, "", *paths, *([f"next: plumbline add --check {first}"] if first else [])])


def _verdicts(compared: Sequence[Comparison]) -> list[str]:
    rows = [("EXECUTION", "MODEL MONITOR", "PLUMBLINE", "SAME VIOLATIONS", "ONLY ITS", "ONLY OURS")]
    more = []
    for each in compared:
        name = f"{each.schedule} {each.scheduled}"
        counts = [str(len(part)) for part in (each.both, each.only_theirs, each.only_ours)]
        same, its, own = ("-", "-", "-") if each.reason else counts
        rows.append((name, each.theirs, each.ours or "-", same, its, own))
        if each.reason:
            more.append(f"{name}: {each.reason}")
        more += [f"{name}: only Model Monitor's: {about}" for about in each.only_theirs]
        more += [f"{name}: only ours: {about}" for about in each.only_ours]
    return [*aligned(rows), *more]


def _json(migrations: Sequence[Migration], paths: Sequence[str], compared: Sequence[Comparison]) -> str:
    document = {
        "monitors": [
            {
                "name": each.document.get("name", ""),
                "schedules": [schedule.name for schedule in each.schedules],
                "reason": each.reason,
                "notes": list(each.notes),
            }
            for each in migrations
        ],
        "comparisons": msgspec.to_builtins(compared),
        "files": list(paths),
    }
    return json.dumps(document, indent=2)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline migrate` and its arguments."""
    parser = add_command(
        commands,
        "migrate",
        "write monitor definitions from Model Monitor's schedules",
        "Reads schedules, job definitions, baselines and alarms of the account; changes nothing in it.",
        "migrate --all --out monitors --compare",
        one="a schedule cannot become a definition, or there is none; AWS did not answer",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--schedule", action="append", default=[], metavar="NAME", help="a schedule; repeat it")
    which.add_argument("--all", action="store_true", help="every monitoring schedule of the region")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder that definitions go to")
    parser.add_argument(
        "--compare", action="store_true", help="evaluate past executions' input again and show both verdicts"
    )
    parser.add_argument(
        "--executions", type=int, default=3, metavar="N", help="of each schedule, the newest; default: 3"
    )
    parser.add_argument("--json", action="store_true", help="the answer as one JSON object")
    parser.set_defaults(run=run)
