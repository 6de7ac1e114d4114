"""From a path to a page, as HTML or as JSON: the same for the deployed function and for `plumbline serve`.

Not an event source. Not here: who may read it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from chalicelib.errors import MisconfiguredError, NotFoundError
from chalicelib.pages.fleet import fleet_page
from chalicelib.pages.markup import element
from chalicelib.pages.monitor import monitor_page
from chalicelib.pages.site import POLICY, Links, page, trail
from chalicelib.pages.window import decision_page, window_page
from chalicelib.wiring import Services
from chalicelib.workflows.page_views import decision_view, fleet_view, monitor_view, window_view

HTML, JSON = "text/html; charset=utf-8", "application/json"
# For every answer: no cache keeps it, it loads nothing from elsewhere, and no other page frames it.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NAME = "[a-z0-9-]+"
# The window's start; a link leaves its colons out.
_WINDOW = re.compile(r"(\d{4}-\d\d-\d\dT\d\d):?(\d\d):?(\d\dZ)")


class Page(NamedTuple):
    """`own_policy`: what a browser may load is said in the page's own head."""

    status: int
    media_type: str
    body: bytes
    own_policy: bool = False


def answered(services: Services, path: str, base: str = "") -> Page:
    """The page at a path below `base`, such as /monitors/churn or /monitors/churn.json; 404 for any other path."""
    is_json = path.endswith(".json")
    wanted = path.removesuffix(".json").rstrip("/")
    for pattern, view_of, page_of in _ROUTES:
        match = re.fullmatch(pattern, wanted)
        if match is None:
            continue
        try:
            view = view_of(services, *match.groups())
        except (NotFoundError, MisconfiguredError) as error:
            return _missing(str(error), is_json, base)
        if is_json:
            return Page(200, JSON, msgspec.json.encode(view))
        return Page(200, HTML, page_of(view, Links(base)))
    return _missing(f"{path}: there is no such page", is_json, base)


def _window_of(services: Services, monitor: str, window: str) -> Any:
    match = _WINDOW.fullmatch(window)
    if match is None:
        raise NotFoundError(f"{window}: expected the beginning of a window, such as 2026-01-05T03:00:00Z")
    return window_view(services, monitor, ":".join(match.groups()))


_ROUTES: tuple[tuple[str, Callable[..., Any], Callable[[Any, Links], bytes]], ...] = (
    ("|/fleet", fleet_view, fleet_page),
    (f"/monitors/({_NAME})", monitor_view, monitor_page),
    (f"/monitors/({_NAME})/windows/([0-9A-Z:-]+)", _window_of, window_page),
    ("/decisions/([0-9a-f]{64})", decision_view, decision_page),
)


def _missing(words: str, is_json: bool, base: str) -> Page:
    if is_json:
        return Page(404, JSON, msgspec.json.encode({"error": words}))
    where = trail(("Monitors", Links(base).fleet()), ("Not found", ""))
    return Page(404, HTML, page("Not found", where, element("h1", "Not found"), element("p", words)))
