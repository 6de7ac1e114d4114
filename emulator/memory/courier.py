"""The outside world's web servers in a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from chalicelib.errors import RefusedError


class Delivery(NamedTuple):
    url: str
    body: bytes
    headers: Mapping[str, str]


class MemoryCourier:
    """`ports.Courier`. `answers` maps a URL to its status, or to the exception of a network that fails; others get 200.

    Refuses what is not https; which addresses are public is the adapter's own matter.
    """

    def __init__(self, answers: Mapping[str, int | Exception] | None = None) -> None:
        self.answers: dict[str, int | Exception] = dict(answers or {})
        self.delivered: list[Delivery] = []

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        if not url.startswith("https://"):
            raise RefusedError("scheme; expected https")
        answer = self.answers.get(url, 200)
        if isinstance(answer, Exception):
            raise answer
        self.delivered.append(Delivery(url, bytes(body), dict(headers)))
        return answer
