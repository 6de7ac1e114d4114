"""Writing a command's files into a folder, each one atomically."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from chalicelib.errors import MisconfiguredError

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def folder_of(
    out: str, inputs: Mapping[str, str | None], all_paths: Iterable[str], baseline: str | None = None
) -> Path:
    """The folder that --out names. `inputs`: what is read, by option; `all_paths` as for `write_files`.

    Raises MisconfiguredError for a URI, for a folder that contains an input, and for one inside an input: the next run
    would read what this one writes. Of a `baseline` only files of known names are read, so a report may lie in a folder
    below it.
    """
    if _URI.match(out):
        raise MisconfiguredError("--out", out, "a folder of this machine")
    folder = Path(out)
    written = [(folder / path).resolve() for path in all_paths]
    for option, place in {**inputs, "--baseline": baseline}.items():
        if place is None or _URI.match(place):
            continue
        root = Path(place).resolve()
        if option != "--baseline" and any(path == root or root in path.parents for path in written):
            raise MisconfiguredError("--out", out, f"a folder outside of {option}, which the next run reads again")
        if folder.resolve() in (root, *root.parents):
            raise MisconfiguredError("--out", out, f"a folder that does not hold {option}, which is read")
    return folder


def write_files(folder: Path, documents: Mapping[str, bytes], all_paths: Iterable[str]) -> list[str]:
    """Write documents by path below a folder, replacing those of an earlier run; returns their paths.

    Those of `all_paths` (all that the command can write) that are not written now are removed: they belong to an
    earlier run. Raises MisconfiguredError when the folder cannot be written to.
    """
    written = []
    try:
        for path in all_paths:
            if path not in documents:
                (folder / path).unlink(missing_ok=True)
        for path, body in documents.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            # Written beside it and moved, so that a concurrent reader sees the old file or the new one.
            aside = place.with_name(f".{place.name}.new")
            aside.write_bytes(body)
            aside.replace(place)
            written.append(place.as_posix())
    except OSError as error:
        raise MisconfiguredError("--out", str(folder), f"a folder to write to ({error.strerror})") from None
    return written
