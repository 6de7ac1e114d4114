"""`plumbline ground-truth push FILE MONITOR`: send the labels of a CSV or JSON Lines file to the webhook or to S3.

Every line is checked before anything is sent. A batch is identified by its content: its webhook-id or object name is a
digest of it, and FILE.pushed records what was accepted, so running the command again continues where it stopped and
stores nothing twice.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import http.client
import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from chalicelib import keys, wiring
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import MisconfiguredError, NotFoundError, PlumblineError
from chalicelib.facts import monitors
from chalicelib.handlers.ground_truth_posted import checked, takes_numbers_only
from chalicelib.openapi import MAX_BODY_BYTES
from chalicelib.records.ground_truth import Label, write_ground_truth
from chalicelib.webhooks import signed_headers
from chalicelib.wiring import Services
from plumbline.cli.account.choice import chosen
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.progress import Progress
from plumbline.cli.terminal.usage import add_command

# Half the webhook's limit: an entry cannot be split.
BATCH_BYTES = MAX_BODY_BYTES // 2
ATTEMPTS = 5
TIMEOUT = 30.0
# Labels are payload: they leave this machine encrypted only.
_LOOPBACK = {("http", host) for host in ("127.0.0.1", "localhost", "::1")}
# This many bad lines are named; the others are counted.
SHOWN = 20

# Other spellings of the short form's fields, common in files.
SPELLINGS = {
    "inference_id": "id",
    "event_id": "id",
    "record_index": "recordIndex",
    "time": "labelTime",
    "label_time": "labelTime",
    "inference_time": "inferenceTime",
}
FIELDS = ("id", "label", "recordIndex", "labelTime", "inferenceTime")

Send = Callable[[str, bytes], None]


class PushError(PlumblineError):
    """The receiver refused, or did not answer; what it accepted before is recorded."""


def read_entries(path: Path) -> list[tuple[int, Any]]:
    """Each label of a file as an entry of the webhook, with its line number; CSV rows without a label are skipped.

    CSV needs a header with `id` and `label`; unknown columns are ignored. A line of JSON Lines is an entry as the
    webhook takes it. Raises MisconfiguredError.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise MisconfiguredError("file", str(path), f"a file that can be read ({reason})") from None
    lines = text.split("\n")
    if next((line for line in lines if line.strip()), "").lstrip()[:1] in ("{", "["):
        return [(number, _spelled(_json(line))) for number, line in enumerate(lines, 1) if line.strip()]
    return list(_csv_entries(text, path))


