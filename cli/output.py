"""Writing what a command made into a folder: each file whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chalicelib.errors import MisconfiguredError


def write_files(folder: Path, documents: Mapping[str, bytes]) -> list[str]:
    """Write documents by path below a folder, over those of an earlier run; returns their paths.

    Raises MisconfiguredError when the folder cannot be written to.
    """
    written = []
    try:
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
