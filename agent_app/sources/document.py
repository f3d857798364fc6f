"""A readable text and where it came from, before it is stored."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

Origin = Literal["corpus", "web"]
"""How a text was met first: added by somebody, or fetched for a run."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TRACKING = re.compile(
    r"utm_\w+|gclid|dclid|gbraid|wbraid|gad_source|gclsrc|fbclid|msclkid|yclid|twclid|ttclid"
    r"|igshid|li_fat_id|srsltid|mkt_tok|mc_cid|mc_eid|_ga|_gl|_hsenc|_hsmi|vero_id",
    re.IGNORECASE,
)
"""Names of query parameters that say who followed a link, not what is shown."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What Postgres cannot store as text: NUL, halves of surrogate pairs."""
_SOURCE_ID_CHARS = 16


@dataclass(frozen=True)
class Document:
    """A text fit for quoting; characters that cannot be stored have become U+FFFD."""

    url: str
    """Canonical: see `canonical_url`."""
    title: str
    text: str
    """NFC, paragraphs between blank lines, no markup; headings are paragraphs of their own."""
    media_type: str
    """What it was read from: text/html, application/pdf, text/markdown …"""

    def __post_init__(self) -> None:
        for name in ("url", "title", "text", "media_type"):
            object.__setattr__(self, name, _UNSTORABLE.sub("\ufffd", getattr(self, name)))

    @cached_property
    def source_id(self) -> str:
        """Return the ID that the text has once it is stored."""
        return source_id_of(self.text)


def sha256_of(text: str) -> str:
    """Return the SHA-256 of the text in UTF-8, in hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def source_id_of(text: str) -> str:
    """Return the first 16 digits of the text's SHA-256: the same text is the same source."""
    return sha256_of(text)[:_SOURCE_ID_CHARS]


def canonical_url(url: str) -> str:
    """Return one spelling for all URLs that lead to the same page.

    Scheme and host in lower case; no default port, no user, no fragment, no dot segments, no
    tracking parameters. The others keep their order, which may mean something to the server. What
    is not http or https (file:, pkg:, python: …), or no URL at all, comes back as it is.
    Source: RFC 3986, section 6.2.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return url
        host = _host(parts)
    except ValueError:  # a port that is no number, a bracket that is not closed
        return url
    path = _without_dots(_escape(parts.path, safe="/:@!$&'()*+,;=")) or "/"
    return urlunsplit((parts.scheme, host, path, _without_tracking(parts.query), ""))


def _host(parts: SplitResult) -> str:
    assert parts.hostname
    host = parts.hostname.rstrip(".")
    host = f"[{host}]" if ":" in host else host
    is_default = parts.port in (None, _DEFAULT_PORTS[parts.scheme])
    return host if is_default else f"{host}:{parts.port}"


def _escape(text: str, *, safe: str) -> str:
    """Escape what must be, with capital digits, and nothing that need not be."""
    pieces = re.split(r"(%[0-9a-fA-F]{2})", text)
    return "".join(_unescape(p) if n % 2 else quote(p, safe=safe) for n, p in enumerate(pieces))


def _unescape(escape: str) -> str:
    sign = unquote(escape, "latin-1")
    return sign if sign.isascii() and (sign.isalnum() or sign in "-._~") else escape.upper()


def _without_dots(path: str) -> str:
    """Source: RFC 3986, section 5.2.4."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)


def _without_tracking(query: str) -> str:
    kept = [
        pair
        for pair in query.split("&")
        if pair and not _TRACKING.fullmatch(unquote(pair.partition("=")[0]))
    ]
    return _escape("&".join(kept), safe="/:@!$&'()*+,;=?[]")
