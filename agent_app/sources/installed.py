"""Documentation that this machine has already: READMEs of Python packages, Python's own topics."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.message import Message
from importlib.metadata import Distribution, distributions
from textwrap import shorten
from typing import cast

from agent_app.database.pool import Pool
from agent_app.errors import SourceUnreadable
from agent_app.sources.corpus import (
    Change,
    add_documents,
    is_empty,
    list_corpus,
    remove_from_corpus,
    settle_planner,
)
from agent_app.sources.document import Document
from agent_app.sources.formats.prose import MAX_TITLE
from agent_app.sources.readable import read_document

ADDED_BY = "corpus add --installed"
_PACKAGE, _TOPIC = "pkg:pypi/", "python:topics/"
_REST = "text/x-rst"
_OURSELVES = "agent-app"
"""Whose README would be quoted in answers about agents, and nobody would believe them."""
_EXAMPLE = re.compile(r"(?<=[^:]):(?=\n\n +(?![*+-] |\d+\. ))")
"""A colon before an indented block: Python's topics are printed, and have lost the second one."""


@dataclass(frozen=True)
class _Text:
    """A text before it is read."""

    url: str
    media_type: str
    body: str
    name: str
    """What it is about."""
    summary: str = ""
    """A line that says so; it is quotable, too."""


async def add_installed(pool: Pool) -> dict[str, Change]:
    """Add what is installed to the corpus; return what became of each document, by its URL.

    A package's other versions leave the corpus; doing it again changes nothing.
    Raises: DatabaseError.
    """
    documents = await asyncio.to_thread(lambda: list(_documents()))
    changes = await add_documents(pool, documents, added_by=ADDED_BY)
    names = {_package_of(url) for url in changes if url.startswith(_PACKAGE)}
    old = [
        entry.url
        for entry in await list_corpus(pool)
        if entry.url.startswith(_PACKAGE)
        and _package_of(entry.url) in names
        and entry.url not in changes
    ]
    if old:
        await remove_from_corpus(pool, urls=old)
    await settle_planner(pool)
    return changes


async def ensure_installed(pool: Pool) -> int:
    """Fill an empty corpus with what is installed; return how many documents came, 0 if it is full.

    Raises: DatabaseError.
    """
    return len(await add_installed(pool)) if await is_empty(pool) else 0


def _package_of(url: str) -> str:
    return url.removeprefix(_PACKAGE).rpartition("@")[0]


def _documents() -> Iterator[Document]:
    for text in (*_packages(), *_topics()):
        try:
            yield _read(text)
        except SourceUnreadable:  # a README of pictures and links
            if text.summary:
                yield Document(text.url, text.name, text.summary, "text/plain")


def _read(text: _Text) -> Document:
    document = read_document(text.body.encode(), media_type=text.media_type, url=text.url)
    about = text.summary or document.title
    title = shorten(f"{text.name}: {about}", MAX_TITLE, placeholder=" …")
    begins = f"{text.summary}\n\n" if text.summary not in document.text else ""
    return replace(document, title=title, text=begins + document.text)


def _packages() -> Iterator[_Text]:
    """Yield the first of each name, which is the one that would be imported, in order."""
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if name and name != _OURSELVES:
            found.setdefault(name, distribution)
    for name, distribution in sorted(found.items()):
        metadata = cast("Message", distribution.metadata)
        body = metadata.get("Description") or metadata.get_payload()
        yield _Text(
            url=f"{_PACKAGE}{name}@{distribution.version}",
            media_type=metadata.get("Description-Content-Type") or _REST,
            body=str(body or "").encode("utf-8", "replace").decode(),
            name=name,
            summary=_line(metadata.get("Summary")),
        )


def _line(summary: str | None) -> str:
    """Return a summary as a sentence; UNKNOWN is what old tools write for none."""
    text = " ".join((summary or "").split())
    return "" if text == "UNKNOWN" else text


def _topics() -> Iterator[_Text]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # a Python without its documentation
        return
    for name, body in sorted(topics.items()):
        yield _Text(f"{_TOPIC}{name}", _REST, _EXAMPLE.sub("::", body), "Python")