def _json(line: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None  # the check reports anything but an object


def _spelled(entry: Any) -> Any:
    return {SPELLINGS.get(name, name): value for name, value in entry.items()} if isinstance(entry, dict) else entry


def _csv_entries(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [SPELLINGS.get(name.strip(), name.strip()) for name in next(rows, [])]
        missing = [name for name in ("id", "label") if name not in header]
        if missing:
            raise MisconfiguredError("file", str(path), f"a CSV header with {' and '.join(missing)}, or JSON Lines")
        for row in rows:
            entry: dict[str, Any] = {}
            for name, value in zip(header, row, strict=False):
                if name in FIELDS and value.strip():
                    entry.setdefault(name, value.strip())
            if "label" not in entry:
                continue
            if entry.get("recordIndex", "").isdecimal():
                entry["recordIndex"] = int(entry["recordIndex"])
            yield rows.line_num, entry
    except csv.Error:
        raise MisconfiguredError("file", f"{path}, line {rows.line_num}", "CSV") from None


def checked_labels(entries: Sequence[tuple[int, Any]], binary: bool, path: Path, now: datetime) -> list[Label]:
    """The labels of a file. Raises MisconfiguredError naming the first bad lines and what was expected."""
    labels, faults, count = checked(entries, binary, now)
    if faults:
        bad = sorted((line, field, expected) for (field, expected), lines in faults.items() for line in lines)
        first = "; ".join(f"line {line}: {field or 'the entry'}: {expected}" for line, field, expected in bad[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise MisconfiguredError("file", f"{path} with {len(bad)} mistakes", f"nothing was sent: {first}{more}")
    if not count:
        raise MisconfiguredError("file", str(path), "at least one row with a label")
    return labels


def batches(labels: Sequence[Label], most: int) -> Iterator[tuple[int, bytes]]:
    """(number of labels, JSON Lines) per part of at most `most` labels: the same file gives the same parts."""
    lines = write_ground_truth(labels).splitlines(keepends=True)
    part: list[bytes] = []
    size = 0
    for line in lines:
        if part and (len(part) >= most or size + len(line) > BATCH_BYTES):
            yield len(part), b"".join(part)
            part, size = [], 0
        part.append(line)
        size += len(line)
    if part:
        yield len(part), b"".join(part)


class Journal:
    """The parts of a file that were accepted, in a file beside it: the hour of the first run, then a digest a line."""

    def __init__(self, path: Path, hour: str) -> None:
        self.path = path
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            lines = []
        self.hour = lines[0] if lines else hour
        self.done = set(lines[1:])
        if not lines:
            self._append(hour)

    def note(self, digest: str) -> None:
        """Record a part that the receiver has accepted."""
        self._append(digest)
        self.done.add(digest)

    def _append(self, line: str) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError as error:
            raise MisconfiguredError("file", str(self.path), f"a place to note progress ({error.strerror})") from None


def to_webhook(services: Services, url: str, endpoint: str, secrets: Sequence[str], pause: float) -> Send:
    """A function that posts a part, signed, and retries after `pause`, 2 `pause`, ... seconds when there is no answer
    or the receiver is busy. It raises PushError; an invalid URL raises MisconfiguredError here."""
    parts = urlsplit(url)
    if not parts.hostname or (parts.scheme != "https" and (parts.scheme, parts.hostname) not in _LOOPBACK):
        raise MisconfiguredError("--url", url, "https://…, the address in the stack's output EndpointURL")
    target = f"{url.rstrip('/')}/ground-truth/{endpoint}"

    def send(digest: str, body: bytes) -> None:
        trouble = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                wiring.pause(pause * 2 ** (attempt - 1))
            headers = signed_headers(secrets, f"push-{digest}", services.now(), body)
            status, detail = _post(target, body, headers)
            if status == 202:
                return
            trouble = f"{target} answers {status}: {detail}" if status else f"{target}: {detail}"
            if 400 <= status < 500 and status != 429:
                raise PushError(trouble)
        raise PushError(f"{trouble}; after {ATTEMPTS} attempts; run the command again to continue")

    return send


def _post(target: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """(status, the reason of a refusal); status 0 where there was no answer."""
    request = urllib.request.Request(target, body, {**headers, "Content-Type": "application/x-ndjson"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return int(answer.status), ""
    except urllib.error.HTTPError as error:
        try:
            document = json.loads(error.read())
            return error.code, str(document.get("detail") or document.get("message") or "")
        except (ValueError, AttributeError):
            return error.code, "no problem document"
    except (OSError, http.client.HTTPException) as error:
        return 0, str(getattr(error, "reason", error)) or type(error).__name__


def to_s3(services: Services, definition: Definition, hour: str) -> Send:
    """A function that writes a part as a ground-truth object in SageMaker's layout; repeating it changes nothing."""
    bucket, prefix = split_s3_uri(definition.ground_truth_s3_uri)

    def send(digest: str, body: bytes) -> None:
        key = keys.join(prefix, hour, f"push-{digest}.jsonl")
        services.objects.put_if_absent(bucket, key, body, content_type="application/jsonlines")

    return send


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    services = wiring.services()
    [entry] = chosen(monitors.all_entries(services.ledger), options.monitor)
    definition = services.definitions.of(entry)
    if not definition.ground_truth_s3_uri:
        raise MisconfiguredError("monitor", definition.name, "one with a ground_truth_s3_uri")
    binary = takes_numbers_only([[definition.attributes.problem_type]])
    labels = checked_labels(read_entries(options.file), binary, options.file, services.now())
    journal = Journal(options.file.with_name(f"{options.file.name}.pushed"), keys.hour_folder(services.now()))
    if options.url:
        target = f"{options.url} {definition.endpoint}"
        send = to_webhook(services, options.url, definition.endpoint, _secrets(services, options.keys), options.pause)
    else:
        target = definition.ground_truth_s3_uri
        send = to_s3(services, definition, journal.hour)
    parts = [(count, hashlib.sha256(target.encode() + b"\n" + body).hexdigest()[:40], body)
             for count, body in batches(labels, options.batch)]  # fmt: skip
    sent = skipped = 0
    with Progress("labels", sum(count for count, _, _ in parts)) as progress:
        for count, digest, body in parts:
            if digest in journal.done:
                skipped += count
            else:
                send(digest, body)
                journal.note(digest)
                sent += count
            progress.advance(count)
    text = f"{sent} labels sent in {len(parts)} parts to {target}"
    if skipped:
        text += f"; {skipped} were sent before ({journal.path})"
    return Answer(text)


def _secrets(services: Services, name: str) -> list[str]:
    name = name or services.settings.webhook_key_parameter
    if not name:
        raise MisconfiguredError("--keys", name, "the name of the parameter or secret with the webhook's keys")
    try:
        return services.secrets.get(name).split()
    except NotFoundError:
        raise MisconfiguredError("--keys", name, "the name of a parameter or secret that exists") from None


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline ground-truth push` and its arguments."""
    parser = add_command(
        commands,
        "push",
        "send the labels of a file",
        "Run again, it sends what is left; nothing is counted twice.",
        "ground-truth push labels.csv churn --s3",
        one="some were not sent: run it again",
    )
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="CSV with the header id,label[,record_index][,time], or JSON Lines of such entries",
    )
    parser.add_argument("monitor", metavar="MONITOR", help="the monitor's name")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", default="", metavar="URL", help="send signed calls to the webhook at https://…/api")
    where.add_argument("--s3", action="store_true", help="write ground-truth objects to the monitor's S3 location")
    parser.add_argument(
        "--keys",
        default="",
        metavar="NAME",
        help="where the webhook's keys are: an SSM parameter or secretsmanager:…; default: the stage's own",
    )
    parser.add_argument(
        "--batch", type=_positive, default=1000, metavar="N", help="labels in one call or object; default: 1000"
    )
    parser.add_argument(
        "--pause", type=float, default=2.0, metavar="SECONDS", help="before the second attempt; default: 2"
    )
    parser.set_defaults(run=run)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
