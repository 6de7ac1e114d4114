"""Which stored monitors a command works on."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.errors import NotFoundError
from chalicelib.facts.monitors import Entry


def chosen(entries: Sequence[Entry], name: str = "", removed: bool = False) -> list[Entry]:
    """The monitor of this name, or all of them (""); removed monitors only with `removed`.

    Raises NotFoundError for an unknown name, listing the known ones.
    """
    known = [entry for entry in entries if removed or not entry.removed_at]
    if not name:
        return known
    found = [entry for entry in known if entry.name == name]
    if not found:
        stored = ", ".join(entry.name for entry in known) or "none"
        raise NotFoundError(f"monitor {name}: not in the table (stored: {stored}); `plumbline add FILE` stores one")
    return found
