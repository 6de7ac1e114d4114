"""`plumbline forget ID…`: take a person's records and labels out of everything that Plumbline keeps.

First the ids are buried (by fingerprint), so that no evaluation takes them in again; then every kept object is cut in
place; then the open windows that had them are owed an evaluation without them. What it cannot reach is told, with the
objects that still hold them. Saying it again is safe, and finds what a worker of the same moment wrote after the cut.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from chalicelib import keys, wiring
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import UNDECODABLE, MisconfiguredError, NotFoundError, UnreadableError
from chalicelib.evaluation.stored_window import KeptLabels, Measured
from chalicelib.facts import due, forgotten, monitors
from chalicelib.monitors.documents import encode_json
from chalicelib.ports import StoredObject
from chalicelib.records.cells import hashes_of
from chalicelib.records.forgetting import (
    Gone,
    fingerprint,
    without_hashes,
    without_labels,
    without_lines,
    without_names,
)
from chalicelib.records.id_hashes import hash_ids
from chalicelib.records.label_containers import container_from_bytes
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.window_reports import Revision
from plumbline.cli.account.choice import chosen
from plumbline.cli.terminal.progress import Progress
from plumbline.cli.terminal.usage import add_command


class Forgetting(msgspec.Struct):
    """What became of one monitor: counts of what went, and the objects of others that still hold it.

    `copies`: labels of theirs in containers (workflows/label_containers.py), also of nobody's requests.
    `restated`: open windows that are owed an evaluation; `sealed`: windows whose numbers still count what went;
    `unreadable`: kept objects that could not be looked into; `busy`: windows that were with a worker meanwhile.
    """

    monitor: str
    requests: int = 0
    labels: int = 0
    merged: int = 0
    copies: int = 0
    objects: int = 0
    restated: list[str] = []
    sealed: list[str] = []
    captures: list[str] = []
    ground_truth: list[str] = []
    unreadable: list[str] = []
    busy: list[str] = []


def forget(services: Services, definition: Definition, ids: Sequence[str]) -> Forgetting:
    """Bury the ids and cut them out of all that is kept of a monitor."""
    name, now = definition.name, services.now()
    forgotten.bury(services.ledger, name, map(fingerprint, ids), now)
    gone = Gone(frozenset(map(fingerprint, ids)))
    found = Forgetting(name)
    found.busy = [each.window for each in due.owed(services.ledger, name) if each.sent_until and each.sent_until > now]
    cutter = _Cutter(services, definition, gone, found, set(ids))
    with Progress(name, 3) as progress:
        cutter.windows_stored()  # first: it finds the requests by which reports name records
        progress.advance(1)
        cutter.derived()
        progress.advance(1)
        cutter.reports()
        progress.advance(1)
    for window in sorted(cutter.windows, key=lambda each: each.start):
        if now < window.end + definition.horizon:
            due.mark(services.ledger, name, window, definition.grace, now)
            found.restated.append(window.name)
        else:
            found.sealed.append(window.name)
    found.ground_truth = sorted(cutter.label_objects())
    found.captures = sorted(cutter.capture_files())
    return found


class _Cutter:
    """Goes through the objects of one monitor and writes each back without the forgotten, under its own KMS key."""

    def __init__(
        self, services: Services, definition: Definition, gone: Gone, found: Forgetting, ids: set[str]
    ) -> None:
        self.windows: set[Window] = set()
        self._services, self._definition, self._gone, self._found = services, definition, gone, found
        self._ids = ids
        self._hashes = hash_ids(ids)
        # Hashes of the ids that labels name, and of the event ids that were found, by which reports name records.
        self._joins: set[int] = set(self._hashes.tolist())
        self._events: set[int] = set()
        self._captures: set[str] = set()
        self._sources: set[str] = set()
        self._own = services.settings.bucket
        self._payload = keys.payload_prefix(definition.name)

    def windows_stored(self) -> None:
        """What is stored of each window: its answers and sample, and its labels."""
        for key, stored in self._objects(self._own, f"{self._payload}measured/"):
            try:
                cut = Measured.from_bytes(stored.body, key).without(self._hashes)
            except UnreadableError:
                self._found.unreadable.append(keys.s3_uri(self._own, key))
                continue
            if cut.requests:
                self._put(self._own, key, cut.measured.to_bytes(), stored)
                self._found.requests += cut.requests
                self._events |= set(cut.events.tolist())
                self._joins |= set(cut.joins.tolist())
                self._captures |= {file.key for file in cut.measured.files}
                self.windows.add(self._window(key))
        for key, stored in self._objects(self._own, f"{self._payload}window-labels/"):
            try:
                kept = KeptLabels.from_bytes(stored.body, key)
            except UnreadableError:
                self._found.unreadable.append(keys.s3_uri(self._own, key))
                continue
            left = kept.columns.without(self._joins)
            if len(left) < len(kept.columns):
                self._put(self._own, key, KeptLabels(left, kept.sources).to_bytes(), stored)
                self._found.labels += len(kept.columns) - len(left)
                self._sources |= {uri for uri, _ in kept.sources}
                self.windows.add(self._window(key))

    def _window(self, key: str) -> Window:
        return Window.parse(key.split("/")[-2], self._definition.window_length)

    def _is_named(self, name: str) -> bool:
        return name in self._ids or int(hashes_of([name])[0]) in self._events | self._joins

    def capture_files(self) -> Iterator[str]:
        """Capture files of the user's that what was cut was measured from and that still hold a forgotten id."""
        bucket, _ = split_s3_uri(self._definition.capture_s3_uri)
        for key in self._captures:
            try:
                body = self._services.objects.get(bucket, key).body
            except NotFoundError:
                continue
            if without_lines(body, self._gone).lines:
                yield keys.s3_uri(bucket, key)

    def derived(self) -> None:
        """Revisions, indexes of ids, containers of labels, quarantine records, and other label lines of ours."""
        for key, stored in self._objects(self._own, self._payload):
            kind = key.removeprefix(self._payload).split("/")[0]
            if kind == "revisions":
                self._revision(key, stored)
            elif kind == "ids":
                self._write(self._own, key, without_hashes(stored.body, self._joins), stored)
            elif kind == "labels":
                self._container(key, stored)
            elif kind == "quarantine":
                self._quarantined(key, stored)
            elif key.endswith(".jsonl"):
                self._write(self._own, key, without_lines(stored.body, self._gone).body, stored)

    def reports(self) -> None:
        """What lies in the place of reports: merged records, and the reports, which name some records."""
        definition = self._definition
        bucket, output = split_s3_uri(definition.output_s3_uri)
        part = f"/part-00000-{definition.name}.c000.jsonl"
        for key, stored in self._objects(bucket, keys.merge_prefix(output, definition.endpoint, definition.variant)):
            if key.endswith(part):
                cut = without_lines(stored.body, self._gone)
                self._found.merged += cut.lines
                self._write(bucket, key, cut.body, stored)
        for monitor_type in definition.monitor_types:
            prefix = keys.report_prefix(output, definition.endpoint, definition.name, monitor_type)
            for key, stored in self._objects(bucket, prefix):
                self._write(bucket, key, self._report(key, stored.body), stored)

    def label_objects(self) -> Iterator[str]:
        """Label objects of the user's that what was cut was made of and that still hold a forgotten id."""
        for uri in self._sources:
            try:
                body = self._services.objects.get(*split_s3_uri(uri)).body
            except NotFoundError:
                continue
            # Whatever form a label file has, an id stands in it as it is.
            if without_lines(body, self._gone).lines or any(id.encode() in body for id in self._ids):
                yield uri

    def _revision(self, key: str, stored: StoredObject) -> None:
        try:
            revision = msgspec.msgpack.decode(stored.body, type=Revision)
        except UNDECODABLE:
            self._found.unreadable.append(keys.s3_uri(self._own, key))
            return
        files = {
            path: without_lines(body, self._gone).body if path.endswith(".jsonl") else self._report(path, body)
            for path, body in revision.files.items()
        }
        if files != revision.files:
            self._put(self._own, key, msgspec.msgpack.encode(msgspec.structs.replace(revision, files=files)), stored)

    def _container(self, key: str, stored: StoredObject) -> None:
        try:
            cut = without_labels(container_from_bytes(stored.body, key), self._gone)
        except UnreadableError:
            self._found.unreadable.append(keys.s3_uri(self._own, key))
            return
        if cut.labels:
            self._put(self._own, key, cut.container.to_bytes(), stored)
            self._found.copies += cut.labels
            self._sources |= {keys.s3_uri(each.bucket, each.key) for each in cut.sources}

    def _report(self, path: str, body: bytes) -> bytes:
        """A report without the names of forgotten records; what is not ours to read stays as it is."""
        if not path.endswith(".json") or not (self._events or any(id.encode() in body for id in self._ids)):
            return body
        try:
            document = json.loads(body)
        except ValueError:
            return body
        cut = without_names(document, self._is_named)
        return encode_json(cut) if cut != document else body

    def _quarantined(self, key: str, stored: StoredObject) -> None:
        """A record of a file that could not be read holds its first bytes, and in them perhaps a forgotten id."""
        try:
            first = bytes.fromhex(json.loads(stored.body).get("first_bytes_hex", ""))
        except (ValueError, AttributeError, TypeError):
            self._found.unreadable.append(keys.s3_uri(self._own, key))
            return
        if any(id.encode() in first for id in self._ids):
            self._services.objects.delete(self._own, key)
            self._found.objects += 1

    def _objects(self, bucket: str, prefix: str) -> Iterator[tuple[str, StoredObject]]:
        for each in list(self._services.objects.list(bucket, prefix)):
            try:
                yield each.key, self._services.objects.get(bucket, each.key)
            except NotFoundError:
                continue  # a worker replaced it; the new one was made without the forgotten

    def _write(self, bucket: str, key: str, body: bytes, stored: StoredObject) -> None:
        if body != stored.body:
            self._put(bucket, key, body, stored)

    def _put(self, bucket: str, key: str, body: bytes, stored: StoredObject) -> None:
        kind = "application/msgpack" if key.endswith(".msgpack") else "application/json"
        kind = "application/octet-stream" if key.endswith(".bin") else kind
        self._services.objects.put(bucket, key, body, content_type=kind, kms_key_id=stored.kms_key_id)
        self._found.objects += 1


