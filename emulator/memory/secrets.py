"""Secrets in a dict."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.errors import NotFoundError


class MemorySecrets:
    """`ports.Secrets`; names as the adapter takes them, with "secretsmanager:" where they lie there."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values: dict[str, str] = dict(values or {})

    def get(self, name: str) -> str:
        if name not in self.values:
            raise NotFoundError(f"secret {name}: no such parameter or secret")
        return self.values[name]
