"""`plumbline serve`: the page of a stage, or of a folder, on this machine; or the same as files.

Listens on the loopback interface only, and answers only requests for that host name: no other site can read it through
a browser.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from chalicelib import wiring
from chalicelib.errors import MisconfiguredError
from chalicelib.pages.fleet import fleet_page
from chalicelib.pages.markup import element, plural
from chalicelib.pages.monitor import monitor_page
from chalicelib.pages.site import Links, page, trail
from chalicelib.pages.window import decision_page, window_page
from chalicelib.wiring import Services
from chalicelib.workflows.page_answers import HEADERS, HTML, Page, answered
from chalicelib.workflows.page_views import decision_view, fleet_view, monitor_view, window_view
from plumbline.cli.account.kept_stage import KeptStage, is_kept
from plumbline.cli.terminal.usage import add_command

LOOPBACK = "127.0.0.1"
_PORT = 8765
# Smaller answers are not worth packing.
_LEAST_PACKED = 1000
MOST_REPORTS = 1000
_REPORT = "report.html"


class _Site:
    """What a server answers: the pages of services, or the reports below a folder."""

    def __init__(self, services: Services | None, folder: Path | None = None) -> None:
        self._services, self._folder = services, folder

    def answer(self, path: str) -> Page:
        if self._services is not None:
            return answered(self._services, path)
        assert self._folder is not None
        if path in ("", "/"):
            return Page(200, HTML, report_list(self._folder))
        found = self._folder / unquote(path).lstrip("/")
        if found.name == _REPORT and found in self._folder.rglob(_REPORT):
            return Page(200, HTML, found.read_bytes(), own_policy=True)
        where = trail(("Reports", "/"), ("Not found", ""))
        return Page(404, HTML, page("Not found", where, element("h1", "Not found")))


def report_list(folder: Path) -> bytes:
    """A page with a link to each report below a folder."""
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob(_REPORT))[:MOST_REPORTS]
    links = [element("li", element("a", path.removesuffix(f"/{_REPORT}"), href=f"/{path}")) for path in found]
    return page("Reports", trail(("Reports", "")), element("h1", plural(len(found), "report")), element("ul", links))


class _Handler(BaseHTTPRequestHandler):
    site: _Site
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Plumbline", ""

    def do_GET(self) -> None:
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in (LOOPBACK, "localhost"):
            self._send(Page(421, HTML, b"ask for 127.0.0.1\n"))
            return
        try:
            self._send(self.site.answer(urlsplit(self.path).path))
        except Exception as error:
            if not wiring.is_aws_error(error):
                raise
            self._send(Page(502, HTML, page("AWS", trail(("Monitors", "/")), element("p", f"AWS: {error}"))))

    do_HEAD = do_GET

    def _send(self, found: Page) -> None:
        body = found.body
        packed = len(body) >= _LEAST_PACKED and "gzip" in self.headers.get("Accept-Encoding", "")
        if packed:
            body = gzip.compress(body, 6)
        self.send_response(found.status)
        self.send_header("Content-Type", found.media_type)
        for name, value in HEADERS.items():
            if not (found.own_policy and name == "Content-Security-Policy"):
                self.send_header(name, value)
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing: the browser shows what was requested."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print no traceback when a browser closes its connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def server_of(services: Services | None, folder: Path | None = None, port: int = 0) -> ThreadingHTTPServer:
    """A server that listens already; `serve_forever` answers. Port 0: a free one."""
    handler = type("Handler", (_Handler,), {"site": _Site(services, folder)})
    return _Server((LOOPBACK, port), handler)


def write_site(services: Services, folder: Path) -> int:
    """Write every page that is linked as a file, with index.html on top; returns how many."""
    fleet = fleet_view(services)
    files = {"index.html": fleet_page(fleet, Links(".", ".html", "/index.html"))}
    decisions: set[str] = set()
    for each in fleet.monitors:
        monitor = monitor_view(services, each.monitor)
        files[f"monitors/{each.monitor}.html"] = monitor_page(monitor, Links("..", ".html", "/index.html"))
        decisions |= {mark.decision_id for mark in monitor.marks}
        for line in monitor.windows:
            window = window_view(services, each.monitor, line.window)
            decisions |= {line.decision_id for line in window.decisions}
            name = Links(ending=".html").window(each.monitor, line.window).lstrip("/")
            files[name] = window_page(window, Links("../../..", ".html", "/index.html"))
    for decision_id in decisions:
        view = decision_view(services, decision_id)
        files[f"decisions/{decision_id}.html"] = decision_page(view, Links("..", ".html", "/index.html"))
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return len(files)


def run(options: argparse.Namespace) -> tuple[str, int]:
    """The command: serves until it is interrupted, or writes the files."""
    folder = Path(options.folder) if options.folder else None
    services: Services | None = None
    if folder is None:
        services = wiring.services()
    elif is_kept(folder):
        services = KeptStage(folder)
    elif not any(folder.rglob(_REPORT)):
        raise MisconfiguredError("FOLDER", str(folder), f"a folder with {_REPORT} in it or below, or a demo's output")
    if options.write:
        if services is None:
            raise MisconfiguredError("--write", options.write, "a stage or a demo's output; reports are files already")
        return f"{plural(write_site(services, Path(options.write)), 'page')} in {options.write}/index.html", 0
    try:
        server = server_of(services, folder, options.port)
    except OSError as error:
        raise MisconfiguredError("--port", options.port, f"a free port ({error.strerror})") from None
    with server:
        print(f"http://{LOOPBACK}:{server.server_address[1]}/  (Ctrl-C ends it)", file=sys.stderr, flush=True)
        server.serve_forever()
    return "", 0


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline serve` and its arguments."""
    parser = add_command(
        commands,
        "serve",
        "show the page of a stage, or of a folder, on this machine",
        "Every monitor, its windows and decisions, in a browser. Without FOLDER the stage that the environment names "
        "is read, with your AWS permissions. No value of captured data is shown, but in reports.",
        "serve demo-output",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        default="",
        metavar="FOLDER",
        help="the output of a demo, or reports of `plumbline evaluate`",
    )
    parser.add_argument("--port", type=int, default=_PORT, metavar="N", help=f"default {_PORT}; 0: any free one")
    parser.add_argument("--write", default="", metavar="DIR", help="write the pages as files instead")
    parser.set_defaults(run=run)
