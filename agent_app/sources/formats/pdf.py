"""PDF into paragraphs: lines joined over line ends, hyphens and pages."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from pypdf import PdfReader

from agent_app.sources.formats.prose import Prose, Unreadable, readable

MAX_PAGES = 500
"""Pages that are read; the rest of a longer document is not."""
_HYPHEN = re.compile(r"([^\W\d_]+)[-\u2010\u00ad]$")
_NUMBERED = re.compile(r"(?:\d{1,2}(?:\.\d{1,2})*\.?|[•‣◦▪\u2013*-])\s+\S")
_BULLET = re.compile(r"^[•‣◦▪]\s+")
_PAGE_NUMBER = re.compile(r"(?:\d+|[ivxlc]+)$")
_LEADER = re.compile(r"(?:\.\s?){5,}\s*(?:\d+|[ivxlc]+)?$")
_SENTENCE_END = tuple('.!?:;…”")')
_SHORT_LINE = 0.75
"""Share of the usual line below which a line is one that its author ended."""


def read_pdf(body: bytes) -> Prose:
    """Return the document's paragraphs.

    Raises: Unreadable (it is encrypted), and what pypdf raises for a damaged one.
    """
    reader = PdfReader(io.BytesIO(body))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("it is encrypted")
    pages = [_lines(page.extract_text()) for page in reader.pages[:MAX_PAGES]]
    lines = [line for page in _without_running_heads(pages) for line in page]
    paragraphs = [_BULLET.sub("", paragraph) for paragraph in _join(lines)]
    named = str((reader.metadata and reader.metadata.title) or "").strip()
    title = named if " " in named else ""  # else the name of a file or a template, mostly
    return readable(title, paragraphs)


def _lines(text: str) -> list[str]:
    """Return the lines of a page that say something; those of a table of contents do not."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not _LEADER.search(line)]


def _without_running_heads(pages: list[list[str]]) -> Iterator[list[str]]:
    """Yield each page without its number, and without what heads or foots most pages."""
    edges = Counter(
        shape for page in pages for shape in {_shape(line) for line in (*page[:2], *page[-2:])}
    )
    repeated = {shape for shape, count in edges.items() if count > max(2, len(pages) // 3)}
    for page in pages:
        last = len(page) - 2
        yield [
            line
            for number, line in enumerate(page)
            if not (
                (number < 2 or number >= last)
                and (_shape(line) in repeated or _PAGE_NUMBER.match(line))
            )
        ]


def _shape(line: str) -> str:
    """Return the line with its numbers made equal: page numbers differ from page to page."""
    return re.sub(r"\d+|\b[ivxlc]+\b", "#", line)


def _join(lines: list[str]) -> list[str]:
    """Return paragraphs: a short line ends one, and a heading or an item begins one."""
    if not lines:
        return []
    lengths = sorted(len(line) for line in lines)
    usual = lengths[int(len(lengths) * 0.7)]
    words = Counter(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", " ".join(lines).lower()))
    paragraphs = [lines[0]]
    for line, following in pairwise(lines):
        if _ends_paragraph(line, following, usual):
            paragraphs.append(following)
        else:
            paragraphs[-1] = _glue(paragraphs[-1], following, words)
    return paragraphs


def _ends_paragraph(line: str, following: str, usual: int) -> bool:
    if _HYPHEN.search(line) or following[0].islower():
        return False
    if _NUMBERED.match(following):
        return True
    return len(line) < _SHORT_LINE * usual and (
        line.endswith(_SENTENCE_END) or following[0].isupper() or following[0].isdigit()
    )


def _glue(text: str, following: str, words: Counter[str]) -> str:
    """Join a line with the next; of a broken word the spelling that the document has elsewhere."""
    broken = _HYPHEN.search(text)
    rest = re.match(r"[^\W\d_]+", following)
    if broken is None or rest is None:
        return f"{text} {following}"
    whole = (broken[1] + rest[0]).lower()
    compound = f"{broken[1]}-{rest[0]}".lower()
    is_compound = words[compound] > words[whole] or not rest[0][0].islower()
    return text[:-1] + ("-" if is_compound else "") + following
