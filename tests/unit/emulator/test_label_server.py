"""A server that a test starts: it tells its port itself, is asked before it is used, and its end is told."""

from __future__ import annotations

import http.client
import sys
import time

import pytest

from emulator.aws import StandInError
from emulator.label_server import served

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            print("the last words", file=sys.stderr, flush=True)
            os._exit(3)
        body = BODY
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
WEBHOOK = [sys.executable, "-c", SERVER.replace("BODY", "b'{\"openapi\": 1}'")]


def die(url: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    with pytest.raises(http.client.RemoteDisconnected):
        connection.request("GET", "/die")
        connection.getresponse()
    time.sleep(0.2)


def test_two_servers_have_two_ports() -> None:
    with served(WEBHOOK, {}) as one, served(WEBHOOK, {}) as other:
        assert one != other


def test_a_server_that_does_not_start_is_told_with_its_last_words() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such stage')"]
    with pytest.raises(StandInError, match="does not answer: no such stage"), served(command, {}):
        raise AssertionError("it was taken for a server")


def test_somebody_else_who_listens_is_not_the_server() -> None:
    other = [sys.executable, "-c", SERVER.replace("BODY", "b'hello'")]
    with pytest.raises(StandInError, match="does not answer"), served(other, {}, timeout=1.5):
        raise AssertionError("it was taken for the webhook")


def test_a_server_that_died_is_told_at_the_end() -> None:
    with pytest.raises(StandInError, match=r"(?s)ended with status 3: .*the last words"), served(WEBHOOK, {}) as url:
        die(url)


def test_a_server_that_died_is_told_where_its_user_fails() -> None:
    with pytest.raises(StandInError, match="ended with status 3") as caught, served(WEBHOOK, {}) as url:
        die(url)
        http.client.HTTPConnection(url.removeprefix("http://"), timeout=5).request("GET", "/")
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_nothing_is_left_of_a_server() -> None:
    with served(WEBHOOK, {}) as url:
        assert url.startswith("http://127.0.0.1:")
    with pytest.raises(OSError):
        http.client.HTTPConnection(url.removeprefix("http://"), timeout=2).request("GET", "/openapi.json")
