"""Services that die once: at the k-th call of a port, before or after it took effect."""

from __future__ import annotations

import dataclasses
from typing import Any

from chalicelib.wiring import Services
from emulator.memory import MemoryServices


class Crash(BaseException):
    """The process is gone: no `except Exception` sees it."""


class Faults:
    """Counts the calls of every port that it wraps and raises `error` at call number `step`, once.

    `after`: the call takes effect and its answer is lost. `fired` tells whether it came to that.
    """

    def __init__(self, step: int, after: bool, error: BaseException | None = None) -> None:
        self._step, self._after, self._error = step, after, error or Crash()
        self.calls = 0
        self.fired = False
        self.fired_at = ""

    def wrap(self, port: Any) -> Any:
        return _Port(self, port)

    def services(self, services: MemoryServices) -> Services:
        ports = ("objects", "ledger", "topic", "courier")
        return self.replaced(services, **{name: self.wrap(getattr(services, name)) for name in ports})

    @staticmethod
    def replaced(services: MemoryServices, **ports: Any) -> Services:
        """The same services with other ports."""
        fields = {field.name: getattr(services, field.name) for field in dataclasses.fields(services) if field.init}
        return Services(**{**fields, **ports})

    def call(self, port: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        strikes = self.calls == self._step
        if strikes:
            self.fired, self.fired_at = True, name
        if strikes and not self._after:
            raise self._error
        answer = getattr(port, name)(*args, **kwargs)
        if strikes:
            raise self._error
        return answer


class _Port:
    def __init__(self, faults: Faults, port: Any) -> None:
        self._faults, self._port = faults, port

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._faults.call(self._port, name, *args, **kwargs)
