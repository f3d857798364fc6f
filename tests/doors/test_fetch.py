"""Fetching: real servers, public addresses only, and limits that hold."""

import asyncio
import datetime as dt
import gzip
import itertools
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent_app.durability.policy import is_retryable, retry_after_s
from agent_app.errors import FetchRefused
from agent_app.settings import Settings
from agent_app.sources.addresses import is_public, networks
from agent_app.sources.fetch import FetchLimits, fetch
from agent_app.sources.transport import Reach
from tests.doors.page_server import Page, Site, reach_of, serving_pages, write_certificate

HTML = b"<html><body><p>Some words.</p></body></html>"


@pytest.fixture
def site() -> Iterator[Site]:
    """Yield a server on loopback."""
    with serving_pages() as site:
        yield site


async def refusal(url: str, site: Site | None = None, **arguments: Any) -> str:
    """Return why a URL is not fetched."""
    if site:
        arguments = {"limits": site.limits(), "reach": reach_of()} | arguments
    with pytest.raises(FetchRefused) as caught:
        await fetch(url, **arguments)
    return caught.value.reason


async def test_a_page_comes_with_its_type_and_its_last_url(site: Site) -> None:
    """Body, content type with charset, the URL after a redirect, and an aware time come back."""
    site.pages = {"/old": Page(status=302, headers={"Location": "/new?a=1"}), "/new": Page(HTML)}
    fetched = await fetch(site.url("/old"), limits=site.limits(), reach=reach_of())
    assert fetched.body == HTML
    assert fetched.media_type == "text/html; charset=utf-8"
    assert fetched.final_url == site.url("/new?a=1")
    assert dt.datetime.now(dt.UTC) - fetched.fetched_at < dt.timedelta(minutes=1)
    assert "Some words" not in repr(fetched)


async def test_the_host_header_stays_the_names(site: Site) -> None:
    """The connection goes to the address; the request is still for the name and its port."""
    site.pages = {"/": Page(HTML)}
    await fetch(site.url(host="pages.example"), limits=site.limits(), reach=reach_of())
    assert site.requests[0][1]["Host"] == f"pages.example:{site.port}"


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255"),
        *("192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16"),
        *("192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::1"),
        *("64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::a00:1"),
        *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "3fff::1", "100::1", "fec0::1", "5f00::1"),
    ],
)
async def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    """Local, special and embedding addresses are refused as literals and as what a name means."""
    assert not is_public(ip_address(text))
    host = f"[{text}]" if ":" in text else text
    named = reach_of(text, allowed=())
    assert await refusal(f"http://{host}/", reach=Reach()) == "its address is not public"
    assert await refusal("http://name.example/", reach=named) == "its address is not public"


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::808:808"]
)
def test_a_public_address_is_public(text: str) -> None:
    """Neighbours of the special ranges, and public addresses behind NAT64, are fetched from."""
    assert is_public(ip_address(text))


async def test_one_address_of_many_that_is_not_public_refuses_the_name() -> None:
    """A name with a public and a local address is refused: either may be chosen."""
    reach = reach_of("8.8.8.8", "10.0.0.1", allowed=())
    assert await refusal("http://name.example/", reach=reach) == "its address is not public"


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "1.2.3.4.5",
        "[::1%25lo]",
    ],
)
async def test_an_odd_spelling_of_an_address_is_refused(host: str) -> None:
    """Decimal, octal, hexadecimal and short spellings never reach a resolver."""

    async def resolve(host: str) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    assert await refusal(f"http://{host}/", reach=Reach(resolve=resolve))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/a", "its scheme is 'ftp'; http and https are fetched"),
        ("file:///etc/passwd", "its scheme is 'file'; http and https are fetched"),
        ("gopher://example.com/", "its scheme is 'gopher'; http and https are fetched"),
        ("example.com/page", "its scheme is ''; http and https are fetched"),
        ("", "its scheme is ''; http and https are fetched"),
        ("http:///path", "it names no host"),
        ("http://user:secret@example.com/", "it has a user name or a password in it"),
        ("http://example.com:22/", "its port is 22; 80, 443, 8080 and 8443 are fetched from"),
        ("http://example.com:0/", "its port is 0; 80, 443, 8080 and 8443 are fetched from"),
        ("http://user:secret@a@example.com/", "it has a user name or a password in it"),
        ("http://127.0.0.1\\@example.com/", "it has a user name or a password in it"),
        ("http:example.com", "it names no host"),
        ("http://%31%32%37.0.0.1/", "it names no host"),
        ("http://\uff11\uff12\uff17.0.0.1/", "it is no URL"),
        ("http://example.com:99999/", "its port is 99999; 80, 443, 8080 and 8443 are fetched"),
        ("http://example.com/\n/a", "it is no URL"),
        ("http://exa mple.com/", "it names no host"),
        ("http://" + "a." * 200 + "example/", "it names no host"),
        ("http://example.com/" + "a" * 3000, "it has more than 2,000 characters"),
    ],
)
async def test_a_url_that_is_not_fetched(url: str, reason: str) -> None:
    """Another scheme, credentials, another port and no URL are refused before any look-up."""

    async def resolve(host: str) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    with pytest.raises(FetchRefused) as caught:
        await fetch(url, reach=Reach(resolve=resolve))
    assert caught.value.reason.startswith(reason)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 500


