"""`plumbline ground-truth status | export-unlabelled | push | withdraw`: find missing labels, export records, hand
labels in, take wrong ones out.

`status` reads facts only. `export-unlabelled` writes captured data to a local file. `push` sends a file of labels to
the webhook, or writes them as ground-truth objects; it notes what was sent beside the file.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from chalicelib import keys, wiring
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import ConflictError, MisconfiguredError, NotFoundError, UnreadableError
from chalicelib.evaluation.stored_window import KeptLabels, Measured
from chalicelib.facts import evaluations, forgotten, monitors
from chalicelib.facts.evaluations import Evaluation
from chalicelib.monitors.types import LABELLED_TYPES
from chalicelib.records.capture import read_captures
from chalicelib.records.forgetting import Gone
from chalicelib.records.table import Table, is_about, to_table
from chalicelib.records.times import iso
from chalicelib.records.values import text_of
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from plumbline.cli import push, withdraw
from plumbline.cli.account.choice import chosen
from plumbline.cli.rebuild import parse_time
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.progress import Progress
from plumbline.cli.terminal.usage import add_command

# `status` lists this many windows; its totals count all open ones.
SHOWN = 24


class Missing(msgspec.Struct, frozen=True):
    """One window that still takes labels. `age` and `open_for`: whole hours since its end and until it is sealed."""

    window: str
    rows: int
    labelled: int
    coverage: float
    settled: bool
    age: int
    open_for: int

    @property
    def missing(self) -> int:
        return self.rows - self.labelled


def missing_labels(services: Services, definition: Definition) -> list[Missing]:
    """The evaluated windows of a monitor that are not sealed, newest first."""
    now, length = services.now(), definition.window_length
    since = Window.of(now - definition.horizon, length).name
    found = []
    for each in evaluations.evaluations(services.ledger, definition.name, since=since):
        end = Window.parse(each.window, length).end
        open_for = end + definition.horizon - now
        if open_for > timedelta(0):
            age = (now - end) // timedelta(hours=1)
            found.append(
                Missing(
                    each.window,
                    each.rows,
                    each.labelled,
                    each.coverage,
                    each.settled,
                    age,
                    open_for // timedelta(hours=1),
                )
            )
    return found[::-1]


def _status(options: argparse.Namespace) -> Answer:
    services = wiring.services()
    found: dict[str, list[Missing]] = {}
    for entry in chosen(monitors.all_entries(services.ledger), options.monitor):
        definition = services.definitions.of(entry)
        if definition.reads_labels:
            found[entry.name] = missing_labels(services, definition)
        elif options.monitor:
            raise MisconfiguredError("monitor", entry.name, f"one that reads labels ({', '.join(LABELLED_TYPES)})")
    if options.json:
        return Answer(json.dumps({name: msgspec.to_builtins(windows) for name, windows in found.items()}, indent=2))
    if not found:
        return Answer("no monitor reads labels")
    return Answer(windows_text(*found.popitem()) if options.monitor else monitors_text(found))


def monitors_text(found: dict[str, list[Missing]]) -> str:
    """One line per monitor, with the totals of its open windows."""
    rows = [("MONITOR", "OPEN", "ROWS", "LABELLED", "MISSING", "COVERAGE", "SETTLED")]
    for name, windows in sorted(found.items()):
        total, labelled = sum(each.rows for each in windows), sum(each.labelled for each in windows)
        settled = sum(each.settled for each in windows)
        share = f"{labelled / total:.0%}" if total else "-"
        rows.append(
            (name, str(len(windows)), str(total), str(labelled), str(total - labelled), share, f"{settled} windows")
        )
    return "\n".join(aligned(rows))


def windows_text(name: str, windows: Sequence[Missing]) -> str:
    """One line per open window, newest first, and the total."""
    if not windows:
        return f"{name}: no window takes labels now"
    rows = [("WINDOW", "ROWS", "LABELLED", "MISSING", "COVERAGE", "SETTLED", "AGE", "OPEN FOR")]
    for each in windows[:SHOWN]:
        rows.append(
            (
                each.window,
                str(each.rows),
                str(each.labelled),
                str(each.missing),
                f"{each.coverage:.0%}",
                "yes" if each.settled else "no",
                _hours(each.age),
                _hours(each.open_for),
            )
        )
    lines = aligned(rows)
    if len(windows) > SHOWN:
        lines.append(f"… and {len(windows) - SHOWN} older windows (--json has all)")
    missing = sum(each.missing for each in windows)
    lines.append(f"{missing} labels are missing in {len(windows)} open windows")
    if missing:
        since = min(each.window for each in windows if each.missing)
        lines.append(f"plumbline ground-truth export-unlabelled {name} --from {since} --out unlabelled.csv")
    return "\n".join(lines)


def _hours(hours: int) -> str:
    return f"{hours} h" if hours < 72 else f"{hours // 24} d"


# export-unlabelled ----------------------------------------------------------------------------------------------------

COLUMNS = ("id", "record_index", "inference_time", "label", "prediction", "score")


class Unlabelled(msgspec.Struct, frozen=True):
    """One record without a label: the values of COLUMNS, and its features by name."""

    cells: tuple[str, ...]
    features: dict[str, str]


def unlabelled(services: Services, definition: Definition, evaluation: Evaluation) -> Iterator[Unlabelled]:
    """The records of a window that have no label, file by file of its captures, which are read again.

    Raises ConflictError when what is stored is replaced meanwhile, UnreadableError where that is damaged.
    """
    window = Window.parse(evaluation.window, definition.window_length)
    bucket = services.settings.bucket
    try:
        measured, labels = (
            services.objects.get(bucket, key)
            for key in (
                keys.measured_key(definition.name, window, evaluation.measured),
                keys.labels_key(definition.name, window, evaluation.labels),
            )
        )
    except NotFoundError:
        raise ConflictError(f"window {window.name}: being evaluated again; run the command again") from None
    kept = Measured.from_bytes(measured.body, window.name)
    table = KeptLabels.from_bytes(labels.body, window.name).columns.resolved(definition.labels.conflict)
    attributes = kept.subject.attributes if kept.subject else definition.attributes
    captures, _ = split_s3_uri(definition.capture_s3_uri)
    gone = Gone(forgotten.fingerprints(services.ledger, definition.name))
    known: set[str] = set()
    for file in kept.files:
        try:
            read = read_captures(services.objects.get(captures, file.key).body, file.key).requests
        except (NotFoundError, UnreadableError):
            continue  # nothing that could be labelled is left of it
        part = [one for one in read if window.contains(one.inference_time) and is_about(one, attributes)]
        part = [one for one in part if one.event_id not in known and not gone.holds(one.event_id, one.inference_id)]
        known |= {one.event_id for one in part}
        ids = {one.event_id: one.join_id for one in part}
        yield from _rows_without_label(to_table(part, table.by_id([*ids.values()]), attributes), ids)


def _rows_without_label(table: Table, ids: dict[str, str]) -> Iterator[Unlabelled]:
    events = [record.rpartition("#") for record in table.record_ids]
    single = {event for event, _, _ in events} - {event for event, _, position in events if position != "0"}
    predictions, names = table.answers_of(table.predictions), list(table.features)
    columns = list(table.features.values())
    for row, (event, _, position) in enumerate(events):
        if table.labels[row] == table.labels[row]:
            continue
        time = datetime.fromtimestamp(table.times[row], tz=wiring.utc_now().tzinfo)
        score, prediction = table.scores[row], predictions[row]
        cells = (
            ids[event],
            "" if event in single else position,
            time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "",
            "" if prediction is None or prediction != prediction else text_of(prediction),
            "" if score != score else repr(float(score)),
        )
        features = {name: text_of(column[row]) for name, column in zip(names, columns, strict=True)}
        yield Unlabelled(cells, features)


def _export(options: argparse.Namespace) -> Answer:
    services, name = wiring.services(), options.monitor
    [entry] = chosen(monitors.all_entries(services.ledger), name)
    definition = services.definitions.of(entry)
    since = iso(parse_time(options.since, "--from"))
    until = iso(parse_time(options.until, "--to")) if options.until else "~"
    windows = evaluations.evaluations(services.ledger, name, since=since, until=until)
    found: list[Unlabelled] = []
    with Progress("windows", len(windows)) as progress:
        for each in windows:
            found += unlabelled(services, definition, each)
            progress.advance(1)
    features = list(dict.fromkeys(feature for row in found for feature in row.features))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *features])
    writer.writerows([*row.cells, *(row.features.get(feature, "") for feature in features)] for row in found)
    _write_private(options.out, text.getvalue())
    return Answer(
        f"{options.out}: {len(found)} records without a label, of {len(windows)} windows\n"
        "the file holds captured data: protect it like the captures, and delete it when you are done\n"
        f"fill in the column label, then: plumbline ground-truth push {options.out} {name} --s3"
    )


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read: it holds payload."""
    try:
        path.unlink(missing_ok=True)
        path.touch(0o600, exist_ok=False)
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise MisconfiguredError("--out", str(path), f"a file to write to ({error.strerror})") from None


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline ground-truth` with its three commands."""
    parser = add_command(
        commands,
        "ground-truth",
        "find missing labels, export the records, hand labels in",
        "Each part has a page of its own: plumbline ground-truth PART --help",
        "ground-truth status churn",
    )
    parts = parser.add_subparsers(required=True, metavar="PART")
    status = add_command(
        parts,
        "status",
        "show per window: rows, labels, missing labels, how long it stays open",
        "",
        "ground-truth status churn",
    )
    status.add_argument(
        "monitor", nargs="?", default="", metavar="MONITOR", help="one monitor by window; default: a line for each"
    )
    status.add_argument("--json", action="store_true", help="the same as JSON")
    status.set_defaults(run=_status)
    export = add_command(
        parts,
        "export-unlabelled",
        "write the records without a label to a CSV file",
        "The file holds payload: protect it like the captures.",
        "ground-truth export-unlabelled churn --from 2026-01-05 --out unlabelled.csv",
    )
    export.add_argument("monitor", metavar="MONITOR", help="the monitor's name")
    export.add_argument(
        "--from",
        dest="since",
        required=True,
        metavar="T",
        help="windows that begin at or after this: 2026-01-05 or 2026-01-05T18:00Z; UTC unless it says else",
    )
    export.add_argument("--to", dest="until", default="", metavar="T", help="and before this; default: now")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="the file to write")
    export.set_defaults(run=_export)
    push.register(parts)
    withdraw.register(parts)
