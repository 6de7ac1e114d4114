"""The state of the SageMaker emulator: resources, counters and events still to be sent, in one SQLite file.

Stores JSON documents so that they survive a killed process. Not here: SageMaker's rules, the clock, the network.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Document = dict[str, Any]

_SCHEMA = """
create table if not exists resource (
    seq integer primary key autoincrement, kind text not null, name text not null, body text not null,
    unique (kind, name));
create table if not exists counter (name text primary key, value integer not null);
create table if not exists outbox (
    seq integer primary key autoincrement, due text not null, owner text not null, event text not null);
"""


class Store:
    """Documents by (kind, name), counters, and an outbox of events ordered by the logical time at which they are due.

    Every method is one transaction unless it runs inside `transaction()`; a killed process leaves either all of a
    transaction or nothing. One connection serves all threads, behind `lock`.
    """

    def __init__(self, folder: Path) -> None:
        """Open (or create) `folder`/sagemaker.sqlite3."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(folder / "sagemaker.sqlite3", check_same_thread=False, isolation_level=None)
        # A killed process loses nothing with these settings; only a power cut could, and an emulator may lose that.
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = off")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self.lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are kept together or not at all; may be nested (the outermost one decides)."""
        with self.lock:
            if self._depth == 0:
                self._db.execute("begin immediate")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._db.execute("rollback")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("commit")

    def get(self, kind: str, name: str) -> Document | None:
        """The document, or None."""
        with self.lock:
            row = self._db.execute("select body from resource where kind = ? and name = ?", (kind, name)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, kind: str, name: str, body: Mapping[str, Any]) -> None:
        """Write the document whole; an existing one keeps its place in the order of `all`."""
        text = json.dumps(body, sort_keys=True, allow_nan=False)
        with self.lock:
            self._db.execute(
                "insert into resource (kind, name, body) values (?, ?, ?)"
                " on conflict (kind, name) do update set body = excluded.body",
                (kind, name, text),
            )

    def delete(self, kind: str, name: str) -> bool:
        """Remove the document; False when there was none."""
        with self.lock:
            return self._db.execute("delete from resource where kind = ? and name = ?", (kind, name)).rowcount > 0

    def all(self, kind: str) -> list[Document]:
        """Every document of a kind in the order of creation."""
        with self.lock:
            rows = self._db.execute("select body from resource where kind = ? order by seq", (kind,)).fetchall()
        return [json.loads(row[0]) for row in rows]

    def counter(self, name: str) -> int:
        """The value of a counter; 0 when it was never set."""
        with self.lock:
            row = self._db.execute("select value from counter where name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def set_counter(self, name: str, value: int) -> None:
        """Set a counter."""
        with self.lock:
            self._db.execute("insert or replace into counter (name, value) values (?, ?)", (name, value))

    def advance(self, name: str) -> int:
        """Add one to a counter and return the new value."""
        with self.transaction():
            value = self.counter(name) + 1
            self.set_counter(name, value)
            return value

    def schedule(self, due: datetime, event: Mapping[str, Any], owner: str = "") -> None:
        """Put an event into the outbox, to be sent when the logical clock reaches `due`."""
        with self.lock:
            self._db.execute(
                "insert into outbox (due, owner, event) values (?, ?, ?)",
                (sortable(due), owner, json.dumps(event, sort_keys=True, allow_nan=False)),
            )

    def next_due(self, now: datetime) -> tuple[int, Document] | None:
        """The number and the body of the oldest event that is due at `now`, or None."""
        with self.lock:
            row = self._db.execute(
                "select seq, event from outbox where due <= ? order by due, seq limit 1", (sortable(now),)
            ).fetchone()
        return None if row is None else (int(row[0]), json.loads(row[1]))

    def next_time(self) -> datetime | None:
        """When the next event in the outbox is due, or None when it is empty."""
        with self.lock:
            row = self._db.execute("select min(due) from outbox").fetchone()
        return None if row[0] is None else moment(row[0])

    def sent(self, number: int) -> None:
        """Forget an event. Called after it was sent: a process killed in between sends it twice, as AWS may."""
        with self.lock:
            self._db.execute("delete from outbox where seq = ?", (number,))

    def cancel(self, owner: str, after: datetime) -> None:
        """Forget the events of an owner that are due later than `after`."""
        with self.lock:
            self._db.execute("delete from outbox where owner = ? and due > ?", (owner, sortable(after)))


def sortable(moment: datetime) -> str:
    """A time as text of one length (microseconds, UTC), so that text order is time order; kept in documents."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(text: str) -> datetime:
    """The time that `sortable` or `iso` wrote."""
    return datetime.fromisoformat(text)


def identifier(length: int, *parts: str) -> str:
    """A lower-case letter-and-digit name of `length` (at most 48) that depends on `parts` and on nothing else."""
    digits = "abcdefghijklmnopqrstuvwxyz0123456789"
    number = int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest(), "big")
    out = ""
    for _ in range(length):
        number, digit = divmod(number, len(digits))
        out += digits[digit]
    return out
