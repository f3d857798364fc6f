"""A URL that somebody else wrote in, bytes out: from public addresses only, and within limits."""

import asyncio
import datetime as dt
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import httpx2

from agent_app.errors import FetchRefused
from agent_app.sources.readable import MEDIA_TYPES, media_type_of, split_media_type
from agent_app.sources.transport import PUBLIC, CheckedTransport, Reach, check_url, shown

_USER_AGENT = "agent_app (a research tool; fetches single pages for a person's question)"
_VAGUE_TYPES = frozenset({"", "text/plain", "application/octet-stream", "binary/octet-stream"})
"""Types that servers send for files that they do not know; the ending says more."""
_GUNZIP = 16 + zlib.MAX_WBITS
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class FetchLimits:
    """What one fetch may cost."""

    max_s: float = 30.0
    """Seconds for all of it, redirects included."""
    connect_s: float = 10.0
    max_bytes: int = 20_000_000
    """Bytes of the body, before and after decompression."""
    max_ratio: int = 100
    """How many times its size a body above a megabyte may grow by decompression."""
    max_redirects: int = 5
    ports: frozenset[int] = frozenset({80, 443, 8080, 8443})


@dataclass(frozen=True)
class Fetched:
    """What a URL has answered with."""

    final_url: str
    """The URL after redirects."""
    media_type: str
    """With its charset, if the server named one: as `read_document` takes it."""
    body: bytes = field(repr=False)
    fetched_at: dt.datetime


async def fetch(url: str, *, limits: FetchLimits = FetchLimits(), reach: Reach = PUBLIC) -> Fetched:
    """Return the page at a URL; no proxy, no cookies from before, and no credentials are used.

    Raises: FetchRefused (an address that is not public, another scheme, port or content type, over
    a limit), httpx2.HTTPStatusError (an answer of 400 and above), httpx2.TransportError (no answer
    in time, a connection that broke off); the last two say themselves whether a retry can help.
    """
    try:
        async with asyncio.timeout(limits.max_s), _client(limits, reach) as client:
            first = httpx2.URL(url)
            check_url(first, limits.ports)  # the client would complete one without a host
            return await _follow(client, first, limits)
    except TimeoutError:
        raise httpx2.ReadTimeout(f"{shown(url)!r} took more than {limits.max_s:g} s.") from None
    except httpx2.InvalidURL as error:
        raise FetchRefused(shown(url), f"it is no URL: {error}") from None


def _client(limits: FetchLimits, reach: Reach) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=CheckedTransport(limits.ports, reach),
        timeout=httpx2.Timeout(limits.max_s, connect=limits.connect_s),
        trust_env=False,
        headers={"User-Agent": _USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip"},
    )


async def _follow(client: httpx2.AsyncClient, url: httpx2.URL, limits: FetchLimits) -> Fetched:
    """Go where redirects lead; the client's own way would read their bodies without a limit."""
    request = client.build_request("GET", url)
    for _ in range(limits.max_redirects + 1):
        response = await client.send(request, stream=True)
        try:
            if response.next_request is None:
                return await _receive(response, limits)
            request = response.next_request
        finally:
            await response.aclose()
    raise FetchRefused(shown(str(url)), f"it redirects more than {limits.max_redirects} times")


async def _receive(response: httpx2.Response, limits: FetchLimits) -> Fetched:
    response.raise_for_status()
    url = str(response.url)
    media_type = _media_type(response)
    announced = response.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limits.max_bytes:
        _refuse_size(url, limits)
    body = bytearray()
    async for piece in _decoded(response, limits):
        body += piece
        if len(body) > limits.max_bytes:
            _refuse_size(url, limits)
    return Fetched(url, media_type, bytes(body), dt.datetime.now(dt.UTC))


def _refuse_size(url: str, limits: FetchLimits) -> NoReturn:
    raise FetchRefused(shown(url), f"it has more than {limits.max_bytes:,} bytes")


def _media_type(response: httpx2.Response) -> str:
    """Return the content type; by the URL's ending where the server has none or a vague one."""
    header = response.headers.get("content-type", "")
    bare, charset = split_media_type(header)
    if bare in _VAGUE_TYPES:
        bare = media_type_of(response.url.path) or bare
    if bare not in MEDIA_TYPES:
        found = f"its content type is {bare[:80]!r}" if bare else "it has no content type"
        raise FetchRefused(shown(str(response.url)), f"{found}; pages, PDF and text are read")
    return f"{bare}; charset={charset}" if charset else bare


async def _decoded(response: httpx2.Response, limits: FetchLimits) -> AsyncIterator[bytes]:
    """Yield the body in small pieces, decompressed: a bomb is noticed before it has gone off."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    url = shown(str(response.url))
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise FetchRefused(url, f"its encoding is {encoding[:40]!r}; gzip was asked for")
    inflater = zlib.decompressobj(_GUNZIP) if encoding != "identity" else None
    raw_bytes = decoded_bytes = 0
    async for raw in response.aiter_raw(_CHUNK_BYTES):
        raw_bytes += len(raw)
        if raw_bytes > limits.max_bytes:
            _refuse_size(url, limits)
        for piece in _inflate(inflater, raw, url) if inflater else (raw,):
            decoded_bytes += len(piece)
            if decoded_bytes > max(1_000_000, limits.max_ratio * raw_bytes):
                raise FetchRefused(url, f"it grows more than {limits.max_ratio} times unpacked")
            yield piece
    if inflater and raw_bytes and not inflater.eof:
        raise FetchRefused(url, "its gzip ends too early")
    if inflater and inflater.unused_data:
        raise FetchRefused(url, "its gzip is followed by more")


def _inflate(inflater: "zlib._Decompress", raw: bytes, url: str) -> Iterator[bytes]:
    """Yield what the bytes unpack to, never more than a chunk at a time."""
    is_full = True
    try:
        while (raw or is_full) and not inflater.eof:
            piece = inflater.decompress(raw, _CHUNK_BYTES)
            raw, is_full = inflater.unconsumed_tail, len(piece) == _CHUNK_BYTES
            yield piece
    except zlib.error as error:
        raise FetchRefused(url, f"its gzip is damaged: {error}") from None
