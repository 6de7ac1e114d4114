"""A stage's facts as files: what a page needs of the table and the definitions, written to a folder and read from it.

In the folder: plumbline/stage.json, plumbline/table.jsonl (an item a line) and the definitions under their own keys.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from chalicelib import keys
from chalicelib.errors import UNDECODABLE, NotFoundError, UnreadableError
from chalicelib.facts import decisions, monitors, standings
from chalicelib.facts.document import monitor_partition
from chalicelib.facts.monitors import PARTITION
from chalicelib.ports import Item, ObjectSummary, StoredObject
from chalicelib.settings import Settings
from chalicelib.wiring import Services

T = TypeVar("T", bound=msgspec.Struct)

STAGE, TABLE = "plumbline/stage.json", "plumbline/table.jsonl"
# No page reads these, and they are most of a table.
_LEFT_OUT = ("QUESTIONS#", "REVISION#", "COPIES#", "BESIDE#", "MERGED#", "LOSS#", "DECIDED#")


class _Stage(msgspec.Struct, frozen=True):
    """The stage's name and bucket, and when its table was read."""

    stage: str
    bucket: str
    at: datetime


class _Line(msgspec.Struct, frozen=True):
    pk: str
    sk: str
    body: msgspec.Raw


def keep(folder: Path, services: Services) -> int:
    """Write the items that pages read, and the definitions; returns how many items."""
    ledger, objects, bucket = services.ledger, services.objects, services.settings.bucket
    items = [*ledger.query(PARTITION), *ledger.query(standings.PARTITION)]
    for entry in monitors.all_entries(ledger):
        own = ledger.query(monitor_partition(entry.name))
        items += [item for item in own if not item.sk.startswith(_LEFT_OUT)]
        for reference in decisions.references(ledger, entry.name):
            items += ledger.query(f"DECISION#{reference.decision_id}")
        definition = folder / keys.definition_key(entry.name, entry.version)
        definition.parent.mkdir(parents=True, exist_ok=True)
        definition.write_bytes(objects.get(bucket, keys.definition_key(entry.name, entry.version)).body)
    lines = [msgspec.json.encode(_Line(item.pk, item.sk, msgspec.Raw(item.body))) + b"\n" for item in items]
    (folder / TABLE).parent.mkdir(parents=True, exist_ok=True)
    (folder / TABLE).write_bytes(b"".join(lines))
    stage = _Stage(services.settings.stage, bucket, services.now())
    (folder / STAGE).write_bytes(msgspec.json.encode(stage) + b"\n")
    return len(lines)


class _FolderLedger:
    """The reading half of `ports.Ledger`, over sorted items."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = sorted(items, key=lambda item: (item.pk, item.sk))
        self._keys = [(item.pk, item.sk) for item in self._items]

    def get(self, pk: str, sk: str) -> Item | None:
        place = bisect_left(self._keys, (pk, sk))
        return self._items[place] if place < len(self._keys) and self._keys[place] == (pk, sk) else None

    def query(
        self,
        pk: str,
        *,
        begins_with: str = "",
        since: str | None = None,
        until: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[Item]:
        found = []
        for item in self._items[bisect_left(self._keys, (pk, since or begins_with)) :]:
            if item.pk != pk or (until is not None and item.sk >= until):
                break
            if item.sk.startswith(begins_with):
                found.append(item)
        return (found[::-1] if newest_first else found)[:limit]


class _FolderObjects:
    """The reading half of `ports.ObjectStore`, over the files of a folder."""

    def __init__(self, folder: Path, at: datetime) -> None:
        self._folder, self._at = folder, at

    def get(self, bucket: str, key: str) -> StoredObject:
        try:
            return StoredObject((self._folder / key).read_bytes(), "", self._at)
        except OSError:
            raise NotFoundError(f"{self._folder / key}: no such file") from None

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectSummary]:
        return iter(())


class KeptStage(Services):
    """Services over a folder that `keep` wrote: facts and definitions can be read, and nothing else is there."""

    def __init__(self, folder: Path) -> None:
        stage = _decoded(folder / STAGE, (folder / STAGE).read_bytes(), _Stage)
        lines = (folder / TABLE).read_bytes().splitlines()
        items = [
            Item(line.pk, line.sk, "", bytes(line.body))
            for line in (_decoded(folder / TABLE, each, _Line) for each in lines)
        ]
        settings = Settings(stage.stage, "", stage.bucket, "", "", "", "")
        # A frozen dataclass cannot assign fields; its own constructor writes them this way too.
        for name, value in (
            ("settings", settings),
            ("now", lambda: stage.at),
            ("ledger", _FolderLedger(items)),
            ("objects", _FolderObjects(folder, stage.at)),
        ):
            object.__setattr__(self, name, value)


def is_kept(folder: Path) -> bool:
    """Whether a folder holds a stage's facts."""
    return (folder / STAGE).is_file() and (folder / TABLE).is_file()


def _decoded(path: Path, body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except UNDECODABLE:
        raise UnreadableError(str(path), "expected a stage's facts, as `make demo` keeps them") from None
