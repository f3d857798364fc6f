"""Stored sources: each text once, whoever met it; runs refer to it by its ID."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from agent_app.database.pool import Connection, Pool
from agent_app.errors import SourceUnreadable
from agent_app.sources.document import Document, Origin, sha256_of
from agent_app.sources.indexing import index_documents

_INSERT: LiteralString = """
insert into agent_app.source (source_id, sha256, url, title, text, media_type, origin, fetched_by,
    in_corpus, passage_count)
select * from unnest(%(source_ids)s::text[], %(sha256s)s::text[], %(urls)s::text[],
        %(titles)s::text[], %(texts)s::text[], %(media_types)s::text[])
    cross join (select %(origin)s, %(fetched_by)s, %(in_corpus)s::boolean, 0) as same
order by 1
on conflict (source_id) do nothing
returning source_id
"""
# Nobody deletes them until the commit. A run's lock lets the corpus take them in and out meanwhile.
_HOLD_FOR_RUN: LiteralString = """
select source_id, sha256 from agent_app.source where source_id = any(%(source_ids)s)
order by source_id for key share
"""
_HOLD_FOR_CORPUS: LiteralString = """
select source_id, sha256 from agent_app.source where source_id = any(%(source_ids)s)
order by source_id for no key update
"""
_TAKE_IN: LiteralString = """
update agent_app.source set in_corpus = true
where source_id = any(%(source_ids)s) and not in_corpus
"""
_INSERT_URLS: LiteralString = """
insert into agent_app.source_url (source_id, url, in_corpus)
select source_id, url, %(in_corpus)s
from unnest(%(source_ids)s::text[], %(urls)s::text[]) as met (source_id, url)
order by source_id, url
on conflict (source_id, hashtextextended(url, 0)) do update set in_corpus = true, met_at = now()
    where excluded.in_corpus and not source_url.in_corpus
returning source_id, url
"""
# A source that is deleted at this moment is waited for, and passed over when it is gone.
_ADD_TO_RUN: LiteralString = """
with wanted as (
    select source_id from agent_app.source where source_id = any(%(source_ids)s)
    order by source_id for key share
)
insert into agent_app.run_source (run_id, source_id) select %(run_id)s, source_id from wanted
on conflict do nothing
"""
_COPY: LiteralString = """
with wanted as (
    select source_id from agent_app.run_source where run_id = %(from_run_id)s
), copied as (
    insert into agent_app.run_source (run_id, source_id)
    select %(to_run_id)s, source_id from wanted order by source_id
    on conflict do nothing
)
select count(*) as source_count from wanted
"""
_FIND_URL: LiteralString = """
select source_id from agent_app.source_url join agent_app.run_source using (source_id)
where hashtextextended(url, 0) = hashtextextended(%(url)s, 0) and url = %(url)s
    and run_id = %(run_id)s
