"""Where a command finds its input files: one file, a folder with everything below it, or s3://bucket/prefix.

Not here: what the files hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import msgspec

from chalicelib import keys, wiring
from chalicelib.definition import split_s3_uri
from chalicelib.errors import MisconfiguredError, NotFoundError, UnreadableError

# Names that start like this are not data; in folders of tables also "_", for Spark and Hadoop write _SUCCESS there.
HIDDEN = (".",)
HIDDEN_TABLES = (".", "_")

# Bytes of a local file that are read at once.
PIECE = 4 << 20

# First bytes of files whose text must be converted first.
_OTHERS = {
    b"\x1f\x8b": "is compressed (gzip): unpack it first",
    b"PK\x03\x04": "is compressed (zip): unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd): unpack it first",
    b"\xff\xfe": "is UTF-16 text; expected UTF-8",
    b"\xfe\xff": "is UTF-16 text; expected UTF-8",
}


class File(msgspec.Struct, frozen=True):
    """A file by its path or URI; `modified` is when it was written, in UTC.

    `pieces` yields its bytes: a local file some megabytes at a time, an object whole. Reading raises UnreadableError.
    """

    name: str
    size: int
    modified: datetime
    pieces: Callable[[], Iterator[bytes]]

    def read(self) -> bytes:
        """The whole file."""
        return b"".join(self.pieces())

    def begun(self) -> tuple[bytes, Callable[[], Iterator[bytes]]]:
        """The first piece, and a function that yields all pieces without reading the first one again.

        The first piece is empty when the file cannot be read; the function raises the reason.
        """
        pieces = self.pieces()
        try:
            first = next(pieces, b"")
        except UnreadableError:
            return b"", self.pieces
        return first, lambda: chain([first], pieces)

    @property
    def arrived(self) -> datetime:
        """When the file arrived: the start of its hour where the name has SageMaker's YYYY/MM/DD/HH, else `modified`.

        Copying a folder changes file times, and must not change which of two labels is the later one.
        """
        hourly = keys.parse_hourly(self.name.removeprefix("s3://").lstrip("/"))
        return hourly.hour if hourly else self.modified


def files_of(place: str, option: str, hidden: tuple[str, ...] = HIDDEN) -> list[File]:
    """The files of a place, sorted by name; in folders and prefixes, names that start with `hidden` are left out.

    `option` names the argument in errors. Raises MisconfiguredError when there is no file.
    """
    listed = _in_bucket(place, option, hidden) if place.startswith("s3://") else _in_folder(place, hidden)
    found = sorted(listed, key=_name)
    if not found:
        raise MisconfiguredError(option, place, "a file, a folder with files or an s3:// prefix with objects")
    return found


def file_of(place: str, option: str) -> File | None:
    """One file by its path or URI, or None when it does not exist."""
    if not place.startswith("s3://"):
        path = Path(place)
        return _file(path) if _is_file(path) else None
    bucket, key = split_s3_uri(place, option)
    return next((each for each in _in_bucket(place, option) if each.name == keys.s3_uri(bucket, key)), None)


def beside(place: str, name: str) -> str:
    """The path or URI of `name` below a folder or a prefix."""
    return f"{place.rstrip('/')}/{name}" if place.startswith("s3://") else str(Path(place) / name)


def _name(file: File) -> str:
    return file.name


def _in_folder(place: str, hidden: tuple[str, ...]) -> Iterator[File]:
    path = Path(place)
    if _is_file(path):
        yield _file(path)
    elif path.is_dir():
        yield from _below(path, hidden)


def _below(folder: Path, hidden: tuple[str, ...]) -> Iterator[File]:
    """Everything below a folder; an unreadable folder is an error, because its files would be missing."""
    try:
        found = sorted(each for each in folder.iterdir() if not each.name.startswith(hidden))
    except OSError as error:
        raise UnreadableError(str(folder), error.strerror or "cannot be read") from None
    for each in found:
        if each.is_dir():
            yield from _below(each, hidden)
        elif each.is_file():
            yield _file(each)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise UnreadableError(str(path), error.strerror or "cannot be read") from None


def _file(path: Path) -> File:
    status = path.stat()

    def pieces() -> Iterator[bytes]:
        try:
            with path.open("rb") as stream:
                while piece := stream.read(PIECE):
                    if stream.tell() == len(piece):
                        _refuse_others(path.as_posix(), piece)
                    yield piece
        except OSError as error:
            raise UnreadableError(str(path), error.strerror or "cannot be read") from None

    return File(path.as_posix(), status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), pieces)


def _refuse_others(name: str, beginning: bytes) -> None:
    for mark, reason in _OTHERS.items():
        if beginning.startswith(mark):
            raise UnreadableError(name, reason)


def _in_bucket(place: str, option: str, hidden: tuple[str, ...] = HIDDEN) -> Iterator[File]:
    bucket, prefix = split_s3_uri(place, option)
    store = wiring.object_store()

    def reader(key: str) -> Callable[[], Iterator[bytes]]:
        def pieces() -> Iterator[bytes]:
            try:
                body = store.get(bucket, key).body
                _refuse_others(keys.s3_uri(bucket, key), body)
                yield body
            except NotFoundError as error:
                raise UnreadableError(keys.s3_uri(bucket, key), str(error)) from None

        return pieces

    for each in store.list(bucket, prefix):
        # "captures/churn" is a folder or an object, not the start of captures/churn-2.
        inside = not prefix or each.key == prefix or each.key.startswith(f"{prefix}/")
        skipped = any(part.startswith(hidden) for part in each.key[len(prefix) :].split("/"))
        if inside and not skipped and not each.key.endswith("/"):
            yield File(keys.s3_uri(bucket, each.key), each.size, each.last_modified, reader(each.key))
