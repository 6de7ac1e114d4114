"""Writing what a command made into a folder: each file whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from chalicelib.errors import MisconfiguredError

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def folder_of(
    out: str, inputs: Mapping[str, str | None], all_paths: Iterable[str], baseline: str | None = None
) -> Path:
    """The folder that --out names. `inputs`: the places that are read, by option; `all_paths` as for `write_files`.

    Raises MisconfiguredError for a URI, for a folder that holds what is read, and for one whose files would lie in a
    place that is read: the next run would read what this one writes. Of a `baseline` only files of known names are
    read, so that a report may lie in a folder of its own below it.
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
    """Write documents by path below a folder, over those of an earlier run; returns their paths.

    Those of `all_paths` (whatever the command may write) that are not written now are removed: they would tell of an
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
            # Written aside and moved: whoever reads at the same time sees the old file or the new one.
            aside = place.with_name(f".{place.name}.new")
            aside.write_bytes(body)
            aside.replace(place)
            written.append(place.as_posix())
    except OSError as error:
        raise MisconfiguredError("--out", str(folder), f"a folder to write to ({error.strerror})") from None
    return written