async def test_a_message_shows_the_url_that_was_asked_for() -> None:
    """What looks like a user name behind a fragment's sign is none, and is not cut away."""
    with pytest.raises(FetchRefused) as caught:
        await fetch("http://example.com:22/#@127.0.0.1/")
    assert "'http://example.com:22/#@127.0.0.1/'" in str(caught.value)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://127.0.0.2:{port}/", "its address is not public"),
        ("http://169.254.169.254:{port}/latest/meta-data/", "its address is not public"),
        ("http://[::1]:{port}/", "its address is not public"),
        ("//10.0.0.1:{port}/", "its address is not public"),
        ("file:///etc/passwd", "its scheme is 'file'; http and https are fetched"),
        ("http://127.0.0.1:22/", "its port is 22"),
        ("http://user:secret@127.0.0.1:{port}/", "it has a user name or a password in it"),
    ],
)
async def test_a_redirect_is_checked_like_the_first_url(
    site: Site, target: str, reason: str
) -> None:
    """A public page cannot send us to an address, a scheme or a port that is not fetched."""
    location = {"Location": target.format(port=site.port)}
    site.pages = {"/": Page(HTML, 302, location)}
    assert (await refusal(site.url(), site)).startswith(reason)
    assert len(site.requests) == 1


async def test_a_name_that_changes_its_address_is_met_at_the_checked_one(site: Site) -> None:
    """The address is looked up once, and connected to: a second answer is never asked for."""
    site.pages = {"/": Page(HTML)}
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def resolve(host: str) -> list[str]:
        return next(answers)

    reach = reach_of(resolve=resolve)
    url = site.url(host="rebinding.example")
    assert (await fetch(url, limits=site.limits(), reach=reach)).body == HTML
    assert await refusal(url, site, reach=reach) == "its address is not public"
    assert len(site.requests) == 1


async def test_a_certificate_is_checked_against_the_name(tmp_path: Path) -> None:
    """TLS is for the name though the address is connected to; one for another name is refused."""
    certificate = write_certificate(tmp_path / "tls.pem", host="pages.example")
    trusting = ssl.create_default_context(cafile=certificate)
    with serving_pages(certificate) as site:
        site.pages = {"/": Page(HTML)}
        reach = reach_of(ssl_context=trusting)
        url = site.url(host="pages.example")
        assert (await fetch(url, limits=site.limits(), reach=reach)).body == HTML
        for stranger in (site.url(host="other.example"), site.url()):
            with pytest.raises(httpx2.ConnectError, match="certificate"):
                await fetch(stranger, limits=site.limits(), reach=reach)
        with pytest.raises(httpx2.ConnectError, match="certificate"):
            await fetch(url, limits=site.limits(), reach=reach_of())


