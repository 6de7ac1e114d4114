"""Somebody asks for a page: only with a session that was signed with the stage's page key.

The session comes in the link that `plumbline page` prints, then in a cookie; programs send it as a bearer token.
"""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

import msgspec

from chalicelib.page_sessions import COOKIE, LONGEST, holds
from chalicelib.pages.markup import element
from chalicelib.pages.site import page, trail
from chalicelib.wiring import Services
from chalicelib.workflows.page_answers import HEADERS, HTML, answered

_SIGN_IN = "No session, or one that has ended. `plumbline page` prints a link that holds for 12 hours."


class PageRequest(msgspec.Struct, frozen=True):
    """`route` is that of app.py with `parameters` for its parts in braces; `address` the path that was asked for, which
    begins with API Gateway's stage or a domain's own beginning ("": not known); `session` is what the link holds, or
    ""."""

    route: str
    parameters: Mapping[str, str]
    address: str
    session: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The path below `base`."""
        return self.route.format_map(self.parameters)

    @property
    def base(self) -> str:
        """What stands before every path of the site."""
        return self.address.removesuffix(self.path) if self.address.endswith(self.path) else ""


def handle(request: PageRequest, services: Services) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers."""
    if not services.settings.page_key_parameter:
        return _said(404, "This deployment has no page: its parameter PageKey names no key.")
    keys = services.keys_of("page_key_parameter")
    given = request.session or _sent(request.headers)
    if not holds(keys, services.settings.stage, given, services.now()):
        return _said(401, _SIGN_IN)
    if request.session:
        # The address that stays in the browser's history has no session in it. Lax: the link may come from a chat.
        rules = f"Path={request.base or '/'}; Max-Age={int(LONGEST.total_seconds())}; Secure; HttpOnly; SameSite=Lax"
        cookie = f"{COOKIE}={request.session}; {rules}"
        return 303, "", {**HEADERS, "Location": f"{request.base}{request.path}", "Set-Cookie": cookie}
    found = answered(services, request.path, request.base)
    return found.status, found.body.decode(), {**HEADERS, "Content-Type": found.media_type}


def _sent(headers: Mapping[str, str]) -> str:
    """The session in a bearer token or in a cookie."""
    known = {name.lower(): value for name, value in headers.items()}
    scheme, _, token = known.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    try:
        cookie = SimpleCookie(known.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _said(status: int, words: str) -> tuple[int, str, dict[str, str]]:
    body = page("Plumbline", trail(("Monitors", "")), element("h1", "Plumbline"), element("p", words))
    return status, body.decode(), {**HEADERS, "Content-Type": HTML}
