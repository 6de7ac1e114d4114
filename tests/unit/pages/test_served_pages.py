"""The server of `plumbline serve`: loopback, its own name, packed, and reports below a folder."""

from __future__ import annotations

import gzip
import http.client
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from chalicelib.wiring import Services
from emulator.memory.errors import ServiceError
from plumbline.cli import serve
from plumbline.cli.main import main
from tests.unit.handlers.world import MONITOR, World, definition


def ask(server: ThreadingHTTPServer, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def run(server: ThreadingHTTPServer) -> Iterator[ThreadingHTTPServer]:
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    world = World(definition())
    world.live(0)
    yield from run(serve.server_of(world.services))


@pytest.fixture
def reports(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    for name in ("one", "two/three"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "report.html").write_text(f"<h1>{name}</h1>")
    (tmp_path / "secret.txt").write_text("no report")
    yield from run(serve.server_of(None, tmp_path))


def test_it_listens_on_loopback_and_answers_to_its_own_name_alone(server: ThreadingHTTPServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "/").status == ask(server, "/", Host="localhost:1").status == 200
    # A page of another site that resolves its name to this machine must not read it.
    found = ask(server, "/", Host="evil.example")
    assert found.status == 421 and MONITOR.encode() not in found.read()


def test_answers_are_packed_where_that_is_taken(server: ThreadingHTTPServer) -> None:
    plain, packed = ask(server, "/"), ask(server, "/", **{"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip" and plain.headers["Content-Encoding"] is None
    assert gzip.decompress(packed.read()) == plain.read()
    assert "frame-ancestors 'none'" in plain.headers["Content-Security-Policy"]
    head = ask(server, "/", "HEAD")
    assert (head.status, head.read()) == (200, b"") and int(head.headers["Content-Length"]) > 1000


def test_other_paths_and_methods_are_refused(server: ThreadingHTTPServer) -> None:
    assert ask(server, "/monitors/nobody").status == 404
    assert ask(server, "/", "POST").status == 501


def test_reports_are_listed_and_nothing_else_is_there(reports: ThreadingHTTPServer) -> None:
    listed = ask(reports, "/").read().decode()
    assert "2 reports" in listed and 'href="/one/report.html"' in listed and 'href="/two/three/report.html"' in listed
    found = ask(reports, "/two/three/report.html")
    assert (found.status, found.read()) == (200, b"<h1>two/three</h1>")
    for path in ("/secret.txt", "/../one/report.html", "/one/../secret.txt", "/%2e%2e/one/report.html", "/one"):
        assert ask(reports, path).status == 404, path


def test_what_aws_refuses_is_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(services: Services, path: str) -> serve.Page:
        raise ServiceError("AccessDeniedException", "not allowed")

    monkeypatch.setattr(serve, "answered", denied)
    monkeypatch.setattr(serve.wiring, "is_aws_error", lambda error: isinstance(error, ServiceError))
    for found in run(serve.server_of(World(definition()).services)):
        answer = ask(found, "/")
        assert answer.status == 502 and b"AWS: " in answer.read()


def test_a_port_that_is_taken_is_told(
    server: ThreadingHTTPServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.html").write_text("<h1>r</h1>")
    assert main(["serve", str(tmp_path), "--port", str(server.server_address[1])]) == 2
    assert "expected a free port" in capsys.readouterr().err
