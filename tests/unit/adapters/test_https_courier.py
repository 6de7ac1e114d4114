"""Where the courier goes, and above all where it does not."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chalicelib.adapters import courier
from chalicelib.adapters.courier import HttpsCourier, is_public, system_addresses
from chalicelib.errors import RefusedError

PUBLIC = "93.184.216.34"


def _never(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host}:{port} was looked up")


class _Server(HTTPServer):
    """Answers every POST: /status/{n} with that status, a redirect pointing at /landed; remembers what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.came: list[tuple[str, str, bytes, str]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: handshakes that fail are meant to."""


class _Answer(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, self.headers["Host"], body, self.headers.get("X-Kind", "")))
        status = int(self.path.split("/")[2]) if self.path.startswith("/status/") else 200
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/landed")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _serve(server: _Server) -> Iterator[_Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server() -> Iterator[_Server]:
    yield from _serve(_Server())


def test_an_allowance_permits_exactly_its_host_and_port_over_http(server: _Server) -> None:
    port = server.server_port
    sender = HttpsCourier(allow=(f"127.0.0.1:{port}",))
    assert sender.post(f"http://127.0.0.1:{port}/hook?a=1", b"alert", {"X-Kind": "drift"}) == 200
    assert server.came == [("/hook?a=1", f"127.0.0.1:{port}", b"alert", "drift")]
    for url in (
        f"http://127.0.0.1:{port + 1}/hook",
        f"http://localhost:{port}/hook",
        f"http://127.0.0.2:{port}/hook",
        "http://127.0.0.1/hook",
    ):
        with pytest.raises(RefusedError):
            sender.post(url, b"alert", {})
    assert len(server.came) == 1


def test_a_redirect_is_not_followed(server: _Server) -> None:
    sender = HttpsCourier(allow=(f"127.0.0.1:{server.server_port}",))
    assert sender.post(f"http://127.0.0.1:{server.server_port}/status/307", b"alert", {}) == 307
    assert [path for path, *_ in server.came] == ["/status/307"]


@pytest.mark.parametrize("status", [200, 204, 400, 410, 429, 503])
def test_every_status_is_the_callers_to_judge(server: _Server, status: int) -> None:
    sender = HttpsCourier(allow=(f"127.0.0.1:{server.server_port}",))
    assert sender.post(f"http://127.0.0.1:{server.server_port}/status/{status}", b"alert", {}) == status


def test_a_server_that_is_not_there_is_a_network_error() -> None:
    with HTTPServer(("127.0.0.1", 0), _Answer) as closed:
        port = closed.server_port
    with pytest.raises(OSError):
        HttpsCourier(allow=(f"127.0.0.1:{port}",)).post(f"http://127.0.0.1:{port}/", b"alert", {})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/hook", "scheme"),
        ("ftp://example.com/hook", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("example.com/hook", "scheme"),
        ("https:///hook", "without a host"),
        ("https://user:secret@example.com/hook", "user information"),
        ("https://@example.com/hook", "user information"),
        ("https://example.com:99999/hook", "cannot be read"),
        ("https://example.com/a b", "spaces"),
        ("https://example.com/\r\nX-Evil: 1", "spaces"),
        ("https://example.com\\@127.0.0.1/", "spaces"),
        ("https://exämple.com/", "ASCII"),
    ],
)
def test_urls_that_are_refused_before_any_look_up(url: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        HttpsCourier(resolve=_never).post(url, b"alert", {})


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
    ],
)
def test_literal_addresses_that_must_not_be_reached(host: str) -> None:
    with pytest.raises(RefusedError, match="is not public"):
        HttpsCourier(timeout=0.2).post(f"https://{host}/latest/meta-data", b"alert", {})


@pytest.mark.parametrize("addresses", [["10.0.0.5"], ["::1"], [PUBLIC, "10.0.0.5"], ["not an address"]])
def test_a_name_is_refused_for_any_of_its_addresses(addresses: list[str]) -> None:
    with pytest.raises(RefusedError, match=r"host hooks\.example"):
        HttpsCourier(resolve=lambda host, port: addresses, timeout=0.2).post("https://hooks.example/x", b"alert", {})


def test_a_host_that_is_no_name_is_refused() -> None:
    with pytest.raises(RefusedError, match="no name"):
        HttpsCourier().post("https://" + "a" * 70 + ".example/", b"alert", {})


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1", "198.51.100.1", "203.0.113.5", "2001:db8::1", "3fff::1", "::ffff:192.0.2.1", "64:ff9b::c000:201"],
)
def test_addresses_for_documentation_are_nobodys(address: str) -> None:
    assert not is_public(address)


def test_one_deadline_holds_over_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with sixteen addresses that do not answer, each worth five seconds of waiting."""
    waits = []

    def hang(address: tuple[str, int], timeout: float) -> socket.socket:
        waits.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(courier.socket, "create_connection", hang)
    many = [f"8.8.8.{n}" for n in range(16)]
    with pytest.raises(TimeoutError):
        HttpsCourier(resolve=lambda host, port: many, timeout=5, deadline=10).post("https://many.example/", b"", {})
    assert len(waits) == 16
    assert sum(waits) <= 10


@pytest.mark.parametrize("headers", [b"HTTP/1.1 200 OK\r\nX: ", b"HTT"])
def test_a_receiver_that_dribbles_is_cut_off(headers: bytes) -> None:
    """One byte every 50 ms: no wait for bytes ever ends, so only the deadline does."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def dribble() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(headers)
                while not over.wait(0.05):
                    connection.sendall(b"a")

        thread = threading.Thread(target=dribble, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"0\.5 seconds"):
            HttpsCourier(timeout=5, deadline=0.5, allow=(f"127.0.0.1:{port}",)).post(
                f"http://127.0.0.1:{port}/x", b"{}", {}
            )
        assert time.monotonic() - began < 4
        over.set()
        thread.join()


def test_a_name_without_address_is_a_network_error() -> None:
    with pytest.raises(ConnectionError, match=r"hooks\.example"):
        HttpsCourier(resolve=lambda host, port: []).post("https://hooks.example/x", b"alert", {})


def test_errors_do_not_tell_the_path() -> None:
    with pytest.raises(RefusedError) as caught:
        HttpsCourier(resolve=lambda host, port: ["10.0.0.5"]).post("https://hooks.example/T0/secret", b"alert", {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


def test_the_system_gives_each_address_once() -> None:
    assert system_addresses("127.0.0.1", 443) == ["127.0.0.1"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for hooks.example, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[_Server]:
    server = _Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    yield from _serve(server)


def _courier_to(server: _Server, host: str, trusted: Path | None) -> Callable[[], int]:
    sender = HttpsCourier(
        resolve=lambda asked, port: ["127.0.0.1"],
        allow=(f"{host}:{server.server_port}",),
        tls=ssl.create_default_context(cafile=str(trusted)) if trusted else None,
    )
    return lambda: sender.post(f"https://{host}:{server.server_port}/hook", b"alert", {})


def test_the_checked_address_is_reached_under_the_hosts_name(tls_server: _Server, certificate: Path) -> None:
    # hooks.example has no address in any resolver: reaching it shows that only the given address was used.
    assert _courier_to(tls_server, "hooks.example", certificate)() == 200
    assert tls_server.came == [("/hook", f"hooks.example:{tls_server.server_port}", b"alert", "")]


def test_a_certificate_for_another_name_is_refused(tls_server: _Server, certificate: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _courier_to(tls_server, "other.example", certificate)()
    assert tls_server.came == []


def test_a_certificate_that_nobody_trusts_is_refused(tls_server: _Server) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _courier_to(tls_server, "hooks.example", None)()
    assert tls_server.came == []
