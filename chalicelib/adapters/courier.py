"""Outgoing HTTPS POST to addresses that a definition names: chat, pager, webhooks.

Refuses addresses that must not be reached from inside an account (instance metadata, the VPC, this machine), and
connects to exactly the address that it checked. A webhook's URL is a secret, so errors name its host and never its path
or query. Not here: what is sent.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Event, Timer
from urllib.parse import SplitResult, urlsplit

from chalicelib.errors import RefusedError

Resolve = Callable[[str, int], Sequence[str]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# Reserved for examples (RFC 5737, 3849, 9637): no receiver has one. Python's own tables differ by version.
_DOCUMENTATION = tuple(
    ipaddress.ip_network(each)
    for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
)


class HttpsCourier:
    """`ports.Courier` over http.client.

    `resolve(host, port)` gives a name's addresses as text; `timeout` is seconds for one connection or one wait for
    bytes, `deadline` for the whole post after the name was looked up, over all addresses; `allow` holds explicit
    exceptions "host:port" (an IPv6 address in brackets), which may be reached with http too and at any address; `tls`
    replaces the default context, which verifies certificate and host name.
    """

    def __init__(
        self,
        *,
        resolve: Resolve | None = None,
        timeout: float = 5.0,
        deadline: float = 10.0,
        allow: tuple[str, ...] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._resolve = resolve or system_addresses
        self._timeout = timeout
        self._deadline = deadline
        self._allow = frozenset(entry.lower() for entry in allow)
        self._tls = tls

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """POST `body` and return the status code; redirects are not followed.

        Raises RefusedError for a URL that must not be reached: not https, with user information, or with any address
        that is not public. Network, name and certificate errors pass through as OSError, a deadline that is over
        as TimeoutError.
        """
        parts, host, port = _target(url)
        allowed = f"[{host}]:{port}" in self._allow if ":" in host else f"{host}:{port}" in self._allow
        if parts.scheme != "https" and not allowed:
            raise RefusedError(f"host {host}: scheme {parts.scheme!r}; expected https")
        # One look-up: what is checked here is what is connected to below, whatever the name says a moment later.
        try:
            addresses = list(self._resolve(host, port))
        except UnicodeError:
            raise RefusedError("URL with a host that is no name; expected labels of 1 to 63 characters") from None
        if not addresses:
            raise ConnectionError(f"host {host}: the name has no address")
        if not allowed:
            for address in addresses:
                if not is_public(address):
                    raise RefusedError(f"host {host}: address {address} is not public")
        # Shared among the addresses, so that many dead ones take no longer than one.
        wait = min(self._timeout, self._deadline / len(addresses))
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = self._tls or ssl.create_default_context()
            connection = _CheckedHttps(host, port, lambda: _connect(addresses, port, wait), context)
        else:
            connection = _CheckedHttp(host, port, lambda: _connect(addresses, port, wait))
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        over = Event()
        late = Timer(self._deadline, _cut_off, (connection, over))
        late.daemon = True
        late.start()
        status = 0
        try:
            connection.connect()
            if not over.is_set():
                connection.request("POST", path, body=body, headers=dict(headers))
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            if not over.is_set():
                raise
        finally:
            late.cancel()
            connection.close()
        if over.is_set():
            raise TimeoutError(f"host {host}: no whole answer within {self._deadline:g} seconds")
        return status


def is_public(address: str) -> bool:
    """Whether an address (text) is an ordinary public one, after unwrapping IPv4 that is written as IPv6.

    Public means globally reachable unicast by the IANA special-purpose registries; tunnels (6to4, Teredo) are not.
    """
    try:
        parsed: Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        elif parsed in _NAT64:
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        elif parsed not in _GLOBAL_UNICAST or parsed.sixtofour is not None or parsed.teredo is not None:
            return False
    if any(parsed in network for network in _DOCUMENTATION):
        return False
    return parsed.is_global and not (
        parsed.is_private
        or parsed.is_loopback
        or parsed.is_link_local
        or parsed.is_multicast
        or parsed.is_reserved
        or parsed.is_unspecified
    )


def system_addresses(host: str, port: int) -> list[str]:
    """A name's addresses from the system's resolver, in its order, each once. Raises socket.gaierror (an OSError)."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _target(url: str) -> tuple[SplitResult, str, int]:
    # Anything but plain printable ASCII (spaces and line breaks above all) would be read differently by different
    # readers of the same URL.
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise RefusedError("URL with spaces, control characters, backslashes or other than ASCII; expected it encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RefusedError("URL that cannot be read; expected https://host[:port]/path") from None
    if parts.scheme not in ("http", "https"):
        raise RefusedError(f"URL with scheme {parts.scheme!r}; expected https")
    if not parts.hostname:
        raise RefusedError("URL without a host; expected https://host[:port]/path")
    if "@" in parts.netloc:
        raise RefusedError(f"host {parts.hostname}: user information in the URL; expected none")
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    return parts, parts.hostname, port


def _connect(addresses: Sequence[str], port: int, wait: float) -> socket.socket:
    """Connect to the first checked address that answers; addresses are numeric, so no name is resolved again.

    `wait`: seconds for each address.
    """
    failure: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), wait)
        except OSError as error:
            failure = failure or error
    assert failure is not None  # addresses is never empty
    raise failure


def _cut_off(connection: http.client.HTTPConnection, over: Event) -> None:
    """End whatever another thread reads or writes there: a byte now and then lets no wait for bytes run out."""
    over.set()
    if connected := connection.sock:
        with suppress(OSError):
            # Not the TLS socket's own method, which forgets what the other thread is using.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)


class _CheckedHttp(http.client.HTTPConnection):
    def __init__(self, host: str, port: int, reach: Callable[[], socket.socket]) -> None:
        super().__init__(host, port)
        self._reach = reach

    def connect(self) -> None:
        self.sock = self._reach()


class _CheckedHttps(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int, reach: Callable[[], socket.socket], context: ssl.SSLContext) -> None:
        super().__init__(host, port, context=context)
        self._reach = reach
        self._tls = context

    def connect(self) -> None:
        plain = self._reach()
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
