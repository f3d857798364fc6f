"""A local web server of strange pages, on loopback, and the reach that allows to fetch them."""

import datetime as dt
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent_app.sources.fetch import FetchLimits
from agent_app.sources.transport import Reach

LOOPBACK = (ip_network("127.0.0.1/32"),)


@dataclass(frozen=True)
class Page:
    """An answer."""

    body: bytes | Callable[[Any], None] = b""
    """Bytes, or a function that writes them by the handler's `wfile` and may never end."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "text/html; charset=utf-8"


@dataclass
class Site:
    """A running server."""

    port: int
    scheme: str = "http"
    pages: dict[str, Page | list[Page]] = field(default_factory=dict)
    """By path; of a list one after another is answered, the last one from then on."""
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Path and headers of each request."""
    posted: list[bytes] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Return a URL of this server."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def answer(self, path: str) -> Page:
        """Return the next answer for a path."""
        with self._lock:
            found = self.pages.get(path, Page(b"no such page", 404))
            if isinstance(found, Page):
                return found
            return found.pop(0) if len(found) > 1 else found[0]

    def limits(self, **changes: Any) -> FetchLimits:
        """Return limits that allow this server's port."""
        return FetchLimits(ports=frozenset({self.port}), **changes)


def reach_of(*addresses: str, **changes: Any) -> Reach:
    """Return a reach with loopback allowed, where every name has these addresses."""

    async def resolve(host: str) -> list[str]:
        return list(addresses or ("127.0.0.1",))

    return Reach(**{"allowed": LOOPBACK, "resolve": resolve, **changes})


@contextmanager
def serving_pages(certificate: Path | None = None) -> Iterator[Site]:
    """Yield a server on a port of its own; with a certificate it speaks TLS."""
    server = _Server(("127.0.0.1", 0), _Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.site = Site(server.server_port, "https" if certificate else "http")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_certificate(path: Path, *, host: str) -> Path:
    """Write a key and a certificate that the host signed for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path


class _Server(ThreadingHTTPServer):
    site: Site
    daemon_threads = True
    block_on_close = False  # some pages never end

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        site = self.server.site
        site.requests.append((self.path, dict(self.headers)))
        page = site.answer(self.path.partition("?")[0])
        self.send_response(page.status)
        if page.media_type:
            self.send_header("Content-Type", page.media_type)
        for name, value in page.headers.items():
            self.send_header(name, value)
        with suppress(ConnectionError):
            self.end_headers()
            page.body(self) if callable(page.body) else self.wfile.write(page.body)

    def do_POST(self) -> None:
        self.server.site.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
