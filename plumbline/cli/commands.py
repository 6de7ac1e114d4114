"""All commands: arguments in, one line per error out. The work is in the module of each command."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from chalicelib import settings, wiring
from chalicelib.errors import PlumblineError
from chalicelib.records.window import parse_duration
from plumbline.cli import (
    backtest,
    baseline,
    connect,
    diff,
    doctor,
    evaluate,
    forget,
    ground_truth,
    pause,
    rebuild,
    redrive,
    remove,
    status,
)
from plumbline.cli.account.account import DeniedError, UnansweredError, failure
from plumbline.cli.add import add_monitor, read_definition
from plumbline.cli.explain import explanation, find_in_folder, find_in_table
from plumbline.cli.push import PushError
from plumbline.cli.terminal.usage import UNWRITTEN, add_command, new_parser


class Answer(NamedTuple):
    """What a command says, and its exit status: 1 when some of what was asked for was not done."""

    text: str
    status: int = 0


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 done, 1 done in part or not answered by AWS, 2 bad usage or a refused input.

    3: doctor found something missing, diff a difference, evaluate violations; 74: standard output is not writable.
    """
    options = _parser().parse_args(arguments)
    try:
        answer = Answer(*options.run(options))
    except PlumblineError as error:
        print(f"plumbline: {error}", file=sys.stderr)
        return 1 if isinstance(error, DeniedError | PushError | UnansweredError) else 2
    except Exception as error:
        if not wiring.is_aws_error(error):  # no credentials, an expired token, no such bucket
            raise
        print(f"plumbline: {failure(error)}", file=sys.stderr)
        return 1
    try:
        print(answer.text, flush=True)
    except OSError as error:
        return _unwritten(error)
    return answer.status


def _unwritten(error: OSError) -> int:
    """The answer could not be written: nobody may take the status for a verdict."""
    with contextlib.suppress(OSError):  # standard error may go to the same full disk
        print(f"plumbline: standard output cannot be written to: {error.strerror}", file=sys.stderr, flush=True)
    # Python writes what is left in its buffer once more at the end, and would fail with a status of its own.
    sys.stdout = io.StringIO()
    return UNWRITTEN


def _add(options: argparse.Namespace) -> Answer:
    definition = read_definition(options.file)
    if options.check:
        return Answer(f"{options.file}: a valid definition of the monitor {definition.name}")
    entry = add_monitor(wiring.services(), definition)
    return Answer(f"added {entry.name}, version {entry.version}; windows from {entry.since} on are evaluated")


def _explain(options: argparse.Namespace) -> Answer:
    if options.folder:
        return Answer(explanation(*find_in_folder(options.folder, options.decision)))
    return Answer(explanation(*find_in_table(wiring.services(), options.decision)))


def _rebuild(options: argparse.Namespace) -> Answer:
    since, until = rebuild.parse_time(options.since, "--from"), rebuild.parse_time(options.until, "--to")
    limit = parse_duration(options.wait, "--wait")
    services = wiring.services()
    planned = rebuild.plan(services, options.monitor, since, until)
    able = [each.window for each in planned if each.verdict == "rebuild"]
    done: list[rebuild.Done] = []
    last = f"{len(able)} would be rebuilt; nothing was asked for (--dry-run)"
    if not options.dry_run:
        _progress(rebuild.plan_text(options.monitor, planned))
        if options.all_or_nothing and not rebuild.all_well(planned, done):
            last = "nothing was asked for: not all can be rebuilt (--all-or-nothing)"
        else:
            before = rebuild.order(services, options.monitor, able)
            _progress(f"{len(able)} asked for; the clock sends them within a minute. Ctrl-C ends the waiting only.")
            done = rebuild.follow(services, options.monitor, before, wiring.pause, limit, _progress)
            last = rebuild.summary(planned, done)
    text = f"{rebuild.plan_text(options.monitor, planned)}\n{last}" if options.dry_run else last
    if options.json:
        text = rebuild.document(options.monitor, planned, done)
    return Answer(text, 0 if rebuild.all_well(planned, done) else 1)