async def test_the_next_address_is_tried(site: Site) -> None:
    """A name whose first address does not answer is reached at its second."""
    site.pages = {"/": Page(HTML)}
    reach = reach_of("127.0.0.3", "127.0.0.1", allowed=networks("127.0.0.0/8"))
    assert (
        await fetch(site.url(host="pages.example"), limits=site.limits(), reach=reach)
    ).body == HTML


async def test_redirects_end(site: Site) -> None:
    """A page that redirects to itself is given up after the number allowed."""
    site.pages = {"/": Page(status=302, headers={"Location": "/"})}
    assert await refusal(site.url(), site) == "it redirects more than 5 times"
    assert len(site.requests) == 6


async def test_the_body_of_a_redirect_is_not_read(site: Site) -> None:
    """An endless body of a redirect holds nobody up."""
    site.pages = {"/": Page(_endless, 302, {"Location": "/new"}), "/new": Page(HTML)}
    assert (await fetch(site.url(), limits=site.limits(), reach=reach_of())).body == HTML


def _endless(handler: Any) -> None:
    while True:
        handler.wfile.write(b"<p>more</p>" * 1000)


@pytest.mark.parametrize("body", [_endless, b"x" * 200_001], ids=["endless", "announced"])
async def test_a_body_over_the_limit_is_refused(site: Site, body: Any) -> None:
    """Reading stops at the limit; where the size is announced nothing is read at all."""
    headers = {} if callable(body) else {"Content-Length": str(len(body))}
    site.pages = {"/": Page(body, headers=headers)}
    limits = site.limits(max_bytes=200_000)
    assert await refusal(site.url(), site, limits=limits) == "it has more than 200,000 bytes"


@pytest.mark.parametrize("layers", [1, 2])
async def test_a_bomb_does_not_go_off(site: Site, layers: int) -> None:
    """Some kilobytes that unpack to a hundred megabytes are refused at the first megabytes."""
    bomb = gzip.compress(b"\0" * 100_000_000, 9, mtime=0)
    for _ in range(1, layers):
        bomb = gzip.compress(bomb, 9, mtime=0)
    site.pages = {"/": Page(bomb, headers={"Content-Encoding": ", ".join(["gzip"] * layers)})}
    reason = await refusal(site.url(), site)
    assert reason in (
        "it grows more than 100 times unpacked",
        "it has more than 20,000,000 bytes",
        "its encoding is 'gzip, gzip'; gzip was asked for",
    )


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 3_000_000])
async def test_gzip_is_unpacked(site: Site, size: int) -> None:
    """Every size comes back whole, those at the edge of a chunk too."""
    body = random.Random(size).randbytes(size // 2) + b"a" * (size - size // 2)
    site.pages = {"/": Page(gzip.compress(body, mtime=0), headers={"Content-Encoding": "gzip"})}
    assert (await fetch(site.url(), limits=site.limits(), reach=reach_of())).body == body


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"no gzip at all", "gzip", "its gzip is damaged"),
        (gzip.compress(b"some text" * 100, mtime=0)[:-30], "gzip", "its gzip ends too early"),
        (2 * gzip.compress(b"a", mtime=0), "gzip", "its gzip is followed by more"),
        (b"whatever", "br", "its encoding is 'br'; gzip was asked for"),
    ],
)
async def test_an_encoding_that_does_not_work_is_refused(
    site: Site, body: bytes, encoding: str, reason: str
) -> None:
    """Damaged gzip and encodings that nobody asked for give no half text."""
    site.pages = {"/": Page(body, headers={"Content-Encoding": encoding})}
    assert (await refusal(site.url(), site)).startswith(reason)


async def test_a_slow_drip_ends_in_time(site: Site) -> None:
    """A server that sends a byte now and then is given up in all, as one that did not answer."""
    is_over = threading.Event()

    def drip(handler: Any) -> None:
        for _ in itertools.count():
            handler.wfile.write(b"a")
            if is_over.wait(0.05):
                return

    site.pages = {"/": Page(drip)}
    with pytest.raises(httpx2.ReadTimeout, match=r"took more than 0\.5 s") as caught:
        await fetch(site.url(), limits=site.limits(max_s=0.5), reach=reach_of())
    is_over.set()
    assert is_retryable(caught.value)


