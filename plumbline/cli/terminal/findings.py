"""The findings of a check: one line each, and the command that fixes it. Not here: what is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from chalicelib.errors import NotFoundError, PlumblineError
from plumbline.cli.account.account import Account, DeniedError, UnansweredError, understood


class Finding(msgspec.Struct, frozen=True):
    """`about`: the stage or the monitor. `fix`: the command, or what to do where there is no command; "" when ok."""

    about: str
    status: Literal["ok", "missing", "warning"]
    what: str
    fix: str = msgspec.field(default="", name="mend")


class Findings:
    """Collects findings about one thing; a check without permission is a finding too, and the next check runs."""

    def __init__(self, account: Account, about: str) -> None:
        self._account, self._about = account, about
        self.found: list[Finding] = []

    def ok(self, what: str) -> None:
        self.found.append(Finding(self._about, "ok", what))

    def missing(self, what: str, fix: str) -> None:
        self.found.append(Finding(self._about, "missing", what, fix))

    def warning(self, what: str, fix: str) -> None:
        self.found.append(Finding(self._about, "warning", what, fix))

    def check(
        self, what: str, look: Callable[..., object], *given: object, absent: tuple[str, str] | None = None
    ) -> None:
        """Run `look(*given)`. `absent`: the finding and the command where the thing does not exist.

        Errors of the whole session (no credentials, an expired token) pass through.
        """
        try:
            look(*given)
        except Exception as error:
            refusal = error if isinstance(error, PlumblineError) else understood(error)
            if refusal is None:
                raise
            self._refused(what, refusal, absent)

    def _refused(self, what: str, refusal: PlumblineError, absent: tuple[str, str] | None) -> None:
        if isinstance(refusal, NotFoundError) and absent:
            self.missing(*absent)
        elif isinstance(refusal, DeniedError):
            self.missing(f"cannot see {what}: needs {refusal.permission}", self._account.grant(refusal.permission))
        elif isinstance(refusal, UnansweredError):
            self.missing(f"cannot see {what}: {refusal}", "run doctor again")
        else:
            self.missing(f"{what}: {refusal}", "correct what it names")

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.found)
