"""Connections to checked addresses only, whatever a name means a moment later."""

import re
import socket
import ssl
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address

import httpx2

from agent_app.errors import FetchRefused
from agent_app.sources.addresses import (
    Address,
    Network,
    Resolver,
    is_reachable,
    literal_address,
    resolve,
)

_MAX_URL_CHARS = 2000
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*|[0-9a-f:.%]*:[^/]*", re.I)
"""A name, or an IPv6 address."""
_USER = re.compile(r"^([^/?#]*//)[^/?#]*@")


@dataclass(frozen=True)
class Reach:
    """How the network is reached; production has the defaults, and no setting changes them."""

    allowed: tuple[Network, ...] = ()
    """Networks that are fetched from though they are not public: for tests on loopback."""
    resolve: Resolver = resolve
    ssl_context: ssl.SSLContext | None = None
    """What certificates are checked with; None has the usual authorities."""


PUBLIC = Reach()


@cache
def _usual_authorities() -> ssl.SSLContext:
    """Return what the operator's environment trusts; reading that takes a third of a second."""
    return httpx2.create_ssl_context()


class CheckedTransport(httpx2.AsyncBaseTransport):
    """Connects to the very address that was checked: a name may have another one a moment later."""

    def __init__(self, ports: frozenset[int], reach: Reach) -> None:
        self._ports = ports
        self._reach = reach
        self._inner = httpx2.AsyncHTTPTransport(
            verify=reach.ssl_context or _usual_authorities(),
            trust_env=False,
            # A kept connection is known by its address, though its certificate was for one name.
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request to the first address of its host that answers.

        Raises: FetchRefused; httpx2.TransportError.
        """
        check_url(request.url, self._ports)
        addresses = await self._addresses(request.url)
        for number, address in enumerate(addresses, 1):
            try:
                return await self._inner.handle_async_request(_pinned(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise httpx2.ConnectError(f"{_host(request.url)!r} has no address", request=request)

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()

    async def _addresses(self, url: httpx2.URL) -> list[Address]:
        """Return the addresses of the URL's host; one that is not public refuses them all."""
        url_shown = shown(str(url))
        try:
            literal = literal_address(_host(url))
            texts = [] if literal else await self._reach.resolve(_host(url))
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
                raise FetchRefused(url_shown, "its host does not exist") from None
            raise httpx2.ConnectError(
                f"{_host(url)!r} was not resolved: {error.strerror}"
            ) from error
        except ValueError as error:
            raise FetchRefused(url_shown, str(error)) from None
        addresses = [literal] if literal else [ip_address(text) for text in texts]
        if not all(is_reachable(address, self._reach.allowed) for address in addresses):
            raise FetchRefused(url_shown, "its address is not public")
        return addresses


def check_url(url: httpx2.URL, ports: frozenset[int]) -> None:
    """Refuse what no look-up of the host could make fit.

    Raises: FetchRefused.
    """
    port = (443 if url.scheme == "https" else 80) if url.port is None else url.port
    for is_fit, reason in (
        (
            url.scheme in ("http", "https"),
            f"its scheme is {url.scheme!r}; http and https are fetched",
        ),
        (not url.userinfo, "it has a user name or a password in it"),
        (bool(_HOST.fullmatch(_host(url))), "it names no host"),
        (port in ports, f"its port is {port}; {_listed(ports)} are fetched from"),
        (len(str(url)) <= _MAX_URL_CHARS, f"it has more than {_MAX_URL_CHARS:,} characters"),
    ):
        if not is_fit:
            raise FetchRefused(shown(str(url)), reason)


def _pinned(request: httpx2.Request, address: Address) -> httpx2.Request:
    """Return the request to the address; host, SNI and certificate stay the name's."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": _host(request.url)},
    )


def _host(url: httpx2.URL) -> str:
    """Return the host as it is looked up: in ASCII, without the dot of the root."""
    return url.raw_host.decode("ascii").rstrip(".")


def _listed(numbers: frozenset[int]) -> str:
    """Return `80, 443 and 8080`."""
    *most, last = map(str, sorted(numbers))
    return f"{', '.join(most)} and {last}" if most else last


def shown(url: str) -> str:
    """Return the URL as a message may show it: cut, and without a password."""
    return _USER.sub(r"\1", url)[:300]