def unreachable(definition: Definition) -> list[str]:
    """What no command of ours may change, for any id."""
    told = [
        f"captures below {definition.capture_s3_uri}, which are yours (when one is rewritten, a rebuild of its window "
        "is refused, for its input changed)",
        f"ground truth below {definition.ground_truth_s3_uri}, also what the webhook wrote there"
        if definition.ground_truth_s3_uri
        else "",
        f"models, and what pipelines wrote below {definition.retraining.output_uri}" if definition.retraining else "",
        "parts of hashes in the filters that lead labels to windows: no id can be read from them",
        "files of Model Monitor's own schedules, and files that somebody exported",
        "old versions of objects in versioned buckets, replicas, backups",
        "numbers: metrics in CloudWatch, and statistics of windows that are sealed",
    ]
    return [each for each in told if each]


def text_of(definition: Definition, found: Forgetting) -> str:
    """What was done for one monitor, and what was not."""
    lines = [
        f"{found.monitor}: {found.requests} captured requests, {found.labels} labels and {found.merged} merged records "
        f"taken out, and {found.copies} labels of containers; {found.objects} objects written again or deleted"
    ]
    if found.restated:
        lines.append(f"  restated without them soon: {len(found.restated)} open windows")
    if found.sealed:
        first, last = found.sealed[0], found.sealed[-1]
        lines.append(f"  sealed, their numbers still count them: {len(found.sealed)} windows, {first} to {last}")
        after = iso(Window.parse(last, definition.window_length).end)
        lines.append(f"    > plumbline rebuild --monitor {found.monitor} --from {first} --to {after}")
    for what, uris in (("captures", found.captures), ("ground truth", found.ground_truth)):
        if uris:
            lines.append(f"  not ours, still hold them: {len(uris)} objects of {what}")
            lines += [f"    {uri}" for uri in uris]
    lines.append("  never reached:")
    lines += [f"    {each}" for each in unreachable(definition)]
    lines += [f"  could not be read, so may hold them: {uri}" for uri in found.unreadable]
    if found.busy:
        lines.append(f"  {len(found.busy)} windows were with a worker: say it again in a quarter of an hour")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> tuple[str, int]:
    """The command: its output and its exit status, 1 when something may be left."""
    services = wiring.services()
    ids = list(dict.fromkeys([*options.ids, *_ids_of(options.ids_from)]))
    if not ids:
        raise MisconfiguredError("ID", "nothing", "at least one inference id or event id")
    entries = chosen(monitors.all_entries(services.ledger), options.monitor, removed=True)
    done = [
        (definition, forget(services, definition, ids))
        for definition in (services.definitions.of(entry) for entry in entries)
    ]
    status = 1 if any(found.unreadable or found.busy for _, found in done) else 0
    if options.json:
        documents = [
            {**msgspec.to_builtins(found), "never_reached": unreachable(definition)} for definition, found in done
        ]
        return json.dumps(documents, indent=2), status
    return "\n".join(text_of(definition, found) for definition, found in done) or "no monitor is stored", status


def _ids_of(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError):
        raise MisconfiguredError("--ids-from", str(path), "a readable file with one id per line") from None


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline forget` and its arguments."""
    parser = add_command(
        commands,
        "forget",
        "take a person's records out of everything that is kept, for good",
        "No later evaluation takes them in again. Said again it does what is left.",
        "forget customer-4711",
        one="something may be left: say it again",
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="inference ids or event ids")
    parser.add_argument("--ids-from", type=Path, metavar="FILE", help="one id per line, instead of naming them here")
    parser.add_argument(
        "--monitor", default="", metavar="NAME", help="of one monitor only; default: of all, also removed ones"
    )
    parser.add_argument("--json", action="store_true", help="what was done, as JSON")
    parser.set_defaults(run=run)
