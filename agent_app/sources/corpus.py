"""The corpus: sources that every run may find, under the URLs that somebody added them by."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, LiteralString

from psycopg.rows import DictRow

from agent_app.database.pool import Connection, Pool
from agent_app.sources.document import Document
from agent_app.sources.store import insert_documents

Change = Literal["added", "replaced", "unchanged"]

_LOCK: LiteralString = "select pg_advisory_xact_lock(hashtextextended('agent_app.corpus', 0))"
"""One process at a time changes the corpus: what an adder and a remover lock is in no order."""
_SUPERSEDED: LiteralString = """
select met.source_id, met.url
from unnest(%(urls)s::text[], %(source_ids)s::text[]) as kept (url, source_id)
join agent_app.source_url as met
    on hashtextextended(met.url, 0) = hashtextextended(kept.url, 0) and met.url = kept.url
where met.in_corpus and met.source_id <> kept.source_id
"""
_NAMED: LiteralString = """
select source_id, url from agent_app.source_url
where in_corpus and (source_id = any(%(source_ids)s) or url = any(%(urls)s))
"""
# Before their URLs: who stores a text for a run locks them in this order, too.
_HOLD: LiteralString = """
select source_id from agent_app.source where source_id = any(%(source_ids)s)
order by source_id for update
"""
_LEAVE: LiteralString = """
update agent_app.source_url set in_corpus = false
from unnest(%(source_ids)s::text[], %(urls)s::text[]) as leaving (source_id, url)
where source_url.source_id = leaving.source_id and source_url.url = leaving.url
"""
# A source is called by a URL that it still has.
_RENAME: LiteralString = """
update agent_app.source set url = left_over.url
from (
    select distinct on (source_id) source_id, url from agent_app.source_url
    where source_id = any(%(source_ids)s) and in_corpus order by source_id, met_at desc, url
) as left_over
where source.source_id = left_over.source_id and not exists (
    select from agent_app.source_url as named
    where named.source_id = source.source_id and named.url = source.url and named.in_corpus)
"""
_TAKE_OUT: LiteralString = """
update agent_app.source set in_corpus = false
where source_id = any(%(source_ids)s) and in_corpus and not exists (
    select from agent_app.source_url as other
    where other.source_id = source.source_id and other.in_corpus)
"""
_DROP: LiteralString = """
delete from agent_app.source
where source_id = any(%(source_ids)s) and not in_corpus and not exists (
    select from agent_app.run_source where run_source.source_id = source.source_id)
"""
_LIST: LiteralString = """
select source_id, source_url.url, title, media_type, passage_count, met_at as added_at,
    char_length(text) as text_length
from agent_app.source_url join agent_app.source using (source_id)
where source_url.in_corpus order by source_url.url, source_id
"""


@dataclass(frozen=True)
class CorpusEntry:
    """A text of the corpus under one of its URLs."""

    source_id: str
    url: str
    title: str
    media_type: str
    passage_count: int
    added_at: datetime
    text_length: int
    """In characters."""


@dataclass(frozen=True)
class Removed:
    """What has left the corpus."""

    url_count: int
    deleted_count: int
    """Sources that are gone."""
    cited_count: int
    """Sources that stay stored, since runs have them."""


async def add_documents(
    pool: Pool, documents: Sequence[Document], *, added_by: str
) -> dict[str, Change]:
    """Add texts to the corpus in one transaction, and return what became of each, by its URL.

    The text that a URL had before leaves the corpus with it; doing it again changes nothing.
    Raises: SourceUnreadable (another text has an ID); psycopg.Error.
    """
    by_url = {document.url: document for document in documents}
    async with _changing(pool) as connection:
        added = await insert_documents(
            connection, list(by_url.values()), origin="corpus", fetched_by=added_by
        )
        kept = {"urls": list(by_url), "source_ids": [d.source_id for d in by_url.values()]}
        rows = await (await connection.execute(_SUPERSEDED, kept)).fetchall()
        await _take_out(connection, rows)
    replaced = {row["url"] for row in rows}
    return {
        url: "replaced" if url in replaced else "added" if url in added else "unchanged"
        for url in by_url
    }


async def remove_from_corpus(
    pool: Pool, *, source_ids: Iterable[str] = (), urls: Iterable[str] = ()
) -> Removed:
    """Take texts out of the corpus, by their IDs or by some of their URLs, and return what went.

    A text that has another URL in it stays there; one that a stored run has stays stored.
    Raises: psycopg.Error.
    """
    async with _changing(pool) as connection:
        wanted = {"source_ids": list(source_ids), "urls": list(urls)}
        rows = await (await connection.execute(_NAMED, wanted)).fetchall()
        left, deleted = await _take_out(connection, rows)
    return Removed(len(rows), deleted, left - deleted)


async def list_corpus(pool: Pool) -> list[CorpusEntry]:
    """Return what is in the corpus, by URL.

    Raises: DatabaseError.
    """
    return [CorpusEntry(**row) for row in await pool.execute(_LIST)]


async def is_empty(pool: Pool) -> bool:
    """Say whether the corpus has nothing.

    Raises: DatabaseError.
    """
    query = "select exists (select from agent_app.source where in_corpus) as is_filled"
    return not (await pool.execute(query))[0]["is_filled"]


async def settle_planner(pool: Pool) -> None:
    """Tell Postgres what many new rows look like, instead of waiting until it finds out itself.

    A role that does not own the tables leaves that to Postgres.
    Raises: DatabaseError.
    """
    await pool.execute(
        "vacuum (analyze) agent_app.source, agent_app.source_url, agent_app.passage,"
        " agent_app.posting"
    )


@asynccontextmanager
async def _changing(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.connect() as connection, connection.transaction():
        await connection.execute(_LOCK)
        yield connection


async def _take_out(connection: Connection, met: Sequence[DictRow]) -> tuple[int, int]:
    """Take texts out under these URLs; return how many have left, and how many are deleted."""
    if not met:
        return 0, 0
    values = {
        "source_ids": [row["source_id"] for row in met],
        "urls": [row["url"] for row in met],
    }
    await connection.execute(_HOLD, values)
    await connection.execute(_LEAVE, values)
    await connection.execute(_RENAME, values)
    left = (await connection.execute(_TAKE_OUT, values)).rowcount
    return left, (await connection.execute(_DROP, values)).rowcount
