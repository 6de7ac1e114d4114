"""Writing what a command made into a folder: each file whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from chalicelib.errors import MisconfiguredError


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