def _redrive(options: argparse.Namespace) -> Answer:
    services = wiring.services()
    place = settings.of_stage(services.settings, options.stage) if options.stage else services.settings
    action: redrive.Action = "replay" if options.replay else "delete" if options.delete else "show"
    queues = redrive.redrive(services, wiring.dead_letters(place), options.queues, options.messages, action)
    if options.json:
        text = redrive.document(place.stage, queues, options.messages)
    else:
        text = redrive.text(place.stage, place.table, queues, options.messages, action)
    return Answer(text, 0 if redrive.all_well(queues, options.messages) else 1)


def _progress(line: str) -> None:
    """Told at once, and beside the answer, so that --json stays one document."""
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "Watch deployed models; retrain when it pays. Each command has a page of its own: plumbline COMMAND --help",
        "add --check monitor.yaml",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = add_command(
        commands,
        "add",
        "store a monitor definition and index it",
        "Takes the serving model as champion. A changed definition is stored as the next version.",
        "add monitor.yaml",
    )
    add.add_argument("file", type=Path, metavar="FILE", help="YAML or JSON file with one definition")
    add.add_argument("--check", action="store_true", help="only check the file; needs no AWS account")
    add.set_defaults(run=_add)
    explain = add_command(
        commands,
        "explain",
        "print a decision with its reasons and evidence",
        "",
        "explain 3f9c --from demo-output",
    )
    explain.add_argument(
        "decision", metavar="DECISION_ID", help="the decision's id (with --from, its first digits are enough)"
    )
    explain.add_argument(
        "--from", dest="folder", type=Path, metavar="DIR", help="a folder of reports; default: the account"
    )
    explain.set_defaults(run=_explain)
    again = add_command(
        commands,
        "rebuild",
        "derive reports of closed windows again from captures and labels",
        "Asks the deployed functions and waits for them.",
        "rebuild --monitor churn --from 2026-01-05 --to 2026-01-06 --dry-run",
        one="not all could be rebuilt, or not in time; AWS did not answer",
    )
    again.add_argument("--monitor", required=True, metavar="NAME", help="the monitor's name")
    again.add_argument(
        "--from",
        dest="since",
        required=True,
        metavar="T",
        help="windows that begin at or after this: 2026-01-05 or 2026-01-05T18:00Z; UTC unless it says else",
    )
    again.add_argument("--to", dest="until", required=True, metavar="T", help="and before this")
    again.add_argument(
        "--dry-run", action="store_true", help="only tell which windows can be rebuilt, and why others not"
    )
    again.add_argument("--all-or-nothing", action="store_true", help="ask for none unless all can be rebuilt")
    again.add_argument(
        "--wait", default="PT30M", metavar="DURATION", help="how long to wait; PT0S: not at all; default: PT30M"
    )
    again.add_argument("--json", action="store_true", help="the answer as one JSON object")
    again.set_defaults(run=_rebuild)
    dead = add_command(
        commands,
        "redrive",
        "show dead letters, explain them, send them back",
        "Without --replay or --delete it only shows what each is about and what a replay would lead to.",
        "redrive windows --replay",
        one="some of the letters were not dealt with; AWS did not answer",
    )
    dead.add_argument("queues", nargs="*", metavar="QUEUE", help="such as windows or captures; default: all")
    dead.add_argument(
        "--stage",
        default="",
        metavar="NAME",
        help="another stage's queues; table and bucket stay the environment's; default: PLUMBLINE_STAGE, else dev",
    )
    dead.add_argument(
        "--message", dest="messages", action="append", default=[], metavar="ID", help="only this; repeat it"
    )
    acts = dead.add_mutually_exclusive_group()
    acts.add_argument("--replay", action="store_true", help="send each letter back to its queue, then delete it here")
    acts.add_argument("--delete", action="store_true", help="delete the letters named by --message for good")
    dead.add_argument("--json", action="store_true", help="the answer as one JSON object")
    dead.set_defaults(run=_redrive)
    for command in (baseline, evaluate, backtest, doctor, connect, status, ground_truth, forget, pause, remove, diff):
        command.register(commands)
    return parser