async def test_headers_without_an_end_are_given_up(site: Site) -> None:
    """Headers are read up to a size; then the answer counts as broken."""
    site.pages = {"/": Page(HTML, headers={f"X-{n}": "a" * 1000 for n in range(300)})}
    with pytest.raises(httpx2.RemoteProtocolError):
        await fetch(site.url(), limits=site.limits(), reach=reach_of())


@pytest.mark.parametrize(
    ("path", "sent", "read_as"),
    [
        ("/a", "text/html", "text/html"),
        ("/a", "Application/PDF", "application/pdf"),
        ("/a.md", "text/plain; charset=utf-8", "text/markdown; charset=utf-8"),
        ("/a.pdf", "application/octet-stream", "application/pdf"),
        ("/a.pdf", "", "application/pdf"),
        ("/a.pdf", "text/html", "text/html"),
        ("/a", "text/plain", "text/plain"),
    ],
)
async def test_the_content_type_decides(site: Site, path: str, sent: str, read_as: str) -> None:
    """The server's word goes first; the ending counts where it says nothing clear."""
    site.pages = {path: Page(HTML, media_type=sent)}
    fetched = await fetch(site.url(path), limits=site.limits(), reach=reach_of())
    assert fetched.media_type == read_as


@pytest.mark.parametrize("sent", ["image/png", "application/zip", "application/json", "", "?"])
async def test_another_content_type_is_refused_unread(site: Site, sent: str) -> None:
    """A picture that never ends is refused by its type alone."""
    site.pages = {"/": Page(_endless, media_type=sent)}
    assert (await refusal(site.url(), site)).endswith("pages, PDF and text are read")


@pytest.mark.parametrize(
    ("status", "is_passing"),
    [
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (410, False),
        (429, True),
        (503, True),
    ],
)
async def test_an_http_error_is_the_clients_own(site: Site, status: int, is_passing: bool) -> None:
    """The step's policy sees status and Retry-After: what can pass is tried again, 404 is not."""
    site.pages = {"/": Page(HTML, status, {"Retry-After": "7"})}
    with pytest.raises(httpx2.HTTPStatusError) as caught:
        await fetch(site.url(), limits=site.limits(), reach=reach_of())
    assert is_retryable(caught.value) == is_passing
    assert retry_after_s(caught.value) == 7
    assert "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize(
    ("errno", "is_passing"), [(socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)]
)
async def test_a_name_that_is_not_resolved(errno: int, is_passing: bool) -> None:
    """A name that does not exist is refused; a resolver that is down is worth another try."""

    async def resolve(host: str) -> list[str]:
        raise socket.gaierror(errno, "so it is")

    with pytest.raises((FetchRefused, httpx2.ConnectError)) as caught:
        await fetch("http://name.example/", reach=Reach(resolve=resolve))
    assert is_retryable(caught.value) == is_passing


async def test_a_name_without_an_address_is_no_page() -> None:
    """A resolver that finds nothing gives an error of the connection."""

    async def resolve(host: str) -> list[str]:
        return []

    with pytest.raises(httpx2.ConnectError, match="has no address"):
        await fetch("http://name.example/", reach=Reach(resolve=resolve))


async def test_the_environments_proxy_is_not_used(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would connect for us, and to addresses that we did not check."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    site.pages = {"/": Page(HTML)}
    assert (await fetch(site.url(), limits=site.limits(), reach=reach_of())).body == HTML


async def test_a_cancelled_fetch_is_cancelled(site: Site) -> None:
    """A caller that gives up is not told of a time-out instead."""
    is_asked, loop = asyncio.Event(), asyncio.get_running_loop()

    def begin(handler: Any) -> None:
        loop.call_soon_threadsafe(is_asked.set)
        _endless(handler)

    site.pages = {"/": Page(begin)}
    limits = site.limits(max_bytes=10**12)
    task = asyncio.create_task(fetch(site.url(), limits=limits, reach=reach_of()))
    await is_asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_no_setting_opens_the_network() -> None:
    """What tests allow, production cannot: no setting has the name of a part of the reach."""
    names = {field.name for field in (*fields(Reach), *fields(FetchLimits))}
    assert names.isdisjoint(Settings.model_fields)
