"""The corpus: add files, folders, pages and what is installed; list, search and remove."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2

from agent_app.database.connect import Database, explained
from agent_app.database.pool import Pool, open_pool
from agent_app.errors import SourceError, SourceNotFound, SourceUnreadable
from agent_app.sources.corpus import (
    Change,
    CorpusEntry,
    Removed,
    add_documents,
    is_empty,
    list_corpus,
    remove_from_corpus,
    settle_planner,
)
from agent_app.sources.document import Document, canonical_url
from agent_app.sources.fetch import fetch
from agent_app.sources.installed import add_installed
from agent_app.sources.passage import Passage
from agent_app.sources.readable import MAX_BODY_BYTES, media_type_of, read_document
from agent_app.sources.retrieval import find_sources, words_met

_ADDED_BY = "corpus add"
_BATCH = 20
"""Documents that are stored in one transaction."""
_READERS = 2
_URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_ENDINGS = "its ending is none of .html, .htm, .xhtml, .pdf, .md, .rst and .txt"


@dataclass(frozen=True)
class Target:
    """Something to add: a file, or a page to fetch."""

    url: str
    path: Path | None = None


@dataclass(frozen=True)
class Addition:
    """What became of a target."""

    url: str
    change: Change | None = None
    """None where it could not be read."""
    reason: str = ""
    """Why that is."""


@dataclass(frozen=True)
class Match:
    """A source that a search of the corpus has found."""

    passage: Passage
    words: list[str] = field(default_factory=list)
    """Words of the passage that the query has, too, as they stand there."""


def list_targets(names: Sequence[str]) -> list[Target]:
    """Return what there is to add under each path or URL, each once, folders with all below them.

    Of a folder's files those are taken that can be read, by their endings; hidden ones are not.
    """
    targets = {target.url: target for name in names for target in _targets(name)}
    return list(targets.values())


def _targets(name: str) -> Iterator[Target]:
    path = _path_of(name)
    if path is None:
        yield Target(canonical_url(name))
    elif path.is_dir():
        yield from (Target(file.as_uri(), file) for file in _files_below(path))
    else:
        yield Target(path.as_uri(), path)


def _path_of(name: str) -> Path | None:
    """Return the absolute path that a name means, None for what is a URL of something else."""
    if name.lower().startswith("file:"):
        return Path(unquote(urlsplit(name).path))
    if _URL.match(name) and not Path(name).exists():
        return None
    return Path(name).expanduser().resolve()


def _files_below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__")))
        for name in sorted(files):
            if not name.startswith(".") and media_type_of(name) is not None:
                yield Path(place) / name


@asynccontextmanager
async def _opened(database: Database) -> AsyncIterator[Pool]:
    with explained(database):
        async with open_pool(database, max_size=1) as pool:
            yield pool


async def add_to_corpus(
    database: Database, targets: Sequence[Target], tell: Callable[[Addition], None]
) -> None:
    """Read and store the targets, and tell of each what became of it.

    Durable by batches: repeating an addition that was cut short finishes it.
    Raises: DatabaseError.
    """
    async with _opened(database) as pool:
        for start in range(0, len(targets), _BATCH):
            async for addition in _add_batch(pool, targets[start : start + _BATCH]):
                tell(addition)
        if len(targets) > _BATCH:
            await settle_planner(pool)


async def _add_batch(pool: Pool, targets: Sequence[Target]) -> AsyncIterator[Addition]:
    turn = asyncio.Semaphore(_READERS)
    outcomes = await asyncio.gather(*(_read(target, turn) for target in targets))
    documents = [outcome for outcome in outcomes if isinstance(outcome, Document)]
    changes = await add_documents(pool, documents, added_by=_ADDED_BY) if documents else {}
    for outcome in outcomes:
        if isinstance(outcome, Document):
            yield Addition(outcome.url, changes[outcome.url])
        else:
            yield outcome


async def _read(target: Target, turn: asyncio.Semaphore) -> Document | Addition:
    async with turn:
        try:
            if target.path is not None:
                return await asyncio.to_thread(_read_file, target.url, target.path)
            return await _read_page(target.url)
        except SourceError as error:
            return Addition(target.url, reason=str(error))
        except (OSError, httpx2.HTTPError) as error:
            cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return Addition(target.url, reason=str(SourceUnreadable(target.url, cause)))


def _read_file(url: str, path: Path) -> Document:
    media_type = media_type_of(path.name)
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
        raise SourceUnreadable(url, "it is no file")
    if path.stat().st_size > MAX_BODY_BYTES:
        raise SourceUnreadable(url, f"it has more than {MAX_BODY_BYTES // 1_000_000} MB")
    if media_type is None:
        raise SourceUnreadable(url, _ENDINGS)
    return read_document(path.read_bytes(), media_type=media_type, url=url)


async def _read_page(url: str) -> Document:
    page = await fetch(url)
    return await asyncio.to_thread(
        read_document, page.body, media_type=page.media_type, url=page.final_url
    )


async def add_installed_to_corpus(database: Database, tell: Callable[[Addition], None]) -> None:
    """Add the documentation that this machine has, and tell of each document what became of it.

    Raises: DatabaseError.
    """
    async with _opened(database) as pool:
        for url, change in (await add_installed(pool)).items():
            tell(Addition(url, change))


async def read_corpus(database: Database) -> list[CorpusEntry]:
    """Return what is in the corpus, by URL.

    Raises: DatabaseError.
    """
    async with _opened(database) as pool:
        return await list_corpus(pool)


async def search_corpus(database: Database, query: str, *, max_count: int) -> list[Match] | None:
    """Return the best passage of each source that has words of the query; None: it is empty.

    Raises: DatabaseError.
    """
    async with _opened(database) as pool:
        if await is_empty(pool):
            return None
        passages = await find_sources(pool, query, max_count=max_count)
        words = await words_met(pool, query, [passage.text for passage in passages])
        return [Match(passage, met) for passage, met in zip(passages, words, strict=True)]


async def remove_sources(database: Database, names: Sequence[str]) -> Removed:
    """Take sources out of the corpus, by ID, URL or path; a folder's path takes all below it.

    Nothing is taken out where one of the names is not known.
    Raises: SourceNotFound; DatabaseError.
    """
    async with _opened(database) as pool:
        entries = await list_corpus(pool)
        source_ids: set[str] = set()
        urls: set[str] = set()
        for name in names:
            if name in {entry.source_id for entry in entries}:
                source_ids.add(name)
            elif named := _urls_named(name, entries):
                urls |= named
            else:
                raise SourceNotFound(name)
        return await remove_from_corpus(pool, source_ids=source_ids, urls=urls)


def _urls_named(name: str, entries: Sequence[CorpusEntry]) -> set[str]:
    path = _path_of(name)
    url = canonical_url(name) if path is None else path.as_uri()
    below = "" if path is None else url.rstrip("/") + "/"
    return {
        entry.url
        for entry in entries
        if entry.url in (url, name) or (below and entry.url.startswith(below))
    }
