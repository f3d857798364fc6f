"""Characters and lines into paragraphs, as a person reads them."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from textwrap import shorten

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""Controls, soft hyphens, zero-width spaces, marks of direction, halves of surrogate pairs."""
_BULLET = re.compile(r"^(?:[-*+•‣◦▪\u2013]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s+(?=\S)")
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)
"""What typesetters and PDFs have for letters, and no search has."""
MAX_TITLE = 120
MAX_WRAP = 120
"""Columns up to which a line counts as wrapped by hand."""
_NARROW = 40
"""Columns below which nobody wraps prose."""


class Unreadable(Exception):
    """The format is known and nothing can be read; the text is a clause that says why."""


@dataclass(frozen=True)
class Prose:
    """What a document says."""

    title: str
    paragraphs: list[str]


def decode(body: bytes, charset: str | None) -> str:
    """Return the text: by byte order mark, by the charset declared, as UTF-8, as Windows-1252.

    Raises: Unreadable (it is no text).
    """
    text = _decode(body, charset)
    if "\0" in text:
        raise Unreadable("it is binary and no text")
    return text


def _decode(body: bytes, charset: str | None) -> str:
    """Decode it; Windows-1252 is what browsers read for Latin-1 and ASCII.

    Source: https://encoding.spec.whatwg.org/#names-and-labels
    """
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    declared = (charset or "").strip("\"' ").lower()
    if declared in ("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"):
        declared = ""  # often it is UTF-8 all the same, which other text hardly ever is
    for encoding in (declared, "utf-8"):
        try:
            return body.decode(encoding or "utf-8")
        except (LookupError, ValueError):  # an unknown charset, or not this one
            continue
    return body.decode("cp1252", "replace")


def tidy(text: str) -> str:
    """Return the text in one line: NFC, single spaces, no ligatures, nothing that is not seen."""
    seen = _UNSEEN.sub("", text).translate(_LIGATURES)
    return " ".join(unicodedata.normalize("NFC", seen).split())


def readable(title: str, paragraphs: Iterable[str]) -> Prose:
    """Return tidied paragraphs; those without a letter or a digit are ornaments, and go.

    A document without a title is called by how it begins.
    """
    kept = [p for p in map(tidy, paragraphs) if any(map(str.isalnum, p))]
    return Prose(
        shorten(tidy(title) or (kept[0] if kept else ""), MAX_TITLE, placeholder=" …"), kept
    )


def blocks(text: str) -> Iterator[list[str]]:
    """Yield the lines between blank lines."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip():
            lines.append(line.expandtabs(8).rstrip())
        elif lines:
            yield lines
            lines = []


def unwrap(lines: list[str]) -> list[str]:
    """Return the block's paragraphs: lines that were wrapped by hand are joined.

    A line was wrapped where the next word had no room in it. Where it had, the author ended it, as
    in verses and addresses, unless the next line goes on in small letters. A list's item begins a
    paragraph too.
    """
    width = min(MAX_WRAP, max(map(len, lines)))
    paragraphs = [[lines[0].strip()]]
    for line, following in pairwise(lines):
        word = following.split(maxsplit=1)[0]
        has_room = width < _NARROW or len(line) + 1 + len(word) <= width
        if _BULLET.match(following.strip()) or (has_room and not word[0].islower()):
            paragraphs.append([following.strip()])
        else:
            paragraphs[-1].append(following.strip())
    return [_BULLET.sub("", " ".join(pieces), count=1) for pieces in paragraphs]
