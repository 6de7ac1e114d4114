"""The SNS topic in a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from chalicelib.adapters.topic import fit_subject
from emulator.memory.errors import ServiceError

_MESSAGE_BYTES = 256 * 1024


class Published(NamedTuple):
    subject: str
    message: str
    attributes: Mapping[str, str]


class MemoryTopic:
    """`ports.Topic`; holds what a subscriber receives."""

    def __init__(self) -> None:
        self.published: list[Published] = []

    def publish(self, subject: str, message: str, attributes: Mapping[str, str]) -> None:
        if len(message.encode()) > _MESSAGE_BYTES:
            raise ServiceError("InvalidParameter", "Invalid parameter: Message too long")
        kept = {name: value for name, value in attributes.items() if value}
        self.published.append(Published(fit_subject(subject), message, kept))
