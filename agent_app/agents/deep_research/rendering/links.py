"""Where a source can be opened, and how it is called where it cannot."""

import re
from urllib.parse import quote, unquote, urlsplit

_FRAGMENT_WORDS = 5
"""Words at each end of a long quote that a link names."""
_MAX_WHOLE_WORDS = 12
"""A link names shorter quotes whole."""


def web_link(url: str, words: str = "") -> str | None:
    """Return a URL that a browser may open, at the words if there are any; None if it is not web.

    Every sign that could end a link in HTML, Markdown or BibTeX is percent-encoded.
    """
    try:
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return None
    except ValueError:
        return None
    link = quote(url.strip(), safe="!#$%&'*+,-./:;=?@[]_~", errors="replace")
    link = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", link)
    if not words:
        return link
    return f"{link}{'' if parts.fragment else '#'}:~:text={_text_directive(words)}"


def _text_directive(words: str) -> str:
    """Return the words as a text fragment names them; of long ones the beginning and the end.

    Source: https://wicg.github.io/scroll-to-text-fragment/.
    """
    lines = [line.split() for line in words.splitlines() if line.strip()]
    if not lines:
        return ""
    if len(lines) == 1 and len(lines[0]) <= _MAX_WHOLE_WORDS:
        return _encoded(lines[0])
    return f"{_encoded(lines[0][:_FRAGMENT_WORDS])},{_encoded(lines[-1][-_FRAGMENT_WORDS:])}"


def _encoded(words: list[str]) -> str:
    # A hyphen, a comma and an ampersand have a meaning in a text directive.
    return quote(" ".join(words), safe="", errors="replace").replace("-", "%2D")


def describe_place(url: str) -> str:
    """Return in words where a source lies that is no web page; a web page's URL without scheme."""
    scheme, _, rest = url.partition(":")
    path = unquote(rest.partition("#")[0]).lstrip("/")
    part = unquote(rest.partition("#")[2])
    tail = f", {part}" if part else ""
    if scheme == "pkg":
        return f"{_describe_package(path)}{tail}"
    if scheme == "python":
        section, _, name = path.partition("/")
        is_topic = section == "topics" and name
        return f"Python documentation, {f'topic {name}' if is_topic else path}{tail}"
    if scheme == "file":
        return f"Local file {unquote(rest.removeprefix('//'))}"
    return re.sub(r"^https?://", "", url)


def _describe_package(path: str) -> str:
    """Source: the package URL specification, `type/name@version/…`."""
    kind, _, rest = path.partition("/")
    name, _, tail = rest.partition("@")
    version, _, place = tail.partition("/")
    name, _, place = (name, "", place) if tail else rest.partition("/")
    registry = {"pypi": "Python package", "npm": "npm package"}.get(kind, f"{kind} package")
    words = " ".join(word for word in (registry, name, version) if word)
    return f"{words}, {place}" if place else words