order by met_at desc limit 1
"""
_RUN_SOURCES: LiteralString = """
select source_id, url, title, fetched_at
from agent_app.run_source join agent_app.source using (source_id)
where run_id = %(run_id)s order by added_at, source_id
"""


@dataclass(frozen=True)
class StoredSource:
    """A text as it is stored."""

    source_id: str
    url: str
    title: str
    text: str
    sha256: str
    fetched_at: datetime
    fetched_by: str
    origin: Origin
    media_type: str


@dataclass(frozen=True)
class SourceEntry:
    """A source that a run has."""

    source_id: str
    url: str
    title: str
    fetched_at: datetime


async def store_document(
    pool: Pool, document: Document, *, origin: Origin, fetched_by: str, run_id: str | None = None
) -> str:
    """Store a text unless it is stored, and return its ID; with `run_id` that run has it then.

    Durable when it returns, whole or not at all; doing it again changes nothing.
    Raises: SourceUnreadable (another text has its ID); psycopg.Error.
    """
    async with pool.connect() as connection, connection.transaction():
        await insert_documents(connection, [document], origin=origin, fetched_by=fetched_by)
        if run_id is not None:
            values = {"run_id": run_id, "source_ids": [document.source_id]}
            await connection.execute(_ADD_TO_RUN, values)
    return document.source_id


async def insert_documents(
    connection: Connection, documents: Sequence[Document], *, origin: Origin, fetched_by: str
) -> frozenset[str]:
    """Store what is not stored yet, and return the URLs that are new to their texts.

    Raises: SourceUnreadable (another text has an ID).
    """
    if not documents:
        return frozenset()
    in_corpus = origin == "corpus"
    by_id = {document.source_id: document for document in documents}
    values = _columns(by_id) | {"origin": origin, "fetched_by": fetched_by, "in_corpus": in_corpus}
    while not await _insert_all(connection, by_id, values):
        pass  # somebody has just deleted one of them
    if in_corpus:
        await connection.execute(_TAKE_IN, values)
    met = {(document.source_id, document.url) for document in documents}
    values["source_ids"], values["urls"] = map(list, zip(*met, strict=True))
    cursor = await connection.execute(_INSERT_URLS, values)
    return frozenset(row["url"] for row in await cursor.fetchall())


async def _insert_all(
    connection: Connection, by_id: Mapping[str, Document], values: Mapping[str, Any]
) -> bool:
    """Insert and index what is new, and say whether all are there and stay until the commit."""
    rows = await (await connection.execute(_INSERT, values)).fetchall()
    new = [by_id[row["source_id"]] for row in rows]
    await index_documents(connection, new, in_corpus=values["in_corpus"])
    hold = _HOLD_FOR_CORPUS if values["in_corpus"] else _HOLD_FOR_RUN
    held = await (await connection.execute(hold, values)).fetchall()
    for row in held:
        _refuse_collision(by_id[row["source_id"]], row["sha256"])
    return len(held) == len(by_id)


def _columns(by_id: Mapping[str, Document]) -> dict[str, Any]:
    documents = by_id.values()
    return {
        "source_ids": list(by_id),
        "sha256s": [sha256_of(document.text) for document in documents],
        "urls": [document.url for document in documents],
        "titles": [document.title for document in documents],
        "texts": [document.text for document in documents],
        "media_types": [document.media_type for document in documents],
    }


def _refuse_collision(document: Document, sha256: str) -> None:
    """Refuse a text whose ID another one has, which nobody meets but by making it so."""
    if sha256 != sha256_of(document.text):
        reason = f"its ID {document.source_id!r} is that of another text that is stored"
        raise SourceUnreadable(document.url, reason)


async def read_sources(pool: Pool, source_ids: Iterable[str]) -> dict[str, StoredSource]:
    """Return those of the sources that are stored, by their IDs.

    Raises: DatabaseError.
    """
    rows = await pool.execute(
        """
        select source_id, url, title, text, sha256, fetched_at, fetched_by, origin, media_type
        from agent_app.source where source_id = any(%(source_ids)s)
        """,
        source_ids=[source_id for source_id in source_ids if source_id.isprintable()],
    )
    return {row["source_id"]: StoredSource(**row) for row in rows}


async def find_stored_url(pool: Pool, url: str, *, run_id: str) -> str | None:
    """Return the ID of what a run has under a canonical URL, the latest; None if it has nothing.

    Raises: DatabaseError.
    """
    if not url.isprintable():  # what cannot be stored was not stored
        return None
    rows = await pool.execute(_FIND_URL, url=url, run_id=run_id)
    return rows[0]["source_id"] if rows else None


async def add_to_run(pool: Pool, run_id: str, source_ids: Iterable[str]) -> None:
    """Record that a run has these sources; idempotent, and those that are gone are passed over.

    Raises: DatabaseError.
    """
    await pool.execute(_ADD_TO_RUN, run_id=run_id, source_ids=list(source_ids))


async def copy_run_sources(pool: Pool, *, from_run_id: str, to_run_id: str) -> int:
    """Give a run the sources of another one, and return how many those are; idempotent.

    Raises: DatabaseError.
    """
    rows = await pool.execute(_COPY, from_run_id=from_run_id, to_run_id=to_run_id)
    return int(rows[0]["source_count"])


async def run_sources(pool: Pool, run_id: str) -> list[SourceEntry]:
    """Return what a run has, in the order in which it came.

    Raises: DatabaseError.
    """
    rows = await pool.execute(_RUN_SOURCES, run_id=run_id)
    return [SourceEntry(**row) for row in rows]
