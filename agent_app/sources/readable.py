"""Bytes as they were fetched or found in a file into a document: text fit for quoting."""

from email.message import Message
from pathlib import PurePosixPath

from agent_app.errors import SourceUnreadable
from agent_app.sources.document import Document, canonical_url
from agent_app.sources.reading import read_apart

MAX_BODY_BYTES = 30_000_000
"""Bytes of a document that is read at all."""
_ENDINGS = {
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".pdf": "application/pdf",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".rst": "text/x-rst",
    ".txt": "text/plain",
    ".text": "text/plain",
}
MEDIA_TYPES = frozenset({*_ENDINGS.values(), "text/x-markdown", "text/prs.fallenstein.rst"})
"""What `read_document` reads."""


def media_type_of(path_name: str) -> str | None:
    """Return the media type by the path's ending, in any case; None for what cannot be read.

    Without an ending it is text where the name is in capitals: README, LICENSE.
    """
    path = PurePosixPath(path_name)
    if not path.suffix and path.name.isupper():
        return "text/plain"
    return _ENDINGS.get(path.suffix.lower())


def read_document(body: bytes, *, media_type: str, url: str) -> Document:
    """Return what the bytes say: paragraphs between blank lines, headings being some of their own.

    `media_type` may have a charset: `text/html; charset=iso-8859-1`; the document's has none. It
    blocks while another process reads, with limits on time and memory: call it in a thread.
    Raises: SourceUnreadable (another type, damaged, encrypted, no text in it, over a limit).
    """
    bare, charset = split_media_type(media_type)
    if bare not in MEDIA_TYPES:
        raise SourceUnreadable(
            url, f"{bare!r} is not read, only HTML, PDF, Markdown, reST and text"
        )
    if len(body) > MAX_BODY_BYTES:
        raise SourceUnreadable(url, f"it has more than {MAX_BODY_BYTES // 1_000_000} MB")
    title, text = read_apart(body, media_type=bare, charset=charset, url=url)
    if not text:
        raise SourceUnreadable(url, "there is no text in it")
    return Document(
        url=canonical_url(url), title=title or title_from(url), text=text, media_type=bare
    )


def split_media_type(header: str) -> tuple[str, str | None]:
    """Return the media type in lower case, and the charset that a Content-Type header has."""
    message = Message()
    message["content-type"] = header.replace("\n", " ").replace("\r", " ")
    charset = message.get_content_charset()
    return header.partition(";")[0].strip().lower(), charset


def title_from(url: str) -> str:
    """Return the last part of the URL, for a document that has no title."""
    return PurePosixPath(url.partition("?")[0].rstrip("/")).name or url
