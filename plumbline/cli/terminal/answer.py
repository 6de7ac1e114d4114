"""What a command returns."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """The text that a command prints, and its exit status: 1 when part of what was requested was not done."""

    text: str
    status: int = 0
